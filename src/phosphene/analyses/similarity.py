"""Representational similarity of a finished run: what it decoded, against the pictures and their concepts."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from phosphene.analyses import figures, rsa
from phosphene.analyses.repeats import n_repeats, reaveraged
from phosphene.errors import PhospheneError, nearest
from phosphene.runs.experiment import Experiment
from phosphene.targets.clip import THIS_PICTURE
from phosphene.utils.files import whole
from phosphene.utils.progress import Display, Silent
from phosphene.utils.vectors import unit

MOST = 400  # stimuli, drawn at random where there are more
COLUMNS = (
    "subject",
    "against",
    "rho",
    "ci_low",
    "ci_high",
    "p",
    "n",
    "chance",
    "shuffled",
    "ceiling_low",
    "ceiling_high",
    "ceiling_of",
    "seed",
    "protocol",
    "backbone",
)
Vectors = dict[str, dict[str, np.ndarray]]  # subject -> stimulus -> (dim,)


def similarity(run: str | Path, *, order: str = "cluster", display: Display | None = None) -> Path:
    """Similarity matrix of the decoded vectors against that of the pictures', and of their concepts' text vectors.

    A vector is the mean over the test samples of a picture, each of length 1. The matrix of "all" is the mean over
    subjects. Its noise ceiling is that over subjects; a subject's own is from either half of the repeats (only an upper
    bound: the square root of the reliability). Where there is neither, none is given.

    Parameters
    ----------
    run : a finished run folder whose method finds pictures.
    order : of the figure: "cluster" (average linkage on the pictures' own vectors), or a column of the stimuli, such as
        "category" or "concept".
    display : where progress is shown; nowhere by default.

    Returns
    -------
    The folder `analyses` in the run: `similarity.csv` (columns `COLUMNS`), `similarity.png`, and
    `similarity-stimuli.csv` with the order of the figure.
    """
    source = Experiment.open(run, display or Silent())
    if source.method().decodes == "concepts":
        raise PhospheneError("two concepts have no similarity matrix: run a method that retrieves pictures")
    vectors, seen = _vectors(source, False), source.trials.stimuli
    common = set.intersection(*(set(own) for own in vectors.values()))
    names = np.array([name for name in seen.index if name in common])
    rng = np.random.default_rng([source.protocol.seed, 91])
    names = names[np.sort(rng.permutation(len(names))[:MOST])]
    stimuli = seen.loc[names]
    if order != "cluster" and order not in stimuli:
        raise PhospheneError(f"unknown order '{order}': {nearest(order, ['cluster', *stimuli.columns])}")
    models = _models(source, stimuli)
    decoded = {subject: _matrix(own, names) for subject, own in vectors.items()}
    controls = {}
    if True in source.trainings:
        controls = {subject: _matrix(own, names) for subject, own in _vectors(source, True).items()}
    table = _table(source, names, decoded, controls, models)
    place = rsa.clustered(models["pictures"]) if order == "cluster" else np.argsort(stimuli[order], kind="stable")
    groups = [] if order == "cluster" else stimuli[order].astype(str).tolist()
    out = source.out / "analyses"
    with whole(out / "similarity.csv") as part:
        table.to_csv(part, index=False)
    columns = [c for c in ("concept", "category") if c in stimuli]
    with whole(out / "similarity-stimuli.csv") as part:
        stimuli[columns].iloc[np.asarray(place)].to_csv(part, index_label="stimulus")
    shown = {"decoded": np.mean(list(decoded.values()), axis=0), **models}
    with whole(out / "similarity.png") as part:
        figures.matrices(shown, np.asarray(place), groups).savefig(part, format="png", dpi=figures.DPI)
    return out


def _vectors(experiment: Experiment, shuffled: bool, half: int | None = None) -> Vectors:
    """The mean decoded vector of each subject and stimulus; ``half`` takes each picture's first or second sample."""
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for fold in experiment.folds:
        table, points = experiment.decoded(fold, shuffled).table, experiment.points(fold, shuffled)
        rows = unit(points)
        number = table.groupby(["subject", "stimulus"]).cumcount().to_numpy()
        for i, (subject, name) in enumerate(zip(table["subject"], table["stimulus"], strict=True)):
            if half is None or number[i] == half:
                found[subject][name].append(rows[i])
    return {subject: {name: np.mean(rows, axis=0) for name, rows in own.items()} for subject, own in found.items()}


def _matrix(vectors: dict[str, np.ndarray], names: np.ndarray) -> np.ndarray:
    return rsa.rsm(np.stack([vectors[name] for name in names]))


def _models(source: Experiment, stimuli: pd.DataFrame) -> dict[str, np.ndarray]:
    """Similarity of the pictures themselves, and of the text of their concepts where the method has CLIP's space."""
    method = source.method()
    found = {"pictures": rsa.rsm(np.asarray(method.pictures(stimuli)))}
    if method.image_space is not None and stimuli["concept"].nunique() > 1:
        texts, row = np.unique(stimuli["concept"].to_numpy(str), return_inverse=True)
        said = [THIS_PICTURE.format(text.replace("_", " ")) for text in texts]
        found["concepts"] = rsa.rsm(method.image_space.texts(said).numpy()[row])
    return found


def _table(
    source: Experiment,
    names: np.ndarray,
    decoded: dict[str, np.ndarray],
    controls: dict[str, np.ndarray],
    models: dict[str, np.ndarray],
) -> pd.DataFrame:
    evaluation, seed = source.recipe.evaluation, source.protocol.seed
    ceilings = {subject: (np.nan, top, "repeats") for subject, top in _by_repeats(source, names).items()}
    matrices = dict(decoded)
    if len(decoded) > 1:
        matrices["all"] = np.mean(list(decoded.values()), axis=0)
        controls = {**controls, **({"all": np.mean(list(controls.values()), axis=0)} if controls else {})}
        ceilings["all"] = (*rsa.noise_ceiling(list(decoded.values())), "subjects")
    rows: list[dict[str, Any]] = []
    for subject, matrix in matrices.items():
        for against, model in models.items():
            found = rsa.relate(matrix, model, n_boot=evaluation.n_boot, n_perm=evaluation.n_perm, seed=seed)
            low, high, of = ceilings.get(subject, (np.nan, np.nan, ""))
            rows.append(
                {
                    **found._asdict(),
                    "subject": subject,
                    "against": against,
                    "chance": 0.0,
                    "shuffled": rsa.rho(controls[subject], model) if subject in controls else np.nan,
                    "ceiling_low": low,
                    "ceiling_high": high,
                    "ceiling_of": of,
                    "seed": seed,
                    "protocol": source.protocol.hash,
                    "backbone": getattr(source.method().image_space, "backbone", ""),
                }
            )
    return pd.DataFrame(rows)[list(COLUMNS)]


def _by_repeats(source: Experiment, names: np.ndarray) -> dict[str, float]:
    """The rho that a subject's matrix could reach with a model without noise; {} without repeats to halve."""
    n = n_repeats(source)
    if n < 2:
        return {}
    view = reaveraged(source, [n // 2], source.out / "analyses" / "repeats")[n // 2]
    halves = [_vectors(view, False, half) for half in (0, 1)]
    return {
        subject: float(np.sqrt(rsa.reliability(*(_matrix(half[subject], names) for half in halves))))
        for subject in halves[0]
    }
