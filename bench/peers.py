"""Know the contenders of a case: softlane, what it is measured against, and the peers, each in its fastest form.

One function for each library gives the call of a case and the names in it, or None if the library lacks the operation.
Every loss is the mean. With a gradient the result is that, or that beside the loss. Measures nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from cases import PEERS, YARDSTICKS, Case, inputs
from measure import Contender

import softlane
from softlane._check import NUMPY, numpy_logsumexp, numpy_softmax

Array = np.ndarray[Any, Any]
Names = dict[str, Any]
Call = tuple[str, Names] | None


# ---- softlane, and what its own time is compared with ----


def _softlane(case: Case, a: Names, threads: int) -> Call:
    softlane.set_num_threads(threads)
    return case.call, {"f": getattr(softlane, case.op)}


def _fresh(case: Case, a: Names, threads: int) -> Call:
    """softlane without an array for the result."""
    call = case.call.replace(", grad_out=out", "").replace(", out=out", "")
    return (call, {"f": getattr(softlane, case.op)}) if call != case.call and case.table == "speed" else None


def _yardstick(name: str, case: Case, a: Names, threads: int) -> Call:
    """The limit: a read of what a loss reads (class indices are few), a copy for what writes as much as it reads."""
    if case.table == "options":
        calls = {"float32": "softmax(plain, axis, out=plain_out)"}
    elif case.op == "expectation":
        calls = {"x.max()": "x.max(axis)", "softmax": "softmax(x, axis, out=out)"}
    elif case.table == "selection":
        calls = {"x.max()": "x.max(axis)", "logsumexp": "logsumexp(x, axis)"}
    elif "out=" in case.call and case.op != "logsumexp":
        calls = {"limit": "copyto(out, x)"}
    else:
        calls = {"limit": "x.max() + t.max()" if case.op.startswith("binary") else "x.max()"}
    names = {"copyto": np.copyto, "softmax": softlane.softmax, "logsumexp": softlane.logsumexp}
    return (calls[name], names) if name in calls else None


# ---- NumPy and SciPy, as projects write it ----


def _take(x: Array, t: Array, axis: int) -> Array:
    return np.take_along_axis(x, np.expand_dims(t, axis), axis)


def _numpy_functions(axis: int, k: int, rng: np.random.Generator) -> dict[str, Callable[..., Any]]:
    def cross_entropy(x: Array, t: Array) -> Any:
        return (numpy_logsumexp(x, axis) - _take(x, t, axis).squeeze(axis)).mean()

    def cross_entropy_with_grad(x: Array, t: Array) -> Any:
        p = numpy_softmax(x, axis)
        true = _take(p, t, axis)
        np.put_along_axis(p, np.expand_dims(t, axis), true - 1, axis)
        p /= t.size
        return -np.log(true).mean(), p

    def sigmoid(x: Array, t: None = None) -> Array:
        return 1 / (1 + np.exp(-x))

    def log_sigmoid(x: Array, t: None) -> Array:
        return -np.logaddexp(0, -x)

    def binary_cross_entropy_with_logits(x: Array, t: Array) -> Any:
        return (np.maximum(x, 0) - x * t + np.log1p(np.exp(-abs(x)))).mean()

    def binary_cross_entropy_with_logits_with_grad(x: Array, t: Array) -> Any:
        return binary_cross_entropy_with_logits(x, t), (sigmoid(x) - t) / x.size

    def topk(x: Array, t: None) -> Any:
        p = numpy_softmax(x, axis)
        found = np.argpartition(p, -k, axis)[..., -k:]
        values = np.take_along_axis(p, found, axis)
        order = np.argsort(-values, axis)
        return np.take_along_axis(values, order, axis), np.take_along_axis(found, order, axis)

    def argmax(x: Array, t: None) -> Any:
        p = numpy_softmax(x, axis)
        return p.argmax(axis), p.max(axis)

    def take_log_probs(x: Array, t: Array) -> Array:
        return _take(NUMPY["log_softmax"](x, axis), t, axis).squeeze(axis)

    def rank(x: Array, t: Array) -> Array:
        return (x > _take(x, t, axis)).sum(axis)

    def sample(x: Array, t: None) -> Array:
        chosen = np.empty(len(x), np.int64)
        for i, row in enumerate(x):
            order = np.argsort(-row)[:50]
            p = numpy_softmax(row[order].astype(np.float64), -1)
            kept = np.searchsorted(p.cumsum(), 0.95) + 1
            chosen[i] = rng.choice(order[:kept], p=p[:kept] / p[:kept].sum())
        return chosen

    def expectation(x: Array, t: Array) -> Array:
        return (numpy_softmax(x, axis) * np.expand_dims(t, tuple(range(1, x.ndim - axis % x.ndim)))).sum(axis)

    return dict(locals())


def _numpy(case: Case, a: Names, threads: int) -> Call:
    if case.op in NUMPY:
        return ("f(x, axis)", {"f": NUMPY[case.op]}) if case.table == "speed" else None
    return "f(x, t)", {"f": _numpy_functions(case.axis, case.k, a["rng"])[case.op]}


def _scipy(case: Case, a: Names, threads: int) -> Call:
    special = importlib.import_module("scipy.special")
    calls = {
        **dict.fromkeys(NUMPY, f"special.{case.op}(x, axis)"),
        "cross_entropy": "-take(special.log_softmax(x, axis), t, axis).mean()",
        "sigmoid": "special.expit(x, out=out)",
        "log_sigmoid": "special.log_expit(x, out=out)",
        "binary_cross_entropy_with_logits": "((1 - t) * x - special.log_expit(x)).mean()",
    }
    usable = case.op in calls and case.table == "speed"
    return (calls[case.op], {"special": special, "take": _take}) if usable else None


# ---- The frameworks ----


def _torch_selection(torch: Any, case: Case, t: Any) -> Callable[[Any], Any]:
    axis, k = case.axis, case.k
    given = t.unsqueeze(axis) if case.op in ("rank", "take_log_probs") else None

    def sample(x: Any) -> Any:
        value, index = torch.topk(x, 50)
        p = torch.softmax(value, -1)
        p = torch.where(p.cumsum(-1) - p < 0.95, p, 0)
        return index.gather(-1, torch.multinomial(p, 1))

    def expectation(x: Any) -> Any:
        return (torch.softmax(x, axis) * t.reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))).sum(axis)

    functions = {
        "topk": lambda x: torch.topk(torch.softmax(x, axis), k, axis),
        "argmax": lambda x: torch.max(torch.softmax(x, axis), axis),
        "take_log_probs": lambda x: torch.gather(torch.log_softmax(x, axis), axis, given).squeeze(axis),
        "rank": lambda x: (x > torch.gather(x, axis, given)).sum(axis),
        "sample": sample,
        "expectation": expectation,
    }
    return functions[case.op]


def _torch(case: Case, a: Names, threads: int) -> Call:
    if case.table == "options" and case.dtype not in ("float16", "bfloat16"):
        return None
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    base = case.op.removesuffix("_with_grad")
    torch.set_grad_enabled(base != case.op)
    if case.dtype == "bfloat16":
        x = torch.from_numpy(a["plain"]).bfloat16()
        out = torch.empty_like(x)
    else:
        x, out = map(torch.from_numpy, (a["x"], a["out"]))
    t = None if a["t"] is None else torch.from_numpy(a["t"])
    names = {"x": x, "t": t, "out": out}
    if base in NUMPY:
        return "f(x, axis, out=out)", {**names, "f": getattr(torch, base)}
    if "sigmoid" in base:
        return "f(x, out=out)", {**names, "f": torch.sigmoid if base == "sigmoid" else torch.nn.functional.logsigmoid}
    if case.table == "selection":
        return "f(x)", {**names, "f": _torch_selection(torch, case, t)}
    loss = getattr(torch.nn.functional, base)
    x.requires_grad_(base != case.op)
    names["x"] = x.movedim(case.axis, 1) if base == "cross_entropy" else x  # a view: torch has the classes there

    def gradient(view: Any, t: Any) -> Any:
        loss(view, t).backward()
        found, x.grad = x.grad, None
        return found

    return "f(x, t)", {**names, "f": loss if base == case.op else gradient}


def _jax_functions(jax: Any, axis: int, k: int) -> dict[str, Callable[..., Any]]:
    jnp, nn = jax.numpy, jax.nn

    def take(x: Any, t: Any) -> Any:
        return jnp.take_along_axis(x, jnp.expand_dims(t, axis), axis)

    def cross_entropy(x: Any, t: Any) -> Any:
        """Optax's formula; XLA takes 1.3 to 2 times as long for log_softmax and take_along_axis."""
        return (nn.logsumexp(x, axis=axis) - take(x, t).squeeze(axis)).mean()

    def binary_cross_entropy_with_logits(x: Any, t: Any) -> Any:
        return (-t * nn.log_sigmoid(x) - (1 - t) * nn.log_sigmoid(-x)).mean()

    def argmax(x: Any) -> Any:
        return x.argmax(axis), jnp.exp(x.max(axis) - nn.logsumexp(x, axis))

    def expectation(x: Any, t: Any) -> Any:
        return (nn.softmax(x, axis) * t.reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))).sum(axis)

    losses = {f.__name__: f for f in (cross_entropy, binary_cross_entropy_with_logits)}
    return {
        "softmax": lambda x: nn.softmax(x, axis=axis),
        "log_softmax": lambda x: nn.log_softmax(x, axis=axis),
        "logsumexp": lambda x: nn.logsumexp(x, axis=axis),
        **losses,
        **{f"{name}_with_grad": jax.value_and_grad(f) for name, f in losses.items()},
        "sigmoid": nn.sigmoid,
        "log_sigmoid": nn.log_sigmoid,
        "topk": lambda x: tuple(jax.lax.top_k(nn.softmax(x, axis), k)),
        "argmax": argmax,
        "take_log_probs": lambda x, t: take(x, t).squeeze(axis) - nn.logsumexp(x, axis),
        "rank": lambda x, t: (x > take(x, t)).sum(axis),
        "expectation": expectation,
    }


def _jax(case: Case, a: Names, threads: int) -> Call:
    if case.table == "options" or case.op == "sample":
        return None
    jax = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", case.table == "speed")  # float32 stays float32
    names = {"f": jax.jit(_jax_functions(jax, case.axis, case.k)[case.op]), "block": jax.block_until_ready}
    names |= {name: jax.device_put(a[name]) for name in ("x", "t") if a[name] is not None}
    call = "f(x)" if a["t"] is None else "f(x, t)"
    several = case.op in ("topk", "argmax") or case.op.endswith("_with_grad")
    return f"block({call})" if several else f"{call}.block_until_ready()", names


def _onnxruntime(case: Case, a: Names, threads: int) -> Call:
    """A model of one node, on buffers that are bound once."""
    nodes: dict[str, tuple[str, Names]] = {
        "softmax": ("Softmax", {"axis": case.axis}),
        "log_softmax": ("LogSoftmax", {"axis": case.axis}),
        "logsumexp": ("ReduceLogSumExp", {"axes": [case.axis], "keepdims": 0}),
        "sigmoid": ("Sigmoid", {}),
    }
    if case.axis % len(case.shape) == 1:  # it has the classes there only
        nodes["cross_entropy"] = ("SoftmaxCrossEntropyLoss", {})
    if case.op not in nodes or case.table != "speed":
        return None
    onnx, ort = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    make, (kind, attributes) = onnx.helper, nodes[case.op]
    out = a["out"] if case.op != "cross_entropy" else np.empty((), a["x"].dtype)
    ends = {name: array for name, array in {"x": a["x"], "t": a["t"], "out": out}.items() if array is not None}
    *values_in, value_out = [
        make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(v.dtype), v.shape) for name, v in ends.items()
    ]
    node = make.make_node(kind, [value.name for value in values_in], ["out"], **attributes)
    graph = make.make_graph([node], kind, values_in, [value_out])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding, shrink = session.io_binding(), ort.RunOptions()
    for name, array in ends.items():
        bind = binding.bind_output if name == "out" else binding.bind_input
        bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    run = session.run_with_iobinding
    return "f(binding)", {"f": run, "binding": binding, "out": out, "release": partial(run, binding, shrink)}


CONTENDERS: dict[str, Callable[[Case, Names, int], Call]] = {
    "softlane": _softlane,
    "fresh": _fresh,
    **{name: partial(_yardstick, name) for name in YARDSTICKS},
    "NumPy": _numpy,
    "SciPy": _scipy,
    "torch": _torch,
    "ONNX Runtime": _onnxruntime,
    "JAX": _jax,
}


def contenders(
    case: Case, threads: int, only: Iterable[str] = CONTENDERS, replaced: Names | None = None
) -> tuple[list[Contender], dict[str, str]]:
    """Whoever can do this on this machine, each run once, and why the others cannot. They share x and out."""
    arrays = inputs(case) | (replaced or {})
    present, absent = [], {}
    for name in only:
        try:
            if call := CONTENDERS[name](case, arrays, threads):
                present.append(Contender(name, call[0], arrays | call[1]))
                present[-1].result()
        except Exception as error:
            if name not in PEERS:
                raise
            absent[name] = f"{type(error).__name__}: {error}"
            present = [entry for entry in present if entry.name != name]
    return present, absent


def versions() -> dict[str, str]:
    found = {}
    for package in ("softlane", "numpy", "scipy", "torch", "onnxruntime", "jax"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
