"""Compare the instruction-set extensions that the x86-64 objects use with those whose bits csrc/dispatch.c asks for.

    python csrc/tools/extensions.py build/here

objdump disassembles every instruction and GNU as assembles it again. It refuses what is neither in the baseline of
x86-64 nor in the extensions that it is told of, so no table of instructions is needed. An extension is in use where as
refuses instructions without it. A path may use what dispatch.c has found before it calls the path, and must use each
extension that dispatch.c asks for on its account: so every run also sees that as does refuse.
"""

import re
import subprocess
import sys
from pathlib import Path

DISPATCH = Path(__file__).parents[1] / "dispatch.c"
# Intel's manual, volume 2, CPUID: of leaf 1 the bits of ecx, of leaf 7 the bits of ebx, by their names in `as`
BITS = {
    ("one[2]", 12): "fma",
    ("one[2]", 28): "avx",
    ("one[2]", 29): "f16c",
    ("seven[1]", 5): "avx2",
    ("seven[1]", 16): "avx512f",
    ("seven[1]", 17): "avx512dq",
    ("seven[1]", 30): "avx512bw",
    ("seven[1]", 31): "avx512vl",
}
BASELINE = "generic64+ibt"  # endbr64 does nothing where it is not known
PART_OF_AVX = ["popcnt"]  # to `as`; CPUID has a bit of its own for it

LINE = re.compile(r"^ *[0-9a-f]+:\t((?:[0-9a-f]{2} )+) *\t(.+)$")
EVEX = re.compile(r"(?:(?:26|2e|36|3e|64|65|67) )*62 ")  # the first byte of an instruction that is not a prefix
TARGET = re.compile(r"\b[0-9a-f]+ <[^>]*>$")
PADDING = re.compile(r"^(?:data16 )+")
# GCC writes rep bsf, which is tzcnt on processors with BMI1, where both give the same: for numbers other than 0.
TZCNT = re.compile(r"^tzcnt\b")


def asked_for():
    """{path: extensions that dispatch.c finds before it calls the kernels of this path, but not of those before}"""
    text = DISPATCH.read_text()
    found = {"portable": []}
    for path, condition in re.findall(r"\*(avx\w+) = ([^;=]*==[^;]*);", text):
        found[path] = [BITS[word, int(bit)] for word, bit in re.findall(r"bit\((\w+\[\d\]), (\d+)\)", condition)]
    return found


def instructions(file):
    """Those of this object, each once, as `as` reads them."""
    command = ["objdump", "--disassemble", "--insn-width=15", file]
    found = {}
    for line in subprocess.run(command, text=True, check=True, stdout=subprocess.PIPE).stdout.splitlines():
        if match := LINE.match(line):
            code, text = match.groups()
            text = PADDING.sub("", TZCNT.sub("rep bsf", TARGET.sub(".", text.split("#")[0].strip())))
            # `as` would choose the shorter encoding, of AVX.
            found["{evex} " + text if EVEX.match(code) and "{evex}" not in text else text] = None
    if not found:
        sys.exit(f"{file}: no instructions")
    return list(found)


def refused(lines, extensions, without=()):
    """{instruction: why} of those that a processor with these extensions, but some, does not have."""
    march = "+".join([BASELINE, *extensions, *(f"no{name}" for name in without)])
    command = ["as", "--64", f"-march={march}", "-o", "/dev/null", "-"]
    result = subprocess.run(command, input="\n".join(lines) + "\n", text=True, capture_output=True, check=False)
    errors = re.findall(r"^\{standard input\}:(\d+): Error: (.+)$", result.stderr, re.MULTILINE)
    if result.returncode and not errors:
        sys.exit(result.stderr)
    return {lines[int(number) - 1]: why for number, why in errors}


def main():
    (folder,) = map(Path, sys.argv[1:])
    failed, extensions = False, []
    for path, own in asked_for().items():
        extensions += own
        files = sorted(folder.glob(f"isa/{path}_*.o"))
        if path == "portable":
            files += [folder / "parallel.o", folder / "pool.o"]
        lines = list(dict.fromkeys(line for file in files for line in instructions(file)))
        never_asked = [name for name in PART_OF_AVX if name not in extensions]
        wrong = refused(lines, extensions, never_asked)
        used = [name for name in own if refused(lines, extensions, [*never_asked, name])]
        for line, why in wrong.items():
            print(f"{path}: {line}: {why}")
        for name in own:
            if name not in used:
                print(f"{path}: dispatch.c asks for {name}, which no instruction needs")
        failed |= bool(wrong) or used != own
        print(f"{path}: {len(lines)} different instructions; dispatch.c asks for {', '.join(extensions) or 'nothing'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
