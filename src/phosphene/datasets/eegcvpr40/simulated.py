"""A simulated study in the files of EEGCVPR40, as `phosphene.datasets.eegcvpr40.dataset` reads them.

```
out/
  eeg_5_95_std.pth                    {dataset: [{eeg, image, label, subject}, ...], labels, images}
  block_splits_by_image_all.pth       six splits of the whole list; a picture is in one part
  block_splits_by_image_single.pth    one split of the first half of any subject's list
  image_order.txt                     the order that everybody saw
  captions.csv                        what is exactly to be seen in each drawing, a column for each slot
  images/<wnid>/<name>.png            the drawings that stand for the classes
  dataset.json                        says that all of it is simulated, and how
```
"""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import phosphene
from phosphene.datasets.eegcvpr40.files import FILES, PARTS, SPLITS, SUBJECTS
from phosphene.datasets.eegcvpr40.names import CHANNELS
from phosphene.errors import PhospheneError, nearest
from phosphene.simulate.designs import DESIGNS
from phosphene.simulate.eegcvpr40 import DEFAULT_SNR_DB, LIKENESS, N_RUNS, N_TIMES, SFREQ, Shown, show, visit
from phosphene.simulate.study import SIMULATOR, Progress, check_numbers, holds
from phosphene.utils.files import whole

_BANDS = {band: file for band, file in FILES.items() if band != "raw"}


def simulate(
    out: str | Path,
    *,
    n_subjects: int = len(SUBJECTS),
    n_classes: int = len(LIKENESS),
    n_per_class: int = 50,
    design: str = "block",
    band: str = "5_95",
    snr_db: float = DEFAULT_SNR_DB,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Simulate a study and write it to the folder `out`, which appears whole or not at all.

    All of it takes 3.1 GB, twice that while it is written, and never much memory. If `out` already holds the study of
    these very arguments it is kept and returned at once.

    Parameters
    ----------
    n_subjects : 1 to 6.
    n_classes, n_per_class : classes, half of them animals as far as there are (eight), and pictures of each.
    design : "block", as published; "drift", the same without a response; "phantom", without a brain; "rapid", the
        pictures intermixed.
    band : "5_95", "14_70" or "55_95", Hz: which file is written.
    snr_db : single-trial signal-to-noise ratio of the brain, dB, before the band-pass.
    progress : called with (steps done, steps in all, what is being done).

    Raises
    ------
    PhospheneError
        For an argument out of range, an `out` that holds something else, or a full disk.
    """
    given = locals()
    kept = [name for name in inspect.signature(simulate).parameters if name not in ("out", "progress")]
    parameters = {"layout": "eegcvpr40", **{name: given[name] for name in kept}}
    _check(parameters)
    out, made = Path(out), DESIGNS[design]
    if holds(out, parameters):
        return out
    done, total = 0, 2 + n_subjects * min(N_RUNS, n_classes)

    def step(what: str, n: int = 1) -> None:
        nonlocal done
        done += n
        if progress is not None:
            progress(done, total, what)

    with whole(out) as part:
        part.mkdir()
        step("drawing pictures", 0)
        shown = show(made, n_classes=n_classes, n_per_class=n_per_class, seed=seed)
        _write_pictures(part, shown)
        step("drawing pictures")
        # a subject's list: one order for all, which is neither that of time nor sorted
        order = np.random.default_rng([seed, 64]).permutation(len(shown.pictures))
        place = np.argsort(order)
        scratch = part / "eeg.npy"  # on disk until it is in the file
        shape = (n_subjects, len(order), len(CHANNELS), N_TIMES)
        eeg = np.lib.format.open_memmap(scratch, "w+", np.float32, shape)
        low, high = (float(edge) for edge in band.split("_"))
        for i in range(n_subjects):
            for rows, records in visit(i + 1, shown, made, CHANNELS, band=(low, high), snr_db=snr_db, seed=seed):
                eeg[i, place[rows]] = records
                step(f"recording subject {i + 1}")
        _write_signals(part / _BANDS[band], eeg, shown.pictures, order, seed)
        del eeg
        scratch.unlink()
        _write_splits(part, shown.pictures["wnid"].to_numpy(str), order, n_subjects, seed)
        step("writing the files")
        facts = {
            "name": "Phosphene simulated viewing, in the files of EEGCVPR40",
            "simulated": True,
            "simulator": SIMULATOR,
            "phosphene": phosphene.__version__,
            "design": made.order,
            "parameters": parameters,
            "files": sorted(path.name for path in part.iterdir() if path.is_file()),
            "drawn": {wnid: LIKENESS[wnid] for wnid in shown.pictures["wnid"].unique()},
        }
        (part / "dataset.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return out


def _write_pictures(root: Path, shown: Shown) -> None:
    for name, wnid, (picture, _) in zip(shown.pictures.index, shown.pictures["wnid"], shown.drawn, strict=True):
        (root / "images" / wnid).mkdir(parents=True, exist_ok=True)
        picture.save(root / "images" / wnid / f"{name}.png")
    shown.captions.to_csv(root / "captions.csv")
    lines = "".join(f"{name}.png\n" for name in shown.events["stimulus"])
    (root / "image_order.txt").write_text(lines, encoding="utf-8")


def _write_signals(path: Path, eeg: np.ndarray, pictures: pd.DataFrame, order: np.ndarray, seed: int) -> None:
    """The list of records, each with a tensor of its own; `eeg` is (n_subjects, n_pictures, n_chans, n_times).

    `order` (n_pictures,) is the picture of each record of a subject. Labels are shuffled: readers that sort them fail.
    """
    import torch

    labels = [str(wnid) for wnid in np.random.default_rng([seed, 66]).permutation(pictures["wnid"].unique())]
    label = [labels.index(wnid) for wnid in pictures["wnid"]]
    records = [
        {"eeg": torch.from_numpy(eeg[i, j]), "image": int(image), "label": label[image], "subject": i + 1}
        for i in range(len(eeg))
        for j, image in enumerate(order)
    ]
    torch.save({"dataset": records, "labels": labels, "images": [str(name) for name in pictures.index]}, path)


def _write_splits(root: Path, wnid: np.ndarray, order: np.ndarray, n_subjects: int, seed: int) -> None:
    """By image: of each class a sixth of the pictures is for validation and a sixth for the test.

    Parameters
    ----------
    wnid : (n_pictures,) class of each picture.
    order : (n_pictures,) the picture of each record of a subject.
    """
    import torch

    splits = []
    for k in range(6):
        rng, part = np.random.default_rng([seed, 65, k]), np.full(len(wnid), 0)
        for name in np.unique(wnid):
            rows = rng.permutation(np.flatnonzero(wnid == name))
            n = max(1, round(len(rows) / 6))
            part[rows[:n]], part[rows[n : 2 * n]] = 1, 2
        splits.append(part[order])
    half = splits[0][: len(order) // 2]
    for key, listed in (("all", [np.tile(split, n_subjects) for split in splits]), ("single", [half])):
        held = [{name: np.flatnonzero(split == i).tolist() for i, name in enumerate(PARTS)} for split in listed]
        torch.save({"splits": held}, root / SPLITS[key])


def _check(p: dict[str, Any]) -> None:
    """Refuse what cannot be simulated."""
    for key, known in (("design", DESIGNS), ("band", _BANDS)):
        if p[key] not in known:
            raise PhospheneError(f"unknown {key} '{p[key]}': {nearest(str(p[key]), known)}")
    limits = {
        "n_subjects": (1, len(SUBJECTS)),
        "n_classes": (2, len(LIKENESS)),
        "n_per_class": (3, 1000),
        "seed": (0, 2**31),
    }
    check_numbers(p, limits, SFREQ)
