"""A simulated study in the files of EEGCVPR40 is read by the reader of the published ones, and says what it is."""

import json

import numpy as np
import pytest
import torch

from phosphene.captions import CaptionTable
from phosphene.datasets.eegcvpr40.dataset import EEGCVPR40
from phosphene.datasets.eegcvpr40.names import ANIMALS, CHANNELS
from phosphene.datasets.eegcvpr40.simulated import simulate
from phosphene.eeg.lazy import stays
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import Protocol
from phosphene.simulate.designs import DESIGNS
from phosphene.simulate.eegcvpr40 import LIKENESS, show, visit

SMALL = {"n_subjects": 2, "n_classes": 4, "n_per_class": 6}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("made") / "study", **SMALL)


def load(root, **arguments):
    dataset = EEGCVPR40(root, file="5_95", **arguments)
    return dataset.load(dataset.steps({}))


def test_the_files_are_those_of_the_published_study(root):
    assert sorted(p.name for p in root.iterdir()) == [
        "block_splits_by_image_all.pth",
        "block_splits_by_image_single.pth",
        "captions.csv",
        "dataset.json",
        "eeg_5_95_std.pth",
        "image_order.txt",
        "images",
    ]
    held = torch.load(root / "eeg_5_95_std.pth", weights_only=True)
    assert list(held) == ["dataset", "labels", "images"]
    assert [len(held[key]) for key in held] == [48, 4, 24]
    assert held["labels"] != sorted(held["labels"])
    record = held["dataset"][30]
    assert (record["eeg"].dtype, tuple(record["eeg"].shape)) == (torch.float32, (128, 500))
    assert record["eeg"].untyped_storage().nbytes() == 4 * 128 * 500  # a tensor of its own
    assert [r["subject"] for r in held["dataset"]] == [1] * 24 + [2] * 24
    splits = torch.load(root / "block_splits_by_image_all.pth", weights_only=True)["splits"]
    assert [sorted(i for part in split.values() for i in part) for split in splits] == [list(range(48))] * 6
    (single,) = torch.load(root / "block_splits_by_image_single.pth", weights_only=True)["splits"]
    assert sorted(i for part in single.values() for i in part) == list(range(12))


def test_captions_say_what_is_drawn(root):
    said = CaptionTable.read(root / "captions.csv")
    trials = load(root, splits="all", images="images")
    stimuli = said.join(trials.stimuli, set(trials.table["stimulus"]), ["ObjectSnap", "PlaceView"])
    shown = show(DESIGNS["block"], n_classes=4, n_per_class=6)
    for wnid, name, caption in zip(
        shown.pictures["wnid"], shown.pictures.index, shown.captions["ObjectSnap"], strict=True
    ):
        assert stimuli.loc[name, "ObjectSnap"] == caption
        assert LIKENESS[wnid] in caption


def test_every_record_bears_its_own_picture_and_person(root):
    trials = load(root, splits="all", images="images")
    assert trials.eeg.shape == (48, 128, 440)
    shown = show(DESIGNS["block"], n_classes=4, n_per_class=6)
    for subject in (1, 2):
        own = trials.table["subject"] == str(subject)
        eeg, names = np.asarray(trials.eeg)[own.to_numpy()], trials.table["stimulus"][own].to_numpy()
        for rows, records in visit(subject, shown, DESIGNS["block"], CHANNELS, band=(5.0, 95.0)):
            for row, record in zip(rows, records, strict=True):
                (i,) = np.flatnonzero(names == shown.pictures.index[row])
                np.testing.assert_allclose(eeg[i], record[:, 20:460], rtol=1e-5)
    place = dict(zip(shown.events["stimulus"], range(24), strict=True))
    assert trials.table["order"].tolist() == [place[name] for name in trials.table["stimulus"]]
    animate = trials.stimuli["wnid"].isin(ANIMALS)
    assert ((trials.stimuli["category"] == "animate") == animate).all()
    assert animate.sum() == 12


@pytest.mark.parametrize("splits", ["all", "single"])
def test_a_picture_is_in_one_part_and_a_block_in_all(root, splits):
    table = load(root, splits=splits).table
    assert (table.groupby("stimulus")["split"].nunique() == 1).all()
    if splits == "all":
        assert (table.groupby("block")["split"].nunique() == 3).all()
        assert table["split"].value_counts().to_dict() == {"train": 32, "val": 8, "test": 8}
    fold = next(Protocol().folds(load(root, splits=splits)))
    assert fold.train.any() & fold.val.any() & fold.test.any()


def test_it_says_that_it_is_simulated(root):
    dataset = EEGCVPR40(root, file="5_95")
    assert (dataset.simulated, dataset.design, dataset.licence) == (True, "block", "CC0-1.0")
    notes = load(root).notes
    assert any("simulated EEG" in note for note in notes)
    assert any("Block design" in note for note in notes)
    assert not any("watermelon" in note or "not the published ones" in note for note in notes)
    assert not EEGCVPR40.simulated
    assert all(stays(piece.eeg) for piece in dataset.recordings(["1"]))


def test_an_intermixed_study_has_no_blocks(tmp_path):
    root = simulate(tmp_path / "study", design="rapid", n_subjects=1, n_classes=2, n_per_class=6, band="14_70")
    dataset = EEGCVPR40(root, file="14_70")
    assert dataset.design == "rapid"
    trials = dataset.load(dataset.steps({}))
    assert trials.table["block"].nunique() == 1
    assert not any("Block design" in note for note in trials.notes)


def test_the_same_study_is_reused_and_anything_else_refused(root):
    before = (root / "eeg_5_95_std.pth").stat().st_mtime_ns
    assert simulate(root, **SMALL) == root
    assert (root / "eeg_5_95_std.pth").stat().st_mtime_ns == before
    with pytest.raises(PhospheneError, match="holds another simulated study"):
        simulate(root, **{**SMALL, "seed": 1})
    assert json.loads((root / "dataset.json").read_text())["parameters"]["seed"] == 0


def test_nothing_half_written_is_left(tmp_path):
    def stopped(done, total, what):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "study", **SMALL, progress=stopped)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_subjects": 7}, "n_subjects is 7: give a whole number from 1 to 6"),
        ({"n_classes": 41}, "from 2 to 40"),
        ({"n_per_class": 2}, "n_per_class"),
        ({"design": "phantm"}, "did you mean 'phantom'"),
        ({"band": "raw"}, "unknown band 'raw'"),
        ({"snr_db": 99.0}, "snr_db"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, arguments, message):
    with pytest.raises(PhospheneError, match=message):
        simulate(tmp_path / "study", **arguments)
    assert not list(tmp_path.iterdir())
