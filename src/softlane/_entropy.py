"""entropy and kl_divergence of softmax distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core, _rows
from softlane._rows import Rows, result_for, run, together
from softlane._validate import (
    as_array,
    broadcast_shapes,
    compute_dtype,
    options,
    output_dtype,
    protected,
    result_dtype,
)


def entropy(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    keepdims: bool = False,
    dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Entropy of the softmax along an axis: ``-sum(p * log(p))`` with ``p = softmax(x)``, in nats.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int, tuple of int or None, default -1
        The class axis. A tuple counts as one axis, None means all axes.
    keepdims : bool, default False
        Keep the axis in the result, with length 1.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64. By default float32, or float64 where `x` is
        computed in that.
    where : array_like of bool, optional
        True for the elements to include; broadcasts to the shape of `x`.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row. An array broadcasts to the shape of `x`
        without `axis`, or to that of `x` with length 1 along `axis`.
    out : ndarray, optional
        Array to write to, of the shape and dtype of the result, any layout. May overlap `x`.

    Returns
    -------
    ndarray or NumPy scalar
        The shape of `x` without `axis` (or with length 1 there): `out` where given, a scalar where no dimension is
        left. From 0 to the logarithm of the number of classes.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    Notes
    -----
    A row with NaN or +inf, or of -inf only, gives NaN. One with no element left by `where` gives 0, the sum of no
    terms, and so does an axis of length 0. A class at -inf beside finite values contributes 0.

    float32 and float64 results are within 2 ULP of the exact value, also where one class has nearly all weight and the
    entropy is 1e-12: with ``m = max(x)`` and ``e = exp(x - m)`` this is ``log(sum(e)) + sum(e * (m - x)) / sum(e)``, in
    which nothing cancels. The bits are reproducible, as those of `softmax`. `x` is read once.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.entropy(np.array([[0.0, 0.0], [30.0, 0.0]]))
    array([6.93147181e-01, 2.90086312e-12])

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.entropy(x, temperature=t[:, None])
    array([0.58220311, 0.66284732])
    """
    keepdims = bool(keepdims)
    y = _core.rows(_core.ENTROPY, x, axis, dtype, out, keepdims, where, temperature)
    if y is None:
        y = _rows.call(_core.ENTROPY, "entropy", x, axis, dtype, out, keepdims, where, temperature)
    return y


def kl_divergence(
    x: ArrayLike,
    y: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    keepdims: bool = False,
    dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Kullback-Leibler divergence ``sum(p * log(p / q))``, in nats, with ``p = softmax(x)`` and ``q = softmax(y)``.

    Parameters
    ----------
    x : array_like
        Logits of the first distribution, of any shape and layout; dtypes as in `softmax`.
    y : array_like
        Logits of the second one; broadcasts with `x`. A Python number does not change the dtype of the result.
    axis : int, tuple of int or None, default -1
        The class axis of what they broadcast to, the last one by default; several count as one, None is all.
    keepdims : bool, default False
        Keep the axis in the result, with length 1.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64. By default float64 where `x` or `y` is computed
        in that, else float32.
    where : array_like of bool, optional
        True for the classes to include of both; broadcasts to the shape of the two.
    temperature : float or array_like, optional
        Positive number that divides `x` and `y`, or an array of one for each row. An array broadcasts to the shape of
        the two without `axis`, or to that with length 1 along `axis`.
    out : ndarray, optional
        Array to write to, of the shape and dtype of the result, any layout.

    Returns
    -------
    ndarray or NumPy scalar
        The shape of the two without `axis` (or with length 1 there): `out` where given, a scalar where no dimension is
        left. Never negative.

    Raises
    ------
    TypeError, ValueError
        As `softmax`; ValueError also where the shapes do not broadcast.

    Notes
    -----
    The order of the two differs between libraries:

    ==============================  =====================================================================
    here                            ``kl_divergence(x, y)``
    SciPy                           ``scipy.stats.entropy(softmax(x), softmax(y))``
    PyTorch                         ``kl_div(log_softmax(y), softmax(x), reduction="none").sum(-1)``
    ==============================  =====================================================================

    A class at -inf in `y` alone gives inf; one at -inf in `x`, or in both, contributes no ``p * log(p / q)``. A row
    with NaN or +inf, or of -inf only, in `x` or in `y` gives NaN. One with no element left by `where` gives 0, and so
    does an axis of length 0.

    The divergence of nearly equal distributions is as accurate as any: with ``d = log(q / p)`` this is
    ``sum(p * (exp(d) - 1 - d))``, whose terms are not negative. It is exactly 0 where ``y - x`` is exactly the same
    number for all classes. float32 results are within 2 ULP of the exact value, float64 results within 10. In float64,
    a difference of logits that overflows counts as infinite. The bits are reproducible, as those of `softmax`. The
    logits are read three times, and copied in pieces where they are not C-contiguous and of the dtype that is computed
    in.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> x = np.array([0.0, 1.0, 2.0])
    >>> f"{softlane.kl_divergence(x, [0.0, 1.0, 2.000001]):.12g}"
    '1.11347701032e-13'

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.kl_divergence(x, [0.0, 0.0], temperature=t[:, None])
    array([0.11094407, 0.03029986])
    """
    keepdims = bool(keepdims)
    result = _core.rows(_core.KL_DIVERGENCE, x, axis, dtype, out, keepdims, where, temperature, y)
    if result is None:
        result = _kl_divergence(x, y, axis, keepdims, dtype, where, temperature, out)
    return result


@protected
def _kl_divergence(
    x: object,
    y: object,
    axis: object,
    keepdims: bool,
    dtype: object,
    where: object,
    temperature: object,
    out: object,
) -> Any:
    name = "kl_divergence"
    a, b = as_array(name, x), as_array(name, y, "y")
    dtypes = [result_dtype(name, a.dtype), result_dtype(name, b.dtype, "y")]
    is_number = [type(v) in (int, float, bool) for v in (x, y)]  # of Python: without a dtype
    if is_number[0] != is_number[1]:
        dtypes = [dtypes[is_number.index(False)]]
    native = compute_dtype(*dtypes)
    with np.errstate(all="ignore"):
        a, b = (v.astype(native) if n else v for v, n in zip((a, b), is_number, strict=True))
    wanted = output_dtype(name, dtype, native)
    shape = broadcast_shapes(name, a.shape, "y", b.shape)
    asked = options(name, shape, axis, where, temperature)
    a, b = (np.broadcast_to(v, shape or (1,)) for v in (a, b))
    rows = Rows(a, asked.axes, asked.mask, asked.temperature, compute_dtype(native, wanted))
    result = () if not shape else asked.kept if keepdims else asked.batch
    to = result_for(name, out, result, asked.kept, wanted, (a, b, rows.mask, rows.temperature))
    rows, b, view = together(rows, b, to.view)
    run(_core.KL_DIVERGENCE, rows, view, b)
    return to.give()
