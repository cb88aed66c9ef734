"""Decide, for losses: what targets, weights and reductions mean, and what of that the kernels see.

It rejects what is not a loss and knows nothing of how one is computed. `_softmax.py` does the same for softmax.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from softlane import _arguments, _core
from softlane._arguments import Array
from softlane._old_rows import as_float

_REDUCTIONS = ("mean", "sum", "none")
_INT64 = np.iinfo(np.int64)

# The distance from 1 to the next number
_EPSILON = {np.dtype(t): float(np.finfo(t).eps) for t in (np.float16, np.float32, np.float64)}

# Elements of a piece of which float64 copies are made.
_PIECE = 1 << 15


def _check_reduction(name: str, reduction: object) -> None:
    if not isinstance(reduction, str) or reduction not in _REDUCTIONS:
        raise ValueError(f'{name}: reduction must be "mean", "sum" or "none", got {reduction!r}')


def _real(name: str, what: str, a: object) -> Array:
    """An array that can be converted to float32 or float64."""
    b = _arguments.as_array(name, a, what)
    _arguments.result_dtype(name, b.dtype, what)
    return b


def dtype_of_loss(name: str, dtype: object, native: np.dtype[Any]) -> np.dtype[Any]:
    """One number for each sample, or for all, is worth 32 bits also where logits have 16."""
    return _arguments.output_dtype(name, dtype, _arguments.compute_dtype(native))


def kernel_dtype(dtype: np.dtype[Any], loss_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float64 where losses of other logits are wanted in float64."""
    return np.dtype(np.float64) if np.float64 in (dtype, loss_dtype) else dtype


def _finish(losses: Array, reduction: str, divisor: float, dtype: np.dtype[Any]) -> Any:
    """float64 losses to what the caller gets; rounded once."""
    if reduction == "none":
        return _rounded(losses, dtype)
    with np.errstate(all="ignore"):
        total = np.float64(_core.total(losses))
        result = total / np.float64(divisor or np.nan) if reduction == "mean" else total
        return _rounded(np.array(np.nan if np.isnan(result) else result), dtype)


def _rounded(losses: Array, dtype: np.dtype[Any]) -> Any:
    with np.errstate(all="ignore"):
        return losses.astype(_arguments.compute_dtype(dtype), copy=False).astype(dtype, copy=False)[()]


# ---- one class or a distribution for each sample -------------------------------------------------------------------


class _Call(NamedTuple):
    """The checked arguments of a loss over classes. One of `classes` (int64 indices) and `dense` is None."""

    x: Array
    axis: int
    dtype: np.dtype[Any]  # of the gradient
    loss_dtype: np.dtype[Any]
    classes: Array | None
    dense: Array | None
    weight: Array | None  # of the compute dtype
    ignore: int
    divisor: float  # of the mean
    sample_weight: Array | None  # float64, of the batch

    def weigh(self, losses: Array) -> Array:
        """Losses of all samples, times their weights; 0 where that is 0, whatever the loss is."""
        if self.sample_weight is None:
            return losses
        with np.errstate(all="ignore"):
            return np.where(self.sample_weight == 0, 0, losses * self.sample_weight)

    def weigh_gradient(self, grad: Array, reduction: str) -> None:
        """The gradients of the samples' own losses become those of the weighed loss."""
        if self.sample_weight is None:
            return
        with np.errstate(all="ignore"):
            factor = self.sample_weight / (self.divisor if reduction == "mean" else 1)
            factor = np.expand_dims(factor, self.axis).astype(_arguments.compute_dtype(self.dtype))
            np.multiply(grad, factor, out=grad, casting="unsafe")
        np.moveaxis(grad, self.axis, -1)[self.sample_weight == 0] = 0

    @property
    def batch(self) -> tuple[int, ...]:
        return _arguments.without(self.x.shape, self.axis)

    @property
    def kernel(self) -> np.dtype[Any]:
        """What the kernels read x, and write the gradient, as."""
        return kernel_dtype(self.dtype, self.loss_dtype)


def _check(
    name: str,
    what: str,
    x: object,
    target: object,
    axis: object,
    weight: object,
    ignore_index: object,
    reduction: object,
    sample_weight: object,
    loss_dtype: object,
) -> _Call:
    _check_reduction(name, reduction)
    a = _arguments.as_array(name, x, what)
    dtype = _arguments.result_dtype(name, a.dtype, what)
    wanted = dtype_of_loss(name, loss_dtype, dtype)
    if a.ndim == 0:
        raise ValueError(f"{name}: {what} has no dimension, expected one of classes at least")
    k = _arguments.normalise_axis(name, axis, a.ndim)
    n = a.shape[k]
    if n == 0:
        raise ValueError(f"{name}: {what} has shape {a.shape}, without a class along axis {k}")
    ignore = _arguments.integer(name, "ignore_index", ignore_index)
    compute = _arguments.compute_dtype(dtype, wanted)
    w = None
    if weight is not None:
        w = _real(name, "weight", weight)
        if w.shape != (n,):
            raise ValueError(f"{name}: weight has shape {w.shape}, expected ({n},), one weight for each class")
        w = _arguments.contiguous(w, compute)
    t = _real(name, "target", target)
    batch = _arguments.without(a.shape, k)
    samples = None if sample_weight is None else _weights_of_samples(name, sample_weight, batch)
    if samples is not None and reduction == "mean":
        samples = samples / (samples.max(initial=0) or 1)  # lest their sum overflows
    if t.ndim == a.ndim:
        if t.shape != a.shape:
            raise ValueError(
                f"{name}: target has shape {t.shape}, expected {a.shape} for class probabilities, as {what}, "
                f"or {batch} for class indices"
            )
        if ignore >= 0:
            raise ValueError(f"{name}: ignore_index is {ignore}, which class probabilities as target cannot equal")
        if t.dtype.kind in "iu":
            _check_one_hot(name, what, t, k)
        count = float(np.prod(batch, dtype=np.int64)) if samples is None else float(samples.sum())
        return _Call(a, k, dtype, wanted, None, t, w, ignore, count, samples)
    if t.shape != batch:
        raise ValueError(
            f"{name}: target has shape {t.shape}, expected {batch} for class indices "
            f"or {a.shape} for class probabilities"
        )
    index, ignore, counted = _indices(name, t, n, ignore)
    if samples is not None:
        weights = np.ones(n) if w is None else w.astype(np.float64)
        counts = index != ignore
        divisor = float((weights[np.where(counts, index, 0)] * samples * counts).sum())
    else:
        divisor = counted if w is None else _core.total_weight(index, ignore, w.astype(np.float64, copy=False))
    return _Call(a, k, dtype, wanted, index, None, w, ignore, divisor, samples)


def _weights_of_samples(name: str, sample_weight: object, batch: tuple[int, ...]) -> Array:
    w = _real(name, "sample_weight", sample_weight).astype(np.float64)
    w = _arguments.broadcast(name, "sample_weight", w, batch, "the samples")
    wrong = ~((w >= 0) & (w < np.inf))
    if wrong.any():
        what, value = _arguments.element("sample_weight", w, int(wrong.argmax()))
        raise ValueError(f"{name}: {what} is {value}, expected finite numbers from 0 on")
    return w


def _check_one_hot(name: str, what: str, target: Array, axis: int) -> None:
    """Integers in the shape of x are rows of zeros with a 1, not class indices or labels of a binary problem."""
    totals = target.sum(axis=axis, dtype=np.float64)
    if (totals == 1).all() and target.min(initial=0) >= 0:
        return
    if (totals == 1).all():
        where, total = _arguments.element("target", target, int(np.argmax(target < 0)))
        raise ValueError(f"{name}: {where} is {total}, expected 0 or 1 in integer targets of the shape of {what}")
    where, total = _arguments.element("row", totals, int(np.argmax(totals != 1)))
    binary = "binary_cross_entropy" if what == "probs" else "binary_cross_entropy_with_logits"
    raise ValueError(
        f"{name}: target has dtype {target.dtype} and the shape of {what}, {target.shape}, so it must be one-hot along "
        f"axis {axis}, but {where} adds up to {total:g}, not 1. Class indices have the shape "
        f"{_arguments.without(target.shape, axis)}; for labels 0 and 1 of every element use {binary}"
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
    index = np.ascontiguousarray(index, dtype=np.int64).reshape(target.shape)
    wrong, counted = _core.wrong_target(index, n, known)
    if wrong < 0 and known != ignore and not unsigned and (index == none).any():
        wrong = int(np.argmax(index == none))
    if wrong >= 0:
        _raise_wrong(name, target, wrong, n, ignore)
    return index, known, counted


def _raise_wrong(name: str, target: Array, flat: int, n: int, ignore: int) -> None:
    what, value = _arguments.element("target", target, flat)
    raise IndexError(f"{name}: {what} = {value} is outside [0, {n}); ignore_index is {ignore}")


def cross_entropy(
    name: str,
    logits: object,
    target: object,
    axis: object,
    weight: object,
    ignore_index: object,
    label_smoothing: object,
    reduction: str,
    sample_weight: object,
    dtype: object,
    with_grad: bool,
    grad_out: object,
) -> Any:
    """The loss, or (loss, gradient) where `with_grad` is set."""
    call = _check(name, "logits", logits, target, axis, weight, ignore_index, reduction, sample_weight, dtype)
    if not isinstance(label_smoothing, numbers.Real):
        raise TypeError(f"{name}: label_smoothing must be a number, got {label_smoothing!r}")
    smoothing = float(as_float(label_smoothing))  # type: ignore[arg-type]
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing is {smoothing}, expected 0 to 1")
    losses = np.empty(call.batch)
    if not with_grad:
        _run(call, None, smoothing, 1.0, losses)
        return _finish(call.weigh(losses), reduction, call.divisor, call.loss_dtype)
    grad = None if grad_out is None else _arguments.check_out(name, grad_out, call.x.shape, call.dtype, "grad_out")
    with np.errstate(all="ignore"):
        averages = reduction == "mean" and call.sample_weight is None
        scale = float(1 / np.float64(call.divisor or np.nan)) if averages else 1.0
    if grad is None:
        grad = np.empty(call.x.shape, call.dtype)
    else:
        call = _apart(call, grad)
    _run(call, grad, smoothing, scale, losses)
    call.weigh_gradient(grad, reduction)
    losses = call.weigh(losses)
    return _finish(losses, reduction, call.divisor, call.loss_dtype), grad if grad_out is None else grad_out


def _apart(call: _Call, grad: Array) -> _Call:
    """The call with copies of what `grad` would overwrite before it is read."""
    if _arguments.overlaps(call.x, grad):
        call = call._replace(x=call.x.copy())
    others = {"classes": call.classes, "dense": call.dense, "weight": call.weight}
    shared = {name: a.copy() for name, a in others.items() if a is not None and np.may_share_memory(a, grad)}
    return call._replace(**shared)  # type: ignore[arg-type]


def _run(call: _Call, grad: Array | None, smoothing: float, scale: float, losses: Array) -> None:
    """All at once where the kernels can read everything as it is, else piece by piece through copies."""
    kernel, dense = call.kernel, call.dense
    storage, compute = _arguments.storage(kernel), _arguments.compute_dtype(kernel)
    plain = all(a is None or (a.dtype == kernel and _arguments.is_plain(a)) for a in (call.x, grad))
    if plain and (dense is None or (dense.dtype in (compute, kernel) and _arguments.is_plain(dense))):
        kind = storage if dense is None else _arguments.storage(dense.dtype)
        args = (call.classes, call.ignore, dense, kind, call.weight, smoothing, scale, losses)
        _core.cross_entropy(storage, call.x, grad, call.axis, *args)
        return
    kind = _arguments.storage(compute)
    for piece in _arguments.pieces(call.x.shape, call.axis):
        rows = _arguments.without(piece, call.axis)
        x = np.empty(call.x[piece].shape, kernel)
        np.copyto(x, call.x[piece], casting="unsafe")
        y = None if dense is None else _arguments.contiguous(dense[piece], compute)
        classes = None if call.classes is None else np.ascontiguousarray(call.classes[rows])
        part = np.empty(_arguments.without(x.shape, call.axis))
        in_place = None if grad is None else x
        args = (classes, call.ignore, y, kind, call.weight, smoothing, scale, part)
        _core.cross_entropy(storage, x, in_place, call.axis, *args)
        losses[rows] = part
        if grad is not None:
            grad[piece] = x


# ---- losses of what is no logit: a look at each sample's class, or a sum over all ---------------------------------


def nll_loss(
    name: str,
    what: str,
    x: object,
    target: object,
    axis: object,
    weight: object,
    ignore_index: object,
    reduction: str,
    sample_weight: object,
    dtype: object,
    take_log: bool,
) -> Any:
    """-weight * x of the target, or -weight * log(x)."""
    call = _check(name, what, x, target, axis, weight, ignore_index, reduction, sample_weight, dtype)
    losses = np.empty(call.batch)
    log = np.log if take_log else np.positive
    domain = Domain(name, what, call.dtype, "cross_entropy", is_log=not take_log)
    with np.errstate(all="ignore"):
        if call.classes is not None:
            ignored = call.classes == call.ignore
            if call.sample_weight is not None:
                ignored |= call.sample_weight == 0
            classes = np.where(ignored, 0, call.classes)
            index = np.expand_dims(classes, call.axis)
            picked = np.take_along_axis(call.x, index, call.axis).squeeze(call.axis)
            picked = domain.clip(np.where(ignored, np.float64(take_log), picked), call.axis, classes)
            w = np.float64(1) if call.weight is None else call.weight[index.squeeze(call.axis)].astype(np.float64)
            losses[...] = np.where(ignored, 0, _weighed(w, picked, log))
        else:
            assert call.dense is not None
            w = np.ones(call.x.shape[call.axis]) if call.weight is None else call.weight.astype(np.float64)
            w = w.reshape(-1, *(1,) * (call.x.ndim - call.axis - 1))
            for piece in _arguments.pieces(call.x.shape, call.axis, _PIECE):
                rows = _arguments.without(piece, call.axis)
                compute = _arguments.compute_dtype(call.dtype, call.loss_dtype)
                y = call.dense[piece].astype(compute).astype(np.float64)
                p = call.x[piece]
                if call.sample_weight is not None:
                    p = np.where(np.expand_dims(call.sample_weight[rows] == 0, call.axis), np.float64(take_log), p)
                terms = _weighed(w * y, domain.clip(p, piece=piece), log)
                losses[rows] = np.ascontiguousarray(np.moveaxis(terms, call.axis, -1)).sum(axis=-1)  # in pairs
        losses[np.isnan(losses)] = np.nan
    return _finish(call.weigh(losses), reduction, call.divisor, call.loss_dtype)


class Domain(NamedTuple):
    """Where probabilities, or their logarithms, may lie. They are clipped to it, but only by a rounding error."""

    name: str
    what: str
    dtype: np.dtype[Any]
    for_logits: str
    is_log: bool = False

    def clip(self, x: Array, axis: int = 0, classes: Array | None = None, piece: tuple[slice, ...] = ()) -> Array:
        """As float64. x: the class of each row, or a piece of an array; NaN is left."""
        x = x.astype(np.float64, copy=False)
        low, high = (-np.inf, 0.0) if self.is_log else (0.0, 1.0)
        slack = 4 * _EPSILON.get(self.dtype, 2.0**-7)  # of bfloat16
        wrong = (x < low - slack) | (x > high + slack)
        if wrong.any():
            place = [int(i) for i in np.unravel_index(int(wrong.argmax()), x.shape)]
            value = x[tuple(place)]
            if classes is not None:
                place.insert(axis, int(classes[tuple(place)]))
            place = [i + (s.start or 0) for i, s in zip(place, piece, strict=True)] if piece else place
            expected = "a logarithm of a probability, at most 0" if self.is_log else "a probability, 0 to 1"
            at = f"{self.what}[{', '.join(map(str, place))}]" if place else self.what
            raise ValueError(
                f"{self.name}: {at} is {float(value)!r}, expected {expected}; for logits use {self.for_logits}"
            )
        return np.asarray(np.clip(x, low, high))


def _weighed(weight: Any, x: Array, log: Callable[[Array], Array]) -> Array:
    """-weight * log(x) in float64, 0 where the weight is and x is a number."""
    x = x.astype(np.float64, copy=False)
    return np.where((weight == 0) & (x == x), 0, -weight * log(x)) + 0.0
