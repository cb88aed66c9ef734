"""Importing this module makes threadpoolctl, which has to be installed, limit softlane's threads too."""

from __future__ import annotations

from pathlib import Path

from threadpoolctl import LibController, register  # type: ignore[import-not-found, import-untyped, unused-ignore]

from softlane import _core
from softlane._threads import get_num_threads, set_num_threads
from softlane._version import __version__


class Controller(LibController):  # type: ignore[misc]
    """softlane as one of the libraries that threadpoolctl controls.

    ``threadpool_limits`` sets the number of threads of the process, and sets it back at the end of a block.
    """

    user_api = internal_api = "softlane"
    filename_prefixes = (Path(_core.__file__).name.lower(),)
    check_symbols = ("sl_thread_engine",)

    def get_num_threads(self) -> int:
        return get_num_threads()

    def set_num_threads(self, num_threads: int) -> None:
        set_num_threads(num_threads)

    def get_version(self) -> str:
        return __version__


register(Controller)
