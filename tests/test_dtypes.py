"""16-bit floats and integers give the bits of the same numbers in float32 or float64, rounded once."""

import numpy as np
import pytest
import reference
from arrays import SMALL_INTEGERS, WIDE_INTEGERS, logits
from cases import FORMS, HALVES, STORED, assert_same_bits
from ops import OPS, each_form, each_op, in_turn

import softlane

pytestmark = pytest.mark.any_isa  # test_paths.py compares the paths on these dtypes


def computed_in(dtype):
    return np.dtype(np.float64 if reference.result_dtype(dtype) == np.float64 else np.float32)


def rounded(a, dtype):
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(a).astype(dtype)


@each_op
@each_form
def test_results_are_those_of_the_widened_input_rounded_once(op, form):
    shape, axis = FORMS[form]
    for dtype in (*HALVES, *SMALL_INTEGERS, *in_turn(op, list(FORMS).index(form), WIDE_INTEGERS)):
        given = op.given(logits(shape, dtype, seed=4), axis)
        wide = [given[0].astype(computed_in(dtype))]
        wide += [a.astype(np.float32) if a.dtype in HALVES else a for a in given[1:]]
        for options in op.choices(shape, axis)[:: 2 if dtype in HALVES else 3]:
            for got, expected in zip(op(given, axis, **options), op(wide, axis, **options), strict=True):
                assert_same_bits(got, rounded(expected, got.dtype), f"{dtype} {options}")


@pytest.mark.parametrize("op", [op for op in OPS if "dtype" in op.options], ids=str)
@each_form
def test_any_dtype_of_the_result_is_rounded_once_too(op, form):
    shape, axis = FORMS[form]
    for dtype in (*STORED, *SMALL_INTEGERS, *WIDE_INTEGERS):
        x = logits(shape, dtype, seed=10)
        for wanted in STORED:
            compute = np.promote_types(computed_in(dtype), computed_in(wanted))
            (got,) = op([x], axis, dtype=wanted)
            assert got.dtype == wanted
            assert_same_bits(got, rounded(op([x.astype(compute)], axis)[0], wanted), f"{dtype} to {wanted}")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_16_bit_numbers_for_rows_and_losses_are_rounded_from_the_compute_dtype(dtype):
    """Of 2^16 rows, or as many losses; one in some thousands would differ if they were rounded from another dtype."""
    rng = np.random.default_rng(6)
    for compute, x_dtype in ((np.float32, dtype), (np.float64, np.float64)):
        x, v = (rng.standard_normal((1 << 16, 4)).astype(x_dtype) for _ in range(2))
        p, target = rng.random((1 << 16, 4)).astype(x_dtype), rng.integers(0, 2, (1 << 16, 4))
        for call in (
            lambda o, x=x, v=v: softlane.expectation(x, v, **o),
            lambda o, x=x, v=v: softlane.expectation(x, v, temperature=1e10, **o),
            lambda o, x=x, target=target: softlane.cross_entropy(x, target[:, 0], reduction="none", **o),
            lambda o, p=p, target=target: softlane.log_loss(p, target[:, 0], reduction="none", **o),
            lambda o, p=p, target=target: softlane.binary_cross_entropy(p, target, reduction="none", **o),
            lambda o, x=x, target=target: softlane.binary_cross_entropy_with_logits(x, target, reduction="none", **o),
        ):
            assert_same_bits(call({"dtype": dtype}), rounded(call({"dtype": compute}), dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_16_bit_float_is_read_and_rounded_right(dtype, isa):
    """All 65536 bit patterns: logsumexp of one class is the number itself, through both conversions."""
    x = np.arange(65536, dtype=np.uint16).view(dtype)
    nan = np.isnan(x.astype(np.float32))
    for got in (softlane.logsumexp(x[:, None]), softlane.logsumexp(x.reshape(256, 1, 256), axis=1).ravel()):
        assert_same_bits(got[~nan], x[~nan] + dtype.type(0))  # -0.0 + log(1) is 0.0
        assert (got[nan].view(np.uint16) == (0x7E00 if dtype == np.float16 else 0x7FC0)).all()
    # Halfway cases and their neighbours: probabilities of two classes over the whole range, against another rounding
    pairs = np.stack([x[~nan], np.zeros_like(x[~nan])], axis=1)
    with np.errstate(all="ignore"):
        assert_same_bits(softlane.softmax(pairs), softlane.softmax(pairs.astype(np.float32)).astype(dtype))
        assert_same_bits(softlane.log_softmax(pairs), softlane.log_softmax(pairs.astype(np.float32)).astype(dtype))
