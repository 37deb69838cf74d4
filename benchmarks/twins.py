"""What twins need: pair accuracy by the moments of a clip, on MiniGym (synthetic).

    python benchmarks/twins.py

Logistic regression of the clips' 2-D joints, 3,000 labelled clips: one moment stands for a single frame,
eight in random order for what there is beside the order. Beside them the same on ``hard`` questions.
"""

from __future__ import annotations

import argparse

import numpy as np
from minigym_answerers import Answerer, setting

from gym_qa.audit.audit import pairs_of
from gym_qa.minigym import ELEMENTS, SIZES
from gym_qa.questions.attributes import differences, parse_attributes
from gym_qa.questions.questions import Question

SHOWN = {
    "one moment": Answerer(moments=1),
    "two moments": Answerer(moments=2),
    "four moments": Answerer(moments=4),
    "eight moments": Answerer(),
    "eight in random order": Answerer(shuffled=True),
}


def attribute(question: Question) -> str:
    """The attribute in which a twin's two options differ."""
    first, second = (parse_attributes(ELEMENTS[label].name) for label in question.option_labels)
    assert first is not None
    assert second is not None
    return ", ".join(differences(first, second))


def main() -> None:
    """Print accuracies and pair accuracies in per cent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", choices=list(SIZES), default="full")
    config = parser.parse_args()
    twins, hard = setting("twins", config.clips), setting("same-set+frequency-matched", config.clips)
    pairs = np.array(pairs_of(twins.questions))
    kinds = np.array([attribute(twins.questions[first]) for first, _ in pairs])
    names = sorted(set(kinds))
    print(f"synthetic; {len(pairs):,} pairs, {len(hard.questions):,} questions of four options; per cent")
    counts = [f"{name} ({(kinds == name).sum()} pairs)" for name in names]
    heads = ["shown", "both of a pair (chance 25)", *counts, "twins (50)", "four options (25)"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for shown, answerer in SHOWN.items():
        right, four = twins.answers(answerer), hard.answers(answerer)
        both = right[pairs].all(1)
        cells = [both.mean(), *(both[kinds == name].mean() for name in names), right.mean(), four.mean()]
        print(f"| {shown} | {' | '.join(f'{100 * cell:.1f}' for cell in cells)} |")


if __name__ == "__main__":
    main()
