"""Yesterday's embeddings as today's starting point."""

from typing import Any

import numpy as np

from recsvc.model.fast.state import Embeddings


def carry_over(
    previous_ids: Any, previous: Embeddings, current_ids: Any, initial: Embeddings
) -> Embeddings:
    """Start from previous embeddings where the id was known, from ``initial`` where it is new.

    AdaGrad's sums come along, so that well-trained rows take small steps and new rows large ones.
    Ids are user ids, movie ids or token names; a side of several kinds is carried over kind by
    kind (``Embeddings.rows``) and put together again (``Embeddings.stack``).

    Args:
        previous_ids: shape ``(n_previous,)``, ascending, unique: the ids of ``previous``.
        previous: a trained side.
        current_ids: shape ``(n_current,)``, in any order.
        initial: fresh embeddings for ``current_ids``; not changed.

    Raises:
        ValueError: if ids and embeddings differ in number or the embeddings in length.

    >>> rng = np.random.RandomState(0)
    >>> old, new = Embeddings.initial(2, 4, rng), Embeddings.initial(3, 4, rng)
    >>> warm = carry_over([10, 30], old, [10, 20, 30], new)
    >>> bool((warm.embeddings[2] == old.embeddings[1]).all())
    True
    >>> bool((warm.embeddings[1] == new.embeddings[1]).all())
    True
    """
    previous_ids, current_ids = np.asarray(previous_ids), np.asarray(current_ids)
    if len(previous_ids) != previous.n_tokens or len(current_ids) != initial.n_tokens:
        raise ValueError("there must be one id for each embedding")
    if previous.components != initial.components:
        message = f"{previous.components} components carried over to {initial.components}"
        raise ValueError(message)
    arrays = [array.copy() for array in initial.arrays()]
    if len(previous_ids):
        places = np.searchsorted(previous_ids, current_ids).clip(max=len(previous_ids) - 1)
        known = previous_ids[places] == current_ids
        for array, source in zip(arrays, previous.arrays(), strict=True):
            array[known] = source[places[known]]
    return Embeddings(*arrays)
