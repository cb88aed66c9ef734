"""Values of the losses over classes and their gradients, for every option, against the reference."""

import functools
import itertools
import operator

import mpmath
import numpy as np
import pytest
import reference
import reference_losses as ref
from cases import FORMS, HALVES, HARD, all_nan, assert_same_bits, extreme, hard_rows, random
from loss_cases import (
    BINARY,
    FROM_OUTPUT,
    GRAD_OF_ONE,
    GRAD_OF_SUM,
    ONE_TERM,
    OVER_CLASSES,
    REDUCTIONS,
    SUM_OF_TERMS,
    assert_grad,
    assert_loss,
    assert_within,
    batch_of,
    call,
    eps,
    floats,
    forms,
    grad_allowance,
    hard,
    hard_case,
    indices,
    losses,
    made_for,
    over_classes,
    probabilities,
    stored,
    units_of,
    weights,
)

import softlane

# ---- cross-entropy is within 2 ULP -------------------------------------------------------------------------------

COUNTS = [1, 2, 3, 10, 31, 32, 33, 100, 1000, 5000, 10000]
SHAPES = [(17 if n <= 33 else 2, n, 1) for n in COUNTS]
SHAPES += [(1, n, inner) for n in COUNTS[:9] for inner in (2, 17)]
SHAPES += [(2, n, 3) for n in (1, 2, 10, 33, 1000)] + [(1, 5000, 2), (1, 5000, 3), (1, 5000, 17), (1, 10000, 2)]


@functools.lru_cache(maxsize=2)
def hard_results(make, dtype):
    if not reference.EXACT[dtype]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    found = []
    for shape in SHAPES:
        x, target = hard_case(make, dtype, shape)
        loss, grad = ref.exact_cross_entropy_with_grad(x, target, axis=1, reduction="none")
        found.append((x, target, loss, grad, grad_allowance(x, target, 1, "none")))
    return found


@hard
@floats
def test_cross_entropy_of_hard_rows(make, dtype, largest):
    for x, target, exact, exact_grad, allowance in hard_results(make, dtype):
        form = str(x.shape)
        loss = losses("cross_entropy", x, target, axis=1)
        error = reference.ulp_error(loss, exact).max()
        largest("cross_entropy", dtype, "rows" if x.shape[2] == 1 else "columns", error)
        assert error <= 2, form
        again, grad = losses("cross_entropy_with_grad", x, target, axis=1)
        assert reference.ulp_error(again, exact).max() <= 2, form
        assert_grad(grad, exact_grad, GRAD_OF_ONE, allowance, form)


@pytest.mark.parametrize("weight", [None, np.array([2.762020207975783, 0.6535318213933502])])
def test_label_smoothing_is_within_2_ulp_too(isa, weight):
    """Differences, products and their sums round as well: with all of these roundings float64 was off by up to 2.4."""
    if not reference.EXACT[np.dtype(np.float64)]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    x = np.random.default_rng(0).normal(0, 8, (50_000, 2))
    options = {"weight": weight, "label_smoothing": 0.1, "reduction": "none"}
    target = np.ones(len(x), np.int64)
    loss = softlane.cross_entropy(x, target, **options)
    assert reference.ulp_error(loss, ref.exact_cross_entropy(x, target, **options)).max() <= 2


@pytest.mark.any_isa
@hard
@floats
def test_cross_entropy_against_arbitrary_precision(make, dtype):
    """The same bound with another reference, which holds where longdouble is no better than float64."""
    for n in (1, 2, 3, 40):
        row = hard_rows(make, 1, n, dtype)[0]
        got = losses("cross_entropy", np.tile(row, (n, 1)), np.arange(n))
        for value, log_p in zip(got, reference.mp_rows("log_softmax", row), strict=True):
            if np.isinf(value):
                assert -log_p > np.finfo(dtype).max
            else:
                assert reference.mp_ulp_error(value, -log_p, dtype) <= 2, (n, row, value)


@functools.lru_cache(maxsize=2)
def probability_results(make, dtype):
    """The same for rows of probabilities, some of them one-hot rows of the largest logit."""
    found = []
    for shape in [(5, n, 1) for n in COUNTS[:9]] + [(2, 5000, 1), (1, 10, 17), (1, 100, 3), (1, 4097, 2)]:
        x = hard_case(make, dtype, shape)[0]
        y = probabilities(shape, 1, dtype)
        y[0, :, 0] = np.arange(shape[1]) == x[0, :, 0].argmax()
        for smoothing in (0.0, 0.1):
            options = {"axis": 1, "reduction": "none", "label_smoothing": smoothing}
            exact = ref.exact_cross_entropy_with_grad(x, y, **options)
            found.append((x, y, options, *exact, grad_allowance(x, y, **options)))
    return found


# Not for extreme rows: there x - max overflows, and what a probability below 1 makes of that is nobody's promise.
@pytest.mark.parametrize("make", [make for make in HARD if make is not extreme], ids=lambda make: make.__name__)
@floats
def test_class_probabilities_for_hard_rows(make, dtype):
    """Relative to the loss, however small that is."""
    tiny = np.finfo(dtype).smallest_subnormal  # a term may underflow
    for x, y, options, exact, exact_grad, allowance in probability_results(make, dtype):
        loss, grad = softlane.cross_entropy_with_grad(x, y, **options)
        assert_within(loss, exact, SUM_OF_TERMS * (eps(dtype) * exact + tiny), x.shape)
        assert_grad(grad, exact_grad, GRAD_OF_SUM, allowance, x.shape)
        assert_same_bits(softlane.cross_entropy(x, y, **options), loss)


@pytest.mark.any_isa
@stored
@forms
def test_a_confident_row_is_not_zero(dtype, form):
    """p = 1 - 10^-k: the loss is 10^-k, although log(p) and x - logsumexp are 0 from 10^-8 or 10^-16 on.

    For float16, the mean: it is a float32.
    """
    shape, axis = FORMS[form]
    n = shape[axis]
    compute = np.float64 if dtype == np.float64 else np.float32
    for power in (3, 7, 8, 12, 16, 30) + ((100, 300) if dtype == np.float64 else ()):
        x = np.zeros(shape, dtype)
        target = np.full(batch_of(shape, axis), n // 3)
        np.moveaxis(x, axis, -1)[..., n // 3] = power * np.log(10) + np.log(max(n - 1, 1))
        gap = np.moveaxis(x, axis, -1).reshape(-1, n)[0, n // 3].astype(np.longdouble)
        exact = np.log1p((n - 1) * np.exp(-gap))
        for target_of in (target, np.moveaxis(np.arange(n) == target[..., None], -1, axis)):
            units = ONE_TERM if target_of is target else SUM_OF_TERMS
            for got in (
                softlane.cross_entropy(x, target_of, axis=axis),
                softlane.cross_entropy_with_grad(x, target_of, axis=axis)[0],
            ):
                assert got > 0 and got.dtype == compute
                assert_loss(got, exact, units, target, f"1e-{power}")
        if dtype != np.float16:
            assert (losses("cross_entropy", x, target, axis=axis) > 0).all()


# ---- every option ------------------------------------------------------------------------------------------------

OPTIONS = [
    ("index", 0.0), ("ignored", 0.0), ("inside", 0.0), ("probabilities", 0.0),
    ("index", 0.1), ("ignored", 0.1), ("index", 1.0), ("probabilities", 0.3), ("all", 0.0), ("all", 0.1),
]  # fmt: skip


def target_for(kind, shape, axis, dtype):
    """A target, and the ignore_index that goes with it: the default, outside the classes, or one of them."""
    if kind == "probabilities":
        return probabilities(shape, axis, dtype), -1
    if kind == "all":
        return np.full(batch_of(shape, axis), -100), -100
    target = indices(shape, axis, ignored=-7 if kind == "ignored" else None)
    return target, {"index": -100, "ignored": -7, "inside": int(target.flat[0])}[kind]


def grid(form):
    """Every combination, some of them for the forms in which the reference takes a quarter of a second."""
    shape, _ = FORMS[form]
    if np.prod(shape) > 20_000:
        return itertools.product(OPTIONS[3:8:2], [True], ["mean", "none"])
    return itertools.product(OPTIONS, [False, True], REDUCTIONS)


@functools.lru_cache(maxsize=1)
def grid_results(form, dtype):
    shape, axis = FORMS[form]
    x = random(shape, dtype, seed=2)
    found = []
    for (kind, smoothing), weighted, reduction in grid(form):
        target, ignored = target_for(kind, shape, axis, dtype)
        w = weights(shape[axis], dtype) if weighted else None
        options = {"axis": axis, "weight": w, "ignore_index": ignored, "label_smoothing": smoothing}
        options["reduction"] = reduction
        exact = ref.exact_cross_entropy_with_grad(x, target, **options)
        found.append((x, target, options, *exact, grad_allowance(x, target, **options), (kind, weighted, smoothing)))
    return found


@pytest.mark.any_isa
@floats
@forms
def test_cross_entropy_with_every_option(dtype, form):
    for x, target, options, exact, exact_grad, allowance, note in grid_results(form, dtype):
        one = target.ndim < x.ndim and not options["label_smoothing"]
        loss, grad = softlane.cross_entropy_with_grad(x, target, **options)
        assert loss.dtype == dtype and type(loss) is (np.ndarray if options["reduction"] == "none" else dtype.type)
        assert_loss(loss, exact, ONE_TERM if one else SUM_OF_TERMS, x, note)
        assert grad.dtype == dtype and grad.flags.c_contiguous
        assert_grad(grad, exact_grad, GRAD_OF_ONE if one else GRAD_OF_SUM, allowance, note)
        assert_same_bits(softlane.cross_entropy(x, target, **options), loss, f"{note} without the gradient")


@functools.lru_cache(maxsize=1)
def lookup_results(name, form, dtype):
    shape, axis = FORMS[form]
    x = made_for(name, random(shape, dtype, seed=2))
    found = []
    for kind, weighted, reduction in itertools.product(LOOKUPS, (False, True), REDUCTIONS):
        target, ignored = target_for(kind, shape, axis, dtype)
        w = weights(shape[axis], dtype) if weighted else None
        options = {"axis": axis, "weight": w, "ignore_index": ignored, "reduction": reduction}
        found.append((target, options, getattr(ref, f"exact_{name}")(x, target, **options), (kind, weighted)))
    return x, found


LOOKUPS = ["index", "ignored", "inside", "probabilities", "all"]


@pytest.mark.any_isa
@floats
@forms
@pytest.mark.parametrize("name", ["nll_loss", "log_loss"])
def test_nll_loss_and_log_loss_with_every_option(dtype, form, name):
    x, found = lookup_results(name, form, dtype)
    for target, options, exact, note in found:
        loss = call(name, x, target, **options)
        assert loss.dtype == dtype and type(loss) is (np.ndarray if options["reduction"] == "none" else dtype.type)
        assert_loss(loss, exact, units_of(name, target, x), x, note)


@pytest.mark.any_isa
@stored
@forms
def test_nll_loss_without_weights_only_looks_up(dtype, form):
    shape, axis = FORMS[form]
    x, target = -abs(random(shape, dtype)), indices(shape, axis)
    looked_up = np.take_along_axis(x, np.expand_dims(target, axis), axis).squeeze(axis)
    assert (losses("nll_loss", x, target, axis=axis) == -looked_up).all()


@pytest.mark.any_isa
@over_classes
@floats
def test_one_sample_is_a_scalar(name, dtype):
    x = made_for(name, random(7, dtype))
    target, y, w = np.array(3), probabilities((7,), 0, dtype), weights(7, dtype)
    for t in (target, target[()], 3, np.uint8(3), y):
        for reduction in REDUCTIONS:
            for weight in (None, w):
                got = call(name, x, t, weight=weight, reduction=reduction)
                assert type(got) is dtype.type
                exact = getattr(ref, f"exact_{name}")(x, t, weight=weight, reduction=reduction)
                assert_loss(got, exact, units_of(name, t, x), x, (t, reduction))
    assert call(name, x, -100, reduction="sum") == 0 and all_nan(call(name, x, -100))


@pytest.mark.any_isa
def test_the_number_of_dimensions_decides_and_no_equal_shapes():
    """(5, 5) logits: a target of (5,) is five indices, one of (5, 5) five rows of probabilities, integers too."""
    x = random((5, 5), np.float64)
    index, rows = np.array([1, 0, 2, 4, 3]), np.eye(5, dtype=np.int64)[[1, 0, 2, 4, 3]]
    assert_loss(losses("cross_entropy", x, index), ref.exact_cross_entropy(x, index, reduction="none"), 2, x)
    assert_loss(losses("cross_entropy", x, rows), ref.exact_cross_entropy(x, index, reduction="none"), SUM_OF_TERMS, x)
    x = random((4, 3, 3), np.float64)
    y = np.ones((4, 3, 3))
    assert_loss(
        losses("cross_entropy", x, y[0, :1].repeat(4, 0).astype(int)), -reference.exact_log_softmax(x)[..., 1], 2, x
    )
    assert_loss(losses("cross_entropy", x, y), -reference.exact_log_softmax(x).sum(axis=-1), SUM_OF_TERMS, x)


@pytest.mark.any_isa
@floats
def test_probabilities_need_not_sum_to_one(dtype):
    x = random((6, 9), dtype)
    y = (np.arange(54).reshape(6, 9) % 4).astype(dtype)
    loss, grad = losses("cross_entropy_with_grad", x, y)
    exact, exact_grad = ref.exact_cross_entropy_with_grad(x, y, reduction="none")
    assert_loss(loss, exact, SUM_OF_TERMS, x)
    assert_grad(grad, exact_grad, GRAD_OF_SUM, grad_allowance(x, y, reduction="none"))
    assert (losses("cross_entropy", x, np.zeros_like(x)) == 0).all()


@pytest.mark.any_isa
@floats
def test_weights_and_probabilities_of_any_sign(dtype):
    """Sums that cancel are off by so many eps of the sum of the sizes."""
    x, w = random((6, 9), dtype), weights(9, dtype) - dtype.type(0.5)
    y = random((6, 9), dtype, seed=1)
    for target in (indices((6, 9), 1), y):
        size = -reference.exact_log_softmax(x) * np.abs(w) * (np.abs(y) if target is y else 1)
        exact = ref.exact_cross_entropy(x, target, weight=w, reduction="none")
        assert_within(losses("cross_entropy", x, target, weight=w), exact, SUM_OF_TERMS * eps(dtype) * size.sum(-1))


# ---- reductions --------------------------------------------------------------------------------------------------


@pytest.mark.any_isa
@pytest.mark.parametrize("dtype", [np.dtype(np.float32), *HALVES], ids=str)
def test_reductions_accumulate_in_float64(dtype):
    """300 000 times the same loss: its mean is the loss, to what one loss may be off and one rounding.

    A sum in float32 would be off by some 10^-3, a count in bfloat16 would end at 256.
    """
    many = 300_000
    x, target = np.tile(np.array([0.25, -1.5, 3], dtype), (many, 1)), np.full(many, 1)
    p = np.tile(np.array(0.8, dtype), many)
    one = ref.exact_cross_entropy(x[:1], target[:1])
    wide = np.longdouble(float(p[0]))
    binary, log = -ref.exact_log_sigmoid(wide), -np.log(wide)
    for got, exact in (
        (softlane.cross_entropy(x, target), one),
        (softlane.cross_entropy(x, target, reduction="sum"), one * many),
        (softlane.cross_entropy(x, target, weight=[9, 0.1, 7]), one),
        (softlane.cross_entropy_with_grad(x, target)[0], one),
        (softlane.cross_entropy_with_grad(x, target, reduction="sum")[0], one * many),
        (softlane.nll_loss(x, target), 1.5),
        (softlane.log_loss(p[:, None], 0 * target), log),
        (softlane.binary_cross_entropy(p, 1, reduction="sum"), log * many),
        (softlane.binary_cross_entropy_with_logits(p, 1), binary),
        (softlane.binary_cross_entropy_with_logits_with_grad(p, 1, reduction="sum")[0], binary * many),
    ):
        assert got.dtype == np.float32
        assert_within(got, np.longdouble(exact), ONE_TERM * eps(np.float32) * exact)


@pytest.mark.any_isa
def test_a_sum_over_very_different_losses():
    """2^24 and then 1 many times: float32 would not count the ones."""
    x = np.zeros((5000, 2), np.float32)
    x[:, 0] = -np.log(np.expm1(1))  # a loss of 1
    x[0, 0] = -(2.0**24)
    target = np.zeros(5000, np.int64)
    exact = ref.exact_cross_entropy(x, target, reduction="sum")
    assert exact > 2**24 + 4998
    assert_within(
        softlane.cross_entropy(x, target, reduction="sum"), exact, 1.5 * 2
    )  # 1/2 ULP, which is 2, and the ones


@pytest.mark.any_isa
@floats
def test_an_empty_batch_has_no_mean(dtype):
    for shape, axis in (((0, 3), -1), ((0, 5000), -1), ((2, 5, 0), 1), ((0, 5, 4), 1)):
        x = np.empty(shape, dtype)
        for target in (np.empty(batch_of(shape, axis), np.int64), np.empty(shape, dtype)):
            for name in OVER_CLASSES:
                assert all_nan(call(name, x, target, axis=axis))
                assert call(name, x, target, axis=axis, reduction="sum") == 0
    for name in BINARY:
        assert (
            all_nan(call(name, np.empty((0, 3), dtype), 1.0))
            and call(name, np.empty(0, dtype), 1, reduction="sum") == 0
        )
    for name in FROM_OUTPUT:
        assert call(name, np.empty((3, 0), dtype), np.empty((3, 0), dtype)).shape == (3, 0)


# ---- gradients from an output ------------------------------------------------------------------------------------


@pytest.mark.any_isa
@floats
@forms
@pytest.mark.parametrize("name", FROM_OUTPUT)
def test_gradients_from_an_output(name, dtype, form):
    """y * (g - sum(g * y)) and g - exp(y) * sum(g), in eps of the same with every term positive.

    The lanes add up one after the other, so that a bound of their roundings would grow with the row. 20 is enough for
    all of these rows (observed), with a difference, a product and 2 for exp(y).
    """
    shape, axis = FORMS[form]
    g = random(shape, dtype, seed=1)
    y = getattr(reference, name.removesuffix("_grad"))(random(shape, dtype, seed=2), axis)
    got, exact = call(name, g, y, axis), getattr(ref, f"exact_{name}")(g, y, axis)
    size, p = np.abs(g).astype(np.longdouble), y.astype(np.longdouble)
    if name == "softmax_grad":
        size = p * (size + (size * p).sum(axis=axis, keepdims=True))
    else:
        size = size + np.exp(p) * size.sum(axis=axis, keepdims=True)
    assert got.dtype == dtype and got.flags.c_contiguous
    assert_within(got, exact, 20 * eps(dtype) * size + 4 * np.finfo(dtype).smallest_subnormal)
    wide = np.asarray(got, np.float64).sum(axis=axis)  # both sum to 0 up to what is lost of each
    lost = 20 * eps(dtype) * size.sum(axis=axis)
    if name == "softmax_grad":  # and to sum(g * y) * (1 - sum(y)), y being rounded
        lost = lost + np.abs(1 - p.sum(axis=axis)) * np.abs((g * p).sum(axis=axis))
    assert (np.abs(wide) <= lost).all()


@pytest.mark.any_isa
@stored
@forms
@pytest.mark.parametrize("name", FROM_OUTPUT)
def test_gradients_from_an_output_with_special_values(name, dtype, form):
    shape, axis = FORMS[form]
    g, y = random(shape, dtype, seed=1), random(shape, dtype, seed=2)
    y = getattr(softlane, name.removesuffix("_grad"))(y, axis)
    clean = np.moveaxis(call(name, g, y, axis), axis, -1)
    row = (0,) * (clean.ndim - 2) + (1,)
    rest = np.ones(clean.shape[:-1], bool)
    rest[row] = False
    for broken, where in (
        (g, 2),
        (y, 2 if name == "softmax_grad" else slice(None)),
    ):  # log_softmax has whole rows of it
        kept = broken.copy()
        np.moveaxis(broken, axis, -1)[row][where] = np.nan
        got = np.moveaxis(call(name, g, y, axis), axis, -1)
        assert all_nan(got[row])
        assert_same_bits(got[rest], clean[rest])
        broken[...] = kept
    masked = np.moveaxis(y, axis, -1)
    masked[row][::2] = -np.inf if name == "log_softmax_grad" else 0
    got = np.moveaxis(call(name, g, y, axis), axis, -1)[row][::2]
    given = np.moveaxis(g, axis, -1)[row][::2]
    assert (got == (given if name == "log_softmax_grad" else 0)).all()


@floats
@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_from_an_output_where_the_sum_cancels(dtype, axis):
    """float64 sums of 100,000 terms lose hundreds of ULP of what is left; bound: 3 ULP of the larger term."""
    half = random((20, 50_000), dtype)
    g = np.concatenate([half, np.dtype(dtype).type(1e-3) - half], axis=1)
    y = softlane.log_softmax(random(g.shape, dtype) * 6)
    got = softlane.log_softmax_grad(*(np.ascontiguousarray(a if axis else a.T) for a in (g, y)), axis=axis)
    got = got if axis else got.T
    p = softlane.softmax_grad(*(np.ascontiguousarray(a if axis else a.T) for a in (g, np.exp(y))), axis=axis)
    p = p if axis else p.T
    exp_y = np.exp(y)
    with mpmath.workprec(300):
        exact = [[mpmath.mpf(float(v)) for v in array[0]] for array in (g, exp_y)]
        total, products = mpmath.fsum(exact[0]), mpmath.fsum(map(operator.mul, *exact))
        for k in (0, int(y[0].argmax()), -1):
            a, b = exact[0][k], mpmath.exp(mpmath.mpf(float(y[0, k]))) * total
            assert abs(float(got[0, k]) - (a - b)) <= 3 * eps(dtype) * max(abs(a), abs(b))
            right = exact[1][k] * (a - products)
            assert abs(float(p[0, k]) - right) <= 2 * eps(dtype) * abs(right)


def test_a_gradient_from_log_probabilities_of_subnormal_probabilities():
    """exp(y) is below the smallest normal float32, its product with the sum is not."""
    for dtype, logs, total in (
        (np.float32, [-95.0, -101.5, -103.0], 1e6),
        (np.float64, [-709.0, -735.0, -743.0], 1e18),
    ):
        y, g = np.array([[*logs, 0.0]], dtype), np.array([[0, 0, 0, total]], dtype)
        got = softlane.log_softmax_grad(g, y)[0]
        with mpmath.workprec(300):
            for log, result in zip(logs, got, strict=False):
                exact = -mpmath.exp(log) * int(total)
                assert abs(float(result) - exact) <= 3 * eps(dtype) * abs(exact)
        assert got[3] == 0


@pytest.mark.any_isa
def test_gradients_from_an_output_without_dimensions():
    assert softlane.softmax_grad(3.0, 1.0) == 0 and type(softlane.softmax_grad(3.0, 1.0)) is np.float64
    assert softlane.log_softmax_grad(np.float32(3), np.float32(0)) == 0
    assert softlane.softmax_grad([1.0, 0.0], [0.5, 0.5]).tolist() == [0.25, -0.25]


@pytest.mark.any_isa
@forms
@floats
def test_the_gradient_of_a_confident_row_is_exact(dtype, form):
    """p - 1 of the target, also where the target is given as a distribution; between gaps and rounding, everywhere."""
    shape, axis = FORMS[form]
    n = shape[axis]
    for gap in (0.5, 3, 6.5, 7.3, 9.5853, 14.5, 27.6, 60):
        x = np.zeros(shape, dtype)
        rows = np.moveaxis(x, axis, -1)
        rows[..., n // 3] = gap
        others = (n - 1) * np.exp(-rows[(0,) * (rows.ndim - 1)][n // 3].astype(np.longdouble))
        one_hot = np.zeros(shape, dtype)
        np.moveaxis(one_hot, axis, -1)[..., n // 3] = 1
        classes = np.full(batch_of(shape, axis), n // 3)
        for target in (classes, one_hot, one_hot.astype(bool)):
            _, grad = softlane.cross_entropy_with_grad(x, target, axis=axis, reduction="sum")
            got = np.moveaxis(grad, axis, -1)[..., n // 3].astype(np.longdouble)
            assert np.abs(got / (-others / (1 + others)) - 1).max() <= 4 * np.finfo(dtype).eps, (gap, target.dtype)
            same = x.copy()  # the logits are read again
            softlane.cross_entropy_with_grad(same, target, axis=axis, reduction="sum", grad_out=same)
            assert_same_bits(same, grad, "in place")


@pytest.mark.any_isa
@floats
@pytest.mark.parametrize("n", [48, 64, 4096])
def test_a_gradient_in_place_of_confident_rows_of_whole_vectors(dtype, n):
    """Their exponentials would fit into y, but y is x, which a confident row reads again."""
    x = random((19, n), dtype, seed=4)
    x[::2, n // 3] += 60
    target = np.full(19, n // 3)
    loss, grad = softlane.cross_entropy_with_grad(x, target)
    loss_in_place, _ = softlane.cross_entropy_with_grad(x, target, grad_out=x)
    assert_same_bits(loss_in_place, loss, "loss")
    assert_same_bits(x, grad, "gradient")
