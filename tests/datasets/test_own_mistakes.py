"""Mistakes that people make with their own data: each is told, none is silently taken."""

import unicodedata
from dataclasses import replace

import mne
import numpy as np
import pytest
from PIL import Image

import phosphene
from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.report import write_report
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe

NAMES = ["cup", "dog", "hat", "Bär"]
STEPS = {"tmin": -0.1, "tmax": 0.4, "l_freq": 1.0, "h_freq": 30.0, "sfreq": None}


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in NAMES:
        Image.new("RGB", (8, 8), "red").save(folder / f"{unicodedata.normalize('NFD', name)}.png")
    (folder / "._cup.png").write_bytes(b"x")
    return folder


def recording(ch_names=("Fz", "Cz", "Pz", "Oz"), scale=1e-5, seed=0):
    info = mne.create_info(list(ch_names), 100.0, "eeg")
    raw = mne.io.RawArray(scale * np.random.default_rng(seed).normal(size=(len(ch_names), 3000)), info, verbose="error")
    raw.set_annotations(mne.Annotations(1 + np.arange(20), 0.0, [NAMES[i % 4] for i in range(20)]))
    return raw


def load(raw, pictures, **arguments):
    return phosphene.from_mne(raw, pictures, **{**STEPS, **arguments})


def test_names_are_found_however_a_system_writes_them(pictures):
    assert set(load(recording(), pictures).table["stimulus"]) == set(NAMES)


@pytest.mark.parametrize("where", ["alone", "among others"])
def test_microvolts_taken_for_volts_are_told(pictures, where):
    wrong = recording(scale=10.0)
    raws = [wrong] if where == "alone" else [recording(), wrong]
    with pytest.raises(PhospheneError, match="which is implausible for EEG: they look like uV"):
        load(raws, pictures)
    epochs = mne.Epochs(wrong, tmin=-0.1, tmax=0.4, baseline=None, preload=True, verbose="error")
    with pytest.raises(PhospheneError, match="which is implausible for EEG"):
        phosphene.from_mne(epochs, pictures)


def test_a_marker_channel_is_no_eeg(pictures):
    raw = recording(ch_names=("Fz", "Cz", "Oz", "STI 014"))
    with pytest.raises(PhospheneError, match="'STI 014' holds markers"):
        load(raw, pictures)
    assert load(raw, pictures, picks=["Oz", "Cz"]).signal.ch_names == ("Oz", "Cz")
    assert load(raw.set_channel_types({"STI 014": "stim"}, verbose="error"), pictures).n_chans == 3


def test_bad_channels_are_named(pictures):
    raw = recording()
    raw.info["bads"] = ["Pz"]
    assert any(
        "channels marked bad: Pz; kept (bads can interpolate them)" in note for note in load(raw, pictures).notes
    )


def test_the_average_reference_is_of_all_electrodes_not_of_the_picked(pictures):
    raw = recording()
    whole = load(raw, pictures, reference="average")
    np.testing.assert_allclose(
        load(raw, pictures, reference="average", picks=["Oz"]).eeg, whole.pick(["Oz"]).eeg, atol=1e-10
    )
    one = load(raw, pictures, reference="Cz", picks=["Oz"])
    plain = load(raw, pictures)
    np.testing.assert_allclose(one.eeg[:, 0], plain.eeg[:, 3] - plain.eeg[:, 1], atol=1e-10)
    epochs = mne.Epochs(raw, tmin=-0.1, tmax=0.4, baseline=None, preload=True, verbose="error")
    stored = phosphene.from_mne(epochs, pictures)
    picked = phosphene.from_mne(epochs, pictures, reference="average", picks=["Oz"])
    np.testing.assert_allclose(picked.eeg[:, 0], stored.eeg[:, 3] - stored.eeg.mean(axis=1), atol=1e-10)


def test_sessions_may_be_named_one_by_one(pictures):
    trials = load([recording(), recording(seed=1)], pictures, session=["a", "b"])
    assert trials.table.groupby("session").size().to_dict() == {"a": 20, "b": 20}
    with pytest.raises(PhospheneError, match="1 recordings and 2 sessions"):
        load(recording(), pictures, session=["a", "b"])


def test_a_split_that_matches_nothing_is_told(pictures):
    with pytest.raises(PhospheneError, match="split: no session is '2': valid: 01"):
        load(recording(), pictures, split={"session": "2"})


# -- run folders ---------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """Two concepts, four of six runs for training."""
    trials = make_trials(n_concepts=2)
    rng = np.random.default_rng(0)
    table = trials.table.assign(run=[f"{i % 6}" for i in range(len(trials))])
    trials = replace(trials, table=table.assign(split=np.where(table["run"].isin(["4", "5"]), "test", "train")))
    trials.eeg[:] = 1e-5 * rng.normal(size=trials.eeg.shape)
    return trials.save(tmp_path / "study")


def recipe(root, **changes):
    values = {
        "name": "own",
        "dataset": {"name": "arrays", "root": str(root)},
        "preprocessing": {},
        "method": {"name": "lda"},
        "protocol": {"select_on": "last", "average_test": 1, "split": "given"},
        "evaluation": {"n_boot": 20, "n_perm": 10, "shuffled_control": False},
    }
    return Recipe.read(values, changes)


def test_two_concepts_with_a_given_split_are_scored(saved, tmp_path):
    from phosphene.runs.scoring import score

    experiment = Experiment(recipe(saved), tmp_path / "run")
    experiment.run()
    table = score(experiment).set_index("metric")
    tested = (experiment.trials.table["split"] == "test").sum()
    assert (table["n"] == tested).all()
    assert 0 <= table.loc["auc", "value"] <= 1
    assert write_report(experiment.out).is_file()


def test_what_lda_cannot_do_is_told_before_anything_runs(saved):
    with pytest.raises(PhospheneError, match=r"set protocol.average_test to 1 and protocol.select_on to last$"):
        recipe(saved, **{"protocol.average_test": 0, "protocol.select_on": "val"})


def test_a_window_in_milliseconds_is_told(saved, tmp_path):
    with pytest.raises(PhospheneError, match="window edge 600 s lies outside the trials"):
        Experiment(recipe(saved, window=[0, 600]), tmp_path / "run").run()


def test_a_run_does_not_go_on_with_other_data(saved, tmp_path):
    Experiment(recipe(saved), tmp_path / "run").run()
    Experiment(recipe(saved), tmp_path / "run").run()
    eeg = np.load(saved / "eeg.npy")
    np.save(saved / "eeg.npy", eeg[::-1])
    with pytest.raises(PhospheneError, match="have changed since .* was prepared"):
        Experiment(recipe(saved), tmp_path / "run").run()
    assert len(Experiment.open(tmp_path / "run").trials)  # what is there can still be read
