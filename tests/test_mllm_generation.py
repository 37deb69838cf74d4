"""Reading replies strictly, and generating them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mllm_sources import easy_questions, easy_store
from test_mllm_scoring import tiny_model
from transformers import GenerationConfig

from sefar_mllm.generation import NEW_TOKENS, generate_replies
from sefar_mllm.reply import read_answer
from sefar_mllm.scoring import log_likelihoods

OPTIONS = ("salto backward tucked", "double salto", "giant circle", "leap")


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("The gymnast performs a salto backward tucked", None),
        ("Based on the video", None),
        ("Double salto", 1),  # an option, quoted exactly but for its case
        ("Double salto with turn", None),
        ("double", None),
        (")", None),
        ("(", None),
        ("", None),
        ("A or B", None),
        ("A, B", None),
        ("I can't tell", None),
        ("The answer is (C).", 2),
        ("d", 3),
        ("A", 0),
        ("(A)", 0),
        ("A.", 0),
        ("B)", 1),
        ("Answer: A", 0),
        ("answer: D.", 3),
        ("The answer is a salto", None),
        ("The answer is a", None),
        ("The answer is A salto", None),
        ("A salto", None),
        ("I", None),
        ("E", None),
        ("(A", None),
        ("A. salto backward tucked", 0),
        ("A. double salto", None),  # the letter and the text contradict one another
        ("(B) Double salto.", 1),
        ("The answer is C. giant circle", 2),
        ('"leap"', 3),
        ("Leap.", 3),
        ("The answer is leap", 3),
        ("  C\n", 2),
        ("AB", None),
        ("Option B", 1),
        ("A\nB", None),
    ],
)
def test_verdicts(reply, verdict):
    assert read_answer(reply, OPTIONS) == verdict


def test_double_salto_without_such_an_option_is_unreadable():
    assert read_answer("Double salto", ("a", "b", "c", "d")) is None


def test_text_of_two_options_is_unreadable():
    assert read_answer("leap", ("leap", "Leap.", "salto")) is None


@given(st.text(max_size=60))
def test_any_reply_is_read_or_refused(reply):
    verdict = read_answer(reply, OPTIONS)
    assert verdict is None or 0 <= verdict < 4
    # Surplus words around a reply make it unreadable: nothing is looked for inside.
    assert read_answer(f"Well then {reply} I believe so", OPTIONS) is None


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
