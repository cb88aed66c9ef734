"""The commands of `softlane`: the check of an installation, and functions on .npy files. __main__ has their options."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np

import softlane
from softlane import _check, _config, _validate
from softlane._files import Array, CommandError, Input, blocks, check_output, new_array, new_file, reading, resolve

SECONDS = 5.0  # between two lines of progress

# ---- The check ----


def show_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for row in [header, *rows]:
        print(row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)), sep="  ")


def show_step(text: str) -> None:
    """On standard error, in one line that the next text overwrites."""
    if sys.stderr.isatty():
        print(f"\r{text[:79]:79}\r", end="", file=sys.stderr, flush=True)


def show_checks(checks: list[_check.Check]) -> None:
    kinds = list(dict.fromkeys((c.op, c.dtype) for c in checks))
    rows = []
    for isa in dict.fromkeys(c.isa for c in checks):
        own = {(c.op, c.dtype): c for c in checks if c.isa == isa}
        bits = "DIFFERENT" if any(c.differs for c in own.values()) else "identical"
        rows.append([isa, *(f"{own[kind].ulp:.2f}" for kind in kinds), bits])
    header = ["path", *(f"{op} {dtype.replace('float', 'f')}" for op, dtype in kinds), "bits"]
    show_table(f"Largest error in ULP (allowed: {_check.LIMIT_ULP:g})", header, rows)


def show_times(times: list[_check.Timed]) -> None:
    header = ["float32, active path", "threads", "ns/element", "faster than NumPy", "of the limit"]
    rows = []
    for t in times:
        ratios = f"{t.numpy / t.softlane:.1f}x", f"{t.softlane / t.limit:.1f}x"
        rows.append([t.case, f"{t.threads}", f"{t.softlane / t.elements:.3g}", *ratios])
    show_table("Speed", header, rows)
    print("Of the limit: softlane's time over that of np.copyto, for logsumexp of x.max(), on one thread.\n")


def check(options: argparse.Namespace) -> int:
    if options.output:
        is_new = not os.path.lexists(options.output)  # a link that leads nowhere is there
        try:
            options.output.open("a", encoding="utf-8").close()
        except OSError as error:
            options.parser.error(f"-o {options.output} cannot be written: {error.strerror}")
        if is_new:
            options.output.unlink()

    _config.show_config()
    checks = _check.run_checks(show_step)
    show_step("")
    show_checks(checks)
    times = [] if options.no_times else _check.run_times(show_step)
    show_step("")
    if times:
        show_times(times)
    failed = _check.failures(checks)
    if options.output:
        content = {"configuration": _config.config(), "checks": [c._asdict() for c in checks], "failures": failed}
        content["times in ns per call"] = [t._asdict() for t in times]
        options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for message in failed:
        print(f"FAILED: {message}", file=sys.stderr)
    print("Something is wrong: please report it with the output above." if failed else "All checks passed.")
    return 1 if failed else 0


# ---- Progress ----

Advance = Callable[[int], None]


def amount(n: float) -> str:
    """Of bytes"""
    size, unit = next((size, unit) for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (0, "bytes")) if n >= size)
    return f"{n / (size or 1):.3g} {unit}"


def _lines(total: int) -> Advance:
    begin = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal last, done
        done += n
        now = time.monotonic()
        if now - last >= SECONDS and done:
            last, rate = now, done / (now - begin)
            left = f"{amount(rate)}/s, {(total - done) / rate:.0f} s left"
            with contextlib.suppress(OSError):  # no reason to lose the result
                print(f"{done / total:.0%} of {amount(total)}, {left}", file=sys.stderr, flush=True)

    return advance


@contextlib.contextmanager
def progress(total: int, quiet: bool) -> Iterator[Advance]:
    """A bar on a terminal, if there is rich; else a line now and then. It is told how many bytes more were read."""
    rich: Any = None
    if not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with contextlib.suppress(ImportError):
            rich = importlib.import_module("rich.progress")
    if not rich:
        yield (lambda n: None) if quiet else _lines(total)
        return
    columns = rich.BarColumn(), rich.TaskProgressColumn(), rich.TransferSpeedColumn(), rich.TimeRemainingColumn()
    with rich.Progress(*columns, console=rich.Console(stderr=True)) as bar:
        yield functools.partial(bar.advance, bar.add_task("", total=total))


# ---- Functions on files ----


class Job:
    """A function of softlane, the arrays that it is applied to, and what it gives."""

    def __init__(self, options: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        self.name = name = options.command.replace("-", "_")
        self.x = x = Input(options.input, name, stack)
        if not x.shape:
            raise CommandError(f"{x.path} is 0-dimensional, expected an array with a class axis")
        axis = _validate.normalise_axis(name, options.axis, len(x.shape))
        if name in ("argmax", "topk", "cross_entropy"):
            _validate.class_axis(name, x.path, x.shape, axis)
        before, self.n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        self.outer, self.inner, self.batch = math.prod(before), math.prod(after), before + after
        self.inputs = [x] if name != "cross_entropy" else [x, self._targets(Input(options.targets, name, stack))]

        arguments = ("dtype", "temperature", "k", "ignore_index", "reduction")
        given = {key: getattr(options, key) for key in arguments if getattr(options, key, None) is not None}
        rounds_late = name == "cross_entropy" and given.get("dtype") == "float16"  # the mean is of the losses before
        if rounds_late:
            given["dtype"] = "float32"
        self.function = functools.partial(getattr(softlane, name), axis=1, **given)
        probe = self.compute([np.empty((0, self.n, 1), x.dtype), np.empty((0, 1, 1), np.int64)][: len(self.inputs)])
        self.dtypes = [np.dtype(np.float16)] if rounds_late else [y.dtype for y in probe]
        self.lengths = [y.shape[1] for y in probe]  # along the class axis
        self.shape = (*before, *probe[0].shape[1:-1], *after)

    def _targets(self, t: Input) -> Input:
        if t.dtype.kind not in "iu":
            raise CommandError(f"{t.path} has dtype {t.dtype}, expected class indices, which are integers")
        if t.shape != self.batch:
            what = f"a class for each row of {self.x.path}"
            raise CommandError(f"{t.path} has shape {t.shape}, expected {self.batch}, {what}")
        return t

    def compute(self, arrays: list[Array]) -> tuple[Array, ...]:
        """Of a block"""
        x, *targets = arrays
        y = self.function(x, *(t[:, 0] for t in targets))
        return y if isinstance(y, tuple) else (y,)

    def check_targets(self, ignore: int, advance: Advance) -> int:
        """All of them, before anything is written. How many are not ignored?"""
        t, counted = self.inputs[1], 0
        planes = t.planes(1, 1)
        for block in blocks(math.prod(t.shape), 1, t.dtype.itemsize):
            with reading(t.path):
                target = planes.read(block).reshape(-1)
            used = target != ignore
            wrong = used & ((target < 0) | (target >= self.n))
            if wrong.any():
                first = int(wrong.argmax())
                place = ", ".join(str(int(i)) for i in np.unravel_index(block.first + first, t.shape))
                raise CommandError(
                    f"{t.path}: target[{place}] = {target[first]} is outside [0, {self.n}); ignore_index is {ignore}"
                )
            counted += int(used.sum())
            advance(target.nbytes)
        return counted

    def write(self, files: Sequence[IO[bytes]], advance: Advance) -> float:
        """The sum of the first result, which of losses has a meaning"""
        total = 0.0
        sources = [i.planes(1 if k else self.n, self.inner) for k, i in enumerate(self.inputs)]
        kinds = zip(files, self.dtypes, self.lengths, strict=True)
        results = [new_array(file, self.shape, dtype, n, self.inner) for file, dtype, n in kinds]
        row_bytes = sum(p.n * p.dtype.itemsize for p in (*sources, *results))
        for block in blocks(self.outer, self.inner, row_bytes):
            arrays = []
            for source, planes in zip(self.inputs, sources, strict=True):
                with reading(source.path):
                    arrays.append(planes.read(block))
            for planes, y in zip(results, self.compute(arrays), strict=True):
                with np.errstate(all="ignore"):
                    planes.write(block, y.astype(planes.dtype, copy=False))
            if self.name == "cross_entropy":
                total += float(y.sum(dtype=np.float64))
            del y  # before the next one is made
            advance(sum(a.nbytes for a in arrays))
        return total


def write_archive(job: Job, file: IO[bytes], folder: str, advance: Advance) -> None:
    """Values and indices, each by way of a file without a name, as an archive takes one after the other."""
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(2)]
        job.write(parts, advance)
        archive = stack.enter_context(zipfile.ZipFile(file, "w"))
        for name, part in zip(("values", "indices"), parts, strict=True):
            part.seek(0)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                shutil.copyfileobj(part, member, 1 << 20)


def run(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        return _run(Job(options, stack), options)


def _run(job: Job, options: argparse.Namespace) -> int:
    begin = time.monotonic()
    x, *targets = job.inputs
    out, rows, size = options.output, job.outer * job.inner, sum(i.nbytes for i in job.inputs)
    check_output(out, options.force, [i.path for i in job.inputs])
    report = {"command": options.command, "input": x.path, "shape": x.shape, "dtype": str(x.dtype), "rows": rows}
    report |= {"output": out, "output_shape": job.shape, "output_dtype": str(job.dtypes[0])}
    threads = softlane.num_threads(options.threads) if options.threads is not None else contextlib.nullcontext()
    with threads, progress(size + sum(t.nbytes for t in targets), options.quiet) as advance:  # targets are read twice
        counted = job.check_targets(options.ignore_index, advance) if targets else 0
        with new_file(out, options.force) as file:
            if job.name == "topk":
                write_archive(job, file, resolve(out)[1], advance)
            else:
                total = job.write([file], advance)
    if targets:
        mean = total / counted if counted else math.nan
        with np.errstate(all="ignore"):
            report |= {"counted": counted, "mean": mean, "perplexity": float(np.exp(mean))}
    seconds = max(time.monotonic() - begin, 1e-9)  # some clocks stand still for 15 ms
    report |= {"seconds": seconds, "bytes_per_second": size / seconds}
    if options.json:
        print(json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in report.items()}))
    elif targets:
        print(f"mean {mean:.8g}\nperplexity {report['perplexity']:.8g}\nrows {rows}, of which {counted} count")
    if not options.quiet:
        speed = f"read {amount(size)} in {seconds:.3g} s, {amount(size / seconds)}/s"
        print(f"{out}: {job.dtypes[0]}, shape {job.shape}; {speed}", file=sys.stderr)
    return 0
