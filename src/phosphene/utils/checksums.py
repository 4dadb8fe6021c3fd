"""Checksums of what a run keeps: written with every file, compared before a file is read again.

Each folder holds them in `SHA256SUMS`, in the format of `sha256sum`, which can check them too. A folder that is written
in one move has those of all its files; beside a file that is written alone, its line is added. A file without a line
(of a run from before there were checksums) is read as it is.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from phosphene.errors import Damaged, PhospheneError
from phosphene.utils.files import digest, read_json, whole, write_json

SUMS, MADE = "SHA256SUMS", "made_of.json"
log = logging.getLogger(__name__)


@contextmanager
def kept(path: str | Path) -> Iterator[Path]:
    """`phosphene.utils.files.whole`, with checksums: in a folder those of all its files, of a file beside it."""
    path, replaced = Path(path), False
    with whole(path) as part:
        yield part
        if part.is_dir():
            files = sorted(p for p in part.rglob("*") if p.is_file())
            lines = [f"{digest(p, 64)}  {p.relative_to(part).as_posix()}\n" for p in files]
            (part / SUMS).write_text("".join(lines), encoding="utf-8")
        elif part.is_file():
            replaced = path.is_file()
            _add(path.parent / SUMS, f"{digest(part, 64)}  {path.name}\n")
    if replaced:
        _last_alone(path)


def _add(sums: Path, line: str) -> None:
    """Before the file is in its place: a stop in between leaves the old file, whose line is there still."""
    with sums.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"  # a stop cut the last one off
        file.write(line.encode())


def _last_alone(path: Path) -> None:
    """Once the file is in its place, what it was before is no longer right."""
    lines = (path.parent / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    own = [i for i, line in enumerate(lines) if line.partition("  ")[2] == path.name]
    with whole(path.parent / SUMS) as part:
        part.write_text("".join(f"{line}\n" for i, line in enumerate(lines) if i not in own[:-1]), encoding="utf-8")


def intact(path: str | Path, fix: str) -> Path:
    """The path, if the file, or each file of the folder, is what was written there.

    Parameters
    ----------
    path : a file or a folder; one that does not exist is its reader's matter.
    fix : what makes it again; ends the error.

    Raises
    ------
    Damaged
        Names the first file that is damaged or lost.
    """
    path = Path(path)
    if path.is_dir():
        for name, known in _known(path / SUMS).items():
            if not (path / name).is_file():
                raise Damaged(f"{path / name} is missing: {fix}")
            _compare(path / name, known, fix)
    elif path.is_file():
        _compare(path, _known(path.parent / SUMS).get(path.name, frozenset()), fix)
    return path


def finished(out: Path, of: Any) -> bool:
    """Whether the folder is there, whole, and was made of just this (`MADE` in it says of what); an empty one is not.

    Raises
    ------
    PhospheneError
        Something else is there, or it is damaged.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    made = out / MADE
    if not made.is_file() or read_json(made) != json.loads(json.dumps(of, default=str)):
        raise PhospheneError(f"{out} exists already: choose another --out or remove it")
    intact(out, f"remove {out} and give the same command again")
    return True


def summary(folder: Path) -> str | None:
    """Of all checksums in a folder, to tell it from others; None if it has none."""
    return digest(folder / SUMS) if (folder / SUMS).is_file() else None


def still_there(path: Path) -> bool:
    """Whether what was computed once lies in a cache as it was written; damage is told, and it is computed again."""
    try:
        return intact(path, "it is made again").exists()
    except Damaged as error:
        log.warning(str(error))
        return False


def _compare(path: Path, known: frozenset[str], fix: str) -> None:
    if known and _digest(path, *_state(path)) not in known:
        raise Damaged(f"{path} is damaged, it is not what was written there: {fix}")


def _known(sums: Path) -> dict[str, frozenset[str]]:
    """The checksums of each file: two of one whose replacement was stopped."""
    return _read(sums, *_state(sums)) if sums.is_file() else {}


@lru_cache(64)
def _read(sums: Path, *state: int) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        known, _, name = line.partition("  ")
        if len(known) == 64 and name:
            found[name] = found.get(name, frozenset()) | {known}
    return found


def _state(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


@cache
def _digest(path: Path, *state: int) -> str:
    """Of a file in this state, once in a process."""
    return digest(path, 64)


def keep_json(path: str | Path, value: Any) -> None:
    """`phosphene.utils.files.write_json`, with its checksum."""
    with kept(path) as part:
        write_json(part, value)
