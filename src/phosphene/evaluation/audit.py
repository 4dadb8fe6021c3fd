"""The decoding half of an audit: does a score speak of the picture, or of when it was shown and how the signal stood?

Controls C1 to C7 answer a question each with the linear decoder of `phosphene.evaluation.controls`. None looks at what
a run decoded, so that a flaw of the data is found whatever the method. The three gates in which a small p is a fault
(before any response, clock, power alone) share the error rate, 5 % together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from phosphene.evaluation import controls
from phosphene.evaluation.controls import Reading, smoother
from phosphene.evaluation.protocols import Fold, overlaps
from phosphene.lazy import chunks
from phosphene.trials import Trials

FIRST_RESPONSE = 0.04  # s after onset; no cortical response to a picture comes earlier
ALPHA = 0.05
GATE = ALPHA / 3

Verdict = Literal["pass", "fail", "shown", "left out"]


@dataclass(frozen=True)
class Control:
    """One row of an audit.

    Parameters
    ----------
    name : "C1" to "C7", or "decoding".
    question : what it asks.
    fold : subject and name of the fold.
    value, chance : the statistic, and what it is where the answer is no.
    low, high : the middle 95 % of the statistic with training targets exchanged at random.
    p : one-sided.
    n : test trials (classes, for C1).
    verdict : "pass" or "fail" of a gate; "shown" is no gate; "left out" could not be asked.
    reason : the answer in words.
    """

    name: str
    question: str
    fold: str
    value: float = np.nan
    chance: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    n: int = 0
    verdict: Verdict = "shown"
    reason: str = ""


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


class Auditor:
    """Asks every control of one fold.

    Parameters
    ----------
    trials : all trials, as the method sees them but not whitened.
    fold : its training and test part.
    wanted : what is read; concepts by default.
    design : of the dataset; "block" makes C1 a gate.
    category : (n_trials,) superordinate category with two values, or None.
    n_perm : exchanges of each test.
    most : training trials that are used, drawn at random where there are more.
    """

    def __init__(
        self, trials: Trials, fold: Fold, wanted: Wanted | None = None, *, design: str = "",
        category: np.ndarray | None = None, n_perm: int = 500, seed: int = 0, most: int = 4000,
    ):  # fmt: skip
        self.trials, self.fold, self.design, self.category = trials, fold, design, category
        self.wanted = Wanted.concepts(trials) if wanted is None else wanted
        self.n_perm, self.seed = n_perm, seed
        self.train, self.test = np.flatnonzero(fold.train), np.flatnonzero(fold.test)
        if len(self.train) > most:
            self.train = np.sort(np.random.default_rng([seed, 54]).permutation(self.train)[:most])
        table = trials.table
        self.recording = table[["subject", "session", "run"]].agg("/".join, axis=1).to_numpy(str)
        self.session = table[["subject", "session"]].agg("/".join, axis=1).to_numpy(str)
        place = {candidate: i for i, candidate in enumerate(self.wanted.gallery)}
        self.truth = np.array([place[row] for row in self.wanted.row[self.test]])

    def controls(self) -> Iterator[Control]:
        """Every control, in order."""
        found = self.decoding()
        yield found
        early, clock = self.early(), self.clock()
        yield from (early, clock)
        confounded = self.design == "block" or "fail" in (early.verdict, clock.verdict)
        yield self.superordinate(confounded)
        yield from self.ablations(found)
        yield from self.shared()

    # -- one question each -------------------------------------------------------------------------

    def decoding(self) -> Control:
        """Whether anything is decoded after the first response."""
        return self._asked("decoding", "is the picture decoded by a linear decoder?", self._late_course)

    def early(self) -> Control:
        """C2: nothing of a picture is in the EEG before a response to it is possible."""
        question = f"is it decoded from before {1000 * FIRST_RESPONSE:.0f} ms, when no response is possible?"
        if (self.trials.times < FIRST_RESPONSE).sum() < 3:
            return self._left_out("C2", question, "the trials begin later: prepare them from the onset or before it on")
        found = self._asked("C2", question, self._early)
        return self._gate(found, "decoded before any response: a state or a leak is read, not the picture")

    def clock(self) -> Control:
        """C3: the training trial nearest in time tells nothing of a test trial."""
        question = "does the time of a trial tell what was shown?"
        onset = self.trials.table["onset"].to_numpy(float)
        here = self.recording
        if np.isnan(onset).any():
            return self._left_out("C3", question, "onsets are not known: whatever changes slowly could tell")
        if not np.isin(here[self.test], here[self.train]).any():
            return self._left_out("C3", question, "test and training trials are of different recordings")
        matrix = controls.clock(onset[self.train], onset[self.test], here[self.train], here[self.test])
        return self._gate(
            self._answer("C3", question, matrix), "the clock alone tells what was shown: slow changes are confounded"
        )

    def superordinate(self, confounded: bool) -> Control:
        """C1: a category is read from classes that training never saw."""
        question = "is the category of unseen classes read better than random halvings of the classes?"
        rows = np.sort(np.concatenate([self.train, self.test]))
        labels = self.trials.table["concept"].to_numpy(str)[rows]
        if self.category is None or any((self.category[rows] == c).sum() == 0 for c in np.unique(self.category)):
            return self._left_out("C1", question, "no superordinate category is known")
        counts = [len(np.unique(labels[self.category[rows] == c])) for c in np.unique(self.category)]
        if len(counts) != 2 or min(counts) < 5:
            return self._left_out("C1", question, "it needs two categories of at least five classes")
        features = self._late_course[rows]
        value, p, null = controls.superordinate(
            features, labels, self.category[rows], n_null=self.n_perm, seed=self.seed
        )
        verdict: Verdict = "shown" if not confounded else "pass" if p < ALPHA else "fail"
        low, high = (float(q) for q in np.quantile(null, (0.025, 0.975)))
        return Control(
            "C1", question, self._name, value, 0.5, low, high, p, sum(counts), verdict,
            "meaning is read beyond the block" if p < ALPHA else "nothing is read that holds for other classes",
        )  # fmt: skip

    def ablations(self, found: Control) -> Iterator[Control]:
        """C5: what offsets, power and spectra alone give, after the first response."""
        for kind, what in (("offset", "each channel's offset"), ("phaseless", "spectra without phases")):
            yield self._asked("C5", f"is it decoded from {what} alone?", self._features(kind, late=True))
        lone = self._asked("C5", "is it decoded from each channel's power alone?", self._features("power", late=True))
        if found.p >= ALPHA:
            lone = self._gate(lone, "power tells it and the time course does not: no evoked response is read")
        yield lone

    def shared(self) -> Iterator[Control]:
        """C7: what test trials share with training trials."""
        counts = overlaps(self.trials, self.fold)
        block = self.design == "block" and counts["block"] > 0
        yield Control(
            "C7", "do test trials lie in blocks that training saw, in a block design?", self._name,
            value=counts["block"] / len(self.test), chance=0.0, n=len(self.test), verdict="fail" if block else "pass",
            reason="a block is told from others by its time" if block else "no",
        )  # fmt: skip
        again = counts["stimulus"]
        yield Control(
            "C7", "are pictures of the test in training?", self._name, value=again / len(self.test), chance=0.0,
            n=len(self.test), verdict="fail" if again and len(self.wanted.gallery) > 2 else "pass",
            reason="test pictures were trained on" if again else "no",
        )  # fmt: skip

    # -- how they are asked ------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"{self.fold.subject}-{self.fold.name}"

    def _features(self, kind: str, late: bool) -> np.ndarray:
        keep = (self.trials.times >= FIRST_RESPONSE) == late
        read, sfreq = controls.FEATURES[kind], self.trials.signal.sfreq
        return np.concatenate([read(eeg[:, :, keep], sfreq) for _, eeg in chunks(self.trials.eeg)])

    @cached_property
    def _late_course(self) -> np.ndarray:
        return self._features("course", late=True)

    @property
    def _early(self) -> np.ndarray:
        """Time course and power before any response: a leak may lie in either."""
        return np.concatenate([self._features(kind, late=False) for kind in ("course", "power")], axis=1)

    def _asked(self, name: str, question: str, features: np.ndarray) -> Control:
        return self._answer(name, question, smoother(features[self.train], features[self.test]))

    def _answer(self, name: str, question: str, matrix: np.ndarray) -> Control:
        vectors, row = self.wanted.vectors, self.wanted.row
        reading = Reading(matrix, vectors[row[self.train]], vectors[self.wanted.gallery], self.truth)
        p, null = reading.p(self.session[self.train], self.n_perm, self.seed)
        low, high = (float(q) for q in np.quantile(null, (0.025, 0.975)))
        return Control(
            name, question, self._name, float(reading.two_way().mean()), 0.5, low, high, p, len(self.test), "shown",
            "yes" if p < ALPHA else "no",
        )  # fmt: skip

    def _gate(self, found: Control, fault: str) -> Control:
        bad = found.p < GATE
        return Control(**{**vars(found), "verdict": "fail" if bad else "pass", "reason": fault if bad else "no"})

    def _left_out(self, name: str, question: str, reason: str) -> Control:
        return Control(name, question, self._name, verdict="left out", reason=reason)
