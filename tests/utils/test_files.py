from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from phosphene.errors import PhospheneError
from phosphene.utils.files import digest, read_json, whole, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), whole(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def by_python():
    with open("/dev/full", "wb", buffering=0) as file:  # a device that is always full
        file.write(b"0")


def by_safetensors():
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def by_torch():
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 166528 vs 166420")


def by_numpy():
    raise OSError("189000 requested and 186336 written")


@pytest.mark.parametrize("write", [by_python, by_safetensors, by_torch, by_numpy])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, write):
    """Each library tells it in its own way (as seen on a full tmpfs; `tools/stops.py --how full`)."""
    if write is by_python and not Path("/dev/full").exists():
        pytest.skip("/dev/full is absent on this system")
    if write in (by_torch, by_numpy):  # while the disk has room it is another fault
        with (
            pytest.raises((RuntimeError, OSError), match="written|unexpected"),
            whole(tmp_path / "folder"),
        ):
            write()
        monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(PhospheneError, match=r"no space left to write .*folder"), whole(tmp_path / "folder") as part:
        part.mkdir()
        (part / "x").write_text("half")
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(tmp_path):
    for text in ("old", "new"):
        with whole(tmp_path / "f") as part:
            part.mkdir()
            (part / text).write_text(text)
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_interruption_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "a") as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_json_errors_name_the_fix(tmp_path):
    with pytest.raises(PhospheneError, match="does not exist"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(PhospheneError, match="not readable JSON"):
        read_json(tmp_path / "bad.json")


def test_digest_depends_on_content_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert digest(tmp_path / "a") == digest(tmp_path / "b") == digest(b"x")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert digest(Path(__file__)) != digest(b"x")
