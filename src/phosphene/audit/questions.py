"""The audit's decoding questions, each put to every fold: what its linear reader finds, and what it finds by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from phosphene.audit import controls, features
from phosphene.audit.controls import Reading, smoother
from phosphene.audit.exchanges import Exchange, Exchanger
from phosphene.eeg.trials import Trials
from phosphene.evaluation.protocols import Fold, joined, overlaps
from phosphene.evaluation.shared import Shared, shared_pictures

FIRST_RESPONSE = 0.04  # s after onset; no cortical response to a picture comes earlier
FEW = 20  # test pictures; of no more than these, each trial is a test sample of its own


@dataclass(frozen=True)
class Answer:
    """Of one question, in one fold; ``reason`` says why there is none.

    Parameters
    ----------
    value, chance : the statistic, and its expectation where nothing is there.
    null : (n_perm,) the statistic under random exchanges.
    n : test samples.
    curve : value against distance in time, where that was asked.
    ways_tested, ways : how many exchanges differ, see `Exchange`.
    """

    name: str
    question: str
    fold: str
    subject: str
    value: float = np.nan
    null: np.ndarray = field(default_factory=lambda: np.empty(0))
    n: int = 0
    chance: float = 0.5
    reason: str = ""
    curve: tuple[tuple[float, float, int], ...] = ()
    ways_tested: float = np.inf
    ways: float = np.inf


@dataclass(frozen=True)
class Wanted:
    """What is to be read from a trial.

    Parameters
    ----------
    vectors : (n_candidates, dim) of every candidate.
    row : (n_trials,) each trial's own.
    gallery : (n,) the candidates among which a test trial's is sought.
    """

    vectors: np.ndarray
    row: np.ndarray
    gallery: np.ndarray

    @classmethod
    def concepts(cls, trials: Trials) -> Wanted:
        """The concept shown, one axis for each."""
        names, row = np.unique(trials.table["concept"].to_numpy(str), return_inverse=True)
        return cls(np.eye(len(names)), row, np.arange(len(names)))

    @classmethod
    def pictures(cls, trials: Trials, table: pd.DataFrame, test: np.ndarray) -> Wanted:
        """The picture shown, by the vectors (one row a stimulus) of ``table``; sought among those of the test part."""
        row = table.index.get_indexer(trials.table["stimulus"])
        return cls(table.to_numpy(float), row, np.unique(row[test]))


class Part:
    """One fold: which trials train and test (at most ``most`` train), and what is sought in it.

    A test sample is all looks of a subject at a picture: the reader is linear, and so their mean is read. Where the
    test shows `FEW` pictures, each trial is one: the means of two pictures could be right by chance too often.
    """

    def __init__(self, number: int, trials: Trials, fold: Fold, pictures: pd.DataFrame | None, seed: int, most: int):
        self.fold, self.name, self.seed = fold, f"{fold.subject}-{fold.name}", [seed, number]
        self.train, self.test = _some(np.flatnonzero(fold.train), most, seed), np.flatnonzero(fold.test)
        shown = trials.table.iloc[self.test]
        looks = pd.factorize(joined(shown, "subject", "stimulus"))[0]
        self.sample = np.arange(len(looks)) if shown["stimulus"].nunique() <= FEW else looks
        concept = trials.table["concept"].to_numpy(str)
        self.known = set(concept[self.test]) <= set(concept[self.train])
        self.pictures = None if pictures is None else Wanted.pictures(trials, pictures, fold.test)
        self.wanted = Wanted.concepts(trials) if self.known else self.pictures

    def truth(self, wanted: Wanted) -> np.ndarray:
        """(n_samples,) place in the gallery of what each test sample showed."""
        return np.searchsorted(wanted.gallery, wanted.row[self.test[self.first]])

    @cached_property
    def first(self) -> np.ndarray:
        """(n_samples,) the first look of each test sample, among the test trials."""
        return np.unique(self.sample, return_index=True)[1]

    def mean(self, matrix: np.ndarray) -> np.ndarray:
        """(n_samples, n) of a matrix (n_test, n): the mean over the looks of each sample."""
        if len(self.first) == len(self.test):
            return matrix
        total = np.zeros((len(self.first), matrix.shape[1]))
        np.add.at(total, self.sample, matrix)
        return np.asarray(total / np.bincount(self.sample)[:, None])


class Asked:
    """Every question, each method a list of answers by fold; the parameters are those of `Auditor`."""

    def __init__(
        self,
        trials: Trials,
        folds: Sequence[Fold],
        pictures: pd.DataFrame | None = None,
        *,
        design: str = "",
        category: np.ndarray | None = None,
        n_perm: int = 500,
        seed: int = 0,
        most: int = 4000,
    ):
        self.trials, self.design, self.category = trials, design, category
        self.n_perm, self.seed, self.most = n_perm, seed, most
        self.parts = [Part(i, trials, fold, pictures, seed, most) for i, fold in enumerate(folds)]
        table = trials.table
        self.concept = table["concept"].to_numpy(str)
        self.subject = table["subject"].to_numpy(str)
        self.session = joined(table, "subject", "session").to_numpy(str)
        self.recording = joined(table, "subject", "session", "run").to_numpy(str)
        block = joined(table, "subject", "session", "run", "block").to_numpy(str)
        used = np.zeros(len(table), bool)
        for part in self.parts:
            used[part.train] = True
            used[part.test] |= len(part.first) == len(part.test)
        self.exchanger = Exchanger(
            self.concept, self.subject, self.session, self.recording, block, self._time, used, n_perm, seed
        )
        self._exchanges: dict[tuple[str, bool], Exchange] = {}

    # -- the questions -----------------------------------------------------------------------------

    def decoding(self) -> list[Answer]:
        """Whether anything is decoded after the first response."""
        return self._decoded("decoding", "is the picture decoded by a linear decoder?", self._late["course"])

    def early(self) -> list[Answer]:
        """C2: nothing of a picture is in the EEG before a response to it is possible."""
        question = f"is it decoded from before {1000 * FIRST_RESPONSE:.0f} ms, when no response is possible?"
        keep = self.trials.times < FIRST_RESPONSE
        if keep.sum() < 3:
            return self._left_out("C2", question, "the trials begin later: prepare them from the onset or before it on")
        found = features.read(self.trials.eeg, self.trials.signal.sfreq, keep, _of("course", "power"))
        return self._decoded("C2", question, np.concatenate(list(found.values()), axis=1))  # a leak may lie in either

    def clock(self) -> list[Answer]:
        """C3: the training trial nearest in time, or at the same time of another recording, tells nothing."""
        return self._timed("C3", "does the time of a trial tell what was shown?", self._clock, across=True)

    def order(self) -> list[Answer]:
        """C3: what was shown just before a trial tells nothing of it, as where pictures alternate."""
        return self._timed("C3", "does what was shown before a trial tell what was shown?", self._order, across=True)

    def near(self) -> list[Answer]:
        """C3: whether a trial is confused with what was shown just before or after it (Xu et al. 2024)."""
        return self._timed("C3", "is it confused with what was shown nearest in time?", self._near)

    def distance(self) -> list[Answer]:
        """C3: identification against the distance in time from what was trained on.

        In a block design the reader is trained on the first half of every block and tested on the second.
        """
        return self._timed("C3", "is it decoded better near in time to what was trained on?", self._distance)

    def superordinate(self) -> list[Answer]:
        """C1: a category is read from classes that training never saw."""
        question = "is the category of unseen classes read better than random halvings of the classes?"
        return [self._category_of(question, part) for part in self._first_of_subject()]

    def within_class(self) -> list[Answer]:
        """C4: the picture itself is told from others of its class."""
        question = "is the picture told from others of the same class?"
        return [self._within(question, part) for part in self.parts]

    def ablations(self) -> Iterator[list[Answer]]:
        """C5: what offsets, spectra and single bands alone give, after the first response."""
        names = {"offset": "each channel's offset", "phaseless": "spectra without phases"}
        for kind in self._late:
            if kind not in ("course", "power"):
                what = names.get(kind, f"power at {kind}")
                yield self._decoded("C5", f"is it decoded from {what} alone?", self._late[kind])

    def power(self) -> list[Answer]:
        """C5: power alone."""
        return self._decoded("C5", "is it decoded from each channel's power alone?", self._late["power"])

    def other_subjects(self) -> list[Answer]:
        """C6: a reader trained on the other subjects."""
        question = "is it decoded by a reader trained on the other subjects?"
        if len(set(self.subject)) < 2:
            return self._left_out("C6", question, "there is one subject")
        return [self._across(question, part) for part in self.parts]

    def shared(self) -> tuple[int, Shared]:
        """C7: test trials that lie in blocks of the training, and those that show its pictures."""
        folds = [part.fold for part in self.parts]
        blocks = sum(overlaps(self.trials, fold)["block"] for fold in folds)
        return blocks, shared_pictures(self.trials, folds)

    # -- how they are answered ---------------------------------------------------------------------

    @cached_property
    def _late(self) -> dict[str, np.ndarray]:
        keep, sfreq = self.trials.times >= FIRST_RESPONSE, self.trials.signal.sfreq
        return features.read(self.trials.eeg, sfreq, keep, features.FEATURES, with_bands=True)

    @cached_property
    def _course_and_power(self) -> np.ndarray:
        return np.concatenate([self._late["course"], self._late["power"]], axis=1)

    @cached_property
    def _time(self) -> np.ndarray | None:
        """When each trial was, in s; in trials where only their order is known; None where nothing is."""
        for column in ("onset", "order"):
            if column in self.trials.table:
                time = pd.to_numeric(self.trials.table[column], errors="coerce").to_numpy(float)
                if not np.isnan(time).any():
                    return time
        return None

    def _first_of_subject(self) -> list[Part]:
        return list({part.fold.subject: part for part in reversed(self.parts)}.values())[::-1]

    def _decoded(self, name: str, question: str, x: np.ndarray) -> list[Answer]:
        found = []
        for part in self.parts:
            if part.wanted is None:
                reason = "concepts of the test are not in training, and no vectors of the pictures are known"
                found.append(self._none(name, question, part, reason))
            else:
                found.append(self._read(name, question, part, part.wanted, smoother(x[part.train], x[part.test])))
        return found

    def _read(
        self,
        name: str,
        question: str,
        part: Part,
        wanted: Wanted,
        matrix: np.ndarray,
        *,
        train: np.ndarray | None = None,
        truth: np.ndarray | None = None,
        among: np.ndarray | None = None,
        exchange: Exchange | None = None,
    ) -> Answer:
        """The reader's answer; a ``truth`` of its own (n_test,) stays as it is when training labels are exchanged."""
        train = part.train if train is None else train
        exchange = self._exchange(part, wanted) if exchange is None else exchange
        shown = None
        if truth is None:
            matrix, truth = part.mean(matrix), part.truth(wanted)
            shown = np.searchsorted(wanted.gallery, wanted.row[exchange.tested])
        targets, candidates = wanted.vectors[wanted.row[train]], wanted.vectors[wanted.gallery]
        reading = Reading(matrix, targets, candidates, truth, among)
        places = np.zeros(len(self.trials), int)
        places[train] = np.arange(len(train))
        null = reading.null(places[exchange.trained], shown)
        return Answer(
            name,
            question,
            part.name,
            part.fold.subject,
            reading.value,
            null,
            len(truth),
            ways_tested=exchange.ways_tested,
            ways=exchange.ways,
        )

    def _exchange(self, part: Part, wanted: Wanted, within_concept: bool = False) -> Exchange:
        key = (part.name, within_concept)
        if key not in self._exchanges:
            self._exchanges[key] = self.exchanger.of(
                part.train,
                part.test,
                wanted.row,
                part.sample,
                known=part.known,
                groups=self.concept if within_concept else None,
            )
        return self._exchanges[key]

    def _timed(
        self, name: str, question: str, ask: Callable[[str, str, Part, np.ndarray], Answer], across: bool = False
    ) -> list[Answer]:
        """Questions of time; with ``across``, also of trials whose recording is not in the training."""
        if self._time is None:
            return self._left_out(name, question, "onsets are not known: whatever changes slowly could tell")
        found = []
        for part in self.parts:
            if not across and not np.isin(self.recording[part.test], self.recording[part.train]).any():
                reason = "test and training trials are of different recordings"
                found.append(self._none(name, question, part, reason))
            elif part.wanted is None:
                found.append(self._none(name, question, part, "no vectors of the pictures are known"))
            else:
                found.append(ask(name, question, part, self._time))
        return found

    def _clock(self, name: str, question: str, part: Part, time: np.ndarray) -> Answer:
        where, train, test = self.recording, part.train, part.test
        matrix = controls.clock(time[train], time[test], where[train], where[test])
        if not np.isin(where[test], where[train]).any():  # by seconds, and by place in the list
            rank = pd.Series(time).groupby(where).rank(method="first").to_numpy()
            matrix = (matrix + controls.clock(rank[train], rank[test], where[train], where[test])) / 2
        assert part.wanted is not None
        return self._read(name, question, part, part.wanted, matrix)

    def _order(self, name: str, question: str, part: Part, time: np.ndarray) -> Answer:
        wanted, train, test = part.wanted, part.train, part.test
        assert wanted is not None
        if not part.known:
            return self._none(name, question, part, "test trials show no concept of the training")
        if self.exchanger.blocked:
            return self._none(name, question, part, "what was shown comes in blocks: its time is asked instead")
        earlier = controls.before(wanted.row, pd.factorize(self.recording)[0], time)
        same = earlier[test][:, None] == earlier[train][None]
        same[earlier[test] < 0] = False
        matrix = np.where(same.any(axis=1, keepdims=True), same, True)
        return self._read(name, question, part, wanted, matrix / matrix.sum(axis=1, keepdims=True))

    def _near(self, name: str, question: str, part: Part, time: np.ndarray) -> Answer:
        wanted, train, test = part.wanted, part.train, part.test
        assert wanted is not None
        if not part.known or len(wanted.gallery) < 3:
            return self._none(name, question, part, "test trials show no concept of the training, or there are two")
        gap = np.abs(time[test][:, None] - time[train][None])
        other = wanted.row[test][:, None] != wanted.row[train][None]
        gap[~other | (self.recording[test][:, None] != self.recording[train][None])] = np.inf
        truth = wanted.row[train[gap.argmin(axis=1)]]
        among = np.arange(len(wanted.gallery))[None] != wanted.row[test][:, None]
        x = self._course_and_power
        return self._read(name, question, part, wanted, smoother(x[train], x[test]), truth=truth, among=among)

    def _distance(self, name: str, question: str, part: Part, time: np.ndarray) -> Answer:
        wanted, train, test = part.wanted, part.train, part.test
        assert wanted is not None
        if not part.known:
            return self._none(name, question, part, "test trials show no concept of the training")
        if self.design == "block":
            train, test = self._halves(np.concatenate([train, test]), time)
        x = self._course_and_power
        truth = np.searchsorted(wanted.gallery, wanted.row[test])
        reading = Reading(
            smoother(x[train], x[test]), wanted.vectors[wanted.row[train]], wanted.vectors[wanted.gallery], truth
        )
        same = (wanted.row[test][:, None] == wanted.row[train][None]) & (
            self.recording[test][:, None] == self.recording[train][None]
        )
        gap = np.where(same, np.abs(time[test][:, None] - time[train][None]), np.inf).min(axis=1)
        held, each = np.isfinite(gap), reading.two_way()
        if held.sum() < 20:
            return self._none(name, question, part, "too few test trials share a recording and concept with training")
        near, better = (_standard_ranks(x) for x in (-gap[held], each[held]))  # Spearman's correlation
        rng = np.random.default_rng([*part.seed, 56])
        null = np.array([np.mean(rng.permutation(near) * better) for _ in range(self.n_perm)])
        return Answer(
            name,
            question,
            part.name,
            part.fold.subject,
            float(np.mean(near * better)),
            null,
            int(held.sum()),
            chance=0.0,
            curve=tuple(controls.curve(gap[held], each[held])),
        )

    def _halves(self, rows: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first and the second half of every block."""
        place = joined(self.trials.table.iloc[rows], "subject", "session", "run", "block")
        rank = pd.Series(time[rows]).groupby(place.to_numpy()).rank(pct=True, method="first").to_numpy()
        return rows[rank <= 0.5], rows[rank > 0.5]

    def _category_of(self, question: str, part: Part) -> Answer:
        rows = np.sort(np.concatenate([part.train, part.test]))
        if self.category is not None:
            rows = rows[self.category[rows] != ""]
        names = [] if self.category is None else list(np.unique(self.category[rows]))
        if len(names) != 2:
            return self._none("C1", question, part, "no superordinate category is known")
        assert self.category is not None
        labels, category = self.concept[rows], self.category[rows]
        counts = [len(np.unique(labels[category == name])) for name in names]
        if min(counts) < 5:
            return self._none("C1", question, part, "it needs two categories of at least five classes")
        value, null, halvings = controls.superordinate(
            self._late["course"][rows], labels, category, n_null=self.n_perm, seed=self.seed
        )
        return Answer("C1", question, part.name, part.fold.subject, value, null, sum(counts), ways_tested=halvings)

    def _within(self, question: str, part: Part) -> Answer:
        wanted = part.pictures
        if wanted is None:
            return self._none("C4", question, part, "no vectors of the pictures are known")
        of = pd.Series(self.concept, index=wanted.row).groupby(level=0).first()
        mates = of[wanted.gallery].to_numpy()[None] == self.concept[part.test[part.first]][:, None]
        if mates.sum(axis=1).max() < 2:
            return self._none("C4", question, part, "no class has two pictures in the test")
        x = self._late["course"]
        return self._read(
            "C4",
            question,
            part,
            wanted,
            smoother(x[part.train], x[part.test]),
            among=mates,
            exchange=self._exchange(part, wanted, within_concept=True),
        )

    def _across(self, question: str, part: Part) -> Answer:
        table, test = self.trials.table, part.test
        own, shown = set(self.subject[test]), set(table["stimulus"].iloc[test])
        known = shown <= set(table["stimulus"].iloc[part.train])  # else what the others saw of the test is no news
        seen = np.zeros(len(table), bool) if known else table["stimulus"].isin(shown).to_numpy()
        train = _some(np.flatnonzero(~np.isin(self.subject, list(own)) & ~seen), self.most, self.seed)
        if len(train) < 20 or part.wanted is None:
            return self._none("C6", question, part, "the other subjects saw too few pictures beside those of the test")
        if part.known and not set(self.concept[test]) <= set(self.concept[train]):
            return self._none("C6", question, part, "the other subjects did not see these concepts")
        x = self._standard
        exchange = self.exchanger.of(train, test, part.wanted.row, part.sample, known=part.known)
        return self._read(
            "C6", question, part, part.wanted, smoother(x[train], x[test]), train=train, exchange=exchange
        )

    @cached_property
    def _standard(self) -> np.ndarray:
        """The late time course, standardised within each subject, which needs no label."""
        x = self._late["course"].copy()
        for who in np.unique(self.subject):
            rows = self.subject == who
            x[rows] = (x[rows] - x[rows].mean(axis=0)) / np.maximum(x[rows].std(axis=0), 1e-300)
        return x

    def _none(self, name: str, question: str, part: Part, reason: str) -> Answer:
        return Answer(name, question, part.name, part.fold.subject, reason=reason)

    def _left_out(self, name: str, question: str, reason: str) -> list[Answer]:
        return [self._none(name, question, part, reason) for part in self.parts]


def _of(*kinds: str) -> dict[str, features.Feature]:
    return {kind: features.FEATURES[kind] for kind in kinds}


def _standard_ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of mean 0 and SD 1; zeros where all are equal."""
    ranks = pd.Series(x).rank().to_numpy()
    return np.asarray((ranks - ranks.mean()) / max(float(ranks.std()), 1e-300))


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most this many of them, drawn at random, in order."""
    return rows if len(rows) <= most else np.sort(np.random.default_rng([seed, 54]).permutation(rows)[:most])
