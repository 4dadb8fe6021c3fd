"""Studies that `phosphene.simulate` wrote: recordings of a simulated brain that looks at drawn scenes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mne
import pandas as pd

from phosphene.datasets.base import Dataset, Recording
from phosphene.eeg.trials import read_table
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.registry import register
from phosphene.utils.files import read_json
from phosphene.utils.paths import outside

_TOLD = ("subject", "session", "run", "path")  # of each recording


@register("dataset", "synthetic")
class Synthetic(Dataset):
    """A simulated study, as FIF or as BIDS (BrainVision) alike.

    Parameters
    ----------
    root : the folder that `phosphene simulate` wrote.
    subject : a subject such as "01", a list of them, or "all".

    Attributes
    ----------
    facts : what `dataset.json` says: `parameters`, `ch_names`, `recordings`, and `truth`, the sources of each subject.
    """

    licence = "CC0-1.0"
    citation = "Simulated with Phosphene."
    design = "rapid"
    caveats = ("simulated EEG: the scores say how well a method reads a known generative model, not a person",)
    simulated = True

    def __init__(self, root: str | Path, subject: str | Sequence[str] = "all"):
        super().__init__(root, subject)
        path = self.root / "dataset.json"
        if not path.is_file():
            raise PhospheneError(
                f"{self.root} is not a simulated study (no dataset.json): make one with `phosphene simulate`"
            )
        self.facts: dict[str, Any] = read_json(path)
        listed = self.facts.get("recordings") if isinstance(self.facts, dict) else None
        if (
            not isinstance(listed, list)
            or not all(isinstance(one, dict) and all(isinstance(one.get(k), str) for k in _TOLD) for one in listed)
            or not self.facts.get("simulated")
        ):
            raise PhospheneError(f"{path} does not describe a simulated study: make one with `phosphene simulate`")
        vars(self).update(design=self.facts.get("design", self.design))  # what the study says of itself

    def subjects(self) -> list[str]:
        return sorted({recording["subject"] for recording in self.facts["recordings"]})

    def n_recordings(self) -> int:
        chosen = self.chosen()
        return sum(recording["subject"] in chosen for recording in self.facts["recordings"])

    def stimuli(self) -> pd.DataFrame:
        path = self.root / "stimuli.csv"
        if not path.is_file():
            raise PhospheneError(f"{path} is missing: simulate the study again")
        stimuli = read_table(path).set_index("stimulus")
        stimuli["image"] = [str(self._own(image)) for image in stimuli["image"]]
        return stimuli

    def _own(self, name: str) -> Path:
        path = self.root / str(name)
        if outside([path], [self.root])[0]:
            raise PhospheneError(f"the study names {path}, which lies outside of {self.root}: simulate it again")
        return path

    def recordings(self, subjects: Sequence[str]) -> Iterator[Recording]:
        for entry in self.facts["recordings"]:
            if entry["subject"] not in subjects:
                continue
            path = self._own(entry["path"])
            stem = path.name.rsplit("_", 1)[0]
            events = path.with_name(f"{stem}_events.tsv")
            for file in (path, events):
                if not file.is_file():
                    raise PhospheneError(f"{file} is missing: simulate the study again")
            try:
                table = pd.read_csv(events, sep="\t", dtype={"block": str}).rename(columns={"trial_type": "stimulus"})
            except (OSError, ValueError) as error:
                raise PhospheneError(f"{events} cannot be read ({error}): simulate the study again") from None
            labels = {name: entry[name] for name in ("subject", "session", "run")}
            columns = ["onset", "stimulus", "concept", "repeat", "split", "block"]
            for column in columns:
                if column not in table:
                    raise PhospheneError(f"{events} has no column '{column}': simulate the study again")
            table["block"] = table["block"].str.zfill(2)
            table = table[columns].assign(**labels)
            name = f"sub-{entry['subject']}/ses-{entry['session']}/run-{entry['run']}"
            raw = _read(self.root, path, labels)
            if table["onset"].max() > raw.times[-1]:
                raise PhospheneError(f"{path} ends before its last event: it was cut short, simulate the study again")
            yield Recording(name, raw, table)


def _read(root: Path, path: Path, entities: dict[str, str]) -> mne.io.BaseRaw:
    try:
        if path.suffix == ".fif":
            return mne.io.read_raw_fif(path, preload=True, verbose="error")
        try:
            import mne_bids
        except ImportError:
            raise MissingExtra("mne-bids", "bids") from None
        bids_path = mne_bids.BIDSPath(
            root=root, task="view", datatype="eeg", suffix="eeg", extension=".vhdr", **entities
        )
        return mne_bids.read_raw_bids(bids_path, extra_params={"preload": True}, verbose="error")
    except PhospheneError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PhospheneError(f"{path} cannot be read ({line}): simulate the study again") from None
