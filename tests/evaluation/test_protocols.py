import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import Protocol, overlaps


@settings(max_examples=40)
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


def test_a_given_val_part_selects_and_is_never_trained_on():
    trials = make_trials()
    held = trials.table["concept"] == "c1"
    trials.table.loc[held, "split"] = "val"
    for protocol in (Protocol(), Protocol(val_fraction=0), Protocol(select_on="last"), Protocol(val_by="run")):
        (fold,) = protocol.folds(trials)
        assert set(trials.table["split"][fold.train]) == {"train"}
        np.testing.assert_array_equal(fold.val, held)
        assert set(trials.table["split"][fold.test]) == {"test"}
    # a subject without one has its validation part drawn
    both = make_trials(subjects=("01", "02"))
    here = (both.table["subject"] == "02") & (both.table["concept"] == "c1")
    both.table.loc[here, "split"] = "val"
    first, second = Protocol().folds(both)
    assert set(both.table["split"][first.val]) == {"train"}
    np.testing.assert_array_equal(second.val, here)
    with pytest.raises(PhospheneError, match="no trial to train or test on"):
        list(Protocol().folds(trials.select(split=["val", "test"])))
    trials.table.loc[held, "split"] = "dev"
    with pytest.raises(PhospheneError, match="split 'dev' in the trial table: use train, val and test"):
        list(Protocol().folds(trials))


def test_a_leave_one_out_split_does_not_look_at_the_given_one():
    trials = make_trials()
    trials.table["split"] = "val"
    for fold in Protocol(split="leave_one_run_out").folds(trials):
        assert (fold.train | fold.val | fold.test).all()


@pytest.mark.parametrize("subjects", ["within", "joint"])
def test_trials_are_drawn_at_random_only_by_a_name_that_says_so(subjects):
    trials = make_trials(subjects=("01", "02"), repeats=4)
    for asked in ("random", "random_trials", "trials"):
        with pytest.raises(ValidationError, match="leaky_random_trials"):  # among the valid ones
            Protocol(split=asked)
    protocol = Protocol(split="leaky_random_trials", subjects=subjects, val_fraction=0, test_fraction=0.25)
    folds = list(protocol.folds(trials))
    assert len(folds) == (2 if subjects == "within" else 1)
    for fold in folds:
        assert fold.name == "leaky_random_trials"
        assert fold.test.sum() == 0.25 * (fold.train | fold.test).sum()
        assert len(set(trials.table["concept"][fold.test])) > 2  # whatever the split column says
    again = list(protocol.folds(trials))
    np.testing.assert_array_equal(folds[0].test, again[0].test)
    other = next(protocol.model_copy(update={"seed": 1}).folds(trials))
    assert (other.test != folds[0].test).any()
    assert protocol.hash.startswith("leaky-")


def test_the_leaky_share_is_refused_elsewhere_and_changes_no_other_protocol():
    with pytest.raises(ValidationError, match="set split to leaky_random_trials to mean that"):
        Protocol(test_fraction=0.2)
    assert Protocol(split="leaky_random_trials").test_fraction == 0.2
    assert "test_fraction" not in Protocol().model_dump()
    assert Protocol().hash == "375fa20f"  # as before the leaky split existed: runs of that time can be continued
    leaky = Protocol(split="leaky_random_trials", test_fraction=0.3)
    assert Protocol(**leaky.model_dump()) == leaky
    assert leaky.hash != Protocol(split="leaky_random_trials").hash
    tiny = make_trials().select(np.arange(3))
    with pytest.raises(PhospheneError, match="no trial to train or test on"):
        list(Protocol(split="leaky_random_trials", test_fraction=0.01).folds(tiny))


def test_blocks_that_training_and_test_share_are_counted():
    trials = make_trials(subjects=("01", "02"), repeats=4)
    trials.table["block"] = trials.table["subject"] + "-" + trials.table["concept"]  # a block for each class
    trials.table["split"] = np.where(trials.table["stimulus"].str.endswith("0"), "train", "test")
    trials.table.loc[trials.table["concept"] == "c0", "split"] = "train"
    first, _ = Protocol(val_fraction=0).folds(trials)
    counts = overlaps(trials, first)  # by picture: no picture is shared, every block is
    assert counts["stimulus"] == 0
    assert counts["block"] == first.test.sum() == 5 * 4
    away, _ = Protocol(split="leave_one_subject_out", subjects="joint", val_fraction=0).folds(trials)
    assert overlaps(trials, away)["block"] == 0
    leaky, _ = Protocol(split="leaky_random_trials", val_fraction=0).folds(trials)
    counts = overlaps(trials, leaky)
    assert counts["block"] == leaky.test.sum()
    assert counts["stimulus"] > 0


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
