"""Arrays for fuzz.py: any shape, layout and dtype, in memory with guard bytes around them."""

import os
import tempfile

import numpy as np
import reference
from arrays import SMALL_INTEGERS, WIDE_INTEGERS

INTEGERS = [*SMALL_INTEGERS[1:], *WIDE_INTEGERS]
GUARD = 64  # bytes on each side of an array in memory of its own
FILLING = 0xA5
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where files are synchronised in no time


class Array:
    """An argument as it is passed, a plain copy of it, the memory around it, and lines of Python that make it again."""

    def __init__(self, name, view, lines, memory=None, at=None):
        self.name, self.view, self.lines, self.memory, self.at = name, view, lines, memory, at
        a = np.asarray(view)
        self.plain = np.array(a, a.dtype if a.dtype.isnative else a.dtype.newbyteorder("="), order="C")
        self.before = self.bytes()

    def bytes(self):
        return (np.asarray(self.view) if self.memory is None else self.memory).tobytes()


def source_of(a):
    """A plain array as Python."""
    dtype = "ml_dtypes.bfloat16" if a.dtype == reference.BFLOAT16 else repr(a.dtype.str)
    text = f"np.array({a.tolist()!r}, {dtype})"
    if a.size <= 40 and a.dtype.kind in "fbiu" and not np.isnan(a.astype(np.float64)).any() and a.size:
        return text.replace("inf", "np.inf")
    return f"np.frombuffer(bytearray.fromhex({a.tobytes().hex()!r}), {dtype}).reshape({a.shape})" if a.size else (
        f"np.zeros({a.shape}, {dtype})")  # fmt: skip


def place(r, shape, itemsize, plain=0.4):
    """Bytes of memory, and where an array lies in it: any order of the axes, gaps, negative steps, any alignment."""
    offset, strides, step = GUARD, [0] * len(shape), itemsize
    is_plain = r.random() < plain
    order = list(range(len(shape)))[::-1]
    if not is_plain:
        if r.random() < 0.4:
            r.shuffle(order)
        offset += r.choice((0, 0, itemsize, 3 * itemsize, 1, 5))
    for i in order:
        if not is_plain and r.random() < 0.3:
            step = r.choice((2 * step, 3 * step, step + itemsize, step + 1))
        strides[i] = step
        step *= max(1, shape[i])
    for i, n in enumerate(shape):
        if not is_plain and n > 1 and r.random() < 0.25:
            offset += (n - 1) * strides[i]
            strides[i] = -strides[i]
    return step + 2 * GUARD + 16, offset, tuple(strides)


def located(name, view, at, shared=None):
    """Python for an array there, in memory of its own or that of another."""
    dtype = "ml_dtypes.bfloat16" if view.dtype == reference.BFLOAT16 else repr(view.dtype.str)
    lines = [] if shared else [f"m_{name} = np.full({at[0]}, {FILLING}, np.uint8)"]
    return [*lines, f"{name} = np.ndarray({view.shape}, {dtype}, m_{shared or name}, {at[1]}, {at[2]})"]


class Subclass(np.ndarray):
    pass


def memory_mapped(a):
    with tempfile.TemporaryFile(dir=MEMORY) as file:
        mapped = np.memmap(file, a.dtype, "w+", shape=a.shape)
    mapped[...] = a
    return mapped


def read_only(a):
    a.flags.writeable = False
    return a


SPECIAL_LAYOUTS = {
    "list": lambda a: a.tolist() if a.size else a,
    "first": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim else a,
    "last": lambda a: np.broadcast_to(a[..., :1], a.shape) if a.ndim else a,
    "one": lambda a: np.broadcast_to(a.reshape(-1)[:1].reshape((1,) * a.ndim), a.shape) if a.size else a,
    "read_only": read_only,
    "Subclass": lambda a: a.view(Subclass),
    "memory_mapped": lambda a: memory_mapped(a) if a.size else a,
    "scalar": lambda a: a[()],
    "Fortran": lambda a: a.copy("F"),
}


def laid_out(r, name, a, simple=0.35, lists=True):
    """a, or part of it repeated, in some layout."""
    kind = r.random()
    a = np.ascontiguousarray(a) if np.ndim(a) else np.array(a)
    if kind < simple:
        return Array(name, a, lambda: [f"{name} = {source_of(a)}"])
    if kind > 0.8:
        layout = (
            r.choice([*SPECIAL_LAYOUTS][0 if lists else 1 :])
            if kind > 0.98
            else r.choice(("first", "last", "read_only", "Fortran"))
        )
        lines = lambda: [f"{name} = SPECIAL_LAYOUTS[{layout!r}]({source_of(a)})"]  # noqa: E731
        return Array(name, SPECIAL_LAYOUTS[layout](a), lines)
    dtype = a.dtype
    if a.dtype != reference.BFLOAT16 and r.random() < 0.15:
        dtype = a.dtype.newbyteorder()
    at = place(r, a.shape, dtype.itemsize, 0)
    memory = np.full(at[0], FILLING, np.uint8)
    view = np.ndarray(a.shape, dtype, memory, at[1], at[2])
    view[...] = a
    lines = lambda: [*located(name, view, at), f"{name}[...] = {source_of(a)}"]  # noqa: E731
    return Array(name, view, lines, memory, at)


def output(r, dtype, shape, inputs):
    """An array of its own, or one that shares memory with an argument: shifted, reversed, or in place."""
    dtype = np.dtype(dtype)
    shared = [a for a in inputs if a.memory is not None]
    if shared and r.random() < 0.35:
        other = r.choice(shared)
        if other.view.shape == shape and other.view.dtype == dtype and r.random() < 0.5:
            at, name = other.at, other.name
            delta = r.choice((0, 0, dtype.itemsize, -dtype.itemsize, 1, 3 * dtype.itemsize))
            if at[1] - GUARD + delta >= 0 and delta <= GUARD:
                at = (at[0], at[1] + delta, at[2])
        else:
            at, name = place(r, shape, dtype.itemsize, 0.5), other.name
        if at[0] <= other.memory.size:
            view = np.ndarray(shape, dtype, other.memory, at[1], at[2])
            return Array("out", view, lambda: located("out", view, at, name), other.memory, at)
    at = place(r, shape, dtype.itemsize)
    memory = np.full(at[0], FILLING, np.uint8)
    view = np.ndarray(shape, dtype, memory, at[1], at[2])
    return Array("out", view, lambda: located("out", view, at), memory, at)


def random_shape(r):
    """Mostly a few hundred elements, with 0 and 1 among the lengths; and an axis, which is -1 most of the time."""
    kind = r.random()
    if kind < 0.006:
        n = r.choice((4095, 4096, 4097, 5000, 8193, 9001))
        shape, axis = r.choice((((r.choice((1, 2)), n), -1), ((n, r.choice((1, 2, 3, 16, 17))), 0)))
        return shape, axis
    if kind < 0.03:
        return (r.randint(1, 3), r.choice((2, 7, 33, 65)), r.randint(1, 70)), 1
    if kind < 0.25:
        return (r.randint(1, 9), r.choice((2, 10, 31, 32, 33, 64, 100, 128, 257))), -1
    ndim = r.choice((1, 1, 2, 2, 2, 3, 3, 4, 5))
    longest = (300, 40, 12, 6, 4)[ndim - 1]
    shape = tuple([r.choice((0, 1, 1)) if r.random() < 0.15 else r.randint(1, longest) for _ in range(ndim)])
    return shape, r.choice((-1, r.randrange(-ndim, ndim)))


VALUES = ("normal", "ties", "special", "spread", "confident", "tiny", "extreme")


def random_values(g, kind, shape, dtype):
    with np.errstate(all="ignore"):
        if dtype.kind in "iub":
            whole = kind in ("extreme", "spread") and dtype.kind != "b"
            if whole:
                return g.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
            return np.asarray(g.integers(0 if dtype.kind in "ub" else -9, 2 if dtype.kind == "b" else 9, shape)).astype(
                dtype
            )
        x = g.standard_normal(shape)
        if kind == "ties" or kind == "special":
            x = np.round(3 * x)
        if kind == "special":
            chosen = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 700.0, 1e-40])
            some = g.random(shape) < 1.5 / max(1, shape[-1] if shape else 1)
            x = np.where(some, g.choice(chosen, shape), x)
        elif kind == "spread":
            x *= 60
        elif kind == "confident":
            x = np.where(g.random(shape) < 2 / max(1, shape[-1] if shape else 1), 30.0, x)
        elif kind == "tiny":
            x *= 10.0 ** g.integers(-44, -1)
        elif kind == "extreme":
            x *= float(g.choice([1e4, 1e20, 1e38, 1e300]))
        else:
            x *= 4
        if kind != "extreme":
            x = np.asarray(x).astype(np.float32)
        return np.asarray(x).astype(dtype)
