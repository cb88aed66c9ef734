"""Decide, for softmax, log_softmax and logsumexp: how arrays that the kernels cannot read, or write to, reach them.

It knows nothing of how a softmax is computed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from softlane import _core
from softlane._arguments import (
    Array,
    as_array,
    broadcast_shapes,
    check_out,
    compute_dtype,
    is_plain,
    is_same,
    output_dtype,
    overlaps,
    pieces,
    result_dtype,
    storage,
)
from softlane._rows import Rows, of_rows, options, reads


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
    asked = options(name, a.shape, axis, where, temperature)
    shape, axes = a.shape or (1,), asked.axes
    reduces = op == _core.LOGSUMEXP
    result_shape = a.shape if not reduces else () if not a.shape else asked.kept if keepdims else asked.batch
    y = None if out is None else check_out(name, out, result_shape, wanted)
    rows = Rows(a.reshape(shape), axes[0], compute_dtype(native, wanted), asked.mask, asked.temperature)
    fresh = y is None or _spoils(rows, y) or (reduces and np.may_share_memory(rows.x, y))
    result = np.empty(result_shape, wanted) if y is None or fresh else y
    view = result.reshape(asked.kept if reduces else shape)
    if len(axes) == 1:
        run(op, rows, view)
    else:
        _run_axes(op, rows, axes, view)
    if y is None:
        return result if result_shape else result[()]
    if fresh or not np.may_share_memory(view, y):  # reshaping has copied an out that is strided
        y[...] = view.reshape(result_shape)
    return out


def _spoils(rows: Rows, out: Array) -> bool:
    """Would writing `out` change what is still to be read?"""
    others = (rows.mask, rows.temperature)
    return overlaps(rows.x, out) or any(a is not None and np.may_share_memory(a, out) for a in others)


def _run_axes(op: int, rows: Rows, axes: tuple[int, ...], result: Array) -> None:
    """Several class axes: as one, where they lie together; else piece by piece through copies that have them last."""
    count = len(axes)
    if axes == tuple(range(axes[0], axes[0] + count)) and is_plain(rows.x) and is_plain(result):
        mask = None if rows.mask is None else _join(rows.mask, axes)
        run(op, rows._replace(x=_join(rows.x, axes), mask=mask), _join(result, axes))
        return
    last = tuple(range(-count, 0))
    x, y = np.moveaxis(rows.x, axes, last), np.moveaxis(result, axes, last)
    mask = None if rows.mask is None else np.moveaxis(rows.mask, axes, last)
    batch = x.ndim - count
    n = math.prod(x.shape[batch:])
    for piece in pieces((*x.shape[:batch], n), batch):
        chosen = piece[:batch]
        flat = (*x[chosen].shape[:batch], n)
        small = Rows(
            x=np.ascontiguousarray(x[chosen]).reshape(flat),
            axis=batch,
            compute=rows.compute,
            mask=None if mask is None else np.ascontiguousarray(mask[chosen]).reshape(flat),
            temperature=of_rows(rows.temperature, chosen),
        )
        own = np.empty(flat if op != _core.LOGSUMEXP else (*flat[:-1], 1), result.dtype)
        run(op, small, own)
        y[chosen] = own.reshape(y[chosen].shape)


def _join(a: Array, axes: tuple[int, ...]) -> Array:
    return a.reshape(*a.shape[: axes[0]], math.prod(a.shape[i] for i in axes), *a.shape[axes[-1] + 1 :])


def run(op: int, rows: Rows, y: Array) -> None:
    """Into y, of the shape of x, or, for logsumexp, with length 1 along the axis."""
    x, axis, compute = rows.x, rows.axis, rows.compute
    if y.size == 0:
        return
    if x.shape[axis] == 0:
        y.fill(-np.inf)
        return
    far = rows.far()
    if far is not None and op == _core.SOFTMIN:
        op, rows = _core.SOFTMAX, rows._replace(x=-x.astype(compute))
    if far is not None:
        _run_far(op, rows, far, y)
        return
    stores = is_plain(y) and reads(y, compute)
    if stores and rows.mask is None and not rows.is_readable and y.shape == x.shape and y.dtype == compute:
        np.copyto(y, x, casting="unsafe")  # any layout, byte order or integer; then in place, without a temporary
        rows = rows._replace(x=y)
    if stores and rows.is_readable:
        _run_readable(op, rows, y)
        return
    mask, last = None, None
    for piece in pieces(x.shape, axis):
        part = rows.part(piece)
        if part.mask is not None and (last is None or not is_same(part.mask, last)):
            last, mask = part.mask, np.ascontiguousarray(part.mask)
        small = part._replace(mask=mask).readable()
        own = y[piece if op != _core.LOGSUMEXP else _all_along(axis, piece)]
        stored = compute if compute == np.float64 else y.dtype
        if is_plain(own) and reads(own, compute):
            target = own
        elif own.shape == small.x.shape and small.x.dtype == stored and small.x.base is None:
            target = small.x  # in place: this is a copy
        else:
            target = np.empty(own.shape, stored)
        _run_readable(op, small, target)
        if target is not own:
            with np.errstate(all="ignore"):
                own[...] = target
        del small, target  # before the next ones are made


def _run_readable(op: int, rows: Rows, y: Array) -> None:
    _core.run(op, storage(rows.x.dtype), storage(y.dtype), rows.x, y, rows.axis, rows.mask, rows.temperature)


def _all_along(axis: int, piece: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(None) if i == axis else s for i, s in enumerate(piece))


def _run_far(op: int, rows: Rows, far: Array, y: Array) -> None:
    """Rows with temperatures that the kernels do not take are copied, some at a time; the others go on as ever."""
    if rows.x.ndim == 1:
        rows, y = rows._replace(x=rows.x[None], axis=1, mask=None if rows.mask is None else rows.mask[None]), y[None]
    assert rows.temperature is not None
    x, to = np.moveaxis(rows.x, rows.axis, -1), np.moveaxis(y, rows.axis, -1)
    far, t = (np.broadcast_to(a, x.shape[:-1]) for a in (far, rows.temperature))
    mask = None if rows.mask is None else np.moveaxis(rows.mask, rows.axis, -1)
    places = np.argwhere(far)
    results = []
    for piece in pieces((len(places), x.shape[-1]), 1):
        chosen = tuple(places[piece[0]].T)
        some = Rows(x[chosen], 1, rows.compute, None if mask is None else mask[chosen], t[chosen])
        results.append((chosen, _scaled(op, some, y.dtype)))
    if not far.all():
        run(op, rows._replace(temperature=np.where(far, 1, t)), y)
    for chosen, result in results:
        to[chosen] = result


def _scaled(op: int, rows: Rows, dtype: np.dtype[Any]) -> Array:
    """Rows of a 2-d array with temperatures that the kernels do not take."""
    scaled, top = rows.scaled()
    y = np.empty((len(rows.x), 1) if op == _core.LOGSUMEXP else rows.x.shape)
    with np.errstate(all="ignore"):
        run(op, scaled, y)
        if op == _core.LOGSUMEXP:
            assert rows.temperature is not None
            y += top / rows.temperature[:, None]
        return y.astype(dtype)


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
    dtype_of_b = result_dtype(name, factor.dtype, "b")
    if b is not None and type(b) not in (int, float, bool):  # numbers of Python have no dtype
        native = _promoted(native, dtype_of_b)
    wanted = output_dtype(name, dtype, native)
    shape = broadcast_shapes(name, a.shape, "b", factor.shape)
    asked = options(name, shape, axis, where, temperature)
    result_shape = () if not shape else asked.kept if keepdims else asked.batch
    y = None if out is None else check_out(name, out, result_shape, wanted)
    last = tuple(range(-len(asked.axes), 0))
    views = [np.moveaxis(np.broadcast_to(v, shape or (1,)), asked.axes, last) for v in (a, factor)]
    if asked.mask is not None:
        views.append(np.moveaxis(asked.mask, asked.axes, last))
    batch = asked.batch
    log, sign = np.empty(batch), np.empty(batch)
    for piece in pieces((*batch, math.prod(views[0].shape[len(batch) :])), len(batch)):
        chosen = piece[:-1]
        log[chosen], sign[chosen] = _signed(
            *(v[chosen] for v in views), axes=last, t=of_rows(asked.temperature, chosen)
        )
    if not return_sign:
        log[sign < 0] = np.nan
    with np.errstate(all="ignore"):
        if y is None:
            result: Any = log.astype(wanted).reshape(result_shape)[()]
        else:
            y[...] = log.reshape(result_shape)
            result = out
        return (result, sign.astype(wanted).reshape(result_shape)[()]) if return_sign else result


def _promoted(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """float32 for float16 and bfloat16, which NumPy does not promote."""
    return np.dtype(np.float32) if a != b and a.itemsize == b.itemsize else max(a, b, key=lambda d: d.itemsize)


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
