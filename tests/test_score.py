"""The verb ``score``: answers made elsewhere, against known counts, closed forms and scipy."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from scipy import stats

from gym_qa.questions.questions import Question, write_questions
from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.evaluation.metrics import difference
from sefar_mllm.evaluation.prediction_file import read_answers
from sefar_mllm.evaluation.question_set import QuestionSet
from sefar_mllm.evaluation.score import ScoreConfig, score
from sefar_mllm.report import read_results

NAMES = ("salto forward tucked", "salto backward piked with 1 turn", "giant circle backward", "switch leap")
N = 40


def hand_made() -> list[Question]:
    """Forty questions about ten source videos; the right letter goes round A to D."""
    return [
        Question(
            f"q{i}",
            f"video{i % 10}_E_{i:06d}",
            "Which?",
            NAMES,
            i % 4,
            i % 4,
            "UB" if i % 4 == 2 else "FX",
            21 + i % 2,
            (0, 1, 2, 3),
            f"video{i % 10}",
        )
        for i in range(N)
    ]


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "prediction"), *rows])
    return path


@pytest.fixture
def asked(tmp_path: Path) -> QuestionSet:
    write_questions(tmp_path / "questions.jsonl", hand_made())
    classes = [
        {"name": f"({'UB' if k == 2 else 'FX'}) {name}", "event": "UB" if k == 2 else "FX", "set": 21}
        for k, name in enumerate(NAMES)
    ]
    (tmp_path / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    lines = ["video,label", *(f"c{i}.mp4,{label}" for i, label in enumerate((0, 0, 0, 1, 2, 3)))]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return QuestionSet.open(tmp_path / "questions.jsonl")


def replies(right: set[int]) -> list[tuple[str, str]]:
    """The right letter for these questions, the next letter for the others."""
    return [(q.id, "ABCD"[q.answer if i in right else (q.answer + 1) % 4]) for i, q in enumerate(hand_made())]


def test_known_answers_give_the_known_numbers(asked, tmp_path, capsys):
    ours = write_csv(tmp_path / "ours.csv", replies(set(range(30))))
    theirs = write_csv(tmp_path / "theirs.csv", replies(set(range(5, 25))))
    out = tmp_path / "out"
    assert main(["score", str(ours), str(asked.file), "--against", str(theirs), "--output", str(out)]) == 0
    assert "75.0 %" in capsys.readouterr().out
    row, other, *controls = read_results(out / "results.json")
    assert (row.encoder, row.accuracy, row.n) == ("ours", 0.75, N)
    wilson = stats.binomtest(30, N).proportion_ci(method="wilson")
    assert (row.ci_low, row.ci_high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
    assert other.accuracy == 0.5
    found = {control.encoder: control.accuracy for control in controls}
    assert found == {
        "chance": 0.25,
        "majority letter": 0.25,
        "commonest class": 0.25,
        "event oracle": pytest.approx((30 / 3 + 10) / N),
    }
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    tested = metrics["differences"][0]
    only_ours = len(set(range(30)) - set(range(5, 25)))
    only_theirs = len(set(range(5, 25)) - set(range(30)))
    assert tested["mcnemar_p"] == pytest.approx(stats.binomtest(only_ours, only_ours + only_theirs).pvalue)
    assert tested["points"] == pytest.approx(25)
    # Every source video has 3 of 4 right, and 2 of 4 of the other: redrawing whole videos changes nothing.
    assert (tested["low"], tested["high"]) == pytest.approx((25, 25))
    measured = metrics["answers"][0]
    assert measured["source_videos"] == 10
    assert (measured["clustered_ci_low"], measured["clustered_ci_high"]) == pytest.approx((0.75, 0.75))
    assert measured["unparsed_rate"] == 0
    assert measured["calibration"] == []


def test_groups_are_those_of_the_right_answer(asked, tmp_path):
    ours = write_csv(tmp_path / "ours.csv", replies(set(range(0, N, 2))))  # right on A and C
    groups = score(ScoreConfig(ours, asked.file)).groups(asked)
    read = {title: {g.key: (g.correct, g.n) for g in rows} for title, rows in groups.items()}
    assert read["letter"] == {"A": (10, 10), "B": (0, 10), "C": (10, 10), "D": (0, 10)}
    assert read["event"] == {"FX": (10, 30), "UB": (10, 10)}
    assert read["direction"] == {"forward": (10, 10), "backward": (10, 20), "none": (0, 10)}
    assert read["turns"] == {"0": (20, 30), "1": (0, 10)}
    assert read["class"][NAMES[0]] == (10, 10)
    for rows in groups.values():
        assert sum(group.n for group in rows) == N


def test_seeds_are_averaged_with_their_spread(asked, tmp_path):
    files = [write_csv(tmp_path / f"{k}.csv", replies(set(range(k)))) for k in (20, 24, 28)]
    scored = score(ScoreConfig(files[0], asked.file, seeds=files[1:]))
    row = scored.row(asked)
    assert (row.accuracy, row.seeds) == (pytest.approx(0.6), 3)
    assert row.seed_std == pytest.approx(0.1)
    by_letter = scored.groups(asked)["letter"]
    assert sum(group.n for group in by_letter) == N
    assert by_letter[0].accuracy == pytest.approx((5 + 6 + 7) / 30)


def test_replies_are_read_strictly(asked, tmp_path):
    rows = replies(set(range(N)))
    rows[0] = ("q0", "I believe it is A")
    rows[1] = ("q1", "")
    rows[2] = ("q2", "Giant circle backward.")
    read = read_answers(write_csv(tmp_path / "p.csv", rows), asked.questions)
    assert [answer.choice for answer in read[:3]] == [None, None, 2]
    metrics = score(ScoreConfig(tmp_path / "p.csv", asked.file)).metrics(asked)
    assert metrics.unparsed_rate == 2 / N
    assert score(ScoreConfig(tmp_path / "p.csv", asked.file)).row(asked).note == "5.0% not readable"
    assert metrics.accuracy == 38 / N


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_other_tools_files_are_read_as_they_are(asked, tmp_path):
    letters = [reply for _, reply in replies(set(range(30)))]
    expected = read_answers(write_csv(tmp_path / "p.csv", replies(set(range(30)))), asked.questions)
    vlmevalkit = tmp_path / "model_gym.tsv"
    rows = [f"{i}\tWhich?\tA\t{letter}" for i, letter in enumerate(letters)]
    vlmevalkit.write_text("\n".join(["index\tquestion\tanswer\tprediction", *rows]), encoding="utf-8")
    assert read_answers(vlmevalkit, asked.questions) == expected
    listed = tmp_path / "model_gym.json"
    listed.write_text(json.dumps([{"index": i, "prediction": x} for i, x in enumerate(letters)]), "utf-8")
    assert read_answers(listed, asked.questions) == expected
    samples = [{"doc_id": i, "filtered_resps": letter, "target": "A"} for i, letter in enumerate(letters)]
    assert read_answers(write_lines(tmp_path / "samples.jsonl", samples[::-1]), asked.questions) == expected
    older = [row | {"filtered_resps": [row["filtered_resps"]]} for row in samples]
    assert read_answers(write_lines(tmp_path / "older.jsonl", older), asked.questions) == expected


def test_vlmevalkits_spreadsheet_is_read_cell_by_cell(asked, tmp_path):
    from openpyxl import Workbook

    said = {0: "A_x000D_\nsalto forward tucked", 1: None, 2: "NA", 3: "=B"}
    book = Workbook()
    book.active.append(["index", "question", "prediction"])
    for place, question in enumerate(asked.questions):
        book.active.append([place, "Which?", said.get(place, "ABCD"[question.answer])])
    book.save(tmp_path / "model_gym.xlsx")
    read = [answer.choice for answer in read_answers(tmp_path / "model_gym.xlsx", asked.questions)]
    assert read == [0, None, None, None, *(question.answer for question in asked.questions[4:])]
    (tmp_path / "broken.xlsx").write_bytes(b"PK no archive")
    with pytest.raises(SefarMLLMError, match=r"broken.xlsx: not an .xlsx file"):
        read_answers(tmp_path / "broken.xlsx", asked.questions)
    with pytest.raises(SefarMLLMError, match=r"absent.xlsx: no such file"):
        read_answers(tmp_path / "absent.xlsx", asked.questions)


@pytest.mark.parametrize(
    ("cell", "choice"),
    [("2", 2), ("2.0", 2), ("C", 2), ("c", 2), ("", None), ("null", None), ("None", None), ("nan", None)],
)
def test_a_column_of_choices_is_read(asked, tmp_path, cell, choice):
    path = tmp_path / "p.csv"
    rows = [f"{question.id},{cell}" for question in asked.questions]
    path.write_text("\n".join(["id,choice", *rows]), encoding="utf-8")
    assert {answer.choice for answer in read_answers(path, asked.questions)} == {choice}


@pytest.mark.parametrize("cell", ["4", "-1", "E", "AB", "1.5", "true"])
def test_a_choice_that_is_none_is_refused(asked, tmp_path, cell):
    path = tmp_path / "p.csv"
    rows = [f"{question.id},{cell}" for question in asked.questions]
    path.write_text("\n".join(["id,choice", *rows]), encoding="utf-8")
    with pytest.raises(SefarMLLMError, match="row 1, key 'choice'"):
        read_answers(path, asked.questions)


#: A row of each tool's file of answers, made from a reply and the right letter.
TOOLS = {
    "LLaMA-Factory": lambda reply, right: {"prompt": "…", "predict": reply, "label": right + "\n"},
    "ms-swift": lambda reply, right: {"response": reply, "labels": right, "logprobs": None, "messages": []},
    "LLaVA": lambda reply, right: {
        "question_id": 7,
        "prompt": "…",
        "text": reply,
        "answer_id": "x",
        "metadata": {},
    },
}


@pytest.mark.parametrize("tool", TOOLS)
def test_rows_without_ids_are_taken_in_order_and_it_is_said(asked, tmp_path, caplog, tool):
    said = [reply for _, reply in replies(set(range(30)))]
    rows = [TOOLS[tool](reply, "ABCD"[q.answer]) for reply, q in zip(said, asked.questions, strict=True)]
    path = write_lines(tmp_path / "p.jsonl", rows)
    with caplog.at_level("INFO", "sefar_mllm"):
        row = score(ScoreConfig(path, asked.file)).row(asked)
    assert (row.accuracy, row.note) == (0.75, "taken in the questions' order")
    assert "p.jsonl: without ids; its 40 answers are taken in the questions' order" in caplog.text
    with pytest.raises(SefarMLLMError, match="line 1: no id, and 39 rows for 40 questions"):
        read_answers(write_lines(tmp_path / "short.jsonl", rows[1:]), asked.questions)


@pytest.mark.parametrize("tool", ["LLaMA-Factory", "ms-swift"])
def test_another_order_is_noticed_by_the_right_answers(asked, tmp_path, tool):
    rows = [TOOLS[tool]("A", "ABCD"[question.answer]) for question in asked.questions]
    with pytest.raises(SefarMLLMError, match=r"line 1, key 'labels?': the right answer is 'D"):
        read_answers(write_lines(tmp_path / "p.jsonl", rows[::-1]), asked.questions)


def test_llavas_ids_are_used_where_they_are_ours(asked, tmp_path):
    given = replies(set(range(30)))
    expected = read_answers(write_csv(tmp_path / "p.csv", given), asked.questions)
    old = [{"question_id": name, "text": reply} for name, reply in given]
    assert read_answers(write_lines(tmp_path / "old.jsonl", old[::-1]), asked.questions) == expected
    new = [{"id": name, "question": "…", "answer": "A", "pred": reply} for name, reply in given]
    assert read_answers(write_lines(tmp_path / "new.json", new[::-1]), asked.questions) == expected


def test_not_one_answer_a_question_is_refused_with_the_list(asked, tmp_path):
    rows = replies(set(range(N)))
    faulty = [*rows[:-2], rows[3], rows[5], ("q77", "A"), ("other", "B")]
    path = write_csv(tmp_path / "p.csv", faulty)
    with pytest.raises(SefarMLLMError) as error:
        read_answers(path, asked.questions)
    said = str(error.value)
    assert "p.csv" in said
    assert "lacks answers to (2): q38, q39" in said
    assert "has unknown ids (2): q77, other" in said
    assert "answers twice (2): q3, q5" in said
    assert main(["score", str(path), str(asked.file)]) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prediction": "A"}, "line 1: no id"),
        ({"id": "q0"}, "line 1: no answer"),
        ({"id": "q0", "choice": 4}, "'choice': expected null or an index up to 3"),
        ({"id": "q0", "choice": 1, "probabilities": [1.0]}, "'probabilities': expected 4"),
        (3, "line 1: got int"),
    ],
)
def test_a_row_that_says_nothing_is_named(asked, tmp_path, row, message):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(SefarMLLMError, match=message):
        read_answers(path, asked.questions)


def test_one_source_video_leaves_no_clustered_interval(tmp_path):
    questions = [Question(f"q{i}", "one_E_1", "Which?", NAMES, i % 4) for i in range(8)]
    write_questions(tmp_path / "q.jsonl", questions)
    asked = QuestionSet.open(tmp_path / "q.jsonl")
    path = write_csv(tmp_path / "p.csv", [(q.id, "A") for q in questions])
    scored = score(ScoreConfig(path, asked.file, output=tmp_path / "out"))
    assert scored.metrics(asked).clustered_ci_low is None
    assert difference(scored, scored, asked) is None
    assert {row.encoder for row in asked.model_free_rows()} == {"chance", "majority letter"}


def test_pairs_count_when_both_are_right(tmp_path):
    """Ten pairs: both right in the first four, one in the next three, none in the last three."""
    questions = [
        Question(f"q{i}", f"v{i}", "Which?", NAMES[:2], i % 2, source=f"v{i}", pair=f"p{i // 2}")
        for i in range(20)
    ]
    write_questions(tmp_path / "questions.jsonl", questions)
    right = {*range(8), 8, 11, 12}
    rows = [(q.id, "AB"[q.answer if i in right else 1 - q.answer]) for i, q in enumerate(questions)]
    answers = write_csv(tmp_path / "ours.csv", rows)
    out = tmp_path / "out"
    assert main(["score", str(answers), str(tmp_path / "questions.jsonl"), "--output", str(out)]) == 0
    row, *controls = read_results(out / "results.json")
    assert row.accuracy == 11 / 20
    assert row.note.startswith("both of a pair right: 40.0% of 10 [")
    assert {c.encoder: c.note for c in controls}["chance"] == "both of a pair right: 25.0%"
    (metrics,) = json.loads((out / "metrics.json").read_text("utf-8"))["answers"]
    wilson = stats.binomtest(4, 10).proportion_ci(method="wilson")
    assert metrics["pairs"] == {
        "n": 10,
        "accuracy": 0.4,
        "ci_low": pytest.approx(wilson.low, abs=1e-6),
        "ci_high": pytest.approx(wilson.high, abs=1e-6),
    }
