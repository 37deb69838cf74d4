"""Which language model a checkpoint was trained on: noticed when it is another one, or gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from mllm_runs import config
from mllm_sources import easy_questions, easy_store, question_file, tiny_folder
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.model.base_model import fingerprint
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.language_model import EMBEDDED, EMBEDDED_ON_HUB, embedded_folder
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.merge import MergeConfig, merge
from sefar_mllm.model.mllm import SefarMLLM


@pytest.fixture(scope="module")
def world(tmp_path_factory, language_model) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "lm").symlink_to(language_model)
    questions = easy_questions(8)
    question_file(folder / "train.jsonl", questions)
    easy_store(folder / "features", questions)
    finetune(config(folder, folder / "run", max_steps=1, align_steps=2))
    return folder


@pytest.fixture
def copy(world, tmp_path) -> Path:
    """Language model and checkpoint, to be changed; the first ones are out of sight."""
    shutil.copytree(world / "lm", tmp_path / "lm")
    values = json.loads((shutil.copytree(world / "run", tmp_path / "run") / "sefar_mllm.json").read_text())
    values["language_model"] = str(tmp_path / "lm")
    (tmp_path / "run" / "sefar_mllm.json").write_text(json.dumps(values), encoding="utf-8")
    SefarMLLM.from_pretrained(tmp_path / "run")
    return tmp_path


def test_another_model_under_the_same_name_is_noticed(copy):
    tiny_folder(copy / "lm", seed=1)
    with pytest.raises(SefarMLLMError, match=r"run: was trained on another language model than .*lm"):
        SefarMLLM.from_pretrained(copy / "run")


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"])
def test_one_changed_weight_is_noticed(copy, name):
    file = copy / "lm" / "model.safetensors"
    weights = load_file(file)
    weights[name].view(-1)[7] += 1e-3
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(SefarMLLMError, match="another language model"):
        SefarMLLM.from_pretrained(copy / "run")


def test_another_configuration_is_noticed_and_a_version_is_not(copy):
    file = copy / "lm" / "config.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**values, "transformers_version": "5.99.0"}), encoding="utf-8")
    SefarMLLM.from_pretrained(copy / "run")
    file.write_text(json.dumps({**values, "rms_norm_eps": 1e-3}), encoding="utf-8")
    with pytest.raises(SefarMLLMError, match="another language model"):
        SefarMLLM.from_pretrained(copy / "run")


def test_the_same_weights_in_other_files_are_the_same(world, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(world / "lm")
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    shutil.copy(world / "lm" / "config.json", tmp_path / "parts")
    assert fingerprint(str(tmp_path / "parts")) == fingerprint(str(world / "lm"))


def test_pickled_weights_have_a_fingerprint(world, tmp_path):
    """Vicuna's repository has pytorch_model-00001-of-00002.bin and so on, and no safetensors."""
    lm = tmp_path / "lm"
    shutil.copytree(world / "lm", lm)
    weights = load_file(lm / "model.safetensors")
    (lm / "model.safetensors").unlink()
    names = sorted(weights)
    index = {}
    for number, part in enumerate((names[:9], names[9:]), 1):
        torch.save({name: weights[name] for name in part}, lm / f"pytorch_model-0000{number}-of-00002.bin")
        index |= dict.fromkeys(part, f"pytorch_model-0000{number}-of-00002.bin")
    (lm / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    model = SefarMLLM.build(MLLMConfig(str(lm)), LoraOptions(rank=2))
    model.save_pretrained(tmp_path / "model")
    SefarMLLM.from_pretrained(tmp_path / "model")
    weights["lm_head.weight"] += 1
    part = {name: weights[name] for name in names[:9]}
    torch.save(part, lm / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(SefarMLLMError, match="another language model"):
        SefarMLLM.from_pretrained(tmp_path / "model")


def test_large_tensors_are_read_in_pieces(tmp_path):
    """Of 8 MB no more than 64 KB, spread from the first byte to the last."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    weight = torch.zeros(2_000_000)
    seen = {}
    for place in (None, 0, 1_999_999, *range(70_000, 2_000_000, 300_000)):
        changed = weight.clone()
        if place is not None:
            changed[place : place + 140_000] = 1
        save_file({"weight": changed}, tmp_path / "model.safetensors")
        seen[place] = fingerprint(str(tmp_path))
    assert len(set(seen.values())) == len(seen)


def test_a_merged_model_is_its_own(world, tmp_path):
    merged = merge(MergeConfig(world / "run", tmp_path / "merged", "fp32"))
    moved = merged.rename(tmp_path / "moved")
    SefarMLLM.from_pretrained(moved)
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, moved / "model.safetensors", {"format": "pt"})
    with pytest.raises(SefarMLLMError, match="another language model"):
        SefarMLLM.from_pretrained(moved)


def test_a_relative_name_holds_in_every_folder(world, tmp_path, monkeypatch, capsys):
    project = tmp_path / "project"
    shutil.copytree(world, project, ignore=shutil.ignore_patterns("run"))
    monkeypatch.chdir(project)
    arguments = ["--questions", "train.jsonl", "--features", "features", "--precision", "fp32"]
    teach = [
        *arguments,
        "--language_model",
        "lm",
        "--max_steps",
        "2",
        "--align_steps",
        "2",
        "--save_every",
        "1",
    ]
    assert main(["finetune", *teach, "--output", "runs/one", "--lora.rank", "2"]) == 0
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    again = ["--questions", "project/train.jsonl", "--features", "project/features", "--precision", "fp32"]
    answers = ["--checkpoint", "project/runs/one", "--output", "answers"]
    assert main(["evaluate", *again, *answers]) == 0
    first = (tmp_path / "answers" / "predictions.jsonl").read_text(encoding="utf-8")
    AutoPeftModelForCausalLM.from_pretrained(project / "runs/one/adapter")
    # Moved as a whole, checkpoint and language model still see one another.
    project.rename(tmp_path / "moved")
    moved = [argument.replace("project/", "moved/") for argument in (*again, *answers)]
    assert main(["evaluate", *moved]) == 0
    assert (tmp_path / "answers" / "predictions.jsonl").read_text(encoding="utf-8") == first
    monkeypatch.chdir(tmp_path / "moved")
    resumed = [*teach, "--output", "runs/one", "--lora.rank", "2", "--resume", "true"]
    last = next((tmp_path / "moved" / "runs/one/steps").glob("checkpoint-2"))
    shutil.rmtree(last)
    options = json.loads(Path("runs/one/options.json").read_text(encoding="utf-8"))
    options["options"]["resume"] = True
    Path("runs/one/options.json").write_text(json.dumps(options), encoding="utf-8")
    assert main(["finetune", *resumed]) == 0


def test_the_embedded_model_leaves_no_folder_of_its_user(tmp_path):
    model = SefarMLLM.build(MLLMConfig(EMBEDDED), LoraOptions(rank=2, targets="q_proj", last_layers=1))
    model.save_pretrained(tmp_path / "model")
    adapter = json.loads((tmp_path / "model/adapter/adapter_config.json").read_text(encoding="utf-8"))
    assert adapter["base_model_name_or_path"] == EMBEDDED_ON_HUB
    cache = str(embedded_folder().parent)
    texts = [file for file in (tmp_path / "model").rglob("*") if file.suffix in (".json", ".md", ".jinja")]
    assert texts
    for file in texts:
        assert cache not in file.read_text(encoding="utf-8"), file
        assert str(Path.home()) not in file.read_text(encoding="utf-8"), file
    SefarMLLM.from_pretrained(tmp_path / "model")
