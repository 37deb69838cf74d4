"""The page, on numbers fabricated for the purpose (no model was run)."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fabricated_report import fabricated_report, fabricated_row
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.report import (
    Comparison,
    Confusion,
    Curves,
    Report,
    markdown_table,
    render_html,
    render_markdown,
    write_report,
)
from sefar_mllm.report.figures import MAX_CLASSES, MAX_POINTS, Axis, confusion_figure, line_chart
from sefar_mllm.statistics import paired_difference

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = '(FX) <script>alert("1")</script> & "salto" \'tucked\' </style>|`*'


class Page(HTMLParser):
    """Parses strictly: every tag closed in order; collects tags, attributes, headings and visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"attribute twice in <{tag}>"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)
            if self.open[-1] in ("h2", "h3"):
                self.headings.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_page_is_whole_and_loads_nothing() -> None:
    html = render_html(fabricated_report())
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert {"html", "body", "main", "table", "svg", "img"} <= names
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        for key in ("src", "href", "srcset", "xlink:href", "data", "action"):
            assert (attributes.get(key) or "data:").startswith(
                "data:image/jpeg;base64,"
            ) or key not in attributes, tag
        assert not any(key.startswith("on") for key in attributes)
        if tag == "img":
            assert attributes["alt"]
            picture = Image.open(io.BytesIO(base64.b64decode(str(attributes["src"]).split(",")[1])))
            assert picture.size == (64, 64)
    assert "url(" not in html
    assert "@import" not in html
    assert not re.search(r"https?://", html)


def test_page_shows_every_number_and_says_synthetic() -> None:
    report = fabricated_report()
    page = Page(render_html(report))
    for row in report.rows:
        assert row.encoder in page.words
        assert f"{100 * row.accuracy:.1f} %" in page.words
    assert f"{100 * report.rows[0].ci_low:.1f} – {100 * report.rows[0].ci_high:.1f}" in page.words
    for comparison in report.comparisons:
        assert f"{100 * comparison.test.difference:+.1f}".replace("-", "−") in page.words
    assert page.words.count("Synthetic data") == 8  # the banner and seven parts with numbers
    assert "synthetic" not in Page(render_html(Report("Real", synthetic=False, seed=1))).words.lower()
    assert "508" in page.words  # total of the stages' seconds: 31.2 + 240 + 140.5 + 96.4


def test_headline_says_who_leads_how_surely_and_against_blind() -> None:
    report = fabricated_report()
    text = render_markdown(report)
    assert re.search(r"- SeFAR answers 6\d\.\d % of 800 MiniGym hard \(synthetic\) questions right", text)
    assert re.search(r"- SeFAR leads EfficientNet-Lite0 by 1\d\.\d points .* p \\< 0\.001\)", text)
    assert "- Better than blind: the strongest control, " in text
    swapped = Comparison(
        "EfficientNet-Lite0",
        "SeFAR",
        "MiniGym hard",
        paired_difference([0, 0, 1, 0], [0, 1, 0, 0], [1, 1, 2, 2], 0),
    )
    text = render_markdown(dataclasses.replace(report, comparisons=[swapped]))
    assert "- SeFAR and EfficientNet-Lite0 are not told apart: +0.0 points" in text
    other_way = Comparison(
        "SeFAR", "frames", "MiniGym hard", paired_difference([0] * 9, [1] * 9, list(range(9)), 0)
    )
    text = render_markdown(dataclasses.replace(report, comparisons=[other_way]))
    assert "- frames leads SeFAR by 100.0 points" in text
    rows = [fabricated_row("SeFAR", 230), fabricated_row("commonest class", 220, control=True)]
    assert "- Not shown to be better than blind: the strongest control, commonest class, reaches 27.5 %" in (
        render_markdown(Report("x", True, 0, rows=rows))
    )


def test_hostile_text_is_shown_not_run() -> None:
    report = fabricated_report()
    events = {HOSTILE: "F<X", "plain": "F<X"}
    hostile = dataclasses.replace(
        report,
        title=HOSTILE,
        rows=[fabricated_row(HOSTILE, 300, note=HOSTILE)],
        comparisons=[Comparison(HOSTILE, "plain", "MiniGym hard", report.comparisons[0].test)],
        curves=[Curves(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: [(0, 1), (1, 2)]})],
        confusions=[Confusion.from_choices(HOSTILE, [HOSTILE, "plain"], ["plain", HOSTILE], events)],
        examples=[
            dataclasses.replace(report.examples[0], question=HOSTILE, options=[HOSTILE] * 4, clip=HOSTILE)
        ],
        settings={HOSTILE: HOSTILE},
    )
    html = render_html(hostile)
    page = Page(html)
    assert "<script" not in html
    assert html.count("</style>") == 1
    assert page.words.count(HOSTILE) >= 10
    shown = render_markdown(hostile)
    assert "<script" not in shown.replace(r"\<script", "")
    table = markdown_table(hostile.rows).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(re.findall(r"\|", table[1]))}


def test_only_controls_without_their_video_are_blind() -> None:
    rows = [
        fabricated_row("SeFAR", 480),
        fabricated_row("frames reversed", 475, control=True, sees_video=True),
        fabricated_row("no video", 200, control=True),
        dataclasses.replace(
            fabricated_row("SeFAR", 49, 100, None, questions="published", synthetic=False),
            ci_low=0.49,
            ci_high=0.49,
        ),
    ]
    text = render_markdown(Report("x", True, 0, rows=rows))
    assert "- Better than blind: the strongest control, no video, reaches 25.0 %" in text
    assert text.count("answers 49.0 %") == 0  # a published figure is no headline of ours


def test_markdown_holds_what_the_page_holds_but_pictures() -> None:
    report = fabricated_report()
    text = render_markdown(report)
    for group in report.breakdowns[0].groups:
        assert f"| {group.key} | {100 * group.accuracy:.1f} % |" in text
    for b in report.reliabilities[0].bins:
        assert f"| {100 * b.confidence:.1f} % | {100 * b.accuracy:.1f} % |" in text
    assert f"calibration error: {100 * report.reliabilities[0].error:.1f} points" in text
    assert r"81.0 % **right, chosen**" in text
    assert "| lora.rank | 16 |" in text
    assert "| torch | 2.9.1 |" in text


def test_answers_without_frames_or_probabilities_are_shown_without_them() -> None:
    example = dataclasses.replace(
        fabricated_report().examples[0], probabilities=(), frames=np.zeros((0, 1, 1, 3), np.uint8)
    )
    page = Page(render_html(Report("x", False, 0, examples=[example])))
    assert "img" not in {tag for tag, _ in page.tags}
    assert example.options[0] in page.words


def test_empty_parts_leave_no_headings() -> None:
    assert Page(render_html(Report("Only a title", synthetic=False, seed=3))).headings == []
    full = fabricated_report()
    assert len(Page(render_html(full)).headings) > 8
    for part, heading in {
        "rows": "Results",
        "comparisons": "Differences on the same questions",
        "breakdowns": "Accuracy by group",
        "reliabilities": "Reliability",
        "curves": "Training",
        "confusions": "Confusions",
        "examples": "Examples",
        "timings": "Time",
    }.items():
        alone = Report("Alone", synthetic=True, seed=0, **{part: getattr(full, part)})
        sections = [h for h in Page(render_html(alone)).headings if h in SECTIONS]
        assert sections == [heading]


SECTIONS = {"Results", "Differences on the same questions", "Accuracy by group", "Training", "Confusions"}
SECTIONS |= {"Reliability", "Examples", "Time", "How it was made"}


def test_failed_writing_leaves_the_earlier_report(tmp_path: Path) -> None:
    report = fabricated_report()
    page = write_report(report, tmp_path)
    before = page.read_bytes()
    with pytest.raises(TypeError):
        write_report(dataclasses.replace(report, timings=[("broken", "x")]), tmp_path)  # type: ignore[list-item]
    assert page.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.md"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
@settings(deadline=None)
def test_axis_holds_its_values(values: list[float]) -> None:
    axis = Axis.over(values)
    assert all(-1e-3 <= axis.at(value) <= 100 + 1e-3 for value in values)
    assert 2 <= len(axis.ticks) <= 8


def test_long_lines_are_averaged_and_say_so() -> None:
    line = [(float(i), float(i % 2)) for i in range(1000)]
    chart = line_chart(Curves("t", "step", "loss", {"a": line, "nothing": []}))
    assert chart.averaged == 1000 // MAX_POINTS
    assert [drawn.name for drawn in chart.lines] == ["a"]
    assert len(chart.lines[0].points.split()) == MAX_POINTS
    assert "each point averages 5" in Page(render_html(Report("x", False, 0, curves=[chart.curves]))).words


def test_confusion_counts_and_groups() -> None:
    events = {"b1": "BB", "f1": "FX", "b2": "BB", "never": "VT"}
    confusion = Confusion.from_choices("m", ["f1", "b1", "b1", "b2"], ["f1", "b2", "b2", None], events)
    assert list(confusion.classes) == ["b1", "b2", "f1"]
    assert confusion.counts.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]
    figure = confusion_figure(confusion)
    assert figure.unread == 1
    assert figure.worst == (("b1", "b2", 2, 2),)
    assert figure.spans == (("BB", 0, 2), ("FX", 2, 1))
    with pytest.raises(SefarMLLMError, match="no event is given for class 'v'"):
        Confusion.from_choices("m", ["v"], ["f1"], events)


def test_confusion_of_many_classes_keeps_the_confused_ones() -> None:
    names = {f"class {i:03d}": "FX" for i in range(99)}
    true = [*names, "class 090", "class 091"]
    chosen = [*names, "class 091", "class 092"]
    figure = confusion_figure(Confusion.from_choices("m", true, chosen, names))
    assert len(figure.classes) == MAX_CLASSES
    assert figure.hidden == 99 - MAX_CLASSES
    assert {"class 090", "class 091", "class 092"} <= {name for _, name, _, _ in figure.classes}


def test_example_and_report_refuse_what_does_not_fit() -> None:
    example = fabricated_report().examples[0]
    with pytest.raises(SefarMLLMError, match="4 options but 3 probabilities"):
        dataclasses.replace(example, probabilities=[0.5, 0.3, 0.2])
    with pytest.raises(SefarMLLMError, match="no option 4 of 4"):
        dataclasses.replace(example, choice=4)
    with pytest.raises(SefarMLLMError, match="uint8"):
        dataclasses.replace(example, frames=np.zeros((8, 3, 4, 4), np.float32))
    with pytest.raises(SefarMLLMError, match="must say synthetic=True"):
        Report("x", synthetic=False, seed=0, rows=[fabricated_row("SeFAR", 400)])
    with pytest.raises(SefarMLLMError, match="name the sets apart"):
        Report("x", True, 0, rows=[fabricated_row("a", 4), fabricated_row("b", 4, synthetic=False)])
