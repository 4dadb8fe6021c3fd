"""Multivariate noise normalisation (Guggenmos, Sterzer & Cichy, NeuroImage 2018), in the manner of scikit-learn.

The noise covariance of the channels is estimated on *training* trials, and every trial is multiplied by its inverse
square root. The operator is kept in both directions, so that maps can return to the scalp.
"""

from dataclasses import replace

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from phosphene.errors import PhospheneError
from phosphene.lazy import EEG, lazy, stays
from phosphene.trials import Trials

_CHUNK = 512  # trials whose covariances are held at once


def shrunk_covariances(x: np.ndarray) -> np.ndarray:
    """Ledoit-Wolf covariance of each member of a batch, on standardised variables and scaled back.

    Parameters
    ----------
    x : (n_batch, n_variables, n_observations)

    Returns
    -------
    (n_batch, n_variables, n_variables) float64

    Notes
    -----
    Ledoit & Wolf 2004; standardising first keeps a loud channel from setting the shrinkage of all others. A constant
    variable keeps scale 1, as in scikit-learn's StandardScaler.
    """
    x = np.asarray(x, np.float64)
    n, p = x.shape[2], x.shape[1]
    mean = x.mean(axis=2, keepdims=True)
    x = x - mean
    var = np.mean(x**2, axis=2)
    eps = np.finfo(np.float64).eps
    constant = var <= n * eps * var + (n * mean[..., 0] * eps) ** 2
    scale = np.where(constant, 1.0, np.sqrt(var))
    x /= scale[..., None]
    cov = x @ x.transpose(0, 2, 1) / n
    trace = np.einsum("bii->b", cov)
    mu = trace / p
    norm2 = np.einsum("bij,bij->b", cov, cov)
    delta = (norm2 - 2 * mu * trace + p * mu**2) / p
    beta = (np.sum(np.sum(x**2, axis=1) ** 2, axis=1) / n - norm2) / (n * p)
    beta = np.minimum(beta, delta)
    shrinkage = np.divide(beta, delta, out=np.zeros_like(beta), where=beta > 0)
    cov *= (1 - shrinkage)[:, None, None]
    cov[:, np.arange(p), np.arange(p)] += (shrinkage * mu)[:, None]
    return cov * scale[:, :, None] * scale[:, None, :]


class Whitener(TransformerMixin, BaseEstimator):
    """Learn a channel covariance and multiply trials by its inverse square root.

    Parameters
    ----------
    mode : "epochs" (one covariance for each trial, time points as observations; ATM and NICE) or "time" (one for each
        time point, repetitions as observations; Gifford et al. 2022). Averaged within, then over conditions.

    Attributes
    ----------
    covariance_ : (n_chans, n_chans), squared units of the input.
    whitening_ : (n_chans, n_chans), covariance_ to the power -1/2.
    inverse_ : (n_chans, n_chans), covariance_ to the power 1/2; undoes `transform`.
    """

    def __init__(self, mode: str = "epochs"):
        self.mode = mode

    def fit(self, X: EEG, y: np.ndarray | None = None) -> "Whitener":
        """Estimate from ``X`` (n_trials, n_chans, n_times); ``y`` (n_trials,) names each trial's condition."""
        if self.mode not in ("epochs", "time"):
            raise PhospheneError(f"unknown whitening mode '{self.mode}': valid: epochs, time")
        if X.ndim != 3 or len(X) == 0:
            raise PhospheneError(f"whitening needs (n_trials, n_chans, n_times) with at least one trial, not {X.shape}")
        if y is None:
            y = np.arange(len(X)) if self.mode == "epochs" else np.zeros(len(X), int)
        _, y = np.unique(np.asarray(y), return_inverse=True)
        self.covariance_ = self._epochs(X, y) if self.mode == "epochs" else self._time(X, y)
        values, vectors = np.linalg.eigh(self.covariance_)
        if values.min() <= 0:
            raise PhospheneError("the channel covariance is singular: drop flat or duplicate channels")
        self.whitening_ = (vectors * values**-0.5) @ vectors.T
        self.inverse_ = (vectors * values**0.5) @ vectors.T
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Whitened trials, same shape and dtype as ``X``."""
        return (self.whitening_.astype(X.dtype) @ X).astype(X.dtype, copy=False)

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        return (self.inverse_.astype(X.dtype) @ X).astype(X.dtype, copy=False)

    @staticmethod
    def _epochs(X: EEG, y: np.ndarray) -> np.ndarray:
        weight = 1 / np.bincount(y)[y] / (y.max() + 1)  # mean over repetitions, then over conditions
        total = np.zeros((X.shape[1], X.shape[1]))
        for start in range(0, len(X), _CHUNK):
            part = slice(start, start + _CHUNK)
            total += np.tensordot(weight[part], shrunk_covariances(X[part]), axes=1)
        return total

    @staticmethod
    def _time(X: EEG, y: np.ndarray) -> np.ndarray:
        repeated = [c for c, n in enumerate(np.bincount(y)) if n > 1]
        if not repeated:
            raise PhospheneError("whitening mode 'time' needs repetitions of a condition: use mode 'epochs'")
        total = np.zeros((X.shape[1], X.shape[1]))
        for condition in repeated:
            total += shrunk_covariances(X[y == condition].transpose(2, 1, 0)).mean(axis=0)
        return total / len(repeated)


def whiten(trials: Trials, fit_on: np.ndarray, mode: str = "epochs") -> tuple[Trials, dict[tuple[str, str], Whitener]]:
    """Whiten each session with the covariance of its own training trials.

    Parameters
    ----------
    trials : all trials.
    fit_on : (n_trials,) bool, the training trials; no other trial is looked at.
    mode : see `Whitener`.

    Returns
    -------
    The whitened trials, and the `Whitener` of each (subject, session). A session without training trials is whitened by
    the training trials of its subject, and a subject without any by those of all subjects.
    """
    fit_on = np.asarray(fit_on, bool)
    if not fit_on.any():
        raise PhospheneError("no training trial to fit the whitening on: check protocol.split")
    subject, session = trials.table["subject"].to_numpy(), trials.table["session"].to_numpy()
    condition = trials.table["stimulus"].to_numpy()
    whiteners: dict[tuple[str, str], Whitener] = {}
    place = np.zeros(len(trials), int)
    for s, e in sorted(set(zip(subject, session, strict=True))):
        here = (subject == s) & (session == e)
        for own in (here & fit_on, (subject == s) & fit_on, fit_on):
            if own.any():
                break
        place[here] = len(whiteners)
        held = lazy(trials.eeg).rows(own) if stays(trials.eeg) else trials.eeg[own]
        whiteners[s, e] = Whitener(mode).fit(held, condition[own])
    operators = np.stack([w.whitening_ for w in whiteners.values()]).astype(np.float32)
    return replace(trials, eeg=applied(operators, place, trials.eeg)), whiteners


def applied(operators: np.ndarray, place: np.ndarray, eeg: EEG) -> EEG:
    """Each trial multiplied by its operator; a lazy array where ``eeg`` is on disk.

    Parameters
    ----------
    operators : (n_operators, n_chans, n_chans) float32.
    place : (n_trials,) which operator is a trial's own.
    eeg : (n_trials, n_chans, n_times).
    """

    def step(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        out = np.empty(x.shape, np.float32)
        for i in np.unique(place[rows]):
            mine = place[rows] == i
            out[mine] = operators[i] @ x[mine]
        return out

    return lazy(eeg).map(step) if stays(eeg) else step(np.asarray(eeg), np.arange(len(eeg)))
