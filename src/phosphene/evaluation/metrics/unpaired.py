"""Metrics of whole sets as rows of `scores.csv`: a value with an interval over pictures, and no p.

Design rationale
----------------
The interval is of the value *at this number of pictures*: pictures are drawn with replacement (whole clusters of them),
and what is told is how far the value moves about the mean of these draws. The mean itself moves too, since repeated
pictures bias a Frechet distance upwards; an interval that was not centred would often leave its own value out.
KID's draws leave out pairs of a picture with itself, and so are unbiased like its value.

There is no p and no chance level. Both would need a number that exchanging the EEG could change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import PhospheneError
from phosphene.evaluation.intervals import FEWEST, Interval, too_few
from phosphene.evaluation.metrics.distributions import (
    extrapolated,
    frechet,
    frechet_infinity,
    inception_score,
    kid_subsets,
    polynomial,
)
from phosphene.evaluation.metrics.table import metric

#: (how often each drawing was drawn, (n_drawn,); each real picture, (n_real,)) -> value
Resampled = Callable[[np.ndarray, np.ndarray], float]


def _repeat(measure: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray) -> Resampled:
    return lambda n, m: measure(np.repeat(x, n, axis=0), np.repeat(y, m, axis=0))


def _kid(x: np.ndarray, y: np.ndarray) -> Resampled:
    """`mmd2` with counts; pairs of a picture with itself are left out."""
    xx, yy, xy = polynomial(x, x), polynomial(y, y), polynomial(x, y)

    def within(kernel: np.ndarray, n: np.ndarray) -> float:
        return float((n @ kernel @ n - n**2 @ np.diag(kernel)) / (n.sum() ** 2 - np.sum(n**2)))

    return lambda n, m: within(xx, n) + within(yy, m) - 2 * float(n @ xy @ m / (n.sum() * m.sum()))


def _subsets(x: np.ndarray, y: np.ndarray) -> Resampled:
    """The published mean over subsets; how it spreads is taken from all pictures, in a thousandth of the time."""
    value, spread = kid_subsets(x, y)[0], _kid(x, y)
    return lambda n, m: value if (n == 1).all() and (m == 1).all() else spread(n, m)


def _infinity(x: np.ndarray, y: np.ndarray) -> Resampled:
    """The value has all sizes; a draw has the two outer ones, which spread no less, in a fraction of the time."""

    def measured(n: np.ndarray, m: np.ndarray) -> float:
        if (n == 1).all() and (m == 1).all():
            return frechet_infinity(x, y)
        return extrapolated(np.repeat(x, n, axis=0), np.repeat(y, m, axis=0), np.array([0.5, 1.0]))

    return measured


#: name -> (features of drawings, of real pictures) -> value for counts of them
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], Resampled]] = {
    "fid": lambda x, y: _repeat(frechet, x, y),
    "fid_mini": lambda x, y: _repeat(frechet, x, y),
    "fid_infinity": _infinity,
    "fid_infinity_mini": _infinity,
    "kid": _kid,
    "kid_mini": _kid,
    "kid_subsets": _subsets,
    "is": lambda x, y: _repeat(lambda a, b: inception_score(a)[0], x, y),
}


@dataclass
class Unpaired:
    """One metric of a set of drawings, before statistics; it answers as `Question` does.

    Parameters
    ----------
    metric : one of `MEASURES`: its name in `scores.csv`.
    drawn : (n_drawn, dim) features of the drawings; logits for "is".
    clusters : (n_drawn,) drawings that are not independent share an entry, such as the picture or concept seen.
    real : (n_real, dim) features of the real pictures, each once; not looked at by "is".
    pictures : (n_real,) their names.
    real_clusters : (n_real,) as ``clusters``; equal entries are drawn together with the drawings.
    backbone : the network in fact used; that of the table of metrics by default.
    unit : what a cluster is, in the plural.
    """

    metric: str
    drawn: np.ndarray
    clusters: np.ndarray
    real: np.ndarray
    pictures: np.ndarray
    real_clusters: np.ndarray
    backbone: str = ""
    unit: str = "clusters"

    def __post_init__(self) -> None:
        row = metric(self.metric)
        if self.metric not in MEASURES:
            raise PhospheneError(f"{row.label} compares pairs: ask it by `paired.question`")
        if not (
            len(self.drawn) == len(self.clusters) and len(self.real) == len(self.pictures) == len(self.real_clusters)
        ):
            raise PhospheneError(f"{row.label}: give a cluster for each drawing, a name and a cluster for each picture")
        if min(len(self.drawn), len(self.real)) < 2:
            raise PhospheneError(f"{row.label} is of sets: give two or more drawings and real pictures")
        if len(set(self.pictures)) < len(self.pictures):
            raise PhospheneError(f"{row.label}: a real picture is given twice: give each once")
        self.backbone = self.backbone or row.backbone

    def join(self, others: Sequence["Unpaired"]) -> "Unpaired":
        """The same metric over the drawings of several folds or subjects; a picture that several saw counts once."""
        parts = [self, *others]
        drawn, clusters, real, pictures, real_clusters = (
            np.concatenate([np.asarray(getattr(part, name)) for part in parts])
            for name in ("drawn", "clusters", "real", "pictures", "real_clusters")
        )
        once = np.sort(np.unique(pictures, return_index=True)[1])
        return Unpaired(
            self.metric, drawn, clusters, real[once], pictures[once], real_clusters[once], self.backbone, self.unit
        )

    def answer(self, *, n_boot: int = 200, n_perm: int = 0, seed: int = 0) -> dict[str, Any]:
        """Value and 95 % interval; ``chance`` and ``p`` are NaN, and ``n_perm`` is not used.

        At most 200 draws are made: each may decompose large matrices.
        """
        measured = MEASURES[self.metric](np.asarray(self.drawn, float), np.asarray(self.real, float))
        ones = np.ones(len(self.drawn), int), np.ones(len(self.real), int)
        value = measured(*ones)
        rng = np.random.default_rng(seed)
        draws = np.array([measured(*self._counts(rng)) for _ in range(min(n_boot, 200))])
        ends = value + np.quantile(draws - draws.mean(), [0.025, 0.975])
        few = len(set(map(str, self.clusters)))
        found = Interval(float(ends[0]), float(ends[1])) if few >= FEWEST else too_few(few, self.unit)
        return {
            "metric": self.metric,
            "value": value,
            "ci_low": found.low,
            "ci_high": found.high,
            "n": len(self.drawn),
            "chance": float("nan"),
            "p": float("nan"),
            "backbone": self.backbone,
            "interval": found.said,
        }

    def _counts(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """How often each picture is drawn; a cluster is drawn as a whole, its drawings and its real pictures."""
        names, codes = np.unique([*map(str, self.clusters), *map(str, self.real_clusters)], return_inverse=True)
        ours, theirs = codes[: len(self.drawn)], codes[len(self.drawn) :]
        groups = [group for group in (np.unique(ours), np.setdiff1d(theirs, ours)) if len(group)]
        while True:
            counts = np.zeros(len(names), int)
            for group in groups:
                np.add.at(counts, rng.choice(group, len(group)), 1)
            drawn, real = counts[ours], counts[theirs]
            if drawn.sum() >= min(10, len(drawn)) and min(np.count_nonzero(drawn), np.count_nonzero(real)) > 1:
                return drawn, real
