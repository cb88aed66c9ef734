"""No kernel touches a byte outside its arrays: arrays that begin or end at a page which may not be accessed.

A vector that reads beyond its row gives right results, so only the processor can notice. Each path runs in a process
of its own (this file, as a script): there an access outside ends the process, here that is a failed test.
The canaries below find writes outside an output on platforms without mprotect too.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import FUNCTIONS, STORED, assert_same_bits, random
from guarded import Guarded

import softlane
from softlane import _core

# outer, n, inner
SHAPES = [(outer, n, 1) for n in range(1, 68) for outer in (1, 3, 17)]
SHAPES += [(2, n, 1) for n in (*range(4090, 4100), 8191, 8192, 8193, 12289)]
SHAPES += [(2, n, inner) for n in (1, 2, 5, 33) for inner in range(2, 68)]
SHAPES += [(1, 700, inner) for inner in (2, 9, 16, 31)]
SHAPES += [(1, n, inner) for n in (4095, 4096, 4097) for inner in (2, 3, 16, 17)]


def run_between_guard_pages(isa):
    assert _core.use_isa(isa)
    softlane.set_num_threads(1)
    memory, result_memory = Guarded(), Guarded()
    for dtype in STORED:
        for shape in SHAPES:
            if isa == "portable" and shape[0] * shape[1] * shape[2] > 20000:
                continue  # slow where fma is a library call
            x = random(shape, dtype, seed=7)
            for name, compute in FUNCTIONS.items():
                expected = compute(x, axis=1)
                for end in (True, False):
                    print(isa, name, dtype, shape, "end" if end else "begin", file=sys.stderr, flush=True)
                    guarded = memory.array(shape, dtype, end)
                    guarded[...] = x
                    out = result_memory.array(expected.shape, dtype, end)
                    assert_same_bits(compute(guarded, axis=1, out=out), expected)
                    if name != "logsumexp":
                        assert_same_bits(compute(guarded, axis=1, out=guarded), expected)
    for dtype in (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.uint16)):
        for shape in SHAPES[::3]:
            if isa == "portable" and shape[0] * shape[1] * shape[2] > 20000:
                continue
            x = abs(random(shape, np.float32, seed=7)).astype(dtype)
            mask = random(shape, np.float32, seed=8) > -2
            for name, compute in FUNCTIONS.items():
                expected = compute(x, axis=1, where=mask)
                for end in (True, False):
                    print(isa, name, dtype, shape, "masked", file=sys.stderr, flush=True)
                    guarded = memory.array(shape, dtype, end)
                    guarded[...] = x
                    hidden = result_memory.array(shape, mask.dtype, end)
                    hidden[...] = mask
                    assert_same_bits(compute(guarded, axis=1, where=hidden), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_is_accessed_outside_the_arrays(isa):
    run = subprocess.run([sys.executable, __file__, isa], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"status {run.returncode} at or after: {run.stderr[-2000:]}"
    assert run.stdout == "done\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
@pytest.mark.any_isa
def test_a_guard_page_does_end_the_process():
    code = "import sys, ctypes, test_guard_pages as t; m = t.Guarded(); a = m.array((1,), t.np.dtype('f4'), True); "
    code += "print('before', flush=True); ctypes.string_at(a.ctypes.data, 5)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60)
    assert run.stdout == "before\n" and run.returncode < 0


@pytest.mark.parametrize("dtype", STORED, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_bytes_around_the_output_stay(function, dtype, isa):
    for shape in SHAPES[:: 11 if isa == "portable" else 3]:
        x = random(shape, dtype, seed=8)
        expected = FUNCTIONS[function](x, axis=1)
        size, around = expected.nbytes, 256
        memory = np.full(size + 2 * around, 0xA5, np.uint8)
        out = memory[around : around + size].view(dtype).reshape(expected.shape)
        FUNCTIONS[function](x, axis=1, out=out)
        assert_same_bits(out, expected)
        assert (memory[:around] == 0xA5).all() and (memory[around + size :] == 0xA5).all(), shape


@pytest.mark.parametrize("dtype", STORED, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_gaps_of_a_strided_output_stay(function, dtype):
    for shape in ((9, 10, 1), (3, 100, 1), (2, 5000, 1), (3, 7, 20), (3, 7, 3)):
        x = random(shape, dtype, seed=9)
        expected = FUNCTIONS[function](x, axis=1)
        memory = np.full((*expected.shape, 2), -7, dtype)
        FUNCTIONS[function](x, axis=1, out=memory[..., 0])
        assert_same_bits(memory[..., 0], expected)
        assert (memory[..., 1] == -7).all(), shape


if __name__ == "__main__":
    run_between_guard_pages(sys.argv[1])
    print("done")
