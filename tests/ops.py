"""The table of operations: which function is called, with what, what it must return, and how close to that.

The suites (test_values, test_dtypes, test_paths, test_threads, test_batch, test_layouts, test_temporaries,
test_leaks, test_guard_pages) run over all rows of OPS: an operation that is added to the package needs a row here.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
import reference
import reference_losses
import reference_selection
from cases import FORMS, FUNCTIONS
from loss_cases import (
    BINARY,
    BINARY_TERMS,
    GRAD_OF_ONE,
    GRAD_OF_SUM,
    ONE_TERM,
    OVER_CLASSES,
    SLOPE,
    SUM_OF_LOOKUPS,
    SUM_OF_TERMS,
    WITH_GRAD,
    eps,
    grad_allowance,
    indices,
    made_for,
    probabilities,
    reduced,
    weights,
)

import softlane

# ---- arguments beside x --------------------------------------------------------------------------------------------
# Each makes an array for x and an axis of it. Those in PER_CLASS have a number for each class that all rows share; the
# others have something for each row: their first and last dimensions are those of x, unless these are the axis.


def floats_for(x):
    return reference.result_dtype(x.dtype)


def index(x, axis):
    return indices(x.shape, axis)


def index_or_ignored(x, axis):
    return indices(x.shape, axis, ignored=-100)


def small_index(x, axis):
    return index(x, axis).astype(np.uint8 if x.shape[axis] <= 256 else np.uint16)


def three_indices(x, axis):
    shape = [3 if i == axis % x.ndim else n for i, n in enumerate(x.shape)]
    return np.random.default_rng(1).integers(x.shape[axis], size=shape)


def distributions(x, axis):
    return probabilities(x.shape, axis, floats_for(x))


def booleans(x, axis):
    return distributions(x, axis) > 0.3 / x.shape[axis]


def log_distributions(x, axis):
    with np.errstate(divide="ignore"):
        return np.log(distributions(x, axis))


def class_weights(x, axis):
    return weights(x.shape[axis], floats_for(x))


def class_values(x, axis):
    return np.linspace(-1, 1, x.shape[axis])


def element_weights(x, axis):
    return np.asarray(weights(x.shape, floats_for(x)))


def fractions(x, axis):
    return np.random.default_rng(6).random(x.shape).astype(floats_for(x))


def element_values(x, axis):
    return np.random.default_rng(3).standard_normal(x.shape).astype(floats_for(x))


def other_logits(x, axis):
    """Some of them -inf, or NaN."""
    y = (np.random.default_rng(6).standard_normal(x.shape) * 3).astype(floats_for(x))
    for value in (-np.inf, np.nan):
        y[np.random.default_rng(7).random(x.shape) < 0.03 / x.shape[axis]] = value
    return y


def draws(x, axis):
    return uniform(x, axis, 0, 1)


def two_numbers(x, axis):
    return three_numbers(x, axis).take(range(min(x.shape[axis], 2)), axis)


def three_numbers(x, axis):
    return np.random.default_rng(4).random(three_indices(x, axis).shape)


def temperatures(x, axis):
    return uniform(x, axis, 0.3, 3)


def sample_weights(x, axis):
    w = uniform(x, axis, 0, 2)
    return np.where(w < 0.5, 0, w)


def top_ks(x, axis):
    return uniform(x, axis, 1, 60).astype(np.int64)


def top_ps(x, axis):
    return uniform(x, axis, 0.5, 1)


def min_ps(x, axis):
    return uniform(x, axis, 0, 0.02)


def uniform(x, axis, low, high):
    return np.random.default_rng(4).uniform(low, high, np.delete(x.shape, axis))


PER_CLASS = {class_weights, class_values}


class Draws(np.random.Generator):
    """A generator whose next draws are given, so that each row keeps its own in any batch."""

    def __init__(self, given):
        super().__init__(np.random.PCG64(0))
        self.given = given

    def random(self, size):
        assert size == self.given.shape
        return np.require(self.given, np.float64, "CA")


# ---- how close -----------------------------------------------------------------------------------------------------
# Each returns the largest error that is allowed of the exact results; `call` has x and all keywords of the call.


def none(exact, dtype, call):
    return 0 * exact


def ulps(exact, dtype, call):
    """The contract: 2 ULP. 0 is exact."""
    return np.where(exact == 0, 0, 2 * reference.ulp(exact, dtype))


def three_ulps(exact, dtype, call):
    return 1.5 * ulps(exact, dtype, call)


def divergence(exact, dtype, call):
    """2 ULP of float32, 4 of float64."""
    return ulps(exact, dtype, call) * (2 if dtype == np.float64 else 1)


def ulps_of_the_maximum(exact, dtype, call):
    """2 ULP of the result or of the row's maximum: the sum of the two can cancel."""
    top = scaled(**call).max(axis=call["axis"])
    return 2 * reference.ulp(np.maximum(np.abs(exact), np.where(np.isfinite(top), np.abs(top), 0)), dtype)


def loss_of(units):
    def bound(exact, dtype, call):
        size = np.size(call["x"]) if np.ndim(exact) == 0 else 0
        return np.abs(exact) * (reduced(units, dtype, size) if size else units * eps(dtype))

    return bound


def binary_loss(exact, dtype, call):
    return loss_of(BINARY_TERMS)(exact, dtype, call) + 8 * tiny(dtype)


def gradient_of(units):
    def bound(exact, dtype, call):
        size, least = grad_allowance(**call)
        return units * eps(dtype) * size + least

    return bound


def binary_gradient(exact, dtype, call):
    """BINARY_TERMS and the final product, of the sum of both terms."""
    t = np.asarray(call.get("temperature", 1), np.longdouble)
    x = call["x"].astype(np.longdouble)
    of_one, of_zero = reference_losses._binary_coefficients(
        call["x"], call["target"], call.get("weight"), call.get("pos_weight")
    )
    size = (of_one * reference_losses.exact_sigmoid(-x, t) + of_zero * reference_losses.exact_sigmoid(x, t)) / t
    least = 8 * tiny(dtype) * np.maximum(1, 1 / t)
    return (BINARY_TERMS + 1) * eps(dtype) * size / (x.size if call["reduction"] == "mean" else 1) + least


def slope(exact, dtype, call):
    """Of probabilities; and what the terms of the reference round away."""
    p = call["x"].astype(np.longdouble)
    of_one, of_zero = reference_losses._binary_coefficients(call["x"], call["target"], call.get("weight"))
    size = reference_losses._times(of_one, 1 / np.abs(p)) + reference_losses._times(of_zero, 1 / (1 - p))
    return SLOPE * eps(dtype) * np.abs(exact) + 4 * eps(np.longdouble) * size + 8 * tiny(dtype)


def sigmoid_vjp(exact, dtype, call):
    """1/2 for each of three roundings"""
    return 1.5 * eps(dtype) * np.abs(exact) + 4 * tiny(dtype)


def mean_value(exact, dtype, call):
    """4 eps of the same with every term positive."""
    size = reference_selection.exact_expectation(**{**call, "values": np.abs(call["values"])})
    return 4 * eps(dtype) * size + np.finfo(dtype).tiny


def softmax_vjp(exact, dtype, call):
    """2 eps of the result, and what a sum of float64, or of longdouble here, may lose where terms cancel."""
    g, y = np.abs(call["x"]).astype(np.longdouble), call["y"].astype(np.longdouble)
    terms = y * (g + (g * y).sum(axis=call["axis"], keepdims=True))
    return 2 * eps(dtype) * np.abs(exact) + lost(dtype) * terms + 4 * tiny(dtype)


def log_softmax_vjp(exact, dtype, call):
    """3 eps of the larger one of the terms g and exp(y) * sum(g)"""
    g, p, axis = call["x"].astype(np.longdouble), np.exp(call["y"].astype(np.longdouble)), call["axis"]
    term = np.maximum(np.abs(g), p * np.abs(g.sum(axis=axis, keepdims=True)))
    return 3 * eps(dtype) * term + lost(dtype) * p * np.abs(g).sum(axis=axis, keepdims=True) + 4 * tiny(dtype)


def lost(dtype):
    return 2.0**-60 if dtype == np.float64 else 2.0**-49


def drawn_log_prob(exact, dtype, call):
    return 4 * eps(dtype) * np.maximum(1, np.abs(exact))


def tiny(dtype):
    return np.finfo(dtype).smallest_subnormal


def scaled(x, axis, where=None, temperature=None):
    """x / temperature, -inf where it is hidden, in longdouble."""
    x = x.astype(np.longdouble)
    if temperature is not None:
        t = np.asarray(temperature, np.longdouble)
        x = x / (np.expand_dims(t, axis) if t.ndim else t)
    return x if where is None else np.where(where, x, -np.inf)


# ---- references ------------------------------------------------------------------------------------------------------


def exact_of(name):
    def exact(x, axis, where=None, temperature=None):
        return reference.exact(name, x, axis, where, temperature)

    return exact


def exact_sample(x, axis, return_log_probs, rng=None, uniform=None, size=None, replace=True, **options):
    u = rng.given if uniform is None else uniform
    index = reference_selection.sample(x, u, axis=axis, size=size, replace=replace, **options)
    p = reference_selection.kept(x, axis, **options)
    with np.errstate(divide="ignore"):
        return index, np.log(reference_selection._at(p, index, axis))


def exact_sigmoid(x, temperature=None):
    return reference_losses.exact_sigmoid(x.astype(np.longdouble), temperature)


def exact_log_sigmoid(x, temperature=None):
    return reference_losses.exact_log_sigmoid(x.astype(np.longdouble), temperature)


def exact_argmax(x, axis, return_probs, index_dtype=None, **options):
    return reference_selection.exact_argmax(x, axis, **options)


# ---- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Op:
    function: str
    arguments: dict = field(default_factory=dict)  # keyword: what makes it
    fixed: dict = field(default_factory=dict)  # keyword: value, or what it is for so many classes
    exact: object = None  # the reference, called as the function is; None where no order of the results is promised
    bounds: tuple = ()  # of the results that are no integers
    options: tuple = ()  # of "where", "temperature" and "dtype"
    out: str | None = None  # the keyword of an array for the last result
    takes_axis: bool = True
    per_row: bool = True  # or for the whole batch
    smallest_batch: int = 1  # from which on a row has the same bits
    narrow_as_rows: bool = True  # fewer columns than lanes, of more classes than short rows have, are turned into rows
    chunks: str = "never"  # when contiguous arrays may be copied chunk by chunk: "never", "columns" or "always"
    copies: bool = False  # needs as much as the results besides, or copies an argument
    note: str = ""

    def __str__(self):
        return f"{self.function}{self.note and ' '}{self.note}"

    def given(self, x, axis):
        """x, as the function takes it, and all other arrays."""
        return [made_for(self.function, x), *(make(x, axis) for make in self.arguments.values())]

    def keywords(self, given, axis, **options):
        named = dict(zip(self.arguments, given[1:], strict=True))
        if "rng" in named:
            named["rng"] = Draws(named["rng"])
        n = given[0].shape[axis] if self.takes_axis else None
        named |= {name: value(n) if callable(value) else value for name, value in self.fixed.items()}
        return {**named, **({"axis": axis} if self.takes_axis else {}), **options}

    def __call__(self, given, axis, **options):
        """A tuple of results."""
        if "out" in options:
            options[self.out] = options.pop("out")
        result = getattr(softlane, self.function)(given[0], **self.keywords(given, axis, **options))
        return tuple(result) if isinstance(result, tuple) else (result,)

    def part(self, given, index):
        """The arguments for some rows: the part at index of each array, unless that has a number for each class."""
        makers = [None, *self.arguments.values()]
        return [a if make in PER_CLASS else a[index] for make, a in zip(makers, given, strict=True)]

    def may_overwrite(self, x, result):
        """Whether x can be given as the output for the last result."""
        return self.out is not None and result.ndim == x.ndim and result.dtype == x.dtype

    @property
    def index_dtype(self):
        """Of the results that are integers."""
        return np.dtype(self.fixed.get("index_dtype", np.int64))

    def dtypes(self, x):
        """Of the results that are no integers: with one number for each row or sample they are wider."""
        if self.function in ONE_NUMBER_EACH:
            return [reference.row_dtype(x.dtype), floats_for(x)]
        return [floats_for(x)]

    def choices(self, shape, axis):
        """Dictionaries of options: none, a number for all rows with a whole mask, and something for each."""
        rng = np.random.default_rng(5)
        classes = [n if i == axis % len(shape) else 1 for i, n in enumerate(shape)]
        batch = np.delete(shape, axis)
        found = [
            {},
            {"where": rng.random(shape) < 0.7, "temperature": 0.7},
            {
                "where": rng.random(classes) < 0.5,
                "temperature": rng.uniform(0.3, 3, batch if self.takes_axis else shape),
            },
        ]
        found = [{name: value for name, value in options.items() if name in self.options} for options in found]
        return found if self.options else found[:1]

    def expected(self, given, axis, **options):
        """Of each result the exact value and the allowed error, which is 0 for integers."""
        call = self.keywords(given, axis, **options)
        with np.errstate(all="ignore"):
            exact = self.exact(given[0], **call)
            exact = [np.asarray(e) for e in (exact if isinstance(exact, tuple) else (exact,))]
            bounds, call["x"], dtype = iter(self.bounds), given[0], floats_for(given[0])
            return [(e, 0 if e.dtype.kind == "i" else np.nan_to_num(next(bounds)(e, dtype, call))) for e in exact]


ONE_NUMBER_EACH = {
    "take_log_probs",
    "sample",
    "expectation",
    "entropy",
    "kl_divergence",
    *OVER_CLASSES,
    *BINARY,
    *WITH_GRAD,
}


def part_of(options, shape, index):
    """The options for a part of the rows."""
    found = dict(options)
    if "where" in found:
        found["where"] = np.broadcast_to(found["where"], shape)[index]
    if np.ndim(found.get("temperature")):
        found["temperature"] = found["temperature"][index]
    return found


# ---- the table -----------------------------------------------------------------------------------------------------

ANY, ROW, MASK = ("where", "temperature", "dtype"), ("where", "temperature"), ("where",)
EACH, MEAN, SMOOTH = {"reduction": "none"}, {"reduction": "mean"}, {"reduction": "none", "label_smoothing": 0.1}
WEIGHTED = {"target": index_or_ignored, "weight": class_weights}
SOFT = {"target": distributions, "weight": class_weights}
ONE, MANY, LOOKUPS = (loss_of(ONE_TERM),), (loss_of(SUM_OF_TERMS),), (loss_of(SUM_OF_LOOKUPS),)
OF_ONE = (loss_of(ONE_TERM), gradient_of(GRAD_OF_ONE))
BOTH = (loss_of(SUM_OF_TERMS), gradient_of(GRAD_OF_SUM))


def softmax_like(function, *bounds):
    return Op(function, exact=exact_of(function), bounds=bounds, options=ANY, out="out")


def select(function, note="", arguments=None, bounds=(ulps,), exact=None, options=ROW, chunks="columns", **fixed):
    kinds = {name: fixed.pop(name) for name in ("out", "copies", "smallest_batch") if name in fixed}
    return Op(function, arguments or {}, fixed, exact, bounds, options, note=note, chunks=chunks, **kinds)


def topk(note, k, *bounds, exact=reference_selection.exact_topk, **fixed):
    return select("topk", note, None, bounds, exact, copies=note != "", k=k, **fixed)


def sample(note, arguments, options=ROW, **fixed):
    if "size" not in fixed:
        arguments = {"rng": draws, **arguments}
    return select("sample", note, arguments, (drawn_log_prob,), exact_sample, options, return_log_probs=True, **fixed)


def take(note, indices):
    return select("take_log_probs", note, {"indices": indices}, exact=reference_selection.exact_take_log_probs)


def rank(note, indices):
    return select("rank", note, {"indices": indices}, (), reference_selection.rank, MASK)


def expectation(note, values, **kinds):
    exact = reference_selection.exact_expectation
    return select("expectation", note, {"values": values}, (mean_value,), exact, out="out", **kinds)


def loss(function, note, arguments, fixed, bounds, **kinds):
    """Of classes; with its gradient where the function's name says so."""
    exact = getattr(reference_losses, f"exact_{function}")
    out = "grad_out" if function.endswith("grad") else None
    options = kinds.pop("options", ROW if function.startswith("cross") else ())
    return Op(function, arguments, fixed, exact, bounds, options, out, per_row=fixed is not MEAN, note=note, **kinds)


def gradient_of_output(function, y, bound, **kinds):
    exact = getattr(reference_losses, f"exact_{function}")
    return Op(function, {"y": y}, exact=exact, bounds=(bound,), out="out", narrow_as_rows=False, **kinds)


def sigmoid(function, exact):
    return Op(function, exact=exact, bounds=(ulps,), options=("temperature", "dtype"), out="out", takes_axis=False)


def binary(function, note, fixed, **arguments):
    of_logits = "logits" in function
    bounds = (binary_loss, binary_gradient if of_logits else slope)[: 2 if function.endswith("grad") else 1]
    options = ("temperature",) if of_logits else ()
    return loss(function, note, arguments, fixed, bounds, takes_axis=False, chunks="always", options=options)


OPS = [
    softmax_like("softmax", ulps),
    softmax_like("softmin", ulps),
    softmax_like("log_softmax", ulps),
    softmax_like("logsumexp", ulps_of_the_maximum),
    softmax_like("entropy", ulps),
    softmax_like("softmax_hessian_diag", three_ulps),
    select("kl_divergence", "", {"y": other_logits}, (divergence,), reference.exact_kl_divergence, out="out",
           chunks="always"),
    select("argmax", exact=exact_argmax, return_probs=True),
    select("argmax", "in int32", exact=exact_argmax, return_probs=True, index_dtype="int32"),
    topk("", lambda n: min(n, 5), ulps),
    topk("of log_probs", lambda n: min(n, 500), ulps, kind="log_probs"),
    topk("of logits", lambda n: n // 2, none, kind="logits"),
    topk("unsorted", lambda n: min(n, 500), exact=None, sorted=False),
    take("", index),
    take("of three", three_indices),
    rank("", small_index),
    rank("of three", three_indices),
    expectation("", class_values),
    # A batch of one row has values for each class, whose products are added up in another order.
    expectation("of elements", element_values, chunks="always", copies=True, smallest_batch=2),
    sample("", {}),
    sample("of 5", {}, top_k=5),
    sample("filtered", {"top_k": top_ks, "top_p": top_ps, "min_p": min_ps}),
    sample("of three", {"uniform": three_numbers}, size=3),
    sample("of three filtered", {"uniform": three_numbers, "top_k": top_ks, "top_p": top_ps, "min_p": min_ps}, size=3),
    sample("of two without replacement", {"uniform": two_numbers}, options=("temperature",), size=lambda n: min(n, 2),
           replace=False),
    loss("cross_entropy", "", {"target": index}, EACH, (ulps,)),
    loss("cross_entropy", "weighted", WEIGHTED, MEAN, ONE),
    loss("cross_entropy", "smooth", WEIGHTED, SMOOTH, MANY),
    loss("cross_entropy", "soft", SOFT, SMOOTH, MANY),
    loss("cross_entropy_with_grad", "", {"target": small_index}, EACH, (ulps, gradient_of(GRAD_OF_ONE))),
    loss("cross_entropy_with_grad", "weighted", WEIGHTED, MEAN, OF_ONE),
    loss("cross_entropy_with_grad", "smooth", WEIGHTED, SMOOTH, BOTH),
    loss("cross_entropy_with_grad", "soft", SOFT, SMOOTH, BOTH),
    loss("cross_entropy_with_grad", "of samples", {"target": index, "sample_weight": sample_weights}, EACH, OF_ONE),
    loss("cross_entropy_with_grad", "soft of samples", {**SOFT, "sample_weight": sample_weights}, SMOOTH, BOTH),
    loss("cross_entropy_with_grad", "of booleans", {"target": booleans}, MEAN, BOTH, chunks="always"),
    loss("nll_loss", "", WEIGHTED, EACH, ONE),
    loss("nll_loss", "soft", SOFT, MEAN, LOOKUPS),
    loss("nll_loss", "of samples", {**WEIGHTED, "sample_weight": sample_weights}, EACH, LOOKUPS),
    loss("log_loss", "", WEIGHTED, MEAN, ONE),
    loss("log_loss", "soft", SOFT, EACH, LOOKUPS),
    loss("log_loss", "soft of samples", {**SOFT, "sample_weight": sample_weights}, EACH, LOOKUPS),
    gradient_of_output("softmax_grad", distributions, softmax_vjp),
    gradient_of_output("log_softmax_grad", log_distributions, log_softmax_vjp),
    gradient_of_output("sigmoid_grad", fractions, sigmoid_vjp, takes_axis=False),
    sigmoid("sigmoid", exact_sigmoid),
    sigmoid("log_sigmoid", exact_log_sigmoid),
    binary("binary_cross_entropy", "", EACH, target=distributions, weight=element_weights),
    binary("binary_cross_entropy", "mean", MEAN, target=booleans),
    binary("binary_cross_entropy_with_grad", "", EACH, target=fractions, weight=element_weights),
    binary("binary_cross_entropy_with_grad", "mean", MEAN, target=booleans),
    binary("binary_cross_entropy_with_logits", "", EACH, target=distributions, pos_weight=element_weights),
    binary("binary_cross_entropy_with_logits", "mean", MEAN, target=booleans),
    binary("binary_cross_entropy_with_logits_with_grad", "", EACH, target=distributions, weight=element_weights,
           pos_weight=element_weights),
    binary("binary_cross_entropy_with_logits_with_grad", "mean", MEAN, target=booleans,
           pos_weight=element_weights),
]  # fmt: skip

each_op = pytest.mark.parametrize("op", OPS, ids=str)
each_row_op = pytest.mark.parametrize("op", [op for op in OPS if op.per_row], ids=str)


def in_turn(op, turn, choices, count=1):
    """All choices for the functions that the others are made of, and for the others as many as count.

    Which ones depends on the row of the table and on turn: all functions together see every choice in every turn.
    """
    if op.function in FUNCTIONS:
        return list(choices)
    first = OPS.index(op) + turn
    return [choices[(first + i) % len(choices)] for i in range(count)]


each_form = pytest.mark.parametrize("form", FORMS)
