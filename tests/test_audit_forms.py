"""Question files of other projects: small files in each publisher's form, read to the questions they hold."""

from __future__ import annotations

import csv
import json
from ast import literal_eval

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_qa.errors import GymQAError
from gym_qa.questions.cells import Unusable, answer_of, options_of, split_question
from gym_qa.questions.loading import read_question_file
from gym_qa.questions.published import FORMS, Columns
from sefar_mllm.cli import main

#: What every file below holds: question, options, index of the right one, video.
ASKED = [
    ("Which way does the ball roll?", ("to the left", "to the right"), 1, "v1.mp4"),
    ("How often does it bounce?", ("once", "twice", "three times", "never"), 2, "v2.mp4"),
    ("What is done first?", ("a jump", "a turn", "a bow"), 0, "v2.mp4"),
]


def lettered(options, mark="{}. {}"):
    return [mark.format(letter, text) for letter, text in zip("ABCDEF", options, strict=False)]


def motionbench():
    rows = [
        {"uid": f"u{n}", "question": "\n".join([text, *lettered(options)]), "answer": "ABCD"[right]}
        for n, (text, options, right, _) in enumerate(ASKED)
    ]
    hidden = {"uid": "u9", "question": "Which?\nA. x\nB. y", "answer": "NA"}
    first = {"key": "k1", "video_path": "v1.mp4", "video_type": "web", "question_type": "Camera Motion"}
    second = {**first, "key": "k2", "video_path": "v2.mp4", "question_type": "Repetition Count"}
    return [{**first, "qa": rows[:1]}, {**second, "qa": [*rows[1:], hidden]}]


def favor():
    def inner(n):
        text, options, right, _ = ASKED[n]
        return {
            "question": text,
            "options": list(options),
            "correct_answer": options[right],
            "task_type": "AS",
        }

    return [
        {"video_name": "v1.mp4", "questions": [inner(0)]},
        {"video_name": "v2.mp4", "questions": [inner(1), inner(2)]},
    ]


def timeblind():
    rows = []
    for n in range(8):
        kind = "yes_no" if n < 4 else "multiple_choice"
        text = f"Question {n // 2}?" + ("" if n < 4 else " A. left B. right")
        right = (("Yes", "No") if n < 4 else ("A", "B"))[(n + n // 2) % 2]
        rows.append(
            {"index": n, "video_path": f"v{n % 2}.mp4", "question": text, "answer": right, "type": kind}
        )
    return rows


def tomato():
    return {
        str(n): {"question": text, "options": list(options), "answer": right, "key": video}
        | {"motion_type": "count", "demonstration_type": "human"}
        for n, (text, options, right, video) in enumerate(ASKED)
    }


def tvbench():
    return [
        {"video": video, "question": text, "candidates": list(options), "answer": options[right]}
        for text, options, right, video in ASKED
    ]


def videonet():
    return [
        {
            "key": f"{n}-mcq",
            "question": [
                {
                    "type": "text",
                    "text": "\n".join([text, *lettered(options), "Answer with the letter only."]),
                },
                {"type": "video", "video": video},
            ],
            "answer": "ABCD"[right],
        }
        for n, (text, options, right, video) in enumerate(ASKED)
    ]


def sportu():
    return [
        {"id": f"{video}_{n}", "question": text, "options": dict(zip("ABCD", options, strict=False))}
        | {"answer": "ABCD"[right], "difficulty level": "easy"}
        for n, (text, options, right, video) in enumerate(ASKED)
    ]


def vlmevalkit():
    return [
        {"index": n, "video": video, "question": text}
        | {letter: "".join(options[n : n + 1]) for n, letter in enumerate("ABCD")}
        | {"answer": "ABCD"[right], "category": "motion"}
        for n, (text, options, right, video) in enumerate(ASKED)
    ]


MAKERS = {
    "MotionBench": (motionbench, ".jsonl"),
    "FAVOR-Bench": (favor, ".json"),
    "TimeBlind": (timeblind, ".jsonl"),
    "TOMATO": (tomato, ".json"),
    "TVBench": (tvbench, ".json"),
    "VideoNet": (videonet, ".jsonl"),
    "SPORTU": (sportu, ".json"),
    "VLMEvalKit": (vlmevalkit, ".tsv"),
}


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), "utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            table.writeheader()
            table.writerows(rows)
    return path


def content(questions):
    return [(q.question, q.options, q.answer, q.video) for q in questions]


def test_every_form_is_tested():
    assert set(MAKERS) == set(FORMS)


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "TimeBlind"])
def test_a_published_file_is_read_to_its_questions(name, tmp_path):
    make, ending = MAKERS[name]
    file = read_question_file(write(tmp_path / f"data{ending}", make()))
    assert file.form == name
    asked = content(file.questions)
    if name == "SPORTU":  # names videos by the question's id alone
        assert [row[:3] for row in asked] == [row[:3] for row in ASKED]
    else:
        assert asked == ASKED
    assert len({question.id for question in file.questions}) == len(ASKED)
    assert file.left_out == ({"its answer is not published": 1} if name == "MotionBench" else {})


def test_timeblind_pairs_ask_one_question_of_two_videos(tmp_path):
    file = read_question_file(write(tmp_path / "data.jsonl", timeblind()))
    assert [(q.question, q.options) for q in file.questions[:2]] == [("Question 0?", ("Yes", "No"))] * 2
    assert [(q.question, q.options) for q in file.questions[4:6]] == [("Question 2?", ("left", "right"))] * 2
    pairs = [question.pair for question in file.questions]
    assert pairs[::2] == pairs[1::2]
    assert len(set(pairs)) == 4
    for first, second in zip(file.questions[::2], file.questions[1::2], strict=True):
        assert {first.answer, second.answer} == {0, 1}


def test_a_folder_is_the_tables_in_it(tmp_path):
    write(tmp_path / "a.json", tomato())
    write(tmp_path / "b.json", tomato())
    (tmp_path / "README.md").write_text("# about", "utf-8")
    file = read_question_file(tmp_path)
    assert content(file.questions) == ASKED * 2
    assert [question.id for question in file.questions] == ["0", "1", "2", "0~2", "1~2", "2~2"]


def test_folders_of_datasets_are_read(tmp_path):
    from datasets import Dataset

    rows = Dataset.from_list(
        [{"video": v, "question": q, "options": list(o), "answer": "ABCD"[r]} for q, o, r, v in ASKED]
    )
    rows.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "hub").mkdir()
    rows.to_parquet(tmp_path / "hub" / "test-00000-of-00001.parquet")
    for folder in ("saved", "hub"):
        assert content(read_question_file(tmp_path / folder).questions) == ASKED


def test_any_table_by_its_fields(tmp_path, capsys):
    rows = [
        {"Frage": text, "erste": options[0], "zweite": options[1], "dritte": "".join(options[2:3])}
        | {"Lösung": right if right < 2 else 0, "Film": video}
        for text, options, right, video in ASKED
    ]
    path = write(tmp_path / "fragen.csv", rows)
    named = "question=Frage,options=erste+zweite+dritte,answer=Lösung,video=Film"
    file = read_question_file(path, Columns.parse(named))
    assert [(q.question, q.options[:2], q.video) for q in file.questions] == [
        (text, options[:2], video) for text, options, _, video in ASKED
    ]
    assert [len(q.options) for q in file.questions] == [2, 3, 3]
    assert main(["audit-qa", "--questions", str(path), "--fields", named]) == 0
    assert "verdict: " in capsys.readouterr().out
    for fields, said in [
        (None, "--fields question=Q"),
        ("question=Frage,answer=nein", "no column 'nein'"),
        ("frage=Frage", "expected NAME=COLUMN"),
    ]:
        assert main(["audit-qa", "--questions", str(path), *(["--fields", fields] if fields else [])]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "columns",
    [
        ("a0", "a1", "a2"),
        ("option0", "option1", "option2"),
        ("answer_choice_0", "answer_choice_1", "answer_choice_2"),
    ],
)
def test_options_in_columns_of_their_own_are_found_by_their_usual_names(columns, tmp_path):
    text, options, right, video = ASKED[2]
    row = {"qid": "q7", "video": video, "question": text, "answer": right} | dict(
        zip(columns, options, strict=True)
    )
    (question,) = read_question_file(write(tmp_path / "a.json", [row])).questions
    assert (question.id, question.options, question.answer) == ("q7", options, right)


def test_rows_without_one_right_option_are_counted(tmp_path, capsys):
    rows = [
        {"question": "Why?", "options": ["a", "b"], "answer": answer, "video": "v"}
        for answer in ("A", "B", "A and B", "", 7, "c")
    ]
    path = write(tmp_path / "a.json", [*rows, {**rows[0], "options": "open"}])
    file = read_question_file(path)
    assert [question.answer for question in file.questions] == [0, 1]
    assert file.left_out == {
        "its answer names no single option": 3,
        "its answer is not published": 1,
        "its options are no list": 1,
    }
    with pytest.raises(GymQAError, match="no multiple-choice question with an answer in it"):
        read_question_file(write(tmp_path / "b.json", rows[2:]))


def test_a_row_unlike_the_first_is_named(tmp_path, capsys):
    bad = {
        "m.jsonl": [*motionbench(), {"video_path": "v", "question_type": "x"}],
        "t.jsonl": [*timeblind(), {**timeblind()[0], "index": "first"}],
        "v.jsonl": [*videonet(), {"key": "k", "answer": "A", "question": [{"type": "text"}]}],
        "n.jsonl": [*tvbench(), 7],
    }
    for name, rows in bad.items():
        assert main(["audit-qa", "--questions", str(write(tmp_path / name, rows))]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {tmp_path / name}, line {len(rows)}: "), said
        assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.parquet", "folder"])
def test_files_without_a_row_are_refused(name, tmp_path, capsys):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_text(
            {"a.json": "[]", "a.csv": "question,options,answer\n"}.get(name, "no parquet"), "utf-8"
        )
    assert main(["audit-qa", "--questions", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}: ")
    assert said.count("\n") == 1


#: Texts that are no letters or numbers, and spell no "none" or "n/a".
TEXT = st.text("bcdfghkmprst", min_size=2, max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=2, max_size=6, unique_by=str.casefold), st.data())
def test_options_and_answers_in_every_spelling(options, data):
    options = tuple(options)
    right = data.draw(st.integers(0, len(options) - 1))
    for cell in (
        list(options),
        json.dumps(options),
        repr(list(options)),
        dict(zip("ABCDEF", options, strict=False)),
        lettered(options),
        lettered(options, "({}) {}"),
    ):
        assert options_of(cell) == options
    assert literal_eval(repr(list(options))) == list(options)
    for cell in (right, float(right), "ABCDEF"[right], f"({'ABCDEF'[right]})", options[right]):
        assert answer_of(cell, options) == right
    for mark in ("{}. {}", "({}) {}", "{}: {}"):
        asked = "\n".join(["Which of these?", *lettered(options, mark), "Answer with a letter."])
        assert split_question(asked) == ("Which of these?", options)
        assert split_question(" ".join(["Which of these?", *lettered(options, mark)])) == (
            "Which of these?",
            options,
        )


def test_what_is_no_list_of_options_is_refused():
    for cell in (None, 3, "open question", ["one"], ["", "b"], {"A": "x"}):
        with pytest.raises(Unusable):
            options_of(cell)
    with pytest.raises(Unusable, match="no options"):
        split_question("What happens next?")
