"""Painters of the drawn world: sixteen objects and six backgrounds, in plain vector shapes.

Objects are drawn in a square of coordinates from -1 to 1 (x to the right, y down), which a `Brush` scales, turns and
moves onto its canvas; backgrounds in coordinates from 0 to 1. Nothing here depends on the number of pixels. `scenes`
puts the two together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Point = tuple[float, float]

CREAM: RGB = (255, 243, 214)
INK: RGB = (34, 34, 46)
LEAF: RGB = (70, 160, 70)
WOOD: RGB = (122, 78, 46)
GLASS: RGB = (196, 228, 246)
AMBER: RGB = (250, 186, 60)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """The colour `share` (0 to 1) of the way from `first` to `second`."""
    r, g, b = (round(x + (y - x) * share) for x, y in zip(first, second, strict=True))
    return r, g, b


@dataclass(frozen=True)
class Brush:
    """Draws shapes, given in an object's own coordinates, onto a canvas.

    Parameters
    ----------
    draw : The canvas, in pixels.
    centre : Where the origin of the coordinates lies, in pixels.
    scale : Pixels per unit.
    angle : Turn, in radians, clockwise.
    """

    draw: ImageDraw.ImageDraw
    centre: Point
    scale: float
    angle: float = 0.0

    def _place(self, points: Sequence[Point]) -> list[Point]:
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        cx, cy = self.centre
        return [(cx + x * cos - y * sin, cy + x * sin + y * cos) for x, y in points]

    def polygon(self, fill: RGB, *points: Point) -> None:
        """A filled polygon."""
        self.draw.polygon(self._place(points), fill=fill)

    def oval(self, fill: RGB, x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0) -> None:
        """A filled ellipse with radii `rx`, `ry` (a circle without `ry`), turned by `turn` radians."""
        self.sector(fill, x, y, rx, rx if ry is None else ry, 0.0, 2 * math.pi, turn)

    def sector(
        self, fill: RGB, x: float, y: float, rx: float, ry: float, start: float, stop: float, turn: float = 0.0
    ) -> None:
        """The part of an ellipse between two angles (radians, clockwise from the right), closed by its chord."""
        steps = [start + (stop - start) * i / 36 for i in range(37)]
        flat = [(rx * math.cos(a), ry * math.sin(a)) for a in steps]
        cos, sin = math.cos(turn), math.sin(turn)
        self.polygon(fill, *((x + u * cos - v * sin, y + u * sin + v * cos) for u, v in flat))

    def box(self, fill: RGB, left: float, top: float, right: float, bottom: float) -> None:
        """A filled rectangle."""
        self.polygon(fill, (left, top), (right, top), (right, bottom), (left, bottom))

    def stroke(self, fill: RGB, width: float, *points: Point) -> None:
        """A line of round ends and joints, `width` units thick."""
        placed, half = self._place(points), width * self.scale / 2
        self.draw.line(placed, fill=fill, width=max(1, round(2 * half)))
        for x, y in placed:
            self.draw.ellipse((x - half, y - half, x + half, y + half), fill=fill)

    def arc(self, fill: RGB, width: float, x: float, y: float, r: float, start: float, stop: float) -> None:
        """A stroke along a circle of radius `r`, between two angles in radians."""
        steps = [start + (stop - start) * i / 18 for i in range(19)]
        self.stroke(fill, width, *((x + r * math.cos(a), y + r * math.sin(a)) for a in steps))


@dataclass(frozen=True)
class Tones:
    """A colour with its lighter and darker shade."""

    base: RGB
    light: RGB
    dark: RGB

    @classmethod
    def of(cls, base: RGB) -> Tones:
        """Shades of `base`, in RGB from 0 to 255; those of black are kept apart from it by more light."""
        black = sum(base) < 160
        return cls(base, mix(base, (255, 255, 255), 0.32 if black else 0.42), mix(base, (0, 0, 0), 0.3))


def _eye(b: Brush, x: float, y: float, r: float) -> None:
    b.oval((255, 255, 255), x, y, r)
    b.oval(INK, x, y, r * 0.55)


def airplane(b: Brush, c: Tones) -> None:
    """Seen from above, nose up."""
    b.polygon(c.dark, (0, -0.28), (1.05, 0.3), (1.05, 0.52), (0, 0.22), (-1.05, 0.52), (-1.05, 0.3))
    b.polygon(c.dark, (0, 0.5), (0.46, 0.82), (0.46, 1.0), (0, 0.86), (-0.46, 1.0), (-0.46, 0.82))
    for side in (-1, 1):
        b.oval(c.light, side * 0.52, 0.1, 0.11, 0.2)
    b.oval(c.base, 0, 0.0, 0.22, 1.0)
    b.polygon(GLASS, (-0.14, -0.56), (-0.09, -0.74), (0.09, -0.74), (0.14, -0.56))


def apple(b: Brush, c: Tones) -> None:
    b.stroke(WOOD, 0.16, (0.02, -0.5), (0.12, -0.9))
    b.oval(LEAF, 0.44, -0.8, 0.36, 0.17, -0.35)
    for side in (-1, 1):
        b.oval(c.base, side * 0.36, 0.12, 0.6, 0.72)
        b.oval(c.base, side * 0.24, 0.6, 0.36, 0.38)
    b.oval(c.light, -0.5, -0.12, 0.15, 0.26, 0.4)


def bird(b: Brush, c: Tones) -> None:
    for x in (-0.08, 0.2):
        b.stroke(AMBER, 0.12, (x, 0.6), (x, 0.92), (x - 0.16, 0.95))
    b.polygon(c.dark, (0.4, 0.1), (1.08, -0.28), (1.02, 0.2), (0.5, 0.5))
    b.polygon(AMBER, (-0.72, -0.62), (-1.12, -0.4), (-0.7, -0.3))
    b.oval(c.base, 0.08, 0.2, 0.64, 0.52)
    b.oval(c.base, -0.4, -0.44, 0.42)
    b.oval(c.light, -0.2, 0.32, 0.32, 0.34)
    b.oval(c.dark, 0.3, 0.1, 0.42, 0.25, 0.35)
    _eye(b, -0.5, -0.52, 0.14)


def boat(b: Brush, c: Tones) -> None:
    b.stroke(WOOD, 0.11, (-0.02, -0.95), (-0.02, 0.5))
    b.polygon((250, 248, 240), (0.08, -0.88), (0.9, 0.3), (0.08, 0.3))
    b.polygon(c.light, (-0.12, -0.72), (-0.8, 0.3), (-0.12, 0.3))
    b.polygon(c.base, (-1.1, 0.42), (1.1, 0.42), (0.72, 0.98), (-0.72, 0.98))
    b.polygon(c.dark, (-0.86, 0.78), (0.86, 0.78), (0.72, 0.98), (-0.72, 0.98))


def butterfly(b: Brush, c: Tones) -> None:
    for side in (-1, 1):
        b.stroke(INK, 0.1, (0, -0.5), (side * 0.24, -0.92))
        b.oval(c.base, side * 0.58, -0.3, 0.56, 0.46, side * -0.55)
        b.oval(c.base, side * 0.46, 0.5, 0.44, 0.38, side * 0.65)
        b.oval(c.light, side * 0.64, -0.34, 0.27)
        b.oval(c.dark, side * 0.5, 0.5, 0.19)
    b.oval(INK, 0, 0.06, 0.13, 0.68)


def car(b: Brush, c: Tones) -> None:
    b.polygon(c.base, (-0.64, -0.05), (-0.42, -0.6), (0.3, -0.6), (0.66, -0.05))
    b.polygon(GLASS, (-0.48, -0.08), (-0.34, -0.46), (-0.08, -0.46), (-0.08, -0.08))
    b.polygon(GLASS, (0.06, -0.08), (0.06, -0.46), (0.24, -0.46), (0.47, -0.08))
    b.polygon(c.base, (-1.1, 0.08), (-1.0, -0.1), (0.82, -0.1), (1.1, 0.08), (1.1, 0.5), (-1.1, 0.5))
    b.box(c.dark, -1.1, 0.34, 1.1, 0.5)
    b.oval(AMBER, 1.0, 0.14, 0.1)
    for x in (-0.6, 0.6):
        b.oval(INK, x, 0.46, 0.32)
        b.oval((205, 208, 214), x, 0.46, 0.14)


def cat(b: Brush, c: Tones) -> None:
    b.stroke(c.base, 0.22, (0.3, 0.82), (0.72, 0.8), (0.88, 0.5), (0.8, 0.15))
    b.oval(c.base, 0, 0.5, 0.5, 0.5)
    b.oval(c.light, 0, 0.55, 0.26, 0.36)
    for side in (-1, 1):
        b.oval(c.dark, side * 0.26, 0.92, 0.19, 0.1)
        b.polygon(c.base, (side * 0.58, -1.0), (side * 0.58, -0.25), (side * 0.08, -0.62))
        b.polygon((240, 160, 170), (side * 0.49, -0.8), (side * 0.49, -0.48), (side * 0.26, -0.64))
    b.oval(c.base, 0, -0.3, 0.6, 0.47)
    for side in (-1, 1):
        b.oval((176, 226, 110), side * 0.26, -0.36, 0.15, 0.16)
        b.oval(INK, side * 0.26, -0.36, 0.07, 0.14)
    b.oval(c.light, 0, -0.06, 0.26, 0.16)
    b.polygon((226, 110, 130), (-0.1, -0.17), (0.1, -0.17), (0, -0.05))


def clock(b: Brush, c: Tones) -> None:
    for side in (-1, 1):
        b.stroke(c.dark, 0.18, (side * 0.4, 0.6), (side * 0.62, 0.94))
        b.oval(c.dark, side * 0.5, -0.68, 0.3, 0.2, side * 0.6)
    b.box(c.dark, -0.08, -0.98, 0.08, -0.6)
    b.oval(c.base, 0, 0.08, 0.82)
    b.oval(CREAM, 0, 0.08, 0.58)
    for x, y in ((0, -0.4), (0.48, 0.08), (0, 0.56), (-0.48, 0.08)):
        b.oval(INK, x, y, 0.06)
    b.stroke(INK, 0.1, (0, -0.26), (0, 0.08), (0.28, 0.22))


def cup(b: Brush, c: Tones) -> None:
    b.arc(c.dark, 0.2, 0.56, 0.16, 0.4, -math.pi / 2, math.pi / 2)
    b.polygon(c.base, (-0.76, -0.56), (0.6, -0.56), (0.5, 0.8), (-0.66, 0.8))
    b.oval(c.base, -0.08, 0.8, 0.58, 0.17)
    b.oval(c.light, -0.08, -0.56, 0.68, 0.24)
    b.oval((96, 56, 36), -0.08, -0.54, 0.53, 0.16)
    b.polygon(c.light, (-0.58, -0.18), (-0.42, -0.18), (-0.38, 0.64), (-0.52, 0.64))


def fish(b: Brush, c: Tones) -> None:
    b.polygon(c.dark, (0.5, 0.0), (1.1, -0.58), (1.0, 0.0), (1.1, 0.58))
    b.polygon(c.dark, (-0.3, -0.4), (0.12, -0.86), (0.42, -0.3))
    b.polygon(c.dark, (-0.1, 0.42), (0.26, 0.82), (0.34, 0.3))
    b.oval(c.base, -0.18, 0, 0.86, 0.56)
    b.oval(c.light, -0.22, 0.24, 0.56, 0.24)
    b.sector(c.dark, 0.02, 0.02, 0.26, 0.2, -0.4, math.pi - 0.4, 0.9)
    _eye(b, -0.66, -0.12, 0.17)
    b.stroke(INK, 0.07, (-0.98, 0.16), (-0.76, 0.22))


def flower(b: Brush, c: Tones) -> None:
    b.stroke(LEAF, 0.2, (0, 0.1), (0, 0.95))
    b.oval(LEAF, -0.38, 0.7, 0.36, 0.17, 0.45)
    b.oval(LEAF, 0.38, 0.7, 0.36, 0.17, -0.45)
    for i in range(6):
        a = math.pi * i / 3 + math.pi / 6
        b.oval(c.base if i % 2 else c.light, 0.42 * math.cos(a), -0.3 + 0.42 * math.sin(a), 0.36, 0.28, a)
    b.oval((240, 160, 30), 0, -0.3, 0.26)
    b.oval((120, 70, 30), 0, -0.3, 0.13)


def house(b: Brush, c: Tones) -> None:
    roof = (112, 62, 58)
    b.box(roof, 0.4, -0.94, 0.64, -0.3)
    b.box(c.base, -0.78, -0.2, 0.78, 0.96)
    b.polygon(roof, (-1.05, -0.12), (0, -0.98), (1.05, -0.12))
    b.polygon(c.dark, (-0.22, 0.96), (-0.22, 0.36), (0.22, 0.36), (0.22, 0.96))
    for x in (-0.5, 0.5):
        b.box((255, 230, 130), x - 0.18, 0.08, x + 0.18, 0.44)
        b.box(INK, x - 0.02, 0.08, x + 0.02, 0.44)
        b.box(INK, x - 0.18, 0.24, x + 0.18, 0.28)


def mushroom(b: Brush, c: Tones) -> None:
    b.polygon(CREAM, (-0.28, 0.0), (0.28, 0.0), (0.4, 0.9), (-0.4, 0.9))
    b.oval(CREAM, 0, 0.88, 0.4, 0.12)
    b.oval(mix(CREAM, INK, 0.25), 0, 0.1, 0.5, 0.16)
    b.sector(c.base, 0, 0.1, 1.0, 1.05, math.pi, 2 * math.pi)
    spots = mix(c.light, (255, 255, 255), 0.7) if sum(c.base) < 690 else (176, 190, 214)
    for x, y, r in ((0, -0.56, 0.21), (-0.54, -0.2, 0.17), (0.54, -0.2, 0.17)):
        b.oval(spots, x, y, r, r * 0.85)


def star(b: Brush, c: Tones) -> None:
    def points(r: float, inner: float) -> list[Point]:
        turns = [(math.pi * i / 5 - math.pi / 2, r if i % 2 == 0 else inner) for i in range(10)]
        return [(q * math.cos(a), 0.08 + q * math.sin(a)) for a, q in turns]

    b.polygon(c.base, *points(1.08, 0.5))
    b.polygon(c.light, *points(0.6, 0.28))


def tree(b: Brush, c: Tones) -> None:
    b.polygon(WOOD, (-0.15, 0.1), (0.15, 0.1), (0.26, 0.98), (-0.26, 0.98))
    for x, y, r in ((-0.44, 0.0, 0.42), (0.44, 0.0, 0.42), (-0.3, -0.46, 0.4), (0.3, -0.46, 0.4), (0, -0.62, 0.38)):
        b.oval(c.base, x, y, r)
    b.oval(c.base, 0, -0.1, 0.5)
    b.oval(c.light, -0.26, -0.46, 0.22)
    b.oval(c.dark, 0.4, 0.08, 0.2)
    b.oval(c.dark, -0.3, 0.12, 0.13)


def umbrella(b: Brush, c: Tones) -> None:
    b.stroke(WOOD, 0.15, (0, -0.95), (0, 0.72))
    b.arc(WOOD, 0.15, 0.2, 0.72, 0.2, 0, math.pi)
    edges = (-1.06, -0.36, 0.36, 1.06)
    b.sector(c.base, 0, 0.1, 1.06, 0.98, math.pi, 2 * math.pi)
    b.sector(c.light, 0, 0.1, 0.36, 0.98, math.pi, 2 * math.pi)
    for left, right in itertools.pairwise(edges):
        shade = c.light if left == -0.36 else c.base
        b.sector(shade, (left + right) / 2, 0.1, (right - left) / 2, 0.13, 0, math.pi)


PAINTERS: dict[str, Callable[[Brush, Tones], None]] = {
    painter.__name__: painter
    for painter in (
        airplane, apple, bird, boat, butterfly, car, cat, clock,
        cup, fish, flower, house, mushroom, star, tree, umbrella,
    )
}  # fmt: skip


def _sky(b: Brush, top: RGB, bottom: RGB, horizon: float, bands: int = 12) -> None:
    for i in range(bands):
        b.box(mix(top, bottom, i / (bands - 1)), 0, horizon * i / bands, 1, horizon * (i + 1) / bands + 0.01)


def beach(b: Brush, lift: float) -> None:
    """Sun, sea and sand."""
    horizon = 0.5 + lift
    _sky(b, (120, 192, 240), (206, 234, 250), horizon)
    b.oval((255, 226, 96), 0.14, 0.14, 0.085)
    b.box((44, 128, 190), 0, horizon, 1, horizon + 0.16)
    b.box((92, 176, 214), 0, horizon + 0.11, 1, horizon + 0.16)
    b.box((238, 212, 152), 0, horizon + 0.16, 1, 1)


def city(b: Brush, lift: float) -> None:
    """A street before a row of buildings."""
    horizon = 0.68 + lift
    _sky(b, (176, 194, 214), (220, 226, 232), horizon)
    walls = ((150, 138, 146), (120, 134, 156), (162, 150, 140), (128, 126, 148), (146, 152, 160))
    for i, (wall, top) in enumerate(zip(walls, (0.2, 0.06, 0.3, 0.1, 0.24), strict=True)):
        b.box(wall, 0.2 * i, top + lift, 0.2 * i + 0.19, horizon)
        for row in range(4):
            for column in range(2):
                x, y = 0.2 * i + 0.035 + 0.075 * column, top + lift + 0.05 + 0.13 * row
                b.box((236, 222, 160), x, y, x + 0.045, y + 0.065)
    b.box((186, 186, 190), 0, horizon, 1, horizon + 0.06)
    b.box((92, 94, 104), 0, horizon + 0.06, 1, 1)
    for i in range(4):
        b.box((240, 238, 226), 0.04 + 0.26 * i, 0.9 + lift, 0.18 + 0.26 * i, 0.93 + lift)


def forest(b: Brush, lift: float) -> None:
    """Trunks under a canopy of leaves."""
    horizon = 0.62 + lift
    _sky(b, (116, 172, 122), (178, 214, 158), horizon)
    for x in (0.1, 0.36, 0.64, 0.9):
        b.box((98, 74, 54), x - 0.035, 0.1, x + 0.035, horizon + 0.03)
    for i in range(6):
        b.oval((44, 108, 64), 0.02 + 0.19 * i, 0.06 + lift + 0.04 * (i % 2), 0.15, 0.13)
    b.box((92, 150, 78), 0, horizon, 1, 1)
    b.box((76, 132, 68), 0, 0.84 + lift, 1, 1)


def night(b: Brush, lift: float) -> None:
    """A crescent moon and stars over dark hills."""
    horizon = 0.72 + lift
    _sky(b, (18, 20, 62), (54, 50, 110), horizon)
    b.oval((250, 240, 190), 0.85, 0.15, 0.085)
    b.oval((24, 24, 68), 0.815, 0.13, 0.075)
    for x, y in ((0.08, 0.1), (0.3, 0.2), (0.5, 0.07), (0.67, 0.25), (0.12, 0.38), (0.93, 0.42), (0.4, 0.4)):
        b.oval((250, 246, 220), x, y, 0.014)
    b.box((30, 44, 66), 0, horizon, 1, 1)
    b.oval((30, 44, 66), 0.22, horizon + 0.02, 0.34, 0.09)
    b.oval((30, 44, 66), 0.8, horizon + 0.02, 0.3, 0.06)


def room(b: Brush, lift: float) -> None:
    """A wall with a window and a picture, above a wooden floor."""
    horizon = 0.7 + lift
    b.box((238, 220, 190), 0, 0, 1, horizon)
    b.box((255, 255, 252), 0.05, 0.06, 0.35, 0.36)
    b.box((168, 212, 240), 0.075, 0.085, 0.325, 0.335)
    b.box((255, 255, 252), 0.19, 0.06, 0.21, 0.36)
    b.box((130, 92, 66), 0.7, 0.09, 0.93, 0.29)
    b.box((196, 208, 182), 0.725, 0.115, 0.905, 0.265)
    b.box((250, 244, 232), 0, horizon - 0.035, 1, horizon)
    b.box((176, 128, 90), 0, horizon, 1, 1)
    for y in (0.79, 0.89):
        b.box((152, 106, 72), 0, y + lift, 1, y + lift + 0.012)


def snow(b: Brush, lift: float) -> None:
    """Mountains and firs behind a field of snow."""
    horizon = 0.58 + lift
    _sky(b, (148, 186, 222), (206, 224, 240), horizon)
    for x, top, half in ((0.24, 0.2, 0.34), (0.78, 0.26, 0.32)):
        b.polygon((140, 156, 186), (x - half, horizon), (x, top), (x + half, horizon))
        b.polygon((238, 244, 252), (x - 0.34 * half, top + 0.12), (x, top), (x + 0.34 * half, top + 0.12))
    for x in (0.05, 0.52, 0.95):
        b.polygon((58, 104, 98), (x - 0.06, horizon + 0.02), (x, horizon - 0.2), (x + 0.06, horizon + 0.02))
    b.box((218, 230, 246), 0, horizon, 1, 1)
    b.oval((232, 240, 252), 0.3, 0.95 + lift, 0.6, 0.16)


GROUNDS: dict[str, Callable[[Brush, float], None]] = {
    ground.__name__: ground for ground in (beach, city, forest, night, room, snow)
}


def blank(size: int, mode: str = "RGB") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty square canvas of `size` pixels and its pen."""
    image = Image.new(mode, (size, size))
    return image, ImageDraw.Draw(image)
