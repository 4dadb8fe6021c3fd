"""What the ideal observer reads from the simulated brain, against its signal-to-noise ratio and the repeats averaged.

    python benchmarks/ideal_observer.py [--pictures 200] [--seeds 0 1 2] [--snr -20 -16 -13 -10 -6 0]

Top-1 and top-5 among the test pictures of a study of the default design (0.4 s from picture to picture), epochs as the
demo cuts them. Epochs are drawn from the observer's own noise, 8000 for each cell; no recording is made. Each seed is
another subject with another code and other pictures; the mean over seeds stands with the lowest and highest.
"""

import argparse
from dataclasses import dataclass

import numpy as np

from phosphene.eeg.preprocessing import Preprocessing
from phosphene.simulate.ideal import Ideal, readings
from phosphene.simulate.study import choose_stimuli, scenes_of

STEPS = {"l_freq": 0.1, "h_freq": 40.0, "tmin": -0.1, "tmax": 0.7, "baseline": (-0.1, 0.0), "sfreq": 125.0}
WINDOW = (0.0, 0.6)
STUDY = {
    "n_train_pictures": 1200,
    "train_repeats": 2,
    "test_repeats": 10,
    "n_sessions": 1,
    "soa": 0.4,
    "sfreq": 250.0,
}
REPEATS = (1, 10)


@dataclass
class Found:
    top1: float
    top5: float


def ceilings(snr_db: float, seed: int, n_pictures: int, code: dict[int, np.ndarray]) -> dict[int, Found]:
    """For each number of repeats, what the observer of one subject reads."""
    study = {**STUDY, "n_test_pictures": n_pictures, "seed": seed, "snr_db": snr_db}
    observer = Ideal.of_study(study, "01", Preprocessing(**STEPS), WINDOW)
    if seed not in code:  # drawing the pictures is the slowest part
        stimuli = choose_stimuli(STUDY["n_train_pictures"], n_pictures, seed=seed)
        code[seed] = observer.brain.code(scenes_of(stimuli[stimuli["split"] == "test"]))
    gram = observer.gram(observer.templates(observer.brain._evoke(code[seed])))
    found = {}
    for n in REPEATS:
        log_posterior, truth = readings(gram, n, n_draws=8000, seed=seed)
        own = log_posterior[np.arange(len(truth)), truth]
        place = (log_posterior > own[:, None]).sum(axis=1)
        found[n] = Found(float((place < 1).mean()), float((place < 5).mean()))
    return found


def cell(values: list[float]) -> str:
    shown = [100 * v for v in (np.mean(values), min(values), max(values))]
    return f"{shown[0]:.1f} ({shown[1]:.1f} to {shown[2]:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--snr", type=float, nargs="+", default=[-20.0, -16.0, -13.0, -10.0, -6.0, 0.0])
    given = parser.parse_args()
    print(f"{given.pictures} pictures, {len(given.seeds)} seeds; %, mean (lowest to highest)\n")
    print("| SNR, dB | " + " | ".join(f"top-{k}, {n} repeat{'s' * (n > 1)}" for n in REPEATS for k in (1, 5)) + " |")
    print("|---" * (1 + 2 * len(REPEATS)) + "|")
    code: dict[int, np.ndarray] = {}
    for snr_db in given.snr:
        found = [ceilings(snr_db, seed, given.pictures, code) for seed in given.seeds]
        cells = [cell([getattr(f[n], top) for f in found]) for n in REPEATS for top in ("top1", "top5")]
        print(f"| {snr_db:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
