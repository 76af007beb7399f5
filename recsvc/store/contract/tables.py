"""Every table, with the comments that PostgreSQL, ``data_dictionary`` and ``docs/`` share.

Nothing here creates a table: migrations do, and ``recsvc db check`` proves that both agree.
"""

from typing import Any

import sqlalchemy as sa

from recsvc.store.contract.types import BigId, Count, Document, Flag, Real, UtcTimestamp
from recsvc.vocabulary import (
    ALL,
    CATALOGUE_METRICS,
    GATE_METRIC,
    MASKS,
    METRICS,
    MODELS,
    NEIGHBOUR_KINDS,
    NOTHING,
    PROTOCOLS,
    RUN_STATUSES,
    RUNNING,
    SHUFFLED,
    SOURCES,
    UNFINISHED,
    alternatives,
)

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

#: Comments that tables and views share.
HOLDOUT = f"How the holdout was made: {alternatives(PROTOCOLS)}"
SEGMENT = (
    f"{ALL}; of users activity:* or an attribute such as gender:F; "
    "of movies popularity:* or a genre such as genre:Drama"
)
HOLDOUT_REASON = "Why the holdout was made so, where another protocol was asked for"
MASK = f"What lists that were judged left out: {alternatives(MASKS)}"
PUBLISHED_MODEL = f"Model whose lists the run made: {alternatives(MODELS)}"
LIKENESS = "How alike the two movies are, -1 to 1; higher is more alike"
VALUE = f"Mean over users; over the catalogue for {alternatives(CATALOGUE_METRICS)}"
COMPARED_WITH = f"{SHUFFLED} among movies, or {NOTHING} at all"
REASON = f"Why the row is there: {alternatives(SOURCES)}"

LARGEST_DOUBLE = "1.7976931348623157e308"


def _table(
    name: str, *parts: Any, comment: str, clustered: bool = True, **options: Any
) -> sa.Table:
    """Declare a table; ``clustered`` stores SQLite rows in primary key order, without a rowid."""
    return sa.Table(
        name,
        metadata,
        *parts,
        comment=comment,
        sqlite_strict=True,
        sqlite_with_rowid=not clustered,
        **options,
    )


def _finite(column: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"abs({column}) <= {LARGEST_DOUBLE}", name=f"{column}_finite")


def _flag(name: str, comment: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, Flag, nullable=False, comment=comment, **options)


def _key(name: str, kind: Any, comment: str, *references: sa.ForeignKey) -> sa.Column[Any]:
    return sa.Column(
        name, kind, *references, primary_key=True, autoincrement=False, comment=comment
    )


def _column(name: str, kind: Any, comment: str, *references: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, *references, comment=comment, **{"nullable": False} | options)


def _row_number(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, BigId, sa.Identity(), primary_key=True, comment=comment)


def _unique_where(name: str, condition: str, *columns: str) -> sa.Index:
    where = sa.text(condition)
    return sa.Index(name, *columns, unique=True, sqlite_where=where, postgresql_where=where)


def _references(target: str) -> sa.ForeignKey:
    return sa.ForeignKey(target)


# --- source side, filled by ingest -----------------------------------------------------------

users = _table(
    "users",
    _key("user_id", BigId, "MovieLens userId"),
    comment="Everyone who rated, tagged or is listed in users.csv.",
)

user_features = _table(
    "user_features",
    _key("user_id", BigId, "MovieLens userId", _references("users.user_id")),
    _key("feature", sa.Text, "Token such as gender:F, one for each attribute in users.csv"),
    comment="Attributes of users, as the tokens that the model learns from.",
)

movies = _table(
    "movies",
    _key("movie_id", BigId, "MovieLens movieId"),
    _column("title", sa.Text, "Title as in movies.csv, the year included"),
    _column("release_year", sa.Integer, "Year at the end of the title, if any", nullable=True),
    _flag(
        "available",
        "Whether the movie may be recommended; ingest never changes it",
        server_default=sa.true(),
    ),
    sa.CheckConstraint("title <> ''", name="title_given"),
    comment="The catalogue.",
)

movie_genres = _table(
    "movie_genres",
    _key("movie_id", BigId, "MovieLens movieId", _references("movies.movie_id")),
    _key("genre", sa.Text, "Genre as in movies.csv"),
    comment="Genres of movies; a movie listed without genres has no row.",
)

links = _table(
    "links",
    _key("movie_id", BigId, "MovieLens movieId", _references("movies.movie_id")),
    _column("imdb_id", BigId, "Number in the IMDb title id, without tt", nullable=True),
    _column("tmdb_id", BigId, "TMDB movie id", nullable=True),
    comment="Where a movie is found elsewhere.",
)

ratings = _table(
    "ratings",
    _key("user_id", BigId, "Who rated", _references("users.user_id")),
    _key("movie_id", BigId, "What was rated", _references("movies.movie_id")),
    _column("rating", Real, "Stars, 0.5 to 5.0"),
    _column("rated_at", BigId, "When, in Unix seconds (UTC)"),
    sa.CheckConstraint("rating >= 0.5 AND rating <= 5.0", name="rating_range"),
    comment="The latest rating of each user for each movie.",
    # A changed rating finds room on its page: the index need not be written.
    postgresql_with={"fillfactor": 95},
)

tags = _table(
    "tags",
    _key("user_id", BigId, "Who tagged", _references("users.user_id")),
    _key("movie_id", BigId, "What was tagged", _references("movies.movie_id")),
    _key("tag", sa.Text, "Tag as it was written"),
    _column(
        "tag_key", sa.Text, "Tag trimmed, in NFC and case-folded: what features are built from"
    ),
    _column("tagged_at", BigId, "When, in Unix seconds (UTC)"),
    sa.CheckConstraint("tag_key <> ''", name="tag_key_given"),
    comment="Free-text tags that users gave to movies.",
)

ingests = _table(
    "ingests",
    _row_number("ingest_id", "Grows with every ingest"),
    _column("source", sa.Text, "Folder that was read"),
    _column("started_at", UtcTimestamp, "When reading began"),
    _column("finished_at", UtcTimestamp, "When the rows were committed"),
    _column(
        "newest_rated_at", BigId, "Time of the newest rating read, in Unix seconds", nullable=True
    ),
    comment="Each accepted ingest.",
    clustered=False,
    sqlite_autoincrement=True,
)

ingest_files = _table(
    "ingest_files",
    _key("ingest_id", BigId, "Which ingest", _references("ingests.ingest_id")),
    _key("file", sa.Text, "File name, such as ratings.csv"),
    _column("sha256", sa.Text, "SHA-256 of the bytes that were read"),
    _column("bytes", Count, "Size of the file"),
    _column("inserted", Count, "Rows that were new"),
    _column("updated", Count, "Rows that replaced an older version"),
    _column("unchanged", Count, "Rows that were already there"),
    _column("duplicates", Count, "Rows that a later row of the same file superseded"),
    _column("rejected", Count, "Rows that are in rejected_rows"),
    comment="What each file of an ingest brought.",
)

rejected_rows = _table(
    "rejected_rows",
    _key("ingest_id", BigId, "Which ingest", _references("ingests.ingest_id")),
    _key("file", sa.Text, "File name"),
    _key("line", Count, "Line in the file where the row starts, the header being line 1"),
    _column("reason", sa.Text, "Why it was not accepted"),
    _column("raw", sa.Text, "The row as it stands in the file"),
    comment="Rows that an ingest could not accept; correct them at the source and ingest again.",
)

# --- run side, filled by retrain -------------------------------------------------------------

# Runs that deal with their night; one that failed or was lost may be run again.
DEALT_WITH = f"status NOT IN {UNFINISHED}"

runs = _table(
    "runs",
    _row_number("run_id", "Grows with every run"),
    _column("job", sa.Text, "Name of the job, such as retrain"),
    _column("scheduled_for", UtcTimestamp, "The night this run stands for; its start if by hand"),
    _column("status", sa.Text, alternatives(RUN_STATUSES)),
    _column("started_at", UtcTimestamp, "When the run was claimed, by the database's clock"),
    _column("heartbeat_at", UtcTimestamp, "Last sign of life, by the database's clock"),
    _column("finished_at", UtcTimestamp, "When the status became final", nullable=True),
    _column("pruned_at", UtcTimestamp, "When its output rows were given up", nullable=True),
    _column("lease_seconds", Real, "Without a sign of life for so long, the run is lost"),
    _column("fence", Count, "Number of the claim; grows with each claim of the job"),
    _column("host", sa.Text, "Machine and process that ran it"),
    _column("settings", Document, "Settings that the recommendations depend on"),
    _column("versions", Document, "Versions of recsvc and of the libraries that compute"),
    _column("fingerprint", sa.Text, "Digest of the source data that was read", nullable=True),
    _column("ratings", Count, "Ratings that were read", nullable=True),
    _column("users", Count, "Users that were read", nullable=True),
    _column("movies", Count, "Movies that were read", nullable=True),
    _column("gate", Document, "The gate's decision with its figures", nullable=True),
    _column("error", sa.Text, "Why the run did not publish", nullable=True),
    _column("model", sa.Text, PUBLISHED_MODEL, nullable=True),
    _column("protocol", sa.Text, HOLDOUT, nullable=True),
    _column("protocol_reason", sa.Text, HOLDOUT_REASON, nullable=True),
    _column("mask", sa.Text, MASK, nullable=True),
    sa.UniqueConstraint("job", "fence"),
    _unique_where("uq_runs_night", DEALT_WITH, "job", "scheduled_for"),
    sa.CheckConstraint(f"status IN {RUN_STATUSES}", name="status_known"),
    sa.CheckConstraint(f"(status = '{RUNNING}') = (finished_at IS NULL)", name="finished"),
    _unique_where("uq_runs_running", f"status = '{RUNNING}'", "job"),
    comment="Every run of a job; at most one of a job is running.",
    clustered=False,
    sqlite_autoincrement=True,
)

run_phases = _table(
    "run_phases",
    _key("run_id", BigId, "Which run", _references("runs.run_id")),
    _key("phase", sa.Text, "Phase; fit and evaluate carry the model's name after a colon"),
    _column("started_at", UtcTimestamp, "When the phase began"),
    _column("seconds", Real, "How long it took, by a monotonic clock"),
    _column(
        "rows", Count, "Rows read, written or ranked, where that means something", nullable=True
    ),
    _column("peak_memory", Count, "Peak resident memory of the process so far, in bytes"),
    comment="How each run spent its time.",
)

models = _table(
    "models",
    _key("run_id", BigId, "Which run", _references("runs.run_id")),
    _key("model", sa.Text, alternatives(MODELS)),
    _column("hyperparameters", Document, "What the model was trained with"),
    _column("seed", BigId, "Seed of its random numbers"),
    _column("epochs", sa.Integer, "Epochs that were trained"),
    _column("warm_from", BigId, "Run whose embeddings training went on from", nullable=True),
    _column(
        "arrays",
        sa.LargeBinary,
        "NumPy .npz: ids, tokens and embeddings to rank, explain and warm-start",
        nullable=True,
    ),
    _column(
        "neighbours",
        sa.Text,
        f"What a blend takes for near in time: {alternatives(NEIGHBOUR_KINDS)}",
        nullable=True,
    ),
    _column(
        "neighbour_decay", Real, "How fast a blend lets a history fade, by place", nullable=True
    ),
    _column("neighbour_weight", Real, "What a blend multiplies neighbours with", nullable=True),
    _column(
        "popularity_weight", Real, "What a blend multiplies recent popularity with", nullable=True
    ),
    comment="The models of each run; arrays are kept as long as the run's output rows.",
)

metrics = _table(
    "metrics",
    _row_number("metric_id", "Row number, without meaning"),
    _column("run_id", BigId, "Which run", _references("runs.run_id")),
    _column("model", sa.Text, alternatives(MODELS)),
    _column("protocol", sa.Text, HOLDOUT),
    _column("segment", sa.Text, SEGMENT),
    _column("metric", sa.Text, ", ".join(METRICS)),
    _column("k", sa.Integer, "Length of the list; NULL where a metric has none", nullable=True),
    _column("value", Real, VALUE),
    _column("ci_low", Real, "Lower end of the 95 % confidence interval", nullable=True),
    _column("ci_high", Real, "Upper end of the 95 % confidence interval", nullable=True),
    _column("users", Count, "Users that the value is taken over"),
    _finite("value"),
    _unique_where(
        "uq_metrics_at_k",
        "k IS NOT NULL",
        *("run_id", "model", "protocol", "segment", "metric", "k"),
    ),
    _unique_where(
        "uq_metrics_without_k",
        "k IS NULL",
        *("run_id", "model", "protocol", "segment", "metric"),
    ),
    comment="Quality of each model on the run's holdout; kept for ever.",
    clustered=False,
)

user_metrics = _table(
    "user_metrics",
    _key("run_id", BigId, "Which run", _references("runs.run_id")),
    _key("model", sa.Text, PUBLISHED_MODEL),
    _key("metric", sa.Text, f"Metric, such as {GATE_METRIC}"),
    _key("k", sa.Integer, "Length of the list"),
    _key("user_id", BigId, "Whose"),
    _column("value", Real, "The metric for this user"),
    _finite("value"),
    comment="Per-user figures of the model in service, for comparing a later run with it.",
)


def _output(
    name: str,
    subject: sa.Column[Any],
    item: sa.Column[Any],
    value: sa.Column[Any],
    *more: sa.Column[Any],
    comment: str,
) -> sa.Table:
    """Declare an output table: partitioned by run on PostgreSQL, verified by SQL before it shows.

    Foreign keys are left out: the check would cost more than the COPY, and verification stands in.
    """
    return _table(
        name,
        _key("run_id", BigId, "Which run"),
        subject,
        _key("rank", sa.Integer, "Place in the list, from 1"),
        item,
        value,
        *more,
        sa.UniqueConstraint("run_id", subject.name, item.name),
        sa.CheckConstraint("rank >= 1", name="rank_positive"),
        _finite(value.name),
        comment=comment,
        postgresql_partition_by="LIST (run_id)",
    )


recommendations = _output(
    "recommendations",
    _key("user_id", BigId, "For whom"),
    _column("movie_id", BigId, "What is recommended"),
    _column("score", Real, "Higher is better; comparable within one user's list only"),
    _column("source", sa.Text, REASON),
    comment="Top-N lists of every retained run; read current_recommendations instead.",
)

similar_movies = _output(
    "similar_movies",
    _key("movie_id", BigId, "Which movie"),
    _column("similar_movie_id", BigId, "What resembles it"),
    _column("similarity", Real, LIKENESS),
    comment="Nearest movies of every retained run; read current_similar_movies instead.",
)

OUTPUT_TABLES = (recommendations, similar_movies)

publications = _table(
    "publications",
    _row_number("publication_id", "The highest is in force"),
    _column("run_id", BigId, "The run that readers see", _references("runs.run_id")),
    _column("published_at", UtcTimestamp, "When the switch was made, by the database's clock"),
    _column("action", sa.Text, "publish or rollback"),
    _column("reason", sa.Text, "Why the switch was made"),
    sa.CheckConstraint("action IN ('publish', 'rollback')", name="action_known"),
    comment="Every switch of what readers see; the last row is in force.",
    clustered=False,
    sqlite_autoincrement=True,
)

audits = _table(
    "audits",
    _key("audited_at", UtcTimestamp, "When, by the database's clock"),
    _key("feature", sa.Text, "Kind of tokens of movies, such as genres"),
    _key("compared_with", sa.Text, COMPARED_WITH),
    _column("protocol", sa.Text, HOLDOUT),
    _column("metric", sa.Text, f"Metric, such as {GATE_METRIC}"),
    _column("k", sa.Integer, "Length of the list"),
    _column("value", Real, "The metric with the feature as it is"),
    _column("compared_value", Real, "The metric with what it is compared with"),
    _column("difference", Real, "What the feature brings: the mean over users and seeds"),
    _column("ci_low", Real, "Lower end of its 95 % confidence interval"),
    _column("ci_high", Real, "Upper end of its 95 % confidence interval"),
    _column("seeds", Count, "Trainings of each kind, each with a seed of its own"),
    _column("users", Count, "Users that it is a mean of"),
    _finite("difference"),
    comment="Whether each kind of feature helps the hybrid; kept for ever.",
)

data_dictionary = _table(
    "data_dictionary",
    _key("table_name", sa.Text, "Table or view"),
    _key("column_name", sa.Text, "Column; empty for the table or view itself"),
    _column("comment", sa.Text, "What it means"),
    comment="These explanations, to be read by SQL.",
)
