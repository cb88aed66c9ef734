"""softmax, softmin, log_softmax and logsumexp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core, _rows
from softlane._chunks import Axes, apply, for_numpy
from softlane._rows import Rows, result_for, together
from softlane._validate import Array, as_array, broadcast_shapes, options, output_dtype, protected, result_dtype


def softmax(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Softmax along an axis: ``exp(x) / sum(exp(x))``, computed without overflow.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout. float32, float64, float16 and bfloat16 (of ml_dtypes) keep their dtype; bool and
        integers of up to 16 bits give float32, wider integers float64.
    axis : int, tuple of int or None, default -1
        The class axis. A tuple counts as one axis, None means all axes. A slice of `x` along it is called a row here.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64.
    where : array_like of bool, optional
        True for the elements to include; broadcasts to the shape of `x`. The others are masked: they give 0,
        whatever they hold.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row. An array broadcasts to the shape of `x`
        without `axis`, or to that of `x` with length 1 along `axis`.
    out : ndarray, optional
        Array to write to, of the shape of `x` and the dtype of the result, any layout. May be `x` itself, or overlap
        it.

    Returns
    -------
    ndarray or NumPy scalar
        Probabilities in the shape of `x`: `out` where given, a scalar for a 0-d `x`.

    Raises
    ------
    TypeError
        If the dtype of `x` is not supported (longdouble, complex, object, strings, masked arrays), `x` is on another
        device, `axis` is not an integer, a tuple of integers or None, `dtype` is not one of the four, `where` is not
        bool, `temperature` is not real, or `out` is not an array of the result's dtype.
    ValueError
        If `where` or `temperature` has the wrong shape, a temperature is not positive and finite, `axis` is empty or
        names an axis twice, or `out` has the wrong shape or is read-only.
    numpy.exceptions.AxisError
        If `axis` is out of bounds.

    See Also
    --------
    log_softmax : its logarithm
    softmin : softmax of ``-x``
    argmax, topk, sample : choices from these probabilities
    softmax_grad : the vector-Jacobian product

    Notes
    -----
    A row with NaN or +inf, or of -inf only, gives NaN; one with no element left by `where` gives 0. -inf beside finite
    values gives exactly 0. An axis of length 0 gives an empty array. No floating-point warnings are issued.

    float32 and float64 results are within 2 ULP of the exact value for every finite input and length, float16 and
    bfloat16 ones are the float32 result rounded once. The bits of a row do not depend on the values or the position of
    other rows, the length of the axes before `axis`, the number of threads, strides, or the instruction set. (The
    length of the axes after it may choose another order of summation.)

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax functions",
       IMA Journal of Numerical Analysis 41 (2021). Why a shift is needed, and the errors of the usual ones.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.softmax(np.array([1.0, 2.0, 3.0]))
    array([0.09003057, 0.24472847, 0.66524096])
    >>> softlane.softmax(np.array([[1000.0, 0.0], [0.0, 0.0]]), axis=0)
    array([[1. , 0.5],
           [0. , 0.5]])

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.softmax(x, temperature=t[:, None])
    array([[0.26894142, 0.73105858],
           [0.37754067, 0.62245933]])
    """
    y = _core.rows(_core.SOFTMAX, x, axis, dtype, out, False, where, temperature)
    if y is None:
        y = _rows.call(_core.SOFTMAX, "softmax", x, axis, dtype, out, False, where, temperature)
    return y


def softmin(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Softmin along an axis: ``exp(-x) / sum(exp(-x))``, the softmax of ``-x`` without a copy of `x`.

    Parameters
    ----------
    x : array_like
        Numbers of any shape and layout, such as distances or costs; dtypes as in `softmax`. Unsigned integers are
        converted to floats before they are negated, so they do not wrap.
    axis : int, tuple of int or None, default -1
        As in `softmax`, as are all parameters that follow.
    dtype : data-type, optional
        The dtype of the result.
    where : array_like of bool, optional
        True for the elements to include.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row.
    out : ndarray, optional
        Array to write to.

    Returns
    -------
    ndarray or NumPy scalar
        Probabilities in the shape of `x`: `out` where given, a scalar for a 0-d `x`.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    Notes
    -----
    The bits are those of ``softmax(-x)``, so the accuracy is 2 ULP. A row with NaN or -inf, or of +inf only, gives NaN.
    +inf beside finite values gives exactly 0.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.softmin(np.array([1.0, 2.0, 3.0]))
    array([0.66524096, 0.24472847, 0.09003057])

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.softmin(x, temperature=t[:, None])
    array([[0.73105858, 0.26894142],
           [0.62245933, 0.37754067]])
    """
    y = _core.rows(_core.SOFTMIN, x, axis, dtype, out, False, where, temperature)
    if y is None:
        y = _rows.call(_core.SOFTMIN, "softmin", x, axis, dtype, out, False, where, temperature)
    return y


def log_softmax(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Logarithm of the softmax along an axis, accurate where ``log(softmax(x))`` is not.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int, tuple of int or None, default -1
        The class axis. A tuple counts as one axis, None means all axes.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64.
    where : array_like of bool, optional
        True for the elements to include; broadcasts to the shape of `x`. The others are masked: they give -inf,
        whatever they hold.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row. An array broadcasts to the shape of `x`
        without `axis`, or to that of `x` with length 1 along `axis`.
    out : ndarray, optional
        Array to write to, of the shape of `x` and the dtype of the result, any layout. May be `x` itself, or overlap
        it.

    Returns
    -------
    ndarray or NumPy scalar
        Log-probabilities (in nats) in the shape of `x`: `out` where given, a scalar for a 0-d `x`.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    Notes
    -----
    A row with NaN or +inf, or of -inf only, gives NaN. -inf beside finite values gives -inf.

    float32 and float64 results are within 2 ULP of the exact value, also where a class has a probability close to 1:
    with ``m = max(x)`` this is ``(x - m) - log1p(sum of the others / exp(m))``, in which nothing cancels. Bits as in
    `softmax`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.log_softmax(np.array([0.0, -40.0]))
    array([-4.24835426e-18, -4.00000000e+01])

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.log_softmax(x, temperature=t[:, None])
    array([[-1.31326169, -0.31326169],
           [-0.97407698, -0.47407698]])
    """
    y = _core.rows(_core.LOG_SOFTMAX, x, axis, dtype, out, False, where, temperature)
    if y is None:
        y = _rows.call(_core.LOG_SOFTMAX, "log_softmax", x, axis, dtype, out, False, where, temperature)
    return y


def logsumexp(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Logarithm of the sum of exponentials along an axis: ``log(sum(exp(x)))``, computed without overflow.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int, tuple of int or None, default -1
        The class axis. A tuple counts as one axis, None means all axes.
    b : array_like, optional
        Coefficients of the exponentials, ``log(sum(b * exp(x)))``; broadcasts with `x`. Terms with ``b = 0``
        are left out, whatever `x` is. The result is NaN where the sum is negative. Its dtype is the wider of those that
        `x` and `b` alone would give (float32 for float16 with bfloat16); a Python number as `b` does not change it.
    keepdims : bool, default False
        Keep the axis in the result, with length 1.
    return_sign : bool, default False
        Return the logarithm of the absolute value of the sum, and the sign of the sum.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64.
    where : array_like of bool, optional
        True for the elements to include; broadcasts to the shape of `x`. A row without any gives -inf.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row. An array broadcasts to the shape of `x`
        without `axis`, or to that of `x` with length 1 along `axis`.
    out : ndarray, optional
        Array to write to, of the shape and dtype of the result, any layout. May overlap `x`.

    Returns
    -------
    log : ndarray or NumPy scalar
        The shape of `x` (with `b`, the shape that both broadcast to) without `axis`, or with length 1 there: `out`
        where given, a scalar where no dimension is left.
    sign : ndarray or NumPy scalar
        Only with `return_sign`: -1, 0, 1 or NaN, in the same shape and dtype.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    Notes
    -----
    A row with NaN gives NaN, else one with +inf gives +inf. A row of -inf only, or of length 0, gives -inf. With `b`
    NumPy adds the terms in float64, and terms of opposite signs may cancel.

    float32 and float64 results are within 2 ULP of the larger of ``abs(result)`` and ``abs(max(x))``: the result is
    ``max(x) + log1p(...)``, and the sum of the two can cancel. The bits are reproducible, as those of `softmax`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.logsumexp(np.array([[0.0, 0.0], [1000.0, 1000.0]]))
    array([6.93147181e-01, 1.00069315e+03])

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.logsumexp(x, temperature=t[:, None])
    array([1.31326169, 0.97407698])
    """
    if b is not None or return_sign:
        return _weighted(x, axis, b, bool(keepdims), bool(return_sign), dtype, where, temperature, out)
    keepdims = bool(keepdims)
    y = _core.rows(_core.LOGSUMEXP, x, axis, dtype, out, keepdims, where, temperature)
    if y is None:
        y = _rows.call(_core.LOGSUMEXP, "logsumexp", x, axis, dtype, out, keepdims, where, temperature)
    return y


# ---- logsumexp with coefficients ------------------------------------------------------------------------------------


@protected
def _weighted(
    x: object,
    axis: object,
    b: object,
    keepdims: bool,
    return_sign: bool,
    dtype: object,
    where: object,
    temperature: object,
    out: object,
) -> Any:
    """log(abs(sum(b * exp(x)))) and the sign of the sum, in float64 by NumPy. b = 0 is no term."""
    name = "logsumexp"
    a = as_array(name, x)
    native = result_dtype(name, a.dtype)
    factor = as_array(name, 1.0 if b is None else b, "b")
    dtype_of_b = result_dtype(name, factor.dtype, "b")
    if b is not None and type(b) not in (int, float, bool):  # numbers of Python have no dtype
        native = _promoted(native, dtype_of_b)
    wanted = output_dtype(name, dtype, native)
    shape = broadcast_shapes(name, a.shape, "b", factor.shape)
    asked = options(name, shape, axis, where, temperature)
    result = () if not shape else asked.kept if keepdims else asked.batch
    y = result_for(name, out, result, asked.kept, wanted, (a, factor, asked.mask, asked.temperature))
    a, factor = (np.broadcast_to(v, shape or (1,)) for v in (a, factor))
    rows = Rows(a, asked.axes, asked.mask, asked.temperature, np.dtype(np.float64))
    sign = np.empty(asked.kept, wanted)
    rows, factor, *views = together(rows, factor, y.view, sign)
    apply(for_numpy(_signed), rows.x.shape, rows.axes, (rows.x, factor, rows.mask, rows.temperature), views)
    if return_sign:
        return y.give(), sign.reshape(result)[()]
    with np.errstate(invalid="ignore"):  # bfloat16 raises the flag where it compares NaN
        is_negative = sign < 0
    y.view[is_negative] = np.nan
    return y.give()


def _promoted(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """float32 for float16 and bfloat16, which NumPy does not promote."""
    return np.dtype(np.float32) if a != b and a.itemsize == b.itemsize else max(a, b, key=lambda d: d.itemsize)


def _signed(axes: Axes, x: Array, b: Array, mask: Array | None, t: Array | None, log: Array, sign: Array) -> None:
    x, b = x.astype(np.float64), b.astype(np.float64)
    hidden = b == 0 if mask is None else (b == 0) | ~mask
    x, b = np.where(hidden, -np.inf, x), np.where(hidden, 0, b)
    top = x.max(axis=axes, keepdims=True, initial=-np.inf)
    infinite = top == np.inf  # then finite terms are nothing
    top[~np.isfinite(top)] = 0
    most = abs(b).max(axis=axes, keepdims=True, initial=0)
    exponent = np.where(np.isfinite(most) & (most > 2.0**900), np.frexp(most)[1], 0)  # lest the sum overflows
    distance, top_t = x - top, top
    if t is not None:  # x / t may be infinite, and so may x - top
        top_t = top / t
        distance = np.where(np.isfinite(distance), distance / t, x / t - top_t)
    e = np.where(infinite & (x < np.inf), 0, np.exp(distance))
    total = np.where(hidden, 0, np.ldexp(b, -exponent) * e).sum(axis=axes, keepdims=True)
    found = np.where(total == 0, -np.inf, np.log(abs(total)) + (top_t + exponent * np.log(2)))
    log[...] = np.where(np.isnan(found), np.nan, found)
    sign[...] = np.where(np.isnan(total), np.nan, np.sign(total))
