"""Record which model a run published, how it was judged, the weights of a blend, and audits.

Columns are added without values: runs of earlier versions were judged in another way, and are not
compared with. ``runs`` and ``models`` are locked for a moment.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0003"
down_revision = "0002"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
REAL: TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
UTC_TIMESTAMP = sa.TIMESTAMP(timezone=True).with_variant(sa.Text(), "sqlite")

CHANGED: list[tuple[tuple[str, ...], str, str]] = [
    (
        ('current_recommendations.source', 'recommendations.source'),
        'Why the row is there: hybrid, cold_user or popular',
        'Why the row is there: hybrid, cold_user, popular, recent_popular, neighbours, lightfm_cf or blend',
    ),
    (
        ('current_similar_movies.similarity', 'similar_movies.similarity'),
        "Cosine of the two movies' representations, -1 to 1",
        'How alike the two movies are, -1 to 1; higher is more alike',
    ),
    (
        ('metrics.metric', 'model_metrics.metric'),
        'precision, recall, ndcg, map, mrr, hit_rate, auc, coverage, novelty',
        'precision, recall, ndcg, map, mrr, hit_rate, auc, novelty, diversity, head_share, coverage, gini',
    ),
    (
        ('metrics.model', 'model_metrics.model', 'models.model'),
        'popular, lightfm_cf or lightfm_hybrid',
        'popular, recent_popular, neighbours, lightfm_cf, lightfm_hybrid or blend',
    ),
    (
        ('metrics.protocol', 'model_metrics.protocol'),
        'How the holdout was made: random, leave_last or temporal',
        'How the holdout was made: random, leave_last, temporal or last_day',
    ),
    (
        ('metrics.segment', 'model_metrics.segment'),
        'all, activity:* (of users) or popularity:* (of movies)',
        'all; of users activity:* or an attribute such as gender:F; of movies popularity:* or a genre such as genre:Drama',
    ),
    (
        ('metrics.value', 'model_metrics.value'),
        'Mean over users, or over the catalogue for coverage',
        'Mean over users; over the catalogue for coverage or gini',
    ),
    (
        ('user_metrics.model',),
        'Model, such as lightfm_hybrid',
        'Model whose lists the run made: popular, recent_popular, neighbours, lightfm_cf, lightfm_hybrid or blend',
    ),
]

MODEL = (
    "Model whose lists the run made: popular, recent_popular, neighbours, lightfm_cf, "
    "lightfm_hybrid or blend"
)
PROTOCOL = "How the holdout was made: random, leave_last, temporal or last_day"
PROTOCOL_REASON = "Why the holdout was made so, where another protocol was asked for"
MASK = "What lists that were judged left out: rated or training"
OF_RUNS = {"model": MODEL, "protocol": PROTOCOL, "protocol_reason": PROTOCOL_REASON, "mask": MASK}
OF_MODELS: dict[str, tuple[TypeEngine[Any], str]] = {
    "neighbours": (
        sa.Text(),
        "What a blend takes for near in time: window, forward or cosine",
    ),
    "neighbour_decay": (REAL, "How fast a blend lets a history fade, by place"),
    "neighbour_weight": (REAL, "What a blend multiplies neighbours with"),
    "popularity_weight": (REAL, "What a blend multiplies recent popularity with"),
}
COMPARED_WITH = "shuffled among movies, or none at all"
OF_AUDITS = {
    "audited_at": "When, by the database's clock",
    "feature": "Kind of tokens of movies, such as genres",
    "compared_with": COMPARED_WITH,
    "protocol": PROTOCOL,
    "metric": "Metric, such as ndcg",
    "k": "Length of the list",
    "value": "The metric with the feature as it is",
    "compared_value": "The metric with what it is compared with",
    "difference": "What the feature brings: the mean over users and seeds",
    "ci_low": "Lower end of its 95 % confidence interval",
    "ci_high": "Upper end of its 95 % confidence interval",
    "seeds": "Trainings of each kind, each with a seed of its own",
    "users": "Users that it is a mean of",
}
AUDITS = "Whether each kind of feature helps the hybrid; kept for ever."
AUDIT_VIEW = "Whether each kind of feature helps: with it, shuffled, and without it."
OF_AUDIT_VIEW = OF_AUDITS | {"audited_at": "When", "metric": "What was measured"}

RUN_HISTORY = """\
SELECT r.run_id, r.job, r.scheduled_for, r.status, r.started_at, r.finished_at,
       {seconds} AS seconds, r.ratings, r.users, r.movies, r.error{more}
FROM runs r"""
MORE = """,
       r.model, r.protocol, r.protocol_reason, r.mask"""
RUN_SECONDS = {
    "sqlite": "round((julianday(r.finished_at) - julianday(r.started_at)) * 86400.0, 3)",
    "postgresql": (
        "CAST(extract(epoch FROM r.finished_at - r.started_at) AS double precision)"
    ),
}
FEATURE_AUDITS = """\
SELECT a.audited_at, a.feature, a.compared_with, a.protocol, a.metric, a.k, a.value,
       a.compared_value, a.difference, a.ci_low, a.ci_high, a.seeds, a.users
FROM audits a"""


def upgrade() -> None:
    """Upgrade from the version before."""
    for name, comment in OF_RUNS.items():
        op.add_column("runs", sa.Column(name, sa.Text(), nullable=True, comment=comment))
        explain("runs", name, comment)
    for name, (kind, comment) in OF_MODELS.items():
        op.add_column("models", sa.Column(name, kind, nullable=True, comment=comment))
        explain("models", name, comment)
    create_audits()
    replace_run_history(MORE)
    for name, comment in OF_RUNS.items():
        explain_of_view("run_history", name, comment)
    op.get_bind().exec_driver_sql(f"CREATE VIEW feature_audits AS\n{FEATURE_AUDITS}")
    explain("feature_audits", "", AUDIT_VIEW)
    if is_postgresql():
        op.execute(f"COMMENT ON VIEW feature_audits IS {literal(AUDIT_VIEW)}")
    for name, comment in OF_AUDIT_VIEW.items():
        explain_of_view("feature_audits", name, comment)
    for columns, _, comment in CHANGED:
        explain_again(columns, comment)


def downgrade() -> None:
    """Go back to the version before."""
    for columns, comment, _ in CHANGED:
        explain_again(columns, comment)
    op.execute("DROP VIEW feature_audits")
    op.execute("DROP VIEW run_history")
    op.drop_table("audits")
    for name in OF_MODELS:
        op.drop_column("models", name)
    for name in OF_RUNS:
        op.drop_column("runs", name)
    forget("audits", "feature_audits")
    for name in OF_RUNS:
        forget_column("runs", name)
        forget_column("run_history", name)
    for name in OF_MODELS:
        forget_column("models", name)
    replace_run_history("")
    restore_run_history_comments()


def create_audits() -> None:
    kinds: dict[str, TypeEngine[Any]] = {
        "audited_at": UTC_TIMESTAMP,
        "feature": sa.Text(),
        "compared_with": sa.Text(),
        "protocol": sa.Text(),
        "metric": sa.Text(),
        "k": sa.Integer(),
        "seeds": BIG_ID,
        "users": BIG_ID,
    }
    keys = ("audited_at", "feature", "compared_with")
    columns = [
        sa.Column(
            name,
            kinds.get(name, REAL),
            nullable=False,
            comment=comment,
        )
        for name, comment in OF_AUDITS.items()
    ]
    op.create_table(
        "audits",
        *columns,
        sa.PrimaryKeyConstraint(*keys, name="pk_audits"),
        sa.CheckConstraint(
            "abs(difference) <= 1.7976931348623157e308", name="ck_audits_difference_finite"
        ),
        comment=AUDITS,
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    explain("audits", "", AUDITS)
    for name, comment in OF_AUDITS.items():
        explain("audits", name, comment)


def replace_run_history(more: str) -> None:
    """Make the view anew; on PostgreSQL in place where it can be, so that grants stay."""
    dialect = op.get_bind().dialect.name
    select = RUN_HISTORY.format(seconds=RUN_SECONDS[dialect], more=more)
    create = "CREATE OR REPLACE VIEW" if is_postgresql() else "CREATE VIEW"
    if not is_postgresql() and more:
        op.execute("DROP VIEW run_history")
    op.get_bind().exec_driver_sql(f"{create} run_history AS\n{select}")


def is_postgresql() -> bool:
    return bool(op.get_bind().dialect.name == "postgresql")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


DICTIONARY = sa.table(
    "data_dictionary",
    sa.column("table_name", sa.Text()),
    sa.column("column_name", sa.Text()),
    sa.column("comment", sa.Text()),
)


def explain(table: str, column: str, comment: str) -> None:
    op.execute(
        sa.insert(DICTIONARY).values(table_name=table, column_name=column, comment=comment)
    )


def explain_of_view(view: str, column: str, comment: str) -> None:
    explain(view, column, comment)
    if is_postgresql():
        op.execute(f"COMMENT ON COLUMN {view}.{column} IS {literal(comment)}")


def explain_again(columns: tuple[str, ...], comment: str) -> None:
    for each in columns:
        table, column = each.split(".")
        chosen = (DICTIONARY.c.table_name == table) & (DICTIONARY.c.column_name == column)
        op.execute(sa.update(DICTIONARY).where(chosen).values(comment=comment))
        if is_postgresql():
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS {literal(comment)}")


def forget(*tables: str) -> None:
    op.execute(sa.delete(DICTIONARY).where(DICTIONARY.c.table_name.in_(tables)))


def forget_column(table: str, column: str) -> None:
    chosen = (DICTIONARY.c.table_name == table) & (DICTIONARY.c.column_name == column)
    op.execute(sa.delete(DICTIONARY).where(chosen))


def restore_run_history_comments() -> None:
    """Put back what PostgreSQL forgot with the view; the dictionary has it still."""
    if not is_postgresql():
        return
    chosen = sa.select(DICTIONARY).where(DICTIONARY.c.table_name == "run_history")
    for row in op.get_bind().execute(chosen).all():
        what = f"COLUMN run_history.{row.column_name}" if row.column_name else "VIEW run_history"
        op.execute(f"COMMENT ON {what} IS {literal(row.comment)}")
