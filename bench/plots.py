"""Draw the picture of the front page, speed per case, time and error against row length. Measures nothing.

`python bench/plots.py FILE` draws those of a results file again, beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cases import BY_NAME, C_BASELINE
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = {
    "softlane": "#D55E00",
    "NumPy": "#999999",
    "SciPy": "#E69F00",
    "torch": "#0072B2",
    "ONNX Runtime": "#009E73",
    "JAX": "#CC79A7",
    C_BASELINE: "#56B4E9",
    "limit": "#000000",
}
MARKERS = dict(zip(COLOURS, "oxs^DvP", strict=False)) | {"limit": ""}
LABELS = {"limit": "limit: np.copyto, x.max()", "NumPy": "NumPy expression", C_BASELINE: "C baseline: no contract"}
DECIMAL = FuncFormatter(lambda value, _: f"{value:g}")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def draw_speed(group: dict[str, Any], processor: str, path: Path) -> None:
    """Bars for the cases with targets, all of a case beside each other."""
    rows = [row for row in group["rows"] if BY_NAME[row["name"]].at_most] or group["rows"]
    names = [n for n in COLOURS if n != "limit" and any(n in row["times"] for row in rows)]
    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.13 * len(rows) * (len(names) + 1)))
    height = 0.84 / len(names)
    for i, row in enumerate(rows):
        values = {n: t["minimum"] / BY_NAME[row["name"]].elements for n, t in row["times"].items()}
        for place, name in enumerate(names):
            if name not in values:
                continue
            y, value = i - 0.42 + (place + 0.5) * height, values[name]
            axes.barh(y, value, height, color=COLOURS[name], label=name)
            text = f"{value:.2f}" if value < 1 else f"{value:.3g}"
            weight = "bold" if name == "softlane" else "normal"
            axes.text(value * 1.04, y, text, va="center", fontsize=6.5, fontweight=weight)
        limit = values["limit"]
        axes.plot([limit, limit], [i - 0.46, i + 0.46], color=COLOURS["limit"], linewidth=1.8, label="limit")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(DECIMAL)
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


def _draw_curves(axes: Any, points: list[dict[str, Any]], values: Callable[[dict[str, Any]], dict[str, float]]) -> None:
    for name, colour in COLOURS.items():
        known = [(p["n"], values(p)[name]) for p in points if name in values(p)]
        if known:
            own = name == "softlane"
            style = {"linewidth": 2.4 if own else 1.3, "markersize": 4, "zorder": 3 if own else 2}
            style |= {"marker": MARKERS[name], "color": colour, "label": LABELS.get(name, name)}
            axes.plot(*zip(*known, strict=True), "--" if name == "limit" else "-", **style)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(DECIMAL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("classes in a row")
    axes.grid(alpha=0.3)


def draw_lengths(points: list[dict[str, Any]], processor: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 5))
    _draw_curves(axes, points, lambda p: {k: t["minimum"] / (p["n"] * p["rows"]) for k, t in p["times"].items()})
    axes.set_ylabel("ns per element")
    total = round(points[0]["n"] * points[0]["rows"], -3)
    axes.set_title(f"softmax of float32 rows, {total:,} elements together, 1 thread\n{processor}", fontsize=11)
    axes.legend(fontsize=8)
    _save(figure, path)


def draw_accuracy(points: list[dict[str, Any]], processor: str, path: Path) -> None:
    figure, both = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    for axes, kind, title in zip(both, ("uniform", "normal"), ("uniform in ±80", "standard normal"), strict=True):
        _draw_curves(axes, points, lambda p, kind=kind: p[kind])
        axes.axhline(2, color="black", linewidth=1, linestyle=":")
        axes.text(0.01, 2.08, "2 ULP: softlane's promise", fontsize=8, transform=axes.get_yaxis_transform())
        axes.set_title(f"logits {title}", fontsize=10)
    both[0].set_ylabel("largest error of a result in ULP")
    both[0].legend(fontsize=8)
    figure.suptitle(f"Error of softmax on float32 rows ({processor})", fontsize=11)
    _save(figure, path)


SUMMARY = (
    "softmax (50000, 2)",
    "softmax (8400, 80)",
    "softmax (1, 128256)",
    "logsumexp (65536, 512)",
    "cross_entropy (4096, 1000)",
)


def draw_summary(results: dict[str, Any], path: Path) -> None:
    """The picture of the front page: times of a few cases, and errors against the row length."""
    rows = {row["name"]: row["times"] for row in results["groups"][0]["rows"]}
    libraries = [
        name for name in ("softlane", "torch", "ONNX Runtime", "SciPy") if name in results["accuracy"][0]["uniform"]
    ]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    height = 0.8 / len(libraries)
    for i, case in enumerate(SUMMARY):
        for place, name in enumerate(libraries):
            if name not in rows[case]:
                continue
            value = rows[case][name]["minimum"] / BY_NAME[case].elements
            y = i - 0.4 + (place + 0.5) * height
            left.barh(y, value, height * 0.92, color=COLOURS[name], label=name if i == 0 else None)
            left.text(value * 1.05, y, f"{value:.2g}", va="center", fontsize=8)
    left.set_xscale("log")
    left.xaxis.set_major_formatter(DECIMAL)
    left.set_xlim(right=left.get_xlim()[1] * 1.6)
    left.set_ylim(len(SUMMARY) - 0.5, -0.5)
    left.set_yticks(range(len(SUMMARY)), [name.replace(" (", "\n(") for name in SUMMARY])
    left.set_xlabel("nanoseconds per element (log scale): shorter is faster")
    left.set_title("Time, one thread, float32", fontsize=11)
    left.legend(fontsize=8, loc="lower right")
    _draw_curves(right, results["accuracy"], lambda p: {name: p["uniform"][name] for name in libraries})
    right.set_ylabel("largest error in ULP")
    right.set_title("Error of softmax, float32, logits uniform in ±80", fontsize=11)
    right.legend(fontsize=8)
    figure.suptitle(results["processor"], fontsize=9)
    _save(figure, path)


def draw(results: dict[str, Any], folder: Path) -> None:
    for group in results["groups"]:
        if BY_NAME[group["rows"][0]["name"]].table == "speed":
            draw_speed(group, results["processor"], folder / f"speed-{group['key']}.png")
    if results.get("accuracy") and {row["name"] for row in results["groups"][0]["rows"]}.issuperset(SUMMARY):
        draw_summary(results, folder / "summary.png")
    for key, function in (("lengths", draw_lengths), ("accuracy", draw_accuracy)):
        if results.get(key):
            function(results[key], results["processor"], folder / f"{key}.png")


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        draw(json.loads(file.read_text(encoding="utf-8")), file.parent)
