"""What a value in a source file may be; a parser raises :class:`BadValueError` with the reason."""

import re
import unicodedata

LARGEST_ID = 2**63 - 1
LATEST_TIME = 253_402_300_799  # 9999-12-31 23:59:59 UTC, the last second both databases can show
LOWEST_RATING, HIGHEST_RATING = 0.5, 5.0
LONGEST_TITLE = 1_000
LONGEST_TAG = 500  # in UTF-8 at most 2,000 bytes, which fits a PostgreSQL index entry
LONGEST_GENRE = 100
LONGEST_ATTRIBUTE = 200
SAFE_DIGITS = 18  # any number of so many digits fits into 64 bits
SHOWN = 40  # characters of a bad value that a reason quotes

NO_GENRES = "(no genres listed)"

_DIGITS = re.compile(r"[0-9]+\Z")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?\Z|\.[0-9]+\Z")
_YEAR = re.compile(r"\(([0-9]{4})\)\s*\Z")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class BadValueError(ValueError):
    """A value that cannot be accepted; the message says why."""


def _shown(text: str) -> str:
    return ascii(text if len(text) <= SHOWN else text[:SHOWN] + "...")


def parse_id(text: str, name: str) -> int:
    """Parse a non-negative 64-bit integer."""
    if text.isdigit() and len(text) <= SAFE_DIGITS and text.isascii():
        return int(text)
    if not _DIGITS.match(text):
        raise BadValueError(f"{name} {_shown(text)} is not a whole number")
    digits = text.lstrip("0") or "0"
    number = int(digits) if len(digits) <= SHOWN else LARGEST_ID + 1
    if number > LARGEST_ID:
        raise BadValueError(f"{name} {_shown(text)} is beyond 64 bits")
    return number


def parse_optional_id(text: str, name: str) -> int | None:
    """Parse an id that may be left empty."""
    return parse_id(text, name) if text else None


def parse_rating(text: str) -> float:
    """Parse stars."""
    if not _DECIMAL.match(text):
        raise BadValueError(f"rating {_shown(text)} is not a number")
    rating = float(text)
    if not LOWEST_RATING <= rating <= HIGHEST_RATING:
        raise BadValueError(f"rating {_shown(text)} is not between 0.5 and 5.0")
    return rating


def parse_time(text: str) -> int:
    """Parse Unix seconds."""
    seconds = parse_id(text, "timestamp")
    if seconds > LATEST_TIME:
        raise BadValueError(
            f"timestamp {_shown(text)} is after the year 9999; seconds are expected"
        )
    return seconds


def parse_text(text: str, name: str, longest: int) -> str:
    """Accept text as it is, unless it is blank, too long, or not text at all."""
    if text.isprintable() and len(text) <= longest and not text.isspace() and text:
        return text
    if _SURROGATE.search(text):
        raise BadValueError(f"{name} is not UTF-8")
    if "\0" in text:
        raise BadValueError(f"{name} contains a NUL character")
    if not text.strip():
        raise BadValueError(f"{name} is empty")
    if len(text) > longest:
        raise BadValueError(f"{name} has {len(text):,} characters; {longest:,} are allowed")
    return text


def parse_attribute(text: str, name: str) -> str:
    """Accept a user's attribute, or the name of one, without the space around it."""
    clean = parse_text(text.strip(), name, LONGEST_ATTRIBUTE)
    if "\n" in clean:
        raise BadValueError(f"{name} contains a line break")
    return clean


def parse_genres(text: str) -> str:
    """Parse ``A|B`` into its distinct genres, sorted and joined by ``|``; empty without genres.

    >>> parse_genres("Drama|Comedy|Drama")
    'Comedy|Drama'
    >>> parse_genres("(no genres listed)")
    ''
    """
    if text in ("", NO_GENRES):
        return ""
    genres = {parse_text(genre.strip(), "a genre", LONGEST_GENRE) for genre in text.split("|")}
    return "|".join(sorted(genres))


def release_year(title: str) -> int | None:
    """Return the year in parentheses at the end of a title.

    >>> release_year("Toy Story (1995)")
    1995
    >>> release_year("Babylon 5") is None
    True
    """
    found = _YEAR.search(title)
    return int(found[1]) if found else None


def tag_key(tag: str) -> str:
    """Return what features are built from: trimmed, case-folded, in NFC.

    Folding can undo composition, so NFC comes last; and it depends on the order of combining
    marks, so NFD comes first (The Unicode Standard, section 3.13, canonical caseless matching).

    >>> tag_key("  Film Noir ")
    'film noir'
    """
    if tag.isascii():
        return tag.strip().lower()
    folded = unicodedata.normalize("NFD", tag.strip()).casefold()
    return unicodedata.normalize("NFC", folded)
