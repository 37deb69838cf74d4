"""The results table in words and figures: for a terminal, and the sentences that sum it up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sefar_mllm.report.content import Comparison, Report, ResultRow

WIDTH = 100  # columns of a terminal
RIGHT_ALIGNED = {"accuracy", "95 % interval", "n", "seconds", "seeds"}


def percent(value: float, digits: int = 1) -> str:
    """A fraction in per cent, without the sign: 0.682 → 68.2."""
    return f"{100 * value:.{digits}f}"


def points(value: float) -> str:
    """A difference of fractions in percentage points, always signed: +12.3, −0.4."""
    rounded = round(100 * value, 1) + 0.0  # the sum turns −0.0 into 0.0
    return f"{rounded:+.1f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """An interval in per cent; a dash where there is none because the value is exact."""
    return f"{percent(low)} – {percent(high)}" if high > low else "–"


def p_value(p: float) -> str:
    """A p-value as it is printed in a sentence or a table."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float | None) -> str:
    """Seconds, to a tenth below a minute."""
    return "–" if value is None else f"{value:,.1f}" if value < 60 else f"{value:,.0f}"


def tick(value: float, digits: int = 5) -> str:
    """A number as it stands at an axis."""
    return f"{value:,.{digits}g}".replace("-", "−")


def questions(row: ResultRow) -> str:
    """The question set's name, and that it is synthetic where it is."""
    return f"{row.questions} (synthetic)" if row.synthetic else row.questions


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]|<>])", r"\\\1", text)


def format_table(rows: Sequence[ResultRow]) -> str:
    """Aligned plain text of at most 100 columns, one table a question set; controls come below a rule."""
    tables = []
    for name in dict.fromkeys(row.questions for row in rows):
        of_set = [row for row in rows if row.questions == name]
        heading = " ".join(f"{questions(of_set[0])} questions".split())
        tables.append(f"{heading[-WIDTH:]}\n{_terminal_table(of_set)}")
    return "\n\n".join(tables)


def _terminal_table(rows: Sequence[ResultRow]) -> str:
    columns = columns_of(rows)
    del columns["questions"]
    widths = {head: max(map(len, [head, *cells])) for head, cells in columns.items()}
    while sum(widths.values()) + 2 * (len(widths) - 1) > WIDTH:
        widths[max(widths.keys() - RIGHT_ALIGNED, key=lambda head: widths[head])] -= 1

    def line(cells: Iterable[str]) -> str:
        parts = []
        for cell, (head, width) in zip(cells, widths.items(), strict=True):
            short = cell if len(cell) <= width else cell[: width - 1] + "…"
            parts.append(short.rjust(width) if head in RIGHT_ALIGNED else short.ljust(width))
        return "  ".join(parts).rstrip()

    width = sum(widths.values()) + 2 * (len(widths) - 1)
    printed = [line(cells) for cells in zip(*columns.values(), strict=True)]
    encoders = sum(not row.control for row in rows)
    if 0 < encoders < len(rows):
        printed.insert(encoders, " controls ".center(width, "-"))
    return "\n".join([line(columns), "-" * width, *printed])


def headlines(report: Report) -> list[str]:
    """What a reader wants first, for each question set: who leads, how surely, is it better than blind."""
    sentences: list[str] = []
    for name in dict.fromkeys(row.questions for row in report.rows):
        of_set = [row for row in report.rows if row.questions == name]
        encoders = [row for row in of_set if not row.control]
        if not encoders or all(row.ci_low == row.ci_high for row in encoders):
            continue  # published figures come without an interval: nothing was measured here
        best = max(encoders, key=lambda row: row.accuracy)
        sentences.append(
            f"{best.encoder} answers {percent(best.accuracy)} % of {best.n:,} {questions(best)} questions "
            f"right (95 % interval {interval(best.ci_low, best.ci_high)})."
        )
        for c in report.comparisons:
            if c.questions == name and best.encoder in (c.a, c.b):
                sentences.append(_lead(best.encoder, c))
        if controls := [row for row in of_set if row.control and not row.sees_video]:
            sentences.append(_against_blind(best, max(controls, key=lambda row: row.accuracy)))
    return sentences


def _lead(best: str, c: Comparison) -> str:
    """One comparison, told from the side that is ahead; from the best row's where neither is for certain."""
    leads = best if c.test.low <= 0 <= c.test.high else c.a if c.test.low > 0 else c.b
    other, sign = (c.b, 1) if leads == c.a else (c.a, -1)
    low, high = sorted([sign * c.test.low, sign * c.test.high])
    gap = sign * c.test.difference
    doubt = f"95 % interval {points(low)} to {points(high)}, p {_equals(c.test.p)}"
    if low > 0:
        return f"{leads} leads {other} by {percent(gap)} points ({doubt})."
    return f"{leads} and {other} are not told apart: {points(gap)} points ({doubt})."


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"


def _against_blind(best: ResultRow, control: ResultRow) -> str:
    reached = f"the strongest control, {control.encoder}, reaches {percent(control.accuracy)} %"
    if best.ci_low > control.accuracy:
        return f"Better than blind: {reached}, below that interval."
    return f"Not shown to be better than blind: {reached}, and the interval does not exclude that."


def ordered(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Controls below the others."""
    return sorted(rows, key=lambda row: row.control)  # stable: the given order within each kind


def columns_of(rows: Sequence[ResultRow]) -> dict[str, list[str]]:
    """Column name → one text a row, on one line each; columns that no row needs are left out."""
    shown = ordered(rows)
    columns = {
        "encoder": [row.encoder for row in shown],
        "questions": [questions(row) for row in shown],
        "accuracy": [f"{percent(row.accuracy)} %" for row in shown],
        "95 % interval": [interval(row.ci_low, row.ci_high) for row in shown],
        "seeds": [seed_spread(row) for row in shown],
        "n": [f"{row.n:,}" for row in shown],
        "seconds": [seconds(row.seconds) for row in shown],
        "note": [row.note for row in shown],
    }
    if all(row.seeds == 1 for row in shown):
        del columns["seeds"]
    if not any(columns["note"]):
        del columns["note"]
    return {head: [" ".join(cell.split()) for cell in cells] for head, cells in columns.items()}


def seed_spread(row: ResultRow) -> str:
    """Number of training seeds and their standard deviation in points, e.g. "3 (±1.2)"."""
    return f"{row.seeds}" if row.seed_std is None else f"{row.seeds} (±{percent(row.seed_std)})"
