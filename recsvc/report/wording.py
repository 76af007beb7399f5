"""Figures and times as a page says them."""

from datetime import datetime, timedelta

from markupsafe import Markup, escape

MINUTE, HOUR, DAY = 60, 3_600, 86_400
MISSING = "-"


def count(value: int | None) -> str:
    """Return a number of things.

    >>> count(100836), count(None)
    ('100,836', '-')
    """
    return MISSING if value is None else f"{value:,}"


def figure(value: float | None) -> str:
    """Return a measure of quality.

    >>> figure(0.05477)
    '0.0548'
    """
    return MISSING if value is None else f"{value:.4f}"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Return a measure with its confidence interval, if it has one.

    >>> with_interval(0.05477, 0.04568, 0.06386)
    '0.0548 (0.0457 to 0.0639)'
    """
    if low is None or high is None:
        return figure(value)
    return f"{figure(value)} ({low:.4f} to {high:.4f})"


def percent(share: float | None) -> str:
    """Return a share of a whole.

    >>> percent(0.02546)
    '2.5 %'
    """
    return MISSING if share is None else f"{100 * share:.1f} %"


def moment(value: datetime | None) -> str:
    """Return a time in UTC."""
    return MISSING if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def duration(seconds: float | None) -> str:
    """Return how long something took.

    >>> [duration(seconds) for seconds in (0.0123, 14.36, 185, 7_320)]
    ['0.01 s', '14.4 s', '3 min 5 s', '2 h 2 min']
    """
    if seconds is None:
        return MISSING
    if seconds < MINUTE:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min {seconds % MINUTE:.0f} s"
    return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"


def age(span: timedelta) -> str:
    """Return how old something is, in its largest unit or two.

    >>> [age(timedelta(seconds=seconds)) for seconds in (59, 90 * 60, 3 * 86_400)]
    ['less than a minute', '1 h 30 min', '3 days']
    """
    seconds = span.total_seconds()
    if seconds < MINUTE:
        return "less than a minute"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
    return f"{seconds // DAY:,.0f} days"


def with_code(text: str) -> Markup:
    """Mark what stands between backticks as code, and escape all of it.

    >>> print(with_code("Run `recsvc report -o <file>` & look."))
    Run <code>recsvc report -o &lt;file&gt;</code> &amp; look.
    """
    plain, code = Markup("{}"), Markup("<code>{}</code>")
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner is one of the text
        return escape(text)
    return Markup().join((code if i % 2 else plain).format(part) for i, part in enumerate(parts))
