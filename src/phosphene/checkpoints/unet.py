"""Checkpoints of a tuned U-Net in the layout of SYNAPSE's released code, read and written without running any of it.

checkpoint-N/unet/         config.json, diffusion_pytorch_model.safetensors: the whole U-Net, and of each
                           cross-attention `attn2.processor.to_k_ip.weight` and `to_v_ip.weight`
checkpoint-N/ema_unet/     the same, averaged over training
checkpoint-N/ip_adaption/  diffusion_pytorch_model.safetensors: the adapter's `0.weight`, `0.bias`, `2.weight`,
                           `2.bias`; it is not averaged
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from phosphene.errors import PhospheneError
from phosphene.generators.tuned import TunedUNet
from phosphene.utils.files import read_json, whole
from phosphene.utils.progress import quiet
from phosphene.utils.restricted import read_safetensors

_FILE, _ADAPTER = "diffusion_pytorch_model.safetensors", "ip_adaption"


@dataclass
class Published:
    """A checkpoint read.

    Parameters
    ----------
    unet : with the file's weights, in float32, on the CPU.
    says : sentences on what was ignored.
    """

    unet: TunedUNet
    says: list[str] = field(default_factory=list)


def from_published(folder: str | Path, ema: bool = False, **options: Any) -> Published:
    """A tuned U-Net with the weights of a published checkpoint.

    Parameters
    ----------
    folder : `checkpoint-N`.
    ema : read the averaged U-Net; the adapter is the same.
    options : of `TunedUNet`, but for ``n_adapter``, which the file gives.

    Raises
    ------
    PhospheneError
        A file or a tensor is missing, damaged or of another shape. Nothing is left at its first weights.
    """
    folder = Path(folder)
    part = folder / ("ema_unet" if ema else "unet")
    config = read_json(part / "config.json")
    own, adapter = _tensors(part / _FILE), _tensors(folder / _ADAPTER / _FILE)
    adapter = {name.removeprefix("module."): value for name, value in adapter.items()}
    if not isinstance(config, dict) or config.get("_class_name") != "UNet2DConditionModel":
        raise PhospheneError(f"{part / 'config.json'} is not that of a UNet2DConditionModel: check which file this is")
    from diffusers import UNet2DConditionModel

    try:
        with quiet(), torch.device("meta"):
            stock = UNet2DConditionModel.from_config(config)
        shape = tuple(adapter["2.weight"].shape), tuple(adapter["0.weight"].shape)
        (dim,), (wide, _) = shape
        net = TunedUNet(stock, n_adapter=max(1, wide // dim), **options)
    except PhospheneError:
        raise
    except KeyError as error:
        raise PhospheneError(f"{folder / _ADAPTER / _FILE} lacks {error}: fetch it again") from None
    except Exception as error:  # whatever odd settings lead to
        line = " ".join(str(error).split())[:200]
        raise PhospheneError(f"{part / 'config.json'} and the adapter make no U-Net ({line}): fetch it again") from None
    says = _fit(own, net.unet.state_dict(), part / _FILE)
    says += _fit(adapter, net.adapter.state_dict(), folder / _ADAPTER / _FILE)
    net.unet.load_state_dict(own, assign=True)
    tuned = {f"tuned.{name}": own[name] for name, _ in net.tuned.named_parameters()}
    net.load_state_dict(tuned | {f"adapter.{name}": value for name, value in adapter.items()}, assign=True)
    return Published(net, says)


def write_published(unet: TunedUNet, folder: str | Path, average: Mapping[str, Tensor] | None = None) -> None:
    """Writes a tuned U-Net as a published checkpoint, whole or not at all.

    Parameters
    ----------
    folder : `checkpoint-N`; what was there goes.
    average : `TunedUNet.state_dict` averaged over training, for `ema_unet`; the layout has no place for the average of
        the adapter, which is left out.

    Raises
    ------
    PhospheneError : the U-Net has no adapter, or the average is not of its tensors.
    """
    if unet.adapter is None:
        raise PhospheneError("a U-Net without an adapter has no published layout: keep its state_dict instead")
    state = unet.unet.state_dict()
    parts = {"unet": state}
    if average is not None:
        missing = unet.state_dict().keys() - average.keys()
        if missing:
            raise PhospheneError(f"the average lacks '{min(missing)}': give that of TunedUNet.state_dict()")
        parts["ema_unet"] = state | {name: average[f"tuned.{name}"] for name, _ in unet.tuned.named_parameters()}
    with whole(folder) as work:
        for name, tensors in {**parts, _ADAPTER: unet.adapter.state_dict()}.items():
            (work / name).mkdir(parents=True)
            if name != _ADAPTER:
                unet.unet.save_config(work / name)
            kept = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(kept, work / name / _FILE, metadata={"format": "pt"})


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        other = [p.name for p in path.parent.glob("*.bin")]
        found = f"; {other[0]} is a pickle and not read" if other else ""
        raise PhospheneError(f"{path} does not exist{found}: give the folder of a whole checkpoint")
    return {name: value.float() for name, value in read_safetensors(path).items()}


def _fit(given: dict[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> list[str]:
    """Takes out of ``given`` what is not wanted, and says so; what is wanted must be there."""
    lacking = [name for name in wanted if name not in given]
    if lacking:
        raise PhospheneError(f"{path} lacks {len(lacking)} tensors, such as '{lacking[0]}': it is of another network")
    for name, value in wanted.items():
        if given[name].shape != value.shape:
            raise PhospheneError(
                f"{path}: '{name}' has shape {tuple(given[name].shape)}, not {tuple(value.shape)}: check config.json"
            )
    extra = [name for name in given if name not in wanted]
    for name in extra:
        del given[name]
    return [f"{path.parent.name}: {len(extra)} tensors are not read, such as '{extra[0]}'"] if extra else []
