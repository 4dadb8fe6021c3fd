"""`phosphene audit RUN`: does a result speak of the picture? Every gate in one table, and an exit status."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from phosphene.audit import pictures, retrained
from phosphene.audit.decoding import GATE, LEAST_PERM, RULE, Auditor, Control
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.chance import ALPHA, p_text
from phosphene.evaluation.protocols import Fold
from phosphene.runs.experiment import Experiment
from phosphene.runs.preparation import prepared
from phosphene.utils.checksums import keep_json
from phosphene.utils.files import read_json
from phosphene.utils.locks import alone
from phosphene.utils.progress import Display, Silent

PARTS = ("decoding", "retrained", "pictures")

MOST_PERM = 1_000_000


def audit(
    folder: str | Path,
    display: Display | None = None,
    *,
    n_perm: int = 500,
    parts: Sequence[str] = PARTS,
    n_pictures: int = 100,
) -> list[Control]:
    """Ask every control of a run, and write `audit.json` into it.

    Parameters
    ----------
    folder : what `phosphene run` wrote.
    n_perm : exchanges of each permutation test.
    parts : "decoding" asks the run's trials, whatever decoded them; "retrained" trains the run's own method on
        permuted labels, on noise and on a phantom; "pictures" draws the controls of the generator.
    n_pictures : test samples, chosen at random, for which the controls of the generator are drawn.

    Returns
    -------
    The controls; what a "fail" among their verdicts means stands in its reason.
    """
    if n_perm < LEAST_PERM:
        raise PhospheneError(f"with {n_perm} permutations no gate can fail: give at least {LEAST_PERM} (--n-perm)")
    if n_pictures < 1:
        raise PhospheneError(f"n_pictures is {n_pictures}: give at least 1 (--n-pictures)")
    if n_perm > MOST_PERM:
        raise PhospheneError(f"n_perm is {n_perm}: give at most {MOST_PERM:,} (--n-perm)")
    experiment = Experiment.open(folder, display or Silent())
    seed = experiment.protocol.seed
    made: dict[str, Any] = {
        "decoding": lambda: _decoding(experiment, n_perm),
        "retrained": lambda: retrained.controls(experiment, n_perm),
        "pictures": lambda: pictures.controls(experiment, n_pictures, n_perm),
    }
    unknown = [part for part in parts if part not in made]
    if unknown:
        raise PhospheneError(f"unknown part '{unknown[0]}' of the audit: give some of {', '.join(PARTS)}")
    with alone(experiment.out):
        found = list(chain.from_iterable(made[part]() for part in PARTS if part in parts))
    failed = sorted({c.name for c in found if c.verdict == "fail"})
    facts = {
        "protocol": experiment.protocol.hash,
        "seed": seed,
        "n_perm": n_perm,
        "design": _design(experiment),
        "parts": list(parts),
        "n_pictures": n_pictures,
        "failed": failed,
        "controls": [{k: None if v != v else v for k, v in asdict(c).items()} for c in found],
    }
    keep_json(experiment.out / "audit.json", facts)
    return found


def _design(experiment: Experiment) -> str:
    return str(read_json(experiment.out / "dataset.json").get("design", ""))


def _decoding(experiment: Experiment, n_perm: int) -> Iterator[Control]:
    """C1 to C7."""
    trials = Trials.load(experiment.prepare())
    early, smeared = _causal(experiment)
    with experiment.display.bar("auditing: what can be decoded", 1) as bar:
        yield from Auditor(
            trials,
            experiment.folds,
            _vectors(experiment, trials),
            design=_design(experiment),
            category=_category(trials),
            early=early,
            smeared=smeared,
            n_perm=n_perm,
            seed=experiment.protocol.seed,
        ).controls()
        bar(1)


def _vectors(experiment: Experiment, trials: Trials) -> pd.DataFrame | None:
    """Each picture's vector in the method's target space, where the run is trained and has one."""
    if not (experiment.folder(experiment.folds[0]) / "model").is_dir():
        return None
    method = experiment.method()
    used = trials.stimuli[trials.stimuli.index.isin(trials.table["stimulus"])]
    if method.decodes == "concepts" or "image" not in used or (used["image"].astype(str) == "").any():
        return None
    return pd.DataFrame(method.pictures(used).numpy(), index=used.index)


def _category(trials: Trials) -> np.ndarray | None:
    """The stimuli's column `category`, where it has two values ("" is none)."""
    if "category" not in trials.stimuli or len(set(trials.stimuli["category"]) - {""}) != 2:
        return None
    return trials.stimuli["category"].reindex(trials.table["stimulus"]).fillna("").to_numpy(str)


def _causal(experiment: Experiment) -> tuple[tuple[Trials, list[Fold]] | None, bool]:
    """The run's trials behind causal filters, without a baseline: what C2 asks. Whether, without them, it cannot.

    The usual zero-phase filters spread a response to before its picture, where it would look like a leak.
    """
    steps = experiment.recipe.steps()
    filtered = any(x is not None for x in (steps.l_freq, steps.h_freq, steps.notch))
    if not filtered or steps.phase == "minimum":
        return None, False
    folder = experiment.out / "audit" / "causal"
    if not folder.is_dir():
        if not Path(str(experiment.recipe.dataset.get("root", ""))).expanduser().is_dir():
            return None, True
        changed = {**experiment.recipe.preprocessing, "phase": "minimum", "baseline": None}
        recipe = experiment.recipe.model_copy(update={"preprocessing": changed})
        prepared(recipe, experiment.display)[0].save(folder)
    trials = Trials.load(folder)
    return (trials, list(experiment.protocol.folds(trials))), False


def lines(found: list[Control], folds: bool = False) -> list[str]:
    """A line for each question, for a terminal, and the rule at the end; with ``folds`` also one for each fold."""
    said = []
    for c in found:
        if c.fold != "all" and not folds:
            continue
        figures = {"": f"{c.value:.3f}", "chance ": f"{c.chance:.3g}"}
        shown = [f"{name}{figure}" for name, figure in figures.items() if figure != "nan"]
        shown += [p_text(c.p, GATE if c.verdict in ("pass", "fail") else ALPHA)] if np.isfinite(c.p) else []
        question = c.question if c.question.endswith("?") else f"{c.question}:"
        whose = "" if c.fold == "all" else f"{c.fold}: "
        figured = f" ({', '.join(shown)})" if shown else ""
        said.append(f"{c.verdict:>8}  {c.name:<9} {whose}{question} {c.reason}{figured}")
    return [*said, RULE]


def failures(found: list[Control]) -> str:
    """The gates that failed and what each means, on one line; "" if none did."""
    return "; ".join(f"{c.name}: {c.reason}" for c in found if c.verdict == "fail")
