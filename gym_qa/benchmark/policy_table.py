"""The verb ``policy-table``: what each distractor policy leaves to blind guessers."""

from __future__ import annotations

from dataclasses import dataclass

from gym_qa.audit.audit import audit
from gym_qa.audit.labelled import counts_of
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.sources import is_synthetic, read_tables
from gym_qa.datasets.splits import label_split
from gym_qa.errors import GymQAError
from gym_qa.questions.balance import balanced
from gym_qa.questions.policies import FREE, FREQUENCY, GROUPINGS, Policy
from gym_qa.questions.questions import build_questions

SHOWN = ("commonest class", "event oracle", "learned prior", "longest option", "typical option")


@dataclass(frozen=True, kw_only=True)
class PolicyTableConfig(DataFiles):
    """Print a table of distractor policy, balance, questions left and blind scores, for the validation clips.

    Attributes:
        fraction: share of training clips that a blind guesser has seen the labels of.
        seed: of label split and questions.
    """

    fraction: float = 0.05
    seed: int = 0


def policy_table(config: PolicyTableConfig) -> list[str]:
    """Run the verb; returns the table's lines (Markdown)."""
    train, val = read_tables(config)
    labelled, _ = label_split(train, config.fraction, config.seed, "stratified")
    labelled_counts, reference = counts_of(labelled, train.classes), train.counts()
    head = ["policy", "balance", "questions", "classes", *SHOWN]
    lines = [_row(head), _row(["---"] * len(head))]
    bound = [name for name in GROUPINGS if name not in FREE]
    names = ["official recipe", *FREE, *(f"{name}+{FREQUENCY}" for name in FREE), *bound]
    for name in names:
        policy = "uniform" if name == "official recipe" else name
        distinct = name != "official recipe"
        try:
            asked = build_questions(val.clips, val.classes, policy, config.seed, reference, distinct=distinct)
            training = build_questions(
                labelled, val.classes, policy, config.seed, reference, distinct=distinct
            )
        except GymQAError as error:  # small data sets have no one-attribute questions; the others still count
            lines.append(_row([name, "-", "0", "0", *["-"] * len(SHOWN)]) + f" <!-- {error} -->")
            continue
        for balance in Policy.parse(policy).balances if distinct else ["none"]:
            questions = balanced(asked, balance, config.seed)
            classes = len({question.label for question in questions})
            cells = [name, balance, f"{len(questions)} of {len(val)}", str(classes)]
            report = audit(questions, labelled_counts, train.classes, training, SHOWN) if questions else None
            scores = [report.score(guesser).accuracy if report else None for guesser in SHOWN]
            lines.append(_row([*cells, *("-" if score is None else f"{score:.1%}" for score in scores)]))
    print("\n".join([*lines, "(synthetic data)"] if is_synthetic(config) else lines))
    return lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
