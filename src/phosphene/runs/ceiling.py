"""The scores of the ideal observer on a run's own test trials, where the study was simulated and is still in place."""

from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from phosphene.captions import LEVEL_OF, NAMED, SLOTS, Slot
from phosphene.datasets.synthetic import Synthetic
from phosphene.eeg.lazy import chunks
from phosphene.errors import PhospheneError
from phosphene.evaluation import scores
from phosphene.evaluation.protocols import Fold
from phosphene.evaluation.scores import Question
from phosphene.runs.experiment import Experiment
from phosphene.runs.preparation import dataset_of
from phosphene.simulate.scenes import draw_with_mask
from phosphene.simulate.study import SIMULATOR, choose_stimuli, scenes_of

if TYPE_CHECKING:
    from phosphene.simulate.ideal import Ideal

EXPECTED = (0.8, 1.25)  # how large the noise may be, relative to what the observer takes it for
_LEAST = -1e9  # log-probability of what is impossible; finite, so that it can be ranked


def ceilings(experiment: Experiment) -> dict[tuple[str, str], float]:
    """The ideal observer's value for each subject (and "all", of several) and metric; empty where it is not known."""
    observer = Ceiling(experiment)
    if observer.parameters is None:
        return {}
    asked: dict[tuple[str, str], list[Question]] = defaultdict(list)
    unknown = set()
    with experiment.display.bar("ideal observer", len(experiment.folds)) as bar:
        for fold in experiment.folds:
            questions = observer.questions(fold)
            unknown |= set() if questions else {fold.subject, "all"}
            for question in questions:
                asked[fold.subject, question.metric].append(question)
                asked["all", question.metric].append(question)
            bar(1)
    return {key: parts[0].join(parts[1:]).value for key, parts in asked.items() if key[0] not in unknown}


class Ceiling:
    """What the ideal observer reads from the test trials of a run.

    It is given the same trials with the same noise, after the same preprocessing, averaged as the protocol says. No
    answer is given (`questions` is empty) where the study is not simulated, is gone, was written by another version of
    the simulator, or where the trials are not what the observer expects of it.

    Parameters
    ----------
    experiment : a finished run.
    """

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self._observers: dict[str, Ideal] = {}
        self._drawn: dict[tuple[str, ...], Any] = {}

    @cached_property
    def parameters(self) -> dict[str, Any] | None:
        """Arguments of `phosphene.simulate.study.simulate` that made the study; None where they are not known."""
        recipe = self.experiment.recipe
        if not Path(str(recipe.dataset.get("root", ""))).expanduser().is_dir():
            return None
        try:
            dataset = dataset_of(recipe)
        except PhospheneError:
            return None
        if not isinstance(dataset, Synthetic) or dataset.facts.get("simulator") != SIMULATOR:
            return None
        return dict(dataset.facts["parameters"])

    def questions(self, fold: Fold) -> list[Question]:
        """The questions that are asked of the run about its gallery, as the ideal observer answers them."""
        posterior = self.log_posterior(fold)
        if posterior is None:
            return []
        gallery, truth = self.experiment.gallery(fold)
        concepts = gallery["concept"].to_numpy(str)
        found = scores.ranked_pictures(posterior, summed(posterior, concepts)[1], truth, concepts)
        decoded = self.experiment.decoded(fold).heads
        heads = [slot for slot in SLOTS if slot.name in decoded and slot.name in gallery]
        if heads:
            return [*found, *self._by_heads(fold, posterior, gallery, concepts[truth], heads)]
        for slot in (s for s in NAMED if s.name in gallery):
            captions, index = np.unique(self.experiment.trials.stimuli[slot.name].to_numpy(str), return_inverse=True)
            row = dict(zip(self.experiment.trials.stimuli.index, index, strict=True))
            table = _table(posterior, np.array([row[name] for name in gallery.index]), len(captions))
            wanted = np.array([row[gallery.index[t]] for t in truth])
            found += scores.ranked_captions(table, wanted, concepts[truth], slot.level)
        return found

    def _by_heads(
        self, fold: Fold, posterior: np.ndarray, gallery: pd.DataFrame, clusters: np.ndarray, heads: list[Slot]
    ) -> list[Question]:
        """What `scoring` asks of the head of each slot."""
        found = []
        for slot in heads:
            for part, suffix in (("train", ""), ("test", ".of_test_captions")):
                captions, truth = self.experiment.captions(fold, slot.name, part)
                row = {caption: i for i, caption in enumerate(captions)}
                other = len(captions)  # what is said of the gallery's pictures and not in this part
                labels = np.array([row.get(caption, other) for caption in gallery[slot.name].astype(str)])
                table, held = _table(posterior, labels, other + 1), np.flatnonzero(truth >= 0)
                if len(held) > 1 and len(captions) > 1:
                    found += scores.ranked_captions(
                        table[held, :-1], truth[held], clusters[held], slot.name + suffix, samples=held
                    )
        return [*found, *scores.by_level(found, LEVEL_OF)]

    def log_posterior(self, fold: Fold) -> np.ndarray | None:
        """(n_samples, n_gallery) log-probability of each picture of the gallery; None where it is not known."""
        if self.parameters is None:
            return None
        experiment = self.experiment
        gallery, truth = experiment.gallery(fold)
        test = experiment.protocol.samples(experiment.trials.select(fold.test), "test")
        if experiment.recipe.silenced_outside is not None:
            test = test.crop(*experiment.recipe.silenced_outside)
        pictures = choose_stimuli(
            self.parameters["n_train_pictures"], self.parameters["n_test_pictures"], seed=self.parameters["seed"]
        )
        if (truth < 0).any() or not set(gallery.index) <= set(pictures.index) or test.signal.unit != "V":
            return None
        shown = pictures.loc[gallery.index]
        n_averaged = test.table["n_averaged"].to_numpy() if "n_averaged" in test.table else np.ones(len(test))
        out = np.empty((len(test), len(gallery)))
        for subject in sorted(test.table["subject"].unique()):
            observer, own = self._observer(subject), (test.table["subject"] == subject).to_numpy()
            templates = observer.templates(observer.brain.evoked(scenes_of(shown), self._pictures(shown)))
            if templates.shape[1:] != test.eeg.shape[1:]:
                return None
            noise = 0.0  # sum over samples of its size, relative to what is expected
            for start, eeg in chunks(test.eeg):
                here = np.flatnonzero(own[start : start + len(eeg)])
                rows = start + here
                if len(rows):
                    out[rows] = observer.log_posterior(eeg[here], templates, n_averaged[rows])
                    left = eeg[here] - templates[truth[rows]]
                    noise += len(rows) * observer.surprise(left, n_averaged[rows])
            if not EXPECTED[0] < noise / own.sum() < EXPECTED[1]:
                return None
        return out

    def _observer(self, subject: str) -> "Ideal":
        if subject not in self._observers:
            from phosphene.simulate.ideal import Ideal

            recipe = self.experiment.recipe
            picks = {} if recipe.channels is None else {"picks": recipe.channels}
            steps = dataset_of(recipe).steps({**recipe.preprocessing, **picks})
            window = recipe.silenced_outside or recipe.window or (None, None)
            self._observers = {subject: Ideal.of_study(self.parameters or {}, subject, steps, window)}  # one is large
        return self._observers[subject]

    def _pictures(self, shown: Any) -> Any:
        """Picture and object mask of the scenes, drawn once for all subjects."""
        names = tuple(shown.index)
        if names not in self._drawn:
            size = (self.parameters or {})["size"]
            self._drawn = {names: [draw_with_mask(scene, size) for scene in scenes_of(shown)]}
        return self._drawn[names]


def _table(log_posterior: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    """(n_samples, n_labels) log-probability of each label, of those (n_pictures,) that the pictures have."""
    possible, likely = summed(log_posterior, labels)
    table = np.full((len(log_posterior), n_labels), _LEAST)
    table[:, possible] = likely
    return table


def summed(log_posterior: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum the probabilities of pictures that share a label.

    Parameters
    ----------
    log_posterior : (n_samples, n_pictures).
    labels : (n_pictures,).

    Returns
    -------
    The distinct labels (n_labels,), sorted, and their log-probabilities (n_samples, n_labels).
    """
    names, index = np.unique(labels, return_inverse=True)
    log_sums = [np.logaddexp.reduce(log_posterior[:, index == i], axis=1) for i in range(len(names))]
    return names, np.stack(log_sums, axis=1)
