"""Readers of every data set: what they read, and that mangled files end in the package's own error alone."""

from __future__ import annotations

import json
import pickle
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gym_qa_sources import SOURCES, source, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gym_qa.datasets.cliplist import read_labels, write_clip_list
from gym_qa.datasets.dataset import DataFiles
from gym_qa.datasets.finediving import read_finediving, read_finediving_steps
from gym_qa.datasets.finegym import ClipId, read_annotation, read_categories, read_finegym
from gym_qa.datasets.scopes import DIRECTION_PAIRS, apply_scope
from gym_qa.datasets.sources import read_tables
from gym_qa.datasets.splitlists import read_hmdb51, read_something, read_ucf101
from gym_qa.datasets.table import ActionClass, Clip, ClipTable, read_classes, write_classes
from gym_qa.errors import GymQAError
from gym_qa.files import safe_relative
from gym_qa.questions.attributes import Attributes, parse_attributes
from gym_qa.questions.official import OfficialQuestion, read_official, write_official
from gym_qa.questions.questions import Question, read_questions, write_questions

CLIP = "ab_E_-cdefgh_E_000010_000020_A_0001_0002"  # the video's own id holds "_E_"
VAULT = "ZZZZZZZZZZZ_E_000100_000110_A_0000_0008"


def small_files(folder: Path) -> dict[str, Path]:
    """A few lines of every format."""
    one, two = (
        {"stages": 1, "timestamps": [[1.5, 2.5]]},
        {"stages": 3, "timestamps": [[0.5, 1], [1, 2], [2, 3.25]]},
    )
    annotation = {
        "ab_E_-cdefgh": {
            "E_000010_000020": {"event": 4, "timestamps": [[10, 20]], "segments": {"A_0001_0002": one}},
            "E_000030_000040": {"event": 4, "timestamps": [[30, 40]], "segments": None},
        },
        "ZZZZZZZZZZZ": {
            "E_000100_000110": {"event": 1, "timestamps": [[100.0, 110.5]], "segments": {"A_0000_0008": two}}
        },
    }
    dives = {
        (video, index): {"action_type": action, "start_frame": 10 * index, "end_frame": 10 * index + 3}
        for index, (video, action) in enumerate(
            [("Men3m_final", "107B"), ("10mPlatform", "5253B"), ("10mX", "5253B")]
        )
    }
    fine = {key: {"frames_labels": np.array([3, 3, 7, 7])} for key in dives}
    texts = {
        "annotation.json": json.dumps(annotation),
        "categories.txt": "Clabel: 0; set: 41; Glabel: 399; (UB) giant circle\n"
        "Clabel: 1; set: 1; Glabel: 403; (VT) handspring\n",
        "elements.txt": f"{CLIP} 0\n{VAULT} 1\n",
        "sets.txt": "set: 1; vault\nset: 41; UB_circles\n",
        "clips.csv": f"video,label\n{CLIP}.mp4,0\nfolder/{VAULT}.mp4,1\n",
        "official.csv": f"/root/video/{CLIP}.mp4 0\n/root/video/{VAULT}.mp4 1\n",
        "classInd.txt": "1 ApplyEyeMakeup\n2 YoYo\n",
        "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nYoYo/v_YoYo_g09_c02.avi 2\n",
        "brush_hair_test_split1.txt": "April_09_brush_hair_u_nm_ba_goo_0.avi 1\n#1_(HQ)_brush_hair_f.avi 2\n",
        "wave_test_split1.txt": "20060723sfjffwave_wave_f_cm_np2_ba_med_0.avi 1\nother_wave_f.avi 0\n",
        "labels.json": json.dumps({"Holding something": "0", "Turning something upside down": "1"}),
        "train.json": json.dumps([{"id": "74225", "template": "Holding [something]"}]),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    names = {3: "Back", 7: "Entry"}
    for name, value in (("coarse", dives), ("fine", fine), ("split", list(dives)), ("names", names)):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))
    question = Question(CLIP, CLIP, "Which?", ("a", "b", "c", "d"), 1, 0, "UB", 41, (0, 1, 2, 3))
    write_questions(folder / "questions.jsonl", [question])
    write_official(
        folder / "official.json",
        [OfficialQuestion("A", "Which? A.x B.y C.z D.w", "what", "0", "finegym", CLIP, 9)],
    )
    write_classes(
        folder / "classes.json", [ActionClass("(UB) giant circle", "UB", 41, 399), ActionClass("x")]
    )
    return {path.name: path for path in folder.iterdir()}


def readers(f: dict[str, Path]):
    """Each reader with the files that it reads."""
    gym = ("annotation.json", "categories.txt", "elements.txt", "sets.txt")
    dive = ("coarse.pkl", "fine.pkl", "names.pkl", "split.pkl")
    return {
        "finegym": (gym, lambda: read_finegym(*(f[name] for name in gym))),
        "clip list": (("clips.csv",), lambda: read_labels(f["clips.csv"])),
        "official list": (("official.csv",), lambda: read_labels(f["official.csv"])),
        "finediving": (("coarse.pkl", "split.pkl"), lambda: read_finediving(f["coarse.pkl"], f["split.pkl"])),
        "finediving steps": (
            dive,
            lambda: read_finediving_steps(*(f[name] for name in dive), action_type="5253B"),
        ),
        "ucf101": (
            ("classInd.txt", "trainlist01.txt"),
            lambda: read_ucf101(f["classInd.txt"], f["trainlist01.txt"]),
        ),
        "hmdb51": (("wave_test_split1.txt",), lambda: read_hmdb51(f["wave_test_split1.txt"].parent, "train")),
        "something": (
            ("labels.json", "train.json"),
            lambda: read_something(f["labels.json"], f["train.json"]),
        ),
        "questions": (("questions.jsonl",), lambda: read_questions(f["questions.jsonl"])),
        "official questions": (("official.json",), lambda: read_official(f["official.json"])),
        "classes": (("classes.json",), lambda: read_classes(f["classes.json"])),
    }


_TEMPORARY = tempfile.TemporaryDirectory(prefix="gym-qa-readers-")
FOLDER = Path(_TEMPORARY.name)
FILES = small_files(FOLDER)
READERS = readers(FILES)
JUNK = [
    b"\xff\xfe",
    b"_E_",
    b"_A_",
    b"../",
    b"/etc/",
    b"\n",
    b" ",
    b"null",
    b"-1",
    b"NaN",
    b"1e999",
    b"9" * 40,
    b"{",
    b"]",
]
JUNK += [
    b"\x00",
    b'"',
    b"true",
    b"[[]]",
    b"\xc3\xa9",
    "٣".encode(),
    b"\r",
    b"\x80\x04",
    b"cos\nsystem\n",
    b"0.5",
]


def mangled(raw: bytes, draw: random.Random) -> bytes:
    """Cut, doubled, overwritten, shuffled or filled with junk, up to three times."""
    for _ in range(draw.randint(1, 3)):
        place, other = sorted((draw.randint(0, len(raw)), draw.randint(0, len(raw))))
        lines = raw.split(b"\n")
        raw = draw.choice(
            [
                raw[:place],
                raw[:place] + raw[other:],
                raw[:other] + raw[place:],
                raw[:place] + draw.choice(JUNK) + raw[place:],
                raw[:place] + draw.choice(JUNK) + raw[other:],
                raw[:place] + bytes([draw.randrange(256)]) + raw[place + 1 :],
                b"\n".join(lines + lines[:1]),
                b"\n".join(draw.sample(lines, len(lines))),
            ]
        )
    return raw


def mangled_json(value, draw: random.Random):
    """A JSON value with one part replaced, removed or renamed."""
    odd = [
        None,
        -1,
        10**30,
        1.5,
        "",
        "../x",
        [],
        {},
        True,
        "é",
        [[2, 1]],
        [[0, float("inf")]],
        [[1]],
        "E_1_2",
    ]
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        if draw.random() < 0.15:
            return rest
        if draw.random() < 0.15:
            return {**rest, draw.choice(["", "E_", "_A_", "../..", key + key]): value[key]}
        return {**value, key: mangled_json(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        return [*value[:place], mangled_json(value[place], draw), *value[place + 1 :]]
    return draw.choice(odd)


@pytest.mark.parametrize("name", list(READERS))
def test_small_files_are_read(name):
    assert READERS[name][1]()


@pytest.mark.parametrize("name", list(READERS))
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_mangled_files_are_read_or_refused(name, seed):
    draw = random.Random(seed)
    needed, read = READERS[name]
    path = FILES[draw.choice(needed)]
    whole = path.read_bytes()
    structured = path.suffix == ".json" and draw.random() < 0.6
    bad = json.dumps(mangled_json(json.loads(whole), draw)).encode() if structured else mangled(whole, draw)
    found, message = None, ""
    try:
        path.write_bytes(bad)
        found = read()
    except GymQAError as error:
        message = str(error)
    finally:
        path.write_bytes(whole)
    if found is None:
        assert any(str(FILES[file]) in message for file in needed) or str(FOLDER) in message
    for clip in found.clips if isinstance(found, ClipTable) else ():
        assert (Path("/videos") / clip.file).resolve().is_relative_to("/videos")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_safe_paths_stay_inside(name):
    try:
        safe = safe_relative(name, "here")
    except GymQAError:
        return
    assert (Path("/root/videos") / safe).resolve().is_relative_to("/root/videos")
    assert (Path("/root/videos") / safe).resolve() != Path("/root/videos")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../b", "a//b", ".", "a\x00b", "c:x", "a\\..\\b"])
def test_unsafe_paths_are_refused(name):
    with pytest.raises(GymQAError, match="here"):
        safe_relative(name, "here")


def test_finegym_times_spans_and_odd_ids():
    table = READERS["finegym"][1]()
    first, vault = table.clips
    assert (first.source_video, first.start, first.end) == ("ab_E_-cdefgh", 11.5, 12.5)
    assert (vault.start, vault.end) == (100.5, 103.25)  # from the first span to the last
    assert read_annotation(FILES["annotation.json"])[VAULT] == [
        (100.5, 101.0),
        (101.0, 102.0),
        (102.0, 103.25),
    ]
    assert ClipId.parse(CLIP, "here") == ClipId("ab_E_-cdefgh", "E_000010_000020", "A_0001_0002")
    assert table.class_of(first) == ActionClass("(UB) giant circle", "UB", 41, 399)
    assert table.class_of(first).text == "giant circle"


def test_gym530_has_no_clabel(tmp_path):
    (tmp_path / "c.txt").write_text(
        "Glabel: 7; set: 1; (VT) b\nset: 21; Glabel: 3; (FX) a\n", encoding="utf-8"
    )
    (tmp_path / "e.txt").write_text(f"{CLIP} 7\n", encoding="utf-8")
    assert [(number, action.code) for number, action in read_categories(tmp_path / "c.txt")] == [
        (3, 3),
        (7, 7),
    ]
    table = read_finegym(None, tmp_path / "c.txt", tmp_path / "e.txt")
    assert table.clips[0].label == 1
    assert table.clips[0].start is None


@pytest.mark.parametrize("name", SOURCES)
def test_whole_data_sets(name):
    train, val = tables(name)
    lines = source(name).train.read_text("utf-8").split("\n")
    assert len(train) == sum(bool(line.strip()) for line in lines)
    for clip in (*train.clips[::50], *val.clips[::50]):
        assert clip.start is not None
        # The id tells the same times, rounded down to seconds.
        event, inner = clip.clip_id.rsplit("_E_", 1)[1].split("_A_")
        start = int(event.split("_")[0]) + int(inner.split("_")[0])
        assert start <= clip.start < start + 2
        assert 0 < clip.end - clip.start < 60
    if name == "finegym":
        assert (len(train), len(val), len(train.classes)) == (26320, 8521, 99)


def test_other_data_sets():
    ucf = READERS["ucf101"][1]()
    assert ucf.clips[0] == Clip(
        "v_ApplyEyeMakeup_g08_c01",
        "v_ApplyEyeMakeup_g08",
        0,
        path="ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
    )
    assert ucf.classes[0].name == "Apply Eye Makeup"
    hmdb = read_hmdb51(FOLDER, "train")
    assert [(clip.label, clip.source_video) for clip in hmdb.clips] == [
        (0, "April_09"),
        (1, "20060723sfjffwave"),
    ]
    assert [clip.file for clip in read_hmdb51(FOLDER, "val").clips] == ["brush_hair/#1_(HQ)_brush_hair_f.avi"]
    something = READERS["something"][1]()
    assert (something.clips[0].file, something.clips[0].label) == ("74225.webm", 0)


def test_finediving_dives_and_steps():
    table = READERS["finediving"][1]()
    assert [action.text for action in table.classes] == ["107B", "5253B"]
    assert [clip.label for clip in table.clips] == [0, 1, 1]
    # Pictures are numbered from 1: the tenth to the thirteenth are the frames 9 to 12.
    assert table.clips[1].frames == (9, 13)
    assert table.clips[1].length(25) == table.clips[1].length(30) == 4
    high = apply_scope("labels:1,0", [table])[0]
    assert [clip.label for clip in high.clips] == [1, 0, 0]
    with pytest.raises(GymQAError, match="10m"):
        apply_scope("10m", [table])  # a single action type is left
    steps = READERS["finediving steps"][1]()
    assert [action.name for action in steps.classes] == ["Back", "Entry"]
    assert [(clip.clip_id, clip.label, clip.frames) for clip in steps.clips[:2]] == [
        ("10mPlatform_1_1", 0, (9, 11)),
        ("10mPlatform_1_2", 1, (11, 13)),
    ]


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_finediving_is_read_in_either_case(tmp_path, case):
    dives = pickle.loads(FILES["coarse.pkl"].read_bytes())
    published = {key: {**dive, "action_type": case(dive["action_type"])} for key, dive in dives.items()}
    names = {"coarse": "FineDiving_coarse_annotation", "fine": "FineDiving_fine-grained_annotation"}
    names |= {"names": "Sub_action_Types_Table", "split": "train_split"}
    for name, published_name in names.items():
        (tmp_path / f"{published_name}.pkl").write_bytes(FILES[f"{name}.pkl"].read_bytes())
    (tmp_path / "test_split.pkl").write_bytes(pickle.dumps([("10mOther", 9)]))
    published["10mOther", 9] = {"action_type": case("5253B"), "start_frame": 1, "end_frame": 4}
    fine = pickle.loads(FILES["fine.pkl"].read_bytes()) | {("10mOther", 9): {"frames_labels": [3, 3, 7, 7]}}
    (tmp_path / f"{names['coarse']}.pkl").write_bytes(pickle.dumps(published))
    (tmp_path / f"{names['fine']}.pkl").write_bytes(pickle.dumps(fine))
    whole, _ = read_tables(DataFiles(dataset=case("finediving"), data=tmp_path))
    assert [action.name for action in whole.classes] == ["(forward) 107B", "(twisting) 5253B"]
    assert [clip.label for clip in whole.clips] == [0, 1, 1]
    steps = [
        read_tables(DataFiles(dataset="finediving", data=tmp_path, action_type=kind))
        for kind in ("5253b", "5253B")
    ]
    assert steps[0] == steps[1]
    assert {action.event for action in steps[0][0].classes} == {"5253B"}


class Spy:
    """Pickled, it would write a file when loaded."""

    def __reduce__(self):
        return (Path.touch, (FOLDER / "touched",))


@pytest.mark.parametrize(
    "value", [Spy(), {("a", 1): Spy()}, np.array([Spy()], dtype=object)], ids=["bare", "in", "array"]
)
def test_pickles_run_nothing(value, tmp_path):
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(GymQAError, match=r"bad\.pkl"):
        read_finediving(tmp_path / "bad.pkl", FILES["split.pkl"])
    assert not (FOLDER / "touched").exists()


@pytest.mark.parametrize("name", SOURCES)
def test_scopes(name):
    train, val = tables(name)
    assert apply_scope("all", [train, val]) == [train, val]
    for event in {action.event for action in train.classes}:
        part, _ = apply_scope(event, [train, val])
        assert {action.event for action in part.classes} == {event}
        wanted = [clip.clip_id for clip in train.clips if train.class_of(clip).event == event]
        assert [clip.clip_id for clip in part.clips] == wanted
        assert all(
            part.class_of(clip) == train.class_of(whole)
            for clip, whole in zip(
                part.clips, (clip for clip in train.clips if train.class_of(clip).event == event), strict=True
            )
        )
    assert {action.set_id for action in apply_scope("UB-S1", [train])[0].classes} == {41}
    assert apply_scope("UB-S1", [val]) == apply_scope("set-41", [val])
    for scope in ("Gym99" if name == "finegym" else "All", "UB-S1", "Set-41", "BB", "Labels:1,0"):
        assert (
            apply_scope(scope, [val])
            == apply_scope(scope.lower(), [val])
            == apply_scope(scope.upper(), [val])
        )
    if name == "finegym":  # the paper's numbers of classes
        sizes = {"UB": 25, "FX": 35, "UB-S1": 15, "FX-S1": 11, "gym99": 99}
        assert {scope: len(apply_scope(scope, [train])[0].classes) for scope in sizes} == sizes
    for wrong in ("gym288", "gym-new", "XX", "UB-S9", "labels:0,1000000", "labels:1,1", "set-999"):
        with pytest.raises(GymQAError):
            apply_scope(wrong, [train])


def test_gym_new_is_twenty_direction_pairs():
    codes = [code for pair in DIRECTION_PAIRS for code in pair]
    assert len(set(codes)) == 40
    classes = tuple(ActionClass(f"c{code}", "FX", 21, code) for code in range(530))
    table = ClipTable(tuple(Clip(f"c{code}", "v", code) for code in range(530)), classes)
    (part,) = apply_scope("gym-new", [table])
    # The published order: the pairs as they stand, so that a pair's labels are 2k and 2k + 1.
    assert [action.code for action in part.classes] == codes
    assert codes[:4] == [171, 183, 172, 184]
    assert [part.class_of(clip).name for clip in part.clips] == [clip.clip_id for clip in part.clips]


@pytest.mark.parametrize("name", SOURCES)
def test_attributes_are_read_from_every_class(name):
    train, _ = tables(name)
    unread = [action.name for action in train.classes if parse_attributes(action.name) is None]
    assert len(unread) <= 0.1 * len(train.classes), unread
    assert unread == []


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("(FX) salto backward stretched with 3 twist", Attributes("salto", "backward", "stretched", 3, 1)),
        ("(FX) double salto backward piked", Attributes("salto", "backward", "piked", 0, 2)),
        ("(BB) salto sideward tucked, take off from one leg to side stand",
         Attributes("salto", "sideward", "tucked", 0, 1, "to side stand")),
        ("(UB) pike sole circle backward with 0.5 turn to handstand",
         Attributes("circle", "backward", "", 0.5, 0, "pike sole")),
        ("(UB) transition flight from high bar to low bar", Attributes("transition flight", "high to low")),
        ("(VT) round-off, flic-flac with 0.5 turn on, stretched salto forward with 0.5 turn off",
         Attributes("vault", "forward", "stretched", 0.5, 1, "round-off, flic-flac with 0.5 turn")),
        ("(BB) wolf hop or jump (hip angle at 45, knees together)",
         Attributes("leap", "", "wolf", 0, 0, "from two feet")),
        ("(FX) 2 turn or more with heel of free leg forward at horizontal throughout turn",
         Attributes("turn", "", "", 2, 0, "heel of free leg at horizontal")),
        ("(FX) something else altogether", None),
    ],
)  # fmt: skip
def test_attributes(text, attributes):
    assert parse_attributes(text) == attributes


def test_clip_lists_round_trip(tmp_path):
    table = READERS["finegym"][1]()
    odd = replace(table.clips[0], clip_id="a, b", path='brush/a, "b".avi')
    write_clip_list(tmp_path / "clips.csv", [*table.clips, odd])
    assert [row[1:] for row in read_labels(tmp_path / "clips.csv")] == [(CLIP, 0), (VAULT, 1), ('a, "b"', 0)]
