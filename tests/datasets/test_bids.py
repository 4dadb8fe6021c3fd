"""A BIDS study becomes `Trials` by naming its columns; what is wrong with it is told in one line."""

import json
import os
import shutil
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import phosphene
from phosphene.eeg.montages import standard_montage
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.errors import PhospheneError
from phosphene.registry import build

mne_bids = pytest.importorskip("mne_bids")
pytest.importorskip("pybv")

SFREQ = 100.0
NAMES = ("badge", "cup", "dog", "hat")  # the first one begins as MNE's bad stretches do
PLAIN = Preprocessing(l_freq=None, h_freq=None, tmin=-0.1, tmax=0.3, baseline=(-0.1, -0.01), sfreq=None)
RECORDINGS = [("01", "a", "01"), ("01", "a", "02"), ("01", "b", "01"), ("02", "a", "01")]


def level(name: str) -> float:
    """V, by which a picture lifts Oz for 0.3 s."""
    return 1e-6 * (1 + NAMES.index(name))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two subjects, 6 EEG channels; each picture twice in a run, a key press, a row of no picture, a bad stretch."""
    root = tmp_path_factory.mktemp("bids") / "study"
    rng = np.random.default_rng(0)
    (root / "stimuli" / "things").mkdir(parents=True)
    for name in NAMES:
        Image.new("RGB", (8, 8), "red").save(root / "stimuli" / "things" / f"{name}.png")
    for subject, session, run in RECORDINGS:
        order = rng.permutation(NAMES * 2)
        onsets = 1.0 + np.arange(len(order))
        data = np.zeros((8, 1200))
        for name, onset in zip(order, onsets, strict=True):
            first = round(onset * SFREQ)
            data[:6, first : first + 30] = np.array([[0.5, 7.0, 1.0, 0.5, 0.5, 0.5]]).T * level(name)
        raw = mne.io.RawArray(
            data,
            mne.create_info(["Cz", "Pz", "Oz", "Fz", "C3", "C4", "EOG1", "Aux"], SFREQ, ["eeg"] * 6 + ["eog", "misc"]),
            verbose=0,
        )
        raw.set_montage(standard_montage(), on_missing="ignore", verbose=0)
        raw.info["line_freq"] = 60
        raw.info["bads"] = ["Pz"] if subject == "02" else []
        path = mne_bids.BIDSPath(
            root=root, subject=subject, session=session, run=run, task="see", datatype="eeg", suffix="eeg"
        )
        mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, verbose="error")
        rows = [(f"{t:g}", "0.3", n, str(NAMES.index(n) + 1), f"things/{n}.png") for n, t in zip(order, onsets)]  # noqa: B905
        rows += [
            ("9.5", "0", "press", "9", "n/a"),
            ("9.6", "0", "n/a", "0", "n/a"),
            ("0.2", "0.5", "BAD_a", "0", "n/a"),
        ]
        table = pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "value", "stim_file"])
        table["colour"] = table["trial_type"].map({"badge": "red", "cup": "red"}).fillna("blue")
        table.to_csv(path.copy().update(suffix="events", extension=".tsv").fpath, sep="\t", index=False)
    stimuli = pd.DataFrame({"stimulus": NAMES, "image": [f"stimuli/things/{n}.png" for n in NAMES]})
    stimuli["concept"] = ["metal", "metal", "animal", "cloth"]
    stimuli["ObjectSnap"] = [f"a {n}" for n in NAMES]
    stimuli.assign(split=["train", "train", "train", "test"]).to_csv(root / "pictures.tsv", sep="\t", index=False)
    facts = {"Name": "Tiny", "BIDSVersion": "1.9.0", "License": "CC0", "Authors": ["A. One", "B. Two"]}
    (root / "dataset_description.json").write_text(json.dumps(facts))
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def load(root: Path, **arguments):
    arguments = {"keep": {"stim_file": "*.png"}, **arguments}
    return build("dataset", "bids", root=root, **arguments).load(PLAIN)


def lifted(trials) -> np.ndarray:
    """V on Oz during the picture, for each trial."""
    return trials.pick(["Oz"]).crop(0.0, 0.29).eeg.mean(axis=(1, 2))


def test_each_trial_holds_the_eeg_of_its_picture(made):
    trials = load(made)
    assert trials.eeg.shape == (4 * 8, 6, 40)
    np.testing.assert_allclose(lifted(trials), [level(s) for s in trials.table["stimulus"]], atol=2e-8)
    assert trials.signal.ch_names == ("Cz", "Pz", "Oz", "Fz", "C3", "C4")  # neither EOG nor misc
    assert trials.signal.positions is not None  # of electrodes.tsv
    table = trials.table
    assert list(table.groupby(["subject", "session", "run"], sort=False).size().index) == RECORDINGS
    assert (table["repeat"] == table.groupby(["subject", "stimulus"]).cumcount() + 1).all()
    assert set(table["split"]) == {"train"}
    assert (table["concept"] == table["stimulus"]).all()
    assert Path(trials.stimuli.loc["dog", "image"]) == (made / "stimuli/things/dog.png").resolve()


def test_what_the_study_says_of_itself_is_told(made):
    dataset = build("dataset", "bids", root=made, keep={"trial_type": list(NAMES)}, design="block")
    assert (dataset.licence, dataset.citation, dataset.design) == ("CC0", "A. One, B. Two. Tiny.", "block")
    assert dataset.n_recordings() == 4
    heard: list[str] = []
    notes = dataset.load(PLAIN, heard.append).notes
    assert heard[1] == "sub-01_ses-a_task-see_run-02"
    assert [n for n in notes if "marked bad" in n and "Pz" in n and n.startswith("sub-02")]
    assert [n for n in notes if "60 Hz" in n]


def test_rows_of_no_picture_are_left_out_and_counted(made):
    notes = load(made, keep={"trial_type": [*NAMES, "n/a"]}).notes
    assert any(n.startswith("4 events that name no trial_type") for n in notes)


def test_a_bad_stretch_drops_its_epochs_and_a_picture_called_badge_does_not(made, copy):
    for events in copy.rglob("*_events.tsv"):
        text = events.read_text().replace("0.2\t0.5\tBAD_a", "0.2\t1.0\tBAD_a")  # reaches the first picture
        events.write_text(text)
    whole, dropped = load(made), load(copy)
    assert len(whole) == 32
    assert len(dropped) == 32 - 4
    assert any("4 of 32 epochs dropped" in n for n in dropped.notes)


def test_subjects_sessions_and_runs_can_be_chosen(made):
    assert set(load(made, subject="02").table["subject"]) == {"02"}
    assert set(load(made, session="b").table["session"]) == {"b"}
    assert set(load(made, run=["02"], task="see").table["run"]) == {"02"}
    for wrong in ({"subject": "03"}, {"session": "c"}, {"run": "3"}, {"task": "hear"}):
        with pytest.raises(PhospheneError, match="did you mean|valid:"):
            load(made, **wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        {"stimuli": "stimuli"},
        {"stimuli": "stimuli/things"},
        {"stimuli": "pictures.tsv"},
        {"image": "things/{trial_type}.png"},
        {"image": "stimuli/things/{trial_type}.png"},
        {"event": "value", "image": "stim_file"},
        {"event": "stim_file", "stimuli": "stimuli"},
    ],
    ids=str,
)
def test_pictures_are_found_in_every_way(made, arguments):
    trials = load(made, **arguments)
    shown = [Path(trials.stimuli.loc[s, "image"]).stem for s in trials.table["stimulus"]]
    np.testing.assert_allclose(lifted(trials), [level(s) for s in shown], atol=2e-8)


def test_a_table_brings_concepts_captions_and_split(made):
    trials = load(made, stimuli="pictures.tsv")
    assert dict(zip(trials.table["stimulus"], trials.table["split"], strict=True)) == {
        "badge": "train",
        "cup": "train",
        "dog": "train",
        "hat": "test",
    }
    assert trials.stimuli.loc["cup", ["concept", "ObjectSnap"]].tolist() == ["metal", "a cup"]


def test_concepts_may_be_a_column_of_the_events(made):
    assert load(made, concept="colour").stimuli["concept"].to_dict() == {
        "badge": "red",
        "cup": "red",
        "dog": "blue",
        "hat": "blue",
    }


@pytest.mark.parametrize(
    ("split", "test"),
    [
        ({"session": "b"}, lambda t: t["session"] == "b"),
        ({"stimulus": ["cup", "dog"]}, lambda t: t["stimulus"].isin(["cup", "dog"])),
        ({"colour": "red"}, lambda t: t["colour"] == "red"),
    ],
)
def test_a_rule_makes_the_test_part(made, split, test):
    table = load(made, split=split).table
    assert ((table["split"] == "test") == test(table)).all()


def test_a_share_of_the_concepts_is_whole_concepts_and_the_same_for_each_subject(made):
    parts = [load(made, split={"concept": 0.25}, subject=s).table for s in ("01", "02")]
    chosen = [set(t["concept"][t["split"] == "test"]) for t in parts]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 1
    assert all(t.groupby("concept")["split"].nunique().eq(1).all() for t in parts)


def test_bad_channels_can_be_interpolated(made, copy):
    """Pz, seven times too large, is marked in subject 02 alone."""
    parts = [load(made, bads=b, subject=s).pick(["Pz"]) for b, s in (("keep", "02"), ("interpolate", "02"))]
    large, mended = (np.abs(p.eeg).max() for p in parts)
    assert large == pytest.approx(7 * 4e-6, rel=0.01)
    assert mended < 5e-6
    assert any("Pz; interpolated" in n for n in parts[1].notes)
    np.testing.assert_array_equal(load(made, bads="interpolate", subject="01").eeg, load(made, subject="01").eeg)
    for file in copy.rglob("*electrodes.tsv"):  # positions that nobody measured
        header, *rows = file.read_text().splitlines()
        names = [row.partition("\t")[0] for row in rows]
        file.write_text("\n".join([header, *(name + "\tn/a" * header.count("\t") for name in names)]) + "\n")
    assert any("no electrode positions" in n for n in load(copy).notes)
    for file in [*copy.rglob("*electrodes.*"), *copy.rglob("*coordsystem.json")]:
        file.unlink()
    assert any("no electrode positions" in n for n in load(copy).notes)
    with pytest.raises(PhospheneError, match="bad channels stay .*set bads to keep"):
        load(copy, bads="interpolate")


def edit(root: Path, old: str, new: str, pattern: str = "*_events.tsv", count: int = -1) -> None:
    """Replace text in every table of a study."""
    for file in root.rglob(pattern):
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, count))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event": "trial_typ"}, "has no column 'trial_typ': did you mean 'trial_type'? (set dataset.event)"),
        ({"keep": {"trial_tpye": "a"}}, "did you mean 'trial_type'? (set dataset.keep)"),
        ({"keep": {"trial_type": "dgo"}}, "no row has trial_type = dgo: did you mean 'dog'? (set dataset.keep)"),
        ({"keep": None, "stimuli": "stimuli"}, "event 'press' of events.tsv has no picture (1 such)"),
        ({"keep": None}, "stimulus 'press' of events.tsv names no picture"),
        ({"stimuli": "picture.tsv"}, "picture.tsv does not exist: set dataset.stimuli to a table"),
        ({"image": "{trial_tip}.png"}, "no column 'trial_tip': did you mean 'trial_type'? (set dataset.image)"),
        ({"image": "{trial_type}.jpg"}, ".jpg of stimulus '"),
        ({"image": "colour"}, " is missing: restore it or drop its trials"),
        ({"event": "colour"}, "has several pictures ("),
        ({"concept": "color"}, "no column 'color': did you mean 'colour'? (set dataset.concept)"),
        ({"split": "splt"}, "no column 'splt': valid:"),
        ({"split": {"concept": 0.01}}, "a share of 0.01 leaves 0 of 4 concepts for the test"),
        ({"split": {"session": 0.5}}, "a share can be drawn of concept or stimulus, not of 'session'"),
        ({"split": {"concept": ["cat"]}}, "no concept is 'cat'"),
        ({"event": "nothing", "keep": {}}, "no column 'nothing'"),
    ],
    ids=str,
)
def test_wrong_settings_are_told_in_one_line(made, arguments, message):
    with pytest.raises(PhospheneError) as error:
        load(made, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t0.3\t", "000\t0.3\t", "the event at 1000 lies outside the recording (0 to 11.99 s): onsets are seconds"),
        ("9.5\t", "soon\t", "line 10: onset 'soon' is not a number: correct it, or write n/a"),
        ("9.5\t", "8\t", "two events at 8 s: leave one kind out with keep"),
        ("onset", "time", "has no column 'onset'"),
        ("stim_file", "file", "where are the pictures? Set dataset.stimuli"),
    ],
)
def test_wrong_event_tables_are_told_in_one_line(copy, old, new, message):
    edit(copy, "\tpress\t9\tn/a", "\tcup\t2\tthings/cup.png")
    edit(copy, old, new)
    with pytest.raises(PhospheneError) as error:
        load(copy, keep={"trial_type": list(NAMES)})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_lacks_a_picture_names_it(copy):
    edit(copy, "hat\tstimuli/things/hat.png\tcloth\ta hat\ttest\n", "", "pictures.tsv")
    with pytest.raises(PhospheneError, match=r"event 'hat' of events.tsv has no picture .*add it to dataset.stimuli"):
        load(copy, stimuli="pictures.tsv")
    edit(copy, "cup\t", "dog\t", "pictures.tsv", 1)
    with pytest.raises(PhospheneError, match="lists stimulus 'dog' twice"):
        load(copy, stimuli="pictures.tsv")
    edit(copy, "stimulus\t", "name\t", "pictures.tsv", 1)
    with pytest.raises(PhospheneError, match="has no column 'stimulus'"):
        load(copy, stimuli="pictures.tsv")


def test_missing_and_broken_files_are_named(copy, tmp_path):
    (copy / "stimuli/things/hat.png").unlink()
    with pytest.raises(PhospheneError, match=r"picture .*hat.png of stimulus 'hat' is missing"):
        load(copy)
    next(copy.rglob("*.eeg")).unlink()
    with pytest.raises(PhospheneError, match="cannot be read"):
        load(copy, subject="all", keep={"trial_type": ["dog", "cup"]})
    next(copy.rglob("*_events.tsv")).unlink()
    with pytest.raises(PhospheneError, match="has no events.tsv"):
        load(copy)
    (copy / "dataset_description.json").write_text("{")
    with pytest.raises(PhospheneError, match="is not readable JSON"):
        build("dataset", "bids", root=copy)


def test_several_tasks_must_be_told_apart(copy):
    for file in [f for f in (copy / "sub-02").rglob("*task-see*") if f.is_file()]:
        text = file.read_bytes().replace(b"task-see", b"task-rest")
        file.with_name(file.name.replace("task-see", "task-rest")).write_bytes(text)
        file.unlink()
    with pytest.raises(PhospheneError, match="the study has the tasks rest, see: set dataset.task to one"):
        load(copy)
    assert set(load(copy, task="see").table["subject"]) == {"01"}


@pytest.mark.parametrize("way", ["absolute", "dots", "link"])
def test_a_stim_file_leaves_the_study_only_where_it_is_allowed(copy, tmp_path, way):
    other = tmp_path / "other" / "dog.png"
    other.parent.mkdir()
    Image.new("RGB", (8, 8), "blue").save(other)
    name = {"absolute": str(other), "dots": "../../other/dog.png", "link": "things/dog.png"}[way]
    for path in copy.rglob("*_events.tsv"):
        path.write_text(path.read_text().replace("things/dog.png", name))
    if way == "link":
        (copy / "stimuli" / "things" / "dog.png").unlink()
        (copy / "stimuli" / "things" / "dog.png").symlink_to(other)
    with pytest.raises(PhospheneError, match="picture of stimulus 'dog' lies outside of .*set dataset.allow_outside"):
        load(copy)
    assert load(copy, allow_outside=str(other.parent)).stimuli.at["dog", "image"] == str(other)


def test_a_pipe_in_the_place_of_a_sidecar_is_not_waited_for(copy):
    for pattern in ("*_channels.tsv", "*_eeg.eeg", "*_eeg.vhdr", "participants.tsv"):
        path = next(copy.rglob(pattern))
        kept = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(PhospheneError, match=f"{path.name} is a pipe, not a regular file"):
            phosphene.load("bids", root=copy)
        path.unlink()
        path.write_bytes(kept)
