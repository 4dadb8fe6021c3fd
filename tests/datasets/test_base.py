"""What `Dataset.load` makes of recordings and of stored epochs, in memory and on disk."""

import mne
import numpy as np
import pandas as pd
import pytest

from phosphene.datasets import base
from phosphene.datasets.base import Dataset, Epoched, Recording
from phosphene.eeg import lazy
from phosphene.eeg.lazy import LazyArray, stays
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError
from phosphene.runs.recipe import Recipe

SIGNAL = Signal(("Fz", "Cz", "Oz"), 100.0, -0.1)
TABLE = pd.DataFrame({"subject": "01", "stimulus": ["a", "b"] * 4})
LABELS = pd.DataFrame({"concept": ["x", "y"]}, index=pd.Index(["a", "b"], name="stimulus"))


class Made(Dataset):
    """Yields the pieces that it was given."""

    licence, citation, design, caveats = "none", "none", "rapid", ("a caveat",)

    def __init__(self, root, pieces, epoched=True):
        super().__init__(root)
        self.pieces = pieces
        vars(self).update(epoched=epoched)

    def subjects(self):
        return ["01"]

    def stimuli(self):
        return LABELS

    def recordings(self, subjects):
        yield from self.pieces


def volts(seed=0, n_times=50):
    return (1e-5 * np.random.default_rng(seed).standard_normal((8, 3, n_times))).astype(np.float32)


def raw(seed=0):
    data = 1e-5 * np.random.default_rng(seed).standard_normal((3, 1500))
    info = mne.create_info(list(SIGNAL.ch_names), 100.0, "eeg")
    return Recording(
        f"run {seed}", mne.io.RawArray(data, info, verbose="error"), TABLE.assign(onset=1.0 + np.arange(8))
    )


def test_epochs_on_disk_are_joined_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "SMALL", -1)
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", 1e6 * volts(i))
    pieces = [
        Epoched(f"piece {i}", np.load(tmp_path / f"{i}.npy", mmap_mode="r"), SIGNAL, TABLE, 1e-6, notes=[f"note {i}"])
        for i in range(2)
    ]
    heard = []
    dataset = Made(tmp_path, pieces)
    trials = dataset.load(dataset.steps({}), heard.append)
    assert isinstance(trials.eeg, LazyArray)
    assert stays(trials.eeg)
    np.testing.assert_allclose(trials.eeg[:], np.concatenate([volts(0), volts(1)]), rtol=1e-5)
    assert trials.notes == ["a caveat", "note 0", "note 1"]
    assert heard == ["piece 0", "piece 1"]
    again = Trials.load(trials.save(tmp_path / "trials"))
    np.testing.assert_array_equal(np.asarray(again.eeg), trials.eeg[:])


def test_dropped_epochs_are_counted(tmp_path):
    loud = volts()
    loud[2, 1, 7] = 1e-3
    dataset = Made(tmp_path, [Epoched("first", loud, SIGNAL, TABLE), Epoched("second", volts(1), SIGNAL, TABLE)])
    trials = dataset.load(dataset.steps({"reject": 5e-4}))
    assert len(trials) == 15
    assert any(n.startswith("1 of 16 epochs dropped") and n.endswith("first 1") for n in trials.notes)


def test_errors_name_the_piece(tmp_path):
    dataset = Made(tmp_path, [Epoched("sub-01/training", volts(), SIGNAL, TABLE)])
    with pytest.raises(PhospheneError, match=r"^sub-01/training: .*tmax is 0.9 s"):
        dataset.load(dataset.steps({"tmax": 0.9}))
    with pytest.raises(PhospheneError, match="l_freq cannot be applied"):
        dataset.load(Preprocessing())


def test_recordings_beyond_what_memory_should_hold_go_to_a_file(tmp_path, monkeypatch):
    steps = Preprocessing(l_freq=None, h_freq=None, sfreq=None)
    want = Made(tmp_path, [raw(i) for i in range(3)], epoched=False).load(steps)
    assert not stays(want.eeg)
    monkeypatch.setattr(lazy, "SMALL", -1)
    monkeypatch.setattr(base, "_HELD", want.eeg.nbytes // 2)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    got = Made(tmp_path, [raw(i) for i in range(3)], epoched=False).load(steps)
    assert stays(got.eeg)
    np.testing.assert_array_equal(got.eeg[:], want.eeg)
    pd.testing.assert_frame_equal(got.table, want.table)
    assert list(tmp_path.iterdir()) == []  # the files have no name


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(self, file):
        raise OSError(28, "No space left on device")

    class Full(np.ndarray):
        tofile = full

    with pytest.raises(PhospheneError, match="set TMPDIR to a folder with more") as error:
        monkeypatch.setattr(np, "ascontiguousarray", lambda x: x.view(Full))
        lazy.spooled(volts())
    assert "\n" not in str(error.value)


def test_steps_are_checked_and_what_is_left_out_is_as_stored(tmp_path):
    stored, continuous = Made(tmp_path, []), Made(tmp_path, [], epoched=False)
    steps = stored.steps({"tmin": "0.1"})
    assert (steps.tmin, steps.tmax, steps.baseline, steps.sfreq, steps.l_freq) == (0.1, None, None, None, None)
    assert continuous.steps({"tmin": "0.1", "baseline": None}).tmax == 0.8
    for dataset in (stored, continuous):
        with pytest.raises(PhospheneError, match="did you mean 'tmin'"):
            dataset.steps({"tmn": 0.1})


@pytest.mark.parametrize("key", ["l_freq", "h_freq", "notch"])
def test_a_recipe_with_a_filter_of_stored_epochs_is_refused_at_once(key):
    recipe = {"name": "x", "dataset": {"name": "arrays", "root": "somewhere"}, "method": {"name": "nice"}}
    assert Recipe.read({**recipe, "preprocessing": {"tmin": 0.9}}).steps().tmax is None
    with pytest.raises(PhospheneError, match=f"preprocessing.{key} cannot be applied .* leave it out"):
        Recipe.read({**recipe, "preprocessing": {key: 10.0}})
