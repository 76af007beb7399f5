"""Weights of a blend, chosen by a holdout and judged by users who had no say in them."""

from dataclasses import dataclass

import numpy as np

from recsvc.model.blend.parts import PLAIN, Parts, Weights
from recsvc.model.neighbours.scores import NONE, Term, WithNeighbours
from recsvc.model.ranking.rank import Csr, csr_arrays
from recsvc.model.ranking.scoring import score_blocks
from recsvc.model.ranking.selection import mask, select
from recsvc.model.scores.factors import STRIP
from recsvc.runtime.arrays import Float32, Float64, Int32, Int64
from recsvc.runtime.compiled import jit
from recsvc.vocabulary import COSINE, FORWARD, GATE_K, WINDOW, NeighbourKind

NEIGHBOUR_WEIGHTS = (0.0, 0.2, 0.4, 0.7, 1.2)
POPULARITY_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
#: What near means, and how fast a history fades.
TERMS: tuple[tuple[NeighbourKind, float], ...] = (
    (WINDOW, 1.0),
    (WINDOW, 0.5),
    (FORWARD, 1.0),
    (FORWARD, 0.5),
    (COSINE, 1.0),
    (COSINE, 0.25),
)
FOLDS = 10  #: of the users: what is judged was chosen by nine tenths of those who choose
FEWEST_KNOWN = 30  #: users; fewer cannot choose
MOST_CHOOSING = 2_000  #: users; more would choose the same, and take longer


@dataclass(frozen=True)
class Holdout:
    """Positives to find again, and what lists leave out."""

    seen: Csr  #: shape ``(n_users, n_items)``
    test: Csr  #: same shape
    seed: int  #: of whatever is random
    threads: int


@dataclass(frozen=True)
class Chosen:
    """What a holdout chose."""

    weights: Weights  #: by all users who choose
    scores: WithNeighbours  #: of each user with weights that the user had no say in


def settings() -> list[Weights]:
    """Return all weights that are tried, the simplest first.

    >>> len(settings()), settings()[0] == PLAIN, settings()[1]
    (150, True, Weights(neighbours=None, neighbour_decay=None, neighbour_weight=0.0, \
popularity_weight=0.25))
    """
    without = [Weights(popularity_weight=r) for r in POPULARITY_WEIGHTS]
    return without + [
        Weights(kind, decay, w, r)
        for kind, decay in TERMS
        for w in NEIGHBOUR_WEIGHTS[1:]
        for r in POPULARITY_WEIGHTS
    ]


def choose_weights(parts: Parts, holdout: Holdout) -> Chosen:
    """Choose the weights whose mean gain over the plain hybrid, less a standard error, is largest.

    The gain is of NDCG@10, user by user. Nobody is judged by weights that they had a say in: users
    fall into ten parts, and each part is scored with what the others chose (cross-fitting,
    Chernozhukov et al., Double/debiased machine learning, 2018). With two parts the figures would
    be of weights that half of the users chose, and depend on the luck of the draw twice as much.

    Args:
        parts: fitted without the held-out positives.
        holdout: what to find again.
    """
    judged = np.flatnonzero(np.diff(holdout.test.indptr)).astype(np.int32)
    known = judged[parts.known[judged]]
    if len(known) < FEWEST_KNOWN:
        return Chosen(PLAIN, parts.scores(PLAIN))
    rng = np.random.default_rng(holdout.seed)
    shuffled = rng.permutation(known)
    fold = np.zeros(len(parts.known), np.int8)
    fold[shuffled] = np.arange(len(shuffled)) % FOLDS
    choosing = np.sort(shuffled[:MOST_CHOOSING])
    figures = ndcg_of_settings(parts, holdout, choosing)
    by_others = [_best(figures[fold[choosing] != number]) for number in range(FOLDS)]
    return Chosen(_best(figures), parts.scores_by_part(by_others, fold))


def _best(figures: Float64) -> Weights:
    gains = figures - figures[:, :1]
    errors = gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    return settings()[int(np.argmax(gains.mean(axis=0) - errors))]


def ndcg_of_settings(parts: Parts, holdout: Holdout, users: Int32) -> Float64:
    """Return NDCG@10 of some users by all settings, shape ``(len(users), len(settings()))``.

    Args:
        parts: fitted without the held-out positives.
        holdout: what to find again.
        users: user indices, each with held-out positives.
    """
    seen_indptr, seen_indices = csr_arrays(holdout.seen)
    test_indptr, test_indices = csr_arrays(holdout.test)
    base = parts.scores(PLAIN)
    everybody = np.where(parts.known, 0, NONE).astype(np.int8)
    one = np.ones(len(everybody), np.float32)
    terms = [
        WithNeighbours(
            base.base, parts.histories, (Term(parts.neighbours[kind], decay),), everybody, one
        )
        for kind, decay in TERMS
    ]
    groups = [_weights_of(None)] + [_weights_of(term) for term in TERMS]
    figures = np.empty((len(users), sum(map(len, groups))))

    def consume(start: int, stop: int, values: Float32) -> None:
        block = users[start:stop]
        mask(values, block, seen_indptr, seen_indices)
        near = np.zeros_like(values)
        first = 0
        for term, pairs in zip([None, *terms], groups, strict=True):
            near[:] = 0
            if term is not None:
                term.add_to(near, block)
            out = figures[start:stop, first : first + len(pairs)]
            _judge(values, near, parts.popularity, pairs, block, test_indptr, test_indices, out)
            first += len(pairs)

    blocks = score_blocks(base, users, consume, threads=holdout.threads, block_rows=STRIP)
    for _ in blocks:
        pass
    return figures


def _weights_of(term: tuple[str, float] | None) -> Float32:
    """Return the pairs ``(w, r)`` of the settings with a term, in their order."""
    return np.array(
        [
            (each.neighbour_weight, each.popularity_weight)
            for each in settings()
            if (each.neighbours, each.neighbour_decay) == (term or (None, None))
        ],
        np.float32,
    )


@jit()
def _judge(
    base: Float32,
    near: Float32,
    popularity: Float32,
    pairs: Float32,
    users: Int32,
    indptr: Int64,
    indices: Int32,
    out: Float64,
) -> None:
    """Fill ``out[row, s]`` with NDCG@10 of ``base + w near + r popularity``, by ``pairs[s]``."""
    n_settings, n_items = pairs.shape[0], base.shape[1]
    scores = np.empty((n_settings, n_items), dtype=np.float32)
    lists = np.empty((n_settings, GATE_K), dtype=np.int32)
    best = np.empty((n_settings, GATE_K), dtype=np.float32)
    counts = np.empty(n_settings, dtype=np.int32)
    for row in range(users.size):
        for s in range(n_settings):
            w, r = pairs[s, 0], pairs[s, 1]
            for item in range(n_items):
                scores[s, item] = base[row, item] + w * near[row, item] + r * popularity[item]
        select(scores, lists, best, counts)
        wanted = indices[indptr[users[row]] : indptr[users[row] + 1]]
        ideal = 0.0
        for place in range(min(wanted.size, GATE_K)):
            ideal += 1.0 / np.log2(place + 2.0)
        for s in range(n_settings):
            gained = 0.0
            for place in range(counts[s]):
                at = np.searchsorted(wanted, lists[s, place])
                if at < wanted.size and wanted[at] == lists[s, place]:
                    gained += 1.0 / np.log2(place + 2.0)
            out[row, s] = gained / ideal
