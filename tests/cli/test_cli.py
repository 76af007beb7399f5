"""The commands: data on stdout, everything else on stderr, and an exit code for each outcome."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import typer

from recsvc.cli import main as cli
from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from tests import taste
from tests.commands import Commands, Outcome
from tests.prepared import Prepared, copied

CANARY = "c4n@ry/p%ss"
ENCODED = "c4n%40ry%2Fp%25ss"


@pytest.fixture
def recsvc(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Commands:
    """Commands on a database that does not exist yet."""
    commands = Commands(monkeypatch, capsys)
    commands.set("DATABASE_URL", f"sqlite:///{tmp_path / 'recsvc.db'}")
    return commands


@pytest.fixture(scope="module")
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("cli")
    with copied("sqlite", request, folder) as database:
        with database.engine() as engine:
            ingest_folder(engine, taste.write_files(folder / "files"))
            retrain(engine, database.settings())
        yield database


@pytest.fixture
def shown(recsvc: Commands, published: Prepared) -> Commands:
    """Commands on a published run, to be read."""
    recsvc.set("DATABASE_URL", published.url.render_as_string())
    return recsvc


@pytest.fixture
def own(
    recsvc: Commands, published: Prepared, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Commands]:
    """Commands on a published run, to be changed."""
    with copied("sqlite", request, tmp_path, published) as database:
        recsvc.set("DATABASE_URL", database.url.render_as_string())
        yield recsvc


class TestFirstSteps:
    def test_from_nothing_to_recommendations(self, recsvc: Commands, tmp_path: Path) -> None:
        files = taste.write_files(tmp_path / "files")
        assert "was upgraded from nothing" in recsvc("db", "upgrade").out
        assert "is at head already" in recsvc("db", "upgrade").out
        ingested = recsvc("ingest", files)
        assert "Ingest 1: 712 rows changed." in ingested.out
        assert "Nothing changed" in recsvc("ingest", files).out
        with (files / "ratings.csv").open("a", encoding="utf-8") as ratings:
            ratings.write("1,1,9.0,7\n")
        assert "already, but for 1 rejected row" in recsvc("ingest", files).out
        trained = recsvc("retrain")
        assert trained.code == 0
        assert trained.out.startswith("Run 1 published. lightfm_hybrid beats popular")
        assert len(trained.out.splitlines()) == 1, "a pipe is no place for line breaks"
        assert "fit:lightfm_hybrid" in trained.err
        assert recsvc("retrain").out.startswith("Run 2 skipped. Nothing is new")

    def test_the_schema_is_checked_and_shown(self, shown: Commands) -> None:
        assert "is as expected" in shown("db", "check").out
        current = shown("db", "current", "--json").json
        assert current["current"] == current["head"]

    def test_a_schema_changed_by_hand_is_told(self, own: Commands, tmp_path: Path) -> None:
        own("db", "check")
        database = next(tmp_path.glob("*.db"))
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('DROP VIEW freshness')",
                database,
            ],
            check=True,
        )
        checked = own("db", "check")
        assert checked.code == 78
        assert "freshness" in checked.err

    def test_synthetic_files_are_made_and_taken(self, recsvc: Commands, tmp_path: Path) -> None:
        made = recsvc("synth", tmp_path / "made", "--ratings", 500, "--json")
        assert made.json["ratings"] == 500
        recsvc("db", "upgrade")
        report = recsvc("ingest", tmp_path / "made", "--json").json
        assert {row["file"]: row["inserted"] for row in report["files"]}["ratings.csv"] == 500

    def test_whoever_stops_what_follows_an_ingest_has_read_that_all_is_there(
        self, recsvc: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recsvc("db", "upgrade")
        files = taste.write_files(tmp_path / "files")
        monkeypatch.setattr(
            "recsvc.ingest.folder.settle_tables", lambda *_: signal.raise_signal(signal.SIGTERM)
        )
        assert recsvc("ingest", files, "--dry-run").code == 0, "nothing follows"
        stopped = recsvc("ingest", files)
        assert stopped.code == 143
        assert "Ingest 1: 712 rows changed." in stopped.out
        assert recsvc("status", "--json").json["rows"]["ratings"] > 0

    def test_a_dry_run_changes_nothing(self, recsvc: Commands, tmp_path: Path) -> None:
        recsvc("db", "upgrade")
        dry = recsvc("ingest", taste.write_files(tmp_path / "files"), "--dry-run")
        assert "712 rows would change" in dry.out
        assert recsvc("status", "--json").json["rows"]["ratings"] == 0


class TestReading:
    def test_recommend(self, shown: Commands) -> None:
        rows = shown("recommend", 5, "--limit", 3, "--json").json
        assert [row["rank"] for row in rows] == [1, 2, 3]
        assert {"title", "genres", "score", "source", "published_at"} <= set(rows[0])
        table = shown("recommend", 5, "--limit", 3).out
        assert all(row["title"] in table for row in rows)
        assert "hybrid" in table

    def test_similar(self, shown: Commands) -> None:
        rows = shown("similar", 7, "--limit", 2, "--json").json
        assert [row["movie_id"] for row in rows] == [7, 7]
        table = shown("similar", 7, "--limit", 2).out
        assert table.startswith("Similar to Film 7 (1907):")
        assert rows[1]["similar_title"] in table

    @pytest.mark.parametrize(
        ("user", "source"),
        [(5, "hybrid"), (taste.LISTED, "cold_user"), (taste.BLANK, "popular")],
    )
    def test_explain_adds_up_to_the_score_that_recommend_shows(
        self, shown: Commands, user: int, source: str
    ) -> None:
        for row in shown("recommend", user, "--limit", 3, "--json").json:
            explained = shown("explain", user, row["movie_id"], "--json").json
            terms = [term["value"] for term in explained["contributions"]]
            assert explained["source"] == row["source"] == source
            assert sum(terms) == pytest.approx(row["score"], rel=1e-5, abs=1e-6)
            table = shown("explain", user, row["movie_id"]).out
            assert row["title"] in table
            assert all(term["token"] in table for term in explained["contributions"])

    def test_metrics(self, shown: Commands) -> None:
        rows = shown("metrics", "--json").json
        assert {row["segment"] for row in rows} == {"all"}
        assert {row["model"] for row in rows} == {"popular", "lightfm_cf", "lightfm_hybrid"}
        table = shown("metrics", "--segment", "popularity:head").out
        assert table.startswith("Run 1 (published), holdout: leave_last.")
        assert "popularity:head" in table

    def test_all_segments_at_once(self, shown: Commands) -> None:
        segments = {row["segment"] for row in shown("metrics", "--segment", "*", "--json").json}
        assert {"all", "activity:low", "popularity:head"} <= segments

    def test_runs(self, shown: Commands) -> None:
        (row,) = shown("runs", "--json").json
        assert (row["run_id"], row["status"], row["ratings"]) == (1, "published", 643)
        assert "published" in shown("runs").out

    def test_status(self, shown: Commands) -> None:
        found = shown("status", "--json").json
        assert found["published"]["run_id"] == found["last_run"]["run_id"] == 1
        assert found["rows"] == {"users": 44, "movies": 61, "ratings": 643, "tags": 4}
        text = shown("status").out
        assert "Readers see run 1" in text
        assert "evaluate:popular" in text

    def test_status_tells_of_a_run_that_died(self, own: Commands, tmp_path: Path) -> None:
        database = Prepared(sa.URL.create("sqlite", database=str(tmp_path / "recsvc.db")))
        database.change(
            "UPDATE runs SET status = 'running', finished_at = NULL,"
            " heartbeat_at = '2026-01-02 03:04:05.000000'"
        )
        assert "no sign of life since 2026-01-02 03:04:05 UTC" in own("status").out
        assert own("status", "--json").json["last_run_silent"] is True

    def test_status_before_the_first_run(self, recsvc: Commands) -> None:
        recsvc("db", "upgrade")
        assert "Readers see nothing yet" in recsvc("status").out
        assert recsvc("status", "--json").json["last_run"] is None

    def test_times_are_utc_and_say_so(self, shown: Commands) -> None:
        found = shown("status", "--json").json
        times = [shown("runs", "--json").json[0][name] for name in ("started_at", "scheduled_for")]
        times += [found["published"][name] for name in ("published_at", "newest_rating_at")]
        times += [found["last_run"]["finished_at"], found["publication"]["published_at"]]
        for time in times:
            assert datetime.fromisoformat(time).utcoffset() == timedelta(0), time
        assert " UTC" in shown("runs").out

    def test_ids_are_shown_as_commands_take_them(self, recsvc: Commands, tmp_path: Path) -> None:
        recsvc("db", "upgrade")
        movies = [(movie + 100_000, title, genre) for movie, title, genre in taste.movie_rows()]
        ratings = [(row[0], int(str(row[1])) + 100_000, *row[2:]) for row in taste.rating_rows()]
        files = taste.write_files(tmp_path / "files", movies=movies, ratings=ratings, tags=[])
        recsvc("ingest", files)
        recsvc("retrain")
        assert "100007" in recsvc("similar", 100_003, "--limit", 50).out


class TestChanging:
    def test_rollback_and_prune(self, own: Commands) -> None:
        own("retrain", "--force", "--top-n", 5)
        assert len(own("recommend", 5, "--limit", 50, "--json").json) == 5
        assert own("rollback", "--json").json["run_id"] == 1
        assert len(own("recommend", 5, "--limit", 50, "--json").json) == 20
        assert own("rollback", 2).out == "Readers see run 2 again.\n"
        own.set("RECSVC_KEEP_RUNS", "1")
        assert own("prune", "--json").json == {"pruned": [1]}
        assert own("prune").out == "Pruned: nothing.\n"
        assert own("rollback").code == 2

    def test_options_win_over_the_environment(self, own: Commands) -> None:
        own.set("RECSVC_SEED", "7")
        own("retrain", "--seed", "9", "--threads", 1)
        settings = own("status", "--json").json["last_run"]["settings"]
        assert (settings["seed"], settings["components"]) == (9, 8)

    def test_a_preset_wins_over_the_environment(self, own: Commands) -> None:
        own("retrain", "--preset", "notebook")
        settings = own("status", "--json").json["last_run"]["settings"]
        assert (settings["loss"], settings["components"]) == ("bpr", 40)


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


def leaks(outcome: Outcome) -> bool:
    text = outcome.out + outcome.err
    return CANARY in text or ENCODED in text


class TestPasswords:
    @pytest.fixture
    def secretive(self, shown: Commands) -> Commands:
        shown.set("DATABASE_URL", f"postgresql://reader:{ENCODED}@127.0.0.1:1/films")
        return shown

    @pytest.mark.parametrize("form", [CANARY, ENCODED])
    def test_they_are_masked_even_in_a_traceback(
        self, secretive: Commands, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        def defect(*_: object, **__: object) -> None:
            raise ZeroDivisionError(f"could not log in with {form}")

        monkeypatch.setattr("recsvc.store.database.engine.open_engine", defect)
        failed = secretive("status")
        assert failed.code == 1
        assert "ZeroDivisionError: could not log in with ***" in failed.err
        assert not leaks(failed)

    def test_json_logs_mask_them_too(self, secretive: Commands) -> None:
        failed = secretive("--log-json", "status")
        assert failed.code == 69
        assert not leaks(failed)


class TestHelp:
    def test_every_command_shows_an_example(self, shown: Commands) -> None:
        root = typer.main.get_command(cli.app)
        names = [name for name in root.commands if name != "db"]  # type: ignore[attr-defined]
        for name in [*names, "db upgrade", "db check", "db current"]:
            helped = shown(*name.split(), "--help")
            assert helped.code == 0
            assert f"Example: recsvc {name}" in helped.out, name


class TestAsProcesses:
    def start(self, published: Prepared, *arguments: str, **environment: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "recsvc", *arguments],
            env=os.environ | {"DATABASE_URL": published.url.render_as_string()} | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def test_stdout_holds_json_and_nothing_else(self, published: Prepared) -> None:
        done = self.start(published, "recommend", "5", "--json")
        assert done.code == 0
        assert len(done.json) == 10
        assert done.err == ""

    def test_exit_codes_reach_the_shell(self, published: Prepared) -> None:
        done = self.start(published, "recommend", "999")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("recsvc: There is no user 999")

    def test_a_reader_that_stops_early_is_no_error(self, published: Prepared) -> None:
        command = f"{sys.executable} -m recsvc metrics --segment '*' --json | head -n 1"
        environment = os.environ | {"DATABASE_URL": published.url.render_as_string()}
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout == "[\n"
        assert "Traceback" not in done.stderr
        assert "Error" not in done.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
    @pytest.mark.parametrize(
        "arguments", [("--help",), ("runs",), ("recommend", "5", "--json"), ("metrics", "--csv")]
    )
    def test_a_full_disk_behind_stdout_is_told(
        self, published: Prepared, arguments: tuple[str, ...]
    ) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "recsvc", *arguments],
                env=os.environ | {"DATABASE_URL": published.url.render_as_string()},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=120,
                check=False,
            )
        assert done.returncode == 74
        assert done.stderr.startswith("recsvc: The output cannot be written: No space left")
        assert len(done.stderr.splitlines()) == 1

    def test_closed_streams_are_no_error(self, published: Prepared) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", f"{sys.executable} -m recsvc status <&- >&- 2>&-"],
            env=os.environ | {"DATABASE_URL": published.url.render_as_string()},
            timeout=120,
            check=False,
        )
        assert done.returncode == 0
