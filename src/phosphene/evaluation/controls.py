"""What a linear decoder reads from EEG besides the picture: the decoding controls, as pure functions over arrays.

Every control trains the same decoder, ridge regression from features to target vectors. Its predictions are a fixed
matrix times the training targets, so that a permutation test of thousands of exchanges costs matrix products alone.
Statistic: two-way identification, the share of other candidates that lie farther from the prediction than the true one
(ties half; chance 0.5). It needs fewer trials than top-1 accuracy to tell anything from nothing, which is what a
control is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from phosphene.errors import PhospheneError

_BATCH = 1 << 22  # numbers of exchanged targets that are multiplied at a time


def smoother(train: np.ndarray, test: np.ndarray, shrink: float = 1.0) -> np.ndarray:
    """(n_test, n_train): what ridge regression multiplies training targets with.

    Parameters
    ----------
    train, test : (n, n_features); standardised by the training part.
    shrink : ridge parameter in units of the mean eigenvalue of the training part's Gram matrix; fixed, never selected.
    """
    mean, scale = train.mean(axis=0), train.std(axis=0)
    keep = scale > 1e-12 * max(float(scale.max(initial=0.0)), 1e-300)
    if not keep.any():
        return np.full((len(test), len(train)), 1 / len(train))
    train, test = ((x[:, keep] - mean[keep]) / scale[keep] for x in (train, test))
    ridge = shrink * float(np.square(train).sum()) / len(train)
    if train.shape[1] < len(train):
        inverse = np.linalg.solve(train.T @ train + ridge * np.eye(train.shape[1]), test.T)
        return np.asarray(inverse.T @ train.T)
    return np.asarray(np.linalg.solve(train @ train.T + ridge * np.eye(len(train)), train @ test.T).T)


@dataclass(frozen=True)
class Reading:
    """Predictions of a linear decoder, to be asked how well they fit, and how well under exchanged training targets.

    Parameters
    ----------
    smoother : (n_test, n_train).
    targets : (n_train, dim) of the training trials.
    candidates : (n_candidates, dim) among which the truth is sought.
    truth : (n_test,) the candidate that was shown.
    among : (n_test, n_candidates) bool, which candidates a test trial's is sought among; None is all.
    """

    smoother: np.ndarray
    targets: np.ndarray
    candidates: np.ndarray
    truth: np.ndarray
    among: np.ndarray | None = None

    def two_way(self, order: np.ndarray | None = None) -> np.ndarray:
        """(n_test,) share of other candidates that are less similar than the true one; ``order`` exchanges training
        trials' targets."""
        order = np.arange(len(self.targets)) if order is None else order
        return self._two_way(order[None])[:, 0]

    def p(self, groups: np.ndarray, n_perm: int = 500, seed: int | Sequence[int] = 0) -> tuple[float, np.ndarray]:
        """One-sided p, and the null (n_perm,), of training trials exchanging their targets within ``groups``."""
        null = self.null(groups, n_perm, seed)
        return one_sided(float(self.two_way().mean()), null), null

    def null(self, groups: np.ndarray, n_perm: int = 500, seed: int | Sequence[int] = 0) -> np.ndarray:
        """(n_perm,) mean two-way identification, training trials exchanging their targets within ``groups``."""
        rng = np.random.default_rng([*np.atleast_1d(seed), 52])
        members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
        orders = np.tile(np.arange(len(groups)), (n_perm, 1))
        for order in orders:
            for rows in members:
                order[rows] = rng.permutation(rows)
        batch = max(1, _BATCH // max(1, len(groups) * self._coded[0].shape[1]))
        parts = [self._two_way(orders[i : i + batch]).mean(axis=0) for i in range(0, n_perm, batch)]
        return np.concatenate(parts) if parts else np.empty(0)

    @cached_property
    def _coded(self) -> tuple[np.ndarray, np.ndarray | None]:
        """What the smoother is multiplied with (n_train, k), and what turns that into similarities (k, n_candidates):
        targets and candidates, or at once the similarities of targets with candidates where these are fewer."""
        mean = self.targets.mean(axis=0)
        candidates = self.candidates - mean
        candidates = candidates / np.maximum(np.linalg.norm(candidates, axis=1, keepdims=True), 1e-12)
        if len(candidates) <= self.targets.shape[1]:
            return (self.targets - mean) @ candidates.T, None
        return self.targets - mean, candidates.T

    def _two_way(self, orders: np.ndarray) -> np.ndarray:
        """(n_test, n_orders) of several exchanges (n_orders, n_train) in one product of matrices."""
        coded, decode = self._coded
        columns = coded[orders.T].reshape(len(coded), -1)
        similarity = (self.smoother @ columns).reshape(len(self.smoother), len(orders), -1)
        if decode is not None:
            similarity = similarity @ decode
        rows = np.arange(len(self.truth))
        own = similarity[rows, :, self.truth][:, :, None]
        below, equal = similarity < own, similarity == own
        if self.among is not None:
            below, equal = below & self.among[:, None], equal & self.among[:, None]
        others = (similarity.shape[2] if self.among is None else self.among.sum(axis=1)[:, None]) - 1
        return np.asarray((below.sum(axis=2) + 0.5 * (equal.sum(axis=2) - 1)) / np.maximum(others, 1))


def one_sided(value: float, null: np.ndarray) -> float:
    """How often the null is as large, the value itself counted."""
    return float((1 + np.sum(null >= value - 1e-12)) / (1 + len(null)))


def pooled(nulls: Sequence[np.ndarray], weights: Sequence[float], dependent: Sequence[str]) -> np.ndarray:
    """The null (n_perm,) of a weighted mean over folds.

    Folds that share an entry of ``dependent`` (a subject's, trained on nearly the same trials) are taken to rise and
    fall together, which makes their mean vary as much as it can: the test errs on the safe side. Others are
    independent.
    """
    weight = np.asarray(weights, float) / np.sum(weights)
    total = np.zeros(len(nulls[0]))
    for who in sorted(set(dependent)):
        own = [i for i, d in enumerate(dependent) if d == who]
        if len(own) == 1:
            total += weight[own[0]] * nulls[own[0]]
            continue
        together = np.sum([weight[i] * np.sort(nulls[i]) for i in own], axis=0)
        total += together[np.argsort(np.argsort(nulls[own[0]]))]
    return total


def curve(gap: np.ndarray, value: np.ndarray, n_bins: int = 5) -> list[tuple[float, float, int]]:
    """``value`` against ``gap`` in bins of equally many trials: (mean gap, mean value, trials) of each."""
    order = np.argsort(gap, kind="stable")
    parts = [part for part in np.array_split(order, n_bins) if len(part)]
    return [(float(gap[part].mean()), float(value[part].mean()), len(part)) for part in parts]


def clock(time_train: np.ndarray, time_test: np.ndarray, place_train: np.ndarray, place_test: np.ndarray) -> np.ndarray:
    """A smoother that has no EEG: each test trial gets the targets of the training trial nearest in time.

    Parameters
    ----------
    time_train, time_test : onsets, s.
    place_train, place_test : the recording each trial is of; times of two recordings are not compared.
    """
    gap = np.abs(time_test[:, None] - time_train[None])
    gap[place_test[:, None] != place_train[None]] = np.inf
    nearest = gap == gap.min(axis=1, keepdims=True)
    nearest[np.isinf(gap).all(axis=1)] = True
    return nearest / nearest.sum(axis=1, keepdims=True)


def superordinate(
    features: np.ndarray,
    labels: np.ndarray,
    category: np.ndarray,
    *,
    n_folds: int = 5,
    n_null: int = 500,
    seed: int = 0,
) -> tuple[float, float, np.ndarray]:
    """Two categories read from classes that training never saw, against random halvings of the classes.

    The meaning of a category holds for new classes; the stretch of time in which a class was shown does not.

    Parameters
    ----------
    features : (n_trials, n_features).
    labels : (n_trials,) class of each.
    category : (n_trials,) one of two categories, the same for a class.
    n_folds : parts of the classes, each left out once; every part holds both categories.
    n_null : random assignments of classes to two categories of the same sizes.

    Returns
    -------
    Accuracy (mean over the two categories), one-sided p, the null (n_null,).
    """
    classes, of = np.unique(labels, return_inverse=True)
    names = np.unique(category)
    if len(names) != 2:
        raise PhospheneError(f"a superordinate category has two values, not {len(names)}: name a column of two")
    second = np.array([np.mean(category[of == c] == names[1]) for c in range(len(classes))])
    if np.any((second > 0) & (second < 1)):
        raise PhospheneError("the trials of a class lie in both categories: give each class one")
    sides = 2 * second - 1
    if min((sides > 0).sum(), (sides < 0).sum()) < n_folds:
        raise PhospheneError(f"a category has fewer than {n_folds} classes: leave this control out")
    rng = np.random.default_rng([seed, 53])
    part = np.empty(len(classes), int)
    for side in (-1.0, 1.0):
        rows = rng.permutation(np.flatnonzero(sides == side))
        part[rows] = np.arange(len(rows)) % n_folds
    matrix = np.zeros((len(labels), len(labels)))
    for fold in range(n_folds):
        test = part[of] == fold
        matrix[np.ix_(test, ~test)] = smoother(features[~test], features[test])

    def accuracy(value: np.ndarray) -> float:
        trial = value[of]
        said = np.empty(len(trial))
        for fold in range(n_folds):
            test = part[of] == fold
            weight = np.where(trial > 0, 1 / max((trial[~test] > 0).sum(), 1), -1 / max((trial[~test] < 0).sum(), 1))
            weight[test] = 0
            said[test] = matrix[test] @ (weight - weight[~test].mean() * ~test)
        right = (said > 0) == (trial > 0)
        return float(np.mean([right[trial > 0].mean(), right[trial < 0].mean()]))

    null = np.empty(n_null)
    for i in range(n_null):
        drawn = sides.copy()
        for fold in range(n_folds):  # as the true one, every part holds as many of each
            rows = np.flatnonzero(part == fold)
            drawn[rows] = sides[rng.permutation(rows)]
        null[i] = accuracy(drawn)
    value = accuracy(sides)
    return value, one_sided(value, null), null
