"""THINGS-EEG2 as stored epochs: the published 63- and 17-channel files, UBP's .pt, NeuroBridge's and SAMGA's .npy.

All stay on disk. Whether values are whitened or volts is told from their size, never from a file's name: whitened EEG
varies by about 1, EEG in volts by less than a thousandth.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from phosphene.datasets.things import contents
from phosphene.datasets.things.channels import CHANNELS, POSTERIOR
from phosphene.datasets.things.names import concept_of
from phosphene.errors import PhospheneError
from phosphene.utils.files import read_json
from phosphene.utils.restricted import read_npy, read_torch

MERGED = "merged"  # the session of trials whose sessions the publisher merged and shuffled
LEAK = "whitened, as published, with a covariance that the test trials helped to estimate (Gifford et al. 2022)"
_VOLTS = 1e-3  # a robust SD below this is volts
_SAMPLE = 32  # trials from which the unit is told


@dataclass
class Stored:
    """One file of epochs.

    Parameters
    ----------
    eeg : (..., n_chans, n_times), any float, usually a memory map.
    ch_names, sfreq (Hz), tmin (s) : of its samples.
    table : one row for each trial, in the order of the leading axes: `number` (of the picture, from 1), or `stimulus`
        and `concept`; `repeat`; `session`.
    unit : "V", "whitened" or "standardised".
    notes : what a user must know.
    """

    eeg: np.ndarray
    ch_names: tuple[str, ...]
    sfreq: float
    tmin: float
    table: pd.DataFrame
    unit: str
    notes: list[str] = field(default_factory=list)

    @property
    def trials(self) -> np.ndarray:
        """(n_trials, n_chans, n_times), a view."""
        return self.eeg.reshape(-1, *self.eeg.shape[-2:])


def time_axis(times: Any, n_times: int, path: Path) -> tuple[float, float]:
    """Rate (Hz) and time of the first sample (s) of data whose `times` may reach further back than they do.

    The published 63-channel files list 300 times, from -0.2 s, for 250 samples, from 0 s: the last ones are the data's.
    """
    found = contents.entries(times, "times", path)
    values = found.astype(np.float64) if found.dtype.kind in "fiu" else np.empty(0)
    if len(values) < n_times or len(values) < 2:
        raise PhospheneError(f"{path} lists {len(values)} times for {n_times} samples: fetch it again")
    steps = np.diff(values)
    if not np.allclose(steps, steps.mean(), rtol=1e-3, atol=0) or not steps.mean() > 0:
        raise PhospheneError(f"{path}: its times are not evenly spaced: fetch it again")
    return round(float(1 / steps.mean()), 3), round(float(values[-n_times]), 6) + 0.0


def read_preprocessed(path: Path) -> Stored:
    """A `preprocessed_eeg_{training,test}.npy`: `preprocessed_eeg_data` (n_images, n_repeats, n_chans, n_times),
    `ch_names`, `times`.

    Raises
    ------
    PhospheneError
        A missing key, another shape, or channels that are neither the 63 nor the 17 published ones.
    """
    keys = ("preprocessed_eeg_data", "ch_names", "times")
    content = contents.table(read_npy(path), keys, "preprocessed EEG of THINGS-EEG2", path)
    eeg = contents.numbers(content["preprocessed_eeg_data"], (4,), "(images, repeats, channels, times)", path)
    names = contents.names(content["ch_names"], "ch_names", path)
    _check_channels(names, eeg.shape[2], path)
    sfreq, tmin = time_axis(content["times"], eeg.shape[3], path)
    notes = [f"{eeg.shape[1]} presentations of each {_part(path)} picture, sessions merged by the publisher"]
    unit = unit_of(eeg)
    if len(names) == len(POSTERIOR) and unit == "whitened":
        notes.append(LEAK)
    return Stored(eeg, names, sfreq, tmin, _numbered(eeg.shape[0], eeg.shape[1]), unit, notes)


def n_channels(path: Path) -> int:
    """How many channels a `preprocessed_eeg_*.npy` holds."""
    return len(read_preprocessed(path).ch_names)


def read_ubp(path: Path) -> Stored:
    """UBP's `{train,test}.pt`: `eeg` (n_images, n_repeats, n_chans, n_times) or without repeats, `img`, `text`,
    `session`, `times`; names of pictures are the last two parts of `img`.
    """
    content = contents.table(read_torch(path), ("eeg", "img", "times"), "file of UBP", path)
    eeg = contents.numbers(content["eeg"], (3, 4), "(images, repeats, channels, times)", path)
    known = content.get("ch_names")
    names = _by_count(eeg.shape[-2], path) if known is None else contents.names(known, "ch_names", path)
    _check_channels(names, eeg.shape[-2], path)
    sfreq, tmin = time_axis(content["times"], eeg.shape[-1], path)
    lead = eeg.shape[:-2]
    pictures = [PurePosixPath(str(p).replace("\\", "/")) for p in _spread(content["img"], lead, "img", path)]
    concepts = [concept_of(p.parent.name) for p in pictures]
    if any(not c for c in concepts) and "text" in content:
        concepts = [str(t) for t in _spread(content["text"], lead, "text", path)]
    table = pd.DataFrame({"stimulus": [p.stem for p in pictures], "concept": concepts})
    table["folder"] = [p.parent.name for p in pictures]
    table["file"] = [p.name for p in pictures]
    table["repeat"] = table.groupby("stimulus", sort=False).cumcount()
    try:
        table["session"] = [str(s) for s in _spread(content["session"], lead, "session", path)]
    except (KeyError, PhospheneError):
        table["session"] = MERGED
    return Stored(eeg, names, sfreq, tmin, table, unit_of(eeg))


def read_neurobridge(path: Path) -> Stored:
    """NeuroBridge's and SAMGA's `train.npy` (n_concepts, n_images, n_repeats, n_chans, n_times) and `test.npy`.

    `info.json` beside it may name `ch_names`, `sfreq` and `tmin`; without it, they are the 63 channels, 250 Hz, 0 s.
    """
    eeg = contents.numbers(read_npy(path), (5,), "(concepts, images, repeats, channels, times)", path)
    info = path.with_name("info.json")
    facts = read_json(info) if info.is_file() else {}
    if not isinstance(facts, dict):
        raise PhospheneError(f"{info} is not a table of facts: restore it")
    known = facts.get("ch_names")
    names = _by_count(eeg.shape[3], path) if known is None else contents.names(known, "ch_names", info)
    _check_channels(names, eeg.shape[3], path)
    unit = unit_of(eeg)
    flags = {str(key).lower().replace("_", "").replace("-", "") for key, value in facts.items() if value is True}
    if unit != "V" and flags & {"zscore", "zscored"} and not flags & {"mvnn", "whiten", "whitened"}:
        unit = "standardised"
    try:
        sfreq, tmin = float(facts.get("sfreq") or 250.0), float(facts.get("tmin") or 0.0)
    except (TypeError, ValueError):
        raise PhospheneError(f"{info}: sfreq and tmin must be numbers: correct it") from None
    return Stored(eeg, names, sfreq, tmin, _numbered(eeg.shape[0] * eeg.shape[1], eeg.shape[2]), unit)


def unit_of(eeg: np.ndarray) -> str:
    """ "V" or "whitened", from the size of some trials."""
    flat = eeg.reshape(-1, *eeg.shape[-2:])
    rows = np.unique(np.linspace(0, len(flat) - 1, _SAMPLE).astype(int))
    some = np.stack([np.asarray(flat[i], np.float64) for i in rows])
    spread = 1.4826 * np.median(np.abs(some - np.median(some, axis=2, keepdims=True)), axis=2)
    return "V" if np.median(spread) < _VOLTS else "whitened"


def _numbered(n_images: int, n_repeats: int) -> pd.DataFrame:
    """Trials by picture, each with its repeats."""
    return pd.DataFrame(
        {
            "number": np.repeat(np.arange(1, n_images + 1), n_repeats),
            "repeat": np.tile(np.arange(n_repeats), n_images),
            "session": MERGED,
        }
    )


def _by_count(n_chans: int, path: Path) -> tuple[str, ...]:
    for names in (CHANNELS, POSTERIOR):
        if len(names) == n_chans:
            return names
    raise PhospheneError(f"{path} holds {n_chans} channels without names, and 63 or 17 are known: fetch it again")


def _check_channels(names: tuple[str, ...], n_chans: int, path: Path) -> None:
    if len(names) != n_chans:
        raise PhospheneError(f"{path} names {len(names)} channels and holds {n_chans}: fetch it again")
    if set(names) not in (set(CHANNELS), set(POSTERIOR)):
        known = CHANNELS if n_chans > len(POSTERIOR) else POSTERIOR
        odd = sorted(set(names) ^ set(known))
        raise PhospheneError(
            f"{path} holds {n_chans} channels that are neither the 63 nor the 17 published ones ('{odd[0]}' differs): "
            "fetch it again, or read it as dataset 'arrays'"
        )


def _part(path: Path) -> str:
    return "training" if "train" in path.name else "test"


def _spread(values: Any, lead: tuple[int, ...], key: str, path: Path) -> list[Any]:
    """One value for each trial, from one for each trial or for each picture."""
    found = contents.entries(values, key, path)
    n = int(np.prod(lead))
    if found.size == n:
        return list(found)
    if found.size == lead[0]:
        return list(np.repeat(found, n // lead[0]))
    raise PhospheneError(f"{path}: {key} has {found.size} entries for {n} trials: fetch it again")
