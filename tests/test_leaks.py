"""Calls keep nothing: no memory, no reference, whether they return or raise."""

import sys

import numpy as np
import pytest
from cases import FUNCTIONS, random
from memory import assert_below, blocks_kept, bytes_kept
from ops import each_op

import softlane

pytestmark = pytest.mark.any_isa


def test_a_leak_is_seen():
    kept = []
    with pytest.raises(AssertionError):
        assert_below(0.5, blocks_kept, 100, lambda: kept.append(object()))
    with pytest.raises(AssertionError):
        assert_below(1000, bytes_kept, 80, lambda: kept.append(np.float64(1)))


@each_op
def test_calls_keep_no_block(op):
    x = random((6, 4), np.float32)
    calls = []
    for a, axis in ((x, 1), (x[::-1], 1), (x.astype(np.float16), 1), (np.repeat(x, 2, 1)[:, ::2], 0)):
        given = op.given(a, axis)
        calls += [(given, axis, options) for options in op.choices(a.shape, axis)]
        if op.out:
            calls.append((given, axis, {"out": np.empty_like(op(given, axis)[-1])}))

    def work():
        for given, axis, options in calls:
            op(given, axis, **options)

    assert_below(0.5, blocks_kept, 50, work)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_hundred_thousand_calls_keep_no_block(function):
    x = random(6, np.float32)
    assert_below(0.01, blocks_kept, 100_000, lambda: FUNCTIONS[function](x))
    assert_below(0.01, blocks_kept, 1000, lambda: FUNCTIONS[function]([1.0, 2.0]))
    assert_below(0.01, blocks_kept, 1000, lambda: FUNCTIONS[function](np.float32(1)))


def errors(op):
    """Calls that raise: x and the keywords."""
    given = op.given(random((6, 4), np.float32), 1)
    x, right = given[0], op.keywords(given, 1)
    wrong = {name: [value.astype(complex)] for name, value in right.items() if isinstance(value, np.ndarray)}
    if op.takes_axis:
        wrong["axis"] = [7, 1.5]
        for name in {"target", "indices"} & set(right):
            wrong[name] += [np.full(6, 4), np.zeros(5, np.int64)]
    for name, values in (("where", [np.ones(5, bool), x]), ("temperature", [-1, np.ones(5), 1j])):
        if name in op.options:
            wrong[name] = values
    if op.out:
        out = np.empty_like(op(given, 1)[-1])
        wrong[op.out] = [np.empty(out.shape, np.int8), np.empty(9, out.dtype), []]
    found = [(x, {**right, name: value}) for name, values in wrong.items() for value in values]
    return found + [(a, right) for a in (x * 1j, np.ma.masked_array(x), "text", [[1.0], [1.0, 2.0]])]


@each_op
def test_errors_keep_no_block(op):
    wrong, function = errors(op), getattr(softlane, op.function)

    def work():
        for x, keywords in wrong:
            try:
                function(x, **keywords)
            except (IndexError, TypeError, ValueError):
                pass
            else:
                raise AssertionError(f"no error: {x} {keywords}")

    assert_below(0.5, blocks_kept, 50, work)


@each_op
def test_reference_counts_stay(op):
    for x in (random((4, 6), np.float32), random((4, 6), np.float32)[::-1], random((4, 6), np.float16)):
        given = op.given(x, 1)
        out = np.empty_like(op(given, 1)[-1])
        options = op.choices(x.shape, 1)[-1]
        objects = [*given, out, *options.values()]
        before = [sys.getrefcount(o) for o in objects]
        for _ in range(20):
            op(given, 1)
            op(given, 1, **options)
            if op.out:
                op(given, 1, out=out)
                with pytest.raises(ValueError):
                    op(given, 1, out=out[..., None])
        assert [sys.getrefcount(o) for o in objects] == before


@each_op
def test_memory_of_results_is_given_back(op):
    x = random((100, 40), np.float32)
    calls = [(op.given(a, axis), axis) for a, axis in ((x, 1), (x[::-1], 0), (x.astype(np.float16), 0), (x[:, ::2], 1))]

    def work():
        for given, axis in calls:
            op(given, axis)

    assert_below(1000, bytes_kept, 20, work)  # 80 results are more than 24 bytes each


def test_threads_keep_no_block():
    x = random((500, 1000), np.float32)
    softlane.set_num_threads(2)
    assert_below(0.5, blocks_kept, 20, lambda: softlane.softmax(x, out=x))
