"""The number of threads changes no bit, many threads may call at once, and a child of fork() computes."""

import contextvars
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from arrays import logits
from cases import FUNCTIONS, assert_same_bits, random
from interpreter import printed, run
from ops import each_op, in_turn

import softlane
from softlane import _core

pytestmark = pytest.mark.any_isa

needs_pool = pytest.mark.skipif(_core.thread_engine() != "pool", reason="built with another thread engine")
needs_threads = pytest.mark.skipif(_core.thread_engine() == "none", reason="built without threads")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Above and below the size from which a call is shared out; long rows in three ways: fewer rows than threads, so that a
# row's blocks are shared out; many rows; one row.
SHAPES = [
    ((1000, 10), -1), ((20011, 10), -1), ((30, 700), -1), ((501, 700), -1), ((2, 9001), -1), ((31, 9001), -1),
    ((3, 70001), -1), ((1, 200001), -1), ((3, 21, 3003), 1), ((10001, 5, 3), 1), ((1, 4099, 67), 1), ((9, 4100, 7), 1),
]  # fmt: skip


@each_op
@pytest.mark.parametrize(("turn", "shape", "axis"), [(i, *case) for i, case in enumerate(SHAPES)], ids=str)
def test_the_number_of_threads_does_not_show(op, turn, shape, axis):
    """Sums over the whole batch included."""
    for dtype in in_turn(op, turn, [np.dtype(t) for t in (np.float32, np.float64, np.float16, np.uint8)]):
        choices = op.choices(shape, axis)
        options = choices[turn % len(choices)]
        given = op.given(logits(shape, dtype, seed=1), axis)
        softlane.set_num_threads(1)
        expected = op(given, axis, **options)
        for threads in in_turn(op, turn, (2, 3, 7, 64), 2):
            softlane.set_num_threads(threads)
            for got, a in zip(op(given, axis, **options), expected, strict=True):
                assert_same_bits(got, a, f"{dtype} {threads} threads")
        if op.may_overwrite(given[0], expected[-1]):
            op(given, axis, **options, out=given[0])
            assert_same_bits(given[0], expected[-1], f"{dtype} {threads} threads, in place")


def test_an_index_outside_is_found_by_any_thread():
    x = random((20011, 10), np.float32)
    for threads in (1, 2, 3):
        softlane.set_num_threads(threads)
        for row in (0, 10_000, 20_010):
            indices = np.zeros(20011, np.int64)
            indices[row] = 10
            for function in (softlane.take_log_probs, softlane.rank):
                with pytest.raises(IndexError, match=rf"indices\[{row}\] = 10 is outside \[0, 10\)"):
                    function(x, indices)


# Each is large enough to be shared out: rows, short rows, one long row, columns.
SHARED = [((400, 500), -1), ((30000, 10), -1), ((1, 200001), -1), ((2, 21, 5000), 1)]

# ---- many callers at once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_python_threads_on_the_same_arrays(threads):
    softlane.set_num_threads(threads)
    shapes = [*SHARED, ((5, 7), 0)]
    arrays = [(random(shape, dtype), axis) for shape, axis in shapes for dtype in (np.float32, np.float16)]
    expected = [[compute(x, axis=axis) for compute in FUNCTIONS.values()] for x, axis in arrays]
    start, failures = threading.Barrier(6), []

    def work(seed):
        try:
            start.wait(60)
            for i in np.random.default_rng(seed).permutation(len(arrays)):
                x, axis = arrays[i]
                for compute, result in zip(FUNCTIONS.values(), expected[i], strict=True):
                    assert_same_bits(compute(x, axis=axis), result)
                    out = np.empty_like(result)
                    assert_same_bits(compute(x, axis=axis, out=out), result)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert not any(worker.is_alive() for worker in workers)
    assert failures == []


def test_the_gil_is_released_for_large_arrays():
    """While one thread computes for long, another one gets to run Python."""
    softlane.set_num_threads(1)
    x = random((40, 500000), np.float32)
    out = np.empty_like(x)
    before, running, done = threading.Event(), [], threading.Event()

    def count():
        before.set()
        while not done.is_set():
            running.append(None)
            done.wait(0.0005)

    counter = threading.Thread(target=count, daemon=True)
    counter.start()
    assert before.wait(60)
    seen, calls, start = len(running), 0, time.monotonic()
    while calls < 3 or time.monotonic() - start < 0.2:
        softlane.softmax(x, out=out)
        calls += 1
    seen = len(running) - seen
    done.set()
    counter.join(60)
    assert seen >= 2 * calls  # were the GIL held, there would be one chance after each call


# ---- the threads of the process ----------------------------------------------------------------------------------
# For code in a fresh interpreter: who() are the threads of the process, work() is shared out if it may be.

START = """
import os, sys, threading, time
import numpy as np
import softlane
x = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
long, out = x.reshape(1, -1), np.empty_like(x)

def who():
    return set(os.listdir("/proc/self/task"))

def work():
    results = softlane.softmax(x, out=out), softlane.logsumexp(long), softlane.log_softmax(x, axis=0)
    return [result.tobytes() for result in results]

with softlane.num_threads(1):
    expected = work()
"""


@needs_pool
@needs_proc
def test_threads_begin_with_the_first_call_that_needs_them_and_no_more_than_it_has_work_for():
    code = """
before = who()
softlane.set_num_threads(3)
softlane.softmax(x[:20])
assert who() == before
assert work() == expected and len(who() - before) == 2
softlane.set_num_threads(1000)
assert work() == expected and 2 < len(who() - before) < x.size / 2048
softlane.set_num_threads(2)
begun = who()
assert work() == expected and who() == begun
print("done")
"""
    assert printed(START + code) == "done"


@needs_pool
@needs_proc
def test_num_threads_holds_for_its_block():
    code = """
softlane.set_num_threads(1)
before = who()
assert work() == expected and who() == before
with softlane.num_threads(2):
    with softlane.num_threads(1):
        assert work() == expected and who() == before
    other = threading.Thread(target=work)
    other.start()
    other.join()
    for _ in range(1000):  # a thread that was joined is listed for a moment longer
        if who() == before:
            break
        time.sleep(0.01)
    assert who() == before
    assert work() == expected and len(who() - before) == 1
print("done")
"""
    assert printed(START + code) == "done"


@needs_threads
def test_num_threads_ends_in_another_context():
    """A generator may end in another context than it began in, whose number then stays."""

    def generator():
        with softlane.num_threads(3):
            yield softlane.get_num_threads()

    begun = generator()
    context = contextvars.copy_context()
    assert context.run(next, begun) == 3
    before = softlane.get_num_threads()
    begun.close()
    assert softlane.get_num_threads() == before


@needs_threads
def test_num_threads_may_be_used_again():
    block, before = softlane.num_threads(3), softlane.get_num_threads()
    for _ in range(2):
        with block, softlane.num_threads(2), block:
            assert softlane.get_num_threads() == 3
    assert softlane.get_num_threads() == before


@needs_pool
@needs_proc
def test_workers_take_no_signals():
    code = """
import signal
before = who()
softlane.set_num_threads(2)
work()
(worker,) = who() - before
with open(f"/proc/self/task/{worker}/status") as file:
    blocked = next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk"))
for one in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGALRM, signal.SIGPROF):
    assert blocked >> one - 1 & 1, one
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
print("done")
"""
    assert printed(START + code) == "done"


@needs_pool
@needs_proc
def test_a_thread_that_cannot_be_started_is_done_without_and_tried_again():
    """No address space for its stack: it has room for the scratch memory of a call only."""
    code = """
import resource
work()
softlane.set_num_threads(2)
before, limits = who(), resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**19, limits[1]))
softlane.softmax(x, out=out)
resource.setrlimit(resource.RLIMIT_AS, limits)
assert out.tobytes() == expected[0] and who() == before
for _ in range(500):
    work()
assert work() == expected and len(who() - before) == 1
print("done")
"""
    assert printed("import softlane; softlane.set_num_threads(1)\n" + START + code) == "done"


@pytest.mark.parametrize("how", ["", "sys.exit(0)", "import atexit; atexit.register(work)"])
def test_a_process_may_end_while_a_thread_computes(how):
    code = f"""
softlane.set_num_threads(3)
begun = threading.Event()

def compute():
    big = np.zeros((1, 3_000_000), np.float32)
    while True:
        work()
        softlane.softmax(big, out=big)
        begun.set()

threading.Thread(target=compute, daemon=True).start()
begun.wait(60)
print("done")
{how}
"""
    for _ in range(3):
        done = run(START + code, PYTHONWARNINGS="ignore::RuntimeWarning")  # of a build without threads
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_calls_return_where_other_processes_take_all_processors():
    """A caller waits for no thread that has not begun: one that has no processor cannot delay it for long."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        code = """
softlane.set_num_threads(3)
for _ in range(300):
    assert work() == expected
print("done")
"""
        assert printed(START + code) == "done"
    finally:
        for process in busy:
            process.kill()
            process.wait()


# ---- fork --------------------------------------------------------------------------------------------------------

FORK = """
softlane.set_num_threads(2)
assert work() == expected  # the threads are there now

def computes():
    before = who()
    right = [work() == expected for _ in range(3)]
    softlane.set_num_threads(3)
    right.append(work() == expected and softlane.get_num_threads() == (3 if NEW_THREADS else 1))
    return all(right) and len(who() - before) == NEW_THREADS

def compute():
    while True:
        work()

def fork(then):
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if then() else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 60
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            sys.exit("the child hangs")
        time.sleep(0.01)

assert fork(lambda: computes() and fork(computes))
assert work() == expected  # and the parent's threads still work
threading.Thread(target=compute, daemon=True).start()
assert all(fork(computes) for _ in range(20))  # while another thread has the pool, or not
print("done")
"""


@needs_fork
@needs_proc
def test_a_child_of_fork_computes_with_threads_of_its_own_and_does_not_hang():
    new_threads = 2 if _core.thread_engine() == "pool" else 0  # libgomp's do not survive: the child runs serially
    assert printed(START + FORK.replace("NEW_THREADS", str(new_threads))) == "done"


POOL = """
import multiprocessing
import numpy as np
import softlane
x = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
softlane.set_num_threads(2)

def work(seed):
    return softlane.softmax(x + np.float32(seed)).tobytes()

if __name__ == "__main__":
    expected = [softlane.softmax(x + np.float32(seed)).tobytes() for seed in range(4)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(work, range(4)).get(60) == expected
    print("done")
"""


@needs_fork
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs the fork start method")
def test_a_multiprocessing_pool_of_forked_workers():
    assert printed(POOL) == "done"
