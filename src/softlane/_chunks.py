"""Cut: calls on arrays that the kernels cannot read as they are go chunk by chunk through copies.

One driver for all functions. It knows no operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from softlane import _core
from softlane._validate import Array

# Inner lengths from which columns are never narrow: the widest vector has 16 lanes.
_WIDE = 16

# Temperatures that the kernels take, and their reciprocals: rows with others are scaled by a power of two first.
_TEMPERATURES = dict(zip(map(np.dtype, (np.float32, np.float64)), _core.TEMPERATURE_LIMITS, strict=True))

Axes = tuple[int, ...]
Kernel = Callable[..., object]


def apply(
    kernel: Kernel,
    shape: tuple[int, ...],
    axes: Axes,
    inputs: Sequence[Array | None],
    outputs: Sequence[Array | None],
    compute: np.dtype[Any] | None = None,
) -> None:
    """Calls ``kernel(mode, axes, *inputs, *outputs)`` for whole arrays, or, where that is None, for chunk after chunk.

    Arrays have that shape, another length along the class axes, or no dimension: then they are for all rows. The class
    axes lie together. compute: what the kernel computes in. Kernels of float64 write no 16-bit floats: such outputs are
    copied from float64.
    """
    first, count = axes[0], len(axes)
    joined = (*shape[:first], math.prod(shape[i] for i in axes), *shape[first + count :])
    indices = ((*c[:first], *(slice(None) for _ in axes), *c[first + 1 :]) for c in chunks(joined, first))
    _run(lambda mode, *arrays: kernel(mode, axes, *arrays), indices, inputs, outputs, compute, first)


def apply_to_elements(
    kernel: Kernel, inputs: Sequence[Array | None], outputs: Sequence[Array | None], compute: np.dtype[Any]
) -> None:
    """Calls ``kernel(mode, *inputs, *outputs)`` as `apply` does, for arrays of one shape, or of none, without rows."""
    first = inputs[0]
    assert first is not None
    if first.size:
        given, to = ([a if a is None or first.ndim else a.reshape(1) for a in arrays] for arrays in (inputs, outputs))
        _run(kernel, element_chunks(first.shape), given, to, compute)


def _run(
    kernel: Kernel,
    indices: Iterable[tuple[slice, ...]],
    inputs: Sequence[Array | None],
    outputs: Sequence[Array | None],
    compute: np.dtype[Any] | None,
    axis: int | None = None,
) -> None:
    """For all at once, or for the chunks with these indices."""
    is_narrow = [_is_narrow(a, compute) for a in outputs]
    is_small = all(a is None or a.size <= _core.MOST_COPIED for a in (*inputs, *outputs))
    if not any(is_narrow) and kernel(_core.CHECKED, *inputs, *outputs) is not None:
        return
    for index in [(slice(None),)] if is_small and any(is_narrow) else indices:
        given, to = ([a if a is None or not a.ndim else a[index] for a in arrays] for arrays in (inputs, outputs))
        for i, a in enumerate(given):
            if a is not None and axis is not None and a.shape[axis : axis + 1] == (1,):  # which is not copied elsewhere
                given[i] = np.ascontiguousarray(a)
        own = [np.empty(a.shape) if a is not None and n else a for a, n in zip(to, is_narrow, strict=True)]
        _compute(kernel, *given, *own)
        with np.errstate(all="ignore"):
            for a, b in zip(to, own, strict=True):
                if a is not None and b is not None and a is not b:
                    np.copyto(a, b, casting="unsafe")


def _compute(kernel: Kernel, *arguments: Any) -> None:
    """One chunk. What has been checked is never refused."""
    if kernel(_core.COPY, *arguments) is None:
        raise RuntimeError("softlane: the kernels refuse arguments that have been checked; please report this call")


def _is_narrow(output: Array | None, compute: np.dtype[Any] | None) -> bool:
    """Is it of 16-bit floats, and computed in float64?"""
    return output is not None and compute == np.float64 and output.dtype.itemsize == 2 and output.dtype.kind not in "iu"


def for_numpy(kernel: Callable[..., None]) -> Kernel:
    """A kernel of NumPy's functions, ``kernel(axes, x, ...)``: its temporaries are limited to those of a chunk."""

    def limited(mode: int, axes: Axes, x: Array, *arrays: Array | None) -> Any:
        if mode == _core.CHECKED and x.size > _core.MOST_COPIED:
            return None
        with np.errstate(all="ignore"):
            kernel(axes, x, *arrays)
        return x

    return limited


def apply_to_rows(
    kernel: Kernel,
    compute: np.dtype[Any],
    axes: Axes,
    rows: tuple[Array, Array | None, Array | None],
    inputs: Sequence[Array | None],
    outputs: Sequence[Array | None],
    correct: Callable[..., None] | None = None,
    logits: int = 0,
) -> None:
    """Calls ``kernel(mode, axes, x, mask, temperature, *inputs, *outputs)``, as `apply` does.

    Rows with temperatures that the kernels do not take are computed apart, in float64. ``correct(top, temperature,
    *outputs)`` completes their results: what was computed is that of x less `top`. The first `logits` of the inputs are
    logits as x is.
    """
    x, mask, temperature = rows
    if temperature is None or not are_far(temperature, compute):
        apply(kernel, x.shape, axes, (*rows, *inputs), outputs, compute)
        return
    last = x.ndim - len(axes)
    far = np.broadcast_to(is_far(temperature, compute), tuple(1 if i in axes else n for i, n in enumerate(x.shape)))

    def move(a: Array) -> Array:
        return np.moveaxis(a, axes, range(last, x.ndim))

    places = np.argwhere(move(far).reshape(x.shape[: axes[0]] + x.shape[axes[-1] + 1 :]))
    per_chunk = max(1, _core.MOST_COPIED // max(1, math.prod(x.shape[i] for i in axes)))
    results = []
    for start in range(0, len(places), per_chunk):
        chosen = tuple(places[start : start + per_chunk].T)

        def take(a: Array | None, chosen: Any = chosen) -> Array | None:
            return a if a is None or not a.ndim else move(a)[chosen].reshape(len(chosen[0]) if chosen else 1, -1)

        own = [take(a) for a in outputs]
        given = [take(a) for a in inputs]
        results.append((chosen, _scaled(kernel, [take(a) for a in rows], given, own, correct, logits)))
    if not far.all():
        apply(kernel, x.shape, axes, (x, mask, np.where(far, 1, temperature), *inputs), outputs, compute)
    with np.errstate(all="ignore"):
        for chosen, found in results:
            for to, result in zip(outputs, found, strict=True):
                if to is not None and result is not None:
                    move(to)[chosen] = result.reshape(move(to)[chosen].shape)


def is_far(temperature: Array, compute: np.dtype[Any]) -> Array:
    limit = _TEMPERATURES[compute]
    far: Array = (temperature < 1 / limit) | (temperature > limit)
    return far


def are_far(temperature: Array | None, compute: np.dtype[Any]) -> bool:
    """Are there temperatures that the kernels do not take?"""
    return temperature is not None and bool(is_far(temperature, compute).any())


def _scaled(
    kernel: Kernel,
    rows: Sequence[Array | None],
    inputs: Sequence[Array | None],
    outputs: Sequence[Array | None],
    correct: Callable[..., None] | None,
    logits: int,
) -> list[Array | None]:
    """Results, in float64, of the rows of a 2-d x with temperatures 2^e f: those of x times 2^-e with f."""
    x, mask, temperature = rows
    assert x is not None and temperature is not None
    fraction, exponent = map(np.asarray, np.frexp(temperature))
    with np.errstate(all="ignore"):
        x, top = _times_power_of_two(x, mask, -exponent)
        others = [_times_power_of_two(a, mask, -exponent)[0] for a in inputs[:logits] if a is not None]
        found = [
            None if a is None else np.empty(a.shape, a.dtype if a.dtype.kind in "iu" else np.float64) for a in outputs
        ]
        _compute(kernel, (1,), x, mask, fraction, *others, *inputs[logits:], *found)
        if correct is not None:
            correct(top, temperature, *found)
    return found


def _times_power_of_two(x: Array, mask: Array | None, exponent: Array) -> tuple[Array, Array]:
    """In float64, and what was taken off before.

    A row that overflows is less its maximum first: what is left of it near the maximum is exact.
    """
    x = x.astype(np.float64)
    visible = x if mask is None else np.where(mask, x, -np.inf)
    top = visible.max(axis=1, keepdims=True)
    overflows = (np.isfinite(visible) & np.isinf(np.ldexp(visible, exponent))).any(axis=1, keepdims=True)
    top = np.where(overflows & np.isfinite(top), top, 0)
    return np.ldexp(x - top, exponent), top


def chunks(shape: tuple[int, ...], axis: int, most: int = _core.MOST_COPIED) -> Iterator[tuple[slice, ...]]:
    """Indices that cut an array into chunks of about `most` elements, whole along `axis`.

    The first axes are cut first, so that chunks of contiguous arrays are contiguous. The form of the kernels, and with
    it the last bits, depends on the inner length where that is small: so a cut after `axis` leaves at least `_WIDE`
    inner elements in every chunk.
    """
    yield from _cut(shape, axis, most, 0, [slice(None)] * len(shape))


def element_chunks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """The same where there is no axis: several arrays are copied at once."""
    for chunk in chunks((*shape, 1), len(shape), _core.MOST_COPIED // 8):
        yield chunk[:-1]


def _cut(shape: tuple[int, ...], axis: int, most: int, i: int, whole: list[slice]) -> Iterator[tuple[slice, ...]]:
    size = math.prod(shape[i:])
    least = 1
    if i == axis and size > most and axis + 1 < len(shape):
        i = max(range(axis + 1, len(shape)), key=lambda k: shape[k])
        least = -(-_WIDE * shape[i] // max(math.prod(shape[axis + 1 :]), 1))
    if size <= most or i == axis or (i > axis and shape[i] < 2 * least):
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
