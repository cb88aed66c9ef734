"""The sigmoids and binary cross-entropy: values, special values, shapes."""

import functools
import itertools

import numpy as np
import pytest
import reference
import reference_losses as ref
from cases import HALVES, all_nan, assert_same_bits, random
from loss_cases import (
    BINARY,
    BINARY_TERMS,
    REDUCTIONS,
    SIGMOIDS,
    WITH_GRAD,
    assert_within,
    binary_input,
    binary_target,
    call,
    eps,
    floats,
    losses,
    reduced,
    stored,
    weights,
)

import softlane

# ---- sigmoids ----------------------------------------------------------------------------------------------------


def all_sizes(dtype, seed=0):
    """Numbers of every size and sign, dense where the results leave 1 and 0, and at the ends of the exponents."""
    rng = np.random.default_rng([seed, 4])
    far = 110.0 if dtype == np.float32 else 760.0
    lowest = -44 if dtype == np.float32 else -323
    sizes = [10 ** rng.uniform(lowest, 38, 4000), rng.uniform(0, far, 8000), rng.uniform(0, 2, 4000)]
    k = np.arange(-900, 900)
    with np.errstate(over="ignore", under="ignore"):
        steps = ((k + 0.5) * (np.log(2) / 8)).astype(dtype) * (1 + rng.integers(-2, 3, k.size) * np.finfo(dtype).eps)
        sizes = np.concatenate([*sizes, [0, 1e4, 3e38, np.finfo(dtype).tiny, np.finfo(dtype).max]]).astype(dtype)
    return np.concatenate([sizes, -sizes, steps.astype(dtype)])


@floats
@pytest.mark.parametrize("name", SIGMOIDS)
def test_sigmoids_are_within_2_ulp(name, dtype, largest):
    if not reference.EXACT[dtype]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    x = all_sizes(dtype)
    error = reference.ulp_error(call(name, x), getattr(ref, f"exact_{name}")(x.astype(np.longdouble)))
    largest(name, dtype, "", error.max())
    assert error.max() <= 2, x[error.argmax()]


@pytest.mark.any_isa
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", SIGMOIDS)
def test_sigmoids_of_every_16_bit_float(name, dtype):
    x = np.arange(65536, dtype=np.uint16).view(dtype)
    nan = np.isnan(x.astype(np.float32))
    with np.errstate(all="ignore"):
        wide = call(name, x.astype(np.float32))
        got = call(name, x)
        assert all_nan(got[nan]) and all_nan(wide[nan])
        assert_same_bits(got[~nan], wide[~nan].astype(dtype))
    exact = getattr(ref, f"exact_{name}")(x[~nan].astype(np.float32).astype(np.longdouble))
    # half an ulp, and 2 of float32; below the normal numbers of float32, those are coarser for bfloat16
    error = reference.ulp_error(got[~nan], exact)
    assert (error - 2 * reference.ulp(exact, np.float32) / reference.ulp(exact, dtype)).max() <= 0.5


@pytest.mark.any_isa
@stored
@pytest.mark.parametrize("name", SIGMOIDS)
def test_sigmoids_of_any_shape(name, dtype):
    x = np.concatenate([random(97, dtype), np.array([0, -0.0, 30, -30, np.inf, -np.inf, np.nan]).astype(dtype)])
    whole = call(name, x)
    for shape in ((), (8, 13), (2, 4, 13), (104, 1)):
        y = x[0] if shape == () else x.reshape(shape)
        assert np.shape(call(name, y)) == shape and (shape or type(call(name, y)) is dtype.type)
        assert_same_bits(np.ravel(call(name, y)), whole[: np.size(y)])
    out = np.empty((), dtype)
    assert call(name, x[3], out=out) is out and out == whole[3]


@pytest.mark.any_isa
@floats
def test_sigmoids_of_special_values(dtype):
    x = np.array([np.inf, -np.inf, 0, -0.0, 1e4, -1e4], dtype)
    assert softlane.sigmoid(x).tolist() == [1, 0, 0.5, 0.5, 1, 0]
    assert softlane.log_sigmoid(x)[[0, 1, 4, 5]].tolist() == [0, -np.inf, 0, -1e4]
    for name in SIGMOIDS:
        nans = np.array([np.nan, -np.nan, 0], dtype)
        nans.view(f"u{dtype.itemsize}")[2] = np.array(np.inf, dtype).view(f"u{dtype.itemsize}") + 1  # signalling
        assert all_nan(call(name, nans)) and all_nan(call(name, nans[0]))


# ---- binary cross-entropy ----------------------------------------------------------------------------------------

BINARY_SHAPES = [(), (1,), (7,), (16,), (37, 10), (3, 7, 45), (2, 1, 5003)]
PARTS = [None, (), (1,), "last", "first", "all"]


def part(kind, shape, dtype, seed):
    """Weights that broadcast to shape."""
    if kind is None or (kind == (1,) and not shape):
        return None
    if kind in ("last", "first") and shape:
        kind = shape[-1:] if kind == "last" else (shape[0],) + (1,) * (len(shape) - 1)
    elif isinstance(kind, str):
        kind = shape
    return np.asarray(weights(kind, dtype, seed))


@functools.lru_cache(maxsize=1)
def binary_results(name, dtype, shape):
    """x, y, and for every combination of options the exact results, and what is allowed of the gradient."""
    x, y = binary_input(name, shape, dtype), binary_target(shape, dtype)
    positives = [None] if name == "binary_cross_entropy" else PARTS
    wide, tiny = x.astype(np.longdouble), np.finfo(dtype).smallest_subnormal
    found = []
    for wanted, positive, reduction in itertools.product(PARTS, positives, REDUCTIONS):
        if x.size > 1000 and (wanted in PARTS[1:3] or positive in PARTS[1:4]):
            continue
        options = {"weight": part(wanted, shape, dtype, 1), "reduction": reduction}
        if name != "binary_cross_entropy":
            options["pos_weight"] = part(positive, shape, dtype, 2)
        exact = getattr(ref, f"exact_{name}")(x, y, **options)
        allowed = None
        if name in WITH_GRAD:
            of_one, of_zero = ref._binary_coefficients(x, y, options["weight"], options["pos_weight"])
            size = of_one * ref.exact_sigmoid(-wide) + of_zero * ref.exact_sigmoid(wide)
            allowed = (BINARY_TERMS + 1) * eps(dtype) * size / (x.size if reduction == "mean" else 1) + 8 * tiny
        found.append((options, exact, allowed, (wanted, positive, reduction)))
    return x, y, found


@pytest.mark.any_isa
@floats
@pytest.mark.parametrize("shape", BINARY_SHAPES, ids=str)
@pytest.mark.parametrize("name", [*BINARY, WITH_GRAD[1]])
def test_binary_cross_entropy_with_every_option(name, dtype, shape):
    x, y, found = binary_results(name, dtype, shape)
    for options, exact, allowed, note in found:
        loss = call(name, x, y, **options)
        if name in WITH_GRAD:
            (loss, grad), (exact, exact_grad) = loss, exact
            assert grad.dtype == dtype and np.shape(grad) == shape
            assert_within(grad, exact_grad, allowed, note)
            assert_same_bits(
                loss, softlane.binary_cross_entropy_with_logits(x, y, **options), f"{note} without gradient"
            )
        if options["reduction"] == "none" and shape:
            assert loss.shape == shape and loss.dtype == dtype
            assert_within(loss, exact, BINARY_TERMS * eps(dtype) * exact + 8 * np.finfo(dtype).smallest_subnormal, note)
        else:
            assert type(loss) is dtype.type
            assert_within(loss, exact, reduced(BINARY_TERMS, dtype, x.size) * exact, note)


@pytest.mark.any_isa
@floats
@pytest.mark.parametrize("shape", [(), (1,), (10,), (37, 1), (1, 10), (1, 1)], ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_binary_targets_broadcast(name, dtype, shape):
    x, y = binary_input(name, (37, 10), dtype), binary_target(shape, dtype)
    for reduction in REDUCTIONS:
        full = call(name, x, np.ascontiguousarray(np.broadcast_to(y, x.shape)), reduction=reduction)
        assert_same_bits(call(name, x, y, reduction=reduction), full)
    if name == BINARY[1]:
        loss, grad = call(WITH_GRAD[1], x, y)
        full, full_grad = call(WITH_GRAD[1], x, np.ascontiguousarray(np.broadcast_to(y, x.shape)))
        assert_same_bits(loss, full)
        assert_same_bits(grad, full_grad)


@pytest.mark.any_isa
@floats
def test_binary_cross_entropy_of_far_logits(dtype):
    x = np.array([1e4, -1e4, 1e4, -1e4, 1e4, 3e38, -3e38, 88, -750], dtype)
    y = np.array([1, 0, 0, 1, 0.5, 0, 1, 1, 0], dtype)
    small = [np.exp(np.longdouble(-88)), np.exp(np.longdouble(-750)) if dtype == np.float64 else 0]
    loss, grad = losses("binary_cross_entropy_with_logits_with_grad", x, y)
    assert loss[:7].tolist() == [0, 0, 1e4, 1e4, 5e3, *x[5:6].tolist(), *x[5:6].tolist()]
    assert_within(loss[7:], small, [BINARY_TERMS * eps(dtype) * small[0], 8 * np.finfo(dtype).smallest_subnormal])
    assert grad[:7].tolist() == [0, 0, 1, -1, 0.5, 1, -1]
    assert_within(grad[7:], [-small[0], small[1]], [BINARY_TERMS * eps(dtype) * small[0], np.finfo(dtype).tiny * 1e-6])


@pytest.mark.any_isa
@stored
def test_special_values_of_binary_cross_entropy(dtype):
    x = np.array([np.inf, -np.inf, np.inf, -np.inf, np.inf, 0, np.nan, -np.inf], dtype)
    y = np.array([1, 0, 0, 1, 0.5, 0.5, 0.5, 0.5], dtype)
    loss, grad = losses("binary_cross_entropy_with_logits_with_grad", x, y)
    assert loss[[0, 1, 2, 3, 4, 7]].tolist() == [0, 0, *[np.inf] * 4]
    assert grad[:6].tolist() == [0, 0, 1, -1, 0.5, 0] and grad[7] == -0.5
    assert all_nan(loss[6]) and all_nan(grad[6])
    assert_within(loss[5], np.log(np.longdouble(2)), 2 * eps(dtype))
    hidden = losses("binary_cross_entropy_with_logits", x[:6], y[:6], weight=[1, 1, 0, 0, 0, 1])
    assert hidden[:5].tolist() == [0] * 5
    assert losses("binary_cross_entropy_with_logits", x[3:4], y[3:4], pos_weight=0) == 0
    p = np.array([0, 1, 1, 0, 0.5, np.nan], dtype)
    y = np.array([0, 1, 0, 1, 0.5, 0.5], dtype)
    loss = losses("binary_cross_entropy", p, y)
    assert loss[:4].tolist() == [0, 0, np.inf, np.inf] and all_nan(loss[5:])
    assert losses("binary_cross_entropy", p[2:4], y[2:4], weight=0).tolist() == [0, 0]
    assert all_nan(softlane.binary_cross_entropy(p, y)) and softlane.binary_cross_entropy(p[:5], y[:5]) == np.inf
