"""The auditor audited: sound studies pass, and each planted fault fails at the gate that is meant for it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from phosphene.audit.decoding import Auditor
from phosphene.evaluation.protocols import Protocol
from phosphene.simulate.known import DESIGNS, FEW_DESIGNS, few_trials, known_trials

PROTOCOL = Protocol(val_fraction=0, select_on="last")


def asked(design: str, seed: int = 1, **changes):
    trials = known_trials(design, seed=seed)
    if changes:
        trials = replace(trials, **changes)
    category = trials.stimuli["category"].reindex(trials.table["stimulus"]).to_numpy(str)
    folds = list(PROTOCOL.folds(trials))
    auditor = Auditor(trials, folds, design=DESIGNS[design].order, category=category, n_perm=150, seed=seed)
    return list(auditor.controls())


def failed(found) -> set[str]:
    return {c.name for c in found if c.verdict == "fail"}


def test_a_sound_study_with_signal_passes():
    found = asked("rapid")
    assert found[0].name == "decoding"
    assert found[0].p < 0.01
    assert failed(found) == set()


def test_a_sound_study_without_signal_passes_and_shows_nothing():
    found = asked("rapid-silent")
    assert found[0].p > 0.05
    assert failed(found) == set()


@pytest.mark.parametrize(
    ("design", "gates"),
    [
        ("block", {"C2", "C3", "C7"}),
        ("block-silent", {"C1", "C2", "C3", "C7"}),
        ("phantom", {"C1", "C2", "C3", "C7"}),
        ("spectral", {"C2", "C5"}),
        ("offset", {"C2"}),
    ],
)
def test_each_fault_fails_at_its_gates(design, gates):
    assert gates <= failed(asked(design))


def test_unknown_onsets_and_late_trials_are_left_out_by_name():
    trials = known_trials("rapid", seed=1)
    found = asked("rapid", table=trials.table.assign(onset=np.nan))
    assert [c.verdict for c in found if c.name == "C3"] == ["left out"] * 4
    late = trials.crop(0.1, None)
    found = {c.name: c for c in Auditor(late, list(PROTOCOL.folds(late)), n_perm=20).controls()}
    assert found["C2"].verdict == found["C1"].verdict == "left out"
    assert "prepare them" in found["C2"].reason


def test_pictures_of_unseen_concepts_are_sought_by_their_vectors():
    trials = known_trials("rapid", seed=2)
    names = sorted(trials.stimuli["concept"].unique())
    new = trials.table["concept"].isin(names[:8])
    trials = replace(trials, table=trials.table.assign(split=np.where(new, "test", "train")))
    folds = list(PROTOCOL.folds(trials))
    rng = np.random.default_rng(0)
    vectors = pd.DataFrame(rng.normal(size=(len(trials.stimuli), 6)), index=trials.stimuli.index)
    found = {c.name: c for c in Auditor(trials, folds, vectors, n_perm=50).controls()}
    assert found["decoding"].n == new.sum()
    assert 0.4 < found["decoding"].value < 0.6  # vectors of noise mean nothing
    assert 0.35 < found["C4"].value < 0.65
    unknown = {c.name: c for c in Auditor(trials, folds, n_perm=20).controls()}
    assert unknown["decoding"].verdict == unknown["C4"].verdict == "left out"


def test_a_picture_in_both_parts_fails():
    trials = known_trials("rapid", seed=1)
    table = trials.table.copy()
    twice = table.index[table["split"] == "test"][0]
    table.loc[twice, "stimulus"] = table.loc[table["split"] == "train", "stimulus"].iloc[0]
    again = replace(trials, table=table)
    found = Auditor(again, list(PROTOCOL.folds(again)), n_perm=20).controls()
    assert "C7" in failed(found)


def joined(*studies):
    """Several subjects of one study."""
    table = pd.concat([t.table for t in studies], ignore_index=True)
    return replace(studies[0], eeg=np.concatenate([t.eeg for t in studies]), table=table)


def test_other_subjects_are_read_where_the_code_is_shared_and_folds_are_answered_once():
    trials = joined(*(known_trials("rapid", seed=seed) for seed in (1, 2, 3)))
    found = list(Auditor(trials, list(PROTOCOL.folds(trials)), n_perm=100).controls())
    c6 = [c for c in found if c.name == "C6"]
    assert [c.fold for c in c6] == ["all", "01-test", "02-test", "03-test"]
    assert c6[0].p < 0.02
    assert failed(found) == set()
    silent = joined(*(known_trials("rapid-silent", seed=seed) for seed in (1, 2, 3)))
    found = list(Auditor(silent, list(PROTOCOL.folds(silent)), n_perm=100).controls())
    assert next(c for c in found if c.name == "C6").p > 0.02
    assert {c.fold for c in found if c.verdict in ("pass", "fail")} == {"all"}


def test_what_lies_near_in_time_is_confused_in_blocks_and_not_in_a_random_order():
    for design, expected in (("block-silent", True), ("rapid", False)):
        found = [c for c in asked(design) if c.name == "C3"]
        near = next(c for c in found if "confused" in c.question)
        distance = next(c for c in found if "better near" in c.question)
        assert (near.p < 0.01) == expected, design
        assert [n for *_, n in distance.curve] == [distance.n // 5] * 5


def test_identification_that_fades_within_a_block_is_seen():
    trials = known_trials("block-silent", seed=2)
    place = trials.table.groupby("block")["onset"].rank(method="first").to_numpy()
    _, concept = np.unique(trials.table["concept"], return_inverse=True)
    patterns = np.random.default_rng(4).normal(size=(40, trials.n_chans, 1))
    eeg = np.random.default_rng(5).normal(size=trials.eeg.shape)
    eeg += 1.5 * patterns[concept] * (place < 11)[:, None, None]  # gone in the last third of each block
    folds = list(PROTOCOL.folds(trials))
    found = Auditor(replace(trials, eeg=eeg.astype(np.float32)), folds, design="block", n_perm=100).controls()
    distance = next(c for c in found if "better near" in c.question)
    assert distance.p < 0.02
    assert distance.curve[0][1] > 0.95
    assert distance.curve[-1][1] < 0.65


def test_a_picture_is_told_from_its_class_only_where_more_than_the_class_is_there():
    trials = known_trials("rapid-silent", seed=1)
    rng = np.random.default_rng(3)
    vectors = pd.DataFrame(rng.normal(size=(len(trials.stimuli), 12)), index=trials.stimuli.index)
    centres = vectors.groupby(trials.stimuli["concept"]).transform("mean")
    folds = list(PROTOCOL.folds(trials))
    of = trials.table["stimulus"]
    for shown, expected in ((vectors, True), (centres, False)):
        late = trials.times > 0.1
        eeg = np.array(trials.eeg)
        eeg[:, :12, late] += 2 * eeg.std() * shown.loc[of].to_numpy(np.float32)[:, :, None]
        planted = replace(trials, eeg=eeg)
        found = next(c for c in Auditor(planted, folds, vectors, n_perm=100).controls() if c.name == "C4")
        assert (found.p < 0.02) == expected, found


# -- few pictures ----------------------------------------------------------------------------------


def few(design: str, n_pictures: int, seed: int = 1, **changes):
    trials = few_trials(design, seed=seed, n_pictures=n_pictures)
    if changes:
        trials = replace(trials, **changes)
    split = "given" if design in ("block-silent", "shared") else "leave_one_run_out"
    folds = list(Protocol(split=split, average_test=1, val_fraction=0, select_on="last").folds(trials))
    made = FEW_DESIGNS[design]
    auditor = Auditor(trials, folds, design="block" if made.order == "block" else "rapid", n_perm=130, seed=seed)
    return [c for c in auditor.controls() if c.fold == "all"]


@pytest.mark.parametrize("n_pictures", [2, 3])
@pytest.mark.parametrize(("design", "decoded"), [("rapid", "yes"), ("rapid-silent", "no")])
def test_sound_studies_of_few_pictures_pass_and_say_what_is_decoded(design, decoded, n_pictures):
    found = few(design, n_pictures)
    assert failed(found) == set()
    assert found[0].reason == decoded


@pytest.mark.parametrize("n_pictures", [2, 3])
@pytest.mark.parametrize(
    ("design", "gates"),
    [
        ("block-silent", {"C2", "C3", "C7"}),
        ("spectral", {"C2"}),
        ("offset", {"C2"}),
        ("early", {"C2"}),
        ("order", {"C3"}),
        ("cycle", {"C3"}),
        ("shared", {"C7"}),
    ],
)
def test_faults_are_caught_in_studies_of_few_pictures(design, gates, n_pictures):
    assert gates <= failed(few(design, n_pictures))


def test_two_blocks_a_run_have_no_power_and_neither_pass_nor_fail():
    trials = few_trials("block-apart", seed=1, n_pictures=2, n_runs=2)
    place = trials.table.groupby("run").cumcount() // 32
    names = sorted(trials.stimuli.index)
    shown = np.where(place == 0, names[0], names[1])
    table = trials.table.assign(stimulus=shown, concept=trials.stimuli["concept"].reindex(shown).to_numpy())
    table["block"] = table["run"] + "-" + place.astype(str)
    found = few("block-apart", 2, eeg=trials.eeg, table=table)
    for name in ("decoding", "C2"):
        asked_ = next(c for c in found if c.name == name)
        assert asked_.verdict == "left out"
        assert "no power (smallest possible p = 0.5)" in asked_.reason
    assert failed(found) == set()
