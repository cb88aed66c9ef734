"""argmax, topk, take_log_probs, rank, expectation: against the reference, by hand, special rows, indices, shapes."""

import functools
import itertools

import hypothesis
import ml_dtypes
import numpy as np
import pytest
import reference
import reference_selection as ref
from arrays import DTYPES, logits, positions, special
from cases import FLOATS, FORMS_FROM_TWO, STORED, all_nan, assert_same_bits, random
from hypothesis import strategies as st
from loss_cases import assert_within, eps
from strategies import arrays, fixed

import softlane

KINDS = ["probs", "log_probs", "logits"]

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
stored = pytest.mark.parametrize("dtype", STORED, ids=str)
floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
forms = pytest.mark.parametrize("form", FORMS_FROM_TWO)


def counted(x, axis):
    """0, 1, ... along the axis, in the shape of x."""
    return np.moveaxis(np.broadcast_to(np.arange(x.shape[axis]), np.moveaxis(x, axis, -1).shape), -1, axis)


def some_places(n):
    """At most 24 places of n, the ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, 24)).astype(np.int64))


def assert_close(got, exact, temperature=None, note=""):
    """2 ULP, 16-bit floats rounded once. The reference is good to 0.1 ULP of float64 where x is divided."""
    got = np.asarray(got)
    if not reference.EXACT[got.dtype]:
        return
    bound = 0.501 if got.dtype.itemsize == 2 else 2.1 if temperature is not None and got.dtype == np.float64 else 2
    error = reference.ulp_error(got, exact)
    assert error.max(initial=0) <= bound, (error.max(), np.argmax(error), note)


def assert_close_expectation(got, x, values, axis=-1, where=None, temperature=None):
    assert_close_mean(got, values, ref.exact_values("probs", x, axis, where, temperature), axis)


def assert_close_mean(got, values, p, axis):
    """4 eps of sum(p * abs(values)) in what is computed with; 16-bit floats are rounded once on top."""
    got = np.asarray(got)
    exact = ref.mean_of(values, p, axis)
    size = np.nan_to_num(ref.mean_of(np.abs(np.asarray(values, np.float64)), p, axis))
    smallest = 2.0**-24 if got.dtype == np.float16 else 2.0**-133 if got.dtype == reference.BFLOAT16 else 0
    compute = np.dtype(np.float64 if got.dtype == np.float64 else np.float32)
    allowed = 4 * eps(compute) * size + np.finfo(compute).tiny
    if got.dtype != compute:
        allowed = allowed + eps(got.dtype) / 2 * np.nan_to_num(np.abs(exact)) + smallest
    assert_within(got, exact, allowed)


class Problem:
    """One call of a function, and what the reference says about its rows."""

    def __init__(self, x, axis, where, temperature):
        self.x, self.axis, self.where, self.temperature = x, axis, where, temperature
        self.n = x.shape[axis]
        self.ks = sorted({0, 1, min(5, self.n), min(self.n // 2, 300), min(self.n, 1000)})
        self.result = reference.result_dtype(x.dtype)
        self.order = ref.the_order(x, axis, where)
        self.exact = {kind: ref.exact_values(kind, x, axis, where, temperature) for kind in KINDS}

    def call(self, name, *args, **kwargs):
        options = {} if name == "rank" or self.temperature is None else {"temperature": self.temperature}
        return getattr(softlane, name)(self.x, *args, axis=self.axis, where=self.where, **options, **kwargs)

    def first(self, k):
        return self.order.take(range(k), self.axis)

    def at(self, kind, indices):
        return np.take_along_axis(self.exact[kind], indices, self.axis)


@functools.lru_cache(maxsize=1)
def problems(form, dtype):
    shape, axis = FORMS_FROM_TWO[form]
    rng = np.random.default_rng(7)
    batch = tuple(n for i, n in enumerate(shape) if i != axis % len(shape))
    classes = tuple(n if i == axis % len(shape) else 1 for i, n in enumerate(shape))
    tied = np.round(logits(shape, np.dtype(np.float64), seed=2)).astype(dtype)
    with_specials = [special(shape, dtype, seed) if dtype in STORED else tied for seed in (3, 4)]
    visible, low = rng.random(shape) < 0.7, tied.copy()
    np.moveaxis(visible, axis, -1)[(0,) * len(batch)] = False
    if dtype in STORED:  # the classes of one row are all hidden, those of another all -inf
        np.moveaxis(low, axis, -1)[(-1,) * len(batch)] = -np.inf
    given = [
        (logits(shape, dtype, seed=1), None, None),
        (low, visible, 0.7),
        (tied, rng.random(classes) < 0.5, rng.uniform(0.05, 4, batch)),
        (with_specials[0], None, None),
        (with_specials[1], rng.random(shape) < 0.5, rng.uniform(0.05, 4, batch)),
    ]
    if shape[axis] > 4096:
        given = given[::4] if dtype in FLOATS else given[4:]
    elif dtype not in FLOATS:
        given = given[::2]
    return [Problem(x, axis, where, t) for x, where, t in given]


# ---- against the reference -----------------------------------------------------------------------------------------


def check_argmax(p):
    assert_same_bits(p.call("argmax"), p.first(1).squeeze(p.axis))
    index, prob = p.call("argmax", return_probs=True)
    assert_same_bits(index, p.first(1).squeeze(p.axis))
    assert prob.dtype == p.result
    assert_close(prob, p.at("probs", p.first(1)).squeeze(p.axis), p.temperature)


def check_topk(p, kind):
    for k in p.ks:
        values, indices = p.call("topk", k, kind=kind)
        assert_same_bits(indices, p.first(k), f"k {k}")
        assert values.dtype == p.result
        if kind == "logits":  # x itself, exact in its own dtype
            assert reference.ulp_error(values, p.at(kind, indices)).max(initial=0) == 0
        else:
            assert_close(values, p.at(kind, indices), p.temperature, f"k {k}")
        loose = p.call("topk", k, kind=kind, sorted=False)
        by_index, loose_by_index = np.argsort(indices, p.axis), np.argsort(loose.indices, p.axis)
        for got, expected in ((loose.indices, indices), (loose.values, values)):
            got = np.take_along_axis(got, loose_by_index, p.axis)
            assert_same_bits(got, np.take_along_axis(expected, by_index, p.axis), f"k {k}, in any order")


def check_take_log_probs_and_rank(p):
    rng = np.random.default_rng(1)
    places = np.argsort(p.order, p.axis)
    several = rng.integers(p.n, size=[3 if i == p.axis % p.x.ndim else s for i, s in enumerate(p.x.shape)])
    got = p.call("take_log_probs", several)
    assert got.dtype == reference.row_dtype(p.x.dtype)
    assert_close(got, p.at("log_probs", several), p.temperature)
    assert_same_bits(p.call("rank", several), np.take_along_axis(places, several, p.axis))
    one = several.take(0, p.axis).astype(np.uint16)
    assert_close(p.call("take_log_probs", one), p.at("log_probs", several).take(0, p.axis), p.temperature)
    assert_same_bits(p.call("rank", one), np.take_along_axis(places, several, p.axis).take(0, p.axis))


def check_that_the_order_is_one(p):
    """argmax, topk and rank agree, without the reference."""
    every = p.call("topk", p.n).indices
    assert_same_bits(p.call("argmax"), every.take(0, p.axis))
    places = some_places(p.n)
    assert_same_bits(p.call("rank", every.take(places, p.axis)), counted(p.x, p.axis).take(places, p.axis))


def check_expectation(p):
    rng = np.random.default_rng(2)
    full = rng.standard_normal(p.x.shape)
    for values in (np.arange(p.n), rng.standard_normal(p.n), full.take([0], 0).astype(np.float32), full * 1000):
        got = p.call("expectation", values)
        assert got.dtype == reference.row_dtype(p.x.dtype)
        assert_close_mean(got, values, p.exact["probs"], p.axis)


def check_bits_of_softmax_and_log_softmax(p):
    """With the classes last."""
    x = np.ascontiguousarray(np.moveaxis(p.x, p.axis, -1))
    where = None if p.where is None else np.moveaxis(p.where, p.axis, -1)
    call = {"where": where, "temperature": p.temperature}
    all_values = {"probs": softlane.softmax(x, **call), "log_probs": softlane.log_softmax(x, **call)}
    index, prob = softlane.argmax(x, return_probs=True, **call)
    assert_same_bits(prob, np.take_along_axis(all_values["probs"], index[..., None], -1)[..., 0])
    for k, kind, ordered in itertools.product(p.ks[1:], all_values, (True, False)):
        values, indices = softlane.topk(x, k, kind=kind, sorted=ordered, **call)
        assert_same_bits(values, np.take_along_axis(all_values[kind], indices, -1), f"{k} {kind}")
    indices = np.random.default_rng(3).integers(p.n, size=(*x.shape[:-1], 4))
    wide = softlane.log_softmax(x, dtype=reference.row_dtype(x.dtype), **call)
    expected = np.take_along_axis(wide, indices, -1)
    assert_same_bits(softlane.take_log_probs(x, indices, **call), expected)
    assert_same_bits(softlane.take_log_probs(x, indices[..., 2], **call), expected[..., 2])


CHECKS = [
    check_argmax,
    *(functools.partial(check_topk, kind=kind) for kind in KINDS),
    check_take_log_probs_and_rank,
    check_that_the_order_is_one,
    check_expectation,
    check_bits_of_softmax_and_log_softmax,
]
IDS = ["argmax", *KINDS, "take_log_probs and rank", "one order", "expectation", "bits"]


@pytest.mark.parametrize("check", CHECKS, ids=IDS)  # varies faster than the problem, which is made once
@dtypes
@forms
def test_equals_the_reference(check, dtype, form):
    for problem in problems(form, dtype):
        check(problem)


# ---- long rows, many classes ---------------------------------------------------------------------------------------

ROWS = {
    "random": lambda n, rng: rng.standard_normal(n) * 4,
    "equal": lambda n, rng: np.full(n, 2.5),
    "zeros of both signs": lambda n, rng: np.where(rng.random(n) < 0.5, -0.0, 0.0),
    "ascending": lambda n, rng: np.linspace(-30, 30, n),
    "descending": lambda n, rng: np.linspace(30, -30, n),
    "two values": lambda n, rng: rng.integers(2, size=n) * 3.0,
    "eight values": lambda n, rng: rng.integers(8, size=n) / 4,
    "sawtooth": lambda n, rng: np.arange(n) % 97 / 8,
    "close together": lambda n, rng: 1 + rng.integers(50, size=n) * 2.0**-20,
    "far apart": lambda n, rng: rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-4, 4, n),
    "few above -inf": lambda n, rng: np.where(rng.random(n) < 3 / n, rng.standard_normal(n), -np.inf),
    "few NaN": lambda n, rng: np.where(rng.random(n) < 3 / n, np.nan, rng.standard_normal(n)),
    "one far above": lambda n, rng: np.where(np.arange(n) == n // 2, 6e4, rng.standard_normal(n) / 1000),
    "some infinite": lambda n, rng: np.where(rng.random(n) < 3 / n, np.inf, rng.standard_normal(n)),
    "the largest last": lambda n, rng: np.where(np.arange(n) < n - 3, -5.0, np.arange(n) - n),
}


@functools.lru_cache(maxsize=1)
def row_and_masks(make, dtype, n):
    """A row, and masks with the order and the logits that these leave."""
    rng = np.random.default_rng([list(ROWS).index(make), n])
    x = ROWS[make](n, rng)
    x = np.where(np.isfinite(x), np.clip(x, -60000, 60000), x).astype(dtype)
    masks = [None, rng.random(n) < 0.5, rng.random(n) < 3 / n]
    return x, [(m, ref.the_order(x, -1, m), ref.exact_values("logits", x, -1, m)) for m in masks]


@floats
@pytest.mark.parametrize("n", [1, 17, 33, 100, 1000, 4097, 20011])
@pytest.mark.parametrize("make", ROWS)
def test_topk_of_one_row(make, n, dtype):
    x, masks = row_and_masks(make, dtype, n)
    for where, order, exact in masks:
        for k in sorted({min(k, n) for k in (1, 5, 17, 60, 97, 700, 3000, n)}):
            values, indices = softlane.topk(x, k, kind="logits", where=where)
            assert_same_bits(indices, order[:k], f"{k} of {n}")
            np.testing.assert_array_equal(values.astype(np.longdouble), exact[indices])
            values, indices = softlane.topk(x, k, kind="logits", sorted=False, where=where)
            assert_same_bits(np.sort(indices), np.sort(order[:k]), f"{k} of {n}, in any order")
            np.testing.assert_array_equal(values.astype(np.longdouble), exact[indices])
        assert softlane.argmax(x, where=where) == order[0]
        places = some_places(n)
        assert_same_bits(softlane.rank(x, order[places], where=where), places)


@pytest.mark.any_isa
@floats
def test_thousands_of_a_batch_of_long_rows(dtype):
    x = random((3, 9001), dtype, seed=8)
    x[1] = np.round(x[1])
    for axis, a in ((1, x), (0, np.ascontiguousarray(x.T))):
        for k in (2047, 5000, 9001):
            values, indices = softlane.topk(a, k, axis, kind="log_probs")
            expected = ref.the_order(a, axis).take(range(k), axis)
            assert_same_bits(indices, expected)
            assert_close(values, np.take_along_axis(ref.exact_values("log_probs", a, axis), expected, axis))


@pytest.mark.any_isa
@pytest.mark.parametrize(
    "dtype", [np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.uint16)], ids=str
)
def test_every_value_of_a_small_integer_in_its_place(dtype):
    limits = np.iinfo(dtype)
    x = np.random.default_rng(1).permutation(np.arange(limits.min, limits.max + 1)).astype(dtype)
    values, indices = softlane.topk(x, x.size, kind="logits")
    assert_same_bits(values, np.arange(limits.max, limits.min - 1, -1).astype(np.float32))
    assert_same_bits(x[indices].astype(np.float32), values)


@pytest.mark.any_isa
def test_every_16_bit_float_in_its_place():
    for dtype in (np.dtype(np.float16), reference.BFLOAT16):
        x = np.random.default_rng(2).permutation(np.arange(1 << 16).astype(np.uint16)).view(dtype)
        x = x[~np.isnan(x.astype(np.float32))]
        values, indices = softlane.topk(x, x.size, kind="logits")
        assert_same_bits(indices, ref.the_order(x))
        assert_same_bits(values, x[indices])


# ---- by hand -------------------------------------------------------------------------------------------------------

NAN, INF = np.nan, np.inf
BY_HAND = [  # a row, what is visible of it, the order
    ([1, 3, 2], None, [1, 2, 0]),
    ([2, 2, 1, 2], None, [0, 1, 3, 2]),
    ([-0.0, 0.0, -0.0], None, [0, 1, 2]),
    ([0.0, -0.0, 1], None, [2, 0, 1]),
    ([NAN, 5, 1], None, [0, 1, 2]),
    ([5, NAN, INF], None, [1, 2, 0]),
    ([5, 1, NAN, 7, NAN], None, [2, 4, 3, 0, 1]),
    ([1, INF, 2, INF], None, [1, 3, 2, 0]),
    ([-INF, 1, -INF], None, [1, 0, 2]),
    ([-INF, -INF, -INF], None, [0, 1, 2]),
    ([-INF, NAN], None, [1, 0]),
    ([9, 1, 2], [False, True, True], [2, 1, 0]),
    ([9, 1, 8, 2], [0, 1, 0, 1], [3, 1, 0, 2]),
    ([9, -INF, 8], [0, 1, 0], [1, 0, 2]),
    ([NAN, 1, 2], [0, 1, 1], [2, 1, 0]),
    ([NAN, 1, NAN, 2], [0, 1, 1, 1], [2, 3, 1, 0]),
    ([1, INF, 0], [1, 0, 1], [0, 2, 1]),
    ([1, 3, 2], [0, 0, 0], [0, 1, 2]),
    ([1, NAN, INF], [0, 0, 0], [0, 1, 2]),
    ([7], None, [0]),
    ([7], [0], [0]),
]


@pytest.mark.any_isa
@stored
@pytest.mark.parametrize(("row", "visible", "order"), BY_HAND)
def test_the_order_by_hand(row, visible, order, dtype):
    x = np.array(row).astype(dtype)
    where = None if visible is None else np.array(visible, bool)
    n = len(row)
    assert ref.the_order(x, -1, where).tolist() == order
    assert softlane.argmax(x, where=where) == order[0]
    assert softlane.topk(x, n, where=where).indices.tolist() == order
    assert sorted(softlane.topk(x, n, where=where, sorted=False).indices.tolist()) == list(range(n))
    assert softlane.rank(x, order, where=where).tolist() == list(range(n))
    for place, index in enumerate(order):
        assert softlane.rank(x, index, where=where) == place
        assert softlane.topk(x, place + 1, where=where).indices.tolist() == order[: place + 1]
    for inner in (3, 40):  # the same in columns, between others
        wide = np.zeros((n, inner), dtype)
        wide[:, inner // 2] = x
        seen = np.ones((n, inner), bool)
        seen[:, inner // 2] = True if where is None else where
        assert softlane.topk(wide, n, 0, where=seen).indices[:, inner // 2].tolist() == order
        assert softlane.argmax(wide, 0, where=seen)[inner // 2] == order[0]


@pytest.mark.any_isa
@stored
def test_values_by_hand(dtype):
    one = dtype.type
    x = np.array([[2, 0, NAN, 1], [2, 0, INF, 1], [-INF, -INF, -INF, -INF], [5, -INF, -INF, -INF]]).astype(dtype)
    top = {kind: softlane.topk(x, 3, kind=kind) for kind in KINDS}
    assert all_nan(top["probs"].values[:3]) and all_nan(top["log_probs"].values[:3])
    assert all_nan(top["logits"].values[0])
    assert top["logits"].values[1:].tolist() == [[INF, 2, 1], [-INF] * 3, [5, -INF, -INF]]
    assert top["probs"].values[3].tolist() == [1, 0, 0]
    assert top["log_probs"].values[3].tolist() == [0, -INF, -INF]
    hidden = np.array([True, False, True, False])
    top = {kind: softlane.topk(x, 4, kind=kind, where=hidden) for kind in KINDS}
    for kind, empty in (("probs", 0), ("log_probs", -INF), ("logits", -INF)):
        assert (top[kind].values[:, 2:] == empty).all()  # hidden ones stay so in rows of NaN
        assert all_nan(top[kind].values[0, :2])
        assert top[kind].indices.tolist() == [[2, 0, 1, 3], [2, 0, 1, 3], [0, 2, 1, 3], [0, 2, 1, 3]]
    assert top["logits"].values[1:, :2].tolist() == [[INF, 2], [-INF, -INF], [5, -INF]]
    assert all_nan(top["probs"].values[1:3, :2])
    nothing = np.zeros(4, bool)
    for kind, empty in (("probs", 0), ("log_probs", -INF), ("logits", -INF)):
        values, indices = softlane.topk(x, 2, kind=kind, where=nothing)
        assert (values == one(empty)).all() and (indices == [0, 1]).all()
    index, prob = softlane.argmax(x, return_probs=True, where=nothing)
    assert not index.any() and (prob == 0).all()
    index, prob = softlane.argmax(x, return_probs=True)
    assert index.tolist() == [2, 2, 0, 0] and all_nan(prob[:3]) and prob[3] == 1
    assert (softlane.take_log_probs(x, [0, 1, 2, 3], where=nothing) == -INF).all()
    got = softlane.take_log_probs(x, np.tile([0, 1], (4, 1)), where=hidden)
    assert all_nan(got[:3, 0]) and (got[:, 1] == -INF).all() and got[3, 0] == 0
    got = softlane.expectation(x, [1, 2, 3, 4])
    assert all_nan(got[:3]) and got[3] == 1
    assert (softlane.expectation(x, [1, 2, 3, 4], where=nothing) == 0).all()
    got = softlane.expectation(np.zeros(4, dtype), [1, 2, 3, 4])
    assert got == 2.5 and type(got) is reference.row_dtype(dtype).type


@pytest.mark.any_isa
@stored
@forms
def test_a_nan_anywhere(form, dtype):
    """The first, the middle and the last class of one row, visible and hidden."""
    shape, axis = FORMS_FROM_TWO[form]
    n = shape[axis]
    clean = random(shape, dtype, seed=6)
    row = (0,) * (clean.ndim - 2) + (1,)
    order = np.moveaxis(ref.the_order(clean, axis), axis, -1)[row]
    for i in positions(n):
        x = clean.copy()
        np.moveaxis(x, axis, -1)[(*row, i)] = np.nan
        k = min(3, n)
        top = softlane.topk(x, k, axis)
        indices = np.moveaxis(top.indices, axis, -1)[row]
        assert indices.tolist() == [i, *[c for c in order if c != i]][:k]
        assert all_nan(np.moveaxis(top.values, axis, -1)[row])
        index, prob = softlane.argmax(x, axis, return_probs=True)
        assert index[row] == i and all_nan(prob[row])
        where = np.ones(shape, bool)
        np.moveaxis(where, axis, -1)[(*row, i)] = False
        top = softlane.topk(x, n, axis, where=where)
        indices, values = (np.moveaxis(a, axis, -1)[row] for a in (top.indices, top.values))
        assert indices.tolist() == [*[c for c in order if c != i], i]
        assert (values.astype(np.float32) >= 0).all() and values[-1] == 0
        finite = softlane.expectation(x, np.arange(n), axis, where=where)
        assert np.isfinite(finite.astype(np.float32)).all()
        assert all_nan(softlane.expectation(x, np.arange(n), axis)[row])


@pytest.mark.any_isa
def test_nan_of_any_sign_and_payload():
    for dtype, patterns in (
        (np.float32, [0xFFC00000, 0x7FA00000, 0x7FFFFFFF]),
        (np.float64, [0xFFF8 << 48, 0x7FF4 << 48]),
    ):
        for n, pattern in itertools.product((5, 40, 9001), patterns):
            x = np.full(n, np.inf, dtype)
            x.view(f"u{x.itemsize}")[n - 2] = pattern
            assert softlane.argmax(x) == n - 2
            values, indices = softlane.topk(x, 2, kind="logits")
            assert indices.tolist() == [n - 2, 0] and all_nan(values)
            assert softlane.rank(x, n - 2) == 0 and softlane.rank(x, 0) == 1


# ---- temperature ---------------------------------------------------------------------------------------------------


@pytest.mark.any_isa
@floats
@pytest.mark.parametrize("t", [1e-300, 1e-30, 1e-3, 0.5, 1e30, 1e300])
def test_a_temperature_never_changes_an_order(dtype, t):
    x = random((7, 40), dtype, seed=4)
    order = ref.the_order(x)
    for temperature in (t, np.full(7, t), np.full((7, 1), t)):
        assert_same_bits(softlane.argmax(x, temperature=temperature), order[:, 0])
        values, indices = softlane.topk(x, 9, kind="logits", temperature=temperature)
        assert_same_bits(indices, order[:, :9])
        assert_same_bits(values, np.take_along_axis(x, order[:, :9], -1), "logits are not divided")
        values, indices = softlane.topk(x, 9, temperature=temperature)
        expected = np.take_along_axis(softlane.softmax(x, temperature=temperature), order[:, :9], -1)
        assert_same_bits(values, expected)
        assert_same_bits(indices, order[:, :9])


@pytest.mark.any_isa
def test_a_temperature_for_each_row():
    x = np.array([[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    t = np.array([1.0, 2.0, 4.0])
    exact = 1 / (1 + np.exp(-2 / t))
    for temperature in (t, t[:, None]):
        np.testing.assert_allclose(softlane.argmax(x, temperature=temperature, return_probs=True)[1], exact, rtol=1e-15)
        got = softlane.take_log_probs(x, [1, 1, 1], temperature=temperature)
        np.testing.assert_allclose(got, np.log(exact), rtol=1e-14)
        np.testing.assert_allclose(softlane.expectation(x, [0, 1], temperature=temperature), exact, rtol=1e-15)
        got = softlane.topk(x, 1, temperature=temperature).values[:, 0]
        np.testing.assert_allclose(got, exact, rtol=1e-15)


# ---- indices -------------------------------------------------------------------------------------------------------


@pytest.mark.any_isa
@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4"]
)
def test_indices_of_every_integer_dtype_and_layout(dtype):
    x = random((6, 11), np.float64, seed=2)
    indices = np.random.default_rng(3).integers(11, size=(6, 4))
    exact, places = ref.exact_take_log_probs(x, indices), ref.rank(x, indices)
    given = indices.astype(dtype)
    for view in (given, np.asfortranarray(given), np.repeat(given, 2, 1)[:, ::2], given[:, ::-1].copy()[:, ::-1]):
        assert_close(softlane.take_log_probs(x, view), exact)
        assert_same_bits(softlane.rank(x, view), places)
    for view in (given[:, 1], given[:, 1].copy()):
        assert_close(softlane.take_log_probs(x, view), exact[:, 1])
        assert_same_bits(softlane.rank(x, view), places[:, 1])
    assert_same_bits(softlane.rank(x, given.tolist()), places)


@pytest.mark.any_isa
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shapes_of_indices(axis):
    x = random((4, 5, 6), np.float32, seed=9)
    rng = np.random.default_rng(4)
    n = x.shape[axis]
    for length in (0, 1, 3, n, 40):
        shape = tuple(length if i == axis else s for i, s in enumerate(x.shape))
        for batch in ([], [(axis + 1) % 3], [(axis + 1) % 3, (axis + 2) % 3]):  # of length 1: broadcast
            indices = rng.integers(n, size=tuple(1 if i in batch else s for i, s in enumerate(shape)))
            got = softlane.take_log_probs(x, indices, axis)
            assert got.shape == shape
            assert_close(got, ref.exact_take_log_probs(x, indices, axis))
            assert_same_bits(softlane.rank(x, indices, axis), ref.rank(x, indices, axis))
    batch = tuple(s for i, s in enumerate(x.shape) if i != axis)
    for shape in (batch, (1, batch[1]), (batch[0], 1), (1, 1)):
        indices = rng.integers(n, size=shape)
        full = np.broadcast_to(indices, batch)
        got = softlane.take_log_probs(x, indices, axis)
        assert got.shape == batch
        assert_close(got, ref.exact_take_log_probs(x, full, axis))
        assert_same_bits(softlane.rank(x, indices, axis), ref.rank(x, full, axis))
    one = x.take([0], (axis + 1) % 3)  # and x along indices, as np.take_along_axis does
    indices = rng.integers(n, size=tuple(2 if i == axis else s for i, s in enumerate(x.shape)))
    assert_close(softlane.take_log_probs(one, indices, axis), ref.exact_take_log_probs(one, indices, axis))
    assert_same_bits(softlane.rank(one, indices, axis), ref.rank(one, indices, axis))


# ---- shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.any_isa
def test_a_scalar_is_one_class():
    for x, dtype in ((np.float32(3), np.float32), (np.array(3.0), np.float64), (2.5, np.float64), (True, np.float32)):
        index = softlane.argmax(x)
        assert type(index) is np.int64 and index == 0
        index, prob = softlane.argmax(x, return_probs=True)
        assert type(index) is np.int64 and type(prob) is dtype and (index, prob) == (0, 1)
        log_p, place = softlane.take_log_probs(x, 0), softlane.rank(x, 0)
        assert type(log_p) is dtype and log_p == 0 and type(place) is np.int64 and place == 0
        mean = softlane.expectation(x, 4)
        assert type(mean) is dtype and mean == 4
        index = softlane.sample(x, rng=1)
        assert type(index) is np.int64 and index == 0
        values, indices = softlane.topk(x, 1, kind="logits")
        assert np.ravel(values) == [x] and np.ravel(indices) == [0]
    assert softlane.topk(3.0, 0).indices.size == 0


@pytest.mark.any_isa
def test_topk_is_a_named_tuple():
    top = softlane.topk(random((3, 5), np.float32), 2)
    assert isinstance(top, tuple) and top._fields == ("values", "indices")
    values, indices = top
    assert values is top.values and indices is top.indices
    assert values.shape == indices.shape == (3, 2) and indices.dtype == np.int64
    for a in top:
        assert a.flags.writeable and type(a) is np.ndarray


@pytest.mark.any_isa
@stored
def test_no_classes(dtype):
    for shape, axis in (((0,), 0), ((3, 0), 1), ((0, 3), 0), ((2, 0, 5), 1)):
        x = np.empty(shape, dtype)
        batch = tuple(n for i, n in enumerate(shape) if i != axis)
        with pytest.raises(ValueError, match=r"argmax.* needs at least one class"):
            softlane.argmax(x, axis)
        with pytest.raises(ValueError, match=r"sample.* needs at least one class"):
            softlane.sample(x, axis=axis, rng=1)
        top = softlane.topk(x, 0, axis)
        assert top.values.shape == top.indices.shape == shape
        with pytest.raises(ValueError, match=r"topk.* 1\b.* 0\b"):
            softlane.topk(x, 1, axis)
        none = np.zeros(shape, np.int64)
        assert softlane.take_log_probs(x, none, axis).shape == softlane.rank(x, none, axis).shape == shape
        got = softlane.expectation(x, np.zeros(0), axis)
        assert np.shape(got) == batch and got.dtype == reference.row_dtype(dtype) and not np.any(got)


@pytest.mark.any_isa
def test_lists_and_other_sequences():
    assert softlane.argmax([1, 3, 2]) == 1
    assert softlane.argmax(((1, 3), (4, 2)), 0).tolist() == [1, 0]
    assert softlane.topk(range(5), 2, kind="logits").values.tolist() == [4, 3]
    assert softlane.rank([1.0, 3.0, 2.0], [0, 1, 2]).tolist() == [2, 0, 1]
    assert softlane.take_log_probs([[0.0, 0.0]], [1]).tolist() == [-0.6931471805599453]
    assert softlane.expectation([0, 0], [1, 2]) == 1.5


# ---- expectation ---------------------------------------------------------------------------------------------------


@pytest.mark.any_isa
@pytest.mark.parametrize(
    "dtype", [np.bool_, np.int8, np.uint64, np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
)
def test_values_of_every_real_dtype(dtype):
    x = random((9, 33), np.float64, seed=3)
    values = np.random.default_rng(5).integers(2, size=(9, 33)).astype(dtype)
    for v in (values, np.asfortranarray(values), values[:, ::-1].copy()[:, ::-1], values[0], values[:1]):
        assert_close_expectation(softlane.expectation(x, v), x, v)
    assert_close_expectation(softlane.expectation(x, values[:, :1].repeat(33, 1)), x, values[:, :1])
    assert_close_expectation(softlane.expectation(x, values[:, :1]), x, values[:, :1])
    assert_close_expectation(softlane.expectation(x.T, values[0], 0), x.T, values[0], 0)


@pytest.mark.any_isa
@floats
@forms
def test_values_that_cancel_and_values_of_any_size(form, dtype):
    shape, axis = FORMS_FROM_TWO[form]
    rng = np.random.default_rng(6)
    x = random(shape, dtype, seed=4, spread=1)
    for scale in (1e-30, 1.0, 1e30):
        values = rng.choice([-1, 1], shape) * 10.0 ** rng.uniform(-6, 6, shape) * scale
        values = values.astype(dtype)
        assert_close_expectation(softlane.expectation(x, values, axis), x, values, axis)
    equal = np.zeros(shape, dtype)
    values = np.resize([1e6, -1e6], shape[axis]).astype(dtype)
    assert_close_expectation(softlane.expectation(equal, values, axis), equal, values, axis)


@pytest.mark.any_isa
@floats
def test_the_expectation_of_millions_of_classes(dtype):
    """A sum in one accumulator would be off by far more than 4 eps."""
    x = np.zeros(1 << 21, dtype)
    assert abs(softlane.expectation(x, np.ones(1 << 21)) - 1) <= 4 * eps(dtype)
    mean = ((1 << 21) - 1) / 2
    assert abs(float(softlane.expectation(x, np.arange(1 << 21))) - mean) <= 4 * eps(dtype) * mean
    for shape in ((4096,), (9001,), (4096, 20), (1 << 21,)):  # and equal terms, which are all rounded the same way
        got = np.asarray(softlane.expectation(np.zeros(shape, dtype), np.full(shape[0], 0.1), 0), np.float64)
        assert (np.abs(got - np.float64(dtype.type(0.1))) <= 4 * eps(dtype) * 0.1).all(), shape


@pytest.mark.any_isa
def test_out_may_overlap_what_is_read():
    x = random((30, 40), np.float64, seed=2)
    values, t = np.linspace(-1, 1, 40), np.linspace(0.5, 2, 30)
    expected = softlane.expectation(x, values, temperature=t)
    for out_of in (
        lambda y, v, s: y[:, 3],
        lambda y, v, s: y.reshape(-1)[:30],
        lambda y, v, s: v[:30],
        lambda y, v, s: s,
    ):
        y, v, s = x.copy(), values.copy(), t.copy()
        out = out_of(y, v, s)
        assert softlane.expectation(y, v, temperature=s, out=out) is out
        assert_same_bits(np.ascontiguousarray(out), expected)


# ---- properties ----------------------------------------------------------------------------------------------------


@st.composite
def masked(draw, **kwargs):
    """An array in some layout, an axis, and in two of three examples a mask."""
    x, axis = draw(arrays(**kwargs))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    visible = draw(st.sampled_from([None, 0.2, 0.8]))
    return x, axis, None if visible is None else rng.random(x.shape) < visible


@pytest.mark.any_isa
@hypothesis.given(masked(special=True), st.floats(0, 1))
@fixed
def test_order_and_values_of_any_array(problem, part):
    x, axis, where = problem
    before = x.copy()
    n = x.shape[axis]
    k = round(part * n)
    order = ref.the_order(x, axis, where)
    for kind in KINDS:
        top = softlane.topk(x, k, axis, kind=kind, where=where)
        assert_same_bits(top.indices, order.take(range(k), axis))
        exact = np.take_along_axis(ref.exact_values(kind, x, axis, where), top.indices, axis)
        assert_close(top.values, exact)
        loose = softlane.topk(x, k, axis, kind=kind, where=where, sorted=False)
        assert_same_bits(np.sort(loose.indices, axis), np.sort(top.indices, axis))
        assert_close(loose.values, np.take_along_axis(ref.exact_values(kind, x, axis, where), loose.indices, axis))
    assert_same_bits(softlane.argmax(x, axis, where=where), order.take(0, axis))
    assert_same_bits(softlane.rank(x, order, axis, where=where), counted(x, axis))
    assert_same_bits(x, before, "the input was changed")


@pytest.mark.any_isa
@hypothesis.given(masked(dtypes=FLOATS, limit=2.0**60), st.integers(0, 999))
@fixed
def test_expectation_of_any_array(problem, seed):
    x, axis, where = problem
    rng = np.random.default_rng(seed)
    for values in (rng.standard_normal(x.shape[axis]), rng.integers(-9, 9, x.shape)):
        got = softlane.expectation(x, values, axis, where=where)
        assert_close_expectation(got, x, values, axis, where)
        low, high = values.min(), values.max()
        slack = 4 * eps(x.dtype) * max(abs(low), abs(high))
        if where is None:
            assert ((got >= low - slack) & (got <= high + slack)).all()


@pytest.mark.any_isa
@hypothesis.given(arrays(dtypes=FLOATS), st.integers(0, 999))
@fixed
def test_permuting_classes_without_ties_permutes_the_order(array, seed):
    x, axis = array
    n = x.shape[axis]
    rng = np.random.default_rng(seed)
    x = np.argsort(rng.random(x.shape), axis).astype(x.dtype)  # all different
    moved = rng.permutation(n)
    a, b = (softlane.topk(v, n, axis, kind="logits") for v in (x, np.take(x, moved, axis)))
    assert_same_bits(moved[b.indices], a.indices)
    assert_same_bits(b.values, a.values)


@pytest.mark.any_isa
@hypothesis.given(masked(special=True))
@fixed
def test_log_probs_and_ranks_of_all_classes(problem):
    x, axis, where = problem
    every = counted(x, axis)
    places = softlane.rank(x, every, axis, where=where)
    assert_same_bits(places, np.argsort(ref.the_order(x, axis, where), axis))
    log_p = softlane.take_log_probs(x, every, axis, where=where)
    assert_close(log_p, ref.exact_values("log_probs", x, axis, where))


# ---- options of single functions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8], ids=lambda d: np.dtype(d).name)
def test_the_smallest_classes(dtype):
    """As the largest of -x, in order and among equals; values are those of x."""
    x = np.random.default_rng(6).integers(0, 60, (5, 7, 300)).astype(dtype)
    hidden = np.random.default_rng(7).random(x.shape) < 0.8
    for axis, where in itertools.product((0, 1, 2), (None, hidden)):
        for k in {1, 3, x.shape[axis]}:
            values, indices = softlane.topk(x, k, axis, largest=False, where=where)
            expected = ref.the_order(-x.astype(np.float64), axis, where).take(range(k), axis)
            np.testing.assert_array_equal(indices, expected)
            probs = softlane.softmax(
                np.moveaxis(x, axis, -1), where=None if where is None else np.moveaxis(where, axis, -1)
            )
            np.testing.assert_allclose(
                values, np.take_along_axis(np.moveaxis(probs, -1, axis), indices, axis), rtol=1e-2
            )
            logits = softlane.topk(x, k, axis, kind="logits", largest=False, where=where).values
            shown = np.take_along_axis(x, indices, axis).astype(logits.dtype)
            visible = True if where is None else np.take_along_axis(where, indices, axis)
            np.testing.assert_array_equal(logits, np.where(visible, shown, -np.inf))
            loose = softlane.topk(x, k, axis, largest=False, sorted=False, where=where).indices
            np.testing.assert_array_equal(np.sort(loose, axis), np.sort(indices, axis))
    x = np.array([1.0, np.nan, -np.inf, np.inf])
    assert softlane.topk(x, 4, largest=False).indices.tolist() == [1, 2, 0, 3]


def test_argmax_of_all_elements_and_with_dimensions_kept():
    x = np.random.default_rng(8).standard_normal((3, 4, 5)).astype(np.float32)
    index, prob = softlane.argmax(x, None, return_probs=True)
    assert index == x.argmax() and type(index) is np.int64
    assert_same_bits(prob, softlane.softmax(x.ravel()).max())
    index, prob = softlane.argmax(x, None, return_probs=True, keepdims=True)
    assert index.shape == prob.shape == (1, 1, 1) and index == x.argmax()
    visible = x < 1
    assert softlane.argmax(x, None, where=visible) == np.where(visible, x, -np.inf).argmax()
    assert softlane.argmax(x, None, where=visible[:, :1]) == np.where(visible[:, :1], x, -np.inf).argmax()
    for axis in range(3):
        index, prob = softlane.argmax(x, axis, return_probs=True, keepdims=True)
        np.testing.assert_array_equal(index, x.argmax(axis, keepdims=True))
        assert_same_bits(prob.squeeze(axis), softlane.argmax(x, axis, return_probs=True)[1])
        np.testing.assert_array_equal(softlane.argmax(x, axis, keepdims=True), index)
    assert softlane.argmax(np.float32(3), None) == softlane.argmax(np.float32(3), keepdims=True) == 0


def test_indices_that_stand_for_no_class():
    x = np.random.default_rng(9).standard_normal((4, 6, 10))
    for ignore in (-100, -1, 10, 3):
        indices = np.random.default_rng(10).integers(10, size=(4, 6))
        padded = np.where(np.random.default_rng(11).random((4, 6)) < 0.4, ignore, indices)
        kept = padded != ignore
        log_probs = softlane.take_log_probs(x, padded, ignore_index=ignore)
        np.testing.assert_array_equal(log_probs, np.where(kept, softlane.take_log_probs(x, indices), 0))
        ranks = softlane.rank(x, padded, ignore_index=ignore)
        np.testing.assert_array_equal(ranks, np.where(kept, softlane.rank(x, indices), -1))
        losses = softlane.cross_entropy(x, padded, ignore_index=ignore, reduction="none")
        np.testing.assert_allclose(losses, -log_probs)
    several = np.array([[0, -1, 2]])
    got = softlane.take_log_probs(x[0], np.tile(several, (6, 1)), ignore_index=-1)
    assert (got[:, 1] == 0).all() and (got[:, [0, 2]] < 0).all()
    with pytest.raises(IndexError, match=r"indices\[1\] = -2 is outside \[0, 10\)"):
        softlane.take_log_probs(x[0, :2], [-1, -2], ignore_index=-1)
    assert not softlane.take_log_probs(x[0], np.full(6, -1), ignore_index=-1).any()


# ---- dtypes of indices -----------------------------------------------------------------------------------------------

INTEGERS = [np.dtype(kind + size) for kind in "iu" for size in "1248"]


@pytest.mark.any_isa
@pytest.mark.parametrize("integer", INTEGERS, ids=str)
@pytest.mark.parametrize(("shape", "axis"), [((50, 7), 1), ((3, 100, 300), 1), ((4, 128), 1), ((2, 5000), 1), ((), -1)])
def test_indices_of_any_integer_dtype(integer, shape, axis):
    """The numbers of int64, or an error where these do not fit."""
    x = special(shape, np.dtype(np.float32), seed=3) if shape else np.float32(3)
    n = shape[axis] if shape else 1
    hidden = np.random.default_rng(1).random(shape) < 0.9
    first = softlane.topk(x, 1, axis).indices
    calls = [
        lambda **k: softlane.argmax(x, axis, **k),
        lambda **k: softlane.argmax(x, axis, return_probs=True, where=hidden, keepdims=True, **k),
        lambda **k: softlane.argmax(x, axis, return_probs=True, temperature=1e30, **k),
        lambda **k: softlane.topk(x, min(n, 5), axis, **k),
        lambda **k: softlane.topk(x, n, axis, kind="logits", where=hidden, **k),
        lambda **k: softlane.topk(x, min(n, 5), axis, largest=False, kind="log_probs", **k),
        lambda **k: softlane.topk(x, min(n, 2), axis, temperature=1e-30, **k),
        lambda **k: softlane.rank(x, first, axis, **k),
        lambda **k: softlane.sample(x, axis=axis, rng=1, return_log_probs=True, **k),
        lambda **k: softlane.sample(x, axis=axis, rng=1, size=4, where=hidden, return_log_probs=True, **k),
    ]
    for call in calls:
        if np.iinfo(integer).max < n - 1:
            with pytest.raises(
                ValueError, match=f"index_dtype is {integer}, which does not hold the last of {n} classes"
            ):
                call(index_dtype=integer)
            continue
        expected, got = call(), call(index_dtype=integer)
        pairs = zip(expected, got, strict=True) if isinstance(expected, tuple) else [(expected, got)]
        for a, b in pairs:
            if a.dtype == np.int64:
                assert b.dtype == integer and b.shape == a.shape
                np.testing.assert_array_equal(a, b)
            else:
                assert_same_bits(a, b)


@pytest.mark.any_isa
def test_the_last_class_that_a_dtype_holds():
    for integer, n in ((np.int8, 128), (np.uint8, 256), (np.int16, 32768), (np.uint16, 65536)):
        x = np.arange(n, dtype=np.float32)
        for each in (x, np.stack([x, x]), np.stack([x, x], 1)):
            axis = 0 if len(each) == n else 1
            index = softlane.argmax(each, axis, index_dtype=integer)
            assert index.dtype == integer and (index == n - 1).all()
        assert softlane.topk(x, n, index_dtype=integer).indices.tolist() == list(range(n))[::-1]
        assert softlane.rank(x, 0, index_dtype=integer) == n - 1
        assert (softlane.sample(100 * x, size=3, rng=0, index_dtype=integer) == n - 1).all()
        with pytest.raises(ValueError, match=f"does not hold the last of {n + 1} classes"):
            softlane.argmax(np.zeros(n + 1), index_dtype=integer)


@pytest.mark.any_isa
def test_wrong_dtypes_of_indices():
    x = np.zeros((2, 3))
    other = np.dtype(np.int32).newbyteorder()
    calls = {
        "argmax": softlane.argmax,
        "topk": lambda x, **k: softlane.topk(x, 1, **k),
        "rank": lambda x, **k: softlane.rank(x, [0, 0], **k),
        "sample": softlane.sample,
    }
    for name, call in calls.items():
        for wrong in (np.float32, bool, "no dtype", object, other, "m8[s]"):
            with pytest.raises(TypeError, match=f"{name}: index_dtype is .*, expected a native integer dtype"):
                call(x, index_dtype=wrong)
        assert np.asarray(call(x, index_dtype=None)[-1]).dtype == np.int64
    assert softlane.rank(x, [-1, 2], ignore_index=-1, index_dtype=np.int8).tolist() == [-1, 2]
    with pytest.raises(ValueError, match="rank: index_dtype is uint8, which does not hold -1"):
        softlane.rank(x, [0, 2], ignore_index=-1, index_dtype=np.uint8)


@pytest.mark.any_isa
def test_probabilities_under_the_full_softmax():
    """The best class but the background, as the documentation says; `where` renormalises."""
    x = np.random.default_rng(2).standard_normal((5, 6))
    best = softlane.argmax(x[..., :-1])
    assert_same_bits(best, x[..., :-1].argmax(-1))
    p = softlane.softmax(x)[np.arange(5), best]
    np.testing.assert_allclose(np.exp(softlane.take_log_probs(x, best)), p, rtol=1e-15)
    _, among = softlane.argmax(x, return_probs=True, where=np.arange(6) < 5)
    np.testing.assert_allclose(among, p / (1 - softlane.softmax(x)[:, 5]), rtol=1e-14)
