"""Names that came from outside: regular files, folders named by a word, and files that a table may name."""

import os
import re
import stat
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from phosphene.errors import PhospheneError

_LONGEST = 100  # characters of a folder's name, so that whatever is added to it still fits a file system's 255 bytes
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows


def exists(path: str | Path) -> bool:
    """Whether anything lies there; a name that cannot be one names nothing."""
    try:
        Path(path).stat()
    except (OSError, ValueError):
        return False
    return True


def short(path: str | Path) -> str:
    """A path as errors show it: of a very long one begin and end, so that the fix behind it is still read."""
    text = str(path)
    return text if len(text) <= 400 else f"{text[:200]}...{text[-50:]}"


def is_regular(path: str | Path) -> bool:
    """Whether a regular file lies there; a name that cannot be one names nothing."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def regular(path: str | Path, absent: str = "does not exist: check the path", what: str = "") -> Path:
    """The path, if a regular file lies there: opening a pipe or a device may never end.

    Raises
    ------
    PhospheneError
        Nothing lies there, or what does is no regular file. ``what`` begins the line; where nothing lies there,
        ``absent`` ends it.
    """
    path, named = Path(path), f"{what} {short(path)}".strip()
    try:
        mode = path.stat().st_mode
    except PermissionError:
        raise PhospheneError(f"no permission to read {named}: change its permissions") from None
    except (OSError, ValueError):
        raise PhospheneError(f"{named} {absent}") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
        raise PhospheneError(f"{named} is {kind}, not a regular file: give the file itself")
    return path


def only_regular(folder: Path) -> None:
    """Refuses pipes, devices and sockets anywhere below a folder; what is hidden, or linked to nothing, is passed over.

    Raises
    ------
    PhospheneError
        Names the first.
    """
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where, name)
            if not name.startswith(".") and exists(path):
                regular(path)


def folder_name(name: str, what: str, fix: str = "") -> str:
    """The name, if it can be that of one folder, in the place where it is asked for and on every system.

    Parameters
    ----------
    what : begins the error, such as "subject".
    fix : what else would do, such as "give --out".

    Raises
    ------
    PhospheneError
        An empty name, one with slashes, dots alone, control characters, ...: whatever could lead elsewhere.
    """
    if not re.fullmatch(r"\w[\w .+@-]*", name) or name[-1] in " ." or _RESERVED.fullmatch(name):
        raise PhospheneError(
            f"{what} '{name}' cannot name a folder: begin with a letter or digit, then letters, digits, space, . _ + @ "
            f"-{f'; or {fix}' if fix else ''}"
        )
    if len(name) > _LONGEST or len(name.encode()) > 2 * _LONGEST:
        raise PhospheneError(
            f"{what} '{name[:20]}...' is too long to name a folder: give at most {_LONGEST} characters"
            f"{f', or {fix}' if fix else ''}"
        )
    return name


def default_out(name: str, what: str) -> Path:
    """`runs/<name>`: where results go that nobody named a folder for; the name cannot lead out of `runs`.

    Raises
    ------
    PhospheneError
        As `folder_name`.
    """
    return Path("runs") / folder_name(name, what, "choose a folder with --out")


def outside(paths: Iterable[str | Path], folders: Iterable[Path]) -> list[bool]:
    """Of each path, whether it lies in none of these folders, once every ``..`` and symbolic link is followed."""
    roots = {folder.resolve() for folder in folders}

    def away(path: str | Path) -> bool:
        try:
            return roots.isdisjoint(Path(path).resolve().parents)
        except (OSError, ValueError, RuntimeError):  # no name of a file, or links in a circle
            return True

    return [away(path) for path in paths]


def below(name: str) -> bool:
    """Whether a relative path cannot leave the folder that it is joined to, links aside."""
    path = PurePath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def stay_inside(images: Iterable[tuple[object, str]], within: Sequence[Path], key: str) -> None:
    """Refuses pictures outside of these folders, once links and ``..`` are followed; whoever wrote a stimulus table
    does not choose which files of this machine are shown, sent or decoded.

    Parameters
    ----------
    images : stimulus and path of each.
    within : folders; the first is the study's.
    key : the setting that allows more.

    Raises
    ------
    PhospheneError
        Names the first.
    """
    pairs = list(images)
    away = outside([path for _, path in pairs], within)
    lost = [pair for pair, gone in zip(pairs, away, strict=True) if gone]
    if lost:
        name, path = lost[0]
        more = f" ({len(lost)} such)" if len(lost) > 1 else ""
        raise PhospheneError(
            f"the picture of stimulus '{name}' lies outside of {within[0]}{more}: {short(path)}; copy it there, or set "
            f"{key} to its folder"
        )


def has_room(out: str | Path, option: str = "--out", is_file: bool = False) -> None:
    """Refuses a place that cannot be written to, before any work: one below a file, or a folder for a file.

    Raises
    ------
    PhospheneError
        Names what is in the way, and ``option``.
    """
    out = Path(out)
    if is_file and out.is_dir():
        raise PhospheneError(f"{out} is a folder, not a file: choose another {option}")
    above = out.absolute().parents if is_file else (out.absolute(), *out.absolute().parents)
    there = next(path for path in above if exists(path))
    if not there.is_dir():
        raise PhospheneError(f"{short(there)} is not a folder: choose another {option}")


def only_own(out: str | Path, mark: str, held: Collection[str] = ()) -> None:
    """Refuses a folder of other things: one that is not empty and does not hold the file ``mark``.

    Parameters
    ----------
    held : names that may lie there; those that begin with a dot always may.

    Raises
    ------
    PhospheneError
        Names one of the other things.
    """
    out = Path(out)
    if not out.is_dir() or exists(out / mark):
        return
    others = sorted(path.name for path in out.iterdir() if path.name not in held and not path.name.startswith("."))
    if others:
        raise PhospheneError(
            f"{short(out.absolute())} holds other things ('{others[0]}') and no {mark}: choose a new or empty folder "
            "with --out"
        )


def record_pictures(images: Iterable[object], folder: str | Path) -> dict[str, Any]:
    """What `saved_pictures` reads: where trials are saved, and the folders of their pictures."""
    folders = {Path(image).parent for image in images if isinstance(image, str) and image}
    return {"saved_to": str(Path(folder).resolve()), "folders": sorted({str(path.resolve()) for path in folders})}


def saved_pictures(folder: Path, facts: Any) -> list[Path]:
    """The folders in which the pictures of saved trials lie, as `signal.json` (its ``facts``) says.

    None of trials that no longer lie where they were saved: whoever else wrote that file cannot tell which pictures of
    this machine a stimulus table may name.
    """
    told = facts.get("pictures") if isinstance(facts, dict) else None
    if not isinstance(told, dict) or told.get("saved_to") != str(folder.resolve()):
        return []
    folders = told.get("folders")
    return [Path(name) for name in folders if isinstance(name, str)] if isinstance(folders, list) else []
