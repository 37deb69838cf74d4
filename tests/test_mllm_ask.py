"""Asking about videos: encoder, projector and language model together, without a feature store."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_videos import counting_frames, write_direction_set, write_video
from mllm_sources import QUESTION, question_file, tiny_folder
from PIL import Image

from encoder.errors import EncoderError
from encoder.features.extract import ExtractConfig, extract
from encoder.model.sefar import SefarEncoder
from gym_qa.questions.questions import Question
from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.finetuning.config import FinetuneConfig
from sefar_mllm.finetuning.finetune import finetune
from sefar_mllm.inference.frame_strip import write_strip
from sefar_mllm.inference.multiple_choice import score_questions
from sefar_mllm.inference.score_rules import choose
from sefar_mllm.inference.video_qa import VideoQA
from sefar_mllm.model.lora import LoraOptions
from sefar_mllm.model.mllm import SefarMLLM
from sefar_mllm.model.prompts import PromptConfig

OPTIONS = ("salto forward tucked", "salto backward piked")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return make_world(tmp_path_factory.mktemp("ask"))


def make_world(folder: Path) -> Path:
    """Six videos, an encoder, its features, and a model fine-tuned on them for a moment."""
    torch.manual_seed(0)
    encoder = SefarEncoder(3, {"image_size": 32, "patch_size": 8, "dim": 12, "depth": 2, "heads": 2})
    encoder.save_pretrained(folder / "encoder")
    (folder / "videos").mkdir()
    clips = write_direction_set(folder / "videos", 6, "clip")
    questions = [Question(f"q{i}", f"clip{i}", QUESTION, OPTIONS, i % 2) for i in range(6)]
    question_file(folder / "questions.jsonl", questions)
    spec = f"sefar:{folder / 'encoder'}"
    extract(ExtractConfig(spec, [clips], folder / "features", workers=0, dtype="fp32"))
    tiny_folder(folder / "lm")
    finetune(
        FinetuneConfig(
            questions=folder / "questions.jsonl",
            output=folder / "model",
            features=folder / "features",
            language_model=str(folder / "lm"),
            precision="fp32",
            prompt=PromptConfig(list_options=False),
            lora=LoraOptions(rank=4),
            max_steps=1,
            align_steps=5,
            trainer={"disable_tqdm": True},
        )
    )
    return folder


def expected(world: Path, clip: str) -> list[float]:
    """Probabilities of the options, from the stored features."""
    from encoder.features.store import FeatureStore

    model = SefarMLLM.from_pretrained(world / "model")
    question = Question("q", clip, QUESTION, OPTIONS, 0)
    with torch.no_grad():
        row = score_questions(model, [question], FeatureStore.open(world / "features"), progress=False)[0]
    return choose(row["text_pmi"])[1]


def test_five_lines_of_python_answer_as_the_evaluation_does(world, tmp_path):
    answer = VideoQA.from_pretrained(world / "model").ask(world / "videos" / "clip3.mp4", QUESTION, OPTIONS)
    assert answer.probabilities == pytest.approx(expected(world, "clip3"), abs=1e-4)
    assert answer.text == OPTIONS[int(np.argmax(answer.probabilities))]
    assert sum(answer.probabilities) == pytest.approx(1)
    strip = answer.save_strip(tmp_path / "strips" / "clip3.png")
    assert Image.open(strip).size[0] > 8 * 100


def test_the_frames_looked_at_are_the_middles_of_the_clip(world, tmp_path):
    video = write_video(tmp_path / "count.mp4", counting_frames(40), fps=20)
    qa = VideoQA.from_pretrained(world / "model")
    clip = qa.ask(video, QUESTION, OPTIONS).clip
    middles = [5 * i + 2 for i in range(8)]
    assert clip.seconds == pytest.approx([i / 20 for i in middles])
    greys = clip.frames.mean((1, 2, 3))
    assert greys == pytest.approx([20 + 4 * i for i in middles], abs=2)
    part = qa.ask(video, QUESTION, OPTIONS, start=1.0, end=1.8).clip
    assert part.seconds == pytest.approx([1.0 + (2 * i + 1) / 20 for i in range(8)])
    assert part.frames.mean((1, 2, 3)) == pytest.approx([20 + 4 * (21 + 2 * i) for i in range(8)], abs=2)


def test_without_options_the_model_writes(world):
    answer = VideoQA.from_pretrained(world / "model").ask(world / "videos" / "clip0.mp4", QUESTION)
    assert isinstance(answer.text, str)
    assert (answer.choice, answer.probabilities) == (None, [])


def test_another_encoder_is_refused_and_a_moved_one_is_not(world, tmp_path):
    model = SefarMLLM.from_pretrained(world / "model")
    moved = shutil.copytree(world / "encoder", tmp_path / "moved")
    assert VideoQA(model, f"sefar:{moved}").encoder.fingerprint == model.settings.encoder.fingerprint
    with pytest.raises(SefarMLLMError, match=r"is not the one .* was trained with"):
        VideoQA(model, f"sefar:{moved}?tokens=clip")
    with pytest.raises(EncoderError, match="nowhere"):
        VideoQA(model, "sefar:/nowhere")


def test_the_verb_prints_the_answer_and_saves_the_frames(world, tmp_path, capsys):
    arguments = [str(world / "videos" / "clip2.mp4"), QUESTION, "--checkpoint", str(world / "model")]
    options = ["--options", f"[{', '.join(OPTIONS)}]", "--output", str(tmp_path), "--precision", "fp32"]
    assert main(["ask", *arguments, *options]) == 0
    said = capsys.readouterr().out
    for option, probability in zip(OPTIONS, expected(world, "clip2"), strict=True):
        assert f"  {option:<20}  {probability:6.1%}\n" in said
    assert (tmp_path / "clip2.png").is_file()
    assert main(["ask", *arguments, "--options", "[one]"]) == 2
    assert "only one" in capsys.readouterr().err
    unknown = tmp_path / "unknown.mp4"
    unknown.write_bytes((world / "videos" / "clip2.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    assert main(["ask", str(unknown), *arguments[1:], *options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {unknown}: no decoder is known for it")


def test_the_questions_of_a_file(world, tmp_path, capsys):
    arguments = ["--checkpoint", str(world / "model"), "--output", str(tmp_path), "--precision", "fp32"]
    asked = [str(world / "videos"), str(world / "questions.jsonl"), "--batch_size", "4"]
    assert main(["ask", *asked, *arguments]) == 0
    rows = [json.loads(row) for row in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(6)]
    for row in rows:
        assert row["probabilities"] == pytest.approx(expected(world, row["video"]), abs=1e-4)
        assert (tmp_path / f"{row['video']}.png").is_file()
    right = sum(row["choice"] == row["answer"] for row in rows)
    assert f"{right / 6:.1%} of 6 questions right" in capsys.readouterr().out
    (tmp_path / "few").mkdir()
    shutil.copy(world / "videos" / "clip0.mp4", tmp_path / "few")
    assert main(["ask", str(tmp_path / "few"), asked[1], *arguments]) == 2
    assert "5 of the clips" in capsys.readouterr().err


def test_a_strip_shows_every_frame_in_order(tmp_path):
    shades = np.arange(1, 13, dtype=np.uint8) * 20
    frames = np.broadcast_to(shades[:, None, None, None], (12, 40, 40, 3)).copy()
    picture = np.asarray(Image.open(write_strip(tmp_path / "a.png", frames)))
    assert picture.shape == (2 * 164 + 4, 8 * 164 + 4, 3)
    centres = [(84 + 164 * (i // 8), 84 + 164 * (i % 8)) for i in range(12)]
    assert [picture[y, x, 0] for y, x in centres] == shades.tolist()


WORDS = (
    "[yes, no]",
    "[1, 2]",
    "[1.0, null, ~]",
    "[off, 0x10, 1e3]",
    "['12:30', 2001-01-01]",
    "[a: b, {c: d}]",
)


@pytest.mark.parametrize("written", WORDS)
def test_options_are_the_words_that_were_written(world, tmp_path, capsys, written):
    """On the command line and in a file: YAML would make truths and numbers of them."""
    words = [word.strip(" '") for word in written.strip("[]").split(", ")]
    arguments = [str(world / "videos" / "clip2.mp4"), "Is it?", "--checkpoint", str(world / "model")]
    (tmp_path / "ask.yaml").write_text(
        f"options: {written}\nstart: null\nprecision: fp32\n", encoding="utf-8"
    )
    for options in (["--options", written, "--precision", "fp32"], ["--config", str(tmp_path / "ask.yaml")]):
        assert main(["ask", *arguments, *options, "--output", str(tmp_path)]) == 0
        said = capsys.readouterr().out.splitlines()
        listed = [line.rsplit("  ", 1)[0].strip() for line in said if line.startswith("  ")]
        assert listed == words
        assert set(said) & set(words)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (["--start", "-1"], "start: expected a second of the video, 0 or later, got -1 s"),
        (["--end=-0.5"], "end: expected a second of the video, 0 or later, got -0.5 s"),
        (["--start", "nan"], "start: expected a second of the video, 0 or later, got nan s"),
        (["--end", ".NaN"], "end: expected a second of the video, 0 or later, got nan s"),
        (["--end", "inf"], "got inf s"),
        (["--start", "2", "--end", "1"], "the clip would end at 1 s and begin at 2 s"),
        (["--start", "0.5", "--end", "0.5"], "the clip would end at 0.5 s and begin at 0.5 s"),
        (["--end", "0"], "the clip would end at 0 s and begin at 0 s"),
        (["--start", "60"], " s"),
        (["--end", "60"], " s"),
    ],
)
def test_a_span_that_is_none_is_refused_in_seconds(world, tmp_path, capsys, span, message):
    arguments = [str(world / "videos" / "clip2.mp4"), QUESTION, "--checkpoint", str(world / "model")]
    assert main(["ask", *arguments, *span, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    if "60" in span:  # known when the video is opened
        assert re.search(r"clip2.*video (ends )?at \d+\.\d+ s", said)
    assert not (tmp_path / "out").exists()


def test_what_goes_with_no_question_is_refused(world, tmp_path, capsys):
    arguments = ["--checkpoint", str(world / "model"), "--output", str(tmp_path / "out")]
    asked = [str(world / "videos"), str(world / "questions.jsonl")]
    assert main(["ask", *asked, "--start", "1", *arguments]) == 2
    assert "start: the questions of" in capsys.readouterr().err
    assert main(["ask", *asked, "--options", "[a, b]", *arguments]) == 2
    assert "options: the questions of" in capsys.readouterr().err
    assert main(["ask", str(world / "videos" / "clip2.mp4"), " ", *arguments]) == 2
    assert "question: it is empty" in capsys.readouterr().err
    for options, message in (("[a, '']", "a blank option"), ("[a, b, A]", "the same option twice ('A')")):
        question = [str(world / "videos" / "clip2.mp4"), QUESTION, "--options", options]
        assert main(["ask", *question, *arguments]) == 2
        assert message in capsys.readouterr().err
    qa = VideoQA.from_pretrained(world / "model")
    with pytest.raises(SefarMLLMError, match="a blank option"):
        qa.ask(world / "videos" / "clip0.mp4", QUESTION, ["a", " "])
    with pytest.raises(SefarMLLMError, match="got nan s"):
        qa.ask(world / "videos" / "clip0.mp4", QUESTION, start=float("nan"))


def test_from_any_folder_and_after_a_move(tmp_path, monkeypatch):
    """Everything named from one folder; asked from another one; and again after the whole was moved."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    make_world(Path())
    qa = VideoQA.from_pretrained("model")
    answer = qa.ask("videos/clip3.mp4", QUESTION, OPTIONS)
    monkeypatch.chdir(tmp_path)
    loaded = VideoQA.from_pretrained("home/model")
    assert loaded.model.settings == qa.model.settings
    assert loaded.ask("home/videos/clip3.mp4", QUESTION, OPTIONS).probabilities == answer.probabilities
    loaded.model.save_pretrained(tmp_path / "elsewhere" / "copy")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert VideoQA.from_pretrained("copy").encoder.fingerprint
    moved = (tmp_path / "home").rename(tmp_path / "moved")
    loaded = VideoQA.from_pretrained(moved / "model")
    assert loaded.model.settings.language_model == str(moved / "lm")
    assert loaded.ask(moved / "videos/clip3.mp4", QUESTION, OPTIONS).probabilities == answer.probabilities
    shutil.rmtree(moved / "encoder")
    with pytest.raises(EncoderError, match=r"encoder: not a SeFAR encoder.*--encoder says where"):
        VideoQA.from_pretrained(moved / "model")
    with pytest.raises(SefarMLLMError, match="no such folder"):
        SefarMLLM.from_pretrained(tmp_path / "elsewhere" / "copy")
