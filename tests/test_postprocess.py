"""The heads of examples/postprocess.py agree with today's code, or with the exact answer where that is wrong."""

import numpy as np
import pytest
import reference
from example_scripts import load, run

import softlane

pytestmark = pytest.mark.any_isa

postprocess = load("postprocess")
HEADS = {head.name: head for head in postprocess.HEADS}
SPOILT = [name for name, head in HEADS.items() if head.spoil]


def inputs(name, seed=0):
    return HEADS[name].inputs(np.random.default_rng(seed))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", HEADS)
def test_the_answers_agree(name, seed):
    assert postprocess.check(HEADS[name], seed) == ""


# ---- what is wrong is noticed ------------------------------------------------------------------------------------


def off(array):
    array = np.asarray(array)
    return array * array.dtype.type(1.0001) if array.dtype.kind == "f" else array + 1


@pytest.mark.parametrize(
    ("name", "function", "place"),
    [
        ("boxes", "expectation", None),
        ("class map", "argmax", 0),
        ("class map", "argmax", 1),
        ("speech", "topk", 0),
        ("speech", "topk", 1),
        ("next token, report", "topk", 0),
        ("next token, report", "topk", 1),
        ("next token, report", "take_log_probs", None),
        ("next token, draw", "sample", 0),
        ("next token, draw", "sample", 1),
        ("labels, one", "topk", 0),
        ("labels, one", "topk", 1),
        ("labels, any", "softmax", None),
        ("class of a text", "argmax", 0),
        ("class of a text", "argmax", 1),
        ("likelihood", "take_log_probs", None),
        ("likelihood", "rank", None),
    ],
)
def test_a_wrong_function_is_noticed(name, function, place, monkeypatch):
    right = getattr(softlane, function)

    def wrong(*args, **kwargs):
        result = right(*args, **kwargs)
        if place is None:
            return off(result)
        return tuple(off(part) if i == place else part for i, part in enumerate(result))

    monkeypatch.setattr(softlane, function, wrong)
    assert postprocess.check(HEADS[name], 0) != ""


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_todays_code_in_place_of_ours_is_noticed(name):
    head = HEADS[name]
    assert postprocess.check(head._replace(ours=head.today), 0) != ""


@pytest.mark.parametrize(
    ("got", "expected", "found"),
    [
        (np.float32([1, 2]), np.float32([1, 2.00001]), "differs in 1 of 2"),
        (np.float32([1, 2]), np.float32([1, 2.000001]), ""),
        (np.float32([1, np.nan]), np.float32([1, np.nan]), "differs in 1 of 2"),
        (np.float32([1e-20]), np.float32([2e-20]), "differs in 1 of 1"),
        (np.float32([0]), np.float64([1e-300]), ""),
        ((np.array([1, 2]), np.float32(3)), (np.array([1, 3]), np.float32(3)), "differs in 1 of 2"),
        (np.array([True]), np.array([False]), "differs in 1 of 1"),
        (np.zeros((2, 1)), np.zeros(2), "has shape (2, 1), not (2,)"),
    ],
)
def test_differences(got, expected, found):
    assert postprocess.difference(HEADS["boxes"], got, expected) == found


def test_every_place_of_an_answer_is_compared():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        postprocess.difference(HEADS["boxes"], np.zeros(2), (np.zeros(2), np.zeros(2)))


def test_near_zero_log_probabilities_differ_by_rounding():
    got, expected = np.float32([-1e-7]), np.float32([-2e-7])
    assert postprocess.difference(HEADS["speech"], got, expected) == ""
    assert postprocess.difference(HEADS["boxes"], got, expected) == "differs in 1 of 1"


# ---- what is said of today's code --------------------------------------------------------------------------------


def spoilt(name):
    logits, *others = inputs(name)
    return HEADS[name].spoil(logits), *others


def close(got, exact):
    return np.isfinite(got).all() and np.abs(got - exact).max() <= 4e-7 * np.abs(exact).max()


@pytest.mark.parametrize("name", SPOILT)
def test_todays_code_is_right_before_and_nan_after(name):
    today = HEADS[name].today
    first = today(*inputs(name))
    assert all(np.isfinite(part).all() for part in (first if isinstance(first, tuple) else (first,)))
    with np.errstate(over="ignore"), pytest.warns(RuntimeWarning, match="invalid value"):
        scores = today(*spoilt(name))
    if name == "speech":  # class 0, the blank, where all is NaN: the second half is lost
        assert 0 < len(scores[0]) < 0.6 * len(first[0])
    else:
        assert np.isnan(scores[0] if isinstance(scores, tuple) else scores).any()


def test_speech_with_quiet_frames():
    (logits,) = spoilt("speech")
    exact = reference.exact_log_softmax(logits)
    characters, log_probs = postprocess.ours_speech(logits)
    expected, exact = postprocess.collapse(exact.argmax(axis=1), exact.max(axis=1))
    np.testing.assert_array_equal(characters, expected)
    assert close(log_probs, exact)
    with np.errstate(invalid="ignore"):
        e = np.exp(logits - logits.max())
        assert np.isnan((e / e.sum(axis=1, keepdims=True))[701:]).all()


def test_one_label_of_large_logits():
    (logits,) = spoilt("labels, one")
    exact = reference.exact_softmax(logits[..., 2])
    scores, order = postprocess.ours_one_label(logits)
    np.testing.assert_array_equal(order, np.argsort(-exact, axis=1))
    assert close(scores, np.take_along_axis(exact, order, axis=1))


def test_any_labels_of_large_logits():
    (logits,) = spoilt("labels, any")
    exact = reference.exact_softmax(logits[..., [0, 2]])[..., 1]
    assert close(postprocess.ours_any_labels(logits), exact)


@pytest.mark.parametrize(("below", "lost"), [(103, False), (105, True)])
def test_from_104_below_the_maximum_a_frame_is_lost(below, lost):
    logits = np.float32([[0, 0, 0], [0, 1, 0], [0, 0, 0]])  # class 1 in the second frame
    logits[1] -= below + 1
    with np.errstate(all="ignore"):
        today = postprocess.today_speech(logits)[0].tolist()
    assert today == ([] if lost else [1])
    assert postprocess.ours_speech(logits)[0].tolist() == [1]


@pytest.mark.parametrize(("logit", "lost"), [(88, False), (89, True)])
def test_from_89_on_labels_are_lost(logit, lost):
    logits = np.float32([[[0, 0, 3], [0, 0, logit]]])
    with np.errstate(all="ignore"):
        one, anyhow = postprocess.today_one_label(logits)[0], postprocess.today_any_labels(logits)
    assert np.isnan(one).any() == np.isnan(anyhow).any() == lost
    assert postprocess.ours_one_label(logits)[1].tolist() == [[1, 0]]
    assert postprocess.ours_any_labels(logits)[0, 1] == 1


def test_order_of_equal_tokens():
    logits = np.float32([0, 2, 1, 2, 1, 1])
    assert postprocess.today_report(logits, 4, 0)[1].tolist() == [3, 1, 5, 4]
    assert postprocess.ours_report(logits, 4, 0)[1].tolist() == [1, 3, 2, 4]


def test_many_pixels_have_two_best_classes():
    (logits,) = inputs("class map")
    best = logits == logits.max(axis=1, keepdims=True)
    assert np.count_nonzero(best.sum(axis=1) > 1) > 1000


# ---- the program -------------------------------------------------------------------------------------------------


def test_a_head_that_differs_is_shown(monkeypatch, capsys):
    right = softlane.argmax
    monkeypatch.setattr(softlane, "argmax", lambda *args, **kwargs: tuple(map(off, right(*args, **kwargs))))
    monkeypatch.setattr(postprocess, "HEADS", [HEADS["class of a text"], HEADS["labels, any"]])
    monkeypatch.setattr(postprocess, "milliseconds", lambda *args: 1.0)
    assert postprocess.main([]) == 1
    _, text, labels = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert text.endswith("differs in 1 of 1")
    assert labels.endswith("agree")


def test_postprocess_runs_as_a_program():
    done = run("postprocess", "--repeat", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"All {len(HEADS)} heads agree." in done.stdout
    assert " ".join(done.stdout.split()).count("softlane's agrees with float64.") == len(SPOILT)
    assert done.stderr == ""
