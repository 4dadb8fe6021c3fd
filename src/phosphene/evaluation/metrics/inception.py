"""Features of FID, KID and IS: torch-fidelity's Inception, torchvision's, and the shipped stand-in."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn

from phosphene import runtime
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.evaluation.metrics.networks import IMAGENET, clip_features, load, torchvision
from phosphene.evaluation.metrics.pictures import Pictures, one_by_one, resize

FEATURES = {"fid": "2048", "kid": "2048", "is": "logits_unbiased"}


def load_fidelity(feature: str = "2048", weights: str | Path | None = None) -> Any:
    """torch-fidelity's Inception v3 with the weights of the TensorFlow graph of FID.

    Parameters
    ----------
    feature : "2048" for FID and KID, "logits_unbiased" for IS; "64" is a layer that no FID is made of.
    weights : file of the weights; downloaded once by default.
    """
    torchvision()
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise MissingExtra("torch-fidelity", "metrics") from None
    path = None if weights is None else str(weights)
    try:
        return FeatureExtractorInceptionV3("inception-v3-compat", [feature], feature_extractor_weights_path=path)
    except (URLError, OSError) as error:
        raise PhospheneError(
            f"the weights of FID's Inception cannot be read ({error}): run once with a connection, or pass weights="
        ) from error


@torch.inference_mode()
def fidelity_features(pictures: Pictures, feature: str = "2048", *, model: Any = None) -> np.ndarray:
    """(n, dim) float32 features of torch-fidelity's Inception, given each picture in its own size and in 8 bits.

    Parameters
    ----------
    pictures : as for `pictures.pixels`.
    feature : as for `load_fidelity`.
    model : of `load_fidelity`.
    """
    model = runtime.place(load_fidelity(feature) if model is None else model)
    where = runtime.home(model)
    shown = ((p * 255).round().to(torch.uint8).to(where) for p in one_by_one(pictures))
    return np.concatenate([model(picture)[0].cpu().numpy() for picture in shown])


@torch.inference_mode()
def torchvision_features(
    pictures: Pictures, *, normalised: bool = False, logits: bool = False, model: nn.Module | None = None
) -> np.ndarray:
    """(n, 2048) or (n, 1000) of torchvision's ImageNet Inception v3 at 299 pixels: another network than FID's.

    Parameters
    ----------
    pictures : as for `pictures.pixels`; 0 to 1 goes in.
    normalised : with ImageNet's mean and deviation, as the network was trained. torcheval's FID and the old Inception
        Scores go without.
    logits : the classifier's output in place of the pooled features.
    model : the network, where its weights are not to be downloaded; torchvision's `inception_v3`.
    """
    net: Any = runtime.place((load("inception_2way") if model is None else model).eval())
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET if normalised else ((0.0,) * 3, (1.0,) * 3)))
    pooled: list[Tensor] = []
    hook = net.avgpool.register_forward_hook(lambda _m, _i, output: pooled.append(output.flatten(1)))
    try:
        shown = (((resize(picture, 299) - mean) / std).to(runtime.home(net)) for picture in one_by_one(pictures))
        answers = [net(picture) for picture in shown]
    finally:
        hook.remove()
    return torch.cat(answers if logits else pooled).cpu().numpy()


def mini_features(pictures: Pictures) -> np.ndarray:
    """(n, dim) embeddings of the shipped CLIP: for "FID (mini)" and "KID (mini)", never for FID and KID."""
    return clip_features(pictures, backbone="mini")
