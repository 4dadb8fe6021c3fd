"""Representational similarity: how far two sets of vectors of the same stimuli order the pairs of stimuli alike.

Similarity is Pearson's correlation of two vectors, and two similarity matrices are compared by Spearman's correlation
of their upper triangles, so that neither rotations nor lengths nor a monotonic change of scale matter.

References
----------
Kriegeskorte, Mur & Bandettini (2008), Front. Syst. Neurosci. 2, 4. Mantel (1967), Cancer Res. 27, 209-220. Nili et al.
(2014), PLoS Comput. Biol. 10, e1003553.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from phosphene.errors import PhospheneError
from phosphene.evaluation.intervals import FEWEST
from phosphene.evaluation.retrieval import correlation

LEAST = 5  # stimuli


class Related(NamedTuple):
    """Spearman's rho of two similarity matrices, its 95 % interval and one-sided p over stimuli."""

    rho: float
    ci_low: float
    ci_high: float
    p: float
    n: int


def rsm(vectors: np.ndarray) -> np.ndarray:
    """(n_stimuli, n_stimuli) Pearson correlation of vectors (n_stimuli, dim); of a constant vector 0."""
    vectors = np.asarray(vectors, float)
    if vectors.ndim != 2 or len(vectors) < LEAST or not np.isfinite(vectors).all():
        raise PhospheneError(f"similarity needs finite vectors of {LEAST} stimuli or more, not {vectors.shape}")
    return correlation(vectors, vectors)


def rho(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of the upper triangles of two similarity matrices; NaN where one does not vary."""
    return _pearson(*(rankdata(_upper(m)) for m in _pair(a, b)))


def relate(a: np.ndarray, b: np.ndarray, *, n_boot: int = 1000, n_perm: int = 2000, seed: int = 0) -> Related:
    """`rho` of two matrices (n_stimuli, n_stimuli), with statistics over stimuli.

    Parameters
    ----------
    n_boot : draws of stimuli with replacement, for the interval; pairs of a stimulus with itself are left out (Nili et
        al. 2014). Pairs keep the ranks that they have among all.
    n_perm : exchanges of the stimuli of one matrix, rows and columns together (Mantel 1967), for p of a rho above 0.
    """
    a, b = _pair(a, b)
    n = len(a)
    rng = np.random.default_rng(seed)
    observed, draws = rho(a, b), []
    ranks, other = (squareform(rankdata(_upper(m))) for m in (a, b))
    i, j = np.triu_indices(n, 1)
    for _ in range(n_boot):
        drawn = rng.integers(n, size=n)
        pairs = (drawn[i] != drawn[j]).nonzero()
        k, m = drawn[i[pairs]], drawn[j[pairs]]
        draws.append(_pearson(ranks[k, m], other[k, m]))
    known = n >= FEWEST and np.isfinite(draws).any()
    low, high = np.nanquantile(draws, [0.025, 0.975]) if known else (np.nan, np.nan)
    orders = (rng.permutation(n) for _ in range(n_perm))
    exchanged = [_pearson(ranks[order[i], order[j]], other[i, j]) for order in orders]
    hits = int(np.sum(np.array(exchanged) >= observed - 1e-12)) if np.isfinite(observed) else n_perm
    return Related(observed, float(low), float(high), (1 + hits) / (1 + n_perm), n)


def noise_ceiling(matrices: Sequence[np.ndarray]) -> tuple[float, float]:
    """What the best model could reach over several subjects' matrices of the same stimuli (Nili et al. 2014).

    Returns
    -------
    Lower and upper bound: the mean rho of each subject with the mean of the others, and with the mean of all. Means are
    of ranks. NaN of fewer than two subjects.
    """
    ranks = np.array([rankdata(_upper(np.asarray(matrix, float))) for matrix in matrices])
    if len(ranks) < 2:
        return float("nan"), float("nan")
    total = ranks.sum(axis=0)
    lower = [_pearson(own, rankdata(total - own)) for own in ranks]
    upper = [_pearson(own, rankdata(total)) for own in ranks]
    return float(np.mean(lower)), float(np.mean(upper))


def reliability(first: np.ndarray, second: np.ndarray) -> float:
    """Of a matrix made of all repeats, from those of either half of them: Spearman and Brown's formula, 0 below 0.

    Its square root is the rho that a matrix without noise would reach.
    """
    half = max(0.0, rho(first, second))
    return 2 * half / (1 + half)


def clustered(matrix: np.ndarray) -> np.ndarray:
    """(n_stimuli,) order of the leaves of an average-linkage tree on one minus the similarity, neighbours alike."""
    distance = squareform(np.clip(1 - _upper(np.asarray(matrix, float)), 0, None))
    return np.asarray(leaves_list(linkage(squareform(distance), "average", optimal_ordering=True)), int)


def _upper(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.triu_indices(len(matrix), 1)]


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 2 or a.shape[0] != a.shape[1] or len(a) < LEAST:
        raise PhospheneError(
            f"similarity matrices must be square, of the same {LEAST} stimuli or more: {a.shape}, {b.shape}"
        )
    return a, b


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    below = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / below) if below > 0 else float("nan")
