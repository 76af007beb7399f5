"""The commands: data on stdout, everything else on stderr, and an exit code for each outcome."""

import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import typer

from recsvc.cli import main as cli
from recsvc.vocabulary import MODELS
from tests import taste
from tests.cli.passwords import CANARY, ENCODED, leaks
from tests.commands import Commands, Outcome
from tests.prepared import Prepared


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
        inserted = {row["file"]: row["inserted"] for row in report["files"]}
        assert inserted["ratings.csv"] == 500
        assert inserted["users.csv"] == made.json["users"] + made.json["newcomers"]
        assert report["rejects"] == []

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
        [(5, "hybrid"), (taste.LISTED, "cold_user"), (taste.BLANK, "recent_popular")],
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
        assert {row["model"] for row in rows} == set(MODELS)
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
