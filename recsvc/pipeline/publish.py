"""From a fitted model to lists that readers see: rank, write, verify, publish, prune."""

import logging

import sqlalchemy as sa

from recsvc.errors import RecsvcError
from recsvc.model.recommenders.recommender import Fitted
from recsvc.pipeline.load import TrainingData
from recsvc.pipeline.outputs import OUTPUTS
from recsvc.pipeline.run import Run
from recsvc.settings import Recipe
from recsvc.store.runs.output import write_output
from recsvc.store.runs.publication import prune, publish
from recsvc.store.runs.verification import Expectation, verify_output

log = logging.getLogger("recsvc")


def write_lists(run: Run, data: TrainingData, final: Fitted) -> None:
    """Rank and write block by block, so that lists never fill the memory.

    Each table is a phase; a second try ranks again and replaces what the first left.
    """
    for output in OUTPUTS:
        with run.phase("write", output.what) as phase:
            for attempt in run.attempts():
                with attempt:
                    phase.rows = write_output(
                        run.engine,
                        run.claim,
                        output.into.table,
                        output.rows(run, data.interactions, final),
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


def expectation(data: TrainingData, recipe: Recipe) -> Expectation:
    """Work out how many rows each list must have."""
    return Expectation(
        lists={each.into.name: each.expected(data.interactions, recipe) for each in OUTPUTS},
        seen_rating=recipe.positive_rating if recipe.exclude == "positive" else None,
        last_ingest=data.last_ingest,
    )
