"""No generator at all: the nearest known picture. The control that every generator must beat."""

from collections.abc import Sequence

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning, Generator
from phosphene.registry import register
from phosphene.utils.finite import check_finite
from phosphene.utils.pictures import open_picture


@register("generator", "nearest")
class Nearest(Generator):
    """Return the pictures whose embeddings are most similar (cosine); sample j is the j-th nearest.

    Parameters
    ----------
    images : (n_pictures,) paths of the known pictures, as a rule those of the training set.
    embeds : (n_pictures, dim) their embeddings, in the space of ``Conditioning.image_embeds``.
    """

    accepts = frozenset({"image_embeds"})

    def __init__(self, images: Sequence[str], embeds: Tensor):
        if len(images) != len(embeds) or len(images) == 0:
            raise PhospheneError(f"{len(images)} pictures and {len(embeds)} embeddings: give one embedding a picture")
        check_finite(embeds, "the embedding of picture", "leave the picture out", list(images))
        self.images, self.embeds = list(images), embeds

    def __call__(
        self, conditioning: Conditioning, *, n: int = 1, seed: int = 0, numbers: Sequence[int] | None = None
    ) -> list[list[Image.Image]]:
        self.check(conditioning)
        assert conditioning.image_embeds is not None
        similarity = F.normalize(conditioning.image_embeds, dim=-1) @ F.normalize(self.embeds, dim=-1).T
        order = similarity.argsort(dim=1, descending=True, stable=True)[:, :n]
        return [[open_picture(self.images[int(j)]) for j in row] for row in order]
