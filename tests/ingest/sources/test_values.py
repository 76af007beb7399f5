"""What a value in a source file may be."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.ingest.sources.values import (
    LARGEST_ID,
    LATEST_TIME,
    LONGEST_TAG,
    BadValueError,
    parse_attribute,
    parse_genres,
    parse_id,
    parse_optional_id,
    parse_rating,
    parse_text,
    parse_time,
    release_year,
    tag_key,
)

NOT_WHOLE_NUMBERS = (
    "", " ", "-1", "+1", " 1", "1 ", "1\n", "1.0", "1e3", "0x10", "1_000", "1,000", "nan", "inf",
    "\u0661", "\uff11", "\u00b2", "\0", "1\0", "\udcff", "tt1", "None", "NULL",
)  # fmt: skip


@given(st.integers(0, LARGEST_ID))
def test_every_id_of_63_bits_is_itself(number: int) -> None:
    assert parse_id(str(number), "userId") == number


@pytest.mark.parametrize("text", NOT_WHOLE_NUMBERS)
def test_an_id_is_digits_and_nothing_else(text: str) -> None:
    with pytest.raises(BadValueError, match=r"userId .* is not a whole number"):
        parse_id(text, "userId")


@pytest.mark.parametrize(
    "text", [str(2**63), str(2**64 - 1), str(2**64), "9" * 40, "9" * 41, "9" * 9_000]
)
def test_an_id_beyond_64_bits_is_refused(text: str) -> None:
    with pytest.raises(BadValueError, match="beyond 64 bits"):
        parse_id(text, "userId")


def test_leading_zeros_are_no_reason_to_refuse_an_id() -> None:
    assert parse_id("0114709", "imdbId") == 114709
    assert parse_id("0" * 60 + "7", "imdbId") == 7
    assert parse_id("000", "imdbId") == 0


def test_only_an_optional_id_may_be_left_out() -> None:
    assert parse_optional_id("", "tmdbId") is None
    assert parse_optional_id(str(LARGEST_ID), "tmdbId") == LARGEST_ID
    with pytest.raises(BadValueError):
        parse_optional_id(" ", "tmdbId")


@pytest.mark.parametrize(
    ("text", "rating"),
    [("0.5", 0.5), ("5", 5.0), ("5.", 5.0), (".5", 0.5), ("04.0", 4.0), ("3.14", 3.14)],
)
def test_a_rating_is_a_decimal_number_of_stars(text: str, rating: float) -> None:
    assert parse_rating(text) == rating


@pytest.mark.parametrize(
    "text",
    ["", ".", "nan", "NaN", "inf", "-inf", "1e0", "1e3", "+4", "-4", " 4", "4 ", "4,0", "0x4", "٤"],
)
def test_a_rating_that_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(BadValueError, match="is not a number"):
        parse_rating(text)


@pytest.mark.parametrize("text", ["0", "0.4999", "0.0", "5.0001", "6", "9" * 400])
def test_a_rating_outside_half_a_star_to_five_is_refused(text: str) -> None:
    with pytest.raises(BadValueError, match=r"not between 0\.5 and 5\.0"):
        parse_rating(text)


def test_a_time_ends_with_the_year_9999() -> None:
    assert parse_time(str(LATEST_TIME)) == LATEST_TIME
    with pytest.raises(BadValueError, match="seconds are expected"):
        parse_time(str(LATEST_TIME + 1))
    with pytest.raises(BadValueError, match="seconds are expected"):
        parse_time("1537799250000000")


def test_text_is_kept_exactly_as_it_is() -> None:
    for text in ("<script>", "=1+1", "  spaced ", 'a "b"', "line\nbreak", "\u200b", "\U0001f3ac"):
        assert parse_text(text, "tag", LONGEST_TAG) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "tag is empty"),
        (" \t\n\u3000", "tag is empty"),
        ("a\0b", "tag contains a NUL character"),
        ("caf\udce9", "tag is not UTF-8"),
        ("\ud800", "tag is not UTF-8"),
        ("x" * 10_000, "tag has 10,000 characters; 500 are allowed"),
    ],
)
def test_text_that_no_database_can_hold_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(BadValueError, match=reason):
        parse_text(text, "tag", LONGEST_TAG)


def test_a_reason_quotes_a_long_value_in_short_and_in_ascii() -> None:
    with pytest.raises(BadValueError) as refused:
        parse_id("\u202e" * 9_000, "userId")
    assert str(refused.value).isascii()
    assert len(str(refused.value)) < 400


def test_an_attribute_is_trimmed_and_stands_on_one_line() -> None:
    assert parse_attribute(" F ", "gender") == "F"
    with pytest.raises(BadValueError, match="gender contains a line break"):
        parse_attribute("F\nM", "gender")


@pytest.mark.parametrize("text", ["Drama|", "|Drama", "Drama||Crime", " ", "Drama|\0", "x" * 101])
def test_a_genre_that_is_empty_or_no_text_is_refused(text: str) -> None:
    with pytest.raises(BadValueError, match="a genre"):
        parse_genres(text)


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Toy Story (1995)", 1995),
        ("Toy Story (1995) ", 1995),
        ("2001: A Space Odyssey", None),
        ("Blade (1998) (Director's Cut)", None),
        ("Dublin (١٩٩٥)", None),
        ("Years (1995-1996)", None),
        ("(2010)", 2010),
    ],
)
def test_the_year_is_what_stands_in_parentheses_at_the_end(title: str, year: int | None) -> None:
    assert release_year(title) == year


@given(st.text(max_size=30))
def test_canonically_equivalent_tags_have_one_key(tag: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", tag), unicodedata.normalize("NFD", tag)
    assert tag_key(composed) == tag_key(decomposed) == tag_key(tag)


@given(st.text(max_size=30))
def test_a_key_is_its_own_key(tag: str) -> None:
    assert tag_key(tag_key(tag)) == tag_key(tag)


def test_a_key_takes_no_notice_of_case_or_of_space_around_it() -> None:
    assert tag_key(" Straße\n") == tag_key("STRASSE") == "strasse"
    assert tag_key("FILM noir") == tag_key("film Noir")
    assert tag_key("film  noir") != tag_key("film noir")


def test_combining_marks_in_another_order_make_no_other_tag() -> None:
    assert tag_key("\u03b1\u0345\u0301") == tag_key("\u1fb4") == tag_key("\u03b1\u0301\u0345")
