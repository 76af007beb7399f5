"""MovieLens-shaped folders as the arrays that a retrain would learn from."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv

from recsvc.datasets.synthetic.dataset import write_synthetic
from recsvc.model.data.features import (
    genre_tokens,
    tag_tokens,
    token_features,
    with_bias_token,
)
from recsvc.model.data.interactions import Interactions, RatingColumns, build_interactions
from recsvc.model.data.splits import all_positives, split_leave_last, split_random
from recsvc.settings import Recipe
from training.data import Data

#: Ratings of the synthetic data sets.
SIZES = {"synth1m": 1_000_000, "synth25m": 25_000_000}
SEED = 42


def synthetic(name: str, folder: Path) -> Path:
    """Return the folder of a synthetic data set, written if it is not there."""
    path = folder / name
    if not (path / "ratings.csv").exists():
        print(f"Writing {SIZES[name]:,} ratings to {path}", flush=True)
        write_synthetic(path, ratings=SIZES[name], seed=SEED)
    return path


def read(folder: Path, protocol: str | None) -> Data:
    """Read a folder with the default settings.

    Args:
        folder: ``ratings.csv``, ``movies.csv`` and ``tags.csv``.
        protocol: ``random`` or ``leave_last``; None holds nothing out.
    """
    recipe = Recipe()
    movies = pd.read_csv(folder / "movies.csv").sort_values("movieId")
    interactions = _interactions(folder, movies, recipe)
    tags = tag_tokens(
        _tags(folder, recipe.min_tag_freq),
        max_tags=recipe.max_tags_per_movie,
        order=recipe.tag_order,
    )
    tokens = pd.concat([genre_tokens(_genres(movies)), tags], ignore_index=True)
    if recipe.bias_token:
        tokens = with_bias_token(interactions.items, tokens)
    items = token_features(interactions.items, tokens, normalize=recipe.normalize_features)
    if protocol is None:
        return Data(all_positives(interactions), items)
    split = (
        split_random(interactions, recipe.holdout_fraction, recipe.seed)
        if protocol == "random"
        else split_leave_last(interactions, recipe.holdout_last, recipe.seed)
    )
    return Data(split.train, items, split.test)


def _interactions(folder: Path, movies: pd.DataFrame, recipe: Recipe) -> Interactions:
    table = pyarrow.csv.read_csv(folder / "ratings.csv")
    users, items, times, ratings = (
        table[name].to_numpy() for name in ("userId", "movieId", "timestamp", "rating")
    )
    ids = movies["movieId"].to_numpy(np.int64)
    columns = RatingColumns(users, items, times, ratings >= recipe.positive_rating)
    return build_interactions(np.unique(users), ids, np.ones(len(ids), np.bool_), [columns])


def _genres(movies: pd.DataFrame) -> pd.DataFrame:
    genres = movies.assign(genre=movies["genres"].str.split("|")).explode("genre")
    named = genres[genres["genre"] != "(no genres listed)"]
    return named.rename(columns={"movieId": "movie_id"})[["movie_id", "genre"]]


def _tags(folder: Path, min_freq: int) -> pd.DataFrame:
    tags = pd.read_csv(folder / "tags.csv", keep_default_na=False)
    tags["tag_key"] = tags["tag"].str.strip().str.casefold().str.normalize("NFC")
    frequent = tags[tags.groupby("tag_key")["tag_key"].transform("size") >= min_freq]
    grouped = frequent.groupby(["movieId", "tag_key"])["userId"].agg(["size", "min"]).reset_index()
    names = {"movieId": "movie_id", "size": "applications", "min": "first_user_id"}
    return grouped.rename(columns=names)
