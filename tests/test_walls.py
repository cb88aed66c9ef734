"""The walls of the house: what each source file must not contain. Skipped where the sources are not at hand."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from softlane import _files

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.skipif(not (CSRC / "softlane.h").exists(), reason="the C sources are not beside the tests"),
]


def without_comments(file):
    text = file.read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)


def names(files):
    return {file.name for file in files}


# The library. csrc/tools is not part of it: its programs test the library, and may name what the library must not.
SOURCES = {
    file: without_comments(file)
    for file in sorted([*CSRC.rglob("*.c"), *CSRC.rglob("*.h")])
    if "tools" not in file.relative_to(CSRC).parts
}
VECTORS = [file for file in SOURCES if file.name.startswith("vec_")]
ISAS = [file.stem.removeprefix("vec_") for file in VECTORS]
UNITS = [file for file in SOURCES if file.parent.name == "isa" or file.name.startswith("isa")]
KERNELS = [file for file in SOURCES if file.name.endswith(".inc.h") and file not in UNITS]


def files_with(pattern):
    return [file for file, text in SOURCES.items() if re.search(pattern, text, re.MULTILINE)]


def test_the_globs_find_every_kind_of_file():
    """So that no rule below holds because it looks at nothing."""
    assert set(ISAS) >= {"portable", "avx2", "avx512", "neon"}
    assert {"softlane.h", "parallel.c", "dispatch.c"} <= names(SOURCES)
    for isa in ISAS:
        assert [file for file in UNITS if isa in file.name and file.suffix == ".c"], f"no unit for {isa}"
    assert len(KERNELS) >= 6
    assert len(SOURCES) == len(list(CSRC.rglob("*.[ch]"))) - len(list(CSRC.glob("tools/**/*.[ch]")))
    assert files_with(r"\bexp") and not files_with(r"no such words")


def test_comments_are_taken_out(tmp_path):
    file = tmp_path / "a.c"
    file.write_text("int a; /* omp\n omp */ int b; // omp\nint c;")
    assert "omp" not in without_comments(file) and "int c;" in without_comments(file)


def test_only_the_vector_headers_have_intrinsics():
    intrinsic = r"\b_mm\d*_\w+|\b__m(128|256|512)[id]?\b|\bv(ld|st)1q?_\w+|\b(float32x4|float64x2|uint32x4)\w*_t\b"
    assert names(files_with(intrinsic)) == {*names(VECTORS), "environment.h"} - {"vec_portable.h"}


def test_only_one_layer_knows_threads():
    assert names(files_with(r"\bomp_\w+|#\s*pragma\s+omp|<omp\.h>|\b_OPENMP")) == {"parallel.c"}
    assert names(files_with(r"\bpthread_create\b|<threads\.h>|\bCreateThread\b")) == {"pool.c"}
    assert names(files_with(r"<stdatomic\.h>|\b_Atomic\b")) == {"pool.c", "dispatch.c"}  # there for the path in use
    assert names(files_with(r"\bpthread_\w+|<pthread\.h>")) == {"parallel.c", "pool.c"}


def test_process_wide_settings_are_never_touched():
    assert not files_with(r"\bomp_set_\w+|\bsetenv\b|\bputenv\b")


def test_only_dispatch_c_asks_the_processor():
    asking = r"\bcpuid\w*\b|__cpuidex|xgetbv|__builtin_cpu_\w+|\bgetauxval\b"
    assert names(files_with(asking)) == {"dispatch.c"}


def test_no_other_layer_knows_an_instruction_set():
    instruction_sets = r"(?i)avx|sse\d|f16c|neon|immintrin|x86|aarch64|__ARM"
    knowing = files_with(instruction_sets)
    assert {"avx2", "avx512"} <= {isa for isa in ISAS for file in knowing if file in UNITS and isa in file.name}
    of_architectures = {"softlane.h", "environment.h"}  # which name those alone
    allowed = {*names(VECTORS), *names(UNITS), "dispatch.c", *of_architectures}
    assert not any(re.search(r"(?i)avx|neon", SOURCES[CSRC / name]) for name in of_architectures)
    assert names(knowing) <= allowed


def test_target_regions_are_those_of_the_vector_headers():
    """Their pragmas stand once for all instruction sets, and their features once for each."""
    assert names(files_with(r"GCC target|clang attribute push|__attribute__\(\(target")) == {"unit.h"}
    assert names(files_with(r"#\s*define\s+SL_TARGET\b")) <= names(VECTORS)
    opened = files_with(r"^SL_OPEN_TARGET")
    assert {"vec_avx2.h", "kernels.inc.h"} <= names(opened) <= {*names(VECTORS), "kernels.inc.h"}
    for file in opened:
        assert len(re.findall(r"^SL_(?:OPEN|CLOSE)_TARGET", SOURCES[file], re.MULTILINE)) == 2, file.name


def test_the_command_line_cuts_columns_where_no_bit_changes():
    """With as many columns as lanes or more, the layout and so the order of additions is the same."""
    lanes = {int(re.search(r"#define LANES (\d+)", SOURCES[CSRC / "isa" / f"real_{t}.h"])[1]) for t in ("f32", "f64")}
    assert max(lanes) <= _files.COLUMNS


def test_one_file_changes_the_floating_point_environment():
    pattern = r"\bfe(set|hold|update|raise|clear)\w+|_MM_SET_\w+|\b_mm_setcsr\b|\b_controlfp\w*|\bfpcr\b"
    assert names(files_with(pattern)) == {"environment.h"}


def test_no_flag_breaks_the_arithmetic_or_depends_on_the_build_machine():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "-ffp-contract=off" in text
    assert not re.search(r"-ffast-math|-Ofast|-funsafe|-march=|-mtune=|-mavx|-mfma|/arch:|/fp:fast", text)
    python = [file for file in ROOT.glob("src/softlane/*.py*") if file.suffix != ".pyc"]
    assert python
    for file in (*SOURCES, *python):
        assert not re.search(r"fast-math|Ofast|-march", file.read_text(encoding="utf-8")), file.name


def test_vector_headers_offer_the_same_operations():
    """Each operation of the portable header stands in, or is included by, every vector header."""

    def with_included(header):
        included = re.findall(r'#include "(simd/\w+\.h)"', SOURCES[header])
        return "".join(SOURCES[file] for file in (header, *(CSRC / name for name in included)))

    text = with_included(CSRC / "simd" / "vec_portable.h")
    operations = set(re.findall(r"\b(?:f(?:32|64)_|P##)(\w+)\(", text))
    assert {"load", "store_tail", "max", "transpose", "reduce_max", "fma", "pow2", "split", "load_few"} <= operations
    for header in VECTORS:
        found = with_included(header)
        missing = {name for name in operations if not re.search(rf"(\b|_|##){name}\b", found)}
        assert not missing, (header.name, missing)


def test_the_python_layers_know_only_the_next_one():
    package = ROOT / "src" / "softlane"
    for name in ("_config.py", "_threads.py", "__init__.py"):
        assert not re.search(r"np\.(exp|log|sum|max)\b", code_of(package / name)), name
    raising = {file.name for file in package.glob("*.py") if re.search(r"^ *raise ", code_of(file), re.MULTILINE)}
    others = {"_chunks.py", "_threads.py", "_config.py", "__main__.py", "_check.py", "_cli.py", "_files.py"}
    assert raising - others == {"_validate.py", "stream.py", "dask.py"}
    bridge = (package / "_core.pyx").read_text(encoding="utf-8")
    assert set(re.findall(r"\braise (\w+)", bridge)) <= {"MemoryError"}
    assert "omp" not in re.findall(r"\b\w+\b", bridge)


def code_of(file):
    """Without docstrings, which have examples."""
    return re.sub(r'""".*?"""', "", file.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("file", sorted([*ROOT.glob("bench/*.py"), *ROOT.glob("examples/*.py")]), ids=lambda f: f.name)
def test_what_the_programs_import_from_the_package_is_there(file):
    """They need other packages, so that no test runs them all."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "softlane":
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_numpy_is_the_only_dependency():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"dependencies = \[\"numpy[^\"]*\"\]", text)
