"""The best of the line-up is published, judged by lists that people would have got."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from recsvc.model.recommenders.archive import from_bytes
from recsvc.model.recommenders.registry import explain
from recsvc.store.database.transactions import reading
from recsvc.store.reading.queries import archived_model
from recsvc.vocabulary import MODELS
from tests import taste
from tests.pipeline.retraining import LAST, LAST_RUN, LISTS, ingest, run
from tests.prepared import DATABASES, Prepared, copied

DAY = 86_400


def sequels(seed: int = 3) -> list[taste.Row]:
    """Sixty users who each watch a series in its order, day by day; there are five series.

    What comes next is what everybody sees next; which one it is depends on the last one alone.
    """
    rng = Random(seed)  # noqa: S311 - no secret
    rows: list[taste.Row] = []
    for user in range(1, 61):
        first = rng.randrange(6) + 12 * (user % 5)
        for part in range(7):
            movie = 1 + (first + part) % 60
            rows.append((user, movie, 5.0, taste.START + DAY * (10 * user + part)))
            if part == 3:
                rows.append((user, 1 + (first + 30) % 60, 1.0, taste.START + DAY * 10 * user))
    return rows


@pytest.fixture(scope="module", params=DATABASES)
def blended(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("blended")
    with copied(request.param, request, folder) as database:
        ingest(database, taste.write_files(folder / "files", ratings=sequels()))
        run(database, publish="blend", protocol="last_day")
        yield database


class TestTheBlend:
    def test_its_weights_are_columns_of_models(self, blended: Prepared) -> None:
        rows = blended.rows(f"SELECT * FROM models WHERE run_id = {LAST}")
        by_model = {row.model: row for row in rows}
        assert set(by_model) == set(MODELS)
        assert by_model["blend"].neighbours in {"window", "forward", "cosine"}
        assert by_model["blend"].neighbour_weight > 0
        assert by_model["blend"].neighbour_decay > 0
        assert by_model["blend"].arrays is not None
        for name in set(MODELS) - {"blend"}:
            assert by_model[name].neighbour_weight is None
            assert by_model[name].arrays is None

    def test_its_lists_say_what_they_rest_on(self, blended: Prepared) -> None:
        sources = {(row.user_id, row.source) for row in blended.rows(LISTS)}
        assert {(user, "blend") for user in range(1, 61)} <= sources
        assert (taste.LISTED, "blend") not in sources

    def test_what_comes_next_in_the_series_is_recommended(self, blended: Prepared) -> None:
        last = {row[0]: row[1] for row in sequels()}
        first = {row.user_id: row.movie_id for row in blended.rows(LISTS) if row.rank == 1}
        right = [first[user] == 1 + last[user] % 60 for user in range(1, 61)]
        assert sum(right) > 45

    def test_a_score_is_explained_by_what_was_liked(self, blended: Prepared) -> None:
        with blended.engine() as engine, reading(engine) as connection:
            archive = from_bytes(archived_model(connection))
        shown: set[str] = set()
        for row in blended.rows(LISTS)[:200:7]:
            user = int(archive.users.to_indices([row.user_id])[0])  # type: ignore[arg-type]
            item = int(archive.items.to_indices([row.movie_id])[0])  # type: ignore[arg-type]
            explanation = explain(archive, user, item)
            assert explanation.score == pytest.approx(row.score, abs=1e-4)
            assert explanation.source == row.source
            terms = {term.token for term in explanation.contributions}
            mine = {f"liked:{movie}" for who, movie, *_ in sequels() if who == row.user_id}
            shown |= {term for term in terms if term.startswith("liked:")}
            assert {term for term in terms if term.startswith("liked:")} <= mine
        assert shown

    def test_figures_are_kept_of_the_model_that_is_published(self, blended: Prepared) -> None:
        models = blended.rows("SELECT DISTINCT model FROM user_metrics")
        assert [row.model for row in models] == ["blend"]
        assert blended.rows(LAST_RUN)[0].model == "blend"


def compared_with(database: Prepared) -> set[str]:
    """Whom the gate compared the last run's model with."""
    gate = database.rows(LAST_RUN)[0].gate
    document = json.loads(gate) if isinstance(gate, str) else gate
    return set(document["comparisons"])


def fashions() -> list[taste.Row]:
    """Everybody likes what is new on the day, whatever they liked before."""
    rng = Random(5)  # noqa: S311 - no secret
    rows: list[taste.Row] = []
    for user in range(1, 81):
        for visit in range(4):
            day = (user + 20 * visit) % 80
            for movie in {1 + day * 59 // 80, 1 + (day * 59 // 80 + rng.randrange(2)) % 60}:
                if (user, movie) not in {(row[0], row[1]) for row in rows}:
                    rows.append((user, movie, 5.0, taste.START + DAY * day + user))
    return rows


class TestTheChoice:
    def test_where_models_of_taste_fail_something_else_is_published(
        self, empty: Prepared, tmp_path: Path
    ) -> None:
        ingest(empty, taste.write_files(tmp_path, ratings=fashions()))
        report = run(empty, publish="best", protocol="last_day")
        assert report.status == "published"
        chosen = empty.rows(LAST_RUN)[0].model
        assert chosen in {"recent_popular", "neighbours", "blend"}
        assert report.reason.startswith(f"{chosen} ")
        figures = {
            row.model: row.ci_low
            for row in empty.rows(
                f"SELECT model, ci_low FROM metrics WHERE run_id = {LAST} AND segment = 'all'"
                " AND metric = 'ndcg' AND k = 10"
            )
        }
        assert figures[chosen] == max(figures.values())
        assert compared_with(empty) == set(MODELS) - {chosen}

    def test_a_model_that_is_named_must_beat_popularity(
        self, empty: Prepared, tmp_path: Path
    ) -> None:
        ingest(empty, taste.write_files(tmp_path, ratings=fashions()))
        with pytest.raises(Exception, match="lightfm_cf does not beat popular"):
            run(empty, publish="lightfm_cf", protocol="last_day")


class TestHowItIsJudged:
    def test_protocol_and_mask_are_on_record(self, blended: Prepared) -> None:
        last = blended.rows(LAST_RUN)[0]
        assert (last.protocol, last.protocol_reason, last.mask) == ("last_day", None, "rated")

    @pytest.mark.parametrize(
        "settings", [{"mask": "training"}, {"exclude": "positive"}], ids=["asked", "as published"]
    )
    def test_lists_may_be_judged_without_training_positives_alone(
        self, own: Prepared, settings: dict[str, str]
    ) -> None:
        run(own, force=True, **settings)
        assert own.rows(LAST_RUN)[0].mask == "training"

    def test_where_times_say_nothing_the_run_says_so(self, own: Prepared) -> None:
        before = own.rows(LAST_RUN)[0]
        own.change(f"UPDATE ratings SET rated_at = {taste.START}")
        run(own)
        last = own.rows(LAST_RUN)[0]
        assert (before.protocol, last.protocol) == ("leave_last", "random")
        assert "The holdout is random and not leave_last" in last.protocol_reason
        metrics = own.rows(f"SELECT DISTINCT protocol FROM metrics WHERE run_id = {LAST}")
        assert [row.protocol for row in metrics] == ["random"]
        assert f"run {before.run_id}" not in compared_with(own), (
            "figures of another protocol are not compared with"
        )
        history = own.rows(f"SELECT * FROM run_history WHERE run_id = {LAST}")[0]
        assert history.protocol_reason == last.protocol_reason

    def test_what_was_rated_low_counts_as_seen(self, own: Prepared) -> None:
        """Of two masks the one that leaves out more cannot rank a held-out positive lower."""
        ndcg = []
        for mask in ("training", "rated"):
            run(own, force=True, mask=mask)
            ndcg.append(
                own.value(
                    f"SELECT value FROM metrics WHERE run_id = {LAST} AND model = 'popular'"
                    " AND segment = 'all' AND metric = 'ndcg' AND k = 10"
                )
            )
        assert ndcg[1] > ndcg[0]
