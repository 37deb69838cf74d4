"""Reading replies strictly, and generating them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mllm_sources import easy_questions, easy_store
from test_mllm_scoring import tiny_model

from sefar_mllm.generation import generate_replies
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
