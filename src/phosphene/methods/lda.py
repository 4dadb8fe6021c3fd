"""Shrinkage linear discriminant analysis: the honest baseline for two or a few concepts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError
from phosphene.methods.base import Classifier
from phosphene.registry import register
from phosphene.settings import Count, Hertz
from phosphene.targets.base import Target, TargetTable


class Concepts(Target):
    """The plainest target space: a stimulus is the unit vector of its concept, ``(n_stimuli, n_concepts)``."""

    def __init__(self, concepts: Sequence[str]):
        self.concepts = list(concepts)

    def config(self) -> dict[str, Any]:
        return {"concepts": self.concepts}

    def content(self, stimuli: pd.DataFrame) -> list[str]:
        return [str(c) for c in stimuli["concept"]]

    def embed(self, stimuli: pd.DataFrame) -> Tensor:
        lost = set(self.content(stimuli)) - set(self.concepts)
        if lost:
            raise PhospheneError(f"concept '{min(lost)}' was not trained: the decoder knows {', '.join(self.concepts)}")
        return torch.eye(len(self.concepts))[[self.concepts.index(c) for c in self.content(stimuli)]]

    def table(self, stimuli: pd.DataFrame, cache: str | Path | None = None) -> TargetTable:
        """`embed`; nothing is worth keeping on disk."""
        return TargetTable([str(n) for n in stimuli.index], self.embed(stimuli))


@register("method", "lda")
class LDA(Classifier):
    """Mean amplitudes in time bins, a shrunk covariance within class, a linear boundary.

    It decodes the concept only. A picture retrieved for a trial is the gallery's first one of the decoded concept: it
    stands for that concept, and which of the concept's pictures it is means nothing.

    Parameters
    ----------
    n_chans, n_times, sfreq : the trials' shape and rate (Hz).
    concepts : the concepts to tell apart, at least two; scores follow this order.
    bin_samples : samples averaged into one feature; a remainder at the end is left out.
    """

    name = "lda"
    stages: tuple[str, ...] = ("fit",)
    solved: tuple[str, ...] = ("fit",)
    n_concepts = 2
    #: it is scored on single trials, and selects no epoch
    implied: ClassVar[Mapping[str, Any]] = {
        "whitening": None,
        "protocol.average_train": 1,
        "protocol.average_test": 1,
        "protocol.select_on": "last",
    }
    citation = (
        "Blankertz, Lemm, Treder, Haufe & Mueller (2011). Single-trial analysis and classification of ERP components: "
        "a tutorial. NeuroImage 56, 814-825."
    )
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        sfreq: Hertz | None = None,
        concepts: list[str] | None = None,
        *,
        bin_samples: Count = 8,
    ):
        super().__init__()
        if not concepts or len(set(concepts)) < 2:
            raise PhospheneError("method 'lda' tells at least two concepts apart: train it on trials of both")
        if not 1 <= bin_samples <= n_times:
            raise PhospheneError(f"bin_samples is {bin_samples}: choose 1 to {n_times}, the samples of a trial")
        self.concepts, self.bin_samples, self.shape = list(concepts), bin_samples, (n_chans, n_times)
        n_scores = 1 if len(concepts) == 2 else len(concepts)
        self.register_buffer("weight", torch.zeros(n_scores, n_chans * (n_times // bin_samples), dtype=torch.float64))
        self.register_buffer("bias", torch.zeros(n_scores, dtype=torch.float64))

    @classmethod
    def drawn_from(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def targets(self) -> dict[str, Target]:
        return {"concept": Concepts(self.concepts)}

    def features(self, trials: Trials) -> np.ndarray:
        """(n_trials, n_chans * n_bins) mean amplitude of each channel and bin, in the trials' unit."""
        if trials.eeg.shape[1:] != self.shape:
            raise PhospheneError(
                f"trials are {trials.eeg.shape[1:]} and the decoder {self.shape}: preprocess them alike"
            )
        n_bins = self.shape[1] // self.bin_samples
        eeg = np.asarray(trials.eeg[:, :, : n_bins * self.bin_samples], np.float64)
        return eeg.reshape(len(eeg), self.shape[0], n_bins, self.bin_samples).mean(axis=3).reshape(len(eeg), -1)

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        weight, bias = boundary(self.features(trials), self.labels(trials), len(self.concepts))
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))

    def fit(self, trials: Trials) -> Self:
        """`solve` by its scikit-learn name."""
        self.solve("fit", trials, {})
        return self

    @staticmethod
    def fit_predict(features: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
        """(n_new,) log-odds of label 1 for ``new``, by a decoder trained on ``features`` and ``labels`` alone."""
        weight, bias = boundary(features, labels)
        return new @ weight[0] + bias[0]

    def decision(self, trials: Trials) -> np.ndarray:
        """(n_trials,) log-odds of the second concept against the first; (n_trials, n_concepts) if there are more.

        Log-odds at equal class frequencies: how often a concept was shown in training does not move them.
        """
        scores = self.features(trials) @ self.weight.cpu().numpy().T + self.bias.cpu().numpy()
        return scores[:, 0] if len(self.concepts) == 2 else scores

    def encode(self, trials: Trials) -> dict[str, Tensor]:
        """``{"concept": (n_trials, n_concepts)}``, probabilities in the order of `concepts`."""
        scores = torch.from_numpy(self.decision(trials))
        if scores.ndim == 1:
            scores = torch.stack([torch.zeros_like(scores), scores], dim=1)
        return {"concept": scores.softmax(dim=1).float()}

    def retrieve(self, trials: Trials, gallery: Tensor, k: int = 5, head: str = "concept") -> tuple[Tensor, Tensor]:
        """As `Method.retrieve`, with ties in the gallery's order: all pictures of one concept are equally near."""
        rows, values = super().retrieve(trials, gallery, len(gallery), head)
        order = rows.argsort(dim=1, stable=True)
        rows, values = rows.gather(1, order), values.gather(1, order)
        best = values.argsort(dim=1, descending=True, stable=True)[:, :k]
        return rows.gather(1, best), values.gather(1, best)


def boundary(features: np.ndarray, labels: np.ndarray, n_classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_scores, n_features) and biases (n_scores,) at equal class frequencies; one score for two classes.

    Features are standardised by their spread within class; the pooled covariance within class is shrunk towards the
    identity by Ledoit and Wolf's rule. (scikit-learn's class shrinks each class by itself and takes twice the time,
    which a permutation test of thousands of fits would feel; on the Muse data their scores correlate above 0.98.)

    Parameters
    ----------
    features : (n_trials, n_features), any unit.
    labels : (n_trials,) integers below ``n_classes``, each present.
    """
    from scipy.linalg import solve  # a second that whoever checks a recipe does not wait for
    from sklearn.covariance import ledoit_wolf

    if len(np.unique(labels)) < n_classes:
        raise PhospheneError("a concept has no training trial: train on runs that hold every concept")
    means = np.stack([features[labels == c].mean(axis=0) for c in range(n_classes)])
    residuals = features - means[labels]
    scale = residuals.std(axis=0)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise PhospheneError("a feature is constant or NaN: leave the flat or NaN channel out of preprocessing.picks")
    means, residuals = means / scale, residuals / scale
    covariance, _ = ledoit_wolf(residuals, assume_centered=True)
    weight = solve(covariance, means.T, assume_a="pos").T
    bias = -0.5 * (weight * means).sum(axis=1)
    if n_classes == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    return weight / scale, bias
