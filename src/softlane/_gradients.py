"""softmax_grad and log_softmax_grad, vector-Jacobian products, and softmax_hessian_diag."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core, _rows
from softlane._rows import Rows, result_for, run
from softlane._validate import as_array, compute_dtype, normalise_axis, protected, same_dtype


def softmax_grad(grad: ArrayLike, y: ArrayLike, axis: int = -1, *, out: NDArray[Any] | None = None) -> Any:
    """Vector-Jacobian product of softmax, from its output: ``y * (grad - sum(grad * y))``.

    Parameters
    ----------
    grad : array_like
        Gradient with respect to `y`, of its shape and dtype.
    y : array_like
        What `softmax` returned.
    axis : int, default -1
        The class axis.
    out : ndarray, optional
        Array to write to, as in `softmax`; may be `grad` or `y`.

    Returns
    -------
    ndarray or NumPy scalar
        Gradient with respect to the argument of the softmax, which is ``x / temperature`` if there was one.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and if `grad` and `y` differ in shape or dtype.

    Notes
    -----
    float32 and float64 results are within 2 ULP of the exact value. The sum is of float64 for float32, and as if in
    twice the precision for float64: it adds to the error only if it cancels to less than 2**-25 (2**-50) of its terms.
    ``grad`` less the sum has to be finite.

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
        Gradient with respect to `y`, of its shape and dtype.
    y : array_like
        What `log_softmax` returned.
    axis : int, default -1
        The class axis.
    out : ndarray, optional
        Array to write to, as in `softmax`; may be `grad` or `y`.

    Returns
    -------
    ndarray or NumPy scalar
        Gradient with respect to the argument of the softmax, which is ``x / temperature`` if there was one.

    Raises
    ------
    TypeError, ValueError
        As `softmax_grad`.

    Notes
    -----
    float32 and float64 results are within 3 ULP of the larger one of ``abs(grad)`` and ``abs(exp(y) * sum(grad))``,
    whose difference may cancel. The sum is that of `softmax_grad`.

    Where `log_softmax` had masked classes (`where`), their elements of `grad` have to be 0.

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


@protected
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
    axis : int, tuple of int or None, default -1
        The class axis. A tuple counts as one axis, None means all axes.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64.
    where : array_like of bool, optional
        True for the elements to include; broadcasts to the shape of `x`. The others are masked: they give 0,
        whatever they hold.
    temperature : float or array_like, optional
        Positive number that divides `x`, or an array of one for each row, as in `softmax`. The result is
        ``p * (1 - p)`` with ``p = softmax(x / temperature)``; the second derivative with respect to `x` is that over
        ``temperature**2``.
    out : ndarray, optional
        Array to write to, of the shape of `x` and the dtype of the result, any layout. May be `x` itself, or overlap
        it.

    Returns
    -------
    ndarray or NumPy scalar
        From 0 to 1/4, in the shape of `x`: `out` where given, a scalar for a 0-d `x`.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    Notes
    -----
    A row with NaN or +inf, or of -inf only, gives NaN; one with no element left by `where` gives 0. -inf beside finite
    values gives exactly 0, and so does a single class.

    float32 and float64 results are within 3 ULP of the exact value, also where a class has a probability close to 1:
    there ``1 - p`` is the sum of the other classes over that of all. The bits are reproducible, as those of `softmax`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.softmax_hessian_diag(np.array([40.0, 0.0, 0.0]))
    array([8.49670851e-18, 4.24835426e-18, 4.24835426e-18])

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

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
