"""The interval of a score, or the reason why there is none.

A percentile interval draws whole clusters. The range of k of them holds the truth in 1 - 2^(1 - k) of all cases, so
that fewer than six have no interval of 95 %. Where every sample scores 0, or every sample 1, all draws are alike and
the interval would have no width: there it is that of Clopper & Pearson (1934, Biometrika 26, 404-413) for so many
independent clusters, all alike. It holds for any score between 0 and 1: of mean m, it is 1 in a share m of cases at
most.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from phosphene.evaluation.statistics import bootstrap

FEWEST = 6  # clusters of an interval of 95 %
LEVEL = 0.95


class Interval(NamedTuple):
    """Both ends, NaN where there is none, and what has to be said of it; "" of an ordinary one."""

    low: float
    high: float
    said: str = ""


def of_scores(
    values: np.ndarray,
    clusters: np.ndarray,
    unit: str = "clusters",
    *,
    statistic: Callable[..., Any] = np.mean,
    shares: bool = True,
    n_boot: int = 2000,
    seed: int = 0,
) -> Interval:
    """The 95 % interval of a statistic of the samples' scores.

    Parameters
    ----------
    values : (n,) the score of each sample.
    clusters : (n,) samples with equal entries are not independent.
    unit : what a cluster is, in the plural.
    shares : whether scores lie between 0 and 1.
    """
    k = len(np.unique(clusters))
    if k < FEWEST:
        return too_few(k, unit)
    low, high = bootstrap(values, clusters, statistic=statistic, level=LEVEL, n_boot=n_boot, seed=seed)
    if low < high:
        return Interval(low, high)
    if shares and statistic is np.mean and np.ptp(values) == 0 and values[0] in (0, 1):
        return all_alike(bool(values[0]), k, unit)
    return Interval(np.nan, np.nan, f"no interval: every draw of the {k} {unit} gives the same value")


def too_few(k: int, unit: str) -> Interval:
    """No interval."""
    return Interval(np.nan, np.nan, f"no interval: {_count(k, unit)} too few, {FEWEST} are needed")


def all_alike(right: bool, k: int, unit: str) -> Interval:
    """Of k independent clusters that all score 1, or all 0."""
    end = (1 - LEVEL) / 2
    said = f"Clopper-Pearson interval: all {k} {unit} score alike"
    return Interval(end ** (1 / k), 1.0, said) if right else Interval(0.0, 1 - end ** (1 / k), said)


def _count(k: int, unit: str) -> str:
    return f"1 {unit.removesuffix('s')} is" if k == 1 else f"{k} {unit} are"
