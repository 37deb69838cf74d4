"""The verb ``ask``: a question about a video, or the questions of a file about the videos of a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse.typing import register_type
from tqdm import tqdm

from encoder.device import own_device
from encoder.processes.group import Processes, join
from encoder.processes.launcher import launched
from encoder.video.clips import Clip
from encoder.video.pictures import picture_folders
from gym_qa.questions.questions import Question, read_questions
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import write_lines
from sefar_mllm.inference.options import check_options
from sefar_mllm.inference.video_qa import VideoAnswer, VideoQA, question_about
from sefar_mllm.model.language_model import Precision, resolve_dtype

VIDEOS = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v")


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
        asked = [question_about(config.video, config.question, config.options, *span)]
    else:
        asked = find_clips(questions_of(config, file), config.video, file, config.rate)
    if file is None and launched() > 1:
        raise SefarMLLMError(
            f"{launched()} processes were launched for one question; start it without a launcher"
        )
    processes = Processes(device=own_device(config.device)) if file is None else join("ask", config.device)
    dtype = resolve_dtype(config.precision, processes.device)
    qa = VideoQA.from_pretrained(config.checkpoint, config.encoder, dtype, processes.device)
    if file is not None:
        answer_file(config, qa, asked, processes)
        return
    found = qa.answer(asked)[0]
    strip = found.save_strip(config.output / f"{asked[0][1].id}.png")
    print(found.text)
    width = max(map(len, found.options), default=0)
    for option, probability in zip(found.options, found.probabilities, strict=True):
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


def find_clips(
    questions: list[Question], folder: Path, file: Path, rate: float | None = None
) -> list[tuple[Question, Clip]]:
    """Each question with its clip's video, a file or a folder of pictures found by name under ``folder``.

    Raises:
        SefarMLLMError: naming the first clips without a video.
    """
    if not folder.is_dir():
        raise SefarMLLMError(f"{folder}: no such folder; for a question file, name the folder of its videos")
    videos = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in VIDEOS}
    asked = {question.video for question in questions}
    if asked - set(videos):
        videos = {Clip(path, -1).id: path for path in picture_folders(folder)} | videos
    if missing := sorted(asked - set(videos)):
        raise SefarMLLMError(
            f"{folder}: has no video of {len(missing)} of the clips that {file} asks about "
            f"({', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}); expected a file of each clip's "
            f"name, ending in {', '.join(VIDEOS)}, or a folder of pictures"
        )
    clips = {name: Clip(path, -1, rate=rate if path.is_dir() else None) for name, path in videos.items()}
    return [(question, clips[question.video]) for question in questions]


def answer_file(
    config: AskConfig,
    qa: VideoQA,
    asked: list[tuple[Question, Clip]],
    processes: Processes,
) -> None:
    """Answer a file's questions batch by batch; a line of answers.jsonl and a picture for each.

    Several processes share the batches; the first writes the lines.
    """
    config.output.mkdir(parents=True, exist_ok=True)
    batches = [asked[start : start + config.batch_size] for start in range(0, len(asked), config.batch_size)]
    shown: dict[str, int] = {}  # the batch that draws each clip's picture
    for number, batch in enumerate(batches):
        for question, _ in batch:
            shown.setdefault(question.video, number)
    rows: list[list[dict[str, Any]]] = []
    for number in tqdm(processes.mine(range(len(batches))), desc="batches", disable=not processes.first):
        found = qa.answer(batches[number])
        rows.append([row(question, one) for (question, _), one in zip(batches[number], found, strict=True)])
        for (question, _), one in zip(batches[number], found, strict=True):
            if shown.get(question.video) == number:
                one.save_strip(config.output / f"{question.video}.png")
                del shown[question.video]
    lines = [line for batch_rows in processes.gather(rows) for line in batch_rows]
    if processes.first:
        write_lines(config.output / "answers.jsonl", lines)
        right = sum(line["choice"] == line["answer"] for line in lines)
        print(f"{right / len(lines):.1%} of {len(lines)} questions right; {config.output / 'answers.jsonl'}")


def row(question: Question, found: VideoAnswer) -> dict[str, Any]:
    """A line of answers.jsonl."""
    return {
        "id": question.id,
        "video": question.video,
        "choice": found.choice,
        "text": found.text,
        "probabilities": found.probabilities,
        "answer": question.answer,
    }
