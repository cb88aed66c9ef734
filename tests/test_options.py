"""dtype=, where=, temperature=, several axes, coefficients, and arrays of other libraries."""

import ml_dtypes
import mpmath
import numpy as np
import pytest
import reference
from arrays import SMALL_INTEGERS, logits, masks_and_temperatures
from cases import FLOATS, FORMS, FUNCTIONS, HALVES, STORED, assert_same_bits, random

import softlane

# test_paths.py compares the paths.
pytestmark = pytest.mark.any_isa

functions = pytest.mark.parametrize("function", FUNCTIONS)
forms = pytest.mark.parametrize("form", FORMS)

HIDDEN = {"softmax": 0.0, "log_softmax": -np.inf}


def scale_of(x, axis, where, temperature):
    """The largest magnitude of a row's maximum, which errors of logsumexp are measured by."""
    x = x.astype(np.float64)
    if temperature is not None:
        t = np.asarray(temperature, np.float64)
        x = x / (np.expand_dims(t, axis) if t.ndim else t)
    top = (x if where is None else np.where(where, x, -np.inf)).max(axis=axis)
    return np.where(np.isfinite(top), top, 0)


# ---- values --------------------------------------------------------------------------------------------------------


@functions
@forms
@pytest.mark.parametrize("dtype", [FLOATS[0], *HALVES, *SMALL_INTEGERS], ids=str)
def test_masks_and_temperatures_against_the_reference(function, form, dtype):
    shape, axis = FORMS[form]
    x = logits(shape, dtype, seed=3)
    for where, temperature in masks_and_temperatures(shape, axis):
        got = FUNCTIONS[function](x, axis, where=where, temperature=temperature)
        exact = reference.exact(function, x, axis, where, temperature)
        scale = scale_of(x, axis, where, temperature) if function == "logsumexp" else None
        error = reference.ulp_error(got, exact, scale).max()
        assert error <= (2 if got.dtype == np.float32 else 0.501), (where is not None, temperature)


@functions
@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 3), 1), ((3, 70), 1), ((2, 9, 20), 1), ((2, 40, 3), 1), ((1, 4100), 1)]
)
def test_temperatures_of_float64_in_600_bits(function, shape, axis):
    rng = np.random.default_rng(1)
    batch = tuple(n for i, n in enumerate(shape) if i != axis)
    x = rng.standard_normal(shape) * 20
    x.flat[:: shape[axis] + 1] += 30  # some confident rows
    t = rng.uniform(0.1, 5, batch)
    got = np.moveaxis(
        FUNCTIONS[function](x, axis, temperature=t, **({"keepdims": True} if function == "logsumexp" else {})), axis, -1
    )
    got, rows, t = got.reshape(t.size, -1), np.moveaxis(x, axis, -1).reshape(t.size, -1), t.ravel()
    for i in range(min(t.size, 6)):
        with mpmath.workprec(600):
            scaled = [mpmath.mpf(float(v)) / mpmath.mpf(float(t[i])) for v in rows[i]]
            top = max(scaled)
            rest = list(scaled)
            rest.remove(top)
            log = mpmath.log1p(mpmath.fsum(mpmath.exp(v - top) for v in rest))
            if function == "logsumexp":
                exact = [top + log]
            else:
                exact = [mpmath.exp(v - top - log) if function == "softmax" else v - top - log for v in scaled]
        size = top if function == "logsumexp" else 0
        for a, b in zip(got[i], exact, strict=True):
            assert reference.mp_ulp_error(a, b, np.float64, size) <= 2


@functions
@pytest.mark.parametrize("dtype", STORED, ids=str)
@pytest.mark.parametrize("t", [1e-30, 1e-9, 2.0**-25, 2.0**25, 1e9, 1e30, 1e200])
def test_temperatures_of_any_size(function, dtype, t):
    """Beyond 2^-24 and 2^24 the kernels cannot take them as they are."""
    if not reference.EXACT[np.dtype(np.float64)]:
        pytest.skip("no longdouble on this platform is precise enough")
    x = random((7, 40), dtype, seed=4)
    x[1] = x[1, 0]
    x[2, ::3] = -np.inf
    for temperature in (t, np.full(7, t), np.array([t, 1, t, 0.5, t, t, 2])):
        got = FUNCTIONS[function](x, temperature=temperature)
        exact = reference.exact(function, x, -1, None, temperature)
        scale = None
        if function == "logsumexp":
            with np.errstate(over="ignore"):
                scale = np.max(x.astype(np.longdouble), axis=-1) / temperature
        error = reference.ulp_error(got, exact, scale)
        assert error.max() <= (2 if dtype in FLOATS else 0.501)


@functions
def test_a_row_alone_has_its_bits_among_temperatures_of_1(function):
    """An array of ones is no number 1: it could be a part of an array with other temperatures."""
    for n in (2, 3, 100):
        x, t = random((40, n), np.float32), np.ones(40)
        expected = FUNCTIONS[function](x, temperature=t)
        for row in (slice(0, 1), slice(7, 8)):
            assert_same_bits(FUNCTIONS[function](x[row], temperature=t[row]), expected[row])
            assert_same_bits(FUNCTIONS[function](x[row], temperature=t[row, np.newaxis]), expected[row])


@functions
def test_temperature_1_and_a_mask_of_ones_change_no_bit(function):
    for form in FORMS:
        shape, axis = FORMS[form]
        x = random(shape, np.float32)
        expected = FUNCTIONS[function](x, axis)
        assert_same_bits(FUNCTIONS[function](x, axis, temperature=1), expected)
        assert_same_bits(FUNCTIONS[function](x, axis, temperature=1.0, where=np.True_), expected)
        assert_same_bits(FUNCTIONS[function](x, axis, where=np.ones(shape, bool)), expected)


@functions
@forms
def test_what_is_hidden_does_not_matter_and_what_is_not_shows(function, form):
    shape, axis = FORMS[form]
    shape = (max(shape[0], 6), *shape[1:])
    x = np.moveaxis(random(shape, np.float32, seed=5), axis, -1)
    mask = np.random.default_rng(6).random(x.shape) < 0.6
    rows, kept = x.reshape(-1, x.shape[-1]), mask.reshape(-1, x.shape[-1])
    clean = x.copy().reshape(rows.shape)
    rows = rows.copy()
    for i, value in enumerate((np.nan, np.inf, -np.inf)):
        rows[i::4][~kept[i::4]] = value
    kept[3] = False  # nothing left
    rows[3, 0] = np.nan
    kept[5] = True
    rows[5, 1] = clean[5, 1] = np.nan
    kept[5, 0] = False

    def run(a):
        a = np.ascontiguousarray(np.moveaxis(a.reshape(x.shape), -1, axis))
        m = np.ascontiguousarray(np.moveaxis(kept.reshape(x.shape), -1, axis))
        y = FUNCTIONS[function](a, axis, where=m)
        return y.ravel() if function == "logsumexp" else np.moveaxis(y, axis, -1).reshape(rows.shape)

    got = run(rows)
    if function == "logsumexp":
        order = np.moveaxis(np.arange(len(rows)).reshape(x.shape[:-1])[..., None], -1, axis).ravel()
        got = got[np.argsort(order)]
        assert got[3] == -np.inf and np.isnan(got[5])
    else:
        assert (
            (got[3] == HIDDEN[function]).all()
            and got[5, 0] == HIDDEN[function]
            and np.isnan(got[5, 1:][kept[5, 1:]]).all()
        )
        assert (got[~kept] == HIDDEN[function]).all()
    keep = np.arange(len(rows)) != 3
    assert_same_bits(got[keep], (run(clean)[np.argsort(order)] if function == "logsumexp" else run(clean))[keep])


def test_named_regressions():
    """What other libraries get wrong: peers' answers are in the comments."""
    got = softlane.softmax(np.array([3, 5], np.uint8))  # [nan, 0]: 3 - 5 is 254
    np.testing.assert_allclose(got, [0.11920292, 0.88079708], rtol=1e-6)
    assert softlane.softmax(np.zeros(70000, np.float16), dtype=np.float32)[0] == np.float32(
        1 / 70000
    )  # 0: the sum overflows
    assert softlane.softmax(np.zeros(1024, ml_dtypes.bfloat16))[0] == ml_dtypes.bfloat16(
        1 / 1024
    )  # 1/256: the sum sticks there
    hidden = np.zeros((2, 4), bool)
    hidden[1] = True
    assert (softlane.softmax(np.ones((2, 4)), where=hidden) == [[0] * 4, [0.25] * 4]).all()  # pytorch 25110: NaN
    x = np.full(512, 3, ml_dtypes.bfloat16)
    assert (softlane.softmax(x) == ml_dtypes.bfloat16(1 / 512)).all()  # executorch 20089: 1/256
    x = np.linspace(-30, 30, 5000).astype(np.float16)
    assert np.isfinite(softlane.log_softmax(x)).all()  # pytorch 158310: -inf
    got = softlane.logsumexp(np.array([True, True, False]))  # numpy 15117: float16
    assert got.dtype == np.float32 and abs(got - np.log(2 * np.e + 1)) < 1e-6
    log, sign = softlane.logsumexp([1000.0, 0.0], b=[-1.0, 1.0], return_sign=True)  # scipy 22903: NaN
    assert log == 1000 and sign == -1
    log, sign = softlane.logsumexp([np.inf, 0.0], return_sign=True)  # scipy 23548: sign NaN
    assert log == np.inf and sign == 1
    log, sign = softlane.logsumexp([-np.inf, -np.inf], return_sign=True)
    assert log == -np.inf and sign == 0
    np.testing.assert_allclose(softlane.logsumexp([0.0, -40.0]), 4.248354255291589e-18)  # scipy 18295: 0
    assert np.isnan(softlane.softmax([[np.nan, -np.inf, 0.0]])).all()  # mindspore 378: -inf kept its 0
    x = np.full((1, 100), -np.inf)
    x[0, 70] = 1.0  # lanes that see no number at all
    assert softlane.softmax(x)[0, 70] == 1 and softlane.logsumexp(x) == 1  # torch-mojo-backend 319: NaN


# ---- the same bits -------------------------------------------------------------------------------------------------


@functions
@forms
def test_a_row_of_temperatures_is_each_alone(function, form):
    shape, axis = FORMS[form]
    for dtype in FLOATS:
        x = random(shape, dtype, seed=9)
        t = np.full([n for i, n in enumerate(shape) if i != axis % len(shape)], 0.3)
        expected = FUNCTIONS[function](x, axis, temperature=0.3)
        assert_same_bits(FUNCTIONS[function](x, axis, temperature=t), expected)
        assert_same_bits(FUNCTIONS[function](x, axis, temperature=np.expand_dims(t, axis)), expected)
        t.flat[0] = 5
        other = FUNCTIONS[function](x, axis, temperature=t)
        assert (np.asarray(other != expected).sum() > 0) and np.asarray(other == expected).sum() > 0


@functions
@forms
def test_temperatures_of_every_dtype_and_layout(function, form):
    shape, axis = FORMS[form]
    x = random(shape, np.float32, seed=10)
    batch = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    t = np.random.default_rng(10).integers(1, 100, batch) / 16  # exact in every dtype
    expected = FUNCTIONS[function](x, axis, temperature=np.ascontiguousarray(t))
    strided = np.repeat(t, 2).reshape(*t.shape, 2)[..., 0]
    for same in (
        t.astype(np.float32),
        t.astype(np.float16),
        t.astype(">f8"),
        np.asfortranarray(t),
        strided,
        t.tolist(),
    ):
        assert_same_bits(FUNCTIONS[function](x, axis, temperature=same), expected)
        kept = np.expand_dims(np.asarray(same), axis)
        assert_same_bits(FUNCTIONS[function](x, axis, temperature=kept), expected)
    for whole in (3, np.int8(3), np.array([3]), [3], np.float64(3)):
        assert_same_bits(FUNCTIONS[function](x, axis, temperature=whole), FUNCTIONS[function](x, axis, temperature=3.0))


# ---- dtypes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FUNCTIONS, "sigmoid", "log_sigmoid"])
@pytest.mark.parametrize("dtype", [*STORED, np.dtype(np.uint8), np.dtype(np.int64)], ids=str)
def test_outputs_of_another_dtype(name, dtype):
    function = getattr(softlane, name)
    for shape in ((40, 33), (3, 5000)):
        x = logits(shape, dtype, seed=10)
        for wanted in STORED:
            expected = function(x, dtype=wanted)
            assert_same_bits(function(np.asfortranarray(x), dtype=wanted), expected)
            out = np.empty_like(expected)
            assert function(x, dtype=wanted, out=out) is out
            assert_same_bits(out, expected)


@pytest.mark.parametrize("dtype", SMALL_INTEGERS, ids=str)
def test_every_small_integer_is_read_right(dtype):
    """As one of two classes beside 0, through full vectors and through the rest of one."""
    if dtype == np.bool_:
        values = np.array([False, True])
    else:
        values = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
    x = np.stack([values, np.zeros_like(values)])
    for a in (x, x[:, :13], x[:, 1:]):
        assert_same_bits(softlane.log_softmax(a, 0), softlane.log_softmax(a.astype(np.float32), 0))
    assert_same_bits(softlane.log_softmax(x.T[:3].copy()), softlane.log_softmax(x.T[:3].astype(np.float32)))


def test_any_byte_but_0_is_true():
    strange = np.array([0, 1, 2, 255], np.uint8).view(np.bool_)
    assert (softlane.softmax(strange) == softlane.softmax(np.array([0.0, 1, 1, 1], np.float32))).all()
    assert (softlane.softmax(np.zeros(4, np.float32), where=strange) == np.float32([0, *[1 / 3] * 3])).all()


# ---- axes ----------------------------------------------------------------------------------------------------------


@functions
@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float16)], ids=str)
def test_several_axes_are_one(function, dtype):
    x = random((4, 5, 6, 7), dtype)
    rng = np.random.default_rng(2)
    mask = rng.random(x.shape) < 0.8
    for axes in (None, (0, 1, 2, 3), (1, 2), (2, 3), (3, 2), (0, 3), (-1, 0), (0, 2), (1,)):
        listed = tuple(range(4)) if axes is None else tuple(sorted(a % 4 for a in axes))
        order = [i for i in range(4) if i not in listed] + list(listed)
        batch = tuple(x.shape[i] for i in order[: 4 - len(listed)])
        t = rng.uniform(0.5, 2, batch)
        for call in ({}, {"where": mask}, {"temperature": t}, {"where": mask, "temperature": t}):
            for a in (x, np.asfortranarray(x)):
                got = FUNCTIONS[function](a, axes, **call)
                rows = x.transpose(order).reshape(*batch, -1)
                m = mask.transpose(order).reshape(rows.shape)
                own = {**call, **({"where": m} if "where" in call else {})}
                expected = FUNCTIONS[function](rows, -1, **own)
                if function != "logsumexp":
                    expected = expected.reshape([x.shape[i] for i in order]).transpose(np.argsort(order))
                step = np.float64(
                    2.0 ** (-22 if dtype == np.float32 else -9)
                )  # another layout may sum in another order
                np.testing.assert_allclose(np.float64(got), np.float64(expected), rtol=step)
                out = np.zeros(np.shape(got), dtype)
                assert FUNCTIONS[function](a, axes, out=out, **call) is out
                assert_same_bits(out, np.asarray(got))
    kept = softlane.logsumexp(x, (1, 3), keepdims=True)
    assert kept.shape == (4, 1, 6, 1)
    assert_same_bits(kept.reshape(4, 6), softlane.logsumexp(x, (1, 3)))
    assert isinstance(softlane.logsumexp(x, None), dtype.type)
    assert softlane.softmax(np.float32(3), None) == 1


# ---- coefficients --------------------------------------------------------------------------------------------------


def test_logsumexp_with_coefficients():
    rng = np.random.default_rng(3)
    x, b = rng.standard_normal((4, 5, 6)) * 30, rng.standard_normal((5, 1))
    for axis in (-1, 1, None, (0, 2)):
        for t in (None, 0.5):
            wide = x.astype(np.longdouble) / (1 if t is None else t)
            total = (b * np.exp(wide)).sum(axis=axis)
            log, sign = softlane.logsumexp(x, axis, b=b, return_sign=True, temperature=t)
            np.testing.assert_allclose(log, np.log(abs(total)).astype(float), rtol=1e-13)
            assert (sign == np.sign(total)).all()
            plain = softlane.logsumexp(x, axis, b=b, temperature=t)
            np.testing.assert_array_equal(plain, np.where(sign < 0, np.nan, log))
    assert softlane.logsumexp([1.0, np.inf, np.nan], b=[1.0, 0.0, 0.0]) == 1
    log, sign = softlane.logsumexp([0.0, 0.0], b=[1.0, -1.0], return_sign=True)
    assert log == -np.inf and sign == 0
    assert np.isnan(softlane.logsumexp([0.0, 0.0], b=[1.0, -2.0]))
    log, sign = softlane.logsumexp(np.float32([1, 2]), return_sign=True)
    assert log.dtype == sign.dtype == np.float32 and sign == 1
    assert softlane.logsumexp(np.zeros((3, 2)), b=2.0, where=[True, False], keepdims=True).shape == (3, 1)
    out = np.zeros(3, np.float32)
    log, sign = softlane.logsumexp(np.zeros((3, 2), np.float32), b=-1.0, return_sign=True, out=out)
    assert log is out and (sign == -1).all()


def test_logsumexp_with_coefficients_agrees_with_scipy():
    special = pytest.importorskip("scipy.special")
    rng = np.random.default_rng(4)
    x, b = rng.standard_normal((7, 9)) * 5, rng.standard_normal((7, 9))
    b[b < -1] = 0
    for axis in (0, 1, None):
        for keepdims in (False, True):
            expected = special.logsumexp(x, axis, b=b, keepdims=keepdims, return_sign=True)
            for a, e in zip(
                softlane.logsumexp(x, axis, b=b, keepdims=keepdims, return_sign=True), expected, strict=True
            ):
                np.testing.assert_allclose(a, e, rtol=1e-12)


def test_terms_of_any_size():
    np.testing.assert_allclose(softlane.logsumexp([0.0, 0.0], b=[1e308, 1e308]), np.log(2) + np.log(1e308))
    assert softlane.logsumexp([1000.0, np.inf], b=[-1.0, 1.0]) == np.inf
    log, sign = softlane.logsumexp([1000.0, np.inf], b=[1.0, -1.0], return_sign=True)
    assert log == np.inf and sign == -1
    assert softlane.logsumexp(np.ones(3, np.float16), b=np.ones(3, ml_dtypes.bfloat16)).dtype == np.float32
    for wrong in (1 + 2j, "3", np.longdouble(2), object()):
        with pytest.raises(TypeError, match=r"logsumexp: b (has dtype|is object)"):
            softlane.logsumexp([1.0, 2.0], b=wrong)


def test_a_far_temperature_leaves_other_rows_alone():
    x = random((4, 3, 50), np.float32)
    usual = np.full((4, 3), 0.7)
    far = usual.copy()
    far[1, 2], far[0, 0] = 1e-8, 1e30
    for function in FUNCTIONS.values():
        keep = np.isin(far, 0.7)
        assert_same_bits(function(x, temperature=far)[keep], function(x, temperature=usual)[keep])
    x = np.array([8.339817249763008e32, 2.8517092960422007e31, -6.817274616876237e32])
    t = 2.9426024311597795e30
    with mpmath.workprec(600):
        e = [mpmath.exp(mpmath.mpf(v) / mpmath.mpf(t)) for v in x.tolist()]
        for got, v in zip(softlane.softmax(x, temperature=t), e, strict=True):
            assert reference.mp_ulp_error(got, v / mpmath.fsum(e), np.float64) <= 2
    got = softlane.log_softmax([1e308, -1e308], temperature=1e306)
    np.testing.assert_allclose(got, [0, -200], atol=1e-80)
    tiny = softlane.softmax([2e300, 1e300, 2e300], temperature=1e-300)
    assert (tiny == [0.5, 0, 0.5]).all() and softlane.logsumexp([1.0, 2.0], temperature=1e-305) == 2 / 1e-305


@forms
def test_a_quotient_beyond_the_largest_number(form):
    shape, axis = FORMS[form]
    batch = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    for sign in (1, -1):
        x = np.full(shape, sign * 1e308)
        for t in (0.5, np.full(batch, 0.1), 1e-9, 1e-300):
            assert (softlane.logsumexp(x, axis, temperature=t) == sign * np.inf).all()
            np.testing.assert_allclose(softlane.softmax(x, axis, temperature=t), 1 / shape[axis], rtol=1e-15)
    assert (softlane.softmax(x, axis, temperature=10**20) == softlane.softmax(x, axis, temperature=1e20)).all()


# ---- errors --------------------------------------------------------------------------------------------------------


@functions
def test_outputs_that_overlap_a_mask_or_a_temperature(function):
    x = random((6, 8), np.float64)
    t = np.linspace(0.5, 2, 6)
    mask = np.ones((6, 64), bool)
    mask[:, ::3] = False
    expected = FUNCTIONS[function](x, where=mask[:, :8], temperature=t)
    shared = mask.copy()
    out = shared.view(np.float64)[:, :8] if function != "logsumexp" else shared.view(np.float64)[:, 0]
    assert_same_bits(FUNCTIONS[function](x, where=shared[:, :8], temperature=t, out=out), expected)
    if function == "logsumexp":
        own = t.copy()
        assert_same_bits(FUNCTIONS[function](x, where=mask[:, :8], temperature=own, out=own), expected)
    expected = FUNCTIONS[function](x, temperature=t)
    memory = np.empty(x.size)
    memory[: len(t)] = t
    out = memory.reshape(x.shape) if function != "logsumexp" else memory[: len(t)]
    assert_same_bits(FUNCTIONS[function](x, temperature=memory[: len(t)], out=out), expected)


# ---- other libraries -----------------------------------------------------------------------------------------------


class Device:
    """An array on some device, as DLPack shows it."""

    def __init__(self, array, kind):
        self.array, self.kind = array, kind

    def __dlpack_device__(self):
        return self.kind, 0

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)


@functions
def test_arrays_by_dlpack(function):
    x = random((5, 9), np.float32)
    assert_same_bits(FUNCTIONS[function](Device(x, 1)), FUNCTIONS[function](x))
    with pytest.raises(TypeError, match=r"x is on device 2 \(DLPack type 2\), expected an array on the CPU"):
        FUNCTIONS[function](Device(x, 2))


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    x = random((5, 9), np.float32)
    tensor = torch.from_numpy(x)
    assert_same_bits(softlane.softmax(tensor), softlane.softmax(x))
    assert_same_bits(softlane.softmax(tensor.T, 0), softlane.softmax(x.T, 0))
    half = softlane.softmax(tensor.to(torch.bfloat16))
    assert_same_bits(half, softlane.softmax(x.astype(ml_dtypes.bfloat16)))
    for wrong in (tensor.clone().requires_grad_(), tensor.to(torch.bfloat16).requires_grad_()):
        with pytest.raises(TypeError, match=r"softmax: x .*requires grad"):
            softlane.softmax(wrong)
    for wrong in (tensor.to_sparse(), tensor.to("meta")):
        with pytest.raises(TypeError, match="softmax: x "):
            softlane.softmax(wrong)


def test_arrays_of_jax():
    jax = pytest.importorskip("jax")
    x = random((5, 9), np.float32)
    assert_same_bits(softlane.log_softmax(jax.numpy.asarray(x)), softlane.log_softmax(x))
