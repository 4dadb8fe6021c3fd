"""`phosphene audit RUN`: does a result speak of the picture? Every gate in one table, and an exit status."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from phosphene.evaluation.audit import Auditor, Control, Wanted
from phosphene.evaluation.protocols import Fold
from phosphene.experiment import Display, Experiment, Silent
from phosphene.files import read_json, write_json
from phosphene.trials import Trials


def audit(folder: str | Path, display: Display | None = None, *, n_perm: int = 500) -> list[Control]:
    """Ask every decoding control of a run, fold by fold, and write `audit.json` into it.

    Parameters
    ----------
    folder : what `phosphene run` wrote; its preprocessed trials are read, not what it decoded.
    n_perm : exchanges of each permutation test.

    Returns
    -------
    The controls; a "fail" among their verdicts means that a score of this run is no evidence of what was seen.
    """
    experiment = Experiment.open(folder, display or Silent())
    trials = Trials.load(experiment.prepare())
    design = str(read_json(experiment.out / "dataset.json").get("design", ""))
    found: list[Control] = []
    with experiment.display.bar("auditing", len(experiment.folds)) as bar:
        for fold in experiment.folds:
            found += _fold(experiment, trials, fold, design, n_perm)
            bar(1)
    failed = sorted({c.name for c in found if c.verdict == "fail"})
    facts = {
        "protocol": experiment.protocol.hash, "seed": experiment.protocol.seed, "n_perm": n_perm, "design": design,
        "failed": failed, "controls": [{k: None if v != v else v for k, v in asdict(c).items()} for c in found],
    }  # fmt: skip
    write_json(experiment.out / "audit.json", facts)
    return found


def _fold(experiment: Experiment, trials: Trials, fold: Fold, design: str, n_perm: int) -> Iterator[Control]:
    concept = trials.table["concept"]
    known = set(concept[fold.test]) <= set(concept[fold.train])
    wanted = None if known else _pictures(experiment, trials, fold)
    yield from Auditor(
        trials, fold, wanted, design=design, category=_category(trials), n_perm=n_perm, seed=experiment.protocol.seed
    ).controls()


def _pictures(experiment: Experiment, trials: Trials, fold: Fold) -> Wanted:
    """Pictures of unseen concepts are sought by their vectors in the method's target space."""
    here = fold.train | fold.test
    used = trials.stimuli[trials.stimuli.index.isin(trials.table["stimulus"][here])]
    vectors = experiment.method(fold).targets()["image"].table(used).vectors.numpy()
    return Wanted.pictures(trials, pd.DataFrame(vectors, index=used.index), fold.test)


def _category(trials: Trials) -> np.ndarray | None:
    """The stimuli's column `category`, where it has two values."""
    if "category" not in trials.stimuli or trials.stimuli["category"].nunique() != 2:
        return None
    return trials.stimuli["category"].reindex(trials.table["stimulus"]).to_numpy(str)


def lines(found: list[Control]) -> list[str]:
    """A line for each control, for a terminal."""
    said = []
    for c in found:
        figures = {"": f"{c.value:.3f}", "chance ": f"{c.chance:.3g}", "p ": f"{c.p:.3f}"}
        shown = ", ".join(f"{name}{figure}" for name, figure in figures.items() if figure != "nan")
        said.append(f"{c.verdict:>8}  {c.name:<8} {c.fold}: {c.question} {c.reason}" + (f" ({shown})" if shown else ""))
    return said
