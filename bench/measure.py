"""Measure calls: their times, taken in turn, and the memory of one of them. Does not import softlane."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import statistics
import time
import timeit
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SAMPLE_NS = 200_000  # what a sample takes at least
LONG_NS = 5_000_000  # a call that takes as long needs no untimed one before it
LEAST = 2  # samples of a contender that has used up its time
# Seconds: idle threads of a pool spin before they sleep, ONNX Runtime's for tens of milliseconds. Each is waited for.
SETTLE = {"ONNX Runtime": 0.05, "softlane": 0.02, "fresh": 0.02, "torch": 0.02, "JAX": 0.02}
TRACED = ("softlane", "fresh", "NumPy", "SciPy")  # the others allocate where tracemalloc does not see it
LATE = 0.2  # seconds: JAX frees the last result in another thread, after the call
PROC = Path("/proc/self")


class Contender(NamedTuple):
    """An expression to time and the names in it."""

    name: str
    expression: str
    names: dict[str, Any]

    def run(self) -> Any:
        return eval(self.expression, dict(self.names))

    def result(self) -> np.ndarray:
        """What one call computes: of several results the largest with floats, of none `out`."""
        value = self.run()
        values = value if isinstance(value, tuple) else (self.names["out"] if value is None else value,)
        arrays = [np.asarray(v.float() if "torch" in str(type(v)) else v) for v in values]
        return max(arrays, key=lambda a: (a.dtype.kind != "i", a.size))


# ---- Times ----


def calls_per_sample(timer: timeit.Timer) -> int:
    calls = 1
    while (spent := timer.timeit(calls)) < SAMPLE_NS:
        calls = math.ceil(calls * min(10, 1.2 * SAMPLE_NS / max(spent, 1)))
    return calls


def interleave(entries: list[Contender], seconds: float, rounds: int, threads: int) -> dict[str, dict[str, Any]]:
    """Time the contenders in turn, sample by sample, so that a noisy moment meets all of them; ns for one call.

    At most `rounds` samples of each; whoever has used up its `seconds` sits rounds out.
    """
    timers = {c.name: timeit.Timer(c.expression, timer=time.perf_counter_ns, globals=c.names) for c in entries}
    calls = {name: calls_per_sample(timer) for name, timer in timers.items()}
    samples: dict[str, list[float]] = {name: [] for name in timers}
    spent = dict.fromkeys(timers, 0.0)
    for r in range(1, rounds + 1):
        for name, timer in timers.items():
            if spent[name] > 1e9 * seconds * r / rounds and len(samples[name]) * rounds >= LEAST * r:
                continue
            begin = time.perf_counter_ns()
            if not samples[name] or samples[name][-1] < LONG_NS:
                timer.timeit(1)
            samples[name].append(timer.timeit(calls[name]) / calls[name])
            if threads > 1:
                time.sleep(SETTLE.get(name, 0))
            spent[name] += time.perf_counter_ns() - begin
    return {
        name: {"minimum": min(s), "median": statistics.median(s), "samples": len(s), "calls_per_sample": calls[name]}
        for name, s in samples.items()
    }


def warm_allocator() -> None:
    """Free one large array, as any longer process has done.

    Until then glibc may give the memory of large results back at every call, and NumPy's temporaries cost page faults:
    depending on what ran before, the same NumPy expression took up to 4 times as long.
    """
    np.empty(31 << 20, np.uint8)


def others_busy() -> tuple[float, float] | None:
    """Now, and the CPU seconds that other processes have taken so far; None where nobody tells (not Linux)."""
    try:
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return None
    return time.monotonic(), busy - sum(os.times()[:4])


# ---- Memory ----


def return_freed_memory() -> None:
    """Have glibc return every block of more than 64 kB as it is freed: what it kept would be used without growth."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD


def peak_memory(entry: Contender) -> dict[str, int | None]:
    """Bytes beyond what was there, at the highest: what tracemalloc saw, and growth of the resident size (Linux)."""
    peak: dict[str, int | None] = dict.fromkeys(("traced", "resident"))
    if entry.name in TRACED:
        tracemalloc.start()
        kept = entry.run()
        peak["traced"] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del kept
    with contextlib.suppress(OSError):
        entry.names.get("release", lambda: None)()
        time.sleep(LATE)
        (PROC / "clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts again
        before = _resident("VmRSS")
        kept = entry.run()
        peak["resident"] = max(0, _resident("VmHWM") - before)
    return peak


def _resident(field: str) -> int:
    lines = (PROC / "status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))
