"""Which trials may exchange what was shown, if the EEG held nothing of it; and how small a p these exchanges allow.

A permutation test is right where its exchanges leave the study as likely as it was: trials exchange within their
recording; where a picture comes in stretches, whole stretches exchange, as the trials of one are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from phosphene.evaluation.chance import distinct, smallest

_STRETCHES = 2.0  # labels come in blocks where stretches of one are on average this many times as long as by chance


@dataclass(frozen=True)
class Exchange:
    """Random exchanges of a fold's trials.

    Parameters
    ----------
    trained : (n_perm, n_train) the trial whose label each training trial gets.
    tested : (n_perm, n_samples) the trial whose label each test sample gets.
    ways_tested : how many different labellings the test samples have.
    ways : the same of training and test together, those that only rename the labels counted once.
    """

    trained: np.ndarray
    tested: np.ndarray
    ways_tested: float
    ways: float


def smallest_p(n_perm: int, ways_tested: Sequence[float], ways: Sequence[float], subjects: Sequence[str]) -> float:
    """The smallest p that exchanges of these folds allow together; the folds of a subject exchange the same trials."""
    most: dict[str, float] = {}
    for subject, count in zip(subjects, ways, strict=True):
        most[subject] = max(count, most.get(subject, 1.0))
    return smallest(n_perm, min(math.prod(ways_tested), math.prod(most.values())))


class Exchanger:
    """Draws the exchanges of every fold of a study.

    Folds of the same subjects share their draws: exchange i gives a trial the same label in each of them, so that the
    mean over folds is tested exactly.

    Parameters
    ----------
    label : (n_trials,) what was shown, the unit that may come in stretches.
    subject, session, recording, block : (n_trials,) names that are unique in the study.
    time : (n_trials,) order of the trials within a recording; None: as they are listed.
    used : (n_trials,) bool, those that any fold trains on, or tests one by one.
    n_perm : exchanges.
    """

    def __init__(
        self,
        label: np.ndarray,
        subject: np.ndarray,
        session: np.ndarray,
        recording: np.ndarray,
        block: np.ndarray,
        time: np.ndarray | None,
        used: np.ndarray,
        n_perm: int,
        seed: int,
    ):
        self.subject, self.used, self.n_perm, self.seed = subject, used, n_perm, seed
        self.label, self.session, self.recording = (pd.factorize(x)[0] for x in (label, session, recording))
        self.stretch, self.blocked = _stretches(self.label, self.recording, pd.factorize(block)[0], time)
        self._last: tuple[tuple[bytes, bytes], np.ndarray] | None = None

    def of(
        self,
        train: np.ndarray,
        test: np.ndarray,
        row: np.ndarray,
        sample: np.ndarray,
        *,
        known: bool,
        groups: np.ndarray | None = None,
    ) -> Exchange:
        """Exchanges of one fold.

        Parameters
        ----------
        train, test : trials (indices).
        row : (n_trials,) the label that is exchanged.
        sample : (n_test,) the test sample of each test trial; samples of several trials exchange as one.
        known : whether test labels are among the training's.
        groups : (n_trials,) labels are exchanged within these too.
        """
        first = np.unique(sample, return_index=True)[1]
        extra = np.zeros(len(row), int) if groups is None else pd.factorize(groups)[0]
        single = len(first) == len(test)
        stretches = groups is None and self.stretches_exchange(train, test, known)
        own = np.concatenate([train, test]) if single or stretches else train
        rows = np.union1d(np.flatnonzero(self.used & np.isin(self.subject, np.unique(self.subject[own]))), own)
        if stretches:
            return self._of_stretches(rows, train, test[first], row)
        part = np.zeros(len(row), int)
        part[train], part[test] = 1, 2
        where = _codes(self.recording[rows], part[rows], extra[rows])
        orders, place = self._orders(rows, where), np.full(len(row), -1)
        place[rows] = np.arange(len(rows))
        trained, first_looks = rows[orders[:, place[train]]], test[first]
        if single:
            tested, within = rows[orders[:, place[first_looks]]], where[place[first_looks]]
        else:
            within = _codes(self._sessions_of(test, sample), extra[first_looks])
            tested = first_looks[self._orders(first_looks, within)]
        return Exchange(
            trained,
            tested,
            distinct(row[first_looks], within),
            distinct(row[rows], where) / _renamings(row[rows], where),
        )

    def _orders(self, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """(n_perm, n_rows) places of the rows, exchanged within groups (n_rows,)."""
        key = (rows.tobytes(), groups.tobytes())
        if self._last is None or self._last[0] != key:  # folds mostly exchange alike
            orders, by = np.empty((self.n_perm, len(rows)), np.int32), np.argsort(groups, kind="stable")
            for i in range(self.n_perm):
                keys = np.random.default_rng([self.seed, 52, int(rows[0]), i]).random(len(rows))
                orders[i, by] = np.lexsort((keys, groups))
            self._last = key, orders
        return self._last[1]

    def stretches_exchange(self, train: np.ndarray, test: np.ndarray, known: bool) -> bool:
        """Whether whole stretches exchange: labels come in stretches, and none lies in training and in test.

        A stretch that lies in both is no unit of chance: that it tells its picture is what is looked for.
        """
        return self.blocked and known and not np.isin(self.stretch[test], self.stretch[train]).any()

    def _of_stretches(self, rows: np.ndarray, train: np.ndarray, test: np.ndarray, row: np.ndarray) -> Exchange:
        used = rows[np.isin(rows, np.concatenate([train, test]))]
        names, first, of = np.unique(self.stretch[used], return_index=True, return_inverse=True)
        at, tests = used[first], np.isin(names, self.stretch[test])
        where = _mixed(row[at], (self.recording[at], self.session[at], pd.factorize(self.subject[at])[0]))
        place = np.full(len(row), -1)
        place[used] = of
        drawn = at[self._orders(at, where)]
        return Exchange(
            drawn[:, place[train]],
            drawn[:, place[test]],
            distinct(row[at[tests]], where[tests]),
            distinct(row[at], where) / _renamings(row[at], where),
        )

    def _sessions_of(self, test: np.ndarray, sample: np.ndarray) -> np.ndarray:
        """(n_samples,) the sessions in which each test sample was seen."""
        table = pd.DataFrame({"sample": sample, "session": self.session[test]}).drop_duplicates()
        table = table.sort_values(["sample", "session"])
        return np.asarray(pd.factorize(table.groupby("sample")["session"].agg(tuple))[0])


def _stretches(
    label: np.ndarray, recording: np.ndarray, block: np.ndarray, time: np.ndarray | None
) -> tuple[np.ndarray, bool]:
    """The stretch of trials of one label that each trial lies in, and whether labels come in stretches.

    The study's own blocks are the stretches where each shows one label alone.
    """
    order = np.lexsort((np.arange(len(label)) if time is None else time, recording))
    new = np.r_[True, (np.diff(label[order]) != 0) | (np.diff(recording[order]) != 0)]
    stretch = np.empty(len(label), int)
    stretch[order] = np.cumsum(new)
    expected = 0.0  # number of stretches, were each recording shuffled
    for rows in pd.Series(np.arange(len(label))).groupby(recording).indices.values():
        share = np.bincount(label[rows]) / len(rows)
        expected += 1 + (len(rows) - 1) * (1 - float(np.square(share).sum())) * len(rows) / max(len(rows) - 1, 1)
    for cell in (block, recording):
        shown = pd.Series(label).groupby(cell)
        if shown.nunique().max() == 1 and (shown.transform("size") > 1).mean() > 0.5:
            return cell, True
    return stretch, bool(expected / max(int(new.sum()), 1) >= _STRETCHES)


def _mixed(label: np.ndarray, levels: Sequence[np.ndarray]) -> np.ndarray:
    """The first of these groupings in which a group holds two labels, so that something can be exchanged."""
    for groups in levels:
        if (pd.Series(label).groupby(groups).nunique() > 1).any():
            return groups
    return levels[-1]


def _codes(*parts: np.ndarray) -> np.ndarray:
    codes = np.zeros(len(parts[0]), int)
    for part in parts:
        codes = pd.factorize(codes * (int(part.max(initial=0)) + 1) + part)[0]
    return codes


def _renamings(label: np.ndarray, groups: np.ndarray) -> float:
    """In how many ways labels can be renamed that leave each group's counts as they are."""
    alike = pd.crosstab(label, groups).value_counts().to_numpy()
    return math.exp(min(sum(math.lgamma(count + 1) for count in alike), 700.0))
