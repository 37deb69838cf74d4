"""Functions that an lmms-eval task of Gym-QA questions names; copied into the task's folder as ``utils.py``.

``GYM_QA_VIDEOS`` names the folder of the clips; without it they are looked for in ``videos`` beside this
file.
"""

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent


def beside(name: str) -> ModuleType:
    """The module of a file beside this one, which lmms-eval loads by its path and as part of no package."""
    spec = importlib.util.spec_from_file_location(f"gym_qa_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prompt, reply = beside("prompt"), beside("reply")


def doc_to_visual(doc: dict[str, Any], lmms_eval_specific_kwargs: Any = None) -> list[str]:
    """The clip's path."""
    folder = os.environ.get("GYM_QA_VIDEOS") or str(HERE / "videos")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder; set GYM_QA_VIDEOS to the folder of the clips")
    return [os.path.join(folder, doc["file"])]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: Any = None) -> str:
    """The question with its options."""
    return str(prompt.prompt(doc["question"], doc["options"]))


def doc_to_target(doc: dict[str, Any]) -> str:
    """The right letter."""
    return str(prompt.LETTERS[doc["answer"]])


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 for the right option; a reply that cannot be read is wrong, and counted as unparsed."""
    choice = reply.read_answer(results[0], doc["options"])
    return {"gym_qa_accuracy": float(choice == doc["answer"]), "unparsed_rate": float(choice is None)}
