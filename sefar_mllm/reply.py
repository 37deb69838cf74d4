"""Reading what a model said, strictly: what cannot be read is wrong and counted, never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

# One letter, alone or in brackets, with an optional announcement before and an optional text behind.
# Announced letters must be capitals: in "The answer is a salto" the "a" is an article.
ANNOUNCED = re.compile(
    r"(?:(?i:(?:the |my )?(?:correct |best )?(?:answer|option|choice)(?: is)?)\s*:?\s*)"
    r"(?:\(([A-Z])\)|([A-Z]))[.:)]?(?:\s+(.+))?",
    re.DOTALL,
)
BARE = re.compile(r"(?:\(([A-Za-z])\)|([A-Za-z]))[.:)]?", re.DOTALL)
LETTER_AND_TEXT = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.:)])\s+(.+)", re.DOTALL)
QUOTES = "\"'“”‘’«»"


def plain(text: str) -> str:
    """A text without case, outer quotes, final stop and superfluous space, for comparison as a whole."""
    return " ".join(text.split()).strip(QUOTES + " ").removesuffix(".").strip(QUOTES + " ").casefold()


def read_answer(reply: str, options: Sequence[str]) -> int | None:
    """The option that a reply names, or none where it names none, several, or contradicts itself.

    Read are a letter (``A``, ``a``, ``(A)``, ``A.``, ``Answer: A``, ``The answer is (A).``), a letter with
    its own option's text (``A. salto backward tucked``), and an option's text, quoted exactly. The whole
    reply must be such an answer: letters within sentences are not looked for.

    Args:
        reply: what the model said.
        options: the texts of the options, A first.
    """
    reply = reply.strip()
    match = BARE.fullmatch(reply)
    if match:
        return index_of(match.group(1) or match.group(2), options)
    match = ANNOUNCED.fullmatch(reply) or LETTER_AND_TEXT.fullmatch(reply)
    if match:
        choice = index_of(match.group(1) or match.group(2), options)
        text = match.group(3)
        if choice is not None and text is not None and plain(text) != plain(options[choice]):
            return None
        return choice
    announced = re.sub(r"^(?i:(?:the )?answer(?: is)?)\s*:?\s+", "", reply)
    named = [number for number, option in enumerate(options) if plain(option) == plain(announced) != ""]
    return named[0] if len(named) == 1 else None


def index_of(letter: str, options: Sequence[str]) -> int | None:
    """The option of a letter; none for a letter beyond the last option."""
    number = ascii_uppercase.index(letter.upper())
    return number if number < len(options) else None
