"""What the tests of several files need, made once a session.

One thread a process: the tests' networks are small, and threads beside other processes cost more.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Files whose tests start processes. pytest-xdist gives them to one worker, so that the server of
#: `processes.py` is needed once, and begins with them; then come those that take longest, so that none is
#: left over at the end.
STARTING = ("shared_work", "mllm_sharded", "encoder_training", "encoder_gradients", "frame_cache", "examples")
LONGEST = ("gym_qa_verbs", "rehearsal", "mllm_families", "memory", "gym_qa_matching", "encoder_on_cuda")
ORDER = {f"test_{name}.py": place for place, name in enumerate((*STARTING, *LONGEST))}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: ORDER.get(item.path.name, len(ORDER)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            starting = ORDER.get(Path(file).name, len(ORDER)) < len(STARTING)
            return "those that start processes" if starting else file

    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _finegym_is_read_once() -> Iterator[None]:
    """FineGym's own annotation takes a second to read; it lies read-only beside the checkout."""
    from gym_qa_sources import FINEGYM

    from gym_qa.datasets.finegym import Annotation

    read, once = Annotation.read, functools.cache(Annotation.read)

    def reading(path: Path) -> Annotation:
        return (once if FINEGYM in path.parents else read)(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Annotation, "read", reading)
        yield


@pytest.fixture(scope="session")
def directions(tmp_path_factory) -> Path:
    """Clips of two directions: ``labelled.csv`` (8), ``unlabelled.csv`` (12) and ``val.csv`` (12)."""
    from encoder_videos import write_direction_set

    folder = tmp_path_factory.mktemp("directions")
    for name, n in (("labelled", 8), ("unlabelled", 12), ("val", 12)):
        write_direction_set(folder, n, name, seed=len(name))
    return folder


@pytest.fixture(scope="session")
def sefar(tmp_path_factory) -> Path:
    """The tiny encoder: three classes, random weights of which every one counts."""
    from encoder_runs import tiny_encoder

    folder = tmp_path_factory.mktemp("sefar") / "encoder"
    tiny_encoder(classes=3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def language_model(tmp_path_factory) -> Path:
    """The tiny language model with its tokenizer."""
    from mllm_sources import tiny_folder

    return tiny_folder(tmp_path_factory.mktemp("language-model") / "lm")


@pytest.fixture(scope="session")
def lesson(tmp_path_factory, language_model) -> Path:
    """Questions, ``train.jsonl`` (24) and ``val.jsonl`` (12), their ``features`` and the model ``lm``."""
    from mllm_sources import easy_questions, easy_store, question_file

    folder = tmp_path_factory.mktemp("lesson")
    (folder / "lm").symlink_to(language_model)
    train, validation = easy_questions(24), easy_questions(12, "val")
    question_file(folder / "train.jsonl", train)
    question_file(folder / "val.jsonl", validation)
    easy_store(folder / "features", train + validation)
    return folder


@pytest.fixture(scope="session")
def taught(tmp_path_factory, lesson) -> Path:
    """A checkpoint that has learned the lesson in 200 steps."""
    from mllm_runs import config

    from sefar_mllm.finetuning.finetune import finetune

    output = tmp_path_factory.mktemp("taught") / "run"
    return finetune(config(lesson, output, max_steps=200, validation=lesson / "val.jsonl"))
