"""Functions that an lmms-eval task of Gym-QA questions names; copied into the task's folder as ``utils.py``.

Set ``GYM_QA_VIDEOS`` to the folder of the clips.
"""

import os
import re
from typing import Any

LETTERS = "ABCDEFGH"
READABLE = re.compile(
    r"\W*(?:(?:the )?(?:correct )?answer(?: is)?:?)?\W*([A-H])(?:\W+(.*))?", re.IGNORECASE | re.DOTALL
)


def doc_to_visual(doc: dict[str, Any], lmms_eval_specific_kwargs: Any = None) -> list[str]:
    """The clip's path."""
    return [os.path.join(os.environ["GYM_QA_VIDEOS"], doc["video"] + ".mp4")]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: Any = None) -> str:
    """The question with its options."""
    options = (f"{letter}. {option}" for letter, option in zip(LETTERS, doc["options"], strict=False))
    wanted = "Answer with the option's letter from the given choices directly."
    return "\n".join([doc["question"], *options, wanted])


def doc_to_target(doc: dict[str, Any]) -> str:
    """The right letter."""
    return LETTERS[doc["answer"]]


def read_letter(text: str, options: list[str]) -> str | None:
    """The letter an answer gives, or None where it gives none plainly: nothing is guessed."""
    text = text.strip()
    exact = [
        letter for letter, option in zip(LETTERS, options, strict=False) if text.lower() == option.lower()
    ]
    if len(exact) == 1:
        return exact[0]
    found = READABLE.fullmatch(text)
    if not found:
        return None
    letter, rest = found[1].upper(), (found[2] or "").strip(" .\n")
    place = LETTERS.index(letter)
    if place >= len(options) or (rest and rest.lower() != options[place].lower()):
        return None
    return letter


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 for the right letter; an answer that cannot be read is wrong, and counted as unparsed."""
    letter = read_letter(results[0], doc["options"])
    return {"gym_qa_accuracy": float(letter == doc_to_target(doc)), "unparsed_rate": float(letter is None)}
