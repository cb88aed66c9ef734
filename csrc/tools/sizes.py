"""Measure the functions and files of the C core, and fail where one is larger than CONTRIBUTING.md allows.

    python csrc/tools/sizes.py          what is over a limit
    python csrc/tools/sizes.py --all    the largest functions and files as well

A function is a definition, or a macro of more than one line. A branch is an if, for, while, case, &&, || or ?. This
reads the text of the files instead of a compiler's output, so it sees all sides of every #if, on any machine.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

LIMITS = {"lines": 60, "branches": 20, "parameters": 8}
FILE_LINES = 450

# What may be larger, by the name of a function or the path of a file in csrc/, and why.
EXCEPTIONS: dict[str, str] = {}

NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE)
MACRO = re.compile(r"#\s*define\s+(\w+)(\([^)]*\))?")
BRANCH = re.compile(r"\b(?:if|for|while|case)\b|&&|\|\||\?")
FUNCTION = re.compile(r"([A-Za-z_]\w*)\s*(\((?:[^()]|\([^()]*\))*\))\s*$")  # name and parameters


class Function(NamedTuple):
    name: str
    file: str
    line: int
    lines: int
    branches: int
    parameters: int

    def over(self):
        return [
            f"{getattr(self, what)} {what}, at most {most}"
            for what, most in LIMITS.items()
            if getattr(self, what) > most
        ]


def blank(match):
    """Spaces, and the same line ends, in place of what is not code."""
    return re.sub(r"[^\n]", " ", match.group())


def parameters(text):
    inside = text.strip()[1:-1].strip()
    while nested := re.search(r"\([^()]*\)", inside):
        inside = inside.replace(nested.group(), "")
    return 0 if inside in ("", "void") else inside.count(",") + 1


def functions(file, text):
    """The functions that this file defines, in the order of its lines."""
    code = NOT_CODE.sub(blank, text)

    def measure(name, start, body, arguments):
        line = code.count("\n", 0, start) + 1
        return Function(name, file, line, body.count("\n") + 1, len(BRANCH.findall(body)), parameters(arguments))

    for directive in DIRECTIVE.finditer(code):
        macro = MACRO.match(directive.group().strip())
        if macro and "\n" in directive.group().strip():
            yield measure(macro[1], directive.start(), directive.group(), macro[2] or "()")
    code = DIRECTIVE.sub(blank, code)
    depth, statement, opened, head = 0, 0, 0, ""
    for brace in re.finditer(r"[{};]", code):
        at = brace.start()
        if brace.group() == "{":
            if depth == 0:
                opened, head = statement, code[statement:at]
            depth += 1
        elif brace.group() == "}":
            depth -= 1
            if depth < 0:
                sys.exit(f"{file}:{code.count(chr(10), 0, at) + 1}: a brace closes that was not opened")
            found = FUNCTION.search(head) if depth == 0 else None
            if found and "=" not in head[: found.start()]:
                start = opened + len(head) - len(head.lstrip())
                yield measure(found[1], start, code[start : at + 1], found[2])
        if depth == 0:
            statement = at + 1
    if depth:
        sys.exit(f"{file}: a brace is not closed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="print the largest functions and files")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1], help="csrc/ by default")
    asked = parser.parse_args()
    texts = {
        path.relative_to(asked.root).as_posix(): path.read_text()
        for path in sorted(asked.root.rglob("*.[ch]"))
        if path.relative_to(asked.root).parts[0] not in ("simd", "tools")
    }
    found = [function for file, text in texts.items() for function in functions(file, text)]
    lengths = {file: text.count("\n") for file, text in texts.items()}
    if asked.all:
        print(f"{'lines':>5} {'branches':>8} {'parameters':>10}  function")
        for f in sorted(found, key=lambda f: (-f.lines, f.name))[:40]:
            print(f"{f.lines:5} {f.branches:8} {f.parameters:10}  {f.name} ({f.file}:{f.line})")
        print("\nlines  file")
        for file, lines in sorted(lengths.items(), key=lambda item: -item[1]):
            print(f"{lines:5}  {file}")
        print(f"{sum(lengths.values()):5}  in all\n")
    over = [(f.name, f"csrc/{f.file}:{f.line}: {f.name} has {', '.join(f.over())}") for f in found if f.over()]
    over += [
        (file, f"csrc/{file}: {lines} lines, at most {FILE_LINES}")
        for file, lines in lengths.items()
        if lines > FILE_LINES
    ]
    wrong = [message for name, message in over if name not in EXCEPTIONS]
    wrong += [
        f"{name} is no longer over a limit: take it from the exceptions" for name in set(EXCEPTIONS) - dict(over).keys()
    ]
    print(
        "\n".join(wrong)
        or f"{len(found)} functions in {len(texts)} files, within their limits but for {len(EXCEPTIONS)} exceptions"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
