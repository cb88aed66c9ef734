"""What the tests of the losses share: how close a result has to be, what goes in, how an error is checked.

Expected values come from reference_losses.py (which is measured in test_losses_reference.py) or from theory.
"""

import numpy as np
import pytest
import reference
import reference_losses as ref
from cases import FLOATS, FORMS, HARD, STORED, all_nan, hard_rows

import softlane

OVER_CLASSES = ["cross_entropy", "nll_loss", "log_loss"]
BINARY = ["binary_cross_entropy", "binary_cross_entropy_with_logits"]
WITH_GRAD = [
    "cross_entropy_with_grad",
    "binary_cross_entropy_with_logits_with_grad",
    "binary_cross_entropy_with_grad",
]
FROM_PROBS = [BINARY[0], WITH_GRAD[2]]
SIGMOIDS = ["sigmoid", "log_sigmoid"]
FROM_OUTPUT = ["softmax_grad", "log_softmax_grad"]
REDUCTIONS = ["mean", "sum", "none"]

floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
stored = pytest.mark.parametrize("dtype", STORED, ids=str)
forms = pytest.mark.parametrize("form", FORMS)
over_classes = pytest.mark.parametrize("name", OVER_CLASSES)
hard = pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)


def call(name, *args, **kwargs):
    return getattr(softlane, name)(*args, **kwargs)


def losses(name, *args, **kwargs):
    """The loss of every sample."""
    return call(name, *args, reduction="none", **kwargs)


# ---- how close -----------------------------------------------------------------------------------------------------
# 2 ULP is the contract for the loss of a sample with an index target and for the sigmoids. The rest, in eps (at least
# 1 ULP; one rounding is 1/2), is counted from the code, for float64: losses of float32 are computed in float64 too. All
# weights and targets that are measured are >= 0, so that no sum cancels.

# A weight times one term, or its log(p): 2 + 1/2.
ONE_TERM = 2.5
# cross_entropy with a weight q for each class: sum of q (m - x) + sum of q * log(sum / e(m)), m being the maximum. 2
# for q = ((1 - s) * y + s / n) * w. A block of up to 4096 classes adds into 4 accumulators, which keep what they round
# away: 1 for the sum of the four, 1/2 for what they kept. The second term adds two more blocks, the most that is
# measured, and the index target: 3/2; it has 2 for the logarithm, 1/2 for the product and 1/2 for the final sum. That
# is 8. The first has less: 5/2 for the additions of 3 blocks, 1 for moving them to the row's maximum, 1/2 for the final
# sum, 7.5 in all.
SUM_OF_TERMS = 8
# nll_loss and log_loss: 1/2 for the product w * y, 1 for the logarithm, 1/2 for their product, 1/2 for their sum, which
# keeps what additions round away, 1/2 for the weight of the sample.
SUM_OF_LOOKUPS = 3
# p * sum(k) - k, in eps of p * sum(k) + k: 2 for p, 1/2 for the product, the difference, k, the scale and its product.
GRAD_OF_ONE = 6
# The same with q in place of k: 5 for sum(q) (2 for q, 3/2 in a block, 1/2 for each of the additions of 3 blocks), 2
# for p, 1/2 each for the scale, its product with sum(q) and with p, the difference and the result: 9.5. Where p is
# above 1/2 it is scale * (sum(q) - q) less the part of the other classes: 1/2 for each step of sum(q) < 2 p sum(q), 3
# for the others.
GRAD_OF_SUM = 5 + 3 + 3
# y * softplus(-x) + (1 - y) * softplus(x): 2 for softplus, 1/2 each for 1 - y, two weights, product, sum.
BINARY_TERMS = 4.5
# w (p - y) / (p (1 - p)) of probabilities: 1/2 for each of three differences and products, the quotient, w, the scale
# and its product.
SLOPE = 3.5


def eps(dtype):
    return 2.0**-7 if dtype == reference.BFLOAT16 else float(np.finfo(dtype).eps)


def units_of(name, target, x):
    """Of the loss called name without label smoothing."""
    return ONE_TERM if np.ndim(target) < np.ndim(x) else SUM_OF_TERMS if "cross" in name else SUM_OF_LOOKUPS


def reduced(units, dtype, size):
    """Relative error of a mean or sum of losses: half an ulp for the result, and float64 sums in whatever order."""
    return (units + 1) * eps(dtype) + 2 * size * 2.0**-53


def assert_within(got, exact, allowed, note=""):
    """abs(got - exact) <= allowed everywhere; NaN and infinities the same, the NaNs canonical."""
    got, exact = np.asarray(got), np.asarray(exact)
    assert got.shape == exact.shape, (got.shape, exact.shape, note)
    wide = (got.astype(np.float32) if got.dtype == reference.BFLOAT16 else got).astype(np.longdouble)
    nan = np.isnan(exact)
    assert all_nan(got[nan]), note
    with np.errstate(all="ignore"):
        close = nan | (wide == exact) | (np.isfinite(exact) & (np.abs(wide - exact) <= allowed))
    if not close.all():
        i = tuple(int(k[0]) for k in np.nonzero(~close)) if got.ndim else ()
        allowed = np.broadcast_to(allowed, got.shape)[i]
        off = np.abs(wide[i] - exact[i]) / allowed if allowed else np.inf
        raise AssertionError(f"{got[i]!r} at {i}, exact {exact[i]!r}: {off:.3g} times what is allowed; {note}")


def assert_loss(got, exact, units, x, note=""):
    """A loss of x that may be off by so many eps, relative."""
    size = 0 if np.ndim(got) else np.size(x)
    dtype = got.dtype
    assert_within(got, exact, np.abs(exact) * (reduced(units, dtype, size) if size else units * eps(dtype)), note)


def grad_allowance(x, target, axis=-1, reduction="mean", **options):
    """What GRAD_OF_ONE and GRAD_OF_SUM are eps of, and the smallest numbers: some, where a factor underflows."""
    k, counts, divisor = ref.coefficients(x, target, axis, **options)
    total = k.sum(axis=-1, keepdims=True)
    scale = (1 / divisor if reduction == "mean" and divisor else 1) / ref.temperature_of_rows(**options)
    p = reference.exact_softmax(ref.visible_rows(x, axis, **options))
    tiny = np.finfo(reference.result_dtype(x.dtype)).smallest_subnormal
    found = (p * total + k) * scale, (4 * (1 + total) * scale + 1) * tiny + 0 * p
    return [np.moveaxis(np.where(counts[..., None], part, 0), -1, axis).astype(np.float64) for part in found]


def assert_grad(got, exact, units, allowance, note=""):
    size, least = allowance
    assert_within(got, exact, units * eps(got.dtype) * size + least, note)


# ---- what goes in ------------------------------------------------------------------------------------------------


def made_for(name, x):
    """Logits x as what a loss takes: log-probabilities (not normalised, some of them 0) or probabilities."""
    if name.startswith("nll"):
        return np.minimum(x, x.dtype.type(0))
    if name == "log_loss" or name in FROM_PROBS:
        with np.errstate(all="ignore"):
            return np.exp(-np.abs(x.astype(np.float32)) / 4).astype(x.dtype)
    return x


def batch_of(shape, axis):
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]


def indices(shape, axis, seed=0, ignored=None):
    """Class indices for logits of that shape; about a third of them ignored if ignored says what stands for that."""
    rng = np.random.default_rng([seed, 1])
    target = np.asarray(rng.integers(shape[axis], size=batch_of(shape, axis)))
    return target if ignored is None else np.where(rng.random(target.shape) < 0.3, ignored, target)


def probabilities(shape, axis, dtype=np.float32, seed=0):
    """Rows that sum to 1, a third of them zeros, and a one-hot row."""
    rng = np.random.default_rng([seed, 2])
    y = rng.random(shape) * (rng.random(shape) < 0.7) + 1e-3
    rows = np.moveaxis(y, axis, -1)
    if rows.size:
        rows[(0,) * (rows.ndim - 1)] = np.arange(shape[axis]) == shape[axis] // 2
    return (y / y.sum(axis=axis, keepdims=True)).astype(dtype)


def weights(n, dtype=np.float32, seed=0):
    return (np.random.default_rng([seed, 3]).random(n) + 0.05).astype(dtype)


def hard_case(make, dtype, shape):
    """x of shape (outer, n, inner); targets are the largest logit, the smallest or any."""
    outer, n, inner = shape
    rows = hard_rows(make, outer * inner, n, dtype)
    x = np.ascontiguousarray(rows.reshape(outer, inner, n).transpose(0, 2, 1))
    kind = np.random.default_rng(n).integers(3, size=(outer, inner))
    target = np.choose(kind, [x.argmax(axis=1), x.argmin(axis=1), indices(x.shape, 1)])
    return x, target


def binary_target(shape, dtype, seed=0):
    """0, 1, and anything between."""
    rng = np.random.default_rng([seed, 5])
    return np.asarray(np.clip(rng.uniform(-0.4, 1.4, shape), 0, 1)).astype(dtype)


def binary_input(name, shape, dtype, seed=0):
    """Logits of every size up to 1e4, or probabilities with 0, 1 and the numbers next to them."""
    rng = np.random.default_rng([seed, 6])
    if name in FROM_PROBS:
        p = rng.choice([0, 1, 1e-45, 1e-30, 1e-3, 0.5, 1 - np.finfo(dtype).epsneg, 1 - 1e-3, rng.random()], shape)
        return np.asarray(np.where(rng.random(shape) < 0.5, rng.random(shape), p)).astype(dtype)
    size = rng.choice([1e-6, 1, 4, 30, 90, 700, 1e4], shape)
    return np.asarray(rng.standard_normal(shape) * size).astype(dtype)


# ---- errors: how one is checked -------------------------------------------------------------------------------------


X = np.arange(24, dtype=np.float32).reshape(6, 4) / 8
INDICES = np.array([0, 1, 2, 3, 0, 1])
ROWS = np.full((6, 4), 0.25, np.float32)
FLOAT_NAMES = {"cross_entropy": "logits", "nll_loss": "log_probs", "log_loss": "probs", WITH_GRAD[0]: "logits"}


def assert_error(error, words, name, *args, **kwargs):
    """The error of a call, its message with all of the words, and grad_out or out as they were."""
    if name in WITH_GRAD and "grad_out" not in kwargs:
        kwargs["grad_out"] = np.full(X.shape, 7, np.float32)
    out = kwargs.get("grad_out", kwargs.get("out"))
    before = out.copy() if isinstance(out, np.ndarray) else None
    with pytest.raises(error) as caught:
        call(name, *args, **kwargs)
    assert caught.type is error, caught.value
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in {caught.value!r}"
    if before is not None:
        assert (np.asarray(out) == before).all(), "something was written"
