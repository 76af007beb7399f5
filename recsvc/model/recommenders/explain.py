"""Why a movie has the score it has for a user: the sum, token by token."""

from dataclasses import dataclass

import numpy as np

from recsvc.model.lightfm.archive import ArchivedModel
from recsvc.model.recommenders.registry import SOURCES


@dataclass(frozen=True)
class Contribution:
    """One term of a score."""

    token: str  #: ``genre:Comedy``, ``movie:12`` (the movie itself), ``user:bias``, ``popularity``
    value: float  #: what it adds to the score


@dataclass(frozen=True)
class Explanation:
    """A score and the terms that add up to it."""

    score: float  #: as it is in the recommendations
    source: str  #: hybrid, cold_user or popular
    contributions: list[Contribution]  #: the largest first


def explain(archived: ArchivedModel, user: int, item: int) -> Explanation:
    """Split a score into what each token of the item adds.

    For item ``i`` with feature weights ``f_t``, the score is
    ``b_u + sum_t f_t (q_t . p_u + b_t)`` (Kula 2015, equation 1); for a user without history and
    attributes it is the item's number of positives.

    Args:
        archived: the published model.
        user: user index.
        item: item index.
    """
    source = SOURCES[archived.sources[user]]
    if source == "popular":
        terms = [Contribution("popularity", float(archived.popularity[item]))]
    else:
        terms = _terms(archived, user, item)
    ordered = sorted(terms, key=lambda term: (-abs(term.value), term.token))
    return Explanation(float(sum(term.value for term in terms)), source, ordered)


def _terms(archived: ArchivedModel, user: int, item: int) -> list[Contribution]:
    model = archived.model
    known = archived.sources == SOURCES.index("hybrid")
    vector, bias = model.user_vector(user, known=bool(known[user]))
    row = model.item_features.matrix[[item]].tocoo()
    values = row.data * (model.items.embeddings[row.col] @ vector + model.items.biases[row.col])
    names = [_token_name(archived, int(column)) for column in row.col]
    terms = map(Contribution, names, values.astype(np.float64).tolist())
    return [Contribution("user:bias", bias), *terms]


def _token_name(archived: ArchivedModel, column: int) -> str:
    n_items = len(archived.items)
    if column < n_items:
        return f"movie:{archived.items.ids[column]}"
    return archived.model.item_features.tokens[column - n_items]
