"""From a fitted model to lists that readers see: rank, write, verify, publish, prune."""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import sqlalchemy as sa

from recsvc.errors import RecsvcError
from recsvc.model.data.identifiers import Csr
from recsvc.model.data.interactions import Interactions
from recsvc.model.ranking.rank import rank, similar_items
from recsvc.model.recommenders.recommender import Fitted
from recsvc.pipeline.list_rows import recommendation_rows, similarity_rows
from recsvc.pipeline.load import TrainingData
from recsvc.pipeline.run import Run
from recsvc.settings import Recipe
from recsvc.store.contract.tables import recommendations, similar_movies
from recsvc.store.runs.output import write_output
from recsvc.store.runs.publication import prune, publish
from recsvc.store.runs.verification import Expectation, verify_output

log = logging.getLogger("recsvc")


def write_lists(run: Run, data: TrainingData, final: Fitted) -> None:
    """Rank and write block by block, so that lists never fill the memory."""
    interactions, settings = data.interactions, run.settings
    seen = _seen(interactions, settings)

    def recommended() -> Iterator[pd.DataFrame]:
        blocks = rank(
            final.scores,
            seen,
            settings.top_n,
            available=interactions.available,
            threads=settings.threads,
        )
        timed = run.timed("rank", blocks)
        return recommendation_rows(timed, interactions.users, interactions.items, final.sources)

    def similar() -> Iterator[pd.DataFrame]:
        blocks = similar_items(
            final.similarity_vectors(),
            settings.similar_n,
            available=interactions.available,
            threads=settings.threads,
        )
        return similarity_rows(run.timed("rank:similar_movies", blocks), interactions.items)

    _write_table(run, "write", recommendations, recommended)
    _write_table(run, "write:similar_movies", similar_movies, similar)


def _write_table(
    run: Run, name: str, table: sa.Table, rows: Callable[[], Iterator[pd.DataFrame]]
) -> None:
    """Write a table as one phase; a second try ranks again and replaces what the first left."""
    with run.phase(name) as phase:
        for attempt in run.attempts():
            with attempt:
                phase.rows = write_output(
                    run.engine,
                    run.claim,
                    table,
                    rows(),
                    lock_timeout=run.settings.lock_timeout_seconds,
                )


def verify_lists(run: Run, data: TrainingData) -> None:
    """Check by SQL what was written.

    Raises:
        VerificationError: naming the first promise that does not hold.
    """
    expected = expectation(data, run.settings)
    with run.phase("verify") as phase:
        for attempt in run.attempts():
            with attempt:
                phase.rows = verify_output(run.engine, run.claim.run_id, expected)


def publish_run(run: Run, reason: str) -> None:
    """Switch readers to the run."""
    with run.phase("publish"):
        for attempt in run.attempts():
            with attempt:
                publish(run.engine, run.claim, reason)


def prune_runs(run: Run) -> None:
    """Prune; how the run ended does not depend on it, so a failure is only worth a warning."""
    settings = run.settings
    run.lease.end()
    try:
        with run.phase("prune", leased=False) as phase:
            phase.rows = len(
                prune(run.engine, settings.keep_runs, lock_timeout=settings.lock_timeout_seconds)
            )
    except (RecsvcError, sa.exc.SQLAlchemyError) as error:
        log.warning("pruning is left for the next run: %s", error)


def _seen(data: Interactions, recipe: Recipe) -> Csr:
    return data.rated if recipe.exclude == "rated" else data.positives


def expectation(data: TrainingData, recipe: Recipe) -> Expectation:
    """Work out how many rows each list must have: N, or all there is."""
    interactions = data.interactions
    available = interactions.available
    n_available = int(available.sum())
    seen = _seen(interactions, recipe)
    seen_available = (seen @ available.astype(np.int64)).astype(np.int64)
    return Expectation(
        user_ids=interactions.users.ids,
        user_rows=np.minimum(recipe.top_n, n_available - seen_available),
        movie_ids=interactions.items.ids,
        movie_rows=np.minimum(recipe.similar_n, n_available - available.astype(np.int64)),
        seen_rating=recipe.positive_rating if recipe.exclude == "positive" else None,
        last_ingest=data.last_ingest,
    )
