"""The one reader of replies: a table of forms with their verdicts, and what must hold of every reply."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_qa.questions import reply as reply_file
from gym_qa.questions.prompt import escaped
from gym_qa.questions.reply import read_answer

FORMS = json.loads(Path(__file__).with_name("reply_forms.json").read_text("utf-8"))
OPTIONS, NAMES_C, UNREADABLE = FORMS.values()


def test_the_table_is_long_enough():
    forms = NAMES_C + UNREADABLE
    assert len(forms) == len(set(forms)) >= 83


@pytest.mark.parametrize("reply", NAMES_C)
def test_an_option_that_is_named_plainly_is_read(reply):
    assert read_answer(reply, OPTIONS) == 2


@pytest.mark.parametrize("reply", UNREADABLE)
def test_nothing_is_guessed(reply):
    assert read_answer(reply, OPTIONS) is None


@pytest.mark.parametrize(
    ("reply", "options", "verdict"),
    [
        ("a", OPTIONS, 0),
        ("(a)", OPTIONS, 0),
        ("Answer: a", OPTIONS, 0),
        ("option a", OPTIONS, 0),
        ("the answer is (a)", OPTIONS, 0),
        ("The answer is A", OPTIONS, 0),
        ("A salto backward tucked", OPTIONS, 0),  # letter or article, both mean the same option
        ("leap", ("leap", "Leap.", "salto"), None),  # two options say the same
        ("A", ("leap", "Leap.", "salto"), 0),
        ("A. leap", ("leap", "Leap.", "salto"), 0),
        ("B", ("B", "A", "D", "C"), None),  # the letter means one option, the text another
        ("none", ("None", "NA", "null", "nan"), 0),
        ("NA", ("None", "NA", "null", "nan"), 1),
        ("2", ("1", "2", "3"), 1),
        ("-0.5", ("0.5", "-0.5"), 1),
        ("the leap", ("leap", "the leap"), 1),
        ("switch_leap", ("switch leap", "switch_leap"), 1),
        ("2*3", ("23", "2*3"), 1),
        ("C++", ("C", "C++"), 1),
        ("C. difficile", ("C. difficile", "E. coli"), 0),
        ("Option C", ("Option C", "salto", "leap"), None),  # the text of one, the letter of another
        ("(FX) leap", ("leap", "(FX) leap"), 1),
        ("B. -1", ("1", "-1"), 1),
        ("A. =B", ("=B", "B"), 0),
        ("A: .5", (".5", "5"), 0),
        ("&lt;video&gt;", ("<video>", "leap"), 0),
        ("H", tuple("12345678"), 7),
        ("...", ("...", "leap"), None),
        ("", ("", "leap"), None),
    ],
)
def test_what_depends_on_the_options(reply, options, verdict):
    assert read_answer(reply, options) == verdict


LETTERED = st.sampled_from(["{l}", "({l})", "{l}.", "{l}. {t}", "({l}) {t}", "{l}: {t}", "{t}", "{t} ({l})"])
ANNOUNCED = st.sampled_from(
    ["{}", "Answer: {}", "The answer is {}", "The correct answer is: {}", "<think>A?</think>{}"]
)
DECORATIONS = [
    "**{}**", "*{}*", "***{}***", "__{}__", "_{}_", "`{}`", "```{}```", '"{}"', "“{}”", " {}", "{}\n",
    "\n\n{}\t ", "{}.", "{}!", "{},", "{} .", "**{}**.", "{}\u200b",
]  # fmt: skip
JOINTS = [
    " or ", " and ", ", ", "; ", "/", " ", "\n", ". ", ": ", " - ", " not ", " vs. ", " & ", "\nAnswer: ",
    " is correct, ",
]  # fmt: skip
decorated = st.sampled_from(DECORATIONS)
numbers = st.integers(0, len(OPTIONS) - 1)


def spoken(form: str, number: int) -> str:
    return form.format(l="ABCD"[number], t=OPTIONS[number])


@given(LETTERED, ANNOUNCED, st.lists(decorated, max_size=4), numbers)
def test_every_plain_form_in_any_decoration_is_read(form, announced, decorations, number):
    reply = announced.format(spoken(form, number))
    for decoration in decorations:
        reply = decoration.format(reply)
    assert read_answer(reply, OPTIONS) == number


@given(st.text(max_size=40) | st.text("aAbBcC ()[].:*_`-#\n\"'isnot", max_size=12), decorated)
def test_emphasis_space_and_final_punctuation_change_no_verdict(reply, decoration):
    assert read_answer(decoration.replace("{}", reply), OPTIONS) == read_answer(reply, OPTIONS)


@given(LETTERED, LETTERED, ANNOUNCED, numbers, numbers, st.sampled_from(JOINTS))
def test_two_options_are_unreadable(first, second, announced, one, other, joint):
    reply = announced.format(spoken(first, one) + joint + spoken(second, other))
    assert one == other or read_answer(reply, OPTIONS) is None


@given(
    st.sampled_from(["{}", "The answer is {}", "performs {}", "The gymnast performs {}.", "It is {}"]),
    st.text("abcdefghijklmnopqrstuvwxyz ", max_size=20).filter(str.strip),
)
def test_the_article_is_never_answer_a(sentence, noun):
    assert read_answer(sentence.format(f"a {noun}"), OPTIONS) != 0 or " ".join(noun.split()) == OPTIONS[0]


@given(st.permutations(range(4)), LETTERED, ANNOUNCED, numbers)
def test_the_verdict_moves_with_the_options(order, form, announced, number):
    moved = [OPTIONS[place] for place in order]
    reply = announced.format(form.format(l="ABCD"[number], t=moved[number]))
    assert read_answer(reply, moved) == number


@given(st.text(max_size=60))
def test_any_reply_is_read_or_refused(reply):
    verdict = read_answer(reply, OPTIONS)
    assert verdict is None or 0 <= verdict < 4
    assert read_answer(f"Well then {reply} I believe so", OPTIONS) is None


@given(st.lists(st.text(max_size=20), min_size=2, max_size=6), st.data())
def test_a_quoted_option_is_read_unless_another_says_the_same(options, data):
    number = data.draw(st.integers(0, len(options) - 1))
    assert read_answer(options[number], options) in (number, None)
    assert read_answer(escaped(options[number]), options) == read_answer(options[number], options)


@pytest.mark.parametrize(
    "unit", ["a ", "(", "**a", "<think>", "C is correct ", "$", "&lt;", "Answer ", "\\text{"]
)
def test_a_long_reply_is_read_too(unit):
    assert read_answer(unit * 20_000, OPTIONS) is None
    assert read_answer(f"<think>{unit * 20_000}</think>C", OPTIONS) == 2


def test_the_reader_needs_the_standard_library_alone():
    for node in ast.walk(ast.parse(inspect.getsource(reply_file))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
