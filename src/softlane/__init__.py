"""Compiled softmax, log_softmax and logsumexp over NumPy arrays, on any axis."""

from softlane import _config, _threads
from softlane._api import log_softmax, logsumexp, softmax
from softlane._config import __version__, show_config
from softlane._threads import get_num_threads, set_num_threads

__all__ = [
    "__version__",
    "get_num_threads",
    "log_softmax",
    "logsumexp",
    "set_num_threads",
    "show_config",
    "softmax",
]

_config.choose_isa()
_threads.initialise()
