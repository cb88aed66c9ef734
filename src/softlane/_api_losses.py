"""The public losses and gradients: signatures and documentation. Decisions are in _losses.py and _elements.py."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core, _elements, _losses


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Cross-entropy between logits and class indices or class probabilities.

    Parameters
    ----------
    logits : array_like
        Unnormalised scores of any shape, one class axis; dtypes as in `softmax`.
    target : array_like
        With one dimension less than `logits`: class indices, integers of the shape of `logits` without `axis`. With as
        many dimensions: class probabilities (or one-hot rows) of the shape of `logits`, any real dtype, bool included.
    axis : int, optional
        The class axis, the last one by default. (PyTorch has it at 1.)
    weight : array_like, optional
        One weight for each class, shape ``(C,)``.
    ignore_index : int, optional
        Samples with this class index have loss 0, gradient 0, and do not count in the mean.
    label_smoothing : float, optional
        0 to 1: this part of every target is spread evenly over all classes.
    reduction : {"mean", "sum", "none"}, optional
        "none" returns one loss for each sample. "mean" divides the sum by the sum of the weights of the targets that
        count (class indices) or by the number of samples (class probabilities), as PyTorch does.
    sample_weight : array_like, optional
        A number from 0 on for each sample, which its loss and gradient are multiplied by; broadcasts to the shape of
        `logits` without `axis`. 0 leaves a sample out, whatever its logits are, as of padding. "mean" divides by the
        sum of these weights, times those of the classes.
    dtype : data-type, optional
        Of the loss: float16, bfloat16, float32 or float64. By default float32, or float64 where `logits` are
        computed in that.

    Returns
    -------
    NumPy scalar or ndarray
        In nats, of `dtype`. "none": the shape of `logits` without `axis`. Otherwise a scalar; the mean of no samples is
        NaN, their sum 0.

    Raises
    ------
    IndexError
        If a class index is neither in ``[0, C)`` nor `ignore_index`; the message names the first one.
    ValueError
        If shapes do not fit, there is no class, or an option is out of range.
    TypeError
        If a dtype is not supported, or class indices are no integers.

    Notes
    -----
    The loss of a sample is ``(m - x[target]) + log1p(sum of the others / exp(m))`` with ``m = max(x)``. Both terms are
    positive, nothing cancels: with class indices and no weights, float32 and float64 losses are within 2 ULP, also for
    a class of probability 1 - 1e-12. Sums are of float64, rounded once. Logits are read once, and beside the result
    a few bytes are allocated for each sample. Bits as in `softmax`.

    A row with NaN or +inf, or of -inf only, has loss NaN; a target at -inf beside finite logits has loss inf.
    A class with weight or probability 0 contributes 0, also where its logit is -inf.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> logits = np.array([[2.0, 1.0, 0.1], [0.0, 0.0, 0.0]])
    >>> softlane.cross_entropy(logits, [0, 2], reduction="none")
    array([0.41703002, 1.09861229])
    >>> float(round(softlane.cross_entropy(logits, [[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]), 6))
    0.757821
    """
    return _losses.cross_entropy(
        "cross_entropy",
        logits,
        target,
        axis,
        weight,
        ignore_index,
        label_smoothing,
        reduction,
        sample_weight,
        dtype,
        False,
        None,
    )


def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[Any, Any]:
    """Cross-entropy and its gradient with respect to the logits, with one exponential for each logit.

    Parameters
    ----------
    logits : array_like
    target : array_like
    axis : int, optional
    weight : array_like, optional
    ignore_index : int, optional
    label_smoothing : float, optional
    reduction : {"mean", "sum", "none"}, optional
    sample_weight : array_like, optional
    dtype : data-type, optional
        All of them as in `cross_entropy`.
    grad_out : ndarray, optional
        Where to write the gradient: the shape of `logits` and the dtype of the result, any layout. May be `logits`
        itself, or overlap any argument.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `cross_entropy`.
    grad : ndarray
        The gradient of the loss, scaled as `reduction` says: of the mean, of the sum, or, for "none", of each sample's
        own loss. ``softmax(logits) - onehot(target)`` in the simplest case. `grad_out` where given.

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`, and for a `grad_out` of the wrong shape or dtype; before anything is written.

    Notes
    -----
    Where the target is the class with the largest logit, ``p - 1`` is computed from the other classes: the gradient of
    a confident row is small, not 0. Rows with NaN or +inf, or of -inf only, have gradient NaN.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> loss, grad = softlane.cross_entropy_with_grad(np.array([[2.0, 1.0, 0.1]]), [0])
    >>> grad
    array([[-0.34099886,  0.24243297,  0.09856589]])
    """
    loss, grad = _losses.cross_entropy(
        "cross_entropy_with_grad",
        logits,
        target,
        axis,
        weight,
        ignore_index,
        label_smoothing,
        reduction,
        sample_weight,
        dtype,
        True,
        grad_out,
    )
    return loss, grad


def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Negative log-likelihood: what `cross_entropy` is, from log-probabilities.

    Parameters
    ----------
    log_probs : array_like
        Logarithms of probabilities, as from `log_softmax`; not normalised again.
    target : array_like
    axis : int, optional
    weight : array_like, optional
    ignore_index : int, optional
    reduction : {"mean", "sum", "none"}, optional
    sample_weight : array_like, optional
    dtype : data-type, optional
        All of them as in `cross_entropy`.

    Returns
    -------
    NumPy scalar or ndarray
        As from `cross_entropy`.

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`.

    Notes
    -----
    With class indices, only the log-probability of the target is looked at.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> log_probs = softlane.log_softmax(np.array([[2.0, 1.0, 0.1]]))
    >>> softlane.nll_loss(log_probs, [0], reduction="none")
    array([0.41703002])
    """
    return _losses.nll_loss(
        "nll_loss", "log_probs", log_probs, target, axis, weight, ignore_index, reduction, sample_weight, dtype, False
    )


def log_loss(
    probs: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Cross-entropy of probabilities: ``-log(probs)`` of the target.

    Where logits are at hand, `cross_entropy` is exact where this is not: a probability close to 1 has lost its digits.

    Parameters
    ----------
    probs : array_like
        Probabilities, as from `softmax`; not normalised again and not clipped.
    target : array_like
    axis : int, optional
    weight : array_like, optional
    ignore_index : int, optional
    reduction : {"mean", "sum", "none"}, optional
    sample_weight : array_like, optional
    dtype : data-type, optional
        All of them as in `cross_entropy`.

    Returns
    -------
    NumPy scalar or ndarray
        As from `cross_entropy`. inf where a target of positive weight has probability 0.

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.log_loss(np.array([[0.7, 0.2, 0.1]]), [[1, 0, 0]], reduction="none")
    array([0.35667494])
    """
    return _losses.nll_loss(
        "log_loss", "probs", probs, target, axis, weight, ignore_index, reduction, sample_weight, dtype, True
    )


def sigmoid(x: ArrayLike, *, dtype: DTypeLike | None = None, out: NDArray[Any] | None = None) -> Any:
    """Logistic sigmoid, ``1 / (1 + exp(-x))``, element by element and without overflow.

    Parameters
    ----------
    x : array_like
        Any shape; dtypes as in `softmax`.
    dtype : data-type, optional
        Of the result: float16, bfloat16, float32 or float64.
    out : ndarray, optional
        Where to write: the shape of `x` and the dtype of the result, any layout. May be `x` itself, or overlap it.

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
    Within 2 ULP in float32 and float64, and the same bits on every instruction set.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.sigmoid(np.array([0.0, -1000.0, 2.0]))
    array([0.5       , 0.        , 0.88079708])
    """
    return _elements.sigmoid(_core.SIGMOID, "sigmoid", x, out, dtype)


def log_sigmoid(x: ArrayLike, *, dtype: DTypeLike | None = None, out: NDArray[Any] | None = None) -> Any:
    """Logarithm of the sigmoid, ``-log(1 + exp(-x))``, accurate for every x.

    Parameters
    ----------
    x : array_like
        Any shape; dtypes as in `softmax`.
    dtype : data-type, optional
        Of the result: float16, bfloat16, float32 or float64.
    out : ndarray, optional
        Where to write, as in `sigmoid`.

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
    Within 2 ULP in float32 and float64, and the same bits on every instruction set.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.log_sigmoid(np.array([-1000.0, 40.0]))
    array([-1.00000000e+03, -4.24835426e-18])
    """
    return _elements.sigmoid(_core.LOG_SIGMOID, "log_sigmoid", x, out, dtype)


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
        Probabilities of class 1, any shape; not clipped.
    target : array_like
        Class 0 or 1, or the probability of class 1; broadcasts to the shape of `probs`.
    weight : array_like, optional
        Of each element; broadcasts to the shape of `probs`.
    reduction : {"mean", "sum", "none"}, optional
        "mean" divides by the number of elements.
    dtype : data-type, optional
        Of the loss: float16, bfloat16, float32 or float64. By default float32, or float64 where `probs` are
        computed in that.

    Returns
    -------
    NumPy scalar or ndarray
        In nats; dtypes as from `cross_entropy`. A term with factor 0 contributes 0, one of probability 0 is inf.

    Raises
    ------
    TypeError, ValueError
        If a dtype is not supported, a shape does not broadcast, or `reduction` is none of the three.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.binary_cross_entropy(np.array([0.5, 1.0]), [1, 1], reduction="none")
    array([0.69314718, 0.        ])
    """
    return _elements.binary_cross_entropy("binary_cross_entropy", probs, target, weight, reduction, dtype)


def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
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
        Class 0 or 1, or the probability of class 1; broadcasts to the shape of `logits`.
    weight : array_like, optional
        Of each element; broadcasts to the shape of `logits`.
    pos_weight : array_like, optional
        Of the part of class 1; broadcasts to the shape of `logits`, for example ``(C,)``.
    reduction : {"mean", "sum", "none"}, optional
        "mean" divides by the number of elements.
    dtype : data-type, optional
        Of the loss: float16, bfloat16, float32 or float64. By default float32, or float64 where `logits` are
        computed in that.

    Returns
    -------
    NumPy scalar or ndarray
        In nats; dtypes as from `cross_entropy`.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy`.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> softlane.binary_cross_entropy_with_logits(np.array([0.0, 1e4, -1e4]), [1, 1, 1], reduction="none")
    array([6.93147181e-01, 0.00000000e+00, 1.00000000e+04])
    """
    return _elements.binary_cross_entropy_with_logits(
        "binary_cross_entropy_with_logits", logits, target, weight, pos_weight, reduction, dtype, False, None
    )


def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: str = "mean",
    dtype: DTypeLike | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[Any, Any]:
    """Binary cross-entropy of logits, and its gradient with respect to them.

    Parameters
    ----------
    logits : array_like
    target : array_like
    weight : array_like, optional
    pos_weight : array_like, optional
    reduction : {"mean", "sum", "none"}, optional
    dtype : data-type, optional
        All of them as in `binary_cross_entropy_with_logits`.
    grad_out : ndarray, optional
        Where to write the gradient, as in `cross_entropy_with_grad`.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `binary_cross_entropy_with_logits`.
    grad : ndarray
        Of the mean, of the sum, or, for "none", of each element's own loss. ``sigmoid(logits) - target`` in the
        simplest case. `grad_out` where given.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy`, and for a `grad_out` of the wrong shape or dtype; before anything is written.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> loss, grad = softlane.binary_cross_entropy_with_logits_with_grad(np.array([0.0, 2.0]), [1, 0], reduction="sum")
    >>> grad
    array([-0.5       ,  0.88079708])
    """
    loss, grad = _elements.binary_cross_entropy_with_logits(
        "binary_cross_entropy_with_logits_with_grad",
        logits,
        target,
        weight,
        pos_weight,
        reduction,
        dtype,
        True,
        grad_out,
    )
    return loss, grad
