"""`Dataset`: the facts of one source and how to read it into `Trials`. Knows nothing of models."""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from phosphene.datasets.shares import unmet
from phosphene.datasets.stimulus_tables import PICTURES
from phosphene.datasets.stored import check_size
from phosphene.eeg.lazy import EEG, read, spooled, stays
from phosphene.eeg.preprocessing import NothingLeft, Preprocessing, count_reasons
from phosphene.eeg.scale import check_levels, level
from phosphene.eeg.trials import Signal, Trials, concatenate
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import checked
from phosphene.utils.paths import exists, regular, short
from phosphene.utils.pictures import picture_notes
from phosphene.utils.tables import doubts

if TYPE_CHECKING:
    import mne

_END = 1 << 16  # bytes of a file that are compared, at its begin and at its end
_HELD = 1 << 28  # bytes of epochs kept in memory; further ones go to a temporary file


@dataclass
class Recording:
    """One continuous recording.

    Parameters
    ----------
    name : what progress and errors call it, such as "sub-01/ses-01/run-02".
    raw : the recording, volts; may be lazily loaded.
    table : one row for each event: `onset` (s from the first sample), `stimulus`, and the trial columns.
    notes : what the user must know (repairs, dropped events).
    bads : "keep" channels marked bad, or "interpolate" them from the others.
    """

    name: str
    raw: "mne.io.BaseRaw"
    table: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    bads: Literal["keep", "interpolate"] = "keep"


@dataclass
class Epoched:
    """Trials that were cut before they were stored.

    Parameters
    ----------
    name : what progress and errors call them, such as "sub-01/training".
    eeg : (n_trials, n_chans, n_times) of any real dtype; may be on disk.
    signal : channels, rate and time axis of ``eeg``.
    table : one row for each trial: `stimulus` and the trial columns.
    scale : factor to volts.
    unit : "V", or "whitened" or "standardised" where volts are lost.
    notes : what the user must know.
    bads : channels marked bad.
    """

    name: str
    eeg: EEG
    signal: Signal
    table: pd.DataFrame
    scale: float = 1.0
    unit: str = "V"
    notes: list[str] = field(default_factory=list)
    bads: Sequence[str] = ()


def bads_note(name: str, bads: Sequence[str], done: str, key: str) -> str:
    """What becomes of channels marked bad; ``key`` is the setting that decides it."""
    what = "interpolated" if done == "interpolate" else f"kept ({key} can interpolate them)"
    return f"{name}: channels marked bad: {', '.join(bads)}; {what}"


class Dataset(ABC):
    """Base of every source. A subclass states its facts as class attributes and yields its recordings."""

    licence: ClassVar[str]
    citation: ClassVar[str]
    design: ClassVar[str]  # how stimuli follow each other: "rapid", "block", ...
    caveats: ClassVar[tuple[str, ...]] = ()
    simulated: ClassVar[bool] = False
    epoched: ClassVar[bool] = False  # whether it yields epochs, which no filter can be applied to

    def __init__(self, root: str | Path, subject: str | Sequence[str] = "all"):
        try:
            self.root = Path(root).expanduser().resolve()
        except (OSError, ValueError, RuntimeError) as error:  # no name of a folder, or links in a circle
            raise PhospheneError(f"dataset folder {short(root)} cannot be one ({error}): set dataset.root") from None
        if not exists(self.root) or not self.root.is_dir():
            raise PhospheneError(
                f"dataset folder {short(self.root)} does not exist: set dataset.root to the folder of the data"
            )
        self.subject = subject

    @abstractmethod
    def subjects(self) -> list[str]:
        """Every subject present under the root."""

    @abstractmethod
    def stimuli(self) -> pd.DataFrame:
        """One row for each stimulus, indexed by `stimulus`; `image` is an existing path."""

    @abstractmethod
    def recordings(self, subjects: Sequence[str]) -> "Iterator[Recording | Epoched]":
        """What is stored of these subjects, in time order: continuous recordings, or epochs."""

    def trial_table(self) -> pd.DataFrame | None:
        """The trials of the chosen subjects, where tables beside the EEG tell them; none is dropped yet.

        Columns as of `Trials.table`; None where only the EEG itself tells.
        """
        return None

    def chosen(self) -> list[str]:
        """The subjects asked for, checked against those present."""
        present = self.subjects()
        if not present:
            raise PhospheneError(f"no recording found under {self.root}: set dataset.root to the dataset's top folder")
        wanted = [self.subject] if isinstance(self.subject, str) else list(self.subject)
        if wanted == ["all"]:
            return present
        if not wanted:
            raise PhospheneError("dataset.subject names no subject: give one, several or all")
        for name in wanted:
            if name not in present:
                raise PhospheneError(f"subject '{name}' was not found under {self.root}: {nearest(name, present)}")
        return wanted

    def fingerprint(self) -> str:
        """Tells whether the files under the root are those of another time: their names, sizes, first and last bytes.

        Pictures count by name and size, and what lies in folders or files whose name begins with a dot does not count.
        """
        seen = hashlib.sha256()
        for path in sorted(self.root.rglob("*")):
            inside = path.relative_to(self.root)
            if any(part.startswith(".") for part in inside.parts) or not path.is_file():
                continue
            size = path.stat().st_size
            seen.update(f"{inside.as_posix()}\0{size}\0".encode())
            if path.suffix.lower() not in PICTURES:
                with path.open("rb") as file:
                    seen.update(file.read(_END))
                    file.seek(max(0, size - _END))
                    seen.update(file.read(_END))
        return seen.hexdigest()

    def n_recordings(self) -> int:
        """How many recordings will be read at most, for progress; subjects if nothing better is known."""
        return len(self.chosen())

    def steps(self, given: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing of these arguments; what is not given of epochs is left as they are stored.

        Raises
        ------
        PhospheneError
            For an unknown argument, or a filter of stored epochs, which are too short for it.
        """
        given = checked(Preprocessing, dict(given), "preprocessing")
        return Preprocessing.as_stored(**given) if self.epoched else Preprocessing(**given)

    def load(self, preprocessing: Preprocessing, progress: Callable[[str], None] = lambda name: None) -> Trials:
        """Preprocess every recording and join the trials; ``progress`` hears the name of each one done.

        Epochs that are dropped are counted in a note, by reason and recording. A recording of which nothing is left is
        left out and noted, where others remain.

        Stored epochs stay where they are. Of recordings, a quarter of a gigabyte of epochs is held in memory and the
        rest in a temporary file (in `TMPDIR`), so that memory is bounded by the longest recording.
        """
        stimuli = self.stimuli()
        images = stimuli["image"] if "image" in stimuli else pd.Series(dtype=str)
        for stimulus, image in images.items():
            fix = "write its path with /, not with a backslash" if "\\" in str(image) else "restore it"
            regular(image, f"of stimulus '{stimulus}' is missing: {fix} or drop its trials", "picture")
        of_pictures = picture_notes(images)
        parts, dropped, events, held = [], {}, 0, 0
        levels: dict[str, list[tuple[str, float]]] = {}
        reasons: Counter[str] = Counter()
        empty: dict[str, str] = {}
        notes: list[str] = []  # of recordings that are left out
        for recording in self.recordings(self.chosen()):
            try:
                if isinstance(recording, Epoched):
                    parts.append(
                        preprocessing.epoched(
                            recording.eeg,
                            recording.signal,
                            recording.table,
                            stimuli,
                            recording.notes,
                            scale=recording.scale,
                            unit=recording.unit,
                            bads=recording.bads,
                            dropped=reasons,
                        )
                    )
                else:
                    parts.append(
                        preprocessing(
                            recording.raw,
                            recording.table,
                            stimuli,
                            recording.notes,
                            bads=recording.bads,
                            dropped=reasons,
                        )
                    )
                    check_size(parts[-1].eeg, "V", "the recording", "scale it to volts from")
            except NothingLeft as error:
                why = [] if len(recording.table) else [note for note in recording.notes if "left out" in note]
                empty[recording.name] = "; ".join([str(error), *why])
                notes += recording.notes
                progress(recording.name)
                continue
            except PhospheneError as error:
                raise PhospheneError(f"{recording.name}: {error}") from None
            alike = levels.setdefault(parts[-1].signal.unit, [])
            alike.append((recording.name, level(parts[-1])))
            check_levels(alike, parts[-1].signal.unit)
            if isinstance(parts[-1].eeg, np.ndarray) and not stays(parts[-1].eeg):
                held += parts[-1].eeg.nbytes
                parts[-1].eeg = spooled(parts[-1].eeg) if held > _HELD else parts[-1].eeg
            events += len(recording.table)
            if len(parts[-1]) < len(recording.table):
                dropped[recording.name] = len(recording.table) - len(parts[-1])
            progress(recording.name)
        if empty and not parts:
            name = next(iter(empty))
            raise PhospheneError(f"{name}: {empty[name]}")
        trials = concatenate(parts)
        trials.eeg = read(trials.eeg)
        trials.notes[:0] = [*self.caveats, *(note for note in notes if note not in trials.notes)]
        trials.notes += [note for note in of_pictures if note not in trials.notes]
        trials.notes += [f"{name} left out: {why}" for name, why in empty.items()]
        trials.notes += doubts(trials.table)
        if dropped:
            where = ", ".join(f"{name} {count}" for name, count in dropped.items())
            counted = count_reasons(reasons)
            trials.notes.append(f"{sum(dropped.values())} of {events} epochs dropped ({counted}): {where}")
        trials.notes += unmet(trials.table, getattr(self, "split", None))
        return trials
