"""Do one job in a process of its own, which bench.py has started with the right affinity and environment.

Argument: the job as JSON. Standard output: one JSON object per line, {"step": text} before each piece of work and
{"result": ...} after it. Decides nothing about targets and draws nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import measure
import numpy as np
from cases import BY_NAME, PEERS, Case
from measure import Contender
from peers import contenders, versions

from softlane import _config, _core
from softlane._check import reference, ulp_error

Job = dict[str, Any]

# Without JAX: XLA flushes subnormals to zero, millions of ULP that say nothing about the algorithm.
ACCURACY_OF = ("softlane", "SciPy", "torch", "ONNX Runtime")
# Relative to the largest result, and coarse: it only shows that everybody was asked the same question. (1e-4 would
# already exclude peers that sum 100 000 terms in float32 one after the other.)
AGREE = 1e-2


def disagreeing(entries: list[Contender]) -> list[str]:
    """Who computes something else, judged on the first 100 000 results."""

    def start(entry: Contender) -> np.ndarray:
        return entry.result().ravel()[:100_000].astype(np.float64)

    wanted = start(entries[0])
    allowed = AGREE * abs(wanted).max()
    got = {entry.name: start(entry) for entry in entries if entry.name in PEERS}
    return [n for n, v in got.items() if v.shape != wanted.shape or not abs(v - wanted).max() <= allowed]


def time_case(case: Case, job: Job) -> dict[str, Any]:
    entries, absent = contenders(case, job["threads"])
    wrong = disagreeing(entries) if case.op != "sample" else []
    entries = [e for e in entries if e.name not in wrong]
    times = measure.interleave(entries, job["seconds"], job["rounds"], job["threads"])
    return {"name": case.name, "times": times, "absent": absent | dict.fromkeys(wrong, "computes something else")}


def run_cases(job: Job) -> Iterator[dict[str, Any]]:
    for name in job["cases"]:
        yield {"step": name}
        yield {"result": time_case(BY_NAME[name], job)}


def run_memory(job: Job) -> Iterator[dict[str, Any]]:
    """Peak memory of one call, which nobody times; the contenders come one after the other, alone."""
    measure.return_freed_memory()
    for name in job["cases"]:
        yield {"step": f"memory, {name}"}
        peaks = {}
        for only in ("softlane", "fresh", *PEERS):
            for entry in contenders(BY_NAME[name], job["threads"], [only])[0]:
                peaks[only] = measure.peak_memory(entry)
        yield {"result": {"name": name, "peaks": peaks}}


def run_lengths(job: Job) -> Iterator[dict[str, Any]]:
    """Time against row length, softmax of float32."""
    for n in job["lengths"]:
        case = Case("softmax", (max(1, job["elements"] // n), n))
        yield {"step": f"time, rows of {n}"}
        yield {"result": {"n": n, "rows": case.shape[0], **time_case(case, job)}}


def run_accuracy(job: Job) -> Iterator[dict[str, Any]]:
    """Largest error against row length, softmax of float32."""
    rng = np.random.default_rng(1)
    for n in job["lengths"]:
        case = Case("softmax", (max(1, job["elements"] // n), n))
        yield {"step": f"error, rows of {n}"}
        found = {}
        for kind in ("uniform", "normal"):
            x = rng.uniform(-80, 80, case.shape) if kind == "uniform" else rng.standard_normal(case.shape)
            x = x.astype(np.float32)
            exact = reference(x)["softmax"]
            entries, _ = contenders(case, job["threads"], ACCURACY_OF, {"x": x})
            found[kind] = {e.name: ulp_error(e.result(), *exact) for e in entries}
        yield {"result": {"n": n, "rows": case.shape[0], **found}}


KINDS = {"cases": run_cases, "memory": run_memory, "lengths": run_lengths, "accuracy": run_accuracy}


def main() -> None:
    job: Job = json.loads(sys.argv[1])
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    measure.warm_allocator()
    load = measure.Load()
    for line in KINDS[job["kind"]](job):
        print(json.dumps(line), file=pipe, flush=True)
    about = {"configuration": _config.config(), "active": _core.active_isa(), "versions": versions()}
    print(json.dumps({"about": about | {"CPUs busy with other processes": load.others()}}), file=pipe, flush=True)


if __name__ == "__main__":
    main()
