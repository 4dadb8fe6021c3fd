"""NICE: contrastive alignment of EEG with CLIP's image space, and pictures through an image-prompt adapter."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.backbones.table import ClipRow
from phosphene.losses import cosine_distance, info_nce
from phosphene.methods.aligned import Aligned
from phosphene.registry import EncoderArguments, EncoderName, PriorArguments, PriorName, register
from phosphene.settings import Count, Hertz, Weight


@register("method", "nice")
class NICE(Aligned):
    """Natural Image Contrast EEG (Song et al., ICLR 2024, arXiv 2308.13234, sections 3.1 to 3.3).

    An encoder maps each trial into CLIP's image space and is trained with the symmetric contrastive loss; a picture is
    found by cosine. Ours beyond the paper: a small cosine term, repeats of one picture are no negatives of each
    other, and a prior that turns the aligned embedding into a full-scale one for a generator.

    Parameters
    ----------
    n_chans, n_times, sfreq : the trials' shape and rate (Hz).
    encoder : name of a registered encoder.
    encoder_args : its further arguments.
    backbone : CLIP row of the backbone table, the target space.
    cosine_weight : weight of the cosine term beside the contrastive loss (ours).
    prior, prior_args : a registered prior and its further arguments.
    """

    name = "nice"
    citation = (
        "Song, Liu, Li, Shi, Wang & Gao (2024). Decoding natural images from EEG for object recognition. ICLR. "
        "arXiv:2308.13234"
    )

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        sfreq: Hertz | None = None,
        *,
        encoder: EncoderName = "nice",
        encoder_args: EncoderArguments = None,
        backbone: ClipRow = "mini",
        cosine_weight: Weight = 1.0,
        prior: PriorName = "ridge",
        prior_args: PriorArguments = None,
    ):
        super().__init__(n_chans, n_times, sfreq, backbone, encoder, encoder_args, None, prior, prior_args)
        self.cosine_weight = cosine_weight
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def align(self, embedding: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        scale = self.logit_scale.exp().clamp(max=100)
        contrast = info_nce(embedding, batch["image"], scale, groups=batch["stimulus"])
        cosine = cosine_distance(embedding, batch["image"])
        return {"loss": contrast + self.cosine_weight * cosine, "contrast": contrast, "cosine": cosine}
