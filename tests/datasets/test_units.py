"""Units: every recording, run, stretch and channel has the scale that its unit says, or one line names what is off."""

from collections.abc import Callable

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.signal import lfilter

from phosphene.datasets.own import from_arrays, from_mne
from phosphene.datasets.stored import check_values
from phosphene.eeg.lazy import stays
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError
from phosphene.runs.preparation import as_trained

SFREQ, N = 100.0, 24
NAMES = ["Fp1", "Fp2", "C3", "C4", "O1", "O2", "Pz", "Cz"]
STEPS = {"l_freq": None, "h_freq": None, "tmin": -0.1, "tmax": 0.5, "sfreq": None}
LATE = slice(1300, None)  # samples of a recording from its middle on
Change = Callable[[np.ndarray], None]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name in "abcd":
        Image.new("RGB", (8, 8), "red").save(folder / f"{name}.png")
    return folder


def times(factor: float, channels=slice(None), samples=slice(None)) -> Change:
    def change(x: np.ndarray) -> None:
        x[channels, samples] *= factor

    return change


def recording(change: Change = lambda x: None, names=NAMES, types="eeg", volts=1e-5, seed=0) -> mne.io.RawArray:
    """An event a second; EEG that wanders, about 10 uV in a second."""
    noise = np.random.default_rng(seed).standard_normal((len(names), round((N + 2) * SFREQ)))
    x = volts / 2 * lfilter([1.0], [1.0, -0.9], noise)
    change(x)
    raw = mne.io.RawArray(x, mne.create_info(list(names), SFREQ, types), verbose="error")
    raw.set_annotations(mne.Annotations(1.0 + np.arange(N), 0.1, list("abcd") * (N // 4)))
    return raw


def epochs(*args, **kwargs) -> mne.Epochs:
    return mne.Epochs(
        recording(*args, **kwargs), tmin=-0.1, tmax=0.5, baseline=None, preload=True, picks="all", verbose="error"
    )


def of_recording(change, pictures, **steps):
    return from_mne(recording(change), pictures, **{**STEPS, **steps})


def of_epochs(change, pictures, **steps):
    return from_mne(epochs(change), pictures, **steps)


def of_array(change, pictures, unit="V", **steps):
    x = epochs(change).get_data()
    table = [{"stimulus": "abcd"[i % 4]} for i in range(N)]
    return from_arrays(
        x / {"V": 1, "uV": 1e-6, "nV": 1e-9, "standardised": 1e-5}[unit],
        table,
        pictures,
        ch_names=NAMES,
        sfreq=SFREQ,
        tmin=-0.1,
        unit=unit,
    )


SOURCES = [of_recording, of_epochs, of_array]
OFF = {
    "one channel in uV": (
        times(1e6, 7),
        "channel 'Cz' is about 1,000,000 times as large as the others .* look like uV",
    ),
    "one channel in mV": (
        times(1e3, 7),
        "channel 'Cz' is about 1,000 times as large .*: they look like mV .* by 0.001",
    ),
    "one channel scaled twice": (times(1e-6, 7), "channel 'Cz' is about 1,000,000 times as small .* by 1e.06"),
    "one channel 1,000 times too small": (
        times(1e-3, 7),
        "'Cz' is about 1,000 times as small .* multiply them by 1000",
    ),
    "three channels in mV": (times(1e3, [1, 3, 4]), "channels 'Fp2', 'C4', 'O1' are about 1,000 times as large"),
    "half of the channels in mV": (times(1e3, [1, 3, 4, 5]), "channels 'Fp2', 'C4', 'O1' and 1 more are about 1,000"),
    "most channels in mV": (times(1e3, slice(0, 6)), "channels 'Fp1', 'Fp2', 'C3' and 3 more are about 1,000 times"),
    "gain from the middle on": (
        times(1e3, samples=LATE),
        "from about .* on, its values are about 1,000 times as large",
    ),
    "smaller from the middle on": (times(1e-3, samples=LATE), "on, its values are about 1,000 times as small"),
    "gain until the middle": (times(1e3, samples=slice(0, 1300)), "from about .* to .*, its values are about 1,000"),
    "gain in between": (
        times(1e3, samples=slice(800, 1500)),
        "from about .* to .* its values are about 1,000 times as l",
    ),
    "one channel from the middle on": (
        times(1e3, 7, LATE),
        "on, channel 'Cz' is about 1,000 times as large as in the r",
    ),
    "all in uV": (times(1e6), "which is implausible for EEG: they look like uV"),
    "all in mV": (times(1e3), "which is implausible for EEG: they look like mV"),
    "all scaled twice": (
        times(1e-6),
        "which is implausible for EEG: they look scaled once too often, multiply them by 1,000,000",
    ),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("case", OFF)
def test_what_is_off_by_a_unit_is_named(pictures, source, case):
    change, message = OFF[case]
    with pytest.raises(PhospheneError, match=message):
        source(change, pictures)


def flat(value: float) -> Change:
    def change(x: np.ndarray) -> None:
        x[7] = value

    return change


def drifting(x: np.ndarray) -> None:
    """As raw BioSemi recordings are: tens of mV of offset for each electrode, and a drift of mV in minutes."""
    x += np.linspace(-0.04, 0.04, len(x))[:, None] + np.linspace(0, 5e-4, x.shape[1])


def artefact(x: np.ndarray) -> None:
    x[:, 1000:1200] *= 1e3


FINE = {
    "as it is": (lambda x: None, ""),
    "a flat channel": (flat(0.0), "flat or nearly so, kept: Cz"),
    "a flat channel with an offset": (flat(0.02), "flat or nearly so, kept: Cz"),
    "a dead channel": (times(9e-3, 7), "flat or nearly so, kept: Cz"),
    "high impedance": (times(10, 7), ""),
    "very high impedance": (times(50, 7), "more than 20 times as large as the others, kept: Cz"),
    "20 and 60 uV": (times(3, [0, 2, 4]), ""),
    "offsets and drift": (drifting, ""),
    "an artefact": (artefact, ""),
    "the end torn off": (times(1e3, samples=slice(-250, None)), ""),
    "averages": (times(0.03), ""),
    "loud, as intracranial": (times(40), ""),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("case", FINE)
def test_what_is_no_slip_of_a_unit_is_kept(pictures, source, case):
    change, note = FINE[case]
    trials = source(change, pictures)
    assert trials.eeg.shape[:2] == (N, 8)
    told = [n for n in trials.notes if n.startswith("channels")]
    assert len(told) == bool(note)
    assert note in " ".join(told)


def test_the_power_line_in_a_loose_electrode_is_no_unit(pictures):
    """It picks up 5 mV, 500 times what the EEG is."""
    x = recording().get_data()
    x[7] += 5e-3 * np.sin(2 * np.pi * 50 * np.arange(x.shape[1]) / 250)
    raw = mne.io.RawArray(x, mne.create_info(NAMES, 250.0, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(1.0 + np.arange(8), 0.1, list("abcd") * 2))
    assert from_mne(raw, pictures, **STEPS).n_chans == 8


@pytest.mark.parametrize("make", [recording, epochs])
@pytest.mark.parametrize("events", [[0, 10, 16, 20], [0, 2, 14, 15, 16]])
def test_a_gain_that_changes_is_seen_between_few_events(pictures, make, events):
    data = make(times(1e3, samples=LATE))
    if make is recording:
        data.annotations.delete([i for i in range(N) if i not in events])
    else:
        data = data[events]
    with pytest.raises(PhospheneError, match="on, its values are about 1,000 times as large as in the rest of the run"):
        from_mne(data, pictures, **(STEPS if make is recording else {}))


@pytest.mark.parametrize("factor", [1e3, 1e-3, 1e6])
@pytest.mark.parametrize("n_runs", [2, 3])
@pytest.mark.parametrize("make", [recording, epochs])
def test_a_run_that_is_off_is_named(pictures, factor, n_runs, make):
    """Also where both sizes are such as EEG may have."""
    steps = STEPS if make is recording else {}
    runs = [make(volts=2e-7, seed=1), make(volts=2e-7, seed=2), make(volts=2e-7, seed=3)][:n_runs]
    runs[1] = make(times(factor), volts=2e-7, seed=2)
    with pytest.raises(
        PhospheneError, match=r"^run 2: (its values are about|.*a typical value is .* implausible for EEG)"
    ):
        from_mne(runs, pictures, **steps)


@pytest.mark.parametrize("unit", ["uV", "standardised"])
@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_a_run_of_an_array_that_is_off_is_named(pictures, unit, factor):
    x = epochs().get_data() * 1e6
    x[8:16] *= factor
    table = pd.DataFrame({"stimulus": list("abcd") * 6, "session": "1", "run": np.repeat(["a", "b", "c"], 8)})
    size = "large" if factor > 1 else "small"
    with pytest.raises(PhospheneError, match=f"session 1, run b: its values are about 1,000 times as {size} as those"):
        from_arrays(x, table, pictures, ch_names=NAMES, sfreq=SFREQ, tmin=-0.1, unit=unit)


@pytest.mark.parametrize(
    ("unit", "factor", "looks"),
    [("uV", 1e-6, "V taken for uV"), ("uV", 1e3, "nV taken for uV"), ("nV", 1e-3, "uV taken")],
)
def test_the_unit_that_a_channel_looks_like_is_said(pictures, unit, factor, looks):
    with pytest.raises(PhospheneError, match=looks):
        of_array(times(factor, 7), pictures, unit=unit)


def test_where_volts_are_lost_channels_are_still_compared(pictures):
    assert of_array(lambda x: None, pictures, unit="standardised").n_chans == 8
    with pytest.raises(
        PhospheneError, match=r"'Cz' is about 1,000 times as large as the others .*: multiply them by 0.0"
    ):
        of_array(times(1e3, 7), pictures, unit="standardised")


def test_what_is_left_out_is_not_compared(pictures):
    wrong = times(1e3, 7)
    for steps in ({"channel_types": {"Cz": "misc"}}, {"picks": NAMES[:7]}):
        assert of_recording(wrong, pictures, **steps).signal.ch_names == tuple(NAMES[:7])
        assert of_epochs(wrong, pictures, **steps).signal.ch_names == tuple(NAMES[:7])
    with pytest.raises(PhospheneError, match="channel 'Cz' is about"):  # the average would hold it
        of_recording(wrong, pictures, picks=NAMES[:7], reference="average")
    raw = recording(wrong)
    raw.info["bads"] = ["Cz"]
    assert any(
        "more than 20 times as large as the others, kept: Cz" in n for n in from_mne(raw, pictures, **STEPS).notes
    )
    raw = recording(times(1e3, samples=LATE))
    raw.annotations.append(13.0, 20.0, "BAD_amplifier")
    assert 0 < len(from_mne(raw, pictures, **STEPS)) < N


def test_arrays_that_stay_on_disk_are_sampled(pictures, tmp_path, monkeypatch):
    x = np.repeat(epochs().get_data().astype(np.float32), 20, axis=0)
    monkeypatch.setattr("phosphene.eeg.lazy.SMALL", 1)
    table = [{"stimulus": "abcd"[i % 4]} for i in range(len(x))]
    for name, factor in (("fine", 1.0), ("off", 1e3)):
        x[300:] *= factor
        np.save(tmp_path / f"{name}.npy", x)
    facts = {"ch_names": NAMES, "sfreq": SFREQ, "tmin": -0.1}
    assert stays(from_arrays(np.load(tmp_path / "fine.npy", mmap_mode="r"), table, pictures, **facts).eeg)
    with pytest.raises(PhospheneError, match=r"from about trial 3\d\d \(from 0\) on, its values are about 1,000 times"):
        from_arrays(np.load(tmp_path / "off.npy", mmap_mode="r"), table, pictures, **facts)


@pytest.mark.parametrize(
    ("typical", "unit", "looks"),
    [
        (0.1, "V", "uV"),
        (0.4, "V", "uV"),
        (5.0, "V", "uV"),
        (4e-7, "uV", "V"),
        (4e-6, "uV", "V"),
        (0.4, "nV", "uV"),
        (4.0, "mV", "uV"),
        (4e-4, "uV", "mV"),
        (900.0, "nV", None),
        (4e-7, "V", None),
        (0.3, "uV", None),
    ],
)
def test_averages_get_a_right_hint(typical, unit, looks):
    """Evoked responses are 0.1 to 5 uV, less than half of a single trial's."""
    x = typical * np.random.default_rng(0).standard_normal((5, 3, 200))
    if looks is None:
        check_values(x, unit, "x")
    else:
        with pytest.raises(PhospheneError, match=f"they look like {looks}, set dataset.unit to {looks} "):
            check_values(x, unit, "x")


@pytest.mark.parametrize("resolution", [0.05e-6, 31.25e-9, 0.1e-6, 0.5e-6, 2.98e-8])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float64])
def test_counts_of_a_converter_are_told(resolution, dtype):
    x = np.round(epochs().get_data() / resolution)
    with pytest.raises(PhospheneError, match="counts of a converter: multiply them by its resolution, or set"):
        check_values(x.astype(dtype), "V", "x")


def test_whole_numbers_are_noted(pictures):
    x = np.round(epochs().get_data() * 1e6).astype(np.int16)
    table = [{"stimulus": "abcd"[i % 4]} for i in range(N)]
    trials = from_arrays(x, table, pictures, ch_names=NAMES, sfreq=SFREQ, tmin=-0.1, unit="uV")
    assert any("whole numbers (int16), taken as uV: if they are counts" in note for note in trials.notes)


def test_an_evoked_is_no_trials(pictures):
    evoked = epochs().average()
    for data in (evoked, [evoked, evoked]):
        with pytest.raises(PhospheneError, match="an average, .*: give the Epochs"):
            from_mne(data, pictures)
    with pytest.raises(PhospheneError, match="takes mne Raw or Epochs objects, not NoneType"):
        from_mne(None, pictures)


# -- types of channels ---------------------------------------------------------------------------

MIXED = [*NAMES[:6], "VEOG", "Photo"]


@pytest.mark.parametrize("make", [recording, epochs])
@pytest.mark.parametrize(
    ("steps", "kept", "noted"),
    [
        ({}, NAMES[:6], ["VEOG", "Photo"]),
        ({"channel_types": {"Photo": "eeg"}}, [*NAMES[:6], "Photo"], ["VEOG"]),
        ({"channel_types": {"O1": "misc", "VEOG": "eog"}}, ["Fp1", "Fp2", "C3", "C4", "O2"], ["Photo"]),
        ({"picks": ["VEOG", "O1"]}, ["VEOG", "O1"], []),
        ({"rename": {"Photo": "Oz"}}, [*NAMES[:6], "Oz"], ["VEOG"]),
        ({"rename": {"Photo": "P"}, "channel_types": {"P": "misc"}}, NAMES[:6], ["VEOG"]),
        ({"reference": "average"}, NAMES[:6], ["VEOG", "Photo"]),
        ({"reference": ["VEOG"]}, NAMES[:6], ["VEOG", "Photo"]),
    ],
)
def test_names_types_and_picks_say_what_is_eeg(pictures, make, steps, kept, noted):
    given = STEPS if make is recording else {}
    trials = from_mne(make(names=MIXED), pictures, **{**given, **steps})
    assert list(trials.signal.ch_names) == kept
    told = " ".join(n for n in trials.notes if "no electrodes by their names" in n)
    assert [n for n in ("VEOG", "Photo") if n in told] == noted
    if steps.get("reference") == "average":  # of the electrodes alone
        np.testing.assert_allclose(trials.eeg.mean(axis=1), 0, atol=1e-10)


@pytest.mark.parametrize("make", [recording, epochs])
def test_types_of_a_file_are_mended(pictures, make):
    given = STEPS if make is recording else {}
    raw = make(names=MIXED, types=["eeg"] * 5 + ["misc", "eog", "stim"])
    assert from_mne(raw, pictures, **given).n_chans == 5
    trials = from_mne(raw, pictures, **given, channel_types={"O2": "eeg", "VEOG": "eeg"})
    assert trials.signal.ch_names == (*NAMES[:6], "VEOG")
    with pytest.raises(PhospheneError, match=r"channel 'Photo' holds markers, not EEG \(type stim\)"):
        from_mne(raw, pictures, **given, picks=["O1", "Photo"])
    with pytest.raises(PhospheneError, match="channel_types: there is no channel 'veog': did you mean 'VEOG'"):
        from_mne(raw, pictures, **given, channel_types={"veog": "eog"})


def test_positions_stay_where_a_channel_without_one_is_left_out(pictures):
    data = epochs(names=MIXED)
    data.set_montage("standard_1020", on_missing="ignore", verbose="error")
    assert from_mne(data, pictures).signal.positions is not None


# -- decoding other trials -----------------------------------------------------------------------


def trials(change: Callable[[np.ndarray], None] = lambda x: None, **facts) -> Trials:
    """(trials, channels, times)"""
    x = epochs(seed=3).get_data()
    change(x)
    signal = Signal(**{"ch_names": tuple(NAMES), "sfreq": SFREQ, "tmin": -0.1, **facts})
    table = pd.DataFrame({"stimulus": list("abcd") * 6, "subject": "01"})
    return Trials(x, table, pd.DataFrame({"concept": list("abcd")}, index=list("abcd")), signal)


OWN = trials().crop(0.0, 0.4)


def test_trials_like_those_of_the_training_are_decoded():
    other = as_trained(trials().pick(NAMES[::-1]), OWN, OWN)
    np.testing.assert_array_equal(other.eeg, OWN.eeg)
    assert other.signal == OWN.signal
    assert as_trained(trials(lambda x: x.__imul__(10)), OWN, OWN).n_chans == 8
    assert as_trained(trials(tmin=-0.0999), OWN, OWN).signal == OWN.signal  # an onset rounded to 0.1 ms


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (trials(times(1e3)), "these trials are about 1,000 times as large as those .*mV, trained on .*uV.*: they"),
        (trials(times(1e-6)), "these trials are about 1,000,000 times as small as those that the run was trained on"),
        (trials(lambda x: x[:, 7].__imul__(1e3)), "channel 'Cz' is about 1,000 times as large as in the run's t"),
        (trials(lambda x: x[:, 7].__imul__(1e-6)), "channel 'Cz' is about 1,000,000 times as small as in the run's"),
        (trials(times(1e3, slice(14, None))), "from about trial 14 .* these trials are about 1,000 times as large"),
        (trials(unit="whitened"), "the run's trials are in V, these in whitened: preprocess them as the run was"),
        (trials(sfreq=120.0), "the run's trials have 100 Hz, these 120 Hz: preprocess them as the run was"),
        (trials(tmin=0.1), "the run decodes 0 to 0.4 s, and these trials span 0.1 to 0.7"),
        (trials().crop(-0.1, 0.3), "the run decodes 0 to 0.4 s, and these trials span -0.1 to 0.3 s: .*tmin, tmax"),
        (trials(tmin=-0.096), "the run's trials begin at 0 s, 40 samples, these at 0.004 s, 40"),
        (trials().pick(NAMES[1:]), "trained on 8 channels, and these trials lack 1 of them: 'Fp1' .*mean 'Fp2'"),
        (trials(ch_names=[n.lower() for n in NAMES]), "lack 8 of them: 'Fp1' .did you mean 'fp1'.*g.rename"),
        (trials(lambda x: x[3, 2].fill(np.nan)), r"trial 3 \(from 0\) holds NaN or infinity"),
    ],
)
def test_trials_unlike_those_of_the_training_are_refused(new, message):
    with pytest.raises(PhospheneError, match=message):
        as_trained(new, OWN, OWN)


def test_a_channel_that_fell_silent_is_told(caplog):
    other = as_trained(trials(lambda x: x[:, 7].fill(0)), OWN, OWN)
    assert len(other) == N
    assert "channels flat in these trials and not in training: Cz" in caplog.text
