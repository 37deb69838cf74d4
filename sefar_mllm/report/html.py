"""From a `Report` to one self-contained HTML page, with its Markdown beside it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from sefar_mllm.files import write_whole
from sefar_mllm.report import tables
from sefar_mllm.report.content import Report
from sefar_mllm.report.figures import Axis, confusion_figure, data_uri, line_chart
from sefar_mllm.report.markdown import render_markdown


def write_report(report: Report, folder: Path) -> Path:
    """Write `report.html` and `report.md` into a folder; returns the page's path."""
    page = folder / "report.html"
    write_whole(page, render_html(report))
    write_whole(folder / "report.md", render_markdown(report))
    return page


def render_html(report: Report) -> str:
    """The page: no script, nothing to load; every text of the report is escaped."""
    accuracies = [value for row in report.rows for value in (row.ci_low, row.ci_high)]
    gaps = [value for c in report.comparisons for value in (c.test.low, c.test.high)]
    return _template().render(
        report=report,
        headlines=tables.headlines(report),
        questions=list(dict.fromkeys(row.questions for row in report.rows)),
        axis=Axis.over([*accuracies, report.chance], margin=0.01).within(0.0, 1.0),
        group_axis=Axis(0.0, 1.0, (0.0, 0.5, 1.0)),
        gap_axis=Axis.over([*gaps, 0.0], margin=0.005),
        charts=[line_chart(curves) for curves in report.curves if any(map(len, curves.lines.values()))],
        matrices=[confusion_figure(confusion) for confusion in report.confusions],
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": tables.percent,
        "points": tables.points,
        "p_value": tables.p_value,
        "seconds": tables.seconds,
        "tick": tables.tick,
        "data_uri": data_uri,
    }
    environment.globals |= {
        "interval": tables.interval,
        "label": tables.questions,
        "seed_spread": tables.seed_spread,
    }
    return environment.get_template("report.html")
