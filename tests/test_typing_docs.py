"""What comes with the types, the examples in the documentation, and what show_config prints."""

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import softlane
from softlane import _core

pytestmark = pytest.mark.any_isa

PUBLIC = [name for name in softlane.__all__ if name != "__version__"]
SOURCE = Path(softlane.__file__).parent


def test_the_package_says_that_it_is_typed():
    assert all((SOURCE / name).exists() for name in ("py.typed", "__init__.pyi", "_core.pyi"))


def test_the_stub_names_what_the_extension_has():
    tree = ast.parse((SOURCE / "_core.pyi").read_text(encoding="utf-8"))
    stub = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    stub |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    public = {name for name in dir(_core) if not name.startswith("_") and name != "cnp"}
    assert stub == public


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_object_is_documented(name):
    thing = getattr(softlane, name)
    text = inspect.getdoc(thing)
    assert text and len(text.splitlines()[0]) < 120 and text.splitlines()[0].endswith(".")
    assert ">>> import" in text, "one runnable example"
    parameters = inspect.signature(thing).parameters
    sections = ["Parameters"] if parameters else []
    if not inspect.isclass(thing) and inspect.signature(thing).return_annotation not in (None, "None"):
        sections.append("Returns")
    if name in ("softmax", "log_softmax", "logsumexp", "set_num_threads"):
        sections.append("Raises")
    if name in ("softmax", "log_softmax", "logsumexp"):
        sections.append("Notes")
    for section in [*sections, "Examples"]:
        assert f"\n{section}\n{'-' * len(section)}\n" in text, section
    # `name : type`, or several names above one description
    names = [
        line.partition(" : ")[0] for line in text.splitlines() if re.match(r"[a-z_]+(, [a-z_]+)+$|[a-z_]+ : ", line)
    ]
    documented = [name for line in names for name in line.split(", ")]
    for parameter in parameters:
        assert parameter in documented, parameter


def run_examples(tests):
    """Those of docstrings; how many there are"""
    output = []
    results = [doctest.DocTestRunner(verbose=False).run(test, out=output.append) for test in tests]
    assert sum(result.failed for result in results) == 0, "".join(output)
    return sum(result.attempted for result in results)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_examples_of_the_documentation_run(name):
    assert run_examples(doctest.DocTestFinder(recurse=False).find(getattr(softlane, name), name))


@pytest.mark.parametrize(("name", "least"), [("softlane.stream", 11), ("softlane.dask", 3)])
def test_the_examples_of_modules_run(name, least):
    if name == "softlane.dask":
        pytest.importorskip("dask.array")
    assert run_examples(doctest.DocTestFinder().find(importlib.import_module(name))) >= least


def test_everything_public_is_exported():
    assert sorted(softlane.__all__) == softlane.__all__
    for name in softlane.__all__:
        assert hasattr(softlane, name)
    for name in ("softmax", "log_softmax", "logsumexp"):
        signature = str(inspect.signature(getattr(softlane, name)))
        assert signature.startswith("(x: 'ArrayLike', axis: 'int | tuple[int, ...] | None' = -1, *, ")


def test_version_is_that_of_the_package():
    assert softlane.__version__ == version("softlane")


def test_show_config(capsys):
    softlane.set_num_threads(3)
    softlane.show_config()
    printed = capsys.readouterr().out
    for word in (softlane.__version__, *_core.available_isas(), np.__version__, "machine"):
        assert word in printed
    lines = {line[:16].strip(): line[17:] for line in printed.splitlines()}
    assert lines["threads"] == "3" and lines["threads from"] == "set_num_threads"
    assert lines["thread engine"] in ("pool", "openmp", "none")
    assert lines["instruction set"] == _core.active_isa()
    assert lines["available"] == ", ".join(_core.available_isas())


def test_importing_loads_nothing_but_numpy():
    code = "import sys, numpy; before = set(sys.modules); import softlane; "
    code += "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = {m for m in done.stdout.split() if not re.match("__editable|_?cython_", m)}
    assert loaded <= {"softlane", "numpy"}
