"""What an event showed: from the names in an event table to pictures, concepts and a split.

Shared by the sources that a user describes (`bids`, `arrays`, `from_mne`).
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from string import Formatter
from typing import TypeAlias

import numpy as np
import pandas as pd

from phosphene.datasets.shares import drawn
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.paths import exists, stay_inside
from phosphene.utils.tables import (
    asked,
    check_column,
    check_filled,
    check_spelling,
    frame,
    label,
    labels,
    places,
    read_cells,
)

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

Split: TypeAlias = str | Mapping[str, float | str | Sequence[str]]
Pictures: TypeAlias = str | Path | pd.DataFrame | Mapping[str, str | Path]


def stimulus_table(
    events: pd.DataFrame,
    *,
    stimuli: Pictures | None = None,
    image: str | None = None,
    concept: str | None = None,
    folders: Sequence[Path] = (Path(),),
    within: Sequence[Path] | None = None,
    where: object = "the event table",
    prefix: str = "dataset.",
) -> pd.DataFrame:
    """One row for each stimulus: `image` (absolute path; absent if none was said), `concept`, captions if any.

    Parameters
    ----------
    events : every event, with its column `stimulus`.
    stimuli : a table (`.csv`, `.tsv`, `DataFrame`) with columns `stimulus`, `image`, `concept`, and optionally `split`
        and captions; a folder of pictures, found by their names; or a mapping from event name to picture file.
    image : without ``stimuli``: the event column that holds a picture's path, or a pattern such as
        "faces/{trial_type}.png" that is filled in from the event columns.
    concept : the event or stimulus column that holds the concept. None: the column `concept`; else, where ``stimuli``
        gives pictures only and they lie in several folders, the folder; else the stimulus itself.
    folders : where relative paths start; the first that holds the file counts.
    within : the folders that a table may name pictures in, the study's own first; what ``stimuli`` and ``image`` say
        themselves is allowed too. None for any.
    where, prefix : what errors call the event table and the settings.
    """
    names = list(dict.fromkeys(events["stimulus"]))
    table = pd.DataFrame(index=pd.Index(names, name="stimulus"))
    found = False  # pictures were found, without a table that could say their concepts
    told: dict[str, str] = {}  # of a table, where each stimulus stands in it
    if stimuli is not None:
        table, valid, told = _given(stimuli, names, folders, prefix)
        found = list(table.columns) == ["image"]
        lost = [name for name in names if name not in table.index]
        if lost:
            raise PhospheneError(
                f"event '{lost[0]}' of {where} has no picture ({len(lost)} such): {nearest(lost[0], valid)} "
                f"(add it to {prefix}stimuli, or leave such events out with {prefix}keep)"
            )
    elif image is not None:
        if "{" in image:
            holes = _holes(image, f"{prefix}image")
            for hole in holes:
                check_column(events, hole, where, f"{prefix}image")
            paths = _filled(image, events, holes, where, f"{prefix}image")
        else:
            check_column(events, image, where, f"{prefix}image")
            paths = labels(events[image])
        table["image"] = _one(events, paths, "pictures", where, f"set {prefix}event to the column that names a picture")
        table["image"] = _paths(table["image"], folders)
    if within is not None and "image" in table:
        stay_inside(
            table["image"].items(), [*within, *_named(stimuli, image, folders, within[0])], f"{prefix}allow_outside"
        )
    own = concept or "concept"
    if own in table:
        table["concept"] = labels(table[own])
    elif own in events:
        table["concept"] = _one(
            events, labels(events[own]), "concepts", where, f"set {prefix}concept to another column"
        )
    elif concept is not None:
        check_column(pd.concat([events[:0], table[:0]], axis=1), concept, where, f"{prefix}concept")
    elif found and table["image"].map(lambda p: Path(p).parent).nunique() > 1:
        table["concept"] = [Path(p).parent.name for p in table["image"]]
    elif stimuli is None and image is None:
        raise PhospheneError(
            f"where are the pictures? Set {prefix}stimuli to a table or a folder of them, or {prefix}image to a column "
            f"or a pattern such as {{{events.columns[0]}}}.png (or {prefix}concept to a column, to do without pictures)"
        )
    else:
        table["concept"] = table.index
    empty = table.index[table["concept"] == ""]
    if len(empty):
        at = f" in {told[empty[0]]}" if empty[0] in told else ""
        raise PhospheneError(f"stimulus '{empty[0]}' has no concept{at}: fill in its cell, or set {prefix}concept")
    return table


def shows_picture(
    events: pd.DataFrame,
    *,
    stimuli: Pictures | None = None,
    image: str | None = None,
    concept: str | None = None,
    folders: Sequence[Path] = (Path(),),
    prefix: str = "dataset.",
) -> np.ndarray:
    """(n_events,) whether an event names a picture that ``stimuli`` or ``image`` know, as in `stimulus_table`.

    Without either, an event whose ``concept`` is filled in counts as one.
    """
    if stimuli is not None:
        known = _given(stimuli, list(dict.fromkeys(events["stimulus"])), folders, prefix)[0].index
        return events["stimulus"].isin(known).to_numpy()
    column = image or concept or "concept"
    if "{" in column:
        rows = events.fillna("").astype(str).to_dict("records")
        paths = [_path(column.format_map(defaultdict(str, row)), folders) for row in rows]
        return np.array([Path(path).is_file() for path in paths], bool)
    if column not in events:
        return np.zeros(len(events), bool)
    return (labels(events[column]) != "").to_numpy()


def file_names(pictures: pd.DataFrame) -> set[str]:
    """What the picture files are called, with and without suffix."""
    files = [Path(image) for image in pictures["image"]] if "image" in pictures else []
    return {name for file in files for name in (file.name, file.stem)}


def paths_note(events: pd.DataFrame, pictures: pd.DataFrame, image: str | None) -> list[str]:
    """What became of paths that were written on another machine: notes with the first of each kind."""
    if "image" not in pictures:
        return []
    cells = events[image if image in events else "stimulus"].astype(str)
    notes = []
    for kind, are in (
        ("with backslashes were read as those of Windows", cells.str.contains("\\", regex=False)),
        ("that do not exist here were read by their last parts", cells.map(lambda c: c[:1] == "/" and not exists(c))),
    ):
        for first, name in zip(cells[are][:1], events["stimulus"][are], strict=False):
            notes.append(f"paths {kind}: '{first}' is {'/'.join(Path(pictures.loc[name, 'image']).parts[-2:])}")
    return notes


def picture_folders(root: Path, allow_outside: str | Sequence[str] | None) -> list[Path]:
    """The root, and the folders elsewhere in which a study's tables may name pictures.

    Raises
    ------
    PhospheneError
        If there is no such folder.
    """
    named = [allow_outside] if isinstance(allow_outside, str) else list(allow_outside or ())
    folders = [root / Path(name).expanduser() for name in named]
    for folder in folders:
        if not folder.is_dir():
            raise PhospheneError(f"{folder} is not a folder: set dataset.allow_outside to a folder of pictures")
    return [root, *folders]


def _named(stimuli: object, image: str | None, folders: Sequence[Path], root: Path) -> list[Path]:
    """Folders outside of the root that the settings name themselves; a link below the root is not named by them."""
    said = []
    if isinstance(stimuli, str | Path):
        said = [folder / stimuli for folder in folders]
        said = [path if path.is_dir() else path.parent for path in said]
    elif image is not None and "{" in image:
        said = [folder / os.path.dirname(image.partition("{")[0]) for folder in folders]
    plain = [Path(os.path.normpath(path)) for path in said]
    return [path for path in plain if not path.is_relative_to(root)]


def split_column(
    events: pd.DataFrame, stimuli: pd.DataFrame, split: Split | None, where: object, key: str = "dataset.split"
) -> pd.Series:
    """The part, "train" or "test", of every event.

    Parameters
    ----------
    split : a column of the events or the stimuli; or a rule, ``{column: values of the test part}``; or
        ``{"concept": 0.2}`` (or "stimulus"): that share of the concepts, fixed by their names, is the test part. A
        share of the stimuli is drawn within each concept, one of the concepts within each `category` where the stimuli
        have that column, so that none is in one part alone unless it has one member (`shares.drawn`).
        None: the column `split` where there is one, else all is "train".
    """
    if split is None:
        split = "split"
        if "split" not in events and "split" not in stimuli:
            return pd.Series("train", index=events.index)
    if isinstance(split, str):
        parts = _cells(events, stimuli, split, where, key)
        named = parts.rename(split)
        check_filled(named.to_frame(), [split], where)
        for value in sorted(set(parts) - {"train", "test", "val"}):
            raise PhospheneError(f"{key}: column '{split}' holds '{value}': name the parts train, test and val")
        return parts
    if len(split) != 1:
        raise PhospheneError(f"{key} names {len(split)} columns: give one, such as {{concept: 0.2}}")
    ((column, values),) = split.items()
    cells = _cells(events, stimuli, column, where, key)
    if isinstance(values, float | int) and not isinstance(values, bool):
        if column not in ("concept", "stimulus"):
            raise PhospheneError(f"{key}: a share can be drawn of concept or stimulus, not of '{column}': list values")
        if not 0 < values < 1:
            raise PhospheneError(f"{key}: a share is above 0 and below 1, not {values:g}, such as 0.2 for a fifth")
        group_of = _groups(stimuli, column)
        count, plural = round(values * len(group_of)), "stimuli" if column == "stimulus" else "concepts"
        if not 0 < count < len(group_of):
            raise PhospheneError(
                f"{key}: a share of {values:g} leaves {count} of {len(group_of)} {plural} for the test"
            )
        chosen = drawn(group_of, values)
    else:
        chosen = asked(values)
        more = stimuli["concept"] if column == "concept" else stimuli.index if column == "stimulus" else ()
        known = sorted({*cells, *more} - {""})
        for value in chosen:
            if value not in known:
                raise PhospheneError(f"{key}: no {column} is '{value}': {nearest(value, known)}")
    return cells.isin(chosen).map({True: "test", False: "train"})


def _groups(stimuli: pd.DataFrame, column: str) -> dict[str, str]:
    """The stimuli by their concepts, or the concepts by their category; of a concept with several, the commonest."""
    concepts = stimuli["concept"].astype(str)
    if column == "stimulus":
        return dict(zip(stimuli.index.astype(str), concepts, strict=True))
    if "category" not in stimuli:
        return dict.fromkeys(concepts, "")
    return stimuli["category"].astype(str).groupby(concepts).agg(lambda cells: cells.mode()[0]).to_dict()


def _cells(events: pd.DataFrame, stimuli: pd.DataFrame, column: str, where: object, key: str) -> pd.Series:
    """A column of the events, or of their stimuli, as labels; a missing one is empty."""
    if column in events:
        return labels(events[column])
    if column not in stimuli:
        check_column(pd.concat([events[:0], stimuli[:0]], axis=1), column, where, key)
    return events["stimulus"].map(labels(stimuli[column]))


def _one(events: pd.DataFrame, cells: Iterable[str], what: str, where: object, fix: str) -> pd.Series:
    """The one cell of each stimulus, in the order in which stimuli first appear; none and two are refused."""
    pairs = pd.DataFrame({"stimulus": events["stimulus"].to_numpy(), "cell": list(cells)})
    for i in pairs.index[pairs["cell"] == ""][:1]:
        name, place = pairs["stimulus"][i], places(events.index[i : i + 1])[0]
        raise PhospheneError(
            f"stimulus '{name}' of {where} names no {what[:-1]} in {place}: fill in its cell, or {fix}"
        )
    pairs = pairs.drop_duplicates()
    twice = pairs[pairs["stimulus"].duplicated()]
    if len(twice):
        name = twice["stimulus"].iloc[0]
        a, b = pairs["cell"][pairs["stimulus"] == name].iloc[:2]
        raise PhospheneError(f"stimulus '{name}' of {where} has several {what} ('{a}' and '{b}'): {fix}")
    return pairs.set_index("stimulus")["cell"]


def _holes(pattern: str, key: str) -> list[str]:
    """The columns that a pattern of paths names."""
    try:
        return [field for _, field, _, _ in Formatter().parse(pattern) if field is not None]
    except ValueError as error:
        raise PhospheneError(
            f"{key} '{pattern}' is not a valid pattern ({error}): write it as {{column}}.png"
        ) from None


def _filled(pattern: str, events: pd.DataFrame, holes: Sequence[str], where: object, key: str) -> list[str]:
    """(n_events,) paths; empty where a cell is missing. Whole numbers may be given a width, as in {code:03d}."""
    cells, paths = {hole: labels(events[hole]) for hole in holes}, []
    for i in range(len(events)):
        row = {hole: cells[hole].iloc[i] for hole in holes}
        try:
            try:
                path = pattern.format(**row)
            except ValueError:
                path = pattern.format(**{h: int(c) if c.lstrip("-").isdigit() else c for h, c in row.items()})
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise PhospheneError(f"{key} '{pattern}' cannot be filled in with {row} of {where}: {error}") from None
        paths.append(path if all(row.values()) else "")
    return paths


def _given(
    stimuli: Pictures, names: list[str], folders: Sequence[Path], prefix: str
) -> tuple[pd.DataFrame, Iterable[str], dict[str, str]]:
    """The stimulus table from what the user gave, images as absolute paths; every name it knows; where each stands."""
    if isinstance(stimuli, Mapping):
        files = {label(name): str(file) for name, file in stimuli.items()}
        table = pd.DataFrame({"image": _paths(files.values(), folders)}, index=list(files))
        return table.rename_axis("stimulus"), table.index, {}
    if isinstance(stimuli, str | Path):
        path = Path(_path(str(stimuli), folders))
        if path.is_dir():
            return *_found(path, names), {}
        if not path.is_file():
            raise PhospheneError(f"{path} does not exist: set {prefix}stimuli to a table (csv, tsv) or a folder")
        table, folders, where = read_cells(path), (path.parent, *folders), str(path)
    else:
        where = f"{prefix}stimuli"
        table = frame(stimuli, where)
    if "stimulus" not in table:
        raise PhospheneError(f"{where} has no column 'stimulus': {nearest('stimulus', table.columns)} (rename it)")
    check_spelling(table, where)
    table["stimulus"] = labels(table["stimulus"])
    check_filled(table, ["stimulus"], where)
    twice = table["stimulus"][table["stimulus"].duplicated()]
    if len(twice):
        raise PhospheneError(f"{where} lists stimulus '{twice.iloc[0]}' twice: keep one row")
    told = {name: f"{place} of {where}" for name, place in zip(table["stimulus"], places(table.index), strict=True)}
    table = table.set_index("stimulus")
    if "image" in table:
        table["image"] = labels(table["image"])
        empty = table.index[table["image"] == ""]
        if len(empty):
            raise PhospheneError(f"{told[empty[0]]} names no image for stimulus '{empty[0]}': fill in its cell")
        table["image"] = _paths(table["image"], folders)
    return table, table.index, told


def _found(folder: Path, names: list[str]) -> tuple[pd.DataFrame, Iterable[str]]:
    """The pictures below a folder that the names mean: by path below it, with or without suffix, or by file name."""
    paths: dict[str, set[Path]] = {}
    aliases: dict[str, set[Path]] = {}
    files = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and not p.name.startswith(".") and p.is_file()
    )
    if not files:
        raise PhospheneError(f"no picture found below {folder}: looked for {', '.join(PICTURES)}")
    for file in files:
        inside = file.relative_to(folder)
        for alias in (inside.as_posix(), inside.with_suffix("").as_posix()):
            paths.setdefault(_composed(alias), set()).add(file)
        for alias in (inside.as_posix(), inside.with_suffix("").as_posix(), file.name, file.stem):
            aliases.setdefault(_composed(alias), set()).add(file)
    meant = {name: aliases.get(_composed(name), set()) for name in names}
    guessed = {name for name in names if not meant[name]}
    for name in guessed:  # by whole paths: the picture of faces/1 is not houses/1.png
        meant[name] = next((paths[way] for way in map(_composed, _spelt(name)) if way in paths), set())
    _check_apart({name: str(min(files)) for name, files in meant.items() if files}, guessed)
    for name in names:
        if len(meant[name]) > 1:
            one, two = sorted(p.relative_to(folder).as_posix() for p in meant[name])[:2]
            raise PhospheneError(f"event '{name}' may mean {one} or {two}: give the path below {folder}, or a table")
    shown = {name: min(files) for name, files in meant.items() if files}
    table = pd.DataFrame({"image": [str(f.resolve()) for f in shown.values()]}, index=list(shown))
    return table.rename_axis("stimulus"), {f.stem for f in files}


def _composed(name: str) -> str:
    """Some systems write the umlaut of a file's name as two characters."""
    return unicodedata.normalize("NFC", name)


def _spelt(name: str) -> list[str]:
    """What a name may be below a folder: as it stands, or the last parts of its path, the longest first."""
    parts = _parts(name)
    return [name, *("/".join(parts[i:]) for i in range(len(parts)))]


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a path of any system, without drive or root, ``.`` and ``..``."""
    path = PureWindowsPath(name) if "\\" in name else PurePosixPath(name)
    return tuple(part for part in path.parts if part != ".." and not part.endswith(("\\", ":", "/")))


def _paths(names: Iterable[str], folders: Sequence[Path]) -> list[str]:
    """Absolute paths; two paths of another machine never become one picture."""
    found = {name: _path(name, folders) for name in names}
    _check_apart(found, {name for name in found if not any(exists(folder / name) for folder in folders)})
    return [found[name] for name in names]


def _check_apart(found: Mapping[str, str], guessed: set[str]) -> None:
    seen: dict[str, str] = {}
    for name, path in found.items():
        other = seen.setdefault(path, name)
        a, b = (Path(*_parts(n)).with_suffix("").parts for n in (name, other))
        if guessed & {name, other} and a[-len(b) :] != b[-len(a) :]:
            raise PhospheneError(
                f"'{other}' and '{name}' would both be {path}: write paths with / below the folder of pictures"
            )


def _path(name: str, folders: Sequence[Path]) -> str:
    """An absolute path; of the first folder that holds ``name``, else of the first folder."""
    foreign = "\\" in name or name.startswith("/")
    for spelt in _spelt(name) if foreign else [name]:
        for folder in folders:
            if exists(folder / spelt):
                return str((folder / spelt).resolve())
    return str((folders[0] / name).absolute())
