"""The demo: stages that are done once, and settings that are the shipped configurations'."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from encoder.training.config import TrainConfig
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.experiments import compare, demo
from sefar_mllm.experiments.minigym import budget, encoder_training, finetuning_values
from sefar_mllm.experiments.stages import Stages
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.settings.options import options_from, overridden, read_options

ROOT = Path(__file__).parents[1]


def test_a_stage_is_done_once_and_a_stopped_one_again(tmp_path, caplog):
    caplog.set_level("INFO", "sefar_mllm")
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
    assert "first: done before" in caplog.text


def test_a_folder_of_other_options_is_refused_and_left_alone(tmp_path):
    Stages(tmp_path, {"size": "tiny"}).do("first", lambda: None)
    before = (tmp_path / "stages.json").read_bytes()
    with pytest.raises(SefarMLLMError, match="another --output"):
        Stages(tmp_path, {"size": "mini"})
    assert (tmp_path / "stages.json").read_bytes() == before


def test_the_shipped_configurations_are_the_demos():
    shipped = read_options(TrainConfig, ROOT / "configs/encoder/minigym.yaml")
    used = encoder_training("mini", Path("run"), Path("qa"), Path("data"), 0)
    assert used.updates == budget("mini").updates == shipped.updates
    assert used.data.labelled == Path("qa/train.csv")
    assert used.data.cache == Path("data/decoded")
    as_shipped = replace(used, output=shipped.output, data=shipped.data)
    assert as_shipped == shipped
    assert replace(shipped.data, **dict.fromkeys(FOLDERS)) == replace(used.data, **dict.fromkeys(FOLDERS))
    files = {"questions": "q", "output": "o"}
    fine = read_options(FinetuneConfig, ROOT / "configs/mllm/minigym.yaml", files)
    assert options_from(FinetuneConfig, {**finetuning_values("mini"), **files}, "mini") == fine
    assert fine.max_steps == budget("mini").max_steps


FOLDERS = ("labelled", "unlabelled", "val", "video_root", "cache")


def test_overrides_change_what_they_name_and_nothing_beside():
    base = {"a": 1, "group": {"b": 2, "c": 3}}
    assert overridden(base, {"group": {"c": 4}, "d": 5}) == {"a": 1, "group": {"b": 2, "c": 4}, "d": 5}
    assert base == {"a": 1, "group": {"b": 2, "c": 3}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected 'option: value' lines"),
        ("a: [", "not YAML"),
        ("epoch: 3\n", "no setting 'epoch'; there are .*epochs"),
        ("epochs: many\n", "epochs"),
    ],
)
def test_a_file_that_holds_no_options_is_refused_by_name(tmp_path, text, message):
    file = tmp_path / "options.yaml"
    file.write_text(text)
    with pytest.raises(SefarMLLMError, match=rf"options\.yaml: .*{message}"):
        read_options(FinetuneConfig, file)


def test_the_demo_hands_its_renderer_on_and_names_it(tmp_path, monkeypatch):
    rendered, trained = [], []
    monkeypatch.setattr(compare, "make_minigym", rendered.append)
    monkeypatch.setattr(compare, "build_qa", lambda config: None)
    monkeypatch.setattr(demo, "train", lambda config: None)
    monkeypatch.setattr(demo, "compare_on", lambda config, sources, stages: trained.append(sources.name))
    for kind in ("sticks", "body"):
        demo.run_demo(demo.DemoConfig("tiny", output=tmp_path / kind, renderer=kind))
    assert [config.renderer for config in rendered] == ["sticks", "body"]
    assert ["sticks" in name for name in trained] == [True, False]
    assert ["body" in name for name in trained] == [False, True]
