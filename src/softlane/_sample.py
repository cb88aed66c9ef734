"""sample: classes drawn at random."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from softlane import _core
from softlane._chunks import Axes, apply_to_rows
from softlane._rows import Call, at_the_end, check
from softlane._validate import (
    Array,
    check_class_count,
    check_enough,
    check_size,
    generators,
    given_uniform,
    index_type,
    per_row,
    protected,
    row_parameter,
    without_zeros,
)

_fresh: list[np.random.Generator] = []  # the one for calls without rng, once it is needed


def _generator() -> np.random.Generator:
    if not _fresh:
        _fresh.append(np.random.default_rng())
    return _fresh[0]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh.clear)  # the child draws other numbers


def sample(
    x: ArrayLike,
    *,
    axis: int = -1,
    size: int | None = None,
    replace: bool = True,
    temperature: ArrayLike | None = 1.0,
    top_k: ArrayLike | None = None,
    top_p: ArrayLike | None = None,
    min_p: ArrayLike | None = None,
    rng: Any = None,
    uniform: ArrayLike | None = None,
    where: ArrayLike | None = None,
    return_log_probs: bool = False,
    dtype: DTypeLike | None = None,
    index_dtype: DTypeLike | None = None,
) -> Any:
    """Classes drawn at random from the softmax of each row, after filters such as top-k and top-p.

    Parameters
    ----------
    x : array_like
        Logits of any shape and layout; dtypes as in `softmax`.
    axis : int, default -1
        The class axis.
    size : int, optional
        Number of draws from each row, which becomes the length of `axis` in the results. By default one draw, and no
        axis.
    replace : bool, default True
        If False, the draws from a row are all different: each draw removes its class, and the next one is from the
        rest, renormalised.
    temperature : float or array_like, default 1.0
        Number that divides `x`, or an array of one for each row, as the filters below. 0 takes the class that `argmax`
        takes.
    top_k : int or array_like of int, optional
        Keep the k most likely classes; exactly k, also where logits are equal. 0 or None switches it off.
    top_p : float or array_like, optional
        Then keep the smallest set of most likely classes whose probability, among what `top_k` has left, is at least
        `top_p`, above 0 and at most 1. The class that reaches it is kept. 1 or None switches it off.
    min_p : float or array_like, optional
        Then drop classes that are less likely than `min_p`, from 0 to 1, times the most likely one. 0 or None switches
        it off.
    rng : numpy.random.Generator, seed, or list of them, optional
        A generator, of which ``rng.random(batch shape)`` is drawn, one number for each row (with `size`,
        ``rng.random((*batch shape, size))``), or an integer, array or `numpy.random.SeedSequence` as seed of a new one.
        A list or tuple holds one generator or seed for each row. By default one generator for the process, seeded by
        the operating system.
    uniform : array_like, optional
        Instead of `rng`, the uniform numbers themselves, in ``[0, 1)``: one for each row. With `size` they broadcast to
        the shape of the result.
    where : array_like of bool, optional
        True for the classes to include; broadcasts to the shape of `x`.
    return_log_probs : bool, default False
        Return the log-probability of the class, too.
    dtype : data-type, optional
        The dtype of the log-probabilities: float16, bfloat16, float32 or float64. By default float32, or float64 where
        `x` is computed in that.
    index_dtype : data-type, optional
        The dtype of the index: any integer dtype that holds ``C - 1`` for C classes. int64 by default.

    Returns
    -------
    index : ndarray of int64, or of `index_dtype`
        The shape of `x` without `axis`, a NumPy scalar where no dimension is left; or with length `size` along `axis`.
    log_prob : ndarray
        Only with `return_log_probs`: the same shape, of `dtype`. It belongs to the distribution that was drawn from,
        after temperature and filters, and without `replace` before anything is taken out; `take_log_probs` has that of
        the model.

    Raises
    ------
    TypeError, ValueError
        As `softmax`, and ValueError if a parameter is out of range, `rng` and `uniform` are both given, the axis has
        length 0, `index_dtype` does not hold its last class, or without `replace` the filters, `where` and -inf leave
        fewer classes of a row than `size`.

    Notes
    -----
    The class is the first, by index, at which the cumulative probability exceeds the row's uniform number: what
    ``rng.choice(C, p=...)`` gives with the filtered probabilities. It depends on the row, its parameters and its number
    alone, not on other rows, threads or the instruction set. Only candidates are sorted.

    With `size`, what the filters leave of a row is found once for all its draws. Without `replace`, the draws have the
    distribution of Plackett and Luce, like the order of ``log_prob + Gumbel noise``: the weights of the rest are summed
    anew for each, so that it is exact also where one class has nearly all. The first draw is that of one alone. Time
    grows with `size` times the number of classes: to draw nearly all of many classes, sort ``log_prob + Gumbel noise``.

    A row with NaN or +inf, or with nothing above -inf, has no distribution: the class is that of `argmax`, the
    log-probability NaN (-inf where `where` leaves no class). Without `replace` the classes are those of `topk`.

    `where` renormalises: log-probabilities are those among the classes that it leaves.

    A packed mask, with 32 classes to an int32 as in guided decoding, becomes one for `where` by
    ``np.unpackbits(bitmask.view(np.uint8), axis=-1, count=C, bitorder="little").view(bool)``. It has one byte for
    each class. For 128,000 classes that takes some 12 microseconds, and the draw some 170.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> x = np.array([1.0, 3.0, 2.0, 3.0])
    >>> index = softlane.sample(x, top_k=2, rng=0)
    >>> int(index)
    3

    An array of temperatures has one for each row, never one for each class: ``t[:, None]``, or `t` for short.

    >>> x, t = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> softlane.sample(x, temperature=t[:, None], rng=0)
    array([1, 0])
    """
    generator = _generator() if rng is None else rng
    if type(generator) is np.random.Generator and (uniform is None or rng is None):
        found = _core.sample(
            x, axis, size, replace, top_k, top_p, min_p, generator, uniform, dtype, index_dtype, return_log_probs,
            where, temperature,
        )  # fmt: skip
        if found is not None:
            if not replace and size is not None and size > 1:
                check_enough("sample", np.moveaxis(found[0], axis, -1))
            return found if return_log_probs else found[0]
    return _sample(
        x, axis, temperature, top_k, top_p, min_p, rng, uniform, where, bool(return_log_probs), dtype, size,
        bool(replace), index_dtype,
    )  # fmt: skip


@protected
def _sample(
    x: object,
    axis: object,
    temperature: object,
    top_k: object,
    top_p: object,
    min_p: object,
    rng: object,
    uniform: object,
    where: object,
    with_values: bool,
    dtype: object,
    size: object,
    replace: bool,
    index_dtype: object,
) -> Any:
    """Any call that the kernels do not take as it came."""
    name = "sample"
    temperature, is_zero = without_zeros(name, temperature)
    call = check(name, x, axis, where, temperature, dtype, is_per_row=True)
    rows = call.rows
    check_class_count(name, rows.x.shape, rows.axes, rows.compute)
    integers = index_type(name, index_dtype, rows.classes)
    count = check_size(name, size, rows.classes, replace)
    filters = [row_parameter(name, what, value, rows.classes, call.kept, call.batch)
               for what, value in (("top_k", top_k), ("top_p", top_p), ("min_p", min_p))]  # fmt: skip
    if is_zero is not None:
        greedy = per_row(name, "temperature", is_zero, call.kept, call.batch)
        filters[0] = np.where(greedy, 1, rows.classes if filters[0] is None else filters[0]).astype(np.int64)
    draws = 1 if count is None else count
    numbers = _numbers(name, rng, uniform, call, count)
    index = np.empty(call.shape(draws), integers)
    y = np.empty(index.shape, call.stored) if with_values else None
    if index.size:
        _run(call, replace, [numbers, *filters], index, y)
    if not replace and draws > 1 and index.size:
        check_enough(name, np.moveaxis(index, rows.axes[0], -1))
    has_axis = count is not None
    found = call.give(index, index.dtype, has_axis)
    return found if y is None else (found, call.give(y, call.dtype, has_axis))


def _numbers(name: str, rng: object, uniform: object, call: Call, size: int | None) -> Array:
    """From 0 to 1, along the class axis: those given, or drawn from one generator or from one for each row."""
    axis = call.rows.axes[0]
    draws = 1 if size is None else size
    if uniform is not None:
        return given_uniform(name, uniform, rng, call.kept, call.batch, axis, size)
    found = generators(name, rng, math.prod(call.batch))
    if isinstance(found, list):
        drawn = np.array([generator.random(draws) for generator in found])
    else:
        drawn = np.asarray(found.random(call.batch if size is None else (*call.batch, draws)))
    last = len(call.batch)
    return drawn.reshape(*call.batch, draws).transpose([*range(axis), last, *range(axis, last)])


def _run(call: Call, replace: bool, parameters: list[Array | None], index: Array, y: Array | None) -> None:
    draws = index.shape[call.rows.axes[0]]

    def kernel(mode: int, axes: Axes, x: Array, mask: Array | None, t: Array | None, *arrays: Array | None) -> Any:
        numbers, top_k, top_p, min_p, index, y = arrays
        assert index is not None
        dtype = np.float64 if x.dtype == np.float64 else call.stored
        return _core.sample(
            x, axes, draws, replace, top_k, top_p, min_p, None, numbers, dtype, index.dtype, y is not None, mask, t,
            mode, index, y,
        )  # fmt: skip

    rows, index, y, *parameters = at_the_end(call.rows, index, y, *parameters)
    inputs = [None if a is None else np.ascontiguousarray(a) if a.ndim else a for a in parameters]
    apply_to_rows(kernel, rows.compute, rows.axes, rows.arrays, inputs, (index, y))
