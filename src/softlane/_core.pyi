from contextvars import ContextVar
from typing import Any

import numpy as np

SOFTMAX: int
SOFTMIN: int
LOG_SOFTMAX: int
LOGSUMEXP: int
EXPECTATION: int
ENTROPY: int
KL_DIVERGENCE: int
SOFTMAX_HESSIAN_DIAG: int
CROSS_ENTROPY: int
NLL: int
LOG_LOSS: int
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
BINARY_CROSS_ENTROPY_OF_PROBS: int
SIGMOID_VJP: int
PART_STATISTICS: int
PART_STATISTICS_WITH_DEVIATION: int
PART_SOFTMAX: int
PART_LOG_SOFTMAX: int
WEIGHT: np.dtype[Any]
MOMENT: np.dtype[Any]
MASKED_CLASS: int
NO_CLASS: int
thread_limit: ContextVar[int]

AS_GIVEN: int
CHECKED: int
COPY: int
MOST_COPIED: int
MOST_CLASSES: int
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
    /,
) -> Any: ...
def part(
    op: int, x: object, axis: object, out: object, where: object, temperature: object, statistics: object, mode: int, /
) -> Any: ...
def begin_summaries(statistics: object, weight: object, moment: object, temperature: object, /) -> None: ...
def merge_summaries(
    a: object, b: object, y: object, a_best: object, b_best: object, y_best: object, temperature: object, /
) -> None: ...
def finish_summaries(weight: object, moment: object, temperature: object, results: object, /) -> None: ...
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
    with_logits: bool = ...,
    /,
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
    /,
) -> Any: ...
def register_bfloat16(type_num: int, /) -> None: ...
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
    /,
) -> Any: ...
def loss(
    op: int,
    x: object,
    target: object,
    axis: object,
    weight: object,
    ignore: object,
    smoothing: object,
    reduction: object,
    sample_weight: object,
    dtype: object,
    where: object = ...,
    temperature: object = ...,
    with_grad: bool = ...,
    grad_out: object = ...,
    mode: int = ...,
    mass: np.ndarray[Any, Any] | None = ...,
    scale: float = ...,
    slack: float = ...,
    losses: np.ndarray[Any, Any] | None = ...,
    /,
) -> Any: ...
def elements(
    op: int,
    x: object,
    dtype: object,
    out: object,
    temperature: object = ...,
    other: object = ...,
    mode: int = ...,
    /,
) -> Any: ...
def binary(
    op: int,
    x: object,
    target: object,
    weight: object,
    pos_weight: object,
    reduction: object,
    dtype: object,
    temperature: object = ...,
    with_grad: bool = ...,
    grad_out: object = ...,
    mode: int = ...,
    scale: float = ...,
    losses: np.ndarray[Any, Any] | None = ...,
    /,
) -> Any: ...
def wrong_target(target: np.ndarray[Any, Any], n: int, ignore: int, /) -> tuple[int, int]: ...
def total_weight(
    target: np.ndarray[Any, Any],
    ignore: int,
    weight: np.ndarray[Any, Any] | None,
    row_weight: np.ndarray[Any, Any] | None,
    /,
) -> float: ...
def total(x: np.ndarray[Any, Any], /) -> float: ...
def mean(x: np.ndarray[Any, Any], divisor: float, scaled: np.ndarray[Any, Any] | None = None, /) -> float: ...
def enter_default_environment() -> bytes: ...
def leave_default_environment(before: bytes, /) -> None: ...
def get_threads() -> int: ...
def set_threads(n: int, by_user: bool = True, /) -> None: ...
def thread_engine() -> str: ...
def available_isas() -> list[str]: ...
def active_isa() -> str: ...
def use_isa(name: str, /) -> bool: ...
