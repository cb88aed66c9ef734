"""Measure the memory of a call: what Python has seen allocated, and how far the process grew. Times nothing."""

from __future__ import annotations

import ctypes
import time
import tracemalloc
from pathlib import Path

from losses import RELEASE

from softlane._check import Contender

TRACED = ("softlane", "fresh", "NumPy", "SciPy")  # the others allocate where tracemalloc does not see it

_PROC = Path("/proc/self")
_LATE = 0.2  # seconds: JAX frees the last result in another thread, after the call


def _resident(field: str) -> int:
    lines = (_PROC / "status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def prepare() -> None:
    """Have glibc return every block of more than 64 kB as it is freed: what it kept would be used without growth."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD


def growth(entry: Contender) -> int | None:
    """Bytes by which the resident size grew, at its highest during the call; None where nobody tells (not Linux)."""
    code = compile(entry.expression, "call", "eval")
    try:
        if RELEASE in entry.names:
            entry.names[RELEASE]()
        time.sleep(_LATE)
        (_PROC / "clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts again
        before = _resident("VmRSS")
        kept = eval(code, entry.names)
        after = _resident("VmHWM")
    except OSError:
        return None
    del kept
    return max(0, after - before)


def traced(entry: Contender) -> int | None:
    """Bytes allocated beyond what was there, at the highest, as tracemalloc has seen it."""
    if entry.name not in TRACED:
        return None
    code = compile(entry.expression, "call", "eval")
    tracemalloc.start()
    try:
        kept = eval(code, entry.names)
        peak = tracemalloc.get_traced_memory()[1]
        del kept
    finally:
        tracemalloc.stop()
    return peak


def peak(entry: Contender) -> dict[str, int | None]:
    return {"traced": traced(entry), "resident": growth(entry)}
