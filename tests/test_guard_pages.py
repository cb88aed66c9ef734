"""No kernel touches a byte outside its arrays: arrays that begin or end at a page which may not be accessed.

A vector that reads beyond its row gives right results, so only the processor can notice. Each path runs in a process
of its own (this file, as a script): there an access outside ends the process, here that is a failed test.
The canaries below find writes outside an output on platforms without mprotect too.
"""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from arrays import logits
from cases import STORED, assert_same_bits, random
from guarded import Guarded
from ops import OPS, in_turn

import softlane
from softlane import _core

needs_mprotect = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
each_with_an_output = pytest.mark.parametrize("op", [op for op in OPS if op.out], ids=str)

DTYPES = [*STORED, np.dtype(np.uint8), np.dtype(np.uint16)]

# outer, n, inner
SHAPES = [(outer, n, 1) for n in range(1, 68) for outer in (1, 3, 17)]
SHAPES += [(2, n, 1) for n in (1000, *range(4090, 4100), 8191, 8192, 8193, 12289)]
SHAPES += [(2, n, inner) for n in (1, 2, 5, 33) for inner in (*range(2, 35), 47, 48, 49, *range(63, 68))]
SHAPES += [(1, 700, inner) for inner in (2, 9, 16, 31)]
SHAPES += [(1, n, inner) for n in (4095, 4096, 4097) for inner in (2, 3, 16, 17)]


def run_between_guard_pages(isa):
    """Every array of a call, its output included, ends where its memory ends, or begins where it begins."""
    assert _core.use_isa(isa)
    softlane.set_num_threads(1)
    memories = [Guarded() for _ in range(8)]
    for turn, op in enumerate(OPS):
        for i, shape in enumerate(SHAPES[turn % 3 :: 3]):  # three functions next to each other see them all
            if isa == "portable" and np.prod(shape) > 20000:
                continue  # slow where fma is a library call
            for dtype in in_turn(op, i, DTYPES):
                check_between_guard_pages(op, memories, logits(shape, dtype, seed=7), i, f"{isa} {op} {dtype} {shape}")


def check_between_guard_pages(op, memories, x, turn, note):
    given = op.given(x, 1)
    choices = op.choices(x.shape, 1)
    options = choices[turn % len(choices)]
    expected = op(given, 1, **options)
    names = [name for name, value in options.items() if np.ndim(value)]
    for end in (True, False):
        print(note, "end" if end else "begin", file=sys.stderr, flush=True)
        *moved, out = (
            memory.copy_of(a, end)
            for memory, a in zip(memories, [*given, *(options[name] for name in names), expected[-1]], strict=False)
        )
        given_there = moved[: len(given)]
        there = {**options, **dict(zip(names, moved[len(given) :], strict=True))}
        if op.out:
            there["out"] = out
        for got, a in zip(op(given_there, 1, **there), expected, strict=True):
            assert_same_bits(got, a)
        if op.may_overwrite(given[0], expected[-1]):
            op(given_there, 1, **{**there, "out": given_there[0]})
            assert_same_bits(given_there[0], expected[-1])


@needs_mprotect
def test_nothing_is_accessed_outside_the_arrays(isa):
    run = subprocess.run([sys.executable, __file__, isa], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"status {run.returncode} at or after: {run.stderr[-2000:]}"
    assert run.stdout == "done\n"


@needs_mprotect
@pytest.mark.any_isa
def test_a_guard_page_does_end_the_process():
    run = subprocess.run([sys.executable, __file__, "outside"], capture_output=True, text=True, timeout=60)
    assert run.stdout == "before\n" and run.returncode < 0


def read_outside():
    array = Guarded().copy_of(np.zeros(1, np.float32), end=True)
    print("before", flush=True)
    ctypes.string_at(array.ctypes.data, array.nbytes + 1)


# ---- canaries ------------------------------------------------------------------------------------------------------


@each_with_an_output
def test_bytes_around_the_output_stay(op, isa):
    around = 256
    for i, shape in enumerate(SHAPES[:: 23 if isa == "portable" else 3]):
        for dtype in in_turn(op, i, STORED):
            given = op.given(random(shape, dtype, seed=8), 1)
            expected = op(given, 1)[-1]
            memory = np.full(expected.nbytes + 2 * around, 0xA5, np.uint8)
            out = memory[around:-around].view(expected.dtype).reshape(expected.shape)
            op(given, 1, out=out)
            assert_same_bits(out, expected)
            assert (memory[:around] == 0xA5).all() and (memory[-around:] == 0xA5).all(), shape


if __name__ == "__main__":
    if sys.argv[1] == "outside":
        read_outside()
    run_between_guard_pages(sys.argv[1])
    print("done")
