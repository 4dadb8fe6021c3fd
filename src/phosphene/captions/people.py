"""Captions that are there already: written by people, or exact because the pictures were drawn from them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from phosphene.captions.base import Captioner
from phosphene.captions.slots import Slot
from phosphene.captions.tables import cells
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import register
from phosphene.utils.files import digest


@register("captioner", "file")
class File(Captioner):
    """Captions from a file written by people: CSV, TSV or JSON.

    A row is found by the stimulus, or by the name of its picture's file.

    Parameters
    ----------
    path : the file. Columns: `stimulus`, and one column for each slot; or, for a single slot, one column `caption`.
    """

    batch_size = 256

    def __init__(self, path: str):
        self.path = path

    @cached_property
    def _table(self) -> pd.DataFrame:
        table = cells(self.path)
        if twice := table.index[table.index.duplicated()].tolist():
            raise PhospheneError(f"{self.path} has stimulus '{twice[0]}' twice: keep one row")
        return table

    def identity(self) -> str:
        return f"people {Path(self.path).name}@{digest(Path(self.path))}"

    def check(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> None:
        table = self._table
        self._columns(slots)
        if missing := [s for s, key in zip(stimuli.index, self._keys(stimuli), strict=True) if key not in table.index]:
            raise PhospheneError(
                f"{self.path} has no caption of stimulus '{missing[0]}' (of {len(missing)} in all): "
                f"{nearest(missing[0], table.index)}"
            )

    def _columns(self, slots: Sequence[Slot]) -> dict[str, str]:
        """Slot -> column of the file."""
        named = {slot.name: slot.name for slot in slots if slot.name in self._table}
        if len(named) == len(slots):
            return named
        if "caption" in self._table and not named:
            if len(slots) == 1:
                return {slots[0].name: "caption"}
            raise PhospheneError(f"{self.path} has one column 'caption' for {len(slots)} slots: choose one with --slot")
        lacking = next(slot.name for slot in slots if slot.name not in named)
        raise PhospheneError(
            f"{self.path} has no column '{lacking}': {nearest(lacking, self._table.columns)} "
            "(or choose the slots that it has with --slot)"
        )

    def _keys(self, stimuli: pd.DataFrame) -> list[str]:
        images = stimuli["image"] if "image" in stimuli else [""] * len(stimuli)
        return [
            str(name) if str(name) in self._table.index else Path(image).name
            for name, image in zip(stimuli.index, images, strict=True)
        ]

    def caption(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> list[dict[str, str]]:
        columns, keys = self._columns(slots), self._keys(stimuli)
        return [{name: self._table.at[key, column] for name, column in columns.items()} for key in keys]


@register("captioner", "drawn")
class Drawn(Captioner):
    """The exact captions of drawn scenes: the columns of a simulated study's stimulus table."""

    batch_size = 256

    def identity(self) -> str:
        return "drawn"

    def check(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> None:
        for slot in slots:
            if slot.name not in stimuli:
                raise PhospheneError(
                    f"the stimulus table has no column '{slot.name}', so that no drawn scene says it: give the "
                    "stimuli.csv of a simulated study, or choose the slots that it has with --slot"
                )

    def caption(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> list[dict[str, str]]:
        return [{slot.name: str(row[slot.name]) for slot in slots} for _, row in stimuli.iterrows()]
