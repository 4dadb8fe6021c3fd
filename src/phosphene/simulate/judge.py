"""An independent judge of drawn scenes: a small network that names what a picture shows.

It was trained on real drawings only, apart from every part of `mini`, and says how much of a scene a reconstruction
kept. It knows the drawn world and nothing else: asked about a photograph, it answers all the same.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from phosphene import runtime
from phosphene.simulate.drawings import LIGHTS
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, COMPANIONS, OBJECTS, PATTERNS, POSITIONS
from phosphene.utils.pictures import upright

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "object": OBJECTS,
    "colour": tuple(COLOURS),
    "background": BACKGROUNDS,
    "position": POSITIONS,
    "light": tuple(LIGHTS),
    "pattern": PATTERNS,
    "companion": COMPANIONS,
}
MINI = Path(__file__).parent.parent / "assets" / "mini"


class Judge(nn.Module):
    """Four strided convolution blocks and one linear head per attribute.

    Parameters
    ----------
    width : Channels of the first block; the others have two, four and four times as many.
    attributes : The names to choose from, per attribute.
    """

    size = 64

    def __init__(self, width: int = 32, attributes: dict[str, Sequence[str]] | None = None) -> None:
        super().__init__()
        self.attributes = {key: tuple(names) for key, names in (attributes or ATTRIBUTES).items()}
        channels = [3, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels[-1], 128), nn.ReLU())
        self.heads = nn.ModuleDict({key: nn.Linear(128, len(names)) for key, names in self.attributes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (n, names) per attribute, of images (n, 3, 64, 64) in RGB from 0 to 1."""
        state = self.trunk(images * 2 - 1)
        return {key: head(state) for key, head in self.heads.items()}

    @torch.inference_mode()
    def predict(self, images: Tensor | Sequence[Image.Image]) -> dict[str, list[str]]:
        """Names what the pictures show.

        Parameters
        ----------
        images : Pictures of any size, or a float tensor (n, 3, height, width) in RGB from 0 to 1.

        Returns
        -------
        For each of `ATTRIBUTES`, one name per picture.
        """
        if not isinstance(images, Tensor):
            arrays = [np.asarray(upright(image).resize((self.size, self.size))) for image in images]
            images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255
        elif images.shape[-2:] != (self.size, self.size):
            images = nn.functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        logits = self.logits(images)
        return {key: [self.attributes[key][i] for i in value.argmax(1).tolist()] for key, value in logits.items()}

    @torch.inference_mode()
    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """`forward`, in batches that fit where the judge is; the logits are float32 on the CPU."""
        weight = next(self.parameters())

        def answer(part: slice) -> dict[str, Tensor]:
            return {
                key: value.float().cpu() for key, value in self(images[part].to(weight.device, weight.dtype)).items()
            }

        parts = list(runtime.Batches(max(1, len(images)), "pictures judged at a time:")(answer, len(images)))
        return {key: torch.cat([part[key] for part in parts]) for key in self.attributes}


def load_judge(folder: str | Path | None = None) -> Judge:
    """Loads a judge.

    Parameters
    ----------
    folder : A folder with `config.json` and `model.safetensors`; the shipped judge by default.

    Returns
    -------
    The judge, in float32 and evaluation mode, on the device of the process (`phosphene.runtime`).

    Raises
    ------
    FileNotFoundError
        When the folder holds no judge.
    """
    folder = Path(folder) if folder is not None else MINI / "judge"
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"no judge in {folder}: it needs config.json and model.safetensors")
    judge = Judge(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    judge.load_state_dict({key: value.float() for key, value in load_file(folder / "model.safetensors").items()})
    return runtime.place(judge.eval())
