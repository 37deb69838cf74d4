"""Choosing who is asked, so that neither the letter nor the class of the right answer can be guessed.

``letters``: every letter is the answer equally often. ``answers``: besides, in every option set each of its
classes is the answer equally often; then any guess made from the options alone is right in exactly one of
four questions. ``pairs``: every question has a twin, see `gym_qa.questions.twins`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gym_qa.dice import by_chance
from gym_qa.errors import GymQAError
from gym_qa.questions.questions import Question
from gym_qa.questions.schedule import OPTIONS
from gym_qa.questions.twins import paired

#: One class in one option set: questions per answer letter, and how many of each are asked.
_Cell = tuple[list[list[Question]], list[int]]


def balanced(questions: Sequence[Question], balance: str, seed: int = 0) -> list[Question]:
    """The questions that are asked, in their order.

    Args:
        questions: all that could be asked.
        balance: a key of `BALANCES`.
        seed: decides between questions that serve equally well.
    """
    if balance not in BALANCES:
        raise GymQAError(f"balance {balance!r}: expected one of {', '.join(BALANCES)}")
    return BALANCES[balance](questions, seed)


def _evened(questions: Sequence[Question], by_class: bool, seed: int) -> list[Question]:
    cells = _cells(questions, by_class, seed)
    tally = [0] * OPTIONS
    for block in sorted(cells, key=lambda block: _slack(cells[block])):  # the least free to choose first
        size = min(sum(map(len, stock)) for stock, _ in cells[block])
        for stock, taken in cells[block]:
            for _ in range(size):
                free = [letter for letter in range(OPTIONS) if taken[letter] < len(stock[letter])]
                letter = min(free, key=lambda letter: (tally[letter], letter))
                taken[letter] += 1
                tally[letter] += 1
    while len(set(tally)) > 1:
        _drop_round(list(cells.values()), tally)
    chosen = {
        question.id
        for block in cells.values()
        for stock, taken in block
        for pile, count in zip(stock, taken, strict=True)
        for question in pile[:count]
    }
    return [question for question in questions if question.id in chosen]


def _cells(questions: Sequence[Question], by_class: bool, seed: int) -> dict[tuple[int, ...], list[_Cell]]:
    """Option set -> one cell for each of its classes; a single cell for all where only letters count."""
    cells: dict[tuple[int, ...], list[_Cell]]
    if not by_class:
        stock: list[list[Question]] = [[] for _ in range(OPTIONS)]
        cells = {(): [(stock, [0] * OPTIONS)]}
    else:
        sets = {tuple(sorted(question.option_labels)) for question in questions}
        cells = {
            block: [([[] for _ in range(OPTIONS)], [0] * OPTIONS) for _ in block] for block in sorted(sets)
        }
    for question in sorted(questions, key=lambda question: by_chance(seed, question.id)):
        block = tuple(sorted(question.option_labels)) if by_class else ()
        place = block.index(question.label) if by_class else 0
        cells[block][place][0][question.answer].append(question)
    return cells


def _slack(block: list[_Cell]) -> int:
    sizes = [sum(map(len, stock)) for stock, _ in block]
    return sum(sizes) - min(sizes) * len(sizes)


def _drop_round(blocks: list[list[_Cell]], tally: list[int]) -> None:
    """Give up one question of every class in the option set where that evens the letters out most."""

    def plan(block: list[_Cell]) -> tuple[int, list[int]]:
        after = list(tally)
        letters = []
        for _, taken in block:
            letter = max((k for k in range(OPTIONS) if taken[k]), key=lambda k: (after[k], -k))
            after[letter] -= 1
            letters.append(letter)
        return sum(abs(OPTIONS * count - sum(after)) for count in after), letters

    usable = [block for block in blocks if all(any(taken) for _, taken in block)]
    block = min(usable, key=lambda block: plan(block)[0])
    for (_, taken), letter in zip(block, plan(block)[1], strict=True):
        taken[letter] -= 1
        tally[letter] -= 1


BALANCES: dict[str, Callable[[Sequence[Question], int], list[Question]]] = {
    "none": lambda questions, seed: list(questions),
    "letters": lambda questions, seed: _evened(questions, False, seed),
    "answers": lambda questions, seed: _evened(questions, True, seed),
    "pairs": paired,
}
