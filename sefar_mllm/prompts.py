"""From a question to token ids and labels, put together segment by segment.

A prompt is a list of segments: text, the place of the video's tokens, and the supervised answer. Each segment
brings its ids *and* its labels, so the two cannot come apart; training and scoring tokenise the same
segments in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from sefar_mllm.errors import SefarMLLMError

VIDEO_ID = -200  # the id of a video token's place in `ids`; the projector's output is put there
IGNORED = -100  # the label of a token that carries no loss
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
VIDEO_MARK = (
    "\ufffc"  # U+FFFC, object replacement character: stands for the video while a template is rendered
)

VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

AnswerFormat = Literal["letter", "text", "both"]
Style = Literal["auto", "chat", "vicuna", "plain"]


@dataclass(frozen=True)
class PromptConfig:
    """How a question is put to the language model.

    Args:
        answer: what the model is trained to say: the option's letter, its text, or "A. text".
        list_options: whether the prompt lists the options. Without the list the options compete by likelihood
            alone and prompts are half as long; letters then mean nothing, so ``answer`` must be ``text``.
        style: ``auto`` takes the tokenizer's chat template; for a tokenizer without one, Vicuna's
            conversation format if the model is called Vicuna, otherwise ``plain`` (question, then "Answer:").
        system: the system message; null leaves the template's own.
        max_length: longest prompt with answer, in tokens; a longer one is an error, never cut.
    """

    answer: AnswerFormat = "text"
    list_options: bool = True
    style: Style = "auto"
    system: str | None = None
    max_length: int = 1024


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt: text, ids, or the places of a video's tokens. Supervised ones carry loss."""

    text: str = ""
    video_tokens: int = 0
    ids: tuple[int, ...] = ()
    supervised: bool = False


@dataclass(frozen=True)
class Encoded:
    """Token ids and labels of one prompt, of equal length. ``VIDEO_ID`` marks the places of video tokens."""

    ids: list[int]
    labels: list[int]


class Prompter:
    """Writes prompts for one tokenizer and one number of video tokens.

    Args:
        tokenizer: the language model's.
        config: how questions are put.
        video_tokens: places for the video; 0 for the language model without video.
        model_name: the language model's name, by which Vicuna is known.

    Raises:
        SefarMLLMError: when the configuration contradicts itself or the tokenizer lacks what it needs.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: PromptConfig,
        video_tokens: int,
        model_name: str = "",
    ) -> None:
        if config.answer != "text" and not config.list_options:
            raise SefarMLLMError(
                f"prompt.answer is {config.answer!r} but prompt.list_options is false: letters without a "
                "list mean nothing; set prompt.list_options: true or prompt.answer: text"
            )
        self.tokenizer = tokenizer
        self.config = config
        self.video_tokens = video_tokens
        self.style = self._style(model_name)
        if tokenizer.eos_token_id is None:
            raise SefarMLLMError(
                "the tokenizer has no end-of-sequence token: an answer could not be ended; set one"
            )
        self.eos = (int(tokenizer.eos_token_id),)

    def _style(self, model_name: str) -> Style:
        has_template = bool(getattr(self.tokenizer, "chat_template", None))
        if self.config.style == "chat" and not has_template:
            raise SefarMLLMError(
                "prompt.style is 'chat' but the tokenizer has no chat template; set it to vicuna or plain"
            )
        if self.config.style != "auto":
            return self.config.style
        if has_template:
            return "chat"
        return "vicuna" if "vicuna" in model_name.lower() else "plain"

    def user_text(self, question: str, options: Sequence[str]) -> str:
        """What the user says, the video's place first."""
        if VIDEO_MARK in question or any(VIDEO_MARK in option for option in options):
            raise SefarMLLMError("a question or option holds U+FFFC, the mark of the video's place")
        lines = [VIDEO_MARK, question]
        if self.config.list_options:
            lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
        return "\n".join(lines)

    def prefix(
        self, question: str, options: Sequence[str], with_video: bool = True, words: str = ""
    ) -> list[Segment]:
        """Everything before the answer. No options ask an open question; ``words`` stand in for the video."""
        if len(options) == 1 or len(options) > len(LETTERS):
            raise SefarMLLMError(
                f"a question needs 2 to {len(LETTERS)} options, this one has {len(options)}: {question!r}"
            )
        before, mark, after = self._render(self.user_text(question, options)).partition(VIDEO_MARK)
        if not mark or VIDEO_MARK in after:
            raise SefarMLLMError(
                "the chat template drops or repeats the user's message; set prompt.style to 'plain'"
            )
        if words:
            return [Segment(before), Segment(words), Segment(after)]
        if with_video and self.video_tokens:
            return [Segment(before), Segment(video_tokens=self.video_tokens), Segment(after)]
        return [Segment(before), Segment(after.removeprefix("\n"))]

    def _render(self, user: str) -> str:
        system = self.config.system
        if self.style == "vicuna":
            return f"{VICUNA_SYSTEM if system is None else system} USER: {user} ASSISTANT:"
        if self.style == "plain":
            return (f"{system}\n" if system else "") + f"{user}\nAnswer:"
        messages = [] if system is None else [{"role": "system", "content": system}]
        messages.append({"role": "user", "content": user})
        try:
            return str(
                self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            )
        except TemplateError as error:
            raise SefarMLLMError(
                f"the tokenizer's chat template refuses the prompt ({error}); set prompt.system: null "
                "or another prompt.style"
            ) from error

    def answer_text(self, option: int, options: Sequence[str], form: AnswerFormat) -> str:
        """The answer that names ``option``."""
        letter, text = LETTERS[option], options[option]
        return {"letter": letter, "text": text, "both": f"{letter}. {text}"}[form]

    def answer(self, option: int, options: Sequence[str], form: AnswerFormat | None = None) -> list[Segment]:
        """The supervised answer and the end of the turn."""
        form = form or self.config.answer
        space = " " if self.style == "plain" else ""
        parts = [self.answer_text(option, options, form)]
        if (
            form == "both"
        ):  # the letter is a segment of its own, so that its ids are those of the letter format
            parts = [parts[0][:1], parts[0][1:]]
        parts[0] = space + parts[0]
        return [*(Segment(part, supervised=True) for part in parts), Segment(ids=self.eos, supervised=True)]

    def ids(self, segments: Sequence[Segment]) -> list[int]:
        """Token ids of segments, without labels and without an end of turn that they do not name."""
        return self._join(segments).ids

    def encode(
        self,
        question: str,
        options: Sequence[str],
        answer: int,
        with_video: bool = True,
        words: str = "",
    ) -> Encoded:
        """Ids and labels of one training sample; ``words`` stand in for the video.

        Raises:
            SefarMLLMError: when nothing would be supervised, or the sample is longer than ``max_length``.
        """
        if not options:
            raise SefarMLLMError(f"there is nothing to learn from a question without options: {question!r}")
        prefix = self.prefix(question, options, with_video, words)
        encoded = self._join([*prefix, *self.answer(answer, options)])
        if all(label == IGNORED for label in encoded.labels[:-1]) or encoded.labels[-1] == IGNORED:
            raise SefarMLLMError(
                f"no token of the answer would be learned: option {answer} of {options!r} is empty"
            )
        self.check_length(len(encoded.ids), question)
        return encoded

    def check_length(self, length: int, question: str) -> None:
        """Refuse what does not fit; nothing is ever cut off."""
        if length > self.config.max_length:
            raise SefarMLLMError(
                f"prompt and answer take {length} tokens, over prompt.max_length = {self.config.max_length}: "
                f"{question[:80]!r}; raise prompt.max_length, shorten the options or use fewer video tokens"
            )

    def _join(self, segments: Sequence[Segment]) -> Encoded:
        ids: list[int] = []
        labels: list[int] = []
        for number, segment in enumerate(segments):
            if segment.video_tokens:
                new = [VIDEO_ID] * segment.video_tokens
            elif segment.ids:
                new = list(segment.ids)
            else:
                new = self._tokenise(segment.text, first=number == 0)
            ids += new
            labels += new if segment.supervised else [IGNORED] * len(new)
        return Encoded(ids, labels)

    def _tokenise(self, text: str, first: bool) -> list[int]:
        # A chat template writes the beginning-of-sequence token itself; other styles leave it to the
        # tokenizer.
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        bos = self.tokenizer.bos_token_id
        wants_bos = (
            first
            and self.style != "chat"
            and bos is not None
            and getattr(self.tokenizer, "add_bos_token", False)
        )
        return [bos, *ids] if wants_bos else list(ids)
