"""Losses, gradients and sigmoids: the same bits everywhere, no temporaries, nothing accessed outside the arrays."""

import functools
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import FLOATS, FORMS, STORED, assert_same_bits, random
from guarded import Guarded
from loss_cases import (
    BINARY,
    FROM_OUTPUT,
    INDICES,
    ROWS,
    SIGMOIDS,
    WITH_GRAD,
    binary_input,
    binary_target,
    call,
    forms,
    hard,
    hard_case,
    indices,
    losses,
    made_for,
    probabilities,
    stored,
    weights,
)
from memory import PIECES, SMALL, blocks_kept, peak

import softlane
from softlane import _core

# ---- the same bits -----------------------------------------------------------------------------------------------


def everything(x, target, y, axis, w):
    """Results of all functions for logits, indices and probabilities of one dtype: a list of (what, array)."""
    found = []
    for t, (smoothing, reduction) in itertools.product((target, y), ((0.0, "mean"), (0.1, "none"))):
        options = {"axis": axis, "weight": w, "reduction": reduction}
        loss, grad = softlane.cross_entropy_with_grad(x, t, label_smoothing=smoothing, **options)
        found += [(f"loss {smoothing} {reduction}", loss), (f"gradient {smoothing} {reduction}", grad)]
        found.append(("cross_entropy", softlane.cross_entropy(x, t, label_smoothing=smoothing, **options)))
        found += [(name, call(name, made_for(name, x), t, **options)) for name in ("nll_loss", "log_loss")]
    found.append(("cross_entropy without weights", losses("cross_entropy", x, target, axis=axis)))
    for reduction in ("mean", "none"):
        loss, grad = softlane.binary_cross_entropy_with_logits_with_grad(
            x, y, weight=y, pos_weight=2, reduction=reduction
        )
        found += [("binary loss", loss), ("binary gradient", grad)]
    found.append(("binary", softlane.binary_cross_entropy_with_logits(x, y, pos_weight=2)))
    found.append(("of probabilities", softlane.binary_cross_entropy(made_for("binary_cross_entropy", x), y)))
    found += [(name, call(name, x)) for name in SIGMOIDS]
    return found + [(name, call(name, x, made_for("nll", y), axis)) for name in FROM_OUTPUT]


def assert_all_same(got, expected, note=""):
    for (what, a), (_, b) in zip(got, expected, strict=True):
        assert_same_bits(a, b, f"{what} {note}")


@hard
@pytest.mark.any_isa
def test_all_paths_return_the_same_bits(make):
    paths = [path for path in _core.available_isas() if path != "portable"]
    if not paths:
        pytest.skip("this build and processor have the portable path only")
    shapes = [(n, 1) for n in (1, 2, 3, 5, 8, 9, 15, 16, 17, 31, 32, 33, 65, 127, 1000, 4097, 9001)]
    shapes += [(n, inner) for n in (1, 5, 33, 300) for inner in (2, 9, 17)] + [(4097, 3), (4097, 17)]
    for dtype, (n, inner) in itertools.product(FLOATS, shapes):
        x, target = hard_case(make, dtype, (19 if n <= 32 else 3 if inner == 1 else 1, n, inner))
        given = x, target, probabilities(x.shape, 1, dtype), 1, weights(n, dtype)
        assert _core.use_isa("portable")
        expected = everything(*given)
        for path in paths:
            assert _core.use_isa(path)
            assert_all_same(everything(*given), expected, f"{path} {dtype} {n} {inner}")


@stored
@forms
@pytest.mark.any_isa
def test_all_paths_agree_on_special_values(dtype, form):
    shape, axis = FORMS[form]
    x = random(shape, np.float32, seed=11)
    rng = np.random.default_rng(12)
    for value in (np.nan, np.inf, -np.inf, -0.0, 1e-42):
        x[rng.random(shape) < 0.4 / shape[axis]] = value
    y = probabilities(shape, axis, dtype)
    y[rng.random(shape) < 0.1 / shape[axis]] = np.nan
    given = x.astype(dtype), indices(shape, axis, ignored=-100), y, axis, weights(shape[axis], dtype)
    assert _core.use_isa("portable")
    expected = everything(*given)
    for path in _core.available_isas():
        assert _core.use_isa(path)
        assert_all_same(everything(*given), expected, path)


THREADED = [
    ((20011, 10), -1),
    ((501, 700), -1),
    ((2, 70001), -1),
    ((3, 21, 5003), 1),
    ((30001, 5, 3), 1),
    ((3, 4100, 17), 1),
]


@stored
@pytest.mark.parametrize(("shape", "axis"), THREADED, ids=str)
@pytest.mark.any_isa
def test_the_number_of_threads_does_not_show(dtype, shape, axis):
    """Reductions included, which are of all rows."""
    target = indices(shape, axis, ignored=-100)
    given = random(shape, dtype, seed=1), target, probabilities(shape, axis, dtype), axis, weights(shape[axis], dtype)
    softlane.set_num_threads(1)
    expected = everything(*given)
    for threads in (2, 7):
        softlane.set_num_threads(threads)
        assert_all_same(everything(*given), expected, f"{threads} threads")


@stored
@pytest.mark.parametrize("n", [1, 2, 10, 16, 17, 32, 33, 100, 1000, 4097])
@pytest.mark.parametrize("kind", ["index", "probabilities"])
def test_a_row_alone_and_at_every_position_of_a_batch(dtype, n, kind):
    x, w = random((35, n), dtype, seed=n), weights(n, dtype)
    x[5, n // 2] += 20  # a confident row among ordinary ones
    x[9] += 20000  # and one far from zero
    x[11, 0] = np.nan
    target = probabilities((35, n), 1, dtype) if kind == "probabilities" else indices((35, n), 1, ignored=-100)
    compute = functools.partial(losses, "cross_entropy_with_grad", weight=w, label_smoothing=0.1)
    loss, grad = compute(x, target)
    for part in [
        *range(35),
        *(slice(i, i + 1) for i in (0, 5, 34)),
        slice(0, 2),
        slice(4, 7),
        slice(1, 17),
        slice(3, 34),
    ]:
        got, got_grad = compute(x[part], target[part])
        assert_same_bits(got, loss[part], str(part))
        assert_same_bits(got_grad, grad[part], str(part))
        assert_same_bits(losses("cross_entropy", x[part], target[part], weight=w, label_smoothing=0.1), loss[part])
    for fill in (np.nan, np.inf, -np.inf, 0, 30000):
        batch = np.full_like(x, fill)
        batch[8] = x[8]
        got, got_grad = compute(batch, target)
        assert_same_bits(got[8], loss[8], f"among {fill}")
        assert_same_bits(got_grad[8], grad[8], f"among {fill}")


@stored
@pytest.mark.parametrize("name", [*BINARY, WITH_GRAD[1]])
def test_a_binary_loss_does_not_depend_on_its_place(name, dtype):
    x, y = binary_input(name, 101, np.float32).astype(dtype), binary_target(101, dtype)
    whole = losses(name, x, y)
    for part in [*range(101), *(slice(i, None) for i in range(101)), *(slice(0, i) for i in range(101))]:
        got = losses(name, x[part], y[part])
        for a, b in zip(got, whole, strict=True) if name in WITH_GRAD else [(got, whole)]:
            assert_same_bits(a, b[part], str(part))


@stored
@pytest.mark.parametrize("n", [1, 2, 5, 21, 33, 300])
def test_a_column_among_other_columns(dtype, n):
    """Any part of an inner axis that is as wide as a vector, and so of the same form, has the bits of the whole."""
    x, target, w = random((3, n, 70), dtype, seed=n), indices((3, n, 70), 1), weights(n, dtype)
    loss, grad = losses("cross_entropy_with_grad", x, target, axis=1, weight=w, label_smoothing=0.1)
    for start, width in ((0, 64), (1, 64), (3, 65), (6, 64)):
        part = np.s_[..., start : start + width]
        got, got_grad = losses(
            "cross_entropy_with_grad",
            np.ascontiguousarray(x[part]),
            target[part],
            axis=1,
            weight=w,
            label_smoothing=0.1,
        )
        assert_same_bits(got, loss[part], f"{start} {width}")
        assert_same_bits(got_grad, grad[part], f"{start} {width}")


# ---- memory ------------------------------------------------------------------------------------------------------

BIG = [((2000, 1500), 1), ((2000, 1500), 0), ((20, 100, 1500), 1)]
PER_ROW = 32  # bytes: a loss in float64, an index in int64, and as much again
PER_LOOKUP = 64  # the same where nothing but the looked-up numbers is computed with, in NumPy as well


@stored
@pytest.mark.any_isa
def test_cross_entropy_needs_a_few_bytes_for_each_row(dtype):
    """Indices of any dtype, and probabilities and weights of the dtype of the logits; no temporary of their size."""
    for shape, axis in ((1000, 1500), 1), ((1000, 1500), 0), ((10, 100, 1500), 1):
        x, y, w = random(shape, dtype), np.full(shape, 1 / shape[axis], dtype), weights(shape[axis], dtype)
        target = indices(shape, axis, ignored=-100)
        allowed = SMALL + PER_ROW * target.size + 8 * w.size
        out = np.empty_like(x)
        some = ("mean", 0.1), ("none", 0), ("none", 0.1)
        for t, (reduction, smoothing) in itertools.product((target, target.astype(np.int16), y), some):
            options = {"axis": axis, "reduction": reduction, "label_smoothing": smoothing, "weight": w}
            used = peak(softlane.cross_entropy, x, t, **options)
            assert used < allowed, (shape, axis, t.dtype, options, used)
            used = peak(softlane.cross_entropy_with_grad, x, t, grad_out=out, **options)
            assert used < allowed, (shape, axis, t.dtype, options, used)
        assert peak(softlane.cross_entropy_with_grad, x, target, axis=axis) < allowed + out.nbytes
        assert peak(softlane.nll_loss, x, target, axis=axis) < SMALL + PER_LOOKUP * target.size
        assert peak(softlane.log_loss, x, target, axis=axis) < SMALL + PER_LOOKUP * target.size
        for name in FROM_OUTPUT:
            assert peak(getattr(softlane, name), x, y, axis, out=out) < SMALL + PER_ROW * target.size


@pytest.mark.any_isa
def test_one_row_of_a_large_vocabulary():
    x = random((4, 262_144), np.float32)
    assert peak(softlane.cross_entropy, x, [5, 100, 262_143, 0]) < SMALL


@pytest.mark.any_isa
def test_other_layouts_and_dtypes_are_copied_in_pieces():
    for shape, axis in BIG:
        x, target = random((*shape[:-1], 2 * shape[-1]), np.float32)[..., ::2], indices(shape, axis)
        rows = PER_ROW * target.size
        for given in (x, x.astype(x.dtype.newbyteorder()), (x * 20).astype(np.int16), np.asfortranarray(x)):
            assert peak(softlane.cross_entropy, given, target, axis=axis) < PIECES + rows, (shape, axis, given.dtype)
        plain = np.ascontiguousarray(x)
        for y in (x, x > 0, np.asfortranarray(x), x.astype(np.float64)):
            assert peak(softlane.cross_entropy, plain, y, axis=axis) < 2 * PIECES + rows, (shape, axis, y.dtype)


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float16)], ids=str)
@pytest.mark.any_isa
def test_elementwise_functions_need_no_temporary(dtype):
    x = random((3000, 1000), dtype)
    y, w = (x > 0).astype(dtype), weights((3000, 1), dtype)
    out = np.empty_like(x)
    for name in SIGMOIDS:
        assert peak(getattr(softlane, name), x, out=out) < SMALL
        assert peak(getattr(softlane, name), x[:, ::-1], out=out) < PIECES
    for name in BINARY:
        for given in (y, x > 0):
            assert peak(getattr(softlane, name), made_for(name, x), given, weight=w) < 2 * PIECES
            assert peak(losses, name, made_for(name, x), given, weight=w) < out.nbytes + 2 * PIECES
    assert peak(softlane.binary_cross_entropy_with_logits_with_grad, x, y, pos_weight=w, grad_out=out) < 2 * PIECES


@pytest.mark.any_isa
def test_many_calls_and_errors_keep_nothing():
    x, out = random((6, 4), np.float32), np.empty((6, 4), np.float32)

    def all_calls():
        softlane.cross_entropy(x, INDICES)
        softlane.cross_entropy(x, ROWS, weight=[1, 2, 3, 4])
        softlane.cross_entropy_with_grad(x, INDICES, grad_out=out, reduction="none")
        softlane.nll_loss(x[::-1], INDICES)
        softlane.log_loss(ROWS, INDICES)
        softlane.log_sigmoid(x, out=softlane.sigmoid(x))
        softlane.binary_cross_entropy(ROWS, ROWS)
        softlane.binary_cross_entropy_with_logits_with_grad(x, True)
        softlane.softmax_grad(x, softlane.log_softmax_grad(x, ROWS))
        for target in (INDICES + 3, INDICES[1:], ROWS * 1j):
            with pytest.raises((IndexError, ValueError, TypeError)):
                softlane.cross_entropy(x, target)

    assert blocks_kept(3000, all_calls) < 0.5


# ---- guard pages -------------------------------------------------------------------------------------------------

GUARDED = [(3, n, 1) for n in (*range(1, 36), 63, 64, 65)] + [(17, n, 1) for n in (1, 2, 7, 16, 17, 32)]
GUARDED += [(2, n, 1) for n in (4095, 4096, 4097, 8193)] + [
    (2, n, inner) for n in (1, 2, 5, 33) for inner in (2, 3, 9, 17, 40)
]
GUARDED += [(1, 700, 9), (1, 700, 31), (1, 4097, 2), (1, 4097, 17)]


def run_between_guard_pages(isa):
    """Every argument ends where its memory ends, or begins where it begins."""
    assert _core.use_isa(isa)
    softlane.set_num_threads(1)
    memories = [Guarded() for _ in range(4)]

    def guarded(*given, end):
        found = [memory.array(a.shape, a.dtype, end) for memory, a in zip(memories, given, strict=False)]
        for view, a in zip(found, given, strict=True):
            view[...] = a
        return found

    for dtype, shape, end in itertools.product(STORED, GUARDED, (True, False)):
        print(isa, dtype, shape, "end" if end else "begin", file=sys.stderr, flush=True)
        x, w = random(shape, dtype), weights(shape[1], dtype)
        out = np.empty(shape, dtype)
        target, y = indices(shape, 1), probabilities(shape, 1, dtype)
        small = target.astype(np.uint8) if shape[1] < 256 else target.astype(np.uint16)
        for t in (target, small, y, y > 0.1):
            loss, grad = losses("cross_entropy_with_grad", x, t, axis=1, weight=w, label_smoothing=0.1)
            a, b, c, d = guarded(x, t, w, out, end=end)
            got, _ = losses("cross_entropy_with_grad", a, b, axis=1, weight=c, label_smoothing=0.1, grad_out=d)
            assert_same_bits(got, loss)
            assert_same_bits(d, grad)
            plain = losses("cross_entropy", x, t, axis=1)
            assert_same_bits(losses("cross_entropy", a, b, axis=1), plain)
            got, _ = losses("cross_entropy_with_grad", a, b, axis=1, grad_out=a)
            assert_same_bits(got, plain)
            for name in ("nll_loss", "log_loss"):
                p = made_for(name, x)
                a, b, c = guarded(p, t, w, end=end)
                assert_same_bits(losses(name, a, b, axis=1, weight=c), losses(name, p, t, axis=1, weight=w))
        loss, grad = losses("binary_cross_entropy_with_logits_with_grad", x, y, weight=w[:, None], pos_weight=y)
        a, b, c, d = guarded(x, y, w[:, None], out, end=end)
        got, _ = losses("binary_cross_entropy_with_logits_with_grad", a, b, weight=c, pos_weight=b, grad_out=d)
        assert_same_bits(got, loss)
        assert_same_bits(d, grad)
        p = made_for("binary_cross_entropy", x)
        a[...] = p
        assert_same_bits(
            losses("binary_cross_entropy", a, b, weight=c), losses("binary_cross_entropy", p, y, weight=w[:, None])
        )
        for name in SIGMOIDS:
            a[...] = x
            assert_same_bits(call(name, a, out=d), call(name, x))
            assert_same_bits(call(name, a, out=a), call(name, x))
        for name in FROM_OUTPUT:
            a[...] = x
            assert_same_bits(call(name, a, b, 1, out=d), call(name, x, y, 1))
            assert_same_bits(call(name, a, b, 1, out=a), call(name, x, y, 1))


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_is_accessed_outside_the_arrays(isa):
    code = "import sys, test_losses_bits as t; t.run_between_guard_pages(sys.argv[1]); print('done')"
    command = [sys.executable, "-c", code, isa]
    run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"status {run.returncode} at or after: {run.stderr[-2000:]}"
    assert run.stdout == "done\n"
