"""The files about the project: they parse, agree with it, and the README's table of rooms is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
FILES = ["CITATION.cff", ".pre-commit-config.yaml", *sorted(ROOT.glob(".github/**/*.y*ml"))]
ROWS = re.findall(r"^\| `(\w+)/` \| .*? → .*? \| (.*) \|$", README, re.MULTILINE)


def content(path: str | Path) -> dict:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: Path(path).name)
def test_a_file_parses(path):
    assert isinstance(content(path), dict)


def test_the_citation_is_of_this_version():
    citation = content("CITATION.cff")
    for key in ("version", "license"):
        assert f'\n{key} = "{citation[key]}"\n' in PROJECT
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["references"][0]["url"] in README


def test_hooks_are_what_make_lint_runs():
    (repo,) = content(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local", "other versions than the project's"
    tools = {hook["entry"].split()[0] for hook in repo["hooks"]}
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlint:")[1].split("\n\n")[0]
    assert tools == set(re.findall(r"\$\(BIN\)/(\w+)", lint))


def test_the_workflow_calls_what_runs_everywhere_else():
    (job,) = content(".github/workflows/ci.yaml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o100


def test_every_room_has_its_row():
    rooms = [path.parent.name for path in sorted(ROOT.glob("*/__init__.py")) if path.parent.name != "tests"]
    assert sorted(room for room, _ in ROWS) == rooms


@pytest.mark.parametrize(("room", "holds"), ROWS)
def test_a_row_names_the_rooms_packages(room, holds):
    named = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", holds)))
    assert named == {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*.py")), ids=lambda path: path.stem)
def test_no_test_imports_another(path):
    assert not re.findall(r"^(?:from|import) test_\w+", path.read_text(encoding="utf-8"), re.MULTILINE)
