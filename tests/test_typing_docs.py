"""The types that users see, the examples in the documentation, and what show_config prints."""

import ast
import doctest
import inspect
import os
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

USER_CODE = """
from typing import Any

import numpy as np
from numpy.typing import NDArray

import softlane

x: NDArray[np.float32] = np.zeros((2, 3), np.float32)
p: NDArray[np.float32] = softlane.softmax(x)
q = softlane.log_softmax([[1.0, 2.0]], axis=0)
softlane.softmax(x, -1, out=p)
softlane.logsumexp(x, axis=1, keepdims=True, out=None)
softlane.logsumexp(3.0)
values, indices = softlane.topk(x, 2, kind="log_probs")
best: softlane.TopK = softlane.topk(x, 1)
token = softlane.sample(x, top_k=40, top_p=0.95, rng=np.random.default_rng(0))
before: int = softlane.set_num_threads(2)
n: int = softlane.get_num_threads()
text: str = softlane.__version__
softlane.show_config()


def probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    result: NDArray[Any] = softlane.softmax(logits, axis=1)
    return result
"""

WRONG_CODE = """
import softlane

softlane.softmax([1.0], axis="last")
softlane.softmax([1.0], out=[1.0])
softlane.softmax([1.0], -1, None)
softlane.set_num_threads("2")
softlane.crossentropy([1.0])
"""


def mypy(tmp_path, code):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(code)
    environment = dict(os.environ)
    if "site-packages" not in str(SOURCE):  # an editable installation, which mypy does not find by itself
        environment["MYPYPATH"] = str(SOURCE.parent)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "user.py"]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)


def test_user_code_passes_mypy_strict(tmp_path):
    done = mypy(tmp_path, USER_CODE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_finds_wrong_calls(tmp_path):
    done = mypy(tmp_path, WRONG_CODE)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert {int(line.split(":")[1]) for line in errors} == {4, 5, 6, 7, 8}, done.stdout


def test_the_package_says_that_it_is_typed():
    assert (SOURCE / "py.typed").exists() and (SOURCE / "_core.pyi").exists()


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
    for parameter in parameters:
        assert f"\n{parameter} : " in text, parameter


@pytest.mark.parametrize("name", PUBLIC)
def test_the_examples_of_the_documentation_run(name):
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(getattr(softlane, name), name)
    assert test.examples
    output = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=output.append)
    assert result.failed == 0, "".join(output)


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
