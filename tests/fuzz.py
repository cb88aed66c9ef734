"""Random calls of the whole package against its references. `make fuzz` runs it, and test_fuzz.py the first 2,000 calls.

A seed and an index say everything about a call, so that `--seed S --only INDEX` repeats it. A call has arrays of any
shape, layout and dtype, outputs with guard bytes around them that may overlap arguments, every option, any instruction
set path and number of threads, and the short way, the checked way or the one in chunks through the Python files. It must
give the bits of the same call on plain copies without an output, one thread and the first path, and what ops.py says.
In some calls an argument is wrong or hostile: both calls must then fail alike, and `out` must be as it was.
"""

import argparse
import contextlib
import faulthandler
import functools
import inspect
import io
import math
import mmap
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import types
import warnings
from pathlib import Path

import ml_dtypes  # noqa: F401
import numpy as np
import ops
import reference
import reference_selection
from arrays import SMALL_INTEGERS, WIDE_INTEGERS
from cases import FLOATS, STORED, all_nan, assert_same_bits
from loss_cases import assert_within, made_for
from ops import OPS

import softlane
from softlane import _chunks, _core, _files
from softlane.__main__ import main as command

INTEGERS = [*SMALL_INTEGERS[1:], *WIDE_INTEGERS]
GUARD = 64  # bytes on each side of an array in memory of its own
FILLING = 0xA5
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # for files, which are synchronised
MULTIPLE_AXES = {"softmax", "softmin", "log_softmax", "logsumexp", "entropy", "softmax_hessian_diag", "kl_divergence"}
KEEPING_DIMENSIONS = {"logsumexp", "entropy", "kl_divergence", "argmax"}
INDEXING = {"argmax", "topk", "rank", "sample"}  # they take index_dtype
# Results that the references give in an error bound for finite numbers of any size
OF_ANY_SIZE = {"softmax", "softmin", "log_softmax", "logsumexp", "argmax", "topk", "rank", "sigmoid", "log_sigmoid"}


class Mistake(AssertionError):
    """What the package did wrong."""


class OwnError(Exception):
    """Of hostile objects: it has to come out of the call as it is, or not at all."""


ERRORS = (TypeError, ValueError, IndexError, BufferError, MemoryError, OwnError)  # that a wrong call may end with

# ---- settings of a call ----------------------------------------------------------------------------------------------

AS_GIVEN = ("short", _core.MOST_COPIED)
_BRIDGE = {"rows": 9, "part": 7, "topk": 10, "take": 9, "sample": 14, "loss": 14, "elements": 6, "binary": 10}
_MODES = {"short": _core.AS_GIVEN, "checked": _core.CHECKED, "chunks": _core.COPY}


@contextlib.contextmanager
def settings(isa, threads, way=AS_GIVEN):
    """Paths and threads; and which way calls take: "short", "checked", or in "chunks" of so many elements."""
    first, most = _MODES[way[0]], way[1]
    before = _core.active_isa(), _core.get_threads()
    saved = {name: getattr(_core, name) for name in (*_BRIDGE, "MOST_COPIED")}
    assert _core.use_isa(isa)
    _core.set_threads(threads)
    if first != _core.AS_GIVEN:
        for name, place in _BRIDGE.items():
            setattr(_core, name, _refusing(saved[name], place, first))
    if first == _core.COPY:
        _core.MOST_COPIED = most
        _chunks.chunks.__defaults__ = (most,)
    try:
        yield
    finally:
        for name, value in saved.items():
            setattr(_core, name, value)
        _chunks.chunks.__defaults__ = (_core.MOST_COPIED,)
        _core.use_isa(before[0])
        _core.set_threads(before[1])


def _refusing(function, place, first):
    """A function of the bridge that gives None in modes below `first`, as it does for what it cannot read in place."""

    def refusing(*args):
        mode = args[place] if len(args) > place else _core.AS_GIVEN
        return None if mode < first else function(*args)

    return refusing


# ---- arrays ----------------------------------------------------------------------------------------------------------


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
        layout = r.choice([*SPECIAL_LAYOUTS][0 if lists else 1 :]) if kind > 0.98 else r.choice(("first", "last", "read_only", "Fortran"))
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
            if 0 <= at[1] - GUARD + delta and delta <= GUARD:
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


# ---- calls -----------------------------------------------------------------------------------------------------------


class Call:
    """A function, its arguments by name, and what of the references applies."""

    def __init__(self, r, op):
        self.r, self.op, self.function = r, op, op.function
        self.arrays, self.options = {}, {}  # arguments that are an Array, and all others: (value, Python)
        self.hostile = None  # an argument that is wrong, or may be
        self.kind = ""
        self.isa = r.choice(_core.available_isas())
        self.threads = r.choice((1, 1, 2, 3))
        self.way = r.choice((AS_GIVEN, AS_GIVEN, ("checked", 0), ("chunks", r.choice((8, 40, 100, 1000)))))
        self.out = None

    def set(self, name, value, source=None):
        self.options[name] = (value, repr(value) if source is None else source)

    @property
    def first(self):
        return next(iter(self.arrays))

    def named(self, plain):
        """Keywords of the call: with arrays as they lie, or with plain copies and no output."""
        found = {name: a.plain if plain else a.view for name, a in self.arrays.items()}
        found |= {
            name: value() if isinstance(value, types.LambdaType) else value for name, (value, _) in self.options.items()
        }
        if self.out is not None and not plain and self.op.out not in self.options:
            found[self.op.out] = self.out.view
        return found

    def run(self, plain):
        named = self.named(plain)
        return getattr(softlane, self.function)(named.pop(self.first), **named)

    def source(self):
        lines = ["import ml_dtypes, numpy as np, softlane  # in tests/", "from fuzz import *", ""]
        for a in (*self.arrays.values(), *([self.out] if self.out else [])):
            lines += a.lines()
        named = {name: name for name in self.arrays}
        named |= {name: text.replace("lambda: ", "") for name, (_, text) in self.options.items()}
        if self.out is not None and self.op.out not in self.options:
            named[self.op.out] = "out"
        rest = ", ".join(f"{name}={text}" for name, text in named.items() if name != self.first)
        lines.append(f"with settings({self.isa!r}, {self.threads}, {self.way!r}):")
        lines.append(f"    y = softlane.{self.function}({named[self.first]}, {rest})")
        return "\n".join(lines)


def first_parameter(function):
    return next(iter(parameters(function)))


@functools.cache
def parameters(function):
    return tuple(inspect.signature(getattr(softlane, function)).parameters)


def random_call(r, g):
    call = Call(r, r.choice(OPS))
    op = call.op
    shape, axis = random_shape(r)
    call.kind = r.choice(VALUES)
    dtype = r.choice(STORED if r.random() < 0.75 else INTEGERS + [np.dtype(bool)])
    if not op.arguments and r.random() < 0.02:
        shape, axis = (), -1
    x = made_for(op.function, random_values(g, call.kind, shape, dtype))
    given = {first_parameter(op.function): x}
    for name, make in op.arguments.items():
        given["uniform" if name == "rng" else name] = argument(g, make, x, axis)
    for name, a in given.items():
        call.arrays[name] = laid_out(r, name, a, lists="y" not in given)
    x = call.arrays[call.first].plain
    if call.way[0] == "chunks":
        call.way = ("chunks", max(call.way[1], x.size // 2))
        if "binary" in op.function:  # whose chunks have an eighth of that
            call.way = ("chunks", 8 * call.way[1])
    add_options(call, r, g, x, axis)
    if "binary" in op.function and call.options["reduction"][0] != "none" and call.way[0] == "chunks":
        call.way = ("checked", 0)  # the sum of chunks is another one
    if r.random() < 0.12:
        spoil(call, r, g)
    elif op.out and r.random() < 0.6:
        add_output(call, r)
    return call


def argument(g, make, x, axis):
    """What the table makes, in another order; zeros where it makes nothing for so many classes."""
    try:
        with np.errstate(all="ignore"):
            a = np.asarray(make(x, axis))
    except (ValueError, ZeroDivisionError):
        like_x = make in (ops.distributions, ops.booleans, ops.log_distributions, ops.three_indices, ops.other_logits)
        return np.zeros(x.shape if like_x else np.delete(x.shape, axis), np.int64)
    return g.permutation(a.reshape(-1)).reshape(a.shape)


def add_options(call, r, g, x, axis):
    op, function = call.op, call.function
    n = x.shape[axis] if x.ndim else 1
    for name, value in op.fixed.items():
        call.set(name, value(n) if callable(value) else value)
    if "k" in op.fixed:
        call.set("k", r.randint(0, n))
    if "reduction" in op.fixed:
        call.set("reduction", r.choice(("none", "mean", "sum")))
    if "label_smoothing" in op.fixed:
        call.set("label_smoothing", r.choice((0.1, 1.0, r.random())))
    axes = [axis % x.ndim] if x.ndim else [0]
    if op.takes_axis:
        if function in MULTIPLE_AXES and x.ndim > 1 and r.random() < 0.25:
            axes = sorted(r.sample(range(x.ndim), r.randint(1, x.ndim)))
            several = None if len(axes) == x.ndim and r.random() < 0.7 else tuple(axes)
            call.set("axis", several)
        elif axis != -1 or r.random() < 0.5:
            call.set("axis", axis)
    if function in KEEPING_DIMENSIONS and r.random() < 0.3:
        call.set("keepdims", True)
    call.axes = axes
    kept = [1 if i in axes else m for i, m in enumerate(x.shape)]
    batch = [m for i, m in enumerate(x.shape) if i not in axes]
    classes = [m if i in axes else 1 for i, m in enumerate(x.shape)]
    takes = parameters(function)
    if "where" in takes and r.random() < 0.35:
        mask = g.random(r.choice((x.shape, x.shape, classes, kept))) < r.choice((0.5, 0.8, 0.97, 0.1))
        call.arrays["where"] = laid_out(r, "where", np.asarray(mask))
    if "temperature" in takes and r.random() < 0.35:
        if r.random() < 0.5:
            value = r.choice((0.7, 1.0, 2, 1e-3, 50.0, 1e10, 1e-12, r.random() + 0.1))
            call.set("temperature", value)
        else:
            t = g.uniform(0.2, 4, r.choice((batch, kept)) if op.takes_axis else x.shape)
            t = np.where(g.random(t.shape) < 0.03, 1e-9, t) if r.random() < 0.3 else t
            call.arrays["temperature"] = laid_out(r, "temperature", t.astype(r.choice(("f4", "f8", "f8"))))
    if "dtype" in takes and r.random() < 0.25:
        wanted = r.choice(STORED)
        call.set("dtype", wanted, "ml_dtypes.bfloat16" if wanted == reference.BFLOAT16 else repr(wanted.name))
    if function in INDEXING and r.random() < 0.2:
        call.set("index_dtype", r.choice([d for d in INTEGERS if np.iinfo(d).max >= n and d.kind == "i"]).name)


def add_output(call, r):
    """Of the dtype and shape that the plain call gives, so that call is made here."""
    with plain_settings():
        try:
            call.expected = call.run(True)
        except ERRORS:
            return
    last = call.expected[-1] if isinstance(call.expected, tuple) else call.expected
    call.out = output(r, last.dtype, np.shape(last), list(call.arrays.values()))


# ---- wrong calls -----------------------------------------------------------------------------------------------------


class Raising:
    """Everything that a function may ask of it raises."""

    def fail(self, *args, **kwargs):
        raise OwnError("hostile")

    __array__ = __index__ = __float__ = __int__ = __bool__ = __len__ = __iter__ = __getitem__ = __eq__ = fail
    __hash__ = None


class Resizing:
    """It makes an array smaller where it is asked for a number."""

    def __init__(self, a):
        self.a = a

    def act(self, *args, **kwargs):
        with contextlib.suppress(ValueError):
            self.a.resize((0,), refcheck=False)
        return 1

    __index__ = __int__ = act

    def __float__(self):
        return float(self.act())

    def __bool__(self):
        return bool(self.act())

    def __array__(self, dtype=None, copy=None):
        return np.array(self.act())


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


STRANGE = """None; True; False; -1; 0; 1; 7; 2**31; 2**40; -2**63; 10**400; 0.5; np.nan; np.inf; -np.inf; -0.0; 1e-320; 1j; 'text'; b'x'; ();
(0,); (0, 0); (-1, 0); [0]; [[1], [2]]; {}; set(); range(3); Ellipsis; slice(1); object; object(); np.array('a');
np.array(1j); np.array([1, None]); np.array([1.0, 2.0], object); np.ma.array([1.0, 2.0], mask=[0, 1]); np.zeros((3, 1, 2)); np.zeros(0);
np.zeros((2, 0)); np.zeros(3, 'M8[s]'); np.ones(3, np.longdouble); np.ones((), np.longdouble); np.ones(2, [('a', 'f4')]); np.array(np.nan);
np.array(1); np.array([1]); np.array([[1]]); np.int8(1); np.uint64(2**63); np.float16(2); np.str_('mean'); 'mean'; 'none'; 'float64';
np.float32; np.dtype('>f4'); np.dtype('f2'); np.int32; np.uint8; int; 'i8'; 'O'; Raising(); Index(0); Index(-1); Index(2**70);
np.random.default_rng(0); np.random.PCG64(0); np.random; memoryview(b'abcd'); bytearray(8); np.ones(1, ml_dtypes.float8_e5m2);
np.ones(5, ml_dtypes.bfloat16); np.zeros((1,) * 32); np.zeros((1,) * 33); np.ones((2,) * 9)""".replace(
    "\n", " "
)
STRANGE = [text.strip() for text in STRANGE.split(";")]
STRANGE_VALUES = {text: eval("lambda: " + text) for text in STRANGE}


def spoil(call, r, g):
    """One argument becomes another: a strange one, or an array with another shape, dtype or other values."""
    kind = r.random()
    names = [name for name in parameters(call.function) if name != "rng"]
    if kind < 0.55:
        name, text = r.choice(names), r.choice(STRANGE)
        if name == call.first:
            strange = STRANGE_VALUES[text]()
            if isinstance(strange, Raising) or text in ("object()", "np.zeros((1,) * 33)"):
                return
        call.hostile = name
        if name in call.arrays and name != call.first:
            del call.arrays[name]
        call.set(name, STRANGE_VALUES[text], f"lambda: {text}")
        return
    if kind < 0.6 and call.arrays[call.first].memory is not None:
        name = r.choice(names[1:])
        if name not in call.arrays and name != call.op.out:
            call.hostile = name
            x = call.arrays[call.first]
            a = np.array(x.plain)
            x.view, x.memory, x.lines = a, None, lambda: [f"{call.first} = {source_of(x.plain)}"]
            call.set(name, lambda: Resizing(a), f"lambda: Resizing({call.first})")
        return
    name = r.choice([*call.arrays])
    a = call.arrays[name].plain
    how = r.choice(("shape", "dtype", "value", "out"))
    call.hostile = name
    if how == "out" and call.op.out:
        call.hostile = call.op.out
        shape = wrong_shape(r, a.shape)
        call.set("dtype" if "dtype" in parameters(call.function) else call.op.out, None)
        call.options.pop(call.op.out, None)
        call.out = output(r, r.choice((*STORED, np.dtype("i4"), np.dtype(">f4"), np.dtype("c8"))), shape, [])
        return
    if how == "shape":
        b = np.resize(a, wrong_shape(r, a.shape)) if a.size else np.zeros(wrong_shape(r, a.shape), a.dtype)
    elif how == "dtype":
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrong = r.choice(("O", "c16", "g", "S3", "M8[s]", "f2", "i1", "u8", "?"))
            b = np.zeros(a.shape, wrong) if wrong in ("M8[s]", "S3") else a.astype(wrong)
    else:
        b = a.copy()
        if b.size:
            with np.errstate(all="ignore"):
                b.reshape(-1)[r.randrange(b.size)] = np.float64(
                    r.choice((-1, 2, 300, np.nan, np.inf, -np.inf, 0, -101, -99, 1.0001, 99))
                ).astype(b.dtype)
    call.arrays[name] = laid_out(r, name, b, 1.0)


def wrong_shape(r, shape):
    shape = list(shape)
    how = r.randrange(5)
    if how == 0 or not shape:
        return (*shape, r.choice((1, 2)))
    i = r.randrange(len(shape))
    if how == 1:
        del shape[i]
    elif how == 2:
        shape[i] += 1
    elif how == 3:
        shape[i] = r.choice((0, 1))
    else:
        shape.insert(i, 1)
    return tuple(shape)


# ---- checks ----------------------------------------------------------------------------------------------------------


def plain_settings():
    return settings(_core.available_isas()[0], 1)


def attempt(function):
    """(result, None) or (None, error); only errors that a caller may expect."""
    try:
        return function(), None
    except ERRORS as error:
        return None, error
    except Exception as error:
        raise Mistake(f"{type(error).__name__}: {error}") from error


def check(call, with_reference):
    with settings(call.isa, call.threads, call.way):
        got, error = attempt(lambda: call.run(False))
    untouched(call, got, error)
    with plain_settings():
        expected, other_error = attempt(lambda: call.run(True))
    if call.hostile is None and not may_fail(call) and error is not None:
        raise Mistake(f"{type(error).__name__}: {error}") from error
    if call.out is not None and call.hostile == call.op.out:
        return
    resizing = call.hostile is not None and "Resizing" in call.options.get(call.hostile, ("", ""))[1]
    if resizing or call.hostile == call.op.out and call.op.out is not None:
        return
    if type(error) is not type(other_error):
        raise Mistake(f"{error!r}, but of plain copies {other_error!r}")
    if error is not None:
        return
    for a, b in zip(parts(got), parts(expected), strict=True):
        if call.out is None and (type(a) is not type(b) or (isinstance(a, np.ndarray) and type(a) is not np.ndarray)):
            raise Mistake(f"a {type(a).__name__}, of plain copies a {type(b).__name__}")
        assert_same_bits(a, b, "got, and from plain copies")
        check_nan(a)
    if with_reference and call.hostile is None:
        check_values(call, parts(expected))


def check_nan(a):
    a = np.asarray(a)
    nan = a != a
    if nan.any() and not all_nan(a[nan]):
        raise Mistake(f"a NaN that is not the canonical one at {np.argwhere(nan)[0]}")


def parts(result):
    return tuple(result) if isinstance(result, tuple) else (result,)


def may_fail(call):
    """Without a class, of no dimension, or with fewer classes than draws without replacement"""
    x = call.arrays[call.first].plain
    if "replace" in call.options:
        return True
    return call.op.takes_axis and (x.ndim == 0 or any(x.shape[i] == 0 for i in call.axes))


def untouched(call, got, error):
    """Arguments are as before; so is all around an output, and the output itself after an error."""
    out = call.out
    for a in call.arrays.values():
        if (
            (out is None or a.memory is not out.memory)
            and a.bytes() != a.before
            and not (call.hostile and "Resizing" in call.options.get(call.hostile, ("", ""))[1])
        ):
            raise Mistake(f"{a.name} has changed")
    if out is None:
        return
    if error is not None:
        if out.bytes() != out.before:
            raise Mistake(f"out has changed, although the call raised {error!r}")
        return
    if parts(got)[-1] is not out.view:
        raise Mistake("the result is not out")
    around = np.frombuffer(bytearray(out.before), np.uint8)
    there = np.ndarray(out.view.shape, out.view.dtype, around, out.at[1], out.at[2])
    there[...] = out.view
    if around.tobytes() != out.bytes():
        raise Mistake("memory around out has changed")


def check_values(call, results):
    """Against the reference where that is exact enough; 16-bit floats against float32 rounded once."""
    op, x = call.op, call.arrays[call.first].plain
    if (
        op.function == "sample"
        or op.exact is None
        or x.ndim == 0
        or may_fail(call)
        or (call.kind == "extreme" and op.function not in OF_ANY_SIZE)
    ):
        return
    named = call.named(True)
    t = named.get("temperature")
    floats = [a for a in results if a.dtype.kind not in "iu"]
    if any(a.dtype not in FLOATS for a in floats):
        check_rounded(call, results)
        return
    wide = any(a.dtype == np.float64 for a in floats) or reference.result_dtype(x.dtype) == np.float64
    compute = np.float64 if wide else np.float32
    with np.errstate(all="ignore"):
        x = x.astype(compute)
        if t is not None:
            t = np.asarray(t, np.float64)
            largest = np.abs(np.where(np.isfinite(x), x, 0)).max(initial=0) / t.min(initial=np.inf)
            if largest > (32 if wide else 1e6) or t.min(initial=1) < 0.01 or t.max(initial=1) > 1e3 or x.size == 0:
                return
    keywords = {name: value for name, value in named.items() if name not in ("dtype", "index_dtype", "keepdims")}
    keywords.pop(call.first)
    if op.function == "rank" and t is not None:
        del keywords["temperature"]
        t = None
    check_exact(call, x, t, keywords, results)


def check_exact(call, x, t, named, results):
    op, axes = call.op, call.axes
    several = len(axes) > 1
    batch = [m for i, m in enumerate(x.shape) if i not in axes]

    def joined(a):
        """With all classes along the last axis"""
        return np.moveaxis(a, axes, range(-len(axes), 0)).reshape(*batch, -1)

    shape = x.shape
    if op.takes_axis:
        named["axis"] = -1 if several else axes[0]
        if "where" in named:
            named["where"] = np.broadcast_to(named["where"], shape)
        if t is not None and t.ndim:
            named["temperature"] = t.reshape(batch)
    if several:
        x, named = joined(x), {k: joined(v) if k in ("where", "y") else v for k, v in named.items()}
    with np.errstate(all="ignore"):
        exact = op.exact(x, **named)
        exact = [np.asarray(e) for e in (exact if isinstance(exact, tuple) else (exact,))]
        bounds = iter(op.bounds)
        for got, e in zip(results, exact, strict=True):
            got = np.asarray(got)
            got = joined(got) if several and got.shape == shape and op.function not in ops.ONE_NUMBER_EACH else got
            got = got.reshape(e.shape) if call.options.get("keepdims") or several else got
            if e.dtype.kind == "i":
                if not np.array_equal(got, e):
                    raise Mistake(f"classes {got!r}, expected {e!r}")
                continue
            allowed = np.nan_to_num(next(bounds)(e, got.dtype, {**named, "x": x}))
            allowed = np.where(e == 0, allowed, np.maximum(allowed, 2 * ops.tiny(got.dtype)))  # ulps of small numbers
            assert_within(got, e, allowed, "reference")


def check_rounded(call, results):
    """16-bit floats have the bits of the same in float32, rounded once."""
    halves = [name for name, a in call.arrays.items() if a.plain.dtype in STORED[2:]]
    named = call.named(True)
    with np.errstate(all="ignore"):
        wanted = named.pop("dtype", None)
        wide = np.float64 if np.float64 in (wanted, reference.result_dtype(named[call.first].dtype)) else np.float32
        named |= {name: named[name].astype(wide) for name in {*halves, call.first}}
    with plain_settings():
        wide = getattr(softlane, call.function)(named.pop(call.first), **named)
    for got, w in zip(results, parts(wide), strict=True):
        with np.errstate(all="ignore"):
            assert_same_bits(got, np.asarray(w).astype(got.dtype), "16-bit floats, and float32 rounded")


# ---- summaries of parts ----------------------------------------------------------------------------------------------


class StreamCall:
    """Blocks of the classes of rows, summarised and merged in any order; the results of all of them."""

    function, op, hostile, kind, out = "stream", None, None, "", None

    def __init__(self, r, g):
        self.isa, self.threads = r.choice(_core.available_isas()), r.choice((1, 2))
        self.way = r.choice((AS_GIVEN, ("checked", 0), ("chunks", r.choice((8, 100)))))
        shape, axis = random_shape(r)
        shape = tuple([max(1, n) if i == axis % len(shape) else n for i, n in enumerate(shape)])
        self.axis = axis % len(shape)
        n = shape[self.axis]
        x = random_values(g, r.choice(VALUES[:-1]), shape, r.choice((*STORED, np.dtype("i1"), np.dtype("i8"))))
        batch = np.delete(shape, self.axis)
        self.x, self.k, self.entropy = x, r.choice((0, 1, 3, n + 2)), r.random() < 0.5
        self.t = r.choice((None, None, 0.7, 1e-9, g.uniform(0.3, 3, batch)))
        self.where = g.random(shape) < 0.8 if r.random() < 0.3 else None
        self.target = g.integers(0, n, batch)
        self.edges = sorted({0, n, *(r.randrange(n + 1) for _ in range(r.choice((0, 1, 2, 4))))})
        self.order = r.sample(range(len(self.edges) - 1), len(self.edges) - 1)
        self.layouts = [laid_out(r, f"x{i}", self.part(x, i)) for i in self.order]

    def source(self):
        blocks = [line for a in self.layouts for line in a.lines()]
        return "\n".join([*blocks, f"# StreamCall: {vars(self) | {'x': None, 'layouts': None}}"])

    def part(self, a, i):
        return a[(slice(None),) * self.axis + (slice(*self.edges[i : i + 2]),)]

    def summaries(self, blocks):
        for i, x in zip(self.order, blocks, strict=True):
            where = None if self.where is None else self.part(self.where, i)
            yield softlane.stream.summarize(
                x, self.axis, first_class=self.edges[i], target=self.target, k=self.k, entropy=self.entropy,
                where=where, temperature=self.t,
            )  # fmt: skip

    def results(self, blocks):
        whole = functools.reduce(lambda a, b: a | b, self.summaries(blocks))
        i, x = self.order[0], blocks[0]
        where = None if self.where is None else self.part(self.where, i)
        found = [whole.logsumexp(), whole.target_log_prob(), whole.cross_entropy("none")]
        found += [whole.softmax(x, where=where), whole.log_softmax(x, where=where)]
        found += [whole.entropy()] if self.entropy else []
        return found + ([*whole.topk(), whole.argmax()] if self.k else [])

    def check(self, with_reference):
        with settings(self.isa, self.threads, self.way):
            got = self.results([a.view for a in self.layouts])
        for a in self.layouts:
            if a.bytes() != a.before:
                raise Mistake(f"{a.name} has changed")
        with plain_settings():
            expected = self.results([a.plain for a in self.layouts])
        for a, b in zip(got, expected, strict=True):
            assert_same_bits(a, b, "got, and from plain copies")
            check_nan(a)
        with plain_settings():
            self.order.reverse()
            self.layouts.reverse()
            other = self.results([a.plain for a in self.layouts])
        for a, b in zip(other[:3], expected[:3], strict=True):
            assert_same_bits(a, b, "merged in another order")
        if with_reference and (self.t is None or np.ndim(self.t) or self.t == 0.7):
            self.check_values(expected)

    def check_values(self, results):
        blocks = [self.layouts[self.order.index(i)].plain for i in range(len(self.order))]
        x = np.concatenate(blocks, self.axis) if blocks else self.x
        x = x.astype(np.float64 if reference.result_dtype(x.dtype) == np.float64 else np.float32)
        if x.dtype == np.float64 and self.t is not None and np.nanmax(np.abs(x), initial=0) > 30:
            return
        options = {"where": self.where, "temperature": self.t}
        call = {"x": x, "axis": self.axis, **options}
        exact = reference.exact("logsumexp", x, self.axis, **options)
        if x.size:
            assert_within(results[0], exact, np.nan_to_num(ops.ulps_of_the_maximum(exact, x.dtype, call)), "logsumexp")
            exact = reference_selection.exact_take_log_probs(x, self.target, self.axis, **options)
            assert_within(results[1], exact, ops.ulps(exact, x.dtype, call), "target_log_prob")


# ---- the command -----------------------------------------------------------------------------------------------------


class FileCall:
    """A function of a file by the command, and files whose bytes were changed."""

    function, op, hostile, kind, out, isa, threads, way = "command", None, None, "", None, "", 1, AS_GIVEN

    def __init__(self, r, g):
        shape, axis = random_shape(r)
        dtype = r.choice((*STORED[:3], np.dtype("i1"), np.dtype("u8"), np.dtype("?"), np.dtype(">f4"), np.dtype("c8")))
        self.x = random_values(g, "normal", shape, dtype.newbyteorder("=")).astype(dtype) if dtype.kind != "c" else (
            np.ones(shape, dtype))  # fmt: skip
        if r.random() < 0.2:
            self.x = np.asfortranarray(self.x)
        self.name = r.choice(("softmax", "log-softmax", "logsumexp", "argmax", "entropy", "topk", "cross-entropy"))
        self.axis = r.choice((axis, axis, 9))
        self.block = r.choice((1, 100, 1500, 8 << 20))
        self.options = r.choice(([], ["--dtype", "float32"], ["--temperature", "0.5"], ["--temperature", "-1"]))
        self.options = [] if self.name == "argmax" else self.options
        self.options += ["--k", str(r.choice((0, 1, 3, 99)))] if self.name == "topk" else []
        n = shape[axis]
        self.target = g.integers(-1 if r.random() < 0.2 else 0, max(1, n), np.delete(shape, axis))
        self.changes = []
        with io.BytesIO() as file:
            np.save(file, self.x)
            size = file.tell()
        if r.random() < 0.6:
            kind = r.randrange(3)
            self.changes = [("cut", r.randrange(size + 1))] if kind == 0 else [
                (r.randrange(min(size, 128)), r.choice((0, 10, 32, 39, 40, 44, 45, 48, 57, 76, 102, 255, r.randrange(256))))
                for _ in range(r.choice((1, 1, 2, 5)))
            ]  # fmt: skip

    def source(self):
        return f"# FileCall: {vars(self)}"

    def check(self, with_reference):
        before = os.getcwd(), _files.BLOCK
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            os.chdir(folder)
            _files.BLOCK = self.block
            try:
                self.check_here()
            finally:
                os.chdir(before[0])
                _files.BLOCK = before[1]

    def check_here(self):
        np.save("x.npy", self.x)
        np.save("t.npy", self.target)
        data = bytearray(Path("x.npy").read_bytes())
        for place_of, value in self.changes:
            if place_of == "cut":
                del data[value:]
            elif place_of < len(data):
                data[place_of] = value
        Path("x.npy").write_bytes(data)
        if self.changes:  # what is read either is an array, or is refused in one of these ways
            with contextlib.ExitStack() as stack:
                try:
                    _files.Input("x.npy", "softmax", stack)
                except (_files.CommandError, TypeError):
                    pass
                except Exception as error:
                    raise Mistake(f"{type(error).__name__}: {error}") from error
        out = "y.npz" if self.name == "topk" else "y.npy"
        texts = io.StringIO(), io.StringIO()
        arguments = [self.name, "x.npy", *(["t.npy"] if self.name == "cross-entropy" else []), "-o", out]
        with contextlib.redirect_stdout(texts[0]), contextlib.redirect_stderr(texts[1]):
            try:
                status = command([*arguments, "--axis", str(self.axis), *self.options])
            except SystemExit as done:
                status = done.code
        message = texts[1].getvalue()
        if (status == 0) != os.path.exists(out) or {*os.listdir()} - {"x.npy", "t.npy", out}:
            raise Mistake(f"status {status}, files {os.listdir()}: {message}")
        if status not in (0, 1, 2) or "Traceback" in message or (status == 1 and message.count("\n") != 1):
            raise Mistake(f"status {status}: {message!r}")
        if status == 1 and ("Error" in message or "Warning" in message or "report" in message):
            raise Mistake(f"status {status}: {message!r}")
        if status == 0 and not self.changes:
            self.check_result(out)
        elif not self.changes and self.axis != 9 and "-1" not in self.options and self.x.dtype.kind != "c" and (
            self.x.flags.c_contiguous and self.x.size and self.name not in ("topk", "cross-entropy")
        ):  # fmt: skip
            raise Mistake(f"status {status}: {message!r}")

    def check_result(self, out):
        options = {"axis": self.axis}
        for key, value in zip(self.options[::2], self.options[1::2], strict=True):
            options[key[2:]] = {"dtype": str, "temperature": float, "k": int}[key[2:]](value)
        arguments = [self.target] if self.name == "cross-entropy" else []
        if arguments:
            options["reduction"] = "none"
        expected = getattr(softlane, self.name.replace("-", "_"))(self.x, *arguments, **options)
        with np.load(out) if self.name == "topk" else contextlib.nullcontext(np.load(out)) as found:
            got = [found["values"], found["indices"]] if self.name == "topk" else [found]
        for a, b in zip(got, parts(expected), strict=True):
            assert_same_bits(a, b, "file, and function")


# ---- the run ---------------------------------------------------------------------------------------------------------


def call_of(seed, index):
    r = random.Random(f"{seed} {index}")
    g = np.random.Generator(np.random.SFC64(r.getrandbits(64)))
    kind = r.random()
    if kind < 0.01:
        call = FileCall(r, g)
    elif kind < 0.04:
        call = StreamCall(r, g)
    else:
        call = random_call(r, g)
    return call, r.random() < 0.4


def failure_of(seed, index):
    """None, or what went wrong and how to repeat it."""
    try:
        call, with_reference = call_of(seed, index)
    except Exception:
        return f"call {index} of seed {seed} cannot be made:\n{traceback.format_exc()}"
    source = call.source  # of arrays as they were
    try:
        check(call, with_reference) if isinstance(call, Call) else call.check(with_reference)
    except Exception as error:
        text = traceback.format_exc() if not isinstance(error, AssertionError) else str(error)
        return f"call {index} of seed {seed}: softlane.{call.function}: {text}\n\n{source()}\n"
    return None


@contextlib.contextmanager
def strictly():
    """Warnings and floating-point errors are errors."""
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        yield


def run(seed, calls, seconds=math.inf, most=20, mark=lambda index: None, report=None):
    """What failed, of calls 0 to `calls` of a seed."""
    begin, failures, index = time.monotonic(), [], 0
    with strictly():
        for index in range(calls):
            mark(index)
            failure = failure_of(seed, index)
            if failure:
                failures.append(failure)
                if report:
                    report(failure)
            if len(failures) >= most or (index % 100 == 99 and time.monotonic() - begin > seconds):
                break
            if report and index % 10_000 == 9_999:
                report(f"{index + 1} calls, {(index + 1) / (time.monotonic() - begin):.0f} a second")
    if report:
        report(f"{index + 1} calls of seed {seed} in {time.monotonic() - begin:.0f} s, {len(failures)} failed")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--only", type=int, metavar="INDEX", help="print this call of the seed, and run it")
    parser.add_argument("--counter", help=argparse.SUPPRESS)
    options = parser.parse_args()
    faulthandler.enable()
    if options.only is not None:
        with strictly():
            print(call_of(options.seed, options.only)[0].source(), flush=True)
            failure = failure_of(options.seed, options.only)
        print(failure.partition("\n\nimport")[0] if failure else "passed")
        return bool(failure)
    if options.counter:
        with open(options.counter, "r+b") as file, mmap.mmap(file.fileno(), 8) as counter:

            def mark(index):
                counter[:] = index.to_bytes(8, "little")

            report = functools.partial(print, flush=True)
            return bool(run(options.seed, options.calls, 60 * options.minutes, mark=mark, report=report))
    return supervise(options)


def supervise(options):
    """The run in a child, so that a crash does not lose which call it was."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(8))
        file.flush()
        arguments = ["--calls", str(options.calls), "--seed", str(options.seed), "--minutes", str(options.minutes)]
        status = subprocess.run([sys.executable, __file__, *arguments, "--counter", file.name]).returncode
        if status < 0:
            index = int.from_bytes(Path(file.name).read_bytes(), "little")
            print(f"signal {-status} in call {index}: --seed {options.seed} --only {index}")
    return status


if __name__ == "__main__":
    sys.exit(main())
