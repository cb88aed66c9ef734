"""Compiled softmax, logsumexp, losses with gradients and decisions over NumPy arrays, on any axis."""

from softlane import _config, _threads
from softlane._api_losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_with_grad,
    cross_entropy,
    cross_entropy_with_grad,
    log_loss,
    log_sigmoid,
    nll_loss,
    sigmoid,
)
from softlane._config import show_config
from softlane._expectation import expectation
from softlane._gradients import log_softmax_grad, softmax_grad
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
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "expectation",
    "get_num_threads",
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
    "softmax",
    "softmax_grad",
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
