"""Tables from outside: stimuli to be captioned, and captions that people wrote."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from phosphene.captions.base import SUFFIXES
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.files import read_json
from phosphene.utils.paths import is_regular, only_regular, saved_pictures, stay_inside
from phosphene.utils.tables import MISSING, check_filled, frame, labels, read_cells, read_text


def cells(path: str | Path, keys: Sequence[str] = ("stimulus",)) -> pd.DataFrame:
    """A CSV, TSV or JSON file as text cells: (n_rows, columns), indexed by the first of ``keys`` that it has.

    Missing cells are empty.

    JSON is a list of rows, or a mapping from stimulus to a caption, to a list of captions, or to a row.

    Raises
    ------
    PhospheneError
        If the file is missing, cannot be read, or has no column of ``keys``.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        try:
            table = frame(pd.DataFrame(_records(json.loads(read_text(path))), dtype=object), path)
        except (ValueError, RecursionError, TypeError) as error:
            if isinstance(error, PhospheneError):
                raise
            raise PhospheneError(f"{path} cannot be read as a table ({error}): save it again, in UTF-8") from None
    else:
        table = read_cells(path)
    key = next((key for key in keys if key in table), None)
    if key is None:
        raise PhospheneError(f"{path} has no column '{keys[0]}': {nearest(keys[0], table.columns)} (rename it)")
    table[key] = labels(table[key])
    check_filled(table, [key], path)
    return table.mask(table.isna() | table.isin(MISSING), "").set_index(key)


def _records(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        rows: list[dict[str, Any]] = []
        for stimulus, said in value.items():
            for one in said if isinstance(said, list) else [said]:
                rows.append({"stimulus": stimulus, **(one if isinstance(one, dict) else {"caption": one})})
        return rows
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    raise ValueError("it is neither a list of rows nor a mapping from stimulus to caption")


def read_stimuli(path: str | Path, allow_outside: Sequence[str | Path] = ()) -> pd.DataFrame:
    """A stimulus table, one row a stimulus; relative paths of pictures start at the table's folder.

    Parameters
    ----------
    allow_outside : folders elsewhere in which the table may name pictures. Those of saved trials, which were not moved
        since, need no mention.

    Raises
    ------
    PhospheneError
        As `cells`; a stimulus twice, or a picture elsewhere, which a captioner would send to whoever writes captions.
    """
    table = cells(path)
    if twice := table.index[table.index.duplicated()].tolist():
        raise PhospheneError(f"{path} lists stimulus '{twice[0]}' twice: keep one row")
    if "image" in table:
        table["image"] = labels(table["image"])
        if lost := table.index[table["image"] == ""].tolist():
            raise PhospheneError(f"{path} names no image for stimulus '{lost[0]}': fill in its cell")
        folder = Path(path).parent
        table["image"] = [str(folder / name) for name in table["image"]]
        facts = read_json(folder / "signal.json") if is_regular(folder / "signal.json") else {}
        known = [folder, *(Path(name).expanduser() for name in allow_outside), *saved_pictures(folder, facts)]
        stay_inside(table["image"].items(), known, "--allow-outside")
    return table


def pictures_in(folder: str | Path) -> pd.DataFrame:
    """Every picture below a folder; a stimulus is called by its path there, without the suffix."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PhospheneError(f"{folder} is not a folder: give a folder of pictures")
    only_regular(folder)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise PhospheneError(f"{folder} holds no picture ({', '.join(SUFFIXES)}): name another folder")
    names = [p.relative_to(folder).with_suffix("").as_posix() for p in files]
    index = pd.Index(names, name="stimulus")
    if twice := index[index.duplicated()].tolist():
        raise PhospheneError(f"{folder} has two pictures called '{twice[0]}': rename one")
    return pd.DataFrame({"image": [str(p) for p in files]}, index=index)
