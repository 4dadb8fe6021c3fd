"""One process at a time in a folder, and what killed ones left is put right."""

import errno
import os
import subprocess
import sys

import pytest

from phosphene.errors import PhospheneError
from phosphene.utils.checksums import keep_json
from phosphene.utils.files import whole
from phosphene.utils.locks import alone, once, put_right

HOLD = """
import sys
from phosphene.utils.locks import alone
with alone(sys.argv[1]):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("there", [True, False])
def test_a_second_process_is_kept_off_and_a_killed_one_is_forgotten(tmp_path, there):
    out = tmp_path / "run"
    if there:
        out.mkdir()
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(PhospheneError, match="run is in use by another process: wait until it ends"), alone(out):
            pass
        other.kill()
        other.wait()
    with alone(out):
        pass
    assert list(tmp_path.rglob("*")) == [out] * there


ONCE = """
import sys, time
from pathlib import Path
from phosphene.utils.checksums import keep_json
from phosphene.utils.locks import once
path, log = Path(sys.argv[1]), Path(sys.argv[2])
def make():
    with log.open("a") as file:
        file.write("made\\n")
    print("in", flush=True)
    sys.stdin.read()
    keep_json(path, 1)
once(path, make)
"""


def test_what_is_cached_is_made_by_one_process_while_others_wait(tmp_path):
    path, log = tmp_path / "cache" / "key.json", tmp_path / "log"
    command, pipe = [sys.executable, "-c", ONCE, str(path), str(log)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as killed:
        assert killed.stdout.readline() == "in\n"
        killed.kill()
    (path.parent / ".0123abcd.key.json").write_text("half")  # of the killed one
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as first:
        assert first.stdout.readline() == "in\n"
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as second:
            first.stdin.close()
            assert first.wait() == second.wait() == 0
    assert log.read_text() == "made\n" * 2
    assert path.read_text() == "1\n"
    assert sorted(p.name for p in path.parent.iterdir()) == ["SHA256SUMS", "key.json"]
    (path.parent / ".key.json.lock").touch()  # of one that was killed when it had made it
    once(path, lambda: keep_json(path, 0))
    assert sorted(p.name for p in path.parent.iterdir()) == ["SHA256SUMS", "key.json"]
    assert path.read_text() == "1\n"
    path.write_text("2")
    once(path, lambda: keep_json(path, 3))  # damaged
    once(path, lambda: keep_json(path, 4))
    assert path.read_text() == "3\n"


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError()])
def test_a_disk_without_locks_is_told_and_worked_on(tmp_path, monkeypatch, caplog, error):
    def refuse(*arguments, **more):
        raise error

    monkeypatch.setattr("phosphene.utils.locks.FileLock.acquire", refuse)
    with alone(tmp_path / "run"):
        (tmp_path / "run").mkdir()
    assert "run lies on a disk without locks" in caplog.text


def test_a_process_may_enter_its_own_folder_again(tmp_path):
    with alone(tmp_path / "run"), alone(tmp_path / "run"), alone(tmp_path / "run" / "inner"):
        pass
    assert list(tmp_path.rglob(".*")) == []


def test_the_folder_is_free_after_an_error_and_nothing_stays_of_one_that_was_not_written(tmp_path):
    with pytest.raises(ValueError, match="no"), alone(tmp_path / "runs" / "new" / "run"):
        raise ValueError("no")
    with alone(tmp_path / "runs" / "new" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_kill_left_half_written_is_removed(tmp_path, kind):
    run = tmp_path / "run"
    (run / "inner").mkdir(parents=True)
    (run / "inner" / "scores.csv").write_text("old")
    for place in (run / "inner" / ".0123abcd.scores.csv", tmp_path / ".0123abcd.run", run / ".89abcdef.model"):
        if kind == "folder":
            place.mkdir()
            place = place / "part"
        place.write_text("half")
    other = tmp_path / ".0123abcd.other"  # of another folder, where somebody may be at work
    other.mkdir()
    put_right(run)
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
    assert left == [".0123abcd.other", "run", "run/inner", "run/inner/scores.csv"]


@pytest.mark.parametrize("at", range(3))
def test_a_kill_between_the_moves_that_replace_a_folder_loses_nothing(tmp_path, monkeypatch, at):
    """Before the first move, between the two, and before the old folder is removed."""
    stage = tmp_path / "checkpoints" / "stage"
    stage.mkdir(parents=True)
    (stage / "state.json").write_text("old")
    calls, move = [], os.replace

    class Killed(BaseException):
        pass

    def step(name, original):
        def wrapped(*arguments, **more):
            calls.append(name)
            if len(calls) > at:
                raise Killed
            return original(*arguments, **more)

        return wrapped

    monkeypatch.setattr("phosphene.utils.files.os.replace", step("move", move))
    monkeypatch.setattr("phosphene.utils.files.shutil.rmtree", step("remove", __import__("shutil").rmtree))
    with pytest.raises(Killed), whole(stage) as part:
        part.mkdir()
        (part / "state.json").write_text("new")
    monkeypatch.undo()
    put_right(tmp_path / "checkpoints")
    assert (stage / "state.json").read_text() == ("new" if at == 2 else "old")
    assert [p.name for p in stage.parent.iterdir()] == ["stage"]


def test_a_folder_in_which_another_works_is_left_alone(tmp_path):
    inner = tmp_path / "grid" / "one"
    inner.mkdir(parents=True)
    part = inner / ".0123abcd.scores.csv"
    part.write_text("half")
    (tmp_path / "grid" / ".one.lock").touch()
    put_right(tmp_path / "grid")
    assert part.exists()
