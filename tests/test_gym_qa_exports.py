"""Exports: each against the fields its tool documents, and the questions that come back from them."""

from __future__ import annotations

import csv
import importlib.util
import json

import pytest
import yaml
from gym_qa_sources import source, tables

from gym_qa.audit import AuditQAConfig, audit_qa, load_questions
from gym_qa.build import build_qa
from gym_qa.exports import ExportQAConfig, export_qa
from gym_qa.lmms_eval_utils import read_letter
from gym_qa.official import read_official
from gym_qa.questions import read_questions
from sefar_mllm.cli import main


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qa")
    build_qa(source("minigym").config(folder))
    return folder


@pytest.fixture(scope="module")
def questions(built):
    return read_questions(built / "val_questions.jsonl")


def export(built, output, form, **options):
    export_qa(ExportQAConfig(built / "val_questions.jsonl", form, output, **options))
    return output


def test_datasets_folder_is_loaded_with_its_splits(built, questions, tmp_path):
    from datasets import load_dataset

    export(built, tmp_path / "hub", "datasets", name="gym-qa-minigym")
    train = ExportQAConfig(built / "train_questions.jsonl", "datasets", tmp_path / "hub", split="train")
    export_qa(train)
    loaded = load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    assert sorted(loaded) == ["train", "validation"]
    assert [row["id"] for row in loaded["validation"]] == [question.id for question in questions]
    card = (tmp_path / "hub" / "README.md").read_text("utf-8")
    _, head, body = card.split("---\n", 2)
    parts = yaml.safe_load(head)["configs"][0]["data_files"]
    assert parts == [
        {"split": "train", "path": "data/train.jsonl"},
        {"split": "validation", "path": "data/validation.jsonl"},
    ]
    assert "commonest class" in body
    assert "synthetic" in body
    only = tmp_path / "only"
    export(built, only, "datasets")
    again = load_questions(only)
    assert again == questions
    found = audit_qa(AuditQAConfig(only, built / "train_questions.jsonl", built / "classes.json"))
    same = audit_qa(AuditQAConfig(built / "val_questions.jsonl", built / "train_questions.jsonl"))
    assert found == same


def test_llava(built, questions, tmp_path):
    rows = json.loads(export(built, tmp_path / "q.json", "llava", videos="clips/").read_text("utf-8"))
    for row, question in zip(rows, questions, strict=True):
        assert set(row) == {"id", "video", "conversations"}
        assert row["video"] == f"clips/{question.video}.mp4"
        human, gpt = row["conversations"]
        assert (human["from"], gpt["from"]) == ("human", "gpt")
        assert human["value"].count("<image>") == 1
        assert f"{gpt['value']}. {question.options[question.answer]}" in human["value"]


@pytest.mark.parametrize("answer", ["letter", "text", "both"])
def test_llama_factory(built, questions, tmp_path, answer):
    export(built, tmp_path, "llama-factory", name="mini", answer=answer)
    entry = json.loads((tmp_path / "dataset_info.json").read_text("utf-8"))["mini"]
    assert entry["formatting"] == "sharegpt"
    rows = json.loads((tmp_path / entry["file_name"]).read_text("utf-8"))
    for row, question in zip(rows, questions, strict=True):
        messages, videos = row[entry["columns"]["messages"]], row[entry["columns"]["videos"]]
        assert [message["from"] for message in messages] == ["human", "gpt"]
        assert sum(message["value"].count("<video>") for message in messages) == len(videos) == 1
        letter, text = "ABCD"[question.answer], question.options[question.answer]
        assert messages[1]["value"] == {"letter": letter, "text": text, "both": f"{letter}. {text}"}[answer]


def test_ms_swift(built, questions, tmp_path):
    lines = export(built, tmp_path / "q.jsonl", "ms-swift").read_text("utf-8").splitlines()
    for row, question in zip(map(json.loads, lines), questions, strict=True):
        assert set(row) == {"messages", "videos"}
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert user["content"].count("<video>") == len(row["videos"]) == 1
        assert assistant["content"] == "ABCD"[question.answer]


#: Fields of a task that lmms-eval's guide (docs/task_guide.md) names.
TASK_FIELDS = {
    "task",
    "dataset_path",
    "dataset_kwargs",
    "test_split",
    "output_type",
    "doc_to_visual",
    "doc_to_text",
    "doc_to_target",
    "generation_kwargs",
    "process_results",
    "metric_list",
    "metadata",
}


def test_lmms_eval_task_folder(built, questions, tmp_path, monkeypatch):
    from datasets import load_dataset

    export(built, tmp_path, "lmms-eval", name="gym-qa-mini")

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    task = yaml.load((tmp_path / "gym_qa_mini.yaml").read_text("utf-8"), Loader)
    assert set(task) <= TASK_FIELDS
    assert task["task"] == "gym_qa_mini"
    spec = importlib.util.spec_from_file_location("utils", tmp_path / "utils.py")
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    named = {
        key: getattr(utils, task[key].removeprefix("utils."))
        for key in task
        if str(task[key]).startswith("utils.")
    }
    assert set(named) == {"doc_to_visual", "doc_to_text", "doc_to_target", "process_results"}
    data = load_dataset(task["dataset_path"], **task["dataset_kwargs"], cache_dir=str(tmp_path / "cache"))
    monkeypatch.setenv("GYM_QA_VIDEOS", "/clips")
    metrics = {metric["metric"] for metric in task["metric_list"]}
    for doc, question in zip(data[task["test_split"]], questions, strict=True):
        target = named["doc_to_target"](doc)
        assert target == "ABCD"[question.answer]
        assert f"{target}. {question.options[question.answer]}" in named["doc_to_text"](doc).splitlines()
        assert named["doc_to_visual"](doc) == [f"/clips/{question.video}.mp4"]
        assert named["process_results"](doc, [target]) == {"gym_qa_accuracy": 1.0, "unparsed_rate": 0.0}
        assert set(named["process_results"](doc, ["no idea"])) == metrics


OPTIONS = ["salto backward tucked", "salto forward tucked", "giant circle", "stag jump"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("d", "D"),
        ("(C)", "C"),
        ("The answer is (C).", "C"),
        ("Answer: A", "A"),
        ("B. salto forward tucked", "B"),
        ("salto forward tucked", "B"),
        ("B. giant circle", None),
        ("The gymnast performs a salto backward tucked", None),
        ("Based on the video", None),
        ("Double salto", None),
        (")", None),
        ("(", None),
        ("", None),
        ("A or B", None),
        ("A gymnast", None),
        ("I can't tell", None),
        ("E", None),
    ],
)
def test_letters_are_read_and_never_guessed(text, letter):
    assert read_letter(text, OPTIONS) == letter


def test_vlmevalkit(built, questions, tmp_path):
    with export(built, tmp_path / "q.tsv", "vlmevalkit").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [int(row["index"]) for row in rows] == list(range(len(questions)))
    for row, question in zip(rows, questions, strict=True):
        assert (row["video"], row["question"], row["category"]) == (
            question.video,
            question.question,
            question.event,
        )
        assert tuple(row[letter] for letter in "ABCD") == question.options
        assert row["answer"] == "ABCD"[question.answer]


def test_official_through_the_command(built, questions, tmp_path, capsys):
    arguments = ["--questions", str(built / "val_questions.jsonl"), "--format", "official"]
    assert main(["export-qa", *arguments, "--output", str(tmp_path / "o.json")]) == 0
    official = [question.as_question() for question in read_official(tmp_path / "o.json")]
    assert [(q.video, q.options, q.answer) for q in official] == [
        (q.video, q.options, q.answer) for q in questions
    ]
    capsys.readouterr()
    assert main(["export-qa", "--questions", "absent.jsonl", "--format", "llava", "--output", "x"]) == 2
    assert "absent.jsonl" in capsys.readouterr().err


def test_available_only_asks_the_same_questions_about_fewer_clips(built, tmp_path):
    train, val = tables("minigym")
    videos = tmp_path / "videos"
    videos.mkdir()
    for clip in (*train.clips[::3], *val.clips[::2]):
        (videos / clip.file).touch()
    config = source("minigym").config(tmp_path / "part", videos=videos, available_only=True, balance="none")
    build_qa(config)
    build_qa(source("minigym").config(tmp_path / "whole", balance="none"))
    whole = {question.id: question for question in read_questions(tmp_path / "whole" / "val_questions.jsonl")}
    part = read_questions(tmp_path / "part" / "val_questions.jsonl")
    assert part == [whole[clip.clip_id] for clip in val.clips[::2]]
