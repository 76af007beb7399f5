"""One file to rows and rejects: what is accepted, and what is said about the rest."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from recsvc.errors import SourceDataError
from recsvc.ingest.files import source_file
from recsvc.ingest.files.parsed import ParsedFile
from recsvc.ingest.files.reading import read_file
from recsvc.ingest.files.source_file import SourceFile
from recsvc.ingest.sources.formats import FORMATS, LINKS, MOVIES, RATINGS, TAGS, USERS, Format

MOVIE_IDS = np.array([1, 2, 3], dtype=np.int64)
GOOD = {
    "movies.csv": "movieId,title,genres\n1,Amélie (2001),Comedy|Romance\n2,Heat (1995),Crime\n",
    "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,100\n1,2,3.5,110\n",
    "tags.csv": "userId,movieId,tag,timestamp\n1,1,café,130\n2,1,cozy,140\n",
    "links.csv": "movieId,imdbId,tmdbId\n1,0211915,194\n2,0113277,\n",
    "users.csv": "userId,city\n1,Orléans\n2,\n",
}
WITH_TEXT = (MOVIES, TAGS, USERS)

each_format = pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.file)
Read = Callable[..., ParsedFile]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a file of a kind with the given content."""

    def parse(kind: Format, content: str | bytes) -> ParsedFile:
        path = tmp_path / kind.file
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_file(SourceFile(path), kind, catalogue(kind))

    return parse


def catalogue(kind: Format) -> npt.NDArray[np.int64] | None:
    return MOVIE_IDS if kind in (RATINGS, TAGS, LINKS) else None


def rows(parsed: ParsedFile) -> list[tuple[Any, ...]]:
    values = parsed.rows.astype(object).where(parsed.rows.notna(), None)
    return list(values.itertuples(index=False, name=None))


def rejects(parsed: ParsedFile) -> list[tuple[int, str]]:
    return [(reject.line, reject.reason) for reject in parsed.rejects]


def refusal(read: Read, kind: Format, content: str | bytes) -> str:
    with pytest.raises(SourceDataError) as refused:
        read(kind, content)
    message = str(refused.value)
    assert message.startswith(f"{kind.file} ")
    assert message.endswith("nothing was changed.")
    assert "\n" not in message
    return message


# --- encodings ---------------------------------------------------------------------------------


@each_format
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [True, False])
def test_utf_8_is_read_with_or_without_mark_whatever_the_line_ends(
    read: Read, kind: Format, end: str, bom: bytes, last: bool
) -> None:
    plain = read(kind, GOOD[kind.file])
    text = GOOD[kind.file].replace("\n", end)
    other = read(kind, bom + (text if last else text.removesuffix(end)).encode())
    pd.testing.assert_frame_equal(other.rows, plain.rows)
    assert (len(other.rows), other.rejects) == (2, [])


@each_format
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_other_unicode_encodings_are_refused_by_name_of_the_right_one(
    read: Read, kind: Format, encoding: str, end: str
) -> None:
    message = refusal(read, kind, GOOD[kind.file].replace("\n", end).encode(encoding))
    assert message.startswith(f"{kind.file} line 1: the header ")
    assert "(the file must be UTF-8)" in message


@pytest.mark.parametrize("kind", WITH_TEXT, ids=lambda kind: kind.file)
def test_latin_1_is_not_guessed_but_rejected_row_by_row(read: Read, kind: Format) -> None:
    parsed = read(kind, GOOD[kind.file].encode("latin-1"))
    ((line, reason),) = rejects(parsed)
    assert line == 2
    assert reason.endswith("is not UTF-8")
    assert "\\xe9" in parsed.rejects[0].raw
    assert len(parsed.rows) == 1


@each_format
def test_carriage_returns_alone_end_no_line(read: Read, kind: Format) -> None:
    message = refusal(read, kind, GOOD[kind.file].replace("\n", "\r"))
    assert "a carriage return stands alone" in message
    parsed = read(kind, GOOD[kind.file].replace("\n2,", "\r2,").replace("\n1,2", "\r1,2"))
    reason = "not a CSV record: a carriage return stands alone in it; lines end in LF or CRLF"
    assert rejects(parsed) == [(2, reason)]


# --- headers -----------------------------------------------------------------------------------


@each_format
def test_an_empty_file_is_refused(read: Read, kind: Format) -> None:
    assert "is empty: not even a header" in refusal(read, kind, "")


@each_format
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n"])
def test_a_header_alone_is_a_file_without_rows(read: Read, kind: Format, end: str) -> None:
    parsed = read(kind, GOOD[kind.file].partition("\n")[0] + end)
    assert (len(parsed.rows), parsed.rejects, parsed.total) == (0, [], 0)
    assert list(parsed.rows.columns) == list(kind.into.columns)


@each_format
@pytest.mark.parametrize("header", ["", " ", "movieid,title", "a;b;c;d", "userId\tmovieId", "\0"])
def test_another_header_is_refused_and_the_right_one_shown(
    read: Read, kind: Format, header: str
) -> None:
    message = refusal(read, kind, f"{header}\n1,1,4.0,100\n")
    assert message.startswith(f"{kind.file} line 1: the header must be {kind.header[0]}")


@each_format
def test_a_header_with_one_column_more_or_less_or_in_other_order_is_refused(
    read: Read, kind: Format
) -> None:
    columns = GOOD[kind.file].partition("\n")[0].split(",")
    refusal(read, kind, ",".join(reversed(columns)) + "\n")
    refusal(read, kind, ",".join(["", *columns]) + "\n")
    if kind is not USERS:
        refusal(read, kind, ",".join([*columns, "more"]) + "\n")
        refusal(read, kind, ",".join(columns[:-1]) + "\n")


@each_format
def test_a_file_without_a_header_is_refused(read: Read, kind: Format) -> None:
    assert "line 1: the header must be" in refusal(
        read, kind, GOOD[kind.file].partition("\n")[2].replace("\n2", "\n9")
    )


@each_format
def test_a_quote_left_open_in_the_header_is_refused(read: Read, kind: Format) -> None:
    assert "line 1: a quote opens here" in refusal(read, kind, '"' + GOOD[kind.file])


@each_format
def test_a_header_may_be_quoted(read: Read, kind: Format) -> None:
    header, _, rest = GOOD[kind.file].partition("\n")
    quoted = ",".join(f'"{name}"' for name in header.split(","))
    assert len(read(kind, f"{quoted}\n{rest}").rows) == 2


@pytest.mark.parametrize(
    "header",
    ["userId,", "userId,a,a", "userId,a, a", 'userId,"a\nb"', "userId,a\0", "userId," + "x" * 201],
)
def test_attributes_need_names_that_are_distinct_and_can_be_stored(read: Read, header: str) -> None:
    message = refusal(read, USERS, f"{header}\n")
    assert "userId and then one name for each attribute" in message
    assert "is not UTF-8" in refusal(read, USERS, b"userId,caf\xe9\n")


# --- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MOVIES, TAGS, LINKS, USERS], ids=lambda kind: kind.file)
def test_a_quote_that_is_never_closed_refuses_the_file_and_names_the_line(
    read: Read, kind: Format
) -> None:
    message = refusal(read, kind, GOOD[kind.file] + '1,"never closed,1\n2,x,1\n')
    assert message.startswith(f"{kind.file} line 4: a quote opens here")


def test_a_stray_quote_that_swallows_good_rows_refuses_the_file(read: Read) -> None:
    """As one bad row it would be tolerated, and hundreds of good rows lost with it."""
    swallowed = "".join(f"{user},1,fine,100\n" for user in range(5, 500))
    content = f'{GOOD["tags.csv"]}4,1,"5 stars,100\n{swallowed}3,1,"loud",100\n'
    assert refusal(read, TAGS, content).startswith("tags.csv line 4: a quote opens here")


def test_a_stray_quote_in_ratings_costs_its_own_line_only(read: Read) -> None:
    parsed = read(RATINGS, GOOD["ratings.csv"] + '2,1,"4.0,120\n2,2,4.0,130\n"3","1","5.0","140"\n')
    assert rejects(parsed) == [(4, "not a CSV record: a quote opens and is not closed on the line")]
    assert [row[:2] for row in rows(parsed)] == [(1, 1), (1, 2), (2, 2), (3, 1)]


def test_reasons_and_lines_of_bad_movies(read: Read) -> None:
    parsed = read(
        MOVIES,
        "movieId,title,genres\n"
        "-1,A,Drama\n"
        "9223372036854775808,B,Drama\n"
        "9223372036854775807,C,Drama\n"
        '4,"two\nlines (1999)",Drama\n'
        "5,,Drama\n"
        "\n"
        "6,D,Drama|\n"
        "7,E\n"
        '8,"F"x,Drama\n'
        "1.5,G,Drama\n",
    )
    assert rejects(parsed) == [
        (2, "movieId '-1' is not a whole number"),
        (3, "movieId '9223372036854775808' is beyond 64 bits"),
        (7, "title is empty"),
        (9, "a genre is empty"),
        (10, "2 values where 3 are expected"),
        (11, "not a CSV record: ',' expected after '\"'"),
        (12, "movieId '1.5' is not a whole number"),
    ]
    assert rows(parsed) == [
        (4, "two\nlines (1999)", 1999, "Drama"),
        (2**63 - 1, "C", None, "Drama"),
    ]
    assert parsed.total == 9


@pytest.mark.parametrize("kind", [RATINGS, TAGS, LINKS], ids=lambda kind: kind.file)
def test_a_movie_that_nobody_knows_is_a_reason_to_reject(read: Read, kind: Format) -> None:
    header, _, rest = GOOD[kind.file].partition("\n")
    movie_last = rest.replace("2,1,", "2,9,").replace("1,2,", "1,9,").replace("\n2,0", "\n9,0")
    parsed = read(kind, f"{header}\n{movie_last}")
    assert rejects(parsed) == [(3, "movie 9 is in neither movies.csv nor the database")]
    assert len(parsed.rows) == 1


def test_ids_of_elsewhere_reach_to_64_bits_and_may_be_missing(read: Read) -> None:
    parsed = read(LINKS, f"movieId,imdbId,tmdbId\n1,{2**63 - 1},{2**53 + 1}\n2,,\n3,,{2**63}\n")
    assert rows(parsed) == [(1, 2**63 - 1, 2**53 + 1), (2, None, None)]
    assert rejects(parsed) == [(4, f"tmdbId '{2**63}' is beyond 64 bits")]


def test_genres_are_a_set(read: Read) -> None:
    parsed = read(
        MOVIES,
        "movieId,title,genres\n"
        "1,A,Drama|Comedy|Drama\n2,B,(no genres listed)\n3,C,\n4,D, Sci-Fi |X\n",
    )
    assert [row[3] for row in rows(parsed)] == ["Comedy|Drama", "", "", "Sci-Fi|X"]


def test_attributes_become_sorted_tokens_and_empty_ones_none(read: Read) -> None:
    parsed = read(USERS, 'userId, zip,age\n1,"a,b", 25 \n2, ,\n3,x\n4,"a\nb",\n5,\0,\n')
    assert rows(parsed) == [(1, "age:25\nzip:a,b"), (2, "")]
    assert rejects(parsed) == [
        (4, "2 values where 3 are expected"),
        (5, "zip contains a line break"),
        (7, "zip contains a NUL character"),
    ]


def test_a_file_of_users_alone_needs_no_attributes(read: Read) -> None:
    assert rows(read(USERS, "userId\n3\n1\n")) == [(1, ""), (3, "")]


def test_raw_text_of_a_reject_can_be_stored_and_shows_every_byte(read: Read) -> None:
    parsed = read(
        TAGS, b"userId,movieId,tag,timestamp\n1,1,a\0\xff\xe2\x82\n1,1,\xc3\xa9 \\ ,x\r\n"
    )
    assert [reject.raw for reject in parsed.rejects] == [
        "1,1,a\\x00\\xff\\xe2\\x82",
        "1,1,\u00e9 \\ ,x",
    ]


def test_a_tag_of_10_kb_is_rejected_and_the_file_goes_on(read: Read) -> None:
    parsed = read(
        TAGS, GOOD["tags.csv"] + f"3,1,{'x' * 10_240},1\n4,1,{'y' * 200_000},1\n5,1,z,1\n"
    )
    assert rejects(parsed) == [
        (4, "tag has 10,240 characters; 500 are allowed"),
        (5, "tag has 200,000 characters; 500 are allowed"),
    ]
    assert len(parsed.rows) == 3


# --- duplicates --------------------------------------------------------------------------------


def test_of_two_ratings_the_later_counts_and_of_two_at_once_the_higher(read: Read) -> None:
    lines = ["1,1,5.0,10", "1,1,1.0,20", "1,1,2.0,20", "1,2,3.0,30"]
    for order in (lines, lines[::-1], [*lines[2:], *lines[:2]]):
        parsed = read(RATINGS, "\n".join(["userId,movieId,rating,timestamp", *order]))
        assert rows(parsed) == [(1, 1, 2.0, 20), (1, 2, 3.0, 30)]
        assert parsed.duplicates == 2


@pytest.mark.parametrize("block", [1, 2, 3, 2**17])
@each_format
def test_the_order_of_a_file_makes_no_difference(
    read: Read, kind: Format, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "recsvc.ingest.files.parsed._BLOCK_ROWS", block
    )  # whatever the key's place in it
    content = {
        "movies.csv": ["1,A (1999),X", "1,A,", "2,B,Y|X", "2,B,X", "3,b,", "3,b,"],
        "ratings.csv": ["1,1,4,9", "1,1,3,9", "2,1,1,8", "2,1,2,7", "1,3,5,5", "1,3,5,5"],
        "tags.csv": ["1,1,a,9", "1,1,a,10", "1,1,A,8", "2,2,\u00e9,1", "2,2,e\u0301,1", "1,1,a,9"],
        "links.csv": ["1,,5", "1,7,", "1,7,5", "2,,", "2,,1", "3,1,1"],
        "users.csv": ["1,x", "1,", "2,", "2,y", "3,z", "3,a"],
    }[kind.file]
    header = GOOD[kind.file].partition("\n")[0]
    random = np.random.default_rng(5)
    first = read(kind, "\n".join([header, *content]))
    for _ in range(10):
        parsed = read(kind, "\n".join([header, *random.permutation(content)]))
        pd.testing.assert_frame_equal(parsed.rows, first.rows)
        assert parsed.duplicates == first.duplicates == len(content) - len(parsed.rows)


@pytest.mark.parametrize("scale", [1, 2**20, 2**59])
def test_rows_come_by_user_movie_and_code_points_of_the_tag_whatever_the_ids(
    read: Read, scale: int
) -> None:
    keys = [
        (u * scale, 1 + m, t) for u in range(5) for m in range(3) for t in "Zab\u00e9\U0001f600"
    ]
    lines = [f"{user},{movie},{tag},7" for user, movie, tag in keys]
    shuffled = np.random.default_rng(8).permutation(lines)
    parsed = read(TAGS, "\n".join(["userId,movieId,tag,timestamp", *shuffled]))
    assert [row[:3] for row in rows(parsed)] == keys


# --- the file itself ---------------------------------------------------------------------------


def test_the_digest_and_the_size_are_those_of_the_file(read: Read) -> None:
    parsed = read(TAGS, GOOD["tags.csv"])
    data = GOOD["tags.csv"].encode()
    assert (parsed.sha256, parsed.bytes) == (hashlib.sha256(data).hexdigest(), len(data))


def changing(path: Path, change: Callable[[], object]) -> SourceFile:
    """A file that changes when its first block has been read."""
    pending = [change]
    return SourceFile(path, lambda _: pending.pop()() if pending else None)


@each_format
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: (path.rename(path.with_suffix(".old")), path.write_bytes(b"other")),
    ],
    ids=["grows", "shrinks", "is written to", "is replaced"],
)
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, kind: Format, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / kind.file
    path.write_text(GOOD[kind.file])
    monkeypatch.setattr(source_file, "BLOCK_BYTES", path.stat().st_size)
    with pytest.raises(SourceDataError, match="changed while it was read: ingest again when it"):
        read_file(changing(path, lambda: change(path)), kind, catalogue(kind))


def test_a_file_that_is_deleted_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(GOOD["tags.csv"])
    with pytest.raises(SourceDataError, match=r"tags\.csv cannot be read: No such file"):
        read_file(changing(path, path.unlink), TAGS, MOVIE_IDS)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "tags.csv"

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceDataError) as refused:
        read_file(SourceFile(path), TAGS, MOVIE_IDS)
    assert str(refused.value) == (
        f"{path} cannot be read: {os.strerror(code)}; nothing was changed."
    )


def test_many_rows_are_gathered_in_pieces(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsvc.ingest.files.reading._CHUNK_ROWS", 3)
    lines = [f"{user},1,t{user},5" for user in range(10)]
    parsed = read(TAGS, "\n".join(["userId,movieId,tag,timestamp", *lines, "bad", ""]))
    assert [row[0] for row in rows(parsed)] == list(range(10))
    assert [reject.line for reject in parsed.rejects] == [12]
