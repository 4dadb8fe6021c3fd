"""Phosphene: decode, reconstruct and explain what a person saw, from their EEG."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from phosphene.api import run
    from phosphene.datasets.own import from_arrays, from_mne
    from phosphene.eeg.preprocessing import Preprocessing
    from phosphene.eeg.trials import Signal, Trials
    from phosphene.eeg.whitening import Whitener
    from phosphene.errors import PhospheneError
    from phosphene.generators.base import Conditioning
    from phosphene.methods.base import Method
    from phosphene.registry import build
    from phosphene.runs.experiment import Experiment
    from phosphene.runs.preparation import load

_HOME = {
    "Conditioning": "generators.base",
    "Experiment": "runs.experiment",
    "Method": "methods.base",
    "PhospheneError": "errors",
    "Preprocessing": "eeg.preprocessing",
    "Signal": "eeg.trials",
    "Trials": "eeg.trials",
    "Whitener": "eeg.whitening",
    "build": "registry",
    "from_arrays": "datasets.own",
    "from_mne": "datasets.own",
    "load": "runs.preparation",
    "run": "api",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that the command line answers at once."""
    if name not in _HOME:
        raise AttributeError(f"module 'phosphene' has no attribute '{name}'")
    return getattr(importlib.import_module(f"phosphene.{_HOME[name]}"), name)
