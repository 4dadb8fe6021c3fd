"""From a recipe to its trials: the dataset, captions joined to its stimuli, the window, and the shuffled control."""

import inspect
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.captions import SLOTS, CaptionTable
from phosphene.captions.base import LONGEST
from phosphene.captions.join import fingerprint
from phosphene.datasets.base import Dataset
from phosphene.eeg.lazy import chunks
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.scale import check_same
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import build, find
from phosphene.runs.recipe import Recipe
from phosphene.utils.checksums import finished
from phosphene.utils.locks import alone
from phosphene.utils.paths import has_room, only_regular
from phosphene.utils.progress import Display
from phosphene.utils.tables import label

log = logging.getLogger(__name__)


def dataset_of(recipe: Recipe) -> Dataset:
    """The recipe's dataset."""
    return _opened(**recipe.dataset)


def _opened(name: str, **arguments: Any) -> Dataset:
    """A dataset under whose root only regular files lie: a pipe among them may be waited for without end."""
    dataset: Dataset = build("dataset", name, **arguments)
    only_regular(dataset.root)
    return dataset


def prepare(recipe: Recipe, out: str | Path, display: Display, dataset: Dataset | None = None) -> Trials:
    """The trials of a recipe, kept in the folder ``out``; those that were made there of the same are taken as they are.

    Parameters
    ----------
    dataset : the recipe's, where it is open already.

    Raises
    ------
    PhospheneError
        The recipe or its data have a fault, something else lies in the folder, or another process works there.
    """
    out = Path(out)
    has_room(out)
    with alone(out):
        dataset = dataset or dataset_of(recipe)
        made_of = {"recipe": recipe.what(), "data": dataset.fingerprint()}
        if recipe.captions is not None:
            made_of["captions"] = fingerprint(recipe.captions)
        if finished(out, made_of):
            return Trials.load(out)
        trials, _ = prepared(recipe, display, dataset)
        trials.save(out, made_of)
        return trials


def prepared(recipe: Recipe, display: Display, dataset: Dataset | None = None) -> tuple[Trials, Dataset]:
    """The trials of a recipe's dataset, and the dataset, which is opened if it is not given."""
    dataset = dataset or dataset_of(recipe)
    told = None if recipe.captions is None else CaptionTable.read(recipe.captions)
    with display.bar("preprocessing", dataset.n_recordings()) as bar:
        trials = dataset.load(dataset.steps(recipe.preprocessing), lambda name: bar(1))
    needed = slots_of(recipe)
    if told is None and (own := [slot for slot in needed if slot in trials.stimuli]):
        captions = trials.stimuli[own].map(lambda cell: cell if label(cell) else "")
        if (captions == "").any(axis=None):  # shown stimuli need one; others are left out
            trials = _captioned(trials, CaptionTable("the stimulus table", captions), own)
    if told is not None:
        trials = _captioned(trials, told, needed)
    if recipe.whitening is not None and trials.signal.unit == "whitened":
        raise PhospheneError("the stored trials are whitened already: set whitening to null")
    return trials, dataset


def slots_of(recipe: Recipe) -> list[str]:
    """The caption slots, or the column, without which the recipe's method cannot do; none where it reads none."""
    known = inspect.signature(find("method", recipe.method["name"])).parameters
    if "caption" in known:
        return [recipe.method.get("caption", known["caption"].default)]
    if "slots" in known:
        return list(recipe.method.get("slots") or [slot.name for slot in SLOTS])
    return []


def _captioned(trials: Trials, told: CaptionTable, needed: Sequence[str]) -> Trials:
    """The trials with these captions; stimuli that no trial shows and nothing is said of are left out."""
    stimuli = told.join(trials.stimuli, set(trials.table["stimulus"]), needed)
    notes = list(trials.notes)
    if lost := len(trials.stimuli) - len(stimuli):
        notes.append(f"{lost} stimuli that no trial shows have no captions and are left out")
    if told.n_cut:
        notes.append(f"{told.n_cut} captions of {told.source} are longer than {LONGEST} characters and are cut")
    return replace(trials, stimuli=stimuli, notes=notes)


def cut(trials: Trials, edges: tuple[float | None, float | None], key: str) -> Trials:
    """The trials between two edges, s, of the recipe's ``key``."""
    times, step = trials.times, 1 / trials.signal.sfreq
    for edge in edges:
        if edge is not None and not times[0] - step < edge < times[-1] + 2 * step:
            raise PhospheneError(
                f"{key} edge {edge:g} s lies outside the trials ({times[0]:g} to {times[-1] + step:g} s): "
                "give seconds from onset"
            )
    return trials.crop(*edges)


def as_trained(trials: Trials, own: Trials, trained: Trials) -> Trials:
    """Other trials, of the channels and times of a run's own.

    Parameters
    ----------
    own : the run's trials, as its methods see them.
    trained : those of them that the method was trained on.

    Raises
    ------
    PhospheneError
        Where channels, rate, times, unit or scale are not those of the run; the message names both.
    """
    if len(trials) == 0 or trials.n_times == 0:
        raise PhospheneError("there are no trials to decode: prepare some")
    names, fix = own.signal.ch_names, "preprocess them as the run was"
    if lost := [c for c in names if c not in trials.signal.ch_names]:
        raise PhospheneError(
            f"the run was trained on {len(names)} channels, and these trials lack {len(lost)} of them: '{lost[0]}' "
            f"({nearest(lost[0], trials.signal.ch_names)}): {fix}, or set preprocessing.rename"
        )
    if trials.signal.unit != own.signal.unit:
        raise PhospheneError(f"the run's trials are in {own.signal.unit}, these in {trials.signal.unit}: {fix}")
    rate, new = own.signal.sfreq, trials.signal.sfreq
    if not np.isclose(rate, new, rtol=1e-6):
        raise PhospheneError(f"the run's trials have {rate:g} Hz, these {new:g} Hz: {fix} (preprocessing.sfreq)")
    step, times = 1 / rate, trials.times
    start, stop = own.signal.tmin, own.signal.tmin + own.n_times * step
    if times[0] > start + step / 2 or times[-1] + step < stop - step / 2:
        raise PhospheneError(
            f"the run decodes {start:g} to {stop:g} s, and these trials span {times[0]:g} to "
            f"{round(times[-1] + step, 9):g} s: "
            f"{fix} (preprocessing.tmin, tmax)"
        )
    trials = trials.pick(names).crop(start, stop)
    if abs(trials.signal.tmin - start) > step / 10 or trials.n_times != own.n_times:
        raise PhospheneError(
            f"the run's trials begin at {start:g} s, {own.n_times} samples, these at {trials.signal.tmin:g} s, "
            f"{trials.n_times}: {fix}"
        )
    for first, x in chunks(trials.eeg):
        if len(broken := np.flatnonzero(~np.isfinite(x).all(axis=(1, 2)))):
            raise PhospheneError(f"trial {first + broken[0]} (from 0) holds NaN or infinity: leave it out")
    trials = replace(trials, signal=replace(trials.signal, tmin=start))  # but for the rounding of an onset
    for note in check_same(trials, trained):
        log.warning(note)
    return trials


def load(name: str, preprocessing: Preprocessing | None = None, **arguments: Any) -> Trials:
    """Trials of a registered dataset: ``load("muse", root=..., subject="1")``."""
    dataset = _opened(name, **arguments)
    return dataset.load(preprocessing or dataset.steps({}))


def shuffle_stimuli(trials: Trials, seed: int) -> Trials:
    """The trials of the shuffled control: within each subject and session, EEG and stimuli are paired at random."""
    rng = np.random.default_rng([seed, 77])
    order = np.arange(len(trials))
    for _, rows in trials.table.groupby(["subject", "session"]).indices.items():
        order[rows] = rng.permutation(rows)
    columns = ["stimulus", "concept"]
    table = trials.table.copy()
    table[columns] = table[columns].to_numpy()[order]
    return replace(trials, table=table)
