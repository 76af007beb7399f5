"""Odd data, and what is left behind."""

from pathlib import Path

import pytest

from recsvc.errors import PublicationRefusedError, UsageError
from recsvc.store.runs.publication import prune, roll_back
from tests import taste
from tests.outputs import ROWS_OF_RUN
from tests.pipeline.retraining import (
    EVERYONE,
    LISTS,
    METRICS,
    WITHDRAWN,
    ingest,
    lists_of,
    run,
    seen_by_readers,
)
from tests.prepared import Prepared


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
