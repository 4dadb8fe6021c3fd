"""What is in a picture, as the simulated brain sees it: numbers from the pixels and the scene, never from a CLIP.

Six kinds of content, each `(n_stimuli, dim)`, unitless:

| name | dim | computed from |
|---|---|---|
| `layout` | 48 | luminance, contrast and edges in a 4 x 4 grid of the picture |
| `colour` | 10 | how many of the object's pixels look like each colour of the palette: the mean of a Gaussian, in RGB |
| `shape` | 64 | the object's mask, cropped to its bounding box and brought to 8 x 8 |
| `object` | 52 | which object it is (one-hot) |
| `place` | 3 | centre (x, y) and area of the object's mask, as fractions of the picture |
| `theme` | 15 | which background (one-hot, 8), which light (one-hot, 4), and the picture's mean RGB: its mood |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from phosphene.simulate.drawings import LIGHTS
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, OBJECTS, Scene, draw_with_mask

GRID = 4
_SHAPE = 8
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # Rec. 709
_PALETTE = np.array(list(COLOURS.values()), dtype=np.float32) / 255

Content = dict[str, np.ndarray]


def describe(scenes: Sequence[Scene], drawn: Sequence[tuple[Image.Image, np.ndarray]] | None = None) -> Content:
    """The content of some scenes.

    Parameters
    ----------
    scenes : What the pictures show.
    drawn : Picture and mask of each scene, as `draw_with_mask` returns them; drawn here when None.

    Returns
    -------
    Kind of content -> float64 array (n_stimuli, dim).
    """
    drawn = [draw_with_mask(scene) for scene in scenes] if drawn is None else drawn
    rgb = np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture, _ in drawn])  # (n, height, width, 3)
    masks = np.stack([mask for _, mask in drawn])
    area = masks.sum(axis=(1, 2))
    y, x = (np.arange(length) / (length - 1) for length in masks.shape[1:])
    place = [(masks.sum(axis=1) @ x) / area, (masks.sum(axis=2) @ y) / area, masks.mean(axis=(1, 2))]
    mood = rgb.mean(axis=(1, 2))
    return {
        "layout": _layout(rgb @ _LUMINANCE.astype(np.float32)),
        "colour": np.stack([_hues(picture[mask]) for picture, mask in zip(rgb, masks, strict=True)]),
        "shape": np.stack([_outline(mask) for mask in masks]),
        "object": _one_hot([scene.object for scene in scenes], OBJECTS),
        "place": np.stack(place, axis=1),
        "theme": np.hstack(
            [
                _one_hot([s.background for s in scenes], BACKGROUNDS),
                _one_hot([s.light for s in scenes], tuple(LIGHTS)),
                mood,
            ]
        ),
    }


def _one_hot(values: Sequence[str], names: tuple[str, ...]) -> np.ndarray:
    """Names (n,) -> (n, len(names)), one where the name is the value."""
    return np.array([[value == name for name in names] for value in values], dtype=float)


def _layout(luminance: np.ndarray) -> np.ndarray:
    """Luminance (n, height, width) -> mean, contrast (SD) and edges (mean gradient) per cell: (n, 4 * 4 * 3)."""
    n, height, width = luminance.shape
    gy, gx = np.gradient(luminance, axis=(1, 2))

    def cells(values: np.ndarray) -> np.ndarray:
        rows, columns = height // GRID, width // GRID
        cut = values[:, : rows * GRID, : columns * GRID].reshape(n, GRID, rows, GRID, columns)
        return cut.transpose(0, 1, 3, 2, 4).reshape(n, GRID * GRID, -1)

    light = cells(luminance)
    return np.stack([light.mean(-1), light.std(-1), cells(np.hypot(gx, gy)).mean(-1)], axis=-1).reshape(n, -1)


def _hues(pixels: np.ndarray) -> np.ndarray:
    """RGB pixels (n, 3), 0 to 1 -> mean nearness to each colour of the palette (10,)."""
    distance = np.linalg.norm(pixels[:, None] - _PALETTE, axis=-1)
    return np.exp(-0.5 * (distance / 0.2) ** 2).mean(axis=0)


def _outline(mask: np.ndarray) -> np.ndarray:
    """The mask's shape without its place and size: (64,), each the covered share of one cell of its bounding box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    small = Image.fromarray(box.astype(np.uint8) * 255).resize((_SHAPE, _SHAPE), Image.Resampling.BOX)
    return np.asarray(small, dtype=float).ravel() / 255
