"""Reproduce: every number that four notebooks on softmax and cross-entropy print, by softlane.

    python examples/notebooks.py

prints them, notebook by notebook, with a note where a notebook's own formula is unstable or follows another convention.
The expected numbers are copied from what the notebooks print, and compared to the digits shown; the exit status is 1 if
one differs. The last part is not from the notebooks: inputs on which their formulas fail, against the exact values.

The notebooks compute in float64 with NumPy and, but for one softmax, in float32 with PyTorch.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import softlane


class Number(NamedTuple):
    what: str
    got: Any  # a scalar or an array, from softlane
    printed: str  # the same as the notebook prints it
    note: str = ""


def notebook_1() -> Iterator[Number]:
    """Notebook 000_ec9f228e85dcf54b: softmax and cross-entropy"""
    y1 = np.array([3, 5.1, 2, 0.5, 0.1])
    y2 = np.array([[3, 5.1, 2, 0.5, 0.1], [9, 0.1, 0.2, 1, 2]])
    yield Number(
        "softmax of y1",
        softlane.softmax(y1),
        "0.10340024 0.84438392 0.03803882 0.00848761 0.00568941",
        "exp(x) / sum(exp(x)) overflows from x = 710 on (float32: 89) and is NaN then. softlane takes any finite x.",
    )
    total = softlane.softmax(y1).sum()
    note = f"In full {float(total)!r}: each probability is rounded, so their sum can miss the last bit."
    yield Number("sum", total, "1.0", note)
    yield Number(
        "softmax of y2 (2, 5)",
        softlane.softmax(y2, axis=0),
        "0.00247262 0.99330715 0.85814894 0.37754067 0.13010847 0.99752738 0.00669285 0.14185106 0.62245933 0.86989153",
        "The formula adds along axis 0. With a sample in each row that is the batch: the columns sum to 1, and a row "
        "depends on the other rows. The class axis of softlane is the last one unless axis= says otherwise.",
    )
    total = softlane.softmax(y2, axis=0).sum()
    note = f"In full {float(total)!r}. One for each column; over the last axis it is 2, one for each sample."
    yield Number("sum", total, "5.0", note)
    yield Number("float32, y1", softlane.softmax(y1.astype(np.float32)), "0.1034 0.8444 0.0380 0.0085 0.0057")
    yield Number(
        "float32, y2",
        softlane.softmax(y2.astype(np.float32), axis=0),
        "0.0025 0.9933 0.8581 0.3775 0.1301 0.9975 0.0067 0.1419 0.6225 0.8699",
    )

    one_hot = np.array([[1, 0, 0]])
    yield Number(
        "loss of p, good",
        softlane.log_loss(np.array([[0.7, 0.2, 0.1]]), one_hot),
        "0.3567",
        "sum(y * log(p)) is NaN where a class with y = 0 has p = 0, since 0 * -inf is; it adds 0 to log_loss. The "
        "formula divides the loss of each sample by the number of samples N and leaves it to the caller to add them "
        'up; that is reduction="mean" then, and here, where N = 1.',
    )
    yield Number("loss of p, bad", softlane.log_loss(np.array([[0.1, 0.3, 0.6]]), one_hot), "2.3026")
    good, bad = np.array([[7, 0.2, 0.1]], np.float32), np.array([[1, 3, 6]], np.float32)
    yield Number(
        "loss of logits, good",
        softlane.cross_entropy(good, [0]),
        "0.0021",
        "The log of a softmax loses digits as p comes close to 1, and is -inf where p underflows; cross_entropy starts "
        "from the logits and does neither.",
    )
    yield Number("loss of logits, bad", softlane.cross_entropy(bad, [0]), "5.0550")


def notebook_2() -> Iterator[Number]:
    """Notebook 001_07a07a5d2776beb7: softmax and cross-entropy, by hand and with PyTorch"""
    x = np.array([3.0, 1.0, 0.1])
    yield Number(
        "softmax",
        softlane.softmax(x),
        "0.84008305 0.11369288 0.04622407",
        "Overflows as in the first notebook. Axis 0 is the class axis here, since x has one dimension.",
    )
    yield Number("softmax, by PyTorch", softlane.softmax(x), "0.8401 0.1137 0.0462", "The one that is float64.")

    one_hot = np.array([1, 0, 0])
    yield Number(
        "loss of p, good",
        softlane.log_loss([0.7, 0.2, 0.2], one_hot, reduction="sum"),
        "0.3567",
        "The formula adds up everything and divides by nothing: the sum over a batch. These probabilities sum to 1.1; "
        "for a one-hot target neither the formula nor log_loss looks at another class than the target's.",
    )
    yield Number("loss of p, bad", softlane.log_loss([0.1, 0.3, 0.6], one_hot, reduction="sum"), "2.3026")
    good, bad = np.array([[2.0, 1.0, 0.1]], np.float32), np.array([[0.5, 2.0, 0.3]], np.float32)
    yield Number("loss of logits, good", softlane.cross_entropy(good, [0]), "0.4170")
    yield Number("loss of logits, bad", softlane.cross_entropy(bad, [0]), "1.8406")
    yield Number(
        "prediction, good",
        softlane.softmax(good).argmax(axis=1),
        "0",
        "Softmax keeps the order, so the logits alone would do, as in the notebook. They also decide where two of them "
        "differ by so little that the probabilities round to the same number.",
    )
    yield Number("prediction, bad", softlane.softmax(bad).argmax(axis=1), "1")


def notebook_3() -> Iterator[Number]:
    """Notebook 002_54363a80a1e16a9e: softmax, cross-entropy, classification"""
    x = np.array([2.0, 1.0, 0.1])
    yield Number(
        "softmax",
        softlane.softmax(x),
        "0.65900114 0.24243297 0.09856589",
        "Overflows, and adds along axis 0, as in the first notebook.",
    )
    yield Number("softmax, float32", softlane.softmax(x.astype(np.float32)), "0.6590 0.2424 0.0986")

    one_hot = np.array([1, 0, 0])
    yield Number(
        "loss of p, good",
        softlane.log_loss([0.7, 0.2, 0.1], one_hot) / len(one_hot),
        "0.1189",
        "The formula divides by len(y). Of a single one-hot row that is the number of classes C, not of samples: a "
        "third of the 0.3567 that the other notebooks print for the same p. softlane does not divide by C.",
    )
    yield Number("loss of p, bad", softlane.log_loss([0.1, 0.3, 0.6], one_hot) / len(one_hot), "0.7675")
    target = np.array([2, 0, 1])
    good = np.array([[0.1, 1.0, 2.1], [2.0, 1.0, 0.1], [0.1, 3.0, 0.1]], np.float32)
    bad = np.array([[2.1, 1.0, 0.1], [0.1, 1.0, 2.1], [0.1, 3.0, 0.1]], np.float32)
    yield Number("loss of logits, good", softlane.cross_entropy(good, target), "0.3018", "The mean over 3 samples.")
    yield Number("loss of logits, bad", softlane.cross_entropy(bad, target), "1.6242")
    yield Number("predictions, good", softlane.softmax(good).argmax(axis=1), "2 0 1")
    yield Number(
        "predictions, bad",
        softlane.softmax(bad).argmax(axis=1),
        "0 2 1",
        "The two networks that follow are defined, not trained, and print nothing; train_digits.py trains them. The "
        "loss of the binary one is taken of sigmoid(x), where PyTorch clips logarithms at -100. softlane never clips: "
        "its loss of the logits has no need to.",
    )


def notebook_4() -> Iterator[Number]:
    """Notebook 003_c35a9f9082425bbd: softmax and cross-entropy loss"""
    x = np.array([2.0, 1.0, 0.1])
    yield Number(
        "softmax",
        softlane.softmax(x),
        "0.65900114 0.24243297 0.09856589",
        "Overflows, and adds along axis 0, as in the first notebook.",
    )
    yield Number(
        "softmax, float32",
        softlane.softmax(x.astype(np.float32)),
        "0.6590 0.2424 0.0986",
        "The loss that this notebook defines, -(1/N) * sum(sum(y * log(p))), is the mean of log_loss; it prints none.",
    )


def beyond() -> Iterator[Number]:
    """Beyond the notebooks: where their formulas fail, and the exact values"""
    x = np.array([1000.0, 0.0])
    yield Number("softmax of [1000, 0]", softlane.softmax(x), "1 0", f"formula: {_softmax(x)}")

    p, y = np.array([0.75, 0.25, 0.0]), np.array([1, 0, 0])
    yield Number("p = [0.75, 0.25, 0], class 0", softlane.log_loss(p, y), "0.28768207", f"formula: {_loss(p, y)}")

    x, y = np.array([0.0, -40.0]), np.array([1, 0])
    loss = softlane.cross_entropy(x, 0)
    yield Number("logits [0, -40], class 0", loss, "4.248354e-18", f"formula: {_loss(_softmax(x), y):g}")

    x, y = np.array([0.0, -800.0]), np.array([0, 1])
    loss = softlane.cross_entropy(x, 1)
    yield Number("logits [0, -800], class 1", loss, "800", f"formula: {_loss(_softmax(x), y)}")

    x = np.float32(20)
    loss = softlane.binary_cross_entropy_with_logits(x, 0)
    yield Number("logit 20, class 0 of 2", loss, "20.000000", f"formula, float32: {_binary_loss_0(x)}; clipped: 100")


@np.errstate(all="ignore")
def _softmax(x: Any) -> Any:
    return np.exp(x) / np.sum(np.exp(x))


@np.errstate(all="ignore")
def _loss(p: Any, y: Any) -> Any:
    return -np.sum(y * np.log(p))


@np.errstate(all="ignore")
def _binary_loss_0(x: Any) -> Any:
    return -np.log(1 - 1 / (1 + np.exp(-x)))


PARTS = [notebook_1, notebook_2, notebook_3, notebook_4, beyond]


def as_printed(got: Any, printed: str) -> str:
    """The numbers of `got`, each with as many digits as the one in its place in `printed`."""
    values, words = np.ravel(got), printed.split()
    if len(values) != len(words):
        return f"{len(values)} numbers: {values}"
    digits = [len(word.partition("e")[0].partition(".")[2]) for word in words]
    kinds = ["e" if "e" in word else "f" for word in words]
    return " ".join(f"{value:.{n}{kind}}" for value, n, kind in zip(values, digits, kinds, strict=True))


def main() -> int:
    """Print everything; return how many lines differ from the notebooks."""
    wrong = total = 0
    for part in PARTS:
        print(f"\n{part.__doc__}\n")
        for what, got, printed, note in part():
            shown = as_printed(got, printed)
            print(textwrap.fill(shown, 96, initial_indent=f"  {what:<30}", subsequent_indent=" " * 32))
            if shown != printed:
                print(f"{'  DIFFERS FROM':<32}{printed}")
            if note:
                print(textwrap.indent(textwrap.fill(note, 84), " " * 34))
            wrong += shown != printed
            total += len(printed.split())
    print(f"\n{wrong} lines differ." if wrong else f"\nAll {total} numbers agree, to the digits shown.")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))
