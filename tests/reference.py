"""The slow, obvious reference of softlane: what its functions return, readable as a specification.

`exact_softmax`, `exact_log_softmax` and `exact_logsumexp` give unrounded values, the functions without `exact_`
round them to the dtype of the result. Unrounded values are of float64 where the result is of 32 bits or fewer, else of
longdouble. On x86 a longdouble has 64 bits of mantissa, and the steps below keep what they would round away where it
matters, so the values are good to about 0.001 ULP of float64. Where longdouble is float64 (Windows, macOS on ARM) that
holds for float32 only: see `EXACT`. `mp_rows` does the same row by row in arbitrary precision; the two are compared in
test_accuracy.py. The losses and gradients are in reference_losses.py.
"""

import functools

import ml_dtypes
import mpmath
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# dtype: stored bits of the mantissa, exponent of the smallest normal number, largest finite number
_FORMAT = {
    np.dtype(np.float64): (52, -1022, float(np.finfo(np.float64).max)),
    np.dtype(np.float32): (23, -126, float(np.finfo(np.float32).max)),
    np.dtype(np.float16): (10, -14, 65504.0),
    BFLOAT16: (7, -126, float(ml_dtypes.finfo(BFLOAT16).max)),
}

# Is longdouble precise enough to measure results of this dtype?
EXACT = {dtype: np.finfo(np.longdouble).nmant >= mantissa + 8 for dtype, (mantissa, _, _) in _FORMAT.items()}


def result_dtype(dtype):
    """float32 for what fits its 24 bits, float64 for wider integers, a floating-point dtype stays as it is."""
    dtype = np.dtype(dtype).newbyteorder("=") if np.dtype(dtype) != BFLOAT16 else BFLOAT16
    if dtype in _FORMAT:
        return dtype
    if dtype.kind in "biu":
        return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)
    raise TypeError(f"unsupported dtype {dtype}")


def row_dtype(dtype):
    """Of results with one number for each row or sample: 16-bit floats are too narrow to be added up."""
    return np.dtype(np.float64 if result_dtype(dtype) == np.float64 else np.float32)


# ---- the functions -----------------------------------------------------------------------------------------------


def softmax(x, axis=-1):
    return _rounded(exact_softmax(x, axis), x)


def log_softmax(x, axis=-1):
    return _rounded(exact_log_softmax(x, axis), x)


def logsumexp(x, axis=-1, keepdims=False):
    return _rounded(exact_logsumexp(x, axis, keepdims), x)


def exact_softmax(x, axis=-1):
    """exp(x - m) / sum(exp(x - m)); NaN throughout where the maximum m is NaN or infinite."""
    return exact_results(x, axis)["softmax"]


def exact_log_softmax(x, axis=-1):
    """(x - m) - log1p(sum of the others): both terms are <= 0, nothing cancels."""
    return exact_results(x, axis)["log_softmax"]


def exact_logsumexp(x, axis=-1, keepdims=False):
    """m + log1p(sum of the others); m itself where that is NaN or infinite, and -inf without classes."""
    y = exact_results(x, axis)["logsumexp"]
    return np.expand_dims(y, axis) if keepdims and np.ndim(x) else y


def exact_entropy(x, axis=-1):
    """log(S) + sum(p (m - x)), of terms that are >= 0; 0 without classes."""
    scalar = np.ndim(x) == 0
    x = _rows(x, axis)
    if x.shape[-1] == 0:
        return np.zeros(x.shape[:-1], x.dtype)
    m, d, lost, e, others = _parts(x)
    with np.errstate(all="ignore"):
        mean = np.where(e == 0, 0, -e * (d + lost)).sum(axis=-1, keepdims=True) / (1 + others)
        y = np.where(np.isfinite(m), np.log1p(others) + mean, np.nan)[..., 0]
    return y[()] if scalar else y


def exact_softmax_hessian_diag(x, axis=-1):
    """p (1 - p), where 1 - p of the largest class is what the others weigh."""
    x = _rows(x, axis)
    if x.shape[-1] == 0:
        return _unrows(x, axis)
    m, _, _, e, others = _parts(x)
    with np.errstate(all="ignore"):
        y = e / (1 + others) * (1 - e / (1 + others))
        np.put_along_axis(y, np.argmax(x, axis=-1)[..., None], others / (1 + others) ** 2, axis=-1)
        return _unrows(np.where(np.isfinite(m), y, np.nan), axis)


def exact_kl_divergence(x, y, axis=-1, where=None, temperature=None):
    """sum(p (log p - log q)), which cancels where p and q nearly agree: mp_kl_divergence does not."""
    log_p, log_q = (exact("log_softmax", a, axis, where, temperature) for a in np.broadcast_arrays(x, y))
    with np.errstate(all="ignore"):
        counts = np.ones(log_p.shape, bool) if where is None else np.broadcast_to(where, log_p.shape)
        terms = np.where(counts & (log_p != -np.inf), np.exp(log_p) * (log_p - log_q), 0)
        terms = np.where(counts & np.isnan(log_q), np.nan, terms)
    return terms.sum(axis=axis)


def exact_results(x, axis=-1):
    """All three, which share what takes long."""
    scalar = np.ndim(x) == 0
    x = _rows(x, axis)
    if x.shape[-1] == 0:
        p = log_p = x
        y = np.full(x.shape[:-1], -np.inf, x.dtype)
    else:
        m, d, lost, e, others = _parts(x)
        with np.errstate(all="ignore"):
            finite, log = np.isfinite(m), np.log1p(others)
            p = np.where(finite, e / (1 + others), np.nan)
            log_p = np.where(finite, (d - log) + lost, np.nan)
            y = np.where(finite, m + log, m)[..., 0]
    return {"softmax": _unrows(p, axis), "log_softmax": _unrows(log_p, axis), "logsumexp": y[()] if scalar else y}


def exact(name, x, axis=-1, where=None, temperature=None):
    """The function called name of x / temperature over the elements where `where` is true, unrounded.

    temperature is a number or has the shape of the batch. What does not count gives 0 or -inf, also in a row that gives
    NaN otherwise. Good to the ulp of longdouble times max(abs(x / temperature)): enough for float32.
    """
    x = _wide(x) if temperature is None else _as(np.longdouble, x)
    if temperature is not None:
        t = np.asarray(temperature, np.longdouble)
        x = x / (np.expand_dims(t, axis) if t.ndim else t)
    if name == "softmin":
        name, x = "softmax", -x
    if where is None:
        return globals()[f"exact_{name}"](x, axis)
    where = np.broadcast_to(where, x.shape)
    y = globals()[f"exact_{name}"](np.where(where, x, -np.inf), axis)
    if name == "entropy":
        return np.where(where.any(axis=axis), y, 0)
    return y if name == "logsumexp" else np.where(where, y, -np.inf if name == "log_softmax" else 0)


def _as(dtype, x):
    x = np.asarray(x)
    return (x.astype(np.float32) if x.dtype == BFLOAT16 else x).astype(dtype)


def _wide(x):
    """x in longdouble, or in float64 if that is 29 bits more than results for x have."""
    dtype = np.asarray(x).dtype
    return _as(np.longdouble if dtype == np.longdouble or result_dtype(dtype) == np.float64 else np.float64, x)


def _rows(x, axis):
    """x with its classes last, unrounded; a scalar is one class."""
    return np.ascontiguousarray(np.moveaxis(np.atleast_1d(_wide(x)), axis, -1))


def _unrows(y, axis):
    return np.moveaxis(y, -1, axis)


def _rounded(y, x, dtype=None):
    """y in the dtype of the results for x, a NumPy scalar where it has no dimension."""
    dtype = dtype or result_dtype(np.asarray(x).dtype)
    with np.errstate(all="ignore"):
        y = np.asarray(y)
        y = (y.astype(np.float32) if dtype == BFLOAT16 else y).astype(dtype)
    return y.reshape(np.shape(x))[()] if y.size == 1 and np.ndim(x) == 0 else y[()]


def _parts(x):
    """m, x - m as an unevaluated sum of two, exp(x - m), and its sum over all classes but one of those equal to m."""
    with np.errstate(all="ignore"):
        m = x.max(axis=-1, keepdims=True)
        d = x - m
        v = d - x  # Knuth's two-sum: what the subtraction rounded away
        lost = (x - (d - v)) + (-m - v)
        lost = np.where(np.isfinite(lost), lost, 0)
        e = np.exp(d)
        e += e * lost
        largest = np.argmax(x, axis=-1)[..., None]
        of_largest = np.take_along_axis(e, largest, axis=-1)
        np.put_along_axis(e, largest, 0, axis=-1)
        others = e.sum(axis=-1, keepdims=True)
        np.put_along_axis(e, largest, of_largest, axis=-1)
        return m, d, lost, e, others


def mp_rows(name, row):
    """One row of finite numbers through the function called name, in 600 bits: a list of mpmath numbers."""
    return _mp_results(tuple(map(float, row)))[name]


@functools.lru_cache(maxsize=512)
def _mp_results(row):
    with mpmath.workprec(600):
        x = [mpmath.mpf(v) for v in row]
        m = max(x)
        rest = list(x)
        rest.remove(m)
        log = mpmath.log1p(mpmath.fsum(mpmath.exp(v - m) for v in rest))
        log_p = [v - m - log for v in x]
        return {"softmax": [mpmath.exp(v) for v in log_p], "log_softmax": log_p, "logsumexp": [m + log]}


def mp_kl_divergence(x, y):
    """Of two rows of finite numbers: p (log p - log q), with bits enough for squares of the smallest number."""
    with mpmath.workprec(2400):
        log_p, log_q = (mp_log_softmax(row) for row in (x, y))
        return mpmath.fsum(mpmath.exp(a) * (a - b) for a, b in zip(log_p, log_q, strict=True))


def mp_entropy(x):
    with mpmath.workprec(600):
        return -mpmath.fsum(mpmath.exp(v) * v for v in mp_rows("log_softmax", x))


def mp_log_softmax(row):
    x = [mpmath.mpf(float(v)) for v in row]
    log = mpmath.log(mpmath.fsum(mpmath.exp(v - max(x)) for v in x))
    return [v - max(x) - log for v in x]


def mp_of(value):
    """A longdouble as an mpmath number, exactly."""
    fraction, exponent = np.frexp(np.longdouble(value))
    high = float(fraction)
    with mpmath.workprec(600):
        return mpmath.ldexp(mpmath.mpf(high) + float(fraction - high), int(exponent))


# ---- how far off a result is -------------------------------------------------------------------------------------


def ulp(y, dtype):
    """The distance of neighbouring numbers of dtype around y; below the smallest normal number, the one there."""
    mantissa, lowest, _ = _FORMAT[np.dtype(dtype)]
    y = np.asarray(y)
    y = y if y.dtype == np.float64 else y.astype(np.longdouble)
    _, e = np.frexp(np.abs(y))
    e = np.where(y == 0, lowest + 1, np.maximum(e, lowest + 1))
    return np.ldexp(y.dtype.type(1), e - 1 - mantissa)


def ulp_error(got, exact, scale=None):
    """abs(got - exact) in ulps of exact (or of the larger of exact and scale), element by element.

    exact is unrounded. Where it is NaN, infinite or 0, got must be the same; where it is beyond the largest number by
    half an ulp or more, got must be infinite. Anything else counts as an infinite error.
    """
    got, exact = np.asarray(got), np.asarray(exact)
    assert got.shape == exact.shape, (got.shape, exact.shape)
    dtype = got.dtype
    work = np.float64 if exact.dtype == np.float64 and dtype != np.float64 else np.longdouble
    exact, wide = exact.astype(work), _as(work, got)
    largest = work(_FORMAT[dtype][2])
    with np.errstate(all="ignore"):
        unit = ulp(exact if scale is None else np.maximum(np.abs(exact), np.abs(scale)), dtype)
        error = np.abs(wide - exact) / unit
        error = np.where(np.isfinite(exact) & np.isfinite(wide) & (exact != 0), error, np.inf)
        beyond = (np.abs(exact) >= largest + ulp(largest, dtype) / 2) & (wide == np.copysign(np.inf, exact))
        same = (wide == exact) | (np.isnan(wide) & np.isnan(exact)) | beyond
    return np.where(same, 0, error).astype(np.float64)


def mp_ulp_error(got, exact, dtype, scale=0):
    """The same for one finite number, exact and scale being mpmath numbers."""
    mantissa, lowest, _ = _FORMAT[np.dtype(dtype)]
    with mpmath.workprec(600):
        size = max(abs(exact), abs(scale))
        exponent = max(mpmath.frexp(size)[1] - 1, lowest) if size else lowest
        return float(abs(mpmath.mpf(float(got)) - exact) / mpmath.ldexp(1, exponent - mantissa))
