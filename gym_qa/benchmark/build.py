"""The verb ``build-qa``: FineGym-format files to clip lists, a label split, questions and their audit."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from gym_qa.audit.audit import Audit, audit
from gym_qa.audit.guessers import QUICK
from gym_qa.audit.labelled import counts_of
from gym_qa.datasets.cliplist import read_label_list, write_clip_list
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.sources import is_synthetic, read_tables
from gym_qa.datasets.splits import coverage, label_split
from gym_qa.datasets.table import Clip, ClipTable, write_classes
from gym_qa.errors import GymQAError
from gym_qa.files import write_text
from gym_qa.questions.balance import balanced
from gym_qa.questions.official import to_official, write_official
from gym_qa.questions.policies import Policy
from gym_qa.questions.questions import Question, build_questions, write_questions

log = logging.getLogger("gym_qa")


@dataclass(frozen=True)
class Recipe:
    """What makes a question file.

    Attributes:
        policy: of the distractors, see `gym_qa.questions.policies`.
        balance: of the validation questions, see `gym_qa.questions.balance`.
        distinct: never two options that say the same.
    """

    policy: str
    balance: str
    distinct: bool = True


RECIPES = {
    "official": Recipe("uniform", "none", distinct=False),
    "hard": Recipe("same-set+frequency-matched", "answers"),
}


@dataclass(frozen=True, kw_only=True)
class BuildQAConfig(DataFiles):
    """Build clip lists and multiple-choice questions from a data set's annotation files.

    Attributes:
        output: folder for ``classes.json``, ``train.csv``, ``unlabelled.csv``, ``val.csv``,
            ``train_questions.jsonl``, ``val_questions.jsonl``, ``audit.json`` and ``config.json``.
        labelled: a label split to use as it is: a clip list, with a header or without.
        fraction: otherwise, the share of training clips that keep their label.
        split: ``official`` (plain random), ``stratified`` (at least one a class) or ``grouped`` (by source
            video).
        recipe: ``official`` repeats the published recipe and also writes its JSON format; ``hard`` asks for
            what only the video tells.
        policy: distractor policy in place of the recipe's: ``uniform``, ``same-event``, ``same-set``,
            ``one-attribute``, each also with ``+frequency-matched``; or ``twins``, two options that differ in
            one attribute, for pairs of clips.
        balance: who is asked in validation: ``none`` (every clip), ``letters``, ``answers``, or of twins
            ``pairs``; by default the recipe's, or what the policy allows.
        train_balance: the same for training questions; ``none`` keeps every labelled clip.
        wording: ``official``, ``plain``, ``name``, ``watch``, or ``varied``: one of these for every clip;
            each in the words of the data set's field (`gym_qa.questions.wordings`).
        seed: of split and questions.
        videos: folder of the trimmed clips; needed for ``available_only``.
        available_only: use only clips whose file is in ``videos``; the questions are those of the whole data
            set.
    """

    output: Path
    labelled: Path | None = None
    fraction: float = 0.1
    split: Literal["official", "stratified", "grouped"] = "stratified"
    recipe: Literal["official", "hard"] = "hard"
    policy: str | None = None
    balance: Literal["none", "letters", "answers", "pairs"] | None = None
    train_balance: Literal["none", "letters", "answers", "pairs"] = "none"
    wording: str = "official"
    seed: int = 0
    videos: Path | None = None
    available_only: bool = False


def chosen_recipe(config: BuildQAConfig) -> Recipe:
    """The recipe with the configuration's own choices in it."""
    recipe = RECIPES[config.recipe]
    if config.policy is not None:
        recipe = Recipe(config.policy, Policy.parse(config.policy).balances[-1])
    if config.balance is not None:
        recipe = Recipe(recipe.policy, config.balance, recipe.distinct)
    known = ("none", *Policy.parse(recipe.policy).balances)
    if "answers" in (recipe.balance, config.train_balance) and not Policy.parse(recipe.policy).scheduled:
        raise GymQAError(
            f"balance 'answers' with policy {recipe.policy!r}: only frequency-matched policies and "
            f"one-attribute bind classes into option sets; use {recipe.policy}+frequency-matched"
        )
    for balance in (recipe.balance, config.train_balance):
        if balance not in known:
            raise GymQAError(
                f"balance {balance!r} with policy {recipe.policy!r}: expected one of {', '.join(known)}"
            )
    return recipe


def _available(table: ClipTable, videos: Path, name: str) -> ClipTable:
    """The clips whose file is there."""
    here = table.with_clips(clip for clip in table.clips if (videos / clip.file).is_file())
    log.info(f"{name}: {len(here)} of {len(table)} clips are in {videos}")
    if not here.clips:
        raise GymQAError(f"{videos}: holds none of the {name} clips; cut them first (sefar-mllm cut-clips)")
    return here


def _split(config: BuildQAConfig, train: ClipTable) -> tuple[list[Clip], list[Clip]]:
    if config.labelled is None:
        return label_split(train, config.fraction, config.seed, config.split)
    labelled = read_label_list(config.labelled, train, skip_missing=config.available_only)
    taken = {clip.clip_id for clip in labelled}
    return labelled, [clip for clip in train.clips if clip.clip_id not in taken]


def build_qa(config: BuildQAConfig) -> Audit:
    """Run the verb: read, split, ask, measure; files are written only when all of that has succeeded."""
    recipe = chosen_recipe(config)
    train, val = read_tables(config)
    reference = train.counts()  # of the whole list, so that a part of the data set has the same questions
    if config.available_only:
        if config.videos is None:
            raise GymQAError("available_only needs --videos, the folder of the trimmed clips")
        train, val = _available(train, config.videos, "train"), _available(val, config.videos, "val")
    labelled, unlabelled = _split(config, train)
    synthetic = is_synthetic(config)
    dataset = "minigym" if synthetic else config.dataset
    files: dict[str, list[Question]] = {}
    for name, clips, balance in (
        ("train", labelled, config.train_balance),
        ("val", val.clips, recipe.balance),
    ):
        questions = build_questions(
            clips,
            train.classes,
            recipe.policy,
            config.seed,
            reference,
            config.wording,
            recipe.distinct,
            dataset,
        )
        questions = _with_lengths(questions, clips, config.frames_per_second)
        files[name] = balanced(questions, balance, config.seed)
        log.info(f"{name}: {len(files[name])} questions about {len(clips)} clips")
        if not files[name]:
            raise GymQAError(
                f"no {name} question is left: balance {balance!r} needs more clips; use another balance"
            )
    labels_asked = {question.label for question in files["val"]}
    for line in Policy.parse(recipe.policy).grouping.remarks(train.classes, labels_asked):
        log.info(line)
    report = audit(files["val"], counts_of(labelled, train.classes), train.classes, files["train"], QUICK)
    lists = {"train": labelled, "unlabelled": unlabelled, "val": list(val.clips)}
    _write(config, recipe, train, lists, files)
    write_text(config.output / "audit.json", json.dumps(report.as_json(), indent=1) + "\n")
    settings = {
        name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()
    }
    settings |= {"synthetic": synthetic, "version": version("sefar-mllm")}
    write_text(config.output / "config.json", json.dumps(settings, indent=1) + "\n")
    print(coverage(labelled, unlabelled, val.clips, len(train.classes)))
    kind = "synthetic validation questions" if synthetic else "validation questions"
    print(f"{kind} ({recipe.policy}, balance {recipe.balance}):\n{report}")
    return report


def _with_lengths(questions: Sequence[Question], clips: Sequence[Clip], rate: float) -> list[Question]:
    """With the clips' lengths in frames, where they are known."""
    lengths = {clip.clip_id: clip.length(rate) for clip in clips}
    return [replace(question, frame_length=lengths.get(question.video, 0)) for question in questions]


def _write(
    config: BuildQAConfig,
    recipe: Recipe,
    table: ClipTable,
    lists: Mapping[str, list[Clip]],
    files: Mapping[str, list[Question]],
) -> None:
    write_classes(config.output / "classes.json", table.classes)
    for name, rows in lists.items():
        write_clip_list(config.output / f"{name}.csv", rows)
    for name, questions in files.items():
        write_questions(config.output / f"{name}_questions.jsonl", questions)
        if recipe == RECIPES["official"]:
            write_official(config.output / f"{name}_official.json", to_official(questions, config.dataset))
