"""Scoring in one shared pass a question against one full pass per option, in the same run.

Both ways score the texts of the options with the embedded language model in float32, from made-up features of
eight tokens; the second runs the questions in batches. Every score must agree to 1e-4; the ratio of the times
is what the shared pass saves. Times of
1,000 questions are of the shared way: one score of the texts, and all of `evaluate` (letters, PMI).

    python benchmarks/scoring.py --questions 16
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from jsonargparse import ArgumentParser
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gym_qa.datasets.table import ActionClass, Clip
from gym_qa.minigym.elements import ELEMENTS, EVENTS
from gym_qa.questions.questions import Question, build_questions
from projector.base import ProjectorSpec
from sefar_mllm.inference.likelihood import log_likelihoods
from sefar_mllm.inference.multiple_choice import EncodedQuestion, encode_question, score_questions
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import PromptConfig

TOKENS, DIM, HIDDEN = 8, 768, 576
AGREE = 1e-4


class MadeUp:
    """Features of any clip, drawn at random."""

    def __init__(self, clips: Sequence[str]) -> None:
        drawn = torch.randn(len(clips), 1, TOKENS, DIM, generator=torch.Generator().manual_seed(0))
        self.features = dict(zip(clips, drawn, strict=True))
        self.fingerprint, self.dim, self.num_tokens = "made up", DIM, TOKENS

    def __contains__(self, clip: object) -> bool:
        return clip in self.features

    def __getitem__(self, clip: str) -> Tensor:
        return self.features[clip]


def questions_of(count: int) -> list[Question]:
    """Questions about MiniGym's classes, near classes as options."""
    classes = [ActionClass(element.name, EVENTS[element.event], element.set_id) for element in ELEMENTS]
    clips = [Clip(f"clip{i:05d}", "", i % len(classes)) for i in range(count)]
    return build_questions(clips, classes, "same-set")


@torch.inference_mode()
def plainly(model: SefarMLLM, rows: Sequence[EncodedQuestion], features: Tensor) -> list[list[float]]:
    """One full pass for each option, batched over the questions."""
    scores: list[list[float]] = [[] for _ in rows]
    for option in range(len(rows[0].texts)):
        sequences = [torch.tensor([*row.prompt, *row.texts[option]]) for row in rows]
        ids = pad_sequence(sequences, batch_first=True)
        mask = pad_sequence([torch.ones(len(one), dtype=torch.long) for one in sequences], batch_first=True)
        first = torch.tensor([len(row.prompt) - 1 for row in rows])[:, None]
        place = torch.arange(ids.shape[1])
        chosen = (place >= first) & (place < mask.sum(1, keepdim=True) - 1)
        logits = model.logits(chosen, **model.inputs(ids, features), attention_mask=mask).log_softmax(-1)
        texts = [torch.tensor(row.texts[option]) for row in rows]
        found = logits.gather(1, torch.cat(texts)[:, None]).double().split([len(text) for text in texts])
        for place_of_row, values in enumerate(found):
            scores[place_of_row].append(float(values.sum()))
    return scores


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    questions = questions_of(options.questions)
    store = MadeUp([question.video for question in questions])
    for listed in (False, True):
        prompt = PromptConfig(answer="text", list_options=listed, system="")
        spec = ProjectorSpec("mlp", DIM, HIDDEN, TOKENS, TOKENS)
        model = SefarMLLM.build(MLLMConfig(prompt=prompt, projector=spec), LoraOptions(rank=0)).eval()
        compare(model, questions, store, options.batch_size, "listed" if listed else "not listed")


def clocks() -> Tensor:
    """Seconds of the wall and of the processors; the latter do not mind other programs beside."""
    return torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)


def compare(model: SefarMLLM, questions: list[Question], store: MadeUp, size: int, name: str) -> None:
    """Time both ways batch by batch, taking turns, and print the ratio."""
    asked = [encode_question(model, question, with_video=True) for question in questions]
    shared, plain, worst = torch.zeros(2), torch.zeros(2), 0.0
    for start in range(-size, len(asked), size):  # the first, extra batch warms up and is not counted
        rows = asked[max(start, 0) : max(start, 0) + size]
        features = torch.cat([store[q.video] for q in questions[max(start, 0) : max(start, 0) + size]])
        begun = clocks()
        ours = log_likelihoods(model, [row.prompt for row in rows], [row.texts for row in rows], features)
        middle = clocks()
        theirs = plainly(model, rows, features)
        ended = clocks()
        if start >= 0:
            shared, plain = shared + middle - begun, plain + ended - middle
        worst = max(worst, float((torch.tensor(ours) - torch.tensor(theirs)).abs().max()))
    assert worst <= AGREE, f"the two ways differ by {worst:.2e}, more than {AGREE:.0e}"
    begun = clocks()
    score_questions(model, questions, store, batch_size=size, progress=False)
    whole = (clocks() - begun) / len(asked) * 1000 / 60
    lengths = [len(row.prompt) for row in asked]
    ratio, each = plain / shared, 1000 * shared / len(asked)
    print(
        f"options {name}, prompts of {min(lengths)} to {max(lengths)} tokens: {ratio[0]:.2f} × faster by the "
        f"clock, {ratio[1]:.2f} × by processor time ({each[0]:.0f} ms, {each[1]:.0f} ms a question); scores "
        f"agree to {worst:.1e}; 1,000 questions take {each[0] / 60:.1f} minutes by the clock for one score, "
        f"{whole[0]:.1f} for all ({each[1] / 60:.1f} and {whole[1]:.1f} of processor time)",
        flush=True,
    )


if __name__ == "__main__":
    main()
