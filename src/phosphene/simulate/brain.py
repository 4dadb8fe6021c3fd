"""The simulated brain: a measuring instrument, EEG with a known answer.

Dipoles in six regions respond to what is in a picture (`phosphene.simulate.content`), each kind of content in its place
and at its time (`phosphene.simulate.cortex`), and reach 63 electrodes through MNE's sphere model; background activity
and artefacts are added (`phosphene.simulate.noise`). Responses are the same in every trial: what varies between trials
is the background, and overlap in time. The sizes of the differences between subjects are our choice.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mne
import numpy as np
from PIL import Image

from phosphene.errors import PhospheneError, nearest
from phosphene.simulate import noise
from phosphene.simulate.content import describe
from phosphene.simulate.cortex import BRAINS, REGIONS, Region, code_of
from phosphene.simulate.head import CHANNELS, at, centre, directions, lead_field, make_info, montage
from phosphene.simulate.scenes import Scene
from phosphene.utils.vectors import unit

Drawn = Sequence[tuple[Image.Image, np.ndarray]]  # picture and object mask of each scene, from `draw_with_mask`

__all__ = ["CHANNELS", "DEFAULT_SNR_DB", "REGIONS", "Brain", "Region", "Source", "montage"]

DEFAULT_SNR_DB = -13.0  # our choice: a linear decoder names one of 200 unseen pictures in about a third of cases
SNR_WINDOW = 0.6  # s after onset
RESPONSE = 0.8  # s after onset that a response may last

BACKGROUND_RMS = 10e-6  # V, mean over channels: 1/f, alpha and sensor noise together
ALPHA_SHARE, SENSOR_SHARE = 0.25, 0.01  # of the background's power
BLINK_PEAK, BLINK_RATE = 140e-6, 12.0  # V at Fp1 and Fp2; per minute
LINE_RMS, LINE_FREQUENCY = 2e-6, 50.0  # V, Hz
DRIFT_RMS = 20e-6  # V, below about 0.05 Hz


@dataclass(frozen=True)
class Source:
    """One dipole of the truth; `pattern` is what the electrodes see at its peak of content one SD above the mean."""

    region: str
    content: str
    side: str
    position: tuple[float, ...]  # m, head coordinates (x right, y front, z up)
    orientation: tuple[float, ...]  # unit vector
    latency: float  # s
    width: float  # s
    common: float
    pattern: tuple[float, ...]  # V


class Brain:
    """One subject's brain under a 63-channel cap.

    The same `seed` gives every subject the same code (which source likes what); subjects differ in the places,
    orientations, latencies and gains of their sources, in overall amplitude, and in their alpha, 1/f slope and blinks.

    Parameters
    ----------
    subject : number or label; 1 and "01" are the same.
    seed : of the code and of the subject's differences.
    snr_db : 10 log10(single-trial evoked power / background power). Both powers are means over the 63 channels; evoked
        power (its common part included, overlap with neighbours not) is the mean square from 0 to 0.6 s after onset,
        averaged over random scenes; background power is the variance of 1/f activity, alpha and sensor noise
        together, without blinks, line noise and drift, unfiltered. ``-inf`` leaves no response at all.
    sfreq : sampling rate, Hz.
    reference : "infinity" as the sphere model gives it, or "average" over the 63 channels.
    regions : "whole"; or, to check maps on, "two" (objects and colours behind, themes in front, nothing else responds)
        and "swapped" (the two exchanged).

    Attributes
    ----------
    sources : list of `Source`: the truth.
    info : `mne.Info` with channel names and positions.
    """

    def __init__(
        self,
        subject: int | str = 1,
        *,
        seed: int = 0,
        snr_db: float = DEFAULT_SNR_DB,
        sfreq: float = 250.0,
        reference: str = "infinity",
        regions: str = "whole",
    ):
        check(snr_db, sfreq)
        if regions not in BRAINS:
            raise PhospheneError(f"unknown regions '{regions}': {nearest(regions, BRAINS)}")
        if reference not in ("infinity", "average"):
            raise PhospheneError(f"unknown reference '{reference}': give 'infinity' or 'average'")
        self.subject, self.seed, self.snr_db, self.sfreq, self.reference = subject, seed, snr_db, sfreq, reference
        self.info = make_info(sfreq)
        n = len(CHANNELS)
        self._rereference = np.eye(n) - (1 / n if reference == "average" else 0)
        rng = self._rng("head")
        self._code = code_of(seed, regions)
        self._place_sources(rng)
        self._place_background(rng)
        self._scale()
        self.sources = self._truth()

    def _rng(self, *purpose: Any) -> np.random.Generator:
        return np.random.default_rng([self.seed, *(_number(label) for label in (self.subject, *purpose))])

    def _place_sources(self, rng: np.random.Generator) -> None:
        layout, n = self._code.sources, len(self._code.sources.region)
        shift = {name: rng.normal(0, 0.006) for name in REGIONS}  # s
        self._latency = layout.latency + [shift[r] for r in layout.region] + rng.normal(0, 0.003, n)
        self._width = layout.width * rng.lognormal(0, 0.08)
        self._gain = layout.gain * rng.lognormal(0, 0.15, n)
        self._common = layout.common
        self._position = layout.position + rng.normal(0, 0.003, (n, 3)) + rng.normal(0, 0.002, 3)
        self._orientation = unit(layout.orientation + rng.normal(0, 0.15, (n, 3)))
        self._pattern = self._rereference @ (lead_field(self._position, self._orientation) * self._gain)
        self._amplitude = rng.lognormal(0, 0.15)

    def _place_background(self, rng: np.random.Generator) -> None:
        rays = rng.normal(size=(300, 3))
        rays[:, 2] = np.abs(rays[:, 2]) - 0.3 * rng.uniform(size=300)  # few below the ears
        turns = unit(rng.normal(size=(300, 3)))
        mixing = lead_field(at(rays, rng.uniform(0.5, 0.8, (300, 1))), turns)
        slope = rng.normal(1.2, 0.1)
        groups = (mixing[:, :100], mixing[:, 100:200], mixing[:, 200:])
        power = BACKGROUND_RMS**2 * self._amplitude**2
        share = power * (1 - ALPHA_SHARE - SENSOR_SHARE) / len(groups)
        self._pink = [
            (max(0.3, slope + step), self._powered(noise.factor(group), share))
            for step, group in zip((-0.4, 0.0, 0.4), groups, strict=True)
        ]
        rays = np.stack([directions()[name] for name in ("O1", "O2", "Oz", "P3", "P4", "Pz")])
        turns = unit(rays + rng.normal(0, 0.3, rays.shape))
        sizes = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.7]) * rng.lognormal(0, 0.3, 6)
        self._alpha_mixing = self._powered(lead_field(at(rays, 0.65), turns) * sizes, power * ALPHA_SHARE)
        self._alpha_peak = rng.normal(10.0, 0.5)
        self._sensor_mixing = self._powered(np.eye(len(CHANNELS)), power * SENSOR_SHARE)
        eyes = centre() + np.array([[0.03, 0.065, -0.035], [-0.03, 0.065, -0.035]])
        blink = lead_field(eyes, np.array([[0, 0.8, 0.6], [0, 0.8, 0.6]])).sum(axis=1)
        frontal = [CHANNELS.index(name) for name in ("Fp1", "Fp2")]
        self._blink = self._rereference @ (blink / blink[frontal].mean())
        self._blink_rate = BLINK_RATE * rng.lognormal(0, 0.3)

    def _powered(self, mixing: np.ndarray, power: float) -> np.ndarray:
        """`mixing` re-referenced, and scaled so that the mean over channels of its variance is `power` (V^2)."""
        mixing = self._rereference @ mixing
        return mixing * np.sqrt(power / np.mean(np.sum(mixing**2, axis=1)))

    def _scale(self) -> None:
        """Set dipole moments so that the signal-to-noise ratio is as asked."""
        self._moment = 1.0
        evoked = self._evoke(self._code.reference)
        window = evoked[:, :, : round(SNR_WINDOW * self.sfreq)].astype(np.float64)
        wanted = (BACKGROUND_RMS * self._amplitude) ** 2 * 10 ** (self.snr_db / 10)
        self._moment = float(np.sqrt(wanted / np.mean(window**2)))

    def _truth(self) -> list[Source]:
        layout = self._code.sources
        return [
            Source(
                region=name,
                content=REGIONS[name].content,
                side=side,
                position=tuple(map(float, self._position[i])),
                orientation=tuple(map(float, self._orientation[i])),
                latency=float(self._latency[i]),
                width=float(self._width[i]),
                common=float(self._common[i]),
                pattern=tuple(map(float, self._pattern[:, i] * self._moment)),
            )
            for i, (name, side) in enumerate(zip(layout.region, layout.side, strict=True))
        ]

    def truth(self) -> list[dict[str, Any]]:
        """The sources as JSON-able dictionaries."""
        return [asdict(source) for source in self.sources]

    def code(self, scenes: Sequence[Scene], drawn: Drawn | None = None) -> np.ndarray:
        """How strongly each source codes each scene, in SDs over random scenes: (n_scenes, n_sources)."""
        return self._code(describe(scenes, drawn))

    def evoked(self, scenes: Sequence[Scene], drawn: Drawn | None = None) -> np.ndarray:
        """Noise-free response to each scene: float32 volts (n_scenes, 63, n_times), from onset to 0.8 s after it.

        `drawn` holds picture and object mask of each scene (`draw_with_mask`), where they are at hand.
        """
        return self._evoke(self.code(scenes, drawn))

    def _evoke(self, code: np.ndarray) -> np.ndarray:
        times = np.arange(round(RESPONSE * self.sfreq)) / self.sfreq
        kernels = noise.pulse(times[None], self._latency[:, None], self._width[:, None])
        basis = self._pattern[:, None, :] * kernels.T[None] * self._moment  # channels, times, sources
        flat = (code + self._common).astype(np.float32) @ basis.reshape(-1, code.shape[1]).T.astype(np.float32)
        return flat.reshape(len(code), len(CHANNELS), len(times))

    def background(
        self, n_times: int, *, session: int | str = 1, run: int | str = 1, artefacts: bool = True
    ) -> np.ndarray:
        """A stretch of recording with no response in it: float32 volts (63, n_times).

        1/f activity, alpha and sensor noise; with `artefacts` also blinks, line noise and drift. The first three are
        the same with and without.
        """
        rng, args = self._rng("background", session, run), (n_times, self.sfreq)
        n = len(CHANNELS)
        out = np.zeros((n, n_times), np.float32)
        for exponent, mixing in self._pink:
            out += mixing.astype(np.float32) @ noise.gaussian(rng, n, *args, noise.one_over_f(exponent))
        n_alpha = self._alpha_mixing.shape[1]
        out += self._alpha_mixing.astype(np.float32) @ noise.bursts(rng, n_alpha, *args, self._alpha_peak)
        out += self._sensor_mixing.astype(np.float32) @ rng.standard_normal((n, n_times), dtype=np.float32)
        if artefacts:
            turn = self._rereference.astype(np.float32)
            out += np.outer(self._blink, noise.blinks(rng, *args, self._blink_rate, BLINK_PEAK)).astype(np.float32)
            out += turn @ (LINE_RMS * noise.line(rng, n, *args, LINE_FREQUENCY))
            out += turn @ (DRIFT_RMS * noise.gaussian(rng, n, *args, noise.one_over_f(4.0, corner=0.02)))
        return out

    def record(
        self,
        evoked: np.ndarray,
        stimulus: np.ndarray,
        samples: np.ndarray,
        n_times: int,
        *,
        session: int | str = 1,
        run: int | str = 1,
        background: bool = True,
        artefacts: bool = True,
    ) -> np.ndarray:
        """A continuous recording: float32 volts (63, n_times).

        Parameters
        ----------
        evoked : (n_stimuli, 63, n_response) from `evoked`.
        stimulus, samples : (n_events,) which row of `evoked` begins at which sample; responses overlap and add.
        background, artefacts : what to add (see `background`).
        """
        length = evoked.shape[2]
        out = np.zeros((len(CHANNELS), n_times + length), np.float32)
        for row, start in zip(stimulus, samples, strict=True):
            out[:, start : start + length] += evoked[row]
        out = out[:, :n_times]
        if background:
            out += self.background(n_times, session=session, run=run, artefacts=artefacts)
        return out

    def to_raw(self, data: np.ndarray) -> mne.io.RawArray:
        """`data` (63, n_times), volts, as an MNE recording with the montage."""
        return mne.io.RawArray(data, self.info.copy(), verbose="error")


def check(snr_db: float, sfreq: float) -> None:
    """Refuse a ratio or a rate that cannot be simulated."""
    if not 100 <= sfreq <= 2000:
        raise PhospheneError(f"sfreq is {sfreq} Hz: simulate at 100 to 2000 Hz")
    if not snr_db <= 60:
        raise PhospheneError(f"snr_db is {snr_db}: give decibels up to 60, such as {DEFAULT_SNR_DB:g}")


def _number(label: Any) -> int:
    """A seed for a label: 1, "1" and "01" give the same."""
    text = str(label)
    return zlib.crc32(str(int(text)).encode() if text.isdigit() else text.encode())
