"""Know what choices among classes are measured: calls, the peers' ways to the same, targets. Times nothing.

A row has two measures of its own beside the peers: x.max(), which reads x once, and softlane's logsumexp or softmax.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import softlane
from softlane._check import Contender, numpy_softmax

Array = np.ndarray[Any, Any]

FASTER = 8.0  # topk of up to 50 on rows of a vocabulary: times as fast as the best peer
FASTER_SAMPLE = 10.0  # than argsort, cumsum and choice
VOCABULARY = 100_000


class Choice(NamedTuple):
    """What is wanted at most: times x.max(), times logsumexp (or another function of softlane, `beside`)."""

    op: str
    shape: tuple[int, ...]
    axis: int = -1
    k: int = 0
    of_max: float | None = None
    of_beside: float | None = None
    faster: float = 1.0
    beside: str = "logsumexp"

    @property
    def name(self) -> str:
        axis = self.axis % len(self.shape)
        place = "" if axis == len(self.shape) - 1 else f" axis {axis}"
        return f"{self.op} {f'{self.k} of ' if self.k else ''}{self.shape}{place}"


TOPK = [
    Choice("topk", shape, -1, k, *((2.0, None, FASTER) if k <= 50 and shape[-1] > VOCABULARY else ()))
    for shape in ((1, 128256), (32, 128256), (256, 1000), (8400, 80))
    for k in (1, 5, 50, 1000)
    if k <= shape[-1]
]
CHOICES = [
    *TOPK,
    Choice("argmax", (28,), of_beside=1.3),
    Choice("argmax", (8400, 80), of_beside=1.3),
    Choice("argmax", (256, 1000), of_beside=1.3),
    Choice("argmax", (32, 128256), of_beside=1.3),
    Choice("argmax", (1, 21, 512, 512), 1, of_beside=1.3),
    Choice("take_log_probs", (256, 1000), of_beside=1.05),
    Choice("take_log_probs", (8, 128256), of_beside=1.05),
    Choice("take_log_probs", (1, 21, 512, 512), 1, of_beside=1.05),
    Choice("rank", (8, 128256)),
    Choice("sample", (1, 128256), of_beside=2.5, faster=FASTER_SAMPLE),
    Choice("sample", (32, 128256), of_beside=2.5, faster=FASTER_SAMPLE),
    Choice("expectation", (1, 4, 16, 8400), 2, of_beside=1.0, beside="softmax"),
    Choice("expectation", (33600, 16)),
]
BY_NAME = {choice.name: choice for choice in CHOICES}
NAMES = ("NumPy", "torch", "JAX")

CALLS = {
    "topk": "f(x, k, axis)",
    "argmax": "f(x, axis, return_probs=True)",
    "take_log_probs": "f(x, given, axis)",
    "rank": "f(x, given, axis)",
    "sample": "f(x, top_k=50, top_p=0.95, rng=rng)",
    "expectation": "f(x, values, axis)",
}


# ---- NumPy, as projects write it ------------------------------------------------------------------------------------


def numpy_topk(x: Array, k: int, axis: int) -> tuple[Array, Array]:
    p = numpy_softmax(x, axis)
    found = np.argpartition(p, -k, axis)[..., -k:]
    values = np.take_along_axis(p, found, axis)
    order = np.argsort(-values, axis)
    return np.take_along_axis(values, order, axis), np.take_along_axis(found, order, axis)


def numpy_argmax(x: Array, axis: int) -> tuple[Array, Array]:
    p = numpy_softmax(x, axis)
    return p.argmax(axis), p.max(axis)


def numpy_take_log_probs(x: Array, given: Array, axis: int) -> Array:
    m = x.max(axis, keepdims=True)
    log_p = x - m - np.log(np.exp(x - m).sum(axis, keepdims=True))
    return np.take_along_axis(log_p, np.expand_dims(given, axis), axis).squeeze(axis)


def numpy_rank(x: Array, given: Array, axis: int) -> Array:
    return (x > np.take_along_axis(x, np.expand_dims(given, axis), axis)).sum(axis)


def numpy_sample(x: Array, rng: np.random.Generator) -> Array:
    chosen = np.empty(len(x), np.int64)
    for i, row in enumerate(x):
        order = np.argsort(-row)[:50]
        p = numpy_softmax(row[order].astype(np.float64), -1)
        kept = np.searchsorted(p.cumsum(), 0.95) + 1
        p = p[:kept]
        chosen[i] = rng.choice(order[:kept], p=p / p.sum())
    return chosen


def numpy_expectation(x: Array, values: Array, axis: int) -> Array:
    shape = [1] * x.ndim
    shape[axis] = -1
    return (numpy_softmax(x, axis) * values.reshape(shape)).sum(axis)


# ---- the frameworks -------------------------------------------------------------------------------------------------


def _torch(choice: Choice, x: Array, names: dict[str, Any], threads: int) -> Contender | None:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    axis, k = choice.axis, choice.k
    given = torch.from_numpy(np.expand_dims(names["given"], axis))
    shape = [1] * x.ndim
    shape[axis] = -1
    values = torch.from_numpy(names["values"]).reshape(shape)

    def sample(a: Any) -> Any:
        value, index = torch.topk(a, 50)
        p = torch.softmax(value, -1)
        p = torch.where(p.cumsum(-1) - p < 0.95, p, 0)
        return index.gather(-1, torch.multinomial(p, 1))

    functions: dict[str, Callable[[Any], Any]] = {
        "topk": lambda a: torch.topk(torch.softmax(a, axis), k, axis),
        "argmax": lambda a: torch.max(torch.softmax(a, axis), axis),
        "take_log_probs": lambda a: torch.gather(torch.log_softmax(a, axis), axis, given),
        "rank": lambda a: (a > torch.gather(a, axis, given)).sum(axis),
        "sample": sample,
        "expectation": lambda a: (torch.softmax(a, axis) * values).sum(axis),
    }
    return Contender("torch", "f(x)", {"f": functions[choice.op], "x": torch.from_numpy(x)})


def _jax(choice: Choice, x: Array, names: dict[str, Any], threads: int) -> Contender | None:
    jax = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jnp, axis = jax.numpy, choice.axis
    given = jnp.expand_dims(jnp.asarray(names["given"]), axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    values = jnp.asarray(names["values"]).reshape(shape)

    def argmax(a: Any) -> Any:
        index = a.argmax(axis)
        return index, jnp.exp(a.max(axis) - jax.nn.logsumexp(a, axis))

    def take_log_probs(a: Any) -> Any:
        return jnp.take_along_axis(a, given, axis).squeeze(axis) - jax.nn.logsumexp(a, axis)

    functions: dict[str, Callable[[Any], Any]] = {
        "topk": lambda a: jax.lax.top_k(jax.nn.softmax(a, axis), choice.k),
        "argmax": argmax,
        "take_log_probs": take_log_probs,
        "rank": lambda a: (a > jnp.take_along_axis(a, given, axis)).sum(axis),
        "expectation": lambda a: (jax.nn.softmax(a, axis) * values).sum(axis),
    }
    if choice.op not in functions:
        return None
    names = {"f": jax.jit(functions[choice.op]), "x": jax.device_put(x), "block": jax.block_until_ready}
    return Contender("JAX", "block(f(x))", names)


def contenders(choice: Choice, x: Array, threads: int) -> list[Contender]:
    softlane.set_num_threads(threads)
    rng = np.random.default_rng(3)
    n = x.shape[choice.axis]
    batch = tuple(np.delete(x.shape, choice.axis))
    names = {"x": x, "k": choice.k, "axis": choice.axis, "given": rng.integers(0, n, batch)}
    names |= {
        "values": np.arange(n, dtype=np.float32),
        "rng": rng,
        "lse": softlane.logsumexp,
        "softmax": softlane.softmax,
    }
    call = CALLS[choice.op]
    beside = {"logsumexp": "lse(x, axis)", "softmax": "softmax(x, axis, out=out)"}[choice.beside]
    if choice.beside == "softmax":
        names["out"] = np.empty_like(x)
    found = [
        Contender("softlane", call, {**names, "f": getattr(softlane, choice.op)}),
        Contender("max", "x.max(axis)", names),
        Contender("beside", beside, names),
        Contender(
            "NumPy",
            call.replace(", return_probs=True", "").replace("top_k=50, top_p=0.95, rng=", ""),
            {**names, "f": globals()[f"numpy_{choice.op}"]},
        ),
    ]
    for build in (_torch, _jax):
        try:
            found += [entry for entry in [build(choice, x, names, threads)] if entry]
        except ImportError:
            continue
    return found


# ---- verdicts -------------------------------------------------------------------------------------------------------


def judge(row: dict[str, Any]) -> None:
    """Adds the ratios and the misses to the times of a row; targets are for one thread, but for that over the peers."""
    choice = BY_NAME[row["name"]]
    times = {name: t["minimum"] for name, t in row["times"].items()}
    own = times["softlane"]
    row["of max"], row["of beside"] = own / times["max"], own / times["beside"]
    peers = [times[name] for name in NAMES if name in times]
    row["faster"] = min(peers) / own
    if choice.op == "sample":  # the usual NumPy code is what the target is about
        row["faster"] = times["NumPy"] / own
    row["misses"] = []
    if row["threads"] == 1 and choice.of_max and row["of max"] > choice.of_max:
        row["misses"].append(f"{row['of max']:.2f}x the time of x.max(), wanted {choice.of_max:g}x")
    if row["threads"] == 1 and choice.of_beside and row["of beside"] > choice.of_beside:
        row["misses"].append(f"{row['of beside']:.2f}x the time of {choice.beside}, wanted {choice.of_beside:g}x")
    if row["faster"] < choice.faster:
        row["misses"].append(f"{row['faster']:.2f}x as fast as the best peer, wanted {choice.faster:g}x")


HEADER = ["choice", "threads", "softlane", *NAMES, "best peer", "of x.max()", "of logsumexp", "verdict"]
NOTES = (
    "us for the call. topk with probabilities, argmax with its probability, take_log_probs and rank of one class of "
    "each row, sample with top_k=50 and top_p=0.95. Best peer: how many times faster than it softlane is, for sample "
    "than NumPy. Of x.max(), of logsumexp: softlane's time over theirs on the same array (expectation along an axis: "
    "of its softmax)."
)


def _shown(nanoseconds: float | None) -> str:
    return "-" if nanoseconds is None else f"{nanoseconds / 1000:.3g}"


def cells(row: dict[str, Any]) -> list[str]:
    times = {name: t["minimum"] for name, t in row["times"].items()}
    return [
        row["name"],
        str(row["threads"]),
        *(_shown(times.get(name)) for name in ("softlane", *NAMES)),
        f"{row['faster']:.2f}x" if row["faster"] < 100 else f"{row['faster']:.0f}x",
        f"{row['of max']:.2f}x",
        f"{row['of beside']:.2f}x",
        "MISSED" if row["misses"] else "met",
    ]
