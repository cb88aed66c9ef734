"""The public functions that choose among classes: signatures and documentation. What to do is decided in _choice.py."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _choice, _core
from softlane._choice import TopK


def argmax(
    x: ArrayLike,
    axis: int | None = -1,
    *,
    return_probs: bool = False,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    index_dtype: DTypeLike | None = None,
) -> Any:
    """The class with the largest logit along an axis, and its probability in the same pass.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int or None, optional
        The class axis, the last one by default. None counts all elements as the classes of one row.
    return_probs : bool, optional
        Return the probability of the class too, as `softmax` gives it.
    keepdims : bool, optional
        Leave the axis in the results, with length 1.
    where : array_like of bool, optional
        The classes that count; broadcasts to the shape of `x`.
    temperature : float or array_like, optional
        The probability is that for ``x / temperature``: one positive number, or one for each row.
    dtype : data-type, optional
        Of the probabilities: float16, bfloat16, float32 or float64; by default that which `softmax` gives.
    index_dtype : data-type, optional
        Of the index: any integers that hold ``C - 1``, the last of C classes; int64 by default, of which uint8 takes an
        eighth.

    Returns
    -------
    index : ndarray of int64, or of `index_dtype`
        The shape of `x` without `axis`, or with length 1 there; a NumPy scalar where no dimension is left.
    prob : ndarray
        Only with `return_probs`: the same shape, of `dtype`.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and ValueError if the axis has length 0 or `index_dtype` does not hold its last class.

    Notes
    -----
    Of equal logits the one with the lowest index is taken; NaN counts as the largest, as in `numpy.argmax`, and its
    probability is NaN. Hidden classes come last: only a row that has no others gives one, with probability 0.

    `where` renormalises: probabilities are those among the classes that count. The best class but the last one, such as
    a background, and its probability among all, are ``best = argmax(x[..., :-1])`` and
    ``exp(take_log_probs(x, best))``.

    Along the last axis, probabilities have the bits of `softmax`. Memory is the results' alone.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.argmax(np.array([[0.0, 2.0, 1.0], [3.0, 3.0, 0.0]]))
    array([1, 0])
    >>> index, prob = softlane.argmax(np.array([0.0, 2.0, 1.0]), return_probs=True)
    >>> int(index), round(float(prob), 6)
    (1, 0.665241)

    An array of temperatures has one for each row. ``t[:, None]`` says so for certain; `t` alone means the same, also
    where there are as many classes as rows.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.argmax(x, return_probs=True, temperature=t[:, None])[1]
    array([0.73105858, 0.62245933])
    """
    if where is None and temperature is None and dtype is None and not keepdims and index_dtype is None:
        plain = _core.fast_select(_core.TOPK_PROBS if return_probs else _core.TOPK, x, axis, 1, False)
        if plain is not None:
            return plain if return_probs else plain[0]
    return _choice.argmax(x, axis, bool(return_probs), bool(keepdims), where, temperature, dtype, index_dtype)


def topk(
    x: ArrayLike,
    k: int,
    axis: int = -1,
    *,
    kind: str = "probs",
    sorted: bool = True,
    largest: bool = True,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    index_dtype: DTypeLike | None = None,
) -> TopK:
    """The k classes with the largest logits along an axis, and their probabilities.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    k : int
        How many, from 0 to the number of classes.
    axis : int, optional
        The class axis, the last one by default.
    kind : {"probs", "log_probs", "logits"}, optional
        What the values are: as `softmax` or `log_softmax` of the whole rows gives them, or `x` itself.
    sorted : bool, optional
        Largest first; if False, in any order.
    largest : bool, optional
        If False, the k classes with the smallest logits, smallest first; NaN still comes first.
    where : array_like of bool, optional
        The classes that count; broadcasts to the shape of `x`. The others come last, with probability 0.
    temperature : float or array_like, optional
        Probabilities are those for ``x / temperature``: one positive number, or one for each row.
    dtype : data-type, optional
        Of the values: float16, bfloat16, float32 or float64; by default that which `softmax` gives.
    index_dtype : data-type, optional
        Of the indices: any integers that hold ``C - 1``, the last of C classes; int64 by default.

    Returns
    -------
    TopK
        A named tuple ``(values, indices)`` of arrays in the shape of `x` with length `k` along the axis.
        `values` are of `dtype`, `indices` of `index_dtype`.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and ValueError if `k` is out of range or `index_dtype` does not hold the last class.

    Notes
    -----
    Of equal logits those with lower indices come first. NaN comes before all numbers, and makes all values of its row
    NaN. A visible -inf comes before hidden classes.

    `where` renormalises: probabilities are those among the classes that count. The best class but the last one, such as
    a background, and its probability among all, are ``best = argmax(x[..., :-1])`` and
    ``exp(take_log_probs(x, best))``.

    Along the last axis, values have the bits of `softmax` and `log_softmax`. No row is copied, and only candidates
    are sorted: beside the results, memory is some multiple of `k` and a sixteenth of a row for each thread.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> values, indices = softlane.topk(np.array([1.0, 3.0, 2.0, 3.0]), 2)
    >>> indices
    array([1, 3])
    >>> values
    array([0.3994863, 0.3994863])

    An array of temperatures has one for each row. ``t[:, None]`` says so for certain; `t` alone means the same, also
    where there are as many classes as rows.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.topk(x, 1, temperature=t[:, None]).values
    array([[0.73105858],
           [0.62245933]])
    """
    if (
        where is None
        and temperature is None
        and dtype is None
        and index_dtype is None
        and type(k) is int
        and largest
        and 0 < k < 1 << 32
        and kind in ("probs", "log_probs")
    ):
        op = _core.TOPK_PROBS if kind == "probs" else _core.TOPK_LOG_PROBS
        plain = _core.fast_select(op, x, axis, k, True, bool(sorted))
        if plain is not None:
            return TopK(plain[1], plain[0])
    return _choice.topk(x, k, axis, kind, bool(sorted), bool(largest), where, temperature, dtype, index_dtype)


def take_log_probs(
    x: ArrayLike,
    indices: ArrayLike,
    axis: int = -1,
    *,
    ignore_index: int | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Log-probabilities of given classes: ``take_along_axis(log_softmax(x), indices, axis)``, without the log_softmax.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    indices : array_like of int
        With as many dimensions as `x`: classes along `axis`, any number of them, as in `numpy.take_along_axis`. With
        one dimension less: one class for each row. The other axes broadcast against those of `x`.
    axis : int, optional
        The class axis, the last one by default.
    ignore_index : int, optional
        An index that stands for no class, such as -100 or -1 of padding: the result there is 0.
    where : array_like of bool, optional
        The classes that count; broadcasts to the shape of `x`. The others give -inf.
    temperature : float or array_like, optional
        The result is that for ``x / temperature``: one positive number, or one for each row.
    dtype : data-type, optional
        Of the result: float16, bfloat16, float32 or float64. By default float32, or float64 where `x` is
        computed in that.

    Returns
    -------
    ndarray
        Log-probabilities (in nats) in the shape of `indices`, of `dtype`.

    Raises
    ------
    IndexError
        If an index is outside ``[0, C)`` and not `ignore_index`; negative ones are outside, too.
    TypeError, ValueError
        As `softmax`, and if `indices` are no integers or their shape does not fit.

    Notes
    -----
    Values and accuracy as those of `log_softmax`, along the last axis also the bits.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.take_log_probs(np.array([[0.0, 0.0], [0.0, 40.0]]), [0, 1])
    array([-6.93147181e-01, -4.24835426e-18])

    An array of temperatures has one for each row. ``t[:, None]`` says so for certain; `t` alone means the same, also
    where there are as many classes as rows.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.take_log_probs(x, [0, 0], temperature=t[:, None])
    array([-1.31326169, -0.97407698])
    """
    if where is None and temperature is None and dtype is None and ignore_index is None:
        plain = _core.fast_select(_core.TAKE_LOG_PROBS, x, axis, 1, False, given=indices)
        if plain is not None:
            return plain
    return _choice.take_log_probs(x, indices, axis, ignore_index, where, temperature, dtype)


def rank(
    x: ArrayLike,
    indices: ArrayLike,
    axis: int = -1,
    *,
    ignore_index: int | None = None,
    where: ArrayLike | None = None,
    index_dtype: DTypeLike | None = None,
) -> Any:
    """How many classes come before a given one: 0 for the greedy choice.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    indices : array_like of int
        As in `take_log_probs`.
    axis : int, optional
        The class axis, the last one by default.
    ignore_index : int, optional
        An index that stands for no class, such as -100 or -1 of padding: the result there is -1.
    where : array_like of bool, optional
        The classes that count; broadcasts to the shape of `x`. The others come last.
    index_dtype : data-type, optional
        Of the ranks: any integers that hold ``C - 1``, where there are C classes, and -1 where there is an
        `ignore_index`; int64 by default.

    Returns
    -------
    ndarray of int64, or of `index_dtype`
        Ranks in the shape of `indices`.

    Raises
    ------
    IndexError, TypeError, ValueError
        As `take_log_probs`, and ValueError if `index_dtype` does not hold all ranks.

    Notes
    -----
    The order is that of `topk`: ``rank(x, topk(x, k).indices)`` counts from 0 to ``k - 1``.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.rank(np.array([[0.5, 3.0, 1.0], [2.0, 2.0, 2.0]]), [2, 2])
    array([1, 2])
    """
    return _choice.rank(x, indices, axis, ignore_index, where, index_dtype)


def sample(
    x: ArrayLike,
    *,
    axis: int = -1,
    size: int | None = None,
    replace: bool = True,
    temperature: ArrayLike | None = 1.0,
    top_k: ArrayLike | None = None,
    top_p: ArrayLike | None = None,
    min_p: ArrayLike | None = None,
    rng: Any = None,
    uniform: ArrayLike | None = None,
    where: ArrayLike | None = None,
    return_log_probs: bool = False,
    dtype: DTypeLike | None = None,
    index_dtype: DTypeLike | None = None,
) -> Any:
    """Classes drawn at random from each row, after the filters that text generation uses.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int, optional
        The class axis, the last one by default.
    size : int, optional
        How many draws from each row: the results have this length along the axis. By default one draw, and no axis.
    replace : bool, optional
        If False, no class comes twice among the draws from a row: each draw takes its class out, and the next one is
        from the rest, by their weights.
    temperature : float or array_like, optional
        Classes have the probabilities of ``softmax(x / temperature)``. Like all parameters one number, or one
        for each row. A temperature of 0 takes the class that `argmax` takes.
    top_k : int or array_like of int, optional
        Only the first so many classes in the order of `topk`; exactly so many, also where logits are equal. 0 is
        no filter.
    top_p : float or array_like, optional
        Then only the shortest run of the first classes whose probability, among what `top_k` has left, is at least
        this, above 0 and at most 1. The class that reaches it is kept, and so is the first one.
    min_p : float or array_like, optional
        Then only classes whose probability is at least this part, 0 to 1, of the largest one.
    rng : numpy.random.Generator or seed, optional
        Whatever `numpy.random.default_rng` takes: ``rng.random(batch shape)`` is drawn, one number for each row, or
        ``rng.random((*batch shape, size))``. A list or tuple has one generator or seed for each row, which draws the
        numbers of that row.
    uniform : array_like, optional
        Instead of `rng`, the numbers themselves: at least 0 and below 1, one for each row. With `size` they broadcast
        to the shape of the result.
    where : array_like of bool, optional
        The classes that count; broadcasts to the shape of `x`.
    return_log_probs : bool, optional
        Return the log-probability of the class too.
    dtype : data-type, optional
        Of the log-probabilities: float16, bfloat16, float32 or float64. By default float32, or float64 where `x` is
        computed in that.
    index_dtype : data-type, optional
        Of the index: any integers that hold ``C - 1``, the last of C classes; int64 by default.

    Returns
    -------
    index : ndarray of int64, or of `index_dtype`
        The shape of `x` without `axis`, a NumPy scalar where no dimension is left; or with length `size` along `axis`.
    log_prob : ndarray
        Only with `return_log_probs`: the same shape, of `dtype`. It belongs to the
        distribution that was drawn from, after temperature and filters, and without `replace` before anything is taken
        out; `take_log_probs` has that of the model.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and ValueError if a parameter is out of range, the axis has length 0, `index_dtype` does not hold
        its last class, or without `replace` the filters, `where` and -inf leave fewer classes of a row than `size`.

    Notes
    -----
    The class is the first, by index, at which the cumulative probability exceeds the row's uniform number: what
    ``rng.choice(C, p=...)`` gives with the filtered probabilities. It depends on the row, its parameters and its number
    alone, not on the batch, threads or the instruction set. Nothing is sorted but a list of candidates.

    With `size`, what the filters leave of a row is found once for all its draws. Without `replace`, the draws have the
    distribution of Plackett and Luce, like the order of ``log_prob + Gumbel noise``: the weights of the rest are summed
    anew for each, so that it is exact also where one class has nearly all. The first draw is that of one alone.

    A row with NaN or +inf, or with nothing above -inf, has no distribution: the class is that of `argmax`, the
    log-probability NaN (-inf where nothing is visible). Without `replace` the classes are those of `topk`.

    `where` renormalises: log-probabilities are those among the classes that count.

    A packed mask, with 32 classes to an int32 as in guided decoding, becomes one for `where` by
    ``np.unpackbits(bitmask.view(np.uint8), axis=-1, count=C, bitorder="little").view(bool)``. That has a byte for each
    class and takes some 12 microseconds for 128,000 of them; a draw from these takes some 170.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> x = np.array([1.0, 3.0, 2.0, 3.0])
    >>> index = softlane.sample(x, top_k=2, rng=0)
    >>> int(index)
    3

    An array of temperatures has one for each row. ``t[:, None]`` says so for certain; `t` alone means the same, also
    where there are as many classes as rows.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.sample(x, temperature=t[:, None], rng=0)
    array([1, 0])
    """
    log_probs, again = bool(return_log_probs), bool(replace)
    return _choice.sample(
        x, axis, temperature, top_k, top_p, min_p, rng, uniform, where, log_probs, dtype, size, again, index_dtype
    )


def expectation(
    x: ArrayLike,
    values: ArrayLike,
    axis: int = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """The mean of values under the softmax of logits: ``sum(softmax(x) * values)`` along an axis.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    values : array_like
        Real numbers, not NaN: one for each class, of shape ``(C,)``, or an array with as many dimensions as `x`
        that broadcasts to its shape.
    axis : int, optional
        The class axis, the last one by default.
    where : array_like of bool, optional
        The classes that count; broadcasts to the shape of `x`.
    temperature : float or array_like, optional
        The result is that for ``x / temperature``: one positive number, or one for each row.
    dtype : data-type, optional
        Of the result: float16, bfloat16, float32 or float64. By default float32, or float64 where `x` is
        computed in that.
    out : ndarray, optional
        Where to write: the shape and dtype of the result, any layout. May overlap `x`.

    Returns
    -------
    ndarray
        The shape of `x` without `axis`, of `dtype`: `out` where given.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and ValueError if one of `values` is NaN or their shape does not fit.

    Notes
    -----
    A row that `softmax` makes NaN gives NaN; one with nothing visible, or without classes, gives 0. An infinite value
    counts only where its probability is not 0. Products are added
    as if in twice the precision, so the error is that of the probabilities: within 4 ULP of ``sum(p * abs(values))``.
    Probabilities are not written anywhere.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.expectation(np.log([[1.0, 1.0, 2.0]]), [0.0, 1.0, 2.0])
    array([1.25])

    An array of temperatures has one for each row. ``t[:, None]`` says so for certain; `t` alone means the same, also
    where there are as many classes as rows.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.expectation(x, [0.0, 1.0], temperature=t[:, None])
    array([0.73105858, 0.62245933])
    """
    return _choice.expectation(x, values, axis, where, temperature, dtype, out)
