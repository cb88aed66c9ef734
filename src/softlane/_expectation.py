"""expectation: the mean of values under a softmax."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core
from softlane._chunks import Axes, apply_to_rows, for_numpy
from softlane._rows import check, result_for, run
from softlane._validate import Array, class_values, compute_dtype, protected


def expectation(
    x: ArrayLike,
    values: ArrayLike,
    axis: int = -1,
    *,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Mean of values under the softmax of logits: ``sum(softmax(x) * values)`` along an axis.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    values : array_like
        Real numbers, not NaN: one for each class, of shape ``(C,)``, or an array with as many dimensions as `x`
        that broadcasts to its shape.
    axis : int, default -1
        The class axis.
    where : array_like of bool, optional
        True for the classes to include; broadcasts to the shape of `x`.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row, as in `softmax`.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64. By default float32, or float64 where `x` is
        computed in that.
    out : ndarray, optional
        Array to write to, of the shape and dtype of the result, any layout. May overlap `x`.

    Returns
    -------
    ndarray or NumPy scalar
        The shape of `x` without `axis`, of `dtype`: `out` where given.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and ValueError if one of `values` is NaN or their shape does not fit.

    Notes
    -----
    A row that `softmax` makes NaN gives NaN; one with no class left by `where`, or without classes, gives 0. An
    infinite value counts only where its probability is not 0. Products are added in twice the precision, so the error
    is that of the probabilities: within 4 ULP of ``sum(p * abs(values))``. The probabilities are not written to memory.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.expectation(np.log([[1.0, 1.0, 2.0]]), [0.0, 1.0, 2.0])
    array([1.25])

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.expectation(x, [0.0, 1.0], temperature=t[:, None])
    array([0.73105858, 0.62245933])
    """
    y = _core.rows(_core.EXPECTATION, x, axis, dtype, out, False, where, temperature, values)
    if y is None:
        y = _expectation(x, values, axis, where, temperature, dtype, out)
    return y


@protected
def _expectation(
    x: object, values: object, axis: object, where: object, temperature: object, dtype: object, out: object
) -> Any:
    name = "expectation"
    call = check(name, x, axis, where, temperature, dtype, is_per_row=True)
    rows, k = call.rows, call.rows.axes[0]
    v = class_values(name, values, () if call.is_scalar else rows.x.shape, k, rows.compute)
    y = result_for(name, out, call.reduced(False), call.kept, call.dtype, (v, *rows.arrays))
    if rows.x.size == 0:
        y.view.fill(0)
    elif v.ndim == 1 and np.isfinite(v).all():
        run(_core.EXPECTATION, rows, y.view, values=v)
    else:
        v = np.broadcast_to(v.reshape(-1, *(1,) * (rows.x.ndim - k - 1)) if v.ndim == 1 else v, rows.x.shape)
        kernel = for_numpy(partial(_mean_of_elements, rows.compute))
        apply_to_rows(kernel, rows.compute, rows.axes, rows.arrays, (v,), (y.view,))
    return y.give()


def _mean_of_elements(
    compute: np.dtype[Any], axes: Axes, x: Array, mask: Array | None, t: Array | None, v: Array, y: Array
) -> None:
    """The mean of a value for each element, by NumPy. A product is 0 where the probability is."""
    wide = compute_dtype(x.dtype, v.dtype)  # for temperatures beyond float32
    p = _core.rows(_core.SOFTMAX, x, axes, wide, None, False, mask, t, None, _core.COPY)
    products = np.where(p == 0, 0, p * v.astype(np.float64))
    products = np.ascontiguousarray(np.moveaxis(products, axes[0], -1))
    y[...] = np.expand_dims(products.sum(axis=-1).astype(compute), axes[0])  # which 16-bit floats are rounded from
