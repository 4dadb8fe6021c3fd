"""What a linear decoder reads from EEG besides the picture: the decoding controls, as pure functions over arrays.

Every control trains the same decoder, ridge regression from features to target vectors. Its predictions are a fixed
matrix times the training targets, so that a permutation test of thousands of exchanges costs matrix products alone.
Statistic: two-way identification, the share of other candidates that lie farther from the prediction than the true one
(ties half; chance 0.5), and of two candidates the area under the ROC curve. It needs fewer trials than top-1 accuracy
to tell anything from nothing, which is what a control is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import Ridge

from phosphene.errors import PhospheneError
from phosphene.evaluation.chance import distinct
from phosphene.utils.vectors import unit

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
    each = np.eye(len(train))  # a target of its own for each trial
    weights = Ridge(ridge, fit_intercept=False, solver="cholesky").fit(train, each)
    return np.asarray(weights.predict(test))


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

    def two_way(self) -> np.ndarray:
        """(n_test,) share of other candidates that are less similar than the true one."""
        similarity = self._similarity(np.arange(len(self.targets))[None])
        return self._shares(similarity, self.truth[:, None])[:, 0]

    @property
    def value(self) -> float:
        """How well the predictions tell the candidates apart; chance is 0.5.

        Of two candidates the area under the ROC curve, which a shift of all predictions does not touch; else two-way
        identification, averaged over the candidates, so that one shown more often does not count more.
        """
        return float(self.null(np.arange(len(self.targets))[None], self.truth[None])[0])

    def null(self, trained: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
        """(n_perm,) the same where labels are exchanged.

        Parameters
        ----------
        trained : (n_perm, n_train) whose target each training trial has.
        truth : (n_perm, n_test) the candidate that each test trial showed; None leaves the true ones.
        """
        truth = np.broadcast_to(self.truth, (len(trained), len(self.truth))) if truth is None else truth
        batch = max(1, _BATCH // max(1, len(self.targets) * self._coded[0].shape[1]))
        parts = [
            self._values(self._similarity(trained[i : i + batch]), truth[i : i + batch].T)
            for i in range(0, len(trained), batch)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    @cached_property
    def _coded(self) -> tuple[np.ndarray, np.ndarray | None]:
        """What the smoother is multiplied with (n_train, k), and what turns that into similarities (k, n_candidates):
        targets and candidates, or at once the similarities of targets with candidates where these are fewer."""
        mean = self.targets.mean(axis=0)
        candidates = self.candidates - mean
        candidates = unit(candidates)
        if len(candidates) <= self.targets.shape[1]:
            return (self.targets - mean) @ candidates.T, None
        return self.targets - mean, candidates.T

    def _similarity(self, orders: np.ndarray) -> np.ndarray:
        """(n_test, n_orders, n_candidates) of several exchanges (n_orders, n_train) in one product of matrices."""
        coded, decode = self._coded
        columns = coded[orders.T].reshape(len(coded), -1)
        similarity = (self.smoother @ columns).reshape(len(self.smoother), len(orders), -1)
        return similarity if decode is None else similarity @ decode

    def _shares(self, similarity: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """(n_test, n_orders) the share of other candidates that are less similar than ``truth`` (n_test, n_orders)."""
        own = np.take_along_axis(similarity, truth[:, :, None], axis=2)
        below, equal = similarity < own, similarity == own
        if self.among is not None:
            below, equal = below & self.among[:, None], equal & self.among[:, None]
        others = (similarity.shape[2] if self.among is None else self.among.sum(axis=1)[:, None]) - 1
        return np.asarray((below.sum(axis=2) + 0.5 * (equal.sum(axis=2) - 1)) / np.maximum(others, 1))

    def _values(self, similarity: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """(n_orders,) the statistic."""
        n, n_orders = truth.shape
        if similarity.shape[2] == 2 and self.among is None:
            ranks = rankdata(similarity[:, :, 1] - similarity[:, :, 0], axis=0)
            second = truth.sum(axis=0)
            area = (ranks * truth).sum(axis=0) - second * (second + 1) / 2
            pairs = second * (n - second)
            return np.where(pairs > 0, area / np.maximum(pairs, 1), 0.5)
        shares = self._shares(similarity, truth)
        codes = truth + similarity.shape[2] * np.arange(n_orders)
        counts = np.bincount(codes.ravel(), minlength=similarity.shape[2] * n_orders)
        return np.asarray((shares / counts[codes]).sum(axis=0) / (counts.reshape(n_orders, -1) > 0).sum(axis=1))


def one_sided(value: float, null: np.ndarray) -> float:
    """How often the null is as large, the value itself counted."""
    return float((1 + np.sum(null >= value - 1e-12)) / (1 + len(null)))


def curve(gap: np.ndarray, value: np.ndarray, n_bins: int = 5) -> list[tuple[float, float, int]]:
    """``value`` against ``gap`` in bins of equally many trials: (mean gap, mean value, trials) of each."""
    order = np.argsort(gap, kind="stable")
    parts = [part for part in np.array_split(order, n_bins) if len(part)]
    return [(float(gap[part].mean()), float(value[part].mean()), len(part)) for part in parts]


def clock(time_train: np.ndarray, time_test: np.ndarray, place_train: np.ndarray, place_test: np.ndarray) -> np.ndarray:
    """A smoother that has no EEG: each test trial gets the targets of the training trial nearest in time.

    Where training has nothing of a test trial's recording, those nearest to the same time of every other recording: a
    list of pictures may have been shown in the same order again.

    Parameters
    ----------
    time_train, time_test : onsets, s from the start of the recording.
    place_train, place_test : the recording each trial is of.
    """
    smoother = np.zeros((len(time_test), len(time_train)))
    gap = np.abs(time_test[:, None] - time_train[None])
    same = place_test[:, None] == place_train[None]
    elsewhere = ~same.any(axis=1)
    for place in np.unique(place_train):
        columns = np.flatnonzero(place_train == place)
        rows = np.flatnonzero(elsewhere | (place_test == place))
        some = gap[np.ix_(rows, columns)]
        nearest = some <= some.min(axis=1, keepdims=True) + 1e-9
        smoother[np.ix_(rows, columns)] = nearest / nearest.sum(axis=1, keepdims=True)
    return np.asarray(smoother / smoother.sum(axis=1, keepdims=True))


def before(label: np.ndarray, place: np.ndarray, time: np.ndarray) -> np.ndarray:
    """(n_trials,) what was shown just before each trial in its recording; -1 before the first.

    Parameters
    ----------
    label : (n_trials,) codes from 0.
    place, time : (n_trials,) recording, and onset or order in it.
    """
    order = np.lexsort((time, place))
    earlier = np.full(len(label), -1)
    earlier[order[1:]] = np.where(place[order[1:]] == place[order[:-1]], label[order[:-1]], -1)
    return earlier


def superordinate(
    features: np.ndarray,
    labels: np.ndarray,
    category: np.ndarray,
    *,
    n_folds: int = 5,
    n_null: int = 500,
    seed: int = 0,
) -> tuple[float, np.ndarray, float]:
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
    Accuracy (mean over the two categories), the null (n_null,), and how many halvings differ.
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
    halvings = distinct(sides, part)
    if all(sides[part == fold].sum() == 0 for fold in range(n_folds)):
        halvings /= 2  # the two categories exchanged whole are the same halving
    return accuracy(sides), null, halvings
