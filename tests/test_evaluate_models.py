"""``evaluate --model``: whole models and endpoints answer questions about videos, under every control."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chat_server import pictures, serving
from multimodal_families import FAMILIES
from numbered_videos import number_in, write_numbered
from tiny_multimodal import write

from encoder.video.clips import Clip
from gym_qa.questions.questions import Question, write_questions
from sefar_mllm.cli import main
from sefar_mllm.inference.footage import Footage

CONTROLS = ("no-video", "other-video", "shuffled", "reversed", "blank", "one-frame", "circular")
BODIES = ("tucked", "piked", "stretched", "twisted")
SHOWN = [5, 15, 25, 35, 45]  # the middle frames of five parts of fifty

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Six clips of fifty numbered frames, clip ``n`` from ``10 n`` on, with a question each."""
    folder = tmp_path_factory.mktemp("world")
    questions = []
    for number in range(6):
        write_numbered(folder / f"clip{number}.mp4", times=range(10 * number, 10 * number + 50))
        options = tuple(f"salto {BODIES[(number + step) % 4]}" for step in range(4))
        asked = f"Clip {number} is {options[number % 3].split()[-1]}?"
        clip, source = f"clip{number}", f"source{number}"
        questions.append(Question(f"q{number}", clip, asked, options, number % 3, source=source))
    write_questions(folder / "questions.jsonl", questions)
    return folder


def told(world: Path, output: Path, *more: str) -> list[str]:
    controls = f"[{', '.join(CONTROLS)}]"
    return [
        "evaluate", "--questions", str(world / "questions.jsonl"), "--output", str(output), "--video-root",
        str(world), "--frames", "5", "--device", "cpu", "--precision", "fp32",
        "--controls", controls, *more,
    ]  # fmt: skip


def test_frames_that_are_shown(world):
    clip = world / "clip0.mp4"
    footage = Footage({"c": Clip(clip, -1), "part": Clip(clip, -1, 1.0, 1.2)}, 5)

    def numbers(shown: Footage, name: str = "c") -> list[int]:
        return [number_in(frame) for frame in shown[name].frames]

    assert numbers(footage) == SHOWN
    assert footage["c"].seconds == pytest.approx([number / 25 for number in SHOWN])
    assert numbers(footage.shown_as("reversed")) == SHOWN[::-1]
    shuffled = numbers(footage.shown_as("shuffled"))
    assert shuffled != SHOWN
    assert sorted(shuffled) == SHOWN
    assert footage.shown_as("shuffled")["c"].seconds == footage["c"].seconds
    assert numbers(footage.shown_as("one-frame")) == [25]
    blank = footage.shown_as("blank")["c"]
    assert blank.frames.shape == footage["c"].frames.shape
    assert not blank.frames.any()
    assert numbers(footage, "part") == [25, 26, 27, 28, 29]
    assert footage["part"].seconds == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def test_a_whole_model_under_every_control(world, tmp_path, capsys):
    model = write(FAMILIES["Qwen2-VL"], tmp_path / "model")
    assert main(told(world, tmp_path / "out", "--model", f"hf:{model}")) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["score"] == "generated"
    assert metrics["unparsed_rate"] == 1.0  # random weights write nonsense
    assert metrics["accuracy"] == 0.0
    assert set(metrics["accuracy_by_score"]) == {"letter", "text_sum", "text_mean", "generated"}
    assert metrics["options"]["frames"] == 5
    written = {file.stem for file in (tmp_path / "out/controls").glob("*.jsonl")}
    assert written == {*CONTROLS, "shifted-1", "shifted-2", "shifted-3"}
    scores = {
        name: [json.loads(line)["scores"]["text_sum"] for line in (tmp_path / "out" / file).open()]
        for name, file in [
            ("", "predictions.jsonl"),
            *((name, f"controls/{name}.jsonl") for name in CONTROLS[:-1]),
        ]
    }
    assert len({json.dumps(values) for values in scores.values()}) == len(CONTROLS)
    told_rows = (tmp_path / "out/report.md").read_text()
    assert "model: blank video" in told_rows
    assert "model: one frame" in told_rows


def test_an_endpoint_under_every_control(world, tmp_path, capsys):
    with serving() as server:
        command = told(world, tmp_path / "out", "--model", "openai:org/tiny", "--base-url", server.url)
        assert main([*command, "--endpoint.concurrency", "3", "--endpoint.key_variable", "NOT_SET"]) == 0
        before = len(server.requests)
        assert "100.0% of 6 questions right" in capsys.readouterr().out
        seen = [[number_in(frame) for frame in pictures(request)] for request in server.requests]
        filmed = [[10 * clip + number for number in SHOWN] for clip in range(6)]
        assert sum(len(shown) == 5 for shown in seen) == 6 * (1 + 1 + 2 + 1 + 3)
        assert [seen.count(shown) for shown in filmed] == [1 + 1 + 3] * 6  # its own, another's, every order
        assert [seen.count(shown[::-1]) for shown in filmed] == [1] * 6
        assert [seen.count([shown[2]]) for shown in filmed] == [1] * 6
        assert seen.count([]) == seen.count([0] * 5) == 6
        assert main([*command, "--endpoint.concurrency", "3", "--endpoint.key_variable", "NOT_SET"]) == 0
        assert len(server.requests) == before
    usage = json.loads((tmp_path / "out/usage.json").read_text())
    assert usage["asked_now"] == 0
    assert usage["requests"] == before
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["language_model"] == "org/tiny"
    assert metrics["accuracy_by_score"] == {"letter": 1.0, "generated": 1.0}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "name either a checkpoint or a model"),
        (("--model", "hf:x", "--checkpoint", "y"), "name either a checkpoint or a model"),
        (("--model", "vllm:x"), "expected hf:NAME-OR-FOLDER or openai:NAME"),
        (("--model", "hf:x", "--features", "y"), "takes no stored features"),
        (("--model", "hf:x", "--score", "letter"), "the reply of a whole model decides"),
        (("--model", "hf:x", "--frames", "0"), "frames: expected at least 1"),
    ],
)
def test_settings_that_do_not_go_together(world, tmp_path, capsys, more, message):
    assert main(told(world, tmp_path / "out", *more)) == 2
    assert message in capsys.readouterr().err


def test_clips_by_list(world, tmp_path, capsys):
    """Spans of longer videos stand in a clip list."""
    (tmp_path / "clips.csv").write_text("video,label,start,end\nclip0.mp4,0,1.0,1.4\n")
    asked = Question("q", "clip0@1-1.4", "Clip 0 is piked?", ("tucked", "piked"), 1)
    write_questions(tmp_path / "questions.jsonl", [asked])
    with serving() as server:
        arguments = [
            "evaluate", "--questions", str(tmp_path / "questions.jsonl"), "--output", str(tmp_path / "out"),
            "--clips", f"[{tmp_path / 'clips.csv'}]", "--video-root", str(world), "--frames", "5",
            "--model", "openai:tiny", "--base-url", server.url, "--endpoint.key_variable", "NOT_SET",
        ]  # fmt: skip
        assert main(arguments) == 0
        assert [number_in(frame) for frame in pictures(server.requests[0])] == [26, 28, 30, 32, 34]
    write_questions(tmp_path / "questions.jsonl", [asked, Question("r", "gone", "?", ("a", "b"), 0)])
    assert main(arguments) == 2
    assert "no clip of 1 that" in capsys.readouterr().err
