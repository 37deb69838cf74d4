"""The element classes of MiniGym: each a few kinematic attributes and the FineGym-style name they spell."""

from __future__ import annotations

from dataclasses import dataclass

EVENTS = {2: "FX", 3: "BB", 4: "UB"}
SETS = {
    22: "FX_turns",
    24: "FX_front_salto",
    25: "FX_back_salto",
    31: "BB_leap_jump_hop",
    33: "BB_flight_salto",
    41: "UB_circles",
}


@dataclass(frozen=True)
class Element:
    """One class of movement.

    Attributes:
        set_id: FineGym set number; its tens digit is the event (2 FX, 3 BB, 4 UB).
        family: what moves it: ``salto``, ``jump``, ``turn`` (a pirouette) or ``circle`` (round a bar).
        shape: body position, or for a pirouette what the free leg does.
        direction: +1 forward, -1 backward, 0 where the family has none.
        turns: full turns about the long axis of the body.
        saltos: somersaults in the air (``salto`` only).
    """

    set_id: int
    family: str
    shape: str
    direction: int = 0
    turns: float = 0.0
    saltos: int = 1

    @property
    def event(self) -> int:
        """FineGym's event number."""
        return self.set_id // 10

    @property
    def name(self) -> str:
        """The class text with its event prefix, e.g. ``(FX) salto backward tucked``."""
        return f"({EVENTS[self.event]}) {_NAMERS[self.family](self)}"


def _way(element: Element) -> str:
    return "forward" if element.direction > 0 else "backward"


def _salto(element: Element) -> str:
    double = "double " if element.saltos == 2 else ""
    twist = f" with {element.turns:g} twist" if element.turns else ""
    return f"{double}salto {_way(element)} {element.shape}{twist}"


def _jump(element: Element) -> str:
    turn = f" with {element.turns:g} turn" if element.turns else ""
    return f"{JUMPS[element.shape]}{turn}"


def _turn(element: Element) -> str:
    return f"{element.turns:g} turn {FREE_LEGS[element.shape]}"


def _circle(element: Element) -> str:
    turn = f" with {element.turns:g} turn" if element.turns else ""
    end = "" if element.shape == "giant circle" and not turn else " to handstand"
    return f"{element.shape} {_way(element)}{turn}{end}"


_NAMERS = {"salto": _salto, "jump": _jump, "turn": _turn, "circle": _circle}

JUMPS = {
    "split": "split jump",
    "straddle": "straddle pike jump",
    "wolf": "wolf hop or jump (hip angle at 45, knees together)",
}
FREE_LEGS = {
    "tuck stand": "in tuck stand on one leg, free leg straight throughout turn",
    "horizontal": "with heel of free leg forward at horizontal throughout turn",
    "below": "on one leg, free leg optional below horizontal",
    "upward": "with free leg held upward in 180 split position throughout turn",
}

#: Every class, ordered by set; the index is the label (Clabel).
ELEMENTS: tuple[Element, ...] = (
    *(Element(22, "turn", leg, turns=n) for leg in FREE_LEGS for n in (1, 2)),
    *(Element(24, "salto", shape, +1) for shape in ("tucked", "piked", "stretched")),
    *(Element(24, "salto", "stretched", +1, turns=n) for n in (0.5, 1)),
    Element(24, "salto", "tucked", +1, saltos=2),
    *(Element(25, "salto", shape, -1) for shape in ("tucked", "piked", "stretched")),
    Element(25, "salto", "stretched", -1, turns=1),
    *(Element(25, "salto", shape, -1, saltos=2) for shape in ("tucked", "piked")),
    *(Element(31, "jump", shape, turns=n) for shape in JUMPS for n in (0, 1)),
    *(Element(33, "salto", shape, way) for way in (+1, -1) for shape in ("tucked", "piked")),
    *(Element(33, "salto", "stretched", -1, turns=n) for n in (0, 1)),
    *(Element(41, "circle", "giant circle", way, turns=n) for way in (-1, +1) for n in (0, 0.5, 1)),
    *(Element(41, "circle", "pike sole circle", -1, turns=n) for n in (0, 0.5)),
    *(Element(41, "circle", "stalder", way) for way in (-1, +1)),
)
