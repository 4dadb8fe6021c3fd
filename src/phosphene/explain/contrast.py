"""Two levels on one scalp: the map of one minus that of the other, and how that compares with a known truth.

Rezvani et al. (2025, arXiv 2507.07157, section 4.2) read from such maps that frontal channels drive thematic heads and
occipital ones those of objects. On a simulated study it is known which kind of source is louder at each channel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from phosphene.eeg.trials import Signal
from phosphene.errors import PhospheneError
from phosphene.explain.topography import Topography

#: level -> kinds of content that the simulated sources of that level code
CONTENT = {"object": ("layout", "colour", "object"), "spatial": ("place",), "thematic": ("theme",)}


@dataclass(frozen=True)
class Contrast:
    """Map ``a`` minus map ``b`` of each subject, both scaled to a root mean square of 1 over channels.

    Parameters
    ----------
    signal : channel names and positions.
    subjects : (n_subjects,).
    names : (a, b).
    a, b : (n_subjects, n_chans) scaled maps.
    """

    signal: Signal
    subjects: tuple[str, ...]
    names: tuple[str, str]
    a: np.ndarray
    b: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """(n_subjects, n_chans) the difference a - b, unitless."""
        return np.asarray(self.a - self.b)

    def frame(self) -> pd.DataFrame:
        """One row a channel: both maps, their difference, its standard error over subjects (NaN for one), and the
        share of subjects whose difference has the sign of the mean."""
        values = self.values
        mean, n = values.mean(axis=0), len(values)
        error = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(mean), np.nan)
        return pd.DataFrame(
            {
                "channel": list(self.signal.ch_names),
                self.names[0]: self.a.mean(axis=0),
                self.names[1]: self.b.mean(axis=0),
                "difference": mean,
                "error": error,
                "same_sign": (np.sign(values) == np.sign(mean)).mean(axis=0),
            }
        )

    def check(self, truth: Mapping[str, Sequence[Mapping[str, Any]]] | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """How well the contrast knows which class of source dominates each channel.

        Parameters
        ----------
        truth : the sources of `Brain.truth()`, or subject -> sources.

        Returns
        -------
        One row a subject, and one ("mean") of the mean contrast against the mean power where there are several:
        `auc` of the difference for "a's sources are the louder ones here" (0.5 is chance), `sign` the share of
        channels whose difference has the sign of (a's share of a's power - b's share of b's power), `spearman` of
        the difference with the log ratio of the powers, `n_a` and `n_b` channels that either class dominates.

        Notes
        -----
        Neighbouring channels see the same sources, so that the number of channels is no sample size: read the
        spread over subjects instead.
        """
        powers = []
        for subject in self.subjects:
            sources = truth[subject] if isinstance(truth, Mapping) else truth
            powers.append(source_power(sources, {name: CONTENT[name] for name in self.names}))
        rows = [
            {"subject": s, **_agreement(d, p, self.names)}
            for s, d, p in zip(self.subjects, self.values, powers, strict=True)
        ]
        if len(rows) > 1:
            mean = sum(powers[1:], start=powers[0]) / len(powers)
            rows.append({"subject": "mean", **_agreement(self.values.mean(axis=0), mean, self.names)})
        return pd.DataFrame(rows)


def level_contrast(maps: Topography, a: str = "thematic", b: str = "object") -> Contrast:
    """The map of one level (or head) minus that of another, at each channel.

    Raises
    ------
    PhospheneError
        For signed maps, whose mean sign depends on the captions shown, or an unknown name.
    """
    if maps.kind != "absolute":
        raise PhospheneError("a contrast of levels needs absolute maps: make them with kind='absolute'")
    scaled = maps.scaled()
    return Contrast(maps.signal, maps.subjects, (a, b), scaled.of(a), scaled.of(b))


def source_power(
    sources: Sequence[Mapping[str, Any]],
    classes: Mapping[str, Sequence[str]] = CONTENT,
    variance: np.ndarray | None = None,
) -> pd.DataFrame:
    """How loud each class of known sources is at each channel.

    Parameters
    ----------
    sources : of `Brain.truth()`: `content` and `pattern` (n_chans,) in volts at one SD of what the source codes.
    classes : class -> kinds of content.
    variance : (n_sources,) of the code over the pictures shown, in squared SDs; None is 1 for each.

    Returns
    -------
    (n_chans, n_classes), V^2: the sum over a class's sources of squared pattern times variance.
    """
    pattern = np.array([s["pattern"] for s in sources], float)
    content = np.array([s["content"] for s in sources])
    weight = np.ones(len(pattern)) if variance is None else np.asarray(variance, float)
    if len(weight) != len(pattern):
        raise PhospheneError(f"{len(weight)} variances for {len(pattern)} sources: give one for each")
    power = {name: weight[(m := np.isin(content, kinds))] @ pattern[m] ** 2 for name, kinds in classes.items()}
    return pd.DataFrame(power)


def _agreement(difference: np.ndarray, power: pd.DataFrame, names: tuple[str, str]) -> dict[str, Any]:
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    a, b = (power[name].to_numpy() for name in names)
    louder = a > b
    if louder.all() or not louder.any():
        raise PhospheneError(f"the sources of one level dominate every channel: {' and '.join(names)} cannot be told")
    expected = np.sqrt(a / a.mean()) - np.sqrt(b / b.mean())
    with np.errstate(divide="ignore"):
        ratio = np.log(a) - np.log(b)
    return {
        "auc": float(roc_auc_score(louder, difference)),
        "sign": float(np.mean(np.sign(difference) == np.sign(expected))),
        "spearman": float(spearmanr(difference, ratio).statistic),
        "n_a": int(louder.sum()),
        "n_b": int((~louder).sum()),
    }
