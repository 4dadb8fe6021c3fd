import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import Protocol, overlaps


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["given", "leave_one_run_out", "leave_one_subject_out"]),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.integers(0, 1000),
    st.integers(2, 4),
)
def test_no_trial_is_in_two_parts(split, fraction, seed, n_runs):
    trials = make_trials(subjects=("01", "02"), n_runs=n_runs, repeats=4, n_times=4)
    joint = "joint" if split == "leave_one_subject_out" else "within"
    protocol = Protocol(split=split, subjects=joint, val_fraction=fraction, seed=seed)
    folds = list(protocol.folds(trials))
    tested = np.zeros(len(trials), int)
    for fold in folds:
        assert (fold.train.astype(int) + fold.val + fold.test).max() == 1
        assert fold.train.any()
        assert fold.test.any()
        if fraction:
            assert not set(trials.table["concept"][fold.val]) & set(trials.table["concept"][fold.train])
        tested += fold.test
    assert tested.max() == 1
    if split != "given":
        assert tested.min() == 1


def test_given_split_keeps_test_concepts_out_of_training():
    trials = make_trials()
    (fold,) = Protocol().folds(trials)
    assert set(trials.table["split"][fold.test]) == {"test"}
    assert set(trials.table["split"][fold.train | fold.val]) == {"train"}
    counts = overlaps(trials, fold)
    assert counts["concept"] == counts["stimulus"] == 0
    assert counts["run"] == fold.test.sum()


def test_within_subject_folds_see_one_subject():
    trials = make_trials(subjects=("01", "02"))
    for fold in Protocol().folds(trials):
        assert set(trials.table["subject"][fold.train | fold.val | fold.test]) == {fold.subject}
    assert len(list(Protocol(subjects="joint").folds(trials))) == 1


def test_runs_of_the_same_number_in_two_sessions_are_two_runs():
    trials = make_trials()
    trials.table.loc[trials.table["repeat"] == 2, "session"] = "02"
    assert len(list(Protocol(split="leave_one_run_out", val_fraction=0).folds(trials))) == 3


def test_hash_names_exactly_this_protocol():
    assert Protocol().hash == Protocol().hash != Protocol(seed=1).hash
    assert Protocol(average_test=1).hash != Protocol().hash


def test_test_data_cannot_select():
    with pytest.raises(ValidationError):
        Protocol(select_on="test")
    with pytest.raises(ValidationError, match="frozen"):
        Protocol().seed = 3


def test_impossible_splits_name_the_fix():
    trials = make_trials(n_runs=1)
    with pytest.raises(PhospheneError, match="needs at least two runs"):
        list(Protocol(split="leave_one_run_out").folds(trials))
    with pytest.raises(PhospheneError, match="set protocol.subjects to 'joint'"):
        list(Protocol(split="leave_one_subject_out").folds(trials))
    with pytest.raises(PhospheneError, match="has no trial to train or test on"):
        list(Protocol().folds(trials.select(split="test")))
    with pytest.raises(PhospheneError, match="set protocol.val_fraction to 0"):
        list(Protocol().folds(trials.select(concept=["c0", "c5"])))


def test_averaging_follows_the_protocol():
    trials = make_trials()
    assert len(Protocol(average_test=0).samples(trials, "test")) == 12
    assert Protocol(average_test=1).samples(trials, "test") is trials
    assert len(Protocol(average_train=2).samples(trials, "train")) == 24
