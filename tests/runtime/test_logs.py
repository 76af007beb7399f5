"""A log line says when, how bad, in which run and phase; and never what is secret."""

import contextvars
import json
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa

from recsvc.cli.main import main
from recsvc.runtime import logs
from recsvc.settings import Settings

log = logging.getLogger("recsvc")

PASSWORDS = [
    "canary-7Qz",
    "ca n+ry/7@Qz:%41",
    "canary\"7'Q\\z",
    "kanári-7Qž",
    "canary%2F7Qz",
    "q7Z",
]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    root.handlers[:] = handlers
    logging.captureWarnings(capture=False)


@pytest.fixture(params=PASSWORDS)
def password(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A password that is in DATABASE_URL, for a server that is not there."""
    password: str = request.param
    monkeypatch.setenv(
        "DATABASE_URL", f"postgresql://reader:{quote(password, safe='')}@127.0.0.1:1/films"
    )
    return password


def _forms(password: str) -> set[str]:
    """Everything that would give the password away."""
    percent = {quote(password, safe=""), quote(password), quote_plus(password)}
    percent |= {re.sub("%..", lambda code: code[0].lower(), form) for form in percent}
    escaped = {repr(password)[1:-1], ascii(password)[1:-1], json.dumps(password)[1:-1]}
    return {password, *percent, *escaped, sa.URL.create("p", "u", password).render_as_string(False)}


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_plain_line_has_time_level_run_phase_message_and_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure()
    with logs.run_context(12), logs.phase_context("fit:popular"):
        log.info("read %d rows", 5, extra={"seconds": 0.25, "file": "a b.csv", "none": None})
    (line,) = capsys.readouterr().err.splitlines()
    moment, rest = line.split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert rest == (
        'INFO run_id=12 phase=fit:popular read 5 rows seconds=0.25 file="a b.csv" none=-'
    )


def test_a_json_line_has_time_level_run_phase_message_and_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(as_json=True)
    with logs.run_context(12), logs.phase_context("load"):
        log.warning("lost %s", "touch", extra={"seconds": float("nan"), "rows": 3})
    (line,) = _lines(capsys)
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "WARNING",
        "run_id": 12,
        "phase": "load",
        "message": "lost touch",
        "fields": {"seconds": "nan", "rows": 3},
    }


def test_outside_a_run_the_keys_are_there_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(as_json=True)
    log.info("hello")
    (line,) = _lines(capsys)
    assert (line["run_id"], line["phase"], line["fields"]) == (None, None, {})


def test_a_phase_inside_a_phase_gives_way_to_the_outer_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(as_json=True)
    with logs.phase_context("write"):
        with logs.phase_context("rank"):
            log.info("a")
        log.info("b")
    log.info("c")
    assert [line["phase"] for line in _lines(capsys)] == ["rank", "write", None]


def test_a_thread_started_with_the_context_logs_under_its_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(as_json=True)
    with logs.run_context(3):
        run = contextvars.copy_context().run
        thread = threading.Thread(target=run, args=(log.info, "beat"))
    thread.start()
    thread.join()
    assert [line["run_id"] for line in _lines(capsys)] == [3]


def test_a_line_stays_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    log.info("a title\nwith \x1b[31mred\u2028in it", extra={"file": "x\r\ny"})
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "\x1b" not in written
    assert written.isprintable() or written[:-1].isprintable()


@pytest.mark.parametrize("formatter", [logs.PlainLines(), logs.JsonLines()])
def test_arguments_that_do_not_fit_the_text_lose_no_line(formatter: logging.Formatter) -> None:
    record = log.makeRecord("recsvc", logging.INFO, "", 0, "%d rows", ("many",), None)
    assert "many" in formatter.format(record)


def test_configuring_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.configure(as_json=True)
    log.info("once")
    assert len(_lines(capsys)) == 1


def test_warnings_of_libraries_are_log_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure(as_json=True)
        warnings.warn("beware", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (line,) = _lines(capsys)
    assert "beware" in str(line["message"])


@pytest.mark.parametrize("as_json", [False, True])
def test_no_form_of_the_password_is_logged(
    password: str, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    logs.configure(as_json=as_json)
    for form in _forms(password):
        log.info("it is (%s)", form, extra={"text": form, "nested": {"list": [form]}})
        try:
            int(form)
        except ValueError:
            log.exception("with a traceback")
    written = capsys.readouterr().err
    assert "Traceback" in written
    assert written.count("***") >= 4 * len(_forms(password))
    assert not [form for form in _forms(password) if form in written]


def test_the_password_is_in_no_repr(password: str) -> None:
    settings = Settings.read()
    shown = f"{settings!r} {settings.url!r} {settings} {settings.url} {settings.recipe()}"
    assert not [form for form in _forms(password) if form in shown]


@pytest.mark.parametrize("options", [[], ["--log-json"]])
@pytest.mark.parametrize("command", ["db upgrade", "retrain", "status", "db check", "prune"])
def test_no_command_shows_the_password_when_the_database_is_away(
    password: str, command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*options, *command.split()])
    assert end.value.code == 69
    shown = "".join(capsys.readouterr())
    assert "does not answer" in shown
    assert not [form for form in _forms(password) if form in shown]


def test_no_traceback_shows_the_password(
    password: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(Settings.read().url.render_as_string(hide_password=False))

    monkeypatch.setattr("recsvc.store.database.engine.open_engine", broken)
    with pytest.raises(SystemExit) as end:
        main(["status"])
    assert end.value.code == 1
    shown = "".join(capsys.readouterr())
    assert "Traceback" in shown
    assert "reader:***@" in shown
    assert not [form for form in _forms(password) if form in shown]


def test_a_password_given_in_another_way_is_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "canary-1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/films?user=u&password=canary-2")
    text = "canary-1, canary-2, password='canary 3' redis://x:canary@4@host password = canary5"
    assert "canary" not in logs.masked(text)


def test_a_password_that_is_no_secret_does_not_garble_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://recsvc:recsvc@localhost/recsvc")
    assert logs.masked("run `recsvc db upgrade`") == "run `recsvc db upgrade`"
    assert logs.masked("postgresql://recsvc:recsvc@h/d") == "postgresql://recsvc:***@h/d"


def test_with_json_logs_a_failing_command_writes_json_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/at/all.db")
    with pytest.raises(SystemExit):
        main(["--log-json", "retrain"])
    (line,) = _lines(capsys)
    assert line["level"] == "ERROR"
    assert line["fields"] == {"exit_code": 78}
