"""Houses and faces (N170), dogs and cats (P300), recorded with a Muse headband: real EEG of four dry electrodes.

Every known fault of these files is met by a rule that looks at the content, never at a file's name, and is told to the
user: as a warning in the log, in `Muse.report`, and in the `notes` of the trials.

Design rationale
----------------
Time axis. Rows arrive in packets of twelve whose clock stamps jitter and may run backwards, but the samples are in
order: in all eleven such files, sorting rows by stamp makes the signal rougher than leaving them. So time is the row
number at 256 Hz; the stamps only tell the rate and show gaps.

Marker lag. No photodiode was recorded. The face-minus-house difference at TP9 and TP10 peaks about 210 ms after the
marker row in subject 1, 240 ms in subject 11 and 300 ms or later in subjects 2 and 3, where the literature has 170 ms:
the EEG comes late against the markers, by an amount that differs between people. One constant would feign precision, so
``marker_lag`` is 0 by default: times count from the marker row, and epochs should be long enough for the response.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from phosphene.datasets.base import Dataset, Recording
from phosphene.datasets.muse_csv import clock, electrodes, read_csv
from phosphene.eeg.montages import standard_montage
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import register
from phosphene.settings import Positive, Seconds, Weight, ZeroOrMore
from phosphene.utils.files import digest

log = logging.getLogger(__name__)

#: experiment -> the concepts of marker codes 1 and 2, and where their pictures lie
PICTURES = {
    "N170": {"house": "stimuli/face_house/houses/*.jpg", "face": "stimuli/face_house/faces/*.jpg"},
    "P300": {"dog": "stimuli/cats_dogs/nontarget-*.jpg", "cat": "stimuli/cats_dogs/target-*.jpg"},
}


@dataclass(frozen=True)
class _Run:
    path: Path
    subject: str
    session: str
    run: str

    def __str__(self) -> str:
        return f"sub-{self.subject}/ses-{self.session}/run-{self.run}"


@register("dataset", "muse")
class Muse(Dataset):
    """Visual experiments with a Muse headband (TP9, AF7, AF8, TP10; 256 Hz).

    The marker tells only the category of a picture, so a trial's `stimulus` is its concept ("house" or "face"), which
    has no `image`; the pictures of both categories are the further rows of `Trials.stimuli` and form the gallery.

    Parameters
    ----------
    root : the `muse-visual` folder, which holds `N170`, `P300` and `stimuli`.
    experiment : "N170" (houses and faces) or "P300" (dogs, and cats as the rare target).
    subject : one, several or "all".
    sessions : session numbers to read; None reads all.
    marker_lag : s by which the picture comes later than its marker row; onsets move by it.
    min_events : runs with fewer onsets have lost their markers and are dropped.
    max_sd, min_sd : V. A run is dead, and dropped, if the median over channels of the robust SD (1.4826 x the median
        absolute deviation) is above ``max_sd`` (off the head) or any channel's is below ``min_sd`` (no signal).
    """

    licence = "BSD-3-Clause (EEG); CC BY-SA 3.0 (houses, faces) and CC0 (dogs, cats) for the pictures"
    citation = (
        "EEG: copyright 2017 Alexandre Barachant. Pictures of houses and faces: Haxby et al. (2001). Distributed and "
        "overlapping representations of faces and objects in ventral temporal cortex. Science 293, 2425-2430."
    )
    design = "rapid"
    caveats = (
        "Only each picture's category was stored: the picture found for a trial stands for its category, no more.",
        "Four dry electrodes, no photodiode: times count from the marker row, and the EEG comes tens of milliseconds "
        "or more after it, by an amount that differs between subjects.",
    )
    sfreq: ClassVar[float] = 256.0
    #: what lies in the folder, and what the rules leave of it
    expected: ClassVar[dict[str, dict[str, int]]] = {
        "N170": {"subjects": 5, "files": 19, "onsets": 2783, "runs_kept": 14, "onsets_kept": 2577},
        "P300": {"subjects": 1, "files": 6, "onsets": 1161, "runs_kept": 6, "onsets_kept": 1161},
    }

    def __init__(
        self,
        root: str | Path,
        experiment: str = "N170",
        subject: str | Sequence[str] = "1",
        sessions: str | Sequence[str] | None = None,
        marker_lag: Seconds = 0.0,
        min_events: ZeroOrMore = 20,
        max_sd: Positive = 100e-6,
        min_sd: Weight = 0.1e-6,
    ):
        super().__init__(root, _names(subject))
        if experiment not in PICTURES:
            raise PhospheneError(f"unknown experiment '{experiment}': {nearest(experiment, PICTURES)}")
        self.experiment, self.marker_lag, self.min_events = experiment, marker_lag, min_events
        self.sessions = None if sessions is None else _names(sessions)
        self.max_sd, self.min_sd = max_sd, min_sd
        self.report: list[str] = []  # what the rules found in the latest reading, a line for each rule

    @property
    def concepts(self) -> tuple[str, ...]:
        """Concepts in the order of their marker codes, 1 and 2."""
        return tuple(PICTURES[self.experiment])

    def subjects(self) -> list[str]:
        folders = (p for p in (self.root / self.experiment).glob("subject*") if p.is_dir())
        return [p.name.removeprefix("subject") for p in sorted(folders, key=_natural)]

    def stimuli(self) -> pd.DataFrame:
        return pd.DataFrame({"concept": self.concepts}, index=pd.Index(self.concepts, name="stimulus"))

    def gallery(self) -> pd.DataFrame:
        """The pictures of both categories: rows indexed by `stimulus`, columns `concept` and `image` (a path)."""
        rows = []
        for concept, pattern in PICTURES[self.experiment].items():
            found = sorted(self.root.glob(pattern), key=_natural)
            if not found:
                raise PhospheneError(f"no picture matches {self.root / pattern}: restore the folder 'stimuli'")
            rows += [(f"{concept}/{p.stem}", concept, str(p)) for p in found]
        return pd.DataFrame(rows, columns=["stimulus", "concept", "image"]).set_index("stimulus")

    def load(self, *args: Any, **kwargs: Any) -> Trials:
        """The trials; `stimuli` lists the two categories (`image` is empty) and then the gallery's pictures."""
        self.chosen()  # a wrong root or subject is told before a missing picture
        gallery = self.gallery()
        trials = super().load(*args, **kwargs)
        trials.stimuli = pd.concat([trials.stimuli.assign(image=""), gallery])
        return trials

    def files(self, subjects: Sequence[str]) -> list[_Run]:
        """Every CSV of these subjects, by session and name; a run keeps its number even if another is dropped."""
        runs = []
        for subject in subjects:
            sessions = sorted((self.root / self.experiment / f"subject{subject}").glob("session*"), key=_natural)
            names = [s.name.removeprefix("session") for s in sessions]
            for wanted in self.sessions or ():
                if wanted not in names:
                    raise PhospheneError(f"subject {subject} has no session '{wanted}': {nearest(wanted, names)}")
            for name, folder in zip(names, sessions, strict=True):
                if self.sessions is None or name in self.sessions:
                    found = sorted(folder.glob("*.csv"), key=_natural)
                    runs += [_Run(path, subject, name, f"{i:02d}") for i, path in enumerate(found, start=1)]
        if not runs:
            raise PhospheneError(
                f"no CSV file found under {self.root / self.experiment}: set dataset.root to muse-visual"
            )
        return runs

    def recordings(self, subjects: Sequence[str]) -> Iterator[Recording]:
        seen: dict[str, _Run] = {}
        found: dict[str, list[str]] = defaultdict(list)  # rule -> where it applied
        kept: list[Recording] = []
        for run in self.files(subjects):
            twin = seen.setdefault(digest(run.path, 64), run)
            if twin is not run:
                found["dropped, byte for byte the same file"].append(f"{run} ({run.path.name}) as {twin}")
                continue
            data, marker = read_csv(run.path)
            faults = self._faults(data, marker)
            if faults:
                found[f"dropped, {' and '.join(faults)}"].append(f"{run} ({run.path.name})")
            else:
                kept.append(self._recording(run, data, marker, found))
        self.report = [f"{rule}: {', '.join(where)}" for rule, where in found.items()]
        for line in self.report:
            log.warning(line)
        if not kept:
            raise PhospheneError(f"no run is left ({self.report[-1]}): choose another subject")
        kept[0].notes[:] = self.report  # of the dropped runs too, which yield nothing themselves
        yield from kept

    def _faults(self, data: pd.DataFrame, marker: np.ndarray) -> list[str]:
        """Why a run cannot be used; empty if it can."""
        faults = []
        n_events = np.count_nonzero(marker)
        if n_events < self.min_events:
            faults.append(f"markers lost ({n_events} onsets in {len(data) / self.sfreq:.0f} s)")
        eeg = data[electrodes(data)]
        holes = eeg.isna().mean()
        spread = 1.4826e-6 * (eeg - eeg.median()).abs().median()
        if holes.max() > 0.5:
            faults.append(f"channel {holes.idxmax()} mostly NaN")
        elif spread.median() > self.max_sd:
            faults.append(f"dead (robust SD {spread.median() * 1e6:.0f} uV over channels)")
        elif spread.min() < self.min_sd:
            faults.append(f"dead (channel {spread.idxmin()} flat)")
        return faults

    def _recording(self, run: _Run, data: pd.DataFrame, marker: np.ndarray, found: dict[str, list[str]]) -> Recording:
        import mne

        names = electrodes(data)
        for channel in data.columns.drop(["timestamps", *names]):
            found[f"channel '{channel}' left out, an input without a place on the head"].append(str(run))
        eeg = data[names] * 1e-6
        n_back, gaps = clock(run.path, data["timestamps"].to_numpy(), self.sfreq)
        if n_back:
            found["clock stands still or runs back, time is the row number at 256 Hz"].append(f"{run} ({n_back} rows)")
        if len(gaps):
            found["samples missing by the clock, epochs across the gap left out"].append(f"{run} ({len(gaps)} gaps)")
        bad = eeg.isna().to_numpy().any(axis=1)
        if bad.any():
            found["NaN bridged by lines, epochs across them left out"].append(f"{run} ({bad.sum()} rows)")
        bad[gaps] = True

        raw = mne.io.RawArray(
            eeg.interpolate(limit_direction="both").to_numpy().T,
            mne.create_info(names, self.sfreq, "eeg"),
            verbose="error",
        )
        raw.set_montage(standard_montage(), verbose="error")
        edges = np.flatnonzero(np.diff(np.r_[False, bad, False])).reshape(-1, 2) / self.sfreq
        raw.set_annotations(mne.Annotations(edges[:, 0], edges[:, 1] - edges[:, 0], "BAD_muse"), verbose="error")

        rows = np.flatnonzero(marker)
        known = np.isin(marker[rows], np.arange(1, len(self.concepts) + 1))
        for code in np.unique(marker[rows[~known]]):
            found[f"markers of unknown code {code:g} left out"].append(f"{run} ({np.sum(marker == code)})")
        rows = rows[known]
        concept = [self.concepts[int(code) - 1] for code in marker[rows]]
        table = pd.DataFrame({"onset": rows / self.sfreq + self.marker_lag, "stimulus": concept, "concept": concept})
        table = table.assign(subject=run.subject, session=run.session, run=run.run, block=run.run)
        return Recording(str(run), raw, table)


def _names(value: object) -> list[str]:
    """A name, a number or several, as text."""
    return [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]


def _natural(path: Path) -> list[object]:
    """Sort key by which "subject2" comes before "subject10"."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
