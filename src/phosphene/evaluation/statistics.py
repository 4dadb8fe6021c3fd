"""Intervals and p-values.

`bootstrap` and `permutation` are behind every row of `scores.csv`. `clustered_bootstrap` is for scores that share more
than one thing (subject, block, picture), `paired` compares two methods on the same samples. Many tests at once are
answered for by `corrections`; those over time by `mne.stats`.

References
----------
Cameron, Gelbach & Miller (2011), J. Bus. Econ. Stat. 29, 238-249. Davison & Hinkley (1997), Bootstrap Methods and their
Application. Hesterberg (2015), Am. Stat. 69, 371-386. Owen (2007), Ann. Appl. Stat. 1, 386-411. Phipson & Smyth (2010),
Stat. Appl. Genet. Mol. Biol. 9, 39.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from phosphene.errors import PhospheneError
from phosphene.evaluation.chance import smallest

#: (n,) the cluster of each score
Labels = Sequence[Any] | np.ndarray


def bootstrap(
    values: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    strata: np.ndarray | None = None,
    statistic: Callable[..., Any] = np.mean,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic over queries; whole clusters are drawn where given.

    Parameters
    ----------
    values : (n_queries,) one score for each query, or what the statistic makes a score of.
    clusters : (n_queries,) queries with equal entries are not independent (pictures of one concept) and stay together.
    strata : (n_queries,) of each as many are drawn as it has; not beside ``clusters``.
    statistic : reduces an array of values.
    """
    values, rng = np.asarray(values), np.random.default_rng(seed)
    if len(values) == 0:
        raise PhospheneError("there are no scores to compute an interval from: the test set is empty")
    if strata is not None:
        parts = [np.flatnonzero(strata == name) for name in np.unique(strata)]
        drawn = (
            np.concatenate([part[rng.integers(len(part), size=len(part))] for part in parts]) for _ in range(n_boot)
        )
        return _percentiles(np.array([statistic(values[rows]) for rows in drawn]), level)
    _, cluster = np.unique(np.arange(len(values)) if clusters is None else clusters, return_inverse=True)
    members = [values[cluster == c] for c in range(cluster.max() + 1)]
    draws = rng.integers(len(members), size=(n_boot, len(members)))
    if statistic is np.mean:
        sums, counts = np.array([m.sum() for m in members]), np.array([len(m) for m in members])
        results = sums[draws].sum(1) / counts[draws].sum(1)
    else:
        results = np.array([statistic(np.concatenate([members[i] for i in draw])) for draw in draws])
    return _percentiles(results, level)


def _percentiles(results: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(results, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def permutation(
    score: Callable[[np.ndarray], float],
    n: int,
    *,
    groups: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    higher_is_better: bool = True,
    n_perm: int = 2000,
    seed: int = 0,
) -> float:
    """One-sided p-value of ``score(identity)`` against random pairings (Phipson & Smyth 2010: never 0).

    Parameters
    ----------
    score : maps an order of the queries' truths (n,) to the score.
    n : number of queries.
    groups : (n,) permute within equal entries only; None permutes over all.
    clusters : (n,) queries with equal entries are not independent (pictures of one concept): whole clusters exchange
        their truths, so that a decoder which merely treats a concept's pictures alike gains nothing.
    """
    rng = np.random.default_rng(seed)
    sign = 1.0 if higher_is_better else -1.0
    observed = sign * score(np.arange(n))
    parts = [np.arange(n)] if groups is None else [np.flatnonzero(groups == g) for g in np.unique(groups)]
    hits = 0
    for _ in range(n_perm):
        order = np.arange(n)
        for part in parts:
            own = np.arange(len(part)) if clusters is None else np.unique(clusters[part], return_inverse=True)[1]
            shuffled = rng.permutation(len(part))
            here = shuffled[np.argsort(own[shuffled], kind="stable")]
            there = shuffled[np.argsort(rng.permutation(own.max() + 1)[own[shuffled]], kind="stable")]
            order[part[here]] = part[there]
        hits += sign * score(order) >= observed - 1e-12
    return (1 + hits) / (1 + n_perm)


# -- clusters that nest or cross ---------------------------------------------------------------


def clustered_bootstrap(
    values: np.ndarray,
    clusters: Labels | Sequence[Labels],
    *,
    strata: Labels | None = None,
    statistic: Callable[..., Any] = np.mean,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a statistic over trials that are not independent: of one subject, of one block, of one picture.

    *Nested* factors (a block lies in one subject): whole outer units are drawn with everything in them. Drawing
    subjects and then blocks within the drawn subjects would count the spread between blocks twice, once in the
    subjects' own means and once more (Davison & Hinkley 1997, section 3.8). *Crossed* factors (every subject sees every
    picture): the pigeonhole bootstrap, the product of an independent draw for each factor (Owen 2007). Drawing one
    factor alone would ignore what the other's units share. By itself it counts the trials' own noise three times, so
    its percentiles are brought to the two-way variance: the sum of the factors' variances, each drawn alone, less that
    of the single cells (Cameron, Gelbach & Miller 2011). Which factors nest is read from the labels.

    ``strata`` are units that are *fixed*: blocks are drawn within each subject, and the interval is about other blocks
    of these subjects, not about other subjects.

    The percentiles are those of Hesterberg (2015), widened as Student's t is for few clusters.

    Parameters
    ----------
    values : (n,) one score for each trial or query.
    clusters : (n,) labels of the clusters, or a sequence of such, one for each factor.
    strata : (n,) labels; every cluster lies in one of them.
    statistic : reduces an array of values; a cluster drawn twice is in it twice.

    Raises
    ------
    PhospheneError
        Unequal lengths, values that are not finite, or so few clusters that no percentile reaches ``level``.
    """
    values = _finite(values)
    plan = _Plan.of(len(values), clusters, strata)
    plan.enough(level)
    return _Draws.of(plan, [values], statistic, n_boot, seed).interval(level)


class Difference(NamedTuple):
    """Of `paired`: the statistic of a and of b, a - b, its interval, two-sided p, trials, clusters of the smallest
    factor, and the smallest p that any difference could have. The interval is NaN where there are too few clusters to
    have one."""

    a: float
    b: float
    value: float
    low: float
    high: float
    p: float
    n: int
    n_clusters: int
    p_min: float = 0.0


def paired(
    a: np.ndarray,
    b: np.ndarray,
    clusters: Labels | Sequence[Labels],
    *,
    strata: Labels | None = None,
    statistic: Callable[..., Any] = np.mean,
    level: float = 0.95,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare two methods on the same test samples.

    The interval is that of `clustered_bootstrap`; both methods are drawn together. p is of the null that the methods
    are exchangeable in every cluster: whole clusters exchange a and b, for the mean a flip of the sign of their
    difference. All exchanges are counted if they are no more than ``n_perm``, else so many are drawn and p is never 0.
    Of crossed factors no such group of exchanges exists: there p is one minus the level at which the interval just
    reaches 0.

    Parameters
    ----------
    a, b : (n,) the scores of the same n samples by either method, in the same order.
    clusters, strata, statistic : as for `clustered_bootstrap`.
    """
    a, b = _finite(a), _finite(b)
    if len(a) != len(b):
        raise PhospheneError(f"a scores {len(a)} samples and b {len(b)}: compare methods on the same test samples")
    plan = _Plan.of(len(a), clusters, strata)
    value, fewest = float(statistic(a) - statistic(b)), min(f.max() + 1 for f in plan.factors)
    low = high = float("nan")
    crossed = len(plan.factors) > 1
    if crossed or plan.reaches(level):
        draws = _Draws.of(plan, [a, b], statistic, n_boot, seed)
    if plan.reaches(level):
        low, high = draws.interval(level)
    if crossed:
        p, p_min = draws.p(), draws.p(0)
    else:
        p = _exchanged(a, b, plan.factors[0], statistic, n_perm, seed)
        p_min = smallest(n_perm, 2.0 ** min(fewest - 1, 1000))  # all signs turned count too
    return Difference(float(statistic(a)), float(statistic(b)), value, low, high, p, len(a), int(fewest), p_min)


def _exchanged(
    a: np.ndarray, b: np.ndarray, cluster: np.ndarray, statistic: Callable[..., Any], n_perm: int, seed: int
) -> float:
    signs, every = sign_flips(int(cluster.max()) + 1, n_perm, seed)
    if statistic is np.mean:
        results = signs @ np.bincount(cluster, a - b) / len(a)
        observed = float(np.bincount(cluster, a - b).sum() / len(a))
    else:
        swaps = signs[:, cluster] < 0
        results = np.array([statistic(np.where(s, b, a)) - statistic(np.where(s, a, b)) for s in swaps])
        observed = float(statistic(a) - statistic(b))
    hits = np.sum(np.abs(results) >= abs(observed) - 1e-12)
    return float(hits / len(signs) if every else (1 + hits) / (1 + len(signs)))


def sign_flips(n: int, n_perm: int, seed: int) -> tuple[np.ndarray, bool]:
    """(n_flips, n) of 1 and -1, and whether these are all there are (the identity is then among them)."""
    if n < 40 and 2**n <= n_perm:
        return 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1), True
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_perm, n)), False


@dataclass(frozen=True)
class _Plan:
    """What is drawn: the outermost factors, codes (n,) of each, and the strata's codes."""

    factors: list[np.ndarray]
    strata: np.ndarray

    @classmethod
    def of(cls, n: int, clusters: Labels | Sequence[Labels], strata: Labels | None) -> "_Plan":
        several = isinstance(clusters, list | tuple) and len(clusters) > 0 and np.ndim(clusters[0]) > 0
        given = [_codes(c, n) for c in (clusters if several else [clusters])]
        outer = [f for i, f in enumerate(given) if not any(_nested(f, g, j < i) for j, g in enumerate(given) if j != i)]
        fixed = np.zeros(n, int) if strata is None else _codes(strata, n)
        if any(_pairs(f, fixed) > f.max() + 1 for f in outer):
            raise PhospheneError(
                "a cluster lies in two strata: name strata that hold whole clusters, or leave them out"
            )
        return cls(outer, fixed)

    def _freedom(self) -> tuple[int, int]:
        """Units of the smallest factor, and its degrees of freedom."""
        n_strata = int(self.strata.max()) + 1
        return min((int(f.max()) + 1, int(f.max()) + 1 - n_strata) for f in self.factors)

    def reaches(self, level: float) -> bool:
        """Whether a percentile interval of so few clusters can have this level: the range of k has 1 - 2^(1 - k)."""
        freedom = self._freedom()[1]
        alone = any((np.bincount(_stratum(f, self.strata)) < 2).any() for f in self.factors)
        return not alone and freedom > 0 and 2.0 ** -min(freedom, 1000) <= 1 - level

    def enough(self, level: float) -> None:
        if not self.reaches(level):
            units, freedom = self._freedom()
            raise PhospheneError(
                f"{units} clusters in {units - freedom} part(s) are too few for an interval of {100 * level:g} %: "
                "give more of them, or cluster by a factor that has more units"
            )

    def draws(self, columns: Sequence[np.ndarray], statistic: Callable[..., Any], n_boot: int, seed: int) -> np.ndarray:
        """(n_boot,) the statistic of the first column, less that of the second if there is one."""
        rng = np.random.default_rng(seed)
        cells, cell = np.unique(np.stack(self.factors), axis=1, return_inverse=True)
        counts = np.bincount(cell)
        sums = [np.bincount(cell, column) for column in columns]
        results, left = [], n_boot
        while left:
            weights = self._weights(min(left, 256), cells, rng)
            weights = weights[weights @ counts > 0]  # partly crossed factors: the drawn units may share no trial
            left -= len(weights)
            if statistic is np.mean:
                each = [(weights @ total) / (weights @ counts) for total in sums]
            else:
                each = [np.array([statistic(np.repeat(c, w[cell])) for w in weights]) for c in columns]
            results.append(each[0] if len(each) == 1 else each[0] - each[1])
        return np.concatenate(results)

    def _weights(self, n: int, cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(n, n_cells) how often each combination of units is drawn."""
        weights = np.ones((n, cells.shape[1]), int)
        for factor, place in zip(self.factors, cells, strict=True):
            stratum = _stratum(factor, self.strata)
            drawn = np.zeros((n, len(stratum)), int)
            for s in np.unique(stratum):
                mine = np.flatnonzero(stratum == s)
                drawn[:, mine] = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=n)
            weights *= drawn[:, place]
        return weights


@dataclass(frozen=True)
class _Draws:
    """Bootstrap draws, and how far out their percentiles are read: ``scale`` times Student's t of ``freedom``."""

    values: np.ndarray
    scale: float
    freedom: float

    @classmethod
    def of(
        cls, plan: _Plan, columns: Sequence[np.ndarray], statistic: Callable[..., Any], n_boot: int, seed: int
    ) -> "_Draws":
        values, n_strata = plan.draws(columns, statistic, n_boot, seed), int(plan.strata.max()) + 1
        units = [int(f.max()) + 1 for f in plan.factors]
        freedom = [k - n_strata for k in units]
        if len(units) == 1:
            return cls(values, float(np.sqrt(units[0] / max(freedom[0], 1))), freedom[0])
        cells = np.unique(np.stack(plan.factors), axis=1, return_inverse=True)[1]
        alone = [replace(plan, factors=[f]).draws(columns, statistic, n_boot, seed).var() for f in plan.factors]
        alone = [v * k / max(df, 1) for v, k, df in zip(alone, units, freedom, strict=True)]
        noise = replace(plan, factors=[cells]).draws(columns, statistic, n_boot, seed).var()
        both = max(sum(alone) - (len(units) - 1) * noise, *alone)
        if both <= 0 or values.var() <= 0:
            return cls(values, 1.0, min(freedom))
        parts = sum(v**2 / max(df, 1) for v, df in zip(alone, freedom, strict=True))  # Satterthwaite
        return cls(values, float(np.sqrt(both / values.var())), max(both**2 / parts, min(freedom)))

    def interval(self, level: float) -> tuple[float, float]:
        tail = norm.cdf(self.scale * student.ppf((1 - level) / 2, self.freedom))
        low, high = np.quantile(self.values, [tail, 1 - tail])
        return float(low), float(high)

    def p(self, below: int | None = None) -> float:
        """Two-sided: one minus the level of the interval that just reaches 0, if ``below`` draws lie beyond it."""
        if below is None:
            below = int(min(np.sum(self.values <= 0), np.sum(self.values >= 0)))
        percentile = norm.ppf((1 + below) / (1 + len(self.values)))
        return float(min(1.0, 2 * student.cdf(percentile / self.scale, self.freedom))) if self.freedom > 0 else 1.0


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) == 0:
        raise PhospheneError(f"scores must be (n,) and not empty, not {values.shape}: the test part may be empty")
    if not np.isfinite(values).all():
        raise PhospheneError(f"{(~np.isfinite(values)).sum()} of {len(values)} scores are not finite: leave them out")
    return values


def _codes(labels: Labels, n: int) -> np.ndarray:
    codes = pd.factorize(np.asarray(labels))[0]
    if codes.shape != (n,) or (codes < 0).any():
        raise PhospheneError(f"{len(codes)} labels for {n} scores, or one is missing: label every score's cluster")
    return codes


def _pairs(a: np.ndarray, b: np.ndarray) -> int:
    return len(np.unique(a * (int(b.max()) + 1) + b))


def _nested(a: np.ndarray, b: np.ndarray, same: bool) -> bool:
    """Whether each unit of ``a`` lies in one of ``b``; equal partitions count if ``same``."""
    pairs = _pairs(a, b)
    return pairs == a.max() + 1 and (same or pairs > b.max() + 1)


def _stratum(factor: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """(n_units,) stratum of each unit."""
    stratum = np.zeros(int(factor.max()) + 1, int)
    stratum[factor] = strata
    return stratum
