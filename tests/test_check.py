"""`softlane check`: passes here, and fails where a path is inaccurate or differs in a bit."""

import json

import numpy as np
import pytest

import softlane
from softlane import _check, _core
from softlane.__main__ import main


@pytest.fixture(autouse=True)
def few_shapes(monkeypatch):
    monkeypatch.setattr(_check, "SHAPES", [(67, 3), (4, 100), (4, 33, 15)])
    monkeypatch.setattr(_check, "TIMED", [("softmax", (4, 100)), ("logsumexp", (4, 100))])


def test_passes(tmp_path, capsys):
    before = _core.active_isa(), _core.get_threads()
    file = tmp_path / "check.json"
    assert main(["check", "--output", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "All checks passed" in printed and "softmax (4, 100)" in printed
    content = json.loads(file.read_text())
    assert {c["isa"] for c in content["checks"]} == set(_core.available_isas())
    assert all(0 < c["ulp"] <= 2 and not c["differs"] for c in content["checks"])
    assert all(t["softlane"] > 0 and t["numpy"] > 0 for t in content["times in ns per call"])
    assert (_core.active_isa(), _core.get_threads()) == before


def test_inaccurate(monkeypatch, capsys):
    right = softlane.logsumexp
    monkeypatch.setattr(softlane, "logsumexp", lambda *a, **k: right(*a, **k) * np.float32(1 + 1e-6))
    assert main(["check", "--no-times"]) == 1
    assert "logsumexp" in capsys.readouterr().err


def test_nan_is_inaccurate(monkeypatch):
    monkeypatch.setattr(softlane, "softmax", lambda x, axis: np.full_like(x, np.nan))
    assert main(["check", "--no-times"]) == 1


@pytest.mark.skipif(len(_core.available_isas()) < 2, reason="one path only")
def test_other_bits(monkeypatch, capsys):
    right, last = softlane.softmax, _core.available_isas()[-1]

    def one_ulp_off(x, axis):
        y = right(x, axis)
        if _core.active_isa() == last and x.shape == (4, 100):
            y[0, 0] = np.nextafter(y[0, 0], x.dtype.type(2))
        return y

    monkeypatch.setattr(softlane, "softmax", one_ulp_off)
    assert main(["check", "--no-times"]) == 1
    assert f"{last}: softmax float32 (4, 100) axis 1, threads: 1: other bits" in capsys.readouterr().err
