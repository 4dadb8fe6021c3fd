"""Which stimuli show the same picture, whatever they are called: by their files, their pixels, or their looks."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError
from phosphene.utils.files import digest
from phosphene.utils.pictures import open_picture

#: how two stimuli may show the same picture; each includes those before it
KINDS = ("bytes", "pixels", "near_duplicate")


@dataclass(frozen=True)
class SamePictures:
    """Of every stimulus with a picture, which stimuli show the same one.

    Parameters
    ----------
    groups : for each of `KINDS` and each stimulus, the stimuli that show the same picture, itself among them.
    unread : stimuli whose picture cannot be opened, of which only the path is compared.
    """

    groups: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    unread: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether any stimulus has a picture."""
        return bool(self.groups["bytes"])

    def of(self, kind: str, stimuli: Iterable[str]) -> set[str]:
        """All stimuli that show the picture of one of these."""
        found = {id(g): g for s in stimuli if (g := self.groups[kind].get(s)) is not None}
        return set().union(*found.values())

    def like(self, kind: str, stimulus: str, among: Collection[str]) -> str:
        """The stimulus itself if it is among these, else the first that shows its picture."""
        if stimulus in among:
            return stimulus
        return min(s for s in self.groups[kind][stimulus] if s in among)


_last: dict[tuple[Hashable, ...], SamePictures] = {}  # pictures are compared once, not once for each fold


def same_pictures(
    stimuli: pd.DataFrame, shown: Collection[str] | None = None, tick: Callable[[int], object] = lambda n: None
) -> SamePictures:
    """Compare the pictures of a study, each with each; none is opened where there is no column `image`.

    Parameters
    ----------
    stimuli : (n_stimuli, columns), indexed by stimulus; `image` is the path of its picture, or empty.
    shown : the stimuli that count; None for all.
    tick : is told how many pictures more were opened.
    """
    if "image" not in stimuli:
        return SamePictures()
    paths = stimuli["image"].fillna("").astype(str)
    wanted = None if shown is None else set(shown)
    files = {str(s): p for s, p in paths.items() if p and (wanted is None or s in wanted)}
    key = tuple((s, p, *_state(p)) for s, p in files.items())
    if key not in _last:
        found = _compared(files, tick)
        _last.clear()
        _last[key] = found
    return _last[key]


def _state(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)
    except OSError:
        return (-1, -1)
    return facts.st_size, facts.st_mtime_ns


def _compared(files: Mapping[str, str], tick: Callable[[int], object]) -> SamePictures:
    by_bytes, by_pixels = defaultdict(list), defaultdict(list)
    from phosphene.utils.lookalikes import near_duplicates, thumbnail  # SciPy's filters take a while to import

    sums: dict[str, str] = {}
    content: dict[str, str] = {}  # of each checksum of bytes, that of the pixels
    looks, sides, unread = [], [], []
    for stimulus, path in files.items():
        if path not in sums:
            sums[path] = _sum(path)
        key = sums[path]
        if key not in content:
            try:
                picture = open_picture(path) if Path(path).is_file() else None
            except PhospheneError:
                picture = None
            content[key] = key if picture is None else digest(repr(picture.size).encode() + picture.tobytes(), 32)
            if picture is None:
                unread.append(key)
            elif content[key] not in by_pixels:
                looks.append(thumbnail(picture))
                sides.append(min(picture.size))
        by_bytes[key].append(stimulus)
        by_pixels[content[key]].append(stimulus)
        tick(1)
    pixels = {key: frozenset(names) for key, names in by_pixels.items()}
    alike = {key: set(names) for key, names in pixels.items()}
    seen = [key for key in pixels if key not in set(unread)]
    for a, b in near_duplicates(np.stack(looks), sides) if looks else ():
        alike[seen[a]] |= pixels[seen[b]]
        alike[seen[b]] |= pixels[seen[a]]
    groups = {
        "bytes": _spread({key: frozenset(names) for key, names in by_bytes.items()}, by_bytes),
        "pixels": _spread(pixels, by_pixels),
        "near_duplicate": _spread({key: frozenset(names) for key, names in alike.items()}, by_pixels),
    }
    gone = set(unread)
    return SamePictures(groups, tuple(s for s, p in files.items() if sums[p] in gone))


def _spread(same: Mapping[str, frozenset[str]], names: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    return {stimulus: same[key] for key, stimuli in names.items() for stimulus in stimuli}


def _sum(path: str) -> str:
    """Checksum of a file; of one that cannot be read, its path."""
    try:
        return digest(Path(path), 32) if Path(path).is_file() else f"path {path}"
    except OSError:
        return f"path {path}"
