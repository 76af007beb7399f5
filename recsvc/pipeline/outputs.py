"""What a run writes into each output table: its rows, and how many of them there must be.

The tables, and what no row of them may break, are declared in :mod:`recsvc.store.runs.outputs`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsvc.model.data.identifiers import Csr
from recsvc.model.data.interactions import Interactions
from recsvc.model.ranking.rank import rank, similar_items
from recsvc.model.recommenders.recommender import Fitted
from recsvc.pipeline.list_rows import recommendation_rows, similarity_rows
from recsvc.pipeline.run import Run
from recsvc.settings import Recipe
from recsvc.store.runs.outputs import RECOMMENDATIONS, SIMILAR_MOVIES, OutputTable
from recsvc.store.runs.verification import Lists


@dataclass(frozen=True)
class Output:
    """How a run fills one output table."""

    into: OutputTable
    #: ranks what was fitted, a block of subjects at a time; called again for a second try
    rows: Callable[[Run, Interactions, Fitted], Iterator[pd.DataFrame]]
    expected: Callable[[Interactions, Recipe], Lists]

    @property
    def what(self) -> str:
        """What the phases that make it are called after; the lists for users need no name."""
        return "" if self.into is RECOMMENDATIONS else self.into.name


def _recommended(run: Run, interactions: Interactions, final: Fitted) -> Iterator[pd.DataFrame]:
    blocks = rank(
        final.scores,
        _seen(interactions, run.settings),
        run.settings.top_n,
        available=interactions.available,
        threads=run.settings.threads,
    )
    timed = run.timed("rank", blocks)
    return recommendation_rows(timed, interactions.users, interactions.items, final.sources)


def _recommended_lists(interactions: Interactions, recipe: Recipe) -> Lists:
    """N movies for each user, or all that are available and not seen."""
    available = interactions.available.astype(np.int64)
    seen_available = (_seen(interactions, recipe) @ available).astype(np.int64)
    return Lists(interactions.users.ids, np.minimum(recipe.top_n, available.sum() - seen_available))


def _seen(interactions: Interactions, recipe: Recipe) -> Csr:
    return interactions.rated if recipe.exclude == "rated" else interactions.positives


def _similar(run: Run, interactions: Interactions, final: Fitted) -> Iterator[pd.DataFrame]:
    blocks = similar_items(
        final.similarity,
        run.settings.similar_n,
        available=interactions.available,
        threads=run.settings.threads,
    )
    return similarity_rows(run.timed("rank", blocks, SIMILAR_MOVIES.name), interactions.items)


def _similar_lists(interactions: Interactions, recipe: Recipe) -> Lists:
    """N movies for each movie, or all others that are available."""
    available = interactions.available.astype(np.int64)
    return Lists(interactions.items.ids, np.minimum(recipe.similar_n, available.sum() - available))


#: Every table of :data:`recsvc.store.runs.outputs.OUTPUTS`, in its order.
OUTPUTS = (
    Output(RECOMMENDATIONS, _recommended, _recommended_lists),
    Output(SIMILAR_MOVIES, _similar, _similar_lists),
)
