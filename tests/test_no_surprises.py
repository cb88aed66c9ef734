"""What a new user tries first, with the values and errors that are right: from theory, or from another library."""

import decimal
import inspect
import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import reference
from interpreter import printed, run

import softlane

BINARY = np.array([0.9, 0.2, 0.7, 0.6, 0.4, 0.1]), np.array([1, 0, 1, 1, 0, 0])


# ---- results with one number for each row, of logits of 16 bits ----


@pytest.mark.parametrize("dtype", [np.float16, reference.BFLOAT16], ids=lambda d: np.dtype(d).name)
def test_one_number_for_each_row_has_32_bits(dtype):
    x, chosen = np.zeros((300, 32000), dtype), np.zeros(300, int)
    log_probs = softlane.take_log_probs(x, chosen)
    assert log_probs.dtype == np.float32
    np.testing.assert_allclose(log_probs.sum(), -300 * np.log(32000), rtol=1e-6)
    losses = softlane.cross_entropy(x, chosen, reduction="none")
    assert losses.dtype == np.float32
    np.testing.assert_array_equal(losses, -log_probs)
    _, drawn = softlane.sample(x[:2], rng=0, return_log_probs=True)
    assert drawn.dtype == np.float32
    assert softlane.expectation(x[:2, :16], np.arange(16)).dtype == np.float32
    assert softlane.binary_cross_entropy_with_logits(x[:2], 1, reduction="none").dtype == np.float32
    # one number for each class keeps the dtype, and so does what stands for a softmax
    for kept in (softlane.softmax(x[:2]), softlane.topk(x[:2], 3).values, softlane.argmax(x[:2], return_probs=True)[1]):
        assert kept.dtype == dtype


CALLS_WITH_DTYPE = {
    "argmax": lambda x, **k: softlane.argmax(x, return_probs=True, **k)[1],
    "topk": lambda x, **k: softlane.topk(x, 2, **k).values,
    "topk logits": lambda x, **k: softlane.topk(x, 2, kind="logits", **k).values,
    "take_log_probs": lambda x, **k: softlane.take_log_probs(x, np.zeros(len(x), int), **k),
    "sample": lambda x, **k: softlane.sample(x, rng=0, return_log_probs=True, **k)[1],
    "expectation": lambda x, **k: softlane.expectation(x, np.arange(x.shape[1]), **k),
    "cross_entropy": lambda x, **k: softlane.cross_entropy(x, np.zeros(len(x), int), **k),
    "cross_entropy none": lambda x, **k: softlane.cross_entropy(x, np.zeros(len(x), int), reduction="none", **k),
    "cross_entropy_with_grad": lambda x, **k: softlane.cross_entropy_with_grad(x, np.zeros(len(x), int), **k)[0],
    "nll_loss": lambda x, **k: softlane.nll_loss(-abs(x), np.zeros(len(x), int), **k),
    "log_loss": lambda x, **k: softlane.log_loss(1 / (1 + abs(x)), np.zeros(len(x), int), reduction="none", **k),
    "binary_cross_entropy": lambda x, **k: softlane.binary_cross_entropy(1 / (1 + abs(x)), 1, **k),
    "binary_cross_entropy_with_logits": lambda x, **k: softlane.binary_cross_entropy_with_logits(x, 1, **k),
    "binary_cross_entropy_with_logits_with_grad": lambda x, **k: softlane.binary_cross_entropy_with_logits_with_grad(
        x, 1, reduction="none", **k
    )[0],
}


FROM_PROBABILITIES = ("log_loss", "binary_cross_entropy")  # made by the test, in the dtype itself
BITS = {
    np.dtype(np.float16): 2.0**-11,
    np.dtype(reference.BFLOAT16): 2.0**-8,
    np.dtype(np.float32): 2.0**-24,
    np.dtype(np.float64): 2.0**-53,
}
DTYPES = [*BITS, np.dtype(np.int8)]


@pytest.mark.parametrize("name", CALLS_WITH_DTYPE)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_dtype_of_results_with_one_number_for_each_row(name, dtype, isa):
    """As if the logits had been converted before; rounded at the end where the result is narrower."""
    x = np.random.default_rng(1).integers(-6, 7, (7, 40)).astype(dtype)
    f = CALLS_WITH_DTYPE[name]
    wide = f(x.astype(np.float64))
    for wanted in (np.float16, reference.BFLOAT16, np.float32, np.float64):
        got = f(x, dtype=wanted)
        assert got.dtype == wanted
        if wanted == np.float64 and name not in FROM_PROBABILITIES:
            np.testing.assert_array_equal(got, wide)
        worst = max(BITS[np.dtype(wanted)], 2.0**-6 if name in FROM_PROBABILITIES else 0)
        np.testing.assert_allclose(got.astype(np.float64), wide, rtol=8 * worst)
    with pytest.raises(TypeError, match="dtype"):
        f(x, dtype=np.int32)


# ---- targets and domains ----


def test_labels_of_a_binary_problem():
    probs, labels = BINARY
    np.testing.assert_allclose(softlane.binary_cross_entropy(probs, labels), 0.3020318, rtol=1e-6)
    words = r"log_loss: target .* row adds up to 3, not 1.* use binary_cross_entropy$"
    with pytest.raises(ValueError, match=words):
        softlane.log_loss(probs, labels)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_with_grad"])
def test_integer_targets_of_the_shape_of_the_logits_are_one_hot(name):
    f = getattr(softlane, name)
    x, y = np.zeros((4, 3), np.float32), np.array([0, 2, 1, 1])
    with pytest.raises(
        ValueError, match=r"row\[0\] adds up to 0, not 1.*shape \(4,\).*binary_cross_entropy_with_logits"
    ):
        f(x[:, :1], y[:, None])
    one_hot = np.eye(3, dtype=int)[y]
    loss, same = f(x, one_hot), f(x, y)
    assert (loss if name == "cross_entropy" else loss[0]) == (same if name == "cross_entropy" else same[0])
    f(x, one_hot.astype(bool))
    f(x, one_hot * 0.3)  # probabilities may be anything


def test_integers_that_add_up_to_1_but_are_not_one_hot():
    with pytest.raises(ValueError, match=r"target\[1, 1\] is -1, expected 0 or 1"):
        softlane.cross_entropy(np.zeros((2, 3)), [[0, 1, 0], [2, -1, 0]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: np.dtype(d).name)
def test_numbers_outside_the_domain(dtype):
    logits = np.array([[0.25, 1.75], [0.5, -3.0]], dtype)
    for f, target, place, value in [
        (softlane.log_loss, [1, 0], r"probs\[0, 1\] is 1\.75", "cross_entropy"),
        (softlane.log_loss, [[0.5, 0.5]] * 2, r"probs\[0, 1\] is 1\.75", "cross_entropy"),
        (softlane.log_loss, [0, 1], r"probs\[1, 1\] is -3", "cross_entropy"),
        (softlane.nll_loss, [1, 0], r"log_probs\[0, 1\] is 1\.75", "cross_entropy"),
        (softlane.nll_loss, [[0.5, 0.5]] * 2, r"log_probs\[0, 0\] is 0\.25", "cross_entropy"),
        (softlane.binary_cross_entropy, 1, r"probs\[0, 1\] is 1\.75", "binary_cross_entropy_with_logits"),
    ]:
        with pytest.raises(ValueError, match=place + ".*for logits use " + value + "$"):
            f(logits, target)
    near = np.array([1 + 4 * np.finfo(dtype).eps, -np.finfo(dtype).eps], dtype)  # rounding errors
    assert softlane.log_loss(near[:1].reshape(1, 1), [0]) == 0
    np.testing.assert_array_equal(softlane.binary_cross_entropy(near, [1, 0], reduction="none"), 0)
    assert softlane.nll_loss(np.array([[np.finfo(dtype).eps]], dtype), [0]) == 0
    assert softlane.nll_loss(np.array([[5, -1]], dtype), [-100]) != softlane.nll_loss(np.array([[5, -1]], dtype), [1])


# ---- temperatures, infinite values, coefficients ----


@pytest.mark.parametrize("shape", [(2,), (40,), (70,), (5000,)])
def test_differences_beyond_the_largest_number(shape, isa):
    """x - max is no float32, but (x - max) / T is."""
    x = np.full(shape, -3e38, np.float32)
    x[0] = 3e38
    expected = np.full(shape, -6e37, np.float32)
    expected[0] = 0
    for rows in (x, np.tile(x, (3, 1))):
        np.testing.assert_array_equal(
            softlane.log_softmax(rows, temperature=10.0), np.broadcast_to(expected, rows.shape)
        )
    columns = np.ascontiguousarray(np.tile(x, (20, 1)).T)
    np.testing.assert_array_equal(softlane.log_softmax(columns, axis=0, temperature=10.0)[:, 7], expected)
    assert softlane.take_log_probs(x, np.array(1), temperature=10.0) == expected[1]
    assert softlane.topk(x, 2, kind="log_probs", temperature=10.0).values[1] == expected[1]


def test_entropy_from_an_expectation_where_a_logit_is_minus_infinity():
    x = np.array([0.0, 0.0, -np.inf])
    np.testing.assert_allclose(softlane.expectation(x, -softlane.log_softmax(x)), np.log(2), rtol=1e-15)
    assert softlane.expectation(np.zeros((2, 2)), [0, np.inf]).tolist() == [np.inf, np.inf]
    with pytest.raises(ValueError, match=r"values\[1\] is nan"):
        softlane.expectation(np.zeros(2), [0, np.nan])


@pytest.mark.parametrize(
    ("b", "dtype"),
    [
        (np.ones(2), np.float64),
        (np.ones(2, np.float32), np.float32),
        (np.ones(2, np.float16), np.float32),
        ([1, 1], np.float64),
        (2.0, np.float32),
        (1, np.float32),
    ],
)
def test_coefficients_count_in_the_dtype_of_logsumexp(b, dtype):
    x = np.array([1.0, 2.0], np.float32)
    assert softlane.logsumexp(x, b=b).dtype == dtype
    assert softlane.logsumexp(x, b=b, dtype=np.float16).dtype == np.float16


class Zeros(np.random.Generator):
    """Draws the smallest uniform number that there is."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def random(self, size=None):
        return np.zeros(size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("options", [{}, {"top_p": 1 - 1e-9}, {"top_k": 3000}, {"top_k": 1001}])
def test_the_uniform_number_0(dtype, options, isa):
    """The first class whose probability is a float64 above 0, as rng.choice finds it."""
    x = np.zeros(3000, dtype)
    x[:2000] = -800
    assert softlane.sample(x, rng=Zeros(), **options) == 2000
    x[1000] = -700
    expected = 1000 if "top_p" not in options else 2000
    assert softlane.sample(x, rng=Zeros(), **options) == expected


# ---- arguments, names, the environment ----


@pytest.mark.parametrize("true", [True, np.True_])
def test_bool_is_no_integer(true):
    for f in (softlane.softmax, softlane.argmax, softlane.log_softmax):
        with pytest.raises(TypeError, match=re.escape(f"{f.__name__}: axis must be an integer, got")):
            f(np.zeros((2, 3)), axis=true)
    with pytest.raises(TypeError, match="n must be an integer"):
        softlane.set_num_threads(true)
    with pytest.raises(TypeError, match="k must be an integer"):
        softlane.topk(np.zeros(3), true)
    with pytest.raises(TypeError, match="ignore_index must be an integer"):
        softlane.cross_entropy(np.zeros((1, 3)), [0], ignore_index=true)


def test_public_names_belong_to_the_package():
    for name in softlane.__all__:
        if name != "__version__":
            assert getattr(softlane, name).__module__ == "softlane"
    assert pickle.loads(pickle.dumps(softlane.softmax)) is softlane.softmax
    assert b"softlane._" not in pickle.dumps(softlane.TopK)


def test_the_environment():
    active = "from softlane import _core; print(_core.active_isa())"
    assert printed(active, SOFTLANE_ISA=" Portable") == "portable"
    warned = run("import softlane", OMP_NUM_THREADS="abc")
    assert warned.returncode == 0 and "UserWarning: OMP_NUM_THREADS='abc' is ignored" in warned.stderr
    imported = "import softlane, sys; print('importlib.metadata' in sys.modules)"
    without_numpy = "import numpy, sys; print('importlib.metadata' in sys.modules)"
    assert printed(imported) == printed(without_numpy)


# ---- errors say what came and what would do ----


class Frame:
    """As a data frame with nullable columns: an array of objects, with a method that makes numbers of them."""

    def __array__(self, dtype=None, copy=None):
        return np.array([1.0, None], object)

    def to_numpy(self, dtype):
        raise NotImplementedError


class Sparse(Frame):
    """As a sparse matrix, which NumPy takes for one object."""

    to_numpy = None

    def __array__(self, dtype=None, copy=None):
        return np.array(self.toarray, object)

    def toarray(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (None, "x is NoneType"),
        ({"a": 1}, "x is dict"),
        (Frame(), r"x is Frame, an array of objects \(NoneType\).*; x\.to_numpy\(float\) makes numbers of it"),
        (Sparse(), r"x is Sparse.*; x\.toarray\(\) makes a plain array of it"),
        ([decimal.Decimal(1), 2], r"x is list, an array of objects \(Decimal\), dtype object"),
        (np.array([1, None]), r"x is ndarray of objects \(NoneType\)"),
    ],
)
def test_objects(x, words):
    with pytest.raises(TypeError, match="softmax: " + words):
        softlane.softmax(x)


def test_errors_of_targets_name_what_would_do():
    x = np.zeros((6, 4), np.float32)
    for error, words, target in [
        (
            ValueError,
            r"target has shape \(6, 1\), expected \(6, 4\) .* or \(6,\) for class indices",
            np.zeros((6, 1), int),
        ),
        (TypeError, r"target is a masked array.*target\.filled\(ignore_index\)", np.ma.masked_array([0] * 6, [1] * 6)),
        (TypeError, r"target has dtype float64; class indices must be integers: target\.astype\(int\)$", np.ones(6)),
        (TypeError, "target has dtype float64; class indices must be integers$", np.full(6, 0.5)),
    ]:
        with pytest.raises(error, match="cross_entropy: " + words):
            softlane.cross_entropy(x, target)


def test_errors_of_options_name_what_would_do():
    for t in (-1, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"temperature is {float(t)}, expected positive, finite numbers$"):
            softlane.softmax([1.0, 2.0], temperature=t)
    with pytest.raises(ValueError, match=r"argmax$"):
        softlane.softmax([1.0, 2.0], temperature=0)
    with pytest.raises(ValueError, match=r"top_p is 0.*top_k=1 keeps only the first class$"):
        softlane.sample([1.0, 2.0], top_p=0)
    with pytest.raises(TypeError, match="expected a NumPy dtype"):
        softlane.softmax([1.0, 2.0], dtype=object())


def test_the_self_check_refuses_a_file_that_it_cannot_write(tmp_path):
    missing = tmp_path / "missing" / "check.json"
    done = subprocess.run(
        [sys.executable, "-m", "softlane", "check", "--output", str(missing)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and f"-o {missing} cannot be written" in done.stderr and not done.stdout
    done = subprocess.run([sys.executable, "-m", "softlane", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"softlane {softlane.__version__}\n"


def test_small_things():
    x = np.array([[1.0, 2.0, 3.0], [0.0, 5.0, -1.0]])
    zero = np.array([0, 1]).astype(reference.BFLOAT16)
    assert softlane.sample(x, temperature=zero, rng=0)[0] == 2
    assert softlane.take_log_probs(np.zeros((0, 3)), []).shape == softlane.rank(np.zeros((0, 3)), []).shape == (0,)
    assert softlane.argmax(x, None, temperature=[[2.0]]) == 4
    exact = softlane.nll_loss(np.log(np.float32([[0.7, 0.3]])), [[1 / 3, 2 / 3]], dtype=np.float64)
    np.testing.assert_allclose(exact, -(np.log(np.float32([0.7, 0.3])).astype(float) @ [1 / 3, 2 / 3]), rtol=1e-15)


# ---- both ways of a call: as it came, and checked in Python ----------------------------------------------------------


def test_an_ignored_class_of_a_strided_array():
    log_p = np.log(np.full((600, 600), 1 / 600)).T
    target = np.full(600, 3)
    target[:5] = 0
    got = softlane.nll_loss(log_p, target, ignore_index=0)
    np.testing.assert_allclose(got, np.log(600), rtol=1e-14)
    np.testing.assert_allclose(softlane.log_loss(np.exp(log_p), target, ignore_index=0), np.log(600), rtol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 1e10])
def test_a_divergence_of_two_dtypes_is_computed_in_the_wider(temperature):
    x, y = np.zeros(2, np.float32), np.array([1e4, 1e4 + 1e-4])
    expected = softlane.kl_divergence(x.astype(np.float64), y, temperature=temperature)
    got = softlane.kl_divergence(x, y, dtype=np.float32, temperature=temperature)
    assert got.dtype == np.float32 and got == np.float32(expected) and expected > 0


def test_weights_of_samples_have_no_class_axis():
    x, target = np.zeros((4, 3), np.float32), [0, 1, 2, 0]
    for dtype in (None, "f8"):
        with pytest.raises(ValueError, match="sample_weight has shape"):
            softlane.cross_entropy(x, target, sample_weight=np.ones((4, 1)), dtype=dtype)
        with pytest.raises(TypeError, match="label_smoothing must be a number"):
            softlane.cross_entropy(x, target, label_smoothing=np.array(0.1), dtype=dtype)


def test_an_array_of_the_temperature_1_has_the_bits_of_others():
    x = np.random.default_rng(0).normal(size=(1, 2000)).astype(np.float32)
    t = np.array([1.0])
    np.testing.assert_array_equal(softlane.softmax(x, temperature=t), softlane.softmax(x, temperature=t, where=True))


def test_a_temperature_that_is_not_aligned():
    t = np.frombuffer(bytearray(33), np.float64, 4, 1)
    t[:] = 2
    x = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_array_equal(softlane.softmax(x, temperature=t), softlane.softmax(x, temperature=2.0))
    np.testing.assert_array_equal(softlane.sigmoid(x, temperature=t[0]), softlane.sigmoid(x, temperature=2.0))


def test_rows_without_classes_whose_indices_are_ignored():
    assert softlane.take_log_probs(np.zeros((2, 0)), [-1, -1], ignore_index=-1).tolist() == [0, 0]
    assert softlane.rank(np.zeros((2, 0)), [-1, -1], ignore_index=-1).tolist() == [-1, -1]


def test_an_ignore_index_of_any_size_beside_probabilities():
    x = np.zeros((2, 3))
    got = softlane.cross_entropy(x, np.full((2, 3), 1 / 3), ignore_index=-(2**70))
    np.testing.assert_allclose(got, np.log(3), rtol=1e-14)


def test_integers_of_64_bits_are_rounded_once():
    w = np.array([2**60 + 2**36 + 1, 2**60])
    x, target = np.zeros((2, 2), np.float32), np.array([0, 1])
    got = softlane.cross_entropy(x, target, weight=w, reduction="none")
    expected = softlane.cross_entropy(x, target, weight=w.astype(np.float32), reduction="none")
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", ["i4,,", {"names": ["a"], "formats": []}])
def test_what_is_no_dtype_at_all(dtype):
    for call in (
        lambda: softlane.argmax(np.zeros(3), index_dtype=dtype),
        lambda: softlane.softmax(np.zeros(3), dtype=dtype),
    ):
        with pytest.raises(TypeError, match="expected a"):
            call()


ROWS = np.array([[0.2, 0.8], [0.5, 0.5]])
SECOND = {
    "cross_entropy": "target",
    "cross_entropy_with_grad": "target",
    "nll_loss": "target",
    "log_loss": "target",
    "binary_cross_entropy": "target",
    "binary_cross_entropy_with_grad": "target",
    "binary_cross_entropy_with_logits": "target",
    "binary_cross_entropy_with_logits_with_grad": "target",
    "expectation": "values",
    "kl_divergence": "y",
    "log_softmax_grad": "y",
    "rank": "indices",
    "sigmoid_grad": "y",
    "softmax_grad": "y",
    "take_log_probs": "indices",
    "topk": "k",
}


def test_all_functions_with_a_second_argument_are_known():
    """Those whose second argument has no default"""
    found = {}
    for name in softlane.__all__:
        if name != "__version__" and not inspect.isclass(getattr(softlane, name)):
            parameters = list(inspect.signature(getattr(softlane, name)).parameters.values())[:2]
            if len(parameters) == 2 and all(p.default is p.empty for p in parameters):
                found[name] = parameters[1].name
    assert found == SECOND


@pytest.mark.parametrize("name", SECOND)
@pytest.mark.parametrize("x", [ROWS, ROWS[0].tolist(), ROWS.astype(np.float32), ROWS[:, ::-1], ROWS[:0], 0.5], ids=repr)
def test_none_is_no_array(name, x):
    with pytest.raises((TypeError, ValueError)) as raised:
        getattr(softlane, name)(x, None)
    if np.size(x) and np.ndim(x):
        assert raised.type is TypeError
        assert f"{name}: {SECOND[name]} " in str(raised.value) and "None" in str(raised.value)


def test_masked_arrays_in_a_list_keep_no_secret():
    row = np.ma.array([1.0, 2.0], mask=[False, True])
    for x in ([row], (row, [1.0, 2.0])):
        with pytest.raises(TypeError, match=r"softmax: x\[0\] is a masked array"):
            softlane.softmax(x)
    np.testing.assert_array_equal(softlane.softmax([row.data, [1.0, 2.0]]), softlane.softmax([[1.0, 2.0], [1.0, 2.0]]))


class Resizing:
    """An element of a list whose conversion takes the memory of arrays away, or an argument that does."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def resize(self):
        for a in self.arrays:
            a.resize((1, 1), refcheck=False)

    def __array__(self, dtype=None, copy=None):
        self.resize()
        return np.array(0)

    def __float__(self):
        self.resize()
        return 0.5

    def __index__(self):
        self.resize()
        return 1

    __int__ = __index__

    @property
    def dtype(self):
        self.resize()
        return np.dtype(np.int64)


@pytest.mark.parametrize(
    ("name", "keyword", "first"),
    [
        ("softmax", "temperature", None),
        ("softmax", "where", None),
        ("logsumexp", "b", None),
        ("cross_entropy", "target", None),
        ("cross_entropy", "weight", "target"),
        ("cross_entropy", "sample_weight", "target"),
        ("nll_loss", "weight", "target"),
        ("take_log_probs", "indices", None),
        ("rank", "indices", None),
        ("expectation", "values", None),
        ("kl_divergence", "y", None),
        ("softmax_grad", "y", None),
        ("sigmoid", "temperature", None),
        ("binary_cross_entropy_with_logits", "weight", "target"),
        *[("sample", keyword, None) for keyword in ("temperature", "top_k", "top_p", "min_p", "uniform")],
        ("argmax", "temperature", None),
        ("topk", "temperature", "k"),
        ("stream.summarize", "target", None),
    ],
)
def test_no_array_is_resized_during_a_call(name, keyword, first):
    """By code of the caller, which runs where an argument is converted. Its memory would be gone while it is used."""
    x = np.zeros((2000, 200), np.float32)
    other = {"target": np.zeros(2000, int), "k": 2}.get(first)
    if name.startswith("binary"):
        other = np.zeros(x.shape, np.float32)
    given = {} if first is None else {first: other}
    per_class = keyword in ("weight", "values", "b") and not name.startswith("binary")
    given[keyword] = [Resizing(x)] + [0] * ((200 if per_class else 2000) - 1)
    function = softlane.stream.summarize if "." in name else getattr(softlane, name)
    with pytest.raises((ValueError, TypeError), match="cannot resize an array"):
        function(x, **given)
    assert x.shape == (2000, 200)
    x.resize((1, 1), refcheck=False)  # the call is over


@pytest.mark.filterwarnings("ignore:Setting the shape")  # of NumPy
@pytest.mark.parametrize("shape", [(2000, 200), (0, 200)])
def test_a_shape_that_changes_during_a_call(shape):
    """NumPy allows that. The call goes on with the shape that x had."""

    class Changing:
        def __float__(self):
            x.shape = shape[::-1]
            return 0.5

        def __array__(self, dtype=None, copy=None):
            return np.array(float(self))

    x, target = np.zeros(shape), np.zeros(shape)
    for call in (
        lambda: softlane.softmax(x, temperature=[Changing()] * shape[0] or Changing()),
        lambda: softlane.cross_entropy_with_grad(x, target, temperature=[Changing()] * shape[0] or Changing())[1],
        lambda: softlane.sigmoid(x, temperature=Changing()),
    ):
        assert call().shape == shape
        x.shape = shape


@pytest.mark.parametrize("function", [softlane.argmax, softlane.sample, lambda x, **o: softlane.topk(x, 1, **o)])
def test_an_index_dtype_that_resizes_x(function):
    """It comes before x is looked at."""
    x = np.zeros((2000, 200), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, about dtypes by attribute
        found = function(x, index_dtype=Resizing(x))
    assert x.shape == (1, 1)
    assert np.asarray(getattr(found, "indices", found)).ravel().tolist() == [0]


def test_a_list_in_itself():
    endless = []
    endless.append(endless)
    for call in (
        lambda: softlane.softmax(endless),
        lambda: softlane.cross_entropy(np.zeros((1, 2)), endless),
        lambda: softlane.expectation(np.zeros((1, 2)), endless),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()


def test_a_list_of_axes():
    with pytest.raises(TypeError, match=r"axis must be an integer, got .*; several axes are a tuple"):
        softlane.softmax(np.zeros((2, 2)), axis=[0, 1])


def test_a_python_number_beside_float32_logits():
    x = np.zeros(3, np.float32)
    assert softlane.kl_divergence(x, 0).dtype == softlane.kl_divergence(0, x).dtype == np.float32
    assert softlane.kl_divergence(x, np.float64(0)).dtype == softlane.kl_divergence(0, 0).dtype == np.float64


def test_a_temperature_of_0_where_there_are_no_classes():
    with pytest.raises(ValueError, match=r"temperature is 0\.0, expected positive, finite numbers$"):
        softlane.sigmoid(1.0, temperature=0)
    with pytest.raises(ValueError, match=r"temperature is -1\.0, expected 0 or positive, finite numbers$"):
        softlane.sample([1.0, 2.0], temperature=-1)


@pytest.mark.parametrize("count", [2, 3, 2000])
def test_a_mean_whose_sum_is_beyond_the_largest_number(count):
    big = 1.7e308
    x, chosen = np.array([[0.0, -big]] * count), np.ones(count, int)
    for loss in (
        softlane.cross_entropy(x, chosen),
        softlane.cross_entropy(x, chosen, sample_weight=np.full(count, 0.5)),
        softlane.cross_entropy(x[:, :, None], chosen[:, None], axis=1),
        softlane.cross_entropy_with_grad(x, chosen)[0],
        softlane.nll_loss(x, chosen),
        softlane.stream.summarize(x, target=chosen).cross_entropy(),
    ):
        np.testing.assert_allclose(loss, big, rtol=1e-15)
    for loss in (
        softlane.binary_cross_entropy_with_logits(x[:, 1], chosen),
        softlane.binary_cross_entropy_with_logits(np.repeat(x, 2, 0)[::2, 1], chosen),
        softlane.binary_cross_entropy_with_logits_with_grad(x[:, 1], chosen)[0],
        softlane.binary_cross_entropy(np.full(count, 0.5), chosen, weight=np.full(count, big)) / np.log(2),
    ):
        np.testing.assert_allclose(loss, big, rtol=512 * 2.0**-53)  # of up to 512 numbers that are added plainly
    assert softlane.cross_entropy(x, chosen, reduction="sum") == np.inf
    assert softlane.binary_cross_entropy_with_logits(x[:, 1], chosen, reduction="sum") == np.inf
    x[1, 1] = -np.inf
    assert softlane.cross_entropy(x, chosen) == np.inf
    assert softlane.binary_cross_entropy_with_logits(x[:, 1], chosen) == np.inf
    x[0] = np.nan
    assert np.isnan(softlane.cross_entropy(x, chosen))
    assert np.isnan(softlane.binary_cross_entropy_with_logits(x[:, 1], chosen))


def test_the_gradient_in_the_place_of_the_logits_does_not_spoil_such_a_mean():
    x = np.full(10000, 1.7e308)
    loss, grad = softlane.binary_cross_entropy_with_logits_with_grad(x, np.zeros(x.size), grad_out=x)
    np.testing.assert_allclose(loss, 1.7e308, rtol=512 * 2.0**-53)
    assert grad is x
    np.testing.assert_array_equal(x, 1e-4)


def test_weighted_logsumexp_where_a_scaled_logit_is_beyond_the_largest_number():
    x = np.array([1.7e308, 1.6e308])
    assert softlane.logsumexp(x, b=[1, -0.5], temperature=0.5, return_sign=True) == (np.inf, 1)
    assert softlane.logsumexp(x, b=[-0.5, 1], temperature=0.5, return_sign=True) == (np.inf, -1)
    assert softlane.logsumexp(-x, b=[1, -0.5], temperature=0.5, return_sign=True) == (-np.inf, -1)
    got, sign = softlane.logsumexp(x / 4, b=[1, -0.5], temperature=0.5, return_sign=True)
    assert (got, sign) == (x[0] / 2, 1)
    assert softlane.logsumexp([3.0, 3.0], b=[1, -1], temperature=0.5) == -np.inf
    # exp(1.7) - 0.5 exp(-1.7) and exp(1) - 3 exp(-1), although the logits differ by more than the largest number
    for x, b in (([1.7e308, -1.7e308], [1, -0.5]), ([1e308, -1e308], [1, -3])):
        exact = np.exp(x[0] / 1e308) + b[1] * np.exp(x[1] / 1e308)
        got = softlane.logsumexp(x, b=b, temperature=1e308, return_sign=True)
        np.testing.assert_allclose(got, (np.log(exact), 1), rtol=1e-14)
