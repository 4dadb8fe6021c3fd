"""Generation accuracy: the n-way top-k accuracy of a classifier that looks at the drawings.

What is published draws the n - 1 other classes at random. The mean over all draws has a closed form in the rank of the
target (the number of better distractors is hypergeometric), which is what `n_way` gives: nothing depends on a seed.
"""

import numpy as np

from phosphene.errors import PhospheneError
from phosphene.evaluation import retrieval


def judged(real: np.ndarray) -> np.ndarray:
    """(n_real,) the published target: the classifier's own argmax on each picture seen, of (n_real, n_classes)."""
    return np.asarray(real).argmax(1)


def n_way(probabilities: np.ndarray, target: np.ndarray, n: int = 50, k: int = 1) -> np.ndarray:
    """(n_drawn, n_real) expected n-way top-k accuracy of each drawing if each picture were its truth.

    Parameters
    ----------
    probabilities : (n_drawn, n_classes) the classifier's output for the drawings: probabilities or logits.
    target : (n_real,) class of each real picture: `judged`, or the data set's label.
    n : classes to choose from, the target among them; chance is k / n.
    k : how many guesses.
    """
    places = retrieval.ranks(probabilities)
    target = _classes(target, places.n)
    if not 1 <= k <= n:
        raise PhospheneError(f"top-{k} of {n} classes: k must be 1 to {n}")
    return retrieval.k_way(places, n, k)[:, target]


def drawn_n_way(
    probabilities: np.ndarray, target: np.ndarray, n: int = 50, k: int = 1, *, trials: int = 40, seed: int = 0
) -> np.ndarray:
    """(n_drawn,) the published estimate: share of random draws of n - 1 other classes in which the target is a hit.

    Parameters
    ----------
    probabilities : (n_drawn, n_classes).
    target : (n_drawn,) class of the picture seen.
    trials : draws for each drawing; papers take 40 or 50.
    seed : papers set none.
    """
    probabilities = np.asarray(probabilities)
    n_classes = probabilities.shape[1]
    target = _classes(target, n_classes)
    if not 2 <= n <= n_classes:
        raise PhospheneError(f"{n}-way accuracy needs 2 to {n_classes} classes")
    rng = np.random.default_rng(seed)
    hits = np.zeros(len(target))
    for row, (values, wanted) in enumerate(zip(probabilities, target, strict=True)):
        others = np.delete(values, wanted)
        for _ in range(trials):
            drawn = rng.choice(others, n - 1, replace=False)
            hits[row] += np.sum(drawn >= values[wanted]) < k
    return hits / trials


def _classes(target: np.ndarray, n_classes: int) -> np.ndarray:
    target = np.asarray(target)
    if not np.issubdtype(target.dtype, np.integer) or target.min() < 0 or target.max() >= n_classes:
        raise PhospheneError(
            f"targets must be whole numbers from 0 to {n_classes - 1}: one class of the classifier each"
        )
    return target
