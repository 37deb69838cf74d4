"""The rehearsal: every shipped configuration is run as it stands, on a small thing of the real kind.

Vicuna is two narrow layers with a SentencePiece tokenizer and half precision in a ``.bin``; the encoder a
narrow SeFAR over real video files. Nothing of a configuration is changed but sizes of networks, paths, and
how long it runs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
import yaml
from encoder_videos import write_direction_set
from jsonargparse import auto_cli
from mllm_sources import NAMES, QUESTION, question_file
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from encoder.model.sefar import SefarEncoder
from encoder.training.config import TrainConfig
from gym_qa.questions.questions import Question
from sefar_mllm.cli import main
from sefar_mllm.doctor.self_test import small_vicuna
from sefar_mllm.model.checkpoint import ADAPTER_WEIGHTS, PROJECTOR_WEIGHTS
from sefar_mllm.model.manifest import CONFIG
from sefar_mllm.model.mllm import SefarMLLM

ROOT = Path(__file__).parents[1]
MLLM = sorted((ROOT / "configs/mllm").glob("*.yaml"))
QLORA = ROOT / "configs/mllm/vicuna-7b-qlora.yaml"
ENCODER = sorted((ROOT / "configs/encoder").glob("*.yaml"))


@pytest.fixture(scope="module")
def world(tmp_path_factory, language_model, sefar) -> Path:
    """Eight clips, a narrow SeFAR, its features, questions about them, and two language models."""
    folder = tmp_path_factory.mktemp("rehearsal")
    clips = write_direction_set(folder / "videos", 8, "clip")
    torch.manual_seed(0)
    shape = {"image_size": 32, "patch_size": 8, "dim": 12, "depth": 2, "heads": 2}
    SefarEncoder(3, shape).save_pretrained(folder / "encoder")
    questions = [
        Question(f"q{i}", f"clip{i}", QUESTION, tuple(NAMES[i : i + 4]), i % 4, i % 2, "FX", 21)
        for i in range(8)
    ]
    question_file(folder / "questions.jsonl", questions)
    vicuna = small_vicuna(folder / "vicuna-7b", [QUESTION, *NAMES])
    torch.save(load_file(vicuna / "model.safetensors"), vicuna / "pytorch_model.bin")  # as it is on the Hub
    (vicuna / "model.safetensors").unlink()
    (folder / "smollm").symlink_to(language_model)
    call(
        "extract-features",
        f"--encoder=sefar:{folder / 'encoder'}",
        f"--clips=[{clips}]",
        f"--output={folder / 'features'}",
        "--workers=0",
    )
    return folder


def call(*arguments: str | Path) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {**load_file(folder / ADAPTER_WEIGHTS), **load_file(folder / PROJECTOR_WEIGHTS)}


def small(world: Path, path: Path) -> Path:
    """The small model of the same kind as the one that the configuration names."""
    name = yaml.safe_load(path.read_text(encoding="utf-8"))["language_model"]
    return world / ("vicuna-7b" if "vicuna" in name else "smollm")


@torch.no_grad()
def assert_same_model(run: Path, merged: Path) -> None:
    """The merged folder is an ordinary language model that says what the adapted one says."""
    # 4-bit weights are those of a run in bf16: packed from other numbers they would be others.
    packed = json.loads((run / CONFIG).read_text(encoding="utf-8"))["quantization"] == "nf4"
    adapted = SefarMLLM.from_pretrained(run, torch.bfloat16 if packed else torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(merged)
    ids = torch.arange(5, 45)[None]
    attention = torch.ones_like(ids)
    one, two = (model(input_ids=ids, attention_mask=attention).logits for model in (adapted.causal, plain))
    allowed = (0.05 if packed else 1e-4) * float(two.abs().max())  # rounding in bf16, in float32
    torch.testing.assert_close(one.float(), two, rtol=0, atol=allowed)


@pytest.mark.parametrize(
    "path",
    # The one in 4 bit stands for its kind in `make test`; `make rehearse` runs all.
    [p if p == QLORA else pytest.param(p, marks=pytest.mark.slow) for p in MLLM],
    ids=lambda path: path.stem,
)
def test_a_language_side_configuration_from_training_to_an_answer(world, tmp_path, capsys, path):
    run, questions = tmp_path / "run", world / "questions.jsonl"
    command = [
        "finetune",
        f"--config={path}",
        f"--language_model={small(world, path)}",
        f"--questions={questions}",
        f"--features={world / 'features'}",
        f"--output={run}",
        "--max_steps=2",
        "--save_every=1",
        "--resume",
    ]
    call(*command)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(run, undisturbed)
    shutil.rmtree(run / "steps/checkpoint-2")  # as if stopped after the first step
    call(*command)
    torch.testing.assert_close(weights(run), weights(undisturbed), rtol=0, atol=0)

    call(
        "evaluate",
        f"--checkpoint={run}",
        f"--questions={questions}",
        f"--features={world / 'features'}",
        f"--output={tmp_path / 'answers'}",
        "--no-video",
        "--other-video",
        "--circular",
        "--generate",
    )
    metrics = json.loads((tmp_path / "answers/metrics.json").read_text(encoding="utf-8"))
    assert metrics["n"] == 8
    lines = (tmp_path / "answers/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        second, first = sorted(row["probabilities"])[-2:]
        assert first > second, "two options are tied"

    call("merge", f"--checkpoint={run}", f"--output={tmp_path / 'merged'}", "--precision=fp32")
    assert_same_model(run, tmp_path / "merged")
    for checkpoint in (run, tmp_path / "merged"):
        capsys.readouterr()
        options = f"--options=[{', '.join(NAMES[:4])}]"
        pictures = f"--output={tmp_path / 'pictures'}"
        call("ask", world / "videos/clip0.mp4", QUESTION, f"--checkpoint={checkpoint}", options, pictures)
        assert capsys.readouterr().out.splitlines()[0] in NAMES[:4]


def narrow_vit(folder: Path) -> Path:
    """Starting weights of the configurations' patches and picture size, two blocks of 24 numbers deep."""
    sizes = {"img_size": 224, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
    folder.mkdir()
    save_file(timm.create_model("vit_small_patch16_224", **sizes).state_dict(), folder / "vit.safetensors")
    facts = {**sizes, "mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "vit.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder / "vit.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("path", ENCODER, ids=lambda path: path.stem)
def test_an_encoder_configuration_trains_stops_and_goes_on(world, tmp_path, path):
    """The network is narrowed, and epochs are one update each; batches, pictures, recipe are the file's."""
    run, clips = tmp_path / "run", world / "videos/clip.csv"
    warmup = auto_cli(TrainConfig, args=["--config", str(path)]).recipe.warmup_epochs
    command = [
        "train-encoder",
        f"--config={path}",
        f"--output={run}",
        f"--data.labelled={clips}",
        f"--data.unlabelled={clips}",
        f"--data.val={clips}",
        f"--data.video_root={clips.parent}",
        f"--epochs={warmup + 2}",
        f"--updates={warmup + 2}",
        "--data.workers=1",
        "--checkpoint_every=1",
        "--log_every=1",
        "--resume",
    ]
    if path.stem != "minigym":
        command.append(f"--model.weights={narrow_vit(tmp_path / 'vit')}")
    call(*command)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {"loss_sup", "loss_un", "loss_mix"} <= [row for row in rows if "loss" in row][-1].keys()
    undisturbed = tmp_path / "undisturbed"
    run.rename(undisturbed)
    shutil.copytree(undisturbed, run)
    shutil.rmtree(max((run / "checkpoints").iterdir()))
    for name in ("student", "teacher"):
        shutil.rmtree(run / name)
    call(*command)
    for name in ("student", "teacher"):
        one, two = (load_file(folder / name / "model.safetensors") for folder in (run, undisturbed))
        torch.testing.assert_close(one, two, rtol=0, atol=0)
