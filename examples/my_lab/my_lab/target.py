"""A target: what a picture looks like at a glance."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from phosphene.registry import register
from phosphene.targets.base import Target, picture_digests
from phosphene.utils.pictures import open_picture


@register("target", "thumbnail")
class Thumbnail(Target):
    """The picture at ``side`` x ``side`` pixels, RGB in -1 to 1: (n_stimuli, 3 * side * side).

    Parameters
    ----------
    side : pixels.
    """

    def __init__(self, side: int = 8):
        self.side = side

    def config(self) -> dict[str, Any]:
        return {"side": self.side}

    def content(self, stimuli: pd.DataFrame) -> list[str]:
        return picture_digests(stimuli)

    def embed(self, stimuli: pd.DataFrame) -> Tensor:
        size = (self.side, self.side)
        pixels = [np.asarray(open_picture(path).resize(size)).reshape(-1) for path in stimuli["image"]]
        return torch.from_numpy(np.stack(pixels)).float() / 127.5 - 1
