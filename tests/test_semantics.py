"""What comes out for what goes in: dtypes, special values, empty arrays, scalars, out=, layouts and errors."""

import ctypes
import itertools
import sys

import numpy as np
import pytest
import reference
from arrays import SMALL_INTEGERS, WIDE_INTEGERS, positions
from cases import FLOATS, FORMS, FUNCTIONS, STORED, all_nan, assert_same_bits, bits, canonical_nan, random

import softlane

# test_paths.py compares the paths.
pytestmark = pytest.mark.any_isa

functions = pytest.mark.parametrize("function", FUNCTIONS)
elementwise = pytest.mark.parametrize("function", ["softmax", "log_softmax"])
stored = pytest.mark.parametrize("dtype", STORED, ids=str)
floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
forms = pytest.mark.parametrize("form", FORMS)


def form_array(form, dtype, seed=0):
    """A random array for a form, as a writeable view with the classes last, and how to call a function with it."""
    shape, axis = FORMS[form]
    x = random(shape, dtype, seed)
    rows = np.moveaxis(x, axis, -1)

    def call(function, **kwargs):
        y = FUNCTIONS[function](x, axis=axis, **kwargs)
        return y if function == "logsumexp" else np.moveaxis(y, axis, -1)

    return x, rows, call


# ---- dtypes ------------------------------------------------------------------------------------------------------


@functions
def test_integers_do_not_wrap(function):
    """uint8 0 - 255 is 1 in NumPy, and the sum of exponentials of SciPy overflows a float16."""
    x = np.array([0, 255, 128, 7], np.uint8)
    assert_same_bits(FUNCTIONS[function](x), FUNCTIONS[function](x.astype(np.float32)))
    x = np.array([-(2**63), 2**63 - 1, 0])
    assert_same_bits(FUNCTIONS[function](x), FUNCTIONS[function](x.astype(np.float64)))
    x = np.array([2**64 - 1, 0], np.uint64)
    assert_same_bits(FUNCTIONS[function](x), FUNCTIONS[function](x.astype(np.float64)))


def test_16_bit_rows_whose_sum_would_overflow_or_stall():
    zeros = np.zeros(70000, np.float16)
    assert_same_bits(softlane.softmax(zeros), np.full(70000, 1 / 70000, np.float16))
    assert softlane.logsumexp(zeros) == np.float16(np.log(70000))
    equal = np.full(512, 3.0, reference.BFLOAT16)
    assert (softlane.softmax(equal).astype(float) == 1 / 512).all()


@functions
def test_lists_and_scalars_are_taken_as_the_array_would_be(function):
    compute = FUNCTIONS[function]
    for x in ([1.0, 2.0], [[1, 2], [3, 4]], (1, 2), [True, False], range(5), [np.float32(1), np.float32(2)]):
        assert_same_bits(compute(x), compute(np.asarray(x)))
    assert compute([1.0, 2.0]).dtype == np.float64

    class Convertible:
        def __array__(self, dtype=None, copy=None):
            return np.array([1, 2, 3], np.float32)

    assert_same_bits(compute(Convertible()), compute(np.float32([1, 2, 3])))


@functions
def test_subclasses_of_ndarray_are_arrays(function):
    x = random((4, 6), np.float32)
    y = FUNCTIONS[function](x.view(np.recarray))
    assert_same_bits(y, FUNCTIONS[function](x))


# ---- special values ----------------------------------------------------------------------------------------------


def special_rows(n):
    """What the other classes of a row hold (None: numbers), and which classes hold something special."""
    for others, i in itertools.product((None, -np.inf, np.inf, 0), positions(n)):
        yield others, [i], np.nan
    for others, where in itertools.product((None, -np.inf), [*([i] for i in positions(n)), [0, n - 1], range(n)]):
        yield others, list(where), np.inf
    yield None, list(range(n)), -np.inf


@functions
@stored
@forms
def test_rows_with_nan_or_an_infinite_maximum(function, dtype, form):
    """NaN, or for logsumexp the infinity, in that row and no other."""
    _, rows, call = form_array(form, dtype)
    clean, row = call(function), (0,) * (rows.ndim - 2) + (1,)
    numbers, rest = rows[row].copy(), np.ones(clean.shape, bool)
    rest[row] = False
    for others, where, value in special_rows(rows.shape[-1]):
        rows[row] = numbers if others is None else others
        rows[row][where] = value
        y = call(function)
        if function == "logsumexp" and not np.isnan(value):
            assert y[row] == value
        else:
            assert all_nan(y[row]), (others, where, value)
        assert_same_bits(y[rest], clean[rest])


@stored
@forms
def test_minus_infinity_beside_finite_values_is_exactly_nothing(dtype, form):
    n = FORMS[form][0][FORMS[form][1]]
    for i in positions(n):
        _, rows, call = form_array(form, dtype)
        row = (0,) * (rows.ndim - 2) + (1,)
        rows[row][:] = -np.inf
        rows[(*row, i)] = -3
        masked = np.arange(n) != i
        p, log_p, lse = call("softmax")[row], call("log_softmax")[row], call("logsumexp")[row]
        assert p[i] == 1 and (bits(p[masked]) == 0).all()  # +0.0
        assert log_p[i] == 0 and (log_p[masked] == -np.inf).all()
        assert lse == -3
    # half of the row: as if those classes were not there, to the accuracy of the rest
    _, rows, call = form_array(form, dtype)
    row = (0,) * (rows.ndim - 2) + (1,)
    rows[row] /= 16  # so that no probability underflows
    rows[row][::2] = -np.inf
    p = call("softmax")[row]
    assert (bits(p[::2]) == 0).all() and (p[1::2] > 0).all()
    assert (call("log_softmax")[row][::2] == -np.inf).all()


@functions
@floats
def test_nan_payloads_and_signs_do_not_come_through(function, dtype):
    word = f"u{dtype.itemsize}"
    quiet = int(canonical_nan(dtype))
    sign = 1 << (8 * dtype.itemsize - 1)
    signalling = quiet - (1 << (21 if dtype.itemsize == 4 else 50))  # the quiet bit off, another one on
    for shape, axis in FORMS.values():
        for pattern in (quiet | sign, quiet + 12345, signalling, signalling | sign):
            x = random(shape, dtype)
            x.view(word)[...] = pattern
            assert all_nan(FUNCTIONS[function](x, axis=axis)), (shape, hex(pattern))
            x = random(shape, dtype)
            np.moveaxis(x, axis, -1)[..., -1].view()[...] = np.array(pattern, word).view(dtype)
            assert all_nan(FUNCTIONS[function](x, axis=axis)), (shape, hex(pattern))


@functions
@stored
def test_invalid_rows_give_the_canonical_nan_through_every_layout(function, dtype):
    x = np.full((4, 6), -np.inf, dtype)
    x[1], x[2], x[3, 2] = np.nan, np.inf, -np.nan
    for view in (x, np.asfortranarray(x), x[:, ::-1], np.repeat(x, 2, 1)[:, ::2]):
        y = FUNCTIONS[function](view)
        bad = np.isnan(y.astype(np.float32))
        assert bad.all() if function != "logsumexp" else (bad == [False, True, False, True]).all()
        assert all_nan(y[bad])


@stored
@forms
def test_a_dominated_row_is_exactly_one_and_zeros(dtype, form):
    n = FORMS[form][0][FORMS[form][1]]
    for i in positions(n):
        for low in (-1000, -30000):
            _, rows, call = form_array(form, dtype)
            rows[...] = low
            rows[..., i] = 1000
            p, log_p = call("softmax"), call("log_softmax")
            assert (p[..., i] == 1).all() and (log_p[..., i] == 0).all()
            p[..., i] = 0
            assert (bits(p) == 0).all()
            assert (call("logsumexp") == rows[..., i]).all()


@floats
def test_probabilities_never_exceed_one_and_round_to_it_where_they_should(dtype):
    """The other classes from 1e-3 down to far below half an ulp of 1: p rounds to 1 where it should."""
    for n, rows in ((2, 20001), (40, 20001), (5000, 101)):
        x = np.zeros((rows, n), dtype)
        x[:, 0] = np.linspace(7, 60, rows)
        others = (n - 1) * np.exp(-x[:, 0].astype(np.longdouble))
        below = 1 / (1 + others) < 1 - np.longdouble(np.finfo(dtype).epsneg) / 2
        for y in (softlane.softmax(x)[:, 0], softlane.softmax(np.ascontiguousarray(x.T), axis=0)[0]):
            assert (y <= 1).all()
            assert (y[~below] == 1).all()
            assert (1 - y[below] <= 2 * np.finfo(dtype).epsneg + others[below]).all()


@stored
def test_one_class_is_certain(dtype):
    x = np.array([[0], [-0.0], [1], [-1000], [60000], [1e-4]]).astype(dtype)
    for axis, y in ((1, x), (0, x.T)):
        assert (softlane.softmax(y, axis=axis) == 1).all()
        assert (bits(softlane.log_softmax(y, axis=axis)) == 0).all()  # +0.0
        assert_same_bits(softlane.logsumexp(y, axis=axis), x.ravel() + dtype.type(0))  # -0.0 + log(1) is 0.0


def test_known_values():
    assert softlane.softmax([1000.0, 0.0]).tolist() == [1, 0]
    assert softlane.softmax([0.0, 0.0]).tolist() == [0.5, 0.5]
    assert softlane.softmax(np.zeros(8, np.float32)).tolist() == [0.125] * 8
    assert softlane.softmax([3e38, 3e38, -3e38]).tolist() == [0.5, 0.5, 0]
    assert softlane.log_softmax([0.0, 0.0]).tolist() == [-0.6931471805599453] * 2
    assert softlane.logsumexp([20.0, 30.0, 100.0]) == 100  # e^-70 is below half an ulp
    assert softlane.logsumexp([0.0, 0.0]) == 0.6931471805599453
    assert abs(softlane.logsumexp([-0.6931471805599453, -0.6931471805599453])) <= 2.0**-52
    np.testing.assert_array_equal(softlane.log_softmax([1e8, 1e8]), [-0.6931471805599453] * 2)
    np.testing.assert_allclose(softlane.log_softmax([0.0, 40.0])[1], -4.248354255291589e-18, rtol=1e-15)
    np.testing.assert_allclose(softlane.log_softmax(np.float32([-1e7, -1e7 + 1])), [-1.3132616, -0.3132617], rtol=2e-7)


@floats
def test_zeros_of_both_signs_are_ties(dtype):
    for n in (2, 33, 5000):
        x = np.zeros(n, dtype)
        x[::2] = -0.0
        assert_same_bits(softlane.softmax(x), softlane.softmax(np.zeros(n, dtype)))
        assert_same_bits(softlane.logsumexp(x), softlane.logsumexp(np.zeros(n, dtype)))


@floats
def test_differences_that_overflow(dtype):
    big = np.finfo(dtype).max
    for n in (3, 40, 5000):
        x = np.full(n, -big, dtype)
        x[-1] = big
        y = softlane.softmax(x)
        assert y[-1] == 1 and not y[:-1].any()
        y = softlane.log_softmax(x)
        assert y[-1] == 0 and (y[:-1] == -np.inf).all()
        assert softlane.logsumexp(x) == big


# ---- empty arrays and scalars ------------------------------------------------------------------------------------


@stored
def test_no_classes(dtype):
    for shape, axis in (((0,), 0), ((3, 0), 1), ((0, 3), 0), ((2, 0, 5), 1), ((0, 0), 0)):
        x = np.empty(shape, dtype)
        for function in ("softmax", "log_softmax"):
            y = FUNCTIONS[function](x, axis=axis)
            assert y.shape == shape and y.dtype == dtype
        left = shape[:axis] + shape[axis + 1 :]
        y = softlane.logsumexp(x, axis=axis)
        assert y.shape == left and y.dtype == dtype and (np.asarray(y) == -np.inf).all()
        out = np.zeros(left, dtype)
        assert softlane.logsumexp(x, axis=axis, out=out) is out and (out == -np.inf).all()
        kept = softlane.logsumexp(x, axis=axis, keepdims=True)
        assert kept.shape == (*shape[:axis], 1, *shape[axis + 1 :]) and (kept == -np.inf).all()
    assert isinstance(softlane.logsumexp(np.empty(0, np.float32)), np.float32)
    assert softlane.softmax([]).shape == (0,) and softlane.logsumexp([]) == -np.inf


@pytest.mark.parametrize("given", [*STORED, *SMALL_INTEGERS, *WIDE_INTEGERS], ids=str)
def test_a_scalar_is_one_class(given):
    result = reference.result_dtype(given)
    one = np.array(1).astype(given)
    for function in FUNCTIONS.values():
        assert function(np.empty((2, 0), given)).dtype == result
    for x in (one, one[()]):
        for axis in (0, -1):
            for function, expected in (("softmax", 1), ("log_softmax", 0), ("logsumexp", 1)):
                y = FUNCTIONS[function](x, axis=axis)
                assert type(y) is result.type and y == expected, function
    assert softlane.logsumexp(2.5) == 2.5 and type(softlane.logsumexp(2.5)) is np.float64
    with np.errstate(all="raise"):
        assert np.isnan(softlane.softmax(np.nan)) and np.isnan(softlane.softmax(np.inf))
        assert softlane.logsumexp(np.inf) == np.inf and softlane.logsumexp(-np.inf) == -np.inf


@stored
def test_a_scalar_with_out(dtype):
    x = np.array(2).astype(dtype)
    for function, expected in (("softmax", 1), ("log_softmax", 0), ("logsumexp", 2)):
        out = np.empty((), dtype)
        assert FUNCTIONS[function](x, out=out) is out and out == expected


def test_keepdims():
    x = random((2, 3, 4), np.float32)
    for array in (x, x[..., ::-1], x.astype(np.float16)):
        for axis in range(-3, 3):
            y = softlane.logsumexp(array, axis=axis)
            kept = softlane.logsumexp(array, axis=axis, keepdims=True)
            assert_same_bits(kept, np.expand_dims(y, axis))
            out = np.empty_like(kept)
            assert softlane.logsumexp(array, axis=axis, keepdims=True, out=out) is out
            assert_same_bits(out, kept)
    assert softlane.logsumexp(x[0, 0], keepdims=True).shape == (1,)
    assert softlane.logsumexp(np.float32(3), keepdims=True) == 3


# ---- out ---------------------------------------------------------------------------------------------------------


@elementwise
@stored
def test_out_may_be_the_transpose_of_the_input(function, dtype):
    square = random((40, 40), dtype)
    expected = FUNCTIONS[function](square.T.copy())
    assert_same_bits(FUNCTIONS[function](square.T, out=square), expected)


@functions
@floats
@pytest.mark.parametrize("far", [1e5, -1e5])
def test_rows_far_from_zero_in_place_and_on_several_threads(function, dtype, far):
    """Their maximum has to be known before anything is written, and by all threads that share a row."""
    for shape, axis in (*FORMS.values(), ((1, 200001), -1)):
        x = random(shape, dtype) + dtype.type(far)
        softlane.set_num_threads(1)
        expected = FUNCTIONS[function](x, axis)
        for threads in (1, 3):
            softlane.set_num_threads(threads)
            assert_same_bits(FUNCTIONS[function](x, axis), expected, f"{shape}, {threads} threads")
            same = x.copy()
            out = same if function != "logsumexp" else np.empty_like(expected)
            assert_same_bits(
                FUNCTIONS[function](same, axis, out=out), expected, f"{shape}, {threads} threads, in place"
            )


@stored
def test_logsumexp_may_overwrite_a_part_of_its_input(dtype):
    for shape, axis in ((9, 10), -1), ((9, 100), -1), ((9, 20), 0), ((9, 5000), -1):
        x = random(shape, dtype)
        expected = softlane.logsumexp(x, axis=axis)
        for start in (0, 1, x.size - expected.size):
            y = x.copy()
            out = y.reshape(-1)[start : start + expected.size]
            assert_same_bits(softlane.logsumexp(y, axis=axis, out=out), expected, f"{shape} {start}")
        y = x.copy()
        out = y.reshape(-1)[: 2 * expected.size : 2]
        assert_same_bits(softlane.logsumexp(y, axis=axis, out=out), expected, f"{shape} strided")


# ---- layouts -----------------------------------------------------------------------------------------------------


@functions
@stored
@forms
def test_the_input_is_never_written_to(function, dtype, form):
    shape, axis = FORMS[form]
    x = random(shape, dtype)
    x.reshape(-1)[0] += 30  # a confident row, which is read again
    x.reshape(-1)[-1] = np.nan
    before = x.copy()
    result = FUNCTIONS[function](x, axis=axis)
    assert not np.shares_memory(result, x)
    assert_same_bits(x, before)


def test_results_are_fresh_plain_arrays():
    x = random((3, 5), np.float32)
    for array in (x, np.asfortranarray(x), x[:, ::-1], x.astype(np.float16), x.astype(np.int8)):
        y = softlane.softmax(array)
        assert y.flags.c_contiguous and y.flags.writeable and y.flags.owndata and type(y) is np.ndarray


# ---- the floating-point environment --------------------------------------------------------------------------------


@functions
def test_rounding_and_subnormals_of_the_caller_stay(function):
    """A kernel that switched the rounding mode, or subnormal numbers off, would change later arithmetic."""
    libm = ctypes.CDLL(None) if sys.platform != "win32" else None
    rounding = libm.fegetround() if libm else None
    for dtype in FLOATS:
        for shape, axis in FORMS.values():
            FUNCTIONS[function](random(shape, dtype) * 30, axis=axis)
    smallest = np.array([1e-45, 1e-45], np.float32)
    assert (smallest + smallest == 2 * np.float64(smallest)).all() and (smallest * np.float32(1) != 0).all()
    if libm:
        assert libm.fegetround() == rounding
