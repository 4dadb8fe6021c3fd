"""ATM: channels as tokens, EEG aligned with CLIP's image space, a diffusion prior, a low-level path, pictures."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene import runtime
from phosphene.backbones.table import CaptionRow, ClipRow, DiffusionRow
from phosphene.eeg.trials import Trials
from phosphene.encoders.low_level import LATENT_LOSSES, LowLevelArguments
from phosphene.encoders.low_level import low_level as build_low_level
from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning
from phosphene.losses import info_nce
from phosphene.methods.aligned import Aligned
from phosphene.methods.base import in_batches, settled
from phosphene.networks.caption_adapter import RidgeTokens
from phosphene.registry import EncoderArguments, EncoderName, PriorArguments, PriorName, register
from phosphene.settings import Count, Hertz, Strength, Weight
from phosphene.targets.base import Target, TargetTable
from phosphene.targets.clip import THIS_PICTURE, CLIPText
from phosphene.targets.latent import Latent
from phosphene.targets.visual_tokens import CaptionerTokens

#: what of each preset is used where an argument is not given; faults that are part of the released code say so
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "similarity": "cosine",
        "negatives": "distinct",
        "unit_targets": False,
        "contrastive": 1.0,
        "text": 0.0,
        "mse": 0.0,
        "encoder_args": {},
        "prior_args": {},
    },
    # released 2024 for retrieval: the temperature multiplies products of embeddings without norm, by its raw value; the
    # token slice keeps the subject's token and loses the last channel's
    "atm2024": {
        "similarity": "raw",
        "negatives": "all",
        "unit_targets": True,
        "contrastive": 0.99,
        "text": 0.01,
        "mse": 0.0,
        "encoder_args": {"token_slice": "legacy"},
        "prior_args": {
            "standardise": False,
            "clip_sample": True,
            "drop_rule": "batch",
            "sampler": "ddpm",
            "steps": 50,
            "guidance": 5.0,
        },
    },
}
# released 2024 for generation: 10 (0.9 MSE + 0.1 contrastive), on features with their norm
PRESETS["atm2024-generation"] = PRESETS["atm2024"] | {
    "unit_targets": False,
    "contrastive": 1.0,
    "text": 0.0,
    "mse": 9.0,
}

CHOSEN = ("similarity", "negatives", "unit_targets", "contrastive", "text", "mse")


def _chosen(preset: str | None, given: dict[str, Any]) -> dict[str, Any]:
    chosen = settled("atm", PRESETS, preset, given)
    if not any(chosen[key] > 0 for key in ("contrastive", "text", "mse")):
        raise PhospheneError("contrastive, text and mse are all 0: nothing would be learned; give one a weight")
    return chosen


@register("method", "atm")
class ATM(Aligned):
    """Adaptive Thinking Mapper (Li et al., NeurIPS 2024, arXiv 2403.07721, sections 3.2 to 3.4).

    An encoder whose tokens are channels maps each trial into CLIP's image space; a diffusion prior turns that into an
    embedding of the scale that an image-prompt adapter reads. A second decoder may tell how the picture looked, as an
    autoencoder's latent from which the drawing starts, and a captioner may say what the embedding shows, as the prompt
    of the drawing. Paper and releases of the code differ (docs/atm.md): ``preset`` says which is meant, and every
    argument that is given takes precedence.

    Parameters
    ----------
    n_chans, n_times, sfreq : the trials' shape and rate (Hz).
    preset : "default" is ours; "atm2024" and "atm2024-generation" are the two trainings of the code released in 2024,
        faults included. None, as of a saved method, adds nothing to what is given.
    encoder, encoder_args : a registered encoder and its further arguments, beside those of the preset.
    backbone : CLIP row of the backbone table, the target space.
    similarity : in the contrastive loss, "cosine" with a temperature learned from 0.07, or "raw": products of
        embeddings with their norms, times the raw parameter.
    negatives : "distinct" (repeats of one picture are no negatives of each other), or "all".
    unit_targets : image and text embeddings lose their norm before the losses of the encoder.
    contrastive, text, mse : weights of the contrastive loss with the picture, with the sentence "This picture is
        <concept>", and of the mean squared error with the picture's embedding.
    subjects : who has a token of their own in the encoder; others get the shared one. A run takes True for the
        subjects of the training trials.
    prior, prior_args : a registered prior and its further arguments, beside those of the preset.
    low_level, low_level_args : a decoder of latents ("small", "published") and its further arguments; None for none.
    low_level_loss : "l1", as in the released code, or "mse", as in the paper.
    autoencoder : diffusion row of the backbone table whose latents are decoded; best that of the generator.
    strength : share of the noise laid over what the latent shows; 0.5 as published.
    captioner : caption row of the backbone table; None for no captions. Its visual tokens are predicted from the image
        embedding by ridge regression (ours), learned from the training pictures.
    """

    name = "atm"
    stages: tuple[str, ...] = ("align", "prior", "low_level", "caption")
    citation = (
        "Li, Wei, Li, Zou & Liu (2024). Visual Decoding and Reconstruction via EEG Embeddings with Guided Diffusion. "
        "NeurIPS. arXiv:2403.07721"
    )

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        sfreq: Hertz | None = None,
        *,
        preset: Literal["default", "atm2024", "atm2024-generation"] | None = "default",
        encoder: EncoderName = "atm",
        encoder_args: EncoderArguments = None,
        backbone: ClipRow = "mini",
        similarity: Literal["cosine", "raw"] | None = None,
        negatives: Literal["distinct", "all"] | None = None,
        unit_targets: bool | None = None,
        contrastive: Weight | None = None,
        text: Weight | None = None,
        mse: Weight | None = None,
        subjects: list[str] | Literal[True] | None = None,
        prior: PriorName = "diffusion",
        prior_args: PriorArguments = None,
        low_level: Literal["small", "published"] | None = None,
        low_level_args: LowLevelArguments = None,
        low_level_loss: Literal["l1", "mse"] = "l1",
        autoencoder: DiffusionRow = "mini",
        strength: Strength = 0.5,
        captioner: CaptionRow | None = None,
    ):
        given: dict[str, Any] = {
            "similarity": similarity,
            "negatives": negatives,
            "unit_targets": unit_targets,
            "contrastive": contrastive,
            "text": text,
            "mse": mse,
        }
        chosen = _chosen(preset, given)
        base: dict[str, Any] = {} if preset is None else PRESETS[preset]
        encoder_args = {**(base.get("encoder_args", {}) if encoder == "atm" else {}), **(encoder_args or {})}
        prior_args = {**(base.get("prior_args", {}) if prior == "diffusion" else {}), **(prior_args or {})}
        super().__init__(n_chans, n_times, sfreq, backbone, encoder, encoder_args, subjects, prior, prior_args)
        self.config |= {"preset": None, "encoder_args": encoder_args, "prior_args": prior_args, **chosen}
        self.similarity, self.negatives = chosen["similarity"], chosen["negatives"]
        self.unit_targets = chosen["unit_targets"]
        self.weights = {key: float(chosen[key]) for key in ("contrastive", "text", "mse")}
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.stages = ("align", "prior")
        if low_level is not None:
            self.stages += ("low_level",)
            self.latent, self.low_level_loss, self.strength = Latent(autoencoder), low_level_loss, strength
            self.low_level = build_low_level(
                low_level, n_chans=n_chans, n_times=n_times, shape=self.latent.shape, **(low_level_args or {})
            )
        if captioner is not None:
            self.stages, self.solved = (*self.stages, "caption"), (*self.solved, "caption")
            self.visual = CaptionerTokens(captioner)  # no entry of `targets`: no batch has to hold them
            self.caption = RidgeTokens(self.space.dim, *self.visual.shape)

    @classmethod
    def sound(cls, *, preset: str | None, **given: Any) -> None:
        """Refuse arguments that do not go together."""
        _chosen(preset, {key: given[key] for key in CHOSEN})

    @classmethod
    def drawn_from(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().drawn_from(arguments)
        if arguments["low_level"] is not None:
            found |= {"init": None, "strength": arguments["strength"]}
        return found if arguments["captioner"] is None else found | {"prompt": None}

    def targets(self) -> dict[str, Target]:
        sentence = CLIPText("concept", self.space.backbone, template=THIS_PICTURE)
        found: dict[str, Target] = {"image": self.space}
        if self.weights["text"]:
            found["text"] = sentence
        if "low_level" in self.stages:
            found["latent"] = self.latent
        return found

    # -- the low-level path ----------------------------------------------------------------------

    def begin(self, stage: str, trials: Trials, tables: dict[str, TargetTable], inputs: Tensor | None) -> None:
        if stage == "low_level":
            self.low_level.observe(tables["latent"][dict.fromkeys(trials.table["stimulus"])])
        super().begin(stage, trials, tables, inputs)

    def wanted(self, stage: str) -> Collection[str]:
        if stage == "low_level":
            return ("latent",)
        return [name for name in super().wanted(stage) if name != "latent"]

    def training_step(self, batch: dict[str, Any], stage: str) -> dict[str, Tensor]:
        if stage == "low_level":
            return {"loss": LATENT_LOSSES[self.low_level_loss](self.low_level(batch["eeg"]), batch["latent"])}
        return super().training_step(batch, stage)

    @torch.inference_mode()
    def latents(self, trials: Trials) -> Tensor:
        """(n_trials, channels, height, width) of the autoencoder, as the low-level decoder reads them."""
        self.eval()
        parts = in_batches(lambda eeg, _: self.low_level(eeg).cpu(), trials, runtime.home(self))
        return torch.cat([torch.empty(0, *self.latent.shape), *parts])

    def condition(self, trials: Trials) -> Conditioning:
        found = super().condition(trials)
        if "low_level" in self.stages:
            found = replace(found, init=self.latent.decode(self.latents(trials)), strength=self.strength)
        if "caption" in self.stages and found.image_embeds is not None:
            found = replace(found, prompt=self.say(found.image_embeds))
        return found

    # -- captions --------------------------------------------------------------------------------

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        if stage != "caption":
            super().solve(stage, trials, tables)
            return
        shown = trials.stimuli[trials.stimuli.index.isin(trials.table["stimulus"])]
        tokens = self.visual.table(shown)
        self.caption.fit(tables["image"][tokens.names], tokens.vectors)

    @torch.inference_mode()
    def say(self, embeds: Tensor) -> list[str]:
        """(n,) captions that the captioner writes from the visual tokens predicted from (n, dim) image embeddings."""
        said = []
        for part in embeds.split(self.visual.batch_size) if len(embeds) else []:
            said += self.visual.captioner.say(self.caption(part.to(runtime.home(self))))
        return said

    # -- alignment -------------------------------------------------------------------------------

    def align(self, embedding: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        raw = self.similarity == "raw"
        scale = self.logit_scale if raw else self.logit_scale.exp().clamp(max=100)
        groups = batch["stimulus"] if self.negatives == "distinct" else None
        losses: dict[str, Tensor] = {}
        for key, weight in self.weights.items():
            if not weight:
                continue
            target = batch["text" if key == "text" else "image"]
            target = F.normalize(target, dim=-1) if self.unit_targets else target
            losses[key] = (
                F.mse_loss(embedding, target)
                if key == "mse"
                else info_nce(embedding, target, scale, groups=groups, normalise=not raw)
            )
        total = torch.stack([self.weights[key] * loss for key, loss in losses.items()]).sum()
        return {"loss": total, **losses}
