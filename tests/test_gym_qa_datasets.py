"""The published data sets other than FineGym, from their files to questions and official exports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gym_qa_sources import FINEGYM, SOURCES, source
from published_sets import MAKERS

from gym_qa.benchmark.build import build_qa
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.sources import DATASETS, read_tables
from gym_qa.datasets.wordings import WORDINGS
from gym_qa.errors import GymQAError
from gym_qa.questions.official import read_official
from gym_qa.questions.questions import read_questions
from sefar_mllm.cli import main


@pytest.fixture(params=MAKERS)
def published(request, tmp_path):
    folder = tmp_path / request.param
    folder.mkdir()
    return request.param, MAKERS[request.param](folder)


def build(name, folder, output, *options):
    arguments = ["--dataset", name, "--data", str(folder), "--output", str(output), "--fraction", "0.5"]
    assert main(["build-qa", *arguments, "--policy", "uniform", "--balance", "none", *options]) == 0
    return read_questions(output / "val_questions.jsonl")


def test_every_data_set_has_every_wording():
    assert all(list(data_set.wordings) == list(WORDINGS) for data_set in DATASETS.values())


OTHERS = {"annotation": Path("a.json"), "action_type": "5253B", "fold": 2, "contradictory": "keep"}


@pytest.mark.parametrize("option", OTHERS)
def test_an_option_of_another_data_set_is_refused(published, option):
    name, folder = published
    files = DataFiles(dataset=name, data=folder, **{option: OTHERS[option]})
    if option in DATASETS[name].options:
        DATASETS[name].check(files)
    else:
        with pytest.raises(GymQAError, match=f"'{name}' has no option {option}; "):
            read_tables(files)


@pytest.mark.parametrize("wording", [*WORDINGS, "varied"])
def test_only_gymnasts_are_asked_about_gymnastics(published, wording, tmp_path):
    name, folder = published
    asked = build(name, folder, tmp_path / "qa", "--wording", wording)
    texts = {question.question for question in asked}
    assert texts <= set(DATASETS[name].wordings.values())
    assert wording == "varied" or texts == {DATASETS[name].wordings[wording]}
    assert not any(word in text.lower() for text in texts for word in ("gymnast", "element"))
    assert {question.dataset for question in asked} == {name}


def test_official_exports_name_their_data_set_and_lengths(published, tmp_path):
    name, folder = published
    build(name, folder, tmp_path / "qa", "--recipe", "official")
    arguments = ["--questions", str(tmp_path / "qa" / "val_questions.jsonl"), "--format", "official"]
    assert main(["export-qa", *arguments, "--output", str(tmp_path / "official.json")]) == 0
    rows = json.loads((tmp_path / "official.json").read_text("utf-8"))
    assert {row["dataset"] for row in rows.values()} == {name}
    _, val = read_tables(DataFiles(dataset=name, data=folder))
    frames = {clip.clip_id: clip.length(25) for clip in val.clips}
    assert {row["video"]: row["frame_length"] for row in rows.values()} == frames


@pytest.mark.parametrize("name", SOURCES)
def test_an_official_file_comes_back_byte_for_byte(name, tmp_path):
    if name == "finegym":
        path = FINEGYM / "official_gym_qa" / "gym99_5_train.json"
    else:
        build_qa(source(name).config(tmp_path / "qa", recipe="official"))
        path = tmp_path / "qa" / "val_official.json"
    rows = json.loads(path.read_text("utf-8"))
    assert any(row["frame_length"] for row in rows.values())
    assert {row["dataset"] for row in rows.values()} == {name}
    arguments = ["export-qa", "--questions", str(path), "--format", "official"]
    assert main([*arguments, "--output", str(tmp_path / "again.json")]) == 0
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    # The long way, through questions of our own form, loses nothing that the published files hold either.
    assert main([*arguments[:3], "--format", "lmms-eval", "--output", str(tmp_path / "task")]) == 0
    arguments[2] = str(tmp_path / "task" / "questions.jsonl")
    assert main([*arguments, "--output", str(tmp_path / "thrice.json")]) == 0
    assert (tmp_path / "thrice.json").read_bytes() == path.read_bytes()


SOURCES_OF = {
    "ucf101": {f"v_{name}_g01_c0{clip}": f"v_{name}_g01" for name in ("Biking", "YoYo") for clip in (1, 2)},
    "hmdb51": {f"Third_(HQ)_{name}_f_cm_np1_ba_med_0": "Third_(HQ)" for name in ("climb", "climb_stairs")},
    "something": {"2000": "2000", "2001": "2001"},
    "finediving": {f"Men10m_final_{n}": "Men10m_final" for n in range(5)},
}  # fmt: skip


def test_questions_carry_the_video_of_origin(published, tmp_path):
    name, folder = published
    asked = build(name, folder, tmp_path / "qa")
    found = {question.video: question.source for question in asked}
    assert SOURCES_OF[name].items() <= found.items()
    assert all(found.values())


@pytest.mark.parametrize("name", SOURCES)
def test_finegyms_questions_carry_the_video_of_origin(name, tmp_path):
    build_qa(source(name).config(tmp_path))
    annotation = json.loads(source(name).annotation.read_text("utf-8"))
    for question in read_questions(tmp_path / "val_questions.jsonl"):
        assert question.source in annotation
        assert question.video.startswith(f"{question.source}_E_")


@pytest.mark.parametrize("text", ["giant A. circle", "B. C.", "x C.y"])
def test_texts_that_the_official_form_cannot_hold_are_refused(text, tmp_path, capsys):
    row = {"id": "q", "video": "v", "question": "Which?", "options": ["a", "b", text, "d"], "answer": 0}
    question = {**row, "options": ["a", "b", "c", "d"], "question": f"Which, {text}?"}
    for bad in (row, question):
        (tmp_path / "q.jsonl").write_text(json.dumps(bad) + "\n", "utf-8")
        arguments = ["--questions", str(tmp_path / "q.jsonl"), "--format", "official"]
        status = main(["export-qa", *arguments, "--output", str(tmp_path / "o.json")])
        said = capsys.readouterr().err
        if status == 0:  # the marks stand in an order that can be told apart
            taken = next(iter(read_official(tmp_path / "o.json"))).as_question()
            assert (taken.question, list(taken.options)) == (bad["question"], bad["options"])
        else:
            assert "question q" in said
