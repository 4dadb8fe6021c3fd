"""The latent space of a diffusion model's autoencoder: what a picture looks like, place by place."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from phosphene import runtime
from phosphene.backbones.table import DiffusionRow, backbone, load_autoencoder
from phosphene.errors import PhospheneError
from phosphene.registry import register
from phosphene.settings import Count, PictureSide, Shift
from phosphene.targets.base import Target, picture_digests
from phosphene.utils.finite import check_finite
from phosphene.utils.pictures import open_picture, upright


@register("target", "latent")
class Latent(Target):
    """Mean of the autoencoder's posterior of the picture shown (Li et al. 2024, arXiv 2403.07721, low-level pipeline).

    (n_stimuli, channels, height, width), as the autoencoder gives and takes it: not multiplied by its scaling factor.
    The picture is resized (bicubic) until its shorter side is ``size``, cut to its middle square, scaled to -1 ... 1.

    Parameters
    ----------
    backbone : a diffusion row of the backbone table; only its autoencoder is loaded, always in float32.
    size : picture side, pixels; None takes the backbone's.
    batch_size : pictures at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    shift : added to every scaled pixel; only a published fault (-0.5, see `phosphene.methods.synapse`) needs it.
    """

    def __init__(
        self,
        backbone: DiffusionRow = "mini",
        size: PictureSide | None = None,
        batch_size: Count = 16,
        device: str = "auto",
        shift: Shift = 0.0,
    ):
        row = _row(backbone)
        self.shift = shift
        self.backbone, self.batch_size, self.device = backbone, batch_size, device
        self._batches = runtime.Batches(batch_size, "batch_size of Latent")
        self.size = row.size if size is None else size

    def config(self) -> dict[str, Any]:
        return {"backbone": _row(self.backbone).identity(), "size": self.size} | (
            {"shift": self.shift} if self.shift else {}
        )

    @cached_property
    def vae(self) -> Any:
        """The stock autoencoder, frozen; in float32, since some overflow at half precision."""
        return runtime.place(load_autoencoder(self.backbone), self.device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent."""
        fold = 2 ** (len(self.vae.config.block_out_channels) - 1)
        if self.size % fold:
            raise PhospheneError(f"size is {self.size}: give a multiple of {fold}, by which the autoencoder shrinks")
        return (int(self.vae.config.latent_channels), self.size // fold, self.size // fold)

    def content(self, stimuli: pd.DataFrame) -> list[str]:
        return picture_digests(stimuli)

    def embed(self, stimuli: pd.DataFrame) -> Tensor:
        images = list(stimuli["image"])
        parts = [torch.empty(0, *self.shape)]
        for i in range(0, len(images), self.batch_size):
            parts.append(self.encode([open_picture(path) for path in images[i : i + self.batch_size]]))
        return torch.cat(parts)

    @torch.inference_mode()
    def encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        """(n, channels, height, width) latent means of pictures of any size."""

        def code(part: slice) -> Tensor:
            pixels = torch.stack([self._pixels(p) for p in pictures[part]])
            coded = self.vae.encode(pixels.to(self.vae.device))
            # AutoencoderTiny has no posterior: its latent is the mean
            found: Tensor = coded.latents if hasattr(coded, "latents") else coded.latent_dist.mode()
            return found.cpu()

        return torch.cat([torch.empty(0, *self.shape), *self._batches(code, len(pictures))])

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """The pictures of (n, channels, height, width) latents, RGB of `size` pixels.

        Raises
        ------
        PhospheneError : latents of another shape, or not finite.
        """
        if tuple(latents.shape[1:]) != self.shape:
            raise PhospheneError(
                f"latents have shape {tuple(latents.shape)} and the autoencoder of backbone '{self.backbone}' reads "
                f"(n, {', '.join(map(str, self.shape))}): decode into its own shape"
            )
        check_finite(latents, "the latent of picture", "look for NaN in what it was decoded from")

        def shown(part: slice) -> list[Image.Image]:
            pixels = (self.vae.decode(latents[part].float().to(self.vae.device)).sample / 2 + 0.5).clamp(0, 1)
            arrays = (255 * pixels).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            return [Image.fromarray(array) for array in arrays]

        return [picture for part in self._batches(shown, len(latents)) for picture in part]

    def _pixels(self, picture: Image.Image) -> Tensor:
        """(3, size, size) from -1 to 1."""
        scale = self.size / min(picture.size)
        width, height = (max(self.size, round(scale * side)) for side in picture.size)
        resized = upright(picture).resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        square = np.asarray(resized.crop((left, top, left + self.size, top + self.size)), np.float32)
        return torch.from_numpy(square).permute(2, 0, 1) / 127.5 - 1 + self.shift


def _row(name: str) -> Any:
    return backbone(name, "diffusion")
