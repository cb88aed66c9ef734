"""Decide, for softmax, log_softmax and logsumexp: options, axes, how arrays that the kernels cannot read reach them.

It knows nothing of how a softmax is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from softlane import _core
from softlane._arguments import (
    Array,
    as_array,
    check_out,
    is_plain,
    normalise_axes,
    output_dtype,
    overlaps,
    pieces,
    result_dtype,
    storage,
    without,
)

# Temperatures whose powers the kernels can take: beyond, rows are scaled by a power of two first.
_TEMPERATURES = {np.dtype(np.float32): 2.0**24, np.dtype(np.float64): 2.0**100}


class _Call(NamedTuple):
    """A checked call. mask is bool and like x; temperature is float64, one number (0-d) or one for each row."""

    op: int
    x: Array
    axis: int
    compute: np.dtype[Any]
    mask: Array | None
    temperature: Array | None

    def part(self, piece: tuple[slice, ...]) -> _Call:
        """The same for some rows."""
        mask, temperature = self.mask, self.temperature
        if temperature is not None and temperature.ndim:
            temperature = temperature[without(piece, self.axis)]
        return self._replace(x=self.x[piece], mask=None if mask is None else mask[piece], temperature=temperature)


def call(
    op: int,
    name: str,
    x: object,
    axis: object,
    out: object,
    *,
    keepdims: bool = False,
    dtype: object = None,
    where: object = None,
    temperature: object = None,
) -> Any:
    """Any call that `_core.fast` does not take."""
    a = as_array(name, x)
    native = result_dtype(name, a.dtype)
    wanted = output_dtype(name, dtype, native)
    compute = np.dtype(np.float64) if np.float64 in (native, wanted) else np.dtype(np.float32)
    axes = normalise_axes(name, axis, a.ndim)
    shape = a.shape or (1,)
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    batch = tuple(n for i, n in enumerate(shape) if i not in axes)
    mask = None if where is None else _mask(name, where, a.shape).reshape(shape)
    heat = None if temperature is None else _temperature(name, temperature, kept, batch)
    reduces = op == _core.LOGSUMEXP
    result_shape = a.shape if not reduces else () if not a.shape else kept if keepdims else batch
    y = None if out is None else check_out(name, out, result_shape, wanted)
    work = _Call(op, a.reshape(shape), axes[0], compute, mask, heat)
    fresh = y is None or _spoils(work, y) or (reduces and np.may_share_memory(work.x, y))
    result = np.empty(result_shape, wanted) if y is None or fresh else y
    view = result.reshape(kept if reduces else shape)
    if len(axes) == 1:
        _run(work, view)
    else:
        _run_axes(work, axes, view)
    if y is None:
        return result if result_shape else result[()]
    if fresh or not np.may_share_memory(view, y):  # reshaping has copied an out that is strided
        y[...] = view.reshape(result_shape)
    return out


def _mask(name: str, where: object, shape: tuple[int, ...]) -> Array:
    mask = as_array(name, where, "where")
    if mask.dtype != np.bool_:
        raise TypeError(f"{name}: where has dtype {mask.dtype}, expected bool")
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"{name}: where has shape {mask.shape}, which does not broadcast to {shape}, that of x"
        ) from None


def _temperature(name: str, temperature: object, kept: tuple[int, ...], batch: tuple[int, ...]) -> Array | None:
    """float64: one number, or one for each row; None for 1."""
    t = as_array(name, temperature, "temperature")
    if t.dtype.kind not in "fiub" and t.dtype.name != "bfloat16":
        raise TypeError(f"{name}: temperature has dtype {t.dtype}, expected real numbers")
    with np.errstate(all="ignore"):
        t = t.astype(np.float64)
    wrong = ~((t > 0) & (t < np.inf))
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        at = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(
            f"{name}: temperature{at} is {t[index]}, expected positive, finite numbers; "
            f"the limit towards 0 is the class with the largest logit: argmax"
        )
    if t.size == 1 and t.ndim <= len(kept):
        return None if t.item() == 1 else t.reshape(())
    for shape in (batch, kept):
        try:
            return np.ascontiguousarray(np.broadcast_to(t, shape).reshape(batch))
        except ValueError:
            continue
    raise ValueError(
        f"{name}: temperature has shape {t.shape}, expected a number, or one for each row: {batch} or {kept}"
    )


def _spoils(work: _Call, out: Array) -> bool:
    """Would writing `out` change what is still to be read?"""
    others = (work.mask, work.temperature)
    return overlaps(work.x, out) or any(a is not None and np.may_share_memory(a, out) for a in others)


def _run_axes(work: _Call, axes: tuple[int, ...], result: Array) -> None:
    """Several class axes: as one, where they lie together; else piece by piece through copies that have them last."""
    count = len(axes)
    if axes == tuple(range(axes[0], axes[0] + count)) and is_plain(work.x) and is_plain(result):
        joined = [_join(a, axes) for a in (work.x, result)]
        mask = None if work.mask is None else _join(work.mask, axes)
        _run(work._replace(x=joined[0], mask=mask), joined[1])
        return
    last = tuple(range(-count, 0))
    x, y = np.moveaxis(work.x, axes, last), np.moveaxis(result, axes, last)
    mask = None if work.mask is None else np.moveaxis(work.mask, axes, last)
    batch = x.ndim - count
    rows = (*x.shape[:batch], math.prod(x.shape[batch:]))
    for piece in pieces(rows, batch):
        part = x[piece[:batch]]
        flat = (*part.shape[:batch], rows[-1])
        t = work.temperature
        small = work._replace(
            x=np.ascontiguousarray(part).reshape(flat),
            axis=batch,
            mask=None if mask is None else np.ascontiguousarray(mask[piece[:batch]]).reshape(flat),
            temperature=t if t is None or not t.ndim else t[piece[:batch]],
        )
        own = np.empty(flat if work.op != _core.LOGSUMEXP else (*flat[:-1], 1), result.dtype)
        _run(small, own)
        y[piece[:batch]] = own.reshape(y[piece[:batch]].shape)


def _join(a: Array, axes: tuple[int, ...]) -> Array:
    return a.reshape(*a.shape[: axes[0]], math.prod(a.shape[i] for i in axes), *a.shape[axes[-1] + 1 :])


def _run(work: _Call, y: Array) -> None:
    """Into y, of the shape of x, or, for logsumexp, with length 1 along the axis."""
    x, mask, axis = work.x, work.mask, work.axis
    if y.size == 0:
        return
    if x.shape[axis] == 0:
        y.fill(-np.inf)
        return
    if work.temperature is not None:
        limit = _TEMPERATURES[work.compute]
        far = (work.temperature < 1 / limit) | (work.temperature > limit)
        if far.any():
            _run_far(work, far, y)
            return
    stores = is_plain(y) and _reads(y, work.compute)
    if (
        stores
        and mask is None
        and not (is_plain(x) and _reads(x, work.compute))
        and y.shape == x.shape
        and y.dtype == work.compute
    ):
        np.copyto(y, x, casting="unsafe")  # any layout, byte order or integer; then in place, without a temporary
        x = y
    if stores and is_plain(x) and _reads(x, work.compute) and (mask is None or is_plain(mask)):
        _core.run(work.op, storage(x.dtype), storage(y.dtype), x, y, axis, mask, work.temperature)
        return
    for piece in pieces(x.shape, axis):
        small = work.part(piece)
        part = _readable(small.x, work.compute)
        own = y[_rows(work, piece)]
        if is_plain(own) and _reads(own, work.compute):
            target = own
        elif own.shape == part.shape and part.dtype == _stored(y.dtype, work.compute) and part.base is None:
            target = part  # in place: this is a copy
        else:
            target = np.empty(own.shape, _stored(y.dtype, work.compute))
        mask = None if small.mask is None else np.ascontiguousarray(small.mask)
        t = None if small.temperature is None else np.ascontiguousarray(small.temperature)
        _core.run(work.op, storage(part.dtype), storage(target.dtype), part, target, axis, mask, t)
        if target is not own:
            with np.errstate(all="ignore"):
                own[...] = target
        del part, target  # before the next ones are made


def _rows(work: _Call, piece: tuple[slice, ...]) -> tuple[slice, ...]:
    """The index of the results of a piece."""
    if work.op != _core.LOGSUMEXP:
        return piece
    return tuple(slice(None) if i == work.axis else s for i, s in enumerate(piece))


def _reads(a: Array, compute: np.dtype[Any]) -> bool:
    """Do the kernels of that compute type know the dtype?"""
    return a.dtype == np.float64 if compute == np.float64 else a.dtype != np.float64 and storage(a.dtype) is not None


def _readable(a: Array, compute: np.dtype[Any]) -> Array:
    a = np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("="))
    return a if is_plain(a) and _reads(a, compute) else np.array(a, dtype=compute, order="C")


def _stored(dtype: np.dtype[Any], compute: np.dtype[Any]) -> np.dtype[Any]:
    return compute if compute == np.float64 else dtype


def _run_far(work: _Call, far: Array, y: Array) -> None:
    """Rows with temperatures that the kernels do not take are copied, some at a time; the others go on as ever."""
    if work.x.ndim == 1:
        mask = None if work.mask is None else work.mask[None]
        work, y = work._replace(x=work.x[None], axis=1, mask=mask), y[None]
    assert work.temperature is not None
    x, to = np.moveaxis(work.x, work.axis, -1), np.moveaxis(y, work.axis, -1)
    far, t = (np.broadcast_to(a, x.shape[:-1]) for a in (far, work.temperature))
    mask = None if work.mask is None else np.moveaxis(work.mask, work.axis, -1)
    rows = np.argwhere(far)
    results = []
    for piece in pieces((len(rows), x.shape[-1]), 1):
        chosen = tuple(rows[piece[0]].T)
        hidden = None if mask is None else mask[chosen]
        results.append(
            (chosen, _scaled(work._replace(x=x[chosen], axis=1, mask=hidden, temperature=t[chosen]), y.dtype))
        )
    if not far.all():
        _run(work._replace(temperature=np.where(far, 1, t)), y)
    for chosen, result in results:
        to[chosen] = result


def _scaled(work: _Call, dtype: np.dtype[Any]) -> Array:
    """Rows of a 2-d array with temperatures 2^e f: the rows times 2^-e, in float64, and f.

    A row that overflows is less its maximum first: what is left of it near the maximum is exact.
    """
    assert work.temperature is not None
    fraction, exponent = np.frexp(work.temperature)
    exponent = exponent[:, None]
    x = work.x.astype(np.float64)
    with np.errstate(all="ignore"):
        visible = x if work.mask is None else np.where(work.mask, x, -np.inf)
        top = visible.max(axis=1, keepdims=True)
        overflows = (np.isfinite(visible) & np.isinf(np.ldexp(visible, -exponent))).any(axis=1, keepdims=True)
        top = np.where(overflows & np.isfinite(top), top, 0)
        x = np.ldexp(x - top, -exponent)
        y = np.empty((len(x), 1) if work.op == _core.LOGSUMEXP else x.shape)
        _run(work._replace(x=x, compute=np.dtype(np.float64), temperature=fraction), y)
        return (y + top / work.temperature[:, None] if work.op == _core.LOGSUMEXP else y).astype(dtype)


# ---- logsumexp with coefficients -------------------------------------------------------------------------------------


def weighted_logsumexp(
    name: str,
    x: object,
    axis: object,
    b: object,
    out: object,
    *,
    keepdims: bool,
    return_sign: bool,
    dtype: object,
    where: object,
    temperature: object,
) -> Any:
    """log(abs(sum(b * exp(x)))) and the sign of the sum, in float64 by NumPy, piece by piece. b = 0 is no term."""
    a = as_array(name, x)
    native = result_dtype(name, a.dtype)
    factor = as_array(name, 1.0 if b is None else b, "b")
    result_dtype(name, factor.dtype, "b")
    wanted = output_dtype(name, dtype, native)
    try:
        shape = np.broadcast_shapes(a.shape, factor.shape)
    except ValueError:
        raise ValueError(
            f"{name}: b has shape {factor.shape}, which does not broadcast with {a.shape}, that of x"
        ) from None
    a, factor = np.broadcast_to(a, shape), np.broadcast_to(factor, shape)
    axes = normalise_axes(name, axis, a.ndim)
    mask = None if where is None else _mask(name, where, shape)
    a, factor = (v.reshape(1) if v.ndim == 0 else v for v in (a, factor))
    kept = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
    batch = tuple(n for i, n in enumerate(a.shape) if i not in axes)
    t = None if temperature is None else _temperature(name, temperature, kept, batch)
    result_shape = () if not shape else kept if keepdims else batch
    y = None if out is None else check_out(name, out, result_shape, wanted)
    last = tuple(range(-len(axes), 0))
    views = [np.moveaxis(v, axes, last) for v in (a, factor)]
    if mask is not None:
        views.append(np.moveaxis(mask.reshape(a.shape), axes, last))
    log, sign = np.empty(batch), np.empty(batch)
    for piece in pieces((*batch, math.prod(a.shape[i] for i in axes)), len(batch)):
        rows = piece[:-1]
        log[rows], sign[rows] = _signed(
            *(v[rows] for v in views), axes=last, t=t if t is None or not t.ndim else t[rows]
        )
    if not return_sign:
        log[sign < 0] = np.nan
    finish: Callable[[Array], Any] = lambda v: v.astype(wanted).reshape(result_shape)[()]  # noqa: E731
    with np.errstate(all="ignore"):
        if y is not None:
            y[...] = log.reshape(result_shape)
        result = finish(log) if y is None else out
        return (result, finish(sign)) if return_sign else result


def _signed(
    x: Array, b: Array, mask: Array | None = None, *, axes: tuple[int, ...], t: Array | None
) -> tuple[Array, Array]:
    x, b = x.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        if t is not None:
            x = x / t.reshape((*t.shape, *(1 for _ in axes if t.ndim)))
        hidden = b == 0 if mask is None else (b == 0) | ~mask
        x, b = np.where(hidden, -np.inf, x), np.where(hidden, 0, b)
        top = x.max(axis=axes, keepdims=True, initial=-np.inf)
        infinite = top == np.inf  # then finite terms are nothing
        top[~np.isfinite(top)] = 0
        most = abs(b).max(axis=axes, keepdims=True, initial=0)
        exponent = np.where(np.isfinite(most) & (most > 2.0**900), np.frexp(most)[1], 0)  # lest the sum overflows
        e = np.where(infinite & (x < np.inf), 0, np.exp(x - top))
        total = np.where(hidden, 0, np.ldexp(b, -exponent) * e).sum(axis=axes)
        log = np.log(abs(total)) + (top + exponent * np.log(2)).reshape(total.shape)
        return np.where(np.isnan(log), np.nan, log), np.where(np.isnan(total), np.nan, np.sign(total))
