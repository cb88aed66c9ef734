"""The types of the public functions, as mypy sees them and as they are."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pytest

import softlane

pytestmark = pytest.mark.any_isa

SOURCE = Path(softlane.__file__).parent
EXAMPLES = Path(__file__).with_name("typing_examples.py")


def run(tmp_path, *command):
    pytest.importorskip("mypy", reason="mypy is not installed")
    environment = dict(os.environ)
    if "site-packages" not in str(SOURCE):  # an editable installation, which mypy does not find by itself
        environment["MYPYPATH"] = environment["PYTHONPATH"] = str(SOURCE.parent)
    command = [sys.executable, "-m", *command]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)


def test_mypy_finds_the_types_and_the_errors_of_the_examples(tmp_path):
    done = run(tmp_path, "mypy", "--strict", "--cache-dir", str(tmp_path), str(EXAMPLES))
    found = {}
    for line in done.stdout.splitlines():
        if ": error:" in line:
            place, text = line.split(": error:")
            found.setdefault(int(place.rpartition(":")[2]), []).append(text)
    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()
    expected = {i: line.split("# E: ")[1] for i, line in enumerate(lines, 1) if "  # E: " in line}
    assert found.keys() == expected.keys(), done.stdout + done.stderr
    for i, text in expected.items():
        assert any(text in error for error in found[i]), (i, found[i])


def is_of(value, annotation):
    if annotation is Any:
        return True
    kind, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if kind is tuple:
        return len(value) == len(arguments) and all(map(is_of, value, arguments))
    if kind is np.ndarray:
        (scalar,) = get_args(arguments[1])
        return isinstance(value, np.ndarray) and (scalar is Any or value.dtype == scalar)
    return isinstance(value, kind)


def test_results_have_these_types():
    count = 0

    def assert_type(value, annotation):
        nonlocal count
        count += 1
        assert is_of(value, annotation), (count, value, annotation)

    text = EXAMPLES.read_text(encoding="utf-8")
    exec(compile(text, str(EXAMPLES), "exec"), {"assert_type": assert_type})
    assert count == text.count("assert_type(")


def test_the_stubs_have_the_signatures_of_the_functions(tmp_path):
    allowed = "softlane._core.__test__  # Cython adds it\nsoftlane.threadpoolctl.Controller  # its base has no types\n"
    (tmp_path / "allowed").write_text(allowed)
    done = run(tmp_path, "mypy.stubtest", "softlane", "--allowlist", "allowed")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_overload_has_the_parameters_and_defaults_of_the_function():
    """stubtest compares no defaults of overloads."""
    tree = ast.parse((SOURCE / "__init__.pyi").read_text(encoding="utf-8"))
    overloads = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert {node.name for node in overloads} == set(softlane.__all__) - {"TopK", "__version__"}
    for node in overloads:
        stub, parameters = node.args, inspect.signature(getattr(softlane, node.name)).parameters.values()
        by_place = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        by_name = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        assert [a.arg for a in stub.args] == [p.name for p in by_place], node.name
        assert [a.arg for a in stub.kwonlyargs] == [p.name for p in by_name], node.name
        required = [None] * (len(by_place) - len(stub.defaults))
        for parameter, default in zip(by_place + by_name, required + stub.defaults + stub.kw_defaults, strict=True):
            assert default is None or ast.literal_eval(default) == parameter.default, (node.name, parameter)


def test_the_examples_have_every_public_name():
    text = EXAMPLES.read_text(encoding="utf-8")
    missing = [name for name in softlane.__all__ if f"softlane.{name}" not in text]
    assert not missing
