"""From rows in the database to the arrays that models learn from."""

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa

from recsvc.model.dataset import Interactions, RatingColumns, build_interactions
from recsvc.model.features import Features, item_tokens, token_features
from recsvc.model.split import Split, split_leave_last, split_random, split_temporal
from recsvc.settings import Recipe
from recsvc.store import source
from recsvc.store.snapshot import snapshot


@dataclass(frozen=True)
class TrainingData:
    """Everything a run learns from, as it was at one moment."""

    interactions: Interactions
    items: Features  #: identity, genres and tags
    users: Features  #: identity and attributes
    last_ingest: int  #: newest ingest at that moment; 0 before the first

    def fingerprint(self) -> str:
        """Return a digest that changes whenever the data do."""
        parts = (
            self.interactions.fingerprint(),
            self.items.fingerprint(),
            self.users.fingerprint(),
        )
        return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()


def load_training_data(engine: sa.Engine, recipe: Recipe) -> TrainingData:
    """Read all that a retrain needs, in one snapshot."""
    with snapshot(engine) as database:
        last_ingest = source.read_last_ingest(database)
        movie_ids, available = source.read_catalogue(database)
        ratings = source.read_ratings(database, recipe.positive_rating)
        interactions = build_interactions(
            source.read_user_ids(database),
            movie_ids,
            available,
            (RatingColumns(*batch) for batch in ratings),
        )
        genres = source.read_genres(database)
        tags = source.read_tags(database, recipe.min_tag_freq)
        attributes = source.read_user_features(database)
    tokens = item_tokens(
        interactions.items,
        genres,
        tags,
        max_tags=recipe.max_tags_per_movie,
        order=recipe.tag_order,
        bias_token=recipe.bias_token,
    )
    attributes = attributes.rename(columns={"user_id": "id", "feature": "token"})
    normalize = recipe.normalize_features
    return TrainingData(
        interactions,
        items=token_features(interactions.items, tokens, normalize=normalize),
        users=token_features(interactions.users, attributes, normalize=normalize),
        last_ingest=last_ingest,
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
