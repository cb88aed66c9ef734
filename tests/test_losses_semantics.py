"""Losses, gradients and sigmoids: dtypes of arguments, ignored samples, special values, shared memory."""

import numpy as np
import pytest
import reference_losses as ref
from cases import FORMS, STORED, all_nan, assert_same_bits, random
from loss_cases import (
    BINARY,
    BINARY_TERMS,
    ONE_TERM,
    OVER_CLASSES,
    REDUCTIONS,
    SUM_OF_TERMS,
    WITH_GRAD,
    X,
    assert_loss,
    assert_within,
    binary_target,
    call,
    eps,
    floats,
    forms,
    indices,
    losses,
    made_for,
    over_classes,
    probabilities,
    stored,
    weights,
)

import softlane

# test_paths.py compares the paths.
pytestmark = pytest.mark.any_isa

# ---- dtypes ------------------------------------------------------------------------------------------------------

INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.intc, np.longlong]
REALS = [*(dtype.type for dtype in STORED), np.bool_, *INTEGERS]


def test_integers_do_not_wrap():
    x = np.array([[0, 255, 128, 7]], np.uint8)
    assert (
        softlane.cross_entropy(x, [0]) == 255 and softlane.binary_cross_entropy_with_logits(x, 0, reduction="sum") > 390
    )
    assert softlane.log_sigmoid(np.int8([-128])) == -128 and softlane.sigmoid(np.uint8(200)) == 1
    assert softlane.cross_entropy(np.array([-(2**62), 2**62]), 0) == 2.0**63


@over_classes
@pytest.mark.parametrize("given", INTEGERS, ids=lambda d: np.dtype(d).name)
def test_dtypes_of_indices(name, given):
    for form in FORMS:
        shape, axis = FORMS[form]
        x, target = made_for(name, random(shape, np.float32)), indices(shape, axis) % min(shape[axis], 127)
        assert_same_bits(losses(name, x, target.astype(given), axis=axis), losses(name, x, target, axis=axis), form)
        assert_same_bits(call(name, x, target.astype(given), axis=axis), call(name, x, target, axis=axis), form)


@pytest.mark.parametrize("given", REALS, ids=lambda d: np.dtype(d).name)
@stored
def test_dtypes_of_probabilities_and_weights(given, dtype):
    """As if converted to what the logits are computed in: float32 logits do not see the rest of a float64 weight."""
    compute = np.float64 if dtype == np.float64 else np.float32
    for shape, axis in ((37, 10), -1), ((5, 100), -1), ((3, 7, 45), 1), ((2, 4099), 1):
        x = random(shape, dtype)
        numbers = np.random.default_rng(0).random(shape) * 3
        one_hot = np.arange(shape[axis]) == indices(shape, axis)[..., None]
        y = np.moveaxis(one_hot, -1, axis).astype(given) if np.dtype(given).kind in "iu" else numbers.astype(given)
        w = (np.random.default_rng(1).random(shape[axis]) * 5).astype(given)
        for name in (*OVER_CLASSES, WITH_GRAD[0]):
            given_x = made_for(name, x)
            for target in (y, indices(shape, axis)):
                wide = target if target is not y else y.astype(compute)
                got = losses(name, given_x, target, axis=axis, weight=w)
                expected = losses(name, given_x, wide, axis=axis, weight=w.astype(compute))
                for a, b in zip(got, expected, strict=True) if name in WITH_GRAD else [(got, expected)]:
                    assert_same_bits(a, b, f"{name} {shape}")
        y, w = (np.random.default_rng(2).random(shape) * 1.99).astype(given), y
        for name in (*BINARY, WITH_GRAD[1]):
            given_x = made_for(name, x)
            got = losses(name, given_x, y, weight=w)
            expected = losses(name, given_x, y.astype(compute), weight=w.astype(compute))
            for a, b in zip(got, expected, strict=True) if name in WITH_GRAD else [(got, expected)]:
                assert_same_bits(a, b, f"{name} {shape}")
        got = losses(BINARY[1], x, y, pos_weight=w)
        assert_same_bits(got, losses(BINARY[1], x, y, pos_weight=w.astype(compute)))


def test_lists_and_scalars_are_taken_as_the_arrays_would_be():
    x, target, y, w = [[1.0, 2.0], [3.0, 5.0]], [0, 1], [[1, 0], [0.25, 0.75]], (1, 2.5)
    taken = {"cross_entropy": x, "nll_loss": [[-1.0, -2.0], [-3.0, -5.0]], "log_loss": [[1, 0.5], [0.25, 0.125]]}
    for name, x_of in taken.items():
        for t in (target, y):
            assert_same_bits(
                call(name, x_of, t, weight=w), call(name, np.array(x_of), np.array(t), weight=np.array([1, 2.5]))
            )
    assert_same_bits(
        softlane.cross_entropy_with_grad(x, target)[1], softlane.cross_entropy_with_grad(np.array(x), target)[1]
    )
    assert type(softlane.cross_entropy([1, 2], 1)) is np.float64
    for name in BINARY:
        assert_same_bits(
            call(name, [0.5, 0.25], [1, 0], weight=[2, 1]),
            call(name, np.array([0.5, 0.25]), np.array([1, 0]), weight=np.array([2, 1])),
        )
        assert type(call(name, 0.5, True, weight=2)) is np.float64
    loss, grad = softlane.binary_cross_entropy_with_logits_with_grad(0.0, 1, pos_weight=3)
    assert type(loss) is np.float64 and type(grad) is np.float64 and grad == -1.5
    assert_within(loss, 3 * np.log(np.longdouble(2)), 6 * 2.0**-52)
    assert softlane.sigmoid(0) == 0.5 and type(softlane.sigmoid([True])[0]) is np.float32
    assert_same_bits(
        softlane.log_softmax_grad([1, 2], [0.5, 1.0]), softlane.log_softmax_grad(np.array([1, 2.0]), np.array([0.5, 1]))
    )


# ---- ignored samples ---------------------------------------------------------------------------------------------


@stored
@forms
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ignored_samples_have_no_loss_and_no_gradient_whatever_they_hold(dtype, form, smoothing):
    shape, axis = FORMS[form]
    x, target = random(shape, dtype), indices(shape, axis, ignored=-100)
    batch = np.moveaxis(x, axis, -1)
    target.flat[1] = -100
    options = {"axis": axis, "label_smoothing": smoothing, "weight": weights(shape[axis])}
    clean = {r: softlane.cross_entropy_with_grad(x, target, reduction=r, **options) for r in REDUCTIONS}
    for fill in (np.nan, np.inf, -np.inf, 30000):
        batch[target == -100] = fill
        for reduction, (loss, grad) in clean.items():
            got, got_grad = softlane.cross_entropy_with_grad(x, target, reduction=reduction, **options)
            assert_same_bits(got, loss, f"{fill} {reduction}")
            assert_same_bits(got_grad, grad, f"{fill} {reduction}")
            assert (np.moveaxis(got_grad, axis, -1)[target == -100] == 0).all()
            if reduction == "none":
                assert (got[target == -100] == 0).all()
    for name in ("nll_loss", "log_loss"):
        got = losses(name, made_for(name, x), target, axis=axis)
        assert (got[target == -100] == 0).all()


def test_everything_ignored():
    for x, target in (
        (np.full((3, 4), np.nan), [7, 7, 7]),
        (random((3, 4), np.float32), [7, 7, 7]),
        (random(4, np.float16), 7),
    ):
        for name in (*OVER_CLASSES, WITH_GRAD[0]):
            for reduction, expected in (("mean", np.nan), ("sum", 0), ("none", 0)):
                got = call(name, x, target, ignore_index=7, reduction=reduction)
                if name == WITH_GRAD[0]:
                    got, grad = got
                    assert grad.shape == x.shape and (grad == 0).all()
                assert all_nan(got) if reduction == "mean" else (np.asarray(got) == expected).all()


@over_classes
def test_ignore_index_is_compared_as_a_number(name):
    """-100 in 8 bits is 156, 300 is 44, 2^32 + 1 in 32 bits is 1: these are classes, and count."""
    x = made_for(name, -0.1 - np.abs(random((3, 200), np.float32)))
    for dtype, ignored, value in (
        (np.uint8, -100, 156), (np.uint8, 300, 44), (np.int8, 300, 44), (np.uint16, -65535, 1),
        (np.int32, 2**32 + 1, 1), (np.uint32, -(2**32) + 1, 1), (np.int64, -(2**63), 0), (np.uint64, -100, 100),
    ):  # fmt: skip
        target = np.array([value, 2, 3], dtype)
        expected = losses(name, x, np.array([value, 2, 3]), ignore_index=-1)
        assert expected[0] != 0
        assert_same_bits(losses(name, x, target, ignore_index=ignored), expected, f"{dtype} {ignored}")
    for dtype, ignored in (
        (np.uint8, 255),
        (np.int8, -128),
        (np.int64, 2**62),
        (np.int64, -(2**63)),
        (np.uint32, 2**32 - 1),
    ):
        got = losses(name, x, np.array([ignored, 2, ignored], dtype), ignore_index=ignored)
        assert got[0] == 0 and got[1] != 0 and got[2] == 0
    assert losses(name, x, [5, 2, 3], ignore_index=np.int8(5))[0] == 0
    assert losses(name, x, [0, 2, 3], ignore_index=0)[0] == 0


# ---- special values ----------------------------------------------------------------------------------------------


def special_case(form, dtype):
    """Logits, their view with classes last, indices, and the index of a row with others before and after it."""
    shape, axis = FORMS[form]
    x, target = random(shape, dtype, seed=3), indices(shape, axis, seed=3)
    rows = np.moveaxis(x, axis, -1)
    return x, rows, target, axis, (0,) * (rows.ndim - 2) + (1,)


@stored
@forms
@pytest.mark.parametrize("kind", ["index", "smoothing", "probabilities"])
def test_nan_and_infinite_rows(dtype, form, kind):
    """NaN, +inf or -inf throughout: loss and gradient of the row are NaN, and of no other row."""
    x, rows, target, axis, row = special_case(form, dtype)
    options = {"axis": axis, "reduction": "none", "label_smoothing": 0.1 if kind == "smoothing" else 0}
    if kind == "probabilities":
        target = probabilities(x.shape, axis, dtype)
    clean, clean_grad = softlane.cross_entropy_with_grad(x, target, **options)
    rest = np.ones(clean.shape, bool)
    rest[row] = False
    n = rows.shape[-1]
    before = rows[row].copy()
    for where, value, others in (
        (0, np.nan, before), (n - 1, np.nan, before), (n // 2, np.nan, -np.inf), (0, np.inf, before),
        (n - 1, np.inf, -np.inf), (slice(None), -np.inf, before),
    ):  # fmt: skip
        rows[row] = others
        rows[row][where] = value
        assert all_nan(softlane.cross_entropy(x, target, **options)[row])
        loss, grad = softlane.cross_entropy_with_grad(x, target, **options)
        assert all_nan(loss[row]) and all_nan(np.moveaxis(grad, axis, -1)[row]), (where, value)
        assert_same_bits(loss[rest], clean[rest])
        assert_same_bits(np.moveaxis(grad, axis, -1)[rest], np.moveaxis(clean_grad, axis, -1)[rest])
    for reduction in ("mean", "sum"):
        options["reduction"] = reduction
        assert all_nan(softlane.cross_entropy(x, target, **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("of_0", [0, 1e-310, 1e308, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("others", [0, 1, 1e-310, 1e308])
@pytest.mark.parametrize("n", [2, 5])
def test_a_mean_with_weights_of_any_size(n, others, of_0, dtype):
    """What it divides by may be infinite, NaN, or so small that its inverse overflows; NaN is the canonical one."""
    x, target = random((40, n), dtype, seed=3) / 4, np.arange(40) % n
    if np.isfinite(of_0):
        target[target == 0] = -100  # its size would be lost beside the others
    with np.errstate(over="ignore"):
        weight = np.array([of_0, *[others] * (n - 1)]).astype(dtype)
    for options in ({}, {"sample_weight": np.linspace(0.1, 1, 40)}, {"temperature": 1.5}):
        options |= {"weight": weight}
        loss, grad = softlane.cross_entropy_with_grad(x, target, **options)
        with np.errstate(invalid="ignore"):
            expected = ref.cross_entropy_with_grad(x, target, **options)
        for got, exact in zip((loss, grad), expected, strict=True):
            np.testing.assert_allclose(got, exact, rtol=1e-5 if dtype == np.float32 else 1e-12)
            assert all_nan(np.asarray(got)[np.isnan(got)])
        assert_same_bits(loss, softlane.cross_entropy(x, target, **options))
        assert_same_bits(softlane.cross_entropy_with_grad(np.asfortranarray(x), target, **options)[1], grad)


@pytest.mark.parametrize("unused", [1, np.inf, np.nan])
def test_a_mean_with_a_weight_that_no_target_has(unused):
    x, target = random((40, 3), np.float64, seed=3) / 4, np.arange(40) % 2
    expected = softlane.cross_entropy_with_grad(x, target)
    for got, plain in zip(
        softlane.cross_entropy_with_grad(x, target, weight=[1e308, 1e308, unused]), expected, strict=True
    ):
        np.testing.assert_allclose(got, plain, rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (np.float32, {"sample_weight": 1e39}),
        (np.float32, {"sample_weight": 1e39, "label_smoothing": 0.1}),
        (np.float64, {"weight": "largest", "temperature": 0.5}),
    ],
)
@pytest.mark.parametrize("n", [2, 3, 40])
def test_a_gradient_whose_scale_overflows_is_the_canonical_nan(n, dtype, options):
    if "weight" in options:
        options = {**options, "weight": np.full(n, 1.7e308)}
    grad = softlane.cross_entropy_with_grad(np.zeros((5, n), dtype), [0, 1, -100, 1, 0], reduction="sum", **options)[1]
    assert all_nan(grad[[0, 1, 3, 4]])
    assert (grad[2] == 0).all()


@stored
@forms
def test_a_target_of_probability_0(dtype, form):
    """An infinite loss, and a gradient of -1 there. A coefficient of 0 hides it: the weight's, or that of the class."""
    x, rows, target, axis, row = special_case(form, dtype)
    n, t = rows.shape[-1], 2
    target[row] = t
    rows[row][t] = -np.inf
    loss, grad = losses("cross_entropy_with_grad", x, target, axis=axis)
    p = np.moveaxis(softlane.softmax(x, axis), axis, -1)[row].astype(np.float64)
    got = np.moveaxis(grad, axis, -1)[row].astype(np.float64)
    assert loss[row] == np.inf and losses("cross_entropy", x, target, axis=axis)[row] == np.inf
    assert got[t] == -1
    p[t] = -1
    np.testing.assert_allclose(got, p, rtol=5 * eps(dtype), atol=1e-37 if dtype != np.float16 else 2.0**-24)
    assert softlane.cross_entropy(x, target, axis=axis) == np.inf
    w = weights(n, dtype)
    w[t] = 0
    loss, grad = losses("cross_entropy_with_grad", x, target, axis=axis, weight=w)
    assert loss[row] == 0 and (np.moveaxis(grad, axis, -1)[row] == 0).all()
    smooth = {"axis": axis, "reduction": "none", "label_smoothing": 0.1}
    assert softlane.cross_entropy(x, target, **smooth)[row] == np.inf
    assert softlane.cross_entropy(x, target, weight=w, **smooth)[row] < np.inf  # neither the target nor the mean
    one_hot = np.moveaxis(np.arange(n) == target[..., None], -1, axis)
    assert losses("cross_entropy", x, one_hot, axis=axis)[row] == np.inf
    target[row] = 0
    one_hot = np.moveaxis(np.arange(n) == target[..., None], -1, axis)
    for y in (one_hot, one_hot.astype(dtype), probabilities(x.shape, axis, dtype)):
        np.moveaxis(y, axis, -1)[(*row, t)] = 0
        loss, grad = losses("cross_entropy_with_grad", x, y, axis=axis)
        exact = ref.exact_cross_entropy(x, y, axis=axis, reduction="none")
        assert_loss(loss, exact, SUM_OF_TERMS, x)
        assert np.moveaxis(grad, axis, -1)[(*row, t)] == 0
        assert np.isfinite(softlane.cross_entropy(x, y, axis=axis))


@stored
@forms
def test_lookups_of_special_values(dtype, form):
    """nll_loss and log_loss: only the class of an index is read; 0 times an infinity is 0, times NaN it is not."""
    x, rows, target, axis, row = special_case(form, dtype)
    n = rows.shape[-1]
    y = np.zeros(x.shape, dtype)
    y_rows = np.moveaxis(y, axis, -1)
    for name, none, known in (("nll_loss", -np.inf, -0.25), ("log_loss", 0, 0.25)):
        given = made_for(name, x)
        given_rows = np.moveaxis(given, axis, -1)
        clean = losses(name, given, target, axis=axis)
        given_rows[row] = np.nan
        given_rows[(*row, 1)] = known
        target[row] = 1
        exact = 0.25 if name == "nll_loss" else -np.log(np.longdouble(0.25))
        got = losses(name, given, target, axis=axis)
        assert_within(got[row], exact, ONE_TERM * eps(dtype) * abs(exact))
        target[row] = 0
        got = losses(name, given, target, axis=axis)
        assert all_nan(got[row])
        rest = np.ones(got.shape, bool)
        rest[row] = False
        assert_same_bits(got[rest], clean[rest])
        given_rows[row] = none
        given_rows[(*row, n - 1)] = known
        assert losses(name, given, target, axis=axis)[row] == np.inf
        assert losses(name, given, target, axis=axis, weight=np.arange(n))[row] == 0
        y_rows[...] = 0
        y_rows[..., n - 1] = 1
        assert_within(losses(name, given, y, axis=axis)[row], exact, ONE_TERM * eps(dtype) * abs(exact))
        y_rows[(*row, 0)] = 1
        assert losses(name, given, y, axis=axis)[row] == np.inf
        y_rows[(*row, 0)] = 0
        given_rows[(*row, 0)] = np.nan
        assert all_nan(losses(name, given, y, axis=axis)[row])
    with pytest.raises(ValueError, match=r"probs\[0\] is inf, expected a probability"):
        losses("log_loss", np.array([np.inf, 0.5], dtype), 0)


@floats
def test_the_logarithm_of_every_size(dtype):
    """log_loss of one class is -log(p): subnormal numbers, those next to 1, and 1 itself."""
    tiny, near = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).epsneg
    p = np.concatenate(
        [np.logspace(-44 if dtype == np.float32 else -323, 0, 2000), 1 - near * np.arange(500), tiny * np.arange(1, 50)]
    )
    p = p.astype(dtype)
    zeros = np.zeros(p.size, np.int64)
    exact = ref.exact_log_loss(p[:, None], zeros, reduction="none")
    assert_loss(losses("log_loss", p[:, None], zeros), exact, ONE_TERM, p)
    assert_loss(losses("binary_cross_entropy", p, 1), exact, BINARY_TERMS, p)
    p = p[p < 1]
    exact = -np.log1p(-p.astype(np.longdouble))
    assert_within(losses("binary_cross_entropy", p, 0), exact, BINARY_TERMS * eps(dtype) * exact)


def test_nan_targets_and_weights():
    x, target = random((4, 5), np.float32), np.array([0, 1, 2, 1])
    w = np.ones(5, np.float32)
    w[1] = np.nan
    y = probabilities((4, 5), 1)
    y[2, 3] = np.nan
    for given in ({"target": target, "weight": w}, {"target": y}):
        loss, grad = losses("cross_entropy_with_grad", x, **given)
        bad = [False, True, False, True] if "weight" in given else [False, False, True, False]
        assert (np.isnan(loss) == bad).all() and all_nan(loss[bad]) and all_nan(grad[bad])
        assert np.isfinite(grad[~np.array(bad)]).all()
        assert all_nan(softlane.cross_entropy(x, **given))
    for given in ({"target": y}, {"target": 1, "weight": y}, {"target": 1, "pos_weight": y}):
        loss, grad = losses("binary_cross_entropy_with_logits_with_grad", x, **given)
        assert (np.isnan(loss) == np.isnan(y)).all() and all_nan(loss[2, 3])
        assert (np.isnan(grad) == np.isnan(y)).all() and all_nan(grad[2, 3])


def test_a_mean_over_weights_of_0_is_nan():
    """As in PyTorch, label smoothing or not: 0 / 0, although smoothing leaves a numerator."""
    for smoothing in (0.0, 0.1):
        loss, grad = softlane.cross_entropy_with_grad(
            X[:1], [0], weight=[0] + [1] * (X.shape[1] - 1), label_smoothing=smoothing
        )
        assert np.isnan(loss) and np.isnan(grad).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_target_of_weight_0_takes_nothing_from_the_row_before(value):
    """A row of several blocks, after one whose target is no number."""
    x = np.zeros((2, 9000), np.float32)
    x[0, 5] = value
    weight = np.ones(9000)
    weight[7] = 0
    losses, grad = softlane.cross_entropy_with_grad(x, [5, 7], weight=weight, reduction="none")
    assert np.isnan(losses[0]) and losses[1] == 0 and (grad[1] == 0).all()


# ---- grad_out ----------------------------------------------------------------------------------------------------


@floats
def test_targets_and_weights_with_strides_of_0(dtype):
    for n in (10, 100, 5000):
        x = random((7, n), dtype)
        target, w = np.broadcast_to(np.int64(3), 7), np.broadcast_to(dtype.type(0.3), n)
        got = losses(WITH_GRAD[0], x, target, weight=w)
        expected = losses(WITH_GRAD[0], x, target.copy(), weight=w.copy())
        for a, b in zip(got, expected, strict=True):
            assert_same_bits(a, b)
        probs = made_for("log_loss", x)
        assert_same_bits(losses("log_loss", probs, target), losses("log_loss", probs, target.copy()))


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float16)], ids=str)
@forms
def test_weights_in_the_memory_of_grad_out(dtype, form):
    shape, axis = FORMS[form]
    x, w = random(shape, dtype), weights(shape[axis], dtype)
    for target in (probabilities(shape, axis, dtype), indices(shape, axis, ignored=-100)):
        options = {"axis": axis, "label_smoothing": 0.1}
        loss, grad = softlane.cross_entropy_with_grad(x, target, weight=w, **options)
        out = np.empty(shape, dtype)
        inside = out.reshape(-1)[: w.size]
        inside[...] = w
        got, filled = softlane.cross_entropy_with_grad(x, target, weight=inside, grad_out=out, **options)
        assert filled is out
        assert_same_bits(got, loss)
        assert_same_bits(out, grad)
    x, y, w = random(shape, dtype), binary_target(shape, dtype), weights(shape, dtype)
    expected = softlane.binary_cross_entropy_with_logits_with_grad(x, y, weight=w, pos_weight=3)
    same = w.copy()
    got = softlane.binary_cross_entropy_with_logits_with_grad(x, y, weight=same, pos_weight=3, grad_out=same)
    assert_same_bits(got[0], expected[0])
    assert_same_bits(same, expected[1])


def test_indices_in_the_memory_of_grad_out():
    x, target = random((8, 5), np.float64), indices((8, 5), 1)
    loss, grad = softlane.cross_entropy_with_grad(x, target)
    for start in (0, 7, 32):
        out = np.empty((8, 5))
        inside = out.view(np.int64).reshape(-1)[start : start + 8]
        inside[...] = target
        got = softlane.cross_entropy_with_grad(x, inside, grad_out=out)
        assert_same_bits(got[0], loss)
        assert_same_bits(out, grad)


# ---- weights of samples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OVER_CLASSES, WITH_GRAD[0]])
@pytest.mark.parametrize("kind", ["index", "ignored", "weighted", "probabilities"])
@stored
def test_weights_of_samples(name, kind, dtype):
    """Losses and gradients of all samples times the weights; the mean divides by their sum."""
    x = made_for(name, random((6, 9, 5), dtype))
    target = indices(x.shape, 1, ignored=-100 if kind == "ignored" else None)
    class_weight = weights(9) if kind == "weighted" else None
    counts = np.where(target == -100, 0, 1.0 if class_weight is None else class_weight.astype(np.float64)[target])
    if kind == "probabilities":
        target, counts = probabilities(x.shape, 1), np.ones((6, 5))
    options = {"axis": 1, "weight": class_weight}
    sample_weight = np.random.default_rng(1).random((6, 5)) * (np.random.default_rng(2).random((6, 5)) < 0.7)
    each = call(name, x, target, reduction="none", dtype=np.float64, **options)
    each, grad = each if name in WITH_GRAD else (each, None)
    for given in (sample_weight, sample_weight.astype(np.float32), sample_weight[:1], 2):
        w = np.broadcast_to(np.asarray(given, np.float64), (6, 5))
        total = (counts * w).sum()
        for reduction, expected in (("none", each * w), ("sum", (each * w).sum()), ("mean", (each * w).sum() / total)):
            got = call(name, x, target, reduction=reduction, sample_weight=given, dtype=np.float64, **options)
            if name in WITH_GRAD:
                got, got_grad = got
                scale = 1 / total if reduction == "mean" else 1
                allowed = 8 * eps(dtype) * w[:, None] * scale + (6e-8 if dtype == np.float16 else 1e-38)
                assert (abs(got_grad - grad * w[:, None] * scale) <= allowed).all()
                assert not np.moveaxis(got_grad, 1, -1)[w == 0].any()
            np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype != np.float64 else 1e-13)


@pytest.mark.parametrize("name", [*OVER_CLASSES, WITH_GRAD[0]])
def test_samples_of_weight_0_may_hold_anything(name):
    x = made_for(name, random((4, 7), np.float32))
    for target in (indices(x.shape, 1), probabilities(x.shape, 1)):
        kept = [0, 2, 3]
        for fill in (np.nan, np.inf, -np.inf, 5):
            x[1] = fill
            got = call(name, x, target, sample_weight=[1, 0, 1, 1])
            expected = call(name, x[kept], target[kept])
            if name in WITH_GRAD:
                assert not got[1][1].any()
                np.testing.assert_allclose(got[1][kept], expected[1], rtol=4 * eps(np.float32))
                got, expected = got[0], expected[0]
            assert_same_bits(got, expected)
    assert all_nan(softlane.cross_entropy(x[kept], [0, 1, 2], sample_weight=[0, 0, 0]))


def test_wrong_weights_of_samples():
    x = np.zeros((4, 7), np.float32)
    for error, words, wrong in [
        (ValueError, r"sample_weight\[1\] is -1.0, expected finite numbers, not negative", [1, -1, 1, 1]),
        (ValueError, r"sample_weight\[0\] is inf", [np.inf, 1, 1, 1]),
        (ValueError, r"sample_weight has shape \(7,\), which does not broadcast to \(4,\)", np.ones(7)),
        (TypeError, "sample_weight has dtype complex128", np.ones(4, complex)),
    ]:
        out = np.full(x.shape, 7, np.float32)
        with pytest.raises(error, match=words):
            softlane.cross_entropy_with_grad(x, [0, 1, 2, 3], sample_weight=wrong, grad_out=out)
        assert (out == 7).all()


@pytest.mark.parametrize("size", [1e-310, 1e-40, 1e-8, 1000, 1e40, 1e308])
@stored
def test_the_size_of_sample_weights_leaves_a_mean_alone(size, dtype):
    x = random((2000, 3), dtype)
    target = indices(x.shape, 1)
    loss, grad = softlane.cross_entropy_with_grad(x, target, sample_weight=np.ones(2000))
    got, got_grad = softlane.cross_entropy_with_grad(x, target, sample_weight=np.full(2000, size))
    assert_same_bits(got, loss)
    assert_same_bits(got_grad, grad)
    plain, plain_grad = softlane.cross_entropy_with_grad(x, target)
    np.testing.assert_allclose(loss, plain, rtol=1e-6)
    close = 4 * eps(dtype) * abs(plain_grad.astype(np.float64)) + (
        2e-7 if dtype == np.float16 else 4 * eps(dtype) / 2000
    )
    assert (abs(grad.astype(np.float64) - plain_grad) <= close).all()


def test_weights_that_are_not_aligned():
    """The sum of the weights of float64, which divides the mean, is read where UBSan looks, too."""
    x, target, weight = random((5, 3), np.float64), np.array([0, 1, 2, 1, 0]), np.array([0.5, 2, 3])
    odd = np.frombuffer(b"\0" + weight.tobytes(), np.uint8)[1:].view(np.float64)
    assert not odd.flags.aligned
    expected = softlane.cross_entropy(x, target, weight=weight)
    assert softlane.cross_entropy(x[:, ::-1][:, ::-1], target, weight=odd) == expected
    assert softlane.cross_entropy(np.asfortranarray(x), target, weight=odd) == expected


@pytest.mark.parametrize("function", [softlane.binary_cross_entropy_with_logits, softlane.binary_cross_entropy])
def test_the_mean_of_binary_losses_does_not_depend_on_the_layout(function):
    """Chunks of another layout end between the blocks whose sums the kernels make."""
    for seed in range(5):
        draw = np.random.default_rng(seed)
        x, target = draw.random((50001, 7)), draw.random((50001, 7))
        assert function(np.asfortranarray(x), np.asfortranarray(target)) == function(x, target)
