"""Say what is measured: one table of cases with their targets, their inputs, and the call of softlane for each.

Does not import softlane and measures nothing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

PEERS = ("NumPy", "SciPy", "torch", "ONNX Runtime", "JAX")
C_BASELINE = "C baseline"  # baseline.c: what speed costs without the contract; no peer, since nobody can install it
BASELINES = ("limit", C_BASELINE, "x.max()", "logsumexp", "softmax", "float32")  # what else a time is compared with
OTHERS = (*PEERS, C_BASELINE)  # may be absent; their results are compared with softlane's

# How softlane is called in every case, with the names that `inputs` gives.
CALLS = {
    "softmax": "f(x, axis, out=out)",
    "log_softmax": "f(x, axis, out=out)",
    "logsumexp": "f(x, axis, out=out)",
    "cross_entropy": "f(x, t, axis=axis)",
    "cross_entropy_with_grad": "f(x, t, axis=axis, grad_out=out)[1]",
    "sigmoid": "f(x, out=out)",
    "log_sigmoid": "f(x, out=out)",
    "binary_cross_entropy_with_logits": "f(x, t)",
    "binary_cross_entropy_with_logits_with_grad": "f(x, t, grad_out=out)[1]",
    "topk": "f(x, k, axis)",
    "argmax": "f(x, axis, return_probs=True)",
    "take_log_probs": "f(x, t, axis)",
    "rank": "f(x, t, axis)",
    "sample": "f(x, top_k=50, top_p=0.95, rng=rng)",
    "expectation": "f(x, t, axis)",
}
LOSSES = [op for op in CALLS if "entropy" in op or "sigmoid" in op]
SELECTION = ["topk", "argmax", "take_log_probs", "rank", "sample", "expectation"]
OPTIONS = {"where": "where=mask", "temperature": "temperature=0.7", "temperatures": "temperature=rows"}
CACHED = 1 << 21  # elements of float32 that stay in the cache


class Case(NamedTuple):
    """One thing to measure. `at_most` is the target for one thread, in `of`: ns per element, or times another call."""

    op: str
    shape: tuple[int, ...]
    axis: int = -1
    dtype: str = "float32"
    option: str = ""  # of softmax
    k: int = 0  # of topk
    at_most: float | None = None
    of: str = "ns per element"
    avx2_ns: float | None = None
    faster: float = 1.0  # times as fast as the best peer, or
    than: str = ""  # as this one

    @property
    def table(self) -> str:
        if self.op in SELECTION:
            return "selection"
        return "options" if self.option or self.dtype in ("float16", "bfloat16", "uint8") else "speed"

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def whole_call(self) -> bool:
        """Shown as microseconds for the call."""
        return self.op in SELECTION or self.elements < 100

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(np.delete(self.shape, self.axis).tolist())

    @property
    def name(self) -> str:
        axis = self.axis % len(self.shape)
        place = "" if axis == len(self.shape) - 1 else f" axis {axis}"
        dtype = "" if self.dtype == "float32" else f" {self.dtype}"
        option = f" {self.option}" if self.option else ""
        return f"{self.op} {f'{self.k} of ' if self.k else ''}{self.shape}{place}{dtype}{option}"

    @property
    def call(self) -> str:
        return CALLS[self.op].replace("out=out", f"{OPTIONS[self.option]}, out=out" if self.option else "out=out")


GRADIENT = 2.5  # times as fast as the best peer: cross-entropy with gradient
SPEED = [
    Case("softmax", (10,), at_most=1.0, of="limit"),
    Case("softmax", (65536, 3), at_most=0.35),
    Case("softmax", (100000, 10), at_most=0.20),
    Case("softmax", (8400, 80), at_most=0.14),
    Case("softmax", (256, 1000), at_most=0.13, avx2_ns=0.24),
    Case("softmax", (1, 128256), at_most=0.12),
    Case("softmax", (65536, 512), at_most=1.0, of="limit"),
    Case("softmax", (1, 21, 512, 512), 1, at_most=0.25),
    Case("softmax", (1, 4, 16, 8400), 2, at_most=0.20),
    Case("log_softmax", (256, 1000), at_most=0.12),
    Case("logsumexp", (256, 1000), at_most=0.09),
    Case("logsumexp", (65536, 512), at_most=1.15, of="limit"),
    *(Case("softmax", shape) for shape in ((65536, 2), (100000, 16), (4096, 32), (2000, 100), (32, 128256))),
    Case("softmax", (16, 1000000)),
    *(Case("softmax", shape, dtype="float64") for shape in ((256, 1000), (100000, 10))),
    *(Case("softmax", shape, axis) for shape, axis in (((1000, 256), 0), ((100000, 3), 0), ((64, 100, 7), 1))),
    *(Case("log_softmax", shape) for shape in ((100000, 10), (1, 128256))),
    *(Case("logsumexp", shape) for shape in ((100000, 10), (1, 1000000))),
    Case("cross_entropy", (4096, 1000), at_most=0.11),
    Case("cross_entropy", (2048, 32064), at_most=1.2, of="limit"),
    Case("cross_entropy", (32, 128256)),
    Case("cross_entropy", (8, 21, 128, 128), 1),
    Case("cross_entropy", (100000, 10)),
    Case("cross_entropy_with_grad", (4096, 1000), at_most=0.20, faster=GRADIENT),
    Case("cross_entropy_with_grad", (2048, 32064), faster=GRADIENT),
    Case("cross_entropy_with_grad", (8, 21, 128, 128), 1, faster=GRADIENT),
    Case("cross_entropy_with_grad", (100000, 10), faster=GRADIENT),
    Case("sigmoid", (4096, 1000)),
    Case("sigmoid", (16384, 1000), at_most=1.0, of="limit"),
    *(Case("log_sigmoid", (rows, 1000)) for rows in (4096, 16384)),
    Case("binary_cross_entropy_with_logits", (4096, 1000)),
    Case("binary_cross_entropy_with_logits", (16384, 1000), at_most=1.2, of="limit"),
    *(Case("binary_cross_entropy_with_logits_with_grad", (rows, 1000)) for rows in (4096, 16384)),
]
WITH_TARGETS = [case for case in SPEED if case.op == "softmax" and case.at_most]  # measured with options too
# Two classes to 80, from rows in cache to 8 MB: every operation on each shape. What SPEED has already keeps its target.
FEW_CLASSES = [
    Case(op, shape, faster=GRADIENT if op.endswith("_with_grad") else 1.0, at_most=at_most if op == "softmax" else None)
    for shape, at_most in (
        ((50000, 2), 0.20),
        ((65536, 3), None),
        ((100000, 10), None),
        ((65536, 21), None),
        ((20000, 48), 0.23),
        ((8400, 80), None),
    )
    for op in ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_with_grad")
]
SPEED += [case for case in FEW_CLASSES if case.name not in {known.name for known in SPEED}]
VOCABULARIES = ((1, 128256), (32, 128256))
SELECT = [
    *(Case("topk", s, k=k, at_most=2.0, of="x.max()", faster=8.0) for s in VOCABULARIES for k in (1, 5, 50)),
    *(Case("topk", s, k=1000) for s in VOCABULARIES),
    *(Case("topk", (256, 1000), k=k) for k in (1, 5, 50, 1000)),
    *(Case("topk", (8400, 80), k=k) for k in (1, 5, 50)),
    *(Case("argmax", s, at_most=1.3, of="logsumexp") for s in ((28,), (8400, 80), (256, 1000), (32, 128256))),
    Case("argmax", (1, 21, 512, 512), 1, at_most=1.3, of="logsumexp"),
    *(Case("take_log_probs", s, at_most=1.05, of="logsumexp") for s in ((256, 1000), (8, 128256))),
    Case("take_log_probs", (1, 21, 512, 512), 1, at_most=1.05, of="logsumexp"),
    Case("rank", (8, 128256)),
    *(Case("sample", s, at_most=2.5, of="logsumexp", faster=10.0, than="NumPy") for s in VOCABULARIES),
    Case("expectation", (1, 4, 16, 8400), 2, at_most=1.0, of="softmax"),
    Case("expectation", (33600, 16), of="softmax"),
]


def with_options(case: Case) -> list[Case]:
    """Other dtypes, a mask and temperatures: their targets are multiples of float32's time on the same shape."""
    plain = case._replace(of="float32", avx2_ns=None)
    half = plain._replace(at_most=1.3 if case.elements < CACHED else 1 / 1.6, faster=3.0)
    return [
        half._replace(dtype="float16"),
        half._replace(dtype="bfloat16"),
        plain._replace(dtype="uint8", at_most=1.0),
        plain._replace(option="where", at_most=1.3),
        plain._replace(option="temperature", at_most=1.05),
        plain._replace(option="temperatures", at_most=1.05),
    ]


WITH_OPTIONS = [case for plain in WITH_TARGETS for case in with_options(plain)]
CASES = [*SPEED, *SELECT, *WITH_OPTIONS]
BY_NAME = {case.name: case for case in CASES}

# Rows of these lengths, about a million elements together.
LENGTHS = sorted({2**k for k in range(1, 21)} | {3 * 2**k for k in range(19)})


def _target(case: Case, rng: np.random.Generator) -> Any:
    """Class indices (int64), a probability for each element (float32), or a value for each class; as it broadcasts."""
    if case.op.startswith("cross") or case.op in ("take_log_probs", "rank", "nll_loss"):
        t = rng.integers(0, case.shape[case.axis], case.batch)
        return t, np.expand_dims(t, case.axis)
    if case.op.startswith("binary"):
        t = rng.integers(0, 2, case.shape).astype(np.float32)
        return t, t
    t = np.arange(case.shape[case.axis], dtype=np.float32)
    inner = len(case.shape) - 1 - case.axis % len(case.shape)
    return (t, t.reshape(-1, *[1] * inner)) if case.op == "expectation" else (None, None)


def inputs(case: Case) -> dict[str, Any]:
    """The names in the calls of a case, but for the functions."""
    wide = np.float64 if case.dtype == "float64" else np.float32
    plain = 4 * np.random.default_rng(0).standard_normal(case.shape, wide)
    dtype: Any = case.dtype
    if dtype == "bfloat16":
        from ml_dtypes import bfloat16 as dtype
    x = plain if dtype == wide else (abs(plain) if dtype == "uint8" else plain).astype(dtype)
    rng = np.random.default_rng(1)
    t, given = _target(case, rng)
    names = {"x": x, "t": t, "given": given, "axis": case.axis, "k": case.k, "rng": rng}
    shape = case.batch if case.op == "logsumexp" else case.shape
    names["out"] = np.empty(shape, plain.dtype if dtype == "uint8" else x.dtype)
    if case.table == "options":
        names |= {"plain": plain, "plain_out": np.empty_like(plain)}
        names |= {"mask": rng.random(case.shape) < 0.8, "rows": rng.uniform(0.5, 2, case.batch)}
    return names
