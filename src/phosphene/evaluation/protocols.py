"""`Protocol`: what a number means. Frozen, hashable, written beside every score."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from phosphene.errors import PhospheneError
from phosphene.files import digest
from phosphene.trials import Trials

LEAKY = "leaky_random_trials"
Split = Literal["given", "leave_one_run_out", "leave_one_session_out", "leave_one_subject_out", "leaky_random_trials"]
_LEFT_OUT = {"leave_one_run_out": "run", "leave_one_session_out": "session", "leave_one_subject_out": "subject"}


class Fold(NamedTuple):
    """One train/validation/test partition; boolean masks over the trials, (n_trials,) each, pairwise disjoint."""

    name: str
    subject: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


class Protocol(BaseModel):
    """How trials become a score.

    Parameters
    ----------
    split : "given" reads the table's `split` column (train, test, and val where the study names one); "leave_one_..."
        leaves one run, session or subject out. "leaky_random_trials" (ours) draws test trials at random: pictures,
        blocks and drift of the test are then in training too. It is there to measure that leak, must be asked for by
        this name, and its hash and folds bear the word.
    test_fraction : of "leaky_random_trials" alone: the share of trials drawn for the test (0.2 if not said).
    subjects : "within" trains a model for each subject; "joint" one for all.
    average_train, average_test : repeats of one stimulus averaged into a sample; 0 averages all, 1 none.
    val_fraction : share of the training material held out to select the epoch; 0 for none. A given `val` part is the
        validation part instead, and nothing is drawn; it is never trained on.
    val_by : what is held out as a whole: "concept" (validation concepts are unseen), "stimulus" or "run".
    select_on : "val" or "last". "test" does not exist.
    gallery : among what is retrieved: "test" (the pictures of the test trials).
    seed : draws the validation part (and the leaky test part), initialises and orders the training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: Split = "given"
    subjects: Literal["within", "joint"] = "within"
    average_train: int = Field(1, ge=0)
    average_test: int = Field(0, ge=0)
    val_fraction: float = Field(0.1, ge=0, lt=1)
    val_by: Literal["concept", "stimulus", "run"] = "concept"
    select_on: Literal["val", "last"] = "val"
    gallery: Literal["test"] = "test"
    seed: int = Field(0, ge=0, lt=2**31)
    test_fraction: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _fraction(self) -> Self:
        if self.split != LEAKY and self.test_fraction is not None:
            raise ValueError(
                f"test_fraction draws test trials at random: set split to {LEAKY} to mean that, or leave it out"
            )
        if self.split == LEAKY and self.test_fraction is None:
            object.__setattr__(self, "test_fraction", 0.2)
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `test_fraction` where nothing is drawn: other protocols keep their hash."""
        values: dict[str, Any] = write(self)
        if self.test_fraction is None:
            values.pop("test_fraction", None)
        return values

    @property
    def hash(self) -> str:
        """Short name of exactly this protocol; it begins with "leaky-" where test trials are drawn at random."""
        return ("leaky-" if self.split == LEAKY else "") + digest(self.model_dump(), 8)

    def folds(self, trials: Trials) -> Iterator[Fold]:
        """Every fold, in a fixed order. No trial is in two parts of a fold."""
        table = trials.table
        groups = _ids(table, "subject") if self.subjects == "within" else pd.Series("all", index=table.index)
        if self.split == "leave_one_subject_out" and self.subjects == "within":
            raise PhospheneError("leave_one_subject_out trains across subjects: set protocol.subjects to 'joint'")
        for subject in sorted(groups.unique()):
            here = (groups == subject).to_numpy()
            given = np.zeros(len(table), bool)
            if self.split == "given":
                unknown = sorted(set(table["split"][here]) - {"train", "val", "test"})
                if unknown:
                    raise PhospheneError(f"split '{unknown[0]}' in the trial table: use train, val and test")
                tests = {"test": here & (table["split"] == "test").to_numpy()}
                given = here & (table["split"] == "val").to_numpy()
            elif self.split == LEAKY:
                tests = {LEAKY: self._drawn(here)}
            else:
                unit = _ids(table, _LEFT_OUT[self.split])
                tests = {name: here & (unit == name).to_numpy() for name in sorted(unit[here].unique())}
                if len(tests) < 2:
                    raise PhospheneError(
                        f"{self.split} needs at least two {_LEFT_OUT[self.split]}s of subject {subject}, there is one: "
                        "choose another protocol.split or load more data"
                    )
            for name, test in tests.items():
                rest = here & ~test & ~given
                if not test.any() or not rest.any():
                    raise PhospheneError(f"fold '{name}' of subject {subject} has no trial to train or test on")
                val = given if given.any() else self._validation(table, rest)
                yield Fold(name, subject, rest & ~val, val, test)

    def _drawn(self, here: np.ndarray) -> np.ndarray:
        """Test trials drawn at random, whatever they share with the rest."""
        rows = np.flatnonzero(here)
        test = np.zeros(len(here), bool)
        share = self.test_fraction or 0.0
        test[np.random.default_rng([self.seed, 13]).permutation(rows)[: round(share * len(rows))]] = True
        return test

    def _validation(self, table: pd.DataFrame, rest: np.ndarray) -> np.ndarray:
        """Whole concepts (stimuli, runs) drawn from the training material."""
        if self.val_fraction == 0 or self.select_on == "last":
            return np.zeros(len(rest), bool)
        unit = _ids(table, self.val_by)
        names = sorted(unit[rest].unique())
        count = max(1, round(self.val_fraction * len(names)))
        if count >= len(names):
            raise PhospheneError(
                f"{len(names)} training {self.val_by}(s) cannot spare any for validation: "
                "set protocol.val_fraction to 0 and protocol.select_on to last"
            )
        drawn = np.random.default_rng(self.seed).permutation(names)[:count]
        return rest & unit.isin(drawn).to_numpy()

    def samples(self, trials: Trials, part: str) -> Trials:
        """Repeats averaged as the protocol says for ``part`` ("train" or "test")."""
        count = self.average_train if part == "train" else self.average_test
        return trials if count == 1 else trials.average(count or None)


def overlaps(trials: Trials, fold: Fold) -> dict[str, int]:
    """How many test trials share their stimulus, concept, run, ... with a training trial of the fold."""
    counts = {}
    for column in ("stimulus", "concept", "block", "run", "session", "subject"):
        unit = _ids(trials.table, column)
        counts[column] = int(unit[fold.test].isin(unit[fold.train].unique()).sum())
    return counts


def _ids(table: pd.DataFrame, column: str) -> pd.Series:
    """Names that are unique in the study: run 01 of one session is not run 01 of another."""
    nesting = {"block": ["subject", "session", "run", "block"], "run": ["subject", "session", "run"],
               "session": ["subject", "session"]}  # fmt: skip
    columns = nesting.get(column, [column])
    return table[columns].astype(str).agg("/".join, axis=1)
