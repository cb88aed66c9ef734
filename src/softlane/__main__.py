"""The command line, `softlane` or `python -m softlane`: its options and its exit status."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from softlane import _cli
from softlane._files import stopped_by_signals
from softlane._version import __version__

# What a command writes, and an example of it
FUNCTIONS = {
    "softmax": ("probabilities", "logits.npy -o probs.npy --temperature 0.8"),
    "log-softmax": ("logarithms of the probabilities", "logits.npy -o log_probs.npy --dtype float32"),
    "logsumexp": ("the logarithm of the sum of exp(x) of each row", "maps.npy -o totals.npy --axis 1"),
    "cross-entropy": ("the loss of each row, and print the mean", "logits.npy labels.npy -o losses.npy --json"),
    "argmax": ("the class with the largest logit of each row", "maps.npy -o classes.npy --axis 1"),
    "topk": ("the K largest probabilities of each row, and their classes", "logits.npy -o top5.npz --k 5"),
    "entropy": ("the entropy of each row, in nats", "logits.npy -o entropy.npy"),
}


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="check this installation and time it",
        description="Check softlane on this machine, in some 20 seconds: its configuration, the error (in ULP) and the "
        "bits of every instruction set path, its speed beside NumPy. The exit status is 1 if a path is less accurate "
        "than promised or the paths disagree in a bit.",
        epilog="Example: softlane check --no-times",
        allow_abbrev=False,
    )
    parser.add_argument("--no-times", action="store_true", help="check only, without the times")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="also write all measurements to FILE (JSON)")
    parser.set_defaults(run=_cli.check, parser=parser)


def _add_function(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> None:
    what, example = FUNCTIONS[name]
    suffix, content = (".npz", "the arrays 'values' and 'indices'") if name == "topk" else (".npy", "the result")
    needs = {"cross-entropy": "TARGETS.npy ", "topk": "--k K "}.get(name, "")
    parser = commands.add_parser(
        name,
        usage=f"softlane {name} INPUT.npy {needs}-o OUT{suffix} [options]",
        allow_abbrev=False,
        help=f"write {what}",
        description=f"Write {what}. Files may be larger than memory. The output appears when it is complete.",
        epilog=f"Example: softlane {name} {example}",
    )
    add = parser.add_argument
    add("input", metavar="INPUT.npy", help="logits, in C order")
    if name == "cross-entropy":
        add("targets", metavar="TARGETS.npy", help="class indices, an integer for each row")
        add("--ignore-index", metavar="N", type=int, default=-100, help="target of rows that do not count (-100)")
        parser.set_defaults(reduction="none")
    add("-o", "--output", metavar=f"OUT{suffix}", required=True, help=f"file for {content}")
    if name == "topk":
        add("--k", metavar="K", type=int, required=True, help="number of classes of each row")
    add("--axis", metavar="N", type=int, default=-1, help="the class axis (default: the last one)")
    if name != "argmax":
        add("--dtype", choices=["float16", "float32", "float64"], help="of the result (default: that of the function)")
        add("--temperature", metavar="T", type=float, help="divide logits by T")
    add("--threads", metavar="N", type=int, help="threads (default: OMP_NUM_THREADS, else one for each processor)")
    add("--force", action="store_true", help="replace the output file if it exists")
    add("--json", action="store_true", help="print a report as JSON on standard output")
    add("--quiet", action="store_true", help="print neither progress nor the report line on standard error")
    parser.set_defaults(run=_cli.run, parser=parser, suffix=suffix)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="softlane",
        description="Softmax functions of .npy files of any size, and a check of the installation.",
        epilog="'softlane COMMAND --help' has the options of a command. Exit status: 0 success, 1 an error in the data "
        "or of the disk, 2 a wrong command line, 130 an interrupt.",
    )
    parser.add_argument("--version", action="version", version=f"softlane {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    _add_check(commands)
    for name in FUNCTIONS:
        _add_function(commands, name)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        (options.parser if options.command else parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command is None:
        parser.print_help(sys.stderr)
        parser.exit(2)
    if options.command != "check" and not options.output.endswith(options.suffix):
        options.parser.error(f"-o {options.output}: expected a name that ends in {options.suffix}")
    return options


def main(arguments: list[str] | None = None) -> int:
    for name in ("stdout", "stderr"):  # None where it was closed
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    options = _parse(arguments)
    message = ""
    try:
        with stopped_by_signals():
            status: int = options.run(options)
            sys.stdout.flush()
    except KeyboardInterrupt:
        status, message = 130, "interrupted"
    except Exception as error:  # of softlane, whose messages begin with the function, or of a file
        message = str(error).removeprefix(f"{options.command.replace('-', '_')}: ") or type(error).__name__
        status, message = 1, " ".join(message.split())
    try:
        sys.stdout.flush()
    except OSError:  # of which a message says already; Python is not to try again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if message:
        print(f"softlane {options.command}: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
