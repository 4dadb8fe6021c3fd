"""`Protocol`: what a number means. Frozen, hashable, written beside every score.

`SETTINGS` are the field's words for some of them (`Protocol.named`); `overlaps` and `overlap_table` say what the parts
of a split share, and `Protocol.among` among what a test sample's answer is sought.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.settings import Settings, ZeroOrMore
from phosphene.utils.duplicates import KINDS, SamePictures, same_pictures
from phosphene.utils.files import digest
from phosphene.utils.vectors import centres

LEAKY = "leaky_random_trials"
Split = Literal[
    "given",
    "within_session",
    "leave_one_run_out",
    "leave_one_session_out",
    "leave_one_subject_out",
    "leaky_random_trials",
]
Galleries = Literal["test", "concept", "within_concept", "train", "all"]
UNITS = ("stimulus", "image", *KINDS, "concept", "block", "run", "session", "subject")
PARTS = (("train", "test"), ("train", "val"), ("val", "test"))
_LEFT_OUT = {
    "within_session": "run",
    "leave_one_run_out": "run",
    "leave_one_session_out": "session",
    "leave_one_subject_out": "subject",
}
#: what is apart where a run (session, subject) is left out whole, and where validation units are held out whole
_APART = {
    "run": ("block", "run"),
    "session": ("block", "run", "session"),
    "subject": ("block", "run", "session", "subject"),
    "concept": ("stimulus", "image", *KINDS, "concept"),
    "stimulus": ("stimulus", "image", *KINDS),
}
#: the field's words, and what they set
SETTINGS: dict[str, dict[str, Any]] = {
    "within-session": {"split": "within_session", "subjects": "within"},
    "cross-session": {"split": "leave_one_session_out", "subjects": "within"},
    "cross-subject": {"split": "leave_one_subject_out", "subjects": "joint"},
    "joint": {"split": "given", "subjects": "joint"},
}


class Fold(NamedTuple):
    """One train/validation/test partition; boolean masks over the trials, (n_trials,) each, pairwise disjoint."""

    name: str
    subject: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


class Protocol(Settings):
    """How trials become a score.

    Parameters
    ----------
    split : "given" reads the table's `split` column (train, test, and val where the study names one); "leave_one_..."
        leaves one run, session or subject out; "within_session" leaves one run out and trains on the other runs of
        that session alone. "leaky_random_trials" (ours) draws test trials at random: pictures,
        blocks and drift of the test are then in training too. It is there to measure that leak, must be asked for by
        this name, and its hash and folds bear the word.
    test_fraction : of "leaky_random_trials" alone: the share of trials drawn for the test (0.2 if not said).
    subjects : "within" trains a model for each subject; "joint" one for all.
    average_train, average_test : repeats of one stimulus averaged into a sample; 0 averages all, 1 none.
    val_fraction : share of the training material held out to select the epoch; 0 for none. A given `val` part is the
        validation part instead, and nothing is drawn; it is never trained on.
    val_by : what is held out as a whole: "concept" (validation concepts are unseen), "stimulus" or "run".
    select_on : "val" or "last". "test" does not exist.
    gallery : among what is retrieved. "test": the pictures of the test trials, which are the answers. "concept": one
        centre for each concept of these. "within_concept": those of the concept that was seen. "train": the pictures
        of the training trials. "all": every picture of the study. See `among`.
    seed : draws the validation part (and the leaky test part), initialises and orders the training.
    and_given : of "within_session" and "leave_one_..." alone: of what is left out, only the table's `test` trials are
        tested, and of the rest only its `train` trials are trained on (`val` ones select), so that neither the session
        (run, subject) nor, where the study keeps them apart, the pictures are known. What has no `test` trial is not
        left out.
    """

    split: Split = "given"
    subjects: Literal["within", "joint"] = "within"
    average_train: ZeroOrMore = 1
    average_test: ZeroOrMore = 0
    val_fraction: float = Field(0.1, ge=0, lt=1)
    val_by: Literal["concept", "stimulus", "run"] = "concept"
    select_on: Literal["val", "last"] = "val"
    gallery: Galleries = "test"
    seed: int = Field(0, ge=0, lt=2**31)
    test_fraction: float | None = Field(None, gt=0, lt=1)
    and_given: bool = False

    @classmethod
    def named(cls, setting: str, **fields: Any) -> Self:
        """The protocol that the field calls "within-session", "cross-session", "cross-subject" or "joint"."""
        if setting not in SETTINGS:
            raise PhospheneError(f"unknown setting '{setting}': {nearest(setting, SETTINGS)}")
        return cls(**{**SETTINGS[setting], **fields})

    @field_validator("select_on", mode="before")
    @classmethod
    def _not_on_test(cls, value: Any) -> Any:
        if value == "test":
            raise ValueError(
                "'test' does not exist: the best of many epochs on the test trials is not a score on unseen trials; "
                "use val or last"
            )
        return value

    @model_validator(mode="after")
    def _fraction(self) -> Self:
        if self.split != LEAKY and self.test_fraction is not None:
            raise ValueError(
                f"test_fraction draws test trials at random: set split to {LEAKY} to mean that, or leave it out"
            )
        if self.split == LEAKY and self.test_fraction is None:
            object.__setattr__(self, "test_fraction", 0.2)
        if self.and_given and self.split not in _LEFT_OUT:
            raise ValueError(f"and_given adds the given split to one that leaves units out, not to '{self.split}'")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without later fields where they change nothing: protocols that do not use them keep their hash."""
        values: dict[str, Any] = write(self)
        for field, unused in (("test_fraction", None), ("and_given", False)):
            if getattr(self, field) is unused:
                values.pop(field, None)
        return values

    @property
    def hash(self) -> str:
        """Short name of exactly this protocol; it begins with "leaky-" where test trials are drawn at random."""
        return ("leaky-" if self.split == LEAKY else "") + digest(self.model_dump(), 8)

    def check(self) -> None:
        """Refuse a split that does not go with `subjects`."""
        if self.split == "leave_one_subject_out" and self.subjects == "within":
            raise PhospheneError("leave_one_subject_out trains across subjects: set protocol.subjects to 'joint'")
        if self.split == "within_session" and self.subjects == "joint":
            raise PhospheneError("within_session trains on one subject's session: set protocol.subjects to 'within'")

    def folds(self, trials: Trials | pd.DataFrame) -> Iterator[Fold]:
        """Every fold of trials, or of their table, in a fixed order. No trial is in two parts of a fold."""
        self.check()
        table = trials.table if isinstance(trials, Trials) else trials
        groups = _ids(table, "subject") if self.subjects == "within" else pd.Series("all", index=table.index)
        given = self.split == "given" or self.and_given
        for subject in sorted(groups.unique()):
            here = (groups == subject).to_numpy()
            part = self._given(table, here) if given else np.full(len(table), "")
            if self.and_given and not (here & (part == "test")).any():
                raise PhospheneError(f"subject {subject} has no 'test' trial: set protocol.and_given to false")
            for name, test, rest in self._tests(table, here, subject):
                val = np.zeros(len(table), bool)
                if given:
                    test, rest, val = test & (part == "test"), rest & (part == "train"), rest & (part == "val")
                if self.and_given and not test.any():
                    continue
                if not test.any() or not rest.any():
                    fix = self._lacking(part[here])
                    raise PhospheneError(f"fold '{name}' of subject {subject} has no trial to train or test on: {fix}")
                val = val if val.any() else self._validation(table, rest)
                yield Fold(name, subject, rest & ~val, val, test)

    def _lacking(self, part: np.ndarray) -> str:
        """What to do where a fold has no test or no training trial; ``part`` are those of the table."""
        if self.and_given:
            return "set protocol.and_given to false, or choose another protocol.split"
        lost = "test" if not (part == "test").any() else "training"
        return (
            f"no trial is named a {lost} trial; set dataset.split, such as {{concept: 0.2}}, or protocol.split to "
            "leave_one_run_out"
        )

    def _tests(
        self, table: pd.DataFrame, here: np.ndarray, subject: str
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Of each fold its name, the trials that may be tested, and those that may be trained on."""
        if self.split == "given":
            yield "test", here, here
        elif self.split == LEAKY:
            drawn = self._drawn(here)
            yield LEAKY, drawn, here & ~drawn
        else:
            left_out = _LEFT_OUT[self.split]
            unit, session = _ids(table, left_out), _ids(table, "session")
            for name in sorted(unit[here].unique()):
                test, pool, where = here & (unit == name).to_numpy(), here, f"subject {subject}"
                if self.split == "within_session":
                    own = session[test].iloc[0]
                    pool, where = here & (session == own).to_numpy(), f"session {own}"
                if not (pool & ~test).any():
                    raise PhospheneError(
                        f"{self.split} needs at least two {left_out}s of {where}, there is one: "
                        "choose another protocol.split or load more data"
                    )
                yield name, test, pool & ~test

    @staticmethod
    def _given(table: pd.DataFrame, here: np.ndarray) -> np.ndarray:
        """(n_trials,) train, val or test, as the study says."""
        unknown = sorted(set(table["split"][here]) - {"train", "val", "test"})
        if unknown:
            raise PhospheneError(f"split '{unknown[0]}' in the trial table: use train, val and test")
        return table["split"].to_numpy(str)

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

    def promises(self, a: str, b: str, given_val: bool = False) -> tuple[str, ...]:
        """Which of `UNITS` parts ``a`` and ``b`` of a fold never share; () where that is up to the study, or leaky.

        ``given_val`` says that the study itself names the validation part, so that nothing is known of it.
        """
        apart = _APART[_LEFT_OUT[self.split]] if self.split in _LEFT_OUT else ()
        if {a, b} == {"train", "val"}:
            return () if given_val else _APART[self.val_by]
        return apart

    def among(self, trials: Trials, fold: Fold, seen: Sequence[str] | np.ndarray) -> "Gallery":
        """The gallery of a fold, for test samples that saw the stimuli ``seen`` (n_queries,)."""
        of = {"train": fold.train, "all": np.ones(len(trials), bool)}.get(self.gallery, fold.test)
        names = set(trials.table["stimulus"][of])
        seen = np.asarray(seen, str)
        lost = sorted(set(seen) - set(trials.stimuli.index))
        if lost:
            raise PhospheneError(f"stimulus '{lost[0]}' is not among the stimuli of these trials: decode this run's")
        stimuli = trials.stimuli if self.gallery == "all" else trials.stimuli[trials.stimuli.index.isin(names)]
        if "concept" in trials.stimuli:
            concept_of = trials.stimuli["concept"]
        else:
            concept_of = trials.table.groupby("stimulus")["concept"].first().reindex(trials.stimuli.index)
        answers = bool(set(trials.table["stimulus"][fold.test]) & set(stimuli.index))
        known = {
            "test": "test_answers",
            "concept": "concepts_of_test_answers",
            "within_concept": "test_answers_of_the_concept",
        }
        name = known.get(self.gallery, self.gallery + ("_with_test_answers" if answers else ""))
        own = Gallery(name, stimuli, np.arange(len(stimuli)), stimuli.index.get_indexer(seen), None)
        item, concepts = pd.factorize(concept_of[stimuli.index].to_numpy(str), sort=True)
        wanted = pd.Index(concepts).get_indexer(concept_of[seen].to_numpy(str))
        if self.gallery == "concept":
            return own._replace(item=item, truth=wanted)
        if self.gallery == "within_concept":
            return own._replace(candidates=item[None, :] == wanted[:, None])
        return own


class Gallery(NamedTuple):
    """Among what the answers of test samples are sought.

    Parameters
    ----------
    name : beside a score; it says "test_answers" wherever a picture of the test trials is among the candidates.
    stimuli : rows of the stimulus table (n_pictures), in its order, of which the items are made.
    item : (n_pictures,) the item that each picture is (a part of).
    truth : (n_queries,) the item that is the answer; -1 where it is not in the gallery.
    candidates : (n_queries, n_items) which items a query is compared with; None is all.
    """

    name: str
    stimuli: pd.DataFrame
    item: np.ndarray
    truth: np.ndarray
    candidates: np.ndarray | None

    def vectors(self, table: np.ndarray) -> np.ndarray:
        """(n_items, dim) of the pictures' vectors (n_pictures, dim); a concept is the mean of its unit vectors."""
        table = np.asarray(table)
        if table.ndim != 2 or len(table) != len(self.item):
            raise PhospheneError(f"vectors must be ({len(self.item)}, dim), a row for each picture, not {table.shape}")
        if np.array_equal(self.item, np.arange(len(self.item))):
            return table
        return centres(table, self.item)


def overlap_table(protocol: Protocol, trials: Trials, *, most: int = 10) -> pd.DataFrame:
    """Everything that train, val and test of each fold share: a row for each fold, pair of parts and unit.

    Parameters
    ----------
    most : shared units named at most; the column says how many more there are.

    Returns
    -------
    Columns `fold`; `a`, `b` (parts); `unit` (of `UNITS`; "image" is the picture's path, "bytes", "pixels" and
    "near_duplicate" are the identities of `phosphene.utils.duplicates`, so that a picture under two names shows);
    `n_shared` units and `shared`, their names (of pictures: in b, and in a if it is another, as `s50=s00`);
    `a_trials`, trials of part a whose unit occurs in b, and `b_trials`, the reverse; `promised`, whether the protocol
    keeps this unit apart; `broken`, whether it was promised and is shared.
    """
    ids = {unit: _ids(trials.table, unit).to_numpy() for unit in UNITS if unit not in ("image", *KINDS)}
    same = _same(trials)
    if "image" in trials.stimuli:
        ids["image"] = trials.stimuli["image"].fillna("").astype(str)[trials.table["stimulus"]].to_numpy()
        ids |= dict.fromkeys(KINDS, ids["stimulus"])
    rows = []
    for fold in protocol.folds(trials):
        parts = {"train": fold.train, "val": fold.val, "test": fold.test}
        given = protocol.split == "given" or protocol.and_given
        given_val = given and bool((trials.table["split"][fold.val] == "val").all())
        for a, b in PARTS:
            if not (parts[a].any() and parts[b].any()):
                continue
            for unit in (u for u in UNITS if u in ids):
                own = [ids[unit][parts[part]] for part in (a, b)]
                if unit in KINDS:
                    known, back = same.of(unit, own[0]), same.of(unit, own[1])
                    among = set(own[0])
                    pairs = [(name, same.like(unit, name, among)) for name in sorted(known & set(own[1]))]
                    shared = [name if name == other else f"{name}={other}" for name, other in pairs]
                else:
                    known = back = set(own[0]) & set(own[1]) - {""}
                    shared = sorted(known)
                more = f" and {len(shared) - most} more" if len(shared) > most else ""
                promised = unit in protocol.promises(a, b, given_val)
                rows.append(
                    {
                        "fold": f"{fold.subject}-{fold.name}",
                        "a": a,
                        "b": b,
                        "unit": unit,
                        "n_shared": len(shared),
                        "shared": ", ".join(shared[:most]) + more,
                        "a_trials": int(np.isin(own[0], list(back)).sum()),
                        "b_trials": int(np.isin(own[1], list(known)).sum()),
                        "promised": promised,
                        "broken": promised and bool(shared),
                    }
                )
    return pd.DataFrame(rows)


def overlaps(trials: Trials, fold: Fold) -> dict[str, int]:
    """How many test trials share their stimulus, its picture, concept, run, ... with a training trial of the fold."""
    counts = {}
    same = _same(trials)
    for column in ("stimulus", *(KINDS if same else ()), "concept", "block", "run", "session", "subject"):
        unit = trials.table["stimulus"].astype(str) if column in KINDS else _ids(trials.table, column)
        trained = set(unit[fold.train])
        known = same.of(column, trained) if column in KINDS else trained
        counts[column] = int(unit[fold.test].isin(known).sum())
    return counts


def _same(trials: Trials) -> SamePictures:
    return same_pictures(trials.stimuli, set(trials.table["stimulus"]))


def _ids(table: pd.DataFrame, column: str) -> pd.Series:
    """Names that are unique in the study: run 01 of one session is not run 01 of another."""
    nesting = {
        "block": ["subject", "session", "run", "block"],
        "run": ["subject", "session", "run"],
        "session": ["subject", "session"],
    }
    return joined(table, *nesting.get(column, [column]))


def joined(table: pd.DataFrame, *columns: str) -> pd.Series:
    """(n_rows,) the columns' values with slashes between them."""
    first, *rest = (table[column].astype(str) for column in columns)
    return first.str.cat(rest, sep="/") if rest else first
