"""Two methods on the same protocol and the same test samples: one row for each metric, with a paired interval and p.

Whose spread is counted is in ``over``. "stimuli": these people, other pictures (those of one concept stay together; for
two classes, other runs). "subjects": other people, these pictures. "both": other people and other pictures, the two-way
interval of `statistics.clustered_bootstrap`, whose p is read from it.

Overlapping intervals of two scores say little: what both methods share (an easy picture, a good subject) is in both of
them, and in no paired difference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError
from phosphene.evaluation import chance
from phosphene.evaluation.corrections import corrected
from phosphene.evaluation.intervals import FEWEST
from phosphene.evaluation.statistics import paired

Over = Literal["stimuli", "subjects", "both"]
Correction = Literal["holm", "bh", "by"]
COLUMNS = (
    "metric",
    "a",
    "b",
    "difference",
    "ci_low",
    "ci_high",
    "p",
    "p_corrected",
    "p_min",
    "n",
    "n_clusters",
    "higher_is_better",
    "over",
    "protocol",
    "backbone_a",
    "backbone_b",
)
_UNITS = {"stimuli": "concepts or runs", "subjects": "subjects", "both": "subjects, or concepts,"}


@dataclass(frozen=True)
class Scored:
    """One metric of one method.

    Parameters
    ----------
    metric : its name in `scores.csv`.
    values : (n,) the score of each test sample.
    samples : (n,) the samples' names, each once.
    clusters : "stimuli" and "subjects", (n,) each: which samples are not independent.
    n_items : (n,) gallery of each sample; the same of both methods, or their scores do not compare.
    protocol : hash of the protocol.
    statistic : reduces the values to the score.
    higher_is_better : direction of the metric.
    backbone : the frozen model that the metric rests on; "" for none.
    """

    metric: str
    values: np.ndarray
    samples: np.ndarray
    clusters: Mapping[str, np.ndarray]
    n_items: np.ndarray
    protocol: str
    statistic: Callable[..., Any] = np.mean
    higher_is_better: bool = True
    backbone: str = ""


def compare(
    a: Sequence[Scored],
    b: Sequence[Scored],
    *,
    over: Over = "stimuli",
    correction: Correction = "holm",
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The table of differences, a row for each metric that both methods have, in the order of ``a``.

    Parameters
    ----------
    over : whose spread is in interval and p, see the module; "both" needs two subjects or more.
    correction : of p for the number of metrics, see `corrections.corrected`.
    n_boot, n_perm, seed : of `statistics.paired`.

    Returns
    -------
    Columns `COLUMNS`; `difference` is a - b, `p_min` the smallest p that any difference could have. The interval is NaN
    where there are fewer than six clusters.

    Raises
    ------
    PhospheneError
        If protocols, samples or galleries differ, or no metric is common.
    """
    if over not in ("stimuli", "subjects", "both"):
        raise PhospheneError(f"unknown over='{over}': valid: both, stimuli, subjects")
    others = {scored.metric: scored for scored in b}
    pairs = [(scored, others[scored.metric]) for scored in a if scored.metric in others]
    if not pairs:
        names = [", ".join(s.metric for s in side) or "none" for side in (a, b)]
        raise PhospheneError(f"no metric is common (a: {names[0]}; b: {names[1]}): compare runs of the same kind")
    rows = [_row(*pair, over, n_boot, n_perm, seed) for pair in pairs]
    table = pd.DataFrame(rows)
    table["p_corrected"] = corrected(table["p"].to_numpy(), correction)
    return table[list(COLUMNS)]


def answers(table: pd.DataFrame, correction: Correction = "holm") -> list[chance.Answer]:
    """Whether each row of a table of differences is one, by the rule of `chance`: its corrected p, and the smallest
    that it could have been had all rows their smallest p."""
    least = corrected(table["p_min"].to_numpy(float), correction)
    return [chance.answer(p, p_min) for p, p_min in zip(table["p_corrected"].astype(float), least, strict=True)]


def lines(table: pd.DataFrame, n_perm: int, correction: Correction = "holm") -> list[str]:
    """What each row of `compare`'s table says, and the rule; a line each, for a terminal.

    Parameters
    ----------
    n_perm, correction : that the table was made with.
    """
    said, n = [], int(np.isfinite(table["p"]).sum())
    for (_, row), answer in zip(table.iterrows(), answers(table, correction), strict=True):
        p = chance.p_text(float(row["p_corrected"]))
        if answer == "undecided":
            why = chance.why_undecided(float(row["p_min"]), n_perm, n_tests=n if correction == "holm" else 1)
            said.append(f"{row['metric']}: undecided: {why}")
        elif answer == "no":
            said.append(f"{row['metric']}: no difference shown (corrected {p})")
        else:
            first = (row["difference"] > 0) == bool(row["higher_is_better"])
            said.append(f"{row['metric']}: {'a' if first else 'b'} is better (corrected {p})")
        if np.isnan(row["ci_low"]):
            said[-1] += f"; no interval: {row['n_clusters']} {_UNITS[row['over']]} are too few, {FEWEST} are needed"
    names = {"holm": "Holm", "bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}
    return [*said, chance.rule(n, "A difference", names[correction])]


def _row(a: Scored, b: Scored, over: Over, n_boot: int, n_perm: int, seed: int) -> dict[str, Any]:
    if a.protocol != b.protocol:
        raise PhospheneError(
            f"{a.metric} has protocol {a.protocol} in one and {b.protocol} in the other: "
            "scores of different protocols are not comparable; run both under the same one"
        )
    order = _same(a, b)
    if a.metric.startswith("drawn_") and a.backbone != b.backbone:
        raise PhospheneError(f"{a.metric} is judged by {a.backbone} and by {b.backbone}: judge both by the same model")
    if not np.array_equal(a.n_items, np.asarray(b.n_items)[order]):
        raise PhospheneError(
            f"{a.metric} was computed with galleries of different size: give both runs the same stimuli"
        )
    clusters = [np.asarray(a.clusters[factor]) for factor in (("stimuli", "subjects") if over == "both" else (over,))]
    if over != "stimuli" and len(set(clusters[-1])) < 2:
        raise PhospheneError(f"over='{over}' needs several subjects, but there is only one: use over='stimuli'")
    found = paired(
        a.values, np.asarray(b.values)[order], clusters, statistic=a.statistic, n_boot=n_boot, n_perm=n_perm, seed=seed
    )
    return {
        "metric": a.metric,
        "a": found.a,
        "b": found.b,
        "difference": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "p": found.p,
        "p_min": found.p_min,
        "n": found.n,
        "n_clusters": found.n_clusters,
        "higher_is_better": a.higher_is_better,
        "over": over,
        "protocol": a.protocol,
        "backbone_a": a.backbone,
        "backbone_b": b.backbone,
    }


def _same(a: Scored, b: Scored) -> np.ndarray:
    """(n,) where each sample of ``a`` is in ``b``."""
    names = [pd.Index(np.asarray(s.samples, str)) for s in (a, b)]
    for index in names:
        if not index.is_unique:
            raise PhospheneError(f"{a.metric}: sample '{index[index.duplicated()][0]}' is scored twice: name each once")
    only = [sorted(set(names[i]) - set(names[1 - i])) for i in (0, 1)]
    if any(only):
        raise PhospheneError(
            f"{a.metric}: {len(only[0])} samples are only in a and {len(only[1])} only in b, for instance "
            f"'{(only[0] or only[1])[0]}': run both on the same trials"
        )
    return names[1].get_indexer(names[0])
