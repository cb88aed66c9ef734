from contextvars import ContextVar
from typing import Any

import numpy as np

SOFTMAX: int
SOFTMIN: int
LOG_SOFTMAX: int
LOGSUMEXP: int
EXPECTATION: int
TAKE_PROBS: int
TAKE_LOG_PROBS: int
TOPK: int
TOPK_OF_NEGATED: int
TOPK_PROBS: int
TOPK_LOG_PROBS: int
RANK: int
SOFTMAX_VJP: int
LOG_SOFTMAX_VJP: int
SIGMOID: int
LOG_SIGMOID: int
BINARY_CROSS_ENTROPY: int
BINARY_CROSS_ENTROPY_GRAD: int
FLOAT32: int
FLOAT64: int
FLOAT16: int
BFLOAT16: int
INT8: int
UINT8: int
INT16: int
UINT16: int
BOOL: int
BLOCK: int
thread_limit: ContextVar[int]

def fast(
    op: int, x: object, axis: object, out: object, keepdims: bool = ..., where: object = ..., temperature: object = ...
) -> Any: ...
def fast_select(
    op: int, x: object, axis: object, k: int, has_axis: bool, in_order: bool = ..., given: object = ...
) -> Any: ...
def register_bfloat16(type_num: int) -> None: ...
def run(
    op: int,
    x_dtype: int | None,
    y_dtype: int | None,
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
    axis: int,
    mask: np.ndarray[Any, Any] | None = ...,
    temperature: np.ndarray[Any, Any] | None = ...,
    values: np.ndarray[Any, Any] | None = ...,
) -> None: ...
def select(
    op: int,
    x_dtype: int | None,
    y_dtype: int | None,
    x: np.ndarray[Any, Any],
    axis: int,
    k: int,
    index: np.ndarray[Any, Any],
    rank: np.ndarray[Any, Any] | None = ...,
    y: np.ndarray[Any, Any] | None = ...,
    mask: np.ndarray[Any, Any] | None = ...,
    temperature: np.ndarray[Any, Any] | None = ...,
    in_order: bool = ...,
) -> None: ...
def sample(
    x_dtype: int | None,
    y_dtype: int | None,
    x: np.ndarray[Any, Any],
    axis: int,
    draws: int,
    index: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any] | None,
    mask: np.ndarray[Any, Any] | None,
    temperature: np.ndarray[Any, Any] | None,
    uniform: np.ndarray[Any, Any] | None,
    top_k: np.ndarray[Any, Any] | None,
    top_p: np.ndarray[Any, Any] | None,
    min_p: np.ndarray[Any, Any] | None,
    replace: bool = ...,
) -> None: ...
def cross_entropy(
    dtype: int | None,
    x: np.ndarray[Any, Any],
    grad: np.ndarray[Any, Any] | None,
    axis: int,
    target: np.ndarray[Any, Any] | None,
    ignore_index: int,
    mass: np.ndarray[Any, Any] | None,
    mass_dtype: int | None,
    class_weight: np.ndarray[Any, Any] | None,
    label_smoothing: float,
    scale: float,
    losses: np.ndarray[Any, Any],
) -> None: ...
def vjp(
    op: int,
    dtype: int | None,
    grad: np.ndarray[Any, Any],
    output: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
    axis: int,
) -> None: ...
def elementwise(
    op: int,
    x_dtype: int | None,
    y_dtype: int | None,
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any] | None,
    target: np.ndarray[Any, Any] | None = ...,
    weight: np.ndarray[Any, Any] | None = ...,
    pos_weight: np.ndarray[Any, Any] | None = ...,
    losses: np.ndarray[Any, Any] | None = ...,
    sums: np.ndarray[Any, Any] | None = ...,
    scale: float = ...,
) -> None: ...
def wrong_target(target: np.ndarray[Any, Any], n: int, ignore_index: int) -> tuple[int, int]: ...
def total_weight(target: np.ndarray[Any, Any], ignore_index: int, weight: np.ndarray[Any, Any]) -> float: ...
def total(x: np.ndarray[Any, Any]) -> float: ...
def get_threads() -> int: ...
def set_threads(n: int) -> None: ...
def thread_engine() -> str: ...
def available_isas() -> list[str]: ...
def active_isa() -> str: ...
def use_isa(name: str) -> bool: ...
