"""Compiled softmax, logsumexp, losses with gradients and decisions over NumPy arrays, on any axis."""

from softlane import _config, _threads
from softlane import stream as stream
from softlane._config import show_config
from softlane._elementwise import (
    binary_cross_entropy,
    binary_cross_entropy_with_grad,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_with_grad,
    log_sigmoid,
    sigmoid,
    sigmoid_grad,
)
from softlane._entropy import entropy, kl_divergence
from softlane._expectation import expectation
from softlane._gradients import log_softmax_grad, softmax_grad, softmax_hessian_diag
from softlane._losses import cross_entropy, cross_entropy_with_grad, log_loss, nll_loss
from softlane._sample import sample
from softlane._select import TopK, argmax, rank, take_log_probs, topk
from softlane._softmax import log_softmax, logsumexp, softmax, softmin
from softlane._threads import get_num_threads, num_threads, set_num_threads
from softlane._version import __version__

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

for _name in __all__:
    if _name != "__version__":
        globals()[_name].__module__ = "softlane"  # where users find it, and pickles too
del _name

_config.choose_isa()
_threads.initialise()
