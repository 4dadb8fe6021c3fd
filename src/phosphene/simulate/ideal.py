"""The ideal observer: how well a simulated brain can be read at all, as the ceiling to every score on it.

It knows each candidate picture's noise-free response after the very preprocessing of a run, and the covariance of
everything else in an epoch: background, artefacts, and the responses to the pictures before and after. Which pictures
these were it does not know: they are noise to it, as they are to a decoder that is given one epoch. From an epoch, or
a mean of epochs, follows the posterior over the candidates, in closed form.

All noise counts as Gaussian with the covariance that it has. For blinks, bursts of alpha and neighbouring responses
that is an approximation, so that the observer is ideal to that extent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mne
import numpy as np
import pandas as pd
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.linalg import cho_solve, cholesky, eigh, solve_triangular
from scipy.signal import fftconvolve
from scipy.special import logsumexp

from phosphene.eeg.preprocessing import Preprocessing
from phosphene.simulate import brain as facts
from phosphene.simulate import noise
from phosphene.simulate.brain import Brain
from phosphene.simulate.study import choose_stimuli, plan_sessions

Window = tuple[float | None, float | None]

MOST = 4096  # values of an epoch that are kept: channels times directions in time, those of most signal for the noise
_LAGS = 5  # times at which a neighbour's onset is taken, in place of all that occur
_MICRO = 1e6  # volts to microvolts, so that numbers are near 1


@dataclass(frozen=True)
class Linear:
    """What preprocessing does to a recording, as two matrices.

    Parameters
    ----------
    channels : (n_chans, 63) from the electrodes to the channels of an epoch.
    times : (n_times, n_lags) from samples of the recording to samples of an epoch.
    first : the recording's sample, counted from onset, of the first column of `times`.
    """

    channels: np.ndarray
    times: np.ndarray
    first: int

    def beginning(self, onset: int, length: int) -> np.ndarray:
        """(n_times, length) the columns of samples that begin `onset` samples after the epoch's own onset."""
        start = onset - self.first
        inside = np.clip([start, start + length], 0, self.times.shape[1])
        out = np.zeros((len(self.times), length))
        out[:, inside[0] - start : inside[1] - start] = self.times[:, inside[0] : inside[1]]
        return out


class _Cut(Preprocessing):
    """The steps after the filters alone."""

    def continuous(self, raw: mne.io.BaseRaw, bads: Literal["keep", "interpolate"] = "keep") -> mne.io.BaseRaw:
        return raw


def linear(steps: Preprocessing, brain: Brain, window: Window = (None, None)) -> Linear:
    """Measure what `steps` do, by what they make of impulses; epochs are cropped to `window` (s from onset).

    Rejection of epochs is left out: it only chooses among them.
    """
    given = {**steps.config(), "reject": None}
    open_band = type(steps)(**{**given, "l_freq": None, "h_freq": None, "notch": None})
    channels = open_band.continuous(brain.to_raw(np.eye(len(facts.CHANNELS)))).get_data()

    narrow = 2.0 if steps.l_freq is None else min(max(0.25 * steps.l_freq, 2.0), steps.l_freq)  # Hz, as MNE has it
    reach = round((3.3 / narrow + 4.0) * brain.sfreq)  # all of a filter, be it centred or causal
    weights = np.random.default_rng(0).normal(size=len(facts.CHANNELS))
    impulse = np.zeros((len(weights), 2 * reach + 1))
    impulse[:, reach] = weights
    seen = channels @ weights
    response = seen @ type(steps)(**given).continuous(brain.to_raw(impulse)).get_data() / (seen @ seen)

    rate = brain.sfreq
    low, high = (round(float(edge or 0.0) * rate) for edge in (steps.tmin, steps.tmax))
    at = np.arange(low - 1, high + 1)  # samples from onset at which the impulse lies
    one = np.zeros((1, 4 * len(at) + 2 * abs(low) + 2 * abs(high)))
    middle = one.shape[1] // 2
    one[0, middle] = 1.0
    raw = mne.io.RawArray(one, mne.create_info(["Cz"], rate, "eeg", verbose="error"), verbose="error")
    events = pd.DataFrame({"onset": (middle - at) / rate, "stimulus": "impulse", "subject": "1"})
    cut = _Cut(**given)(raw, events, pd.DataFrame({"concept": ["impulse"]}, index=["impulse"])).crop(*window)
    lag = middle - np.round(cut.table["onset"].to_numpy(float) * rate).astype(int)
    epoch = np.asarray(cut.eeg, np.float64)[np.argsort(lag), 0].T  # (n_times, n_at)
    return Linear(channels, fftconvolve(epoch, response[None, ::-1], axes=1), int(lag.min()) - reach)


class Ideal:
    """The Bayes-optimal reader of one simulated subject's epochs.

    Parameters
    ----------
    brain : the subject.
    steps : the preprocessing of the epochs.
    window : first and last time of the epochs, s from onset; None leaves that side as `steps` cut it.
    onsets : of each run of the study, when its pictures were shown, s; without any, no response overlaps another.

    Attributes
    ----------
    linear : what the preprocessing does.
    mean_ : (n_chans, n_times) V, what is in an epoch on the mean besides the response to its own picture.
    """

    def __init__(
        self, brain: Brain, steps: Preprocessing, window: Window = (None, None), *, onsets: Sequence[np.ndarray] = ()
    ):
        self.brain, self.linear = brain, linear(steps, brain, window)
        n_chans, n_times = len(self.linear.channels), len(self.linear.times)
        self._each = brain._evoke(np.eye(len(brain._common)) - brain._common).astype(np.float64)  # of every source
        u, s, _ = np.linalg.svd(self.linear.channels)
        self._space = _MICRO * u[:, : int((s > 1e-6 * s[0]).sum())].T  # a common reference takes a direction away
        spatial, temporal, self.mean_ = self._background()
        marginal = np.tensordot(np.trace(spatial, axis1=1, axis2=2), temporal, axes=1)
        own = self._shifted(self._each, 0).reshape(-1, n_times)
        floor = 1e-10 * np.trace(marginal) / n_times * np.eye(n_times)
        best = eigh(own.T @ own, marginal + floor)[1][:, ::-1]
        self._time = best[:, : max(1, MOST // len(self._space))] * np.sqrt(n_chans)
        self._factor = self._root(spatial, temporal, onsets)

    @classmethod
    def of_study(
        cls, parameters: Mapping[str, Any], subject: str, steps: Preprocessing, window: Window = (None, None)
    ) -> Ideal:
        """The observer of one subject of the study that `simulate(**parameters)` writes; nothing is read from disk."""
        p = dict(parameters)
        stimuli = choose_stimuli(p["n_train_pictures"], p["n_test_pictures"], seed=p["seed"])
        plans = plan_sessions(stimuli, subject, p)
        onsets = [run["onset"].to_numpy() for plan in plans for _, run in plan.groupby("run")]
        brain = Brain(subject, seed=p["seed"], snr_db=p["snr_db"], sfreq=p["sfreq"], regions=p.get("regions", "whole"))
        return cls(brain, steps, window, onsets=onsets)

    def templates(self, evoked: np.ndarray) -> np.ndarray:
        """Noise-free epochs (n_pictures, n_chans, n_times), V, of responses (n_pictures, 63, n) from `Brain.evoked`."""
        return self._shifted(np.asarray(evoked, np.float64), 0)

    def _shifted(self, evoked: np.ndarray, onset: int) -> np.ndarray:
        """What is left in an epoch of responses that begin `onset` samples after its own onset."""
        return self.linear.channels @ evoked @ self.linear.beginning(onset, evoked.shape[2]).T

    def _background(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Channel and time covariance of each part of the background, (n_parts, ., .), and the mean of all, V."""
        space, times = self._space @ self.linear.channels, self.linear.times
        blink, (level, blinking) = self.brain._blink, _blinking(self.brain, times.shape[1])
        parts = [*_parts(self.brain, times.shape[1]), (np.outer(blink, blink), blinking)]
        spatial = np.stack([space @ covariance @ space.T for covariance, _ in parts])
        temporal = _through(times, np.stack([autocovariance for _, autocovariance in parts]))
        return spatial, temporal, np.outer(self.linear.channels @ blink, level * times.sum(axis=1))

    def _root(self, spatial: np.ndarray, temporal: np.ndarray, onsets: Sequence[np.ndarray]) -> np.ndarray:
        """Cholesky factor of the covariance of all noise, in the directions kept; adds to `mean_` what overlaps."""
        temporal = self._time.T @ temporal @ self._time
        n_space, n_time = spatial.shape[1], temporal.shape[1]
        joint = spatial.reshape(len(spatial), -1).T @ temporal.reshape(len(temporal), -1)
        full = joint.reshape(n_space, n_space, n_time, n_time).transpose(0, 2, 1, 3).reshape(n_space * n_time, -1)
        del joint
        reference = self.brain._code.reference + self.brain._common
        values, vectors = np.linalg.eigh(reference.T @ reference / len(reference))
        spread = (vectors * np.sqrt(np.maximum(values, 0))).T
        alike = np.tensordot(spread, self._each, axes=1)  # pictures with the second moments of random ones
        usual = np.tensordot(self.brain._common, self._each, axes=1)[None]
        for neighbour in self._neighbours(onsets):
            mean, columns = np.zeros_like(self.mean_), []
            for lag, share in neighbour:
                columns.append(np.sqrt(share) * self._flat(self._shifted(alike, lag)))
                mean += share * self._shifted(usual, lag)[0]
            self.mean_ = self.mean_ + mean
            found, centre = np.concatenate(columns), self._flat(mean[None])
            full += found.T @ found
            full -= centre.T @ centre
        full[np.diag_indices_from(full)] += 1e-9 * np.trace(full) / len(full)
        return cholesky(full, lower=True, overwrite_a=True, check_finite=False)

    def _neighbours(self, onsets: Sequence[np.ndarray]) -> Iterator[list[tuple[int, float]]]:
        """For each neighbour that reaches into epochs: at how many samples after them it begins, and how often so."""
        if not onsets:
            return
        rate, weight = self.brain.sfreq, np.abs(self.linear.times).max(axis=0)
        felt = np.flatnonzero(weight > 0.02 * weight.max()) + self.linear.first  # the epoch, without the filter's tails
        low, high = int(felt[0]) - self._each.shape[2], int(felt[-1])
        total = sum(len(run) for run in onsets)
        for step in range(1, 1 + max(len(run) for run in onsets)):
            met = False
            for sign in (-1, 1):
                gaps = np.concatenate([run[step:] - run[:-step] for run in onsets])
                lags = np.sort(sign * np.round(gaps * rate).astype(int))
                lags = lags[(lags > low) & (lags < high)]
                if len(lags):
                    met = True
                    groups = np.array_split(lags, min(_LAGS, len(lags)))
                    yield [(round(float(g.mean())), len(g) / total) for g in groups]
            if not met:
                return

    def _flat(self, epochs: np.ndarray) -> np.ndarray:
        """Epochs (n, n_chans, n_times), V, in the directions kept: (n, n_directions)."""
        return (self._space @ epochs @ self._time).reshape(len(epochs), -1)

    def gram(self, templates: np.ndarray) -> np.ndarray:
        """Inner products of templates in units of the noise of one epoch, (n, n); d'^2 is a squared distance in it."""
        white = solve_triangular(self._factor, self._flat(templates).T, lower=True, check_finite=False)
        return np.asarray(white.T @ white)

    def log_posterior(self, eeg: np.ndarray, templates: np.ndarray, n_averaged: np.ndarray | int = 1) -> np.ndarray:
        """Log-probability of each candidate given each epoch; before it all are equally likely.

        Parameters
        ----------
        eeg : (n_samples, n_chans, n_times) V, epochs or means of epochs, preprocessed and not whitened.
        templates : (n_candidates, n_chans, n_times) V, from `templates`.
        n_averaged : (n_samples,) how many epochs are in each mean; the noise of different ones counts as independent.

        Returns
        -------
        (n_samples, n_candidates) natural logarithms.
        """
        flat, candidates = self._flat(eeg - self.mean_), self._flat(templates)
        weights = cho_solve((self._factor, True), candidates.T, check_finite=False)
        scores = flat @ weights - 0.5 * np.einsum("id,di->i", candidates, weights)
        return normalised(scores * np.broadcast_to(np.asarray(n_averaged, float), len(eeg))[:, None])

    def surprise(self, residual: np.ndarray, n_averaged: np.ndarray | int = 1) -> float:
        """Mean square of noise (n_samples, n_chans, n_times), V, relative to what is expected: 1 if the noise is known.

        `residual` is an epoch, or a mean of epochs, less the template of the picture that was seen.
        """
        flat = self._flat(residual - self.mean_)
        white = solve_triangular(self._factor, flat.T, lower=True, check_finite=False)
        return float(np.mean(white**2 * np.broadcast_to(np.asarray(n_averaged, float), len(residual))))


def normalised(scores: np.ndarray) -> np.ndarray:
    """Log-likelihoods (n_samples, n_candidates) up to a constant of each row -> log-probabilities."""
    return scores - logsumexp(scores, axis=1, keepdims=True)


def readings(gram: np.ndarray, n_averaged: int = 1, *, n_draws: int = 4000, seed: int = 0) -> tuple[np.ndarray, ...]:
    """What the observer reads from epochs that are drawn, not recorded.

    Parameters
    ----------
    gram : (n, n) from `Ideal.gram`.
    n_averaged : epochs in each mean.
    n_draws : means drawn, of every candidate in turn.

    Returns
    -------
    Log-posterior (n_draws, n) and the candidate that was seen (n_draws,).
    """
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(np.maximum(values, 0))  # of the noise in the scores
    truth = np.arange(n_draws) % len(gram)
    drawn = np.random.default_rng([seed, 91]).normal(size=(n_draws, len(gram))) @ root.T / np.sqrt(n_averaged)
    return normalised(n_averaged * (gram[truth] + drawn - 0.5 * np.diag(gram))), truth


def _through(times: np.ndarray, autocovariance: np.ndarray) -> np.ndarray:
    """Covariance (n_parts, n_times, n_times) of stationary series (n_parts, n_lags) after `times` (n_times, n_lags)."""
    n = times.shape[1]
    length = next_fast_len(2 * n, real=True)
    circular = np.zeros((len(autocovariance), length))
    circular[:, :n] = autocovariance
    circular[:, length - n + 1 :] = autocovariance[:, :0:-1]
    power = rfft(circular, axis=1).real / length
    power[:, 1 : (length + 1) // 2] *= 2  # for the negative frequencies
    seen = rfft(times, length, axis=1)
    return np.stack([((seen * density) @ seen.conj().T).real for density in power])


def _parts(brain: Brain, n_lags: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each part of `Brain.background` but blinks: covariance of channels (63, 63), V^2, and autocorrelation."""
    lags, turn = np.arange(n_lags) / brain.sfreq, brain._rereference

    def correlation(spectrum: noise.Spectrum) -> np.ndarray:
        length = next_fast_len(max(4 * n_lags, round(480 * brain.sfreq)), real=True)
        power = spectrum(rfftfreq(length, 1 / brain.sfreq))
        power[0] = 0.0
        found = irfft(power, length)[:n_lags]
        return np.asarray(found / found[0])

    for exponent, mixing in brain._pink:
        yield mixing @ mixing.T, correlation(noise.one_over_f(exponent))
    slow = correlation(noise.bump(0.0, 0.25))
    bursts = correlation(noise.bump(brain._alpha_peak, 0.7)) * np.exp(0.36 * (slow - 1))
    yield brain._alpha_mixing @ brain._alpha_mixing.T, bursts
    yield brain._sensor_mixing @ brain._sensor_mixing.T, np.eye(1, n_lags)[0]
    yield facts.DRIFT_RMS**2 * turn @ turn.T, correlation(noise.one_over_f(4.0, corner=0.02))
    wander = 1 + 0.15**2 * correlation(noise.bump(0.0, 0.05))
    for harmonic, strength in ((1, 1.0), (2, 0.3)):
        if harmonic * facts.LINE_FREQUENCY < brain.sfreq / 2:
            between, within = np.exp(0.16 - 0.04 * harmonic**2), np.exp(0.32)  # of log-normal sizes and normal phases
            together = facts.LINE_RMS**2 * strength**2 * (between + (within - between) * np.eye(len(turn)))
            yield turn @ together @ turn.T, wander * np.cos(2 * np.pi * harmonic * facts.LINE_FREQUENCY * lags)


def _blinking(brain: Brain, n_lags: int) -> tuple[float, np.ndarray]:
    """Mean (V) and autocovariance (V^2) of the blinks at the forehead, from five hours of them."""
    n = max(next_fast_len(4 * n_lags, real=True), round(1800 * brain.sfreq))
    rng = np.random.default_rng(92)
    trains = [
        noise.blinks(rng, n, brain.sfreq, brain._blink_rate, facts.BLINK_PEAK).astype(np.float64) for _ in range(10)
    ]
    mean = float(np.mean(trains))
    power = [np.abs(rfft(train - mean, 2 * n)) ** 2 for train in trains]
    return mean, irfft(np.mean(power, axis=0), 2 * n)[:n_lags] / (n - np.arange(n_lags))
