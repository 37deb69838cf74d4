"""Rows of an .xlsx file as texts; copied into the folder of VLMEvalKit's data set too."""

from __future__ import annotations

import re
from pathlib import Path

#: How .xlsx files spell control characters, such as the return in a line break.
CONTROL = re.compile(r"_x(00[01][0-9A-Fa-f])_")


def read_xlsx(path: Path) -> list[dict[str, str]]:
    """The rows below the header of the first sheet, by column; empty cells are empty texts.

    A cell that is a formula (``=B``) is the text of the formula: whoever wrote it meant a text.

    Raises:
        ImportError: without openpyxl.
        Exception: of many kinds, for what is no such file.
    """
    from openpyxl import load_workbook

    with path.open("rb") as file:
        lines = load_workbook(file, read_only=True).worksheets[0].iter_rows(values_only=True)
        header, *rows = [[_text(cell) for cell in line] for line in lines] or [[]]
    return [dict(zip(header, row, strict=False)) for row in rows if any(row)]


def _text(cell: object) -> str:
    cell = getattr(cell, "text", cell)  # of an array formula
    return "" if cell is None else CONTROL.sub(lambda code: chr(int(code[1], 16)), str(cell))
