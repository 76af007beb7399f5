"""What describes movies and users to the models: the tokens that each source table gives.

The tables themselves are declared in :mod:`recsvc.store.sources.source_tables`; one that gives no
tokens is not in here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from recsvc.model.data.configuration import FeatureConfiguration
from recsvc.model.data.features import genre_tokens, tag_tokens, token_pairs
from recsvc.store.database.snapshot import Snapshot
from recsvc.store.sources import training_rows

#: Reads tokens as columns ``id`` (of a movie or a user) and ``token``, each pair once.
ReadTokens = Callable[[Snapshot, FeatureConfiguration], pd.DataFrame]


@dataclass(frozen=True)
class TokenSource:
    """How the rows of a source table become tokens."""

    name: str  #: what the tokens are, in one word
    prefix: str  #: what they begin with
    read: ReadTokens


def _genres(database: Snapshot, _: FeatureConfiguration) -> pd.DataFrame:
    return genre_tokens(training_rows.read_genres(database))


def _tags(database: Snapshot, configuration: FeatureConfiguration) -> pd.DataFrame:
    return tag_tokens(
        training_rows.read_tags(database, configuration.min_tag_freq),
        max_tags=configuration.max_tags_per_movie,
        order=configuration.tag_order,
    )


def _attributes(database: Snapshot, _: FeatureConfiguration) -> pd.DataFrame:
    features = training_rows.read_user_features(database)
    return token_pairs(features["user_id"], "", features["feature"])


OF_MOVIES = (TokenSource("genres", "genre:", _genres), TokenSource("tags", "tag:", _tags))
OF_USERS = (TokenSource("attributes", "", _attributes),)


def read_tokens(
    sources: tuple[TokenSource, ...], database: Snapshot, configuration: FeatureConfiguration
) -> pd.DataFrame:
    """Return what all sources say, columns ``id`` and ``token``."""
    return pd.concat(
        [source.read(database, configuration) for source in sources], ignore_index=True
    )
