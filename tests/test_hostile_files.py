"""Files that mean harm or are half a thing: bounded, refused with one message, and never a traceback."""

from __future__ import annotations

import json
import pickle
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.errors import EncoderError
from encoder.video.clips import read_classes
from gym_qa.datasets.plainpickle import MOST_VALUES, read_plain_pickle
from gym_qa.errors import GymQAError
from gym_qa.files import parse_json, read_json, write_json_lines, write_text
from gym_qa.questions.questions import read_questions
from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import write_whole


def nested(make, levels=60):
    value = make([1])
    for _ in range(levels):
        value = make([value, value])
    return value


def around(make):
    """``make``'s values below a level that cannot be hashed."""
    return lambda: [nested(make), {"a": nested(make)}]


def holds_itself():
    value: list = [1]
    value.append(value)
    return {("v", 1): value}


def named_twice_by_dicts():
    value = {"a": 1}
    for _ in range(60):
        value = {"a": value, "b": value}
    return value


BOMBS = {
    "lists": lambda: nested(list),
    "tuples": lambda: nested(tuple),
    "tuple as a key": lambda: pickle_of_key(nested(tuple)),
    "both": around(tuple),
    "dicts": named_twice_by_dicts,
    "itself": holds_itself,
    "long numbers": lambda: {("v", 10**5000): 1},
    "half a character": lambda: {("v\ud800", 1): 1},
}


def pickle_of_key(key):
    """A pickle whose dict has the key, made without hashing it here."""
    return pickle.dumps(key, 4)[:-1].replace(b"\x80\x04", b"\x80\x04}", 1) + b"K\x01s."


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_that_grow_when_written_out_are_refused(bomb, protocol, tmp_path, capsys):
    value = BOMBS[bomb]()
    raw = value if isinstance(value, bytes) else pickle.dumps(value, protocol)
    (tmp_path / "FineDiving_coarse_annotation.pkl").write_bytes(raw)
    for split in ("train", "test"):
        (tmp_path / f"{split}_split.pkl").write_bytes(pickle.dumps([("v", 1)]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    arguments = ["--dataset", "finediving", "--data", str(tmp_path), "--output", str(tmp_path / "qa")]
    assert main(["build-qa", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"error: {tmp_path / 'FineDiving_coarse_annotation.pkl'}: not a pickle of plain values"
    )
    assert said.count("\n") == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_an_empty_array_is_as_long_as_it_holds(tmp_path):
    raw = pickle.dumps(np.zeros((3, 0)), 3)
    claimed = raw.replace(b"K\x03K\x00\x86", b"J\xff\xff\xff\x7fK\x00\x86")
    assert claimed != raw
    (tmp_path / "a.pkl").write_bytes(claimed)
    assert len(read_plain_pickle(tmp_path / "a.pkl").tolist()) == 0


@pytest.mark.parametrize(
    "raw", [b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", b"\x80\x04X\xff\xff\xff\x7f."]
)
def test_lengths_that_a_file_only_claims_take_no_memory(raw, tmp_path):
    (tmp_path / "a.pkl").write_bytes(raw)
    with pytest.raises(GymQAError, match=r"a\.pkl"):
        read_plain_pickle(tmp_path / "a.pkl")


PLAIN = st.recursive(
    st.integers(-(2**63), 2**63)
    | st.text(max_size=5)
    | st.none()
    | st.floats(allow_nan=False)
    | st.binary(min_size=1, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.tuples(st.text(max_size=3), st.integers(0, 9)), inner, max_size=3)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(value=PLAIN, protocol=st.integers(0, 5), shared=st.booleans())
def test_plain_values_come_back(value, protocol, shared, tmp_path_factory):
    value = [value, value, (value, value)] if shared else value
    path = tmp_path_factory.mktemp("p") / "a.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_plain_pickle(path) == value
    assert MOST_VALUES > 3000 * 500  # 3,000 dives with a label for every frame


HALVES = [r"\ud800", r"\uDfFf", r"\udc00\ud800", r"a\ud83d"]
ROW = '{"id": "q", "video": "v", "question": "Which?", "options": ["a", "b"], "answer": 0}'


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("word", ["q", "v", "Which?", "a", "id"])
def test_half_a_character_is_named_by_file_and_line(half, word, tmp_path, capsys):
    path = tmp_path / "q.jsonl"
    path.write_text(
        ROW + "\n" + ROW.replace('"q"', '"r"').replace(f'"{word}', f'"{half}{word}', 1) + "\n", "utf-8"
    )
    if word == "q":
        path.write_text(ROW.replace('"q"', f'"{half}"') + "\n", "utf-8")
    for verb in (["audit-qa", "--questions", str(path)], ["score", str(path), str(path)]):
        assert main(verb) == 2
        said = capsys.readouterr().err
        assert "q.jsonl, line " in said
        assert "half a character" in said


def test_characters_of_two_escapes_are_whole():
    assert parse_json(r'["\ud83e\udd38", "\\ud800"]', "here") == ["\U0001f938", r"\ud800"]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=6))
def test_every_other_text_goes_round(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("j") / "a.jsonl"
    write_json_lines(path, [{"text": text}])
    assert parse_json(path.read_text("utf-8").rstrip("\n"), "here") == {"text": text}
    assert read_json(path) == {"text": text}


def test_half_a_character_is_no_traceback_when_written(tmp_path):
    for write in (write_text, lambda path, text: write_json_lines(path, [text])):
        with pytest.raises(GymQAError, match=r"out\.txt: cannot be written"):
            write(tmp_path / "out.txt", "a\ud800")
    assert not list(tmp_path.iterdir())


def test_the_other_rooms_name_it_too(tmp_path):
    for text in (r'["a\ud800"]', r'[{"name": "\udfff"}]', "[" * 100_000):
        (tmp_path / "classes.json").write_text(text, "utf-8")
        with pytest.raises(EncoderError, match=r"classes\.json"):
            read_classes(tmp_path / "classes.json")
    with pytest.raises(SefarMLLMError, match=r"report\.md"):
        write_whole(tmp_path / "report.md", "a\udfff")
    assert [path.name for path in tmp_path.iterdir()] == ["classes.json"]


def test_line_separators_of_unicode_do_not_end_a_line(tmp_path):
    rows = [
        {**json.loads(ROW), "id": f"q{n}", "question": f"a{char}b"}
        for n, char in enumerate("\u2028\u2029\x85\x0b\x1c")
    ]
    write_json_lines(tmp_path / "q.jsonl", rows)
    assert [question.question for question in read_questions(tmp_path / "q.jsonl")] == [
        row["question"] for row in rows
    ]
