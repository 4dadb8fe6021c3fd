"""Every trap of the EEGCVPR40 files, in miniature files made here; then the published ones, where they are present."""

import json
import os
import re
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phosphene.audit import _category
from phosphene.datasets.eegcvpr40.dataset import EEGCVPR40
from phosphene.datasets.eegcvpr40.files import FILES, SPLITS, read_order, read_splits
from phosphene.datasets.eegcvpr40.names import ANIMALS, CHANNELS, CLASSES
from phosphene.eeg.lazy import stays
from phosphene.eeg.montages import standard_montage
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import Protocol, overlaps
from phosphene.registry import build
from phosphene.runs.recipe import SHIPPED, Recipe

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
NAMES = SHARED / "data" / "eegcvpr40-classes"
PUBLISHED = Path(os.environ.get("PHOSPHENE_DATA", "PHOSPHENE_DATA is not set")) / "eegcvpr40"
needs_names = pytest.mark.skipif(not NAMES.is_dir(), reason=f"the published names are not at {NAMES}")
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published files are not at {PUBLISHED}")

LABELS = ["n02389026", "n03888257", "n02951358"]  # as in the true file: not sorted
IMAGES = [f"{wnid}_{number}" for number in (311, 72, 9054, 6) for wnid in reversed(LABELS)]
SUBJECTS = (4, 1, 6)  # the list starts with subject 4


def records(n_times=500):
    """36 records as the authors saved them: grouped by subject, shuffled inside; the EEG bears subject and picture."""
    rng = np.random.default_rng(0)
    made = []
    for subject in SUBJECTS:
        for image in rng.permutation(len(IMAGES)):
            wnid = IMAGES[image].split("_")[0]
            eeg = torch.full((128, n_times), 100.0 * subject + image)
            eeg[5] += torch.arange(n_times)  # the time is in the sixth channel
            eeg[6:] += torch.arange(122)[:, None] / 1000  # and each has its own level
            made.append({"eeg": eeg, "image": int(image), "label": LABELS.index(wnid), "subject": subject})
    return made


def by_image(made):
    """Split 0 of the whole list: two pictures of each class train, one val, one test."""
    part = ("train", "train", "val", "test")
    splits = {name: [] for name in ("train", "val", "test")}
    for i, record in enumerate(made):
        splits[part[record["image"] // len(LABELS)]].append(i)
    return splits


@pytest.fixture
def study(tmp_path):
    """A folder, and a function that writes the files of it; what is given replaces what is written."""

    def write(made=None, splits=None, single=None, file="eeg_55_95_std.pth", legacy=False, **keys):
        made = records() if made is None else made
        held = {"dataset": made, "labels": LABELS, "images": IMAGES, **keys}
        zipped = {"_use_new_zipfile_serialization": not legacy}
        torch.save({k: v for k, v in held.items() if v is not None}, tmp_path / file, **zipped)
        broken = {"train": [], "val": [], "test": []}  # the authors' code takes split 0 of six, always
        splits = [splits or by_image(made), *[broken] * 5]
        single = [single or {"train": [0, 1, 2, 7], "val": [3], "test": [5]}]
        torch.save({"splits": splits}, tmp_path / SPLITS["all"], **zipped)
        torch.save({"splits": single}, tmp_path / SPLITS["single"], **zipped)
        return tmp_path

    return write


def load(root, **arguments) -> Trials:
    dataset = EEGCVPR40(root, **arguments)
    return dataset.load(dataset.steps({}))


def truth(trials):
    """What the EEG itself says of each trial: subject and picture."""
    level = np.round(np.asarray(trials.eeg)[:, 0].mean(axis=1)).astype(int)
    return [(str(v // 100), IMAGES[v % 100]) for v in level]


# -- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
def test_trials_are_the_published_window_of_each_record(study, legacy):
    made = records()
    trials = load(study(made, legacy=legacy), splits="all")
    assert trials.eeg.shape == (36, 128, 440)
    assert trials.eeg.dtype == np.float32
    assert (trials.signal.sfreq, trials.signal.tmin, trials.signal.ch_names) == (1000.0, 0.02, CHANNELS)
    order = sorted(range(36), key=lambda i: made[i]["subject"])  # subjects in order, records as in the file
    assert trials.table["record"].tolist() == order
    expected = np.stack([made[i]["eeg"].numpy()[:, 20:460] for i in order])
    np.testing.assert_allclose(np.asarray(trials.eeg), expected, rtol=1e-6)
    assert truth(trials) == list(zip(trials.table["subject"], trials.table["stimulus"], strict=True))


def test_labels_come_in_the_files_order_not_sorted(study):
    trials = load(study())
    for _, row in trials.table.iterrows():
        wnid = row["stimulus"].split("_")[0]
        assert (row["wnid"], row["concept"]) == (wnid, CLASSES[wnid])
    with pytest.raises(PhospheneError, match=r"shows n02389026_\w+ under label n02951358|own order"):
        load(study(labels=sorted(LABELS)))
    with pytest.raises(PhospheneError, match="own order"):
        load(study(images=sorted(IMAGES)))


def test_a_subject_is_found_by_its_number_not_by_its_place(study):
    root = study()
    assert EEGCVPR40(root).subjects() == ["1", "4", "6"]
    for subject in ("1", "4", "6"):
        trials = load(root, subject=subject)
        assert len(trials) == 12
        assert {s for s, _ in truth(trials)} == {subject} == set(trials.table["subject"])
    assert set(load(root, subject=["6", "4"]).table["subject"]) == {"4", "6"}
    with pytest.raises(PhospheneError, match="subject '2' was not found under"):
        load(root, subject="2")
    assert build("dataset", "eegcvpr40", root=root, subject=4).chosen() == ["4"]


def test_a_block_is_a_class_of_a_subject(study):
    trials = load(study(), splits="all")
    assert trials.table["block"].nunique() == 9
    assert (trials.table.groupby("block")[["subject", "concept"]].nunique() == 1).all(axis=None)
    assert set(trials.table["repeat"]) == {0}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("band", ["55_95", "raw"])
def test_records_stay_on_disk(study, band, legacy):
    levels = {"means": torch.zeros(128), "stddevs": torch.ones(128)} if band == "raw" else {}
    dataset = EEGCVPR40(study(file=FILES[band], legacy=legacy, **levels), file=band)
    for piece in dataset.recordings(["1", "4"]):
        assert stays(piece.eeg)  # the trials of so small a file are read, those of a real one are not
        assert piece.eeg.shape == (12, 128, 440)
        assert piece.unit == "standardised"


def test_the_category_is_what_the_audit_asks_for(study):
    trials = load(study())
    assert trials.stimuli["category"].to_dict() == {
        name: "animate" if name.startswith("n02389026") else "inanimate" for name in IMAGES
    }
    assert set(CLASSES) > ANIMALS
    assert min(len(ANIMALS), len(CLASSES) - len(ANIMALS)) >= 5  # classes on each side, so that some can be left out
    assert _category(trials).tolist() == trials.stimuli["category"][trials.table["stimulus"]].tolist()


def test_a_class_of_another_study_has_no_category(study):
    made, images = records(), [name.replace("n02951358", "n00000001") for name in IMAGES]
    trials = load(study(made, labels=[*LABELS[:2], "n00000001"], images=images))
    assert set(trials.stimuli["category"]) == {"animate", "inanimate", ""}
    assert set(_category(trials)) == {"animate", "inanimate", ""}  # and the audit knows that "" is none


def test_stored_epochs_cannot_be_filtered(study):
    dataset = EEGCVPR40(study())
    with pytest.raises(PhospheneError, match="l_freq cannot be applied"):
        dataset.steps({"l_freq": 1.0})
    trials = dataset.load(dataset.steps({"picks": ["Oz", "O1"], "sfreq": 250.0, "tmin": 0.06}))
    assert trials.signal.ch_names == ("Oz", "O1")
    assert trials.eeg.shape == (36, 2, 100)


def test_trials_survive_being_saved(study, tmp_path):
    trials = load(study(), splits="all")
    again = Trials.load(trials.save(tmp_path / "trials"))
    np.testing.assert_array_equal(np.asarray(again.eeg), np.asarray(trials.eeg))
    assert again.table["split"].tolist() == trials.table["split"].tolist()
    assert again.notes == trials.notes


# -- lengths -------------------------------------------------------------------------------------


def test_records_of_odd_length_are_left_out_and_counted(study):
    made = records()
    for i, n in enumerate((449, 601, 1527, 450, 460, 600, 459)):
        made[i]["eeg"] = made[i]["eeg"].repeat(1, 4)[:, :n]
    trials = load(study(made))
    assert set(range(36)) - set(trials.table["record"]) == {0, 1, 2, 3, 6}
    assert "3 of 36 trials left out: fewer than 450 or more than 600 samples" in trials.notes
    assert (
        "2 trials left out: they end before sample 460" in trials.notes
    )  # within the bounds, too short for the window
    early = load(study(made), samples=(0, 40))
    assert early.eeg.shape == (33, 128, 40)
    assert early.signal.tmin == 0.0
    np.testing.assert_allclose(np.asarray(early.eeg)[0, 5, -1] - np.asarray(early.eeg)[0, 5, 0], 39, atol=0.1)
    with pytest.raises(PhospheneError, match=r"no trial is left \(.*fewer than 450"):
        load(study(records(n_times=300)))
    with pytest.raises(PhospheneError, match="samples are 460 to 20"):
        EEGCVPR40(study(), samples=(460, 20))


def test_records_of_odd_length_shift_no_index(study):
    made = records()
    made[0]["eeg"] = made[0]["eeg"][:, :440]  # the first record of the list, and of subject 4
    splits = by_image(made)
    trials = load(study(made), splits="all")
    for part, index in splits.items():
        assert set(trials.table["record"][trials.table["split"] == part]) == set(index) - {0}
    single = load(study(made), splits="single", subject="4")
    assert set(single.table["record"][single.table["split"] == "train"]) == {1, 2, 7}


# -- splits --------------------------------------------------------------------------------------


def test_all_counts_the_list_before_the_subject_is_chosen(study):
    made = records()
    splits = by_image(made)
    for subject in ("all", "1", "6"):
        trials = load(study(made), splits="all", subject=subject)
        for part, index in splits.items():
            own = {i for i in index if subject in ("all", str(made[i]["subject"]))}
            assert set(trials.table["record"][trials.table["split"] == part]) == own
    assert not any("test pictures are training pictures" in note for note in trials.notes)


def test_single_counts_the_list_after_the_subject_is_chosen(study):
    made = records()
    for subject in SUBJECTS:
        own = [i for i, record in enumerate(made) if record["subject"] == subject]
        trials = load(study(made), splits="single", subject=str(subject))
        expected = {own[0]: "train", own[1]: "train", own[2]: "train", own[7]: "train", own[3]: "val", own[5]: "test"}
        assert dict(zip(trials.table["record"], trials.table["split"], strict=True)) == expected
        assert "splits 'single' name 6 of 12 trials of these subjects; the others are left out" in trials.notes
    both = load(study(made), splits="single", subject=["4", "1"])
    (first, second) = (table["split"].tolist() for _, table in both.table.groupby("subject"))
    assert first == second


def test_an_index_beyond_its_list_is_refused(study):
    wide = {"train": list(range(12)), "val": [20], "test": [35]}
    with pytest.raises(PhospheneError, match="index 35 lies outside a subject's list of 12 trials") as caught:
        load(study(single=wide), splits="single")
    assert "\n" not in str(caught.value)
    with pytest.raises(PhospheneError, match="index 36 lies outside the file's list of 36 trials"):
        load(study(splits={"train": [0], "val": [1], "test": [36]}), splits="all")
    with pytest.raises(PhospheneError, match="index -1 lies outside"):
        load(study(splits={"train": [0], "val": [1], "test": [-1]}), splits="all")
    with pytest.raises(PhospheneError, match="names a trial twice"):
        load(study(splits={"train": [0, 1], "val": [1], "test": [2]}), splits="all")
    with pytest.raises(PhospheneError, match="is not a split file"):
        load(study(splits={"train": [0, 1], "val": [1]}), splits="all")


@settings(max_examples=40)
@given(st.data())
def test_each_index_gets_its_part_or_is_refused(tmp_path_factory, data):
    n = data.draw(st.integers(1, 30))
    index = data.draw(st.lists(st.integers(-2, 32), unique=True, min_size=1, max_size=20))
    cut = sorted(data.draw(st.tuples(st.integers(0, len(index)), st.integers(0, len(index)))))
    parts = {"train": index[: cut[0]], "val": index[cut[0] : cut[1]], "test": index[cut[1] :]}
    root = tmp_path_factory.mktemp("splits")
    torch.save({"splits": [parts]}, root / SPLITS["all"])
    if min(index) < 0 or max(index) >= n:
        with pytest.raises(PhospheneError, match="lies outside"):
            read_splits(root, "all", [np.arange(n)], n)
    else:
        found = read_splits(root, "all", [np.arange(n)], n)
        assert {p: set(np.flatnonzero(found == p)) for p in parts} == {p: set(i) for p, i in parts.items()}
        assert (found == "").sum() == n - len(index)


def test_a_split_of_another_list_shows_in_the_notes(study):
    made = records()
    turned = {part: [len(made) - 1 - i for i in index] for part, index in by_image(made).items()}
    trials = load(study(made, splits=turned), splits="all")
    assert any(re.search(r"\d of \d test pictures are training pictures", note) for note in trials.notes)


# -- what a score on them means ------------------------------------------------------------------


def test_the_given_val_part_selects_and_shared_blocks_are_counted(study):
    trials = load(study(), splits="all")
    for fold in Protocol().folds(trials):
        assert set(trials.table["split"][fold.val]) == {"val"}
        assert set(trials.table["split"][fold.train]) == {"train"}
        counts = overlaps(trials, fold)
        assert counts["stimulus"] == 0  # by image
        assert counts["block"] == counts["concept"] == fold.test.sum() == 3
    for fold in Protocol(split="leave_one_subject_out", subjects="joint", val_fraction=0).folds(trials):
        counts = overlaps(trials, fold)
        assert counts["block"] == counts["subject"] == 0
        assert counts["stimulus"] == fold.test.sum()


def test_random_trials_only_by_the_name_that_says_so(study):
    trials = load(study())
    with pytest.raises(PhospheneError, match="no trial to train or test on"):
        list(Protocol().folds(trials))  # without the published split nothing is drawn in its place
    for fold in Protocol(split="leaky_random_trials", val_fraction=0).folds(trials):
        assert overlaps(trials, fold)["block"] == fold.test.sum()


def test_the_design_and_its_caveats_are_in_the_notes(study):
    dataset = EEGCVPR40(study())
    assert dataset.design == "block"
    notes = dataset.load(dataset.steps({})).notes
    assert notes[: len(dataset.caveats)] == list(dataset.caveats)
    assert "watermelon" in " ".join(notes)
    assert all("\n" not in note for note in notes)


# -- the raw file --------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(128,), (128, 1), (1, 128), (1, 128, 1)])
def test_the_raw_file_is_standardised_by_channel(study, axes):
    made = records()
    means = torch.arange(128, dtype=torch.float32)
    stddevs = 1 + torch.arange(128, dtype=torch.float32) / 4
    levels = {"means": means.reshape(axes), "stddevs": stddevs.reshape(axes)}
    root = study(made, file=FILES["raw"], **levels)
    trials = load(root, file="raw", subject="4")
    raw = np.stack([record["eeg"].numpy()[:, 20:460] for record in made[:12]])
    expected = (raw - means.numpy()[:, None]) / stddevs.numpy()[:, None]
    np.testing.assert_allclose(np.asarray(trials.eeg), expected, rtol=1e-4, atol=1e-4)
    some = trials.select(np.array([3, 1]))
    np.testing.assert_allclose(np.asarray(some.eeg), expected[[3, 1]], rtol=1e-4, atol=1e-4)
    plain = load(root, file="raw", subject="4", standardise=False)
    np.testing.assert_allclose(np.asarray(plain.eeg), 1e-6 * raw, rtol=1e-5)
    assert any("microvolts" in note for note in plain.notes)


def test_levels_that_are_not_one_for_each_channel_are_refused(study):
    ones = torch.ones(128)
    for bad, message in [
        ({"means": torch.zeros(440), "stddevs": ones}, r"'means' has the axes \(440,\)"),
        ({"means": torch.zeros(128, 440), "stddevs": ones}, r"'means' has the axes \(128, 440\)"),
        ({"means": torch.zeros(128), "stddevs": 0 * ones}, "and stddevs positive"),
        ({"means": torch.full((128,), torch.nan), "stddevs": ones}, "must be finite"),
    ]:
        with pytest.raises(PhospheneError, match=message):
            load(study(file=FILES["raw"], **bad), file="raw")


def test_a_file_that_is_not_what_its_name_says_is_refused(study):
    with pytest.raises(PhospheneError, match=r"is no raw file \(no means and stddevs\)"):
        load(study(file=FILES["raw"]), file="raw")
    with pytest.raises(PhospheneError, match="is the raw file"):
        load(study(means=torch.zeros(128), stddevs=torch.ones(128)))
    assert len(load(study(file="mine.pth"), file="mine.pth")) == 36


# -- files of another kind -----------------------------------------------------------------------


def changed(index, **values):
    made = records(n_times=460)
    made[index].update(values)
    return [{k: v for k, v in record.items() if v is not None} for record in made]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (changed(7, subject=None), "record 7 has no 'subject'"),
        (changed(0, eeg=None), "record 0 has no 'eeg'"),
        (changed(2, eeg=torch.zeros(127, 500)), "record 2 has 127 channels, not 128: restore"),
        (changed(2, eeg=torch.zeros(500, 128)), "record 2 has 500 channels, not 128 .it lies on its side"),
        (changed(2, eeg=torch.zeros(1, 128, 500)), "'eeg' is not a matrix of real numbers"),
        (changed(2, eeg=torch.zeros(128, 500, dtype=torch.int64)), "'eeg' is not a matrix of real numbers"),
        (changed(9, label=3), "label is 3, not 0 to 2"),
        (changed(9, image=12), "image is 12, not 0 to 11"),
        (changed(9, subject=0), "subject is 0, not 1 to 6"),
        (changed(9, subject="four"), "subject is 'four', no number"),
        ([], "'dataset' is not a list of trials"),
        ({"eeg": torch.zeros(3, 128, 500)}, "'dataset' is not a list of trials"),
        ([torch.zeros(128, 500)], "record 0 has no 'eeg'"),
    ],
)
def test_records_that_are_not_as_published_are_refused_in_one_line(study, made, message):
    with pytest.raises(PhospheneError, match=message) as caught:
        load(study(made, splits=by_image(records())))
    assert "\n" not in str(caught.value)


def test_files_of_another_kind_are_refused(study, tmp_path):
    root = study()
    for file, message in [
        (SPLITS["all"], r"has no 'dataset' \(a split file\): set dataset.file to one of 5_95"),
        ("eeg_55_95_st.pth", "did you mean 'eeg_55_95_std.pth'"),
        ("14_70", r"eeg_14_70_std.pth does not exist: did you mean 'eeg_55_95_std.pth'"),
        ("list.pth", r"has no 'dataset' \(list\)"),
        ("text.pth", "text.pth"),
    ]:
        torch.save([1, 2], tmp_path / "list.pth")
        (tmp_path / "text.pth").write_text("no tensors")
        with pytest.raises(PhospheneError, match=message) as caught:
            load(root, file=file)
        assert "\n" not in str(caught.value)
    (root / SPLITS["single"]).unlink()
    with pytest.raises(PhospheneError, match="set dataset.root and dataset.splits: all, single"):
        load(root, splits="single")
    assert len(load(root)) == 36  # no split file is needed where no split is asked for
    for key in ("labels", "images"):
        with pytest.raises(PhospheneError, match=f"has no '{key}'"):
            load(study(**{key: None}))
        with pytest.raises(PhospheneError, match=f"'{key}' is not a list of names"):
            load(study(**{key: torch.zeros(3)}))
        with pytest.raises(PhospheneError, match=f"'{key}' names something twice"):
            load(study(**{key: [*(LABELS if key == "labels" else IMAGES), LABELS[0], LABELS[0]]}))


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_payload_does_not_run(study, tmp_path, legacy):
    ran = tmp_path / "ran"
    with pytest.raises(PhospheneError) as caught:
        load(study(extra=Payload(ran), legacy=legacy))
    assert "\n" not in str(caught.value)
    assert not ran.exists()


# -- pictures and their order --------------------------------------------------------------------


def test_pictures_are_found_in_imagenets_folders(study):
    root = study()
    assert "image" not in load(root).stimuli
    for name in IMAGES[:-1]:
        path = root / "pictures" / name.split("_")[0] / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(PhospheneError, match=rf"picture \S*{IMAGES[-1]}.JPEG of stimulus .* is missing"):
        load(root, images="pictures")
    (root / "pictures" / f"{IMAGES[-1]}.jpg").touch()
    stimuli = load(root, images="pictures").stimuli
    assert [Path(p).stem for p in stimuli["image"]] == list(stimuli.index) == IMAGES
    with pytest.raises(PhospheneError, match="set dataset.images, or null"):
        EEGCVPR40(root, images="nowhere")


def test_the_published_order_becomes_a_column(study):
    root = study()
    assert "order" not in load(root).table
    path = root / "image_order.txt"
    path.write_text("\n".join([f"{name}.JPEG" for name in ["n02951358_1", *IMAGES[::-1]]]) + "\n")
    trials = load(root)
    assert all(
        IMAGES[::-1].index(s) + 1 == o for s, o in zip(trials.table["stimulus"], trials.table["order"], strict=True)
    )
    assert read_order(path, IMAGES)["n02951358_1"] == 0
    path.write_text("\n".join(IMAGES[1:]))
    with pytest.raises(PhospheneError, match=f"does not name picture {IMAGES[0]}"):
        load(root)
    path.write_text("\n".join([*IMAGES, IMAGES[0]]))
    with pytest.raises(PhospheneError, match="names a picture twice"):
        load(root)


# -- names and places ----------------------------------------------------------------------------


def test_channels_are_those_of_the_cap(study):
    assert len(CHANNELS) == len(set(CHANNELS)) == 128
    assert (CHANNELS[0], CHANNELS[32], CHANNELS[64], CHANNELS[96], CHANNELS[127]) == ("Fp1", "AF7", "Fpz", "AFp1", "I2")
    assert set(CHANNELS) <= set(standard_montage("standard_1005").ch_names)
    place = dict(zip(CHANNELS, np.array(load(study()).signal.positions), strict=True))
    assert place["Oz"][1] < 0 < place["Fpz"][1]  # the back of the head, m
    assert place["T7"][0] < 0 < place["T8"][0]
    assert place["Cz"][2] > 0.95 * max(p[2] for p in place.values()) > place["Oz"][2]
    assert place["OI1h"][0] < 0 < place["OI2h"][0]


def test_classes_are_the_forty():
    assert len(CLASSES) == len(set(CLASSES.values())) == 40
    assert set(LABELS) <= set(CLASSES)
    assert CLASSES["n02951358"] == "canoe"  # labels[10]


@needs_names
def test_class_names_mean_their_synsets():
    lines = (NAMES / "synset_map_en.txt").read_text(encoding="utf-8").splitlines()[:40]
    synsets = dict(line.split(maxsplit=1) for line in lines)
    assert set(synsets) == set(CLASSES)
    for wnid, name in CLASSES.items():
        assert any(word[:6].casefold() in synsets[wnid].casefold() for word in name.split()), (name, synsets[wnid])


@needs_names
def test_places_agree_with_another_cap_of_the_same_system():
    """The published montage beside the class names is another study's, of 64 channels: 57 names are common."""
    names = json.loads((NAMES / "montage_ch_names.json").read_text())
    with pytest.warns(RuntimeWarning, match="naming conventions"):
        other = mne.channels.read_dig_fif(NAMES / "montage.fif")
    places = np.array([np.asarray(p, float) for p in other.get_positions()["ch_pos"].values()])
    ours = {
        name.upper(): p
        for name, p in standard_montage("standard_1005").get_positions()["ch_pos"].items()
        if name in CHANNELS
    }
    common = [i for i, name in enumerate(names) if name in ours]
    assert len(common) == 57
    a, b = places[common], np.array([ours[names[i]] for i in common])
    a, b = (x - x.mean(axis=0) for x in (a, b))
    assert all(np.corrcoef(a[:, k], b[:, k])[0, 1] > 0.95 for k in range(3))


# -- recipes -------------------------------------------------------------------------------------


BY_THE_PUBLISHED_SPLIT = (
    "eegcvpr40-quick",
    "eegcvpr40-synapse",
    "eegcvpr40-synapse-sd21",
    "eegcvpr40-synapse-sd21-subject4",
)


def test_every_band_has_an_honest_recipe_and_the_leaky_one_says_so():
    own = [name for name in SHIPPED if name.startswith("eegcvpr40") and name not in BY_THE_PUBLISHED_SPLIT]
    recipes = {name: Recipe.read(name, {"dataset.root": "somewhere"}) for name in own}
    honest = {name: r for name, r in recipes.items() if "leaky" not in name}
    assert {r.dataset["file"] for r in honest.values()} == set(FILES)
    for name, recipe in recipes.items():
        assert recipe.name == name
        assert (recipe.protocol.split == "leave_one_subject_out") == (name in honest)
        assert recipe.protocol.hash.startswith("leaky-") == (name not in honest)
        assert recipe.description.startswith("LEAKY") == (name not in honest)
    assert len(recipes) == len(honest) + 2


@pytest.mark.parametrize("name", BY_THE_PUBLISHED_SPLIT)
def test_a_recipe_of_the_published_split_says_that_blocks_are_shared(name):
    recipe = Recipe.read(name, {"dataset.root": "somewhere"})
    assert (recipe.protocol.split, recipe.dataset["splits"]) == ("given", "all")
    assert "blocks are shared" in recipe.description


# -- the published files -------------------------------------------------------------------------


def test_expected_facts_are_checked(study):
    dataset = EEGCVPR40(study(), splits="all")
    assert dataset.found() == {
        "subjects": 3,
        "labels": 3,
        "pictures": 12,
        "records": 36,
        "records_kept": 36,
        "all": (18, 9, 9),
        "all_kept": (18, 9, 9),
    }
    assert "records 36, published 11965" in dataset.check()
    assert any("not the published ones: subjects 3, published 6" in n for n in load(dataset.root).notes)
    single = EEGCVPR40(study(), splits="single", subject="1").found()
    assert single["single"] == (4, 1, 1)
    facts = EEGCVPR40.expected
    assert sum(facts["all"]) == facts["records"]
    assert sum(facts["all_kept"]) == facts["records_kept"]
    assert sum(facts["single"]) == 1000


@needs_published
@pytest.mark.parametrize("splits", ["all", "single"])
def test_the_published_files_are_as_expected(splits):
    for band, file in FILES.items():
        if (PUBLISHED / file).is_file():
            dataset = EEGCVPR40(PUBLISHED, file=band, splits=splits)
            assert dataset.check() == []
            assert dataset.subjects() == ["1", "2", "3", "4", "5", "6"]
            assert dataset.signals.labels[10] == "n02951358"
            assert [int(x[0]) for x in (dataset.signals.image, dataset.signals.label, dataset.signals.subject)] == [
                0,
                10,
                4,
            ]
