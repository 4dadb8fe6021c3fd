"""THINGS-MEG's rules on files made here; then the real ones, where they are present."""

import os
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

from phosphene.datasets.base import Epoched
from phosphene.datasets.things.meg import CATCH, ThingsMEG
from phosphene.errors import PhospheneError

DATA = Path(os.environ.get("PHOSPHENE_DATA", "data"))
PICTURES = [f"{c}_{k}.jpg" for c in ("aardvark", "aircraft_carrier", "bow2") for k in ("01b", "02s", "03s")]
TRAIN, TESTED = [1, 2, 3, 7, 9], 5  # picture 5 is of aircraft_carrier, and so is 4
N_SENSORS = 4
FACTS = replace(
    ThingsMEG.facts, subjects=1, n_chans=N_SENSORS, train_trials=5, train_concepts=2, test_trials=12, test_concepts=1
)


def write(root, *, name="P1", n_tests=12, codes=None, metadata=False, names=True, seed=0):
    """Epochs of 4 gradiometers and a reference at 200 Hz, -0.1 to 1.3 s; picture numbers, and catch trials."""
    rng = np.random.default_rng(seed)
    if codes is None:
        codes = rng.permutation([*TRAIN, 4, *[TESTED] * n_tests, CATCH, CATCH])
    sensors = [f"MLC{i + 11}" for i in range(N_SENSORS)]
    info = mne.create_info([*sensors, "R1"], 200.0, ["mag"] * N_SENSORS + ["ref_meg"])
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 0.01)
    for i, channel in enumerate(info["chs"]):
        channel["loc"][:3] = (0.01 * i, 0.02, 0.1)
    x = 1e-13 * rng.standard_normal((len(codes), N_SENSORS + 1, 281))
    events = np.column_stack([1000 * np.arange(len(codes)), np.zeros(len(codes), int), codes])
    epochs = mne.EpochsArray(x, info, events, tmin=-0.1, verbose="error")
    if metadata:
        paths = ["" if c == CATCH else f"object_images/x/{PICTURES[c - 1]}" for c in codes]
        epochs.metadata = pd.DataFrame({"image_path": paths, "session_nr": np.arange(len(codes)) % 12 + 1})
    root.mkdir(parents=True, exist_ok=True)
    epochs.save(root / f"preprocessed_{name}-epo.fif", fmt="double", overwrite=True, verbose="error")
    if names:
        (root / "file_names_THINGS.txt").write_text("\n".join(PICTURES) + "\n")
    return np.asarray(codes), x


def test_the_rules(tmp_path):
    """12 presentations make a test picture; catch trials and training trials of test concepts go; 0 to 1 s stays."""
    codes, x = write(tmp_path / "data" / "derivatives")
    dataset = ThingsMEG(tmp_path / "data", subject=1, cache=str(tmp_path / "cache"))
    assert dataset.check(FACTS) == []
    (piece,) = dataset.recordings(dataset.chosen())
    assert isinstance(piece, Epoched)
    kept = (codes != CATCH) & (codes != 4)  # 4 is the other picture of the test concept
    assert piece.eeg.shape == (17, N_SENSORS, 201)
    np.testing.assert_allclose(piece.eeg, x[kept][:, :N_SENSORS, 20:221], rtol=1e-6)
    assert piece.eeg.dtype == np.float32
    assert isinstance(piece.eeg, np.memmap)
    assert piece.table["stimulus"].tolist() == [PICTURES[c - 1][:-4] for c in codes[kept]]
    assert (piece.table["split"] == "test").tolist() == (codes[kept] == TESTED).tolist()
    test = piece.table[piece.table["split"] == "test"]
    assert test["concept"].unique().tolist() == ["aircraft_carrier"]
    assert test["repeat"].tolist() == list(range(12))
    assert not set(piece.table["concept"][piece.table["split"] == "train"]) & {"aircraft_carrier"}
    assert any("2 catch trials" in n for n in piece.notes)
    assert any("1 training trials" in n for n in piece.notes)
    assert any("tesla" in c for c in dataset.caveats)
    assert piece.signal.tmin == 0
    assert piece.signal.ch_names == ("MLC11", "MLC12", "MLC13", "MLC14")
    np.testing.assert_allclose(piece.signal.positions, [[0.01 * i + 0.0, 0.02, 0.1] for i in range(4)] + SHIFT)
    stimuli = dataset.stimuli()
    assert "image" not in stimuli
    assert set(stimuli.index) == set(piece.table["stimulus"])


SHIFT = np.array([0.01 if row == 0 else 0.0 for row in range(3)])  # of the head, see `write`


def test_loading(tmp_path):
    codes, x = write(tmp_path / "data")
    for picture in PICTURES:
        concept = picture.rsplit("_", 1)[0]
        path = tmp_path / "data" / "object_images" / concept / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    dataset = ThingsMEG(tmp_path / "data", cache=str(tmp_path / "cache"))
    steps = dataset.steps({})
    trials = dataset.load(steps)
    assert trials.eeg.shape == (17, N_SENSORS, 201)
    assert Path(trials.stimuli.loc["bow2_01b", "image"]).is_file()
    kept = x[(codes != CATCH) & (codes != 4)]
    np.testing.assert_allclose(np.asarray(trials.eeg[3]), kept[3, :N_SENSORS, 20:221], rtol=1e-6)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.npy")}
    assert len(made) == 1
    ThingsMEG(tmp_path / "data", cache=str(tmp_path / "cache")).load(steps)  # reads what is kept
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.npy")} == made


def test_the_category_comes_from_things_table(tmp_path):
    write(tmp_path)
    table = "uniqueID\tanimal\naardvark\t1\naircraft carrier\t\nbow2\t\n"
    (tmp_path / "Categories_fixedUniqueID.tsv").write_text(table)
    stimuli = ThingsMEG(tmp_path, concepts=".").stimuli()
    assert set(stimuli[["concept", "category"]].itertuples(index=False, name=None)) == {
        ("aardvark", "animate"),
        ("aircraft_carrier", "inanimate"),
        ("bow2", "inanimate"),
    }
    assert "category" not in ThingsMEG(tmp_path).stimuli()


def test_metadata_names_pictures_and_sessions(tmp_path):
    codes, _ = write(tmp_path, metadata=True, names=False)
    table, _ = ThingsMEG(tmp_path).table("P1")
    kept = (codes != CATCH) & (codes != 4)
    assert table["stimulus"].tolist() == [PICTURES[c - 1][:-4] for c in codes[kept]]
    assert table["session"].tolist() == [f"{i % 12 + 1:02d}" for i in np.flatnonzero(kept)]


def test_what_differs_is_said(tmp_path):
    write(tmp_path / "data")
    dataset = ThingsMEG(tmp_path / "data", cache=str(tmp_path / "cache"))
    assert dataset.check() == [
        "the folder: 1 subjects, 4 expected",
        "P1/train: 5 trials, 19848 expected",
        "P1/train: 2 concepts, 1654 expected",
        "P1/test: 12 trials, 2400 expected",
        "P1/test: 1 concepts, 200 expected",
        "P1: 4 sensors, 271 expected",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_tests": 11}, "no picture was shown 12 times"),
        ({"names": False}, r"set dataset\.names"),
        ({"codes": [*[5] * 12, 10]}, "shows picture 10 and .* lists 9"),
    ],
)
def test_refusals_are_one_line(tmp_path, arguments, message):
    write(tmp_path, **arguments)
    with pytest.raises(PhospheneError, match=message) as caught:
        ThingsMEG(tmp_path).stimuli()
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "preprocessed_P1-epo.fif"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(PhospheneError, match="cannot be read"):
        ThingsMEG(tmp_path).stimuli()


def test_the_real_files():
    """Every expected fact, on files that are not made; set PHOSPHENE_DATA to the folder of the data sets."""
    root = next((p for p in (DATA / "things-meg", DATA / "things_meg", DATA) if p.is_dir()), DATA)
    if not root.is_dir() or not list(root.glob("**/preprocessed_P*-epo.fif")):
        pytest.skip(f"no THINGS-MEG under {root} (environment variable PHOSPHENE_DATA)")
    assert [line for line in ThingsMEG(root).check() if "subjects" not in line] == []
