"""Time the threads of softlane where processors are free, and where other work wants them as well.

    python bench/threads.py [--threads 2] [--seconds 0.3] [--rounds 7] [--filter text]

Each figure is the number of calls with several threads over that with one thread, in the same processes, side by side:
the median of some rounds. "quiet" is one process, "busy loop" one beside a process that computes all the time, "2
processes" and "8 processes" the same work in so many at once, whose calls are added. All of them share as many
processors as --threads says. Nothing else may run meanwhile.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from functools import partial

import numpy as np

import softlane

SITUATIONS = {"quiet": (1, 0), "busy loop": (1, 1), "2 processes": (2, 0), "8 processes": (8, 0)}


def like_x(function, shape, axis=-1):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return partial(function, x, axis, out=np.empty_like(x))


def softmax(*shape, axis=-1):
    return like_x(softlane.softmax, shape, axis)


def log_softmax(*shape):
    return like_x(softlane.log_softmax, shape)


def logsumexp(*shape):
    return partial(softlane.logsumexp, softmax(*shape).args[0])


def cross_entropy(*shape):
    x = softmax(*shape).args[0]
    return partial(softlane.cross_entropy, x, np.random.default_rng(1).integers(shape[1], size=shape[0]))


def sigmoid(*shape):
    x = softmax(*shape).args[0]
    return partial(softlane.sigmoid, x, out=np.empty_like(x))


CASES = {
    "softmax (100, 1000)": partial(softmax, 100, 1000),
    "softmax (256, 1000)": partial(softmax, 256, 1000),
    "softmax (400, 1000)": partial(softmax, 400, 1000),
    "softmax (4096, 1000)": partial(softmax, 4096, 1000),
    "softmax (8400, 80)": partial(softmax, 8400, 80),
    "softmax (50000, 10)": partial(softmax, 50000, 10),
    "softmax (1, 128256)": partial(softmax, 1, 128256),
    "softmax (4, 128256)": partial(softmax, 4, 128256),
    "softmax (32, 128256)": partial(softmax, 32, 128256),
    "softmax (1, 21, 512, 512) axis 1": partial(softmax, 1, 21, 512, 512, axis=1),
    "log_softmax (256, 1000)": partial(log_softmax, 256, 1000),
    "logsumexp (256, 1000)": partial(logsumexp, 256, 1000),
    "logsumexp (1, 256000)": partial(logsumexp, 1, 256000),
    "cross_entropy (4096, 1000)": partial(cross_entropy, 4096, 1000),
    "sigmoid (256, 1000)": partial(sigmoid, 256, 1000),
}


def count_calls(call, seconds):
    calls, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        call()
        calls += 1
    return calls


def work(name, threads, options, barrier, queue):
    call = CASES[name]()
    for _ in range(options.rounds + 1):
        for count in (1, threads):
            softlane.set_num_threads(count)
            barrier.wait()
            queue.put((count, count_calls(call, options.seconds)))


def ratio(name, situation, options):
    """The median of all rounds but the first."""
    processes, busy = SITUATIONS[situation]
    spawn = multiprocessing.get_context("spawn")
    barrier, queue = spawn.Barrier(processes), spawn.Queue()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    workers = [
        spawn.Process(target=work, args=(name, options.threads, options, barrier, queue)) for _ in range(processes)
    ]
    try:
        for worker in workers:
            worker.start()
        rounds = []
        for _ in range(options.rounds + 1):
            counts = [queue.get(timeout=60) for _ in range(2 * processes)]
            one = sum(calls for threads, calls in counts if threads == 1)
            rounds.append((sum(calls for _, calls in counts) - one) / one)
        for worker in workers:
            worker.join()
    finally:
        for process in (*others, *workers):
            process.kill()
    return statistics.median(rounds[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=softlane.get_num_threads(), help="default: all")
    parser.add_argument("--seconds", type=float, default=0.3, help="of one sample")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--filter", default="", help="only cases with this text")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    softlane.show_config()
    print(f"\n{options.threads} threads over one thread\n")
    print(f"{'':34}" + "".join(f"{situation:>13}" for situation in SITUATIONS))
    for name in CASES:
        if options.filter in name:
            print(f"{name:34}", end="", flush=True)
            for situation in SITUATIONS:
                print(f"{ratio(name, situation, options):12.2f}x", end="", flush=True)
            print()


if __name__ == "__main__":
    main()
