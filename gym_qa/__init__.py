"""Annotations → label splits → multiple-choice questions → what they measure."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gym_qa.benchmark.build import BuildQAConfig, build_qa
    from gym_qa.errors import GymQAError
    from gym_qa.questions.questions import Question, read_questions, write_questions
    from gym_qa.questions.reply import read_answer

#: What is imported only when it is asked for: name → module.
_HOME = {
    "Question": "gym_qa.questions.questions",
    "read_questions": "gym_qa.questions.questions",
    "write_questions": "gym_qa.questions.questions",
    "read_answer": "gym_qa.questions.reply",
    "BuildQAConfig": "gym_qa.benchmark.build",
    "build_qa": "gym_qa.benchmark.build",
    "GymQAError": "gym_qa.errors",
}
__all__ = [
    "BuildQAConfig",
    "GymQAError",
    "Question",
    "build_qa",
    "read_answer",
    "read_questions",
    "write_questions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
