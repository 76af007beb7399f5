"""The examples in deploy/ are valid, and start what the program understands."""

import json
import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger

from recsvc.pipeline.calendar import Nights
from recsvc.settings import Settings

DEPLOY = Path(__file__).parent.parent / "deploy"
CRONTAB = DEPLOY / "cron" / "recsvc.crontab"
UNITS = sorted((DEPLOY / "systemd").iterdir())
CRONJOB = DEPLOY / "kubernetes" / "cronjob.yaml"
RETRAIN = ["recsvc", "retrain", "--scheduled-for", "latest"]
TIMEOUT_S = 60


def tool(name: str) -> str:
    """Return a program's path, or skip the test."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def values(unit: Path, key: str) -> list[str]:
    """Return what a unit file sets a key to."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)


def cron_line() -> tuple[str, str]:
    """Return the schedule and the command of the crontab's only job."""
    [line] = re.findall(r"^[\d*].*$", CRONTAB.read_text("utf-8"), re.MULTILINE)
    fields = line.split(maxsplit=5)
    return " ".join(fields[:5]), fields[5]


def is_nightly(expression: str) -> bool:
    """Whether a cron expression is due when RECSVC_SCHEDULE is by default, and never between."""
    trigger = CronTrigger.from_crontab(expression, timezone=UTC)
    nights = Nights.of(Settings.read())
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    due = [nights.following(moment), nights.following(nights.following(moment))]
    first = trigger.get_next_fire_time(None, moment)
    return [first, trigger.get_next_fire_time(first, first)] == due


def test_crontab_accepts_the_cron_example() -> None:
    checked = run(tool("crontab"), "-T", str(CRONTAB))
    if "invalid option" in checked.stderr:
        pytest.skip("this crontab cannot check a file")
    assert checked.returncode == 0, checked.stderr


def test_cron_retrains_every_night() -> None:
    expression, command = cron_line()
    assert is_nightly(expression)
    assert "%" not in command, "cron takes it for the end of the line"
    assert command.endswith(f"/opt/recsvc/bin/{shlex.join(RETRAIN)}")


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """The units as they are where recsvc is installed."""
    for unit in UNITS:
        text = unit.read_text("utf-8").replace("/opt/recsvc/bin/recsvc", "/bin/true")
        (tmp_path / unit.name).write_text(text, "utf-8")
    return [str(tmp_path / unit.name) for unit in UNITS]


def test_systemd_accepts_each_unit_without_a_warning(installed: list[str]) -> None:
    checked = run(tool("systemd-analyze"), "verify", *installed)
    ours = [line for line in checked.stderr.splitlines() if "recsvc" in line]
    assert (checked.returncode, ours) == (0, [])


def test_systemd_warns_of_what_it_does_not_know(installed: list[str]) -> None:
    timer = next(Path(name) for name in installed if name.endswith(".timer"))
    timer.write_text(timer.read_text("utf-8").replace("Persistent=", "Persistant="), "utf-8")
    checked = run(tool("systemd-analyze"), "verify", *installed)
    assert "Persistant" in checked.stderr


def test_the_timer_is_due_when_the_program_thinks_so() -> None:
    [calendar] = values(DEPLOY / "systemd" / "recsvc-retrain.timer", "OnCalendar")
    settings = Settings.read()
    assert calendar == f"*-*-* {settings.schedule}:00 {settings.timezone}"
    checked = run(tool("systemd-analyze"), "calendar", calendar)
    assert checked.returncode == 0, checked.stderr


def test_units_start_commands_of_the_program_and_retry_only_what_passes() -> None:
    units = {unit.name: unit for unit in UNITS}
    retraining, scheduling = units["recsvc-retrain.service"], units["recsvc-schedule.service"]
    assert values(retraining, "ExecStart") == [f"/opt/recsvc/bin/{shlex.join(RETRAIN)}"]
    assert values(retraining, "RestartPreventExitStatus") == ["1 2 3 4 78"]
    assert values(scheduling, "ExecStart") == ["/opt/recsvc/bin/recsvc schedule"]
    assert values(scheduling, "KillMode") == ["mixed"]
    [patience] = values(scheduling, "TimeoutStopSec")
    assert int(patience) > Settings.read().grace_seconds + 30


def without_empty(value: Any) -> Any:
    """Drop what kubectl adds: fields without a value."""
    if isinstance(value, dict):
        kept = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, {}, [])}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def manifest() -> dict[str, Any]:
    """The CronJob as it is written."""
    parsed = run(tool("kubectl"), "label", "--local", "-f", str(CRONJOB), "a=b", "-o", "json")
    assert parsed.returncode == 0, parsed.stderr
    document: dict[str, Any] = json.loads(parsed.stdout)
    del document["metadata"]["labels"]
    return document


def test_kubernetes_knows_every_field_of_the_cron_job(manifest: dict[str, Any]) -> None:
    # Reading it as a CronJob drops what a CronJob does not have, and refuses wrong types.
    command = ["set", "env", "--local", "-f", str(CRONJOB), "ADDED=1", "-o", "json"]
    understood = run(tool("kubectl"), *command)
    assert understood.returncode == 0, understood.stderr
    document = json.loads(understood.stdout)
    [container] = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["env"].pop() == {"name": "ADDED", "value": "1"}
    assert without_empty(document) == without_empty(manifest)


def test_kubernetes_retrains_every_night_one_at_a_time(manifest: dict[str, Any]) -> None:
    spec, job = manifest["spec"], manifest["spec"]["jobTemplate"]["spec"]
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "CronJob")
    assert is_nightly(spec["schedule"])
    assert spec["timeZone"] == "Etc/UTC"
    assert spec["concurrencyPolicy"] == "Forbid"
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    [container] = pod["containers"]
    arguments = [argument for argument in container["args"] if argument != "--log-json"]
    assert container["command"] + arguments == RETRAIN


def test_kubernetes_takes_the_database_from_a_secret_and_retries_only_what_passes(
    manifest: dict[str, Any],
) -> None:
    job = manifest["spec"]["jobTemplate"]["spec"]
    [container] = job["template"]["spec"]["containers"]
    variables = {variable["name"]: variable for variable in container["env"]}
    assert "secretKeyRef" in variables["DATABASE_URL"]["valueFrom"]
    codes = [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"][1:]]
    assert codes == [[1, 2, 3, 4, 78]]
