"""softlane.stream: the statistics of rows from parts of their classes, against the whole row and 600 bits."""

import itertools
import pickle

import mpmath
import numpy as np
import pytest
import reference
from cases import FLOATS, HALVES, all_nan, assert_same_bits, random

import softlane
from softlane import stream

pytestmark = pytest.mark.any_isa  # test_paths.py compares the paths

floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
RESULTS = ("logsumexp", "target_log_prob", "entropy", "topk", "argmax")


def cut(n, rng, most=6):
    """Bounds of 1 to `most` parts of n classes"""
    inner = rng.choice(np.arange(1, n), min(n - 1, int(rng.integers(most))), replace=False) if n > 1 else []
    return [0, *map(int, sorted(inner)), n]


def parts_of(x, bounds, axis=-1, where=None, **options):
    x = np.moveaxis(np.asarray(x), axis, -1)
    hidden = None if where is None else np.moveaxis(np.broadcast_to(where, np.moveaxis(x, -1, axis).shape), axis, -1)
    for i, j in itertools.pairwise(bounds):
        block = np.moveaxis(x[..., i:j], -1, axis)
        mask = None if hidden is None else np.moveaxis(hidden[..., i:j], -1, axis)
        yield stream.summarize(block, axis, first_class=i, where=mask, **options)


def merge_all(parts, rng):
    """In a random order and tree"""
    parts = [parts[i] for i in rng.permutation(len(parts))]
    while len(parts) > 1:
        i = int(rng.integers(len(parts) - 1))
        parts[i : i + 2] = [parts[i] | parts[i + 1]]
    return parts[0]


def blocks_of(function, x, bounds, **options):
    return np.concatenate([function(x[..., i:j], **options) for i, j in itertools.pairwise(bounds)], axis=-1)


def state(s):
    return [a.tobytes() for a in (s._weight, s._moment, *(s._best or ()), *(s._target or ())) if a is not None]


def exact_of(row, temperature, target):
    """logsumexp, log-probability of the target, entropy, probabilities and log-probabilities of one row, in 600 bits"""
    with mpmath.workprec(600):
        z = [mpmath.mpf(float(v)) / mpmath.mpf(temperature) for v in row]
        top = max(z)
        others = mpmath.fsum(mpmath.exp(v - top) for i, v in enumerate(z) if i != z.index(top))
        log = mpmath.log1p(others)
        log_p = [v - top - log for v in z]
        entropy = log + mpmath.fsum(mpmath.exp(v - top) * (top - v) for v in z) / (1 + others)
        return top + log, log_p[target], entropy, [mpmath.exp(v) for v in log_p], log_p


# ---- accuracy ------------------------------------------------------------------------------------------------------


@floats
@pytest.mark.parametrize("spread", (0.01, 1, 10, 300))
def test_merged_results_are_within_2_ulp(dtype, spread, largest):
    rng = np.random.default_rng(int(spread))
    for temperature in (1, 0.3068, 2.7):
        n = int(rng.integers(2, 60))
        x = (spread * rng.normal(size=(3, n))).astype(dtype)
        x[1] -= 40 * (np.arange(n) != n // 2)  # a confident row
        target, bounds = rng.integers(n, size=3), cut(n, rng)
        s = merge_all(list(parts_of(x, bounds, target=target, entropy=True, temperature=temperature)), rng)
        found = [s.logsumexp(), s.target_log_prob(), s.entropy()]
        found += [blocks_of(f, x, bounds) for f in (s.softmax, s.log_softmax)]
        for i in range(3):
            exact = exact_of(x[i], temperature, target[i])
            for name, got, want in zip(
                ("logsumexp", "target", "entropy", "probs", "log_probs"), found, exact, strict=True
            ):
                pairs = zip(got[i], want, strict=True) if isinstance(want, list) else [(got[i], want)]
                error = max(float(reference.mp_ulp_error(g, w, dtype)) for g, w in pairs)
                assert error <= 2, (name, temperature, bounds)
                largest("merged " + name, dtype, f"spread {spread}", error)


@floats
def test_blocks_of_long_rows(dtype):
    """More classes than one block of the kernels has, on every layout of the class axis"""
    for shape, axis in (((2, 10000), 1), ((10000, 3), 0), ((2, 9000, 40), 1), ((3, 4100, 2), 1)):
        x = random(shape, dtype, spread=3)
        n = shape[axis]
        bounds = [0, 5, 5000 if n > 5000 else 2000, n]
        s = merge_all(list(parts_of(x, bounds, axis, entropy=True, k=2)), np.random.default_rng(0))
        np.testing.assert_array_max_ulp(s.logsumexp(), softlane.logsumexp(x, axis).astype(dtype), 2)
        np.testing.assert_array_max_ulp(s.entropy(), softlane.entropy(x, axis), 3)
        slices = [[slice(None)] * len(shape) for _ in bounds[1:]]
        for where, i, j in zip(slices, bounds, bounds[1:], strict=False):
            where[axis] = slice(i, j)
        for name in ("softmax", "log_softmax"):
            got = np.concatenate([getattr(s, name)(x[tuple(w)]) for w in slices], axis)
            np.testing.assert_array_max_ulp(got, getattr(softlane, name)(x, axis), 3)


# ---- bits ----------------------------------------------------------------------------------------------------------


@floats
@pytest.mark.parametrize("temperature", (None, 0.7, "rows"))
def test_no_order_of_merges_changes_a_bit(dtype, temperature):
    rng = np.random.default_rng(3)
    t = rng.uniform(0.2, 5, (1, 6)) if temperature == "rows" else temperature
    for spread in (0.1, 4, 60, 1000, 1e7):
        x = (spread * rng.normal(size=(1, 6, 40))).astype(dtype)
        x[0, 0, 7:20] = x[0, 0, 0]  # equal maxima
        x[0, 1] = -np.abs(x[0, 1])
        parts = list(
            parts_of(x, cut(40, rng, 12), k=4, entropy=True, target=rng.integers(40, size=(1, 6)), temperature=t)
        )
        first = merge_all(parts, rng)
        for _ in range(20):
            again = merge_all(parts, rng)
            assert state(again) == state(first)
            for name in RESULTS:
                assert_same_bits(np.asarray(getattr(again, name)()), np.asarray(getattr(first, name)()))


def test_every_order_and_tree_of_five_blocks():
    x = random((2, 15), np.float64, spread=30)
    parts = list(parts_of(x, range(0, 16, 3), entropy=True))
    wanted = None
    for a, b, c, d, e in itertools.permutations(parts):
        for merged in ((((a | b) | c) | d) | e, (a | b) | ((c | d) | e), a | (b | (c | (d | e)))):
            wanted = wanted or state(merged)
            assert state(merged) == wanted


def test_many_merges_add_up():
    """20,000 blocks of one class each: logsumexp of equal logits is x + log(n)."""
    s = stream.summarize(np.full((1, 1), 0.25), entropy=True)
    doubled = [s]
    for _ in range(14):
        doubled.append(doubled[-1] | doubled[-1])
    whole = merge_all([d for i, d in enumerate(doubled) if 20000 >> i & 1], np.random.default_rng(0))
    assert reference.mp_ulp_error(whole.logsumexp()[0], mpmath.mpf(0.25) + mpmath.log(20000), np.float64) <= 2
    assert reference.mp_ulp_error(whole.entropy()[0], mpmath.log(20000), np.float64) <= 2


@floats
def test_logits_far_from_zero(dtype):
    """Beyond 2^30 merges round: results stay within 2 ULP."""
    for base in (3e9, -3e9, 1e15, 2.0**30):
        step = float(np.spacing(dtype.type(base)))
        x = np.array([[base, base - step, base - 2 * step, base]], dtype)
        for bounds in ([0, 1, 2, 3, 4], [0, 2, 4], [0, 4]):
            for order in (1, -1):
                parts = list(parts_of(x, bounds, entropy=True))[::order]
                s = parts[0]
                for part in parts[1:]:
                    s |= part
                want = exact_of(x[0], 1, 0)
                assert reference.mp_ulp_error(s.logsumexp()[0], want[0], dtype) <= 2
                assert reference.mp_ulp_error(s.entropy()[0], want[2], dtype) <= 2, (base, bounds, order)


def test_a_far_and_a_near_part():
    for low, high in ((0.0, 2.0**30), (-(2.0**30), 0.0), (-1e300, 1e300), (2.0**30 - 1, 2.0**30 + 1)):
        parts = [stream.summarize([[v]], entropy=True) for v in (low, high)]
        want = exact_of([low, high], 1, 0)
        for s in (parts[0] | parts[1], parts[1] | parts[0]):
            assert reference.mp_ulp_error(s.logsumexp()[0], want[0], np.float64) <= 2
            assert want[2] < 1e-300 or reference.mp_ulp_error(s.entropy()[0], want[2], np.float64) <= 2


# ---- what the whole row says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint16", "int64"])
@pytest.mark.parametrize("axis", (0, 1, 2))
def test_dtypes_and_axes(dtype, axis):
    rng = np.random.default_rng(axis)
    x = rng.integers(-20, 20, (5, 6, 7)).astype(dtype)
    mask = rng.random((5, 6, 7)) < 0.8
    n, batch = x.shape[axis], tuple(np.delete(x.shape, axis))
    target = rng.integers(n, size=batch)
    parts = list(parts_of(x, cut(n, rng), axis, where=mask, target=target, k=n, entropy=True))
    s = merge_all(parts, rng)
    wide = np.float64 if dtype in ("float64", "int64") else np.float32
    assert s.shape == batch and s.dtype == wide
    kwargs = {"where": mask, "dtype": wide}
    for got, want in (
        (s.logsumexp(), softlane.logsumexp(x, axis, **kwargs)),
        (s.entropy(), softlane.entropy(x, axis, **kwargs)),
        (s.target_log_prob(), softlane.take_log_probs(x, target, axis, **kwargs)),
        (s.cross_entropy("none"), softlane.cross_entropy(x, target, axis=axis, reduction="none", **kwargs)),
        (s.cross_entropy(), softlane.cross_entropy(x, target, axis=axis, **kwargs)),
    ):
        assert got.dtype == wide
        np.testing.assert_allclose(got, want, rtol=1e-6)
    top = softlane.topk(x, n, axis, **kwargs)
    np.testing.assert_array_equal(s.topk().indices, np.moveaxis(top.indices, axis, -1))
    np.testing.assert_allclose(s.topk().values, np.moveaxis(top.values, axis, -1), rtol=1e-6)
    best, prob = s.argmax(return_probs=True)
    np.testing.assert_array_equal(best, softlane.argmax(x, axis, where=mask))
    np.testing.assert_allclose(prob, top.values.max(axis), rtol=1e-6)
    np.testing.assert_allclose(s.softmax(x, where=mask), softlane.softmax(x, axis, where=mask), rtol=2e-3)


SPECIAL = {
    "NaN": [1.0, np.nan, 2.0, 3.0],
    "inf": [1.0, np.inf, 2.0, 3.0],
    "two inf": [np.inf, 1.0, 2.0, np.inf],
    "inf and NaN": [np.inf, 1.0, 2.0, np.nan],
    "all -inf": [-np.inf] * 4,
    "one left": [-np.inf, -np.inf, 5.0, -np.inf],
    "zeros": [0.0, -0.0, -0.0, 0.0],
}


@floats
@pytest.mark.parametrize("kind", SPECIAL)
def test_special_rows_are_as_in_the_whole(kind, dtype):
    x = np.array([SPECIAL[kind]] * 2, dtype)
    for bounds in ([0, 4], [0, 2, 4], [0, 1, 2, 3, 4]):
        for order in (1, -1):
            parts = list(parts_of(x, bounds, target=[2, 3], k=2, entropy=True))[::order]
            s = parts[0]
            for part in parts[1:]:
                s |= part
            np.testing.assert_array_equal(s.logsumexp(), softlane.logsumexp(x))
            np.testing.assert_array_max_ulp(s.entropy(), softlane.entropy(x))
            np.testing.assert_array_max_ulp(s.target_log_prob(), softlane.take_log_probs(x, [2, 3]))
            np.testing.assert_array_max_ulp(blocks_of(s.softmax, x, bounds), softlane.softmax(x))
            np.testing.assert_array_max_ulp(blocks_of(s.log_softmax, x, bounds), softlane.log_softmax(x))
            np.testing.assert_array_equal(s.topk().indices, softlane.topk(x, 2).indices)
            for kind in ("probs", "log_probs", "logits"):
                np.testing.assert_array_max_ulp(s.topk(kind=kind).values, softlane.topk(x, 2, kind=kind).values)


@pytest.mark.parametrize("kind", ["NaN", "inf", "inf and NaN", "all -inf"])
def test_a_nan_is_the_canonical_one(kind):
    s = softlane.stream.summarize(np.array([SPECIAL[kind]], np.float32), target=[1], k=2, entropy=True)
    found = [
        s.target_log_prob(),
        s.cross_entropy("none"),
        s.entropy(),
        s.topk().values,
        s.topk(kind="log_probs").values,
    ]
    for y in found:
        assert np.isnan(y).any() and all_nan(y[np.isnan(y)])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_blocks_of_16_bit_floats_beside_one_of_float64(dtype):
    """The summary is of float64, and the results for such a block are rounded to its dtype once."""
    x = random((3, 10), dtype)
    for temperature in (None, 0.7, 1e-9):
        parts = list(parts_of(x, [0, 4, 10], temperature=temperature))
        parts[0] = softlane.stream.summarize(x[:, :4].astype(np.float64), temperature=temperature)
        for name in ("softmax", "log_softmax"):
            y = getattr(parts[0] | parts[1], name)(x[:, 4:])
            whole = getattr(softlane, name)(x.astype(np.float64), temperature=temperature)
            with np.errstate(over="ignore"):
                assert_same_bits(y, whole[:, 4:].astype(dtype))
        wanted = (parts[0] | parts[1]).softmax(x[:, 4:].astype(np.float32), dtype=dtype)
        assert_same_bits(wanted, (parts[0] | parts[1]).softmax(x[:, 4:]))


def test_masked_rows():
    x = np.array([[1.0, 2.0, 3.0], [np.nan, np.inf, 0.0]])
    mask = np.array([[False] * 3, [False, False, True]])
    s = merge_all(list(parts_of(x, [0, 1, 3], where=mask, k=3, entropy=True)), np.random.default_rng(0))
    assert s.logsumexp().tolist() == [-np.inf, 0] and s.entropy().tolist() == [0, 0]
    assert s.topk().indices.tolist() == [[0, 1, 2], [2, 0, 1]] and s.topk().values.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert s.softmax(x, where=mask).tolist() == [[0, 0, 0], [0, 0, 1]]
    assert s.log_softmax(x, where=mask).tolist() == [[-np.inf] * 3, [-np.inf, -np.inf, 0]]


@pytest.mark.parametrize("temperature", (1e-12, 1e40, 2.0**-120))
@floats
def test_temperatures_that_the_kernels_do_not_take(temperature, dtype):
    x = random((3, 30), dtype)
    x[0, 1] = x[0, 0] = np.abs(x[0]).max() + 1
    s = merge_all(
        list(parts_of(x, [0, 9, 30], temperature=temperature, entropy=True, target=[0, 1, 2])), np.random.default_rng(0)
    )
    options = {"temperature": temperature, "dtype": dtype}
    np.testing.assert_allclose(s.logsumexp(), softlane.logsumexp(x, **options), rtol=1e-6)
    np.testing.assert_allclose(s.entropy(), softlane.entropy(x, **options), rtol=1e-6)
    np.testing.assert_allclose(s.target_log_prob(), softlane.take_log_probs(x, [0, 1, 2], **options), rtol=1e-6)
    np.testing.assert_allclose(blocks_of(s.softmax, x, [0, 9, 30]), softlane.softmax(x, **options), rtol=1e-6)
    np.testing.assert_allclose(blocks_of(s.log_softmax, x, [0, 9, 30]), softlane.log_softmax(x, **options), rtol=1e-6)


def test_layouts_and_out():
    x = random((40, 3000), np.float32)
    s = stream.summarize(x)
    wanted = s.softmax(x)
    for same in (np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], x[::-1][::-1], x.astype(">f4"), x.tolist()):
        assert state(stream.summarize(same))[0] == state(s)[0] or not isinstance(same, np.ndarray)
        np.testing.assert_allclose(s.softmax(same), wanted, rtol=1e-6)
    out = np.empty_like(x)
    assert s.softmax(x, out=out) is out
    assert_same_bits(out, wanted)
    here = x.copy()
    assert_same_bits(s.softmax(here, out=here), wanted)


def test_threads_change_no_bit():
    x = random((5000, 40), np.float32)
    found = []
    for threads in (1, 3):
        with softlane.num_threads(threads):
            a, b = parts_of(x, [0, 20, 40], k=2, entropy=True)
            s = a | b
            found.append([*state(s), s.logsumexp().tobytes(), s.softmax(x).tobytes()])
    assert found[0] == found[1]


# ---- the object ----------------------------------------------------------------------------------------------------


def test_empty_is_neutral():
    x = random((2, 3, 9), np.float32)
    options = {"target": np.zeros((2, 3), int), "k": 2, "entropy": True, "temperature": 0.5}
    s = stream.summarize(x, **options)
    nothing = stream.empty((2, 3), np.float32, **options)
    for merged in (s | nothing, nothing | s, nothing | s | nothing):
        assert state(merged) == state(s)
    assert stream.empty((2,), k=1).argmax().tolist() == [-1, -1]
    assert stream.empty((2,), entropy=True).entropy().tolist() == [0, 0]
    assert stream.empty(()).logsumexp() == -np.inf
    assert (stream.empty((0,)) | stream.empty((0,))).logsumexp().shape == (0,)


def test_a_summary_is_pickled_and_says_how_large_it_is():
    x = random((10, 30), np.float32)
    s = stream.summarize(x, target=np.arange(10), k=3, entropy=True, temperature=np.ones(10))
    again = pickle.loads(pickle.dumps(s))
    assert state(again) == state(s) and again.dtype == s.dtype
    assert_same_bits(again.softmax(x), s.softmax(x))
    assert stream.summarize(x).nbytes == 400
    assert s.nbytes == 10 * (40 + 40 + 17 + 3 * 16 + 8)
    assert repr(s) == "<RowSummary of rows (10,), float32, target, entropy, k=3>"


def test_a_summary_that_comes_by_way_of_buffers():
    """Pickles of protocol 5 can leave arrays in memory of others: read-only, at any address, as Dask does"""
    options = {"target": np.zeros(10, int), "k": 3, "entropy": True, "temperature": np.full(10, 0.5)}
    a, b = parts_of(random((10, 30), np.float32), [0, 10, 30], **options)
    buffers = []
    data = pickle.dumps(a, protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 8
    moved = [memoryview(b"." + bytes(memory))[1:] for memory in buffers]
    again = pickle.loads(data, buffers=moved)
    assert state(again) == state(a) and state(again | b) == state(a | b) == state(b | again)
    assert_same_bits(again.entropy(), a.entropy())


def test_merging_changes_neither():
    a, b = parts_of(random((4, 8), np.float64), [0, 4, 8], k=1, entropy=True)
    before = state(a), state(b)
    a.merge(b)
    assert before == (state(a), state(b))


def test_float32_and_float64_make_float64():
    assert (
        stream.summarize(np.float32([[1]])) | stream.summarize(np.array([[1.0]]), first_class=1)
    ).dtype == np.float64


def test_ignored_targets():
    x = random((4, 6), np.float32)
    target = [0, -100, 5, -100]
    s = merge_all(list(parts_of(x, [0, 3, 6], target=target)), np.random.default_rng(0))
    np.testing.assert_allclose(s.cross_entropy(), softlane.cross_entropy(x, target), rtol=1e-6)
    assert s.cross_entropy("none")[1] == 0
    with pytest.raises(ValueError, match=r"target_log_prob: target\[1\] = -100 is a class that no summary has seen"):
        s.target_log_prob()


def test_errors():
    x = np.zeros((2, 4), np.float32)
    s = stream.summarize(x)
    cases = [
        (TypeError, "RowSummary: made by", lambda: stream.RowSummary()),
        (TypeError, "merge: other must be a RowSummary, got int", lambda: s.merge(1)),
        (TypeError, "unsupported operand", lambda: s | 1),
        (ValueError, r"merge: shape is \(2,\) and \(3,\)", lambda: s | stream.empty((3,))),
        (ValueError, "merge: k is 0 and 2", lambda: s | stream.summarize(x, k=2)),
        (ValueError, "merge: entropy is False and True", lambda: s | stream.summarize(x, entropy=True)),
        (ValueError, "merge: target is False and True", lambda: s | stream.summarize(x, target=[0, 0])),
        (
            ValueError,
            "different values of target",
            lambda: stream.summarize(x, target=[0, 0]) | stream.summarize(x, target=[0, 1]),
        ),
        (ValueError, "different values of temperature", lambda: s | stream.summarize(x, temperature=2)),
        (
            ValueError,
            r"the target of row \[1\] is a class of both",
            lambda: stream.summarize(x, target=[9, 0]) | stream.summarize(x, target=[9, 0]),
        ),
        (ValueError, "entropy: the summaries were made without it", lambda: s.entropy()),
        (ValueError, "target_log_prob: the summaries were made without targets", lambda: s.target_log_prob()),
        (ValueError, "cross_entropy: the summaries were made without targets", lambda: s.cross_entropy()),
        (ValueError, 'cross_entropy: reduction must be "mean"', lambda: s.cross_entropy("all")),
        (
            ValueError,
            r"cross_entropy: target\[0\] = 7 is a class that no",
            lambda: stream.summarize(x, target=[7, 0]).cross_entropy(),
        ),
        (ValueError, "topk: the summaries were made with k=0", lambda: s.topk()),
        (ValueError, "topk: kind must be", lambda: stream.summarize(x, k=1).topk(kind="p")),
        (ValueError, "argmax: the summaries were made with k=0", lambda: s.argmax()),
        (
            ValueError,
            r"softmax: x_block has shape \(3, 4\), expected rows of the shape \(2,\)",
            lambda: s.softmax(np.zeros((3, 4))),
        ),
        (ValueError, "log_softmax: x_block is 0-d", lambda: s.log_softmax(1.0)),
        (ValueError, "softmax: out has shape", lambda: s.softmax(x, out=np.zeros((2, 3), np.float32))),
        (ValueError, "summarize: x_block is 0-d", lambda: stream.summarize(1.0)),
        (
            ValueError,
            r"summarize: x_block has shape \(2, 0\), without a class",
            lambda: stream.summarize(np.zeros((2, 0))),
        ),
        (ValueError, "summarize: first_class is -1", lambda: stream.summarize(x, first_class=-1)),
        (ValueError, "summarize: k is -1", lambda: stream.summarize(x, k=-1)),
        (
            TypeError,
            "summarize: target has dtype float64, expected integers",
            lambda: stream.summarize(x, target=[0.5, 1]),
        ),
        (
            ValueError,
            r"summarize: target has shape \(3,\), expected \(2,\)",
            lambda: stream.summarize(x, target=[0, 1, 2]),
        ),
        (
            ValueError,
            r"summarize: target\[1\] = 9223372036854775808 does not fit into int64",
            lambda: stream.summarize(x, target=np.array([1, 2**63], np.uint64)),
        ),
        (ValueError, "summarize: temperature is 0", lambda: stream.summarize(x, temperature=0)),
        (TypeError, "summarize: where has dtype int64", lambda: stream.summarize(x, where=np.ones((2, 4), int))),
        (TypeError, "empty: dtype", lambda: stream.empty((2,), np.int32)),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


# ---- what a reviewer broke -----------------------------------------------------------------------------------------


def test_no_rows():
    x = np.zeros((0, 3), np.float32)
    s = stream.summarize(x, k=2, entropy=True, target=np.zeros(0, int))
    assert s.softmax(x).shape == s.log_softmax(x).shape == (0, 3)
    assert s.topk().values.shape == (0, 2) and s.argmax(return_probs=True)[1].shape == (0,)
    assert s.logsumexp().shape == s.entropy().shape == s.target_log_prob().shape == (0,)


def test_a_summary_keeps_its_temperatures():
    x, t = random((3, 8), np.float64), np.array([1.0, 2.0, 3.0])
    s, nothing = stream.summarize(x, temperature=t), stream.empty((3,), np.float64, temperature=t)
    before = s.logsumexp()
    t[:] = 0.5
    assert_same_bits(s.logsumexp(), before)
    assert_same_bits((s | nothing).logsumexp(), before)
    with pytest.raises(ValueError, match="different values of temperature"):
        s | stream.summarize(x, first_class=8, temperature=t)


def test_a_maximum_that_is_no_float32():
    block = np.float32([[16777216.0, 16777218.0]])
    s = stream.summarize(block) | stream.summarize(np.array([[16777219.0]]), first_class=2)
    want = softlane.softmax([[16777216.0, 16777218.0, 16777219.0]])
    np.testing.assert_allclose(s.softmax(block), want[:, :2], rtol=1e-7)
    np.testing.assert_allclose(s.log_softmax(block), np.log(want[:, :2]), rtol=1e-6)
    beyond = stream.summarize(np.float32([[0, 1]])) | stream.summarize(np.array([[1e39]]), first_class=2)
    assert beyond.softmax(np.float32([[0, 1]])).tolist() == [[0, 0]]


@pytest.mark.parametrize("temperature", (1e40, 2.0**-200, 2.0**200, 1e-310))
def test_a_far_temperature_leaves_the_other_rows_alone(temperature):
    x = 200 * np.random.default_rng(0).normal(size=(2, 50))
    x[1] = np.ldexp(x[1], int(np.frexp(temperature)[1]) - 8)
    target = [3, 4]
    s = stream.summarize(x, temperature=np.array([1.0, temperature]), target=target)
    alone = stream.summarize(x[:1], temperature=np.array([1.0]))
    assert_same_bits(s.softmax(x)[0], alone.softmax(x[:1])[0])
    got = [s.softmax(x)[1], s.log_softmax(x)[1]]
    exact = exact_of(x[1], temperature, 4)
    for values, wanted in zip(got, exact[3:], strict=True):
        for g, w in zip(values, wanted, strict=True):
            assert reference.mp_ulp_error(g, w, np.float64) <= 2
    assert reference.mp_ulp_error(s.target_log_prob()[1], exact[1], np.float64) <= 2


def test_the_axis_of_blocks():
    x = random((4, 4), np.float32)
    nothing = stream.empty((4,))
    for s in (nothing | stream.summarize(x, 0), stream.summarize(x, 0) | nothing):
        assert_same_bits(s.softmax(x), stream.summarize(x, 0).softmax(x))
    with pytest.raises(ValueError, match="merge: axis is -2 and -1"):
        stream.summarize(x, 0) | stream.summarize(x, 1)


@pytest.mark.parametrize("row", ([1.0, 2.0], [np.inf, 1.0], [np.nan, 1.0], [-np.inf, 1.0]))
def test_a_masked_target(row):
    for mask in ([False, True], [False, False]):
        s = stream.summarize([row], where=[mask], target=[0])
        merged = s | stream.empty((1,), np.float64, target=[0])
        assert s.target_log_prob() == merged.target_log_prob() == -np.inf
        want = softlane.cross_entropy([row], [0], where=[mask], reduction="none")
        np.testing.assert_array_equal(s.cross_entropy("none"), want)


def test_one_row_without_a_batch():
    s = stream.summarize([1.0, 2.0], target=0)
    assert s.cross_entropy("none").shape == () == softlane.cross_entropy([1.0, 2.0], 0, reduction="none").shape


def test_four_million_merges():
    """The documented limit: doubling a row of classes of which the digits are as large as they get"""
    x = random((500, 2), np.float64)
    s = stream.summarize(x)
    for _ in range(22):
        s = s | s
    exact = [exact_of(row, 1, 0)[0] + 22 * mpmath.log(2) for row in x[:20]]
    for got, want in zip(s.logsumexp()[:20], exact, strict=True):
        assert reference.mp_ulp_error(got, want, np.float64) <= 2
    assert s._weight["digit"].min() >= 0


def test_a_state_of_elsewhere_is_refused():
    s = stream.summarize(random((4, 8), np.float64), target=np.zeros(4, int), k=1)
    for name, wrong in (
        ("_weight", s._weight[:3]),
        ("_weight", s._weight.astype(s._weight.dtype.newbyteorder(">"))),
        ("_best", (s._best[0][:2], s._best[1])),
        ("_target", (s._target[0].astype(np.int32), *s._target[1:])),
    ):
        state_of = dict(zip(s.__slots__, s.__getstate__(), strict=True)) | {name: wrong}
        with pytest.raises(ValueError, match="another version of softlane, or of another machine"):
            object.__new__(stream.RowSummary).__setstate__(tuple(state_of.values()))


def test_errors_of_empty():
    for error, message, shape in (
        (TypeError, "empty: batch_shape must be a tuple of integers, got 5", 5),
        (TypeError, "empty: batch_shape must be a tuple of integers", (1.5,)),
        (ValueError, r"empty: batch_shape is \(-1,\)", (-1,)),
    ):
        with pytest.raises(error, match=message):
            stream.empty(shape)
    with pytest.raises(ValueError, match="summarize: k is 1180591620717411303424, expected 0 or more, below"):
        stream.summarize([[1.0]], k=2**70)
