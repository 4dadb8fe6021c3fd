"""Settings by name, splits within a session, hashes that stay, what parts share, and galleries by their names."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import LEAKY, SETTINGS, UNITS, Protocol, overlap_table, overlaps
from phosphene.runs.recipe import Recipe
from phosphene.utils.duplicates import KINDS

#: written beside scores of the first release; a run of that time must be continued under the same name
HASHES = {
    "375fa20f": {},
    "41f23620": {"seed": 1},
    "747798fd": {"val_fraction": 0.05},
    "834a6e4f": {"subjects": "joint", "val_by": "run"},
    "065f1f71": {"split": "leave_one_session_out"},
    "017b5fdc": {"split": "leave_one_run_out", "val_fraction": 0, "select_on": "last", "average_test": 1},
    "ff8c15ff": {"split": "leave_one_subject_out", "subjects": "joint", "average_test": 1},
    "leaky-60eb6295": {"split": LEAKY, "val_by": "stimulus", "average_test": 1},
}


def two_sessions(**arguments):
    """Runs 01 and 02 in each of two sessions of each subject."""
    trials = make_trials(subjects=("01", "02"), repeats=4, n_times=4, **arguments)
    trials.table["session"] = np.where(trials.table["repeat"] < 2, "01", "02")
    return trials


# -- names and hashes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HASHES)
def test_hashes_of_old_protocols_stay(name):
    assert Protocol(**HASHES[name]).hash == name
    assert "and_given" not in Protocol(**HASHES[name]).model_dump(mode="json")


def test_a_new_field_names_another_protocol_where_it_is_used():
    plain = Protocol(split="leave_one_run_out")
    given_too = Protocol(split="leave_one_run_out", and_given=True)
    assert given_too.hash != plain.hash
    assert Protocol(**given_too.model_dump()) == given_too
    assert len({Protocol(gallery=g).hash for g in ("test", "concept", "within_concept", "train", "all")}) == 5
    for split in ("given", LEAKY):
        with pytest.raises(ValidationError, match="and_given adds the given split to one that leaves units out"):
            Protocol(split=split, and_given=True)


def test_settings_have_the_field_s_names():
    assert Protocol.named("cross-subject", seed=3) == Protocol(split="leave_one_subject_out", subjects="joint", seed=3)
    trials = two_sessions()
    folds = {name: list(Protocol.named(name).folds(trials)) for name in SETTINGS}
    assert {name: len(found) for name, found in folds.items()} == {
        "within-session": 8,
        "cross-session": 4,
        "cross-subject": 2,
        "joint": 1,
    }
    with pytest.raises(PhospheneError, match="did you mean 'cross-subject'"):
        Protocol.named("cross-subjects")


def test_the_test_part_selects_nothing_and_the_line_says_why():
    with pytest.raises(ValidationError, match="not a score on unseen trials; use val or last"):
        Protocol(select_on="test")
    with pytest.raises(PhospheneError, match=r"protocol.select_on: .*not a score on unseen trials") as caught:
        Recipe.read({"name": "a", "dataset": {}, "method": {}, "protocol": {"select_on": "test"}})
    assert "\n" not in str(caught.value)


# -- splits ----------------------------------------------------------------------------------------


def test_within_session_sees_one_session_and_tests_each_trial_once():
    trials = two_sessions()
    folds = list(Protocol(split="within_session", val_fraction=0).folds(trials))
    session = trials.table["subject"] + "/" + trials.table["session"]
    for fold in folds:
        assert fold.name == f"{session[fold.test].iloc[0]}/{trials.table['run'][fold.test].iloc[0]}"
        assert fold.subject == trials.table["subject"][fold.test].iloc[0]
        assert set(session[fold.train]) == set(session[fold.test])
        assert set(trials.table["run"][fold.train]) == {"01", "02"} - set(trials.table["run"][fold.test])
    np.testing.assert_array_equal(np.sum([f.test for f in folds], axis=0), 1)
    assert len({f.name for f in folds}) == 8
    drawn = list(Protocol(split="within_session", val_fraction=0.3).folds(trials))
    assert all(f.val.any() and set(session[f.val]) == set(session[f.test]) for f in drawn)


def test_within_session_needs_two_runs_of_every_session():
    trials = two_sessions()
    first = trials.select(~((trials.table["session"] == "02") & (trials.table["run"] == "02")).to_numpy())
    with pytest.raises(PhospheneError, match="within_session needs at least two runs of session 01/02"):
        list(Protocol(split="within_session").folds(first))
    with pytest.raises(PhospheneError, match="set protocol.subjects to 'within'"):
        list(Protocol(split="within_session", subjects="joint").folds(trials))


@pytest.mark.parametrize("split", ["within_session", "leave_one_run_out", "leave_one_session_out"])
def test_a_left_out_unit_and_the_given_split_together(split):
    trials = two_sessions()
    for fold in Protocol(split=split, and_given=True, val_fraction=0).folds(trials):
        assert set(trials.table["split"][fold.test]) == {"test"}
        assert set(trials.table["split"][fold.train]) == {"train"}
        counts = overlaps(trials, fold)
        assert counts["stimulus"] == counts["concept"] == counts["run"] == 0


def test_other_people_see_none_of_the_test_pictures_where_the_study_keeps_them_apart():
    trials = two_sessions()
    trials.table.loc[trials.table["concept"] == "c0", "split"] = "val"
    (first, second) = Protocol.named("cross-subject", and_given=True).folds(trials)
    assert (first.name, second.name) == ("01", "02")
    subject, split = trials.table["subject"], trials.table["split"]
    np.testing.assert_array_equal(first.test, (subject == "01") & (split == "test"))
    np.testing.assert_array_equal(first.train, (subject == "02") & (split == "train"))
    np.testing.assert_array_equal(first.val, (subject == "02") & (split == "val"))
    assert overlaps(trials, first)["stimulus"] == 0
    alone = next(Protocol.named("cross-subject", val_fraction=0).folds(trials))
    assert overlaps(trials, alone)["stimulus"] == alone.test.sum()  # without it, they see them all


def test_what_holds_no_test_trial_is_not_left_out():
    trials = two_sessions()
    trials.table.loc[trials.table["session"] == "01", "split"] = "train"
    trials.table.loc[trials.table["session"] == "02", "split"] = "test"
    names = [f.name for f in Protocol(split="leave_one_session_out", and_given=True).folds(trials)]
    assert names == ["01/02", "02/02"]
    trials.table["split"] = "train"
    with pytest.raises(PhospheneError, match="subject 01 has no 'test' trial: set protocol.and_given to false"):
        list(Protocol(split="leave_one_run_out", and_given=True).folds(trials))


@pytest.mark.parametrize("name", [*SETTINGS, "leave_one_run_out"])
def test_no_split_but_the_leaky_one_draws_its_test_trials(name):
    """Whatever the design of the study: random test trials must be asked for by their name."""
    trials = two_sessions()
    trials.table["block"] = trials.table["concept"]
    protocol = Protocol.named(name) if name in SETTINGS else Protocol(split=name)
    others = [protocol.model_copy(update={"seed": seed}) for seed in (1, 2)]
    for fold, *same in zip(*(list(p.folds(trials)) for p in (protocol, *others)), strict=True):
        assert all((other.test == fold.test).all() for other in same)
    drawn = [next(Protocol(split=LEAKY, seed=seed).folds(trials)).test for seed in (1, 2)]
    assert (drawn[0] != drawn[1]).any()


# -- what parts share --------------------------------------------------------------------------------


def expected(trials, fold, a, b, unit):
    nesting = {
        "session": ["subject", "session"],
        "run": ["subject", "session", "run"],
        "block": ["subject", "session", "run", "block"],
    }
    names = ["/".join(row) for row in trials.table[nesting.get(unit, [unit])].to_numpy(str)]
    own = [[n for n, here in zip(names, getattr(fold, part), strict=True) if here] for part in (a, b)]
    shared = set(own[0]) & set(own[1])
    return shared, sum(n in shared for n in own[0]), sum(n in shared for n in own[1])


@settings(max_examples=25)
@given(
    st.sampled_from([*SETTINGS, LEAKY]),
    st.sampled_from(["concept", "stimulus", "run"]),
    st.integers(0, 99),
    st.booleans(),
)
def test_the_table_counts_both_ways_and_promises_hold(name, val_by, seed, and_given):
    trials = two_sessions(n_concepts=8)
    fields = {"val_by": val_by, "seed": seed, "val_fraction": 0.3}
    if name == LEAKY:
        protocol = Protocol(split=LEAKY, **fields)
    else:
        protocol = Protocol.named(name, and_given=and_given and name != "joint", **fields)
    if name == "within-session" and val_by == "run":
        with pytest.raises(PhospheneError, match="cannot spare any for validation"):
            list(protocol.folds(trials))
        return
    table = overlap_table(protocol, trials, most=1000)
    folds = {f"{f.subject}-{f.name}": f for f in protocol.folds(trials)}
    assert len(table) == len(folds) * 3 * (len(UNITS) - 1 - len(KINDS))  # no pictures
    for row in table.itertuples():
        shared, in_a, in_b = expected(trials, folds[row.fold], row.a, row.b, row.unit)
        assert (row.n_shared, row.a_trials, row.b_trials) == (len(shared), in_a, in_b)
        assert row.shared == ", ".join(sorted(shared))
    assert not table["broken"].any()
    apart = table[(table["a"] == "train") & (table["b"] == "test") & table["promised"]]
    assert (
        set(apart["unit"])
        == {
            "within-session": {"run", "block"},
            "cross-session": {"run", "block", "session"},
            "cross-subject": {"run", "block", "session", "subject"},
            "joint": set(),
            LEAKY: set(),
        }[name]
    )
    val = table[(table["a"] == "train") & (table["b"] == "val") & table["promised"]]
    assert val_by in set(val["unit"])


def test_shared_units_are_named_and_their_list_is_bounded():
    trials = make_trials(subjects=("01", "02"), n_times=4)
    table = overlap_table(Protocol(split=LEAKY, subjects="joint"), trials, most=3)
    row = table[(table["unit"] == "stimulus") & (table["b"] == "test") & (table["a"] == "train")].iloc[0]
    assert row["shared"].count(", ") == 2
    assert row["shared"].endswith(f" and {row['n_shared'] - 3} more")
    session = table[(table["unit"] == "session") & (table["b"] == "test")]
    assert set(session["shared"]) == {"01/01, 02/01"}


def test_parts_that_are_empty_are_not_compared():
    table = overlap_table(Protocol(select_on="last"), make_trials())
    assert set(zip(table["a"], table["b"], strict=True)) == {("train", "test")}
    assert not table["promised"].any()  # the study says what is apart


def test_a_broken_promise_shows():
    """A picture labelled with two concepts is drawn into validation and stays in training."""
    trials = make_trials(n_times=4)
    odd = (trials.table["stimulus"] == "s10") & (trials.table["repeat"] == 0)
    trials.table.loc[odd, "concept"] = "c0"
    drawn = [Protocol(seed=s, val_fraction=0.5) for s in range(20)]
    tables = [overlap_table(p, trials) for p in drawn]
    broken = pd.concat(t[t["broken"]] for t in tables)
    assert len(broken) > 0
    assert set(broken["unit"]) == {"stimulus"}
    assert set(broken["shared"]) == {"s10"}


def test_one_file_under_two_names_shows():
    trials = make_trials(n_times=4)
    trials.stimuli["image"] = [f"{name}.png" for name in trials.stimuli.index]
    trials.stimuli.loc["s50", "image"] = "s00.png"  # a test picture that is a training picture
    table = overlap_table(Protocol(val_fraction=0), trials).set_index("unit")
    assert table.loc["stimulus", "n_shared"] == 0
    assert table.loc["image", ["n_shared", "shared", "a_trials", "b_trials"]].tolist() == [1, "s00.png", 3, 3]
    trials.stimuli["image"] = ""
    assert overlap_table(Protocol(val_fraction=0), trials).set_index("unit").loc["image", "n_shared"] == 0


def test_a_given_validation_part_is_the_study_s_own_matter():
    trials = make_trials(n_times=4)
    trials.table.loc[trials.table["stimulus"] == "s01", "split"] = "val"
    table = overlap_table(Protocol(), trials)
    row = table[(table["a"] == "train") & (table["b"] == "val") & (table["unit"] == "concept")].iloc[0]
    assert (row["shared"], row["promised"], row["broken"]) == ("c0", False, False)


# -- galleries ---------------------------------------------------------------------------------------


@pytest.fixture
def case():
    trials = make_trials(n_times=4)
    (fold,) = Protocol(val_fraction=0).folds(trials)
    return trials, fold, ["s50", "s41", "s50"]


def test_a_gallery_of_test_answers_says_so(case):
    trials, fold, seen = case
    names = {
        g: Protocol(gallery=g, val_fraction=0).among(trials, fold, seen).name
        for g in ("test", "concept", "within_concept", "train", "all")
    }
    assert names == {
        "test": "test_answers",
        "concept": "concepts_of_test_answers",
        "within_concept": "test_answers_of_the_concept",
        "train": "train",
        "all": "all_with_test_answers",
    }
    leaky = Protocol(split=LEAKY, gallery="train", val_fraction=0)
    fold = next(leaky.folds(trials))
    assert leaky.among(trials, fold, seen).name == "train_with_test_answers"


def test_the_test_gallery_is_that_of_the_test_trials(case):
    trials, fold, seen = case
    found = Protocol().among(trials, fold, seen)
    assert found.stimuli.index.tolist() == ["s40", "s41", "s50", "s51"]
    assert found.truth.tolist() == [2, 1, 2]
    assert found.candidates is None
    table = np.random.default_rng(0).standard_normal((4, 3))
    np.testing.assert_array_equal(found.vectors(table), table)


def test_the_training_gallery_holds_no_answer_and_all_holds_every_picture(case):
    trials, fold, seen = case
    train = Protocol(gallery="train").among(trials, fold, seen)
    assert set(train.stimuli["concept"]) == {"c0", "c1", "c2", "c3"}
    assert (train.truth == -1).all()
    every = Protocol(gallery="all").among(trials, fold, seen)
    assert len(every.stimuli) == 12
    assert every.stimuli.index[every.truth].tolist() == seen


def test_a_concept_is_one_centre_of_unit_vectors(case):
    trials, fold, seen = case
    trials.stimuli["concept"] = trials.stimuli["concept"].replace({"c4": "z4"})  # concepts sort otherwise than pictures
    found = Protocol(gallery="concept").among(trials, fold, seen)
    assert found.item.tolist() == [1, 1, 0, 0]
    assert found.truth.tolist() == [0, 1, 0]
    centres = found.vectors(np.array([[2.0, 0], [0, 5.0], [0, 3.0], [0, 1.0]]))
    np.testing.assert_allclose(centres, [[0, 1], [0.5, 0.5]])
    alone = found._replace(item=np.array([1, 0, 3, 2]))  # as many concepts as pictures, in another order
    np.testing.assert_allclose(alone.vectors(np.eye(4)), np.eye(4)[[1, 0, 3, 2]])
    with pytest.raises(PhospheneError, match=r"vectors must be \(4, dim\), a row for each picture"):
        found.vectors(np.eye(3))


def test_within_a_concept_only_its_pictures_are_candidates(case):
    trials, fold, seen = case
    found = Protocol(gallery="within_concept").among(trials, fold, seen)
    assert found.candidates.tolist() == [
        [False, False, True, True],
        [True, True, False, False],
        [False, False, True, True],
    ]
    assert found.candidates[np.arange(3), found.truth].all()


def test_a_stranger_has_no_gallery(case):
    trials, fold, _ = case
    with pytest.raises(PhospheneError, match="stimulus 'x' is not among the stimuli of these trials"):
        Protocol().among(trials, fold, ["s40", "x"])
    trials.stimuli = trials.stimuli.drop(columns="concept")
    assert Protocol(gallery="concept").among(trials, fold, ["s50"]).truth.tolist() == [1]
