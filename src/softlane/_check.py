"""Measure: errors, bits and times of the package on this machine, beside peers where they are installed.

Prints nothing and judges nothing: `python -m softlane` and bench/ do that. Not imported by `import softlane`.
"""

from __future__ import annotations

import contextlib
import decimal
import importlib
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import softlane
from softlane import _core

Array = NDArray[Any]

OPS = ("softmax", "log_softmax", "logsumexp")
LIMIT_ULP = 2.0

# Shapes and class axes that reach every form of the kernels: short rows, rows, long rows (also cut between threads),
# columns, narrow columns; most with a length that leaves a tail.
_SHAPES: dict[str, list[tuple[tuple[int, ...], int]]] = {
    "float32": [
        *(((131, n), 1) for n in (1, 2, 3, 10, 17, 32)),
        *(((8, n), 1) for n in (33, 100, 1000, 4097)),
        ((4, 50021), 1),
        *((shape, 1) for shape in ((4, 21, 67), (1, 300, 16), (2, 40, 1000))),
        *((shape, 1) for shape in ((9, 2, 2), (6, 10, 3), (8, 100, 7), (4, 33, 15))),
    ],
    "float64": [
        *(((37, n), 1) for n in (1, 2, 3, 10, 17, 32)),
        *(((4, n), 1) for n in (33, 100, 1000, 4097)),
        *((shape, 1) for shape in ((2, 21, 35), (1, 60, 16))),
        *((shape, 1) for shape in ((5, 2, 2), (4, 10, 3), (4, 40, 7), (2, 33, 15))),
    ],
}

CHECK_STEPS = sum(map(len, _SHAPES.values()))

# What `python -m softlane` times: one box score, classifier heads, detection, a vocabulary, a segmentation map.
TIMED: list[tuple[str, tuple[int, ...], int]] = [
    ("softmax", (10,), 0),
    ("softmax", (100000, 10), 1),
    ("softmax", (8400, 80), 1),
    ("softmax", (256, 1000), 1),
    ("softmax", (1, 128256), 1),
    ("softmax", (1, 21, 256, 256), 1),
    ("log_softmax", (256, 1000), 1),
    ("logsumexp", (256, 1000), 1),
]


# ---- Accuracy ----


def logits(shape: tuple[int, ...], axis: int, dtype: str, seed: int = 0) -> Array:
    """Rows of four kinds in turn: usual logits, a spread of +-80, a large offset, one confident class."""
    rng = np.random.default_rng(seed)
    x = np.moveaxis(np.empty(shape), axis, -1)
    rows = 4.0 * rng.standard_normal((x.size // x.shape[-1], x.shape[-1]))
    rows[1::4] = rng.uniform(-80, 80, rows[1::4].shape)
    rows[2::4] += 1000
    rows[3::4, -1] += 40
    return np.ascontiguousarray(np.moveaxis(rows.reshape(x.shape), -1, axis), dtype)


def _log1p(v: decimal.Decimal) -> decimal.Decimal:
    return v - v * v / 2 if v < decimal.Decimal("1e-20") else (1 + v).ln()


class Exact(NamedTuple):
    """Results for rows of logits, as unevaluated sums high + low, and the magnitude whose ulp the error counts in."""

    high: Array
    low: Array
    magnitude: Array


def _parts(value: Array) -> tuple[Array, Array]:
    high = value.astype(np.float64)
    if value.dtype != object:
        return high, np.zeros_like(high)
    rest = [v - decimal.Decimal(h) for v, h in zip(value.ravel().tolist(), high.ravel().tolist(), strict=True)]
    return high, np.array(rest, object).astype(np.float64).reshape(high.shape)


def reference(rows: Array, ops: Iterable[str] = OPS) -> dict[str, Exact]:
    """The operations on the rows of a 2-d array: in float64 for float32, in 50 decimal digits for float64.

    The second is slow (some 20 us for each element) and needs no long double, which many platforms lack.
    """
    with decimal.localcontext() as context:
        context.prec = 50
        if rows.dtype == np.float32:
            wide = rows.astype(np.float64)
            log1p: Callable[[Array], Array] = np.log1p
        else:
            wide = np.array([decimal.Decimal(v) for v in rows.ravel().tolist()], object).reshape(rows.shape)
            log1p = np.frompyfunc(_log1p, 1, 1)
        top = wide.max(axis=1, keepdims=True)
        shifted = wide - top
        e = np.exp(shifted)
        one = (np.arange(len(rows)), rows.argmax(axis=1))
        e[one] -= 1  # exactly zero: the other classes alone, so that a confident row loses nothing
        others = e.sum(axis=1, keepdims=True)
        e[one] += 1
        results = {}
        for op in ops:
            if op == "softmax":
                value = e / (1 + others)
            elif op == "log_softmax":
                value = shifted - log1p(others)
            else:
                value = top + log1p(others)
            high, low = _parts(value)
            magnitude = np.maximum(abs(high), abs(top.astype(np.float64))) if op == "logsumexp" else abs(high)
            results[op] = Exact(high, low, magnitude)
        return results


def as_rows(a: Array, axis: int) -> Array:
    """The 2-d array whose rows run along `axis`."""
    return np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis])


def ulp_error(got: Array, exact: Exact) -> float:
    """Largest error in ulps of the dtype of `got`; results below the smallest normal count in ulps of that number."""
    info = np.finfo(got.dtype)
    exponent = np.frexp(np.maximum(exact.magnitude, float(info.tiny)))[1]
    error = abs((got.astype(np.float64) - exact.high) - exact.low)
    ulps = error / np.ldexp(1.0, exponent - (info.nmant + 1))
    return math.inf if np.isnan(ulps).any() else float(ulps.max())


# ---- The checks ----


class Check(NamedTuple):
    """One instruction set path, one operation, one dtype, over every shape."""

    isa: str
    op: str
    dtype: str
    ulp: float
    worst: str
    differs: list[str]


def name_case(op: str, shape: tuple[int, ...], axis: int, dtype: str = "float32") -> str:
    name = f"{op} {shape}"
    if axis % len(shape) != len(shape) - 1:
        name += f" axis {axis}"
    return name if dtype == "float32" else f"{name} {dtype}"


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Restores the path and the number of threads."""
    isa, threads = _core.active_isa(), _core.get_threads()
    try:
        yield
    finally:
        _core.use_isa(isa)
        _core.set_threads(threads)


def run_checks(step: Callable[[str], None]) -> list[Check]:
    """Every path against the reference and, bit by bit, against the first path on one thread."""
    isas = _core.available_isas()
    threads = _core.get_threads()
    found: dict[tuple[str, str, str], tuple[float, str, list[str]]] = {}
    with unchanged():
        for dtype, shapes in _SHAPES.items():
            for shape, axis in shapes:
                step(f"checking {dtype} {shape}")
                x = logits(shape, axis, dtype)
                exact = reference(as_rows(x, axis))
                for op in OPS:
                    case = name_case(op, shape, axis, dtype)
                    wanted = None
                    for isa in isas:
                        _core.use_isa(isa)
                        ulp, worst, differs = found.get((isa, op, dtype), (0.0, "", []))
                        for count in dict.fromkeys((1, threads)):
                            _core.set_threads(count)
                            got = getattr(softlane, op)(x, axis, **({"keepdims": True} if op == "logsumexp" else {}))
                            bits = got.tobytes()
                            wanted = bits if wanted is None else wanted
                            if bits != wanted:
                                differs.append(f"{case}, threads: {count}")
                            error = ulp_error(as_rows(got, axis), exact[op])
                            if error > ulp:
                                ulp, worst = error, case
                        found[isa, op, dtype] = ulp, worst, differs
    return [Check(*key, *value) for key, value in sorted(found.items(), key=lambda item: isas.index(item[0][0]))]


def failures(checks: list[Check]) -> list[str]:
    messages = []
    for c in checks:
        if not c.ulp <= LIMIT_ULP:
            messages.append(f"{c.isa}: {c.worst} is off by {c.ulp:.2f} ULP, allowed are {LIMIT_ULP:g}")
        messages += [f"{c.isa}: {case}: other bits than {checks[0].isa} on one thread" for case in c.differs]
    return messages


# ---- Times ----


class Contender(NamedTuple):
    """An expression to time and the names in it. `result` runs it once."""

    name: str
    expression: str
    names: dict[str, Any]

    def result(self) -> Array:
        value = eval(self.expression, self.names)
        return np.asarray(self.names["out"] if value is None else value)


def numpy_softmax(x: Array, axis: int) -> Array:
    e: Array = np.exp(x - x.max(axis=axis, keepdims=True))
    e /= e.sum(axis=axis, keepdims=True)
    return e


def numpy_log_softmax(x: Array, axis: int) -> Array:
    d: Array = x - x.max(axis=axis, keepdims=True)
    d -= np.log(np.exp(d).sum(axis=axis, keepdims=True))
    return d


def numpy_logsumexp(x: Array, axis: int) -> Array:
    m = x.max(axis=axis, keepdims=True)
    s: Array = np.log(np.exp(x - m).sum(axis=axis, keepdims=True)) + m
    return s.squeeze(axis)


def _softlane(op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    names = {"f": getattr(softlane, op), "x": x, "axis": axis, "out": out}
    return Contender("softlane", "f(x, axis, out=out)", names)


def _limit(op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    if op == "logsumexp":
        return Contender("limit", "x.max()", {"x": x})
    return Contender("limit", "copyto(out, x)", {"copyto": np.copyto, "x": x, "out": out})


def _numpy(op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    return Contender("NumPy", "f(x, axis)", {"f": globals()[f"numpy_{op}"], "x": x, "axis": axis})


def _scipy(op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    special = importlib.import_module("scipy.special")
    return Contender("SciPy", "f(x, axis)", {"f": getattr(special, op), "x": x, "axis": axis})


def _torch(op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    names = {"f": getattr(torch, op), "x": torch.from_numpy(x), "axis": axis, "out": torch.from_numpy(out)}
    return Contender("torch", "f(x, axis, out=out)", names)


def onnx_node(kind: str, inputs: dict[str, Array], out: Array, threads: int, **attributes: Any) -> dict[str, Any]:
    """The names in ``f(binding)``, which runs a model of one node on buffers that are bound once."""
    onnx, ort = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    make = onnx.helper
    ends = {
        name: make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in {**inputs, "y": out}.items()
    }
    y = ends.pop("y")
    graph = make.make_graph([make.make_node(kind, list(ends), ["y"], **attributes)], kind, list(ends.values()), [y])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, a in inputs.items():
        binding.bind_input(name, "cpu", 0, a.dtype, a.shape, a.ctypes.data)
    binding.bind_output("y", "cpu", 0, out.dtype, out.shape, out.ctypes.data)
    return {"f": session.run_with_iobinding, "binding": binding, **inputs, "out": out}  # arrays: kept alive


def _onnxruntime(op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    if op == "logsumexp":
        names = onnx_node("ReduceLogSumExp", {"x": x}, out, threads, axes=[axis], keepdims=0)
    else:
        kind = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[op]
        names = onnx_node(kind, {"x": x}, out, threads, axis=axis)
    return Contender("ONNX Runtime", "f(binding)", names)


Builder = Callable[[str, Array, int, Array, int], Contender]
BUILDERS: dict[str, Builder] = {
    "softlane": _softlane,
    "limit": _limit,
    "NumPy": _numpy,
    "SciPy": _scipy,
    "torch": _torch,
    "ONNX Runtime": _onnxruntime,
}
PEERS = ("NumPy", "SciPy", "torch", "ONNX Runtime")


def contenders(
    op: str, x: Array, axis: int, threads: int, builders: dict[str, Builder] | None = None
) -> tuple[list[Contender], dict[str, str]]:
    """Whoever can do this on this machine, each run once, and why the others cannot. They share x and out."""
    out = np.empty(tuple(np.delete(x.shape, axis)) if op == "logsumexp" else x.shape, x.dtype)
    present, absent = [], {}
    for name, build in (builders or BUILDERS).items():
        try:
            contender = build(op, x, axis, out, threads)
            contender.result()
        except Exception as error:
            if name in ("softlane", "limit"):
                raise
            absent[name] = f"{type(error).__name__}: {error}"
        else:
            present.append(contender)
    return present, absent


class Timing(NamedTuple):
    """Nanoseconds for one call."""

    minimum: float
    median: float
    samples: int
    calls_per_sample: int


# Seconds: idle threads of a pool spin before they sleep, ONNX Runtime's for tens of milliseconds. Each is waited for.
_SETTLE = {"ONNX Runtime": 0.05, "softlane": 0.02, "fresh": 0.02, "torch": 0.02, "JAX": 0.02}
_SAMPLE = 200_000  # ns that a sample takes at least
_LONG = 5_000_000  # ns from which a call needs no untimed one before it


def _calls(timer: timeit.Timer) -> int:
    count = 1
    while (spent := timer.timeit(count)) < _SAMPLE:
        count = math.ceil(count * min(10, 1.2 * _SAMPLE / max(spent, 1)))
    return count


def interleave(
    entries: list[Contender], seconds: float, rounds: int, least: int = 2, threads: int = 1
) -> dict[str, Timing]:
    """Time the contenders in turn, sample by sample, so that a noisy moment meets all of them.

    At most `rounds` samples of each; whoever has used up an equal share of `seconds` sits rounds out, but gets `least`.
    """
    timers = {c.name: timeit.Timer(c.expression, timer=time.perf_counter_ns, globals=c.names) for c in entries}
    calls = {name: _calls(timer) for name, timer in timers.items()}
    samples: dict[str, list[float]] = {name: [] for name in timers}
    spent = dict.fromkeys(timers, 0.0)
    share = 1e9 * seconds / len(timers)
    for r in range(1, rounds + 1):
        for name, timer in timers.items():
            if spent[name] > share * r / rounds and len(samples[name]) * rounds >= least * r:
                continue
            begin = time.perf_counter_ns()
            if not samples[name] or samples[name][-1] < _LONG:
                timer.timeit(1)
            samples[name].append(timer.timeit(calls[name]) / calls[name])
            if threads > 1 and name in _SETTLE:
                time.sleep(_SETTLE[name])
            spent[name] += time.perf_counter_ns() - begin
    return {name: Timing(min(s), statistics.median(s), len(s), calls[name]) for name, s in samples.items()}


def warm_allocator() -> None:
    """Free one large array, as any longer process has done.

    Until then glibc may give the memory of large results back at every call, and NumPy's temporaries cost page faults:
    depending on what ran before, the same NumPy expression took up to 4 times as long.
    """
    np.empty(31 << 20, np.uint8)


class Load:
    """CPUs that other processes have kept busy since this was made; None where the system does not say (not Linux)."""

    def __init__(self) -> None:
        self._begin = self._read()

    def _read(self) -> tuple[float, float] | None:
        try:
            with open("/proc/stat", encoding="ascii") as file:
                user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
            busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, AttributeError):
            return None
        return time.monotonic(), busy - sum(os.times()[:4])

    def others(self) -> float | None:
        end = self._read()
        if self._begin is None or end is None or end[0] == self._begin[0]:
            return None
        return max(0.0, round((end[1] - self._begin[1]) / (end[0] - self._begin[0]), 2))


class Timed(NamedTuple):
    """One case on one number of threads."""

    op: str
    shape: tuple[int, ...]
    axis: int
    threads: int
    ulp: float
    times: dict[str, Timing]


def run_times(step: Callable[[str], None], seconds: float) -> list[Timed]:
    """The active path on TIMED, on one thread and on all of them; some `seconds` in total."""
    counts = list(dict.fromkeys((1, _core.get_threads())))
    warm_allocator()
    each = seconds / (len(counts) * len(TIMED))
    results = []
    with unchanged():
        for threads in counts:
            _core.set_threads(threads)
            for op, shape, axis in TIMED:
                step(f"timing {name_case(op, shape, axis)}, threads: {threads}")
                x = 4 * np.random.default_rng(0).standard_normal(shape, np.float32)
                entries, _ = contenders(op, x, axis, threads)
                got = np.expand_dims(entries[0].result(), axis) if op == "logsumexp" else entries[0].result()
                error = ulp_error(as_rows(got, axis), reference(as_rows(x, axis), [op])[op])
                times = interleave(entries, each, rounds=10, threads=threads)
                results.append(Timed(op, shape, axis, threads, error, times))
    return results


def processor() -> str:
    """The name that the processor gives itself; family and model where there are any."""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"] if sys.platform == "darwin" else ["lscpu"]
    try:
        environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    except (OSError, subprocess.SubprocessError):
        return platform.processor() or platform.machine()
    if sys.platform == "darwin":
        return text.strip()
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in text.splitlines())}
    name = fields.get("Model name") or platform.machine()
    return f"{name}, family {fields['CPU family']} model {fields['Model']}" if "CPU family" in fields else name
