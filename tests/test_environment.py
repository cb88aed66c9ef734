"""Kernels compute in the default floating-point environment, whatever the thread has set, and leave that as it was."""

import contextlib
import ctypes
import ctypes.util
import platform
import sys
import threading

import numpy as np
import pytest
from cases import random
from interpreter import printed
from ops import OPS

import softlane

LIBM = ctypes.CDLL(ctypes.util.find_library("m")) if sys.platform == "linux" else None
IS_X86 = platform.machine() == "x86_64"
UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}.get(platform.machine())

pytestmark = pytest.mark.skipif(LIBM is None or UPWARD is None, reason="needs Linux on x86-64 or AArch64")


class Environment(ctypes.Structure):
    """fenv_t of glibc and musl on x86-64: seven words of the x87, then MXCSR; on AArch64: FPCR first"""

    _fields_ = [("words", ctypes.c_uint32 * 8)]

    CONTROL = 7 if IS_X86 else 0
    FLUSH = 0x8040 if IS_X86 else 1 << 24  # subnormal results and operands are 0


@contextlib.contextmanager
def changed(rounds_up=False, flushes=False):
    before, now, after = Environment(), Environment(), Environment()
    assert LIBM.fegetenv(ctypes.byref(before)) == 0
    if rounds_up:
        assert LIBM.fesetround(UPWARD) == 0
    assert LIBM.fegetenv(ctypes.byref(now)) == 0
    if flushes:
        now.words[Environment.CONTROL] |= Environment.FLUSH
        assert LIBM.fesetenv(ctypes.byref(now)) == 0
    try:
        yield
    finally:
        LIBM.fegetenv(ctypes.byref(after))
        LIBM.fesetenv(ctypes.byref(before))
    flags = 0x3F if IS_X86 else 0
    control = Environment.CONTROL
    assert after.words[control] | flags == now.words[control] | flags, "another environment after the call"


def test_it_does_change():
    tiny = np.full(8, 1e-310)
    with changed(flushes=True):
        assert (tiny * 1.0 == 0).all()
    with changed(rounds_up=True):
        assert (np.full(8, 1.0) + 1e-30 > 1).all()
    assert (tiny * 1.0 == 1e-310).all() and (np.full(8, 1.0) + 1e-30 == 1).all()


@pytest.mark.parametrize("flushes", [True, False], ids=["flush to zero", "round up"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", OPS, ids=str)
def test_results_do_not_depend_on_it(op, dtype, flushes):
    """Spread so far that many results are subnormal"""
    for shape, axis in (((40, 30), 1), ((30, 40), 0), ((2, 3000), 1)):
        x = random(shape, dtype) * dtype(25 if dtype == np.float32 else 180)
        given = op.given(x, axis)
        expected = op(given, axis)
        with changed(flushes=flushes, rounds_up=not flushes):
            got = op(given, axis)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def summary(x):
    return softlane.stream.summarize(x[:, :20], target=np.arange(40) % 30, k=2) | softlane.stream.summarize(
        x[:, 20:], target=np.arange(40) % 30, first_class=20, k=2
    )


BY_NUMPY = {
    "logsumexp with b": lambda x: softlane.logsumexp(x, b=np.linspace(0.1, 1, 30)),
    "far temperatures": lambda x: softlane.softmax(x * 2.0**120, temperature=1.1 * 2.0**120),
    "strided": lambda x: softlane.softmax(np.repeat(x, 2, -1)[:, ::2]),
    "to float16": lambda x: softlane.softmax(x, dtype=np.float16),
    "smoothing": lambda x: softlane.cross_entropy(x[::2], np.arange(20), label_smoothing=0.1, weight=[0.3] * 30),
    "weights of a loss": lambda x: softlane.nll_loss(-abs(x[::2]), np.arange(20), sample_weight=[0.1, 0.3] * 10),
    "summary": lambda x: summary(x).logsumexp(),
    "target of a summary": lambda x: summary(x).target_log_prob(),
    "loss of a summary": lambda x: summary(x).cross_entropy(),
    "best of a summary": lambda x: summary(x).topk().values,
    "softmax of a summary": lambda x: summary(x).softmax(x),
}


@pytest.mark.parametrize("flushes", [True, False], ids=["flush to zero", "round up"])
@pytest.mark.parametrize("name", BY_NUMPY)
def test_nor_does_what_numpy_computes(name, flushes):
    x = random((40, 30), np.float64) * 180
    expected = BY_NUMPY[name](x)
    with changed(flushes=flushes, rounds_up=not flushes):
        got = BY_NUMPY[name](x)
    np.testing.assert_array_equal(got, expected)


def compute_with_new_threads():
    """Prints which results differ. The threads of the pool begin in a thread that flushes subnormal numbers to zero."""
    x = random((400, 1000), np.float32) * np.float32(25)
    found = []

    def call():
        with changed(flushes=True):
            softlane.set_num_threads(3)
            found.extend(softlane.softmax(x) for _ in range(50))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    found.append(softlane.softmax(x))
    softlane.set_num_threads(1)
    expected = softlane.softmax(x)
    print(
        [i for i, y in enumerate(found) if not np.array_equal(y, expected)], np.count_nonzero(expected) < expected.size
    )


@pytest.mark.any_isa
def test_nor_on_that_of_the_thread_that_starts_others():
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_environment as t; t.compute_with_new_threads()"
    assert printed(code) == "[] True"  # some results are 0
