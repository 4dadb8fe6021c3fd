"""From a finished run folder to its score tables: which questions can be asked, and their answers."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from phosphene.captions import LEVEL_OF, NAMED, SLOTS
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
from phosphene.runs.decoded import stand_for_categories
from phosphene.runs.experiment import Experiment
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
                unit = "test samples" if stand_for_categories(experiment.gallery(fold)[0]) else "test concepts"
                for question in questions(experiment, fold, shuffled):
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


def questions(experiment: Experiment, fold: Fold, shuffled: bool) -> list[Asked]:
    """Retrieval of pictures and captions, and what was drawn."""
    table, heads = experiment.decoded(fold, shuffled)
    method = experiment.method(fold)
    decoded = experiment.points(fold, shuffled)
    gallery, truth = experiment.gallery(fold)
    vectors = method.pictures(gallery).numpy()
    concepts = gallery["concept"].to_numpy(str)
    clusters = concepts[truth]
    space = method.image_space
    name = getattr(space, "backbone", "")
    questions: list[Asked]
    if stand_for_categories(gallery):
        clusters = np.array([f"{fold.subject} {fold.name} {i}" for i in range(len(truth))])
        runs = classification.run_names(table)
        questions = [*scores.categories(cosine(decoded, vectors), truth, runs, clusters, name)]
    else:
        asked = {"concept": "concept_", "within_concept": "within_concept_"}.get(experiment.protocol.gallery, "")
        found = scores.picture_retrieval(decoded, vectors, truth, concepts, name)
        questions = [one for one in found if one.metric.startswith(asked)]
        if experiment.recipe.evaluation.transductive and not asked:
            questions += transductive.questions(decoded, vectors, truth, concepts, name)
    if not heads.keys().isdisjoint(slot.name for slot in SLOTS):
        questions += _by_heads(experiment, fold, heads, table, clusters, name)
    elif space is not None:
        for slot in (s for s in NAMED if s.name in experiment.trials.stimuli):
            captions, index = np.unique(experiment.trials.stimuli[slot.name].to_numpy(str), return_inverse=True)
            row = dict(zip(experiment.trials.stimuli.index, index, strict=True))
            wanted = np.array([row[s] for s in table["stimulus"]])
            texts = space.texts(list(captions)).numpy()
            questions += scores.caption_retrieval(decoded, texts, wanted, clusters, slot.level, name)
    if experiment.recipe.generator is not None:
        questions += _drawn(experiment, fold, shuffled, space, gallery.iloc[truth], clusters)
    return questions


def _by_heads(
    experiment: Experiment, fold: Fold, heads: dict[str, Any], table: pd.DataFrame, clusters: np.ndarray, name: str
) -> list[Asked]:
    """Captions found by the head of each slot: among those of the training, and, so named, among those of the test."""
    text, found = CLIPText(backbone=name), []
    for slot in (s for s in SLOTS if s.name in heads):
        decoded = heads[slot.name].numpy()
        known, _ = experiment.captions(fold, slot.name, "train")
        for part, suffix in (("train", ""), ("test", ".of_test_captions")):
            captions, truth = experiment.captions(fold, slot.name, part)
            if suffix and captions == known:  # the same question once more
                continue
            vectors = text.texts(captions).numpy()
            found += scores.head_captions(decoded, vectors, truth, clusters, slot.name + suffix, name)
        shown, classes = experiment.caption_concepts(fold, slot.name, known)
        apart = bool((shown.sum(axis=0) == 1).all() and (shown.sum(axis=1) == 1).all())  # a caption is its class
        if not apart and set(table["concept"]) <= set(classes):
            similarity = cosine(decoded, text.texts(known).numpy())
            seen = np.array([classes.index(c) for c in table["concept"]])
            found.append(scores.caption_classes(similarity, shown, seen, clusters, slot.name, name))
    return [*scores.by_level(found, LEVEL_OF), *found]


def _drawn(
    experiment: Experiment,
    fold: Fold,
    shuffled: bool,
    space: CLIPImage | None,
    seen: pd.DataFrame,
    clusters: np.ndarray,
) -> list[Asked]:
    """Every draw of every trial is scored; none is chosen."""
    draws = experiment.recipe.evaluation.draws
    drawn = [experiment.drawing(fold, i, d, shuffled) for i in range(len(seen)) for d in range(draws)]
    rows = np.repeat(np.arange(len(seen)), draws)
    more = experiment.recipe.evaluation.pictures
    return drawn_questions(experiment, drawn, seen.iloc[rows], clusters[rows], space, more)


def drawn_questions(
    experiment: Experiment,
    drawn: list[Image.Image],
    seen: pd.DataFrame,
    clusters: np.ndarray,
    space: CLIPImage | None,
    more: Sequence[str] = (),
) -> list[Asked]:
    """What is asked of pictures, wherever they come from.

    Parameters
    ----------
    drawn : the pictures.
    seen : (n_drawn) stimulus rows of what was seen.
    clusters : (n_drawn,) pictures that are not independent share an entry.
    more : the field's metrics, see `phosphene.evaluation.metrics.chosen`.
    space : CLIP's image space; without one, pictures are compared by their pixels and attributes alone.
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
        by = str((experiment.recipe.generator or {}).get("backbone", ""))
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
