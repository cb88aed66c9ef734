"""entropy, kl_divergence and softmax_hessian_diag: theory, 600 bits, nearly equal logits, temperatures."""

import math

import mpmath
import numpy as np
import pytest
import reference
from arrays import layouts
from cases import FLOATS, FORMS_FROM_TWO, HALVES, HARD, STORED, all_nan, assert_same_bits, hard_rows, random

import softlane

pytestmark = pytest.mark.any_isa  # test_paths.py compares the paths

floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
forms = pytest.mark.parametrize("form", FORMS_FROM_TWO)
KL_BOUND = {np.dtype(np.float32): 2, np.dtype(np.float64): 4}


def columns_of(row, form):
    """The row along the class axis of the form, in every row."""
    shape, axis = FORMS_FROM_TWO[form]
    row = np.resize(row, shape[axis])
    return np.moveaxis(np.broadcast_to(row, (*np.delete(shape, axis), len(row))), -1, axis), axis, row


def close(got, exact, dtype, bound=2):
    assert got.dtype == dtype
    for value in np.unique(got):
        assert reference.mp_ulp_error(value, exact, dtype) <= bound, (value, exact)


# ---- entropy -------------------------------------------------------------------------------------------------------


@floats
@forms
def test_the_entropy_of_equal_logits_is_the_logarithm_of_their_number(form, dtype):
    for value in (0, -7.25, 1e5):
        x, axis, row = columns_of(np.full(1, value, dtype), form)
        close(softlane.entropy(x, axis), mpmath.log(len(row)), dtype)
    close(softlane.entropy(np.zeros(10000, dtype)), mpmath.log(10000), dtype)
    x = x.copy()
    np.moveaxis(x, axis, -1)[..., ::2] = -np.inf
    if len(row) > 2:
        close(softlane.entropy(x, axis), mpmath.log(len(row) // 2), dtype)


@floats
@forms
def test_confident_rows_have_an_accurate_entropy_and_variance(form, dtype):
    """One class has 1 - z of the weight, z from 1/2 to below 1e-30."""
    n = FORMS_FROM_TWO[form][0][FORMS_FROM_TWO[form][1]]
    for gap in (2, 10.5, 31, 60, 85):
        row = np.zeros(n, dtype)
        row[n // 2] = gap
        x, axis, _ = columns_of(row, form)
        with mpmath.workprec(300):
            z = (n - 1) * mpmath.exp(-mpmath.mpf(gap))
            exact = mpmath.log1p(z) + z * gap / (1 + z)
            close(softlane.entropy(x, axis), exact, dtype)
            variance = np.moveaxis(softlane.softmax_hessian_diag(x, axis), axis, -1)
            if z < 1:
                close(variance[..., n // 2], z / (1 + z) ** 2, dtype, 3)
            p = mpmath.exp(-mpmath.mpf(gap)) / (1 + z)
            close(variance[..., 0], p * (1 - p), dtype, 3)


def test_rows_by_hand():
    np.testing.assert_allclose(softlane.entropy([[0.0, 0.0], [30.0, 0.0]]), [math.log(2), 2.900863118e-12], rtol=1e-9)
    p = np.exp([1, 2, 0.5]) / np.exp([1, 2, 0.5]).sum()
    np.testing.assert_allclose(softlane.entropy([1, 2, -np.inf, 0.5]), -(p * np.log(p)).sum(), rtol=1e-14)
    assert softlane.entropy([-np.inf, 5.0]) == softlane.entropy([-np.inf, 5.0, -np.inf]) == softlane.entropy(3.0) == 0
    got = softlane.softmax_hessian_diag([40.0, 0.0, 0.0])
    np.testing.assert_allclose(got, [8.496708510583178e-18, 4.248354255291589e-18, 4.248354255291589e-18], rtol=1e-15)
    assert softlane.softmax_hessian_diag(3.0) == 0 and (softlane.softmax_hessian_diag([0.0, 0.0]) == 0.25).all()
    assert softlane.kl_divergence([0.0, -np.inf], [0.0, 0.0]) == math.log(2)
    assert softlane.kl_divergence([0.0, 0.0], [0.0, -np.inf]) == np.inf
    assert softlane.kl_divergence([0.0, 1.0, -np.inf], [0.0, 1.0, -np.inf]) == 0


@floats
@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
def test_hard_rows_are_within_the_bounds(make, dtype):
    if not reference.EXACT[dtype]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    for n in (1, 2, 3, 5, 16, 31, 33, 40, 100, 1000, 4096, 4097, 9000):
        x = hard_rows(make, 40 if n < 100 else 3, n, dtype)
        columns = np.ascontiguousarray(x.T)[None]
        exact, variance = reference.exact_entropy(x), reference.exact_softmax_hessian_diag(x)
        for got in (softlane.entropy(x), softlane.entropy(columns, 1)[0]):
            assert reference.ulp_error(got, exact).max() <= 2, n
        for got in (softlane.softmax_hessian_diag(x), softlane.softmax_hessian_diag(columns, 1)[0].T):
            assert reference.ulp_error(got, variance).max() <= 3, n


@floats
@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
def test_the_reference_of_the_entropy_in_600_bits(make, dtype):
    for n in (1, 2, 3, 9):
        (row,) = hard_rows(make, 1, n, dtype)
        assert reference.mp_ulp_error(softlane.entropy(row), reference.mp_entropy(row), dtype) <= 2, n


# ---- divergence ----------------------------------------------------------------------------------------------------


@floats
@pytest.mark.parametrize("make", [make for make in HARD if make.__name__ != "extreme"], ids=lambda make: make.__name__)
def test_divergences_in_2400_bits(make, dtype):
    for n in (1, 2, 3, 17):
        x, y = hard_rows(make, 2, n, dtype)
        rng = np.random.default_rng(n)
        others = [y, np.nextafter(x, np.where(rng.random(n) < 0.5, x, np.inf).astype(dtype))]
        others += [(x * (1 + size * rng.standard_normal(n))).astype(dtype) for size in (1e-2, 1e-3, 1e-6)]
        for other in others:
            exact = reference.mp_kl_divergence(x, other)
            error = reference.mp_ulp_error(softlane.kl_divergence(x, other), exact, dtype)
            assert error <= KL_BOUND[dtype], (n, x, other)


@floats
def test_a_peaked_row_against_a_flat_one(dtype):
    """log n, as all its weight is on one class. The ratio of the sums is 1 / n; its logarithm must not lose digits."""
    for n in (2, 10, 1000, 4097, 100_000):
        x = np.zeros((1, n), dtype)
        x[0, n // 2] = 1e4
        for temperature in (None, 3.0):
            got = softlane.kl_divergence(x, np.zeros(n, dtype), temperature=temperature)
            assert reference.mp_ulp_error(got[0], mpmath.log(n), dtype) <= 2, n
    x[0, n // 2] = 30
    exact = reference.mp_kl_divergence(x[0, n // 2 - 8 : n // 2 + 8], np.zeros(16, dtype))
    got = softlane.kl_divergence(x[0, n // 2 - 8 : n // 2 + 8], np.zeros(16, dtype))
    assert reference.mp_ulp_error(got, exact, dtype) <= KL_BOUND[dtype]


def test_short_rows_with_temperatures():
    """float64 within 10 ULP: what f, p and the series of h(f) are rounded by adds up where rows nearly agree."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        n = int(rng.integers(2, 9))
        x = rng.normal(size=n) * rng.choice([1, 5, 20])
        y = x + rng.normal(size=n) * rng.choice([0.02, 1, 10])
        t = rng.choice([0.25, 2.0, 8.0])  # x / t is exact
        got = softlane.kl_divergence(x, y, temperature=t)
        assert reference.mp_ulp_error(got, reference.mp_kl_divergence(x / t, y / t), np.float64) <= 10, (x, y, t)


def test_differences_near_the_largest_number():
    """They leave float32, or the sums of float64, on the way to a result that does not."""
    narrow = np.float32([3e38, 0, 0]), np.float32([0, 1e38, -3e38])
    assert softlane.kl_divergence(*narrow) == np.float32(1e38)
    for x, y, expected in (
        ([1.7e308, 0], [0, 1e307], 1e307),
        ([1e308, 0], [0, 1e308], 1e308),
        ([1e300, 1e300, 0], [0, 1e300, 0], 5e299),
        ([0, 0], [8e307, -8e307], 8e307),
        ([0, 0], [1.7e308, -1.7e308], np.inf),  # their difference overflows
    ):
        for rows in (1, 3):  # a neighbour has the same bits as alone
            a = np.array([x] + [[1.0, 2.0, 3.0][: len(x)]] * rows)
            b = np.array([y] + [[1.0, 2.5, 3.0][: len(x)]] * rows)
            got = softlane.kl_divergence(a, b)
            np.testing.assert_allclose(got[0], expected, rtol=4e-16)
            assert_same_bits(got[1:], softlane.kl_divergence(a[1:], b[1:]))


@forms
def test_logits_that_differ_by_little(form):
    """As float64 would have it, in which what float32 cancels is left."""
    shape, axis = FORMS_FROM_TWO[form]
    x = random(shape, np.float32, seed=1)
    for size in (1e-1, 1e-3, 1e-5):
        y = x + np.float32(size) * random(shape, np.float32, seed=2, spread=1)
        exact = reference.exact_kl_divergence(x.astype(np.longdouble), y.astype(np.longdouble), axis)
        got = softlane.kl_divergence(x, y, axis)
        np.testing.assert_allclose(got, exact, rtol=2.0**-22, atol=3e-19 if np.longdouble(1).nbytes > 8 else 1e-15)
        near = softlane.kl_divergence(x.astype(np.float64), y.astype(np.float64), axis)
        np.testing.assert_allclose(got, near, rtol=2.0**-23)
        assert (near > 0).all()


@pytest.mark.parametrize("dtype", STORED, ids=str)
@forms
def test_the_divergence_of_a_distribution_from_itself_is_0(form, dtype):
    shape, axis = FORMS_FROM_TWO[form]
    x = np.round(random(shape, np.float32, seed=1) * 8) / 8
    for temperature in (None, 0.7, 1e-9):
        for shift in (0, 4, -1.5):
            y = (x + np.float32(shift)).astype(dtype)
            assert (softlane.kl_divergence(x.astype(dtype), y, axis, temperature=temperature) == 0).all(), shift


@floats
@forms
def test_special_rows_of_a_divergence(form, dtype):
    shape, axis = FORMS_FROM_TWO[form]
    x = np.moveaxis(random(shape, dtype, seed=1), axis, -1).copy()
    y = x + 1
    first = (0,) * (x.ndim - 1)
    for value in (np.nan, np.inf):
        for broken in (x, y):
            kept = broken[first][1]
            broken[first][1] = value
            got = softlane.kl_divergence(np.moveaxis(x, -1, axis), np.moveaxis(y, -1, axis), axis)
            assert all_nan(got[first]) and np.isnan(got).sum() == 1
            broken[first][1] = kept
    y[first][1] = -np.inf
    got = softlane.kl_divergence(np.moveaxis(x, -1, axis), np.moveaxis(y, -1, axis), axis)
    assert got[first] == np.inf and np.isfinite(got).sum() == got.size - 1
    x[first][1] = -1e30
    got = softlane.kl_divergence(np.moveaxis(x, -1, axis), np.moveaxis(y, -1, axis), axis)
    assert got[first] == np.inf
    x[first][1] = -np.inf
    got = softlane.kl_divergence(np.moveaxis(x, -1, axis), np.moveaxis(y, -1, axis), axis)
    assert got[first] == pytest.approx(0, abs=1e-12) and np.isfinite(got).all()
    x[first] = -np.inf
    for pair in ((x, y), (y, x)):
        got = softlane.kl_divergence(*(np.moveaxis(a, -1, axis) for a in pair), axis)
        assert all_nan(got[first]) and np.isnan(got).sum() == 1


def test_arguments_of_a_divergence():
    x, y = random((4, 3, 50), np.float32, 1), random((3, 50), np.float32, 2)
    expected = softlane.kl_divergence(x, np.broadcast_to(y, x.shape).copy())
    assert_same_bits(softlane.kl_divergence(x, y), expected)
    assert softlane.kl_divergence(y, x).shape == (4, 3)
    for other in layouts(x):
        assert_same_bits(softlane.kl_divergence(other[1], y), expected, other[0])
    kept = softlane.kl_divergence(x, y, keepdims=True)
    assert_same_bits(kept[..., 0], expected)
    first, second = (a.transpose(1, 0, 2).reshape(3, 200) for a in np.broadcast_arrays(x, y))
    assert_same_bits(softlane.kl_divergence(x, y, (0, 2)), softlane.kl_divergence(first, second))
    assert softlane.kl_divergence(x, y.astype(np.float64)).dtype == np.float64
    assert softlane.kl_divergence(x.astype(np.float16), y.astype(np.float16)).dtype == np.float32
    assert softlane.kl_divergence(x, y, dtype=np.float16).dtype == np.float16
    assert type(softlane.kl_divergence([0, 1], [1, 0])) is np.float64 and softlane.kl_divergence(2.0, 1.0) == 0
    out = np.empty((4, 3), np.float32)
    assert softlane.kl_divergence(x, y, out=out) is out
    assert_same_bits(out, expected)
    assert softlane.kl_divergence(np.empty((0, 3)), np.empty((0, 3))).shape == (0,)
    assert (softlane.kl_divergence(np.empty((2, 0)), np.empty((2, 0))) == 0).all()
    nothing = np.zeros(50, bool)
    assert (softlane.kl_divergence(x, y, where=nothing) == 0).all() and (softlane.entropy(x, where=nothing) == 0).all()
    assert (softlane.entropy(np.empty((2, 0))) == 0).all()
    with pytest.raises(ValueError, match=r"kl_divergence: y has shape \(49,\), which does not broadcast with"):
        softlane.kl_divergence(x, y[0, 1:])
    with pytest.raises(TypeError, match="kl_divergence: y has dtype complex128"):
        softlane.kl_divergence(x, y.astype(complex))


# ---- temperatures --------------------------------------------------------------------------------------------------


@floats
@pytest.mark.parametrize("shape", [(5, 3), (3, 70), (1, 4100)], ids=str)
@pytest.mark.parametrize("power", [-300, -40, -24, -23, -3, 0, 3, 23, 24, 40, 300])
def test_temperatures_of_any_size(power, shape, dtype):
    """x / T is exact where T is a power of two."""
    t = 2.0**power
    if dtype == np.float32 and abs(power) > 100:
        pytest.skip("x * T is no float32")
    x, y = random(shape, dtype, 1), random(shape, dtype, 2)
    for function, arguments in (
        (softlane.entropy, (x,)),
        (softlane.softmax_hessian_diag, (x,)),
        (softlane.kl_divergence, (x, y)),
    ):
        expected = function(*arguments)
        for temperature in (t, np.full(shape[0], t)):
            got = function(*((a.astype(np.float64) * t).astype(dtype) for a in arguments), temperature=temperature)
            np.testing.assert_allclose(got, expected, rtol=6 * np.finfo(dtype).eps)


def test_temperatures_of_float64_in_600_bits():
    x, y = random((6, 9), np.float64, 1), random((6, 9), np.float64, 2)
    x[1] *= 10
    t = np.array([0.3, 0.7, 1.1, 3.0, 1e-7, 1e40])
    for axis, (a, b) in ((1, (x, y)), (0, (np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)))):
        entropy = softlane.entropy(a, axis, temperature=t)
        divergence = softlane.kl_divergence(a, b, axis, temperature=t)
        for i, temperature in enumerate(t.tolist()):
            with mpmath.workprec(600):
                p, q = (
                    [mpmath.exp(mpmath.mpf(v) / temperature) for v in row] for row in (x[i].tolist(), y[i].tolist())
                )
                p, q = ([v / mpmath.fsum(e) for v in e] for e in (p, q))
                exact = -mpmath.fsum(v * mpmath.log(v) for v in p)
                assert reference.mp_ulp_error(entropy[i], exact, np.float64) <= 2
                exact = mpmath.fsum(v * mpmath.log(v / w) for v, w in zip(p, q, strict=True))
                assert reference.mp_ulp_error(divergence[i], exact, np.float64) <= 4


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_divergence_of_two_dtypes_is_rounded_to_16_bits_once(dtype):
    """The logits themselves are not."""
    x, y = np.array([False, True]), np.array([0, 2049], np.float32)
    wanted = softlane.kl_divergence(x, y).astype(dtype)
    assert softlane.kl_divergence(x, y, dtype=dtype) == wanted
    assert softlane.kl_divergence(x.astype(np.float16), y, dtype=dtype) == wanted
    y = np.array([0, 1e5], np.float32)  # beyond float16, with a divergence that is not
    assert softlane.kl_divergence(x, y, dtype=dtype) == softlane.kl_divergence(x, y).astype(dtype)


@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_numbers_of_python_have_the_dtype_of_the_other_argument(dtype):
    y = random((5, 4), dtype)
    for number in (1, -2.5, True, np.inf, -np.inf, np.nan):
        x = np.full(y.shape, number, y.dtype)
        for axis in (-1, None):
            assert_same_bits(softlane.kl_divergence(number, y, axis), softlane.kl_divergence(x, y, axis))
            assert_same_bits(softlane.kl_divergence(y, number, axis), softlane.kl_divergence(y, x, axis))
    assert softlane.kl_divergence(1, 2.0, None).dtype == np.float64
