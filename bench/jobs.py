"""Measure one case, one length or one peak of memory, in a process that bench.py has started with its environment."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from typing import Any

import measure
import numpy as np
from cases import BY_NAME, C_BASELINE, OTHERS, PEERS, Case
from measure import Contender
from peers import contenders

import softlane
from softlane import _config, _core
from softlane._check import reference, ulp_error

# Without JAX: XLA flushes subnormals to zero, millions of ULP that say nothing about the algorithm.
ACCURACY_OF = ("softlane", C_BASELINE, "SciPy", "torch", "ONNX Runtime")
# Relative to the largest result, and coarse: it only shows that everybody was asked the same question. (1e-4 would
# already exclude peers that sum 100 000 terms in float32 one after the other.)
AGREE = 1e-2

_busy = measure.others_busy()


def begin() -> None:
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    measure.warm_allocator()


def about() -> dict[str, Any]:
    """What this process was, at its end."""
    versions = {}
    for package in ("softlane", "numpy", "scipy", "torch", "onnxruntime", "jax"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    begin, end = _busy, measure.others_busy()
    others = max(0.0, round((end[1] - begin[1]) / (end[0] - begin[0]), 2)) if begin and end else None
    found = {"configuration": _config.config(), "active": _core.active_isa(), "versions": versions}
    return found | {"CPUs busy with other processes": others}


def disagreeing(entries: list[Contender]) -> list[str]:
    """Who computes something else, by the first 100 000 results."""

    def start(entry: Contender) -> np.ndarray:
        entries[0].names["out"].fill(np.nan)  # nobody passes by what another one wrote there
        return entry.result().ravel()[:100_000].astype(np.float64)

    wanted = start(entries[0])
    allowed = AGREE * abs(wanted).max()
    got = {entry.name: start(entry) for entry in entries if entry.name in OTHERS}
    return [n for n, v in got.items() if v.shape != wanted.shape or not abs(v - wanted).max() <= allowed]


def _time(case: Case, threads: int, seconds: float, rounds: int) -> dict[str, Any]:
    entries, absent = contenders(case, threads)
    wrong = disagreeing(entries) if case.op != "sample" else []
    times = measure.interleave([e for e in entries if e.name not in wrong], seconds, rounds, threads)
    return {"name": case.name, "times": times, "absent": absent | dict.fromkeys(wrong, "computes something else")}


def time_case(name: str, **effort: Any) -> dict[str, Any]:
    return _time(BY_NAME[name], **effort)


def time_length(n: int, elements: int, **effort: Any) -> dict[str, Any]:
    """Time against row length, softmax of float32."""
    case = Case("softmax", (max(1, elements // n), n))
    return {"n": n, "rows": case.shape[0], **_time(case, **effort)}


def time_rows(rows: int, n: int, **effort: Any) -> dict[str, Any]:
    """Operations on so many rows of float32, the C baseline and a copy, all on the same arrays, on one thread."""
    present, _ = contenders(Case("softmax", (rows, n)), 1, ("limit", C_BASELINE))
    x, out = present[0].names["x"], present[0].names["out"]
    softlane.set_num_threads(1)
    for op in ("softmax", "log_softmax", "logsumexp"):
        own = out[:, 0].copy() if op == "logsumexp" else out
        present.append(Contender(op, "f(x, out=out)", {"f": getattr(softlane, op), "x": x, "out": own}))
    return {"rows": rows, "times": measure.interleave(present, threads=1, **effort)}


def find_errors(n: int, elements: int) -> dict[str, Any]:
    """Largest error against row length, softmax of float32."""
    case, rng = Case("softmax", (max(1, elements // n), n)), np.random.default_rng(n)
    found: dict[str, Any] = {"n": n, "rows": case.shape[0]}
    for kind, x in (("uniform", rng.uniform(-80, 80, case.shape)), ("normal", rng.standard_normal(case.shape))):
        x = x.astype(np.float32)
        exact = reference(x)["softmax"]
        found[kind] = {e.name: ulp_error(e.result(), *exact) for e in contenders(case, 1, ACCURACY_OF, x)[0]}
    return found


def find_peaks(name: str) -> dict[str, Any]:
    """Peak memory of one call, which nobody times; the contenders come one after the other, alone."""
    measure.return_freed_memory()
    peaks = {}
    for only in ("softlane", "fresh", *PEERS):
        for entry in contenders(BY_NAME[name], 1, [only])[0]:
            peaks[only] = measure.peak_memory(entry)
    return {"name": name, "peaks": peaks}
