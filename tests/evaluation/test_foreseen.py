"""What a run's scores cannot say is told before the training."""

import numpy as np
import pandas as pd
import pytest

from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError
from phosphene.evaluation import power
from phosphene.evaluation.protocols import Fold, Protocol


def shown(n_concepts, n_test, per=2, subjects=1):
    rows = [
        {
            "subject": str(s),
            "session": "1",
            "run": "1",
            "stimulus": f"c{c}/{k}",
            "concept": f"c{c}",
            "split": "test" if c < n_test else "train",
        }
        for s in range(subjects)
        for c in range(n_concepts)
        for k in range(per)
    ]
    return pd.DataFrame(rows)


def folds(table):
    none = np.zeros(len(table), bool)
    for subject in sorted(set(table["subject"])):
        own, test = (table["subject"] == subject).to_numpy(), (table["split"] == "test").to_numpy()
        yield Fold("test", subject, own & ~test, none, own & test)


def told(table, n_perm=2000, n_tests=4, categories=False, split=None):
    return power.notes(table, list(folds(table)), categories=categories, n_perm=n_perm, n_tests=n_tests, split=split)


@pytest.mark.parametrize(
    ("n_test", "said"),
    [
        (1, "1 test concept is too few for an interval (6 are needed), and no p can be below 1: no score"),
        (2, "2 test concepts are too few for an interval (6 are needed), and no p can be below 0.5: no score"),
        (3, "3 test concepts are too few for an interval (6 are needed), and no p can be below 0.17: no score"),
        (4, "4 test concepts are too few for an interval (6 are needed); add concepts to the test set"),
        (5, "5 test concepts are too few for an interval (6 are needed); add concepts to the test set"),
    ],
)
def test_too_few_test_concepts(n_test, said):
    (note,) = told(shown(10, n_test))
    assert note.startswith(said)


def test_enough_is_no_matter():
    assert told(shown(12, 6)) == []


@pytest.mark.parametrize(("n_perm", "n_tests", "needed"), [(18, 1, 19), (20, 2, 39), (78, 4, 79), (100, 6, 119)])
def test_too_few_exchanges(n_perm, n_tests, needed):
    (note,) = told(shown(12, 6), n_perm, n_tests)
    assert note.startswith(f"evaluation.n_perm is {n_perm}: no p can be below {1 / (1 + n_perm):.2g}")
    assert note.endswith(f"set it to at least {needed}")
    assert told(shown(12, 6), needed, n_tests) == []


def test_every_subject_is_looked_at():
    table = shown(12, 6, subjects=2)
    table = table[~((table["subject"] == "1") & table["concept"].isin(["c0", "c1", "c2", "c3"]))].reset_index(drop=True)
    (note,) = told(table)
    assert note.startswith("subject 1: 2 test concepts are too few")


def test_two_categories_are_counted_in_trials():
    table = shown(2, 0, per=40)
    table["split"] = np.tile(["train", "test"], 40)
    assert told(table, categories=True) == []
    table = shown(2, 0, per=5)
    table["split"] = ["train", "test", "test", "train", "train"] * 2
    (note,) = told(table, categories=True)
    assert note == "2 test trials of 'c0' are too few for an interval (6 are needed)"
    table["run"] = [str(i % 5) for i in range(10)]  # one of each in a run
    assert told(table, categories=True)[1] == "no p can be below 0.062: too few trials to permute within their runs"


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"concept": 0.5}, []),
        ({"concept": 0.5001}, []),
        ({"concept": 0.1}, ["split asks for 10 % of the concepts, but 6 of 12 are in the test set: each category"]),
        ({"stimulus": 0.2}, ["split asks for 20 % of the stimuli, but 12 of 24 are in the test set: each concept"]),
        ({"concept": ["c0"]}, []),
        ("split", []),
    ],
)
def test_a_share_that_is_not_met(split, said):
    found = told(shown(12, 6), split=split)
    assert len(found) == len(said)
    assert all(note.startswith(start) for note, start in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("part", "protocol", "said"),
    [
        ("train", {}, "no trial is named a test trial; set dataset.split, such as {concept: 0.2}, or protocol.split"),
        ("test", {}, "no trial is named a training trial; set dataset.split"),
        ("test", {"split": "leave_one_run_out", "and_given": True}, "set protocol.and_given to false"),
    ],
)
def test_a_part_without_trials_names_the_setting(part, protocol, said):
    table = shown(4, 0).assign(split=part, run=["1", "2"] * 4)
    stimuli = table.drop_duplicates("stimulus").set_index("stimulus")[["concept"]]
    trials = Trials(np.zeros((8, 1, 4), np.float32), table, stimuli, Signal(("Cz",), 100.0, 0.0))
    with pytest.raises(PhospheneError) as error:
        list(Protocol(**protocol).folds(trials))
    assert said in str(error.value)
