"""Decide: dtype, axis, output and errors of a call, and how arrays that the kernels cannot read reach them.

The only file that rejects an array. It knows nothing of how a softmax is computed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.exceptions import AxisError

from softlane import _core

Array = np.ndarray[Any, Any]

_SUPPORTED = "float32, float64, float16, bfloat16, bool and the integers of 8 to 64 bits"
_STORAGE = {np.dtype("f4"): _core.FLOAT32, np.dtype("f8"): _core.FLOAT64, np.dtype("f2"): _core.FLOAT16}

# Elements of a piece that is copied to reach the kernels: 1 MiB of float32, which the second-level cache holds.
_PIECE = 1 << 18

# Inner lengths from which columns are never narrow: the widest vector has 16 lanes.
_WIDE = 16


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    return dtype.name == "bfloat16" and dtype.itemsize == 2


def _storage(dtype: np.dtype[Any]) -> int:
    return _core.BFLOAT16 if _is_bfloat16(dtype) else _STORAGE[dtype]


def _result_dtype(name: str, dtype: np.dtype[Any], what: str = "x") -> np.dtype[Any]:
    if _is_bfloat16(dtype):
        return dtype
    if dtype.kind in "fbiu" and dtype.isbuiltin != 2:  # some extension dtypes call themselves float or integer too
        if dtype.newbyteorder("=") in _STORAGE:
            return dtype.newbyteorder("=")
        if dtype.kind in "biu":
            return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    raise TypeError(f"{name}: {what} has dtype {dtype}; supported are {_SUPPORTED}")


def _as_array(name: str, x: object, what: str = "x") -> Array:
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: {what} is a masked array; supported are plain arrays, for example {what}.filled(-numpy.inf)"
        )
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name}: {what} cannot be made an array: {error}") from None


def _normalise_axis(name: str, axis: object, ndim: int) -> int:
    """The axis as 0 <= k < ndim; a 0-d array is one class, so it has an axis 0 as well."""
    try:
        k = operator.index(axis)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: axis must be an integer, got {axis!r} ({type(axis).__name__})") from None
    axes = max(ndim, 1)
    if not -axes <= k < axes:
        raise AxisError(k, ndim)
    return k % axes


def _check_out(name: str, out: object, shape: tuple[int, ...], dtype: np.dtype[Any], what: str = "out") -> Array:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name}: {what} must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{name}: {what} has shape {out.shape}, expected {shape}")
    if out.dtype != dtype:
        raise TypeError(f"{name}: {what} has dtype {out.dtype}, expected {dtype}")
    if any(step == 0 and n > 1 for n, step in zip(out.shape, out.strides, strict=True)):
        raise ValueError(f"{name}: {what} has strides {out.strides}: several elements share memory")
    if not out.flags.writeable:
        raise ValueError(f"{name}: {what} is read-only")
    return np.asarray(out)


def _is_plain(a: Array) -> bool:
    return a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative


def _pieces(shape: tuple[int, ...], axis: int, most: int = _PIECE) -> Iterator[tuple[slice, ...]]:
    """Indices that cut an array into pieces of about `most` elements, whole along `axis`.

    The form of the kernels, and with it the last bits, depends on the inner length where that is small. So the cut is
    along an axis before `axis`, or leaves at least `_WIDE` inner elements in every piece.
    """
    whole = [slice(None)] * len(shape)
    size = int(np.prod(shape))
    inner = int(np.prod(shape[axis + 1 :]))
    cut = max(range(axis), key=lambda i: shape[i], default=axis)
    least = 1
    if axis + 1 < len(shape) and (cut == axis or shape[cut] == 1):
        cut = max(range(axis + 1, len(shape)), key=lambda i: shape[i])
        least = -(-_WIDE * shape[cut] // max(inner, 1))
    if size <= most or cut == axis or shape[cut] < 2 * least:
        yield tuple(whole)
        return
    length = shape[cut]
    step = max(least, length * most // size)
    start = 0
    while start < length:
        stop = length if length - start - step < least else start + step
        whole[cut] = slice(start, stop)
        yield tuple(whole)
        start = stop


def elementwise(op: int, name: str, x: object, axis: object, out: object) -> Any:
    """softmax and log_softmax of anything that `_core.fast` does not take."""
    a = _as_array(name, x)
    dtype = _result_dtype(name, a.dtype)
    k = _normalise_axis(name, axis, a.ndim)
    y = None if out is None else _check_out(name, out, a.shape, dtype)
    if a.ndim == 0:  # one class
        a = a.reshape(1)
        z = None if y is None else y.reshape(1)
        result = _elementwise(op, a, dtype, 0, z)
        return result[0] if out is None else out
    result = _elementwise(op, a, dtype, k, y)
    return result if out is None else out


def _elementwise(op: int, a: Array, dtype: np.dtype[Any], axis: int, out: Array | None) -> Array:
    if out is None:
        y = np.empty(a.shape, dtype)
    elif _overlaps(a, out):
        out[...] = _elementwise(op, a, dtype, axis, None)
        return out
    elif _is_plain(out):
        y = out
    else:
        for piece in _pieces(a.shape, axis):
            out[piece] = _elementwise(op, a[piece], dtype, axis, None)
        return out
    if not (a.dtype == dtype and _is_plain(a)):
        np.copyto(y, a, casting="unsafe")  # any layout, byte order or integer; then in place, without a temporary
        a = y
    _core.run(op, _storage(dtype), a, y, axis)
    return y


def _address(a: Array) -> int:
    return int(a.__array_interface__["data"][0])


def _overlaps(a: Array, out: Array) -> bool:
    """Does `out` share memory with `a`, other than element by element?"""
    same = a.dtype == out.dtype and _is_plain(a) and _is_plain(out) and _address(a) == _address(out)
    return not same and bool(np.may_share_memory(a, out))


def _without(items: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    """A shape, or an index, of the batch alone."""
    return (*items[:axis], *items[axis + 1 :])


def reduction(op: int, name: str, x: object, axis: object, out: object, keepdims: bool) -> Any:
    """logsumexp of anything that `_core.fast` does not take."""
    a = _as_array(name, x)
    dtype = _result_dtype(name, a.dtype)
    k = _normalise_axis(name, axis, a.ndim)
    if a.ndim == 0:
        kept: tuple[int, ...] = ()
        shape: tuple[int, ...] = ()
        a = a.reshape(1)
    else:
        kept = (*a.shape[:k], 1, *a.shape[k + 1 :])
        shape = kept if keepdims else _without(a.shape, k)
    y = None if out is None else _check_out(name, out, shape, dtype)
    fresh = np.empty(kept or (1,), dtype)
    if a.shape[k] == 0:
        fresh.fill(-np.inf)
    elif a.dtype == dtype and _is_plain(a):
        _core.run(op, _storage(dtype), a, fresh, k)
    else:
        for piece in _pieces(a.shape, k):
            copy = np.empty(a[piece].shape, dtype)
            np.copyto(copy, a[piece], casting="unsafe")
            part = np.empty((*copy.shape[:k], 1, *copy.shape[k + 1 :]), dtype)
            _core.run(op, _storage(dtype), copy, part, k)
            fresh[tuple(slice(None) if i == k else s for i, s in enumerate(piece))] = part
            del copy  # before the next one is made
    result = fresh.reshape(shape)
    if y is not None:
        y[...] = result
        return out
    return result if shape else result[()]
