"""The pages about questions: every command they show exists with its options, and their Python runs."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from gym_qa_sources import source

from sefar_mllm.cli import VERBS, load

PAGES = [Path(__file__).parents[1] / "docs" / name for name in ("gym-qa.md", "official-questions.md")]


def commands(page):
    text = page.read_text("utf-8").replace("\\\n", " ")
    return [
        shlex.split(line.lstrip("$ ")) for line in text.splitlines() if re.match(r"(\$ )?sefar-mllm ", line)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_exist_with_their_options(page):
    found = commands(page)
    assert found
    for _, verb, *words in found:
        config = load(f"{VERBS[verb].module}:{VERBS[verb].config}")
        options = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
        assert options <= {field.name for field in fields(config)}, f"{verb} in {page.name}"


def test_python_of_the_page_runs(capsys):
    page = PAGES[0].read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    folder = source("minigym").annotation.parent
    exec(compile(code.replace("data/minigym/mini", str(folder)), "gym-qa.md", "exec"), {})
    assert "verdict: fair" in capsys.readouterr().out
