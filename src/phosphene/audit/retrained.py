"""The run's own method, trained once more on what holds nothing of the pictures."""

import shutil
from collections.abc import Callable, Iterator

import numpy as np

from phosphene.audit.decoding import Control, asked, gate, units
from phosphene.audit.surrogates import noise, phantom
from phosphene.eeg.trials import Trials
from phosphene.evaluation import retrieval
from phosphene.evaluation.protocols import Fold
from phosphene.evaluation.scores import Question
from phosphene.methods.base import Classifier
from phosphene.runs.experiment import Experiment
from phosphene.utils.files import read_json

SURROGATES: dict[str, Callable[[Trials, int], Trials]] = {"noise": noise, "phantom": phantom}


def controls(experiment: Experiment, n_perm: int) -> Iterator[Control]:
    """Two-way identification of the run, its shuffled control (G4), and the method on noise (G2) and a phantom."""
    shown = "does the run's own method tell what was shown?"
    if not trained(experiment):
        yield Control("retrained", shown, verdict="left out", reason="the run is not trained: finish it first")
        return
    yield asked(_answer(experiment, shown, experiment, False, n_perm))
    question = "and trained on pictures exchanged at random (G4)?"
    if True in experiment.trainings:
        found = _answer(experiment, question, experiment, True, n_perm)
        yield gate(found, "labels that mean nothing suffice: the score does not come from the EEG")
    else:
        reason = "the run has no shuffled control (evaluation.shuffled_control is false)"
        yield Control("retrained", question, verdict="left out", reason=reason)
    for kind, question, fault in (
        ("noise", "and trained and tested on noise (G2)?", "noise suffices: the score does not come from the EEG"),
        (
            "phantom",
            "and trained and tested on a phantom, noise with slow states?",
            "slow states suffice, without a brain: the order of the pictures is confounded with time",
        ),
    ):
        yield gate(_answer(experiment, question, surrogate_run(experiment, kind), False, n_perm), fault)


def trained(experiment: Experiment) -> bool:
    """Whether every fold of the run is decoded."""
    return all((experiment.folder(f, t) / "decoded").is_dir() for f in experiment.folds for t in experiment.trainings)


def surrogate_run(experiment: Experiment, kind: str) -> Experiment:
    """The run of the same recipe on a stand-in for its EEG, trained; kept in `audit/`, without its trials."""
    recipe = experiment.recipe
    recipe = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"shuffled_control": False})})
    other = Experiment(recipe, experiment.out / "audit" / kind, experiment.display)
    if (other.out / "done").is_file():
        return other
    if not (other.out / "trials").is_dir():
        facts = read_json(experiment.out / "dataset.json")
        made = SURROGATES[kind](Trials.load(experiment.prepare()), experiment.protocol.seed)
        other.adopt(made, {**facts, "stand_in": kind})
    other.train()
    (other.out / "done").touch()
    shutil.rmtree(other.out / "trials")
    return other


def similarity(
    experiment: Experiment, fold: Fold, decoder: Experiment, shuffled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(n_samples, n_candidates) how much each candidate is like what ``decoder`` read, and which one was shown."""
    table, heads = decoder.decoded(fold, shuffled)
    method = experiment.method(fold)
    if isinstance(method, Classifier):
        return heads["concept"].numpy(), np.array([method.concepts.index(c) for c in table["concept"]])
    gallery, truth = experiment.gallery(fold)
    return retrieval.cosine(decoder.points(fold, shuffled), method.pictures(gallery).numpy()), truth


def _answer(experiment: Experiment, question: str, decoder: Experiment, shuffled: bool, n_perm: int) -> Control:
    questions = []
    for fold in experiment.folds:
        found, truth = similarity(experiment, fold, decoder, shuffled)
        concepts = decoder.decoded(fold, shuffled).table["concept"].to_numpy(str)
        # the control reads the trials of a concept alike, rightly or wrongly: there a concept counts as one
        names = np.char.add(f"{fold.subject}/{fold.name}/", concepts if shuffled else units(concepts))
        questions.append(Question("two_way", retrieval.k_way(retrieval.ranks(found), 2), truth, names))
    answer = questions[0].join(questions[1:]).answer(n_perm=n_perm, n_boot=1000, seed=experiment.protocol.seed)
    return Control(
        "retrained",
        question,
        value=answer["value"],
        chance=answer["chance"],
        low=answer["ci_low"],
        high=answer["ci_high"],
        p=answer["p"],
        n=answer["n"],
        p_min=answer["p_min"],
        band="value",
    )
