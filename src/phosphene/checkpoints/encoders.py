"""Checkpoints of published encoders, read into ours without running anything they hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.encoders.atm import PUBLISHED
from phosphene.encoders.base import Encoder
from phosphene.errors import PhospheneError
from phosphene.registry import build
from phosphene.utils.restricted import read_weights

_N_TIMES = 250  # of every published file; some do not say
_POOLS = {25: (51, 5), 5: (17, 5)}  # kernel: pool, stride
_CHANNEL, _TIME = "encoder.enc_embedding.", "attention_model."
# what published files hold and nothing reads
_UNREAD = {
    "all": ("Proj_img.", "proj_img."),
    "channel": (
        f"{_CHANNEL}mask_token",
        f"{_CHANNEL}temporal_embedding.",
        "subject_wise_linear.",
        f"{_CHANNEL}subject_embedding.mask_embedding",
    ),
    "time": (f"{_TIME}encoder_layer.",),
}
State = dict[str, Tensor]


@dataclass
class Published:
    """A checkpoint read.

    Parameters
    ----------
    encoder : in evaluation mode.
    name, config : what `build("encoder", name, **config)` makes the same encoder of, without the weights.
    says : sentences on what was found, taken for granted and ignored.
    logit_scale : the file's, as it stands there, not exponentiated; None where it has none.
    """

    encoder: Encoder
    name: str
    config: dict[str, Any]
    says: list[str] = field(default_factory=list)
    logit_scale: float | None = None


def from_published(path: str | Path | Sequence[str | Path], **config: Any) -> Published:
    """An encoder of ATM (both families), NICE or UBP with the weights of a published checkpoint.

    Parameters
    ----------
    path : a .pth, .pt or .safetensors file; of NICE, the folder of its two files (Enc_eeg and Proj_eeg) or both paths.
    config : constructor arguments, in place of what is detected; for those that no file holds (``token_slice``,
        ``positional_embedding``, ``n_times`` of NICE and UBP, ``pool`` and ``stride``, dropouts).

    Raises
    ------
    PhospheneError
        If the file is damaged, holds more than tensors, or fits no published encoder; the message names the keys.
    """
    files = _files(path)
    says: list[str] = []
    state: State = {}
    for file in files:
        for key, value in _read(file, says).items():
            if key in state:
                raise PhospheneError(f"{file} holds '{key}', as another of these files does: give one of each kind")
            state[key] = value
    shown = files[0].parent if len(files) > 1 else files[0]
    scale = state.pop("logit_scale", None)
    if scale is not None:
        if scale.numel() != 1:
            raise PhospheneError(f"{shown}: logit_scale has the shape {tuple(scale.shape)}, not one number")
        says.append(f"logit_scale is {float(scale):.4f}, which belongs to the method.")
    _drop(state, "all", says)
    try:
        if any(key.startswith(_CHANNEL) for key in state):
            name, found = "atm", _channel(state, says)
        elif any(key.startswith(_TIME) for key in state):
            name, found = "atm", _time(state, says)
        elif "model.0.weight" in state:
            name, found = "projection", _ubp(state, config)
        elif any(key.startswith(("enc_eeg.0.tsconv.", "proj_eeg.")) for key in state):
            name, found = "nice", {"n_times": _N_TIMES}
        else:
            raise PhospheneError(f"fits no encoder of ATM, NICE or UBP; it holds {_some(state)}")
        if name != "projection":
            found |= _convolution(state, {**found, **config})
    except KeyError as error:
        raise PhospheneError(f"{shown} lacks {error.args[0]}: fetch it again, or check which file this is") from None
    except PhospheneError as error:
        raise PhospheneError(f"{shown}: {error}") from None
    found |= config
    encoder = build("encoder", name, **found)
    _fill(encoder, state, shown)
    sizes = ", ".join(f"{key} {found[key]}" for key in found)
    return Published(
        encoder.eval(), name, found, [f"Read as '{name}': {sizes}.", *says], None if scale is None else float(scale)
    )


def _files(path: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(path, str | Path):
        return [Path(p) for p in path]
    folder = Path(path)
    if not folder.is_dir():
        return [folder]
    chosen = []
    for word in ("enc_eeg", "proj_eeg"):
        named = sorted(p for p in folder.iterdir() if word in p.name.casefold() and p.is_file())
        if len(named) != 1:
            raise PhospheneError(
                f"{folder} holds {len(named)} files named *{word}*, not one: give both paths in a list"
            )
        chosen += named
    return chosen


def _read(file: Path, says: list[str]) -> State:
    """The tensors of one file by their published names."""
    content = read_weights(file)
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            says.append(f"The weights lie under '{wrapper}'; the rest of the file is ignored.")
            content = content[wrapper]
    state = tensors(file, content)
    if "0.tsconv.0.weight" in state:
        says.append("NICE's Enc_eeg, without prefix.")
        return {f"enc_eeg.{key}": value for key, value in state.items()}
    if "1.fn.1.weight" in state:
        says.append("NICE's Proj_eeg, without prefix.")
        return {f"proj_eeg.{key}": value for key, value in state.items()}
    return state


def tensors(file: Path, content: Any) -> State:
    """A state dict that a file holds, without the prefix of a model that was spread over devices.

    Raises
    ------
    PhospheneError
        If it is none, or holds anything but tensors of finite numbers.
    """
    if not isinstance(content, Mapping) or not content:
        raise PhospheneError(f"{file} holds no state dict: give the file with the weights")
    state: State = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor | np.ndarray | np.generic):
            raise PhospheneError(f"{file} holds '{key}', which is not a tensor: give the file with the weights")
        tensor = value if isinstance(value, Tensor) else torch.tensor(np.array(value))
        if tensor.is_complex() or (tensor.is_floating_point() and not tensor.isfinite().all()):
            raise PhospheneError(f"{file}: '{key}' has values that are not finite: fetch it again")
        state[key.removeprefix("module.")] = tensor
    return state


def _drop(state: State, family: str, says: list[str]) -> None:
    for start in _UNREAD[family]:
        keys = [key for key in state if key.startswith(start)]
        if keys:
            count = sum(state.pop(key).numel() for key in keys)
            says.append(f"Ignored, as nothing reads it: {start.rstrip('.')} ({count:,} numbers).")


def _channel(state: State, says: list[str]) -> dict[str, Any]:
    """Arguments of ATM's family "channel"; renames what has two published names."""
    _drop(state, "channel", says)
    layers = "encoder.encoder.attn_layers."
    for key in [k for k in state if re.fullmatch(rf"{re.escape(layers)}\d+\.linear[12]\.(weight|bias)", k)]:
        tensor = state.pop(key)
        state[key.replace(".linear", ".conv")] = tensor[..., None] if key.endswith("weight") else tensor
        if key.endswith("0.linear1.weight"):
            says.append("Feed-forward layers are linear1 and linear2 in the file, conv1 and conv2 here.")
    maps = [k for k in state if re.fullmatch(rf"{re.escape(_CHANNEL)}value_embedding\.\d+\.weight", k)]
    value = state[maps[0] if maps else f"{_CHANNEL}value_embedding.weight"]
    rows = _at(state[f"{_CHANNEL}subject_embedding.subject_embedding.weight"], 0)
    if maps and len(maps) != rows:
        raise PhospheneError(f"it has maps of {len(maps)} subjects and tokens of {rows}: check which file this is")
    inner = _at(state[f"{layers}0.attention.query_projection.weight"], 0)
    found = {
        "family": "channel",
        "n_times": _at(value, 1),
        "n_subjects": rows,
        "joint": bool(maps),
        "depth": _count(state, layers),
        "d_ff": _at(state[f"{layers}0.conv1.weight"], 0),
    }
    heads = [h for h in (PUBLISHED["channel"]["n_heads"], *range(1, 65)) if found["n_times"] // h * h == inner]
    if not heads:
        raise PhospheneError(f"no number of heads gives a query of {inner} for {found['n_times']} samples")
    first = rows == 10 and not maps
    says.append(
        f"Subjects' table of {rows} rows{', and a map for each' if maps else ''}. No file says which tokens are read "
        f"and whether positions are embedded: taken as the release of {'2024' if first else '2026'}; "
        "token_slice and positional_embedding change it."
    )
    token_slice = "legacy" if first else "fixed"
    return {**found, "n_heads": heads[0], "token_slice": token_slice, "positional_embedding": not first}


def _time(state: State, says: list[str]) -> dict[str, Any]:
    """Arguments of ATM's family "time"."""
    _drop(state, "time", says)
    further = [k for k in state if re.fullmatch(r"subject_wise_linear\.[1-9]\d*\.(weight|bias)", k)]
    for key in further:
        del state[key]
    if further:
        says.append("Ignored: subject_wise_linear but the first, which alone is read.")
    layers = f"{_TIME}transformer_encoder.layers."
    d_ff = _at(state[f"{layers}0.linear1.weight"], 0)
    n_times = _at(state["subject_wise_linear.0.weight"], 1)
    return {
        "family": "time",
        "n_times": n_times,
        "positional_embedding": True,
        "depth": _count(state, layers),
        "d_ff": d_ff,
    }


def _ubp(state: State, config: Mapping[str, Any]) -> dict[str, Any]:
    n_outputs, samples = _at(state["model.0.weight"], 0), _at(state["model.0.weight"], 1)
    n_times = int(config.get("n_times", _N_TIMES))
    if n_times < 1 or samples % n_times:
        raise PhospheneError(
            f"it reads {samples} numbers, which cannot be divided into channels of {n_times} samples: give n_times"
        )
    return {"n_chans": samples // n_times, "n_times": n_times, "n_outputs": n_outputs}


def _convolution(state: State, known: Mapping[str, Any]) -> dict[str, Any]:
    """What the convolution and the projector say; pool and stride by the kernel."""
    halves = {key.split(".")[0] for key in state}
    if len(halves) == 1:
        raise PhospheneError(
            f"it holds {halves.pop().capitalize()} alone: give the folder of NICE's two files, or both paths"
        )
    kernel = _at(state["enc_eeg.0.tsconv.0.weight"], 3)
    pool, stride = _POOLS.get(kernel, _POOLS[25])
    pool, stride = int(known.get("pool", pool)), int(known.get("stride", stride))
    filters, n_inputs = _at(state["enc_eeg.0.tsconv.0.weight"], 0), _at(state["proj_eeg.0.weight"], 1)
    steps = (int(known["n_times"]) - kernel + 1 - pool) // max(stride, 1) + 1
    if steps * filters != n_inputs:
        raise PhospheneError(
            f"kernel {kernel}, pool {pool} and stride {stride} give {steps} steps of {filters} filters for "
            f"{known['n_times']} samples, and the projector reads {n_inputs} numbers: give n_times, pool or stride"
        )
    return {
        "n_chans": _at(state["enc_eeg.0.tsconv.4.weight"], 2),
        "kernel": kernel,
        "pool": pool,
        "stride": stride,
        "n_outputs": _at(state["proj_eeg.0.weight"], 0),
    }


def _fill(encoder: Encoder, state: State, shown: Path) -> None:
    """Every tensor of the encoder from the file; one that either lacks is refused."""
    wanted = encoder.state_dict()
    tables = {k: v for k, v in encoder.named_buffers() if k.endswith(".pe")}  # not in our state dicts
    for key in [k for k in state if k.endswith(".pe")]:
        table = state.pop(key)
        if key in tables:
            if tables[key].shape != table.shape:
                raise PhospheneError(f"{shown}: '{key}' is {tuple(table.shape)}, not {tuple(tables[key].shape)}")
            tables[key].copy_(table)
    for key in wanted:
        if key.endswith(".num_batches_tracked"):
            state.setdefault(key, wanted[key])
    missing, unknown = [k for k in wanted if k not in state], [k for k in state if k not in wanted]
    if missing or unknown:
        lacks = f" lacks {_some(missing)}" if missing else ""
        holds = f" holds {_some(unknown)}, which no published encoder has" if unknown else ""
        raise PhospheneError(f"{shown}{lacks}{' and' if lacks and holds else ''}{holds}: check which file this is")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise PhospheneError(f"{shown}: '{key}' is {tuple(state[key].shape)}, not {tuple(tensor.shape)}")
    encoder.load_state_dict(state)


def _at(tensor: Tensor, axis: int) -> int:
    if axis >= tensor.ndim:
        raise PhospheneError(f"a weight has {tensor.ndim} axes, too few: check which file this is")
    return tensor.shape[axis]


def _count(state: State, layers: str) -> int:
    return len({key.removeprefix(layers).split(".")[0] for key in state if key.startswith(layers)})


def _some(keys: Sequence[str] | Mapping[str, Any]) -> str:
    names = sorted(keys)
    return ", ".join(f"'{k}'" for k in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
