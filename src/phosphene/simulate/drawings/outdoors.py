"""Painters of plants, fruit, buildings and toys."""

import math

from phosphene.simulate.drawings.brush import AMBER, CREAM, GLASS, INK, LEAF, WOOD, Brush, Point, Tones, mix


def apple(b: Brush, c: Tones) -> None:
    b.stroke(WOOD, 0.16, (0.02, -0.5), (0.12, -0.9))
    b.oval(LEAF, 0.44, -0.8, 0.36, 0.17, -0.35)
    for side in (-1, 1):
        b.oval(c.base, side * 0.36, 0.12, 0.6, 0.72)
        b.oval(c.base, side * 0.24, 0.6, 0.36, 0.38)
    b.oval(c.light, -0.5, -0.12, 0.15, 0.26, 0.4)


def ball(b: Brush, c: Tones) -> None:
    """A beach ball, its panels meeting at the upper left."""
    b.oval(c.base, 0, 0.06, 0.96)
    white = (252, 250, 244) if sum(c.base) < 690 else (186, 198, 216)
    for start in (0.4, 2.5, 4.6):
        rim = [(0.96 * math.cos(start + 0.8 * i / 8), 0.06 + 0.96 * math.sin(start + 0.8 * i / 8)) for i in range(9)]
        b.polygon(white, (-0.22, -0.2), *rim)
    b.oval(c.dark, -0.22, -0.2, 0.15)
    b.oval(c.light, -0.52, -0.52, 0.16, 0.1, -0.7)


def banana(b: Brush, c: Tones) -> None:
    steps = [math.pi * (0.06 + 0.84 * i / 16) for i in range(17)]
    outer = [(0.16 + 1.02 * math.cos(a), -0.36 + 1.16 * math.sin(a)) for a in steps]
    inner = [(0.12 + 0.92 * math.cos(a), -0.5 + 0.62 * math.sin(a)) for a in reversed(steps)]
    b.polygon(c.base, *outer, *inner)
    middle = [(0.14 + 0.98 * math.cos(a), -0.4 + 0.92 * math.sin(a)) for a in reversed(steps)]
    b.polygon(c.dark, *outer, *middle)
    b.stroke(WOOD, 0.22, (1.02, -0.3), (0.98, -0.62))
    b.oval(WOOD, -0.82, -0.1, 0.13)


def cactus(b: Brush, c: Tones) -> None:
    b.stroke(c.base, 0.5, (0, -0.68), (0, 0.5))
    b.stroke(c.base, 0.3, (0, 0.2), (-0.62, 0.2), (-0.62, -0.3))
    b.stroke(c.base, 0.3, (0, 0.02), (0.62, 0.02), (0.62, -0.5))
    for x in (-0.12, 0.12):
        b.stroke(c.dark, 0.07, (x, -0.66), (x, 0.4))
    for x, y in ((-0.62, -0.1), (0.62, -0.3)):
        b.stroke(c.dark, 0.07, (x, y - 0.14), (x, y + 0.2))
    b.oval((250, 120, 160), 0, -0.92, 0.17, 0.13)
    b.polygon((184, 96, 58), (-0.52, 0.42), (0.52, 0.42), (0.38, 0.98), (-0.38, 0.98))
    b.box((206, 116, 74), -0.58, 0.4, 0.58, 0.58)


def crown(b: Brush, c: Tones) -> None:
    b.polygon(c.base, (-0.8, 0.6), (-1.04, -0.5), (-0.5, 0.06), (0, -0.8), (0.5, 0.06), (1.04, -0.5), (0.8, 0.6))
    b.box(c.dark, -0.84, 0.52, 0.84, 0.84)
    for x, y in ((-1.0, -0.56), (0, -0.86), (1.0, -0.56)):
        b.oval(c.light, x, y, 0.16)
    for x, gem in ((-0.5, (232, 60, 90)), (0, (70, 200, 240)), (0.5, (90, 210, 110))):
        b.oval(gem, x, 0.68, 0.13, 0.11)
    b.oval(c.light, 0, 0.1, 0.17, 0.22)


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


def kite(b: Brush, c: Tones) -> None:
    """With a tail of bows."""
    b.stroke(INK, 0.08, (0.14, 0.44), (-0.1, 0.7), (0.26, 0.84), (0.62, 0.98))
    for x, y in ((-0.06, 0.68), (0.36, 0.88)):
        b.polygon(c.dark, (x, y), (x - 0.2, y - 0.14), (x - 0.2, y + 0.14))
        b.polygon(c.dark, (x, y), (x + 0.2, y - 0.14), (x + 0.2, y + 0.14))
    b.polygon(c.base, (-0.2, -1.02), (0.72, -0.5), (0.14, 0.52), (-0.86, -0.22))
    b.polygon(c.light, (-0.2, -1.02), (-0.06, -0.36), (-0.86, -0.22))
    b.polygon(c.light, (0.72, -0.5), (-0.06, -0.36), (0.14, 0.52))
    b.stroke(INK, 0.06, (-0.2, -1.0), (0.14, 0.5))
    b.stroke(INK, 0.06, (-0.84, -0.22), (0.7, -0.5))


def mushroom(b: Brush, c: Tones) -> None:
    b.polygon(CREAM, (-0.28, 0.0), (0.28, 0.0), (0.4, 0.9), (-0.4, 0.9))
    b.oval(CREAM, 0, 0.88, 0.4, 0.12)
    b.oval(mix(CREAM, INK, 0.25), 0, 0.1, 0.5, 0.16)
    b.sector(c.base, 0, 0.1, 1.0, 1.05, math.pi, 2 * math.pi)
    spots = mix(c.light, (255, 255, 255), 0.7) if sum(c.base) < 690 else (176, 190, 214)
    for x, y, r in ((0, -0.56, 0.21), (-0.54, -0.2, 0.17), (0.54, -0.2, 0.17)):
        b.oval(spots, x, y, r, r * 0.85)


def robot(b: Brush, c: Tones) -> None:
    grey = (150, 156, 168)
    b.stroke(grey, 0.1, (0, -0.74), (0, -0.94))
    b.oval((240, 80, 70), 0, -0.96, 0.12)
    for side in (-1, 1):
        b.stroke(grey, 0.18, (side * 0.56, 0.08), (side * 0.84, 0.26), (side * 0.84, 0.48))
        b.oval(c.dark, side * 0.84, 0.54, 0.16)
        b.box(grey, side * 0.28 - 0.11, 0.6, side * 0.28 + 0.11, 0.86)
        b.box(c.dark, side * 0.3 - 0.2, 0.82, side * 0.3 + 0.2, 0.98)
        b.box(grey, side * 0.6 - 0.09, -0.54, side * 0.6 + 0.09, -0.3)
    b.box(c.base, -0.54, -0.74, 0.54, -0.1)
    b.box(c.base, -0.6, -0.02, 0.6, 0.68)
    b.box(GLASS, -0.42, -0.62, 0.42, -0.3)
    for side in (-1, 1):
        b.oval(INK, side * 0.2, -0.46, 0.11)
    b.box(INK, -0.24, -0.24, 0.24, -0.16)
    b.box(c.light, -0.4, 0.12, 0.4, 0.52)
    for x, tone in ((-0.22, (232, 70, 80)), (0.0, AMBER), (0.22, (80, 190, 100))):
        b.oval(tone, x, 0.32, 0.09)


def star(b: Brush, c: Tones) -> None:
    def points(r: float, inner: float) -> list[Point]:
        turns = [(math.pi * i / 5 - math.pi / 2, r if i % 2 == 0 else inner) for i in range(10)]
        return [(q * math.cos(a), 0.08 + q * math.sin(a)) for a, q in turns]

    b.polygon(c.base, *points(1.08, 0.5))
    b.polygon(c.light, *points(0.6, 0.28))


def tent(b: Brush, c: Tones) -> None:
    b.polygon(c.dark, (0, -0.84), (0.5, -0.72), (1.1, 0.84), (0.6, 0.9))
    b.polygon(c.base, (0, -0.84), (0.86, 0.9), (-0.96, 0.9))
    b.polygon(INK, (0, -0.3), (0.36, 0.9), (-0.4, 0.9))
    b.polygon(c.light, (0, -0.3), (-0.62, 0.9), (-0.2, 0.9))
    b.polygon(c.light, (0, -0.3), (0.58, 0.9), (0.24, 0.9))
    b.stroke(WOOD, 0.1, (0, -0.7), (0, -1.0))
    b.polygon((250, 214, 80), (0, -1.0), (0.3, -0.92), (0, -0.84))


def tree(b: Brush, c: Tones) -> None:
    b.polygon(WOOD, (-0.15, 0.1), (0.15, 0.1), (0.26, 0.98), (-0.26, 0.98))
    for x, y, r in ((-0.44, 0.0, 0.42), (0.44, 0.0, 0.42), (-0.3, -0.46, 0.4), (0.3, -0.46, 0.4), (0, -0.62, 0.38)):
        b.oval(c.base, x, y, r)
    b.oval(c.base, 0, -0.1, 0.5)
    b.oval(c.light, -0.26, -0.46, 0.22)
    b.oval(c.dark, 0.4, 0.08, 0.2)
    b.oval(c.dark, -0.3, 0.12, 0.13)
