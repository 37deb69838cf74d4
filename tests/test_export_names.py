"""Exports whatever their names and texts: inside the output, YAML that says what was given, no formulas."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from sefar_mllm.cli import main

TEXTS = ["=1+1", "+2", "-3+1", "@SUM(A1)", "plain"]
FORMATS = ["official", "datasets", "llava", "llama-factory", "ms-swift", "lmms-eval", "vlmevalkit"]


class Loader(yaml.SafeLoader):
    """Reads a task of lmms-eval."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@pytest.fixture
def questions(tmp_path):
    """Each text as question, right option, event and clip."""
    rows = [
        {"id": f"q{n}", "video": text.split("(")[0], "question": text, "options": [text, "b", "c", "d"],
         "answer": 0, "event": text, "source": "s", "dataset": "ucf101"}
        for n, text in enumerate(TEXTS)
    ]  # fmt: skip
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return tmp_path / "q.jsonl"


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["../../x", "..", ".", "/tmp/x", "a/b", "a\\..\\b", "", " ", "a\nb", "c:x"])
def test_no_name_leaves_the_output(form, name, questions, tmp_path, capsys):
    before = files(tmp_path)
    output = tmp_path / "deep" / "deeper" / "out"
    arguments = ["--questions", str(questions), "--format", form, "--output", str(output)]
    assert main(["export-qa", *arguments, f"--name={name}"]) == 2
    assert "--name" in capsys.readouterr().err
    assert files(tmp_path) == before


NAMES = [
    "gym: qa",
    "yes",
    "12",
    "null",
    "- x",
    "# x",
    "{a}",
    "[a",
    "&a *b",
    "!x",
    "it's",
    'so "so"',
    "é 🤸",
    "a\x85b",
    "~",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["name", "license"])
def test_a_card_says_what_was_given(name, what, questions, tmp_path):
    output = tmp_path / "hub"
    arguments = ["--questions", str(questions), "--format", "datasets", "--output", str(output)]
    assert main(["export-qa", *arguments, f"--{what}={name}"]) == 0
    _, head, _ = (output / "README.md").read_text("utf-8").split("---\n", 2)
    assert yaml.safe_load(head)[{"name": "pretty_name"}.get(what, what)] == name


def test_a_license_of_several_lines_ends_no_card(questions, tmp_path):
    arguments = ["--questions", str(questions), "--format", "datasets", "--output", str(tmp_path / "hub")]
    assert main(["export-qa", *arguments, "--license=mit\n---\npretty_name: other"]) == 0
    _, head, _ = (tmp_path / "hub" / "README.md").read_text("utf-8").split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "mit\n---\npretty_name: other"


@pytest.mark.parametrize("name", ["gym: qa", "yes", "12", "gym-qa", "é x", "a.b"])
def test_a_task_of_lmms_eval_is_called_by_a_word(name, questions, tmp_path):
    arguments = ["--questions", str(questions), "--format", "lmms-eval", "--output", str(tmp_path / "task")]
    assert main(["export-qa", *arguments, f"--name={name}"]) == 0
    (file,) = Path(tmp_path / "task").glob("*.yaml")
    task = yaml.load(file.read_text("utf-8"), Loader)["task"]
    assert task == file.stem
    assert task.replace("_", "").isalnum()


def test_no_cell_of_a_table_is_a_formula_and_its_text_is_the_same(questions, tmp_path):
    output = tmp_path / "q.tsv"
    arguments = ["--questions", str(questions), "--format", "vlmevalkit", "--output", str(output)]
    assert main(["export-qa", *arguments]) == 0
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert not any(str(cell).startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    for row, text in zip(rows, TEXTS, strict=True):
        assert row["question"].strip() == text
        assert row["video"].removeprefix("./").removesuffix(".mp4") == text.split("(")[0]
        options = json.loads(row["options"]) if "options" in row else [row[letter] for letter in "ABCD"]
        assert [option.strip() for option in options] == [text, "b", "c", "d"]
