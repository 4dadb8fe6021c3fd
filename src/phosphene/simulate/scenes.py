"""Drawn scenes: a small world of plain pictures whose every property, and every caption, is known exactly.

A `Scene` is one of 16 objects in one of 10 colours, before one of 6 backgrounds,
at one of 3 positions. It stands in for photographs where none can be had: in examples, in tests, in simulated EEG and
in the training of the embedded backbone `mini`. One combination in ten is held out of that training.

Examples
--------
>>> scene = Scene("car", "red", "snow", "left")
>>> scene.prompt
'a red car on the left, in the snow'
>>> draw(scene).size
(64, 64)
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from phosphene.errors import PhospheneError, nearest
from phosphene.simulate.drawings import GROUNDS, PAINTERS, RGB, Brush, Tones, blank

OBJECTS: tuple[str, ...] = tuple(PAINTERS)
COLOURS: dict[str, RGB] = {
    "red": (216, 40, 44),
    "orange": (248, 134, 24),
    "yellow": (252, 216, 40),
    "green": (40, 164, 60),
    "blue": (40, 96, 220),
    "purple": (136, 56, 184),
    "pink": (250, 136, 186),
    "brown": (132, 82, 44),
    "black": (40, 40, 48),
    "white": (250, 250, 250),
}
BACKGROUNDS: tuple[str, ...] = tuple(GROUNDS)
POSITIONS: tuple[str, ...] = ("left", "centre", "right")

_PLACE = {
    "beach": "on the beach",
    "city": "in the city",
    "forest": "in the forest",
    "night": "at night",
    "room": "in a room",
    "snow": "in the snow",
}
_THEME = {
    "beach": "a sunny day at the sea",
    "city": "a busy day in town",
    "forest": "a walk in the woods",
    "night": "a quiet night",
    "room": "a calm day at home",
    "snow": "a cold winter day",
}
_SIDE = {"left": "on the left", "centre": "in the centre", "right": "on the right"}
_X = {"left": 0.3, "centre": 0.5, "right": 0.7}
_SUPERSAMPLE = 4
_OUTLINE = 0.016  # of the width of the picture


def _known(field: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise PhospheneError(f"{field} '{value}' is not drawn here: {nearest(value, allowed)}")


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Parameters
    ----------
    object : One of `OBJECTS`.
    colour : One of `COLOURS`, the colour of the object.
    background : One of `BACKGROUNDS`.
    position : One of `POSITIONS`, where the object stands.
    seed : Which of the slightly differing drawings of this combination (place, size, tilt and shade); at least 0.

    Raises
    ------
    PhospheneError
        For a value that is not drawn; the message names the nearest one.
    """

    object: str
    colour: str
    background: str
    position: str
    seed: int = 0

    def __post_init__(self) -> None:
        _known("object", self.object, OBJECTS)
        _known("colour", self.colour, tuple(COLOURS))
        _known("background", self.background, BACKGROUNDS)
        _known("position", self.position, POSITIONS)
        if self.seed < 0:
            raise PhospheneError(f"seed is {self.seed}: give 0 or more")

    @property
    def concept(self) -> str:
        """Colour and object, such as `"red car"`."""
        return f"{self.colour} {self.object}"

    @property
    def captions(self) -> dict[str, str]:
        """The exact caption of each slot that such a scene can fill, keyed by the slot's id."""
        thing = f"{'an' if self.concept[0] in 'aeiou' else 'a'} {self.concept}"
        return {
            "ObjectSnap": thing,
            "SpatialLink": f"{thing} {_SIDE[self.position]}",
            "ThemeTag": _THEME[self.background],
        }

    @property
    def prompt(self) -> str:
        """The whole scene in one sentence, such as `"a red car on the left, in the snow"`."""
        return f"{self.captions['SpatialLink']}, {_PLACE[self.background]}"

    @property
    def combination(self) -> tuple[str, str, str, str]:
        """Object, colour, background and position: the scene without its seed."""
        return self.object, self.colour, self.background, self.position


def is_held_out(scene: Scene) -> bool:
    """Whether this combination is kept out of every training of `mini`; one in ten is, by a fixed hash."""
    return hashlib.sha256("|".join(scene.combination).encode()).digest()[0] % 10 == 0


def sample_scenes(n: int, *, seed: int, held_out: bool | None = None) -> list[Scene]:
    """Draws `n` scenes at random, no combination twice before every combination came once.

    Parameters
    ----------
    n : How many scenes.
    seed : Seed of the choice, and of the scenes' own seeds.
    held_out : True for held-out combinations only, False for the others only, None for all.

    Returns
    -------
    The scenes; the same for the same arguments.
    """
    every = (Scene(o, c, b, p) for o, c, b, p in itertools.product(OBJECTS, COLOURS, BACKGROUNDS, POSITIONS))
    pool = [scene for scene in every if held_out is None or is_held_out(scene) == held_out]
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(pool)) for _ in range(-(-n // len(pool)))]
    order = np.concatenate(rounds)[:n] if rounds else np.empty(0, dtype=int)
    seeds = rng.integers(0, 2**31, size=n)
    return [replace(pool[i], seed=int(s)) for i, s in zip(order, seeds, strict=True)]


def draw_with_mask(scene: Scene, size: int = 64) -> tuple[Image.Image, np.ndarray]:
    """Draws a scene, and says which pixels the object covers.

    Parameters
    ----------
    scene : What to draw.
    size : Height and width, in pixels.

    Returns
    -------
    The picture (RGB, `size` x `size`), and a bool array (height, width), true where the object covers at least
    half of the pixel.
    """
    key = hashlib.sha256("|".join((*scene.combination, str(scene.seed))).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:8], "little"))
    dx, dy, angle, lift = rng.normal(size=4).clip(-2, 2) * (0.012, 0.012, 0.04, 0.006)
    scale = rng.uniform(0.255, 0.305)
    r, g, b = (int(v) for v in (np.array(COLOURS[scene.colour]) + rng.integers(-6, 7)).clip(0, 255))

    wide = size * _SUPERSAMPLE
    picture, pen = blank(wide)
    GROUNDS[scene.background](Brush(pen, (0.0, 0.0), wide), float(lift))
    layer, pen = blank(wide, "RGBA")
    centre = ((_X[scene.position] + dx) * wide, (0.56 + dy) * wide)
    PAINTERS[scene.object](Brush(pen, centre, scale * wide, float(angle)), Tones.of((r, g, b)))

    pale = scene.colour == "black" or (scene.background == "night" and scene.colour != "white")
    outline = (226, 226, 232) if pale else (46, 42, 58)
    shape = layer.getchannel("A")
    grown = shape.filter(ImageFilter.GaussianBlur(_OUTLINE * wide)).point([0] * 40 + [255] * 216)
    picture.paste(outline, mask=grown)
    picture.paste(layer, mask=shape)
    mask = np.asarray(grown.resize((size, size), Image.Resampling.BOX)) >= 128
    return picture.resize((size, size), Image.Resampling.BOX), mask


def draw(scene: Scene, size: int = 64) -> Image.Image:
    """Draws a scene as an RGB picture of `size` x `size` pixels; the same scene gives the same pixels."""
    return draw_with_mask(scene, size)[0]
