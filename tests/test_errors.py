"""What softmax and its kin and the selection refuse, and how: errors name the argument, what came and what is expected.

The losses have their own in test_losses_semantics.py.
"""

import ml_dtypes
import numpy as np
import pytest
from cases import FUNCTIONS, assert_same_bits, random
from numpy.exceptions import AxisError

import softlane

pytestmark = pytest.mark.any_isa

SELECTION = ["argmax", "topk", "take_log_probs", "rank", "sample", "expectation"]
X = random((2, 3), np.float32)

functions = pytest.mark.parametrize("name", FUNCTIONS)
selection = pytest.mark.parametrize("name", SELECTION)
every = pytest.mark.parametrize("name", [*FUNCTIONS, *SELECTION])


def call(name, x, **options):
    """The function with what it needs beside x, which has at least one class."""
    indices = np.zeros(np.shape(x), np.int64)
    needs = {"topk": [1], "take_log_probs": [indices], "rank": [indices], "expectation": [2]}
    return getattr(softlane, name)(x, *needs.get(name, []), **options)


# ---- x ---------------------------------------------------------------------------------------------------------------

REFUSED = [
    np.ones(3, np.complex128), np.ones(3, np.complex64), np.ones(3, object), np.array(["a"]), np.array([b"a"]),
    np.ones(3, "M8[s]"), np.ones(3, "m8[s]"), np.ones(3, [("a", "f4")]), np.ones(3, ml_dtypes.float8_e5m2),
    np.ones(3, ml_dtypes.float8_e4m3fn), np.ones(3, ml_dtypes.int4), [None, 1], 1j, "text", None,
    np.ma.masked_array([1.0, 2.0], [0, 1]), np.ma.masked_array([1.0, 2.0]),
]  # fmt: skip


@every
@pytest.mark.parametrize("x", REFUSED, ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')}")
def test_other_dtypes_are_refused_by_name(name, x):
    with pytest.raises(TypeError, match=rf"{name}: x .*supported are .*(float32|plain arrays)"):
        call(name, x)


@every
@pytest.mark.skipif(np.dtype(np.longdouble) == np.dtype(np.float64), reason="longdouble is float64 here")
def test_longdouble_is_refused(name):
    with pytest.raises(TypeError, match=f"{name}.*{np.dtype(np.longdouble)}.*float32"):
        call(name, np.ones(3, np.longdouble))


@every
def test_ragged_lists_are_an_error(name):
    given = {"topk": [1], "take_log_probs": [0], "rank": [0], "expectation": [2]}.get(name, [])
    with pytest.raises(ValueError, match=name):
        getattr(softlane, name)([[1, 2], [3]], *given)


def test_masked_arrays_are_pointed_to_where():
    with pytest.raises(TypeError, match=r"where=~x\.mask"):
        softlane.softmax(np.ma.masked_array([1.0, 2.0], [True, False]))


@pytest.mark.parametrize("name", ["argmax", "topk", "sample"])
def test_classes_have_numbers_of_32_bits(name):
    with pytest.raises(ValueError, match=f"{name}: x has 4294967296 classes, expected less than 2\\^32"):
        getattr(softlane, name)(np.broadcast_to(np.float32(0), 2**32), **{"k": 2} if name == "topk" else {})


# ---- axis ------------------------------------------------------------------------------------------------------------


@every
def test_axis_out_of_bounds(name):
    for axis in (2, -3, 100, 2**31, 2**40, 2**63, -(2**63), 2**70):
        for x in (X, X[:, ::-1], X.astype(np.float16)):
            with pytest.raises(AxisError, match=rf"^axis {axis} is out of bounds for array of dimension 2$"):
                call(name, x, axis=axis)
    with pytest.raises((ValueError, IndexError)):
        call(name, X, axis=7)
    with pytest.raises(AxisError):
        call(name, np.float32(1), axis=1)


@every
def test_axis_must_be_an_integer(name):
    wrong = [1.0, "1", [0], np.float32(0), (0, 1.0), ((0,),)]
    if name not in FUNCTIONS:
        wrong += [(0, 1), (0,), *([None] if name != "argmax" else [])]
    for axis in wrong:
        with pytest.raises(TypeError, match=f"{name}: axis must be an integer, got "):
            call(name, X, axis=axis)


# ---- options ---------------------------------------------------------------------------------------------------------

OPTIONS = [
    (TypeError, "where has dtype int64, expected bool", {"where": np.ones((2, 3), np.int64)}),
    (ValueError, r"where has shape \(2,\), which does not broadcast to \(2, 3\)", {"where": np.ones(2, bool)}),
    (TypeError, ".*where is a masked array.*where.filled", {"where": np.ma.ones((2, 3), bool)}),
    (ValueError, "temperature is 0.0, expected positive, finite numbers", {"temperature": 0}),
    (ValueError, r"temperature\[1\] is -2.0", {"temperature": [1, -2]}),
    (ValueError, "temperature is nan", {"temperature": np.nan}),
    (ValueError, "temperature is inf", {"temperature": np.inf}),
    (ValueError, "temperature is inf", {"temperature": 10**400}),
    (ValueError, "temperature is -inf", {"temperature": -(10**400)}),
    (ValueError, r"temperature has shape \(3,\), expected a number, or one for each row: \(2,\)",
     {"temperature": [1, 2, 3]}),
    (TypeError, "temperature has dtype complex128", {"temperature": 1j}),
]  # fmt: skip
OPTIONS_OF_SOFTMAX = [
    (ValueError, "temperature is 0.0.*argmax", {"temperature": 0}),
    (ValueError, r"temperature\[1\] is -2.0, expected positive, finite numbers$", {"temperature": [1, -2]}),
    (ValueError, "temperature is nan, expected positive, finite numbers$", {"temperature": np.nan}),
    (TypeError, "dtype is .*, expected a NumPy dtype: float32, float64, float16 or bfloat16", {"dtype": np.int32}),
    (TypeError, "dtype is 'nonsense'", {"dtype": "nonsense"}),
    (ValueError, r"axis \(1, -1\) names an axis twice", {"axis": (1, -1)}),
    (ValueError, "axis is an empty tuple", {"axis": ()}),
]


@selection
@pytest.mark.parametrize(("error", "words", "options"), OPTIONS)
def test_wrong_options(name, error, words, options):
    if name == "sample" and options == {"temperature": 0}:  # the class of argmax
        return
    if name == "rank" and "dtype" in options:  # indices have index_dtype
        error, words = TypeError, ".*dtype"
    with pytest.raises(error, match=f"{name}: {words}" if "dtype" not in options else words):
        call(name, X, **options)


@functions
@pytest.mark.parametrize(("error", "words", "options"), [*OPTIONS, *OPTIONS_OF_SOFTMAX])
def test_wrong_options_leave_out_as_it_was(name, error, words, options):
    out = np.full(2 if name == "logsumexp" else (2, 3), 7, np.float32)
    with pytest.raises(error, match=f"{name}: {words}"):
        call(name, X, out=out, **options)
    assert (out == 7).all()


@functions
def test_an_axis_among_several_that_is_out_of_bounds(name):
    with pytest.raises(ValueError, match="axis 2 is out of bounds"):
        call(name, X, axis=(0, 2))


@functions
def test_positions_and_keywords(name):
    for wrong in (((X, -1, None), {}), ((X,), {"dims": 1}), ((), {})):  # out is keyword-only
        with pytest.raises(TypeError):
            FUNCTIONS[name](*wrong[0], **wrong[1])
    assert_same_bits(FUNCTIONS[name](x=X, axis=1), FUNCTIONS[name](X))


@pytest.mark.parametrize(
    ("name", "args", "options"),
    [
        ("argmax", (X, -1, True), {}), ("topk", (X, 1, -1, "probs"), {}),
        ("topk", (X,), {}), ("take_log_probs", (X, [0, 0], -1, None), {}), ("take_log_probs", (X,), {}),
        ("rank", (X, [0, 0], -1, None), {}), ("rank", (X,), {}), ("expectation", (X, [0, 0, 0], -1, None), {}),
        ("expectation", (X,), {}), ("sample", (X, -1), {}),
    ],
)  # fmt: skip
def test_positions_and_keywords_of_the_selection(name, args, options):
    with pytest.raises(TypeError):
        getattr(softlane, name)(*args, **options)


# ---- out -------------------------------------------------------------------------------------------------------------


@functions
def test_a_wrong_out_is_an_error_and_stays_as_it_was(name):
    x = random((4, 6), np.float32)
    good = FUNCTIONS[name](x)
    read_only = np.full(good.shape, 7, np.float32)
    read_only.flags.writeable = False
    wrong = [
        (np.full((*good.shape, 1), 7, np.float32), ValueError, r"out has shape .*, expected \(4"),
        (np.full((4, 7), 7, np.float32), ValueError, "out has shape"),
        (np.full((3, 6), 7, np.float32), ValueError, "out has shape"),
        (np.full((), 7, np.float32), ValueError, "out has shape"),
        (np.full(good.shape, 7, np.float64), TypeError, "out has dtype float64, expected float32"),
        (np.full(good.shape, 7, np.float16), TypeError, "out has dtype float16, expected float32"),
        (np.full(good.shape, 7, np.int32), TypeError, "out has dtype int32, expected float32"),
        (np.full(good.shape, 7, np.dtype(np.float32).newbyteorder()), TypeError, "out has dtype .*, expected float32"),
        (read_only, ValueError, "out is read-only"),
        (np.ma.masked_array(np.full(good.shape, 7, np.float32)), TypeError, "out must be a numpy.ndarray"),
    ]
    for out, error, message in wrong:
        for array in (x, x[::-1]):
            with pytest.raises(error, match=f"{name}: {message}"):
                FUNCTIONS[name](array, out=out)
            assert (np.asarray(out) == 7).all()
    for out in (good.tolist(), bytearray(good.nbytes), memoryview(good.copy()), 1.0, (good,)):
        with pytest.raises(TypeError, match=f"{name}: out must be a numpy.ndarray, got {type(out).__name__}"):
            FUNCTIONS[name](x, out=out)


@functions
def test_no_error_writes_to_out(name):
    out = np.full(FUNCTIONS[name](X).shape, 7, np.float32)
    for x, axis in ((X, 2), (X, 1.5), (X * 1j, -1), (X.astype(object), -1)):
        with pytest.raises((TypeError, ValueError)):
            FUNCTIONS[name](x, axis, out=out)
        assert (out == 7).all()


@functions
def test_out_of_integers_is_the_float_result(name):
    x = np.arange(24, dtype=np.int16).reshape(4, 6)
    out = np.empty(FUNCTIONS[name](x).shape, np.float32)
    assert FUNCTIONS[name](x, out=out) is out
    assert_same_bits(out, FUNCTIONS[name](x.astype(np.float32)))
    with pytest.raises(TypeError, match="expected float32"):
        FUNCTIONS[name](x, out=out.astype(np.int16))


def test_out_has_the_dtype_that_was_asked_for():
    with pytest.raises(TypeError, match="out has dtype float32, expected float16"):
        softlane.softmax(np.ones(3, np.float32), dtype=np.float16, out=np.empty(3, np.float32))


def test_an_output_whose_elements_share_memory_is_an_error():
    for function, shape, strides in (
        (softlane.softmax, (2, 50), (8, 8)),
        (softlane.softmax, (6, 4), (0, 8)),
        (softlane.sigmoid, (6, 4), (0, 8)),
    ):
        shared = np.lib.stride_tricks.as_strided(np.zeros(200), shape, strides)
        with pytest.raises(ValueError, match="several elements share memory"):
            function(np.zeros(shape), out=shared)
    empty = np.empty((0, 7))
    assert softlane.softmax(empty, out=np.empty((0, 7))).shape == (0, 7)
    assert softlane.softmax(empty, out=empty) is empty


# ---- topk, indices, values -------------------------------------------------------------------------------------------


def test_what_k_may_be():
    x = random((3, 5), np.float32)
    expected = softlane.topk(x, 2)
    for k in (np.int8(2), np.uint64(2), np.array(2)):
        assert_same_bits(softlane.topk(x, k).indices, expected.indices)
    for k in (6, 100, -1, 2**40, -(2**70)):
        with pytest.raises(ValueError, match=rf"topk: .*{k}\b.*\b5\b"):
            softlane.topk(x, k)
    for k in (True, np.True_, 2.0, "2", None, [2], np.float32(1)):
        with pytest.raises(TypeError, match="topk: k "):
            softlane.topk(x, k)
    for kind in ("prob", "", None, 1, "Logits"):
        with pytest.raises(ValueError if isinstance(kind, str) else (TypeError, ValueError), match="topk: kind"):
            softlane.topk(x, 2, kind=kind)


OUTSIDE = [
    (92, np.int64), (81, np.uint8), (-1, np.int8), (-81, np.int16), (2**63 - 1, np.int64), (2**64 - 1, np.uint64),
]  # fmt: skip


@pytest.mark.parametrize("name", ["take_log_probs", "rank"])
def test_an_index_outside_is_named(name):
    function = getattr(softlane, name)
    x = random((5, 81), np.float32)
    for wrong, dtype in OUTSIDE:
        for several in (np.zeros((5, 3), dtype), np.zeros((5, 6), dtype)[:, ::2]):
            several[3, 0] = wrong
            for place, args in (
                (r"3, 0", (x, several)),
                (r"3", (x, several[:, 0])),
                (r"0, 3", (x.T, several.T, 0)),
                (r"3", (x.T, several[:, 0], 0)),
            ):
                with pytest.raises(IndexError, match=rf"indices\[{place}\] = {wrong} is outside \[0, 81\)"):
                    function(*args)
    for message, args in (
        (r"indices\[1\] = 3 is outside \[0, 3\)", ([1.0, 2.0, 3.0], [0, 3])),
        (r"indices.* = 3 is outside \[0, 3\)", ([1.0, 2.0, 3.0], 3)),
        (
            r"indices\[0, 1, 2\] = -5 is outside \[0, 4\)",
            (np.zeros((2, 4, 3)), np.array([[[0, 0, 0], [0, 0, -5]]] * 2), 1),
        ),
        (r"is outside \[0, 0\)", (np.zeros((2, 0)), [0, 0])),
    ):
        with pytest.raises(IndexError, match=message):
            function(*args)


@pytest.mark.parametrize("name", ["take_log_probs", "rank"])
def test_wrong_indices(name):
    x = np.zeros((4, 5))
    wrong = [np.zeros(4), np.zeros(4, bool), np.zeros(4, complex), [None] * 4, ["a"] * 4]
    for indices in (*wrong, np.ma.masked_array([0, 1, 2, 3], [0, 0, 1, 0])):
        with pytest.raises(TypeError, match=f"{name}: indices"):
            getattr(softlane, name)(x, indices)
    for shape in ((3,), (5,), (3, 5), (2, 1), (), (4, 5, 1), (1, 4, 5)):
        with pytest.raises(ValueError, match=f"{name}: indices"):
            getattr(softlane, name)(x, np.zeros(shape, np.int64))


VALUES_AND_OPTIONS = [
    *((ValueError, "expectation: values", {"values": np.zeros(shape)})
      for shape in ((5,), (4,), (4, 5), (2, 6), (1, 4, 6))),
    (ValueError, "expectation: values", {"values": [0, 1, np.nan, 3, 4, 5]}),
    (ValueError, r"expectation: values\[0, 2\] is nan", {"values": np.tile([0, 1, np.nan, 3, 4, 5], (4, 1))}),
    (TypeError, "expectation: values", {"values": np.zeros(6, complex)}),
    (TypeError, "expectation: values", {"values": ["a"] * 6}),
    (TypeError, "expectation: values", {"values": np.ma.masked_array(np.zeros(6), [1, 0, 0, 0, 0, 0])}),
    (ValueError, "expectation: temperature", {"temperature": -1}),
    (TypeError, "expectation: where", {"where": np.ones(6)}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "words", "options"), VALUES_AND_OPTIONS)
def test_wrong_values_of_expectation(error, words, options):
    out = np.full(4, 7, np.float32)
    with pytest.raises(error, match=words):
        softlane.expectation(random((4, 6), np.float32), **{"values": np.zeros(6), **options}, out=out)
    assert (out == 7).all()


def test_wrong_outputs_of_expectation():
    read_only = np.zeros(4, np.float32)
    read_only.flags.writeable = False
    for error, words, out in [
        (ValueError, r"out has shape \(4, 1\), expected \(4,\)", np.zeros((4, 1), np.float32)),
        (ValueError, r"out has shape \(6,\), expected \(4,\)", np.zeros(6, np.float32)),
        (TypeError, "out has dtype float64, expected float32", np.zeros(4)),
        (ValueError, "out is read-only", read_only),
        (TypeError, "out must be a numpy.ndarray, got list", [0] * 4),
    ]:
        with pytest.raises(error, match=f"expectation: {words}"):
            softlane.expectation(random((4, 6), np.float32), np.zeros(6), out=out)


def test_values_beyond_the_compute_type_are_an_error_without_a_warning(recwarn):
    with pytest.raises(ValueError, match=r"values\[0\] is 1e\+300, expected numbers that fit into float32"):
        softlane.expectation(np.zeros(2, np.float32), [1e300, 0])
    assert not recwarn.list


# ---- more dimensions than some functions of NumPy take ------------------------------------------------------------


def test_arguments_that_broadcast_may_have_more_than_32_dimensions():
    y, many = random((1, 3), np.float32, seed=1), (1,) * 38
    x = X.reshape(many + X.shape)
    assert_same_bits(softlane.kl_divergence(x, y), softlane.kl_divergence(X, y).reshape(*many, 2))
    assert_same_bits(softlane.logsumexp(x, b=y), softlane.logsumexp(X, b=y).reshape(*many, 2))
    index = np.array([[2]]).reshape((*many, 1, 1))
    assert_same_bits(softlane.take_log_probs(x, index).ravel(), softlane.take_log_probs(X, [2, 2]))
    with pytest.raises(ValueError, match=r"kl_divergence: y has shape .* does not broadcast"):
        softlane.kl_divergence(x, np.ones(2))
