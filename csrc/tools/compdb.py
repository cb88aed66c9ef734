"""Write compile_commands.json for clangd, or compile every entry of it.

    python csrc/tools/compdb.py                   write the file
    python csrc/tools/compdb.py --check clang-16  and compile each entry, without output; a warning is an error

Each .c file has an entry, and so has each part (.inc.h): it must be readable when it is opened by itself. Headers that
need others before them have an entry with these; a header that is missing below has none, and fails nowhere.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CSRC = Path(__file__).resolve().parents[1]
ROOT = CSRC.parent
FLAGS = ["-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Icsrc"]
HEADER = ["-x", "c", "-Wno-unused-function", "-Wno-unused-const-variable"]  # of a header that is opened by itself
UNIT = ["-DSL_UNIT(name)=name", "-include", "isa/unit.h"]
AARCH64 = "--target=aarch64-linux-gnu"
HEADERS = {  # and simd/vec_<isa>.h after UNIT
    "simd/few_classes.h": ["-include", "stddef.h"],
    "isa/real_f32.h": [*UNIT, "-include", "simd/vec_portable.h"],
    "isa/real_f64.h": [*UNIT, "-include", "simd/vec_portable.h"],
}


def entries(compiler):
    units, parts, vectors = (sorted(CSRC.glob(f"**/{name}")) for name in ("*.c", "*.inc.h", "vec_*.h"))
    flags = {unit: [] for unit in units} | {part: HEADER for part in parts}
    flags |= {vector: [*HEADER, *UNIT] for vector in vectors}
    flags |= {CSRC / name: [*HEADER, *needed] for name, needed in HEADERS.items()}
    for path, own in flags.items():
        if "neon" in path.name:
            own = [*own, AARCH64]
        file = path.relative_to(ROOT).as_posix()
        yield {"directory": str(ROOT), "file": file, "arguments": [compiler, *FLAGS, *own, "-c", file]}


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
