"""Continuous recordings of THINGS-EEG2, before any preprocessing: raw dicts (.npy) and BrainVision source parts.

Design rationale
----------------
A session of 64 channels at 1000 Hz is above 2 GB. So its samples stay on disk, and `Continuous.read` brings the stretch
that is asked for.

Our reading, where the published description is silent: in the source parts every stimulus annotation marks one
picture; which one is the next entry of `tot_img_number` in the behavioural file, or, without such a file, the number in
the annotation. Entries that name no picture (99999, 0) are targets.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.datasets.brainvision import named_files, outside
from phosphene.datasets.things import contents
from phosphene.errors import PhospheneError
from phosphene.utils.restricted import read_npy

if TYPE_CHECKING:
    import mne

TARGET = 99999  # the code of a target picture, which is no part of the data
STRETCH, MARGIN = 300.0, 20.0  # s; a session is handed over in stretches, each with a margin for the filters


@dataclass(frozen=True)
class Continuous:
    """One continuous recording whose samples stay on disk.

    Parameters
    ----------
    name : what errors call it, such as "sub-01/ses-02/train".
    part : "train" or "test".
    session, run : labels.
    ch_names : (n_chans,) EEG channels, as recorded.
    sfreq : Hz.
    n_samples : its length.
    samples : (n_events,) sample of each picture's onset, ascending; targets are not among them.
    numbers : (n_events,) picture number of each, from 1.
    n_targets : target trials left out.
    read : ``read(start, stop)`` gives (n_chans, stop - start) float64, volts.
    """

    name: str
    part: str
    session: str
    run: str
    ch_names: tuple[str, ...]
    sfreq: float
    n_samples: int
    samples: np.ndarray
    numbers: np.ndarray
    n_targets: int
    read: Callable[[int, int], np.ndarray]

    def stretches(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """(first sample, end, rows of its events) of stretches that together hold every event once."""
        if len(self.samples) == 0:
            return
        index = ((self.samples - self.samples[0]) / (STRETCH * self.sfreq)).astype(int)
        margin = round(MARGIN * self.sfreq)
        for i in np.unique(index):
            rows = np.flatnonzero(index == i)
            first, end = self.samples[rows[0]] - margin, self.samples[rows[-1]] + margin
            yield max(0, int(first)), min(self.n_samples, int(end)), rows

    def raw(self, start: int, stop: int) -> "mne.io.RawArray":
        """A stretch as an MNE recording."""
        import mne

        info = mne.create_info(list(self.ch_names), self.sfreq, "eeg")
        return mne.io.RawArray(self.read(start, stop), info, verbose="error")


def read_raw_dict(path: Path, name: str, part: str, session: str) -> Continuous:
    """A `raw_eeg_{training,test}.npy`: a dict of `raw_eeg_data` (n_chans, n_samples), `ch_names`, `ch_types`, `sfreq`.

    The channel of type `stim` holds the picture number at each onset, or 99999 for a target.

    Raises
    ------
    PhospheneError
        A missing key, no stim channel, or channels that are not named.
    """
    import mne

    keys = ("raw_eeg_data", "ch_names", "ch_types", "sfreq")
    content = contents.table(read_npy(path), keys, "raw EEG of THINGS-EEG2", path)
    data = contents.numbers(content["raw_eeg_data"], (2,), "(channels, samples)", path)
    names, types = (contents.names(content[key], key, path) for key in ("ch_names", "ch_types"))
    sfreq = contents.number(content["sfreq"], "sfreq", path)
    if len(names) != len(data) or len(types) != len(data):
        raise PhospheneError(
            f"{path}: the data are {data.shape}, with {len(names)} ch_names and {len(types)} ch_types: fetch it again"
        )
    stim = [i for i, kind in enumerate(types) if kind == "stim"]
    if len(stim) != 1:
        raise PhospheneError(
            f"{path} has {len(stim)} channels of type 'stim', and one must hold the events: restore it"
        )
    eeg = [i for i, kind in enumerate(types) if kind == "eeg"]
    marks = mne.io.RawArray(np.array(data[stim], np.float64), mne.create_info(["stim"], sfreq, "stim"), verbose="error")
    events = mne.find_events(marks, "stim", shortest_event=1, verbose="error")

    def read(start: int, stop: int) -> np.ndarray:
        return np.asarray(data[:, start:stop], np.float64)[eeg]

    return _kept(
        Continuous(
            name=name,
            part=part,
            session=session,
            run=part,
            ch_names=tuple(names[i] for i in eeg),
            sfreq=sfreq,
            n_samples=data.shape[1],
            samples=events[:, 0],
            numbers=events[:, 2],
            n_targets=0,
            read=read,
        )
    )


def read_source(path: Path, name: str, part: str, session: str) -> Continuous:
    """A BrainVision part (.vhdr), with its picture numbers from the behavioural .mat where there is one.

    Raises
    ------
    PhospheneError
        Unreadable file, or a number of onsets that differs from the behavioural file's.
    """
    import mne

    try:
        for kind, file in named_files(path).items():
            if outside(file):
                raise ValueError(f"{kind} {file} lies outside of its folder")
        raw = mne.io.read_raw_brainvision(path, preload=False, verbose="error")
    except Exception as error:  # whatever a damaged header leads MNE to
        raise PhospheneError(f"{path} cannot be read ({' '.join(str(error).split())}): restore its files") from None
    marks = [(a["onset"], a["description"]) for a in raw.annotations if a["description"].startswith("Stimulus")]
    samples = np.array([round(onset * raw.info["sfreq"]) for onset, _ in marks], int)
    order = picture_order(path)
    if order is None:
        digits = [re.search(r"(\d+)\s*$", text) for _, text in marks]
        numbers = np.array([int(m[1]) if m else 0 for m in digits], int)
    else:
        numbers = order
        if len(numbers) != len(samples):
            raise PhospheneError(
                f"{path.name} marks {len(samples)} pictures and its behavioural file lists {len(numbers)}: restore both"
            )
    types = raw.get_channel_types()
    eeg = [i for i, kind in enumerate(types) if kind == "eeg"]

    def read(start: int, stop: int) -> np.ndarray:
        return np.asarray(raw[eeg, start:stop][0], np.float64)

    piece = re.search(r"part-(\d+)", path.name)
    return _kept(
        Continuous(
            name=f"{name}-{piece[1]}" if piece else name,
            part=part,
            session=session,
            run=f"{part}-{piece[1] if piece else '01'}",
            ch_names=tuple(raw.ch_names[i] for i in eeg),
            sfreq=float(raw.info["sfreq"]),
            n_samples=raw.n_times,
            samples=samples,
            numbers=numbers,
            n_targets=0,
            read=read,
        )
    )


def picture_order(vhdr: Path) -> np.ndarray | None:
    """(n_events,) `tot_img_number` of the behavioural .mat that belongs to a source part; None if there is none."""
    task, piece = re.search(r"task-([a-z]+)", vhdr.name), re.search(r"part-(\d+)", vhdr.name)
    wanted = [m[0] for m in (task, piece) if m]
    session = vhdr.parent.parent
    for path in sorted(session.rglob("*.mat")):
        if all(word in path.name for word in wanted):
            try:
                found = _find(_matlab(path), "tot_img_number")
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                raise PhospheneError(f"{path} cannot be read ({type(error).__name__}): restore it") from None
            if found is not None:
                numbers = contents.entries(found, "tot_img_number", path)
                if numbers.dtype.kind not in "fiu":
                    raise PhospheneError(f"{path}: tot_img_number holds no numbers: restore it")
                return np.nan_to_num(numbers.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).astype(int)
    return None


_READ = """
import json, sys
import numpy as np
from scipy.io import loadmat

def plain(value):
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if not str(k).startswith("__")}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return np.asarray(value, float).ravel().tolist()
    return value if isinstance(value, (int, float)) else None

json.dump(plain(loadmat(sys.argv[1], simplify_cells=True)), sys.stdout)
"""


def _matlab(path: Path) -> Any:
    """The numbers of a .mat file, as nested dicts of lists, read in a process of its own: a damaged file kills it."""
    ran = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, timeout=120)
    if ran.returncode:
        raise ValueError("it is damaged")
    return json.loads(ran.stdout)


def _find(value: Any, key: str) -> Any:
    """The first value of ``key`` in nested dicts."""
    if not isinstance(value, dict):
        return None
    if key in value:
        return value[key]
    return next((found for v in value.values() if (found := _find(v, key)) is not None), None)


def _kept(recording: Continuous) -> Continuous:
    """Without targets, in time order."""
    real = (recording.numbers != TARGET) & (recording.numbers > 0)
    order = np.flatnonzero(real)[np.argsort(recording.samples[real], kind="stable")]
    if len(order) == 0:
        raise PhospheneError(f"{recording.name}: no picture onset was found: restore the recording")
    return replace(
        recording, samples=recording.samples[order], numbers=recording.numbers[order], n_targets=int(np.sum(~real))
    )
