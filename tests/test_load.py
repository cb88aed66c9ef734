"""The default number of threads beside other work: what it costs on shared processors, what it gains on others."""

import contextlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from softlane import _core

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.load,
    pytest.mark.skipif(_core.thread_engine() != "pool", reason="built without the pool"),
]

SECONDS, PHASE = 10, 0.25

CALLS = """
import sys, time
import numpy as np
import softlane
seconds, phase, numbers = float(sys.argv[1]), float(sys.argv[2]), [softlane.get_num_threads(), 1]
x = np.random.default_rng(0).normal(size=(400, 1000)).astype(np.float32)
out = np.empty_like(x)
for _ in range(20):
    softlane.softmax(x, out=out)
print("ready", flush=True)
first = float(sys.stdin.readline())
calls, now = {}, 0
while now < seconds / phase:
    softlane.set_num_threads(numbers[now % 2])
    before = now
    while now == before:
        softlane.softmax(x, out=out)
        calls[now] = calls.get(now, 0) + 1
        now = int((time.monotonic() - first) / phase)
print(*[calls.get(i, 0) for i in range(int(seconds / phase))])
"""


def start(code, *arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "SOFTLANE_ISA")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def busy(processes):
    loops = [start("while True: pass") for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.communicate()


def ratios(processes, loops=0):
    """Of the calls with the default number of threads to those with one, which take turns in all processes at a time"""
    with busy(loops):
        workers = [start(CALLS, SECONDS, PHASE) for _ in range(processes)]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        begin = time.monotonic()
        for worker in workers:
            worker.stdin.write(f"{begin}\n")
            worker.stdin.flush()
        said = [worker.communicate()[0] for worker in workers]
    calls = np.array([list(map(int, counts.split())) for counts in said]).sum(axis=0)
    return calls[2::2] / calls[3::2]  # the first phase is not whole


@pytest.mark.parametrize(("processes", "loops"), [(2, 0), (8, 0), (1, 1), (1, 2), (2, 1)])
def test_shared_processors_cost_a_tenth_at_most(processes, loops):
    found = ratios(processes, loops)
    assert np.median(found) >= 0.9, found


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_two_processors_by_themselves_are_worth_1_7():
    """Whatever else runs makes it less: the better half counts."""
    found = ratios(1)
    assert np.percentile(found, 75) >= 1.7, found
