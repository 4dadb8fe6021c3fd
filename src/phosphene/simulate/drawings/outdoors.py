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
    """A beach ball, its curved panels meeting at the upper left."""
    panel = mix(c.light, (255, 255, 255), 0.75) if sum(c.base) < 690 else (186, 198, 216)

    def seam(turn: float) -> list[Point]:
        """From the meeting point to the rim."""
        x, y, bend = 0.98 * math.cos(turn), 0.98 * math.sin(turn), 0.22
        return [
            (x * t + (t - 1) * 0.24 - bend * y * t * (1 - t) * 2, y * t + (t - 1) * 0.24 + bend * x * t * (1 - t) * 2)
            for t in (i / 10 for i in range(11))
        ]

    b.oval(c.base, 0, 0, 0.98)
    for start in (0.3, 2.4, 4.5):
        rim = [(0.98 * math.cos(start + 0.1 * i), 0.98 * math.sin(start + 0.1 * i)) for i in range(9)]
        b.polygon(panel, *seam(start), *rim, *reversed(seam(start + 0.8)))
    b.oval(c.dark, -0.24, -0.24, 0.17)


def banana(b: Brush, c: Tones) -> None:
    """Two on one stem."""

    def curve(bend: Point, tip: Point) -> list[Point]:
        ways = [((1 - t) ** 2, 2 * t * (1 - t), t * t) for t in (i / 16 for i in range(17))]
        return [(0.42 * p + bend[0] * q + tip[0] * r, -0.72 * p + bend[1] * q + tip[1] * r) for p, q, r in ways]

    b.stroke(WOOD, 0.26, (0.44, -0.66), (0.5, -0.94))
    for tip, outer, edge, inner in (
        ((0.1, 0.98), (-2.2, 0.5), (-1.8, 0.4), (-0.6, 0.2)),
        ((1.0, 0.66), (-1.24, 1.04), (-0.86, 0.82), (0.14, 0.04)),
    ):
        b.polygon(c.base, *curve(outer, tip), *reversed(curve(inner, tip)))
        b.polygon(c.dark, *curve(outer, tip), *reversed(curve(edge, tip)))
        b.oval(WOOD, *tip, 0.12)


def cactus(b: Brush, c: Tones) -> None:
    mark = c.light if sum(c.base) < 160 else c.dark
    b.stroke(c.base, 0.54, (0, -0.68), (0, 0.5))
    b.stroke(c.base, 0.36, (0, 0.24), (-0.68, 0.24), (-0.68, -0.32))
    b.stroke(c.base, 0.36, (0, 0.04), (0.68, 0.04), (0.68, -0.54))
    for x, y, end in ((-0.12, -0.62, 0.36), (0.12, -0.62, 0.36), (-0.68, -0.3, 0.06), (0.68, -0.5, -0.12)):
        b.stroke(mark, 0.1, (x, y), (x, end))
    for x in (-0.14, 0.14, 0):
        b.oval((250, 110, 156), x, -0.94 - 0.08 * (x == 0), 0.13)
    b.polygon((184, 96, 58), (-0.5, 0.46), (0.5, 0.46), (0.38, 1.04), (-0.38, 1.04))
    b.box((206, 116, 74), -0.56, 0.44, 0.56, 0.62)


def crown(b: Brush, c: Tones) -> None:
    b.polygon(c.base, (-0.84, 0.6), (-0.98, -0.5), (-0.46, 0.0), (0, -0.76), (0.46, 0.0), (0.98, -0.5), (0.84, 0.6))
    b.box(c.dark, -0.86, 0.52, 0.86, 0.86)
    for x, y in ((-0.94, -0.54), (0, -0.84), (0.94, -0.54)):
        b.oval(c.light, x, y, 0.17)
    for x, gem in ((-0.5, (232, 60, 90)), (0, (70, 200, 240)), (0.5, (90, 210, 110))):
        b.oval(gem, x, 0.69, 0.14, 0.12)
    b.polygon(c.light if sum(c.base) < 690 else c.dark, (0, -0.2), (0.18, 0.1), (0, 0.4), (-0.18, 0.1))


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
    b.stroke(INK, 0.1, (0.16, 0.4), (-0.08, 0.68), (0.3, 0.86), (0.8, 0.92))
    for x, y in ((0.0, 0.72), (0.58, 0.9)):
        for side in (-1, 1):
            b.polygon(c.dark, (x, y), (x + side * 0.24, y - 0.18), (x + side * 0.24, y + 0.18))
    b.polygon(c.base, (-0.22, -1.1), (0.86, -0.56), (0.18, 0.5), (-0.98, -0.2))
    b.polygon(c.light, (-0.22, -1.1), (-0.08, -0.38), (-0.98, -0.2))
    b.polygon(c.light, (0.86, -0.56), (-0.08, -0.38), (0.18, 0.5))
    b.stroke(INK, 0.1, (-0.21, -1.04), (-0.08, -0.38), (0.17, 0.44))
    b.stroke(INK, 0.1, (-0.92, -0.21), (-0.08, -0.38), (0.8, -0.55))


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
    b.box(INK, -0.24, -0.25, 0.24, -0.15)
    b.box(c.light, -0.4, 0.12, 0.4, 0.52)
    for x, tone in ((-0.22, (232, 70, 80)), (0.0, AMBER), (0.22, (80, 190, 100))):
        b.oval(tone, x, 0.32, 0.1)


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
