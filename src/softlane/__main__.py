"""Present: `python -m softlane` shows what this installation is, whether it is right here, and how fast it is."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from softlane import _check, _config

try:
    from rich import box
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table
except ImportError:
    HAVE_RICH = False
else:
    HAVE_RICH = True

DESCRIPTION = """\
Check and time softlane on this machine, in about 20 seconds:
its configuration; the error (in ULP) and the bits of every instruction set path; its speed beside NumPy and, where
they are installed, SciPy, PyTorch and ONNX Runtime. With rich installed (pip install softlane[demo]) in colour."""
EPILOG = "The exit status is 1 if a path is less accurate than promised or the paths disagree in a bit."
SECONDS = 12.0
BUSY = 0.1  # CPUs that other processes may use before the times carry a warning


def _width() -> int | None:
    return None if sys.stdout.isatty() else 132


def show_table(title: str, header: list[str], rows: list[list[str]], caption: str = "") -> None:
    if HAVE_RICH:
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
        for i, name in enumerate(header):
            table.add_column(name, justify="right" if i else "left", no_wrap=not i)
        for row in rows:
            table.add_row(*row)
        Console(width=_width(), highlight=False).print(table, caption, sep="")
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for row in [header, *rows]:
        print(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)))
    print(caption)


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A function that announces the next of `total` steps, on stderr."""
    if HAVE_RICH:
        columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            done = iter(range(total + 1))
            yield lambda text: bar.update(task, description=text, completed=next(done, total))
        return
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    yield lambda text: print(f"{text[:79]:79}", end="\r", file=sys.stderr, flush=True)
    print(f"{'':79}", end="\r", file=sys.stderr)


def show_checks(checks: list[_check.Check]) -> None:
    kinds = list(dict.fromkeys((c.op, c.dtype) for c in checks))
    rows = []
    for isa in dict.fromkeys(c.isa for c in checks):
        own = {(c.op, c.dtype): c for c in checks if c.isa == isa}
        bits = "DIFFERENT" if any(c.differs for c in own.values()) else "identical"
        rows.append([isa, *(f"{own[kind].ulp:.2f}" for kind in kinds), bits])
    header = ["path", *(f"{op} {dtype.replace('float', 'f')}" for op, dtype in kinds), "bits"]
    show_table(f"Largest error in ULP (allowed: {_check.LIMIT_ULP:g})", header, rows)


def _time(case: _check.Timed) -> str:
    size = 1
    for length in case.shape:
        size *= length
    return f"{case.times['softlane'].minimum / size:.3g}"


def _ratio(value: float) -> str:
    return f"{value:.2f}x" if value < 10 else f"{value:.0f}x"


def show_times(times: list[_check.Timed], others: float | None) -> None:
    header = ["float32, active path", "threads", "ns/element", *_check.PEERS, "of the limit", "ULP"]
    rows = []
    for case in times:
        own = case.times["softlane"].minimum
        peers = [_ratio(case.times[p].minimum / own) if p in case.times else "-" for p in _check.PEERS]
        limit = _ratio(own / case.times["limit"].minimum)
        name = _check.name_case(case.op, case.shape, case.axis)
        rows.append([name, str(case.threads), _time(case), *peers, limit, f"{case.ulp:.2f}"])
    caption = (
        "Under a peer's name: how many times faster than it softlane is, on the same number of threads ('-': not\n"
        "installed). Of the limit: softlane's time over that of np.copyto, for logsumexp of x.max(), on one thread.\n"
    )
    if others and others > BUSY:
        caption += f"Other processes kept {others:.1f} CPUs busy meanwhile: this machine can be faster.\n"
    show_table("Speed", header, rows, caption)


def as_json(checks: list[_check.Check], times: list[_check.Timed], processor: str, others: float | None) -> str:
    content = {
        "configuration": _config.config(),
        "processor": processor,
        "checks": [c._asdict() for c in checks],
        "failures": _check.failures(checks),
        "CPUs busy with other processes": others,
        "times in ns per call": [
            {**t._asdict(), "times": {name: timing._asdict() for name, timing in t.times.items()}} for t in times
        ],
    }
    return json.dumps(content, indent=1) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m softlane",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="check only, without the times")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write everything measured to FILE")
    options = parser.parse_args(arguments)

    processor = _check.processor()
    _config.show_config()
    print(f"{'processor':16} {processor}")
    with progress(_check.CHECK_STEPS) as step:
        checks = _check.run_checks(step)
    show_checks(checks)
    times: list[_check.Timed] = []
    others = None
    if not options.check:
        load = _check.Load()
        with progress(2 * len(_check.TIMED)) as step:
            times = _check.run_times(step, SECONDS)
        others = load.others()
        show_times(times, others)
    if options.json:
        options.json.write_text(as_json(checks, times, processor, others), encoding="utf-8")
    failed = _check.failures(checks)
    for message in failed:
        print(f"FAILED: {message}", file=sys.stderr)
    print("Something is wrong: please report it with the output above." if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
