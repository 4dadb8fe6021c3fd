import mne
import numpy as np
import pandas as pd
import pytest

from phosphene.errors import PhospheneError
from phosphene.montages import standard_montage
from phosphene.preprocessing import Preprocessing

SFREQ = 250.0
STIMULI = pd.DataFrame({"concept": ["a", "b"]}, index=pd.Index(["s0", "s1"], name="stimulus"))


def recording(data: np.ndarray | None = None, names=("Fz", "Cz", "Pz", "Oz"), seconds=20.0) -> mne.io.RawArray:
    rng = np.random.default_rng(0)
    if data is None:
        data = 1e-5 * rng.standard_normal((len(names), int(seconds * SFREQ)))
    return mne.io.RawArray(data, mne.create_info(list(names), SFREQ, "eeg"), verbose="error")


def events(n=10) -> pd.DataFrame:
    return pd.DataFrame({"onset": 1.0 + 1.5 * np.arange(n), "stimulus": ["s0", "s1"] * (n // 2), "subject": "01"})


def test_a_pulse_at_onset_is_found_at_time_zero():
    data = np.zeros((4, 5000))
    for onset in events()["onset"]:
        data[:, round(onset * SFREQ)] = 1e-4
    prep = Preprocessing(l_freq=None, h_freq=None, tmin=-0.2, tmax=0.4, baseline=None, sfreq=None)
    trials = prep(recording(data), events(), STIMULI)
    assert trials.eeg.shape == (10, 4, 150)
    peak = trials.times[trials.eeg.mean(axis=(0, 1)).argmax()]
    assert peak == pytest.approx(0.0, abs=1e-9)


def test_recordings_that_start_late_keep_their_onsets():
    """A cropped file counts samples from `first_samp`; onsets count from its first sample."""
    data = np.zeros((4, 5000))
    data[:, 1000] = 1e-4
    raw = recording(data).crop(tmin=2.0)
    prep = Preprocessing(l_freq=None, h_freq=None, tmin=-0.1, tmax=0.1, baseline=None, sfreq=None)
    trials = prep(raw, pd.DataFrame({"onset": [2.0], "stimulus": ["s0"], "subject": "01"}), STIMULI)
    assert trials.times[trials.eeg[0, 0].argmax()] == pytest.approx(0.0, abs=1e-9)


def test_baseline_is_the_mean_before_onset():
    data = np.full((4, 5000), 5e-5)
    prep = Preprocessing(l_freq=None, h_freq=None, sfreq=None)
    np.testing.assert_allclose(prep(recording(data), events(), STIMULI).eeg, 0, atol=1e-12)


@pytest.mark.parametrize(("sfreq", "n_times"), [(125.0, 125), (100.0, 100), (None, 250)])
def test_rates_and_lengths(sfreq, n_times):
    trials = Preprocessing(tmin=-0.2, tmax=0.8, sfreq=sfreq)(recording(), events(), STIMULI)
    assert trials.n_times == n_times
    assert trials.signal.sfreq == (sfreq or SFREQ)
    assert trials.times[0] == pytest.approx(-0.2)


def test_line_noise_and_drift_are_filtered():
    t = np.arange(5000) / SFREQ
    data = np.tile(1e-4 * np.sin(2 * np.pi * 50 * t) + 1e-3 * t, (4, 1))
    kept = Preprocessing(l_freq=1.0, h_freq=30.0, baseline=None)(recording(data), events(), STIMULI).eeg
    assert np.abs(kept).max() < 5e-6


def test_average_reference_sums_to_zero():
    trials = Preprocessing(reference="average")(recording(), events(), STIMULI)
    np.testing.assert_allclose(trials.eeg.mean(axis=1), 0, atol=1e-10)


def test_rejection_drops_the_loud_epoch_and_its_row():
    data = 1e-6 * np.random.default_rng(0).standard_normal((4, 5000))
    data[0, round((1.0 + 1.5 * 3 + 0.1) * SFREQ)] = 1e-3
    prep = Preprocessing(l_freq=None, h_freq=None, sfreq=None, reject=1e-4)
    trials = prep(recording(data), events(), STIMULI)
    assert len(trials) == 9
    assert 1.0 + 1.5 * 3 not in trials.table["onset"].to_numpy()


def test_montage_brings_positions_in_metres():
    trials = Preprocessing(montage="standard_1005")(recording(), events(), STIMULI)
    assert np.linalg.norm(trials.signal.positions, axis=1) == pytest.approx(0.12, abs=0.04)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"picks": ["cz"]}, "channel 'cz' is not in the recording: did you mean 'Cz'"),
        ({"rename": {"T3": "T7"}}, "cannot rename channel 'T3'"),
        ({"montage": "standard1005"}, "unknown montage 'standard1005': did you mean 'standard_1005'"),
        ({"h_freq": 200.0, "sfreq": None}, "the recording ends at 125 Hz"),
        ({"sfreq": 500.0, "h_freq": None}, "above the recording's 250 Hz"),
        ({"reference": "Foo"}, "reference 'Foo' is not a channel"),
        ({"reject": 1e-9}, "none of 10 epochs is left"),
        ({"tmin": 30.0, "tmax": 31.0}, "none of 10 epochs is left"),
    ],
)
def test_bad_settings_name_the_fix(arguments, message):
    with pytest.raises(PhospheneError, match=message):
        Preprocessing(**{"baseline": None, **arguments})(recording(), events(), STIMULI)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tmin": 0.5, "tmax": 0.5}, "must lie after"),
        ({"baseline": [0.85, 0.9]}, "lies outside the epoch"),
        ({"l_freq": -1.0}, "give a positive number"),
        ({"l_freq": 40.0, "h_freq": 30.0}, "must lie above"),
        ({"h_freq": 80.0, "sfreq": 100.0}, "above half of sfreq"),
    ],
)
def test_impossible_settings_are_refused_at_once(arguments, message):
    with pytest.raises(PhospheneError, match=message):
        Preprocessing(**arguments)


def test_missing_montage_positions_nan_and_no_events():
    with pytest.raises(PhospheneError, match=r"channel 'X1' is not in montage standard_1005.*preprocessing.rename"):
        Preprocessing(montage="standard_1005")(recording(names=("Fz", "Cz", "Pz", "X1")), events(), STIMULI)
    data = np.zeros((4, 5000))
    data[2, 7] = np.nan
    with pytest.raises(PhospheneError, match="channel 'Pz' holds NaN"):
        Preprocessing()(recording(data), events(), STIMULI)
    with pytest.raises(PhospheneError, match="holds no event"):
        Preprocessing()(recording(), events(0), STIMULI)


def test_standard_montage_answers_to_its_old_name():
    assert "Cz" in standard_montage("standard_1005").ch_names
