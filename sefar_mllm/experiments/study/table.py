"""The results of a study as a Markdown table that also reads well in a terminal."""

from __future__ import annotations

from typing import Any

from sefar_mllm.report.tables import markdown_text


def markdown(results: dict[str, Any]) -> str:
    """Title, table (the paper's numbers, then ours with their deviation over the seeds) and what it rests on.

    Args:
        results: The contents of a study's ``results.json``.
    """
    heads = ["", *(f"paper: {name}" for name in results["paper_columns"])]
    figures = _figures(results)
    for column in results["columns"]:
        heads.append(f"here: {column}")
        heads += [f"{name}, {column}" if len(results["columns"]) > 1 else name for name in figures]
    lines = [heads]
    for row in results["rows"]:
        cells = {cell["column"]: cell for cell in row["here"]}
        line = [markdown_text(row["name"])]
        line += [_number(row["paper"].get(name)) for name in results["paper_columns"]]
        for column in results["columns"]:
            line += [_spread(cells.get(column, {}).get(key)) for key in ("top1", *figures)]
        lines.append(line)
    data, settings = results["data"], results["settings"]
    where = "MiniGym (synthetic)" if data["synthetic"] else data["dataset"]
    seeds = results["seeds"]
    runs = "one seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    updates = f"{settings['updates']} updates" if settings["updates"] else f"{settings['epochs']} epochs"
    return (
        f"### {results['study']}: {results['title']} ({results['source']})\n\n{_aligned(lines)}\n\n"
        f"Here: {results['unit']}; {where}, {100 * data['fraction']:g} % of the labels where the column does "
        f"not say, {updates}, {runs}. The paper's numbers are of other data "
        "and longer training: compare the order of the rows, not the numbers.\n"
    )


def _figures(results: dict[str, Any]) -> list[str]:
    """Names of what was measured besides the accuracy."""
    runs = [run for row in results["rows"] for cell in row["here"] for run in cell["runs"]]
    return list(dict.fromkeys(name for run in runs for name in run.get("figures", {})))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _spread(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return "–"
    digits = 2 if abs(spread["mean"]) < 2 else 1
    text = f"{spread['mean']:.{digits}f}"
    return text if spread["std"] is None else f"{text} ± {spread['std']:.{digits}f}"


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    rows = [lines[0], rule, *lines[1:]]
    return "\n".join(f"| {' | '.join(_padded(row, widths))} |" for row in rows)


def _padded(row: list[str], widths: list[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(c.rjust(width) for c, width in zip(row[1:], widths[1:], strict=True))]
