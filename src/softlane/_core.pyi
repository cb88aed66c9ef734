from typing import Any

import numpy as np

SOFTMAX: int
LOG_SOFTMAX: int
LOGSUMEXP: int
SOFTMAX_GRAD: int
LOG_SOFTMAX_GRAD: int
SIGMOID: int
LOG_SIGMOID: int
BINARY_CROSS_ENTROPY: int
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
GIVEN: int
LARGEST: int
RANK: int
DRAWN: int

def fast(
    op: int, x: object, axis: object, out: object, keepdims: bool = ..., where: object = ..., temperature: object = ...
) -> Any: ...
def fast_choice(
    how: int,
    op: int,
    x: object,
    axis: object,
    k: int,
    has_axis: bool,
    in_order: bool = ...,
    has_values: bool = ...,
    given: object = ...,
) -> Any: ...
def know_bfloat16(type_num: int) -> None: ...
def run(
    op: int,
    x_storage: int | None,
    y_storage: int | None,
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
    axis: int,
    mask: np.ndarray[Any, Any] | None = ...,
    temperature: np.ndarray[Any, Any] | None = ...,
    values: np.ndarray[Any, Any] | None = ...,
) -> None: ...
def choose(
    how: int,
    op: int,
    x_storage: int | None,
    y_storage: int | None,
    x: np.ndarray[Any, Any],
    axis: int,
    k: int,
    index: np.ndarray[Any, Any],
    rank: np.ndarray[Any, Any] | None = ...,
    y: np.ndarray[Any, Any] | None = ...,
    mask: np.ndarray[Any, Any] | None = ...,
    temperature: np.ndarray[Any, Any] | None = ...,
    in_order: bool = ...,
    uniform: np.ndarray[Any, Any] | None = ...,
    top_k: np.ndarray[Any, Any] | None = ...,
    top_p: np.ndarray[Any, Any] | None = ...,
    min_p: np.ndarray[Any, Any] | None = ...,
) -> None: ...
def cross_entropy(
    storage: int | None,
    x: np.ndarray[Any, Any],
    grad: np.ndarray[Any, Any] | None,
    axis: int,
    target: np.ndarray[Any, Any] | None,
    ignore: int,
    dense: np.ndarray[Any, Any] | None,
    dense_storage: int | None,
    weight: np.ndarray[Any, Any] | None,
    smoothing: float,
    scale: float,
    losses: np.ndarray[Any, Any],
) -> None: ...
def jacobian(
    op: int,
    storage: int | None,
    grad: np.ndarray[Any, Any],
    output: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any],
    axis: int,
) -> None: ...
def elements(
    op: int,
    x_storage: int | None,
    y_storage: int | None,
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any] | None,
    target: np.ndarray[Any, Any] | None = ...,
    weight: np.ndarray[Any, Any] | None = ...,
    pos_weight: np.ndarray[Any, Any] | None = ...,
    losses: np.ndarray[Any, Any] | None = ...,
    sums: np.ndarray[Any, Any] | None = ...,
    scale: float = ...,
) -> None: ...
def wrong_target(target: np.ndarray[Any, Any], n: int, ignore: int) -> tuple[int, int]: ...
def total_weight(target: np.ndarray[Any, Any], ignore: int, weight: np.ndarray[Any, Any]) -> float: ...
def total(x: np.ndarray[Any, Any]) -> float: ...
def get_threads() -> int: ...
def set_threads(n: int) -> None: ...
def has_openmp() -> bool: ...
def forked() -> bool: ...
def available_isas() -> list[str]: ...
def active_isa() -> str: ...
def use_isa(name: str) -> bool: ...
