"""The page as a whole: one file that needs nothing else and runs nothing."""

import base64
import hashlib
from datetime import datetime
from functools import cache

import jinja2
from markupsafe import Markup

from recsvc.report import activity, lists, quality
from recsvc.report.state import facts, gate_table, judge
from recsvc.report.wording import moment, with_code
from recsvc.store.reading.overview import Overview


def render(found: Overview, now: datetime) -> str:
    """Return the page; the same rows at the same time give the same bytes.

    Args:
        found: what there is to report.
        now: by the database's clock, with a time zone.
    """
    style = _style()
    return (
        _templates()
        .get_template("report.html")
        .render(
            style=style,
            style_source=_source(style),
            made=moment(now),
            state=judge(found, now),
            facts=facts(found, now),
            gate=gate_table(found),
            sections=[
                *quality.sections(found),
                *lists.sections(found),
                *activity.sections(found),
            ],
        )
    )


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recsvc.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["with_code"] = with_code
    return environment


def _style() -> Markup:
    source, _, _ = _templates().loader.get_source(_templates(), "style.css")  # type: ignore[union-attr]
    return Markup(source)  # noqa: S704 - a file of ours, without any value in it


def _source(style: str) -> str:
    """Return the style sheet as a source of a Content-Security-Policy: this one and no other.

    https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    digest = hashlib.sha256(style.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
