"""One page that says which encoder wins, by how much, how surely, and whether it beats a blind guess."""

from .build import render_html, write_report
from .content import Breakdown, Comparison, Confusion, Curves, Example, Reliability, Report, ResultRow
from .markdown import markdown_table, render_markdown
from .results import read_results, read_series, write_results
from .tables import format_table

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
