"""A page of the report, read as a browser would."""

from datetime import datetime
from html.parser import HTMLParser

import sqlalchemy as sa

from recsvc.report.page import render
from recsvc.store.database.clock import database_now
from recsvc.store.database.transactions import reading_at_one_moment
from recsvc.store.reading.overview import read_overview
from recsvc.store.runs.ledger import Claim, claim_run


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.comments: list[str] = []
        self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute is there twice"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "style" and not self.style:
            self.style = data
        elif data.strip():
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def policy(self) -> str:
        (content,) = (meta["content"] for meta in self.named("meta") if "http-equiv" in meta)
        return content


def rendered(engine: sa.Engine, now: datetime | None = None) -> str:
    with reading_at_one_moment(engine) as connection:
        return render(read_overview(connection), now or database_now(connection))


# --- before there is anything, and when it goes wrong ----------------------------------------


def _claimed(engine: sa.Engine) -> Claim:
    return claim_run(engine, "retrain", host="here:1", settings={}, versions={}, lease_seconds=60)
