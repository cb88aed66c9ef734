"""Read and write .npy files in blocks of rows. A result appears under its name when it is whole, else not at all.

An array is seen as (outer, n, inner): the axes before the class axis, the class axis, and the axes after it. This file
knows no operation.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import secrets
import signal
import stat
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from softlane import _validate

Array = NDArray[Any]

BLOCK = 8 << 20  # bytes of a block, input and output together
COLUMNS = 16  # columns of a block at least: the kernels give a column the same bits among any number from 16 on
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class CommandError(Exception):
    """What a user is told, in one line."""


# ---- Blocks ----


class Block(NamedTuple):
    """Some outer indices with all columns, or some columns of one outer index."""

    first: int
    last: int
    left: int
    right: int


def blocks(outer: int, inner: int, row_bytes: int) -> Iterator[Block]:
    """Cut rows into blocks of about BLOCK bytes: before the class axis if possible, else after it."""
    rows = max(1, BLOCK // max(1, row_bytes))
    if inner <= rows:
        step = rows // max(1, inner)
        for first in range(0, outer if inner else 0, step):
            yield Block(first, min(first + step, outer), 0, inner)
        return
    rows = max(rows, min(256, 3 * BLOCK // max(1, row_bytes)))  # short pieces of a file are slow, so rather more memory
    count = max(1, min(-(-inner // rows), inner // COLUMNS))
    edges = [inner * i // count for i in range(count + 1)]
    for first in range(outer):
        for left, right in itertools.pairwise(edges):
            yield Block(first, first + 1, left, right)


class Planes:
    """An array of shape (outer, n, inner) in a file, from where the file is."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any], n: int, inner: int) -> None:
        self.file, self.offset, self.dtype, self.n, self.inner = file, file.tell(), dtype, n, inner
        self.memory = np.empty(0, np.uint8)

    def _pieces(self, block: Block, data: memoryview) -> Iterator[memoryview]:
        """The parts of a block that are contiguous in the file, each with the file at its beginning."""
        whole = block.right - block.left == self.inner
        start = block.first * self.n * self.inner + block.left
        count = 1 if whole else self.n
        size = len(data) // max(1, count)
        for i in range(count):
            self.file.seek(self.offset + (start + i * self.inner) * self.dtype.itemsize)
            yield data[i * size : (i + 1) * size]

    def read(self, block: Block) -> Array:
        """In memory that the next block reuses."""
        shape = block.last - block.first, self.n, block.right - block.left
        size = math.prod(shape) * self.dtype.itemsize
        if self.memory.size < size:
            self.memory = np.empty(size, np.uint8)
        data = self.memory[:size]
        for piece in self._pieces(block, data.data):
            while piece:
                done = self.file.readinto(piece)  # type: ignore[attr-defined]
                if not done:
                    raise OSError(0, "the file has become shorter")
                piece = piece[done:]
        return data.view(self.dtype).reshape(shape)

    def write(self, block: Block, y: Array) -> None:
        for piece in self._pieces(block, np.ascontiguousarray(y).reshape(-1).view(np.uint8).data):
            self.file.write(piece)


# ---- Input ----


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None


class Input:
    """The array in an .npy file, which `stack` closes. `name` is the function's, for the error of a dtype."""

    def __init__(self, path: str, name: str, stack: contextlib.ExitStack) -> None:
        self.path = path
        with reading(path):
            status = os.stat(path)  # before opening it, since a pipe would wait for its writer
            if not stat.S_ISREG(status.st_mode):
                raise CommandError(f"{path} is not a regular file")
            self.file = stack.enter_context(open(path, "rb", buffering=0))  # noqa: SIM115
            self.shape, is_fortran, self.dtype = self._header()
            self.offset = self.file.tell()
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        if self.dtype.hasobject:
            raise CommandError(f"{path} holds Python objects (a pickle), which are never loaded")
        if self.dtype.str == "|V2":
            raise CommandError(f"{path} has dtype {self.dtype}, as NumPy saves bfloat16: save x.astype(numpy.float32)")
        _validate.result_dtype(name, self.dtype, path)
        if is_fortran and len(self.shape) > 1:
            raise CommandError(f"{path} is in Fortran order: save numpy.ascontiguousarray(x)")
        if status.st_size < self.offset + self.nbytes:
            held = status.st_size - self.offset
            raise CommandError(f"{path} is truncated: it has {held} bytes of data, expected {self.nbytes}")

    def _header(self) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        magic = self.file.read(len(npy.MAGIC_PREFIX))
        if magic[:4] == b"PK\x03\x04":
            raise CommandError(f"{self.path} is an .npz archive: save one of its arrays with numpy.save")
        if magic != npy.MAGIC_PREFIX:
            raise CommandError(f"{self.path} is not an .npy file")
        self.file.seek(0)
        try:
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(self.file)]
            shape, is_fortran, dtype = read(self.file)
            np.empty(tuple(min(n, 0) for n in shape))  # no negative length
        except OSError:
            raise
        except Exception:  # anything, of bytes that are no header
            raise CommandError(f"{self.path} has no header that can be read: it is damaged or truncated") from None
        return shape, is_fortran, dtype

    def planes(self, n: int, inner: int) -> Planes:
        self.file.seek(self.offset)
        return Planes(self.file, self.dtype, n, inner)


# ---- Output ----


def resolve(path: str) -> tuple[str, str]:
    """Where a link leads to, else the path itself; and its directory."""
    target = os.path.realpath(path) if os.path.islink(path) else path
    return target, os.path.dirname(target) or os.curdir


def check_output(path: str, force: bool, inputs: list[str]) -> None:
    """Before anything is computed."""
    if not os.path.isdir(resolve(path)[1]):
        raise CommandError(f"{path} cannot be written: its directory does not exist")
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise CommandError(f"{path} is not a regular file")
    for other in inputs:
        if os.path.samefile(path, other):
            raise CommandError(f"{path} is the same file as the input {other}, expected another name")
    if not force:
        raise CommandError(f"{path} exists: --force replaces it")


@contextlib.contextmanager
def new_file(path: str, force: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when the block ends without an error. Until then it has another one, beside it."""
    target, folder = resolve(path)
    temporary = os.path.join(folder, f".softlane-{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force and os.path.exists(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        ignore_signals()  # from here on it would be too late
        try:
            (os.replace if force else os.link)(temporary, target)  # a link never replaces a file
        except OSError:
            if force:
                raise
            if os.path.lexists(target):
                raise CommandError(f"{path} exists: --force replaces it") from None
            os.replace(temporary, target)  # as there are no hard links there
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def new_array(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], n: int, inner: int) -> Planes:
    """Writes the header that `numpy.save` would write."""
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, header)
    return Planes(file, dtype, n, inner)


# ---- Signals ----


def ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(*_: object) -> None:
    ignore_signals()  # one is enough: what follows is to clean up
    raise KeyboardInterrupt


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Signals raise KeyboardInterrupt, but those that are ignored, as SIGHUP below nohup."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
