"""Decide, for choices among classes: what indices, filters and values mean, and how the rows reach the kernels.

Inside, everything about k classes of each row has the shape (*batch, k). It knows nothing of how a class is found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from softlane import _core, _softmax
from softlane._arguments import (
    Array,
    as_array,
    broadcast,
    check_out,
    compute_dtype,
    element,
    integer,
    is_bfloat16,
    normalise_axis,
    output_dtype,
    pieces,
    result_dtype,
    storage,
    without,
)
from softlane._rows import Rows, as_float, of_rows, options, per_row


class TopK(NamedTuple):
    """What `topk` returns: a tuple with names.

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


_TAKE = {"probs": _core.TAKE_PROBS, "log_probs": _core.TAKE_LOG_PROBS}
_TOPK = {None: _core.TOPK, "probs": _core.TOPK_PROBS, "log_probs": _core.TOPK_LOG_PROBS}
_ON_ANY_AXIS = {*_TAKE.values(), *_TOPK.values(), _core.TOPK_OF_NEGATED}  # for one class
_KINDS = ("probs", "log_probs", "logits")


class _Call(NamedTuple):
    """Checked. dtype is that of values."""

    rows: Rows
    dtype: np.dtype[Any]
    batch: tuple[int, ...]
    is_scalar: bool  # x is 0-d

    @property
    def stored(self) -> np.dtype[Any]:
        """The dtype in which the kernels write values: those of float64 write nothing else."""
        return self.rows.compute if self.rows.compute == np.float64 else self.dtype

    @property
    def classes(self) -> int:
        return int(self.rows.x.shape[self.rows.axis])

    def per_row(self, name: str, what: str, a: Array) -> Array:
        """One number (0-d), or one for each row."""
        kept = tuple(1 if i == self.rows.axis else n for i, n in enumerate(self.rows.x.shape))
        return per_row(name, what, a, kept, self.batch)

    def values(self, a: Array, *, has_axis: bool) -> Any:
        """As `result`, in the dtype of values."""
        with np.errstate(all="ignore"):
            return self.result(a.astype(self.dtype, copy=False), has_axis=has_axis)

    def result(self, a: Array, *, has_axis: bool) -> Any:
        """(*batch, k) as the caller gets it: with the k classes along the axis, or one for each row."""
        if has_axis:
            return np.ascontiguousarray(np.moveaxis(a, -1, self.rows.axis))
        return a.reshape(() if self.is_scalar else self.batch)[()]


def _call(
    name: str, x: object, axis: object, where: object, temperature: object, dtype: object = None, per_row: bool = False
) -> _Call:
    """per_row: values are one number for each row, which is worth 32 bits also where logits have 16."""
    a = as_array(name, x)
    native = result_dtype(name, a.dtype)
    wanted = output_dtype(name, dtype, compute_dtype(native) if per_row else native)
    asked = options(name, a.shape, normalise_axis(name, axis, a.ndim), where, temperature)
    compute = compute_dtype(native, wanted)
    rows = Rows(a.reshape(a.shape or (1,)), asked.axes[0], compute, asked.mask, asked.temperature)
    return _Call(rows, wanted, asked.batch, a.ndim == 0)


def _check_classes(name: str, call: _Call, least: int = 1) -> None:
    """Are there so many at least, and no more than the kernels' lists have numbers for?"""
    if call.classes < least:
        raise ValueError(f"{name}: x has shape {call.rows.x.shape}: axis {call.rows.axis} needs at least one class")
    if call.classes >= 1 << 32 and call.rows.compute == np.float32:
        raise ValueError(f"{name}: x has {call.classes} classes, expected less than 2^32 where dtype is {call.dtype}")


def _index_dtype(name: str, dtype: object, classes: int, ignores: bool = False) -> np.dtype[Any]:
    """That of indices of so many classes, or of ranks; ignores: -1 is among these."""
    try:
        found = np.dtype(np.int64 if dtype is None else dtype)  # type: ignore[call-overload]
    except TypeError:
        found = np.dtype(object)
    if found.kind not in "iu" or not found.isnative:
        raise TypeError(f"{name}: index_dtype is {dtype!r}, expected a native integer dtype of NumPy")
    if np.iinfo(found).max < classes - 1:
        raise ValueError(f"{name}: index_dtype is {found}, which does not hold the last of {classes} classes")
    if ignores and found.kind == "u":
        raise ValueError(f"{name}: index_dtype is {found}, which does not hold -1, the rank of ignore_index")
    return found  # type: ignore[no-any-return]


# ---- on the way to the kernels --------------------------------------------------------------------------------------


class _Arrays(NamedTuple):
    """(*batch, k) each. The filters of a draw are one number (0-d), or one for each row."""

    chosen: Array
    rank: Array | None = None
    y: Array | None = None
    uniform: Array | None = None
    top_k: Array | None = None
    top_p: Array | None = None
    min_p: Array | None = None

    def of(self, rows: Any) -> _Arrays:
        """Contiguous, for some rows."""
        return _Arrays(*(None if a is None else np.ascontiguousarray(of_rows(a, rows)) for a in self))  # type: ignore[arg-type]


def _run(op: int | None, rows: Rows, a: _Arrays, in_order: bool = True, replace: bool = True) -> None:
    """Fills chosen, rank and y, as `_core.select` says; op is None for `_core.sample`."""
    k = a.chosen.shape[-1]
    if a.chosen.size == 0:
        return
    moved = not (k == 1 and op in _ON_ANY_AXIS) and rows.axis < rows.x.ndim - 1
    if rows.is_readable and rows.far() is None and not moved:
        _select(op, rows, a, in_order, replace)
        return
    for part, chosen in _parts(rows, moved):
        own = a.of(chosen)
        if part.compute != rows.compute and own.y is not None:
            own = own._replace(y=np.empty(own.y.shape))
        _select(op, part, own, in_order, replace)
        with np.errstate(all="ignore"):
            if op is None or op in _TOPK.values() or op == _core.TOPK_OF_NEGATED:
                a.chosen[chosen] = own.chosen
            if a.rank is not None:
                a.rank[chosen] = own.rank
            if a.y is not None:
                a.y[chosen] = own.y


def _select(op: int | None, rows: Rows, a: _Arrays, in_order: bool, replace: bool) -> None:
    y, x, k = a.y, rows.x, a.chosen.shape[-1]
    kinds = storage(x.dtype), storage(rows.compute if y is None else y.dtype)
    if op is None:
        filters = a.uniform, a.top_k, a.top_p, a.min_p
        _core.sample(*kinds, x, rows.axis, k, a.chosen, y, rows.mask, rows.temperature, *filters, replace)
        return
    _core.select(op, *kinds, x, rows.axis, k, a.chosen, a.rank, y, rows.mask, rows.temperature, in_order)


def _parts(rows: Rows, moved: bool) -> Iterator[tuple[Rows, Any]]:
    """Copies of some rows at a time, with their classes moved to the end or not, and the index of these in the batch.

    Rows with temperatures that the kernels do not take come once more, one by one and scaled, in float64.
    """
    x, axis = rows.x, rows.axis
    last = x.ndim - 1
    far, t = rows.far(), rows.temperature
    near = rows if far is None or t is None else rows._replace(temperature=np.where(far, 1, t))
    for piece in pieces(without(x.shape, axis) + x.shape[axis : axis + 1], last) if moved else pieces(x.shape, axis):
        if moved:
            piece = (*piece[:axis], slice(None), *piece[axis:-1])
        part = near.part(piece)
        if moved:
            mask = None if part.mask is None else np.moveaxis(part.mask, axis, -1)
            part = part._replace(x=np.moveaxis(part.x, axis, -1), axis=last, mask=mask)
        yield part.readable(), without(piece, axis)
    if far is None or t is None:
        return
    for place in np.argwhere(np.broadcast_to(far, without(x.shape, axis))):
        chosen = tuple(slice(i, i + 1) for i in place)
        row = rows.part((*chosen[:axis], slice(None), *chosen[axis:]))
        mask = None if row.mask is None else row.mask.reshape(1, -1)
        flat = Rows(row.x.reshape(1, -1), 1, rows.compute, mask, t[chosen].reshape(1) if t.ndim else t.reshape(1))
        shape = (*(1 for _ in place), -1)
        scaled = flat.scaled()[0]
        mask = None if mask is None else mask.reshape(shape)
        yield scaled._replace(x=scaled.x.reshape(shape), axis=last, mask=mask).readable(), chosen


def _values_of(kind: str, call: _Call, rows: Rows, index: Array) -> Array:
    """Softmax or log_softmax of given classes."""
    y = np.empty(index.shape, call.stored)
    _run(_TAKE[kind], rows, _Arrays(index, y=y))
    return y


# ---- the largest ----------------------------------------------------------------------------------------------------


def _largest(call: _Call, k: int, kind: str | None, in_order: bool, dtype: np.dtype[Any]) -> tuple[Array, Array | None]:
    """The first k classes of each row, in that dtype, and their values unless kind is None."""
    index = np.empty((*call.batch, k), dtype)
    rows = call.rows
    apart = kind is None or rows.far() is not None  # temperatures change no order, but may make equals
    y = None if apart else np.empty(index.shape, call.stored)
    which = rows._replace(temperature=None) if apart else rows
    _run(_TOPK[None if apart else kind], which, _Arrays(index, y=y), in_order)
    if apart and kind is not None:
        y = _values_of(kind, call, rows, index)
    return index, y


def _smallest(
    call: _Call, k: int, kind: str | None, in_order: bool, dtype: np.dtype[Any]
) -> tuple[Array, Array | None]:
    """The first k classes of each row of -x, and their values under x unless kind is None."""
    index = np.empty((*call.batch, k), dtype)
    _run(_core.TOPK_OF_NEGATED, call.rows._replace(temperature=None), _Arrays(index), in_order)
    return index, None if kind is None else _values_of(kind, call, call.rows, index)


def argmax(
    x: object,
    axis: object,
    return_probs: bool,
    keepdims: bool,
    where: object,
    temperature: object,
    dtype: object,
    index_dtype: object,
) -> Any:
    kept: Any = None
    if axis is None:  # all axes as one
        a = as_array("argmax", x)
        kept = (1,) * a.ndim
        if where is not None:
            where = broadcast("argmax", "where", as_array("argmax", where, "where"), a.shape, "x").reshape(-1)
        if temperature is not None and np.size(temperature) == 1:  # type: ignore[arg-type]
            temperature = as_array("argmax", temperature, "temperature").reshape(())
        x, axis = a.reshape(-1), 0
    call = _call("argmax", x, axis, where, temperature, dtype)
    _check_classes("argmax", call)
    integers = _index_dtype("argmax", index_dtype, call.classes)
    index, y = _largest(call, 1, "probs" if return_probs else None, True, integers)
    has_axis = keepdims and not call.is_scalar
    results = [call.result(index, has_axis=has_axis)]
    if y is not None:
        results.append(call.values(y, has_axis=has_axis))
    if keepdims and kept is not None:
        results = [r.reshape(kept) for r in results]
    return results[0] if y is None else tuple(results)


def topk(
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
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f'topk: kind must be "probs", "log_probs" or "logits", got {kind!r}')
    call = _call("topk", x, axis, where, temperature, dtype)
    _check_classes("topk", call, 0)
    count = integer("topk", "k", k)
    if not 0 <= count <= call.classes:
        raise ValueError(f"topk: k is {count}, expected 0 to {call.classes}, the number of classes")
    integers = _index_dtype("topk", index_dtype, call.classes)
    find = _largest if largest else _smallest
    index, y = find(call, count, None if kind == "logits" else kind, in_order, integers)
    if y is None:
        y = _logits_of(call, index)
    if call.is_scalar:
        return TopK(y.astype(call.dtype, copy=False), index)
    return TopK(call.values(y, has_axis=True), call.result(index, has_axis=True))


def _logits_of(call: _Call, index: Array) -> Array:
    """x itself at these classes: -inf where hidden, all NaN where a visible one is NaN, which then comes first."""
    x = np.moveaxis(call.rows.x, call.rows.axis, -1)
    with np.errstate(all="ignore"):
        y = np.take_along_axis(x, index, -1).astype(call.dtype)
    hidden: Any = False
    if call.rows.mask is not None:
        hidden = ~np.take_along_axis(np.moveaxis(call.rows.mask, call.rows.axis, -1), index, -1)
        y[hidden] = -np.inf
    np.copyto(y, np.nan, where=np.isnan(y[..., :1]) & ~np.asarray(hidden))
    return y


# ---- given classes --------------------------------------------------------------------------------------------------


class _Given(NamedTuple):
    """The rows and the indices, (*batch, k), in one batch; whether these have the class axis, and which to ignore."""

    call: _Call
    classes: Array
    has_axis: bool
    ignored: Array | None


def _given(name: str, call: _Call, indices: object, ignore_index: object) -> _Given:
    a = as_array(name, indices, "indices")
    rows = call.rows
    if a.size == 0 and a.dtype == np.float64:
        a = a.astype(np.int64)  # what an empty list becomes
    if a.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices has dtype {a.dtype}, expected integers")
    ndim = 0 if call.is_scalar else rows.x.ndim
    if a.ndim not in (ndim, rows.x.ndim - 1) and not (call.is_scalar and a.ndim == 1):
        raise ValueError(
            f"{name}: indices has {a.ndim} dimensions, expected {ndim} as x, or one less: a class for each row"
        )
    has_axis = a.ndim == rows.x.ndim and not (call.is_scalar and a.ndim == 0)
    ignored = None if ignore_index is None else a == integer(name, "ignore_index", ignore_index)
    if ignored is not None:
        a = np.where(ignored, 0, a)
    if ignored is None or not ignored.all():
        _check_range(name, a, call.classes)
    index = np.moveaxis(a, rows.axis, -1) if has_axis else a[..., None]
    try:
        batch = np.broadcast_shapes(call.batch, index.shape[:-1])
    except ValueError:
        raise ValueError(
            f"{name}: indices has shape {a.shape}, which does not broadcast with {rows.x.shape}, that of x, "
            f"but for axis {rows.axis}"
        ) from None
    index = np.ascontiguousarray(np.broadcast_to(index, (*batch, index.shape[-1])), dtype=np.int64)
    if ignored is not None:
        ignored = np.moveaxis(ignored, rows.axis, -1) if has_axis else ignored[..., None]
        ignored = np.broadcast_to(ignored, index.shape)
    if batch != call.batch:
        x = np.broadcast_to(np.moveaxis(rows.x, rows.axis, -1), (*batch, call.classes))
        mask = rows.mask
        if mask is not None:
            mask = np.broadcast_to(np.moveaxis(mask, rows.axis, -1), x.shape)
        t = rows.temperature
        if t is not None and t.ndim:
            t = np.broadcast_to(t, batch)
        axis = rows.axis - rows.x.ndim
        rows = Rows(np.moveaxis(x, -1, axis), len(batch) + 1 + axis, rows.compute,
                    None if mask is None else np.moveaxis(mask, -1, axis), t)  # fmt: skip
        call = call._replace(rows=rows, batch=batch)
    return _Given(call, index, has_axis, ignored)


def _check_range(name: str, indices: Array, n: int) -> None:
    if not indices.size or (int(indices.min()) >= 0 and int(indices.max()) < n):
        return
    what, value = element("indices", indices, int(np.argmax((indices < 0) | (indices >= n))))
    raise IndexError(f"{name}: {what} = {value} is outside [0, {n})")


def take_log_probs(
    x: object,
    indices: object,
    axis: object,
    ignore_index: object,
    where: object,
    temperature: object,
    dtype: object,
) -> Any:
    name = "take_log_probs"
    rows = _call(name, x, axis, where, temperature, dtype, per_row=True)
    call, index, has_axis, ignored = _given(name, rows, indices, ignore_index)
    y = _values_of("log_probs", call, call.rows, index)
    if ignored is not None:
        y[ignored] = 0
    return call.values(y, has_axis=has_axis)


def rank(x: object, indices: object, axis: object, ignore_index: object, where: object, index_dtype: object) -> Any:
    call, index, has_axis, ignored = _given("rank", _call("rank", x, axis, where, None), indices, ignore_index)
    found = np.empty(index.shape, _index_dtype("rank", index_dtype, call.classes, ignore_index is not None))
    _run(_core.RANK, call.rows, _Arrays(index, rank=found))
    if ignored is not None:
        found[ignored] = -1
    return call.result(found, has_axis=has_axis)


# ---- a draw ---------------------------------------------------------------------------------------------------------


def _parameter(name: str, what: str, value: object, call: _Call, low: float, high: float) -> Array | None:
    """One number (0-d), or one for each row."""
    if value is None:
        return None
    whole = what == "top_k"
    if type(value) is (int if whole else float) and max(low, 0) < value <= high:
        return np.array(min(value, call.classes) if whole else value)
    a = as_array(name, value if whole else as_float(value), what)
    if a.dtype.kind not in ("iu" if whole else "fiu") and (whole or not is_bfloat16(a.dtype)):
        expected = "integers" if whole else "real numbers"
        raise TypeError(f"{name}: {what} has dtype {a.dtype}, expected {expected}")
    if not whole:
        a = a.astype(np.float64)
    wrong = ~((a >= low) & (a <= high)) if what != "top_p" else ~((a > low) & (a <= high))
    if wrong.any():
        at, found = element(what, a, int(wrong.argmax()))
        expected = {"top_k": "at least 0", "top_p": "above 0, at most 1", "min_p": "0 to 1"}[what]
        if what == "top_p" and found == 0:
            expected += "; top_k=1 leaves the first class alone"
        raise ValueError(f"{name}: {at} is {found}, expected {expected}")
    if whole:
        a = np.where(a == 0, call.classes, np.minimum(a.astype(np.uint64), np.uint64(call.classes))).astype(np.int64)
    return call.per_row(name, what, np.asarray(a))


def _without_zeros(temperature: object) -> tuple[object, Array | None]:
    """Temperatures with 1 for 0, and where they are 0; None where they are nowhere."""
    if temperature is None or (type(temperature) is float and temperature != 0):
        return temperature, None
    t = as_array("sample", as_float(temperature), "temperature")
    if (t.dtype.kind not in "fiu" and not is_bfloat16(t.dtype)) or not (t == 0).any():
        return temperature, None
    return np.where(t == 0, 1, t), t == 0


def _uniform(rng: object, uniform: object, call: _Call, size: int | None) -> Array:
    """(*batch, size) numbers from 0 to 1: those given, or drawn from one generator or from one for each row.

    Where size is None there is one for each row.
    """
    shape = (*call.batch, 1 if size is None else size)
    if uniform is not None:
        if rng is not None:
            raise ValueError("sample: rng and uniform are both given, expected one of them")
        u = as_array("sample", uniform, "uniform")
        result_dtype("sample", u.dtype, "uniform")
        u = u.astype(np.float64)
        wrong = ~((u >= 0) & (u < 1))
        if wrong.any():
            what, value = element("uniform", u, int(wrong.argmax()))
            raise ValueError(f"sample: {what} is {value}, expected numbers from 0 to 1, without 1")
        if size is None:
            u = call.per_row("sample", "uniform", u)
            return np.ascontiguousarray(np.broadcast_to(u, call.batch)).reshape(shape)
        axis, of_x = call.rows.axis, call.rows.x.shape
        u = broadcast("sample", "uniform", u, (*of_x[:axis], size, *of_x[axis + 1 :]), "the result")
        return np.ascontiguousarray(np.moveaxis(u, axis, -1))
    each = list(rng) if isinstance(rng, (list, tuple)) else None
    if each is not None and len(each) != math.prod(call.batch):
        rows = math.prod(call.batch)
        raise ValueError(f"sample: rng has {len(each)} generators or seeds, expected one for each of {rows} rows")
    try:
        if each is not None:
            generators = [np.random.default_rng(seed) for seed in each]
            return np.array([generator.random(shape[-1]) for generator in generators]).reshape(shape)
        drawn = np.random.default_rng(rng).random(call.batch if size is None else shape)  # type: ignore[arg-type]
        return np.asarray(drawn).reshape(shape)
    except (TypeError, ValueError) as error:
        wrong_rng = f"sample: rng must be a numpy.random.Generator or a seed, got {rng!r}: {error}"
        raise type(error)(wrong_rng) from None


def sample(
    x: object,
    axis: object,
    temperature: object,
    top_k: object,
    top_p: object,
    min_p: object,
    rng: object,
    uniform: object,
    where: object,
    return_log_probs: bool,
    dtype: object,
    size: object,
    replace: bool,
    index_dtype: object,
) -> Any:
    temperature, greedy = _without_zeros(temperature)
    call = _call("sample", x, axis, where, temperature, dtype, per_row=True)
    _check_classes("sample", call)
    integers = _index_dtype("sample", index_dtype, call.classes)
    count = None if size is None else integer("sample", "size", size)
    if count is not None and count < 0:
        raise ValueError(f"sample: size is {count}, expected at least 0")
    if count is not None and count > call.classes and not replace:
        raise ValueError(f"sample: size is {count}, expected at most {call.classes} where replace is False")
    filters = [
        _parameter("sample", "top_k", top_k, call, 0, np.inf),
        _parameter("sample", "top_p", top_p, call, 0, 1),
        _parameter("sample", "min_p", min_p, call, 0, 1),
    ]
    if greedy is not None:
        first = call.per_row("sample", "temperature", greedy)
        filters[0] = np.where(first, 1, call.classes if filters[0] is None else filters[0]).astype(np.int64)
    numbers = _uniform(rng, uniform, call, count)
    index = np.empty(numbers.shape, integers)
    y = np.empty(index.shape, call.stored) if return_log_probs else None
    _run(None, call.rows, _Arrays(index, None, y, numbers, *filters), replace=replace)
    if not replace and index.shape[-1] > 1:
        _check_enough(index)
    has_axis = count is not None
    found = call.result(index, has_axis=has_axis)
    return found if y is None else (found, call.values(y, has_axis=has_axis))


def _check_enough(index: Array) -> None:
    """Rows with fewer classes than draws have how many there are for each draw; in all others no two are the same."""
    few = index[..., 0] == index[..., 1]
    if few.any():
        place = np.unravel_index(int(few.argmax()), few.shape)
        row = f"row {tuple(int(i) for i in place)}" if place else "x"
        left, size = int(index[place][0]), index.shape[-1]
        raise ValueError(f"sample: {row} has {left} classes left, expected at least {size} where replace is False")


# ---- the mean of values ---------------------------------------------------------------------------------------------


def expectation(
    x: object, values: object, axis: object, where: object, temperature: object, dtype: object, out: object
) -> Any:
    name = "expectation"
    call = _call(name, x, axis, where, temperature, dtype, per_row=True)
    rows, n = call.rows, call.classes
    v = as_array(name, values, "values")
    result_dtype(name, v.dtype, "values")
    with np.errstate(all="ignore"):
        given, v = v, v.astype(rows.compute)
    wrong = np.isnan(v) | (np.isinf(v) & (v != given))
    if wrong.any():
        what, value = element("values", given, int(wrong.argmax()))
        raise ValueError(f"{name}: {what} is {value}, expected numbers that fit into {rows.compute}")
    v = v.reshape(1) if call.is_scalar and v.ndim == 0 else v
    if v.shape[rows.axis :][:1] == (n,) == (v.size,) and v.ndim == rows.x.ndim:
        v = v.reshape(n)
    if v.shape != (n,):
        if v.ndim != rows.x.ndim:
            raise ValueError(
                f"{name}: values has shape {v.shape}, expected {(n,)}, or one that broadcasts to that of x"
            )
        v = broadcast(name, "values", v, rows.x.shape, "x")
    shape = () if call.is_scalar else call.batch
    y = None if out is None else check_out(name, out, shape, call.dtype)
    result = np.empty(call.batch, call.stored)
    _mean(call, v, result)
    with np.errstate(all="ignore"):
        if y is None:
            return result.astype(call.dtype, copy=False).reshape(shape)[()]
        y[...] = result.reshape(shape)
    return out


def _mean(call: _Call, values: Array, y: Array) -> None:
    rows, n = call.rows, call.classes
    if y.size == 0 or n == 0:
        y.fill(0)
        return
    if values.ndim == 1 and np.isinf(values).any():
        values = values.reshape(-1, *(1,) * (rows.x.ndim - rows.axis - 1))
        values = np.broadcast_to(values, rows.x.shape)
    if values.ndim > 1 or np.isinf(values).any():
        for piece in pieces(rows.x.shape, rows.axis):
            p = np.empty(rows.x[piece].shape, rows.compute)
            _softmax.run(_core.SOFTMAX, rows.part(piece), p)
            with np.errstate(all="ignore"):
                products = np.where(p == 0, 0, p * values[piece].astype(np.float64))  # also where a value is infinite
                products = np.ascontiguousarray(np.moveaxis(products, rows.axis, -1))
                y[without(piece, rows.axis)] = products.sum(axis=-1)
        return
    values = np.ascontiguousarray(values)
    if rows.is_readable and rows.far() is None:
        _mean_of_readable(rows, values, y)
        return
    for part, chosen in _parts(rows, moved=False):
        own = np.empty(without(part.x.shape, part.axis), part.compute if part.compute == np.float64 else y.dtype)
        _mean_of_readable(part, values.astype(part.compute), own)
        with np.errstate(all="ignore"):
            y[chosen] = own


def _mean_of_readable(rows: Rows, values: Array, y: Array) -> None:
    kinds = storage(rows.x.dtype), storage(y.dtype)
    _core.run(_core.EXPECTATION, *kinds, rows.x, y, rows.axis, rows.mask, rows.temperature, values)
