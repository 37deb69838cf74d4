"""The command's table of verbs, its spelling of options, and the rules between the packages."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sefar_mllm.cli import VERBS, load, main, spelled_out

ROOT = Path(__file__).parents[1]
ROOMS = ("encoder", "projector", "gym_qa")


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_the_three_rooms_import_neither_one_another_nor_the_language_side(room):
    others = {*ROOMS, "sefar_mllm"} - {room}
    files = list((ROOT / room).rglob("*.py"))
    assert files
    assert {str(f): imports(f) & others for f in files if imports(f) & others} == {}


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in VERBS)


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_has_its_options_and_function(name, capsys):
    verb = VERBS[name]
    assert callable(load(f"{verb.module}:{verb.function}"))
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert "--config" in capsys.readouterr().out


def test_an_unknown_verb_is_named(capsys):
    assert main(["trian"]) == 2
    assert "'trian'" in capsys.readouterr().err


def test_options_that_contradict_each_other_end_in_one_message(tmp_path, capsys):
    lists = [f"--data.{name}={tmp_path / name}" for name in ("labelled", "val")]
    assert main(["train-encoder", f"--output={tmp_path / 'run'}", *lists, "--augment.crop_min=2"]) == 2
    assert "crop_min" in capsys.readouterr().err


@dataclass(frozen=True)
class Options:
    available_only: bool = False
    name: str = ""


def test_dashes_and_bare_flags_are_spelled_out():
    assert spelled_out(["--available-only", "--name", "a-b"], Options) == [
        "--available_only=true",
        "--name",
        "a-b",
    ]
    assert spelled_out(["--available_only", "false"], Options) == ["--available_only", "false"]
    assert spelled_out(["--name=x-y", "--available-only"], Options) == ["--name=x-y", "--available_only=true"]


ROW = {"id": "q", "video": "v", "question": "Which?", "options": ["a", "b"], "answer": 0}
#: Arguments, and the exit status when who reads standard output alone went away.
STATUS = {
    "--help": 141,
    "audit-qa --help": 0,  # argparse leaves off writing
    "audit-qa --questions q.jsonl": 141,
    "nonsense": 2,  # these two write to standard error alone
    "audit-qa --x": 2,
}


def command(arguments, folder, **options):
    """The command in a process of its own, and one question in q.jsonl."""
    (folder / "q.jsonl").write_text(json.dumps(ROW) + "\n", "utf-8")
    code = "import sys; from sefar_mllm.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    started = [sys.executable, "-c", code, *arguments]
    return subprocess.run(started, cwd=folder, env=environment, check=False, **options)


@pytest.mark.parametrize("arguments", STATUS)
def test_who_reads_may_go_away(arguments, tmp_path):
    reads, writes = os.pipe()
    os.close(reads)  # before anything is written
    done = command(arguments.split(), tmp_path, stdout=writes, stderr=subprocess.PIPE)
    assert done.returncode == STATUS[arguments]
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert command(arguments.split(), tmp_path, stdout=writes, stderr=writes).returncode in (0, 141)
    os.close(writes)


def test_a_terminal_of_few_characters_is_written_to(tmp_path):
    arguments = ["export-qa", "--questions", "q.jsonl", "--format", "llava", "--output", "é−.json"]
    done = command(arguments, tmp_path, capture_output=True)
    assert done.returncode == 0
    assert b"written to \\xe9\\u2212.json" in done.stdout
    assert (tmp_path / "é−.json").is_file()


@pytest.mark.parametrize(
    "args", [["ask", "a.mp4", "q\udcff"], ["audit-qa", "--questions", "\udcff"], ["score", "a\ud800", "b"]]
)
def test_arguments_that_are_not_utf8_are_named(args, capsys):
    assert main(args) == 2
    assert "not UTF-8" in (said := capsys.readouterr().err)
    assert said.startswith("error: argument ")
