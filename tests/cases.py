"""What the tests share: a shape for every form of the kernels, rows that are hard to compute, comparison of bits."""

import numpy as np
import reference

import softlane

FUNCTIONS = {"softmax": softlane.softmax, "log_softmax": softlane.log_softmax, "logsumexp": softlane.logsumexp}
FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]
HALVES = [np.dtype(np.float16), reference.BFLOAT16]
STORED = FLOATS + HALVES

# Which form runs follows from the class count and the inner length alone. A shape and an axis for each:
FORMS = {
    "short rows": ((37, 10), -1),
    "rows": ((21, 100), -1),
    "long rows": ((2, 9001), -1),
    "tiles": ((3, 7, 45), 1),
    "narrow tiles": ((5, 9, 3), 1),
    "narrow columns": ((5, 40, 3), 1),
    "long columns": ((1, 4099, 19), 1),
    "narrow long columns": ((2, 4100, 3), 1),
}
# Two classes, which have kernels of their own, for tests that need no third one
FORMS_FROM_TWO = {"two classes": ((37, 2), -1), "two planes": ((3, 2, 45), 1), **FORMS}


def form_of(n, inner):
    if inner == 1:
        return "short rows" if n <= 32 else "rows" if n <= 4096 else "long rows"
    return "tiles" if n <= 4096 else "long columns"


def random(shape, dtype, seed=0, spread=4.0):
    return (np.random.default_rng(seed).standard_normal(shape) * spread).astype(np.float32).astype(dtype)


def bits(a):
    a = np.ascontiguousarray(a)
    return a.reshape(a.shape or (1,)).view(f"u{a.dtype.itemsize}").reshape(a.shape)


def assert_same_bits(got, expected, note=""):
    """Shape, dtype and every bit, so that 0.0 is not -0.0 and no NaN is like another."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape and got.dtype == expected.dtype, (got.shape, expected.shape, note)
    differ = bits(got) != bits(expected)
    if differ.any():
        i = tuple(int(k[0]) for k in np.nonzero(differ)) if got.ndim else ()
        raise AssertionError(f"{np.count_nonzero(differ)} differ, first at {i}: {got[i]!r} {expected[i]!r} {note}")


CANONICAL_NAN = {2: {np.dtype("f2"): 0x7E00, reference.BFLOAT16: 0x7FC0}, 4: 0x7FC00000, 8: 0x7FF8000000000000}


def canonical_nan(dtype):
    found = CANONICAL_NAN[dtype.itemsize]
    return found[dtype] if isinstance(found, dict) else found


def all_nan(a):
    """Every element is the canonical quiet NaN."""
    a = np.asarray(a)
    return bool((bits(a) == canonical_nan(a.dtype)).all())


# ---- hard rows ---------------------------------------------------------------------------------------------------
# Each takes a generator, the number of rows, their length and the dtype, and returns (rows, n).


def normal(rng, rows, n, dtype):
    return rng.standard_normal((rows, n)) * 3


def uniform(rng, rows, n, dtype):
    return rng.random((rows, n))


def spread(rng, rows, n, dtype):
    return rng.uniform(-200, 200, (rows, n))


def dominant(rng, rows, n, dtype):
    x = rng.standard_normal((rows, n))
    x[np.arange(rows), rng.integers(n, size=rows)] += 30
    return x


def confident(rng, rows, n, dtype):
    """p(max) just below 1, where log_softmax of the maximum is -(1 - p): gaps of 2 to 60 above all the others."""
    x = -np.abs(rng.standard_normal((rows, n)))
    x[np.arange(rows), rng.integers(n, size=rows)] = rng.uniform(2, 60, rows)
    return x + rng.choice([0, 0.1, -17.3, 90, 3000], (rows, 1))


def ties(rng, rows, n, dtype):
    return rng.integers(-3, 4, (rows, n)) * 1.7


def equal(rng, rows, n, dtype):
    return np.broadcast_to(rng.standard_normal((rows, 1)) * 100, (rows, n))


def two_valued(rng, rows, n, dtype):
    high, low = rng.standard_normal((2, rows, 1)) * 5
    return np.where(rng.random((rows, n)) < 0.5, high, low)


def patterned(rng, rows, n, dtype):
    """Two values in the rhythm of the lanes: a sum per lane, or one that drops a lane, is off by a whole class."""
    high, low = rng.standard_normal((2, rows, 1)) * 5
    period = rng.choice([16, 32, 64], (rows, 1))
    phase = (np.arange(n) + rng.integers(64, size=(rows, 1))) % period
    return np.where(phase < rng.choice([1, 8, 15], (rows, 1)), high, low)


def offset(rng, rows, n, dtype):
    """Far from zero, on either side of the thresholds where a kernel may change its ways, and at both ends."""
    far = [0, 1, 10, 88, 255, 256, 257, 1000, 4095, 4096, 4097, 65535, 65536, 65537, 1e6, 1e7, 1e10, 1e20, 1e30]
    step = rng.choice([1.0, 16.0], (rows, 1))
    return rng.choice(far, (rows, 1)) * rng.choice([-1, 1], (rows, 1)) + rng.standard_normal((rows, n)) * step


def underflow(rng, rows, n, dtype):
    """x - max where exp(x - max) leaves the normal numbers, and then all numbers."""
    low, high = (-104.5, -86.5) if dtype == np.float32 else (-746.0, -707.5)
    x = rng.uniform(low, high, (rows, n))
    x[np.arange(rows), rng.integers(n, size=rows)] = 0
    return x + rng.choice([0, 50, -300, 5000], (rows, 1))


def tiny(rng, rows, n, dtype):
    return rng.standard_normal((rows, n)) * rng.choice([1e-3, 1e-8, 1e-20, 1e-39], (rows, 1))


def extreme(rng, rows, n, dtype):
    """Differences that overflow."""
    return rng.choice([-1.0, -0.5, 0.5, 1.0], (rows, n)) * np.finfo(dtype).max


def half_steps(rng, rows, n, dtype):
    """Next to where x / ln2 * J rounds up rather than down: the ends of the interval of the polynomial of exp."""
    k = rng.integers(-1000, 1000, (rows, n))
    return ((k + 0.5) * (np.log(2) / 8)).astype(dtype) * (1 + rng.integers(-2, 3, (rows, n)) * np.finfo(dtype).eps)


def graded(rng, rows, n, dtype):
    """Every size of x at once, from 1e-8 to 1e3."""
    return rng.choice([-1, 1], (rows, n)) * 10.0 ** rng.uniform(-8, 3, (rows, n))


HARD = [
    normal, uniform, spread, dominant, confident, ties, equal, two_valued,
    patterned, offset, underflow, tiny, extreme, half_steps, graded,
]  # fmt: skip


def hard_rows(make, rows, n, dtype):
    rng = np.random.default_rng([HARD.index(make), rows, n])
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(make(rng, rows, n, np.dtype(dtype)).astype(dtype))
