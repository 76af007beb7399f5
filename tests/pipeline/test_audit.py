"""Whether features help, by taking them away: tastes of genres are found out, on both databases."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsvc.errors import UsageError
from recsvc.model.data.alterations import has_kind, with_shuffled_kind, without_kind
from recsvc.model.data.features import token_features
from recsvc.model.data.identifiers import IdMap
from recsvc.pipeline.audit import audit
from tests import taste
from tests.pipeline.retraining import ingest, run
from tests.prepared import Prepared

TOKENS = pd.DataFrame(
    {
        "id": [0, 0, 1, 2, 2, 3],
        "token": ["genre:a", "tag:x", "genre:b", "genre:a", "genre:b", "tag:x"],
    }
)


@pytest.mark.parametrize("normalize", [False, True])
class TestAlterations:
    def test_a_kind_is_taken_away_and_nothing_else(self, normalize: bool) -> None:
        features = token_features(IdMap(np.arange(4)), TOKENS, normalize=normalize)
        without = without_kind(features, "genre:", normalize=normalize)
        tags = TOKENS[TOKENS["token"].str.startswith("tag:")]
        alone = token_features(IdMap(np.arange(4)), tags, normalize=normalize)
        assert not has_kind(without, "genre:")
        assert has_kind(features, "genre:")
        assert without.tokens == features.tokens, "embeddings begin the same"
        column = 4 + features.tokens.index("tag:x")
        assert without.matrix[:, [column]].toarray() == pytest.approx(
            alone.matrix[:, [4]].toarray()
        )
        assert without.matrix[:, :4].toarray() == pytest.approx(alone.matrix[:, :4].toarray())

    def test_shuffled_tokens_are_as_frequent_and_stay_together(self, normalize: bool) -> None:
        features = token_features(IdMap(np.arange(4)), TOKENS, normalize=normalize)
        shuffled = [
            with_shuffled_kind(features, "genre:", s, normalize=normalize) for s in range(9)
        ]
        for each in shuffled:
            there = each.matrix.toarray() > 0
            assert (
                there.sum(axis=0).tolist() == (features.matrix.toarray() > 0).sum(axis=0).tolist()
            )
            tag = 4 + features.tokens.index("tag:x")
            assert there[:, tag].tolist() == [True, False, False, True]
            assert there[:, :4].tolist() == np.eye(4, dtype=bool).tolist()
            if normalize:
                assert each.matrix.sum(axis=1) == pytest.approx(1)
        assert len({each.fingerprint() for each in shuffled}) > 3


def test_an_audit_finds_what_helps_and_stores_it(own: Prepared) -> None:
    with own.engine() as engine:
        records = audit(engine, own.settings(), seeds=2)
    stored = own.rows("SELECT * FROM feature_audits ORDER BY feature, compared_with")
    assert [(row.feature, row.compared_with) for row in stored] == [
        *(("genres", "none"), ("genres", "shuffled")),
        *(("tags", "none"), ("tags", "shuffled")),
    ]
    assert {row.difference for row in stored} == {record.difference for record in records}
    by_key = {(row.feature, row.compared_with): row for row in stored}
    shuffled = by_key["genres", "shuffled"]
    assert shuffled.ci_low > 0, "genres are all that tastes are made of here"
    assert shuffled.difference == pytest.approx(shuffled.value - shuffled.compared_value)
    assert (shuffled.seeds, shuffled.users) == (2, len(taste.LOVERS))
    assert (shuffled.metric, shuffled.k, shuffled.protocol) == ("ndcg", 10, "leave_last")


def test_runs_audit_when_the_last_one_is_old_enough(own: Prepared) -> None:
    quick = {"epochs": 2, "audit_days": 7}
    run(own, force=True, **quick)
    first = own.value("SELECT count(*) FROM audits")
    assert first == 4
    run(own, force=True, **quick)
    assert own.value("SELECT count(*) FROM audits") == first, "a week has not passed"
    week = "2000-01-01 00:00:00.000000+00:00"
    own.change(f"UPDATE audits SET audited_at = '{week}'")
    run(own, force=True, **quick)
    assert own.value("SELECT count(*) FROM audits") == 2 * first


def test_without_anything_to_take_away_there_is_no_audit(empty: Prepared, tmp_path: Path) -> None:
    bare = [(movie, f"Film {movie}", "(no genres listed)") for movie in taste.MOVIES]
    ingest(empty, taste.write_files(tmp_path, movies=bare, tags=[]))
    with empty.engine() as engine, pytest.raises(UsageError, match="nothing to audit"):
        audit(engine, empty.settings())
