"""From the runs of a grid to its tables: every score, and the paired differences from the reference variant."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from phosphene.compare import scored
from phosphene.errors import PhospheneError
from phosphene.evaluation import scores
from phosphene.evaluation.compare import COLUMNS as DIFFERENCE
from phosphene.evaluation.compare import Scored, compare
from phosphene.evaluation.corrections import corrected
from phosphene.evaluation.protocols import joined
from phosphene.evaluation.scores import Question
from phosphene.experiment import Experiment
from phosphene.files import read_json
from phosphene.grid.schema import Cell, Grid
from phosphene.scoring import questions

COLUMNS = ("variant", *scores.COLUMNS)
DIFFERENCES = ("variant", "reference", "seed", *DIFFERENCE)


def grid_table(runs: Sequence[tuple[Cell, Experiment]]) -> pd.DataFrame:
    """The rows of every `scores.csv`, columns `COLUMNS`."""
    parts = []
    for cell, experiment in runs:
        rows = pd.read_csv(experiment.out / "scores.csv", dtype={"subject": str, "protocol": str})
        parts.append(rows.assign(variant=cell.variant))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Of each run and metric, the row of all subjects together; each subject's where there is no such row."""
    joint = table["subject"] == "all"
    keys = ["variant", "seed", "protocol", "metric"]
    has = joint.groupby([table[key] for key in keys]).transform("any")
    return table[joint | ~has]


def grid_differences(
    grid: Grid, runs: Sequence[tuple[Cell, Experiment]], metrics: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Columns `DIFFERENCES`, p corrected for all rows together (Holm); and why some runs are not paired, by folder."""
    reference = {cell.seed: (cell, experiment) for cell, experiment in runs if cell.variant == grid.reference}
    known: dict[str, dict[str, Scored]] = {}
    parts, apart = [], {}
    for cell, experiment in (run for run in runs if run[0].variant != grid.reference):
        base, against = reference[cell.seed]
        reason = _unpaired(experiment, against)
        if reason is not None:
            apart[cell.folder] = reason
            continue
        for one in (experiment, against):
            if str(one.out) not in known:
                known[str(one.out)] = {found.metric: found for found in _samples(one, metrics)}
        settings = experiment.recipe.evaluation
        a, b = known[str(experiment.out)], known[str(against.out)]
        for metric in (m for m in metrics if m in a and m in b):
            try:
                row = compare([a[metric]], [b[metric]], n_boot=settings.n_boot, n_perm=settings.n_perm)
            except PhospheneError as error:
                apart[f"{cell.folder} ({metric})"] = str(error)
            else:
                parts.append(row.assign(variant=cell.variant, reference=base.variant, seed=experiment.protocol.seed))
    if not parts:
        return pd.DataFrame(columns=list(DIFFERENCES)), apart
    table = pd.concat(parts, ignore_index=True)[list(DIFFERENCES)]
    return table.assign(p_corrected=corrected(table["p"].to_numpy(float))), apart


def _unpaired(a: Experiment, b: Experiment) -> str | None:
    """Why two runs do not answer for the same test samples; None if they may."""
    if a.protocol.hash != b.protocol.hash:
        mine, other = a.protocol.model_dump(), b.protocol.model_dump()
        fields = [f for f in {**mine, **other} if mine.get(f) != other.get(f)]
        return "another protocol: " + ", ".join(f"{f} {mine.get(f)}, not {other.get(f)}" for f in fields)
    if read_json(a.out / "dataset.json").get("fingerprint") != read_json(b.out / "dataset.json").get("fingerprint"):
        return "other recordings"
    return None


def _samples(experiment: Experiment, metrics: Sequence[str]) -> Iterator[Scored]:
    """The metrics that give each test sample one score (or one for each draw), sample by sample, folds together.

    A score that leaves samples out, or asks several heads about each, is in `grid.csv` and has no paired difference.
    """
    if "concept" in experiment.method().targets():
        yield from (one for one in scored(experiment) if one.metric in metrics)
        return
    single = ("session", "run", "block", "repeat") if experiment.protocol.average_test == 1 else ()
    asked: dict[str, list[Scored]] = {}
    apart: set[str] = set()
    for fold in experiment.folds:
        table, _ = experiment.decoded(fold)
        key = joined(table, "subject", "stimulus", *single)
        names = (f"{fold.subject}-{fold.name}: " + key + "/" + key.groupby(key).cumcount().astype(str)).to_numpy(str)
        for question in questions(experiment, fold, False):
            if not isinstance(question, Question) or question.metric not in metrics:
                continue
            if question.metric.startswith("captions_") or len(question.truth) % len(names):
                apart.add(question.metric)
                continue
            rows = np.arange(len(question.truth))
            values = question.table[rows, question.truth].reshape(len(names), -1)  # (n_samples, n_draws)
            clusters = {
                "stimuli": question.clusters[:: values.shape[1]],
                "subjects": table["subject"].to_numpy(str),
            }
            asked.setdefault(question.metric, []).append(
                Scored(
                    question.metric, values.mean(axis=1), names, clusters,
                    np.full(len(names), question.table.shape[1]), experiment.protocol.hash, question.statistic,
                    question.higher_is_better, question.backbone,
                )
            )  # fmt: skip
    for metric, parts in asked.items():
        if metric not in apart:
            yield replace(
                parts[0],
                values=np.concatenate([p.values for p in parts]),
                samples=np.concatenate([p.samples for p in parts]),
                clusters={f: np.concatenate([p.clusters[f] for p in parts]) for f in ("stimuli", "subjects")},
                n_items=np.concatenate([p.n_items for p in parts]),
            )
