"""Scores of a two-class decoder over runs: AUC, its interval, its permutation test, the shuffled twin. Pure functions.

Design rationale
----------------
AUC counts pairs *within* a run (given ``runs``): scores of different folds come from different decoders, and an offset
between two runs is neither skill nor failure. Without ``runs`` all trials are pooled, as much of the field reports.

The interval resamples trials within run and class by default. It says how the figure would vary with other trials of
the same runs, with the decoders as they are. ``unit="run"`` resamples whole runs, which is what one wants to know of
another day, but with six of them such an interval is too narrow.

The permutation test shuffles labels within each run (so that drifts and unequal runs stay as they are) and repeats the
*whole* cross-validation for each shuffle. Shuffling only the labels of the held-out scores would be quicker, but the
folds share their training trials, and the spread that comes from it would be missed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score
from threadpoolctl import threadpool_limits

from phosphene.errors import PhospheneError

#: (n_trials,) the group of each trial
Groups = Sequence[Any] | np.ndarray
#: (train features, train labels, test features) -> test scores
FitPredict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def run_names(table: pd.DataFrame) -> np.ndarray:
    """(n_trials,) "subject/session/run" of each trial: a run number alone recurs in every session."""
    return (table["subject"] + "/" + table["session"] + "/" + table["run"]).to_numpy(str)


def leave_one_out(
    features: np.ndarray,
    labels: np.ndarray,
    runs: Groups,
    fit_predict: FitPredict,
    within: Groups | None = None,
) -> np.ndarray:
    """Score every run by a decoder trained on all the others.

    Parameters
    ----------
    features : (n_trials, ...) anything that ``fit_predict`` takes.
    labels : (n_trials,) 0 or 1.
    runs : (n_trials,) the run of each trial.
    within : (n_trials,) if given, train only on trials that agree in this, such as the subject.

    Returns
    -------
    (n_trials,) held-out scores, larger for label 1.
    """
    scores = np.empty(len(labels))
    for part in _groups(labels, within):
        folds = [test & part for test in _groups(labels, runs) if (test & part).any()]
        if len(folds) < 2:
            where = "" if within is None else f" of '{np.asarray(within)[part][0]}'"
            raise PhospheneError(f"one run{where} is left, and leaving one out needs two: read more, or leave it out")
        for test in folds:
            train = part & ~test
            scores[test] = fit_predict(features[train], labels[train], features[test])
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
    return float(balanced_accuracy_score(labels, np.asarray(scores) > threshold))


def bootstrap_auc(
    labels: np.ndarray,
    scores: np.ndarray,
    runs: Groups | None = None,
    *,
    unit: str = "trial",
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of `auc`.

    Parameters
    ----------
    unit : "trial" resamples trials within run and class; "run" resamples runs.
    """
    rng = np.random.default_rng(seed)
    labels, scores = np.asarray(labels), np.asarray(scores)
    won, pairs = _pairs(labels, scores, runs)
    if unit == "run":
        if len(pairs) < 2:
            raise PhospheneError("unit='run' resamples runs and there is one: pass runs, or unit='trial'")
        draw = rng.integers(len(pairs), size=(n_boot, len(pairs)))
        draw = draw[pairs[draw].sum(axis=1) > 0]
        values = won[draw].sum(axis=1) / pairs[draw].sum(axis=1)
    elif unit == "trial":
        total = np.zeros(n_boot)
        for members in _groups(labels, runs):
            high, low = scores[members & (labels == 1)], scores[members & (labels == 0)]
            if len(high) and len(low):
                wins = (high[:, None] > low) + 0.5 * (high[:, None] == low)
                times_high = rng.multinomial(len(high), np.full(len(high), 1 / len(high)), size=n_boot)
                times_low = rng.multinomial(len(low), np.full(len(low), 1 / len(low)), size=n_boot)
                total += ((times_high @ wins) * times_low).sum(axis=1)
        values = total / pairs.sum()
    else:
        raise PhospheneError(f"unknown unit '{unit}': valid: run, trial")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Permutation(NamedTuple):
    """Of `permutation_test`: the true ``value``, its one-sided ``p``, and the (n_perm,) values of shuffled twins."""

    value: float
    p: float
    null: np.ndarray

    @property
    def shuffled(self) -> float:
        """Mean over the shuffled twins: what the whole pipeline gives when labels mean nothing."""
        return float(self.null.mean())


def permutation_test(
    labels: np.ndarray,
    runs: Groups,
    value_of: Callable[[np.ndarray], float],
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
    value_of : the whole analysis, training included, as a function of labels; larger is better.
    progress : called after each shuffle.
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    with threadpool_limits(1):  # small matrices: threads only wait for each other
        value = value_of(labels)
        null = np.empty(n_perm)
        for i in range(n_perm):
            null[i] = value_of(shuffle_within(labels, runs, rng))
            progress()
    return Permutation(value, float((1 + np.sum(null >= value)) / (1 + n_perm)), null)


def shuffle_within(labels: np.ndarray, runs: Groups | None, rng: np.random.Generator) -> np.ndarray:
    """(n_trials,) the labels, shuffled within each run: train on these for the shuffled twin."""
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
