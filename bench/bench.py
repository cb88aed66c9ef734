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

import report
from cases import CASES, LENGTHS, LOSSES
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import softlane
from softlane import _core

HERE = Path(__file__).parent

# Seconds for a contender and samples at most, of a case and of a row length; elements of the rows.
FULL = {"cases": (0.28, 40), "lengths": (0.1, 15), "elements": 1 << 20, "every": 1}
QUICK = {"cases": (0.02, 4), "lengths": (0.01, 3), "elements": 1 << 17, "every": 4}
TITLES = {"speed": "", "selection": "selection, ", "options": "dtypes, masks and temperatures, "}

Job = dict[str, Any]


def plan(options: argparse.Namespace) -> list[Job]:
    """The groups of cases that are timed together, then what is measured once."""
    effort = QUICK if options.quick else FULL
    chosen = [case for case in CASES if not options.cases or options.cases.search(case.name)]
    if not chosen:
        sys.exit(f"no case matches {options.cases.pattern!r}; there are: {', '.join(case.name for case in CASES)}")
    threads = options.threads or list(dict.fromkeys((1, softlane.get_num_threads())))
    settings = [(count, isa) for isa in options.isa or [None] for count in threads]
    groups = [(table, *setting) for table in TITLES for setting in settings if table != "options" or setting[0] == 1]
    if not options.isa and not options.threads and "avx2" in _core.available_isas()[1:]:
        groups.insert(len(settings), ("speed", 1, "avx2"))
    jobs = []
    for table, count, isa in groups:
        title = f"{TITLES[table]}{count} thread{'s' if count > 1 else ''}" + (f", held to {isa}" if isa else "")
        key = "-".join(filter(None, (table if table != "speed" else "", str(count), isa)))
        seconds, rounds = effort["cases"]
        job = {"kind": "cases", "title": title, "key": key, "threads": count, "isa": isa}
        job |= {"seconds": seconds, "rounds": rounds, "cases": [case.name for case in chosen if case.table == table]}
        jobs.append(job)
    once = {"threads": 1, "isa": None, "elements": effort["elements"]}
    jobs.append({**once, "kind": "memory", "cases": [case.name for case in chosen if case.op in LOSSES]})
    if not options.cases and not options.isa:
        seconds, rounds = effort["lengths"]
        lengths, powers = (ns[:: effort["every"]] for ns in (LENGTHS, [n for n in LENGTHS if n & (n - 1) == 0]))
        jobs.append({**once, "kind": "lengths", "lengths": lengths, "seconds": seconds, "rounds": rounds})
        jobs.append({**once, "kind": "accuracy", "lengths": powers})
    return [job for job in jobs if job.get("cases") != []]


def environment(threads: int, isa: str | None) -> dict[str, str]:
    """Variables that hold softlane and the peers to a number of threads and, for AVX2, an instruction set."""
    held = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    xla = ["--xla_cpu_multi_thread_eigen=false"] if threads == 1 else []
    if isa:
        held["SOFTLANE_ISA"] = isa
    if isa == "avx2":
        from numpy._core._multiarray_umath import __cpu_dispatch__ as paths

        held["ATEN_CPU_CAPABILITY"] = "avx2"
        held["NPY_DISABLE_CPU_FEATURES"] = " ".join(p for p in paths if p.startswith(("AVX512", "X86_V4")))
        xla.append("--xla_cpu_max_isa=AVX2")
    return held | {"XLA_FLAGS": " ".join(xla)}


def start(job: Job, errors: Any) -> subprocess.Popen[str]:
    """A worker with the job's environment, on as many CPUs as it has threads."""
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if mine:
        os.sched_setaffinity(0, sorted(mine)[-job["threads"] :])  # the child inherits it
    try:
        command = [sys.executable, str(HERE / "worker.py"), json.dumps(job)]
        held = os.environ | environment(job["threads"], job["isa"])
        return subprocess.Popen(command, env=held, stdout=subprocess.PIPE, stderr=errors, text=True)
    finally:
        if mine:
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
        task = progress.add_task("", total=sum(len(job.get("cases") or job["lengths"]) for job in jobs))
        for job in jobs:
            title = job.get("title", "1 thread")

            def step(text: str, title: str = title) -> None:
                progress.update(task, advance=1, description=f"{title}: {text}")

            rows, about = run(job, step)
            results.setdefault("versions", about["versions"])
            if job["kind"] == "cases":
                results["groups"].append(
                    {**{k: job[k] for k in ("title", "key", "threads", "isa")}, **about, "rows": rows}
                )
            else:
                results[job["kind"]] = rows
    return results


def processor() -> str:
    """The name that the processor gives itself; family and model where there are any."""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"] if sys.platform == "darwin" else ["lscpu"]
    try:
        environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    except (OSError, subprocess.SubprocessError):
        return platform.processor() or platform.machine()
    if sys.platform == "darwin":
        return text.strip()
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in text.splitlines())}
    name = fields.get("Model name") or platform.machine()
    return f"{name}, family {fields['CPU family']} model {fields['Model']}" if "CPU family" in fields else name


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
    parser.add_argument("--isa", nargs="+", choices=_core.available_isas(), help="hold softlane (and peers) to it")
    return parser.parse_args()


def main() -> None:
    options = parse()
    results = {
        "processor": processor(),
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "quick": options.quick,
        **run_all(plan(options)),
    }
    report.judge(results)
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
