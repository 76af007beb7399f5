"""The fast reader of plain lines agrees with the reader that looks at each line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsvc.errors import SourceDataError
from recsvc.ingest.files import reading, source_file
from recsvc.ingest.files.parsed import Reject
from recsvc.ingest.files.reading import read_file
from recsvc.ingest.files.records import UnclosedQuoteError, read_records
from recsvc.ingest.files.source_file import SourceFile
from recsvc.ingest.plain.blocks import KnownMovies, parse_block
from recsvc.ingest.plain.ratings import PlainRatings
from recsvc.ingest.plain.tags import PlainTags
from recsvc.ingest.sources.formats import RATINGS, TAGS, Row, require_movie
from recsvc.ingest.sources.values import LATEST_TIME, BadValueError

MOVIE_IDS = np.array([0, 1, 2, 7, 10**17, 2**63 - 1], dtype=np.int64)
KNOWN = frozenset(MOVIE_IDS.tolist())
MOVIES = KnownMovies(MOVIE_IDS)
HEADER = b"userId,movieId,rating,timestamp\n"

Outcome = tuple[list[Row], list[int]]  # good rows, and the places of bad lines


def line_by_line(block: bytes) -> Outcome:
    rows, bad = [], []
    for place, line in enumerate(block.split(b"\n")):
        row = read_line(line)
        if isinstance(row, tuple):
            rows.append(row)
        elif row:
            bad.append(place)
    return rows, bad


def read_line(line: bytes) -> Row | bool:
    """The row, True if the line is bad, False if it is blank."""
    try:
        record = next(read_records([line], first_line=2), None)
        if record is None:
            return False
        if record.error or len(record.fields) != 4:
            return True
        row = RATINGS.parse(record.fields)
        require_movie(row[1], KNOWN)
    except (BadValueError, UnclosedQuoteError):
        return True
    return row


def fast(block: bytes) -> Outcome:
    _, rows, others = parse_block(PlainRatings(), block, MOVIES)
    good, bad = list(rows.itertuples(index=False, name=None)), []
    for place, line in others:
        row = read_line(line)
        if isinstance(row, tuple):
            good.append(row)
        elif row:
            bad.append(place)
    return good, bad


ids = st.sampled_from((
    "0", "1", "2", "7", "007", "3", str(10**17), str(2**63 - 1), str(2**63), "1" * 30,
    "0" * 20 + "1", "0" * 50 + "2", "", "-1", "+1", " 1", "1 ", "1.0", "1e0", "0x1", '"1"',
    "\u0663",
))  # fmt: skip
stars = st.sampled_from((
    "0.5", "1", "4.0", "3.5", "5.0", "5", "4.", ".5", "04", "0.50000000000000000000001",
    "0.1", "5.5", "nan", "inf", "1e0", "", ".", "1.2.3", "-4", "4,0", '"4.0"', "4.0 ",
    "3.3333333333333335", "3.33333333333333348136306995", "2.675", "4.35",
))  # fmt: skip
times = st.sampled_from((
    "0", "1", "1537799250", str(LATEST_TIME), str(LATEST_TIME + 1), "0" * 15 + "5", "9" * 25,
    "", "-1", "1.5", "1e9", " 5",
))  # fmt: skip
good_lines = st.tuples(
    st.sampled_from(["0", "5", "162000"]),
    st.sampled_from(["1", "2", "7"]),
    st.sampled_from(["0.5", "4.0", "3.5"]),
    st.integers(0, 10**9).map(str),
).map(",".join)
odd_lines = st.one_of(
    st.tuples(ids, ids, stars, times).map(",".join),
    st.text(st.sampled_from('0123456789.,\r" \0'), max_size=12),
    st.sampled_from(
        ["", "\r", ",,,", "1,1,4.0", "1,1,4.0,5,6", '"1,1,4.0,5', "1,1,4.0,5\r6,1,4.0,7"]
    ),
)
lines = st.lists(
    st.tuples(good_lines | odd_lines, st.sampled_from(["\n", "\n", "\n", "\r\n"])), max_size=12
).map(lambda pairs: "".join(text + end for text, end in pairs).encode())
blocks = st.tuples(lines, good_lines | st.just("")).map(lambda parts: parts[0] + parts[1].encode())


@settings(deadline=None)  # the first call compiles
@given(blocks)
@example(b"1,1,4.0,5\r2,1,4.0,6\n\n1,1,4.0,9\n")
@example(b"1,1,4.0,5\r\r\n1,2,4.0,5\r\n")
@example(b"\n\n")
@example(b"\r")
@example(b"1,1,.5,3\n1,1,5.,3\n")
@example(b"1,1,4.0,5\n1,3,4.0,5\n1,2,9.0,5\n")
@example(b"1,1,4.0,4\n1,1," + b"0" * 2_500_000 + b"3.0,4\n")
def test_both_readers_find_the_same_rows_and_the_same_bad_lines(block: bytes) -> None:
    rows, bad = fast(block)
    expected_rows, expected_bad = line_by_line(block)
    assert sorted(rows) == sorted(expected_rows)
    assert bad == expected_bad


@settings(deadline=None)
@given(st.binary(max_size=40).map(lambda data: data.translate(bytes(b"012.,,\n\r" * 32))))
def test_both_readers_agree_on_noise(block: bytes) -> None:
    assert fast(block) == line_by_line(block)


@settings(deadline=None)
@given(st.floats(0.5, 5.0))
def test_ratings_are_the_nearest_doubles(rating: float) -> None:
    _, rows, _ = parse_block(
        PlainRatings(), f"1,1,{rating!r},5\n1,1,{rating:.40f},5\n".encode(), MOVIES
    )
    assert set(rows["rating"]) <= {rating}


def test_a_block_of_good_lines_leaves_nothing_to_be_looked_at() -> None:
    _, rows, others = parse_block(PlainRatings(), b"1,1,4.0,5\r\n1,2,0.5,6\r\n", MOVIES)
    assert others == []
    assert rows.to_numpy().tolist() == [[1, 1, 4.0, 5], [1, 2, 0.5, 6]]
    assert [str(kind) for kind in rows.dtypes] == list(RATINGS.into.columns.values())


def test_one_bad_line_leaves_only_itself_to_be_looked_at() -> None:
    block = b"1,1,4.0,5\n" * 500 + b"1,99,4.0,5\n" + b"2,1,4.0,5\n" * 500 + b"x\n"
    _, rows, others = parse_block(PlainRatings(), block, MOVIES)
    assert len(rows) == 1_000
    assert others == [(500, b"1,99,4.0,5"), (1_001, b"x")]


def test_without_any_movie_there_is_no_good_line() -> None:
    _, rows, others = parse_block(PlainRatings(), b"1,1,4.0,5\n", KnownMovies(MOVIE_IDS[:0]))
    assert (len(rows), others) == (0, [(0, b"1,1,4.0,5")])


@settings(deadline=None)
@given(block=blocks, size=st.integers(1, 40))
def test_rows_and_line_numbers_do_not_depend_on_where_blocks_end(
    block: bytes, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "ratings.csv"
    path.write_bytes(HEADER + block)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_file, "BLOCK_BYTES", size)
        parsed = read_file(SourceFile(path), RATINGS, MOVIE_IDS)
    rows, bad = line_by_line(block)
    latest: dict[tuple[int, int], tuple[int, float]] = {}
    for user_id, movie_id, rating, rated_at in rows:
        key = (user_id, movie_id)
        latest[key] = max(latest.get(key, (-1, 0.0)), (rated_at, rating))
    expected = [(*key, rating, rated_at) for key, (rated_at, rating) in sorted(latest.items())]
    assert list(parsed.rows.itertuples(index=False, name=None)) == expected
    assert [reject.line for reject in parsed.rejects] == [place + 2 for place in bad]
    assert parsed.duplicates == len(rows) - len(expected)
    assert parsed.bytes == len(HEADER) + len(block)


def test_an_empty_block_boundary_does_not_lose_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_file, "BLOCK_BYTES", 5)
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + b"1,1,4.0,5\r\n")
    parsed = read_file(SourceFile(path), RATINGS, MOVIE_IDS)
    assert len(parsed.rows) == 1
    assert parsed.rejects == []


tag_ids = st.sampled_from(["1", "2", "7", "7", "007", "3", str(2**63 - 1), " 1", "-1", "0x1", ""])
tag_texts = st.one_of(
    st.text(st.sampled_from('aB \u00c9,"\n\r\t\\#;|\0'), max_size=6),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
    st.sampled_from(["Film Noir", " a ", "  ", "NULL", "NaN", "x" * 500, "x" * 501, "\u212b"]),
)
quotings = st.sampled_from([
    lambda text: text,
    lambda text: text,
    lambda text: '"' + text.replace('"', '""') + '"',
])  # fmt: skip
tag_lines = st.one_of(
    st.just("5,1,plain,6"),
    st.tuples(
        tag_ids, tag_ids, st.tuples(quotings, tag_texts).map(lambda p: p[0](p[1])), times
    ).map(",".join),
    st.sampled_from(["", '1,2,"opens', "1,2", "1,2,a,b,3"]),
)
tag_files = st.lists(
    st.tuples(tag_lines, st.sampled_from(["\n", "\n", "\r\n"])).map("".join), max_size=10
).map(lambda lines: b"userId,movieId,tag,timestamp\n" + "".join(lines).encode())


def read_tags(path: Path) -> tuple[list[Row], list[Reject], int] | str:
    try:
        parsed = read_file(SourceFile(path), TAGS, MOVIE_IDS)
    except SourceDataError as problem:
        return str(problem)
    assert [str(kind) for kind in parsed.rows.dtypes] == list(TAGS.into.columns.values())
    rows = list(parsed.rows.itertuples(index=False, name=None))
    return rows, parsed.rejects, parsed.duplicates


@given(content=tag_files, size=st.sampled_from([1, 9, 40, 1 << 20]))
@example(content=b'userId,movieId,tag,timestamp\n1,1,"a\n1,2,b,3\n",4\n1,7,c,5\n', size=9)
@example(content=b'userId,movieId,tag,timestamp\n1,1,a,2\n1,2,"never closed,3\n1,7,c,5\n', size=9)
@example(content=b"userId,movieId,tag,timestamp\n1,1, ,2\n1,2,A,3\n1,2,A,9\n1,0x1,A,9\n", size=99)
def test_tags_read_by_block_are_those_read_record_by_record(
    content: bytes, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "tags.csv"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_file, "BLOCK_BYTES", size)
        by_block = read_tags(path)
        patch.setattr(reading, "PLAIN_FORMS", ())
        by_record = read_tags(path)
    assert by_block == by_record


def test_plain_tags_leave_nothing_to_be_looked_at() -> None:
    _, rows, others = parse_block(PlainTags(), b"1,1, Film Noir,5\r\n2,7,it's #1!,6\r\n", MOVIES)
    assert others == []
    assert rows.to_numpy().tolist() == [
        [1, 1, " Film Noir", "film noir", 5],
        [2, 7, "it's #1!", "it's #1!", 6],
    ]


UNUSUAL = {
    "quoted": b'2,2,"a, b",6',
    "not ASCII": "2,2,\u00e9,6".encode(),
    "a control character": b"2,2,a\tb,6",
    "an unknown movie": b"2,9,a,6",
    "one value too many": b"2,2,a, b,6",
    "not a number": b"0x2,2,a,6",
    "longer than what Arrow reads at a time": b"2,2," + b"x" * 3_000_000 + b",6",
    "a carriage return alone": b"2,2,a\rb,6",
    "blank": b"",
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_unusual_tag_leaves_only_itself_to_be_looked_at(
    kind: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if list(UNUSUAL).index(kind) < 4:
        monkeypatch.setattr(PlainTags, "pattern", None)  # no line is looked at by itself
    lines = [b"1,1,x,5", b"3,7,y,7"]
    lines.insert(place, UNUSUAL[kind])
    for end in (b"", b"\n") if UNUSUAL[kind] else (b"\n",):
        n_lines, rows, others = parse_block(PlainTags(), b"\n".join(lines) + end, MOVIES)
        assert (n_lines, others) == (3, [(place, UNUSUAL[kind])])
        assert rows["tag"].tolist() == ["x", "y"]
