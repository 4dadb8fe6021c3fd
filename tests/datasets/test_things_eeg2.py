"""Every form and every trap of THINGS-EEG2, in files made here; then the real ones, where they are present."""

import csv
import json
import os
import pickle
from pathlib import Path

import mne
import numpy as np
import pytest
import things_made as made
from sklearn.utils import shuffle

from conftest import GOLDEN, golden
from golden.fill import inputs
from phosphene.datasets.base import Epoched, Recording
from phosphene.datasets.things import published
from phosphene.datasets.things.channels import CHANNELS, POSTERIOR, REGIONS
from phosphene.datasets.things.eeg2 import FACTS, ThingsEEG2
from phosphene.datasets.things.names import concept_of
from phosphene.datasets.things.preprocessed import time_axis
from phosphene.datasets.things.published import PUBLISHED, Published, capped, merge, order, whitener
from phosphene.errors import PhospheneError
from phosphene.registry import build
from phosphene.runs.recipe import SHIPPED, Recipe

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
DATA = Path(os.environ.get("PHOSPHENE_DATA", "data"))


# -- channels and names --------------------------------------------------------------------------


def test_channels_and_regions():
    assert len(CHANNELS) == len(set(CHANNELS)) == 63
    assert (CHANNELS[0], CHANNELS[23], CHANNELS[62]) == ("Fp1", "FC6", "O2")
    assert len(POSTERIOR) == 17
    assert set(POSTERIOR) == {c for c in CHANNELS if c[0] in "OP"}
    assert {k: len(v) for k, v in REGIONS.items()} == {
        "frontal": 15,
        "central": 14,
        "temporal": 10,
        "parietal": 16,
        "occipital": 8,
    }
    assert sorted(c for v in REGIONS.values() for c in v) == sorted(CHANNELS)
    known = mne.channels.make_standard_montage("colin27_1005").ch_names
    assert set(CHANNELS) <= set(known)


@pytest.mark.parametrize(
    ("folder", "concept"),
    [
        ("00001_aardvark", "aardvark"),
        ("00001_aircraft_carrier", "aircraft_carrier"),
        ("01654_zucchini", "zucchini"),
        ("t-shirt", "t-shirt"),
        ("bow_tie", "bow_tie"),
    ],
)
def test_concepts_of_folders(folder, concept):
    assert concept_of(folder) == concept


@pytest.mark.parametrize(("metadata", "folders"), [(True, True), (True, False), (False, True), (False, False)])
def test_pictures(tmp_path, metadata, folders, monkeypatch):
    made.write_preprocessed(tmp_path / "Preprocessed_data_250Hz")
    made.pictures(tmp_path / "Image_set", metadata=metadata, folders=folders)
    monkeypatch.setattr(ThingsEEG2, "facts", {"preprocessed_63": made.facts("preprocessed_63")})
    dataset = ThingsEEG2(tmp_path)
    table = dataset.stimuli()
    assert table["split"].tolist() == ["train"] * 8 + ["test"] * 3
    assert table["number"].tolist() == [*range(1, 9), 1, 2, 3]
    if metadata or folders:
        assert table.index[2] == "aircraft_carrier_01b"
        assert table["concept"].tolist() == [c for c in made.CONCEPTS for _ in range(2)] + made.TESTED
    else:
        assert table["concept"].nunique() == 4 + 3
        assert table["concept"].iloc[2] == table["concept"].iloc[3]  # two pictures of a concept, i // 2
    assert ("image" in table) == folders
    if folders:
        assert all(Path(p).is_file() for p in table["image"])
        assert table.loc["t-shirt_05b", "image"].endswith("training_images/00004_t-shirt/t-shirt_05b.jpg")
    notes = next(dataset.recordings(["01"])).notes
    assert any("pictures can run" in n for n in notes) != folders
    assert any("numbers for names" in n for n in notes) == (not metadata and not folders)


def test_a_picture_set_of_another_study_is_refused(tmp_path):
    made.write_preprocessed(tmp_path)
    with pytest.raises(PhospheneError, match=r"set dataset\.images to the picture set"):
        ThingsEEG2(tmp_path, images="nowhere")
    folder = made.pictures(tmp_path / "few", metadata=False)
    for path in (folder / "test_images").glob("*/zebra*"):
        path.unlink()
    with pytest.raises(PhospheneError, match="shows picture 3 and 2 test pictures are known"):
        list(ThingsEEG2(tmp_path, images="few").recordings(["01"]))


def test_orders_of_the_published_lists():
    """The 200 test concepts, numbered as their folders are, follow THINGS' own order."""
    test = SHARED / "things-eeg2-embeddings" / "test_concepts.tsv"
    listed = SHARED / "things-concepts" / "file_names_THINGS.txt"
    if not (test.is_file() and listed.is_file()):
        pytest.skip(f"{test} or {listed} is not there")
    with test.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 200
    assert [concept_of(r["folder"]) for r in rows] == [r["concept"] for r in rows]
    assert [r["folder"] for r in rows] == sorted(r["folder"] for r in rows)
    names = listed.read_text(encoding="utf-8").split()
    assert {r["image_file"] for r in rows} <= set(names)
    place = {name.rsplit("_", 1)[0]: i for i, name in reversed(list(enumerate(names)))}
    assert len(place) == 1854
    assert [place[r["concept"]] for r in rows] == sorted(place[r["concept"]] for r in rows)


def test_folders_give_the_published_order(tmp_path):
    """200 folders as published, listed from disk, come in the order of the published embeddings."""
    path = SHARED / "things-eeg2-embeddings" / "test_concepts.tsv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in reversed(rows):
        picture = tmp_path / "test_images" / row["folder"] / row["image_file"]
        picture.parent.mkdir(parents=True)
        picture.touch()
    from phosphene.datasets.things.names import stimuli

    table, _ = stimuli(tmp_path, FACTS["preprocessed_63"], ["test"])
    assert table["concept"].tolist() == [r["concept"] for r in rows]
    assert table["number"].tolist() == [int(r["index"]) + 1 for r in rows]


# -- stored epochs -------------------------------------------------------------------------------


WRITERS = {
    "preprocessed_63": made.write_preprocessed,
    "preprocessed_17": lambda folder: made.write_preprocessed(folder, seventeen=True),
    "ubp": made.write_ubp,
    "neurobridge": made.write_neurobridge,
}


@pytest.mark.parametrize("form", WRITERS)
def test_stored_epochs(tmp_path, form):
    """Form told from the files; right trial, right picture, right time; float32; all facts hold."""
    arrays = WRITERS[form](tmp_path / "EEG")
    made.pictures(tmp_path)
    dataset = build("dataset", "things_eeg2", root=str(tmp_path), subject=1)
    assert dataset.form == form
    assert dataset.subjects() == ["01"]
    assert dataset.check(made.facts(form, test_repeats=6)) == []
    train, test = dataset.recordings(dataset.chosen())
    assert isinstance(train, Epoched)
    assert (train.name, test.name) == ("sub-01/training", "sub-01/test")
    facts = made.facts(form)
    for piece, part in ((train, "train"), (test, "test")):
        want = arrays[part]
        n_images, n_repeats = want.shape[:2]
        assert piece.unit == "whitened"
        assert piece.signal.sfreq == facts.sfreq
        assert piece.signal.tmin == facts.tmin
        assert piece.signal.ch_names == (POSTERIOR if form.endswith("17") else CHANNELS)
        np.testing.assert_allclose(np.asarray(piece.eeg), want.reshape(-1, *want.shape[2:]), rtol=1e-6)
        names = dataset.stimuli().query("split == @part").index
        assert piece.table["stimulus"].tolist() == [n for n in names for _ in range(n_repeats)]
        assert piece.table["repeat"].tolist() == list(range(n_repeats)) * n_images
        assert set(piece.table["split"]) == {part}
    assert set(train.table["session"]) == ({"0", "1", "2", "3"} if form == "ubp" else {"merged"})
    assert any("test trials helped" in note for note in train.notes) == form.endswith("17")
    with pytest.raises(PhospheneError, match="l_freq cannot be applied"):
        dataset.steps({"l_freq": 1.0})
    trials = dataset.load(dataset.steps({}))
    assert trials.eeg.dtype == np.float32
    assert trials.eeg.shape == (8 * 4 + 3 * 6, facts.n_chans, facts.n_times)
    np.testing.assert_allclose(np.asarray(trials.eeg[34]), arrays["test"][0, 2], rtol=1e-6)  # float64 made float32
    assert trials.table["concept"].iloc[34] == "balance_beam"
    assert trials.table.groupby("split")["concept"].unique()["train"].tolist() == made.CONCEPTS


def test_bytes_stay_on_disk(tmp_path):
    """Files above a megabyte are mapped, not read."""
    made.write_preprocessed(tmp_path)
    piece = next(ThingsEEG2(tmp_path).recordings(["01"]))
    base = piece.eeg
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap) and base.base is not None:
        base = base.base
    assert not isinstance(base, np.ndarray) or isinstance(base, np.memmap)


def test_times_may_reach_further_back_than_the_data():
    """300 times, from -0.2 s, against 250 samples, from 0 s: a rule by position would be 0.2 s off."""
    assert time_axis(np.arange(-50, 250) / 250, 250, Path("x")) == (250.0, 0.0)
    assert time_axis(-0.2 + np.arange(100) / 100, 100, Path("x")) == (100.0, -0.2)
    with pytest.raises(PhospheneError, match="lists 200 times for 250 samples"):
        time_axis(np.arange(200) / 250, 250, Path("x"))
    with pytest.raises(PhospheneError, match="not evenly spaced"):
        time_axis(np.r_[np.arange(249) / 250, 5.0], 250, Path("x"))


def test_17_channels_are_not_taken_for_63(tmp_path):
    made.write_preprocessed(tmp_path, seventeen=True)
    assert ThingsEEG2(tmp_path).form == "preprocessed_17"
    with pytest.raises(PhospheneError, match="holds the form preprocessed_17, not preprocessed_63"):
        ThingsEEG2(tmp_path, form="preprocessed_63")
    made.write_preprocessed(tmp_path, subject="02")
    with pytest.raises(PhospheneError, match="two forms are mixed"):
        list(ThingsEEG2(tmp_path).recordings(["01", "02"]))


def test_two_forms_in_one_folder(tmp_path):
    made.write_preprocessed(tmp_path / "Preprocessed_data_250Hz")
    made.write_preprocessed(tmp_path / "Preprocessed_data", seventeen=True)
    with pytest.raises(PhospheneError, match=r"forms preprocessed_17, preprocessed_63: set dataset\.form"):
        ThingsEEG2(tmp_path)
    assert ThingsEEG2(tmp_path, form="preprocessed_17").place.folder.name == "Preprocessed_data"
    made.write_preprocessed(tmp_path / "again")
    with pytest.raises(PhospheneError, match="Preprocessed_data_250Hz, again"):
        ThingsEEG2(tmp_path, form="preprocessed_63")


def test_volts_are_told_from_whitened_values(tmp_path):
    arrays = made.stored_arrays()
    made.write_preprocessed(tmp_path, preprocessed_eeg_data=arrays["train"] * 1e-5)
    assert next(ThingsEEG2(tmp_path).recordings(["01"])).unit == "V"
    made.write_neurobridge(tmp_path / "other", {"z_score": True, "sfreq": 250})
    assert next(ThingsEEG2(tmp_path / "other").recordings(["01"])).unit == "standardised"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": None, "ch_names": None}, "holds no 'ch_names'"),
        ({"preprocessed_eeg_data": np.zeros((3, 63, 250))}, r"not \(images, repeats"),
        ({"ch_names": list(CHANNELS[:62])}, "names 62 channels and holds 63"),
        ({"ch_names": ["Fp9", *CHANNELS[1:]]}, "neither the 63 nor the 17 published ones"),
    ],
)
def test_broken_files_are_refused(tmp_path, changes, message):
    made.write_preprocessed(tmp_path, **changes)
    with pytest.raises(PhospheneError, match=message) as caught:
        list(ThingsEEG2(tmp_path, form="preprocessed_63").recordings(["01"]))
    assert "\n" not in str(caught.value)


GARBAGE = [7, "text", [1, "a"], {"a": 1}, np.zeros((0, 4, 63, 250)), np.array(["a"]), [[1], [2, 3]], np.nan]


@pytest.mark.parametrize("garbage", GARBAGE, ids=str)
def test_garbage_under_any_key_is_one_line(tmp_path, garbage):
    """Whatever stands where an array, a list or a number should, the answer is our error."""

    def refused(root, form):
        with pytest.raises(PhospheneError) as caught:
            dataset = ThingsEEG2(root, form=form, images=".")
            dataset.stimuli()
            dataset.check()
        assert "\n" not in str(caught.value)

    for key in ("preprocessed_eeg_data", "ch_names", "times"):
        root = made.pictures(tmp_path / key)
        made.write_preprocessed(root, **{key: garbage})
        refused(root, None)
    content = {"raw_eeg_data": np.zeros((2, 9)), "ch_names": ["Oz", "stim"], "ch_types": ["eeg", "stim"], "sfreq": 100}
    for key in content:
        root = made.pictures(tmp_path / key)
        path = root / "sub-01/ses-01/raw_eeg_test.npy"
        path.parent.mkdir(parents=True)
        np.save(path, np.array({**content, key: garbage}, dtype=object), allow_pickle=True)
        refused(root, "raw")
    root = made.pictures(tmp_path / "metadata")
    made.write_preprocessed(root)
    np.save(root / "image_metadata.npy", np.array({"train_img_concepts": garbage}, dtype=object), allow_pickle=True)
    refused(root, None)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "payload",))

    path = tmp_path / "sub-01" / "preprocessed_eeg_training.npy"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps({"preprocessed_eeg_data": Hostile()}, protocol=4))
    with pytest.raises(PhospheneError):
        ThingsEEG2(tmp_path)
    assert not (tmp_path / "payload").exists()


def test_what_differs_from_the_facts_is_said(tmp_path):
    made.write_preprocessed(tmp_path)
    dataset = ThingsEEG2(tmp_path)
    assert dataset.check() == [
        "the folder: 1 subjects, 10 expected",
        "sub-01/train: 8 pictures, 16540 expected",
        "sub-01/train: 32 trials, 66160 expected",
        "sub-01/test: 3 pictures, 200 expected",
        "sub-01/test: 18 trials, 16000 expected",
    ]
    assert "sub-01/train: 8 pictures, 16540 expected" in next(dataset.recordings(["01"])).notes
    (tmp_path / "sub-01" / "preprocessed_eeg_test.npy").unlink()
    assert "sub-01/test is missing" in ThingsEEG2(tmp_path).check()


def test_the_facts_of_the_paper():
    raw = FACTS["raw"]
    assert raw.train_images * raw.train_repeats + raw.test_images * raw.test_repeats == 82160
    assert raw.train_images / raw.images_per_concept == 1654


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "preprocesed_63"}, "did you mean 'preprocessed_63'"),
        ({"preset": "publishd"}, "did you mean 'published'"),
        ({"subject": "7"}, "subject '07' was not found under"),
        ({}, "no recording found under"),
    ],
)
def test_wrong_arguments_name_the_fix(tmp_path, arguments, message):
    if arguments:
        made.write_preprocessed(tmp_path)
    with pytest.raises(PhospheneError, match=message):
        ThingsEEG2(tmp_path, **arguments).chosen()


# -- raw recordings ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """One subject, four sessions, and its pictures."""
    root = tmp_path_factory.mktemp("things")
    made.write_raw(root / "Raw_data")
    made.pictures(root)
    return root


def held(root, session, part):
    name = "training" if part == "train" else "test"
    return np.load(root / f"Raw_data/sub-01/ses-{session:02d}/raw_eeg_{name}.npy", allow_pickle=True).item()


def test_raw_dicts(raw):
    dataset = ThingsEEG2(raw)
    assert dataset.form == "raw"
    assert not dataset.epoched
    lines = dataset.check(made.facts("raw"))  # two pictures were shown once too often
    assert lines == [
        "sub-01/train: 1 pictures not shown 4 times, 0 expected",
        "sub-01/test: 1 pictures not shown 80 times, 0 expected",
    ]
    pieces = list(dataset.recordings(["01"]))
    assert len(pieces) == dataset.n_recordings() == 8
    assert all(isinstance(p, Recording) for p in pieces)
    assert [p.name for p in pieces[:3]] == ["sub-01/ses-01/train/1", "sub-01/ses-01/test/1", "sub-01/ses-02/train/1"]
    first = pieces[0]
    assert first.raw.ch_names == list(CHANNELS[::-1])  # 63, without the stim channel
    data = held(raw, 1, "train")["raw_eeg_data"]
    np.testing.assert_array_equal(first.raw.get_data(), data[:63])
    codes = made.sequence("train", 0)
    real = codes != 99999
    names = dataset.stimuli().query("split == 'train'").index
    assert first.table["stimulus"].tolist() == [names[c - 1] for c in codes[real]]
    np.testing.assert_allclose(first.table["onset"], (0.5 + 0.2 * np.arange(len(codes)))[real])
    assert any("2 target trials" in note for note in first.notes)
    table = {p.name: p.table for p in pieces}
    both = [t[t["stimulus"] == names[0]] for name, t in table.items() if "train" in name]
    assert [r for t in both for r in t["repeat"]] == [0, 1, 2, 3, 4]  # counted over sessions
    assert set(table["sub-01/ses-03/test/1"]["session"]) == {"03"}
    assert set(table["sub-01/ses-03/test/1"]["split"]) == {"test"}


def test_stretches_hold_every_event_once_and_cut_the_same_epochs(raw, monkeypatch):
    from phosphene.datasets.things import raw as module

    steps = ThingsEEG2(raw).steps({"montage": "keep"})
    assert (steps.tmax, steps.l_freq, steps.sfreq) == (1.0, None, 250.0)  # what is left out is our preset
    whole = ThingsEEG2(raw).load(steps)
    monkeypatch.setattr(module, "STRETCH", 4.0)
    monkeypatch.setattr(module, "MARGIN", 2.5)
    parts = ThingsEEG2(raw)
    assert parts.n_recordings() == len(list(parts.recordings(["01"]))) > 8
    cut = parts.load(steps)
    assert len(cut) == len(whole) == 8 * 4 + 1 + 3 * 80 + 1
    assert cut.table["stimulus"].tolist() == whole.table["stimulus"].tolist()
    assert cut.eeg.shape[1:] == (63, 300)
    np.testing.assert_allclose(cut.eeg, whole.eeg, atol=2e-3 * np.std(whole.eeg))
    assert cut.signal.ch_names == CHANNELS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ch_types": ["eeg"] * 64}, "0 channels of type 'stim'"),
        ({"sfreq": None}, "holds no 'sfreq'"),
        ({"ch_names": list(CHANNELS)}, "63 ch_names"),
        ({"raw_eeg_data": np.zeros((64, 3000))}, "no picture onset"),
    ],
)
def test_broken_raw_dicts(tmp_path, change, message):
    made.write_raw(tmp_path, n_sessions=1)
    path = tmp_path / "sub-01/ses-01/raw_eeg_training.npy"
    content = {k: v for k, v in {**np.load(path, allow_pickle=True).item(), **change}.items() if v is not None}
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    with pytest.raises(PhospheneError, match=message):
        ThingsEEG2(tmp_path).continuous("01")


def test_the_stim_channel_is_found_by_type_not_place(tmp_path):
    made.write_raw(tmp_path, n_sessions=1)
    path = tmp_path / "sub-01/ses-01/raw_eeg_training.npy"
    content = np.load(path, allow_pickle=True).item()
    for key in ("raw_eeg_data", "ch_names", "ch_types"):
        content[key] = content[key][::-1]
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    first = ThingsEEG2(tmp_path).continuous("01")[0]
    assert first.ch_names == CHANNELS
    codes = made.sequence("train", 0)
    assert first.numbers.tolist() == codes[codes != 99999].tolist()
    assert first.n_targets == 2


@pytest.mark.parametrize("behaviour", [True, False])
def test_source_parts(tmp_path, behaviour):
    made.write_source(tmp_path / "source_data", behaviour=behaviour)
    if not behaviour:  # an annotation holds three digits, and 99999 is no number of a picture
        for path in tmp_path.rglob("*test*.vmrk"):
            path.write_text(path.read_text().replace("Stimulus,S99999", "Stimulus,S  0"))
    dataset = ThingsEEG2(tmp_path)
    assert dataset.form == "source"
    runs = dataset.continuous("01")
    assert [(r.part, r.run, r.numbers.tolist()) for r in runs] == [
        ("train", "train-01", [1, 2, 3, 4]),
        ("train", "train-02", [5, 6, 7, 8]),
        ("test", "test-01", [1, 2, 3]),
    ]
    assert runs[2].samples.tolist() == [500, 700, 1100]
    assert runs[2].n_targets == 1
    pieces = list(dataset.recordings(["01"]))
    np.testing.assert_allclose(pieces[1].raw.get_data()[7], made.signal(2400, 63, [7, 1])[7], atol=1e-11)  # volts
    assert pieces[1].table["run"].unique() == ["train-02"]
    assert pieces[2].table["onset"].tolist() == [0.5, 0.7, 1.1]


def test_a_behavioural_file_of_another_length_is_refused(tmp_path):
    made.write_source(tmp_path)
    for name in ("vmrk",):
        path = tmp_path / f"sub-01/ses-01/eeg/sub-01_ses-01_task-test_part-01_eeg.{name}"
        path.write_text(path.read_text().replace("Mk5=Stimulus", "Mk5=Comment"))
    with pytest.raises(PhospheneError, match="marks 3 pictures and its behavioural file lists 4"):
        ThingsEEG2(tmp_path).continuous("01")


# -- the published preprocessing -----------------------------------------------------------------


def test_the_published_order():
    """scikit-learn's shuffle with the published seed, the same anew at each use."""
    want = json.loads((GOLDEN / "repetition_order.json").read_text())
    assert order(80).tolist() == want["permutation_80"]
    assert order(4).tolist() == order(4).tolist() == want["permutation_4"]
    for n, kept in (*want["pick_2_of"].items(), *want["pick_20_of"].items()):
        assert order(int(n), len(kept)).tolist() == kept


def test_repetitions_are_capped_in_time_order():
    images, kept = capped(np.array([7, 3, 7, 3, 3]), 2, "x")
    assert images.tolist() == [3, 7]
    assert kept.tolist() == [[3, 4], [2, 0]]  # pick 2 of 3 is [1, 2]; of 2 is [1, 0]
    with pytest.raises(PhospheneError, match="picture 7 was shown 1 times"):
        capped(np.array([7, 3, 3]), 2, "x")


def test_sessions_merge_by_picture_then_shuffle():
    images, sources = merge([np.array([1, 3]), np.array([2, 3]), np.array([1, 2])], 2, "x")
    assert images.tolist() == [1, 2, 3]
    assert sources.shape == (3, 4, 3)
    before = [[0, 0, 0], [0, 0, 1], [2, 0, 0], [2, 0, 1]]  # of picture 1, sessions in order
    assert sources[0].tolist() == [before[i] for i in (2, 1, 3, 0)]
    with pytest.raises(PhospheneError, match="picture 2 has 2 presentations and others 4"):
        merge([np.array([1, 3]), np.array([2, 3]), np.array([1])], 2, "x")


@pytest.mark.parametrize("case", ["mvnn_full_rank", "mvnn_average_reference"])
@pytest.mark.parametrize(
    ("key", "mode", "sigma"),
    [
        ("atm_epochs", "epochs", ("train",)),
        ("atm_time", "time", ("train",)),
        ("gifford_epochs", "epochs", ("train", "test")),
        ("gifford_time", "time", ("train", "test")),
    ],
)
def test_whitening_parity_with_the_published_code(case, key, mode, sigma):
    how, arrays = golden(case)
    raw = {k: inputs(v["shape"], v["seed"]).astype(np.float64) for k, v in how["inputs"].items()}
    mixing = np.eye(8) + 0.5 * raw["mix"]
    data = {k: 1e-5 * np.einsum("ij,...jt->...it", mixing, raw[f"raw_{k}"]) for k in ("train", "test")}
    if "average" in case:
        data = {k: x - x.mean(axis=-2, keepdims=True) for k, x in data.items()}
    choice = Published(None, 1.0, 250.0, 0, mode, sigma)
    for session in range(2):
        got = whitener({part: x[session] for part, x in data.items()}, choice)
        want = arrays[f"{key}_sigma_inv_sqrt"][session]
        assert np.abs(got - want).max() <= 2e-9 * np.abs(want).max()


def reference(root, preset):
    """The published steps, written plainly and in float64, with mne.Epochs on the whole recording."""
    choice = PUBLISHED[preset]
    sessions = {"train": [], "test": []}
    for session in range(1, 5):
        epochs = {}
        for part, cap in (("train", 2), ("test", 20)):
            content = held(root, session, part)
            info = mne.create_info(content["ch_names"], content["sfreq"], content["ch_types"])
            recording = mne.io.RawArray(content["raw_eeg_data"], info, verbose="error")
            events = mne.find_events(recording, "stim", verbose="error")
            events = events[events[:, 2] != 99999]
            names = choice.channels or [c for c in recording.ch_names if c.startswith(("O", "P"))]
            recording.pick(list(names), verbose="error")
            made_of = mne.Epochs(
                recording, events, tmin=-0.2, tmax=choice.tmax, baseline=(None, 0), preload=True, verbose="error"
            )
            made_of.resample(choice.sfreq, verbose="error")
            data, numbers = made_of.get_data(copy=False), made_of.events[:, 2]
            images = np.unique(numbers)
            epochs[part] = (
                images,
                np.stack(
                    [data[shuffle(np.where(numbers == i)[0], random_state=20200220, n_samples=cap)] for i in images]
                )[..., choice.dropped :],
            )
        operator = whitener({part: x for part, (_, x) in epochs.items()}, choice)
        for part, (images, x) in epochs.items():
            sessions[part].append((images, operator @ x))
    test = np.concatenate([x for _, x in sessions["test"]], axis=1)
    test = test[:, shuffle(np.arange(80), random_state=20200220)]
    train = []
    for image in range(1, made.N_TRAIN + 1):
        of_image = np.concatenate([x[images == image][0] for images, x in sessions["train"] if image in images])
        train.append(of_image[shuffle(np.arange(4), random_state=20200220)])
    return {"train": np.stack(train), "test": test}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_epochs(raw, preset, tmp_path):
    """From raw: the epochs of a plain re-run of the published steps, kept on disk, and made once."""
    form = "preprocessed_17" if preset.endswith("17") else "preprocessed_63"
    dataset = ThingsEEG2(raw, preset=preset, cache=str(tmp_path))
    assert dataset.epoched
    train, test = dataset.recordings(["01"])
    want = reference(raw, preset)
    facts = made.facts(form)
    for piece, part in ((train, "train"), (test, "test")):
        assert piece.eeg.dtype == np.float32
        assert piece.eeg.shape == (facts.images(part) * facts.repeats(part), facts.n_chans, facts.n_times)
        got = np.asarray(piece.eeg).reshape(want[part].shape)
        np.testing.assert_allclose(got, want[part], atol=2e-5 * want[part].std())
        assert (piece.signal.sfreq, piece.signal.tmin, piece.unit) == (facts.sfreq, facts.tmin, "whitened")
    assert train.signal.ch_names == (
        tuple(c for c in CHANNELS[::-1] if c in POSTERIOR) if form[-2:] == "17" else CHANNELS
    )
    assert set(train.table["session"]) == {"01", "02", "03", "04"}
    assert any("test trials helped" in note for note in train.notes) == preset.endswith("17")
    assert "16 target trials of sub-01 left out" in train.notes
    first = test.table["session"][:80].astype(int).to_numpy()
    np.testing.assert_array_equal(first, 1 + order(80) // 20)  # which session each of the 80 came from
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npy")}
    assert sorted(p.name for p in files) == ["test.npy", "train.npy"]  # the epochs of single sessions are gone
    again = list(ThingsEEG2(raw, preset=preset, cache=str(tmp_path)).recordings(["01"]))
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npy")} == files
    np.testing.assert_array_equal(np.asarray(again[0].eeg), np.asarray(train.eeg))


def test_a_lost_session_is_told_and_leaves_nothing(raw, tmp_path):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(raw / "Raw_data" / "sub-01" / "ses-01", root / "sub-01" / "ses-01")
    shutil.copytree(raw / "Raw_data" / "sub-01" / "ses-02", root / "sub-01" / "ses-02")
    (root / "sub-01/ses-02/raw_eeg_training.npy").unlink()
    with pytest.raises(PhospheneError, match="needs the train recordings of every session"):
        ThingsEEG2(root, preset="published", cache=str(tmp_path / "cache")).stored("01")
    assert list((tmp_path / "cache").rglob("*.npy")) == []


def test_an_epoch_cut_off_by_the_end_is_dropped_before_counting():
    rng = np.random.default_rng(0)
    eeg = rng.standard_normal((63, 3000))
    from phosphene.datasets.things.raw import Continuous

    recording = Continuous(
        "x",
        "train",
        "01",
        "train",
        CHANNELS,
        1000.0,
        3000,
        np.array([100, 300, 600, 2500]),
        np.array([1, 1, 1, 1]),
        0,
        lambda start, stop: eeg[:, start:stop],
    )
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PhospheneError, match="shown 2 times"):
        patch.setattr(published, "_CHUNK", 1)
        from dataclasses import replace

        published.session([recording], replace(PUBLISHED["published"], max_train=3), Path("never"))


# -- recipes and the real files ------------------------------------------------------------------


THINGS = [name for name in SHIPPED if name.startswith("things-eeg2")]


def test_there_is_a_recipe_for_every_form():
    forms = {Recipe.read(name, {"dataset.root": "x"}).dataset.get("form") for name in THINGS}
    assert forms == set(FACTS)


@pytest.mark.parametrize("name", THINGS)
def test_recipes_whiten_what_is_not_whitened(name):
    recipe = Recipe.read(name, {"dataset.root": "x"})
    whitened_already = recipe.dataset["form"] not in ("source", "raw") or recipe.dataset.get("preset") == "published"
    assert (recipe.whitening is None) == whitened_already
    if recipe.dataset["form"] in ("source", "raw") and not whitened_already:
        assert recipe.preprocessing == ThingsEEG2.preprocessing


@pytest.mark.parametrize("form", FACTS)
def test_the_real_files(form):
    """Every expected fact, on files that are not made; set PHOSPHENE_DATA to the folder of the data sets."""
    root = next((p for p in (DATA / "things-eeg2", DATA / "things_eeg2", DATA) if p.is_dir()), DATA)
    try:
        dataset = ThingsEEG2(root, form=form)
    except PhospheneError:
        pytest.skip(f"no files of form {form} under {root} (environment variable PHOSPHENE_DATA)")
    lines = [line for line in dataset.check() if "subjects" not in line]  # some subjects are enough
    assert lines == []
