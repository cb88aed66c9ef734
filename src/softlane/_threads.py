"""Decide: how many threads a call may use, and where that number comes from."""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager, suppress
from contextvars import Token
from pathlib import Path

from softlane import _core
from softlane._validate import integer

MOST = 1024

_origin = ""
_forked = False
_has_warned = False


def _cgroup_cpus(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that the cgroup quota allows (v2, else v1), or None where there is no quota."""
    quotas = []

    def add(quota: str, period: str) -> None:
        used, each = int(quota), int(period)
        if used > 0 and each > 0:
            quotas.append(used / each)

    try:
        lines = groups.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "-", "-"][:3]
        if controllers == "":  # v2: the limit of every parent holds too
            folder = root / path.lstrip("/")
            for parent in (folder, *folder.parents):
                try:
                    quota, period = (parent / "cpu.max").read_text().split()
                    if quota != "max":
                        add(quota, period)
                except (OSError, ValueError, OverflowError):
                    pass
                if parent == root:
                    break
        elif "cpu" in controllers.split(","):
            for folder in (root / controllers / path.lstrip("/"), root / "cpu" / path.lstrip("/"), root / "cpu"):
                try:
                    add(*((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")))
                except (OSError, ValueError, OverflowError):
                    continue
                break
    return min(quotas, default=None)


def _default() -> tuple[int, str]:
    value = os.environ.get("OMP_NUM_THREADS", "")
    wanted = value.split(",")[0].strip()
    digits = wanted.lstrip("0")
    if digits.isdecimal():
        return int(digits[:5]), "OMP_NUM_THREADS"  # `initialise` knows how many are too many
    if wanted:
        warnings.warn(f"OMP_NUM_THREADS={value!r} is ignored: expected a number of threads from 1 on", stacklevel=2)
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cpus = os.cpu_count() or 1
    quota = _cgroup_cpus()
    if quota is not None and quota < cpus:
        return max(1, int(quota)), f"cgroup quota of {quota:g} CPUs"
    return cpus, "CPUs this process may run on"


def _thread_count(name: str, n: object) -> int:
    count = integer(name, "n", n)
    if not 1 <= count <= MOST:
        raise ValueError(f"{name}: n must be between 1 and {MOST}, got {count}")
    _warn_without_threads(count)
    return count


def _warn_without_threads(count: int) -> None:
    """pip hides what setup.py says, so a user may not know."""
    global _has_warned
    if count > 1 and not _has_warned and _core.thread_engine() == "none":
        _has_warned = True
        warnings.warn("softlane was built without threads: every call uses one", RuntimeWarning, stacklevel=4)


def get_num_threads() -> int:
    """Return how many threads one call may use here.

    Returns
    -------
    int
        In a block of `num_threads` its number, else that of the process. At import that is the first number in
        ``OMP_NUM_THREADS``, else what CPU affinity and the cgroup quota allow. In a build with OpenMP it is not more
        than OpenMP's own setting, which `threadpoolctl` changes, unless `set_num_threads` was called. It is 1 where
        there can be no more: in a build without threads, and in a child of `fork` of a build with OpenMP.

    Examples
    --------
    >>> import softlane
    >>> softlane.get_num_threads() >= 1
    True
    """
    return 1 if _why_serial() else _core.thread_limit.get(_core.get_threads())


def set_num_threads(n: int) -> int:
    """Set how many threads one call may use, for the whole process.

    Small calls stay on one thread, and no call uses more threads than it has work for. Results do not depend on the
    number of threads, not even in their last bit. The settings of OpenMP itself are not touched. In a build without
    threads, the first number above 1 warns.

    Parameters
    ----------
    n : int
        At least 1, at most 1024.

    Returns
    -------
    int
        The number that was in force before, for the whole process.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is out of range.

    See Also
    --------
    num_threads : for some calls only.

    Examples
    --------
    >>> import softlane
    >>> before = softlane.set_num_threads(1)
    >>> softlane.set_num_threads(before)
    1
    """
    global _origin
    count = _thread_count("set_num_threads", n)
    before = _core.get_threads()
    _core.set_threads(count)
    _origin = "set_num_threads"
    return before


def num_threads(n: int) -> AbstractContextManager[None]:
    """Set how many threads one call may use, for the calls in a ``with`` block.

    It holds for the current context (`contextvars`): for the block in this thread or asyncio task, and for tasks that
    begin in it, but not for threads that begin in it unless they inherit the context (as free-threaded CPython 3.14
    does by default). There it takes the place of the number of the process, whether smaller or larger. Blocks nest, the
    innermost one counts.

    Parameters
    ----------
    n : int
        At least 1, at most 1024.

    Returns
    -------
    context manager
        For ``with`` statements.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is out of range.

    See Also
    --------
    set_num_threads : for the whole process.

    Examples
    --------
    >>> import softlane
    >>> with softlane.num_threads(1):
    ...     softlane.get_num_threads()
    1
    """
    return _ThreadLimit(_thread_count("num_threads", n))


class _ThreadLimit(AbstractContextManager[None]):
    def __init__(self, count: int) -> None:
        self._count = count
        self._tokens: list[Token[int]] = []

    def __enter__(self) -> None:
        self._tokens.append(_core.thread_limit.set(self._count))

    def __exit__(self, *error: object) -> None:
        token = self._tokens.pop()
        with suppress(ValueError):  # a generator that ends in another context: there is nothing to put back
            _core.thread_limit.reset(token)


def _why_serial() -> str | None:
    """Why no call can use several threads; None where calls can."""
    engine = _core.thread_engine()
    if engine == "none":
        return "built without threads"
    return "OpenMP in a child of fork" if engine == "openmp" and _forked else None  # libgomp does not survive fork


def _note_fork() -> None:
    global _forked
    _forked = True


def origin() -> str:
    """Where the number of threads comes from."""
    if why := _why_serial():
        return why
    return _origin if _core.thread_limit.get(None) is None else "num_threads"


def initialise() -> None:
    global _origin
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_note_fork)
    count, _origin = _default()
    _core.set_threads(min(count, MOST), False)
