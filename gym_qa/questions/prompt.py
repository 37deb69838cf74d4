"""A multiple-choice question as a prompt for other tools.

This file needs the standard library alone; ``export-qa`` copies it into what it writes for lmms-eval and
VLMEvalKit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase as LETTERS

ASK = "Answer with the option's letter from the given choices directly."
#: What other tools would take for a video (``<video>``), an end of turn (``<|im_end|>``) or the like.
TAG = re.compile(r"<([/|｜]?[A-Za-z][^<>\n]*)>")


def prompt(question: str, options: Sequence[str], ask: str = ASK) -> str:
    """The question with lettered options and what is wanted."""
    lettered = (f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return "\n".join([escaped(question), *map(escaped, lettered), ask])


def escaped(text: str) -> str:
    """A text in which nothing is a tag; `reply.read_answer` reads both spellings alike."""
    return TAG.sub(r"&lt;\1&gt;", text)
