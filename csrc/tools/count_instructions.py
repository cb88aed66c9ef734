"""Compare how many instructions the AVX2 kernels execute with the counts that stand in csrc/tools/instructions.txt.

    python csrc/tools/count_instructions.py build/here/instructions             count and compare
    python csrc/tools/count_instructions.py --accept build/here/instructions    write the file from what was counted

This guards speed without a quiet machine: under valgrind a program executes the same instructions every time. A count
is that of one call, the difference between two runs of the program with different numbers of calls. It says nothing
about caches and little about latencies: a change that keeps the count can still be slower.

Counts depend on the compiler, which the first line of the file names. With another one the differences are printed, and
nothing fails.
"""

import argparse
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILE = Path(__file__).with_name("instructions.txt")
VALGRIND = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
TOLERANCE = 0.02
CALLS = 2
NO_PATH = 2  # how the program ends where the processor has no AVX2
RENEW = """
A count changed by more than {:.0%}. If that is meant, run `make instructions-accept` and commit
csrc/tools/instructions.txt with the change that caused it. A lower count has to be accepted too, else it could be lost
again unseen."""


def executed(program, name, calls):
    """The instructions of one run of the program, in all."""
    run = subprocess.run([*VALGRIND, program, name, str(calls)], text=True, capture_output=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", run.stderr)
    if run.returncode or not found:
        sys.exit(f"{name} ended with code {run.returncode} under valgrind:\n{run.stderr}")
    return int(found[1].replace(",", ""))


def count(program, names):
    """{name: instructions of one call}"""
    with ThreadPoolExecutor() as pool:
        runs = {name: [pool.submit(executed, program, name, calls) for calls in (0, CALLS)] for name in names}
        return {name: (many.result() - none.result()) // CALLS for name, (none, many) in runs.items()}


def report(found, expected):
    """Print a line for each job; are all within the tolerance?"""
    within = True
    print(f"{'instructions of one call':32}{'expected':>12}{'found':>12}{'change':>9}")
    for name in sorted(found.keys() | expected.keys(), key=[*found, *expected].index):
        if name in found and name in expected:
            change = found[name] / expected[name] - 1
            good, shown = abs(change) <= TOLERANCE, f"{change:+.1%}"
        else:
            good, shown = False, "-"
        verdict = "" if good else "  changed"
        print(f"{name:32}{expected.get(name, '-'):>12}{found.get(name, '-'):>12}{shown:>9}{verdict}")
        within = within and good
    return within


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="write instructions.txt")
    parser.add_argument("program")
    asked = parser.parse_args()
    compiler, *names = subprocess.run([asked.program], text=True, capture_output=True, check=True).stdout.splitlines()
    if subprocess.run([asked.program, names[0], "0"]).returncode == NO_PATH:
        print("This processor has no AVX2: no instructions were counted")
        return
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed: no instructions were counted")
    found = count(asked.program, names)
    if asked.accept:
        lines = [compiler, *(f"{name} {value}" for name, value in found.items())]
        FILE.write_text("\n".join([*lines, ""]))
        print(f"{len(found)} counts of {compiler} written to {FILE.name}")
        return
    known_compiler, *lines = FILE.read_text().splitlines()
    expected = {name: int(value) for name, value in map(str.split, lines)}
    within = report(found, expected)
    if compiler != known_compiler:
        print(f"{FILE.name} has the counts of {known_compiler}, this is {compiler}: a difference is no failure")
    elif not within:
        sys.exit(RENEW.format(TOLERANCE))


if __name__ == "__main__":
    main()
