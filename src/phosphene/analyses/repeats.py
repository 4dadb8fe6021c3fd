"""How a score grows with the repeats that are averaged: a finished run decodes its test again, and trains nothing.

What was trained does not depend on how the test is averaged (`protocol.average_test`), so that a run trained anew for
each number of repeats would differ by nothing else.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from phosphene.analyses import figures
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import Fold
from phosphene.methods.base import Method
from phosphene.runs.decoded import keep_decoded
from phosphene.runs.experiment import Experiment
from phosphene.runs.scoring import score
from phosphene.utils.files import whole
from phosphene.utils.progress import Display, Silent

METRICS = ("image_top1", "image_top5", "image_top1_of_2")


class Reaveraged(Experiment):
    """A finished run whose test trials are averaged otherwise; its folder holds what was decoded and the scores alone.

    Means are of ``count`` successive repeats of a picture, each repeat in one of them; repeats left over are not used.

    Parameters
    ----------
    source : a finished run.
    count : repeats in a mean.
    out : its folder.
    """

    def __init__(self, source: Experiment, count: int, out: Path):
        super().__init__(source.recipe.model_copy(update={"generator": None}), out, source.display)
        self.source, self.count = source, count
        self.protocol = source.protocol.model_copy(update={"average_test": count})

    @cached_property
    def trials(self) -> Trials:
        return self.source.trials

    @cached_property
    def folds(self) -> list[Fold]:
        return [fold._replace(test=self._complete(fold.test)) for fold in self.source.folds]

    def method(self, fold: Fold | None = None, shuffled: bool = False) -> Method:
        return self.source.method(fold, shuffled)

    def _complete(self, test: np.ndarray) -> np.ndarray:
        """The test trials of means that are complete."""
        rows = self.trials.table[test].groupby(["subject", "stimulus", "split"], sort=False)
        size = rows["stimulus"].transform("size") // self.count * self.count
        kept = np.zeros(len(test), bool)
        kept[np.flatnonzero(test)] = (rows.cumcount() < size).to_numpy()
        return kept

    def todo(self, fold: Fold) -> bool:
        """Whether a fold is not decoded yet."""
        return not all((self.folder(fold, shuffled) / "decoded").is_dir() for shuffled in self.trainings)

    def decode_fold(self, place: int, test: Trials) -> None:
        """Decode a fold with its trained method and its shuffled control's.

        Parameters
        ----------
        place : of the fold among `folds`.
        test : every test trial of the source's fold, as the method is given it, not averaged.
        """
        fold, own = self.folds[place], self.source.folds[place]
        samples = self.protocol.samples(test.select(fold.test[own.test]), "test")
        for shuffled in self.trainings:
            folder = self.folder(fold, shuffled) / "decoded"
            if folder.is_dir():
                continue
            heads = self.method(fold, shuffled).encode(samples)
            keep_decoded(folder, samples.table, heads)


def reaveraged(source: Experiment, counts: Sequence[int], out: Path) -> dict[int, Reaveraged]:
    """A run decoded again for each number of repeats; what is decoded under ``out`` already is kept.

    Raises
    ------
    PhospheneError
        If a number of repeats is below 1 or above those of a picture, or the method tells no pictures apart.
    """
    if source.method().decodes == "concepts":
        raise PhospheneError(
            "methods for two concepts decode single trials: average repeats with a method that retrieves pictures"
        )
    most = n_repeats(source)
    for count in counts:
        if not 1 <= count <= most:
            raise PhospheneError(f"{count} repeats cannot be averaged: every test picture has {most}, give 1 to {most}")
    views = {count: Reaveraged(source, count, out / f"{count:03d}") for count in counts}
    single = Reaveraged(source, 1, out / "001")
    with source.display.bar("decoding repeats", len(source.folds)) as bar:
        for place, fold in enumerate(source.folds):
            todo = [view for view in views.values() if view.todo(fold)]
            if todo:
                test = single.samples(fold)[0][2]
                for view in todo:
                    view.decode_fold(place, test)
            bar(1)
    return views


def n_repeats(source: Experiment) -> int:
    """The fewest test trials that a subject has of a picture, over all folds."""
    least = []
    for fold in source.folds:
        rows = source.trials.table[fold.test]
        least.append(int(rows.groupby(["subject", "stimulus", "split"]).size().min()))
    return min(least)


def repeats(
    run: str | Path,
    counts: Sequence[int] | None = None,
    *,
    metrics: Sequence[str] = METRICS,
    display: Display | None = None,
) -> Path:
    """Scores by the number of repeats averaged into a test sample.

    Parameters
    ----------
    run : a finished run folder.
    counts : repeats in a mean; default 1, 2, 4, ... and all. A picture shown eighty times gives eighty samples of one
        repeat, forty of two, and so on, so that the number of samples falls; intervals draw whole concepts.
    metrics : of the figure.
    display : where progress is shown; nowhere by default.

    Returns
    -------
    The folder `analyses` in the run: `repeats.csv`, `repeats.png`, and what was decoded for each number.
    """
    source = Experiment.open(run, display or Silent())
    out, most = source.out / "analyses", n_repeats(source)
    if counts is None:
        counts = sorted({2**i for i in range(most.bit_length())} | {most})
    tables = []
    for count, view in reaveraged(source, list(dict.fromkeys(counts)), out / "repeats").items():
        path = view.out / "scores.csv"
        if not path.is_file():
            score(view)
        rows = pd.read_csv(path, dtype={"subject": str, "protocol": str})
        tables.append(rows.assign(n_repeats=count, variant=str(count)))
    table = pd.concat(tables, ignore_index=True)
    first = ["n_repeats", *(column for column in table if column not in ("n_repeats", "variant"))]
    with whole(out / "repeats.csv") as part:
        table[first].to_csv(part, index=False)
    with whole(out / "repeats.png") as part:
        figures.over_counts(table, metrics).savefig(part, format="png", dpi=figures.DPI)
    return out
