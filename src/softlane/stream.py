"""Statistics of rows whose classes are seen in parts: in several processes, in several files, or block by block."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from softlane import _core
from softlane._chunks import Axes, apply_to_rows, is_far
from softlane._losses import finish
from softlane._rows import Rows, check, result_for
from softlane._select import TopK
from softlane._select import topk as _topk
from softlane._validate import (
    Array,
    as_array,
    check_reduction,
    class_axis,
    compute_dtype,
    element,
    integer,
    options,
    output_dtype,
    protected,
    result_dtype,
)

__all__ = ["RowSummary", "empty", "summarize"]

_PARTS = {"probs": _core.PART_SOFTMAX, "log_probs": _core.PART_LOG_SOFTMAX}


class RowSummary:
    """Statistics of rows of which a part of the classes was seen. Made by `summarize` and `empty`.

    Summaries of different classes of the same rows are merged, in any order: ``a.merge(b)`` or ``a | b``. The results
    are those of all classes that were seen. A summary is immutable and can be pickled.

    Attributes
    ----------
    shape : tuple of int
        The shape of the batch: that of the blocks without the class axis.
    dtype : dtype
        float32 or float64: the dtype of results with one number for each row, and of the values of `topk`. Results of
        `softmax` and `log_softmax` have that of the block, as in the functions.
    nbytes : int
        Bytes of memory: 40 for each row, 40 more with `entropy`, 17 with `target`, 8 with a temperature for each row,
        and 16 for each of the `k` best classes.

    Notes
    -----
    The statistics of a block come from one read of it. Sums of exponentials are stored as fixed-point integers, whose
    additions are exact. So the order of merges changes no bit of a result, for rows whose largest
    ``abs(x / temperature)`` is below 2**30 and for up to 2**22 summaries. Larger logits make merges round, and their
    order may change the last bit. How classes are cut into blocks may always change the last bit.

    Results are within 2 ULP of the exact value, also for rows in which one class has a probability close to 1. If
    float32 and float64 summaries are merged, the result is float64, but what the float32 blocks add has the accuracy of
    float32. Special values are those of `softmax`, `log_softmax`, `logsumexp`, `argmax`, `topk` and `entropy`.

    Nothing checks that blocks are of different classes: a block that is merged twice counts twice, and `first_class`
    has to be right.

    Examples
    --------
    >>> import numpy as np, softlane
    >>> x = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> a = softlane.stream.summarize(x[:, :2], target=[3], k=1)
    >>> b = softlane.stream.summarize(x[:, 2:], first_class=2, target=[3], k=1)
    >>> (a | b).logsumexp(), (a | b).target_log_prob(), (a | b).argmax()
    (array([4.4401897]), array([-0.4401897]), array([3]))
    """

    __slots__ = ("_axis", "_best", "_moment", "_target", "_temperature", "_weight", "dtype")

    _axis: int | None  # from the end; None: of no block
    _best: tuple[Array, Array] | None  # logits and keys, of shape (*batch, k): sl_best
    _moment: Array | None
    _target: tuple[Array, Array, Array] | None  # the classes, their logits, and 0 (not seen), 1, or 2 (seen, masked)
    _temperature: Array | None  # float64: 0-d, or of the shape of the batch
    _weight: Array
    dtype: np.dtype[Any]

    def __init__(self) -> None:
        raise TypeError("RowSummary: made by softlane.stream.summarize and softlane.stream.empty")

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._weight.shape
        return shape

    @property
    def nbytes(self) -> int:
        arrays = (self._weight, self._moment, self._temperature, *(self._target or ()), *(self._best or ()))
        return sum(a.nbytes for a in arrays if a is not None)

    def __repr__(self) -> str:
        asked = ["target"] * (self._target is not None) + ["entropy"] * (self._moment is not None)
        asked += [f"k={self._best[0].shape[-1]}"] if self._best else []
        return f"<RowSummary of rows {self.shape}, {self.dtype}{''.join(f', {a}' for a in asked)}>"

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__slots__])

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, _aligned(value))
        self._check_state()

    def _check_state(self) -> None:
        """What the kernels rely on, of arrays that come from elsewhere"""
        batch, t = self._weight.shape, self._temperature
        wanted: list[tuple[Array, Any, tuple[int, ...]]] = [(self._weight, _core.WEIGHT, batch)]
        wanted += [] if self._moment is None else [(self._moment, _core.MOMENT, batch)]
        wanted += [] if t is None else [(t, np.float64, batch if t.ndim else ())]
        kinds: list[Any] = [np.float64, np.int64]
        for a, dtype in zip(self._best or (), kinds, strict=False):
            wanted.append((a, dtype, (*batch, max(1, a.shape[-1]))))
        for a, dtype in zip(self._target or (), [np.int64, *kinds[:1], np.uint8], strict=False):
            wanted.append((a, dtype, batch))
        for a, dtype, shape in wanted:
            if a.dtype != dtype or a.shape != shape:
                raise ValueError("RowSummary: the state is of another version of softlane, or of another machine")

    @protected
    def merge(self, other: RowSummary) -> RowSummary:
        """The summary of the classes of both.

        Parameters
        ----------
        other : RowSummary
            Of other classes of the same rows, with the same `target`, `k`, `entropy` and temperature.

        Returns
        -------
        RowSummary
            A new one. float64 where one of the two is.

        Raises
        ------
        TypeError
            `other` is no RowSummary.
        ValueError
            The two differ in shape, temperature or in what was asked for, or a row has its target in both.
        """
        if not isinstance(other, RowSummary):
            raise TypeError(f"merge: other must be a RowSummary, got {type(other).__name__}")
        self._check_like(other)
        y = copy.copy(self)
        y.dtype = np.promote_types(self.dtype, other.dtype)
        y._axis = other._axis if self._axis is None else self._axis
        y._weight = np.empty(self.shape, _core.WEIGHT)
        y._moment = None if self._moment is None else np.empty(self.shape, _core.MOMENT)
        y._best = self._best and (np.empty_like(self._best[0]), np.empty_like(self._best[1]))
        a, b, to = ((s._weight, s._moment) for s in (self, other, y))
        _core.merge_summaries(a, b, to, self._best, other._best, y._best, self._temperature)
        if self._target and other._target:
            (target, logit, seen), (_, other_logit, other_seen) = self._target, other._target
            both = (seen > 0) & (other_seen > 0)
            if both.any():
                row = np.unravel_index(int(np.argmax(both)), seen.shape)
                raise ValueError(f"merge: the target of row {_index(row)} is a class of both summaries")
            y._target = target, np.where(seen > 0, logit, other_logit), np.maximum(seen, other_seen)
        return y

    def __or__(self, other: object) -> RowSummary:
        return self.merge(other) if isinstance(other, RowSummary) else NotImplemented

    def _check_like(self, other: RowSummary) -> None:
        for what, mine, theirs in (
            ("shape", self.shape, other.shape),
            ("k", *(s._best[0].shape[-1] if s._best else 0 for s in (self, other))),
            ("entropy", *(s._moment is not None for s in (self, other))),
            ("target", *(s._target is not None for s in (self, other))),
            ("axis", *(s._axis if None not in (self._axis, other._axis) else None for s in (self, other))),
        ):
            if mine != theirs:
                raise ValueError(f"merge: {what} is {mine} and {theirs}, expected the same for both summaries")
        for what, a, b in (
            ("target", self._target and self._target[0], other._target and other._target[0]),
            ("temperature", self._temperature, other._temperature),
        ):
            one = np.float64(1)
            first, second = np.broadcast_arrays(one if a is None else a, one if b is None else b)
            if not np.array_equal(first, second):
                raise ValueError(f"merge: the summaries have different values of {what}")

    # ---- results -----------------------------------------------------------------------------------------------------

    def _finished(self, with_entropy: bool = False) -> dict[str, Array]:
        names = ("max", "others", "others_low", "log_sum", "logsumexp", "entropy")
        found = {name: np.empty(self.shape) for name in names[: 5 + with_entropy]}
        moment = self._moment if with_entropy else None
        _core.finish_summaries(self._weight, moment, self._temperature, list(found.values()))
        return found

    def _give(self, a: Array) -> Any:
        with np.errstate(all="ignore"):
            return a.astype(self.dtype, copy=False)[()]

    @protected
    def logsumexp(self) -> Any:
        """The logarithm of the sum of ``exp(x / temperature)`` of each row.

        Returns
        -------
        ndarray or NumPy scalar
            The shape of the batch. -inf where no class was seen.
        """
        return self._give(self._finished()["logsumexp"])

    @protected
    def entropy(self) -> Any:
        """The entropy of the softmax of each row, in nats.

        Returns
        -------
        ndarray or NumPy scalar
            The shape of the batch.

        Raises
        ------
        ValueError
            The summaries were made without ``entropy=True``.
        """
        if self._moment is None:
            raise ValueError("entropy: the summaries were made without it, expected summarize(..., entropy=True)")
        return self._give(self._finished(True)["entropy"])

    @protected
    def target_log_prob(self) -> Any:
        """The log-probability of the target of each row.

        Returns
        -------
        ndarray or NumPy scalar
            The shape of the batch.

        Raises
        ------
        ValueError
            The summaries were made without `target`, or the target of a row was in no block.
        """
        log_prob = self._target_log_prob("target_log_prob", None)
        assert self._target is not None
        return self._give(np.where(self._target[2] == 2, -np.inf, log_prob))

    @protected
    def cross_entropy(self, reduction: str = "mean", *, ignore_index: int = -100) -> Any:
        """The loss ``-log(softmax(x)[target])``, in nats.

        Parameters
        ----------
        reduction : {"mean", "sum", "none"}, default "mean"
            The mean over the rows that count, their sum, or one loss for each row.
        ignore_index : int, default -100
            Rows with this target do not count: their loss is 0.

        Returns
        -------
        NumPy scalar or ndarray
            One number, or with "none" the shape of the batch.

        Raises
        ------
        ValueError
            The summaries were made without `target`, or a target that counts was in no block.
        """
        reduction = check_reduction("cross_entropy", reduction)
        ignore = integer("cross_entropy", "ignore_index", ignore_index)
        losses = 0 - self._target_log_prob("cross_entropy", ignore)
        assert self._target is not None
        counted = int(np.count_nonzero(self._target[0] != ignore))
        return finish(np.array(losses, order="C"), reduction, counted, self.dtype, self.dtype)

    def _target_log_prob(self, name: str, ignore: int | None) -> Array:
        if self._target is None:
            raise ValueError(f"{name}: the summaries were made without targets, expected summarize(..., target=...)")
        target, logit, seen = self._target
        ignored = np.zeros(self.shape, bool) if ignore is None else target == ignore
        missing = (seen == 0) & ~ignored
        if missing.any():
            what, value = element("target", target, int(np.argmax(missing)))
            raise ValueError(f"{name}: {what} = {value} is a class that no summary has seen")
        found = self._finished()
        with np.errstate(all="ignore"):
            x, top, t = _scaled(logit, found["max"], self._temperature)
            distance = x - top if t is None else (x - top) / t
            log_prob = distance - found["log_sum"]
            log_prob = np.where(np.isnan(log_prob), np.nan, log_prob)  # processors differ in the sign of inf - inf
            log_prob = np.where(ignored, 0, log_prob)
        return log_prob

    @protected
    def topk(self, *, kind: str = "probs") -> TopK:
        """The `k` classes with the largest logits, best first, and their probabilities.

        Parameters
        ----------
        kind : {"probs", "log_probs", "logits"}, default "probs"
            What the values are.

        Returns
        -------
        TopK
            Values, and indices of int64, of the shape of the batch with an axis of length `k` at the end. Where fewer
            than `k` classes were seen, the remaining indices are -1; their values are 0 for "probs", else -inf.

        Raises
        ------
        ValueError
            The summaries were made without `k`.
        """
        if self._best is None:
            raise ValueError(
                f"topk: the summaries were made with k=0, expected summarize(..., k=...); kind is {kind!r}"
            )
        logits, key = self._best
        is_seen = key != _core.NO_CLASS
        index = np.where(is_seen, key & ~np.int64(_core.MASKED_CLASS), -1)
        if kind == "logits":  # NaN makes all values of its row NaN, as in topk
            spoilt = np.isnan(logits[..., :1]) & (key < _core.MASKED_CLASS)
            return TopK(self._give(np.where(spoilt, np.nan, logits)), index)
        if kind not in _PARTS:
            raise ValueError(f'topk: kind must be "probs", "log_probs" or "logits", got {kind!r}')
        with np.errstate(all="ignore"):
            x = logits.astype(self.dtype)
        return TopK(self._of_block(_PARTS[kind], "topk", x, key < _core.MASKED_CLASS, self.dtype, None, -1), index)

    @protected
    def argmax(self, *, return_probs: bool = False) -> Any:
        """The class with the largest logit of each row.

        Parameters
        ----------
        return_probs : bool, default False
            Return its probability as well.

        Returns
        -------
        ndarray of int64, or a pair of it and of the probabilities
            The shape of the batch. -1 where no class was seen.

        Raises
        ------
        ValueError
            The summaries were made without `k`.
        """
        if self._best is None:
            raise ValueError("argmax: the summaries were made with k=0, expected summarize(..., k=1)")
        values, index = self.topk(kind="probs" if return_probs else "logits")
        return (index[..., 0][()], values[..., 0][()]) if return_probs else index[..., 0][()]

    @protected
    def softmax(
        self,
        x_block: ArrayLike,
        *,
        where: ArrayLike | None = None,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> Any:
        """Probabilities of the classes of a block, among all classes that the summary has seen.

        Parameters
        ----------
        x_block : array_like
            One of the blocks that were summarized, with the class axis where it was then.
        where : array_like of bool, optional
            As in `summarize`. Elements that are masked get 0.
        dtype : data-type, optional
            Of the result, by default as in `softmax`.
        out : ndarray, optional
            Array to write to, of the shape and dtype of the result. May be `x_block`.

        Returns
        -------
        ndarray
            The shape of `x_block`: `out` where given.

        Raises
        ------
        TypeError, ValueError
            As `softmax`; ValueError also where the rows of `x_block` are not those of the summary.
        """
        return self._of_block(_core.PART_SOFTMAX, "softmax", x_block, where, dtype, out)

    @protected
    def log_softmax(
        self,
        x_block: ArrayLike,
        *,
        where: ArrayLike | None = None,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> Any:
        """Log-probabilities of the classes of a block, among all classes that the summary has seen.

        Parameters
        ----------
        x_block, where, dtype, out
            As in `RowSummary.softmax`. Elements that are masked get -inf.

        Returns
        -------
        ndarray
            The shape of `x_block`: `out` where given.

        Raises
        ------
        TypeError, ValueError
            As `RowSummary.softmax`.
        """
        return self._of_block(_core.PART_LOG_SOFTMAX, "log_softmax", x_block, where, dtype, out)

    def _of_block(
        self, op: int, name: str, x: object, where: object, dtype: object, out: object, axis: int | None = None
    ) -> Any:
        """axis: where the classes are, if not where those of the summary were"""
        a = as_array(name, x, "x_block")
        if axis is None:
            axis = -1 if self._axis is None else self._axis
        axis = class_axis(name, "x_block", a.shape, axis)
        call = check(name, a, axis, where, None, dtype)
        if call.batch != self.shape:
            raise ValueError(
                f"{name}: x_block has shape {a.shape}, expected rows of the shape {self.shape} and classes along "
                f"axis {axis}"
            )
        y = result_for(name, out, a.shape, a.shape, call.dtype, call.rows.arrays[1:], (a,))
        if not a.size:
            return y.give()
        found = self._finished()
        statistics = [found[what].reshape(call.kept) for what in ("max", "others", "others_low")]
        x, mask, t, compute = call.rows.x, call.rows.mask, self._temperature, call.rows.compute
        if self.dtype == np.float64 and compute != np.float64:  # the maximum may be no float32
            x, compute = x.astype(np.float64), self.dtype
        rows = Rows(x, call.rows.axes, mask, t if t is None or not t.ndim else t.reshape(call.kept), compute)
        far = np.False_ if rows.temperature is None else is_far(rows.temperature, rows.compute)
        if rows.temperature is None or not far.any():
            _run_block(op, rows, statistics, y.view)
            return y.give()
        # Rows with temperatures that the kernels do not take: times a power of two, in float64
        x, top, scaled = _scaled(rows.x.astype(np.float64), statistics[0], rows.temperature)
        result = np.empty(x.shape)
        apart = Rows(x, rows.axes, mask, scaled, np.dtype(np.float64))
        _run_block(op, apart, [np.ascontiguousarray(top), *statistics[1:]], result)
        if not far.all():
            _run_block(op, rows._replace(temperature=np.where(far, 1, rows.temperature)), statistics, y.view)
        with np.errstate(all="ignore"):
            np.copyto(y.view, result, where=far, casting="unsafe")
        return y.give()


def _run_block(op: int, rows: Rows, statistics: Sequence[Array], y: Array) -> None:
    def kernel(mode: int, axes: Axes, x: Array, mask: Array | None, t: Array | None, *arrays: Array) -> Any:
        return _core.part(op, x, axes, arrays[3], mask, t, arrays[:3], mode)

    apply_to_rows(kernel, rows.compute, rows.axes, rows.arrays, statistics, (y,))


def _scaled(x: Array, top: Array, temperature: Array | None) -> tuple[Array, Array, Array | None]:
    """x, the maxima and temperatures times powers of two: temperatures from 1/2 to 1.

    Where that is beyond the largest number, it is x less the maximum, which is exact for what is left of x.
    """
    if temperature is None:
        return x, top, None
    fraction, exponent = map(np.asarray, np.frexp(temperature))
    with np.errstate(all="ignore"):
        is_small = np.isfinite(top) & np.isinf(np.ldexp(top, -exponent))
        x = np.ldexp(np.where(is_small, x - top, x), -exponent)
        return x, np.where(is_small, 0, np.ldexp(top, -exponent)), fraction


def _aligned(value: Any) -> Any:
    """Arrays that the kernels can read: what comes out of a pickle by way of a buffer may begin at any byte"""
    if isinstance(value, tuple):
        return tuple([_aligned(v) for v in value])
    return np.require(value, requirements=["C", "A"]) if isinstance(value, np.ndarray) else value


def _index(row: tuple[Any, ...]) -> str:
    return "[" + ", ".join(str(i) for i in row) + "]"


def _new(
    batch: tuple[int, ...], dtype: np.dtype[Any], axis: int | None, temperature: Array | None, entropy: bool
) -> RowSummary:
    s = object.__new__(RowSummary)
    s.dtype, s._axis = dtype, axis
    s._temperature = None  # a copy: the caller may change what came
    if temperature is not None:
        s._temperature = np.array(temperature.reshape(batch) if temperature.ndim else temperature)
    s._weight = np.empty(batch, _core.WEIGHT)
    s._moment = np.empty(batch, _core.MOMENT) if entropy else None
    s._target = s._best = None
    return s


def _check_k(name: str, k: object) -> int:
    number = integer(name, "k", k)
    if not 0 <= number < 2**31:
        raise ValueError(f"{name}: k is {number}, expected 0 or more, below 2**31")
    return number


def _check_target(name: str, target: object, batch: tuple[int, ...]) -> Array:
    t = as_array(name, target, "target")
    if t.dtype.kind not in "iu" and t.size:
        raise TypeError(f"{name}: target has dtype {t.dtype}, expected integers")
    if t.shape != batch:
        raise ValueError(f"{name}: target has shape {t.shape}, expected {batch}, one class for each row")
    index = t.astype(np.int64)
    if t.dtype == np.uint64 and (index < 0).any():
        what, value = element("target", t, int(np.argmax(index < 0)))
        raise ValueError(f"{name}: {what} = {value} does not fit into int64")
    return index


def empty(
    batch_shape: tuple[int, ...],
    dtype: DTypeLike = np.float32,
    *,
    target: ArrayLike | None = None,
    k: int = 0,
    entropy: bool = False,
    temperature: ArrayLike | None = None,
) -> RowSummary:
    """The summary of rows of which no class was seen.

    Merging it with a summary that was made with the same dtype and options changes nothing.

    Parameters
    ----------
    batch_shape : tuple of int
        The shape of the blocks without the class axis.
    dtype : data-type, default float32
        float32 or float64, of results with one number for each row.
    target, k, entropy, temperature
        As in `summarize`.

    Returns
    -------
    RowSummary
        The neutral element of `RowSummary.merge`.

    Examples
    --------
    >>> import softlane
    >>> softlane.stream.empty((2,)).logsumexp()
    array([-inf, -inf], dtype=float32)
    """
    try:
        batch = tuple([integer("empty", "batch_shape", n) for n in batch_shape])
    except TypeError:
        raise TypeError(f"empty: batch_shape must be a tuple of integers, got {batch_shape!r}") from None
    if any(n < 0 for n in batch):
        raise ValueError(f"empty: batch_shape is {batch}, expected no negative numbers")
    given = compute_dtype(output_dtype("empty", dtype, np.dtype(np.float32)))
    asked = options("empty", (*batch, 1), -1, None, temperature)
    s = _new(batch, given, None, asked.temperature, entropy)
    number = _check_k("empty", k)
    nothing = np.zeros(batch)
    _core.begin_summaries([np.full(batch, -np.inf), nothing, nothing, nothing], s._weight, s._moment, s._temperature)
    if number:
        s._best = np.full((*batch, number), -np.inf), np.full((*batch, number), _core.NO_CLASS)
    if target is not None:
        s._target = _check_target("empty", target, batch), np.full(batch, -np.inf), np.zeros(batch, np.uint8)
    return s


@protected
def summarize(
    x_block: ArrayLike,
    axis: int = -1,
    *,
    first_class: int = 0,
    target: ArrayLike | None = None,
    k: int = 0,
    entropy: bool = False,
    where: ArrayLike | None = None,
    temperature: ArrayLike | None = None,
) -> RowSummary:
    """Statistics of rows, from one block of their classes.

    Parameters
    ----------
    x_block : array_like
        Logits of some classes of all rows, of any shape and layout; dtypes as in `softmax`.
    axis : int, default -1
        The class axis.
    first_class : int, default 0
        The index of the first class of the block among all classes. `target` and the indices of `k` count from class 0.
    target : array_like of int, optional
        One class for each row, for `RowSummary.target_log_prob` and `RowSummary.cross_entropy`: the same array for each
        block, in the shape of `x_block` without `axis`. A block need not have it.
    k : int, default 0
        How many of the best classes to keep, for `RowSummary.topk` and `RowSummary.argmax`.
    entropy : bool, default False
        Keep what `RowSummary.entropy` needs.
    where : array_like of bool, optional
        True for the elements to include; broadcasts to the shape of `x_block`.
    temperature : float or array_like, optional
        Positive number that divides all logits, or an array of one for each row, as in `softmax`. It has to be the same
        for all blocks.

    Returns
    -------
    RowSummary
        To be merged with those of the other blocks.

    Raises
    ------
    TypeError, ValueError
        As `softmax`; also where `target` is not of integers or of another shape, or `k` or `first_class` is negative.

    Notes
    -----
    The block is read once; `k` reads it again.

    Examples
    --------
    The vocabulary of a model in two parts, and the perplexity of two tokens.

    >>> import numpy as np, softlane
    >>> x = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 0.0, 0.0, 0.0]])
    >>> parts = [softlane.stream.summarize(x[:, i : i + 2], first_class=i, target=[3, 0]) for i in (0, 2)]
    >>> whole = parts[0] | parts[1]
    >>> f"{np.exp(whole.cross_entropy()):.6f}"
    '1.279974'
    >>> whole.softmax(x[:, :2]).round(3)
    array([[0.032, 0.087],
           [0.948, 0.017]])
    """
    a = as_array("summarize", x_block, "x_block")
    axis = class_axis("summarize", "x_block", a.shape, axis)
    first = integer("summarize", "first_class", first_class)
    if not 0 <= first < 2**61:
        raise ValueError(f"summarize: first_class is {first}, expected 0 or more, below 2**61")
    call = check("summarize", a, axis, where, temperature, None, is_per_row=True)
    s = _new(
        call.batch, compute_dtype(result_dtype("summarize", a.dtype)), axis - a.ndim, call.rows.temperature, entropy
    )
    number = _check_k("summarize", k)
    index = None if target is None else _check_target("summarize", target, call.batch)
    _find_weights(call.rows, call.kept, s)
    if number:
        s._best = _find_best(a, axis, call.rows.mask, number, first)
    if index is not None:
        s._target = index, *_find_targets(a, axis, call.rows.mask, index - first)
    return s


def _find_weights(rows: Rows, kept: tuple[int, ...], s: RowSummary) -> None:
    op = _core.PART_STATISTICS if s._moment is None else _core.PART_STATISTICS_WITH_DEVIATION
    statistics = [np.empty(kept) for _ in range(3 if s._moment is None else 4)]

    def kernel(mode: int, axes: Axes, x: Array, mask: Array | None, t: Array | None, *arrays: Array) -> Any:
        return _core.part(op, x, axes, None, mask, t, arrays, mode)

    if rows.x.size:
        apply_to_rows(kernel, rows.compute, rows.axes, rows.arrays, (), statistics, _unscale)
    _core.begin_summaries(statistics, s._weight, s._moment, s._temperature)


def _unscale(top: Array, temperature: Array, maximum: Array, others: Array, low: Array, *deviation: Array) -> None:
    """From the statistics of x less top, times a power of two (`apply_to_rows`), to those of x"""
    exponent = np.frexp(temperature)[1]
    maximum[...] = np.ldexp(maximum, exponent) + top
    for d in deviation:
        d[...] = np.ldexp(d, exponent)


def _find_best(x: Array, axis: int, mask: Array | None, k: int, first: int) -> tuple[Array, Array]:
    """Logits and keys of the k best classes, in order, with the class axis at the end"""
    n = x.shape[axis]
    places = _topk(x, min(k, n), axis, kind="logits", where=mask).indices
    index = np.moveaxis(places, axis, -1)
    value, key = np.full((*index.shape[:-1], k), -np.inf), np.full((*index.shape[:-1], k), _core.NO_CLASS)
    value[..., : min(k, n)] = np.moveaxis(np.take_along_axis(x, places, axis), axis, -1)
    key[..., : min(k, n)] = index + first
    if mask is not None:
        hidden = ~np.moveaxis(np.take_along_axis(mask, places, axis), axis, -1)
        value[..., : min(k, n)][hidden] = -np.inf
        key[..., : min(k, n)][hidden] |= _core.MASKED_CLASS
    return value, key


def _find_targets(x: Array, axis: int, mask: Array | None, index: Array) -> tuple[Array, Array]:
    """The logits of the targets that are classes of the block, and which are: 1, or 2 where they are masked"""
    seen = (index >= 0) & (index < x.shape[axis])
    places = np.expand_dims(np.where(seen, index, 0), axis)
    logit = np.take_along_axis(x, places, axis)
    logit = np.where(seen, logit.reshape(index.shape).astype(np.float64), -np.inf)
    if mask is None:
        return logit, seen.astype(np.uint8)
    hidden = seen & ~np.take_along_axis(mask, places, axis).reshape(index.shape)
    return np.where(hidden, -np.inf, logit), seen + hidden.astype(np.uint8)
