"""Know the contenders of a case: softlane, what its time is compared with, and the peers, each in its fastest form.

One table for each library has its call for every operation, one function the names in it. Every loss is the mean; with
a gradient the result is that, or that beside the loss. Measures nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from cases import C_BASELINE, OTHERS, PEERS, Case, inputs
from measure import Contender

import softlane
from softlane import _core
from softlane._check import NUMPY as PLAIN

Array = np.ndarray[Any, Any]
Names = dict[str, Any]

# Names in all calls: x, axis, k, out; t, the targets; given, the targets as they broadcast against x.

BASELINES = {
    "limit": "copyto(out, x)",
    "x.max()": "x.max(axis)",
    "logsumexp": "logsumexp(x, axis)",
    "softmax": "softmax(x, axis, out=out)",
    "float32": "softmax(plain, axis, out=plain_out)",
}
BASELINE_FLAGS = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx512dq"]}  # of baseline.c
NUMPY = {
    **{op: f"{op}(x, axis)" for op in PLAIN},
    "cross_entropy": "(logsumexp(x, axis) - take(x, given, axis).squeeze(axis)).mean()",
    "cross_entropy_with_grad": "cross_entropy_with_grad(x, given, axis)",
    "sigmoid": "1 / (1 + np.exp(-x))",
    "log_sigmoid": "-np.logaddexp(0, -x)",
    "binary_cross_entropy_with_logits": "bce(x, t)",
    "binary_cross_entropy_with_logits_with_grad": "(bce(x, t), (1 / (1 + np.exp(-x)) - t) / x.size)",
    "topk": "topk(x, k, axis)",
    "argmax": "argmax(x, axis)",
    "take_log_probs": "take(log_softmax(x, axis), given, axis).squeeze(axis)",
    "rank": "(x > take(x, given, axis)).sum(axis)",
    "sample": "sample(x, rng)",
    "expectation": "(softmax(x, axis) * given).sum(axis)",
}
SCIPY = {
    **{op: f"{op}(x, axis)" for op in PLAIN},
    "cross_entropy": "-take(log_softmax(x, axis), given, axis).mean()",
    "sigmoid": "expit(x, out=out)",
    "log_sigmoid": "log_expit(x, out=out)",
    "binary_cross_entropy_with_logits": "((1 - t) * x - log_expit(x)).mean()",
}
TORCH = {
    **{op: f"{op}(x, axis, out=out)" for op in PLAIN},
    "cross_entropy": "cross_entropy(view, t)",
    "cross_entropy_with_grad": "gradient(cross_entropy(view, t))",
    "sigmoid": "sigmoid(x, out=out)",
    "log_sigmoid": "logsigmoid(x, out=out)",
    "binary_cross_entropy_with_logits": "binary_cross_entropy_with_logits(x, t)",
    "binary_cross_entropy_with_logits_with_grad": "gradient(binary_cross_entropy_with_logits(x, t))",
    "topk": "topk(softmax(x, axis), k, axis)",
    "argmax": "max(softmax(x, axis), axis)",
    "take_log_probs": "gather(log_softmax(x, axis), axis, given).squeeze(axis)",
    "rank": "(x > gather(x, axis, given)).sum(axis)",
    "sample": "sample(x)",
    "expectation": "(softmax(x, axis) * given).sum(axis)",
}
JAX = {  # cross_entropy in optax's formula: XLA takes 1.3 to 2 times as long for log_softmax and take_along_axis
    **{op: f"{op}(x, axis=axis)" for op in PLAIN},
    "cross_entropy": "(logsumexp(x, axis=axis) - take(x, given, axis).squeeze(axis)).mean()",
    "sigmoid": "sigmoid(x)",
    "log_sigmoid": "log_sigmoid(x)",
    "binary_cross_entropy_with_logits": "(-given * log_sigmoid(x) - (1 - given) * log_sigmoid(-x)).mean()",
    "topk": "tuple(top_k(softmax(x, axis), k))",
    "argmax": "(x.argmax(axis), exp(x.max(axis) - logsumexp(x, axis)))",
    "take_log_probs": "take(x, given, axis).squeeze(axis) - logsumexp(x, axis)",
    "rank": "(x > take(x, given, axis)).sum(axis)",
    "expectation": "(softmax(x, axis) * given).sum(axis)",
}
ONNX: dict[str, Callable[[int], tuple[str, Names]]] = {
    "softmax": lambda axis: ("Softmax", {"axis": axis}),
    "log_softmax": lambda axis: ("LogSoftmax", {"axis": axis}),
    "logsumexp": lambda axis: ("ReduceLogSumExp", {"axes": [axis], "keepdims": 0}),
    "sigmoid": lambda axis: ("Sigmoid", {}),
    "cross_entropy": lambda axis: ("SoftmaxCrossEntropyLoss", {}),  # the classes are at axis 1
}


# ---- NumPy, where it takes more than an expression ----


def cross_entropy_with_grad(x: Array, given: Array, axis: int) -> Any:
    p = PLAIN["softmax"](x, axis)
    true = np.take_along_axis(p, given, axis)
    np.put_along_axis(p, given, true - 1, axis)
    p /= given.size
    return -np.log(true).mean(), p


def bce(x: Array, t: Array) -> Any:
    return (np.maximum(x, 0) - x * t + np.log1p(np.exp(-abs(x)))).mean()


def topk(x: Array, k: int, axis: int) -> Any:
    p = PLAIN["softmax"](x, axis)
    found = np.argpartition(p, -k, axis)[..., -k:]
    values = np.take_along_axis(p, found, axis)
    order = np.argsort(-values, axis)
    return np.take_along_axis(values, order, axis), np.take_along_axis(found, order, axis)


def argmax(x: Array, axis: int) -> Any:
    p = PLAIN["softmax"](x, axis)
    return p.argmax(axis), p.max(axis)


def sample(x: Array, rng: np.random.Generator) -> Array:
    chosen = np.empty(len(x), np.int64)
    for i, row in enumerate(x):
        order = np.argsort(-row)[:50]
        p = PLAIN["softmax"](row[order].astype(np.float64), -1)
        kept = np.searchsorted(p.cumsum(), 0.95) + 1
        chosen[i] = rng.choice(order[:kept], p=p[:kept] / p[:kept].sum())
    return chosen


# ---- Who takes part: a call and the names in it, or None ----


def _softlane(case: Case, a: Names, threads: int) -> Any:
    softlane.set_num_threads(threads)
    return case.call, {"f": getattr(softlane, case.op)}


def _fresh(case: Case, a: Names, threads: int) -> Any:
    """softlane without an array for the result."""
    call = case.call.replace(", grad_out=out", "").replace(", out=out", "")
    return (call, {"f": getattr(softlane, case.op)}) if call != case.call else None


def _baseline(name: str, case: Case, a: Names, threads: int) -> Any:
    """The limit is a copy for what writes as much as it reads, else a read (class indices are few)."""
    call = BASELINES[name]
    if name == "limit" and ("out=" not in case.call or case.op == "logsumexp"):
        call = "x.max() + t.max()" if case.op.startswith("binary") else "x.max()"
    names = {"copyto": np.copyto, "softmax": softlane.softmax, "logsumexp": softlane.logsumexp}
    return None if name == "softmax" and case.of != name else (call, names)


@cache
def _compiled_baseline(isa: str) -> Any:
    """softmax_rows of baseline.c for this instruction set, by the system's C compiler ($CC, or else cc)."""
    with tempfile.TemporaryDirectory() as folder:
        library, compiler = Path(folder, "baseline.so"), os.environ.get("CC", "cc").split()
        command = [*compiler, "-std=c11", "-O3", *BASELINE_FLAGS[isa], "-shared", "-fPIC", "-o", library]
        subprocess.run([*command, Path(__file__).with_name("baseline.c")], check=True)
        function = ctypes.CDLL(str(library)).softmax_rows
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t]
    function.restype = None
    return function


def _c_baseline(case: Case, a: Names, threads: int) -> Any:
    """float32, the last axis; one thread, and softlane's instruction set."""
    n, isa = case.shape[-1], _core.active_isa()
    if (case.op, case.dtype, case.option) != ("softmax", "float32", "") or isa not in BASELINE_FLAGS:
        return None
    if case.axis % len(case.shape) != len(case.shape) - 1:
        return None
    own = {"f": _compiled_baseline(isa), "px": a["x"].ctypes.data, "py": a["out"].ctypes.data}
    return "f(px, py, rows, n)", own | {"rows": case.elements // n, "n": n}


def _numpy(case: Case, a: Names, threads: int) -> Any:
    own = {f.__name__: f for f in (cross_entropy_with_grad, bce, topk, argmax, sample)}
    return NUMPY[case.op], {**PLAIN, **own, "np": np, "take": np.take_along_axis}


def _scipy(case: Case, a: Names, threads: int) -> Any:
    special = importlib.import_module("scipy.special")
    return case.op in SCIPY and (SCIPY[case.op], {**vars(special), "take": np.take_along_axis})


def _torch(case: Case, a: Names, threads: int) -> Any:
    if case.option or case.dtype == "uint8":
        return None
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    torch.set_grad_enabled(case.op.endswith("_with_grad"))
    tensors = {k: torch.from_numpy(v) for k, v in a.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fi"}
    if case.dtype == "bfloat16":
        tensors["x"], tensors["out"] = tensors["plain"].bfloat16(), tensors["plain"].bfloat16()
    x = tensors["x"].requires_grad_(case.op.endswith("_with_grad"))
    view = x.movedim(case.axis, 1) if case.op.startswith("cross") else None  # torch has the classes there

    def gradient(loss: Any) -> Any:
        loss.backward()
        found, x.grad = x.grad, None
        return found

    def sample(x: Any) -> Any:
        value, index = torch.topk(x, 50)
        p = torch.softmax(value, -1)
        p = torch.where(p.cumsum(-1) - p < 0.95, p, 0)
        return index.gather(-1, torch.multinomial(p, 1))

    losses = ("cross_entropy", "binary_cross_entropy_with_logits", "logsigmoid")
    own = {name: getattr(torch.nn.functional, name) for name in losses}
    own |= {"view": view, "gradient": gradient, "sample": sample}
    return TORCH[case.op], {**vars(torch), **tensors, **own}


def _jax(case: Case, a: Names, threads: int) -> Any:
    base = case.op.removesuffix("_with_grad")
    if base not in JAX:
        return None
    jax = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", case.table == "speed")  # float32 stays float32
    names = {**vars(jax.lax), **vars(jax.nn), "take": jax.numpy.take_along_axis}
    arguments = "x" if a["given"] is None else "x, given"
    function = eval(f"lambda {arguments}: {JAX[base]}", names | {"axis": case.axis, "k": case.k})
    function = jax.jit(function if base == case.op else jax.value_and_grad(function))
    own = {"f": function, "block": jax.block_until_ready, "x": jax.device_put(a["x"])}
    own |= {"given": jax.device_put(a["given"])} if a["given"] is not None else {}
    several = case.op in ("topk", "argmax") or base != case.op
    return f"block(f({arguments}))" if several else f"f({arguments}).block_until_ready()", own


def _onnxruntime(case: Case, a: Names, threads: int) -> Any:
    """A model of one node, on buffers that are bound once."""
    if case.op not in ONNX or (case.op == "cross_entropy" and case.axis % len(case.shape) != 1):
        return None
    onnx, ort = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    make, (kind, attributes) = onnx.helper, ONNX[case.op](case.axis)
    ends = {"x": a["x"], "t": a["t"], "out": np.empty((), a["x"].dtype) if case.op == "cross_entropy" else a["out"]}
    ends = {name: v for name, v in ends.items() if v is not None}
    infos = [make.make_tensor_value_info(n, make.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in ends.items()]
    node = make.make_node(kind, list(ends)[:-1], ["out"], **attributes)
    graph = make.make_graph([node], kind, infos[:-1], infos[-1:])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding, shrink = session.io_binding(), ort.RunOptions()
    for name, v in ends.items():
        bind = binding.bind_output if name == "out" else binding.bind_input
        bind(name, "cpu", 0, v.dtype, v.shape, v.ctypes.data)
    shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    own = {"f": session.run_with_iobinding, "binding": binding, "out": ends["out"]}
    return "f(binding)", own | {"release": partial(session.run_with_iobinding, binding, shrink)}


BUILDERS: dict[str, Callable[[Case, Names, int], Any]] = {
    "softlane": _softlane,
    "fresh": _fresh,
    **{name: partial(_baseline, name) for name in BASELINES},
    C_BASELINE: _c_baseline,
    **dict(zip(PEERS, (_numpy, _scipy, _torch, _onnxruntime, _jax), strict=True)),
}
CONTENDERS = {
    "speed": ("softlane", "fresh", "limit", C_BASELINE, *PEERS),
    "selection": ("softlane", "x.max()", "logsumexp", "softmax", "NumPy", "torch", "JAX"),
    "options": ("softlane", "float32", "torch"),
}


def contenders(case: Case, threads: int, only: Iterable[str] = (), x: Array | None = None) -> Any:
    """Whoever can do this on this machine, each run once, and why the others cannot. They share x and out."""
    arrays = inputs(case) | ({} if x is None else {"x": x})
    present, absent = [], {}
    for name in only or CONTENDERS[case.table]:
        try:
            if found := BUILDERS[name](case, arrays, threads):
                contender = Contender(name, found[0], arrays | found[1])
                contender.result()
                present.append(contender)
        except Exception as error:
            if name not in OTHERS:
                raise
            absent[name] = f"{type(error).__name__}: {error}"
    return present, absent
