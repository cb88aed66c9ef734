"""Call overhead: what a call of ten numbers, and of one row of 1000, costs in every public function, beside PyTorch.

python bench/overhead.py [--quick] [--json FILE]

Calls whose results are new arrays, on one thread. Targets are microseconds for one row of ten numbers.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from measure import Contender, interleave

import softlane
from bench import processor
from softlane import _core

# name, call of softlane, the same in PyTorch or "", target in microseconds. x, y are logits, p probabilities, k a class
# for each row, w a weight for each class, q a mask, t a temperature for each row, g a generator.
CALLS = [
    ("softmax", "softmax(x)", "softmax(x, -1)", 0.6),
    ("softmax, out", "softmax(x, out=out)", "torch.softmax(x, -1, out=out)", 0.6),
    ("softmax, where", "softmax(x, where=q)", "", 0.6),
    ("softmax, temperature", "softmax(x, temperature=0.7)", "softmax(x / 0.7, -1)", 0.6),
    ("softmax, a temperature for each row", "softmax(x, temperature=t)", "", 0.6),
    ("softmax, all axes", "softmax(x, axis=None)", "", 0.6),
    ("softmax, dtype", "softmax(x, dtype=np.float64)", "softmax(x, -1, dtype=torch.float64)", 2.5),
    ("softmax, strided", "softmax(strided)", "softmax(strided, -1)", 2.5),
    ("softmax, of a list", "softmax(listed)", "", 2.5),
    ("softmin", "softmin(x)", "softmin(x, -1)", 0.6),
    ("log_softmax", "log_softmax(x)", "log_softmax(x, -1)", 0.6),
    ("logsumexp", "logsumexp(x)", "torch.logsumexp(x, -1)", 0.6),
    ("entropy", "entropy(x)", "", 0.6),
    ("kl_divergence", "kl_divergence(x, y)", "kl_div(log_softmax(y, -1), softmax(x, -1), reduction='sum')", 0.6),
    ("expectation", "expectation(x, w)", "softmax(x, -1) @ w", 0.6),
    ("softmax_hessian_diag", "softmax_hessian_diag(x)", "", 0.6),
    ("softmax_grad", "softmax_grad(x, p)", "torch._softmax_backward_data(x, p, -1, x.dtype)", 0.6),
    ("log_softmax_grad", "log_softmax_grad(x, y)", "torch._log_softmax_backward_data(x, y, -1, x.dtype)", 0.6),
    ("argmax", "argmax(x)", "torch.argmax(x, -1)", 0.6),
    ("argmax, with its probability", "argmax(x, return_probs=True)", "softmax(x, -1).max(-1)", 0.6),
    ("topk", "topk(x, 3)", "softmax(x, -1).topk(3)", 0.6),
    ("topk, logits", "topk(x, 3, kind='logits')", "x.topk(3)", 0.6),
    ("take_log_probs", "take_log_probs(x, k)", "", 0.6),
    ("rank", "rank(x, k)", "", 0.6),
    ("sample", "sample(x, rng=g)", "torch.multinomial(p, 1)", 1.5),
    ("sample, filtered", "sample(x, temperature=0.7, top_k=5, top_p=0.9, rng=g)", "", 1.5),
    ("cross_entropy", "cross_entropy(x, k)", "cross_entropy(x, k)", 1.0),
    (
        "cross_entropy, no reduction",
        "cross_entropy(x, k, reduction='none')",
        "cross_entropy(x, k, reduction='none')",
        1.0,
    ),
    ("cross_entropy, weight", "cross_entropy(x, k, weight=w)", "cross_entropy(x, k, weight=w)", 1.0),
    (
        "cross_entropy, smooth",
        "cross_entropy(x, k, label_smoothing=0.1)",
        "cross_entropy(x, k, label_smoothing=0.1)",
        1.0,
    ),
    ("cross_entropy, soft", "cross_entropy(x, p)", "cross_entropy(x, p)", 1.0),
    ("cross_entropy_with_grad", "cross_entropy_with_grad(x, k)", "", 1.5),
    ("nll_loss", "nll_loss(logp, k)", "nll_loss(logp, k)", 1.0),
    ("log_loss", "log_loss(p, k)", "", 1.0),
    ("sigmoid", "sigmoid(x)", "torch.sigmoid(x)", 0.6),
    ("log_sigmoid", "log_sigmoid(x)", "logsigmoid(x)", 0.6),
    ("sigmoid_grad", "sigmoid_grad(x, p)", "", 0.6),
    ("binary_cross_entropy", "binary_cross_entropy(p, b)", "binary_cross_entropy(p, b)", 1.0),
    ("binary_cross_entropy_with_grad", "binary_cross_entropy_with_grad(p, b)", "", 1.5),
    (
        "binary_cross_entropy_with_logits",
        "binary_cross_entropy_with_logits(x, b)",
        "binary_cross_entropy_with_logits(x, b)",
        1.0,
    ),
    (
        "binary_cross_entropy_with_logits_with_grad",
        "binary_cross_entropy_with_logits_with_grad(x, b)",
        "",
        1.5,
    ),
]
SHAPES = {"10": (10,), "1 x 1000": (1, 1000)}
ROUNDS = {False: (0.2, 40), True: (0.02, 5)}  # seconds and samples of each; --quick or not


def arrays(shape: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, *shape)).astype(np.float32)
    return {
        "x": x,
        "y": y,
        "out": np.empty_like(x),
        "p": softlane.softmax(x),
        "logp": softlane.log_softmax(x),
        "k": np.asarray(np.full(shape[:-1], 3)),
        "w": rng.uniform(1, 2, shape[-1]).astype(np.float32),
        "b": (y > 0).astype(np.float32),
        "q": y > -1,
        "t": rng.uniform(0.5, 2, (*shape[:-1], 1)),
        "strided": np.repeat(x, 2, axis=-1)[..., ::2],
        "listed": x.tolist(),
    }


def names(shape: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """What the expressions of each library see."""
    given = arrays(shape)
    public = {name: getattr(softlane, name) for name in softlane.__all__}
    found = {"softlane": {**public, **given, "np": np, "g": np.random.default_rng(0)}}
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(1)
    functional = {name: f for name, f in vars(torch.nn.functional).items() if callable(f)}
    tensors = {name: torch.from_numpy(a) for name, a in given.items() if isinstance(a, np.ndarray)}
    found["torch"] = {
        **functional,
        **tensors,
        "torch": torch,
        "softmax": torch.softmax,
        "log_softmax": torch.log_softmax,
    }
    return found


def measure(quick: bool) -> list[dict[str, Any]]:
    softlane.set_num_threads(1)
    seconds, rounds = ROUNDS[quick]
    rows = []
    for title, shape in SHAPES.items():
        known = names(shape)
        for name, ours, theirs, target in CALLS:
            entries = [Contender("softlane", ours, known["softlane"])]
            if theirs and "torch" in known:
                entries.append(Contender("torch", theirs, known["torch"]))
            for entry in entries:
                entry.run()
            times = interleave(entries, seconds, rounds, 1)
            row = {"shape": title, "call": name, "target": target if title == "10" else None}
            rows.append(row | {library: t["minimum"] / 1000 for library, t in times.items()})
    return rows


def markdown(results: dict[str, Any]) -> str:
    lines = [
        "# Call overhead",
        "",
        "Microseconds for one call with a new result, float32, one thread: the least of many samples.",
        f"{results['about']}.",
        "Target: for one row of ten numbers. A call above its target, or slower than PyTorch's, is marked.",
        "",
        "| call | 10 | torch | target | | 1 x 1000 | torch | |",
        "|:--|--:|--:|--:|:--|--:|--:|:--|",
    ]
    of_shape = [{r["call"]: r for r in results["rows"] if r["shape"] == shape} for shape in SHAPES]
    for call, small in of_shape[0].items():
        large = of_shape[1][call]
        cells = [call]
        for row in (small, large):
            torch = row.get("torch")
            missed = torch is not None and row["softlane"] > torch
            cells += [f"{row['softlane']:.2f}", "" if torch is None else f"{torch:.2f}"]
            if row["target"]:
                cells.append(f"{row['target']:g}")
                missed = missed or row["softlane"] > row["target"]
            cells.append("MISSED" if missed else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few samples: a look, not for citing")
    default = Path(__file__).parent / "results" / "overhead.json"
    parser.add_argument("--json", type=Path, default=default, metavar="FILE")
    options = parser.parse_args()
    about = f"{processor()}, Python {platform.python_version()}, NumPy {np.__version__}, path {_core.active_isa()}"
    results = {"about": about, "rows": measure(options.quick)}
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    table = markdown(results)
    options.json.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
