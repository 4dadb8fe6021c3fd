"""Painters of animals."""

import math

from phosphene.simulate.drawings.brush import AMBER, CREAM, INK, RGB, WOOD, Brush, Tones, eye, mix


def _mark(c: Tones) -> RGB:
    """The shade in which markings show on the colour itself."""
    return c.light if sum(c.base) < 160 else c.dark


def bird(b: Brush, c: Tones) -> None:
    for x in (-0.08, 0.2):
        b.stroke(AMBER, 0.12, (x, 0.6), (x, 0.92), (x - 0.16, 0.95))
    b.polygon(c.dark, (0.4, 0.1), (1.08, -0.28), (1.02, 0.2), (0.5, 0.5))
    b.polygon(AMBER, (-0.72, -0.62), (-1.12, -0.4), (-0.7, -0.3))
    b.oval(c.base, 0.08, 0.2, 0.64, 0.52)
    b.oval(c.base, -0.4, -0.44, 0.42)
    b.oval(c.light, -0.2, 0.32, 0.32, 0.34)
    b.oval(c.dark, 0.3, 0.1, 0.42, 0.25, 0.35)
    eye(b, -0.5, -0.52, 0.14)


def butterfly(b: Brush, c: Tones) -> None:
    for side in (-1, 1):
        b.stroke(INK, 0.1, (0, -0.5), (side * 0.24, -0.92))
        b.oval(c.base, side * 0.58, -0.3, 0.56, 0.46, side * -0.55)
        b.oval(c.base, side * 0.46, 0.5, 0.44, 0.38, side * 0.65)
        b.oval(c.light, side * 0.64, -0.34, 0.27)
        b.oval(c.dark, side * 0.5, 0.5, 0.19)
    b.oval(INK, 0, 0.06, 0.13, 0.68)


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


def crab(b: Brush, c: Tones) -> None:
    """Seen from the front, claws up."""
    for side in (-1, 1):
        for x, y in ((1.03, 0.42), (0.96, 0.74), (0.7, 0.94)):
            b.stroke(c.dark, 0.14, (side * 0.4, 0.35), (side * (x - 0.08), y - 0.24), (side * x, y))
        b.stroke(c.base, 0.2, (side * 0.5, 0.2), (side * 0.92, 0.02), (side * 0.86, -0.35))
        claw = ((0.46, -0.5), (0.42, -0.84), (0.56, -1.08), (0.74, -0.6), (0.94, -1.08), (1.1, -0.8), (1.08, -0.5))
        b.oval(c.base, side * 0.77, -0.5, 0.32, 0.26)
        b.polygon(c.base, *((side * x, y) for x, y in claw))
        b.stroke(c.base, 0.14, (side * 0.2, 0.1), (side * 0.2, -0.4))
    b.oval(c.base, 0, 0.3, 0.72, 0.48)
    b.sector(c.light, 0, 0.42, 0.34, 0.22, 0, math.pi)
    for side in (-1, 1):
        eye(b, side * 0.2, -0.42, 0.19)


def dog(b: Brush, c: Tones) -> None:
    """Sitting, seen from the side, nose to the left."""
    b.stroke(c.base, 0.2, (0.5, 0.8), (0.85, 0.62), (1.0, 0.22))
    b.oval(c.base, 0.34, 0.6, 0.48, 0.38)
    b.polygon(c.base, (-0.28, -0.2), (0.36, -0.3), (0.72, 0.5), (0.4, 0.9), (-0.16, 0.7))
    b.stroke(c.base, 0.26, (-0.12, 0.2), (-0.14, 0.86), (-0.26, 0.87))
    b.stroke(c.dark, 0.18, (0.16, 0.9), (0.5, 0.9))
    b.oval(c.base, 0.04, -0.5, 0.46, 0.42)
    b.oval(c.base, -0.5, -0.34, 0.5, 0.25)
    b.oval(INK, -0.94, -0.48, 0.15, 0.13)
    b.oval((238, 110, 130), -0.6, -0.06, 0.11, 0.2)
    b.oval(c.base, -0.5, -0.3, 0.46, 0.2)
    b.oval(_mark(c), 0.36, -0.34, 0.21, 0.48, -0.25)
    b.stroke((220, 50, 60), 0.13, (-0.2, -0.06), (0.12, -0.02))
    eye(b, -0.14, -0.6, 0.13)


def duck(b: Brush, c: Tones) -> None:
    """Afloat, flat bill to the left."""
    b.polygon(c.base, (0.4, 0.1), (1.1, -0.25), (0.98, 0.4), (0.5, 0.7))
    b.sector(c.base, 0.12, 0.12, 0.9, 0.72, 0, math.pi)
    b.oval(c.base, -0.3, 0.18, 0.46, 0.4)
    b.polygon(c.base, (-0.66, -0.3), (-0.12, -0.3), (0.1, 0.2), (-0.7, 0.3))
    b.oval((250, 140, 30), -0.84, -0.36, 0.28, 0.13, -0.1)
    b.polygon((250, 140, 30), (-0.6, -0.64), (-1.0, -0.4), (-0.6, -0.26))
    b.oval(c.base, -0.4, -0.52, 0.42)
    b.sector(_mark(c), 0.32, 0.16, 0.46, 0.4, 0, math.pi)
    b.stroke((90, 180, 240), 0.16, *((-1.0 + 0.2 * i, 0.8 + 0.08 * (i % 2)) for i in range(11)))
    eye(b, -0.5, -0.6, 0.14)


def elephant(b: Brush, c: Tones) -> None:
    """Seen from the side, trunk to the left."""
    b.stroke(c.dark, 0.1, (0.9, -0.2), (1.06, 0.3))
    for x in (-0.05, 0.5):
        b.box(c.dark, x, 0.3, x + 0.26, 0.86)
    for x in (-0.22, 0.7):
        b.box(c.base, x, 0.2, x + 0.3, 0.95)
    b.oval(c.base, 0.36, -0.02, 0.68, 0.56)
    b.oval(c.base, -0.44, -0.3, 0.44, 0.46)
    b.stroke(c.base, 0.28, (-0.7, -0.2), (-0.8, 0.3), (-0.8, 0.62))
    b.stroke(c.base, 0.22, (-0.8, 0.62), (-0.88, 0.8), (-1.0, 0.76))
    b.polygon(CREAM, (-0.62, 0.0), (-0.4, 0.08), (-0.58, 0.44))
    b.oval(c.dark, 0.06, -0.32, 0.42, 0.5, 0.1)
    b.oval(c.light, 0.08, -0.32, 0.28, 0.36, 0.1)
    eye(b, -0.58, -0.36, 0.12)


def fish(b: Brush, c: Tones) -> None:
    b.polygon(c.dark, (0.5, 0.0), (1.1, -0.58), (1.0, 0.0), (1.1, 0.58))
    b.polygon(c.dark, (-0.3, -0.4), (0.12, -0.86), (0.42, -0.3))
    b.polygon(c.dark, (-0.1, 0.42), (0.26, 0.82), (0.34, 0.3))
    b.oval(c.base, -0.18, 0, 0.86, 0.56)
    b.oval(c.light, -0.22, 0.24, 0.56, 0.24)
    b.sector(c.dark, 0.02, 0.02, 0.26, 0.2, -0.4, math.pi - 0.4, 0.9)
    eye(b, -0.66, -0.12, 0.17)
    b.stroke(INK, 0.07, (-0.98, 0.16), (-0.76, 0.22))


def frog(b: Brush, c: Tones) -> None:
    """Seen from the front, squatting."""
    for side in (-1, 1):
        b.oval(c.dark, side * 0.7, 0.5, 0.4, 0.34, side * 0.5)
        b.oval(c.base, side * 0.72, 0.86, 0.36, 0.12)
        b.oval(c.base, side * 0.46, -0.56, 0.34)
    b.oval(c.base, 0, 0.46, 0.6, 0.5)
    b.oval(c.base, 0, -0.12, 0.88, 0.5)
    b.oval(c.light, 0, 0.62, 0.36, 0.3)
    b.sector(INK, 0, -0.02, 0.66, 0.3, 0, math.pi)
    b.sector((232, 90, 110), 0, 0.05, 0.4, 0.16, 0, math.pi)
    for side in (-1, 1):
        b.oval(c.base, side * 0.26, 0.9, 0.16, 0.14)
        eye(b, side * 0.46, -0.6, 0.23)


def giraffe(b: Brush, c: Tones) -> None:
    """Seen from the side, looking to the left."""
    b.stroke(_mark(c), 0.1, (0.74, 0.3), (0.88, 0.66))
    for x in (-0.12, 0.46):
        b.stroke(c.dark, 0.16, (x + 0.16, 0.5), (x + 0.16, 0.94))
        b.stroke(c.base, 0.19, (x, 0.5), (x, 0.99))
    b.oval(c.base, 0.26, 0.38, 0.58, 0.31)
    b.polygon(c.base, (-0.5, -0.8), (-0.12, -0.8), (0.22, 0.2), (-0.3, 0.5))
    for x in (-0.38, -0.16):
        b.stroke(_mark(c), 0.1, (x, -0.8), (x + 0.02, -1.05))
    b.oval(_mark(c), 0.06, -0.8, 0.2, 0.1, -0.3)
    b.oval(c.base, -0.42, -0.72, 0.4, 0.2, -0.25)
    b.oval(c.light, -0.72, -0.62, 0.17, 0.15)
    for x, y in ((-0.27, -0.4), (-0.06, -0.18), (-0.2, 0.04), (0.08, 0.2), (-0.12, 0.38), (0.32, 0.44), (0.56, 0.28)):
        b.oval(_mark(c), x, y, 0.12, 0.11)
    eye(b, -0.38, -0.76, 0.11)


def owl(b: Brush, c: Tones) -> None:
    for side in (-1, 1):
        b.stroke(AMBER, 0.16, (side * 0.26, 0.9), (side * 0.26, 0.98))
        b.polygon(c.base, (side * 0.78, -1.06), (side * 0.72, -0.3), (side * 0.05, -0.7))
    b.oval(c.base, 0, 0.2, 0.72, 0.76)
    b.oval(c.base, 0, -0.34, 0.74, 0.5)
    b.oval(c.light, 0, 0.56, 0.3, 0.3)
    for side in (-1, 1):
        b.oval(c.base, side * 0.64, 0.28, 0.24, 0.5, side * 0.15)
        b.oval(_mark(c), side * 0.62, 0.4, 0.11, 0.34, side * 0.2)
        b.oval(AMBER, side * 0.34, -0.34, 0.33)
        eye(b, side * 0.34, -0.34, 0.25)
    b.polygon((250, 140, 30), (-0.14, -0.2), (0.14, -0.2), (0, 0.16))


def penguin(b: Brush, c: Tones) -> None:
    pale = (250, 248, 240) if sum(c.base) < 690 else (186, 204, 226)
    for side in (-1, 1):
        b.oval(AMBER, side * 0.3, 0.94, 0.26, 0.12)
        b.oval(c.base, side * 0.68, 0.18, 0.15, 0.5, side * -0.5)
    b.oval(c.base, 0, 0.28, 0.62, 0.68)
    b.oval(c.base, 0, -0.54, 0.48, 0.48)
    b.oval(pale, 0, 0.42, 0.4, 0.48)
    for side in (-1, 1):
        b.oval(pale, side * 0.18, -0.5, 0.22, 0.24)
        b.oval(INK, side * 0.17, -0.54, 0.1)
    b.polygon((250, 140, 30), (-0.18, -0.42), (0.18, -0.42), (0, -0.16))


def pig(b: Brush, c: Tones) -> None:
    """Seen from the side, snout to the left."""
    b.arc(_mark(c), 0.1, 0.91, -0.2, 0.16, -3.6, 1.9)
    b.stroke(_mark(c), 0.1, (0.7, 0.0), (0.89, -0.04))
    for x in (-0.4, 0.24):
        b.box(c.dark, x + 0.2, 0.4, x + 0.42, 0.86)
        b.box(c.base, x, 0.4, x + 0.26, 0.94)
    b.oval(c.base, 0.14, 0.12, 0.72, 0.56)
    b.oval(c.base, -0.46, -0.1, 0.5)
    for side in (-1, 1):
        ear = ((0.5, -0.84), (0.12, -0.6), (0.22, -0.48), (0.46, -0.3))
        b.polygon(_mark(c), *((side * x - 0.47, y) for x, y in ear))
    b.oval((246, 160, 180), -0.68, 0.06, 0.32, 0.27)
    for x in (-0.8, -0.56):
        b.oval((150, 60, 86), x, 0.06, 0.07, 0.12)
    for x in (-0.72, -0.28):
        eye(b, x, -0.28, 0.11)


def rabbit(b: Brush, c: Tones) -> None:
    for side in (-1, 1):
        b.oval(c.base, side * 0.3, -0.64, 0.22, 0.46, side * 0.2)
        b.oval((244, 170, 184), side * 0.31, -0.64, 0.11, 0.33, side * 0.2)
    b.oval(c.base, 0, 0.64, 0.52, 0.4)
    b.oval(c.light, 0, 0.8, 0.28, 0.24)
    for side in (-1, 1):
        b.oval(c.base, side * 0.4, 0.94, 0.28, 0.13)
        b.oval(c.base, side * 0.2, 0.06, 0.44, 0.4)
        eye(b, side * 0.32, -0.06, 0.16)
    b.box((255, 255, 255), -0.11, 0.2, 0.11, 0.48)
    for side in (-1, 1):
        b.oval(c.light, side * 0.16, 0.22, 0.2, 0.14)
    b.oval((232, 100, 130), 0, 0.1, 0.12, 0.09)


def snail(b: Brush, c: Tones) -> None:
    """Seen from the side, head to the left; the shell has the colour."""
    skin = mix(CREAM, WOOD, 0.25)
    for x in (-0.98, -0.66):
        b.stroke(skin, 0.1, (-0.8, 0.1), (x, -0.38))
        b.oval(INK, x, -0.4, 0.1)
    b.stroke(skin, 0.32, (-0.8, 0.16), (-0.76, 0.5), (-0.56, 0.72), (0.8, 0.74))
    b.polygon(skin, (0.7, 0.58), (1.12, 0.9), (0.5, 0.9))
    b.oval(c.base, 0.22, -0.08, 0.78)
    turns = [(0.06 + 0.54 * i / 40, math.pi * (0.4 + 3.6 * i / 40)) for i in range(41)]
    b.stroke(_mark(c), 0.13, *((0.22 + r * math.cos(a), -0.08 + r * math.sin(a)) for r, a in turns))


def snake(b: Brush, c: Tones) -> None:
    """Winding, seen from above, head at the top left."""
    for end in (-0.56, -0.34):
        b.stroke((230, 50, 70), 0.1, (-0.6, -0.58), (-0.92, -0.46), (-1.06, end))
    b.stroke(c.base, 0.38, (-0.3, -0.62), (0.5, -0.62))
    b.arc(c.base, 0.38, 0.5, -0.28, 0.34, -math.pi / 2, math.pi / 2)
    b.stroke(c.base, 0.38, (0.5, 0.06), (-0.5, 0.06))
    b.arc(c.base, 0.38, -0.5, 0.4, 0.34, math.pi / 2, 3 * math.pi / 2)
    b.polygon(c.base, (-0.5, 0.55), (0.4, 0.55), (1.1, 0.6), (0.4, 0.92), (-0.5, 0.93))
    for x, y in ((0.12, -0.62), (0.56, -0.58), (0.82, -0.28), (0.5, 0.05), (0.0, 0.06), (-0.5, 0.08), (-0.82, 0.4)):
        b.oval(_mark(c), x, y, 0.12)
    for x in (-0.5, 0.0, 0.5):
        b.oval(_mark(c), x, 0.74, 0.12)
    b.oval(c.base, -0.42, -0.66, 0.42, 0.3, -0.15)
    eye(b, -0.44, -0.76, 0.15)


def turtle(b: Brush, c: Tones) -> None:
    """Seen from the side, head to the left."""
    b.polygon(c.light, (0.7, 0.36), (1.12, 0.64), (0.7, 0.62))
    for x in (-0.38, 0.56):
        b.stroke(c.light, 0.32, (x, 0.5), (x - 0.08, 0.76))
    b.stroke(c.light, 0.26, (-0.4, 0.42), (-0.8, 0.1))
    b.oval(c.light, -0.82, -0.02, 0.3, 0.27)
    b.sector(c.base, 0.2, 0.46, 0.8, 1.16, math.pi, 2 * math.pi)
    b.stroke(_mark(c), 0.13, (-0.6, 0.46), (1.0, 0.46))
    for x, y in ((0.2, -0.4), (-0.06, -0.12), (0.46, -0.12), (-0.26, 0.2), (0.2, 0.2), (0.66, 0.2)):
        b.oval(_mark(c), x, y, 0.13, 0.11)
    eye(b, -0.9, -0.08, 0.13)


def whale(b: Brush, c: Tones) -> None:
    """Seen from the side, head to the left, spouting."""
    for side in (-1, 1):
        b.arc((110, 200, 250), 0.14, -0.36 + side * 0.23, -0.7, 0.23, -math.pi, 0)
    b.stroke((110, 200, 250), 0.14, (-0.36, -0.7), (-0.36, -0.3))
    b.polygon(c.base, (0.1, -0.1), (0.6, 0.02), (0.64, -0.4), (0.88, -0.4), (0.94, 0.1), (0.74, 0.5), (0.2, 0.76))
    for side in (-1, 1):
        b.oval(c.base, 0.73 + side * 0.17, -0.56, 0.26, 0.15, side * -0.75)
    b.oval(c.base, -0.2, 0.24, 0.88, 0.6)
    b.sector(c.light, -0.2, 0.3, 0.86, 0.54, 0.5, math.pi)
    b.oval(c.dark, 0.06, 0.48, 0.14, 0.28, -0.6)
    eye(b, -0.68, 0.08, 0.14)
