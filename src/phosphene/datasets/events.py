"""Events of an own study: from annotations, tables and metadata; read, filtered and checked.

Shared by the sources that a user describes (`bids`, `arrays`, `from_mne`).
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from phosphene.datasets.onsets import epoch_onsets
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.tables import asked, check_column, check_spelling, frame, labels, numbers, read_cells, row

if TYPE_CHECKING:
    import mne


TOLD = ("stimulus", "subject", "session", "run", "block")  # labels that every trial has

Keep: TypeAlias = Mapping[str, str | Sequence[str]]
Table: TypeAlias = str | Path | pd.DataFrame


def kept(events: pd.DataFrame, keep: Keep | None, where: object, key: str = "dataset.keep") -> pd.DataFrame:
    """The rows whose columns have one of the values of ``keep``; a value may hold ``*`` and ``?``.

    A missing cell has a value only where a missing one ("" or "n/a") is asked for.
    """
    for column, values in (keep or {}).items():
        check_column(events, column, where, key)
        wanted, cells = asked(values), labels(events[column])
        match = {
            cell: any(fnmatchcase(cell, pattern) if cell else not pattern for pattern in wanted)
            for cell in cells.unique()
        }
        if not any(match.values()):
            named = " or ".join(name or "n/a" for name in wanted)
            near = nearest(named, [cell for cell in match if cell])
            raise PhospheneError(f"{where}: no row has {column} = {named}: {near} (set {key})")
        events = events[cells.map(match).astype(bool)]
    return events


def numbered(events: pd.DataFrame, where: object) -> pd.Series:
    """How often each trial's stimulus has now been shown: the column `repeat`, or counted, from 1."""
    if "repeat" in events:
        repeats = numbers(events, "repeat", where)
        if (odd := repeats % 1 != 0).any():
            raise PhospheneError(f"{where}, {row(repeats, odd)}: repeat {repeats[odd].iloc[0]:g} is not a whole number")
        return repeats.astype(int)
    return events.groupby(["subject", "stimulus"], sort=False).cumcount() + 1


def annotated(raw: "mne.io.BaseRaw") -> pd.DataFrame:
    """The annotations as events: `onset` and `duration` in s from the first sample, `stimulus`."""
    import mne

    names = list(dict.fromkeys(raw.annotations.description.tolist()))
    codes, _ = mne.events_from_annotations(
        raw, event_id={name: i for i, name in enumerate(names)}, regexp=None, verbose="error"
    )
    onset = (codes[:, 0] - raw.first_samp) / raw.info["sfreq"]
    return pd.DataFrame({"onset": onset, "stimulus": [names[i] for i in codes[:, 2]]})


def listed(raw: "mne.io.BaseRaw", events: "Table | np.ndarray", event: str | None) -> pd.DataFrame:
    """An event table, or MNE's event array, with `onset` (NaN where there is none) and `stimulus`."""
    if isinstance(events, np.ndarray):
        if events.ndim != 2 or events.shape[1] != 3:
            raise PhospheneError(f"events has shape {events.shape}: give (n_events, 3), as mne.find_events returns it")
        onset = (events[:, 0] - raw.first_samp) / raw.info["sfreq"]
        return pd.DataFrame({"onset": onset, "stimulus": labels(pd.Series(events[:, 2]))})
    where: object = "the event table"
    if isinstance(events, str | Path):
        where, table = events, read_cells(events, empty=True)
    else:
        table = frame(events, where)
    check_column(table, "onset", where, "the column's name right")
    check_spelling(table, where)
    name = event or next((c for c in ("stimulus", "trial_type") if c in table), "stimulus")
    check_column(table, name, where, "event")
    return table.assign(onset=numbers(table, "onset", where, gaps=True), stimulus=labels(table[name]))


def of_epochs(epochs: "mne.BaseEpochs", event: str | None) -> tuple[pd.DataFrame, list[str]]:
    """A row for each epoch: its metadata, `onset`, and the name of what was shown as `stimulus`; and notes."""
    where = "epochs.metadata"
    table = pd.DataFrame(index=range(len(epochs))) if epochs.metadata is None else frame(epochs.metadata, where)
    check_spelling(table, where)
    names = {code: name for name, code in epochs.event_id.items()}
    table = table.assign(**{"event name": [names[code] for code in epochs.events[:, 2]]})
    name = event or next((c for c in ("stimulus", "trial_type") if c in table), "event name")
    check_column(table, name, where, "event")
    notes = []
    if "onset" in table:
        table["onset"] = numbers(table, "onset", where, gaps=True)
    else:
        onset = epoch_onsets(epochs)
        if isinstance(onset, str):
            notes.append(f"when the epochs began is not known ({onset}): their column onset is empty")
        else:
            table["onset"] = onset
    return table.assign(stimulus=labels(table[name])), notes
