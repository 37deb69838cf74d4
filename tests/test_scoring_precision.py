"""Scores in half precision: no ties among letters, and none that depends on what else is asked."""

from __future__ import annotations

import pytest
import torch
from mllm_sources import easy_questions, easy_store, tiny_causal, tiny_tokenizer
from torch.nn import functional as F

from projector.base import ProjectorSpec
from projector.build import build_projector
from sefar_mllm.inference.multiple_choice import score_questions
from sefar_mllm.inference.respondent import autocast
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.head import chosen_logits
from sefar_mllm.model.language_model import EMBEDDED
from sefar_mllm.model.lora import LoraOptions, add_lora
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import PromptConfig


def test_the_embedded_model_in_bfloat16(tmp_path):
    """Measured before: 45 of 120 pairs of best letters were equal, batches of 16 moved sums by 0.71 nats."""
    torch.manual_seed(0)
    spec = ProjectorSpec("mlp", 8, 576, 3, 3)
    settings = MLLMConfig(prompt=PromptConfig(system=""), projector=spec)
    assert settings.language_model == EMBEDDED
    model = SefarMLLM.build(settings, LoraOptions(rank=2), torch.bfloat16).eval()
    questions = easy_questions(3)
    store = easy_store(tmp_path, questions)
    with autocast(model):
        together = score_questions(model, questions, store, batch_size=3, progress=False)
        alone = score_questions(model, questions[1:2], store, batch_size=1, progress=False)
    for name, values in alone[0].items():
        assert values == pytest.approx(together[1][name], abs=1e-3)
    for row in together:
        assert len(set(row["letter"])) == 4
    # In bfloat16 logits near 20 lie on a grid of 1/8.
    steps = [8 * (value - row["letter"][0]) % 1 for row in together for value in row["letter"][1:]]
    assert any(0.05 < step < 0.95 for step in steps)


def head_inputs(causal, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states that the output head is given."""
    seen: list[torch.Tensor] = []
    hook = causal.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    causal(input_ids=ids, use_cache=False)
    hook.remove()
    return seen[0]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("targets", ["all-linear", "q_proj, lm_head"])
def test_the_heads_product_is_in_float32(dtype, targets):
    causal = tiny_causal(spread=0.3).to(dtype)
    adapted = add_lora(causal, LoraOptions(rank=2, targets=targets)).eval()
    ids = torch.randint(0, 300, (2, 7))
    chosen = torch.zeros(2, 7, dtype=torch.bool)
    chosen[0, 2] = chosen[1, 3:5] = True
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        hidden = head_inputs(adapted.get_base_model(), ids)[chosen]
        found = chosen_logits(adapted.get_base_model(), chosen, True, input_ids=ids)
    weight = dict(adapted.named_parameters())
    name = "base_layer." if "lm_head" in targets else ""
    exact = F.linear(hidden.double(), weight[f"base_model.model.lm_head.{name}weight"].double())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    assert "forward" not in vars(causal.get_output_embeddings())  # put back


def test_the_head_is_put_back_after_an_error():
    causal = tiny_causal()
    with pytest.raises(ValueError, match="input_ids"):
        chosen_logits(causal, torch.ones(1, 2, dtype=torch.bool), False, input_ids=None)
    assert "forward" not in vars(causal.get_output_embeddings())


def test_half_precision_and_batches_on_a_tiny_model(tmp_path):
    spec = ProjectorSpec("mlp", 8, 32, 3, 3)
    causal = add_lora(tiny_causal(spread=0.3).to(torch.bfloat16), LoraOptions(rank=4))
    config = MLLMConfig("tiny", projector=spec)
    model = SefarMLLM(causal, tiny_tokenizer(), build_projector(spec), config).eval()
    questions = easy_questions(6)
    store = easy_store(tmp_path, questions)
    with autocast(model):
        together = score_questions(model, questions, store, batch_size=6, progress=False)
        for number in range(6):  # to the last bit
            one = score_questions(model, questions[number : number + 1], store, progress=False)
            assert one == together[number : number + 1]
