"""Why a movie has the score it has for a user: terms that add up to it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Contribution:
    """One term of a score."""

    token: str  #: ``genre:Comedy``, ``movie:12`` (the movie itself), ``user:bias``, ``popularity``
    value: float  #: what it adds to the score


@dataclass(frozen=True)
class Explanation:
    """A score and the terms that add up to it."""

    score: float  #: as it is in the recommendations
    source: str  #: one of ``vocabulary.SOURCES``
    contributions: list[Contribution]  #: the largest first

    @classmethod
    def of(cls, source: str, terms: Iterable[Contribution]) -> Self:
        """Add terms up, and put the largest first, whatever their sign."""
        ordered = sorted(terms, key=lambda term: (-abs(term.value), term.token))
        return cls(sum(term.value for term in ordered), source, ordered)
