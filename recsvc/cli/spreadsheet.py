"""Rows as CSV that a spreadsheet can open without running what a title says.

Spreadsheets take a cell that begins with ``=`` for a formula, and some other characters for the
start of one (https://owasp.org/www-community/attacks/CSV_Injection). Text that begins so gets a
leading apostrophe; numbers are never touched.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

# Full-width forms as well: some spreadsheets read them as the plain ones.
FORMULA_STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"

# Apostrophes that are there already are counted in, so that undoing is never ambiguous.
_FORMULA = re.compile(f"'*[{re.escape(FORMULA_STARTS)}]")


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    r"""Return rows as CSV (RFC 4180) under a header.

    Numbers have all their digits, times are ISO 8601, and what is missing is an empty cell.

    >>> as_csv([{"title": "=1+1", "score": -0.25}], ("title", "score"))
    "title,score\r\n'=1+1,-0.25\r\n"
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return neutralised(value) if isinstance(value, str) else value


def neutralised(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet could take for a formula.

    One is removed from text that begins with apostrophes and such a character to undo it:

    >>> [neutralised(text) for text in ("=1+1", "'=1+1", "'Til There Was You (1997)")]
    ["'=1+1", "''=1+1", "'Til There Was You (1997)"]
    """
    return f"'{text}" if _FORMULA.match(text) else text
