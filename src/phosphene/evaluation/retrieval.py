"""Retrieval scores from a similarity matrix. Ties count as the mean over their random orderings, so that a decoder with
constant output scores chance, not 1."""

from typing import NamedTuple

import numpy as np
from scipy.stats import hypergeom

from phosphene.errors import PhospheneError


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n_a, n_b) cosine similarity of rows; a zero vector is similar to nothing (0)."""
    a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
    return a @ b.T


class Ranks(NamedTuple):
    """Place of the true item: (n_queries,) each.

    Parameters
    ----------
    above : gallery items with a higher similarity than the true one; 0 is a hit.
    tied : other items with the same similarity.
    n : size of the gallery.
    """

    above: np.ndarray
    tied: np.ndarray
    n: int


def ranks(similarity: np.ndarray, truth: np.ndarray) -> Ranks:
    """Place of item ``truth[i]`` for query i.

    Parameters
    ----------
    similarity : (n_queries, n_gallery), higher is nearer.
    truth : (n_queries,) gallery row of the true item.
    """
    similarity, truth = np.asarray(similarity), np.asarray(truth)
    if similarity.ndim != 2 or len(truth) != len(similarity):
        raise PhospheneError(f"similarity {similarity.shape} and truth {truth.shape} do not match")
    if not np.isfinite(similarity).all():
        raise PhospheneError("the similarities hold NaN: check the EEG for flat or missing channels")
    true = similarity[np.arange(len(truth)), truth][:, None]
    return Ranks((similarity > true).sum(1), (similarity == true).sum(1) - 1, similarity.shape[1])


def top_k(r: Ranks, k: int = 1) -> np.ndarray:
    """(n_queries,) probability that the true item is among the first ``k``: 0 or 1 unless tied."""
    return np.clip((k - r.above) / (r.tied + 1), 0.0, 1.0)


def median_rank(r: Ranks) -> np.ndarray:
    """(n_queries,) place of the true item, 1 is best; take the median over queries."""
    return 1 + r.above + r.tied / 2


def reciprocal_rank(r: Ranks) -> np.ndarray:
    """(n_queries,) 1 / place. With one true item a query its mean is the mean average precision."""
    return 1 / median_rank(r)


def k_way(r: Ranks, k: int, top: int = 1) -> np.ndarray:
    """(n_queries,) probability of a hit among the true item and ``k - 1`` distractors drawn without replacement.

    Closed form: the number of better distractors is hypergeometric, so nothing is drawn and nothing depends on a seed.
    """
    if not 2 <= k <= r.n:
        raise PhospheneError(f"{k}-way identification needs 2 to {r.n} candidates")
    if top >= k:
        return np.ones(len(r.above))
    low = hypergeom.cdf(top - 1, r.n - 1, r.above, k - 1)
    high = hypergeom.cdf(top - 1, r.n - 1, r.above + r.tied, k - 1)
    return (low + high) / 2 if r.tied.any() else low


def two_way(real: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(n_pictures,) share of other real pictures less correlated with drawing j than real picture j is (strict).

    Parameters
    ----------
    real, drawn : (n_pictures, dim) features; Pearson correlation of rows.

    Notes
    -----
    The distractors are the other *real* pictures for a given drawing (Ozcelik & VanRullen 2023; as ATM computes it).
    """
    r = cosine(real - real.mean(1, keepdims=True), drawn - drawn.mean(1, keepdims=True))
    return (r < np.diag(r)[None, :]).sum(0) / (len(r) - 1)
