"""Ranking metrics as pure functions of the ranks that held-out positives reached.

Throughout, ``ranks`` holds the 0-based rank of each held-out positive among all items that the
user could be shown, and ``indptr`` delimits users as in a CSR matrix: the positives of user ``u``
are ``ranks[indptr[u]:indptr[u + 1]]``, in any order. Every function of them returns one float64
per user; a user without positives gets 0. Relevance is binary.

The worked examples follow one user whose three positives came 1st, 4th and 13th:

>>> ranks, indptr = np.array([0, 3, 12]), np.array([0, 3])
"""

import numpy as np

from recsvc.model.data.identifiers import Csr
from recsvc.runtime.arrays import Float64, Int64, Ints, Mask
from recsvc.runtime.compiled import jit


def precision_at_k(ranks: Ints, indptr: Ints, k: int) -> Float64:
    """Share of the first ``k`` places that hold a positive: ``hits / k``.

    Always divided by ``k``, as ``lightfm.evaluation.precision_at_k`` does. Source: Manning,
    Raghavan, Schütze, Introduction to Information Retrieval (2008), section 8.4.

    >>> precision_at_k(np.array([0, 3, 12]), np.array([0, 3]), k=5)  # 2 / 5
    array([0.4])
    """
    return _hits(ranks, indptr, k) / k


def recall_at_k(ranks: Ints, indptr: Ints, k: int) -> Float64:
    """Share of the positives that reached the first ``k`` places: ``hits / positives``.

    As ``lightfm.evaluation.recall_at_k``. Source: Manning, Raghavan, Schütze (2008), section 8.3.

    >>> recall_at_k(np.array([0, 3, 12]), np.array([0, 3]), k=5).round(4)  # 2 / 3
    array([0.6667])
    """
    return _hits(ranks, indptr, k) / _at_least_one(np.diff(indptr))


def hit_rate_at_k(ranks: Ints, indptr: Ints, k: int) -> Float64:
    """1 if any positive reached the first ``k`` places, else 0.

    Source: Deshpande, Karypis, Item-based top-N recommendation algorithms, ACM TOIS 22 (2004).

    >>> hit_rate_at_k(np.array([0, 3, 12, 20]), np.array([0, 3, 4]), k=5)
    array([1., 0.])
    """
    return (_hits(ranks, indptr, k) > 0).astype(np.float64)


def reciprocal_rank_at_k(ranks: Ints, indptr: Ints, k: int) -> Float64:
    """``1 / place`` of the best positive, 0 if none reached the first ``k`` places.

    Its mean over users is MRR. Source: Voorhees, The TREC-8 question answering track report
    (1999).

    >>> reciprocal_rank_at_k(np.array([3, 12]), np.array([0, 2]), k=5)  # 1 / 4
    array([0.25])
    """
    hit, user = _hit_positions(ranks, indptr, k)
    best = np.zeros(indptr.size - 1, dtype=np.float64)
    np.maximum.at(best, user, 1.0 / (ranks[hit] + 1.0))
    return best


def ndcg_at_k(ranks: Ints, indptr: Ints, k: int) -> Float64:
    """DCG of the first ``k`` places over the DCG of the best possible list.

    ``DCG = sum over hits of 1 / log2(place + 1)``; the ideal list has its ``min(k, positives)``
    first places filled. Source: Järvelin, Kekäläinen, Cumulated gain-based evaluation of IR
    techniques, ACM TOIS 20 (2002), with the usual ``log2(place + 1)``.

    >>> dcg = 1 / np.log2(2) + 1 / np.log2(5)  # places 1 and 4
    >>> ideal = 1 / np.log2(2) + 1 / np.log2(3) + 1 / np.log2(4)
    >>> float(round(dcg / ideal, 4))
    0.6714
    >>> ndcg_at_k(np.array([0, 3, 12]), np.array([0, 3]), k=5).round(4)
    array([0.6714])
    """
    hit, user = _hit_positions(ranks, indptr, k)
    gains = np.bincount(user, weights=1.0 / np.log2(ranks[hit] + 2.0), minlength=indptr.size - 1)
    ideal = np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))
    fillable = np.minimum(_at_least_one(np.diff(indptr)), k)
    return np.asarray(gains / ideal[fillable - 1], dtype=np.float64)


def average_precision_at_k(ranks: Ints, indptr: Ints, k: int) -> Float64:
    """Mean over the positives of the precision at the place of each, cut at ``k``.

    ``AP = sum over hits of (hits up to and with this place / place) / min(k, positives)``; its
    mean over users is MAP. Source: Manning, Raghavan, Schütze (2008), section 8.4; the cut and
    its divisor as in trec_eval's ``map_cut`` limited to what ``k`` places can hold.

    >>> float(round((1 / 1 + 2 / 4) / 3, 4))
    0.5
    >>> average_precision_at_k(np.array([12, 3, 0]), np.array([0, 3]), k=5)
    array([0.5])
    """
    hit, user = _hit_positions(ranks, indptr, k)
    order = np.lexsort((ranks[hit], user))
    hit, user = hit[order], user[order]
    first_hit = np.searchsorted(user, np.arange(indptr.size - 1))
    hits_so_far = np.arange(hit.size) - first_hit[user] + 1
    total = np.bincount(user, weights=hits_so_far / (ranks[hit] + 1.0), minlength=indptr.size - 1)
    fillable = np.minimum(_at_least_one(np.diff(indptr)), k)
    return np.asarray(total / fillable, dtype=np.float64)


def auc(negatives_above: Float64, indptr: Ints, n_negatives: Ints) -> Float64:
    """Probability that a random positive scores above a random negative; a tie counts half.

    ``AUC = 1 - mean over positives of negatives_above / n_negatives``, the Mann-Whitney
    statistic over its maximum. Without ties this is ``lightfm.evaluation.auc_score``; a user
    without negatives gets 0.5. Source: Hanley, McNeil, The meaning and use of the area under a
    ROC curve, Radiology 143 (1982).

    Args:
        negatives_above: For each positive, the negatives that score above it plus half of those
            that tie.
        indptr: Delimits users.
        n_negatives: For each user, the items that are neither seen in training nor held out.

    One of ten negatives is above the first positive, two and a tie above the second:

    >>> auc(np.array([1.0, 2.5]), np.array([0, 2]), np.array([10]))  # 1 - (0.1 + 0.25) / 2
    array([0.825])
    """
    positives = _at_least_one(np.diff(indptr))
    sums = np.concatenate(([0.0], np.cumsum(negatives_above)))
    above = (sums[indptr[1:]] - sums[indptr[:-1]]) / positives
    return np.where(n_negatives > 0, 1.0 - above / _at_least_one(n_negatives), 0.5)


def coverage_at_k(lists: Ints, n_items: int, k: int) -> float:
    """Share of the catalogue that is in at least one user's first ``k`` places.

    Source: Ge, Delgado-Battenfeld, Jannach, Beyond accuracy: evaluating recommender systems by
    coverage and serendipity, RecSys (2010).

    Args:
        lists: Shape ``(n_users, at least k)``, item indices, best first, padded with -1.
        n_items: Size of the catalogue.
        k: Length of the lists looked at.

    >>> coverage_at_k(np.array([[0, 1, 3], [1, 0, -1]]), n_items=4, k=2)  # items 0 and 1
    0.5
    """
    shown = np.zeros(n_items + 1, dtype=np.bool_)  # the last place takes the padding
    shown[lists[:, :k]] = True
    return float(np.count_nonzero(shown[:n_items])) / n_items


def novelty_at_k(lists: Ints, popularity: Ints, n_users: int, k: int) -> Float64:
    """Mean self-information ``-log2(share of users who interacted)`` of each user's list, in bits.

    An item without any interaction counts as if one user had interacted with it: at least as
    novel as any other, and finite. An empty list has NaN. Source: Zhou et al., Solving the
    apparent diversity-accuracy dilemma of recommender systems, PNAS 107 (2010).

    Args:
        lists: Shape ``(rows, at least k)``, item indices, best first, padded with -1.
        popularity: Shape ``(n_items,)``, number of users who interacted with each item.
        n_users: Number of users in training.
        k: Length of the lists looked at.

    Of 8 users, 4 know item 0 (1 bit), 2 know item 1 (2 bits), none knows item 2 (3 bits):

    >>> novelty_at_k(np.array([[0, 1], [1, 2], [2, -1]]), np.array([4, 2, 0]), n_users=8, k=2)
    array([1.5, 2.5, 3. ])
    """
    bits = np.log2(n_users) - np.log2(_at_least_one(popularity))
    information = np.append(bits, 0.0)[lists[:, :k]]  # the padding, -1, takes the last place
    lengths = np.count_nonzero(lists[:, :k] >= 0, axis=1)
    means = information.sum(axis=1) / _at_least_one(lengths)
    return np.where(lengths > 0, means, np.nan)


def head_share_at_k(lists: Ints, head: Mask, k: int) -> Float64:
    """Share of each user's first ``k`` places that very popular items hold.

    Source: the share of the short head, Abdollahpouri, Burke, Mobasher, Managing popularity bias in
    recommender systems with personalized re-ranking, FLAIRS (2019).

    Args:
        lists: Shape ``(rows, at least k)``, item indices, best first, padded with -1.
        head: Shape ``(n_items,)``, the popular items.
        k: Length of the lists looked at.

    >>> head_share_at_k(np.array([[0, 1], [1, -1]]), np.array([True, False]), k=2)
    array([0.5, 0. ])
    """
    popular = np.append(head, False)[lists[:, :k]]  # the padding, -1, takes the last place
    lengths = np.count_nonzero(lists[:, :k] >= 0, axis=1)
    return np.asarray(popular.sum(axis=1) / _at_least_one(lengths))


def diversity_at_k(lists: Ints, tokens: Csr, k: int) -> Float64:
    """One less the mean cosine between the tokens of two items of a user's list.

    0 says that all have the same genres and tags, 1 that no two share any. An item without tokens
    is unlike every other; a list of one has no diversity. Source: intra-list similarity, Ziegler et
    al., Improving recommendation lists through topic diversification, WWW (2005).

    Args:
        lists: Shape ``(rows, at least k)``, item indices, best first, padded with -1.
        tokens: Shape ``(n_items, n_tokens)``, weights of shared tokens.
        k: Length of the lists looked at.

    Items 0 and 1 share their one token, item 2 has another:

    >>> from scipy.sparse import csr_array
    >>> tokens = csr_array(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    >>> diversity_at_k(np.array([[0, 1, -1], [0, 2, 1]]), tokens, k=3).round(4)
    array([0.    , 0.6667])
    """
    found = np.empty(len(lists))
    lengths = np.sqrt(np.asarray(tokens.multiply(tokens).sum(axis=1)).ravel())
    lengths[lengths == 0] = 1
    weights = tokens.data / np.repeat(lengths, np.diff(tokens.indptr))
    indptr = tokens.indptr.astype(np.int64)
    _diversities(lists[:, :k], indptr, tokens.indices, weights, tokens.shape[1], found)
    return found


@jit()
def _diversities(
    lists: Ints, indptr: Int64, tokens: Ints, weights: Float64, n_tokens: int, found: Float64
) -> None:
    sums = np.zeros(n_tokens)
    for row in range(lists.shape[0]):
        alike, size = 0.0, 0
        for item in lists[row]:
            if item < 0:
                break
            size += 1
            for p in range(indptr[item], indptr[item + 1]):
                alike += sums[tokens[p]] * weights[p]
            for p in range(indptr[item], indptr[item + 1]):
                sums[tokens[p]] += weights[p]
        for item in lists[row, :size]:
            for p in range(indptr[item], indptr[item + 1]):
                sums[tokens[p]] = 0.0
        found[row] = 1.0 - alike / (size * (size - 1) / 2) if size > 1 else 0.0


def gini_at_k(lists: Ints, n_items: int, k: int) -> float:
    """Gini coefficient of how often each item of the catalogue is shown in the first ``k`` places.

    0 if all are shown equally often, near 1 if a few take every place. Source: Gini 1912; for
    recommendations Fleder, Hosanagar, Blockbuster culture's next rise or fall, Management Science
    55 (2009).

    Args:
        lists: Shape ``(rows, at least k)``, item indices, best first, padded with -1.
        n_items: Size of the catalogue.
        k: Length of the lists looked at.

    >>> gini_at_k(np.array([[0, 1], [2, 3]]), n_items=4, k=2)
    0.0
    >>> gini_at_k(np.array([[0], [0]]), n_items=4, k=1)
    0.75
    """
    shown = lists[:, :k]
    counts = np.sort(np.bincount(shown[shown >= 0], minlength=n_items))
    if not counts.any():
        return 0.0
    places = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float((places @ counts) / (n_items * counts.sum()))


def _hit_positions(ranks: Ints, indptr: Ints, k: int) -> tuple[Ints, Ints]:
    hit = np.flatnonzero(ranks < k)
    return hit, np.searchsorted(indptr, hit, side="right") - 1


def _hits(ranks: Ints, indptr: Ints, k: int) -> Float64:
    _, user = _hit_positions(ranks, indptr, k)
    return np.bincount(user, minlength=indptr.size - 1).astype(np.float64)


def _at_least_one(counts: Ints) -> Ints:
    return np.maximum(counts, 1)
