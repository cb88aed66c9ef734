"""What comes back: the dtype for every dtype, the shape for every axis, without rows, and scalars for single rows."""

import ml_dtypes
import numpy as np
import pytest
import reference
from cases import FLOATS, STORED, assert_same_bits, random
from loss_cases import assert_within
from ops import OPS, each_op

pytestmark = pytest.mark.any_isa

RESULTS = {
    np.float32: np.float32, np.float64: np.float64, np.float16: np.float16, ml_dtypes.bfloat16: ml_dtypes.bfloat16,
    np.bool_: np.float32, np.int8: np.float32, np.uint8: np.float32, np.int16: np.float32, np.uint16: np.float32,
    np.int32: np.float64, np.uint32: np.float64, np.int64: np.float64, np.uint64: np.float64,
    np.intc: np.float64, np.longlong: np.float64, np.ulonglong: np.float64,
}  # fmt: skip

each_op_with_reference = pytest.mark.parametrize("op", [op for op in OPS if op.exact], ids=str)


def assert_as_expected(op, results, expected, x, note):
    dtypes = iter(op.dtypes(x))
    for got, (exact, allowed) in zip(results, expected, strict=True):
        assert got.dtype == (op.index_dtype if exact.dtype.kind == "i" else next(dtypes)), note
        assert type(got) is (np.ndarray if exact.ndim else got.dtype.type), note
        assert_within(got, exact, allowed, note)


@each_op
@pytest.mark.parametrize(("given", "result"), RESULTS.items(), ids=lambda d: np.dtype(d).name)
def test_dtypes(op, given, result):
    """The bits are those of the same numbers in the dtype of the result."""
    assert reference.result_dtype(given) == result
    x = np.array([[0, 1, 1, 0], [1, 0, 0, 0]]).astype(given)
    for axis in (0, 1):
        x_as_taken, *others = op.given(x, axis)
        results = op([x_as_taken, *others], axis)
        dtypes = iter(op.dtypes(x))
        for got, expected in zip(results, op([x_as_taken.astype(result), *others], axis), strict=True):
            assert_same_bits(got, expected)
            assert got.dtype == (op.index_dtype if got.dtype.kind == "i" else next(dtypes))
        if op.out:
            out = np.empty_like(results[-1])
            assert op([x_as_taken, *others], axis, out=out)[-1] is out
            assert_same_bits(out, results[-1])


@each_op_with_reference
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_axis_of_many_dimensions(op, dtype):
    x = random((2, 3, 1, 4, 5), dtype)
    for axis in range(5 if op.takes_axis else 1):
        given = op.given(x, axis)
        results = op(given, axis)
        assert_as_expected(op, results, op.expected(given, axis), x, axis)
        for same in (axis - 5, np.int8(axis)):
            for got, expected in zip(op(given, same), results, strict=True):
                assert_same_bits(got, expected, f"axis {same}")


@each_op_with_reference
@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_no_rows(op, dtype):
    for shape, axis in (((0, 3), 1), ((0, 5000), 1), ((3, 0), 0), ((2, 5, 0), 1), ((0, 5, 4), 1)):
        given, wide = (op.given(np.empty(shape, d), axis) for d in (dtype, np.float32))
        assert_as_expected(op, op(given, axis), op.expected(wide, axis), given[0], shape)


@each_op
@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_results_without_dimensions_are_scalars(op, dtype):
    for x in (random(7, dtype), random(5000, dtype), random(14, dtype)[::2]):
        given = op.given(x, 0)
        dtypes = iter(op.dtypes(x))
        for got in op(given, 0):
            kind = op.index_dtype.type if got.dtype.kind == "i" else next(dtypes).type
            assert type(got) is (kind if got.ndim == 0 else np.ndarray)
