"""Searches that take minutes: every float32 through exp, and millions of random rows. Prints the largest error found.

Run with SOFTLANE_STRESS=1, and -s to see the errors of passing tests.
"""

import numpy as np
import pytest
import reference
from cases import FLOATS, FUNCTIONS, HARD, form_of, hard_rows

import softlane

pytestmark = pytest.mark.stress

BOUND = 2.0
BLOCK = 1 << 22


def exact_beside_zero(name, x):
    """The function of [x, 0], and the number whose ULP counts, in float64: exp(-x) + 1 loses nothing of note there."""
    e, largest = np.exp(-abs(x)), np.maximum(x, 0)
    if name == "softmax":
        exact = np.where(x > 0, [1 / (1 + e), e / (1 + e)], [e / (1 + e), 1 / (1 + e)]).T
    elif name == "log_softmax":
        exact = (np.stack([x, np.zeros_like(x)]) - largest - np.log1p(e)).T
    else:
        exact = largest + np.log1p(e)
        return exact, np.maximum(abs(exact), largest)
    return exact, abs(exact)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_float32_beside_zero(name, isa, capsys):
    """Rows [x, 0] for all 2^32 bit patterns x: NaN where it belongs, and every 16th within 2 ULP.

    The portable path, whose fma may be a library call, takes every 17th block.
    """
    worst, at = 0.0, None
    rows = np.zeros((BLOCK, 2), np.float32)
    for block in range(0, (1 << 32) // BLOCK, 1 if isa != "portable" else 17):
        rows[:, 0] = column = np.arange(block * BLOCK, (block + 1) * BLOCK, dtype=np.uint32).view(np.float32)
        results = FUNCTIONS[name](rows)
        is_nan = np.isnan(column) | ((column == np.inf) & (name != "logsumexp"))
        assert (is_nan == np.isnan(results).T).all()
        sample = np.arange(block % 16, BLOCK, 16)
        sample = sample[~is_nan[sample]]
        if not sample.size:
            continue
        with np.errstate(all="ignore"):
            exact, scale = exact_beside_zero(name, column[sample].astype(np.float64))
            _, exponent = np.frexp(scale)
            errors = abs(results[sample] - exact) / np.ldexp(1.0, np.maximum(exponent, -125) - 24)
            errors = np.where(results[sample] == exact, 0, errors)  # infinities among them
        errors = errors.reshape(len(sample), -1).max(axis=1)
        if errors.max() > worst:
            worst, at = float(errors.max()), float(column[sample[errors.argmax()]])
    with capsys.disabled():
        print(f"\n{isa}: {name}([x, 0]) over all float32 x: at most {worst:.4f} ULP, at x = {at!r}")
    assert worst <= BOUND


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid"])
def test_every_float32_through_the_sigmoids(name, isa, capsys):
    """All 2^32 bit patterns, on the portable path every 17th block."""
    worst, at = 0.0, None
    for block in range(0, (1 << 32) // BLOCK, 1 if isa != "portable" else 17):
        x = np.arange(block * BLOCK, (block + 1) * BLOCK, dtype=np.uint32).view(np.float32)
        got = getattr(softlane, name)(x)
        nan = np.isnan(x)
        assert (np.isnan(got) == nan).all()
        with np.errstate(all="ignore"):
            wide = x.astype(np.float64)
            exact = 1 / (1 + np.exp(-wide)) if name == "sigmoid" else np.minimum(wide, 0) - np.log1p(np.exp(-abs(wide)))
            exact = np.where(nan | (got == exact), 0, exact)  # infinities among them
            _, exponent = np.frexp(exact)
            errors = abs(np.where(exact == 0, 0, got) - exact) / np.ldexp(1.0, np.maximum(exponent, -125) - 24)
        if errors.max() > worst:
            worst, at = float(errors.max()), float(x[errors.argmax()])
    with capsys.disabled():
        print(f"\n{isa}: {name} of all float32: at most {worst:.4f} ULP, at x = {at!r}")
    assert worst <= BOUND


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_millions_of_rows(function, dtype, isa, capsys):
    """Rows of all kinds, lengths and inner lengths: some twenty million elements for each function and dtype."""
    if not reference.EXACT[dtype]:
        pytest.skip("no longdouble on this platform is precise enough to measure float64")
    worst = {}
    rng = np.random.default_rng(20)
    for _ in range(40 if isa != "portable" else 4):
        for make in HARD:
            n = int(np.exp(rng.uniform(0, np.log(6000))))
            inner = int(rng.choice([1, 1, 1, 2, 5, 16, 40]))
            rows = max(1, 30000 // (n * inner))
            x = make(rng, rows * inner, n, dtype)
            with np.errstate(over="ignore"):
                x = np.ascontiguousarray(x.astype(dtype).reshape(rows, inner, n).transpose(0, 2, 1))
            got = FUNCTIONS[function](x, axis=1)
            exact = getattr(reference, f"exact_{function}")(x, axis=1)
            error = reference.ulp_error(got, exact, x.max(axis=1) if function == "logsumexp" else None).max()
            key = form_of(n, inner), make.__name__
            worst[key] = max(worst.get(key, 0.0), float(error))
    with capsys.disabled():
        for (form, name), error in sorted(worst.items(), key=lambda item: -item[1])[:5]:
            print(f"\n{isa} {function} {dtype} {form} {name}: {error:.4f} ULP", end="")
    assert max(worst.values()) <= BOUND


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sixteen_million_classes(function, dtype, isa):
    """Uniform rows, where sums that grow with the row lose hundreds of ULP."""
    if isa == "portable" or not reference.EXACT[dtype]:
        pytest.skip("takes too long, or cannot be measured here")
    x = hard_rows(HARD[1], 1, 1 << 24, dtype)
    exact = getattr(reference, f"exact_{function}")(x)
    scale = x.max(axis=-1) if function == "logsumexp" else None
    assert reference.ulp_error(FUNCTIONS[function](x), exact, scale).max() <= BOUND


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=lambda d: np.dtype(d).name)
@pytest.mark.any_isa
def test_more_than_two_to_the_31_elements(dtype):
    """Indices of 64 bits: rows that lie beyond 2^31 elements. Takes 10 GB."""
    n = 1000
    rows = (1 << 31) // n + 3
    try:
        x = np.zeros((rows, n), dtype)
    except MemoryError:
        pytest.skip("not enough memory")
    x[-1] = np.arange(n) % 7
    softlane.softmax(x, out=x)
    assert (x[0] == dtype(1 / n)).all() and (x[-2] == dtype(1 / n)).all()
    np.testing.assert_array_equal(x[-1], softlane.softmax((np.arange(n) % 7).astype(dtype)))
