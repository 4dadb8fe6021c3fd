"""The files that a BrainVision header names: a header that was renamed without them, or made to name others."""

import re
from pathlib import Path

from phosphene.errors import PhospheneError

_BESIDE = {"DataFile": (".eeg", ".dat", ".avg"), "MarkerFile": (".vmrk",)}
_KEYS = {"DataFile": "data_fname", "MarkerFile": "marker_fname"}  # as MNE's `overrides` calls them


def named_files(header: Path) -> dict[str, str]:
    """`DataFile` and `MarkerFile` of a header, as it writes them; "" where it names none."""
    content = header.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # of older recorders
        text = content.decode("latin-1")
    named = {kind.lower(): name for kind, name in re.findall(r"(?im)^\s*(DataFile|MarkerFile)\s*=\s*(.*?)\s*$", text)}
    return {kind: named.get(kind.lower(), "") for kind in _BESIDE}


def outside(name: str) -> bool:
    """Whether a name leads out of the header's folder."""
    return "/" in name or "\\" in name


def overrides(header: Path, renamed: bool) -> tuple[dict[str, str | bool], list[str]]:
    """What MNE's reader must be told of a header's files (its argument ``overrides``), and notes of it.

    Parameters
    ----------
    renamed : where the header names data that are not there, read those beside it that bear its own name.

    Raises
    ------
    PhospheneError
        A file that the header names is not there, or lies outside its folder; the message names the header's line.
    """
    told: dict[str, str | bool] = {}
    notes, folder = [], header.parent
    for kind, written in named_files(header).items():
        beside = folder.glob(f"{_literal(header.stem)}.*")
        own = next((p.name for p in sorted(beside) if p.suffix.lower() in _BESIDE[kind]), None)
        read = written.replace("$b", header.stem)  # which MNE does not know
        if not read or outside(read) or not (folder / read).is_file():
            line = f"its line {kind}={written} " + ("leads out of its folder" if outside(read) else "names no file")
            read = own or ""
            if kind == "DataFile" and not own:
                raise PhospheneError(
                    f"{header} cannot be read ({line}, and no {header.stem}.eeg lies beside it): restore the recording"
                )
            if kind == "DataFile" and not renamed:
                raise PhospheneError(
                    f"{header} cannot be read ({line}): change it to DataFile={own}, which lies beside it, or set "
                    "dataset.renamed to true"
                )
            if written:  # of markers MNE does the same
                what = f"{own}, beside it, was read" if own else "its markers are not read"
                notes.append(f"{header.name}: {line}; {what}")
        if read != written:
            told[_KEYS[kind]] = read or False
    return told, notes


def _literal(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)
