"""Files made to harm: each is one short line, at once, and nothing is written or run."""

import gzip
import io
import json
import os
import pickle
import re
import socket
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from conftest import make_trials, without_checksums
from phosphene.analyses import call
from phosphene.api import run
from phosphene.captions import pictures_in, read_slots, read_stimuli, write
from phosphene.captions.join import CaptionTable, fingerprint
from phosphene.datasets.download.names import unpack
from phosphene.datasets.events import read_cells
from phosphene.datasets.muse_csv import read_csv
from phosphene.datasets.own import from_arrays
from phosphene.datasets.stored import open_eeg
from phosphene.datasets.things.raw import picture_order, read_source
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError
from phosphene.grid import Grid, run_grid
from phosphene.methods.base import Method
from phosphene.registry import build
from phosphene.runs.experiment import Experiment
from phosphene.runs.preparation import load
from phosphene.runs.recipe import Recipe, parse_overrides
from phosphene.utils import pictures
from phosphene.utils.files import digest, read_json
from phosphene.utils.paths import only_regular, regular
from phosphene.utils.pictures import open_picture
from phosphene.utils.restricted import read_npy, read_pickle, read_safetensors, read_torch


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


DOUBLING = b"h\x00h\x01h\x01\x86Rq\x01" * 60
PICKLES = {
    "a text that doubles": b"\x80\x04ctorch\ndevice\nq\x00" + text(b"a" * 10) + b"q\x01" + DOUBLING + b".",
    "a block encoded again and again": b"\x80\x04c_codecs\nencode\nq\x00"
    + text(b"a" * 1_000_000)
    + b"\x85q\x010"
    + b"h\x00h\x01R" * 2000
    + b".",
    "a million containers": b"\x80\x04(" + b"\x8f" * 1_000_000 + b"l.",
    "keys of one hash": pickle.dumps({i * (2**61 - 1): 0 for i in range(2, 50)}, 4),
    "entries of no size": pickle.dumps(np.zeros(3, "S1"), 4).replace(b"S1", b"S0"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_grow_are_refused(tmp_path, name):
    path = tmp_path / "x.pkl"
    path.write_bytes(PICKLES[name])
    with pytest.raises(PhospheneError):
        read_pickle(path)
    path.write_bytes(gzip.compress(PICKLES[name]))
    with pytest.raises(PhospheneError):
        read_pickle(path)


def test_an_allowed_name_alone_is_its_name(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"cnumpy\nndarray\n.")
    assert read_pickle(tmp_path / "x.pkl") == "numpy.ndarray"


@pytest.mark.parametrize("descr", ["|S0", "<U0", "|V0"])
def test_an_npy_of_entries_without_size(tmp_path, descr):
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(PhospheneError, match="no size"):
        read_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("new", [True, False])
def test_a_tensor_that_repeats_one_number(tmp_path, new):
    value = torch.zeros(1).expand(10**7, 1, 63, 250)
    torch.save({"eeg": value}, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(PhospheneError, match="larger than its storage"):
        read_torch(tmp_path / "x.pt")


def test_zip_members_that_overlap(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, 2))
        archive.writestr("x/data/0", bytes(10_000))
        for i in range(1, 9):
            twin = zipfile.ZipInfo(f"x/data/{i}")
            twin.header_offset, twin.file_size, twin.compress_size = archive.infolist()[1].header_offset, 10_000, 10_000
            twin.CRC = archive.infolist()[1].CRC
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    (tmp_path / "x.pt").write_bytes(content.getvalue())
    with pytest.raises(PhospheneError, match="overlap"):
        read_torch(tmp_path / "x.pt")


RECIPES = {
    "date": "description: 2001-13-45",
    "int": "name: !!int x",
    "bool": "name: !!bool x",
    "empty": "name: !!int ''",
    "time": "name: !!timestamp x",
    "number as key": "1: 2",
    "deep": "name: " + "[" * 3000 + "]" * 3000,
    "alias": "dataset: &a {name: arrays, root: ., keep: *a}",
    "merge": "m0: &m0 {a: 1}\nm1: &m1 {<<: [*m0, *m0]}\nm2: {<<: [*m1, *m1]}",
    "tag": "name: !!python/name:os.system",
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_that_are_no_recipes(tmp_path, name):
    (tmp_path / "x.yaml").write_text(RECIPES[name])
    with pytest.raises(PhospheneError) as error:
        Recipe.read(tmp_path / "x.yaml")
    assert len(str(error.value)) < 1100


def test_settings_that_are_nested_without_end():
    with pytest.raises(PhospheneError, match="quote it"):
        parse_overrides(["a=" + "[" * 5000])


def test_what_a_file_says_cannot_take_over_the_terminal():
    message = str(PhospheneError("key 'a\n\x1b[31mb' " + "x" * 10**6))
    assert message.isprintable()
    assert len(message) < 1100


@pytest.mark.parametrize("subject", ["../../../ESCAPED/x", "/absolute", "..", ".hidden", "a/b", "a\\b"])
def test_a_subject_cannot_leave_the_run_folder(tmp_path, subject):
    trials = make_trials(n_concepts=2)
    split = np.where(np.arange(len(trials)) % 3 == 0, "test", "train")
    trials = replace(trials, table=trials.table.assign(subject=subject, split=split))
    trials.eeg[:] = 1e-5 * np.random.default_rng(0).normal(size=trials.eeg.shape)
    recipe = Recipe.read(
        {
            "name": "x",
            "dataset": {"name": "arrays", "root": str(trials.save(tmp_path / "study"))},
            "preprocessing": {},
            "method": {"name": "lda"},
            "protocol": {"select_on": "last", "average_test": 1},
        }
    )
    with pytest.raises(PhospheneError, match="cannot name a folder"):
        Experiment(recipe, tmp_path / "runs" / "out").run()
    assert {p.name for p in tmp_path.iterdir()} == {"study"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("signal.json", "[]"),
        ("signal.json", "{}"),
        ("signal.json", '{"ch_names": 5, "sfreq": 1}'),
        ("signal.json", '{"ch_names": ["a"], "sfreq": "x"}'),
        ("signal.json", "[" * 100_000),
        ("stimuli.csv", "a,b\n1,2\n"),
        ("eeg.npy", "PK\3\4xxxx"),
        ("eeg.npy", ""),
    ],
)
def test_trials_of_damaged_files(tmp_path, name, content):
    folder = make_trials().save(tmp_path / "t")
    (folder / name).write_text(content)
    with pytest.raises(PhospheneError):
        Trials.load(folder)


def test_an_onset_that_is_no_number(tmp_path):
    folder = without_checksums(make_trials().save(tmp_path / "t"))
    table = (folder / "table.csv").read_text().splitlines()
    at = table[0].split(",").index("onset")
    cells = table[1].split(",")
    cells[at] = "soon"
    (folder / "table.csv").write_text("\n".join([table[0], ",".join(cells), *table[2:]]))
    with pytest.raises(PhospheneError, match="column 'onset' holds no numbers"):
        Trials.load(folder)


def test_many_channels_are_counted_once():
    assert Signal(tuple(f"E{i}" for i in range(50_000)), 100.0).n_chans == 50_000


def test_pictures_that_are_none(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(PhospheneError, match="cannot be read"):
        open_picture(path)
    monkeypatch.setattr(pictures, "LARGEST", 100)
    Image.new("RGB", (20, 20)).save(path)
    with pytest.raises(PhospheneError, match="20 x 20: shrink it"):
        open_picture(path)


@pytest.mark.parametrize("facts", [[], {"method": [1]}, {"method": "lda"}, {"method": "lda", "config": {"a": 1}}])
def test_a_method_of_a_damaged_file(tmp_path, facts):
    (tmp_path / "method.json").write_text(json.dumps(facts))
    with pytest.raises(PhospheneError, match="train again"):
        Method.from_pretrained(tmp_path)


def test_a_header_cannot_name_files_elsewhere(tmp_path):
    header = "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nDataFile=../../etc/passwd\n"
    (tmp_path / "x.vhdr").write_text(header)
    with pytest.raises(PhospheneError, match="lies outside of its folder"):
        read_source(tmp_path / "x.vhdr", "x", "train", "01")


def test_a_damaged_mat_file_ends_its_own_process_alone(tmp_path):
    vhdr = tmp_path / "sub-01" / "ses-01" / "eeg" / "sub-01_ses-01_task-train_part-01_eeg.vhdr"
    vhdr.parent.mkdir(parents=True)
    path = vhdr.parent.parent / "task-train_part-01_beh.mat"
    savemat(path, {"data": {"tot_img_number": np.arange(5.0)}})
    np.testing.assert_array_equal(picture_order(vhdr), np.arange(5))
    content = bytearray(path.read_bytes())
    content[256] = 255
    path.write_bytes(content)
    with pytest.raises(PhospheneError, match="restore it"):
        picture_order(vhdr)


def test_an_archive_of_a_very_deep_path(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/" * 3000 + "x", b"")
    with pytest.raises(PhospheneError, match="1000 bytes or 40 parts"):
        unpack(tmp_path / "x.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_json_nested_without_end(tmp_path):
    (tmp_path / "x.json").write_text("[" * 200_000)
    with pytest.raises(PhospheneError, match="not readable JSON"):
        read_json(tmp_path / "x.json")
    assert os.listdir(tmp_path) == ["x.json"]


# -- names that would choose where to write ------------------------------------------------------

NAMES = [
    "../x",
    "..",
    ".",
    "",
    "a/b",
    "/abs",
    "~",
    "~/x",
    "a\\b",
    "C:x",
    "x\ny",
    "x\0y",
    "\u202ex",
    " x",
    "x ",
    "x.",
    ".x",
    "-x",
    "con",
    "NUL.txt",
    "COM1",
    "x" * 300,
    "\u732b" * 90,
    "*",
    "$HOME",
    "x|y",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_cannot_choose_where_to_write(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    recipe = {
        "name": name,
        "dataset": {"name": "arrays", "root": "study"},
        "method": {"name": "lda"},
        "protocol": {"select_on": "last", "average_test": 1},
    }
    with pytest.raises(PhospheneError, match="the recipe's name '.*to name a folder|cannot name a folder.*--out"):
        run(recipe)
    with pytest.raises(PhospheneError, match="the grid's name '.*to name a folder|cannot name a folder.*--out"):
        run_grid({"name": name, "recipe": recipe, "variants": {"a": None}})
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("name", ["x\ny", "x\0y", "..\\x", "x" * 300, "x|y"])
def test_nor_can_the_name_of_an_analysis(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    trials = make_trials(tmp_path / "p", n_concepts=2).save(tmp_path / "study")
    recipe = {"name": name, "dataset": {"name": "arrays", "root": str(trials)}, "method": {"name": "nice"}}
    with pytest.raises(PhospheneError, match="name a folder"):
        call("regions", recipe, {})
    assert {p.name for p in tmp_path.iterdir()} == {"study", "p"}


@pytest.mark.parametrize("name", ["demo", "my study 2", "muse-houses-faces", "\u00dcbung_1", "a.b+c@d", "2026"])
def test_ordinary_names_are_folders_under_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    recipe = {
        "name": name,
        "dataset": {"name": "arrays", "root": str(tmp_path)},
        "preprocessing": {},
        "method": {"name": "lda"},
        "protocol": {"select_on": "last", "average_test": 1},
    }
    with pytest.raises(PhospheneError, match=r"table.csv is missing"):  # the name is no longer the fault
        run(recipe)
    with pytest.raises(PhospheneError, match=r"table.csv is missing"):
        run({**recipe, "name": "../" + name}, out="elsewhere")  # whoever says where may call it as he likes


@pytest.mark.parametrize("name", ["../x", "con", "a/b", "x" * 300])
def test_nor_can_a_variant(name):
    with pytest.raises(PhospheneError, match="name a folder"):
        Grid.read({"name": "x", "recipe": "demo", "variants": {name: None}})


# -- tables that name files of this machine ------------------------------------------------------


def arrays(root: Path, image: str) -> Path:
    """A study of stored epochs of which one picture lies where ``image`` says."""
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    trials = make_trials(n_concepts=2, pictures=1, repeats=4)
    np.save(root / "eeg.npy", trials.eeg)
    pd.DataFrame({"stimulus": trials.table["stimulus"]}).to_csv(root / "table.csv", index=False)
    Image.new("RGB", (8, 8), "red").save(root / "pictures" / "own.png")
    pd.DataFrame({"stimulus": ["s00", "s10"], "image": ["pictures/own.png", image]}).to_csv(
        root / "stimuli.csv", index=False
    )
    return root


FACTS = {"ch_names": ["Fz", "Cz", "Pz", "Oz", "O1"], "sfreq": 100.0, "tmin": -0.1, "unit": "V"}


@pytest.fixture
def secret(tmp_path) -> Path:
    """A picture that no study was told of."""
    (tmp_path / "private").mkdir()
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "private" / "secret.png")
    return tmp_path / "private" / "secret.png"


WAYS = {
    "an absolute path": lambda root, secret: str(secret),
    "dots": lambda root, secret: "../private/secret.png",
    "dots behind a folder": lambda root, secret: "pictures/../../private/secret.png",
    "a link to the file": lambda root, secret: linked(root / "pictures" / "a.png", secret, "pictures/a.png"),
    "a link to the folder": lambda root, secret: linked(root / "more", secret.parent, "more/secret.png"),
    "a link to a link": lambda root, secret: linked(
        root / "b.png", linked(root / "a.png", secret, root / "a.png"), "b.png"
    ),
    "a folder of a like name": lambda root, secret: str(twin(root, secret)),
}


def linked(link: Path, target, name):
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return name


def twin(root: Path, secret: Path) -> Path:
    """Beside the study, in a folder whose name begins as the study's does."""
    other = root.with_name(root.name + "-2") / "secret.png"
    other.parent.mkdir()
    other.write_bytes(secret.read_bytes())
    return other


@pytest.mark.parametrize("way", WAYS)
def test_a_stimulus_table_names_no_picture_outside(tmp_path, secret, way):
    root = tmp_path / "study"
    arrays(root, WAYS[way](root, secret))
    told = rf"picture of stimulus 's10' lies outside of {root}: .*; copy it there, or set dataset.allow_outside"
    with pytest.raises(PhospheneError, match=told):
        load("arrays", root=root, **FACTS)
    more = [str(path) for path in tmp_path.glob("study-2")]
    trials = load("arrays", root=root, **FACTS, allow_outside=["../private", *more])
    assert open_picture(trials.stimuli.at["s10", "image"]).getpixel((0, 0)) == (0, 0, 255)
    assert "1 of 2 pictures lie outside of the study" in " ".join(trials.notes)
    with pytest.raises(PhospheneError, match=r"nowhere is not a folder: set dataset.allow_outside"):
        load("arrays", root=root, **FACTS, allow_outside="nowhere")
    rows = pd.read_csv(root / "stimuli.csv", dtype=str)
    rows.to_csv(root / "captioned.csv", index=False)
    with pytest.raises(PhospheneError, match="lies outside of .*--allow-outside"):
        read_stimuli(root / "captioned.csv")
    assert len(read_stimuli(root / "captioned.csv", [secret.parent, *more])) == 2


@pytest.mark.parametrize("way", WAYS)
def test_nor_does_a_column_of_events(tmp_path, secret, way):
    root = tmp_path / "study"
    arrays(root, "pictures/own.png")
    image = WAYS[way](root, secret)
    table = pd.read_csv(root / "table.csv", dtype=str)
    table["file"] = np.where(table["stimulus"] == "s10", image, "pictures/own.png")
    table.to_csv(root / "table.csv", index=False)
    for column in ("file", "{file}"):
        with pytest.raises(PhospheneError, match="picture of stimulus 's10' lies outside"):
            load("arrays", root=root, **FACTS, image=column)


def test_what_the_recipe_itself_names_is_allowed(tmp_path, secret):
    root = arrays(tmp_path / "study", "pictures/own.png")
    for name in ("s00", "s10"):
        Image.new("RGB", (8, 8), "green").save(secret.parent / f"{name}.png")
    for given in ({"stimuli": "../private"}, {"stimuli": str(secret.parent)}, {"image": "../private/{stimulus}.png"}):
        assert load("arrays", root=root, **FACTS, **given).stimuli.at["s10", "image"] == str(secret.parent / "s10.png")
    pd.DataFrame({"stimulus": ["s00", "s10"], "image": ["s00.png", "secret.png"]}).to_csv(
        secret.parent / "table.tsv", sep="\t", index=False
    )
    assert load("arrays", root=root, **FACTS, stimuli="../private/table.tsv").stimuli.at["s10", "image"] == str(secret)
    (root / "link").symlink_to(secret.parent)  # the study's own link is not what the recipe names
    with pytest.raises(PhospheneError, match="lies outside"):
        load("arrays", root=root, **FACTS, stimuli="link")


def test_saved_trials_keep_their_pictures_until_they_are_moved(tmp_path, secret):
    made = make_trials(tmp_path / "pictures", n_concepts=2)
    saved = from_arrays(
        np.array(made.eeg), made.table, made.stimuli.reset_index(), ch_names=made.signal.ch_names, sfreq=100, tmin=-0.1
    ).save(tmp_path / "t")
    trials = load("arrays", root=saved)
    assert trials.stimuli["image"].tolist() == made.stimuli["image"].tolist()
    assert sum("4 of 4 pictures lie outside of the study" in note for note in trials.notes) == 1
    assert sum("lie outside" in note for note in load("arrays", root=trials.save(tmp_path / "u")).notes) == 1
    table = (without_checksums(saved) / "stimuli.csv").read_text()
    (saved / "stimuli.csv").write_text(table.replace(made.stimuli["image"].iloc[0], str(secret)))
    with pytest.raises(PhospheneError, match=f"lies outside of {saved}"):
        load("arrays", root=saved)
    assert len(Trials.load(saved)) == len(made)  # as a run reads its own
    (saved / "stimuli.csv").write_text(table)
    assert len(read_stimuli(saved / "stimuli.csv")) == 4
    saved.rename(tmp_path / "moved")
    for act in (lambda: load("arrays", root=tmp_path / "moved"), lambda: read_stimuli(tmp_path / "moved/stimuli.csv")):
        with pytest.raises(PhospheneError, match=r"\(4 such\)"):
            act()
    assert len(load("arrays", root=tmp_path / "moved", allow_outside=str(tmp_path / "pictures"))) == len(made)


@pytest.mark.parametrize(
    "told", [None, [], {}, {"saved_to": 1}, {"folders": ["/"]}, "HERE null", "HERE [1]", "HERE text"]
)
def test_a_made_up_record_of_saved_pictures(tmp_path, secret, told):
    root = arrays(tmp_path / "study", str(secret))
    if isinstance(told, str):
        kind = {"null": None, "[1]": [1], "text": "/"}[told.split()[1]]
        told = {"saved_to": str(root), "folders": kind}
    (root / "signal.json").write_text(json.dumps({**FACTS, "pictures": told}))
    with pytest.raises(PhospheneError, match="lies outside"):
        load("arrays", root=root)


@pytest.mark.parametrize("name", ["x" * 5000, "x\u202e.png", "~/x.png", "file:///x.png", "http://127.0.0.1:9/x.png"])
def test_names_that_are_no_paths(tmp_path, name):
    with pytest.raises(PhospheneError, match="is missing: restore it|lies outside"):
        load("arrays", root=arrays(tmp_path / "study", name), **FACTS)


def test_a_simulated_study_names_nothing_outside(tmp_path, secret):
    root = arrays(tmp_path / "study", "../private/secret.png")
    entry = {"subject": "01", "session": "01", "run": "01", "path": "../other/x.fif"}
    (root / "dataset.json").write_text(json.dumps({"simulated": True, "recordings": [entry]}))
    study = build("dataset", "synthetic", root=root)
    with pytest.raises(PhospheneError, match=r"names \S*secret.png, which lies outside"):
        study.stimuli()
    with pytest.raises(PhospheneError, match=r"names \S*x.fif, which lies outside"):
        next(study.recordings(["01"]))


@pytest.mark.parametrize("root", ["a\0b", "x" * 5000])
def test_a_root_that_is_no_name(root):
    with pytest.raises(PhospheneError, match="set dataset.root"):
        build("dataset", "arrays", root=root)


# -- pipes, devices and sockets: opening one may never end ----------------------------------------

READERS = {
    "a picture": ("x.png", open_picture),
    "a table": ("x.csv", read_cells),
    "a BIDS table": ("x.tsv", read_cells),
    "JSON": ("x.json", read_json),
    "a recipe": ("x.yaml", Recipe.read),
    "a grid": ("x.yaml", Grid.read),
    "slots": ("x.yaml", read_slots),
    "captions": ("x.csv", CaptionTable.read),
    "captions as JSON": ("x.json", CaptionTable.read),
    "a fingerprint of captions": ("x.csv", fingerprint),
    "stimuli to caption": ("x.csv", read_stimuli),
    "an array": ("x.npy", open_eeg),
    "a tensor": ("x.safetensors", open_eeg),
    "a pickle": ("x.pkl", read_pickle),
    "weights": ("x.pth", read_torch),
    "safe weights": ("x.safetensors", read_safetensors),
    "a checksum": ("x", digest),
    "a Muse recording": ("x.csv", read_csv),
}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket"])
@pytest.mark.parametrize("reader", READERS)
def test_only_regular_files_are_opened(tmp_path, monkeypatch, reader, kind):
    name, read = READERS[reader]
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        socket.socket(socket.AF_UNIX).bind(name)
    with pytest.raises(PhospheneError, match=r"not a regular file|not a folder of captions|does not exist"):
        read(path)


def test_a_pipe_below_a_study_is_found_before_anything_is_read(tmp_path, monkeypatch):
    root = arrays(tmp_path / "study", "pictures/own.png")
    (root / ".hidden").mkdir()
    os.mkfifo(root / ".hidden" / "daemon")
    (root / "nowhere").symlink_to(tmp_path / "absent")
    assert len(load("arrays", root=root, **FACTS)) == 8
    for name in ("stimuli.csv", "table.csv", "signal.json", "pictures/own.png", "sub/x_eeg.eeg"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        kept = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        with pytest.raises(PhospheneError, match=rf"{re.escape(name)} is a pipe, not a regular file"):
            load("arrays", root=root, **FACTS)
        path.unlink()
        if kept is not None:
            path.write_bytes(kept)
    only_regular(root)


def test_a_pipe_among_pictures_to_caption_is_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(PhospheneError, match=r"b.png is a pipe"):
        pictures_in(tmp_path)
    with pytest.raises(PhospheneError, match=r"b.png is a pipe"):
        write(
            build("captioner", "openai", model="x", key_from="", base_url="http://localhost:9/v1"),
            pd.DataFrame({"image": [str(tmp_path / "b.png")]}, index=["b"]),
            tmp_path / "c",
        )
    assert not (tmp_path / "c").exists()


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def denied(self, **_):
        raise PermissionError

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(PhospheneError, match="no permission to read"):
        regular(tmp_path / "x")
