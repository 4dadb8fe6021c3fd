"""Pictures as the metrics take them: (n, 3, side, side) RGB from 0 to 1, resized in one way, paired by name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from phosphene.errors import PhospheneError
from phosphene.utils.pictures import upright

#: PIL images or arrays of one picture each, or one array or tensor of all; see `pixels`
Pictures = Sequence[Any] | np.ndarray | Tensor
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def resize(pixels: Tensor, side: int, antialias: bool = True) -> Tensor:
    """(n, 3, side, side): bilinear, corners not aligned; a picture of this size is returned as it is.

    Parameters
    ----------
    pixels : (n, 3, height, width).
    antialias : smooth before shrinking, as torchvision's resize does; it changes nothing when a picture is enlarged.
    """
    if tuple(pixels.shape[-2:]) == (side, side):
        return pixels
    return torch.nn.functional.interpolate(
        pixels, (side, side), mode="bilinear", align_corners=False, antialias=antialias
    )


def pixels(pictures: Pictures, side: int, antialias: bool = True) -> Tensor:
    """(n, 3, side, side) float32 RGB from 0 to 1.

    Parameters
    ----------
    pictures : PIL images of any sizes; (height, width, 3) arrays; or one (n, 3, height, width) array or tensor. Whole
        numbers are 0 to 255, others 0 to 1.

    Raises
    ------
    PhospheneError
        For no pictures, another shape, or values out of range: 0 to 255 is never clamped as if it were 0 to 1.
    """
    if isinstance(pictures, np.ndarray | Tensor) and len(pictures):
        return resize(_unit(torch.as_tensor(pictures)), side, antialias)
    return torch.cat([resize(picture, side, antialias) for picture in one_by_one(pictures)])


def one_by_one(pictures: Pictures) -> Iterator[Tensor]:
    """(1, 3, height, width) of each picture in its own size, float32 from 0 to 1; errors as for `pixels`."""
    if len(pictures) == 0:
        raise PhospheneError("there are no pictures to compare: draw some first (generator in the recipe)")
    if isinstance(pictures, np.ndarray | Tensor):
        yield from _unit(torch.as_tensor(pictures)).split(1)
    else:
        yield from (_unit(_one(picture)) for picture in pictures)


def paired(drawn: str | Path, real: str | Path) -> list[tuple[Path, Path]]:
    """The pictures of two folders by equal names, sorted by name: the order of a listing pairs nothing.

    Raises
    ------
    PhospheneError
        For a picture without its partner, or a name that occurs twice in a folder.
    """
    found = []
    for folder in (Path(drawn), Path(real)):
        files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES] if folder.is_dir() else []
        if not files:
            raise PhospheneError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}): name the folder that does")
        names: dict[str, Path] = {}
        for path in files:
            if path.stem in names:
                raise PhospheneError(f"{folder} holds '{path.stem}' twice: keep {names[path.stem].name} or {path.name}")
            names[path.stem] = path
        found.append(names)
    here, there = found
    alone = sorted(here.keys() ^ there.keys())
    if alone:
        lacking = real if alone[0] in here else drawn
        raise PhospheneError(f"'{alone[0]}' has no partner in {lacking}: pictures are paired by equal names")
    return [(here[name], there[name]) for name in sorted(here)]


def _one(picture: Any) -> Tensor:
    """(1, 3, height, width) of a PIL image or a (height, width, 3) array."""
    array = np.array(upright(picture) if isinstance(picture, Image.Image) else picture)
    if array.ndim != 3 or array.shape[2] != 3:
        raise PhospheneError(f"a picture is (height, width, 3), not {array.shape}: convert it to RGB")
    return torch.from_numpy(array).permute(2, 0, 1)[None]


def _unit(values: Tensor) -> Tensor:
    if values.ndim != 4 or values.shape[1] != 3:
        raise PhospheneError(f"pictures are (n, 3, height, width), not {tuple(values.shape)}: move the colours first")
    whole = not values.is_floating_point()
    top = 255 if whole else 1
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= top):
        raise PhospheneError(
            f"pixels run from {low:.3g} to {high:.3g}: whole numbers must be 0 to 255, others 0 to 1 (divide by 255)"
        )
    return values.float() / 255 if whole else values.float()
