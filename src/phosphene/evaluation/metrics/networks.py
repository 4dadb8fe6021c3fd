"""Features that MindEye's metrics compare: pictures at 256 pixels, resized for each network, one layer read.

They run where `phosphene.runtime` says, and always in float32, so that a score means the same on every machine.

torchvision is imported where it is used. It must be built for the torch beside it; a CPU torch from another index than
torchvision's does not load it, and the error says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn

from phosphene import runtime
from phosphene.backbones.table import load_clip
from phosphene.errors import MissingExtra, PhospheneError, nearest
from phosphene.evaluation.metrics.pictures import Pictures, pixels, resize

if TYPE_CHECKING:
    from transformers import CLIPModel

FIRST = 256
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SWAV = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"


@dataclass(frozen=True)
class Network:
    """A network of torchvision as a metric reads it (MindEye's settings, as ATM repeats them).

    Parameters
    ----------
    model : torchvision's name of the architecture.
    weights : torchvision's name of the weights; a URL for weights that torchvision does not have.
    layer : the module whose output is read, flattened.
    side : pixels of its input.
    """

    model: str
    weights: str
    layer: str
    side: int


#: metric -> network
NETWORKS = {
    "alexnet2_2way": Network("alexnet", "IMAGENET1K_V1", "features.4", 256),
    "alexnet5_2way": Network("alexnet", "IMAGENET1K_V1", "features.11", 256),
    "inception_2way": Network("inception_v3", "IMAGENET1K_V1", "avgpool", 342),
    "effnet_distance": Network("efficientnet_b1", "IMAGENET1K_V2", "avgpool", 255),
    "swav_distance": Network("resnet50", SWAV, "avgpool", 224),
}


def torchvision() -> Any:
    """The package, or one line that says how to get one that loads."""
    try:
        import torchvision
    except ImportError:
        raise MissingExtra("torchvision", "metrics") from None
    except RuntimeError as error:
        raise PhospheneError(
            f"torchvision does not load beside torch {torch.__version__} ({error}): install both from the same index"
        ) from None
    return torchvision


def network(name: str) -> Network:
    """The network of a metric; `PhospheneError` names the nearest valid one."""
    if name not in NETWORKS:
        raise PhospheneError(f"no network of torchvision belongs to '{name}': {nearest(name, NETWORKS)}")
    return NETWORKS[name]


def load(name: str) -> nn.Module:
    """The published network of a metric, frozen; its weights are downloaded once.

    Raises
    ------
    MissingExtra
        Without torchvision.
    PhospheneError
        When the weights cannot be downloaded.
    """
    row, models = network(name), torchvision().models
    try:
        if row.weights.startswith("https:"):
            model = models.get_model(row.model, weights=None)
            state = torch.hub.load_state_dict_from_url(row.weights, map_location="cpu", progress=False)
            state = {key.removeprefix("module."): value for key, value in state.items()}
            missing = model.load_state_dict(state, strict=False).missing_keys
            if set(missing) - {"fc.weight", "fc.bias"}:
                raise PhospheneError(
                    f"the weights of {row.model} lack {missing[0]}: {row.weights} is not the file read"
                )
        else:
            model = models.get_model(row.model, weights=row.weights)
    except (URLError, OSError) as error:
        raise PhospheneError(
            f"the weights of {row.model} ({row.weights}) cannot be downloaded ({error}): "
            "run once with a connection, or pass model="
        ) from error
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def features(
    name: str, pictures: Pictures, *, model: nn.Module | None = None, batch_size: int = 32, device: str = "auto"
) -> np.ndarray:
    """(n, dim) float32: what one layer of a metric's network says of pictures.

    Parameters
    ----------
    name : one of `NETWORKS`.
    pictures : as for `pictures.pixels`.
    model : the network, where it is not to be loaded by `load`.
    batch_size : pictures at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    """
    row = network(name)
    model = runtime.place((model or load(name)).eval(), device)
    modules = dict(model.named_modules())
    if row.layer not in modules:
        raise PhospheneError(f"the model has no module '{row.layer}': give a {row.model} of torchvision")
    read: list[Tensor] = []
    hook = modules[row.layer].register_forward_hook(lambda _m, _i, output: read.append(output.flatten(1).cpu().clone()))

    def run(batch: Tensor) -> np.ndarray:
        read.clear()
        model(batch.to(runtime.home(model)))
        return read.pop().numpy()

    try:
        return _batches(pictures, row.side, *IMAGENET, run, batch_size)
    finally:
        hook.remove()


@torch.inference_mode()
def clip_features(
    pictures: Pictures,
    *,
    backbone: str = "clip-vit-l14",
    model: "CLIPModel | None" = None,
    batch_size: int = 32,
    device: str = "auto",
) -> np.ndarray:
    """(n, dim) float32 CLIP embeddings, of pictures resized to the model's side as the published metric does.

    Parameters
    ----------
    pictures : as for `pictures.pixels`.
    backbone : a CLIP row of the backbone table; the published one is "clip-vit-l14".
    model : the CLIP, where it is not to be loaded.
    batch_size : pictures at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    """
    clip: Any = runtime.place(model if model is not None else load_clip(backbone)[0], device)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def embed(batch: Tensor) -> np.ndarray:
        pooled = clip.vision_model(pixel_values=batch.to(clip.device)).pooler_output
        found: np.ndarray = clip.visual_projection(pooled).cpu().numpy()
        return found

    return _batches(pictures, clip.config.vision_config.image_size, mean, std, embed, batch_size)


def _batches(
    pictures: Pictures,
    side: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    run: Callable[[Tensor], np.ndarray],
    batch_size: int,
) -> np.ndarray:
    middle, width = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def read(part: slice) -> np.ndarray:
        batch = resize(pixels(pictures[part], FIRST), side)
        return run((batch - middle) / width)

    parts = list(runtime.Batches(batch_size, "batch_size")(read, len(pictures)))
    if not parts:
        raise PhospheneError("there are no pictures to compare: draw some first (generator in the recipe)")
    return np.concatenate(parts)
