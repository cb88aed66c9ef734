"""The result of a row is a function of that row alone: the same bits on every path, with any threads, in any place."""

import numpy as np
import pytest
import reference
from cases import FORMS, FUNCTIONS, HARD, STORED, assert_same_bits, hard_rows, random

import softlane
from softlane import _core

functions = pytest.mark.parametrize("function", FUNCTIONS)
dtypes = pytest.mark.parametrize("dtype", STORED, ids=str)
forms = pytest.mark.parametrize("form", FORMS)


def on_path(name, compute, *args, **kwargs):
    before = _core.active_isa()
    assert _core.use_isa(name)
    try:
        return compute(*args, **kwargs)
    finally:
        _core.use_isa(before)


# ---- paths -------------------------------------------------------------------------------------------------------


@functions
@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
@pytest.mark.any_isa
def test_all_paths_return_the_same_bits(function, make):
    compute = FUNCTIONS[function]
    paths = [path for path in _core.available_isas() if path != "portable"]
    if not paths:
        pytest.skip("this build and processor have the portable path only")
    shapes = [(n, 1) for n in (*range(1, 70), 127, 1000, 4095, 4096, 4097, 9001)]
    shapes += [(n, inner) for n in (1, 2, 5, 33, 300) for inner in (2, 3, 9, 15, 16, 17, 40)]
    shapes += [(4097, 3), (4097, 17)]
    for dtype in STORED[:2]:
        for n, inner in shapes:
            rows = 19 if n <= 32 else 2
            x = hard_rows(make, rows * inner, n, dtype).reshape(rows, n, inner)
            expected = on_path("portable", compute, x, axis=1)
            for path in paths:
                assert_same_bits(on_path(path, compute, x, axis=1), expected, f"{path} {dtype} {n} {inner}")


@functions
@dtypes
@forms
@pytest.mark.any_isa
def test_all_paths_agree_on_rows_with_special_values(function, dtype, form):
    shape, axis = FORMS[form]
    x = random(shape, np.float32, seed=11)
    rng = np.random.default_rng(12)
    for value in (np.nan, np.inf, -np.inf, -0.0, 1e-42):
        x[rng.random(shape) < 0.4 / shape[axis]] = value
    x = np.moveaxis(x, axis, -1)
    x.reshape(-1, x.shape[-1])[0] = -np.inf
    x = np.ascontiguousarray(np.moveaxis(x, -1, axis)).astype(dtype)
    expected = on_path("portable", FUNCTIONS[function], x, axis=axis)
    for path in _core.available_isas():
        assert_same_bits(on_path(path, FUNCTIONS[function], x, axis=axis), expected, path)


# ---- threads -----------------------------------------------------------------------------------------------------

# Above and below the some 100 000 elements from which a call is shared out; long rows in three ways: fewer rows than
# threads, so that a row's blocks are shared out; many rows; one row.
THREADED = [
    ((1000, 10), -1), ((20011, 10), -1), ((30, 700), -1), ((501, 700), -1), ((2, 9001), -1), ((31, 9001), -1),
    ((3, 70001), -1), ((1, 300001), -1), ((3, 21, 5003), 1), ((30001, 5, 3), 1), ((1, 4099, 67), 1), ((9, 4100, 7), 1),
]  # fmt: skip


@functions
@dtypes
@pytest.mark.parametrize(("shape", "axis"), THREADED, ids=str)
def test_the_number_of_threads_does_not_show(function, dtype, shape, axis):
    x = random(shape, dtype, seed=1)
    softlane.set_num_threads(1)
    expected = FUNCTIONS[function](x, axis=axis)
    for threads in (2, 3, 7):
        softlane.set_num_threads(threads)
        assert_same_bits(FUNCTIONS[function](x, axis=axis), expected, f"{threads} threads")
        if function != "logsumexp":
            y = x.copy()
            FUNCTIONS[function](y, axis=axis, out=y)
            assert_same_bits(y, expected, f"{threads} threads, in place")


# ---- place in the batch ------------------------------------------------------------------------------------------


@functions
@dtypes
@pytest.mark.parametrize("n", [1, 2, 10, 16, 17, 31, 32, 33, 100, 257, 1000, 4096, 4097, 8193])
def test_a_row_alone_and_at_every_position_of_a_batch(function, dtype, n):
    compute = FUNCTIONS[function]
    x = random((35, n), dtype, seed=n)
    x[5, n // 2] += 20  # a confident row among ordinary ones
    x[9] += 20000  # and one far from zero
    full = compute(x)
    for i in range(35):
        assert_same_bits(compute(x[i]), full[i], f"row {i} alone")
        assert_same_bits(compute(x[i : i + 1])[0], full[i], f"row {i} as a batch of one")
    for size in (2, 3, 7, 15, 16, 17, 31):
        for start in (0, 1, 35 - size):
            assert_same_bits(compute(x[start : start + size]), full[start : start + size], f"{start}, {size}")


@functions
@dtypes
def test_neighbours_do_not_matter(function, dtype):
    """Whatever the other rows hold: NaN, infinities, confident rows, rows far from zero."""
    compute = FUNCTIONS[function]
    for n in (3, 32, 50, 1000, 4097):
        x = random((17, n), dtype, seed=n)
        alone = compute(x[8])
        for fill in (np.nan, np.inf, -np.inf, 0, 30000, -30000):
            batch = np.full_like(x, fill)
            batch[:, 0] += 5 if np.isfinite(fill) else 0
            batch[8] = x[8]
            assert_same_bits(compute(batch)[8], alone, f"{n} {fill}")
            if function != "logsumexp":
                assert_same_bits(compute(batch, out=batch)[8], alone, f"{n} {fill} in place")


@functions
@dtypes
@pytest.mark.parametrize("n", [1, 2, 5, 21, 33, 300, 4097])
def test_a_column_among_any_other_columns(function, dtype, n):
    """Any part of an inner axis has the bits of the whole, as long as the form is the same.

    Two other forms sum in another order: an inner axis of 1, and one narrower than a vector with more classes than
    short rows have. Such narrow columns are turned into rows, and have the bits of rows.
    """
    compute = FUNCTIONS[function]
    x = random((3, n, 70), dtype, seed=n)
    full = compute(x, axis=1)
    lanes = 64 // np.dtype(dtype).itemsize
    for width in (2, 3, 7, 8, 15, 16, 17, 33):
        for start in (0, 1, 5, 16, 70 - width):
            part = np.ascontiguousarray(x[..., start : start + width])
            expected = full[..., start : start + width]
            if n > 32 and width < lanes:
                rows = compute(np.ascontiguousarray(part.swapaxes(1, 2)), axis=-1)
                expected = rows if function == "logsumexp" else rows.swapaxes(1, 2)
            assert_same_bits(compute(part, axis=1), expected, f"{start}, {width}")
    for i in range(3):
        assert_same_bits(compute(x[i : i + 1], axis=1)[0], full[i], f"outer index {i}")


# ---- memory ------------------------------------------------------------------------------------------------------


@functions
@dtypes
@forms
def test_alignment_does_not_matter(function, dtype, form):
    shape, axis = FORMS[form]
    x = random(shape, dtype, seed=2)
    expected = FUNCTIONS[function](x, axis=axis)
    room = np.empty(x.size + 16, dtype)
    result = np.empty(expected.size + 16, dtype)
    for shift in range(16):
        moved = room[shift : shift + x.size].reshape(shape)
        moved[...] = x
        assert_same_bits(FUNCTIONS[function](moved, axis=axis), expected, f"x at {shift}")
        out = result[15 - shift : 15 - shift + expected.size].reshape(expected.shape)
        FUNCTIONS[function](moved, axis=axis, out=out)
        assert_same_bits(out, expected, f"x at {shift}, out at {15 - shift}")


@functions
@dtypes
@forms
def test_in_place_or_into_any_out(function, dtype, form):
    shape, axis = FORMS[form]
    compute = FUNCTIONS[function]
    x = random(shape, dtype, seed=3)
    expected = compute(x, axis=axis)
    outs = {
        "contiguous": np.empty(expected.shape, dtype),
        "Fortran": np.empty(expected.shape, dtype, order="F"),
        "strided": np.empty((*expected.shape[:-1], 3 * expected.shape[-1]), dtype)[..., ::3],
        "negative": np.empty(expected.shape, dtype)[::-1],
    }
    for name, out in outs.items():
        assert compute(x, axis=axis, out=out) is out
        assert_same_bits(out, expected, name)
    if function != "logsumexp":
        for order in "CF":
            y = x.copy(order=order)
            compute(y, axis=axis, out=y)
            assert_same_bits(y, expected, f"in place, order {order}")


@functions
@pytest.mark.parametrize("dtype", STORED[2:], ids=str)
@forms
def test_half_precision_has_the_bits_of_the_rounded_float32_result(function, dtype, form):
    shape, axis = FORMS[form]
    x = random(shape, dtype, seed=4)
    wide = FUNCTIONS[function](x.astype(np.float32), axis=axis)
    with np.errstate(under="ignore"):
        assert_same_bits(FUNCTIONS[function](x, axis=axis), wide.astype(dtype))


@pytest.mark.parametrize("dtype", STORED[2:], ids=str)
def test_every_half_precision_number_is_read_and_rounded_right(dtype):
    """All 65536 bit patterns: logsumexp of one class is the number itself, through both conversions."""
    x = np.arange(65536, dtype=np.uint16).view(dtype)
    nan = np.isnan(x.astype(np.float32))
    for got in (softlane.logsumexp(x[:, None]), softlane.logsumexp(x.reshape(256, 1, 256), axis=1).ravel()):
        assert_same_bits(got[~nan], x[~nan] + dtype.type(0))  # -0.0 + log(1) is 0.0
        assert (got[nan].view(np.uint16) == (0x7E00 if dtype == np.float16 else 0x7FC0)).all()
    # Halfway cases and their neighbours: probabilities of two classes over the whole range, against another rounding
    pairs = np.stack([x[~nan], np.zeros_like(x[~nan])], axis=1)
    with np.errstate(all="ignore"):
        assert_same_bits(softlane.softmax(pairs), softlane.softmax(pairs.astype(np.float32)).astype(dtype))
        assert_same_bits(softlane.log_softmax(pairs), softlane.log_softmax(pairs.astype(np.float32)).astype(dtype))


@functions
@pytest.mark.any_isa
def test_a_large_strided_array_cut_into_pieces_has_the_bits_of_the_whole(function):
    """Copies of what the kernels cannot read are made in pieces, which must not change the form (inner 1 or more)."""
    compute = FUNCTIONS[function]
    shapes = [((3, 40, 9001), 1), ((90001, 7), 0), ((500, 3, 701), 2), ((2, 300001), 1), ((7, 90001), 0)]
    shapes += [((40001, 40), 0), ((9001, 100), 0), ((4, 20011, 17), 1)]  # pieces narrower than a vector, if cut alike
    for shape, axis in shapes:
        wide = random((*shape[:-1], 2 * shape[-1]), np.float32, seed=5)
        x = wide[..., ::2]
        expected = compute(np.ascontiguousarray(x), axis=axis)
        out = np.empty((*expected.shape, 2), np.float32)[..., 0]
        assert_same_bits(compute(x, axis=axis, out=out), expected, f"{shape} {axis}")
        assert_same_bits(compute(x, axis=axis), expected, f"{shape} {axis}, no out")


def test_the_reference_is_another_implementation():
    """Not bits, but a guard for this file: what it compares are results, not the same wrong numbers everywhere."""
    for shape, axis in FORMS.values():
        x = random(shape, np.float32, seed=6)
        for name, compute in FUNCTIONS.items():
            exact = getattr(reference, f"exact_{name}")(x, axis)
            scale = x.max(axis) if name == "logsumexp" else None
            assert reference.ulp_error(compute(x, axis=axis), exact, scale).max() <= 2
