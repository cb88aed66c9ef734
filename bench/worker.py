"""Measure: one job in a process of its own, which bench.py has started with the right affinity and environment.

Argument: the job as JSON. Standard output: one JSON object per line, {"step": text} before each piece of work and
{"result": ...} after it. Decides nothing about targets and draws nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import choices
import memory
import numpy as np
import options
from cases import Case
from peers import ALL, NAMES, builders, versions

import softlane
from softlane import _config, _core
from softlane._check import Contender, Load, as_rows, contenders, interleave, reference, ulp_error, warm_allocator

Job = dict[str, Any]

# Without JAX: XLA flushes subnormals to zero, millions of ULP that say nothing about the algorithm.
ACCURACY_OF = ("softlane", "SciPy", "torch", "ONNX Runtime")
# Relative to the largest result, and coarse: it only shows that everybody was asked the same question. (1e-4 would
# already exclude peers that sum 100 000 terms in float32 one after the other.)
AGREE = 1e-2


def logits(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return 4 * np.random.default_rng(0).standard_normal(shape, np.dtype(dtype).type)


def disagreeing(entries: list[Contender]) -> list[str]:
    """Who computes something else, judged on the first 100 000 results."""
    wanted = entries[0].result().ravel()[:100_000].copy()
    allowed = AGREE * abs(wanted).max()
    found = []
    for entry in entries:
        if entry.name in NAMES:
            got = entry.result().ravel()[:100_000]
            if got.shape != wanted.shape or not abs(got - wanted).max() <= allowed:
                found.append(entry.name)
    return found


def time_case(case: Case, job: Job) -> dict[str, Any]:
    x = logits(case.shape, case.dtype)
    entries, absent = contenders(case.op, x, case.axis, job["threads"], builders(case.op, case.shape, case.axis))
    wrong = disagreeing(entries)
    entries = [e for e in entries if e.name not in wrong]
    times = interleave(entries, job["seconds"], job["rounds"], threads=job["threads"])
    return {
        "name": case.name,
        "times": {name: timing._asdict() for name, timing in times.items()},
        "absent": absent | dict.fromkeys(wrong, "computes something else"),
    }


def read_cases(job: Job) -> Iterator[Case]:
    for fields in job["cases"]:
        yield Case(*(tuple(f) if isinstance(f, list) else f for f in fields))


def run_cases(job: Job) -> Iterator[dict[str, Any]]:
    for case in read_cases(job):
        yield {"step": case.name}
        yield {"result": time_case(case, job)}


def run_memory(job: Job) -> Iterator[dict[str, Any]]:
    """Peak memory of one call, which nobody times; the contenders come one after the other, alone."""
    memory.prepare()
    for case in read_cases(job):
        yield {"step": f"memory, {case.name}"}
        x, peaks = logits(case.shape, case.dtype), {}
        for name, build in builders(case.op, case.shape, case.axis).items():
            if name != "limit":
                for entry in contenders(case.op, x, case.axis, job["threads"], {name: build})[0]:
                    peaks[name] = memory.peak(entry)
        yield {"result": {"name": case.name, "peaks": peaks}}


def run_options(job: Job) -> Iterator[dict[str, Any]]:
    """softmax of other dtypes, masked, and with temperatures, beside itself."""
    for case in read_cases(job):
        yield {"step": f"options, {case.name}"}
        entries = options.contenders(case, logits(case.shape, case.dtype))
        times = interleave(entries, job["seconds"], job["rounds"])
        yield {"result": {"name": case.name, "times": {name: timing._asdict() for name, timing in times.items()}}}


def run_choices(job: Job) -> Iterator[dict[str, Any]]:
    """The functions that choose among classes."""
    for name in job["names"]:
        choice = choices.BY_NAME[name]
        yield {"step": name}
        entries = choices.contenders(choice, logits(choice.shape, "float32"), job["threads"])
        times = interleave(entries, job["seconds"], job["rounds"], threads=job["threads"])
        yield {
            "result": {
                "name": name,
                "threads": job["threads"],
                "times": {name: timing._asdict() for name, timing in times.items()},
            }
        }


def run_lengths(job: Job) -> Iterator[dict[str, Any]]:
    """Time against row length, softmax of float32."""
    for n in job["lengths"]:
        case = Case("softmax", (max(1, job["elements"] // n), n))
        yield {"step": f"time, rows of {n}"}
        yield {"result": {"n": n, "rows": case.shape[0], **time_case(case, job)}}


def row_errors(x: np.ndarray, job: Job) -> dict[str, float]:
    exact = reference(x, ["softmax"])["softmax"]
    builders = {name: ALL[name] for name in ACCURACY_OF}
    entries, _ = contenders("softmax", x, 1, job["threads"], builders)
    return {e.name: ulp_error(as_rows(e.result(), 1), exact) for e in entries}


def run_accuracy(job: Job) -> Iterator[dict[str, Any]]:
    """Largest error against row length, softmax of float32."""
    rng = np.random.default_rng(1)
    for n in job["lengths"]:
        shape = (max(1, job["elements"] // n), n)
        yield {"step": f"error, rows of {n}"}
        kinds = {
            "uniform": rng.uniform(-80, 80, shape).astype(np.float32),
            "normal": rng.standard_normal(shape, np.float32),
        }
        yield {"result": {"n": n, "rows": shape[0], **{kind: row_errors(x, job) for kind, x in kinds.items()}}}


KINDS = {
    "cases": run_cases,
    "options": run_options,
    "choices": run_choices,
    "memory": run_memory,
    "lengths": run_lengths,
    "accuracy": run_accuracy,
}


def main() -> None:
    job: Job = json.loads(sys.argv[1])
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    warm_allocator()
    load = Load()
    for line in KINDS[job["kind"]](job):
        print(json.dumps(line), file=pipe, flush=True)
    about = {
        "configuration": _config.config(),
        "isa": _core.active_isa(),
        "threads": softlane.get_num_threads(),
        "versions": versions(),
        "CPUs busy with other processes": load.others(),
    }
    print(json.dumps({"about": about}), file=pipe, flush=True)


if __name__ == "__main__":
    main()
