"""Commands that show what is there."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsvc.cli import display, spreadsheet
from recsvc.cli.application import INT64, Csv, Json, Limit, MovieId, UserId, app, engine_at_head
from recsvc.errors import UsageError
from recsvc.vocabulary import ALL, MODELS

if TYPE_CHECKING:
    from recsvc.model.data.identifiers import IdMap
    from recsvc.store.reading.queries import Row, Status

Form = Literal["table", "json", "csv"]


def _form(as_json: bool, as_csv: bool) -> Form:
    """Return the form to print in, before anything is read.

    Raises:
        UsageError: two forms are wanted at once.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other: give one of them.")
    return "json" if as_json else "csv" if as_csv else "table"


def _print_data(rows: "list[Row]", view: str, form: Form) -> None:
    from recsvc.store.reading import queries

    if form == "json":
        display.print_json(rows)
    else:
        display.print_exactly(spreadsheet.as_csv(rows, queries.columns_of(view)))


@app.command()
def status(as_json: Json = False) -> None:
    """Show what readers see now, how the last run went, and how much data there is.

    Example: recsvc status
    """
    from recsvc.store.database.transactions import reading
    from recsvc.store.reading import queries

    with reading(engine_at_head()) as connection:
        found = queries.status(connection)
    if as_json:
        display.print_json(asdict(found))
    else:
        _print_status(found)


def _print_status(found: "Status") -> None:
    published, last = found.published, found.last_run
    if published["run_id"] is None:
        display.print_line("Readers see nothing yet: run `recsvc retrain`.")
    else:
        age = f"{published['age_seconds'] / 3600:.1f} hours ago"
        display.print_line(f"Readers see run {published['run_id']}, published {age}.")
    if found.publication:
        display.print_line(found.publication.reason)
    counts = ", ".join(f"{count:,} {name}" for name, count in found.rows.items())
    display.print_line(f"Data: {counts}.")
    if found.wal_bytes:
        display.print_line(f"Write-ahead log: {display.megabytes(found.wal_bytes)}.")
    if last:
        display.print_line(f"Last run: {last['run_id']} {last['status']}. {last['error'] or ''}")
        if last["protocol_reason"]:
            display.print_line(last["protocol_reason"])
        if found.last_run_silent:
            display.print_line(
                f"It has shown no sign of life since {display.shown(last['heartbeat_at'])}: the "
                "process died or hung. `recsvc retrain` takes over."
            )
        phases = [
            row | {"peak_memory": display.megabytes(row["peak_memory"])} for row in found.phases
        ]
        display.print_rows(phases, ("phase", "seconds", "rows", "peak_memory"))


@app.command()
def runs(
    limit: Limit = 20,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List the newest runs.

    Example: recsvc runs --limit 5
    """
    from recsvc.store.database.transactions import reading
    from recsvc.store.reading import queries

    form = _form(as_json, as_csv)
    with reading(engine_at_head()) as connection:
        rows = queries.run_history(connection, limit)
    if form != "table":
        _print_data(rows, "run_history", form)
    else:
        columns = ("run_id", "status", "started_at", "seconds", "ratings", "users", "movies")
        display.print_rows(rows, (*columns, "error"))


@app.command()
def metrics(
    run_id: Annotated[
        int | None, typer.Option("--run", help="By default the newest.", **INT64)
    ] = None,
    segment: Annotated[str, typer.Option(help="Such as activity:low; * for every one.")] = ALL,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show how each model did on a run's holdout.

    Example: recsvc metrics --segment popularity:tail
    """
    from recsvc.store.database.transactions import reading
    from recsvc.store.reading import queries

    form = _form(as_json, as_csv)
    with reading(engine_at_head()) as connection:
        rows = queries.metrics_of(connection, run_id, segment)
    if form != "table":
        _print_data(rows, "model_metrics", form)
        return
    first = rows[0]
    display.print_line(f"Run {first['run_id']} ({first['status']}), holdout: {first['protocol']}.")
    models = sorted({row["model"] for row in rows}, key=MODELS.index, reverse=True)
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
    as_csv: Csv = False,
) -> None:
    """Show what readers see for a user.

    Example: recsvc recommend 42
    """
    from recsvc.store.database.transactions import reading
    from recsvc.store.reading import queries

    form = _form(as_json, as_csv)
    with reading(engine_at_head()) as connection:
        rows = queries.recommendations_for(connection, user_id, limit)
    if form != "table":
        _print_data(rows, "current_recommendations", form)
    elif rows:
        display.print_rows(rows, ("rank", "movie_id", "title", "genres", "score", "source"))
    else:
        display.print_line(f"User {user_id} has no recommendations in the published run.")


@app.command()
def similar(
    movie_id: MovieId,
    limit: Limit = 10,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show the movies that resemble a movie.

    Example: recsvc similar 1
    """
    from recsvc.store.database.transactions import reading
    from recsvc.store.reading import queries

    form = _form(as_json, as_csv)
    with reading(engine_at_head()) as connection:
        rows = queries.similar_to(connection, movie_id, limit)
    if form != "table":
        _print_data(rows, "current_similar_movies", form)
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
    from recsvc.model.recommenders.archive import from_bytes
    from recsvc.model.recommenders.registry import explain
    from recsvc.store.database.transactions import reading
    from recsvc.store.reading import queries

    with reading(engine_at_head()) as connection:
        title = queries.title_of(connection, movie_id)
        archived = from_bytes(queries.archived_model(connection))
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


def _index_of(ids: "IdMap", value: int, noun: str) -> int:
    import numpy as np

    try:
        return int(ids.to_indices(np.array([value]))[0])
    except KeyError:
        raise UsageError(
            f"The published model knows no {noun} {value}: name one that it was trained on."
        ) from None
