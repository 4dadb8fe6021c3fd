"""From gradients to scalp maps.

A gradient g with respect to whitened EEG is a filter, and the weights of a filter say nothing of places (Haufe et al.
2014, NeuroImage 87, 96-110). What the head responds to looks, on the scalp, like the pattern C f, with C the channel
covariance and f the filter on volts (their eq. 6). With whitening W = C^(-1/2), f = W g and so C f = C W g = W^(-1) g:
the gradient passes through the whitener's inverse (`to_scalp`). C is then the covariance of channels alone, which is
exact for EEG that is white in time. EEG is not: `covarying` uses the covariance of all channels and samples, as far as
the trials at hand know it, and its maps are the better ones where there are some hundred trials.

Signs. The map of one trial has a sign: a positive channel is one whose rise brings the decoded vector nearer to *this*
trial's caption. For another caption it may be the reverse, so that the mean over trials of different captions
cancels what tells them apart and keeps what they share. Signed maps are therefore meant for trials of one caption or
concept, and the maps that heads, levels and subjects are compared by are absolute: root mean squares over time and
trials. Flipping each trial's sign until maps agree would make agreement out of noise, so it is not done.

What a map of nothing looks like. The absolute map of a filter drawn at random is not flat: it is loud where the EEG is
loud (`of_noise`). A difference of two maps that are scaled to equal size has no such floor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from phosphene.eeg.trials import Signal
from phosphene.eeg.whitening import Whitener
from phosphene.errors import PhospheneError, nearest

KINDS = ("absolute", "signed")


def inverses(whiteners: Mapping[tuple[str, str], Whitener], table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The operators of `to_scalp` from the whiteners of `phosphene.eeg.whitening.whiten`, by (subject, session).

    Returns
    -------
    (n_whiteners, n_chans, n_chans) inverses in volts, and (n_trials,) which of them is each trial's own.
    """
    order = {key: i for i, key in enumerate(whiteners)}
    keys = list(zip(table["subject"].astype(str), table["session"].astype(str), strict=True))
    for subject, session in keys:
        if (subject, session) not in order:
            raise PhospheneError(f"subject {subject}, session {session} has no whitener: give that session's own")
    return np.stack([w.inverse_ for w in whiteners.values()]), np.array([order[key] for key in keys])


def to_scalp(gradients: np.ndarray, operators: np.ndarray, place: np.ndarray | None = None) -> np.ndarray:
    """Patterns on the scalp of gradients, trial by trial.

    Parameters
    ----------
    gradients : (n_trials, n_chans, n_times) from `attribute`.
    operators : (n_chans, n_chans) or (n_operators, n_chans, n_chans). For a model that reads whitened EEG the
        whitener's `inverse_`; for one that reads volts its `covariance_`. Both give the same pattern.
    place : (n_trials,) which operator is a trial's own; needed where there are several.

    Returns
    -------
    (n_trials, n_chans, n_times), volts times the objective's unit (Haufe et al. 2014, eq. 6).
    """
    stack = np.asarray(operators, float)
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.shape[1:] != (gradients.shape[1],) * 2:
        raise PhospheneError(
            f"the operators are {stack.shape[1:]} for gradients of {gradients.shape[1]} channels: they do not belong"
        )
    if place is None and len(stack) > 1:
        raise PhospheneError("there are several operators: say in 'place' which is each trial's own")
    place = np.zeros(len(gradients), int) if place is None else np.asarray(place)
    out = np.empty(gradients.shape)
    for i, operator in enumerate(stack):
        out[place == i] = operator @ gradients[place == i]
    return out


def covarying(gradients: np.ndarray, eeg: np.ndarray, volts: np.ndarray) -> np.ndarray:
    """Patterns on the scalp by the covariance of channels and samples: what varies with each filter's output.

    Pattern i is the covariance, over trials j, of volts with the output of filter i (Haufe et al. 2014, eq. 6 and 7,
    with all channels and samples as variables).

    Parameters
    ----------
    gradients : (n_trials, n_chans, n_times) from `attribute`.
    eeg : (n_others, n_chans, n_times) trials of the same subject as the model reads them; the same or others.
    volts : (n_others, n_chans, n_times) these trials before whitening.

    Returns
    -------
    (n_trials, n_chans, n_times), volts times the objective's unit.
    """
    if np.shape(eeg) != np.shape(volts) or np.shape(eeg)[1:] != np.shape(gradients)[1:] or len(eeg) < 2:
        raise PhospheneError(
            f"eeg {np.shape(eeg)} and volts {np.shape(volts)} must be the same two trials or more, as long as the "
            f"gradients {np.shape(gradients)}"
        )
    read, seen = (np.asarray(x, float).reshape(len(x), -1) for x in (eeg, volts))
    output = gradients.reshape(len(gradients), -1) @ (read - read.mean(axis=0)).T
    return np.asarray((output @ (seen - seen.mean(axis=0)) / (len(eeg) - 1)).reshape(gradients.shape))


def of_noise(operator: np.ndarray) -> np.ndarray:
    """(n_chans,) the expected absolute map of filters drawn at random, root mean square 1, from one (n_chans, n_chans)
    operator that undoes whitening: the standard deviation of each channel."""
    return unit(np.sqrt(np.square(operator).sum(axis=1)))


def unit(maps: np.ndarray) -> np.ndarray:
    """Maps (..., n_chans) scaled to a root mean square of 1 over channels; an empty map stays 0."""
    size = np.sqrt(np.mean(np.square(maps), axis=-1, keepdims=True))
    return np.divide(maps, size, out=np.zeros(np.shape(maps)), where=size > 0)


@dataclass(frozen=True)
class Topography:
    """Scalp maps by head or level, one for each subject.

    Parameters
    ----------
    signal : channel names and positions.
    maps : name -> (n_subjects, n_chans).
    subjects : (n_subjects,) labels.
    kind : "absolute" or "signed".
    window : (from, to) in seconds from onset; None is the whole trial.
    n_trials : (n_subjects,) trials behind each subject's maps.
    unit : "V" (times the objective's), or "1" after scaling.
    """

    signal: Signal
    maps: dict[str, np.ndarray]
    subjects: tuple[str, ...]
    kind: str
    window: tuple[float, float] | None
    n_trials: tuple[int, ...]
    unit: str = "V"

    def of(self, name: str) -> np.ndarray:
        """(n_subjects, n_chans) maps of one head or level."""
        if name not in self.maps:
            raise PhospheneError(f"there is no map '{name}': {nearest(name, self.maps)}")
        return self.maps[name]

    def scaled(self) -> "Topography":
        """Each subject's map of each head at a root mean square of 1 over channels."""
        return replace(self, maps={name: unit(maps) for name, maps in self.maps.items()}, unit="1")

    def by_level(self, levels: Mapping[str, str]) -> "Topography":
        """Maps of levels: the mean of their heads' scaled maps; ``levels`` is head -> level."""
        lost = [name for name in self.maps if name not in levels]
        if lost:
            raise PhospheneError(f"head '{lost[0]}' has no level: add it to the levels")
        each = self.scaled().maps
        maps = {
            level: np.mean([each[name] for name in each if levels[name] == level], axis=0)
            for level in dict.fromkeys(levels[name] for name in each)
        }
        return replace(self, maps=maps, unit="1")

    def mean(self, name: str) -> np.ndarray:
        """(n_chans,) mean over subjects."""
        return np.asarray(self.of(name).mean(axis=0))

    def error(self, name: str) -> np.ndarray:
        """(n_chans,) standard error over subjects; NaN for one subject."""
        maps = self.of(name)
        if len(maps) < 2:
            return np.full(maps.shape[1], np.nan)
        return np.asarray(maps.std(axis=0, ddof=1) / np.sqrt(len(maps)))

    def consistency(self, name: str) -> float:
        """Mean over pairs of subjects of the correlation of their maps over channels; NaN for one subject."""
        maps = self.of(name)
        pairs = [np.corrcoef(maps[i], maps[j])[0, 1] for i, j in combinations(range(len(maps)), 2)]
        return float(np.mean(pairs)) if pairs else float("nan")

    def frame(self) -> pd.DataFrame:
        """One row for each map and channel: map, channel, mean, error, consistency, and one column a subject."""
        parts = []
        for name, maps in self.maps.items():
            columns: dict[str, Any] = {
                "map": name,
                "channel": list(self.signal.ch_names),
                "mean": self.mean(name),
                "error": self.error(name),
                "consistency": self.consistency(name),
            }
            columns |= {f"subject_{label}": row for label, row in zip(self.subjects, maps, strict=True)}
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def facts(self) -> dict[str, Any]:
        """What the numbers of `frame` mean, JSON-able."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "window_s": self.window,
            "subjects": list(self.subjects),
            "n_trials": list(self.n_trials),
            "consistency": {name: self.consistency(name) for name in self.maps},
        }


def topography(
    patterns: Mapping[str, np.ndarray],
    signal: Signal,
    *,
    subjects: Sequence[str] | np.ndarray | None = None,
    window: tuple[float, float] | None = None,
    kind: str = "absolute",
) -> Topography:
    """Maps of each head and subject from patterns on the scalp.

    Parameters
    ----------
    patterns : head -> (n_trials, n_chans, n_times) from `to_scalp`.
    signal : of the trials; names, positions, and the time axis.
    subjects : (n_trials,) whose trial; None is one subject.
    window : (from, to) s from onset, ``from <= time < to``; None is the whole trial.
    kind : "absolute" (root mean square over time and trials) or "signed" (mean; for trials of one caption).
    """
    if kind not in KINDS:
        raise PhospheneError(f"unknown kind of map '{kind}': {nearest(kind, KINDS)}")
    if not patterns:
        raise PhospheneError("there is no head to map: give the patterns of one at least")
    shapes = {np.shape(p) for p in patterns.values()}
    n, n_chans, n_times = next(iter(shapes))
    if len(shapes) > 1 or n_chans != signal.n_chans:
        raise PhospheneError(f"patterns must all be (n_trials, {signal.n_chans}, n_times), not {sorted(shapes)}")
    label = np.array(["01"] * n if subjects is None else subjects).astype(str)
    if n == 0 or len(label) != n:
        raise PhospheneError(f"{len(label)} subject labels for {n} trials: give one for each, and one trial at least")
    times = signal.times(n_times)
    keep = np.ones(n_times, bool)
    if window is not None:
        half = 0.5 / signal.sfreq
        keep = (times >= window[0] - half) & (times < window[1] - half)
        if not keep.any():
            raise PhospheneError(f"no sample lies in {window} s: the trials span {times[0]:g} to {times[-1]:g} s")
    names = list(dict.fromkeys(label.tolist()))
    maps = {}
    for head, pattern in patterns.items():
        rows = [np.asarray(pattern)[label == s][:, :, keep] for s in names]
        if kind == "absolute":
            maps[head] = np.stack([np.sqrt(np.mean(np.square(x), axis=(0, 2))) for x in rows])
        else:
            maps[head] = np.stack([x.mean(axis=(0, 2)) for x in rows])
    counts = tuple(int((label == s).sum()) for s in names)
    return Topography(signal, maps, tuple(names), kind, window, counts)
