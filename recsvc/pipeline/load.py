"""From rows in the database to the arrays that models learn from."""

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa

from recsvc.model.data.features import Features, item_tokens, token_features
from recsvc.model.data.interactions import Interactions, RatingColumns, build_interactions
from recsvc.model.data.splits import Split, split_leave_last, split_random, split_temporal
from recsvc.settings import Recipe
from recsvc.store.database.snapshot import Snapshot, snapshot
from recsvc.store.sources import training_rows


@dataclass(frozen=True)
class TrainingData:
    """Everything a run learns from, as it was at one moment."""

    interactions: Interactions
    items: Features  #: identity, genres and tags
    users: Features  #: identity and attributes
    last_ingest: int  #: newest ingest at that moment; 0 before the first
    former: "FeatureSets | None" = None  #: features by the settings of the published run

    def fingerprint(self) -> str:
        """Return a digest that changes whenever the data do."""
        parts = (
            self.interactions.fingerprint(),
            self.items.fingerprint(),
            self.users.fingerprint(),
        )
        return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class FeatureSets:
    """Features of movies and of users."""

    items: Features  #: identity, genres and tags
    users: Features  #: identity and attributes


def load_training_data(
    engine: sa.Engine, recipe: Recipe, former: Recipe | None = None
) -> TrainingData:
    """Read all that a retrain needs, in one snapshot.

    Args:
        engine: the database.
        recipe: tonight's settings.
        former: settings to build a second set of features by, to compare with.
    """
    with snapshot(engine) as database:
        last_ingest = training_rows.read_last_ingest(database)
        movie_ids, available = training_rows.read_catalogue(database)
        ratings = training_rows.read_ratings(database, recipe.positive_rating)
        interactions = build_interactions(
            training_rows.read_user_ids(database),
            movie_ids,
            available,
            (RatingColumns(*batch) for batch in ratings),
        )
        features = _read_features(database, interactions, recipe)
        before = _read_features(database, interactions, former) if former else None
    return TrainingData(interactions, features.items, features.users, last_ingest, before)


def _read_features(database: Snapshot, interactions: Interactions, recipe: Recipe) -> FeatureSets:
    tokens = item_tokens(
        interactions.items,
        training_rows.read_genres(database),
        training_rows.read_tags(database, recipe.min_tag_freq),
        max_tags=recipe.max_tags_per_movie,
        order=recipe.tag_order,
        bias_token=recipe.bias_token,
    )
    attributes = training_rows.read_user_features(database)
    attributes = attributes.rename(columns={"user_id": "id", "feature": "token"})
    normalize = recipe.normalize_features
    return FeatureSets(
        items=token_features(interactions.items, tokens, normalize=normalize),
        users=token_features(interactions.users, attributes, normalize=normalize),
    )


def hold_out(data: Interactions, recipe: Recipe) -> Split:
    """Split positives by the protocol of the settings."""
    match recipe.protocol:
        case "random":
            return split_random(data, recipe.holdout_fraction, recipe.seed)
        case "temporal":
            return split_temporal(data, recipe.holdout_fraction)
        case "leave_last":
            return split_leave_last(data, recipe.holdout_last)
