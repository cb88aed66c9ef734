"""Arrays of every dtype and layout."""

import numpy as np
import reference
from cases import STORED, random

SMALL_INTEGERS = [np.dtype(t) for t in (np.bool_, np.int8, np.uint8, np.int16, np.uint16)]
WIDE_INTEGERS = [np.dtype(t) for t in (np.int32, np.uint32, np.int64, np.uint64)]
# Every float, and an integer that is computed in float32 and one in float64
DTYPES = [*STORED, np.dtype(np.int8), np.dtype(np.int64)]


def logits(shape, dtype, seed=0):
    """Numbers of any dtype; integers within what it holds and softmax tells apart."""
    x = random(shape, np.float64, seed)
    if dtype.kind in "ub":
        x = abs(x)
    return x.astype(dtype)


def special(shape, dtype, seed):
    """Ties, NaN, infinities and zeros of both signs, about one of each in every second row."""
    rng = np.random.default_rng(seed)
    x = np.round(random(shape, np.float32, seed))
    n = max(shape)
    for value in (np.nan, np.inf, -np.inf, -0.0, 0.0):
        x[rng.random(shape) < 0.5 / n] = value
    return x.astype(dtype)


def layouts(x):
    """Other arrays with the values of x."""
    yield "Fortran", np.asfortranarray(x)
    yield "strided", np.repeat(x, 2, axis=-1)[..., ::2]
    yield "strided batch", np.repeat(x, 3, axis=0)[::3]
    yield "negative", np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    yield "negative batch", np.ascontiguousarray(x[::-1])[::-1]
    yield "swapped", np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1)
    memory = np.empty(x.nbytes + 1, np.uint8)
    misaligned = memory[1:].view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    yield "misaligned", misaligned
    if x.dtype != reference.BFLOAT16:
        yield "byte-swapped", x.astype(x.dtype.newbyteorder())
        yield "byte-swapped and strided", np.repeat(x.astype(x.dtype.newbyteorder()), 2, axis=-1)[..., ::2]
    read_only = x.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    record = np.zeros(x.shape, [("pad", "u1"), ("value", x.dtype)])
    record["value"] = x
    yield "field of records", record["value"]


def positions(n):
    return sorted({0, 1 % n, n // 2, n - 2 if n > 1 else 0, n - 1})


def masks_and_temperatures(shape, axis, seed=0):
    """Masks and temperatures: none, one for all, one for each."""
    rng = np.random.default_rng(seed)
    batch = tuple(n for i, n in enumerate(shape) if i != axis % len(shape))
    classes = tuple(n if i == axis % len(shape) else 1 for i, n in enumerate(shape))
    masks = [None, rng.random(shape) < 0.7, rng.random(classes) < 0.5]
    temperatures = [None, 0.7, np.float32(3.1), rng.uniform(0.05, 4, batch)]
    return [(m, t) for m in masks for t in temperatures if m is not None or t is not None]
