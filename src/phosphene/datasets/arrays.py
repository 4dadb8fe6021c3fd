"""Trials that a user stored as an array and tables: `eeg.npy`, `table.csv`, `stimuli.csv`.

A folder that `Trials.save` wrote is such a study.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from phosphene.datasets.base import Dataset, Epoched
from phosphene.datasets.events import TOLD, Keep, kept, numbered
from phosphene.datasets.stimulus_tables import Split, picture_folders, split_column, stimulus_table
from phosphene.datasets.stored import check_shape, check_values, counts_note, open_eeg
from phosphene.eeg.lazy import EEG, lazy
from phosphene.eeg.scale import WITHOUT_VOLTS
from phosphene.eeg.trials import Signal
from phosphene.errors import PhospheneError
from phosphene.registry import register
from phosphene.settings import Hertz, Seconds
from phosphene.utils.files import read_json
from phosphene.utils.paths import exists, outside, regular, saved_pictures
from phosphene.utils.tables import (
    check_column,
    check_filled,
    check_spelling,
    completed,
    labels,
    numbers,
    read_cells,
    read_text,
)


@register("dataset", "arrays")
class Arrays(Dataset):
    """Epochs of one's own: an array, and a table with a row for each trial; also what `Trials.save` wrote.

    Parameters
    ----------
    root : the folder of these files.
    subject : one, several or "all".
    eeg : the array, (n_trials, n_chans, n_times): `.npy` or `.safetensors`, with the tensor called `eeg` or the only
        one. It stays on disk.
    table : csv or tsv: a row for each trial, in the array's order, with the column ``event`` and, if wanted, `subject`,
        `session`, `run`, `block`, `onset` (s), `repeat`, `split` and `concept`.
    event : the column that names what was shown.
    stimuli : a table with columns `stimulus`, `image`, `concept` and, if wanted, `split` and captions; or a folder of
        pictures whose names are those of the events. None: `stimuli.csv` if there is one, else the column `image`.
    image, concept, split, keep : as in the dataset `bids`.
    ch_names : (n_chans,) names, or a text file with one a line. None: those of `signal.json`.
    sfreq, tmin : Hz; s of the first sample from onset. None: those of `signal.json`.
    unit : "V", "mV", "uV" or "nV"; "standardised" or "whitened" where volts are lost. None: `signal.json`'s, or V.
    allow_outside : as in the dataset `bids`. A folder that `Trials.save` wrote, and that was not moved since, may name
        the pictures that it was saved with, wherever they lie.
    design : how stimuli follow each other: "rapid", "block" or "oddball".
    """

    licence = "the user's own"
    citation = "the user's own data"
    design = "rapid"
    epoched: ClassVar[bool] = True

    def __init__(
        self,
        root: str | Path,
        subject: str | Sequence[str] = "all",
        eeg: str = "eeg.npy",
        table: str = "table.csv",
        event: str = "stimulus",
        stimuli: str | None = None,
        image: str | None = None,
        concept: str | None = None,
        split: str | dict[str, float | str | list[str]] | None = None,
        keep: dict[str, str | list[str]] | None = None,
        ch_names: str | list[str] | None = None,
        sfreq: Hertz | None = None,
        tmin: Seconds | None = None,
        unit: str | None = None,
        allow_outside: str | list[str] | None = None,
        design: Literal["rapid", "block", "oddball"] = "rapid",
    ):
        super().__init__(root, subject)
        self.eeg, self.table, self.event = eeg, self.root / table, event
        self.pictures, self.image, self.concept = stimuli, image, concept
        self.split: Split | None = split
        self.keep: Keep | None = keep
        self.within = picture_folders(self.root, allow_outside)
        self.given = {"ch_names": ch_names, "sfreq": sfreq, "tmin": tmin, "unit": unit}
        vars(self).update(design=design)  # what the user says stands in front of the class's fact

    @cached_property
    def _rows(self) -> tuple[pd.DataFrame, pd.Series]:
        """The trials to use, and the place of every row of the table in the array."""
        rows = read_cells(self.table)
        check_column(rows, self.event, self.table, "dataset.event")
        check_spelling(rows, self.table)
        rows = rows.assign(stimulus=labels(rows[self.event]))
        rows = completed(rows, subject="01", session="01", run="01", block="01")
        if "onset" in rows:
            rows["onset"] = numbers(rows, "onset", self.table, gaps=True)
        place = pd.Series(range(len(rows)), index=rows.index)
        rows = kept(rows, self.keep, self.table)
        check_filled(rows, TOLD, self.table)
        return rows.assign(repeat=numbered(rows, self.table)), place

    @cached_property
    def _stimuli(self) -> pd.DataFrame:
        rows, _ = self._rows
        pictures, image = self.pictures, self.image
        if pictures is None and image is None:
            if exists(self.root / "stimuli.csv"):
                pictures = "stimuli.csv"
            elif "image" in rows:
                image = "image"
        return stimulus_table(
            rows,
            stimuli=pictures,
            image=image,
            concept=self.concept,
            folders=(self.root,),
            where=self.table.name,
            within=[*self.within, *saved_pictures(self.root, self._stored)],
        )

    @cached_property
    def _stored(self) -> dict[str, Any]:
        """What `signal.json` says."""
        path = self.root / "signal.json"
        facts = read_json(path) if exists(path) else {}
        if not isinstance(facts, dict):
            raise PhospheneError(f"{path} is not as `Trials.save` writes it: remove it, or write the trials again")
        if not isinstance(facts.get("notes") or [], list):
            raise PhospheneError(f"{path}: notes is not a list of sentences: correct it, or write the trials again")
        return facts

    def subjects(self) -> list[str]:
        return sorted(self._rows[0]["subject"].unique())

    def stimuli(self) -> pd.DataFrame:
        return self._stimuli.copy()

    def trial_table(self) -> pd.DataFrame:
        rows = self._parted()
        return rows[rows["subject"].isin(self.chosen())]

    def _parted(self) -> pd.DataFrame:
        """Every row to use, with its concept and its part."""
        rows, _ = self._rows
        return rows.assign(
            concept=rows["stimulus"].map(self._stimuli["concept"]),
            split=split_column(rows, self._stimuli, self.split, self.table.name),
        )

    def recordings(self, subjects: Sequence[str]) -> Iterator[Epoched]:
        _, place = self._rows
        stored = self._stored
        signal = self._signal(stored)
        unit = str(self.given["unit"] or stored.get("unit") or "V")
        eeg = open_eeg(self.root / self.eeg)
        check_shape(eeg, signal.ch_names, len(place), self.eeg, self.table.name)
        scale = check_values(eeg, unit, self.eeg)
        rows = self._parted()
        rows.index = pd.Index(place[rows.index])
        notes = [*(stored.get("notes") or ()), *counts_note(eeg, unit, self.eeg), *self._elsewhere()]
        for subject in subjects:
            own = rows[rows["subject"] == subject]
            yield piece(f"sub-{subject}", eeg, own, signal, scale, unit, notes)

    def _elsewhere(self) -> list[str]:
        """A note on pictures outside of the study."""
        images = list(self._stimuli.get("image", ()))
        away = outside(images, [self.root])
        folders = [str(Path(path).parent) for path, gone in zip(images, away, strict=True) if gone]
        if not folders:
            return []
        return [f"{len(folders)} of {len(images)} pictures lie outside of the study, such as in {min(folders)}"]

    def _signal(self, stored: dict[str, Any]) -> Signal:
        """What the user says, else what `signal.json` says."""
        ask = {
            "ch_names": "the channels are not named: set dataset.ch_names to a list, or to a text file with one a line",
            "sfreq": "the sampling rate is not said: set dataset.sfreq, in Hz",
            "tmin": "the time of the first sample is not said: set dataset.tmin, in s from onset",
        }
        facts: dict[str, Any] = {}
        for key, message in ask.items():
            facts[key] = stored.get(key) if self.given[key] is None else self.given[key]
            if facts[key] is None:
                raise PhospheneError(message)
        names = facts["ch_names"]
        if not isinstance(names, str | list):
            raise PhospheneError(f"ch_names is {names!r}: give a list with the name of each channel, or a text file")
        if isinstance(names, str):
            path = regular(self.root / names, "does not exist: set dataset.ch_names to a list of names or a text file")
            facts["ch_names"] = names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        if odd := [name for name in names if isinstance(name, str) and not name.isprintable()]:
            raise PhospheneError(f"ch_names: {odd[0]!r} is not a channel name: give plain text, one name per line")
        known = stored.get("ch_names")
        positions = stored.get("positions") if isinstance(known, list) and list(names) == known else None
        return Signal(**facts, positions=positions)


def piece(
    name: str, eeg: EEG, rows: pd.DataFrame, signal: Signal, scale: float, unit: str, notes: Any = None
) -> Epoched:
    """The trials at the index of ``rows``; the array is not read."""
    index = rows.index.to_numpy()
    together = len(index) > 0 and bool((np.diff(index) == 1).all())
    part = eeg[index[0] : index[-1] + 1] if together else lazy(eeg).rows(index)
    table = rows.reset_index(drop=True)
    return Epoched(name, part, signal, table, scale, unit if unit in WITHOUT_VOLTS else "V", list(notes or ()))
