"""Check: arrays, dtypes, axes and outputs of a call, and how large arrays are cut into pieces.

With _rows.py and the files that decide the only ones that reject an array. It knows no operation.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.exceptions import AxisError

from softlane import _core

Array = np.ndarray[Any, Any]

_SUPPORTED = "float32, float64, float16, bfloat16, bool and the integers of 8 to 64 bits"
_STORAGE = {
    np.dtype(np.float32): _core.FLOAT32,
    np.dtype(np.float64): _core.FLOAT64,
    np.dtype(np.float16): _core.FLOAT16,
    np.dtype(np.int8): _core.INT8,
    np.dtype(np.uint8): _core.UINT8,
    np.dtype(np.int16): _core.INT16,
    np.dtype(np.uint16): _core.UINT16,
    np.dtype(np.bool_): _core.BOOL,
}
_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))

# Elements of a piece that is copied to reach the kernels: 1 MiB of float32, which the second-level cache holds.
_PIECE = 1 << 18

# Inner lengths from which columns are never narrow: the widest vector has 16 lanes.
_WIDE = 16

# Kinds of device in DLPack whose memory a processor can read: kDLCPU, kDLCUDAHost, kDLROCMHost.
_CPU = (1, 3, 11)


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    if dtype.isbuiltin != 2 or dtype.name != "bfloat16" or dtype.itemsize != 2:
        return False
    _core.register_bfloat16(dtype.num)
    return True


def storage(dtype: np.dtype[Any]) -> int | None:
    """How the kernels know a dtype, None if they do not."""
    return _core.BFLOAT16 if is_bfloat16(dtype) else _STORAGE.get(dtype)


def compute_dtype(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """What results of these dtypes, or arrays that have them, are computed in."""
    return np.dtype(np.float64 if np.float64 in dtypes else np.float32)


def broadcast(name: str, what: str, a: Array, shape: tuple[int, ...], of: str) -> Array:
    try:
        return np.broadcast_to(a, shape)
    except ValueError:
        raise ValueError(
            f"{name}: {what} has shape {a.shape}, which does not broadcast to {shape}, that of {of}"
        ) from None


def broadcast_shapes(name: str, x: tuple[int, ...], what: str, other: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that an argument and x have together."""
    try:
        return np.broadcast_shapes(x, other)
    except ValueError:
        raise ValueError(f"{name}: {what} has shape {other}, which does not broadcast with {x}, that of x") from None


def result_dtype(name: str, dtype: np.dtype[Any], what: str = "x") -> np.dtype[Any]:
    if is_bfloat16(dtype):
        return dtype
    if dtype.kind in "fbiu" and dtype.isbuiltin != 2:  # some extension dtypes call themselves float or integer too
        if dtype.newbyteorder("=") in _FLOATS:
            return dtype.newbyteorder("=")
        if dtype.kind in "biu":
            return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    raise TypeError(f"{name}: {what} has dtype {dtype}; supported are {_SUPPORTED}")


def _reject_objects(name: str, x: object, a: Array, what: str) -> None:
    """An array of objects says nothing to users who did not make one."""
    kind = type(x).__name__
    held = type(a.item(0)).__name__ if a.size else "nothing"
    inside = f", an array of objects ({held})" if a.ndim and not isinstance(x, np.ndarray) else f" of objects ({held})"
    came = f"is {kind}" if a.ndim == 0 else f"is {kind}{inside}"
    hint = f"; {what}.to_numpy(float) makes numbers of it" if hasattr(x, "to_numpy") else ""
    if hasattr(x, "toarray"):
        hint = f"; {what}.toarray() makes a plain array of it"
    raise TypeError(f"{name}: {what} {came}, dtype object; supported are {_SUPPORTED}{hint}")


def output_dtype(name: str, dtype: object, default: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype argument of a call."""
    if dtype is None:
        return default
    try:
        found = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError:
        found = None
    if found is not None and (is_bfloat16(found) or found in _FLOATS):
        return found  # type: ignore[no-any-return]
    raise TypeError(f"{name}: dtype is {dtype!r}, expected a NumPy dtype: float32, float64, float16 or bfloat16")


def as_array(name: str, x: object, what: str = "x") -> Array:
    """An array of NumPy, of another library, or anything that makes one; without a copy where memory can be shared."""
    if type(x) is np.ndarray and x.dtype != np.object_:
        return x
    if isinstance(x, np.ma.MaskedArray):
        advice = f"{what}.filled(...)"
        if what in ("x", "where"):
            advice = f"{what}.data, and where=~{what}.mask to functions that have it"
        elif what in ("target", "indices"):
            advice = f"{what}.filled(ignore_index) to functions that have it"
        raise TypeError(f"{name}: {what} is a masked array; supported are plain arrays: pass {advice}")
    try:
        if not isinstance(x, np.ndarray) and hasattr(x, "__dlpack_device__"):
            return _from_library(name, x, what)
        a = np.asarray(x)
        if a.dtype == np.object_:
            _reject_objects(name, x, a, what)
        return a
    except ValueError as error:
        raise ValueError(f"{name}: {what} cannot be made an array: {error}") from None
    except (RuntimeError, BufferError) as error:  # a tensor of PyTorch that requires a gradient, or is sparse
        raise TypeError(f"{name}: {what} cannot be read as a NumPy array: {error}") from None


def _from_library(name: str, x: Any, what: str) -> Array:
    try:
        kind = int(x.__dlpack_device__()[0])
    except (ValueError, RuntimeError, BufferError) as error:
        raise TypeError(f"{name}: {what} is not an array in memory: {error}") from None
    if kind not in _CPU:
        device = getattr(x, "device", kind)
        raise TypeError(f"{name}: {what} is on device {device} (DLPack type {kind}), expected an array on the CPU")
    if type(x).__module__ == "torch" and str(getattr(x, "dtype", "")) == "torch.bfloat16":
        return _torch_bfloat16(name, x, what)
    if not hasattr(x, "__array__"):
        return np.from_dlpack(x)
    try:
        return np.asarray(x)
    except TypeError as error:  # a dtype that NumPy lacks, or another layout
        raise TypeError(f"{name}: {what} cannot be read as a NumPy array: {error}") from None


def _torch_bfloat16(name: str, x: Any, what: str) -> Array:
    """PyTorch does not hand bfloat16 to NumPy, but the same bits as int16."""
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError(f"{name}: {what} is bfloat16, which NumPy only has with the package ml_dtypes") from None
    if x.requires_grad:
        raise TypeError(f"{name}: {what} requires grad; pass {what}.detach()")
    return np.asarray(x.view(sys.modules["torch"].int16)).view(ml_dtypes.bfloat16)


def integer(name: str, what: str, value: object) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):  # integers to Python
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: {what} must be an integer, got {value!r} ({type(value).__name__})") from None


def element(what: str, a: Array, flat: int) -> tuple[str, Any]:
    """One element as errors name it, ``what[i, j]``, and its value."""
    place = tuple(int(i) for i in np.unravel_index(flat, a.shape))
    return what + (f"[{', '.join(map(str, place))}]" if place else ""), a[place]


def normalise_axis(name: str, axis: object, ndim: int) -> int:
    """The axis as 0 <= k < ndim; a 0-d array is one class, so it has an axis 0 as well."""
    k = integer(name, "axis", axis)
    axes = max(ndim, 1)
    if not -axes <= k < axes:
        raise AxisError(k, ndim)
    return k % axes


def normalise_axes(name: str, axis: object, ndim: int) -> tuple[int, ...]:
    """The same for None (all axes) and tuples, in ascending order."""
    if axis is None:
        return tuple(range(max(ndim, 1)))
    if not isinstance(axis, tuple):
        return (normalise_axis(name, axis, ndim),)
    axes = sorted(normalise_axis(name, k, ndim) for k in axis)
    if not axes:
        raise ValueError(f"{name}: axis is an empty tuple, expected at least one axis")
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} names an axis twice")
    return tuple(axes)


def check_out(name: str, out: object, shape: tuple[int, ...], dtype: np.dtype[Any], what: str = "out") -> Array:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name}: {what} must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{name}: {what} has shape {out.shape}, expected {shape}")
    if out.dtype != dtype:
        raise TypeError(f"{name}: {what} has dtype {out.dtype}, expected {dtype}")
    if out.size and _shares_elements(out):
        raise ValueError(f"{name}: {what} has strides {out.strides}: several elements share memory")
    if not out.flags.writeable:
        raise ValueError(f"{name}: {what} is read-only")
    return np.asarray(out)


def _shares_elements(a: Array) -> bool:
    """Do elements share memory? Not if each step, from the smallest on, is beyond all that the smaller ones reach."""
    reach = a.itemsize
    for step, n in sorted((abs(step), n) for step, n in zip(a.strides, a.shape, strict=True) if n > 1):
        if step < reach:
            return True
        reach += (n - 1) * step
    return False


def is_plain(a: Array) -> bool:
    return a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative


def overlaps(a: Array, out: Array) -> bool:
    """Does `out` share memory with `a`, other than element by element?"""
    same = a.dtype == out.dtype and is_plain(a) and is_plain(out) and _address(a) == _address(out)
    return not same and bool(np.may_share_memory(a, out))


def contiguous(a: Array, dtype: np.dtype[Any]) -> Array:
    """C-contiguous, of that dtype; values that do not fit become 0 or infinite."""
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(a, dtype=dtype)


def is_same(a: Array, b: Array) -> bool:
    """Are two views of one array the same elements? As pieces of a broadcast array may be."""
    return _address(a) == _address(b) and a.shape == b.shape and a.strides == b.strides


def _address(a: Array) -> int:
    return int(a.__array_interface__["data"][0])


def without(items: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    """A shape, or an index, of the batch alone."""
    return (*items[:axis], *items[axis + 1 :])


def pieces(shape: tuple[int, ...], axis: int, most: int = _PIECE) -> Iterator[tuple[slice, ...]]:
    """Indices that cut an array into pieces of about `most` elements, whole along `axis`.

    The first axes are cut first, so that pieces of contiguous arrays are contiguous. The form of the kernels, and with
    it the last bits, depends on the inner length where that is small: so a cut after `axis` leaves at least `_WIDE`
    inner elements in every piece.
    """
    yield from _cut(shape, axis, most, 0, [slice(None)] * len(shape))


def _cut(shape: tuple[int, ...], axis: int, most: int, i: int, whole: list[slice]) -> Iterator[tuple[slice, ...]]:
    size = math.prod(shape[i:])
    least = 1
    if i == axis and size > most and axis + 1 < len(shape):
        i = max(range(axis + 1, len(shape)), key=lambda k: shape[k])
        least = -(-_WIDE * shape[i] // max(math.prod(shape[axis + 1 :]), 1))
    if size <= most or i == axis or shape[i] < 2 * least:
        yield tuple(whole)
        return
    each = size // shape[i]
    step = max(least, most // each)
    start = 0
    while start < shape[i]:
        stop = min(start + step, shape[i])
        if shape[i] - stop < least:
            stop = shape[i]
        whole[i] = slice(start, stop)
        if i < axis and each > most:
            yield from _cut(shape, axis, most, i + 1, whole)
        else:
            yield tuple(whole)
        start = stop
    whole[i] = slice(None)
