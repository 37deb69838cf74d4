"""The examples of docs/extending.md, run as they stand, and what they plug in put to use."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_runs import options

from encoder.recipes import config as recipes
from encoder.training.train import train
from encoder.visual import factory
from gym_qa.benchmark.build import BuildQAConfig, build_qa
from gym_qa.datasets import sources
from gym_qa.questions import policies
from gym_qa.questions.questions import read_questions
from projector import build as projectors
from projector.base import ProjectorSpec
from sefar_mllm.evaluation import controls
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.inference import score_rules

DOC = Path(__file__).parents[1] / "docs/extending.md"
SECTIONS = dict(
    re.findall(r"^## ([^\n]+)\n.*?^```python\n(.*?)^```$", DOC.read_text("utf-8"), re.MULTILINE | re.DOTALL)
)
DICTS = {
    "Recipe": recipes.RECIPES,
    "Visual encoder": factory.ENCODERS,
    "Projector": projectors.PROJECTORS,
    "Score rule": score_rules.SCORE_RULES,
    "Control": controls.CONTROLS,
    "Question policy": policies.GROUPINGS,
    "Data set": sources.DATASETS,
}


@pytest.fixture
def plugged(request):
    """Runs the example of a section; afterwards the dicts are as they were."""
    before = {name: dict(entries) for name, entries in DICTS.items()}
    exec(compile(SECTIONS[request.param], f"{DOC}: {request.param}", "exec"), {"__name__": "example"})
    (new,) = DICTS[request.param].keys() - before[request.param].keys()
    yield new
    for name, entries in DICTS.items():
        entries.clear()
        entries.update(before[name])


def plugs(section: str):
    return pytest.mark.parametrize("plugged", [section], indirect=True)


def test_every_dict_is_shown_in_at_most_twenty_lines():
    assert SECTIONS.keys() == DICTS.keys()
    for section, code in SECTIONS.items():
        assert len([line for line in code.splitlines() if line.strip()]) <= 20, section


@plugs("Recipe")
def test_a_recipe_trains(plugged, directions, tmp_path):
    recipe = recipes.RecipeConfig(plugged, warmup_epochs=0)
    scores = train(replace(options(directions, tmp_path, "supervised"), recipe=recipe))
    assert 0 <= scores["student"].top1 <= 1
    assert '"loss_entropy":' in (tmp_path / "metrics.jsonl").read_text("utf-8")


@plugs("Visual encoder")
def test_an_encoder_gives_tokens(plugged):
    encoder = factory.open_encoder(plugged)
    frames = torch.randint(0, 256, (2, 8, 4, 6, 3), dtype=torch.uint8)
    tokens = encoder.encode(encoder.transform(frames))
    assert torch.allclose(tokens, frames.float().mean((2, 3)) / 255)


@plugs("Projector")
def test_a_projector_is_built_and_saved(plugged, tmp_path):
    spec = ProjectorSpec(plugged, 6, 10, 4, 4)
    built = projectors.build_projector(spec)
    assert built(torch.zeros(3, 4, 6)).shape == (3, 4, 10)
    assert projectors.parameter_count(spec) == 6 * 32 + 32 + 32 * 10 + 10


@plugs("Score rule")
def test_a_score_rule_decides(plugged, taught, lesson, tmp_path):
    output = tmp_path / "answers"
    evaluate(EvaluateConfig(lesson / "val.jsonl", output, taught, lesson / "features", score=plugged))
    for line in (output / "predictions.jsonl").read_text("utf-8").splitlines():
        prediction = json.loads(line)
        assert prediction["choice"] == int(np.argmax(prediction["scores"][plugged]))


@plugs("Control")
def test_a_control_stands_in_the_table(plugged, taught, lesson, tmp_path, capsys):
    output = tmp_path / "answers"
    evaluate(EvaluateConfig(lesson / "val.jsonl", output, taught, lesson / "features", controls=[plugged]))
    assert (output / "controls" / f"{plugged}.jsonl").is_file()
    assert "in other words" in capsys.readouterr().out


CLASSES = ("handstand", "cartwheel", "forward roll", "backward roll")


def folders(root: Path) -> Path:
    """Files of the form that the example of a data set reads."""
    for part in ("train", "val"):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                (root / part / name / f"{part}_{name.replace(' ', '_')}_{number}.mp4").touch()
    return root


@plugs("Data set")
def test_a_data_set_is_asked_about(plugged, tmp_path):
    data = folders(tmp_path / "data")
    build_qa(BuildQAConfig(dataset=plugged, data=data, output=tmp_path / "qa", wording="plain", fraction=1.0))
    questions = read_questions(tmp_path / "qa" / "val_questions.jsonl")
    assert {question.options[question.answer] for question in questions} == set(CLASSES)
    assert {question.question for question in questions} == {"What is shown?"}


@plugs("Question policy")
def test_a_policy_chooses_who_stands_beside_whom(plugged):
    from gym_qa.datasets.table import ActionClass

    names = ["a b", "a c", "a d", "b d", "a", "b"]
    tiers = [list(tier) for tier in policies.GROUPINGS[plugged].tiers([*map(ActionClass, names)], 0)]
    assert tiers == [[1, 2, 3], [1, 2, 3, 4, 5]]
