"""Commands that make, switch and remove what readers see."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from recsvc.cli import display
from recsvc.cli.application import INT64, Json, app, engine_at_head


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
    from recsvc.pipeline.calendar import Nights
    from recsvc.pipeline.retrain import retrain
    from recsvc.settings import PRESETS, Settings

    options = {"seed": seed, "top_n": top_n, "threads": threads}
    given = {name: value for name, value in options.items() if value is not None}
    settings = Settings.read((PRESETS[preset] if preset else {}) | given)
    night = Nights.of(settings).parse(scheduled_for, datetime.now(UTC)) if scheduled_for else None
    report = retrain(engine_at_head(settings), settings, force=force, scheduled_for=night)
    if as_json:
        display.print_json(asdict(report))
    else:
        display.print_line(f"Run {report.run_id} {report.status}. {report.reason}")


@app.command("audit")
def audit_command(
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each kind.")] = 3,
    as_json: Json = False,
) -> None:
    """Find out whether genres and tags help, by training with and without them, and store it.

    Example: recsvc audit --seeds 5
    """
    from recsvc.pipeline.audit import audit
    from recsvc.settings import Settings

    settings = Settings.read()
    records = [asdict(record) for record in audit(engine_at_head(settings), settings, seeds)]
    if as_json:
        display.print_json(records)
        return
    first = records[0]
    display.print_line(
        f"NDCG@{first['k']} of lightfm_hybrid, holdout: {first['protocol']}, "
        f"{first['users']} users, {first['seeds']} seeds."
    )
    columns = ("feature", "compared_with", "value", "compared_value", "difference")
    display.print_rows(records, (*columns, "ci_low", "ci_high"))


@app.command("schedule")
def schedule_command() -> None:
    """Retrain every night at RECSVC_SCHEDULE until stopped (exit 75 if that abandons a run).

    Example: recsvc schedule
    """
    from recsvc.pipeline.calendar import JOB
    from recsvc.pipeline.scheduler import schedule
    from recsvc.settings import Settings
    from recsvc.store.database.transactions import reading
    from recsvc.store.runs.ledger import last_scheduled

    settings = Settings.read()
    engine = engine_at_head(settings)
    with reading(engine) as connection:
        last = last_scheduled(connection, JOB)
    engine.dispose()  # a scheduler that waits for a night holds no connection
    raise typer.Exit(schedule(settings, last))


@app.command()
def rollback(
    run_id: Annotated[
        int | None, typer.Argument(help="By default the run before.", **INT64)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show readers an earlier run again.

    Example: recsvc rollback
    """
    from recsvc.store.runs.publication import roll_back

    switched = roll_back(engine_at_head(), run_id)
    if as_json:
        display.print_json(asdict(switched))
    else:
        display.print_line(f"Readers see run {switched.run_id} again.")


@app.command()
def prune(as_json: Json = False) -> None:
    """Delete the output of runs older than the newest RECSVC_KEEP_RUNS; metrics stay.

    Example: recsvc prune
    """
    from recsvc.settings import Settings
    from recsvc.store.runs import publication

    settings = Settings.read()
    pruned = publication.prune(
        engine_at_head(settings), settings.keep_runs, lock_timeout=settings.lock_timeout_seconds
    )
    if as_json:
        display.print_json({"pruned": pruned})
    else:
        display.print_line(f"Pruned: {', '.join(map(str, pruned)) or 'nothing'}.")
