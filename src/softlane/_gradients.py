"""softmax_grad and log_softmax_grad: vector-Jacobian products."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from softlane import _core
from softlane._rows import Rows, result_for, run
from softlane._validate import as_array, compute_dtype, normalise_axis, same_dtype


def softmax_grad(grad: ArrayLike, y: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None) -> Any:
    """Vector-Jacobian product of softmax, from its output: ``y * (grad - sum(grad * y))``.

    Parameters
    ----------
    grad : array_like
        Gradient with respect to `y`; its shape and dtype.
    y : array_like
        What `softmax` returned.
    axis : int, optional
        The class axis.
    out : ndarray, optional
        Where to write, as in `softmax`; may be `grad` or `y`.

    Returns
    -------
    ndarray
        Gradient with respect to the logits.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and if `grad` and `y` differ in shape or dtype.

    Notes
    -----
    The sum is one of float64.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.softmax_grad(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    result = _core.rows(_core.SOFTMAX_VJP, grad, axis, None, out, False, None, None, y)
    if result is None:
        result = _vjp(_core.SOFTMAX_VJP, "softmax_grad", grad, y, axis, out)
    return result


def log_softmax_grad(grad: ArrayLike, y: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None) -> Any:
    """Vector-Jacobian product of log_softmax, from its output: ``grad - exp(y) * sum(grad)``.

    Parameters
    ----------
    grad : array_like
        Gradient with respect to `y`; its shape and dtype.
    y : array_like
        What `log_softmax` returned.
    axis : int, optional
        The class axis.
    out : ndarray, optional
        Where to write, as in `softmax`; may be `grad` or `y`.

    Returns
    -------
    ndarray
        Gradient with respect to the logits.

    Raises
    ------
    TypeError, ValueError
        As `softmax_grad`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.log_softmax_grad(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    result = _core.rows(_core.LOG_SOFTMAX_VJP, grad, axis, None, out, False, None, None, y)
    if result is None:
        result = _vjp(_core.LOG_SOFTMAX_VJP, "log_softmax_grad", grad, y, axis, out)
    return result


def _vjp(op: int, name: str, grad: object, y: object, axis: object, out: object) -> Any:
    g, a = as_array(name, grad, "grad"), as_array(name, y, "y")
    dtype = same_dtype(name, g, a)
    k = normalise_axis(name, axis, a.ndim)
    if g.dtype.type is not a.dtype.type:
        g, a = g.astype(dtype), a.astype(dtype)
    shape = a.shape or (1,)
    result = result_for(name, out, a.shape, shape, dtype, (), (g, a))
    g, a = g.reshape(shape), a.reshape(shape)
    run(op, Rows(g, (k,), None, None, compute_dtype(dtype)), result.view, a)
    return result.give()
