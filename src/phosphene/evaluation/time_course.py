"""Tests at many time points at once, with one family-wise error over all of them.

References
----------
Maris & Oostenveld (2007), J. Neurosci. Methods 164, 177-190. Nichols & Holmes (2002), Hum. Brain Mapp. 15, 1-25.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import label

from phosphene.errors import PhospheneError
from phosphene.evaluation.statistics import sign_flips


class OverTime(NamedTuple):
    """Of `over_time`: the mean effect, its t, and p corrected for all points; (n_points,) each."""

    mean: np.ndarray
    t: np.ndarray
    p: np.ndarray


def over_time(
    effects: np.ndarray,
    *,
    threshold: float | None = None,
    two_sided: bool = True,
    n_perm: int = 2000,
    seed: int = 0,
) -> OverTime:
    """At which time points (or windows) is there an effect? The family-wise error holds over all of them.

    The signs of whole units are flipped at random, and t is taken at each point. Without ``threshold`` a point's t is
    compared with the largest over all points of each flip (maximum statistic, Nichols & Holmes 2002): each point is
    then a finding by itself. With it, runs of neighbouring points above the threshold are compared by their summed t
    (Maris & Oostenveld 2007): then only "there is an effect", not its first and last point, is a finding.

    Parameters
    ----------
    effects : (n_units, n_points) score minus chance, or a difference of two methods, for each independent unit
        (subject, or picture of one subject), symmetric about 0 under the null.
    threshold : of t, for instance 2; None for the maximum statistic.
    two_sided : also negative effects; else only positive ones.
    """
    x = np.asarray(effects, float)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] == 0 or not np.isfinite(x).all():
        raise PhospheneError(f"effects must be (n_units, n_points), two units or more, finite; these are {x.shape}")
    if threshold is not None and threshold <= 0:
        raise PhospheneError(f"threshold is {threshold}: give a positive t, or None for the maximum statistic")
    signs, every = sign_flips(len(x), n_perm, seed)
    squares = (x**2).mean(0)

    def t_of(mean: np.ndarray) -> np.ndarray:
        spread = np.sqrt(np.maximum(squares - mean**2, 1e-14 * squares) / (len(x) - 1))
        return np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0)

    observed, flipped = t_of(x.mean(0)), t_of(signs @ x / len(x))
    if threshold is None:
        own = np.abs(observed) if two_sided else observed
        largest = (np.abs(flipped) if two_sided else flipped).max(1)
    else:
        own = _masses(observed, threshold, two_sided)
        largest = np.array([_masses(t, threshold, two_sided).max() for t in flipped])
    hits = np.sum(largest[:, None] >= own - 1e-12 - 1e-9 * np.abs(own), axis=0)
    p = hits / len(signs) if every else (1 + hits) / (1 + len(signs))
    return OverTime(x.mean(0), observed, p)


def _masses(t: np.ndarray, threshold: float, two_sided: bool) -> np.ndarray:
    """(n_points,) summed t of the run of neighbours that each point is in; 0 outside."""
    masses = np.zeros(len(t))
    for signed in (t, -t) if two_sided else (t,):
        run = label(signed > threshold)[0]
        masses += np.where(run > 0, np.bincount(run, np.maximum(signed, 0))[run], 0.0)
    return masses
