"""Check this installation: the error and the bits of every instruction set path, and times beside plain NumPy.

Prints nothing: `softlane check` shows it, and bench/ uses the reference. Not imported by `import softlane`.
"""

from __future__ import annotations

import contextlib
import decimal
import itertools
import math
import timeit
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import softlane
from softlane import _core

Array = NDArray[Any]

OPS = ("softmax", "log_softmax", "logsumexp")
LIMIT_ULP = 2.0

# The classes are along axis 1. These shapes reach every kernel: short rows, rows, long rows that threads share, packed
# tiles, a small inner length. Most lengths are no multiple of the vector length.
SHAPES = [
    *((67, n) for n in (1, 2, 3, 10, 17, 32)),
    *((4, n) for n in (33, 100, 1000, 4097)),
    *((2, 60021), (2, 21, 67), (1, 300, 16), (1, 10, 1000)),
    *((9, 2, 2), (6, 10, 3), (4, 100, 7), (4, 33, 15)),
]
# One box, classifier heads, detection, a vocabulary, a segmentation map.
TIMED = [
    *(("softmax", (rows, n)) for rows, n in ((1, 10), (100000, 10), (8400, 80), (256, 1000), (1, 128256))),
    ("softmax", (1, 21, 256, 256)),
    ("log_softmax", (256, 1000)),
    ("logsumexp", (256, 1000)),
]
ROUNDS = 8
SAMPLE = 0.005  # seconds that a sample takes at least


class Check(NamedTuple):
    """One path, operation and dtype over every shape: `worst` has the largest error, `differs` lists other bits."""

    isa: str
    op: str
    dtype: str
    ulp: float
    worst: str
    differs: list[str]


class Timed(NamedTuple):
    """One case: nanoseconds for one call of each."""

    case: str
    elements: int
    threads: int
    softlane: float
    numpy: float
    limit: float


# ---- The reference ----


def logits(shape: tuple[int, ...], dtype: str) -> Array:
    """Rows of four kinds in turn: usual logits, a spread of +-80, a large offset, one confident class."""
    rng = np.random.default_rng(0)
    x = np.moveaxis(np.empty(shape), 1, -1)
    rows = 4.0 * rng.standard_normal((x.size // x.shape[-1], x.shape[-1]))
    rows[1::4] = rng.uniform(-80, 80, rows[1::4].shape)
    rows[2::4] += 1000
    rows[3::4, -1] += 40
    return np.ascontiguousarray(np.moveaxis(rows.reshape(x.shape), -1, 1), dtype)


def as_rows(a: Array) -> Array:
    """The 2-d array whose rows are the classes, those at axis 1."""
    return np.moveaxis(a, 1, -1).reshape(-1, a.shape[1])


def _widen(a: Array) -> Array:
    """float32 as float64, float64 as decimal numbers: no long double, which many platforms lack."""
    if a.dtype == np.float32:
        return a.astype(np.float64)
    return np.array([decimal.Decimal(v) for v in a.ravel().tolist()], object).reshape(a.shape)


def _log1p(v: Any) -> Any:
    if isinstance(v, float):
        return math.log1p(v)
    return v - v * v / 2 if v < decimal.Decimal("1e-20") else (1 + v).ln()


def reference(rows: Array) -> dict[str, tuple[Array, Array]]:
    """The operations on the rows of a 2-d array, and the magnitudes in whose ulp the errors count.

    In float64 for float32; in 50 decimal digits, which take some 20 us for each element, for float64.
    """
    with decimal.localcontext(decimal.Context(prec=50)):
        wide = _widen(rows)
        top = wide.max(axis=1, keepdims=True)
        shifted = wide - top
        e = np.exp(shifted)
        one = (np.arange(len(rows)), rows.argmax(axis=1))
        e[one] -= 1  # exactly zero: the other classes alone, so that a confident row loses nothing
        others = e.sum(axis=1, keepdims=True)
        e[one] += 1
        log_sum = np.frompyfunc(_log1p, 1, 1)(others).astype(wide.dtype)
        results = {"softmax": e / (1 + others), "log_softmax": shifted - log_sum, "logsumexp": top + log_sum}
        magnitudes = {op: abs(value) for op, value in results.items()}
        magnitudes["logsumexp"] = np.maximum(magnitudes["logsumexp"], abs(top))
        return {op: (results[op], magnitudes[op].astype(np.float64)) for op in OPS}


def ulp_error(got: Array, exact: Array, magnitude: Array) -> float:
    """Largest error in ulps of the dtype of `got`; results below the smallest normal count in ulps of that number."""
    info = np.finfo(got.dtype)
    exponent = np.frexp(np.maximum(magnitude, float(info.tiny)))[1]
    error = abs(_widen(got) - exact).astype(np.float64)
    ulps = error / np.ldexp(1.0, exponent - (info.nmant + 1))
    return math.inf if np.isnan(ulps).any() else float(ulps.max())


# ---- Errors and bits ----


@contextlib.contextmanager
def _unchanged() -> Iterator[None]:
    """Restores the path and the number of threads."""
    isa, threads = _core.active_isa(), _core.get_threads()
    try:
        yield
    finally:
        _core.use_isa(isa)
        _core.set_threads(threads)


def run_checks(step: Callable[[str], None]) -> list[Check]:
    """Every path against the reference and, bit by bit, against the first path on one thread."""
    dtypes, isas, threads = ("float32", "float64"), _core.available_isas(), dict.fromkeys((1, _core.get_threads()))
    found = {key: Check(*key, 0.0, "", []) for key in itertools.product(isas, OPS, dtypes)}
    with _unchanged():
        for dtype, shape in itertools.product(dtypes, SHAPES):
            step(f"checking {dtype} {shape}")
            x = logits(shape, dtype)
            exact = reference(as_rows(x))
            errors: dict[tuple[str, bytes], float] = {}  # equal bits have equal errors: the first come first
            for isa, count, op in itertools.product(isas, threads, OPS):
                _core.use_isa(isa)
                _core.set_threads(count)
                got = getattr(softlane, op)(x, 1, **({"keepdims": True} if op == "logsumexp" else {}))
                key, case = (op, got.tobytes()), f"{op} {dtype} {shape} axis 1, threads: {count}"
                check = found[isa, op, dtype]
                if key not in errors:
                    if any(other == op for other, _ in errors):
                        check.differs.append(case)
                    errors[key] = ulp_error(as_rows(got), *exact[op])
                if errors[key] > check.ulp:
                    found[isa, op, dtype] = check._replace(ulp=errors[key], worst=case)
    return list(found.values())


def failures(checks: list[Check]) -> list[str]:
    messages = []
    for c in checks:
        if not c.ulp <= LIMIT_ULP:
            messages.append(f"{c.isa}: {c.worst} is off by {c.ulp:.2f} ULP, allowed are {LIMIT_ULP:g}")
        messages += [f"{c.isa}: {case}: other bits than {checks[0].isa} on one thread" for case in c.differs]
    return messages


# ---- Times ----


def numpy_softmax(x: Array, axis: int) -> Array:
    e: Array = np.exp(x - x.max(axis=axis, keepdims=True))
    e /= e.sum(axis=axis, keepdims=True)
    return e


def numpy_log_softmax(x: Array, axis: int) -> Array:
    d: Array = x - x.max(axis=axis, keepdims=True)
    d -= np.log(np.exp(d).sum(axis=axis, keepdims=True))
    return d


def numpy_logsumexp(x: Array, axis: int) -> Array:
    m = x.max(axis=axis, keepdims=True)
    s: Array = np.log(np.exp(x - m).sum(axis=axis, keepdims=True)) + m
    return s.squeeze(axis)


NUMPY = {"softmax": numpy_softmax, "log_softmax": numpy_log_softmax, "logsumexp": numpy_logsumexp}


def _minima(expressions: list[str], names: dict[str, Any]) -> list[float]:
    """Nanoseconds for one call of each: the smallest sample, taken in turn so that a noisy moment meets all."""
    timers = [timeit.Timer(e, globals=names) for e in expressions]
    calls = [max(1, round(SAMPLE / min(t.timeit(1), t.timeit(1)))) for t in timers]
    samples = [[t.timeit(n) / n for t, n in zip(timers, calls, strict=True)] for _ in range(ROUNDS)]
    return [1e9 * min(of_one) for of_one in zip(*samples, strict=True)]


def run_times(step: Callable[[str], None]) -> list[Timed]:
    """The active path on TIMED, on one thread and on all of them."""
    results = []
    with _unchanged():
        for threads, (op, shape) in itertools.product(dict.fromkeys((1, _core.get_threads())), TIMED):
            step(f"timing {op} {shape}, threads: {threads}")
            _core.set_threads(threads)
            x = 4 * np.random.default_rng(0).standard_normal(shape, np.float32)
            names = {"f": getattr(softlane, op), "plain": NUMPY[op], "copyto": np.copyto, "x": x}
            names["out"] = np.empty_like(x[:, 0] if op == "logsumexp" else x)
            limit = "x.max()" if op == "logsumexp" else "copyto(out, x)"
            times = _minima(["f(x, 1, out=out)", "plain(x, 1)", limit], names)
            results.append(Timed(f"{op} {shape} axis 1", x.size, threads, *times))
    return results
