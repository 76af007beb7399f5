"""Every metric of a model on a holdout, over all users and by segment, from one ranking pass."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from recsvc import vocabulary
from recsvc.model.evaluation import metrics
from recsvc.model.evaluation.placement import Placement, place
from recsvc.model.evaluation.segments import ALL, Segment, standard_segments
from recsvc.model.ranking.rank import Csr
from recsvc.model.scores.scores import Scores
from recsvc.runtime.arrays import Float64, Int32, Int64, Mask

Z = NormalDist().inv_cdf(0.975)  #: for 95 % confidence intervals

#: Metrics of held-out positives at k, by name.
RANK_METRICS: dict[str, Callable[[Int32, Int64, int], Float64]] = {
    vocabulary.PRECISION: metrics.precision_at_k,
    vocabulary.RECALL: metrics.recall_at_k,
    vocabulary.NDCG: metrics.ndcg_at_k,
    vocabulary.MAP: metrics.average_precision_at_k,
    vocabulary.MRR: metrics.reciprocal_rank_at_k,
    vocabulary.HIT_RATE: metrics.hit_rate_at_k,
}


@dataclass(frozen=True)
class MetricValue:
    """A metric's mean over the users of a segment.

    The interval is the normal approximation over users, ``value ± Z s / sqrt(users)`` with the
    sample standard deviation ``s``; it is not cut at 0 or 1.
    """

    segment: str  #: ``all``, ``activity:*`` or ``popularity:*``
    metric: str  #: such as ``ndcg``
    k: int | None  #: length of the list; None for ``auc``
    value: float
    ci_low: float | None  #: 95 %; None for fewer than two users, and for ``coverage``
    ci_high: float | None  #: as ``ci_low``
    users: int  #: users that the value is taken over


@dataclass(frozen=True)
class Evaluation:
    """All metrics of one model on one holdout."""

    rows: tuple[MetricValue, ...]  #: by segment, metric and k; empty segments have none
    placement: Placement  #: what they were computed from
    popularity: Int64  #: shape ``(n_items,)``, training positives of each item

    def per_user(self, metric: str, k: int | None = None) -> tuple[Int32, Float64]:
        """User indices and one value for each, over the full catalogue.

        Raises:
            ValueError: The metric has no value per user, or needs another ``k``.
        """
        return self.placement.users, _per_user(self.placement, self.popularity, metric, k)


def evaluate(
    scores: Scores,
    train: Csr,
    test: Csr,
    *,
    ks: Sequence[int] = vocabulary.KS,
    threads: int = 1,
    segments: bool = True,
    block_rows: int | None = None,
) -> Evaluation:
    """Rank the full catalogue without training items and compute every metric at every k.

    Users without held-out positives are left out, as in ``lightfm.evaluation``.

    Args:
        scores: Of a recommender.
        train: Shape ``(n_users, n_items)``, training positives.
        test: Same shape, held-out positives.
        ks: Lengths of lists.
        threads: Number of workers; the result does not depend on it.
        segments: Whether to go through the segments of ``segments.standard_segments`` too.
        block_rows: Users scored at once; the result does not depend on it.

    Raises:
        TrainingDivergedError: Scores would not be finite.
        ValueError: Shapes differ, ``train`` and ``test`` overlap, or a k is not positive.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must be positive: {ks}")
    placement = place(scores, train, test, max(ks), threads=threads, block_rows=block_rows)
    popularity = np.bincount(train.indices, minlength=scores.n_items)
    parts: tuple[Segment, ...] = (ALL,)
    if segments:
        activity = np.diff(train.indptr)[placement.users]
        parts = standard_segments(activity, popularity)
    rows = tuple(_rows(placement, popularity, sorted(set(ks)), parts))
    return Evaluation(rows=rows, placement=placement, popularity=popularity)


def _rows(
    placement: Placement, popularity: Int64, ks: Sequence[int], parts: Sequence[Segment]
) -> Iterator[MetricValue]:
    whole = {
        (metric, k): _per_user(placement, popularity, metric, k)
        for metric, k in [*_rank_metrics(ks), *((vocabulary.NOVELTY, k) for k in ks)]
    }
    for part in parts:
        if part.items is not None:
            yield from _item_rows(placement, part.name, part.items, ks)
            continue
        users = slice(None) if part.users is None else part.users
        for (metric, k), values in whole.items():
            yield from _mean(part.name, metric, k, values[users])
        yield from _coverage(part.name, placement.lists[users], popularity.size, ks)


def _rank_metrics(ks: Sequence[int]) -> list[tuple[str, int | None]]:
    return [*((metric, k) for metric in RANK_METRICS for k in ks), (vocabulary.AUC, None)]


def _item_rows(
    placement: Placement, name: str, items: Mask, ks: Sequence[int]
) -> Iterator[MetricValue]:
    """Only positives of the segment count; coverage and novelty of a list have no such part."""
    inside = items[placement.items]
    cumulative = np.concatenate(([0], np.cumsum(inside)))[placement.indptr]
    having = np.flatnonzero(np.diff(cumulative))
    indptr = np.concatenate(([0], cumulative[having + 1]))
    ranks = placement.ranks[inside]
    for metric, k in _rank_metrics(ks):
        if k is None:
            values = metrics.auc(
                placement.negatives_above[inside], indptr, placement.n_negatives[having]
            )
        else:
            values = RANK_METRICS[metric](ranks, indptr, k)
        yield from _mean(name, metric, k, values)


def _per_user(placement: Placement, popularity: Int64, metric: str, k: int | None) -> Float64:
    if metric == vocabulary.AUC and k is None:
        return metrics.auc(placement.negatives_above, placement.indptr, placement.n_negatives)
    if k is None or k < 1 or (metric == vocabulary.NOVELTY and k > placement.lists.shape[1]):
        raise ValueError(f"{metric} has no value per user at k = {k}")
    if metric == vocabulary.NOVELTY:
        return metrics.novelty_at_k(placement.lists, popularity, placement.n_users, k)
    if metric not in RANK_METRICS:
        raise ValueError(f"{metric} has no value per user")
    return RANK_METRICS[metric](placement.ranks, placement.indptr, k)


def _mean(segment: str, metric: str, k: int | None, values: Float64) -> Iterator[MetricValue]:
    if values.size == 0:
        return
    mean = float(values.mean())
    if values.size == 1:
        yield MetricValue(segment, metric, k, mean, None, None, 1)
        return
    half = Z * float(values.std(ddof=1)) / values.size**0.5
    yield MetricValue(segment, metric, k, mean, mean - half, mean + half, values.size)


def _coverage(segment: str, lists: Int32, n_items: int, ks: Sequence[int]) -> Iterator[MetricValue]:
    if lists.shape[0] == 0:
        return
    for k in ks:
        value = metrics.coverage_at_k(lists, n_items, k)
        yield MetricValue(segment, vocabulary.COVERAGE, k, value, None, None, lists.shape[0])
