"""The default number of threads beside other work: what it costs on shared processors, what it gains on others."""

import contextlib
import os
import statistics
import subprocess
import sys

import pytest

from softlane import _core

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.load,
    pytest.mark.skipif(_core.thread_engine() != "pool", reason="built without the pool"),
]

SECONDS, ROUNDS = 0.7, 9

CALLS = """
import sys, time
import numpy as np
import softlane
if len(sys.argv) > 2:
    softlane.set_num_threads(int(sys.argv[2]))
x = np.random.default_rng(0).normal(size=(400, 1000)).astype(np.float32)
out = np.empty_like(x)
for _ in range(20):
    softlane.softmax(x, out=out)
print("ready", flush=True)
sys.stdin.readline()
end, calls = time.perf_counter() + float(sys.argv[1]), 0
while time.perf_counter() < end:
    softlane.softmax(x, out=out)
    calls += 1
print(calls)
"""


def start(code, *arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "SOFTLANE_ISA")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def calls(processes, *threads):
    """How many calls processes make together that begin at the same time"""
    workers = [start(CALLS, SECONDS, *threads) for _ in range(processes)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    return sum(int(worker.communicate()[0]) for worker in workers)


@contextlib.contextmanager
def busy(processes):
    loops = [start("while True: pass") for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.communicate()


def ratios(processes, loops):
    """Of the calls with the default number of threads to those with one, which take turns"""
    with busy(loops):
        return [calls(processes) / calls(processes, 1) for _ in range(ROUNDS)]


@pytest.mark.parametrize(("processes", "loops"), [(2, 0), (8, 0), (1, 1), (1, 2), (2, 1)])
def test_shared_processors_cost_a_tenth_at_most(processes, loops):
    found = ratios(processes, loops)
    assert statistics.median(found) >= 0.9, found


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_two_processors_by_themselves_are_worth_1_7():
    """Whatever else runs makes it less: the best rounds count."""
    found = [calls(1, 2) / calls(1, 1) for _ in range(ROUNDS)]
    assert statistics.median(sorted(found)[-3:]) >= 1.7, found
