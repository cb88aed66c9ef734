"""Random calls of the whole package against its references: `make fuzz`. test_fuzz.py runs the first 2,000.

A seed and an index say everything about a call, so that `--seed S --only INDEX` repeats it. A call has arrays of any
shape, layout and dtype, an output with guard bytes around it that may overlap an argument, any options, instruction set
path and number of threads, and goes the short way, the checked one, or in chunks through the Python files. It must give
the bits of the same call on plain copies without an output, and some calls are compared with the references too. In
some, an argument is wrong or hostile: both calls must then end alike. An error must leave `out` as it was.
"""

import argparse
import contextlib
import faulthandler
import functools
import math
import mmap
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
from fuzz_calls import random_call
from fuzz_others import FileCall, StreamCall

PROGRAM = [__file__]


def call_of(seed, index, choices=None):
    """choices: of rows of ops.py, and nothing but these"""
    r = random.Random(f"{seed} {index}")
    g = np.random.Generator(np.random.SFC64(r.getrandbits(64)))
    kind = r.random()
    if choices:
        call = random_call(r, g, choices)
    else:
        call = FileCall(r, g) if kind < 0.01 else StreamCall(r, g) if kind < 0.04 else random_call(r, g)
    return call, r.random() < 0.4


def failure_of(seed, index, choices=None):
    """None, or what went wrong and how to repeat it."""
    try:
        call, with_reference = call_of(seed, index, choices)
    except Exception:
        return f"call {index} of seed {seed} cannot be made:\n{traceback.format_exc()}"
    try:
        call.check(with_reference)
    except Exception as error:
        text = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
        return f"call {index} of seed {seed}: softlane.{call.function}: {text}\n\n{call.source()}\n"
    return None


@contextlib.contextmanager
def strictly():
    """Warnings and floating-point errors are errors."""
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        yield


def run(seed, calls, seconds=math.inf, most=20, choices=None, mark=lambda index: None, report=None):
    """What failed, of calls 0 to `calls` of a seed."""
    begin, failures, index = time.monotonic(), [], 0
    with strictly():
        for index in range(calls):
            mark(index)
            failure = failure_of(seed, index, choices)
            if failure:
                failures.append(failure)
                if report:
                    report(failure)
            if len(failures) >= most or (index % 100 == 99 and time.monotonic() - begin > seconds):
                break
            if report and index % 10_000 == 9_999:
                report(f"{index + 1} calls, {(index + 1) / (time.monotonic() - begin):.0f} a second")
    if report:
        report(f"{index + 1} calls of seed {seed} in {time.monotonic() - begin:.0f} s, {len(failures)} failed")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--only", type=int, metavar="INDEX", help="print this call of the seed, and run it")
    parser.add_argument("--counter", help=argparse.SUPPRESS)
    options = parser.parse_args()
    faulthandler.enable()
    if options.only is not None:
        with strictly():
            print(call_of(options.seed, options.only)[0].source(), flush=True)
            failure = failure_of(options.seed, options.only)
        print(failure.partition("\n\nimport")[0] if failure else "passed")
        return bool(failure)
    if options.counter:
        with open(options.counter, "r+b") as file, mmap.mmap(file.fileno(), 8) as counter:

            def mark(index):
                counter[:] = index.to_bytes(8, "little")

            report = functools.partial(print, flush=True)
            return bool(run(options.seed, options.calls, 60 * options.minutes, mark=mark, report=report))
    return supervise(options)


def supervise(options):
    """The run in a child, so that a crash does not lose which call it was."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(8))
        file.flush()
        arguments = ["--calls", str(options.calls), "--seed", str(options.seed), "--minutes", str(options.minutes)]
        status = subprocess.run([sys.executable, *PROGRAM, *arguments, "--counter", file.name]).returncode
        if status < 0:
            index = int.from_bytes(Path(file.name).read_bytes(), "little")
            print(f"signal {-status} in call {index}: --seed {options.seed} --only {index}")
    return status


if __name__ == "__main__":
    sys.exit(main())
