"""Each allocation of a call fails in turn: MemoryError or the right result, `out` as it was, and no memory is kept.

failing_malloc.c, which is preloaded, counts the allocations of malloc, and the starts of threads, by all threads. The
calls run in processes of their own, by the functions here that are no tests.
"""

import ctypes
import gc
import itertools
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cases import random
from interpreter import run
from ops import OPS

import softlane
from softlane import _core, stream

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="failing_malloc.c needs glibc"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
    pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="objects do not come from malloc"),
]
TESTS = Path(__file__).parent

LARGE = 1 << 17  # bytes: more than NumPy's own buffers have


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    built = tmp_path_factory.mktemp("failing_malloc") / "failing_malloc.so"
    options = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"]
    subprocess.run(["cc", *options, str(TESTS / "failing_malloc.c"), "-o", str(built), "-ldl"], check=True)
    return built


def said(library, work, *arguments, objects="malloc"):
    """What a function of this file prints, in a process whose objects come from malloc, or from Python's own pools."""
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); import test_allocations as t; t.{work.__name__}(*{arguments})"
    )
    done = run(code, LD_PRELOAD=str(library), PYTHONMALLOC=objects, OMP_WAIT_POLICY="passive")
    assert done.returncode == 0, f"status {done.returncode} at or after:\n{done.stdout[-300:]}\n{done.stderr[-3000:]}"
    return done.stdout


# ---- what follows runs in those processes ----------------------------------------------------------------------------


class Allocations:
    """The variables of failing_malloc.c. To set one allocates nothing."""

    def __init__(self, least_size=0, fails_on=False):
        library = ctypes.CDLL(None)
        self.countdown, self.live = (ctypes.c_long.in_dll(library, name) for name in ("countdown", "live"))
        ctypes.c_size_t.in_dll(library, "least_size").value = least_size
        ctypes.c_int.in_dll(library, "fails_on").value = fails_on
        self.unraisable = []
        sys.unraisablehook = lambda what: self.unraisable.append(f"unraisable {what.exc_value!r}")

    def attempt(self, n, call):
        """The result, the error, and whether there was an n-th allocation, which failed then"""
        result = error = None
        try:
            self.countdown.value = n
            result = call()
        except Exception as e:
            self.countdown.value = 0
            error = e.with_traceback(None)
        failed = self.countdown.value <= 0
        self.countdown.value = 0
        return result, error, failed

    def faults(self, call, out=None, may_be_complete=False):
        """How many allocations a call has, and what is wrong after one of them failed.

        out: an array that is then as it was, or, where it may be, has all of the result.
        """
        before, expected = [] if out is None else fingerprint(out), fingerprint(call())
        allowed = [before, fingerprint(out)] if may_be_complete else [before]
        found = []
        gc.collect()
        gc.freeze()  # what is there already need not be looked through
        for n in itertools.count(1):
            for turn in range(10):  # a cache that fills keeps memory, but not every time
                if out is not None:
                    out[...] = np.frombuffer(before[2], out.dtype).reshape(out.shape)
                kept = self.live.value
                result, error, failed = self.attempt(n, call)
                if turn == 0:
                    found += [f"{n}: {fault}" for fault in self.faults_of(result, error, failed, expected)]
                    if error is not None and out is not None and fingerprint(out) not in allowed:
                        found.append(f"{n}: out is written")
                result = error = None
                self.unraisable.clear()
                if self.live.value > kept:
                    gc.collect()
                if self.live.value <= kept:
                    break
            else:
                found.append(f"{n}: keeps memory")
            if not failed:
                return n - 1, found

    def faults_of(self, result, error, failed, expected):
        yield from self.unraisable
        if error is None and fingerprint(result) != expected:
            yield "another result"
        if error is not None and not (failed and isinstance(error, MemoryError)):
            yield repr(error)


def fingerprint(result):
    if isinstance(result, tuple):
        return [fingerprint(a) for a in result]
    if isinstance(result, stream.RowSummary):
        return fingerprint(result.__getstate__())
    return (result.dtype, result.shape, result.tobytes()) if hasattr(result, "tobytes") else result


def report(allocations, name, call, *out):
    print(name, end=": ", flush=True)  # where the process ends, if it does
    count, found = allocations.faults(call, *out)
    print(count, *found, sep="; ", flush=True)


def calls_of(op, given, axis, **options):
    """Names, calls, and outputs where the function has one. A gradient is there before the loss is allocated."""
    keywords = op.keywords(given, axis, **options)
    function = getattr(softlane, op.function)
    yield str(op), partial(function, given[0], **keywords)
    if op.out:
        out = np.empty_like(op(given, axis, **options)[-1])
        yield f"{op} to {op.out}", partial(function, given[0], **keywords, **{op.out: out}), out, op.out == "grad_out"


def is_direct(call):
    """Does the bridge compute it as it came? Then at most one function besides runs in Python, which makes a tuple."""
    events = []
    sys.setprofile(lambda frame, event, argument: events.append(event))
    call()
    sys.setprofile(None)
    return events.count("call") <= 2


def direct_calls(shape, threads, fails_on):
    """Every allocation of the calls that the bridge computes as they come"""
    allocations = Allocations(fails_on=fails_on)
    softlane.set_num_threads(threads)
    for op in OPS:
        for name, call, *out in calls_of(op, op.given(random(shape, np.float32), 1), 1):
            if is_direct(call):
                report(allocations, name, call, *out)


def copied_calls(rows, threads):
    """Allocations of arrays, in calls on arrays of another layout or dtype"""
    allocations = Allocations(LARGE)
    softlane.set_num_threads(threads)
    for turn, op in enumerate(OPS):
        given = op.given(random((rows, 4), (np.float32, np.int32, np.float16)[turn % 3]), 1)
        given = [np.asfortranarray(a) for a in given]
        *_, (name, call, *out) = calls_of(op, given, 1, **op.choices((rows, 4), 1)[-1])
        is_whole = rows * 4 <= _core.MOST_COPIED
        report(allocations, name, call, *(out if is_whole else ()))  # of chunks a part may be written


def summaries():
    allocations = Allocations(LARGE)
    x = np.asfortranarray(random((40000, 8), np.float32))
    options = {"target": np.arange(40000) % 8, "k": 2, "entropy": True, "temperature": np.linspace(0.5, 2, 40000)}
    report(allocations, "empty", partial(stream.empty, (40000,), **options))
    report(allocations, "summarize", partial(stream.summarize, x, **options))
    a, b = (stream.summarize(x[:, i : i + 4], first_class=i, **options) for i in (0, 4))
    report(allocations, "merge", partial(a.merge, b))
    whole = a | b
    for method in ("logsumexp", "entropy", "target_log_prob", "cross_entropy", "topk", "argmax"):
        report(allocations, method, getattr(whole, method))
    for method in ("softmax", "log_softmax"):
        report(allocations, method, partial(getattr(whole, method), x[:, :4]))


def workers():
    """How many the first call on three threads starts, where the n-th thread cannot be started"""
    allocations = Allocations(least_size=ctypes.c_size_t(-1).value)  # which no memory has
    call = partial(softlane.softmax, random((30000, 4), np.float32))
    softlane.set_num_threads(1)
    expected = fingerprint(call())
    softlane.set_num_threads(3)
    for n in (1, 2, 3):
        child = os.fork()
        if child == 0:
            result, error, _ = allocations.attempt(n, call)
            assert error is None and fingerprint(result) == expected == fingerprint(call())
            print(len(os.listdir("/proc/self/task")) - 1, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def broken_calls():
    """Each with a fault"""
    allocations = Allocations(LARGE)
    kept, outs = [], np.zeros((2, 3))

    def allocate(size=LARGE):
        return bytes(size)

    def handled(fault):
        try:
            return allocate()
        except MemoryError:
            return fault()

    def write(out):
        out[1] = 7
        allocate()
        out[:] = 7

    class Allocating:
        def __del__(self):
            allocate()

    def refuse():
        raise SystemError

    with ThreadPoolExecutor(1) as pool:
        report(allocations, "none", allocate)
        report(allocations, "small", partial(allocate, LARGE - 100))
        report(allocations, "two", lambda: (allocate(), allocate()))
        report(allocations, "another thread", lambda: pool.submit(allocate).result())
        report(allocations, "wrong", partial(handled, lambda: b"wrong"))
        report(allocations, "kept", partial(handled, lambda: kept.append(object()) or allocate()))
        report(allocations, "error", partial(handled, refuse))
        report(allocations, "unraisable", lambda: Allocating() and None)
        report(allocations, "written", partial(write, outs[0]), outs[0])
        report(allocations, "partly written", partial(write, outs[1]), outs[1], True)


# ---- tests -----------------------------------------------------------------------------------------------------------


def test_faults_are_seen(library):
    assert said(library, broken_calls).splitlines() == [
        "none: 1",
        "small: 0",
        "two: 2",
        "another thread: 1",
        "wrong: 1; 1: another result",
        "kept: 1; 1: keeps memory",
        "error: 1; 1: SystemError()",
        "unraisable: 1; 1: unraisable MemoryError()",
        "written: 1; 1: out is written",
        "partly written: 1; 1: out is written",
    ]


def counts_of(lines):
    """Without a fault, a line is a name and the number of allocations."""
    assert [line for line in lines if ";" in line] == []
    return {name: int(count) for name, count in (line.rsplit(": ", 1) for line in lines)}


@pytest.mark.parametrize(
    ("shape", "threads", "fails_on"),
    [((300, 40), 1, False), ((300, 40), 1, True), ((30000, 4), 2, False)],
    ids=("one fails", "all that follow fail", "on threads"),
)
def test_direct_calls(library, shape, threads, fails_on):
    counts = counts_of(said(library, direct_calls, shape, threads, fails_on).splitlines())
    assert min(counts.values()) > 1
    assert {op.function for op in OPS} <= {name.split()[0] for name in counts}


@pytest.mark.parametrize(("rows", "threads"), [(40000, 1), (70000, 2)], ids=("whole", "in chunks"))
def test_calls_that_copy(library, rows, threads):
    """NumPy's own iterators end the process where their buffers cannot be allocated, so smaller ones do not fail."""
    counts = counts_of(said(library, copied_calls, rows, threads, objects="pymalloc").splitlines())
    assert len(counts) == len(OPS)
    assert sum(count > 0 for count in counts.values()) > 0.9 * len(OPS)


def test_summaries(library):
    counts = counts_of(said(library, summaries, objects="pymalloc").splitlines())
    assert len(counts) == 11 and min(counts.values()) > 0


@pytest.mark.skipif(_core.thread_engine() != "pool", reason="built with another thread engine")
def test_a_thread_that_cannot_be_started_is_done_without(library):
    assert said(library, workers).split() == ["0", "1", "2"]
