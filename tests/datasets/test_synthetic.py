"""A simulated study becomes `Trials`, from FIF and from BIDS alike; what is broken is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phosphene.datasets.synthetic import Synthetic
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.errors import PhospheneError
from phosphene.registry import build
from phosphene.simulate.brain import CHANNELS
from phosphene.simulate.study import simulate

STUDY = {
    "n_subjects": 2,
    "n_train_pictures": 30,
    "n_test_pictures": 8,
    "train_repeats": 1,
    "test_repeats": 3,
    "seed": 1,
}
PREPARE = Preprocessing(l_freq=0.5, h_freq=40.0, reference="average", tmin=-0.1, tmax=0.6, sfreq=125.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("synthetic") / "study", snr_db=20.0, **STUDY)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "copy"))


def test_trials_have_their_shape_times_and_pictures(root: Path):
    dataset = build("dataset", "synthetic", root=root)
    assert isinstance(dataset, Synthetic)
    assert dataset.simulated
    assert dataset.subjects() == ["01", "02"]
    heard: list[str] = []
    trials = dataset.load(PREPARE, heard.append)
    assert heard == ["sub-01/ses-01/run-01", "sub-02/ses-01/run-01"]
    assert len(heard) == dataset.n_recordings()
    assert trials.eeg.shape == (2 * (30 + 24), 63, 87)
    assert trials.signal.ch_names == CHANNELS
    assert trials.times[0] == pytest.approx(-0.096, abs=0.005)
    assert trials.signal.positions is not None
    assert trials.table["split"].value_counts().to_dict() == {"train": 60, "test": 48}
    assert set(trials.table["subject"]) == {"01", "02"}
    assert set(trials.table["repeat"]) == {1, 2, 3}
    assert trials.stimuli["SpatialLink"].str.contains("on the|in the").all()
    assert all(Path(image).is_file() for image in trials.stimuli["image"])
    assert any("simulated" in note for note in trials.notes)
    assert 1e-6 < trials.eeg.std() < 1e-3  # volts


def test_a_study_in_blocks_says_so(root: Path, tmp_path: Path):
    assert Synthetic(root).design == "rapid"
    numbers = {"n_train_pictures": 40, "n_test_pictures": 20, "train_repeats": 1, "test_repeats": 1, "size": 16}
    study = Synthetic(simulate(tmp_path / "study", design="drift", **numbers))
    assert study.design == "block"
    assert Synthetic.design == "rapid"
    trials = study.load(PREPARE)
    assert trials.table.groupby("concept")[["run", "block"]].nunique().eq(1).all(axis=None)
    assert set(trials.stimuli["category"]) == {"living", "not living"}


def test_repeats_of_a_picture_agree(root: Path):
    """At 20 dB two showings of one picture are more alike than two pictures: trials and their names belong together."""
    test = Synthetic(root, "01").load(PREPARE).select(split="test")
    x = test.crop(0.05, 0.4).eeg.reshape(len(test), -1)
    alike = np.corrcoef(x - x.mean(axis=0))
    names = test.table["stimulus"].to_numpy()
    same = (names[:, None] == names) & ~np.eye(len(names), dtype=bool)
    assert alike[same].mean() > alike[names[:, None] != names].mean() + 0.3


def test_one_subject_can_be_chosen(root: Path):
    assert set(Synthetic(root, "02").load(PREPARE).table["subject"]) == {"02"}
    with pytest.raises(PhospheneError, match="subject '03'"):
        Synthetic(root, "03").load(PREPARE)


def test_bids_gives_the_same_trials(root: Path, tmp_path: Path):
    pytest.importorskip("mne_bids")
    pytest.importorskip("pybv")
    bids = simulate(tmp_path / "bids", snr_db=20.0, fmt="brainvision", **STUDY)
    one, two = (Synthetic(folder).load(PREPARE) for folder in (root, bids))
    pd.testing.assert_frame_equal(one.table, two.table)
    pd.testing.assert_frame_equal(one.stimuli.drop(columns="image"), two.stimuli.drop(columns="image"))
    np.testing.assert_allclose(one.eeg, two.eeg, atol=1e-9)
    np.testing.assert_allclose(one.signal.positions, two.signal.positions, atol=1e-6)


def test_what_is_broken_is_named(copy: Path, tmp_path: Path):
    with pytest.raises(PhospheneError, match="phosphene simulate"):
        Synthetic(tmp_path)
    (recording,) = (copy / "sub-01").rglob("*_raw.fif")
    (events,) = (copy / "sub-01").rglob("*_events.tsv")
    whole = recording.read_bytes()
    recording.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PhospheneError, match=recording.name):
        Synthetic(copy).load(PREPARE)
    recording.write_bytes(whole)
    events.unlink()
    with pytest.raises(PhospheneError, match=rf"{events.name} is missing"):
        Synthetic(copy).load(PREPARE)
    (copy / "stimuli/test_images/test-0003.png").unlink()
    with pytest.raises(PhospheneError, match=r"test-0003.png .*missing"):
        Synthetic(copy).load(PREPARE)
    (copy / "stimuli.csv").unlink()
    with pytest.raises(PhospheneError, match="simulate the study again"):
        Synthetic(copy).load(PREPARE)
    (copy / "dataset.json").write_text("{}")
    with pytest.raises(PhospheneError, match="simulated study"):
        Synthetic(copy)
