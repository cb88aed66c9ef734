"""Know the contenders: those of softlane's own check, a fresh output, JAX. And their versions, and how to hold them.

Those of the losses are in losses.py.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

import losses

import softlane
from softlane._check import BUILDERS, Builder, Contender

NAMES = ("NumPy", "SciPy", "torch", "ONNX Runtime", "JAX")
CANNOT_BE_HELD = ("ONNX Runtime",)  # it has no setting for the instruction set


def _fresh(op: str, x: Any, axis: int, out: Any, threads: int) -> Contender:
    return Contender("fresh", "f(x, axis)", {"f": getattr(softlane, op), "x": x, "axis": axis})


def _jax(op: str, x: Any, axis: int, out: Any, threads: int) -> Contender:
    jax = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)  # float32 stays float32
    functions = {"softmax": jax.nn.softmax, "log_softmax": jax.nn.log_softmax, "logsumexp": jax.nn.logsumexp}
    function = functions[op]
    names = {"f": jax.jit(lambda a: function(a, axis=axis)), "x": jax.device_put(x)}
    return Contender("JAX", "f(x).block_until_ready()", names)


ALL = {"softlane": BUILDERS["softlane"], "fresh": _fresh, **BUILDERS, "JAX": _jax}


def builders(op: str, shape: tuple[int, ...], axis: int) -> dict[str, Builder]:
    return losses.builders(op, shape, axis) if op in losses.CALLS else ALL


def versions() -> dict[str, str]:
    found = {}
    for package in ("softlane", "numpy", "scipy", "torch", "onnxruntime", "jax"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def environment(threads: int, isa: str | None) -> dict[str, str]:
    """Variables that hold softlane and the peers to a number of threads and, for AVX2, an instruction set."""
    count = str(threads)
    held = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
    xla = ["--xla_cpu_multi_thread_eigen=false"] if threads == 1 else []
    if isa:
        held["SOFTLANE_ISA"] = isa
    if isa == "avx2":
        from numpy._core._multiarray_umath import __cpu_dispatch__ as paths

        held["ATEN_CPU_CAPABILITY"] = "avx2"
        held["NPY_DISABLE_CPU_FEATURES"] = " ".join(p for p in paths if p.startswith(("AVX512", "X86_V4")))
        xla.append("--xla_cpu_max_isa=AVX2")
    held["XLA_FLAGS"] = " ".join(xla)
    return held
