"""Multiple-choice questions by likelihood: the letter, and the option's text by sum, by mean and by PMI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from encoder.processes.group import ALONE, Processes
from gym_qa.questions.questions import Question
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.inference.likelihood import check_passes, log_likelihoods
from sefar_mllm.model.features import Features, first_views
from sefar_mllm.model.mllm import SefarMLLM

Score = Literal["letter", "text_sum", "text_mean", "text_pmi"]

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Asked:
    """One question in token ids: its prompt, the prompt without video, and the candidate answers."""

    prompt: Ids
    blind_prompt: Ids
    letters: tuple[Ids, ...]
    texts: tuple[Ids, ...]

    @property
    def length(self) -> int:
        """Tokens of the prompt with its longest answer."""
        return len(self.prompt) + max(map(len, self.texts))


def ask(model: SefarMLLM, question: Question, with_video: bool) -> Asked:
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
    asked = Asked(
        prompt=tuple(prompt),
        blind_prompt=tuple(prompter.ids(prompter.prefix(question.question, options, with_video=False))),
        letters=letters if model.settings.prompt.list_options else (),
        texts=texts,
    )
    prompter.check_length(asked.length, question.question)
    return asked


def score_questions(
    model: SefarMLLM,
    questions: Sequence[Question],
    store: Features | None,
    clips: Mapping[str, str] | None = None,
    pmi: bool = True,
    batch_size: int = 16,
    progress: bool = True,
    processes: Processes = ALONE,
) -> list[dict[str, list[float]]]:
    """Every score of every option of every question.

    Args:
        model: the fine-tuned model.
        questions: what is asked.
        store: features of their clips (the first view is used); none asks without video.
        clips: shows another clip's features instead: asked-about clip → shown clip.
        pmi: also run the prompts without video, for ``text_pmi`` (with video only).
        batch_size: questions whose features are fetched at a time. Each is scored by itself, so that no score
            depends on this or on the other questions, whatever the dtype.
        progress: show a bar.
        processes: those that share the questions; all get all scores, which are the same to the last bit
            whatever their number.

    Returns:
        For each question and score, one number per option: ``letter`` (if the prompt lists the options),
        ``text_sum``, ``text_mean`` (per token), and ``text_pmi`` = log p(text | video, question) -
        log p(text | question).
    """
    was_training = model.training
    model.eval()
    with_video = store is not None and model.projector is not None
    asked = [ask(model, question, with_video) for question in questions]
    check_passes(model, max((row.length for row in asked), default=0))
    mine = processes.mine(processes.padded(range(len(asked))))
    found: list[dict[str, list[float]]] = []
    for start in tqdm(range(0, len(mine), batch_size), desc="questions", disable=not progress):
        batch = mine[start : start + batch_size]
        shown = None
        if with_video and store is not None:
            names = [questions[number].video for number in batch]
            shown = first_views(store, [clips[name] if clips else name for name in names], model.standardize)
        rows = [asked[number] for number in batch]
        candidates = [(*row.letters, *row.texts) for row in rows]
        likelihoods = log_likelihoods(model, [row.prompt for row in rows], candidates, shown)
        found += map(by_score, rows, likelihoods)
    scores = processes.gather(found)[: len(asked)]
    if pmi and with_video:
        prior = blind_likelihoods(model, asked, batch_size, progress, processes)
        for row, result in zip(asked, scores, strict=True):
            result["text_pmi"] = [
                value - prior[row.blind_prompt, text]
                for value, text in zip(result["text_sum"], row.texts, strict=True)
            ]
    model.train(was_training)
    return scores


def by_score(row: Asked, values: Sequence[float]) -> dict[str, list[float]]:
    """The scores of one question, of the likelihoods of its letters and then its texts."""
    letters, sums = list(values[: len(row.letters)]), list(values[len(row.letters) :])
    means = [value / len(text) for value, text in zip(sums, row.texts, strict=True)]
    return {**({"letter": letters} if letters else {}), "text_sum": sums, "text_mean": means}


def blind_likelihoods(
    model: SefarMLLM, asked: Sequence[Asked], batch_size: int, progress: bool, processes: Processes
) -> dict[tuple[Ids, Ids], float]:
    """log p(text | question) without video, each different (prompt, text) run once."""
    # What shares a pass must be the same whatever else is asked: the options that the prompt lists; under a
    # prompt that lists none, which many questions share, each text is by itself.
    listed = model.settings.prompt.list_options
    work = list(
        dict.fromkeys(
            (row.blind_prompt, texts)
            for row in asked
            for texts in ([row.texts] if listed else [(text,) for text in row.texts])
        )
    )
    mine, found = processes.mine(processes.padded(work)), []
    for start in tqdm(range(0, len(mine), batch_size), desc="without video", disable=not progress):
        part = mine[start : start + batch_size]
        found += log_likelihoods(model, [prompt for prompt, _ in part], [texts for _, texts in part])
    return {
        (prompt, text): value
        for (prompt, texts), values in zip(work, processes.gather(found)[: len(work)], strict=True)
        for text, value in zip(texts, values, strict=True)
    }


def headline(model: SefarMLLM, score: Score | Literal["auto"], with_video: bool = True) -> Score:
    """The score by which choices are made: the one of the model's answer format, unless named.

    Raises:
        SefarMLLMError: for letters under a prompt that does not list the options, or PMI without video.
    """
    prompt = model.settings.prompt
    seen = with_video and model.projector is not None
    if score == "auto":
        # Without the list, a name common among the training clips is likely before any video is seen.
        text: Score = "text_pmi" if seen and not prompt.list_options else "text_sum"
        return "letter" if prompt.answer == "letter" else text
    if score == "letter" and not prompt.list_options:
        raise SefarMLLMError("score 'letter' needs a prompt that lists the options; choose a text score")
    if score == "text_pmi" and not seen:
        raise SefarMLLMError(
            "score 'text_pmi' compares with and without video, and here is none; choose another"
        )
    return score


def choose(scores: Sequence[float]) -> tuple[int | None, list[float]]:
    """The option of the highest score (none where a score is not a number) and the softmax of the scores."""
    values = torch.tensor(scores, dtype=torch.float64)
    if not bool(values.isfinite().all()):
        return None, [float("nan")] * len(scores)
    probabilities: Tensor = values.softmax(0)
    return int(values.argmax()), probabilities.tolist()
