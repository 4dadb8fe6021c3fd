"""Damage is told: what a run keeps is compared with its checksum before it is read again."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from phosphene.errors import Damaged, PhospheneError
from phosphene.report.markup import picture
from phosphene.runs.log import EpochLog, entries
from phosphene.utils.checksums import SUMS, intact, keep_json, kept, still_there


@pytest.fixture
def folder(tmp_path):
    """A folder that was written in one move."""
    with kept(tmp_path / "model") as part:
        (part / "inner").mkdir(parents=True)
        (part / "weights").write_bytes(bytes(range(200)))
        (part / "inner" / "facts.json").write_text("{}")
    return tmp_path / "model"


def test_what_was_written_is_intact(folder):
    assert intact(folder, "train again") == folder
    assert still_there(folder)
    done = subprocess.run(["sha256sum", "--check", SUMS], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["weights", "inner/facts.json"])
@pytest.mark.parametrize("way", ["flipped", "cut", "longer", "lost"])
def test_every_kind_of_damage_is_told(folder, name, way, caplog):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    changed = {"flipped": bytes(data), "cut": bytes(data[:-1]), "longer": path.read_bytes() + b"\0"}
    path.unlink() if way == "lost" else path.write_bytes(changed[way])
    with pytest.raises(PhospheneError, match=f"{name} is (damaged|missing).*: train again"):
        intact(folder, "train again")
    assert not still_there(folder)
    assert "made again" in caplog.text


def test_a_file_alone_has_its_line_beside_it(tmp_path):
    keep_json(tmp_path / "a.json", {"a": 1})
    keep_json(tmp_path / "b.json", {"b": 1})
    keep_json(tmp_path / "a.json", {"a": 2})  # written again
    for name in "ab":
        intact(tmp_path / f"{name}.json", "again")
    (tmp_path / "b.json").write_text('{"b": 2}')
    intact(tmp_path / "a.json", "again")
    with pytest.raises(Damaged, match="b.json is damaged, it is not what was written there: again"):
        intact(tmp_path / "b.json", "again")


def test_a_file_that_is_written_again_and_again_has_one_line(tmp_path):
    keep_json(tmp_path / "other.json", 0)
    for value in range(20):
        keep_json(tmp_path / "a.json", value)
    lines = [line.split("  ")[1] for line in (tmp_path / SUMS).read_text().splitlines()]
    assert sorted(lines) == ["a.json", "other.json"]
    (tmp_path / "a.json").write_text("18\n")  # its content before is no longer right
    with pytest.raises(Damaged):
        intact(tmp_path / "a.json", "again")
    intact(tmp_path / "other.json", "again")


def test_damage_is_no_gap_to_be_passed_over(tmp_path):
    """What the page does without where it is absent is an error where it is damaged: a picture, a line of the log."""
    with kept(tmp_path / "0.png") as part:
        Image.new("RGB", (8, 8)).save(part)
    log = EpochLog(tmp_path / "log.jsonl")
    for epoch in (1, 2):
        log.add({"fold": "a", "stage": "b", "epoch": epoch})
    assert "img" in str(picture(tmp_path / "0.png", "drawn", 8))
    assert "no picture" in str(picture(tmp_path / "1.png", "drawn", 8))
    for name in ("0.png", "log.jsonl"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])  # of the log a whole line is left
    with pytest.raises(Damaged, match="0.png is damaged"):
        picture(tmp_path / "0.png", "drawn", 8)
    with pytest.raises(Damaged, match="log.jsonl is damaged"):
        list(entries(log.path))


def test_what_was_written_before_there_were_checksums_is_read(tmp_path, folder):
    (tmp_path / "old.json").write_text("{}")
    intact(tmp_path / "old.json", "again")
    (folder / SUMS).unlink()
    (folder / "weights").write_bytes(b"other")
    intact(folder, "again")
    intact(tmp_path / "absent", "again")


def test_a_stop_while_a_line_is_added_loses_no_other(tmp_path):
    keep_json(tmp_path / "a.json", 1)
    with (tmp_path / SUMS).open("ab") as file:
        file.write(b"0123")  # a stop
    keep_json(tmp_path / "b.json", 2)
    for name in "ab":
        intact(tmp_path / f"{name}.json", "again")


def test_a_stop_before_the_file_is_in_its_place_leaves_the_old_one_intact(tmp_path, monkeypatch):
    keep_json(tmp_path / "a.json", 1)
    monkeypatch.setattr("phosphene.utils.files.os.replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        keep_json(tmp_path / "a.json", 2)
    intact(tmp_path / "a.json", "again")


def test_a_refused_write_leaves_no_line(tmp_path):
    with pytest.raises(ValueError, match="no"), kept(tmp_path / "a.npy") as part:
        np.save(part, np.zeros(3))
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []
