"""What readers get: the lists of a few users, and what resembles the best-known movies."""

from collections.abc import Iterator

from recsvc.report.blocks import Block, Section, Table
from recsvc.report.wording import count, figure, percent
from recsvc.store.reading.overview import Overview
from recsvc.store.reading.samples import SampleMovie, SampleUser
from recsvc.vocabulary import (
    BLEND,
    COLD_USER,
    HYBRID,
    LIGHTFM_CF,
    NEIGHBOURS,
    POPULAR_ITEMS,
    RECENT_POPULAR,
)

SOURCES = {
    HYBRID: "from the model, by what the user rated",
    COLD_USER: "from the model, by attributes: the user liked nothing so far",
    BLEND: "from the model, from what goes with what the user liked last, and what is popular now",
    LIGHTFM_CF: "from the model without features, by what the user rated",
    NEIGHBOURS: "what goes with what the user liked last",
    RECENT_POPULAR: "what is popular now",
    POPULAR_ITEMS: "what is popular",
}


def sections(found: Overview) -> Iterator[Section]:
    """Yield samples of the published run; nothing before there is one."""
    if found.sources:
        blocks: list[Block] = [_sources(found), *map(_user, found.users)]
        yield Section("recommendations", "Recommendations", blocks)
    if found.movies:
        yield Section("similar", "Similar movies", [_movie(movie) for movie in found.movies])


def _sources(found: Overview) -> Table:
    total = sum(share.users for share in found.sources)
    rows = [
        [
            share.source,
            SOURCES.get(share.source, ""),
            count(share.users),
            percent(share.users / total),
        ]
        for share in found.sources
    ]
    columns = ("source", "where the list comes from", "users", "share")
    caption = "Why users have the lists that they have"
    return Table(caption, columns, rows, frozenset(("users", "share")), "where the list comes from")


def _user(user: SampleUser) -> Table:
    rows = [
        [
            str(row["rank"]),
            row["title"],
            row["genres"].replace("|", ", "),
            figure(row["score"]),
            row["source"],
        ]
        for row in user.recommended
    ]
    columns = ("rank", "title", "genres", "score", "source")
    liked = f"; rated highest: {'; '.join(user.liked)}" if user.liked else ""
    caption = f"User {user.user_id}, {count(user.ratings)} ratings{liked}"
    return Table(caption, columns, rows, frozenset(("score",)), "title")


def _movie(movie: SampleMovie) -> Table:
    rows = [
        [str(row["rank"]), row["similar_title"], figure(row["similarity"])] for row in movie.similar
    ]
    caption = f"{movie.title}, {count(movie.ratings)} ratings"
    return Table(
        caption, ("rank", "title", "similarity"), rows, frozenset(("similarity",)), "title"
    )
