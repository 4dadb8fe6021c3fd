"""Retrieval scores from a similarity matrix. Ties count as the mean over their random orderings, so that a decoder with
constant output scores chance, not 1."""

from typing import NamedTuple

import numpy as np
from scipy.stats import hypergeom, rankdata

from phosphene.errors import PhospheneError
from phosphene.utils.vectors import unit


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n_a, n_b) cosine similarity of rows; a zero vector is similar to nothing (0)."""
    return np.asarray(unit(a) @ unit(b).T)


class Ranks(NamedTuple):
    """Place of an item in a query's gallery; arrays of any common shape.

    Parameters
    ----------
    above : gallery items with a higher similarity than this one; 0 is a hit.
    tied : other items with the same similarity.
    n : size of the gallery.
    """

    above: np.ndarray
    tied: np.ndarray
    n: int

    def of(self, truth: np.ndarray) -> "Ranks":
        """(n_queries,) places of item ``truth[i]`` for query i, out of the full (n_queries, n_gallery) table."""
        query = np.arange(len(truth))
        return Ranks(self.above[query, truth], self.tied[query, truth], self.n)


def ranks(similarity: np.ndarray) -> Ranks:
    """Place of every item for every query, (n_queries, n_gallery).

    Parameters
    ----------
    similarity : (n_queries, n_gallery), higher is nearer.
    """
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or similarity.shape[1] == 0:
        raise PhospheneError(f"similarity must be (n_queries, n_gallery), not {similarity.shape}")
    if not np.isfinite(similarity).all():
        raise PhospheneError("the similarities hold NaN: check the EEG for flat or missing channels")
    first = rankdata(-similarity, method="min", axis=1)
    last = rankdata(-similarity, method="max", axis=1)
    return Ranks((first - 1).astype(int), (last - first).astype(int), similarity.shape[1])


def top_k(r: Ranks, k: int = 1) -> np.ndarray:
    """Probability that the item is among the first ``k``: 0 or 1 unless tied."""
    return np.clip((k - r.above) / (r.tied + 1), 0.0, 1.0)


def median_rank(r: Ranks) -> np.ndarray:
    """Place of the item, 1 is best, the middle of tied places; take the median over queries."""
    return 1 + r.above + r.tied / 2


def reciprocal_rank(r: Ranks) -> np.ndarray:
    """1 / place. With one true item a query its mean is the mean average precision."""
    return _over_ties(1 / np.arange(1.0, r.n + 1), r)


def k_way(r: Ranks, k: int, top: int = 1) -> np.ndarray:
    """Probability of a hit among the item and ``k - 1`` distractors drawn without replacement.

    Closed form: the number of better distractors is hypergeometric, so nothing is drawn and nothing depends on a seed.
    """
    if not 2 <= k <= r.n:
        raise PhospheneError(f"{k}-way identification needs 2 to {r.n} candidates")
    if top >= k:
        return np.ones(r.above.shape)
    return _over_ties(hypergeom.cdf(top - 1, r.n - 1, np.arange(r.n), k - 1), r)


def _over_ties(score: np.ndarray, r: Ranks) -> np.ndarray:
    """Mean of ``score[items above]``, (n,), over the random orderings of tied items."""
    total = np.concatenate([[0.0], np.cumsum(score)])
    return (total[r.above + r.tied + 1] - total[r.above]) / (r.tied + 1)


def two_way(r: Ranks) -> np.ndarray:
    """Share of the other items that are strictly less similar to the query than this one.

    With correlations of features this is 2-way identification as ATM computes it: the query is a drawing, the
    distractors are the other *real* pictures (not the reverse), and a tie is a miss.
    """
    return (r.n - 1 - r.above - r.tied) / (r.n - 1)


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n_a, n_b) Pearson correlation of rows."""
    return cosine(a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True))
