"""cross_entropy, cross_entropy_with_grad, nll_loss and log_loss: losses over classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core
from softlane._chunks import Axes, apply_to_rows, chunks
from softlane._rows import result_for
from softlane._validate import (
    Array,
    Domain,
    as_array,
    check_reduction,
    class_axis,
    class_weights,
    compute_dtype,
    integer,
    is_plain,
    label_smoothing_of,
    options,
    output_dtype,
    protected,
    result_dtype,
    sample_weights,
    targets_of,
)


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Cross-entropy between logits and class indices or class probabilities.

    Parameters
    ----------
    logits : array_like
        Unnormalised scores of any shape, one class axis; dtypes as in `softmax`.
    target : array_like
        With one dimension less than `logits`: class indices, integers of the shape of `logits` without `axis`. With as
        many dimensions: class probabilities of the shape of `logits`, bool or floats, not checked; integers here must
        be one-hot rows.
    axis : int, default -1
        The class axis, the last one by default. (PyTorch has it at 1.)
    weight : array_like, optional
        One weight for each class, shape ``(C,)``, converted to the dtype that is computed in: float32, or float64 where
        `logits` or `dtype` say so.
    ignore_index : int, default -100
        Samples with this class index have loss 0 and gradient 0, and do not count in the mean. Must be negative beside
        class probabilities.
    label_smoothing : float, default 0.0
        From 0 to 1: this part of every target is spread evenly over all classes, or those that `where` leaves.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" returns one loss for each sample. "mean" divides the sum by the sum of the weights of the targets that
        count (class indices) or by the number of samples (class probabilities), as PyTorch does.
    sample_weight : array_like, optional
        Non-negative factor of the loss and gradient of each sample; broadcasts to the shape of `logits` without `axis`.
        0 leaves a sample out, whatever its logits are, such as padding. "mean" divides by the sum of these weights,
        each times the weight of its class if `target` holds class indices.
    where : array_like of bool, optional
        True for the classes to include; broadcasts to the shape of `logits`. The others are as if their logits were
        -inf, and get no part of `label_smoothing`.
    temperature : float or array_like, optional
        Positive number that divides `logits`, or an array of one for each sample, as in `softmax`: ``t[:, None]`` for
        logits of shape ``(N, C)`` and `t` of shape ``(N,)``.
    dtype : data-type, optional
        The dtype of the loss: float16, bfloat16, float32 or float64. By default float32, or float64 where `logits` are
        computed in that.

    Returns
    -------
    NumPy scalar or ndarray
        In nats, of `dtype`. "none": the shape of `logits` without `axis`. Otherwise a scalar; the mean of no samples is
        NaN, their sum 0.

    Raises
    ------
    IndexError
        If a class index is neither in ``[0, C)`` nor `ignore_index`; the message names the first one.
    ValueError
        If shapes do not fit, there is no class, or an option is out of range.
    TypeError
        If a dtype is not supported, or class indices are no integers.

    See Also
    --------
    cross_entropy_with_grad : the gradient too
    nll_loss, log_loss : from log-probabilities and from probabilities
    binary_cross_entropy_with_logits : of independent labels

    Notes
    -----
    The loss of a sample is ``(m - x[target]) + log1p(sum of the others / exp(m))`` with ``m = max(x)``. Neither term is
    negative, so nothing cancels: with class indices and no weights, float32 and float64 losses are within 2 ULP, also
    for a class of probability 1 - 1e-12, with a temperature too. Sums are accumulated in float64 and rounded once.
    Logits are read once, and beside the result a few bytes are allocated for each sample. The bits are reproducible, as
    those of `softmax`.

    A row with NaN or +inf, or of -inf only, has loss NaN, and so has one with no class left by `where`. A target at
    -inf, or one that is masked, beside finite logits has loss inf. A class with weight or probability 0 contributes 0,
    also where its logit is -inf.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> logits = np.array([[2.0, 1.0, 0.1], [0.0, 0.0, 0.0]])
    >>> softlane.cross_entropy(logits, [0, 2], reduction="none")
    array([0.41703002, 1.09861229])
    >>> float(round(softlane.cross_entropy(logits, [[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]), 6))
    0.757821
    >>> t = np.array([0.5, 2.0])
    >>> softlane.cross_entropy(logits, [0, 2], temperature=t[:, None], where=[True, False, True], reduction="none")
    array([0.02212422, 0.69314718])
    """
    loss = _core.loss(
        _core.CROSS_ENTROPY, logits, target, axis, weight, ignore_index, label_smoothing, reduction, sample_weight,
        dtype, where, temperature,
    )  # fmt: skip
    if loss is None:
        arguments = _Arguments(axis, weight, ignore_index, label_smoothing, reduction, sample_weight, dtype)
        loss = _cross_entropy("cross_entropy", logits, target, arguments, where, temperature, False, None)[0]
    return loss


def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[Any, Any]:
    """Cross-entropy and its gradient with respect to the logits, with one exponential for each logit.

    Parameters
    ----------
    logits, target, axis, weight, ignore_index, label_smoothing, reduction, sample_weight, where, temperature
        As in `cross_entropy`.
    dtype : data-type, optional
        The dtype of the loss, as in `cross_entropy`. The gradient has that of ``softmax(logits)`` in any case.
    grad_out : ndarray, optional
        Array to write the gradient to, of the shape of `logits` and the dtype of ``softmax(logits)``, any layout. May
        be `logits` itself, or overlap any argument.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `cross_entropy`.
    grad : ndarray
        The gradient of the loss, scaled as `reduction` says: of the mean, of the sum, or, for "none", of each sample's
        own loss. ``softmax(logits) - onehot(target)`` in the simplest case; with a temperature,
        ``(softmax(logits / temperature) - onehot(target)) / temperature``. `grad_out` where given.

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`, and for a `grad_out` of the wrong shape or dtype; before anything is written.

    Notes
    -----
    Where the target is the class with the largest logit, ``p - 1`` is computed from the other classes: the gradient of
    a confident row is small, not 0. Rows with NaN or +inf, or of -inf only, have gradient NaN. A masked class has
    gradient 0 in any row.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> loss, grad = softlane.cross_entropy_with_grad(np.array([[2.0, 1.0, 0.1]]), [0])
    >>> grad
    array([[-0.34099886,  0.24243297,  0.09856589]])
    """
    found = _core.loss(
        _core.CROSS_ENTROPY, logits, target, axis, weight, ignore_index, label_smoothing, reduction, sample_weight,
        dtype, where, temperature, True, grad_out,
    )  # fmt: skip
    if found is None:
        arguments = _Arguments(axis, weight, ignore_index, label_smoothing, reduction, sample_weight, dtype)
        name = "cross_entropy_with_grad"
        found = _cross_entropy(name, logits, target, arguments, where, temperature, True, grad_out)
    return found  # type: ignore[no-any-return]


def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Negative log-likelihood loss from log-probabilities.

    Parameters
    ----------
    log_probs : array_like
        Logarithms of probabilities, as from `log_softmax`; not normalised again.
    target, axis, weight, ignore_index, reduction, sample_weight, dtype
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar or ndarray
        As from `cross_entropy`.

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`, and ValueError if a log-probability is positive by more than 4 eps.

    Notes
    -----
    With class indices, only the log-probability of the target is read. Terms are computed in float64, and a sum over
    classes in twice that precision. The bits are reproducible, as those of `softmax`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> log_probs = softlane.log_softmax(np.array([[2.0, 1.0, 0.1]]))
    >>> softlane.nll_loss(log_probs, [0], reduction="none")
    array([0.41703002])
    """
    loss = _core.loss(_core.NLL, log_probs, target, axis, weight, ignore_index, 0, reduction, sample_weight, dtype)
    if loss is None:
        arguments = _Arguments(axis, weight, ignore_index, 0, reduction, sample_weight, dtype)
        loss = _nll(_core.NLL, "nll_loss", "log_probs", log_probs, target, arguments)
    return loss


def log_loss(
    probs: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Cross-entropy of probabilities: ``-log(probs)`` of the target.

    Where logits are at hand, `cross_entropy` is exact where this is not: a probability close to 1 has lost its digits.

    Parameters
    ----------
    probs : array_like
        Probabilities, as from `softmax`; not normalised again, and not clipped but for rounding errors: up to 4 eps
        above 1 counts as 1.
    target, axis, weight, ignore_index, reduction, sample_weight, dtype
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar or ndarray
        As from `cross_entropy`. inf where a target of positive weight has probability 0.

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`, and ValueError if a probability is outside ``[0, 1]`` by more than 4 eps.

    Notes
    -----
    See `nll_loss`. The logarithm is softlane's own, within 1 ULP in float64, with the same bits on every machine.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.log_loss(np.array([[0.7, 0.2, 0.1]]), [[1, 0, 0]], reduction="none")
    array([0.35667494])
    """
    loss = _core.loss(_core.LOG_LOSS, probs, target, axis, weight, ignore_index, 0, reduction, sample_weight, dtype)
    if loss is None:
        arguments = _Arguments(axis, weight, ignore_index, 0, reduction, sample_weight, dtype)
        loss = _nll(_core.LOG_LOSS, "log_loss", "probs", probs, target, arguments)
    return loss


# ---- arguments of any layout and dtype ------------------------------------------------------------------------------


class _Arguments(NamedTuple):
    """As they came"""

    axis: object
    weight: object
    ignore_index: object
    label_smoothing: object
    reduction: object
    sample_weight: object
    dtype: object


class _Call(NamedTuple):
    """Checked. What there is for each row has length 1 along the axis; one of classes (int64) and mass is None."""

    x: Array
    axis: int
    dtype: np.dtype[Any]  # of the gradient
    loss_dtype: np.dtype[Any]
    classes: Array | None
    mass: Array | None
    weight: Array | None
    ignore: int
    reduction: str
    divisor: float  # of the mean
    sample_weight: Array | None  # float64

    @property
    def compute(self) -> np.dtype[Any]:
        return compute_dtype(self.dtype, self.loss_dtype)

    @property
    def kept(self) -> tuple[int, ...]:
        return (*self.x.shape[: self.axis], 1, *self.x.shape[self.axis + 1 :])

    def finish(self, losses: Array) -> Any:
        batch = (*self.x.shape[: self.axis], *self.x.shape[self.axis + 1 :])
        return finish(losses.reshape(batch), self.reduction, self.divisor, self.compute, self.loss_dtype)


def _check(name: str, what: str, x: object, target: object, given: _Arguments) -> _Call:
    reduction = check_reduction(name, given.reduction)
    a = as_array(name, x, what)
    dtype = result_dtype(name, a.dtype, what)
    wanted = output_dtype(name, given.dtype, compute_dtype(dtype))
    axis = class_axis(name, what, a.shape, given.axis)
    ignore = integer(name, "ignore_index", given.ignore_index)
    w = class_weights(name, given.weight, a.shape[axis], compute_dtype(dtype, wanted))
    samples = sample_weights(name, given.sample_weight, a.shape, axis)
    if samples is not None and reduction == "mean":
        samples /= samples.max(initial=0) or 1  # lest their sum overflows
    t = targets_of(name, what, target, a.shape, axis, ignore)
    divisor = float(t.counted)
    if t.classes is not None and (w is not None or samples is not None):
        wide = None if w is None else w.astype(np.float64, copy=False)
        divisor = _core.total_weight(t.classes, t.ignore, wide, samples)
        if w is not None and w.dtype == np.float64 and reduction == "mean" and not 1e-290 < abs(divisor) < 1e290:
            w = _moderate(w, divisor)
            divisor = _core.total_weight(t.classes, t.ignore, w, samples)
    elif samples is not None:
        divisor = _core.total(samples)
    return _Call(a, axis, dtype, wanted, t.classes, t.mass, w, t.ignore, reduction, divisor, samples)


def _moderate(weight: Array, total: float) -> Array:
    """Class weights times a power of two, so that neither the total of finite ones nor its inverse overflows."""
    if not np.isfinite(total):
        total = np.abs(weight[np.isfinite(weight)]).max(initial=0)
    with np.errstate(all="ignore"):
        return np.asarray(np.ldexp(weight, -np.frexp(total)[1]))


def finish(
    losses: Array,
    reduction: str,
    divisor: float,
    compute: np.dtype[Any],
    dtype: np.dtype[Any],
    scaled: Array | None = None,
) -> Any:
    """Losses, of float64 or as their sums, to what the caller gets; 16-bit floats are rounded from the compute dtype.

    scaled: see `_core.mean`.
    """
    with np.errstate(all="ignore"):
        if reduction != "none":
            result = _core.total(losses) if reduction == "sum" else _core.mean(losses, divisor, scaled)
            losses = np.array(np.nan if np.isnan(result) else result)
        return losses.astype(compute, copy=False).astype(dtype, copy=False)[()]


@protected
def _cross_entropy(
    name: str,
    logits: object,
    target: object,
    given: _Arguments,
    where: object,
    temperature: object,
    with_grad: bool,
    grad_out: object,
) -> tuple[Any, Any]:
    call = _check(name, "logits", logits, target, given)
    smoothing = label_smoothing_of(name, given.label_smoothing)
    asked = options(name, call.x.shape, call.axis, where, temperature, "logits")
    compute, shape = call.compute, call.x.shape
    inputs = (call.classes, call.mass, call.sample_weight)
    grad = None
    if with_grad:
        others = (*inputs, call.weight, asked.mask, asked.temperature)
        grad = result_for(name, grad_out, shape, shape, call.dtype, others, (call.x,), "grad_out")
    with np.errstate(all="ignore"):
        scale = float(1 / np.float64(call.divisor or np.nan)) if call.reduction == "mean" else 1.0

    def kernel(
        mode: int,
        axes: Axes,
        x: Array,
        mask: Array | None,
        t: Array | None,
        classes: Array | None,
        mass: Array | None,
        samples: Array | None,
        losses: Array,
        grad: Array | None,
    ) -> Any:
        dtype = np.float64 if compute == np.float64 else None
        return _core.loss(
            _core.CROSS_ENTROPY, x, classes, axes, call.weight, call.ignore, smoothing, None, samples, dtype, mask, t,
            with_grad, grad, mode, mass, scale, 0.0, losses,
        )  # fmt: skip

    losses = np.empty(call.kept)
    if losses.size:
        outputs = (losses, None if grad is None else grad.view)
        rows = (call.x, asked.mask, asked.temperature)
        apply_to_rows(kernel, compute, asked.axes, rows, inputs, outputs, _scale_gradient)
    return call.finish(losses), None if grad is None else grad.give()


def _scale_gradient(top: Array, temperature: Array, losses: Array, grad: Array | None) -> None:
    """That for x with the fraction of the temperature becomes the one for x."""
    if grad is not None:
        grad[...] = np.ldexp(grad, -np.frexp(temperature)[1])


# ---- losses of what is no logit -------------------------------------------------------------------------------------


@protected
def _nll(op: int, name: str, what: str, x: object, target: object, given: _Arguments) -> Any:
    """-weight * x of the target, or -weight * log(x)."""
    call = _check(name, what, x, target, given)
    is_log = op == _core.NLL
    domain = Domain(name, what, call.dtype, "cross_entropy", is_log)
    neutral = 0.0 if is_log else 1.0
    some = call
    if call.classes is not None and not (is_plain(call.x) and call.x.dtype == call.dtype):
        some = _picked(call, neutral)
    outside = False

    def kernel(
        mode: int,
        axes: Axes,
        x: Array,
        mask: None,
        t: None,
        classes: Array | None,
        mass: Array | None,
        samples: Array | None,
        losses: Array,
    ) -> Any:
        nonlocal outside
        dtype = np.float64 if call.compute == np.float64 else None
        found = _core.loss(
            op, x, classes, axes, some.weight, some.ignore, 0, None, samples, dtype, None, None, False, None, mode,
            mass, 1.0, domain.slack, losses,
        )  # fmt: skip
        outside = outside or bool(found)
        return found

    losses = np.empty(call.kept)
    if losses.size:
        inputs = (some.classes, some.mass, some.sample_weight)
        apply_to_rows(kernel, call.compute, (call.axis,), (some.x, None, None), inputs, (losses,))
    if outside:
        _raise_outside(call, domain, neutral)
    return call.finish(losses)


def _classes_of_rows(call: _Call) -> tuple[Array, Array]:
    """Which rows are ignored, and the class of each row: 0 of those."""
    assert call.classes is not None
    ignored = call.classes == call.ignore
    if call.sample_weight is not None:
        ignored |= call.sample_weight == 0
    return ignored, np.where(ignored, 0, call.classes)


def _picked(call: _Call, neutral: float) -> _Call:
    """The same losses from one class for each row, with its weight as the mass: the rest of x is not read."""
    ignored, classes = _classes_of_rows(call)
    x = np.take_along_axis(call.x, classes, call.axis).astype(compute_dtype(call.dtype, call.loss_dtype), order="C")
    x[ignored] = neutral
    w = np.ones((), call.compute) if call.weight is None else call.weight[classes]
    return call._replace(x=x, classes=None, mass=np.where(ignored, w.dtype.type(0), w), weight=None, ignore=-1)


def _raise_outside(call: _Call, domain: Domain, neutral: float) -> None:
    """Names the first x beyond its domain."""
    if call.classes is not None:
        ignored, classes = _classes_of_rows(call)
        picked = np.take_along_axis(call.x, classes, call.axis).squeeze(call.axis)
        classes, ignored = classes.squeeze(call.axis), ignored.squeeze(call.axis)
        domain.check(np.where(ignored, neutral, picked), call.axis, classes)
    for chunk in chunks(call.x.shape, call.axis):
        p = call.x[chunk]
        if call.sample_weight is not None:
            p = np.where(call.sample_weight[chunk] == 0, neutral, p)
        domain.check(p, chunk=chunk)
