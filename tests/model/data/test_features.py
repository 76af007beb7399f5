"""Which tokens describe a movie, and with what weight."""

import numpy as np
import pandas as pd
import pytest

from recsvc.model.data.features import (
    BIAS_TOKEN,
    Features,
    genre_tokens,
    identity_features,
    tag_tokens,
    token_features,
    with_bias_token,
)
from recsvc.model.data.identifiers import IdMap

MOVIES = IdMap(np.array([3, 7, 11]))

GENRES = pd.DataFrame({"movie_id": [7, 3, 3], "genre": ["Drama", "Drama", "Action"]})

# first_user_id runs against applications, so that the two orders choose differently.
TAGS = pd.DataFrame(
    {
        "movie_id": [3, 3, 3, 7],
        "tag_key": ["dark", "slow", "zany", "dark"],
        "applications": [1, 5, 5, 2],
        "first_user_id": [1, 9, 4, 6],
    }
)

NO_GENRES, NO_TAGS = GENRES.iloc[:0], TAGS.iloc[:0]


def tokens_of(movie: int, pairs: pd.DataFrame) -> set[str]:
    return set(pairs.loc[pairs["id"] == movie, "token"])


def choose(
    genres: pd.DataFrame = GENRES,
    tags: pd.DataFrame = TAGS,
    *,
    max_tags: int = 20,
    order: str = "most_applied",
    bias_token: bool = True,
) -> pd.DataFrame:
    chosen = tag_tokens(tags, max_tags=max_tags, order=order)
    pairs = pd.concat([genre_tokens(genres), chosen], ignore_index=True)
    return with_bias_token(MOVIES, pairs) if bias_token else pairs


class TestTokensOfAMovie:
    def test_they_are_its_genres_and_its_tags(self) -> None:
        pairs = choose()
        assert tokens_of(3, pairs) == {
            "genre:Action",
            "genre:Drama",
            "tag:dark",
            "tag:slow",
            "tag:zany",
        }
        assert tokens_of(7, pairs) == {"genre:Drama", "tag:dark"}

    @pytest.mark.parametrize(
        ("order", "kept"),
        [("most_applied", {"tag:slow", "tag:zany"}), ("first_applied", {"tag:dark", "tag:zany"})],
    )
    def test_only_so_many_tags_are_kept(self, order: str, kept: set[str]) -> None:
        pairs = choose(NO_GENRES, max_tags=2, order=order)
        assert tokens_of(3, pairs) == kept
        assert tokens_of(7, pairs) == {"tag:dark"}, "the cap holds for each movie apart"

    @pytest.mark.parametrize("order", ["most_applied", "first_applied"])
    def test_ties_are_broken_by_the_tag(self, order: str) -> None:
        tied = TAGS.assign(applications=1, first_user_id=1)
        assert tokens_of(3, choose(NO_GENRES, tied, max_tags=1, order=order)) == {"tag:dark"}

    @pytest.mark.parametrize("order", ["most_applied", "first_applied"])
    def test_the_order_of_the_rows_does_not_matter(self, order: str) -> None:
        shuffled = TAGS.sample(frac=1, random_state=1)
        ours = choose(GENRES[::-1], shuffled, max_tags=2, order=order)
        theirs = choose(max_tags=2, order=order)
        matrices = [token_features(MOVIES, pairs, normalize=False) for pairs in (ours, theirs)]
        assert matrices[0].fingerprint() == matrices[1].fingerprint()

    def test_no_tag_is_kept_with_a_cap_of_zero(self) -> None:
        assert tokens_of(7, choose(max_tags=0)) == {"genre:Drama"}

    def test_a_movie_without_any_gets_the_bias_token(self) -> None:
        assert tokens_of(11, choose()) == {BIAS_TOKEN}

    def test_no_other_movie_gets_it(self) -> None:
        assert set(choose().query("token == @BIAS_TOKEN")["id"]) == {11}

    def test_without_the_bias_token_it_has_none(self) -> None:
        assert tokens_of(11, choose(bias_token=False)) == set()

    def test_genres_alone_will_do(self) -> None:
        assert tokens_of(3, choose(tags=NO_TAGS)) == {"genre:Action", "genre:Drama"}

    def test_tags_alone_will_do(self) -> None:
        assert tokens_of(7, choose(NO_GENRES)) == {"tag:dark"}

    def test_with_neither_every_movie_is_bare(self) -> None:
        assert choose(NO_GENRES, NO_TAGS)["token"].tolist() == [BIAS_TOKEN] * 3
        assert choose(NO_GENRES, NO_TAGS, bias_token=False).empty

    def test_frames_that_a_query_without_rows_gives_will_do(self) -> None:
        genres = pd.DataFrame({"movie_id": [], "genre": []})
        tags = pd.DataFrame({name: [] for name in TAGS.columns})
        assert tokens_of(3, choose(genres, tags)) == {BIAS_TOKEN}


class TestMatrix:
    def features(self, *, normalize: bool = False) -> Features:
        pairs = pd.DataFrame({"id": [7, 3, 7], "token": ["b", "b", "a"]})
        return token_features(MOVIES, pairs, normalize=normalize)

    def test_the_identity_comes_first_and_then_tokens_by_code_point(self) -> None:
        features = self.features()
        assert features.tokens == ("a", "b")
        assert features.matrix.toarray().tolist() == [
            [1, 0, 0, 0, 1],
            [0, 1, 0, 1, 1],
            [0, 0, 1, 0, 0],
        ]

    def test_it_is_what_lightfm_takes(self) -> None:
        matrix = self.features().matrix
        assert matrix.dtype == np.float32
        assert matrix.indices.dtype == np.int32
        assert matrix.has_sorted_indices

    def test_upper_case_comes_before_lower_case_and_umlauts_last(self) -> None:
        pairs = pd.DataFrame({"id": [3, 3, 3], "token": ["ä", "a", "B"]})
        assert token_features(MOVIES, pairs, normalize=False).tokens == ("B", "a", "ä")

    def test_normalised_rows_sum_to_one_with_equal_weights(self) -> None:
        matrix = self.features(normalize=True).matrix
        assert matrix.sum(axis=1) == pytest.approx([1, 1, 1])
        assert matrix.toarray()[1] == pytest.approx([0, 1 / 3, 0, 1 / 3, 1 / 3])
        assert matrix.dtype == np.float32

    def test_shared_is_the_part_without_identities(self) -> None:
        assert self.features().shared.toarray().tolist() == [[0, 1], [1, 1], [0, 0]]

    def test_without_tokens_it_is_the_identity(self) -> None:
        nothing = pd.DataFrame({"id": [], "token": []})
        features = token_features(MOVIES, nothing, normalize=True)
        assert features.tokens == ()
        assert features.matrix.toarray().tolist() == np.eye(3).tolist()
        assert features.fingerprint() == identity_features(3).fingerprint()

    def test_an_empty_catalogue_has_an_empty_matrix(self) -> None:
        nobody = IdMap(np.array([], dtype=np.int64))
        nothing = pd.DataFrame({"id": [], "token": []})
        assert token_features(nobody, nothing, normalize=False).matrix.shape == (0, 0)

    def test_a_token_of_an_unknown_movie_is_refused(self) -> None:
        with pytest.raises(KeyError, match="4"):
            token_features(MOVIES, pd.DataFrame({"id": [4], "token": ["a"]}), normalize=False)

    @pytest.mark.parametrize(
        ("ids", "tokens"),
        [([7, 3], ["b", "a"]), ([7, 3, 7], ["b", "b", "c"])],
        ids=["a token less", "a token renamed"],
    )
    def test_the_fingerprint_changes_with_tokens(self, ids: list[int], tokens: list[str]) -> None:
        other = token_features(MOVIES, pd.DataFrame({"id": ids, "token": tokens}), normalize=False)
        assert other.fingerprint() != self.features().fingerprint()

    def test_the_fingerprint_changes_with_weights(self) -> None:
        assert self.features().fingerprint() != self.features(normalize=True).fingerprint()
