"""A small population with plain tastes: what a trained hybrid finds out and popularity cannot.

Movies 1 to 60 have one of four genres in turn; users 1 to 40 love one genre and rate everything
else low. A few users and movies stand for the corner cases.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from random import Random

GENRES = ("Action", "Comedy", "Drama", "Horror")

LOVERS = range(1, 41)
LISTED = 101  #: in users.csv with an attribute, never rated anything
BLANK = 102  #: in users.csv without an attribute, never rated anything
GRUMBLER = 103  #: rated, and nothing high
TAGGER = 104  #: tagged only

MOVIES = range(1, 61)
BARE = 61  #: neither genre nor tag nor rating

START = 1_000_000_000

Row = tuple[object, ...]


def genre_of(movie: int) -> str:
    return GENRES[movie % 4]


def loves(user: int, movie: int) -> bool:
    return movie % 4 == user % 4


def movie_rows() -> list[Row]:
    titled = [(movie, f"Film {movie} (19{movie:02})", genre_of(movie)) for movie in MOVIES]
    return [*titled, (BARE, "Nothing Known", "(no genres listed)")]


def rating_rows() -> list[Row]:
    rng = Random(11)  # noqa: S311 - no secret
    rows: list[Row] = []
    for user in LOVERS:
        favourites = rng.sample([movie for movie in MOVIES if loves(user, movie)], 10)
        others = rng.sample([movie for movie in MOVIES if not loves(user, movie)], 6)
        for movie in rng.sample(favourites + others, 16):
            stars = rng.choice((4.0, 4.5, 5.0)) if loves(user, movie) else rng.choice((1.0, 2.5))
            rows.append((user, movie, stars, START + len(rows)))
    rows += [(GRUMBLER, movie, 0.5, START + movie) for movie in (1, 2, 3)]
    return rows


def tag_rows() -> list[Row]:
    """``loud`` three times in two spellings, ``rare`` once."""
    return [
        (1, 1, "Loud", START),
        (2, 5, " loud ", START),
        (TAGGER, 9, "LOUD", START),
        (TAGGER, 13, "rare", START),
    ]


def user_rows() -> list[Row]:
    return [(LISTED, "F"), (BLANK, ""), (1, "F"), (2, "M")]


def write_files(
    folder: Path,
    *,
    movies: Iterable[Row] | None = None,
    ratings: Iterable[Row] | None = None,
    tags: Iterable[Row] | None = None,
    users: Iterable[Row] | None = None,
    shuffle: int | None = None,
) -> Path:
    """Write the files, or others in their place, in the order given or shuffled by a seed."""
    tables: dict[str, tuple[str, Iterable[Row]]] = {
        "movies.csv": ("movieId,title,genres", movie_rows() if movies is None else movies),
        "ratings.csv": (
            "userId,movieId,rating,timestamp",
            rating_rows() if ratings is None else ratings,
        ),
        "tags.csv": ("userId,movieId,tag,timestamp", tag_rows() if tags is None else tags),
        "users.csv": ("userId,gender", user_rows() if users is None else users),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in tables.items():
        lines = list(rows)
        if shuffle is not None:
            Random(shuffle).shuffle(lines)  # noqa: S311 - no secret
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header.split(","), *lines])
    return folder
