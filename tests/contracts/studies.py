"""A tiny study for each registered dataset, in the files that it reads; a new dataset is added here, or its contract
cannot be tried."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import mne_bids
import numpy as np
import pandas as pd
import torch
from PIL import Image

from conftest import make_trials
from phosphene.datasets.eegcvpr40.files import SPLITS
from phosphene.datasets.muse import PICTURES
from phosphene.eeg.montages import standard_montage
from phosphene.simulate.study import simulate

sys.path.append(str(Path(__file__).parents[1] / "datasets"))  # the files of THINGS are made there
NAMES = [f"{kind}{i}" for kind in "abcd" for i in range(3)]


RNG = np.random.default_rng(0)


def picture() -> Image.Image:
    return Image.fromarray(RNG.integers(0, 255, (24, 24, 3), np.uint8))


def pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        picture().save(folder / f"{name}.png")


def arrays(root: Path) -> dict[str, Any]:
    make_trials(root / "pictures", n_concepts=8, n_times=100).save(root / "study")
    return {"root": str(root / "study")}


def synthetic(root: Path) -> dict[str, Any]:
    simulate(root / "study", n_train_pictures=16, n_test_pictures=6, train_repeats=1, test_repeats=2, snr_db=5.0)
    return {"root": str(root / "study")}


def bids(root: Path) -> dict[str, Any]:
    rng, sfreq = np.random.default_rng(0), 100.0
    pictures(root / "study" / "stimuli", NAMES)
    channels = ["Cz", "Pz", "Oz", "Fz"]
    data = 1e-5 * rng.standard_normal((4, int(sfreq) * (len(NAMES) * 2 + 3)))
    raw = mne.io.RawArray(data, mne.create_info(channels, sfreq, "eeg"), verbose=0)
    raw.set_montage(standard_montage(), verbose=0)
    raw.info["line_freq"] = 50
    path = mne_bids.BIDSPath(root=root / "study", subject="01", task="see", datatype="eeg", suffix="eeg")
    mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, verbose="error")
    shown = rng.permutation(NAMES * 2)
    rows = pd.DataFrame({"onset": 1.0 + np.arange(len(shown)), "duration": 0.3, "trial_type": shown, "value": 1})
    rows.to_csv(path.copy().update(suffix="events", extension=".tsv").fpath, sep="\t", index=False)
    table = pd.DataFrame({"stimulus": NAMES, "image": [f"stimuli/{n}.png" for n in NAMES]})
    table["concept"], table["split"] = [n[0] for n in NAMES], ["test" if n[0] == "d" else "train" for n in NAMES]
    table.to_csv(root / "study" / "pictures.tsv", sep="\t", index=False)
    return {"root": str(root / "study"), "stimuli": "pictures.tsv"}


def muse(root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for pattern in PICTURES["N170"].values():
        for name in ("a1", "a2"):
            path = root / pattern.replace("*", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            picture().save(path)
    for run in (1, 2, 3):
        n = 256 * 45
        table = pd.DataFrame({"timestamps": 1.6e9 + 100 * run + np.arange(n) / 256})
        for name in ("TP9", "AF7", "AF8", "TP10", "Right AUX"):
            table[name] = 10 * rng.standard_normal(n)
        table["Marker0"] = 0
        rows = 256 * np.arange(2, 42)
        table.loc[rows, "Marker0"] = 1 + rng.permutation(len(rows)) % 2
        path = root / "N170" / "subject1" / "session1" / f"data_{run}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    return {"root": str(root)}


def eegcvpr40(root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = ["n02389026", "n03888257", "n03584829"]
    images = [f"{label}_{i}" for label in labels for i in range(4)]
    records = [
        {
            "eeg": torch.from_numpy(rng.standard_normal((128, 500)).astype(np.float32)),
            "image": i,
            "label": i // 4,
            "subject": 1,
        }
        for i in range(len(images))
    ]
    pictures(root / "images", images)
    for path in (root / "images").glob("*.png"):
        path.rename(path.with_suffix(".JPEG"))
    torch.save({"dataset": records, "labels": labels, "images": images}, root / "eeg_55_95_std.pth")
    part = {"train": [i for i in range(12) if i % 4 < 2], "val": [2, 6, 10], "test": [3, 7, 11]}
    torch.save({"splits": [part] * 6}, root / SPLITS["all"])
    return {"root": str(root), "splits": "all", "images": "images"}


def things_eeg2(root: Path) -> dict[str, Any]:
    import things_made

    things_made.pictures(root)
    for path in root.rglob("*.jpg"):
        picture().save(path)
    things_made.write_preprocessed(root)
    return {"root": str(root)}


def things_meg(root: Path) -> dict[str, Any]:
    import test_things_meg

    test_things_meg.write(root)
    return {"root": str(root)}


#: dataset -> what writes a study for it, and gives its arguments
STUDIES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "arrays": arrays,
    "bids": bids,
    "synthetic": synthetic,
    "muse": muse,
    "eegcvpr40": eegcvpr40,
    "things_eeg2": things_eeg2,
    "things_meg": things_meg,
}
