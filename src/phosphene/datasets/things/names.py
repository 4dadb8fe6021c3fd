"""The pictures of THINGS-EEG2 by number: their files, their concepts, and where they lie.

Design rationale
----------------
A stimulus is called by its file's stem (`aardvark_01b`), which is unique in THINGS, so that its name is the same in
every form of the data. Where neither `image_metadata.npy` nor the picture folders are present the names are numbers.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from phosphene.datasets.things import contents
from phosphene.datasets.things.facts import Facts
from phosphene.errors import PhospheneError
from phosphene.utils.paths import below
from phosphene.utils.restricted import read_npy

#: part -> the folder of its pictures
FOLDERS = {"train": "training_images", "test": "test_images"}
_METADATA = {"train": ("train_img_concepts", "train_img_files"), "test": ("test_img_concepts", "test_img_files")}
_SETS = ("", "Image_set", "image_set", "images_set", "Image_set_Resize", "images", "Images", "stimuli")
_SUFFIXES = (".jpg", ".jpeg", ".png")


def concept_of(folder: str) -> str:
    """The concept of a picture folder: "00001_aircraft_carrier" -> "aircraft_carrier"."""
    number, sign, concept = folder.partition("_")
    return concept if sign and number.isdigit() and concept else folder


def image_folder(root: Path, images: str | None = None) -> Path | None:
    """The folder that holds `training_images`, `test_images` or `image_metadata.npy`; None if there is none.

    Raises
    ------
    PhospheneError
        If ``images`` is given and holds none of them.
    """
    marks = (*FOLDERS.values(), "image_metadata.npy")
    folders = [root / images] if images is not None else [root / name for name in _SETS]
    for folder in folders:
        if any((folder / mark).exists() for mark in marks):
            return folder
    if images is not None:
        raise PhospheneError(f"{folders[0]} holds none of {', '.join(marks)}: set dataset.images to the picture set")
    return None


def picture_list(folder: Path, part: str) -> list[tuple[str, str]]:
    """(folder, file) of every picture of a part, in the order of its numbers; empty if unknown.

    The order is that of `image_metadata.npy`, else of the sorted names of folders and files.
    """
    path = folder / "image_metadata.npy"
    if path.is_file():
        metadata = read_npy(path)
        metadata = contents.table(metadata, _METADATA[part], "image_metadata.npy of THINGS-EEG2", path)
        folders, files = (contents.names(metadata[key], key, path) for key in _METADATA[part])
        for name in (*folders, *files):
            if not below(name):
                raise PhospheneError(f"{path} names '{name}', which lies outside of {folder}: fetch it again")
        if len(folders) != len(files):
            raise PhospheneError(f"{path} lists {len(folders)} concepts and {len(files)} files: fetch it again")
        return list(zip(folders, files, strict=True))
    top = folder / FOLDERS[part]
    return [
        (concept.name, picture.name)
        for concept in sorted(p for p in top.glob("*") if p.is_dir() and not p.name.startswith("."))
        for picture in sorted(concept.iterdir())
        if picture.suffix.lower() in _SUFFIXES and not picture.name.startswith(".")
    ]


def stimuli(
    folder: Path | None, facts: Facts, parts: Sequence[str] = ("train", "test")
) -> tuple[pd.DataFrame, list[str]]:
    """One row for each picture, the training pictures first, both in the order of their numbers.

    Returns
    -------
    The table, indexed by `stimulus`; columns `concept`, `split` (train or test), `number` (from 1), and `image` (path)
    if the picture folders of every part are there. And notes that say what is missing.
    """
    rows: list[tuple[str, str, str, int, str]] = []
    notes = []
    for part in parts:
        listed = [] if folder is None else picture_list(folder, part)
        if listed:
            top = folder / FOLDERS[part] if folder is not None else Path()
            rows += [
                (PurePosixPath(file).stem, concept_of(name), part, i, str(top / name / file) if top.is_dir() else "")
                for i, (name, file) in enumerate(listed, start=1)
            ]
        else:
            each = facts.images_per_concept if part == "train" else 1
            rows += [
                (f"{part}-{i:05d}", f"{part}-concept-{(i - 1) // each + 1:04d}", part, i, "")
                for i in range(1, facts.images(part) + 1)
            ]
            notes.append(
                f"the {part} pictures have numbers for names: neither image_metadata.npy nor {FOLDERS[part]} was found "
                "(set dataset.images to the picture set)"
            )
    table = pd.DataFrame(rows, columns=["stimulus", "concept", "split", "number", "image"]).set_index("stimulus")
    _once(table.index, folder)
    lost = sorted({part for part, image in zip(table["split"], table["image"], strict=True) if not image})
    if lost:
        table = table.drop(columns="image")
        notes.append(f"no picture folder {' or '.join(FOLDERS[p] for p in lost)}: nothing that needs pictures can run")
    return table, notes


def _once(names: Iterable[str], folder: Path | None) -> None:
    twice = pd.Index(names)[pd.Index(names).duplicated()]
    if len(twice):
        raise PhospheneError(f"picture '{twice[0]}' is listed twice in {folder}: keep one")
