"""softlane over Dask arrays: lazy, block by block, with the class axis in one chunk or in many.

A class axis in one chunk is computed by the functions of softlane themselves, with their bits. Otherwise each chunk is
summarized (`softlane.stream`), and the summaries are merged in a tree. `softmax` and `log_softmax` then read each chunk
a second time. The class axis is never rechunked or gathered. Every task uses one thread (``softlane.num_threads(1)``),
since a scheduler runs as many tasks as there are processors.

Needs Dask: ``pip install "softlane[dask]"``.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

import softlane
from softlane._select import TopK
from softlane._validate import check_reduction, given_classes, index_type, integer, normalise_axis, targets_of
from softlane.stream import RowSummary, empty, summarize

__all__ = ["argmax", "cross_entropy", "entropy", "log_softmax", "logsumexp", "softmax", "take_log_probs", "topk"]

Pairs = tuple[Any, ...]  # arguments of blockwise: array, index, array, index, ...


def softmax(
    x: da.Array,
    axis: int = -1,
    *,
    where: ArrayLike | da.Array | None = None,
    temperature: ArrayLike | da.Array | None = None,
    dtype: DTypeLike | None = None,
) -> da.Array:
    """`softlane.softmax` of a Dask array.

    Parameters
    ----------
    x : dask.array.Array
        Logits.
    axis : int, default -1
        The class axis, in any number of chunks.
    where : array_like or dask.array.Array of bool, optional
        True for the elements to include; broadcasts to the shape of `x`.
    temperature : float, array_like or dask.array.Array, optional
        Positive number that divides `x`, or one for each row.
    dtype : data-type, optional
        The dtype of the result, as in `softlane.softmax`.

    Returns
    -------
    dask.array.Array
        The shape and chunks of `x`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or shape. What is wrong with values shows when the result is computed.

    Examples
    --------
    >>> import dask.array as da, softlane.dask
    >>> x = da.arange(6, chunks=2).reshape(2, 3)
    >>> softlane.dask.softmax(x).compute().round(3)
    array([[0.09 , 0.245, 0.665],
           [0.09 , 0.245, 0.665]])
    """
    return _like_x(softlane.softmax, "softmax", x, axis, where, temperature, dtype)


def log_softmax(
    x: da.Array,
    axis: int = -1,
    *,
    where: ArrayLike | da.Array | None = None,
    temperature: ArrayLike | da.Array | None = None,
    dtype: DTypeLike | None = None,
) -> da.Array:
    """`softlane.log_softmax` of a Dask array.

    Parameters
    ----------
    x, axis, where, temperature, dtype
        As in `softlane.dask.softmax`.

    Returns
    -------
    dask.array.Array
        The shape and chunks of `x`.
    """
    return _like_x(softlane.log_softmax, "log_softmax", x, axis, where, temperature, dtype)


def logsumexp(
    x: da.Array,
    axis: int = -1,
    *,
    keepdims: bool = False,
    where: ArrayLike | da.Array | None = None,
    temperature: ArrayLike | da.Array | None = None,
    dtype: DTypeLike | None = None,
) -> da.Array:
    """`softlane.logsumexp` of a Dask array.

    Parameters
    ----------
    x, axis, where, temperature, dtype
        As in `softlane.dask.softmax`.
    keepdims : bool, default False
        Keep the axis in the result, with length 1.

    Returns
    -------
    dask.array.Array
        The shape and chunks of `x` without `axis`.
    """
    axis = _check_x("logsumexp", x, axis)
    return _per_row("logsumexp", softlane.logsumexp, x, axis, keepdims, where, temperature, dtype)


def entropy(
    x: da.Array,
    axis: int = -1,
    *,
    keepdims: bool = False,
    where: ArrayLike | da.Array | None = None,
    temperature: ArrayLike | da.Array | None = None,
    dtype: DTypeLike | None = None,
) -> da.Array:
    """`softlane.entropy` of a Dask array.

    Parameters
    ----------
    x, axis, keepdims, where, temperature, dtype
        As in `softlane.dask.logsumexp`.

    Returns
    -------
    dask.array.Array
        The shape and chunks of `x` without `axis`.
    """
    axis = _check_x("entropy", x, axis)
    return _per_row("entropy", softlane.entropy, x, axis, keepdims, where, temperature, dtype, {"entropy": True})


def argmax(
    x: da.Array,
    axis: int = -1,
    *,
    return_probs: bool = False,
    keepdims: bool = False,
    where: ArrayLike | da.Array | None = None,
    temperature: ArrayLike | da.Array | None = None,
    dtype: DTypeLike | None = None,
    index_dtype: DTypeLike | None = None,
) -> Any:
    """`softlane.argmax` of a Dask array.

    Parameters
    ----------
    x, axis, where, temperature
        As in `softlane.dask.softmax`.
    return_probs : bool, default False
        Return the probability of the class as well.
    keepdims : bool, default False
        Keep the axis in the results, with length 1.
    dtype, index_dtype : data-type, optional
        Of the probabilities and of the classes, as in `softlane.argmax`.

    Returns
    -------
    dask.array.Array, or a pair of them
        The shape and chunks of `x` without `axis`.
    """
    values, indices = _topk(
        "argmax", x, 1, axis, "probs" if return_probs else "logits", where, temperature, dtype, index_dtype
    )
    axis = _check_x("argmax", x, axis)
    results = [a if keepdims else da.squeeze(a, axis) for a in (indices, values)]
    return tuple(results) if return_probs else results[0]


def topk(
    x: da.Array,
    k: int,
    axis: int = -1,
    *,
    kind: str = "probs",
    where: ArrayLike | da.Array | None = None,
    temperature: ArrayLike | da.Array | None = None,
    dtype: DTypeLike | None = None,
    index_dtype: DTypeLike | None = None,
) -> TopK:
    """`softlane.topk` of a Dask array.

    Parameters
    ----------
    x, axis, where, temperature
        As in `softlane.dask.softmax`.
    k : int
        Number of classes to return, from 1 to all of them.
    kind : {"probs", "log_probs", "logits"}, default "probs"
        What the values are.
    dtype, index_dtype : data-type, optional
        Of the values and of the classes, as in `softlane.topk`.

    Returns
    -------
    TopK
        Two Dask arrays of the shape of `x` with length `k` along `axis`.
    """
    return _topk("topk", x, k, axis, kind, where, temperature, dtype, index_dtype)


def take_log_probs(
    x: da.Array,
    indices: ArrayLike | da.Array,
    axis: int = -1,
    *,
    where: ArrayLike | da.Array | None = None,
    temperature: ArrayLike | da.Array | None = None,
    dtype: DTypeLike | None = None,
) -> da.Array:
    """`softlane.take_log_probs` of a Dask array.

    Parameters
    ----------
    x, axis, where, temperature, dtype
        As in `softlane.dask.softmax`.
    indices : array_like or dask.array.Array of int
        One class for each row, in the shape of `x` without `axis`.

    Returns
    -------
    dask.array.Array
        The shape and chunks of `x` without `axis`.
    """
    name = "take_log_probs"
    axis = _check_x(name, x, axis)
    classes = _of_rows(name, "indices", indices, x, axis, broadcasts=False)
    return _of_target(name, softlane.take_log_probs, x, axis, classes, where, temperature, dtype, {}, dtype)


def cross_entropy(
    logits: da.Array,
    target: ArrayLike | da.Array,
    *,
    axis: int = -1,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: ArrayLike | da.Array | None = None,
    where: ArrayLike | da.Array | None = None,
    temperature: ArrayLike | da.Array | None = None,
    dtype: DTypeLike | None = None,
) -> da.Array:
    """`softlane.cross_entropy` of a Dask array, with class indices.

    Parameters
    ----------
    logits, axis, where, temperature, dtype
        As `x` and the others in `softlane.dask.softmax`.
    target : array_like or dask.array.Array of int
        One class for each row, in the shape of `logits` without `axis`.
    ignore_index : int, default -100
        Rows with this target do not count: their loss is 0.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean over the rows that count, their sum, or one loss for each row.
    sample_weight : array_like or dask.array.Array, optional
        A number for each row that multiplies its loss; "mean" divides by their sum.

    Returns
    -------
    dask.array.Array
        One number, or with "none" the shape and chunks of `logits` without `axis`.
    """
    name = "cross_entropy"
    axis = _check_x(name, logits, axis)
    reduction = check_reduction(name, reduction)
    classes = _of_rows(name, "target", target, logits, axis, broadcasts=False)
    wide = _dtype_of_row(logits, dtype)
    options = {"ignore_index": ignore_index, "reduction": "none"}
    first = wide if reduction == "none" and sample_weight is None else np.dtype(np.float64)
    losses = _of_target(name, softlane.cross_entropy, logits, axis, classes, where, temperature, first, options, dtype)
    counts = classes != ignore_index
    if sample_weight is not None:
        weight = _of_rows(name, "sample_weight", sample_weight, logits, axis)
        weight = da.map_blocks(_checked_weights, weight, dtype=np.float64)
        losses = da.where(counts & (weight != 0), losses * weight, 0)
        counts = da.where(counts, weight, 0)
    if reduction == "none":
        return losses.astype(wide)
    total = losses.sum(dtype=np.float64)
    if reduction == "mean":
        total = da.map_blocks(_divide, total, counts.sum(dtype=np.float64), dtype=np.float64)
    return total.astype(wide)


# ---- arguments -------------------------------------------------------------------------------------------------------


def _check_x(name: str, x: object, axis: object) -> int:
    if not isinstance(x, da.Array):
        raise TypeError(f"{name}: x must be a Dask array, got {type(x).__name__}; in memory use softlane.{name}")
    if not x.ndim:
        raise ValueError(f"{name}: x is 0-d, expected at least one dimension, that of the classes")
    axis = normalise_axis(name, axis, x.ndim)
    if math.isnan(x.shape[axis]):
        raise ValueError(f"{name}: the chunks of x along the class axis {axis} have unknown sizes")
    return axis


def _of_rows(name: str, what: str, a: Any, x: da.Array, axis: int, broadcasts: bool = True) -> da.Array:
    """One number for each row, in the shape of the batch and its chunks"""
    wanted, shape = ((*of[:axis], *of[axis + 1 :]) for of in (x.chunks, x.shape))
    if not isinstance(a, da.Array):
        if any(math.isnan(n) for n in shape):
            raise ValueError(f"{name}: x has chunks of unknown sizes: {what} must be a Dask array with the same chunks")
        a = da.from_array(np.asarray(a), chunks=-1)
    if broadcasts and a.ndim == x.ndim and a.shape[axis] == 1:
        a = da.squeeze(a, axis)
    if a.ndim == len(shape) and any(math.isnan(n) for n in (*shape, *a.shape)):
        if a.numblocks == tuple([len(c) for c in wanted]):
            return a
        raise ValueError(f"{name}: {what} has {a.numblocks} chunks, expected those of the rows of x")
    fits = a.ndim <= len(shape) and all(n in (1, m) for n, m in zip(a.shape[::-1], shape[::-1], strict=False))
    if a.shape != shape and not (broadcasts and fits):
        raise ValueError(f"{name}: {what} has shape {a.shape}, expected {shape}, one number for each row")
    return da.broadcast_to(a, shape).rechunk(wanted)


def _options(
    name: str, x: da.Array, axis: int, where: Any, temperature: Any
) -> tuple[dict[str, Any], tuple[str, ...], Pairs]:
    """Numbers, and the names and arguments of blockwise of what has chunks"""
    numbers: dict[str, Any] = {}
    names: list[str] = []
    pairs: list[Any] = []
    if where is not None:
        mask = where if isinstance(where, da.Array) else da.from_array(np.asarray(where), chunks=-1)
        if mask.ndim > x.ndim:
            raise ValueError(f"{name}: where has {mask.ndim} dimensions, expected {x.ndim} at most, those of x")
        index = tuple(range(x.ndim - mask.ndim, x.ndim))
        for i, n in zip(index, mask.shape, strict=True):
            if n not in (1, x.shape[i]) and not math.isnan(n) and not math.isnan(x.shape[i]):
                raise ValueError(
                    f"{name}: where has shape {mask.shape}, which does not broadcast to {x.shape}, that of x"
                )
        known = {
            j: x.chunks[i] if n != 1 else (1,)
            for j, (i, n) in enumerate(zip(index, mask.shape, strict=True))
            if not math.isnan(n) and not math.isnan(x.shape[i])
        }
        mask = mask.rechunk(known)
        names.append("where")
        pairs += [mask, index]
    if temperature is not None and not isinstance(temperature, da.Array) and np.ndim(temperature) == 0:
        numbers["temperature"] = temperature
    elif temperature is not None:
        names.append("temperature")
        pairs += [_of_rows(name, "temperature", temperature, x, axis), _rows(x, axis)]
    return numbers, tuple(names), tuple(pairs)


def _rows(x: da.Array, axis: int) -> tuple[int, ...]:
    """The index of arrays of one number for each row"""
    return tuple([i for i in range(x.ndim) if i != axis])


def _dtype_of(function: Callable[..., Any], x: da.Array, dtype: object) -> np.dtype[Any]:
    """Of the results of a function"""
    found: np.dtype[Any] = np.asarray(function(np.zeros((1,) * x.ndim, x.dtype), dtype=dtype)).dtype
    return found


def _dtype_of_row(x: da.Array, dtype: object) -> np.dtype[Any]:
    """Of results with one number for each row, which are worth 32 bits"""
    return _dtype_of(softlane.entropy, x, dtype)


# ---- tasks -----------------------------------------------------------------------------------------------------------


def _call(function: Callable[..., Any], names: tuple[str, ...], options: dict[str, Any], x: Any, *arrays: Any) -> Any:
    """A function of softlane on one block, on one thread"""
    with softlane.num_threads(1):
        return function(x, **dict(zip(names, arrays, strict=True)), **options)


def _checked_classes(name: str, n: int, options: dict[str, Any], classes: Any) -> Any:
    """With the errors of the function for x in memory, but for the index, which is that within the chunk"""
    shape = (*classes.shape, n)
    if name == "cross_entropy":
        targets_of(name, "logits", classes, shape, classes.ndim, options["ignore_index"])
    else:
        given_classes(name, classes, None, shape, classes.ndim, False)
    return classes


def _checked_weights(weight: Any) -> Any:
    if weight.dtype.kind not in "fiub" or not ((weight >= 0) & (weight < np.inf)).all():
        raise ValueError("cross_entropy: sample_weight has other values than finite numbers that are not negative")
    return weight.astype(np.float64)


def _divide(a: Any, b: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.divide(a, b)


def _summarize(x: Any, *, first_class: Any, axis: int, is_wide: bool, where: Any = None, **options: Any) -> RowSummary:
    if is_wide:
        x = x.astype(np.float64)
    if x.shape[axis]:
        return summarize(x, axis, first_class=int(first_class[0]), where=where, **options)
    row = np.zeros((1,) * x.ndim, x.dtype)
    return empty(x.shape[:axis] + x.shape[axis + 1 :], summarize(row, axis).dtype, **options)


def _same(x: Any, axis: object, keepdims: object) -> Any:
    return x


def _flat(parts: Any) -> list[RowSummary]:
    """The summaries of nested lists"""
    return [parts] if isinstance(parts, RowSummary) else [s for part in parts for s in _flat(part)]


def _merge(parts: Any, axis: object, keepdims: object) -> RowSummary:
    """What a node of the tree knows, from its branches"""
    with softlane.num_threads(1):
        return functools.reduce(operator.or_, _flat(parts))


def _result(method: str, axis: int, dtype: np.dtype[Any], options: dict[str, Any], s: RowSummary) -> Any:
    """What a summary says, with length 1 along the class axis"""
    with softlane.num_threads(1), np.errstate(all="ignore"):
        return np.expand_dims(np.asarray(getattr(s, method)(**options)).astype(dtype, copy=False), axis)


def _block(method: str, names: tuple[str, ...], dtype: object, x: Any, s: RowSummary, *arrays: Any) -> Any:
    with softlane.num_threads(1):
        if not x.size:
            return x.astype(dtype)
        return getattr(s, method)(x, dtype=dtype, **dict(zip(names, arrays, strict=True)))


def _best_of_summary(kind: str, axis: int, s: RowSummary) -> TopK:
    with softlane.num_threads(1):
        values, indices = s.topk(kind=kind)
    return TopK(np.moveaxis(values, -1, axis), np.moveaxis(indices, -1, axis))


def _pick(i: int, dtype: np.dtype[Any], both: TopK) -> Any:
    with np.errstate(all="ignore"):
        return both[i].astype(dtype, copy=False)


def _blockwise(
    function: Callable[..., Any], x: da.Array, *pairs: Any, dtype: Any, chunks: dict[int, Any] | None = None
) -> da.Array:
    """Of blocks like those of x, but for other lengths along an axis"""
    index = tuple(range(x.ndim))
    meta = np.empty((0,) * x.ndim, dtype)
    return da.blockwise(
        function, index, x, index, *pairs, dtype=dtype, meta=meta, adjust_chunks=chunks, align_arrays=False
    )


def _summaries(
    x: da.Array,
    axis: int,
    names: tuple[str, ...],
    numbers: dict[str, Any],
    pairs: Pairs,
    dtype: object,
    **options: Any,
) -> da.Array:
    """One object for the rows of each chunk of rows, merged over the chunks of the class axis"""
    starts = np.array([0, *itertools.accumulate(x.chunks[axis][:-1])])
    is_wide = dtype is not None and np.dtype(dtype) == np.float64  # type: ignore[call-overload]
    function = functools.partial(
        _call,
        functools.partial(_summarize, axis=axis, is_wide=is_wide),
        ("first_class", *names),
        {**numbers, **options},
    )
    firsts = (da.from_array(starts, chunks=1), (axis,))
    each = _blockwise(function, x, *firsts, *pairs, dtype=object, chunks={axis: 1})
    return da.reduction(
        each,
        _same,
        _merge,
        combine=_merge,
        axis=axis,
        keepdims=True,
        dtype=object,
        concatenate=False,
        meta=np.empty((0,) * x.ndim, object),
    )


# ---- families --------------------------------------------------------------------------------------------------------


def _like_x(
    function: Callable[..., Any], name: str, x: da.Array, axis: int, where: object, temperature: object, dtype: object
) -> da.Array:
    axis = _check_x(name, x, axis)
    numbers, names, pairs = _options(name, x, axis, where, temperature)
    result = _dtype_of(function, x, dtype)
    if x.numblocks[axis] == 1:
        block = functools.partial(_call, function, names, {"axis": axis, "dtype": result, **numbers})
        return _blockwise(block, x, *pairs, dtype=result)
    s = _summaries(x, axis, names, numbers, pairs, dtype)
    masks = pairs[:2] if "where" in names else ()
    block = functools.partial(_block, name, names[: len(masks) // 2], result)
    return _blockwise(block, x, s, tuple(range(x.ndim)), *masks, dtype=result)


def _per_row(
    name: str,
    function: Callable[..., Any],
    x: da.Array,
    axis: int,
    keepdims: bool,
    where: object,
    temperature: object,
    dtype: object,
    asks: dict[str, Any] | None = None,
) -> da.Array:
    numbers, names, pairs = _options(name, x, axis, where, temperature)
    result = _dtype_of(function, x, dtype)
    if x.numblocks[axis] == 1:
        block = functools.partial(_call, function, names, {"axis": axis, "keepdims": True, "dtype": result, **numbers})
        y = _blockwise(block, x, *pairs, dtype=result, chunks={axis: 1})
    else:
        s = _summaries(x, axis, names, numbers, pairs, dtype, **(asks or {}))
        y = _blockwise(functools.partial(_result, name, axis, result, {}), s, dtype=result)
    return y if keepdims else da.squeeze(y, axis)


def _target_of_block(
    function: Callable[..., Any], names: tuple[str, ...], options: dict[str, Any], x: Any, *arrays: Any
) -> Any:
    """With length 1 along the class axis"""
    return np.expand_dims(np.asarray(_call(function, names, options, x, *arrays)), options["axis"])


def _of_target(
    name: str,
    function: Callable[..., Any],
    x: da.Array,
    axis: int,
    target: da.Array,
    where: object,
    temperature: object,
    dtype: object,
    options: dict[str, Any],
    asked: object,
) -> da.Array:
    """A number for each row, of its class. asked: the dtype that the caller wants"""
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name}: the classes have dtype {target.dtype}, expected integers")
    numbers, names, pairs = _options(name, x, axis, where, temperature)
    rows = _rows(x, axis)
    result = _dtype_of_row(x, dtype)
    if x.numblocks[axis] == 1:
        given = "indices" if name == "take_log_probs" else "target"
        every = {"axis": axis, "dtype": result, **numbers, **options}
        block = functools.partial(_target_of_block, function, (given, *names), every)
        y = _blockwise(block, x, target, rows, *pairs, dtype=result, chunks={axis: 1})
        return da.squeeze(y, axis)
    checked = functools.partial(_checked_classes, name, x.shape[axis], options)
    target = da.map_blocks(checked, target, dtype=target.dtype, meta=target._meta)
    s = _summaries(x, axis, ("target", *names), numbers, (target, rows, *pairs), asked)
    method = "target_log_prob" if name == "take_log_probs" else name
    return da.squeeze(_blockwise(functools.partial(_result, method, axis, result, options), s, dtype=result), axis)


def _topk(
    name: str,
    x: da.Array,
    k: int,
    axis: int,
    kind: Any,
    where: object,
    temperature: object,
    dtype: Any,
    index_dtype: Any,
) -> TopK:
    axis = _check_x(name, x, axis)
    tiny = softlane.topk(np.zeros((1,) * x.ndim, x.dtype), 1, kind=kind, dtype=dtype, index_dtype=index_dtype)
    k = integer(name, "k", k)
    index_type(name, index_dtype, x.shape[axis])
    if not 1 <= k <= x.shape[axis]:
        raise ValueError(f"{name}: k is {k}, expected 1 to {x.shape[axis]}, the number of classes")
    numbers, names, pairs = _options(name, x, axis, where, temperature)
    if x.numblocks[axis] == 1:
        dtypes = {"dtype": tiny.values.dtype, "index_dtype": tiny.indices.dtype}
        block = functools.partial(
            _call, softlane.topk, names, {"k": k, "axis": axis, "kind": kind, **dtypes, **numbers}
        )
        both = _blockwise(block, x, *pairs, dtype=object, chunks={axis: k})
    else:
        s = _summaries(x, axis, names, numbers, pairs, dtype, k=k)
        both = _blockwise(functools.partial(_best_of_summary, kind, axis), s, dtype=object, chunks={axis: k})
    values, indices = (
        _blockwise(functools.partial(_pick, i, a.dtype), both, dtype=a.dtype) for i, a in enumerate(tiny)
    )
    return TopK(values, indices)
