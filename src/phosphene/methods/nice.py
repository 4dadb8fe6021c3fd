"""NICE: contrastive alignment of EEG with CLIP's image space, and pictures through an image-prompt adapter."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.generators.base import Conditioning
from phosphene.losses import cosine_distance, info_nce
from phosphene.methods.base import Method, batches
from phosphene.priors.ridge import RidgePrior
from phosphene.registry import build, register
from phosphene.targets.base import Target, TargetTable
from phosphene.targets.clip import CLIPImage
from phosphene.trials import Trials


@register("method", "nice")
class NICE(Method):
    """Natural Image Contrast EEG (Song et al., ICLR 2024, arXiv 2308.13234, sections 3.1 to 3.3).

    An encoder maps each trial into CLIP's image space and is trained with the symmetric contrastive loss; a picture is
    found by cosine. Ours beyond the paper: a small cosine term, repeats of one picture are no negatives of each
    other, and a ridge prior that turns the aligned embedding into a full-scale one for a generator.

    Parameters
    ----------
    n_chans, n_times, sfreq : the trials' shape and rate (Hz).
    concepts : not used; every method is built from the same facts.
    encoder : name of a registered encoder.
    encoder_args : its further arguments.
    backbone : CLIP row of the backbone table, the target space.
    cosine_weight : weight of the cosine term beside the contrastive loss (ours).
    """

    name = "nice"
    stages: tuple[str, ...] = ("align", "prior")
    solved: tuple[str, ...] = ("prior",)
    citation = (
        "Song, Liu, Li, Shi, Wang & Gao (2024). Decoding natural images from EEG for object recognition. ICLR. "
        "arXiv:2308.13234"
    )

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        sfreq: float | None = None,
        concepts: list[str] | None = None,
        *,
        encoder: str = "nice",
        encoder_args: dict[str, Any] | None = None,
        backbone: str = "mini",
        cosine_weight: float = 1.0,
    ):
        super().__init__()
        self.config = {
            "n_chans": n_chans, "n_times": n_times, "sfreq": sfreq, "encoder": encoder, "encoder_args": encoder_args,
            "backbone": backbone, "cosine_weight": cosine_weight,
        }  # fmt: skip
        self.space = CLIPImage(backbone)
        self.cosine_weight = cosine_weight
        shape = {"n_chans": n_chans, "n_times": n_times, "n_outputs": self.space.dim, "sfreq": sfreq}
        self.encoder = build("encoder", encoder, **shape, **(encoder_args or {}))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.prior = RidgePrior(self.space.dim, self.space.dim)

    def targets(self) -> dict[str, Target]:
        return {"image": self.space}

    def heads(self, eeg: Tensor, subject: Sequence[str] | None = None) -> dict[str, Tensor]:
        """``{"image": (batch, dim)}`` of (batch, n_chans, n_times), differentiable."""
        return {"image": self.encoder(eeg)}

    def training_step(self, batch: dict[str, Any], stage: str) -> dict[str, Tensor]:
        embedding = self.encoder(batch["eeg"])
        scale = self.logit_scale.exp().clamp(max=100)
        contrast = info_nce(embedding, batch["image"], scale, groups=batch["stimulus"])
        cosine = cosine_distance(embedding, batch["image"])
        return {"loss": contrast + self.cosine_weight * cosine, "contrast": contrast, "cosine": cosine}

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        self.prior.fit(self.encode(trials)["image"], tables["image"][trials.table["stimulus"]])

    @torch.inference_mode()
    def encode(self, trials: Trials) -> dict[str, Tensor]:
        """``{"image": (n_trials, dim)}``, in CLIP's image space, of arbitrary length."""
        self.eval()
        device = self.logit_scale.device
        parts = [self.encoder(eeg).cpu() for eeg in batches(trials, 256, device)]
        return {"image": torch.cat(parts) if parts else torch.empty(0, self.space.dim)}

    @torch.inference_mode()
    def condition(self, trials: Trials) -> Conditioning:
        embedding = self.encode(trials)["image"].to(self.prior.weight.device)
        return Conditioning(image_embeds=self.prior(embedding).cpu())
