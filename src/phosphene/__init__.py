"""Phosphene: decode, reconstruct and explain what a person saw, from their EEG."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from phosphene.datasets.own import from_arrays, from_mne
    from phosphene.errors import PhospheneError
    from phosphene.experiment import Experiment
    from phosphene.generators.base import Conditioning
    from phosphene.methods.base import Method
    from phosphene.preparation import load
    from phosphene.preprocessing import Preprocessing
    from phosphene.registry import build
    from phosphene.trials import Signal, Trials
    from phosphene.whitening import Whitener
    from phosphene.workflows import run

_HOME = {
    "Conditioning": "generators.base",
    "Experiment": "experiment",
    "Method": "methods.base",
    "PhospheneError": "errors",
    "Preprocessing": "preprocessing",
    "Signal": "trials",
    "Trials": "trials",
    "Whitener": "whitening",
    "build": "registry",
    "from_arrays": "datasets.own",
    "from_mne": "datasets.own",
    "load": "preparation",
    "run": "workflows",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that the command line answers at once."""
    if name not in _HOME:
        raise AttributeError(f"module 'phosphene' has no attribute '{name}'")
    return getattr(importlib.import_module(f"phosphene.{_HOME[name]}"), name)
