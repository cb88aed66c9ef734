"""Decisions: the same bits everywhere, no temporaries of the size of x, nothing accessed outside the arrays."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arrays import SMALL_INTEGERS, logits, special
from cases import FLOATS, FORMS, HARD, STORED, assert_same_bits, hard_rows, random
from guarded import Guarded
from memory import PIECES, SMALL, blocks_kept, peak

import softlane
from softlane import _core

stored = pytest.mark.parametrize("dtype", STORED, ids=str)
forms = pytest.mark.parametrize("form", FORMS)


def indices_for(x, axis, count=2, dtype=np.int64):
    shape = [count if i == axis % x.ndim else s for i, s in enumerate(x.shape)]
    return np.random.default_rng(1).integers(x.shape[axis], size=shape).astype(dtype)


def everything(x, axis, where=None, temperature=None, indices=None, values=None, seed=3, rng=None):
    """Results of all functions: a list of (what, array)."""
    n = x.shape[axis]
    indices = indices_for(x, axis) if indices is None else indices
    values = np.linspace(-1, 1, n) if values is None else values
    call = {"axis": axis, "where": where, "temperature": temperature}
    found = list(zip(("argmax", "prob"), softlane.argmax(x, return_probs=True, **call), strict=True))
    for k, kind, ordered in (
        (1, "probs", True),
        (min(5, n), "log_probs", True),
        (n // 2, "logits", True),
        (min(n, 500), "probs", True),
    ):
        top = softlane.topk(x, k, kind=kind, sorted=ordered, **call)
        found += [(f"values of {k} {kind}", top.values), (f"indices of {k}", top.indices)]
    found.append(("take_log_probs", softlane.take_log_probs(x, indices, **call)))
    found.append(("rank", softlane.rank(x, indices, axis, where=where)))
    found.append(("expectation", softlane.expectation(x, values, **call)))
    call["temperature"] = 1.0 if temperature is None else temperature
    for filters in ({}, {"top_k": 5}, {"top_p": 0.8}, {"top_k": 40, "top_p": 0.9, "min_p": 0.01}):
        index, log_prob = softlane.sample(
            x, rng=seed if rng is None else rng(), return_log_probs=True, **filters, **call
        )
        found += [(f"sample {filters}", index), (f"log_prob {filters}", log_prob)]
    return found


def assert_all_same(got, expected, note=""):
    for (what, a), (_, b) in zip(got, expected, strict=True):
        assert_same_bits(a, b, f"{what} {note}")


def masks_and_temperatures(shape, axis):
    rng = np.random.default_rng(5)
    batch = tuple(n for i, n in enumerate(shape) if i != axis % len(shape))
    return [
        (None, None),
        (rng.random(shape) < 0.7, 0.7),
        (
            rng.random([n if i == axis % len(shape) else 1 for i, n in enumerate(shape)]) < 0.5,
            rng.uniform(0.3, 3, batch),
        ),
    ]


# ---- paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", HARD[1::2], ids=lambda make: make.__name__)
@pytest.mark.any_isa
def test_all_paths_return_the_same_bits(make):
    paths = [path for path in _core.available_isas() if path != "portable"]
    if not paths:
        pytest.skip("this build and processor have the portable path only")
    shapes = [(n, 1) for n in (1, 3, 8, 16, 17, 32, 33, 65, 127, 1000, 4097, 9001)]
    shapes += [(n, inner) for n in (1, 5, 33, 300) for inner in (2, 9, 17)] + [(4097, 3), (4097, 17)]
    for dtype, (n, inner) in itertools.product(FLOATS, shapes):
        rows = 19 if n <= 32 else 2 if inner == 1 else 1
        x = hard_rows(make, rows * inner, n, dtype).reshape(rows, n, inner)
        assert _core.use_isa("portable")
        expected = everything(x, 1)
        for path in paths:
            assert _core.use_isa(path)
            assert_all_same(everything(x, 1), expected, f"{path} {dtype} {n} {inner}")


@pytest.mark.parametrize("dtype", [*STORED, *SMALL_INTEGERS], ids=str)
@forms
@pytest.mark.any_isa
def test_all_paths_agree_on_special_values_masks_and_temperatures(dtype, form):
    shape, axis = FORMS[form]
    x = special(shape, dtype, 3) if dtype in STORED else logits(shape, dtype, 3)
    for where, temperature in masks_and_temperatures(shape, axis)[::2]:
        assert _core.use_isa("portable")
        expected = everything(x, axis, where, temperature)
        for path in _core.available_isas():
            assert _core.use_isa(path)
            assert_all_same(everything(x, axis, where, temperature), expected, path)


# ---- threads -----------------------------------------------------------------------------------------------------

THREADED = [
    ((20011, 10), -1),
    ((501, 700), -1),
    ((2, 70001), -1),
    ((3, 21, 3003), 1),
    ((10001, 5, 3), 1),
    ((3, 4100, 17), 1),
]


@pytest.mark.parametrize("dtype", [np.dtype(t) for t in (np.float32, np.float64, np.float16)], ids=str)
@pytest.mark.parametrize(("shape", "axis"), THREADED, ids=str)
@pytest.mark.any_isa
def test_the_number_of_threads_does_not_show(dtype, shape, axis):
    x = logits(shape, dtype, seed=1)
    for where, temperature in masks_and_temperatures(shape, axis)[: 2 if dtype == np.float32 else 1]:
        softlane.set_num_threads(1)
        expected = everything(x, axis, where, temperature)
        for threads in (2, 3):
            softlane.set_num_threads(threads)
            assert_all_same(everything(x, axis, where, temperature), expected, f"{threads} threads")


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


# ---- place in the batch ------------------------------------------------------------------------------------------


@stored
@pytest.mark.parametrize("n", [1, 2, 10, 16, 17, 32, 33, 100, 1000, 4097])
@pytest.mark.any_isa
def test_a_row_alone_and_at_every_position_of_a_batch(dtype, n):
    x = random((35, n), dtype, seed=n)
    x[5, n // 2] += 20  # a confident row among ordinary ones
    x[9] += 20000  # and one far from zero
    x[11, 0] = np.nan
    x[13] = np.round(x[13])
    indices = indices_for(x, 1)
    full = everything(x, 1, indices=indices)
    for start, size in [*((i, 1) for i in range(35)), (0, 2), (4, 3), (1, 16), (3, 31), (18, 17)]:

        def later(start=start):
            rng = np.random.default_rng(3)
            rng.random(start)
            return rng

        part = slice(start, start + size)
        got = everything(x[part], 1, indices=indices[part], rng=later)
        assert_all_same(got, [(what, a[part]) for what, a in full], f"{start}, {size}")
    for fill in (np.nan, np.inf, -np.inf, 0, 30000):
        batch = np.full_like(x, fill)
        batch[8] = x[8]
        got = everything(batch, 1, indices=indices)
        assert_all_same([(what, a[8]) for what, a in got], [(what, a[8]) for what, a in full], f"among {fill}")


@stored
@pytest.mark.parametrize("n", [1, 2, 5, 21, 33, 300])
@pytest.mark.any_isa
def test_a_column_among_other_columns(dtype, n):
    """Any part of an inner axis that is as wide as a vector, and so of the same form, has the bits of the whole."""
    x = random((3, n, 70), dtype, seed=n)
    indices = indices_for(x, 1)

    def without_sample(found):
        return [(what, a) for what, a in found if not what.startswith(("sample", "log_prob"))]

    full = without_sample(everything(x, 1, indices=indices))
    for start, width in ((0, 64), (1, 64), (3, 65), (6, 64)):
        part = np.s_[..., start : start + width]
        got = without_sample(everything(np.ascontiguousarray(x[part]), 1, indices=np.ascontiguousarray(indices[part])))
        assert_all_same(got, [(what, a[part]) for what, a in full], f"{start} {width}")
        assert_all_same(without_sample(everything(x[part], 1, indices=indices[part])), got, "as a view")


@pytest.mark.parametrize("dtype", [np.dtype(t) for t in (np.float64, np.float16, np.uint8)], ids=str)
@pytest.mark.parametrize(("shape", "axis"), [((3001, 100), 1), ((3, 70001), 1), ((3, 21, 5003), 1)], ids=str)
@pytest.mark.any_isa
def test_layouts_of_large_arrays_do_not_show(dtype, shape, axis):
    """Large enough to be read in pieces."""
    x = logits(shape, dtype, seed=8)
    for where, temperature in masks_and_temperatures(shape, axis)[: 2 if dtype == np.float64 else 1]:
        expected = everything(x, axis, where, temperature)
        indices = np.asfortranarray(indices_for(x, axis))
        for a in (np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2], np.ascontiguousarray(x[..., ::-1])[..., ::-1]):
            assert_all_same(everything(a, axis, where, temperature, indices=indices), expected)
        if where is not None:
            assert_all_same(everything(x, axis, np.asfortranarray(where), temperature), expected)


# ---- memory ------------------------------------------------------------------------------------------------------

BIG = [((2000, 1500), 1), ((1500, 2000), 0), ((20, 100, 1500), 1)]
PER_ROW = 64  # bytes beside the result: an index, a number of float64 each, and as much again


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float16)], ids=str)
@pytest.mark.parametrize(("shape", "axis"), BIG, ids=str)
@pytest.mark.any_isa
def test_no_temporary_of_the_size_of_x(dtype, shape, axis):
    """Rows as they are need less than a tenth of x beside the result. Columns, masks and so on may come in pieces."""
    x = random(shape, dtype)
    rows = x.size // shape[axis]
    batch = [n for i, n in enumerate(shape) if i != axis]
    temperature = np.linspace(0.5, 2, rows).reshape(batch)
    mask = np.random.default_rng(0).random([n if i == axis else 1 for i, n in enumerate(shape)]) < 0.9
    values, indices = np.linspace(0, 1, shape[axis]), indices_for(x, axis, 1)
    one = indices.squeeze(axis)
    calls = {
        "argmax": lambda **call: softlane.argmax(x, axis, return_probs=True, **call),
        "topk": lambda **call: softlane.topk(x, 5, axis, **call),
        "take_log_probs": lambda **call: softlane.take_log_probs(x, one, axis, **call),
        "several": lambda **call: softlane.take_log_probs(x, indices, axis, **call),
        "rank": lambda where=None, temperature=None: softlane.rank(x, one, axis, where=where),
        "expectation": lambda **call: softlane.expectation(x, values, axis, **call),
        "sample": lambda **call: softlane.sample(x, axis=axis, rng=1, top_k=40, top_p=0.9, **call),
    }
    for name, work in calls.items():
        beside = 6 * PER_ROW * rows if name == "topk" else PER_ROW * rows
        used = peak(work)
        assert used < (PIECES if axis == 0 else x.nbytes // 10) + beside, (name, used / x.nbytes)
        used = peak(work, where=mask, temperature=temperature)
        assert used < min(PIECES + beside, x.nbytes), (name, used / x.nbytes)


@pytest.mark.any_isa
def test_one_row_of_a_large_vocabulary():
    x = random((4, 262_144), np.float32)
    for work, args in (
        (softlane.argmax, ()), (softlane.topk, (50,)), (softlane.take_log_probs, ([5, 100, 262_143, 0],)),
        (softlane.rank, ([5, 100, 262_143, 0],)),
    ):  # fmt: skip
        assert peak(work, x, *args) < 2 * SMALL, work.__name__


@pytest.mark.any_isa
def test_the_expectation_of_huge_rows_needs_no_temporary_of_their_size():
    x, values = random((2, 1 << 21), np.float32), random(1 << 21, np.float32)
    assert peak(softlane.expectation, x, values) < PIECES + 8 * values.size


@pytest.mark.any_isa
def test_other_layouts_and_dtypes_are_copied_in_pieces():
    for shape, axis in BIG[:3]:
        x = random((*shape[:-1], 2 * shape[-1]), np.float32)[..., ::2]
        rows = x.size // shape[axis]
        indices, values = indices_for(x, axis, 1).squeeze(axis), np.linspace(0, 1, shape[axis])
        for given in (x, x.astype(x.dtype.newbyteorder()), (x * 20).astype(np.int16), np.asfortranarray(x)):
            for work, args in (
                (softlane.argmax, ()), (softlane.topk, (5,)), (softlane.take_log_probs, (indices,)),
                (softlane.rank, (indices,)), (softlane.expectation, (values,)),
            ):  # fmt: skip
                used = peak(work, given, *args, axis=axis)
                assert used < PIECES + 6 * PER_ROW * rows, (work.__name__, shape, axis, given.dtype)


@pytest.mark.any_isa
def test_many_calls_and_errors_keep_nothing():
    x, out = random((6, 4), np.float32), np.empty(6, np.float32)
    one = np.array([0, 1, 2, 3, 0, 1])
    rng = np.random.default_rng(1)

    def all_calls():
        softlane.argmax(x, return_probs=True)
        softlane.argmax(x[::-1], where=x > -9)
        softlane.topk(x, 3, temperature=0.5)
        softlane.topk(x, 2, 0, kind="logits", sorted=False)
        softlane.take_log_probs(x, one)
        softlane.rank(x, one[:, None])
        softlane.expectation(x, one[:4], out=out)
        softlane.sample(x, rng=rng, top_k=2, top_p=0.9, return_log_probs=True)
        for wrong in (
            lambda: softlane.take_log_probs(x, one + 1),
            lambda: softlane.rank(x, -one),
            lambda: softlane.topk(x, 5),
            lambda: softlane.expectation(x, x * np.float32(np.nan)),
            lambda: softlane.sample(x, rng=rng, top_p=[0.5, 0.5, 2, 0.5, 0.5, 0.5]),
            lambda: softlane.argmax(x[:, :0]),
        ):
            with pytest.raises((IndexError, ValueError)):
                wrong()

    assert blocks_kept(1500, all_calls) < 0.5


# ---- guard pages -------------------------------------------------------------------------------------------------

GUARDED = [(3, n, 1) for n in (*range(1, 10), 15, 16, 17, 31, 33, 35, 65)] + [(17, n, 1) for n in (7, 17)]
GUARDED += [(2, n, 1) for n in (1000, 4096, 4097, 8193)]
GUARDED += [(2, n, inner) for n in (5, 33) for inner in (2, 9, 17, 40)] + [(1, 700, 9), (1, 4097, 2), (1, 4097, 17)]


def run_between_guard_pages(isa):
    """Every argument ends where its memory ends, or begins where it begins."""
    assert _core.use_isa(isa)
    softlane.set_num_threads(1)
    memories = [Guarded() for _ in range(5)]

    def guarded(*given, end):
        found = [memory.array(a.shape, a.dtype, end) for memory, a in zip(memories, given, strict=False)]
        for view, a in zip(found, given, strict=True):
            view[...] = a
        return found

    dtypes = [np.dtype(t) for t in (np.float32, np.float64, np.float16, np.uint8)]
    for dtype, shape, end in itertools.product(dtypes, GUARDED, (True, False)):
        if isa == "portable" and shape[0] * shape[1] * shape[2] > 20000:
            continue  # slow where fma is a library call
        print(isa, dtype, shape, "end" if end else "begin", file=sys.stderr, flush=True)
        x = logits(shape, dtype, seed=7)
        batch = (shape[0], shape[2])
        mask, t = np.random.default_rng(1).random(shape) < 0.8, np.random.default_rng(2).uniform(0.5, 2, batch)
        values = random(shape, dtype if dtype in FLOATS else np.float32, seed=3)
        index = np.uint8 if shape[1] < 256 else np.uint16
        for indices in (indices_for(x, 1, 3, index), indices_for(x, 1, 1)[:, 0]):
            a, m, h, i, v = guarded(x, mask, t, indices, values, end=end)
            assert_all_same(everything(a, 1, m, h, i, v), everything(x, 1, mask, t, indices, values))
            a, i, v = guarded(x, indices, values[0, :, 0].copy(), end=end)
            expected = everything(x, 1, None, None, indices, values[0, :, 0])
            assert_all_same(everything(a, 1, None, None, i, v), expected)
        top_k = np.random.default_rng(4).integers(1, 9, batch)
        top_p, min_p = t / 2, t / 40
        a, k, p, q, out = guarded(x, top_k, top_p, min_p, np.empty(batch, expected[1][1].dtype), end=end)
        got = softlane.sample(a, axis=1, rng=1, top_k=k, top_p=p, min_p=q)
        assert_same_bits(got, softlane.sample(x, axis=1, rng=1, top_k=top_k, top_p=top_p, min_p=min_p))
        assert_same_bits(softlane.expectation(a, values, 1, out=out), softlane.expectation(x, values, 1))


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_is_accessed_outside_the_arrays(isa):
    code = "import sys, test_decisions_bits as t; t.run_between_guard_pages(sys.argv[1]); print('done')"
    command = [sys.executable, "-c", code, isa]
    run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"status {run.returncode} at or after: {run.stderr[-2000:]}"
    assert run.stdout == "done\n"
