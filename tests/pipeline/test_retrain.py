"""The main job: what a run publishes, refuses, skips and leaves behind."""

from itertools import groupby
from pathlib import Path
from random import Random

import numpy as np
import pytest

from recsvc.errors import PublicationRefusedError, UsageError
from recsvc.pipeline.outputs import OUTPUTS
from recsvc.store.runs.publication import roll_back
from recsvc.vocabulary import METRICS as ALL_METRICS
from recsvc.vocabulary import MODELS, phase_of
from tests import taste
from tests.outputs import ROWS_OF_RUN
from tests.pipeline.retraining import (
    EVERYONE,
    LAST,
    LAST_RUN,
    LISTS,
    METRICS,
    ROWS_OF_LAST,
    SIMILAR,
    WITHDRAWN,
    at,
    ingest,
    lists_of,
    run,
    seen_by_readers,
)
from tests.prepared import Prepared

CATALOGUE = 61
PHASES = {
    *("claim", "load", "split", "gate", "refit", "verify", "publish", "prune"),
    *(phase_of(phase, output.what) for phase in ("rank", "write") for output in OUTPUTS),
    *(f"{phase}:{model}" for phase in ("fit", "evaluate") for model in MODELS),
}


class TestRecommendations:
    def test_everyone_has_a_list_of_n(self, published: Prepared) -> None:
        lists = lists_of(published)
        assert list(lists) == EVERYONE
        assert {len(rows) for rows in lists.values()} == {20}

    def test_ranks_count_from_one(self, published: Prepared) -> None:
        for rows in lists_of(published).values():
            assert [row.rank for row in rows] == list(range(1, 21))

    def test_scores_descend(self, published: Prepared) -> None:
        for rows in lists_of(published).values():
            scores = [row.score for row in rows]
            assert scores == sorted(scores, reverse=True)

    def test_nothing_that_somebody_rated_is_recommended_to_them(self, published: Prepared) -> None:
        rated = {(user, movie) for user, movie, _, _ in taste.rating_rows()}
        shown = {(row.user_id, row.movie_id) for row in published.rows(LISTS)}
        assert len(shown) == 20 * len(EVERYONE), "and no movie twice"
        assert not rated & shown

    def test_nothing_withdrawn_is_recommended(self, published: Prepared) -> None:
        assert WITHDRAWN not in {row.movie_id for row in published.rows(LISTS)}

    def test_titles_and_genres_are_the_movies_own(self, published: Prepared) -> None:
        known = {movie: (title, genres) for movie, title, genres in taste.movie_rows()}
        known[taste.BARE] = ("Nothing Known", "")
        for row in published.rows(LISTS):
            assert (row.title, row.genres) == known[row.movie_id]

    def test_a_source_says_why_a_list_is_what_it_is(self, published: Prepared) -> None:
        sources = {user: {row.source for row in rows} for user, rows in lists_of(published).items()}
        assert {user for user in sources if sources[user] == {"hybrid"}} == set(taste.LOVERS)
        assert sources[taste.LISTED] == {"cold_user"}
        for user in (taste.BLANK, taste.GRUMBLER, taste.TAGGER):
            assert sources[user] == {"recent_popular"}

    def test_recent_popular_means_the_newest_positives(self, published: Prepared) -> None:
        """The half-life is such that weights add up to a tenth of their number."""
        liked = [
            (int(str(movie)), int(str(moment)))
            for _, movie, stars, moment in taste.rating_rows()
            if float(str(stars)) >= 4
        ]
        newest = max(moment for _, moment in liked)
        ages = np.array([newest - moment for _, moment in liked])
        half_lives = np.geomspace(1, 10_000, 200_000)
        sums = np.array([np.sum(2.0 ** (-ages / each)) for each in half_lives[::200]])
        half_life = half_lives[::200][np.argmin(np.abs(sums - len(liked) / 10))]
        counts = dict.fromkeys([*taste.MOVIES, taste.BARE], 0.0)
        for movie, moment in liked:
            counts[movie] += 2.0 ** ((moment - newest) / half_life)
        del counts[WITHDRAWN]
        best = sorted(counts, key=lambda movie: (-counts[movie], movie))
        rows = lists_of(published)[taste.BLANK]
        assert [row.movie_id for row in rows][:10] == best[:10]

    def test_tastes_are_found_out(self, published: Prepared) -> None:
        """Four or five loved movies are left for everyone; they come first."""
        for user in taste.LOVERS:
            first = [row.movie_id for row in lists_of(published)[user][:3]]
            assert sum(taste.loves(user, movie) for movie in first) >= 2, user


class TestSimilarMovies:
    def test_each_movie_has_fifty_and_never_itself(self, published: Prepared) -> None:
        rows = published.rows(SIMILAR)
        by_movie = {key: list(group) for key, group in groupby(rows, key=lambda row: row.movie_id)}
        assert list(by_movie) == [*taste.MOVIES, taste.BARE]
        for movie, similar in by_movie.items():
            assert [row.rank for row in similar] == list(range(1, 51))
            others = {row.similar_movie_id for row in similar}
            assert len(others) == 50
            assert movie not in others

    def test_nothing_withdrawn_is_named_though_it_has_a_list(self, published: Prepared) -> None:
        rows = published.rows(SIMILAR)
        assert WITHDRAWN in {row.movie_id for row in rows}
        assert WITHDRAWN not in {row.similar_movie_id for row in rows}

    def test_similarities_are_cosines_in_descending_order(self, published: Prepared) -> None:
        for _, group in groupby(published.rows(SIMILAR), key=lambda row: row.movie_id):
            values = [row.similarity for row in group]
            assert values == sorted(values, reverse=True)
            assert -1 <= values[-1] <= values[0] <= 1

    def test_both_titles_are_given(self, published: Prepared) -> None:
        titles = {movie: title for movie, title, _ in taste.movie_rows()}
        for row in published.rows(SIMILAR):
            assert (row.title, row.similar_title) == (
                titles[row.movie_id],
                titles[row.similar_movie_id],
            )

    def test_movies_of_one_genre_resemble_each_other(self, published: Prepared) -> None:
        first = [row for row in published.rows(SIMILAR) if row.rank == 1 and row.movie_id <= 60]
        alike = sum(row.movie_id % 4 == row.similar_movie_id % 4 for row in first)
        assert alike / len(first) > 0.9

    def test_where_there_are_fewer_all_are_listed(self, own: Prepared) -> None:
        run(own, force=True, similar_n=500)
        counts = own.rows("SELECT movie_id, count(*) FROM current_similar_movies GROUP BY movie_id")
        expected = dict.fromkeys([*taste.MOVIES, taste.BARE], CATALOGUE - 2)
        assert {row[0]: row[1] for row in counts} == expected | {WITHDRAWN: CATALOGUE - 1}


class TestMetrics:
    def test_every_model_has_every_metric_at_every_k(self, published: Prepared) -> None:
        at_k = set(ALL_METRICS) - {"auc"}
        expected = {(name, k) for name in at_k for k in (5, 10, 20)} | {("auc", None)}
        rows = [row for row in published.rows(METRICS, run=1) if row.segment == "all"]
        for model in MODELS:
            assert {(row.metric, row.k) for row in rows if row.model == model} == expected
        assert len(rows) == len(MODELS) * len(expected)

    def test_segments_of_users_and_of_movies_are_there(self, published: Prepared) -> None:
        kinds = {row.segment.split(":")[0] for row in published.rows(METRICS, run=1)}
        assert kinds == {"all", "activity", "popularity", "genre"}
        of_genres = {row.segment for row in published.rows(METRICS, run=1)}
        assert {f"genre:{genre}" for genre in taste.GENRES} <= of_genres

    def test_values_lie_where_they_must(self, published: Prepared) -> None:
        for row in published.rows(METRICS, run=1):
            assert row.protocol == "leave_last"
            assert row.users >= 1
            assert 0 <= row.value <= (1 if row.metric != "novelty" else 10), row
            if row.ci_low is not None:
                assert row.ci_low <= row.value <= row.ci_high

    def test_the_hybrid_is_ahead(self, published: Prepared) -> None:
        ndcg = {
            row.model: row.value
            for row in published.rows(METRICS, run=1)
            if (row.segment, row.metric, row.k) == ("all", "ndcg", 10)
        }
        assert ndcg["lightfm_hybrid"] > ndcg["lightfm_cf"] > ndcg["popular"]


class TestLedger:
    def test_the_run_tells_what_it_read_and_how_it_ended(self, published: Prepared) -> None:
        (row,) = published.rows(LAST_RUN)
        assert (row.job, row.status, row.error) == ("retrain", "published", None)
        assert (row.ratings, row.users, row.movies) == (643, len(EVERYONE), CATALOGUE)
        assert len(row.fingerprint) == 32

    def test_all_phases_are_recorded(self, published: Prepared) -> None:
        phases = published.rows("SELECT phase, seconds, rows, peak_memory FROM run_phases")
        assert {row.phase for row in phases} == PHASES
        assert all(row.seconds >= 0 and row.peak_memory > 0 for row in phases)
        rows = {row.phase: row.rows for row in phases}
        assert rows["load"] == 643
        assert rows["write"] == 20 * len(EVERYONE)
        assert rows["write:similar_movies"] == 50 * CATALOGUE
        assert rows["verify"] == sum(rows[phase_of("write", output.what)] for output in OUTPUTS)

    def test_the_models_are_recorded_and_the_hybrid_can_be_taken_up(
        self, published: Prepared
    ) -> None:
        rows = {row.model: row for row in published.rows("SELECT * FROM models")}
        assert set(rows) == set(MODELS)
        assert rows["popular"].epochs == 0
        assert (rows["lightfm_hybrid"].epochs, rows["lightfm_hybrid"].seed) == (10, 42)
        assert [name for name, row in rows.items() if row.arrays] == ["lightfm_hybrid"]

    def test_one_publication_says_why(self, published: Prepared) -> None:
        (row,) = published.rows("SELECT run_id, action, reason FROM publications")
        assert (row.run_id, row.action) == (1, "publish")
        assert row.reason.startswith("lightfm_hybrid beats popular in NDCG@10")

    def test_freshness_is_one_row(self, published: Prepared) -> None:
        (row,) = published.rows("SELECT run_id, age_seconds FROM freshness")
        assert row.run_id == 1
        assert row.age_seconds >= 0


class TestSameAgain:
    def test_the_same_data_seed_and_one_thread_give_the_same_rows(self, own: Prepared) -> None:
        before, metrics = seen_by_readers(own), repr(own.rows(METRICS, run=1))
        assert run(own, force=True).run_id == 2
        assert seen_by_readers(own) == before
        assert repr(own.rows(METRICS, run=2)) == metrics

    def test_permuted_files_give_the_same_rows(
        self, published: Prepared, empty: Prepared, tmp_path: Path
    ) -> None:
        ingest(empty, taste.write_files(tmp_path / "permuted", shuffle=5))
        empty.change(f"UPDATE movies SET available = (1 = 0) WHERE movie_id = {WITHDRAWN}")
        run(empty)
        # Across the two databases as well: each of one meets each of the other.
        assert seen_by_readers(empty) == seen_by_readers(published)
        assert repr(empty.rows(METRICS, run=1)) == repr(published.rows(METRICS, run=1))

    def test_another_seed_gives_other_rows(self, own: Prepared) -> None:
        before = seen_by_readers(own)
        run(own, force=True, seed=43)
        assert seen_by_readers(own) != before


class TestSkipped:
    def test_a_run_with_nothing_new_is_skipped(self, own: Prepared) -> None:
        before = seen_by_readers(own)
        report = run(own)
        assert report.status == "skipped"
        assert "run 1" in report.reason
        (row,) = own.rows(LAST_RUN)
        assert (row.status, row.run_id) == ("skipped", 2)
        assert seen_by_readers(own) == before
        assert own.value("SELECT max(run_id) FROM metrics") == 1, "nothing was trained"

    def test_force_publishes_all_the_same(self, own: Prepared) -> None:
        assert run(own, force=True).status == "published"
        assert own.value("SELECT run_id FROM freshness") == 2

    def test_a_new_rating_is_something_new(self, own: Prepared, tmp_path: Path) -> None:
        more = [*taste.rating_rows(), (taste.TAGGER, 1, 5.0, taste.START)]
        ingest(own, taste.write_files(tmp_path / "more", ratings=more))
        assert run(own).status == "published"

    def test_another_setting_is_something_new(self, own: Prepared) -> None:
        assert run(own, top_n=5).status == "published"
        assert {len(rows) for rows in lists_of(own).values()} == {5}

    def test_more_threads_are_nothing_new(self, own: Prepared) -> None:
        assert run(own, threads=2).status == "skipped"

    def test_what_was_rolled_back_from_is_not_trained_again(self, own: Prepared) -> None:
        run(own, force=True, top_n=5)
        with own.engine() as engine:
            roll_back(engine)
        assert run(own, top_n=5).status == "skipped"
        assert own.value("SELECT run_id FROM freshness") == 1


def without_taste(folder: Path) -> Path:
    """The same ratings, their stars dealt out anew: what anybody likes tells nothing."""
    rows = taste.rating_rows()
    stars = [row[2] for row in rows]
    Random(3).shuffle(stars)  # noqa: S311 - no secret
    dealt = [(row[0], row[1], star, row[3]) for row, star in zip(rows, stars, strict=True)]
    return taste.write_files(folder, ratings=dealt, tags=[])


class TestRefused:
    @pytest.fixture
    def refused(self, own: Prepared, tmp_path: Path) -> tuple[Prepared, tuple[str, str]]:
        ingest(own, without_taste(tmp_path / "noise"))
        before = seen_by_readers(own)
        with pytest.raises(PublicationRefusedError, match="recsvc metrics"):
            run(own)
        return own, before

    def test_readers_keep_what_they_had_and_operators_see_why(
        self, refused: tuple[Prepared, tuple[str, str]]
    ) -> None:
        database, before = refused
        assert seen_by_readers(database) == before
        (row,) = database.rows(LAST_RUN)
        assert (row.status, row.run_id) == ("refused", 2)
        assert "NDCG@10" in row.error
        assert {metric.model for metric in database.rows(METRICS, run=2)} == set(MODELS)
        assert database.value(ROWS_OF_RUN, run=2) == 0

    def test_force_overrules_the_gate_and_says_so(
        self, refused: tuple[Prepared, tuple[str, str]]
    ) -> None:
        database, _ = refused
        report = run(database, force=True)
        assert report.status == "published"
        reason = "SELECT reason FROM publications ORDER BY publication_id DESC LIMIT 1"
        assert database.value(reason).startswith("Forced: ")
        assert database.value("SELECT run_id FROM freshness") == 3


class TestFailed:
    @pytest.mark.parametrize(
        "moment", ["load:begin", "evaluate:lightfm_cf:begin", "refit:begin", "verify:begin"]
    )
    def test_a_failure_is_recorded_and_changes_nothing(self, shared: Prepared, moment: str) -> None:
        before = seen_by_readers(shared)

        def fall() -> None:
            raise RuntimeError("fell over a cable")

        with at(moment, fall), pytest.raises(RuntimeError, match="cable"):
            run(shared, force=True)
        (row,) = shared.rows(LAST_RUN)
        assert (row.status, row.error) == ("failed", "RuntimeError: fell over a cable")
        assert seen_by_readers(shared) == before
        assert shared.value(ROWS_OF_LAST) == 0
        assert run(shared, force=True).status == "published"
        assert seen_by_readers(shared) == before, "the same data give the same lists"

    def test_an_interrupt_ends_the_run_too(self, shared: Prepared) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        with at("split:begin", interrupt), pytest.raises(KeyboardInterrupt):
            run(shared, force=True)
        assert shared.value(f"SELECT status FROM runs WHERE run_id = {LAST}") == "failed"

    def test_that_no_time_can_be_recorded_is_no_reason_to_fail(
        self, shared: Prepared, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise UsageError("the disk is read-only today")

        monkeypatch.setattr("recsvc.pipeline.run.record_phase", refuse)
        assert run(shared, force=True).status == "published"
        assert shared.value(f"SELECT count(*) FROM run_phases WHERE run_id = {LAST}") == 0

    def test_pruning_is_no_reason_to_fail(self, shared: Prepared) -> None:
        def fall() -> None:
            raise UsageError("the disk is read-only today")

        with at("prune:begin", fall):
            assert run(shared, force=True).status == "published"
        assert shared.value("SELECT run_id FROM freshness") == shared.value(f"SELECT {LAST}")
