"""Files made to harm: each is one short line, at once, and nothing is written or run."""

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from conftest import make_trials
from phosphene import pictures
from phosphene.datasets.things.raw import picture_order, read_source
from phosphene.errors import PhospheneError
from phosphene.experiment import Experiment
from phosphene.fetch.names import unpack
from phosphene.files import read_json
from phosphene.methods.base import Method
from phosphene.pictures import open_picture
from phosphene.recipe import Recipe, parse_overrides
from phosphene.restricted import read_npy, read_pickle, read_torch
from phosphene.trials import Signal, Trials


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


DOUBLING = b"h\x00h\x01h\x01\x86Rq\x01" * 60
PICKLES = {
    "a text that doubles": b"\x80\x04ctorch\ndevice\nq\x00" + text(b"a" * 10) + b"q\x01" + DOUBLING + b".",
    "a block encoded again and again": b"\x80\x04c_codecs\nencode\nq\x00" + text(b"a" * 1_000_000)
    + b"\x85q\x010" + b"h\x00h\x01R" * 2000 + b".",
    "a million containers": b"\x80\x04(" + b"\x8f" * 1_000_000 + b"l.",
    "keys of one hash": pickle.dumps({i * (2**61 - 1): 0 for i in range(2, 50)}, 4),
    "entries of no size": pickle.dumps(np.zeros(3, "S1"), 4).replace(b"S1", b"S0"),
}  # fmt: skip


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
    "date": "description: 2001-13-45", "int": "name: !!int x", "bool": "name: !!bool x", "empty": "name: !!int ''",
    "time": "name: !!timestamp x", "number as key": "1: 2", "deep": "name: " + "[" * 3000 + "]" * 3000,
    "alias": "dataset: &a {name: arrays, root: ., keep: *a}",
    "merge": "m0: &m0 {a: 1}\nm1: &m1 {<<: [*m0, *m0]}\nm2: {<<: [*m1, *m1]}", "tag": "name: !!python/name:os.system",
}  # fmt: skip


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
    recipe = Recipe.read({
        "name": "x", "dataset": {"name": "arrays", "root": str(trials.save(tmp_path / "study"))}, "preprocessing": {},
        "method": {"name": "lda"}, "protocol": {"select_on": "last", "average_test": 1},
    })  # fmt: skip
    with pytest.raises(PhospheneError, match="cannot name a folder"):
        Experiment(recipe, tmp_path / "runs" / "out").run()
    assert {p.name for p in tmp_path.iterdir()} == {"study", "runs"}


@pytest.mark.parametrize(
    ("name", "content"),
    [("signal.json", "[]"), ("signal.json", "{}"), ("signal.json", '{"ch_names": 5, "sfreq": 1}'),
     ("signal.json", '{"ch_names": ["a"], "sfreq": "x"}'), ("signal.json", "[" * 100_000),
     ("stimuli.csv", "a,b\n1,2\n"), ("eeg.npy", "PK\3\4xxxx"), ("eeg.npy", "")],
)  # fmt: skip
def test_trials_of_damaged_files(tmp_path, name, content):
    folder = make_trials().save(tmp_path / "t")
    (folder / name).write_text(content)
    with pytest.raises(PhospheneError):
        Trials.load(folder)


def test_an_onset_that_is_no_number(tmp_path):
    folder = make_trials().save(tmp_path / "t")
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
