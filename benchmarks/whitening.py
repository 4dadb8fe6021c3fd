"""How long the whitening of a session takes, against a loop over scikit-learn's LedoitWolf in the same run.

    python benchmarks/whitening.py [--conditions 400] [--repeats 2]

A session of THINGS-EEG2 has 16,540 / 2 = 8,270 training pictures shown twice, 63 channels and 250 samples. Both sides
take the same float32 trials and give the same covariance: a Ledoit-Wolf one for each trial, on standardised channels
and scaled back, averaged over repetitions, then over conditions. Rows are timed in turn, three times each; the best
counts.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from phosphene.eeg.whitening import Whitener

N_CHANS, N_TIMES, FULL = 63, 250, 16_540


def made(conditions: int, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Trials (n, 63, 250), volts, channels mixed as on a scalp; and the condition of each."""
    rng = np.random.default_rng(0)
    mixing = np.eye(N_CHANS) + 0.3 * rng.standard_normal((N_CHANS, N_CHANS))
    x = 1e-5 * mixing @ rng.standard_normal((conditions * repeats, N_CHANS, N_TIMES))
    return x.astype(np.float32), np.repeat(np.arange(conditions), repeats)


def looped(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The covariance of `Whitener("epochs")`, trial by trial with scikit-learn."""
    total = np.zeros((N_CHANS, N_CHANS))
    weight = 1 / np.bincount(y)[y] / (y.max() + 1)
    for trial, w in zip(x, weight, strict=True):
        scaler = StandardScaler()
        standard = scaler.fit_transform(trial.T.astype(np.float64))
        total += w * LedoitWolf().fit(standard).covariance_ * np.outer(scaler.scale_, scaler.scale_)
    return total


def bare(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same without standardising: other numbers, fewer steps."""
    return np.sum([LedoitWolf().fit(trial.T.astype(np.float64)).covariance_ for trial in x], axis=0) / len(x)


def seconds(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conditions", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    x, y = made(given.conditions, given.repeats)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "phosphene Whitener.fit": lambda: Whitener().fit(x, y).covariance_,
        "loop: StandardScaler + LedoitWolf": lambda: looped(x, y),
        "loop: LedoitWolf alone": lambda: bare(x, y),
    }
    best: dict[str, float] = {}
    values: dict[str, np.ndarray] = {}
    for _ in range(3):
        for name, way in ways.items():
            took, values[name] = seconds(way)
            best[name] = min(took, best.get(name, np.inf))
    own = next(iter(ways))
    print(f"{len(x)} trials x {N_CHANS} x {N_TIMES}; a full session has {FULL} ({FULL / len(x):.1f} times as many)\n")
    print("| way | s | ms a trial | full session, s | ratio | largest difference |\n|---|---|---|---|---|---|")
    for name, took in best.items():
        odd = np.abs(values[name] - values[own]).max() / np.abs(values[own]).max()
        same = f"{odd:.0e} of the largest entry" if name != "loop: LedoitWolf alone" else "another estimator"
        print(
            f"| {name} | {took:.3f} | {1e3 * took / len(x):.3f} | {took * FULL / len(x):.1f} | "
            f"{took / best[own]:.1f} | {same} |"
        )
    whitener = Whitener().fit(x, y)
    took = min(seconds(lambda: whitener.transform(x))[0] for _ in range(3))
    print(f"\ntransform: {took:.3f} s, {1e3 * took / len(x):.3f} ms a trial")


if __name__ == "__main__":
    main()
