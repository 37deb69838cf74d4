"""Rows of a file of answers, whichever tool wrote it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from gym_qa.exports.spreadsheet import read_xlsx
from gym_qa.files import parse_json, read_json_lines, read_text
from sefar_mllm.errors import SefarMLLMError

EXPECTED = (
    "expected CSV, TSV, .xlsx, JSON lines or a JSON list of rows with 'id' (or the row number 'index' or "
    "'doc_id') and 'prediction' (or 'choice'; or lmms-eval's 'filtered_resps', LLaMA-Factory's 'predict', "
    "ms-swift's 'response', LLaVA's 'text' or 'pred')"
)

Row = tuple[str, dict[str, Any]]  # what an error calls the row's place, and the row


def read_rows(path: Path) -> list[Row]:
    """The file's rows, each with its place.

    Raises:
        SefarMLLMError: for what is no table or list of rows.
        GymQAError: for a file that is missing or not of its kind.
    """
    kind = path.suffix.lower()
    if kind == ".xlsx":
        return [(f"{path}, row {number}", dict(row)) for number, row in enumerate(_spreadsheet(path), 1)]
    if kind in (".csv", ".tsv"):
        reader = csv.DictReader(io.StringIO(read_text(path)), delimiter="," if kind == ".csv" else "\t")
        try:
            # Row numbers, not lines: a quoted reply may hold line breaks.
            return [(f"{path}, row {number}", dict(row)) for number, row in enumerate(reader, 1)]
        except csv.Error as error:
            raise SefarMLLMError(f"{path}: not {kind[1:].upper()} ({error}); {EXPECTED}") from None
    # LLaVA-NeXT calls its JSON lines .json, others a list .jsonl: the first character tells.
    text = read_text(path)
    if text.lstrip().startswith("["):
        found = [(f"{path}, row {number}", row) for number, row in enumerate(parse_json(text, str(path)), 1)]
    else:
        found = [(f"{path}, line {line}", row) for line, row in read_json_lines(path)]
    for place, row in found:
        if not isinstance(row, dict):
            raise SefarMLLMError(f"{place}: got {type(row).__name__}; {EXPECTED}")
    return found


def _spreadsheet(path: Path) -> list[dict[str, str]]:
    try:
        return read_xlsx(path)
    except FileNotFoundError:
        raise SefarMLLMError(f"{path}: no such file; check the path") from None
    except ImportError:
        raise SefarMLLMError(f"{path}: .xlsx needs the package openpyxl; pip install openpyxl") from None
    except Exception as error:  # a broken archive, broken XML, no sheet: openpyxl has no error of its own
        raise SefarMLLMError(f"{path}: not an .xlsx file that can be read ({error}); {EXPECTED}") from None
