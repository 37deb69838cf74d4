"""YAML of options: aliases to aliases end in one message, quickly and in little memory; the rest is read."""

from __future__ import annotations

import resource

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sefar_mllm.cli import main
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.settings.options import read_values
from sefar_mllm.settings.yaml_limits import LARGEST, check_size


def lists(levels: int) -> str:
    """``10 ** levels`` letters, in one line."""
    parts = ["&l0 [x, x, x, x, x, x, x, x, x, x]"]
    parts += [f"&l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels)]
    return f"[{', '.join(parts)}]"


def merges(levels: int) -> str:
    """Mappings that merge ten times the one before."""
    parts = ["&m0 {" + ", ".join(f"k{i}: 1" for i in range(10)) + "}"]
    parts += [f"&m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return f"[{', '.join(parts)}]"


def long_text(levels: int) -> str:
    return f"[&t {'x' * 1000}, {', '.join(['*t'] * 10 ** (levels - 5))}]"


BOMBS = {"lists": lists, "merges": merges, "text": long_text, "itself": lambda _: "&a [*a, x]"}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("how", ["config", "value", "settings of a study"])
def test_bombs_end_in_one_message_and_little_memory(bomb, how, tmp_path, capsys):
    text, file = BOMBS[bomb](9), tmp_path / "bomb.yaml"
    file.write_text(f"predictions: p\nquestions: q\nseeds: {text}\n", "utf-8")
    arguments = {
        "config": ["score", "--config", str(file)],
        "value": ["score", "p", "q", f"--seeds={text}"],
        "settings of a study": ["study", "recipes", "--settings", str(file), "--videos", str(tmp_path)],
    }[how]
    with pytest.raises(SystemExit):  # what the verb imports counts no more
        main([arguments[0], "--help"])
    capsys.readouterr()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "aliases spell more" in said or "holds itself" in said
    assert ("bomb.yaml" in said) == (how != "value")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_settings_of_a_study_are_bounded_without_the_command(tmp_path):
    (tmp_path / "bomb.yaml").write_text(f"epochs: {lists(9)}\n", "utf-8")
    with pytest.raises(SefarMLLMError, match=r"bomb\.yaml: its aliases"):
        read_values(tmp_path / "bomb.yaml")


def test_a_few_aliases_are_read(tmp_path, capsys):
    (tmp_path / "fine.yaml").write_text(
        "predictions: &p p.csv\nquestions: q.jsonl\nseeds: [*p, *p]\n", "utf-8"
    )
    assert main(["score", "--config", str(tmp_path / "fine.yaml")]) == 2
    assert "q.jsonl: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["*what* move?", "2 * 3", "**C**", "a & b *", "*", "&a", "*a [", '"\\ud800*"']
)
def test_words_that_are_no_yaml_are_left_alone(text):
    check_size(text, "here")


def written_out(value) -> int:
    """Slow reference: what a loaded value spells."""
    if isinstance(value, dict):
        return 1 + sum(written_out(key) + written_out(item) for key, item in value.items())
    if isinstance(value, list):
        return 1 + sum(map(written_out, value))
    return 1 + len(value)


SHARED = st.recursive(
    st.text("abc", min_size=1, max_size=5).map(lambda text: f"q{text}"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("k", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(value=SHARED, times=st.integers(1, 20_000))
def test_the_bound_is_that_of_the_written_out_value(value, times):
    text = yaml.safe_dump({"a": value}, default_flow_style=True).strip()
    text = f"[&shared {text}, {', '.join(['*shared'] * times)}]"
    spelled = 1 + (1 + times) * written_out({"a": value})
    if spelled > LARGEST:
        with pytest.raises(SefarMLLMError, match="here"):
            check_size(text, "here")
    else:
        check_size(text, "here")


@pytest.mark.parametrize("bomb", BOMBS)
def test_the_words_of_ask_are_bounded_too(bomb, tmp_path, capsys):
    file = tmp_path / "bomb.yaml"
    file.write_text(f"video: v.mp4\nquestion: q\noptions: {BOMBS[bomb](9)}\n", "utf-8")
    assert main(["ask", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert "aliases spell more" in said or "holds itself" in said
    assert said.count("\n") == 1
