"""The report as Markdown, for a README or a paper's draft: the same tables, without pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from sefar_mllm.report.content import Breakdown, Comparison, Example, Reliability, Report, ResultRow
from sefar_mllm.report.tables import (
    RIGHT_ALIGNED,
    columns_of,
    headlines,
    interval,
    markdown_text,
    ordered,
    p_value,
    percent,
    points,
)


def render_markdown(report: Report) -> str:
    """Headline, tables and wrong answers; frames, curves and matrices are in the page alone."""
    parts = [f"# {markdown_text(report.title)}"]
    if report.synthetic:
        parts.append("Synthetic data: these numbers do not say how the models do on real videos.")
    if sentences := headlines(report):
        parts.append("\n".join(f"- {markdown_text(sentence)}" for sentence in sentences))
    if report.rows:
        parts.append(markdown_table(report.rows))
    if report.comparisons:
        parts.append(markdown_comparisons(report.comparisons))
    parts += [markdown_groups(part) for part in report.breakdowns]
    parts += [markdown_reliability(part) for part in report.reliabilities]
    if report.examples:
        parts.append("\n\n".join(["## Examples", *map(markdown_example, report.examples)]))
    for title, values in (("Settings", report.settings), ("Versions", report.versions)):
        if values:
            parts.append(f"## {title}\n\n{markdown_pairs(values)}")
    return "\n\n".join(parts) + "\n"


def markdown_table(rows: Sequence[ResultRow]) -> str:
    """The same table in Markdown; controls are set in italics."""
    columns = columns_of(rows)
    lines = [list(columns), ["---:" if head in RIGHT_ALIGNED else "---" for head in columns]]
    for row, cells in zip(ordered(rows), zip(*columns.values(), strict=True), strict=True):
        safe = [markdown_text(cell) for cell in cells]
        lines.append([f"*{safe[0]}*", *safe[1:]] if row.control else safe)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def markdown_comparisons(comparisons: Sequence[Comparison]) -> str:
    """The paired tests as a Markdown table."""
    lines = [
        "| comparison | questions | difference (points) | 95 % interval | p | McNemar p | n | verdict |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for c in comparisons:
        span = f"{points(c.test.low)} to {points(c.test.high)}"
        pair, name = markdown_text(f"{c.a} − {c.b}"), markdown_text(c.questions)
        exact = "–" if c.mcnemar is None else p_value(c.mcnemar)
        lines.append(
            f"| {pair} | {name} | {points(c.test.difference)} | {span} | {p_value(c.test.p)} | {exact} "
            f"| {c.test.n} | {markdown_text(c.verdict)} |"
        )
    return "\n".join(lines)


def markdown_groups(part: Breakdown) -> str:
    """Accuracy by group."""
    lines = [
        f"## {markdown_text(part.title)}\n",
        "| group | accuracy | 95 % interval | n |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {markdown_text(str(g.key))} | {percent(g.accuracy)} % | {interval(g.low, g.high)} | {g.n:,} |"
            for g in part.groups
        ),
    ]
    return "\n".join(lines)


def markdown_reliability(part: Reliability) -> str:
    """Share right by the probability of the chosen option."""
    lines = [
        f"## {markdown_text(part.title)}: reliability\n",
        f"Expected calibration error: {percent(part.error)} points.\n",
        "| probability | right | 95 % interval | n |",
        "| ---: | ---: | ---: | ---: |",
        *(
            f"| {percent(b.confidence)} % | {percent(b.accuracy)} % | {interval(b.low, b.high)} | {b.n:,} |"
            for b in part.bins
        ),
    ]
    return "\n".join(lines)


def markdown_example(item: Example) -> str:
    """One question with its options, the model's probabilities and its choice."""
    lines = [
        f"{markdown_text(item.model)} on clip {markdown_text(item.clip)}: {markdown_text(item.question)}\n"
    ]
    for number, option in enumerate(item.options):
        sure = f" {percent(item.probabilities[number])} %" if item.probabilities else ""
        marks = [word for word, at in (("right", item.answer), ("chosen", item.choice)) if at == number]
        said = f" **{', '.join(marks)}**" if marks else ""
        lines.append(f"- {ascii_uppercase[number]}: {markdown_text(option)}{sure}{said}")
    return "\n".join(lines)


def markdown_pairs(values: Mapping[str, object]) -> str:
    """Names and values."""
    lines = ["| setting | value |", "| --- | --- |"]
    lines += [
        f"| {markdown_text(name)} | {markdown_text(' '.join(str(value).split()))} |"
        for name, value in values.items()
    ]
    return "\n".join(lines)
