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
    BINARY_TERMS,
    GRAD_OF_ONE,
    GRAD_OF_SUM,
    ONE_TERM,
    SUM_IN_PAIRS,
    SUM_OF_TERMS,
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


def element_values(x, axis):
    return np.random.default_rng(3).standard_normal(x.shape).astype(floats_for(x))


def draws(x, axis):
    return uniform(x, axis, 0, 1)


def temperatures(x, axis):
    return uniform(x, axis, 0.3, 3)


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
    x = call["x"].astype(np.longdouble)
    of_one, of_zero = reference_losses._binary_coefficients(
        call["x"], call["target"], call.get("weight"), call.get("pos_weight")
    )
    size = of_one * reference_losses.exact_sigmoid(-x) + of_zero * reference_losses.exact_sigmoid(x)
    return (BINARY_TERMS + 1) * eps(dtype) * size / (x.size if call["reduction"] == "mean" else 1) + 8 * tiny(dtype)


def mean_value(exact, dtype, call):
    """4 eps of the same with every term positive."""
    size = reference_selection.exact_expectation(**{**call, "values": np.abs(call["values"])})
    return 4 * eps(dtype) * size + np.finfo(dtype).tiny


def softmax_vjp(exact, dtype, call):
    """20 eps of the same with every term positive: two sums, which may cancel, a difference and a product."""
    g, y = np.abs(call["x"]).astype(np.longdouble), call["y"].astype(np.longdouble)
    return 20 * eps(dtype) * y * (g + (g * y).sum(axis=call["axis"], keepdims=True)) + 4 * tiny(dtype)


def log_softmax_vjp(exact, dtype, call):
    g, y = np.abs(call["x"]).astype(np.longdouble), call["y"].astype(np.longdouble)
    return 20 * eps(dtype) * (g + np.exp(y) * g.sum(axis=call["axis"], keepdims=True)) + 4 * tiny(dtype)


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


def exact_sample(x, rng, axis, return_log_probs, **options):
    index, _ = reference_selection.sample(x, rng.given, axis=axis, return_log_probs=True, **options)
    p = reference_selection.kept(x, axis, **options)
    with np.errstate(divide="ignore"):
        return index, np.log(reference_selection._at(p, index, axis))


def exact_sigmoid(x):
    return reference_losses.exact_sigmoid(x.astype(np.longdouble))


def exact_log_sigmoid(x):
    return reference_losses.exact_log_sigmoid(x.astype(np.longdouble))


def exact_argmax(x, axis, return_probs, **options):
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
        """The arguments for some rows, of which index takes the part of every array that is not one for each class."""
        makers = [None, *self.arguments.values()]
        return [a if make in PER_CLASS else a[index] for make, a in zip(makers, given, strict=True)]

    def fills(self, x):
        """Whether x can be given as the output."""
        return self.out is not None and self.function != "logsumexp" and self.function != "expectation"

    def choices(self, shape, axis):
        """Dictionaries of options: none, a number for all rows with a whole mask, and something for each."""
        rng = np.random.default_rng(5)
        classes = [n if i == axis % len(shape) else 1 for i, n in enumerate(shape)]
        batch = np.delete(shape, axis)
        found = [
            {},
            {"where": rng.random(shape) < 0.7, "temperature": 0.7},
            {"where": rng.random(classes) < 0.5, "temperature": rng.uniform(0.3, 3, batch)},
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


def part_of(options, shape, index):
    """The options for a part of the rows."""
    found = dict(options)
    if "where" in found:
        found["where"] = np.broadcast_to(found["where"], shape)[index]
    if np.ndim(found.get("temperature")):
        found["temperature"] = found["temperature"][index]
    return found


# ---- the table -------------------------------------------------------------------------------------------------------

ANY = ("where", "temperature", "dtype")
ROW = ("where", "temperature")
CROSS_ENTROPY = {"exact": reference_losses.exact_cross_entropy}
WITH_GRAD = {"exact": reference_losses.exact_cross_entropy_with_grad, "out": "grad_out"}
NLL = {"exact": reference_losses.exact_nll_loss}
LOG = {"exact": reference_losses.exact_log_loss}
BINARY = {"exact": reference_losses.exact_binary_cross_entropy, "bounds": (binary_loss,), "takes_axis": False}
LOGITS = {**BINARY, "exact": reference_losses.exact_binary_cross_entropy_with_logits}
LOGITS_WITH_GRAD = {
    "exact": reference_losses.exact_binary_cross_entropy_with_logits_with_grad,
    "bounds": (binary_loss, binary_gradient), "takes_axis": False, "out": "grad_out",
}  # fmt: skip
EACH, MEAN = {"reduction": "none"}, {"reduction": "mean"}
SMOOTH = {"label_smoothing": 0.1}
WEIGHTED = {"target": index_or_ignored, "weight": class_weights}
SOFT = {"target": distributions, "weight": class_weights}

OPS = [
    Op("softmax", exact=exact_of("softmax"), bounds=(ulps,), options=ANY, out="out"),
    Op("log_softmax", exact=exact_of("log_softmax"), bounds=(ulps,), options=ANY, out="out"),
    Op("logsumexp", exact=exact_of("logsumexp"), bounds=(ulps_of_the_maximum,), options=ANY, out="out"),
    Op("argmax", {}, {"return_probs": True}, exact=exact_argmax, bounds=(ulps,), options=ROW),
    Op("topk", {}, {"k": lambda n: min(n, 5)}, exact=reference_selection.exact_topk, bounds=(ulps,), options=ROW),
    Op("topk", {}, {"k": lambda n: min(n, 500), "kind": "log_probs"}, note="of log_probs",
       exact=reference_selection.exact_topk, bounds=(ulps,), options=ROW),
    Op("topk", {}, {"k": lambda n: n // 2, "kind": "logits"}, note="of logits",
       exact=reference_selection.exact_topk, bounds=(none,), options=ROW),
    Op("topk", {}, {"k": lambda n: min(n, 500), "sorted": False}, note="unsorted", options=ROW),
    Op("take_log_probs", {"indices": index}, exact=reference_selection.exact_take_log_probs, bounds=(ulps,),
       options=ROW),
    Op("take_log_probs", {"indices": three_indices}, exact=reference_selection.exact_take_log_probs, bounds=(ulps,),
       options=ROW, note="of three"),
    Op("rank", {"indices": small_index}, exact=reference_selection.rank, options=("where",)),
    Op("rank", {"indices": three_indices}, exact=reference_selection.rank, options=("where",), note="of three"),
    Op("expectation", {"values": class_values}, exact=reference_selection.exact_expectation, bounds=(mean_value,),
       options=ROW, out="out"),
    Op("expectation", {"values": element_values}, exact=reference_selection.exact_expectation, bounds=(mean_value,),
       options=ROW, out="out", note="of elements",
       smallest_batch=2),  # one row has values for each class, whose products are added up in another order
    Op("sample", {"rng": draws}, {"return_log_probs": True}, exact=exact_sample, bounds=(drawn_log_prob,), options=ROW),
    Op("sample", {"rng": draws}, {"return_log_probs": True, "top_k": 5}, exact=exact_sample, bounds=(drawn_log_prob,),
       options=ROW, note="of 5"),
    Op("sample", {"rng": draws, "top_k": top_ks, "top_p": top_ps, "min_p": min_ps}, {"return_log_probs": True},
       exact=exact_sample, bounds=(drawn_log_prob,), options=ROW, note="filtered"),
    Op("cross_entropy", {"target": index}, EACH, **CROSS_ENTROPY, bounds=(ulps,)),
    Op("cross_entropy", WEIGHTED, MEAN, **CROSS_ENTROPY, bounds=(loss_of(ONE_TERM),), per_row=False, note="weighted"),
    Op("cross_entropy", WEIGHTED, {**EACH, **SMOOTH}, **CROSS_ENTROPY, bounds=(loss_of(SUM_OF_TERMS),), note="smooth"),
    Op("cross_entropy", SOFT, {**EACH, **SMOOTH}, **CROSS_ENTROPY, bounds=(loss_of(SUM_OF_TERMS),), note="soft"),
    Op("cross_entropy_with_grad", {"target": small_index}, EACH, **WITH_GRAD, bounds=(ulps, gradient_of(GRAD_OF_ONE))),
    Op("cross_entropy_with_grad", WEIGHTED, {**MEAN, **SMOOTH}, **WITH_GRAD, per_row=False, note="weighted",
       bounds=(loss_of(SUM_OF_TERMS), gradient_of(GRAD_OF_SUM))),
    Op("cross_entropy_with_grad", WEIGHTED, {**EACH, **SMOOTH}, **WITH_GRAD, note="smooth",
       bounds=(loss_of(SUM_OF_TERMS), gradient_of(GRAD_OF_SUM))),
    Op("cross_entropy_with_grad", SOFT, {**EACH, **SMOOTH}, **WITH_GRAD, note="soft",
       bounds=(loss_of(SUM_OF_TERMS), gradient_of(GRAD_OF_SUM))),
    Op("cross_entropy_with_grad", {"target": booleans}, MEAN, **WITH_GRAD, per_row=False, note="of booleans",
       bounds=(loss_of(SUM_OF_TERMS), gradient_of(GRAD_OF_SUM))),
    Op("nll_loss", WEIGHTED, EACH, **NLL, bounds=(loss_of(ONE_TERM),)),
    Op("nll_loss", SOFT, MEAN, **NLL, bounds=(loss_of(SUM_IN_PAIRS),), per_row=False, note="soft"),
    Op("log_loss", WEIGHTED, MEAN, **LOG, bounds=(loss_of(ONE_TERM),), per_row=False),
    Op("log_loss", SOFT, EACH, **LOG, bounds=(loss_of(SUM_IN_PAIRS),), note="soft"),
    Op("softmax_grad", {"y": distributions}, exact=reference_losses.exact_softmax_grad, bounds=(softmax_vjp,),
       out="out", narrow_as_rows=False),
    Op("log_softmax_grad", {"y": log_distributions}, exact=reference_losses.exact_log_softmax_grad,
       bounds=(log_softmax_vjp,), out="out", narrow_as_rows=False),
    Op("sigmoid", exact=exact_sigmoid, bounds=(ulps,), options=("dtype",), out="out", takes_axis=False),
    Op("log_sigmoid", exact=exact_log_sigmoid, bounds=(ulps,), options=("dtype",), out="out", takes_axis=False),
    Op("binary_cross_entropy", {"target": distributions, "weight": element_weights}, EACH, **BINARY),
    Op("binary_cross_entropy_with_logits", {"target": distributions, "pos_weight": element_weights}, EACH, **LOGITS),
    Op("binary_cross_entropy_with_logits", {"target": booleans}, MEAN, **LOGITS, per_row=False, note="mean"),
    Op("binary_cross_entropy_with_logits_with_grad",
       {"target": distributions, "weight": element_weights, "pos_weight": element_weights}, EACH, **LOGITS_WITH_GRAD),
    Op("binary_cross_entropy_with_logits_with_grad", {"target": booleans, "pos_weight": element_weights}, MEAN,
       **LOGITS_WITH_GRAD, per_row=False, note="mean"),
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
