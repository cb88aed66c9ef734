"""The same results as PyTorch, SciPy and scikit-learn over a grid of their options. Each is skipped where it is absent.

`make test-peers` installs them. What they do not promise (overflow, infinite logits) is in the other tests.
"""

import itertools

import numpy as np
import pytest

import softlane

pytestmark = pytest.mark.any_isa

TOLERANCE = {np.float32: {"rtol": 2e-5, "atol": 2e-6}, np.float64: {"rtol": 1e-12, "atol": 1e-13}}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: d.__name__)
RNG = np.random.default_rng(0)


def logits(shape, dtype):
    return (np.random.default_rng(1).standard_normal(shape) * 3).astype(dtype)


def probabilities(shape, dtype):
    p = np.random.default_rng(2).random(shape) + 0.1
    return (p / p.sum(axis=1, keepdims=True)).astype(dtype)


@each_dtype
@pytest.mark.parametrize("shape", [(6, 4), (2, 5, 3, 4), (1, 7)])
@pytest.mark.parametrize("kind", ["index", "ignored", "probabilities"])
def test_cross_entropy_of_pytorch(shape, kind, dtype):
    torch = pytest.importorskip("torch")
    x, n = logits(shape, dtype), shape[1]
    batch = np.delete(shape, 1)
    target = np.asarray(np.random.default_rng(3).integers(n, size=batch))
    if kind == "ignored":
        target = np.where(np.random.default_rng(4).random(batch) < 0.4, 1, target)
    if kind == "probabilities":
        target = probabilities(shape, dtype)
    options = {"ignore_index": 1 if kind == "ignored" else -100}
    given = torch.from_numpy(np.ascontiguousarray(target))
    for weight, smoothing, reduction in itertools.product(
        (None, np.linspace(0.5, 2, n).astype(dtype)), (0.0, 0.2), ("mean", "sum", "none")
    ):
        options |= {"label_smoothing": smoothing, "reduction": reduction}
        a = torch.from_numpy(x).requires_grad_()
        w = None if weight is None else torch.from_numpy(weight)
        expected = torch.nn.functional.cross_entropy(a, given, weight=w, **options)
        if torch.isnan(expected).any():  # the mean of samples that are all ignored
            continue
        expected.sum().backward()
        loss, grad = softlane.cross_entropy_with_grad(x, target, axis=1, weight=weight, **options)
        np.testing.assert_allclose(loss, expected.detach().numpy(), **TOLERANCE[dtype])
        np.testing.assert_allclose(grad, a.grad.numpy(), **TOLERANCE[dtype])
        alone = softlane.cross_entropy(x, target, axis=1, weight=weight, **options)
        np.testing.assert_array_equal(alone, loss)


@each_dtype
def test_binary_losses_of_pytorch(dtype):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x, y, w = logits((5, 4), dtype), probabilities((5, 4), dtype), np.linspace(0.5, 2, 4).astype(dtype)
    t = [torch.from_numpy(a) for a in (x, y, w)]
    for reduction in ("mean", "sum", "none"):
        for weight, pos_weight in itertools.product((None, w), (None, w)):
            weights = [None if a is None else t[2] for a in (weight, pos_weight)]
            expected = functional.binary_cross_entropy_with_logits(
                t[0], t[1], weight=weights[0], pos_weight=weights[1], reduction=reduction
            )
            got = softlane.binary_cross_entropy_with_logits(
                x, y, weight=weight, pos_weight=pos_weight, reduction=reduction
            )
            np.testing.assert_allclose(got, expected.numpy(), **TOLERANCE[dtype])
        expected = functional.binary_cross_entropy(torch.sigmoid(t[0]), t[1], reduction=reduction)
        got = softlane.binary_cross_entropy(softlane.sigmoid(x), y, reduction=reduction)
        np.testing.assert_allclose(got, expected.numpy(), **TOLERANCE[dtype])
        p = torch.sigmoid(t[0]).requires_grad_()
        functional.binary_cross_entropy(p, t[1], weight=t[2], reduction=reduction).sum().backward()
        _, grad = softlane.binary_cross_entropy_with_grad(p.detach().numpy(), y, weight=w, reduction=reduction)
        np.testing.assert_allclose(grad, p.grad.numpy(), **TOLERANCE[dtype])
        a = torch.from_numpy(x).requires_grad_()
        functional.binary_cross_entropy_with_logits(a / t[2], t[1], reduction=reduction).sum().backward()
        _, grad = softlane.binary_cross_entropy_with_logits_with_grad(x, y, temperature=w, reduction=reduction)
        np.testing.assert_allclose(grad, a.grad.numpy(), **TOLERANCE[dtype])
    a = torch.from_numpy(x).requires_grad_()
    p = torch.sigmoid(a)
    p.backward(t[1])
    np.testing.assert_allclose(softlane.sigmoid_grad(y, p.detach().numpy()), a.grad.numpy(), **TOLERANCE[dtype])


@each_dtype
def test_functions_of_scipy(dtype):
    special = pytest.importorskip("scipy.special")
    x, b = logits((3, 4, 5), dtype), logits((3, 4, 5), dtype)
    for axis in (None, 0, -1, (0, 2), (1,)):
        for name in ("softmax", "log_softmax"):
            expected = getattr(special, name)(x, axis=axis)
            got = getattr(softlane, name)(x, axis=axis)
            assert got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, **TOLERANCE[dtype])
        for keepdims, weight, sign in itertools.product((False, True), (None, b, 2.0), (False, True)):
            options = {"axis": axis, "keepdims": keepdims, "b": weight, "return_sign": sign}
            with np.errstate(all="ignore"):
                expected = special.logsumexp(x, **options)
            got = softlane.logsumexp(x, **options)
            for one, other in zip(got, expected, strict=True) if sign else [(got, expected)]:
                np.testing.assert_allclose(one, other, **TOLERANCE[dtype])
    np.testing.assert_allclose(softlane.sigmoid(x), special.expit(x), **TOLERANCE[dtype])
    np.testing.assert_allclose(softlane.log_sigmoid(x), special.log_expit(x), **TOLERANCE[dtype])


@pytest.mark.parametrize("b", [np.float64, np.float32, np.int64, np.int32], ids=lambda d: d.__name__)
@each_dtype
def test_the_dtype_of_logsumexp_with_coefficients_is_that_of_scipy(dtype, b):
    special = pytest.importorskip("scipy.special")
    x, weight = logits(4, dtype), np.ones(4, b)
    assert softlane.logsumexp(x, b=weight).dtype == special.logsumexp(x, b=weight).dtype


@pytest.mark.parametrize("normalize", [True, False])
def test_log_loss_of_scikit_learn(normalize):
    metrics = pytest.importorskip("sklearn.metrics")
    reduction = "mean" if normalize else "sum"
    p, y = probabilities((40, 5), np.float64), RNG.integers(5, size=40)
    expected = metrics.log_loss(y, p, labels=range(5), normalize=normalize)
    np.testing.assert_allclose(softlane.log_loss(p, y, reduction=reduction), expected, rtol=1e-12)
    one_hot = np.eye(5, dtype=int)[y]
    np.testing.assert_allclose(softlane.log_loss(p, one_hot, reduction=reduction), expected, rtol=1e-12)
    w = RNG.random(40)
    expected = metrics.log_loss(y, p, labels=range(5), normalize=normalize, sample_weight=w)
    np.testing.assert_allclose(softlane.log_loss(p, y, sample_weight=w, reduction=reduction), expected, rtol=1e-12)
    p, y = RNG.random(40), RNG.integers(2, size=40)
    expected = metrics.log_loss(y, p, labels=[0, 1], normalize=normalize)
    np.testing.assert_allclose(softlane.binary_cross_entropy(p, y, reduction=reduction), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="binary_cross_entropy"):
        softlane.log_loss(p, y)
