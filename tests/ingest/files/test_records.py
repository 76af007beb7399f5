"""CSV text to records, each with the line on which it starts."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.ingest.files.records import LONGEST_RECORD, Record, UnclosedQuoteError, read_records


def records(text: str | bytes) -> list[Record]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_records(io.BytesIO(data)))


def fields(text: str | bytes) -> list[list[str]]:
    return [record.fields for record in records(text)]


def test_a_quoted_value_may_hold_commas_quotes_and_line_breaks() -> None:
    assert fields('1,"a, ""b""\nc\r\nd",2\n') == [["1", 'a, "b"\nc\r\nd', "2"]]


def test_a_quote_inside_an_unquoted_value_is_a_character_like_others() -> None:
    assert fields('1,12" single,2\n') == [["1", '12" single', "2"]]


def test_space_belongs_to_the_value() -> None:
    assert fields("1, a ,2\n") == [["1", " a ", "2"]]


def test_a_byte_order_mark_is_dropped_at_the_start_of_the_file_and_nowhere_else() -> None:
    bom = b"\xef\xbb\xbf"
    assert fields(bom + b"a,b\n" + bom + b"c,d\n") == [["a", "b"], ["\ufeffc", "d"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
def test_line_ends_of_unix_and_windows_are_the_same(end: str) -> None:
    assert fields(f"a,b{end}c,d{end}") == [["a", "b"], ["c", "d"]]


def test_the_last_line_needs_no_end() -> None:
    assert fields("a,b\nc,d") == [["a", "b"], ["c", "d"]]


def test_a_carriage_return_alone_ends_no_line() -> None:
    (record,) = records("a,b\rc,d\r")
    assert record.error == "a carriage return stands alone in it; lines end in LF or CRLF"
    assert record.raw == "a,b\rc,d"


def test_characters_that_break_lines_elsewhere_do_not_break_records() -> None:
    assert fields("a\u2028b\x0b\x0c\x1c\x85,c\n") == [["a\u2028b\x0b\x0c\x1c\x85", "c"]]


def test_bytes_that_are_not_utf_8_and_nul_are_kept_for_the_reason_why() -> None:
    assert fields(b"caf\xe9,a\0b\n") == [["caf\udce9", "a\0b"]]


def test_text_after_a_closing_quote_spoils_its_own_line_only() -> None:
    first, bad, last = records('1,a\n2,"b"c,d\n3,e\n')
    assert (bad.line, bad.raw, bad.error) == (2, '2,"b"c,d', "',' expected after '\"'")
    assert (first.error, last.line, last.fields) == (None, 3, ["3", "e"])


def test_lines_are_counted_through_blank_lines_and_quoted_line_breaks() -> None:
    found = records('h\n\n\r\n"a\n\nb"\nc\n\n"d\r\n"\ne')
    assert [(record.line, record.fields[0]) for record in found] == [
        (1, "h"),
        (4, "a\n\nb"),
        (7, "c"),
        (9, "d\r\n"),
        (11, "e"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'a\n1,"b\n',
        'a\n1,"b',
        'a\n1,"b\n2,c\n3,d\n',
        'a\n1,"b\n2,"c"\n',
        'a\n1,"b""\n2,c\n',
        'a\n1,"' + "b\n" * LONGEST_RECORD + '"\n',
        'a\n1,"' + "b" * LONGEST_RECORD + "\n" + 'c"\n',
    ],
)
def test_a_quote_that_does_not_end_well_is_named_with_its_line(text: str) -> None:
    """It may have swallowed good rows, and where the next one begins nobody can know."""
    with pytest.raises(UnclosedQuoteError, match="line 2: a quote opens here and is not closed"):
        records(text)


def test_a_huge_value_on_one_line_is_a_record_like_others() -> None:
    huge = "x" * (4 * LONGEST_RECORD)
    assert fields(f'1,{huge}\n2,"{huge}"\n') == [["1", huge], ["2", huge]]


texts = st.text(st.sampled_from('ab,"\n\r é\u2028\0'), max_size=6)
rows = st.lists(st.lists(texts, min_size=1, max_size=4), max_size=8)


@given(rows, st.sampled_from(["\n", "\r\n"]))
def test_what_a_writer_wrote_comes_back_with_its_lines(values: list[list[str]], end: str) -> None:
    expected = []
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=end)
    for row in values:
        expected.append((1 + text.getvalue().count("\n"), row))
        writer.writerow(row)
    assert [(record.line, record.fields) for record in records(text.getvalue())] == expected


@given(st.binary(max_size=60).map(lambda data: data.translate(bytes(b'ab,"\n\r\xff\0' * 32))))
def test_every_byte_is_in_the_raw_text_of_one_record_or_a_line_end(data: bytes) -> None:
    try:
        found = records(data)
    except UnclosedQuoteError:
        return
    raw = "".join(record.raw for record in found).encode(errors="surrogateescape")
    ends = bytes.maketrans(b"", b"")
    assert raw.translate(ends, b"\r\n") == data.translate(ends, b"\r\n")
    assert [record.line for record in found] == sorted({record.line for record in found})
