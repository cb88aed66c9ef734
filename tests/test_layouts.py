"""How arrays lie in memory changes no bit: strides, byte order, alignment, outputs in place, large arrays in chunks."""

import warnings

import numpy as np
import pytest
from arrays import layouts, logits
from cases import FORMS, STORED, assert_same_bits, random
from ops import OPS, each_form, each_op, in_turn

each_with_an_output = pytest.mark.parametrize("op", [op for op in OPS if op.out], ids=str)

DTYPES = [np.dtype(t) for t in (np.float32, np.float64, np.float16)]


def dtype_for(op, form, dtypes=DTYPES):
    return dtypes[(OPS.index(op) + list(FORMS).index(form)) % len(dtypes)]


def replaced(items, key, value):
    items = items.copy()
    items[key] = value
    return items


def assert_all_same(got, expected, note):
    for a, b in zip(got, expected, strict=True):
        assert_same_bits(a, b, note)


# ---- inputs --------------------------------------------------------------------------------------------------------


@each_op
@each_form
@pytest.mark.any_isa
def test_every_layout_of_every_array_gives_the_bits_of_a_fresh_copy(op, form):
    """And no warning, and what has been given is as before."""
    shape, axis = FORMS[form]
    x = random(shape, dtype_for(op, form))
    x.reshape(-1)[[3, -3]] = np.nan, -np.inf
    given = op.given(x, axis)
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = op(given, axis)
        for i, array in enumerate(given):
            for note, view in layouts(array):
                before = view.copy()
                got = op(replaced(given, i, view), axis)
                assert_all_same(got, expected, f"argument {i} {note}")
                assert_same_bits(view.astype(array.dtype), before.astype(array.dtype), f"{note} was changed")
                for result in map(np.asarray, got):
                    assert result.dtype.isnative and result.flags.c_contiguous and not np.shares_memory(result, view)
        options = op.choices(shape, axis)[-1]
        expected = op(given, axis, **options)
        for name, array in options.items():
            for note, view in layouts(array):
                got = op(given, axis, **replaced(options, name, view))
                assert_all_same(got, expected, f"{name} {note}")
        np.add(np.float32(1), np.float32(2))  # nothing is left behind for the next ufunc to report


@each_op
@pytest.mark.any_isa
def test_arrays_with_strides_of_0(op):
    for n in (10, 100, 5000):
        for shape, axis, one in (((7, n), 1, np.s_[:1]), ((n, 7), 0, np.s_[:, :1]), ((7, n), 1, np.s_[:1, :1])):
            given = [
                np.broadcast_to(a[one], a.shape) if a.ndim == 2 else a for a in op.given(random(shape, "f4"), axis)
            ]
            assert_all_same(op(given, axis), op([a.copy() for a in given], axis), f"{shape} {axis}")


@each_op
@each_form
def test_alignment_does_not_matter(op, form):
    shape, axis = FORMS[form]
    given = op.given(random(shape, dtype_for(op, form, STORED), seed=2), axis)
    expected = op(given, axis)
    for shift in in_turn(op, list(FORMS).index(form), range(16), 5):
        moved = [at_element(a, shift) for a in given]
        assert_all_same(op(moved, axis), expected, f"arguments at {shift}")
        if op.out:
            out = at_element(np.empty_like(expected[-1]), 15 - shift)
            assert_all_same(op(moved, axis, out=out), expected, f"arguments at {shift}, out at {15 - shift}")


def at_element(array, shift):
    """A copy that begins so many elements after aligned memory."""
    room = np.empty(array.size + 16, array.dtype)
    moved = room[shift : shift + array.size].reshape(array.shape)
    moved[...] = array
    return moved


# ---- outputs -------------------------------------------------------------------------------------------------------


@each_with_an_output
@each_form
@pytest.mark.any_isa
def test_any_output_is_filled_and_returned(op, form):
    shape, axis = FORMS[form]
    for dtype in in_turn(op, list(FORMS).index(form), STORED):
        given = op.given(random(shape, dtype, seed=3), axis)
        expected = op(given, axis)[-1]
        check_out(lambda out, given=given: op(given, axis, out=out)[-1], expected)


@each_with_an_output
@each_form
@pytest.mark.any_isa
def test_an_output_may_overlap_any_argument(op, form):
    """In place, or shifted against it: all arguments are read before they are written over."""
    shape, axis = FORMS[form]
    for dtype in in_turn(op, list(FORMS).index(form), STORED):
        given = op.given(random(shape, dtype, seed=3), axis)
        expected = op(given, axis)[-1]
        for i, array in enumerate(given):
            if array.shape == expected.shape and array.dtype == expected.dtype:

                def call(moved, out, i=i, given=given):
                    return op(replaced(given, i, moved), axis, out=out)[-1]

                check_overlap(call, array, expected)


def check_out(compute, expected):
    """compute(out) returns out, filled with the bits of expected, whatever its layout."""
    shape, dtype, ndim = expected.shape, expected.dtype, expected.ndim
    memory = np.empty(expected.nbytes + 1, np.uint8)
    gaps = np.full((*shape, 2), -7, dtype)
    outs = {
        "plain": np.full(shape, 9, dtype),
        "strided": np.empty(tuple(2 * s for s in shape), dtype)[(slice(None, None, 2),) * ndim],
        "negative": np.empty(shape, dtype)[(slice(None, None, -1),) * ndim],
        "Fortran": np.empty(shape, dtype, order="F"),
        "misaligned": memory[1:].view(dtype).reshape(shape),
        "with gaps": gaps[..., 0],
        "subclass": np.empty(shape, dtype).view(np.recarray),
    }
    for name, out in outs.items():
        assert compute(out) is out, name
        assert_same_bits(out, expected, name)
    assert (gaps[..., 1] == -7).all()


def check_overlap(compute, x, expected):
    """compute(x, out) where out is x, or shares some of its memory."""
    size, shape = x.size, x.shape
    for x_at, out_at, x_order, out_order in (
        (0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 1, 1), (size // 2, 0, 1, 1), (0, size // 2, 1, 1), (0, size - 1, 1, 1),
        (0, 3, 1, 1), (0, size, 1, 1), (0, 0, 1, -1), (0, 0, -1, 1), (0, 0, -1, -1), (0, 1, -1, 1),
    ):  # fmt: skip
        memory = np.zeros(2 * size + 3, x.dtype)
        given = memory[x_at : x_at + size][::x_order].reshape(shape)
        out = memory[out_at : out_at + size][::out_order].reshape(shape)
        given[...] = x
        assert compute(given, out) is out
        assert_same_bits(out, expected, f"{x_at} {out_at} {x_order} {out_order}")
    for order in "CF":
        given = x.copy(order=order)
        assert compute(given, given) is given
        assert_same_bits(given, expected, f"in place, order {order}")


# ---- chunks --------------------------------------------------------------------------------------------------------

# More than the 2^18 elements that are copied at a time where the kernels cannot read an array as it is.
LARGE = [((3, 11, 9001), 1), ((50001, 7), 0), ((150, 3, 701), 2), ((2, 140001), 1), ((7, 50001), 0), ((3001, 100), 1)]
LARGE += [((20001, 40), 0), ((9001, 100), 0), ((2, 20011, 17), 1)]  # chunks narrower than a vector, if cut alike

VIEWS = {
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "negative": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
}


@each_op
@pytest.mark.any_isa
def test_a_large_array_in_chunks_has_the_bits_of_the_whole(op):
    """Chunks must not change the layout in which a row is computed."""
    for i, (shape, axis) in enumerate(in_turn(op, 0, LARGE, 3)):
        turn = OPS.index(op) + i
        dtype = [*DTYPES, np.dtype(np.uint8)][turn % 4]
        note, view = list(VIEWS.items())[turn % 3]
        given = op.given(logits(shape, dtype, seed=5), axis)
        choices = op.choices(shape, axis)
        options = choices[turn % len(choices)]
        expected = op(given, axis, **options)
        got = op([view(given[0]), *given[1:]], axis, **options)
        assert_all_same(got, expected, f"{shape} {axis} {note} x")
        strange = {name: view(a) if np.ndim(a) else a for name, a in options.items()}
        out = {"out": np.empty((*expected[-1].shape, 2), expected[-1].dtype)[..., 0]} if op.out else {}
        got = op([view(a) for a in given], axis, **strange, **out)
        assert_all_same(got, expected, f"{shape} {axis} {note}")
