from dataclasses import replace

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_trials, without_checksums
from phosphene.eeg import lazy
from phosphene.eeg.lazy import LazyArray, stays
from phosphene.eeg.trials import Signal, Trials, concatenate
from phosphene.errors import PhospheneError


def test_times_count_from_onset(trials):
    assert trials.times[0] == pytest.approx(-0.1)
    assert trials.times[10] == pytest.approx(0.0)
    assert len(trials.times) == trials.n_times


def test_crop_is_half_open(trials):
    part = trials.crop(0.0, 0.2)
    assert part.n_times == 20
    assert part.times[0] == pytest.approx(0.0)
    np.testing.assert_array_equal(part.eeg, trials.eeg[:, :, 10:30])


@given(st.integers(0, 39), st.integers(1, 40))
def test_crop_keeps_the_samples_at_their_times(first, length):
    trials = make_trials(repeats=1)
    tmin = trials.times[first]
    part = trials.crop(tmin, tmin + length / 100)
    np.testing.assert_allclose(part.times, trials.times[first : first + length], atol=1e-9)


def test_empty_crop_names_the_span(trials):
    with pytest.raises(PhospheneError, match=r"span -0.1 to 0.29"):
        trials.crop(1.0, 2.0)


def test_select_by_column_and_mask(trials):
    assert set(trials.select(split="test").table["concept"]) == {"c4", "c5"}
    assert len(trials.select(concept=["c0", "c1"], repeat=0)) == 4
    mask = np.zeros(len(trials), bool)
    mask[3] = True
    np.testing.assert_array_equal(trials.select(mask).eeg[0], trials.eeg[3])
    with pytest.raises(PhospheneError, match="did you mean 'concept'"):
        trials.select(concepts="c0")


def test_pick_orders_and_refuses(trials):
    part = trials.pick(["Oz", "Fz"])
    np.testing.assert_array_equal(part.eeg[:, 0], trials.eeg[:, 3])
    assert part.signal.ch_names == ("Oz", "Fz")
    with pytest.raises(PhospheneError, match="channel 'OZ' is not in the recording: did you mean 'Oz'"):
        trials.pick(["OZ"])


def test_average_is_the_mean_of_the_repeats(trials):
    mean = trials.average()
    assert len(mean) == 12
    assert (mean.table["n_averaged"] == 3).all()
    rows = (trials.table["stimulus"] == "s21").to_numpy()
    at = int((mean.table["stimulus"] == "s21").to_numpy().argmax())
    np.testing.assert_allclose(mean.eeg[at], trials.eeg[rows].mean(0), rtol=1e-5)


def test_average_by_two_leaves_the_rest(trials):
    assert len(trials.average(2)) == 24  # two and one of three repeats
    assert sorted(trials.average(2).table["n_averaged"].unique()) == [1, 2]


def test_average_never_crosses_a_split(trials):
    table = trials.table.copy()
    table.loc[table["repeat"] == 0, "split"] = "test"
    mixed = Trials(trials.eeg, table, trials.stimuli, trials.signal)
    for column in ("train", "test"):
        part = mixed.select(split=column)
        whole = mixed.average().select(split=column)
        np.testing.assert_allclose(whole.eeg, part.average().eeg, rtol=1e-5)


def test_save_and_load_keep_everything(tmp_path, trials):
    trials.notes.append("a caveat")
    again = Trials.load(trials.save(tmp_path / "t"))
    assert isinstance(again.eeg, np.memmap)
    np.testing.assert_array_equal(again.eeg, trials.eeg)
    pd.testing.assert_frame_equal(again.table, trials.table, check_dtype=False)
    pd.testing.assert_frame_equal(again.stimuli, trials.stimuli, check_dtype=False)
    assert again.signal == trials.signal
    assert again.notes == ["a caveat"]
    assert again.table["run"].iloc[0] == "01"


def test_truncated_array_is_refused(tmp_path, trials):
    folder = without_checksums(trials.save(tmp_path / "t"))
    data = (folder / "eeg.npy").read_bytes()
    (folder / "eeg.npy").write_bytes(data[: len(data) // 2])
    with pytest.raises(PhospheneError, match="fetch it again"):
        Trials.load(folder)


def test_pickled_array_never_runs(tmp_path, trials):
    folder = without_checksums(trials.save(tmp_path / "t"))

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(folder / "eeg.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(PhospheneError, match="which could run code"):
        Trials.load(folder)
    assert not (tmp_path / "ran").exists()


def test_mne_round_trip(trials):
    positions = tuple((0.01 * i, 0.02, 0.08) for i in range(trials.n_chans))
    located = Trials(trials.eeg, trials.table, trials.stimuli, Signal(trials.signal.ch_names, 100.0, -0.1, positions))
    epochs = located.to_mne()
    assert isinstance(epochs, mne.EpochsArray)
    again = Trials.from_mne(epochs, located.table, located.stimuli)
    np.testing.assert_allclose(again.eeg, located.eeg, rtol=1e-6)
    assert again.signal.tmin == pytest.approx(-0.1)
    np.testing.assert_allclose(again.signal.positions, positions, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eeg": np.zeros((3, 4))}, "n_trials, n_chans, n_times"),
        ({"eeg": np.zeros((36, 4, 40))}, "4 channels and signal names 5"),
        ({"eeg": np.zeros((35, 5, 40))}, "35 trials and the table 36 rows"),
        ({"table": pd.DataFrame({"subject": ["1"] * 36})}, "no column 'stimulus'"),
        ({"stimuli": pd.DataFrame({"concept": ["c"]}, index=["other"])}, "not among the stimuli"),
    ],
)
def test_parts_that_do_not_fit_are_refused(trials, change, message):
    parts = {"eeg": trials.eeg, "table": trials.table, "stimuli": trials.stimuli, "signal": trials.signal}
    with pytest.raises(PhospheneError, match=message):
        Trials(**(parts | change))


def test_nan_channel_is_named(trials):
    epochs = trials.to_mne()
    epochs._data[3, 2] = np.nan
    with pytest.raises(PhospheneError, match="channel 'Pz' holds NaN"):
        Trials.from_mne(epochs, trials.table, trials.stimuli)


def test_concatenate_refuses_other_rates(trials):
    other = Trials(trials.eeg, trials.table, trials.stimuli, Signal(trials.signal.ch_names, 200.0, -0.1))
    with pytest.raises(PhospheneError, match="set preprocessing.sfreq"):
        concatenate([trials, other])
    assert len(concatenate([trials, trials])) == 2 * len(trials)


def test_concatenate_refuses_other_times(trials):
    other = Trials(trials.eeg, trials.table, trials.stimuli, replace(trials.signal, tmin=trials.signal.tmin + 0.1))
    with pytest.raises(PhospheneError, match="begin at -0.1 and 0 s from onset: cut them alike"):
        concatenate([trials, other])


def test_concatenate_refuses_other_channels_and_another_order(trials):
    names = trials.signal.ch_names
    with pytest.raises(PhospheneError, match="differ in channels .order.: pick the common ones"):
        concatenate([trials, trials.pick(names[::-1])])
    with pytest.raises(PhospheneError, match=f"differ in channels .{names[0]}.: pick the common ones"):
        concatenate([trials, trials.pick(names[1:])])


def test_signal_refuses_duplicates_and_bad_rates():
    with pytest.raises(PhospheneError, match="named twice"):
        Signal(("Cz", "Cz"), 100.0)
    with pytest.raises(PhospheneError, match="positive number"):
        Signal(("Cz",), 0.0)


# -- on disk -------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path, trials, monkeypatch):
    """The same trials on disk, read three at a time; nothing is small enough to be read at once."""
    monkeypatch.setattr(lazy, "SMALL", -1)
    monkeypatch.setattr(lazy._step, "__defaults__", (3 * 4 * 5 * 40,))
    return Trials.load(trials.save(tmp_path / "stored"))


STEPS = {
    "select": lambda t: t.select(split="test"),
    "mask": lambda t: t.select(np.arange(len(t)) % 5 == 2),
    "shuffled": lambda t: t.select(np.random.default_rng(0).permutation(len(t))),
    "pick": lambda t: t.pick(["Oz", "Fz"]),
    "crop": lambda t: t.crop(0.0, 0.2),
    "average": lambda t: t.average(),
    "average of two": lambda t: t.average(2),
    "average of all": lambda t: t.average(by=("subject",)),
    "all of these": lambda t: t.crop(0.0, 0.2).select(split="train").pick(["Oz", "Fz"]).average(2).select(concept="c1"),
    "joined": lambda t: concatenate([t.select(split="train"), t, t.average()]),
    "none": lambda t: t.select(concept="no such concept"),
    "mean of none": lambda t: t.select(concept="no such concept").average(),
}


@pytest.mark.parametrize("step", STEPS)
def test_trials_on_disk_give_what_trials_in_memory_give(stored, trials, step, tmp_path):
    want, got = STEPS[step](trials), STEPS[step](stored)
    assert isinstance(want.eeg, np.ndarray)
    assert isinstance(got.eeg, LazyArray)
    assert stays(got.eeg)
    np.testing.assert_array_equal(got.eeg[:], want.eeg)
    pd.testing.assert_frame_equal(got.table, want.table, check_dtype=False)
    assert got.signal == want.signal
    again = Trials.load(got.save(tmp_path / "again")) if len(got) else got
    np.testing.assert_array_equal(np.asarray(again.eeg), want.eeg)


def test_means_on_disk_never_cross_a_split(stored):
    stored.table.loc[stored.table["repeat"] == 0, "split"] = "test"
    for column in ("train", "test"):
        got = stored.average().select(split=column)
        np.testing.assert_array_equal(got.eeg[:], stored.select(split=column).average().eeg[:])


def test_small_arrays_are_read_at_once(tmp_path, trials):
    again = Trials.load(trials.save(tmp_path / "t"))
    for part in (again.select(split="test"), again.crop(0.0, 0.2), again.average(), concatenate([again, again])):
        assert isinstance(part.eeg, np.ndarray)
        assert not stays(part.eeg)


def test_what_is_saved_is_what_numpy_saves(tmp_path, trials, stored):
    np.save(tmp_path / "want.npy", trials.eeg)
    want = (tmp_path / "want.npy").read_bytes()
    folded = Trials(np.asfortranarray(trials.eeg), trials.table, trials.stimuli, trials.signal)
    for i, given_trials in enumerate((trials, stored, folded)):
        assert (given_trials.save(tmp_path / str(i)) / "eeg.npy").read_bytes() == want


def test_arrays_of_other_types_stay_on_disk(tmp_path, trials):
    np.save(tmp_path / "x.npy", trials.eeg.astype(np.float64))
    eeg = np.load(tmp_path / "x.npy", mmap_mode="r")
    held = Trials(eeg, trials.table, trials.stimuli, trials.signal)
    assert isinstance(held.eeg, LazyArray)
    np.testing.assert_array_equal(held.eeg[:], trials.eeg)
    np.testing.assert_array_equal(held.to_mne().get_data(), trials.eeg.astype(np.float64))


@pytest.mark.parametrize("value", ["100", None, float("nan"), True, [100.0]])
@pytest.mark.parametrize("name", ["sfreq", "tmin"])
def test_a_rate_or_time_that_is_no_number_is_told(name, value):
    with pytest.raises(PhospheneError, match=f"{name} is .*: give the (sampling rate|time)"):
        Signal(**{"ch_names": ("Cz",), "sfreq": 100.0, "tmin": 0.0, name: value})


@pytest.mark.parametrize("kind", [int, float, np.float32, np.int16])
def test_rates_are_numbers_of_any_kind(kind):
    assert Signal(("Cz",), kind(100), kind(0)).times(2)[1] == pytest.approx(0.01)
