"""Questions as conversations, in the files from which LLaVA-NeXT, LLaMA-Factory and ms-swift fine-tune."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gym_qa.errors import GymQAError
from gym_qa.files import read_json, write_json_lines, write_text
from gym_qa.questions.prompt import ASK, LETTERS, escaped, prompt
from gym_qa.questions.questions import Question


@dataclass(frozen=True)
class Conversation:
    """One question with its answer.

    Attributes:
        id: the question's.
        video: path of the clip's file.
        question: the prompt, without the mark that stands for the video.
        answer: the right one.
    """

    id: str
    video: str
    question: str
    answer: str


def conversations(
    questions: Sequence[Question], files: Mapping[str, str], answer: str, videos: Path | None = None
) -> list[Conversation]:
    """Questions with their answers.

    Args:
        questions: what is asked.
        files: clip id → file below the folder of the clips.
        answer: what is answered with: ``letter``, ``text`` or ``both``.
        videos: the folder of the clips, put before the files.
    """
    ask = ASK if answer == "letter" else "Answer with the option."
    return [
        Conversation(
            question.id,
            (videos / files[question.video]).as_posix() if videos else files[question.video],
            prompt(question.question, question.options, ask),
            right_answer(question, answer),
        )
        for question in questions
    ]


def right_answer(question: Question, answer: str) -> str:
    """The right option as letter, text or both."""
    letter, text = LETTERS[question.answer], escaped(question.options[question.answer])
    return {"letter": letter, "text": text, "both": f"{letter}. {text}"}[answer]


def write_llava(path: Path, conversations: Sequence[Conversation]) -> None:
    """LLaVA-NeXT's list: the visual token stands for the video named by ``video``."""
    rows = [
        {
            "id": conversation.id,
            "video": conversation.video,
            "conversations": [
                {"from": "human", "value": "<image>\n" + conversation.question},
                {"from": "gpt", "value": conversation.answer},
            ],
        }
        for conversation in conversations
    ]
    write_text(path, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def write_llama_factory(folder: Path, name: str, conversations: Sequence[Conversation]) -> None:
    """LLaMA-Factory: ShareGPT conversations with a ``videos`` column, and an entry in ``dataset_info.json``.

    Raises:
        GymQAError: where the ``dataset_info.json`` that is there cannot be read, or gives the name or the
            file to something else; nothing is written then.
    """
    data = f"{name}.json"
    entry = {
        "file_name": data,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "videos": "videos"},
    }
    info = folder / "dataset_info.json"
    entries = read_json(info) if info.exists() else {}
    if not isinstance(entries, dict):
        raise GymQAError(f"{info}: expected a JSON object, data set → entry; mend or move it")
    known = entries.get(name, entry)
    if not isinstance(known, dict) or known | entry != known:
        raise GymQAError(f"{info}: {name!r} is another data set there; choose another --name")
    for other, value in entries.items():
        if other != name and isinstance(value, dict) and value.get("file_name") == data:
            raise GymQAError(f"{info}: {data} belongs to {other!r} there; choose another --name")
    rows = [
        {
            "conversations": [
                {"from": "human", "value": "<video>" + conversation.question},
                {"from": "gpt", "value": conversation.answer},
            ],
            "videos": [conversation.video],
        }
        for conversation in conversations
    ]
    write_text(folder / data, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    write_text(info, json.dumps(entries | {name: known}, indent=2) + "\n")


def write_ms_swift(path: Path, conversations: Sequence[Conversation]) -> None:
    """ms-swift's standard form: ``messages`` and ``videos`` a line."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<video>" + conversation.question},
                {"role": "assistant", "content": conversation.answer},
            ],
            "videos": [conversation.video],
        }
        for conversation in conversations
    ]
    write_json_lines(path, rows)
