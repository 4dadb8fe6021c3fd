"""Two categories told apart by a method that finds captions: the scores of `classification`, without refits.

p exchanges the categories of test trials within each run while the decoders stay. Where folds train on each other's
test trials, their scores depend on each other: of a decoder that is linear in its training labels each pair of folds
counts twice, so that the spread of chance is the square root of 2 times that of the exchanges. Those are widened by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.evaluation.classification import METRICS, interval, shuffle_within

WIDER = 2**0.5  # of exchanges, where folds train on each other's test trials


@dataclass
class TwoCategories:
    """One metric of two categories, before statistics.

    Parameters
    ----------
    metric : "auc", pairs within a run; "auc_pooled", any pairs; "balanced_accuracy".
    evidence : (n_queries,) larger for the second category; decided at 0.
    truth : (n_queries,) 0 or 1.
    runs : (n_queries,) the run of each.
    crossed : whether folds train on each other's test trials.
    backbone : the frozen model that it rests on; "" for none.
    """

    metric: str
    evidence: np.ndarray
    truth: np.ndarray
    runs: np.ndarray
    crossed: bool = False
    backbone: str = ""

    def join(self, others: Sequence["TwoCategories"]) -> "TwoCategories":
        """The same over the queries of several folds or subjects."""
        parts = [self, *others]
        return TwoCategories(
            self.metric,
            np.concatenate([p.evidence for p in parts]),
            np.concatenate([p.truth for p in parts]),
            np.concatenate([p.runs for p in parts]),
            any(p.crossed for p in parts),
            self.backbone,
        )

    @property
    def value(self) -> float:
        return float(METRICS[self.metric](self.truth, self.evidence, self.runs))

    def answer(self, *, n_boot: int = 2000, n_perm: int = 2000, seed: int = 0) -> dict[str, Any]:
        """Value, 95 % interval (trials drawn within run and category), chance, p (see this module), and the smallest p
        that these exchanges allow."""
        low, high, said = interval(self.truth, self.evidence, self.runs, metric=self.metric, n_boot=n_boot, seed=seed)
        rng, score = np.random.default_rng(seed), METRICS[self.metric]
        exchanged = [shuffle_within(self.truth, self.runs, rng) for _ in range(n_perm)]
        null = np.array([score(labels, self.evidence, self.runs) for labels in exchanged])
        perfect = np.array([np.mean(labels == self.truth) for labels in exchanged])
        return {
            "metric": self.metric,
            "value": self.value,
            "ci_low": low,
            "ci_high": high,
            "n": len(self.truth),
            "chance": 0.5,
            "p": reached(self.value, null, self.crossed),
            "p_min": reached(1.0, perfect, self.crossed),
            "backbone": self.backbone,
            "interval": said,
        }


def reached(value: float, null: np.ndarray, crossed: bool) -> float:
    """One-sided p of a value, larger is better, among exchanges (n_perm,), widened about their mean if ``crossed``."""
    wide = null.mean() + (WIDER if crossed else 1.0) * (null - null.mean())
    return float((1 + np.sum(wide >= value - 1e-12)) / (1 + len(null)))
