"""What every painter draws with: a brush, the shades of a colour, and the colours that things have by nature."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def eye(b: Brush, x: float, y: float, r: float) -> None:
    """A white eye with a dark pupil."""
    b.oval((255, 255, 255), x, y, r)
    b.oval(INK, x, y, r * 0.55)


def blank(size: int, mode: str = "RGB") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty square canvas of `size` pixels and its pen."""
    image = Image.new(mode, (size, size))
    return image, ImageDraw.Draw(image)
