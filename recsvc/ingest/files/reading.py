"""A source file to validated rows and rejects."""

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pandas as pd

from recsvc.errors import SourceDataError
from recsvc.ingest.files.growing import GrowingFrame
from recsvc.ingest.files.parsed import ParsedFile, Reject, deduplicated
from recsvc.ingest.files.records import Record, UnclosedQuoteError, read_line, read_records
from recsvc.ingest.files.source_file import SourceFile, split_lines
from recsvc.ingest.plain.blocks import KnownMovies, PlainForm, parse_block
from recsvc.ingest.plain.ratings import PlainRatings
from recsvc.ingest.plain.tags import PlainTags
from recsvc.ingest.sources.formats import Format, ParseRow, Row, require_movie
from recsvc.ingest.sources.values import BadValueError
from recsvc.runtime.arrays import Int64
from recsvc.runtime.parallel import map_ahead

MovieIds = Int64

#: Of the files that grow large; every line of the others is looked at.
PLAIN_FORMS: tuple[PlainForm, ...] = (PlainRatings(), PlainTags())

_CHUNK_ROWS = 100_000
_EXPECTED = 1.02  # rows that a file may have, if those of a block are a fair sample
_THREADS = min(os.cpu_count() or 1, 4)  # reading and hashing takes one more


@dataclass
class _Reading:
    """Rows and rejects gathered so far."""

    format: Format
    movies: frozenset[int] | None  #: the known movies, where a row must name one
    rejects: list[Reject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = GrowingFrame(self.format.into.columns)
        self._movie_place = [*self.format.into.columns, "movie_id"].index("movie_id")

    def take(self, records: Iterable[Record], parse: ParseRow, width: int) -> None:
        """Parse records one by one."""
        rows: list[Row] = []
        for record in records:
            try:
                rows.append(self._parsed(record, parse, width))
            except BadValueError as problem:
                raw = storable(record.raw)
                self.rejects.append(Reject(self.format.file, record.line, str(problem), raw))
            if len(rows) == _CHUNK_ROWS:
                self.rows.append(_frame(self.format, rows))
                rows = []
        if rows:
            self.rows.append(_frame(self.format, rows))

    def _parsed(self, record: Record, parse: ParseRow, width: int) -> Row:
        if record.error:
            raise BadValueError(f"not a CSV record: {record.error}")
        if len(record.fields) != width:
            raise BadValueError(f"{len(record.fields)} values where {width} are expected")
        row = parse(record.fields)
        if self.movies is not None:
            require_movie(row[self._movie_place], self.movies)
        return row

    def finish(self, source: SourceFile) -> ParsedFile:
        rows = self.rows.whole()
        distinct = deduplicated(rows, list(self.format.into.key))
        duplicates = len(rows) - len(distinct)
        return ParsedFile(
            source.name, source.sha256, source.bytes_read, distinct, self.rejects, duplicates
        )


def read_file(source: SourceFile, kind: Format, movie_ids: MovieIds | None = None) -> ParsedFile:
    """Read, validate and deduplicate one file.

    Args:
        source: the file.
        kind: which of the five it is.
        movie_ids: movies that rows may name, ascending; ``None`` for the catalogue itself.

    Raises:
        SourceDataError: the file is unreadable, empty, of another header, or has a quote that is
            never closed.
    """
    movies = None if movie_ids is None else frozenset(movie_ids.tolist())
    reading = _Reading(kind, movies)
    try:
        plain = next((form for form in PLAIN_FORMS if form.format is kind), None)
        if plain is not None and movie_ids is not None:
            _read_blocks(source, reading, plain, KnownMovies(movie_ids))
        else:
            records = read_records(source.lines())
            reading.take(records, *_header(source, kind, records))
    except UnclosedQuoteError as problem:
        raise SourceDataError(f"{source.name} {problem}; nothing was changed.") from None
    return reading.finish(source)


def _header(source: SourceFile, kind: Format, records: Iterator[Record]) -> tuple[ParseRow, int]:
    """Return the parser of the rows, and how many values a row has."""
    first = next(records, None)
    if first is None and not source.bytes_read:
        raise SourceDataError(f"{source.name} is empty: not even a header; nothing was changed.")
    if first is not None and first.error:
        encoding = " (the file must be UTF-8)" if "\0" in first.raw else ""
        raise SourceDataError(
            f"{source.name} line 1: the header is not a CSV record: {first.error}{encoding}; "
            "nothing was changed."
        )
    fields = first.fields if first is not None and first.line == 1 else []
    return kind.check_header(fields), len(fields)


def _read_blocks(
    source: SourceFile, reading: _Reading, plain: PlainForm, movies: KnownMovies
) -> None:
    """Read block by block: columns at once where all is plain, record by record elsewhere."""
    blocks = source.blocks()
    head, _, body = next(blocks, b"").partition(b"\n")
    header = _header(source, reading.format, read_records([head] if source.bytes_read else []))
    line = 2
    bodies = chain([body] if body else [], blocks)
    parses = map_ahead(lambda block: (block, parse_block(plain, block, movies)), bodies, _THREADS)
    with closing(parses):
        for block, parsed in parses:
            try:
                records = list(_line_records(parsed.others, line, line_breaks=plain.line_breaks))
            except UnclosedQuoteError:  # where the value ends, in whichever block, records tell
                rest = chain([block], (later for later, _ in parses))
                reading.take(read_records(split_lines(rest), line), *header)
                return
            expected = _EXPECTED * len(parsed.rows) * source.size // len(block)
            reading.rows.append(parsed.rows, int(expected))
            reading.take(records, *header)
            line += parsed.lines


def _line_records(
    lines: list[tuple[int, bytes]], first_line: int, *, line_breaks: bool
) -> Iterator[Record]:
    for place, text in lines:
        line = first_line + place
        try:
            yield from read_line(text, line)
        except UnclosedQuoteError:
            if line_breaks:
                raise
            raw = text.decode("utf-8", errors="surrogateescape").rstrip("\r")
            yield Record(line, [], raw, "a quote opens and is not closed on the line")


def _frame(kind: Format, rows: list[Row]) -> pd.DataFrame:
    columns: Iterable[Any] = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=dtype)
            for (name, dtype), values in zip(kind.into.columns.items(), columns, strict=True)
        }
    )


def storable(raw: str) -> str:
    """Escape what a database cannot store as text: NUL, and bytes that were not UTF-8."""
    text = raw.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="backslashreplace")
    return text.replace("\0", "\\x00")
