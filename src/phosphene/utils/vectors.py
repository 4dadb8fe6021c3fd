"""Rows of unit length, and their means: what cosine similarity is made of."""

from typing import Any

import numpy as np


def unit(vectors: Any) -> np.ndarray:
    """(n, dim) the rows, each divided by its length; a row of zeros stays one."""
    rows = np.asarray(vectors)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def centres(vectors: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(n_groups, dim) mean unit row of each group; ``group`` (n,) numbers them from 0."""
    rows = unit(vectors)
    return np.stack([rows[group == i].mean(axis=0) for i in range(int(group.max()) + 1)])
