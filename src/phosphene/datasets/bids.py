"""Any EEG study in BIDS (Pernet et al. 2019, doi 10.1038/s41597-019-0104-8), read with mne-bids."""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from phosphene.datasets.base import Dataset, Recording, bads_note
from phosphene.datasets.bids_files import check_cells, description, read_recording
from phosphene.datasets.events import Keep, kept, numbered
from phosphene.datasets.onsets import within
from phosphene.datasets.stimulus_tables import (
    Split,
    file_names,
    paths_note,
    picture_folders,
    shows_picture,
    split_column,
    stimulus_table,
)
from phosphene.datasets.stretches import annotated_stretches, mark, separate_stretches
from phosphene.datasets.synthetic import Synthetic
from phosphene.errors import MissingExtra, PhospheneError, nearest
from phosphene.registry import register
from phosphene.utils.files import read_json
from phosphene.utils.tables import check_column, labels, numbers, parse, places, read_text

if TYPE_CHECKING:
    import mne
    from mne_bids import BIDSPath

EXTENSIONS = (".vhdr", ".edf", ".bdf", ".set")  # the formats that BIDS allows for EEG


@register("dataset", "bids")
class Bids(Dataset):
    """An EEG study in BIDS: BrainVision, EDF, BDF or EEGLAB recordings, `events.tsv`, and the pictures shown.

    Positions come from `electrodes.tsv`, channel types and bad channels from `channels.tsv`; channels that are not EEG
    are ignored, bad ones are noted. Rows of `events.tsv` whose onset or event column is `n/a` are left out, and noted;
    every other row that ``keep`` lets through needs a picture.

    Epochs over a bad stretch are dropped and counted: over rows of `events.tsv`, or markers in the recording, whose
    name begins with "bad" or "edge" in any case, and over cuts ("boundary", "New Segment"). The name of a picture
    ("badge") is no stretch.

    Parameters
    ----------
    root : the dataset's top folder.
    subject, session, run : one label, several, or "all".
    task : the task label; needed if the study has several.
    event : the column of `events.tsv` that names what was shown.
    keep : column -> value or values of the rows to keep; ``*`` stands for anything.
    stimuli : table (csv, tsv) with columns `stimulus` (as in the event column), `image`, `concept` and, if wanted,
        `split` and captions; or a folder of pictures whose names are the event names. Relative to the root.
    image : without ``stimuli``: column of `events.tsv` with the picture's path below `stimuli/` (or the root), or a
        pattern of such a path with columns in braces. None: `stim_file` if there is such a column.
    concept : column of the events or of ``stimuli``. None: `concept`; else each stimulus is its own concept.
    split : column that says train or test; or a rule: ``{column: values of the test part}`` (also `session` and
        `run`), or ``{concept: 0.2}``, a share. None: the column `split`; else all is train.
    bads : "keep" channels marked bad, or "interpolate" them from the others, once `preprocessing.montage` has given
        positions to a recording without.
    renamed : read BrainVision recordings whose header still names its files' old names; nothing on disk is changed.
    allow_outside : folder or folders elsewhere in which the tables may name pictures. None: no table may name a picture
        outside of the root, by ``..``, an absolute path or a link; ``stimuli`` and ``image`` themselves may.
    design : how stimuli follow each other: "rapid", "block" or "oddball".
    """

    licence = "as its dataset_description.json states"
    citation = "as its dataset_description.json states"
    design = "rapid"

    def __init__(
        self,
        root: str | Path,
        subject: str | Sequence[str] = "all",
        session: str | Sequence[str] = "all",
        run: str | Sequence[str] = "all",
        task: str | None = None,
        event: str = "trial_type",
        keep: dict[str, str | list[str]] | None = None,
        stimuli: str | None = None,
        image: str | None = None,
        concept: str | None = None,
        split: str | dict[str, float | str | list[str]] | None = None,
        bads: Literal["keep", "interpolate"] = "keep",
        renamed: bool = False,
        allow_outside: str | list[str] | None = None,
        design: Literal["rapid", "block", "oddball"] = "rapid",
    ):
        super().__init__(root, subject)
        self.session, self.run, self.task, self.event, self.bads = session, run, task, event, bads
        self.renamed = renamed
        self.keep: Keep | None = keep
        self.pictures, self.image, self.concept = stimuli, image, concept
        self.split: Split | None = split
        self.within = picture_folders(self.root, allow_outside)
        self._facts(design)

    @classmethod
    def needs(cls, **arguments: Any) -> dict[str, str]:
        """Optional packages, each with the extra that brings it."""
        return {"mne_bids": "bids"}

    def _facts(self, design: str) -> None:
        """What the study says of itself stands in front of the class's facts."""
        own: dict[str, Any] = {"design": design, **description(self.root)}
        if (self.root / "dataset.json").is_file():  # written by `phosphene simulate`
            facts = read_json(self.root / "dataset.json")
            own["simulated"] = isinstance(facts, dict) and bool(facts.get("simulated"))
            own["caveats"] = Synthetic.caveats if own["simulated"] else ()
        vars(self).update(own)

    @cached_property
    def _paths(self) -> "list[BIDSPath]":
        """Every EEG recording of the task under the root, in the order of its labels."""
        try:
            import mne_bids
        except ImportError:
            raise MissingExtra("mne-bids", "bids") from None
        found = mne_bids.find_matching_paths(
            self.root, datatypes="eeg", suffixes="eeg", extensions=list(EXTENSIONS), ignore_nosub=True
        )
        tasks = sorted({p.task for p in found})
        if self.task is not None and found and self.task not in tasks:
            raise PhospheneError(f"no recording of task '{self.task}': {nearest(self.task, tasks)} (set dataset.task)")
        if self.task is None and len(tasks) > 1:
            raise PhospheneError(f"the study has the tasks {', '.join(tasks)}: set dataset.task to one")
        found = [p for p in found if self.task in (None, p.task)]
        for what in ("session", "run"):
            asked = getattr(self, what)
            wanted = [asked] if isinstance(asked, str) else list(asked)
            present = sorted({getattr(p, what) for p in found if getattr(p, what) is not None})
            if wanted != ["all"] and found:
                for name in wanted:
                    if name not in present:
                        raise PhospheneError(f"no {what} '{name}' of the study: {nearest(name, present)}")
                found = [p for p in found if getattr(p, what) in wanted]
        return sorted(found, key=lambda p: (p.subject, p.session or "", p.run or "", p.fpath.name))

    def subjects(self) -> list[str]:
        return sorted({p.subject for p in self._paths})

    def n_recordings(self) -> int:
        chosen = self.chosen()
        return sum(p.subject in chosen for p in self._paths)

    @cached_property
    def events(self) -> pd.DataFrame:
        """The rows of every `events.tsv` of the chosen subjects that show a picture; cells are text."""
        chosen, tables = self.chosen(), []
        for path in self._paths:
            if path.subject in chosen:
                file = path.copy().update(suffix="events", extension=".tsv").fpath
                if not file.is_file():  # it may stand higher up, for several recordings
                    file = path.find_matching_sidecar(suffix="events", extension=".tsv", on_error="ignore")
                if file is None:
                    raise PhospheneError(f"{path.fpath.name} has no events.tsv: restore it")
                text = read_text(file)
                table = parse(text, file, empty=True)
                check_column(table, "onset", file, "its header right")
                check_column(table, self.event, file, "dataset.event")
                check_cells(table, text, Path(file))
                table = table.set_axis([f"{place} of {Path(file).name}" for place in places(table.index)])
                table["onset"] = numbers(table, "onset", "events.tsv", gaps=True)
                who = {"subject": path.subject, "session": path.session or "01", "run": path.run or "01"}
                tables.append(table.assign(recording=_name(path), stimulus=labels(table[self.event]), **who))
        if not any(len(table) for table in tables):
            raise PhospheneError("events.tsv: no file contains any events: restore their rows")
        events = pd.concat([table for table in tables if len(table)])
        events = events.assign(**events.drop(columns="onset").fillna(""))
        shows = partial(
            shows_picture, stimuli=self.pictures, image=self._image(events), concept=self.concept, folders=self._folders
        )
        events, self._stretches, self._said = separate_stretches(events, shows, "events.tsv")
        said = [column for column in dict.fromkeys((self.event, "trial_type")) if column in events]
        self._names = {str(name) for column in said for name in events[column]}
        events = kept(events, self.keep, "events.tsv")
        nothing = events["stimulus"] == ""
        if nothing.all():
            raise PhospheneError(f"no event has a {self.event}: set dataset.event to another column of events.tsv")
        if count := int(nothing.sum()):
            self._said.append(f"{count} event{'s' * (count != 1)} that name no {self.event} left out")
        events = events[~nothing]
        events["repeat"] = numbered(events, "events.tsv")
        return events

    @property
    def _folders(self) -> tuple[Path, ...]:
        """Where paths of pictures start."""
        return (self.root / "stimuli", self.root) if self.pictures is None else (self.root,)

    def _image(self, events: pd.DataFrame) -> str | None:
        named = self.pictures is None and self.image is None and "stim_file" in events
        return "stim_file" if named else self.image

    def stimuli(self) -> pd.DataFrame:
        return self._stimuli.copy()

    @cached_property
    def _stimuli(self) -> pd.DataFrame:
        return stimulus_table(
            self.events,
            stimuli=self.pictures,
            image=self._image(self.events),
            concept=self.concept,
            where="events.tsv",
            folders=self._folders,
            within=self.within,
        )

    def trial_table(self) -> pd.DataFrame:
        stimuli = self._stimuli
        return self.events.assign(
            concept=self.events["stimulus"].map(stimuli["concept"]),
            split=split_column(self.events, stimuli, self.split, "events.tsv"),
        )

    def recordings(self, subjects: Sequence[str]) -> Iterator[Recording]:
        events, stimuli = self.trial_table(), self._stimuli
        notes = [*self._said, *paths_note(events, stimuli, self._image(events))]
        tables = {
            path: events[events["recording"] == _name(path)].drop(columns="recording").reset_index(drop=True)
            for path in self._paths
            if path.subject in subjects
        }
        what = " that dataset.keep lets through" if self.keep else ""
        notes += [f"{_name(path)} shows nothing{what}: left out" for path, table in tables.items() if not len(table)]
        for path, table in tables.items():
            name = _name(path)
            if len(table) == 0:
                continue
            raw, marks, repairs = read_recording(path, self.renamed)
            table, left_out = within(table, raw.times[-1], raw.info["sfreq"], name)
            told = self._stretches[self._stretches["recording"] == name]
            mark(raw, pd.concat([told, annotated_stretches(marks, 0.0, self._names | file_names(stimuli))]))
            yield Recording(name, raw, table, [*notes, *repairs, *left_out, *self._notes(raw, name)], self.bads)
            notes = []

    def _notes(self, raw: "mne.io.BaseRaw", name: str) -> list[str]:
        """What the sidecars say that a user should know."""
        notes = []
        if raw.info["bads"]:
            notes.append(bads_note(name, raw.info["bads"], self.bads, "dataset.bads"))
        if raw.info["line_freq"]:
            notes.append(f"power line at {raw.info['line_freq']:g} Hz, says the study (preprocessing.notch removes it)")
        kinds = zip(raw.info["chs"], raw.get_channel_types(), strict=True)
        if not np.isfinite([channel["loc"][:3] for channel, kind in kinds if kind == "eeg"]).any():
            notes.append("no electrode positions in the study (preprocessing.montage gives standard ones)")
        return notes


def _name(path: "BIDSPath") -> str:
    return str(path.fpath.stem).removesuffix("_eeg")
