"""Log lines on stderr: what happened, in which run and phase, with secrets masked.

Modules log through ``logging.getLogger("recsvc")`` and give figures as ``extra={"rows": 5}``; the
command configures where that goes, once. :func:`run_context` and :func:`phase_context` put the run
and the phase on every line in between. A thread starts with an empty context: start it with
``contextvars.copy_context().run`` where its lines are to carry them.
"""

import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

log = logging.getLogger("recsvc")

_run_id: ContextVar[int | None] = ContextVar("run_id", default=None)
_phase: ContextVar[str | None] = ContextVar("phase", default=None)

MASK = "***"


def configure(*, as_json: bool = False) -> None:
    """Send what is logged, and what Python warns of, to stderr: a line or a JSON object each."""
    handler = _Stderr()
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    root = logging.getLogger()
    for old in [found for found in root.handlers if isinstance(found, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    log.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def is_json() -> bool:
    """Whether stderr is to hold nothing but JSON."""
    return any(isinstance(found.formatter, JsonLines) for found in logging.getLogger().handlers)


@contextmanager
def run_context(run_id: int) -> Iterator[None]:
    """Put ``run_id`` on every line of the block."""
    token = _run_id.set(run_id)
    try:
        yield
    finally:
        _run_id.reset(token)


@contextmanager
def phase_context(name: str) -> Iterator[None]:
    """Put the phase on every line of the block.

    Not around a ``yield`` of a generator: whoever consumes it would log under this phase.
    """
    token = _phase.set(name)
    try:
        yield
    finally:
        _phase.reset(token)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at the moment, which a progress bar or a test replaces."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop a line that cannot be written; logging's own report would not be masked."""


class PlainLines(logging.Formatter):
    """``TIME LEVEL run_id=… phase=… message name=value``, then the traceback, if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, or several where there is a traceback."""
        parts = _parts(record)
        head = [parts["time"], parts["level"]]
        head += [f"{name}={_word(parts[name])}" for name in ("run_id", "phase")]
        fields = [f"{name}={_word(value)}" for name, value in parts["fields"].items()]
        line = " ".join([*head, _printable(parts["message"]), *fields])
        return "\n".join([line, *parts.get("exception", "").splitlines()])


class JsonLines(logging.Formatter):
    """One JSON object: time, level, run_id, phase, message, fields, and exception, if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        return json.dumps(_parts(record))


_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def _parts(record: logging.LogRecord) -> dict[str, Any]:
    moment = datetime.fromtimestamp(record.created, UTC)
    extra = {key: value for key, value in vars(record).items() if key not in _OF_EVERY_RECORD}
    parts = {
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "run_id": _run_id.get(),
        "phase": _phase.get(),
        "message": masked(_message(record)),
        "fields": {name: _safe(value) for name, value in extra.items()},
    }
    if record.exc_info:
        parts["exception"] = masked(logging.Formatter().formatException(record.exc_info))
    return parts


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit the text: a line all the same
        return f"{record.msg} {record.args}"


def _safe(value: Any) -> Any:
    """Return what JSON can hold, masked."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {masked(str(key)): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(item) for item in value]
    return masked(str(value))


def _word(value: Any) -> str:
    """Return a value as it stands in a plain line, quoted where its end would not be seen."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return _printable(text) if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text)


def _printable(text: str) -> str:
    r"""Escape what would break a line or steer a terminal.

    >>> print(_printable("one\ntwo \x1b[31mred"))
    one\ntwo \x1b[31mred
    """
    return re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", lambda found: ascii(found[0])[1:-1], text)


def masked(text: str) -> str:
    """Hide the database's password, whatever library put it there and however it is encoded.

    >>> masked("postgresql://reader:hunter2@db/films")
    'postgresql://reader:***@db/films'
    """
    database_url = next(
        (value for name, value in os.environ.items() if name.upper() == "DATABASE_URL"), ""
    )
    for pattern in _patterns(database_url, os.environ.get("PGPASSWORD", "")):
        text = pattern.sub(lambda found: found.groupdict().get("head", "") + MASK, text)
    return text


# A password in a URL or in libpq's "password=…", whosever it is.
_IN_URL = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@]*:)\S+(?=@)", re.IGNORECASE)
_IN_DSN = re.compile(r"(?P<head>password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s'\"&;]+)", re.IGNORECASE)

_SHORT = 4


@lru_cache(maxsize=8)
def _patterns(database_url: str, pgpassword: str) -> tuple[re.Pattern[str], ...]:
    from sqlalchemy import make_url  # noqa: PLC0415 - slow, and few commands have something to mask
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    passwords, public = {pgpassword}, {"", "recsvc"}
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        pass
    else:
        passwords |= {str(url.password or ""), *map(str, _password_options(url.query))}
        # Hiding a word that is printed anyway would hide nothing and garble every message.
        public |= {url.username or "", url.database or ""}
    found = sorted(passwords - public, key=len, reverse=True)
    return (*map(_pattern, found), _IN_URL, _IN_DSN)


def _password_options(query: Mapping[str, str | tuple[str, ...]]) -> Iterator[str]:
    for name, value in query.items():
        if name.lower().endswith("password"):
            yield from (value,) if isinstance(value, str) else value


def _pattern(password: str) -> re.Pattern[str]:
    """Match a password as it is, percent-encoded in full or in part, or escaped by ``repr``."""
    # Runs of backslashes are matched as one: each on its own, they could match in many ways.
    parts = re.findall(r"\\+|[^\\]", password, re.DOTALL)
    body = "".join(f"(?:{'|'.join(_forms(part))})" for part in parts)
    if len(password) < _SHORT:  # by itself only: it may be a part of any word
        body = rf"(?<!\w){body}(?!\w)"
    return re.compile(body)


def _forms(part: str) -> Iterator[str]:
    """Yield patterns for one character, or for a run of backslashes."""
    octets = part.encode("utf-8", "surrogateescape")
    yield re.escape(part)
    yield "(?i:" + "".join(f"%{octet:02x}" for octet in octets) + ")"
    if part.startswith("\\"):
        yield rf"\\{{{len(part)},{4 * len(part)}}}"
    elif part in "\"'":
        yield r"\\{1,4}" + part
    elif part == " ":
        yield r"\+"
    elif not part.isascii() or not part.isprintable():
        for escape in {ascii(part), json.dumps(part)}:
            yield r"\\{1,4}" + escape[2:-1].replace("\\", r"\\{1,4}")
