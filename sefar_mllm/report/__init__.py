"""One page that says which encoder wins, by how much, how surely, and whether it beats a blind guess."""

from sefar_mllm.report.content import (
    Breakdown,
    Comparison,
    Confusion,
    Curves,
    Example,
    Reliability,
    Report,
    ResultRow,
)
from sefar_mllm.report.html import render_html, write_report
from sefar_mllm.report.markdown import markdown_table, render_markdown
from sefar_mllm.report.results import read_results, read_series, write_results
from sefar_mllm.report.tables import format_table

__all__ = [
    "Breakdown",
    "Comparison",
    "Confusion",
    "Curves",
    "Example",
    "Reliability",
    "Report",
    "ResultRow",
    "format_table",
    "markdown_table",
    "read_results",
    "read_series",
    "render_html",
    "render_markdown",
    "write_report",
    "write_results",
]
