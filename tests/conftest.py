"""Runs tests on every instruction set path, and keeps the largest errors found for the summary."""

import inspect
import os

import pytest

from softlane import _core

_largest = {}


def pytest_configure(config):
    config.addinivalue_line("markers", "any_isa: runs on one instruction set path, unless it takes isa")


def pytest_collection_modifyitems(items):
    for marker, variable in (("stress", "SOFTLANE_STRESS"), ("cluster", "SOFTLANE_CLUSTER"), ("load", "SOFTLANE_LOAD")):
        for item in items if os.environ.get(variable) != "1" else []:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"set {variable}=1: it takes minutes"))


@pytest.hookimpl(trylast=True)  # the path varies fastest, so that a cached reference serves all of them
def pytest_generate_tests(metafunc):
    takes_isa = "isa" in inspect.signature(metafunc.function).parameters
    if takes_isa or not metafunc.definition.get_closest_marker("any_isa"):
        metafunc.parametrize("isa", _core.available_isas(), indirect=True)


@pytest.fixture(autouse=True)
def isa(request):
    """The name of the path that the test runs on, with one thread unless the test asks for more.

    The path and the number of threads are put back afterwards.
    """
    active, threads = _core.active_isa(), _core.get_threads()
    name = getattr(request, "param", active)
    assert _core.use_isa(name)
    _core.set_threads(1)
    yield name
    _core.use_isa(active)
    _core.set_threads(threads)


@pytest.fixture
def largest():
    """largest(function, dtype, form, error) keeps the largest error in ULP for the summary."""

    return lambda function, dtype, form, error: keep_largest((function, str(dtype), form), float(error))


def keep_largest(key, error):
    _largest[key] = max(_largest.get(key, 0.0), error)


def pytest_sessionfinish(session):
    """A process of pytest-xdist hands over what it has found."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["largest"] = [[*key, error] for key, error in _largest.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for *key, error in getattr(node, "workeroutput", {}).get("largest", []):
        keep_largest(tuple(key), error)


def pytest_terminal_summary(terminalreporter):
    if _largest:
        terminalreporter.section("largest error found, in ULP")
        for (function, dtype, form), error in sorted(_largest.items()):
            terminalreporter.write_line(f"{function:12} {dtype:8} {form:14} {error:.4f}")
