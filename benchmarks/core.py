"""How well a core of 500 questions ranks answerers, on MiniGym (synthetic): ``python benchmarks/core.py``.

The answerers are classifiers of the 2-D joints of MiniGym's clips that differ in method, labels, moments
seen, noise and order of the moments. Half of them choose the core, the others are ranked on it.
"""

from __future__ import annotations

import argparse

import numpy as np
from minigym_answerers import METHODS, Answerer, setting
from scipy.stats import spearmanr

from gym_qa.benchmark.core import agreement
from gym_qa.minigym import SIZES

ANSWERERS = [
    *(Answerer(method, labels) for method in METHODS for labels in (100, 250, 800, 3000)),
    *(Answerer(moments=moments, labels=labels) for moments in (1, 2, 4) for labels in (300, 3000)),
    *(Answerer(noise=noise) for noise in (0.03, 0.1, 0.3)),
    Answerer(shuffled=True),
    Answerer("forest", shuffled=True),
]


def main() -> None:
    """Print every answerer's accuracy and how cores of several sizes rank them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 250, 500])
    parser.add_argument("--clips", choices=list(SIZES), default="full")
    config = parser.parse_args()
    made = setting("same-set+frequency-matched", config.clips)
    questions, right = made.questions, np.array([made.answers(answerer) for answerer in ANSWERERS])
    print(f"{len(questions):,} questions about synthetic clips, {len(ANSWERERS)} answerers, accuracy in %:")
    for answerer, verdicts in sorted(zip(ANSWERERS, right, strict=True), key=lambda pair: pair[1].mean()):
        print(f"  {100 * verdicts.mean():5.1f}  {answerer}")
    rng = np.random.default_rng(0)
    for count in config.sizes:
        print(f"{count} questions: {agreement(questions, right.tolist(), count)}")
        spearman, errors = [], []
        for _ in range(40):
            ranked = right[rng.permutation(len(right))[len(right) // 2 :]]
            core = rng.permutation(len(questions))[:count]
            whole, small = ranked.mean(1), ranked[:, core].mean(1)
            spearman.append(spearmanr(whole, small).statistic)
            errors.append(((whole - small) ** 2).mean())
        off = 100 * np.sqrt(np.mean(errors))
        print(f"  drawn at random: Spearman {np.mean(spearman):.3f}, off by {off:.1f} points")


if __name__ == "__main__":
    main()
