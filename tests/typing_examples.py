"""Types of calls, for test_types.py: mypy reads this file, and its calls run, to see that the types are true.

`# E: text` marks a line in which mypy finds an error with that text.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import softlane

if TYPE_CHECKING:
    from typing_extensions import assert_type

f16: NDArray[np.float16] = np.full((2, 3), 0.5, np.float16)
f32: NDArray[np.float32] = np.full((2, 3), 0.5, np.float32)
f64: NDArray[np.float64] = np.full((2, 3), 0.5, np.float64)
i8: NDArray[np.int8] = np.ones((2, 3), np.int8)
u16: NDArray[np.uint16] = np.ones((2, 3), np.uint16)
i64: NDArray[np.int64] = np.ones((2, 3), np.int64)
u32: NDArray[np.uint32] = np.ones((2, 3), np.uint32)
boolean: NDArray[np.bool_] = np.ones((2, 3), np.bool_)
anything: NDArray[Any] = np.full((2, 3), 0.5, "float32")
classes: NDArray[np.int64] = np.array([0, 2])
row: NDArray[np.float32] = np.zeros(2, np.float32)
half: np.dtype[np.float16] = np.dtype(np.float16)

# The shape of x: floats keep their type
assert_type(softlane.softmax(f16), NDArray[np.float16])
assert_type(softlane.softmax(f32, 0, temperature=2.0), NDArray[np.float32])
assert_type(softlane.softmax(f64, axis=(0, 1), where=boolean), NDArray[np.float64])
assert_type(softlane.softmax(boolean), NDArray[np.float32])
assert_type(softlane.softmax(i8), NDArray[np.float32])
assert_type(softlane.softmax(u16), NDArray[np.float32])
assert_type(softlane.softmax(u32), NDArray[np.float64])
assert_type(softlane.softmax(i64), NDArray[np.float64])
assert_type(softlane.softmax(f32, dtype=np.float64), NDArray[np.float64])
assert_type(softlane.softmax(i8, dtype=half), NDArray[np.float16])
assert_type(softlane.softmax(f32, dtype="float64"), Any)
assert_type(softlane.softmax(f32, dtype=None, out=None), NDArray[np.float32])
assert_type(softlane.softmax(f32, out=np.empty_like(f32)), NDArray[np.float32])
assert_type(softlane.softmax([[1, 2, 3], [4, 5, 6]], out=f64.copy()), NDArray[np.float64])
assert_type(softlane.softmax([1.0, 2.0], axis=0), Any)
assert_type(softlane.softmax(np.float32(1)), Any)
assert_type(softlane.softmin(f32), NDArray[np.float32])
assert_type(softlane.log_softmax(f16, dtype=np.float32), NDArray[np.float32])
assert_type(softlane.softmax_hessian_diag(i64), NDArray[np.float64])
assert_type(softlane.sigmoid(f16), NDArray[np.float16])
assert_type(softlane.sigmoid(i8), NDArray[np.float32])
assert_type(softlane.sigmoid(i64), NDArray[np.float64])
assert_type(softlane.sigmoid(0.5), Any)
assert_type(softlane.log_sigmoid(f32, temperature=[1, 2, 3], dtype=np.float64), NDArray[np.float64])
assert_type(softlane.log_sigmoid(f32, out=f32.copy()), NDArray[np.float32])
assert_type(softlane.softmax_grad(f32, f32), NDArray[np.float32])
assert_type(softlane.softmax_grad(f32, f32, 0, out=f32.copy()), NDArray[np.float32])
assert_type(softlane.log_softmax_grad(f16, f16, axis=0), NDArray[np.float16])
assert_type(softlane.log_softmax_grad([1.0], [0.0]), Any)
assert_type(softlane.sigmoid_grad(f64, f64), NDArray[np.float64])

# One number for each row: an array or a scalar
assert_type(softlane.logsumexp(f32), Any)
assert_type(softlane.logsumexp(f32, axis=None, keepdims=True), Any)
assert_type(softlane.logsumexp(f32, out=row.copy()), NDArray[np.float32])
assert_type(softlane.logsumexp(f32, b=[1, -1, 2], return_sign=True), tuple[Any, Any])
assert_type(softlane.logsumexp(3.0), Any)
assert_type(softlane.entropy(f16), Any)
assert_type(softlane.entropy(f16, out=row.copy()), NDArray[np.float32])
assert_type(softlane.kl_divergence(f32, f32), Any)
assert_type(softlane.kl_divergence(f16, f32, out=row.copy()), NDArray[np.float32])
assert_type(softlane.expectation(f32, [1, 2, 3]), Any)
assert_type(softlane.expectation(f32, [1, 2, 3], out=row.copy()), NDArray[np.float32])

# Classes
assert_type(softlane.argmax(f32, None), Any)
assert_type(softlane.argmax(f32, return_probs=True, index_dtype=np.uint8), tuple[Any, Any])
assert_type(softlane.topk(f32, 2, kind="log_probs"), softlane.TopK)
assert_type(softlane.topk(f32, 2).values, NDArray[Any])
assert_type(softlane.topk(f32, 2).indices, NDArray[Any])
values, indices = softlane.topk(f32, 2, sorted=False, largest=False, kind="logits")
assert_type(indices, NDArray[Any])
assert_type(softlane.take_log_probs(f16, classes), NDArray[np.float32])
assert_type(softlane.take_log_probs(f32, classes, ignore_index=-1), NDArray[np.float32])
assert_type(softlane.take_log_probs(i8, classes), NDArray[np.float32])
assert_type(softlane.take_log_probs(f64, classes), NDArray[np.float64])
assert_type(softlane.take_log_probs(f32, classes, dtype=np.float16), NDArray[np.float16])
assert_type(softlane.take_log_probs(f32, [0, 2]), Any)
assert_type(softlane.rank(f32, classes), NDArray[np.int64])
assert_type(softlane.rank(f32, classes, index_dtype=np.int32), NDArray[np.int32])
assert_type(softlane.rank([1.0, 2.0], 0), Any)
assert_type(softlane.sample(f32, temperature=0.7, top_k=40, top_p=[0.9, 0.8], min_p=None, rng=0), Any)
assert_type(softlane.sample(f32, rng=np.random.default_rng(0), return_log_probs=True), tuple[Any, Any])
assert_type(softlane.sample(f32, rng=[1, np.random.default_rng(0)], size=2, replace=False), Any)
assert_type(softlane.sample(f32, rng=np.random.SeedSequence(0), return_log_probs=True), tuple[Any, Any])
assert_type(softlane.sample(f32, uniform=[0.5, 0.1], index_dtype=np.int32), Any)

# Losses
assert_type(softlane.cross_entropy(f16, classes), np.floating[Any])
assert_type(softlane.cross_entropy([[0.0, 1.0]], [1], reduction="sum", label_smoothing=0.1), np.floating[Any])
assert_type(softlane.cross_entropy(f32, [0, 2], dtype=np.float64), np.float64)
assert_type(softlane.cross_entropy(f32, classes, reduction="none"), Any)
assert_type(softlane.nll_loss(-f32, classes), np.floating[Any])
assert_type(softlane.nll_loss(-f32, classes, dtype=half), np.float16)
assert_type(softlane.nll_loss(-f32, classes, reduction="none"), Any)
assert_type(softlane.log_loss(f32, classes, reduction="mean", sample_weight=[1, 0]), np.floating[Any])
assert_type(softlane.log_loss(f32, classes, reduction="none"), Any)
assert_type(softlane.binary_cross_entropy(f32, f32), np.floating[Any])
assert_type(softlane.binary_cross_entropy(f16, 1, reduction="none"), NDArray[np.float32])
assert_type(softlane.binary_cross_entropy(f64, f64, reduction="none"), NDArray[np.float64])
assert_type(softlane.binary_cross_entropy([0.5], [1], reduction="none"), Any)
assert_type(softlane.binary_cross_entropy_with_logits(f16, 1, reduction="sum"), np.floating[Any])
assert_type(softlane.binary_cross_entropy_with_logits(f16, 1, reduction="none", pos_weight=2), NDArray[np.float32])
assert_type(softlane.binary_cross_entropy_with_logits(i64, 1, reduction="none"), NDArray[np.float64])
assert_type(softlane.binary_cross_entropy_with_logits(f32, 1, reduction="none", dtype=np.float16), NDArray[np.float16])
assert_type(softlane.cross_entropy_with_grad(f16, classes), tuple[np.floating[Any], NDArray[np.float16]])
assert_type(softlane.cross_entropy_with_grad(f32, classes, reduction="none"), tuple[Any, NDArray[np.float32]])
assert_type(
    softlane.cross_entropy_with_grad(i8, classes, grad_out=np.empty_like(f32)),
    tuple[np.floating[Any], NDArray[np.float32]],
)
assert_type(
    softlane.cross_entropy_with_grad(f32, classes, reduction="none", grad_out=f32.copy()),
    tuple[Any, NDArray[np.float32]],
)
assert_type(softlane.cross_entropy_with_grad([[0.0, 1.0]], [1]), tuple[Any, Any])
assert_type(softlane.binary_cross_entropy_with_grad(f32, 1), tuple[np.floating[Any], NDArray[np.float32]])
assert_type(
    softlane.binary_cross_entropy_with_logits_with_grad(f64, 1, reduction="none", temperature=2),
    tuple[Any, NDArray[np.float64]],
)

# No promise for a dtype that is not known
if TYPE_CHECKING:
    unknown16: NDArray[np.float16] = softlane.softmax(anything)
    unknown64: NDArray[np.float64] = softlane.softmax(anything)
    take32: NDArray[np.float32] = softlane.take_log_probs(anything, classes)

# Settings
assert_type(softlane.get_num_threads(), int)
assert_type(softlane.set_num_threads(2), int)
assert_type(softlane.num_threads(2), AbstractContextManager[None])
assert_type(softlane.__version__, str)
softlane.show_config()


def probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    result: NDArray[Any] = softlane.softmax(logits, axis=1)
    return result


if TYPE_CHECKING:
    softlane.softmax([1.0], axis="last")  # E: No overload variant of "softmax"
    softlane.softmax([1.0], out=[1.0])  # E: No overload variant of "softmax"
    softlane.softmax([1.0], -1, None)  # E: No overload variant of "softmax"
    softlane.softmax(f32, temprature=2.0)  # E: No overload variant of "softmax"
    f32 = softlane.softmax(f64)  # E: Incompatible types in assignment
    softlane.softmax_grad(f32)  # E: overload variant
    softlane.logsumexp(f32, keepdims="yes")  # E: No overload variant of "logsumexp"
    softlane.expectation(f32)  # E: overload variant
    softlane.topk(f32, 2, kind="prob")  # E: Argument "kind" to "topk" has incompatible type
    softlane.topk(f32, 2.0)  # E: Argument 2 to "topk" has incompatible type
    c = softlane.topk(f32, 2).probs  # E: "TopK" has no attribute "probs"
    softlane.sample(f32, rng="seed")  # E: "sample"
    softlane.sample(f32, -1)  # E: No overload variant of "sample"
    softlane.cross_entropy(f32, classes, reduction="avg")  # E: No overload variant of "cross_entropy"
    softlane.cross_entropy_with_grad(f32, classes, reduction="avg")  # E: No overload variant
    softlane.nll_loss(f32, classes, reduction="avg")  # E: No overload variant of "nll_loss"
    softlane.nll_loss(f32, classes, label_smoothing=0.1)  # E: No overload variant of "nll_loss"
    softlane.log_loss(f32, classes, reduction=None)  # E: No overload variant of "log_loss"
    softlane.binary_cross_entropy(f32, 1, reduction="avg")  # E: No overload variant of "binary_cross_entropy"
    softlane.binary_cross_entropy_with_grad(f32, 1, reduction="avg")  # E: No overload variant
    softlane.binary_cross_entropy_with_logits(f32, 1, reduction="avg")  # E: No overload variant
    softlane.binary_cross_entropy_with_logits_with_grad(f32, 1, reduction="avg")  # E: No overload variant
    a, b = softlane.set_num_threads(2)  # E: "int" object is not iterable
    softlane.set_num_threads("2")  # E: Argument 1 to "set_num_threads" has incompatible type
    softlane.crossentropy([1.0])  # E: Module has no attribute "crossentropy"
