"""Which head knows most of each trial, by a measure that no head wins by the shape of its space.

Captions of one head may lie closer together than those of another, and then all its similarities are high, right or
wrong. Each head's similarity is therefore standardised by its own null, that of trials paired with captions of other
pictures. The paper counts dominant heads (arXiv 2507.07157, section 4.3) without giving its statistic; this is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError
from phosphene.evaluation.statistics import bootstrap
from phosphene.utils.vectors import unit

_TRIES = 200


@dataclass(frozen=True)
class Dominance:
    """Dominant heads.

    Parameters
    ----------
    heads : (n_heads,) names.
    z : (n_trials, n_heads) similarity in SDs above the head's own null.
    wins : (n_trials, n_heads) 1 for the head with the highest z, shared where heads tie.
    table : one row a head: head, share, ci_low, ci_high (95 %, over pictures), chance, p, mean_z, n.
    """

    heads: tuple[str, ...]
    z: np.ndarray
    wins: np.ndarray
    table: pd.DataFrame

    def by_level(self, levels: Mapping[str, str]) -> pd.DataFrame:
        """Share and chance of each level: the sums over its heads, of which a level may have more than another."""
        grouped = self.table.assign(level=self.table["head"].map(dict(levels)))
        return grouped.groupby("level", sort=False, as_index=False).agg(
            n_heads=("head", "size"), share=("share", "sum"), chance=("chance", "sum")
        )


def dominance(
    decoded: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    stimulus: Sequence[str] | np.ndarray,
    *,
    n_null: int = 200,
    seed: int = 0,
) -> Dominance:
    """The dominant head of each trial, how often each head is dominant, and how often it would be by chance.

    Parameters
    ----------
    decoded : head -> (n_trials, dim) decoded vectors.
    targets : head -> (n_trials, dim) vector of the caption shown.
    stimulus : (n_trials,) the picture shown; all trials of a picture exchange their captions together.
    n_null : exchanges. In each, every picture takes the captions of another one, which differ from its own in every
        head.

    Returns
    -------
    `Dominance`. `chance` is a head's share when captions are exchanged, standardised as the true ones are; p is
    one-sided, of a share as large as the true one in the exchanges (never 0).

    Raises
    ------
    PhospheneError
        If a picture has no other that differs from it in every head.
    """
    heads = tuple(decoded)
    _, first, picture = np.unique(np.asarray(stimulus), return_index=True, return_inverse=True)
    similarity = [_prepared(decoded[h], targets[h], picture, first, h) for h in heads]
    captions = np.stack([code for _, code in similarity], axis=1)  # (n_pictures, n_heads)
    strangers = _strangers(captions, n_null, np.random.default_rng([seed, 71]))
    trial = np.arange(len(picture))
    true = np.stack([table[trial, picture] for table, _ in similarity], axis=1)
    null = np.stack([table[trial, strangers[:, picture]] for table, _ in similarity], axis=2)
    mean, sd = null.mean(axis=(0, 1)), null.std(axis=(0, 1))
    scale = np.where(sd > 1e-9, sd, np.inf)  # a head that says the same of everything stands 0 SDs above its null
    z, chance_z = (true - mean) / scale, (null - mean) / scale
    wins = _winners(z)
    by_chance = np.stack([_winners(draw).mean(axis=0) for draw in chance_z])  # (n_null, n_heads)
    rows = []
    for i, head in enumerate(heads):
        low, high = bootstrap(wins[:, i], picture, seed=seed)
        share = float(wins[:, i].mean())
        p = (1 + np.sum(by_chance[:, i] >= share - 1e-12)) / (1 + n_null)
        rows.append(
            {
                "head": head,
                "share": share,
                "ci_low": low,
                "ci_high": high,
                "chance": float(by_chance[:, i].mean()),
                "p": float(p),
                "mean_z": float(z[:, i].mean()),
                "n": len(z),
            }
        )
    return Dominance(heads, z, wins, pd.DataFrame(rows))


def _prepared(
    decoded: np.ndarray, target: np.ndarray, picture: np.ndarray, first: np.ndarray, head: str
) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of each trial with each picture's caption (n_trials, n_pictures), and each picture's caption as a
    number (n_pictures,)."""
    decoded, target = np.asarray(decoded, float), np.asarray(target, float)
    if decoded.shape != target.shape or len(decoded) != len(picture):
        raise PhospheneError(
            f"head '{head}' has {decoded.shape} decoded vectors, {target.shape} targets and {len(picture)} trials: "
            "they must agree"
        )
    captions = unit(target[first])
    code = np.unique(np.round(captions, 6), axis=0, return_inverse=True)[1].ravel()
    return unit(decoded) @ captions.T, code


def _strangers(captions: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, n_pictures) for each picture another one whose captions (n_pictures, n_heads) all differ from its own."""
    size = len(captions)
    drawn = rng.integers(size, size=(n, size))
    own = np.arange(size)
    for _ in range(_TRIES):
        same = (captions[drawn] == captions[own]).any(axis=2)
        if not same.any():
            return drawn
        drawn[same] = rng.integers(size, size=int(same.sum()))
    for i in own[same.any(axis=0)]:
        fit = np.flatnonzero((captions != captions[i]).all(axis=1))
        if not len(fit):
            raise PhospheneError(
                "a picture shares a caption with every other one, so that it has no null: leave out the head whose "
                "captions repeat most, or give more pictures"
            )
        drawn[same[:, i], i] = rng.choice(fit, size=int(same[:, i].sum()))
    return drawn


def _winners(z: np.ndarray) -> np.ndarray:
    """(n_trials, n_heads) 1 at the highest, shared by those that tie."""
    best = (z >= z.max(axis=1, keepdims=True) - 1e-12).astype(float)
    return np.asarray(best / best.sum(axis=1, keepdims=True))
