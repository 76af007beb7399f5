"""CSV text to records, one at a time, each with the line it starts on.

This reader defines what is accepted; :mod:`recsvc.ingest.plain.blocks` is the fast one for plain
lines of numbers and must agree with it.
"""

import csv
from collections.abc import Iterable, Iterator
from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
LONGEST_RECORD = 131_072  # characters after which a quoted value may not go on to another line

_NO_LIMIT = 2**31 - 1  # each value has its own limit, which rejects the row and not the file


class UnclosedQuoteError(Exception):
    """A quoted value that does not end well: where the rows after it begin cannot be known."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}: a quote opens here and is not closed as it should be")


class Record(NamedTuple):
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
    csv.field_size_limit(_NO_LIMIT)
    source = _Lines(lines, first_line)
    reader = csv.reader(source, strict=True)
    while True:
        error, fields = None, list[str]()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            if source.several:
                raise UnclosedQuoteError(source.line) from None
            error = _reason(problem)
        line, raw = source.take()
        if fields or error:
            yield Record(line, fields, raw.rstrip("\r\n"), error)


def read_line(text: bytes, line: int) -> Iterator[Record]:
    """Parse a line, not the first of its file, on which a record starts, as :func:`read_records`.

    Most need no reader for themselves: where nothing is quoted, values are what commas part.
    """
    if b'"' in text or b"\r" in text:
        yield from read_records([text], line)
    elif text:
        raw = text.decode("utf-8", errors="surrogateescape")
        yield Record(line, raw.split(","), raw, None)


class _Lines:
    """Lines on their way to the csv module, which asks for one more only inside a quote."""

    def __init__(self, lines: Iterable[bytes], first_line: int) -> None:
        self._lines = iter(lines)
        self._strip_bom = first_line == 1
        self._texts: list[str] = []
        self._length = 0
        self.line = first_line  #: on which the record under way starts

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._length > LONGEST_RECORD:
            raise UnclosedQuoteError(self.line)
        line = next(self._lines, None)
        if line is None:
            if self._texts:
                raise UnclosedQuoteError(self.line)
            raise StopIteration
        if self._strip_bom:
            line, self._strip_bom = line.removeprefix(BOM), False
        text = line.decode("utf-8", errors="surrogateescape")
        self._texts.append(text)
        self._length += len(text)
        return text

    @property
    def several(self) -> bool:
        """Whether the record under way has gone on to a second line."""
        return len(self._texts) > 1

    def take(self) -> tuple[int, str]:
        """End the record under way: the line it starts on, and its text."""
        line, raw = self.line, "".join(self._texts)
        self.line += len(self._texts)
        self._texts.clear()
        self._length = 0
        return line, raw


def _reason(problem: csv.Error) -> str:
    if str(problem).startswith("new-line character"):
        return "a carriage return stands alone in it; lines end in LF or CRLF"
    return str(problem)
