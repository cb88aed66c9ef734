"""The sigmoids and binary cross-entropy: values, special values, shapes."""

import functools
import itertools

import mpmath
import numpy as np
import pytest
import reference
import reference_losses as ref
from cases import FLOATS, HALVES, all_nan, assert_same_bits, random
from loss_cases import (
    BINARY,
    BINARY_TERMS,
    FROM_PROBS,
    REDUCTIONS,
    SIGMOIDS,
    SLOPE,
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


# ---- temperatures ------------------------------------------------------------------------------------------------


def mp_sigmoid(name, x, t):
    q = mpmath.mpf(float(x)) / mpmath.mpf(float(t))
    e = mpmath.exp(-abs(q))
    if name == "sigmoid":
        return (1 if q >= 0 else e) / (1 + e)
    return min(q, mpmath.mpf(0)) - mpmath.log1p(e)


@floats
@pytest.mark.parametrize("name", SIGMOIDS)
def test_sigmoids_with_a_temperature_are_within_2_ulp(name, dtype, largest):
    """The quotient may be of any size, and both numbers near the smallest or the largest ones."""
    rng = np.random.default_rng([dtype.itemsize, 8])
    far = 104 if dtype == np.float32 else 745
    x, t = np.zeros((2, 1600))
    ranges = (far, -3, 3), (40, -300, 300), (3, -320, 307), (far, -320, -290)
    for part, (size, low, high) in zip(np.split(np.arange(x.size), 4), ranges, strict=True):
        t[part] = 10 ** rng.uniform(low, high, part.size)
        with np.errstate(all="ignore"):
            x[part] = np.clip(rng.uniform(-size, size, part.size) * t[part], *np.finfo(dtype).max * np.array([-1, 1]))
    x = x.astype(dtype)
    got, error = call(name, x, temperature=t), np.zeros(x.size)
    with mpmath.workprec(1300):
        for i in range(x.size):
            exact = mp_sigmoid(name, x[i], t[i])
            unit = reference.mp_of(reference.ulp(np.longdouble(float(exact)), dtype))
            error[i] = float(abs(mpmath.mpf(float(got[i])) - exact) / unit)
    largest(name, dtype, "temperature", error.max())
    assert error.max() <= 2, (x[error.argmax()], t[error.argmax()])


@pytest.mark.any_isa
@floats
def test_temperatures_at_the_ends_of_their_range(dtype):
    """x / T beyond the largest number is infinite, below the smallest it is 0: there are no NaN, and no warnings."""
    x = np.array([1, -1, 0, np.inf, -np.inf], dtype)
    ln2 = -np.log(np.longdouble(2))
    assert softlane.sigmoid(x, temperature=5e-324).tolist() == [1, 0, 0.5, 1, 0]
    assert softlane.log_sigmoid(x[[0, 1, 3, 4]], temperature=5e-324).tolist() == [0, -np.inf, 0, -np.inf]
    assert softlane.sigmoid(x, temperature=1.7e308).tolist() == [0.5, 0.5, 0.5, 1, 0]
    assert_within(softlane.log_sigmoid(x[:3], temperature=1.7e308), np.full(3, ln2), eps(dtype))
    largest = np.finfo(dtype).max
    assert softlane.log_sigmoid(-largest, temperature=2.0) == -largest / 2
    loss, grad = losses(WITH_GRAD[1], x, [1, 0, 1, 1, 0], temperature=5e-324)
    assert loss[[0, 1, 3, 4]].tolist() == [0] * 4 and grad.tolist() == [0, 0, -np.inf, 0, 0]
    loss, grad = losses(WITH_GRAD[1], x, [0, 1, 0, 0, 1], temperature=5e-324)
    assert loss[[0, 1, 3, 4]].tolist() == [np.inf] * 4
    assert grad.tolist() == [np.inf, -np.inf, np.inf, np.inf, -np.inf]
    loss, grad = losses(WITH_GRAD[1], x[:3], 1, temperature=1.7e308)
    assert_within(loss, np.full(3, -ln2), eps(dtype))
    assert np.abs(grad).max() <= 1e-308
    for name in SIGMOIDS:
        assert all_nan(call(name, np.full(3, np.nan, dtype), temperature=0.7))


@pytest.mark.any_isa
@stored
@pytest.mark.parametrize("name", [*SIGMOIDS, BINARY[1], WITH_GRAD[1]])
def test_temperatures_broadcast(name, dtype):
    """To the shape of x; a number has the bits of an array of it, and 1 those of none."""
    x = random((5, 3, 700), dtype, seed=9)
    args = (x,) if name in SIGMOIDS else (x, binary_target(x.shape, np.float32))
    options = {} if name in SIGMOIDS else {"weight": weights(x.shape[-1], np.float32), "reduction": "none"}

    def check(given, t):
        got, expected = (call(name, *args, temperature=one, **options) for one in (given, t))
        for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (got, expected)), strict=True):
            assert_same_bits(a, b, f"{np.shape(given)}")

    rng = np.random.default_rng(10)
    for shape in ((1,), (700,), (3, 1), (5, 1, 1), (1, 1, 1), x.shape):
        t = rng.uniform(0.2, 4, shape)
        check(t, np.ascontiguousarray(np.broadcast_to(t, x.shape)))
    check(np.uint8([2]), 2.0)
    check(2, np.full(x.shape, 2.0))
    check(np.float16(0.7), float(np.float16(0.7)))
    check(1, None)
    check(np.ones(x.shape), None)


@pytest.mark.any_isa
@floats
def test_the_temperature_divides_the_gradient(dtype):
    """At 0 the slope is 1/2 - y, whatever the temperature."""
    t = np.array([0.125, 1, 8])
    _, grad = losses(WITH_GRAD[1], np.zeros(3, dtype), [0, 1, 0], temperature=t)
    assert grad.tolist() == [4, -0.5, 0.0625]
    _, grad = softlane.binary_cross_entropy_with_logits_with_grad(np.zeros(3, dtype), 1, temperature=0.25, weight=3)
    assert_within(grad, np.full(3, -2.0), 2 * eps(dtype))


# ---- from the output of sigmoid ----------------------------------------------------------------------------------


@pytest.mark.any_isa
@floats
def test_gradients_from_the_output_of_sigmoid(dtype):
    x = random(4099, dtype, seed=11)
    y, g = softlane.sigmoid(x), random(4099, dtype, seed=12)
    exact = ref.exact_sigmoid_grad(g, y)
    assert reference.ulp_error(softlane.sigmoid_grad(g, y), exact).max() <= (0.51 if dtype == np.float32 else 2)
    y = np.array([0.25, 0, 1, 0.5, np.nan, 0.5, 0.5], dtype)
    g = np.array([2, 5, 5, np.inf, 1, np.nan, -np.inf], dtype)
    got = softlane.sigmoid_grad(g, y)
    assert got[[0, 1, 2, 3, 6]].tolist() == [0.375, 0, 0, np.inf, -np.inf] and all_nan(got[4:6])
    assert softlane.sigmoid_grad(dtype.type(2), dtype.type(0.25)) == 0.375
    assert softlane.sigmoid_grad([1, 2], [1, 0]).tolist() == [0, 0]


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
    positives = [None] if name in FROM_PROBS else PARTS
    wide, tiny = x.astype(np.longdouble), np.finfo(dtype).smallest_subnormal
    found = []
    for wanted, positive, reduction in itertools.product(PARTS, positives, REDUCTIONS):
        if x.size > 1000 and (wanted in PARTS[1:3] or positive in PARTS[1:4]):
            continue
        options = {"weight": part(wanted, shape, dtype, 1), "reduction": reduction}
        if name not in FROM_PROBS:
            options["pos_weight"] = part(positive, shape, dtype, 2)
        exact = getattr(ref, f"exact_{name}")(x, y, **options)
        allowed = None
        if name == WITH_GRAD[2]:
            loss, grad = exact
            of_one, of_zero = ref._binary_coefficients(x, y, options["weight"])
            with np.errstate(all="ignore"):
                size = ref._times(of_one, 1 / wide) + ref._times(of_zero, 1 / (1 - wide))
                allowed = np.nan_to_num(SLOPE * eps(dtype) * np.abs(grad) + 4 * eps(np.longdouble) * size) + 8 * tiny
                exact = loss, np.where(np.abs(grad) > np.finfo(dtype).max, np.inf * grad, grad)
        elif name in WITH_GRAD:
            of_one, of_zero = ref._binary_coefficients(x, y, options["weight"], options["pos_weight"])
            size = of_one * ref.exact_sigmoid(-wide) + of_zero * ref.exact_sigmoid(wide)
            allowed = (BINARY_TERMS + 1) * eps(dtype) * size / (x.size if reduction == "mean" else 1) + 8 * tiny
        found.append((options, exact, allowed, (wanted, positive, reduction)))
    return x, y, found


@pytest.mark.any_isa
@floats
@pytest.mark.parametrize("shape", BINARY_SHAPES, ids=str)
@pytest.mark.parametrize("name", [*BINARY, *WITH_GRAD[1:]])
def test_binary_cross_entropy_with_every_option(name, dtype, shape):
    x, y, found = binary_results(name, dtype, shape)
    for options, exact, allowed, note in found:
        loss = call(name, x, y, **options)
        if name in WITH_GRAD:
            (loss, grad), (exact, exact_grad) = loss, exact
            assert grad.dtype == dtype and np.shape(grad) == shape
            assert_within(grad, exact_grad, allowed, note)
            assert_same_bits(loss, call(name.removesuffix("_with_grad"), x, y, **options), f"{note} without gradient")
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
    loss, grad = call(f"{name}_with_grad", x, y)
    full, full_grad = call(f"{name}_with_grad", x, np.ascontiguousarray(np.broadcast_to(y, x.shape)))
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


@pytest.mark.any_isa
@stored
def test_gradients_at_probabilities_of_0_and_1(dtype):
    """-y / p + (1 - y) / (1 - p), where a term of mass 0 is none, and the other is the slope towards the inside."""
    p = np.array([0, 0, 0, 1, 1, 1, 0.5, 0.5, 0.25, 0.75, np.nan, np.nan, -0.0], dtype)
    y = np.array([0, 1, 0.5, 1, 0, 0.5, 0.5, 1, 0, 1, 0, 1, 1])
    exact = [1, -np.inf, -np.inf, -1, np.inf, np.inf, 0, -2, 4 / 3, -4 / 3, np.nan, np.nan, -np.inf]
    loss, grad = losses(WITH_GRAD[2], p, y)
    assert grad.dtype == dtype and loss.dtype == reference.row_dtype(dtype)
    assert_within(grad, np.array(exact), eps(dtype))
    assert loss[:6].tolist() == [0, np.inf, np.inf, 0, np.inf, np.inf] and all_nan(loss[10:12])
    _, mean = softlane.binary_cross_entropy_with_grad(p[6:8], y[6:8])
    assert mean.tolist() == [0, -1]


@pytest.mark.any_isa
@floats
def test_a_weight_of_0_hides_an_infinity_but_no_nan(dtype):
    x = np.array([np.inf, -np.inf, np.nan, np.nan, 0, 2], dtype)
    y = np.array([0, 1, 0, 1, 0, 1], dtype)
    for name, given in ((WITH_GRAD[1], x), (WITH_GRAD[2], np.array([1, 0, np.nan, np.nan, 0.5, 0.2], dtype))):
        for result in losses(name, given, y, weight=0):
            assert result[[0, 1, 4, 5]].tolist() == [0] * 4 and all_nan(result[2:4])
            assert not np.signbit(result[[0, 1, 4, 5]]).any()
        for reduction in ("mean", "sum"):
            assert all_nan(call(name, given, y, weight=0, reduction=reduction)[0])


@pytest.mark.any_isa
def test_weights_beyond_the_range_of_float32_are_infinite_and_leave_0():
    x, y = np.float32([-2, 0, 2, 1000, -1000, 1000, -1000, np.nan]), [1, 1, 0, 1, 0, 0, 1, 1]
    for weight in ("weight", "pos_weight"):
        found = losses(WITH_GRAD[1], x, y, **{weight: 1e40})
        of_zero = 0 if weight == "weight" else 1  # whether the part of class 0 has another weight
        loss, grad = (a.tolist() for a in found)
        assert loss[:2] == [np.inf] * 2 and loss[3:5] == [0, 0] and np.isnan(loss[7])
        assert grad[:2] == [-np.inf] * 2 and grad[3:5] == [0, 0] and np.isnan(grad[7])
        assert loss[5:7] == [1000 if of_zero else np.inf, np.inf] and grad[5:7] == [1 if of_zero else np.inf, -np.inf]
    loss = losses("binary_cross_entropy", np.float32([0.5, 1, 0]), [1, 1, 0], weight=1e40)
    assert loss.tolist() == [np.inf, 0, 0]
    wide = losses(WITH_GRAD[1], np.float32([2, 1000]), [0, 1], weight=1e40, dtype=np.float64)[0]
    assert_within(wide, 1e40 * np.array([-ref.exact_log_sigmoid(np.longdouble(-2)), 0]), 1e26)


@pytest.mark.any_isa
@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype(np.float16)], ids=str)
@pytest.mark.parametrize("shape", [(7,), (9001,), (3, 50_001)], ids=str)
def test_what_is_no_probability_is_named_before_anything_is_written(dtype, shape):
    """By 4 eps of its dtype; a NaN is none of these. In any block, whatever is the layout."""
    p = np.full(shape, 0.5, dtype)
    p.reshape(-1)[0] = np.nan
    p.reshape(-1)[-3:] = 1 + 4 * eps(dtype), 1, -dtype.type(2 * eps(dtype))
    softlane.set_num_threads(3)
    for name in FROM_PROBS:
        got = losses(name, p, 1)
        assert (got[0] if name in WITH_GRAD else got).reshape(-1)[-3:].tolist() == [0, 0, np.inf]
    for value in (1.25, -0.25, np.inf, -np.inf):
        wrong = p.copy()
        wrong.reshape(-1)[-2] = value
        where = ", ".join(str(i) for i in np.unravel_index(p.size - 2, shape))
        words = rf"probs\[{where}\] is {float(value)!r}, expected a probability, 0 to 1; for logits use"
        for view in (wrong, np.repeat(wrong, 2, -1)[..., ::2], np.asfortranarray(wrong)):
            for reduction in REDUCTIONS:
                with pytest.raises(
                    ValueError, match=rf"^binary_cross_entropy: {words} binary_cross_entropy_with_logits$"
                ):
                    softlane.binary_cross_entropy(view, 1, reduction=reduction)
            out = np.full(shape, 7, dtype)
            for grad_out in (None, out, view):
                before = view.copy()
                with pytest.raises(ValueError, match=words):
                    softlane.binary_cross_entropy_with_grad(view, 1, grad_out=grad_out)
                assert (out == 7).all()
                assert_same_bits(view, before)
