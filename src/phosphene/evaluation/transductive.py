"""Retrieval that looks at the whole test set at once: mean-centring, CSLS, optimal assignment.

Design rationale
----------------
These answers are not those of a decoder that is shown one trial. Each rests on all test samples and on the gallery:
take some of them away, and the others are answered otherwise. They say how well a *set* of responses can be sorted
among pictures that are known to have been shown. So they have names of their own, `transductive_...`, are asked only
where a recipe wants them, and are mixed with no inductive score.

No label is used, so that chance and p are those of any score: truths are exchanged at random among the queries. A
one-to-one matching without any signal finds one picture on the mean however many there are, about as a Poisson number
of mean 1, and p counts that.

An interval of such a score can mean less than another's. Concepts are drawn with replacement from the hits as they
are; the correction is not made anew, since a query that is drawn twice would compete with itself. Where queries are
matched one to one, a wrong picture is always another query's right one, so that errors come in pairs at least: there
the interval is made wider by the root of 2 (ours). docs/analyses.md compares both with how far the scores of simulated
sets in fact spread.

References
----------
Conneau, Lample, Ranzato, Denoyer & Jegou (2018), Word translation without parallel data, ICLR, arXiv 1710.04087,
section 2.3. Kuhn (1955), Nav. Res. Logist. Q. 2, 83-97.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from phosphene.errors import PhospheneError
from phosphene.evaluation import retrieval
from phosphene.evaluation.scores import Question
from phosphene.utils.vectors import unit

PREFIX = "transductive_"
NOTE = "uses the whole test set at once (transductive): no score of single trials, and not comparable with one"
NEIGHBOURS = 10  # of CSLS, as published
_ORDERS = 50  # of queries and items, where more than one matching is best


def centred(decoded: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """(n_queries, n_items) cosine after the mean of each side's unit vectors is subtracted from that side.

    Parameters
    ----------
    decoded : (n_queries, dim) decoded vectors of any length.
    gallery : (n_items, dim).
    """
    a, b = unit(decoded), unit(gallery)
    return retrieval.cosine(a - a.mean(axis=0), b - b.mean(axis=0))


def csls(similarity: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Cross-domain similarity local scaling: what is near to everything counts less (Conneau et al. 2018, section 2.3).

    Parameters
    ----------
    similarity : (n_queries, n_items) cosine.
    k : neighbours whose mean similarity is taken off, on either side; all of a smaller set.

    Returns
    -------
    (n_queries, n_items), twice the cosine less the mean cosine of the query's ``k`` nearest items and that of the
    item's ``k`` nearest queries.
    """
    if k < 1:
        raise PhospheneError(f"CSLS with {k} neighbours: give 1 or more")
    s = np.asarray(similarity, float)
    to_items, to_queries = min(k, s.shape[1]), min(k, s.shape[0])
    of_query = np.partition(s, -to_items, axis=1)[:, -to_items:].mean(axis=1)
    of_item = np.partition(s, -to_queries, axis=0)[-to_queries:].mean(axis=0)
    return np.asarray(2 * s - of_query[:, None] - of_item[None, :])


def assignment(similarity: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n_queries, n_items) 1 where a query is given an item: one to one, the sum of similarities as large as can be.

    Parameters
    ----------
    similarity : (n_queries, n_items), as many items as queries or more.
    seed : orders queries and items at random. Where several matchings are best the mean over fifty orders is given, so
        that a decoder with constant output scores chance, not what the order of its rows says.

    Raises
    ------
    PhospheneError
        If there are more queries than items, or values that are not finite.
    """
    s = np.asarray(similarity, float)
    if s.ndim != 2 or s.shape[0] > s.shape[1]:
        raise PhospheneError(f"{s.shape} similarities cannot be matched one to one: average the repeats of a picture")
    if not np.isfinite(s).all():
        raise PhospheneError("the similarities hold NaN: check the EEG for flat or missing channels")
    rng = np.random.default_rng([seed, 29])
    found = [_matched(s, rng) for _ in range(2)]
    if not np.array_equal(found[0], found[1]):
        found += [_matched(s, rng) for _ in range(_ORDERS - 2)]
    return np.asarray(np.mean(found, axis=0))


def _matched(s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows, columns = rng.permutation(s.shape[0]), rng.permutation(s.shape[1])
    query, item = linear_sum_assignment(s[np.ix_(rows, columns)], maximize=True)
    table = np.zeros(s.shape)
    table[rows[query], columns[item]] = 1.0
    return table


@dataclass
class Matched(Question):
    """The question of a one-to-one matching: its interval counts errors in pairs."""

    def join(self, others: Sequence[Question]) -> "Matched":
        return Matched(**vars(super().join(others)))

    def answer(self, *, n_boot: int = 2000, n_perm: int = 2000, seed: int = 0) -> dict[str, Any]:
        row = super().answer(n_boot=n_boot, n_perm=n_perm, seed=seed)
        low, high = (row["value"] + np.sqrt(2) * (row[end] - row["value"]) for end in ("ci_low", "ci_high"))
        return {**row, "ci_low": float(np.maximum(0.0, low)), "ci_high": float(np.minimum(1.0, high))}


def questions(
    decoded: np.ndarray, gallery: np.ndarray, truth: np.ndarray, concepts: np.ndarray, backbone: str = ""
) -> list[Question]:
    """`transductive_centred_top1`, `_csls_top1`, the same for top-5, and `transductive_assignment_top1`.

    Top-5 is left out among five pictures or fewer, and the matching where samples share a picture.

    Parameters
    ----------
    decoded : (n_queries, dim) decoded embeddings.
    gallery : (n_pictures, dim) the pictures' embeddings.
    truth : (n_queries,) gallery row of the picture seen.
    concepts : (n_pictures,) concept of each picture; pictures of one concept are not independent.
    """
    clusters, similarity = np.asarray(concepts)[truth], retrieval.cosine(decoded, gallery)
    found: list[Question] = []
    for name, corrected in (("centred", centred(decoded, gallery)), ("csls", csls(similarity))):
        r = retrieval.ranks(corrected)
        for k in (k for k in (1, 5) if k < r.n):
            table = retrieval.top_k(r, k)
            found.append(Question(f"{PREFIX}{name}_top{k}", table, truth, clusters, backbone=backbone))
    if len(np.unique(truth)) == len(truth):
        table = assignment(similarity)
        found.append(Matched(f"{PREFIX}assignment_top1", table, truth, clusters, backbone=backbone))
    return found
