"""Know the contenders of the losses and sigmoids: softlane, what its users write today, and the limit. Times nothing.

Class indices are int64, binary targets float32; every loss is the mean. With a gradient the value of an expression is
the gradient alone: who has that right has the loss right.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import softlane
from softlane._check import Array, Builder, Contender, numpy_logsumexp, numpy_softmax, onnx_node

# How softlane is called.
CALLS = {
    "cross_entropy": "f(x, t, axis=axis)",
    "cross_entropy_with_grad": "f(x, t, axis=axis, grad_out=out)[1]",
    "sigmoid": "f(x, out=out)",
    "log_sigmoid": "f(x, out=out)",
    "binary_cross_entropy_with_logits": "f(x, t)",
    "binary_cross_entropy_with_logits_with_grad": "f(x, t, grad_out=out)[1]",
}


# The name in a contender under which it empties its own pool of memory, if it has one.
RELEASE = "release"


def make_target(op: str, shape: tuple[int, ...], axis: int) -> Array | None:
    rng = np.random.default_rng(1)
    if op.startswith("cross"):
        return rng.integers(0, shape[axis], tuple(np.delete(shape, axis)))
    return rng.integers(0, 2, shape).astype(np.float32) if op.startswith("binary") else None


def _softlane(t: Any, op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    return Contender("softlane", CALLS[op], {"f": getattr(softlane, op), "x": x, "t": t, "axis": axis, "out": out})


def _fresh(t: Any, op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    call = CALLS[op].replace(", grad_out=out", "").replace(", out=out", "")
    return Contender("fresh", call, {"f": getattr(softlane, op), "x": x, "t": t, "axis": axis})


def _limit(t: Any, op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    """A read of what a loss reads (the class indices are few), a copy for what writes as much as it reads."""
    if "out" in CALLS[op]:
        return Contender("limit", "copyto(out, x)", {"copyto": np.copyto, "x": x, "out": out})
    return Contender("limit", "x.max()" if t.size < x.size else "x.max() + t.max()", {"x": x, "t": t})


# ---- Written out for NumPy and SciPy ----


def _pick(x: Array, t: Array, axis: int) -> Array:
    return np.take_along_axis(x, np.expand_dims(t, axis), axis)


def numpy_cross_entropy(x: Array, t: Array, axis: int) -> Any:
    return (numpy_logsumexp(x, axis) - _pick(x, t, axis).squeeze(axis)).mean()


def numpy_cross_entropy_with_grad(x: Array, t: Array, axis: int) -> tuple[Any, Array]:
    p = numpy_softmax(x, axis)
    true = _pick(p, t, axis)
    np.put_along_axis(p, np.expand_dims(t, axis), true - 1, axis)
    p /= t.size
    return -np.log(true).mean(), p


def numpy_sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def numpy_log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0, -x)


def numpy_binary_cross_entropy_with_logits(x: Array, t: Array) -> Any:
    return (np.maximum(x, 0) - x * t + np.log1p(np.exp(-abs(x)))).mean()


def numpy_binary_cross_entropy_with_logits_with_grad(x: Array, t: Array) -> tuple[Any, Array]:
    return numpy_binary_cross_entropy_with_logits(x, t), (numpy_sigmoid(x) - t) / x.size


def _numpy(t: Any, op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    call = CALLS[op].replace("axis=axis", "axis").replace(", grad_out=out", "").replace(", out=out", "")
    return Contender("NumPy", call, {"f": globals()[f"numpy_{op}"], "x": x, "t": t, "axis": axis})


def _scipy(t: Any, op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    special = importlib.import_module("scipy.special")
    calls = {
        "cross_entropy": "-pick(special.log_softmax(x, axis), t, axis).mean()",
        "sigmoid": "special.expit(x, out=out)",
        "log_sigmoid": "special.log_expit(x, out=out)",
        "binary_cross_entropy_with_logits": "((1 - t) * x - special.log_expit(x)).mean()",
    }
    names = {"special": special, "pick": _pick, "x": x, "t": t, "axis": axis, "out": out}
    return Contender("SciPy", calls[op], names)


# ---- The frameworks ----


def _torch(t: Any, op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    torch = importlib.import_module("torch")
    functional = torch.nn.functional
    torch.set_num_threads(threads)
    base = op.removesuffix("_with_grad")
    torch.set_grad_enabled(base != op)
    a = torch.from_numpy(x)
    names = {"x": a, "t": None if t is None else torch.from_numpy(t), "out": torch.from_numpy(out)}
    if t is None:
        f = {"sigmoid": torch.sigmoid, "log_sigmoid": functional.logsigmoid}[op]
        return Contender("torch", "f(x, out=out)", {**names, "f": f})
    if base == "cross_entropy":
        names["x"] = a.movedim(axis, 1)  # a view: torch has the classes there
    loss = getattr(functional, base)
    if base == op:
        return Contender("torch", "f(x, t)", {**names, "f": loss})
    a.requires_grad_()
    names["x"] = a.movedim(axis, 1) if base == "cross_entropy" else a

    def gradient(x: Any, t: Any) -> Any:
        loss(x, t).backward()
        found, a.grad = a.grad, None
        return found

    return Contender("torch", "f(x, t)", {**names, "f": gradient})


def _jax_functions(jax: Any, axis: int) -> dict[str, Callable[..., Any]]:
    jnp = jax.numpy

    def cross_entropy(x: Any, t: Any) -> Any:
        """Optax's formula; XLA takes 1.3 to 2 times as long for log_softmax and take_along_axis."""
        picked = jnp.take_along_axis(x, jnp.expand_dims(t, axis), axis).squeeze(axis)
        return (jax.nn.logsumexp(x, axis=axis) - picked).mean()

    def binary_cross_entropy_with_logits(x: Any, t: Any) -> Any:
        return (-t * jax.nn.log_sigmoid(x) - (1 - t) * jax.nn.log_sigmoid(-x)).mean()

    losses = {f.__name__: f for f in (cross_entropy, binary_cross_entropy_with_logits)}
    gradients = {f"{name}_with_grad": jax.value_and_grad(f) for name, f in losses.items()}
    return {"sigmoid": jax.nn.sigmoid, "log_sigmoid": jax.nn.log_sigmoid, **losses, **gradients}


def _jax(t: Any, op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    jax = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)  # float32 stays float32
    names = {"f": jax.jit(_jax_functions(jax, axis)[op]), "x": jax.device_put(x), "block": jax.block_until_ready}
    if t is None:
        return Contender("JAX", "block(f(x))", names)
    call = "block(f(x, t))[1]" if op.endswith("_with_grad") else "block(f(x, t))"
    return Contender("JAX", call, {**names, "t": jax.device_put(t)})


def _onnxruntime(t: Any, op: str, x: Array, axis: int, out: Array, threads: int) -> Contender:
    kind = {"cross_entropy": "SoftmaxCrossEntropyLoss", "sigmoid": "Sigmoid"}[op]
    if t is not None:
        if axis % x.ndim != 1:
            raise ValueError(f"{kind} has the classes at axis 1 only")
        out = np.empty((), x.dtype)
    inputs = {name: a for name, a in (("x", x), ("t", t)) if a is not None}
    names = onnx_node(kind, inputs, out, threads)
    shrink = importlib.import_module("onnxruntime").RunOptions()
    shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    names[RELEASE] = partial(names["f"], names["binding"], shrink)
    return Contender("ONNX Runtime", "f(binding)", names)


LACKING = {
    "fresh": {op for op, call in CALLS.items() if "out" not in call},  # no array to allocate
    "SciPy": {op for op in CALLS if op.endswith("_with_grad")},
    "ONNX Runtime": set(CALLS) - {"cross_entropy", "sigmoid"},
}
ALL = {
    "softlane": _softlane,
    "fresh": _fresh,
    "limit": _limit,
    "NumPy": _numpy,
    "SciPy": _scipy,
    "torch": _torch,
    "ONNX Runtime": _onnxruntime,
    "JAX": _jax,
}


def builders(op: str, shape: tuple[int, ...], axis: int) -> dict[str, Builder]:
    """Those that have the operation, with a target of their own kind already in hand."""
    t = make_target(op, shape, axis)
    return {name: partial(build, t) for name, build in ALL.items() if op not in LACKING.get(name, ())}
