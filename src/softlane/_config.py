"""Say what this installation does: version, instruction sets, threads. And obey SOFTLANE_ISA."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from softlane import _core, _threads
from softlane._version import __version__


def choose_isa() -> None:
    wanted = os.environ.get("SOFTLANE_ISA")
    if not wanted:
        return
    name, available = wanted.strip().lower(), _core.available_isas()
    if name not in available:
        raise ImportError(
            f"SOFTLANE_ISA={wanted!r} is not available; this build on this processor has: {', '.join(available)}"
        )
    _core.use_isa(name)


def config() -> dict[str, Any]:
    """What `show_config` prints, as a dictionary."""
    return {
        "softlane": __version__,
        "instruction set": _core.active_isa(),
        "available": _core.available_isas(),
        "thread engine": _core.thread_engine(),
        "threads": _threads.get_num_threads(),
        "threads from": _threads.origin(),
        "NumPy": np.__version__,
        "Python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def show_config() -> None:
    """Print the version, the instruction set paths, the thread engine, the threads and where their number comes from.

    Examples
    --------
    >>> import softlane
    >>> softlane.show_config()  # doctest: +ELLIPSIS
    softlane         ...
    """
    for name, value in config().items():
        if isinstance(value, list):
            value = ", ".join(value)
        print(f"{name:16} {value}")
