"""Create the schema: source tables, run tables, views and their dictionary."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
REAL: TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
UTC_TIMESTAMP = sa.TIMESTAMP(timezone=True).with_variant(sa.Text(), "sqlite")
DOCUMENT = JSONB().with_variant(sa.Text(), "sqlite")

TABLES = [
    "data_dictionary",
    "ingests",
    "movies",
    "recommendations",
    "runs",
    "similar_movies",
    "users",
    "ingest_files",
    "links",
    "metrics",
    "models",
    "movie_genres",
    "publications",
    "ratings",
    "rejected_rows",
    "run_phases",
    "tags",
    "user_features",
    "user_metrics",
]
VIEWS = [
    "current_recommendations",
    "current_similar_movies",
    "model_metrics",
    "run_history",
    "freshness",
    "rating_events",
]


def upgrade() -> None:
    create_tables()
    create_indexes()
    create_views()


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    for name in reversed(TABLES):
        op.drop_table(name)


def table(name: str, *parts: Any, **options: Any) -> None:
    created = op.create_table(name, *parts, sqlite_strict=True, **options)
    DICTIONARY.append((name, "", created.comment or ""))
    DICTIONARY.extend((name, column.name, column.comment or "") for column in created.columns)


def view(name: str, comment: str, *, sqlite: str, postgresql: str, columns: dict[str, str]) -> None:
    dialect = op.get_bind().dialect.name
    select = sqlite if dialect == "sqlite" else postgresql
    op.get_bind().exec_driver_sql(f"CREATE VIEW {name} AS\n{select}")
    DICTIONARY.append((name, "", comment))
    DICTIONARY.extend((name, column, text) for column, text in columns.items())
    if dialect == "postgresql":
        op.execute(f"COMMENT ON VIEW {name} IS {literal(comment)}")
        for column, text in columns.items():
            op.execute(f"COMMENT ON COLUMN {name}.{column} IS {literal(text)}")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


DICTIONARY: list[tuple[str, str, str]] = []


def create_tables() -> None:
    DICTIONARY.clear()
    table(
        "data_dictionary",
        sa.Column(
            "table_name", sa.Text(), autoincrement=False, nullable=False, comment="Table or view"
        ),
        sa.Column(
            "column_name",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="Column; empty for the table or view itself",
        ),
        sa.Column("comment", sa.Text(), nullable=False, comment="What it means"),
        sa.PrimaryKeyConstraint("table_name", "column_name", name="pk_data_dictionary"),
        comment="These explanations, to be read by SQL.",
        sqlite_with_rowid=False,
    )
    table(
        "ingests",
        sa.Column(
            "ingest_id", BIG_ID, sa.Identity(), nullable=False, comment="Grows with every ingest"
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Folder that was read"),
        sa.Column("started_at", UTC_TIMESTAMP, nullable=False, comment="When reading began"),
        sa.Column(
            "finished_at", UTC_TIMESTAMP, nullable=False, comment="When the rows were committed"
        ),
        sa.Column(
            "newest_rated_at",
            BIG_ID,
            nullable=True,
            comment="Time of the newest rating read, in Unix seconds",
        ),
        sa.PrimaryKeyConstraint("ingest_id", name="pk_ingests"),
        comment="Each accepted ingest.",
        sqlite_autoincrement=True,
    )
    table(
        "movies",
        sa.Column(
            "movie_id", BIG_ID, autoincrement=False, nullable=False, comment="MovieLens movieId"
        ),
        sa.Column(
            "title", sa.Text(), nullable=False, comment="Title as in movies.csv, the year included"
        ),
        sa.Column(
            "release_year",
            sa.Integer(),
            nullable=True,
            comment="Year at the end of the title, if any",
        ),
        sa.Column(
            "available",
            FLAG,
            nullable=False,
            server_default=sa.true(),
            comment="Whether the movie may be recommended; ingest never changes it",
        ),
        sa.PrimaryKeyConstraint("movie_id", name="pk_movies"),
        sa.CheckConstraint("title <> ''", name=op.f("ck_movies_title_given")),
        comment="The catalogue.",
        sqlite_with_rowid=False,
    )
    table(
        "recommendations",
        sa.Column("run_id", BIG_ID, autoincrement=False, nullable=False, comment="Which run"),
        sa.Column("user_id", BIG_ID, autoincrement=False, nullable=False, comment="For whom"),
        sa.Column(
            "rank",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Place in the list, from 1",
        ),
        sa.Column("movie_id", BIG_ID, nullable=False, comment="What is recommended"),
        sa.Column(
            "score",
            REAL,
            nullable=False,
            comment="Higher is better; comparable within one user's list only",
        ),
        sa.Column(
            "source",
            sa.Text(),
            nullable=False,
            comment="Why the row is there: hybrid, cold_user or popular",
        ),
        sa.PrimaryKeyConstraint("run_id", "user_id", "rank", name="pk_recommendations"),
        sa.CheckConstraint(
            "abs(score) <= 1.7976931348623157e308", name=op.f("ck_recommendations_score_finite")
        ),
        sa.CheckConstraint("rank >= 1", name=op.f("ck_recommendations_rank_positive")),
        sa.UniqueConstraint(
            "run_id", "user_id", "movie_id", name="uq_recommendations_run_id_user_id_movie_id"
        ),
        comment="Top-N lists of every retained run; read current_recommendations instead.",
        sqlite_with_rowid=False,
        postgresql_partition_by="LIST (run_id)",
    )
    table(
        "runs",
        sa.Column("run_id", BIG_ID, sa.Identity(), nullable=False, comment="Grows with every run"),
        sa.Column("job", sa.Text(), nullable=False, comment="Name of the job, such as retrain"),
        sa.Column(
            "scheduled_for",
            UTC_TIMESTAMP,
            nullable=False,
            comment="The night this run stands for; its start if by hand",
        ),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="running, published, refused, failed, lost or skipped",
        ),
        sa.Column(
            "started_at",
            UTC_TIMESTAMP,
            nullable=False,
            comment="When the run was claimed, by the database's clock",
        ),
        sa.Column(
            "heartbeat_at",
            UTC_TIMESTAMP,
            nullable=False,
            comment="Last sign of life, by the database's clock",
        ),
        sa.Column(
            "finished_at", UTC_TIMESTAMP, nullable=True, comment="When the status became final"
        ),
        sa.Column(
            "pruned_at", UTC_TIMESTAMP, nullable=True, comment="When its output rows were given up"
        ),
        sa.Column(
            "lease_seconds",
            REAL,
            nullable=False,
            comment="Without a sign of life for so long, the run is lost",
        ),
        sa.Column(
            "fence",
            BIG_ID,
            nullable=False,
            comment="Number of the claim; grows with each claim of the job",
        ),
        sa.Column("host", sa.Text(), nullable=False, comment="Machine and process that ran it"),
        sa.Column(
            "settings",
            DOCUMENT,
            nullable=False,
            comment="Settings that the recommendations depend on",
        ),
        sa.Column(
            "versions",
            DOCUMENT,
            nullable=False,
            comment="Versions of recsvc and of the libraries that compute",
        ),
        sa.Column(
            "fingerprint",
            sa.Text(),
            nullable=True,
            comment="Digest of the source data that was read",
        ),
        sa.Column("ratings", BIG_ID, nullable=True, comment="Ratings that were read"),
        sa.Column("users", BIG_ID, nullable=True, comment="Users that were read"),
        sa.Column("movies", BIG_ID, nullable=True, comment="Movies that were read"),
        sa.Column("gate", DOCUMENT, nullable=True, comment="The gate's decision with its figures"),
        sa.Column("error", sa.Text(), nullable=True, comment="Why the run did not publish"),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sa.CheckConstraint(
            "(status = 'running') = (finished_at IS NULL)", name=op.f("ck_runs_finished")
        ),
        sa.CheckConstraint(
            "status IN ('running', 'published', 'refused', 'failed', 'lost', 'skipped')",
            name=op.f("ck_runs_status_known"),
        ),
        sa.UniqueConstraint("job", "fence", name="uq_runs_job_fence"),
        comment="Every run of a job; at most one of a job is running.",
        sqlite_autoincrement=True,
    )
    table(
        "similar_movies",
        sa.Column("run_id", BIG_ID, autoincrement=False, nullable=False, comment="Which run"),
        sa.Column("movie_id", BIG_ID, autoincrement=False, nullable=False, comment="Which movie"),
        sa.Column(
            "rank",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Place in the list, from 1",
        ),
        sa.Column("similar_movie_id", BIG_ID, nullable=False, comment="What resembles it"),
        sa.Column(
            "similarity",
            REAL,
            nullable=False,
            comment="Cosine of the two movies' representations, -1 to 1",
        ),
        sa.PrimaryKeyConstraint("run_id", "movie_id", "rank", name="pk_similar_movies"),
        sa.CheckConstraint(
            "abs(similarity) <= 1.7976931348623157e308",
            name=op.f("ck_similar_movies_similarity_finite"),
        ),
        sa.CheckConstraint("rank >= 1", name=op.f("ck_similar_movies_rank_positive")),
        sa.UniqueConstraint(
            "run_id",
            "movie_id",
            "similar_movie_id",
            name="uq_similar_movies_run_id_movie_id_similar_movie_id",
        ),
        comment="Nearest movies of every retained run; read current_similar_movies instead.",
        sqlite_with_rowid=False,
        postgresql_partition_by="LIST (run_id)",
    )
    table(
        "users",
        sa.Column(
            "user_id", BIG_ID, autoincrement=False, nullable=False, comment="MovieLens userId"
        ),
        sa.PrimaryKeyConstraint("user_id", name="pk_users"),
        comment="Everyone who rated, tagged or is listed in users.csv.",
        sqlite_with_rowid=False,
    )
    table(
        "ingest_files",
        sa.Column("ingest_id", BIG_ID, autoincrement=False, nullable=False, comment="Which ingest"),
        sa.Column(
            "file",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="File name, such as ratings.csv",
        ),
        sa.Column(
            "sha256", sa.Text(), nullable=False, comment="SHA-256 of the bytes that were read"
        ),
        sa.Column("bytes", BIG_ID, nullable=False, comment="Size of the file"),
        sa.Column("inserted", BIG_ID, nullable=False, comment="Rows that were new"),
        sa.Column("updated", BIG_ID, nullable=False, comment="Rows that replaced an older version"),
        sa.Column("unchanged", BIG_ID, nullable=False, comment="Rows that were already there"),
        sa.Column(
            "duplicates",
            BIG_ID,
            nullable=False,
            comment="Rows that a later row of the same file superseded",
        ),
        sa.Column("rejected", BIG_ID, nullable=False, comment="Rows that are in rejected_rows"),
        sa.PrimaryKeyConstraint("ingest_id", "file", name="pk_ingest_files"),
        sa.ForeignKeyConstraint(
            ["ingest_id"], ["ingests.ingest_id"], name="fk_ingest_files_ingest_id"
        ),
        comment="What each file of an ingest brought.",
        sqlite_with_rowid=False,
    )
    table(
        "links",
        sa.Column(
            "movie_id", BIG_ID, autoincrement=False, nullable=False, comment="MovieLens movieId"
        ),
        sa.Column(
            "imdb_id", BIG_ID, nullable=True, comment="Number in the IMDb title id, without tt"
        ),
        sa.Column("tmdb_id", BIG_ID, nullable=True, comment="TMDB movie id"),
        sa.PrimaryKeyConstraint("movie_id", name="pk_links"),
        sa.ForeignKeyConstraint(["movie_id"], ["movies.movie_id"], name="fk_links_movie_id"),
        comment="Where a movie is found elsewhere.",
        sqlite_with_rowid=False,
    )
    table(
        "metrics",
        sa.Column(
            "metric_id",
            BIG_ID,
            sa.Identity(),
            nullable=False,
            comment="Row number, without meaning",
        ),
        sa.Column("run_id", BIG_ID, nullable=False, comment="Which run"),
        sa.Column(
            "model", sa.Text(), nullable=False, comment="popular, lightfm_cf or lightfm_hybrid"
        ),
        sa.Column(
            "protocol",
            sa.Text(),
            nullable=False,
            comment="How the holdout was made: random, leave_last or temporal",
        ),
        sa.Column(
            "segment",
            sa.Text(),
            nullable=False,
            comment="all, activity:* (of users) or popularity:* (of movies)",
        ),
        sa.Column(
            "metric",
            sa.Text(),
            nullable=False,
            comment="precision, recall, ndcg, map, mrr, hit_rate, auc, coverage, novelty",
        ),
        sa.Column(
            "k",
            sa.Integer(),
            nullable=True,
            comment="Length of the list; NULL where a metric has none",
        ),
        sa.Column(
            "value",
            REAL,
            nullable=False,
            comment="Mean over users, or over the catalogue for coverage",
        ),
        sa.Column(
            "ci_low", REAL, nullable=True, comment="Lower end of the 95 % confidence interval"
        ),
        sa.Column(
            "ci_high", REAL, nullable=True, comment="Upper end of the 95 % confidence interval"
        ),
        sa.Column("users", BIG_ID, nullable=False, comment="Users that the value is taken over"),
        sa.PrimaryKeyConstraint("metric_id", name="pk_metrics"),
        sa.CheckConstraint(
            "abs(value) <= 1.7976931348623157e308", name=op.f("ck_metrics_value_finite")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_metrics_run_id"),
        comment="Quality of each model on the run's holdout; kept for ever.",
    )
    table(
        "models",
        sa.Column("run_id", BIG_ID, autoincrement=False, nullable=False, comment="Which run"),
        sa.Column(
            "model",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="popular, lightfm_cf or lightfm_hybrid",
        ),
        sa.Column(
            "hyperparameters", DOCUMENT, nullable=False, comment="What the model was trained with"
        ),
        sa.Column("seed", BIG_ID, nullable=False, comment="Seed of its random numbers"),
        sa.Column("epochs", sa.Integer(), nullable=False, comment="Epochs that were trained"),
        sa.Column(
            "warm_from", BIG_ID, nullable=True, comment="Run whose embeddings training went on from"
        ),
        sa.Column(
            "arrays",
            sa.LargeBinary(),
            nullable=True,
            comment="NumPy .npz: ids, tokens and embeddings to rank, explain and warm-start",
        ),
        sa.PrimaryKeyConstraint("run_id", "model", name="pk_models"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_models_run_id"),
        comment="The models of each run; arrays are kept as long as the run's output rows.",
        sqlite_with_rowid=False,
    )
    table(
        "movie_genres",
        sa.Column(
            "movie_id", BIG_ID, autoincrement=False, nullable=False, comment="MovieLens movieId"
        ),
        sa.Column(
            "genre",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="Genre as in movies.csv",
        ),
        sa.PrimaryKeyConstraint("movie_id", "genre", name="pk_movie_genres"),
        sa.ForeignKeyConstraint(["movie_id"], ["movies.movie_id"], name="fk_movie_genres_movie_id"),
        comment="Genres of movies; a movie listed without genres has no row.",
        sqlite_with_rowid=False,
    )
    table(
        "publications",
        sa.Column(
            "publication_id",
            BIG_ID,
            sa.Identity(),
            nullable=False,
            comment="The highest is in force",
        ),
        sa.Column("run_id", BIG_ID, nullable=False, comment="The run that readers see"),
        sa.Column(
            "published_at",
            UTC_TIMESTAMP,
            nullable=False,
            comment="When the switch was made, by the database's clock",
        ),
        sa.Column("action", sa.Text(), nullable=False, comment="publish or rollback"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why the switch was made"),
        sa.PrimaryKeyConstraint("publication_id", name="pk_publications"),
        sa.CheckConstraint(
            "action IN ('publish', 'rollback')", name=op.f("ck_publications_action_known")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_publications_run_id"),
        comment="Every switch of what readers see; the last row is in force.",
        sqlite_autoincrement=True,
    )
    table(
        "ratings",
        sa.Column("user_id", BIG_ID, autoincrement=False, nullable=False, comment="Who rated"),
        sa.Column(
            "movie_id", BIG_ID, autoincrement=False, nullable=False, comment="What was rated"
        ),
        sa.Column("rating", REAL, nullable=False, comment="Stars, 0.5 to 5.0"),
        sa.Column("rated_at", BIG_ID, nullable=False, comment="When, in Unix seconds (UTC)"),
        sa.PrimaryKeyConstraint("user_id", "movie_id", name="pk_ratings"),
        sa.CheckConstraint("rating >= 0.5 AND rating <= 5.0", name=op.f("ck_ratings_rating_range")),
        sa.ForeignKeyConstraint(["movie_id"], ["movies.movie_id"], name="fk_ratings_movie_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_ratings_user_id"),
        comment="The latest rating of each user for each movie.",
        sqlite_with_rowid=False,
    )
    table(
        "rejected_rows",
        sa.Column("ingest_id", BIG_ID, autoincrement=False, nullable=False, comment="Which ingest"),
        sa.Column("file", sa.Text(), autoincrement=False, nullable=False, comment="File name"),
        sa.Column(
            "line",
            BIG_ID,
            autoincrement=False,
            nullable=False,
            comment="Line in the file where the row starts, the header being line 1",
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it was not accepted"),
        sa.Column("raw", sa.Text(), nullable=False, comment="The row as it stands in the file"),
        sa.PrimaryKeyConstraint("ingest_id", "file", "line", name="pk_rejected_rows"),
        sa.ForeignKeyConstraint(
            ["ingest_id"], ["ingests.ingest_id"], name="fk_rejected_rows_ingest_id"
        ),
        comment="Rows that an ingest could not accept; correct them at the source and ingest again.",
        sqlite_with_rowid=False,
    )
    table(
        "run_phases",
        sa.Column("run_id", BIG_ID, autoincrement=False, nullable=False, comment="Which run"),
        sa.Column(
            "phase",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="Phase; fit and evaluate carry the model's name after a colon",
        ),
        sa.Column("started_at", UTC_TIMESTAMP, nullable=False, comment="When the phase began"),
        sa.Column(
            "seconds", REAL, nullable=False, comment="How long it took, by a monotonic clock"
        ),
        sa.Column(
            "rows",
            BIG_ID,
            nullable=True,
            comment="Rows read, written or ranked, where that means something",
        ),
        sa.Column(
            "peak_memory",
            BIG_ID,
            nullable=False,
            comment="Peak resident memory of the process so far, in bytes",
        ),
        sa.PrimaryKeyConstraint("run_id", "phase", name="pk_run_phases"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_run_phases_run_id"),
        comment="How each run spent its time.",
        sqlite_with_rowid=False,
    )
    table(
        "tags",
        sa.Column("user_id", BIG_ID, autoincrement=False, nullable=False, comment="Who tagged"),
        sa.Column(
            "movie_id", BIG_ID, autoincrement=False, nullable=False, comment="What was tagged"
        ),
        sa.Column(
            "tag", sa.Text(), autoincrement=False, nullable=False, comment="Tag as it was written"
        ),
        sa.Column(
            "tag_key",
            sa.Text(),
            nullable=False,
            comment="Tag trimmed, in NFC and case-folded: what features are built from",
        ),
        sa.Column("tagged_at", BIG_ID, nullable=False, comment="When, in Unix seconds (UTC)"),
        sa.PrimaryKeyConstraint("user_id", "movie_id", "tag", name="pk_tags"),
        sa.CheckConstraint("tag_key <> ''", name=op.f("ck_tags_tag_key_given")),
        sa.ForeignKeyConstraint(["movie_id"], ["movies.movie_id"], name="fk_tags_movie_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_tags_user_id"),
        comment="Free-text tags that users gave to movies.",
        sqlite_with_rowid=False,
    )
    table(
        "user_features",
        sa.Column(
            "user_id", BIG_ID, autoincrement=False, nullable=False, comment="MovieLens userId"
        ),
        sa.Column(
            "feature",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="Token such as gender:F, one for each attribute in users.csv",
        ),
        sa.PrimaryKeyConstraint("user_id", "feature", name="pk_user_features"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_user_features_user_id"),
        comment="Attributes of users, as the tokens that the model learns from.",
        sqlite_with_rowid=False,
    )
    table(
        "user_metrics",
        sa.Column("run_id", BIG_ID, autoincrement=False, nullable=False, comment="Which run"),
        sa.Column(
            "model",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="Model, such as lightfm_hybrid",
        ),
        sa.Column(
            "metric", sa.Text(), autoincrement=False, nullable=False, comment="Metric, such as ndcg"
        ),
        sa.Column(
            "k", sa.Integer(), autoincrement=False, nullable=False, comment="Length of the list"
        ),
        sa.Column("user_id", BIG_ID, autoincrement=False, nullable=False, comment="Whose"),
        sa.Column("value", REAL, nullable=False, comment="The metric for this user"),
        sa.PrimaryKeyConstraint(
            "run_id", "model", "metric", "k", "user_id", name="pk_user_metrics"
        ),
        sa.CheckConstraint(
            "abs(value) <= 1.7976931348623157e308", name=op.f("ck_user_metrics_value_finite")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_user_metrics_run_id"),
        comment="Per-user figures of the model in service, for comparing a later run with it.",
        sqlite_with_rowid=False,
    )


def create_indexes() -> None:
    row = ["run_id", "model", "protocol", "segment", "metric"]
    unique_where("uq_runs_running", "runs", ["job"], "status = 'running'")
    unique_where(
        "uq_runs_night", "runs", ["job", "scheduled_for"], "status NOT IN ('failed', 'lost')"
    )
    unique_where("uq_metrics_at_k", "metrics", [*row, "k"], "k IS NOT NULL")
    unique_where("uq_metrics_without_k", "metrics", row, "k IS NULL")


def unique_where(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)


def create_views() -> None:
    view(
        "current_recommendations",
        "What to recommend now: the top-N list of every user, from the published run.",
        sqlite="""\
SELECT r.run_id, (SELECT p.published_at FROM publications p ORDER BY p.publication_id DESC LIMIT 1) AS published_at, r.user_id, r.rank, r.movie_id, m.title,
       coalesce((SELECT group_concat(o.genre, '|') FROM (SELECT g.genre FROM movie_genres g WHERE g.movie_id = m.movie_id ORDER BY g.genre) o), '') AS genres, r.score, r.source
FROM recommendations r JOIN movies m ON m.movie_id = r.movie_id
WHERE r.run_id = (SELECT p.run_id FROM publications p ORDER BY p.publication_id DESC LIMIT 1)""",
        postgresql="""\
SELECT r.run_id, (SELECT p.published_at FROM publications p ORDER BY p.publication_id DESC LIMIT 1) AS published_at, r.user_id, r.rank, r.movie_id, m.title,
       coalesce((SELECT string_agg(g.genre, '|' ORDER BY g.genre COLLATE "C") FROM movie_genres g WHERE g.movie_id = m.movie_id), '') AS genres, r.score, r.source
FROM recommendations r JOIN movies m ON m.movie_id = r.movie_id
WHERE r.run_id = (SELECT p.run_id FROM publications p ORDER BY p.publication_id DESC LIMIT 1)""",
        columns={
            "run_id": "The published run",
            "published_at": "When readers were switched to it",
            "user_id": "For whom",
            "rank": "Place in the list, from 1",
            "movie_id": "What is recommended",
            "title": "Title of the movie",
            "genres": "Its genres, joined by |",
            "score": "Higher is better; comparable within one user's list only",
            "source": "Why the row is there: hybrid, cold_user or popular",
        },
    )
    view(
        "current_similar_movies",
        "Which movies resemble a movie, from the published run.",
        sqlite="""\
SELECT s.run_id, (SELECT p.published_at FROM publications p ORDER BY p.publication_id DESC LIMIT 1) AS published_at, s.movie_id, m.title, s.rank,
       s.similar_movie_id, o.title AS similar_title, s.similarity
FROM similar_movies s
JOIN movies m ON m.movie_id = s.movie_id
JOIN movies o ON o.movie_id = s.similar_movie_id
WHERE s.run_id = (SELECT p.run_id FROM publications p ORDER BY p.publication_id DESC LIMIT 1)""",
        postgresql="""\
SELECT s.run_id, (SELECT p.published_at FROM publications p ORDER BY p.publication_id DESC LIMIT 1) AS published_at, s.movie_id, m.title, s.rank,
       s.similar_movie_id, o.title AS similar_title, s.similarity
FROM similar_movies s
JOIN movies m ON m.movie_id = s.movie_id
JOIN movies o ON o.movie_id = s.similar_movie_id
WHERE s.run_id = (SELECT p.run_id FROM publications p ORDER BY p.publication_id DESC LIMIT 1)""",
        columns={
            "run_id": "The published run",
            "published_at": "When readers were switched to it",
            "movie_id": "Which movie",
            "title": "Its title",
            "rank": "Place in the list, from 1",
            "similar_movie_id": "What resembles it",
            "similar_title": "Title of that movie",
            "similarity": "Cosine of the two movies' representations, -1 to 1",
        },
    )
    view(
        "model_metrics",
        "Quality of each model on the holdout of each run.",
        sqlite="""\
SELECT q.run_id, r.finished_at, r.status, q.model, q.protocol, q.segment, q.metric, q.k,
       q.value, q.ci_low, q.ci_high, q.users
FROM metrics q JOIN runs r ON r.run_id = q.run_id""",
        postgresql="""\
SELECT q.run_id, r.finished_at, r.status, q.model, q.protocol, q.segment, q.metric, q.k,
       q.value, q.ci_low, q.ci_high, q.users
FROM metrics q JOIN runs r ON r.run_id = q.run_id""",
        columns={
            "run_id": "Which run",
            "finished_at": "When the run ended",
            "status": "How the run ended",
            "model": "popular, lightfm_cf or lightfm_hybrid",
            "protocol": "How the holdout was made: random, leave_last or temporal",
            "segment": "all, activity:* (of users) or popularity:* (of movies)",
            "metric": "precision, recall, ndcg, map, mrr, hit_rate, auc, coverage, novelty",
            "k": "Length of the list; NULL where a metric has none",
            "value": "Mean over users, or over the catalogue for coverage",
            "ci_low": "Lower end of the 95 % confidence interval",
            "ci_high": "Upper end of the 95 % confidence interval",
            "users": "Users that the value is taken over",
        },
    )
    view(
        "run_history",
        "Every run, how it ended and how long it took.",
        sqlite="""\
SELECT r.run_id, r.job, r.scheduled_for, r.status, r.started_at, r.finished_at,
       round((julianday(r.finished_at) - julianday(r.started_at)) * 86400.0, 3) AS seconds, r.ratings, r.users, r.movies, r.error
FROM runs r""",
        postgresql="""\
SELECT r.run_id, r.job, r.scheduled_for, r.status, r.started_at, r.finished_at,
       CAST(extract(epoch FROM r.finished_at - r.started_at) AS double precision) AS seconds, r.ratings, r.users, r.movies, r.error
FROM runs r""",
        columns={
            "run_id": "Which run",
            "job": "Name of the job",
            "scheduled_for": "The night this run stands for; its start if by hand",
            "status": "running, published, refused, failed, lost or skipped",
            "started_at": "When the run was claimed",
            "finished_at": "When the status became final",
            "seconds": "From start to finish",
            "ratings": "Ratings that were read",
            "users": "Users that were read",
            "movies": "Movies that were read",
            "error": "Why the run did not publish",
        },
    )
    view(
        "freshness",
        "One row: how old the published recommendations and the data are.",
        sqlite="""\
SELECT p.run_id, p.published_at, round((julianday('now') - julianday(p.published_at)) * 86400.0, 3) AS age_seconds,
       (SELECT datetime(max(i.newest_rated_at), 'unixepoch') FROM ingests i) AS newest_rating_at,
       (SELECT max(i.finished_at) FROM ingests i) AS newest_ingest_at
FROM (SELECT 1 AS one) l
LEFT JOIN publications p
  ON p.publication_id = (SELECT max(q.publication_id) FROM publications q)""",
        postgresql="""\
SELECT p.run_id, p.published_at, CAST(extract(epoch FROM now() - p.published_at) AS double precision) AS age_seconds,
       (SELECT to_timestamp(max(i.newest_rated_at)) FROM ingests i) AS newest_rating_at,
       (SELECT max(i.finished_at) FROM ingests i) AS newest_ingest_at
FROM (SELECT 1 AS one) l
LEFT JOIN publications p
  ON p.publication_id = (SELECT max(q.publication_id) FROM publications q)""",
        columns={
            "run_id": "The published run; NULL before the first",
            "published_at": "When readers were switched to it",
            "age_seconds": "Seconds since then",
            "newest_rating_at": "Time of the newest rating",
            "newest_ingest_at": "When the last ingest was committed",
        },
    )
    view(
        "rating_events",
        "Ratings with titles and times, for analysts.",
        sqlite="""\
SELECT t.user_id, t.movie_id, m.title, t.rating, datetime(t.rated_at, 'unixepoch') AS rated_at
FROM ratings t JOIN movies m ON m.movie_id = t.movie_id""",
        postgresql="""\
SELECT t.user_id, t.movie_id, m.title, t.rating, to_timestamp(t.rated_at) AS rated_at
FROM ratings t JOIN movies m ON m.movie_id = t.movie_id""",
        columns={
            "user_id": "Who rated",
            "movie_id": "What was rated",
            "title": "Title of the movie",
            "rating": "Stars, 0.5 to 5.0",
            "rated_at": "When, in UTC",
        },
    )
    dictionary = sa.table(
        "data_dictionary", sa.column("table_name"), sa.column("column_name"), sa.column("comment")
    )
    op.bulk_insert(
        dictionary,
        [
            {"table_name": name, "column_name": column, "comment": comment}
            for name, column, comment in DICTIONARY
        ],
    )
