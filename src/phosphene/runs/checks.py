"""Everything that can be known to be wrong with a recipe before its EEG is read; no model is loaded."""

import importlib.util
import inspect
from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd
import torch

from phosphene.captions import CaptionTable
from phosphene.datasets.base import Dataset
from phosphene.eeg.preprocessing import Preprocessing, n_samples
from phosphene.eeg.trials import complete_table
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.evaluation.metrics.table import needs
from phosphene.evaluation.protocols import Fold
from phosphene.methods.base import Method
from phosphene.registry import build, checked, find, inner
from phosphene.runs.preparation import dataset_of, slots_of
from phosphene.runs.recipe import Recipe

#: shapes of trials that an encoder is tried with where the recipe does not say how many channels or samples there are
N_CHANS, N_TIMES = (64, 63, 17, 4), (250, 1000, 3000)


def check(recipe: Recipe, data: bool = True, folds: bool = True) -> Dataset | None:
    """Refuse a recipe that cannot be run, as far as that is known beforehand.

    Names, types and ranges are checked where a recipe is read. This adds what parts ask of each other: optional
    packages, the window against the epochs, the encoder against the length of a trial, the generator against what the
    method gives it; and the data: whether there is a dataset with the subjects asked for, and the captions.

    Parameters
    ----------
    data : whether the dataset and the captions are looked for; a run whose trials are kept can do without.
    folds : whether the trials are to be trained and tested on; then each fold has some for both, and as many concepts
        as the method tells apart, as far as the dataset's tables tell.

    Returns
    -------
    The dataset, open; None if it was not looked for.

    Raises
    ------
    PhospheneError
        One line that names the first fault and the fix.
    """
    check_extras(recipe)
    recipe.protocol.check()
    _generator(recipe)
    dataset = dataset_of(recipe) if data else None
    steps = _steps(recipe, dataset)
    _times(recipe, steps)
    _encoder(recipe, steps)
    if dataset is not None:
        _captions(recipe, dataset)
        table = dataset.trial_table() if folds else None
        if table is not None:
            table = complete_table(table.reset_index(drop=True), dataset.stimuli())
            for fold in recipe.protocol.folds(table):
                check_concepts(recipe, fold, table)
    return dataset


def check_concepts(recipe: Recipe, fold: Fold, table: pd.DataFrame) -> None:
    """Refuse more or fewer concepts in a fold's training trials than the method tells apart."""
    method: type[Method] = find("method", recipe.method["name"])
    concepts = sorted({*table["concept"][fold.train]})
    if method.n_concepts not in (None, len(concepts)):
        raise PhospheneError(
            f"{method.name} tells {method.n_concepts} concepts apart, and the training trials of fold "
            f"'{fold.name}', subject {fold.subject}, show {len(concepts)} ({', '.join(concepts[:5])}): keep "
            f"the trials of {method.n_concepts} (dataset.keep), or retrieve pictures with the method nice"
        )


def parts(recipe: Recipe) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every class that a recipe names, with its arguments; those within others too."""
    for kind in ("dataset", "method", "generator"):
        if (part := getattr(recipe, kind)) is not None:
            cls, given = find(kind, part["name"]), _given(part)
            yield cls, given
            yield from ((found, own) for _, found, own, _ in inner(cls, given))


def check_extras(recipe: Recipe) -> None:
    """Refuse a recipe whose optional packages are not installed; none is imported."""
    for cls, given in parts(recipe):
        for module, extra in _needs(cls, given).items():
            _found(module, extra)
    asked = recipe.evaluation.pictures
    if asked and recipe.generator is None:
        raise PhospheneError("evaluation.pictures are metrics of drawings: add a generator, or leave them out")
    for module, extra in needs(asked).items():
        _found(module, extra)


def _found(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(module.replace("_", "-"), extra)


def _needs(cls: Any, given: dict[str, Any]) -> dict[str, str]:
    return cls.needs(**given) if hasattr(cls, "needs") else {}


def _steps(recipe: Recipe, dataset: Dataset | None) -> Preprocessing:
    """The preprocessing, as the dataset has it. Where that is not looked for, and may have values of its own, what the
    recipe does not say is left open."""
    cls: Any = find("dataset", recipe.dataset["name"])
    if dataset is not None:
        dataset.chosen()
        return dataset.steps(recipe.preprocessing)
    if cls.steps is Dataset.steps:
        return recipe.steps()
    told = {key: recipe.preprocessing[key] for key in ("tmin", "tmax", "sfreq", "picks") if key in recipe.preprocessing}
    return Preprocessing.as_stored(**told)


def _captions(recipe: Recipe, dataset: Dataset) -> None:
    """Every slot that the method reads has a column, in the captions or in the stimulus table."""
    told = (
        CaptionTable("the stimulus table", pd.DataFrame())
        if recipe.captions is None
        else CaptionTable.read(recipe.captions)
    )
    if needed := slots_of(recipe):
        told.lacking(dataset.stimuli(), needed)


def _times(recipe: Recipe, steps: Preprocessing) -> None:
    """The window against the epochs, and what is silenced against the window; where the recipe says how long they are.

    An edge may lie one sample outside, as when trials are cut.
    """
    step = 0.05 if steps.sfreq is None else 1 / steps.sfreq
    first, last, what = steps.tmin, steps.tmax, "trials"
    for key in ("window", "silenced_outside"):
        edges = getattr(recipe, key)
        for edge in edges or ():
            low = edge is not None and first is not None and edge <= first - step
            high = edge is not None and last is not None and edge >= last + step
            if low or high:
                span = f"{'...' if first is None else f'{first:g}'} to {'...' if last is None else f'{last:g}'} s"
                raise PhospheneError(f"{key} edge {edge:g} s lies outside the {what} ({span}): give seconds from onset")
        if key == "window" and edges is not None:
            first = first if edges[0] is None else edges[0]
            last, what = (last if edges[1] is None else edges[1]), "window"


def _encoder(recipe: Recipe, steps: Preprocessing) -> None:
    """The encoder is built for the trials that the recipe makes. Where channels or samples are not known, what it
    refuses for every number of them is a fault."""
    for key, cls, given, mark in inner(find("method", recipe.method["name"]), _given(recipe.method)):
        if mark.key != "encoder":
            continue
        n_chans, n_times, sfreq = _shape(recipe, steps)
        shapes = product(N_CHANS if n_chans is None else (n_chans,), N_TIMES if n_times is None else (n_times,))
        faults = []
        for chans, times in shapes:
            faults.append(_fault(cls, {"n_chans": chans, "n_times": times, "sfreq": sfreq, **given}))
            if not faults[-1]:
                break
        else:
            raise PhospheneError(f"method.{key}: {faults[0]}")


def _fault(encoder: Any, arguments: dict[str, Any]) -> str:
    """Why an encoder cannot be built; empty if it can."""
    try:
        values = checked(encoder, {**arguments, "n_outputs": 64}, "the encoder")
        with torch.random.fork_rng(devices=[]):
            encoder(**values)
    except PhospheneError as error:
        return str(error)
    return ""


def _shape(recipe: Recipe, steps: Preprocessing) -> tuple[int | None, int | None, float | None]:
    """Channels, samples and rate (Hz) of the trials that the method sees; None for what the data decide."""
    chosen = recipe.channels or steps.picks
    first, last = recipe.window or (None, None)
    first, last = (steps.tmin if first is None else first), (steps.tmax if last is None else last)
    n_times, stored = None, getattr(find("dataset", recipe.dataset["name"]), "epoched", False)
    if not stored and steps.sfreq is not None and first is not None and last is not None:
        n_times = n_samples(first, last, steps.sfreq)
    return None if chosen is None else len(chosen), n_times, steps.sfreq


def _generator(recipe: Recipe) -> None:
    """Whether the generator can draw from what the method gives it."""
    if recipe.generator is None:
        return
    method: Any = find("method", recipe.method["name"])
    given = method.drawn_from(_filled(method, recipe.method))
    if given == {}:
        raise PhospheneError(f"method '{method.name}' does not generate pictures: leave 'generator' out of the recipe")
    generator: Any = find("generator", recipe.generator["name"])
    if given is not None:
        generator.reads(given, _filled(generator, recipe.generator))
    build("generator", **recipe.generator)


def _given(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "name"}


def _filled(cls: Any, part: dict[str, Any]) -> dict[str, Any]:
    """What is given, as the class takes it, and the defaults of the rest."""
    known = {k: p.default for k, p in inspect.signature(cls).parameters.items() if p.default is not p.empty}
    return {**known, **checked(cls, _given(part), part["name"])}
