"""Likelihoods behind a shared prompt equal one full pass per candidate."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mllm_runs import tiny_model
from mllm_sources import easy_questions, easy_store

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.likelihood import Tree, log_likelihoods
from sefar_mllm.inference.multiple_choice import score_questions
from sefar_mllm.inference.score_rules import SCORE_RULES, ScoreRule, choose, deciding_rule
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import VIDEO_ID, PromptConfig


@torch.no_grad()
def plainly(
    model: SefarMLLM, prompt: list[int], candidate: list[int], features: torch.Tensor | None
) -> float:
    """One full pass, no cache, no padding, the library's own logits."""
    ids = torch.tensor([[*prompt, *candidate]])
    embedded = model.embed(ids, None if features is None else features[None])
    logits = model.causal(inputs_embeds=embedded).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + k, token]) for k, token in enumerate(candidate))


PROMPT = st.lists(st.integers(0, 300), min_size=1, max_size=12)
CANDIDATES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def llama() -> SefarMLLM:
    return tiny_model()


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(PROMPT, CANDIDATES, st.booleans()), min_size=1, max_size=4))
def test_equals_one_pass_per_candidate(llama, rows):
    with_video = rows[0][2]
    prompts = [([VIDEO_ID] * 3 if with_video else []) + prompt for prompt, _, _ in rows]
    features = torch.randn(len(rows), 3, 8) if with_video else None
    found = log_likelihoods(llama, prompts, [candidates for _, candidates, _ in rows], features)
    for number, (_, candidates, _) in enumerate(rows):
        shown = None if features is None else features[number]
        expected = [plainly(llama, prompts[number], candidate, shown) for candidate in candidates]
        assert found[number] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["qwen2", "gemma2", "mistral"])
def test_other_architectures(kind):
    model = tiny_model(kind)
    prompts = [[VIDEO_ID] * 3 + [5, 6, 7], [9] + [VIDEO_ID] * 3]
    candidates = [[[1, 2, 3], [1, 2], [4]], [[7, 7, 7, 7]]]
    features = torch.randn(2, 3, 8)
    found = log_likelihoods(model, prompts, candidates, features)
    for number in range(2):
        expected = [plainly(model, prompts[number], row, features[number]) for row in candidates[number]]
        assert found[number] == pytest.approx(expected, abs=1e-4)


@given(CANDIDATES)
def test_tree_spells_every_candidate(candidates):
    tree = Tree.of(candidates)
    sees = tree.ancestry()
    for candidate, path in zip(candidates, tree.paths, strict=True):
        assert path[0] == -1
        assert [tree.tokens[node] for node in path[1:]] == candidate[:-1]
        assert [tree.depths[node] for node in path[1:]] == list(range(len(candidate) - 1))
        for node in path[1:]:  # a node sees its ancestors, itself, and nothing else
            assert set(sees[node].nonzero().flatten().tolist()) == set(path[1 : path.index(node) + 1])
    assert len(tree.tokens) == len({tuple(c[: k + 1]) for c in candidates for k in range(len(c) - 1)})


@pytest.mark.parametrize("answer", ["letter", "text", "both"])
def test_batching_changes_no_score(tmp_path, answer):
    model = tiny_model(prompt=PromptConfig(answer=answer))
    questions = easy_questions(7)
    store = easy_store(tmp_path, questions)
    alone = score_questions(model, questions, store, batch_size=1, progress=False)
    together = score_questions(model, questions, store, batch_size=5, progress=False)
    for one, other in zip(alone, together, strict=True):
        assert set(one) == {"letter", "text_sum", "text_mean", "text_pmi"}
        for name in one:
            assert one[name] == pytest.approx(other[name], abs=1e-4)


def test_scores_are_what_they_say(tmp_path):
    model = tiny_model()
    question = easy_questions(1)[0]
    store = easy_store(tmp_path, [question])
    scores = score_questions(model, [question], store, progress=False)[0]
    prompter = model.prompter
    prompt = prompter.ids(prompter.prefix(question.question, question.options))
    blind = prompter.ids(prompter.prefix(question.question, question.options, with_video=False))
    view = store[question.video][0]
    for number in range(4):
        text = prompter.ids(prompter.answer(number, question.options, "text"))
        total = plainly(model, prompt, text, view)
        assert scores["text_sum"][number] == pytest.approx(total, abs=1e-4)
        assert scores["text_mean"][number] == pytest.approx(total / len(text), abs=1e-4)
        assert scores["text_pmi"][number] == pytest.approx(
            total - plainly(model, blind, text, None), abs=2e-4
        )
        letter = model.tokenizer("ABCD"[number])["input_ids"]
        assert scores["letter"][number] == pytest.approx(plainly(model, prompt, letter, view), abs=1e-4)


def test_without_list_letters_mean_nothing(tmp_path):
    model = tiny_model(prompt=PromptConfig(list_options=False))
    questions = easy_questions(2)
    scores = score_questions(model, questions, easy_store(tmp_path, questions), progress=False)
    assert all("letter" not in row for row in scores)
    with pytest.raises(SefarMLLMError, match="lists the options"):
        deciding_rule(model.settings.prompt, True, "letter")


def test_a_rule_is_one_entry(tmp_path, monkeypatch):
    model, questions = tiny_model(), easy_questions(2)
    longest = ScoreRule(lambda options: [float(length) for length in options.lengths])
    monkeypatch.setitem(SCORE_RULES, "longest", longest)
    scores = score_questions(model, questions, easy_store(tmp_path, questions), progress=False)
    for question, by_rule in zip(questions, scores, strict=True):
        encoded = [model.prompter.answer(n, question.options, "text") for n in range(4)]
        assert by_rule["longest"] == [len(model.prompter.ids(option)) for option in encoded]
    assert deciding_rule(model.settings.prompt, True, "longest") == "longest"
    with pytest.raises(SefarMLLMError, match="there are letter, text_sum, text_mean, text_pmi, longest"):
        deciding_rule(model.settings.prompt, True, "shortest")


def test_choice_and_probabilities():
    choice, probabilities = choose([0.0, 1.0, 0.0])
    assert choice == 1
    assert probabilities == pytest.approx(
        [1 / (2 + torch.e)] * 1 + [torch.e / (2 + torch.e)] + [1 / (2 + torch.e)]
    )
    assert choose([float("nan"), 0.0])[0] is None
    assert choose([-math.inf, 0.5, 0.5 - math.log(3)]) == (1, pytest.approx([0, 0.75, 0.25]))
    assert choose([-math.inf, -math.inf])[0] is None
    assert choose([math.inf, 0.0])[0] is None
