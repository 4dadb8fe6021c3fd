"""BIDS as people write it: cells, tables, headers and descriptions that are not as the standard has them."""

import json
import re
import shutil
from pathlib import Path

import mne
import numpy as np
import pytest
from PIL import Image

from phosphene.eeg.montages import standard_montage
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.errors import PhospheneError
from phosphene.registry import build

pytest.importorskip("mne_bids")
pybv = pytest.importorskip("pybv")

CHANNELS = ("Fp1", "Cz", "Pz", "Oz")
ROWS = [("1", "0.5", "cup"), ("2", "0.5", "dog"), ("3", "0.5", "hat"), ("4", "0.5", "tie")]
PLAIN = {"l_freq": None, "h_freq": None, "tmin": -0.1, "tmax": 0.3, "baseline": None, "sfreq": None}
BASE = "sub-01_task-see_eeg"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bids") / "study"
    (root / "stimuli" / "set1").mkdir(parents=True)
    for name in ("cup", "dog", "hat", "tie"):
        Image.new("RGB", (8, 8), "red").save(root / "stimuli" / f"{name}.png")
    data = 1e-5 * np.random.default_rng(0).normal(size=(4, 600))
    data[0] *= 3
    eeg = root / "sub-01" / "eeg"
    pybv.write_brainvision(
        data=data, sfreq=100.0, ch_names=CHANNELS, fname_base=BASE, folder_out=str(eeg), events=None, unit="µV"
    )
    write_events(root, ROWS)
    write_channels(root, [(c, "EEG", "good") for c in CHANNELS])
    (eeg / f"{BASE}.json").write_text(json.dumps({"TaskName": "see", "SamplingFrequency": 100.0}))
    return root


@pytest.fixture
def study(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "study"))


def write(root, name, header, rows):
    text = "\n".join("\t".join(row) for row in [header, *rows])
    (root / "sub-01" / "eeg" / f"sub-01_task-see_{name}.tsv").write_text(text + "\n", encoding="utf-8")


def write_events(root, rows, header=("onset", "duration", "trial_type")):
    write(root, "events", header, rows)


def write_channels(root, rows, header=("name", "type", "status")):
    write(root, "channels", header, rows)


def load(root, steps=None, **arguments):
    dataset = build("dataset", "bids", root=root, **{"stimuli": "stimuli", **arguments})
    return dataset.load(Preprocessing(**{**PLAIN, **(steps or {})}))


def shown(trials):
    return trials.table["stimulus"].tolist()


# -- events.tsv ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["n/a", "nan", "NaN", ""])
def test_events_without_an_onset_are_left_out_and_counted(study, cell):
    write_events(study, [(cell, "0.5", "cup"), *ROWS, (cell, "0.5", "dog")])
    trials = load(study)
    assert shown(trials) == ["cup", "dog", "hat", "tie"]
    assert "sub-01_task-see: 2 events without an onset left out" in trials.notes


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("soon", "0.5", "cup"), "events.tsv, line 6: onset 'soon' is not a number: correct it, or write n/a"),
        (("N/A", "0.5", "cup"), "events.tsv, line 6: onset 'N/A' is not a number: correct it, or write n/a"),
        (("5", "", "cup"), "events.tsv, line 6: duration '' is not a number: correct it, or write n/a"),
        (("5", "-1", "cup"), "events.tsv, line 6: duration -1 is below 0: write n/a if it is not known"),
        (("5", "short", "cup"), "events.tsv, line 6: duration 'short' is not a number: correct it, or write n/a"),
        (("4.001", "1", "cup"), "sub-01_task-see: two events at 4 and 4.001 s, on one sample at 100 Hz: leave one"),
    ],
)
def test_cells_that_cannot_be_used_name_file_and_row(study, row, message):
    write_events(study, [*ROWS, row])
    with pytest.raises(PhospheneError, match=re.escape(message)):
        load(study)


@pytest.mark.parametrize("written", ["{},{},{}", "{};{};{}", '"{}"\t"{}"\t"{}"'])
def test_a_table_that_is_no_bids_table_says_how_it_is_written(study, written):
    rows = [("onset", "duration", "trial_type"), *ROWS]
    file = study / "sub-01" / "eeg" / "sub-01_task-see_events.tsv"
    file.write_text("\n".join(written.format(*row) for row in rows), encoding="utf-8")
    with pytest.raises(
        PhospheneError, match=r"see_events.tsv: the cells of a BIDS table are separated by tabs, without"
    ):
        load(study)


def test_tables_without_events_are_told(study):
    write_events(study, [])
    with pytest.raises(PhospheneError, match=r"events.tsv: no file contains any events: restore their rows"):
        load(study)
    write_events(study, [("n/a", "0", "cup")])
    with pytest.raises(PhospheneError, match="the recording holds no event: .*1 event without an onset left out"):
        load(study)
    write_events(study, [("1", "cup")], ("onset", "trial_type"))
    with pytest.raises(PhospheneError, match="events.tsv has no column 'duration'"):
        load(study)


def test_events_just_outside_the_recording_are_left_out(study):
    write_events(study, [("-0.5", "0.5", "cup"), *ROWS, ("6.1", "0.5", "tie")])
    trials = load(study)
    assert len(trials) == 4
    assert any(
        "2 events outside the recording (0 to 5.99 s) left out, such as 'cup' at -0.5 s" in n for n in trials.notes
    )


@pytest.mark.parametrize("keep", [None, {"trial_type": ["cup", "dog", "hat", "tie"]}])
@pytest.mark.parametrize(
    ("row", "name"),
    [
        (("2.1", "0.1", "BAD_a"), "BAD_a"),
        (("2.1", "0.1", "bad_ET"), "bad_ET"),
        (("2.1", "n/a", "BAD"), "BAD"),
        (("2.1", "9", "boundary"), "boundary"),
        (("2.1", "0", "New Segment/"), "New Segment/"),
        (("1.8", "0.5", "Bad Interval/Bad Min-Max"), "Bad Interval/Bad Min-Max"),
    ],
    ids=str,
)
def test_stretches_of_the_table_drop_epochs_whatever_is_kept(study, row, name, keep):
    write_events(study, [*ROWS, row])
    trials = load(study, keep=keep)
    assert shown(trials) == ["cup", "hat", "tie"]
    assert f"1 of 4 epochs dropped (1 in the bad stretch '{name}'): sub-01_task-see 1" in trials.notes


def test_stretches_in_another_column_than_that_of_the_pictures(study):
    rows = [(*row[:2], "x", row[2]) for row in ROWS]
    write_events(study, [*rows, ("2.1", "0.1", "bad_ET", "n/a")], ("onset", "duration", "trial_type", "picture"))
    assert shown(load(study, event="picture")) == ["cup", "hat", "tie"]


def test_markers_of_the_recording_that_events_tsv_does_not_list(study):
    file = next(study.rglob("*.vmrk"))
    text = file.read_text(encoding="utf-8").rstrip()
    text += "\nMk2=Bad Interval,Bad Min-Max,111,5,0\nMk3=New Segment,,311,1,0,20250101120000000000\n"
    file.write_text(text, encoding="utf-8")
    trials = load(study)
    assert shown(trials) == ["dog", "tie"]
    assert any("1 in the bad stretch 'New Segment/'" in note for note in trials.notes)


# -- channels.tsv ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [CHANNELS[::-1], ("cz", "FP1", "oz", "PZ"), ("FP1", "CZ", "PZ", "OZ"), (" Fp1", "Cz ", "Pz", "Oz")],
    ids=str,
)
def test_channels_in_any_order_and_case_are_matched_by_name(study, names):
    kinds = {"fp1": ("EOG", "good"), "pz": ("eeg", "bad")}
    write_channels(study, [(n, *kinds.get(n.strip().lower(), ("EEG", "good"))) for n in names])
    trials = load(study)
    assert trials.signal.ch_names == ("Cz", "Pz", "Oz")
    assert any("channels marked bad: Pz; kept" in note for note in trials.notes)


@pytest.mark.parametrize(
    ("rows", "note", "n_chans"),
    [
        ([(c, "EEG", "good") for c in CHANNELS[1:]], "does not list Fp1: typed as in the recording", 4),
        ([(c, "EEG", "good") for c in (*CHANNELS, "X1")], "lists X1, which the recording does not have", 4),
        ([(c, "n/a" if c == "Cz" else "EEG", "good") for c in CHANNELS], "no type of Cz: not read as EEG", 3),
        ([], "no channels.tsv lists the channels of", 4),
        (None, "no channels.tsv lists the channels of", 4),
    ],
)
def test_what_channels_tsv_leaves_open_is_told(study, rows, note, n_chans):
    if rows is None:
        next(study.rglob("*channels.tsv")).unlink()
    else:
        write_channels(study, rows)
    trials = load(study)
    assert trials.n_chans == n_chans
    assert any(note in n for n in trials.notes)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([(c, "n/a") for c in CHANNELS], ("name", "type"), "no channel is of type EEG (types: misc): correct them"),
        ([(c, "") for c in CHANNELS], ("name", "type"), "column type of channels.tsv: EEG, EOG, ECG, EMG, TRIG, MISC"),
        ([(c, "electrode") for c in CHANNELS], ("name", "type"), "or name the channels in preprocessing.picks"),
        ([(c, "SEEG") for c in CHANNELS], ("name", "type"), "no channel is of type EEG"),
        ([(c, "good") for c in CHANNELS], ("name", "status"), "channels.tsv has no column 'type': add it, with EEG"),
        ([(c, "EEG") for c in CHANNELS], ("channel", "type"), "channels.tsv has no column 'name'"),
        ([("E1", "EEG"), *((c, "EEG") for c in CHANNELS[1:])], ("name", "type"), "lists channel 'E1', which"),
        ([("Cz", "EEG"), *((c, "EEG") for c in CHANNELS[1:])], ("name", "type"), "lists channel 'Cz' twice: keep one"),
    ],
)
def test_channels_that_cannot_be_used_are_one_line(study, rows, header, message):
    write_channels(study, rows, header)
    with pytest.raises(PhospheneError) as error:
        load(study)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_picked_channels_are_eeg_whatever_their_type(study):
    write_channels(study, [(c, "n/a", "good") for c in CHANNELS])
    assert load(study, {"picks": ["Oz", "Cz"]}).signal.ch_names == ("Oz", "Cz")


# -- a renamed BrainVision recording -----------------------------------------------------------------------------


def change_header(root, **lines):
    path = next(root.rglob("*.vhdr"))
    text = path.read_text(encoding="utf-8")
    for key, value in lines.items():
        text = re.sub(rf"(?m)^{key}=.*$", lambda _, k=key, v=value: f"{k}={v}", text)
    path.write_text(text, encoding="utf-8")


OLD = [
    {"DataFile": "vp7.eeg"},
    {"DataFile": "vp7.eeg", "MarkerFile": "vp7.vmrk"},
    {"DataFile": r"C:\data\vp7.eeg"},
    {"DataFile": "raw/vp7.eeg"},
    {"DataFile": "../../../pictures.tsv"},
    {"DataFile": "/etc/passwd"},
    {"DataFile": ""},
]


@pytest.mark.parametrize("lines", OLD, ids=str)
def test_a_header_that_names_other_data_is_told_and_read_when_asked(study, lines):
    want = load(study).eeg
    change_header(study, **lines)
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    with pytest.raises(PhospheneError) as error:
        load(study)
    assert f"change it to DataFile={BASE}.eeg, which lies beside it, or set dataset.renamed to true" in str(error.value)
    assert f"its line DataFile={lines['DataFile']}" in str(error.value)
    np.testing.assert_array_equal(load(study, renamed=True).eeg, want)
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize(
    ("lines", "note"),
    [
        ({"MarkerFile": "vp7.vmrk"}, f"its line MarkerFile=vp7.vmrk names no file; {BASE}.vmrk, beside it, was read"),
        ({"DataFile": "$b.eeg", "MarkerFile": "$b.vmrk"}, ""),
        ({"MarkerFile": ""}, ""),
    ],
)
def test_what_can_be_read_is_read(study, lines, note, renamed):
    change_header(study, **lines)
    trials = load(study, renamed=renamed)
    assert len(trials) == 4
    assert any(note in n for n in trials.notes)


def test_a_header_that_was_renamed_alone_is_read(study):
    for suffix in (".eeg", ".vmrk"):
        path = next(study.rglob(f"*{suffix}"))
        path.rename(path.with_name(f"vp7{suffix}"))
    change_header(study, DataFile="vp7.eeg", MarkerFile="vp7.vmrk")
    assert len(load(study)) == 4


def test_data_that_are_gone_are_told(study):
    next(study.rglob("*.eeg")).unlink()
    for renamed in (False, True):
        with pytest.raises(
            PhospheneError, match=rf"names no file, and no {BASE}.eeg lies beside it\): restore the rec"
        ):
            load(study, renamed=renamed)


# -- dataset_description.json ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "citation", "licence"),
    [
        (None, "as its dataset_description.json states", "as its dataset_description.json states"),
        ({}, "unknown authors. study.", "not stated"),
        ({"Name": "N", "Authors": "A. One"}, "A. One. N.", "not stated"),
        ({"Name": None, "Authors": None, "License": None, "DatasetDOI": None}, "unknown authors. study.", "not stated"),
        ({"Name": 5, "Authors": ["A", None, {"x": 1}, "B"], "License": ["CC0"]}, "A, B. 5.", "CC0"),
        ({"Name": "N", "Authors": {"first": "A"}, "DatasetDOI": "doi:1"}, "unknown authors. N. doi:1", "not stated"),
        ("\ufeff" + '{"Name": "N", "License": "CC0"}', "unknown authors. N.", "CC0"),
    ],
)
def test_every_form_of_the_description_is_read(study, content, citation, licence):
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        (study / "dataset_description.json").write_text(text, encoding="utf-8")
    dataset = build("dataset", "bids", root=study)
    assert (dataset.citation, dataset.licence) == (citation, licence)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: write it again, or remove it"),
        ("[]", "is a list, not an object"),
        ("null", "is a NoneType, not an object"),
        ('"N"', "is a str, not an object"),
        ("{", "is not readable JSON"),
        ("[" * 100_000, "is not readable JSON"),
    ],
    ids=["empty", "list", "null", "text", "half", "deep"],
)
def test_a_description_that_is_none_is_one_line(study, content, message):
    (study / "dataset_description.json").write_text(content)
    with pytest.raises(PhospheneError, match=message):
        build("dataset", "bids", root=study)


# -- bad channels, pictures --------------------------------------------------------------------------------------


def test_bad_channels_are_interpolated_once_the_montage_gave_positions(study):
    write_channels(study, [(c, "EEG", "bad" if c == "Fp1" else "good") for c in CHANNELS])
    with pytest.raises(
        PhospheneError, match=r"bad channels stay \(channel 'Fp1' has no position, which preproc.*montage"
    ):
        load(study, bads="interpolate")
    trials = load(study, {"montage": "standard_1005"}, bads="interpolate")
    kept = load(study, {"montage": "standard_1005"})
    raw = mne.io.read_raw_brainvision(next(study.rglob("*.vhdr")), preload=True, verbose="error")
    raw.set_montage(standard_montage()).info["bads"] = ["Fp1"]
    raw.interpolate_bads(verbose="error")
    np.testing.assert_allclose(trials.pick(["Fp1"]).eeg[0], raw.get_data(["Fp1"])[:, 90:130], rtol=1e-5, atol=1e-12)
    np.testing.assert_array_equal(trials.pick(CHANNELS[1:]).eeg, kept.pick(CHANNELS[1:]).eeg)
    assert any("channels marked bad: Fp1; interpolated" in note for note in trials.notes)
    referenced = load(study, {"montage": "standard_1005", "reference": "average"}, bads="interpolate")
    np.testing.assert_allclose(referenced.eeg[:, 1:].sum(axis=1), 0, atol=1e-9)  # the mean is of the good channels


@pytest.mark.parametrize(
    "path",
    [
        *("{}.png", r"set1\{}.png", r"C:\exp\stimuli\{}.png", r"\\lab\share\{}.png", r"stimuli\{}.png"),
        *("./{}.png", "stimuli/{}.png", "stimuli//{}.png", "/data/lab/exp/{}.png", "/exp/stimuli/{}.png"),
    ],
    ids=str,
)
def test_paths_of_another_machine(study, path):
    rows = [(*row, path.format(row[2])) for row in ROWS]
    write_events(study, rows, ("onset", "duration", "trial_type", "stim_file"))
    trials = load(study, stimuli=None)
    assert [Path(image).stem for image in trials.stimuli["image"]] == ["cup", "dog", "hat", "tie"]
    assert any("read as those of Windows" in note for note in trials.notes) == ("\\" in path)
    assert any("read by their last parts: '/" in note for note in trials.notes) == (path[0] == "/")


@pytest.mark.parametrize("path", [r"set{}\cup.png", "/exp/set{}/cup.png"])
def test_paths_that_would_become_one_picture_are_refused(study, path):
    rows = [(*row, path.format(i)) for i, row in enumerate(ROWS)]
    write_events(study, rows, ("onset", "duration", "trial_type", "stim_file"))
    first, second = (re.escape(path.format(i)) for i in (0, 1))
    with pytest.raises(PhospheneError, match=f"'{first}' and '{second}' would both be .*cup.png: write paths with /"):
        load(study, stimuli=None)
    write_events(study, [(*row, r"set1\jar.png") for row in ROWS[:1]], ("onset", "duration", "trial_type", "stim_file"))
    with pytest.raises(PhospheneError, match="is missing: write its path with /, not with a backslash"):
        load(study, stimuli=None)
