"""Everything that can be known to be wrong with a recipe before its EEG is read; no model is loaded."""

import importlib.util
import inspect
from collections.abc import Iterator
from typing import Any

import torch

from phosphene.captions import Said
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.preparation import dataset_of
from phosphene.preprocessing import n_samples
from phosphene.recipe import Recipe
from phosphene.registry import find, inner

#: shapes of trials that an encoder is tried with where the recipe does not say how many channels or samples there are
N_CHANS, N_TIMES = (64, 63, 17, 4), (250, 1000, 10_000)


def check(recipe: Recipe, data: bool = True) -> None:
    """Refuse a recipe that cannot be run, as far as that is known beforehand.

    Names, types and ranges are checked where a recipe is read. This adds what parts ask of each other: optional
    packages, the window against the epochs, the encoder against the length of a trial, the generator against what the
    method gives it; and the data: whether there is a dataset with the subjects asked for, and the captions.

    Parameters
    ----------
    data : whether the dataset and the captions are looked for; a run whose trials are kept can do without.

    Raises
    ------
    PhospheneError
        One line that names the first fault and the fix.
    """
    _extras(recipe)
    recipe.protocol.check()
    _times(recipe)
    _encoder(recipe)
    _generator(recipe)
    if data:
        _data(recipe)


def _parts(recipe: Recipe) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every part that a recipe names, with its arguments: key, class, what is given; those within others too."""
    for kind in ("dataset", "method", "generator"):
        part = getattr(recipe, kind)
        if part is None:
            continue
        cls, given = find(kind, part["name"]), {k: v for k, v in part.items() if k != "name"}
        yield kind, cls, given
        for key, found, own, _ in inner(cls, given):
            yield f"{kind}.{key}", found, own


def _extras(recipe: Recipe) -> None:
    for _, cls, _ in _parts(recipe):
        for module, extra in getattr(cls, "extras", {}).items():
            if importlib.util.find_spec(module) is None:
                raise MissingExtra(module.replace("_", "-"), extra)


def _times(recipe: Recipe) -> None:
    """The window against the epochs, and what is silenced against the window; where the recipe says how long they are.

    An edge may lie one sample outside, as when trials are cut.
    """
    steps = recipe.steps()
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


def _encoder(recipe: Recipe) -> None:
    """The encoder is built, without values, for the trials that the recipe makes; a fault is one if it is one whatever
    is not known of them."""
    for key, cls, given, mark in inner(find("method", recipe.method["name"]), recipe.method):
        if mark.key != "encoder" or getattr(cls, "extras", {}):
            continue
        n_chans, n_times, sfreq = _shape(recipe)
        faults: list[str] = []
        for chans in N_CHANS if n_chans is None else (n_chans,):
            for times in N_TIMES if n_times is None else (n_times,):
                try:
                    with torch.device("meta"):
                        cls(n_chans=chans, n_times=times, n_outputs=8, sfreq=sfreq, **given)
                    faults = []
                except PhospheneError as error:
                    faults.append(str(error))
                    continue
                break
            else:
                continue
            break
        if faults:
            raise PhospheneError(f"method.{key}: {faults[0]}")


def _shape(recipe: Recipe) -> tuple[int | None, int | None, float | None]:
    """Channels, samples and rate (Hz) of the trials that the method sees; None for what the data decide."""
    steps = recipe.steps()
    chosen = recipe.channels or steps.picks
    first, last = recipe.window or (None, None)
    first, last = (steps.tmin if first is None else first), (steps.tmax if last is None else last)
    known = steps.sfreq is not None and first is not None and last is not None
    return (
        None if chosen is None else len(chosen),
        n_samples(first, last, steps.sfreq) if known else None,
        steps.sfreq,
    )


def _generator(recipe: Recipe) -> None:
    """Whether the generator can draw from what the method gives it."""
    if recipe.generator is None:
        return
    method: Any = find("method", recipe.method["name"])
    given = method.drawn_from(**{**_defaults(method), **_arguments(recipe.method)})
    if given is None:
        return
    if not given:
        raise PhospheneError(f"method '{method.name}' does not generate pictures: leave 'generator' out of the recipe")
    generator: Any = find("generator", recipe.generator["name"])
    generator.reads(given, **{**_defaults(generator), **_arguments(recipe.generator)})
    generator(**_arguments(recipe.generator))


def _arguments(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "name"}


def _defaults(cls: Any) -> dict[str, Any]:
    return {k: p.default for k, p in inspect.signature(cls).parameters.items() if p.default is not p.empty}


def _data(recipe: Recipe) -> None:
    dataset_of(recipe).chosen()
    if recipe.captions is not None:
        said = Said.read(recipe.captions)
        del said
