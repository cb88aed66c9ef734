"""Nothing leaks, errors included, and no temporary has the size of the input."""

import gc
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from cases import FUNCTIONS, STORED, random
from memory import PIECES, SMALL, blocks_kept, peak

import softlane
from softlane import _core

functions = pytest.mark.parametrize("function", FUNCTIONS)

CALLS = 100_000


@pytest.mark.any_isa
@functions
def test_a_hundred_thousand_calls_keep_nothing(function):
    compute = FUNCTIONS[function]
    x, strided, half = random(6, np.float32), random((2, 6), np.float32)[:, ::2], random(6, np.float16)
    out = np.empty_like(compute(strided)) if function != "logsumexp" else np.empty((), np.float32)
    strided = strided[0] if function == "logsumexp" else strided
    assert blocks_kept(CALLS, compute, x) < 0.01
    assert blocks_kept(CALLS // 10, compute, x, out=out if function == "logsumexp" else x) < 0.01
    assert blocks_kept(CALLS // 10, compute, strided, axis=0) < 0.01
    assert blocks_kept(CALLS // 10, compute, strided, out=out) < 0.01
    assert blocks_kept(CALLS // 10, compute, half) < 0.01
    assert blocks_kept(CALLS // 10, compute, np.float32(1)) < 0.01
    assert blocks_kept(CALLS // 10, compute, [1.0, 2.0]) < 0.01


@pytest.mark.any_isa
def test_blocks_kept_does_see_a_leak():
    kept = []
    assert blocks_kept(3000, lambda: kept.append(object())) >= 1


@pytest.mark.any_isa
@functions
def test_a_hundred_thousand_errors_keep_nothing(function):
    compute = FUNCTIONS[function]
    x = random((2, 3), np.float32)
    wrong = [
        lambda: compute(x, axis=2), lambda: compute(x, axis=1.5), lambda: compute(x * 1j),
        lambda: compute(x, out=x.astype(float)), lambda: compute(x, out=np.empty(9, np.float32)),
        lambda: compute(x, out=[]), lambda: compute([[1], [1, 2]]), lambda: compute("text"),
    ]  # fmt: skip

    def all_errors():
        for call in wrong:
            try:
                call()
            except (TypeError, ValueError):
                pass
            else:
                raise AssertionError("no error")

    assert blocks_kept(CALLS // len(wrong), all_errors) < 0.05


@pytest.mark.any_isa
@functions
def test_reference_counts_stay(function):
    compute = FUNCTIONS[function]
    for x in (random((4, 6), np.float32), random((4, 6), np.float32)[::-1], random((4, 6), np.float16)):
        out = np.empty_like(compute(x))
        axis = 10**6 + 1  # no small integer, which may be immortal
        objects = x, out, axis
        before = [sys.getrefcount(o) for o in objects]
        for _ in range(100):
            compute(x)
            compute(x, out=out)
            with pytest.raises(ValueError):
                compute(x, axis=axis)
            with pytest.raises(ValueError):
                compute(x, out=out[:1])
            with pytest.raises(TypeError):
                compute(x, out=axis)
        assert [sys.getrefcount(o) for o in objects] == before


@pytest.mark.any_isa
@functions
def test_memory_of_results_is_given_back(function):
    x = random((600, 200), np.float32)
    tracemalloc.start()
    try:
        for array in (x, x[::-1], x.astype(np.float16), x[:, ::2]):
            growth = []
            for _ in range(4):  # a leak grows every time; what the interpreter keeps for itself does not
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(100):
                    FUNCTIONS[function](array)
                    FUNCTIONS[function](array, axis=0)
                gc.collect()
                growth.append(tracemalloc.get_traced_memory()[0] - before)
            assert min(growth) < 5000  # one result for each call: more than 120000
    finally:
        tracemalloc.stop()


# ---- temporaries -------------------------------------------------------------------------------------------------


@pytest.mark.any_isa
def test_peak_does_see_a_temporary():
    x = np.ones(1 << 20, np.float32)
    assert 4 << 20 <= peak(np.add, x, 1) < 5 << 20


BIG = [((2000, 1500), 1), ((2000, 1500), 0), ((20, 100, 1500), 1), ((300000, 10), 1)]


@functions
@pytest.mark.parametrize("dtype", STORED, ids=str)
@pytest.mark.any_isa
def test_contiguous_inputs_need_no_temporary(function, dtype):
    for shape, axis in BIG:
        x = random(shape, dtype)
        out = np.empty_like(FUNCTIONS[function](x, axis=axis))
        rows = out.nbytes if function == "logsumexp" else 0  # O(rows) beside the result are allowed
        assert peak(FUNCTIONS[function], x, axis=axis, out=out) < SMALL + rows
        assert peak(FUNCTIONS[function], x, axis=axis) < SMALL + out.nbytes
        if function != "logsumexp":
            assert peak(FUNCTIONS[function], x, axis=axis, out=x) < SMALL


@functions
@pytest.mark.any_isa
def test_other_layouts_and_dtypes_are_copied_into_out_or_in_pieces(function):
    for shape, axis in BIG:
        wide = random((*shape[:-1], 2 * shape[-1]), np.float32)
        x = wide[..., ::2]
        for array in (x, x.astype(x.dtype.newbyteorder()), (x * 20).astype(np.int16), np.asfortranarray(x)):
            out = np.empty_like(FUNCTIONS[function](np.ascontiguousarray(array), axis=axis))
            allowed = out.nbytes + PIECES if function == "logsumexp" else SMALL
            assert peak(FUNCTIONS[function], array, axis=axis, out=out) < allowed, (shape, axis)
        strided_out = np.empty((*out.shape, 2), np.float32)[..., 0]
        rows = out.nbytes if function == "logsumexp" else 0
        assert peak(FUNCTIONS[function], x, axis=axis, out=strided_out) < PIECES + rows


@functions
@pytest.mark.any_isa
@pytest.mark.parametrize(("shape", "axis"), [((2, 1 << 22), 1), ((2, 2, 2, 1 << 20), 3), ((16, 1 << 19), 1)], ids=str)
def test_huge_rows_of_another_layout_are_not_copied_all_at_once(function, shape, axis):
    """Neither of a layout that the kernels do not read, nor for an out that they do not write; a single row is."""
    x = random(shape, np.float32)[..., ::-1]
    out = None if function == "logsumexp" else np.empty((*shape, 2), np.float32)[..., 0]
    used = peak(FUNCTIONS[function], x, axis=axis, out=out)
    assert used < x.nbytes // shape[0] + 2 * SMALL


RESIDENT = """
import resource, sys
import numpy as np
import softlane
from softlane import _core
assert _core.use_isa({isa!r})
softlane.set_num_threads(2)
unit = 1 if sys.platform == "darwin" else 1024
x = np.random.default_rng(0).standard_normal({shape}).astype({dtype!r})
out = np.ones_like(x)
for f in (softlane.softmax, softlane.log_softmax, softlane.logsumexp):
    f(np.ascontiguousarray(x[:, :, :1]), axis=1)
    f(x[:1], axis=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
softlane.softmax(x, axis=1, out=out)
softlane.log_softmax(x, axis=1, out=out)
softlane.logsumexp(x, axis=1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before) / x.nbytes)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("shape", [(8, 1000, 1000), (8, 1000000, 1), (80000, 10, 10), (8, 8000, 125)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_kernels_own_memory_is_small(isa, shape, dtype):
    """Scratch buffers come from malloc, which tracemalloc does not see: the resident memory of a process does."""
    if isa != _core.available_isas()[0]:
        pytest.skip("memory does not depend on the path; one of them is enough")
    command = [sys.executable, "-c", RESIDENT.format(isa=isa, shape=shape, dtype=dtype)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = shape[0] * shape[2] / np.prod(shape)  # the result of logsumexp
    assert float(done.stdout) < 0.15 + rows


def test_threads_keep_no_memory():
    x = random((500, 1000), np.float32)
    softlane.set_num_threads(2)
    assert blocks_kept(60, softlane.softmax, x, out=x) < 0.5
