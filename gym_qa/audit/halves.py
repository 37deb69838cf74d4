"""Learning from one half of a question file and guessing in the other, both ways round.

What stands together stays together: questions about one video, and pairs. Among the rest, questions with the
same options are dealt out answer by answer, so that a file in which every option of a set is right equally
often has halves of which that is true too. (Dealt out at random, the half that is learnt from would hold more
of what the other lacks, and any learner would score below chance.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gym_qa.dice import by_chance
from gym_qa.questions.questions import Question

#: Of each question a preference for each of its options.
Preferences = Sequence[Sequence[float]]
#: From questions with answers to the preferences in questions without.
Learner = Callable[[Sequence[Question]], Callable[[Sequence[Question]], Preferences]]


def halves(questions: Sequence[Question]) -> tuple[list[int], list[int]]:
    """Places of the questions of either half; the second is empty where all questions belong together."""
    together: dict[int, list[int]] = defaultdict(list)
    for place, component in enumerate(_components(questions)):
        together[component].append(place)
    by_options: dict[Hashable, dict[Hashable, list[list[int]]]] = defaultdict(lambda: defaultdict(list))
    for places in sorted(together.values(), key=lambda places: by_chance(0, questions[places[0]].id)):
        options = [tuple(sorted(questions[place].options)) for place in places]
        right = [questions[place].options[questions[place].answer] for place in places]
        by_options[tuple(sorted(options))][tuple(sorted(zip(options, right, strict=True)))].append(places)
    dealt: tuple[list[int], list[int]] = [], []
    for start, by_answer in enumerate(by_options.values()):
        for members in by_answer.values():
            for turn, places in enumerate(members, start):
                dealt[turn % 2].extend(places)
    return sorted(dealt[0]), sorted(dealt[1])


def _components(questions: Sequence[Question]) -> Sequence[int]:
    """For each question the number of those it stands together with, by video or pair."""
    names: dict[tuple[str, str], int] = {}
    edges = [
        (place, names.setdefault((kind, name), len(names)))
        for place, question in enumerate(questions)
        for kind, name in (("video", question.video), ("pair", question.pair))
        if name
    ]
    rows, columns = np.array(edges).T if edges else (np.array([], int), np.array([], int))
    size = len(questions) + len(names)
    graph = coo_array((np.ones(len(rows)), (rows, columns + len(questions))), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(questions)].tolist()


def learnt_elsewhere(questions: Sequence[Question], learn: Learner) -> Preferences | None:
    """Each question's preferences after learning from the other half; None where there are no two halves."""
    first, second = halves(questions)
    if not first or not second:
        return None
    found: list[Sequence[float]] = [()] * len(questions)
    for known, asked in ((first, second), (second, first)):
        guess = learn([questions[place] for place in known])
        for place, preference in zip(asked, guess([questions[place] for place in asked]), strict=True):
            found[place] = preference
    return found
