"""Run: operations with a result like x or one number for each row, on arguments of any layout and dtype.

What `_core.rows` does not take as it came is checked here, and goes on as one call or chunk by chunk.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from softlane import _core
from softlane._chunks import Axes, apply_to_rows, are_far
from softlane._validate import (
    Array,
    as_array,
    check_out,
    compute_dtype,
    is_plain,
    normalise_axis,
    options,
    output_dtype,
    overlaps,
    protected,
    result_dtype,
)

# Operations with one number for each row, and what a row without a class gives
_OF_NO_CLASS = {_core.LOGSUMEXP: -math.inf, _core.EXPECTATION: 0.0, _core.ENTROPY: 0.0, _core.KL_DIVERGENCE: 0.0}


class Rows(NamedTuple):
    """Checked: an x with at least one dimension, its class axes, and what goes with it (see `Options`)."""

    x: Array
    axes: Axes
    mask: Array | None
    temperature: Array | None
    compute: np.dtype[Any]

    @property
    def arrays(self) -> tuple[Array, Array | None, Array | None]:
        return self.x, self.mask, self.temperature

    @property
    def classes(self) -> int:
        return math.prod([self.x.shape[i] for i in self.axes])


class Call(NamedTuple):
    """Checked. dtype is that of results, stored is the one in which the kernels write them."""

    rows: Rows
    dtype: np.dtype[Any]
    kept: tuple[int, ...]
    batch: tuple[int, ...]
    is_scalar: bool  # x is 0-d

    @property
    def stored(self) -> np.dtype[Any]:
        return self.rows.compute if self.rows.compute == np.float64 else self.dtype

    def shape(self, k: int) -> tuple[int, ...]:
        """k numbers for each row, along the class axis."""
        return tuple([k if i == self.rows.axes[0] else n for i, n in enumerate(self.kept)])

    def reduced(self, keepdims: bool) -> tuple[int, ...]:
        """One number for each row, as the caller gets it."""
        return () if self.is_scalar else self.kept if keepdims else self.batch

    def give(self, a: Array, dtype: np.dtype[Any], has_axis: bool) -> Any:
        with np.errstate(all="ignore"):
            a = a.astype(dtype, copy=False)
        return a if has_axis else a.reshape(self.reduced(False))[()]


def check(
    name: str,
    x: object,
    axis: object,
    where: object,
    temperature: object,
    dtype: object,
    *,
    is_per_row: bool = False,
    axes: Literal["one", "one or all", "any"] = "one",
) -> Call:
    """is_per_row: results are one number for each row, which is worth 32 bits also where logits have 16."""
    a = as_array(name, x)
    if axes == "one" or (axes == "one or all" and axis is not None):
        axis = normalise_axis(name, axis, a.ndim)
    native = result_dtype(name, a.dtype)
    wanted = output_dtype(name, dtype, compute_dtype(native) if is_per_row else native)
    asked = options(name, a.shape, axis, where, temperature)
    compute = compute_dtype(native, wanted)
    rows = Rows(a.reshape(a.shape or (1,)), asked.axes, asked.mask, asked.temperature, compute)
    return Call(rows, wanted, asked.kept, asked.batch, a.ndim == 0)


class Result(NamedTuple):
    """Where results go: `array`, of the caller's shape, or memory of our own that `out` takes over at the end.

    view is the same memory as the kernels see it, beside x.
    """

    array: Array
    view: Array
    out: Array | None

    def give(self) -> Any:
        if self.out is None:
            return self.array[()]
        if self.array is not self.out:
            self.out[...] = self.array
        return self.out


def result_for(
    name: str,
    out: object,
    shape: tuple[int, ...],
    view: tuple[int, ...],
    dtype: np.dtype[Any],
    inputs: tuple[Array | None, ...],
    in_place: tuple[Array, ...] = (),
    what: str = "out",
) -> Result:
    """out, unless it overlaps what is still to be read: with `in_place` other than element by element."""
    if out is None:
        array = np.empty(shape, dtype)
        return Result(array, array.reshape(view), None)
    y = check_out(name, out, shape, dtype, what)
    spoils = any(a is not None and np.may_share_memory(a, y) for a in inputs) or any(overlaps(a, y) for a in in_place)
    if spoils or not np.may_share_memory(y.reshape(view), y):  # reshaping copies some layouts
        array = np.empty(shape, dtype)
        return Result(array, array.reshape(view), out)  # type: ignore[arg-type]
    return Result(out, y.reshape(view), out)  # type: ignore[arg-type]


@protected
def call(
    op: int,
    name: str,
    x: object,
    axis: object,
    dtype: object,
    out: object,
    keepdims: bool,
    where: object,
    temperature: object,
) -> Any:
    """Any call of an operation without arguments of its own."""
    given = check(name, x, axis, where, temperature, dtype, is_per_row=op == _core.ENTROPY, axes="any")
    rows, others = given.rows, given.rows.arrays[1:]
    if op in _OF_NO_CLASS:
        y = result_for(name, out, given.reduced(keepdims), given.kept, given.dtype, rows.arrays)
    else:
        shape = rows.x.shape
        y = result_for(name, out, () if given.is_scalar else shape, shape, given.dtype, others, (rows.x,))
    rows, view = together(rows, y.view)
    run(op, rows, view)
    return y.give()


def together(rows: Rows, *others: Array | None) -> tuple[Any, ...]:
    """Class axes side by side: at the end, where they are not. Others are outputs, or inputs like x."""
    axes = rows.axes
    return (rows, *others) if axes == tuple(range(axes[0], axes[-1] + 1)) else at_the_end(rows, *others)


def at_the_end(rows: Rows, *others: Array | None) -> tuple[Any, ...]:
    """The same with the class axes at the end."""
    ndim, axes = rows.x.ndim, rows.axes
    if axes[0] == ndim - len(axes):
        return (rows, *others)
    order = [i for i in range(ndim) if i not in axes] + list(axes)
    arrays = [a if a is None or not a.ndim else a.transpose(order) for a in (*rows.arrays, *others)]
    x, mask, temperature, *moved = arrays
    assert x is not None
    last = range(ndim - len(axes), ndim)
    return (Rows(x, tuple(last), mask, temperature, rows.compute), *moved)


def run(op: int, rows: Rows, y: Array, *others: Array, values: Array | None = None) -> None:
    """Into y, like x or with length 1 along the class axes. others: inputs like x; values: one for each class."""
    (x, mask, temperature), axes, compute = rows.arrays, rows.axes, rows.compute
    if y.size == 0:
        return
    if x.size == 0:
        y.fill(_OF_NO_CLASS[op])
        return
    is_read = is_plain(x) and (x.dtype == compute or x.dtype.itemsize <= 2)  # by the kernels, where it is
    if op not in _OF_NO_CLASS and mask is None and not others and not is_read and is_plain(y) and y.dtype == compute:
        np.copyto(y, x, casting="unsafe")  # then in place, without a temporary
        x = y
    if op == _core.SOFTMIN and are_far(temperature, compute):
        op, x = _core.SOFTMAX, -x.astype(compute)
    keepdims = op in _OF_NO_CLASS

    def kernel(mode: int, axes: Axes, x: Array, mask: Array | None, t: Array | None, *arrays: Array) -> Any:
        *like_x, y = arrays
        other = like_x[0] if like_x else values
        return _core.rows(op, x, axes, y.dtype, y, keepdims, mask, t, other, mode)

    correct = _shift_logsumexp if op == _core.LOGSUMEXP else None
    apply_to_rows(kernel, compute, axes, (x, mask, temperature), others, (y,), correct, logits=len(others))


def _shift_logsumexp(top: Array, temperature: Array, y: Array) -> None:
    y += top / temperature
