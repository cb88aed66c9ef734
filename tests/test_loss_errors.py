"""What the losses, their gradients and the sigmoids refuse, and how; their signatures."""

import inspect

import numpy as np
import pytest
import reference
from loss_cases import (
    BINARY,
    FLOAT_NAMES,
    FROM_OUTPUT,
    FROM_PROBS,
    INDICES,
    REDUCTIONS,
    ROWS,
    SIGMOIDS,
    WITH_GRAD,
    X,
    assert_error,
    call,
)
from numpy.exceptions import AxisError

import softlane

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("name", FLOAT_NAMES)
def test_errors_of_losses_over_classes(name):
    x = FLOAT_NAMES[name]
    grad_for = (lambda shape: {"grad_out": np.empty(shape, np.float32)}) if name in WITH_GRAD else lambda shape: {}
    for shape in ((5,), (4,), (1,), (7,)):
        assert_error(ValueError, ["target", str(shape), "(6,)"], name, X, np.zeros(shape, int))
    assert_error(ValueError, ["target", "()", "(6, 4)"], name, X, 1)
    for shape in ((6, 4, 1), (1, 6, 4)):
        assert_error(ValueError, ["target", str(shape), "(6, 4)"], name, X, np.zeros(shape, int))
    for shape in ((6, 1), (4, 6), (1, 4), (5, 4)):
        assert_error(ValueError, ["target", str(shape), "(6, 4)"], name, X, np.zeros(shape, np.float32))
    assert_error(ValueError, ["target", "(4,)", "(6,)"], name, X, np.zeros(4, int), axis=1)
    assert_error(ValueError, ["target", "(6,)", "(4,)"], name, X, np.zeros(6, int), axis=0)
    for given in (np.float32, np.float64, np.float16, reference.BFLOAT16, np.bool_):
        assert_error(TypeError, ["target", np.dtype(given).name, "integer"], name, X, INDICES.astype(given))
    for shape in ((3,), (5,), (1,), (), (1, 4), (6, 4)):
        assert_error(ValueError, ["weight", str(shape), "(4,)"], name, X, INDICES, weight=np.ones(shape))
        assert_error(ValueError, ["weight", str(shape), "(4,)"], name, X, ROWS, weight=np.ones(shape))
    for reduction in ("avg", "Mean", "", "batchmean", None, 1):
        words = ["reduction", str(reduction), "mean", "sum", "none"]
        assert_error(ValueError, words, name, X, INDICES, reduction=reduction)
    assert_error(ValueError, ["ignore_index", "3"], name, X, ROWS, ignore_index=3)
    assert_error(ValueError, ["ignore_index", "0"], name, X, ROWS, ignore_index=0)
    for wrong in (1.0, "1", None, [1]):
        assert_error(TypeError, ["ignore_index", str(wrong)], name, X, INDICES, ignore_index=wrong)
    if "cross_entropy" in name:
        for wrong in (-0.1, 1.5, np.inf, np.nan, -1e-300):
            assert_error(ValueError, ["label_smoothing", str(wrong)], name, X, INDICES, label_smoothing=wrong)
            assert_error(ValueError, ["label_smoothing", str(wrong)], name, X, ROWS, label_smoothing=wrong)
    assert_error(ValueError, [x], name, np.float32(1), 0, **grad_for(()))
    assert_error(ValueError, [x], name, np.float32(1), np.float32(1), **grad_for(()))
    assert_error(ValueError, [x], name, np.empty((3, 0), np.float32), np.zeros(3, int), **grad_for((3, 0)))
    assert_error(ValueError, [x], name, np.empty((3, 0), np.float32), np.empty((3, 0)), **grad_for((3, 0)))
    assert_error(ValueError, [x], name, np.empty((0, 3), np.float32), np.empty(3, int), axis=0, **grad_for((0, 3)))
    for axis in (2, -3, 2**70):
        assert_error(AxisError, [f"axis {axis} is out of bounds for array of dimension 2"], name, X, INDICES, axis=axis)
    for axis in (None, 1.0, "1", (0,)):
        assert_error(TypeError, ["axis must be an integer"], name, X, INDICES, axis=axis)
    assert_error(ValueError, [name], name, [[1.0, 2.0], [3.0]], [0, 1], **grad_for((2, 2)))


UNSUPPORTED = [
    np.ones((6, 4), np.complex128), np.ones((6, 4), object), np.full((6, 4), "a"), np.ones((6, 4), "M8[s]"),
    np.ma.masked_array(np.ones((6, 4))),
]  # fmt: skip
if np.dtype(np.longdouble) != np.float64:
    UNSUPPORTED.append(np.ones((6, 4), np.longdouble))


@pytest.mark.parametrize("wrong", UNSUPPORTED, ids=lambda x: f"{type(x).__name__} {x.dtype}")
def test_unsupported_dtypes_of_every_argument(wrong):
    """A TypeError that names the argument, and the dtype unless the array is masked."""
    dtype = "masked" if isinstance(wrong, np.ma.MaskedArray) else str(wrong.dtype)
    for name, x in FLOAT_NAMES.items():
        assert_error(TypeError, [x, dtype], name, wrong, INDICES)
        assert_error(TypeError, ["target", dtype], name, X, wrong)
        assert_error(TypeError, ["target", dtype], name, X, wrong[:, 0])
        assert_error(TypeError, ["weight", dtype], name, X, INDICES, weight=wrong[0])
    for name in (*BINARY, *WITH_GRAD[1:]):
        x = "probs" if name in FROM_PROBS else "logits"
        assert_error(TypeError, [x, dtype], name, wrong, 1)
        assert_error(TypeError, ["target", dtype], name, X, wrong)
        assert_error(TypeError, ["weight", dtype], name, X, 1, weight=wrong)
        if name not in FROM_PROBS:
            assert_error(TypeError, ["pos_weight", dtype], name, X, 1, pos_weight=wrong)
    out = np.full((6, 4), 7, np.float32)
    for name in SIGMOIDS:
        assert_error(TypeError, ["x", dtype], name, wrong, out=out)
    for name in FROM_OUTPUT:
        assert_error(TypeError, ["grad", dtype], name, wrong, X, out=out)
        assert_error(TypeError, ["y", dtype], name, X, wrong, out=out)


@pytest.mark.parametrize("name", [*BINARY, *WITH_GRAD[1:]])
def test_errors_of_binary_losses(name):
    for shape in ((6,), (5, 4), (6, 3), (4, 6), (1, 6, 4), (2, 6, 4), (0,)):
        assert_error(ValueError, ["target", str(shape), "(6, 4)"], name, X, np.zeros(shape))
        assert_error(ValueError, ["weight", str(shape), "(6, 4)"], name, X, 1, weight=np.zeros(shape))
        if name not in FROM_PROBS:
            assert_error(ValueError, ["pos_weight", str(shape), "(6, 4)"], name, X, 1, pos_weight=np.zeros(shape))
    for reduction in ("avg", None):
        words = ["reduction", str(reduction), "mean", "sum", "none"]
        assert_error(ValueError, words, name, X, 1, reduction=reduction)


def test_errors_of_gradients_from_an_output_and_sigmoids():
    for name in (*FROM_OUTPUT, "sigmoid_grad"):
        out = np.full((6, 4), 7, np.float32)
        for shape in ((6, 3), (4,), (1, 4), (6, 4, 1), ()):
            assert_error(ValueError, ["grad", "y", "(6, 4)", str(shape)], name, X, np.ones(shape, np.float32), out=out)
        words = ["grad", "y", "float32", "float64"]
        assert_error(TypeError, words, name, X, X.astype(np.float64), out=out)
        assert_error(TypeError, words, name, X.astype(int), X, out=out)
        if name == "sigmoid_grad":
            check_wrong_out(name, (X, X), "out")
            continue
        assert_error(AxisError, ["axis 2 is out of bounds for array of dimension 2"], name, X, X, 2, out=out)
        assert_error(TypeError, ["axis must be an integer"], name, X, X, 1.5, out=out)
    for name, args in ((SIGMOIDS[0], (X,)), (SIGMOIDS[1], (X,)), (FROM_OUTPUT[0], (X, X)), (FROM_OUTPUT[1], (X, X))):
        check_wrong_out(name, args, "out")


@pytest.mark.parametrize("name", [*SIGMOIDS, BINARY[1], WITH_GRAD[1]])
def test_errors_of_temperatures(name):
    args = (X,) if name in SIGMOIDS else (X, 1)
    if name in SIGMOIDS:
        kwargs = {"out": np.full(X.shape, 7, np.float32)}
    else:
        kwargs = {"grad_out": np.full(X.shape, 7, np.float32)} if name in WITH_GRAD else {}
    for wrong in (0, -1, np.nan, np.inf, -np.inf, 10**400):
        words = ["temperature is ", "expected positive, finite numbers"]
        assert_error(ValueError, words, name, *args, temperature=wrong, **kwargs)
        each = np.ones(X.shape)
        each[4, 1] = np.nan if wrong == 10**400 else wrong
        words[0] = "temperature[4, 1] is "
        assert_error(ValueError, words, name, *args, temperature=each, **kwargs)
    for shape in ((6,), (5, 4), (1, 6, 4), (0,)):
        words = ["temperature", str(shape), "(6, 4)"]
        assert_error(ValueError, words, name, *args, temperature=np.ones(shape), **kwargs)
    for wrong in ("a", np.ones(4, np.complex128), None.__class__):
        assert_error(TypeError, ["temperature"], name, *args, temperature=wrong, **kwargs)


def test_a_wrong_grad_out_is_an_error():
    for name, target in ((WITH_GRAD[0], INDICES), (WITH_GRAD[0], ROWS), (WITH_GRAD[1], ROWS)):
        check_wrong_out(name, (X, target), "grad_out")


def check_wrong_out(name, args, argument):
    read_only = np.full((6, 4), 7, np.float32)
    read_only.flags.writeable = False
    for out, error, words in (
        (np.full((6, 3), 7, np.float32), ValueError, ["(6, 3)", "(6, 4)"]),
        (np.full((6, 4, 1), 7, np.float32), ValueError, ["(6, 4, 1)", "(6, 4)"]),
        (np.full((6, 4), 7, np.float64), TypeError, ["float64", "float32"]),
        (np.full((6, 4), 7, np.int32), TypeError, ["int32", "float32"]),
        (np.full((6, 4), 7, np.dtype(np.float32).newbyteorder()), TypeError, ["f4", "float32"]),
        (read_only, ValueError, ["read-only"]),
        (np.ma.masked_array(np.full((6, 4), 7, np.float32)), TypeError, ["MaskedArray"]),
        ([[7.0] * 4] * 6, TypeError, ["list"]),
        (1.0, TypeError, ["float"]),
    ):
        assert_error(error, [argument, *words], name, *args, **{argument: out})


OUTSIDE = [
    (np.int64, 92), (np.int64, 81), (np.int64, -1), (np.int64, -101), (np.int64, 2**62), (np.int64, -(2**63)),
    (np.int8, -1), (np.int8, 100), (np.uint8, 156), (np.uint8, 255), (np.int16, -32768), (np.uint16, 65436),
    (np.int32, 2**31 - 1), (np.uint32, 2**32 - 100), (np.uint64, 2**64 - 100), (np.uint64, 2**63),
]  # fmt: skip


@pytest.mark.parametrize("name", FLOAT_NAMES)
@pytest.mark.parametrize(("given", "value"), OUTSIDE, ids=str)
def test_an_index_outside_the_classes_is_named(name, given, value):
    x = np.full((40, 81, 6), 0.5, np.float32)
    target = np.zeros((40, 6), given)
    target[37, 5] = value
    kwargs = {"grad_out": np.full(x.shape, 7, np.float32)} if name in WITH_GRAD else {}
    message = f"target[37, 5] = {value} is outside [0, 81); ignore_index is "
    for view in (
        target,
        np.asfortranarray(target),
        np.repeat(target, 2, 1)[:, ::2],
        target.astype(target.dtype.newbyteorder()),
    ):
        assert_error(IndexError, [message + "-100"], name, x, view, axis=1, **kwargs)
    assert_error(IndexError, [message + "5"], name, x, target, axis=1, ignore_index=5, **kwargs)
    for reduction in REDUCTIONS:
        assert_error(IndexError, [message], name, x, target, axis=1, reduction=reduction, weight=np.ones(81), **kwargs)
    one_row = np.full((40, 81), 0.5, np.float32)
    kwargs = {"grad_out": np.full(one_row.shape, 7, np.float32)} if name in WITH_GRAD else {}
    words = [f"target[37] = {value} is outside [0, 81); ignore_index is -100"]
    assert_error(IndexError, words, name, one_row, target[:, 5], **kwargs)
    if name in WITH_GRAD:
        with pytest.raises(IndexError):
            call(name, x, target, axis=1, grad_out=x)
        assert (x == 0.5).all()
        kwargs = {"grad_out": np.full(81, 7, np.float32)}
    assert_error(
        IndexError,
        ["target", f"= {value} is outside [0, 81); ignore_index is -100"],
        name,
        x[0, :, 0],
        target[37, 5],
        **kwargs,
    )


@pytest.mark.parametrize("name", FLOAT_NAMES)
def test_an_index_outside_the_classes_beside_one_that_no_int64_holds(name):
    """The ignored one needs a stand-in; the other must still be looked at."""
    target = np.array([2**64 - 1, 81], np.uint64)
    words = [f"target[1] = 81 is outside [0, 81); ignore_index is {2**64 - 1}"]
    assert_error(IndexError, words, name, np.full((2, 81), 0.5, np.float32), target, ignore_index=2**64 - 1)


def test_an_index_outside_the_classes_among_very_many():
    """Found before anything is written, whichever thread would have come across it."""
    x = np.full((50_001, 10), 0.5, np.float32)
    softlane.set_num_threads(3)
    for at in (0, 25_000, 50_000):
        target = np.zeros(50_001, np.int64)
        target[at] = 10
        words = [f"target[{at}] = 10 is outside [0, 10); ignore_index is -100"]
        assert_error(IndexError, words, "cross_entropy", x, target)
        assert_error(IndexError, words, "cross_entropy_with_grad", x, target, grad_out=x)
        assert (x == 0.5).all()


SIGNATURES = {
    **dict.fromkeys(("cross_entropy", "cross_entropy_with_grad"), "logits target"),
    "nll_loss": "log_probs target", "log_loss": "probs target", "softmax_grad": "grad y", "log_softmax_grad": "grad y",
    "sigmoid": "x", "log_sigmoid": "x", "binary_cross_entropy": "probs target",
    **dict.fromkeys((BINARY[1], WITH_GRAD[1]), "logits target"), WITH_GRAD[2]: "probs target", "sigmoid_grad": "grad y",
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    """The arguments by position, and the options, by name only, with their defaults."""
    expected = {}
    if name in FLOAT_NAMES:
        expected = {"axis": -1, "weight": None, "ignore_index": -100, "reduction": "mean"}
        if "cross_entropy" in name:
            expected |= {"label_smoothing": 0.0, "where": None, "temperature": None}
    elif name in SIGMOIDS:
        expected = {"temperature": None, "dtype": None, "out": None}
    elif name in (*FROM_OUTPUT, "sigmoid_grad"):
        expected = {"out": None}
    else:
        expected = {"weight": None, "reduction": "mean"}
        if "logits" in name:
            expected |= {"pos_weight": None, "temperature": None}
    if name in WITH_GRAD:
        expected["grad_out"] = None
    if "reduction" in expected:
        expected["dtype"] = None
    if name in FLOAT_NAMES:
        expected["sample_weight"] = None
    parameters = inspect.signature(getattr(softlane, name)).parameters
    by_name = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert by_name == expected
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == SIGNATURES[name].split() + (["axis"] if name in FROM_OUTPUT else [])
    assert name in softlane.__all__
