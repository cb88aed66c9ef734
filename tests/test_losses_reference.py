"""The reference of the losses against PyTorch in float64, finite differences, arbitrary precision and known values.

test_losses.py measures softlane with this reference, so it has to be right on its own. Nothing here calls softlane but
one comparison with PyTorch.
"""

import itertools

import mpmath
import numpy as np
import pytest
import reference
import reference_losses as ref
from cases import FLOATS, HARD, hard_rows

import softlane

pytestmark = pytest.mark.any_isa

F64 = np.dtype(np.float64)

# Both sides carry rounding errors of some 1e-16 per operation, on numbers of about 1 with some tens of terms.
CLOSE = {"rtol": 1e-12, "atol": 1e-13}

REDUCTIONS = ["mean", "sum", "none"]
SHAPES = [(5,), (7, 5), (4, 5, 3), (2, 5, 3, 4), (6, 1), (3, 2, 2)]  # the classes are axis 1, or 0 of the first


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def functional(torch):
    return torch.nn.functional


def sample(shape, kind, seed=0):
    """logits, target and an ignore_index; some targets are ignored, all of them, or none."""
    rng = np.random.default_rng([seed, *shape])
    axis = min(1, len(shape) - 1)
    x = rng.standard_normal(shape) * 3
    if kind == "probabilities":
        y = rng.random(shape)
        return x, y / y.sum(axis=axis, keepdims=True), -100
    batch = shape[:axis] + shape[axis + 1 :]
    target = np.asarray(rng.integers(shape[axis], size=batch))
    if kind == "some outside":
        return x, np.where(rng.random(batch) < 0.3, -7, target), -7
    if kind == "all":
        return x, np.full(batch, 0), 0
    return x, target, -100 if kind == "none" else int(target.flat[0])


def differentiate(torch, loss_of, *arrays):
    """A loss, and the gradient of its sum in the first array."""
    first, *others = (torch.tensor(a, dtype=torch.float64 if a.dtype.kind == "f" else torch.int64) for a in arrays)
    first.requires_grad_()
    loss = loss_of(first, *others)
    loss.sum().backward()
    return loss.detach().numpy(), first.grad.numpy()


# ---- cross-entropy against PyTorch -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["none", "some outside", "some inside", "all", "probabilities"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_that_of_pytorch(torch, functional, shape, kind, smoothing):
    x, target, ignored = sample(shape, kind)
    axis = min(1, len(shape) - 1)
    weights = np.random.default_rng(1).random(shape[axis]) + 0.1
    for reduction, weight in itertools.product(REDUCTIONS, [None, weights]):
        options = {"ignore_index": ignored, "label_smoothing": smoothing, "reduction": reduction}
        loss, grad = differentiate(
            torch,
            lambda x, y, w=weight, o=options: functional.cross_entropy(
                x, y, weight=None if w is None else torch.tensor(w), **o
            ),
            x,
            target,
        )
        got, got_grad = ref.cross_entropy_with_grad(x, target, axis=axis, weight=weight, **options)
        assert got.dtype == F64 and got.shape == loss.shape and got_grad.shape == grad.shape
        np.testing.assert_allclose(got, loss, **CLOSE)
        np.testing.assert_allclose(got_grad, grad, **CLOSE)
        np.testing.assert_array_equal(ref.cross_entropy(x, target, axis=axis, weight=weight, **options), got)


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
@pytest.mark.parametrize("kind", ["none", "some outside", "probabilities"])
@pytest.mark.parametrize("options", ["", "where", "temperature", "where temperature sample_weight"], ids=str)
def test_masks_temperatures_and_weights_of_samples_by_pytorch(torch, functional, shape, kind, options):
    """It has none of them: logits are divided and set to -inf before, losses multiplied afterwards."""
    x, target, ignored = sample(shape, kind)
    axis = min(1, len(shape) - 1)
    batch = shape[:axis] + shape[axis + 1 :]
    rng = np.random.default_rng(2)
    mask, t, w = rng.random(shape) < 0.7, rng.uniform(0.3, 3, batch), rng.random(batch) * (rng.random(batch) < 0.8)
    np.moveaxis(mask, axis, 0)[-1] = True  # no row is hidden
    given = {"where": mask, "temperature": t, "sample_weight": w}
    given = {name: given[name] for name in options.split()}
    if "where" in options:
        if kind == "probabilities":
            target = np.where(mask, target, 0)
        else:
            np.put_along_axis(mask, np.expand_dims(np.where(target < 0, 0, target), axis), True, axis)

    def loss_of(x, y):
        if "temperature" in options:
            x = x / torch.tensor(np.expand_dims(t, axis))
        if "where" in options:
            x = x.masked_fill(~torch.tensor(mask), -torch.inf)
        if y.dtype != torch.float64:
            found = functional.cross_entropy(x, y, ignore_index=ignored, reduction="none")
        else:  # it has NaN for 0 times infinity
            log_p = torch.log_softmax(x, axis)
            found = -(y * (log_p.masked_fill(~torch.tensor(mask), 0) if "where" in options else log_p)).sum(axis)
        return found * torch.tensor(w) if "sample_weight" in options else found

    loss, grad = differentiate(torch, loss_of, x, target)
    for f in (ref.cross_entropy_with_grad, softlane.cross_entropy_with_grad):
        got, got_grad = f(x, target, axis=axis, ignore_index=ignored, reduction="none", **given)
        np.testing.assert_allclose(got, loss, **CLOSE)
        np.testing.assert_allclose(got_grad, grad, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("kind", ["none", "some outside", "some inside", "all"])
def test_nll_loss_and_log_loss_are_those_of_pytorch(torch, functional, shape, kind):
    x, target, ignored = sample(shape, kind)
    p = reference.softmax(x, axis=1)
    weights = np.random.default_rng(2).random(shape[1]) + 0.1
    for reduction, weight in itertools.product(REDUCTIONS, [None, weights]):
        options = {"ignore_index": ignored, "reduction": reduction}
        expected = functional.nll_loss(
            torch.tensor(np.log(p)),
            torch.tensor(target),
            weight=None if weight is None else torch.tensor(weight),
            **options,
        ).numpy()
        for got in (
            ref.nll_loss(np.log(p), target, axis=1, weight=weight, **options),
            ref.log_loss(p, target, axis=1, weight=weight, **options),
        ):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, **CLOSE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nll_loss_and_log_loss_of_probabilities(torch, functional, shape):
    """PyTorch has these for logits only, and log(p) are logits."""
    x, target, _ = sample(shape, "probabilities")
    axis = min(1, len(shape) - 1)
    p = reference.softmax(x, axis=axis)
    weights = np.random.default_rng(3).random(shape[axis]) + 0.1
    for reduction, weight in itertools.product(REDUCTIONS, [None, weights]):
        expected = functional.cross_entropy(
            torch.tensor(np.log(p)), torch.tensor(target),
            weight=None if weight is None else torch.tensor(weight), reduction=reduction,
        ).numpy()  # fmt: skip
        options = {"axis": axis, "weight": weight, "reduction": reduction}
        np.testing.assert_allclose(ref.nll_loss(np.log(p), target, **options), expected, **CLOSE)
        np.testing.assert_allclose(ref.log_loss(p, target, **options), expected, **CLOSE)


def test_special_values_are_those_of_pytorch(torch, functional):
    """Where the two shall agree: NaN, infinite logits, no samples, weights that sum to 0, an infinite loss."""
    x = np.random.default_rng(4).standard_normal((6, 4))
    x[1, 2], x[2, 0], x[3], x[4, 1] = np.nan, np.inf, -np.inf, -np.inf
    target = np.array([0, 1, 1, 1, 1, 2])
    for reduction in REDUCTIONS:
        loss, grad = differentiate(
            torch, lambda x, y, r=reduction: functional.cross_entropy(x, y, reduction=r), x, target
        )
        got, got_grad = ref.cross_entropy_with_grad(x, target, reduction=reduction)
        np.testing.assert_allclose(got, loss, **CLOSE)
        np.testing.assert_allclose(got_grad, grad, **CLOSE)
    assert loss[4] == np.inf
    for reduction, shape in itertools.product(REDUCTIONS, [(0, 4), (3, 4)]):
        x, target = np.zeros(shape), np.zeros(shape[0], np.int64)
        for weight in (np.zeros(4), np.ones(4)):
            loss, grad = differentiate(
                torch,
                lambda x, y, w=weight, r=reduction: functional.cross_entropy(x, y, weight=torch.tensor(w), reduction=r),
                x,
                target,
            )
            got, got_grad = ref.cross_entropy_with_grad(x, target, weight=weight, reduction=reduction)
            np.testing.assert_allclose(got, loss, **CLOSE)
            np.testing.assert_allclose(got_grad, grad, **CLOSE)


def test_where_pytorch_is_left_on_purpose():
    """It has NaN for all of these: 0 * inf, and the gradient of an ignored row that holds a NaN."""
    x = np.array([[0.0, np.nan, 1.0], [0.0, -np.inf, 1.0], [2.0, 1.0, 0.0]])
    loss, grad = ref.cross_entropy_with_grad(x, [-100, 1, 0], weight=[1.0, 0, 1], reduction="none")
    assert (loss[:2] == 0).all() and loss[2] > 0 and (grad[0] == 0).all()
    one_hot = np.array([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]])
    loss = ref.cross_entropy(x, one_hot, reduction="none")
    assert np.isnan(loss[0])
    np.testing.assert_allclose(loss[1], np.log1p(np.exp(-1)))
    np.testing.assert_array_equal(
        ref.log_loss([[0.0, 1.0], [0.0, 1.0]], [[0, 1], [1, 0]], reduction="none"), [0, np.inf]
    )
    np.testing.assert_array_equal(ref.nll_loss([[-np.inf, 0.0]], [[0, 1]], reduction="none"), [0])
    x = [np.inf, -np.inf, -np.inf, np.inf]
    loss, grad = ref.binary_cross_entropy_with_logits_with_grad(x, [1, 0, 1, 0], reduction="none")
    np.testing.assert_array_equal(loss, [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(grad, [0, 0, -1, 1])
    np.testing.assert_array_equal(ref.binary_cross_entropy([0.0, 1.0, 0.0, 1.0], [0, 1, 1, 0], reduction="none"), loss)


def test_the_class_axis_is_axis():
    x, target, ignored = sample((2, 5, 3, 4), "some outside")
    probabilities = sample((2, 5, 3, 4), "probabilities")[1]
    for axis in range(-4, 4):
        at = np.moveaxis(x, 1, axis)
        loss, grad = ref.cross_entropy_with_grad(x, target, axis=1, ignore_index=ignored, label_smoothing=0.1)
        moved, moved_grad = ref.cross_entropy_with_grad(
            at, target, axis=axis, ignore_index=ignored, label_smoothing=0.1
        )
        np.testing.assert_array_equal(moved, loss)
        np.testing.assert_array_equal(np.moveaxis(moved_grad, axis, 1), grad)
        loss, grad = ref.cross_entropy_with_grad(x, probabilities, axis=1, reduction="none")
        moved, moved_grad = ref.cross_entropy_with_grad(
            at, np.moveaxis(probabilities, 1, axis), axis=axis, reduction="none"
        )
        np.testing.assert_array_equal(moved, loss)
        np.testing.assert_array_equal(np.moveaxis(moved_grad, axis, 1), grad)
    last = np.moveaxis(x, 1, -1)
    assert ref.cross_entropy(last, target, ignore_index=ignored) == ref.cross_entropy(
        x, target, axis=1, ignore_index=ignored
    )


# ---- binary cross-entropy and sigmoids against PyTorch -----------------------------------------------------------

PARTS = [None, (), (3,), (4, 1), (1, 3), (4, 3), (2, 1, 3), (2, 4, 3)]


@pytest.mark.parametrize("weight_shape", PARTS, ids=str)
@pytest.mark.parametrize("pos_weight_shape", PARTS, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_with_logits_is_that_of_pytorch(
    torch, functional, weight_shape, pos_weight_shape, reduction
):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 4, 3)) * 4, rng.random((2, 4, 3))
    y[0] = y[0] > 0.5
    parts = {"weight": weight_shape, "pos_weight": pos_weight_shape}
    parts = {name: np.asarray(rng.random(shape)) + 0.1 for name, shape in parts.items() if shape is not None}
    loss, grad = differentiate(
        torch,
        lambda x, y: functional.binary_cross_entropy_with_logits(
            x, y, reduction=reduction, **{name: torch.tensor(part) for name, part in parts.items()}
        ),
        x,
        y,
    )
    got, got_grad = ref.binary_cross_entropy_with_logits_with_grad(x, y, reduction=reduction, **parts)
    assert got.shape == loss.shape and got_grad.shape == grad.shape
    np.testing.assert_allclose(got, loss, **CLOSE)
    np.testing.assert_allclose(got_grad, grad, **CLOSE)
    np.testing.assert_array_equal(ref.binary_cross_entropy_with_logits(x, y, reduction=reduction, **parts), got)


@pytest.mark.parametrize("weight_shape", PARTS, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_is_that_of_pytorch(torch, functional, weight_shape, reduction):
    rng = np.random.default_rng(6)
    p, y = rng.uniform(1e-6, 1 - 1e-6, (2, 4, 3)), rng.random((2, 4, 3))
    weight = None if weight_shape is None else np.asarray(rng.random(weight_shape)) + 0.1
    got = ref.binary_cross_entropy(p, y, weight=weight, reduction=reduction)
    expected = functional.binary_cross_entropy(
        torch.tensor(p), torch.tensor(y), weight=None if weight is None else torch.tensor(weight), reduction=reduction
    ).numpy()
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, **CLOSE)
    assert (
        np.isnan(ref.binary_cross_entropy(p[:0], y[:0]))
        and ref.binary_cross_entropy(p[:0], y[:0], reduction="sum") == 0
    )


@pytest.mark.parametrize("weight_shape", PARTS, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_of_probabilities_are_those_of_pytorch(torch, functional, weight_shape, reduction):
    rng = np.random.default_rng(12)
    p, y = rng.uniform(1e-3, 1 - 1e-3, (2, 4, 3)), rng.random((2, 4, 3))
    y[0] = y[0] > 0.5
    weight = None if weight_shape is None else np.asarray(rng.random(weight_shape)) + 0.1
    given = None if weight is None else torch.tensor(weight)
    loss, grad = differentiate(
        torch, lambda p, y: functional.binary_cross_entropy(p, y, weight=given, reduction=reduction), p, y
    )
    got, got_grad = ref.binary_cross_entropy_with_grad(p, y, weight=weight, reduction=reduction)
    assert got.shape == loss.shape and got_grad.shape == grad.shape
    np.testing.assert_allclose(got, loss, **CLOSE)
    np.testing.assert_allclose(got_grad, grad, **CLOSE)


@pytest.mark.parametrize("t_shape", PARTS[1:], ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_with_a_temperature_is_that_of_pytorch(torch, functional, t_shape, reduction):
    rng = np.random.default_rng(13)
    x, y, t = rng.standard_normal((2, 4, 3)) * 4, rng.random((2, 4, 3)), np.asarray(rng.uniform(0.2, 4, t_shape))
    loss, grad = differentiate(
        torch,
        lambda x, y: functional.binary_cross_entropy_with_logits(x / torch.tensor(t), y, reduction=reduction),
        x,
        y,
    )
    got, got_grad = ref.binary_cross_entropy_with_logits_with_grad(x, y, temperature=t, reduction=reduction)
    np.testing.assert_allclose(got, loss, **CLOSE)
    np.testing.assert_allclose(got_grad, grad, **CLOSE)
    np.testing.assert_allclose(ref.sigmoid(x, t), torch.sigmoid(torch.tensor(x) / torch.tensor(t)).numpy(), **CLOSE)


def test_sigmoid_grad_is_that_of_pytorch(torch):
    rng = np.random.default_rng(14)
    x, g = rng.standard_normal((2, 500)) * 3
    a = torch.tensor(x, requires_grad=True)
    y = torch.sigmoid(a)
    y.backward(torch.tensor(g))
    np.testing.assert_allclose(ref.sigmoid_grad(g, y.detach().numpy()), a.grad.numpy(), **CLOSE)


def test_sigmoids_are_those_of_pytorch(torch, functional):
    x = np.concatenate([np.linspace(-800, 800, 3001), np.random.default_rng(7).standard_normal(500)])
    np.testing.assert_allclose(ref.sigmoid(x), torch.sigmoid(torch.tensor(x)).numpy(), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(
        ref.log_sigmoid(x), functional.logsigmoid(torch.tensor(x)).numpy(), rtol=1e-14, atol=1e-300
    )


# ---- gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_from_an_output_are_those_of_pytorch(torch, shape):
    rng = np.random.default_rng(8)
    for axis in range(-len(shape), len(shape)):
        x, g = torch.tensor(rng.standard_normal(shape) * 3, requires_grad=True), rng.standard_normal(shape)
        for function, gradient in (("softmax", ref.softmax_grad), ("log_softmax", ref.log_softmax_grad)):
            y = getattr(torch, function)(x, axis)
            (expected,) = torch.autograd.grad(y, x, torch.tensor(g))
            np.testing.assert_allclose(gradient(g, y.detach().numpy(), axis), expected.numpy(), **CLOSE)


def difference_quotients(loss_of, x, step=2.0**-17):
    """Central differences, exact in their arguments: x is on a grid that step divides."""
    slopes = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        slopes[i] = (loss_of(up) - loss_of(down)) / (2 * step)
    return slopes


# step^2 times a third derivative of at most about 1, and 1e-16 / step where a longdouble is no better than float64
DIFFERENCES = {"rtol": 0, "atol": 1e-9}


@pytest.mark.parametrize("shape", SHAPES[1:4], ids=str)
@pytest.mark.parametrize("kind", ["none", "some outside", "some inside", "probabilities"])
def test_cross_entropy_gradient_by_finite_differences(shape, kind):
    x, target, ignored = sample(shape, kind, seed=1)
    x = np.round(x * 1024) / 1024
    axis = 1
    for weight, smoothing, reduction in itertools.product((None, np.linspace(0.2, 1.3, 5)), (0, 0.2), ("mean", "sum")):
        options = {"axis": axis, "weight": weight, "ignore_index": ignored, "label_smoothing": smoothing}
        options["reduction"] = reduction
        slopes = difference_quotients(lambda x, o=options: ref.exact_cross_entropy(x, target, **o), x)
        np.testing.assert_allclose(ref.cross_entropy_with_grad(x, target, **options)[1], slopes, **DIFFERENCES)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_binary_cross_entropy_gradient_by_finite_differences(reduction):
    rng = np.random.default_rng(9)
    x = np.round(rng.standard_normal((4, 3)) * 3 * 1024) / 1024
    options = {"weight": rng.random(3), "pos_weight": rng.random((4, 1)) + 0.5, "reduction": reduction}
    y = rng.random((4, 3))
    slopes = difference_quotients(lambda x: ref.exact_binary_cross_entropy_with_logits(x, y, **options), x)
    got = ref.binary_cross_entropy_with_logits_with_grad(x, y, **options)[1]
    np.testing.assert_allclose(got, slopes, **DIFFERENCES)


def test_gradients_from_an_output_by_finite_differences():
    rng = np.random.default_rng(10)
    x = np.round(rng.standard_normal((2, 4, 3)) * 1024) / 1024
    g = rng.standard_normal(x.shape)
    for function, gradient in (
        (reference.exact_softmax, ref.softmax_grad),
        (reference.exact_log_softmax, ref.log_softmax_grad),
    ):
        slopes = difference_quotients(lambda x, f=function: (g * f(x, 1)).sum(), x)
        np.testing.assert_allclose(gradient(g, function(x, 1).astype(np.float64), 1), slopes, **DIFFERENCES)


# ---- arbitrary precision, known values ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_cross_entropy_is_within_a_hundredth_of_an_ulp(make, dtype):
    if not reference.EXACT[dtype]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    for n in (1, 2, 3, 40):
        row = hard_rows(make, 1, n, dtype)[0]
        found = ref.exact_cross_entropy(np.tile(row, (n, 1)), np.arange(n), reduction="none")
        for value, one, log_p in zip(
            found, reference.ulp(found, dtype), reference.mp_rows("log_softmax", row), strict=True
        ):
            with mpmath.workprec(600):
                assert abs(reference.mp_of(value) + log_p) <= 0.01 * reference.mp_of(one), n


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sigmoids_are_within_a_hundredth_of_an_ulp(dtype):
    if not reference.EXACT[dtype]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    sizes = np.concatenate([np.logspace(-40, 3.5, 150), [37, 88.5, 103.9, 709.5, 745]])
    x = np.concatenate([[0.0], sizes, -sizes]).astype(dtype)
    logistic, log = ref.exact_sigmoid(x.astype(np.longdouble)), ref.exact_log_sigmoid(x.astype(np.longdouble))
    for i, v in enumerate(x):
        with mpmath.workprec(200 + int(1.5 * abs(v))):  # exp(v) and 1 side by side
            exact = 1 / (1 + mpmath.exp(-mpmath.mpf(float(v))))
            for value, expected in ((logistic[i], exact), (log[i], mpmath.log(exact))):
                unit = reference.mp_of(reference.ulp(value, dtype))
                assert abs(reference.mp_of(value) - expected) <= 0.01 * unit, v


def test_all_options_in_arbitrary_precision():
    """One formula for each sample, as a text book has it, in 50 digits."""
    rng = np.random.default_rng(11)
    x, w = rng.standard_normal((3, 4)) * 10, rng.random(4)
    y, s = rng.random((3, 4)), 0.3
    t = np.array([2, 0, 3])
    options = {"weight": w, "label_smoothing": s, "reduction": "none"}
    by_index, by_row = (ref.cross_entropy(x, target, **options) for target in (t, y))
    with mpmath.workdps(50):
        for i in range(3):
            total = mpmath.fsum(mpmath.exp(float(v)) for v in x[i])
            nll = [-mpmath.log(mpmath.exp(float(v)) / total) for v in x[i]]
            uniform = mpmath.fsum(float(w[c]) * nll[c] for c in range(4)) / 4
            expected = (1 - mpmath.mpf(s)) * float(w[t[i]]) * nll[t[i]] + mpmath.mpf(s) * uniform
            np.testing.assert_allclose(by_index[i], float(expected), rtol=1e-15)
            mixed = [(1 - mpmath.mpf(s)) * float(y[i, c]) + mpmath.mpf(s) / 4 for c in range(4)]
            expected = mpmath.fsum(float(w[c]) * mixed[c] * nll[c] for c in range(4))
            np.testing.assert_allclose(by_row[i], float(expected), rtol=1e-15)
        p, q, b = rng.random((3, 5))
        v, positive = np.array([-30.0, -1, 0.5, 20, 700]), 2.5
        got = ref.binary_cross_entropy(p, q, weight=b, reduction="none")
        got_logits = ref.binary_cross_entropy_with_logits(v, q, weight=b, pos_weight=positive, reduction="none")
        for i in range(5):
            pi, qi, bi = (mpmath.mpf(float(a[i])) for a in (p, q, b))
            expected = -bi * (qi * mpmath.log(pi) + (1 - qi) * mpmath.log(1 - pi))
            np.testing.assert_allclose(got[i], float(expected), rtol=1e-15)
            one = mpmath.log1p(mpmath.exp(-float(v[i])))
            zero = mpmath.log1p(mpmath.exp(float(v[i])))
            np.testing.assert_allclose(got_logits[i], float(bi * (positive * qi * one + (1 - qi) * zero)), rtol=1e-15)


def test_known_values():
    ln2, ln3 = np.log(2), np.log(3)
    assert ref.cross_entropy([0.0, 0.0], 0) == ln2 and type(ref.cross_entropy(np.zeros(2, np.float32), 1)) is np.float32
    np.testing.assert_allclose(ref.cross_entropy([[0, ln2], [0, ln2]], [0, 1], reduction="none"), [ln3, ln3 - ln2])
    loss, grad = ref.cross_entropy_with_grad([[0, ln2], [0, 0]], [0, -100], weight=[3.0, 5.0])
    np.testing.assert_allclose(loss, ln3)  # the weight cancels
    np.testing.assert_allclose(grad, [[-2 / 3, 2 / 3], [0, 0]])
    np.testing.assert_allclose(ref.cross_entropy(np.zeros((4, 8)), np.full((4, 8), 1 / 8)), 3 * ln2)
    np.testing.assert_allclose(ref.cross_entropy(np.zeros((4, 8)), np.arange(4), label_smoothing=0.4), 3 * ln2)
    assert ref.nll_loss([[-1.0, -2.0], [-3.0, -4.0]], [1, 0], reduction="sum") == 5
    assert ref.nll_loss([[-1.0, np.nan], [-3.0, np.nan]], [0, 0]) == 2
    np.testing.assert_allclose(ref.log_loss([[0.25, 0.75], [0.5, 0.5]], [0, 1]), 1.5 * ln2)
    np.testing.assert_allclose(ref.log_loss([[0.25, 0.75]], [[2, 0]], weight=[3, 1]), 12 * ln2)
    assert ref.sigmoid(0.0) == 0.5 and ref.log_sigmoid(0.0) == -ln2 and ref.sigmoid(np.float16(0)).dtype == np.float16
    np.testing.assert_array_equal(ref.sigmoid([-np.inf, np.inf, np.nan, 1000, -1000]), [0, 1, np.nan, 1, 0])
    np.testing.assert_array_equal(
        ref.log_sigmoid([-np.inf, np.inf, np.nan, 1000, -1000]), [-np.inf, 0, np.nan, 0, -1000]
    )
    np.testing.assert_allclose(ref.binary_cross_entropy([0.5, 0.25], [1, 0]), (ln2 + np.log(4 / 3)) / 2)
    loss, grad = ref.binary_cross_entropy_with_logits_with_grad([1e4, -1e4, 1e4, -1e4], [1, 0, 0, 1], reduction="none")
    np.testing.assert_array_equal(loss, [0, 0, 1e4, 1e4])
    np.testing.assert_array_equal(grad, [0, 0, 1, -1])
    np.testing.assert_allclose(ref.softmax_grad([1.0, 0.0], [0.5, 0.5]), [0.25, -0.25])
    np.testing.assert_allclose(ref.log_softmax_grad([1.0, 0.0], [-ln2, -ln2]), [0.5, -0.5])
    # 1 - 1e-12: what is left of the loss after log(p) in float64 would be off in the fourth digit
    np.testing.assert_allclose(ref.cross_entropy([np.log(1e12), 0.0], 0), 9.999999999995e-13, rtol=1e-13)


def test_dtypes_of_the_results():
    for given in (
        np.float32,
        np.float64,
        np.float16,
        reference.BFLOAT16,
        np.bool_,
        np.uint8,
        np.int16,
        np.int32,
        np.uint64,
    ):
        x = np.array([[0, 1, 1], [1, 0, 0]]).astype(given)
        dtype = reference.result_dtype(given)
        reduced = np.float32 if dtype.itemsize == 2 else dtype
        loss, grad = ref.cross_entropy_with_grad(x, [0, 1])
        assert loss.dtype == reduced and grad.dtype == dtype
        assert ref.cross_entropy(x, [0, 1], reduction="none").dtype == reduced
        assert ref.binary_cross_entropy(x, x, reduction="sum").dtype == reduced
        assert ref.log_sigmoid(x).dtype == dtype
