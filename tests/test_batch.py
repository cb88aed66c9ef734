"""The result of a row is a function of that row alone: the same bits in any batch, at any place of it."""

import numpy as np
import pytest
from cases import STORED, assert_same_bits, random
from loss_cases import made_for
from ops import OPS, each_row_op, in_turn, part_of

pytestmark = pytest.mark.any_isa  # test_paths.py compares the paths, in batches of many sizes

each_with_an_axis = pytest.mark.parametrize("op", [op for op in OPS if op.per_row and op.takes_axis], ids=str)
each_elementwise = pytest.mark.parametrize("op", [op for op in OPS if op.per_row and not op.takes_axis], ids=str)

ROWS = 19  # a vector of 16 and some more


PARTS = [slice(ROWS - 1, ROWS)]
PARTS += [slice(start, start + size) for size in (2, 3, 7, 15, 16, 17) for start in {0, 1, ROWS - size}]


def assert_part(op, given, index, whole, axis=-1, note="", **options):
    for got, a in zip(op(op.part(given, index), axis, **options), whole, strict=True):
        assert_same_bits(got, a[index], f"{index} {note}")


def batch(n, dtype):
    x = random((ROWS, n), dtype, seed=n)
    x[5, n // 2] += 20  # a confident row among ordinary ones
    x[9] += 20000  # one far from zero
    x[11, 0] = np.nan
    x[13] = np.round(x[13])  # and one with ties
    return x


@each_row_op
@pytest.mark.parametrize(
    ("turn", "n"), list(enumerate([1, 2, 10, 16, 17, 31, 32, 33, 100, 257, 1000, 4096, 4097, 8193]))
)
def test_a_row_alone_and_at_every_position_of_a_batch(op, turn, n):
    for dtype in in_turn(op, turn, STORED):
        given = op.given(batch(n, dtype), 1)
        for options in op.choices((ROWS, n), 1)[::2]:
            whole = op(given, 1, **options)
            parts = range(ROWS) if op.smallest_batch == 1 else []
            for part in [*parts, *PARTS[op.smallest_batch - 1 :]]:
                assert_part(op, given, part, whole, **part_of(options, (ROWS, n), part))


@each_row_op
@pytest.mark.parametrize(("turn", "n"), list(enumerate([3, 32, 50, 1000, 4097])))
def test_neighbours_do_not_matter(op, turn, n):
    """Whatever the other rows hold: NaN, infinities, confident rows, rows far from zero. In place as well."""
    for dtype in in_turn(op, turn, STORED, 2):
        given = op.given(random((17, n), dtype, seed=n), 1)
        x, alone = given[0], op(op.part(given, slice(8, 8 + op.smallest_batch)), 1)
        for fill in (np.nan, np.inf, -np.inf, 0, 30000, -30000):
            others = np.full_like(x, fill)
            others[:, 0] += 5 if np.isfinite(fill) else 0
            others = made_for(op.function, others)
            others[8] = x[8]
            for options in [{}, {"out": others}] if op.may_overwrite(x, alone[-1]) else [{}]:
                for got, a in zip(op([others, *given[1:]], 1, **options), alone, strict=True):
                    assert_same_bits(got[8], a[0], f"{dtype} among {fill} {list(options)}")


@each_with_an_axis
@pytest.mark.parametrize(("turn", "n"), list(enumerate([1, 2, 5, 21, 33, 300, 4097])))
def test_a_column_among_any_other_columns(op, turn, n):
    """Any part of an inner axis has the bits of the whole, or those of rows where columns are turned into rows."""
    for dtype in in_turn(op, turn, STORED):
        given = op.given(random((3, n, 70), dtype, seed=n), 1)
        whole = op(given, 1)
        lanes = 64 // np.dtype(dtype).itemsize
        for width in (2, 7, 8, 15, 16, 17, 33, 64) if n < 1000 else (3, 8, 15, 16, 33):
            for start in {0, 5, 70 - width} if n < 1000 else {5}:
                columns = np.s_[..., start : start + width]
                if n > 32 and width < lanes and op.narrow_as_rows:
                    assert_as_rows(op, op.part(given, columns), f"{dtype} {columns}")
                else:
                    assert_part(op, given, columns, whole, 1, dtype)
        for i in range(3):
            assert_part(op, given, slice(i, i + 1), whole, 1, dtype)


def assert_as_rows(op, given, note):
    """The bits of the same rows with the classes last."""
    rows = [np.ascontiguousarray(a.swapaxes(1, 2)) if a.ndim == 3 else a for a in given]
    for got, a in zip(op(given, 1), op(rows, -1), strict=True):
        assert_same_bits(got, a.swapaxes(1, 2) if a.ndim == 3 else a, note)


@each_elementwise
def test_an_element_at_every_place(op):
    for dtype in STORED:
        given = op.given(random(101, dtype), 0)
        whole = op(given, 0)
        for i in range(101):
            for part in (i, slice(i, None), slice(0, i)):
                assert_part(op, given, part, whole, note=dtype)
