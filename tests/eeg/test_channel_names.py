"""Channels that are no electrodes are known by their names, whatever amplifier named them; electrodes never are."""

import mne
import numpy as np
import pytest

from phosphene.datasets.eegcvpr40.names import CHANNELS as OF_EEGCVPR40
from phosphene.datasets.own import from_arrays
from phosphene.datasets.things.channels import CHANNELS as OF_THINGS
from phosphene.eeg.channels import left_out, no_electrodes, what_it_is
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.errors import PhospheneError
from phosphene.runs.recipe import Recipe

CAP = ["fp1", "fp2", "c3", "c4", "o1", "o2"]  # as some systems write them


def split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


#: what amplifiers and converters add to the EEG, and what it is
BESIDE = {
    "BioSemi": "EXG1, EXG8, GSR1, GSR2, Erg1, Resp, Plet, Temp",
    "Emotiv": "COUNTER, INTERPOLATED, RAW_CQ, CQ_AF3, CQ_Overall, EQ_AF3, GYROX, GYROY, TIME_STAMP_s, TIME_STAMP_ms, "
    "BATTERY, BATTERY_PERCENT, EEG.Counter, EEG.Interpolated, EEG.RawCq, EEG.BatteryPercent, MOT.AccX, POW.AF3.Theta, "
    "OriginalTimestamp, HighBitFlex, SaturationFlag",
    "Muse": "Right AUX, AUX_R, Accelerometer_X, Gyro_Z, HSI_TP9, HeadBandOn, Battery, PPG1, timestamps, Alpha_TP9",
    "OpenBCI": "Accel Channel 0, Accel Channel 2, Analog Channel 1, Sample Index, Timestamp (Formatted), Other",
    "g.tec": "Accelerometer X, Gyroscope Y, Battery Level, Counter, Validation Indicator, PhotoSensor, AUX",
    "ANT": "BIP1, BIP24, AUX1, EOG, EMG",
    "Neuroscan": "HEO, VEO, HEOG, VEOG, VEOGL, EKG, EMG",
    "Brain Products": "EOG_L, ECG, ACC_X, x_dir, Aux1, BIP2AUX, GSR_MR_100_left_hand, Photo",
    "Graz": "EOG-left, EOG-central, EOG-right",
    "sleep": "LOC-REF, ROC, chin1, EEG EKG1-REF, SpO2, SaO2, Airflow, Thorax, Abdomen, Snore, PULSE RATE",
    "face": "LO1, LO2, IO1, IO2, SO1, IO, LEOG, EOG1, hEOG, Veog+, EOGv, Lower Eye, pupil_left, L-GAZE-X",
    "others": "Photodiode, light sensor, LDR, PD, audio, Mic, button, SampleNumber, ACC X [g], EDA, SCR, "
    "respiration_belt, Temperature, PPG, heart rate, DC01, TimeStamp",
}
MARKERS = (
    "STI 014, STI101, Status, TRIGGER, Trig1, Marker, DIN1, EDF Annotations, MARKER_HARDWARE, TTL, Digital Channel 0"
)


@pytest.mark.parametrize("maker", BESIDE)
def test_what_is_no_electrode_is_known(maker):
    names = split(BESIDE[maker])
    assert [name for name in names if what_it_is(name) in (None, "markers")] == []
    assert left_out([*CAP, *names]) == names
    assert left_out([*CAP, *(name.upper() for name in names)]) == [name.upper() for name in names]


def test_markers_are_known():
    for name in split(MARKERS):
        with pytest.raises(PhospheneError, match="holds markers, not EEG: set its type to stim"):
            left_out([*CAP, name])
        assert left_out([*CAP, name], types=[name]) == []
        assert left_out([*CAP, name], picks=CAP) == [name]


#: electrodes, whatever they are called
ELECTRODES = {
    "lower case": CAP,
    "mastoids": split("A1, A2, M1, M2, TP9, TP10, CB1, CB2, Nz, Iz, REF"),
    "EGI": [*(f"E{i}" for i in range(1, 129)), "VREF", "E 12"],
    "Brain Products": [str(i) for i in range(1, 65)],
    "BioSemi": [f"{bank}{i}" for bank in "ABCDEFGH" for i in range(1, 33)],
    "OpenBCI": [f"EXG Channel {i}" for i in range(8)],
    "EDF": split("EEG Fp1-REF, EEG 1, Ch1, EEG.AF3, RAW_TP9, POL A1"),
    "intracranial": [f"{shaft}{i}" for shaft in ("LH", "RPO", "ACC", "LO", "SO", "PD", "A'") for i in range(1, 11)],
    "MEG": split("MEG 0111, MEG0113, MLC11, MRF64"),
    "THINGS-EEG2": list(OF_THINGS),
    "EEGCVPR40": list(OF_EEGCVPR40),
}


@pytest.mark.parametrize("cap", ELECTRODES)
def test_electrodes_are_never_left_out(cap):
    assert no_electrodes(ELECTRODES[cap]) == {}


def test_no_electrode_of_a_montage_is_left_out():
    for montage in mne.channels.get_builtin_montages():
        names = mne.channels.make_standard_montage(montage).ch_names
        assert no_electrodes(names) == {}, montage


def test_where_nothing_is_an_electrode_it_is_told():
    with pytest.raises(PhospheneError, match=r"no channel name is that of an electrode \(EXG1, EXG2 .*: eeg}"):
        left_out(["EXG1", "EXG2"])


def test_stored_trials_without_eeg_are_refused():
    rows, types = [{"stimulus": f"s{i}", "concept": "c"} for i in range(8)], {"Fz": "eog", "Cz": "emg"}
    x, steps = 1e-5 * np.random.default_rng(0).normal(size=(8, 2, 50)), Preprocessing.as_stored(channel_types=types)
    known = {"ch_names": ["Fz", "Cz"], "sfreq": 100.0, "tmin": -0.1, "concept": "concept"}
    with pytest.raises(PhospheneError, match=r"no channel is of type EEG \(types: emg, eog\): correct"):
        from_arrays(x, rows, **known, preprocessing=steps)


@pytest.mark.parametrize(("kind", "near"), [("EEGG", "eeg"), ("VEOG", "eog"), ("stims", "stim"), ("seg", "seeg")])
def test_an_unknown_type_is_told(kind, near):
    with pytest.raises(PhospheneError, match=f"'Cz' is '{kind}', no type of channel: did you mean '{near}'"):
        Preprocessing(channel_types={"Cz": kind})


def test_types_may_be_written_as_in_bids():
    assert Preprocessing(channel_types={"Cz": "EEG", "x": "EOG"}).channel_types == {"Cz": "eeg", "x": "eog"}


def test_a_recipe_holds_the_types_and_one_without_them_is_as_before():
    given = {"dataset.root": "study", "preprocessing.channel_types": {"Photo": "misc"}}
    assert Recipe.read("own-study", given).steps().channel_types == {"Photo": "misc"}
    assert "channel_types" not in Recipe.read("own-study", {"dataset.root": "study"}).model_dump()["preprocessing"]
    with pytest.raises(
        PhospheneError, match="channel_types: 'Photo' is 'mis', no type of channel: did you mean 'misc'"
    ):
        Recipe.read("own-study", {**given, "preprocessing.channel_types": {"Photo": "mis"}})
