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

AS_GIVEN: int
CHECKED: int
COPY: int
MOST_COPIED: int
TEMPERATURE_LIMITS: tuple[float, float]

def rows(
    op: int,
    x: object,
    axis: object,
    dtype: object,
    out: object,
    keepdims: bool = ...,
    where: object = ...,
    temperature: object = ...,
    other: object = ...,
    mode: int = ...,
) -> Any: ...
def topk(
    op: int,
    x: object,
    axis: object,
    k: object,
    dtype: object = ...,
    index_dtype: object = ...,
    has_axis: bool = ...,
    in_order: bool = ...,
    where: object = ...,
    temperature: object = ...,
    mode: int = ...,
    index_out: np.ndarray[Any, Any] | None = ...,
    out: np.ndarray[Any, Any] | None = ...,
) -> Any: ...
def take(
    op: int,
    x: object,
    axis: object,
    given: object,
    dtype: object = ...,
    index_dtype: object = ...,
    ignore: object = ...,
    where: object = ...,
    temperature: object = ...,
    mode: int = ...,
    out: np.ndarray[Any, Any] | None = ...,
) -> Any: ...
def register_bfloat16(type_num: int) -> None: ...
def sample(
    x: object,
    axis: object,
    size: object,
    replace: bool,
    top_k: object,
    top_p: object,
    min_p: object,
    rng: np.random.Generator | None,
    uniform: object,
    dtype: object = ...,
    index_dtype: object = ...,
    with_values: bool = ...,
    where: object = ...,
    temperature: object = ...,
    mode: int = ...,
    index_out: np.ndarray[Any, Any] | None = ...,
    out: np.ndarray[Any, Any] | None = ...,
) -> Any: ...
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
