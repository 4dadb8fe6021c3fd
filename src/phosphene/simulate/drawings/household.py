"""Painters of household."""

import itertools
import math

from phosphene.simulate.drawings.brush import CREAM, INK, WOOD, Brush, Tones


def book(b: Brush, c: Tones) -> None:
    """Closed, upright, its pages to the right."""
    b.polygon(c.dark, (-0.72, -0.78), (-0.46, -0.98), (0.92, -0.98), (0.92, 0.72), (0.7, 0.94), (-0.72, 0.94))
    b.polygon(CREAM, (-0.56, -0.8), (-0.4, -0.92), (0.84, -0.92), (0.84, 0.68), (0.64, 0.84), (0.64, -0.8))
    for x in (0.7, 0.77):
        b.stroke((196, 184, 158), 0.03, (x, -0.84), (x, 0.76))
    b.box(c.base, -0.76, -0.78, 0.62, 0.94)
    b.box(c.dark, -0.76, -0.78, -0.5, 0.94)
    b.box(CREAM, -0.28, -0.5, 0.42, -0.02)
    b.box(c.dark, -0.16, -0.38, 0.3, -0.28)
    b.box(c.dark, -0.16, -0.2, 0.3, -0.12)
    b.oval(c.light, 0.07, 0.46, 0.2)


def cake(b: Brush, c: Tones) -> None:
    """Two tiers and three candles."""
    b.oval((226, 228, 236), 0, 0.82, 1.04, 0.16)
    for x in (-0.28, 0, 0.28):
        b.box((250, 250, 250), x - 0.06, -0.78, x + 0.06, -0.4)
        b.oval((255, 180, 50), x, -0.88, 0.09, 0.13)
    b.box(c.base, -0.86, 0.1, 0.86, 0.8)
    b.box(c.base, -0.54, -0.4, 0.54, 0.16)
    for tier, top, half in (((-0.54, 0.27, 5), -0.4, 0.14), ((-0.86, 0.344, 6), 0.1, 0.17)):
        left, gap, n = tier
        b.box(CREAM, left, top, -left, top + 0.12)
        for i in range(int(n)):
            b.oval(CREAM, left + gap * i, top + 0.12, half, 0.12)
    b.box(c.dark, -0.86, 0.6, 0.86, 0.72)


def chair(b: Brush, c: Tones) -> None:
    """A wooden chair, from the side and a little in front."""
    for x in (-0.46, 0.62):
        b.stroke(c.dark, 0.16, (x + 0.1, 0.2), (x + 0.1, 0.82))
    b.stroke(c.base, 0.2, (-0.6, -0.96), (-0.56, 0.94))
    b.stroke(c.base, 0.2, (0.1, -0.96), (0.06, 0.1))
    b.box(c.base, -0.6, -0.98, 0.1, -0.66)
    b.box(c.light, -0.58, -0.46, 0.08, -0.22)
    b.polygon(c.base, (-0.66, 0.16), (-0.4, -0.02), (0.76, -0.02), (0.62, 0.28), (-0.66, 0.28))
    b.polygon(c.light, (-0.5, 0.12), (-0.34, 0.04), (0.62, 0.04), (0.54, 0.14))
    b.stroke(c.base, 0.2, (0.52, 0.26), (0.52, 0.94))
    b.stroke(c.base, 0.2, (-0.56, 0.26), (-0.56, 0.94))


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


def guitar(b: Brush, c: Tones) -> None:
    """Upright."""
    b.box(WOOD, -0.11, -0.86, 0.11, 0.1)
    b.polygon((84, 52, 32), (-0.18, -0.74), (0.18, -0.74), (0.24, -1.06), (-0.24, -1.06))
    for side in (-1, 1):
        for y in (-0.98, -0.82):
            b.oval((232, 226, 206), side * 0.26, y, 0.07)
    b.oval(c.base, 0, 0.1, 0.48, 0.38)
    b.oval(c.base, 0, 0.56, 0.66, 0.46)
    b.box(c.base, -0.42, 0.12, 0.42, 0.5)
    b.oval(c.light, -0.36, 0.66, 0.15, 0.22, 0.4)
    b.oval((50, 34, 26), 0, 0.3, 0.2)
    b.box((84, 52, 32), -0.26, 0.68, 0.26, 0.8)
    b.stroke((236, 232, 220), 0.05, (0, -0.8), (0, 0.72))


def hat(b: Brush, c: Tones) -> None:
    """A top hat."""
    b.box(c.base, -0.58, -0.86, 0.58, 0.6)
    b.oval(c.base, 0, 0.58, 1.06, 0.26)
    b.oval(c.dark, 0, 0.52, 0.62, 0.14)
    b.box(c.base, -0.58, -0.2, 0.58, 0.5)
    b.sector(c.base, 0, 0.46, 0.58, 0.14, 0, math.pi)
    b.oval(c.light, 0, -0.84, 0.58, 0.16)
    ribbon = (222, 54, 64) if c.base[0] < 180 else (60, 50, 76)
    b.box(ribbon, -0.58, 0.08, 0.58, 0.38)
    b.sector(ribbon, 0, 0.36, 0.58, 0.14, 0, math.pi)
    b.box(c.light, -0.44, -0.62, -0.3, 0.0)


def key(b: Brush, c: Tones) -> None:
    """Upright, its bow on top."""
    b.box(c.base, -0.15, -0.2, 0.15, 1.0)
    b.box(c.base, 0.1, 0.74, 0.56, 0.98)
    b.box(c.base, 0.1, 0.38, 0.46, 0.6)
    b.oval(c.base, 0, -0.52, 0.56, 0.52)
    b.oval((60, 56, 70), 0, -0.54, 0.27, 0.24)
    b.oval(c.dark, 0, 0.02, 0.27, 0.1)
    b.oval(c.light, -0.36, -0.72, 0.13, 0.2, 0.7)


def lamp(b: Brush, c: Tones) -> None:
    """A table lamp."""
    glow = (255, 238, 160)
    b.polygon(glow, (-0.7, 0.0), (0.7, 0.0), (0.96, 0.4), (-0.96, 0.4))
    b.box(WOOD, -0.1, 0.0, 0.1, 0.76)
    b.oval(c.dark, 0, 0.56, 0.24, 0.22)
    b.oval(c.dark, 0, 0.86, 0.56, 0.14)
    b.polygon(c.base, (-0.42, -0.96), (0.42, -0.96), (0.92, 0.1), (-0.92, 0.1))
    b.polygon(c.light, (-0.14, -0.96), (0.14, -0.96), (0.3, 0.1), (-0.3, 0.1))
    b.box(c.dark, -0.9, 0.02, 0.9, 0.12)


def shirt(b: Brush, c: Tones) -> None:
    """A T-shirt."""
    for side in (-1, 1):
        b.polygon(c.dark, (side * 0.5, -0.78), (side * 1.1, -0.28), (side * 0.8, 0.1), (side * 0.44, -0.2))
    b.polygon(
        c.base,
        (-0.6, -0.8),
        (-0.26, -0.88),
        (0.26, -0.88),
        (0.6, -0.8),
        (0.64, 0.0),
        (0.62, 0.92),
        (-0.62, 0.92),
        (-0.64, 0.0),
    )
    b.sector(c.dark, 0, -0.88, 0.32, 0.32, 0, math.pi)
    b.sector((70, 62, 76), 0, -0.88, 0.22, 0.2, 0, math.pi)
    b.box(c.light, 0.14, -0.3, 0.42, 0.02)


def shoe(b: Brush, c: Tones) -> None:
    """A trainer, its toe to the right."""
    b.polygon(c.base, (-0.94, -0.62), (-0.2, -0.7), (0.08, -0.26), (0.6, 0.04), (0.98, 0.2), (1.06, 0.5), (-0.98, 0.5))
    b.oval(c.base, 0.78, 0.36, 0.3, 0.24)
    b.oval(c.dark, -0.56, -0.64, 0.38, 0.12, -0.1)
    b.polygon(c.dark, (-0.96, -0.5), (-0.66, -0.44), (-0.62, 0.5), (-0.98, 0.5))
    b.box((250, 250, 246), -1.04, 0.46, 1.1, 0.76)
    b.box((170, 172, 180), -1.04, 0.68, 1.1, 0.78)
    for x, y in ((-0.14, -0.44), (0.06, -0.22), (0.3, -0.06)):
        b.stroke((250, 250, 246), 0.11, (x, y), (x - 0.22, y + 0.22))
    b.oval(c.light, 0.72, 0.22, 0.2, 0.1, 0.3)


def teapot(b: Brush, c: Tones) -> None:
    """Spout to the left, handle to the right."""
    b.arc(c.dark, 0.2, 0.66, 0.2, 0.38, -math.pi / 2, math.pi / 2)
    b.polygon(c.dark, (-0.5, 0.5), (-0.62, 0.12), (-0.98, -0.4), (-1.12, -0.28), (-0.86, 0.3), (-0.5, 0.66))
    b.oval(c.base, 0, 0.24, 0.72, 0.62)
    b.oval(c.dark, 0, 0.86, 0.4, 0.1)
    b.sector(c.light, 0, -0.3, 0.46, 0.3, math.pi, 2 * math.pi)
    b.box(c.dark, -0.5, -0.34, 0.5, -0.22)
    b.oval(c.dark, 0, -0.68, 0.14)
    b.oval(c.light, -0.34, 0.06, 0.13, 0.26, 0.4)


def umbrella(b: Brush, c: Tones) -> None:
    b.stroke(WOOD, 0.15, (0, -0.95), (0, 0.72))
    b.arc(WOOD, 0.15, 0.2, 0.72, 0.2, 0, math.pi)
    edges = (-1.06, -0.36, 0.36, 1.06)
    b.sector(c.base, 0, 0.1, 1.06, 0.98, math.pi, 2 * math.pi)
    b.sector(c.light, 0, 0.1, 0.36, 0.98, math.pi, 2 * math.pi)
    for left, right in itertools.pairwise(edges):
        shade = c.light if left == -0.36 else c.base
        b.sector(shade, (left + right) / 2, 0.1, (right - left) / 2, 0.13, 0, math.pi)
