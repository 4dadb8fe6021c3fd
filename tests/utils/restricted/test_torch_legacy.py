"""Files of before torch 1.6: what torch wrote comes back; what is damaged or hostile is refused, and nothing runs."""

import collections
import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phosphene.errors import PhospheneError
from phosphene.utils.restricted import read_torch

TYPES = (
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def save(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)
    return path


def same(found, saved):
    if isinstance(saved, torch.Tensor):
        saved = saved.float() if saved.dtype == torch.bfloat16 else saved
        np.testing.assert_array_equal(found, saved.numpy(), strict=True)
    elif isinstance(saved, dict):
        assert list(found) == list(saved)
        for key in saved:
            same(found[key], saved[key])
    elif isinstance(saved, list | tuple):
        assert type(found) is type(saved)
        for a, b in zip(found, saved, strict=True):
            same(a, b)
    else:
        assert found == saved


def example():
    base = torch.arange(24.0)
    return {
        "dataset": [{"eeg": torch.randn(4, 7 + i), "label": i, "image": -i} for i in range(3)],
        "shared": [base.reshape(4, 6), base.reshape(4, 6).t(), base[5:9], base[3]],
        "types": [torch.arange(5).to(t) for t in TYPES],
        "empty": torch.empty(0, 128),
        "text": ["n02951358", "tench"],
        "more": collections.OrderedDict(a=(1, 2.5, None, True)),
    }


def test_what_torch_wrote_comes_back(tmp_path):
    value = example()
    path = save(value, tmp_path / "old.pth")
    same(read_torch(path), value)


def test_tensors_stay_in_the_file(tmp_path):
    path = save({"x": torch.zeros(300, 1000)}, tmp_path / "old.pth")
    found = read_torch(path)["x"]
    assert not found.flags.writeable
    base = found
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    assert isinstance(base, np.memmap)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "empty.pth").touch()
    (tmp_path / "array.pth").write_bytes(b"\x80\x04]\x94.")
    for name in ("empty.pth", "array.pth"):
        with pytest.raises(PhospheneError, match="is not a torch file"):
            read_torch(tmp_path / name)
    with pytest.raises(PhospheneError, match="does not exist"):
        read_torch(tmp_path / "none.pth")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_payload_does_not_run(tmp_path):
    path = save({"x": torch.zeros(3), "y": Payload(tmp_path / "ran")}, tmp_path / "old.pth")
    with pytest.raises(PhospheneError, match="could run code") as caught:
        read_torch(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path):
    content = save(example(), tmp_path / "old.pth").read_bytes()
    for n in [*range(0, 400, 7), *range(400, len(content), 61), len(content) - 1]:
        (tmp_path / "cut.pth").write_bytes(content[:n])
        with pytest.raises(PhospheneError) as caught:
            read_torch(tmp_path / "cut.pth")
        assert "\n" not in str(caught.value)
    (tmp_path / "cut.pth").write_bytes(content + b"more")
    with pytest.raises(PhospheneError, match="holds more than it names"):
        read_torch(tmp_path / "cut.pth")


def test_a_storage_that_announces_more_than_it_holds_is_refused(tmp_path):
    content = bytearray(save(torch.zeros(50), tmp_path / "old.pth").read_bytes())
    at = len(content) - 50 * 4 - 8
    assert int.from_bytes(content[at : at + 8], "little") == 50
    content[at : at + 8] = (2**40).to_bytes(8, "little")
    (tmp_path / "old.pth").write_bytes(content)
    with pytest.raises(PhospheneError, match="another size than it holds"):
        read_torch(tmp_path / "old.pth")


_SMALL = {"x": torch.arange(6.0).reshape(2, 3), "y": [1, "two", None]}


@settings(max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_changed_bytes_are_read_or_refused(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("fuzz")
    content = bytearray(save(_SMALL, folder / "old.pth").read_bytes())
    for where, byte in changes:
        content[int(where * len(content))] = byte
    (folder / "old.pth").write_bytes(content)
    with contextlib.suppress(PhospheneError):  # and nothing else
        read_torch(folder / "old.pth")
