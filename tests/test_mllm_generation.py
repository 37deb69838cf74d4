"""Generating replies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from mllm_runs import tiny_model
from mllm_sources import easy_questions, easy_store
from transformers import GenerationConfig

from gym_qa.questions.reply import read_answer
from sefar_mllm.inference.generation import NEW_TOKENS, generate_replies
from sefar_mllm.inference.likelihood import log_likelihoods


def test_replies_are_greedy_and_batching_changes_none(tmp_path):
    model = tiny_model()
    questions = easy_questions(3)
    store = easy_store(tmp_path, questions)
    together = generate_replies(model, questions, store, batch_size=3, progress=False)
    alone = generate_replies(model, questions, store, batch_size=1, progress=False)
    assert together == alone
    question = questions[0]
    prompt = model.prompter.ids(model.prompter.prefix(question.question, question.options))
    every = [[token] for token in range(len(model.tokenizer))]
    scores = log_likelihoods(model, [prompt], [every], store[question.video][:1])[0]
    first = model.tokenizer.decode([int(torch.tensor(scores).argmax())])
    assert together[0].startswith(first)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 5.0},
        {"num_beams": 4, "length_penalty": -3.0},
        {"do_sample": True, "temperature": 9.0, "top_k": 0},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": list(range(300)), "min_new_tokens": 20},
        {"max_length": 3, "max_new_tokens": 2},
        {"forced_eos_token_id": 5, "bad_words_ids": [[n] for n in range(100)]},
    ],
)
def test_the_models_own_generation_settings_change_nothing(tmp_path, settings):
    model = tiny_model()
    questions = easy_questions(3)
    store = easy_store(tmp_path, questions)
    plain = generate_replies(model, questions, store, progress=False)
    own = GenerationConfig(**settings)
    model.causal.generation_config = own
    torch.manual_seed(1)
    assert generate_replies(model, questions, store, progress=False) == plain
    assert model.causal.generation_config is own  # and is saved with a merged model as it was


def test_a_reply_has_room_for_the_longest_option(tmp_path, monkeypatch):
    """A class name may take more tokens than the usual reply: cut off, it could not be read."""
    model, asked = tiny_model(), []
    long = tuple(f"{n} " + "leap forward with leg change " * 9 for n in range(2))
    question = replace(easy_questions(1)[0], options=long, answer=0)
    told = model.prompter.ids(model.prompter.answer(1, long))
    assert len(told) > NEW_TOKENS

    def reply(inputs_embeds, attention_mask, generation_config):
        asked.append(generation_config.max_new_tokens)
        return torch.tensor([told[: generation_config.max_new_tokens]])

    monkeypatch.setattr(model.causal, "generate", reply)
    [text] = generate_replies(model, [question], None, progress=False)
    assert asked == [len(told)]
    assert read_answer(text, long) == 1
