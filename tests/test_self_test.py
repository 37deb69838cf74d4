"""``doctor --self-test``: its steps in order, and what a failing one leaves."""

from __future__ import annotations

import pytest

import sefar_mllm.doctor.self_test
from sefar_mllm.cli import main
from sefar_mllm.doctor.self_test import self_test
from sefar_mllm.errors import SefarMLLMError


def test_a_failing_step_is_named_and_what_it_said_is_shown(monkeypatch, capsys):
    def broken(folder, device, quantization):
        yield "render", lambda: print("rendered")
        yield "train", lambda: print("half way") or [][0]
        yield "never reached", lambda: pytest.fail("went on")

    monkeypatch.setattr(sefar_mllm.doctor.self_test, "steps", broken)
    with pytest.raises(SefarMLLMError, match="self-test: train: IndexError: list index out of range"):
        self_test("cpu")
    said = capsys.readouterr().out
    assert "rendered" not in said
    assert "half way" in said
    assert [line.split()[0] for line in said.splitlines() if " ok " in line] == ["render"]


@pytest.mark.slow
def test_the_whole_path_on_this_machine(capsys):
    assert main(["doctor", "--self-test"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith(" s") and " ok " in line for line in lines[1:]] == [True] * 9
