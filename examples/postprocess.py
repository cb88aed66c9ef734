"""Post-process: what real projects do with a model's logits, as they write it in NumPy, and in a few lines of softlane.

    python examples/postprocess.py
    python examples/postprocess.py --repeat 20

Each head is a pair: `today_...` follows the code of a project, in our own words, `ours_...` is its replacement, to be
copied from here. Both get the same made logits, in the project's shapes, and must give the same answers. Where today's
code is wrong for some logits, `spoil` makes such logits; there ours must agree with the answer in float64 instead.

The exit status is 1 if an answer differs. The times, the smallest of some repetitions, do not decide anything.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import softlane

# Today's code rounds to float32 at every step. Where a row spans 30 or less, as here, the subtraction before the exp
# costs up to 15 eps, the sum of the row, its exp and its log a few more. softlane's own 2 ULP disappear in that.
TOLERANCE = 32 * float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)  # below that, float32 rounds to a multiple of its smallest number


def softmax(x: Any, axis: int = -1) -> Any:
    """The function that projects paste in."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """The same, and its logarithm."""
    d = x - x.max(axis=axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


def columns(answers: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """An array of each place in the tuples."""
    return tuple(np.array(column) for column in zip(*answers, strict=True))


def normal(rng: np.random.Generator, *shape: int, scale: float = 3) -> Any:
    """Made logits in float32."""
    return scale * rng.standard_normal(shape, np.float32)


# ---- boxes: airockchip/rknn_model_zoo, examples/yolov8/python/yolov8.py, dfl --------------------------------------
# The distances from a cell to the four sides of its box, each the mean of a distribution over 0, 1, ... 15.


def boxes(rng: np.random.Generator) -> tuple[Any, ...]:
    return (normal(rng, 1, 64, 80, 80),)  # the finest of three scales of a 640 x 640 image


def today_boxes(logits: Any) -> Any:
    n, channels, h, w = logits.shape
    p = softmax(logits.reshape(n, 4, channels // 4, h, w), axis=2)  # the project loads PyTorch for that
    return (p * np.arange(channels // 4).reshape(1, 1, -1, 1, 1)).sum(axis=2)


def ours_boxes(logits: Any) -> Any:
    n, channels, h, w = logits.shape
    return softlane.expectation(logits.reshape(n, 4, channels // 4, h, w), np.arange(channels // 4), axis=2)


# ---- class map: danielgatis/rembg, rembg/sessions/u2net_cloth_seg.py ----------------------------------------------
# The class of each pixel, and its probability (which this project leaves out).


def class_map(rng: np.random.Generator) -> tuple[Any, ...]:
    # PASCAL VOC has 21 classes. Multiples of 1/16, as a model of 8-bit integers gives: many pixels have two best ones.
    return (np.round(normal(rng, 1, 21, 512, 512) * 16) / 16,)


def today_class_map(logits: Any) -> Any:
    p = softmax(logits, axis=1)
    return p.argmax(axis=1), p.max(axis=1)


def ours_class_map(logits: Any) -> Any:
    return softlane.argmax(logits, axis=1, return_probs=True)


# ---- speech: snippets around NVIDIA NeMo's CTC models; kensho-technologies/pyctcdecode, decoder.py, is similar ----
# The characters of the best class of each frame without repeats and blanks, and their log-probabilities.

BLANK = 0


def speech(rng: np.random.Generator) -> tuple[Any, ...]:
    logits = normal(rng, 1499, 32, scale=2)  # 30 s of sound in wav2vec 2.0, which knows 32 characters
    spoken = np.where(rng.random(500) < 0.5, BLANK, rng.integers(32, size=500)).repeat(3)[:1499]
    logits[np.arange(1499), spoken] += 8
    return (logits,)


def spoil_speech(logits: Any) -> Any:
    return logits - 150 * (np.arange(len(logits)) > 700)[:, None].astype(logits.dtype)


def collapse(best: Any, log_probs: Any) -> Any:
    """The characters, and the log-probability of the frame in which each begins."""
    begins = (best != BLANK) & (best != np.append(BLANK, best[:-1]))
    return best[begins], log_probs[begins]


def today_speech(logits: Any) -> Any:
    e = np.exp(logits - logits.max())  # the maximum of all frames
    log_probs = np.log(e / e.sum(axis=1, keepdims=True))
    return collapse(log_probs.argmax(axis=1), log_probs.max(axis=1))


def ours_speech(logits: Any) -> Any:
    log_probs, best = softlane.topk(logits, 1, kind="log_probs")
    return collapse(best[:, 0], log_probs[:, 0])


# ---- next token, report: abetlen/llama-cpp-python, llama_cpp/llama.py, logits_to_logprobs -------------------------
# The log-probability of the token that was chosen, and the best ones with theirs.


def report(rng: np.random.Generator) -> tuple[Any, ...]:
    return normal(rng, 128256), 5, int(rng.integers(128256))  # the vocabulary of Llama 3


def today_report(logits: Any, k: int, token: int) -> Any:
    log_probs = log_softmax(logits).tolist()
    best = sorted(zip(log_probs, range(len(log_probs)), strict=True), reverse=True)[:k]
    return *columns(best), log_probs[token]


def ours_report(logits: Any, k: int, token: int) -> Any:
    log_probs, tokens = softlane.topk(logits, k, kind="log_probs")
    return log_probs, tokens, softlane.take_log_probs(logits, token)


# ---- next token, draw: the usual argsort, cumsum and choice; parameters for each row as in vLLM's sampler ---------
# A token of each sequence, and the log-probability with which it was drawn. For more than one token make the generator
# once, and hand that in place of the seed.


def draw(rng: np.random.Generator) -> tuple[Any, ...]:
    temperature, top_k, top_p = [0.6, 0.8, 1.0, 1.2], [20, 40, 64, 100], [0.95, 0.9, 0.8, 1.0]
    return normal(rng, 4, 128256), np.array(temperature), np.array(top_k), np.array(top_p), int(rng.integers(2**32))


def today_draw(logits: Any, temperature: Any, top_k: Any, top_p: Any, seed: int) -> Any:
    rng, drawn = np.random.default_rng(seed), []
    for x, t, k, mass in zip(logits, temperature, top_k, top_p, strict=True):
        order = np.argsort(-x, kind="stable")[:k]
        p = softmax(x[order].astype(np.float64) / t)  # in float32 choice may find that they do not sum to 1
        kept = np.searchsorted(np.cumsum(p), mass) + 1  # up to the one that crosses
        everywhere = np.zeros(len(x))
        everywhere[order[:kept]] = p[:kept] / p[:kept].sum()
        token = rng.choice(len(x), p=everywhere)
        drawn.append((token, np.log(everywhere[token])))
    return columns(drawn)


def ours_draw(logits: Any, temperature: Any, top_k: Any, top_p: Any, seed: int) -> Any:
    return softlane.sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, rng=seed, return_log_probs=True)


# ---- labels: huggingface/transformers, src/transformers/pipelines/zero_shot_classification.py ---------------------
# For each text and label the logits of contradiction, neutral, entailment. One label is right: a distribution over the
# labels, the best first. Any number may be: entailment against contradiction, for each label.


def labels(rng: np.random.Generator) -> tuple[Any, ...]:
    return (normal(rng, 64, 10, 3),)


def spoil_labels(logits: Any) -> Any:
    return logits + 100


def today_one_label(logits: Any) -> Any:
    e = np.exp(logits[..., 2])
    scores = e / e.sum(axis=-1, keepdims=True)
    order = scores.argsort(axis=-1)[:, ::-1]
    return np.take_along_axis(scores, order, axis=-1), order


def ours_one_label(logits: Any) -> Any:
    return softlane.topk(logits[..., 2], k=logits.shape[1])


def today_any_labels(logits: Any) -> Any:
    e = np.exp(logits[..., [0, 2]])
    return (e / e.sum(axis=-1, keepdims=True))[..., 1]


def ours_any_labels(logits: Any) -> Any:
    return softlane.softmax(logits[..., [0, 2]])[..., 1]


# ---- class of a text: huggingface/transformers, src/transformers/pipelines/text_classification.py -----------------


def text_class(rng: np.random.Generator) -> tuple[Any, ...]:
    return (normal(rng, 28),)  # GoEmotions has 28 classes


def today_text_class(logits: Any) -> Any:
    p = softmax(logits)
    return p.argmax(), p.max()


def ours_text_class(logits: Any) -> Any:
    return softlane.argmax(logits, return_probs=True)


# ---- likelihood: EleutherAI/lm-evaluation-harness, lm_eval/models/huggingface.py ----------------------------------
# The log-probability of the last tokens of each sequence, and whether each of them is the most probable one.


def likelihood(rng: np.random.Generator) -> tuple[Any, ...]:
    logits = normal(rng, 4, 64, 32000).astype(np.float16).astype(np.float32)  # as a model of float16 gives
    tokens = [logits[i, -n:].argmax(axis=1) for i, n in enumerate([8, 16, 32, 40])]
    tokens[1][5], tokens[3][:] = 0, rng.integers(32000, size=40)
    return logits, tokens


def today_likelihood(logits: Any, continuations: Sequence[Any]) -> Any:
    log_probs, answers = log_softmax(logits), []
    for row, tokens in zip(log_probs, continuations, strict=True):
        row = row[-len(tokens) :]
        greedy = (row.argmax(axis=1) == tokens).all()
        answers.append((np.take_along_axis(row, tokens[:, None], axis=1).sum(), greedy))
    return columns(answers)


def ours_likelihood(logits: Any, continuations: Sequence[Any]) -> Any:
    answers = []
    for row, tokens in zip(logits, continuations, strict=True):
        row = row[-len(tokens) :]
        answers.append((softlane.take_log_probs(row, tokens).sum(), (softlane.rank(row, tokens) == 0).all()))
    return columns(answers)


# ---- comparison --------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    name: str
    inputs: Callable[[np.random.Generator], tuple[Any, ...]]  # the logits first
    today: Callable[..., Any]
    ours: Callable[..., Any]
    note: str = ""
    near_zero: float = TINY  # TOLERANCE for log-probabilities: they lose relative accuracy where p is close to 1
    spoil: Callable[[Any], Any] | None = None  # logits to logits for which today's code is wrong


HEADS = [
    Head("boxes", boxes, today_boxes, ours_boxes),
    Head("class map", class_map, today_class_map, ours_class_map),
    Head(
        "speech",
        speech,
        today_speech,
        ours_speech,
        "Today's code subtracts the maximum of all frames. A frame 104 below it underflows: 0 / 0 = NaN, class 0.",
        TOLERANCE,
        spoil_speech,
    ),
    Head(
        "next token, report",
        report,
        today_report,
        ours_report,
        "Today's code sorts all pairs in Python. Of equal ones it lists the larger token first, softlane the smaller.",
        TOLERANCE,
    ),
    Head(
        "next token, draw",
        draw,
        today_draw,
        ours_draw,
        "Today's code sorts all tokens to keep the best 20 to 100; np.argpartition first would be faster.",
        TOLERANCE,
    ),
    Head(
        "labels, one",
        labels,
        today_one_label,
        ours_one_label,
        "Today's code subtracts no maximum. From a logit of 89 on exp overflows: inf / inf = NaN.",
        spoil=spoil_labels,
    ),
    Head(
        "labels, any",
        labels,
        today_any_labels,
        ours_any_labels,
        "Likewise, today's code is NaN wherever the logit of entailment is 89 or more.",
        spoil=spoil_labels,
    ),
    Head("class of a text", text_class, today_text_class, ours_text_class),
    Head(
        "likelihood",
        likelihood,
        today_likelihood,
        ours_likelihood,
        "Today's code normalises all positions, softlane those asked for.",
        TOLERANCE,
    ),
]


def difference(head: Head, got: Any, expected: Any) -> str:
    """What differs between two answers, or nothing. Integers must be equal; floats as TOLERANCE says, and not NaN."""
    got, expected = (answer if isinstance(answer, tuple) else (answer,) for answer in (got, expected))
    for a, b in zip(map(np.asarray, got), map(np.asarray, expected), strict=True):
        if a.shape != b.shape:
            return f"has shape {a.shape}, not {b.shape}"
        close = b.dtype.kind == "f"
        wrong = ~np.isclose(a, b, rtol=TOLERANCE, atol=head.near_zero) if close else a != b
        if wrong.any():
            return f"differs in {np.count_nonzero(wrong)} of {wrong.size}"
    return ""


def spoilt(head: Head, logits: Any, *others: Any) -> tuple[tuple[Any, ...], Any]:
    """Inputs that today's code is wrong for, and the right answers.

    Those are from today's code as well, in float64, after one shift of all logits to 0 and below: no exp overflows, and
    none underflows above -745.
    """
    logits = head.spoil(logits)
    return (logits, *others), head.today(logits.astype(np.float64) - logits.max(), *others)


def check(head: Head, seed: int) -> str:
    """What differs between today's answers and ours, and where today's are wrong between float64's and ours."""
    inputs = head.inputs(np.random.default_rng(seed))
    found = difference(head, head.ours(*inputs), head.today(*inputs))
    if head.spoil and not found:
        inputs, right = spoilt(head, *inputs)
        found = difference(head, head.ours(*inputs), right)
    return found


def note(head: Head) -> str:
    """The head's note, and how both do on logits that today's code is wrong for."""
    if not head.spoil:
        return head.note
    inputs, right = spoilt(head, *head.inputs(np.random.default_rng(0)))
    with np.errstate(all="ignore"):
        today, ours = (difference(head, function(*inputs), right) for function in (head.today, head.ours))
    return f"{head.note} Its answer to such logits {today}; softlane's {ours or 'agrees with float64'}."


def milliseconds(function: Callable[..., Any], inputs: tuple[Any, ...], repeat: int) -> float:
    """The shortest time of at least `repeat` calls, of more if they are done within 20 ms."""
    times: list[float] = []
    while len(times) < repeat or sum(times) < 0.02:
        start = time.perf_counter()
        function(*inputs)
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the notes; return the number of heads whose answers differ."""
    parser = argparse.ArgumentParser(description="Post-processing in NumPy and in softlane.")
    parser.add_argument("--repeat", type=int, default=3, help="calls of each function, at least (default: %(default)s)")
    options = parser.parse_args(arguments)

    softlane.set_num_threads(1)  # as NumPy
    print(f"softlane {softlane.__version__} and NumPy {np.__version__}, one thread each\n")
    print(f"{'head':<20}{'logits':<20}{'NumPy, ms':>10}{'softlane, ms':>14}{'ratio':>8}  answers")
    wrong = 0
    for head in HEADS:
        found = check(head, 0)
        inputs = head.inputs(np.random.default_rng(0))
        today, ours = (milliseconds(function, inputs, options.repeat) for function in (head.today, head.ours))
        shape = " x ".join(map(str, inputs[0].shape))
        print(f"{head.name:<20}{shape:<20}{today:10.3f}{ours:14.3f}{today / ours:8.1f}  {found or 'agree'}")
        wrong += bool(found)
    print()
    for head in HEADS:
        if text := note(head):
            print(textwrap.fill(text, 100, initial_indent=f"{head.name:<20}", subsequent_indent=" " * 20))
    print(f"\n{wrong} heads differ." if wrong else f"\nAll {len(HEADS)} heads agree.")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))
