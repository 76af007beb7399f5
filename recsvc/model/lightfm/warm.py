"""Going on from the embeddings of an earlier run."""

import numpy as np
import numpy.typing as npt

from recsvc.model.data.features import Features
from recsvc.model.data.interactions import IdMap
from recsvc.model.fast.state import Embeddings
from recsvc.model.fast.warm_start import carry_over
from recsvc.model.lightfm.archive import ArchivedModel
from recsvc.model.lightfm.fitting import Start


def warm_start(
    archived: ArchivedModel,
    users: IdMap,
    items: IdMap,
    user_features: Features,
    item_features: Features,
    *,
    seed: int,
) -> Start:
    """Carry embeddings over by user id, movie id and token; what is new starts at random.

    Args:
        archived: the earlier model.
        users: tonight's users.
        items: tonight's movies.
        user_features: of tonight's users.
        item_features: of tonight's movies.
        seed: of the random embeddings.
    """
    random = np.random.RandomState(seed)
    model = archived.model
    return Start(
        items=_carried(
            model.items, archived.items, model.item_features, items, item_features, random
        ),
        users=_carried(
            model.users, archived.users, model.user_features, users, user_features, random
        ),
        epochs_before=model.epochs,
    )


def _carried(
    before: Embeddings,
    ids_before: IdMap,
    features_before: Features,
    ids: IdMap,
    features: Features,
    random: np.random.RandomState,
) -> Embeddings:
    """Carry over identity tokens by id and shared tokens by name, apart from each other."""
    n_before, n = len(ids_before), len(ids)
    fresh = Embeddings.initial(n + len(features.tokens), before.components, random)
    identity = carry_over(ids_before.ids, before.rows(0, n_before), ids.ids, fresh.rows(0, n))
    shared = carry_over(
        _names(features_before),
        before.rows(n_before, before.n_tokens),
        _names(features),
        fresh.rows(n, fresh.n_tokens),
    )
    return Embeddings.stack(identity, shared)


def _names(features: Features) -> npt.NDArray[np.object_]:
    return np.array(features.tokens, dtype=object)
