"""The walls of the house: what each source file must not contain. Skipped where the sources are not at hand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"

pytestmark = [
    pytest.mark.any_isa,
    pytest.mark.skipif(not (CSRC / "softlane.h").exists(), reason="the C sources are not beside the tests"),
]


def sources(*suffixes):
    return [f for f in sorted(CSRC.iterdir()) if f.suffix in suffixes]


def without_comments(file):
    text = file.read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)


def files_with(pattern, files):
    return {f.name for f in files if re.search(pattern, without_comments(f))}


def test_comments_are_taken_out(tmp_path):
    file = tmp_path / "a.c"
    file.write_text("int a; /* omp\n omp */ int b; // omp\nint c;")
    assert "omp" not in without_comments(file) and "int c;" in without_comments(file)


def test_only_the_vector_headers_have_intrinsics():
    intrinsic = r"\b_mm\d*_\w+|\b__m(128|256|512)[id]?\b|\bv(ld|st)1q?_\w+|\b(float32x4|float64x2|uint32x4)\w*_t\b"
    found = files_with(intrinsic, sources(".c", ".h"))
    assert found and all(name.startswith("vec_") for name in found), found
    assert "vec_portable.h" not in found


def test_only_parallel_c_knows_openmp():
    assert files_with(r"\bomp_\w+|#\s*pragma\s+omp|<omp\.h>|_OPENMP", sources(".c", ".h")) == {"parallel.c"}


def test_process_wide_openmp_settings_are_never_touched():
    assert not files_with(r"\bomp_set_\w+|\bsetenv\b|\bputenv\b", sources(".c", ".h"))


def test_only_dispatch_c_asks_the_processor():
    asking = r"\bcpuid\w*\b|__cpuidex|xgetbv|__builtin_cpu_\w+|\bgetauxval\b"
    assert files_with(asking, sources(".c", ".h")) == {"dispatch.c"}


def test_kernels_and_approximations_know_no_instruction_set():
    files = [CSRC / name for name in ("kernels.inc.h", "math.inc.h", "storage.h", "softlane.h")]
    assert not files_with(r"__AVX|__ARM_NEON|immintrin|arm_neon|\btarget\s*\(", files)


def test_only_the_stamps_open_target_regions():
    found = files_with(r"GCC target|clang attribute push|__attribute__\(\(target", sources(".c", ".h"))
    assert found and all(name.startswith("isa_") for name in found), found


def test_the_floating_point_environment_is_left_alone():
    touching = r"\bfe(set|hold|update|raise|clear)\w+|_MM_SET_\w+|\b_mm_setcsr\b|\b_controlfp\w*|-ffast-math"
    assert not files_with(touching, sources(".c", ".h"))


def test_no_flag_breaks_the_arithmetic_or_depends_on_the_build_machine():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "-ffp-contract=off" in text
    assert not re.search(r"-ffast-math|-Ofast|-funsafe|-march=|-mtune=|-mavx|-mfma|/arch:|/fp:fast", text)
    for file in (*sources(".c", ".h"), *ROOT.glob("src/softlane/*.py*")):
        if file.suffix != ".pyc":
            assert not re.search(r"fast-math|Ofast|-march", file.read_text(encoding="utf-8")), file.name


def test_vector_headers_offer_the_same_operations():
    """Each operation of the portable header, which defines them, has its twin on every instruction set."""

    portable = without_comments(CSRC / "vec_portable.h")
    generic = set(re.findall(r"\bP##(\w+)\(", portable))
    own = set(re.findall(r"\bf(?:32|64)_(\w+)\(", portable)) | {"sl_prefetch"}
    assert {"load", "store_tail", "max", "transpose", "reduce_max"} <= generic and {"fma", "pow2", "split"} <= own
    for header in sorted(CSRC.glob("vec_*.h")):
        text = without_comments(header)
        missing = {name for name in generic | own if not re.search(rf"(\b|_|##){name}\b", text)}
        assert not missing, (header.name, missing)


def test_the_python_layers_know_only_the_next_one():
    package = ROOT / "src" / "softlane"
    for name in ("_api.py", "_config.py", "_threads.py", "__init__.py"):
        assert not re.search(r"np\.(exp|log|sum|max)\b", (package / name).read_text(encoding="utf-8")), name
    bridge = (package / "_core.pyx").read_text(encoding="utf-8")
    assert set(re.findall(r"\braise (\w+)", bridge)) <= {"MemoryError"}
    assert "omp" not in re.findall(r"\b\w+\b", bridge)


def test_no_file_speaks_of_flags_of_the_build_host_in_metadata():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"dependencies = \[\"numpy[^\"]*\"\]", text), "NumPy is the only run-time dependency"
