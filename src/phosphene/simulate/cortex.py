"""Where the simulated brain's sources lie and what each of them likes; the same for every subject of one seed.

Latencies and places follow the literature on visual evoked responses in broad terms (C1 and P1 before 0.13 s over the
occipital cortex opposite to the stimulus, ventral and occipito-temporal selectivity at about 0.15 to 0.3 s, late
frontal and temporal responses to gist and affect). Widths, gains and the shapes of the tuning curves are our choice.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from phosphene.simulate.content import GRID, Content, describe
from phosphene.simulate.drawings import KINDS, LIGHTS
from phosphene.simulate.head import at, directions
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, OBJECTS, draw_with_mask, sample_scenes


@dataclass(frozen=True)
class Region:
    """One stage of the visual response, on both sides of the head.

    Parameters
    ----------
    content : what it codes, a kind of `phosphene.simulate.content`.
    under : electrodes, left and right, under which its sources lie.
    n_sources : for each of `under`.
    depth : distance from the head's centre, as a share of its radius.
    latency, spread, width : peak of the response, its SD over sources, and its length as the SD of a Gaussian, s.
    gain : size of the part of the response that depends on content; relative dipole moment.
    common : size of the part that every picture evokes, as a multiple of `gain`.
    """

    content: str
    under: tuple[str, ...]
    n_sources: int
    depth: float
    latency: float
    spread: float
    width: float
    gain: float
    common: float


REGIONS: dict[str, Region] = {
    "V1": Region("layout", ("O1", "O2"), GRID * GRID, 0.72, 0.098, 0.008, 0.016, 1.6, 1.0),
    "V4": Region("colour", ("PO7", "PO8"), 6, 0.70, 0.150, 0.012, 0.024, 2.0, 0.5),
    "IT": Region("object", ("P7", "P8"), 12, 0.70, 0.215, 0.030, 0.040, 1.7, 0.7),
    "parietal": Region("place", ("P3", "P4"), 3, 0.72, 0.220, 0.015, 0.035, 1.0, 0.4),
    "frontal": Region("theme", ("AF3", "AF4"), 4, 0.72, 0.400, 0.030, 0.060, 0.8, 0.3),
    "temporal": Region("theme", ("FT7", "FT8"), 2, 0.68, 0.380, 0.030, 0.060, 0.5, 0.3),
}


def _moved(**changes: dict[str, Any]) -> dict[str, Region]:
    """`REGIONS` with some of them changed; the others fall silent."""
    silent = {"gain": 0.0, "common": 0.0}
    return {name: replace(region, **changes.get(name, silent)) for name, region in REGIONS.items()}


_BACK, _FRONT = {"V4": ("PO7", "PO8"), "IT": ("P7", "P8")}, {"frontal": ("AF3", "AF4"), "temporal": ("F7", "F8")}
#: Which regions respond, and where. "two": objects and colours behind, themes in front, and nothing else, so that it is
#: known what a map must show; "swapped": the same with the two exchanged.
BRAINS: dict[str, dict[str, Region]] = {
    "whole": REGIONS,
    "two": _moved(**{name: {"under": under} for name, under in (_BACK | _FRONT).items()}),
    "swapped": _moved(
        **{
            name: {"under": under}
            for name, under in zip([*_BACK, *_FRONT], [*_FRONT.values(), *_BACK.values()], strict=True)
        }
    ),
}


@dataclass(frozen=True)
class Layout:
    """Where the sources of the group's mean brain lie; arrays over sources."""

    region: list[str]
    side: list[str]
    position: np.ndarray
    orientation: np.ndarray
    latency: np.ndarray
    width: np.ndarray
    gain: np.ndarray
    common: np.ndarray


class Code:
    """What every source likes, shared by the subjects of one seed."""

    def __init__(self, seed: int, brain: str = "whole"):
        rng = np.random.default_rng([seed, 1])
        self.sources = _lay_out(rng, BRAINS[brain])
        self._tuning = {
            "object": (rng.normal(size=(len(OBJECTS), 24)) + _of_kinds(seed)) / np.sqrt(2),
            "shape": rng.normal(size=(64, 24)),
            "colour": rng.normal(size=(len(COLOURS), 12)),
            "theme": rng.normal(size=(len(BACKGROUNDS) + len(LIGHTS) + 3, 12)),
        }
        scenes = sample_scenes(480, seed=7)
        reference = self._respond(describe(scenes, [draw_with_mask(scene, 64) for scene in scenes]))
        self._mean, self._sd = reference.mean(axis=0), reference.std(axis=0)
        self.reference = (reference - self._mean) / self._sd

    def __call__(self, content: Content) -> np.ndarray:
        return (self._respond(content) - self._mean) / self._sd

    def _respond(self, content: Content) -> np.ndarray:
        """Unscaled response of each source, in the order of `REGIONS` and, within, left before right."""
        n = len(content["object"])
        grid = content["layout"].reshape(n, GRID, GRID, 3)
        left_field, right_field = (grid[:, :, half].reshape(n, -1, 3) for half in (slice(0, 2), slice(2, 4)))
        # V1: a light cell and a pattern cell for each place, in the hemisphere opposite to it
        cells = [np.concatenate([f[..., 0], f[..., 1] + 2 * f[..., 2]], axis=1) for f in (right_field, left_field)]
        colour = content["colour"] @ self._tuning["colour"]
        shape = (content["shape"] - 0.5) @ self._tuning["shape"] / np.sqrt(8)
        thing = content["object"] @ self._tuning["object"] + 0.5 * shape
        x, y, area = content["place"].T
        right_of, left_of = 1 / (1 + np.exp(-(x - 0.5) / 0.08)), 1 / (1 + np.exp((x - 0.5) / 0.08))
        centred = np.exp(-0.5 * ((x - 0.5) / 0.1) ** 2)
        place = np.stack([right_of, centred, area, left_of, centred, y], axis=1)
        mood = content["theme"] * np.array([1.0] * (len(BACKGROUNDS) + len(LIGHTS)) + [2.0] * 3)
        theme = mood @ self._tuning["theme"]
        return np.hstack([*cells, colour, thing, place, theme])


def _of_kinds(seed: int) -> np.ndarray:
    """What the objects of one kind (animals, vehicles, ...) share in the ventral code, (n_objects, 24)."""
    names, kind = np.unique([KINDS[name] for name in OBJECTS], return_inverse=True)
    return np.asarray(np.random.default_rng([seed, 6]).normal(size=(len(names), 24))[kind])


@lru_cache(maxsize=8)
def code_of(seed: int, brain: str = "whole") -> Code:
    return Code(seed, brain)


def _lay_out(rng: np.random.Generator, regions: dict[str, Region]) -> Layout:
    rays, rows = directions(), []
    for name, region in regions.items():
        for electrode, side in zip(region.under, ("left", "right"), strict=True):
            for i in range(region.n_sources):
                outward = rays[electrode] + rng.normal(0, 0.10, 3)
                tilt = rng.normal(0, 0.35, 3)
                if name == "V1":  # the upper field lies below the calcarine sulcus, the lower above
                    row = (i % (GRID * GRID // 2)) // 2
                    outward = outward + np.array([0, 0, 0.06 * (row - 1.5)])
                    tilt = 0.5 * tilt + np.array([0, 0, 0.25 * (row - 1.5)])
                facing = outward / np.linalg.norm(outward) + tilt
                rows.append(
                    (
                        name,
                        side,
                        at(outward, region.depth + rng.normal(0, 0.02)),
                        facing / np.linalg.norm(facing),
                        rng.normal(region.latency, region.spread),
                        region.width,
                        region.gain / np.sqrt(region.n_sources),
                        region.common,
                    )
                )
    columns = list(zip(*rows, strict=True))
    return Layout(list(columns[0]), list(columns[1]), *(np.array(column) for column in columns[2:]))
