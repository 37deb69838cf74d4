"""The verb ``ask``: a question about a video, or the questions of a file about the videos of a folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from jsonargparse.typing import register_type
from tqdm import tqdm

from encoder.device import own_device
from encoder.processes.group import Processes, join
from encoder.processes.launcher import launched
from encoder.video.clips import Clip
from gym_qa.datasets.clip_files import ENDINGS
from gym_qa.questions.questions import Question, read_questions
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import write_lines
from sefar_mllm.inference.clip_finder import find_clips
from sefar_mllm.inference.options import check_options
from sefar_mllm.inference.video_qa import VideoAnswer, VideoQA, question_about
from sefar_mllm.model.language_model import Precision, resolve_dtype


class Seconds(float):
    """A time of a video on the command line, of which `question_about` says what is wrong, "nan" included."""


register_type(Seconds, float, lambda text: Seconds("nan" if str(text).lower() == ".nan" else text))


@dataclass(frozen=True)
class AskConfig:
    """Ask a fine-tuned model about a video, or about the videos of a question file.

    The encoder that the model was trained with looks at the video; the frames it looked at are saved as one
    picture for each clip.

    Args:
        video: the video, a file or a folder of numbered pictures; for a question file, the folder that holds
            its videos.
        question: the question; or a question file (.jsonl), whose answers go to answers.jsonl.
        checkpoint: folder that fine-tuning wrote; by default the demo's.
        options: the answers to choose from, as '[first, second, …]'; without any the model writes freely.
        start: second at which the clip begins within the video; null for the video's beginning.
        end: second at which the clip ends; null for the video's end.
        rate: pictures a second, where the video is a folder of pictures.
        output: folder for the pictures, CLIP.png, and answers.jsonl.
        encoder: where the encoder is now, if it was moved since the training.
        batch_size: questions of a file run at a time.
        precision: of weights and matrix products; auto is bf16 where the hardware multiplies in it.
        device: auto, or a torch device.
    """

    video: Path
    question: str
    checkpoint: Path = Path("runs/demo/mllm/SeFAR/seed-0")
    options: list[str] = field(default_factory=list)
    start: Seconds | None = None
    end: Seconds | None = None
    rate: float | None = None
    output: Path = Path("runs/ask")
    encoder: str | None = None
    batch_size: int = 8
    precision: Precision = "auto"
    device: str = "auto"


def ask_verb(config: AskConfig) -> None:
    """Run the verb: answer, print, save the frames looked at.

    Raises:
        SefarMLLMError: when model, encoder and question do not fit one another, or videos are missing.
        EncoderError: when a video cannot be read.
        GymQAError: when the question file is amiss.
    """
    file = Path(config.question) if config.question.endswith(".jsonl") else None
    if file is None:
        span = config.start, config.end, config.rate
        questions = [question_about(config.video, config.question, config.options, *span)]
    else:
        questions = with_clips(questions_of(config, file), config.video, file, config.rate)
    if file is None and launched() > 1:
        raise SefarMLLMError(
            f"{launched()} processes were launched for one question; start it without a launcher"
        )
    processes = Processes(device=own_device(config.device)) if file is None else join("ask", config.device)
    dtype = resolve_dtype(config.precision, processes.device)
    qa = VideoQA.from_pretrained(config.checkpoint, config.encoder, dtype, processes.device)
    if file is not None:
        answer_file(config, qa, questions, processes)
        return
    answer = qa.answer(questions)[0]
    strip = answer.save_strip(config.output / f"{questions[0][1].id}.png")
    print(answer.text)
    width = max(map(len, answer.options), default=0)
    for option, probability in zip(answer.options, answer.probabilities, strict=True):
        print(f"  {option:<{width}}  {probability:6.1%}")
    print(f"frames looked at: {strip}")


def questions_of(config: AskConfig, file: Path) -> list[Question]:
    """The questions of a file.

    Raises:
        SefarMLLMError: for settings that go with a question of the command line, or options that are none.
    """
    given = [name for name in ("options", "start", "end") if getattr(config, name) not in (None, [])]
    if given:
        raise SefarMLLMError(
            f"{given[0]}: the questions of {file} have their own options and whole clips; leave it out"
        )
    questions = read_questions(file)
    check_options(questions, str(file))
    return questions


def with_clips(
    questions: list[Question], folder: Path, file: Path, rate: float | None = None
) -> list[tuple[Question, Clip]]:
    """Each question with its clip, found by name under ``folder``.

    Raises:
        SefarMLLMError: naming the first clips without a video.
    """
    if not folder.is_dir():
        raise SefarMLLMError(f"{folder}: no such folder; for a question file, name the folder of its videos")
    names = {question.video for question in questions}
    clips = find_clips(folder, names, rate)
    if missing := sorted(names - clips.keys()):
        raise SefarMLLMError(
            f"{folder}: has no video of {len(missing)} of the clips that {file} asks about "
            f"({', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}); expected a file of each clip's "
            f"name, ending in {', '.join(ENDINGS)}, or a folder of pictures"
        )
    return [(question, clips[question.video]) for question in questions]


def answer_file(
    config: AskConfig,
    qa: VideoQA,
    questions_and_clips: list[tuple[Question, Clip]],
    processes: Processes,
) -> None:
    """Answer a file's questions batch by batch; a line of answers.jsonl and a picture for each.

    Several processes share the batches; the first writes the lines.
    """
    config.output.mkdir(parents=True, exist_ok=True)
    size = config.batch_size
    batches = [
        questions_and_clips[start : start + size] for start in range(0, len(questions_and_clips), size)
    ]
    shown: dict[str, int] = {}  # the batch that draws each clip's picture
    for number, batch in enumerate(batches):
        for question, _ in batch:
            shown.setdefault(question.video, number)
    batch_lines: list[list[AnswerLine]] = []
    for number in tqdm(processes.mine(range(len(batches))), desc="batches", disable=not processes.first):
        questions = [question for question, _ in batches[number]]
        answers = qa.answer(batches[number])
        batch_lines.append([answer_line(*pair) for pair in zip(questions, answers, strict=True)])
        for question, answer in zip(questions, answers, strict=True):
            if shown.get(question.video) == number:
                answer.save_strip(config.output / f"{question.video}.png")
                del shown[question.video]
    lines = [line for part in processes.gather(batch_lines) for line in part]
    if processes.first:
        write_lines(config.output / "answers.jsonl", [asdict(line) for line in lines])
        right = sum(line.choice == line.answer for line in lines)
        print(f"{right / len(lines):.1%} of {len(lines)} questions right; {config.output / 'answers.jsonl'}")


@dataclass(frozen=True)
class AnswerLine:
    """A line of answers.jsonl; ``answer`` is the right option."""

    id: str
    video: str
    choice: int | None
    text: str
    probabilities: list[float]
    answer: int


def answer_line(question: Question, given: VideoAnswer) -> AnswerLine:
    """What was answered to a question."""
    return AnswerLine(
        question.id, question.video, given.choice, given.text, given.probabilities, question.answer
    )
