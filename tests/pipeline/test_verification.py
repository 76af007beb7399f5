"""Lists that break a promise are never shown."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from recsvc.errors import VerificationError
from recsvc.store.database import ranges
from recsvc.store.database.postgresql import reader as postgresql_reader
from recsvc.store.database.sqlite import reader as sqlite_reader
from tests import taste
from tests.pipeline.retraining import (
    LAST,
    LAST_RUN,
    ROWS_OF_LAST,
    WITHDRAWN,
    at,
    ingest,
    lists_of,
    run,
    seen_by_readers,
)
from tests.prepared import Prepared


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
