"""Every metric of a model on a holdout, over all users and by segment, from one ranking pass."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from recsvc import vocabulary
from recsvc.model.data.identifiers import Csr as Tokens
from recsvc.model.evaluation import metrics
from recsvc.model.evaluation.placement import Placement, place
from recsvc.model.evaluation.segments import (
    ALL,
    Described,
    Segment,
    by_attribute,
    by_genre,
    by_popularity,
    standard_segments,
)
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

#: Metrics of all lists together, by name: lists, number of items, k.
CATALOGUE_METRICS: dict[str, Callable[[Int32, int, int], float]] = {
    vocabulary.COVERAGE: metrics.coverage_at_k,
    vocabulary.GINI: metrics.gini_at_k,
}


@dataclass(frozen=True)
class MetricValue:
    """A metric's mean over the users of a segment.

    The interval is the normal approximation over users, ``value ± Z s / sqrt(users)`` with the
    sample standard deviation ``s``; it is not cut at 0 or 1.
    """

    segment: str  #: such as ``all``, ``activity:low``, ``gender:F`` or ``popularity:tail``
    metric: str  #: such as ``ndcg``
    k: int | None  #: length of the list; None for ``auc``
    value: float
    ci_low: float | None  #: 95 %; None for fewer than two users, and of the catalogue
    ci_high: float | None  #: as ``ci_low``
    users: int  #: users that the value is taken over


@dataclass(frozen=True)
class Evaluation:
    """All metrics of one model on one holdout."""

    rows: tuple[MetricValue, ...]  #: by segment, metric and k; empty segments have none
    placement: Placement  #: what they were computed from
    popularity: Int64  #: shape ``(n_items,)``, training positives of each item
    tokens: Tokens | None = None  #: of items; without them lists have no diversity

    def per_user(self, metric: str, k: int | None = None) -> tuple[Int32, Float64]:
        """User indices and one value for each, over the full catalogue.

        Raises:
            ValueError: The metric has no value per user, or needs another ``k``.
        """
        judged = _Judged(self.placement, self.popularity, self.tokens)
        return self.placement.users, judged.per_user(metric, k)


def evaluate(
    scores: Scores,
    train: Csr,
    test: Csr,
    *,
    seen: Csr | None = None,
    described: Described | None = None,
    ks: Sequence[int] = vocabulary.KS,
    threads: int = 1,
    segments: bool = True,
    block_rows: int | None = None,
) -> Evaluation:
    """Rank the full catalogue without what was seen and compute every metric at every k.

    Users without held-out positives are left out, as in ``lightfm.evaluation``.

    Args:
        scores: Of a recommender.
        train: Shape ``(n_users, n_items)``, training positives.
        test: Same shape, held-out positives.
        seen: Same shape; its entries are left out of the lists. By default ``train``, as in
            ``lightfm.evaluation``; :func:`recsvc.model.data.seen.seen_before` makes others.
        described: Tokens of items and users: for segments by genre and attribute, and for the
            diversity of lists.
        ks: Lengths of lists.
        threads: Number of workers; the result does not depend on it.
        segments: Whether to go through the segments of ``segments.standard_segments`` too.
        block_rows: Users scored at once; the result does not depend on it.

    Raises:
        TrainingDivergedError: Scores would not be finite.
        ValueError: Shapes differ, ``seen`` and ``test`` overlap, or a k is not positive.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must be positive: {ks}")
    if seen is None:
        seen = train
    placement = place(scores, seen, test, max(ks), threads=threads, block_rows=block_rows)
    popularity = np.bincount(train.indices, minlength=scores.n_items)
    parts: tuple[Segment, ...] = (ALL,)
    if segments:
        activity = np.diff(train.indptr)[placement.users]
        parts = standard_segments(activity, popularity)
    if segments and described:
        parts += (*by_attribute(described.users, placement.users), *by_genre(described.items))
    tokens = described.items.shared if described else None
    judged = _Judged(placement, popularity, tokens)
    return Evaluation(tuple(judged.rows(sorted(set(ks)), parts)), placement, popularity, tokens)


@dataclass(frozen=True)
class _Judged:
    """Where held-out positives landed, and every metric of it."""

    placement: Placement
    popularity: Int64
    tokens: Tokens | None

    def rows(self, ks: Sequence[int], parts: Sequence[Segment]) -> Iterator[MetricValue]:
        """Yield the metrics of each segment that is not empty."""
        list_metrics = [metric for metric in vocabulary.LIST_METRICS if self._has(metric)]
        whole = {
            (metric, k): self.per_user(metric, k)
            for metric, k in [
                *_positive_metrics(ks),
                *((metric, k) for metric in list_metrics for k in ks),
            ]
        }
        for part in parts:
            wanted = [k for k in ks if part.ks is None or k in part.ks]
            if part.items is not None:
                yield from self._item_rows(part.name, part.items, wanted)
                continue
            users = slice(None) if part.users is None else part.users
            for (metric, k), values in whole.items():
                if k is None or k in wanted:
                    yield from _mean(part.name, metric, k, values[users])
            yield from self._catalogue_rows(part.name, self.placement.lists[users], wanted)

    def per_user(self, metric: str, k: int | None) -> Float64:
        """Return one value for each evaluated user.

        Raises:
            ValueError: The metric has no value per user, or needs another ``k``.
        """
        placement = self.placement
        if metric == vocabulary.AUC and k is None:
            return metrics.auc(placement.negatives_above, placement.indptr, placement.n_negatives)
        of_lists = metric in vocabulary.LIST_METRICS
        if k is None or k < 1 or (of_lists and k > placement.lists.shape[1]):
            raise ValueError(f"{metric} has no value per user at k = {k}")
        if metric in RANK_METRICS:
            return RANK_METRICS[metric](placement.ranks, placement.indptr, k)
        if metric == vocabulary.NOVELTY:
            return metrics.novelty_at_k(placement.lists, self.popularity, placement.n_users, k)
        if metric == vocabulary.HEAD_SHARE:
            return metrics.head_share_at_k(placement.lists, self._head, k)
        if metric == vocabulary.DIVERSITY and self.tokens is not None:
            return metrics.diversity_at_k(placement.lists, self.tokens, k)
        raise ValueError(f"{metric} has no value per user")

    def _has(self, metric: str) -> bool:
        return metric != vocabulary.DIVERSITY or self.tokens is not None

    @cached_property
    def _head(self) -> Mask:
        head = next(by_popularity(self.popularity)).items
        return np.zeros(0, np.bool_) if head is None else head

    def _item_rows(self, name: str, items: Mask, ks: Sequence[int]) -> Iterator[MetricValue]:
        """Only positives of the segment count; lists as such have no such part."""
        placement = self.placement
        inside = items[placement.items]
        cumulative = np.concatenate(([0], np.cumsum(inside)))[placement.indptr]
        having = np.flatnonzero(np.diff(cumulative))
        indptr = np.concatenate(([0], cumulative[having + 1]))
        ranks = placement.ranks[inside]
        for metric, k in _positive_metrics(ks):
            if k is None:
                values = metrics.auc(
                    placement.negatives_above[inside], indptr, placement.n_negatives[having]
                )
            else:
                values = RANK_METRICS[metric](ranks, indptr, k)
            yield from _mean(name, metric, k, values)

    def _catalogue_rows(self, name: str, lists: Int32, ks: Sequence[int]) -> Iterator[MetricValue]:
        if lists.shape[0] == 0:
            return
        for metric, of_catalogue in CATALOGUE_METRICS.items():
            for k in ks:
                value = of_catalogue(lists, self.popularity.size, k)
                yield MetricValue(name, metric, k, value, None, None, lists.shape[0])


def _positive_metrics(ks: Sequence[int]) -> list[tuple[str, int | None]]:
    return [*((metric, k) for metric in RANK_METRICS for k in ks), (vocabulary.AUC, None)]


def _mean(segment: str, metric: str, k: int | None, values: Float64) -> Iterator[MetricValue]:
    if values.size == 0:
        return
    mean = float(values.mean())
    if values.size == 1:
        yield MetricValue(segment, metric, k, mean, None, None, 1)
        return
    half = Z * float(values.std(ddof=1)) / values.size**0.5
    yield MetricValue(segment, metric, k, mean, mean - half, mean + half, values.size)
