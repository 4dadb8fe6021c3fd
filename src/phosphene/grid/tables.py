"""From the runs of a grid to its tables: every score, and the paired differences from the reference variant."""

from collections.abc import Sequence

import pandas as pd

from phosphene.errors import Damaged, PhospheneError
from phosphene.evaluation import scores
from phosphene.evaluation.corrections import corrected
from phosphene.evaluation.differences import COLUMNS as DIFFERENCE
from phosphene.evaluation.differences import Scored, compare
from phosphene.grid.schema import Cell, Grid
from phosphene.runs.compare import scored
from phosphene.runs.experiment import Experiment
from phosphene.utils.checksums import intact
from phosphene.utils.files import read_json

COLUMNS = ("variant", *scores.COLUMNS)
DIFFERENCES = ("variant", "reference", "seed", *DIFFERENCE)


def grid_table(runs: Sequence[tuple[Cell, Experiment]]) -> pd.DataFrame:
    """The rows of every `scores.csv`, columns `COLUMNS`."""
    parts = []
    for cell, experiment in runs:
        path = intact(experiment.out / "scores.csv", "write it again with `phosphene evaluate`")
        rows = pd.read_csv(path, dtype={"subject": str, "protocol": str, "interval": str})
        parts.append(rows.assign(variant=cell.variant))
    return pd.concat(parts, ignore_index=True).reindex(columns=list(COLUMNS))  # older runs lack some


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
                known[str(one.out)] = {found.metric: found for found in scored(one)}
        settings = experiment.recipe.evaluation
        a, b = known[str(experiment.out)], known[str(against.out)]
        for metric in (m for m in metrics if m in a and m in b):
            try:
                row = compare([a[metric]], [b[metric]], n_boot=settings.n_boot, n_perm=settings.n_perm)
            except Damaged:
                raise
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
