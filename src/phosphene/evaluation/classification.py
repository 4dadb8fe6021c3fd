"""Scores of a two-class decoder over runs: AUC, its interval, permutation test and shuffled control. Pure functions.

Design rationale
----------------
AUC counts pairs *within* a run (given ``runs``): scores of different folds come from different decoders, and an offset
between two runs is neither skill nor failure. Without ``runs`` all trials are pooled, as much of the field reports.

The interval resamples trials within run and class. It says how the figure would vary with other trials of the same
runs, with the decoders as they are; not how it would vary with other runs.

The permutation test shuffles labels within each run (so that drifts and unequal runs stay as they are) and repeats the
*whole* cross-validation for each shuffle. Shuffling only the labels of the held-out scores would be quicker, but the
folds share their training trials, and the spread that comes from it would be missed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from phosphene.errors import PhospheneError
from phosphene.evaluation import intervals
from phosphene.evaluation.protocols import Fold
from phosphene.evaluation.statistics import bootstrap

#: (n_trials,) the group of each trial
Groups = Sequence[Any] | np.ndarray
#: (train features, train labels, test features) -> test scores
FitPredict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def run_names(table: pd.DataFrame) -> np.ndarray:
    """(n_trials,) "subject/session/run" of each trial: a run number alone recurs in every session."""
    return (table["subject"] + "/" + table["session"] + "/" + table["run"]).to_numpy(str)


def held_out(features: np.ndarray, labels: np.ndarray, folds: Sequence[Fold], fit_predict: FitPredict) -> np.ndarray:
    """Score each fold's test trials by a decoder trained on its training trials.

    Parameters
    ----------
    features : (n_trials, n_features) or anything else, row by trial, that ``fit_predict`` takes.
    labels : (n_trials,) 0 or 1.
    folds : of `Protocol.folds`; no trial is tested twice.

    Returns
    -------
    (n_trials,) scores, larger for label 1; NaN where no fold tests the trial.
    """
    if np.any(np.sum([fold.test for fold in folds], axis=0) > 1):
        raise PhospheneError("a trial is in two test sets: set protocol.split to leave_one_run_out, or to given")
    scores = np.full(len(labels), np.nan)
    for fold in folds:
        scores[fold.test] = fit_predict(features[fold.train], labels[fold.train], features[fold.test])
    return scores


def auc(labels: np.ndarray, scores: np.ndarray, runs: Groups | None = None) -> float:
    """Area under the ROC curve: the share of (1, 0) pairs in which the 1 scores higher, ties half. Chance is 0.5.

    Parameters
    ----------
    labels, scores : (n_trials,) 0 or 1, and anything that orders.
    runs : (n_trials,) if given, only pairs within a run count; a run of one class has none.
    """
    won, pairs = _pairs(np.asarray(labels), np.asarray(scores), runs)
    return float(won.sum() / pairs.sum())


def auc_by_run(labels: np.ndarray, scores: np.ndarray, runs: Groups) -> pd.Series:
    """AUC within each run, indexed by run; NaN for a run of one class."""
    won, pairs = _pairs(np.asarray(labels), np.asarray(scores), runs)
    with np.errstate(invalid="ignore"):
        return pd.Series(won / pairs, index=pd.unique(np.asarray(runs)), name="auc")


def balanced_accuracy(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.0) -> float:
    """Mean over classes of the share decided rightly at ``threshold``. Chance is 0.5."""
    decided = np.asarray(scores) > threshold
    return float(np.mean([np.mean(decided[np.asarray(labels) == c] == c) for c in (0, 1)]))


#: name in `scores.csv` -> function of (labels, scores, runs); larger is better and chance is 0.5
METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "auc": auc,
    "auc_pooled": lambda labels, scores, runs: auc(labels, scores),
    "balanced_accuracy": lambda labels, scores, runs: balanced_accuracy(labels, scores),
}


def interval(
    labels: np.ndarray, scores: np.ndarray, runs: Groups, *, metric: str = "auc", n_boot: int = 2000, seed: int = 0
) -> intervals.Interval:
    """Percentile interval of one of `METRICS`, trials drawn within run and class; or why there is none (`intervals`).

    Where every pair of a run is won, or every one lost, it is that of as many independent pairs as there are trials.
    """
    labels, scores, names = np.asarray(labels), np.asarray(scores), np.asarray(runs)
    sizes = [[int(np.sum(labels[mask] == c)) for mask in _groups(labels, names)] for c in (0, 1)]
    n, free = min(map(sum, sizes)), min(sum(max(size - 1, 0) for size in own) for own in sizes)
    if n < intervals.FEWEST:
        return intervals.too_few(n, "trials of a category")
    if free < intervals.FEWEST - 1:
        return intervals.Interval(
            np.nan, np.nan, f"no interval: {n} trials of a category in {len(sizes[0])} runs are too few within a run"
        )
    low, high = bootstrap(
        np.arange(len(labels)),
        strata=2 * pd.factorize(names)[0] + labels,
        statistic=lambda rows: METRICS[metric](labels[rows], scores[rows], names[rows]),
        level=intervals.LEVEL,
        n_boot=n_boot,
        seed=seed,
    )
    if low < high:
        return intervals.Interval(low, high)
    if low in (0, 1):
        pairs = sum(min(own) for own in zip(*sizes, strict=True))
        return intervals.all_alike(bool(low), max(pairs, 1), "pairs of trials")
    return intervals.Interval(np.nan, np.nan, "no interval: every draw of the trials gives the same value")


class Permutation(NamedTuple):
    """Of `permutation_test`: true values and one-sided p (n_metrics,), those under shuffled labels
    (n_perm, n_metrics), and the smallest p that these shuffles allow."""

    value: np.ndarray
    p: np.ndarray
    null: np.ndarray
    p_min: float

    @property
    def shuffled(self) -> np.ndarray:
        """(n_metrics,) mean over the shuffled controls: what the whole pipeline gives when labels mean nothing."""
        return self.null.mean(axis=0)


def permutation_test(
    labels: np.ndarray,
    runs: Groups,
    value_of: Callable[[np.ndarray], Sequence[float]],
    *,
    n_perm: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Permutation:
    """How often labels shuffled within run reach the true value; ``p = (1 + n_reached) / (1 + n_perm)``.

    Parameters
    ----------
    labels : (n_trials,) true labels.
    runs : (n_trials,) labels are exchanged only within a run.
    value_of : the whole analysis, training included: labels -> (n_metrics,) values, larger better.
    progress : called after each shuffle.
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    with threadpool_limits(1):  # small matrices: threads only wait for each other
        value = np.asarray(value_of(labels))
        null, same = np.empty((n_perm, len(value))), 0
        for i in range(n_perm):
            shuffled = shuffle_within(labels, runs, rng)
            null[i] = value_of(shuffled)
            same += np.array_equal(shuffled, labels) or np.array_equal(shuffled, 1 - labels)  # classes swap their names
            progress()
    p = (1 + np.sum(null >= value - 1e-12, axis=0)) / (1 + n_perm)
    return Permutation(value, p, null, (1 + same) / (1 + n_perm))


def score(
    features: np.ndarray,
    labels: np.ndarray,
    runs: Groups,
    folds: Sequence[Fold],
    fit_predict: FitPredict,
    *,
    n_boot: int = 2000,
    n_perm: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Cross-validate and test: a row of `scores.csv` for each of `METRICS`, with its interval, controls and p.

    Parameters
    ----------
    features, labels, folds, fit_predict : as for `held_out`.
    runs : (n_trials,) of `run_names`.
    progress : called after each of ``n_perm`` shuffles.
    """
    scores = held_out(features, labels, folds, fit_predict)
    names, tested = np.asarray(runs), np.any([fold.test for fold in folds], axis=0)

    def values(shown: np.ndarray) -> list[float]:
        decided = held_out(features, shown, folds, fit_predict)
        return [metric(shown[tested], decided[tested], names[tested]) for metric in METRICS.values()]

    test = permutation_test(labels, names, values, n_perm=n_perm, seed=seed, progress=progress)
    rows = []
    for i, metric in enumerate(METRICS):
        low, high, said = interval(
            labels[tested], scores[tested], names[tested], metric=metric, n_boot=n_boot, seed=seed
        )
        rows.append(
            {
                "metric": metric,
                "value": float(test.value[i]),
                "ci_low": low,
                "ci_high": high,
                "n": int(tested.sum()),
                "chance": 0.5,
                "shuffled": float(test.shuffled[i]),
                "p": float(test.p[i]),
                "p_min": test.p_min,
                "interval": said,
            }
        )
    return rows


def shuffle_within(labels: np.ndarray, runs: Groups | None, rng: np.random.Generator) -> np.ndarray:
    """(n_trials,) the labels, shuffled within each run: train on these for the shuffled control."""
    shuffled = np.array(labels)
    for members in _groups(shuffled, runs):
        shuffled[members] = rng.permutation(shuffled[members])
    return shuffled


def _groups(labels: np.ndarray, runs: Groups | None) -> list[np.ndarray]:
    """A mask for each run, in order of appearance."""
    if runs is None:
        return [np.ones(len(labels), bool)]
    values = np.asarray(runs)
    return [values == name for name in pd.unique(values)]


def _pairs(labels: np.ndarray, scores: np.ndarray, runs: Groups | None) -> tuple[np.ndarray, np.ndarray]:
    """For each run: pairs won by label 1 (ties half), and pairs."""
    if not np.isin(labels, (0, 1)).all():
        raise PhospheneError("AUC needs labels 0 and 1: map the two concepts to them")
    if np.isnan(scores).any():
        raise PhospheneError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN: look for NaN in the EEG")
    won, pairs = [], []
    for members in _groups(labels, runs):
        high = labels[members] == 1
        n = int(high.sum())
        won.append(rankdata(scores[members])[high].sum() - n * (n + 1) / 2)
        pairs.append(n * int((~high).sum()))
    if sum(pairs) == 0:
        raise PhospheneError("AUC needs both classes: choose runs in which both were shown")
    return np.array(won), np.array(pairs)
