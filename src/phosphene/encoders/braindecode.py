"""Any model of braindecode as an encoder.

braindecode and torchaudio, which it needs, are imported where a model is built. Both must load beside the torch that is
installed; torchaudio from another index than torch's does not, and the error says so.
"""

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.eeg.montages import standard_montage
from phosphene.encoders.base import Encoder
from phosphene.errors import MissingExtra, PhospheneError, nearest
from phosphene.registry import register
from phosphene.settings import Count, Hertz, Positive


@register("encoder", "braindecode")
class Braindecode(Encoder):
    """A model of braindecode (Schirrmeister et al. 2017, doi 10.1002/hbm.23730), by name: its logits are the vector.

    The model gets ``n_chans``, ``n_times``, ``n_outputs``, ``sfreq`` and ``chs_info`` by these names, where known. EEG
    is multiplied by ``scale`` and else passed on as it is, neither filtered nor resampled nor standardised, and nothing
    follows the model. Where a window is short, some models warn that they pad it or shrink their kernels.

    Parameters
    ----------
    n_chans, n_times, n_outputs, sfreq, chs_info : see `Encoder`.
    model : a class of ``braindecode.models``, such as "EEGNet", "Deep4Net" or "ATCNet".
    model_args : its further arguments. A layer, such as ``activation``, is named as in `torch.nn`: "GELU".
    ch_names : (n_chans,) names of the 10-05 system, for models that read electrode positions; gives ``chs_info``.
    scale : factor on EEG. 1 suits whitened EEG, 1e6 that in volts: constants in models, such as the 1e-6 at which a
        logarithm stops, are made for microvolts.

    Raises
    ------
    MissingExtra
        If braindecode, or what it needs, is not installed.
    PhospheneError
        If braindecode has no such model, or the model takes no such argument, does not fit the shape of the trials, or
        gives anything but one vector for each.
    """

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        n_outputs: Count,
        sfreq: Hertz | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        model: str = "EEGNet",
        model_args: dict[str, Any] | None = None,
        ch_names: list[str] | None = None,
        scale: Positive = 1.0,
    ):
        super().__init__(n_chans, n_times, n_outputs, sfreq, chs_info)
        self.name, self.scale = model, scale
        known = models()
        if model not in known:
            raise PhospheneError(f"braindecode has no model '{model}': {nearest(model, known)}")
        words: dict[str, Any] = {
            "n_chans": n_chans,
            "n_times": n_times,
            "n_outputs": n_outputs,
            "sfreq": sfreq,
            "chs_info": chs_info if ch_names is None else positions(ch_names, n_chans, sfreq),
        }
        taken = inspect.signature(known[model]).parameters
        given = {key: value for key, value in words.items() if value is not None and key in taken}
        own = _arguments(model, taken, model_args or {}, words)
        try:
            with _quiet():
                self.model = known[model](**given, **own)
                with torch.no_grad():
                    shape = _shape(self.model.eval()(torch.zeros(2, n_chans, n_times)))
        except Exception as error:  # whatever a model raises where its layers do not fit
            rate = f" at {sfreq:g} Hz" if sfreq else ""
            raise PhospheneError(
                f"braindecode's {model} cannot be built for {n_chans} channels and {n_times} samples{rate} "
                f"({type(error).__name__}: {shorten(str(error), 300)}): change model_args, give ch_names if it asks "
                "for chs_info, or choose another model"
            ) from None
        if shape != (2, n_outputs):
            raise PhospheneError(
                f"braindecode's {model} gives {shape} for 2 trials, not (2, {n_outputs}): change model_args, or choose "
                "a model with one vector for each trial"
            )
        self.train()

    @classmethod
    def needs(cls, **arguments: Any) -> dict[str, str]:
        """Optional packages, each with the extra that brings it."""
        return {"braindecode": "braindecode"}

    def forward(self, eeg: Tensor) -> Tensor:
        self.check(eeg)
        embedding: Tensor = self.model(eeg if self.scale == 1 else self.scale * eeg)
        return embedding


def models() -> dict[str, type[nn.Module]]:
    """Name -> class, for every model of braindecode.

    Raises
    ------
    MissingExtra
        If braindecode, or what it needs, is not installed.
    PhospheneError
        If it is installed and does not load.
    """
    try:
        with _quiet():
            from braindecode.models.util import models_dict
    except ModuleNotFoundError as error:
        raise MissingExtra((error.name or "braindecode").split(".")[0], "braindecode") from None
    except (ImportError, OSError, RuntimeError) as error:
        raise PhospheneError(
            f"braindecode does not load beside torch {torch.__version__} ({error}): install torch and torchaudio from "
            "the same index"
        ) from None
    return dict(models_dict)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what braindecode deprecates in itself and MNE in it; a model's warnings of its input stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def positions(ch_names: Sequence[str], n_chans: int, sfreq: float | None = None) -> list[dict[str, Any]]:
    """``mne.Info["chs"]`` of EEG channels at their places in the 10-05 system.

    Raises
    ------
    PhospheneError
        If these are not ``n_chans`` different channels, each with a place there.
    """
    import mne

    if len(ch_names) != n_chans or len({name.casefold() for name in ch_names}) != n_chans:
        raise PhospheneError(f"ch_names: give {n_chans} different names, one for each channel of the trials")
    montage = standard_montage()
    known = {name.casefold() for name in montage.ch_names}
    if odd := [name for name in ch_names if name.casefold() not in known]:
        raise PhospheneError(
            f"ch_names: '{odd[0]}' has no place in the 10-05 system: {nearest(odd[0], montage.ch_names)}"
        )
    info = mne.create_info(list(ch_names), sfreq or 1.0, "eeg", verbose="error")
    info.set_montage(montage, match_case=False, verbose="error")
    return list(info["chs"])


def _arguments(model: str, taken: Any, given: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
    """What goes to the model beside ``words``. Names of layers are looked up in torch.nn alone, so that a saved
    configuration imports no code."""
    open_ends = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    defaults = {key: p.default for key, p in taken.items() if key not in words and p.kind not in open_ends}
    found = {}
    for key, value in given.items():
        if key in words:
            raise PhospheneError(f"model_args: '{key}' is the encoder's own argument: leave it out")
        if key not in defaults:
            raise PhospheneError(f"braindecode's {model} has no argument '{key}': {nearest(key, defaults)}")
        if isinstance(value, str) and _is_layer(defaults[key]):
            layers = {name: cls for name, cls in vars(nn).items() if _is_layer(cls)}
            if value not in layers:
                raise PhospheneError(f"model_args: {key}: torch.nn has no '{value}': {nearest(value, layers)}")
            value = layers[value]
        found[key] = value
    return found


def _is_layer(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _shape(output: Any) -> tuple[int, ...] | str:
    return tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
