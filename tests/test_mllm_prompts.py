"""Prompts: what is said, where the video stands, and what is learned."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mllm_sources import NAMES, QUESTION, tiny_tokenizer

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.prompts import IGNORED, VICUNA_SYSTEM, VIDEO_ID, Encoded, PromptConfig, Prompter

TOKENIZER = tiny_tokenizer()
OPTIONS = NAMES[:4]
TEXTS = st.text(
    st.characters(exclude_characters="\ufffc", exclude_categories=("Cs",)), min_size=1, max_size=30
)


def said(encoded: Encoded, tokenizer=TOKENIZER) -> str:
    """The text of a prompt, the video's places shown as <v>."""
    pieces, run = [], []
    for token in [*encoded.ids, None]:
        if token in (VIDEO_ID, None):
            pieces.append(tokenizer.decode(run))
            pieces.append("<v>" if token == VIDEO_ID else "")
            run = []
        else:
            run.append(token)
    return "".join(pieces)


def learned(encoded: Encoded) -> list[int]:
    return [label for label in encoded.labels if label != IGNORED]


def test_chat_format_to_the_letter():
    prompter = Prompter(TOKENIZER, PromptConfig(answer="letter", system="Look."), video_tokens=2)
    encoded = prompter.encode(QUESTION, OPTIONS, 2)
    listed = "".join(f"\n{letter}. {name}" for letter, name in zip("ABCD", OPTIONS, strict=True))
    assert said(encoded) == (
        f"<|im_start|>system\nLook.<|im_end|>\n<|im_start|>user\n<v><v>\n{QUESTION}{listed}<|im_end|>\n"
        "<|im_start|>assistant\nC<|im_end|>"
    )
    assert TOKENIZER.decode(learned(encoded)) == "C<|im_end|>"


def test_vicuna_format_is_fastchats_v1():
    tokenizer = tiny_tokenizer(chat=False)
    config = PromptConfig(answer="text", list_options=False)
    prompter = Prompter(tokenizer, config, video_tokens=1, model_name="lmsys/vicuna-7b-v1.5")
    assert prompter.style == "vicuna"
    text = said(prompter.encode(QUESTION, OPTIONS, 0), tokenizer)
    assert text == f"{VICUNA_SYSTEM} USER: <v>\n{QUESTION} ASSISTANT: {OPTIONS[0]}<|im_end|>"


def test_plain_format_without_template():
    tokenizer = tiny_tokenizer(chat=False)
    prompter = Prompter(tokenizer, PromptConfig(list_options=False), video_tokens=1, model_name="gpt2")
    text = said(prompter.encode(QUESTION, OPTIONS, 1), tokenizer)
    assert text == f"<v>\n{QUESTION}\nAnswer: {OPTIONS[1]}<|im_end|>"


@settings(max_examples=60, deadline=None)
@given(
    options=st.lists(TEXTS, min_size=2, max_size=5),
    number=st.integers(0, 4),
    form=st.sampled_from(["letter", "text", "both"]),
    question=TEXTS,
    video_tokens=st.integers(0, 4),
)
def test_labels_are_the_answer_and_nothing_else(options, number, form, question, video_tokens):
    number %= len(options)
    prompter = Prompter(TOKENIZER, PromptConfig(answer=form, max_length=4096), video_tokens)
    encoded = prompter.encode(question, options, number)
    answer = learned(encoded)
    assert len(encoded.ids) == len(encoded.labels)
    assert encoded.labels == [IGNORED] * (len(encoded.ids) - len(answer)) + encoded.ids[-len(answer) :]
    assert encoded.ids.count(VIDEO_ID) == video_tokens
    spoken = {
        "letter": "ABCDE"[number],
        "text": options[number],
        "both": f"{'ABCDE'[number]}. {options[number]}",
    }
    assert TOKENIZER.decode(answer[:-1]) == spoken[form]
    assert answer[-1] == TOKENIZER.eos_token_id
    prefix = prompter.ids(prompter.prefix(question, options))
    assert encoded.ids == prefix + answer  # scoring tokenises as training does


def test_the_letter_of_both_is_the_letter_format():
    prompter = Prompter(TOKENIZER, PromptConfig(answer="both"), 1)
    both = prompter.ids(prompter.answer(1, OPTIONS))
    letter = prompter.ids(prompter.answer(1, OPTIONS, "letter")[:-1])
    assert both[: len(letter)] == letter


def test_prompt_without_video_is_the_same_prompt_without_its_places():
    with_video = Prompter(TOKENIZER, PromptConfig(), 3)
    blind = Prompter(TOKENIZER, PromptConfig(), 0)
    assert with_video.ids(with_video.prefix(QUESTION, OPTIONS, with_video=False)) == blind.ids(
        blind.prefix(QUESTION, OPTIONS)
    )


def test_nothing_is_cut_off_and_nothing_is_unsupervised():
    prompter = Prompter(TOKENIZER, PromptConfig(max_length=40), 3)
    with pytest.raises(SefarMLLMError, match="max_length = 40"):
        prompter.encode(QUESTION, OPTIONS, 0)
    with pytest.raises(SefarMLLMError, match="no token of the answer"):
        Prompter(TOKENIZER, PromptConfig(), 3).encode(QUESTION, ["", "a"], 0)


def test_letters_without_a_list_are_refused():
    with pytest.raises(SefarMLLMError, match="list_options"):
        Prompter(TOKENIZER, PromptConfig(answer="letter", list_options=False), 1)


def test_chat_style_needs_a_template():
    with pytest.raises(SefarMLLMError, match="no chat template"):
        Prompter(tiny_tokenizer(chat=False), PromptConfig(style="chat"), 1)
