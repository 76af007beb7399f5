"""Each way to fail has its exit code and one sentence."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests import taste
from tests.cli.passwords import CANARY, ENCODED, leaks
from tests.commands import Commands
from tests.prepared import Prepared

COUNTS = (
    *("EPOCHS", "MAX_SAMPLED", "HOLDOUT_LAST", "MIN_TAG_FREQ", "MAX_TAGS_PER_MOVIE"),
    *("KEEP_RUNS", "PATIENCE", "ATTEMPTS"),
)


class TestExitCodes:
    def test_1_for_a_defect_with_a_traceback(
        self, shown: Commands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def defect(*_: object) -> None:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr("recsvc.store.reading.queries.status", defect)
        failed = shown("status")
        assert failed.code == 1
        assert "ZeroDivisionError: a defect" in failed.err
        assert failed.out == ""

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("recommend", 999), "user 999"),
            (("similar", 999), "movie 999"),
            (("explain", 999, 1), "user 999"),
            (("explain", 1, 999), "movie 999"),
            (("recommend", 2**63), "user_id"),
            (("similar", 10**30), "movie_id"),
            (("metrics", "--run", 77), "Run 77 has no metrics"),
            (("metrics", "--run", 2**63), "--run"),
            (("metrics", "--segment", "nobody"), "no segment nobody: name one of activity:"),
            (("runs", "--limit", 0), "--limit"),
            (("rollback", 77), "Run 77"),
            (("recommend", "somebody"), "user_id"),
            (("retrain", "--preset", "nonesuch"), "--preset"),
            (("nonesuch",), "nonesuch"),
        ],
    )
    def test_2_for_what_does_not_exist(
        self, shown: Commands, arguments: tuple[object, ...], named: str
    ) -> None:
        refused = shown(*arguments)
        assert refused.code == 2
        assert refused.out == ""
        assert named in refused.err
        assert "Traceback" not in refused.err

    def test_2_for_an_unknown_user_says_what_to_give(self, shown: Commands) -> None:
        expected = "recsvc: There is no user 999 in the database; give a MovieLens userId.\n"
        assert shown("recommend", 999).err == expected

    @pytest.mark.parametrize("command", [("recommend", 1), ("similar", 1), ("explain", 1, 1)])
    def test_2_before_the_first_publication(
        self, recsvc: Commands, tmp_path: Path, command: tuple[object, ...]
    ) -> None:
        recsvc("db", "upgrade")
        recsvc("ingest", taste.write_files(tmp_path / "files"))
        refused = recsvc(*command)
        assert refused.code == 2
        assert "run `recsvc retrain`" in refused.err

    def test_3_for_source_data(self, recsvc: Commands, tmp_path: Path) -> None:
        recsvc("db", "upgrade")
        assert recsvc("ingest", tmp_path / "nowhere").code == 3
        files = taste.write_files(tmp_path / "files")
        one_file = recsvc("ingest", files / "ratings.csv")
        assert (one_file.code, "name the folder" in one_file.err) == (3, True)
        (files / "ratings.csv").write_text("user,movie\n1,1\n", encoding="utf-8")
        refused = recsvc("ingest", files)
        assert refused.code == 3
        assert "ratings.csv line 1" in refused.err
        assert recsvc("status", "--json").json["rows"]["movies"] == 0

    def test_4_when_the_gate_refuses(self, recsvc: Commands, tmp_path: Path) -> None:
        recsvc("db", "upgrade")
        few = [(1, movie, 5.0, movie) for movie in range(1, 9)]
        recsvc("ingest", taste.write_files(tmp_path / "files", ratings=few, tags=[]))
        refused = recsvc("retrain", "--json")
        assert refused.code == 4
        assert refused.out == ""
        assert "`recsvc retrain --force`" in refused.err
        assert recsvc("retrain", "--force").code == 0

    def test_75_while_another_run_holds_the_lease(self, own: Commands, tmp_path: Path) -> None:
        database = Prepared(sa.URL.create("sqlite", database=str(tmp_path / "recsvc.db")))
        database.change(
            "INSERT INTO runs (job, scheduled_for, status, started_at, heartbeat_at, fence, host,"
            " lease_seconds, settings, versions) SELECT job, '2999-01-01 00:00:00.000000',"
            " 'running', started_at, '2999-01-01 00:00:00.000000', fence + 1, 'elsewhere', 60.0,"
            " settings, versions FROM runs"
        )
        refused = own("retrain", "--force")
        assert refused.code == 75
        assert "elsewhere" in refused.err

    def test_78_when_there_is_no_database(self, recsvc: Commands) -> None:
        refused = recsvc("status")
        assert refused.code == 78
        assert "run `recsvc db upgrade`" in refused.err

    def test_78_when_there_is_no_folder_for_the_database(
        self, recsvc: Commands, tmp_path: Path
    ) -> None:
        folder = tmp_path / "nowhere"
        recsvc.set("DATABASE_URL", f"sqlite:///{folder}/a.db")
        refused = recsvc("db", "upgrade")
        assert refused.code == 78
        assert f"There is no folder {folder} for the database" in refused.err

    @pytest.mark.parametrize("time", ["25:00", "2:00", "02:60", "02:00\n", "\u0660\u0662:00"])
    def test_78_for_a_schedule_that_is_no_time_of_day(self, recsvc: Commands, time: str) -> None:
        recsvc.set("RECSVC_SCHEDULE", time)
        refused = recsvc("schedule")
        assert refused.code == 78
        assert "must be a time such as 02:00" in refused.err

    def test_78_when_a_newer_version_upgraded_the_schema(
        self, own: Commands, tmp_path: Path
    ) -> None:
        database = Prepared(sa.URL.create("sqlite", database=str(tmp_path / "recsvc.db")))
        database.change("UPDATE recsvc_alembic_version SET version_num = '9999'")
        for command in [("status",), ("db", "upgrade"), ("db", "check")]:
            refused = own(*command)
            assert refused.code == 78
            assert "install the version that upgraded it" in refused.err

    def test_78_when_a_path_may_not_be_used(self, recsvc: Commands, tmp_path: Path) -> None:
        recsvc.set("DATABASE_URL", f"sqlite:///{tmp_path}")
        refused = recsvc("status")
        assert refused.code == 78
        assert "Correct DATABASE_URL" in refused.err

    def test_78_when_the_sqlite_file_is_damaged(self, recsvc: Commands, tmp_path: Path) -> None:
        recsvc("db", "upgrade")
        path = tmp_path / "recsvc.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
        refused = recsvc("status")
        assert refused.code == 78
        assert "is damaged" in refused.err

    def test_78_when_the_schema_is_not_at_head(self, recsvc: Commands, tmp_path: Path) -> None:
        (tmp_path / "recsvc.db").touch()
        refused = recsvc("status")
        assert refused.code == 78
        assert "run `recsvc db upgrade`" in refused.err

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("RECSVC_POSITIVE_RATING", "7"),
            ("RECSVC_TOP_N", "none"),
            ("RECSVC_PROTOCOL", "leave_first"),
            ("RECSVC_SEED", "-1"),
            ("RECSVC_THREADS", "0"),
            ("RECSVC_LEARNING_RATE", "0"),
            *((f"RECSVC_{name}", "9" * 23) for name in COUNTS),
            ("RECSVC_GRACE_SECONDS", "1e300"),
            ("RECSVC_HEARTBEAT_SECONDS", "1e-300"),
            ("RECSVC_TIMEZONE", "Europe"),
            ("DATABASE_URL", "mysql://host/films"),
            ("DATABASE_URL", f"nonsense {CANARY}"),
            ("DATABASE_URL", "sqlite://"),
        ],
    )
    def test_78_for_a_setting_names_the_variable(
        self, recsvc: Commands, variable: str, value: str
    ) -> None:
        recsvc.set(variable, value)
        refused = recsvc("status")
        assert refused.code == 78
        assert refused.err.startswith(f"recsvc: {variable} ")
        assert CANARY not in refused.err


class TestUnreachable:
    @pytest.mark.parametrize("command", [("status",), ("db", "upgrade"), ("retrain",)])
    def test_69_with_the_url_but_not_its_password(
        self, recsvc: Commands, command: tuple[str, ...]
    ) -> None:
        recsvc.set("DATABASE_URL", f"postgresql://reader:{ENCODED}@127.0.0.1:1/films")
        refused = recsvc(*command)
        assert refused.code == 69
        assert "reader:***@127.0.0.1:1/films" in refused.err
        assert not leaks(refused)
