"""What stands around the user's words in a prompt: a chat template's text, Vicuna's, or next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from sefar_mllm.errors import SefarMLLMError

Style = Literal["auto", "chat", "vicuna", "plain"]

VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
#: Stand for what is said while a template is rendered (U+FFFC, object replacement character).
USER_MARK, ANSWER_MARK = "\ufffcuser\ufffc", "\ufffcassistant\ufffc"


@dataclass(frozen=True)
class Frame:
    """The texts around what is said. A checkpoint keeps them: templates may print the date of the day.

    Attributes:
        before: stands before the user's words.
        after: stands between them and the answer.
        lead: the space that an answer begins with, if any.
    """

    before: str
    after: str
    lead: str = ""


def find_style(style: Style, tokenizer: PreTrainedTokenizerBase, model_name: str) -> Style:
    """The style that ``auto`` stands for, or the style that was asked for.

    Raises:
        SefarMLLMError: for ``chat`` without a chat template.
    """
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if style == "chat" and not has_template:
        raise SefarMLLMError(
            "prompt.style is 'chat' but the tokenizer has no chat template; set it to vicuna or plain"
        )
    if style != "auto":
        return style
    if has_template:
        return "chat"
    return "vicuna" if "vicuna" in model_name.lower() else "plain"


def write_frame(style: Style, tokenizer: PreTrainedTokenizerBase, system: str | None) -> Frame:
    """The frame of a style.

    Args:
        style: ``chat``, ``vicuna`` (FastChat's conversation "vicuna_v1.1") or ``plain``.
        tokenizer: its chat template is rendered for ``chat``.
        system: the system message; none leaves the style's own.

    Raises:
        SefarMLLMError: for a chat template that refuses the prompt, or loses or repeats the user's words.
    """
    if style == "vicuna":
        system = VICUNA_SYSTEM if system is None else system
        return Frame(f"{system} USER: " if system else "USER: ", " ASSISTANT:", " ")
    if style == "plain":
        return Frame(f"{system}\n" if system else "", "\nAnswer:", " ")
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages.append({"role": "user", "content": USER_MARK})
    try:
        prompt = render(tokenizer, messages, True)
    except TemplateError as error:
        raise SefarMLLMError(
            f"the tokenizer's chat template refuses the prompt ({error}); set prompt.system: null "
            "or another prompt.style"
        ) from error
    before, mark, after = prompt.partition(USER_MARK)
    if not mark or USER_MARK in after:
        raise SefarMLLMError(
            "the chat template drops or repeats the user's message; set prompt.style to 'plain'"
        )
    messages.append({"role": "assistant", "content": ANSWER_MARK})
    try:
        told = render(tokenizer, messages, False).removeprefix(prompt)
    except TemplateError:
        told = ""
    lead, mark, _ = told.partition(ANSWER_MARK)
    return Frame(before, after, lead if mark and lead.isspace() else "")


def render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], ask: bool) -> str:
    """A conversation as the chat template writes it; ``ask`` ends it where the assistant would begin."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))
