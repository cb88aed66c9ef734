"""Evaluate: per-token losses and perplexity of a stream of logits that never fits in memory at once.

    python examples/perplexity.py
    python examples/perplexity.py --tokens 100000 --vocabulary 256000 --block 32    # 102 GB of logits
    python examples/perplexity.py --parts 4    # the vocabulary in four parts, as if each were in a process of its own

`token_losses` and `Summary` take any stream: blocks ``(logits (n, C), targets (n,))``, from a model or from files. One
block exists at a time.

The perplexity of the stream made here is known. Its model follows Zipf's law: the word of rank r has the probability
1 / (r * H), where H = 1 + 1/2 + ... + 1/C, so -log(r) is its logit and log(r) + log(H) the loss of a token. Which word
has which rank changes from row to row. The exit status is 1 if the result is not the known one.
"""

from __future__ import annotations

import argparse
import functools
import math
import operator
import sys
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import softlane

PADDING = -100  # the target of a token that does not count


def token_losses(blocks: Iterable[tuple[Any, Any]], parts: int = 1) -> Iterator[Any]:
    """The negative log-likelihood, in nats, of each token that counts: an array for each block."""
    for logits, targets in blocks:
        losses = losses_of_parts(logits, targets, parts)
        yield losses[targets != PADDING]  # those of padding are 0, and would flatter the mean


def losses_of_parts(logits: Any, targets: Any, parts: int) -> Any:
    """Losses of all tokens; of several parts of the vocabulary, only summaries come together."""
    if parts == 1:
        return softlane.cross_entropy(logits, targets, ignore_index=PADDING, reduction="none")
    width = -(-logits.shape[1] // parts)
    summaries = (
        softlane.stream.summarize(logits[:, i : i + width], first_class=i, target=targets)
        for i in range(0, logits.shape[1], width)
    )
    return functools.reduce(operator.or_, summaries).cross_entropy("none", ignore_index=PADDING)


class Summary:
    """Mean, spread and maximum of any number of losses, from sums in float64 whatever their dtype."""

    def __init__(self, losses: Iterable[Any] = ()) -> None:
        self.tokens, self.total, self.squares, self.largest = 0, 0.0, 0.0, 0.0
        for block in losses:
            self.add(block)

    def add(self, losses: Any) -> None:
        losses = losses.astype(np.float64)
        self.tokens += losses.size
        self.total += float(losses.sum())
        self.squares += float(losses @ losses)
        self.largest = max(self.largest, float(losses.max(initial=0)))

    @property
    def mean(self) -> float:
        return self.total / self.tokens

    @property
    def standard_error(self) -> float:
        return math.sqrt(max(self.squares / self.tokens - self.mean**2, 0) / self.tokens)

    @property
    def perplexity(self) -> float:
        return math.exp(self.mean)


class Zipf(NamedTuple):
    """The made stream: of each token its rank in its row, or PADDING."""

    ranks: Any
    vocabulary: int

    @classmethod
    def draw(cls, tokens: int, vocabulary: int, seed: int) -> Zipf:
        """Ranks as the model's own law has them. Every 16th token is padding."""
        cumulative = np.cumsum(1 / np.arange(1, vocabulary + 1))
        u = np.random.default_rng(seed).random(tokens) * cumulative[-1]
        ranks = np.minimum(np.searchsorted(cumulative, u, side="right") + 1, vocabulary)
        ranks[15::16] = PADDING
        return cls(ranks, vocabulary)

    @property
    def perplexity(self) -> float:
        """The known one: of the ranks alone, in float64."""
        harmonic = math.fsum(1 / r for r in range(1, self.vocabulary + 1))
        return harmonic * math.exp(np.log(self.ranks[self.ranks != PADDING]).mean())

    def blocks(self, rows: int, seed: int) -> Iterator[tuple[Any, Any]]:
        """Logits and targets, `rows` tokens at a time; the logits of the next block replace those of the last."""
        rng, size = np.random.default_rng(seed), self.vocabulary
        by_rank = -np.log(np.arange(1, size + 1)).astype(np.float32)
        twice = np.concatenate([by_rank, by_rank])  # twice[size - s :][:size] is by_rank rolled by s
        buffer = np.empty((rows, size), np.float32)
        for start in range(0, len(self.ranks), rows):
            ranks = self.ranks[start : start + rows]
            shifts = rng.integers(size, size=len(ranks))
            for row, shift in zip(buffer, shifts, strict=False):  # the last block may be shorter
                row[:] = twice[size - shift : 2 * size - shift]
            yield buffer[: len(ranks)], np.where(ranks == PADDING, PADDING, (ranks - 1 + shifts) % size)


def resident_peak() -> int | None:
    """The most memory that this process has had in bytes, where the system tells (Linux)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)


def main(arguments: Sequence[str] | None = None) -> tuple[float, float, int]:
    """Report; return the perplexity, the known one, and the peak of memory that NumPy and Python allocated."""
    parser = argparse.ArgumentParser(description="Perplexity of a stream of logits.")
    parser.add_argument("--tokens", type=int, default=8192, help="(default: %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=128256, help="(default: %(default)s)")
    parser.add_argument("--block", type=int, default=64, help="tokens at a time (default: %(default)s)")
    parser.add_argument("--parts", type=int, default=1, help="of the vocabulary (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    options = parser.parse_args(arguments)

    tracemalloc.start()
    stream = Zipf.draw(options.tokens, options.vocabulary, options.seed)
    summary = Summary(token_losses(stream.blocks(options.block, options.seed), options.parts))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    known, row = stream.perplexity, 4e-6 * options.vocabulary
    print(f"logits      {options.tokens * row:.1f} MB in blocks of {options.block * row:.1f} MB")
    print(f"tokens      {summary.tokens} that count, {options.tokens - summary.tokens} of padding")
    print(
        f"loss        {summary.mean:.6f} nats per token, {summary.mean / math.log(2):.6f} bits; "
        f"standard error {summary.standard_error:.3f}, largest {summary.largest:.3f}"
    )
    print(f"perplexity  {summary.perplexity:.4f}, known {known:.4f}: {abs(summary.perplexity / known - 1):.0e} apart")
    print(f"memory      peak {peak / 1e6:.1f} MB in NumPy and Python", end="")
    resident = resident_peak()
    print(f", {resident / 1e6:.1f} MB resident with all libraries" if resident else "")
    return summary.perplexity, known, peak


def agrees(perplexity: float, known: float) -> bool:
    """Whether they differ by no more than the rounding of logits and losses to float32 explains."""
    return abs(perplexity / known - 1) < 1e-6


if __name__ == "__main__":
    sys.exit(not agrees(*main()[:2]))
