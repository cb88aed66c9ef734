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

PHASE, PAIRS, ROUNDS = 0.25, 10, 6  # seconds; of phases in a round; at most

# Calls in two kinds of phases, which take turns, with a number of threads each: 0 sleeps.
CALLS = """
import sys, time
import numpy as np
import softlane
phase, phases, *numbers = float(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
numbers = [softlane.get_num_threads() if number == "default" else int(number) for number in numbers]
x = np.random.default_rng(0).normal(size=(400, 1000)).astype(np.float32)
out = np.empty_like(x)
for _ in range(20):
    softlane.softmax(x, out=out)
print("ready", flush=True)
begin = float(sys.stdin.readline())
calls, now = {}, 0
while now < phases:
    before, threads = now, numbers[now % 2]
    softlane.set_num_threads(threads or 1)
    while now == before:
        if threads:
            softlane.softmax(x, out=out)
            calls[now] = calls.get(now, 0) + 1
        else:
            time.sleep(0.001)
        now = int((time.monotonic() - begin) / phase)
print(*[calls.get(i, 0) for i in range(phases)])
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


def ratios(*workers):
    """Of all calls in the first kind of phases to those in the second. workers: numbers of threads in each kind."""
    phases = 2 * (PAIRS + 1)
    processes = [start(CALLS, PHASE, phases, *numbers) for numbers in workers]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    begin = time.monotonic()
    for process in processes:
        process.stdin.write(f"{begin}\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in processes]
    calls = np.array([list(map(int, counts.split())) for counts in said]).sum(axis=0)
    return (calls[2::2] / calls[3::2]).tolist()  # without the first pair, whose first phase is not whole


def reaches(bound, *workers, loops=0, rounds=ROUNDS):
    """Does the median of all ratios reach the bound after any round? Other machines may disturb the first ones."""
    found = []
    with busy(loops):
        for _ in range(rounds):
            found += ratios(*workers)
            if np.median(found) >= bound:
                return True
    print(f"median {np.median(found):.3f}, {bound} is expected; quartiles {np.percentile(found, [25, 75])}")
    return False


two_processors = pytest.mark.skipif(_core.get_threads() < 2, reason="needs two processors")


@pytest.mark.parametrize(("processes", "loops"), [(2, 0), (8, 0), (1, 1), (1, 2), (2, 1)])
def test_shared_processors_cost_a_tenth_at_most(processes, loops):
    assert reaches(0.9, *[("default", 1)] * processes, loops=loops)


@two_processors
def test_two_threads_do_0_85_of_what_two_processes_do():
    """So they are worth 1.7 threads where two processors are worth two."""
    assert reaches(0.85, (2, 1), (0, 1))


@two_processors
def test_half_as_many_calls_are_seen():
    assert not reaches(0.85, (1, 1), (0, 1), rounds=1)
