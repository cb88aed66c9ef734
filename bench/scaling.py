"""Time softlane.dask on one and two worker processes, with the class axis in 1, 4 and 32 chunks.

    python bench/scaling.py            # writes bench/results/scaling.md

The log-probabilities of an array that lies in the memory of the workers are summed, by softlane.dask, by
``x - logsumexp`` written in Dask, and by SciPy under map_blocks, for which the class axis has to be one chunk.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import scipy.special
from distributed import Client, LocalCluster, wait

import softlane.dask

RESULTS = Path(__file__).parent / "results"
CHUNKS = (1, 4, 32)
ROWS_PER_CHUNK = 5000


def by_hand(x: da.Array) -> da.Array:
    top = x.max(axis=1, keepdims=True)
    return x - (top + da.log(da.exp(x - top).sum(axis=1, keepdims=True)))


def by_scipy(x: da.Array) -> da.Array:
    return x.rechunk({1: -1}).map_blocks(scipy.special.log_softmax, axis=1, dtype=x.dtype)


WAYS = {"softlane.dask": softlane.dask.log_softmax, "x - logsumexp in Dask": by_hand, "SciPy, map_blocks": by_scipy}


def measure(client: Client, x: da.Array, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    sums = {name: way(x).sum() for name, way in WAYS.items()}
    for _ in range(rounds + 1):  # the first one is thrown away
        for name, total in sums.items():
            start = time.perf_counter()
            client.compute(total).result()
            found[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=40000)
    parser.add_argument("--classes", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    size = options.rows * options.classes * 4 / 1e6
    lines = [
        f"log_softmax of ({options.rows}, {options.classes}) float32, {size:.0f} MB in the memory of the workers, "
        f"and its sum. Seconds, the median of {options.rounds}; each worker has one thread.",
        "",
        "| workers | chunks of the classes | " + " | ".join(WAYS) + " |",
        "|--:|--:|" + "--:|" * len(WAYS),
    ]
    for workers in (1, 2):
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            for chunks in CHUNKS:
                shape = (options.rows, options.classes)
                x = da.random.default_rng(0).standard_normal(
                    shape, chunks=(ROWS_PER_CHUNK, -(-options.classes // chunks)), dtype=np.float32
                )
                x = client.persist(x)
                wait(x)
                times = measure(client, x, options.rounds)
                cells = [f"{statistics.median(found):.3f}" for found in times.values()]
                lines.append(f"| {workers} | {chunks} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
                del x
    (RESULTS / "scaling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
