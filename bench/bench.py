"""Run the benchmark: plan the jobs, start a worker for each, collect, and have the results judged and drawn.

python bench/bench.py [--quick] [--json FILE] [--cases REGEX] [--threads 1 2] [--isa avx2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import choices
import losses
import options as variants
import peers
import report
from cases import CASES, LENGTHS, Case
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import softlane
from softlane import _core
from softlane._check import processor

HERE = Path(__file__).parent

# Seconds for a case or a row length, samples at most, elements of the rows.
FULL = {"cases": (2.2, 40), "lengths": (0.8, 15), "elements": 1 << 20, "every": 1}
QUICK = {"cases": (0.2, 5), "lengths": (0.1, 3), "elements": 1 << 18, "every": 3}

Job = dict[str, Any]


def make_group(threads: int, isa: str | None, cases: list[Case], effort: dict[str, Any]) -> Job:
    seconds, rounds = effort["cases"]
    title = f"{threads} thread{'s' if threads > 1 else ''}" + (f", held to {isa}" if isa else "")
    key = f"{threads}" + (f"-{isa}" if isa else "")
    job = {"kind": "cases", "threads": threads, "isa": isa, "cases": cases, "seconds": seconds, "rounds": rounds}
    return {**job, "title": title, "key": key, "steps": len(cases)}


def make_curves(effort: dict[str, Any]) -> list[Job]:
    seconds, rounds = effort["lengths"]
    common = {"threads": 1, "isa": None, "elements": effort["elements"]}
    lengths = LENGTHS[:: effort["every"]]
    powers = [n for n in LENGTHS if n & (n - 1) == 0][:: effort["every"]]
    return [
        {**common, "kind": "lengths", "lengths": lengths, "seconds": seconds, "rounds": rounds, "steps": len(lengths)},
        {**common, "kind": "accuracy", "lengths": powers, "steps": len(powers)},
    ]


def make_memory(cases: list[Case]) -> list[Job]:
    chosen = [case for case in cases if case.op in losses.CALLS]
    return [{"kind": "memory", "threads": 1, "isa": None, "cases": chosen, "steps": len(chosen)}] if chosen else []


def make_options(cases: list[Case], effort: dict[str, Any]) -> list[Job]:
    chosen = [case for case in cases if case.op == "softmax" and case.in_table]
    seconds, rounds = effort["cases"]
    common = {"kind": "options", "threads": 1, "isa": None, "seconds": seconds, "rounds": rounds}
    return [{**common, "cases": chosen, "steps": len(chosen)}] if chosen else []


def make_choices(options: argparse.Namespace, threads: list[int], effort: dict[str, Any]) -> list[Job]:
    names = [name for name in choices.BY_NAME if not options.cases or options.cases.search(name)]
    seconds, rounds = effort["cases"]
    common = {"kind": "choices", "isa": None, "seconds": seconds, "rounds": rounds, "names": names, "steps": len(names)}
    return [{**common, "threads": count} for count in threads] if names and not options.isa else []


def start(job: Job, errors: Any) -> subprocess.Popen[str]:
    """A worker with the job's environment, on as many CPUs as it has threads."""
    environment = os.environ | peers.environment(job["threads"], job["isa"])
    command = [sys.executable, str(HERE / "worker.py"), json.dumps(job)]

    def popen() -> subprocess.Popen[str]:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)

    if not hasattr(os, "sched_setaffinity"):
        return popen()
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(mine)[-job["threads"] :])  # the child inherits it
    try:
        return popen()
    finally:
        os.sched_setaffinity(0, mine)


def run(job: Job, step: Callable[[str], None]) -> tuple[list[Any], dict[str, Any]]:
    """The results of a job, and what its worker says about itself."""
    results, about = [], {}
    with tempfile.TemporaryFile("w+") as errors:
        worker = start(job, errors)
        assert worker.stdout is not None
        for line in worker.stdout:
            message = json.loads(line)
            if "step" in message:
                step(message["step"])
            elif "result" in message:
                results.append(message["result"])
            else:
                about = message["about"]
        if worker.wait():
            errors.seek(0)
            sys.exit(f"{errors.read()}\nA worker ended with status {worker.returncode}: {json.dumps(job)}")
    return results, about


def run_all(jobs: list[Job]) -> dict[str, Any]:
    results: dict[str, Any] = {"groups": []}
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, refresh_per_second=1) as progress:  # seldom: the parent should not take a CPU's time
        task = progress.add_task("", total=sum(job["steps"] for job in jobs))
        for job in jobs:
            title = job.get("title", "1 thread")

            def step(text: str, title: str = title) -> None:
                progress.update(task, advance=1, description=f"{title}: {text}")

            rows, about = run(job, step)
            results.setdefault("versions", about["versions"])
            if job["kind"] == "cases":
                kept = {key: job[key] for key in ("title", "key", "threads", "isa")}
                results["groups"].append({**kept, **about, "isa": job["isa"], "active": about["isa"], "rows": rows})
            else:
                results.setdefault(job["kind"], []).extend(rows)
    return results


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Time softlane beside NumPy, SciPy, PyTorch, ONNX Runtime and JAX, whichever are installed.",
        epilog="Tables, plots and the Markdown table are written beside the JSON file.",
    )
    parser.add_argument("--quick", action="store_true", help="few samples, a few minutes")
    default = HERE / "results" / "bench.json"
    parser.add_argument("--json", type=Path, default=default, metavar="FILE", help="default: bench/results/bench.json")
    parser.add_argument("--cases", type=re.compile, metavar="REGEX", help="only cases whose name matches; no curves")
    parser.add_argument("--threads", type=int, nargs="+", metavar="N", help="default: 1, and all")
    parser.add_argument(
        "--isa", nargs="+", choices=_core.available_isas(), help="hold softlane (and peers) to it, instead of the best"
    )
    return parser.parse_args()


def plan(options: argparse.Namespace) -> list[Job]:
    effort = QUICK if options.quick else FULL
    cases = [case for case in CASES if not options.cases or options.cases.search(case.name)]
    threads = options.threads or list(dict.fromkeys((1, softlane.get_num_threads())))
    chosen = make_choices(options, threads, effort)
    if not cases and not chosen:
        names = [case.name for case in CASES] + list(choices.BY_NAME)
        sys.exit(f"no case matches {options.cases.pattern!r}; there are: {', '.join(names)}")
    groups = [(count, isa) for isa in options.isa or [None] for count in threads]
    if not options.isa and not options.threads and "avx2" in _core.available_isas()[1:]:
        groups.append((1, "avx2"))
    curves = [] if options.cases or options.isa else make_curves(effort)
    once = make_memory(cases) + (make_options(cases, effort) if 1 in threads and not options.isa else [])
    timed = [make_group(count, isa, cases, effort) for count, isa in groups] if cases else []
    return timed + chosen + once + curves


def main() -> None:
    options = parse()
    results = {
        "processor": processor(),
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "quick": options.quick,
        **run_all(plan(options)),
    }
    report.judge_all(results["groups"])
    report.judge_memory(results.get("memory", []))
    for row in results.get("options", []):
        variants.judge(row, report.BY_NAME[row["name"]])
    for row in results.get("choices", []):
        choices.judge(row)
    results["summary"] = report.summary(results)
    folder = options.json.parent
    folder.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(report.markdown(results), encoding="utf-8")
    report.print_tables(results)
    try:
        import plots
    except ImportError as error:
        print(f"no plots: {error}")
    else:
        plots.draw(results, folder)
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
