"""Recordings of a simulated study as BIDS (BrainVision), through mne-bids and pybv."""

import json
from pathlib import Path

import mne
import pandas as pd

from phosphene.errors import MissingExtra

_COLUMNS = {
    "onset": {"Description": "Onset of the picture from the start of the recording", "Units": "s"},
    "duration": {"Description": "How long the picture was shown", "Units": "s"},
    "trial_type": {"Description": "Name of the picture, a row of stimuli.csv"},
    "value": {"Description": "Marker code of the picture in the BrainVision file"},
    "sample": {"Description": "Onset in samples, from 0"},
    "stim_file": {"Description": "The picture, relative to the folder stimuli"},
    "concept": {"Description": "Colour and object"},
    "split": {"Description": "Whether the picture belongs to training or test", "Levels": {"train": "", "test": ""}},
    "repeat": {"Description": "How often the subject has now seen this picture"},
    "block": {"Description": "Stretch without a pause, counted over the session"},
}


def require() -> None:
    """Raise, with the pip command, if mne-bids or pybv is missing."""
    for package in ("mne_bids", "pybv"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra(package.replace("_", "-"), "bids") from None


def write(root: Path, raw: mne.io.RawArray, events: pd.DataFrame, entities: dict[str, str]) -> Path:
    """Write one run; returns the path of its header relative to `root`.

    Column `code` of `events`, the same number for a picture in every run, becomes the marker.
    """
    import mne_bids

    path = mne_bids.BIDSPath(root=root, task="view", datatype="eeg", suffix="eeg", **entities)
    codes = dict(zip(events["stimulus"], events["code"].astype(int).tolist(), strict=True))
    path = mne_bids.write_raw_bids(raw, path, event_id=codes, format="BrainVision", allow_preload=True, verbose="error")
    table = events.rename(columns={"stimulus": "trial_type", "code": "value"})
    table["sample"] = (table["onset"] * raw.info["sfreq"]).round().astype(int)
    table["stim_file"] = table["image"].str.removeprefix("stimuli/")
    beside = path.copy().update(suffix="events", extension=".tsv").fpath
    table[list(_COLUMNS)].to_csv(beside, sep="\t", index=False)
    beside.with_suffix(".json").write_text(json.dumps(_COLUMNS, indent=2) + "\n", encoding="utf-8")
    return path.copy().update(extension=".vhdr").fpath.relative_to(root)


def finish(root: Path) -> None:
    """What the whole dataset needs besides its runs: its description, and which of our files BIDS does not know."""
    import mne_bids

    mne_bids.make_dataset_description(
        path=root,
        name="Phosphene simulated viewing",
        data_license="CC0",
        authors=["Phosphene (simulated)"],
        overwrite=True,
        verbose="error",
    )
    (root / ".bidsignore").write_text("dataset.json\nstimuli.csv\n", encoding="utf-8")
