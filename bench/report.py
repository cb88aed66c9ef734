"""Judge and show: targets met or missed, the tables for the terminal and for Markdown. Measures nothing."""

from __future__ import annotations

import math
from typing import Any

import choices
import numpy as np
import options
from cases import CASES, FASTER, FASTER_AVX2, FASTER_GRADIENT, FASTER_MEAN, FIXED_BYTES, ROW_BYTES, Case
from peers import CANNOT_BE_HELD, NAMES
from rich import box
from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
Group = dict[str, Any]

BUSY = 0.1  # CPUs that other processes may use before a table carries a warning
OWN = {"softlane": "softlane", "fresh": "fresh out"}
BY_NAME = {case.name: case for case in CASES}


def minimum(row: Row, name: str) -> float | None:
    return row["times"][name]["minimum"] if name in row["times"] else None


def best_peer(row: Row, isa: str | None) -> tuple[str, float] | None:
    """The fastest peer that is under the same limits as softlane."""
    held = [name for name in NAMES if name in row["times"] and not (isa == "avx2" and name in CANNOT_BE_HELD)]
    return min(((name, row["times"][name]["minimum"]) for name in held), key=lambda p: p[1], default=None)


def target(case: Case, group: Group) -> tuple[str, float] | None:
    """As shown, and in ns per element or as a multiple of the limit's time; for one thread only."""
    if group["threads"] != 1:
        return None
    if group["isa"] == "avx2":
        return None if case.avx2_ns is None else (f"{case.avx2_ns:g}", case.avx2_ns)
    if group["isa"] is not None:
        return None
    if case.target_limit is not None:
        return f"{case.target_limit:g}x limit", case.target_limit
    return None if case.target_ns is None else (f"{case.target_ns:g}", case.target_ns)


def judge(row: Row, group: Group, serial: Row | None) -> dict[str, Any]:
    """Everything about a row that is computed from its times; `misses` says what was not reached."""
    case = BY_NAME[row["name"]]
    own = row["times"]["softlane"]["minimum"]
    found: dict[str, Any] = {"of limit": own / row["times"]["limit"]["minimum"], "misses": []}
    wanted = FASTER_AVX2 if group["isa"] == "avx2" else FASTER if group["isa"] else case.faster
    if peer := best_peer(row, group["isa"]):
        found["best peer"], found["faster"] = peer[0], peer[1] / own
        if found["faster"] < wanted:
            found["misses"].append(f"{found['faster']:.2f}x as fast as {peer[0]}, wanted {wanted:g}x")
    if aim := target(case, group):
        found["target"] = aim[0]
        got = found["of limit"] if "limit" in aim[0] else own / case.elements
        if got > aim[1]:
            unit = "of the limit's time" if "limit" in aim[0] else "ns per element"
            found["misses"].append(f"{got:.3g} {unit}, wanted {aim[1]:g}")
    if serial:
        found["scaling"] = serial["times"]["softlane"]["minimum"] / own
    return found


def judge_all(groups: list[Group]) -> None:
    """Adds the verdicts to the rows and the geometric means to the groups."""
    for group in groups:
        one = next((g for g in groups if g["threads"] == 1 < group["threads"] and g["isa"] == group["isa"]), None)
        serial = {row["name"]: row for row in one["rows"]} if one else {}
        for row in group["rows"]:
            row["verdict"] = judge(row, group, serial.get(row["name"]))
        ratios = [(BY_NAME[r["name"]], r["verdict"]["faster"]) for r in group["rows"] if "faster" in r["verdict"]]
        group["geometric mean"] = {
            "table": geometric_mean([ratio for case, ratio in ratios if case.in_table]),
            "all": geometric_mean([ratio for _, ratio in ratios]),
        }


def judge_memory(rows: list[Row]) -> None:
    """softlane allocates its result, a few bytes for each sample, and nothing of the size of the input."""
    for row in rows:
        case = BY_NAME[row["name"]]
        row["misses"] = []
        for name in ("softlane", "fresh"):
            result = case.elements * np.dtype(case.dtype).itemsize if name == "fresh" else 0
            allowed = result + ROW_BYTES * case.rows + FIXED_BYTES
            for kind, got in row["peaks"].get(name, {}).items():
                if got is not None and got > allowed:
                    label = OWN[name]
                    row["misses"].append(f"{label}: {got / 1e6:.3g} MB {kind}, allowed are {allowed / 1e6:.3g}")


def geometric_mean(values: list[float]) -> float | None:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def summary(results: dict[str, Any]) -> list[str]:
    lines = []
    for group in results["groups"]:
        for row in group["rows"]:
            lines += [f"MISSED  {group['title']}: {row['name']}: {miss}" for miss in row["verdict"]["misses"]]
        mean = group["geometric mean"]
        if mean["table"]:
            promised = group["isa"] is None
            missed = "MISSED  " if promised and mean["table"] < FASTER_MEAN else ""
            wanted = f" (wanted {FASTER_MEAN:g}x)" if promised else ""
            lines.append(
                f"{missed}{group['title']}: geometric mean of the speed-up over the best peer: {mean['table']:.2f}x "
                f"over the cases with targets{wanted}, {mean['all']:.2f}x over all"
            )
    for row in results.get("options", []):
        lines += [f"MISSED  {row['name']}, {miss}" for miss in row["misses"]]
    for row in results.get("choices", []):
        lines += [f"MISSED  {row['name']}, {row['threads']} threads: {miss}" for miss in row["misses"]]
    for row in results.get("memory", []):
        lines += [f"MISSED  memory: {row['name']}: {miss}" for miss in row["misses"]]
    return lines


def cell(case: Case, nanoseconds: float | None) -> str:
    if nanoseconds is None:
        return "-"
    if case.whole_call:
        return f"{nanoseconds / 1000:.3g} us"
    value = nanoseconds / case.elements
    return f"{value:.3f}" if value < 1 else f"{value:.3g}"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x" if value < 100 else f"{value:.0f}x"


def header(group: Group) -> list[str]:
    scaling = ["scaling"] if any("scaling" in row["verdict"] for row in group["rows"]) else []
    return ["case", "softlane", "fresh out", *NAMES, "limit", "best peer", "of limit", *scaling, "target", "verdict"]


def cells(row: Row, group: Group) -> list[str]:
    case, verdict = BY_NAME[row["name"]], row["verdict"]
    scaling = [ratio(verdict.get("scaling"))] if "scaling" in header(group) else []
    return [
        row["name"],
        *(cell(case, minimum(row, name)) for name in ("softlane", "fresh", *NAMES, "limit")),
        ratio(verdict.get("faster")),
        ratio(verdict["of limit"]),
        *scaling,
        verdict.get("target", "-"),
        "MISSED" if verdict["misses"] else "met",
    ]


def notes(group: Group) -> str:
    text = (
        "ns per element (us: the whole call), smallest of the samples; output reused, except under fresh out. Best "
        "peer: how many times faster than it softlane is. Limit: np.copyto, for what only reads x.max() (of the target "
        "too where it is as large), on one thread; of limit: softlane's time over that. Target: for one thread of a "
        f"Zen 5 server core; met: that and no peer faster, with gradients of cross-entropy {FASTER_GRADIENT:g} times "
        "as fast as the best peer."
    )
    if "scaling" in header(group):
        text += " Scaling: over one thread."
    if group["isa"] == "avx2":
        text += f" Met: {FASTER_AVX2:g} times as fast as the best peer."
        text += f" {', '.join(CANNOT_BE_HELD)} cannot be held to AVX2: shown, not counted as a peer."
    others = group["CPUs busy with other processes"]
    if others and others > BUSY:
        text += f" Other processes kept {others:.1f} CPUs busy meanwhile: measure again on a quiet machine."
    return text


MEMORY_HEADER = ["case", *OWN.values(), *NAMES, "verdict"]
MEMORY_NOTES = (
    "MB (10^6 bytes) at the peak of one call, beyond what was there: growth of the resident size, accurate to some "
    "0.3 MB, and in brackets what tracemalloc saw. What the call returns is included, unless it is written to an array "
    "that was there: sigmoids of softlane, SciPy, torch and ONNX Runtime, gradients of softlane. Under fresh out "
    f"softlane returns a new array. Met: no more than that, {ROW_BYTES} bytes for each sample and "
    f"{FIXED_BYTES / 1e6:g} MB."
)


def megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.2f}" if value < 1e7 else f"{value / 1e6:.1f}"


def memory_cell(peak: dict[str, int | None] | None) -> str:
    if peak is None:
        return "-"
    seen = "" if peak["traced"] is None else f" ({megabytes(peak['traced'])})"
    return megabytes(peak["resident"]) + seen


def memory_cells(row: Row) -> list[str]:
    peaks = (row["peaks"].get(name) for name in (*OWN, *NAMES))
    return [row["name"], *map(memory_cell, peaks), "MISSED" if row["misses"] else "met"]


def print_table(console: Console, title: str, names: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, name in enumerate(names):
        style = "bold" if name == "softlane" else None
        table.add_column(name, justify="right" if i else "left", no_wrap=name in ("case", "target"), style=style)
    for row in rows:
        table.add_row(*row, style="red" if row[-1] == "MISSED" else None)
    console.print(table)


def print_tables(results: dict[str, Any]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=170)
    for group in results["groups"]:
        title = f"{group['title']} ({results['processor']})"
        print_table(console, title, header(group), [cells(row, group) for row in group["rows"]])
        console.print(notes(group), "", sep="\n")
    if rows := results.get("choices"):
        print_table(console, "choices among classes", choices.HEADER, [choices.cells(row) for row in rows])
        console.print(choices.NOTES, "", sep="\n")
    if rows := results.get("options"):
        cells_of = [options.cells(row, BY_NAME[row["name"]]) for row in rows]
        print_table(console, "dtypes and options", options.HEADER, cells_of)
        console.print(options.NOTES, "", sep="\n")
    if memory := results.get("memory"):
        print_table(console, "memory", MEMORY_HEADER, [memory_cells(row) for row in memory])
        console.print(MEMORY_NOTES, "", sep="\n")
    for line in results["summary"]:
        console.print(line, style="red" if line.startswith("MISSED") else None, soft_wrap=True)


def markdown_table(names: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(names)} |", "|:--" + "|--:" * (len(names) - 1) + "|"]
    return lines + [f"| {' | '.join([first, f'**{own}**', *rest])} |" for first, own, *rest in rows]


def markdown(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [f"{results['processor']}; {results['platform']}; {versions}.", ""]
    if results["quick"]:
        lines += ["**A quick run: few samples, not for citing.**", ""]
    for group in results["groups"]:
        table = markdown_table(header(group), [cells(row, group) for row in group["rows"]])
        lines += [f"### {group['title']}", "", *table, "", notes(group), ""]
    if rows := results.get("choices"):
        table = markdown_table(choices.HEADER, [choices.cells(row) for row in rows])
        lines += ["### choices among classes", "", *table, "", choices.NOTES, ""]
    if rows := results.get("options"):
        table = markdown_table(options.HEADER, [options.cells(row, BY_NAME[row["name"]]) for row in rows])
        lines += ["### dtypes and options", "", *table, "", options.NOTES, ""]
    if memory := results.get("memory"):
        table = markdown_table(MEMORY_HEADER, [memory_cells(row) for row in memory])
        lines += ["### memory", "", *table, "", MEMORY_NOTES, ""]
    return "\n".join([*lines, *(f"- {line}" for line in results["summary"]), ""])
