"""What an EEG recording holds besides the response: background, alpha, sensor noise, blinks, line noise, drift.

Gaussian parts are drawn in the frequency domain. Many dipoles with the same spectrum sum to a Gaussian process whose
channel covariance is ``L @ L.T``; drawing 63 components with that covariance is the same process at a fraction of the
cost, and the spatial correlation of the dipoles is kept exactly.
"""

from collections.abc import Callable

import numpy as np
import scipy.fft

Spectrum = Callable[[np.ndarray], np.ndarray]  # frequency, Hz -> relative power density


def one_over_f(exponent: float, corner: float = 0.5) -> Spectrum:
    """Power density falling as ``1 / f ** exponent``, flat below `corner` Hz (our choice, so that power is finite)."""
    return lambda f: (corner**2 + f**2) ** (-exponent / 2)


def bump(peak: float, width: float) -> Spectrum:
    """Power density with a Gaussian peak, Hz."""
    return lambda f: np.exp(-0.5 * ((f - peak) / width) ** 2)


def gaussian(rng: np.random.Generator, n: int, n_times: int, sfreq: float, spectrum: Spectrum) -> np.ndarray:
    """Independent Gaussian noise of expected variance 1 with a given spectrum: float32 (n, n_times)."""
    length = scipy.fft.next_fast_len(n_times, real=True)
    power = spectrum(scipy.fft.rfftfreq(length, 1 / sfreq))
    power[0] = 0.0
    amplitude = np.sqrt(power / power.sum() / 2) * length / np.sqrt(2)
    white = rng.standard_normal((n, 2, len(amplitude)), dtype=np.float32)
    spectra = (white[:, 0] + 1j * white[:, 1]) * amplitude.astype(np.float32)
    return scipy.fft.irfft(spectra, length, axis=1)[:, :n_times]


def factor(mixing: np.ndarray) -> np.ndarray:
    """A square factor (n_chans, n_chans) with the covariance of `mixing` (n_chans, n_dipoles)."""
    u, s, _ = np.linalg.svd(mixing, full_matrices=False)
    return u * s


def bursts(rng: np.random.Generator, n: int, n_times: int, sfreq: float, peak: float) -> np.ndarray:
    """A rhythm that comes and goes: narrow-band noise under a slow, skewed envelope; variance 1, (n, n_times)."""
    slow = gaussian(rng, n, n_times, sfreq, bump(0.0, 0.25))
    envelope = np.exp(0.6 * slow)  # log-normal
    return gaussian(rng, n, n_times, sfreq, bump(peak, 0.7)) * (envelope / np.exp(0.6**2)).astype(np.float32)


def blinks(rng: np.random.Generator, n_times: int, sfreq: float, rate: float, peak: float) -> np.ndarray:
    """Time course of blinks, volts: `rate` per minute, at least 1 s apart, each about 0.3 s and `peak` volts high."""
    gaps = 1.0 + rng.exponential(60 / rate - 1.0, size=int(2 * n_times / sfreq * rate / 60) + 20)
    onsets = np.round(np.cumsum(gaps) * sfreq).astype(int)
    heights = rng.uniform(0.7, 1.4, size=len(onsets)) * peak
    times = np.arange(int(0.6 * sfreq)) / sfreq
    wave = pulse(times, 0.13, 0.06)
    train = np.zeros(n_times + len(times))
    inside = onsets < n_times
    np.add.at(train, onsets[inside], heights[inside])
    return np.convolve(train, wave)[:n_times].astype(np.float32)


def pulse(times: np.ndarray, latency: float | np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """A gamma-shaped response: exactly 0 up to onset, 1 at `latency`, about as wide as a Gaussian of SD `width` (s)."""
    shape = (np.asarray(latency) / width) ** 2
    ratio = np.maximum(times, 0.0) / latency
    with np.errstate(divide="ignore"):
        return np.exp(shape * (np.log(ratio) + 1 - ratio))


def line(rng: np.random.Generator, n: int, n_times: int, sfreq: float, frequency: float) -> np.ndarray:
    """Mains hum and its first harmonic, nearly in phase on all channels, its size wandering slowly: (n, n_times)."""
    times = np.arange(n_times, dtype=np.float64) / sfreq
    phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.2, size=n)
    size = rng.lognormal(0, 0.4, size=n) * np.sqrt(2)
    wander = 1 + 0.15 * gaussian(rng, 1, n_times, sfreq, bump(0.0, 0.05))[0]
    out = np.zeros((n, n_times), np.float32)
    for harmonic, strength in ((1, 1.0), (2, 0.3)):
        f = harmonic * frequency
        if f >= sfreq / 2:
            break
        sine, cosine = (strength * wander * wave(2 * np.pi * f * times) for wave in (np.sin, np.cos))
        angles = harmonic * phase
        waves = np.stack([sine, cosine]).astype(np.float32)
        out += np.stack([size * np.cos(angles), size * np.sin(angles)], axis=1).astype(np.float32) @ waves
    return out
