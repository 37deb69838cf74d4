"""Fine-tuning, checkpoints and evaluation, on a tiny random language model."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from mllm_runs import QUIET, config, log, weights
from mllm_sources import NAMES, easy_questions, easy_store, question_file, tiny_tokenizer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from encoder.features.store import FeatureStore
from gym_qa.questions.questions import read_questions
from projector.standardize import Standardize
from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.finetuning.dataset import FinetuneDataset, collate
from sefar_mllm.finetuning.finetune import build_trainer, finetune
from sefar_mllm.finetuning.trainer import MetricsFile, MLLMTrainer, rate
from sefar_mllm.model.checkpoint import ADAPTER_WEIGHTS, PROJECTOR_WEIGHTS
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.merge import MergeConfig, merge
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import VIDEO_ID, PromptConfig, Prompter
from sefar_mllm.statistics import wilson_interval


@pytest.mark.parametrize(("precision", "mixed"), [("fp32", "no"), ("bf16", "bf16")])
def test_the_precision_reaches_the_training_loop(lesson, tmp_path, precision, mixed):
    wanted = config(lesson, tmp_path, precision=precision)
    trainer = build_trainer(wanted, read_questions(wanted.questions), [], FeatureStore.open(wanted.features))
    assert trainer.accelerator.mixed_precision == mixed
    assert {p.dtype for p in trainer.model.parameters() if p.requires_grad} == {torch.float32}
    frozen = {p.dtype for p in trainer.model.parameters() if not p.requires_grad}
    assert frozen == {torch.bfloat16 if precision == "bf16" else torch.float32}


def test_training_and_scoring_see_the_same_features_in_float32(lesson, tmp_path, monkeypatch):
    """Far from zero and close together, as encoders give them: in bfloat16 nothing would be left of them."""
    questions = easy_questions(24)
    pattern = torch.tensor([1.0, -1, 0.5, -0.25, 1, -1, 0.5, -0.25])
    clips = {q.video: 10 + 0.05 * pattern.roll(q.label).expand(2, 3, 8) for q in questions}
    store = easy_store(tmp_path / "store", questions)
    store.add(clips)
    shown: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    embed = SefarMLLM.embed

    def noted(self, ids, features):
        if features is not None:
            shown[self.training] += list(features)
        return embed(self, ids, features)

    monkeypatch.setattr(SefarMLLM, "embed", noted)
    settings = {"features": tmp_path / "store", "precision": "bf16", "max_steps": 3, "video_dropout": 0.0}
    run = finetune(config(lesson, tmp_path / "run", align_steps=5, **settings))
    evaluate(
        EvaluateConfig(lesson / "train.jsonl", tmp_path / "out", run, tmp_path / "store", precision="bf16")
    )
    stacked = torch.stack([clip[0] for clip in clips.values()])
    mean = stacked.mean(0)
    wanted = (stacked - mean) / (stacked - mean).pow(2).mean((0, 1)).sqrt()
    assert all(len(features) == 24 and features[0].dtype == torch.float32 for features in shown.values())
    for features in shown.values():
        distances = torch.cdist(torch.stack(features).flatten(1), wanted.flatten(1))
        assert distances.min(1).values.max() < 1e-5
        assert distances.min(0).values.max() < 1e-5


def test_half_precision_without_a_gpu_is_refused(lesson, tmp_path):
    with pytest.raises(SefarMLLMError, match="fp16 needs a GPU"):
        finetune(config(lesson, tmp_path, precision="fp16", trainer={**QUIET, "use_cpu": True}))


def test_learns_the_classes_of_unseen_clips(lesson, taught, tmp_path):
    metrics = evaluate(
        EvaluateConfig(lesson / "val.jsonl", tmp_path, taught, lesson / "features", precision="fp32")
    )
    assert metrics.accuracy > 0.9
    losses = [row["loss"] for row in log(taught) if "loss" in row]
    assert np.mean(losses[-5:]) < 0.2 * np.mean(losses[:5])


def test_every_question_is_answered_and_counted(lesson, taught, tmp_path):
    output = tmp_path
    metrics = evaluate(
        EvaluateConfig(lesson / "val.jsonl", output, taught, lesson / "features", precision="fp32")
    )
    rows = [
        json.loads(line) for line in (output / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    questions = easy_questions(12, "val")
    assert [row["id"] for row in rows] == [q.id for q in questions]
    assert [row["answer"] for row in rows] == [q.answer for q in questions]
    right = sum(row["choice"] == row["answer"] for row in rows)
    assert metrics.accuracy == right / 12
    assert (metrics.ci_low, metrics.ci_high) == wilson_interval(right, 12)
    for row in rows:
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["choice"] == int(np.argmax(row["scores"]["text_pmi"]))
    content = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert {key: content[key] for key in metrics.as_json()} == metrics.as_json()


def test_saved_and_loaded_is_the_same_model(lesson, taught, tmp_path):
    model = SefarMLLM.from_pretrained(taught)
    model.save_pretrained(tmp_path / "again")
    again = SefarMLLM.from_pretrained(tmp_path / "again")
    first, second = model.state_dict(), again.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.settings == model.settings


def test_merged_is_unmerged(lesson, taught, tmp_path):
    merged = merge(MergeConfig(taught, tmp_path / "merged", "fp32"))
    before, after = SefarMLLM.from_pretrained(taught), SefarMLLM.from_pretrained(merged)
    ids = torch.randint(0, 300, (2, 9))
    ids[:, 2:5] = VIDEO_ID
    features = torch.randn(2, 3, 8)
    logits = []
    with torch.no_grad():
        for model in (before, after):
            logits.append(model.causal(inputs_embeds=model.embed(ids, features)).logits)
    torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=1e-4)
    plain = AutoModelForCausalLM.from_pretrained(merged)  # a folder like any other of Transformers
    words = torch.randint(0, 300, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(plain(words).logits, after.causal(words).logits, atol=1e-4, rtol=1e-4)
    with pytest.raises(SefarMLLMError, match="exists"):
        merge(MergeConfig(taught, merged))
    with pytest.raises(SefarMLLMError, match="no adapter"):
        merge(MergeConfig(merged, tmp_path / "again"))


def test_generated_answers_are_counted(lesson, taught, tmp_path):
    settings = EvaluateConfig(
        lesson / "val.jsonl", tmp_path, taught, lesson / "features", score="generated", precision="fp32"
    )
    metrics = evaluate(settings)
    rows = [
        json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) == 12
    assert metrics.score == "generated"
    assert metrics.unparsed_rate == sum(row["choice"] is None for row in rows) / 12
    assert metrics.accuracy == sum(row["choice"] == row["answer"] for row in rows) / 12
    assert metrics.accuracy > 0.7


@pytest.mark.parametrize("part", [ADAPTER_WEIGHTS, PROJECTOR_WEIGHTS])
def test_parts_of_different_runs_are_refused(lesson, taught, tmp_path, part):
    other = finetune(config(lesson, tmp_path / "other", max_steps=1, seed=5))
    mixed = shutil.copytree(taught, tmp_path / "mixed")
    shutil.copy(other / part, mixed / part)
    with pytest.raises(SefarMLLMError, match="same run"):
        SefarMLLM.from_pretrained(mixed)
    (mixed / part).unlink()
    with pytest.raises(SefarMLLMError, match="missing"):
        SefarMLLM.from_pretrained(mixed)


def test_another_encoders_features_are_refused(lesson, taught, tmp_path):
    easy_store(tmp_path / "features", easy_questions(12, "val"), fingerprint="xyz")
    with pytest.raises(SefarMLLMError, match="another encoder"):
        evaluate(EvaluateConfig(lesson / "val.jsonl", tmp_path / "out", taught, tmp_path / "features"))
    assert not (tmp_path / "out").exists()


def test_another_language_model_is_refused(lesson, taught, tmp_path):
    mixed = shutil.copytree(taught, tmp_path / "mixed")
    values = json.loads((mixed / "sefar_mllm.json").read_text(encoding="utf-8"))
    values["architecture"]["num_hidden_layers"] = 3
    (mixed / "sefar_mllm.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(SefarMLLMError, match="num_hidden_layers"):
        SefarMLLM.from_pretrained(mixed)


def test_resumed_run_is_the_undisturbed_run_to_the_bit(lesson, tmp_path, monkeypatch):
    settings = {
        "max_steps": 8,
        "save_every": 3,
        "lora": LoraOptions(rank=4, dropout=0.1),
        "projector_steps": 2,
    }
    whole = finetune(config(lesson, tmp_path / "whole", **settings))
    cut = config(lesson, tmp_path / "cut", resume=True, **settings)

    class Stopped(Exception):
        pass

    written = MetricsFile.on_log

    def stop_at_5(self, args, state, control, **arguments):
        written(self, args, state, control, **arguments)
        if state.global_step == 5:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "on_log", stop_at_5)
        with pytest.raises(Stopped):
            finetune(cut)
    assert not (tmp_path / "cut" / "sefar_mllm.json").exists()
    resumed = finetune(cut)
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    losses = [[row["loss"] for row in log(folder) if "loss" in row] for folder in (whole, resumed)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8


def test_resuming_with_other_settings_is_refused(lesson, tmp_path):
    finetune(config(lesson, tmp_path / "run", max_steps=2, save_every=1))
    with pytest.raises(SefarMLLMError, match="learning_rate"):
        finetune(config(lesson, tmp_path / "run", max_steps=2, save_every=1, resume=True, learning_rate=0.5))


def test_only_the_first_of_several_processes_writes_options_and_log(lesson, tmp_path, monkeypatch):
    """The others would cut the log, or meet the first one's temporary file."""
    monkeypatch.setattr(MLLMTrainer, "is_world_process_zero", lambda _: False)
    run = finetune(config(lesson, tmp_path / "run", max_steps=2))
    assert not {"options.json", "options.json.tmp", "metrics.jsonl"} & {file.name for file in run.iterdir()}


def test_projector_learns_alone_at_first(lesson, tmp_path):
    run = finetune(config(lesson, tmp_path / "alone", max_steps=2, projector_steps=2))
    start = finetune(
        config(lesson, tmp_path / "start", max_steps=1, projector_steps=1, projector_learning_rate=1e-30)
    )
    adapter, before = load_file(run / ADAPTER_WEIGHTS), load_file(start / ADAPTER_WEIGHTS)
    assert all(torch.equal(adapter[name], before[name]) for name in adapter)
    projector, before = load_file(run / PROJECTOR_WEIGHTS), load_file(start / PROJECTOR_WEIGHTS)
    assert not any(torch.equal(projector[name], before[name]) for name in projector if "weight" in name)


def test_accumulated_batches_are_one_batch(lesson, tmp_path):
    settings = {"max_steps": 3, "trainer": {**QUIET, "max_grad_norm": 0.0}}
    one = weights(finetune(config(lesson, tmp_path / "one", batch_size=8, **settings)))
    two = weights(finetune(config(lesson, tmp_path / "two", batch_size=4, accumulation=2, **settings)))
    for name, tensor in one.items():  # Adam makes steps of 0.01 of gradients as small as rounding, too
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-4)


def test_language_model_that_does_not_exist(lesson, tmp_path, capsys):
    output = tmp_path / "run"
    finetune(config(lesson, output, max_steps=1))
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    arguments = ["--questions", lesson / "train.jsonl", "--output", output, "--features", lesson / "features"]
    status = main(["finetune", *map(str, arguments), "--language_model", str(tmp_path / "nowhere")])
    message = capsys.readouterr().err
    assert status == 2
    assert "nowhere" in message
    assert "no such folder" in message
    assert "Traceback" not in message
    assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before


def test_clips_without_features_are_named(lesson, tmp_path):
    question_file(tmp_path / "more.jsonl", easy_questions(30))
    with pytest.raises(SefarMLLMError, match=r"6 of 30 clips.*train0024"):
        finetune(config(lesson, tmp_path / "run", questions=tmp_path / "more.jsonl"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"patience": 3}, "set validation"),
        ({"resume": True}, "set save_every"),
        ({"features": None, "lora": LoraOptions(rank=0)}, "nothing to train"),
        ({"lora": LoraOptions(targets="no_such_layer")}, "no_such_layer"),
        ({"lora": LoraOptions(last_layers=9)}, "1 to 2"),
        ({"trainer": {"no_such_setting": 1}}, "no_such_setting"),
    ],
)
def test_settings_that_cannot_be(lesson, tmp_path, changes, message):
    with pytest.raises(SefarMLLMError, match=message):
        finetune(config(lesson, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def dataset(count: int = 30, size: int = 4, seed: int = 0, **changes) -> FinetuneDataset:
    questions = easy_questions(count)
    prompter = Prompter(tiny_tokenizer(), PromptConfig(**changes), 0)
    return FinetuneDataset(questions, None, prompter, length=5 * count, batch_size=size, seed=seed)


@pytest.mark.parametrize(("count", "size"), [(30, 4), (30, 64), (7, 7), (5, 1)])
def test_every_epoch_asks_each_question_once(count, size):
    data = dataset(count, size)
    orders = [data.order(epoch) for epoch in range(5)]
    assert all(sorted(order.tolist()) == list(range(count)) for order in orders)
    if count > 5:
        assert any((orders[0] != order).any() for order in orders[1:])
    assert [data.order(epoch).tolist() for epoch in range(5)] == [order.tolist() for order in orders]


def test_options_are_redrawn_and_the_answer_follows():
    data = dataset(answer="letter")
    places = set()
    for index in range(len(data)):
        question = data.questions[data.order(index // 30)[index % 30]]
        text = data.prompter.tokenizer.decode([token for token in data[index]["encoded"].ids if token >= 0])
        letter = text.split("assistant\n")[1][0]
        assert f"\n{letter}. {NAMES[question.label]}\n" in text.replace("<|im_end|>", "\n")
        places.add((question.id, letter))
    assert len(places) > 2 * 30  # five epochs show most questions with several letters


def test_padding_is_under_a_tenth():
    data = dataset(300, 8, list_options=True)
    data.questions = [
        dataclasses.replace(q, question=q.question + " Watch the whole movement." * (n % 7))
        for n, q in enumerate(data.questions)
    ]
    data = FinetuneDataset(data.questions, None, data.prompter, 1500, 8, 0)
    batches = [[data[8 * batch + k] for k in range(8)] for batch in range(150)]
    masks = [collate(samples, Standardize(0, 0))["attention_mask"] for samples in batches]
    padding = 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    assert padding < 0.10


def test_rate_rises_and_falls():
    assert [rate(step, 0, 100, 0.1) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert rate(55, 0, 100, 0.1) == pytest.approx(0.5)
    assert rate(100, 0, 100, 0.1) == pytest.approx(0.0)
    assert [rate(step, 20, 100, 0.0) for step in (0, 19, 20, 60)] == pytest.approx([0.0, 0.0, 1.0, 0.5])
