"""The public functions that choose among classes: signatures and documentation. What to do is decided in _choice.py."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike

from softlane import _choice


def sample(
    x: ArrayLike,
    *,
    axis: int = -1,
    temperature: ArrayLike | None = 1.0,
    top_k: ArrayLike | None = None,
    top_p: ArrayLike | None = None,
    min_p: ArrayLike | None = None,
    rng: Any = None,
    uniform: ArrayLike | None = None,
    where: ArrayLike | None = None,
    return_log_probs: bool = False,
    dtype: DTypeLike | None = None,
) -> Any:
    """A class drawn at random from each row, after the filters that text generation uses.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int, optional
        The class axis, the last one by default.
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
        Whatever `numpy.random.default_rng` takes: ``rng.random(batch shape)`` is drawn, one number for each row. A list
        or tuple has one generator or seed for each row, which draws one number.
    uniform : array_like, optional
        Instead of `rng`, the numbers themselves: at least 0 and below 1, one for each row.
    where : array_like of bool, optional
        The classes that count; broadcasts to the shape of `x`.
    return_log_probs : bool, optional
        Return the log-probability of the class too.
    dtype : data-type, optional
        Of the log-probabilities: float16, bfloat16, float32 or float64. By default float32, or float64 where `x` is
        computed in that.

    Returns
    -------
    index : ndarray of int64
        The shape of `x` without `axis`; a NumPy scalar where no dimension is left.
    log_prob : ndarray
        Only with `return_log_probs`: the same shape, of `dtype`. It belongs to the
        distribution that was drawn from, after temperature and filters; `take_log_probs` has that of the model.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and ValueError if a parameter is out of range or the axis has length 0.

    Notes
    -----
    The class is the first, by index, at which the cumulative probability exceeds the row's uniform number: what
    ``rng.choice(C, p=...)`` gives with the filtered probabilities. It depends on the row, its parameters and its number
    alone, not on the batch, threads or the instruction set. Nothing is sorted but a list of candidates.

    A row with NaN or +inf, or with nothing above -inf, has no distribution: the class is that of `argmax`, the
    log-probability NaN (-inf where nothing is visible).

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
    return _choice.sample(x, axis, temperature, top_k, top_p, min_p, rng, uniform, where, bool(return_log_probs), dtype)
