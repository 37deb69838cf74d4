"""Asking about a video from beginning to end: its frames, the encoder, the language model, the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from encoder.errors import EncoderError
from encoder.video.clips import Clip
from encoder.video.reader import read_timed_clip
from encoder.video.video_facts import Frames
from encoder.visual.base import VisualEncoder
from encoder.visual.factory import open_encoder
from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.frame_strip import write_strip
from sefar_mllm.inference.generation import generate_replies
from sefar_mllm.inference.multiple_choice import score_questions
from sefar_mllm.inference.options import check_options
from sefar_mllm.inference.respondent import autocast
from sefar_mllm.inference.score_rules import SCORE_RULES, choose, deciding_rule
from sefar_mllm.model.mllm import SefarMLLM


@dataclass(frozen=True)
class EncodedClip:
    """A clip that was looked at.

    Attributes:
        features: ``(tokens, dim)``, what the encoder made of the frames.
        frames: ``(n, H, W, 3)`` uint8.
        seconds: when in its video each frame is shown; empty where the video does not say.
    """

    features: Tensor
    frames: Frames
    seconds: list[float]


@dataclass(frozen=True)
class VideoAnswer:
    """The answer to a question about a video.

    Attributes:
        text: the likeliest option, or without options what the model wrote.
        options: the options, as asked.
        choice: index of the likeliest option; none without options.
        probabilities: of each option, summing to 1; by the score that the model is evaluated with.
        clip: what was looked at.
    """

    text: str
    options: tuple[str, ...]
    choice: int | None
    probabilities: list[float]
    clip: EncodedClip = field(repr=False)

    def save_strip(self, path: str | Path) -> Path:
        """Write the frames that were looked at as one PNG, each with its time. Returns its path."""
        return write_strip(Path(path), self.clip.frames, self.clip.seconds)


class VideoQA:
    """Asks a fine-tuned model about videos, in the manner of a Transformers pipeline.

    ``VideoQA.from_pretrained(folder).ask("clip.mp4", "Which move is this?", ["tucked", "piked"])``

    Args:
        model: the fine-tuned model.
        encoder: name of the visual encoder that it was trained with, where that is now; by default where it
            was at the time of training.

    Raises:
        SefarMLLMError: when the model was trained without video, or the encoder is another one.
        EncoderError: when there is no such encoder.
    """

    def __init__(self, model: SefarMLLM, encoder: str | None = None) -> None:
        self.model = model
        identity = model.settings.encoder
        if identity is None:
            raise SefarMLLMError("the model was trained without video: it cannot look at one")
        where = encoder or identity.location or identity.name
        try:
            self.encoder: VisualEncoder = open_encoder(where, model.device)
        except EncoderError as error:
            if encoder is not None:
                raise
            raise EncoderError(
                f"{error}. The model was trained with it; --encoder says where it is now"
            ) from None
        if self.encoder.fingerprint != identity.fingerprint:
            raise SefarMLLMError(
                f"encoder {encoder or identity.name!r}: is not the one that the model was trained with "
                f"({identity.name!r}): its weights, transform or sampling differ (fingerprint "
                f"{self.encoder.fingerprint}, expected {identity.fingerprint}); name that encoder, or "
                "extract this one's features and fine-tune on them"
            )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        encoder: str | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> VideoQA:
        """A model that was saved, in a folder or on the Hub, with its encoder.

        Args:
            folder: as of `SefarMLLM.from_pretrained`.
            encoder: see the class.
            dtype: of the language model's weights and products.
            device: where both go.
        """
        return cls(SefarMLLM.from_pretrained(folder, dtype, device), encoder)

    def ask(
        self,
        video: str | Path,
        question: str,
        options: Sequence[str] = (),
        start: float | None = None,
        end: float | None = None,
        rate: float | None = None,
    ) -> VideoAnswer:
        """Ask one question about one video.

        Args:
            video: the video file, or a folder of numbered pictures.
            question: the question.
            options: the answers to choose from; without any the model writes freely.
            start: second of the video at which the clip begins; none for the video's beginning.
            end: second at which it ends; none for the video's end.
            rate: pictures a second of a folder; none where it is not known, and for a file.

        Raises:
            SefarMLLMError: for a question, options or a span that cannot be asked.
            EncoderError: when the video cannot be read.
        """
        return self.answer([question_about(video, question, options, start, end, rate)])[0]

    def answer(self, questions_and_clips: Sequence[tuple[Question, Clip]]) -> list[VideoAnswer]:
        """Look at clips and answer questions about them, all in one batch.

        Args:
            questions_and_clips: each question and the clip that it is about; all with options, or none. The
                questions' own ``video`` must tell their clips apart.

        Raises:
            EncoderError: for a video that cannot be read.
            SefarMLLMError: for questions that the model cannot be asked.
        """
        videos = {question.video: clip for question, clip in questions_and_clips}
        clips = {name: self.watch(clip) for name, clip in videos.items()}
        questions = [question for question, _ in questions_and_clips]
        store, size = EncodedClips(self.encoder, clips), len(questions)
        model = self.model
        with torch.no_grad(), autocast(model):
            if not questions[0].options:
                replies = generate_replies(model, questions, store, batch_size=size, progress=False)
                return [
                    VideoAnswer(reply, (), None, [], clips[question.video])
                    for question, reply in zip(questions, replies, strict=True)
                ]
            rule = deciding_rule(model.settings.prompt, with_video=True)
            pmi = SCORE_RULES[rule].needs_blind
            scores = score_questions(model, questions, store, None, pmi, size, progress=False)
        answers = []
        for question, by_rule in zip(questions, scores, strict=True):
            choice, probabilities = choose(by_rule[rule])
            text = "" if choice is None else question.options[choice]
            answers.append(VideoAnswer(text, question.options, choice, probabilities, clips[question.video]))
        return answers

    def watch(self, clip: Clip) -> EncodedClip:
        """Look at a clip. Raises EncoderError for a video that cannot be read."""
        frames, seconds = read_timed_clip(clip, self.encoder.sampling.sample)
        # On the CPU, as for the features that the model was trained on.
        batch = self.encoder.transform(torch.from_numpy(frames)[None]).to(self.model.device)
        features = self.encoder.encode(batch)[0].float().cpu()
        return EncodedClip(features, frames, seconds)


class EncodedClips:
    """Clips that were looked at, in the place of a feature store."""

    def __init__(self, encoder: VisualEncoder, clips: dict[str, EncodedClip]) -> None:
        self.fingerprint = encoder.fingerprint
        self.dim, self.num_tokens = encoder.dim, encoder.num_tokens
        self.clips = clips

    def __contains__(self, clip: object) -> bool:
        return clip in self.clips

    def __getitem__(self, clip: str) -> Tensor:
        return self.clips[clip].features[None]


def question_about(
    video: str | Path,
    question: str,
    options: Sequence[str] = (),
    start: float | None = None,
    end: float | None = None,
    rate: float | None = None,
) -> tuple[Question, Clip]:
    """A question and the clip that it is about. See `VideoQA.ask`.

    Raises:
        SefarMLLMError: for an empty question, options that cannot be chosen from, or a span that is none.
    """
    if not question.strip():
        raise SefarMLLMError("question: it is empty; expected a question, or a question file (.jsonl)")
    if len(options) == 1:
        raise SefarMLLMError("options: there is only one; give at least two, or none for a free answer")
    for name, second in (("start", start), ("end", end)):
        if second is not None and not 0 <= second < math.inf:
            raise SefarMLLMError(f"{name}: expected a second of the video, 0 or later, got {second:g} s")
    if end is not None and end <= (start or 0):
        raise SefarMLLMError(
            f"end: the clip would end at {end:g} s and begin at {start or 0:g} s; expected more"
        )
    if rate is not None and not 0 < rate < math.inf:
        raise SefarMLLMError(f"rate: expected frames a second, above 0, got {rate:g}")
    clip = Clip(Path(video), -1, start, end, rate)
    whole = Question("asked", clip.id, question, tuple(options), 0)
    check_options([whole], "options")
    return whole, clip
