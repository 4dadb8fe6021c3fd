"""Onsets: missing ones, ones outside, two on one sample, and those of epochs whose rate was changed."""

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.datasets.own import from_mne
from phosphene.errors import PhospheneError

NAMES = ["cup", "dog", "hat", "tie", "fox", "jar"]
STEPS = {"l_freq": None, "h_freq": None, "tmin": -0.1, "tmax": 0.4, "baseline": None, "sfreq": None}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        Image.new("RGB", (8, 8), "red").save(folder / f"{name}.png")
    return folder


def recording(sfreq=250.0, first=0.0):
    data = 1e-5 * np.random.default_rng(0).normal(size=(3, round(8 * sfreq)))
    info = mne.create_info(["Fz", "Pz", "Oz"], sfreq, "eeg")
    raw = mne.io.RawArray(data, info, first_samp=round(first * sfreq), verbose="error")
    return raw.set_annotations(mne.Annotations(1.0 + np.arange(6), 0.0, NAMES))


def events(onsets, names=NAMES):
    return pd.DataFrame({"onset": onsets, "stimulus": list(names)[: len(onsets)]})


def load(pictures, table, **arguments):
    return from_mne(recording(**arguments), pictures, events=table, **STEPS)


@pytest.mark.parametrize("cell", ["n/a", "", "nan", "NaN", " n/a ", None, np.nan, pd.NA])
def test_an_event_without_an_onset_is_left_out_and_counted(pictures, tmp_path, cell):
    table = events([1.0, cell, 3.0])
    trials = load(pictures, table)
    assert trials.table["stimulus"].tolist() == ["cup", "hat"]
    assert "run 1: 1 event without an onset left out" in trials.notes
    table.to_csv(tmp_path / "e.csv", index=False)
    assert load(pictures, tmp_path / "e.csv").table["stimulus"].tolist() == ["cup", "hat"]
    with pytest.raises(PhospheneError, match="run 1: the recording holds no event: run 1: 1 event without an onset"):
        load(pictures, table[1:2])
    both = from_mne([recording(), recording()], pictures, events=[table, table[1:2]], **STEPS)
    assert len(both) == 2
    assert any(note.startswith("run 2 left out: the recording holds no event") for note in both.notes)


def test_an_onset_that_is_no_number_names_its_row(pictures):
    with pytest.raises(
        PhospheneError, match=r"event table, row 1 \(from 0\): onset 'soon' is not a number: correct it"
    ):
        load(pictures, events([1.0, "soon"]))


@pytest.mark.parametrize("first", [0.0, 20.0])
@pytest.mark.parametrize("outside", [[-0.5], [8.1], [-2.0, 8.5], [9.0, 700.0]])
def test_events_outside_the_recording_are_left_out_and_told(pictures, first, outside):
    trials = load(pictures, events([1.0, 3.0, 5.0, *outside]), first=first)
    assert trials.table["stimulus"].tolist() == NAMES[:3]
    count = f"{len(outside)} event" + "s" * (len(outside) > 1)
    note = f"run 1: {count} outside the recording (0 to 7.996 s) left out, such as 'tie' at {outside[0]:g} s"
    assert note in trials.notes


@pytest.mark.parametrize("first", [0.0, 20.0])
def test_samples_outside_the_recording_are_left_out(pictures, first):
    raw = recording(first=first)
    codes = np.array([[250, 0, 1], [750, 0, 2], [1250, 0, 3], [2100, 0, 1]])
    codes[:, 0] += raw.first_samp
    trials = from_mne(raw, {str(i): pictures / f"{NAMES[i]}.png" for i in (1, 2, 3)}, events=codes, **STEPS)
    np.testing.assert_allclose(trials.table["onset"], [1.0, 3.0, 5.0])


@pytest.mark.parametrize(
    "onsets", [[250, 750, 1250, 1750], [1000, 3000, 5000, 7000], [1.0, 2250.0], [40.0], [2, 1000, 3000, 5000]], ids=str
)
def test_samples_and_milliseconds_taken_for_seconds_are_refused(pictures, onsets):
    with pytest.raises(PhospheneError, match=r"lies outside the recording \(0 to 7.996 s\): onsets are seconds from"):
        load(pictures, events(onsets))


@pytest.mark.parametrize(
    ("onsets", "names", "message"),
    [
        ([1.0001, 1.0004], "cup dog", "at 1.0001 and 1.0004 s, on one sample at 250 Hz: leave one kind out with keep"),
        ([3.0008, 1.0, 3.0], "cup hat dog", "3.0008 and 3 s, on one sample at 250 Hz: .*keep \\('cup' or 'dog'\\)"),
        ([1.0, 1.0], "cup dog", "two events at 1 s: leave one kind out with keep \\('cup' or 'dog'\\)"),
        ([1.0, 1.0], "cup cup", "two events at 1 s: remove one of these rows \\('cup'\\)"),
        ([1.0, 1.001], "cup cup", "at 1 and 1.001 s, on one sample at 250 Hz: remove one of these rows"),
    ],
)
def test_two_events_on_one_sample_are_told(pictures, onsets, names, message):
    with pytest.raises(PhospheneError, match=message):
        load(pictures, events(onsets, names.split()))


def test_events_on_neighbouring_samples_are_two(pictures):
    assert len(load(pictures, events([1.0, 1.004]))) == 2


# -- epochs ----------------------------------------------------------------------------------------------------


def epochs(raw=None, **options):
    raw = raw or recording()
    found = mne.events_from_annotations(raw, verbose="error")
    return mne.Epochs(raw, *found, tmin=-0.1, tmax=0.4, baseline=None, preload=True, verbose="error", **options)


def saved(made, tmp_path):
    made.save(tmp_path / "x-epo.fif", verbose="error")
    return mne.read_epochs(tmp_path / "x-epo.fif", verbose="error")


def array(made, **options):
    return mne.EpochsArray(
        made.get_data(), made.info, made.events, made.tmin, made.event_id, verbose="error", **options
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda e, _: e,
        lambda e, _: e.decimate(2, verbose="error"),
        lambda _e, _: epochs(decim=5),
        lambda e, _: e.resample(125, verbose="error"),
        lambda e, _: e.resample(100, verbose="error").decimate(2, verbose="error"),
        lambda e, t: saved(e.decimate(2, verbose="error"), t),
        lambda e, t: saved(e.resample(50, verbose="error"), t),
        lambda e, _: e.crop(0.0, 0.3),
        lambda e, _: array(e.decimate(2, verbose="error"), raw_sfreq=250.0),
        lambda e, _: array(e),
    ],
    ids=["made", "decimate", "decim", "resample", "both", "saved", "saved resampled", "crop", "array", "plain array"],
)
def test_onsets_of_epochs_are_those_of_the_recording(pictures, tmp_path, change):
    made = change(epochs(), tmp_path)
    annotations = made.annotations
    np.testing.assert_allclose(from_mne(made, pictures).table["onset"], 1.0 + np.arange(6))
    assert made.annotations == annotations


def test_onsets_of_a_part_of_the_epochs(pictures):
    made = epochs().decimate(2, verbose="error")
    made.drop([1, 4], verbose="error")
    np.testing.assert_allclose(from_mne(made, pictures).table["onset"], [1, 3, 4, 6])
    made.metadata = pd.DataFrame({"onset": [9.0, 8.0, 7.0, 6.0]})
    np.testing.assert_allclose(from_mne(made, pictures).table["onset"], [9, 8, 7, 6])


def test_onsets_that_cannot_be_known_are_left_out_and_told(pictures):
    made = epochs()
    made.events[:, 0] = np.arange(6)  # as mne.EpochsArray numbers them
    trials = from_mne(made, pictures)
    assert trials.table["onset"].isna().all()
    note = (
        "run 1: when the epochs began is not known (their events are numbered, not timed): their column onset is empty"
    )
    assert note in trials.notes


def test_epochs_and_recordings_tell_the_same_of_bad_channels(pictures):
    raw = recording()
    raw.info["bads"] = ["Pz"]
    note = "run 1: channels marked bad: Pz; kept (bads can interpolate them)"
    assert note in from_mne(raw, pictures, **STEPS).notes
    assert note in from_mne(epochs(raw), pictures).notes
