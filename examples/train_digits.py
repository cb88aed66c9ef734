"""Train: two small networks on scikit-learn's digits in plain NumPy, with the losses and their gradients by softlane.

    pip install scikit-learn matplotlib
    python examples/train_digits.py --output digits.png

Both are linear, ReLU, linear. One tells ten digits apart (softmax, cross-entropy), the other even from odd (sigmoid,
binary cross-entropy): a split that takes all images, and a harder one than two digits picked out. The picture shows the
loss curves, and what each network says of the first test images and of those that it is most wrong about.

The test images are a random quarter, so the same hands wrote both parts. The file is sorted by writer, roughly:
`--in-order` tests on its last quarter, on which the same networks do worse, and as they would on your handwriting.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import softlane

HIDDEN, EPOCHS, BATCH, RATE, MOMENTUM = 32, 30, 32, 0.1, 0.9
BLUE, VERMILION = "#0072B2", "#D55E00"


class Network:
    """``relu(x @ w1 + b1) @ w2 + b2``: logits.

    The softmax or the sigmoid is left to the loss. After a sigmoid in the network, a float32 logit of 20 would be a
    probability of exactly 1, and the loss of a wrong one infinite.
    """

    def __init__(self, rng: np.random.Generator, inputs: int, hidden: int, outputs: int) -> None:
        self.parameters = [
            rng.normal(0, np.sqrt(2 / inputs), (inputs, hidden)).astype(np.float32),  # He et al.'s scale, for ReLU
            np.zeros(hidden, np.float32),
            rng.normal(0, np.sqrt(2 / hidden), (hidden, outputs)).astype(np.float32),
            np.zeros(outputs, np.float32),
        ]
        self.velocities = [np.zeros_like(p) for p in self.parameters]

    def forward(self, x: Any) -> Any:
        """The logits of each row of x. Keeps what `backward` needs."""
        w1, b1, w2, b2 = self.parameters
        self.x, self.hidden = x, np.maximum(x @ w1 + b1, 0)
        return self.hidden @ w2 + b2

    def backward(self, grad: Any) -> list[Any]:
        """The gradients of the parameters, from that of the logits that `forward` returned last."""
        w2 = self.parameters[2]
        grad_hidden = (grad @ w2.T) * (self.hidden > 0)
        return [self.x.T @ grad_hidden, grad_hidden.sum(axis=0), self.hidden.T @ grad, grad.sum(axis=0)]

    def descend(self, gradients: list[Any]) -> None:
        """One step of gradient descent with momentum."""
        for parameter, velocity, gradient in zip(self.parameters, self.velocities, gradients, strict=True):
            velocity *= MOMENTUM
            velocity -= RATE * gradient
            parameter += velocity


class Data(NamedTuple):
    train_x: Any
    train_y: Any
    test_x: Any
    test_y: Any


class Outcome(NamedTuple):
    title: str
    curves: Any  # (EPOCHS, 2): the loss of the training and of the test images after each epoch
    losses: Any  # of each test image
    right: Any  # whether the network has it right
    words: list[str]  # what it says


def train(network: Network, data: Data, loss: Callable, loss_with_grad: Callable, rng: np.random.Generator) -> Any:
    """Train; return the curves."""
    curves = []
    for _ in range(EPOCHS):
        order = rng.permutation(len(data.train_x))
        for batch in np.split(order, range(BATCH, len(order), BATCH)):
            logits = network.forward(data.train_x[batch])
            _, grad = loss_with_grad(logits, data.train_y[batch], grad_out=logits)  # written over the logits
            network.descend(network.backward(grad))
        train_loss = loss(network.forward(data.train_x), data.train_y)
        test_loss = loss(network.forward(data.test_x), data.test_y)
        curves.append([train_loss, test_loss])
    return np.array(curves)


def ten_digits(data: Data, rng: np.random.Generator) -> Outcome:
    """Ten logits for each image, and its class index as target."""
    network = Network(rng, data.train_x.shape[1], HIDDEN, 10)
    curves = train(network, data, softlane.cross_entropy, softlane.cross_entropy_with_grad, rng)
    logits = network.forward(data.test_x)
    probs = softlane.softmax(logits)
    guesses = probs.argmax(axis=1)
    losses = softlane.cross_entropy(logits, data.test_y, reduction="none")
    words = [
        f"{guess}: {p:.1%}" if guess == y else f"{guess} for {y}: {p:.1%}"
        for guess, y, p in zip(guesses, data.test_y, probs.max(axis=1), strict=True)
    ]
    return Outcome("ten digits", curves, losses, guesses == data.test_y, words)


def even_or_odd(data: Data, rng: np.random.Generator) -> Outcome:
    """One logit for each image, and 1 as the target of the odd ones: both (N, 1)."""
    data = data._replace(train_y=data.train_y[:, None] % 2, test_y=data.test_y[:, None] % 2)
    network = Network(rng, data.train_x.shape[1], HIDDEN, 1)
    loss = softlane.binary_cross_entropy_with_logits
    curves = train(network, data, loss, softlane.binary_cross_entropy_with_logits_with_grad, rng)
    logits = network.forward(data.test_x)
    odd = softlane.sigmoid(logits)[:, 0]
    losses = loss(logits, data.test_y, reduction="none")[:, 0]
    words = [f"odd: {p:.1%}" if p > 0.5 else f"even: {1 - p:.1%}" for p in odd]
    return Outcome("even or odd", curves, losses, (odd > 0.5) == data.test_y[:, 0], words)


def draw(path: str, images: Any, outcomes: Sequence[Outcome]) -> None:
    """Loss curves above; below, a row of images for each network, with its words in colour where they are wrong."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    above, *rows = figure.subfigures(1 + len(outcomes), 1, height_ratios=[2] + [1] * len(outcomes))
    for axes, outcome in zip(above.subplots(1, len(outcomes)), outcomes, strict=True):
        epochs = np.arange(1, EPOCHS + 1)
        axes.semilogy(epochs, outcome.curves[:, 0], color=BLUE, label="training images")
        axes.semilogy(epochs, outcome.curves[:, 1], color=VERMILION, label="test images")
        axes.set(title=outcome.title, xlabel="epoch", ylabel="cross-entropy, nats")
        axes.legend(frameon=False)
    for row, outcome in zip(rows, outcomes, strict=True):
        row.suptitle(f"{outcome.title}: the first five test images, and the five of largest loss", fontsize="medium")
        shown = [*range(5), *np.argsort(outcome.losses)[:-6:-1]]
        for axes, i in zip(row.subplots(1, len(shown)), shown, strict=True):
            axes.imshow(images[i].reshape(8, 8), cmap="gray_r")
            axes.set_title(outcome.words[i], fontsize="small", color="black" if outcome.right[i] else VERMILION)
            axes.set_axis_off()
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> tuple[float, float]:
    """Train both networks and draw; return the accuracy of each on the test images."""
    parser = argparse.ArgumentParser(description="Train two networks on scikit-learn's digits.")
    parser.add_argument("--output", metavar="FILE", default="digits.png", help="the picture (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and batches (default: %(default)s)")
    parser.add_argument("--in-order", action="store_true", help="test on the last quarter of the file")
    options = parser.parse_args(arguments)

    rng = np.random.default_rng(options.seed)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    order = np.arange(len(x)) if options.in_order else rng.permutation(len(x))
    training, test = np.split(order, [len(x) * 3 // 4])
    data = Data(x[training], y[training], x[test], y[test])

    outcomes = ten_digits(data, rng), even_or_odd(data, rng)
    draw(options.output, data.test_x, outcomes)
    print(f"{len(training)} training images, {len(test)} test images")
    for title, curves, _, right, _ in outcomes:
        train_loss, test_loss = curves[-1]
        print(
            f"{title:<12} {right.mean():.1%} of the test images right, loss {test_loss:.4f} (training {train_loss:.4f})"
        )
    print(f"drawn to {options.output}")
    ten, two = (float(outcome.right.mean()) for outcome in outcomes)
    return ten, two


if __name__ == "__main__":
    main()
