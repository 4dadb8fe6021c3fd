"""Two finished runs, compared: a table of paired differences (see `phosphene.evaluation.differences`)."""

from collections import defaultdict
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError
from phosphene.evaluation import classification
from phosphene.evaluation.differences import Over, Scored, compare
from phosphene.evaluation.protocols import Fold, joined
from phosphene.evaluation.scores import Question
from phosphene.methods.base import Classifier
from phosphene.runs.experiment import Experiment
from phosphene.runs.reading import read
from phosphene.runs.scoring import questions

_TRIAL = ["subject", "session", "run", "block", "stimulus", "repeat"]
_MEAN = ["subject", "stimulus"]  # over repeats: which of them were kept is each run's own matter


def compare_runs(
    a: str | Path,
    b: str | Path,
    *,
    over: Over = "stimuli",
    correction: Literal["holm", "bh", "by"] = "holm",
    seed: int = 0,
) -> pd.DataFrame:
    """Compare what two runs decoded from the same test samples, under the same protocol.

    Scores are computed again from the decoded vectors and the drawings; of all subjects together. A drawing's score is
    the mean over the draws of its trial. Two-class runs are compared by the AUC of each run of the recording.

    Parameters
    ----------
    a, b : run folders.
    over, correction : see `phosphene.evaluation.differences.compare`; bootstrap draws and permutations are those of
        ``a``.

    Raises
    ------
    PhospheneError
        If the runs are not finished, or not of the same protocol and samples.
    """
    experiments = [_opened(folder) for folder in (a, b)]
    first, second = (e.protocol for e in experiments)
    if first.hash != second.hash:
        values = [p.model_dump() for p in (first, second)]
        fields = [f for f in {**values[0], **values[1]} if values[0].get(f) != values[1].get(f)]
        said = ", ".join(f"protocol.{f} {values[0].get(f)} and {values[1].get(f)}" for f in fields)
        raise PhospheneError(
            f"{a} has protocol {first.hash} and {b} has {second.hash} ({said}): "
            "scores of different protocols are not comparable; run both under the same one"
        )
    evaluation = experiments[0].recipe.evaluation
    return compare(
        *(scored(e) for e in experiments),
        over=over,
        correction=correction,
        n_boot=evaluation.n_boot,
        n_perm=evaluation.n_perm,
        seed=seed,
    )


def scored(experiment: Experiment) -> list[Scored]:
    """Every metric of a finished run, sample by sample, all folds together."""
    if isinstance(experiment.method(), Classifier):
        return [_by_run(experiment)]
    asked: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fold in experiment.folds:
        reading = read(experiment, fold)
        table = reading.table
        names = _names(table, fold, _TRIAL if experiment.protocol.average_test == 1 else _MEAN)
        for question in questions(reading, experiment.recipe):
            if not isinstance(question, Question):  # a distance of whole sets has no samples to pair
                continue
            values = question.table[np.arange(len(question.truth)), question.truth]
            # a head is asked of the samples whose caption is there; of pictures, every draw is asked
            rows = np.arange(len(table)) if question.samples is None else question.samples
            draws = len(values) // len(rows)
            asked[question.metric].append(
                {
                    "values": values.reshape(len(rows), draws).mean(axis=1),
                    "samples": names[rows],
                    "stimuli": question.clusters[::draws],
                    "subjects": table["subject"].to_numpy(str)[rows],
                    "n_items": np.full(len(rows), question.table.shape[1]),
                    "question": question,
                }
            )
    found = []
    for metric, parts in asked.items():
        joined = {key: np.concatenate([p[key] for p in parts]) for key in parts[0] if key != "question"}
        question = parts[0]["question"]
        found.append(
            Scored(
                metric,
                joined["values"],
                joined["samples"],
                {factor: joined[factor] for factor in ("stimuli", "subjects")},
                joined["n_items"],
                experiment.protocol.hash,
                question.statistic,
                question.higher_is_better,
                question.backbone,
            )
        )
    return found


def _by_run(experiment: Experiment) -> Scored:
    """AUC within each run of the recording that shows both classes; a run is the sample and the cluster."""
    rows = []
    for fold in experiment.folds:
        table, heads = experiment.decoded(fold)
        concepts = cast(Classifier, experiment.method(fold)).concepts
        if len(concepts) != 2:
            raise PhospheneError(f"the runs classify {len(concepts)} concepts: two-class scores need exactly two")
        labels = (table["concept"] == concepts[1]).to_numpy().astype(int)
        scores = heads["concept"].numpy()[:, 1]
        aucs = classification.auc_by_run(labels, scores, classification.run_names(table)).dropna()
        rows += [(f"{fold.subject}-{fold.name}: {run}", run, value) for run, value in aucs.items()]
    names, runs, values = (np.array(column) for column in zip(*rows, strict=True))
    subjects = np.array([str(run).split("/")[0] for run in runs])
    return Scored(
        "auc_by_run",
        values.astype(float),
        names,
        {"stimuli": runs, "subjects": subjects},
        np.full(len(rows), 2),
        experiment.protocol.hash,
    )


def _names(table: pd.DataFrame, fold: Fold, columns: list[str]) -> np.ndarray:
    """(n_samples,) what each test sample is called in any run on the same trials."""
    key = joined(table, *columns)
    return (f"{fold.subject}-{fold.name}: " + key + "/" + key.groupby(key).cumcount().astype(str)).to_numpy(str)


def _opened(folder: str | Path) -> Experiment:
    experiment = Experiment.open(folder)
    if not (experiment.out / "trials").is_dir():
        raise PhospheneError(f"{folder} holds no trials: finish it with `phosphene run`")
    return experiment
