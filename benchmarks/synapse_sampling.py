"""What samplers, steps, guidance and batches cost and bring to the drawings of a finished run of SYNAPSE.

    python benchmarks/synapse_sampling.py RUN --part samplers|guidance|samples|batches [--n 160]

The first fold's test trials, at even distances, drawn with the same noise in every row: a row's 2-way identification
in the space that the run scores, its paired difference from the first row (95 %, concepts drawn whole), the correlation
of pixels with the first row's pictures, and the processor's seconds for each picture. `samples`: several pictures of
each trial, whose embeddings are averaged. `batches`: one trial at a time, as released, against batches; pictures are
the same.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from phosphene.evaluation import retrieval
from phosphene.evaluation.statistics import bootstrap
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion
from phosphene.runs.experiment import Experiment
from phosphene.utils.pictures import open_picture

Pictures = list[list[Image.Image]]


class Scene:
    """The trials that are drawn, and what they showed."""

    def __init__(self, run: Path, n: int):
        experiment = Experiment.open(run)
        fold = experiment.folds[0]
        table = experiment.decoded(fold).table
        rows = np.unique(np.linspace(0, len(table) - 1, min(n, len(table))).astype(int))
        self.method: Any = experiment.method(fold)
        self.condition: Conditioning = experiment.conditioning(fold).rows(rows.tolist())
        self.concepts = table["concept"].to_numpy(str)[rows]
        self.settings = {key: value for key, value in experiment.recipe.generator.items() if key != "name"}
        self.space = self.method.image_space
        shown = experiment.trials.stimuli["image"][table["stimulus"].iloc[rows]]
        self.real = self.space.images([open_picture(path) for path in shown]).numpy()

    def draw(self, n: int = 1, **settings: Any) -> tuple[Pictures, float]:
        """Pictures, and the processor's seconds for each."""
        generator = self.method.drawn_by(Diffusion(**{**self.settings, **settings}))
        generator(self.condition.rows([0]))
        begun = time.process_time()
        drawn = generator(self.condition, n=n)
        return drawn, (time.process_time() - begun) / (n * len(self.concepts))

    def found(self, drawn: Pictures) -> np.ndarray:
        """(n_trials,) share of the other pictures that are less like the drawings than the one seen."""
        embedded = self.space.images([picture for trial in drawn for picture in trial]).numpy()
        mean = embedded.reshape(len(drawn), -1, embedded.shape[1]).mean(1)
        similarity = retrieval.correlation(mean, self.real)
        return np.diag(retrieval.two_way(retrieval.ranks(similarity)))


def settings(part: str) -> Iterator[dict[str, Any]]:
    """Of each row; the first is what the others are compared with."""
    if part == "samplers":
        yield from ({"sampler": "dpmsolver++", "steps": steps} for steps in (50, 25, 15, 10, 8, 6, 4))
        yield from ({"sampler": "unipc", "steps": steps} for steps in (50, 15, 8, 6, 4))
    elif part == "guidance":
        yield from ({"guidance": guidance} for guidance in (1.0, 1.5, 2.0, 3.0, 5.0, 7.5))
    elif part == "samples":
        yield from ({"n": n} for n in (1, 2, 5))
    else:
        yield from ({"batch_size": size} for size in (1, 8, 32))


def pixels(drawn: Pictures) -> np.ndarray:
    """(n_trials, n_values) of the first picture of each trial."""
    return np.stack([np.asarray(trial[0], float).ravel() for trial in drawn])


def rows(scene: Scene, part: str) -> Iterator[Sequence[str]]:
    first: Any = None
    for given in settings(part):
        drawn, seconds = scene.draw(**given)
        values, flat = scene.found(drawn), pixels(drawn)
        first = (values, flat) if first is None else first
        alike = np.diag(retrieval.correlation(flat, first[1])).mean()
        low, high = bootstrap(values - first[0], scene.concepts)
        change = f"{(values - first[0]).mean():+.3f} ({low:+.3f} to {high:+.3f})"
        said = ", ".join(f"{key} {value}" for key, value in given.items())
        yield said, f"{values.mean():.3f}", change, f"{alike:.3f}", f"{seconds:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", choices=("samplers", "guidance", "samples", "batches"), default="samplers")
    parser.add_argument("--n", type=int, default=160)
    given = parser.parse_args()
    torch.manual_seed(0)
    print(f"| {given.part} | 2-way | change | alike | s a picture |\n|{'---|' * 5}", flush=True)
    for row in rows(Scene(given.run, given.n), given.part):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
