"""The verb ``build-qa``: FineGym-format files to clip lists, a label split, questions and their audit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gym_qa.audit import Audit, audit, counts_of
from gym_qa.balance import balanced
from gym_qa.cliplist import read_label_list, write_clip_list
from gym_qa.errors import GymQAError
from gym_qa.files import write_text
from gym_qa.finegym import read_finegym
from gym_qa.official import to_official, write_official
from gym_qa.policies import Policy
from gym_qa.questions import Question, build_questions, write_questions
from gym_qa.splits import coverage, label_split
from gym_qa.table import Clip, ClipTable, write_classes


@dataclass(frozen=True)
class Recipe:
    """What makes a question file.

    Attributes:
        policy: of the distractors, see `gym_qa.policies`.
        balance: of the validation questions, see `gym_qa.balance`.
        distinct: never two options that say the same.
    """

    policy: str
    balance: str
    distinct: bool = True


RECIPES = {
    "official": Recipe("uniform", "none", distinct=False),
    "hard": Recipe("same-set+frequency-matched", "answers"),
}


@dataclass(frozen=True)
class BuildQAConfig:
    """Build clip lists and multiple-choice questions from FineGym-format files.

    Attributes:
        output: folder for ``classes.json``, ``train.csv``, ``unlabelled.csv``, ``val.csv``,
            ``train_questions.jsonl``, ``val_questions.jsonl`` and ``audit.json``.
        data: folder that holds ``annotation_info.json``, ``categories.txt``, ``train_element.txt``,
            ``val_element.txt`` and ``set_categories.txt``; each can be named by itself instead.
        annotation: FineGym's annotation file (``finegym_annotation_info_v1.1.json``).
        categories: its categories (``gym99_categories.txt``).
        train: its training list (``gym99_train_element_v1.1.txt``).
        val: its validation list (``gym99_val_element.txt``).
        sets: its ``set_categories.txt``; optional.
        labelled: a label split to use as it is (``<path> <label>`` a line, or a clip list).
        fraction: otherwise, the share of training clips that keep their label.
        split: ``official`` (plain random), ``stratified`` (at least one a class) or ``grouped`` (by source
            video).
        recipe: ``official`` repeats the published recipe and also writes its JSON format; ``hard`` asks for
            what only the video tells.
        policy: distractor policy in place of the recipe's.
        balance: who is asked in validation: ``none`` (every clip), ``letters`` or ``answers``; by default
            the recipe's, or what the policy allows.
        train_balance: the same for training questions; ``none`` keeps every labelled clip.
        wording: ``official``, ``plain``, ``name``, ``watch``, or ``varied``: one of these for every clip.
        seed: of split and questions.
        frames_per_second: of the trimmed clips, for the official format's ``frame_length``.
    """

    output: Path
    data: Path | None = None
    annotation: Path | None = None
    categories: Path | None = None
    train: Path | None = None
    val: Path | None = None
    sets: Path | None = None
    labelled: Path | None = None
    fraction: float = 0.1
    split: Literal["official", "stratified", "grouped"] = "stratified"
    recipe: Literal["official", "hard"] = "hard"
    policy: str | None = None
    balance: Literal["none", "letters", "answers"] | None = None
    train_balance: Literal["none", "letters", "answers"] = "none"
    wording: str = "official"
    seed: int = 0
    frames_per_second: float = 25.0


def chosen_recipe(config: BuildQAConfig) -> Recipe:
    """The recipe with the configuration's own choices in it."""
    recipe = RECIPES[config.recipe]
    if config.policy is not None:
        recipe = Recipe(config.policy, "answers" if Policy.parse(config.policy).scheduled else "letters")
    if config.balance is not None:
        recipe = Recipe(recipe.policy, config.balance, recipe.distinct)
    if "answers" in (recipe.balance, config.train_balance) and not Policy.parse(recipe.policy).scheduled:
        raise GymQAError(
            f"balance 'answers' with policy {recipe.policy!r}: only frequency-matched policies and "
            f"one-attribute bind classes into option sets; use {recipe.policy}+frequency-matched"
        )
    return recipe


def read_tables(config: BuildQAConfig) -> tuple[ClipTable, ClipTable]:
    """The training and the validation clips that the configuration names."""

    def path(given: Path | None, name: str, needed: bool = True) -> Path | None:
        if given is not None:
            return given
        if config.data is None:
            if needed:
                raise GymQAError(
                    f"no file for {name}: give --data, or --annotation, --categories, --train and --val"
                )
            return None
        beside = config.data / name
        return beside if needed or beside.exists() else None

    annotation = path(config.annotation, "annotation_info.json")
    categories = path(config.categories, "categories.txt")
    sets = path(config.sets, "set_categories.txt", needed=False)
    train = path(config.train, "train_element.txt")
    val = path(config.val, "val_element.txt")
    assert categories is not None
    assert train is not None
    assert val is not None
    return read_finegym(annotation, categories, train, sets), read_finegym(annotation, categories, val, sets)


def build_qa(config: BuildQAConfig) -> Audit:
    """Run the verb: read, split, ask, measure; files are written only when all of that has succeeded."""
    recipe = chosen_recipe(config)
    train, val = read_tables(config)
    if config.labelled is not None:
        labelled = read_label_list(config.labelled, train)
        taken = {clip.clip_id for clip in labelled}
        unlabelled = [clip for clip in train.clips if clip.clip_id not in taken]
    else:
        labelled, unlabelled = label_split(train, config.fraction, config.seed, config.split)
    files: dict[str, list[Question]] = {}
    reference = train.counts()
    for name, clips, balance in (
        ("train", labelled, config.train_balance),
        ("val", val.clips, recipe.balance),
    ):
        asked = build_questions(
            clips, train.classes, recipe.policy, config.seed, reference, config.wording, recipe.distinct
        )
        files[name] = balanced(asked, balance, config.seed)
        print(f"{name}: {len(files[name])} questions about {len(clips)} clips")
        if not files[name]:
            raise GymQAError(
                f"no {name} question is left: balance {balance!r} needs more clips; use another balance"
            )
    found = audit(files["val"], counts_of(labelled, train.classes), train.classes, files["train"])
    lists = {"train": labelled, "unlabelled": unlabelled, "val": list(val.clips)}
    _write(config, recipe, train, lists, files)
    write_text(config.output / "audit.json", json.dumps(found.as_json(), indent=1) + "\n")
    print(coverage(labelled, unlabelled, val.clips, len(train.classes)))
    print(f"validation questions ({recipe.policy}, balance {recipe.balance}):\n{found}")
    return found


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
            clips = {clip.clip_id: clip for clip in lists[name]}
            official = to_official(questions, clips, config.frames_per_second)
            write_official(config.output / f"{name}_official.json", official)
