"""sample: against its reference, against Generator.choice, frequencies, special rows, arguments."""

import functools
import itertools

import numpy as np
import pytest
import reference
import reference_selection as ref
from arrays import DTYPES, logits, special
from cases import FLOATS, FORMS, STORED, all_nan, assert_same_bits, random
from loss_cases import eps
from ops import Draws

import softlane

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
floats = pytest.mark.parametrize("dtype", FLOATS, ids=str)
stored = pytest.mark.parametrize("dtype", STORED, ids=str)
forms = pytest.mark.parametrize("form", FORMS)

FILTERS = [
    {},
    {"temperature": 0.6},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 10**6},
    {"top_p": 0.3},
    {"top_p": 0.9},
    {"top_p": 0.9999},
    {"min_p": 0.05},
    {"min_p": 0.9},
    {"top_k": 7, "top_p": 0.8},
    {"top_k": 1000, "top_p": 0.95, "temperature": 2.5},
    {"top_k": 9, "min_p": 0.1},
    {"top_p": 0.9, "min_p": 0.02},
    {"top_k": 30, "top_p": 0.85, "min_p": 0.01, "temperature": 1.7},
    {"top_k": 3, "top_p": 1, "min_p": 0},
]
LOG_PROB = 4  # eps of a log-probability, or of 1 where that is more
DOUBT = 1e-6  # of a cumulative probability: a kernel may round it on either side


def batch_of(x, axis):
    return tuple(n for i, n in enumerate(x.shape) if i != axis % x.ndim)


def uniform(seed, batch):
    return np.random.default_rng(seed).random(batch)


class Problem:
    """Rows, options, and the distributions that they leave, also where a cut falls DOUBT higher or lower."""

    def __init__(self, x, axis, options):
        self.x, self.axis, self.options = x, axis, options
        self.order = ref.the_order(x, axis, options.get("where"))
        self.exact = ref.kept(x, axis, **options)
        near = [
            [(name, options[name] * (1 + d)) for d in (-DOUBT, DOUBT)] for name in ("top_p", "min_p") if name in options
        ]
        self.known = {}
        self.near = [self.exact]
        for changed in itertools.product(*near) if near else []:
            limits = {name: np.where(options[name] == 1, 1, np.minimum(value, 1)) for name, value in changed}
            self.near.append(ref.kept(x, axis, **{**options, **limits}))

    def sampled(self, u):
        """What the reference samples, and where that does not hang on the last digits."""
        index_of = functools.partial(ref.sampled_index, axis=self.axis, order=self.order)
        index = index_of(self.exact, u)
        others = [index_of(p, np.clip(u + d, 0, 1 - 1e-15)) for p in self.near for d in (-DOUBT, DOUBT)]
        return index, np.all([other == index for other in others], axis=0)

    def of_seed(self, seed):
        """The same for the numbers of a seed, kept for the other paths."""
        if seed not in self.known:
            self.known[seed] = self.sampled(uniform(seed, batch_of(self.x, self.axis)))
        return self.known[seed]

    def check(self, seeds):
        batch = batch_of(self.x, self.axis)
        all_certain = []
        for seed in seeds:
            call = {"axis": self.axis, **self.options}
            got = softlane.sample(self.x, rng=np.random.default_rng(seed), **call)
            expected, certain = self.of_seed(seed)
            assert got.shape == batch and got.dtype == np.int64
            assert (got == expected)[certain].all(), f"seed {seed}: {np.argwhere((got != expected) & certain)[:3]}"
            assert ((got >= 0) & (got < self.x.shape[self.axis])).all()
            all_certain.append(certain)
            index, log_prob = softlane.sample(self.x, rng=seed, return_log_probs=True, **call)
            assert_same_bits(index, got)
            self.check_log_probs(index, log_prob, certain)
        assert np.mean(all_certain) > 0.9

    def check_log_probs(self, index, log_prob, certain):
        p, *near = (ref._at(kept, index, self.axis) for kept in self.near)
        with np.errstate(divide="ignore", invalid="ignore"):
            same = np.all([(other == p) | ~(p > 0) for other in near], axis=0)  # the cut keeps the same classes
            exact = np.log(p)[certain & same]
        got = log_prob[certain & same]
        assert log_prob.dtype == reference.row_dtype(self.x.dtype)
        assert all_nan(got[np.isnan(exact)])
        wide = got.astype(np.float32 if got.dtype == reference.BFLOAT16 else got.dtype).astype(np.longdouble)
        with np.errstate(invalid="ignore"):
            close = np.abs(wide - exact) <= LOG_PROB * eps(got.dtype) * np.maximum(1, np.abs(exact))
        assert (close | (wide == exact) | np.isnan(exact)).all()


@functools.lru_cache(maxsize=1)
def problems(form, dtype):
    shape, axis = FORMS[form]
    flat = random(shape, np.float32, seed=1, spread=1).astype(dtype)
    x = logits(shape, dtype, seed=2)
    found = FILTERS[::5] if shape[axis] > 4096 else FILTERS if dtype in FLOATS else FILTERS[1::2]
    return [Problem(flat if i % 3 else x, axis, options) for i, options in enumerate(found)]


@dtypes
@forms
def test_equals_the_reference(dtype, form):
    for problem in problems(form, dtype):
        rows = int(np.prod(batch_of(problem.x, problem.axis)))
        problem.check(range(max(1, 12 // rows)))


@pytest.mark.any_isa
@floats
@pytest.mark.parametrize("k", [1, 2, 3, 8, 40])
def test_rows_of_every_length_sample_from_the_first_k(dtype, k):
    for n in (*range(1, 131), 255, 256, 257, 1000, 4095, 4096, 4097, 8193):
        x = random((40 if n < 131 else 6, n), dtype, seed=n)
        order = ref.the_order(x)[:, :k]
        for top_k in (k, np.full(len(x), k), np.where(np.arange(len(x)) % 3, k, 1)):
            got = softlane.sample(x, rng=n, top_k=top_k)
            just_one = np.broadcast_to(top_k, len(x)) == 1
            among = np.where(just_one, got == order[:, 0], (got[:, None] == order).any(axis=1))
            assert among.all(), f"{n} classes: {got[~among][:3]} is not among the first"


def varied(x, axis, seed):
    """Options for each row, and a mask."""
    batch = batch_of(x, axis)
    rng = np.random.default_rng(seed)
    return {
        "temperature": rng.uniform(0.2, 3, batch),
        "top_k": rng.integers(1, 2 * x.shape[axis], batch),
        "top_p": rng.choice([0.1, 0.5, 0.93, 1], batch),
        "min_p": rng.choice([0, 0.01, 0.3, 1], batch),
        "where": rng.random(x.shape) < 0.8,
    }


@functools.lru_cache(maxsize=1)
def varied_problems(form, dtype):
    shape, axis = FORMS[form]
    found = []
    for seed, without in enumerate([(), ("top_k",), ("top_p", "where"), ("min_p", "top_k"), ("temperature", "min_p")]):
        x = special(shape, dtype, seed) if dtype in STORED else logits(shape, dtype, seed)
        found.append(Problem(x, axis, {k: v for k, v in varied(x, axis, seed).items() if k not in without}))
    return found[::4] if shape[axis] > 4096 or dtype not in FLOATS else found


@dtypes
@forms
def test_options_for_each_row_and_special_rows(dtype, form):
    for each in varied_problems(form, dtype):
        each.check(range(2))


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.int64)], ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.any_isa
def test_shapes_of_options(dtype, axis):
    """Whatever broadcasts to the batch is as if written out, and each row's options are its own."""
    x = logits((4, 5, 6), dtype, seed=2)
    batch = batch_of(x, axis)
    for name, values in (("temperature", [0.5, 2]), ("top_k", [1, 3]), ("top_p", [0.3, 0.9]), ("min_p", [0.1, 0.5])):
        row = np.resize(values, batch[1])
        for given in (row, row[None], np.resize(values, batch[0])[:, None], values[0], np.array([values[0]])):
            full = np.broadcast_to(given, batch)
            got = softlane.sample(x, axis=axis, rng=6, **{name: given})
            assert_same_bits(got, softlane.sample(x, axis=axis, rng=6, **{name: full.copy()}), name)
            rows = np.moveaxis(x, axis, -1)
            for i in np.ndindex(batch):
                rng = np.random.default_rng(6)
                rng.random(int(np.ravel_multi_index(i, batch)))
                alone = softlane.sample(np.ascontiguousarray(rows[i]), rng=rng, **{name: full[i]})
                if got[i] != alone:
                    assert not Problem(np.array(rows[i]), -1, {name: full[i]}).sampled(uniform(6, batch)[i])[1]


@pytest.mark.any_isa
def test_dtypes_of_options():
    x = random((40, 30), np.float32, seed=3)
    top_k, half = np.resize([1, 5, 20, 100], 40), np.resize([0.25, 0.5, 1], 40)
    expected = softlane.sample(x, rng=5, top_k=top_k, top_p=half, min_p=half / 8)
    for integer in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint64, ">i8"):
        got = softlane.sample(x, rng=5, top_k=top_k.astype(integer), top_p=half, min_p=half / 8)
        assert_same_bits(got, expected, str(integer))
    for real in (np.float16, np.float32, reference.BFLOAT16, ">f8"):
        got = softlane.sample(x, rng=5, top_k=top_k, top_p=half.astype(real), min_p=(half / 8).astype(real))
        assert_same_bits(got, expected, str(real))
    for k in (np.int8(5), np.uint64(5), np.array(5)):
        assert_same_bits(softlane.sample(x, rng=5, top_k=k), softlane.sample(x, rng=5, top_k=5))


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "min_p"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.any_isa
def test_options_may_keep_the_axis(axis, name):
    """As temperature does in softmax."""
    x = random((4, 5, 6), np.float32, seed=2)
    option = varied(x, axis, 3)[name]
    expected = softlane.sample(x, axis=axis, rng=5, **{name: option})
    assert_same_bits(softlane.sample(x, axis=axis, rng=5, **{name: np.expand_dims(option, axis)}), expected)


# ---- cuts among equals ---------------------------------------------------------------------------------------------


def support(x, **options):
    """The classes that are sampled from a row, of many samples."""
    x = np.asarray(x)
    count = max(200, 10_000 // len(x))
    got = softlane.sample(np.broadcast_to(x, (count, len(x))), rng=11, **options)
    return sorted(set(got.tolist()))


@pytest.mark.any_isa
@stored
def test_top_k_keeps_exactly_so_many_of_equals(dtype):
    x = np.array([1, 3, 2, 3, 2, 2, 0, 2]).astype(dtype)  # the order is 1, 3, 2, 4, 5, 7, 0, 6
    for k, expected in ((1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (6, [1, 2, 3, 4, 5, 7])):
        assert support(x, top_k=k) == expected
        kept = np.flatnonzero(ref.kept(x, top_k=k))
        assert kept.tolist() == expected
    for n in (32, 100, 5000):
        assert support(np.zeros(n, dtype), top_k=3) == [0, 1, 2]
        zeros = np.where(np.arange(n) % 2, 0.0, -0.0).astype(dtype)
        assert support(zeros, top_k=4) == [0, 1, 2, 3]
    assert support(x, top_k=2, where=np.array([1, 0, 1, 0, 1, 1, 1, 1], bool)) == [2, 4]


@pytest.mark.any_isa
@stored
def test_top_p_keeps_the_shortest_prefix_that_reaches_it(dtype):
    """Probabilities are powers of two, so that every sum is exact: the class that reaches top_p is the last one."""
    flat = np.zeros(8, dtype)
    for top_p, count in (
        (1e-9, 1),
        (0.125, 1),
        (0.126, 2),
        (0.25, 2),
        (0.5, 4),
        (0.501, 5),
        (0.875, 7),
        (0.88, 8),
        (1, 8),
    ):
        assert support(flat, top_p=top_p) == list(range(count)), top_p
        assert np.count_nonzero(ref.kept(flat, top_p=top_p)) == count
    hidden = np.array([0, 1, 0, 1, 1, 1, 0, 0], bool)
    assert support(flat, top_p=0.5, where=hidden) == [1, 3]
    assert support(flat, top_p=0.51, where=hidden) == [1, 3, 4]
    assert support(flat, top_p=0.5, top_k=4) == [0, 1]  # of what top_k leaves
    for n in (64, 512, 4096, 8192):
        flat = np.zeros(n, dtype)
        flat[0] = -30000  # nothing, but first in the index
        flat[1] = -np.inf
        flat = np.concatenate([flat, np.zeros(2, dtype)])
        got = softlane.sample(np.broadcast_to(flat, (300, n + 2)), rng=3, top_p=4 / n)
        assert set(got.tolist()) == {2, 3, 4, 5}


@pytest.mark.any_isa
@stored
def test_min_p_keeps_what_is_not_below(dtype):
    x = np.array([0, 5, 5, -1, 4]).astype(dtype)
    assert support(x, min_p=1) == [1, 2]
    assert support(x, min_p=0.36) == [1, 2, 4]  # exp(-1) is 0.3679
    assert support(x, min_p=0.37) == [1, 2]
    assert support(x, min_p=0.35, top_k=2) == [1, 2]
    assert support(x, min_p=0.6, temperature=2) == [1, 2, 4]  # exp(-1 / 2) is 0.6065
    assert support(x, min_p=0.61, temperature=2) == [1, 2]
    assert support(np.zeros(20, dtype), min_p=1) == list(range(20))


@pytest.mark.any_isa
@stored
def test_min_p_of_more_classes_than_a_list_holds(dtype):
    """Every third class is below min_p. Those left are equal, so that the uniform number says which one it is.

    That is near the beginning of a class: where the third ones count too, it is within the one before.
    """
    for n in (3000, 12000):
        x = np.where(np.arange(n) % 3, 0, -1).astype(dtype)
        kept = np.flatnonzero(x == 0)
        places = np.linspace(0, len(kept) - 1, 64).astype(int)
        got = softlane.sample(np.broadcast_to(x, (len(places), n)), rng=Draws((places + 0.1) / len(kept)), min_p=0.5)
        assert_same_bits(got, kept[places], n)


@pytest.mark.any_isa
@pytest.mark.parametrize("dtype", [dtype for dtype in STORED if dtype != np.float64], ids=str)
def test_a_uniform_number_at_the_boundary_of_two_classes(dtype):
    """Of n equal classes, the number k / n gives class k: the first at which the sum of probabilities exceeds it.

    The weight of a class has 24 bits, so that all sums are exact; in float64 it has 53.
    """
    for n, options in ((8, {}), (8, {"top_k": 4}), (256, {}), (4096, {}), (16384, {}), (16384, {"top_k": 8192})):
        kept = min(n, options.get("top_k", n))
        places = np.unique(np.linspace(0, kept - 1, 64).astype(int))
        rng = Draws(places / kept)
        got = softlane.sample(np.zeros((len(places), n), dtype), rng=rng, **options)
        assert_same_bits(got, places, f"{n} {options}")


@pytest.mark.any_isa
def test_the_filters_come_in_order():
    """Each example gives another answer in another order."""
    x = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    assert support(x, top_k=2, top_p=0.65) == [0, 1]  # 4/7 of two is below; 0.7 of all would do as well
    assert support(x, top_k=2, top_p=0.55) == [0]  # 4/7 is enough; of all it would take two
    assert support(x, top_k=3, top_p=0.75) == [0, 1]  # 7/9; of all it would take three
    assert support(x, top_k=3, top_p=0.75, temperature=1e6) == [0, 1, 2]
    assert support(x, top_p=0.7 - 1e-9, min_p=0.76) == [0]


# ---- other generators of the same numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 32, 100, 5000])
@pytest.mark.any_isa
def test_a_row_samples_what_choice_does(n):
    x = random(n, np.float64, seed=n, spread=2)
    for options in FILTERS:
        p = ref.kept(x, **options).astype(np.float64)
        for seed in range(25):
            expected = np.random.default_rng(seed).choice(n, p=p)
            assert softlane.sample(x, rng=np.random.default_rng(seed), **options) == expected, (seed, options)


@pytest.mark.any_isa
def test_generators_and_seeds():
    x = random((50, 9), np.float32)
    expected = softlane.sample(x, rng=np.random.default_rng(8))
    for rng in (8, np.int64(8), np.random.SeedSequence(8), np.random.PCG64(8)):
        assert_same_bits(softlane.sample(x, rng=rng), expected)
    assert (softlane.sample(x, rng=9) != expected).any()
    other = np.random.Generator(np.random.MT19937(8))
    assert (softlane.sample(x, rng=other) != expected).any()
    equal = np.zeros((50, 9), np.float32)
    assert (softlane.sample(equal) != softlane.sample(equal)).any()  # with seeds from the system
    assert (softlane.sample(equal, rng=None) != softlane.sample(equal)).any()


@pytest.mark.any_isa
@pytest.mark.parametrize(
    ("shape", "axis"), [((7,), 0), ((4, 7), 1), ((7, 4), 0), ((3, 7, 5), 1), ((0, 7), 1), ((), -1)]
)
def test_a_row_takes_one_uniform_number(shape, axis):
    """In C order over the batch, and none is left over or taken twice, whatever the rows hold."""
    for fill in (0, np.nan, -np.inf):
        x = np.full(shape, fill)
        used, expected = np.random.default_rng(1), np.random.default_rng(1)
        softlane.sample(x, axis=axis, rng=used, top_k=3, return_log_probs=True)
        expected.random(batch_of(x, axis) if shape else ())
        assert used.bit_generator.state == expected.bit_generator.state


# ---- frequencies ---------------------------------------------------------------------------------------------------


def chi_square(counts, p, cells):
    """Pearson's statistic of so many cells of about equal probability: neighbours in the index, taken together."""
    total = np.cumsum(p, dtype=np.float64)
    cell = np.minimum((total - np.asarray(p, np.float64) / 2) / total[-1] * cells, cells - 1).astype(int)
    used = np.unique(cell)
    assert len(used) == cells
    expected = np.bincount(cell, np.asarray(p, np.float64) / total[-1]) * counts.sum()
    return float(((np.bincount(cell, counts) - expected) ** 2 / expected).sum())


# cells: the value that the statistic exceeds once in 10^4 times, scipy.stats.chi2.ppf(1 - 1e-4, cells - 1)
QUANTILE = {2: 15.137, 3: 18.421, 4: 21.108, 20: 50.795}

COUNTED = [  # classes, spread, samples, options, cells
    (6, 0.5, 200_000, {}, 4),
    (6, 0.5, 200_000, {"temperature": 0.5}, 3),
    (6, 0.5, 200_000, {"top_k": 3}, 3),
    (6, 0.5, 200_000, {"top_p": 0.7}, 3),
    (6, 0.5, 200_000, {"min_p": 0.5}, 2),
    (200, 1.0, 40_000, {}, 20),
    (200, 1.0, 40_000, {"top_k": 100}, 20),
    (200, 1.0, 40_000, {"top_p": 0.9}, 20),
    (200, 1.0, 40_000, {"top_k": 150, "top_p": 0.95, "min_p": 0.02, "temperature": 1.5}, 20),
    (5000, 0.01, 1000, {}, 20),
    (5000, 0.01, 1000, {"top_p": 0.5}, 20),
    (5000, 0.0, 1000, {"top_p": 0.70005}, 20),
    (5000, 0.0, 1000, {"top_k": 3333}, 20),
    (5000, 1.0, 1000, {"top_p": 0.8, "min_p": 0.001}, 20),
]


@pytest.mark.any_isa
@pytest.mark.parametrize("case", COUNTED, ids=str)
@floats
def test_frequencies(case, dtype):
    n, spread, size, options, cells = case
    x = random(n, dtype, seed=n, spread=spread)
    p = ref.kept(x, **options)
    got = softlane.sample(np.broadcast_to(x, (size, n)), rng=2024, **options)
    counts = np.bincount(got, minlength=n)
    assert counts.sum() == size and not counts[p == 0].any()
    assert chi_square(counts[p > 0], p[p > 0], cells) < QUANTILE[cells]


@pytest.mark.any_isa
@pytest.mark.parametrize("other", [{"temperature": 0.95}, {"temperature": 1.05}, {"min_p": 0.05}])
def test_the_statistic_sees_another_distribution(other):
    x = random(200, np.float64, seed=200, spread=1)
    got = softlane.sample(np.broadcast_to(x, (40_000, 200)), rng=2024, **other)
    assert chi_square(np.bincount(got, minlength=200), ref.kept(x), 20) > QUANTILE[20]


@pytest.mark.any_isa
def test_frequencies_along_another_axis():
    x = random((6, 1), np.float32, seed=6, spread=0.5)
    got = softlane.sample(np.broadcast_to(x, (6, 200_000)), axis=0, rng=5, top_k=4)
    p = ref.kept(x[:, 0], top_k=4)
    kept = p > 0
    counts = np.bincount(got, minlength=6)
    assert not counts[~kept].any() and chi_square(counts[kept], p[kept], 3) < QUANTILE[3]


# ---- special rows --------------------------------------------------------------------------------------------------


NAN, INF = np.nan, np.inf


@pytest.mark.any_isa
@stored
@pytest.mark.parametrize("options", FILTERS[::3], ids=str)
def test_rows_without_a_distribution(dtype, options):
    rows = [
        [1, NAN, 3, NAN],
        [1, 2, INF, 3],
        [INF, NAN, 0, 0],
        [-INF, -INF, -INF, -INF],
        [0, 1, INF, INF],
        [-INF, 4, -INF, -INF],
    ]
    x = np.array(rows).astype(dtype)
    for seed in range(5):
        index, log_prob = softlane.sample(x, rng=seed, return_log_probs=True, **options)
        assert index.tolist() == [1, 2, 1, 0, 2, 1]
        assert all_nan(log_prob[:5]) and log_prob[5] == 0
        where = np.array([False, False, True, True])
        index, log_prob = softlane.sample(x, rng=seed, return_log_probs=True, where=where, **options)
        assert index[0] == 3 and all_nan(log_prob[0]) and index[1] == 2 and all_nan(log_prob[1])
        assert index[3] == 2 and all_nan(log_prob[3]) and index[4] == 2 and all_nan(log_prob[4])
        index, log_prob = softlane.sample(x, rng=seed, return_log_probs=True, where=False, **options)
        assert not index.any() and (log_prob == -INF).all()
    wide = np.full((7, 4, 40), 1.0).astype(dtype)
    wide[:, :, 3] = x[0]
    wide[:, 2, 5] = INF
    index, log_prob = softlane.sample(wide, axis=1, rng=1, return_log_probs=True, **options)
    assert (index[:, 3] == 1).all() and (index[:, 5] == 2).all() and all_nan(log_prob[:, [3, 5]])
    assert np.isfinite(log_prob[:, 6:].astype(np.float32)).all()


@pytest.mark.any_isa
@stored
@forms
def test_a_class_of_probability_0_is_never_sampled(dtype, form):
    """First, last and between: hidden, -inf, or so small that its probability is 0."""
    shape, axis = FORMS[form]
    x = np.zeros(shape, dtype)
    rows = np.moveaxis(x, axis, -1)
    rows[..., 0] = -INF
    rows[..., 1:2] = -60000
    rows[..., -2:] = -INF
    rows[..., 5 : rows.shape[-1] - 4] = np.where(np.arange(5, rows.shape[-1] - 4) % 2, -INF, -60000)
    where = np.ones(shape, bool)
    np.moveaxis(where, axis, -1)[..., 3] = False
    possible = np.flatnonzero((rows.reshape(-1, rows.shape[-1])[0] == 0) & (np.arange(rows.shape[-1]) != 3))
    seen = set()
    for seed in range(8):
        for options in ({}, {"top_k": 10**5}, {"top_p": 1}, {"top_p": 0.999999}, {"min_p": 1e-300}):
            got = softlane.sample(x, axis=axis, rng=seed, where=where, **options)
            assert np.isin(got, possible).all(), options
            seen.update(np.ravel(got).tolist())
    assert len(seen) > 1 or len(possible) == 1


@pytest.mark.any_isa
def test_one_class_that_takes_all():
    for dtype in STORED:
        for n in (2, 33, 5000):
            x = np.zeros((40, n), dtype)
            x[:, n // 2] = 1000
            index, log_prob = softlane.sample(x, rng=1, return_log_probs=True)
            assert (index == n // 2).all() and (log_prob == 0).all()
    assert softlane.sample([5.0], rng=1) == 0


@pytest.mark.any_isa
def test_temperatures_towards_0_and_infinity():
    x = random((300, 20), np.float64, seed=3)
    assert (softlane.sample(x, temperature=1e-6, rng=1) == ref.the_order(x)[:, 0]).all()
    got = softlane.sample(np.broadcast_to(x[0], (200_000, 20)), temperature=1e9, rng=1)
    assert chi_square(np.bincount(got, minlength=20), np.full(20, 0.05), 20) < QUANTILE[20]


# ---- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.any_isa
@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("top_k", {"top_k": -3}),
        (r"top_k\[1\]", {"top_k": [3, -1]}),
        (r"top_k\[1, 0\]", {"top_k": [[3], [-1]]}),
        ("top_k", {"top_k": [1, 2, 3]}),
        ("top_p", {"top_p": 0}),
        ("top_p", {"top_p": -0.5}),
        ("top_p", {"top_p": 1.0001}),
        ("top_p is 1.8", {"top_p": 2**64}),
        ("top_p", {"top_p": np.nan}),
        (r"top_p\[0\]", {"top_p": [2.0, 0.5]}),
        (r"top_p\[1\]", {"top_p": np.float32([0.5, 0])}),
        ("top_p", {"top_p": [0.5, 0.5, 0.5]}),
        ("min_p", {"min_p": -1e-9}),
        ("min_p", {"min_p": 1.5}),
        ("min_p", {"min_p": np.nan}),
        (r"min_p\[1\]", {"min_p": [0.5, np.inf]}),
        ("min_p", {"min_p": [[0.5, 0.1]]}),
        (r"temperature\[1\] is -1.0", {"temperature": [1, -1]}),
    ],
)  # fmt: skip
def test_wrong_values_of_options(words, call):
    rng = np.random.default_rng(3)
    state = rng.bit_generator.state
    with pytest.raises(ValueError, match=f"sample: {words}"):
        softlane.sample(np.zeros((2, 3), np.float32), rng=rng, **call)
    assert rng.bit_generator.state == state, "an error has taken numbers"


@pytest.mark.any_isa
def test_wrong_types_of_options():
    x = np.zeros((2, 3), np.float32)
    for name in ("top_k", "top_p", "min_p"):
        for wrong in ("1", 1j, object()):
            with pytest.raises((TypeError, ValueError), match=f"sample: {name}"):
                softlane.sample(x, rng=1, **{name: wrong})
    for wrong in (1.5, [1.0, 2.5]):
        with pytest.raises((TypeError, ValueError), match="sample: top_k"):
            softlane.sample(x, rng=1, top_k=wrong)
    for wrong in ("seed", 1.5, object()):
        with pytest.raises(TypeError):
            softlane.sample(x, rng=wrong)
    with pytest.raises(ValueError, match="sample: rng must be"):
        softlane.sample(x, rng=-1)


# ---- numbers, filters that are off, temperature 0 ------------------------------------------------------------------


def test_uniform_numbers_and_generators_for_each_row():
    x = np.random.default_rng(1).standard_normal((3, 4, 50))
    numbers = np.random.default_rng(7).random((3, 4))
    drawn = softlane.sample(x, rng=7)
    np.testing.assert_array_equal(softlane.sample(x, uniform=numbers), drawn)
    np.testing.assert_array_equal(softlane.sample(x, uniform=numbers[..., None]), drawn)
    np.testing.assert_array_equal(softlane.sample(x[0, 0], uniform=0.25), softlane.sample(x[0, :1], uniform=[0.25])[0])
    of_rows = [np.random.default_rng(seed) for seed in range(12)]
    each = [softlane.sample(row, rng=seed) for seed, row in enumerate(x.reshape(12, 50))]
    np.testing.assert_array_equal(softlane.sample(x, rng=of_rows).ravel(), each)
    np.testing.assert_array_equal(softlane.sample(x, rng=tuple(range(12))).ravel(), each)
    for wrong, words in [
        ({"uniform": 1.0}, r"uniform is 1\.0, expected numbers in \[0, 1\)"),
        ({"uniform": np.full((3, 4), -0.5)}, r"uniform\[0, 0\] is -0\.5"),
        ({"uniform": np.zeros(5)}, r"uniform has shape \(5,\)"),
        ({"uniform": 0.5, "rng": 1}, "both given"),
        ({"rng": [1, 2]}, "2 generators or seeds, expected one for each of 12 rows"),
    ]:
        with pytest.raises(ValueError, match=f"sample: .*{words}"):
            softlane.sample(x, **wrong)


def test_filters_that_are_off():
    x = np.random.default_rng(2).standard_normal((6, 3000))
    plain = softlane.sample(x, rng=3)
    for off in ({"top_k": 0}, {"top_k": None}, {"top_k": np.zeros(6, int)}, {"top_p": 1}, {"min_p": 0}):
        np.testing.assert_array_equal(softlane.sample(x, rng=3, **off), plain)
    some = np.array([0, 1, 0, 5, 0, 2])
    got = softlane.sample(x, rng=3, top_k=some)
    np.testing.assert_array_equal(got[some == 0], plain[some == 0])
    np.testing.assert_array_equal(got[some > 0], softlane.sample(x, rng=3, top_k=np.maximum(some, 1))[some > 0])


def test_a_temperature_of_0_is_argmax():
    x = np.random.default_rng(3).standard_normal((6, 30)).astype(np.float32)
    for zero in (0, 0.0, np.zeros(6), np.float32(0)):
        index, log_prob = softlane.sample(x, temperature=zero, rng=1, return_log_probs=True)
        np.testing.assert_array_equal(index, softlane.argmax(x))
        np.testing.assert_array_equal(log_prob, 0)
    t = np.array([0, 0.5, 0, 2, 1, 0])
    for options in ({}, {"top_k": 4}, {"top_k": [0, 1, 2, 3, 4, 5]}, {"top_p": 0.9}):
        got = softlane.sample(x, temperature=t, rng=1, **options)
        np.testing.assert_array_equal(got[t == 0], softlane.argmax(x)[t == 0])
        usual = softlane.sample(x, temperature=np.where(t == 0, 1, t), rng=1, **options)
        np.testing.assert_array_equal(got[t > 0], usual[t > 0])
    np.testing.assert_array_equal(
        softlane.sample(x, temperature=t[:, None], rng=1), softlane.sample(x, temperature=t, rng=1)
    )
    with pytest.raises(ValueError, match="temperature"):
        softlane.sample(x, temperature=-1.0)


# ---- several draws of each row -------------------------------------------------------------------------------------

WEIGHTS = np.array([0.4, 0.05, 0.25, 0.3])
MANY = 6000  # classes that no list holds


def numbers(seed, x, axis, size):
    shape = list(x.shape)
    shape[axis] = size
    return np.random.default_rng(seed).random(shape)


@pytest.mark.any_isa
@pytest.mark.parametrize("n", [1, 3, 40, 1024, 1025, 4096, 4097, 9000])
@floats
def test_each_draw_of_several_is_that_of_one(dtype, n):
    """From the same number, whatever the filters, and the first one without replacement too."""
    x = random((3, n), dtype, seed=n, spread=3)
    visible = np.random.default_rng(n).random(n) < 0.9
    visible[np.argmax(x, axis=1)] = True
    u = numbers(1, x, 1, 30)
    u[1, 4:6] = 0
    for options in (*FILTERS[::3], {"where": visible, "temperature": [0.5, 1, 2]}):
        index, log_prob = softlane.sample(x, size=30, uniform=u, return_log_probs=True, **options)
        for j in range(30):
            one = softlane.sample(x, uniform=u[:, j], return_log_probs=True, **options)
            assert_same_bits(index[:, j], one[0], f"{options} {j}")
            assert_same_bits(log_prob[:, j], one[1], f"{options} {j}")
        if n > 1 and options.get("top_k") != 1 and "min_p" not in options and options.get("top_p", 1) > 0.99:
            apart = softlane.sample(x, size=2, replace=False, uniform=u[:, :2], **options)
            assert_same_bits(apart[:, 0], index[:, 0], f"{options}")


@pytest.mark.any_isa
@pytest.mark.parametrize(("shape", "axis"), [((7,), 0), ((4, 7), 1), ((7, 4), 0), ((3, 7, 5), 1), ((), -1)])
def test_the_numbers_of_several_draws(shape, axis):
    """One generator, one for each row and given numbers, in the shape of the result or one that broadcasts to it."""
    x = np.random.default_rng(2).standard_normal(shape)
    rows = np.moveaxis(x, axis, -1) if shape else x.reshape(1)
    batch = rows.shape[:-1]
    used = np.random.default_rng(1)
    index, log_prob = softlane.sample(x, axis=axis, size=3, rng=used, return_log_probs=True)
    assert index.shape == log_prob.shape == tuple(np.where(np.arange(x.ndim) == axis, 3, shape)) if shape else (3,)
    again = np.random.default_rng(1)
    u = again.random((*batch, 3))
    assert used.bit_generator.state == again.bit_generator.state
    expected = softlane.sample(rows, size=3, uniform=u)
    assert_same_bits(np.moveaxis(index, axis, -1), expected)
    assert_same_bits(softlane.sample(x, axis=axis, size=3, uniform=np.moveaxis(u, -1, axis)), index)
    each = softlane.sample(x, axis=axis, size=3, rng=list(range(int(np.prod(batch)))))
    alone = [softlane.sample(row, size=3, rng=i) for i, row in enumerate(rows.reshape(-1, rows.shape[-1]))]
    assert_same_bits(np.moveaxis(each, axis, -1).reshape(-1, 3), np.array(alone))
    same = softlane.sample(x, axis=axis, size=3, uniform=0.5)
    one = np.asarray(softlane.sample(x, axis=axis, uniform=0.5))
    assert_same_bits(same, np.repeat(np.expand_dims(one, axis), 3, axis))
    if shape:
        one = softlane.sample(x, axis=axis, rng=3)
        assert_same_bits(softlane.sample(x, axis=axis, size=1, rng=3), np.expand_dims(one, axis))
    assert softlane.sample(x, axis=axis, size=0).size == 0


@pytest.mark.any_isa
@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("case", COUNTED[:5], ids=str)
def test_frequencies_of_pairs(case, replace):
    """Two draws from a row against the exact probability of each pair; the rest of a batch has other rows."""
    n, spread, _, options, _ = case
    size = 60_000
    x = random(n, np.float64, seed=n, spread=spread)
    p = ref.kept(x, **options)
    exact = np.outer(p, p)
    if not replace:
        exact = np.zeros((n, n), np.longdouble)
        for drawn, probability in ref.ordered_draws(p).items():
            if len(drawn) == 2:
                exact[drawn] = probability
    got = softlane.sample(np.broadcast_to(x, (size, n)), size=2, replace=replace, rng=7, **options)
    counts = np.bincount(got @ [n, 1], minlength=n * n).reshape(n, n)
    likely = exact * size > 5
    expected = (exact[likely] * size).astype(np.float64)
    assert not counts[exact == 0].any()
    statistic = ((counts[likely] - expected) ** 2 / expected).sum()
    freedom = likely.sum() - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom) + 8, f"{statistic} of {freedom}"  # about once in 10^4 times


@pytest.mark.any_isa
@pytest.mark.parametrize("long", [False, True])
@floats
def test_frequencies_of_whole_sequences(dtype, long):
    """All 24 orders of four classes: in a row of their own, and far apart among thousands that weigh nothing."""
    x = np.log(WEIGHTS)
    if long:
        x = np.full(MANY, -30000.0)
        places = np.array([0, 1023, 4096, 5999])
        x[places] = np.log(WEIGHTS)
    size = 3000 if long else 60_000
    got = softlane.sample(np.broadcast_to(x.astype(dtype), (size, len(x))), size=4, replace=False, rng=3)
    got = np.searchsorted(places, got) if long else got
    exact = {drawn: p for drawn, p in ref.ordered_draws(WEIGHTS).items() if len(drawn) == 4}
    assert len(exact) == 24 and abs(sum(exact.values()) - 1) < 1e-15
    kinds, counts = np.unique(got, axis=0, return_counts=True)
    found = dict(zip(map(tuple, kinds.tolist()), counts, strict=True))
    assert found.keys() <= exact.keys()
    common = {drawn: size * float(p) for drawn, p in exact.items() if p * size > 5}
    statistic = sum((found.get(drawn, 0) - e) ** 2 / e for drawn, e in common.items())
    freedom = len(common) - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom) + 8


@pytest.mark.any_isa
@stored
@pytest.mark.parametrize("n", [12, 1024, 1025, 9000])
def test_all_classes_without_replacement(dtype, n):
    x = random((3, n), np.float32, seed=n, spread=2).astype(dtype)
    index, log_prob = softlane.sample(x, size=n, replace=False, rng=1, return_log_probs=True)
    assert_same_bits(np.sort(index), np.broadcast_to(np.arange(n), (3, n)).copy())
    exact = ref.exact_take_log_probs(x, index)
    close = np.abs(log_prob - exact) <= LOG_PROB * eps(log_prob.dtype) * np.maximum(1, np.abs(exact))
    assert close.all()
    where = np.arange(n) % 3 > 0
    left = int(where.sum())
    index = softlane.sample(x, size=left, replace=False, rng=1, where=where)
    assert_same_bits(np.sort(index), np.broadcast_to(np.flatnonzero(where), (3, left)).copy())
    first = softlane.sample(x, size=7, replace=False, rng=1, top_k=7)
    assert_same_bits(np.sort(first), np.sort(ref.the_order(x)[:, :7]))


@pytest.mark.any_isa
@floats
@pytest.mark.parametrize("n", [7, 1500, 9000])
@pytest.mark.parametrize("temperature", [1, 3])
def test_what_dominant_classes_leave(dtype, n, temperature):
    """Draws come by their weights among the rest, however little these weigh beside what is out."""
    x = np.full(n, -INF, dtype)
    order = [n // 2, n - 1, 0, n // 3]
    x[order] = [0, -150, -5000, -30000]
    x[n // 4] = -30000
    size = 400
    u = np.random.default_rng(5).random((size, 5))
    got = softlane.sample(np.broadcast_to(x, (size, n)), size=5, replace=False, uniform=u, temperature=temperature)
    assert (got[:, :3] == order[:3]).all()
    first, second = n // 4, n // 3
    assert_same_bits(got[:, 3], np.where(u[:, 3] < 0.5, first, second))
    assert_same_bits(got[:, 4], first + second - got[:, 3])
    for replace in (True, False):
        zero = softlane.sample(x, size=3, replace=replace, uniform=0.0, temperature=temperature)
        assert zero[0] == order[0] or x[zero[0]] > -746 * temperature


@pytest.mark.any_isa
@floats
def test_min_p_without_replacement_of_more_than_a_list_holds(dtype):
    """A weight of exp(-50) is kept, one of exp(-60) is not, also when the dominant class is out."""
    x = np.full((20, MANY), -60, dtype)
    x[:, 100] = 0
    x[:, 3000:5000] = -50
    for seed in range(5):
        got = softlane.sample(x, size=40, replace=False, rng=seed, min_p=1e-24)
        assert (got[:, 0] == 100).all() and ((got[:, 1:] >= 3000) & (got[:, 1:] < 5000)).all()
        assert all(len(set(row)) == 40 for row in got.tolist())
    with pytest.raises(ValueError, match=r"row \(0,\) has 2001 classes left, expected at least 2002"):
        softlane.sample(x, size=2002, replace=False, rng=0, min_p=1e-24)


@pytest.mark.any_isa
@stored
@pytest.mark.parametrize("n", [4, 2000])
def test_several_draws_of_rows_without_a_distribution(dtype, n):
    x = np.full((4, n), -INF)
    x[:, :4] = [[1, NAN, 3, NAN], [1, 2, INF, 3], [-INF, -INF, -INF, -INF], [2, 5, 5, 1]]
    x = x.astype(dtype)
    index, log_prob = softlane.sample(x, size=5, rng=1, return_log_probs=True)
    assert (index[:3] == [[1], [2], [0]]).all() and all_nan(log_prob[:3])
    index, log_prob = softlane.sample(x, size=4, replace=False, rng=1, return_log_probs=True)
    assert index[:3].tolist() == [[1, 3, 2, 0], [2, 3, 1, 0], [0, 1, 2, 3]] and all_nan(log_prob[:3])
    assert sorted(index[3].tolist()) == [0, 1, 2, 3] and np.isfinite(log_prob[3].astype(np.float32)).all()
    where = np.arange(n) % 2 == 1
    index, log_prob = softlane.sample(x[[0, 2]], size=3, replace=False, rng=1, where=where, return_log_probs=True)
    assert (index == [1, 3, 5 if n > 4 else 0]).all() and all_nan(log_prob[:, : 3 if n > 4 else 2])
    assert n > 4 or (log_prob[:, 2] == -INF).all()


@pytest.mark.any_isa
def test_wrong_sizes_and_too_few_classes():
    x = np.zeros((2, 3, 300))
    x[1, 2, 7:] = -INF
    for wrong, words in [
        ({"size": -1}, "size is -1, expected at least 0"),
        ({"size": 301, "replace": False}, "size is 301, expected at most 300"),
        ({"size": 8, "replace": False}, r"row \(1, 2\) has 7 classes left, expected at least 8"),
        ({"size": 8, "replace": False, "top_k": 5}, r"row \(0, 0\) has 5 classes left"),
        ({"size": 8, "replace": False, "top_p": 0.01}, r"row \(0, 0\) has 3 classes left"),
        ({"size": 8, "replace": False, "where": np.arange(300) < 2}, r"row \(0, 0\) has 2 classes left"),
        ({"size": 3, "uniform": np.zeros((2, 3))}, r"uniform has shape \(2, 3\), .* \(2, 3, 3\), that of the result"),
        ({"size": 3, "uniform": [0, 1, 0]}, r"uniform\[1\] is 1"),
    ]:
        with pytest.raises(ValueError, match=f"sample: {words}"):
            softlane.sample(x, **wrong)
    with pytest.raises(ValueError, match="sample: x has 1 classes left, expected at least 2"):
        softlane.sample([0.0, -INF], size=2, replace=False)
    for wrong in (1.5, True, "3"):
        with pytest.raises(TypeError, match="sample: size"):
            softlane.sample(x, size=wrong)
    for dtype in (np.uint8, np.int16):
        wide = np.full((2, 256), -INF)
        wide[:, [254, 255]] = 0
        with pytest.raises(ValueError, match=r"row \(0,\) has 2 classes left"):
            softlane.sample(wide, size=3, replace=False, index_dtype=dtype)
        got = softlane.sample(wide, size=2, replace=False, index_dtype=dtype)
        assert got.dtype == dtype and (np.sort(got) == [254, 255]).all()


@pytest.mark.any_isa
def test_a_packed_mask():
    for n in (1, 31, 32, 100, 1000):
        rng = np.random.default_rng(n)
        bits = rng.integers(0, 1 << 32, (5, (n + 31) // 32), dtype=np.uint64).astype(np.uint32).view(np.int32)
        where = np.unpackbits(bits.view(np.uint8), axis=-1, count=n, bitorder="little").view(bool)
        expected = [[int(row[k // 32]) >> k % 32 & 1 for k in range(n)] for row in bits]
        assert where.shape == (5, n) and (where == expected).all()
        index = softlane.sample(np.zeros((5, n)), where=where, rng=0)
        assert where[np.arange(5), index][where.any(axis=1)].all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 3, 40, 1024, 1025, 4096, 5000, 30_000])
def test_the_largest_uniform_numbers_draw_a_class_that_has_weight(n, dtype):
    """Not one behind the last class whose weight shows in the sum: its probability is far below 2^-53."""
    rng = np.random.default_rng(n)
    for has_infinity in (False, True):
        x = rng.normal(size=n)
        heavy = n // 2
        x[heavy:] -= 2000
        if has_infinity:
            x[-(n // 4) - 1 :] = -np.inf
        x = x.astype(dtype)
        for options in ({}, {"top_k": n}, {"top_p": 1.0}, {"min_p": 0.0}, {"size": 3}, {"top_k": n - 1}):
            for steps in (1, 2, 4, 16, 64):
                index = softlane.sample(x, uniform=1 - steps * 2.0**-53, **options)
                assert (np.asarray(index) >= 0).all() and (np.asarray(index) < heavy).all(), (options, steps)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("n", [4, 40, 5000])
def test_draws_from_what_weighs_little_beside_those_before(n, dtype):
    """Without replacement, the second one is among classes that have 10^-26 of what the first one had."""
    x = np.full((40, n), -np.inf, dtype)
    x[:, [1, 3, 0, 2]] = 0, -60, -61, -62.5
    u = uniform(12, (40, 3))
    for options in ({}, {"top_k": 4}, {"top_k": 3}, {"temperature": 1.5}):
        got = softlane.sample(x, size=3, replace=False, uniform=u, **options)
        assert len(np.unique(got[:, 1])) > 1
        assert_same_bits(got, ref.sample(x, u, size=3, replace=False, **options))
