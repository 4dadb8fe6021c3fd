"""Drawn scenes: a small world of pictures whose every property, and every caption, is known exactly.

A `Scene` is one of 52 objects in one of 10 colours, plain, striped or spotted, before one of 8 backgrounds, in one of 4
kinds of light, at one of 3 positions; a second, small thing may stand beside it or hang above it. It takes the place of
photographs where none can be had: in examples, in tests, in simulated EEG and in the training of the embedded
backbone `mini`. That training never sees one combination in ten, nor any of the four objects in `UNSEEN`.

Examples
--------
>>> scene = Scene("car", "red", "snow", "left", light="night", companion="blue ball")
>>> scene.prompt
'a red car on the left, beside a small blue ball, in the snow, at night'
>>> draw(scene).size
(128, 128)
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from phosphene.errors import PhospheneError, nearest
from phosphene.simulate.drawings import GROUNDS, KINDS, LIGHTS, PAINTERS, Ground
from phosphene.simulate.drawings.brush import RGB, Brush, Tones, blank, mix

SIZE = 128  # pixels, height and width of a picture unless said otherwise
OBJECTS: tuple[str, ...] = tuple(PAINTERS)
UNSEEN: tuple[str, ...] = ("cactus", "crown", "guitar", "owl")
SEEN: tuple[str, ...] = tuple(name for name in OBJECTS if name not in UNSEEN)
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
PATTERNS: tuple[str, ...] = ("plain", "striped", "spotted")
NO_COMPANION = "none"
_ABOVE = ("balloon", "bird", "butterfly", "star")
_BESIDE = ("apple", "ball", "flower", "mushroom")
COMPANIONS: tuple[str, ...] = (
    NO_COMPANION,
    *(f"{colour} {thing}" for thing in sorted(_ABOVE + _BESIDE) for colour in COLOURS),
)

_PLACE = {
    "beach": ("on the beach", "wet sand in front and the sea behind", "at the sea", "free"),
    "city": ("in the city", "a street in front and buildings behind", "in town", "busy"),
    "desert": ("in the desert", "dunes in front and red rocks behind", "in the dry land", "lonely"),
    "forest": ("in the forest", "dark trunks behind and leaves above", "in the woods", "still"),
    "meadow": ("in the meadow", "grass and flowers in front and hills behind", "in the fields", "gentle"),
    "mountains": ("in the mountains", "a lake and high peaks behind", "in the heights", "grand"),
    "room": ("in a room", "wooden boards below and a window behind", "at home", "cosy"),
    "snow": ("in the snow", "snowy ground in front and fir trees behind", "in winter", "cold"),
}
_LIGHT = {
    "day": ("by day", "bright light from a clear sky", "a bright day", "cheerful"),
    "sunset": ("at sunset", "the low warm light of the evening", "a warm evening", "peaceful"),
    "night": ("at night", "the faint light of the moon", "a quiet night", "mysterious"),
    "fog": ("in fog", "pale light without shadows", "a grey morning", "dreamy"),
}
_SURFACE = {
    "plain": "a smooth thing of a single colour",
    "striped": "a thing covered with stripes",
    "spotted": "a thing covered with spots",
}
_SIDE = {"left": "on the left", "centre": "in the centre", "right": "on the right"}
_X = {"left": 0.3, "centre": 0.5, "right": 0.7}
_COMPANION_X = {"left": 0.83, "centre": 0.87, "right": 0.17}
_SUPERSAMPLE = 3
_OUTLINE = 0.014  # of the width of the picture


def a(words: str) -> str:
    """The words behind their article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


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
    seed : Which of the slightly differing drawings of this scene (place, size, tilt and shade); at least 0.
    light : One of `LIGHTS`: day, sunset, night or fog.
    pattern : One of `PATTERNS`, on the object.
    companion : A small second thing, one of `COMPANIONS` such as "blue ball", or "none"; what flies hangs above the
        object, what does not stands beside it.

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
    light: str = "day"
    pattern: str = "plain"
    companion: str = NO_COMPANION

    def __post_init__(self) -> None:
        _known("object", self.object, OBJECTS)
        _known("colour", self.colour, tuple(COLOURS))
        _known("background", self.background, BACKGROUNDS)
        _known("position", self.position, POSITIONS)
        _known("light", self.light, tuple(LIGHTS))
        _known("pattern", self.pattern, PATTERNS)
        _known("companion", self.companion, COMPANIONS)
        if self.seed < 0:
            raise PhospheneError(f"seed is {self.seed}: give 0 or more")

    @property
    def concept(self) -> str:
        """Colour and object, such as `"red car"`."""
        return f"{self.colour} {self.object}"

    @property
    def relation(self) -> str:
        """How the object stands to its companion: "beside", "below", or nothing."""
        if self.companion == NO_COMPANION:
            return ""
        return "below" if self.companion.split()[1] in _ABOVE else "beside"

    @property
    def captions(self) -> dict[str, str]:
        """The exact caption of each of the ten slots of `phosphene.captions.SLOTS`, keyed by the slot's name."""
        pattern = "" if self.pattern == "plain" else f"{self.pattern} "
        thing, relation = a(f"{pattern}{self.concept}"), self.relation
        second = "" if not relation else f", {relation} a small {self.companion}"
        colours = f"something {self.colour}"
        rest = {"left": "the right is empty", "centre": "both sides are empty", "right": "the left is empty"}
        layout = f"a large thing {_SIDE[self.position]}, {rest[self.position]}"
        if relation:
            other = "left" if self.position == "right" else "right"
            where = "upper" if relation == "below" else "lower"
            colours += f" and something {self.companion.split()[0]}"
            layout = f"a large thing {_SIDE[self.position]} and a small thing in the {where} {other}"
        place, view, theme, mood = _PLACE[self.background]
        _, glow, time, feeling = _LIGHT[self.light]
        return {
            "ObjectSnap": thing,
            "KindName": KINDS[self.object],
            "ColourNote": colours,
            "SurfaceNote": _SURFACE[self.pattern],
            "SpatialLink": f"{thing} {_SIDE[self.position]}{second}",
            "LayoutPlan": layout,
            "PlaceView": f"{place}, {view}",
            "ThemeTag": f"{time} {theme}",
            "LightHour": glow,
            "MoodWord": f"a {feeling} and {mood} mood",
        }

    @property
    def prompt(self) -> str:
        """The whole scene in one sentence, such as `"a red car on the left, in the snow, by day"`."""
        return f"{self.captions['SpatialLink']}, {_PLACE[self.background][0]}, {_LIGHT[self.light][0]}"

    @property
    def combination(self) -> tuple[str, str, str, str]:
        """Object, colour, background and position."""
        return self.object, self.colour, self.background, self.position


def is_held_out(scene: Scene) -> bool:
    """Whether `mini` was never trained on such a scene: one combination in ten, by a fixed hash; all of `UNSEEN`."""
    return scene.object in UNSEEN or hashlib.sha256("|".join(scene.combination).encode()).digest()[0] % 10 == 0


def sample_scenes(
    n: int, *, seed: int, held_out: bool | None = None, objects: Sequence[str] = SEEN, plain: bool = False
) -> list[Scene]:
    """Draws `n` scenes at random, no combination twice before every combination came once.

    Parameters
    ----------
    n : How many scenes.
    seed : Seed of the choice, and of the scenes' own seeds.
    held_out : True for held-out combinations only, False for the others only, None for all.
    objects : Which objects to choose from.
    plain : Only plain objects by day, without a companion; else half are plain, all lights are as frequent, and
        one scene in four has a companion.

    Returns
    -------
    The scenes; the same for the same arguments.
    """
    every = (Scene(o, c, b, p) for o, c, b, p in itertools.product(objects, COLOURS, BACKGROUNDS, POSITIONS))
    pool = [scene for scene in every if held_out is None or is_held_out(scene) == held_out]
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(pool)) for _ in range(-(-n // len(pool)))]
    order = np.concatenate(rounds)[:n] if rounds else np.empty(0, dtype=int)
    scenes = [replace(pool[i], seed=int(s)) for i, s in zip(order, rng.integers(0, 2**31, size=n), strict=True)]
    return scenes if plain else [vary(scene, rng) for scene in scenes]


def vary(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same combination in a random light, with a random pattern and perhaps a companion of another kind and
    colour."""
    light = str(rng.choice(list(LIGHTS)))
    pattern = str(rng.choice(PATTERNS, p=(0.5, 0.25, 0.25)))
    thing, colour = rng.choice(sorted(_ABOVE + _BESIDE)), rng.choice(list(COLOURS))
    alone = rng.random() >= 0.3 or thing == scene.object or colour == scene.colour
    return replace(scene, light=light, pattern=pattern, companion=NO_COMPANION if alone else f"{colour} {thing}")


@lru_cache(maxsize=1)
def _relief() -> Image.Image:
    """How light falls on an object: full from the upper left, less towards the lower right."""
    y, x = np.mgrid[0:256, 0:256] / 255
    grey = Image.fromarray((255 * (1 - 0.34 * np.clip(0.4 * x + 0.9 * y - 0.35, 0, 1))).astype(np.uint8))
    return Image.merge("RGB", (grey, grey, grey))


def _patterned(layer: Image.Image, base: RGB, pattern: str, cell: float) -> Image.Image:
    """`layer` with stripes or spots, `cell` pixels apart, wherever it is exactly of the colour `base`."""
    other = mix(base, (20, 20, 30), 0.4) if sum(base) > 480 else mix(base, (255, 255, 255), 0.55)
    pixels = np.array(layer)
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]] / cell
    if pattern == "striped":
        marked = (x + 0.6 * y) % 1 < 0.45
    else:
        marked = np.hypot((x + 0.5 * (np.floor(y * 1.2) % 2)) % 1 - 0.5, (y * 1.2) % 1 - 0.5) < 0.3
    marked &= (pixels[..., :3] == base).all(-1) & (pixels[..., 3] > 0)
    pixels[marked, :3] = other
    return Image.fromarray(pixels)


def _stand(
    picture: Image.Image,
    thing: str,
    rgb: RGB,
    centre: tuple[float, float],
    scale: float,
    *,
    angle: float,
    light: str,
    pattern: str = "plain",
    shadow: bool = True,
) -> Image.Image:
    """Paints one object with its shadow and its outline onto the picture, in place; returns what it covers.

    `centre` and `scale` are in pixels.
    """
    wide, side = picture.width, 2 * round(1.3 * scale)
    corner = round(centre[0] - side / 2), round(centre[1] - side / 2)
    if shadow and light != "fog":
        shade, pen = blank(wide, "L")
        middle, reach = (centre[0], centre[1] + 1.02 * scale), (0.95 * scale, 0.15 * scale)
        pen.ellipse((middle[0] - reach[0], middle[1] - reach[1], middle[0] + reach[0], middle[1] + reach[1]), fill=75)
        picture.paste((20, 20, 40), mask=shade)
    layer, pen = blank(side, "RGBA")
    inside = centre[0] - corner[0], centre[1] - corner[1]
    PAINTERS[thing](Brush(pen, inside, scale, angle), Tones.of(rgb))
    shape = layer.getchannel("A")
    if pattern != "plain":
        layer = _patterned(layer, rgb, pattern, 0.4 * scale)
    pale = sum(rgb) < 160 or (LIGHTS[light].outline and sum(rgb) < 700)
    grown = shape.filter(ImageFilter.BoxBlur(_OUTLINE * wide)).point([0] * 20 + [255] * 236)
    picture.paste((222, 222, 230) if pale else (46, 42, 58), corner, grown)
    lit = ImageChops.multiply(layer.convert("RGB"), _relief().resize((side, side)))
    picture.paste(_tinted(lit, light), corner, shape)
    whole = Image.new("L", picture.size)
    whole.paste(grown, corner)
    return whole


def _tinted(image: Image.Image, light: str) -> Image.Image:
    """An object in the light of its scene: a quarter of the light's tint, so that its colour can be told."""
    tint = tuple(round(255 * (1 - 0.25 * (1 - t))) for t in LIGHTS[light].tint)
    return ImageChops.multiply(image, Image.new("RGB", image.size, tint))


def draw_with_mask(scene: Scene, size: int = SIZE, companion: bool = False) -> tuple[Image.Image, np.ndarray]:
    """Draws a scene, and says which pixels the object covers.

    Parameters
    ----------
    scene : What to draw.
    size : Height and width, in pixels.
    companion : Whether the mask takes in the companion too.

    Returns
    -------
    The picture (RGB, `size` x `size`), and a bool array (height, width), true where the object covers at least half of
    the pixel.
    """
    key = hashlib.sha256("|".join((*scene.combination, str(scene.seed))).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:8], "little"))
    dx, dy, angle, lift = rng.normal(size=4).clip(-2, 2) * (0.012, 0.012, 0.04, 0.006)
    scale = rng.uniform(0.255, 0.305)
    r, g, b = (int(v) for v in (np.array(COLOURS[scene.colour]) + rng.integers(-6, 7)).clip(0, 255))

    wide = size * _SUPERSAMPLE
    picture, pen = blank(wide)
    GROUNDS[scene.background](Ground(Brush(pen, (0.0, 0.0), wide), scene.light, float(lift)))
    centre = ((_X[scene.position] + dx) * wide, (0.56 + dy) * wide)
    shape = _stand(
        picture,
        scene.object,
        (r, g, b),
        centre,
        scale * wide,
        angle=float(angle),
        light=scene.light,
        pattern=scene.pattern,
    )
    if scene.relation:
        colour, thing = scene.companion.split()
        above = scene.relation == "below"
        spot = (_COMPANION_X[scene.position] - dx) * wide, (0.17 if above else 0.8) * wide
        over = _stand(
            picture, thing, COLOURS[colour], spot, 0.13 * wide, angle=-float(angle), light=scene.light, shadow=not above
        )
        shape = ImageChops.lighter(shape, over) if companion else ImageChops.subtract(shape, over)
    mask = np.asarray(shape.resize((size, size), Image.Resampling.BOX)) >= 128
    return picture.resize((size, size), Image.Resampling.BOX), mask


def draw(scene: Scene, size: int = SIZE) -> Image.Image:
    """Draws a scene as an RGB picture of `size` x `size` pixels; the same scene gives the same pixels."""
    return draw_with_mask(scene, size)[0]
