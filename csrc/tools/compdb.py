"""Write compile_commands.json for clangd, or compile every entry of it.

    python csrc/tools/compdb.py                   write the file
    python csrc/tools/compdb.py --check clang-16  and compile each entry, without output; a warning is an error

Each .c file has an entry, and so has each part (.inc.h): it must be readable when it is opened by itself.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Icsrc"]
PART_FLAGS = ["-x", "c", "-Wno-unused-function", "-Wno-unused-const-variable"]  # of a part that is opened by itself


def entries(compiler):
    for path in sorted([*ROOT.glob("csrc/**/*.c"), *ROOT.glob("csrc/**/*.inc.h")]):
        file = path.relative_to(ROOT).as_posix()
        flags = FLAGS if path.suffix == ".c" else [*FLAGS, *PART_FLAGS]
        yield {"directory": str(ROOT), "file": file, "arguments": [compiler, *flags, "-c", file]}


def check(entry):
    command = [*entry["arguments"], "-fsyntax-only", "-Werror"]
    return subprocess.run(command, cwd=ROOT, text=True, stderr=subprocess.STDOUT, stdout=subprocess.PIPE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", metavar="CLANG", help="compile each entry with this compiler")
    asked = parser.parse_args()
    commands = list(entries(asked.check or "clang"))
    (ROOT / "compile_commands.json").write_text(json.dumps(commands, indent=1) + "\n")
    if not asked.check:
        return
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(check, commands))
    failed = [entry["file"] for entry, result in zip(commands, results, strict=True) if result.returncode]
    print("".join(result.stdout for result in results), end="")
    if failed:
        sys.exit(f"{len(failed)} of {len(commands)} files do not compile by themselves: {' '.join(failed)}")
    print(f"{len(commands)} files compile by themselves")


if __name__ == "__main__":
    main()
