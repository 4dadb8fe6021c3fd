"""From a finished run folder to its score tables: which questions can be asked, and their answers."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from phosphene.captions import LEVEL_OF
from phosphene.evaluation import classification, scores, transductive
from phosphene.evaluation.categories import TwoCategories
from phosphene.evaluation.metrics import chosen
from phosphene.evaluation.metrics.inception import mini_features
from phosphene.evaluation.metrics.paired import pixel_questions
from phosphene.evaluation.metrics.unpaired import Unpaired
from phosphene.evaluation.protocols import Fold
from phosphene.evaluation.retrieval import cosine
from phosphene.evaluation.scores import Question
from phosphene.methods.base import Classifier
from phosphene.runs.ceiling import ceilings
from phosphene.runs.experiment import Experiment
from phosphene.runs.reading import FoldReading, read
from phosphene.runs.recipe import Recipe
from phosphene.targets.clip import CLIPImage, CLIPText
from phosphene.utils.checksums import kept
from phosphene.utils.locks import alone
from phosphene.utils.pictures import open_picture

Asked = Question | TwoCategories | Unpaired
ATTRIBUTES = ("object", "colour", "background", "position")


def score(experiment: Experiment) -> pd.DataFrame:
    """Write `scores.csv`, `scores_shuffled.csv` (the same of the shuffled control) and each fold's `retrieved.csv`.

    Returns
    -------
    The scores.
    """
    with alone(experiment.out):
        return _score(experiment)


def _score(experiment: Experiment) -> pd.DataFrame:
    stimuli = experiment.trials.stimuli
    pictures = "image" in stimuli and bool((stimuli["image"].astype(str) != "").any())
    for fold in experiment.folds if pictures else ():
        with kept(experiment.folder(fold) / "retrieved.csv") as part:
            experiment.retrieve(fold).to_csv(part, index=False)
    tables = _tables(experiment)
    for name, table in tables.items():
        with kept(experiment.out / f"{name}.csv") as part:
            table.to_csv(part, index=False)
    return tables["scores"]


def _tables(experiment: Experiment) -> dict[str, pd.DataFrame]:
    """`scores`, and `scores_shuffled` where a shuffled control was trained."""
    method = experiment.method()
    if isinstance(method, Classifier):
        return {"scores": scores.frame(_concepts(experiment, method))}
    answers = {}
    jobs = len(experiment.folds) * len(experiment.trainings)
    crossed = _crossed(experiment.folds)
    with experiment.display.bar("scoring", jobs) as bar:
        for shuffled in experiment.trainings:
            asked: dict[tuple[str, str], list[Any]] = defaultdict(list)
            for fold in experiment.folds:
                reading = read(experiment, fold, shuffled)
                unit = "test samples" if reading.categories else "test concepts"
                for question in questions(reading, experiment.recipe):
                    if not isinstance(question, Unpaired):
                        question.crossed = crossed
                    if not isinstance(question, TwoCategories):
                        question.unit = unit
                    asked[fold.subject, question.metric].append(question)
                    if len({f.subject for f in experiment.folds}) > 1:
                        asked["all", question.metric].append(question)
                bar(1)
            answers[shuffled] = {key: _answer(experiment, parts) for key, parts in asked.items()}
    ceiling = ceilings(experiment)
    tables = {}
    for shuffled, rows in answers.items():
        complete = [
            {
                **row,
                **_frame(experiment, subject),
                "shuffled": answers.get(True, {}).get((subject, metric), {}).get("value"),
                "ceiling": None if shuffled else ceiling.get((subject, metric)),
            }
            for (subject, metric), row in rows.items()
        ]
        tables["scores_shuffled" if shuffled else "scores"] = scores.frame(complete)
    return tables


def _crossed(folds: list[Fold]) -> bool:
    """Whether folds train on each other's test trials, as where one run after the other is left out."""
    return any(
        bool((a.train & b.test).any() and (b.train & a.test).any()) for i, a in enumerate(folds) for b in folds[:i]
    )


def _frame(experiment: Experiment, subject: str) -> dict[str, Any]:
    return {"subject": subject, "seed": experiment.protocol.seed, "protocol": experiment.protocol.hash}


def _answer(experiment: Experiment, parts: list[Any]) -> dict[str, Any]:
    evaluation = experiment.recipe.evaluation
    return (
        parts[0]
        .join(parts[1:])
        .answer(n_boot=evaluation.n_boot, n_perm=evaluation.n_perm, seed=experiment.protocol.seed)
    )


def questions(reading: FoldReading, recipe: Recipe) -> list[Asked]:
    """Retrieval of pictures and captions, and what was drawn."""
    points, vectors, truth, clusters = reading.points, reading.vectors, reading.truth, reading.clusters
    concepts = reading.gallery["concept"].to_numpy(str)
    name = getattr(reading.space, "backbone", "")
    found: list[Asked]
    if reading.categories:
        runs = classification.run_names(reading.table)
        found = [*scores.categories(cosine(points, vectors), truth, runs, clusters, name)]
    else:
        asked = {"concept": "concept_", "within_concept": "within_concept_"}.get(recipe.protocol.gallery, "")
        retrieved = scores.picture_retrieval(points, vectors, truth, concepts, name)
        found = [one for one in retrieved if one.metric.startswith(asked)]
        if recipe.evaluation.transductive and not asked:
            found += transductive.questions(points, vectors, truth, concepts, name)
    if reading.heads:
        found += _by_heads(reading, name)
    for slot, captions in reading.captions.items():
        assert reading.space is not None
        texts = reading.space.texts(captions.texts).numpy()
        found += scores.caption_retrieval(points, texts, captions.truth, clusters, slot.level, name)
    if reading.drawings:  # every draw of every trial is scored; none is chosen
        rows = np.repeat(np.arange(len(truth)), len(reading.drawings) // len(truth))
        seen, drawn = reading.gallery.iloc[truth[rows]], reading.drawn()
        found += drawn_questions(
            drawn, seen, clusters[rows], reading.space, recipe.drawn_by, recipe.evaluation.pictures
        )
    return found


def _by_heads(reading: FoldReading, name: str) -> list[Asked]:
    """Captions found by the head of each slot: among those of the training, and, so named, among those of the test."""
    text, found = CLIPText(backbone=name), []
    for head in reading.heads:
        slot, known = head.slot.name, text.texts(head.train.texts).numpy()
        found += scores.head_captions(head.decoded, known, head.train.truth, reading.clusters, slot, name)
        if head.test.texts != head.train.texts:  # else the same question once more
            of_test = text.texts(head.test.texts).numpy()
            found += scores.head_captions(
                head.decoded, of_test, head.test.truth, reading.clusters, slot + ".of_test_captions", name
            )
        said_of, concepts = head.said_of, head.concepts
        apart = bool((said_of.sum(axis=0) == 1).all() and (said_of.sum(axis=1) == 1).all())  # a caption is its class
        if not apart and set(reading.table["concept"]) <= set(concepts):
            seen = np.array([concepts.index(c) for c in reading.table["concept"]])
            similarity = cosine(head.decoded, known)
            found.append(scores.caption_classes(similarity, said_of, seen, reading.clusters, slot, name))
    return [*scores.by_level(found, LEVEL_OF), *found]


def drawn_questions(
    drawn: list[Image.Image],
    seen: pd.DataFrame,
    clusters: np.ndarray,
    space: CLIPImage | None,
    by: str = "",
    more: Sequence[str] = (),
) -> list[Asked]:
    """What is asked of pictures, wherever they come from.

    Parameters
    ----------
    drawn : the pictures.
    seen : (n_drawn) stimulus rows of what was seen.
    clusters : (n_drawn,) pictures that are not independent share an entry.
    space : CLIP's image space; without one, pictures are compared by their pixels and attributes alone.
    by : the generator's backbone.
    more : the field's metrics, see `phosphene.evaluation.metrics.chosen`.
    """
    unique = seen[~seen.index.duplicated()]
    row = {name: i for i, name in enumerate(unique.index)}
    truth = np.array([row[name] for name in seen.index])
    questions: list[Asked] = []
    if space is not None:
        real = space.table(unique).vectors.numpy()
        questions += scores.drawn_pictures(space.images(drawn).numpy(), real, truth, clusters, space.backbone)
    if len(unique) > 1:
        shown = [open_picture(path) for path in unique["image"]]
        questions += pixel_questions(drawn, shown, truth, clusters, block=10, backbone=by)
        if space is not None and space.backbone == "mini":
            sets = mini_features(drawn), clusters, mini_features(shown), unique.index.to_numpy(str)
            concepts = unique["concept"].to_numpy(str)
            questions += [Unpaired(name, *sets, concepts) for name in ("fid_mini", "kid_mini")]
        if more:
            names, of_names = unique.index.to_numpy(str), unique["concept"].to_numpy(str)
            questions += chosen.questions(more, chosen.Drawings(drawn, shown, truth, clusters, names, of_names))
    if set(ATTRIBUTES) <= set(seen.columns):
        from phosphene.simulate.judge import load_judge

        judged = {a: labels for a, labels in load_judge().predict(drawn).items() if a in ATTRIBUTES}
        questions += scores.drawn_attributes(seen, judged, clusters, "judge (mini)")
    return questions


def _concepts(experiment: Experiment, method: Classifier) -> list[dict[str, Any]]:
    """Scores of two concepts; p and shuffled control refit the whole cross-validation on shuffled labels."""
    evaluation, seed = experiment.recipe.evaluation, experiment.protocol.seed
    features, labels = method.features(experiment.trials), method.labels(experiment.trials)
    rows = []
    for subject in sorted({f.subject for f in experiment.folds}):
        folds = [f for f in experiment.folds if f.subject == subject]
        own = np.any([f.train | f.test for f in folds], axis=0)
        with experiment.display.bar(f"permutation test, subject {subject}", evaluation.n_perm) as bar:
            answers = classification.score(
                features[own],
                labels[own],
                classification.run_names(experiment.trials.table[own]),
                [Fold(*f[:2], *(mask[own] for mask in f[2:])) for f in folds],
                method.fit_predict,
                n_boot=evaluation.n_boot,
                n_perm=evaluation.n_perm,
                seed=seed,
                progress=bar,
            )
        rows += [{**row, **_frame(experiment, subject), "backbone": ""} for row in answers]
    return rows
