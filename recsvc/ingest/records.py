"""CSV text to records, one at a time, each with the line it starts on.

This reader defines what is accepted; :mod:`recsvc.ingest.numeric` is the fast one for plain
blocks of numbers and must agree with it.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"
LONGEST_FIELD = 131_072  # the csv module's own default, stated because a message quotes it


class UnclosedQuoteError(Exception):
    """A quoted value that never ends: where the rows after it begin cannot be known."""

    def __init__(self, line: int) -> None:
        super().__init__(
            f"line {line}: a quote opens here and is not closed within {LONGEST_FIELD:,} characters"
        )


@dataclass(frozen=True)
class Record:
    """One CSV record."""

    line: int  #: line of the file on which it starts, the header being line 1
    fields: list[str]  #: its values; bytes that are not UTF-8 appear as lone surrogates
    raw: str  #: the record as it stands in the file, without the line end
    error: str | None  #: why it is not a record at all, if it is not


def read_records(lines: Iterable[bytes], first_line: int = 1) -> Iterator[Record]:
    """Parse RFC 4180 records, quoted line breaks included; blank lines are passed over.

    Raises:
        UnclosedQuoteError: naming the line on which the quote opens.
    """
    consumed: list[str] = []

    def decoded() -> Iterator[str]:
        for number, line in enumerate(lines):
            clean = line.removeprefix(BOM) if first_line == 1 and number == 0 else line
            text = clean.decode("utf-8", errors="surrogateescape")
            consumed.append(text)
            yield text

    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(decoded(), strict=True)
    line = first_line
    while True:
        error, fields = None, list[str]()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            error = str(problem)
            if error.startswith(("unexpected end of data", "field larger than")):
                raise UnclosedQuoteError(line) from None
        if fields or error:
            yield Record(line, fields, "".join(consumed).rstrip("\r\n"), error)
        line += len(consumed)
        consumed.clear()
