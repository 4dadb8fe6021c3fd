"""Multivariate noise normalisation (Guggenmos, Sterzer & Cichy, NeuroImage 2018), in the manner of scikit-learn.

The noise covariance of the channels is estimated on *training* trials, and every trial is multiplied by its inverse
square root. The operator is kept in both directions, so that maps can return to the scalp.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from phosphene.eeg.lazy import EEG, LazyArray, lazy, stays
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError

_CHUNK = 512  # trials whose covariances are held at once
_CACHE = 1 << 21  # bytes of trials worked on at once: what the processor's cache holds


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
    p, n = x.shape[1:]
    out = np.empty((len(x), p, p))
    size = max(1, _CACHE // (8 * p * max(n, p, 1)))
    work = np.empty((min(size, len(x)), p, n))
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        centred = work[: len(x[part])]
        centred[...] = x[part]
        out[part] = _shrunk(centred)
    return out


def _shrunk(x: np.ndarray) -> np.ndarray:
    """`shrunk_covariances` of a batch that stays in the processor's cache; ``x`` (float64) is overwritten."""
    p, n = x.shape[1:]
    mean = x.mean(axis=2)
    x -= mean[..., None]
    cov = x @ x.transpose(0, 2, 1)
    cov /= n
    var = np.einsum("bii->bi", cov).copy()
    eps = np.finfo(np.float64).eps
    constant = var <= n * eps * var + (n * mean * eps) ** 2
    scale = np.where(constant, 1.0, np.sqrt(var))
    np.square(x, out=x)
    power = (scale[:, None, :] ** -2 @ x)[:, 0]  # (n_batch, n_observations), of the standardised variables
    standard = cov / scale[:, :, None]
    standard /= scale[:, None, :]
    trace = np.einsum("bii->b", standard)
    mu = trace / p
    norm2 = np.einsum("bij,bij->b", standard, standard)
    delta = (norm2 - 2 * mu * trace + p * mu**2) / p
    beta = np.minimum((np.einsum("bt,bt->b", power, power) / n - norm2) / (n * p), delta)
    shrinkage = np.divide(beta, delta, out=np.zeros_like(beta), where=beta > 0)
    cov *= (1 - shrinkage)[:, None, None]
    cov[:, np.arange(p), np.arange(p)] += (shrinkage * mu)[:, None] * scale**2
    return cov


class Whitener(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
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
    n_features_in_ : n_chans.

    Notes
    -----
    A table (n_samples, n_chans), as scikit-learn has it, is taken too: its rows are the observations of one covariance,
    in either mode.
    """

    def __init__(self, mode: str = "epochs"):
        self.mode = mode

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: EEG, y: np.ndarray | None = None) -> "Whitener":
        """Estimate from ``X`` (n_trials, n_chans, n_times); ``y`` (n_trials,) names each trial's condition.

        Raises
        ------
        PhospheneError
            If the mode is unknown, values are missing, ``y`` does not fit, or the covariance is singular.
        """
        if self.mode not in ("epochs", "time"):
            raise PhospheneError(f"unknown whitening mode '{self.mode}': valid: epochs, time")
        X = self._checked(X, fit=True)
        if X.ndim == 2:
            self.covariance_ = shrunk_covariances(np.asarray(X).T[None])[0]
        else:
            if y is None:
                y = np.arange(len(X)) if self.mode == "epochs" else np.zeros(len(X), int)
            _, y = np.unique(np.asarray(y), return_inverse=True)
            if len(y) != len(X):
                raise PhospheneError(f"y names {len(y)} conditions for {len(X)} trials: give one for each")
            self.covariance_ = self._epochs(X, y) if self.mode == "epochs" else self._time(X, y)
        if not np.isfinite(self.covariance_).all():
            raise PhospheneError("the trials to fit the whitening on hold NaN or infinity: leave those out")
        values, vectors = np.linalg.eigh(self.covariance_)
        if values.min() <= 0:
            raise PhospheneError("the channel covariance is singular: drop flat or duplicate channels")
        self.whitening_ = (vectors * values**-0.5) @ vectors.T
        self.inverse_ = (vectors * values**0.5) @ vectors.T
        return self

    def transform(self, X: EEG) -> EEG:
        """Whitened trials (..., n_chans, n_times), same shape and dtype as ``X``; a `LazyArray` stays one."""
        check_is_fitted(self)
        return _times(self.whitening_, self._checked(X))

    def inverse_transform(self, X: EEG) -> EEG:
        """Trials in the unit that they had before `transform`."""
        check_is_fitted(self)
        return _times(self.inverse_, self._checked(X))

    def _checked(self, X: Any, fit: bool = False) -> Any:
        """``X`` as an array of floats, or as the `LazyArray` that it is; tables are checked by scikit-learn."""
        if getattr(X, "ndim", 2) <= 2:
            return validate_data(self, X, reset=fit, dtype=[np.float64, np.float32], ensure_min_samples=2 if fit else 1)
        if (fit and X.ndim != 3) or len(X) == 0 or X.dtype.kind not in "fiu":
            raise PhospheneError(
                f"whitening needs numbers (n_trials, n_chans, n_times) with at least one trial, not {X.shape}"
            )
        if fit:
            self.n_features_in_ = X.shape[1]
            self.__dict__.pop("feature_names_in_", None)
        elif X.shape[-2] != self.n_features_in_:
            raise PhospheneError(
                f"X has {X.shape[-2]} channels and the whitener was fitted on {self.n_features_in_}: pick the same ones"
            )
        return X if X.dtype in (np.float32, np.float64) else X.astype(np.result_type(X.dtype, np.float32))

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


def _times(matrix: np.ndarray, X: Any) -> Any:
    if isinstance(X, LazyArray):
        return applied(matrix[None].astype(np.float32), np.zeros(len(X), int), X)
    matrix = matrix.astype(X.dtype)  # symmetric
    return X @ matrix if X.ndim == 2 else matrix @ X


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
    if trials.signal.unit == "whitened":
        raise PhospheneError("the trials are whitened already: set whitening to null")
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
    signal = replace(trials.signal, unit="whitened")
    return replace(trials, eeg=applied(operators, place, trials.eeg), signal=signal), whiteners


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


def whitened_by(operators: Mapping[str, np.ndarray], trials: Trials) -> Trials:
    """Trials by operators that were fitted before; those of a session without one by the mean of all.

    Parameters
    ----------
    operators : (n_chans, n_chans), by `<subject>/<session>`.
    """
    mean = np.mean(list(operators.values()), axis=0)
    keys = trials.table["subject"] + "/" + trials.table["session"]
    known = sorted(set(keys))
    matrices = np.stack([operators.get(key, mean) for key in known]).astype(np.float32)
    place = np.array([known.index(key) for key in keys], int)
    return replace(trials, eeg=applied(matrices, place, trials.eeg), signal=replace(trials.signal, unit="whitened"))
