"""Prompts by every kind of tokenizer: the same ids once saved, one beginning of sequence, words as words."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import transformers.utils.chat_template_utils as chat_templates
from hypothesis import given, settings
from hypothesis import strategies as st
from mllm_runs import config, log
from mllm_sources import NAMES, QUESTION, easy_questions, easy_store, question_file, tiny_causal
from tokenizer_kinds import CHAT_TEMPLATE, KINDS, byte_level, language_model_of, llama, tokenizer_of
from transformers import AutoTokenizer

from gym_qa.questions.questions import Question
from gym_qa.questions.reply import read_answer
from projector.base import ProjectorSpec
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.inference.generation import said
from sefar_mllm.inference.multiple_choice import encode_question
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.language_model import load_tokenizer
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import VIDEO_ID, PromptConfig, Prompter

OPTIONS = tuple(NAMES[:4])
FORMS = ("letter", "text", "both")
CONTROL = (
    "</s>",
    "<s>",
    "<unk>",
    "<|im_end|>",
    "<|im_start|>assistant",
    "[INST]",
    "<think>",
    "<｜User｜>",
    "▁",
)
UNSEEN = "Is “it” naïve, 12 × 3?\n Łódź </s><s>[INST]"  # nothing of it was in a tokenizer's training


@pytest.fixture(scope="module")
def prompters(tmp_path_factory) -> dict[str, Prompter]:
    """One of each kind, with places for two video tokens."""
    folder = tmp_path_factory.mktemp("kinds")
    config = PromptConfig(max_length=10_000)
    return {
        kind: Prompter(tokenizer_of(kind, folder / str(number)), config, 2, kind)
        for number, kind in enumerate(KINDS)
    }


def prompts(prompter: Prompter) -> list[list[int]]:
    """Ids of prompts of every sort, and of every answer."""
    found = [
        prompter.encode(question, OPTIONS, 1, with_video, words).ids
        for question in (QUESTION, UNSEEN)
        for with_video, words in ((True, ""), (False, ""), (False, OPTIONS[1]))
    ]
    return [*found, *(prompter.ids(prompter.answer(n, OPTIONS, form)) for n in range(4) for form in FORMS)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_writes_the_ids_of_the_training(kind, tmp_path):
    folder = language_model_of(kind, tmp_path / "lm")
    prompt = PromptConfig(style="vicuna" if kind.startswith("vicuna") else "auto")
    config = MLLMConfig(str(folder), prompt=prompt, projector=ProjectorSpec("linear", 8, 32, 3, 3))
    model = SefarMLLM.build(config, LoraOptions(rank=2, targets="q_proj"))
    model.save_pretrained(tmp_path / "model")
    loaded = SefarMLLM.from_pretrained(tmp_path / "model")
    assert prompts(loaded.prompter) == prompts(model.prompter)
    loaded.save_pretrained(tmp_path / "again")
    assert prompts(SefarMLLM.from_pretrained(tmp_path / "again").prompter) == prompts(model.prompter)
    question = Question("q", "clip", QUESTION, OPTIONS, 2)
    assert encode_question(loaded, question, True) == encode_question(model, question, True)


def test_a_prompt_begins_as_the_tokenizer_begins_a_text(prompters):
    for kind, prompter in prompters.items():
        tokenizer, bos = prompter.tokenizer, prompter.tokenizer.bos_token_id
        own = tokenizer("x")["input_ids"][0] == bos
        frame = prompter.frame
        written = (frame.before + frame.after).count(tokenizer.bos_token)
        first = frame.before.startswith(tokenizer.bos_token)
        for with_video in (True, False):
            ids = prompter.ids(prompter.prefix(QUESTION, OPTIONS, with_video))
            assert (ids[0] == bos) == (own or first), kind
            assert ids.count(bos) == written + (own and not first), kind
        for form in FORMS:
            assert bos not in prompter.ids(prompter.answer(1, OPTIONS, form)), kind


def test_the_candidates_are_the_end_of_the_prompt(prompters):
    for kind, prompter in prompters.items():
        for n in range(4):
            candidate = prompter.ids(prompter.answer(n, OPTIONS))
            assert prompter.encode(QUESTION, OPTIONS, n).ids[-len(candidate) :] == candidate, kind


@pytest.mark.parametrize("form", FORMS)
def test_own_replies_are_read(prompters, form):
    for kind, prompter in prompters.items():
        config = PromptConfig(answer=form, max_length=10_000)
        own = Prompter(prompter.tokenizer, config, 2, kind)
        question = Question("q", "clip", QUESTION, OPTIONS, 0)
        answers = [own.ids(own.answer(n, OPTIONS)) for n in range(4)]
        for n, ids in enumerate(answers):
            assert read_answer(said(own, question, answers, [*ids, *own.eos]), OPTIONS) == n, kind
            if kind != "words":  # which has no capitals, and a space before every sign
                decoded = own.tokenizer.decode(ids, skip_special_tokens=True)
                assert read_answer(decoded, OPTIONS) == n, kind


def test_the_answer_follows_as_in_one_text(prompters):
    """Vicuna's "ASSISTANT: answer", Mistral's "[/INST] answer": the ids of the whole, not of the pieces."""
    for kind in ("vicuna", "vicuna, legacy", "vicuna, tokenizer.json", "byte-level"):
        prompter = prompters[kind]
        before, after = prompter.frame.after.strip(), OPTIONS[0]
        whole = prompter.text.start(f"{before} {after}")
        assert whole[-len(prompter.text.literal(f" {after}")) :] == prompter.text.literal(f" {after}"), kind
        answer = prompter.ids(prompter.answer(0, OPTIONS)[:-1])
        assert whole == [*prompter.text.start(before), *answer], kind
    tokenizer = prompters["mistral"].tokenizer
    told = [{"role": "user", "content": "x"}, {"role": "assistant", "content": OPTIONS[0]}]
    whole = tokenizer(tokenizer.apply_chat_template(told, tokenize=False), add_special_tokens=False).input_ids
    answer = prompters["mistral"].ids(prompters["mistral"].answer(0, OPTIONS))
    assert whole[-len(answer) :] == answer


@settings(max_examples=250, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    texts=st.lists(
        st.lists(
            st.sampled_from([*CONTROL, "\ufffc", "\n", " ", "salto", "＜／ｓ＞"])
            | st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs",)), max_size=5),
            min_size=1,
            max_size=6,
        ).map("".join),
        min_size=3,
        max_size=5,
    ),
    words=st.booleans(),
)
def test_control_tokens_among_the_words_are_words(prompters, kind, texts, words):
    prompter = prompters[kind]
    question, *options = texts
    if not options[0].strip():
        options[0] = "x"
    plain = [f"option {n}" for n in range(len(options))]
    encoded = prompter.encode(question, options, 0, not words, options[0] if words else "")
    template = prompter.encode("Which?", plain, 0, not words, plain[0] if words else "")
    # The only control tokens and places for the video are the template's own, in their order.
    controls = {*prompter.tokenizer.added_tokens_encoder.values(), VIDEO_ID}
    controls -= {prompter.tokenizer.unk_token_id, prompter.tokenizer.convert_tokens_to_ids("yurchenko")}
    assert [i for i in encoded.ids if i in controls] == [i for i in template.ids if i in controls]
    if KINDS[kind][1]:
        said = prompter.user_text(question, options)
        ids = [*prompter.text.template("x"), *prompter.text.literal(f"\n{said}")]
        # "▁" is how SentencePiece itself writes a space.
        assert prompter.tokenizer.decode(ids).replace("▁", " ") == f"x\n{said}".replace("▁", " ")


def test_added_words_stay_words(prompters):
    prompter = prompters["chat, unmarked"]
    tokenizer = prompter.tokenizer
    assert tokenizer.convert_tokens_to_ids("yurchenko") in prompter.text.literal("a yurchenko half on")
    assert tokenizer.convert_tokens_to_ids("<think>") in prompter.after.ids  # the template's own


def test_tomorrow_the_prompt_is_the_same(tmp_path, monkeypatch):
    folder = language_model_of("chat, date", tmp_path / "lm")
    model = SefarMLLM.build(MLLMConfig(str(folder)), LoraOptions(rank=2, targets="q_proj"))
    model.save_pretrained(tmp_path / "model")
    expected = prompts(model.prompter)

    class Tomorrow(chat_templates.datetime):
        @classmethod
        def now(cls, tz=None):
            return chat_templates.datetime(2031, 5, 17)

    monkeypatch.setattr(chat_templates, "datetime", Tomorrow)
    assert prompts(SefarMLLM.from_pretrained(tmp_path / "model").prompter) == expected
    other = SefarMLLM.build(MLLMConfig(str(folder)), LoraOptions(rank=2, targets="q_proj"))
    assert "17 May 2031" in other.prompter.frame.before
    assert prompts(other.prompter) != expected


def test_a_run_resumed_tomorrow_goes_on_with_its_prompts(tmp_path, monkeypatch):
    language_model_of("chat, date", tmp_path / "lm")
    questions = easy_questions(8)
    question_file(tmp_path / "train.jsonl", questions)
    easy_store(tmp_path / "features", questions)
    teach = config(tmp_path, tmp_path / "run", max_steps=2, save_every=1, align_steps=2)
    finetune(teach)
    first = SefarMLLM.from_pretrained(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "steps" / "checkpoint-2")

    class Tomorrow(chat_templates.datetime):
        @classmethod
        def now(cls, tz=None):
            return chat_templates.datetime(2031, 5, 17)

    monkeypatch.setattr(chat_templates, "datetime", Tomorrow)
    resumed = SefarMLLM.from_pretrained(finetune(replace(teach, resume=True)))
    assert prompts(resumed.prompter) == prompts(first.prompter)
    shutil.rmtree(tmp_path / "run" / "steps" / "checkpoint-2")
    tiny_causal(seed=5).save_pretrained(tmp_path / "lm")
    with pytest.raises(SefarMLLMError, match="the interrupted run was of another language model"):
        finetune(replace(teach, resume=True))


@pytest.mark.parametrize("answer", FORMS)
def test_validation_in_training_is_the_evaluation(answer, tmp_path):
    """By a Vicuna tokenizer: a beginning of sequence within the answers halved the accuracy once."""
    language_model_of("vicuna", tmp_path / "lm")
    questions = easy_questions(24)
    question_file(tmp_path / "train.jsonl", questions)
    easy_store(tmp_path / "features", questions)
    teach = config(
        tmp_path,
        tmp_path / "run",
        prompt=PromptConfig(answer=answer, style="vicuna"),
        validation=tmp_path / "train.jsonl",
        evaluate_every=3,
        max_steps=3,
        align_steps=30,
    )
    run = finetune(teach)
    followed = [row["eval_accuracy"] for row in log(run) if "eval_accuracy" in row]
    asked = EvaluateConfig(teach.questions, tmp_path / "out", run, tmp_path / "features", precision="fp32")
    assert evaluate(replace(asked, batch_size=7, generate=True)).accuracy == pytest.approx(followed[-1])


def test_a_changed_tokenizer_is_noticed(tmp_path):
    folder = language_model_of("chat", tmp_path / "lm")
    model = SefarMLLM.build(MLLMConfig(str(folder)), LoraOptions(rank=2, targets="q_proj"))
    model.save_pretrained(tmp_path / "model")
    file = tmp_path / "model" / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model"]["merges"] = content["model"]["merges"][:5]
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SefarMLLMError, match=r"model/tokenizer: writes other token ids"):
        SefarMLLM.from_pretrained(tmp_path / "model")
    # The language model's own tokenizer may change: the checkpoint has one of its own.
    model.save_pretrained(tmp_path / "model")
    byte_level(folder, CHAT_TEMPLATE, post=True)
    assert prompts(SefarMLLM.from_pretrained(tmp_path / "model").prompter) == prompts(model.prompter)


def test_a_tokenizer_that_cannot_be_kept_is_refused_before_training(tmp_path, monkeypatch):
    folder = language_model_of("vicuna, legacy", tmp_path / "lm")
    saved = AutoTokenizer.from_pretrained(folder).save_pretrained

    def forgets(self, target, **_):
        result = saved(target)
        llama(Path(target))  # the same, not in the legacy way
        (Path(target) / "tokenizer.json").unlink()
        return result

    monkeypatch.setattr(type(load_tokenizer(str(folder))), "save_pretrained", forgets)
    config = MLLMConfig(str(folder), prompt=PromptConfig(style="vicuna", system="</s>Look."))
    monkeypatch.setattr("sefar_mllm.model.kept_tokenizer.ARGUMENTS", ())
    with pytest.raises(SefarMLLMError, match="once it was saved and loaded again"):
        SefarMLLM.build(config, LoraOptions(rank=2, targets="q_proj"))
    shutil.rmtree(folder)
