"""Check: arrays, dtypes, axes, masks, temperatures and outputs of a call. It knows no operation."""

from __future__ import annotations

import functools
import math
import numbers
import operator
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.exceptions import AxisError

from softlane import _core

Array = np.ndarray[Any, Any]

_SUPPORTED = "float32, float64, float16, bfloat16, bool and the integers of 8 to 64 bits"
_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))

# Kinds of device in DLPack whose memory a processor can read: kDLCPU, kDLCUDAHost, kDLROCMHost.
_CPU = (1, 3, 11)


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    if dtype.isbuiltin != 2 or dtype.name != "bfloat16" or dtype.itemsize != 2:
        return False
    _core.register_bfloat16(dtype.num)
    return True


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
        return _shape_together(x, other)
    except ValueError:
        raise ValueError(f"{name}: {what} has shape {other}, which does not broadcast with {x}, that of x") from None


def _shape_together(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """As np.broadcast_shapes, which takes no more than 32 of the 64 dimensions of arrays"""
    ndim = max(len(a), len(b))
    lengths = list(zip((1,) * (ndim - len(a)) + a, (1,) * (ndim - len(b)) + b, strict=True))
    if any(m != n and 1 not in (m, n) for m, n in lengths):
        raise ValueError
    return tuple([n if m == 1 else m for m, n in lengths])


def result_dtype(name: str, dtype: np.dtype[Any], what: str = "x") -> np.dtype[Any]:
    if is_bfloat16(dtype):
        return dtype
    if dtype.kind in "fbiu" and dtype.isbuiltin != 2:  # some extension dtypes call themselves float or integer too
        if dtype.newbyteorder("=") in _FLOATS:
            return dtype.newbyteorder("=")
        if dtype.kind in "biu":
            return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    raise TypeError(f"{name}: {what} has dtype {dtype}; supported are {_SUPPORTED}")


def same_dtype(name: str, grad: Array, y: Array) -> np.dtype[Any]:
    """That of results of a vector-Jacobian product."""
    dtype, other = result_dtype(name, y.dtype, "y"), result_dtype(name, grad.dtype, "grad")
    if other != dtype:
        came = f"grad has dtype {grad.dtype} (results in {other}) and y {y.dtype} (results in {dtype})"
        raise TypeError(f"{name}: {came}, expected the same dtype")
    if grad.shape != y.shape:
        raise ValueError(f"{name}: grad has shape {grad.shape}, expected that of y, {y.shape}")
    return dtype


def _reject_objects(name: str, x: object, a: Array, what: str) -> None:
    """An array of objects says nothing to users who did not make one."""
    kind = type(x).__name__
    held = type(a.item(0)).__name__ if a.size else "nothing"
    held = next((type(v).__name__ for v in a.flat if not isinstance(v, numbers.Real)), held)
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
    except (TypeError, ValueError, SyntaxError):
        found = None
    if found is not None and (is_bfloat16(found) or found in _FLOATS):
        return found  # type: ignore[no-any-return]
    raise TypeError(f"{name}: dtype is {dtype!r}, expected a NumPy dtype: float32, float64, float16 or bfloat16")


P = ParamSpec("P")
R = TypeVar("R")


def protected(function: Callable[P, R]) -> Callable[P, R]:
    """Keeps what the caller's thread and code could change from a call that runs Python code.

    NumPy computes in the default floating-point environment, as kernels do. It refuses to resize the arrays among the
    arguments, as code of the caller could do where other arguments are converted: an array with a weak reference is not
    resized, even without refcheck.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        held = [weakref.ref(a) for a in _arrays((*args, *kwargs.values()))]
        before = _core.enter_default_environment()
        try:
            return function(*args, **kwargs)
        finally:
            _core.leave_default_environment(before)
            held.clear()

    return wrapped


def _arrays(arguments: tuple[object, ...]) -> Iterator[Array]:
    for a in arguments:
        if isinstance(a, np.ndarray):
            yield a
        elif isinstance(a, tuple):
            yield from _arrays(a)


def as_array(name: str, x: object, what: str = "x") -> Array:
    """An array of NumPy, of another library, or anything that makes one; without a copy where memory can be shared."""
    if type(x) is np.ndarray and x.dtype != np.object_:
        return x.view()  # with a shape of its own, which other arguments cannot change when they are converted
    if isinstance(x, np.ma.MaskedArray):
        advice = f"{what}.filled(...)"
        if what == "x":
            advice = f"{what}.data, and where=~{what}.mask if the function has it"
        elif what in ("target", "indices"):
            advice = f"{what}.filled(ignore_index) if the function has it"
        raise TypeError(f"{name}: {what} is a masked array; supported are plain arrays: pass {advice}")
    if isinstance(x, (list, tuple)) and x and isinstance(x[0], np.ndarray):  # NumPy would forget their masks
        x = [as_array(name, part, f"{what}[{i}]") for i, part in enumerate(x)]
    graph = getattr(x, "__dask_graph__", None)  # of Dask's collections, and of arrays of xarray that hold one
    if graph is not None and graph() is not None:
        library = type(x).__module__.partition(".")[0]
        raise TypeError(
            f"{name}: {what} is of type {library}.{type(x).__name__}, which Dask has not computed; "
            f"use softlane.dask, or pass {what}.compute()"
        )
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
    if isinstance(axis, (list, np.ndarray)) and np.ndim(axis):
        raise TypeError(f"{name}: axis must be an integer, got {axis!r}; several axes are a tuple")
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
    is_laid_out_as_a = (is_plain(a) and is_plain(out)) or (a.shape == out.shape and a.strides == out.strides)
    same = a.dtype == out.dtype and is_laid_out_as_a and _address(a) == _address(out)
    return not same and bool(np.may_share_memory(a, out))


def contiguous(a: Array, dtype: np.dtype[Any]) -> Array:
    """C-contiguous and aligned, of that dtype; values that do not fit become 0 or infinite."""
    with np.errstate(all="ignore"):
        return np.require(a, dtype, ["C", "A"])


def _address(a: Array) -> int:
    return int(a.__array_interface__["data"][0])


# ---- what goes with x -----------------------------------------------------------------------------------------------


class Options(NamedTuple):
    """What the arguments say beside x: the class axes in ascending order, and shapes with and without them.

    mask is bool and like x; temperature is float64: one number (0-d), or one for each row, in the shape `kept`.
    """

    axes: tuple[int, ...]
    kept: tuple[int, ...]
    batch: tuple[int, ...]
    mask: Array | None
    temperature: Array | None


def options(
    name: str, shape: tuple[int, ...], axis: object, where: object, temperature: object, what: str = "x"
) -> Options:
    """For an x of that shape; 0-d counts as one class."""
    axes = normalise_axes(name, axis, len(shape))
    rows = shape or (1,)
    kept = tuple([1 if i in axes else n for i, n in enumerate(rows)])
    batch = tuple([n for i, n in enumerate(rows) if i not in axes])
    mask = None if where is None else _mask(name, where, shape, what).reshape(rows)
    t = None if temperature is None else _temperature(name, temperature, kept, batch)
    return Options(axes, kept, batch, mask, t)


def _mask(name: str, where: object, shape: tuple[int, ...], what: str) -> Array:
    mask = as_array(name, where, "where")
    if mask.dtype != np.bool_:
        raise TypeError(f"{name}: where has dtype {mask.dtype}, expected bool")
    return broadcast(name, "where", mask, shape, what)


def temperatures(name: str, temperature: object) -> Array:
    """Positive, finite numbers, in float64. `sample` has taken zeros out of them."""
    if type(temperature) is float and 0 < temperature < np.inf:
        return np.array(temperature)
    t = as_array(name, as_float(temperature), "temperature")
    if t.dtype.kind not in "fiub" and t.dtype.name != "bfloat16":
        raise TypeError(f"{name}: temperature has dtype {t.dtype}, expected real numbers")
    with np.errstate(all="ignore"):
        t = np.require(t, np.float64, "A")
    wrong = ~((t > 0) & (t < np.inf))
    if wrong.any():
        what, value = element("temperature", t, int(wrong.argmax()))
        expected = "0 or positive, finite numbers" if name == "sample" else "positive, finite numbers"
        if value == 0 and "sigmoid" not in name and "binary" not in name:
            expected += "; the limit towards 0 is the class with the largest logit: argmax"
        raise ValueError(f"{name}: {what} is {value}, expected {expected}")
    return t


def _temperature(name: str, temperature: object, kept: tuple[int, ...], batch: tuple[int, ...]) -> Array | None:
    """One number, or one for each row; None for the number 1, but not for an array of it.

    An array may be a part of a larger one, whose other rows have other temperatures: its rows have the bits of those.
    """
    t = temperatures(name, temperature)
    is_one = t.ndim == 0 and t.item() == 1
    t = per_row(name, "temperature", t, kept, batch)
    return None if is_one else t


def as_float(number: object) -> object:
    """A Python integer as the nearest float, or infinity, as NumPy has no type for large ones; all else as it is."""
    if type(number) is not int:
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def per_row(name: str, what: str, a: Array, kept: tuple[int, ...], batch: tuple[int, ...]) -> Array:
    """One number (0-d), or one for each row, in the shape `kept`; given in that shape or in the batch's."""
    if a.size == 1 and a.ndim <= len(kept):
        return a.reshape(())
    for shape in (batch, kept):
        try:
            return np.ascontiguousarray(np.broadcast_to(a, shape).reshape(kept))
        except ValueError:
            continue
    raise ValueError(f"{name}: {what} has shape {a.shape}, expected a number, or one for each row: {batch} or {kept}")


def class_values(name: str, values: object, shape: tuple[int, ...], axis: int, compute: np.dtype[Any]) -> Array:
    """Values of `expectation` in the compute dtype: one for each class, or one for each element of x of that shape."""
    given = as_array(name, values, "values")
    result_dtype(name, given.dtype, "values")
    with np.errstate(all="ignore"):
        v = given.astype(compute)
    wrong = np.isnan(v) | (np.isinf(v) & (v != given))
    if wrong.any():
        what, value = element("values", given, int(wrong.argmax()))
        raise ValueError(f"{name}: {what} is {value}, expected numbers that fit into {compute}, and no NaN")
    x_shape = shape or (1,)
    n = x_shape[axis]
    v = v.reshape(1) if not shape and v.ndim == 0 else v
    if v.ndim == len(x_shape) and v.shape[axis] == n == v.size:
        v = v.reshape(n)
    if v.shape == (n,):
        return v
    if v.ndim != len(x_shape):
        raise ValueError(f"{name}: values has shape {v.shape}, expected {(n,)}, or one that broadcasts to that of x")
    return broadcast(name, "values", v, x_shape, "x")


# ---- choices among classes ------------------------------------------------------------------------------------------


def check_class_count(
    name: str, shape: tuple[int, ...], axes: tuple[int, ...], dtype: np.dtype[Any], least: int = 1
) -> None:
    """Are there so many at least, and no more than the kernels' lists have numbers for?"""
    n = math.prod(shape[i] for i in axes)
    if n < least:
        empty = next(i for i in axes if shape[i] == 0)
        raise ValueError(f"{name}: x has shape {shape}: axis {empty} needs at least one class")
    if n >= _core.MOST_CLASSES and compute_dtype(dtype) == np.float32:
        raise ValueError(f"{name}: x has {n} classes, expected less than 2^32 where dtype is {dtype}")


def check_kind(name: str, kind: object) -> str:
    if not isinstance(kind, str) or kind not in ("probs", "log_probs", "logits"):
        raise ValueError(f'{name}: kind must be "probs", "log_probs" or "logits", got {kind!r}')
    return kind


def check_k(name: str, k: object, n: int) -> int:
    count = integer(name, "k", k)
    if not 0 <= count <= n:
        raise ValueError(f"{name}: k is {count}, expected 0 to {n}, the number of classes")
    return count


class Given(NamedTuple):
    """Class indices as int64, one or some along the class axis. Class 0 takes the place of those to ignore."""

    classes: Array
    has_axis: bool  # as they came
    ignored: Array | None


def given_classes(
    name: str, indices: object, ignore_index: object, shape: tuple[int, ...], axis: int, is_scalar: bool
) -> Given:
    """For an x of that shape (which is_scalar says was 0-d). The rows of both broadcast together."""
    a = as_array(name, indices, "indices")
    if a.size == 0 and a.dtype == np.float64:
        a = a.astype(np.int64)  # what an empty list becomes
    if a.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices has dtype {a.dtype}, expected integers")
    ndim = 0 if is_scalar else len(shape)
    if a.ndim not in (ndim, len(shape) - 1) and not (is_scalar and a.ndim == 1):
        raise ValueError(
            f"{name}: indices has {a.ndim} dimensions, expected {ndim} as x, or one less (a class for each row)"
        )
    has_axis = a.ndim == len(shape)
    ignored = None if ignore_index is None else a == integer(name, "ignore_index", ignore_index)
    if ignored is not None:
        a = np.where(ignored, 0, a)
    if (ignored is None or not ignored.all()) and a.size and (int(a.min()) < 0 or int(a.max()) >= shape[axis]):
        what, value = element("indices", a, int(np.argmax((a < 0) | (a >= shape[axis]))))
        raise IndexError(f"{name}: {what} = {value} is outside [0, {shape[axis]})")
    index = a if has_axis else np.expand_dims(a, axis)
    try:
        whole = _shape_together((*shape[:axis], index.shape[axis], *shape[axis + 1 :]), index.shape)
    except ValueError:
        raise ValueError(
            f"{name}: indices has shape {a.shape}, which does not broadcast with {shape}, that of x, outside "
            f"axis {axis}"
        ) from None
    index = np.broadcast_to(index, whole).astype(np.int64, order="C", copy=False)
    if ignored is not None:
        ignored = np.broadcast_to(ignored if has_axis else np.expand_dims(ignored, axis), whole)
    return Given(index, has_axis, ignored)


def index_type(name: str, index_dtype: object, classes: int, ignores: bool = False) -> np.dtype[Any]:
    """That of indices of so many classes, or of ranks; ignores: -1 is among these."""
    try:
        found = np.dtype(np.int64 if index_dtype is None else index_dtype)  # type: ignore[call-overload]
    except (TypeError, ValueError, SyntaxError):
        found = np.dtype(object)
    if found.kind not in "iu" or not found.isnative:
        raise TypeError(f"{name}: index_dtype is {index_dtype!r}, expected a native integer dtype of NumPy")
    if np.iinfo(found).max < classes - 1:
        raise ValueError(f"{name}: index_dtype is {found}, which does not hold the last of {classes} classes")
    if ignores and found.kind == "u":
        raise ValueError(f"{name}: index_dtype is {found}, which does not hold -1, the rank of ignore_index")
    return found  # type: ignore[no-any-return]


# ---- sample ---------------------------------------------------------------------------------------------------------


def check_size(name: str, size: object, n: int, replace: bool) -> int | None:
    if size is None:
        return None
    count = integer(name, "size", size)
    if count < 0:
        raise ValueError(f"{name}: size is {count}, expected at least 0")
    if count > n and not replace:
        raise ValueError(f"{name}: size is {count}, expected at most {n} where replace is False")
    return count


def check_enough(name: str, index: Array) -> None:
    """Rows with fewer classes than draws have how many there are for each draw; in all others no two are the same."""
    few = index[..., 0] == index[..., 1]
    if few.any():
        place = np.unravel_index(int(few.argmax()), few.shape)
        row = f"row {tuple(int(i) for i in place)}" if place else "x"
        left, size = int(index[place][0]), index.shape[-1]
        raise ValueError(f"{name}: {row} has {left} classes left, expected at least {size} where replace is False")


def row_parameter(
    name: str, what: str, value: object, n: int, kept: tuple[int, ...], batch: tuple[int, ...]
) -> Array | None:
    """One number (0-d), or one for each row. 0 as top_k becomes n, the number of classes."""
    if value is None:
        return None
    whole = what == "top_k"
    if type(value) is (int if whole else float) and 0 < value <= (n if whole else 1):
        return np.array(value)
    a = as_array(name, value if whole else as_float(value), what)
    if a.dtype.kind not in ("iu" if whole else "fiu") and (whole or not is_bfloat16(a.dtype)):
        expected = "integers" if whole else "real numbers"
        raise TypeError(f"{name}: {what} has dtype {a.dtype}, expected {expected}")
    if not whole:
        a = a.astype(np.float64)
    wrong = ~(a >= 0) if whole else ~((a > 0) & (a <= 1)) if what == "top_p" else ~((a >= 0) & (a <= 1))
    if wrong.any():
        at, found = element(what, a, int(wrong.argmax()))
        expected = {"top_k": "at least 0", "top_p": "above 0, at most 1", "min_p": "0 to 1"}[what]
        if what == "top_p" and found == 0:
            expected += "; top_k=1 keeps only the first class"
        raise ValueError(f"{name}: {at} is {found}, expected {expected}")
    if whole:
        a = np.where(a == 0, n, np.minimum(a.astype(np.uint64), np.uint64(n))).astype(np.int64)
    return per_row(name, what, np.asarray(a), kept, batch)


def without_zeros(name: str, temperature: object) -> tuple[object, Array | None]:
    """Temperatures with 1 for 0, and where they are 0; None where they are nowhere."""
    if temperature is None or (type(temperature) is float and temperature != 0):
        return temperature, None
    t = as_array(name, as_float(temperature), "temperature")
    if (t.dtype.kind not in "fiu" and not is_bfloat16(t.dtype)) or not (t == 0).any():
        return temperature, None
    return np.where(t == 0, 1.0, t.astype(np.float64)), t == 0


def given_uniform(
    name: str,
    uniform: object,
    rng: object,
    kept: tuple[int, ...],
    batch: tuple[int, ...],
    axis: int,
    size: int | None,
) -> Array:
    """Numbers that are given in place of drawn ones, along the class axis: one, or `size`."""
    if rng is not None:
        raise ValueError(f"{name}: rng and uniform are both given, expected one of them")
    u = as_array(name, uniform, "uniform")
    result_dtype(name, u.dtype, "uniform")
    u = u.astype(np.float64)
    wrong = ~((u >= 0) & (u < 1))
    if wrong.any():
        what, value = element("uniform", u, int(wrong.argmax()))
        raise ValueError(f"{name}: {what} is {value}, expected numbers in [0, 1)")
    if size is None:
        return np.broadcast_to(per_row(name, "uniform", u, kept, batch), kept)
    return broadcast(name, "uniform", u, (*kept[:axis], size, *kept[axis + 1 :]), "the result")


def generators(name: str, rng: object, rows: int) -> Any:
    """One generator, or a list of one for each row."""
    each = list(rng) if isinstance(rng, (list, tuple)) else None
    if each is not None and len(each) != rows:
        raise ValueError(f"{name}: rng has {len(each)} generators or seeds, expected one for each of {rows} rows")
    try:
        if each is not None:
            return [np.random.default_rng(seed) for seed in each]
        return np.random.default_rng(rng)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        wrong_rng = f"{name}: rng must be a numpy.random.Generator or a seed, got {rng!r}: {error}"
        raise type(error)(wrong_rng) from None


# ---- losses ---------------------------------------------------------------------------------------------------------

_INT64 = np.iinfo(np.int64)

# The distance from 1 to the next number
_EPSILON = {np.dtype(t): float(np.finfo(t).eps) for t in (np.float16, np.float32, np.float64)}


def check_reduction(name: str, reduction: object) -> str:
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise ValueError(f'{name}: reduction must be "mean", "sum" or "none", got {reduction!r}')
    return reduction


def real(name: str, what: str, a: object) -> Array:
    """An array that can be converted to float32 or float64."""
    b = as_array(name, a, what)
    result_dtype(name, b.dtype, what)
    return b


def class_axis(name: str, what: str, shape: tuple[int, ...], axis: object) -> int:
    if not shape:
        raise ValueError(f"{name}: {what} is 0-d, expected at least one dimension, that of the classes")
    k = normalise_axis(name, axis, len(shape))
    if shape[k] == 0:
        raise ValueError(f"{name}: {what} has shape {shape}, without a class along axis {k}")
    return k


def class_weights(name: str, weight: object, n: int, compute: np.dtype[Any]) -> Array | None:
    if weight is None:
        return None
    w = real(name, "weight", weight)
    if w.shape != (n,):
        raise ValueError(f"{name}: weight has shape {w.shape}, expected ({n},), one weight for each class")
    return contiguous(w, compute)


def sample_weights(name: str, sample_weight: object, shape: tuple[int, ...], axis: int) -> Array | None:
    """A copy in float64, with length 1 along the axis"""
    if sample_weight is None:
        return None
    w = real(name, "sample_weight", sample_weight).astype(np.float64)
    w = broadcast(name, "sample_weight", w, (*shape[:axis], *shape[axis + 1 :]), "the samples")
    wrong = ~((w >= 0) & (w < np.inf))
    if wrong.any():
        what, value = element("sample_weight", w, int(wrong.argmax()))
        raise ValueError(f"{name}: {what} is {value}, expected finite numbers, not negative")
    return np.expand_dims(w.copy(), axis)


def label_smoothing_of(name: str, label_smoothing: object) -> float:
    if not isinstance(label_smoothing, numbers.Real):
        raise TypeError(f"{name}: label_smoothing must be a number, got {label_smoothing!r}")
    smoothing = float(as_float(label_smoothing))  # type: ignore[arg-type]
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing is {smoothing}, expected 0 to 1")
    return smoothing


class Targets(NamedTuple):
    """A class for each row, with length 1 along the axis, and which one to ignore; or a mass for each class."""

    classes: Array | None
    mass: Array | None
    ignore: int
    counted: int  # rows that are not ignored


def targets_of(name: str, what: str, target: object, shape: tuple[int, ...], axis: int, ignore: int) -> Targets:
    t = real(name, "target", target)
    batch = (*shape[:axis], *shape[axis + 1 :])
    if t.ndim == len(shape):
        if t.shape != shape:
            raise ValueError(
                f"{name}: target has shape {t.shape}, expected {shape} for class probabilities, as {what}, "
                f"or {batch} for class indices"
            )
        if ignore >= 0:
            raise ValueError(
                f"{name}: ignore_index is {ignore}, expected a negative number, as target holds class probabilities"
            )
        if t.dtype.kind in "iu":
            _check_one_hot(name, what, t, axis)
        return Targets(None, t, -1, math.prod(batch))
    if t.shape != batch:
        raise ValueError(
            f"{name}: target has shape {t.shape}, expected {batch} for class indices or {shape} for class probabilities"
        )
    index, ignore, counted = _indices(name, t, shape[axis], ignore)
    return Targets(np.expand_dims(index, axis), None, ignore, counted)


def _check_one_hot(name: str, what: str, target: Array, axis: int) -> None:
    """Integers in the shape of x are rows of zeros with a 1, not class indices or labels of a binary problem."""
    totals = target.sum(axis=axis, dtype=np.float64)
    if (totals == 1).all() and target.min(initial=0) >= 0:
        return
    if (totals == 1).all():
        where, total = element("target", target, int(np.argmax(target < 0)))
        raise ValueError(f"{name}: {where} is {total}, expected 0 or 1 in integer targets of the shape of {what}")
    where, total = element("row", totals, int(np.argmax(totals != 1)))
    binary = "binary_cross_entropy" if what == "probs" else "binary_cross_entropy_with_logits"
    raise ValueError(
        f"{name}: target has dtype {target.dtype} and the shape of {what}, {target.shape}, so it must be one-hot along "
        f"axis {axis}, but {where} adds up to {total:g}, not 1. Class indices have the shape "
        f"{(*target.shape[:axis], *target.shape[axis + 1 :])}; for labels 0 and 1 of every element use {binary}"
    )


def _indices(name: str, target: Array, n: int, ignore: int) -> tuple[Array, int, int]:
    """Class indices as int64, all of them in range or equal to the int64 beside them, and how many are in range."""
    if target.size == 0 and target.dtype == np.float64:
        target = target.astype(np.int64)  # what an empty list becomes
    if target.dtype.kind not in "iu":
        numbers_only = target.astype(np.float64) if target.dtype.kind in "fb" else np.array(np.nan)
        whole = bool(np.all(np.isfinite(numbers_only) & (numbers_only == np.round(numbers_only))))
        hint = ": target.astype(int)" if whole else ""
        raise TypeError(f"{name}: target has dtype {target.dtype}; class indices must be integers{hint}")
    none = _INT64.min  # stands for ignore_index where that is no int64
    known = ignore if _INT64.min <= ignore <= _INT64.max else none
    index = target
    unsigned = target.dtype.kind == "u"
    if unsigned and target.size and int(target.max()) > _INT64.max:
        ignored = target == ignore
        beyond = (target > _INT64.max) & ~ignored
        if beyond.any():
            _raise_wrong(name, target, int(np.argmax(beyond)), n, ignore)
        index, known = np.where(ignored, none, target.astype(np.int64)), none
    index = np.require(index, np.int64, ["C", "A"]).reshape(target.shape)
    wrong, counted = _core.wrong_target(index, n, known)
    if wrong < 0 and known != ignore and not unsigned and (index == none).any():
        wrong = int(np.argmax(index == none))
    if wrong >= 0:
        _raise_wrong(name, target, wrong, n, ignore)
    return index, known, counted


def _raise_wrong(name: str, target: Array, flat: int, n: int, ignore: int) -> None:
    what, value = element("target", target, flat)
    raise IndexError(f"{name}: {what} = {value} is outside [0, {n}); ignore_index is {ignore}")


class Domain(NamedTuple):
    """Where probabilities, or their logarithms, may lie: a rounding error beyond it is no error."""

    name: str
    what: str
    dtype: np.dtype[Any]
    for_logits: str
    is_log: bool = False

    @property
    def slack(self) -> float:
        return 4 * _EPSILON.get(self.dtype, 2.0**-7)  # of bfloat16

    def check(self, x: Array, axis: int = 0, classes: Array | None = None, chunk: tuple[slice, ...] = ()) -> None:
        """x: the class of each row, or a chunk of an array. NaN is in it."""
        x = x.astype(np.float64, copy=False)
        low, high = (-np.inf, 0.0) if self.is_log else (0.0, 1.0)
        wrong = (x < low - self.slack) | (x > high + self.slack)
        if not wrong.any():
            return
        place = [int(i) for i in np.unravel_index(int(wrong.argmax()), x.shape)]
        value = x[tuple(place)]
        if classes is not None:
            place.insert(axis, int(classes[tuple(place)]))
        place = [i + (s.start or 0) for i, s in zip(place, chunk, strict=True)] if chunk else place
        expected = "a logarithm of a probability, at most 0" if self.is_log else "a probability, 0 to 1"
        at = f"{self.what}[{', '.join(map(str, place))}]" if place else self.what
        raise ValueError(
            f"{self.name}: {at} is {float(value)!r}, expected {expected}; for logits use {self.for_logits}"
        )
