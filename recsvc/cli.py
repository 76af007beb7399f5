"""The recsvc command: parse, call, print. Errors become messages and exit codes in one place."""

import os
import sqlite3
import sys
import traceback
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import psycopg
import sqlalchemy as sa
import typer
from adbc_driver_manager import dbapi as adbc
from sqlalchemy.exc import DBAPIError, OperationalError

from recsvc import display, logs
from recsvc.errors import ConfigurationError, DatabaseUnreachableError, RecsvcError, UsageError
from recsvc.ingest.download import NAMES, download
from recsvc.ingest.folder import ingest_folder, present_files
from recsvc.ingest.synthetic import write_synthetic
from recsvc.model.archive import from_bytes
from recsvc.model.dataset import IdMap
from recsvc.model.explain import explain
from recsvc.nights import Nights
from recsvc.retrain import JOB, retrain
from recsvc.scheduler import schedule
from recsvc.settings import PRESETS, Settings
from recsvc.signals import Stopped, handled_by, stop
from recsvc.store import migrate, publication, readers
from recsvc.store.engine import open_engine, reading
from recsvc.store.grants import grant_reader
from recsvc.store.ledger import last_scheduled

app = typer.Typer(
    help="Nightly recommendations as SQL tables. The database is named by DATABASE_URL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
db = typer.Typer(help="The schema of the database.", no_args_is_help=True)
app.add_typer(db, name="db")

# Bulk transfer uses the drivers themselves, whose errors SQLAlchemy does not see.
DATABASE_ERRORS = (
    OperationalError,
    sqlite3.OperationalError,
    psycopg.OperationalError,
    adbc.OperationalError,
)

_opened = ExitStack()  # engines, until the command ends

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_INT64: dict[str, Any] = {"min": -(2**63), "max": 2**63 - 1}
UserId = Annotated[int, typer.Argument(help="MovieLens userId.", **_INT64)]
MovieId = Annotated[int, typer.Argument(help="MovieLens movieId.", **_INT64)]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")]


@app.callback()
def configure(
    context: typer.Context,
    log_json: Annotated[
        bool,
        typer.Option("--log-json", envvar="RECSVC_LOG_JSON", help="Log one JSON object a line."),
    ] = False,
) -> None:
    """Prepare what every command needs."""
    logs.configure(as_json=log_json)
    context.call_on_close(_opened.close)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with the code that docs/operating.md lists."""
    try:
        with handled_by(stop):
            app(args=arguments, prog_name="recsvc")
    except Stopped as stopped:
        _fail(str(stopped), stopped.exit_code)
    except RecsvcError as error:
        _fail(str(error), error.exit_code)
    except DATABASE_ERRORS as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        _fail(f"The database refused: {cause}".strip(), DatabaseUnreachableError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception:  # noqa: BLE001 - the last resort
        _fail(f"unexpected error, please report it:\n{traceback.format_exc()}", 1)


def _fail(message: str, code: int) -> None:
    if logs.is_json():
        logs.log.error(message, extra={"exit_code": code})
    else:
        line = f"recsvc: {logs.masked(message)}"
        display.stderr.print(line, markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def _engine(settings: Settings | None = None) -> sa.Engine:
    engine = _open(settings or Settings.read())
    migrate.require_head(engine)
    return engine


def _open(settings: Settings, *, create: bool = False) -> sa.Engine:
    """Open the database until the command ends."""
    engine = open_engine(settings.url, create=create)
    _opened.callback(engine.dispose)
    return engine


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the schema to head; a missing SQLite file is created.

    Example: recsvc db upgrade
    """
    settings = Settings.read()
    engine = _open(settings, create=True)
    before = migrate.current_revision(engine)
    migrate.upgrade(engine, lock_timeout=settings.lock_timeout_seconds, attempts=settings.attempts)
    after = migrate.current_revision(engine)
    where = engine.url.render_as_string(hide_password=True)
    done = "is at head already" if before == after else f"was upgraded from {before or 'nothing'}"
    display.print_line(logs.masked(f"{where} {done}: revision {after}."))


@db.command("current")
def db_current(as_json: Json = False) -> None:
    """Show the revision of the schema.

    Example: recsvc db current
    """
    engine = _open(Settings.read())
    current, head = migrate.current_revision(engine), migrate.head_revision()
    if as_json:
        display.print_json({"current": current, "head": head})
    else:
        display.print_line(f"current {current or 'none'}, head {head}")


@db.command("check")
def db_check() -> None:
    """Prove that the database is what this version expects: tables, views and comments.

    Example: recsvc db check
    """
    differences = migrate.differences(_open(Settings.read()))
    if differences:
        raise ConfigurationError(
            "The schema was changed by hand: " + "; ".join(differences) + ". Undo the change."
        )
    display.print_line(f"The schema is as expected at revision {migrate.head_revision()}.")


@app.command("grant-reader")
def grant_reader_command(
    role: Annotated[str, typer.Argument(help="Name of a PostgreSQL role; made if missing.")],
    statement_timeout: Annotated[
        int, typer.Option(min=1, max=86_400, help="Seconds that its statements may take.")
    ] = 60,
    as_json: Json = False,
) -> None:
    """Let a PostgreSQL role read the views and the data dictionary, and nothing else.

    Example: recsvc grant-reader analyst
    """
    granted = grant_reader(_engine(), role, statement_timeout=statement_timeout)
    if as_json:
        display.print_json(asdict(granted))
    else:
        done = "was made and may" if granted.created else "may"
        display.print_line(f"The role {role} {done} read {', '.join(granted.readable)}.")


@app.command("ingest")
def ingest_command(
    folder: Annotated[Path, typer.Argument(help="Holds ratings.csv, movies.csv, ...")],
    max_rejects: Annotated[
        float, typer.Option(min=0, max=100, help="Bad rows tolerated in a file, in percent.")
    ] = 1.0,
    dry_run: Annotated[
        bool, typer.Option(help="Report what would change; change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read a folder of MovieLens CSVs into the database: all of it or nothing.

    Example: recsvc ingest ml-latest-small
    """
    engine = _engine()
    total = sum(path.stat().st_size for _, path in present_files(folder))
    with display.byte_progress(total, "reading") as on_bytes:
        report = ingest_folder(
            engine, folder, max_rejects=max_rejects, dry_run=dry_run, on_bytes=on_bytes
        )
    if as_json:
        display.print_json(asdict(report))
        return
    columns = ("file", "inserted", "updated", "unchanged", "duplicates", "rejected")
    display.print_rows([asdict(file) for file in report.files], columns)
    for reject in report.rejects[:5]:
        display.stderr.print(f"rejected: {reject}", markup=False, highlight=False, soft_wrap=True)
    if not report.changed:
        display.print_line("Nothing changed: the database holds these files already.")
    elif dry_run:
        display.print_line(f"Dry run: {report.changed:,} rows would change.")
    else:
        display.print_line(f"Ingest {report.ingest_id}: {report.changed:,} rows changed.")


@app.command("retrain")
def retrain_command(
    force: Annotated[
        bool, typer.Option(help="Publish whatever the gate says, even if nothing is new.")
    ] = False,
    preset: Annotated[
        Literal["notebook"] | None, typer.Option(help="A named set of settings.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of RECSVC_SEED.")] = None,
    top_n: Annotated[int | None, typer.Option(help="Instead of RECSVC_TOP_N.")] = None,
    threads: Annotated[int | None, typer.Option(help="Instead of RECSVC_THREADS.")] = None,
    scheduled_for: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The night to run once: in ISO 8601, or `latest`."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train, compare and publish, unless the gate refuses (exit 4).

    Example: recsvc retrain --top-n 50
    """
    options = {"seed": seed, "top_n": top_n, "threads": threads}
    given = {name: value for name, value in options.items() if value is not None}
    settings = Settings.read((PRESETS[preset] if preset else {}) | given)
    night = Nights.of(settings).parse(scheduled_for, datetime.now(UTC)) if scheduled_for else None
    report = retrain(_engine(settings), settings, force=force, scheduled_for=night)
    if as_json:
        display.print_json(asdict(report))
    else:
        display.print_line(f"Run {report.run_id} {report.status}. {report.reason}")


@app.command("schedule")
def schedule_command() -> None:
    """Retrain every night at RECSVC_SCHEDULE until stopped (exit 75 if that abandons a run).

    Example: recsvc schedule
    """
    settings = Settings.read()
    engine = _engine(settings)
    with reading(engine) as connection:
        last = last_scheduled(connection, JOB)
    engine.dispose()  # a scheduler that waits for a night holds no connection
    raise typer.Exit(schedule(settings, last))


@app.command()
def status(as_json: Json = False) -> None:
    """Show what readers see now, how the last run went, and how much data there is.

    Example: recsvc status
    """
    with reading(_engine()) as connection:
        found = readers.status(connection)
    if as_json:
        display.print_json(found)
    else:
        _print_status(found)


def _print_status(found: dict[str, Any]) -> None:
    published, last = found["published"], found["last_run"]
    if published["run_id"] is None:
        display.print_line("Readers see nothing yet: run `recsvc retrain`.")
    else:
        age = f"{published['age_seconds'] / 3600:.1f} hours ago"
        display.print_line(f"Readers see run {published['run_id']}, published {age}.")
        display.print_line(found["publication"]["reason"])
    counts = ", ".join(f"{count:,} {name}" for name, count in found["rows"].items())
    display.print_line(f"Data: {counts}.")
    if found["wal_bytes"]:
        display.print_line(f"Write-ahead log: {display.megabytes(found['wal_bytes'])}.")
    if last:
        display.print_line(f"Last run: {last['run_id']} {last['status']}. {last['error'] or ''}")
        phases = [
            row | {"peak_memory": display.megabytes(row["peak_memory"])} for row in found["phases"]
        ]
        display.print_rows(phases, ("phase", "seconds", "rows", "peak_memory"))


@app.command()
def runs(
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List the newest runs.

    Example: recsvc runs --limit 5
    """
    with reading(_engine()) as connection:
        rows = readers.run_history(connection, limit)
    if as_json:
        display.print_json(rows)
    else:
        columns = ("run_id", "status", "started_at", "seconds", "ratings", "users", "movies")
        display.print_rows(rows, (*columns, "error"))


@app.command()
def metrics(
    run_id: Annotated[
        int | None, typer.Option("--run", help="By default the newest.", **_INT64)
    ] = None,
    segment: Annotated[str, typer.Option(help="Such as activity:low; * for every one.")] = "all",
    as_json: Json = False,
) -> None:
    """Show how each model did on a run's holdout.

    Example: recsvc metrics --segment popularity:tail
    """
    with reading(_engine()) as connection:
        rows = readers.metrics_of(connection, run_id, segment)
    if as_json:
        display.print_json(rows)
        return
    first = rows[0]
    display.print_line(f"Run {first['run_id']} ({first['status']}), holdout: {first['protocol']}.")
    models = sorted({row["model"] for row in rows}, reverse=True)
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["segment"], row["metric"], row["k"])
        line = lines.setdefault(
            key, dict.fromkeys(models) | dict(zip(_METRIC_KEY, key, strict=True))
        )
        line[row["model"]] = f"{row['value']:.6f}"
        line["users"] = row["users"]
    display.print_rows(list(lines.values()), (*_METRIC_KEY, *models, "users"))


_METRIC_KEY = ("segment", "metric", "k")


@app.command()
def recommend(
    user_id: UserId,
    limit: Limit = 10,
    as_json: Json = False,
) -> None:
    """Show what readers see for a user.

    Example: recsvc recommend 42
    """
    with reading(_engine()) as connection:
        rows = readers.recommendations_for(connection, user_id, limit)
    if as_json:
        display.print_json(rows)
    elif rows:
        display.print_rows(rows, ("rank", "movie_id", "title", "genres", "score", "source"))
    else:
        display.print_line(f"User {user_id} has no recommendations in the published run.")


@app.command()
def similar(
    movie_id: MovieId,
    limit: Limit = 10,
    as_json: Json = False,
) -> None:
    """Show the movies that resemble a movie.

    Example: recsvc similar 1
    """
    with reading(_engine()) as connection:
        rows = readers.similar_to(connection, movie_id, limit)
    if as_json:
        display.print_json(rows)
    elif rows:
        display.print_line(f"Similar to {rows[0]['title']}:")
        display.print_rows(rows, ("rank", "similar_movie_id", "similar_title", "similarity"))
    else:
        display.print_line(f"Movie {movie_id} has no similar movies in the published run.")


@app.command("explain")
def explain_command(
    user_id: UserId,
    movie_id: MovieId,
    as_json: Json = False,
) -> None:
    """Show the tokens that a score adds up from, in the published model.

    Example: recsvc explain 42 1
    """
    with reading(_engine()) as connection:
        title = readers.title_of(connection, movie_id)
        archived = from_bytes(readers.archived_model(connection))
    explanation = explain(
        archived,
        _index_of(archived.users, user_id, "user"),
        _index_of(archived.items, movie_id, "movie"),
    )
    if as_json:
        display.print_json(asdict(explanation))
        return
    display.print_line(
        f"{title}: {explanation.score:.4f} for user {user_id} ({explanation.source})"
    )
    display.print_rows([asdict(term) for term in explanation.contributions], ("token", "value"))


def _index_of(ids: IdMap, value: int, noun: str) -> int:
    try:
        return int(ids.to_indices(np.array([value]))[0])
    except KeyError:
        raise UsageError(f"The published model knows no {noun} {value}.") from None


@app.command()
def rollback(
    run_id: Annotated[
        int | None, typer.Argument(help="By default the run before.", **_INT64)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show readers an earlier run again.

    Example: recsvc rollback
    """
    switched = publication.roll_back(_engine(), run_id)
    if as_json:
        display.print_json(asdict(switched))
    else:
        display.print_line(f"Readers see run {switched.run_id} again.")


@app.command()
def prune(as_json: Json = False) -> None:
    """Delete the output of runs older than the newest RECSVC_KEEP_RUNS; metrics stay.

    Example: recsvc prune
    """
    settings = Settings.read()
    pruned = publication.prune(
        _engine(settings), settings.keep_runs, lock_timeout=settings.lock_timeout_seconds
    )
    if as_json:
        display.print_json({"pruned": pruned})
    else:
        display.print_line(f"Pruned: {', '.join(map(str, pruned)) or 'nothing'}.")


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")],
    ratings: Annotated[int, typer.Option(min=1, help="Rows of ratings.csv.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 42,
    as_json: Json = False,
) -> None:
    """Write MovieLens-shaped CSVs of any size.

    Example: recsvc synth synthetic --ratings 1000000
    """
    summary = write_synthetic(folder, ratings=ratings, seed=seed)
    if as_json:
        display.print_json(asdict(summary))
    else:
        display.print_line(
            f"{folder}: {summary.ratings:,} ratings and {summary.tags:,} tags of "
            f"{summary.users:,} users for {summary.movies:,} movies."
        )


@app.command("download")
def download_command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}.")],
    folder: Annotated[Path, typer.Argument(help="Where to put the data set's own folder.")],
) -> None:
    """Fetch a MovieLens data set from GroupLens and verify its checksum.

    Example: recsvc download ml-latest-small data
    """
    display.print_line(f"{download(name, folder)}")
