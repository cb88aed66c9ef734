"""Compare two builds of softlane in one process: every case of the benchmark, old and new in turn.

python bench/compare.py OLD_DIR NEW_DIR [--isa avx2] [--threads 1] [--filter text] [--rounds 20]

Each directory holds a `softlane` package with its built `_core`. Both builds get the same arrays and alternate in
short samples, the order swapped each round, so that a noisy moment meets both. With one thread the clock is the CPU
time of that thread, which does not count while another process runs; with several threads it is the wall clock.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

import cases
from cases import CASES, Case
from measure import calls_per_sample

LIMIT = 1.02  # cases above this are measured again
AGAIN = 5  # times as many rounds, added to those that there are,
TRIES = 3  # up to so many times

# What the benchmark has no peers for.
cases.CALLS |= {
    "softmax_grad": "f(x, x, axis, out=out)",
    "log_softmax_grad": "f(x, x, axis, out=out)",
    "nll_loss": "f(x, t, axis=axis)",
}
MORE = [
    *(Case(op, (256, 1000)) for op in ("softmax_grad", "log_softmax_grad")),
    *(Case(op, (100000, 10)) for op in ("softmax_grad", "log_softmax_grad")),
    Case("softmax_grad", (8, 21, 128, 128), 1),
    *(Case("logsumexp", (256, 1000), dtype=dtype) for dtype in ("float64", "float16", "uint8")),
    *(Case("log_softmax", (256, 1000), dtype=dtype) for dtype in ("float64", "bfloat16")),
    *(Case("cross_entropy", (256, 1000), dtype=dtype) for dtype in ("float64", "float16")),
    *(Case(op, (10,)) for op in ("log_softmax", "logsumexp", "sigmoid")),
    Case("topk", (10,), k=3),
    Case("log_softmax", (1, 21, 512, 512), 1),
    Case("logsumexp", (1, 21, 512, 512), 1),
    Case("sigmoid", (256, 1000), dtype="float64"),
]

Samples = tuple[list[float], list[float]]


def load(folder: Path, name: str) -> ModuleType:
    """Import `softlane` from a folder and register its modules under another name, so that a second one can follow."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        with mock.patch("importlib.metadata.version", lambda name: "not installed"):
            package = importlib.import_module("softlane")
    finally:
        del sys.path[0]
    found = Path(package.__file__ or "").resolve().parent
    if found.parent != folder.resolve():
        sys.exit(f"no softlane package in {folder}: {found} was imported")
    for key in [key for key in sys.modules if key.partition(".")[0] == "softlane"]:
        sys.modules[name + key.removeprefix("softlane")] = sys.modules.pop(key)
    return package


def measure(case: Case, builds: list[ModuleType], rounds: int, clock: Callable[[], int]) -> Samples:
    """Samples of both builds, in ns per call: `rounds` of each, and more where the new one seems slower."""
    names = cases.inputs(case)
    timers = [timeit.Timer(case.call, timer=clock, globals={**names, "f": getattr(build, case.op)}) for build in builds]
    calls = max(map(calls_per_sample, timers))
    samples: Samples = ([], [])
    for count in (rounds, *(AGAIN * rounds for _ in range(TRIES))):
        for i in range(count):
            for which in (0, 1) if i % 2 else (1, 0):
                sample = timers[which].timeit(calls) / calls
                if sample > 0:  # the clock of a thread in a virtual machine may jump
                    samples[which].append(sample)
        if max(ratios(samples)) <= LIMIT:
            break
    return samples


def ratios(samples: Samples) -> tuple[float, float]:
    """Of the minima and of the medians, new over old."""
    old, new = samples
    return min(new) / min(old), statistics.median(new) / statistics.median(old)


def show(case: Case, samples: Samples) -> float:
    minima, medians = ratios(samples)
    old, new = map(min, samples)
    print(f"{case.name:64} {old:14.1f} {new:14.1f} {minima:8.3f} {medians:8.3f}", flush=True)
    return minima


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare two builds of softlane in one process.")
    parser.add_argument("old", type=Path, help="directory with the softlane package of before")
    parser.add_argument("new", type=Path, help="directory with the softlane package that is compared with it")
    parser.add_argument("--isa", help="hold both to this instruction set")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=20, help=f"samples of each build; more above a ratio of {LIMIT}")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.isa:
        os.environ["SOFTLANE_ISA"] = options.isa
    builds = [load(options.old, "softlane_old"), load(options.new, "softlane_new")]
    for build in builds:
        build.set_num_threads(options.threads)
    clock = time.thread_time_ns if options.threads == 1 else time.perf_counter_ns
    found: dict[str, float] = {}
    print(f"{'case':64} {'old ns':>14} {'new ns':>14} {'minima':>8} {'medians':>8}")
    for case in [*CASES, *MORE]:
        if options.filter not in case.name:
            continue
        if lacking := [
            str(f) for f, b in ((options.old, builds[0]), (options.new, builds[1])) if not hasattr(b, case.op)
        ]:
            print(f"{case.name:64} no {case.op} in {', '.join(lacking)}")
            continue
        found[case.name] = show(case, measure(case, builds, options.rounds, clock))
    if not found:
        sys.exit(f"no case contains {options.filter!r}")
    mean = statistics.geometric_mean(found.values())
    worst = max(found, key=found.__getitem__)
    print(f"geometric mean of {len(found)} cases {mean:.4f}, worst {found[worst]:.3f}: {worst}")


if __name__ == "__main__":
    main()
