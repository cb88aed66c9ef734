"""Check what is in a wheel: its size when installed, the symbols that its extension exports, and its files."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST_BYTES = 2_000_000
NEEDED = {"softlane/__init__.py", "softlane/__init__.pyi", "softlane/_core.pyi", "softlane/py.typed"}
UNWANTED = (".c", ".pyx", ".h", ".o")


def exported(extension: Path) -> list[str]:
    lines = subprocess.run(["nm", "-D", "--defined-only", extension], check=True, capture_output=True, text=True).stdout
    return [line.split()[-1] for line in lines.splitlines()]


def main() -> None:
    (path,) = sys.argv[1:]
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        files = {info.filename: info.file_size for info in wheel.infolist()}
        size = sum(files.values())
        (extension,) = (name for name in files if name.endswith(".so"))
        symbols = exported(Path(wheel.extract(extension, folder)))
    print(f"{path}: {size:,} bytes installed, of which the extension {files[extension]:,}; exports {symbols}")
    problems = [f"{name} is missing" for name in NEEDED - set(files)]
    problems += [f"{name} should not be there" for name in files if name.endswith(UNWANTED)]
    if size > MOST_BYTES:
        problems.append(f"{size:,} bytes installed, more than {MOST_BYTES:,}")
    if symbols != ["PyInit__core", "sl_thread_engine"]:
        problems.append("the extension exports other names than its init function and what threadpoolctl looks for")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
