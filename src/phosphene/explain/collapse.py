"""Head collapse: heads with different captions to read that all say the same.

Two measures. Linear CKA (Kornblith et al. 2019, ICML, section 3) asks whether two heads order the pictures alike,
whatever the rotation and scale of their spaces. Captions of one picture are themselves related, so that some overlap
is right: the rule compares the decoded heads with their own text targets. The silhouette (Rousseeuw 1987) asks whether
heads, or levels, lie apart in a space they share, which is what a t-SNE of all heads shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError
from phosphene.utils.vectors import unit

COLLAPSED = 0.5  # of the way from the targets' own overlap to sameness; our choice
_GROUPS = 10
_T = 2.262  # Student's t, 97.5 %, of 9 degrees of freedom


def linear_cka(a: np.ndarray, b: np.ndarray, *, debiased: bool = True) -> float:
    """Linear centred kernel alignment of two sets of vectors of the same pictures.

    Parameters
    ----------
    a, b : (n_pictures, dim_a) and (n_pictures, dim_b).
    debiased : with the unbiased estimate of HSIC (Song et al. 2012, JMLR 13, eq. 5; Nguyen et al. 2021, section 2.1),
        which is about 0 for unrelated vectors however few the pictures; False is the formula of Kornblith et al., which
        is high by chance where there are more dimensions than pictures.

    Returns
    -------
    1 for equal up to rotation and scale; NaN where a set does not vary.
    """
    if len(a) != len(b) or len(a) < 4:
        raise PhospheneError(f"CKA needs the same pictures, 4 at least, in both sets, not {len(a)} and {len(b)}")
    k, m = _gram(a), _gram(b)
    return _cka(k, m, debiased)


def _gram(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, float)
    x = x - x.mean(axis=0)
    size = np.sqrt(np.mean(x**2))
    return np.asarray((x / size if size > 1e-9 else 0 * x) @ x.T / max(size, 1e-9))


def _cka(k: np.ndarray, m: np.ndarray, debiased: bool = True) -> float:
    hsic = _hsic if debiased else _biased
    below = hsic(k, k) * hsic(m, m)
    return float(hsic(k, m) / np.sqrt(below)) if below > 0 else float("nan")


def _biased(k: np.ndarray, m: np.ndarray) -> float:
    return float(np.sum(k * m))


def _hsic(k: np.ndarray, m: np.ndarray) -> float:
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    cross = np.sum(k * m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
    return float(cross / (n * (n - 3)))


@dataclass(frozen=True)
class Collapse:
    """Whether heads have collapsed.

    Parameters
    ----------
    heads : (n_heads,) names.
    decoded_cka, target_cka : (n_heads, n_heads) CKA of the decoded heads, and of their text targets.
    index : (mean decoded CKA - mean target CKA) / (1 - mean target CKA), between different heads: 0 for heads that
        overlap as much as their captions do, 1 for heads that are the same.
    ci_low, ci_high : 95 % interval of the index, by a jackknife over ten groups of pictures.
    silhouette : name of a set ("decoded", "targets") and a grouping ("head", "level") -> mean silhouette of the
        vectors of all heads together, cosine distance; NaN where heads have spaces of different size.
    collapsed : whether ``ci_low`` is above `COLLAPSED`, or a head says the same of every picture.
    constant : heads that say the same of every picture.
    n : pictures.
    """

    heads: tuple[str, ...]
    decoded_cka: np.ndarray
    target_cka: np.ndarray
    index: float
    ci_low: float
    ci_high: float
    silhouette: dict[str, float]
    collapsed: bool
    constant: tuple[str, ...]
    n: int

    def frame(self) -> pd.DataFrame:
        """One row a pair of heads: a, b, decoded, targets."""
        rows = [
            {
                "a": self.heads[i],
                "b": self.heads[j],
                "decoded": self.decoded_cka[i, j],
                "targets": self.target_cka[i, j],
            }
            for i, j in combinations(range(len(self.heads)), 2)
        ]
        return pd.DataFrame(rows)

    def facts(self) -> dict[str, Any]:
        """The verdict and its rule, JSON-able."""
        facts = {k: v for k, v in asdict(self).items() if not isinstance(v, np.ndarray)}
        return {**facts, "rule": f"ci_low > {COLLAPSED}, or a head that does not vary"}


def collapse(
    decoded: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    stimulus: Sequence[str] | np.ndarray,
    levels: Mapping[str, str] | None = None,
    *,
    seed: int = 0,
) -> Collapse:
    """Whether the heads say more of the same than their captions do.

    Parameters
    ----------
    decoded, targets : head -> (n_trials, dim), decoded vectors and the vectors of the captions shown.
    stimulus : (n_trials,) the picture shown. Trials of a picture are averaged first: noise of one trial reaches all
        heads and is no collapse. Noise that is left after it does count, so that weak EEG with few repeats can fire.
    levels : head -> level, for the silhouette by level.
    seed : of the jackknife's groups.

    Raises
    ------
    PhospheneError
        For fewer than two heads or 40 pictures.
    """
    heads = tuple(decoded)
    _, picture = np.unique(np.asarray(stimulus), return_inverse=True)
    n = int(picture.max()) + 1 if len(picture) else 0
    if len(heads) < 2 or n < 4 * _GROUPS:
        raise PhospheneError(f"{len(heads)} heads and {n} pictures: collapse needs 2 heads and {4 * _GROUPS} pictures")
    means = {name: _means(decoded[name], picture) for name in heads}
    texts = {name: _means(targets[name], picture) for name in heads}
    decoded_cka, target_cka = _table(means, heads), _table(texts, heads)
    group = np.random.default_rng([seed, 73]).permutation(n) % _GROUPS
    index = _index(decoded_cka, target_cka)
    left = [_index(_table(means, heads, group != g), _table(texts, heads, group != g)) for g in range(_GROUPS)]
    error = np.sqrt((_GROUPS - 1) / _GROUPS * np.sum((np.array(left) - np.mean(left)) ** 2))
    constant = tuple(h for h in heads if means[h].std(axis=0).max() <= 1e-6 * max(np.abs(means[h]).max(), 1e-300))
    return Collapse(
        heads,
        decoded_cka,
        target_cka,
        index,
        index - _T * error,
        index + _T * error,
        {**_silhouettes("decoded", means, levels), **_silhouettes("targets", texts, levels)},
        bool(constant) or bool(index - _T * error > COLLAPSED),
        constant,
        n,
    )


def _means(x: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """(n_pictures, dim) mean over the trials of each picture of unit vectors."""
    x = unit(np.asarray(x, float))
    total = np.zeros((picture.max() + 1, x.shape[1]))
    np.add.at(total, picture, x)
    return np.asarray(total / np.bincount(picture)[:, None])


def _table(vectors: Mapping[str, np.ndarray], heads: Sequence[str], keep: Any = slice(None)) -> np.ndarray:
    """(n_heads, n_heads) debiased CKA; a head that does not vary is left out of means as NaN."""
    grams = [_gram(vectors[h][keep]) for h in heads]
    out = np.eye(len(heads))
    for i, j in combinations(range(len(heads)), 2):
        out[i, j] = out[j, i] = _cka(grams[i], grams[j])
    return out


def _index(decoded: np.ndarray, targets: np.ndarray) -> float:
    pairs = np.triu_indices(len(decoded), 1)
    ours, theirs = decoded[pairs], targets[pairs]
    known = np.isfinite(ours) & np.isfinite(theirs)
    if not known.any():
        return float("nan")
    base = float(theirs[known].mean())
    return float((ours[known].mean() - base) / max(1 - base, 1e-9))


def _silhouettes(name: str, vectors: Mapping[str, np.ndarray], levels: Mapping[str, str] | None) -> dict[str, float]:
    from sklearn.metrics import silhouette_score

    groupings = {"head": {h: h for h in vectors}, **({"level": levels} if levels else {})}
    if len({v.shape[1] for v in vectors.values()}) > 1:
        return {f"{name}, {grouping}": float("nan") for grouping in groupings}
    stacked = np.concatenate([unit(np.asarray(v, float)) for v in vectors.values()])
    out = {}
    for grouping, of in groupings.items():
        labels = np.concatenate([[of[h]] * len(v) for h, v in vectors.items()])
        several = len(set(labels.tolist())) > 1
        score = silhouette_score(stacked, labels, metric="cosine") if several else float("nan")
        out[f"{name}, {grouping}"] = float(score)
    return out
