"""Draw time per element against the bytes that a call touches, from L1 to DRAM, beside a copy in the same run.

python bench/roofline.py [--quick] [--isa avx2] [--json FILE]    measure and draw: a minute
python bench/roofline.py --draw [--json FILE]                    draw again

softmax, log_softmax and logsumexp of float32 rows of 1000, on one thread; np.copyto(out, x) is the limit of what reads
x and writes out. Writes roofline.json, roofline.md and roofline.svg beside each other, by default to bench/results/.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import jobs
import plots
from cases import C_BASELINE
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import bench
from softlane import _core
from softlane._cli import show_table

N = 1000
ROWS = sorted({2**k for k in range(17)} | {3 * 2**k for k in range(1, 15)})  # x has 4 KB to 262 MB
FULL = {"seconds": 0.4, "rounds": 60}
QUICK = {"seconds": 0.03, "rounds": 5}
CURVES = {
    "softmax": ("#D55E00", "o-", "softmax"),
    "log_softmax": ("#0072B2", "s-", "log_softmax"),
    "logsumexp": ("#009E73", "^-", "logsumexp, which reads x alone"),
    C_BASELINE: ("#56B4E9", "P-", "softmax of the C baseline"),
    "limit": ("#000000", "--", "limit: np.copyto(out, x)"),
}

Results = dict[str, Any]


def caches() -> dict[str, int]:
    """{"L1": bytes, ...} of the first processor, where Linux tells."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = int(size.removesuffix("K")) << 10
    return found


def measure(effort: dict[str, Any], isa: str | None) -> Results:
    points, about = bench.run("rows of 1000", partial(jobs.time_rows, n=N, **effort), ROWS, 1, isa)
    return {"processor": bench.processor(), "caches": caches(), "isa": isa, **about, "points": points}


def per_element(point: Results, name: str) -> float:
    return point["times"][name]["minimum"] / (point["rows"] * N)


def touched(point: Results, name: str) -> int:
    """Bytes of x and out. The result of logsumexp is a number for each row."""
    return 4 * point["rows"] * (N + (1 if name == "logsumexp" else N))


def show_bytes(value: float, _: Any = None) -> str:
    unit, name = next((u, n) for u, n in ((1 << 20, "MB"), (1 << 10, "KB"), (1, "B")) if value >= u or u == 1)
    return f"{value / unit:.3g} {name}" if value < 1000 * unit else f"{value / unit:.0f} {name}"


def draw(results: Results, path: Path) -> None:
    figure, axes = plots.plt.subplots(figsize=(9, 5.2))
    points = results["points"]
    for name, (colour, style, label) in CURVES.items():
        known = [(touched(p, name), per_element(p, name)) for p in points if name in p["times"]]
        if known:
            axes.plot(*zip(*known, strict=True), style, color=colour, markersize=4, label=label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=4, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(show_bytes))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(plots.DECIMAL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    for name, size in results["caches"].items():
        axes.axvline(size, color="black", linewidth=0.8, linestyle=":")
        axes.text(size, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", fontsize=8)
    axes.set_xlabel("bytes that a call touches, x and out")
    axes.set_ylabel("ns per element, smallest of the samples")
    title = f"float32 rows of {N}, 1 thread, {results['active']}"
    axes.set_title(f"{title}\n{results['processor']}", fontsize=11, pad=16)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plots.plt.close(figure)


def table(results: Results) -> tuple[list[str], list[list[str]]]:
    names = [name for name in CURVES if any(name in p["times"] for p in results["points"])]
    rows = []
    for point in results["points"]:
        cells = [f"{per_element(point, name):.3f}" if name in point["times"] else "-" for name in names]
        rows.append([f"({point['rows']}, {N})", show_bytes(touched(point, "softmax")), *cells])
    return ["x", "x and out", *names], rows


def markdown(results: Results) -> str:
    header, rows = table(results)
    lines = [f"| {' | '.join(header)} |", "|:--" + "|--:" * (len(header) - 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    sizes = ", ".join(f"{name} {show_bytes(size)}" for name, size in results["caches"].items())
    about = f"{results['processor']}, {results['active']}, one thread; {sizes or 'size of caches unknown'}."
    note = "ns per element, smallest of the samples; output reused. Limit: np.copyto(out, x)."
    busy = results["CPUs busy with other processes"] or 0
    return "\n".join([about, "", *lines, "", note, f"Other processes kept {busy:.1f} CPUs busy meanwhile.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few samples: a look")
    parser.add_argument("--draw", action="store_true", help="draw the file again, measure nothing")
    parser.add_argument("--isa", choices=_core.available_isas(), help="hold softlane to it")
    default = Path(__file__).parent / "results" / "roofline.json"
    parser.add_argument("--json", type=Path, default=default, metavar="FILE", help="by default in bench/results/")
    options = parser.parse_args()
    if not options.draw:
        results = measure(QUICK if options.quick else FULL, options.isa)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results = json.loads(options.json.read_text(encoding="utf-8"))
    show_table(f"rows of {N}", *table(results))
    options.json.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    draw(results, options.json.with_suffix(".svg"))
    print(f"written to {options.json.parent}")


if __name__ == "__main__":
    main()
