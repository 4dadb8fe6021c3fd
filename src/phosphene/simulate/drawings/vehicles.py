"""Painters of vehicles."""

import math

from phosphene.simulate.drawings.brush import AMBER, GLASS, INK, WOOD, Brush, Tones


def airplane(b: Brush, c: Tones) -> None:
    """Seen from above, nose up."""
    b.polygon(c.dark, (0, -0.28), (1.05, 0.3), (1.05, 0.52), (0, 0.22), (-1.05, 0.52), (-1.05, 0.3))
    b.polygon(c.dark, (0, 0.5), (0.46, 0.82), (0.46, 1.0), (0, 0.86), (-0.46, 1.0), (-0.46, 0.82))
    for side in (-1, 1):
        b.oval(c.light, side * 0.52, 0.1, 0.11, 0.2)
    b.oval(c.base, 0, 0.0, 0.22, 1.0)
    b.polygon(GLASS, (-0.14, -0.56), (-0.09, -0.74), (0.09, -0.74), (0.14, -0.56))


def balloon(b: Brush, c: Tones) -> None:
    """A hot-air balloon."""
    for x in (-0.2, 0.2):
        b.stroke(WOOD, 0.1, (2 * x, 0.2), (x, 0.7))
    b.box((176, 122, 70), -0.27, 0.62, 0.27, 0.98)
    b.box((130, 84, 48), -0.27, 0.62, 0.27, 0.72)
    b.polygon(c.base, (-0.72, 0.0), (0.72, 0.0), (0.26, 0.5), (-0.26, 0.5))
    b.oval(c.base, 0, -0.26, 0.8, 0.74)
    b.oval(c.light, 0, -0.26, 0.34, 0.74)
    b.polygon(c.light, (-0.32, 0.0), (0.32, 0.0), (0.12, 0.5), (-0.12, 0.5))
    for side in (-1, 1):
        b.oval(c.dark, side * 0.68, -0.22, 0.1, 0.44, side * -0.1)


def bicycle(b: Brush, c: Tones) -> None:
    """From the side."""
    for x in (-0.62, 0.62):
        b.oval(INK, x, 0.42, 0.48)
        b.oval(c.light, x, 0.42, 0.34)
        b.oval(INK, x, 0.42, 0.1)
    frame = ((-0.62, 0.42), (-0.28, -0.24), (0.4, -0.24), (0.0, 0.42), (-0.62, 0.42))
    b.stroke(c.base, 0.17, *frame)
    b.stroke(c.base, 0.17, (-0.36, -0.46), (-0.28, -0.24), (0.0, 0.42))
    b.stroke(c.base, 0.17, (0.62, 0.42), (0.32, -0.56))
    b.stroke(INK, 0.16, (-0.56, -0.5), (-0.18, -0.5))
    b.stroke(INK, 0.14, (0.32, -0.58), (0.6, -0.66), (0.66, -0.5))


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
    b.polygon((250, 140, 40), (-0.26, 0.6), (0.26, 0.6), (0, 1.08))
    b.polygon((255, 226, 110), (-0.14, 0.6), (0.14, 0.6), (0, 0.86))
    for side in (-1, 1):
        b.polygon(c.dark, (side * 0.3, 0.06), (side * 0.78, 0.5), (side * 0.72, 0.84), (side * 0.28, 0.56))
    b.oval(c.base, 0, -0.1, 0.42, 0.92)
    b.box(c.base, -0.34, 0.3, 0.34, 0.64)
    b.sector(c.dark, 0, -0.44, 0.36, 0.58, math.pi + 0.2, 2 * math.pi - 0.2)
    b.oval((240, 240, 240), 0, -0.16, 0.24)
    b.oval(GLASS, 0, -0.16, 0.17)
    b.box(c.dark, -0.34, 0.5, 0.34, 0.64)
    b.box(c.light, -0.08, 0.16, 0.08, 0.5)


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
