"""Synthetic users: when they join, how much they rate and tag, when each rating happens."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.datasets.synthetic.catalogue import Catalogue
from recsvc.runtime.arrays import Float64, Int64

FIRST_SECOND: Final = 822_873_600  #: 1996-01-29 00:00 UTC
LAST_SECOND: Final = 1_574_294_400  #: 2019-11-21 00:00 UTC
MIN_ACTIVITY: Final = 20  #: MovieLens has no user with fewer ratings

_DAY: Final = 86_400
_ACTIVITY_SIGMA: Final = 1.42
_ACTIVITY_CAP: Final = 0.6  # of the movies released before a user joined
_TAGGER_RATE: Final = 0.095
_TAGGER_SIGMA: Final = 1.8
_RATINGS_PER_SESSION: Final = 40
_SECONDS_BETWEEN_RATINGS: Final = 12.0
_MEDIAN_SPAN_DAYS: Final = 60.0


@dataclass(frozen=True)
class Population:
    """All users by dense index, which is ``user_id - 1``."""

    activity: Int64  #: ratings to write, shape ``(n_users,)``
    tags: Int64  #: tags to draw, shape ``(n_users,)``, zero for most
    joined: Int64  #: Unix seconds of the first session
    available: Int64  #: length of the prefix of the catalogue released by then


def make_population(
    rng: np.random.Generator, catalogue: Catalogue, *, users: int, ratings: int, tags: int
) -> Population:
    """Draw when users join and how much each rates and tags; activity sums to ``ratings``."""
    joined = rng.integers(FIRST_SECOND, LAST_SECOND - 30 * _DAY, size=users)
    years = joined.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    available = np.searchsorted(catalogue.years, years, side="right")
    low = min(MIN_ACTIVITY, ratings // users)
    caps = np.maximum(low, (_ACTIVITY_CAP * available).astype(np.int64))
    shares = rng.lognormal(sigma=_ACTIVITY_SIGMA, size=users)
    activity = allocate(ratings, shares, np.full(users, low), caps)
    tagger = rng.random(users) < _TAGGER_RATE
    tagger[np.argmax(activity)] = True
    shares = rng.lognormal(sigma=_TAGGER_SIGMA, size=users)
    tag_caps = np.where(tagger, activity, 0)
    return Population(
        activity, allocate(tags, shares, np.zeros(users, np.int64), tag_caps), joined, available
    )


def allocate(total: int, shares: Float64, low: Int64, caps: Int64) -> Int64:
    """Integers between ``low`` and ``caps``, about proportional to ``shares`` above ``low``.

    They sum to ``total``, or to ``caps.sum()`` where that is less.

    >>> allocate(10, np.array([6.0, 3.0, 1.0]), np.array([1, 1, 1]), np.array([4, 9, 9]))
    array([4, 5, 1])
    """
    counts = low.copy()
    while (rest := total - int(counts.sum())) > 0 and (counts < caps).any():
        weights = np.where(counts < caps, shares, 0.0)
        extra = np.floor(rest * (weights / weights.sum())).astype(np.int64)
        if not extra.any():
            extra[np.argsort(-weights, kind="stable")[: min(rest, np.count_nonzero(weights))]] = 1
        counts = np.minimum(counts + extra, caps)
    return counts


def rating_times(
    rng: np.random.Generator, population: Population, users: Int64, positions: Int64
) -> Int64:
    """Unix seconds of each rating, ascending within a user, in sessions spread over a span.

    ``users`` are dense indices in ascending order, ``positions`` count from zero within each.
    """
    sessions = 1 + population.activity // _RATINGS_PER_SESSION
    session = positions * sessions[users] // population.activity[users]
    starts = np.flatnonzero((positions == 0) | (np.diff(session, prepend=0) != 0))
    lengths = np.diff(starts, append=users.size)
    first_users = np.flatnonzero(positions == 0)
    spans = _MEDIAN_SPAN_DAYS * _DAY * rng.lognormal(sigma=1.5, size=first_users.size)
    spans = np.repeat(spans, np.diff(first_users, append=users.size))[starts]
    owner = users[starts]
    spans = np.minimum(spans, LAST_SECOND - population.joined[owner] - 10 * _DAY)
    jitter = np.where(session[starts] == 0, 0.0, rng.random(starts.size))
    began = population.joined[owner] + spans * ((session[starts] + jitter) / sessions[owner])
    elapsed = np.cumsum(rng.exponential(_SECONDS_BETWEEN_RATINGS, size=users.size))
    within = elapsed - np.repeat(elapsed[starts], lengths)
    seconds = np.repeat(began, lengths) + within
    return np.minimum(seconds.astype(np.int64), LAST_SECOND)
