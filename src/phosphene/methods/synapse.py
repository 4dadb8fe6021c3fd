"""SYNAPSE: an autoencoder of EEG whose tokens, aligned with CLIP, condition a tuned Stable Diffusion."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from phosphene import losses, runtime
from phosphene.backbones.table import ClipRow, DiffusionRow, backbone, load_unet, width_of
from phosphene.eeg.lazy import chunks
from phosphene.eeg.trials import Trials
from phosphene.encoders.autoencoder import SMALL, Autoencoder
from phosphene.errors import PhospheneError, nearest
from phosphene.generators.base import Conditioning, Generator
from phosphene.generators.diffusion import Diffusion
from phosphene.generators.tuned import PUBLISHED, TunedUNet
from phosphene.methods.base import Method, in_batches, settled
from phosphene.networks.objective import TIMES, denoising_loss, dropped, scaled
from phosphene.registry import ArgumentsOf, register
from phosphene.settings import Count, DropoutRate, Hertz, PictureSide, Positive, Shift, Weight, ZeroOrMore
from phosphene.targets.base import Target, TargetTable
from phosphene.targets.clip import PHOTO, CLIPImage
from phosphene.targets.latent import Latent
from phosphene.targets.text_states import TextStates

#: of the first stage, in the order of the release
LOSSES = ("sdsc", "sim", "cos", "rec", "align")

#: what of each preset is used where an argument is not given; docs/synapse.md says what each fault does
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "image_shift": 0.0,
        "captions": "own",
        "states": "conditioning",
        "cosine": "feature",
        "weights": 1.0,
        "negatives": "distinct",
        "standardise": True,
        "dropout_in_drawing": False,
        "min_snr": "equal",
        "times": "late",
    },
    "released": {
        "image_shift": -0.5,
        "captions": "first",
        "states": "unmasked",
        "cosine": "token",
        "weights": 0.5,
        "negatives": "all",
        "standardise": False,
        "dropout_in_drawing": True,
        "min_snr": 0.5,
        "times": "uniform",
    },
}


AutoencoderArguments = Annotated[
    dict[str, Any] | None,
    ArgumentsOf(
        "autoencoder",
        {"small": Autoencoder, "published": Autoencoder}.get,
        ("n_chans", "n_times", "n_tokens", "dim", "sfreq", "chs_info"),
    ),
]


@register("method", "synapse")
class SYNAPSE(Method):
    """SYNAPSE (arXiv 2511.17547): EEG to 77 tokens that a tuned Stable Diffusion reads in place of a caption's.

    Stage "align" trains an autoencoder of EEG whose latent, tokens of a text encoder's shape, is also brought near to
    CLIP: its mean to the picture's embedding by a contrastive loss, its tokens to a caption's states. Stage "draw"
    freezes the encoder and trains the cross-attention of the U-Net, its time embedding, and an adapter that adds tokens
    made of the latent's mean (`phosphene.generators.tuned`). Paper and released code differ (docs/synapse.md):
    ``preset`` says which is meant, and every argument that is given takes precedence.

    Parameters
    ----------
    n_chans, n_times, sfreq : the trials' shape and rate (Hz).
    concepts : the training concepts, sorted; the label of ``drawing="label"`` is one of them.
    preset : "default" is ours; "released" is the released code, faults included. None, as of a saved method, adds
        nothing to what is given.
    backbone : CLIP row of the backbone table, the space of pictures.
    diffusion : diffusion row of the backbone table whose U-Net is tuned; the generator of the run must be of this row.
    size : picture side of the diffusion model's latents, pixels; None takes the row's. Published: 512.
    autoencoder : "small" trains in minutes; "published" has the published widths, depth and heads.
    autoencoder_args : further arguments of `phosphene.encoders.autoencoder.Autoencoder`.
    caption : the stimuli's column whose captions the tokens are aligned with.
    template : a sentence with {} for what the column holds.
    captions : "own", each picture's, or "first": the caption of a batch's first picture for all of them.
    states : of captions: "conditioning" are those that the U-Net was trained to read; "unmasked" are CLIP's last ones
        without the causal mask.
    cosine : of tokens with a caption's states, over the "feature" or the "token" axis.
    weights : of the losses `LOSSES`: a number for all, one for each by name, or "learned" (`uncertainty_weighted`,
        which the paper's code sets up and does not train: its weights stay 0.5). None is 1 for each (ours).
    negatives : of the contrastive loss: "distinct" (repeats of one picture are none), or "all".
    standardise : divide the EEG by its root mean square over the training trials (ours), so that volts are read as well
        as the published recordings, which are standardised already.
    image_shift : added to every pixel, which then spans 2: a fault of the release is -0.5.
    dropout_in_drawing : the frozen encoder keeps its dropout in the stage "draw".
    drawing : "tuned" is the second stage; "frozen" gives the tokens to the U-Net as it is, and "label" a sentence with
        the concept whose training pictures are nearest: two controls without a second stage.
    n_adapter, trainable, checkpointing : see `TunedUNet`.
    min_snr : gamma of the weights of the drawing's loss, see `phosphene.networks.objective.min_snr`, or "equal".
    times : at which the drawing is trained, see `phosphene.networks.objective.denoising_loss`.
    drop : share of training samples whose condition is left out.
    """

    centres: Tensor
    size_of_eeg: Tensor
    name = "synapse"
    stages: tuple[str, ...] = ("align", "draw")
    light: ClassVar[Mapping[str, Any]] = {"drawing": "frozen"}
    citation = "SYNAPSE (2025). arXiv:2511.17547"

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        sfreq: Hertz | None = None,
        concepts: list[str] | None = None,
        *,
        preset: Literal["default", "released"] | None = "default",
        backbone: ClipRow = "mini",
        diffusion: DiffusionRow = "mini",
        size: PictureSide | None = None,
        autoencoder: Literal["small", "published"] = "small",
        autoencoder_args: AutoencoderArguments = None,
        caption: str = "ObjectSnap",
        template: str = "{}",
        captions: Literal["own", "first"] | None = None,
        states: Literal["conditioning", "unmasked"] | None = None,
        cosine: Literal["feature", "token"] | None = None,
        weights: Weight | dict[str, Weight] | Literal["learned"] | None = None,
        negatives: Literal["distinct", "all"] | None = None,
        standardise: bool | None = None,
        image_shift: Shift | None = None,
        dropout_in_drawing: bool | None = None,
        drawing: Literal["tuned", "frozen", "label"] = "tuned",
        n_adapter: ZeroOrMore = 4,
        trainable: tuple[str, ...] = PUBLISHED,
        checkpointing: bool = False,
        min_snr: Positive | Literal["equal"] | None = None,
        times: Literal["uniform", "late"] | None = None,
        drop: DropoutRate = 0.1,
    ):
        super().__init__()
        given: dict[str, Any] = {
            "captions": captions,
            "states": states,
            "cosine": cosine,
            "weights": weights,
            "negatives": negatives,
            "standardise": standardise,
            "image_shift": image_shift,
            "dropout_in_drawing": dropout_in_drawing,
            "min_snr": min_snr,
            "times": times,
        }
        self.chosen = _chosen(preset, given)
        self.sound(preset=preset, backbone=backbone, diffusion=diffusion, caption=caption, template=template, **given)
        self.config |= {"preset": None, **self.chosen}
        self.weights = None if self.chosen["weights"] == "learned" else _weights(self.chosen["weights"])
        self.spreads = nn.Parameter(torch.ones(len(LOSSES))) if self.weights is None else None
        for name, value, known in (
            ("drawing", drawing, ("tuned", "frozen", "label")),
            ("autoencoder", autoencoder, ("small", "published")),
        ):
            if value not in known:
                raise PhospheneError(f"unknown {name} '{value}': {nearest(value, known)}")
        shift = self.chosen["image_shift"]
        self.space = CLIPImage(backbone, shift=shift)
        row = backbone if self.chosen["states"] == "unmasked" else diffusion
        self.text = TextStates(caption, template, row, self.chosen["states"])
        n_tokens, dim = self.text.shape
        own = {**(SMALL if autoencoder == "small" else {}), **(autoencoder_args or {})}
        self.register_buffer("size_of_eeg", torch.ones(()))
        self.autoencoder = Autoencoder(n_chans, n_times, sfreq=sfreq, **{**own, "n_tokens": n_tokens, "dim": dim})
        self.concepts, self.drawing, self.diffusion = list(concepts or []), drawing, diffusion
        self.drop = drop
        self.gamma = None if self.chosen["min_snr"] == "equal" else float(self.chosen["min_snr"])
        if drawing == "tuned":
            self.latent = Latent(diffusion, size, shift=shift)
            unet, self.scheduler = load_unet(diffusion)
            self.draw = TunedUNet(unet, n_adapter, trainable=trainable, checkpointing=checkpointing)
        elif drawing == "frozen":
            self.stages = ("align",)
        else:
            self.stages, self.solved = ("align", "label"), ("label",)
            self.register_buffer("centres", torch.zeros(len(self.concepts), dim))

    @classmethod
    def sound(cls, *, preset: str | None, backbone: str, diffusion: str, **given: Any) -> None:
        """Refuse arguments that do not go together."""
        chosen = _chosen(preset, {key: given[key] for key in PRESETS["default"]})
        if chosen["weights"] != "learned":
            _weights(chosen["weights"])
        row = backbone if chosen["states"] == "unmasked" else diffusion
        _, dim = TextStates(given["caption"], given["template"], row, chosen["states"]).shape
        if dim != width_of(backbone):
            raise PhospheneError(
                f"a token has {dim} numbers in '{row}' and a picture {width_of(backbone)} in '{backbone}': choose two "
                "rows of one width, such as clip-vit-h14 and sd21"
            )

    @classmethod
    def drawn_from(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        drawing, diffusion = arguments["drawing"], arguments["diffusion"]
        if drawing == "label":
            return {"prompt": None}
        tokens = backbone(diffusion, "diffusion").shapes.tokens
        own = {"unet": diffusion} if drawing == "tuned" else {}
        return {"tokens": None if tokens is None else tokens[1], **own}

    def targets(self) -> dict[str, Target]:
        found: dict[str, Target] = {"image": self.space, "text": self.text}
        return found | ({"latent": self.latent} if self.drawing == "tuned" else {})

    @property
    def image_space(self) -> CLIPImage:
        """CLIP's, of pictures as they are, whatever was added to those of the training."""
        return CLIPImage(self.space.backbone)

    # -- training --------------------------------------------------------------------------------

    def trained(self, stage: str) -> Iterator[nn.Parameter]:
        yield from (self.autoencoder if stage == "align" else self.draw).parameters()
        if stage == "align" and self.spreads is not None:
            yield self.spreads

    def begin(self, stage: str, trials: Trials, tables: dict[str, TargetTable], inputs: Tensor | None) -> None:
        if stage == "align" and self.chosen["standardise"]:
            squares = sum(float(np.square(part, dtype=float).sum()) for _, part in chunks(trials.eeg))
            self.size_of_eeg.fill_(max(math.sqrt(squares / np.prod(trials.eeg.shape)), 1e-30))

    def inputs(self, stage: str, trials: Trials) -> Tensor | None:
        """In the stage "draw" the tokens, (n_trials, n_tokens, dim), unless they are made anew with dropout."""
        return None if stage == "align" or self.chosen["dropout_in_drawing"] else self.tokens(trials)

    def wanted(self, stage: str) -> tuple[str, ...]:
        return ("image", "text") if stage == "align" else ("latent",)

    def training_step(self, batch: dict[str, Any], stage: str) -> dict[str, Tensor]:
        return self._align(batch) if stage == "align" else self._draw(batch)

    def _align(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        eeg = batch["eeg"] / self.size_of_eeg
        latent, rebuilt = self.autoencoder(eeg)
        text = batch["text"] if self.chosen["captions"] == "own" else batch["text"][:1].expand_as(latent)
        ours = self.chosen["negatives"] == "distinct"  # the release compares the trials of one process alone
        groups = batch["stimulus"] if ours else None
        found = {
            "sdsc": losses.signal_dice(rebuilt, eeg),
            "sim": losses.info_nce(latent.mean(dim=1), batch["image"], losses.SYNAPSE_SCALE, groups, gather=ours),
            "cos": losses.token_cosine(latent, text, self.chosen["cosine"]),
            "rec": nn.functional.mse_loss(rebuilt, eeg),
            "align": nn.functional.mse_loss(latent, text),
        }
        if self.weights is None:
            return {"loss": losses.uncertainty_weighted(list(found.values()), self.spreads), **found}
        return {"loss": losses.weighted(found, self.weights), **found}

    def _draw(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        latent = batch.get("inputs")
        if latent is None:
            with torch.no_grad():
                latent = self.latents(batch["eeg"])
        # validation draws the same noise each time, so that epochs are compared by what was learned
        generator = None if self.training else torch.Generator().manual_seed(0)
        latent = dropped(latent, self.drop if self.training else 0.0, generator)
        clean = scaled(batch["latent"], self.latent.vae)

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            return self.draw(noisy, time, latent)

        return {"loss": denoising_loss(predict, clean, self.scheduler, self.gamma, generator, self.chosen["times"])}

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        """The mean picture of each training concept, by which a label is told."""
        vectors = nn.functional.normalize(tables["image"][trials.table["stimulus"]], dim=-1)
        place = torch.tensor([self.concepts.index(name) for name in trials.table["concept"]])
        sums = torch.zeros(self.centres.shape).index_add_(0, place, vectors)
        self.centres.copy_(nn.functional.normalize(sums, dim=-1))

    # -- decoding --------------------------------------------------------------------------------

    def latents(self, eeg: Tensor) -> Tensor:
        """(batch, n_tokens, dim) of (batch, n_chans, n_times), differentiable."""
        latent: Tensor = self.autoencoder.Encoder(eeg / self.size_of_eeg)
        return latent

    @torch.inference_mode()
    def tokens(self, trials: Trials) -> Tensor:
        """(n_trials, n_tokens, dim): the latent of each trial."""
        self.eval()
        parts = in_batches(lambda eeg, _: self.latents(eeg).cpu(), trials, runtime.home(self))
        return torch.cat([torch.empty(0, *self.text.shape), *parts])

    def heads(self, eeg: Tensor, subject: Any = None) -> dict[str, Tensor]:
        """``{"image": (batch, dim)}`` of (batch, n_chans, n_times), differentiable: the mean over tokens."""
        return {"image": self.latents(eeg).mean(dim=1)}

    def encode(self, trials: Trials) -> dict[str, Tensor]:
        """``{"image": (n_trials, dim)}``: the mean over tokens, in CLIP's image space, of arbitrary length."""
        return {"image": self.tokens(trials).mean(dim=1)}

    @torch.inference_mode()
    def condition(self, trials: Trials) -> Conditioning:
        """Tokens, or the sentence with a label; a generator for the former is made by `drawn_by`."""
        latent = self.tokens(trials)
        if self.drawing == "tuned":
            where = runtime.home(self.draw)
            parts = [self.draw.tokens(part.to(where)).cpu() for part in latent.split(256)]
            return Conditioning(tokens=torch.cat(parts) if parts else latent)
        if self.drawing == "frozen":
            return Conditioning(tokens=latent)
        found = nn.functional.normalize(latent.mean(dim=1), dim=-1) @ self.centres.cpu().T
        return Conditioning(prompt=[PHOTO.format(self.concepts[i]) for i in found.argmax(dim=1).tolist()])

    def drawn_by(self, generator: Generator) -> Generator:
        """The generator with the tuned U-Net in place of its own."""
        if self.drawing != "tuned":
            return generator
        if not isinstance(generator, Diffusion) or generator.backbone != self.diffusion:
            raise PhospheneError(f"synapse fine-tuned the U-Net of '{self.diffusion}': set generator.backbone to it")
        return generator.tuned(self.draw)


def _chosen(preset: str | None, given: dict[str, Any]) -> dict[str, Any]:
    chosen = settled("synapse", PRESETS, preset, given)
    known: dict[str, tuple[str, ...]] = {
        "captions": ("own", "first"),
        "cosine": ("feature", "token"),
        "negatives": ("distinct", "all"),
        "times": TIMES,
    }
    if isinstance(chosen["min_snr"], str):
        known["min_snr"] = ("equal",)
    elif not chosen["min_snr"] > 0:
        raise PhospheneError(f"min_snr is {chosen['min_snr']}: give a number above 0, or equal")
    for key, values in known.items():
        if chosen[key] not in values:
            raise PhospheneError(f"unknown {key} '{chosen[key]}': {nearest(str(chosen[key]), values)}")
    return chosen


def _weights(weights: Any) -> dict[str, float]:
    """Of each loss; those that are not named weigh nothing."""
    if isinstance(weights, int | float):
        return dict.fromkeys(LOSSES, float(weights))
    for name in weights:
        if name not in LOSSES:
            raise PhospheneError(f"weights: unknown loss '{name}': {nearest(name, LOSSES)}")
    return {name: float(weights.get(name, 0.0)) for name in LOSSES}
