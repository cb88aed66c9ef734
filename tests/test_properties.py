"""Properties of softmax and its kin over arrays that hypothesis makes up: any shape, axis, layout, dtype and values."""

import numpy as np
import pytest
import reference
from cases import FLOATS, FUNCTIONS, assert_same_bits
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays, fixed

import softlane

BOUND = 2.0


def error(name, got, x, axis):
    exact = getattr(reference, f"exact_{name}")(x, axis)
    scale = None
    if name == "logsumexp":
        m = np.asarray(x.astype(np.longdouble) if x.dtype != reference.BFLOAT16 else x.astype(np.float32)).max(axis)
        scale = np.where(np.isfinite(m), m, 0)
    return reference.ulp_error(got, exact, scale).max()


@pytest.mark.parametrize("name", FUNCTIONS)
@given(arrays(dtypes=FLOATS, special=True))
@fixed
def test_equals_the_reference(name, given_array):
    x, axis = given_array
    if not reference.EXACT[x.dtype]:
        return
    before = x.copy()
    got = FUNCTIONS[name](x, axis=axis)
    assert error(name, got, x, axis) <= BOUND
    assert_same_bits(x, before, "the input was changed")


@pytest.mark.any_isa
@pytest.mark.parametrize("name", FUNCTIONS)
@given(arrays(special=True))
@fixed
def test_any_axis_is_the_last_one_after_moveaxis(name, given_array):
    """To 2 + 2 ULP (16-bit floats: one of their ulps): another inner length may be summed in another order."""
    x, axis = given_array
    got = np.asarray(FUNCTIONS[name](x, axis=axis))
    last = np.asarray(FUNCTIONS[name](np.ascontiguousarray(np.moveaxis(x, axis, -1))))
    if name != "logsumexp":
        last = np.moveaxis(last, -1, axis)
    assert got.shape == last.shape and got.dtype == last.dtype
    wide, wide_last = got.astype(np.float64), last.astype(np.float64)
    scale = 0.0
    if name == "logsumexp":
        scale = np.abs(np.nan_to_num(x.astype(np.float64).max(axis), posinf=0, neginf=0))
    allowed = (1 if x.dtype.itemsize == 2 else 2 * BOUND) * reference.ulp(np.maximum(np.abs(wide), scale), x.dtype)
    with np.errstate(invalid="ignore"):
        close = np.abs(wide - wide_last) <= allowed.astype(np.float64)
    assert (close | (wide == wide_last) | (np.isnan(wide) & np.isnan(wide_last))).all()


@pytest.mark.any_isa
@pytest.mark.parametrize("name", FUNCTIONS)
@given(arrays(special=True))
@fixed
def test_layout_does_not_matter(name, given_array):
    x, axis = given_array
    assert_same_bits(FUNCTIONS[name](x, axis=axis), FUNCTIONS[name](np.ascontiguousarray(x), axis=axis))


@pytest.mark.any_isa
@given(arrays(dtypes=FLOATS))
@fixed
def test_rows_sum_to_one(given_array):
    x, axis = given_array
    y = softlane.softmax(x, axis=axis)
    assert ((y >= 0) & (y <= 1)).all()
    # n terms of 2 ulps each, of numbers that sum to 1
    assert np.abs(y.sum(axis=axis, dtype=np.float64) - 1).max() <= (BOUND + 1) * np.finfo(x.dtype).eps


@pytest.mark.any_isa
@given(arrays(dtypes=FLOATS, limit=64), st.integers(-20, 20))
@fixed
def test_shifting_a_whole_row_changes_nothing_where_the_shift_is_exact(given_array, power):
    x, axis = given_array
    x = np.round(x * 16) / 16  # so that x + shift is exact in float32
    shifted = x + x.dtype.type(np.copysign(2.0 ** min(abs(power), 12), power))
    for name in ("softmax", "log_softmax"):
        a, b = FUNCTIONS[name](x, axis=axis), FUNCTIONS[name](shifted, axis=axis)
        assert (np.abs(a.astype(np.float64) - b) <= 2 * BOUND * reference.ulp(a, x.dtype)).all(), name


@pytest.mark.any_isa
@given(arrays(dtypes=FLOATS), st.integers(0, 999))
@fixed
def test_permuting_the_classes_permutes_the_result(given_array, seed):
    x, axis = given_array
    order = np.random.default_rng(seed).permutation(x.shape[axis])
    for name in ("softmax", "log_softmax"):
        a = FUNCTIONS[name](np.take(x, order, axis), axis=axis)
        b = np.take(FUNCTIONS[name](x, axis=axis), order, axis)
        with np.errstate(invalid="ignore"):
            close = np.abs(a - b) <= 2 * BOUND * reference.ulp(b, x.dtype).astype(x.dtype)
        assert (close | (a == b)).all(), name


@pytest.mark.any_isa
@given(arrays(dtypes=FLOATS))
@fixed
def test_the_order_of_the_classes_is_kept(given_array):
    """A larger logit never has a smaller probability or log-probability."""
    x, axis = given_array
    x = np.moveaxis(x, axis, -1)
    order = np.argsort(x, axis=-1, kind="stable")
    for name in ("softmax", "log_softmax"):
        y = np.take_along_axis(FUNCTIONS[name](x), order, -1)
        assert (y[..., 1:] >= y[..., :-1]).all(), name


@pytest.mark.any_isa
@given(arrays(dtypes=FLOATS, limit=700))
@fixed
def test_the_three_functions_belong_together(given_array):
    """log(softmax) == log_softmax == x - logsumexp, to what each of these loses."""
    x, axis = given_array
    eps = float(np.finfo(x.dtype).eps)
    log_p = softlane.log_softmax(x, axis=axis).astype(np.float64)
    p = softlane.softmax(x, axis=axis).astype(np.float64)
    lse = softlane.logsumexp(x, axis=axis, keepdims=True).astype(np.float64)
    assert np.abs(np.exp(log_p) - p).max() <= 4 * eps
    size = np.abs(x.astype(np.float64)) + np.abs(lse)
    assert (np.abs(x - lse - log_p) <= 4 * eps * size + 4 * eps).all()
    assert (lse >= x.max(axis=axis, keepdims=True)).all()
