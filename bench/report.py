"""Evaluate and show: targets met or missed, the tables for the terminal and for Markdown. Measures nothing."""

from __future__ import annotations

import math
import statistics
import textwrap
from typing import Any, NamedTuple

import numpy as np
from cases import BASELINES, BY_NAME, PEERS, Case

from softlane._cli import show_table

OWN = {"softlane": "softlane", "fresh": "fresh out"}
CANNOT_BE_HELD = ("ONNX Runtime",)  # it has no setting for the instruction set
FASTER_MEAN = 2.0  # promised over the best peer, on the geometric mean of the cases with targets
FASTER_AVX2 = 1.5  # over the peers that can be held to AVX2, on every shape
BUSY = 0.1  # CPUs that other processes may use before a table carries a warning
# What a loss may allocate beside its gradient, in bytes: for each sample, and once (which is also what the measurement
# of the resident size is worth).
ROW_BYTES = 16
FIXED_BYTES = 500_000

Row = dict[str, Any]
Group = dict[str, Any]


class Table(NamedTuple):
    title: str
    header: list[str]
    rows: list[list[str]]
    notes: str


# ---- Verdicts ----


def table_of(group: Group) -> str:
    return BY_NAME[group["rows"][0]["name"]].table


def target(case: Case, group: Group) -> tuple[float, str] | None:
    """What is wanted at most, and of what; for one thread only."""
    if group["threads"] != 1:
        return None
    if group["isa"] == "avx2":
        return case.avx2_ns and (case.avx2_ns, "ns per element")
    return (case.at_most, case.of) if case.at_most is not None and group["isa"] is None else None


def evaluate_row(row: Row, group: Group, serial: Row | None) -> Row:
    """Everything about a row that is computed from its times; `misses` says what was not reached."""
    case, times = BY_NAME[row["name"]], {name: t["minimum"] for name, t in row["times"].items()}
    own = times["softlane"]
    multiples = {name: own / times[name] for name in BASELINES if name in times}
    found: Row = {"of": multiples, "misses": []}
    if serial:
        found["scaling"] = serial["times"]["softlane"]["minimum"] / own
    held = [name for name in PEERS if name in times and not (group["isa"] == "avx2" and name in CANNOT_BE_HELD)]
    if held:
        peer = case.than or min(held, key=times.__getitem__)
        wanted = FASTER_AVX2 if group["isa"] == "avx2" else 1 if group["isa"] else case.faster
        found["best peer"], found["faster"] = peer, times[peer] / own
        if found["faster"] < wanted:
            found["misses"].append(f"{found['faster']:.2f}x as fast as {peer}, wanted {wanted:g}x")
    if wanted := target(case, group):
        at_most, of = wanted
        absolute = of == "ns per element"
        found["target"] = f"{at_most:.3g}" if absolute else f"{at_most:.3g}x {of}"
        got = own / case.elements if absolute else multiples[of]
        if got > at_most:
            unit = of if absolute else f"times the time of {'the limit' if of == 'limit' else of}"
            found["misses"].append(f"{got:.3g} {unit}, wanted {at_most:.3g}")
    return found


def evaluate_memory(row: Row) -> list[str]:
    """softlane allocates its result, a few bytes for each sample, and nothing of the size of the input."""
    case, misses = BY_NAME[row["name"]], []
    samples = math.prod(case.batch) if case.op.startswith("cross") else 0
    for name in OWN:
        result = case.elements * np.dtype(case.dtype).itemsize if name == "fresh" else 0
        allowed = result + ROW_BYTES * samples + FIXED_BYTES
        for kind, got in row["peaks"].get(name, {}).items():
            if got is not None and got > allowed:
                misses.append(f"{OWN[name]}: {got / 1e6:.3g} MB {kind}, allowed are {allowed / 1e6:.3g}")
    return misses


def evaluate_mean(group: Group) -> list[str]:
    """The geometric mean of the speed-up over the best peer, if there are targets."""
    ratios = [(BY_NAME[r["name"]], r["verdict"]["faster"]) for r in group["rows"] if "faster" in r["verdict"]]
    with_target = [ratio for case, ratio in ratios if case.at_most is not None]
    if not with_target or table_of(group) != "speed":
        return []
    mean, every = statistics.geometric_mean(with_target), statistics.geometric_mean([ratio for _, ratio in ratios])
    group["geometric mean"] = {"table": mean, "all": every}
    missed = "MISSED  " if group["isa"] is None and mean < FASTER_MEAN else ""
    wanted = f" (wanted {FASTER_MEAN:g}x)" if group["isa"] is None else ""
    return [
        f"{missed}{group['title']}: geometric mean of the speed-up over the best peer: {mean:.2f}x over the cases with "
        f"targets{wanted}, {every:.2f}x over all"
    ]


def evaluate(results: dict[str, Any]) -> None:
    """Adds the verdicts to the rows, and a summary."""
    lines = results["summary"] = []
    serial = {(row["name"], g["isa"]): row for g in results["groups"] for row in g["rows"] if g["threads"] == 1}
    for group in results["groups"]:
        for row in group["rows"]:
            one = serial.get((row["name"], group["isa"])) if group["threads"] > 1 else None
            row["verdict"] = evaluate_row(row, group, one)
            lines += [f"MISSED  {group['title']}: {row['name']}: {miss}" for miss in row["verdict"]["misses"]]
        lines += evaluate_mean(group)
    for row in results["memory"]:
        row["misses"] = evaluate_memory(row)
        lines += [f"MISSED  memory: {row['name']}: {miss}" for miss in row["misses"]]


# ---- Tables ----


def time_cell(case: Case, nanoseconds: float | None) -> str:
    if nanoseconds is None:
        return "-"
    if case.whole_call:
        return f"{nanoseconds / 1000:.3g} us"
    value = nanoseconds / case.elements
    return f"{value:.3f}" if value < 1 else f"{value:.3g}"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x" if value < 100 else f"{value:.0f}x"


NOTES = {
    "speed": (
        "ns per element (us: the whole call), smallest of the samples; output reused, except under fresh out. Best "
        "peer: how many times faster than it softlane is. Limit: np.copyto, for what only reads x.max() (of the target "
        "too where it is as large), on one thread; of limit: softlane's time over that. C baseline: a plain loop of "
        "three passes without softlane's accuracy, on one thread; of C baseline: the price of exactness. Target: for "
        "one thread of a Zen 5 server core; met: that and no peer faster, with gradients of cross-entropy 2.5 times as "
        "fast as the best peer."
    ),
    "selection": (
        "The whole call. topk with probabilities, argmax with its probability, take_log_probs and rank of one class of "
        "each row, sample with top_k=50 and top_p=0.95. Best peer: how many times faster than it softlane is, for "
        "sample than NumPy; met: 8 times for topk of up to 50 from a vocabulary, 10 times for sample. Of x.max(), of "
        "logsumexp, of softmax: softlane's time over theirs on the same array, and what the target is a multiple of."
    ),
    "options": (
        "ns per element (us: the whole call) of softmax with 16-bit floats in and out, uint8 to float32, a fifth of "
        "the elements hidden (where), one temperature or one for each row. Of float32: the time over that of plain "
        "float32 on the same shape, and what the target is a multiple of. Met: that, and 16-bit floats 3 times as fast "
        "as PyTorch."
    ),
}


def notes(group: Group, scaling: bool) -> str:
    text = NOTES[table_of(group)] + (" Scaling: over one thread." if scaling else "")
    if group["isa"] == "avx2":
        text += f" Met: {FASTER_AVX2:g} times as fast as the best peer."
        text += f" {', '.join(CANNOT_BE_HELD)} cannot be held to AVX2: shown, not counted as a peer."
    others = group["CPUs busy with other processes"]
    if others and others > BUSY:
        text += f" Other processes kept {others:.1f} CPUs busy meanwhile: measure again on a quiet machine."
    return text


def group_table(group: Group) -> Table:
    """The columns are whatever was measured."""
    measured = {name for row in group["rows"] for name in row["times"]}
    timed = [name for name in ("softlane", "fresh", *PEERS, *BASELINES) if name in measured]
    baselines = [name for name in BASELINES if name in measured]
    scaling = ["scaling"] if any("scaling" in row["verdict"] for row in group["rows"]) else []
    rows = []
    for row in group["rows"]:
        case, verdict = BY_NAME[row["name"]], row["verdict"]
        times = (row["times"].get(name, {}).get("minimum") for name in timed)
        ratios = [verdict.get("faster"), *map(verdict["of"].get, baselines), *map(verdict.get, scaling)]
        cells = [*(time_cell(case, time) for time in times), *map(ratio, ratios)]
        rows.append([row["name"], *cells, verdict.get("target", "-"), "MISSED" if verdict["misses"] else "met"])
    header = ["case", *(OWN.get(n, n) for n in timed), "best peer", *(f"of {n}" for n in baselines), *scaling]
    return Table(group["title"], [*header, "target", "verdict"], rows, notes(group, bool(scaling)))


MEMORY_NOTES = (
    "MB (10^6 bytes) at the peak of one call, beyond what was there: growth of the resident size, accurate to some "
    "0.3 MB, and in brackets what tracemalloc saw. What the call returns is included, unless it is written to an array "
    "that was there: sigmoids of softlane, SciPy, torch and ONNX Runtime, gradients of softlane. Under fresh out "
    f"softlane returns a new array. Met: no more than that, {ROW_BYTES} bytes for each sample and "
    f"{FIXED_BYTES / 1e6:g} MB."
)


def memory_table(memory: list[Row]) -> Table:
    def cell(peak: dict[str, int | None]) -> str:
        values = ("-" if v is None else f"{v / 1e6:.{2 if v < 1e7 else 1}f}" for v in peak.values())
        return "{1} ({0})".format(*values) if peak.get("traced") is not None else "{1}".format(*values) if peak else "-"

    rows = []
    for row in memory:
        cells = [cell(row["peaks"].get(name, {})) for name in (*OWN, *PEERS)]
        rows.append([row["name"], *cells, "MISSED" if row["misses"] else "met"])
    return Table("memory", ["case", *OWN.values(), *PEERS, "verdict"], rows, MEMORY_NOTES)


def tables(results: dict[str, Any]) -> list[Table]:
    memory = [memory_table(results["memory"])] if results["memory"] else []
    return [*map(group_table, results["groups"]), *memory]


def print_tables(results: dict[str, Any]) -> None:
    for table in tables(results):
        show_table(table.title, table.header, table.rows)
        print(f"\n{textwrap.fill(table.notes, 120)}")
    print("", *results["summary"], sep="\n")


def markdown(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [f"{results['processor']}; {results['platform']}; {versions}.", ""]
    if results["quick"]:
        lines += ["**A quick run: few samples, not for citing.**", ""]
    for title, header, rows, text in tables(results):
        lines += [f"### {title}", "", f"| {' | '.join(header)} |", "|:--" + "|--:" * (len(header) - 1) + "|"]
        lines += [f"| {' | '.join([first, f'**{own}**', *rest])} |" for first, own, *rest in rows]
        lines += ["", text, ""]
    return "\n".join([*lines, *(f"- {line}" for line in results["summary"]), ""])
