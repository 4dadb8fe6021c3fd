from collections import Counter

import mne
import numpy as np
import pandas as pd
import pytest

from phosphene.eeg import lazy
from phosphene.eeg.lazy import stays
from phosphene.eeg.montages import standard_montage
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.trials import Signal, concatenate
from phosphene.errors import PhospheneError

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


LIMITS = [(-0.1, 0.7), (-0.2, 0.8), (-0.05, 0.61), (0.05, 0.7), (-0.0333, 0.7001)]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize(
    ("sfreq", "h_freq"), [(128.0, 40.0), (100.0, 40.0), (125.0, None), (90.0, 30.0), (256.0, 40.0)]
)
def test_every_rate_gives_the_same_times(sfreq, h_freq, limits):
    """Whole multiples of 1 / sfreq within the limits, whether or not the rates divide; to half a recorded sample."""
    first, end = (int(np.ceil(edge * sfreq - 1e-6)) for edge in limits)
    steps = Preprocessing(tmin=limits[0], tmax=limits[1], sfreq=sfreq, l_freq=None, h_freq=h_freq, baseline=None)
    parts = []
    for rate in (256.0, 500.0, 512.0, 1000.0):
        step = np.zeros((2, int(6 * rate)))
        step[:, int(3 * rate) :] = 1e-5  # at the onset of the second event
        raw = mne.io.RawArray(step, mne.create_info(["Cz", "Oz"], rate, "eeg"), verbose="error")
        parts.append(steps(raw, events(4)[:3].assign(onset=[1.0, 3.0, 5.0]), STIMULI))
        np.testing.assert_allclose(parts[-1].times, np.arange(first, end) / sfreq, atol=0.51 / rate)
        if limits[0] < 0:
            rise = np.interp(5e-6, parts[-1].eeg[1, 0, : 2 - first], parts[-1].times[: 2 - first])
            assert abs(rise) < 1 / sfreq
    assert len(concatenate(parts)) == 12


def test_limits_without_a_sample_are_told():
    steps = Preprocessing(tmin=0.001, tmax=0.004, sfreq=100.0, baseline=None)
    with pytest.raises(PhospheneError, match="no sample of 100 Hz lies in 0.001 to 0.004 s: raise preprocessing.sfreq"):
        steps(recording(), events(), STIMULI)


def test_dropped_epochs_are_counted_by_reason():
    raw = recording()
    raw._data[1, 1000:1010] = 1e-2  # at 4 s
    raw.set_annotations(mne.Annotations([2.6, 5.6], [0.1, 0.0], ["Bad ET", "bad"]))
    table, dropped = events().assign(onset=[0.05, *events()["onset"][1:9], 19.9]), Counter()
    steps = Preprocessing(l_freq=None, h_freq=None, sfreq=None, reject=1e-3)
    trials = steps(raw, table, STIMULI, dropped=dropped)
    assert len(trials) == 5
    assert dropped == {
        "cut off by the recording's begin or end": 2,
        "in the bad stretch 'Bad ET'": 1,
        "in the bad stretch 'bad'": 1,
        "above preprocessing.reject": 1,
    }


def test_channels_that_are_picked_are_eeg_and_without_any_there_is_a_line():
    raw = recording().set_channel_types(dict.fromkeys(("Fz", "Cz", "Pz", "Oz"), "misc"), verbose="error")
    steps = {"l_freq": None, "h_freq": None, "sfreq": None}
    with pytest.raises(PhospheneError, match=r"no channel is of type EEG \(types: misc\): correct .*channel_types"):
        Preprocessing(**steps)(raw, events(), STIMULI)
    trials = Preprocessing(**steps, picks=["Oz", "Cz"], reference="average")(raw, events(), STIMULI)
    assert trials.signal.ch_names == ("Oz", "Cz")


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


# -- stored epochs -------------------------------------------------------------------------------

CHANNELS = ("Fz", "Cz", "Pz", "Oz")
SIGNAL = Signal(CHANNELS, SFREQ, -0.2)
LABELS = events().drop(columns="onset")


def stored(n_times=300, seed=0) -> np.ndarray:
    """(10, 4, n_times) uV, drifting."""
    x = np.random.default_rng(seed).standard_normal((10, 4, n_times)) + np.linspace(0, 3, n_times)
    return 10 * (x + 0.5 * np.random.default_rng(1).standard_normal((10, 4, 1)))


LOUD = 1e-6 * float(np.median(np.ptp(stored(), axis=2).max(axis=1)))  # half of the epochs are louder


def by_mne(x: np.ndarray) -> mne.EpochsArray:
    return mne.EpochsArray(1e-6 * x, mne.create_info(list(CHANNELS), SFREQ, "eeg"), tmin=-0.2, verbose="error")


@pytest.fixture(params=["memory", "disk"])
def held(request, tmp_path, monkeypatch):
    """Makes the array that `epoched` is given; on disk, it is read three trials at a time and never as a whole."""
    if request.param == "memory":
        return lambda x: x
    monkeypatch.setattr(lazy, "SMALL", -1)
    monkeypatch.setattr(lazy._step, "__defaults__", (3 * 4 * 4 * 300,))

    def write(x):
        np.save(tmp_path / "x.npy", x)
        return np.load(tmp_path / "x.npy", mmap_mode="r")

    return write


def epoched(x, unit="V", scale=1e-6, **steps):
    trials = Preprocessing.as_stored(**steps).epoched(x, SIGNAL, LABELS, STIMULI, ["a note"], scale=scale, unit=unit)
    assert stays(trials.eeg) == stays(x)
    return trials


def test_epochs_stay_as_they_are_stored(held):
    x = stored()
    trials = epoched(held(x))
    np.testing.assert_allclose(np.asarray(trials.eeg), 1e-6 * x, rtol=1e-6)
    assert (trials.signal, trials.notes) == (SIGNAL, ["a note"])
    assert trials.table["stimulus"].tolist() == LABELS["stimulus"].tolist()


@pytest.mark.parametrize(
    ("steps", "by_hand"),
    [
        ({"baseline": (None, 0.0)}, lambda e: e.apply_baseline((None, 0.0))),
        ({"baseline": (-0.1, 0.1)}, lambda e: e.apply_baseline((-0.1, 0.1))),
        ({"reference": "average"}, lambda e: e.set_eeg_reference("average")),
        ({"reference": ["Fz", "Oz"]}, lambda e: e.set_eeg_reference(["Fz", "Oz"])),
        ({"sfreq": 100.0}, lambda e: e.resample(100.0)),
        ({"sfreq": SFREQ}, lambda e: e),
        ({"picks": ["Oz", "Fz"]}, lambda e: e.pick(["Oz", "Fz"])),
        ({"tmin": 0.0, "tmax": 0.5}, lambda e: e.crop(0.0, 0.5, include_tmax=False)),
        (
            {"picks": ["Oz", "Fz"], "reference": "average", "baseline": (None, 0.0), "sfreq": 125.0, "tmin": 0.0},
            lambda e: (
                e.set_eeg_reference("average").pick(["Oz", "Fz"]).apply_baseline((None, 0)).resample(125.0).crop(0.0)
            ),
        ),
        ({"reject": LOUD}, lambda e: e.drop_bad({"eeg": LOUD})),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, dict) else "",
)
def test_steps_on_epochs_are_those_of_mne(held, steps, by_hand):
    x = stored()
    with mne.use_log_level("error"):
        want = by_hand(by_mne(x))
    trials = epoched(held(x), **steps)
    np.testing.assert_allclose(np.asarray(trials.eeg), want.get_data(copy=False), atol=1e-11)
    np.testing.assert_allclose(trials.times, want.times, atol=1e-9)
    assert trials.signal.ch_names == tuple(want.ch_names)
    assert len(trials) == len(want) == len(trials.table)
    if "reject" in steps:
        assert 0 < len(trials) < 10
        assert trials.table["stimulus"].tolist() == LABELS["stimulus"].iloc[want.selection].tolist()


def test_epochs_get_names_and_positions():
    trials = epoched(stored(), rename={"Fz": "F3"}, montage="standard_1005")
    assert trials.signal.ch_names == ("F3", "Cz", "Pz", "Oz")
    raw = recording(names=("F3", "Cz", "Pz", "Oz"))
    np.testing.assert_allclose(
        trials.signal.positions,
        Preprocessing(montage="standard_1005")(raw, events(), STIMULI).signal.positions,
        atol=1e-9,
    )


def test_lost_volts_are_noted():
    assert epoched(stored(), unit="whitened", scale=1).notes == [
        "a note",
        "EEG values are whitened: their volts are lost.",
    ]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"l_freq": 1.0}, "preprocessing.l_freq cannot be applied to trials that are stored as epochs: leave it out"),
        ({"h_freq": 40.0}, "preprocessing.h_freq cannot"),
        ({"notch": 50.0}, "preprocessing.notch cannot"),
        ({"tmin": -0.3}, "preprocessing.tmin is -0.3 s, and the stored epochs span -0.2 to 1 s"),
        ({"tmax": 1.2}, "preprocessing.tmax is 1.2 s"),
        ({"baseline": (-0.5, -0.4)}, "no stored sample lies in the baseline"),
        ({"sfreq": 500.0}, "above the stored 250 Hz"),
        ({"picks": ["cz"]}, "did you mean 'Cz'"),
        ({"reference": "M1"}, "channel 'M1'"),
        ({"rename": {"T3": "T7"}}, "cannot rename channel 'T3'"),
        ({"reject": 1e-9}, "none of 10 epochs is left"),
        ({"reject": 1e-4, "unit": "whitened"}, "without volts: leave out preprocessing.reject"),
    ],
)
def test_what_epochs_cannot_give_is_refused(steps, message):
    with pytest.raises(PhospheneError, match=message) as error:
        epoched(stored(), **steps)
    assert "\n" not in str(error.value)


def test_steps_of_recordings_are_not_silently_left_out():
    with pytest.raises(PhospheneError, match="l_freq cannot be applied"):
        Preprocessing().epoched(stored(), SIGNAL, LABELS, STIMULI)
    with pytest.raises(PhospheneError, match="set preprocessing.tmin and preprocessing.tmax"):
        Preprocessing.as_stored()(recording(), events(), STIMULI)


def test_a_causal_filter_keeps_a_response_behind_its_picture():
    """A zero-phase high-pass spreads a response to before it; a causal one cannot."""
    import mne

    data = np.zeros((2, 6000))
    data[:, 3000:3100] = 1e-5
    raw = mne.io.RawArray(data, mne.create_info(["Cz", "Pz"], 100.0, "eeg"), verbose="error")
    before = {}
    for phase in ("zero", "minimum"):
        filtered = Preprocessing(l_freq=0.5, h_freq=30.0, phase=phase).continuous(raw).get_data()
        before[phase] = np.abs(filtered[:, :2999]).max() / np.abs(filtered).max()
    assert before["zero"] > 0.01
    assert before["minimum"] < 1e-3
    with pytest.raises(PhospheneError, match="zero or minimum"):
        Preprocessing(phase="linear")
    with pytest.raises(PhospheneError, match="leave it out"):
        Preprocessing.as_stored(phase="minimum")
