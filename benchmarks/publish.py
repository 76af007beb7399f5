"""The lists of a night written, verified and published, against a raw load of the same rows.

``python benchmarks/publish.py`` takes a minute or two on 1M ratings; ``--large`` has 25M, and
with them 16 million rows of recommendations. They are ranked beforehand, by random factors.
"""

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa
from databases import databases
from measure import Report, alternate, compared, seconds
from raw import raw_lists

from recsvc.datasets.synthetic.dataset import write_synthetic
from recsvc.ingest.folder import ingest_folder
from recsvc.model.ranking.rank import rank
from recsvc.model.scores.factors import Factors
from recsvc.pipeline.list_rows import recommendation_rows
from recsvc.pipeline.load import TrainingData, load_training_data
from recsvc.pipeline.publish import expectation
from recsvc.settings import Recipe
from recsvc.store.contract.tables import recommendations
from recsvc.store.runs.ledger import claim_run
from recsvc.store.runs.output import delete_output, write_output
from recsvc.store.runs.publication import publish
from recsvc.store.runs.verification import verify_output

NAMES = ("sqlite", "postgresql")
COMPONENTS = 8
LOCK_TIMEOUT_S = 5.0


def main() -> None:
    """Measure, print and write the results."""
    options = _options()
    report = Report(
        "publish_large" if options.large else "publish",
        "Write, verify and publish",
        {"ratings": options.ratings, "repetitions": options.repetitions},
    )
    report.keep_others(options.databases)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = options.data or scratch / "data"
        if not options.data:
            write_synthetic(data, ratings=options.ratings, seed=1)
        for name in options.databases:
            engine = stack.enter_context(databases(name, scratch))()
            ingest_folder(engine, data)
            _compare(report, name, engine, options.repetitions)
            report.write()  # what is measured so far


def _compare(report: Report, name: str, engine: sa.Engine, repetitions: int) -> None:
    recipe = Recipe()
    data = load_training_data(engine, recipe)
    lists = _lists(data, recipe)
    n_rows = sum(map(len, lists))
    once, newest = _publication(engine, data, recipe, lists)
    speeds = alternate(
        {
            "ours": lambda: n_rows / once(),
            "raw load": lambda: n_rows / raw_lists(engine, newest()),
        },
        repetitions,
        warm_up=False,  # nothing is compiled or kept from one to the next
    )
    work = f"{name}: write, verify and publish {n_rows:,} rows"
    note = "the same rows, keys and constraints included"
    report.add(compared(work, "rows", speeds, "raw load", target=1 / 1.5, note=note))


def _lists(data: TrainingData, recipe: Recipe) -> list[pd.DataFrame]:
    """Rank what nobody has rated."""
    interactions = data.interactions
    rng = np.random.default_rng(1)
    factors = Factors(
        *(
            rng.standard_normal((len(side), COMPONENTS), dtype=np.float32)
            for side in (interactions.users, interactions.items)
        )
    )
    blocks = rank(factors, interactions.rated, recipe.top_n, available=interactions.available)
    sources = np.zeros(len(interactions.users), np.int8)
    return list(recommendation_rows(blocks, interactions.users, interactions.items, sources))


def _publication(
    engine: sa.Engine, data: TrainingData, recipe: Recipe, lists: list[pd.DataFrame]
) -> tuple[Callable[[], float], Callable[[], int]]:
    """Return what publishes the lists once more, in so many seconds, and the run that did last."""
    expected = expectation(data, recipe)
    expected = replace(expected, movie_rows=np.zeros_like(expected.movie_rows))  # none similar
    run_ids: list[int] = []

    def work() -> None:
        claim = claim_run(
            engine, "publish", host="benchmark", settings={}, versions={}, lease_seconds=3600
        )
        run_ids.append(claim.run_id)
        write_output(engine, claim, recommendations, lists, lock_timeout=LOCK_TIMEOUT_S)
        verify_output(engine, claim.run_id, expected)
        publish(engine, claim, "benchmark")

    def once() -> float:
        took = seconds(work)
        if len(run_ids) > 1:
            delete_output(engine, run_ids[-2], lock_timeout=LOCK_TIMEOUT_S)
        return took

    return once, lambda: run_ids[-1]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="25M ratings")
    parser.add_argument("--ratings", type=int)
    parser.add_argument("--data", type=Path, help="a folder made by recsvc synth")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--databases", nargs="+", choices=NAMES, default=list(NAMES))
    options = parser.parse_args()
    options.ratings = options.ratings or (25_000_000 if options.large else 1_000_000)
    return options


if __name__ == "__main__":
    main()
