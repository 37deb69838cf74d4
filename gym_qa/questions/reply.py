"""Reading what was answered to a multiple-choice question, strictly: nothing is guessed.

This file needs the standard library alone. ``export-qa`` copies it word for word into what it writes for
lmms-eval and VLMEvalKit, so that a reply gets the same verdict there and here.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from string import ascii_uppercase

#: What stands before such a tag was thought, not answered.
THOUGHT = re.compile(r"</(?:think|thinking|analysis|reasoning)>", re.IGNORECASE)
QUOTES = "\"'“”„‘’‚«»"
FINAL = ".,;:!。"  # at the end of a reply, an option or a letter these say nothing
EMPHASIS = re.compile(r"[*_`]+")  # Markdown's
MARK = re.compile(r"^(?:[#>•-]+ )+")  # Markdown's, of a heading, quotation or list item
#: What a reply, a letter or an option may be enclosed in: brackets, TeX, a tag.
ENCLOSED = re.compile(
    r"\(([^()]+)\)|\[([^\[\]]+)\]|\{([^{}]+)\}|<([^<>]+)>"
    r"|\$\$?([^$]+)\$\$?|\\\((.+)\\\)|\\\[(.+)\\\]|\\[a-z]+ ?\{(.+)\}|<(?P<tag>\w+)>(.+)</(?P=tag)>"
)
#: "The correct answer is …", "Answer: …", "Option …". In "The answer is a" the "a" is an article, no letter.
ANNOUNCED = re.compile(
    r"(?i:(?:(?:so|thus|therefore|hence),? )?(?:(?:the|my) )?(?:(?:final|correct|right|best) )*"
    r"(?:answer(?!(?-i: a)$)|option|choice|letter)\b(?: (?:is|would be)\b(?!(?-i: a)$))?"
    r"[ :=–—-]*(?:(?:option|choice|letter)\b[ :]*)?)(.+)"
)
#: "… is the correct answer".
CONFIRMED = re.compile(r"(.+?)(?i: is (?:the )?(?:correct|right|best)(?: (?:answer|option|choice|one))?)")
LETTER = re.compile(r"([A-Za-z])\)?")
LETTER_AND_TEXT = re.compile(
    rf"(?:[(\[{{<]([A-Za-z])[)\]}}>]|([A-Za-z])(?=[ .:),;{QUOTES}]))[.:),;{QUOTES}]*(?: ?[=–—-](?= ))? *(.+)"
)
TEXT_AND_LETTER = re.compile(r"(.+?) ?(?:\(([A-Za-z])\)|\[([A-Za-z])\])")
ARTICLE = re.compile(r"(?:an?|[Tt]he) (.+)")


def read_answer(reply: str, options: Sequence[str]) -> int | None:
    """The option that a reply names, or None where it names none, several, or contradicts itself.

    Read are a letter (``A``, ``a``, ``(A)``, ``A.``), an option's text, quoted exactly but for case, and both
    together where they agree (``A. salto backward tucked``); each also behind "The answer is", "Answer:",
    "Option" and the like, or before "is correct". Markdown's emphasis, quotes, enclosing brackets,
    ``\\boxed{}``, space and final punctuation change nothing, and what a model thinks before ``</think>`` is
    left out. The whole reply must be such an answer: nothing is looked for within sentences, and the article
    "a" is never answer A.

    Args:
        reply: what was said.
        options: the texts of the options, A first.
    """
    texts = [core(clean(option)).casefold() for option in options]
    said = core(clean(THOUGHT.split(reply)[-1]))
    named = {option for form in forms(said) for option in readings(core(form), texts)}
    return named.pop() if len(named) == 1 else None


def clean(text: str) -> str:
    """A text in one line without emphasis, invisible characters, entities and typographic variants."""
    text = unicodedata.normalize("NFKC", html.unescape(text))
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return MARK.sub("", " ".join(EMPHASIS.sub(_inside_word, text).split()))


def _inside_word(run: re.Match[str]) -> str:
    text, start, end = run.string, run.start(), run.end()
    return run[0] if text[max(start - 1, 0) : start].isalnum() and text[end : end + 1].isalnum() else ""


def core(text: str) -> str:
    """A clean text without quotes, final punctuation and what encloses it."""
    while True:
        text = text.lstrip(QUOTES + " ").rstrip(QUOTES + FINAL + " ")
        match = ENCLOSED.fullmatch(text)
        if match is None:
            return text
        text = match[match.lastindex or 0]


def forms(said: str) -> Iterator[str]:
    """The reply as it stands, and without its announcement or confirmation."""
    confirmed = CONFIRMED.fullmatch(said)
    for form in (said, confirmed[1]) if confirmed else (said,):
        yield form
        announced = ANNOUNCED.fullmatch(form)
        if announced:
            yield announced[1]


def readings(form: str, texts: Sequence[str]) -> set[int]:
    """Every option that a letter, a text or both can mean; ``texts`` are the options', folded."""
    named = with_text(form, texts)
    letter = LETTER.fullmatch(form)
    if letter:
        named |= with_letter(letter[1], texts)
    for pattern, first, second, rest in ((LETTER_AND_TEXT, 1, 2, 3), (TEXT_AND_LETTER, 2, 3, 1)):
        pair = pattern.fullmatch(form)
        if pair:
            named |= with_letter(pair[first] or pair[second], texts) & with_text(core(pair[rest]), texts)
    article = ARTICLE.fullmatch(form)
    return with_text(core(article[1]), texts) if article and not named else named


def with_text(form: str, texts: Sequence[str]) -> set[int]:
    """The options of this text."""
    return {option for option, text in enumerate(texts) if text and text == form.casefold()}


def with_letter(letter: str, texts: Sequence[str]) -> set[int]:
    """The option of a letter; none for a letter beyond the last option."""
    option = ascii_uppercase.index(letter.upper())
    return {option} if option < len(texts) else set()
