"""Own recordings and arrays, from Python: `from_mne` and `from_arrays` give `Trials` by the path that datasets take."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from phosphene.datasets.arrays import piece
from phosphene.datasets.base import Dataset, Epoched, Recording, bads_note
from phosphene.datasets.events import (
    TOLD,
    Keep,
    Table,
    annotated,
    kept,
    listed,
    numbered,
    of_epochs,
)
from phosphene.datasets.onsets import within
from phosphene.datasets.stimulus_tables import (
    Pictures,
    Split,
    file_names,
    paths_note,
    shows_picture,
    split_column,
    stimulus_table,
)
from phosphene.datasets.stored import check_shape, check_size, check_values, counts_note
from phosphene.datasets.stretches import annotated_stretches, mark, separate_stretches, spanned
from phosphene.eeg.lazy import EEG
from phosphene.eeg.preprocessing import Preprocessing, check_eeg
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError
from phosphene.registry import checked
from phosphene.utils.tables import (
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

if TYPE_CHECKING:
    import mne

_PART, _PLACE = "own part", "own place"  # of a row: its recording, and its epoch therein


class Own(Dataset):
    """What a user holds in memory, as a dataset: it is checked, preprocessed and joined as every other is."""

    licence = "the user's own"
    citation = "the user's own data"
    design = "rapid"

    def __init__(self, pieces: Sequence[Recording | Epoched], stimuli: pd.DataFrame, split: Split | None = None):
        self.root, self.subject, self._pieces, self._stimuli = Path(), "all", pieces, stimuli
        self.split = split
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
    bads: Literal["keep", "interpolate"] = "keep",
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
    events : of a continuous recording: a table with `onset` (s from the first sample), ``event`` and, of bad
        stretches, `duration` (s); or an MNE event array, whose codes become names ("1"); one for each recording. None:
        its annotations.
    event : the column that names what was shown, of the events or the epochs' metadata. None: `stimulus`, else
        `trial_type`, else the epochs' event names.
    keep : the events that show a picture: names, in which ``*`` stands for anything, or column -> such values.
        None: all but bad stretches. Epochs over a bad stretch are dropped and counted, whatever is kept: see Notes.
    image, concept, split : as in the dataset `bids`: a column or pattern, a column, a column or rule.
    subject, session : who and when, where the table has no such column; one for all, or one for each recording.
    bads : "keep" channels marked bad, or "interpolate" them from the others, once ``montage`` has given positions.
    preprocessing, steps : a `Preprocessing`, or its arguments: `tmin`, `tmax`, `sfreq`, `rename`, `montage`, ...
        Epochs keep the times, rate and baseline that they have unless told otherwise.

    Raises
    ------
    PhospheneError
        An event without a picture, a missing picture, an unknown column, times outside the recording, ...: one line.

    Notes
    -----
    Bad stretches are annotations and rows of the event table whose name begins with "bad" or "edge", in any case, and
    cuts: "boundary", "New Segment". A name of one of the pictures ("badge") is a picture and no stretch.
    """
    import mne

    if preprocessing is not None and steps:
        raise PhospheneError(f"give preprocessing or {', '.join(steps)}, not both")
    parts, tables = _recordings(data, events)
    epoched = isinstance(parts[0], mne.BaseEpochs)
    given = checked(Preprocessing, steps, "from_mne")
    taken = preprocessing or (Preprocessing.as_stored(**given) if epoched else Preprocessing(**given))
    where: object = "the events"
    if events is None:
        where = "the annotations" if isinstance(parts[0], mne.io.BaseRaw) else "the epochs' metadata"
    elif len(tables) == 1 and not isinstance(events, np.ndarray):
        where = events if isinstance(events, str | Path) else "the event table"
    who = {"subject": subject, "session": session}
    for key, label in who.items():
        if not isinstance(label, str) and len(label) != len(parts):
            raise PhospheneError(f"{len(parts)} recordings and {len(label)} {key}s: give one for all, or one for each")
    if bads not in ("keep", "interpolate"):
        raise PhospheneError(f"bads is '{bads}': give keep or interpolate")
    shown, notes = [], []
    for i, (part, table) in enumerate(zip(parts, tables, strict=True)):
        if epoched:
            rows, said = of_epochs(part, event)
            notes += [f"run {i + 1}: {note}" for note in said]
        else:
            rows = annotated(part) if table is None else listed(part, table, event)
        rows = rows.assign(**{_PART: i, _PLACE: range(len(rows))})
        if len(parts) > 1:
            rows = rows.set_axis([f"{place} of run {i + 1}" for place in places(rows.index)])
        own_labels = {key: label if isinstance(label, str) else label[i] for key, label in who.items()}
        shown.append(completed(rows, **own_labels, run=f"{i + 1:02d}", block="01"))
    shown = [rows for rows in shown if len(rows)]
    if not shown and where == "the annotations":
        raise PhospheneError("the recording has no annotations: give events, such as mne.find_events(raw)")
    if not shown:
        raise PhospheneError("there are no events: check the event table and how it was made")
    rows, shows = pd.concat(shown), partial(shows_picture, stimuli=stimuli, prefix="")
    stretches = pd.DataFrame(columns=[_PART])
    if not epoched:
        rows, stretches, said = separate_stretches(rows, partial(shows, image=image, concept=concept), where)
        notes += said
        if not len(rows):
            raise PhospheneError(f"{where} name bad stretches alone: no event shows a picture")
    known = set(rows["stimulus"])
    rows, pictures = _told(rows, stimuli, keep, image, concept, split, where)
    notes += paths_note(rows, pictures, image)
    known |= file_names(pictures)
    pieces: list[Recording | Epoched] = []
    for i, (part, table) in enumerate(zip(parts, tables, strict=True)):
        name, held = f"run {i + 1}", rows[rows[_PART] == i]
        if not len(held):
            notes.append(f"{name} holds no event{' that keep lets through' if keep else ''}: left out")
        elif epoched:
            pieces.append(_cut(part, name, held, pictures, bads, taken))
        else:
            texts = [str(text) for text in part.annotations.description]
            named = pd.DataFrame({"stimulus": texts})
            alike = known | (set(named["stimulus"][shows(named)]) if stimuli is not None and texts else set())
            bad = annotated_stretches(part.annotations, part.first_time, alike)
            if table is not None:
                bad = pd.concat([bad, stretches[stretches[_PART] == i]])
            pieces.append(_recording(part, name, held, bad, bads))
    if not any(len(piece.table) for piece in pieces):
        raise PhospheneError(f"{pieces[0].name}: the recording holds no event: {'; '.join(pieces[0].notes)}")
    pieces[0].notes[:0] = notes
    return Own(pieces, pictures, split).load(taken.of_typed() if epoched else taken)


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
    return Own([held], pictures, split).load(preprocessing or Preprocessing.as_stored(montage=montage))


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
            "an mne.Evoked is an average, but single trials are decoded: give the Epochs that it was made "
            "of; or, to decode averages, from_arrays(np.stack([e.data for e in evokeds]), ...) with a row for each"
        )
    for part, table in zip(parts, tables, strict=True):
        if not isinstance(part, mne.io.BaseRaw | mne.BaseEpochs):
            raise PhospheneError(f"from_mne takes mne Raw or Epochs objects, not {type(part).__name__}")
        if isinstance(part, mne.BaseEpochs) != isinstance(parts[0], mne.BaseEpochs):
            raise PhospheneError("recordings and epochs are mixed: call from_mne separately for each")
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


def _cut(
    part: "mne.BaseEpochs", name: str, rows: pd.DataFrame, pictures: pd.DataFrame, bads: str, steps: Preprocessing
) -> Epoched:
    """Epochs of MNE as they are, channels marked bad interpolated where asked."""
    import mne

    table = rows.drop(columns=[_PART, _PLACE]).reset_index(drop=True)
    part = part[rows[_PLACE].to_numpy()]
    try:
        notes = steps.typed_epochs(part)
        check_eeg(part.get_channel_types())
        if bads == "interpolate":
            steps.interpolate(part)
    except PhospheneError as error:
        raise PhospheneError(f"{name}: {error}") from None
    if lost := Counter(str(log[0]) for log in part.drop_log if log and "IGNORED" not in log):
        reasons = ", ".join(f"{reason} {count}" for reason, count in lost.most_common(5))
        notes.append(f"{name}: epochs that MNE had dropped: {sum(lost.values())} ({reasons})")
    if over := Counter(spanned(part, set(table["stimulus"]) | set(part.event_id))):
        named = ", ".join(f"{count} of '{text}'" for text, count in over.most_common(5))
        notes.append(f"{name}: epochs that hold part of a bad stretch, kept as MNE gave them: {named}")
    if part.info["bads"]:
        notes.append(bads_note(name, part.info["bads"], bads, "bads"))
    with mne.use_log_level("error"):
        held = Trials.from_mne(part, table, pictures)
    check_size(held.eeg, "V", name, "scale it to volts from")
    return Epoched(name, held.eeg, held.signal, held.table, notes=notes, bads=tuple(part.info["bads"]))


def _recording(
    part: "mne.io.BaseRaw", name: str, rows: pd.DataFrame, stretches: pd.DataFrame, bads: Literal["keep", "interpolate"]
) -> Recording:
    """A recording that is annotated with its bad stretches alone."""
    raw, table = part.copy(), rows.drop(columns=[_PART, _PLACE]).reset_index(drop=True)
    table, notes = within(table, raw.times[-1], raw.info["sfreq"], name)
    mark(raw, stretches)
    if raw.info["bads"]:
        notes.append(bads_note(name, raw.info["bads"], bads, "bads"))
    return Recording(name, raw, table, notes, bads)
