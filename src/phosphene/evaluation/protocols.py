"""`Protocol`: what a number means. Frozen, hashable, written beside every score."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from phosphene.errors import PhospheneError
from phosphene.files import digest
from phosphene.trials import Trials

Split = Literal["given", "leave_one_run_out", "leave_one_session_out", "leave_one_subject_out"]
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
    split : "given" reads the table's `split` column (train, test); the others leave one run, session or subject out.
    subjects : "within" trains a model for each subject; "joint" one for all.
    average_train, average_test : repeats of one stimulus averaged into a sample; 0 averages all, 1 none.
    val_fraction : share of the training material held out to select the epoch; 0 for none.
    val_by : what is held out as a whole: "concept" (validation concepts are unseen), "stimulus" or "run".
    select_on : "val" or "last". "test" does not exist.
    gallery : among what is retrieved: "test" (the pictures of the test trials).
    seed : draws the validation part, initialises and orders the training.
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

    @property
    def hash(self) -> str:
        """Short name of exactly this protocol."""
        return digest(self.model_dump(), 8)

    def folds(self, trials: Trials) -> Iterator[Fold]:
        """Every fold, in a fixed order. No trial is in two parts of a fold."""
        table = trials.table
        groups = _ids(table, "subject") if self.subjects == "within" else pd.Series("all", index=table.index)
        if self.split == "leave_one_subject_out" and self.subjects == "within":
            raise PhospheneError("leave_one_subject_out trains across subjects: set protocol.subjects to 'joint'")
        for subject in sorted(groups.unique()):
            here = (groups == subject).to_numpy()
            if self.split == "given":
                unknown = sorted(set(table["split"][here]) - {"train", "test"})
                if unknown:
                    raise PhospheneError(f"split '{unknown[0]}' in the trial table: use train and test")
                tests = {"test": here & (table["split"] == "test").to_numpy()}
            else:
                unit = _ids(table, _LEFT_OUT[self.split])
                tests = {name: here & (unit == name).to_numpy() for name in sorted(unit[here].unique())}
                if len(tests) < 2:
                    raise PhospheneError(
                        f"{self.split} needs at least two {_LEFT_OUT[self.split]}s of subject {subject}, there is one: "
                        "choose another protocol.split or load more data"
                    )
            for name, test in tests.items():
                rest = here & ~test
                if not test.any() or not rest.any():
                    raise PhospheneError(f"fold '{name}' of subject {subject} has no trial to train or test on")
                val = self._validation(table, rest)
                yield Fold(name, subject, rest & ~val, val, test)

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
