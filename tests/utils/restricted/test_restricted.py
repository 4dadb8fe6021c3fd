"""Pickles are read and never run: what the field's files hold comes back, and everything else is one line."""

from __future__ import annotations

import collections
import contextlib
import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phosphene.errors import PhospheneError
from phosphene.utils.restricted import read_npy, read_pickle, read_torch

PROTOCOLS = range(6)
SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[4] / "shared"))


def same(one: Any, two: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(two, np.ndarray):
        return one.dtype == two.dtype and one.shape == two.shape and bool(np.array_equal(one, two))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(v, two[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


THINGS = {
    "preprocessed_eeg_data": np.arange(240_000.0).reshape(100, 4, 6, 100),
    "ch_names": ["O1", "Oz", "O2"],
    "times": np.linspace(-0.2, 1, 300),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big endian": np.arange(5, dtype=">i4"),
    "words": np.array(["abc", "d"]),
    "nested": [(1, 2.5, None, True), {"k": {"l": "Ä"}}, b"raw", -(2**70), {3, 4}],
    "scalar": np.float32(3.5),
    "objects": np.array([{"a": 1}, ["b"]], dtype=object),
    "none": np.empty((0, 3)),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_the_fields_files_hold_comes_back(tmp_path: Path, protocol: int):
    path = tmp_path / "preprocessed_eeg_training.npy"  # a pickle that is merely named so
    path.write_bytes(pickle.dumps(THINGS, protocol))
    for read in (read_pickle, read_npy):
        found = read(path)
        assert found.keys() == THINGS.keys()
        assert all(same(found[key], value) for key, value in THINGS.items() if key != "objects")
        assert list(found["objects"]) == list(THINGS["objects"])
    large = found["preprocessed_eeg_data"]
    assert isinstance(large, np.memmap) == (protocol >= 3)  # before, bytes are written as text
    if protocol >= 3:
        assert not large.flags.writeable
    path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
    assert same(read_pickle(path.with_suffix(".gz"))["times"], THINGS["times"])


def test_numpy_1_names_are_known(tmp_path: Path):
    path = tmp_path / "old.pkl"
    path.write_bytes(pickle.dumps(np.arange(3.0), 2).replace(b"numpy._core.", b"numpy.core."))
    assert same(read_pickle(path), np.arange(3.0))


def test_the_large_array_is_not_read(tmp_path: Path):
    """A pickle of 6 GB that takes no room on disk: `{"eeg": array, "after": "x"}`, the array's bytes a hole."""
    path, n = tmp_path / "large.npy", 6 << 30
    text = lambda value: b"X" + struct.pack("<I", len(value)) + value.encode()  # noqa: E731
    shape = b"\x8a\x05" + (n // 8).to_bytes(5, "little") + b"\x85"
    kind = b"cnumpy\ndtype\n" + text("f8") + b"\x89\x88\x87R(K\x03" + text("<") + b"NNN" + b"K\x00" * 3 + b"tb"
    start = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
    with path.open("wb") as file:
        file.write(b"\x80\x04}(" + text("eeg") + start + shape + kind + b"\x89\x8e" + struct.pack("<Q", n))
        file.seek(n, 1)
        file.write(b"tb" + text("after") + text("x") + b"u.")
    found = read_npy(path)
    assert found["after"] == "x"
    assert found["eeg"].shape == (n // 8,)
    assert isinstance(found["eeg"], np.memmap)


def test_npy_files(tmp_path: Path):
    path = tmp_path / "x.npy"
    for value in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.empty((0, 2))):
        np.save(path, value)
        assert same(read_npy(path), value)
    raw = {
        "raw_eeg_data": np.ones((64, 40_000)),
        "ch_names": ["Fp1", "stim"],
        "ch_types": ["eeg", "stim"],
        "sfreq": 1000,
    }
    np.save(path, raw, allow_pickle=True)
    found = read_npy(path)
    assert isinstance(found["raw_eeg_data"], np.memmap)
    assert all(same(found[key], value) for key, value in raw.items())


def test_a_header_that_announces_10_tb(tmp_path: Path):
    for descr in ("<f8", "|O"):
        path = tmp_path / "x.npy"
        with path.open("wb") as file:
            header = {"descr": descr, "fortran_order": False, "shape": (10**12, 10)}
            np.lib.format.write_array_header_1_0(file, header)
            file.write(b"\x80\x04]." if descr == "|O" else b"few bytes")
        refused(read_npy, path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_files(tmp_path: Path, protocol: int):
    path = tmp_path / "x.pt"
    layer = torch.nn.Linear(3, 4)
    shared = torch.arange(12.0).reshape(3, 4)
    value = {
        "state": layer.state_dict(),
        "dataset": [{"eeg": torch.randn(4, 6), "label": 3, "subject": 4}],
        "t": shared.t(),
        "part": shared[1:, ::2],
        "half": torch.randn(5).bfloat16(),
        "int": torch.arange(3),
        "empty": torch.empty(0, 2),
        "np": np.arange(4.0),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "size": shared.shape,
    }
    torch.save(value, path, pickle_protocol=protocol)
    found = read_torch(path)
    np.testing.assert_array_equal(found["state"]["weight"], layer.weight.detach().numpy())
    np.testing.assert_array_equal(found["dataset"][0]["eeg"], value["dataset"][0]["eeg"].numpy())
    assert found["dataset"][0]["label"] == 3
    for key in ("t", "part", "half", "int", "empty"):
        np.testing.assert_array_equal(found[key], value[key].float().numpy() if key == "half" else value[key].numpy())
    assert same(found["np"], value["np"])
    assert found["size"] == (3, 4)
    assert not found["t"].flags.writeable


def test_many_tensors_take_one_file_handle(tmp_path: Path):
    torch.save([torch.full((2, 3), float(i)) for i in range(1500)], tmp_path / "x.pt")
    before = len(os.listdir("/proc/self/fd"))
    found = read_torch(tmp_path / "x.pt")
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert found[1499][1, 2] == 1499


# what must not run


def refused(read, path: Path, match: str = ".") -> None:
    with pytest.raises(PhospheneError, match=match) as error:
        read(path)
    assert str(error.value).isprintable()
    assert str(path) in str(error.value)


class Runs:
    """Its pickle calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(marker: Path) -> dict[str, bytes]:
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"

    class State:
        def __reduce__(self):
            return (collections.OrderedDict, (), {"x": Runs(os.system, touch)})

    name = b"posix\nsystem\n"
    text = b"(V" + touch.encode() + b"\ntR"
    array = pickle.dumps(np.arange(3.0), 4)
    return {
        "system": pickle.dumps(Runs(os.system, touch)),
        "eval": pickle.dumps(Runs(eval, code)),
        "exec": pickle.dumps([1, {"a": Runs(exec, code)}], 2),
        "getattr": b"c__builtin__\ngetattr\n(cos\nV\ntR.",
        "numpy.load": pickle.dumps(Runs(np.load, str(marker), None, True)),
        "state": pickle.dumps(State()),
        "protocol 0": b"c" + name + text + b".",
        "INST": b"(V" + touch.encode() + b"\ni" + name + b".",
        "OBJ": b"(c" + name + b"V" + touch.encode() + b"\no.",
        "NEWOBJ": b"\x80\x02c" + name + b"V" + touch.encode() + b"\n\x85\x81.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c"
        + bytes([len(touch)])
        + touch.encode()
        + b"\x85R.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0adtype.type\x93)R.",
        "EXT": b"\x80\x02\x82\x01.",
        "persistent": b"Phttp://x\n.",
        "subclass": array.replace(b"ndarray", b"matrix "),
        "reconstruct a function": b"cnumpy.core.multiarray\n_reconstruct\n(cposix\nsystem\n(K\x00tC\x01btR.",
        "call a type": b"cnumpy\nndarray\n(K\x03tR.",
        "call a string": b"X\x05\x00\x00\x00hello(tR.",
        "state of a list": b"](cposix\nsystem\nb.",
        "buffer": b"\x80\x05\x97.",
    }


@pytest.mark.parametrize("name", sorted(hostile(Path("x"))))
def test_nothing_runs(tmp_path: Path, name: str):
    marker = tmp_path / "marker"
    content = hostile(marker)[name]
    (tmp_path / "x.pkl").write_bytes(content)
    refused(read_pickle, tmp_path / "x.pkl")
    (tmp_path / "x.npy").write_bytes(content)
    refused(read_npy, tmp_path / "x.npy")
    with (tmp_path / "y.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(content)
    refused(read_npy, tmp_path / "y.npy")
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/version", "3\n")
    refused(read_torch, tmp_path / "x.pt")
    assert not marker.exists()


def test_the_global_is_named(tmp_path: Path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Runs(os.system, "true")))
    refused(read_pickle, tmp_path / "x.pkl", r"names posix\.system, which could run code")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    refused(read_torch, tmp_path / "x.pt", "names torch.nn.modules.linear.Linear")


BOMBS = {
    "deep": b"\x80\x04" + b"]" * 5000 + b"a" * 4999 + b".",
    "deep tuple": b"\x80\x04)" + b"\x85" * 5000 + b".",
    "deep key": b"\x80\x04})" + b"\x85" * 5000 + b"Ns.",
    "huge block": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
    "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "huge number": b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"\x01.",
    "long number": b"L" + b"9" * 100_000 + b"L\n.",
    "huge shape": pickle.dumps(np.arange(3.0), 4).replace(b"K\x03\x85", b"\x8a\x08" + b"\xff" * 7 + b"\x0f\x85"),
    "wrong type": pickle.dumps(np.arange(3.0), 4).replace(b"\x8c\x02f8", b"\x8c\x02V9"),
    "memo": b"\x80\x02h\x07.",
    "empty": b"",
    "only a mark": b"(.",
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_what_announces_more_than_it_holds(tmp_path: Path, name: str):
    (tmp_path / "x.pkl").write_bytes(BOMBS[name])
    refused(read_pickle, tmp_path / "x.pkl")


def test_a_list_that_doubles_stays_small(tmp_path: Path):
    """Billions of entries that are one list: what is shared stays shared."""
    step = b"h%ch%c\x86q%c"
    content = b"\x80\x02]q\x00" + b"".join(step % (i, i, i + 1) for i in range(60)) + b"."
    (tmp_path / "x.pkl").write_bytes(content)
    found = read_pickle(tmp_path / "x.pkl")
    assert found[0] is found[1]


def test_zip_archives_that_point_outside(tmp_path: Path):
    for name in ("../data.pkl", "/x/data.pkl", "x/../y/data.pkl", "c:/data.pkl"):
        with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
            archive.writestr("x/data.pkl", pickle.dumps({}, 2))
            archive.writestr(name, b"")
        refused(read_torch, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"a": "b" * 10_000}, 2))
    refused(read_torch, tmp_path / "x.pt", "compressed")
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/readme", b"")
    refused(read_torch, tmp_path / "x.pt", "no tensors")


def test_a_tensor_that_reaches_beyond_its_storage(tmp_path: Path):
    for old, new in ((b"K\x02K\x03\x86", b"K\x02K\x09\x86"), (b"K\x03K\x01\x86", b"K\x09K\x01\x86")):
        buffer = io.BytesIO()
        torch.save(torch.arange(6.0).reshape(2, 3), buffer)
        content = bytearray(buffer.getvalue())
        at = content.index(old)
        content[at : at + len(old)] = new
        (tmp_path / "x.pt").write_bytes(content)
        refused(read_torch, tmp_path / "x.pt")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path):
    path = tmp_path / "x"
    torch.save({"a": torch.ones(2), "b": [1, "c"]}, path)
    whole = path.read_bytes()
    for n in range(0, len(whole), 7):
        path.write_bytes(whole[:n])
        refused(read_torch, path)
    whole = pickle.dumps({"a": np.ones(2), "b": [1, "c"]}, 4)
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        refused(read_pickle, path)


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "cases").iterdir()), ids=lambda path: path.name)
def test_what_fuzzing_found(path: Path):
    """Each input once led to something else than a value or one line."""
    read = {"pickle": read_pickle, "npy": read_npy, "torch": read_torch}[path.name.split("-")[0]]
    refused(read, path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(value=PLAIN, protocol=st.sampled_from(list(PROTOCOLS)))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plain_data_comes_back(tmp_path: Path, value: Any, protocol: int):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol))
    assert same(read_pickle(tmp_path / "x.pkl"), value)


@given(
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6), kind=st.booleans()
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path, edits: list, kind: bool):
    value = {"a": np.arange(4.0), "b": ["x", (1, 2.5)], "c": {"d": np.array(["u"])}}
    if kind:
        torch.save({"t": torch.ones(3), **value}, tmp_path / "x")
    else:
        (tmp_path / "x").write_bytes(pickle.dumps(value, 4))
    content = bytearray((tmp_path / "x").read_bytes())
    for at, byte in edits:
        content[at % len(content)] = byte
    (tmp_path / "x").write_bytes(content)
    with contextlib.suppress(PhospheneError):
        (read_torch if kind else read_pickle)(tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("numpy1_ndarray_protocol4.pkl", True),
        ("ssvep-exo_subject01_py2_numpy_protocol0.pz", True),
        ("sklearn_pca_must_refuse.joblib", False),
        ("truncated_torch_zip.pt", False),
    ],
)
def test_the_fields_own_hazards(name: str, accepted: bool):
    path = SHARED / "data" / "pickle-hazards" / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    read = read_torch if path.suffix == ".pt" else read_pickle
    if accepted:
        assert isinstance(read(path), dict)
    else:
        refused(read, path)
