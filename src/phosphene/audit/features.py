"""What the audit's linear reader is given of a trial: its time course, or one thing alone that should not suffice."""

from collections.abc import Callable, Mapping

import numpy as np

from phosphene.eeg.lazy import EEG, chunks

BIN = 0.05  # s


def course(eeg: np.ndarray, sfreq: float) -> np.ndarray:
    """Mean of each channel in bins of 50 ms, (n_trials, n_chans * n_bins)."""
    n_bins = max(1, round(eeg.shape[2] / sfreq / BIN))
    parts = np.array_split(np.asarray(eeg, np.float64), n_bins, axis=2)
    return np.concatenate([part.mean(axis=2) for part in parts], axis=1)


def offset(eeg: np.ndarray, sfreq: float) -> np.ndarray:
    """Mean of each channel, (n_trials, n_chans)."""
    return np.asarray(eeg, np.float64).mean(axis=2)


def power(eeg: np.ndarray, sfreq: float) -> np.ndarray:
    """Log variance of each channel about its mean, (n_trials, n_chans)."""
    variance = np.asarray(eeg, np.float64).var(axis=2)
    return np.log(variance + 1e-12 * max(float(variance.mean()), 1e-300))


def phaseless(eeg: np.ndarray, sfreq: float, seed: int = 0) -> np.ndarray:
    """`course` of trials whose phases are random, those of all channels alike: spectra stay, time courses go."""
    spectra = np.fft.rfft(np.asarray(eeg, np.float64), axis=2)
    angle = np.random.default_rng([seed, 51]).uniform(0, 2 * np.pi, (len(eeg), 1, spectra.shape[2]))
    angle[:, :, 0] = 0
    return course(np.fft.irfft(spectra * np.exp(1j * angle), eeg.shape[2], axis=2), sfreq)


Feature = Callable[[np.ndarray, float], np.ndarray]
FEATURES: dict[str, Feature] = {"course": course, "offset": offset, "power": power, "phaseless": phaseless}
BANDS = ((1, 4), (4, 8), (8, 14), (14, 30), (30, 55), (55, 95), (95, 200))  # Hz


def bands(eeg: np.ndarray, sfreq: float) -> dict[str, np.ndarray]:
    """Log power of each channel (n_trials, n_chans) in each of `BANDS` that trials of this length and rate hold."""
    spectra = np.fft.rfft(np.asarray(eeg, np.float64), axis=2)
    power, frequency = np.square(np.abs(spectra)), np.fft.rfftfreq(eeg.shape[2], 1 / sfreq)
    found = {}
    for low, high in BANDS:
        here = (frequency >= low) & (frequency < min(high, sfreq / 2))
        if here.any():
            inside = power[:, :, here].sum(axis=2)
            found[f"{low}-{high} Hz"] = np.log(inside + 1e-12 * max(float(inside.mean()), 1e-300))
    return found


def read(
    eeg: EEG, sfreq: float, keep: np.ndarray, kinds: Mapping[str, Feature], with_bands: bool = False
) -> dict[str, np.ndarray]:
    """Several features of the samples ``keep`` (n_times,) of all trials, the EEG read once: {kind: (n_trials, n)}."""
    parts: dict[str, list[np.ndarray]] = {}
    for _, some in chunks(eeg):
        here = {kind: feature(some[:, :, keep], sfreq) for kind, feature in kinds.items()}
        for kind, values in (here | (bands(some[:, :, keep], sfreq) if with_bands else {})).items():
            parts.setdefault(kind, []).append(values)
    return {kind: np.concatenate(rows) for kind, rows in parts.items()}
