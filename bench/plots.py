"""Draw: speed per case, time and error against row length, from the results of bench.py. Measures nothing.

`python bench/plots.py FILE` draws those of a results file again, beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cases import CASES
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = {
    "softlane": "#D55E00",
    "NumPy": "#999999",
    "SciPy": "#E69F00",
    "torch": "#0072B2",
    "ONNX Runtime": "#009E73",
    "JAX": "#CC79A7",
    "limit": "#000000",
}
MARKERS = {"softlane": "o", "NumPy": "x", "SciPy": "s", "torch": "^", "ONNX Runtime": "D", "JAX": "v", "limit": ""}
LABELS = {"limit": "limit: np.copyto, x.max()", "NumPy": "NumPy expression"}
BY_NAME = {case.name: case for case in CASES}


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _plain(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.3g}"


_DECIMAL = FuncFormatter(lambda value, _: f"{value:g}")


def draw_speed(group: dict[str, Any], processor: str, path: Path) -> None:
    """Bars for the cases of the design's table, all of a case beside each other."""
    rows = [row for row in group["rows"] if BY_NAME[row["name"]].in_table] or group["rows"]
    names = [n for n in COLOURS if n != "limit" and any(n in row["times"] for row in rows)]
    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.13 * len(rows) * (len(names) + 1)))
    height = 0.84 / len(names)
    for row_index, row in enumerate(rows):
        elements = BY_NAME[row["name"]].elements
        for i, name in enumerate(names):
            if name not in row["times"]:
                continue
            y, value = row_index - 0.42 + (i + 0.5) * height, row["times"][name]["minimum"] / elements
            axes.barh(y, value, height, color=COLOURS[name], label=name)
            weight = "bold" if name == "softlane" else "normal"
            axes.text(value * 1.04, y, _plain(value), va="center", fontsize=6.5, fontweight=weight)
        limit = row["times"]["limit"]["minimum"] / elements
        span = [row_index - 0.46, row_index + 0.46]
        axes.plot([limit, limit], span, color=COLOURS["limit"], linewidth=1.8, label="limit")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_DECIMAL)
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.3, high * 1.6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_xlabel("ns per element, log scale: shorter is faster")
    axes.set_title(f"softlane and its peers, {group['title']}\n{processor}", fontsize=11)
    axes.grid(axis="x", which="major", alpha=0.3)
    axes.set_axisbelow(True)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [n for n in COLOURS if n in handles]
    axes.legend([handles[n] for n in order], [LABELS.get(n, n) for n in order], fontsize=8, loc="best")
    _save(figure, path)


def _curves(axes: Any, points: list[dict[str, Any]], values: Any, names: list[str]) -> None:
    for name in names:
        known = [(p["n"], values(p, name)) for p in points if values(p, name) is not None]
        if known:
            own = name == "softlane"
            style = {"linewidth": 2.4 if own else 1.3, "markersize": 4, "zorder": 3 if own else 2}
            line = "--" if name == "limit" else "-"
            label = LABELS.get(name, name)
            axes.plot(*zip(*known, strict=True), line, marker=MARKERS[name], color=COLOURS[name], label=label, **style)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_DECIMAL)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("classes in a row")
    axes.grid(alpha=0.3)


def draw_lengths(points: list[dict[str, Any]], processor: str, path: Path) -> None:
    def value(point: dict[str, Any], name: str) -> float | None:
        times = point["times"]
        return times[name]["minimum"] / (point["n"] * point["rows"]) if name in times else None

    figure, axes = plt.subplots(figsize=(9, 5))
    _curves(axes, points, value, list(COLOURS))
    axes.set_ylabel("ns per element")
    total = round(points[0]["n"] * points[0]["rows"], -3)
    axes.set_title(f"softmax of float32 rows, {total:,} elements together, 1 thread\n{processor}", fontsize=11)
    axes.legend(fontsize=8)
    _save(figure, path)


def draw_accuracy(points: list[dict[str, Any]], processor: str, path: Path) -> None:
    figure, both = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    for axes, kind, title in zip(both, ("uniform", "normal"), ("uniform in ±80", "standard normal"), strict=True):
        _curves(axes, points, lambda p, name, kind=kind: p[kind].get(name), list(COLOURS))
        axes.axhline(2, color="black", linewidth=1, linestyle=":")
        axes.text(0.01, 2.08, "2 ULP: softlane's promise", fontsize=8, transform=axes.get_yaxis_transform())
        axes.set_title(f"logits {title}", fontsize=10)
    both[0].set_ylabel("largest error of a result in ULP")
    both[0].legend(fontsize=8)
    figure.suptitle(f"Error of softmax on float32 rows ({processor})", fontsize=11)
    _save(figure, path)


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    paths = []
    for group in results["groups"]:
        paths.append(folder / f"speed-{group['key']}.png")
        draw_speed(group, results["processor"], paths[-1])
    for key, function in (("lengths", draw_lengths), ("accuracy", draw_accuracy)):
        if results.get(key):
            paths.append(folder / f"{key}.png")
            function(results[key], results["processor"], paths[-1])
    return paths


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        print(*draw(json.loads(file.read_text(encoding="utf-8")), file.parent), sep="\n")
