"""Pictures from a latent diffusion model: stock diffusers pipelines, every argument through `Conditioning`."""

import logging
import math
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from phosphene import runtime
from phosphene.backbones.samplers import Sampler, exchanged, known
from phosphene.backbones.table import ASSETS, BACKBONES, DiffusionRow, backbone, freeze, load_pipeline
from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning, Generator, Prompt, noise_generator
from phosphene.generators.prompts import POOLED, TOKENS, Wording
from phosphene.registry import register
from phosphene.settings import Count, Guidance, PictureSide, Share, Steps
from phosphene.utils.finite import check_finite
from phosphene.utils.pictures import upright
from phosphene.utils.progress import quiet

if TYPE_CHECKING:
    from phosphene.generators.tuned import TunedUNet

log = logging.getLogger(__name__)
#: of a pipeline's configuration, what is no component of it
_OPTIONS = ("requires_safety_checker", "force_zeros_for_empty_prompt", "requires_aesthetics_score")


@register("generator", "diffusion")
class Diffusion(Generator):
    """A frozen diffusion backbone: drawing changes no weight and leaves no gradient.

    Where a prompt is a blend, the text states of its captions are averaged by weight. Tokens stand in place of the
    prompt's states; a pipeline that also reads a pooled text embedding (SDXL) then gets that of the empty caption.
    Guidance leads away from ``negative_tokens``, or from states of zero.

    Parameters
    ----------
    backbone : a diffusion row of the backbone table.
    steps, guidance, size : sampler steps, guidance scale, picture side (pixels); None takes the backbone's.
    sampler : one of `phosphene.backbones.samplers.SAMPLERS`; None takes the backbone's.
    adapter_scale : weight of the image-prompt adapter (Ye et al. 2023, arXiv 2308.06721), 0 to 1.
    batch_size : pictures at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    """

    accepts = frozenset({"prompt", "tokens", "negative_tokens", "image_embeds", "init", "strength"})

    def __init__(
        self,
        backbone: DiffusionRow = "mini",
        steps: Steps | None = None,
        guidance: Guidance | None = None,
        size: PictureSide | None = None,
        sampler: Sampler | None = None,
        adapter_scale: Share = 1.0,
        batch_size: Count = 32,
        device: str = "auto",
    ):
        self.backbone, self.adapter_scale, self.batch_size, self.device = backbone, adapter_scale, batch_size, device
        row = _row(backbone)
        self.sampler = sampler
        self._told: set[str] = set()  # captions that are cut, of which the user knows
        self.sound(backbone=backbone, sampler=sampler)
        for name, value in (("guidance", guidance), ("adapter_scale", adapter_scale)):
            if value is not None and not math.isfinite(value):
                raise PhospheneError(f"{name} is {value}: give a finite number")
        runtime.named(device)  # one that is not here is refused at once
        self._batches = runtime.Batches(batch_size, "generator.batch_size")
        self.steps = row.steps if steps is None else steps
        self.guidance = row.guidance if guidance is None else guidance
        self.size = row.size if size is None else size

    @classmethod
    def sound(cls, *, backbone: str, sampler: str | None, **others: Any) -> None:
        """Refuse arguments that do not go together."""
        if sampler is not None:
            known(sampler, _row(backbone).predicts)

    @classmethod
    def reads(cls, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        super().reads(given, arguments)
        backbone, steps = arguments["backbone"], arguments["steps"]
        row = _row(backbone)
        if given.get("unet") not in (None, backbone):
            raise PhospheneError(f"the method tunes the U-Net of '{given['unet']}': set generator.backbone to it")
        _some_steps(row.steps if steps is None else steps, given.get("strength"))
        if (width := given.get("tokens")) is not None and row.shapes.tokens and row.shapes.tokens[1] != width:
            raise PhospheneError(_other_tokens(width, backbone, row.shapes.tokens[1]))
        if (width := given.get("image_embeds")) is not None:
            if row.adapter is None or row.shapes.image is None:
                raise PhospheneError(f"backbone '{backbone}' has no image-prompt adapter: give a prompt instead")
            if row.shapes.image != width:
                raise PhospheneError(_other_embeds(width, backbone, row.shapes.image))

    @cached_property
    def pipeline(self) -> Any:
        """The stock text-to-image pipeline, frozen."""
        pipe: Any = load_pipeline(self.backbone, self.device)
        if self.sampler is not None:
            pipe.scheduler = exchanged(pipe.scheduler, self.sampler)
        return pipe

    def tuned(self, unet: "TunedUNet") -> "Diffusion":
        """A generator with this U-Net that shares all else with this one, which stays as it is.

        Raises
        ------
        PhospheneError : a U-Net for latents or text states of another shape than the backbone's.
        """
        from phosphene.generators.tuned import TunedDiffusion

        return TunedDiffusion(self, unet)

    def fits(self, prompt: Prompt) -> bool:
        """Whether every caption of a prompt is read to its end; longer ones (of 77 tokens, as a rule) are cut.

        Without a generator at hand, `phosphene.backbones.table.fits` asks the tokenizer alone.
        """
        return not Wording(self.pipeline, False).long([prompt])

    def shortened(self, prompts: Sequence[Prompt]) -> str:
        wording = Wording(self.pipeline, False)
        self._told |= {*wording.long(prompts)}
        return wording.shortened(prompts)

    def _adapter(self, wanted: bool) -> None:
        """Attach or detach the image-prompt adapter; a stock pipeline with one refuses to run without its input."""
        attached = self.pipeline.unet.encoder_hid_proj is not None
        if wanted and not attached:
            row = _row(self.backbone)
            if row.adapter is None:
                raise PhospheneError(f"backbone '{self.backbone}' has no image-prompt adapter: give a prompt instead")
            repo, subfolder, name = row.adapter
            where = {"subfolder": subfolder, "weight_name": name, "local_files_only": row.local}
            with quiet():
                self.pipeline.load_ip_adapter(
                    str(ASSETS / repo) if row.local else repo, image_encoder_folder=None, **where
                )
            freeze(self.pipeline)  # what the adapter brought
        if wanted:
            self.pipeline.set_ip_adapter_scale(self.adapter_scale)
        elif attached:
            self.pipeline.unload_ip_adapter()

    def __call__(
        self,
        conditioning: Conditioning,
        *,
        n: int = 1,
        seed: int = 0,
        numbers: Sequence[int] | None = None,
    ) -> list[list[Image.Image]]:
        """``n`` pictures for each trial, in batches of the stock pipeline.

        Raises
        ------
        PhospheneError : a field that is not accepted or not finite, states or embeddings of another width than the
            backbone reads, or a picture of NaN.
        """
        self.check(conditioning)
        self._fit_tokens(conditioning)
        self._adapter(conditioning.image_embeds is not None)
        self._fit_embeds(conditioning)
        pipe = self.pipeline
        wording = Wording(pipe, self.guidance > 1, self.batch_size)
        if conditioning.prompt is not None and not self._told.issuperset(wording.long(conditioning.prompt)):
            log.warning(self.shortened(conditioning.prompt))
        if conditioning.init is not None:
            from diffusers import AutoPipelineForImage2Image

            _some_steps(self.steps, conditioning.strength)
            pipe = AutoPipelineForImage2Image.from_pipe(pipe)
            pipe.set_progress_bar_config(disable=True)
        if conditioning.image_embeds is not None:
            stock: type = type(pipe)
            pipe = rebuilt(pipe, _own_embeddings(stock))
        numbers = range(len(conditioning)) if numbers is None else numbers
        jobs = [(trial, sample) for trial in range(len(conditioning)) for sample in range(n)]
        pictures: list[list[Image.Image]] = [[] for _ in range(len(conditioning))]

        def draw(part: slice) -> list[Image.Image]:
            batch = jobs[part]
            arguments = self._arguments(conditioning.rows([trial for trial, _ in batch]), wording)
            arguments["generator"] = [noise_generator(seed, numbers[trial], sample) for trial, sample in batch]
            with torch.inference_mode(), quiet():
                drawn = pipe(**arguments, output_type="np").images
            check_finite(
                torch.from_numpy(drawn),
                "the picture drawn of trial",
                "its conditioning is too large for the backbone, or its precision too low",
                [numbers[trial] for trial, _ in batch],
            )
            made: list[Image.Image] = pipe.image_processor.numpy_to_pil(drawn)
            return made

        made = [picture for part in self._batches(draw, len(jobs)) for picture in part]
        for (trial, _), picture in zip(jobs, made, strict=True):
            pictures[trial].append(picture)
        return pictures

    def _fit_tokens(self, c: Conditioning) -> None:
        if c.tokens is None:
            return
        shape, width = tuple(c.tokens.shape), int(self.pipeline.unet.config.cross_attention_dim)
        if len(shape) != 3 or shape[1] == 0:
            raise PhospheneError(f"tokens have shape {shape}: give (n_trials, n_tokens, {width})")
        if shape[2] != width:
            raise PhospheneError(_other_tokens(shape[2], self.backbone, width))

    def _fit_embeds(self, c: Conditioning) -> None:
        if c.image_embeds is None:
            return
        shape = tuple(c.image_embeds.shape)
        width = int(self.pipeline.unet.encoder_hid_proj.image_projection_layers[0].image_embeds.in_features)
        if len(shape) != 2:
            raise PhospheneError(f"image_embeds have shape {shape}: give (n_trials, {width})")
        if shape[1] != width:
            raise PhospheneError(_other_embeds(shape[1], self.backbone, width))

    def _arguments(self, c: Conditioning, wording: Wording) -> dict[str, Any]:
        guided = self.guidance > 1
        arguments: dict[str, Any] = {"num_inference_steps": self.steps, "guidance_scale": self.guidance}
        if c.tokens is not None:
            given = {TOKENS: c.tokens.to(self.pipeline.device)}
            if BACKBONES[self.backbone].shapes.pooled is not None:
                given[POOLED] = wording.arguments([""] * len(c))[POOLED]
            arguments |= given
            if guided:
                arguments |= {f"negative_{name}": torch.zeros_like(states) for name, states in given.items()}
                if c.negative_tokens is not None:
                    arguments[f"negative_{TOKENS}"] = c.negative_tokens.to(self.pipeline.device)
        elif c.prompt is not None and not all(isinstance(prompt, str) for prompt in c.prompt):
            arguments |= wording.arguments(c.prompt)
        else:
            arguments["prompt"] = list(c.prompt) if c.prompt is not None else [""] * len(c)
        if c.image_embeds is not None:
            embeds = c.image_embeds.to(self.pipeline.device, self.pipeline.unet.dtype)[:, None]
            arguments["ip_adapter_image_embeds"] = [torch.cat([torch.zeros_like(embeds), embeds]) if guided else embeds]
        if c.init is not None:
            arguments["image"] = [
                upright(picture).resize((self.size, self.size), Image.Resampling.BICUBIC) for picture in c.init
            ]
            arguments["strength"] = c.strength
        else:
            arguments["height"] = arguments["width"] = self.size
        return arguments


class _OwnEmbeddings:
    """Each prompt of a batch has its own image embedding.

    The stock pipelines take precomputed embeddings as meant for every prompt and repeat all of them for each; in a
    batch the U-Net then mixes the trials without a word (diffusers 0.42).
    """

    def prepare_ip_adapter_image_embeds(
        self, image: Any, embeds: list[torch.Tensor], device: Any, n_pictures: int, guided: bool
    ) -> list[torch.Tensor]:
        if embeds[0].shape[0] != n_pictures * (2 if guided else 1):
            raise PhospheneError(f"{embeds[0].shape[0]} image embeddings for {n_pictures} pictures: give one for each")
        one: list[torch.Tensor] = super().prepare_ip_adapter_image_embeds(image, embeds, device, 1, guided)  # type: ignore[misc]
        return one


@cache
def _own_embeddings(stock: type) -> Any:
    """The stock pipeline's class with that one difference, under its own name."""
    return type(stock.__name__, (_OwnEmbeddings, stock), {})


def rebuilt(pipe: Any, cls: Any, **components: Any) -> Any:
    """A pipeline of this class with the same components, but for those that are given."""
    options = {key: pipe.config[key] for key in _OPTIONS if key in pipe.config}
    made = cls(**{**pipe.components, **components}, **options)
    made.set_progress_bar_config(disable=True)
    return made


def _row(name: str) -> Any:
    return backbone(name, "diffusion")


def _other_tokens(width: int, name: str, read: int) -> str:
    rows = [(n, row.shapes.tokens) for n, row in BACKBONES.items() if row.kind != "clip"]
    others = [n for n, tokens in rows if tokens and tokens[1] == width]
    return f"tokens are {width} wide and backbone '{name}' reads {read}: make the method's tokens {read} wide" + (
        f", or draw with {' or '.join(others)}" if others else ""
    )


def _other_embeds(width: int, name: str, read: int) -> str:
    return (
        f"image_embeds are {width} wide and the adapter of backbone '{name}' reads {read}: decode into the space of "
        f"backbone '{_row(name).adapter_clip}'"
    )


def _some_steps(steps: int, strength: float | None) -> None:
    if strength is not None and int(steps * strength) < 1:
        raise PhospheneError(
            f"strength {strength} of {steps} steps leaves none to draw: give {1 / steps:g} or more, or more steps"
        )
