"""The morning report: one page that says how things stand and runs nothing that it shows."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa

from recsvc import vocabulary
from recsvc.ingest.folder import ingest_folder
from recsvc.pipeline.retrain import retrain
from recsvc.report.charts import NAMES, VALUES, WIDTH, Bar, Point, bar_chart, line_chart
from recsvc.report.lists import SOURCES
from recsvc.report.page import render
from recsvc.report.quality import MODELS
from recsvc.store.contract.tables import movies, publications, runs
from recsvc.store.database.clock import database_now
from recsvc.store.database.transactions import reading, reading_at_one_moment, writing
from recsvc.store.reading.overview import read_overview
from recsvc.store.runs.ledger import Claim, claim_run, finish_run, record_gate
from recsvc.store.runs.publication import publish
from tests import hostile, taste
from tests.commands import Commands
from tests.prepared import DATABASES, Prepared, copied

CHROMIUM = "/usr/bin/chromium"

#: Every element that the templates have, and every attribute.
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section"),
    *("nav", "h1", "h2", "p", "strong", "code", "div", "dl", "dt", "dd", "ul", "li", "a", "bdi"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption"),
    *("svg", "desc", "path", "rect", "circle", "text"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "id", "class", "href", "scope"),
    *("role", "tabindex", "aria-label", "aria-labelledby", "aria-hidden", "viewbox", "width"),
    *("height", "x", "y", "d", "cx", "cy", "r"),
}


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


@pytest.fixture(scope="module", params=DATABASES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepared]:
    """Two published runs on titles that try to be more than text."""
    folder = tmp_path_factory.mktemp("report")
    with copied(request.param, request, folder) as database:
        with database.engine() as engine:
            ingest_folder(engine, hostile.write_files(folder / "files"))
            retrain(engine, database.settings())
            retrain(engine, database.settings(seed=7), force=True)
        yield database


@pytest.fixture(scope="module")
def html(published: Prepared) -> str:
    with published.engine() as engine:
        return rendered(engine)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


class TestWhatItSays:
    def test_the_state_comes_first(self, page: Page, published: Prepared) -> None:
        ((reason,),) = published.rows("SELECT reason FROM publications WHERE run_id = 2")
        first = page.text.partition("Quality of the line-up")[0]
        assert "All is well. Readers see run 2, published less than a minute ago." in first
        assert reason in first
        assert "Last run run 2, published" in first
        assert "43 users, 61 movies, 643 ratings, 3 tags" in first
        assert "Newest rating 2001-09-09" in first
        assert "The gate: run 2 passed, and was told to publish in any case." in first
        assert "run 1" in first, "what it was compared with"

    def test_the_line_up_has_the_figures_of_the_view_with_their_intervals(
        self, page: Page, published: Prepared
    ) -> None:
        rows = published.rows(
            "SELECT model, metric, value, ci_low, ci_high, users FROM model_metrics"
            " WHERE run_id = 2 AND segment = 'all' AND k = 10 AND ci_low IS NOT NULL"
            " AND metric <> 'novelty'"
        )
        assert {row.model for row in rows} == set(MODELS)
        for row in rows:
            figures = f"{row.value:.4f} ({row.ci_low:.4f} to {row.ci_high:.4f})"
            assert figures in page.texts, (row.model, row.metric)
        assert f"over {rows[0].users} users" in page.text

    def test_every_published_run_is_in_the_history_of_quality(
        self, page: Page, published: Prepared
    ) -> None:
        after = page.text.partition("NDCG@10 of published runs, the newest first")[2]
        rows = published.rows(
            "SELECT run_id, value FROM model_metrics WHERE segment = 'all' AND metric = 'ndcg'"
            " AND k = 10 AND model = 'lightfm_hybrid' ORDER BY run_id DESC"
        )
        assert [row.run_id for row in rows] == [2, 1]
        lines = [rf"\b{row.run_id} \d{{4}}-\d\d-\d\d leave_last {row.value:.4f}" for row in rows]
        assert re.search(".*".join(lines), after)

    def test_segments_coverage_and_novelty(self, page: Page, published: Prepared) -> None:
        segments = published.rows("SELECT DISTINCT segment FROM model_metrics WHERE metric='ndcg'")
        assert {row.segment for row in segments} - {"all"} <= set(page.texts)
        coverage = published.value(
            "SELECT value FROM model_metrics WHERE run_id = 2 AND segment = 'all'"
            " AND metric = 'coverage' AND k = 20 AND model = 'popular'"
        )
        assert f"{100 * coverage:.1f} %" in page.texts
        assert "novelty@20" in page.texts

    def test_there_is_a_user_of_each_source(self, page: Page, published: Prepared) -> None:
        rows = published.rows(
            'SELECT source, min(user_id) AS first FROM current_recommendations WHERE "rank" = 1'
            " GROUP BY source"
        )
        assert {row.source for row in rows} == set(SOURCES)
        for row in rows:
            assert f"User {row.first}, " in page.text

    def test_lists_are_what_readers_see(self, page: Page, published: Prepared) -> None:
        listed = published.rows(
            "SELECT title, genres, score FROM current_recommendations"
            f' WHERE user_id = {taste.LISTED} AND "rank" <= 5 ORDER BY "rank"'
        )
        for row in listed:
            assert row.title in page.texts
            assert row.genres.replace("|", ", ") in page.texts
            assert f"{row.score:.4f}" in page.texts

    def test_the_best_known_movies_have_what_resembles_them(
        self, page: Page, published: Prepared
    ) -> None:
        best = published.rows(
            "SELECT movie_id, count(*) AS many FROM ratings GROUP BY movie_id"
            " ORDER BY many DESC, movie_id LIMIT 5"
        )
        for row in best:
            title, similarity = published.rows(
                "SELECT title, similarity FROM current_similar_movies"
                ' WHERE movie_id = :movie AND "rank" = 1',
                movie=row.movie_id,
            )[0]
            assert f"{title}, {row.many} ratings" in page.texts
            assert f"{similarity:.4f}" in page.texts

    def test_phases_runs_ingests_and_rejects(self, page: Page, published: Prepared) -> None:
        for row in published.rows("SELECT phase FROM run_phases WHERE run_id = 2"):
            assert page.texts.count(row.phase) >= 2, "in the chart and in the table"
        after = page.text.partition("The first rows that ingest 1 rejected")[2]
        assert "ratings.csv 645" in after
        assert hostile.REJECTED in after

    def test_names_are_those_of_the_model(self) -> None:
        assert set(MODELS) == set(vocabulary.MODELS)
        assert set(SOURCES) == set(vocabulary.SOURCES)


class TestSafety:
    def test_the_page_has_no_element_or_attribute_but_the_templates_own(self, page: Page) -> None:
        assert {tag for tag, _ in page.elements} <= ELEMENTS
        assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
        assert not page.comments

    def test_hostile_text_is_there_as_text(self, page: Page, published: Prepared) -> None:
        ((shown,),) = published.rows(
            "SELECT count(DISTINCT title) FROM current_recommendations"
            ' WHERE "rank" <= 5 AND user_id IN (1, 101, 102)'
        )
        assert shown > 3
        found = {title for title in hostile.TITLES if title in page.texts}
        assert {title for title in found if "<script>" in title}, "this test is to try some"
        assert len(found) >= shown
        assert any(hostile.GENRE in text for text in page.texts)

    def test_links_stay_on_the_page_and_lead_somewhere(self, page: Page) -> None:
        names = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
        links = [attributes["href"] for attributes in page.named("a")]
        assert links
        assert all(link.startswith("#") and link[1:] in names for link in links)

    def test_nothing_outside_the_file_is_fetched(self, page: Page) -> None:
        assert not re.search(r"url\(|@import|@font-face", page.style)
        assert not {"src", "srcset", "style", "background"} & ATTRIBUTES, "elements have no others"

    def test_the_policy_allows_this_style_sheet_and_nothing_else(self, page: Page) -> None:
        digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
        assert page.policy == (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        )
        assert ".whisker" in page.style

    def test_the_message_of_a_run_is_text_too(self, engine: sa.Engine) -> None:
        text = "<script>document.title='owned'</script> `<b onclick=x>` & `"
        finish_run(engine, _claimed(engine), "failed", text)
        shown = Page(rendered(engine))
        assert "script" not in {tag for tag, _ in shown.elements}
        assert text in shown.texts


class TestAccess:
    def test_it_has_a_language_one_title_and_headings_in_order(self, page: Page) -> None:
        assert page.named("html") == [{"lang": "en"}]
        assert len(page.named("h1")) == 1
        assert len(page.named("h2")) == len(page.named("section"))

    def test_every_table_has_a_caption_and_every_header_a_scope(self, page: Page) -> None:
        assert len(page.named("caption")) == len(page.named("table")) > 0
        assert {header.get("scope") for header in page.named("th")} == {"col", "row"}

    def test_every_chart_has_a_title_and_a_description(self, page: Page) -> None:
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        charts = [svg for svg in page.named("svg") if svg.get("role") == "img"]
        assert len(charts) == len(page.named("figure")) == len(page.named("desc")) == 6
        for chart in charts:
            assert set(chart["aria-labelledby"].split()) <= set(ids)


class TestDeterminism:
    def test_the_same_tables_at_the_same_time_give_the_same_bytes(
        self, published: Prepared
    ) -> None:
        now = datetime(2030, 1, 1, tzinfo=UTC)
        with published.engine() as engine:
            first = rendered(engine, now)
        with published.engine() as engine:
            assert rendered(engine, now) == first

    def test_all_of_it_is_read_at_one_moment(self, engine: sa.Engine) -> None:
        titles = sa.select(sa.func.count()).select_from(movies)
        with reading_at_one_moment(engine) as connection:
            assert connection.scalar(titles) == 0
            with writing(engine) as other:
                other.execute(sa.insert(movies).values(movie_id=1, title="Late"))
            assert connection.scalar(titles) == 0
        with reading(engine) as connection:
            assert connection.scalar(titles) == 1


# --- before there is anything, and when it goes wrong ----------------------------------------


def _claimed(engine: sa.Engine) -> Claim:
    return claim_run(engine, "retrain", host="here:1", settings={}, versions={}, lease_seconds=60)


def _refused(engine: sa.Engine) -> None:
    claim = _claimed(engine)
    reason = "lightfm_hybrid does not beat popular in NDCG@10: difference -0.0185."
    interval = {"mean": -0.0185, "ci_low": -0.027, "ci_high": -0.0099}
    gate = {"passed": False, "reason": reason, "comparisons": {"popular": interval}}
    record_gate(engine, claim, gate | {"forced": False})
    finish_run(engine, claim, "refused", f"Run 1 is not published. {reason}")


def _rated(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        for statement in (
            "INSERT INTO users (user_id) VALUES (1)",
            "INSERT INTO movies (movie_id, title) VALUES (1, 'Heat (1995)')",
            "INSERT INTO ratings (user_id, movie_id, rating, rated_at) VALUES (1, 1, 4.0, 1)",
        ):
            connection.execute(sa.text(statement))


def _state(engine: sa.Engine, now: datetime | None = None) -> str:
    return Page(rendered(engine, now)).text


class TestMornings:
    def test_an_empty_database_asks_for_data(self, engine: sa.Engine) -> None:
        text = _state(engine)
        assert "Have a look. Readers see nothing yet: there are no ratings." in text
        assert "Run recsvc ingest DIR with a folder" in text

    def test_without_a_run_it_asks_for_one(self, engine: sa.Engine) -> None:
        _rated(engine)
        text = _state(engine)
        assert "Readers see nothing yet: there was no run. Run recsvc retrain ." in text

    def test_refused_from_the_start(self, engine: sa.Engine) -> None:
        _rated(engine)
        _refused(engine)
        text = _state(engine)
        assert "Have a look. Readers see nothing yet: Run 1 was refused." in text
        assert "recsvc retrain --force publishes all the same" in text
        assert "The gate: run 1 did not pass. lightfm_hybrid does not beat popular" in text
        assert "popular -0.0185 -0.0270 -0.0099" in text

    def test_the_first_run_is_under_way(self, engine: sa.Engine) -> None:
        _rated(engine)
        _claimed(engine)
        assert "Readers see nothing yet: a run is under way." in _state(engine)

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ("failed", "Something is wrong. Run 2 failed. Readers see run 1, "),
            ("lost", "Something is wrong. Run 2 was lost. Readers see run 1, "),
            ("refused", "Have a look. Run 2 was refused. Readers see run 1, "),
            ("skipped", "All is well. Readers see run 1, "),
        ],
    )
    def test_the_last_run_did_not_publish(
        self, engine: sa.Engine, status: str, expected: str
    ) -> None:
        publish(engine, _claimed(engine), "better")
        finish_run(engine, _claimed(engine), status, "this is why")
        text = _state(engine)
        assert expected in text
        assert "this is why" in text

    def test_a_run_is_under_way(self, engine: sa.Engine) -> None:
        publish(engine, _claimed(engine), "better")
        _claimed(engine)
        assert "All is well. Readers see run 1, published " in _state(engine)
        assert "Run 2 is under way." in _state(engine)

    def test_a_run_that_died_is_not_said_to_be_under_way(self, engine: sa.Engine) -> None:
        _rated(engine)
        claim = _claimed(engine)
        with reading(engine) as connection:
            later = database_now(connection) + timedelta(hours=1, seconds=1)
        silence = "Run 1 showed no sign of life for 1 h 0 min."
        expected = f"Something is wrong. Readers see nothing yet: {silence}"
        assert expected in _state(engine, later)
        publish(engine, claim, "better")
        _claimed(engine)
        text = _state(engine, later)
        assert "Something is wrong. Run 2 showed no sign of life for" in text
        assert "recsvc retrain takes over" in text

    def test_a_day_without_a_run_is_told(self, engine: sa.Engine) -> None:
        publish(engine, _claimed(engine), "better")
        with reading(engine) as connection:
            started = connection.scalar(sa.select(runs.c.started_at))
        assert started is not None
        text = _state(engine, started + timedelta(hours=27, minutes=5))
        assert "Have a look. There was no run for 27 h 5 min." in text
        assert "All is well" in _state(engine, started + timedelta(hours=25))

    def test_a_rollback_is_told(self, engine: sa.Engine) -> None:
        publish(engine, _claimed(engine), "better")
        with writing(engine) as connection:
            connection.execute(sa.update(publications).values(action="rollback"))
        assert "Have a look. Readers see run 1, to which they were rolled back" in _state(engine)

    def test_a_publication_against_the_gate_is_told(self, engine: sa.Engine) -> None:
        claim = _claimed(engine)
        gate = {"passed": False, "reason": "worse", "comparisons": {}, "forced": True}
        record_gate(engine, claim, gate)
        publish(engine, claim, "Forced: worse")
        text = _state(engine)
        assert "Have a look. Readers see run 1, published by force" in text
        assert "The gate: run 1 did not pass, and was told to publish in any case. worse" in text


# --- charts ----------------------------------------------------------------------------------


class TestCharts:
    def test_bars_are_as_long_as_their_values_on_one_scale(self) -> None:
        one, two = Bar("one", "time", 1.0, "1"), Bar("two", "time", 2.0, "2", 1.5, 2.5)
        chart = bar_chart([("first", [one]), ("second", [two])])
        short, long = chart.bars
        assert long.width == pytest.approx(2 * short.width)
        assert short.x == long.x == NAMES
        unit = short.width
        assert long.whisker == pytest.approx((NAMES + 1.5 * unit, NAMES + 2.5 * unit))
        assert max(tick.at for tick in chart.ticks) == WIDTH - VALUES

    def test_an_interval_below_zero_stays_in_the_picture(self) -> None:
        chart = bar_chart([("", [Bar("mid", "popular", 0.1, "0.1", -0.1, 0.3)])])
        (bar,) = chart.bars
        assert bar.whisker is not None
        assert NAMES <= bar.whisker[0] < bar.x

    @pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1e-9], [123_456.0], [-1.0, -2.0]])
    def test_any_values_can_be_drawn(self, values: list[float]) -> None:
        chart = bar_chart([("", [Bar("x", "time", value, "") for value in values])])
        assert all(NAMES <= bar.x <= WIDTH - VALUES for bar in chart.bars)
        assert len({tick.text for tick in chart.ticks}) == len(chart.ticks) >= 2

    def test_higher_values_are_higher_up_and_later_ones_further_right(self) -> None:
        points = [Point(0, 1.0), Point(1, 3.0, 2.0, 4.0), Point(2, 2.0)]
        (line,) = line_chart({"time": points}, ["1", "2", "3"]).lines
        (x0, y0), (x1, y1), (x2, y2) = line.dots
        assert x0 < x1 < x2
        assert y1 < y2 < y0
        ((x, low, high),) = line.whiskers
        assert x == x1
        assert high < y1 < low

    def test_of_many_nights_some_are_named_and_the_last_one_always_is(self) -> None:
        places = [str(run) for run in range(1, 31)]
        chart = line_chart({"time": [Point(i, 1.0) for i in range(30)]}, places)
        assert len(chart.labels) <= 8
        assert chart.labels[-1].text == "30"


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def recsvc(
    published: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    commands = Commands(monkeypatch, capsys)
    commands.set("DATABASE_URL", published.url.render_as_string(hide_password=False))
    return commands


class TestCommand:
    def test_it_writes_the_file_whole_and_names_it(self, recsvc: Commands, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        path.write_text("older")
        written = recsvc("report", "-o", path)
        assert (written.code, written.out) == (0, f"{path}\n")
        assert path.read_text("utf-8").startswith("<!DOCTYPE html>\n")
        assert path.read_text("utf-8").endswith("</html>\n")
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]

    def test_a_dash_is_stdout(self, recsvc: Commands) -> None:
        written = recsvc("report", "-o", "-")
        assert written.code == 0
        assert written.out.startswith("<!DOCTYPE html>\n")
        assert written.out.endswith("</html>\n")

    def test_a_missing_folder_is_named_before_anything_is_read(
        self, recsvc: Commands, tmp_path: Path
    ) -> None:
        recsvc.set("DATABASE_URL", "sqlite:///nowhere.db")
        refused = recsvc("report", "-o", tmp_path / "none" / "report.html")
        assert refused.code == 2
        folder = tmp_path / "none"
        assert (
            refused.err == f"recsvc: There is no folder {folder} for the report: make it first.\n"
        )

    def test_a_device_or_a_pipe_is_no_file(self, recsvc: Commands, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        refused = recsvc("report", "-o", pipe)
        assert refused.code == 2
        assert "no regular file" in refused.err
        assert pipe.is_fifo()

    def test_a_link_still_leads_to_the_file(self, recsvc: Commands, tmp_path: Path) -> None:
        recsvc("db", "upgrade")
        link, file = tmp_path / "report.html", tmp_path / "of-today.html"
        link.symlink_to(file)
        assert recsvc("report", "-o", link).code == 0
        assert link.is_symlink()
        assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    def test_a_folder_is_no_file(self, recsvc: Commands, tmp_path: Path) -> None:
        refused = recsvc("report", "-o", tmp_path)
        assert refused.code == 2
        assert "is a folder" in refused.err

    def test_where_it_cannot_be_written_the_older_one_stays(
        self, recsvc: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "report.html"
        path.write_text("older")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        refused = recsvc("report", "-o", path)
        assert refused.code == 2
        assert "No space left on device" in refused.err
        assert path.read_text() == "older"
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]

    def test_a_database_without_a_schema_says_what_to_do(
        self, recsvc: Commands, tmp_path: Path
    ) -> None:
        (tmp_path / "new.db").touch()
        recsvc.set("DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
        refused = recsvc("report", "-o", "-")
        assert refused.code == 78
        assert "recsvc db upgrade" in refused.err


# --- a browser -------------------------------------------------------------------------------

Browse = Callable[[str], tuple[str, str]]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Load a page in Chromium, and return what became of it and what the browser logged."""
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"there is no {CHROMIUM}")

    def load(text: str) -> tuple[str, str]:
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        switches = (
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
        )
        loaded = subprocess.run(
            [CHROMIUM, *switches, path.as_uri()],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        return loaded.stdout, loaded.stderr

    return load


def title_of(dom: str) -> str:
    return dom.partition("<title>")[2].partition("</title>")[0]


ATTACK = "<script>document.title='owned'</script>"


def test_in_a_browser_hostile_titles_stay_text(html: str, browse: Browse) -> None:
    dom, logged = browse(html)
    assert title_of(dom).startswith("Recommendations, ")
    assert "&lt;script&gt;document.title='owned'&lt;/script&gt;" in dom
    assert "<script" not in dom
    assert "Content Security Policy" not in logged, "the page's own style sheet is allowed"


def test_in_a_browser_the_policy_stops_what_escaping_let_through(
    engine: sa.Engine, browse: Browse
) -> None:
    whole = rendered(engine)
    dom, logged = browse(whole.replace("<main>", f"<main>{ATTACK}<p style='color: red'>"))
    assert title_of(dom).startswith("Recommendations, ")
    assert "Content Security Policy" in logged
    without = re.sub("<meta http-equiv=.*", "", whole)
    dom, logged = browse(without.replace("<main>", f"<main>{ATTACK}"))
    assert title_of(dom) == "owned", "or these tests prove nothing"
