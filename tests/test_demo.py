"""The demo: stages that are done once, and settings that are the shipped configurations'."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.experiments.demo import (
    BLIND,
    BUDGETS,
    FRAMES,
    SEFAR,
    Folders,
    Stages,
    encoder_config,
    finetune_config,
)

ROOT = Path(__file__).parents[1]
FOLDERS = Folders(Path("runs/demo"), Path("data/minigym/mini"))


def test_a_stage_is_done_once_and_a_stopped_one_again(tmp_path, capsys):
    done = []
    stages = Stages(tmp_path, {"size": "tiny"})
    stages.do("first", lambda: done.append("first"))
    with pytest.raises(KeyboardInterrupt):
        stages.do("second", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    again = Stages(tmp_path, {"size": "tiny"})
    again.do("first", lambda: done.append("first"))
    again.do("second", lambda: done.append("second"))
    assert done == ["first", "second"]
    assert list(Stages(tmp_path, {"size": "tiny"}).seconds) == ["first", "second"]
    assert "first: done before" in capsys.readouterr().out


def test_a_folder_of_other_options_is_refused_and_left_alone(tmp_path):
    Stages(tmp_path, {"size": "tiny"}).do("first", lambda: None)
    before = (tmp_path / "stages.json").read_bytes()
    with pytest.raises(SefarMLLMError, match="another --output"):
        Stages(tmp_path, {"size": "mini"})
    assert (tmp_path / "stages.json").read_bytes() == before


def stated(found: dict, said: dict) -> dict:
    """Of ``found``, what ``said`` names."""
    return {k: stated(found[k], v) if isinstance(v, dict) else found[k] for k, v in said.items()}


def test_the_shipped_configurations_are_the_demos():
    said = yaml.safe_load((ROOT / "configs/encoder/minigym.yaml").read_text(encoding="utf-8"))
    found = asdict(encoder_config(FOLDERS, BUDGETS["mini"], 0))
    for place in (said, found):
        place.pop("output")
        place["data"] = {"short_side": place["data"]["short_side"]}
    assert stated(found, said) == said
    said = yaml.safe_load((ROOT / "configs/mllm/minigym.yaml").read_text(encoding="utf-8"))
    assert stated(asdict(finetune_config(FOLDERS, SEFAR, BUDGETS["mini"], 0)), said) == said


def test_the_compared_encoders_differ_in_their_features_alone():
    ours, theirs = (asdict(finetune_config(FOLDERS, name, BUDGETS["mini"], 0)) for name in (SEFAR, FRAMES))
    assert {key for key in ours if ours[key] != theirs[key]} == {"output", "features"}
    blind = asdict(finetune_config(FOLDERS, BLIND, BUDGETS["mini"], 0))
    assert blind["features"] is None
    assert blind["max_steps"] == ours["max_steps"]
