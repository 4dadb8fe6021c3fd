"""The caption table of a run, which the recipe's key `captions` names: read, and joined to the stimulus table.

Three kinds of table are read: a folder that `phosphene caption` wrote; a CSV, TSV or JSON file that people wrote, with
a row for each stimulus; and such a file with a column `concept` in place of `stimulus`, whose captions are true of
every picture of a concept. Tables of the last kind that come with the package are called by their names (`SHIPPED`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

from phosphene.captions.base import clean, too_long
from phosphene.captions.slots import SLOTS
from phosphene.captions.store import TABLE, Captions
from phosphene.captions.tables import cells
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.files import digest
from phosphene.utils.paths import is_regular, regular

SHIPPED = {p.stem: p for p in sorted((Path(__file__).parents[1] / "assets" / "captions").glob("*.csv"))}


@dataclass(frozen=True)
class CaptionTable:
    """Captions, ready to be joined to the stimuli of trials.

    Parameters
    ----------
    source : what errors call the table.
    table : (n_keys, n_slots) captions, indexed by stimulus or concept; a missing one is empty.
    by : "stimulus" or "concept", what the index holds.
    sums : (n_keys,) checksum of each picture when it was captioned, empty where there was none; None of a file.
    n_cut : how many captions had more than 600 characters and were cut.
    """

    source: str
    table: pd.DataFrame
    by: str = "stimulus"
    sums: pd.Series | None = None
    n_cut: int = 0

    @classmethod
    def read(cls, source: str | Path) -> "CaptionTable":
        """Of a folder of captions, a file that people wrote, or the name of a table of the package.

        Raises
        ------
        PhospheneError
            If there is no such table, it is damaged, has a row twice, or no column of a slot.
        """
        path = _found(source)
        if path.is_dir():
            captions = Captions.read(path)
            first = captions.rows.drop_duplicates("stimulus").set_index("stimulus")
            return cls(str(path / TABLE), captions.wide(), "stimulus", first["picture_sha"])
        table = cells(path, ("stimulus", "concept"))
        by = str(table.index.name)
        if twice := table.index[table.index.duplicated()].tolist():
            raise PhospheneError(f"{path} has {by} '{twice[0]}' twice: keep one row")
        known = [slot.name for slot in SLOTS]
        if "caption" in table and known[0] not in table:
            table = table.rename(columns={"caption": known[0]})
        slots = [name for name in known if name in table]
        if not slots:
            raise PhospheneError(
                f"{path} has no column of a caption slot: {nearest(known[0], table.columns)} (name its columns as the "
                f"slots, such as {known[0]})"
            )
        return cls(str(path), table[slots].map(_text), by, n_cut=int(table[slots].map(too_long).to_numpy().sum()))

    def join(
        self, stimuli: pd.DataFrame, shown: Collection[str] | None = None, needed: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The stimulus table with these captions, which replace columns of the same name.

        Parameters
        ----------
        stimuli : (n_stimuli, columns), indexed by stimulus, with `concept`; where it has a column `image`, pictures
            are compared with those that were captioned.
        shown : the stimuli of the trials, None for all. Others that have no caption are left out.
        needed : slots, or columns, of which every stimulus must have a caption in the end; None for all of the table.

        Raises
        ------
        PhospheneError
            If a stimulus shown has no caption in a needed slot, or its picture is not the one that was captioned.
        """
        shown, rows = set(stimuli.index if shown is None else shown), self._place(stimuli)
        said = {
            str(name): [column.iloc[row] if row >= 0 else "" for row in rows] for name, column in self.table.items()
        }
        joined = stimuli.assign(**said)
        empty = pd.Series(False, index=stimuli.index)
        needed = list(self.table) if needed is None else needed
        self.lacking(joined, needed)
        for name in needed:
            blank = joined[name].fillna("").astype(str).str.strip() == ""
            if (lost := [s for s in stimuli.index[blank] if s in shown]) != []:
                raise PhospheneError(
                    f"stimulus '{lost[0]}' has no {name} in {self.source} (of {len(lost)} in all): write it there, or "
                    "leave the slot out of method.slots or method.caption"
                )
            empty |= blank
        joined = joined[~empty]
        self._same_pictures(joined)
        return joined

    def lacking(self, stimuli: pd.DataFrame, needed: Sequence[str]) -> None:
        """Refuse slots of which neither these captions nor the stimulus table have a column."""
        for name in needed:
            if name not in self.table and name not in stimuli:
                raise PhospheneError(
                    f"no stimulus has a caption {name}, as {self.source} has no such column: "
                    f"{nearest(name, [*self.table, *stimuli])} (write the column, or leave the slot out of "
                    "method.slots or method.caption)"
                )

    def _place(self, stimuli: pd.DataFrame) -> Any:
        """(n_stimuli,) row of each stimulus in the table; -1 for none.

        In a file, people may write the picture's file name. A folder's pictures are called by their path below the
        folder that was captioned: the end of a stimulus's own path is sought, and the picture must be the same.
        """
        keys = stimuli["concept"] if self.by == "concept" else stimuli.index
        rows = np.array([self._rows.get(str(key), -1) for key in keys], int)
        if self.by == "stimulus" and "image" in stimuli:
            by_picture = self._by_file if self.sums is None else self._by_end
            for i in np.flatnonzero(rows < 0):
                rows[i] = by_picture(PurePath(str(stimuli["image"].iloc[i])))
        return rows

    def _by_file(self, path: PurePath) -> int:
        return self._rows.get(path.name, -1)

    def _by_end(self, path: PurePath) -> int:
        parts = (*path.parts[:-1], path.stem)
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        row = next((self._rows[end] for end in ends if end in self._rows), -1)
        same = row >= 0 and is_regular(Path(path)) and self._sum(row) == digest(Path(path))
        return row if same else -1

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {str(key): i for i, key in enumerate(self.table.index)}

    def _sum(self, row: int) -> str:
        """Of the picture when it was captioned; empty for none."""
        return "" if self.sums is None else str(self.sums.iloc[row])

    def _same_pictures(self, stimuli: pd.DataFrame) -> None:
        """Of those that were found by their names; who was found by the picture has the same one."""
        if self.sums is None or "image" not in stimuli:
            return
        for stimulus, path in stimuli["image"].items():
            row = self._rows.get(str(stimulus), -1)
            seen = self._sum(row) if row >= 0 and str(path) else ""
            if not seen:
                continue
            if seen != digest(regular(path, "is missing: restore it or drop its stimulus", "picture")):
                raise PhospheneError(
                    f"{path} is not the picture that was captioned as '{stimulus}': caption it again, to another folder"
                )


def fingerprint(source: str | Path) -> str:
    """Of a caption table's bytes, which changes with any of its captions.

    Raises
    ------
    PhospheneError
        If there is no such table.
    """
    path = _found(source)
    if not path.is_dir():
        return digest(regular(path), 64)
    if not is_regular(path / TABLE):
        raise PhospheneError(f"{path} is not a folder of captions: give one that `phosphene caption` wrote")
    return digest(path / TABLE, 64)


def is_there(source: str | Path) -> bool:
    """Whether there is anything under this name."""
    return Path(source).expanduser().exists() or str(source) in SHIPPED


def _found(source: str | Path) -> Path:
    path = Path(source).expanduser()
    if path.exists():
        return path
    if str(source) in SHIPPED:
        return SHIPPED[str(source)]
    raise PhospheneError(
        f"captions {path} do not exist: set captions to a folder that `phosphene caption` wrote, to a CSV, TSV or JSON "
        f"file, or to one of {', '.join(SHIPPED)}"
    )


def _text(cell: Any) -> str:
    return "" if cell is None or cell != cell else clean(cell)  # a JSON row may lack a slot
