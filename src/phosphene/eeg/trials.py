"""`Trials`: EEG epochs, what was shown in each, and how they were recorded. Knows nothing of models."""

import json
import math
import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from phosphene.eeg.lazy import EEG, LazyArray, chunks, lazy, read, stays
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.checksums import MADE, SUMS, intact, kept
from phosphene.utils.files import read_json, write_json
from phosphene.utils.paths import record_pictures
from phosphene.utils.restricted import read_npy
from phosphene.utils.tables import COLUMNS, label, read_cells

if TYPE_CHECKING:
    import mne

_DEFAULTS: dict[str, Any] = {
    "session": "01",
    "run": "01",
    "block": "01",
    "onset": np.nan,
    "repeat": 0,
    "split": "train",
}
_NUMBERS = ("onset", "repeat")
UNITS = ("V", "standardised", "whitened")


@dataclass(frozen=True)
class Signal:
    """How the array was recorded.

    Parameters
    ----------
    ch_names : (n_chans,) channel names, 10-05 spelling where it applies.
    sfreq : sampling rate, Hz.
    tmin : time of the first sample relative to stimulus onset, s.
    positions : (n_chans, 3) electrode positions in head coordinates, m; None if unknown.
    unit : of the values: "V", or "standardised" or "whitened" where volts are lost.
    """

    ch_names: tuple[str, ...]
    sfreq: float
    tmin: float = 0.0
    positions: tuple[tuple[float, ...], ...] | None = None
    unit: str = "V"

    def __post_init__(self) -> None:
        names = tuple(str(c) for c in self.ch_names) if isinstance(self.ch_names, Iterable) else ("",)
        if "" in names or isinstance(self.ch_names, str):
            raise PhospheneError(
                f"ch_names is {reprlib.repr(self.ch_names)}: give a list with the name of each channel"
            )
        object.__setattr__(self, "ch_names", names)
        twice = sorted(c for c, count in Counter(names).items() if count > 1)
        if twice:
            raise PhospheneError(f"channel '{twice[0]}' is named twice: rename one")
        if not (_is_number(self.sfreq) and self.sfreq > 0):
            raise PhospheneError(f"sfreq is {self.sfreq} Hz: give the sampling rate as a positive number")
        if not _is_number(self.tmin):
            raise PhospheneError(f"tmin is {self.tmin} s: give the time of the first sample from onset, a number")
        if self.unit not in UNITS:
            raise PhospheneError(f"unknown unit of the EEG: {nearest(self.unit, UNITS)}")
        if self.positions is not None:
            try:
                positions = tuple(tuple(float(v) for v in p) for p in self.positions)
            except (TypeError, ValueError):
                positions = ()
            if len(positions) != len(names) or any(len(p) != 3 for p in positions):
                raise PhospheneError(f"positions must be ({len(names)}, 3), in metres, one row for each channel")
            object.__setattr__(self, "positions", positions)

    @property
    def n_chans(self) -> int:
        return len(self.ch_names)

    def times(self, n_times: int) -> np.ndarray:
        """(n_times,) seconds from stimulus onset."""
        return self.tmin + np.arange(n_times) / self.sfreq

    def indices(self, ch_names: Sequence[str]) -> list[int]:
        """Positions of ``ch_names`` in this signal; an unknown one is refused with the nearest."""
        for name in ch_names:
            if name not in self.ch_names:
                raise PhospheneError(f"channel '{name}' is not in the recording: {nearest(name, self.ch_names)}")
        return [self.ch_names.index(name) for name in ch_names]

    def to_info(self) -> "mne.Info":
        """The same facts as an `mne.Info` with a montage where positions are known."""
        import mne

        info = mne.create_info(list(self.ch_names), self.sfreq, "eeg", verbose="error")
        if self.positions is not None:
            points = dict(zip(self.ch_names, np.array(self.positions), strict=True))
            info.set_montage(mne.channels.make_dig_montage(points, coord_frame="head"), verbose="error")
        return info


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


@dataclass
class Trials:
    """EEG trials with their stimuli.

    Parameters
    ----------
    eeg : (n_trials, n_chans, n_times) float32, in `signal.unit`; may be a read-only memory map, or a
        `LazyArray`: then selections, averages and whitened trials stay on disk until a batch is read.
    table : one row for each trial; columns `subject, session, run, block, onset (s), stimulus, concept, repeat, split`.
    stimuli : one row for each stimulus, indexed by stimulus name; `image` (path), `concept`, caption columns.
    signal : `Signal`.
    notes : what a user must know of these data (caveats, dropped runs), shown in every report.

    Raises
    ------
    PhospheneError
        If the parts do not fit together.
    """

    eeg: EEG
    table: pd.DataFrame
    stimuli: pd.DataFrame
    signal: Signal
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.eeg.ndim != 3:
            raise PhospheneError(f"eeg must be (n_trials, n_chans, n_times), not {self.eeg.shape}")
        if self.eeg.dtype != np.float32:
            self.eeg = lazy(self.eeg) if stays(self.eeg) else np.asarray(self.eeg, np.float32)
        if self.eeg.shape[1] != self.signal.n_chans:
            raise PhospheneError(f"eeg has {self.eeg.shape[1]} channels and signal names {self.signal.n_chans}")
        if len(self.table) != len(self.eeg):
            raise PhospheneError(f"eeg holds {len(self.eeg)} trials and the table {len(self.table)} rows")
        self.stimuli = _named(self.stimuli)
        self.table = complete_table(self.table, self.stimuli)

    def __len__(self) -> int:
        return len(self.eeg)

    @property
    def n_chans(self) -> int:
        return int(self.eeg.shape[1])

    @property
    def n_times(self) -> int:
        return int(self.eeg.shape[2])

    @property
    def times(self) -> np.ndarray:
        """(n_times,) seconds from stimulus onset."""
        return self.signal.times(self.n_times)

    def select(self, where: np.ndarray | None = None, **columns: Any) -> "Trials":
        """Trials at ``where`` (mask or positions) whose table columns have the given values (one, or a list)."""
        index = np.arange(len(self)) if where is None else np.arange(len(self))[np.asarray(where)]
        for column, wanted in columns.items():
            if column not in self.table:
                raise PhospheneError(f"unknown column '{column}': {nearest(column, self.table.columns)}")
            values = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Sequence) else list(wanted)
            index = index[self.table[column].iloc[index].isin(values).to_numpy()]
        eeg = read(lazy(self.eeg).rows(index)) if stays(self.eeg) else self.eeg[index]
        return replace(self, eeg=eeg, table=self.table.iloc[index].reset_index(drop=True))

    def pick(self, ch_names: Sequence[str]) -> "Trials":
        """These channels, in this order."""
        index = self.signal.indices(ch_names)
        old = self.signal.positions
        signal = replace(
            self.signal, ch_names=tuple(ch_names), positions=None if old is None else tuple(old[i] for i in index)
        )
        eeg = read(lazy(self.eeg).chans(index)) if stays(self.eeg) else self.eeg[:, index]
        return replace(self, eeg=eeg, signal=signal)

    def crop(self, tmin: float | None = None, tmax: float | None = None) -> "Trials":
        """Samples with ``tmin <= time < tmax``, seconds from onset."""
        times, half = self.times, 0.5 / self.signal.sfreq
        keep = np.ones(len(times), bool)
        if tmin is not None:
            keep &= times >= tmin - half
        if tmax is not None:
            keep &= times < tmax - half
        if not keep.any():
            raise PhospheneError(
                f"no sample lies in {tmin} to {tmax} s: the trials span {times[0]:g} to {times[-1]:g} s"
            )
        first, last = int(keep.argmax()), int(keep.argmax()) + int(keep.sum())
        signal = replace(self.signal, tmin=float(times[first]))
        eeg = read(lazy(self.eeg).times(first, last)) if stays(self.eeg) else self.eeg[:, :, first:last]
        return replace(self, eeg=eeg, signal=signal)

    def average(self, n: int | None = None, by: Sequence[str] = ("subject", "stimulus")) -> "Trials":
        """Means over repeats of the same stimulus, never across a split.

        Parameters
        ----------
        n : average at most this many successive repeats into one trial; None averages all.
        by : table columns that must agree within a mean; `split` always must.
        """
        keys = [*by, "split"] if "split" not in by else list(by)
        count = self.table.groupby(keys, sort=False).cumcount() // (n or len(self) or 1)
        groups = self.table.groupby([*keys, count], sort=False).ngroup().to_numpy()
        table = self.table.groupby(groups, sort=True).first().reset_index(drop=True)
        table["n_averaged"] = np.bincount(groups)
        means = lazy(self.eeg).means(groups)
        return replace(self, eeg=read(means) if stays(self.eeg) else np.asarray(means), table=table)

    def save(self, folder: str | Path, made_of: Any = None) -> Path:
        """Write `eeg.npy`, `table.csv`, `stimuli.csv` and `signal.json`; the folder appears whole or not at all.

        ``made_of`` : of what they were made, for `phosphene.utils.checksums.finished`.
        """
        with kept(folder) as part:
            part.mkdir()
            with (part / "eeg.npy").open("wb") as file:  # not a map: writing to one on a full disk kills the process
                header = {"descr": "<f4", "fortran_order": False, "shape": self.eeg.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for _, x in chunks(self.eeg):
                    x.astype("<f4", "C", copy=False).tofile(file)
            self.table.to_csv(part / "table.csv", index=False)
            self.stimuli.to_csv(part / "stimuli.csv", index_label="stimulus")
            facts = {
                **asdict(self.signal),
                "notes": self.notes,
                "pictures": record_pictures(self.stimuli.get("image", ()), folder),
            }
            (part / "signal.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
            if made_of is not None:
                write_json(part / MADE, made_of)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Trials":
        """Read what `save` wrote; the array stays on disk as a memory map."""
        folder = Path(folder)
        if not (folder / "eeg.npy").is_file():
            raise PhospheneError(f"{folder} holds no trials (no eeg.npy): make them with `phosphene prepare`")
        intact(folder, f"restore it, or prepare {folder} again (if you changed it, remove {SUMS} beside it)")
        facts = read_json(folder / "signal.json")
        eeg = read_npy(folder / "eeg.npy")
        if not isinstance(eeg, np.ndarray) or eeg.dtype.kind not in "fiu":
            raise PhospheneError(f"{folder / 'eeg.npy'} holds no array of numbers: prepare it again")
        stimuli = read_table(folder / "stimuli.csv")
        if "stimulus" not in stimuli:
            raise PhospheneError(f"{folder / 'stimuli.csv'} has no column 'stimulus': prepare it again")
        try:
            notes = [str(note) for note in facts.pop("notes", [])]
            facts.pop("pictures", None)
            signal = Signal(**facts)
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, PhospheneError):
                raise
            raise PhospheneError(
                f"{folder / 'signal.json'} is not as it was saved ({error}): prepare it again"
            ) from None
        table = read_table(folder / "table.csv")
        try:
            return cls(eeg=eeg, table=table, stimuli=stimuli.set_index("stimulus"), notes=notes, signal=signal)
        except PhospheneError as error:
            raise PhospheneError(f"{folder}: {error}; prepare it again, or restore its files") from None

    @classmethod
    def from_mne(
        cls, epochs: "mne.BaseEpochs", table: pd.DataFrame, stimuli: pd.DataFrame, notes: Sequence[str] = ()
    ) -> "Trials":
        """EEG epochs of MNE and their table (a row for each epoch); SI units, montage and time axis come along."""
        if "eeg" not in epochs.get_channel_types():
            types = ", ".join(sorted(set(epochs.get_channel_types())))
            raise PhospheneError(f"no channel is of type EEG (types: {types}): correct them with set_channel_types")
        epochs = epochs.copy().pick("eeg", exclude=())
        if len(epochs) == 0:
            raise PhospheneError("no epoch is left: check the event names, tmin/tmax and the rejection threshold")
        eeg = epochs.get_data(copy=False)
        bad = [c for c, x in zip(epochs.ch_names, np.isnan(eeg).any(axis=(0, 2)), strict=True) if x]
        if bad:
            raise PhospheneError(
                f"channel '{bad[0]}' holds NaN ({len(bad)} such): drop or interpolate it before epoching"
            )
        located = [c["loc"][:3] for c in epochs.info["chs"]]
        known = all(np.isfinite(p).all() and np.any(p) for p in located)
        signal = Signal(
            ch_names=tuple(epochs.ch_names),
            sfreq=float(epochs.info["sfreq"]),
            tmin=float(epochs.tmin),
            positions=tuple(tuple(map(float, p)) for p in located) if known else None,
        )
        return cls(eeg.astype(np.float32), table.reset_index(drop=True), stimuli, signal, list(notes))

    def to_mne(self) -> "mne.EpochsArray":
        """The trials as `mne.EpochsArray`, the table as its metadata."""
        import mne

        info = self.signal.to_info()
        return mne.EpochsArray(
            np.asarray(self.eeg, np.float64), info, tmin=self.signal.tmin, metadata=self.table, verbose="error"
        )


def concatenate(parts: Sequence[Trials]) -> Trials:
    """Trials of several recordings with the same channels, rate and time axis, one after the other."""
    if not parts:
        raise PhospheneError("there are no trials to join: no recording was read")
    first = parts[0]
    for part in parts[1:]:
        if part.signal.ch_names != first.signal.ch_names:
            odd = sorted(set(part.signal.ch_names) ^ set(first.signal.ch_names))
            raise PhospheneError(f"recordings differ in channels ({odd[0] if odd else 'order'}): pick the common ones")
        if (part.signal.sfreq, part.n_times) != (first.signal.sfreq, first.n_times):
            raise PhospheneError(
                f"recordings differ in rate or length ({part.signal.sfreq:g} Hz x {part.n_times} and "
                f"{first.signal.sfreq:g} Hz x {first.n_times}): set preprocessing.sfreq, tmin, tmax"
            )
        if abs(part.signal.tmin - first.signal.tmin) * first.signal.sfreq > 0.5:
            raise PhospheneError(
                f"the epochs of recordings begin at {first.signal.tmin:g} and {part.signal.tmin:g} s from onset: "
                "cut them alike, or set preprocessing.tmin, tmax"
            )
        if part.signal.unit != first.signal.unit:
            raise PhospheneError(f"recordings are in {first.signal.unit} and {part.signal.unit}: read them separately")
    stimuli = pd.concat([p.stimuli for p in parts])
    return Trials(
        eeg=read(_joined([p.eeg for p in parts])) if len(parts) > 1 else first.eeg,
        table=pd.concat([p.table for p in parts], ignore_index=True),
        stimuli=stimuli[~stimuli.index.duplicated()],
        signal=first.signal,
        notes=list(dict.fromkeys(n for p in parts for n in p.notes)),
    )


def _joined(parts: list[EEG]) -> EEG:
    """One after the other; without a copy where any part is on disk."""
    if any(stays(p) for p in parts):
        return LazyArray(parts)
    return np.concatenate([np.asarray(p) for p in parts])


def read_table(path: Path) -> pd.DataFrame:
    """A CSV whose labels stay text ("01" is not 1) and whose onset and repeat are numbers."""
    table = read_cells(path, empty=True).reset_index(drop=True)
    for column in (*_NUMBERS, "n_averaged"):
        if column in table:
            try:
                table[column] = pd.to_numeric(table[column])
            except (ValueError, TypeError) as error:
                raise PhospheneError(f"{path}: column '{column}' holds no numbers ({error}): correct it") from None
    return table


def _named(stimuli: pd.DataFrame) -> pd.DataFrame:
    """The stimuli with names and concepts as text."""
    index = _texts(stimuli.index.to_series(), "the stimuli", "name")
    stimuli = stimuli.set_axis(pd.Index(index, name=stimuli.index.name or "stimulus"))
    if "concept" in stimuli:
        stimuli = stimuli.assign(concept=_texts(stimuli["concept"], "the stimuli", "concept"))
    return stimuli


def complete_table(table: pd.DataFrame, stimuli: pd.DataFrame) -> pd.DataFrame:
    """The table with every column of `COLUMNS`, labels as text."""
    table, where = table.copy(), "the trial table"
    for column in ("subject", "stimulus"):
        if column not in table:
            raise PhospheneError(f"{where} has no column '{column}': add it")
    table["stimulus"] = _texts(table["stimulus"], where, "stimulus")
    lost = set(table["stimulus"]) - set(stimuli.index)
    if lost:
        raise PhospheneError(f"stimulus '{min(lost)}' of the table is not among the stimuli: add its row")
    if "concept" not in table:
        if "concept" not in stimuli:
            raise PhospheneError("neither the trial table nor the stimuli have a column 'concept': add it")
        table["concept"] = stimuli["concept"].reindex(table["stimulus"]).to_numpy()
    for column, value in _DEFAULTS.items():
        if column not in table or (column not in _NUMBERS and bool(table[column].isna().all())):
            table[column] = value
    for column in COLUMNS:
        if column not in _NUMBERS:
            table[column] = _texts(table[column], where, column)
    return table[[*COLUMNS, *(c for c in table if c not in COLUMNS)]]


def _texts(column: pd.Series, where: str, what: str) -> pd.Series:
    """Labels as text; what is text already stays as it is, and a missing value is refused."""
    if pd.api.types.infer_dtype(column, skipna=False) == "string" and not column.isna().any():
        return column.astype(str)
    cells = [value if isinstance(value, str) else label(value) or None for value in column]
    if None in cells:
        raise PhospheneError(f"{where}, row {cells.index(None)} (from 0) has no {what}: fill it in, or leave it out")
    return pd.Series(cells, index=column.index, dtype=str, name=column.name)
