"""A generator: the thumbnail that was decoded, enlarged."""

from collections.abc import Sequence

import torch
from PIL import Image

from phosphene.generators.base import Conditioning, Generator, noise_generator
from phosphene.registry import register


@register("generator", "enlarge")
class Enlarge(Generator):
    """``image_embeds`` read as RGB thumbnails in -1 to 1, with a little noise of each sample's own, at ``size`` pixels.

    Parameters
    ----------
    size : side of the picture, pixels.
    grain : standard deviation of the noise.
    """

    accepts = frozenset({"image_embeds"})

    def __init__(self, size: int = 128, grain: float = 0.02):
        self.size, self.grain = size, grain

    def __call__(
        self, conditioning: Conditioning, *, n: int = 1, seed: int = 0, numbers: Sequence[int] | None = None
    ) -> list[list[Image.Image]]:
        self.check(conditioning)
        numbers = range(len(conditioning)) if numbers is None else numbers
        rows = zip(conditioning.image_embeds, numbers, strict=True)
        return [[self._drawn(row, seed, number, sample) for sample in range(n)] for row, number in rows]

    def _drawn(self, row: torch.Tensor, seed: int, number: int, sample: int) -> Image.Image:
        noise = torch.randn(row.shape, generator=noise_generator(seed, number, sample))
        side = round((len(row) / 3) ** 0.5)
        pixels = ((row + self.grain * noise + 1) * 127.5).clamp(0, 255).byte().reshape(side, side, 3)
        return Image.fromarray(pixels.numpy()).resize((self.size, self.size), Image.Resampling.BICUBIC)
