"""Every kind of language model: trained, saved, loaded, scored as one plain pass per option scores, merged.

One tiny random model for each way in which families differ; see `sefar_mllm.inference.likelihood` and
`sefar_mllm.model.head`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from mllm_sources import (
    easy_questions,
    easy_store,
    question_file,
    tiny_causal,
    tiny_folder,
    tiny_tokenizer,
)
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

import sefar_mllm.inference.generation
from gym_qa.questions.questions import Question
from projector.base import ProjectorSpec
from projector.build import build_projector
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.inference.generation import generate_replies, said
from sefar_mllm.inference.likelihood import log_likelihoods, settle_frequencies
from sefar_mllm.inference.multiple_choice import encode_question, score_questions
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.language_model import load_language_model
from sefar_mllm.model.lora import LoraOptions, add_lora
from sefar_mllm.model.merge import MergeConfig, merge
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import VIDEO_ID, PromptConfig
from sefar_mllm.model.suitable import embedding_width, most_positions


@dataclass(frozen=True)
class Kind:
    """A family's configuration; ``shares``: whether options can share a pass over prompts of 100 tokens."""

    family: str
    shares: bool = True
    sizes: dict[str, Any] = field(default_factory=dict)


LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8}
ROPE = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
KINDS = {
    "full attention": Kind("llama"),
    "sliding window in every layer": Kind("mistral", sizes={"sliding_window": 16}),
    "sliding window in some layers": Kind(
        "gemma3_text",
        sizes={"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "attention sinks, mixture of experts": Kind(
        "gpt_oss", sizes={"sliding_window": 16, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "attention in chunks": Kind(
        "llama4_text",
        sizes={
            "attention_chunk_size": 16,
            "num_local_experts": 2,
            "intermediate_size_mlp": 64,
            "layer_types": ["chunked_attention", "full_attention"],
        },
    ),
    "gated delta rule": Kind("qwen3_5_text", False, {**LINEAR, "num_hidden_layers": 4}),
    "short convolutions": Kind("lfm2", False, {"layer_types": ["conv", "full_attention"]}),
    "mamba, logits_scaling": Kind(
        "granitemoehybrid",
        False,
        {**MAMBA, "layer_types": ["mamba", "full_attention"], "num_local_experts": 0, "logits_scaling": 4.0},
    ),
    "mamba beside attention, lm_head_multiplier": Kind(
        "falcon_h1", False, {**MAMBA, "mamba_d_ssm": 64, "mamba_n_groups": 1, "lm_head_multiplier": 0.5}
    ),
    "ALiBi": Kind("mpt", False, {"d_model": 32, "n_heads": 4, "n_layers": 2}),
    "ALiBi, no position_ids": Kind("bloom", False, {"n_layer": 2, "n_head": 4}),
    "local attention": Kind(
        "gpt_neo",
        False,
        {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 16},
    ),
    "learned positions": Kind("gpt2", sizes={"n_positions": 256}),
    "embedding narrower than the model": Kind(
        "opt", sizes={"word_embed_proj_dim": 16, "ffn_dim": 64, "do_layer_norm_before": False}
    ),
    "positions past the trained length": Kind(
        "llama", sizes={"max_position_embeddings": 24, "rope_parameters": ROPE}
    ),
    "no cache": Kind("rwkv", False, {"attention_hidden_size": 32}),
    "soft-capped logits": Kind("gemma2", sizes={"final_logit_softcapping": 3.0, "sliding_window": 16}),
    "logits_scaling": Kind("granite", sizes={"logits_scaling": 4.0}),
    "logit_scale": Kind("cohere", sizes={"logit_scale": 0.25}),
    "the decoder of BART": Kind(
        "bart",
        False,
        {
            "d_model": 32,
            "decoder_layers": 2,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 64,
            "is_decoder": True,
            "is_encoder_decoder": False,
        },
    ),
    "embeddings for every layer": Kind(
        "gemma4_text",
        sizes={
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 349,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 16,
            "num_kv_shared_layers": 0,
        },
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    question_file(folder / "questions.jsonl", easy_questions(4))
    easy_store(folder / "features", easy_questions(4))
    return folder


def settings(world: Path, name: str, output: Path) -> FinetuneConfig:
    kind = KINDS[name]
    return FinetuneConfig(
        questions=world / "questions.jsonl",
        output=output,
        features=world / "features",
        language_model=str(tiny_folder(output.parent / "lm", kind=kind.family, spread=0.3, **kind.sizes)),
        precision="fp32",
        lora=LoraOptions(rank=4),
        max_steps=2,
        batch_size=2,
        align_steps=5,
        learning_rate=1e-2,
        trainer={"disable_tqdm": True, "use_cpu": True},
    )


@torch.no_grad()
def plainly(model: SefarMLLM, prompt: list[int], candidate: tuple[int, ...], features: torch.Tensor) -> float:
    """One full pass of prompt and candidate, no cache, no mask, the library's own logits."""
    ids = torch.tensor([[*prompt, *candidate]])
    logits = model.causal(**model.inputs(ids, features), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + k, token]) for k, token in enumerate(candidate))


@pytest.mark.parametrize("name", KINDS)
def test_kind(world, tmp_path, caplog, name):
    with caplog.at_level("INFO", "sefar_mllm"):
        run = finetune(settings(world, name, tmp_path / "run"))
    said = caplog.text.count("options cannot share a pass")
    assert said == (0 if KINDS[name].shares else 1)

    model = SefarMLLM.from_pretrained(run)
    questions = easy_questions(2)
    views = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    rows = [encode_question(model, question, with_video=True) for question in questions]
    candidates = [(*row.letters, *row.texts) for row in rows]
    together = log_likelihoods(model, [row.prompt for row in rows], candidates, views)
    assert model.shares_passes == KINDS[name].shares
    for number, row in enumerate(rows):
        view = views[number : number + 1]
        found = log_likelihoods(model, [row.prompt], candidates[number : number + 1], view)
        assert found == together[number : number + 1]
        expected = [plainly(model, list(row.prompt), one, view) for one in candidates[number]]
        assert found[0] == pytest.approx(expected, abs=2e-5)
        assert max(found[0]) - min(found[0]) > 1e-2  # there is something to be wrong about

    merged = SefarMLLM.from_pretrained(merge(MergeConfig(run, tmp_path / "merged", "fp32")))
    again = log_likelihoods(merged, [rows[0].prompt], candidates[:1], views[:1])
    assert again[0] == pytest.approx(together[0], abs=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_replies_are_those_of_full_passes(tmp_path, monkeypatch, name):
    """To prompts of several lengths in one batch, by the library's cache where it can be used."""
    monkeypatch.setattr(sefar_mllm.inference.generation, "NEW_TOKENS", 4)
    kind = KINDS[name]
    causal = tiny_causal(kind.family, spread=0.3, **kind.sizes)
    spec = ProjectorSpec("mlp", 8, embedding_width(causal.config), 3, 3)
    config = MLLMConfig("tiny", projector=spec)
    model = SefarMLLM(causal, tiny_tokenizer(), build_projector(spec), config).eval()
    questions = [*easy_questions(1), Question("q", "train0001", "Which?", ("leap", "hop"), 0)]
    store = easy_store(tmp_path, easy_questions(2))
    prompter = model.prompter
    replies = generate_replies(model, questions, store, batch_size=2, progress=False)
    for question, reply in zip(questions, replies, strict=True):
        view = model.standardize(store[question.video][:1])
        answers = [prompter.ids(prompter.answer(n, question.options)) for n in range(len(question.options))]
        prompt, new = list(encode_question(model, question, with_video=True).prompt), []
        settle_frequencies(causal, len(prompt) + max(4, *map(len, answers)))
        while len(new) < 4 and prompter.eos[0] not in new:
            inputs = model.inputs(torch.tensor([[*prompt, *new]]), view)
            with torch.no_grad():
                new.append(int(model.causal(**inputs, use_cache=False).logits[0, -1].argmax()))
        assert reply.startswith(said(prompter, question, answers, new).rstrip("\ufffd"))


def test_checked_again_for_longer_prompts():
    """A window that short prompts do not reach shows in the first long one."""
    causal = tiny_causal("gpt_neo", spread=0.3, **{**KINDS["local attention"].sizes, "window_size": 64})
    model = SefarMLLM(causal, tiny_tokenizer(), None, MLLMConfig("tiny")).eval()
    options = [[1, 2, 3, 4], [1, 2, 5, 6]]
    log_likelihoods(model, [list(range(20))], [options])
    assert model.shares_passes
    found = log_likelihoods(model, [list(range(100))], [options])[0]
    assert not model.shares_passes
    no_features = torch.empty(0)
    assert found == pytest.approx(
        [plainly(model, list(range(100)), one, no_features) for one in options], abs=2e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "name", ["full attention", "sliding window in some layers", "ALiBi", "gated delta rule"]
)
def test_rounding_is_told_from_error(name, dtype):
    """In bfloat16 the two ways agree to tenths of a nat only, and the wrong ones must still be found."""
    kind = KINDS[name]
    causal = tiny_causal(kind.family, spread=0.3, **kind.sizes).to(dtype)
    model = SefarMLLM(causal, tiny_tokenizer(), None, MLLMConfig("tiny")).eval()
    log_likelihoods(model, [list(range(40))], [[[1, 2, 3, 4], [1, 2, 5, 6]]])
    assert model.shares_passes == kind.shares


ENCODERS = {"bert": AutoModelForMaskedLM, "roberta": AutoModelForMaskedLM, "electra": AutoModelForMaskedLM}


@pytest.mark.parametrize("family", ENCODERS)
def test_models_that_read_in_both_directions_are_refused(tmp_path, family):
    config = AutoConfig.for_model(family, **{**sizes_of_bert(), "embedding_size": 32})
    ENCODERS[family].from_config(config).save_pretrained(tmp_path)
    with pytest.raises(SefarMLLMError, match="both directions"):
        load_language_model(str(tmp_path))
    with pytest.raises(SefarMLLMError, match="both directions"):
        SefarMLLM(AutoModelForCausalLM.from_config(config), tiny_tokenizer(), None, MLLMConfig("tiny"))


def sizes_of_bert() -> dict[str, int]:
    return {
        "vocab_size": 349,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("t5", {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4, "vocab_size": 349}),
        ("bart", {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 349}),
    ],
)
def test_encoder_decoders_are_refused(world, tmp_path, family, sizes):
    AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(SefarMLLMError, match="encoder-decoder"):
        load_language_model(str(tmp_path))


def test_what_is_no_language_model_is_refused(tmp_path):
    config = AutoConfig.for_model("distilbert", vocab_size=349, dim=32, hidden_dim=64, n_layers=1, n_heads=4)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(SefarMLLMError, match="no causal language model"):
        load_language_model(str(tmp_path))


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("gpt2", {"n_positions": 40}),
        ("gptj", {"n_positions": 40, "rotary_dim": 4}),
        ("opt", {"max_position_embeddings": 40}),
    ],
)
def test_too_few_positions_are_said_before_training(world, tmp_path, family, sizes):
    KINDS["short"] = Kind(family, True, sizes)
    try:
        config = settings(world, "short", tmp_path / "run")
    finally:
        del KINDS["short"]
    with pytest.raises(SefarMLLMError, match=r"take \d\d tokens, .* has positions for 40"):
        finetune(config)
    assert not (tmp_path / "run/sefar_mllm.json").exists()
    assert not list((tmp_path / "run").glob("steps/*"))


def test_rotary_positions_go_on():
    assert most_positions(tiny_causal("llama", max_position_embeddings=24)) is None


def test_unlisted_options_without_video_score_alone(world, tmp_path):
    """What a text is worth without video may not depend on which others are asked about, to the last bit."""
    spec = ProjectorSpec("mlp", 8, 32, 3, 3)
    prompt = PromptConfig(list_options=False)
    causal = add_lora(tiny_causal(spread=0.3).to(torch.bfloat16), LoraOptions(rank=4))
    model = SefarMLLM(
        causal, tiny_tokenizer(), build_projector(spec), MLLMConfig("t", prompt=prompt, projector=spec)
    )
    questions = easy_questions(6)
    store = easy_store(tmp_path, questions)
    every = score_questions(model.eval(), questions, store, progress=False)
    assert score_questions(model, questions[2:3], store, progress=False) == every[2:3]
    assert VIDEO_ID in encode_question(model, questions[0], True).prompt
