"""Copy figures from bench/results/ into README.md and docs/performance.md, between their markers.

Run it after `make bench`, with the same interpreter: it also looks up how large the libraries are.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
# The pages are narrower, and have no goals of the project's own.
LEFT_OUT = {"fresh out", "NumPy", "C baseline", "of limit", "of C baseline", "target", "verdict"}
LIBRARIES = {"softlane": "softlane", "SciPy": "SciPy", "torch": "PyTorch", "ONNX Runtime": "ONNX Runtime"}
CASES = {
    "softmax (10,)": "`softmax` of 10 numbers, one call",
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


def summary(results: dict[str, Any]) -> list[str]:
    times = {row["name"]: row["times"] for row in results["groups"][0]["rows"]}
    lines = ["| one thread, float32 | " + " | ".join(LIBRARIES.values()) + " |", "|:--|" + "--:|" * len(LIBRARIES)]
    for case, name in CASES.items():
        cells = [duration(times[case][key]["minimum"]) if key in times[case] else "-" for key in LIBRARIES]
        lines.append(f"| {name} | **{cells[0]}** | " + " | ".join(cells[1:]) + " |")
    worst = {key: 0.0 for key in LIBRARIES}
    for point in results["accuracy"]:
        for key in LIBRARIES:
            worst[key] = max(worst[key], point["uniform"][key], point["normal"][key])
    cells = [f"{error:.1f}" if error < 10 else f"{float(f'{error:.2g}'):,.0f}" for error in worst.values()]
    lines.append(f"| largest error of `softmax`, in ULP (see below) | **{cells[0]}** | " + " | ".join(cells[1:]) + " |")
    cells = [f"{megabytes(name):.3g} MB" for name in ("softlane", "scipy", "torch", "onnxruntime")]
    lines.append(f"| installed size, without dependencies | **{cells[0]}** | " + " | ".join(cells[1:]) + " |")
    versions = results["versions"]
    torch = versions["torch"].split("+")[0]
    lines += ["", f"{results['processor']}, {results['groups'][0]['active'].upper()}; SciPy {versions['scipy']},"]
    lines += [f"PyTorch {torch} for CPUs, ONNX Runtime {versions['onnxruntime']}. `make bench` reproduces the figures."]
    return lines


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


def main() -> None:
    results = json.loads((RESULTS / "bench.json").read_text(encoding="utf-8"))
    put(ROOT / "README.md", "summary", summary(results))
    first_line = (RESULTS / "table.md").read_text(encoding="utf-8").splitlines()[0]
    machine = f"Machine: {first_line} The path is {results['groups'][0]['active'].upper()}."
    put(ROOT / "docs" / "performance.md", "machine", [machine])
    put(ROOT / "docs" / "performance.md", "one thread", table_of_one_thread())
    put(ROOT / "docs" / "performance.md", "call overhead", table_of_overhead())


if __name__ == "__main__":
    main()
