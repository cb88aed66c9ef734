"""Every result is within 2 ULP of the exact one: hard rows of every length, in every form, dtype and path.

logsumexp is measured in ulps of the larger of its result and the row's maximum, since the sum of the two can cancel.
The bound is the contract. It is never loosened.
"""

import functools
import math

import numpy as np
import pytest
import reference
from cases import FLOATS, FUNCTIONS, HALVES, HARD, assert_same_bits, bits, form_of, hard_rows

import softlane

BOUND = 2.0

SHORT_LENGTHS = list(range(1, 131))
LONG_LENGTHS = [2**k + d for k in range(8, 21) for d in (-1, 0, 1)]
INNER = [2, 3, 7, 8, 15, 16, 17, 33, 64, 100, 513]
COLUMNS = [(n, inner) for n in (1, 2, 3, 10, 21, 33, 80, 130) for inner in INNER]
COLUMNS += [(n, inner) for n in (1000, 4096, 4097, 9000) for inner in (2, 8, 17)]

by_name = {"ids": lambda make: make.__name__}
dtypes = pytest.mark.parametrize("dtype", FLOATS, ids=str)


@functools.lru_cache(maxsize=3)
def exact_results(make, dtype, shapes):
    """For each (rows, n): x, then the exact values and the scale of each function, and what has been measured."""
    if not reference.EXACT[dtype]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    found = []
    for rows, n in shapes:
        x = hard_rows(make, rows, n, dtype)
        scales = {"logsumexp": x.max(axis=-1)}
        found.append((x, {f: (y, scales.get(f), []) for f, y in reference.exact_results(x).items()}))
    return found


def sample(isa, shapes):
    """The portable path may take a library call for each fma: it gets every fifth of the small shapes."""
    if isa != "portable":
        return range(len(shapes))
    return [i for i, (rows, n) in enumerate(shapes) if i % 5 == 0 and rows * n <= 70000]


def check(largest, function, form, x, got, exact, scale, measured):
    if any(np.array_equal(bits(got), bits(other)) for other in measured):
        return  # the bits of another path
    errors = reference.ulp_error(got, exact, scale)
    worst = float(errors.max())
    largest(function, x.dtype, form, worst)
    if worst <= BOUND:
        measured.append(got)
    else:
        at = tuple(int(i) for i in np.unravel_index(np.argmax(errors), errors.shape))
        raise AssertionError(
            f"{function} {x.dtype} {form} {x.shape}: {worst:.2f} ULP at {at}: got {got[at]!r}, exact {exact[at]!r}"
        )


@pytest.mark.parametrize("make", HARD, **by_name)
@dtypes
def test_rows_up_to_130_classes(make, dtype, isa, largest):
    shapes = tuple((21 if n <= 32 else 5, n) for n in SHORT_LENGTHS)
    results = exact_results(make, dtype, shapes)
    for i in sample(isa, shapes):
        x, expected = results[i]
        for function, of_function in expected.items():
            check(largest, function, form_of(x.shape[1], 1), x, FUNCTIONS[function](x), *of_function)


@pytest.mark.parametrize("make", HARD, **by_name)
@dtypes
def test_rows_around_powers_of_two(make, dtype, isa, largest):
    # The reference takes half a microsecond per element, so only a few kinds go all the way to 2^20.
    top = 2**20 if make.__name__ in ("normal", "spread", "confident", "offset") else 2**14
    shapes = tuple((1, n) for n in LONG_LENGTHS if n <= top + 1)
    results = exact_results(make, dtype, shapes)
    for i in sample(isa, shapes):
        x, expected = results[i]
        for function, of_function in expected.items():
            check(largest, function, form_of(x.shape[1], 1), x, FUNCTIONS[function](x), *of_function)


@pytest.mark.parametrize("make", HARD, **by_name)
@dtypes
def test_columns(make, dtype, isa, largest):
    shapes = tuple((2 * inner, n) for n, inner in COLUMNS)
    results = exact_results(make, dtype, shapes)
    for i in sample(isa, shapes):
        (n, inner), (x, expected) = COLUMNS[i], results[i]
        columns = np.ascontiguousarray(x.reshape(2, inner, n).transpose(0, 2, 1))
        for function, of_function in expected.items():
            got = FUNCTIONS[function](columns, axis=1)
            got = got.ravel() if function == "logsumexp" else got.transpose(0, 2, 1).reshape(-1, n)
            check(largest, function, form_of(n, inner), columns, got, *of_function)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("make", HARD, **by_name)
@dtypes
def test_against_arbitrary_precision(function, make, dtype):
    """The same bound with another reference, which holds where longdouble is no better than float64."""
    for n in (1, 2, 3, 9, 40):
        x = hard_rows(make, 2, n, dtype)
        for row, got in zip(x, np.atleast_2d(FUNCTIONS[function](x).reshape(2, -1)), strict=True):
            scale = abs(float(row.max())) if function == "logsumexp" else 0
            for value, exact in zip(got, reference.mp_rows(function, row), strict=True):
                if np.isinf(value):
                    assert abs(exact) > np.finfo(dtype).max
                else:
                    assert reference.mp_ulp_error(value, exact, dtype, scale) <= BOUND, (n, row, value)


@pytest.mark.any_isa
@pytest.mark.parametrize("make", HARD, **by_name)
@dtypes
def test_the_reference_itself_is_within_a_hundredth(make, dtype):
    if not reference.EXACT[dtype]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    for n in (1, 2, 3, 9, 40):
        x = hard_rows(make, 1, n, dtype)
        for function in FUNCTIONS:
            found = np.ravel(getattr(reference, f"exact_{function}")(x))
            unit = reference.ulp(np.maximum(abs(found), abs(x.max())) if function == "logsumexp" else found, dtype)
            for value, one, exact in zip(found, unit, reference.mp_rows(function, x[0]), strict=True):
                with reference.mpmath.workprec(600):
                    assert abs(reference.mp_of(value) - exact) <= 0.01 * reference.mp_of(one), (function, n)


@pytest.mark.any_isa
def test_ulp_error_counts_as_promised():
    one = np.float32([1.0])
    assert reference.ulp_error(one, np.longdouble([1]) + np.longdouble(2) ** -24) == [0.5]
    assert reference.ulp_error(np.nextafter(one, np.float32(2)), np.longdouble([1])) == [1]
    assert reference.ulp_error(np.float32([0]), np.longdouble([2.0**-149])) == [1]
    assert reference.ulp_error(np.float32([2.0**-149]), np.longdouble([2.0**-151])) == [0.75]
    assert reference.ulp_error(np.float32([np.inf]), np.longdouble([3e38])) == [np.inf]
    assert reference.ulp_error(np.float32([np.inf]), np.longdouble([1e39])) == [0]
    assert reference.ulp_error(np.float32([1e-45]), np.longdouble([0])) == [np.inf]
    assert reference.ulp_error(np.float32([np.nan]), np.longdouble([1])) == [np.inf]
    assert reference.ulp_error(np.float32([0.25]), np.longdouble([0.25]) + 2.0**-24, np.float32([1])) == [0.5]


# ---- float16 and bfloat16 ----------------------------------------------------------------------------------------


def half_rows(make, rows, n, dtype):
    """Hard rows within the range of dtype."""
    x = hard_rows(make, rows, n, np.float32)
    return np.clip(x, -60000, 60000).astype(dtype) if dtype == np.float16 else x.astype(dtype)


@pytest.mark.parametrize("make", HARD, **by_name)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_16_bit_floats_are_the_float32_result_rounded_once(make, dtype, isa, largest):
    for n, inner in ((1, 1), (2, 1), (17, 1), (32, 1), (33, 1), (130, 1), (4097, 1), (5, 3), (21, 40), (4097, 2)):
        x = half_rows(make, 2 * inner, n, dtype)
        x = np.ascontiguousarray(x.reshape(2, inner, n).transpose(0, 2, 1))
        for function, compute in FUNCTIONS.items():
            got, wide = compute(x, axis=1), compute(x.astype(np.float32), axis=1)
            with np.errstate(over="ignore", under="ignore"):
                assert_same_bits(got, wide.astype(dtype), f"{function} {n} {inner}")
            exact = getattr(reference, f"exact_{function}")(x, axis=1)
            m = np.abs(x.astype(np.float32).max(axis=1)) if function == "logsumexp" else 0
            slack = BOUND * reference.ulp(np.maximum(np.abs(exact), m), np.float32) / reference.ulp(exact, dtype)
            errors = reference.ulp_error(got, exact)
            # where float32 underflows to 0 the exact value is below half of the smallest number here
            over = errors - np.where(got.astype(np.float32) == 0, np.maximum(slack, 2.0**-20), slack)
            largest(function, dtype, form_of(n, inner), np.where(np.isfinite(errors), errors, 0).max())
            assert over.max() <= 0.5, (function, n, inner)


@pytest.mark.parametrize("weight", [2.0**-6, 1 / 16, 0.5, 4.0])
@pytest.mark.parametrize("n", [5000, 1 << 16, 1 << 20])
@pytest.mark.parametrize("inner", [1, 3, 16])
def test_one_class_beside_very_many_tiny_equal_ones(n, inner, weight):
    """Each of the others is below the last bit of the sum: what is lost of them adds up if it is lost the same way.

    The sum of equal terms is a product, so float64 is exact enough without a reference of its own.
    """
    if n == 1 << 20 and inner > 1:
        pytest.skip("the parts of long columns are covered by the shorter ones")
    small = np.float32(np.log(weight / (n - 1)))
    x = np.full((n, inner), small, np.float32)
    x[n // 3] = 0
    z = (n - 1) * math.exp(float(small))
    log, other = math.log1p(z), math.exp(float(small)) / (1 + z)
    for got, exact in (
        (softlane.log_softmax(x, axis=0)[n // 3, 0], -log),
        (softlane.log_softmax(x, axis=0)[0, 0], float(small) - log),
        (softlane.logsumexp(x, axis=0)[0], log),
        (softlane.softmax(x, axis=0)[n // 3, 0], 1 / (1 + z)),
        (softlane.softmax(x, axis=0)[0, 0], other),
    ):
        assert abs(float(got) - exact) <= 2 * 2.0 ** (math.floor(math.log2(abs(exact))) - 23), (got, exact)
