"""From an own recording and a folder of its pictures to a trained model, scores and a page.

    python examples/own_study.py recording_raw.fif pictures/ out/

The recording is continuous; each picture shown is an annotation that bears the name of the picture's file.
"""

import sys
from pathlib import Path

import mne
import pandas as pd

import phosphene

recording, pictures, out = map(Path, sys.argv[1:4])

raw = mne.io.read_raw_fif(recording)
trials = phosphene.from_mne(
    raw, pictures, split={"stimulus": 0.2}, tmin=-0.1, tmax=0.7, baseline=(-0.1, 0.0), sfreq=125
)
trials.save(out / "trials")

recipe = {
    "name": "own-study",
    "dataset": {"name": "arrays", "root": str(out / "trials")},
    "window": [0.0, 0.6],
    "whitening": "epochs",
    "method": {"name": "nice", "encoder": "projection", "backbone": "mini"},  # for photographs: clip-vit-l14
    "training": {"epochs": 20},
}
run = phosphene.run(recipe, out=out / "run")

print(pd.read_csv(run / "scores.csv")[["metric", "value", "ci_low", "ci_high", "chance", "shuffled", "p"]])
print(f"open {run / 'report.html'}")
