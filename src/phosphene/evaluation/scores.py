"""Rows of `scores.csv`: a value never stands without its interval, its chance level, its p-value and its protocol."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from phosphene.evaluation import intervals, retrieval
from phosphene.evaluation.categories import TwoCategories, reached
from phosphene.evaluation.classification import METRICS
from phosphene.evaluation.statistics import permutation
from phosphene.utils.vectors import centres

COLUMNS = (
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "chance",
    "shuffled",
    "ceiling",
    "p",
    "p_min",
    "subject",
    "seed",
    "protocol",
    "backbone",
    "interval",
)


@dataclass
class Question:
    """One metric, before statistics.

    Parameters
    ----------
    metric : its name in `scores.csv`.
    table : (n_queries, n_items) what each query would score if each item were its truth.
    truth : (n_queries,) the item that it is.
    clusters : (n_queries,) queries that are not independent share an entry.
    statistic : reduces the queries' scores.
    higher_is_better : direction, for the p-value.
    backbone : the frozen model that the metric rests on; "" for none.
    samples : (n_queries,) the test sample that each query is of; None where it is its place.
    crossed : whether folds train on each other's test trials, which widens chance (`evaluation.categories`).
    unit : what a cluster is, in the plural.
    """

    metric: str
    table: np.ndarray
    truth: np.ndarray
    clusters: np.ndarray
    statistic: Callable[..., Any] = np.mean
    higher_is_better: bool = True
    backbone: str = ""
    samples: np.ndarray | None = None
    crossed: bool = False
    unit: str = "clusters"

    def join(self, others: Sequence["Question"]) -> "Question":
        """The same metric over the queries of several folds or subjects; galleries may differ."""
        parts = [self, *others]
        width = np.cumsum([0, *(p.table.shape[1] for p in parts)])
        table = np.full((sum(len(p.truth) for p in parts), width[-1]), np.nan)
        row = 0
        for part, left in zip(parts, width[:-1], strict=True):
            table[row : row + len(part.truth), left : left + part.table.shape[1]] = part.table
            row += len(part.truth)
        return Question(
            self.metric,
            table,
            np.concatenate([p.truth + left for p, left in zip(parts, width[:-1], strict=True)]),
            np.concatenate([p.clusters for p in parts]),
            self.statistic,
            self.higher_is_better,
            self.backbone,
            crossed=any(p.crossed for p in parts),
            unit=self.unit,
        )

    @property
    def value(self) -> float:
        """The queries' own scores, reduced."""
        return float(self.statistic(self.table[np.arange(len(self.truth)), self.truth]))

    def answer(self, *, n_boot: int = 2000, n_perm: int = 2000, seed: int = 0) -> dict[str, Any]:
        """Value, 95 % interval (`intervals`, over clusters), chance, p (clusters exchange their truths at random), and
        the smallest p that these exchanges allow: that of a perfect decoder, whom only its own truth satisfies."""
        query = np.arange(len(self.truth))
        values = self.table[query, self.truth]
        galleries = np.isnan(self.table).argmin(axis=1)  # first column of the query's own gallery
        known = self.table[np.isfinite(self.table)]
        low, high, said = intervals.of_scores(
            values,
            self.clusters,
            self.unit,
            statistic=self.statistic,
            n_boot=n_boot,
            seed=seed,
            shares=bool(known.min(initial=0) >= 0 and known.max(initial=0) <= 1),
        )
        found: list[float] = []  # the value, then those of the exchanges
        perfect: list[float] = []  # the same of a decoder that is always right

        def score(order: np.ndarray) -> float:
            found.append(float(self.statistic(self.table[query, self.truth[order]])))
            perfect.append(float(np.mean(self.truth[order] == self.truth)))
            return found[-1]

        p = permutation(
            score,
            len(query),
            groups=galleries,
            clusters=self.clusters,
            higher_is_better=self.higher_is_better,
            n_perm=n_perm,
            seed=seed,
        )
        if self.crossed:
            signed = np.array(found) if self.higher_is_better else -np.array(found)
            p = reached(signed[0], signed[1:], crossed=True)
        return {
            "metric": self.metric,
            "value": self.value,
            "ci_low": low,
            "ci_high": high,
            "n": len(values),
            "chance": self._chance(galleries, seed),
            "p": p,
            "p_min": reached(1.0, np.array(perfect[1:]), self.crossed),
            "backbone": self.backbone,
            "interval": said,
        }

    def _chance(self, galleries: np.ndarray, seed: int) -> float:
        """Expected value if each query's truth were another query's at random: exact for a mean, else by 500 draws."""
        groups = [np.flatnonzero(galleries == g) for g in np.unique(galleries)]
        if self.statistic is np.mean:
            pairs = [self.table[np.ix_(rows, self.truth[rows])].mean(axis=1) for rows in groups]
            return float(np.concatenate(pairs).mean())
        rng = np.random.default_rng(seed + 1)
        values = []
        for _ in range(500):
            drawn = [self.table[rows, self.truth[rng.permutation(rows)]] for rows in groups]
            values.append(self.statistic(np.concatenate(drawn)))
        return float(np.mean(values))


def picture_retrieval(
    decoded: np.ndarray, gallery: np.ndarray, truth: np.ndarray, concepts: np.ndarray, backbone: str
) -> list[Question]:
    """Retrieval of the picture seen: in the gallery, by its concept, and among its concept's pictures.

    Parameters
    ----------
    decoded : (n_queries, dim) decoded embeddings.
    gallery : (n_pictures, dim) the pictures' embeddings.
    truth : (n_queries,) gallery row of the picture seen.
    concepts : (n_pictures,) concept of each picture.
    """
    concept = np.unique(concepts, return_inverse=True)[1]
    similarity = retrieval.cosine(decoded, gallery)
    return ranked_pictures(similarity, retrieval.cosine(decoded, centres(gallery, concept)), truth, concepts, backbone)


def ranked_pictures(
    similarity: np.ndarray, by_concept: np.ndarray, truth: np.ndarray, concepts: np.ndarray, backbone: str = ""
) -> list[Question]:
    """The questions of `picture_retrieval` about an order of the pictures, whatever gave it.

    Parameters
    ----------
    similarity : (n_queries, n_pictures), higher is nearer; a probability is as good.
    by_concept : (n_queries, n_concepts) the same of the concepts, sorted by name.
    truth : (n_queries,) gallery row of the picture seen.
    concepts : (n_pictures,) concept of each picture.
    """
    r = retrieval.ranks(similarity)
    clusters = concepts[truth]

    def ask(name: str, table: np.ndarray, **other: Any) -> Question:
        return Question(name, table, truth, clusters, backbone=backbone, **other)

    questions = [ask(f"image_top{k}", retrieval.top_k(r, k)) for k in (1, 5) if k < r.n]
    questions += [
        ask("image_map", retrieval.reciprocal_rank(r)),
        ask("image_median_rank", retrieval.median_rank(r), statistic=np.median, higher_is_better=False),
    ]
    questions += [ask(f"image_top1_of_{k}", retrieval.k_way(r, k)) for k in (2, 10, 50) if k < r.n]
    names, concept = np.unique(concepts, return_inverse=True)
    if 1 < len(names) < len(concepts):
        table = retrieval.top_k(retrieval.ranks(by_concept), 1)
        questions.append(Question("concept_top1", table, concept[truth], clusters, backbone=backbone))
        if len(set(np.bincount(concept))) == 1:  # else its chance level differs between queries
            questions.append(_within_concept(similarity, truth, concept, clusters, backbone))
    return questions


def _within_concept(
    similarity: np.ndarray, truth: np.ndarray, concept: np.ndarray, clusters: np.ndarray, backbone: str
) -> Question:
    """Top-1 among the pictures of the true concept alone: what is decoded beyond the concept."""
    size = np.bincount(concept).max()
    table = np.full((len(truth), size), 0.0)
    place = np.zeros(len(truth), int)
    for i, t in enumerate(truth):
        mates = np.flatnonzero(concept == concept[t])
        table[i, : len(mates)] = retrieval.top_k(retrieval.ranks(similarity[i : i + 1, mates]), 1)[0]
        place[i] = int(np.flatnonzero(mates == t)[0])
    return Question("within_concept_top1", table, place, clusters, backbone=backbone)


def caption_retrieval(
    decoded: np.ndarray, captions: np.ndarray, truth: np.ndarray, clusters: np.ndarray, level: str, backbone: str
) -> list[Question]:
    """Retrieval of the caption of the picture seen among all distinct captions of its slot; ``captions`` (n, dim)."""
    return ranked_captions(retrieval.cosine(decoded, captions), truth, clusters, level, backbone)


def head_captions(
    decoded: np.ndarray, captions: np.ndarray, truth: np.ndarray, clusters: np.ndarray, slot: str, backbone: str = ""
) -> list[Question]:
    """Retrieval of the caption of the picture seen by the slot's own head, over the samples whose caption is there.

    Parameters
    ----------
    decoded : (n_queries, dim) the head's outputs.
    captions : (n_captions, dim) text embeddings of the gallery.
    truth : (n_queries,) the caption of the picture seen; -1 where it is not in the gallery.
    slot : what the gallery and the head are called in the metric's name.
    """
    held = truth >= 0
    if held.sum() < 2 or len(captions) < 2:
        return []
    similarity = retrieval.cosine(decoded[held], captions)
    return ranked_captions(similarity, truth[held], clusters[held], slot, backbone, np.flatnonzero(held))


def ranked_captions(
    similarity: np.ndarray,
    truth: np.ndarray,
    clusters: np.ndarray,
    slot: str,
    backbone: str = "",
    samples: np.ndarray | None = None,
) -> list[Question]:
    """`head_captions`, or `caption_retrieval` at the level ``slot``, about an order of the captions, whatever gave it.

    Parameters
    ----------
    similarity : (n_queries, n_captions), higher is nearer.
    samples : (n_queries,), see `Question`.
    """
    r = retrieval.ranks(similarity)
    return [
        Question(f"caption_{slot}_top{k}", retrieval.top_k(r, k), truth, clusters, backbone=backbone, samples=samples)
        for k in (1, 5)
        if k < r.n
    ]


def by_level(questions: Sequence[Question], levels: dict[str, str]) -> list[Question]:
    """The questions of all heads of a level taken together: `captions_<level>_top1`, ...; one query a test sample."""
    grouped: dict[str, list[Question]] = {}
    for question in questions:
        slot, _, top = question.metric.removeprefix("caption_").rpartition("_")
        level = levels.get(slot.split(".")[0])
        if level is not None:
            grouped.setdefault(f"captions_{level}{slot[len(slot.split('.')[0]) :]}_{top}", []).append(question)
    return [_together(parts, metric) for metric, parts in grouped.items()]


def _together(parts: list[Question], metric: str) -> Question:
    """The mean of several heads over the same samples. Heads of one sample exchange their truths together: they hear
    one EEG, so that to exchange them apart would find chance narrower than it is."""
    samples = [np.arange(len(p.truth)) if p.samples is None else p.samples for p in parts]
    every = np.unique(np.concatenate(samples))
    place = [np.searchsorted(every, own) for own in samples]
    truths, clusters = np.full((len(every), len(parts)), -1), np.empty(len(every), parts[0].clusters.dtype)
    for i, (part, rows) in enumerate(zip(parts, place, strict=True)):
        truths[rows, i] = part.truth
        clusters[rows] = part.clusters
    combined, truth = np.unique(truths, axis=0, return_inverse=True)
    total, count = np.zeros((len(every), len(combined))), np.zeros((len(every), len(combined)))
    for i, (part, rows) in enumerate(zip(parts, place, strict=True)):
        held = combined[:, i] >= 0
        cells = np.ix_(rows, np.flatnonzero(held))
        total[cells] += part.table[:, combined[held, i]]
        count[cells] += 1
    table = total / np.maximum(count, 1)
    return replace(parts[0], metric=metric, table=table, truth=truth.ravel(), clusters=clusters, samples=every)


def categories(
    similarity: np.ndarray, truth: np.ndarray, runs: np.ndarray, clusters: np.ndarray, backbone: str = ""
) -> list[Question | TwoCategories]:
    """Categories found, where it is not known which picture of a category was seen.

    Parameters
    ----------
    similarity : (n_queries, n_categories), higher is nearer.
    truth : (n_queries,) category seen.
    runs : (n_queries,) the run of each, see `TwoCategories`.
    """
    table = retrieval.top_k(retrieval.ranks(similarity), 1)
    found: list[Question | TwoCategories] = [Question("concept_top1", table, truth, clusters, backbone=backbone)]
    if similarity.shape[1] == 2:
        evidence = similarity[:, 1] - similarity[:, 0]
        found += [TwoCategories(name, evidence, truth, runs, backbone=backbone) for name in METRICS]
    return found


def caption_classes(
    similarity: np.ndarray, shown: np.ndarray, truth: np.ndarray, clusters: np.ndarray, slot: str, backbone: str = ""
) -> Question:
    """Whether the nearest caption of the gallery was said of a picture of the class seen.

    Parameters
    ----------
    similarity : (n_queries, n_captions).
    shown : (n_captions, n_classes) bool, which classes a caption was said of.
    truth : (n_queries,) class seen.
    """
    best = np.where(shown.T[None], similarity[:, None], -np.inf).max(axis=2)
    table = retrieval.top_k(retrieval.ranks(np.maximum(best, -1e9)), 1)
    return Question(f"caption_{slot}_class_top1", table, truth, clusters, backbone=backbone)


def drawn_pictures(
    drawn: np.ndarray, real: np.ndarray, truth: np.ndarray, clusters: np.ndarray, backbone: str
) -> list[Question]:
    """2-way identification of drawings (n_drawn, dim) against real pictures (n_real, dim); i saw ``truth[i]``."""
    r = retrieval.ranks(retrieval.correlation(drawn, real))
    return [Question("drawn_2way", retrieval.two_way(r), truth, clusters, backbone=backbone)]


def drawn_attributes(
    seen: pd.DataFrame, judged: dict[str, list[str]], clusters: np.ndarray, judge: str
) -> list[Question]:
    """Whether the judge sees the true object, colour, ... in each drawing; ``seen`` has a column for each attribute."""
    questions = []
    for attribute, labels in judged.items():
        names, truth = np.unique(seen[attribute].to_numpy(str), return_inverse=True)
        table = (np.asarray(labels)[:, None] == names[None, :]).astype(float)
        questions.append(Question(f"drawn_{attribute}", table, truth, clusters, backbone=judge))
    return questions


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The score table, its columns in their order."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))
