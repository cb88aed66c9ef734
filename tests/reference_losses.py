"""The slow, obvious reference of softlane's losses and gradients, readable as a specification.

`exact_...` returns unrounded values in longdouble, the function without the prefix rounds them, once. The precision is
that of reference.py. Arguments are taken to be valid: what is rejected, and how, is in test_losses.py.

Every loss over classes is one sum: the loss of a sample is sum_c k[c] * -log_p[c]. Weights, smoothing and the two kinds
of target only decide the coefficients k, the three functions only where log_p comes from. With
log_p = log_softmax(logits / t) the gradient in the logits is (softmax(logits / t) * sum(k) - k) / t. A class that is
hidden has the logit -inf and gradient 0, and smoothing is shared by the others.
"""

import numpy as np
from reference import _as, _rounded, _rows, _unrows, exact_log_softmax, exact_softmax, result_dtype, row_dtype

# ---- losses over classes -----------------------------------------------------------------------------------------


def cross_entropy(logits, target, **options):
    return _rounded_loss(exact_cross_entropy(logits, target, **options), logits, **options)


def nll_loss(log_probs, target, **options):
    return _rounded_loss(exact_nll_loss(log_probs, target, **options), log_probs, **options)


def log_loss(probs, target, **options):
    return _rounded_loss(exact_log_loss(probs, target, **options), probs, **options)


def cross_entropy_with_grad(logits, target, **options):
    loss, grad = exact_cross_entropy_with_grad(logits, target, **options)
    return _rounded_loss(loss, logits, **options), _rounded(grad, logits)


def exact_cross_entropy(logits, target, **options):
    """-log_p is (m - x) + log1p(sum of the others): NaN for all classes of a row with NaN or +inf, or of -inf only."""
    return _loss(exact_log_softmax(visible_rows(logits, **options)), logits, target, **options)


def exact_nll_loss(log_probs, target, **options):
    return _loss(_rows(log_probs, options.get("axis", -1)), log_probs, target, **options)


def exact_log_loss(probs, target, **options):
    with np.errstate(all="ignore"):
        return _loss(np.log(_rows(probs, options.get("axis", -1))), probs, target, **options)


def exact_cross_entropy_with_grad(logits, target, *, axis=-1, reduction="mean", **options):
    k, counts, divisor = coefficients(logits, target, axis, **options)
    with np.errstate(all="ignore"):
        grad = exact_softmax(visible_rows(logits, axis, **options)) * k.sum(axis=-1, keepdims=True) - k
        grad = grad / temperature_of_rows(**options)
        grad = grad / divisor if reduction == "mean" else grad
    grad = np.where(counts[..., None] & mask_of_rows(logits, axis, **options), grad, 0)
    return exact_cross_entropy(logits, target, axis=axis, reduction=reduction, **options), _unrows(grad, axis)


def visible_rows(x, axis=-1, where=None, temperature=None, **_):
    """x / temperature with its classes last, -inf where it is hidden. temperature: one number, or the batch's shape."""
    rows = _rows(x if temperature is None else _as(np.longdouble, x), axis) / temperature_of_rows(temperature)
    return np.where(mask_of_rows(x, axis, where), rows, -np.inf)


def temperature_of_rows(temperature=None, **_):
    t = np.asarray(1 if temperature is None else temperature, np.float64)
    return np.expand_dims(t, -1) if t.ndim else t


def mask_of_rows(x, axis=-1, where=None, **_):
    return np.moveaxis(np.broadcast_to(True if where is None else where, np.shape(x)), axis, -1)


def coefficients(
    x, target, axis=-1, weight=None, ignore_index=-100, label_smoothing=0.0, sample_weight=None, where=None, **_
):
    """k with the classes last, whether a sample counts (if not, its loss is 0), and what a mean divides by."""
    classes = np.shape(x)[axis]
    smooth = np.longdouble(label_smoothing)
    w = np.ones(classes, np.longdouble) if weight is None else _like(weight, x)
    mask = mask_of_rows(x, axis, where)
    shared = np.where(mask, smooth / np.maximum(mask.sum(axis=-1, keepdims=True), 1), 0)
    if np.ndim(target) == np.ndim(x):
        y = np.moveaxis(_like(target, x), axis, -1)
        k = w * ((1 - smooth) * y + shared)
        counts = np.ones(k.shape[:-1], bool)
        total = np.ones(k.shape[:-1], np.longdouble)
    else:
        counts = np.asarray(target) != ignore_index
        w_of_target = np.where(_one_hot(target, classes), w, 0)
        k = (1 - smooth) * w_of_target + (shared * w if smooth else 0)
        total = w_of_target.sum(axis=-1)
    if sample_weight is not None:
        each = np.broadcast_to(np.asarray(sample_weight, np.longdouble), counts.shape)
        k, total, counts = each[..., None] * k, each * total, counts & (each != 0)
    return k, counts, total[counts].sum()


def _loss(log_p, x, target, axis=-1, reduction="mean", **options):
    k, counts, divisor = coefficients(x, target, axis, **options)
    log_p = np.where(counts[..., None], log_p, 0)
    if np.ndim(target) < np.ndim(x) and not options.get("label_smoothing"):
        log_p = np.where(_one_hot(target, log_p.shape[-1]), log_p, 0)  # what the other classes hold is not looked at
    return _reduced(np.where(counts, _times(k, -log_p).sum(axis=-1), 0), divisor, reduction)


def _one_hot(target, classes):
    return np.arange(classes) == np.asarray(target)[..., None]


# ---- losses over independent labels ------------------------------------------------------------------------------


def binary_cross_entropy(probs, target, **options):
    return _rounded_loss(exact_binary_cross_entropy(probs, target, **options), probs, **options)


def binary_cross_entropy_with_grad(probs, target, **options):
    loss, grad = exact_binary_cross_entropy_with_grad(probs, target, **options)
    return _rounded_loss(loss, probs, **options), _rounded(grad, probs)


def binary_cross_entropy_with_logits(logits, target, **options):
    return _rounded_loss(exact_binary_cross_entropy_with_logits(logits, target, **options), logits, **options)


def binary_cross_entropy_with_logits_with_grad(logits, target, **options):
    loss, grad = exact_binary_cross_entropy_with_logits_with_grad(logits, target, **options)
    return _rounded_loss(loss, logits, **options), _rounded(grad, logits)


def exact_binary_cross_entropy(probs, target, *, weight=None, reduction="mean"):
    p = _like(probs, probs)
    of_one, of_zero = _binary_coefficients(probs, target, weight)
    with np.errstate(all="ignore"):
        losses = _times(of_one, -np.log(p)) + _times(of_zero, -np.log1p(-p))
    return _reduced(losses, losses.size, reduction)


def exact_binary_cross_entropy_with_grad(probs, target, *, weight=None, reduction="mean"):
    """The slope of -log(p) is -1 / p, that of -log(1 - p) is 1 / (1 - p); one with coefficient 0 is no part of it."""
    p = _like(probs, probs)
    of_one, of_zero = _binary_coefficients(probs, target, weight)
    with np.errstate(all="ignore"):
        grad = _times(of_one, -1 / np.abs(p)) + _times(of_zero, 1 / (1 - p))
    loss = exact_binary_cross_entropy(probs, target, weight=weight, reduction=reduction)
    return loss, grad / max(grad.size, 1) if reduction == "mean" else grad


def exact_binary_cross_entropy_with_logits(
    logits, target, *, weight=None, pos_weight=None, reduction="mean", temperature=None
):
    of_one, of_zero = _binary_coefficients(logits, target, weight, pos_weight)
    x = _scaled(_like(logits, logits), temperature)
    losses = _times(of_one, -exact_log_sigmoid(x)) + _times(of_zero, -exact_log_sigmoid(-x))
    return _reduced(losses, losses.size, reduction)


def exact_binary_cross_entropy_with_logits_with_grad(
    logits, target, *, weight=None, pos_weight=None, reduction="mean", temperature=None
):
    options = {"weight": weight, "pos_weight": pos_weight, "reduction": reduction, "temperature": temperature}
    loss = exact_binary_cross_entropy_with_logits(logits, target, **options)
    of_one, of_zero = _binary_coefficients(logits, target, weight, pos_weight)
    x = _scaled(_like(logits, logits), temperature)
    grad = _scaled(of_zero * exact_sigmoid(x) - of_one * exact_sigmoid(-x), temperature)
    return loss, grad / max(grad.size, 1) if reduction == "mean" else grad


def _scaled(x, temperature):
    """x / temperature"""
    with np.errstate(all="ignore"):
        return x if temperature is None else x / np.asarray(temperature, np.longdouble)


def _binary_coefficients(x, target, weight, pos_weight=None):
    """Of -log p and of -log(1 - p), in the shape of x."""
    y = _like(target, x)
    w = 1 if weight is None else _like(weight, x)
    positive = 1 if pos_weight is None else _like(pos_weight, x)
    return np.broadcast_to(w * positive * y, np.shape(x)), np.broadcast_to(w * (1 - y), np.shape(x))


# ---- sigmoids, gradients from an output --------------------------------------------------------------------------


def sigmoid(x, temperature=None):
    return _rounded(exact_sigmoid(_like(x, x), temperature), x)


def log_sigmoid(x, temperature=None):
    return _rounded(exact_log_sigmoid(_like(x, x), temperature), x)


def sigmoid_grad(grad, y):
    return _rounded(exact_sigmoid_grad(grad, y), grad)


def softmax_grad(grad, y, axis=-1):
    return _rounded(exact_softmax_grad(grad, y, axis), grad)


def log_softmax_grad(grad, y, axis=-1):
    return _rounded(exact_log_softmax_grad(grad, y, axis), grad)


def exact_sigmoid(x, temperature=None):
    """1 / (1 + exp(-x)), which is exp(x) / (1 + exp(x))."""
    x = _scaled(x, temperature)
    with np.errstate(all="ignore"):
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1, e) / (1 + e)


def exact_log_sigmoid(x, temperature=None):
    """min(x, 0) - log1p(exp(-abs(x))): both terms are <= 0, nothing cancels."""
    x = _scaled(x, temperature)
    with np.errstate(all="ignore"):
        return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def exact_sigmoid_grad(grad, y):
    g, y = _like(grad, grad), _like(y, y)
    with np.errstate(all="ignore"):
        return g * y * (1 - y)


def exact_softmax_grad(grad, y, axis=-1):
    g, y = _rows(grad, axis), _rows(y, axis)
    with np.errstate(all="ignore"):
        return _unrows(y * (g - (g * y).sum(axis=-1, keepdims=True)), axis)


def exact_log_softmax_grad(grad, y, axis=-1):
    g, y = _rows(grad, axis), _rows(y, axis)
    with np.errstate(all="ignore"):
        return _unrows(g - np.exp(y) * g.sum(axis=-1, keepdims=True), axis)


# ---- shared ------------------------------------------------------------------------------------------------------


def _times(k, value):
    """k * value, where a coefficient of exactly 0 hides an infinity, but never a NaN."""
    with np.errstate(all="ignore"):
        return np.where((k == 0) & ~np.isnan(value), 0, k * value)


def _reduced(losses, divisor, reduction):
    if reduction == "none":
        return losses
    with np.errstate(all="ignore"):
        return losses.sum() / divisor if reduction == "mean" else losses.sum()


def _like(a, x):
    """a in the precision that x is computed in, as longdouble."""
    compute = np.float64 if result_dtype(np.asarray(x).dtype) == np.float64 else np.float32
    return np.asarray(a).astype(compute).astype(np.longdouble)


def _rounded_loss(loss, x, **_):
    return _rounded(loss, x, row_dtype(np.asarray(x).dtype))
