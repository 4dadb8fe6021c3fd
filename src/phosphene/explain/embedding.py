"""Decoded heads in two dimensions, by t-SNE (van der Maaten & Hinton 2008).

A t-SNE keeps neighbours, not distances: sizes of clusters and gaps between them mean nothing, and another seed gives
another picture. The numbers behind it are in `phosphene.explain.collapse`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError
from phosphene.utils.vectors import unit


@dataclass(frozen=True)
class Embedding:
    """Points and how they came about.

    Parameters
    ----------
    table : one row a vector: head, label, x, y.
    perplexity, seed : of t-SNE.
    joint : whether all heads share one map.
    divergence : map ("all", or head) -> Kullback-Leibler divergence that t-SNE ended with.
    """

    table: pd.DataFrame
    perplexity: float
    seed: int
    joint: bool
    divergence: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "method": "t-SNE, cosine distance, PCA start",
            "perplexity": self.perplexity,
            "seed": self.seed,
            "joint": self.joint,
            "divergence": self.divergence,
            "n": len(self.table),
        }


def embed(
    vectors: Mapping[str, np.ndarray],
    labels: Sequence[str] | np.ndarray,
    *,
    joint: bool = False,
    perplexity: float = 30.0,
    seed: int = 0,
) -> Embedding:
    """t-SNE of each head, or of all together.

    Parameters
    ----------
    vectors : head -> (n, dim); for one joint map all heads need the same dim.
    labels : (n,) concept, caption or subject of each row.
    perplexity : about the number of neighbours; below the number of points.

    Raises
    ------
    PhospheneError
        For a perplexity that is not below the number of points, unequal lengths, or heads of different dim.
    """
    from sklearn.manifold import TSNE

    labels = np.asarray(labels)
    for head, x in vectors.items():
        if len(x) != len(labels):
            raise PhospheneError(f"head '{head}' has {len(x)} vectors for {len(labels)} labels: give one for each")
    if joint and len({np.shape(x)[1] for x in vectors.values()}) > 1:
        raise PhospheneError("the heads have spaces of different size: make one map for each, with joint=False")
    parts = {"all": np.concatenate(list(vectors.values()))} if joint else dict(vectors)
    points, divergence = [], {}
    for name, x in parts.items():
        if not 0 < perplexity < len(x):
            raise PhospheneError(f"perplexity {perplexity:g} needs more points than {len(x)}: lower it")
        x = unit(np.asarray(x, np.float64))  # Euclidean order is then cosine's
        model = TSNE(perplexity=perplexity, random_state=seed, init="pca")
        points.append(model.fit_transform(x.astype(np.float32)))
        divergence[name] = float(model.kl_divergence_)
    xy = np.concatenate(points)
    table = pd.DataFrame(
        {
            "head": np.repeat(list(vectors), len(labels)),
            "label": np.tile(labels, len(vectors)),
            "x": xy[:, 0],
            "y": xy[:, 1],
        }
    )
    return Embedding(table, perplexity, seed, joint, divergence)
