"""The tables as text, and the files a report is made from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from fabricated_report import fabricated_report, fabricated_row
from hypothesis import given, settings
from hypothesis import strategies as st

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.report import (
    ResultRow,
    format_table,
    markdown_table,
    read_results,
    read_series,
    write_results,
)

TERMINAL = """\
MiniGym hard (synthetic) questions
encoder  accuracy  95 % interval      n  seconds  note
-----------------------------------------------------------
SeFAR      50.0 %    46.5 – 53.5    800       96
frames     25.0 %    22.1 – 28.1    800      1.0
------------------------- controls ------------------------
chance     25.0 %              –  1,000        –  by design"""

MARKDOWN = """\
| encoder | questions | accuracy | 95 % interval | n | seconds | note |
| --- | --- | ---: | ---: | ---: | ---: | --- |
| SeFAR | MiniGym hard (synthetic) | 50.0 % | 46.5 – 53.5 | 800 | 96 |  |
| frames | MiniGym hard (synthetic) | 25.0 % | 22.1 – 28.1 | 800 | 1.0 |  |
| *chance* | MiniGym hard (synthetic) | 25.0 % | – | 1,000 | – | by design |"""


def test_tables_are_written_as_expected() -> None:
    quarter = {"accuracy": 0.25, "ci_low": 0.25, "ci_high": 0.25}
    chance = ResultRow(
        encoder="chance", questions="MiniGym hard", n=1000, seconds=None, synthetic=True, control=True,
        note="by design", **quarter,
    )  # fmt: skip
    rows = [fabricated_row("SeFAR", 400, seconds=96.4), chance, fabricated_row("frames", 200, seconds=1.0)]
    assert format_table(rows) == TERMINAL
    assert markdown_table(rows) == MARKDOWN


@given(
    st.lists(
        st.tuples(st.text(max_size=150), st.text(max_size=150), st.text(max_size=150)), min_size=1, max_size=4
    )
)
@settings(deadline=None, max_examples=50)
def test_terminal_table_fits_and_keeps_the_numbers(texts: list[tuple[str, str, str]]) -> None:
    rows = [fabricated_row(a, 321, seconds=12345.6, questions=q, note=n) for a, q, n in texts]
    lines = format_table(rows).split("\n")
    sets = len({row.questions for row in rows})
    assert len(lines) == len(rows) + 4 * sets - 1
    assert all(len(line) <= 100 for line in lines)
    assert sum("40.1 %" in line and "36.8 – 43.6" in line and "12,346" in line for line in lines) == len(rows)
    assert sum(line.endswith("(synthetic) questions") for line in lines) == sets


def test_results_file_round_trip(tmp_path: Path) -> None:
    rows = list(fabricated_report().rows)
    path = tmp_path / "run" / "results.json"
    write_results(path, rows)
    assert read_results(path) == rows
    assert list(path.parent.iterdir()) == [path]
    assert {"encoder", "questions", "accuracy", "ci_low", "ci_high", "n", "seconds"} <= json.loads(
        path.read_text()
    )[0].keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": None}, "row 1: 'accuracy' must be a number"),
        ({"accuracy": True}, "row 1: 'accuracy' must be a number"),
        ({"n": 0}, "row 1: .*expected n >= 1"),
        ({"seconds": float("inf")}, "row 1: .*seconds and seed_std >= 0"),
        ({"ci_low": 0.9}, "row 1: .*ci_low <= accuracy"),
        ({"accuracy": float("nan")}, "row 1: .*ci_low <= accuracy"),
        ({"encoder": 3}, "row 1: 'encoder' must be a text"),
    ],
)
def test_results_file_is_refused_by_place(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([dataclasses.asdict(fabricated_row("SeFAR", 400)) | change]), encoding="utf-8")
    with pytest.raises(SefarMLLMError, match=f"results.json: {message}"):
        read_results(path)


@pytest.mark.parametrize("content", [b"{}", b"[3]", b"[{}]", b"[", b"\xff", b"[" * 100_000])
def test_results_file_that_is_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(SefarMLLMError, match=r"results\.json"):
        read_results(path)
    with pytest.raises(SefarMLLMError, match="cannot be read"):
        read_results(tmp_path / "none.json")


def test_series_from_a_metrics_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "loss": 2.5}\n{"epoch": 1, "top1": 0.3}\n\n{"step": 2, "loss": 2}\n', encoding="utf-8"
    )
    assert read_series(path, "step", "loss") == [(1.0, 2.5), (2.0, 2.0)]
    with pytest.raises(SefarMLLMError, match="the keys there are: epoch, loss, step, top1"):
        read_series(path, "step", "los")
    path.write_text('{"step": 1, "loss": "2.5"}\n', encoding="utf-8")
    with pytest.raises(SefarMLLMError, match="line 1: 'loss' must be a number"):
        read_series(path, "step", "loss")
