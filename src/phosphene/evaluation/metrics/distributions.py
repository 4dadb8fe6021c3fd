"""Distances between two sets of features: Frechet, kernel MMD, Inception Score. They see sets, never pairs."""

from itertools import pairwise

import numpy as np
from scipy.special import log_softmax

from phosphene.errors import PhospheneError

SEED = 2020  # torch-fidelity's


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Frechet distance of two normal distributions fitted to features (Heusel et al. 2017, equation 6).

    The trace of the root of the covariances' product is the sum of the singular values of one set's centred features
    times the other's: exact also where pictures are fewer than features and a matrix root breaks down.

    Parameters
    ----------
    x, y : (n_x, dim) and (n_y, dim), two or more each; covariances are divided by n - 1.
    """
    x, y = _sets(x, y)
    mean = x.mean(0) - y.mean(0)
    a, b = (x - x.mean(0)) / np.sqrt(len(x) - 1), (y - y.mean(0)) / np.sqrt(len(y) - 1)
    root = np.linalg.svd(_small(a) @ _small(b).T, compute_uv=False).sum()
    return float(mean @ mean + np.sum(a**2) + np.sum(b**2) - 2 * root)


def frechet_infinity(
    x: np.ndarray, y: np.ndarray, *, points: int = 15, smallest: float = 0.5, both: bool = True, seed: int = SEED
) -> float:
    """FID extrapolated to infinitely many pictures (Chong and Forsyth 2020, arXiv 1911.07023, section 4).

    The bias of a Frechet distance is nearly proportional to 1 / N. So `frechet` is computed for random subsets of
    several sizes, a line is fitted to it over 1 / N, and its value at 1 / N = 0 is the answer, which may be negative.

    Published are 15 sizes from a tenth of the drawings to all, and all real pictures, of which there were 50,000 or
    more: ``smallest=0.1, both=False``. Where real pictures are as few as drawings their bias is as large; by default
    both sets shrink together.

    Parameters
    ----------
    x, y : (n_x, dim) features of drawings, (n_y, dim) of real pictures.
    points : sizes, evenly spaced.
    smallest : the smallest size, as a share of the set, above 0 and below 1.
    both : take subsets of the real pictures too.
    seed : of the subsets.

    Raises
    ------
    PhospheneError
        When the smallest subset has fewer pictures than there are features: the line is none there, and the value may
        be several times too large.
    """
    x, y = _sets(x, y)
    if not 0 < smallest < 1 or points < 2:
        raise PhospheneError(
            f"{points} sizes from {smallest:g} of the set: give two or more, from a share within 0 to 1"
        )
    least = int(smallest * min(len(x), len(y) if both else len(x)))
    if least < x.shape[1]:
        raise PhospheneError(
            f"FID-infinity needs subsets of {x.shape[1]} pictures or more for as many features, and the smallest has "
            f"{least}: draw more pictures, or report KID, which is unbiased"
        )
    return extrapolated(x, y, np.linspace(smallest, 1, points), both, seed)


def extrapolated(x: np.ndarray, y: np.ndarray, shares: np.ndarray, both: bool = True, seed: int = SEED) -> float:
    """Intercept over 1 / share of the Frechet distances of random subsets; see `frechet_infinity`, which checks sizes.

    Parameters
    ----------
    x, y : (n_x, dim) and (n_y, dim).
    shares : (n_points,) of the set, above 0, at most 1.
    """
    rng = np.random.default_rng(seed)

    def part(features: np.ndarray, share: float) -> np.ndarray:
        return features[rng.choice(len(features), max(2, round(share * len(features))), replace=False)]

    values = [frechet(part(x, share), part(y, share) if both else y) for share in shares]
    return float(np.polyfit(1 / shares, values, 1)[1])


def polynomial(
    x: np.ndarray, y: np.ndarray, degree: int = 3, gamma: float | None = None, coef0: float = 1
) -> np.ndarray:
    """(n_x, n_y) kernel (gamma x.y + coef0)^degree; gamma is 1 / dim by default."""
    return (
        np.asarray(x, float) @ np.asarray(y, float).T * (1 / x.shape[1] if gamma is None else gamma) + coef0
    ) ** degree


def mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Squared maximum mean discrepancy with KID's kernel, unbiased (Gretton et al. 2012, lemma 6): it may be negative.

    Parameters
    ----------
    x, y : (n_x, dim) and (n_y, dim), two or more each, of any two sizes.
    """
    x, y = _sets(x, y)
    return _off_diagonal(polynomial(x, x)) + _off_diagonal(polynomial(y, y)) - 2 * float(polynomial(x, y).mean())


def kid_subsets(
    x: np.ndarray, y: np.ndarray, *, subsets: int = 100, size: int = 1000, seed: int = SEED
) -> tuple[float, float]:
    """KID as torch-fidelity has it: mean and standard deviation of `mmd2` over subsets drawn without replacement.

    Parameters
    ----------
    x, y : (n_x, dim) and (n_y, dim), ``size`` or more each.
    subsets, size, seed : 100 of 1000, drawn with numpy's legacy generator from 2020.
    """
    x, y = _sets(x, y)
    if not 2 <= size <= min(len(x), len(y)):
        raise PhospheneError(
            f"subsets of {size} cannot be drawn from {len(x)} and {len(y)} pictures: give a smaller size, or use mmd2"
        )
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        rows = rng.choice(len(x), size, replace=False)
        others = rng.choice(len(y), size, replace=False)
        values.append(mmd2(x[rows], y[others]))
    return float(np.mean(values)), float(np.std(values))


def inception_score(logits: np.ndarray, *, splits: int = 10, seed: int | None = SEED) -> tuple[float, float]:
    """IS as torch-fidelity has it: mean and standard deviation over splits of exp(mean KL(p(y|x), p(y))).

    Parameters
    ----------
    logits : (n_drawn, n_classes) un-normalised.
    splits : parts in which the mean probabilities are taken.
    seed : of the shuffle before splitting, by numpy's legacy generator; None keeps the order.
    """
    logits = np.asarray(logits, float)
    if logits.ndim != 2 or len(logits) < splits:
        raise PhospheneError(f"IS with {splits} splits needs as many pictures, (n, n_classes), not {logits.shape}")
    if not np.isfinite(logits).all():
        raise PhospheneError("the logits hold NaN: check the pictures given to the classifier")
    if seed is not None:
        logits = logits[np.random.RandomState(seed).permutation(len(logits))]
    logs = log_softmax(logits, axis=1)
    edges = [i * len(logits) // splits for i in range(splits + 1)]
    scores = []
    for start, stop in pairwise(edges):
        part = logs[start:stop]
        mean = np.log(np.exp(part).mean(0))
        scores.append(np.exp(np.mean(np.sum(np.exp(part) * (part - mean), axis=1))))
    return float(np.mean(scores)), float(np.std(scores))


def _small(m: np.ndarray) -> np.ndarray:
    """A matrix of at most dim rows with the same m.T @ m."""
    return np.asarray(np.linalg.qr(m, mode="r")) if len(m) > m.shape[1] else m


def _off_diagonal(kernel: np.ndarray) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def _sets(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise PhospheneError(f"features {x.shape} and {y.shape} do not fit: give (n, dim) and (n, dim) of one network")
    if min(len(x), len(y)) < 2:
        raise PhospheneError("a distance between sets needs two or more pictures in each: draw more")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise PhospheneError("the features hold NaN: check the pictures given to the network")
    return x, y
