"""The same bits on every path."""

import itertools

import pytest
from arrays import SMALL_INTEGERS, logits, special
from cases import FLOATS, FORMS_FROM_TWO, HARD, STORED, assert_same_bits, hard_rows
from ops import OPS, each_form, each_op, in_turn

from softlane import _core

PATHS = _core.available_isas()

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.skipif(len(PATHS) == 1, reason="this build and processor have the portable path only"),
]

# classes, inner length
SHAPES = [(n, 1) for n in (*range(1, 70), 127, 1000, 4095, 4096, 4097, 9001)]
SHAPES += [(n, inner) for n in (1, 2, 5, 33, 300) for inner in (2, 3, 9, 15, 16, 17, 40)]
SHAPES += [(4097, 3), (4097, 17)]


def assert_paths_agree(op, given, axis, note, **options):
    results = []
    for path in PATHS:
        assert _core.use_isa(path)
        results.append(op(given, axis, **options))
    for path, found in zip(PATHS[1:], results[1:], strict=True):
        for got, expected in zip(found, results[0], strict=True):
            assert_same_bits(got, expected, f"{path} and {PATHS[0]}: {note}")


TURNS = [(op, turn) for op in OPS for turn in in_turn(op, 0, range(len(HARD)))]


@pytest.mark.parametrize(("op", "turn"), TURNS, ids=str)
def test_all_paths_return_the_same_bits(op, turn):
    """Each kind of hard row in every shape, or one kind in each shape."""
    for i, (dtype, (n, inner)) in enumerate(itertools.product(FLOATS, SHAPES)):
        rows = (19, 1, 16, 7)[i % 4] if n <= 32 else (2, 5, 3)[i % 3] if n * inner < 3000 else 1
        make = HARD[(i + turn) % len(HARD)]
        x = hard_rows(make, rows * inner, n, dtype).reshape(rows, n, inner)
        assert_paths_agree(op, op.given(x, 1), 1, f"{make.__name__} {dtype} {x.shape}")


@each_op
@each_form
def test_all_paths_agree_on_special_values_and_options(op, form):
    shape, axis = FORMS_FROM_TWO[form]
    for dtype in in_turn(op, list(FORMS_FROM_TWO).index(form), [*STORED, *SMALL_INTEGERS], 3):
        x = special(shape, dtype, 3) if dtype in STORED else logits(shape, dtype, 3)
        given = op.given(x, axis)
        for options in op.choices(shape, axis):
            assert_paths_agree(op, given, axis, f"{dtype} {list(options)}", **options)
