"""Whole multimodal models: every family is shown all frames in their order and time, and answers exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from multimodal_families import FAMILIES
from tiny_multimodal import ASKED, TIMES, loaded, shot

from sefar_mllm.inference.multimodal import WholeModel
from sefar_mllm.inference.multimodal_answers import Answerer

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=FAMILIES)
def whole(request, tmp_path_factory):
    return loaded(request.param, tmp_path_factory)


@torch.no_grad()
def last_logits(whole: WholeModel, frames: np.ndarray) -> torch.Tensor:
    whole.fresh()
    return whole.model(**whole.inputs(ASKED, shot(frames))).logits[0, -1]


def test_every_frame_reaches_the_answer_in_its_place(whole):
    frames = shot().frames
    right = last_logits(whole, frames)
    assert torch.equal(right, last_logits(whole, frames))
    for place in range(len(frames)):
        changed = frames.copy()
        changed[place] = 255 - changed[place]
        assert not torch.equal(right, last_logits(whole, changed)), f"frame {place} changes nothing"
    for place in range(len(frames) - 1):
        order = list(range(len(frames)))
        order[place : place + 2] = [place + 1, place]
        assert not torch.equal(right, last_logits(whole, frames[order])), f"frames {place}, {place + 1}"


@torch.no_grad()
def test_every_frame_has_a_time_of_its_own(whole):
    seen = []
    hooks = [
        part.register_forward_pre_hook(
            lambda _, args, given: seen.append(given.get("position_ids")), with_kwargs=True
        )
        for name, part in whole.model.named_modules()
        if name.endswith(("language_model", "text_model", "model.transformer"))
    ]
    inputs = whole.inputs(ASKED, shot())
    whole.model(**inputs)
    for hook in hooks:
        hook.remove()
    assert len(seen) == 1
    visual = whole.visual[0]
    steps = len(TIMES)
    if "video_grid_thw" in inputs and whole.as_video and "Llama3" not in whole.kind:
        steps = int(inputs["video_grid_thw"].reshape(-1, 3)[:, 0].sum())
        assert steps * whole.processor.video_processor.temporal_patch_size == len(TIMES)
    if seen[0] is None or seen[0].dim() < 3:
        places = torch.arange(len(visual)) if seen[0] is None else seen[0].reshape(-1, len(visual))[-1]
        assert (places.diff() > 0).all()
        assert int(visual.sum()) >= steps
        return
    times = seen[0][-3, 0, visual].reshape(steps, -1)  # M-RoPE's row of time
    assert (times == times[:, :1]).all()
    assert times[:, 0].unique().numel() == steps


def plain_score(whole: WholeModel, inputs: dict[str, torch.Tensor], answer: list[int]) -> float:
    """log p of an answer by the model's own pass over the whole sequence, token after token."""
    given, total = dict(inputs), 0.0
    for token in answer:
        whole.fresh()
        total += float(whole.model(**given, use_cache=False).logits[0, -1].double().log_softmax(-1)[token])
        more = torch.tensor([[token]])
        for name, value in (
            ("input_ids", more),
            ("attention_mask", more * 0 + 1),
            ("mm_token_type_ids", more * 0),
        ):
            if name in given:
                given[name] = torch.cat([given[name], value], 1)
    return total


@torch.no_grad()
def test_likelihoods_are_those_of_whole_passes(whole):
    answerer, inputs = Answerer(whole), whole.inputs(ASKED, shot())
    scores = answerer.scores(inputs, ASKED)
    for option, name in enumerate(ASKED.options):
        letter = plain_score(whole, inputs, whole.answer_ids("ABCD"[option], False))
        text = plain_score(whole, inputs, whole.answer_ids(name, True))
        assert scores["letter"][option] == pytest.approx(letter, abs=2e-3)
        assert scores["text_sum"][option] == pytest.approx(text, abs=2e-3)
    assert len(set(scores["text_sum"])) == 4


@torch.no_grad()
def test_replies_are_greedy(whole):
    answerer, inputs = Answerer(whole), whole.inputs(ASKED, shot())
    given, words = dict(inputs), []
    for _ in range(6):
        whole.fresh()
        words.append(int(whole.model(**given, use_cache=False).logits[0, -1].argmax()))
        more = torch.tensor([[words[-1]]])
        for name, value in (
            ("input_ids", more),
            ("attention_mask", more * 0 + 1),
            ("mm_token_type_ids", more * 0),
        ):
            if name in given:
                given[name] = torch.cat([given[name], value], 1)
    if whole.end in words:
        words = words[: words.index(whole.end)]
    expected = whole.tokenizer.decode(words, skip_special_tokens=True).strip()
    assert answerer.reply(inputs, ASKED.options).startswith(expected)


@torch.no_grad()
def test_a_prompt_without_video_is_the_same_after_one_with(whole):
    blind = whole.inputs(ASKED, None)
    before = Answerer(whole).scores(blind, ASKED)
    answerer = Answerer(whole)
    answerer.scores(whole.inputs(ASKED, shot()), ASKED)
    assert answerer.scores(whole.inputs(ASKED, None), ASKED) == before
