"""Rows of a file of answers, whichever tool wrote it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from gym_qa.exports.spreadsheet import read_xlsx
from gym_qa.files import parse_json, read_json_lines, read_text
from sefar_mllm.errors import SefarMLLMError

EXPECTED = (
    "expected CSV, TSV, .xlsx, JSON lines or a JSON list of rows with 'id' (or the row number 'index' or "
    "'doc_id') and 'prediction' (or 'choice'; or lmms-eval's 'filtered_resps', LLaMA-Factory's 'predict', "
    "ms-swift's 'response', LLaVA's 'text' or 'pred')"
)


@dataclass(frozen=True)
class Row:
    """A row of a file.

    Attributes:
        place: what an error calls it.
        cells: by the names of their columns, or keys.
    """

    place: str
    cells: dict[str, object]


def read_rows(path: Path) -> list[Row]:
    """The file's rows.

    Raises:
        SefarMLLMError: for what is no table or list of rows.
        GymQAError: for a file that is missing or not of its kind.
    """
    kind = path.suffix.lower()
    if kind == ".xlsx":
        return [Row(f"{path}, row {number}", dict(row)) for number, row in enumerate(_spreadsheet(path), 1)]
    if kind in (".csv", ".tsv"):
        reader = csv.DictReader(io.StringIO(read_text(path)), delimiter="," if kind == ".csv" else "\t")
        try:
            # Row numbers, not lines: a quoted reply may hold line breaks.
            return [Row(f"{path}, row {number}", dict(row)) for number, row in enumerate(reader, 1)]
        except csv.Error as error:
            raise SefarMLLMError(f"{path}: not {kind[1:].upper()} ({error}); {EXPECTED}") from None
    # LLaVA-NeXT calls its JSON lines .json, others a list .jsonl: the first character tells.
    text = read_text(path)
    if text.lstrip().startswith("["):
        rows = [
            Row(f"{path}, row {number}", row) for number, row in enumerate(parse_json(text, str(path)), 1)
        ]
    else:
        rows = [Row(f"{path}, line {line}", row) for line, row in read_json_lines(path)]
    for row in rows:
        if not isinstance(row.cells, dict):
            raise SefarMLLMError(f"{row.place}: got {type(row.cells).__name__}; {EXPECTED}")
    return rows


def _spreadsheet(path: Path) -> list[dict[str, str]]:
    try:
        return read_xlsx(path)
    except FileNotFoundError:
        raise SefarMLLMError(f"{path}: no such file; check the path") from None
    except ImportError:
        raise SefarMLLMError(f"{path}: .xlsx needs the package openpyxl; pip install openpyxl") from None
    except Exception as error:  # a broken archive, broken XML, no sheet: openpyxl has no error of its own
        raise SefarMLLMError(f"{path}: not an .xlsx file that can be read ({error}); {EXPECTED}") from None
