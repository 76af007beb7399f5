"""The names that readers filter on, each written once.

Model, scheduled run, report and commands take them from here, and so do the comments of tables and
views: a name that is added needs a migration, because the comments in the database list them.
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

# --- models: ``model`` in metrics, models and user_metrics, the simplest first -------------------

POPULAR, LIGHTFM_CF, LIGHTFM_HYBRID = "popular", "lightfm_cf", "lightfm_hybrid"
MODELS = (POPULAR, LIGHTFM_CF, LIGHTFM_HYBRID)

# --- holdouts: ``protocol`` in metrics ----------------------------------------------------------

RANDOM: Final = "random"
LEAVE_LAST: Final = "leave_last"
TEMPORAL: Final = "temporal"
ProtocolName = Literal["random", "leave_last", "temporal"]
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)

# --- figures: ``metric`` in metrics -------------------------------------------------------------

PRECISION, RECALL, NDCG = "precision", "recall", "ndcg"
MAP, MRR, HIT_RATE = "map", "mrr", "hit_rate"
RANK_METRICS = (PRECISION, RECALL, NDCG, MAP, MRR, HIT_RATE)  #: of the places of positives
AUC, COVERAGE, NOVELTY = "auc", "coverage", "novelty"
METRICS = (*RANK_METRICS, AUC, COVERAGE, NOVELTY)

GATE_METRIC, GATE_K = NDCG, 10  #: what the gate judges by
KS = (5, 10, 20)  #: lengths of the lists that are evaluated

# --- parts of users and of movies: ``segment`` in metrics ---------------------------------------

ALL = "all"
ACTIVITY = ("activity:low", "activity:medium", "activity:high")
POPULARITY = ("popularity:head", "popularity:mid", "popularity:tail", "popularity:cold")

# --- why a list is what it is: ``source`` in recommendations -----------------------------------

HYBRID, COLD_USER, POPULAR_ITEMS = "hybrid", "cold_user", "popular"
SOURCES = (HYBRID, COLD_USER, POPULAR_ITEMS)  #: the index is the code inside a model

# --- runs ---------------------------------------------------------------------------------------

RUNNING: Final = "running"
PUBLISHED: Final = "published"
REFUSED: Final = "refused"
FAILED: Final = "failed"
LOST: Final = "lost"
SKIPPED: Final = "skipped"
RunStatus = Literal["running", "published", "refused", "failed", "lost", "skipped"]
RUN_STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)
#: With these a run has not dealt with its night: it may be run again.
UNFINISHED: tuple[RunStatus, ...] = (FAILED, LOST)

RETRAIN = "retrain"  #: ``job`` of the scheduled run

PUBLISH: Final = "publish"
ROLLBACK: Final = "rollback"
PublicationAction = Literal["publish", "rollback"]
PUBLICATION_ACTIONS: tuple[PublicationAction, ...] = get_args(PublicationAction)

PhaseName = Literal[
    "claim",
    "load",
    "split",
    "fit",
    "evaluate",
    "gate",
    "refit",
    "rank",
    "write",
    "verify",
    "publish",
    "prune",
]
PHASES: tuple[PhaseName, ...] = get_args(PhaseName)  #: of a run, in order


def phase_of(name: PhaseName, what: str = "") -> str:
    """Return the name of a phase in the database: what it is done for follows after a colon.

    >>> phase_of("gate"), phase_of("fit", "popular")
    ('gate', 'fit:popular')
    """
    return f"{name}:{what}" if what else name


def alternatives(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> alternatives(("random", "leave_last", "temporal"))
    'random, leave_last or temporal'
    """
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
