"""Every operation is as close to its reference as the table says, in every form, special rows and options included."""

import itertools

import numpy as np
import pytest
import reference
from arrays import special
from cases import FLOATS, FORMS_FROM_TWO, random
from loss_cases import assert_within
from ops import OPS, each_form

import softlane

pytestmark = pytest.mark.any_isa  # test_paths.py compares the paths


def test_every_function_has_a_row():
    no_operations = {"TopK", "__version__", "get_num_threads", "num_threads", "set_num_threads", "show_config"}
    assert {op.function for op in OPS} == set(softlane.__all__) - no_operations


def problems(op, form, dtype):
    shape, axis = FORMS_FROM_TWO[form]
    both = [op.given(x, axis) for x in (random(shape, dtype, seed=1), special(shape, dtype, seed=2))]
    # The reference divides by a temperature in longdouble, which is precise enough for float32.
    choices = op.choices(shape, axis) if dtype == np.float32 else [{}]
    found = list(itertools.product(both, choices))
    if np.prod(shape) > 20_000:
        found = found[-1:]
    return [(given, options, op.expected(given, axis, **options)) for given, options in found]


@pytest.mark.parametrize("op", [op for op in OPS if op.exact], ids=str)
@pytest.mark.parametrize("dtype", [dtype for dtype in FLOATS if reference.EXACT[dtype]], ids=str)
@each_form
def test_results_are_as_close_to_the_reference_as_the_table_says(op, form, dtype):
    axis = FORMS_FROM_TWO[form][1]
    for given, options, expected in problems(op, form, dtype):
        for got, (exact, allowed) in zip(op(given, axis, **options), expected, strict=True):
            if exact.dtype.kind == "i":
                np.testing.assert_array_equal(got, exact)
            else:
                assert_within(got, exact, allowed, f"{options}")
