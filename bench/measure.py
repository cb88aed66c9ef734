"""Measure calls: their times, taken in turn, and the memory of one of them. Does not import softlane."""

from __future__ import annotations

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


class Load:
    """CPUs that other processes have kept busy since this was made; None where the system does not say (not Linux)."""

    def __init__(self) -> None:
        self._begin = self._read()

    def _read(self) -> tuple[float, float] | None:
        try:
            user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
            busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None
        return time.monotonic(), busy - sum(os.times()[:4])

    def others(self) -> float | None:
        end = self._read()
        if self._begin is None or end is None or end[0] == self._begin[0]:
            return None
        return max(0.0, round((end[1] - self._begin[1]) / (end[0] - self._begin[0]), 2))


# ---- Memory ----


def return_freed_memory() -> None:
    """Have glibc return every block of more than 64 kB as it is freed: what it kept would be used without growth."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD


def _resident(field: str) -> int:
    lines = (PROC / "status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def _growth(entry: Contender) -> int | None:
    """Bytes by which the resident size grew, at its highest during the call; None where nobody tells (not Linux)."""
    try:
        entry.names.get("release", lambda: None)()
        time.sleep(LATE)
        (PROC / "clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts again
        before = _resident("VmRSS")
        kept = entry.run()
        after = _resident("VmHWM")
    except OSError:
        return None
    del kept
    return max(0, after - before)


def _traced(entry: Contender) -> int | None:
    """Bytes allocated beyond what was there, at the highest, as tracemalloc has seen it."""
    if entry.name not in TRACED:
        return None
    tracemalloc.start()
    try:
        kept = entry.run()
        peak = tracemalloc.get_traced_memory()[1]
        del kept
    finally:
        tracemalloc.stop()
    return peak


def peak_memory(entry: Contender) -> dict[str, int | None]:
    return {"traced": _traced(entry), "resident": _growth(entry)}
