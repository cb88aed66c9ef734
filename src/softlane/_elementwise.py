"""sigmoid, log_sigmoid and the binary cross-entropies: functions of each element by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core
from softlane._chunks import apply_to_elements, element_chunks
from softlane._losses import finish
from softlane._rows import result_for
from softlane._validate import (
    Array,
    Domain,
    as_array,
    broadcast,
    check_reduction,
    compute_dtype,
    output_dtype,
    protected,
    real,
    result_dtype,
    same_dtype,
    temperatures,
)


def sigmoid(
    x: ArrayLike,
    *,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Logistic sigmoid, ``1 / (1 + exp(-x))``, element by element and without overflow.

    Parameters
    ----------
    x : array_like
        Any shape; dtypes as in `softmax`.
    temperature : float or array_like, optional
        Positive number or numbers that divide `x`; broadcasts to the shape of `x`.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64.
    out : ndarray, optional
        Array to write to, of the shape of `x` and the dtype of the result, any layout. May be `x` itself, or overlap
        it.

    Returns
    -------
    ndarray or NumPy scalar
        In the shape of `x`; 0 for -inf, 1 for inf, NaN for NaN.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    Notes
    -----
    Within 2 ULP in float32 and float64, also with a temperature, and the same bits on every instruction set.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.sigmoid(np.array([0.0, -1000.0, 2.0]))
    array([0.5       , 0.        , 0.88079708])
    """
    y = _core.elements(_core.SIGMOID, x, dtype, out, temperature)
    if y is None:
        y = _elements(_core.SIGMOID, "sigmoid", x, dtype, out, temperature)
    return y


def log_sigmoid(
    x: ArrayLike,
    *,
    temperature: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
) -> Any:
    """Logarithm of the sigmoid, ``-log(1 + exp(-x))``, accurate for every x.

    Parameters
    ----------
    x : array_like
        Any shape; dtypes as in `softmax`.
    temperature : float or array_like, optional
        Positive number or numbers that divide `x`; broadcasts to the shape of `x`.
    dtype : data-type, optional
        The dtype of the result: float16, bfloat16, float32 or float64.
    out : ndarray, optional
        Array to write to, as in `sigmoid`.

    Returns
    -------
    ndarray or NumPy scalar
        In the shape of `x`; -inf for -inf, 0 for inf, NaN for NaN.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    Notes
    -----
    Within 2 ULP in float32 and float64, also with a temperature, and the same bits on every instruction set.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.log_sigmoid(np.array([-1000.0, 40.0]))
    array([-1.00000000e+03, -4.24835426e-18])
    """
    y = _core.elements(_core.LOG_SIGMOID, x, dtype, out, temperature)
    if y is None:
        y = _elements(_core.LOG_SIGMOID, "log_sigmoid", x, dtype, out, temperature)
    return y


def sigmoid_grad(grad: ArrayLike, y: ArrayLike, *, out: NDArray[Any] | None = None) -> Any:
    """Vector-Jacobian product of sigmoid, from its output: ``grad * y * (1 - y)``.

    Parameters
    ----------
    grad : array_like
        Gradient with respect to `y`, of its shape and dtype.
    y : array_like
        What `sigmoid` returned.
    out : ndarray, optional
        Array to write to, as in `sigmoid`; may be `grad` or `y`.

    Returns
    -------
    ndarray or NumPy scalar
        Gradient with respect to the argument of the sigmoid, which is ``x / temperature`` if there was one.

    Raises
    ------
    TypeError, ValueError
        As `sigmoid`, and if `grad` and `y` differ in shape or dtype.

    Notes
    -----
    Computed in float64 and rounded once: within 1 ULP in float32, 2 in float64.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.sigmoid_grad(np.array([1.0, -2.0]), np.array([0.5, 0.25]))
    array([ 0.25 , -0.375])
    """
    result = _core.elements(_core.SIGMOID_VJP, grad, None, out, None, y)
    if result is None:
        result = _sigmoid_vjp(grad, y, out)
    return result


def binary_cross_entropy(
    probs: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    dtype: DTypeLike | None = None,
) -> Any:
    """Binary cross-entropy of probabilities: ``-(target * log(probs) + (1 - target) * log1p(-probs))``.

    Where logits are at hand, `binary_cross_entropy_with_logits` is exact where this is not.

    Parameters
    ----------
    probs : array_like
        Probabilities of class 1, any shape. Those beyond 0 or 1 by a rounding error, up to 4 eps, count as 0 or 1.
    target : array_like
        Class 0 or 1, or the probability of class 1, not checked; broadcasts to the shape of `probs`. Converted to the
        dtype that is computed in, as are weights: float32, or float64 where `probs` or `dtype` say so.
    weight : array_like, optional
        Weight of each element; broadcasts to the shape of `probs`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements.
    dtype : data-type, optional
        The dtype of the loss: float16, bfloat16, float32 or float64. By default float32, or float64 where `probs` are
        computed in that.

    Returns
    -------
    NumPy scalar or ndarray
        In nats; dtypes as from `cross_entropy`. A term with factor 0 contributes 0; ``log(0)`` with another factor
        gives inf.

    Raises
    ------
    TypeError, ValueError
        If a dtype is not supported, a shape does not broadcast, `reduction` is none of the three, or an element of
        `probs` is outside ``[0, 1]`` by more than 4 eps; the message names the first one.

    Notes
    -----
    Logarithms, products and sums are of float64, rounded once; the same bits on every instruction set. With a
    weight of 0 an infinite loss counts as 0, and NaN stays NaN.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.binary_cross_entropy(np.array([0.5, 1.0]), [1, 1], reduction="none")
    array([0.69314718, 0.        ])
    """
    found = _core.binary(
        _core.BINARY_CROSS_ENTROPY_OF_PROBS, probs, target, weight, None, reduction, dtype, None
    )  # fmt: skip
    if found is None:
        found = _binary(
            "binary_cross_entropy", "probs", probs, target, weight, None, reduction, dtype, None,
            False, None,
        )[0]  # fmt: skip
    return found


def binary_cross_entropy_with_grad(
    probs: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
    dtype: DTypeLike | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[Any, Any]:
    """Binary cross-entropy of probabilities, and its gradient with respect to them.

    Parameters
    ----------
    probs, target, weight, reduction, dtype
        As in `binary_cross_entropy`.
    grad_out : ndarray, optional
        Array to write the gradient to, as in `cross_entropy_with_grad`.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `binary_cross_entropy`.
    grad : ndarray
        Of the mean, of the sum, or, for "none", of each element's own loss:
        ``weight * ((1 - target) / (1 - probs) - target / probs)``. A term with factor 0 contributes 0, one that is
        divided by 0 is infinite. `grad_out` where given.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy`, and for a `grad_out` of the wrong shape or dtype; before anything is written.

    Notes
    -----
    The gradient is ``(probs - target) / (probs * (1 - probs))``, in float64 and rounded once: nothing cancels. At 0 and
    1 it is the slope towards the inside: 1 for ``probs = target = 0``, where PyTorch, which bounds the denominator,
    has 0.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> loss, grad = softlane.binary_cross_entropy_with_grad(np.array([0.5, 0.25]), [1, 0], reduction="sum")
    >>> grad
    array([-2.        ,  1.33333333])
    """
    found = _core.binary(
        _core.BINARY_CROSS_ENTROPY_OF_PROBS, probs, target, weight, None, reduction, dtype, None, True, grad_out
    )  # fmt: skip
    if found is None:
        found = _binary(
            "binary_cross_entropy_with_grad", "probs", probs, target, weight, None, reduction, dtype, None,
            True, grad_out,
        )  # fmt: skip
    return found  # type: ignore[no-any-return]


def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    reduction: str = "mean",
    dtype: DTypeLike | None = None,
) -> Any:
    """Binary cross-entropy of logits, stable for any of them.

    ``weight * (pos_weight * target * softplus(-logits) + (1 - target) * softplus(logits))``, with
    ``softplus(x) = log(1 + exp(x))``.

    Parameters
    ----------
    logits : array_like
        Any shape; dtypes as in `softmax`.
    target : array_like
        Class 0 or 1, or the probability of class 1, not checked; broadcasts to the shape of `logits`. Converted to the
        dtype that is computed in: float32, or float64 where `logits` or `dtype` say so.
    weight : array_like, optional
        Weight of each element; broadcasts to the shape of `logits`.
    pos_weight : array_like, optional
        Weight of the term of class 1; broadcasts to the shape of `logits`, for example ``(C,)``.
    temperature : float or array_like, optional
        Positive number or numbers that divide `logits`; broadcasts to the shape of `logits`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements.
    dtype : data-type, optional
        The dtype of the loss: float16, bfloat16, float32 or float64. By default float32, or float64 where `logits` are
        computed in that.

    Returns
    -------
    NumPy scalar or ndarray
        In nats; dtypes as from `cross_entropy`.

    Raises
    ------
    TypeError, ValueError
        If a dtype is not supported, a shape does not broadcast, `reduction` is none of the three, or a temperature is
        not positive and finite.

    Notes
    -----
    With a weight of 0 an infinite loss counts as 0, and NaN stays NaN. Weights are converted to the dtype that the loss
    is computed in: one beyond the range of float32 counts as infinite beside float32 logits, and leaves a loss of 0 as
    it is.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.binary_cross_entropy_with_logits(np.array([0.0, 1e4, -1e4]), [1, 1, 1], reduction="none")
    array([6.93147181e-01, 0.00000000e+00, 1.00000000e+04])
    """
    found = _core.binary(
        _core.BINARY_CROSS_ENTROPY, logits, target, weight, pos_weight, reduction, dtype, temperature
    )  # fmt: skip
    if found is None:
        found = _binary(
            "binary_cross_entropy_with_logits", "logits", logits, target, weight, pos_weight, reduction, dtype,
            temperature, False, None,
        )[0]  # fmt: skip
    return found


def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
    reduction: str = "mean",
    dtype: DTypeLike | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[Any, Any]:
    """Binary cross-entropy of logits, and its gradient with respect to them.

    Parameters
    ----------
    logits, target, weight, pos_weight, temperature, reduction, dtype
        As in `binary_cross_entropy_with_logits`.
    grad_out : ndarray, optional
        Array to write the gradient to, as in `cross_entropy_with_grad`.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `binary_cross_entropy_with_logits`.
    grad : ndarray
        Of the mean, of the sum, or, for "none", of each element's own loss. ``sigmoid(logits) - target`` in the
        simplest case; with a temperature, that is divided by it. `grad_out` where given.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy_with_logits`, and for a `grad_out` of the wrong shape or dtype; before anything is
        written.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> loss, grad = softlane.binary_cross_entropy_with_logits_with_grad(np.array([0.0, 2.0]), [1, 0], reduction="sum")
    >>> grad
    array([-0.5       ,  0.88079708])
    """
    found = _core.binary(
        _core.BINARY_CROSS_ENTROPY, logits, target, weight, pos_weight, reduction, dtype, temperature, True, grad_out
    )  # fmt: skip
    if found is None:
        found = _binary(
            "binary_cross_entropy_with_logits_with_grad", "logits", logits, target, weight, pos_weight, reduction,
            dtype, temperature, True, grad_out,
        )  # fmt: skip
    return found  # type: ignore[no-any-return]


# ---- arguments of any layout and dtype ------------------------------------------------------------------------------


def _temperature(name: str, temperature: object, shape: tuple[int, ...], of: str) -> Array | None:
    """One number (0-d), or a view of that shape; None for the number 1."""
    if temperature is None:
        return None
    t = temperatures(name, temperature)
    if t.ndim == 0:
        return None if t == 1 else t
    return broadcast(name, "temperature", t, shape, of)


@protected
def _elements(op: int, name: str, x: object, dtype: object, out: object, temperature: object) -> Any:
    """sigmoid and log_sigmoid."""
    a = as_array(name, x)
    native = result_dtype(name, a.dtype)
    wanted = output_dtype(name, dtype, native)
    t = _temperature(name, temperature, a.shape, "x")
    y = result_for(name, out, a.shape, a.shape, wanted, (t,), (a,))
    _run(op, compute_dtype(native, wanted), a, t, None, y.view)
    return y.give()


@protected
def _sigmoid_vjp(grad: object, y: object, out: object) -> Any:
    name = "sigmoid_grad"
    g, a = as_array(name, grad, "grad"), as_array(name, y, "y")
    dtype = same_dtype(name, g, a)
    result = result_for(name, out, a.shape, a.shape, dtype, (), (g, a))
    _run(_core.SIGMOID_VJP, compute_dtype(dtype), g, None, a, result.view)
    return result.give()


def _run(op: int, compute: np.dtype[Any], x: Array, t: Array | None, other: Array | None, y: Array) -> None:
    def kernel(mode: int, x: Array, t: Array | None, other: Array | None, y: Array) -> Any:
        return _core.elements(op, x, y.dtype, y, t, other, mode)

    apply_to_elements(kernel, (x, t, other), (y,), compute)


@protected
def _binary(
    name: str,
    what: str,
    x: object,
    target: object,
    weight: object,
    pos_weight: object,
    reduction: object,
    dtype: object,
    temperature: object,
    with_grad: bool,
    grad_out: object,
) -> tuple[Any, Any]:
    """The loss of what is "logits" or "probs", and its gradient or None."""
    reduction = check_reduction(name, reduction)
    a = as_array(name, x, what)
    native = result_dtype(name, a.dtype, what)
    wanted = output_dtype(name, dtype, compute_dtype(native))
    compute = compute_dtype(native, wanted)
    numbers: list[Array | None] = [
        None if b is None and of != "target" else broadcast(name, of, real(name, of, b), a.shape, what)
        for of, b in (("target", target), ("weight", weight), ("pos_weight", pos_weight))
    ]
    numbers.append(_temperature(name, temperature, a.shape, what))
    grad = None
    if with_grad:
        grad = result_for(name, grad_out, a.shape, a.shape, native, tuple(numbers), (a,), "grad_out")
        if what == "probs" and grad_out is not None:  # before it is written to
            _check_probabilities(name, a, native)
    losses = np.empty(a.shape, compute if wanted.itemsize == 2 else wanted) if reduction == "none" else None
    op = _core.BINARY_CROSS_ENTROPY if what == "logits" else _core.BINARY_CROSS_ENTROPY_OF_PROBS
    scale = 1 / a.size if reduction == "mean" and a.size else 1.0
    sums, scaled = [np.empty(0)], [np.empty(0)]
    outside = False

    def kernel(
        mode: int,
        x: Array,
        target: Array,
        weight: Array | None,
        pos_weight: Array | None,
        t: Array | None,
        grad: Array | None,
        losses: Array | None,
    ) -> Any:
        nonlocal outside
        dtype = compute if losses is None else losses.dtype
        found = _core.binary(
            op, x, target, weight, pos_weight, None, dtype, t, grad is not None, grad, mode, scale, losses
        )
        if found is None:
            return None
        if losses is None:
            sums.append(found[0])
            scaled.append(np.empty(0) if found[1] is None else found[1])
        outside = outside or found[2]
        return found

    apply_to_elements(kernel, (a, *numbers), (None if grad is None else grad.view, losses), compute)
    if outside and grad_out is None:
        _check_probabilities(name, a, native)
    if losses is None:
        of_scaled = np.concatenate(scaled) if compute == np.float64 else None
        loss = finish(np.concatenate(sums), reduction, a.size, compute, wanted, of_scaled)
    else:
        loss = finish(losses, reduction, a.size, compute, wanted)
    return loss, None if grad is None else grad.give()


def _check_probabilities(name: str, a: Array, dtype: np.dtype[Any]) -> None:
    domain = Domain(name, "probs", dtype, name.replace("entropy", "entropy_with_logits"))
    for chunk in element_chunks(a.shape):
        domain.check(a[chunk], chunk=chunk)
