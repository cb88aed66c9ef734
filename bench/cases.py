"""Say what is measured: the shapes, and the targets of the design for some of them. Measures nothing."""

from __future__ import annotations

from typing import NamedTuple

# Promised beside the table: against the best peer on every shape, and on the geometric mean of the table.
FASTER = 1.0
FASTER_MEAN = 2.0
FASTER_GRADIENT = 2.5  # cross-entropy with gradient, on every shape
FASTER_AVX2 = 1.5  # against the peers that can be held to AVX2


class Case(NamedTuple):
    """Targets are for one thread: ns per element (on a Zen 5 server core), or a multiple of the limit's time."""

    op: str
    shape: tuple[int, ...]
    axis: int = -1
    dtype: str = "float32"
    target_ns: float | None = None
    target_limit: float | None = None
    avx2_ns: float | None = None
    whole_call: bool = False  # shown as microseconds for the call
    faster: float = FASTER  # times as fast as the best peer

    @property
    def in_table(self) -> bool:
        return self.target_ns is not None or self.target_limit is not None

    @property
    def elements(self) -> int:
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def rows(self) -> int:
        """Samples of a loss over classes, for each of which it may allocate a few bytes."""
        return self.elements // self.shape[self.axis] if self.op.startswith("cross") else 0

    @property
    def name(self) -> str:
        axis = self.axis % len(self.shape)
        place = "" if axis == len(self.shape) - 1 else f" axis {axis}"
        return f"{self.op} {self.shape}{place}" + ("" if self.dtype == "float32" else f" {self.dtype}")


CASES = [
    Case("softmax", (10,), target_limit=1.0, whole_call=True),
    Case("softmax", (65536, 3), target_ns=0.35),
    Case("softmax", (100000, 10), target_ns=0.20),
    Case("softmax", (8400, 80), target_ns=0.14),
    Case("softmax", (256, 1000), target_ns=0.13, avx2_ns=0.24),
    Case("softmax", (1, 128256), target_ns=0.12),
    Case("softmax", (65536, 512), target_limit=1.0),
    Case("softmax", (1, 21, 512, 512), 1, target_ns=0.25),
    Case("softmax", (1, 4, 16, 8400), 2, target_ns=0.20),
    Case("log_softmax", (256, 1000), target_ns=0.12),
    Case("logsumexp", (256, 1000), target_ns=0.09),
    Case("logsumexp", (65536, 512), target_limit=1.15),
    Case("softmax", (65536, 2)),
    Case("softmax", (100000, 16)),
    Case("softmax", (4096, 32)),
    Case("softmax", (2000, 100)),
    Case("softmax", (32, 128256)),
    Case("softmax", (16, 1000000)),
    Case("softmax", (256, 1000), dtype="float64"),
    Case("softmax", (100000, 10), dtype="float64"),
    Case("softmax", (1000, 256), 0),
    Case("softmax", (100000, 3), 0),
    Case("softmax", (64, 100, 7), 1),
    Case("log_softmax", (100000, 10)),
    Case("log_softmax", (1, 128256)),
    Case("logsumexp", (100000, 10)),
    Case("logsumexp", (1, 1000000)),
    Case("cross_entropy", (4096, 1000), target_ns=0.11),
    Case("cross_entropy", (2048, 32064), target_limit=1.2),
    Case("cross_entropy", (32, 128256)),
    Case("cross_entropy", (8, 21, 128, 128), 1),
    Case("cross_entropy", (100000, 10)),
    Case("cross_entropy_with_grad", (4096, 1000), target_ns=0.20, faster=FASTER_GRADIENT),
    Case("cross_entropy_with_grad", (2048, 32064), faster=FASTER_GRADIENT),
    Case("cross_entropy_with_grad", (8, 21, 128, 128), 1, faster=FASTER_GRADIENT),
    Case("cross_entropy_with_grad", (100000, 10), faster=FASTER_GRADIENT),
    Case("sigmoid", (4096, 1000)),
    Case("sigmoid", (16384, 1000), target_limit=1.0),
    Case("log_sigmoid", (4096, 1000)),
    Case("log_sigmoid", (16384, 1000)),
    Case("binary_cross_entropy_with_logits", (4096, 1000)),
    Case("binary_cross_entropy_with_logits", (16384, 1000), target_limit=1.2),
    Case("binary_cross_entropy_with_logits_with_grad", (4096, 1000)),
    Case("binary_cross_entropy_with_logits_with_grad", (16384, 1000)),
]

# What a loss may allocate beside its gradient, in bytes: for each sample, and once (which is also what the measurement
# of the resident size is worth).
ROW_BYTES = 16
FIXED_BYTES = 500_000

# Rows of these lengths, about a million elements together.
LENGTHS = sorted({2**k for k in range(1, 21)} | {3 * 2**k for k in range(19)})
