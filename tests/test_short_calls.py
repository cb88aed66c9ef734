"""A call whose arguments are plain goes from the public function to the kernels without a check in Python.

And its result is that of the other way, on which every argument is checked, and large arrays go chunk by chunk.
"""

import ast
from pathlib import Path

import numpy as np
import pytest
from cases import random
from ops import OPS, each_op, element_values

import softlane
from softlane import _core, _elementwise, _entropy, _expectation, _gradients, _losses, _rows, _sample, _select

pytestmark = pytest.mark.any_isa

FAMILIES = ["rows", "topk", "take", "sample", "loss", "elements", "binary"]
CHECKING = [
    (_rows, "call"),
    (_entropy, "_kl_divergence"),
    (_expectation, "_expectation"),
    (_gradients, "_vjp"),
    (_losses, "_cross_entropy"),
    (_losses, "_nll"),
    (_select, "_argmax"),
    (_select, "_topk"),
    (_select, "_take"),
    (_sample, "_sample"),
    (_elementwise, "_elements"),
    (_elementwise, "_sigmoid_vjp"),
    (_elementwise, "_binary"),
]


@pytest.fixture
def short(monkeypatch):
    """Calls that have to be checked in Python fail."""

    def fail(*args, **options):
        raise AssertionError("not a short call")

    for module, name in CHECKING:
        monkeypatch.setattr(module, name, fail)


@pytest.fixture
def long(monkeypatch):
    """All calls are checked in Python; how many there were."""
    calls = []

    stub = ast.parse(Path(_core.__file__).with_name("_core.pyi").read_text(encoding="utf-8"))
    names = {f.name: [a.arg for a in f.args.posonlyargs] for f in stub.body if isinstance(f, ast.FunctionDef)}

    def refusing(function):
        def refuse(*args):
            given = dict(zip(names[function.__name__], args, strict=False))
            if given.get("mode", _core.AS_GIVEN) == _core.AS_GIVEN:
                calls.append(function)
                return None
            return function(*args)

        return refuse

    for name in FAMILIES:
        monkeypatch.setattr(_core, name, refusing(getattr(_core, name)))
    return calls


def plain(op, shape, axis, dtype=np.float32):
    """Arguments, and options of x's shape and of the rows, without one that broadcasts."""
    given = op.given(random(shape, dtype), axis)
    options = op.choices(shape, axis)[-1]
    if "where" in options:
        options["where"] = np.array(np.broadcast_to(options["where"], shape))
    return given, options


def is_drawn(op):
    return op.function == "sample"


def all_equal(got, expected):
    return len(got) == len(expected) and all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.asarray(a).shape == np.asarray(b).shape
        and np.array_equal(a, b, equal_nan=True)
        for a, b in zip(got, expected, strict=True)
    )


@each_op
def test_plain_arguments_are_short_calls(op, short):
    if "rng" in op.arguments:
        pytest.skip("a generator of its own class draws numbers of the shape of the batch")
    if op.arguments.get("values") is element_values:
        pytest.skip("NumPy computes the mean of a value for each element")
    for dtype in (np.float32, np.float64):
        given, options = plain(op, (3, 10), 1, dtype)
        op(given, 1)
        op(given, 1, **options)


@each_op
def test_both_ways_give_the_same_bits(op, long):
    for shape, axis in (((10,), 0), ((3, 10), 1), ((4, 70, 3), 1), ((2, 5000), 1)):
        if is_drawn(op) and len(shape) == 1:
            continue
        for dtype in (np.float32, np.float64, np.float16, np.uint8):
            given, options = plain(op, shape, axis, dtype)
            for chosen in ({}, options):
                before = len(long)
                checked = op(given, axis, **chosen)
                assert len(long) > before or "rng" in op.arguments
                with pytest.MonkeyPatch.context() as undone:
                    for name in FAMILIES:
                        undone.setattr(_core, name, ORIGINAL[name])
                    assert all_equal(op(given, axis, **chosen), checked), (shape, dtype, chosen)


ORIGINAL = {name: getattr(_core, name) for name in FAMILIES}

X = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -3.0]], np.float32)
CLASSES = np.array([2, 0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: softlane.softmax(X[::-1]),
        lambda: softlane.softmax(X.tolist()),
        lambda: softlane.softmax(X, dtype=np.float64),
        lambda: softlane.softmax(X, dtype=np.dtype(np.float16)),
        lambda: softlane.softmax(X, axis=(0, 1)),
        lambda: softlane.softmax(X, axis=None),
        lambda: softlane.softmax(X.astype(np.int64)),
        lambda: softlane.softmax(X.astype(">f4")),
        lambda: softlane.softmax(X.astype(np.float64), dtype=np.float32),
        lambda: softlane.softmax(X, temperature=np.float64(0.5)),
        lambda: softlane.softmax(X, out=np.empty_like(X)),
        lambda: softlane.logsumexp(X, keepdims=True),
        lambda: softlane.argmax(X, axis=None),
        lambda: softlane.argmax(X, index_dtype=np.uint8),
        lambda: softlane.topk(X, 2, kind="logits"),
        lambda: softlane.topk(X, 2, largest=False),
        lambda: softlane.take_log_probs(X, [2, 0]),
        lambda: softlane.take_log_probs(X[0], 1),
        lambda: softlane.take_log_probs(X, np.array([2, -1]), ignore_index=-1),
        lambda: softlane.rank(X, CLASSES.astype(np.int32)),
        lambda: softlane.sample(X),
        lambda: softlane.sample(X, rng=np.random.default_rng(0), top_k=2, top_p=0.5, min_p=0.1, size=2),
        lambda: softlane.sample(X, uniform=np.array([0.1, 0.2])),
        lambda: softlane.cross_entropy(X, [2, 0]),
        lambda: softlane.cross_entropy(X[0], 1, reduction="sum"),
        lambda: softlane.cross_entropy(X, CLASSES, weight=[1, 2, 3], sample_weight=[1.0, 0.0], label_smoothing=0.1),
        lambda: softlane.cross_entropy_with_grad(X, CLASSES, grad_out=np.empty_like(X)),
        lambda: softlane.cross_entropy(X, X > 0, dtype=np.float64),
        lambda: softlane.log_loss(softlane.softmax(X), CLASSES, reduction="none"),
        lambda: softlane.sigmoid(X, temperature=2),
        lambda: softlane.binary_cross_entropy_with_logits(X, (X > 0).astype(int), reduction="none"),
        lambda: softlane.binary_cross_entropy_with_grad(softlane.sigmoid(X), X > 0),
    ],
)
def test_small_arrays_of_other_layouts_and_options_are_short_calls(call, short):
    call()


def test_calls_that_are_not_plain_are_seen(short):
    for call in (
        lambda: softlane.softmax(X, where=[True, False, True]),
        lambda: softlane.softmax(np.float32(1)),
        lambda: softlane.cross_entropy(X, CLASSES.astype(np.uint64) + 9),
        lambda: softlane.softmax(np.ones((1 << 19, 2), np.float32)[:, ::-1]),
    ):
        with pytest.raises(AssertionError, match="not a short call"):
            call()


def test_the_list_of_what_checks_is_whole():
    """Every operation of the table reaches one of them where nothing is a short call."""
    reached = set()
    with pytest.MonkeyPatch.context() as patched:
        for name in FAMILIES:
            patched.setattr(_core, name, lambda *args, **options: None)
        for module, name in CHECKING:
            patched.setattr(module, name, lambda *args, name=name, **options: reached.add(name) or (0, 0))
        for op in OPS:
            given, _ = plain(op, (3, 10), 1)
            op(given, 1)
    assert reached == {name for _, name in CHECKING}
