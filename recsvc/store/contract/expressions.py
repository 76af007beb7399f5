"""What the views say in the words of each database."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Expressions:
    """SQL of one database."""

    genres: str  #: genres of the movie ``m``, joined by |; an empty text where there are none
    run_seconds: str  #: from start to finish of the run ``r``
    age_seconds: str  #: since the publication ``p``
    newest_rating_at: str  #: time of the newest rating that an ingest read
    rated_at: str  #: time of the rating ``t``


SQLITE = Expressions(
    genres=(
        "coalesce((SELECT group_concat(o.genre, '|') FROM (SELECT g.genre FROM movie_genres g"
        " WHERE g.movie_id = m.movie_id ORDER BY g.genre) o), '')"
    ),
    run_seconds="round((julianday(r.finished_at) - julianday(r.started_at)) * 86400.0, 3)",
    age_seconds="round((julianday('now') - julianday(p.published_at)) * 86400.0, 3)",
    newest_rating_at="(SELECT datetime(max(i.newest_rated_at), 'unixepoch') FROM ingests i)",
    rated_at="datetime(t.rated_at, 'unixepoch')",
)

POSTGRESQL = Expressions(
    genres=(
        "coalesce((SELECT string_agg(g.genre, '|' ORDER BY g.genre COLLATE \"C\")"
        " FROM movie_genres g WHERE g.movie_id = m.movie_id), '')"
    ),
    run_seconds="CAST(extract(epoch FROM r.finished_at - r.started_at) AS double precision)",
    age_seconds="CAST(extract(epoch FROM now() - p.published_at) AS double precision)",
    newest_rating_at="(SELECT to_timestamp(max(i.newest_rated_at)) FROM ingests i)",
    rated_at="to_timestamp(t.rated_at)",
)

#: By SQLAlchemy's name of the database.
EXPRESSIONS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
