"""No temporary has the size of the input: O(rows) beside the results, or some chunks of 2^18 elements."""

import sys

import numpy as np
import pytest
from cases import FUNCTIONS, STORED, random
from interpreter import printed
from memory import assert_below, peak
from ops import OPS, PER_CLASS, in_turn

import softlane

pytestmark = pytest.mark.any_isa

SMALL = 1 << 12
CHUNKS = 5 << 20  # bytes, of all arrays


def size_of(results):
    return sum(np.asarray(a).nbytes for a in results)


def beside(op, x, axis):
    """What is allowed beside the results, in bytes.

    A loss or a number of float64, an index of int64, and as much again; twice that where classes are looked up. What an
    argument has for each class is converted, from 16-bit floats by way of float32.
    """
    selects = op.chunks == "columns" or op.function in ("nll_loss", "log_loss")
    rows = x.size // x.shape[axis]
    per_class = 12 * x.shape[axis] if PER_CLASS & set(op.arguments.values()) else 0
    return (SMALL + 32 * rows) * (2 if selects else 1) + per_class


def test_peak_does_see_a_temporary():
    x = np.ones(1 << 20, np.float32)
    assert 4 << 20 <= peak(np.add, x, 1) < 5 << 20


CONTIGUOUS = [((400, 1500), 1), ((2, 262_144), 1), ((50000, 10), 1), ((1500, 400), 0), ((10, 70, 900), 1)]


@pytest.mark.parametrize("op", [op for op in OPS if not op.copies and op.chunks != "always"], ids=str)
def test_contiguous_arrays_need_a_few_bytes_for_each_row(op):
    for turn, (shape, axis) in enumerate(CONTIGUOUS):
        if op.chunks == "never" or axis == len(shape) - 1:
            for dtype in in_turn(op, turn, STORED):
                check_contiguous(op, random(shape, dtype), axis)


def check_contiguous(op, x, axis):
    given = op.given(x, axis)
    results = op(given, axis)
    allowed, note = beside(op, given[0], axis), f"{x.dtype} {x.shape} {axis}"
    for options in op.choices(x.shape, axis)[:2]:
        assert_below(size_of(results) + allowed, peak, op, given, axis, **options, note=note)
    if op.out:
        assert_below(size_of(results[:-1]) + allowed, peak, op, given, axis, out=results[-1], note=note)
    if op.may_overwrite(given[0], results[-1]):
        assert_below(size_of(results[:-1]) + allowed, peak, op, given, axis, out=given[0], note=f"{note} in place")


def test_indices_of_one_byte_are_all_that_argmax_allocates():
    for shape, axis in (((4, 21, 300, 300), 1), ((300_000, 21), 1), ((21, 300_000), 0)):
        x = random(shape, np.float32)
        rows = x.size // 21
        assert_below(rows + SMALL, peak, softlane.argmax, x, axis, index_dtype=np.uint8, note=shape)
        assert_below(5 * rows + SMALL, peak, softlane.argmax, x, axis, return_probs=True, index_dtype=np.uint8)


# Each is more than CHUNKS if it is copied as a whole.
STRANGE = [
    ((1400, 1500), 1, lambda x: np.repeat(x, 2, -1)[..., ::2]),
    ((1400, 1500), 0, np.ascontiguousarray),
    ((1400, 1500), 1, np.asfortranarray),
    ((20, 70, 1500), 1, lambda x: x.astype(x.dtype.newbyteorder())),
    ((200000, 10), 1, lambda x: np.repeat(x.astype(np.int16), 2, -1)[..., ::2]),
    ((20, 70, 1500), 1, lambda x: x[..., ::-1]),
    ((1, 1400, 1500), 2, lambda x: np.repeat(x, 2, -1)[..., ::2]),
    ((1, 70, 1, 20, 1500), -1, lambda x: x[..., ::-1]),
    ((1, 1500, 1, 1400), 1, np.asfortranarray),
]


@pytest.mark.parametrize("op", [op for op in OPS if not op.copies], ids=str)
def test_all_other_arrays_and_options_are_copied_chunk_by_chunk(op):
    for i, (shape, axis, view) in enumerate(in_turn(op, 0, STRANGE)):
        given = op.given(view(random(shape, np.float32)), axis)
        choices = op.choices(shape, axis)
        options = choices[(OPS.index(op) + i) % len(choices)]
        results = op(given, axis, **options)
        allowed = CHUNKS + beside(op, given[0], axis)
        assert_below(size_of(results) + allowed, peak, op, given, axis, **options, note=f"{shape} {axis} {i}")
        if op.out:
            out = np.empty((*results[-1].shape, 2), results[-1].dtype)[..., 0]
            assert_below(size_of(results[:-1]) + allowed, peak, op, given, axis, **options, out=out, note=f"out {i}")


@pytest.mark.parametrize("op", [op for op in OPS if not op.copies and op.out], ids=str)
def test_other_layouts_are_overwritten_chunk_by_chunk(op):
    for shape, axis, view in in_turn(op, 0, STRANGE):
        given = op.given(view(random(shape, np.float32)), axis)
        results = op(given, axis)
        if op.may_overwrite(given[0], results[-1]):
            allowed = size_of(results[:-1]) + CHUNKS + beside(op, given[0], axis)
            assert_below(allowed, peak, op, given, axis, out=given[0], note=f"{shape} {axis}")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("shape", "axis"), [((4, 1 << 20), 1), ((2, 2, 2, 1 << 19), 3), ((16, 1 << 19), 1)], ids=str)
def test_huge_rows_of_another_layout_are_copied_one_at_a_time(function, shape, axis):
    """Neither of a layout that the kernels do not read, nor for an out that they do not write."""
    x = random(shape, np.float32)[..., ::-1]
    out = None if function == "logsumexp" else np.empty((*shape, 2), np.float32)[..., 0]
    rows = x.size // shape[axis]
    assert_below(x.nbytes // shape[0] + 2 * SMALL + 32 * rows, peak, FUNCTIONS[function], x, axis=axis, out=out)


RESIDENT = """
import resource, sys
import numpy as np
import softlane
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
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((8, 1000, 1000), "float16"),
        ((8, 1000000, 1), "float16"),
        ((80000, 10, 10), "float32"),
        ((8, 8000, 125), "float32"),
    ],
    ids=str,
)
def test_the_kernels_own_memory_is_small(shape, dtype):
    """Scratch buffers come from malloc, which tracemalloc does not see: the resident memory of a process does."""
    rows = shape[0] * shape[2] / np.prod(shape)  # the result of logsumexp
    assert float(printed(RESIDENT.format(shape=shape, dtype=dtype))) < 0.15 + rows


HUGE_ROW = """
import resource, sys
import numpy as np
import softlane
unit = 1 if sys.platform == "darwin" else 1024
x, target = np.ones((1, 1 << 26), {dtype!r}), np.zeros(1, int)
calls = {{
    "cross_entropy": lambda x: softlane.cross_entropy(x, target),
    "label smoothing": lambda x: softlane.cross_entropy(x, target, label_smoothing=0.1),
    "take_log_probs": lambda x: softlane.take_log_probs(x, target),
    "entropy": softlane.entropy,
    "logsumexp": softlane.logsumexp,
}}
calls[{name!r}](x[:, :100])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
y = calls[{name!r}](x)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before) / x.size, float(np.squeeze(y)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("dtype", ["uint8", "float16", "bool"])
@pytest.mark.parametrize("name", ["cross_entropy", "label smoothing", "take_log_probs", "entropy", "logsumexp"])
def test_one_huge_row_of_small_numbers_is_read_as_it_is(name, dtype):
    """A copy would have a byte for each class at least."""
    bytes_per_class, y = map(float, printed(HUGE_ROW.format(name=name, dtype=dtype)).split())
    assert bytes_per_class < 0.25
    sign, one = (-1 if name == "take_log_probs" else 1), name == "logsumexp"
    assert y == pytest.approx(sign * 26 * np.log(2) + one, rel=1e-3)


def test_results_that_are_narrower_than_the_logits():
    x = random((4000, 500), np.float64)
    for dtype in (np.float32, np.float16):
        out = np.empty(x.shape, dtype)
        assert_below(CHUNKS, peak, softlane.softmax, x, dtype=dtype, out=out)
        assert_below(CHUNKS, peak, softlane.sigmoid, x, dtype=dtype, out=out)
        assert_below(CHUNKS, peak, softlane.logsumexp, np.asfortranarray(x), dtype=dtype)


def test_many_classes_of_columns():
    x = np.asfortranarray(random((400, 5000), np.float32))
    results = softlane.topk(x, 400, axis=0)
    assert_below(size_of(results) + CHUNKS, peak, softlane.topk, x, 400, axis=0)
