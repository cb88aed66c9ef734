"""Decide, for what has no class axis: sigmoid and the binary cross-entropies, and how their arguments broadcast.

And for the vector-Jacobian products, which have two inputs. It knows nothing of how any of them is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from softlane import _arguments, _core, _losses
from softlane._arguments import Array


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Indices that cut an array of that shape into pieces that the second-level cache holds some of."""
    for piece in _arguments.pieces((*shape, 1), len(shape), _losses._PIECE):
        yield piece[:-1]


def sigmoid(op: int, name: str, x: object, out: object, dtype: object) -> Any:
    """sigmoid and log_sigmoid."""
    a = _arguments.as_array(name, x)
    native = _arguments.result_dtype(name, a.dtype)
    wanted = _arguments.output_dtype(name, dtype, native)
    y = np.empty(a.shape, wanted) if out is None else _arguments.check_out(name, out, a.shape, wanted)
    if _arguments.overlaps(a, y):
        a = a.copy()
    compute = _arguments.compute_dtype(native, wanted)
    wide = compute == np.float64
    kinds = _arguments.storage(a.dtype), _arguments.storage(wanted)
    if (not wide or (a.dtype == wanted)) and all(_arguments.is_plain(v) for v in (a, y)):
        _core.elementwise(op, *kinds, a, y)
        return y[()] if out is None else out
    kind = _arguments.storage(compute)
    for piece in _pieces(a.shape):
        part = np.array(a[piece], dtype=compute, order="C", ndmin=1)
        result = part if wide or wanted == compute else np.empty(part.shape, wanted)
        _core.elementwise(op, kind, kind if result is part else kinds[1], part, result)
        with np.errstate(all="ignore"):
            y[piece] = result.reshape(y[piece].shape)
    return y[()] if out is None else out


# ---- binary cross-entropy -------------------------------------------------------------------------------------------


def _broadcast(name: str, what: str, a: object, shape: tuple[int, ...], of: str) -> Array:
    return _arguments.broadcast(name, what, _losses._real(name, what, a), shape, of)


def _contiguous(a: Array | None, piece: tuple[slice, ...], dtype: np.dtype[Any]) -> Array | None:
    return None if a is None else _arguments.contiguous(a[piece], dtype)


def binary_cross_entropy_with_logits(
    name: str,
    logits: object,
    target: object,
    weight: object,
    pos_weight: object,
    reduction: str,
    loss_dtype: object,
    with_grad: bool,
    grad_out: object,
) -> Any:
    """The loss, or (loss, gradient) where `with_grad` is set."""
    _losses._check_reduction(name, reduction)
    a = _arguments.as_array(name, logits, "logits")
    dtype = _arguments.result_dtype(name, a.dtype, "logits")
    wanted = _losses.dtype_of_loss(name, loss_dtype, dtype)
    kernel = _losses.kernel_dtype(dtype, wanted)
    compute, storage = _arguments.compute_dtype(kernel), _arguments.storage(kernel)
    others: list[Array | None] = [_broadcast(name, "target", target, a.shape, "logits")]
    for what, b in (("weight", weight), ("pos_weight", pos_weight)):
        others.append(None if b is None else _broadcast(name, what, b, a.shape, "logits"))
    grad = None
    if with_grad:
        grad = (
            np.empty(a.shape, dtype)
            if grad_out is None
            else _arguments.check_out(name, grad_out, a.shape, dtype, "grad_out")
        )
        a = a.copy() if _arguments.overlaps(a, grad) else a
        others = [b if b is None or not np.may_share_memory(b, grad) else b.copy() for b in others]
    scale = 1 / a.size if reduction == "mean" and a.size else 1.0
    losses = np.empty(a.shape, wanted) if reduction == "none" else None

    def run(x: Array, y: Array | None, others: list[Array | None], loss: Array | None) -> Array:
        sums = np.empty(0 if loss is not None else -(-x.size // _core.BLOCK))
        target, weight, pos_weight = others
        kept = sums if loss is None else None
        op = _core.BINARY_CROSS_ENTROPY if y is None else _core.BINARY_CROSS_ENTROPY_GRAD
        _core.elementwise(op, storage, storage, x, y, target, weight, pos_weight, loss, kept, scale)
        return sums

    plain = all(b is None or (b.dtype == kernel and _arguments.is_plain(b)) for b in (a, grad))
    plain = plain and (losses is None or wanted == compute)
    if plain and all(b is None or (b.dtype == compute and _arguments.is_plain(b)) for b in others):
        sums = run(a, grad, others, losses)
    else:
        parts = [np.empty(0)]
        for piece in _pieces(a.shape):
            x = np.array(a[piece], dtype=kernel, order="C", ndmin=1)
            loss = None if losses is None else np.empty(x.shape, compute)
            parts.append(run(x, x if with_grad else None, [_contiguous(b, piece, compute) for b in others], loss))
            if losses is not None and loss is not None:
                losses[piece] = _losses._rounded(loss, wanted).reshape(losses[piece].shape)
            if grad is not None:
                grad[piece] = x.reshape(grad[piece].shape)
        sums = np.concatenate(parts)
    result = _losses._finish(sums, reduction, a.size, wanted) if losses is None else losses[()]
    if not with_grad:
        return result
    return result, grad[()] if grad_out is None and grad is not None else grad_out


def binary_cross_entropy(
    name: str, probs: object, target: object, weight: object, reduction: str, loss_dtype: object
) -> Any:
    _losses._check_reduction(name, reduction)
    a = _arguments.as_array(name, probs, "probs")
    dtype = _arguments.result_dtype(name, a.dtype, "probs")
    t = _broadcast(name, "target", target, a.shape, "probs")
    w = np.broadcast_to(1.0, a.shape) if weight is None else _broadcast(name, "weight", weight, a.shape, "probs")
    wanted = _losses.dtype_of_loss(name, loss_dtype, dtype)
    compute = _arguments.compute_dtype(dtype, wanted)
    losses = np.empty(a.shape, wanted) if reduction == "none" else None
    domain = _losses.Domain(name, "probs", dtype, "binary_cross_entropy_with_logits")
    sums = [0.0]
    with np.errstate(all="ignore"):
        for piece in _pieces(a.shape):
            x, y, v = (b[piece].astype(compute).astype(np.float64) for b in (a, t, w))
            x = domain.clip(x, piece=piece)
            loss = _losses._weighed(v * y, x, np.log) + _losses._weighed(v * (1 - y), x, lambda p: np.log1p(-p))
            loss = np.where(np.isnan(loss), np.nan, loss)
            if losses is not None:
                losses[piece] = _losses._rounded(loss, wanted)
            else:
                sums.append(_core.total(np.ascontiguousarray(loss)))
    if losses is not None:
        return losses[()]
    return _losses._finish(np.array(sums), reduction, a.size, wanted)
