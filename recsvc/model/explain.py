"""Why a model gives a movie the score it has: the sum, token by token."""

from dataclasses import dataclass

from recsvc.model.dataset import IdMap
from recsvc.model.hybrid import TrainedModel


@dataclass(frozen=True)
class Contribution:
    """One term of a score."""

    token: str  #: such as ``genre:Comedy``; ``movie:12`` is the movie itself, ``user`` the user
    value: float  #: what it adds to the score


def contributions(
    model: TrainedModel, items: IdMap, user_vector: list[float], user_bias: float, item: int
) -> list[Contribution]:
    """Split a score into what each token of the item adds, the largest first.

    For item ``i`` with feature weights ``f_t``, the score is
    ``user_bias + sum_t f_t (q_t . p_u + b_t)`` (Kula 2015, equation 1).

    Args:
        model: the trained model.
        items: to name the item's identity token.
        user_vector: ``p_u``, shape ``(components,)``.
        user_bias: the sum of the user's token biases.
        item: item index.
    """
    row = model.item_features.matrix[[item]].tocoo()
    terms = [Contribution("user", float(user_bias))]
    for column, weight in zip(row.col.tolist(), row.data.tolist(), strict=True):
        term = float(model.items.embeddings[column] @ user_vector + model.items.biases[column])
        terms.append(Contribution(_token_name(model, items, column), weight * term))
    return sorted(terms, key=lambda term: (-abs(term.value), term.token))


def _token_name(model: TrainedModel, items: IdMap, column: int) -> str:
    n_items = len(items)
    if column < n_items:
        return f"movie:{items.ids[column]}"
    return model.item_features.tokens[column - n_items]
