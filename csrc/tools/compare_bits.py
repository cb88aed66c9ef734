"""Compare the bits that every path computes with those that stand in csrc/tools/bits.txt.

    python csrc/tools/compare_bits.py build/here/bits               run this program and compare
    python csrc/tools/compare_bits.py --path neon qemu-aarch64 ...  and fail where it has no path of this name
    python csrc/tools/compare_bits.py --first build/gcc/bits        compare the best path alone, and stop the program
    python csrc/tools/compare_bits.py --few build/here/bits qemu-s390x build/s390x-linux-musl/bits
                                            run the second program on few shapes and compare with the first
    python csrc/tools/compare_bits.py --accept build/here/bits      write the file from what the program prints

The program prints a line `<path> <operation> <hash>` for each; the file has a line `<operation> <hash>`, the same for
every path.
"""

import argparse
import itertools
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).with_name("bits.txt")
RENEW = """
If this change of bits is meant, run `make bits-accept`, commit csrc/tools/bits.txt with the change that caused it, and
say in the commit message which operations changed and why."""


def run(command, most=None):
    """{path: {operation: hash}} as the program prints them, of so many lines at most."""
    found = {}
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as program:
        for line in itertools.islice(program.stdout, most):
            path, operation, value = line.split()
            found.setdefault(path, {})[operation] = value
        if most:
            program.kill()
    if program.returncode and not most:
        sys.exit(f"{' '.join(command)} ended with code {program.returncode}")
    return found


def differences(found, expected):
    for path, hashes in found.items():
        for operation in sorted(hashes.keys() | expected.keys()):
            if operation not in hashes:
                yield f"{path}: {operation} is expected, but was not printed"
            elif operation not in expected:
                yield f"{path}: {operation} is not expected"
            elif hashes[operation] != expected[operation]:
                yield f"{path}: the bits of {operation} changed: {hashes[operation]}, expected {expected[operation]}"


def hashes_of_few(program, operations):
    """The hashes of few shapes, on which all paths of this program have to agree, for each of these operations."""
    found = run([program, "few"])
    expected = found["portable"]
    if wrong := [
        *differences(found, expected),
        *(f"few shapes leave {name} out" for name in operations - expected.keys()),
    ]:
        sys.exit("\n".join(wrong))
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="write bits.txt")
    parser.add_argument("--first", action="store_true", help="the first path alone")
    parser.add_argument("--few", metavar="PROGRAM", help="few shapes, whose bits have to be those of this program")
    parser.add_argument("--path", help="a path that must be there")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    expected = dict(line.split() for line in FILE.read_text().splitlines()) if not asked.accept else {}
    command, source, advice = asked.command, FILE.name, RENEW
    if asked.few:
        expected = hashes_of_few(asked.few, expected.keys())
        command, source, advice = [*command, "few"], f"{asked.few} few", ""
    found = run(command, len(expected) if asked.first else None)
    if not found or (asked.path and asked.path not in found):
        sys.exit(f"{' '.join(command)} ran the paths {', '.join(found) or 'none'}, expected {asked.path or 'one'}")
    if asked.accept:
        hashes = next(iter(found.values()))
        if wrong := list(differences(found, hashes)):
            sys.exit("\n".join(["The paths do not agree, nothing was written:", *wrong]))
        FILE.write_text("".join(f"{operation} {value}\n" for operation, value in hashes.items()))
        print(f"{len(hashes)} hashes written to {FILE.name}")
        return
    if wrong := list(differences(found, expected)):
        sys.exit("\n".join([*wrong, advice]))
    print(f"{len(expected)} operations on {', '.join(found)}: the bits are those of {source}")


if __name__ == "__main__":
    main()
