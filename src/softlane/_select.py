"""argmax, topk, take_log_probs and rank: choices among the classes of each row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from softlane import _core
from softlane._chunks import Axes, apply_to_rows, are_far
from softlane._rows import Call, Rows, at_the_end, check
from softlane._validate import (
    Array,
    check_class_count,
    check_k,
    check_kind,
    given_classes,
    index_type,
    protected,
)

_TOPK = {"probs": _core.TOPK_PROBS, "log_probs": _core.TOPK_LOG_PROBS, "logits": _core.TOPK}
_TAKE = {"probs": _core.TAKE_PROBS, "log_probs": _core.TAKE_LOG_PROBS}


class TopK(NamedTuple):
    """Values and indices of `topk`, a named tuple.

    Parameters
    ----------
    values : ndarray
        Probabilities, their logarithms or logits, with length `k` along the class axis.
    indices : ndarray of int64, or of `index_dtype`
        The classes, in the same shape.

    Examples
    --------
    >>> import softlane
    >>> softlane.topk([0.0, 2.0, 1.0], 2).indices
    array([1, 2])
    """

    values: Any
    indices: Any


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
    """Class with the largest logit along an axis, and its probability in the same pass.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int or None, default -1
        The class axis. None takes all elements as the classes of one row.
    return_probs : bool, default False
        Return the probability of the class too, as `softmax` gives it.
    keepdims : bool, default False
        Keep the axis in the results, with length 1.
    where : array_like of bool, optional
        True for the classes to include; broadcasts to the shape of `x`.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row, as in `softmax`.
    dtype : data-type, optional
        The dtype of the probabilities: float16, bfloat16, float32 or float64. By default that of ``softmax(x)``.
    index_dtype : data-type, optional
        The dtype of the index: any integer dtype that holds ``C - 1`` for C classes. int64 by default.

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
    probability is NaN. Masked classes come last: only a row without others gives one, with probability 0.

    `where` renormalises: probabilities are those among the classes that it leaves. To leave out the last class, such as
    a background, but keep it in the sum, use ``best = argmax(x[..., :-1])`` and ``exp(take_log_probs(x, best))``.

    Along the last axis, probabilities have the bits of `softmax`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.argmax(np.array([[0.0, 2.0, 1.0], [3.0, 3.0, 0.0]]))
    array([1, 0])
    >>> index, prob = softlane.argmax(np.array([0.0, 2.0, 1.0]), return_probs=True)
    >>> int(index), round(float(prob), 6)
    (1, 0.665241)

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.argmax(x, return_probs=True, temperature=t[:, None])[1]
    array([0.73105858, 0.62245933])
    """
    op = _core.TOPK_PROBS if return_probs else _core.TOPK
    found = _core.topk(op, x, axis, 1, dtype, index_dtype, keepdims, True, where, temperature)
    if found is None:
        found = _argmax(x, axis, bool(return_probs), bool(keepdims), where, temperature, dtype, index_dtype)
    return found if return_probs else found[0]


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
    """Classes with the k largest logits along an axis, and their probabilities.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    k : int
        Number of classes to return, from 0 to all of them.
    axis : int, default -1
        The class axis.
    kind : {"probs", "log_probs", "logits"}, default "probs"
        Values of ``softmax(x)``, of ``log_softmax(x)``, or of `x` itself.
    sorted : bool, default True
        Largest first; if False, in any order.
    largest : bool, default True
        If False, the k classes with the smallest logits, smallest first; NaN still comes first.
    where : array_like of bool, optional
        True for the classes to include; broadcasts to the shape of `x`. The others come last, with probability 0.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row, as in `softmax`.
    dtype : data-type, optional
        The dtype of the values: float16, bfloat16, float32 or float64. By default that of ``softmax(x)``.
    index_dtype : data-type, optional
        The dtype of the indices: any integer dtype that holds ``C - 1`` for C classes. int64 by default.

    Returns
    -------
    TopK
        A named tuple ``(values, indices)`` of arrays in the shape of `x` with length `k` along the axis.
        `values` are of `dtype`, `indices` of `index_dtype`.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and ValueError if `k` is out of range, `kind` is none of the three, or `index_dtype` does not hold
        the last class.

    Notes
    -----
    Of equal logits those with lower indices come first. NaN comes before all numbers, and makes all values of its row
    NaN. -inf comes before masked classes.

    Along the last axis, values have the bits of `softmax` and `log_softmax`. Only candidates are sorted: beside the
    results, a thread needs memory for some multiple of `k` and a sixteenth of a row.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> values, indices = softlane.topk(np.array([1.0, 3.0, 2.0, 3.0]), 2)
    >>> indices
    array([1, 3])
    >>> values
    array([0.3994863, 0.3994863])

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.topk(x, 1, temperature=t[:, None]).values
    array([[0.73105858],
           [0.62245933]])
    """
    found = None
    if axis is not None and kind in ("probs", "log_probs", "logits"):
        is_logits = kind == "logits"
        op = _TOPK[kind] if largest else _core.TOPK_OF_NEGATED
        found = _core.topk(
            op, x, axis, k, dtype, index_dtype, True, sorted, where, temperature, _core.AS_GIVEN, None, None, is_logits
        )
    if found is not None and found[1] is None:  # of the smallest
        y = _core.take(_TAKE[kind], x, axis, found[0], dtype, None, None, where, temperature)
        is_right = y is not None and (dtype is not None or getattr(x, "dtype", None) == y.dtype)
        found = (found[0], y) if is_right else None
    if found is not None:
        return TopK(found[1], found[0])
    return _topk(x, k, axis, kind, bool(sorted), bool(largest), where, temperature, dtype, index_dtype)


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
    axis : int, default -1
        The class axis.
    ignore_index : int, optional
        Index that marks padding, such as -100 or -1: the result there is 0.
    where : array_like of bool, optional
        True for the classes to include; broadcasts to the shape of `x`. The others give -inf.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row, as in `softmax`.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64. By default float32, or float64 where `x` is
        computed in that.

    Returns
    -------
    ndarray or NumPy scalar
        Log-probabilities (in nats), of `dtype`, in the shape of `indices`, with the other axes broadcast against those
        of `x`.

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

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.take_log_probs(x, [0, 0], temperature=t[:, None])
    array([-1.31326169, -0.97407698])
    """
    y = _core.take(_core.TAKE_LOG_PROBS, x, axis, indices, dtype, None, ignore_index, where, temperature)
    if y is None:
        y = _take(_core.TAKE_LOG_PROBS, x, axis, indices, dtype, None, ignore_index, where, temperature)
    return y


def rank(
    x: ArrayLike,
    indices: ArrayLike,
    axis: int = -1,
    *,
    ignore_index: int | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    index_dtype: DTypeLike | None = None,
) -> Any:
    """Number of classes that come before a given one: 0 for the class that `argmax` takes.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    indices : array_like of int
        As in `take_log_probs`.
    axis : int, default -1
        The class axis.
    ignore_index : int, optional
        Index that marks padding, such as -100 or -1: the result there is -1.
    where : array_like of bool, optional
        True for the classes to include; broadcasts to the shape of `x`. The others come last.
    temperature : float or array_like, optional
        As in `softmax`. It is checked, and changes no rank.
    index_dtype : data-type, optional
        The dtype of the ranks: any integer dtype that holds ``C - 1`` for C classes, and -1 if there is an
        `ignore_index`. int64 by default.

    Returns
    -------
    ndarray of int64, or of `index_dtype`
        Ranks in the shape of `indices`, as from `take_log_probs`.

    Raises
    ------
    IndexError, TypeError, ValueError
        As `take_log_probs`, and ValueError if `index_dtype` does not hold all ranks.

    Notes
    -----
    The order is that of `topk`: ``rank(x, topk(x, k).indices)`` counts from 0 to ``k - 1``. Each index takes one read
    of its row; the ranks of all classes come faster from ``numpy.argsort``.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.rank(np.array([[0.5, 3.0, 1.0], [2.0, 2.0, 2.0]]), [2, 2])
    array([1, 2])
    """
    y = _core.take(_core.RANK, x, axis, indices, None, index_dtype, ignore_index, where, temperature)
    if y is None:
        y = _take(_core.RANK, x, axis, indices, None, index_dtype, ignore_index, where, temperature)
    return y


# ---- arguments of any layout and dtype ------------------------------------------------------------------------------


@protected
def _argmax(
    x: object,
    axis: object,
    return_probs: bool,
    keepdims: bool,
    where: object,
    temperature: object,
    dtype: object,
    index_dtype: object,
) -> tuple[Any, Any]:
    call = check("argmax", x, axis, where, temperature, dtype, axes="one or all")
    check_class_count("argmax", call.rows.x.shape, call.rows.axes, call.rows.compute)
    integers = index_type("argmax", index_dtype, call.rows.classes)
    index, y = _largest(call, 1, "probs" if return_probs else "logits", True, integers)
    has_axis = keepdims and not call.is_scalar
    return call.give(index, index.dtype, has_axis), None if y is None else call.give(y, call.dtype, has_axis)


@protected
def _topk(
    x: object,
    k: object,
    axis: object,
    kind: object,
    in_order: bool,
    largest: bool,
    where: object,
    temperature: object,
    dtype: object,
    index_dtype: object,
) -> TopK:
    kind = check_kind("topk", kind)
    call = check("topk", x, axis, where, temperature, dtype)
    check_class_count("topk", call.rows.x.shape, call.rows.axes, call.rows.compute, least=0)
    count = check_k("topk", k, call.rows.classes)
    integers = index_type("topk", index_dtype, call.rows.classes)
    index, y = _largest(call, count, kind, in_order, integers, largest)
    if y is None:
        y = _logits_of(call.rows, index, call.dtype)
    return TopK(call.give(y, call.dtype, True), index)


def _largest(
    call: Call, k: int, kind: str, in_order: bool, integers: np.dtype[Any], largest: bool = True
) -> tuple[Array, Array | None]:
    """The first k classes of each row, of x or of -x, and their values unless these are logits."""
    rows = call.rows
    index = np.empty(call.shape(k), integers)
    y = None if kind == "logits" else np.empty(call.shape(k), call.stored)
    if index.size == 0:
        return index, y
    apart = y is None or not largest or are_far(rows.temperature, rows.compute)
    op = (_core.TOPK if apart else _TOPK[kind]) if largest else _core.TOPK_OF_NEGATED
    to = None if apart else y

    def kernel(
        mode: int, axes: Axes, x: Array, mask: Array | None, t: Array | None, index: Array, y: Array | None
    ) -> Any:
        dtype = None if y is None else y.dtype
        return _core.topk(op, x, axes, k, dtype, index.dtype, True, in_order, mask, t, mode, index, y)

    which = rows._replace(temperature=None) if apart else rows  # temperatures change no order, but may make equals
    which, index_view, view = _classes_last(k, which, index, to)
    apply_to_rows(kernel, rows.compute, which.axes, which.arrays, (), (index_view, view))
    if apart and y is not None:
        _values_of(_TAKE[kind], rows, index.astype(np.int64, copy=False), y)
    return index, y


def _classes_last(k: int, rows: Rows, *others: Array | None) -> tuple[Any, ...]:
    """With the class axis at the end, as kernels want it for more than one class of a row."""
    return (rows, *others) if k == 1 else at_the_end(rows, *others)


def _values_of(op: int, rows: Rows, index: Array, y: Array) -> None:
    """Values, or ranks, of given classes, into y of the same shape. Without classes all are to be ignored."""
    if index.size == 0 or rows.classes == 0:
        return

    def kernel(mode: int, axes: Axes, x: Array, mask: Array | None, t: Array | None, index: Array, y: Array) -> Any:
        types: tuple[Any, Any] = (None, y.dtype) if op == _core.RANK else (y.dtype, None)
        return _core.take(op, x, axes, index, types[0], types[1], None, mask, t, mode, y)

    rows, index, y = _classes_last(index.shape[rows.axes[0]], rows, index, y)
    apply_to_rows(kernel, rows.compute, rows.axes, rows.arrays, (index,), (y,))


def _logits_of(rows: Rows, index: Array, dtype: np.dtype[Any]) -> Array:
    """x itself at these classes: -inf where hidden, all NaN where a visible one is NaN, which then comes first."""
    axis = rows.axes[0]
    with np.errstate(all="ignore"):
        y = np.take_along_axis(rows.x, index, axis).astype(dtype)
    hidden: Any = np.False_ if rows.mask is None else ~np.take_along_axis(rows.mask, index, axis)
    y[np.broadcast_to(hidden, y.shape)] = -np.inf
    np.copyto(y, np.nan, where=np.isnan(y.take([0], axis) if y.shape[axis] else y) & ~hidden)
    return y


@protected
def _take(
    op: int,
    x: object,
    axis: object,
    indices: object,
    dtype: object,
    index_dtype: object,
    ignore_index: object,
    where: object,
    temperature: object,
) -> Any:
    """Values or ranks of given classes."""
    name = "rank" if op == _core.RANK else "take_log_probs"
    call = check(name, x, axis, where, temperature, dtype, is_per_row=True)
    rows, k = call.rows, call.rows.axes[0]
    given = given_classes(name, indices, ignore_index, rows.x.shape, k, call.is_scalar)
    index = given.classes
    shape = (*index.shape[:k], rows.classes, *index.shape[k + 1 :])
    if shape != rows.x.shape:  # the rows that several classes are given for
        mask, t = rows.mask, rows.temperature
        mask = None if mask is None else np.broadcast_to(mask, shape)
        t = t if t is None or not t.ndim else np.broadcast_to(t, (*shape[:k], 1, *shape[k + 1 :]))
        rows = rows._replace(x=np.broadcast_to(rows.x, shape), mask=mask, temperature=t)
    dtype = call.stored
    if op == _core.RANK:
        rows = rows._replace(temperature=None)
        dtype = index_type(name, index_dtype, rows.classes, ignore_index is not None)
    y = np.empty(index.shape, dtype)
    _values_of(op, rows, index, y)
    if given.ignored is not None:
        y[given.ignored] = -1 if op == _core.RANK else 0
    with np.errstate(all="ignore"):
        y = y.astype(dtype if op == _core.RANK else call.dtype, copy=False)
    return y if given.has_axis else y.reshape(() if call.is_scalar else (*shape[:k], *shape[k + 1 :]))[()]
