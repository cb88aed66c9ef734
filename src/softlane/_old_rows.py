"""Decide what x, class axes, a mask and temperatures mean together: the rows that all functions over classes have.

And whether the kernels can read them where they are. It knows no operation.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from softlane._arguments import Array, as_array, broadcast, element, is_plain, normalise_axes, storage, without

# Temperatures whose powers the kernels can take: beyond, rows are scaled by a power of two first.
_TEMPERATURES = {np.dtype(np.float32): 2.0**24, np.dtype(np.float64): 2.0**100}


class Rows(NamedTuple):
    """Checked. mask is bool and like x; temperature is float64, one number (0-d) or one for each row."""

    x: Array
    axis: int
    compute: np.dtype[Any]
    mask: Array | None
    temperature: Array | None

    def part(self, piece: tuple[slice, ...]) -> Rows:
        """Some of the rows."""
        mask = None if self.mask is None else self.mask[piece]
        temperature = of_rows(self.temperature, without(piece, self.axis))
        return self._replace(x=self.x[piece], mask=mask, temperature=temperature)

    def readable(self) -> Rows:
        """The same in memory that the kernels can read; a copy where this is not."""
        mask = None if self.mask is None else np.ascontiguousarray(self.mask)
        temperature = None if self.temperature is None else np.ascontiguousarray(self.temperature)
        return self._replace(x=_readable(self.x, self.compute), mask=mask, temperature=temperature)

    @property
    def is_readable(self) -> bool:
        return is_plain(self.x) and reads(self.x, self.compute) and (self.mask is None or is_plain(self.mask))

    def far(self) -> Array | None:
        """Which temperatures the kernels do not take; None where they take all."""
        if self.temperature is None:
            return None
        limit = _TEMPERATURES[self.compute]
        far: Array = (self.temperature < 1 / limit) | (self.temperature > limit)
        return far if far.any() else None

    def scaled(self) -> tuple[Rows, Array]:
        """Rows of a 2-d x with temperatures 2^e f: the rows times 2^-e, in float64, with f; and what was taken off.

        A row that overflows is less its maximum first: what is left of it near the maximum is exact.
        """
        assert self.temperature is not None
        fraction, exponent = np.frexp(self.temperature)
        exponent = exponent[:, None]
        x = self.x.astype(np.float64)
        with np.errstate(all="ignore"):
            visible = x if self.mask is None else np.where(self.mask, x, -np.inf)
            top = visible.max(axis=1, keepdims=True)
            overflows = (np.isfinite(visible) & np.isinf(np.ldexp(visible, -exponent))).any(axis=1, keepdims=True)
            top = np.where(overflows & np.isfinite(top), top, 0)
            x = np.ldexp(x - top, -exponent)
        return self._replace(x=x, compute=np.dtype(np.float64), temperature=fraction), top


class Options(NamedTuple):
    """What the arguments say beside x: the class axes in ascending order, the batch (and with length 1 along them)."""

    axes: tuple[int, ...]
    kept: tuple[int, ...]
    batch: tuple[int, ...]
    mask: Array | None
    temperature: Array | None


def options(name: str, shape: tuple[int, ...], axis: object, where: object, temperature: object) -> Options:
    """For an x of that shape; 0-d counts as one class."""
    axes = normalise_axes(name, axis, len(shape))
    rows = shape or (1,)
    kept = tuple(1 if i in axes else n for i, n in enumerate(rows))
    batch = tuple(n for i, n in enumerate(rows) if i not in axes)
    mask = None if where is None else _mask(name, where, shape).reshape(rows)
    return Options(
        axes, kept, batch, mask, None if temperature is None else _temperature(name, temperature, kept, batch)
    )


def of_rows(numbers: Array | None, index: Any) -> Array | None:
    """Those of some rows, where there is not one number for all."""
    return numbers if numbers is None or not numbers.ndim else numbers[index]


def _mask(name: str, where: object, shape: tuple[int, ...]) -> Array:
    mask = as_array(name, where, "where")
    if mask.dtype != np.bool_:
        raise TypeError(f"{name}: where has dtype {mask.dtype}, expected bool")
    return broadcast(name, "where", mask, shape, "x")


def _temperature(name: str, temperature: object, kept: tuple[int, ...], batch: tuple[int, ...]) -> Array | None:
    """float64: one number, or one for each row; None for the number 1, but not for an array of it.

    An array may be a part of a larger one, whose other rows have other temperatures: its rows have the bits of those.
    """
    if type(temperature) is float and 0 < temperature < np.inf:
        return None if temperature == 1 else np.array(temperature)
    t = as_array(name, as_float(temperature), "temperature")
    if t.dtype.kind not in "fiub" and t.dtype.name != "bfloat16":
        raise TypeError(f"{name}: temperature has dtype {t.dtype}, expected real numbers")
    with np.errstate(all="ignore"):
        t = t.astype(np.float64)
    wrong = ~((t > 0) & (t < np.inf))
    if wrong.any():
        what, value = element("temperature", t, int(wrong.argmax()))
        limit = "; the limit towards 0 is the class with the largest logit: argmax" if value == 0 else ""
        raise ValueError(f"{name}: {what} is {value}, expected positive, finite numbers{limit}")
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
    """One number (0-d), or one for each row: given in the shape of the batch, or in `kept`, that of all axes."""
    if a.size == 1 and a.ndim <= len(kept):
        return a.reshape(())
    for shape in (batch, kept):
        try:
            return np.ascontiguousarray(np.broadcast_to(a, shape).reshape(batch))
        except ValueError:
            continue
    raise ValueError(f"{name}: {what} has shape {a.shape}, expected a number, or one for each row: {batch} or {kept}")


def reads(a: Array, compute: np.dtype[Any]) -> bool:
    """Do the kernels of that compute type know the dtype?"""
    return a.dtype == np.float64 if compute == np.float64 else a.dtype != np.float64 and storage(a.dtype) is not None


def _readable(a: Array, compute: np.dtype[Any]) -> Array:
    a = np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("="))
    return a if is_plain(a) and reads(a, compute) else np.array(a, dtype=compute, order="C")
