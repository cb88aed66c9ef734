"""Properties of the losses over arrays and targets that hypothesis makes up."""

import itertools

import hypothesis
import numpy as np
import pytest
import reference
import reference_losses as ref
from cases import FLOATS, all_nan, assert_same_bits
from hypothesis import strategies as st
from loss_cases import (
    BINARY_TERMS,
    GRAD_OF_ONE,
    GRAD_OF_SUM,
    REDUCTIONS,
    SIGMOIDS,
    SUM_OF_TERMS,
    assert_within,
    call,
    eps,
    grad_allowance,
    indices,
    losses,
    probabilities,
    reduced,
    weights,
)
from strategies import arrays, fixed

import softlane

# test_paths.py compares the paths.
pytestmark = pytest.mark.any_isa


@st.composite
def problems(draw, **kwargs):
    """Logits in some layout, an axis, and indices; for about every third example some of them ignored."""
    x, axis = draw(arrays(**kwargs))
    ignored = -100 if draw(st.integers(0, 2)) == 0 else None
    return x, axis, indices(x.shape, axis % x.ndim, draw(st.integers(0, 999)), ignored)


def one_hot_of(target, x, axis):
    hit = np.arange(x.shape[axis]) == np.asarray(target)[..., None]
    return np.moveaxis(hit, -1, axis)


@hypothesis.given(problems(dtypes=FLOATS, special=True))
@fixed
def test_equals_the_reference(problem):
    x, axis, target = problem
    if not reference.EXACT[x.dtype]:
        return
    before = x.copy()
    exact, exact_grad = ref.exact_cross_entropy_with_grad(x, target, axis=axis, reduction="none")
    loss, grad = losses("cross_entropy_with_grad", x, target, axis=axis)
    assert reference.ulp_error(loss, exact).max() <= 2
    size, least = grad_allowance(x, target, axis, "none")
    assert_within(grad, exact_grad, np.nan_to_num(GRAD_OF_ONE * eps(x.dtype) * size + least))
    assert_same_bits(losses("cross_entropy", x, target, axis=axis), loss)
    assert_same_bits(x, before, "the input was changed")


@hypothesis.given(problems(dtypes=FLOATS, limit=64), st.integers(-12, 12))
@fixed
def test_shifting_a_whole_row_changes_nothing_where_the_shift_is_exact(problem, power):
    x, axis, target = problem
    x = np.round(x * 16) / 16  # so that x + shift is exact in float32
    shifted = x + x.dtype.type(np.copysign(2.0 ** abs(power), power))
    a, b = (losses("cross_entropy", v, target, axis=axis) for v in (x, shifted))
    assert (np.abs(np.asarray(a, np.float64) - b) <= 4 * reference.ulp(a, x.dtype)).all()  # 2 each


@hypothesis.given(problems(dtypes=FLOATS))
@fixed
def test_losses_are_not_negative_and_gradients_sum_to_0(problem):
    x, axis, target = problem
    for t, reduction in itertools.product((target, probabilities(x.shape, axis, x.dtype)), REDUCTIONS):
        if reduction == "mean" and (target == -100).all():
            continue
        loss, grad = softlane.cross_entropy_with_grad(x, t, axis=axis, reduction=reduction)
        assert (loss >= 0).all()
        size, least = grad_allowance(x, t, axis, reduction)
        lost = (GRAD_OF_SUM * eps(x.dtype) * size + least).sum(axis=axis)
        total = np.sum(grad, axis=axis, dtype=np.float64)
        if t is target:
            assert (np.abs(total) <= lost).all()
        rows = np.moveaxis(grad, axis, -1)
        if t is target:  # only the class itself is pulled up
            there = np.take_along_axis(rows, np.maximum(target, 0)[..., None], -1)
            assert (there <= 0).all() and ((rows >= 0).sum(axis=-1) >= rows.shape[-1] - 1).all()


@hypothesis.given(problems(dtypes=FLOATS))
@fixed
def test_a_one_hot_row_is_its_index(problem):
    x, axis, target = problem
    one_hot = one_hot_of(target, x, axis)  # a row of zeros where it is ignored
    loss, grad = losses("cross_entropy_with_grad", x, target, axis=axis)
    got, got_grad = losses("cross_entropy_with_grad", x, one_hot, axis=axis)
    assert_within(
        got, np.asarray(loss, np.longdouble), (2 + SUM_OF_TERMS) * eps(x.dtype) * np.asarray(loss, np.float64)
    )
    size, least = grad_allowance(x, target, axis, "none")
    allowed = (GRAD_OF_ONE + GRAD_OF_SUM) * eps(x.dtype) * size + 2 * least
    assert_within(got_grad, grad.astype(np.longdouble), allowed)


@hypothesis.given(problems(dtypes=FLOATS, limit=300), st.floats(0, 1))
@fixed
def test_smoothing_is_between_the_target_and_the_mean_of_all_classes(problem, smoothing):
    x, axis, target = problem
    w = weights(x.shape[axis], x.dtype)
    mixed, alone, uniform = (
        losses("cross_entropy", x, target, axis=axis, weight=w, label_smoothing=s) for s in (smoothing, 0, 1)
    )
    wide = (1 - smoothing) * np.asarray(alone, np.longdouble) + smoothing * np.asarray(uniform, np.longdouble)
    assert_within(mixed, wide, 2 * SUM_OF_TERMS * eps(x.dtype) * wide)


@hypothesis.given(problems(dtypes=FLOATS, limit=1e6))
@fixed
def test_ignored_samples_might_as_well_not_be_there(problem):
    x, axis, target = problem
    kept = target != -100
    rows = np.moveaxis(x, axis, -1)[kept]
    for reduction in ("mean", "sum"):
        got = softlane.cross_entropy(x, target, axis=axis, reduction=reduction)
        expected = softlane.cross_entropy(rows.reshape(-1, rows.shape[-1]), target[kept], reduction=reduction)
        exact = np.longdouble(expected)
        assert_within(got, exact, 2 * reduced(2, x.dtype, target.size) * exact)


@hypothesis.given(problems(dtypes=FLOATS), st.integers(0, 999))
@fixed
def test_permuting_the_classes_permutes_the_gradient(problem, seed):
    x, axis, target = problem
    order = np.random.default_rng(seed).permutation(x.shape[axis])
    back = np.argsort(order)
    loss, grad = losses("cross_entropy_with_grad", x, target, axis=axis)
    moved = np.where(target == -100, target, back[np.maximum(target, 0)])
    got, got_grad = losses("cross_entropy_with_grad", np.take(x, order, axis), moved, axis=axis)
    assert (np.abs(np.asarray(got, np.float64) - loss) <= 4 * reference.ulp(loss, x.dtype)).all() or (got == loss).all()
    size, least = grad_allowance(x, target, axis, "none")
    allowed = 2 * GRAD_OF_ONE * eps(x.dtype) * size + 2 * least
    assert_within(np.take(got_grad, back, axis), grad.astype(np.longdouble), allowed)


@hypothesis.given(arrays(dtypes=FLOATS, special=True))
@fixed
def test_two_classes_are_one_sigmoid(array):
    """sigmoid(x) is softmax([0, x]), binary cross-entropy is cross-entropy of [0, x], sigmoid(-x) is what is left."""
    x, _ = array
    x = x[x > -np.inf] if (x == -np.inf).all() else x
    pairs = np.stack([np.zeros_like(x), x], axis=-1)
    inner = np.isfinite(x)
    p, q = softlane.sigmoid(x), softlane.sigmoid(-x)
    both = softlane.softmax(pairs)[inner]
    assert (np.abs(both[:, 1].astype(np.float64) - p[inner]) <= 4 * reference.ulp(both[:, 1], x.dtype)).all()
    assert (np.abs(p[inner].astype(np.float64) + q[inner] - 1) <= 2 * eps(x.dtype)).all()
    assert all_nan(p[np.isnan(x)]) and all_nan(softlane.log_sigmoid(x)[np.isnan(x)])
    for label in (0, 1):
        one = losses("binary_cross_entropy_with_logits", x, label)[inner]
        two = losses("cross_entropy", pairs, np.full(x.shape, label))[inner]
        close = np.abs(one.astype(np.float64) - two) <= (2 + BINARY_TERMS) * eps(x.dtype) * one + np.finfo(x.dtype).tiny
        assert (close | (one == two)).all()
    order = np.argsort(x[inner], kind="stable")
    for name in SIGMOIDS:
        y = call(name, x[inner][order])
        step = reference.ulp(y[1:], x.dtype) if y.size else 0  # monotone up to the 2 ULP of each
        assert (np.diff(y.astype(np.float64)) >= -4 * step).all()
