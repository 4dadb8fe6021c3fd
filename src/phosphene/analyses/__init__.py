"""Analyses of a recipe or a run: calls with keyword arguments that end in a table and a figure (docs/analyses.md).

What needs training again (windows, regions, encoders) is a grid of ordinary run folders; what does not (repeats,
similarity) is decoded again from one finished run. Either goes on where it was stopped.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phosphene.analyses.channels import regions_of
from phosphene.analyses.repeats import repeats
from phosphene.analyses.similarity import similarity
from phosphene.analyses.variants import Settings, encoders, growing_windows, regions, sliding_windows
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import checked

__all__ = [
    "ANALYSES",
    "call",
    "encoders",
    "growing_windows",
    "regions",
    "regions_of",
    "repeats",
    "similarity",
    "sliding_windows",
]

ANALYSES: dict[str, Callable[..., Path]] = {
    "growing-windows": growing_windows,
    "sliding-windows": sliding_windows,
    "regions": regions,
    "encoders": encoders,
    "repeats": repeats,
    "similarity": similarity,
}


def call(name: str, source: str | Path, arguments: Mapping[str, Any]) -> Path:
    """An analysis by its name, its arguments checked.

    Raises
    ------
    PhospheneError
        Unknown analysis or argument, with the nearest valid one, or one that is missing.
    """
    if name not in ANALYSES:
        raise PhospheneError(f"unknown analysis '{name}': {nearest(name, ANALYSES)}")
    parameters = dict(list(inspect.signature(ANALYSES[name]).parameters.items())[1:])
    known = set(parameters) - {"settings"} | (set(Settings.__annotations__) if "settings" in parameters else set())
    for key in arguments:
        if key not in known:
            raise PhospheneError(f"unknown argument '{key}' of {name}: {nearest(key, known)}")
    for key, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        if needed and key not in arguments:
            raise PhospheneError(f"{name} needs {key}: give it")
    for key in ("seeds", "metrics"):
        if key in arguments:
            checked(_listed, {key: arguments[key]}, name)
    told = {key: value for key, value in arguments.items() if key in parameters and key != "display"}
    return ANALYSES[name](source, **{**arguments, **checked(ANALYSES[name], told, name)})


def _listed(seeds: list[int], metrics: list[str]) -> None:
    """What the lists of `Settings` hold."""
