"""Test samples of a run drawn anew: from what holds no EEG, from a label alone, or from another seed.

Each is drawn with the noise of the run's own drawing, and kept, so that an audit that was stopped goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from phosphene.audit.retrained import surrogate_run
from phosphene.audit.surrogates import noise
from phosphene.eeg.trials import Trials
from phosphene.evaluation.retrieval import cosine
from phosphene.evaluation.scores import Question
from phosphene.generators.base import Conditioning, Generator
from phosphene.runs.drawing import draw_missing
from phosphene.runs.experiment import Experiment
from phosphene.runs.scoring import drawn_questions
from phosphene.targets.clip import PHOTO
from phosphene.utils.checksums import intact
from phosphene.utils.pictures import open_picture
from phosphene.utils.vectors import centres


@dataclass(frozen=True)
class Way:
    """One way to draw the samples without reading them as the run does.

    Parameters
    ----------
    name : "G0" to "G11".
    key : its folder, and its column in `pictures.csv`.
    question : what it asks.
    fault : of a gate, what it means if EEG does not beat it; "" for no gate.
    """

    name: str
    key: str
    question: str
    fault: str = ""


WAYS = (
    Way("G1", "noise", "drawn from noise in place of the EEG, with its mean and covariance"),
    Way("G2", "noise_trained", "drawn by the method trained and tested on noise"),
    Way("G3", "silence", "drawn from an EEG of zeros"),
    Way("G4", "shuffled", "drawn by the shuffled control"),
    Way("G5", "oracle", "drawn from the true concept's name: the ceiling of a label"),
    Way(
        "G6",
        "label",
        "drawn from the name of the concept read from the EEG, nothing else",
        "a label alone draws as well: the conditioning adds nothing",
    ),
    Way(
        "G7",
        "nearest",
        "no drawing: the training picture nearest to what was read",
        "a training picture does as well: the generator adds nothing",
    ),
    Way("G7", "same_label", "no drawing: a training picture of the concept read, at random"),
    Way("G8", "nothing", "drawn from nothing"),
    Way("G10", "prior", "drawn from the caption of a training picture at random"),
    Way("G11", "again", "the run's own conditioning with another seed"),
)


class CannotAsk(Exception):
    """A control that this run cannot be put to; the message says why."""


class Drawings:
    """Test samples of a run, drawn at random over its folds, and ways to draw them."""

    def __init__(self, experiment: Experiment, n_pictures: int):
        self.experiment, self.seed = experiment, experiment.protocol.seed
        space = experiment.method().image_space
        assert space is not None
        self.space = space
        tables = [experiment.decoded(fold).table for fold in experiment.folds]
        everything = [(f, i) for f, table in zip(experiment.folds, tables, strict=True) for i in range(len(table))]
        rng = np.random.default_rng([self.seed, 71])
        chosen = sorted(rng.permutation(len(everything))[:n_pictures].tolist())
        self.samples = [everything[i] for i in chosen]
        stimuli = experiment.trials.stimuli
        table = pd.concat(tables).iloc[chosen]
        self.seen = stimuli.loc[table["stimulus"].astype(str)]
        self.clusters = table["concept"].to_numpy(str)
        self.numbers = [i for _, i in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    # -- pictures --------------------------------------------------------------------------------

    def own(self) -> list[Image.Image]:
        """The run's first drawing of each sample."""
        return [self.experiment.drawing(f, i) for f, i in self.samples]

    def of(self, way: Way) -> list[Image.Image]:
        """The samples drawn in this way; kept in `audit/images/<key>/`."""
        made: dict[str, Callable[[], Conditioning]] = {
            "noise": self._from_noise,
            "noise_trained": self._trained_on_noise,
            "silence": self._from_silence,
            "oracle": lambda: self._prompts(list(self.clusters)),
            "label": lambda: self._prompts(self.labels),
            "nothing": lambda: Conditioning(prompt=[""] * len(self)),
            "prior": self._prior,
            "again": self._again,
        }
        if way.key == "shuffled":
            return self._of_the_control()
        if way.key in ("nearest", "same_label"):
            return [open_picture(path) for path in getattr(self, f"_{way.key}")()]
        folder = self.experiment.out / "audit" / "images" / way.key
        paths = [folder / f"{self.experiment.folder(f).name}-{i:05d}.png" for f, i in self.samples]
        if not all(path.is_file() for path in paths):
            conditioning, plain = made[way.key](), self.experiment.generator()
            for fold in self.experiment.folds:
                rows = [k for k, (own, _) in enumerate(self.samples) if own is fold]
                if not all(paths[k].is_file() for k in rows):
                    self._draw(way.key, conditioning, self._drawer(way.key, fold, plain), rows, paths)
        return [open_picture(intact(path, "remove it and audit again")) for path in paths]

    def _draw(
        self, way: str, conditioning: Conditioning, generator: Generator, rows: list[int], paths: list[Path]
    ) -> None:
        """The samples of these rows, with their own noise or, another time, with that of another seed."""
        if extra := conditioning.given() - generator.accepts:
            raise CannotAsk(f"the generator takes no {min(extra)}")
        seed = self.seed + 1 if way == "again" else self.seed
        own, numbers = [paths[k] for k in rows], [self.numbers[k] for k in rows]
        draw_missing(generator, conditioning.rows(rows), own, numbers, seed)

    def _drawer(self, way: str, fold: Any, plain: Generator) -> Generator:
        """What draws a way: the fold's own generator where a model was asked, that of everybody for words."""
        if way not in ("noise", "noise_trained", "silence", "again"):
            return plain
        asked = surrogate_run(self.experiment, "noise") if way == "noise_trained" else self.experiment
        return asked.method(fold).drawn_by(plain)

    def _of_the_control(self) -> list[Image.Image]:
        if True not in self.experiment.trainings:
            raise CannotAsk("the run has no shuffled control (evaluation.shuffled_control is false)")
        return [self.experiment.drawing(f, i, shuffled=True) for f, i in self.samples]

    def _gathered(self, of: Callable[[Any], Conditioning]) -> Conditioning:
        """One conditioning of all samples; ``of`` gives that of every test sample of a fold."""
        parts = []
        for fold in self.experiment.folds:
            rows = [i for f, i in self.samples if f is fold]
            if rows:
                parts.append(of(fold).rows(rows))
        joined: dict[str, Any] = {}
        for name in parts[0].given():
            values = [getattr(part, name) for part in parts]
            if name == "strength":
                joined[name] = values[0]
            else:
                joined[name] = torch.cat(values) if isinstance(values[0], torch.Tensor) else list(chain(*values))
        return Conditioning(**joined)

    def _decoded(self, experiment: Experiment) -> Conditioning:
        return self._gathered(experiment.conditioning)

    def _again(self) -> Conditioning:
        return self._decoded(self.experiment)

    def _trained_on_noise(self) -> Conditioning:
        return self._decoded(surrogate_run(self.experiment, "noise"))

    def _from_noise(self) -> Conditioning:
        return self._gathered(lambda fold: self._conditioned(fold, noisy=True))

    def _from_silence(self) -> Conditioning:
        return self._gathered(lambda fold: self._conditioned(fold, noisy=False))

    def _conditioned(self, fold: Any, noisy: bool) -> Conditioning:
        """What the fold's model makes of EEG without a response, at the size of its own test samples."""
        test = self._tests[id(fold)]
        made = noise(test, self.seed) if noisy else test
        eeg = np.asarray(made.eeg[:]) if noisy else np.zeros(test.eeg.shape, np.float32)
        return self.experiment.method(fold).condition(replace(test, eeg=eeg))

    @cached_property
    def _tests(self) -> dict[int, Trials]:
        """Each fold's test samples as its model reads them."""
        return {id(fold): self.experiment.samples(fold)[0][2] for fold in self.experiment.folds}

    def _prompts(self, names: Sequence[str]) -> Conditioning:
        return Conditioning(prompt=[PHOTO.format(name) for name in names])

    def _prior(self) -> Conditioning:
        rng = np.random.default_rng([self.seed, 72])
        column = next((c for c in ("prompt", "ObjectSnap") if c in self.training), None)
        rows = rng.integers(len(self.training), size=len(self))
        if column is None:
            return self._prompts(self.training["concept"].iloc[rows].tolist())
        return Conditioning(prompt=self.training[column].iloc[rows].astype(str).tolist())

    # -- what is read ----------------------------------------------------------------------------

    @cached_property
    def training(self) -> pd.DataFrame:
        """Stimulus rows of the pictures that training saw, in any fold that does not test them."""
        experiment = self.experiment
        tested = set().union(*(experiment.trials.table["stimulus"][f.test] for f in experiment.folds))
        seen = set().union(*(experiment.trials.table["stimulus"][f.train] for f in experiment.folds))
        stimuli = experiment.trials.stimuli
        found = stimuli[stimuli.index.isin((seen - tested) or seen)]
        if "concept" not in found:
            of = experiment.trials.table.groupby("stimulus")["concept"].first()
            found = found.assign(concept=of.reindex(found.index))
        return found

    @cached_property
    def read(self) -> np.ndarray:
        """(n_samples, dim) the point that the run decoded of each sample."""
        points = {id(f): self.experiment.points(f) for f in self.experiment.folds}
        return np.stack([points[id(f)][i] for f, i in self.samples])

    @cached_property
    def _vectors(self) -> np.ndarray:
        return self.experiment.method().pictures(self.training).numpy()

    @cached_property
    def labels(self) -> list[str]:
        """The training concept whose mean picture is nearest to what was read."""
        names, of = np.unique(self.training["concept"].to_numpy(str), return_inverse=True)
        return [str(names[i]) for i in cosine(self.read, centres(self._vectors, of)).argmax(axis=1)]

    def _nearest(self) -> list[Path]:
        best = cosine(self.read, self._vectors).argmax(axis=1)
        return [Path(p) for p in self.training["image"].iloc[best]]

    def _same_label(self) -> list[Path]:
        rng = np.random.default_rng([self.seed, 73])
        groups = {str(k): v["image"].tolist() for k, v in self.training.groupby("concept")}
        return [Path(groups[label][rng.integers(len(groups[label]))]) for label in self.labels]

    # -- scores ----------------------------------------------------------------------------------

    def questions(self, drawn: list[Image.Image]) -> dict[str, tuple[np.ndarray, Any]]:
        """Every metric of these pictures: its value for each sample (empty for metrics of whole sets), the question."""
        asked = drawn_questions(drawn, self.seen, self.clusters, self.space, self.experiment.recipe.drawn_by)
        rows = np.arange(len(self))
        return {q.metric: (q.table[rows, q.truth] if isinstance(q, Question) else np.empty(0), q) for q in asked}
