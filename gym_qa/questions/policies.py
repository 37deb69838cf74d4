"""Distractor policies: which classes may stand beside which in a question.

A policy is one of `GROUPINGS`, alone or followed by ``+frequency-matched``; ``frequency-matched`` alone is
``uniform+frequency-matched``. Frequency-matched policies, and ``one-attribute`` always, take their options
from a schedule (see `gym_qa.questions.schedule`) and not by free draws; so do ``twins``, which have two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gym_qa.datasets.table import ActionClass
from gym_qa.errors import GymQAError
from gym_qa.questions.attributes import ATTRIBUTES, parse_attributes
from gym_qa.questions.schedule import OPTIONS, Weighted, schedule

FREQUENCY = "frequency-matched"

Classes = Sequence[ActionClass]


@dataclass(frozen=True)
class Grouping:
    """How a policy relates classes.

    Attributes:
        tiers: label -> the classes it may stand beside, nearest first; a later tier serves where earlier
            ones do not hold enough different names.
        groups: sets of classes that may all stand beside one another, for the schedule.
        always_scheduled: free draws would give the answer away.
        options: in a question.
        remarks: what to say of a file in which these labels are asked about.
    """

    tiers: Callable[[Classes, int], Iterable[list[int]]]
    groups: Callable[[Classes, Sequence[Hashable]], list[list[int]]]
    always_scheduled: bool = False
    remarks: Callable[[Classes, Collection[int]], Iterable[str]] = lambda classes, asked: ()
    options: int = OPTIONS


def _event(action: ActionClass) -> Hashable:
    return action.event


def _set(action: ActionClass) -> Hashable:
    return action.event, action.set_id


def _all(action: ActionClass) -> Hashable:
    return ""


def _by(*keys: Callable[[ActionClass], Hashable]) -> Grouping:
    """Group by the first key where that leaves four different names, by the later ones where it does not."""

    def tiers(classes: Classes, label: int) -> Iterable[list[int]]:
        for key in keys:
            wanted = key(classes[label])
            yield [other for other, action in enumerate(classes) if other != label and key(action) == wanted]

    def groups(classes: Classes, meanings: Sequence[Hashable]) -> list[list[int]]:
        groups_found: list[list[int]] = []
        rest = list(range(len(classes)))
        for key in keys:
            if key is _all and groups_found:
                rest = _adopt(rest, groups_found, classes)
            by_key: dict[Hashable, list[int]] = defaultdict(list)
            for label in rest:
                by_key[key(classes[label])].append(label)
            big = [group for group in by_key.values() if len({meanings[label] for label in group}) >= OPTIONS]
            groups_found += big
            taken = {label for group in big for label in group}
            rest = [label for label in rest if label not in taken]
        for label in rest if groups_found else []:
            min(groups_found, key=len).append(label)
        return groups_found

    return Grouping(tiers, groups)


def _adopt(rest: list[int], groups: list[list[int]], classes: Classes) -> list[int]:
    """Give each class left over to the smallest group of its own event; return those whose event has none."""
    orphans = []
    for label in rest:
        event = classes[label].event
        kin = [group for group in groups if any(classes[other].event == event for other in group)]
        if kin:
            min(kin, key=len).append(label)
        else:
            orphans.append(label)
    return orphans


def _lines(size: int) -> Callable[[Classes, Sequence[Hashable]], list[list[int]]]:
    """Classes of one event that agree in all attributes but one: any two of them differ in that one alone.

    A question whose wrong options each differed from the right one in another attribute would show the right
    one as the one all others resemble; on a line of ``size`` or more no option is in the middle.
    """

    def groups(classes: Classes, meanings: Sequence[Hashable]) -> list[list[int]]:
        lines: dict[Hashable, list[int]] = defaultdict(list)
        for label, action in enumerate(classes):
            attributes = parse_attributes(action.name)
            if attributes is None:
                continue
            for free in ATTRIBUTES:
                fixed = tuple(getattr(attributes, name) for name in ("family", *ATTRIBUTES) if name != free)
                lines[action.event, free, fixed].append(label)
        return [line for line in lines.values() if len({meanings[label] for label in line}) >= size]

    return groups


def _attributes_read(beside: str) -> Callable[[Classes, Collection[int]], Iterable[str]]:
    """Which classes are left out by questions whose options differ in one attribute, and why."""

    def remarks(classes: Classes, asked: Collection[int]) -> Iterable[str]:
        unread = [action.name for action in classes if parse_attributes(action.name) is None]
        yield (
            f"attributes are read from {len(classes) - len(unread)} of {len(classes)} class names"
            + (f", not from: {'; '.join(unread)}" if unread else "")
            + f"; {len(asked)} classes stand with {beside} in one and the same attribute"
        )

    return remarks


GROUPINGS: dict[str, Grouping] = {
    "uniform": _by(_all),
    "same-event": _by(_event, _all),
    "same-set": _by(_set, _event, _all),
    "one-attribute": Grouping(
        lambda classes, label: [], _lines(OPTIONS), True, _attributes_read("three others that differ")
    ),
    "twins": Grouping(
        lambda classes, label: [], _lines(2), True, _attributes_read("another that differs"), options=2
    ),
}

FREE = tuple(name for name, grouping in GROUPINGS.items() if not grouping.always_scheduled)
POLICIES = (*GROUPINGS, FREQUENCY, *(f"{name}+{FREQUENCY}" for name in FREE))


@dataclass(frozen=True)
class Policy:
    """A policy by its parts."""

    name: str
    grouping: Grouping
    scheduled: bool

    @classmethod
    def parse(cls, name: str) -> Policy:
        """Read e.g. ``same-set+frequency-matched``."""
        parts = name.split("+")
        if parts[0] == FREQUENCY:
            parts.insert(0, "uniform")
        if parts[0] not in GROUPINGS or parts[1:] not in ([], [FREQUENCY]):
            raise GymQAError(f"distractor policy {name!r}: expected one of {', '.join(POLICIES)}")
        grouping = GROUPINGS[parts[0]]
        return cls(name, grouping, len(parts) == 2 or grouping.always_scheduled)

    @property
    def balances(self) -> tuple[str, ...]:
        """What its questions can be balanced for, see `gym_qa.questions.balance`; the strictest last."""
        if self.grouping.options == 2:
            return ("pairs",)
        return ("letters", "answers") if self.scheduled else ("letters",)

    def option_sets(
        self,
        classes: Classes,
        meanings: Sequence[Hashable],
        reference: Mapping[int, int],
        order: Sequence[int],
    ) -> dict[int, list[Weighted]]:
        """Label -> the weighted option sets it is asked in. Labels that no set can hold are absent.

        ``order`` is that in which classes are laid out for the schedule: another order binds other classes
        together.
        """
        groups = self.grouping.groups(classes, meanings)
        memberships = {label: sum(label in group for group in groups) for label in range(len(classes))}
        sets: dict[int, list[Weighted]] = defaultdict(list)
        for group in groups:
            shares = {label: reference.get(label, 0) // memberships[label] for label in group}
            ordered = [label for label in order if label in group]
            for block, weight in schedule(ordered, shares, meanings, self.grouping.options):
                for label in block:
                    sets[label].append((block, weight))
        return dict(sets)
