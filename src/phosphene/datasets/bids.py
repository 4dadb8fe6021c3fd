"""Any EEG study in BIDS (Pernet et al. 2019, doi 10.1038/s41597-019-0104-8), read with mne-bids."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from phosphene.datasets.base import Dataset, Recording
from phosphene.datasets.events import (
    STRETCH,
    Keep,
    check_column,
    check_onsets,
    kept,
    numbered,
    numbers,
    read_cells,
)
from phosphene.datasets.shown import Split, split_column, stimulus_table
from phosphene.datasets.synthetic import Synthetic
from phosphene.errors import MissingExtra, PhospheneError, nearest
from phosphene.files import read_json
from phosphene.registry import register
from phosphene.tables import labels, places

if TYPE_CHECKING:
    import mne
    from mne_bids import BIDSPath

EXTENSIONS = (".vhdr", ".edf", ".bdf", ".set")  # the formats that BIDS allows for EEG


@register("dataset", "bids")
class Bids(Dataset):
    """An EEG study in BIDS: BrainVision, EDF, BDF or EEGLAB recordings, `events.tsv`, and the pictures shown.

    Positions come from `electrodes.tsv`, channel types and bad channels from `channels.tsv`; channels that are not EEG
    are ignored, bad ones are noted. Rows of `events.tsv` whose event column is `n/a` are left out, and noted; every
    other row that ``keep`` lets through needs a picture.

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
    bads : "keep" channels marked bad, or "interpolate" them from the others.
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
        design: Literal["rapid", "block", "oddball"] = "rapid",
    ):
        super().__init__(root, subject)
        self.session, self.run, self.task, self.event, self.bads = session, run, task, event, bads
        self.keep: Keep | None = keep
        self.pictures, self.image, self.concept = stimuli, image, concept
        self.split: Split | None = split
        self._facts(design)

    def _facts(self, design: str) -> None:
        """What the study says of itself stands in front of the class's facts."""
        own: dict[str, Any] = {"design": design}
        path = self.root / "dataset_description.json"
        if path.is_file():
            try:
                facts = json.loads(path.read_text(encoding="utf-8-sig"))
            except ValueError as error:
                raise PhospheneError(f"{path} is not readable JSON ({error}): write it again") from None
            authors = ", ".join(facts.get("Authors") or ["unknown authors"])
            doi = f" {facts['DatasetDOI']}" if facts.get("DatasetDOI") else ""
            own["citation"] = f"{authors}. {facts.get('Name') or self.root.name}.{doi}"
            own["licence"] = facts.get("License") or "not stated"
        if (self.root / "dataset.json").is_file():  # written by `phosphene simulate`
            own["simulated"] = bool(read_json(self.root / "dataset.json").get("simulated"))
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
                table = read_cells(file, empty=True)
                check_column(table, "onset", file, "its header right")
                check_column(table, self.event, file, "dataset.event")
                table = table.set_axis([f"{place} of {Path(file).name}" for place in places(table.index)])
                who = {"subject": path.subject, "session": path.session or "01", "run": path.run or "01"}
                tables.append(table.assign(recording=_name(path), **who))
        events = pd.concat(tables).fillna("")
        events = kept(events, self.keep, "events.tsv")
        events = events[~events[self.event].str.match(STRETCH)]
        nothing = labels(events[self.event]) == ""
        if nothing.all():
            raise PhospheneError(f"no event names a {self.event}: set dataset.event to another column of events.tsv")
        self._left_out = int(nothing.sum())
        events = events[~nothing]
        events["stimulus"] = labels(events[self.event])
        events["onset"] = numbers(events, "onset", "events.tsv")
        events["repeat"] = numbered(events, "events.tsv")
        return events

    def stimuli(self) -> pd.DataFrame:
        return self._stimuli.copy()

    @cached_property
    def _stimuli(self) -> pd.DataFrame:
        image = self.image
        if self.pictures is None and image is None and "stim_file" in self.events:
            image = "stim_file"
        return stimulus_table(
            self.events, stimuli=self.pictures, image=image, concept=self.concept, where="events.tsv",
            folders=(self.root / "stimuli", self.root) if self.pictures is None else (self.root,),
        )  # fmt: skip

    def recordings(self, subjects: Sequence[str]) -> Iterator[Recording]:
        events, stimuli = self.events, self._stimuli
        events["concept"] = events["stimulus"].map(stimuli["concept"])
        events["split"] = split_column(events, stimuli, self.split, "events.tsv")
        notes = [f"{self._left_out} events that name no {self.event} left out"] if self._left_out else []
        for path in self._paths:
            name = _name(path)
            table = events[events["recording"] == name].drop(columns="recording").reset_index(drop=True)
            if path.subject not in subjects:
                continue
            if len(table) == 0:
                notes.append(f"{name} shows nothing that dataset.keep lets through: left out")
                continue
            raw = self._read(path)
            check_onsets(table["onset"], raw.times[-1], name)
            # MNE leaves out epochs in a stretch named "bad...", and a picture may be called "badge"
            shown = [i for i, text in enumerate(raw.annotations.description) if not STRETCH.match(text)]
            raw.annotations.delete(shown)
            yield Recording(name, raw, table, [*notes, *self._notes(raw, name)])
            notes = []

    def _read(self, path: "BIDSPath") -> "mne.io.BaseRaw":
        import mne_bids

        try:
            raw = mne_bids.read_raw_bids(path, extra_params={"preload": True}, verbose="error")
        except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError) as error:
            line = " ".join(str(error).split())[:300] or type(error).__name__
            raise PhospheneError(f"{path.fpath} cannot be read ({line}): restore it, or check its sidecars") from None
        if self.bads == "interpolate" and raw.info["bads"]:
            try:
                raw.interpolate_bads(reset_bads=False, verbose="error")
            except (ValueError, RuntimeError) as error:
                line = " ".join(str(error).split())
                raise PhospheneError(f"{_name(path)}: bad channels stay ({line}): set dataset.bads to keep") from None
        return raw

    def _notes(self, raw: "mne.io.BaseRaw", name: str) -> list[str]:
        """What the sidecars say that a user should know."""
        notes = []
        if raw.info["bads"]:
            done = "interpolated" if self.bads == "interpolate" else "kept (dataset.bads can interpolate them)"
            notes.append(f"{name}: channels marked bad in channels.tsv: {', '.join(raw.info['bads'])}; {done}")
        if raw.info["line_freq"]:
            notes.append(f"power line at {raw.info['line_freq']:g} Hz, says the study (preprocessing.notch removes it)")
        if raw.get_montage() is None:
            notes.append("no electrode positions in the study (preprocessing.montage gives standard ones)")
        return notes


def _name(path: "BIDSPath") -> str:
    return str(path.fpath.stem).removesuffix("_eeg")
