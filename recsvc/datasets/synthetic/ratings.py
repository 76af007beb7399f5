"""Synthetic users and what they rate, in blocks of users.

A user is a mixture over tastes. One rating is drawn by picking a taste from the mixture, then a
movie from that taste's distribution, ``popularity x share``; so both the choice of movies and the
ratings depend on affinity, while popularity keeps its curve. Draws that repeat are dropped, which
makes this successive sampling without replacement.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.datasets.synthetic.catalogue import N_TASTES, TAGS_PER_MOVIE, Catalogue
from recsvc.datasets.synthetic.population import MIN_ACTIVITY, Population, rating_times
from recsvc.runtime.arrays import Float32, Float64, Int64

_BLOCK_ROWS: Final = 250_000
_BLOCK_NEWCOMERS: Final = _BLOCK_ROWS // MIN_ACTIVITY
_MAX_ROUNDS: Final = 6
_LEAST_SPREAD: Final = 0.1
_FIRST_TAG_RATE: Final = 0.2
_SECONDS_TO_TAG: Final = 100
_TASTE_CONCENTRATION: Final = 3.0
_MAINSTREAM: Final = 0.2  # of each user's mixture is everybody's
#: Shares of a rating's standard deviation; their squares sum to one.
_USER_WEIGHT: Final = 0.44
_QUALITY_WEIGHT: Final = 0.37
_AFFINITY_WEIGHT: Final = 0.45
_NOISE_WEIGHT: Final = 0.68
#: Cumulative shares of the ratings 0.5, 1.0 .. 4.5 in MovieLens, as quantiles of N(0, 1).
_THRESHOLDS: Final = (-2.21, -1.736, -1.563, -1.108, -0.88, -0.288, 0.047, 0.784, 1.124)


@dataclass(frozen=True)
class RatingBlock:
    """Ratings of consecutive users, sorted by user, then movie; all arrays have shape ``(n,)``."""

    users: Int64  #: dense user indices
    movies: Int64  #: dense movie indices
    halves: Int64  #: ratings in half stars, 1 to 10
    seconds: Int64  #: Unix time


@dataclass(frozen=True)
class TagBlock:
    """Tags of the same users, sorted by user, then movie; all arrays have shape ``(n,)``."""

    users: Int64  #: dense user indices
    movies: Int64  #: dense movie indices
    tags: Int64  #: index into ``tag_vocabulary()``
    seconds: Int64  #: Unix time


class RatingSampler:
    """Draws blocks of ratings and tags; equal seeds give equal blocks.

    Memory: two tables of ``N_TASTES x n_movies`` doubles, and one block of about 250,000 ratings
    (or of one user, where one has more).
    """

    def __init__(self, seed: int, catalogue: Catalogue, population: Population) -> None:
        self._seed = seed
        self._catalogue = catalogue
        self._population = population
        mass = catalogue.weights[None, :] * catalogue.shares.T
        self._taste_mass: Float64 = mass.sum(axis=1)
        self._table: Float64 = np.cumsum(mass, axis=1)
        self._table /= self._table[:, -1:]
        # Taste t's distribution shifted by t: one ascending array, one search for all tastes.
        self._ascending = (self._table + np.arange(N_TASTES)[:, None]).ravel()
        self._ends = np.cumsum(population.activity)
        self._location: Float64
        self._scale: Float64
        self._location, self._scale = self._calibrate()

    def blocks(self) -> Iterator[tuple[RatingBlock, TagBlock]]:
        """Yield all users in order, in blocks of whole users."""
        for rng, start, stop in self._spans():
            yield self._block(rng, start, stop)

    def leanings(self, newcomers: int) -> Iterator[Float64]:
        """Yield how far users' tastes are from everybody's, in standard deviations of each taste.

        Blocks of shape ``(n, N_TASTES)``: first all users in order, then ``newcomers`` more, who
        rate nothing.
        """
        for rng, start, stop in self._spans():
            yield self._leanings(rng, stop - start)
        rng = np.random.default_rng((self._seed, 4))
        for start in range(0, newcomers, _BLOCK_NEWCOMERS):
            yield self._leanings(rng, min(_BLOCK_NEWCOMERS, newcomers - start))

    def _spans(self) -> Iterator[tuple[np.random.Generator, int, int]]:
        """Yield what each block is drawn from, its tastes first, and which users it has."""
        start, number = 0, 0
        while start < self._ends.size:
            stop = self._block_end(start)
            yield np.random.default_rng((self._seed, 1, number)), start, stop
            start, number = stop, number + 1

    def _calibrate(self) -> tuple[Float64, Float64]:
        """Mean and standard deviation of quality and affinity over what the first users choose."""
        rng = np.random.default_rng((self._seed, 0))
        mixtures = self._mixtures(rng, self._block_end(0))
        users, movies, _ = self._choose(rng, mixtures, 0)
        merits = np.array(
            [self._catalogue.quality[movies], self._affinity(mixtures, users, movies)]
        )
        spread = np.maximum(merits.std(axis=1), _LEAST_SPREAD)
        return np.asarray(merits.mean(axis=1)), np.asarray(spread)

    def _block_end(self, start: int) -> int:
        done = self._ends[start - 1] if start else 0
        return max(start + 1, int(np.searchsorted(self._ends, done + _BLOCK_ROWS, side="right")))

    def _mixtures(self, rng: np.random.Generator, users: int) -> Float32:
        """Users' tastes, shape ``(users, N_TASTES)``; their mean is the tastes' popularity."""
        own = rng.standard_gamma(_TASTE_CONCENTRATION * self._taste_mass, size=(users, N_TASTES))
        own /= own.sum(axis=1, keepdims=True)
        mixtures = (1.0 - _MAINSTREAM) * own + _MAINSTREAM * self._taste_mass
        return np.asarray(mixtures, np.float32)

    def _leanings(self, rng: np.random.Generator, users: int) -> Float64:
        """Center and scale mixtures by the moments of the Dirichlet distribution they come from."""
        variance = self._taste_mass * (1.0 - self._taste_mass) / (_TASTE_CONCENTRATION + 1.0)
        spread = (1.0 - _MAINSTREAM) * np.sqrt(variance)
        return np.asarray((self._mixtures(rng, users) - self._taste_mass) / spread)

    def _affinity(self, mixtures: Float32, users: Int64, movies: Int64) -> Float32:
        """Log of how much more likely than average the user is to choose the movie."""
        lift = mixtures / self._taste_mass.astype(np.float32)
        pairs = np.einsum("nt,nt->n", lift[users], self._catalogue.shares[movies])
        return np.asarray(np.log(pairs), np.float32)

    def _draw(
        self, rng: np.random.Generator, mixtures: Float32, users: Int64, available: Int64
    ) -> Int64:
        """One movie for each entry of ``users``, among the first ``available`` of the catalogue."""
        cumulative = np.cumsum(mixtures, axis=1)[users]
        taste = (rng.random(users.size, np.float32)[:, None] > cumulative).sum(axis=1)
        taste = np.minimum(taste, N_TASTES - 1)
        reach = self._table[taste, available - 1]
        keys = taste + rng.random(users.size) * reach
        movies = np.searchsorted(self._ascending, keys, side="right")
        movies -= taste * self._catalogue.n_movies
        return np.asarray(np.clip(movies, 0, available - 1), np.int64)

    def _block(
        self, rng: np.random.Generator, start: int, stop: int
    ) -> tuple[RatingBlock, TagBlock]:
        mixtures = self._mixtures(rng, stop - start)
        local, movies, positions = self._choose(rng, mixtures, start)
        seconds = rating_times(rng, self._population, local + start, positions)
        order = np.lexsort((movies, local))
        local, movies, seconds = local[order], movies[order], seconds[order]
        halves = self._rate(rng, mixtures, local, movies)
        ratings = RatingBlock(local + start, movies, halves, seconds)
        return ratings, self._tag(rng, ratings, start, stop)

    def _choose(
        self, rng: np.random.Generator, mixtures: Float32, start: int
    ) -> tuple[Int64, Int64, Int64]:
        """Each user's movies in the order of choice: local users, movies, positions from zero."""
        stop = start + mixtures.shape[0]
        activity = self._population.activity[start:stop]
        available = self._population.available[start:stop]
        users = movies = np.empty(0, np.int64)
        for _ in range(_MAX_ROUNDS):
            missing = np.maximum(activity - np.bincount(users, minlength=activity.size), 0)
            if not missing.any():
                break
            more = np.repeat(np.arange(activity.size), missing + missing // 2 + 2 * (missing > 0))
            drawn = self._draw(rng, mixtures, more, available[more])
            users, movies = np.concatenate((users, more)), np.concatenate((movies, drawn))
            _, first = np.unique(users * self._catalogue.n_movies + movies, return_index=True)
            first.sort()
            users, movies = users[first], movies[first]
        users, movies = self._complete(rng, mixtures, start, users, movies)
        order = np.argsort(users, kind="stable")
        users, movies = users[order], movies[order]
        positions = np.arange(users.size) - np.searchsorted(users, users)
        keep = positions < activity[users]
        return users[keep], movies[keep], positions[keep]

    def _complete(
        self, rng: np.random.Generator, mixtures: Float32, start: int, users: Int64, movies: Int64
    ) -> tuple[Int64, Int64]:
        """Finish the few users who rate so much that drawing mostly repeats: Gumbel top-k."""
        all_users, all_movies = [users], [movies]
        counts = np.bincount(users, minlength=mixtures.shape[0])
        missing = self._population.activity[start : start + mixtures.shape[0]] - counts
        for user in np.flatnonzero(missing > 0):
            available = self._population.available[start + user]
            tilt = mixtures[user] / self._taste_mass
            mass = np.einsum("mt,t->m", self._catalogue.shares[:available], tilt)
            keys = np.log(mass * self._catalogue.weights[:available]) + rng.gumbel(size=available)
            keys[movies[users == user]] = -np.inf
            all_movies.append(np.argsort(-keys, kind="stable")[: missing[user]])
            all_users.append(np.full(missing[user], user))
        return np.concatenate(all_users), np.concatenate(all_movies)

    def _rate(
        self, rng: np.random.Generator, mixtures: Float32, users: Int64, movies: Int64
    ) -> Int64:
        """Half stars by cutting a latent liking at the quantiles of MovieLens' ratings."""
        quality = (self._catalogue.quality[movies] - self._location[0]) / self._scale[0]
        affinity = (self._affinity(mixtures, users, movies) - self._location[1]) / self._scale[1]
        bias = rng.standard_normal((mixtures.shape[0],))
        liking = (
            _USER_WEIGHT * bias[users]
            + _QUALITY_WEIGHT * quality
            + _AFFINITY_WEIGHT * affinity
            + _NOISE_WEIGHT * rng.standard_normal(users.size)
        )
        return np.asarray(1 + np.searchsorted(_THRESHOLDS, liking), np.int64)

    def _tag(
        self, rng: np.random.Generator, ratings: RatingBlock, start: int, stop: int
    ) -> TagBlock:
        """Tag a random rating of each tagger, minutes later, with one of the movie's tags."""
        wanted = self._population.tags[start:stop]
        activity = self._population.activity[start:stop]
        user = np.repeat(np.arange(stop - start), wanted)
        first = np.cumsum(activity) - activity
        row = first[user] + rng.integers(activity[user])
        slot = np.minimum(rng.geometric(_FIRST_TAG_RATE, size=row.size) - 1, TAGS_PER_MOVIE - 1)
        tag = self._catalogue.tags[ratings.movies[row], slot]
        _, keep = np.unique(row * (1 + int(self._catalogue.tags.max())) + tag, return_index=True)
        row, tag = row[keep], tag[keep]
        seconds = ratings.seconds[row] + rng.geometric(1.0 / _SECONDS_TO_TAG, size=row.size)
        return TagBlock(ratings.users[row], ratings.movies[row], tag, seconds)
