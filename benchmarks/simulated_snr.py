"""How well a linear decoder reads the simulated brain, against its signal-to-noise ratio.

    python benchmarks/simulated_snr.py [SEED [SUBJECT]]

Ridge from whitened EEG (63 channels x 0-0.6 s at 100 Hz) to the one-hot attributes of the scene (object, colour,
background, position), trained on 1200 pictures averaged over 2 repeats, tested on 200 pictures of unseen concepts
averaged over 10. A picture is identified by the highest correlation between its attributes and the decoded ones.
Every step up to the epochs is linear, so response and background are simulated once and mixed at each ratio.
"""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.trials import Trials, concatenate
from phosphene.eeg.whitening import Whitener
from phosphene.simulate.brain import Brain
from phosphene.simulate.study import choose_stimuli, plan_sessions, scenes_of

ATTRIBUTES = ("object", "colour", "background", "position")
DEFAULTS = {"train_repeats": 2, "test_repeats": 10, "n_sessions": 1, "soa": 0.4, "sfreq": 250.0}


def simulated(
    seed: int = 0, subject: str = "01", n_train: int = 1200, n_test: int = 200, **changes
) -> tuple[Trials, Trials]:
    """Epochs of the response at 0 dB alone, and of the background alone, of one study."""
    parameters = {**DEFAULTS, "seed": seed, **changes}
    stimuli = choose_stimuli(n_train, n_test, seed=seed)
    brain = Brain(subject, seed=seed, snr_db=0.0, sfreq=parameters["sfreq"])
    evoked, rows = brain.evoked(scenes_of(stimuli)), dict(zip(stimuli.index, range(len(stimuli)), strict=True))
    prepare = Preprocessing(l_freq=0.1, h_freq=40.0, reference="average", tmin=-0.1, tmax=0.7, sfreq=100.0)
    parts: tuple[list[Trials], list[Trials]] = ([], [])
    for session, plan in enumerate(plan_sessions(stimuli, subject, parameters), start=1):
        for run, events in plan.groupby("run"):
            events = events.assign(subject=subject).drop(columns="image")
            samples = np.round(events["onset"].to_numpy() * brain.sfreq).astype(int)
            which = np.array([rows[name] for name in events["stimulus"]])
            n_times = int(samples[-1] + 2.3 * brain.sfreq)
            response = brain.record(evoked, which, samples, n_times, background=False)
            for out, data in zip(parts, (response, brain.background(n_times, session=session, run=run)), strict=True):
                out.append(prepare(brain.to_raw(data), events, stimuli))
    return concatenate(parts[0]), concatenate(parts[1])


def one_hot(stimuli: pd.DataFrame, attributes=ATTRIBUTES) -> np.ndarray:
    return pd.get_dummies(stimuli[list(attributes)]).to_numpy(float)


def decode(response: Trials, background: Trials, snr_db: float) -> dict[str, float]:
    """Identification among the test pictures, and accuracy for each attribute."""
    gain = np.float32(10 ** (snr_db / 20)) if np.isfinite(snr_db) else np.float32(1)
    noise = background.eeg if np.isfinite(snr_db) else 1e-9 * background.eeg
    trials = Trials(gain * response.eeg + noise, response.table, response.stimuli, response.signal)
    trials = trials.crop(0.0, 0.6)
    train, test = trials.select(split="train"), trials.select(split="test").average()
    if np.isfinite(snr_db):
        whitener = Whitener().fit(train.eeg)
        train, test = (replace(part, eeg=whitener.transform(part.eeg)) for part in (train, test))
    train = train.average()
    x = StandardScaler().fit(train.eeg.reshape(len(train), -1))
    stimuli = trials.stimuli
    order = pd.get_dummies(stimuli[list(ATTRIBUTES)])
    y = order.loc[train.table["stimulus"]].to_numpy(float)
    truth = order.loc[test.table["stimulus"]].to_numpy(float)
    alphas = np.geomspace(1e-2, 1e7, 19)
    model = RidgeCV(alphas).fit(x.transform(train.eeg.reshape(len(train), -1)), y)
    decoded = model.predict(x.transform(test.eeg.reshape(len(test), -1)))
    spread = y.std(axis=0)
    z_decoded, z_truth = (decoded - y.mean(0)) / spread, (truth - y.mean(0)) / spread
    z_decoded, z_truth = (z - z.mean(1, keepdims=True) for z in (z_decoded, z_truth))
    z_truth /= np.linalg.norm(z_truth, axis=1, keepdims=True)
    similarity = z_decoded @ z_truth.T
    rank = (similarity > np.diag(similarity)[:, None]).sum(axis=1)
    out = {"top1": (rank < 1).mean(), "top5": (rank < 5).mean()}
    for name in ATTRIBUTES:
        columns = [i for i, c in enumerate(order.columns) if c.startswith(f"{name}_")]
        out[name] = (decoded[:, columns].argmax(1) == truth[:, columns].argmax(1)).mean()
    return {k: round(float(v), 3) for k, v in out.items()}


if __name__ == "__main__":
    seed, subject = (int(sys.argv[1]) if len(sys.argv) > 1 else 0), (sys.argv[2] if len(sys.argv) > 2 else "01")
    print("chance: top1 0.005, top5 0.025, object 0.02, colour 0.10, background 0.125, position 0.33")
    parts = simulated(seed, subject)
    for snr_db in (np.inf, 0, -5, -8, -10, -12, -14, -16, -18, -20, -25, -30, -60):
        print(f"{snr_db:>5} dB", decode(*parts, snr_db), flush=True)
