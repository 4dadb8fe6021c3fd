"""`Dataset`: the facts of one source and how to read it into `Trials`. Knows nothing of models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from phosphene.errors import PhospheneError, nearest
from phosphene.preprocessing import Preprocessing
from phosphene.trials import Trials, concatenate

if TYPE_CHECKING:
    import mne


@dataclass
class Recording:
    """One continuous recording.

    Parameters
    ----------
    name : what progress and errors call it, such as "sub-01/ses-01/run-02".
    raw : the recording, volts; may be lazily loaded.
    table : one row for each event: `onset` (s from the first sample), `stimulus`, and the trial columns.
    notes : what the user must know (repairs, dropped events).
    """

    name: str
    raw: "mne.io.BaseRaw"
    table: pd.DataFrame
    notes: list[str] = field(default_factory=list)


class Dataset(ABC):
    """Base of every source. A subclass states its facts as class attributes and yields its recordings."""

    licence: ClassVar[str]
    citation: ClassVar[str]
    design: ClassVar[str]  # how stimuli follow each other: "rapid", "block", ...
    caveats: ClassVar[tuple[str, ...]] = ()
    simulated: ClassVar[bool] = False

    def __init__(self, root: str | Path, subject: str | Sequence[str] = "all"):
        self.root = Path(root).expanduser().resolve()
        if not self.root.is_dir():
            raise PhospheneError(f"dataset folder {self.root} does not exist: set dataset.root to where the data lie")
        self.subject = subject

    @abstractmethod
    def subjects(self) -> list[str]:
        """Every subject present under the root."""

    @abstractmethod
    def stimuli(self) -> pd.DataFrame:
        """One row for each stimulus, indexed by `stimulus`; `image` is an existing path."""

    @abstractmethod
    def recordings(self, subjects: Sequence[str]) -> Iterator[Recording]:
        """The continuous recordings of these subjects, in time order."""

    def chosen(self) -> list[str]:
        """The subjects asked for, checked against those present."""
        present = self.subjects()
        if not present:
            raise PhospheneError(f"no recording lies under {self.root}: set dataset.root to the dataset's top folder")
        wanted = [self.subject] if isinstance(self.subject, str) else list(self.subject)
        if wanted == ["all"]:
            return present
        for name in wanted:
            if name not in present:
                raise PhospheneError(f"subject '{name}' is not under {self.root}: {nearest(name, present)}")
        return wanted

    def n_recordings(self) -> int:
        """How many recordings will be read at most, for progress; subjects if nothing better is known."""
        return len(self.chosen())

    def load(self, preprocessing: Preprocessing, progress: Callable[[str], None] = lambda name: None) -> Trials:
        """Preprocess every recording and join the trials; ``progress`` hears the name of each one done."""
        stimuli = self.stimuli()
        for stimulus, image in stimuli["image"].items() if "image" in stimuli else ():
            if not Path(image).is_file():
                raise PhospheneError(
                    f"picture {image} of stimulus '{stimulus}' is missing: restore it or drop its trials"
                )
        parts, dropped, events = [], {}, 0
        for recording in self.recordings(self.chosen()):
            try:
                parts.append(preprocessing(recording.raw, recording.table, stimuli, recording.notes))
            except PhospheneError as error:
                raise PhospheneError(f"{recording.name}: {error}") from None
            events += len(recording.table)
            if len(parts[-1]) < len(recording.table):
                dropped[recording.name] = len(recording.table) - len(parts[-1])
            progress(recording.name)
        trials = concatenate(parts)
        trials.notes[:0] = self.caveats
        if dropped:
            where = ", ".join(f"{name} {count}" for name, count in dropped.items())
            reason = "above preprocessing.reject, in a marked bad stretch, or cut off by the recording's end"
            trials.notes.append(f"{sum(dropped.values())} of {events} epochs dropped ({reason}): {where}")
        return trials
