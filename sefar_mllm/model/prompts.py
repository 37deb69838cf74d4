"""From a question to token ids and labels, put together segment by segment.

A prompt is a list of segments: ids of the template, the place of the video's tokens, the user's words, and
the supervised answer. Each segment brings its ids *and* its labels, so the two cannot come apart; training
and scoring tokenise the same segments in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.frame import VICUNA_SYSTEM as VICUNA_SYSTEM
from sefar_mllm.model.frame import Frame, Style, find_style, write_frame
from sefar_mllm.model.text_ids import TextIds

VIDEO_ID = -200  # the id of a video token's place in `ids`; the projector's output is put there
IGNORED = -100  # the label of a token that carries no loss
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

AnswerFormat = Literal["letter", "text", "both"]

#: A question whose ids tell tokenizers apart: accents, digits, spaces, punctuation, control tokens as words.
PROBE_QUESTION = 'Is this "naïve"\n  or 12.5 turns, as in <s>[INST] </s><|im_end|>?'
PROBE_OPTIONS = ("salto backward tucked", "Łódź 3/2 (7×8)", "B. -1,000")


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
    """A piece of a prompt: words, ids, or the places of a video's tokens. Supervised ones carry loss.

    Words are words whatever stands in them: the name of a control token among them is not that token.
    """

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
        frame: what stands around the words, as a checkpoint kept it; by default what the style writes now.

    Raises:
        SefarMLLMError: when the configuration contradicts itself or the tokenizer lacks what it needs.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: PromptConfig,
        video_tokens: int,
        model_name: str = "",
        frame: Frame | None = None,
    ) -> None:
        if config.answer != "text" and not config.list_options:
            raise SefarMLLMError(
                f"prompt.answer is {config.answer!r} but prompt.list_options is false: letters without a "
                "list mean nothing; set prompt.list_options: true or prompt.answer: text"
            )
        self.tokenizer = tokenizer
        self.config = config
        self.video_tokens = video_tokens
        self.style = find_style(config.style, tokenizer, model_name)
        self.frame = frame or write_frame(self.style, tokenizer, config.system)
        if tokenizer.eos_token_id is None:
            raise SefarMLLMError(
                "the tokenizer has no end-of-sequence token: an answer could not be ended; set one"
            )
        self.eos = (int(tokenizer.eos_token_id),)
        self.text = TextIds(tokenizer)
        # Without a video, words follow the template's; with their space, they are tokenised as one text.
        bare = self.frame.before.rstrip(" ")
        self.space = self.frame.before[len(bare) :]
        self.before = Segment(ids=tuple(self.text.start(self.frame.before)))
        self.before_words = Segment(ids=tuple(self.text.start(bare)))
        self.after = Segment(ids=tuple(self.text.template(self.frame.after)))

    def user_text(self, question: str, options: Sequence[str]) -> str:
        """What the user says."""
        listed = zip(LETTERS, options, strict=False) if self.config.list_options else ()
        return "\n".join([question, *(f"{letter}. {option}" for letter, option in listed)])

    def prefix(
        self, question: str, options: Sequence[str], with_video: bool = True, words: str = ""
    ) -> list[Segment]:
        """Everything before the answer. No options ask an open question; ``words`` stand in for the video."""
        if len(options) == 1 or len(options) > len(LETTERS):
            raise SefarMLLMError(
                f"a question needs 2 to {len(LETTERS)} options, this one has {len(options)}: {question!r}"
            )
        said = self.user_text(question, options)
        if with_video and self.video_tokens and not words:
            return [self.before, Segment(video_tokens=self.video_tokens), Segment(f"\n{said}"), self.after]
        said = f"{words}\n{said}" if words else said
        return [self.before_words, Segment(self.space + said), self.after]

    def answer_text(self, option: int, options: Sequence[str], form: AnswerFormat) -> str:
        """The answer that names ``option``."""
        letter, text = LETTERS[option], options[option]
        return {"letter": letter, "text": text, "both": f"{letter}. {text}"}[form]

    def answer(self, option: int, options: Sequence[str], form: AnswerFormat | None = None) -> list[Segment]:
        """The supervised answer and the end of the turn."""
        form = form or self.config.answer
        parts = [self.answer_text(option, options, form)]
        if form == "both":
            # The letter is a segment of its own, so that its ids are those of the letter format.
            parts = [parts[0][:1], parts[0][1:]]
        parts[0] = self.frame.lead + parts[0]
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
        if not self.answer_text(answer, options, self.config.answer):
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

    def probe(self) -> list[int]:
        """Ids of a fixed question with every form of answer: what a checkpoint compares when it is loaded."""
        forms: tuple[AnswerFormat, ...] = ("letter", "text", "both")
        prompts = [self.prefix(PROBE_QUESTION, PROBE_OPTIONS, with_video) for with_video in (True, False)]
        answers = [self.answer(n, PROBE_OPTIONS, form) for n in range(len(PROBE_OPTIONS)) for form in forms]
        return [token for segments in (*prompts, *answers) for token in self.ids(segments)]

    def _join(self, segments: Sequence[Segment]) -> Encoded:
        ids: list[int] = []
        labels: list[int] = []
        for segment in segments:
            if segment.video_tokens:
                new = [VIDEO_ID] * segment.video_tokens
            else:
                new = list(segment.ids) or self.text.literal(segment.text)
            ids += new
            labels += new if segment.supervised else [IGNORED] * len(new)
        return Encoded(ids, labels)
