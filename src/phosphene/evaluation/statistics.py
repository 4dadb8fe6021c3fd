"""Intervals and p-values."""

from collections.abc import Callable

import numpy as np

from phosphene.errors import PhospheneError


def bootstrap(
    values: np.ndarray,
    clusters: np.ndarray | None = None,
    *,
    statistic: Callable[..., np.ndarray] = np.mean,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic over queries; whole clusters are drawn where given.

    Parameters
    ----------
    values : (n_queries,) one score for each query.
    clusters : (n_queries,) queries with equal entries are not independent (pictures of one concept) and stay together.
    statistic : reduces an array of values.
    """
    values = np.asarray(values, float)
    if len(values) == 0:
        raise PhospheneError("there is no score to take an interval of: the test part is empty")
    _, cluster = np.unique(np.arange(len(values)) if clusters is None else clusters, return_inverse=True)
    members = [values[cluster == c] for c in range(cluster.max() + 1)]
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(members), size=(n_boot, len(members)))
    if statistic is np.mean:
        sums, counts = np.array([m.sum() for m in members]), np.array([len(m) for m in members])
        results = sums[draws].sum(1) / counts[draws].sum(1)
    else:
        results = np.array([statistic(np.concatenate([members[i] for i in draw])) for draw in draws])
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
