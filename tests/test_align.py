"""The projector is aligned with what the decoder is given for words, not with the embedding's weights."""

from __future__ import annotations

import pytest
import torch
from mllm_sources import NAMES, easy_questions, easy_store, tiny_causal, tiny_tokenizer

from projector.base import ProjectorSpec
from projector.build import build_projector
from sefar_mllm.finetuning.align import align_projector, answer_embeddings
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.mllm import SefarMLLM

SPEC = ProjectorSpec("mlp", 8, 32, 3, 3)
FAMILIES = ["llama", "gemma2", "gemma3_text"]


def model_of(family: str) -> SefarMLLM:
    torch.manual_seed(0)
    config = MLLMConfig("tiny", projector=SPEC)
    return SefarMLLM(tiny_causal(family), tiny_tokenizer(), build_projector(SPEC), config)


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_what_the_embedding_layer_gives(family):
    model = model_of(family)
    means, size = answer_embeddings(model, NAMES[:3])
    layer = model.causal.get_input_embeddings()
    given = layer(torch.arange(len(layer.weight))).detach()
    assert float(size) == pytest.approx(float(given.pow(2).mean().sqrt()), rel=1e-4)
    if family == "gemma3_text":  # scaled by the root of its width, 32
        assert float(size) == pytest.approx(
            32**0.5 * float(layer.weight.detach().pow(2).mean().sqrt()), rel=1e-4
        )
    prompter = model.prompter
    for mean, name in zip(means, NAMES[:3], strict=True):
        ids = torch.tensor([prompter.ids(prompter.answer(0, [name], "text")[:-1])])
        torch.testing.assert_close(mean, model.embed(ids, None)[0].mean(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_video_tokens_get_the_size_of_words(tmp_path, family):
    model = model_of(family)
    questions = easy_questions(12)
    store = easy_store(tmp_path, questions)
    align_projector(model, questions, store, steps=300, seed=0, progress=False)
    with torch.no_grad():
        tokens = model.projector(model.standardize(torch.stack([store[q.video][0] for q in questions])))
        words = model.causal.get_input_embeddings()(torch.arange(len(model.tokenizer)))
    ratio = float(tokens.pow(2).mean().sqrt() / words.pow(2).mean().sqrt())
    assert 0.7 < ratio < 1.4
