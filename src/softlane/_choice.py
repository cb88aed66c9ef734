"""Decide, for choices among classes: what indices, filters and values mean, and how the rows reach the kernels.

Inside, everything about k classes of each row has the shape (*batch, k). It knows nothing of how a class is found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from softlane import _core
from softlane._arguments import (
    Array,
    as_array,
    compute_dtype,
    element,
    is_bfloat16,
    normalise_axis,
    output_dtype,
    pieces,
    result_dtype,
    storage,
    without,
)
from softlane._old_rows import Rows, as_float, of_rows, options, per_row


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


# ---- on the way to the kernels --------------------------------------------------------------------------------------


class _Arrays(NamedTuple):
    """(*batch, k) each. The parameters of a draw are one number (0-d), or one for each row."""

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


def _run(op: int | None, rows: Rows, a: _Arrays, in_order: bool = True) -> None:
    """Fills chosen, rank and y, as `_core.select` says; op is None for `_core.sample`."""
    if a.chosen.size == 0:
        return
    moved = rows.axis < rows.x.ndim - 1
    if rows.is_readable and rows.far() is None and not moved:
        _select(op, rows, a, in_order)
        return
    for part, chosen in _parts(rows, moved):
        own = a.of(chosen)
        if part.compute != rows.compute and own.y is not None:
            own = own._replace(y=np.empty(own.y.shape))
        _select(op, part, own, in_order)
        with np.errstate(all="ignore"):
            a.chosen[chosen] = own.chosen
            if a.rank is not None:
                a.rank[chosen] = own.rank
            if a.y is not None:
                a.y[chosen] = own.y


def _select(op: int | None, rows: Rows, a: _Arrays, in_order: bool) -> None:
    y, x = a.y, rows.x
    kinds = storage(x.dtype), storage(rows.compute if y is None else y.dtype)
    if op is None:
        filters = a.uniform, a.top_k, a.top_p, a.min_p
        _core.sample(*kinds, x, rows.axis, a.chosen, y, rows.mask, rows.temperature, *filters)
        return


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


def _uniform(rng: object, uniform: object, call: _Call) -> Array:
    """A number from 0 to 1 for each row: those given, or drawn from one generator or from one for each row."""
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
        u = call.per_row("sample", "uniform", u)
        return np.ascontiguousarray(np.broadcast_to(u, call.batch))
    each = list(rng) if isinstance(rng, (list, tuple)) else None
    if each is not None and len(each) != math.prod(call.batch):
        rows = math.prod(call.batch)
        raise ValueError(f"sample: rng has {len(each)} generators or seeds, expected one for each of {rows} rows")
    try:
        if each is not None:
            generators = [np.random.default_rng(seed) for seed in each]
            return np.array([generator.random() for generator in generators]).reshape(call.batch)
        return np.asarray(np.random.default_rng(rng).random(call.batch))  # type: ignore[arg-type]
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
) -> Any:
    temperature, greedy = _without_zeros(temperature)
    call = _call("sample", x, axis, where, temperature, dtype, per_row=True)
    _check_classes("sample", call)
    filters = [
        _parameter("sample", "top_k", top_k, call, 0, np.inf),
        _parameter("sample", "top_p", top_p, call, 0, 1),
        _parameter("sample", "min_p", min_p, call, 0, 1),
    ]
    if greedy is not None:
        first = call.per_row("sample", "temperature", greedy)
        filters[0] = np.where(first, 1, call.classes if filters[0] is None else filters[0]).astype(np.int64)
    numbers = _uniform(rng, uniform, call)
    index = np.empty((*call.batch, 1), np.int64)
    y = np.empty(index.shape, call.stored) if return_log_probs else None
    # (*batch, 1) like the others, that a batch without dimensions is one number for each row as well
    draw = _Arrays(index, None, y, numbers[..., None], *filters)
    _run(None, call.rows, draw)
    found = call.result(index, has_axis=False)
    return found if y is None else (found, call.values(y, has_axis=False))
