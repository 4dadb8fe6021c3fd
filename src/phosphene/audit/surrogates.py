"""EEG that holds nothing of the pictures, in the layout of a study: what a sound method must not decode."""

from dataclasses import replace

import numpy as np
import pandas as pd

from phosphene.eeg.lazy import chunks, lazy
from phosphene.eeg.trials import Trials
from phosphene.evaluation.protocols import joined

STATE = 0.3  # SD of the slow states of a phantom: log gain, and offset in SDs of the channel; ours
MINUTE = 60.0  # s in which a state forgets itself; ours


def noise(trials: Trials, seed: int = 0) -> Trials:
    """Gaussian noise with the mean and the covariance of the channels of each session, white in time."""
    place, means, factors = _moments(trials)

    def step(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.stack([_drawn(row, x.shape[2]) for row in rows]) if len(rows) else x

    def _drawn(row: int, n_times: int) -> np.ndarray:
        white = np.random.default_rng([seed, 61, int(row)]).standard_normal((trials.n_chans, n_times), np.float32)
        return np.asarray(means[place[row]] + factors[place[row]] @ white, np.float32)

    return replace(trials, eeg=lazy(trials.eeg).map(step))


def phantom(trials: Trials, seed: int = 0) -> Trials:
    """`noise` whose gain and offset change slowly with the time of the trials: a recording without a brain.

    Each channel's states are first-order autoregressive in time. Where no onset is known, the trials of a block share
    their state, and those of different blocks do not.
    """
    still = noise(trials, seed)
    gain, offset = (_states(trials, [seed, 62, i]) for i in range(2))
    _, _, factors = _moments(trials)
    scale = np.sqrt(np.mean([np.square(f).sum(axis=1) for f in factors], axis=0))

    def step(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        moved = x * np.exp(STATE * gain[rows])[:, :, None] + (STATE * offset[rows] * scale)[:, :, None]
        return np.asarray(moved, np.float32)

    return replace(still, eeg=lazy(still.eeg).map(step))


def _moments(trials: Trials) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """The session of each trial (n_trials,), and of each session mean (n_chans, 1) and factor (n_chans, n_chans)."""
    place, sessions = pd.factorize(joined(trials.table, "subject", "session"))
    n = np.zeros(len(sessions))
    total = [np.zeros(trials.n_chans) for _ in sessions]
    square = [np.zeros((trials.n_chans, trials.n_chans)) for _ in sessions]
    for start, some in chunks(trials.eeg):
        for i in np.unique(place[start : start + len(some)]):
            x = some[place[start : start + len(some)] == i].astype(np.float64)
            flat = x.transpose(1, 0, 2).reshape(trials.n_chans, -1)
            n[i] += flat.shape[1]
            total[i] += flat.sum(axis=1)
            square[i] += flat @ flat.T
    means, factors = [], []
    for count, sums, squares in zip(n, total, square, strict=True):
        mean = sums / count
        values, vectors = np.linalg.eigh(squares / count - np.outer(mean, mean))
        means.append(mean[:, None].astype(np.float32))
        factors.append((vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32))
    return place, means, factors


def _states(trials: Trials, seed: list[int]) -> np.ndarray:
    """(n_trials, n_chans) slow states, SD 1."""
    table, rng = trials.table, np.random.default_rng(seed)
    states = np.zeros((len(table), trials.n_chans))
    known = "onset" in table and not pd.to_numeric(table["onset"], errors="coerce").isna().any()
    place = joined(table, "subject", "session", "run", *([] if known else ["block"]))
    for _, rows in place.groupby(place).indices.items():
        time = table["onset"].to_numpy(float)[rows] if known else np.zeros(len(rows))
        order = rows[np.argsort(time, kind="stable")]
        keep = np.exp(-np.diff(np.sort(time), prepend=-np.inf) / MINUTE)  # 0 for the first
        state = np.zeros(trials.n_chans)
        for row, k in zip(order, keep, strict=True):
            state = k * state + np.sqrt(1 - k * k) * rng.standard_normal(trials.n_chans)
            states[row] = state
    return states
