"""Show what `_check` finds: `python -m softlane` says what this installation is, whether it is right, and how fast."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from softlane import _check, _config
from softlane._version import __version__


def show_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for row in [header, *rows]:
        print(row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)), sep="  ")


def show_progress(text: str) -> None:
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m softlane",
        description="Check softlane on this machine, in some 20 seconds: its configuration, the error (in ULP) and the "
        "bits of every instruction set path, its speed beside NumPy.",
        epilog="The exit status is 1 if a path is less accurate than promised or the paths disagree in a bit.",
    )
    parser.add_argument("--check", action="store_true", help="check only, without the times")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write everything measured to FILE")
    parser.add_argument("--version", action="version", version=f"softlane {__version__}")
    options = parser.parse_args(arguments)
    if options.json:
        is_new = not os.path.lexists(options.json)  # a link that leads nowhere is there
        try:
            options.json.open("a", encoding="utf-8").close()
        except OSError as error:
            parser.error(f"--json {options.json} cannot be written: {error.strerror}")
        if is_new:
            options.json.unlink()

    _config.show_config()
    checks = _check.run_checks(show_progress)
    show_progress("")
    show_checks(checks)
    times = [] if options.check else _check.run_times(show_progress)
    show_progress("")
    if times:
        show_times(times)
    failed = _check.failures(checks)
    if options.json:
        content = {"configuration": _config.config(), "checks": [c._asdict() for c in checks], "failures": failed}
        content["times in ns per call"] = [t._asdict() for t in times]
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for message in failed:
        print(f"FAILED: {message}", file=sys.stderr)
    print("Something is wrong: please report it with the output above." if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
