"""What a fine-tuning run can choose: views, validation, early stopping, the storage of 4-bit weights."""

from __future__ import annotations

import pytest
import torch
from mllm_runs import config, log, weights
from mllm_sources import QUESTION, easy_questions, easy_store, tiny_tokenizer
from safetensors.torch import load_file

import sefar_mllm.finetuning.trainer
from projector.standardize import Standardize
from sefar_mllm.finetuning.align import answer_embeddings
from sefar_mllm.finetuning.dataset import FinetuneDataset
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.model.checkpoint import ADAPTER_WEIGHTS
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.features import first_views
from sefar_mllm.model.language_model import load_language_model
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import VIDEO_ID, PromptConfig, Prompter


def test_half_precision_features_are_read_in_full_under_autocast(tmp_path):
    store = easy_store(tmp_path, easy_questions(6))
    stored = {clip: store[clip].half() for clip in ("train0000", "train0003")}
    clips, standardize = ["train0000", "train0003"], Standardize(3, 8)
    expected = torch.stack([stored[clip][0].float() for clip in clips])
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(first_views(stored, clips, standardize), expected, rtol=0, atol=0)


def test_epochs_show_all_views_of_a_clip(tmp_path):
    questions = easy_questions(6)
    store = easy_store(tmp_path, questions, views=3)
    prompter = Prompter(tiny_tokenizer(), PromptConfig(), 3)
    data = FinetuneDataset(questions, store, prompter, length=6 * 20, batch_size=2, seed=0)
    shown: dict[str, list[int]] = {}
    for index in range(len(data)):
        clip = questions[int(data.order(index // 6)[index % 6])].video
        features = data[index]["features"]
        views = [n for n in range(3) if torch.equal(store[clip][n].float(), features)]
        assert len(views) == 1
        shown.setdefault(clip, []).append(views[0])
    assert all(set(views) == {0, 1, 2} for views in shown.values())
    again = FinetuneDataset(questions, store, prompter, length=6 * 20, batch_size=2, seed=0)
    assert all(torch.equal(again[i]["features"], data[i]["features"]) for i in (0, 17, 101))


def test_words_stand_for_the_video_at_first_and_ever_less(tmp_path):
    questions = easy_questions(6)
    store = easy_store(tmp_path, questions)
    prompter = Prompter(tiny_tokenizer(), PromptConfig(answer="letter"), 3)
    data = FinetuneDataset(questions, store, prompter, 8 * 120, 8, seed=0, named_steps=100)
    samples = [data[index] for index in range(len(data))]
    named = [sample["features"] is None for sample in samples]
    assert all(named[:8])
    assert not any(named[800:])
    # The share falls as a line from 1 to 0: 7/8 and 1/8 on average in the first and last quarter.
    assert 0.78 < sum(named[:200]) / 200 < 0.97
    assert 0.03 < sum(named[600:800]) / 200 < 0.22
    for sample, stands in zip(samples, named, strict=True):
        assert (VIDEO_ID in sample["encoded"].ids) != stands
    text = prompter.tokenizer.decode(samples[0]["encoded"].ids)
    letter = text[text.rindex("assistant") :].split()[1][0]
    place, listed = text.index(QUESTION), text[text.index(QUESTION) :]
    words = listed.split(f"\n{letter}. ")[1].splitlines()[0].removesuffix("<|im_end|>")
    assert text[:place].splitlines()[-1] == words
    plain = FinetuneDataset(questions, store, prompter, 8 * 120, 8, seed=0)
    assert all(sample["features"] is not None for sample in plain)


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best(lesson, tmp_path, monkeypatch):
    """Validation is made to go 2, 9, 5, 5 of 12 right: with patience 2 the run ends there, at its second."""
    answers = {question.id: question.answer for question in easy_questions(12, "val")}
    right = iter([2, 9, 5, 5])

    def made_up(model, questions, store, **_):
        count = next(right)
        picks = [(answers[q.id] + (n >= count)) % 4 for n, q in enumerate(questions)]
        return [
            {key: [float(o == pick) for o in range(4)] for key in ("text_pmi", "text_sum")} for pick in picks
        ]

    monkeypatch.setattr(sefar_mllm.finetuning.trainer, "score_questions", made_up)
    run = finetune(
        config(
            lesson,
            tmp_path / "run",
            validation=lesson / "val.jsonl",
            evaluate_every=1,
            patience=2,
            max_steps=20,
            align_steps=5,
        )
    )
    followed = [(row["step"], row["eval_accuracy"]) for row in log(run) if "eval_accuracy" in row]
    assert followed == [(1, 2 / 12), (2, 9 / 12), (3, 5 / 12), (4, 5 / 12)]
    best = load_file(run / "steps" / "checkpoint-2" / ADAPTER_WEIGHTS)
    last = load_file(run / "steps" / "checkpoint-4" / ADAPTER_WEIGHTS)
    kept = weights(run)
    assert all(torch.equal(kept[name], tensor) for name, tensor in best.items())
    assert not all(torch.equal(kept[name], tensor) for name, tensor in last.items())


def test_four_bit_weights_are_stored_as_fsdp_needs_them(lesson):
    pytest.importorskip("bitsandbytes", reason="needs the extra 'quant'")
    model = load_language_model(str(lesson / "lm"), torch.bfloat16, four_bit=True)
    layer = model.model.layers[0].mlp.up_proj
    assert layer.weight.dtype == torch.bfloat16  # shards must be of a floating type
    assert layer.weight.numel() == 32 * 64 / 4  # four numbers of 4 bits in each
    assert layer.weight.quant_state.nested


def test_alignment_takes_the_words_as_they_are_learned(lesson):
    """Also where a class name holds the name of a control token, which is words there."""
    model = SefarMLLM.build(MLLMConfig(str(lesson / "lm")), LoraOptions(rank=2))
    weight, end = model.causal.get_input_embeddings().weight, model.tokenizer.eos_token_id
    text = "salto<|im_end|> tucked"
    ids = model.prompter.ids(model.prompter.answer(0, [text], "text"))[:-1]
    assert end not in ids
    [mean], _ = answer_embeddings(model, [text])
    torch.testing.assert_close(mean, weight[torch.tensor(ids)].mean(0))
