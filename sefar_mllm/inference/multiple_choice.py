"""Multiple-choice questions by likelihood: prompts and candidate answers in token ids, and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tqdm import tqdm

from encoder.processes.group import ALONE, Processes
from gym_qa.questions.questions import Question
from sefar_mllm.inference.likelihood import check_passes, log_likelihoods
from sefar_mllm.inference.score_rules import Likelihoods, Scores, all_scores
from sefar_mllm.model.features import Features, first_views
from sefar_mllm.model.mllm import SefarMLLM

Ids = tuple[int, ...]


@dataclass(frozen=True)
class EncodedQuestion:
    """One question in token ids: its prompt, the prompt without video, and the candidate answers."""

    prompt: Ids
    blind_prompt: Ids
    letters: tuple[Ids, ...]
    texts: tuple[Ids, ...]

    @property
    def length(self) -> int:
        """Tokens of the prompt with its longest answer."""
        return len(self.prompt) + max(map(len, self.texts))


def encode_question(model: SefarMLLM, question: Question, with_video: bool) -> EncodedQuestion:
    """Tokenise a question as in training.

    The end of the turn belongs to a text's likelihood: otherwise "salto backward tucked" would beat every
    longer name that begins with it. Letters are compared without it.
    """
    prompter, options = model.prompter, question.options
    numbers = range(len(options))
    form: Literal["text", "both"] = "both" if model.settings.prompt.answer == "both" else "text"
    prompt = prompter.ids(prompter.prefix(question.question, options, with_video))
    letters = tuple(tuple(prompter.ids(prompter.answer(n, options, "letter")[:-1])) for n in numbers)
    texts = tuple(tuple(prompter.ids(prompter.answer(n, options, form))) for n in numbers)
    encoded = EncodedQuestion(
        prompt=tuple(prompt),
        blind_prompt=tuple(prompter.ids(prompter.prefix(question.question, options, with_video=False))),
        letters=letters if model.settings.prompt.list_options else (),
        texts=texts,
    )
    prompter.check_length(encoded.length, question.question)
    return encoded


def score_questions(
    model: SefarMLLM,
    questions: Sequence[Question],
    store: Features | None,
    clips: Mapping[str, str] | None = None,
    pmi: bool = True,
    batch_size: int = 16,
    progress: bool = True,
    processes: Processes = ALONE,
) -> list[Scores]:
    """Every option of every question by every rule of `SCORE_RULES`.

    Args:
        model: the fine-tuned model.
        questions: what is asked.
        store: features of their clips (the first view is used); none asks without video.
        clips: shows another clip's features instead: asked-about clip → shown clip.
        pmi: also run the prompts without video, for rules that need it (with video only).
        batch_size: questions whose features are fetched at a time. Each is scored by itself, so that no score
            depends on this or on the other questions, whatever the dtype.
        progress: show a bar.
        processes: those that share the questions; all get all scores, which are the same to the last bit
            whatever their number.
    """
    was_training = model.training
    model.eval()
    with_video = store is not None and model.projector is not None
    encoded = [encode_question(model, question, with_video) for question in questions]
    check_passes(model, max((row.length for row in encoded), default=0))
    mine = processes.mine(processes.padded(range(len(encoded))))
    own: list[list[float]] = []
    for start in tqdm(range(0, len(mine), batch_size), desc="questions", disable=not progress):
        batch = mine[start : start + batch_size]
        features = None
        if with_video and store is not None:
            names = [questions[number].video for number in batch]
            shown = [clips[name] if clips else name for name in names]
            features = first_views(store, shown, model.standardize)
        rows = [encoded[number] for number in batch]
        candidates = [(*row.letters, *row.texts) for row in rows]
        own += log_likelihoods(model, [row.prompt for row in rows], candidates, features)
    likelihoods = processes.gather(own)[: len(encoded)]
    blind = blind_likelihoods(model, encoded, batch_size, progress, processes) if pmi and with_video else {}
    model.train(was_training)
    return [
        all_scores(
            Likelihoods(
                letters=values[: len(row.letters)],
                texts=values[len(row.letters) :],
                lengths=[len(text) for text in row.texts],
                blind_texts=[blind[row.blind_prompt, text] for text in row.texts] if blind else [],
            )
        )
        for row, values in zip(encoded, likelihoods, strict=True)
    ]


def blind_likelihoods(
    model: SefarMLLM,
    encoded: Sequence[EncodedQuestion],
    batch_size: int,
    progress: bool,
    processes: Processes,
) -> dict[tuple[Ids, Ids], float]:
    """log p(text | question) without video, each different (prompt, text) run once."""
    # What shares a pass must be the same whatever else is asked: the options that the prompt lists; under a
    # prompt that lists none, which many questions share, each text is by itself.
    listed = model.settings.prompt.list_options
    work = list(
        dict.fromkeys(
            (row.blind_prompt, texts)
            for row in encoded
            for texts in ([row.texts] if listed else [(text,) for text in row.texts])
        )
    )
    mine = processes.mine(processes.padded(work))
    own: list[list[float]] = []
    for start in tqdm(range(0, len(mine), batch_size), desc="without video", disable=not progress):
        part = mine[start : start + batch_size]
        own += log_likelihoods(model, [prompt for prompt, _ in part], [texts for _, texts in part])
    return {
        (prompt, text): value
        for (prompt, texts), values in zip(work, processes.gather(own)[: len(work)], strict=True)
        for text, value in zip(texts, values, strict=True)
    }
