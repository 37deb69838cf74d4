"""Pushing checkpoints to the Hub and finding them there, with the Hub's client stubbed by a folder."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from mllm_runs import config
from mllm_sources import easy_questions, easy_store, question_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import sefar_mllm.model.hub
from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.model.merge import MergeConfig, merge
from sefar_mllm.model.mllm import SefarMLLM


class Hub:
    """The two calls of `huggingface_hub.HfApi` that a push makes, by its own rules of patterns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: dict[str, bool] = {}

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.private[repo_id] = private

    def upload_folder(self, *, repo_id, folder_path, commit_message, allow_patterns, ignore_patterns) -> str:
        assert repo_id in self.private
        for file in Path(folder_path).rglob("*"):
            name = str(file.relative_to(folder_path))
            wanted = any(fnmatch(name, p) for p in allow_patterns)
            if file.is_file() and wanted and not any(fnmatch(name, p) for p in ignore_patterns):
                (self.folder / repo_id / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, self.folder / repo_id / name)
        return f"https://hub/{repo_id}"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    stub = Hub(tmp_path / "hub")
    monkeypatch.setattr(sefar_mllm.model.hub, "HfApi", lambda: stub)
    monkeypatch.setattr(sefar_mllm.model.hub, "snapshot_download", lambda name: str(stub.folder / name))
    return stub


@pytest.fixture(scope="module")
def trained(tmp_path_factory, language_model) -> Path:
    """A checkpoint with the states of its steps beside it, and what merging it gives."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "lm").symlink_to(language_model)
    questions = easy_questions(12)
    question_file(folder / "train.jsonl", questions)
    easy_store(folder / "features", questions)
    finetune(config(folder, folder / "run", max_steps=2, save_every=1, align_steps=5))
    merge(MergeConfig(folder / "run", folder / "merged", "fp32"))
    return folder


def same(first: SefarMLLM, second: SefarMLLM) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_pushed_and_loaded_by_name_is_the_same_model(trained, hub, capsys):
    assert main(["push", "--checkpoint", str(trained / "merged"), "--repo", "me/mllm", "--private"]) == 0
    assert "https://hub/me/mllm" in capsys.readouterr().out
    assert hub.private == {"me/mllm": True}
    assert same(SefarMLLM.from_pretrained("me/mllm"), SefarMLLM.from_pretrained(trained / "merged"))
    plain = hub.folder / "me/mllm"  # and a language model of Transformers, alone
    words = torch.arange(9)[None]
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(plain)(words).logits
        expected = SefarMLLM.from_pretrained(trained / "merged").causal(words).logits
    torch.testing.assert_close(logits, expected)
    assert AutoTokenizer.from_pretrained(plain).chat_template


def test_the_adapter_goes_without_the_states_of_its_steps(trained, hub, tmp_path):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    assert (run / "steps").is_dir()
    values = json.loads((run / "sefar_mllm.json").read_text(encoding="utf-8"))
    values["language_model"] = "owner/language-model"
    (run / "sefar_mllm.json").write_text(json.dumps(values), encoding="utf-8")
    sefar_mllm.model.hub.push(sefar_mllm.model.hub.PushConfig(run, "me/adapter"))
    there = {
        str(file.relative_to(hub.folder / "me/adapter")) for file in hub.folder.rglob("*") if file.is_file()
    }
    assert {"sefar_mllm.json", "adapter/adapter_model.safetensors", "projector.safetensors"} <= there
    assert not any(name.startswith("steps") for name in there)


def test_no_folder_of_this_machine_goes_along(trained, hub, tmp_path):
    """Settings of a run name its folders in full; a prompt's words are no folder."""
    run = shutil.copytree(trained / "merged", tmp_path / "run")
    file = run / "sefar_mllm.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    values["encoder"]["name"] = "sefar:/home/me/secret/teacher?tokens=clip"
    values["encoder"]["location"] = f"sefar:{tmp_path}/secret/teacher?tokens=clip"
    values["seen_from_here"] = {"encoder": "../../../me/secret/teacher"}
    values["prompt"]["system"] = values["frame"]["lead"] = "/no_think"
    file.write_text(json.dumps(values), encoding="utf-8")
    options = {
        "questions": "/home/me/secret/train.jsonl",
        "features": "~/secret/store",
        "prompt": {"system": "/a"},
    }
    facts = {"options": {**options, "trainer": {"dir": [str(tmp_path / "secret")]}, "output": "runs/x"}}
    (run / "options.json").write_text(json.dumps(facts), encoding="utf-8")
    sefar_mllm.model.hub.push(sefar_mllm.model.hub.PushConfig(run, "me/mllm"))
    there = hub.folder / "me/mllm"
    for name in [file.name for file in there.iterdir() if file.suffix == ".json"]:
        text = (there / name).read_text(encoding="utf-8")
        assert not any(part in text for part in (str(tmp_path), "/home", "me/secret", "~/")), name
    pushed = json.loads((there / "sefar_mllm.json").read_text(encoding="utf-8"))
    assert pushed["encoder"]["name"] == pushed["encoder"]["location"] == "sefar:teacher?tokens=clip"
    assert pushed["prompt"]["system"] == pushed["frame"]["lead"] == "/no_think"
    kept = json.loads((there / "options.json").read_text(encoding="utf-8"))["options"]
    assert (kept["questions"], kept["features"], kept["output"]) == ("train.jsonl", "store", "runs/x")
    assert (kept["trainer"], kept["prompt"]) == ({"dir": ["secret"]}, {"system": "/a"})
    assert json.loads(file.read_text(encoding="utf-8")) == values  # what lies here stays as it was


def test_from_python(trained, hub):
    with pytest.raises(SefarMLLMError, match="which nobody else has"):
        SefarMLLM.from_pretrained(trained / "run").push_to_hub("me/mllm")
    assert hub.private == {}


def test_what_cannot_be_pushed_or_found_is_named(tmp_path, monkeypatch):
    with pytest.raises(SefarMLLMError, match="not a readable checkpoint"):
        sefar_mllm.model.hub.push(sefar_mllm.model.hub.PushConfig(tmp_path, "me/mllm"))

    def out_of_reach(name: str) -> str:
        raise OSError("out of reach")

    monkeypatch.setattr(sefar_mllm.model.hub, "snapshot_download", out_of_reach)
    with pytest.raises(SefarMLLMError, match=r"'nobody/nothing': there is no such folder.*out of reach"):
        SefarMLLM.from_pretrained("nobody/nothing")
