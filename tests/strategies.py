"""Arrays that hypothesis makes up, and how many of them."""

import hypothesis.extra.numpy as hnp
import numpy as np
import reference
from cases import STORED
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Always the same examples, so that a failure belongs to a change; searching is for test_stress.py.
fixed = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def finite(dtype, limit=None):
    width = 16 if dtype.itemsize == 2 else 8 * dtype.itemsize
    if dtype == reference.BFLOAT16:
        return st.floats(-3e4, 3e4, width=32)
    limit = float(limit or {16: 60000, 32: 2.0**100, 64: 2.0**900}[width])
    return st.floats(-limit, limit, width=width)


@st.composite
def arrays(draw, dtypes=STORED, special=False, limit=None):
    """An array of one of dtypes in some layout, and an axis of it."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=19))
    elements = finite(dtype, limit)
    if special:
        elements |= st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0])
    size = int(np.prod(shape))
    values = draw(st.lists(elements, min_size=1, max_size=min(size, 60)))
    # A few values over many places: rows differ in order and multiplicity, and examples shrink well.
    places = np.random.default_rng(draw(st.integers(0, 999))).integers(len(values), size=size)
    x = np.array(values)[places].reshape(shape).astype(dtype)
    layout = draw(st.sampled_from(["C", "F", "strided", "negative", "swapped axes"]))
    if layout == "F":
        x = np.asfortranarray(x)
    elif layout == "strided":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif layout == "negative":
        x = np.ascontiguousarray(x[::-1])[::-1]
    elif layout == "swapped axes":
        x = np.ascontiguousarray(np.swapaxes(x, 0, -1)).swapaxes(0, -1)
    return x, draw(st.integers(-x.ndim, x.ndim - 1))
