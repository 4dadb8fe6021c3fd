"""The auditor audited: sound studies pass, and each planted fault fails at the gate that is meant for it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from phosphene.evaluation.audit import Auditor, Wanted
from phosphene.evaluation.protocols import Protocol
from phosphene.simulate.known import DESIGNS, known_trials

PROTOCOL = Protocol(val_fraction=0, select_on="last")


def asked(design: str, seed: int = 1, **changes):
    trials = known_trials(design, seed=seed)
    if changes:
        trials = replace(trials, **changes)
    category = trials.stimuli["category"].reindex(trials.table["stimulus"]).to_numpy(str)
    fold = next(PROTOCOL.folds(trials))
    auditor = Auditor(trials, fold, design=DESIGNS[design].order, category=category, n_perm=150, seed=seed)
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
    [("block", {"C2", "C3", "C7"}), ("block-silent", {"C1", "C2", "C3", "C7"}), ("phantom", {"C1", "C2", "C3", "C7"}),
     ("spectral", {"C2", "C5"}), ("offset", {"C2"})],
)  # fmt: skip
def test_each_fault_fails_at_its_gates(design, gates):
    assert gates <= failed(asked(design))


def test_unknown_onsets_and_late_trials_are_left_out_by_name():
    trials = known_trials("rapid", seed=1)
    found = asked("rapid", table=trials.table.assign(onset=np.nan))
    assert [c.verdict for c in found if c.name == "C3"] == ["left out"]
    late = trials.crop(0.1, None)
    fold = next(PROTOCOL.folds(late))
    found = {c.name: c for c in Auditor(late, fold, n_perm=20).controls()}
    assert found["C2"].verdict == found["C1"].verdict == "left out"
    assert "prepare them" in found["C2"].reason


def test_pictures_of_unseen_concepts_are_sought_by_their_vectors():
    trials = known_trials("rapid", seed=2)
    names = sorted(trials.stimuli["concept"].unique())
    new = trials.table["concept"].isin(names[:8])
    trials = replace(trials, table=trials.table.assign(split=np.where(new, "test", "train")))
    fold = next(PROTOCOL.folds(trials))
    rng = np.random.default_rng(0)
    vectors = pd.DataFrame(rng.normal(size=(len(trials.stimuli), 6)), index=trials.stimuli.index)
    wanted = Wanted.pictures(trials, vectors, fold.test)
    assert len(wanted.gallery) == new.sum()
    found = next(Auditor(trials, fold, wanted, n_perm=50).controls())
    assert found.n == new.sum()
    assert 0.4 < found.value < 0.6  # vectors of noise mean nothing


def test_a_picture_in_both_parts_fails():
    trials = known_trials("rapid", seed=1)
    table = trials.table.copy()
    twice = table.index[table["split"] == "test"][0]
    table.loc[twice, "stimulus"] = table.loc[table["split"] == "train", "stimulus"].iloc[0]
    fold = next(PROTOCOL.folds(replace(trials, table=table)))
    found = Auditor(replace(trials, table=table), fold, n_perm=20).controls()
    assert "C7" in failed(found)
