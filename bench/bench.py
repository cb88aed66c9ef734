"""Run the benchmark: plan, start a process for each group of measurements, have the results evaluated and drawn.

python bench/bench.py [--quick] [--json FILE] [--cases REGEX] [--threads 1 2] [--isa avx2]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jobs
import report
from cases import CASES, LENGTHS, LOSSES

import softlane
from softlane import _core
from softlane._cli import show_step

# Seconds for a contender and samples at most, of a case and of a row length; elements of the rows; every nth length.
FULL = {
    "case": {"seconds": 0.28, "rounds": 40},
    "length": {"seconds": 0.1, "rounds": 15},
    "elements": 1 << 20,
    "nth": 1,
}
QUICK = {
    "case": {"seconds": 0.02, "rounds": 4},
    "length": {"seconds": 0.01, "rounds": 3},
    "elements": 1 << 17,
    "nth": 4,
}
TITLES = {"speed": "", "selection": "selection, ", "options": "dtypes, masks and temperatures, "}

Results = dict[str, Any]


@contextlib.contextmanager
def held(threads: int, isa: str | None) -> Iterator[None]:
    """A process that is started meanwhile has so many CPUs and threads and, if it is AVX2, that instruction set."""
    variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    xla = ["--xla_cpu_multi_thread_eigen=false"] if threads == 1 else []
    if isa:
        variables["SOFTLANE_ISA"] = isa
    if isa == "avx2":
        from numpy._core._multiarray_umath import __cpu_dispatch__ as paths

        variables["ATEN_CPU_CAPABILITY"] = "avx2"
        variables["NPY_DISABLE_CPU_FEATURES"] = " ".join(p for p in paths if p.startswith(("AVX512", "X86_V4")))
        xla.append("--xla_cpu_max_isa=AVX2")
    before, cpus = dict(os.environ), os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    os.environ |= variables | {"XLA_FLAGS": " ".join(xla)}
    if cpus:
        os.sched_setaffinity(0, sorted(cpus)[-threads:])
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if cpus:
            os.sched_setaffinity(0, cpus)


def run(title: str, job: Callable[..., Any], items: list[Any], threads: int = 1, isa: str | None = None) -> Any:
    """The results for the items, one after the other in a process of their own, and what that says about itself."""
    spawn = multiprocessing.get_context("spawn")
    rows = []
    with held(threads, isa), ProcessPoolExecutor(1, spawn, jobs.begin) as pool:
        for item in items:
            show_step(f"{title}: {item}")
            rows.append(pool.submit(job, item).result())
        return rows, pool.submit(jobs.about).result()


def measure(options: argparse.Namespace) -> Results:
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
    results: Results = {"groups": []}
    for table, count, isa in groups:
        names = [case.name for case in chosen if case.table == table]
        if names:
            title = f"{TITLES[table]}{count} thread{'s' if count > 1 else ''}" + (f", held to {isa}" if isa else "")
            key = "-".join(filter(None, ("" if table == "speed" else table, str(count), isa)))
            rows, about = run(title, partial(jobs.time_case, threads=count, **effort["case"]), names, count, isa)
            group = {"title": title, "key": key, "threads": count, "isa": isa, **about, "rows": rows}
            results["groups"].append(group)
            results.setdefault("versions", about["versions"])
    results["memory"], _ = run("memory", jobs.find_peaks, [case.name for case in chosen if case.op in LOSSES])
    if not options.cases and not options.isa:
        n, elements = effort["nth"], effort["elements"]
        timed = partial(jobs.time_length, elements=elements, threads=1, **effort["length"])
        results["lengths"], _ = run("rows of", timed, LENGTHS[::n])
        powers = [length for length in LENGTHS if length & (length - 1) == 0]
        results["accuracy"], _ = run("errors of rows of", partial(jobs.find_errors, elements=elements), powers[::n])
    show_step("")
    return results


def processor() -> str:
    """The name that the processor gives itself, with family and model, where Linux tells them."""
    with contextlib.suppress(OSError):
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
        fields = {key.strip(): value.strip() for key, _, value in lines}
        if "model name" in fields and "cpu family" in fields:
            return f"{fields['model name']}, family {fields['cpu family']} model {fields['model']}"
    return platform.processor() or platform.machine()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Time softlane beside NumPy, SciPy, PyTorch, ONNX Runtime and JAX, whichever are installed.",
        epilog="Tables, plots and the Markdown table are written beside the JSON file.",
    )
    parser.add_argument("--quick", action="store_true", help="few samples, a few minutes")
    default = Path(__file__).parent / "results" / "bench.json"
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
        **measure(options),
    }
    report.evaluate(results)
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
