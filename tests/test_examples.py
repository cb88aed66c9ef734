"""The examples run, say what is true, and notice when it is not."""

import re

import numpy as np
import pytest
from example_scripts import load, run

import softlane

pytestmark = pytest.mark.any_isa

# ---- notebooks ---------------------------------------------------------------------------------------------------


def test_every_number_of_the_notebooks_is_reproduced(capsys):
    notebooks = load("notebooks")
    assert notebooks.main() == 0, capsys.readouterr().out
    lines = [[len(number.printed.split()) for number in part()] for part in notebooks.PARTS]
    assert [len(part) for part in lines] == [10, 8, 8, 2, 5]
    assert [sum(part) for part in lines] == [36, 12, 16, 6, 6]


@pytest.mark.parametrize("part", range(5))
def test_a_number_that_differs_is_shown(part, monkeypatch, capsys):
    notebooks = load("notebooks")
    for name in ("softmax", "log_loss", "cross_entropy"):  # each 1 % too large
        right = getattr(softlane, name)
        monkeypatch.setattr(softlane, name, lambda *args, right=right, **kwargs: right(*args, **kwargs) * 1.01)
    monkeypatch.setattr(notebooks, "PARTS", [notebooks.PARTS[part]])
    assert notebooks.main() > 0
    assert "DIFFERS FROM" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("got", "printed", "same"),
    [
        (0.35667494, "0.3567", True),
        (0.35675001, "0.3567", False),
        ([0, 2, 1], "0 2 1", True),
        (np.float32([0.06, 3]), "0.1 3.00", True),
        (4.2483542e-18, "4.248354e-18", True),
        (4.2483542e-17, "4.248354e-18", False),
        ([1.0, 2.0], "1.0", False),
        (np.nan, "0.3567", False),
    ],
)
def test_numbers_are_compared_to_the_digits_shown(got, printed, same):
    assert (load("notebooks").as_printed(got, printed) == printed) is same


def test_the_formulas_fail_where_the_example_says_so():
    beyond = {number.what: number.note for number in load("notebooks").beyond()}
    assert [note.removeprefix("formula: ") for note in beyond.values()] == [
        "[nan  0.]",
        "nan",
        "-0",
        "inf",
        "formula, float32: inf; clipped: 100",
    ]


def test_notebooks_runs_as_a_program():
    done = run("notebooks")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 76 numbers agree" in done.stdout


# ---- train_digits ------------------------------------------------------------------------------------------------


@pytest.fixture
def train_digits():
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    return load("train_digits")


def test_both_networks_learn(train_digits, tmp_path, capsys):
    picture = tmp_path / "digits.png"
    ten, two = train_digits.main(["--output", str(picture)])
    assert ten >= 0.95
    assert two >= 0.95
    assert f"ten digits   {ten:.1%}" in capsys.readouterr().out
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 20_000


@pytest.mark.parametrize("outputs", [10, 1])
def test_backward_agrees_with_differences(train_digits, outputs):
    rng = np.random.default_rng(1)
    network = train_digits.Network(rng, 64, 5, outputs)
    network.parameters = [p.astype(np.float64) + rng.normal(0, 0.1, p.shape) for p in network.parameters]
    x = rng.random((20, 64))
    if outputs == 1:
        y, name = rng.integers(2, size=(20, 1)), "binary_cross_entropy_with_logits"
    else:
        y, name = rng.integers(outputs, size=20), "cross_entropy"
    loss, loss_with_grad = getattr(softlane, name), getattr(softlane, name + "_with_grad")
    logits = network.forward(x)
    gradients = network.backward(loss_with_grad(logits, y, grad_out=logits)[1])
    for parameter, gradient in zip(network.parameters, gradients, strict=True):
        assert gradient.shape == parameter.shape
        for i in rng.integers(parameter.size, size=10):
            kept, losses = parameter.flat[i], []
            for step in (1e-6, -1e-6):
                parameter.flat[i] = kept + step
                losses.append(loss(network.forward(x), y))
            parameter.flat[i] = kept
            assert gradient.flat[i] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-8)


# ---- perplexity --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vocabulary", "rows", "parts"), [(10, 16, 1), (1000, 7, 1), (32064, 64, 1), (1001, 16, 4)])
def test_the_perplexity_of_the_made_stream_is_the_known_one(vocabulary, rows, parts):
    perplexity = load("perplexity")
    arguments = ["--tokens", "500", "--vocabulary", str(vocabulary), "--block", str(rows), "--parts", str(parts)]
    found, known, _ = perplexity.main(arguments)
    assert perplexity.agrees(found, known)


def test_perplexity_notices_a_wrong_loss(monkeypatch):
    perplexity, right = load("perplexity"), softlane.cross_entropy
    monkeypatch.setattr(softlane, "cross_entropy", lambda *args, **kwargs: right(*args, **kwargs) * np.float32(1.0001))
    found, known, _ = perplexity.main(["--tokens", "500", "--vocabulary", "1000"])
    assert not perplexity.agrees(found, known)


def test_token_losses_of_any_stream():
    perplexity, rng = load("perplexity"), np.random.default_rng(2)
    logits, targets = rng.normal(0, 5, (300, 50)).astype(np.float32), rng.integers(50, size=300)
    expected = np.log(np.exp(logits, dtype=np.float64).sum(axis=1)) - logits[range(300), targets]
    padding = rng.random(300) < 0.2
    targets[padding], expected = perplexity.PADDING, expected[~padding]
    for rows in (1, 7, 300):
        starts = range(0, 300, rows)
        blocks = [(logits[i : i + rows], targets[i : i + rows]) for i in starts]
        losses = list(perplexity.token_losses(blocks))
        assert len(losses) == len(blocks)
        np.testing.assert_allclose(np.concatenate(losses), expected, rtol=1e-6)
        summary = perplexity.Summary(losses)
        assert summary.tokens == len(expected)
        assert summary.perplexity == pytest.approx(np.exp(expected.mean()), rel=1e-6)
        assert summary.standard_error == pytest.approx(expected.std() / np.sqrt(len(expected)), rel=1e-6)
        assert summary.largest == pytest.approx(expected.max(), rel=1e-6)


def test_the_stream_is_never_in_memory_at_once():
    # 412 MB of logits in blocks of 6 MB, in a process of its own, which also counts what no Python allocator sees.
    done = run("perplexity", "--tokens", "2048", "--vocabulary", "50257", "--block", "32")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "logits      411.7 MB in blocks of 6.4 MB" in done.stdout
    (traced,) = re.findall(r"peak ([\d.]+) MB", done.stdout)
    assert float(traced) < 12
    for resident in re.findall(r"([\d.]+) MB resident", done.stdout):  # none where the system does not tell
        assert float(resident) < 200
