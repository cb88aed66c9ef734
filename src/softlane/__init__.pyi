"""The types of the public functions, for type checkers.

A result with one number for each row is Any where it may be an array or a NumPy scalar, as in NumPy's own types. One
in the shape of an array is an array: an array counts as one with dimensions.
"""

# mypy: disable-error-code="overload-overlap"
# To mypy, one array may hold two of NumPy's number types.

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, NoReturn, SupportsIndex, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import stream as stream

__all__ = [
    "TopK",
    "__version__",
    "argmax",
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "entropy",
    "expectation",
    "get_num_threads",
    "kl_divergence",
    "log_loss",
    "log_sigmoid",
    "log_softmax",
    "log_softmax_grad",
    "logsumexp",
    "nll_loss",
    "num_threads",
    "rank",
    "sample",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "sigmoid_grad",
    "softmax",
    "softmax_grad",
    "softmax_hessian_diag",
    "softmin",
    "take_log_probs",
    "topk",
]

__version__: str

_Float: TypeAlias = np.floating[Any]
_AnyF: TypeAlias = np.floating[NoReturn]  # what an unknown dtype counts as first
_F = TypeVar("_F", bound=_Float)
_S = TypeVar("_S", bound=np.generic)
_Out = TypeVar("_Out", bound=NDArray[Any])

# What gives float32 or float64. Where a row gives one number, float16 gives float32, too. np.intp is not here: before
# NumPy 2.1 it counts as integers of all sizes.
_To32: TypeAlias = np.float32 | np.bool_ | np.int8 | np.uint8 | np.int16 | np.uint16
_To64: TypeAlias = np.float64 | np.int32 | np.uint32 | np.int64 | np.uint64
_RowTo32: TypeAlias = np.float16 | _To32

_Arg: TypeAlias = ArrayLike | None
_Array: TypeAlias = NDArray[Any] | None
_Axis: TypeAlias = int | tuple[int, ...] | None
_DType: TypeAlias = type[_S] | np.dtype[_S]
_AnyDType: TypeAlias = DTypeLike | None
_Total: TypeAlias = Literal["mean", "sum"]
_Reduction: TypeAlias = Literal["mean", "sum", "none"]
_Seed: TypeAlias = SupportsIndex | Sequence[int] | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator

# Several parameters in a line
# fmt: off

# ---- of the shape of x ----------------------------------------------------------------------------------------------

@overload
def softmax(
    x: NDArray[_F], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[_F]: ...
@overload
def softmax(
    x: NDArray[_To64], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[np.float64]: ...
@overload
def softmax(
    x: NDArray[_To32], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[np.float32]: ...
@overload
def softmax(
    x: NDArray[Any], axis: _Axis = -1, *, dtype: _DType[_S], where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[_S]: ...
@overload
def softmax(
    x: ArrayLike, axis: _Axis = -1, *, dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None, out: _Out
) -> _Out: ...
@overload
def softmax(
    x: ArrayLike, axis: _Axis = -1, *, dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None,
    out: _Array = None
) -> Any: ...

@overload
def softmin(
    x: NDArray[_F], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[_F]: ...
@overload
def softmin(
    x: NDArray[_To64], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[np.float64]: ...
@overload
def softmin(
    x: NDArray[_To32], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[np.float32]: ...
@overload
def softmin(
    x: NDArray[Any], axis: _Axis = -1, *, dtype: _DType[_S], where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[_S]: ...
@overload
def softmin(
    x: ArrayLike, axis: _Axis = -1, *, dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None, out: _Out
) -> _Out: ...
@overload
def softmin(
    x: ArrayLike, axis: _Axis = -1, *, dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None,
    out: _Array = None
) -> Any: ...

@overload
def log_softmax(
    x: NDArray[_F], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[_F]: ...
@overload
def log_softmax(
    x: NDArray[_To64], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[np.float64]: ...
@overload
def log_softmax(
    x: NDArray[_To32], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[np.float32]: ...
@overload
def log_softmax(
    x: NDArray[Any], axis: _Axis = -1, *, dtype: _DType[_S], where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[_S]: ...
@overload
def log_softmax(
    x: ArrayLike, axis: _Axis = -1, *, dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None, out: _Out
) -> _Out: ...
@overload
def log_softmax(
    x: ArrayLike, axis: _Axis = -1, *, dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None,
    out: _Array = None
) -> Any: ...

@overload
def softmax_hessian_diag(
    x: NDArray[_F], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[_F]: ...
@overload
def softmax_hessian_diag(
    x: NDArray[_To64], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[np.float64]: ...
@overload
def softmax_hessian_diag(
    x: NDArray[_To32], axis: _Axis = -1, *, dtype: None = None, where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[np.float32]: ...
@overload
def softmax_hessian_diag(
    x: NDArray[Any], axis: _Axis = -1, *, dtype: _DType[_S], where: _Arg = None, temperature: _Arg = None,
    out: None = None
) -> NDArray[_S]: ...
@overload
def softmax_hessian_diag(
    x: ArrayLike, axis: _Axis = -1, *, dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None, out: _Out
) -> _Out: ...
@overload
def softmax_hessian_diag(
    x: ArrayLike, axis: _Axis = -1, *, dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None,
    out: _Array = None
) -> Any: ...

@overload
def sigmoid(x: NDArray[_F], *, temperature: _Arg = None, dtype: None = None, out: None = None) -> NDArray[_F]: ...
@overload
def sigmoid(
    x: NDArray[_To64], *, temperature: _Arg = None, dtype: None = None, out: None = None
) -> NDArray[np.float64]: ...
@overload
def sigmoid(
    x: NDArray[_To32], *, temperature: _Arg = None, dtype: None = None, out: None = None
) -> NDArray[np.float32]: ...
@overload
def sigmoid(x: NDArray[Any], *, temperature: _Arg = None, dtype: _DType[_S], out: None = None) -> NDArray[_S]: ...
@overload
def sigmoid(x: ArrayLike, *, temperature: _Arg = None, dtype: _AnyDType = None, out: _Out) -> _Out: ...
@overload
def sigmoid(x: ArrayLike, *, temperature: _Arg = None, dtype: _AnyDType = None, out: _Array = None) -> Any: ...

@overload
def log_sigmoid(x: NDArray[_F], *, temperature: _Arg = None, dtype: None = None, out: None = None) -> NDArray[_F]: ...
@overload
def log_sigmoid(
    x: NDArray[_To64], *, temperature: _Arg = None, dtype: None = None, out: None = None
) -> NDArray[np.float64]: ...
@overload
def log_sigmoid(
    x: NDArray[_To32], *, temperature: _Arg = None, dtype: None = None, out: None = None
) -> NDArray[np.float32]: ...
@overload
def log_sigmoid(x: NDArray[Any], *, temperature: _Arg = None, dtype: _DType[_S], out: None = None) -> NDArray[_S]: ...
@overload
def log_sigmoid(x: ArrayLike, *, temperature: _Arg = None, dtype: _AnyDType = None, out: _Out) -> _Out: ...
@overload
def log_sigmoid(x: ArrayLike, *, temperature: _Arg = None, dtype: _AnyDType = None, out: _Array = None) -> Any: ...

@overload
def softmax_grad(grad: NDArray[_F], y: NDArray[_F], axis: int = -1, *, out: None = None) -> NDArray[_F]: ...
@overload
def softmax_grad(grad: ArrayLike, y: ArrayLike, axis: int = -1, *, out: _Out) -> _Out: ...
@overload
def softmax_grad(grad: ArrayLike, y: ArrayLike, axis: int = -1, *, out: _Array = None) -> Any: ...

@overload
def log_softmax_grad(grad: NDArray[_F], y: NDArray[_F], axis: int = -1, *, out: None = None) -> NDArray[_F]: ...
@overload
def log_softmax_grad(grad: ArrayLike, y: ArrayLike, axis: int = -1, *, out: _Out) -> _Out: ...
@overload
def log_softmax_grad(grad: ArrayLike, y: ArrayLike, axis: int = -1, *, out: _Array = None) -> Any: ...

@overload
def sigmoid_grad(grad: NDArray[_F], y: NDArray[_F], *, out: None = None) -> NDArray[_F]: ...
@overload
def sigmoid_grad(grad: ArrayLike, y: ArrayLike, *, out: _Out) -> _Out: ...
@overload
def sigmoid_grad(grad: ArrayLike, y: ArrayLike, *, out: _Array = None) -> Any: ...

# ---- one number for each row ----------------------------------------------------------------------------------------

@overload
def logsumexp(
    x: ArrayLike, axis: _Axis = -1, *, b: _Arg = None, keepdims: bool = False, return_sign: Literal[False] = False,
    dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None, out: _Out
) -> _Out: ...
@overload
def logsumexp(
    x: ArrayLike, axis: _Axis = -1, *, b: _Arg = None, keepdims: bool = False, return_sign: Literal[True],
    dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None, out: _Array = None
) -> tuple[Any, Any]: ...
@overload
def logsumexp(
    x: ArrayLike, axis: _Axis = -1, *, b: _Arg = None, keepdims: bool = False, return_sign: bool = False,
    dtype: _AnyDType = None, where: _Arg = None, temperature: _Arg = None, out: _Array = None
) -> Any: ...

@overload
def entropy(
    x: ArrayLike, axis: _Axis = -1, *, keepdims: bool = False, dtype: _AnyDType = None, where: _Arg = None,
    temperature: _Arg = None, out: _Out
) -> _Out: ...
@overload
def entropy(
    x: ArrayLike, axis: _Axis = -1, *, keepdims: bool = False, dtype: _AnyDType = None, where: _Arg = None,
    temperature: _Arg = None, out: _Array = None
) -> Any: ...

@overload
def kl_divergence(
    x: ArrayLike, y: ArrayLike, axis: _Axis = -1, *, keepdims: bool = False, dtype: _AnyDType = None,
    where: _Arg = None, temperature: _Arg = None, out: _Out
) -> _Out: ...
@overload
def kl_divergence(
    x: ArrayLike, y: ArrayLike, axis: _Axis = -1, *, keepdims: bool = False, dtype: _AnyDType = None,
    where: _Arg = None, temperature: _Arg = None, out: _Array = None
) -> Any: ...

@overload
def expectation(
    x: ArrayLike, values: ArrayLike, axis: int = -1, *, where: _Arg = None, temperature: _Arg = None,
    dtype: _AnyDType = None, out: _Out
) -> _Out: ...
@overload
def expectation(
    x: ArrayLike, values: ArrayLike, axis: int = -1, *, where: _Arg = None, temperature: _Arg = None,
    dtype: _AnyDType = None, out: _Array = None
) -> Any: ...

# ---- classes --------------------------------------------------------------------------------------------------------

@overload
def argmax(
    x: ArrayLike, axis: int | None = -1, *, return_probs: Literal[True], keepdims: bool = False, where: _Arg = None,
    temperature: _Arg = None, dtype: _AnyDType = None, index_dtype: _AnyDType = None
) -> tuple[Any, Any]: ...
@overload
def argmax(
    x: ArrayLike, axis: int | None = -1, *, return_probs: bool = False, keepdims: bool = False, where: _Arg = None,
    temperature: _Arg = None, dtype: _AnyDType = None, index_dtype: _AnyDType = None
) -> Any: ...

class TopK(NamedTuple):
    values: NDArray[Any]
    indices: NDArray[Any]

def topk(
    x: ArrayLike, k: int, axis: int = -1, *, kind: Literal["probs", "log_probs", "logits"] = "probs",
    sorted: bool = True, largest: bool = True, where: _Arg = None, temperature: _Arg = None, dtype: _AnyDType = None,
    index_dtype: _AnyDType = None
) -> TopK: ...

@overload
def take_log_probs(
    x: NDArray[_AnyF], indices: NDArray[np.integer[Any]], axis: int = -1, *, ignore_index: int | None = None,
    where: _Arg = None, temperature: _Arg = None, dtype: None = None
) -> NDArray[_Float]: ...
@overload
def take_log_probs(
    x: NDArray[_To64], indices: NDArray[np.integer[Any]], axis: int = -1, *, ignore_index: int | None = None,
    where: _Arg = None, temperature: _Arg = None, dtype: None = None
) -> NDArray[np.float64]: ...
@overload
def take_log_probs(
    x: NDArray[_RowTo32], indices: NDArray[np.integer[Any]], axis: int = -1, *, ignore_index: int | None = None,
    where: _Arg = None, temperature: _Arg = None, dtype: None = None
) -> NDArray[np.float32]: ...
@overload
def take_log_probs(
    x: ArrayLike, indices: NDArray[np.integer[Any]], axis: int = -1, *, ignore_index: int | None = None,
    where: _Arg = None, temperature: _Arg = None, dtype: _DType[_S]
) -> NDArray[_S]: ...
@overload
def take_log_probs(
    x: ArrayLike, indices: ArrayLike, axis: int = -1, *, ignore_index: int | None = None, where: _Arg = None,
    temperature: _Arg = None, dtype: _AnyDType = None
) -> Any: ...

@overload
def rank(
    x: ArrayLike, indices: NDArray[np.integer[Any]], axis: int = -1, *, ignore_index: int | None = None,
    where: _Arg = None, temperature: _Arg = None, index_dtype: None = None
) -> NDArray[np.int64]: ...
@overload
def rank(
    x: ArrayLike, indices: NDArray[np.integer[Any]], axis: int = -1, *, ignore_index: int | None = None,
    where: _Arg = None, temperature: _Arg = None, index_dtype: _DType[_S]
) -> NDArray[_S]: ...
@overload
def rank(
    x: ArrayLike, indices: ArrayLike, axis: int = -1, *, ignore_index: int | None = None, where: _Arg = None,
    temperature: _Arg = None, index_dtype: _AnyDType = None
) -> Any: ...

@overload
def sample(
    x: ArrayLike, *, axis: int = -1, size: int | None = None, replace: bool = True, temperature: _Arg = 1.0,
    top_k: _Arg = None, top_p: _Arg = None, min_p: _Arg = None, rng: _Seed | Sequence[_Seed | None] | None = None,
    uniform: _Arg = None, where: _Arg = None, return_log_probs: Literal[True], dtype: _AnyDType = None,
    index_dtype: _AnyDType = None
) -> tuple[Any, Any]: ...
@overload
def sample(
    x: ArrayLike, *, axis: int = -1, size: int | None = None, replace: bool = True, temperature: _Arg = 1.0,
    top_k: _Arg = None, top_p: _Arg = None, min_p: _Arg = None, rng: _Seed | Sequence[_Seed | None] | None = None,
    uniform: _Arg = None, where: _Arg = None, return_log_probs: bool = False, dtype: _AnyDType = None,
    index_dtype: _AnyDType = None
) -> Any: ...

# ---- losses ---------------------------------------------------------------------------------------------------------

@overload
def cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: _Total = "mean", sample_weight: _Arg = None, where: _Arg = None,
    temperature: _Arg = None, dtype: None = None
) -> _Float: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: _Total = "mean", sample_weight: _Arg = None, where: _Arg = None,
    temperature: _Arg = None, dtype: _DType[_S]
) -> _S: ...
@overload
def cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: _Reduction = "mean", sample_weight: _Arg = None, where: _Arg = None,
    temperature: _Arg = None, dtype: _AnyDType = None
) -> Any: ...

@overload
def nll_loss(
    log_probs: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    reduction: _Total = "mean", sample_weight: _Arg = None, dtype: None = None
) -> _Float: ...
@overload
def nll_loss(
    log_probs: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    reduction: _Total = "mean", sample_weight: _Arg = None, dtype: _DType[_S]
) -> _S: ...
@overload
def nll_loss(
    log_probs: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    reduction: _Reduction = "mean", sample_weight: _Arg = None, dtype: _AnyDType = None
) -> Any: ...

@overload
def log_loss(
    probs: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    reduction: _Total = "mean", sample_weight: _Arg = None, dtype: None = None
) -> _Float: ...
@overload
def log_loss(
    probs: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    reduction: _Total = "mean", sample_weight: _Arg = None, dtype: _DType[_S]
) -> _S: ...
@overload
def log_loss(
    probs: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    reduction: _Reduction = "mean", sample_weight: _Arg = None, dtype: _AnyDType = None
) -> Any: ...

@overload
def cross_entropy_with_grad(
    logits: NDArray[_F], target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: _Total = "mean", sample_weight: _Arg = None, where: _Arg = None,
    temperature: _Arg = None, dtype: None = None, grad_out: None = None
) -> tuple[_Float, NDArray[_F]]: ...
@overload
def cross_entropy_with_grad(
    logits: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: _Total = "mean", sample_weight: _Arg = None, where: _Arg = None,
    temperature: _Arg = None, dtype: None = None, grad_out: _Out
) -> tuple[_Float, _Out]: ...
@overload
def cross_entropy_with_grad(
    logits: NDArray[_F], target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: _Reduction = "mean", sample_weight: _Arg = None, where: _Arg = None,
    temperature: _Arg = None, dtype: _AnyDType = None, grad_out: None = None
) -> tuple[Any, NDArray[_F]]: ...
@overload
def cross_entropy_with_grad(
    logits: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: _Reduction = "mean", sample_weight: _Arg = None, where: _Arg = None,
    temperature: _Arg = None, dtype: _AnyDType = None, grad_out: _Out
) -> tuple[Any, _Out]: ...
@overload
def cross_entropy_with_grad(
    logits: ArrayLike, target: ArrayLike, *, axis: int = -1, weight: _Arg = None, ignore_index: int = -100,
    label_smoothing: float = 0.0, reduction: _Reduction = "mean", sample_weight: _Arg = None, where: _Arg = None,
    temperature: _Arg = None, dtype: _AnyDType = None, grad_out: _Array = None
) -> tuple[Any, Any]: ...

@overload
def binary_cross_entropy(
    probs: ArrayLike, target: ArrayLike, *, weight: _Arg = None, reduction: _Total = "mean", dtype: None = None
) -> _Float: ...
@overload
def binary_cross_entropy(
    probs: ArrayLike, target: ArrayLike, *, weight: _Arg = None, reduction: _Total = "mean", dtype: _DType[_S]
) -> _S: ...
@overload
def binary_cross_entropy(
    probs: NDArray[_AnyF], target: ArrayLike, *, weight: _Arg = None, reduction: Literal["none"], dtype: None = None
) -> NDArray[_Float]: ...
@overload
def binary_cross_entropy(
    probs: NDArray[_To64], target: ArrayLike, *, weight: _Arg = None, reduction: Literal["none"], dtype: None = None
) -> NDArray[np.float64]: ...
@overload
def binary_cross_entropy(
    probs: NDArray[_RowTo32], target: ArrayLike, *, weight: _Arg = None, reduction: Literal["none"], dtype: None = None
) -> NDArray[np.float32]: ...
@overload
def binary_cross_entropy(
    probs: NDArray[Any], target: ArrayLike, *, weight: _Arg = None, reduction: Literal["none"], dtype: _DType[_S]
) -> NDArray[_S]: ...
@overload
def binary_cross_entropy(
    probs: ArrayLike, target: ArrayLike, *, weight: _Arg = None, reduction: _Reduction = "mean", dtype: _AnyDType = None
) -> Any: ...

@overload
def binary_cross_entropy_with_grad(
    probs: NDArray[_F], target: ArrayLike, *, weight: _Arg = None, reduction: _Total = "mean", dtype: None = None,
    grad_out: None = None
) -> tuple[_Float, NDArray[_F]]: ...
@overload
def binary_cross_entropy_with_grad(
    probs: ArrayLike, target: ArrayLike, *, weight: _Arg = None, reduction: _Total = "mean", dtype: None = None,
    grad_out: _Out
) -> tuple[_Float, _Out]: ...
@overload
def binary_cross_entropy_with_grad(
    probs: NDArray[_F], target: ArrayLike, *, weight: _Arg = None, reduction: _Reduction = "mean",
    dtype: _AnyDType = None, grad_out: None = None
) -> tuple[Any, NDArray[_F]]: ...
@overload
def binary_cross_entropy_with_grad(
    probs: ArrayLike, target: ArrayLike, *, weight: _Arg = None, reduction: _Reduction = "mean",
    dtype: _AnyDType = None, grad_out: _Out
) -> tuple[Any, _Out]: ...
@overload
def binary_cross_entropy_with_grad(
    probs: ArrayLike, target: ArrayLike, *, weight: _Arg = None, reduction: _Reduction = "mean",
    dtype: _AnyDType = None, grad_out: _Array = None
) -> tuple[Any, Any]: ...

@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: _Total = "mean", dtype: None = None
) -> _Float: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: _Total = "mean", dtype: _DType[_S]
) -> _S: ...
@overload
def binary_cross_entropy_with_logits(
    logits: NDArray[_AnyF], target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None,
    temperature: _Arg = None, reduction: Literal["none"], dtype: None = None
) -> NDArray[_Float]: ...
@overload
def binary_cross_entropy_with_logits(
    logits: NDArray[_To64], target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None,
    temperature: _Arg = None, reduction: Literal["none"], dtype: None = None
) -> NDArray[np.float64]: ...
@overload
def binary_cross_entropy_with_logits(
    logits: NDArray[_RowTo32], target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None,
    temperature: _Arg = None, reduction: Literal["none"], dtype: None = None
) -> NDArray[np.float32]: ...
@overload
def binary_cross_entropy_with_logits(
    logits: NDArray[Any], target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: Literal["none"], dtype: _DType[_S]
) -> NDArray[_S]: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike, target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: _Reduction = "mean", dtype: _AnyDType = None
) -> Any: ...

@overload
def binary_cross_entropy_with_logits_with_grad(
    logits: NDArray[_F], target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: _Total = "mean", dtype: None = None, grad_out: None = None
) -> tuple[_Float, NDArray[_F]]: ...
@overload
def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike, target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: _Total = "mean", dtype: None = None, grad_out: _Out
) -> tuple[_Float, _Out]: ...
@overload
def binary_cross_entropy_with_logits_with_grad(
    logits: NDArray[_F], target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: _Reduction = "mean", dtype: _AnyDType = None, grad_out: None = None
) -> tuple[Any, NDArray[_F]]: ...
@overload
def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike, target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: _Reduction = "mean", dtype: _AnyDType = None, grad_out: _Out
) -> tuple[Any, _Out]: ...
@overload
def binary_cross_entropy_with_logits_with_grad(
    logits: ArrayLike, target: ArrayLike, *, weight: _Arg = None, pos_weight: _Arg = None, temperature: _Arg = None,
    reduction: _Reduction = "mean", dtype: _AnyDType = None, grad_out: _Array = None
) -> tuple[Any, Any]: ...

# ---- settings -------------------------------------------------------------------------------------------------------

def get_num_threads() -> int: ...
def set_num_threads(n: int) -> int: ...
def num_threads(n: int) -> AbstractContextManager[None]: ...
def show_config() -> None: ...
