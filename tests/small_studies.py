"""A study of eight channels in its two forms, its recipes and a finished run: what bad inputs are made of."""

import json
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from PIL import Image

from phosphene.captions import SLOTS
from phosphene.eeg.trials import Signal, Trials

CHANNELS = ("Fz", "Cz", "Pz", "Oz", "O1", "O2", "P3", "P4")
RECIPE = """name: small
dataset: {name: arrays, root: study}
preprocessing: {}
method: {name: lda}
protocol: {select_on: last, average_test: 1}
evaluation: {n_boot: 20, n_perm: 99, shuffled_control: false}
"""
NICE = """name: small
dataset: {name: arrays, root: study}
preprocessing: {}
method: {name: nice}
protocol: {select_on: last, average_test: 1}
training: {epochs: 1}
evaluation: {n_boot: 20, n_perm: 99, shuffled_control: false}
"""
BIDS = """name: small
dataset: {name: bids, root: bids, stimuli: pictures, concept: trial_type, split: {run: ["02"]}}
preprocessing: {l_freq: null, h_freq: null, tmin: -0.1, tmax: 0.3, baseline: null, sfreq: null}
method: {name: lda}
protocol: {select_on: last, average_test: 1}
"""
GRID = "name: two\nrecipe: lda.yaml\nvariants: {one: null, two: {protocol.seed: 1}}\n"


def trials() -> Trials:
    """(24, 8, 20) V: two concepts of two pictures each, in three runs, of which the last is the test."""
    rng = np.random.default_rng(0)
    names = ["a0", "a1", "b0", "b1"]
    rows = [
        {
            "subject": "01",
            "session": "01",
            "run": f"{run:02d}",
            "onset": 1.0 + len(names) * repeat + place,
            "stimulus": name,
            "concept": name[0],
            "repeat": 2 * run + repeat - 2,
            "split": "test" if run == 3 else "train",
        }
        for run in (1, 2, 3)
        for repeat in (0, 1)
        for place, name in enumerate(names)
    ]
    table = pd.DataFrame(rows)
    eeg = 1e-5 * rng.standard_normal((len(table), len(CHANNELS), 20))
    eeg += 2e-5 * (table["concept"] == "a").to_numpy()[:, None, None]
    captions = {slot.name: [f"a {name} in {slot.level}" for name in names] for slot in SLOTS}
    stimuli = pd.DataFrame({"image": [f"pictures/{n}.png" for n in names], "concept": [n[0] for n in names]} | captions)
    stimuli.index = pd.Index(names, name="stimulus")
    return Trials(eeg.astype(np.float32), table, stimuli, Signal(CHANNELS, 100.0, -0.1))


def write(root: Path) -> Path:
    """`study` of stored epochs, `bids`, `pictures`, recipes and a grid, each sound."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    trials().save(root / "study")
    facts = json.loads((root / "study" / "signal.json").read_text())
    facts.pop("pictures")
    (root / "study" / "signal.json").write_text(json.dumps(facts))
    for folder in (root / "study" / "pictures", root / "bids" / "pictures", root / "pictures"):
        folder.mkdir(parents=True)
        for name in ("a0", "a1", "b0", "b1"):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    for name, text in {"lda": RECIPE, "nice": NICE, "bids": BIDS, "grid": GRID}.items():
        (root / f"{name}.yaml").write_text(text)
    eeg = root / "bids" / "sub-01" / "eeg"
    eeg.mkdir(parents=True)
    (root / "bids" / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.9.0"}')
    for run in ("01", "02"):
        base = f"sub-01_task-see_run-{run}"
        raw = mne.io.RawArray(
            1e-5 * rng.standard_normal((8, 600)), mne.create_info(list(CHANNELS), 100.0, "eeg"), verbose="error"
        )
        mne.export.export_raw(eeg / f"{base}_eeg.vhdr", raw, verbose="error")
        cells = [f"{1 + i}\t0.1\t{name}" for i, name in enumerate(("a0", "b0", "a1", "b1"))]
        (eeg / f"{base}_events.tsv").write_text("\n".join(["onset\tduration\ttrial_type", *cells]) + "\n")
        cells = [f"{name}\tEEG\tuV\tgood" for name in CHANNELS]
        (eeg / f"{base}_channels.tsv").write_text("\n".join(["name\ttype\tunits\tstatus", *cells]) + "\n")
    return root
