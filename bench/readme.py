"""Copy figures from bench/results/ into README.md and docs/performance.md: between their markers, and into one point.

Run it after `make bench`, with the same interpreter: it also looks up how large the libraries are.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
# The pages are narrower, and have no goals of the project's own.
LEFT_OUT = {"fresh out", "NumPy", "C baseline", "of limit", "of C baseline", "target", "verdict"}
LIBRARIES = {
    "softlane": "softlane",
    "NumPy": "NumPy",
    "SciPy": "SciPy",
    "torch": "PyTorch",
    "ONNX Runtime": "ONNX Runtime",
}
CASES = {
    "softmax (10,)": "`softmax` of 10 numbers",
    "softmax (50000, 2)": "`softmax` of (50000, 2)",
    "softmax (8400, 80)": "`softmax` of (8400, 80)",
    "softmax (1, 21, 512, 512) axis 1": "`softmax` of (1, 21, 512, 512), axis 1",
    "logsumexp (65536, 512)": "`logsumexp` of (65536, 512)",
    "cross_entropy (4096, 1000)": "`cross_entropy` of (4096, 1000)",
}


def table_of_one_thread() -> list[str]:
    lines = (RESULTS / "table.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("### 1 thread")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:] if line.startswith("|")]
    rows = rows[: next((i for i, row in enumerate(rows) if i and row[0] == rows[0][0]), len(rows))]  # the next table
    keep = [i for i, name in enumerate(rows[0]) if name not in LEFT_OUT]
    return ["| " + " | ".join(row[i] for i in keep) + " |" for row in rows]


def table_of_overhead() -> list[str]:
    lines = (RESULTS / "overhead.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    keep = [i for i, name in enumerate(rows[0]) if name and name != "target"]
    return ["| " + " | ".join(row[i] for i in keep) + " |" for row in rows]


def duration(nanoseconds: float) -> str:
    for size, unit in ((1e6, "ms"), (1e3, "us")):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def row(name: str, values: list[float | None], show: Callable[[float], str]) -> str:
    """The smallest value is bold."""
    known = [value for value in values if value is not None]
    cells = ["-" if v is None else f"**{show(v)}**" if v == min(known) else show(v) for v in values]
    return f"| {name} | " + " | ".join(cells) + " |"


def summary(results: dict[str, Any]) -> list[str]:
    times = {row["name"]: row["times"] for row in results["groups"][0]["rows"]}
    errors = {
        key: [max(p["uniform"][key], p["normal"][key]) for p in results["accuracy"] if key in p["uniform"]]
        for key in LIBRARIES
    }
    worst = [max(found) if found else None for found in errors.values()]
    sizes = [megabytes(name) if name else None for name in ("softlane", None, "scipy", "torch", "onnxruntime")]
    lines = ["| | " + " | ".join(LIBRARIES.values()) + " |", "|:--|" + "--:|" * len(LIBRARIES)]
    for case, name in CASES.items():
        lines.append(
            row(name, [times[case][key]["minimum"] if key in times[case] else None for key in LIBRARIES], duration)
        )
    lines.append(
        row("largest error of `softmax`, ULP", worst, lambda e: f"{e:.1f}" if e < 10 else f"{float(f'{e:.2g}'):,.0f}")
    )
    lines.append(row("installed size, without dependencies", sizes, lambda size: f"{size:.3g} MB"))
    versions = results["versions"]
    note = (
        "Times are of one thread, float32, on an AMD EPYC processor (Zen 3, "
        f"{results['groups'][0]['active'].upper()}). The NumPy column times the plain expression. "
        f"SciPy {versions['scipy']} has no "
        "cross-entropy: its column times `log_softmax` and indexing. "
        f"PyTorch {versions['torch'].split('+')[0]} is the build for CPUs, ONNX Runtime is {versions['onnxruntime']}. "
        "One ULP (unit in the last place) is the distance between neighbouring floating-point numbers. Errors are the "
        "largest found in rows of 2 to a million float32 logits, uniform in ±80 or standard normal. That of ONNX "
        "Runtime is large because its small probabilities have few correct digits. `make bench` reproduces the figures."
    )
    lines += ["", *textwrap.wrap(note, 120, break_on_hyphens=False)]
    return lines


def speed(results: dict[str, Any]) -> list[str]:
    """The point about speed, with the cases where another library is faster"""
    group = results["groups"][0]
    slower: dict[str, list[float]] = {}
    compared = 0
    for case in group["rows"]:
        times = {key: time["minimum"] for key, time in case["times"].items()}
        peers = {times[key]: key for key in ("SciPy", "torch", "ONNX Runtime", "JAX") if key in times}
        compared += bool(peers)
        if peers and (best := min(peers)) < times["softlane"]:
            slower.setdefault(peers[best], []).append(100 * (1 - best / times["softlane"]))
    parts = [
        f"{LIBRARIES.get(name, name)} needs up to {max(found):.0f} % less time in {len(found)} cases"
        if len(found) > 1
        else f"{LIBRARIES.get(name, name)} {found[0]:.0f} % in one"
        for name, found in sorted(slower.items(), key=lambda item: -len(item[1]))
    ]
    text = (
        f"- **Fast.** Over {compared} benchmarks of functions and shapes with one thread, softlane is "
        f"{group['geometric mean']['all']:.1f} times as fast as the fastest of SciPy, PyTorch, ONNX Runtime and JAX "
        f"(geometric mean). In {sum(map(len, slower.values()))} of them another library is faster: {', '.join(parts)}. "
        "See [performance](https://softlane.readthedocs.io/en/latest/performance.html)."
    )
    return textwrap.wrap(text, 120, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def megabytes(name: str) -> float:
    """What the files of a package take, as installed; without compiled Python"""
    files = importlib.metadata.distribution(name).files or []
    paths = [Path(str(file.locate())) for file in files if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def put(path: Path, name: str, lines: list[str]) -> None:
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} begin -->\n", f"<!-- {name} end -->"
    assert text.count(begin) == text.count(end) == 1, (path, name)
    block = begin + "\n" + "\n".join(lines) + "\n\n" + end
    text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, text, flags=re.S)
    path.write_text(text, encoding="utf-8")


def put_point(path: Path, begin: str, lines: list[str]) -> None:
    """A point of a list, up to the next one"""
    text = path.read_text(encoding="utf-8")
    text, found = re.subn(rf"^{re.escape(begin)}.*?(?=^- )", lambda _: "\n".join(lines) + "\n", text, flags=re.S | re.M)
    assert found == 1, (path, begin)
    path.write_text(text, encoding="utf-8")


def main() -> None:
    results = json.loads((RESULTS / "bench.json").read_text(encoding="utf-8"))
    put(ROOT / "README.md", "summary", summary(results))
    put_point(ROOT / "README.md", "- **Fast.**", speed(results))
    first_line = (RESULTS / "table.md").read_text(encoding="utf-8").splitlines()[0]
    machine = f"Machine: {first_line} The path is {results['groups'][0]['active'].upper()}."
    put(ROOT / "docs" / "performance.md", "machine", [machine])
    put(ROOT / "docs" / "performance.md", "one thread", table_of_one_thread())
    put(ROOT / "docs" / "performance.md", "call overhead", table_of_overhead())


if __name__ == "__main__":
    main()
