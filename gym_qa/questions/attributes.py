"""What a class name says: direction, body position, turns, saltos and support, read from the element's text.

The wording is that of the Code of Points as FineGym quotes it. Two names with equal attributes mean the same
movement, whatever else they explain in brackets, so they are synonyms to a question.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields

_TURN = re.compile(
    r"(?:with (?:an )?(?:additional )?)?\b(\d+(?:\.\d+)?)\s*/?\s*(?:turns?|twists?)\b(?: or more)?"
)
_DIRECTION = re.compile(r"\b(forward|backward|sideward|arabian)s?\b")
_POSITION = re.compile(r"\b(tucked|piked|stretched|straddled|straddle)\b")
_BRACKETS = re.compile(r"\([^()]*\)")
_COUNTS = {"double": 2, "triple": 3}


@dataclass(frozen=True)
class Attributes:
    """One movement.

    Attributes:
        family: what kind of movement it is; movements of different families are never one attribute apart.
        direction: ``forward``, ``backward``, ``sideward``, ``arabian``, or from one bar to the other; may be
            empty.
        position: body position in the movement, e.g. ``tucked``, ``split``; may be empty.
        turns: full turns about the long axis of the body.
        saltos: somersaults in the air.
        support: what bears the body or how it is taken and left: free leg, grip on the bar, take-off,
            landing.
    """

    family: str
    direction: str = ""
    position: str = ""
    turns: float = 0.0
    saltos: int = 0
    support: str = ""


#: The attributes in which the options of a one-attribute question may differ.
ATTRIBUTES = tuple(field.name for field in fields(Attributes) if field.name != "family")


def parse_attributes(name: str) -> Attributes | None:
    """Read a class name, with or without its event prefix; None where the wording is not understood."""
    text = _BRACKETS.sub(" ", name.lower())
    text = " ".join(text.replace("_", " ").split()).strip(" ,.")
    for pattern, reader in _READERS:
        if re.search(pattern, text):
            return reader(text)
    return None


def meaning(name: str) -> Attributes | str:
    """What makes two names synonyms: the attributes, or the plain words where those cannot be read."""
    attributes = parse_attributes(name)
    if attributes is not None:
        return attributes
    words = " ".join(_BRACKETS.sub(" ", name.lower()).split())
    return words or name.strip().lower()


def differences(one: Attributes, other: Attributes) -> tuple[str, ...]:
    """The attributes in which two movements differ; ``family`` first where that differs too."""
    names = ("family", *ATTRIBUTES)
    return tuple(name for name in names if getattr(one, name) != getattr(other, name))


def _turns(text: str) -> float:
    match = _TURN.search(text)
    return float(match[1]) if match else 0.0


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


def _saltos(text: str) -> int:
    return next((count for word, count in _COUNTS.items() if word in text.split()), 1)


def _vault(text: str) -> Attributes:
    entry, flight = text.split(" on, ", 1) if " on, " in text else ("", text)
    salto = _salto(flight)
    return Attributes("vault", salto.direction, salto.position, salto.turns, salto.saltos, entry)


def _salto(text: str) -> Attributes:
    support = ""
    for words, meant in _LANDINGS.items():
        if words in text:
            support = meant
            break
    direction = "arabian" if "arabian" in text else _first(_DIRECTION, text)
    position = _first(_POSITION, text).replace("straddled", "straddle")
    return Attributes("salto", direction, position, _turns(text), _saltos(text), support)


#: Landing together on both feet is what a salto does where its name says nothing.
_LANDINGS = {
    "step out": "step-out",
    "step-out": "step-out",
    "to side stand": "to side stand",
    "to cross stand": "to cross stand",
    "to hang": "to hang on the bar",
    "from one leg": "from one leg",
}


def _transition(text: str) -> Attributes:
    bars = re.findall(r"(high|low) bar", text)
    return Attributes("transition flight", direction=" to ".join(bars), turns=_turns(text))


def _circle(text: str) -> Attributes:
    kind = re.split(r"\b(?:circle|forward|backward|with)\b", text)[0].strip(" ,")
    arm = " on one arm" if "one arm" in text else ""
    return Attributes("circle", _first(_DIRECTION, text), "", _turns(text), 0, kind + arm)


def _turn(text: str) -> Attributes:
    for words, leg in _FREE_LEGS.items():
        if words in text:
            return Attributes("turn", turns=_turns(text), support=leg)
    return Attributes("turn", turns=_turns(text), support=_TURN.sub("", text).strip(" ,"))


_FREE_LEGS = {
    "tuck stand": "in tuck stand",
    "heel of free leg": "heel of free leg at horizontal",
    "held upward": "free leg held upward",
    "below horizontal": "free leg below horizontal",
}


def _leap(text: str) -> Attributes:
    feet = "from one foot" if re.search(r"\b(?:leap|johnson)\b", text) else "from two feet"
    if re.search(r"\bhop\b", text) and "jump" not in text:
        feet = "hop"
    shape = _TURN.sub(" ", text)
    shape = re.sub(r"\b(?:leap|jump|hop|to|position|forward|or side split|with|in|or)\b", " ", shape)
    return Attributes("leap", position=" ".join(shape.split()), turns=_turns(text), support=feet)


def _counter(text: str) -> Attributes:
    position = _first(_POSITION, text).replace("straddled", "straddle")
    return Attributes("counter", position=position, turns=_turns(text), support="to hang on the bar")


def _aerial(text: str) -> Attributes:
    kind = _first(re.compile(r"(walkover|cartwheel)"), text)
    direction = _first(_DIRECTION, text)
    return Attributes("aerial", direction, kind, _turns(text))


def _handspring(text: str) -> Attributes:
    kind = _first(re.compile(r"(flic-flac|round-off|handspring|walkover|cartwheel)"), text)
    through = " through handstand" if "through handstand" in text else ""
    landing = "step-out" if "step-out" in text else "both feet" if "both feet" in text else ""
    return Attributes(kind, _first(_DIRECTION, text), "", _turns(text), 0, landing + through)


#: First match wins: a vault's name holds a salto's, a salto's may begin with a swing.
_READERS: tuple[tuple[str, Callable[[str], Attributes]], ...] = (
    (r"\bon, .*\boff\b|\btsukahara\b|\byurchenko\b", _vault),
    (r"\btransition flight\b", _transition),
    (r"\bcounter\b", _counter),
    (r"\b(?:circle|stalder)\b", _circle),
    (r"\bsalto\b", _salto),
    (r"\baerial\b", _aerial),
    (r"\b(?:flic-flac|round-off|handspring|walkover|cartwheel)\b", _handspring),
    (r"^\d+(?:\.\d+)? turn\b", _turn),
    (r"\b(?:leap|jump|hop|sissone|johnson)\b", _leap),
)
