"""Masks and temperatures of cross-entropy, the logarithm and the sums of nll_loss and log_loss.

That every form, dtype and path has them is in the suites over ops.py; here is what they mean at their ends.
"""

import itertools

import mpmath
import numpy as np
import pytest
import reference
from cases import FORMS_FROM_TWO, STORED, all_nan, assert_same_bits, extreme, hard_rows, random
from loss_cases import (
    GRAD_OF_SUM,
    SUM_OF_TERMS,
    assert_within,
    batch_of,
    call,
    eps,
    hard,
    indices,
    losses,
    probabilities,
)

import softlane

pytestmark = pytest.mark.any_isa
each_form = pytest.mark.parametrize("form", FORMS_FROM_TWO)
stored = pytest.mark.parametrize("dtype", STORED, ids=str)
floats = pytest.mark.parametrize("dtype", STORED[:2], ids=str)


def masked(shape, axis, target):
    """A mask that shows the target of each row, but for the last one and about a tenth of the others."""
    rng = np.random.default_rng(7)
    mask = rng.random(shape) < 0.6
    shown = rng.random(target.shape) < 0.9
    shown.flat[-1] = False
    np.put_along_axis(mask, np.expand_dims(target, axis), np.expand_dims(shown, axis), axis)
    return mask


# ---- where -----------------------------------------------------------------------------------------------------------


def test_known_values():
    x = np.array([1, 2, -np.inf, 0.5])
    got = softlane.cross_entropy(x, 0, where=np.isfinite(x), label_smoothing=0.1)
    np.testing.assert_allclose(got, 1.4477021174, atol=5e-11)
    loss, grad = softlane.cross_entropy_with_grad([0.0, 5.0, 0.0], 0, where=[True, False, True], temperature=4)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-15)
    np.testing.assert_allclose(grad, [-1 / 8, 0, 1 / 8], rtol=1e-15)
    loss, grad = softlane.cross_entropy_with_grad([np.log(9), 0.0], 0, temperature=0.5)  # as of log(81)
    np.testing.assert_allclose(loss, np.log1p(1 / 81), rtol=1e-14)
    np.testing.assert_allclose(grad, [-2 / 82, 2 / 82], rtol=1e-14)


@stored
@each_form
def test_a_hidden_class_is_as_if_its_logit_were_minus_infinity(form, dtype):
    shape, axis = FORMS_FROM_TWO[form]
    x, target = random(shape, dtype), indices(shape, axis)
    mask = masked(shape, axis, target)
    hidden = np.where(mask, x, dtype.type(-np.inf))
    for t, y in itertools.product((None, 0.7), (target, probabilities(shape, axis, dtype))):
        options = {"axis": axis, "temperature": t}
        loss, grad = losses("cross_entropy_with_grad", x, y, where=mask, **options)
        expected, expected_grad = losses("cross_entropy_with_grad", hidden, y, **options)
        assert_same_bits(loss, expected)
        assert np.isinf(loss).any()
        assert_same_bits(losses("cross_entropy", x, y, where=mask, **options), loss)
        assert not grad[~mask].any()
        assert_same_bits(grad[mask], expected_grad[mask])
        softlane.cross_entropy_with_grad(
            x.copy(), y, where=mask, reduction="none", grad_out=(own := x.copy()), **options
        )
        assert_same_bits(own, grad)


@floats
@each_form
def test_smoothing_is_shared_by_the_classes_that_count(form, dtype):
    """Each row is that of its visible classes alone, whatever the hidden ones hold and weigh."""
    shape, axis = FORMS_FROM_TWO[form]
    if shape[axis] == 2:
        pytest.skip("what is left is one class")
    x, target = random(shape, dtype), indices(shape, axis)
    mask = masked(shape, axis, target)
    np.moveaxis(mask, axis, 0)[1] = False
    w = np.linspace(0.5, 2, shape[axis]).astype(dtype)
    w[1] = np.nan
    x[~mask] = np.nan
    options = {"weight": w, "label_smoothing": 0.3}
    loss, grad = losses("cross_entropy_with_grad", x, target, axis=axis, where=mask, **options)
    rows, masks, grads = (np.moveaxis(a, axis, -1) for a in (x, mask, grad))
    for i in list(np.ndindex(rows.shape[:-1]))[:40]:
        place = np.flatnonzero(masks[i])
        if target[i] not in place:
            assert loss[i] == np.inf or target[i] == 1
            continue
        own = int(np.searchsorted(place, target[i]))
        expected, expected_grad = softlane.cross_entropy_with_grad(
            rows[i][place], own, weight=w[place], label_smoothing=0.3, reduction="sum"
        )
        np.testing.assert_allclose(loss[i], expected, rtol=2 * SUM_OF_TERMS * eps(dtype))
        np.testing.assert_allclose(grads[i][place], expected_grad, atol=2 * GRAD_OF_SUM * eps(dtype) * 2)
        assert not grads[i][~masks[i]].any()


@stored
@each_form
def test_rows_in_which_nothing_counts(form, dtype):
    shape, axis = FORMS_FROM_TWO[form]
    x, target = random(shape, dtype), indices(shape, axis)
    mask = np.ones(shape, bool)
    rows = np.moveaxis(mask, axis, -1)
    first = (0,) * (rows.ndim - 1)
    rows[first] = False
    for y, smoothing in itertools.product((target, probabilities(shape, axis)), (0, 0.1)):
        options = {"axis": axis, "where": mask, "label_smoothing": smoothing}
        loss, grad = losses("cross_entropy_with_grad", x, y, **options)
        assert all_nan(loss[first]) and np.isfinite(loss).sum() == loss.size - 1
        assert not np.moveaxis(grad, axis, -1)[first].any() and np.isfinite(grad.astype(np.float32)).all()
        assert all_nan(call("cross_entropy", x, y, **options))
        sample_weight = np.ones(batch_of(shape, axis))
        sample_weight[first] = 0
        loss, _ = losses("cross_entropy_with_grad", x, y, sample_weight=sample_weight, **options)
        assert loss[first] == 0
    target[first] = -100
    assert losses("cross_entropy", x, target, axis=axis, where=mask)[first] == 0


def test_a_target_on_a_hidden_class():
    x, mask = np.zeros((4, 3)), np.array([True, True, False])
    y = np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0], [0.5, 0.5, np.nan], [0, 0, 0]])
    for weight in (None, [1, 1, 2]):
        got = losses("cross_entropy", x, y, where=mask, weight=weight)
        np.testing.assert_allclose(got, [np.inf, np.log(2), np.nan, 0], rtol=1e-15)
    np.testing.assert_allclose(losses("cross_entropy", x[1:2], y[1:2], where=mask, weight=[1, 1, np.nan]), [np.log(2)])
    assert losses("cross_entropy", x[:1], y[:1], where=mask, weight=[1, 1, 0]) == 0.75 * np.log(2)
    assert losses("cross_entropy", x[0], 2, where=mask) == np.inf
    assert losses("cross_entropy", x[0], 2, where=mask, weight=[1, 1, 0]) == 0
    np.testing.assert_allclose(losses("cross_entropy", x[0], 2, where=mask, label_smoothing=1), np.log(2), rtol=1e-15)


def test_one_mask_for_all_rows_and_one_in_the_memory_of_grad_out():
    x, target = random((6, 40), np.float32), indices((6, 40), 1) // 2
    mask = np.arange(40) < 25
    whole = np.broadcast_to(mask, x.shape).copy()
    expected = softlane.cross_entropy_with_grad(x, target, where=whole, label_smoothing=0.2)
    for same in (mask, mask.tolist(), np.repeat(whole, 2, 1)[:, ::2], np.asfortranarray(whole)):
        got = softlane.cross_entropy_with_grad(x, target, where=same, label_smoothing=0.2)
        assert_same_bits(got[0], expected[0])
        assert_same_bits(got[1], expected[1])
    out = np.empty_like(x)
    shared = out.view(np.bool_)[:, :40]
    shared[...] = whole
    loss, _ = softlane.cross_entropy_with_grad(x, target, where=shared, label_smoothing=0.2, grad_out=out)
    assert_same_bits(loss, expected[0])
    assert_same_bits(out, expected[1])


# ---- temperatures ----------------------------------------------------------------------------------------------------


def exact_row(row, k, t):
    """The loss and the gradient of one row, in so many bits that p - 1 is exact enough where p is 1 - 1e-300."""
    with mpmath.workprec(1300):
        x = [mpmath.mpf(float(v)) / mpmath.mpf(float(t)) for v in row]
        m = max(x)
        rest = list(x)
        rest.remove(m)
        others = mpmath.fsum(mpmath.exp(v - m) for v in rest)
        loss = m - x[k] + mpmath.log1p(others)
        return loss, [(mpmath.exp(v - m) / (1 + others) - (i == k)) / mpmath.mpf(float(t)) for i, v in enumerate(x)]


def assert_exact(x, target, t, dtype):
    """A loss and a gradient of each row; t is one number for each."""
    for own, grad in [losses("cross_entropy_with_grad", x, target, temperature=t)]:
        assert_same_bits(losses("cross_entropy", x, target, temperature=t[:, None]), own)
        for i, k in enumerate(target):
            exact, exact_grad = exact_row(x[i], k, t[i])
            if exact > np.finfo(dtype).max:
                assert own[i] == np.inf
                continue
            assert reference.mp_ulp_error(own[i], exact, dtype) <= 2, (x[i], k, t[i])
            for g, e in zip(grad[i], exact_grad, strict=True):
                allowed = 8 * eps(dtype) * abs(e) + 8 * np.finfo(dtype).smallest_subnormal * (1 + 1 / t[i])
                assert abs(mpmath.mpf(float(g)) - e) <= allowed or abs(e) > np.finfo(dtype).max, (x[i], k, t[i], g)


@floats
@hard
def test_losses_with_a_temperature_are_within_2_ulp(make, dtype):
    """With gradients, each class relative to its own: with p near 1, too."""
    if make is extreme:
        pytest.skip("test_differences_beyond_the_largest_number has these")
    rng = np.random.default_rng(3)
    for n, rows in ((1, 2), (2, 12), (5, 12), (40, 4)):
        x = hard_rows(make, rows, n, dtype)
        assert_exact(x, rng.integers(n, size=rows), 2.0 ** rng.uniform(-6, 6, rows), dtype)
        assert_exact(x, x.argmax(axis=1), 2.0 ** rng.uniform(-24, 24, rows), dtype)


@floats
@pytest.mark.parametrize("n", [2, 40, 5000])
def test_differences_beyond_the_largest_number(n, dtype):
    """m - x is none of the dtype, but the loss is."""
    x = np.full((2, n), 0.9 * float(np.finfo(dtype).max), dtype)
    x[:, 0] *= -1
    t = np.array([2.0**20, 2.0**24])
    y = np.zeros((2, n), dtype)
    y[:, 0] = 1
    for target in ([0, 0], y):
        loss, grad = losses("cross_entropy_with_grad", x, target, temperature=t)
        np.testing.assert_allclose(loss, 1.8 * (float(np.finfo(dtype).max) / t), rtol=4 * eps(dtype))
        np.testing.assert_allclose(grad[:, 0], -1 / t, rtol=4 * eps(dtype))


@floats
@pytest.mark.parametrize("shape", [(3,), (6, 7), (6, 40), (3, 4500)], ids=str)
@pytest.mark.parametrize("t", [1e-30, 1e-9, 1e9, 1e33, 2.0**-110, 2.0**120])
def test_far_temperatures(shape, t, dtype):
    x = np.atleast_2d((random(shape, np.float64) * min(t, 2.0**100)).astype(dtype))
    target = indices(x.shape, 1)
    loss, grad = losses("cross_entropy_with_grad", x, target, temperature=t)
    some = slice(3 if shape[-1] < 100 else 1)
    for i, k in list(enumerate(target))[some]:
        exact, exact_grad = exact_row(x[i], k, t)
        assert reference.mp_ulp_error(loss[i], exact, dtype) <= 2
        for g, e in zip(grad[i], exact_grad, strict=True):
            if abs(e) > np.finfo(dtype).max:
                assert np.isinf(g) and (g > 0) == (e > 0)
            else:
                assert abs(mpmath.mpf(float(g)) - e) <= 8 * eps(dtype) * abs(e) + np.finfo(dtype).smallest_subnormal
    if len(shape) == 1:
        one, one_grad = softlane.cross_entropy_with_grad(x[0], target[0], temperature=t)
        assert_same_bits(one, loss[0])
        assert_same_bits(one_grad, grad[0])


@stored
def test_a_far_temperature_leaves_other_rows_alone(dtype):
    x, target = random((5, 9, 4), dtype), indices((5, 9, 4), 1, ignored=-100)
    far = np.full((5, 4), 0.7)
    far[1, 2], far[4, 0] = 1e-9, 1e35
    keep = far == 0.7
    w = np.linspace(0, 2, 20).reshape(5, 4)
    for y, mask in itertools.product((target, probabilities(x.shape, 1)), (None, masked(x.shape, 1, target % 9))):
        options = {"axis": 1, "where": mask, "weight": np.linspace(1, 2, 9), "label_smoothing": 0.1, "sample_weight": w}
        expected, expected_grad = losses("cross_entropy_with_grad", x, y, temperature=0.7, **options)
        for grad_out in (None, x.copy(), np.empty((4, 9, 5), dtype).T):
            a = grad_out if grad_out is not None and grad_out.flags.c_contiguous else x
            loss, grad = losses("cross_entropy_with_grad", a, y, temperature=far, grad_out=grad_out, **options)
            assert_same_bits(loss[keep], expected[keep])
            assert_same_bits(np.moveaxis(grad, 1, -1)[keep], np.moveaxis(expected_grad, 1, -1)[keep])
        wide = losses("cross_entropy", x.astype(np.float64), y, temperature=far, dtype=np.float64, **options)
        np.testing.assert_allclose(loss, wide, rtol=1e-5)


def test_masks_and_temperatures_that_are_none():
    x = np.zeros((4, 3), np.float32)
    for error, words, wrong in [
        (TypeError, "where has dtype int64, expected bool", {"where": [1, 0, 1]}),
        (
            ValueError,
            r"where has shape \(4,\), which does not broadcast to \(4, 3\), that of logits",
            {"where": [True] * 4},
        ),
        (ValueError, "temperature is 0.0, expected positive, finite numbers", {"temperature": 0}),
        (ValueError, r"temperature\[1\] is -1.0", {"temperature": [1, -1, 1, 1]}),
        (
            ValueError,
            r"temperature has shape \(3,\), expected a number, or one for each row",
            {"temperature": [1, 2, 3]},
        ),
        (TypeError, "temperature has dtype", {"temperature": "hot"}),
    ]:
        for name in ("cross_entropy", "cross_entropy_with_grad"):
            with pytest.raises(error, match=f"{name}: {words}"):
                call(name, x, [0, 1, 2, 0], **wrong)
    for t in (0, [1, 2]):
        with pytest.raises(ValueError, match="rank: temperature"):
            softlane.rank(x, [0, 1, 2, 0], temperature=t)
    x = random((4, 9), np.float64)
    for t in (0.1, 1e-300, [1, 2, 3, 4e200]):
        assert (softlane.rank(x, [0, 1, 2, 0], temperature=t) == softlane.rank(x, [0, 1, 2, 0])).all()


# ---- nll_loss and log_loss -------------------------------------------------------------------------------------------


def test_the_logarithm_is_within_1_ulp():
    rng = np.random.default_rng(5)
    edges = np.sqrt(0.5) * 2.0 ** -np.arange(0, 1074, 7.0)
    p = np.concatenate([
        rng.random(1500), rng.random(500) ** 30, 2.0 ** -rng.uniform(1000, 1074, 200), 2.0 ** -np.arange(1075.0),
        1 - np.geomspace(1e-16, 0.5, 500), np.nextafter(edges, 0), edges, np.nextafter(edges, 1), [5e-324],
    ])  # fmt: skip
    got = softlane.log_loss(p[:, None], np.zeros(len(p), int), reduction="none")
    with mpmath.workprec(200):
        for value, v in zip(got, p, strict=True):
            assert v == 1 or reference.mp_ulp_error(value, -mpmath.log(mpmath.mpf(float(v))), np.float64) <= 1, v
    assert (got[p == 1] == 0).all() and not np.signbit(got[p == 1]).any()
    assert softlane.log_loss([[0.0]], [0]) == np.inf and all_nan(softlane.log_loss([[np.nan]], [0]))


@pytest.mark.parametrize("n", [1, 3, 8, 100, 5000])
@pytest.mark.parametrize("axis", [0, 1])
def test_sums_over_classes_are_of_twice_the_precision(n, axis):
    """Masses of both signs, whose sum cancels."""
    x = -np.random.default_rng(n).random((3, n)) * 8
    y = np.random.default_rng(n + 1).standard_normal((3, n))
    got = softlane.nll_loss(x if axis else x.T, y if axis else y.T, axis=axis, reduction="none")
    terms = y * -x  # rounded, as there
    with mpmath.workprec(200):
        for value, row in zip(got, terms, strict=True):
            assert reference.mp_ulp_error(value, mpmath.fsum(map(float, row)), np.float64) <= 1


@pytest.mark.parametrize("name", ["nll_loss", "log_loss"])
def test_a_number_outside_the_domain_in_any_row(name):
    good = -0.5 if name == "nll_loss" else 0.5
    for shape, axis in (((700, 300), 1), ((300, 700), 0), ((3, 70, 1000), 1)):
        x = np.full(shape, good)
        last = tuple(n - 1 for n in shape)
        x[last] = 2
        target = np.full(batch_of(shape, axis), shape[axis] - 1)
        y = np.full(shape, 1 / shape[axis])
        place = ", ".join(map(str, last))
        for a in (x, np.repeat(x, 2, -1)[..., ::2], x.astype(np.float16), np.asfortranarray(x)):
            for t in (target, y):
                with pytest.raises(ValueError, match=rf"{name}: .*probs\[{place}\] is 2.0, expected"):
                    call(name, a, t, axis=axis)
            np.testing.assert_allclose(call(name, a, target - 1, axis=axis), np.log(2) if good > 0 else 0.5, rtol=1e-6)
            weight = np.ones(target.shape)
            weight[tuple(np.delete(last, axis))] = 0
            for t in (target, y):
                call(name, a, t, axis=axis, sample_weight=weight)
            call(name, a, np.where(weight == 0, -100, target), axis=axis)


@pytest.mark.parametrize("name", ["nll_loss", "log_loss"])
def test_masses_of_0(name):
    zero = -np.inf if name == "nll_loss" else 0.0
    x = np.array([[zero, 1 - (name == "nll_loss")], [zero, 0.5 - (name == "nll_loss")], [np.nan, 0.0]])
    assert_within(losses(name, x, [[0, 1.0], [0, 0], [0, 1]]), np.array([0, 0, np.nan]), 0)
    assert_within(losses(name, x, [0, 0, 0], weight=[0, 1]), np.array([0, 0, np.nan]), 0)
    assert losses(name, x[0], [0.5, 0.5]) == np.inf and losses(name, x[:1], [0]) == np.inf
