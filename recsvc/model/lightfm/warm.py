"""Going on from the embeddings of an earlier run."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsvc.model.data.features import Features
from recsvc.model.data.identifiers import IdMap
from recsvc.model.fast.state import Embeddings
from recsvc.model.fast.warm_start import carry_over
from recsvc.model.lightfm.fitting import Start
from recsvc.model.lightfm.trained import TrainedModel


@dataclass(frozen=True)
class Named:
    """Rows by id: those that the features of one side describe."""

    ids: IdMap  #: of users or movies
    features: Features  #: one row for each id


def warm_start(
    model: TrainedModel,
    users_before: IdMap,
    items_before: IdMap,
    users: Named,
    items: Named,
    *,
    seed: int,
) -> Start:
    """Carry embeddings over by user id, movie id and token; what is new starts at random.

    Args:
        model: the earlier model.
        users_before: the users that it knows.
        items_before: the movies that it knows.
        users: those to train on now.
        items: likewise.
        seed: of the random embeddings.
    """
    random = np.random.RandomState(seed)
    return Start(
        items=_carried(model.items, Named(items_before, model.item_features), items, random),
        users=_carried(model.users, Named(users_before, model.user_features), users, random),
        epochs_before=model.epochs,
    )


def _carried(
    embeddings: Embeddings, before: Named, now: Named, random: np.random.RandomState
) -> Embeddings:
    """Carry over identity tokens by id and shared tokens by name, apart from each other."""
    n_before, n = len(before.ids), len(now.ids)
    fresh = Embeddings.initial(n + len(now.features.tokens), embeddings.components, random)
    identity = carry_over(
        before.ids.ids, embeddings.rows(0, n_before), now.ids.ids, fresh.rows(0, n)
    )
    shared = carry_over(
        _names(before.features),
        embeddings.rows(n_before, embeddings.n_tokens),
        _names(now.features),
        fresh.rows(n, fresh.n_tokens),
    )
    return Embeddings.stack(identity, shared)


def _names(features: Features) -> npt.NDArray[np.object_]:
    return np.array(features.tokens, dtype=object)
