"""CIDEr and CIDEr-D: how much a caption says what is said of its own picture and of few others.

A caption is a vector of its n-grams, n = 1 to 4 apart. An n-gram weighs its count times log(N / d), where d of the N
pictures have it in a true caption; an n-gram that none has counts as d = 1.

- CIDEr (Vedantam et al. 2015, arXiv 1411.5726, section 4) is the mean over n of the cosine of both vectors, then over
  the picture's true captions: 0 to 1.
- CIDEr-D (same paper, section 4.2) is what the COCO evaluation code computes and most papers print as "CIDEr". What is
  said counts no more often than it is true (the smaller of both weights), and the cosine is multiplied by
  exp(-(difference of word counts)^2 / 72) and by 10: 0 to 10.

Design rationale
----------------
The COCO code asks for Java to split captions, and the package that carries it weighs 100 MB; the two formulas are these
few lines, compared with that code in `tests/metrics_env`. Words are those of `captions.words`. As in that code and
unlike the paper, they are not reduced to their stems.

The weights come from the true captions that are given. So the figure depends on how many pictures there are and which:
an n-gram that every picture has weighs nothing, and one picture alone has no CIDEr.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array

from phosphene.errors import PhospheneError
from phosphene.evaluation.metrics.captions import words

ORDERS = 4
SIGMA = 6.0
Grams = Counter[tuple[str, ...]]

#: one true caption for each picture, or several
Captions = Sequence[str] | Sequence[Sequence[str]]


def cider(said: Sequence[str], true: Captions) -> np.ndarray:
    """(n_said, n_pictures) CIDEr, 0 to 1, of each caption if each picture were the one it is of.

    A caption of three words has no 4-gram and can reach 0.75 alone, as in the paper.

    Parameters
    ----------
    said : captions.
    true : for each picture its caption, or a list of its captions; each picture once.

    Raises
    ------
    PhospheneError
        Without captions, for a picture without one, or for fewer than two pictures.
    """
    return _consensus(said, true, strict=False)


def cider_d(said: Sequence[str], true: Captions) -> np.ndarray:
    """(n_said, n_pictures) CIDEr-D, 0 to 10; parameters and errors as for `cider`."""
    return 10 * _consensus(said, true, strict=True)


class _Weighted(NamedTuple):
    """Captions as rows: weights (n_captions, n_grams), divided by their norms unless these are 0."""

    weights: csr_array
    norms: np.ndarray


def _consensus(said: Sequence[str], true: Captions, strict: bool) -> np.ndarray:
    references = [[own] if isinstance(own, str) else list(own) for own in true]
    if not len(said) or not references or not all(references):
        raise PhospheneError("there are no captions to compare, or a picture has none: give one or more for each")
    if len(references) < 2:
        raise PhospheneError("CIDEr weighs words by how many pictures share them: give the captions of two or more")
    picture = np.repeat(np.arange(len(references)), [len(own) for own in references])
    ours, theirs = [words(c) for c in said], [words(c) for own in references for c in own]
    total = np.zeros((len(ours), len(theirs)))
    for n in range(1, ORDERS + 1):
        total += _cosines([_grams(c, n) for c in ours], [_grams(c, n) for c in theirs], picture, strict)
    if strict:
        lengths, others = (np.array([len(c) for c in captions]) for captions in (ours, theirs))
        total *= np.exp(-((lengths[:, None] - others[None, :]) ** 2) / (2 * SIGMA**2))
    of_picture = csr_array((np.ones(len(picture)), (np.arange(len(picture)), picture)))
    return np.asarray(total @ of_picture) / np.bincount(picture) / ORDERS


def _cosines(ours: list[Grams], theirs: list[Grams], picture: np.ndarray, strict: bool) -> np.ndarray:
    """(n_said, n_true) cosine of the weighted n-grams of one order; 0 for a caption without any weight."""
    column: dict[tuple[str, ...], int] = {}
    for counts in (*ours, *theirs):
        for gram in counts:
            column.setdefault(gram, len(column))
    if not column:
        return np.zeros((len(ours), len(theirs)))
    shown = {(column[gram], p) for counts, p in zip(theirs, picture.tolist(), strict=True) for gram in counts}
    pictures = np.bincount([c for c, _ in shown], minlength=len(column))
    idf = np.log((picture.max() + 1) / np.maximum(pictures, 1))
    said, true = (_weigh(counts, column, idf) for counts in (ours, theirs))
    if not strict:
        product = (said.weights @ true.weights.T).toarray()
    else:
        held, product = csc_array(true.weights), np.zeros((len(ours), len(theirs)))
        for i in range(len(ours)):
            own = said.weights[[i]].tocoo()
            other = held[:, own.coords[1]].toarray()
            product[i] = (np.minimum(own.data, other) * other).sum(axis=1)
    norms = said.norms[:, None] * true.norms[None, :]
    return np.divide(product, norms, out=np.zeros_like(product), where=norms > 0)


def _weigh(captions: list[Grams], column: dict[tuple[str, ...], int], idf: np.ndarray) -> _Weighted:
    rows = [i for i, counts in enumerate(captions) for _ in counts]
    columns = [column[gram] for counts in captions for gram in counts]
    values = np.array([count for counts in captions for count in counts.values()], float) * idf[columns]
    weights = csr_array((values, (rows, columns)), shape=(len(captions), len(column)))
    return _Weighted(weights, np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1)).ravel()))


def _grams(caption: list[str], n: int) -> Grams:
    return Counter(zip(*(caption[i:] for i in range(n)), strict=False))
