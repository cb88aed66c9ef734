"""softlane.dask: lazy arrays, with the class axis in one chunk or in many, against softlane on the whole array."""

import itertools

import numpy as np
import pytest
from cases import assert_same_bits

import softlane

da = pytest.importorskip("dask.array")
import dask  # noqa: E402

import softlane.dask as sd  # noqa: E402

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

SHAPE = (20, 50, 6)
CHUNKS = ((7, 13, 2), (7, -1, 6), (-1, 13, -1), SHAPE)


@pytest.fixture(autouse=True)
def serial():
    with dask.config.set(scheduler="synchronous"):
        yield


def logits(dtype=np.float32, shape=SHAPE):
    return (3 * np.random.default_rng(0).normal(size=shape)).astype(dtype)


def options_of(choice, x, axis):
    """For Dask, and for softlane on the array in memory"""
    rng = np.random.default_rng(1)
    mask, batch = rng.random(x.shape) < 0.9, tuple(np.delete(x.shape, axis))
    t = rng.uniform(0.5, 2, batch)
    return {
        "none": ({}, {}),
        "mask": ({"where": mask}, {"where": mask}),
        "broadcast mask": ({"where": mask[:1]}, {"where": mask[:1]}),
        "temperature": ({"temperature": 2.0}, {"temperature": 2.0}),
        "chunked": (
            {"where": da.from_array(mask, chunks=5), "temperature": da.from_array(t, chunks=4)},
            {"where": mask, "temperature": np.expand_dims(t, axis)},
        ),
    }[choice]


def compare(got, want, is_whole, rtol=3e-6):
    assert isinstance(got, da.Array)
    found = got.compute()
    assert found.dtype == got.dtype == want.dtype and found.shape == got.shape == want.shape
    assert type(got._meta) is np.ndarray and got._meta.dtype == want.dtype
    if is_whole:
        assert_same_bits(found, want)
    else:
        np.testing.assert_allclose(found, want, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("axis", (0, 1, 2))
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("choice", ("none", "mask", "broadcast mask", "temperature", "chunked"))
def test_every_function(axis, chunks, choice):
    array = logits()
    x = da.from_array(array, chunks=chunks)
    lazy, whole = options_of(choice, array, axis)
    # Where rows are cut after the class axis, the inner length of the blocks decides the last bits.
    is_whole = x.numblocks[axis] == 1 and all(n == 1 for n in x.numblocks[axis + 1 :])
    for name in ("softmax", "log_softmax"):
        got = getattr(sd, name)(x, axis, **lazy)
        assert got.chunks == x.chunks
        compare(got, getattr(softlane, name)(array, axis, **whole), is_whole)
    for name, keepdims in itertools.product(("logsumexp", "entropy"), (False, True)):
        got = getattr(sd, name)(x, axis, keepdims=keepdims, **lazy)
        assert got.chunks == tuple(c if i != axis else (1,) for i, c in enumerate(x.chunks) if keepdims or i != axis)
        compare(got, getattr(softlane, name)(array, axis, keepdims=keepdims, **whole), is_whole)
    for kind in ("probs", "log_probs", "logits"):
        got, want = sd.topk(x, 3, axis, kind=kind, **lazy), softlane.topk(array, 3, axis, kind=kind, **whole)
        compare(got.values, want.values, is_whole)
        compare(got.indices, want.indices, True)
    index, prob = sd.argmax(x, axis, return_probs=True, index_dtype=np.uint8, **lazy)
    want = softlane.argmax(array, axis, return_probs=True, index_dtype=np.uint8, **whole)
    compare(index, want[0], True)
    compare(prob, want[1], is_whole)
    compare(sd.argmax(x, axis, keepdims=True, **lazy), softlane.argmax(array, axis, keepdims=True, **whole), True)


@pytest.mark.parametrize("axis", (0, 1, 2))
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("choice", ("none", "temperature", "chunked"))
def test_targets(axis, chunks, choice):
    array = logits()
    x = da.from_array(array, chunks=chunks)
    lazy, whole = options_of(choice, array, axis)
    whole.pop("where", None)  # whose hidden targets have an infinite loss
    lazy.pop("where", None)
    rng, batch = np.random.default_rng(2), tuple(np.delete(SHAPE, axis))
    target = rng.integers(SHAPE[axis], size=batch)
    for given in (target, da.from_array(target, chunks=4)):
        compare(sd.take_log_probs(x, given, axis, **lazy), softlane.take_log_probs(array, target, axis, **whole), False)
    target.flat[::3] = -100
    weight = rng.random(batch)
    for reduction, sample_weight in itertools.product(("none", "sum", "mean"), (None, weight)):
        got = sd.cross_entropy(x, target, axis=axis, reduction=reduction, sample_weight=sample_weight, **lazy)
        want = softlane.cross_entropy(
            array, target, axis=axis, reduction=reduction, sample_weight=sample_weight, **whole
        )
        compare(got, np.asarray(want), False)


@pytest.mark.parametrize("dtype", ("float16", "float64", "int8", "int64"))
@pytest.mark.parametrize("chunks", (-1, 3))
def test_dtypes_of_results(dtype, chunks):
    array = logits("float64", (9, 10)).astype(dtype)
    x = da.from_array(array, chunks=(4, chunks))
    for name in ("softmax", "log_softmax", "logsumexp", "entropy"):
        for wanted in (None, np.float64):
            got, want = getattr(sd, name)(x, dtype=wanted), getattr(softlane, name)(array, dtype=wanted)
            compare(got, want, False, rtol=2e-3)
    target = np.arange(9)
    compare(
        sd.cross_entropy(x, target, reduction="none"), softlane.cross_entropy(array, target, reduction="none"), False
    )
    compare(sd.take_log_probs(x, target), softlane.take_log_probs(array, target), False)


@pytest.mark.parametrize("chunks", (-1, 13))
def test_unknown_numbers_of_rows(chunks):
    array = logits(shape=(20, 50))
    kept = array[array[:, 0] > 0]
    x = da.from_array(array, chunks=(7, chunks))
    x = x[x[:, 0] > 0]
    target = (x[:, 0] * 0).astype(int)
    compare_unknown = (
        (sd.softmax(x), softlane.softmax(kept)),
        (sd.logsumexp(x, temperature=2.0), softlane.logsumexp(kept, temperature=2.0)),
        (sd.cross_entropy(x, target), softlane.cross_entropy(kept, np.zeros(len(kept), int))),
        (sd.topk(x, 2).indices, softlane.topk(kept, 2).indices),
        (sd.softmax(x, where=x > 0), softlane.softmax(kept, where=kept > 0)),
    )
    for got, want in compare_unknown:
        np.testing.assert_allclose(got.compute(), want, rtol=3e-6)
    with pytest.raises(ValueError, match="target must be a Dask array with the same chunks"):
        sd.cross_entropy(x, np.zeros(11, int))


def test_the_graph_grows_linearly_and_its_tree_is_shallow():
    sizes = {}
    for blocks in (4, 8, 16, 32, 64):
        y = sd.softmax(da.zeros((30, 64 * 5), chunks=(10, 64 * 5 // blocks)))
        sizes[blocks] = len(dict(y.__dask_graph__()))
    steps = [sizes[2 * b] / sizes[b] for b in (4, 8, 16, 32)]
    assert max(steps) < 2.15
    graph = dict(sd.logsumexp(da.zeros((10, 64), chunks=(10, 1))).__dask_graph__())
    assert sum("aggregate" in str(key) or "partial" in str(key) for key in graph) < 64


def test_nothing_is_computed_early_and_names_are_deterministic():
    def fail(x):
        raise AssertionError("computed")

    def make():
        x = da.zeros((20, 30), chunks=(5, 7)).map_blocks(fail, dtype=np.float32, meta=np.empty((0, 0), np.float32))
        target = np.zeros(20, int)
        return [
            sd.softmax(x, where=np.ones(30, bool)),
            sd.logsumexp(x, temperature=np.ones(20)),
            sd.entropy(x),
            sd.cross_entropy(x, target),
            sd.topk(x, 2).values,
            sd.take_log_probs(x, target),
        ]

    assert [a.name for a in make()] == [a.name for a in make()]


def test_tasks_use_one_thread_and_leave_the_setting():
    softlane.set_num_threads(3)
    seen = []
    x = da.from_array(logits(shape=(4, 6)), chunks=(2, 6))
    y = sd.softmax(x).map_blocks(lambda a: (seen.append(softlane.get_num_threads()), a)[1], dtype=x.dtype)
    y.compute()
    assert set(seen) == {3} and softlane.get_num_threads() == 3
    task = sd._call(lambda x: softlane.get_num_threads(), (), {}, None)
    assert task == 1


def test_a_dask_array_is_no_array_in_memory():
    x = da.zeros((2, 3))
    for name in ("softmax", "logsumexp", "argmax", "entropy", "sigmoid"):
        with pytest.raises(TypeError, match=f"{name}: x is of type dask.Array, which Dask has not computed; use"):
            getattr(softlane, name)(x)


def test_nor_is_an_array_of_xarray_that_holds_one():
    xr = pytest.importorskip("xarray")
    with pytest.raises(TypeError, match=r"softmax: x is of type xarray\.DataArray, which Dask has not computed"):
        softlane.softmax(xr.DataArray(da.zeros((2, 3))))
    assert_same_bits(softlane.softmax(xr.DataArray(np.zeros((2, 3)))), softlane.softmax(np.zeros((2, 3))))


def test_a_class_that_is_not_there_is_the_same_error_in_any_chunks():
    for chunks, index in (((4, 6), 3), ((4, 3), 3), ((2, 6), 1), ((2, 3), 1)):  # within the chunk
        x = da.zeros((4, 6), chunks=chunks)
        for name, what in (("cross_entropy", "target"), ("take_log_probs", "indices")):
            for wrong in (6, -1):
                y = getattr(sd, name)(x, np.array([0, 1, 3, wrong]))
                with pytest.raises(IndexError, match=rf"{name}: {what}\[{index}\] = {wrong} is outside \[0, 6\)"):
                    y.compute()


def test_errors():
    x = da.zeros((4, 6), chunks=(2, 3))
    unknown = x[:, da.ones(6, chunks=3) > 0]
    cases = [
        (TypeError, "softmax: x must be a Dask array, got ndarray", lambda: sd.softmax(np.zeros((2, 3)))),
        (ValueError, "axis 2 is out of bounds", lambda: sd.softmax(x, 2)),
        (ValueError, "chunks of x along the class axis 1 have unknown sizes", lambda: sd.softmax(unknown)),
        (
            ValueError,
            r"where has shape \(5,\), which does not broadcast",
            lambda: sd.softmax(x, where=np.ones(5, bool)),
        ),
        (ValueError, "where has 3 dimensions", lambda: sd.softmax(x, where=np.ones((1, 4, 6), bool))),
        (ValueError, r"temperature has shape \(3,\), expected \(4,\)", lambda: sd.softmax(x, temperature=np.ones(3))),
        (ValueError, r"target has shape \(3,\), expected \(4,\)", lambda: sd.cross_entropy(x, np.zeros(3, int))),
        (TypeError, "the classes have dtype float64, expected integers", lambda: sd.cross_entropy(x, np.zeros(4))),
        (ValueError, "reduction must be", lambda: sd.cross_entropy(x, np.zeros(4, int), reduction="all")),
        (ValueError, "topk: k is 7, expected 1 to 6", lambda: sd.topk(x, 7)),
        (ValueError, "topk: kind must be", lambda: sd.topk(x, 1, kind="p")),
        (IndexError, r"target\[0\] = 9 is outside \[0, 6\)", lambda: sd.cross_entropy(x, [9, 0, 0, 0]).compute()),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


def test_xarray():
    xr = pytest.importorskip("xarray")
    array = logits(shape=(8, 30))
    labelled = xr.DataArray(array, dims=("token", "word")).chunk({"token": 3})
    probs = xr.apply_ufunc(
        softlane.softmax,
        labelled,
        input_core_dims=[["word"]],
        output_core_dims=[["word"]],
        dask="parallelized",
        output_dtypes=[array.dtype],
    )
    assert_same_bits(probs.compute().values, softlane.softmax(array))
    in_parts = labelled.chunk({"word": 7})
    probs = xr.apply_ufunc(
        sd.softmax, in_parts, input_core_dims=[["word"]], output_core_dims=[["word"]], dask="allowed"
    )
    assert probs.dims == ("token", "word")
    np.testing.assert_allclose(probs.compute().values, softlane.softmax(array), rtol=1e-6)


# ---- corner cases --------------------------------------------------------------------------------------------------


def test_empty_chunks():
    array = logits(shape=(6, 300))
    for chunks in (((2, 0, 4), (100, 200)), ((2, 4), (100, 0, 200)), ((6,), (0, 300))):
        x = da.from_array(array, chunks=chunks)
        for name in ("softmax", "logsumexp", "entropy"):
            compare(getattr(sd, name)(x), getattr(softlane, name)(array), False)
        np.testing.assert_array_equal(sd.topk(x, 3).indices.compute(), softlane.topk(array, 3).indices)
        target = np.arange(6)
        compare(sd.cross_entropy(x, target), np.asarray(softlane.cross_entropy(array, target)), False)
    kept = da.from_array(array, chunks=(2, 100))
    kept = kept[da.from_array(np.arange(6) > 2, chunks=2)]
    np.testing.assert_allclose(sd.softmax(kept).compute(), softlane.softmax(array[3:]), rtol=1e-6)


def test_indices_fit_their_dtype():
    x = da.from_array(logits(shape=(6, 300)), chunks=(2, 100))
    for function in (lambda: sd.argmax(x, index_dtype="i1"), lambda: sd.topk(x, 2, index_dtype="u1")):
        with pytest.raises(ValueError, match="index_dtype"):
            function()


def test_float64_is_computed_in_float64():
    array = logits(shape=(6, 300))
    x, target = da.from_array(array, chunks=(2, 100)), np.arange(6)
    for name in ("softmax", "log_softmax", "logsumexp", "entropy"):
        got, want = getattr(sd, name)(x, dtype="f8"), getattr(softlane, name)(array.astype("f8"))
        compare(got, want, False, rtol=1e-14)
    got = sd.cross_entropy(x, target, dtype="f8", reduction="none")
    compare(got, softlane.cross_entropy(array.astype("f8"), target, reduction="none"), False, rtol=1e-14)
    compare(sd.topk(x, 3, dtype="f8").values, softlane.topk(array.astype("f8"), 3).values, False, rtol=1e-14)


def test_weights_and_targets_are_checked():
    x = da.from_array(logits(shape=(6, 30)), chunks=(2, 10))
    target = np.arange(6)
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="sample_weight has other values than finite numbers"):
            sd.cross_entropy(x, target, sample_weight=np.full(6, wrong)).compute()
    for wrong in (3, [3], target[:, None]):
        with pytest.raises(ValueError, match="target has shape"):
            sd.cross_entropy(x, wrong)
    assert np.isnan(sd.cross_entropy(x, np.full(6, -100)).compute())  # and no warning
    with pytest.raises(TypeError, match="topk: k"):
        sd.topk(x, 2.0)
    with pytest.raises(ValueError, match="softmax: x is 0-d"):
        sd.softmax(da.from_array(np.float32(1)))


def test_a_mask_over_classes_and_unknown_rows():
    array = logits(shape=(20, 300))
    x = da.from_array(array, chunks=(7, 100))
    x, mask = x[x[:, 0] > 0], np.arange(300) != 7
    want = softlane.softmax(array[array[:, 0] > 0], where=mask)
    np.testing.assert_allclose(sd.softmax(x, where=mask).compute(), want, rtol=1e-6)
