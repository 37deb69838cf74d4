"""Fine-tuning with weights spread over two CPU processes, by FSDP2 and ZeRO-3, against the same on one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mllm_runs import log, weights
from mllm_sources import easy_questions, easy_store, question_file
from spread_weights import launch

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.language_model import load_language_model
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import PromptConfig

ROOT = Path(__file__).parents[1]
TENSORS = (".safetensors", ".bin", ".pt")
FSDP, FSDP_4BIT, ZERO3 = "fsdp.yaml", "fsdp-4bit.yaml", "deepspeed-zero3.yaml"


@pytest.fixture(scope="module")
def config(tmp_path_factory, language_model) -> FinetuneConfig:
    """Features far from zero and close together: in bfloat16 nothing would be left of them."""
    folder = tmp_path_factory.mktemp("sharded")
    questions = easy_questions(24)
    store = easy_store(folder / "store", questions)
    store.add({clip: 10 + 0.05 * store[clip] for clip in list(store.shards)})
    file = question_file(folder / "questions.jsonl", questions)
    return FinetuneConfig(
        questions=file,
        validation=file,
        features=folder / "store",
        output=folder / "one",
        language_model=str(language_model),
        prompt=PromptConfig(list_options=False),
        precision="fp32",
        lora=LoraOptions(rank=2),
        max_steps=6,
        batch_size=8,
        align_steps=20,
        learning_rate=1e-2,
        evaluate_every=3,
        save_every=2,
        trainer={
            "use_cpu": True,
            "disable_tqdm": True,
            "logging_steps": 1,
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        },
    )


@pytest.fixture(scope="module")
def alone(config) -> Path:
    return finetune(config)


def assert_same_weights(one: Path, two: Path, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(weights(one), weights(two), rtol=0, atol=tolerance)


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in log(run) if "loss" in row]


@pytest.mark.parametrize("file", [FSDP, ZERO3])
def test_spread_weights_train_as_whole_ones_and_go_on_after_an_interruption(config, alone, tmp_path, file):
    """With recomputed activations. The second run goes on from a checkpoint of the first, to the last bit."""
    run, again = (replace(config, output=tmp_path / name) for name in ("run", "again"))
    half = replace(config, output=tmp_path / "half", precision="bf16", max_steps=1, validation=None)
    packed = replace(config, output=tmp_path / "packed", quantization="nf4")
    copy = {"interrupted": str(run.output), "as": str(again.output)}
    more = [packed] if file == ZERO3 else []
    notes = launch(file, tmp_path, run, copy, replace(again, resume=True), half, *more)

    assert_same_weights(alone, run.output, 2e-5)
    accuracies = [[row.get("eval_accuracy") for row in log(folder)] for folder in (alone, run.output)]
    assert accuracies[0] == accuracies[1]
    assert losses(alone) == pytest.approx(losses(run.output), abs=1e-3)
    assert_same_weights(run.output, again.output, tolerance=0)

    # All tensors of a checkpoint together are smaller than the frozen weights, which are in none.
    frozen = sum(weight.nbytes for weight in load_language_model(config.language_model).parameters())
    tensors = [file for file in (run.output / "steps/checkpoint-4").rglob("*.*") if file.suffix in TENSORS]
    assert {file.name for file in tensors} >= {"adapter_model.safetensors", "projector.safetensors"}
    assert sum(file.stat().st_size for file in tensors) < frozen

    for rank in range(2):
        held = notes[rank][0]["held"]
        assert held == pytest.approx(frozen / 4 / 2, rel=0.02)
        # FSDP: the first process loads, the second gets its share from it. ZeRO-3 parts them while it loads.
        assert notes[rank][0]["loaded"] == (held if file == ZERO3 else (frozen // 4, 0)[rank])

    # What FSDP and DeepSpeed cast to bfloat16 before the projector sees it is standardised before.
    store = easy_store(tmp_path / "store", easy_questions(24))
    raw = torch.stack([10 + 0.05 * store[clip] for clip in store.shards])
    centred = raw - raw[:, 0].mean(0)
    wanted = (centred / (raw[:, 0] - raw[:, 0].mean(0)).pow(2).mean((0, 1)).sqrt()).flatten(0, 1).flatten(1)
    for rank in range(2):
        seen = torch.tensor(notes[rank][2]["features"]).flatten(1)
        assert torch.equal(seen, seen.bfloat16().float())
        nearest = torch.cdist(seen, wanted).argmin(1)
        torch.testing.assert_close(seen, wanted[nearest], rtol=2**-8, atol=1e-3)
    if file == ZERO3:
        for rank in range(2):
            refused = notes[rank][3]["refused"]
            assert "ZeRO-3 cannot spread 4-bit weights; launch with" in refused
            assert "fsdp-4bit.yaml" in refused


@pytest.mark.slow
@pytest.mark.parametrize(("file", "quantization"), [(FSDP_4BIT, "nf4"), (ZERO3, "none")])
def test_spread_weights_train_in_bfloat16_and_4_bit(config, tmp_path, file, quantization):
    half = replace(config, precision="bf16", quantization=quantization, validation=None, save_every=None)
    one, two = finetune(replace(half, output=tmp_path / "one")), tmp_path / "two"
    launch(file, tmp_path, replace(half, output=two))
    # The same run but for rounding, which a learning rate this high multiplies from step to step.
    assert losses(one)[0] == pytest.approx(losses(two)[0], rel=0.02)
    assert losses(one) == pytest.approx(losses(two), rel=0.15)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_model_to_be_spread_is_not_put_on_the_device_before(config, monkeypatch, quantization):
    """The meta device stands for a GPU; whatever was put there would be whole on it."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    settings = MLLMConfig(config.language_model, quantization, config.prompt)
    monkeypatch.setenv("FSDP_VERSION", "2")
    model = SefarMLLM.build(settings, LoraOptions(), torch.bfloat16, "meta")
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(SefarMLLMError, match="fsdp_version: 2"):
        SefarMLLM.build(settings, LoraOptions(), torch.bfloat16, "meta")
