"""Checkpoints of SYNAPSE's first stage, read into `Autoencoder` without running anything they hold."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.checkpoints.encoders import tensors
from phosphene.encoders.autoencoder import Autoencoder, TokenEncoder
from phosphene.errors import PhospheneError
from phosphene.registry import checked
from phosphene.utils.restricted import read_weights

_GRANTED = {  # what no tensor's shape says, and why the value
    "n_heads": (64, "as the settings of the released second stage have it; those of the first say 16"),
    "groups": (32, "as every published setting has it"),
}


@dataclass
class PublishedAutoencoder:
    """A checkpoint read.

    Parameters
    ----------
    encoder : in evaluation mode.
    autoencoder : what ``encoder`` is part of; None where the file holds the encoder alone.
    config : what `Autoencoder` and `TokenEncoder` take to build the same, without the weights.
    says : sentences on what was found, taken for granted and ignored.
    """

    encoder: TokenEncoder
    autoencoder: Autoencoder | None
    config: dict[str, Any]
    says: list[str] = field(default_factory=list)


def from_published_synapse(path: str | Path, **config: Any) -> PublishedAutoencoder:
    """The autoencoder of a stage-1 checkpoint, or the encoder of a file that was exported without prefix.

    Parameters
    ----------
    path : a .pth, .pt or .safetensors file.
    config : constructor arguments that no file holds: ``n_heads``, ``groups`` and ``dropout``. A wrong number of heads
        or groups loads as well, and decodes something else.

    Raises
    ------
    PhospheneError
        If the file is damaged, holds more than tensors, or is no such checkpoint; the message names the keys.
    """
    unknown = sorted(config.keys() - {*_GRANTED, "dropout"})
    if unknown:
        raise PhospheneError(f"{', '.join(unknown)} is read from the file: give n_heads, groups or dropout alone")
    says: list[str] = []
    state = _read(Path(path), says)
    whole = any(key.startswith("Decoder.") for key in state)
    if not any(key.startswith("Encoder.") for key in state):
        state = {f"Encoder.{key}": value for key, value in state.items()}
    try:
        found = _sizes(state)
    except (LookupError, ValueError) as error:
        raise PhospheneError(f"{path} is not a SYNAPSE autoencoder ({error}): check which file this is") from None
    says.insert(0, f"{'Autoencoder' if whole else 'Encoder alone'}: {', '.join(f'{k} {v}' for k, v in found.items())}.")
    for key, (value, why) in _GRANTED.items():
        if key not in config:
            says.append(f"No file says {key}, and a wrong one loads as well: {value} is taken for granted, {why}.")
    granted = {key: value for key, (value, _) in _GRANTED.items()}
    found = checked(Autoencoder, {**found, **granted, **config}, "autoencoder")
    try:
        with torch.device("meta"):  # a file cannot make us allocate what it does not hold
            model = Autoencoder(**found)
    except PhospheneError as error:
        raise PhospheneError(f"{path}: {error}") from None
    wanted: nn.Module = model if whole else nn.ModuleDict({"Encoder": model.Encoder})
    _fill(wanted, state, path)
    return PublishedAutoencoder(model.Encoder.eval(), model.eval() if whole else None, found, says)


def _read(file: Path, says: list[str]) -> dict[str, Tensor]:
    """The tensors of a file by their published names, floats as float32."""
    content = read_weights(file)
    if isinstance(content, Mapping) and isinstance(content.get("net"), Mapping):
        if len(content) > 1:
            says.append(f"Ignored beside the weights: {', '.join(sorted(str(k) for k in content if k != 'net'))}.")
        content = content["net"]
    state = tensors(file, content)
    for key, tensor in state.items():
        if not tensor.is_floating_point():
            raise PhospheneError(f"{file}: '{key}' has values that are not floating-point numbers: fetch it again")
    return {key: tensor.float() for key, tensor in state.items()}


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments, by the shapes of the encoder's tensors."""

    def shape(name: str, axes: int) -> torch.Size:
        tensor = state.get(f"Encoder.{name}")
        if tensor is None or tensor.ndim != axes:
            raise LookupError(f"{name} {'is missing' if tensor is None else f'has {tensor.ndim} axes'}")
        return tensor.shape

    n_levels = sum(key.startswith("Encoder.posEmbed.") for key in state)
    levels = [shape(f"posEmbed.{i}", 3) for i in range(max(n_levels, 1))]
    blocks = {m[1] for m in (re.fullmatch(r"Encoder\.main_flow\.0\.(\d+)\.norm1\.weight", key) for key in state) if m}
    return {
        "n_chans": levels[0][2],
        "n_times": shape("in_layer.conv.weight", 3)[1],
        "n_tokens": shape("skips_agg.4.linear.weight", 2)[0],
        "dim": shape("out_layer.conv.weight", 3)[0],
        "widths": [level[1] for level in levels],
        "tokens": [level[2] for level in levels],
        "n_layer": len(blocks),
        "global_attention": any(key.startswith("Encoder.skips_agg.5.") for key in state),
    }


def _fill(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Every tensor from the file; one that either lacks is refused."""
    wanted = model.state_dict()
    for odd, what in ((wanted.keys() - state.keys(), "lacks"), (state.keys() - wanted.keys(), "holds the unknown")):
        if odd:
            names = ", ".join(f"'{key}'" for key in sorted(odd)[:3]) + (f" and {len(odd) - 3} more" * (len(odd) > 3))
            raise PhospheneError(f"{path} {what} {names}: check which file this is")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise PhospheneError(f"{path}: '{key}' is {tuple(state[key].shape)}, not {tuple(tensor.shape)}")
    model.load_state_dict(state, assign=True)
