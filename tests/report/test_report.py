"""The morning report: one page that says how things stand and runs nothing that it shows."""

import base64
import hashlib
import re
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from recsvc import vocabulary
from recsvc.report.lists import SOURCES
from recsvc.report.quality import MODELS
from recsvc.store.contract.tables import movies
from recsvc.store.database.transactions import reading, reading_at_one_moment, writing
from recsvc.store.runs.ledger import finish_run
from tests import hostile, taste
from tests.prepared import Prepared
from tests.report.pages import Page, _claimed, rendered

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
            " AND metric NOT IN ('novelty', 'diversity', 'head_share')"
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
        lines = [
            rf"\b{row.run_id} \d{{4}}-\d\d-\d\d leave_last .*\b{row.value:.4f}" for row in rows
        ]
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
        assert {row.source for row in rows} == {"hybrid", "cold_user", "recent_popular"}
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
