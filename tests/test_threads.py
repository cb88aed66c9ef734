"""The number of threads changes no bit, many threads may call at once, and a child of fork() computes."""

import multiprocessing
import os
import threading
import time

import numpy as np
import pytest
from arrays import logits
from cases import FUNCTIONS, assert_same_bits, random
from interpreter import printed
from ops import each_op, in_turn

import softlane

pytestmark = pytest.mark.any_isa

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
        for threads in in_turn(op, turn, (2, 3, 64), 2):
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


@pytest.mark.parametrize("threads", [1, 2])
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


# ---- fork --------------------------------------------------------------------------------------------------------

FORK = """
import os, sys, time
import numpy as np
import softlane
from softlane import _core
softlane.set_num_threads(2)
x = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
long = x.reshape(1, -1)
expected = softlane.softmax(x), softlane.logsumexp(long), softlane.log_softmax(x, axis=0)  # the pool is alive now
assert not _core.forked()
child = os.fork()
if child == 0:
    try:
        ok = _core.forked() and softlane.get_num_threads() == 2
        for _ in range(3):
            got = softlane.softmax(x), softlane.logsumexp(long), softlane.log_softmax(x, axis=0)
            ok = ok and all(a.tobytes() == b.tobytes() for a, b in zip(got, expected))
        softlane.set_num_threads(3)
        ok = ok and softlane.softmax(x).tobytes() == expected[0].tobytes()
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if _core.forked() and softlane.softmax(x).tobytes() == expected[0].tobytes() else 1)
        ok = ok and os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if ok else 1)
    finally:
        os._exit(2)
deadline = time.monotonic() + 60
while True:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        break
    if time.monotonic() > deadline:
        os.kill(child, 9)
        os.waitpid(child, 0)
        sys.exit("the child hangs")
    time.sleep(0.01)
assert status == 0, status
assert not _core.forked()
assert softlane.softmax(x).tobytes() == expected[0].tobytes()  # and the parent's pool still works
print("done")
"""


@needs_fork
def test_a_child_of_fork_computes_and_does_not_hang():
    assert printed(FORK) == "done"


POOL = """
import multiprocessing
import numpy as np
import softlane
from softlane import _core
x = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
softlane.set_num_threads(2)

def work(seed):
    return _core.forked(), softlane.softmax(x + np.float32(seed)).tobytes()

if __name__ == "__main__":
    expected = [softlane.softmax(x + np.float32(seed)).tobytes() for seed in range(4)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(work, range(4)).get(60) == [(True, e) for e in expected]
    print("done")
"""


@needs_fork
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs the fork start method")
def test_a_multiprocessing_pool_of_forked_workers():
    assert printed(POOL) == "done"
