"""Events of an own study: from annotations, tables and metadata; read, filtered and checked.

Shared by the sources that a user describes (`bids`, `arrays`, `from_mne`).
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from phosphene.datasets.onsets import epoch_onsets, seconds
from phosphene.errors import PhospheneError, nearest
from phosphene.paths import regular

if TYPE_CHECKING:
    import mne

NONE = ("", "n/a")  # an empty cell, in CSV and in BIDS

Keep: TypeAlias = Mapping[str, str | Sequence[str]]
Table: TypeAlias = str | Path | pd.DataFrame


def read_cells(path: Path) -> pd.DataFrame:
    """A CSV (comma or semicolon) or TSV, every cell as text."""
    regular(path, "is missing: restore it")
    try:
        for sep in ("\t",) if path.suffix == ".tsv" else (",", ";"):
            table = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            if len(table.columns) > 1:
                break
    except (OSError, ValueError) as error:
        raise PhospheneError(f"{path} cannot be read ({' '.join(str(error).split())}): save it as UTF-8 text") from None
    return table


def check_column(table: pd.DataFrame, name: str, where: object, key: str) -> None:
    """Refuse a column that ``table`` (read from ``where``) lacks; ``key`` is the setting to change."""
    if name not in table:
        raise PhospheneError(f"{where} has no column '{name}': {nearest(name, table.columns)} (set {key})")


def kept(events: pd.DataFrame, keep: Keep | None, where: object, key: str = "dataset.keep") -> pd.DataFrame:
    """The rows whose columns have one of the values of ``keep``; a value may hold ``*`` and ``?``."""
    for column, values in (keep or {}).items():
        check_column(events, column, where, key)
        wanted = [values] if isinstance(values, str) else [str(v) for v in values]
        cells = events[column].astype(str)
        match = {cell: any(fnmatchcase(cell, pattern) for pattern in wanted) for cell in cells.unique()}
        if not any(match.values()):
            raise PhospheneError(
                f"{where}: no row has {column} = {' or '.join(wanted)}: {nearest(wanted[0], match)} (set {key})"
            )
        events = events[cells.map(match)]
    return events


def numbers(table: pd.DataFrame, column: str, where: object, gaps: bool = False) -> pd.Series:
    """A column as numbers; with ``gaps``, cells may be empty."""
    values = pd.to_numeric(table[column], errors="coerce")
    odd = table[column][values.isna()].astype(str)
    odd = odd[~odd.isin((*NONE, "nan"))] if gaps else odd
    if len(odd):
        raise PhospheneError(f"{where}: {column} '{odd.iloc[0]}' is no number: correct it")
    return values


def numbered(events: pd.DataFrame, where: object) -> pd.Series:
    """How often each trial's stimulus has now been shown: the column `repeat`, or counted, from 1."""
    if "repeat" in events:
        return numbers(events, "repeat", where).astype(int)
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
        return pd.DataFrame({"onset": onset, "stimulus": events[:, 2].astype(str)})
    where: object = "the event table"
    if isinstance(events, str | Path):
        where, events = events, read_cells(Path(events))
    table = events.reset_index(drop=True)
    check_column(table, "onset", where, "the column's name right")
    name = event or next((c for c in ("stimulus", "trial_type") if c in table), "stimulus")
    check_column(table, name, where, "event")
    return table.assign(onset=seconds(table, "onset", where), stimulus=table[name].astype(str))


def of_epochs(epochs: "mne.BaseEpochs", event: str | None) -> tuple[pd.DataFrame, list[str]]:
    """A row for each epoch: its metadata, `onset`, and the name of what was shown as `stimulus`; and notes."""
    table = pd.DataFrame(index=range(len(epochs))) if epochs.metadata is None else epochs.metadata
    names = {code: name for name, code in epochs.event_id.items()}
    table = table.reset_index(drop=True).assign(**{"event name": [names[code] for code in epochs.events[:, 2]]})
    name = event or next((c for c in ("stimulus", "trial_type") if c in table), "event name")
    check_column(table, name, "epochs.metadata", "event")
    notes = []
    if "onset" not in table:
        onset = epoch_onsets(epochs)
        if isinstance(onset, str):
            notes.append(f"when the epochs began is not known ({onset}): their column onset is empty")
        else:
            table["onset"] = onset
    return table.assign(stimulus=table[name].astype(str)), notes
