"""Painters of vehicles."""

import math

from phosphene.simulate.drawings.brush import AMBER, GLASS, INK, WOOD, Brush, Tones


def airplane(b: Brush, c: Tones) -> None:
    """Seen from above, nose up."""
    b.polygon(c.base, (0, -0.42), (1.1, 0.24), (1.1, 0.56), (0, 0.34), (-1.1, 0.56), (-1.1, 0.24))
    b.polygon(c.base, (0, 0.44), (0.56, 0.76), (0.56, 1.04), (0, 0.9), (-0.56, 1.04), (-0.56, 0.76))
    for side in (-1, 1):
        b.oval(c.dark, side * 0.6, 0.06, 0.13, 0.24)
        b.polygon(c.dark, (side * 0.2, 0.24), (side * 1.1, 0.42), (side * 1.1, 0.56), (side * 0.2, 0.38))
    b.oval(c.dark, 0, 0.0, 0.36, 1.04)
    b.oval(c.base, 0, -0.02, 0.27, 1.02)
    b.polygon(GLASS, (-0.2, -0.52), (-0.13, -0.76), (0.13, -0.76), (0.2, -0.52))
    b.oval(c.light, 0, 0.2, 0.11, 0.44)


def balloon(b: Brush, c: Tones) -> None:
    """A hot-air balloon."""
    stripe = c.light if sum(c.base) < 690 else c.dark
    for side in (-1, 1):
        b.stroke(WOOD, 0.1, (side * 0.34, 0.3), (side * 0.22, 0.76))
    b.box((176, 122, 70), -0.3, 0.68, 0.3, 1.06)
    b.box((130, 84, 48), -0.34, 0.66, 0.34, 0.78)
    for tone, r in ((c.base, 0.86), (stripe, 0.54), (c.base, 0.24)):
        b.oval(tone, 0, -0.32, r, 0.76)
        b.polygon(tone, (-0.94 * r, -0.06), (0.94 * r, -0.06), (0.42 * r, 0.52), (-0.42 * r, 0.52))
    b.box(c.dark, -0.38, 0.42, 0.38, 0.54)


def bicycle(b: Brush, c: Tones) -> None:
    """From the side."""
    for x in (-0.62, 0.62):
        b.oval(INK, x, 0.42, 0.49)
        b.oval(c.light if sum(c.base) < 690 else c.dark, x, 0.42, 0.34)
        b.oval(INK, x, 0.42, 0.12)
    b.stroke(c.base, 0.18, (-0.62, 0.42), (-0.28, -0.24), (0.4, -0.24), (0.0, 0.42), (-0.62, 0.42))
    b.stroke(c.base, 0.18, (-0.36, -0.46), (-0.28, -0.24), (0.0, 0.42))
    b.stroke(c.base, 0.18, (0.62, 0.42), (0.32, -0.56))
    b.stroke(INK, 0.18, (-0.58, -0.52), (-0.18, -0.52))
    b.stroke(INK, 0.15, (0.3, -0.6), (0.62, -0.68), (0.7, -0.5))


def boat(b: Brush, c: Tones) -> None:
    b.stroke(WOOD, 0.11, (-0.02, -0.95), (-0.02, 0.5))
    b.polygon((250, 248, 240), (0.08, -0.88), (0.9, 0.3), (0.08, 0.3))
    b.polygon(c.light, (-0.12, -0.72), (-0.8, 0.3), (-0.12, 0.3))
    b.polygon(c.base, (-1.1, 0.42), (1.1, 0.42), (0.72, 0.98), (-0.72, 0.98))
    b.polygon(c.dark, (-0.86, 0.78), (0.86, 0.78), (0.72, 0.98), (-0.72, 0.98))


def bus(b: Brush, c: Tones) -> None:
    """From the side, front to the right."""
    b.box(c.base, -1.08, -0.66, 1.0, 0.6)
    b.oval(c.base, 0.92, -0.5, 0.18)
    b.box(c.base, 0.9, -0.5, 1.1, 0.6)
    for x in (-0.94, -0.52, -0.1):
        b.box(GLASS, x, -0.44, x + 0.32, -0.06)
    b.box(GLASS, 0.74, -0.44, 1.1, 0.04)
    b.box(c.dark, 0.34, -0.44, 0.62, 0.56)
    b.box(GLASS, 0.39, -0.38, 0.57, 0.1)
    b.box(c.light, -1.08, 0.12, 0.34, 0.26)
    b.box(c.dark, -1.08, 0.46, 1.1, 0.62)
    b.oval(AMBER, 1.0, 0.3, 0.09)
    for x in (-0.62, 0.66):
        b.oval(INK, x, 0.6, 0.28)
        b.oval((205, 208, 214), x, 0.6, 0.12)


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


def rocket(b: Brush, c: Tones) -> None:
    """Upright, in flight."""
    b.polygon((250, 130, 36), (-0.34, 0.5), (0.34, 0.5), (0.2, 0.86), (0, 1.12), (-0.2, 0.86))
    b.polygon((255, 226, 110), (-0.18, 0.5), (0.18, 0.5), (0, 0.92))
    for side in (-1, 1):
        b.polygon(c.dark, (side * 0.3, -0.06), (side * 0.84, 0.42), (side * 0.8, 0.84), (side * 0.28, 0.5))
    half = [(0.0, -1.1), (0.2, -0.86), (0.36, -0.54), (0.44, -0.14), (0.42, 0.24), (0.32, 0.6)]
    b.polygon(c.base, *half, *((-x, y) for x, y in reversed(half)))
    b.polygon(c.dark, *half[:3], *((-x, y) for x, y in reversed(half[:3])))
    b.box(c.dark, -0.34, 0.46, 0.34, 0.6)
    b.oval((240, 240, 240) if sum(c.base) < 690 else c.dark, 0, -0.16, 0.27)
    b.oval(GLASS, 0, -0.16, 0.18)
    b.box(c.light, -0.08, 0.2, 0.08, 0.46)


def truck(b: Brush, c: Tones) -> None:
    """A lorry, its cab to the right."""
    b.box((92, 94, 104), -1.04, 0.42, 1.06, 0.58)
    b.box(c.base, -1.1, -0.72, 0.4, 0.44)
    for x in (-0.86, -0.4, 0.06):
        b.box(c.dark, x, -0.6, x + 0.12, 0.32)
    b.polygon(c.light, (0.5, -0.4), (0.86, -0.4), (1.1, 0.04), (1.1, 0.5), (0.5, 0.5))
    b.polygon(GLASS, (0.6, -0.28), (0.82, -0.28), (0.99, 0.06), (0.6, 0.06))
    b.oval(AMBER, 1.02, 0.28, 0.09)
    for x in (-0.78, -0.3, 0.74):
        b.oval(INK, x, 0.6, 0.27)
        b.oval((205, 208, 214), x, 0.6, 0.12)
