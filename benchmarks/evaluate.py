"""Every metric and segment in one pass against precision, recall and AUC of lightfm.evaluation.

LightFM evaluates a sample of the users, since all of them would take it more than an hour; its
values for the sample must be ours. ``--large`` evaluates all users of MovieLens 25M.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial

import numpy as np
from lightfm import LightFM
from lightfm.evaluation import auc_score, precision_at_k, recall_at_k
from measure import Report, alternate, compared, seconds
from scipy import sparse
from workload import COMPONENTS, MOVIELENS_25M, Workload, as_hybrid, as_lightfm, make, split

from recsvc.model.evaluation.evaluate import Evaluation, evaluate
from recsvc.model.scores.factors import Factors

K = 10
TARGET = 100.0
#: Mean positives (not ratings) of a user of MovieLens 25M.
POSITIVES_PER_USER = 73.0


def main() -> None:
    """Measure, print and write the results."""
    options = _options()
    workload = make(options.users, options.items, POSITIVES_PER_USER)
    report = Report(
        "evaluate_large" if options.large else "evaluate",
        "Evaluation",
        {
            "users": options.users,
            "items": options.items,
            "factors": COMPONENTS + 2,
            "threads": options.threads,
            "users of LightFM's sample": options.sample,
            "repetitions": options.repetitions,
        },
    )
    for protocol in ("leave_last", "random"):
        _compare(report, workload, protocol, options)
    report.write()


def _compare(
    report: Report, workload: Workload, protocol: str, options: argparse.Namespace
) -> None:
    train, test = split(workload.seen, protocol)
    evaluated = int(np.count_nonzero(np.diff(test.indptr)))
    sample = Factors(workload.factors.users[: options.sample].copy(), workload.factors.items)
    held_out = (test[: options.sample], train[: options.sample])
    theirs = {
        "lightfm.evaluation": _LightFmEvaluation(as_lightfm(sample), None, held_out),
        "lightfm.evaluation, hybrid": _LightFmEvaluation(*as_hybrid(sample), held_out),
    }
    ours: list[Evaluation] = []

    def ours_once() -> None:
        ours[:] = [evaluate(workload.factors, train, test, threads=options.threads)]

    contenders: dict[str, Callable[[], float]] = {"ours": lambda: evaluated / seconds(ours_once)}
    for name, peer in theirs.items():
        contenders[name] = partial(_speed, peer, options.threads)
    speeds = alternate(contenders, options.repetitions)
    work = f"evaluate, {protocol} ({test.nnz / evaluated:.0f} held out a user)"
    note = "precision, recall and AUC there; all metrics and segments here"
    for name, peer in theirs.items():
        report.add(compared(work, "users", speeds, name, target=TARGET, note=note))
        difference = peer.difference(ours[0])
        report.state(f"Largest difference of a mean, {protocol}, {name}: {difference:.1e}.")


def _speed(peer: "_LightFmEvaluation", threads: int) -> float:
    return peer.users / seconds(lambda: peer.run(threads))


class _LightFmEvaluation:
    """Precision, recall and AUC of the first users, by the same factors."""

    def __init__(
        self,
        model: LightFM,
        item_features: sparse.csr_matrix | None,
        held_out: tuple[sparse.csr_matrix, sparse.csr_matrix],
    ) -> None:
        self._model, self._item_features = model, item_features
        self._test, self._train = held_out
        self.users = int(np.count_nonzero(np.diff(self._test.indptr)))
        self._values: dict[str, np.ndarray] = {}

    def run(self, threads: int) -> None:
        """Evaluate, one metric after the other."""
        metrics: dict[str, tuple[Callable[..., np.ndarray], dict[str, int]]] = {
            "precision": (precision_at_k, {"k": K}),
            "recall": (recall_at_k, {"k": K}),
            "auc": (auc_score, {}),
        }
        for name, (metric, arguments) in metrics.items():
            self._values[name] = metric(
                self._model,
                self._test,
                self._train,
                item_features=self._item_features,
                num_threads=threads,
                **arguments,
            )

    def difference(self, ours: Evaluation) -> float:
        """Largest absolute difference of the three means over the sample."""
        return max(
            abs(
                float(np.mean(values, dtype=np.float64))
                - float(ours.per_user(name, None if name == "auc" else K)[1][: self.users].mean())
            )
            for name, values in self._values.items()
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="all users of MovieLens 25M")
    parser.add_argument("--users", type=int)
    parser.add_argument("--items", type=int, default=MOVIELENS_25M["n_items"])
    parser.add_argument("--sample", type=int, default=100, help="users that LightFM evaluates")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    options.users = options.users or (MOVIELENS_25M["n_users"] if options.large else 16_000)
    return options


if __name__ == "__main__":
    main()
