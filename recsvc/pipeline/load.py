"""From rows in the database to the arrays that recommenders learn from."""

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa

from recsvc.model.data.configuration import FeatureConfiguration
from recsvc.model.data.features import Features, item_tokens, token_features
from recsvc.model.data.interactions import Interactions, RatingColumns, build_interactions
from recsvc.model.data.splits import Positives
from recsvc.model.recommenders.recommender import TrainingSet
from recsvc.settings import Recipe
from recsvc.store.database.snapshot import Snapshot, snapshot
from recsvc.store.sources import training_rows


@dataclass(frozen=True)
class FeatureSets:
    """Features of movies and of users."""

    items: Features  #: identity, genres and tags
    users: Features  #: identity and attributes

    def with_positives(self, positives: Positives) -> TrainingSet:
        """Return what recommenders learn from these positives by."""
        return TrainingSet(positives, self.items, self.users)


@dataclass(frozen=True)
class TrainingData:
    """Everything a run learns from, as it was at one moment."""

    interactions: Interactions
    features: FeatureSets
    last_ingest: int  #: newest ingest at that moment; 0 before the first
    former: FeatureSets | None = None  #: features by the settings of the published run

    def fingerprint(self) -> str:
        """Return a digest that changes whenever the data do."""
        parts = (
            self.interactions.fingerprint(),
            self.features.items.fingerprint(),
            self.features.users.fingerprint(),
        )
        return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()


def load_training_data(
    engine: sa.Engine, recipe: Recipe, former: Recipe | None = None
) -> TrainingData:
    """Read all that a retrain needs, in one snapshot.

    Args:
        engine: the database.
        recipe: the settings of this run.
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
    return TrainingData(interactions, features, last_ingest, before)


def _read_features(
    database: Snapshot, interactions: Interactions, configuration: FeatureConfiguration
) -> FeatureSets:
    tokens = item_tokens(
        interactions.items,
        training_rows.read_genres(database),
        training_rows.read_tags(database, configuration.min_tag_freq),
        max_tags=configuration.max_tags_per_movie,
        order=configuration.tag_order,
        bias_token=configuration.bias_token,
    )
    attributes = training_rows.read_user_features(database)
    attributes = attributes.rename(columns={"user_id": "id", "feature": "token"})
    normalize = configuration.normalize_features
    return FeatureSets(
        items=token_features(interactions.items, tokens, normalize=normalize),
        users=token_features(interactions.users, attributes, normalize=normalize),
    )
