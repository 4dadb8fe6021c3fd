"""One fold of a finished run, read once: what was decoded, and among what each answer is sought."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from phosphene.captions import NAMED, SLOTS, Slot
from phosphene.evaluation.protocols import Fold
from phosphene.runs.decoded import stand_for_categories
from phosphene.runs.drawing import open_drawing
from phosphene.runs.experiment import Experiment
from phosphene.targets.clip import CLIPImage


class CaptionGallery(NamedTuple):
    """Captions of one slot, and each sample's own among them.

    Parameters
    ----------
    texts : (n_captions,) distinct.
    truth : (n_samples,) row of each sample's own; -1 where it is not among them.
    """

    texts: list[str]
    truth: np.ndarray


@dataclass(frozen=True)
class HeadReading:
    """What the head of one caption slot decoded.

    Parameters
    ----------
    decoded : (n_samples, dim).
    train, test : the captions of the training and of the test pictures.
    said_of : (n_train_captions, n_concepts) whether a training picture of a concept has a caption.
    concepts : (n_concepts,) of the training pictures.
    """

    slot: Slot
    decoded: np.ndarray
    train: CaptionGallery
    test: CaptionGallery
    said_of: np.ndarray
    concepts: list[str]


@dataclass(frozen=True)
class FoldReading:
    """One fold of a run.

    Parameters
    ----------
    fold : which trials it trained and tested.
    table : (n_samples, columns) the test samples, as in the trial table.
    points : (n_samples, dim) what was decoded of them, comparable with ``vectors``.
    gallery : (n_gallery, columns) stimuli among which each sample's own is sought.
    truth : (n_samples,) gallery row of each sample's own.
    vectors : (n_gallery, dim) of the gallery's pictures.
    space : CLIP's image space, where ``points`` lie in it.
    heads : of methods that decode captions.
    captions : without such heads, all captions of the study, by slot; they are sought from ``points``.
    drawings : (n_samples * draws,) where the drawn pictures are, sample by sample; empty without a generator.
    """

    fold: Fold
    table: pd.DataFrame
    points: np.ndarray
    gallery: pd.DataFrame
    truth: np.ndarray
    vectors: np.ndarray
    space: CLIPImage | None
    heads: list[HeadReading]
    captions: dict[Slot, CaptionGallery]
    drawings: list[Path]

    @cached_property
    def categories(self) -> bool:
        """Whether the gallery holds categories, not pictures."""
        return stand_for_categories(self.gallery)

    @cached_property
    def clusters(self) -> np.ndarray:
        """(n_samples,) samples that are not independent share an entry: those of a concept, if pictures are sought."""
        if self.categories:
            return np.array([f"{self.fold.subject} {self.fold.name} {i}" for i in range(len(self.truth))])
        return self.gallery["concept"].to_numpy(str)[self.truth]

    def drawn(self) -> list[Image.Image]:
        """The drawn pictures."""
        return [open_drawing(path) for path in self.drawings]


def read(experiment: Experiment, fold: Fold, shuffled: bool = False) -> FoldReading:
    """Read a fold of a run that retrieves pictures or captions, or of its shuffled control."""
    table, decoded = experiment.decoded(fold, shuffled)
    method, (gallery, truth) = experiment.method(fold), experiment.gallery(fold)
    heads = []
    for slot in (s for s in SLOTS if s.name in decoded):
        train, test = (CaptionGallery(*experiment.captions(fold, slot.name, part)) for part in ("train", "test"))
        shown = experiment.caption_concepts(fold, slot.name, train.texts)
        heads.append(HeadReading(slot, decoded[slot.name].numpy(), train, test, *shown))
    stimuli, captions = experiment.trials.stimuli, {}
    for slot in NAMED if not heads and method.image_space is not None else ():
        if slot.name in stimuli:
            texts, row = np.unique(stimuli[slot.name].to_numpy(str), return_inverse=True)
            captions[slot] = CaptionGallery(list(texts), row[stimuli.index.get_indexer(table["stimulus"])])
    draws = 0 if experiment.recipe.generator is None else experiment.recipe.evaluation.draws
    return FoldReading(
        fold,
        table,
        experiment.points(fold, shuffled),
        gallery,
        truth,
        method.pictures(gallery).numpy(),
        method.image_space,
        heads,
        captions,
        [experiment.picture(fold, i, draw, shuffled) for i in range(len(table)) for draw in range(draws)],
    )
