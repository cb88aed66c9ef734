"""The slow, obvious reference of softlane's selection and samples, readable as a specification.

`the_order` ranks the classes of a row; everything else follows from it and from the probabilities of reference.py.
`exact_...` returns unrounded values in longdouble, the function without the prefix rounds them, once. `sample` takes
uniform numbers instead of a generator. Arguments are taken to be valid: what is rejected, and how, is in the tests.
"""

import numpy as np
from reference import _as, _rounded, _rows, _unrows, exact, row_dtype

# ---- the order of the classes --------------------------------------------------------------------------------------


def the_order(x, axis=-1, where=None):
    """The classes of each row from the first to the last, in the shape of x (of one class for a scalar).

    NaN comes first, then visible logits from the largest to the smallest, then what is hidden. The lower index comes
    first among equals, and 0.0 equals -0.0.
    """
    rows, visible = _rows(x, axis), _visible(where, x, axis)
    group = np.where(visible, np.where(np.isnan(rows), 0, 1), 2)
    falling = np.where(group == 1, -rows, 0)
    return _unrows(np.lexsort((falling, group)), axis)  # by group first, then by falling; stable


def rank(x, indices, axis=-1, *, where=None):
    """How many classes come before the given ones."""
    place = np.argsort(the_order(x, axis, where), axis=axis)
    return _at(place, indices, axis)


# ---- values --------------------------------------------------------------------------------------------------------


def argmax(x, axis=-1, *, return_probs=False, where=None, temperature=None):
    index, prob = exact_argmax(x, axis, where, temperature)
    return (index, _rounded(prob, x)) if return_probs else index


def topk(x, k, axis=-1, *, kind="probs", where=None, temperature=None):
    values, indices = exact_topk(x, k, axis, kind, where, temperature)
    return _rounded(values, x), indices


def take_log_probs(x, indices, axis=-1, *, where=None, temperature=None):
    return _rounded(exact_take_log_probs(x, indices, axis, where, temperature), x, row_dtype(np.asarray(x).dtype))


def exact_argmax(x, axis=-1, where=None, temperature=None):
    """The first class in the order and its probability."""
    prob, index = exact_topk(x, 1, axis, "probs", where, temperature)
    return index.squeeze(axis)[()], prob.squeeze(axis)[()]


def exact_topk(x, k, axis=-1, kind="probs", where=None, temperature=None):
    """Values of the first k classes in the order, and which classes these are."""
    indices = the_order(x, axis, where).take(range(k), axis)
    return np.take_along_axis(exact_values(kind, x, axis, where, temperature), indices, axis), indices


def exact_take_log_probs(x, indices, axis=-1, where=None, temperature=None):
    return _at(exact_values("log_probs", x, axis, where, temperature), indices, axis)


def exact_values(kind, x, axis=-1, where=None, temperature=None):
    """Of all classes. A visible NaN makes all visible values of its row NaN; hidden ones are 0 or -inf in any row."""
    if kind == "probs":
        return exact("softmax", x, axis, where, temperature)
    if kind == "log_probs":
        return exact("log_softmax", x, axis, where, temperature)
    rows, visible = _rows(x, axis), _visible(where, x, axis)
    nan = (np.isnan(rows) & visible).any(axis=-1, keepdims=True)
    return _unrows(np.where(visible, np.where(nan, np.nan, rows), -np.inf), axis)


# ---- expectation ---------------------------------------------------------------------------------------------------


def expectation(x, values, axis=-1, *, where=None, temperature=None):
    return _rounded(exact_expectation(x, values, axis, where, temperature), x, row_dtype(np.asarray(x).dtype))


def exact_expectation(x, values, axis=-1, where=None, temperature=None):
    """sum(softmax(x) * values): values for each class, or in a shape that broadcasts to that of x."""
    return mean_of(values, exact("softmax", x, axis, where, temperature), axis)


def mean_of(values, p, axis=-1):
    return (p * _along(values, p, axis)).sum(axis=axis)


# ---- sample --------------------------------------------------------------------------------------------------------


def sample(x, u, *, axis=-1, size=None, replace=True, return_log_probs=False, **options):
    """The class that each row samples with its u, and perhaps the logarithm of its probability among what is kept.

    With a size, u has that length along the axis, and so has the result.
    """
    p = kept(x, axis, **options)
    order = the_order(x, axis, options.get("where"))
    index = sampled_index(p, u, axis, order) if size is None else sampled_indices(p, u, axis, order, replace)
    with np.errstate(divide="ignore"):
        return (index, _rounded(np.log(_at(p, index, axis)), x, row_dtype(x.dtype))) if return_log_probs else index


def kept(x, axis=-1, *, temperature=1.0, top_k=None, top_p=None, min_p=None, where=None):
    """The distribution that is sampled from, in the shape of x: probabilities of what the filters keep, renormalised.

    Options are numbers or have the shape of the batch. Rows without a distribution are NaN, or 0 with nothing visible.
    """
    order = _rows_of(the_order(x, axis, where), axis)
    everything = _rows_of(exact("softmax", x, axis, where, temperature), axis)
    p = np.take_along_axis(everything, order, -1)  # from here on in the order
    top_k, top_p, min_p = (_for_each_row(option, p) for option in (top_k, top_p, min_p))
    with np.errstate(invalid="ignore"):
        if top_k is not None:
            p = _renormalised(np.where(np.arange(p.shape[-1]) < top_k, p, 0))
        if top_p is not None:  # a class stays if those before it do not make up top_p yet
            before = np.zeros_like(p)
            before[..., 1:] = np.cumsum(p, axis=-1)[..., :-1]
            p = _renormalised(np.where((before < top_p) | (top_p == 1), p, 0))
        if min_p is not None:
            p = _renormalised(np.where(p >= min_p * p.max(axis=-1, keepdims=True), p, 0))
        p = _renormalised(p)
    filtered = np.empty_like(p)
    np.put_along_axis(filtered, order, p, -1)
    proper = everything.sum(axis=-1, keepdims=True) > 0
    return _unrows(np.where(proper, filtered, everything), axis)


def sampled_index(p, u, axis, order):
    """The first class, in the order of the index, at which the cumulative sum of p exceeds u.

    Rows without a distribution: the first class in the given order.
    """
    p, order = _rows_of(p, axis), _rows_of(order, axis)
    total = np.cumsum(p, axis=-1)
    with np.errstate(invalid="ignore"):
        index = (total / total[..., -1:] <= np.asarray(u)[..., None]).sum(axis=-1)
    return np.where(total[..., -1] > 0, index, order[..., 0])[()]


def sampled_indices(p, u, axis, order, replace):
    """One draw after the other. Without replacement each takes its class out; rows without a distribution: in order."""
    p, u, order = (_rows_of(a, axis) for a in (p, u, order))
    found = np.empty(u.shape, np.int64)
    for j in range(u.shape[-1]):
        found[..., j] = sampled_index(p, u[..., j], -1, order if replace else order[..., j:])
        if not replace:
            p = np.where(np.arange(p.shape[-1]) == found[..., j, None], p * 0, p)
    return np.moveaxis(found, -1, axis)


def ordered_draws(p):
    """The probability of each sequence of draws without replacement from p, as a dictionary."""
    found = {(): np.longdouble(1)}
    for _ in range(len(p)):
        longer = {}
        for drawn, probability in found.items():
            rest = np.where(np.isin(np.arange(len(p)), drawn), 0, p)
            longer |= {(*drawn, k): probability * rest[k] / rest.sum() for k in np.flatnonzero(rest).tolist()}
        found |= longer
    return found


def _renormalised(p):
    return p / p.sum(axis=-1, keepdims=True)


def _for_each_row(option, p):
    return None if option is None else np.broadcast_to(option, p.shape[:-1])[..., None]


# ---- shared --------------------------------------------------------------------------------------------------------


def _visible(where, x, axis):
    visible = np.ones(np.shape(x), bool) if where is None else np.broadcast_to(where, np.shape(x))
    return _rows_of(np.atleast_1d(visible), axis)


def _rows_of(a, axis):
    return np.moveaxis(a, axis, -1)


def _at(values, indices, axis):
    """As np.take_along_axis, or one class for each row where indices lack the axis."""
    indices = np.asarray(indices)
    if indices.ndim == values.ndim:
        return np.take_along_axis(values, indices, axis)
    return np.take_along_axis(values, np.expand_dims(indices, axis), axis).squeeze(axis)[()]


def _along(values, p, axis):
    values = _as(np.longdouble, values)
    if values.ndim == p.ndim:
        return values
    return np.expand_dims(values, tuple(i for i in range(p.ndim) if i != axis % p.ndim)) if values.ndim else values
