"""Own recordings and arrays, from Python: `from_mne` and `from_arrays` give `Trials` by the path that datasets take."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from phosphene.datasets.arrays import piece
from phosphene.datasets.base import Dataset, Epoched, Recording
from phosphene.datasets.events import (
    STRETCH,
    TOLD,
    Keep,
    Table,
    annotated,
    check_onsets,
    kept,
    listed,
    numbered,
    of_epochs,
)
from phosphene.datasets.shown import Pictures, Split, split_column, stimulus_table
from phosphene.datasets.stored import check_shape, check_size, check_values, counts_note
from phosphene.errors import PhospheneError
from phosphene.lazy import EEG
from phosphene.preprocessing import Preprocessing
from phosphene.registry import checked
from phosphene.tables import (
    check_column,
    check_filled,
    check_spelling,
    completed,
    frame,
    labels,
    numbers,
    places,
    read_cells,
)
from phosphene.trials import Signal, Trials

if TYPE_CHECKING:
    import mne

_PART, _PLACE = "own part", "own place"  # of a row: its recording, and its epoch therein


class Own(Dataset):
    """What a user holds in memory, as a dataset: it is checked, preprocessed and joined as every other is."""

    licence = "the user's own"
    citation = "the user's own data"
    design = "rapid"

    def __init__(self, pieces: Sequence[Recording | Epoched], stimuli: pd.DataFrame):
        self.root, self.subject, self._pieces, self._stimuli = Path(), "all", pieces, stimuli
        vars(self).update(epoched=isinstance(pieces[0], Epoched))

    def subjects(self) -> list[str]:
        return sorted({str(s) for piece in self._pieces for s in piece.table["subject"]})

    def stimuli(self) -> pd.DataFrame:
        return self._stimuli

    def recordings(self, subjects: Sequence[str]) -> Iterator[Recording | Epoched]:
        yield from self._pieces


def from_mne(
    data: "mne.io.BaseRaw | mne.BaseEpochs | Sequence[mne.io.BaseRaw] | Sequence[mne.BaseEpochs]",
    stimuli: Pictures | None = None,
    *,
    events: "Table | np.ndarray | Sequence[Table | np.ndarray] | None" = None,
    event: str | None = None,
    keep: str | Sequence[str] | Keep | None = None,
    image: str | None = None,
    concept: str | None = None,
    split: Split | None = None,
    subject: str | Sequence[str] = "01",
    session: str | Sequence[str] = "01",
    preprocessing: Preprocessing | None = None,
    **steps: Any,
) -> Trials:
    """Trials from own MNE objects: ``from_mne(raw, "pictures/", tmin=-0.1, tmax=0.7, split={"concept": 0.2})``.

    Parameters
    ----------
    data : one continuous recording or one set of epochs, or several, which become runs "01", "02", ...
    stimuli : what was shown: a folder of pictures whose names are the event names, a mapping from event name to picture
        file, or a table (csv, tsv, `DataFrame`) with columns `stimulus`, `image`, `concept` and, if wanted, `split` and
        captions.
    events : of a continuous recording: a table with `onset` (s from the first sample) and ``event``, or an MNE event
        array, whose codes become names ("1"); one for each recording. None: its annotations.
    event : the column that names what was shown, of the events or the epochs' metadata. None: `stimulus`, else
        `trial_type`, else the epochs' event names.
    keep : the events that show a picture: names, in which ``*`` stands for anything, or column -> such values.
        None: all but bad stretches.
    image, concept, split : as in the dataset `bids`: a column or pattern, a column, a column or rule.
    subject, session : who and when, where the table has no such column; one for all, or one for each recording.
    preprocessing, steps : a `Preprocessing`, or its arguments: `tmin`, `tmax`, `sfreq`, `rename`, `montage`, ...
        Epochs keep the times, rate and baseline that they have unless told otherwise.

    Raises
    ------
    PhospheneError
        An event without a picture, a missing picture, an unknown column, times outside the recording, ...: one line.
    """
    import mne

    if preprocessing is not None and steps:
        raise PhospheneError(f"give preprocessing or {', '.join(steps)}, not both")
    parts, tables = _recordings(data, events)
    as_they_are = Preprocessing.as_stored if isinstance(parts[0], mne.BaseEpochs) else Preprocessing
    taken = preprocessing or as_they_are(**checked(Preprocessing, steps, "from_mne"))
    where: object = "the events"
    if events is None:
        where = "the annotations" if isinstance(parts[0], mne.io.BaseRaw) else "the epochs' metadata"
    elif len(tables) == 1 and not isinstance(events, np.ndarray):
        where = events if isinstance(events, str | Path) else "the event table"
    who = {"subject": subject, "session": session}
    for key, label in who.items():
        if not isinstance(label, str) and len(label) != len(parts):
            raise PhospheneError(f"{len(parts)} recordings and {len(label)} {key}s: give one for all, or one for each")
    shown = []
    for i, (part, table) in enumerate(zip(parts, tables, strict=True)):
        if isinstance(part, mne.BaseEpochs):
            rows = of_epochs(part, event)
        else:
            rows = annotated(part) if table is None else listed(part, table, event)
        rows = rows.assign(**{_PART: i, _PLACE: range(len(rows))})
        if len(parts) > 1:
            rows = rows.set_axis([f"{place} of run {i + 1}" for place in places(rows.index)])
        own_labels = {key: label if isinstance(label, str) else label[i] for key, label in who.items()}
        shown.append(completed(rows, **own_labels, run=f"{i + 1:02d}", block="01"))
    rows, pictures = _told(pd.concat(shown), stimuli, keep, image, concept, split, where)
    pieces = [_piece(part, f"run {i + 1}", rows[rows[_PART] == i], pictures, taken) for i, part in enumerate(parts)]
    pieces = [p for p in pieces if len(p.table)]
    if isinstance(parts[0], mne.BaseEpochs):
        taken = taken.of_typed()
    return Own(pieces, pictures).load(taken)


def from_arrays(
    eeg: EEG,
    table: "Table | Sequence[Mapping[str, Any]]",
    stimuli: Pictures | None = None,
    *,
    ch_names: Sequence[str],
    sfreq: float,
    tmin: float,
    unit: str = "V",
    event: str = "stimulus",
    keep: str | Sequence[str] | Keep | None = None,
    image: str | None = None,
    concept: str | None = None,
    split: Split | None = None,
    subject: str = "01",
    session: str = "01",
    montage: str = "keep",
    preprocessing: Preprocessing | None = None,
) -> Trials:
    """Trials from an own array: ``from_arrays(X, "table.csv", "pictures/", ch_names=..., sfreq=250, tmin=-0.2)``.

    Parameters
    ----------
    eeg : (n_trials, n_chans, n_times) numbers; a memory map stays on disk.
    table : a row for each trial, in the same order: csv or tsv, `DataFrame` or a list of dicts. Columns: ``event`` and,
        if wanted, `subject`, `session`, `run`, `block`, `onset` (s), `repeat`, `split`, `concept`.
    stimuli, keep, image, concept, split, subject, session : as in `from_mne`.
    ch_names, sfreq, tmin : of the array: (n_chans,) names; Hz; s of the first sample from onset.
    unit : of the values: "V", "mV", "uV" or "nV"; "standardised" or "whitened" where volts are lost.
    event : the table's column that names what was shown.
    montage : a standard montage of MNE (such as "standard_1005"), for the positions.
    preprocessing : further steps; None keeps times, rate and baseline.

    Raises
    ------
    PhospheneError
        Shape, table or channels do not fit, a gap in the data, values that EEG in this unit never has: one line.
    """
    where: object = "table"
    if isinstance(table, str | Path):
        where, rows = Path(table).name, read_cells(table)
    else:
        rows = frame(table, where)
    check_spelling(rows, where)
    signal = Signal(tuple(ch_names), sfreq, tmin)
    check_shape(eeg, signal.ch_names, len(rows), "X", where)
    scale = check_values(eeg, unit, "X", "unit")
    check_column(rows, event, where, "event")
    if "onset" in rows:
        rows["onset"] = numbers(rows, "onset", where, gaps=True)
    rows = rows.assign(stimulus=labels(rows[event]))
    rows = completed(rows, subject=subject, session=session, run="01", block="01")
    whole = rows.index
    rows, pictures = _told(rows, stimuli, keep, image, concept, split, where)
    rows.index = pd.Index(whole.get_indexer(rows.index))  # places in the array
    held = piece("the array", eeg, rows, signal, scale, unit, counts_note(eeg, unit, "X"))
    return Own([held], pictures).load(preprocessing or Preprocessing.as_stored(montage=montage))


def _recordings(data: Any, events: Any) -> tuple[list[Any], list[Any]]:
    """The recordings, and for each its event table or None."""
    import mne

    alone = isinstance(data, mne.io.BaseRaw | mne.BaseEpochs | mne.Evoked)
    parts = [data] if alone or not isinstance(data, Iterable) else list(data)
    tables = list(events) if isinstance(events, list | tuple) else [events] * (len(parts) if events is None else 1)
    if not parts or len(tables) != len(parts):
        raise PhospheneError(f"{len(parts)} recordings and {len(tables)} event tables: give one for each recording")
    if any(isinstance(part, mne.Evoked) for part in parts):
        raise PhospheneError(
            "an mne.Evoked is an average over trials, and single trials are decoded: give the Epochs that it was made "
            "of; or, to decode averages, from_arrays(np.stack([e.data for e in evokeds]), ...) with a row for each"
        )
    for part, table in zip(parts, tables, strict=True):
        if not isinstance(part, mne.io.BaseRaw | mne.BaseEpochs):
            raise PhospheneError(f"from_mne takes mne Raw or Epochs objects, not {type(part).__name__}")
        if isinstance(part, mne.BaseEpochs) != isinstance(parts[0], mne.BaseEpochs):
            raise PhospheneError("recordings and epochs are mixed: call from_mne for each kind")
        if isinstance(part, mne.BaseEpochs) and table is not None:
            raise PhospheneError("epochs bring their own events: put the table into epochs.metadata instead")
    lazy = [isinstance(p, mne.BaseEpochs) and not p.preload for p in parts]
    with mne.use_log_level("error"):
        return [p.copy().load_data() if late else p for p, late in zip(parts, lazy, strict=True)], tables


def _told(
    rows: pd.DataFrame,
    stimuli: Pictures | None,
    keep: Any,
    image: str | None,
    concept: str | None,
    split: Split | None,
    where: object,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to use, complete, their index as before; and the stimulus table."""
    names = {"stimulus": keep} if isinstance(keep, str) or (keep and not isinstance(keep, Mapping)) else keep
    rows = kept(rows, names, where, "keep")
    check_filled(rows, TOLD, where)
    pictures = stimulus_table(rows, stimuli=stimuli, image=image, concept=concept, where=where, prefix="")
    rows = rows.assign(concept=rows["stimulus"].map(pictures["concept"]))
    return rows.assign(
        split=split_column(rows, pictures, split, where, "split"), repeat=numbered(rows, where)
    ), pictures


def _piece(
    part: Any, name: str, rows: pd.DataFrame, pictures: pd.DataFrame, steps: Preprocessing
) -> Recording | Epoched:
    import mne

    table = rows.drop(columns=[_PART, _PLACE]).reset_index(drop=True)
    if isinstance(part, mne.BaseEpochs):
        some = part[rows[_PLACE].to_numpy()]
        try:
            notes = steps.typed_epochs(some)
        except PhospheneError as error:
            raise PhospheneError(f"{name}: {error}") from None
        held = Trials.from_mne(some, table, pictures, notes)
        check_size(held.eeg, "V", name, "scale it to volts from")
        return Epoched(name, held.eeg, held.signal, held.table, notes=held.notes, bads=tuple(some.info["bads"]))
    check_onsets(table["onset"], part.times[-1], name)
    raw = part.copy()
    # MNE leaves out epochs in a stretch named "bad...", and a picture may be called "badge"
    shown = [i for i, text in enumerate(raw.annotations.description) if not STRETCH.match(text)]
    raw.annotations.delete(shown)
    bads = ", ".join(raw.info["bads"])
    return Recording(name, raw, table, [f"{name}: channels marked bad are kept: {bads}"] if bads else [])
