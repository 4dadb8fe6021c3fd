"""A dataset: one .npz file for each person, and a folder of pictures named as the trials say."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from phosphene.datasets.base import Dataset, Epoched
from phosphene.eeg.trials import Signal
from phosphene.errors import PhospheneError
from phosphene.registry import register


@register("dataset", "npz")
class Npz(Dataset):
    """`NAME.npz` holds `eeg` (n_trials, n_chans, n_times) in V, `sfreq` (Hz), `ch_names`, and of each trial what was
    `shown` and whether it is a `test` trial.

    `pictures/SHOWN.png` is what a trial showed; the concept is its name up to the first dash.
    """

    licence = "that of the laboratory"
    citation = "an example"
    design = "rapid"
    epoched = True

    def subjects(self) -> list[str]:
        return sorted(path.stem for path in self.root.glob("*.npz"))

    def stimuli(self) -> pd.DataFrame:
        paths = sorted((self.root / "pictures").glob("*.png"))
        table = pd.DataFrame({"image": [str(path) for path in paths], "concept": [p.stem.split("-")[0] for p in paths]})
        return table.set_index(pd.Index([path.stem for path in paths], name="stimulus"))

    def recordings(self, subjects: Sequence[str]) -> Iterator[Epoched]:
        for subject in subjects:
            try:
                held = dict(np.load(self.root / f"{subject}.npz", allow_pickle=False))
                signal = Signal([str(name) for name in held["ch_names"]], sfreq=float(held["sfreq"]), tmin=0.0)
                names = held["shown"].astype(str)
                table = pd.DataFrame({"stimulus": names, "split": np.where(held["test"], "test", "train")})
            except (KeyError, ValueError, OSError) as error:
                raise PhospheneError(f"{subject}.npz is not as it should be ({error}): write it again") from None
            table["concept"] = [name.split("-")[0] for name in table["stimulus"]]
            yield Epoched(subject, held["eeg"], signal, table.assign(subject=subject, session="1", run="1"))
