"""Studies with a known answer: their order, their pictures, and what each fault changes."""

import numpy as np
import pytest

from phosphene.errors import PhospheneError
from phosphene.simulate.designs import block
from phosphene.simulate.known import DESIGNS, known_trials

SMALL = {"n_classes": 10, "per_class": 5}


@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_gives_the_same_pictures_in_its_own_order(design):
    trials = known_trials(design, seed=1, **SMALL)
    assert trials.eeg.shape == (50, 63, 60)
    assert (trials.table.groupby("concept")["split"].value_counts().unstack()["test"] == 1).all()
    runs = trials.table["concept"].to_numpy()
    changes = int((runs[1:] != runs[:-1]).sum())
    assert (changes == 9) == (DESIGNS[design].order == "block")
    again = known_trials(design, seed=1, **SMALL)
    np.testing.assert_array_equal(trials.eeg, again.eeg)


def test_a_response_is_there_only_where_it_is_said():
    def evoked(design):
        """Power of the mean response as a share of the power of a trial."""
        trials = known_trials(design, seed=2, snr_db=10.0, **SMALL)
        return np.square(trials.eeg.mean(axis=0)).mean() / np.square(trials.eeg).mean()

    assert evoked("rapid") > 0.2
    assert evoked("block") > 0.2
    for design in ("rapid-silent", "phantom", "block-silent", "spectral"):
        assert evoked(design) < 0.1


def test_block_shows_each_class_in_one_stretch():
    names = [f"{c}{i}" for c in "abcd" for i in range(3)]
    table = block(names, [n[0] for n in names], seed=0, soa=0.5, n_runs=2, pause=10.0)
    assert (table.groupby("block")["stimulus"].agg(lambda s: s.str[0].nunique()) == 1).all()
    assert table["block"].nunique() == 4
    assert (table.groupby("run")["block"].nunique() == 2).all()
    first = table[table["run"] == 1]["onset"].diff().dropna().round(6).to_list()
    assert first == [0.5, 0.5, 10.5, 0.5, 0.5]
    with pytest.raises(PhospheneError, match="n_runs is 5 for 4 blocks"):
        block(names, [n[0] for n in names], seed=0, n_runs=5)


def test_errors_name_the_fix():
    with pytest.raises(PhospheneError, match="did you mean 'rapid'"):
        known_trials("rapids")
    with pytest.raises(PhospheneError, match="change n_classes"):
        known_trials("rapid", n_classes=1)
