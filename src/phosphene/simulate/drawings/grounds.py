"""Painters of the eight backgrounds, each with depth (a sky or wall, a middle, a floor) and in four kinds of light.

A background is drawn in coordinates from 0 to 1. Every colour passes through a `Light`, which dims and tints it and
lets what is far away fade into the air.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phosphene.simulate.drawings.brush import RGB, Brush, mix


@dataclass(frozen=True)
class Light:
    """One kind of light.

    Parameters
    ----------
    sky : Colours of the sky, at the top and at the horizon.
    tint : What is left of red, green and blue, from 0 to 1.
    air : The colour that distant things fade into.
    haze : How much of a thing at the horizon is air, from 0 to 1.
    outline : Whether things need a pale outline to stand out.
    """

    sky: tuple[RGB, RGB]
    tint: tuple[float, float, float]
    air: RGB
    haze: float
    outline: bool = False

    def on(self, colour: RGB, far: float = 0.0, share: float = 1.0) -> RGB:
        """`colour` in this light, `far` (0 to 1) from the eye; with `share` below 1 less of the light's tint."""
        r, g, b = (round(v * (1 - share * (1 - t))) for v, t in zip(colour, self.tint, strict=True))
        return mix((r, g, b), self.air, self.haze * far)


LIGHTS: dict[str, Light] = {
    "day": Light(((104, 178, 238), (208, 234, 250)), (1.0, 1.0, 1.0), (198, 222, 240), 0.2),
    "sunset": Light(((92, 84, 150), (255, 172, 96)), (1.0, 0.8, 0.68), (255, 176, 120), 0.3),
    "night": Light(((14, 16, 52), (50, 52, 112)), (0.36, 0.4, 0.62), (36, 40, 84), 0.35, outline=True),
    "fog": Light(((206, 210, 214), (224, 226, 228)), (0.92, 0.94, 0.96), (220, 224, 226), 0.8),
}


class Ground:
    """One canvas, its light and the small shift `lift` by which this drawing differs from others."""

    def __init__(self, b: Brush, light: str, lift: float) -> None:
        self.b, self.name, self.light, self.lift = b, light, LIGHTS[light], lift

    def sky(self, horizon: float, bands: int = 14) -> None:
        """Sky down to the horizon, with a sun, a moon and stars, or clouds."""
        top, bottom = self.light.sky
        for i in range(bands):
            tone = mix(top, bottom, i / (bands - 1))
            self.b.box(tone, 0, horizon * i / bands, 1, horizon * (i + 1) / bands + 0.01)
        shift = 3 * self.lift
        if self.name == "day":
            self.b.oval((255, 232, 110), 0.88, 0.12, 0.075)
            self._cloud((250, 252, 255), 0.2 + shift, 0.13)
            self._cloud((250, 252, 255), 0.58 - shift, 0.2, 0.7)
        elif self.name == "sunset":
            self.b.sector((255, 224, 130), 0.86, horizon, 0.12, 0.12, np.pi, 2 * np.pi)
            self._cloud((206, 118, 130), 0.22 + shift, 0.14)
            self._cloud((226, 134, 120), 0.62 - shift, 0.24, 0.7)
        elif self.name == "night":
            self.b.oval((250, 240, 190), 0.88, 0.13, 0.075)
            self.b.oval(mix(top, bottom, 0.1), 0.85, 0.115, 0.066)
            for x, y in ((0.06, 0.1), (0.26, 0.2), (0.44, 0.06), (0.66, 0.22), (0.12, 0.34), (0.93, 0.36), (0.4, 0.34)):
                self.b.oval((250, 246, 220), x + shift, y, 0.012)

    def _cloud(self, fill: RGB, x: float, y: float, size: float = 1.0) -> None:
        for dx, dy, r in ((-0.07, 0.012, 0.04), (0, -0.01, 0.055), (0.07, 0.012, 0.042)):
            self.b.oval(fill, x + dx * size, y + dy * size, 1.4 * r * size, 0.8 * r * size)

    def floor(self, near: RGB, far: RGB, horizon: float, bands: int = 8) -> None:
        """A floor that grows out of the air towards the eye."""
        for i in range(bands):
            share = i / (bands - 1)
            tone = self.light.on(mix(far, near, share), 0.8 * (1 - share))
            self.b.box(
                tone, 0, horizon + (1 - horizon) * i / bands, 1, horizon + (1 - horizon) * (i + 1) / bands + 0.01
            )

    def scatter(self, fill: RGB, n: int, top: float, seed: int, size: float = 0.012, flat: float = 0.5) -> None:
        """Small marks on the floor, larger and further apart towards the eye: the grain of sand, snow or grass."""
        places = np.random.default_rng(seed).random((n, 2))
        for x, u in places:
            y = top + (1 - top) * u**0.7
            r = size * (0.4 + 0.9 * u)
            self.b.oval(self.light.on(fill, 0.6 * (1 - u)), (x + self.lift * 2) % 1.0, y, r, r * flat)

    def box(self, fill: RGB, far: float, left: float, top: float, right: float, bottom: float) -> None:
        self.b.box(self.light.on(fill, far), left, top, right, bottom)

    def shape(self, fill: RGB, far: float, *points: tuple[float, float]) -> None:
        self.b.polygon(self.light.on(fill, far), *points)

    def oval(self, fill: RGB, far: float, x: float, y: float, rx: float, ry: float) -> None:
        self.b.oval(self.light.on(fill, far), x, y, rx, ry)


def beach(g: Ground) -> None:
    """Sea and waves behind sand, with a shell or two."""
    horizon = 0.46 + g.lift
    g.sky(horizon)
    for i, tone in enumerate(((40, 116, 182), (46, 132, 194), (64, 152, 204), (92, 176, 214))):
        g.box(tone, 0.8 - 0.2 * i, 0, horizon + 0.05 * i, 1, horizon + 0.05 * i + 0.06)
    for x, y in ((0.08, 0.05), (0.36, 0.09), (0.66, 0.05), (0.9, 0.1)):
        g.oval((214, 236, 246), 0.2, x, horizon + y, 0.07, 0.008)
    g.oval((236, 246, 250), 0.0, 0.5, horizon + 0.205, 0.62, 0.022)
    g.floor((240, 212, 150), (226, 196, 138), horizon + 0.21)
    g.scatter((206, 170, 108), 60, horizon + 0.25, seed=1, size=0.01)


def city(g: Ground) -> None:
    """A street before two rows of buildings."""
    horizon = 0.68 + g.lift
    g.sky(horizon)
    for i, top in enumerate((0.3, 0.18, 0.34, 0.22, 0.12, 0.28)):
        g.box((150, 160, 178), 0.8, 0.17 * i - 0.02, top + g.lift, 0.17 * i + 0.14, horizon)
    walls = ((164, 116, 104), (118, 134, 160), (176, 152, 122), (132, 122, 150), (150, 150, 158))
    pane = (255, 226, 130) if g.name == "night" else g.light.on((206, 224, 236), 0.2)
    for i, (wall, top) in enumerate(zip(walls, (0.34, 0.2, 0.42, 0.26, 0.36), strict=True)):
        left = 0.2 * i + 0.01
        g.box(wall, 0.3, left, top + g.lift, left + 0.18, horizon)
        g.box(mix(wall, (0, 0, 0), 0.25), 0.3, left + 0.14, top + g.lift, left + 0.18, horizon)
        y = top + g.lift + 0.05
        while y < horizon - 0.09:
            for x in (0.03, 0.09):
                g.b.box(pane, left + x, y, left + x + 0.035, y + 0.055)
            y += 0.105
    g.box((186, 184, 184), 0.1, 0, horizon, 1, horizon + 0.05)
    g.floor((84, 86, 96), (112, 114, 122), horizon + 0.05, 4)
    for i in range(4):
        g.box((240, 236, 214), 0.0, 0.04 + 0.26 * i, 0.9 + g.lift, 0.18 + 0.26 * i, 0.925 + g.lift)


def desert(g: Ground) -> None:
    """Red mesas behind dunes."""
    horizon = 0.54 + g.lift
    g.sky(horizon)
    for x, top, half in ((0.18, 0.3, 0.15), (0.56, 0.4, 0.1), (0.86, 0.33, 0.16)):
        g.shape(
            (196, 104, 74), 0.5, (x - half, horizon), (x - 0.7 * half, top), (x + 0.7 * half, top), (x + half, horizon)
        )
        g.shape(
            (164, 80, 60),
            0.5,
            (x + 0.3 * half, horizon),
            (x + 0.3 * half, top),
            (x + 0.7 * half, top),
            (x + half, horizon),
        )
    g.floor((226, 150, 82), (214, 142, 90), horizon)
    for x, y, rx in ((0.2, 0.08, 0.4), (0.8, 0.14, 0.44), (0.35, 0.3, 0.6)):
        g.oval((234, 164, 94), 0.25, x, horizon + y + 0.03, rx, 0.05)
        g.oval((214, 136, 74), 0.2, x + 0.05, horizon + y + 0.055, rx, 0.045)


def forest(g: Ground) -> None:
    """Trunks under a canopy of leaves, far ones behind near ones."""
    horizon = 0.6 + g.lift
    g.sky(horizon)
    g.box((88, 140, 96), 0.5, 0, 0.16, 1, horizon + 0.05)
    for x in (0.2, 0.32, 0.48, 0.6, 0.78):
        g.box((92, 96, 76), 0.6, x - 0.014, 0.1, x + 0.014, horizon + 0.05)
    for x in (0.08, 0.4, 0.68, 0.93):
        g.box((98, 70, 50), 0.1, x - 0.038, 0.06, x + 0.038, horizon + 0.05)
        g.box((78, 54, 38), 0.1, x + 0.012, 0.06, x + 0.038, horizon + 0.05)
    for i in range(8):
        g.oval((40, 104, 58), 0.1, 0.02 + 0.14 * i, 0.05 + g.lift + 0.05 * (i % 2), 0.12, 0.12)
        g.oval((62, 132, 72), 0.1, 0.0 + 0.14 * i, 0.02 + g.lift + 0.05 * (i % 2), 0.07, 0.06)
    g.floor((74, 116, 58), (96, 142, 82), horizon + 0.04)
    g.scatter((122, 92, 52), 34, horizon + 0.1, seed=2, size=0.016, flat=0.4)


def meadow(g: Ground) -> None:
    """Round green hills and grass full of flowers."""
    horizon = 0.56 + g.lift
    g.sky(horizon)
    g.oval((124, 186, 112), 0.6, 0.22, horizon + 0.04, 0.42, 0.14)
    g.oval((108, 174, 98), 0.5, 0.82, horizon + 0.05, 0.4, 0.18)
    g.floor((108, 190, 70), (134, 200, 96), horizon)
    for x, u in np.random.default_rng(3).random((30, 2)):
        y = horizon + 0.05 + (0.97 - horizon - 0.05) * u
        g.b.stroke(g.light.on((70, 150, 52)), 0.01, (x, y), (x + 0.01, y - 0.025))
    g.scatter((255, 250, 236), 18, horizon + 0.08, seed=4, size=0.013, flat=0.9)
    g.scatter((250, 210, 80), 12, horizon + 0.08, seed=5, size=0.012, flat=0.9)


def mountains(g: Ground) -> None:
    """Blue peaks with white tips behind a lake."""
    horizon = 0.58 + g.lift
    g.sky(horizon)
    peaks = ((0.5, 0.12, 0.34, 0.7), (0.14, 0.2, 0.3, 0.35), (0.88, 0.22, 0.28, 0.35))
    for x, top, half, far in peaks:
        top += g.lift
        g.shape((104, 116, 150), far, (x - half, horizon), (x, top), (x + half, horizon))
        g.shape((78, 88, 122), far, (x, horizon), (x, top), (x + half, horizon))
        foot = top + 0.3 * (horizon - top)
        g.shape((240, 244, 250), far, (x - 0.3 * half, foot), (x, top), (x + 0.3 * half, foot), (x, foot - 0.03))
    g.box((84, 150, 190), 0.4, 0, horizon, 1, horizon + 0.11)
    for x, y in ((0.2, 0.03), (0.6, 0.06), (0.86, 0.03)):
        g.oval((180, 216, 232), 0.3, x, horizon + y, 0.1, 0.006)
    g.floor((96, 124, 84), (120, 142, 100), horizon + 0.1)
    g.scatter((150, 150, 150), 22, horizon + 0.14, seed=6, size=0.02, flat=0.6)


def room(g: Ground) -> None:
    """A papered wall with a window and a picture, above wooden boards and a rug."""
    horizon = 0.68 + g.lift
    dim = 1.0 if g.name == "night" else 0.5
    on: Callable[[RGB], RGB] = lambda tone: g.light.on(tone, 0.0, dim)  # noqa: E731
    g.b.box(on((240, 218, 184)), 0, 0, 1, horizon)
    for i in range(10):
        g.b.box(on((230, 204, 168)), 0.1 * i + 0.02, 0, 0.1 * i + 0.045, horizon)
    g.b.box(on((255, 255, 252)), 0.05, 0.05, 0.37, 0.37)
    top, bottom = g.light.sky
    for i in range(5):
        g.b.box(mix(top, bottom, i / 4), 0.08, 0.08 + 0.052 * i, 0.34, 0.14 + 0.052 * i)
    if g.name == "night":
        g.b.oval((250, 240, 190), 0.28, 0.14, 0.03)
    g.b.box(on((255, 255, 252)), 0.2, 0.05, 0.22, 0.37)
    g.b.box(on((130, 84, 56)), 0.68, 0.07, 0.93, 0.29)
    g.b.box(on((178, 208, 196)), 0.705, 0.095, 0.905, 0.265)
    g.b.polygon(on((98, 150, 112)), (0.705, 0.265), (0.78, 0.16), (0.84, 0.22), (0.875, 0.19), (0.905, 0.265))
    g.b.box(on((252, 246, 236)), 0, horizon - 0.035, 1, horizon)
    g.b.box(on((182, 130, 88)), 0, horizon, 1, 1)
    for i, y in enumerate((0.76, 0.84, 0.92)):
        g.b.box(on((150, 104, 68)), 0, y + g.lift, 1, y + g.lift + 0.009)
        for x in (0.2, 0.7) if i % 2 else (0.45, 0.95):
            g.b.box(on((150, 104, 68)), x, y + g.lift - 0.08, x + 0.009, y + g.lift)


def snow(g: Ground) -> None:
    """Snowy firs on white hills, and flakes in the air."""
    horizon = 0.56 + g.lift
    g.sky(horizon)
    g.oval((226, 234, 246), 0.5, 0.25, horizon + 0.06, 0.42, 0.16)
    g.oval((214, 226, 242), 0.5, 0.82, horizon + 0.06, 0.4, 0.2)
    g.floor((240, 246, 254), (222, 232, 246), horizon + 0.02)
    for x, size in ((0.06, 1.0), (0.27, 0.7), (0.73, 0.75), (0.94, 1.1)):
        for i in range(3):
            half, y = size * (0.05 + 0.022 * i), horizon + 0.05 - size * (0.3 - 0.09 * i)
            g.shape((50, 100, 92), 0.2, (x - half, y + 0.13 * size), (x, y), (x + half, y + 0.13 * size))
            g.shape((240, 246, 254), 0.2, (x - 0.4 * half, y + 0.05 * size), (x, y), (x + 0.4 * half, y + 0.05 * size))
    g.scatter((204, 216, 236), 26, horizon + 0.12, seed=7, size=0.018, flat=0.35)
    for x, y in np.random.default_rng(8).random((26, 2)):
        g.b.oval(g.light.on((255, 255, 255)), (x + g.lift * 3) % 1.0, 0.9 * y, 0.008)


GROUNDS: dict[str, Callable[[Ground], None]] = {
    ground.__name__: ground for ground in (beach, city, desert, forest, meadow, mountains, room, snow)
}
