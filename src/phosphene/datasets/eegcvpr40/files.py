"""The `.pth` files of EEGCVPR40, opened without reading their EEG, and checked against what they must hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.datasets.eegcvpr40.names import CHANNELS
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.restricted import read_torch

#: band -> signal file
FILES = {
    "5_95": "eeg_5_95_std.pth",
    "14_70": "eeg_14_70_std.pth",
    "55_95": "eeg_55_95_std.pth",
    "raw": "eeg_signals_raw_with_mean_std.pth",
}
#: which trials are split -> split file
SPLITS = {"all": "block_splits_by_image_all.pth", "single": "block_splits_by_image_single.pth"}
PARTS = ("train", "val", "test")
SUBJECTS = range(1, 7)


@dataclass(frozen=True)
class Signals:
    """What a signal file holds.

    Parameters
    ----------
    eeg : (n_records,) arrays (128, T), T differs; memory-mapped.
    image, label, subject : (n_records,) int; places in ``images`` and ``labels``, and 1 to 6.
    labels, images : WordNet ids, and picture names without extension, in the file's own order.
    means, stddevs : (128, 1) of the raw file, None of the others.
    """

    eeg: Sequence[np.ndarray]
    image: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    labels: tuple[str, ...]
    images: tuple[str, ...]
    means: np.ndarray | None = None
    stddevs: np.ndarray | None = None

    @property
    def n_times(self) -> np.ndarray:
        """(n_records,) samples of each record."""
        return np.array([x.shape[1] for x in self.eeg], int)


def read_signals(root: Path, file: str) -> Signals:
    """A signal file by band ("5_95", "14_70", "55_95", "raw") or by name.

    Raises
    ------
    PhospheneError
        Missing file, a file of another kind, a key, a shape or a place in the lists that is not as published.
    """
    path = _path(root, FILES.get(file, file), "dataset.file", FILES)
    held = read_torch(path)
    keys = sorted(map(str, held)) if isinstance(held, Mapping) else []
    for key in ("dataset", "labels", "images"):
        if key not in keys:
            what = (
                "a split file" if "splits" in keys else f"keys {', '.join(keys[:5])}" if keys else type(held).__name__
            )
            raise PhospheneError(f"{path} has no '{key}' ({what}): set dataset.file to one of {', '.join(FILES)}")
    raw = "means" in keys and "stddevs" in keys
    if file in FILES and raw != (file == "raw"):
        kind = "the raw file, with means and stddevs" if raw else "no raw file (no means and stddevs)"
        raise PhospheneError(f"{path} is {kind}: give the file its published name, or set dataset.file to that name")
    labels, images = (_names(path, key, held[key]) for key in ("labels", "images"))
    eeg, places = _records(path, held["dataset"], len(labels), len(images))
    means, stddevs = (_level(path, key, held[key]) if raw else None for key in ("means", "stddevs"))
    image, label, subject = places.T
    signals = Signals(eeg, image, label, subject, labels, images, means, stddevs)
    for i, (image, label) in enumerate(places[:, :2]):
        if not images[image].startswith(f"{labels[label]}_"):
            raise PhospheneError(
                f"{path}: record {i} shows {images[image]} under label {labels[label]}: labels and images must stay in "
                "the file's own order, restore the file"
            )
    return signals


def read_splits(root: Path, splits: str, places: Sequence[np.ndarray], n_records: int) -> np.ndarray:
    """The part of each record by split 0 of a published file.

    Parameters
    ----------
    splits : "all", whose indices count the whole list, or "single", whose indices count one subject's records.
    places : the records that are counted: of the whole list, or of each subject in turn.

    Returns
    -------
    (n_records,) "train", "val", "test", or "" for a record that no part names.
    """
    path = _path(root, SPLITS[splits], "dataset.splits", SPLITS)
    held = read_torch(path)
    try:
        first = held["splits"][0]
        parts = {part: np.array([int(i) for i in first[part]], int) for part in PARTS}
    except (KeyError, IndexError, TypeError, ValueError):
        raise PhospheneError(
            f"{path} is not a split file (splits, a list of train, val and test): restore it, or set "
            "dataset.splits to null"
        ) from None
    index = np.concatenate(list(parts.values()))
    names = np.repeat(PARTS, [len(i) for i in parts.values()]).astype(object)
    if len(index) != len(np.unique(index)):
        raise PhospheneError(f"{path} names a trial twice, so that its parts overlap: restore the file")
    found = np.full(n_records, "", object)
    for rows in places:
        wrong = index[(index < 0) | (index >= len(rows))]
        if len(wrong):
            whose = "the file's list" if splits == "all" else "a subject's list"
            raise PhospheneError(
                f"{path}: index {wrong.max()} lies outside {whose} of {len(rows)} trials: restore the file, or set "
                f"dataset.splits to {'single' if splits == 'all' else 'all'} or null"
            )
        found[rows[index]] = names
    return found


def read_order(path: Path, images: Sequence[str]) -> dict[str, int]:
    """Picture -> its place, from 0, in `image_order.txt` (a name in each line, with or without folder and suffix)."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise PhospheneError(f"{path} cannot be read ({error}): restore it or remove it") from None
    order = {Path(line).stem: i for i, line in reversed(list(enumerate(lines)))}
    if len(order) != len(lines):
        raise PhospheneError(f"{path} names a picture twice: restore it or remove it")
    lost = [name for name in images if name not in order]
    if lost:
        raise PhospheneError(f"{path} does not name picture {lost[0]}: {nearest(lost[0], order)} (restore it)")
    return order


def _path(root: Path, name: str, key: str, known: Mapping[str, str]) -> Path:
    path = root / name
    if not path.is_file():
        here = [p.name for p in root.glob("*.pth")]
        raise PhospheneError(
            f"{path} does not exist: {nearest(name, here)} (set dataset.root and {key}: {', '.join(known)})"
        )
    return path


def _names(path: Path, key: str, held: Any) -> tuple[str, ...]:
    if not isinstance(held, list | tuple) or not held or not all(isinstance(name, str) for name in held):
        raise PhospheneError(f"{path}: '{key}' is not a list of names: restore the file")
    if len(set(held)) < len(held):
        raise PhospheneError(f"{path}: '{key}' names something twice: restore the file")
    return tuple(held)


def _records(path: Path, held: Any, n_labels: int, n_images: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The EEG of each record, and (n_records, 3) its image, label and subject."""
    if not isinstance(held, list | tuple) or not held:
        raise PhospheneError(f"{path}: 'dataset' is not a list of trials: restore the file")
    limits = {"image": range(n_images), "label": range(n_labels), "subject": SUBJECTS}
    eeg, places = [], np.zeros((len(held), 3), int)
    for i, record in enumerate(held):
        where = f"{path}: record {i}"
        for key in ("eeg", *limits):
            if not isinstance(record, Mapping) or key not in record:
                raise PhospheneError(f"{where} has no '{key}': restore the file")
        x = record["eeg"]
        if not isinstance(x, np.ndarray) or x.ndim != 2 or x.dtype.kind != "f":
            raise PhospheneError(f"{where}: 'eeg' is not a matrix of real numbers: restore the file")
        if x.shape[0] != len(CHANNELS):
            turned = " (it lies on its side)" if x.shape[1] == len(CHANNELS) else ""
            raise PhospheneError(f"{where} has {x.shape[0]} channels, not {len(CHANNELS)}{turned}: restore the file")
        eeg.append(x)
        for column, (key, valid) in enumerate(limits.items()):
            try:
                places[i, column] = int(record[key])
            except (TypeError, ValueError):
                raise PhospheneError(f"{where}: {key} is {record[key]!r}, no number: restore the file") from None
            if places[i, column] not in valid:
                raise PhospheneError(
                    f"{where}: {key} is {places[i, column]}, not {valid.start} to {valid.stop - 1}: restore the file"
                )
    return eeg, places


def _level(path: Path, key: str, held: Any) -> np.ndarray:
    """`means` or `stddevs` as (128, 1), so that it stands for channels and never for samples."""
    x = np.asarray(held)
    if x.dtype.kind != "f" or x.size not in (1, len(CHANNELS)):
        raise PhospheneError(
            f"{path}: '{key}' has the axes {x.shape}, not one value for each channel: restore the file"
        )
    if not np.isfinite(x).all() or (key == "stddevs" and (x <= 0).any()):
        raise PhospheneError(f"{path}: '{key}' must be finite, and stddevs positive: restore the file")
    return np.broadcast_to(x.reshape(-1, 1), (len(CHANNELS), 1)).astype(np.float32)
