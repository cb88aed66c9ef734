"""softmax_grad and log_softmax_grad, vector-Jacobian products, and softmax_hessian_diag."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core, _rows
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
    shape = a.shape or (1,)
    result = result_for(name, out, a.shape, shape, dtype, (), (g, a))
    g, a = g.reshape(shape), a.reshape(shape)
    run(op, Rows(g, (k,), None, None, compute_dtype(dtype)), result.view, a)
    return result.give()


def softmax_hessian_diag(
    x: ArrayLike,
    axis: int | tuple[int, ...] | None = -1,
    *,
    dtype: DTypeLike | None = None,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Variance of each class, ``p * (1 - p)`` with ``p = softmax(x)``, accurate where ``1 - p`` is not.

    It is the diagonal of the Hessian of `logsumexp` and of `cross_entropy`, and that of the Jacobian of `softmax`.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int, tuple of int or None, optional
        The class axis, the last one by default; several count as one, None is all.
    dtype : data-type, optional
        Of the result: float16, bfloat16, float32 or float64.
    where : array_like of bool, optional
        The elements that count; broadcasts to the shape of `x`. The others give 0, whatever they are.
    temperature : float or array_like, optional
        ``p`` is ``softmax(x / temperature)``: one positive number, or one for each row: in the shape of
        `x` without `axis`, in one that broadcasts to it, or in that of `x` with length 1 there. The result is
        ``p * (1 - p)`` of it, without the factor ``1 / temperature**2`` that the second derivative by `x` has besides.
    out : ndarray, optional
        Where to write: the shape of `x` and the dtype of the result, any layout. May be `x` itself, or overlap it.

    Returns
    -------
    ndarray
        From 0 to 1/4, in the shape of `x`: `out` where given, a NumPy scalar for a 0-d `x`.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    Notes
    -----
    A row with NaN or +inf, or of -inf only, gives NaN; one with nothing that counts gives 0. -inf beside finite values
    gives exactly 0, and so does a single class.

    float32 and float64 results are within 3 ULP of the exact value, also where a class has a probability close to 1:
    there ``1 - p`` is the sum of the other classes over that of all. Bits as in `softmax`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.softmax_hessian_diag(np.array([40.0, 0.0, 0.0]))
    array([8.49670851e-18, 4.24835426e-18, 4.24835426e-18])

    An array of temperatures has one for each row. ``t[:, None]`` says so for certain; `t` alone means the same, also
    where there are as many classes as rows.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.softmax_hessian_diag(x, temperature=t[:, None])
    array([[0.19661193, 0.19661193],
           [0.23500371, 0.23500371]])
    """
    y = _core.rows(_core.SOFTMAX_HESSIAN_DIAG, x, axis, dtype, out, False, where, temperature)
    if y is None:
        name = "softmax_hessian_diag"
        y = _rows.call(_core.SOFTMAX_HESSIAN_DIAG, name, x, axis, dtype, out, False, where, temperature)
    return y
