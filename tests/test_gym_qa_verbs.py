"""The verbs build-qa and audit-qa through the command: outputs, times, and bad input that harms nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from gym_qa_sources import FINEGYM, SOURCES, source, tables

from gym_qa.audit.verb import AuditQAConfig, audit_qa
from gym_qa.benchmark.build import build_qa
from gym_qa.benchmark.policy_table import PolicyTableConfig, policy_table
from gym_qa.datasets.cliplist import read_labels
from gym_qa.datasets.splits import coverage, label_split
from gym_qa.datasets.table import read_classes
from gym_qa.questions.official import OfficialQuestion, read_official, write_official
from gym_qa.questions.questions import read_questions
from gym_qa.statistics import wilson
from sefar_mllm.cli import main


@pytest.mark.parametrize("name", SOURCES)
def test_build_qa_writes_everything(name, tmp_path, capsys):
    assert main(["build-qa", "--output", str(tmp_path), *source(name).arguments(), "--fraction", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "verdict: fair" in printed
    assert ("synthetic validation questions" in printed) == (name == "minigym")
    settings = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert (settings["fraction"], settings["synthetic"]) == (0.1, name == "minigym")
    train, val = tables(name)
    assert read_classes(tmp_path / "classes.json") == train.classes
    parts = {part: read_labels(tmp_path / f"{part}.csv") for part in ("train", "unlabelled", "val")}
    labels = {clip.clip_id: clip.label for clip in (*train.clips, *val.clips)}
    assert all(labels[clip_id] == label for rows in parts.values() for _, clip_id, label in rows)
    assert len(parts["train"]) + len(parts["unlabelled"]) == len(train)
    assert [clip_id for _, clip_id, _ in parts["val"]] == [clip.clip_id for clip in val.clips]
    asked = read_questions(tmp_path / "train_questions.jsonl")
    assert [question.video for question in asked] == [clip_id for _, clip_id, _ in parts["train"]]
    capsys.readouterr()
    arguments = ["--questions", str(tmp_path / "val_questions.jsonl"), "--json", "true"]
    labelled = str(tmp_path / "train_questions.jsonl")
    assert main(["audit-qa", *arguments, "--labelled", labelled]) == 0
    found, built = (
        json.loads(capsys.readouterr().out),
        json.loads((tmp_path / "audit.json").read_text("utf-8")),
    )
    assert {name: found["scores"].get(name) for name in built["scores"]} == built["scores"]
    assert set(found["scores"]) - set(built["scores"]) == {"text classifier"}
    for key in ("n", "letters", "repeated_option", "answer_twice", "pairs"):
        assert found[key] == built[key]


@pytest.mark.parametrize("name", SOURCES)
def test_official_recipe_comes_back_byte_for_byte(name, tmp_path):
    build_qa(source(name).config(tmp_path, recipe="official"))
    written = tmp_path / "val_official.json"
    questions = read_official(written)
    assert len(questions) == len(tables(name)[1])
    write_official(tmp_path / "again.json", questions)
    assert (tmp_path / "again.json").read_bytes() == written.read_bytes()
    own = read_questions(tmp_path / "val_questions.jsonl")
    taken = [question.as_question() for question in questions]
    assert [(q.video, q.question, q.options, q.answer) for q in own] == [
        (q.video, q.question, q.options, q.answer) for q in taken
    ]


def count_repeats(path):
    """Slow reference: options cut out of the text letter by letter."""
    repeated = twice = 0
    for row in json.loads(path.read_text("utf-8")).values():
        rest, options = row["question"], {}
        for letter in "DCBA":
            rest, options[letter] = rest.rsplit(f" {letter}.", 1)
        right = options[row["answer"]]
        repeated += len(set(options.values())) < 4
        twice += list(options.values()).count(right) == 2
    return repeated, twice


@pytest.mark.parametrize("name", SOURCES)
def test_official_files_are_read_whole(name, tmp_path):
    if name == "finegym":
        path = FINEGYM / "official_gym_qa" / "gym99_5_train.json"
        split = FINEGYM / "official_splits" / "gym99_5" / "train.csv"
    else:
        build_qa(source(name).config(tmp_path / "qa", recipe="official"))
        path, split = tmp_path / "qa" / "train_official.json", tmp_path / "qa" / "train.csv"
    questions = read_official(path)
    write_official(tmp_path / "again.json", questions)
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    found = audit_qa(AuditQAConfig(path, split, source(name).categories))
    assert (found.repeated_option, found.answer_twice) == count_repeats(path)
    if name == "finegym":
        assert (found.n, found.repeated_option, found.answer_twice) == (1316, 15, 6)
    labels = {clip_id: label for _, clip_id, label in read_labels(split)}
    classes = tables(name)[0].classes
    for question in questions:
        plain = question.as_question()
        assert plain.options[plain.answer] == classes[labels[question.video]].text


def test_repeats_are_counted_on_hand_made_questions(tmp_path, capsys):
    texts = ["A.x B.y C.z D.w", "A.x B.x C.z D.w", "A.x B.x C.z D.w", "A.x y B.B z C.z. D.w"]
    rows = [
        OfficialQuestion(letter, f"Which? {text}", "what", f"{n:07d}", "finegym", f"v{n}", 10)
        for n, (letter, text) in enumerate(zip("ABCD", texts, strict=True))
    ]
    write_official(tmp_path / "q.json", rows)
    assert main(["audit-qa", "--questions", str(tmp_path / "q.json"), "--json", "true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["repeated_option"], found["answer_twice"]) == (4, 2, 1)
    assert found["letters"] == {"A": 1, "B": 1, "C": 1, "D": 1}
    assert found["scores"]["commonest class"]["accuracy"] is None


def test_wilson_agrees_with_scipy():
    from scipy.stats import binomtest

    for right, n in ((0, 10), (3, 10), (250, 1000), (1000, 1000)):
        oracle = binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right / n, n) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("policy", ["official", "stratified", "grouped"])
def test_label_splits(name, fraction, policy):
    train, val = tables(name)
    labelled, unlabelled = label_split(train, fraction, 1, policy)
    assert sorted(clip.clip_id for clip in labelled + unlabelled) == sorted(c.clip_id for c in train.clips)
    assert label_split(train, fraction, 1, policy) == (labelled, unlabelled)
    assert fraction == 1 or label_split(train, fraction, 2, policy)[0] != labelled
    found = coverage(labelled, unlabelled, val.clips, len(train.classes))
    assert abs(len(labelled) - fraction * len(train)) <= (len(train.classes) if policy != "official" else 0.5)
    if policy == "stratified":
        assert not found.without_label
        assert len(labelled) == round(fraction * len(train))
    if policy == "grouped":
        assert found.shared_unlabelled == 0
    missing = set(range(len(train.classes))) - {clip.label for clip in labelled}
    assert set(found.without_label) == missing


@pytest.mark.parametrize("name", SOURCES)
def test_official_split_files_are_used_as_they_are(name, tmp_path):
    if name == "finegym":
        path = FINEGYM / "official_splits" / "gym99_5" / "train.csv"
    else:
        path = tmp_path / "split.csv"
        rows = [f"/root/video/{clip.clip_id}.mp4 {clip.label}\n" for clip in tables(name)[0].clips[::9][::-1]]
        path.write_text("".join(rows), encoding="utf-8")
    build_qa(source(name).config(tmp_path / "qa", labelled=path))
    wanted = [row[1:] for row in read_labels(path)]
    assert [row[1:] for row in read_labels(tmp_path / "qa" / "train.csv")] == wanted
    unlabelled = {clip_id for _, clip_id, _ in read_labels(tmp_path / "qa" / "unlabelled.csv")}
    assert unlabelled == {clip.clip_id for clip in tables(name)[0].clips} - {clip_id for clip_id, _ in wanted}


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def bad_inputs(folder):
    """What is wrong -> the options that say so, and what the message must name."""
    files = source("minigym")
    lines = files.categories.read_text("utf-8").splitlines()
    (folder / "categories.txt").write_text("\n".join([*lines[:4], "Clabel 4, what"]), encoding="utf-8")
    (folder / "cut.json").write_bytes(files.annotation.read_bytes()[:5000])
    (folder / "empty.csv").write_text("video,label\n", encoding="utf-8")
    (folder / "latin.txt").write_bytes("Clabel: 0; set: 1; Glabel: 1; (VT) été".encode("latin-1"))
    (folder / "stray.csv").write_text("video,label\n../../../etc/passwd,0\n", encoding="utf-8")
    return {
        "missing annotation": (["--annotation", str(folder / "absent.json")], "absent.json"),
        "category line": (["--categories", str(folder / "categories.txt")], "categories.txt, line 5"),
        "cut annotation": (["--annotation", str(folder / "cut.json")], "cut.json"),
        "empty split": (["--labelled", str(folder / "empty.csv")], "empty label split"),
        "empty fraction": (["--fraction", "0.00001", "--split", "official"], "empty label split"),
        "not UTF-8": (["--categories", str(folder / "latin.txt")], "latin.txt, line 1"),
        "stray clip": (["--labelled", str(folder / "stray.csv")], "stray.csv, line 2"),
        "policy": (["--policy", "alphabetical"], "alphabetical"),
        "balance": (["--policy", "uniform", "--balance", "answers"], "uniform+frequency-matched"),
        "wording": (["--wording", "rude"], "rude"),
    }


WRONG = [
    "missing annotation",
    "category line",
    "cut annotation",
    "empty split",
    "empty fraction",
    "not UTF-8",
]
WRONG += ["stray clip", "policy", "balance", "wording"]


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_ends_in_one_message_and_leaves_outputs(what, tmp_path, capsys):
    output, inputs = tmp_path / "out", tmp_path / "in"
    inputs.mkdir()
    good = source("minigym").arguments()
    assert main(["build-qa", "--output", str(output), *good]) == 0
    before = snapshot(output)
    capsys.readouterr()
    options, named = bad_inputs(inputs)[what]
    assert main(["build-qa", "--output", str(output), *good, *options]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    assert named in printed.err
    assert snapshot(output) == before


def write_gym288_sized(folder):
    """Synthetic files of Gym288's size: 288 long-tailed classes, 29,334 + 9,646 clips."""
    sets = {1: "VT", 21: "FX", 22: "FX", 24: "FX", 25: "FX", 31: "BB", 32: "BB", 33: "BB", 41: "UB", 42: "UB"}
    numbers, events = list(sets), {"VT": 1, "FX": 2, "BB": 3, "UB": 4}
    lines = [
        f"Clabel: {label}; set: {(number := numbers[label % len(sets)])}; Glabel: {label}; "
        f"({sets[number]}) element {label} of set {number}"
        for label in range(288)
    ]
    (folder / "categories.txt").write_text("\n".join(lines), encoding="utf-8")
    counts = [1 / (rank + 3) for rank in range(288)]
    annotation: dict[str, dict] = {}
    for name, total in (("train", 29334), ("val", 9646)):
        shares = [max(2, int(total * count / sum(counts))) for count in counts]
        shares[0] += total - sum(shares)
        rows = []
        for label, share in enumerate(shares):
            for number in range(share):
                on, start = sets[numbers[label % len(sets)]], len(rows)
                video = f"{name}{number % 97:05d}{on}"
                segment = f"A_{start % 10000:04d}_{start % 10000:04d}"
                event = f"E_{start // 10000:06d}_{start // 10000 + 1:06d}"
                body = annotation.setdefault(video, {}).setdefault(
                    event, {"event": events[on], "timestamps": [[0, 100000]], "segments": {}}
                )
                body["segments"][segment] = {"stages": 1, "timestamps": [[start, start + 1]]}
                rows.append(f"{video}_{event}_{segment} {label}")
        assert len(rows) == total
        (folder / f"{name}_element.txt").write_text("\n".join(rows), encoding="utf-8")
    (folder / "annotation_info.json").write_text(json.dumps(annotation), encoding="utf-8")


def test_gym288_sized_files_take_little_memory(tmp_path):
    write_gym288_sized(tmp_path)
    code = (
        "import re, sys; from sefar_mllm.cli import main;"
        "status = main(['build-qa', '--scope', 'gym288', '--data', sys.argv[1], '--output', sys.argv[2]]);"
        # VmHWM, because the peak that getrusage tells includes the test process before exec
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024;"
        "print(status, peak)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "out")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    status, mebibytes = map(float, printed[-1].split())
    assert status == 0
    assert mebibytes < 1000
    assert any(line.startswith("verdict: fair") for line in printed)


@pytest.mark.parametrize("name", SOURCES)
def test_policy_table_shows_balanced_policies_at_a_quarter(name, capsys):
    files = source(name)
    config = PolicyTableConfig(
        annotation=files.annotation, categories=files.categories, train=files.train, val=files.val
    )
    rows = {
        tuple(cells[:2]): cells for line in policy_table(config) if (cells := line.strip("| ").split(" | "))
    }
    assert capsys.readouterr().out.startswith("| policy |")
    for policy in ("same-set+frequency-matched", "same-event+frequency-matched"):
        cells = rows[policy, "answers"]
        assert int(cells[2].split()[0]) > 0.5 * len(tables(name)[1])
        assert all(abs(float(score.rstrip("%")) - 25) < 1 for score in cells[4:])
    assert float(rows["official recipe", "none"][4].rstrip("%")) > 38
    # A data set without four classes that differ in one and the same attribute has no such questions.
    if name == "finegym" or ("one-attribute", "answers") in rows:
        assert float(rows["one-attribute", "answers"][4].rstrip("%")) == 25
    else:
        assert rows["one-attribute", "-"][2] == "0"


def test_the_room_needs_neither_torch_nor_datasets_to_build_and_audit():
    verbs = "benchmark.build", "benchmark.policy_table", "audit.verb", "exports.export", "cutting.cut"
    modules = ", ".join(f"gym_qa.{verb}" for verb in verbs)
    code = f"import sys, {modules}; print({{'torch', 'datasets', 'transformers'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
