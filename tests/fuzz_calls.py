"""Calls for fuzz.py: made of the rows of ops.py, some of them with wrong arguments; and what must be true of each."""

import contextlib
import functools
import inspect
import types
import warnings

import ml_dtypes  # noqa: F401
import numpy as np
import ops
import reference
from cases import FLOATS, STORED, all_nan, assert_same_bits
from fuzz_arrays import INTEGERS, VALUES, laid_out, output, random_shape, random_values, source_of
from loss_cases import assert_within, made_for
from ops import OPS

import softlane
from softlane import _chunks, _core

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


# ---- calls -----------------------------------------------------------------------------------------------------------


# What the Python of a call begins with, in the folder of tests
HEADER = ["import ml_dtypes, numpy as np, softlane", "from fuzz_arrays import *", "from fuzz_calls import *", ""]


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

    def check(self, with_reference):
        check(self, with_reference)

    def source(self):
        lines = [*HEADER]
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


def random_call(r, g, choices=OPS):
    call = Call(r, r.choice(choices))
    op = call.op
    shape, axis = random_shape(r)
    call.kind = r.choice(VALUES)
    dtype = r.choice(STORED if r.random() < 0.75 else [*INTEGERS, np.dtype(bool)])
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
    if "rng" in op.arguments and r.random() < 0.5:
        del call.arrays["uniform"]
        rows = int(np.prod(np.delete(x.shape, axis))) if x.ndim else 1
        call.set("rng", r.choice((r.getrandbits(30), [r.getrandbits(30) for _ in range(rows)])))
    if "binary" in op.function and call.options["reduction"][0] != "none" and call.way[0] == "chunks":
        call.way = ("checked", 0)  # the sum of chunks is another one
    if op.out and r.random() < 0.6:
        add_output(call, r)
    if r.random() < 0.12:
        if call.out is not None and any(call.out.memory is a.memory for a in call.arrays.values()):
            call.out = None
        spoil(call, r, g)
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
        except Exception:  # which the call is going to raise again
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


STRANGE = """
None; True; False; -1; 0; 1; 7; 2**31; 2**40; -2**63; 10**400; 0.5; np.nan; np.inf; -np.inf; -0.0; 1e-320; 1j;
'text'; b'x'; (); (0,); (0, 0); (-1, 0); [0]; [[1], [2]]; {}; set(); range(3); Ellipsis; slice(1); object;
object(); np.array('a'); np.array(1j); np.array([1, None]); np.array([1.0, 2.0], object);
np.ma.array([1.0, 2.0], mask=[0, 1]); np.zeros((3, 1, 2)); np.zeros(0); np.zeros((2, 0)); np.zeros(3, 'M8[s]');
np.ones(3, np.longdouble); np.ones((), np.longdouble); np.ones(2, [('a', 'f4')]); np.array(np.nan); np.array(1);
np.array([1]); np.array([[1]]); np.int8(1); np.uint64(2**63); np.float16(2); np.str_('mean'); 'mean'; 'none';
'float64'; np.float32; np.dtype('>f4'); np.dtype('f2'); np.int32; np.uint8; int; 'i8'; 'O'; Raising(); Index(0);
Index(-1); Index(2**70); np.random.default_rng(0); np.random.PCG64(0); np.random; memoryview(b'abcd');
bytearray(8); np.ones(1, ml_dtypes.float8_e5m2); np.ones(5, ml_dtypes.bfloat16); np.zeros((1,) * 32);
np.zeros((1,) * 33); np.ones((2,) * 9)
"""
STRANGE = [text.strip() for text in STRANGE.replace("\n", " ").split(";")]
STRANGE_VALUES = {text: eval("lambda: " + text) for text in STRANGE}


def spoil(call, r, g):
    """One argument becomes another: a strange one, or an array with another shape, dtype or other values."""
    kind = r.random()
    names = [name for name in parameters(call.function) if name != "rng"]
    if kind < 0.55:
        name, text = r.choice(names), r.choice(STRANGE)
        if (name == "size" and text.startswith("2**")) or (name, text) == ("uniform", "None"):
            return  # gigabytes of draws, or others in each call
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
    has_another_argument = call.hostile is not None and (call.out is not None or call.hostile == call.op.out)
    if is_resizing(call) or (has_another_argument and (error or other_error)):
        return  # one of the two may fail where the other does not
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


def is_resizing(call):
    return call.hostile is not None and "Resizing" in call.options.get(call.hostile, ("", ""))[1]


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
        if (out is None or a.memory is not out.memory) and a.bytes() != a.before and not is_resizing(call):
            raise Mistake(f"{a.name} has changed")
    if out is None:
        return
    if error is not None or call.op.out in call.options:  # then another one was given
        if out.bytes() != out.before:
            why = "has another out" if error is None else f"raised {error!r}"
            raise Mistake(f"out has changed, although the call {why}")
        return
    if not any(part is out.view for part in parts(got)):
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
        op.exact is None
        or (op.function == "sample" and "uniform" not in call.arrays)
        or {"top_p", "min_p"} & call.arrays.keys()  # rounding decides what they keep
        or x.ndim == 0
        or x.size == 0
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
    if op.function == "sample":
        check_sample(op, x, named, results)
        return
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
            if op.function == "kl_divergence":  # what terms of the reference that cancel have lost
                allowed = allowed + (1 + np.abs(np.nan_to_num(x, posinf=0, neginf=0)).max(initial=0)) * 2.0**-58
            e = np.where(np.abs(e) > np.finfo(got.dtype).max, np.copysign(np.inf, e), e)
            e = e.astype(got.dtype) if named.get("kind") == "logits" else e
            allowed = np.where(e == 0, allowed, np.maximum(allowed, 2 * ops.tiny(got.dtype)))  # ulps of small numbers
            assert_within(got, e, allowed, "reference")


def check_sample(op, x, named, results):
    """Of the draws whose uniform number is not so near to a cumulative probability that rounding decides"""
    u = named.pop("uniform").astype(np.float64)
    with np.errstate(all="ignore"):
        below, exact, above = (op.exact(x, uniform=np.clip(u + d, 0, 1 - 2.0**-53), **named) for d in (-1e-6, 0, 1e-6))
    is_certain = (below[0] == exact[0]) & (above[0] == exact[0])
    if not np.array_equal(results[0][is_certain], exact[0][is_certain]):
        raise Mistake(f"classes {results[0]!r}, expected {exact[0]!r}")
    log_prob = exact[1][is_certain]
    allowed = np.nan_to_num(op.bounds[0](log_prob, results[1].dtype, named))
    assert_within(results[1][is_certain], log_prob, allowed, "log_prob")


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
