"""A synthetic catalogue: movies with release years, genres, titles, tags and latent tastes.

Every movie has a *share* in each taste. Genres and tags are drawn from those shares, so that they
tell a model something about who will like the movie; part of a movie's shares is noise of its own.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.datasets.synthetic.words import (
    ADJECTIVES,
    GENERAL_TAGS,
    NO_GENRES,
    NOUNS,
    PLACES,
    TAG_MODIFIERS,
    TASTES,
    TITLE_FORMS,
)
from recsvc.runtime.arrays import Float32, Float64, Int64

N_TASTES: Final = len(TASTES)
TAGS_PER_MOVIE: Final = 10

_TAGS_PER_TASTE: Final = len(TASTES[0].tags)
_FORMS_PER_TAG: Final = 1 + len(TAG_MODIFIERS)
_YEAR_QUANTILES: Final = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 1.0)
_YEARS: Final = (1902.0, 1936.0, 1965.0, 1988.0, 1999.0, 2008.0, 2019.99)
_GENRE_COUNT_PROBABILITIES: Final = (0.30, 0.33, 0.24, 0.13)
_STRAY_GENRE: Final = 0.01
_WITHOUT_GENRES: Final = 0.0035
_WITHOUT_YEAR: Final = 0.0015
_WITHOUT_TMDB: Final = 0.001
_GENERAL_TAG_RATE: Final = 0.08
_MODIFIED_TAG_RATE: Final = 0.45
_POPULARITY_CURVATURE: Final = 0.3
#: Steeper than the counts aimed at: who rates much reaches the same head movies anyway.
_POPULARITY_STEEPNESS: Final = 1.5
#: The most popular movie of MovieLens is rated by about half of all users.
_TOP_MOVIE_REACH: Final = 0.5
_LEAST_EXPECTED_RATINGS: Final = 3.0
_TASTE_CONCENTRATION: Final = 5.0
_MAIN_TASTE_WEIGHT: Final = 0.85
_LEAST_SHARE: Final = 1e-4


@dataclass(frozen=True)
class Catalogue:
    """Movies by dense index ``0..n_movies-1``, ordered by release year and by movie id at once."""

    movie_ids: Int64  #: ascending, with gaps, as in MovieLens
    years: Int64  #: release years, ascending
    shares: Float32  #: shape ``(n_movies, N_TASTES)``, each row sums to one
    weights: Float64  #: popularity, shape ``(n_movies,)``, sums to one
    quality: Float32  #: what raises a movie's ratings for everybody, of variance 1
    tags: Int64  #: index into ``tag_vocabulary()``, shape ``(n_movies, TAGS_PER_MOVIE)``

    @property
    def n_movies(self) -> int:
        """Number of movies."""
        return int(self.movie_ids.shape[0])


def make_catalogue(rng: np.random.Generator, *, movies: int, users: int, ratings: int) -> Catalogue:
    """Draw ``movies`` movies, their popularity for so many ``users`` and ``ratings``."""
    quantiles = (np.arange(movies) + 0.5) / movies
    weights = _popularity(rng, movies, users, ratings)
    shares = _taste_shares(rng, movies)
    return Catalogue(
        movie_ids=np.cumsum(rng.geometric(np.interp(quantiles, (0.0, 0.3, 1.0), (0.9, 0.5, 0.04)))),
        years=np.floor(np.interp(quantiles, _YEAR_QUANTILES, _YEARS)).astype(np.int64),
        shares=shares,
        weights=weights,
        quality=_quality(rng, weights),
        tags=_movie_tags(rng, shares),
    )


def _popularity(rng: np.random.Generator, movies: int, users: int, ratings: int) -> Float64:
    """The curve of MovieLens: log(ratings) falls with the rank's quantile ``x`` as ``1 - x^b``.

    Fitted by eye to the counts of ml-latest-small and of MovieLens 25M, where it holds alike.
    """
    ranks = rng.permutation(movies)
    top = np.log(max(2.0, _TOP_MOVIE_REACH * users))
    curve = 1.0 - (ranks / movies) ** _POPULARITY_CURVATURE
    weights: Float64 = np.exp(_POPULARITY_STEEPNESS * top * curve)
    weights /= weights.sum()
    weights = np.maximum(weights, _LEAST_EXPECTED_RATINGS / ratings)
    weights /= weights.sum()
    return weights


def _taste_shares(rng: np.random.Generator, movies: int) -> Float32:
    frequency = 1.0 / (np.arange(N_TASTES) + 4.0)
    frequency /= frequency.sum()
    main = rng.choice(N_TASTES, size=movies, p=frequency)
    prior = np.tile((1.0 - _MAIN_TASTE_WEIGHT) * frequency, (movies, 1))
    prior[np.arange(movies), main] += _MAIN_TASTE_WEIGHT
    shares = rng.standard_gamma(_TASTE_CONCENTRATION * prior) + _LEAST_SHARE
    shares /= shares.sum(axis=1, keepdims=True)
    return np.asarray(shares, np.float32)


def _quality(rng: np.random.Generator, weights: Float64) -> Float32:
    """Half of it goes with popularity: what many watch is somewhat better liked."""
    fame = np.log(weights) / max(1.0, float(np.log(weights).std()))
    return np.asarray(0.5 * fame + 0.85 * rng.standard_normal(weights.size), np.float32)


def tag_vocabulary() -> list[str]:
    """All tags: for each taste each tag, bare and with every modifier, then the general ones."""
    of_tastes = [
        f"{modifier} {tag}".lstrip()
        for taste in TASTES
        for tag in taste.tags
        for modifier in ("", *TAG_MODIFIERS)
    ]
    return of_tastes + list(GENERAL_TAGS)


def _movie_tags(rng: np.random.Generator, shares: Float32) -> Int64:
    size = (shares.shape[0], TAGS_PER_MOVIE)
    cumulative = np.cumsum(shares, axis=1, dtype=np.float64)
    taste = (rng.random(size)[:, :, None] > cumulative[:, None, :]).sum(axis=2)
    taste = np.minimum(taste, N_TASTES - 1)
    frequency = 1.0 / (np.arange(_TAGS_PER_TASTE) + 1.0)
    word = rng.choice(_TAGS_PER_TASTE, size=size, p=frequency / frequency.sum())
    modifier = rng.integers(1, _FORMS_PER_TAG, size=size)
    modifier[rng.random(size) >= _MODIFIED_TAG_RATE] = 0
    tags = (taste * _TAGS_PER_TASTE + word) * _FORMS_PER_TAG + modifier
    general = N_TASTES * _TAGS_PER_TASTE * _FORMS_PER_TAG + rng.integers(
        len(GENERAL_TAGS), size=size
    )
    return np.where(rng.random(size) < _GENERAL_TAG_RATE, general, tags)


def genre_labels(rng: np.random.Generator, catalogue: Catalogue) -> list[str]:
    """One to four genres a movie, joined by ``|`` in alphabetical order, as MovieLens does."""
    names = sorted({genre for taste in TASTES for genre in taste.genres})
    affinity = np.full((N_TASTES, len(names)), _STRAY_GENRE)
    for row, taste in zip(affinity, TASTES, strict=True):
        for rank, genre in enumerate(taste.genres):
            row[names.index(genre)] += 1.0 / (1.0 + rank)
    size = (catalogue.n_movies, len(names))
    keys = np.log(np.einsum("mt,tg->mg", catalogue.shares, affinity)) + rng.gumbel(size=size)
    order = np.argsort(-keys, axis=1)
    counts = 1 + rng.choice(4, size=catalogue.n_movies, p=_GENRE_COUNT_PROBABILITIES)
    counts[rng.random(catalogue.n_movies) < _WITHOUT_GENRES] = 0
    return [
        "|".join(sorted(names[g] for g in row[:count])) or NO_GENRES
        for row, count in zip(order.tolist(), counts.tolist(), strict=True)
    ]


def titles(rng: np.random.Generator, catalogue: Catalogue) -> list[str]:
    """Titles such as ``Golden River, The (1995)``; a few lack the year, as in MovieLens."""
    draws = rng.integers(
        (len(TITLE_FORMS), len(ADJECTIVES), len(NOUNS), len(PLACES)), size=(catalogue.n_movies, 4)
    )
    without_year = rng.random(catalogue.n_movies) < _WITHOUT_YEAR
    names = [
        TITLE_FORMS[form].format(adjective=ADJECTIVES[a], noun=NOUNS[n], place=PLACES[p])
        for form, a, n, p in draws.tolist()
    ]
    return [
        name if bare else f"{name} ({year})"
        for name, year, bare in zip(names, catalogue.years.tolist(), without_year, strict=True)
    ]


def links(rng: np.random.Generator, catalogue: Catalogue) -> tuple[list[str], list[str]]:
    """IMDb ids (seven digits) and TMDB ids (a few missing), each unique."""
    imdb = np.cumsum(rng.integers(1, 80, size=catalogue.n_movies))
    tmdb = rng.permutation(2 * catalogue.n_movies)[: catalogue.n_movies] + 2
    missing = rng.random(catalogue.n_movies) < _WITHOUT_TMDB
    tmdb_labels = ["" if m else str(t) for t, m in zip(tmdb.tolist(), missing, strict=True)]
    return [f"{i:07d}" for i in imdb.tolist()], tmdb_labels
