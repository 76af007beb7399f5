"""The main job: what a run publishes, refuses, skips and leaves behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from recsvc.errors import PublicationRefusedError, UsageError, VerificationError
from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import RetrainReport, retrain
from recsvc.runtime import checkpoints
from recsvc.store.database import ranges
from recsvc.store.database.postgresql import reader as postgresql_reader
from recsvc.store.database.sqlite import reader as sqlite_reader
from recsvc.store.runs.publication import prune, roll_back
from tests import taste
from tests.outputs import ROWS_OF_RUN
from tests.prepared import DATABASES, Prepared, copied

WITHDRAWN = 60
CATALOGUE = 61
NOBODY_ELSE = [taste.LISTED, taste.BLANK, taste.GRUMBLER, taste.TAGGER]
EVERYONE = [*taste.LOVERS, *NOBODY_ELSE]

LISTS = """SELECT user_id, rank, movie_id, title, genres, score, source
           FROM current_recommendations ORDER BY user_id, rank"""
SIMILAR = """SELECT movie_id, title, rank, similar_movie_id, similar_title, similarity
             FROM current_similar_movies ORDER BY movie_id, rank"""
METRICS = """SELECT model, protocol, segment, metric, k, value, ci_low, ci_high, users
             FROM model_metrics WHERE run_id = :run ORDER BY model, segment, metric, k"""
LAST = "(SELECT max(run_id) FROM runs)"
LAST_RUN = "SELECT * FROM runs ORDER BY run_id DESC LIMIT 1"
ROWS_OF_LAST = ROWS_OF_RUN.replace(":run", LAST)

PHASES = {
    *("claim", "load", "split", "gate", "refit", "rank", "write", "verify", "publish", "prune"),
    *("rank:similar_movies", "write:similar_movies"),
    *(
        f"{phase}:{model}"
        for phase in ("fit", "evaluate")
        for model in ("popular", "lightfm_cf", "lightfm_hybrid")
    ),
}


def ingest(database: Prepared, folder: Path) -> None:
    with database.engine() as engine:
        ingest_folder(engine, folder)


def run(database: Prepared, *, force: bool = False, **settings: object) -> RetrainReport:
    with database.engine() as engine:
        return retrain(engine, database.settings(**settings), force=force)


def seen_by_readers(database: Prepared) -> tuple[str, str]:
    """Both lists to the last bit: ``repr`` of a float is exact."""
    return repr(database.rows(LISTS)), repr(database.rows(SIMILAR))


def lists_of(database: Prepared) -> dict[int, list[Any]]:
    rows = database.rows(LISTS)
    return {user: list(group) for user, group in groupby(rows, key=lambda row: row.user_id)}


def town(database: Prepared, folder: Path) -> Prepared:
    """Bring in the plain tastes, one movie withdrawn."""
    ingest(database, taste.write_files(folder / "files"))
    database.change(f"UPDATE movies SET available = (1 = 0) WHERE movie_id = {WITHDRAWN}")
    return database


@contextmanager
def at(name: str, act: Callable[[], None]) -> Iterator[None]:
    """Do something in the middle of a run."""

    def hook(checkpoint: str) -> None:
        if checkpoint == name:
            act()

    checkpoints.hook = hook
    try:
        yield
    finally:
        checkpoints.hook = None


@pytest.fixture(scope="module", params=DATABASES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """A first run, published; to be read, or copied."""
    folder = tmp_path_factory.mktemp("published")
    with copied(request.param, request, folder) as database:
        report = run(town(database, folder))
        assert report.status == "published"
        yield database


@pytest.fixture
def own(request: pytest.FixtureRequest, published: Prepared, tmp_path: Path) -> Iterator[Prepared]:
    """The first run's database, to be changed."""
    kind = "sqlite" if published.url.drivername == "sqlite" else "postgresql"
    with copied(kind, request, tmp_path, published) as database:
        yield database


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest,
    published: Prepared,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prepared]:
    """Such a copy for all tests of runs that fail, which must leave it as it was."""
    kind = "sqlite" if published.url.drivername == "sqlite" else "postgresql"
    with copied(kind, request, tmp_path_factory.mktemp("shared"), published) as database:
        yield database


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Prepared]:
    with copied(request.param, request, tmp_path) as database:
        yield database


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
            assert sources[user] == {"popular"}

    def test_popular_means_the_most_positives(self, published: Prepared) -> None:
        positives = dict.fromkeys([*taste.MOVIES, taste.BARE], 0)
        for _, movie, stars, _ in taste.rating_rows():
            positives[int(str(movie))] += float(str(stars)) >= 4
        del positives[WITHDRAWN]
        best = sorted(positives, key=lambda movie: (-positives[movie], movie))[:20]
        rows = lists_of(published)[taste.BLANK]
        assert [row.movie_id for row in rows] == best
        assert [row.score for row in rows] == [positives[movie] for movie in best]

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
        at_k = {"precision", "recall", "ndcg", "map", "mrr", "hit_rate", "coverage", "novelty"}
        expected = {(name, k) for name in at_k for k in (5, 10, 20)} | {("auc", None)}
        rows = [row for row in published.rows(METRICS, run=1) if row.segment == "all"]
        for model in ("popular", "lightfm_cf", "lightfm_hybrid"):
            assert {(row.metric, row.k) for row in rows if row.model == model} == expected
        assert len(rows) == 3 * len(expected)

    def test_segments_of_users_and_of_movies_are_there(self, published: Prepared) -> None:
        kinds = {row.segment.split(":")[0] for row in published.rows(METRICS, run=1)}
        assert kinds == {"all", "activity", "popularity"}

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
        assert rows["verify"] == rows["write"] + rows["write:similar_movies"]

    def test_the_models_are_recorded_and_the_hybrid_can_be_taken_up(
        self, published: Prepared
    ) -> None:
        rows = {row.model: row for row in published.rows("SELECT * FROM models")}
        assert set(rows) == {"popular", "lightfm_cf", "lightfm_hybrid"}
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
        assert {metric.model for metric in database.rows(METRICS, run=2)} == {
            "popular",
            "lightfm_cf",
            "lightfm_hybrid",
        }
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


class TestVerification:
    @pytest.fixture(autouse=True)
    def _several_ranges(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Read over several connections, as large data are."""
        monkeypatch.setattr(sqlite_reader, "RANGE_KEYS", 3)
        monkeypatch.setattr(postgresql_reader, "RANGE_KEYS", 3)
        monkeypatch.setattr(ranges.os, "cpu_count", lambda: 2)

    @pytest.mark.parametrize(
        ("statement", "what"),
        [
            ("DELETE FROM recommendations WHERE {run} AND user_id = 5", "every user_id"),
            ("DELETE FROM recommendations WHERE {run} AND user_id = 5 AND rank = 20", "ranks 1..n"),
            (
                "UPDATE recommendations SET rank = 21 WHERE {run} AND user_id = 5 AND rank = 20",
                "ranks 1..n",
            ),
            (
                "UPDATE recommendations SET user_id = 999 WHERE {run} AND user_id = 5",
                "every user_id",
            ),
            (
                (
                    "UPDATE recommendations SET movie_id = 999"
                    " WHERE {run} AND user_id = 5 AND rank = 1"
                ),
                "1 rows where the movie does not exist",
            ),
            (
                (
                    f"UPDATE recommendations SET movie_id = {WITHDRAWN}"
                    " WHERE {run} AND user_id = 5 AND rank = 1"
                ),
                "1 rows where the movie is not available",
            ),
            (
                (
                    "UPDATE recommendations SET movie_id = (SELECT min(movie_id) FROM ratings"
                    " WHERE user_id = 5) WHERE {run} AND user_id = 5 AND rank = 1"
                ),
                "1 rows where the user has seen the movie",
            ),
            ("DELETE FROM similar_movies WHERE {run} AND movie_id = 5", "every movie_id"),
            (
                "DELETE FROM similar_movies WHERE {run} AND movie_id = 5 AND rank = 1",
                "ranks 1..n",
            ),
            (
                (
                    "UPDATE similar_movies SET similar_movie_id = 5"
                    " WHERE {run} AND movie_id = 5 AND rank = 1"
                ),
                "1 rows where a movie is similar to itself",
            ),
            (
                (
                    "UPDATE similar_movies SET similar_movie_id = 999"
                    " WHERE {run} AND movie_id = 5 AND rank = 1"
                ),
                "1 rows where a similar movie does not exist",
            ),
            (
                (
                    f"UPDATE similar_movies SET similar_movie_id = {WITHDRAWN}"
                    " WHERE {run} AND movie_id = 5 AND rank = 1"
                ),
                "1 rows where a similar movie is not available",
            ),
        ],
    )
    def test_rows_that_break_a_promise_are_not_published(
        self, shared: Prepared, statement: str, what: str
    ) -> None:
        before = seen_by_readers(shared)
        with (
            at("verify:begin", lambda: shared.change(statement.format(run=f"run_id = {LAST}"))),
            pytest.raises(VerificationError) as caught,
        ):
            run(shared, force=True)
        assert what in str(caught.value)
        (row,) = shared.rows(LAST_RUN)
        assert row.status == "failed"
        assert row.error == str(caught.value)
        assert seen_by_readers(shared) == before
        assert shared.value(ROWS_OF_LAST) == 0

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE recommendations SET rank = 0 WHERE rank = 1",
            "UPDATE recommendations SET score = 9e999 WHERE rank = 1",
            "UPDATE similar_movies SET similarity = -9e999 WHERE rank = 1",
            "UPDATE recommendations SET movie_id = 1 WHERE user_id = 5",
        ],
        ids=["rank below 1", "infinite score", "infinite similarity", "one movie twice"],
    )
    def test_the_database_itself_refuses(self, shared: Prepared, change: str) -> None:
        if shared.url.drivername != "sqlite":
            change = change.replace("-9e999", "'-Infinity'").replace("9e999", "'NaN'")
        with pytest.raises(sa.exc.IntegrityError):
            shared.change(change)

    def test_lists_of_a_user_who_was_deleted_meanwhile_are_not_published(
        self, own: Prepared
    ) -> None:
        tables = ("ratings", "tags", "user_features", "users")
        delete = [f"DELETE FROM {table} WHERE user_id = 5" for table in tables]
        with (
            at("verify:begin", lambda: own.change(*delete)),
            pytest.raises(VerificationError, match="20 rows where the user does not exist"),
        ):
            run(own, force=True)

    def test_indexes_alone_answer_for_a_new_partition(self, published: Prepared) -> None:
        if published.url.drivername == "sqlite":
            pytest.skip("SQLite has no partitions")
        for name in ("recommendations", "similar_movies"):
            settled = published.rows(
                "SELECT relallvisible FROM pg_class WHERE relname LIKE :name AND relkind = 'r'",
                name=f"{name}_run_%",
            )
            # A table may have grown by more pages than its rows took.
            with_rows = published.rows(
                f"SELECT count(DISTINCT (ctid::text::point)[0]) FROM {name} GROUP BY run_id"
            )
            assert settled == with_rows != []

    def test_a_rating_that_arrives_during_the_run_is_no_mistake(
        self, own: Prepared, tmp_path: Path
    ) -> None:
        movie = lists_of(own)[5][0].movie_id
        more = [*taste.rating_rows(), (5, movie, 5.0, taste.START)]
        files = taste.write_files(tmp_path / "more", ratings=more)
        with at("verify:begin", lambda: ingest(own, files)):
            assert run(own, force=True).status == "published"
        assert lists_of(own)[5][0].movie_id == movie, "the next run will know"


def rating(user: int, movie: int, stars: float = 5.0) -> taste.Row:
    return user, movie, stars, taste.START + 100 * user + movie


FEW = [(movie, f"Film {movie} (2000)", "Drama") for movie in range(1, 13)]
BARE_FEW = [(movie, f"Film {movie} (2000)", "(no genres listed)") for movie in range(1, 13)]


class TestNothingToLearnFrom:
    @pytest.mark.parametrize(
        "files",
        [
            {"movies": [], "ratings": []},
            {"movies": FEW, "ratings": []},
            {"movies": FEW, "ratings": [rating(1, movie, 2.0) for movie in range(1, 9)]},
        ],
        ids=["no data", "no ratings", "no positives"],
    )
    def test_without_positives_a_run_is_refused_even_by_force(
        self, empty: Prepared, tmp_path: Path, files: dict[str, list[taste.Row]]
    ) -> None:
        ingest(empty, taste.write_files(tmp_path / "files", tags=[], users=[], **files))
        for force in (False, True):
            with pytest.raises(PublicationRefusedError, match="RECSVC_POSITIVE_RATING"):
                run(empty, force=force)
        assert {row.status for row in empty.rows("SELECT status FROM runs")} == {"refused"}
        assert empty.value("SELECT run_id FROM freshness") is None

    def test_an_empty_database_is_refused(self, empty: Prepared) -> None:
        with pytest.raises(PublicationRefusedError, match="nothing to learn from"):
            run(empty)


class TestCorners:
    """Too small to judge by, so that the gate refuses; by force, every promise holds."""

    @pytest.mark.parametrize(
        ("files", "rows", "similar"),
        [
            pytest.param(
                {"movies": FEW, "ratings": [rating(1, movie) for movie in range(1, 9)]},
                {1: 4},
                11,
                id="one user",
            ),
            pytest.param(
                {"movies": FEW[:1], "ratings": [rating(user, 1) for user in range(1, 9)]},
                {},
                0,
                id="one movie",
            ),
            pytest.param({"movies": FEW, "ratings": [rating(1, 1)]}, {1: 11}, 11, id="one rating"),
            pytest.param(
                {
                    "movies": FEW,
                    "ratings": [rating(u, m) for u in range(1, 6) for m in range(1, 12)],
                },
                dict.fromkeys(range(1, 6), 1),
                11,
                id="all ratings alike",
            ),
            pytest.param(
                {
                    "movies": FEW,
                    "ratings": [
                        rating(u, m) for u in range(1, 6) for m in range(1, 13 if u == 1 else 9)
                    ],
                },
                dict.fromkeys(range(2, 6), 4),
                11,
                id="a user who has seen everything",
            ),
            pytest.param(
                {
                    "movies": BARE_FEW,
                    "ratings": [rating(u, m) for u in range(1, 6) for m in range(u, u + 7)],
                },
                dict.fromkeys(range(1, 6), 5),
                11,
                id="neither genres nor tags, N larger than the catalogue",
            ),
        ],
    )
    def test_lists_hold_all_there_is(
        self,
        empty: Prepared,
        tmp_path: Path,
        files: dict[str, list[taste.Row]],
        rows: dict[int, int],
        similar: int,
    ) -> None:
        ingest(empty, taste.write_files(tmp_path / "files", tags=[], users=[], **files))
        with pytest.raises(PublicationRefusedError):
            run(empty)
        assert run(empty, force=True).status == "published"
        assert {user: len(found) for user, found in lists_of(empty).items()} == rows
        counts = empty.rows("SELECT count(*) FROM current_similar_movies GROUP BY movie_id")
        assert {row[0] for row in counts} == ({similar} if similar else set())

    def test_without_any_token_movies_are_themselves(self, empty: Prepared, tmp_path: Path) -> None:
        """Neither genres nor tags nor the token for bare movies: the hybrid is ``lightfm_cf``."""
        bare = [(movie, title, "(no genres listed)") for movie, title, _ in taste.movie_rows()]
        files = taste.write_files(tmp_path / "files", movies=bare, tags=[], users=[])
        ingest(empty, files)
        assert run(empty, bias_token=False).status == "published"
        values = {
            model: [
                (row.segment, row.metric, row.k, row.value)
                for row in empty.rows(METRICS, run=1)
                if row.model == model
            ]
            for model in ("lightfm_cf", "lightfm_hybrid")
        }
        assert values["lightfm_cf"] == values["lightfm_hybrid"]

    def test_only_positives_count_as_seen_if_so_set(self, own: Prepared) -> None:
        run(own, force=True, exclude="positive", top_n=500)
        low = {(u, m) for u, m, stars, _ in taste.rating_rows() if float(str(stars)) < 4}
        high = {(u, m) for u, m, stars, _ in taste.rating_rows() if float(str(stars)) >= 4}
        shown = {(row.user_id, row.movie_id) for row in own.rows(LISTS)}
        withdrawn = {(user, WITHDRAWN) for user in EVERYONE}
        assert low - withdrawn <= shown
        assert not high & shown


class TestRollbackAndPrune:
    @pytest.fixture
    def twice(self, own: Prepared) -> Prepared:
        run(own, force=True, top_n=5)
        return own

    def test_rolling_back_shows_the_earlier_run_to_the_last_bit(self, own: Prepared) -> None:
        before = seen_by_readers(own)
        run(own, force=True, top_n=5)
        with own.engine() as engine:
            switched = roll_back(engine)
        assert (switched.run_id, switched.action) == (1, "rollback")
        assert seen_by_readers(own) == before

    def test_and_forward_again_by_naming_the_run(self, twice: Prepared) -> None:
        with twice.engine() as engine:
            roll_back(engine)
            roll_back(engine, 2)
        assert twice.value("SELECT run_id FROM freshness") == 2
        actions = twice.rows("SELECT run_id, action FROM publications ORDER BY publication_id")
        assert [tuple(row) for row in actions] == [
            (1, "publish"),
            (2, "publish"),
            (1, "rollback"),
            (2, "rollback"),
        ]

    @pytest.mark.parametrize("run_id", [1, 77])
    def test_what_cannot_be_shown_is_refused(self, own: Prepared, run_id: int) -> None:
        with own.engine() as engine, pytest.raises(UsageError, match=f"Run {run_id}"):
            roll_back(engine, run_id)
        assert own.value("SELECT count(*) FROM publications") == 1

    def test_before_the_first_run_there_is_nothing_to_go_back_to(self, own: Prepared) -> None:
        with own.engine() as engine, pytest.raises(UsageError, match="earlier"):
            roll_back(engine)

    def test_prune_keeps_the_newest_and_all_metrics(self, twice: Prepared) -> None:
        newest = seen_by_readers(twice)
        with twice.engine() as engine:
            assert prune(engine, 1, lock_timeout=5) == [1]
            assert prune(engine, 1, lock_timeout=5) == []
            with pytest.raises(UsageError, match="earlier"):
                roll_back(engine)
        assert twice.value(ROWS_OF_RUN, run=1) == 0
        assert twice.value("SELECT count(arrays) FROM models WHERE run_id = 1") == 0
        assert twice.rows(METRICS, run=1)
        assert seen_by_readers(twice) == newest

    def test_prune_keeps_what_readers_see(self, twice: Prepared) -> None:
        with twice.engine() as engine:
            roll_back(engine)
            before = seen_by_readers(twice)
            assert prune(engine, 1, lock_timeout=5) == []
        assert seen_by_readers(twice) == before

    def test_a_retrain_prunes_by_itself(self, own: Prepared) -> None:
        run(own, force=True, keep_runs=1)
        assert own.value(ROWS_OF_RUN, run=1) == 0
