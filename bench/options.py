"""Know what a softmax is asked for beside plain float32: other dtypes, a mask, temperatures. Times nothing.

All are compared with float32 on the same shape: a ratio of 1 is its time per element. 16 bits also with PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from cases import Case

import softlane
from softlane._check import Contender

PLAIN = "float32"
# The time per element that is wanted at most, as a multiple of float32's: in cache, and from memory.
WANTED = {
    "float16": (1.3, 1 / 1.6),
    "bfloat16": (1.3, 1 / 1.6),
    "uint8": (1.0, 1.0),
    "where": (1.3, 1.3),
    "temperature": (1.05, 1.05),
    "temperatures": (1.05, 1.05),
}
PEERS = {"float16": "torch float16", "bfloat16": "torch bfloat16"}
FASTER = 3.0  # than the peer
CACHED = 1 << 23  # bytes of the output in float32


def _torch(x: Any, axis: int, dtype: str) -> Contender:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    a = torch.from_numpy(x).to(getattr(torch, dtype))
    names = {"f": torch.softmax, "x": a, "axis": axis, "out": torch.empty_like(a)}
    return Contender(f"torch {dtype}", "f(x, axis, out=out)", names)


def contenders(case: Case, x: np.ndarray) -> list[Contender]:
    import ml_dtypes

    rng = np.random.default_rng(2)
    batch = tuple(np.delete(x.shape, case.axis))
    mask, rows = rng.random(x.shape) < 0.8, rng.uniform(0.5, 2, batch)
    inputs = {
        PLAIN: x,
        "float16": x.astype(np.float16),
        "bfloat16": x.astype(ml_dtypes.bfloat16),
        "uint8": abs(x).astype(np.uint8),
    }
    calls = {"where": "where=mask", "temperature": "temperature=0.7", "temperatures": "temperature=rows"}
    inputs.update(dict.fromkeys(calls, x))
    found = []
    for name, a in inputs.items():
        out = np.empty(x.shape, np.float32 if name == "uint8" else a.dtype)
        names = {"f": softlane.softmax, "x": a, "axis": case.axis, "out": out, "mask": mask, "rows": rows}
        option = f"{calls[name]}, " if name in calls else ""
        found.append(Contender(name, f"f(x, axis, {option}out=out)", names))
    for peer in PEERS.values():
        try:
            found.append(_torch(x, case.axis, peer.split()[1]))
        except ImportError:
            continue
    return found


def judge(row: dict[str, Any], case: Case) -> None:
    """Adds the ratios to float32 and the misses to the times of a case."""
    times = {name: t["minimum"] for name, t in row["times"].items()}
    place = 0 if 4 * case.elements < CACHED else 1
    row["ratios"] = {name: times[name] / times[PLAIN] for name in WANTED}
    row["faster"] = {name: times[peer] / times[name] for name, peer in PEERS.items() if peer in times}
    row["misses"] = [
        f"{name}: {ratio:.2f}x the time of float32, wanted {WANTED[name][place]:.3g}x"
        for name, ratio in row["ratios"].items()
        if ratio > WANTED[name][place]
    ]
    row["misses"] += [
        f"{name}: {ratio:.2f}x as fast as {PEERS[name]}, wanted {FASTER:g}x"
        for name, ratio in row["faster"].items()
        if ratio < FASTER
    ]


HEADER = ["case", PLAIN, *WANTED, *(f"{name} over {peer}" for name, peer in PEERS.items()), "verdict"]
NOTES = (
    "softmax on one thread: ns per element for float32, times that for the others (16 bits in and out, uint8 to "
    "float32, a fifth of the elements hidden, one temperature or one for each row), and how many times faster than "
    f"PyTorch. Met: 16 bits at most {WANTED['float16'][0]:g} in cache and {WANTED['float16'][1]:g} from memory and "
    f"{FASTER:g} times PyTorch, uint8 {WANTED['uint8'][0]:g}, where {WANTED['where'][0]:g}, temperatures "
    f"{WANTED['temperature'][0]:g}."
)


def cells(row: dict[str, Any], case: Case) -> list[str]:
    plain = row["times"][PLAIN]["minimum"] / case.elements
    faster = (f"{row['faster'][name]:.2f}x" if name in row["faster"] else "-" for name in PEERS)
    verdict = "MISSED" if row["misses"] else "met"
    return [case.name, f"{plain:.3g}", *(f"{row['ratios'][name]:.2f}" for name in WANTED), *faster, verdict]
