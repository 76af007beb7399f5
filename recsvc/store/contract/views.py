"""The views that readers rely on: the same columns on both databases."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from recsvc.store.contract.expressions import EXPRESSIONS
from recsvc.store.contract.tables import (
    COMPARED_WITH,
    HOLDOUT,
    HOLDOUT_REASON,
    LIKENESS,
    MASK,
    PUBLISHED_MODEL,
    REASON,
    SEGMENT,
    VALUE,
)
from recsvc.vocabulary import METRICS, MODELS, RUN_STATUSES, alternatives


@dataclass(frozen=True)
class View:
    """A view and its comments."""

    name: str
    comment: str
    select: Mapping[str, str]  #: the query, by SQLAlchemy's name of the database
    columns: dict[str, str]  #: column name to comment, in order


CURRENT_RUN = "(SELECT p.run_id FROM publications p ORDER BY p.publication_id DESC LIMIT 1)"
PUBLISHED_AT = "(SELECT p.published_at FROM publications p ORDER BY p.publication_id DESC LIMIT 1)"

RECOMMENDATIONS = """\
SELECT r.run_id, {published_at} AS published_at, r.user_id, r.rank, r.movie_id, m.title,
       {genres} AS genres, r.score, r.source
FROM recommendations r JOIN movies m ON m.movie_id = r.movie_id
WHERE r.run_id = {current_run}"""

SIMILAR_MOVIES = """\
SELECT s.run_id, {published_at} AS published_at, s.movie_id, m.title, s.rank,
       s.similar_movie_id, o.title AS similar_title, s.similarity
FROM similar_movies s
JOIN movies m ON m.movie_id = s.movie_id
JOIN movies o ON o.movie_id = s.similar_movie_id
WHERE s.run_id = {current_run}"""

MODEL_METRICS = """\
SELECT q.run_id, r.finished_at, r.status, q.model, q.protocol, q.segment, q.metric, q.k,
       q.value, q.ci_low, q.ci_high, q.users
FROM metrics q JOIN runs r ON r.run_id = q.run_id"""

RUN_HISTORY = """\
SELECT r.run_id, r.job, r.scheduled_for, r.status, r.started_at, r.finished_at,
       {run_seconds} AS seconds, r.ratings, r.users, r.movies, r.error,
       r.model, r.protocol, r.protocol_reason, r.mask
FROM runs r"""

FRESHNESS = """\
SELECT p.run_id, p.published_at, {age_seconds} AS age_seconds,
       {newest_rating_at} AS newest_rating_at,
       (SELECT max(i.finished_at) FROM ingests i) AS newest_ingest_at
FROM (SELECT 1 AS one) l
LEFT JOIN publications p
  ON p.publication_id = (SELECT max(q.publication_id) FROM publications q)"""

FEATURE_AUDITS = """\
SELECT a.audited_at, a.feature, a.compared_with, a.protocol, a.metric, a.k, a.value,
       a.compared_value, a.difference, a.ci_low, a.ci_high, a.seeds, a.users
FROM audits a"""

RATING_EVENTS = """\
SELECT t.user_id, t.movie_id, m.title, t.rating, {rated_at} AS rated_at
FROM ratings t JOIN movies m ON m.movie_id = t.movie_id"""


def _for_each_database(template: str) -> dict[str, str]:
    return {
        name: template.format(
            current_run=CURRENT_RUN, published_at=PUBLISHED_AT, **asdict(expressions)
        )
        for name, expressions in EXPRESSIONS.items()
    }


VIEWS = (
    View(
        "current_recommendations",
        "What to recommend now: the top-N list of every user, from the published run.",
        _for_each_database(RECOMMENDATIONS),
        {
            "run_id": "The published run",
            "published_at": "When readers were switched to it",
            "user_id": "For whom",
            "rank": "Place in the list, from 1",
            "movie_id": "What is recommended",
            "title": "Title of the movie",
            "genres": "Its genres, joined by |",
            "score": "Higher is better; comparable within one user's list only",
            "source": REASON,
        },
    ),
    View(
        "current_similar_movies",
        "Which movies resemble a movie, from the published run.",
        _for_each_database(SIMILAR_MOVIES),
        {
            "run_id": "The published run",
            "published_at": "When readers were switched to it",
            "movie_id": "Which movie",
            "title": "Its title",
            "rank": "Place in the list, from 1",
            "similar_movie_id": "What resembles it",
            "similar_title": "Title of that movie",
            "similarity": LIKENESS,
        },
    ),
    View(
        "model_metrics",
        "Quality of each model on the holdout of each run.",
        _for_each_database(MODEL_METRICS),
        {
            "run_id": "Which run",
            "finished_at": "When the run ended",
            "status": "How the run ended",
            "model": alternatives(MODELS),
            "protocol": HOLDOUT,
            "segment": SEGMENT,
            "metric": ", ".join(METRICS),
            "k": "Length of the list; NULL where a metric has none",
            "value": VALUE,
            "ci_low": "Lower end of the 95 % confidence interval",
            "ci_high": "Upper end of the 95 % confidence interval",
            "users": "Users that the value is taken over",
        },
    ),
    View(
        "run_history",
        "Every run, how it ended and how long it took.",
        _for_each_database(RUN_HISTORY),
        {
            "run_id": "Which run",
            "job": "Name of the job",
            "scheduled_for": "The night this run stands for; its start if by hand",
            "status": alternatives(RUN_STATUSES),
            "started_at": "When the run was claimed",
            "finished_at": "When the status became final",
            "seconds": "From start to finish",
            "ratings": "Ratings that were read",
            "users": "Users that were read",
            "movies": "Movies that were read",
            "error": "Why the run did not publish",
            "model": PUBLISHED_MODEL,
            "protocol": HOLDOUT,
            "protocol_reason": HOLDOUT_REASON,
            "mask": MASK,
        },
    ),
    View(
        "freshness",
        "One row: how old the published recommendations and the data are.",
        _for_each_database(FRESHNESS),
        {
            "run_id": "The published run; NULL before the first",
            "published_at": "When readers were switched to it",
            "age_seconds": "Seconds since then",
            "newest_rating_at": "Time of the newest rating",
            "newest_ingest_at": "When the last ingest was committed",
        },
    ),
    View(
        "rating_events",
        "Ratings with titles and times, for analysts.",
        _for_each_database(RATING_EVENTS),
        {
            "user_id": "Who rated",
            "movie_id": "What was rated",
            "title": "Title of the movie",
            "rating": "Stars, 0.5 to 5.0",
            "rated_at": "When, in UTC",
        },
    ),
    View(
        "feature_audits",
        "Whether each kind of feature helps: with it, shuffled, and without it.",
        _for_each_database(FEATURE_AUDITS),
        {
            "audited_at": "When",
            "feature": "Kind of tokens of movies, such as genres",
            "compared_with": COMPARED_WITH,
            "protocol": HOLDOUT,
            "metric": "What was measured",
            "k": "Length of the list",
            "value": "The metric with the feature as it is",
            "compared_value": "The metric with what it is compared with",
            "difference": "What the feature brings: the mean over users and seeds",
            "ci_low": "Lower end of its 95 % confidence interval",
            "ci_high": "Upper end of its 95 % confidence interval",
            "seeds": "Trainings of each kind, each with a seed of its own",
            "users": "Users that it is a mean of",
        },
    ),
)
