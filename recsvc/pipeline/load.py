"""From rows in the database to the arrays that recommenders learn from."""

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa

from recsvc.model.data.configuration import FeatureConfiguration
from recsvc.model.data.features import Features, token_features, with_bias_token
from recsvc.model.data.interactions import Interactions, RatingColumns, build_interactions
from recsvc.model.data.splits import Positives
from recsvc.model.recommenders.recommender import TrainingSet
from recsvc.pipeline.tokens import OF_MOVIES, OF_USERS, read_tokens
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
    of_movies = read_tokens(OF_MOVIES, database, configuration)
    of_users = read_tokens(OF_USERS, database, configuration)
    if configuration.bias_token:
        of_movies = with_bias_token(interactions.items, of_movies)
    normalize = configuration.normalize_features
    return FeatureSets(
        items=token_features(interactions.items, of_movies, normalize=normalize),
        users=token_features(interactions.users, of_users, normalize=normalize),
    )
