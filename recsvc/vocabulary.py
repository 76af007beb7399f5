"""The names that readers filter on, each written once.

Model, scheduled run, report and commands take them from here, and so do the comments of tables and
views: a name that is added needs a migration, because the comments in the database list them.
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

# --- models: ``model`` in metrics, models and user_metrics, the simplest first -------------------

POPULAR: Final = "popular"
RECENT_POPULAR: Final = "recent_popular"
NEIGHBOURS: Final = "neighbours"
LIGHTFM_CF: Final = "lightfm_cf"
LIGHTFM_HYBRID: Final = "lightfm_hybrid"
BLEND: Final = "blend"
ModelName = Literal[
    "popular", "recent_popular", "neighbours", "lightfm_cf", "lightfm_hybrid", "blend"
]
MODELS: tuple[ModelName, ...] = get_args(ModelName)
BEST: Final = "best"  #: stands for the best of them, wherever one is to be chosen

# --- what co-occurrence of movies means: ``neighbours`` in models --------------------------------

WINDOW: Final = "window"
FORWARD: Final = "forward"
COSINE: Final = "cosine"
NeighbourKind = Literal["window", "forward", "cosine"]
NEIGHBOUR_KINDS: tuple[NeighbourKind, ...] = get_args(NeighbourKind)

# --- holdouts: ``protocol`` in metrics ----------------------------------------------------------

RANDOM: Final = "random"
LEAVE_LAST: Final = "leave_last"
TEMPORAL: Final = "temporal"
LAST_DAY: Final = "last_day"
ProtocolName = Literal["random", "leave_last", "temporal", "last_day"]
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)

# --- what lists that are judged leave out: ``mask`` in runs --------------------------------------

RATED: Final = "rated"
TRAINING: Final = "training"
MaskName = Literal["rated", "training"]
MASKS: tuple[MaskName, ...] = get_args(MaskName)

# --- figures: ``metric`` in metrics -------------------------------------------------------------

PRECISION, RECALL, NDCG = "precision", "recall", "ndcg"
MAP, MRR, HIT_RATE = "map", "mrr", "hit_rate"
RANK_METRICS = (PRECISION, RECALL, NDCG, MAP, MRR, HIT_RATE)  #: of the places of positives
AUC, NOVELTY, DIVERSITY, HEAD_SHARE = "auc", "novelty", "diversity", "head_share"
LIST_METRICS = (NOVELTY, DIVERSITY, HEAD_SHARE)  #: of a user's list, whatever was held out
COVERAGE, GINI = "coverage", "gini"
CATALOGUE_METRICS = (COVERAGE, GINI)  #: of all lists together: no mean over users, no interval
METRICS = (*RANK_METRICS, AUC, *LIST_METRICS, *CATALOGUE_METRICS)

GATE_METRIC, GATE_K = NDCG, 10  #: what the gate judges by
KS = (5, 10, 20)  #: lengths of the lists that are evaluated

# --- parts of users and of movies: ``segment`` in metrics ---------------------------------------

ALL = "all"
ACTIVITY = ("activity:low", "activity:medium", "activity:high")
ACTIVITY_NONE = "activity:none"
POPULARITY = ("popularity:head", "popularity:mid", "popularity:tail", "popularity:cold")

# --- why a list is what it is: ``source`` in recommendations -----------------------------------

HYBRID, COLD_USER, POPULAR_ITEMS = "hybrid", "cold_user", "popular"
#: The index is the code inside a model, and models of earlier runs hold it: append only.
SOURCES = (HYBRID, COLD_USER, POPULAR_ITEMS, RECENT_POPULAR, NEIGHBOURS, LIGHTFM_CF, BLEND)

# --- audits: what a feature is ``compared_with`` --------------------------------------------------

NOTHING: Final = "none"
SHUFFLED: Final = "shuffled"

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
    "audit",
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
