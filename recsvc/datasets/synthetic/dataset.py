"""Write a synthetic MovieLens of any size: ratings, movies, tags, links, and users' attributes.

The proportions of users, movies and tags follow ml-latest-small (100,836 ratings) and MovieLens
25M (25,000,095 ratings), interpolated between them on logarithmic scales.
"""

import csv
import itertools
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from recsvc.datasets.synthetic.attributes import ATTRIBUTES, AttributeSampler
from recsvc.datasets.synthetic.catalogue import (
    Catalogue,
    genre_labels,
    links,
    make_catalogue,
    tag_vocabulary,
    titles,
)
from recsvc.datasets.synthetic.population import MIN_ACTIVITY, make_population
from recsvc.datasets.synthetic.ratings import RatingBlock, RatingSampler, TagBlock
from recsvc.errors import UsageError
from recsvc.runtime.arrays import Float64, Int64

#: Moved into place in this order: the files that an ingest requires come last.
FILES: Final = ("links.csv", "users.csv", "tags.csv", "movies.csv", "ratings.csv")

_RATINGS_SCHEMA: Final = pa.schema(
    [
        ("userId", pa.int64()),
        ("movieId", pa.int64()),
        ("rating", pa.string()),
        ("timestamp", pa.int64()),
    ]
)
_HALF_STARS: Final = pa.array([f"{half / 2:.1f}" for half in range(11)])
#: Users, movies and tags of ml-latest-small and of MovieLens 25M.
_SMALL_RATINGS: Final = 100_836
_SMALL: Final = (610, 9_742, 3_683)
_LARGE_RATINGS: Final = 25_000_095
_LARGE: Final = (162_541, 62_423, 1_093_360)
_POWERS_BELOW_SMALL: Final = (0.75, 0.6)
_MOVIES_PER_RATING_OF_A_USER: Final = 6
_NEWCOMER_RATE: Final = 0.01
#: How often a tag is written plainly, in capitals, padded with spaces.
_TAG_SPELLINGS: Final = (0.96, 0.02, 0.02)


@dataclass(frozen=True)
class Proportions:
    """How many of everything a data set of a given number of ratings has."""

    users: int  #: all of them rate
    movies: int  #: the least popular of them nobody rates
    tags: int  #: aimed at; a few draws repeat and are dropped
    newcomers: int  #: users beyond these, who rate nothing


@dataclass(frozen=True)
class SyntheticSummary:
    """What was written."""

    users: int  #: distinct users in ratings.csv
    movies: int  #: rows of movies.csv and links.csv
    ratings: int  #: rows of ratings.csv
    tags: int  #: rows of tags.csv
    newcomers: int  #: users who are in users.csv alone; their ids follow those of all others
    files: tuple[Path, ...]  #: in alphabetical order


def proportions(ratings: int) -> Proportions:
    """Interpolate between the two MovieLens sets, log-log; the lines go on beyond 25M.

    Below ml-latest-small users and movies shrink more slowly than ratings, so that small sets
    still have several users.

    >>> proportions(100_836)
    Proportions(users=610, movies=9742, tags=3683, newcomers=6)
    >>> proportions(25_000_095)
    Proportions(users=162541, movies=62423, tags=1093360, newcomers=1625)
    >>> proportions(2_000)
    Proportions(users=32, movies=927, tags=64, newcomers=1)
    """
    ratio = ratings / _SMALL_RATINGS
    users_power, movies_power, tags_power = (
        float(np.log(large / small) / np.log(_LARGE_RATINGS / _SMALL_RATINGS))
        for small, large in zip(_SMALL, _LARGE, strict=True)
    )
    if ratio < 1.0:
        users_power, movies_power = _POWERS_BELOW_SMALL
    users, movies, tags = (
        size * ratio**power
        for size, power in zip(_SMALL, (users_power, movies_power, tags_power), strict=True)
    )
    n_users = max(1, min(round(users), ratings // MIN_ACTIVITY))
    least_movies = _MOVIES_PER_RATING_OF_A_USER * -(-ratings // n_users)
    newcomers = max(1, round(_NEWCOMER_RATE * n_users))
    return Proportions(n_users, max(round(movies), least_movies), round(tags), newcomers)


def write_synthetic(
    directory: Path,
    *,
    ratings: int,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
) -> SyntheticSummary:
    """Write exactly ``ratings`` ratings with movies, tags, links and users into ``directory``.

    The same ``ratings`` and ``seed`` give the same bytes. The files appear under their names only
    when all are complete. Memory stays bounded by one block of users and the catalogue.

    Args:
        directory: made if it does not exist.
        ratings: rows of ratings.csv, at least 1.
        seed: not negative.
        on_progress: called with the number of ratings written so far.

    Raises:
        UsageError: ``ratings`` or ``seed`` is out of range, or ``directory`` is not a folder,
            cannot be made, or already holds one of the files.
    """
    if ratings < 1 or seed < 0:
        raise UsageError(
            f"--ratings must be at least 1 and --seed at least 0, not {ratings}, {seed}."
        )
    _refuse_occupied(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot make the folder {directory}: {error.strerror}.") from error
    sizes = proportions(ratings)
    rng = np.random.default_rng(seed)
    catalogue = make_catalogue(rng, movies=sizes.movies, users=sizes.users, ratings=ratings)
    population = make_population(
        rng, catalogue, users=sizes.users, ratings=ratings, tags=sizes.tags
    )
    sampler = RatingSampler(seed, catalogue, population)
    with tempfile.TemporaryDirectory(prefix=".synthetic-", dir=directory) as scratch:
        work = Path(scratch)
        _write_catalogue(work, catalogue, rng)
        attributes = AttributeSampler(np.random.default_rng((seed, 3)))
        _write_users(work, attributes, sampler.leanings(sizes.newcomers))
        tags = _write_events(
            work, catalogue, sampler, np.random.default_rng((seed, 2)), on_progress
        )
        _refuse_occupied(directory)
        for name in FILES:
            (work / name).rename(directory / name)
    files = tuple(directory / name for name in sorted(FILES))
    return SyntheticSummary(sizes.users, sizes.movies, ratings, tags, sizes.newcomers, files)


def _refuse_occupied(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is not a folder; name a folder for the synthetic files.")
    for name in sorted(FILES):
        if (directory / name).exists():
            raise UsageError(
                f"{directory / name} exists already and is not overwritten; name another folder."
            )


def _write_catalogue(work: Path, catalogue: Catalogue, rng: np.random.Generator) -> None:
    movie_ids = catalogue.movie_ids.tolist()
    rows = zip(movie_ids, titles(rng, catalogue), genre_labels(rng, catalogue), strict=True)
    _write_csv(work / "movies.csv", ("movieId", "title", "genres"), rows)
    imdb, tmdb = links(rng, catalogue)
    rows = zip(movie_ids, imdb, tmdb, strict=True)
    _write_csv(work / "links.csv", ("movieId", "imdbId", "tmdbId"), rows)


def _write_users(work: Path, attributes: AttributeSampler, leanings: Iterable[Float64]) -> None:
    user_ids = itertools.count(1)
    rows = (
        (next(user_ids), *values)
        for block in leanings
        for values in zip(*attributes.columns(block), strict=True)
    )
    _write_csv(work / "users.csv", ("userId", *(each.name for each in ATTRIBUTES)), rows)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_events(
    work: Path,
    catalogue: Catalogue,
    sampler: RatingSampler,
    spelling: np.random.Generator,
    on_progress: Callable[[int], None] | None,
) -> int:
    """Write ratings.csv and tags.csv block by block; returns the number of tags."""
    vocabulary = _spelled_vocabulary()
    written = n_tags = 0
    with (
        (work / "ratings.csv").open("wb") as ratings_file,
        (work / "tags.csv").open("w", encoding="utf-8", newline="") as tags_file,
    ):
        ratings_file.write((",".join(_RATINGS_SCHEMA.names) + "\n").encode())
        tag_writer = csv.writer(tags_file, lineterminator="\n")
        tag_writer.writerow(("userId", "movieId", "tag", "timestamp"))
        for ratings, tags in sampler.blocks():
            _append_ratings(ratings_file, ratings, catalogue.movie_ids)
            style = spelling.choice(len(_TAG_SPELLINGS), size=tags.users.size, p=_TAG_SPELLINGS)
            tag_writer.writerows(_tag_rows(tags, style, vocabulary, catalogue.movie_ids))
            written += ratings.users.size
            n_tags += tags.users.size
            if on_progress is not None:
                on_progress(written)
    return n_tags


def _append_ratings(file: IO[bytes], block: RatingBlock, movie_ids: Int64) -> None:
    columns = [
        pa.array(block.users + 1),
        pa.array(movie_ids[block.movies]),
        _HALF_STARS.take(pa.array(block.halves)),
        pa.array(block.seconds),
    ]
    table = pa.Table.from_arrays(columns, schema=_RATINGS_SCHEMA)
    options = pyarrow.csv.WriteOptions(
        include_header=False, batch_size=65_536, quoting_style="none"
    )
    pyarrow.csv.write_csv(table, file, write_options=options)


def _spelled_vocabulary() -> list[str]:
    """All tags plainly, then all in capitals, then all padded, as people really type them."""
    plain = tag_vocabulary()
    return plain + [tag.upper() for tag in plain] + [f" {tag}  " for tag in plain]


def _tag_rows(
    block: TagBlock, style: Int64, vocabulary: list[str], movie_ids: Int64
) -> Iterable[tuple[int, int, str, int]]:
    spelled = style * (len(vocabulary) // len(_TAG_SPELLINGS)) + block.tags
    words = (vocabulary[index] for index in spelled.tolist())
    users, movies = (block.users + 1).tolist(), movie_ids[block.movies].tolist()
    return zip(users, movies, words, block.seconds.tolist(), strict=True)
