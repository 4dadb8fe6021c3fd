"""A subject's raw recordings made into published epochs on disk, once; read from there afterwards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from phosphene.datasets.things.preprocessed import LEAK, Stored
from phosphene.datasets.things.published import Published, channels, merge, session, whitener
from phosphene.datasets.things.raw import Continuous
from phosphene.errors import PhospheneError
from phosphene.utils.checksums import kept
from phosphene.utils.files import read_json, write_json

_CHUNK = 512  # epochs whitened together


def convert(recordings: Sequence[Continuous], choice: Published, folder: Path, name: str) -> None:
    """Write `<part>.npy` (n_images, n_repeats, n_chans, n_times) float32, whitened, and `<part>.csv`, to ``folder``.

    Parameters
    ----------
    recordings : every recording of one subject.
    choice : a row of `PUBLISHED`.
    folder : appears whole or not at all. It takes 5.2 GB for a subject at 63 channels, and as much again meanwhile.
    name : what errors call the subject.
    """
    first = recordings[0]
    for other in recordings[1:]:
        if channels(choice, other) != channels(choice, first):
            raise PhospheneError(f"{other.name} has other channels than {first.name}: restore it")
    labels = sorted({r.session for r in recordings})
    parts = [p for p in ("train", "test") if any(r.part == p for r in recordings)]
    with kept(folder) as out:
        out.mkdir()
        cut: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        for part in parts:
            for label in labels:
                some = [r for r in recordings if (r.part, r.session) == (part, label)]
                if some:
                    cut[part, label] = session(some, choice, out / f"epochs-{part}-{label}.npy")
        operators = {
            label: whitener({p: cut[p, label][1] for p in parts if (p, label) in cut}, choice) for label in labels
        }
        for part in parts:
            here = [label for label in labels if (part, label) in cut]
            numbers, sources = merge(
                [cut[part, label][0] for label in here], cut[part, here[0]][1].shape[1], f"{name}/{part}"
            )
            shape = (*sources.shape[:2], *cut[part, here[0]][1].shape[2:])
            eeg = np.lib.format.open_memmap(out / f"{part}.npy", "w+", np.float32, shape)
            flat, flat_sources = eeg.reshape(-1, *shape[2:]), sources.reshape(-1, 3)
            for s, label in enumerate(here):
                mine = np.flatnonzero(flat_sources[:, 0] == s)
                for start in range(0, len(mine), _CHUNK):
                    rows = mine[start : start + _CHUNK]
                    x = cut[part, label][1][flat_sources[rows, 1], flat_sources[rows, 2]]
                    flat[rows] = operators[label] @ x.astype(np.float64)
            eeg.flush()
            pd.DataFrame(
                {
                    "number": np.repeat(numbers, shape[1]),
                    "repeat": np.tile(np.arange(shape[1]), shape[0]),
                    "session": [here[s] for s in flat_sources[:, 0]],
                }
            ).to_csv(out / f"{part}.csv", index=False)
        del cut
        for path in out.glob("epochs-*.npy"):
            path.unlink()
        facts = {
            "ch_names": channels(choice, first),
            "sfreq": choice.sfreq,
            "tmin": choice.tmin + choice.dropped / choice.sfreq,
            "parts": parts,
            "notes": [
                f"{sum(r.n_targets for r in recordings)} target trials of {name} left out",
                *([LEAK] if "test" in choice.sigma else []),
            ],
        }
        write_json(out / "facts.json", facts)


def read_converted(folder: Path) -> dict[str, Stored]:
    """What `convert` wrote: part -> `Stored`."""
    facts = read_json(folder / "facts.json")
    made = {}
    for part in facts["parts"]:
        try:
            eeg = np.load(folder / f"{part}.npy", mmap_mode="r", allow_pickle=False)
            table = pd.read_csv(folder / f"{part}.csv", dtype={"session": str})
        except (OSError, ValueError, EOFError) as error:
            raise PhospheneError(f"{folder} cannot be read ({error}): remove it, and it is made again") from None
        made[part] = Stored(
            eeg=eeg,
            ch_names=tuple(facts["ch_names"]),
            sfreq=facts["sfreq"],
            tmin=round(facts["tmin"], 6),
            table=table,
            unit="whitened",
            notes=facts["notes"],
        )
    return made
