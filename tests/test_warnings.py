"""No floating-point warning escapes, whatever the arrays hold and whatever the caller has NumPy do about warnings."""

import itertools
import warnings

import numpy as np
import pytest
from arrays import special
from cases import FORMS, FUNCTIONS, STORED, all_nan, random
from loss_cases import BINARY, OVER_CLASSES, WITH_GRAD, call, indices, made_for, probabilities, weights
from ops import each_form, each_op

import softlane

pytestmark = pytest.mark.any_isa


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        np.add(np.float32(1), np.float32(2))  # nothing is left behind for this ufunc to report


def hard_to_bear(shape, axis, dtype):
    """Arrays of large numbers, NaN and infinities, some of them throughout."""
    x = random(shape, dtype)
    rows = np.moveaxis(x, axis, -1)
    rows[..., 0], rows[..., 1], rows[..., 2] = -np.inf, 60000, -60000
    row = x.copy()
    np.moveaxis(row, axis, -1)[(0,) * (x.ndim - 2) + (1,)] = np.nan
    some = x.copy()
    some.reshape(-1)[:3] = np.nan, np.inf, -np.inf
    same = [np.full_like(x, value) for value in (0, -np.inf, np.inf, -60000)]
    return [x, x[..., ::-1], row, some, special(shape, dtype, 1), *same]


@each_op
@each_form
def test_no_warnings_escape(op, form):
    shape, axis = FORMS[form]
    masked = [{"where": np.zeros(shape, bool)}] if "where" in op.options else []
    cold = [{"temperature": 1e-3}] if "temperature" in op.options else []
    turns = itertools.cycle([*op.choices(shape, axis)[1:], *masked, *cold, {}])
    for dtype in STORED:
        arrays = hard_to_bear(shape, axis, dtype)
        with np.errstate(all="ignore"):
            _, *others = op.given(arrays[0], axis)
            arrays = [made_for(op.function, x) for x in arrays]
        for x in arrays:
            op([x, *others], axis)
            op([x, *others], axis, **next(turns))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_ends_of_the_range(function):
    for x in (np.array([np.finfo(np.float64).max]), np.array([5e-324, 1e-310])):
        FUNCTIONS[function](x)
    x = np.array([0x7FA00000, 0x3F800000], np.uint32).byteswap().view(np.dtype(np.float32).newbyteorder())
    assert all_nan(FUNCTIONS[function](x))  # a byte-swapped signalling NaN


@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_weights_of_logsumexp_that_are_nan(dtype):
    """The comparisons of bfloat16 raise flags for NaN."""
    out = np.zeros(2, dtype)
    softlane.logsumexp(np.ones((2, 3), np.float32), b=np.nan, dtype=dtype, out=out)
    assert all_nan(out)
    assert all_nan(softlane.logsumexp(np.full((2, 3), np.nan, dtype), b=np.ones(3, dtype)))


@pytest.mark.parametrize("dtype", STORED, ids=str)
@each_form
def test_weights_and_targets_of_losses(dtype, form):
    """Some, or all, weights are 0 or no number in narrower types; all samples are ignored; a weight is negative."""
    shape, axis = FORMS[form]
    n = shape[axis]
    with np.errstate(all="ignore"):
        target, y, w = indices(shape, axis, seed=3), probabilities(shape, axis, dtype), weights(n, dtype)
    target.flat[-1], w[1] = -100, 0
    for x in hard_to_bear(shape, axis, dtype):
        for name in (*OVER_CLASSES, WITH_GRAD[0]):
            call(name, made_for(name, x), target, axis=axis, weight=w)
            call(name, made_for(name, x), y, axis=axis, weight=w, reduction="none")
        for name in (*BINARY, WITH_GRAD[1]):
            call(name, made_for(name, x), y, weight=-y)
        softlane.cross_entropy(x, np.full_like(target, -100), axis=axis)
        softlane.cross_entropy_with_grad(x, target, axis=axis, weight=np.zeros_like(w))
    x.view(f"u{dtype.itemsize}").flat[0] = (1 << (8 * dtype.itemsize - 1)) + 1  # the smallest number, negative
    softlane.binary_cross_entropy_with_logits_with_grad(x, y, weight=np.full_like(x, 1e-3))
    ones = np.ones_like(x)
    for value in (1e300, 1e-300):
        for name in (*OVER_CLASSES, WITH_GRAD[0]):
            call(name, made_for(name, ones), target, axis=axis, weight=np.full(n, value))
            call(name, made_for(name, ones), np.full(shape, value), axis=axis, weight=np.full(n, value))
        for name in (*BINARY, WITH_GRAD[1]):
            call(name, ones, np.full(shape, min(value, 1)), weight=value)
