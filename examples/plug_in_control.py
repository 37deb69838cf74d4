"""A control of one's own, plugged in: the same videos and options, asked about in other words.

    python examples/plug_in_control.py --checkpoint runs/minigym/mllm \
      --questions runs/minigym/qa/val_questions.jsonl --features runs/minigym/features --output runs/reworded

It takes the options of ``sefar-mllm evaluate``, and stands in its table. A recipe, encoder, projector, score
rule or question policy is plugged in the same way; docs/extending.md shows each.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from sefar_mllm.cli import main
from sefar_mllm.evaluation.controls import CONTROLS, Control, ControlInput, Outcome


def ask_in_other_words(given: ControlInput) -> Outcome:
    """A model that goes by the video keeps its answers when the question is worded anew."""
    reworded = [replace(question, question="Name the movement.") for question in given.questions]
    answers = given.respondent.predict(reworded, given.stores["filmed"])
    same = sum(a.choice == b.choice for a, b in zip(answers, given.answers, strict=True))
    return Outcome(answers, note=f"{same} of {len(answers)} answers stay")


CONTROLS["other-words"] = Control("in other words", ask_in_other_words, sees_video=True)

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:], "--controls", "[other-words]"]))
