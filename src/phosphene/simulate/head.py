"""The head of the simulated brain: the 63 channels of THINGS-EEG2, and a real lead field from MNE's sphere model."""

from __future__ import annotations

from functools import lru_cache

import mne
import numpy as np

from phosphene.eeg.montages import CHANNELS_63, standard_montage

CHANNELS = CHANNELS_63


def montage() -> mne.channels.DigMontage:
    """The 63 channels of THINGS-EEG2, in their order, where MNE's standard 10-05 montage has them (metres)."""
    standard = standard_montage()
    places = standard.get_positions()
    return mne.channels.make_dig_montage(
        {name: places["ch_pos"][name] for name in CHANNELS},
        **{fiducial: places[fiducial] for fiducial in ("nasion", "lpa", "rpa")},
        coord_frame=places["coord_frame"],
    )


def make_info(sfreq: float) -> mne.Info:
    """An `mne.Info` of the 63 channels with their positions, at `sfreq` Hz."""
    info = mne.create_info(list(CHANNELS), sfreq, "eeg", verbose="error")
    info.set_montage(montage(), verbose="error")
    return info


@lru_cache(maxsize=1)
def _conductor() -> tuple[mne.Info, mne.bem.ConductorModel]:
    info = make_info(250.0)
    return info, mne.make_sphere_model("auto", "auto", info, verbose="error")


def directions() -> dict[str, np.ndarray]:
    """Channel name -> unit vector (x right, y front, z up) from the centre of the head to the electrode."""
    info, sphere = _conductor()
    out = {}
    for channel in info["chs"]:
        ray = channel["loc"][:3] - sphere["r0"]
        out[channel["ch_name"]] = ray / np.linalg.norm(ray)
    return out


def at(direction: np.ndarray, depth: float | np.ndarray) -> np.ndarray:
    """Position (m, head coordinates) at `depth` times the head's radius from its centre; `direction` is (..., 3)."""
    _, sphere = _conductor()
    radius = sphere["layers"][-1]["rad"]
    return sphere["r0"] + depth * radius * direction / np.linalg.norm(direction, axis=-1, keepdims=True)


def centre() -> np.ndarray:
    """Centre of the head's sphere (m, head coordinates)."""
    return _conductor()[1]["r0"]


def lead_field(positions: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """What the 63 electrodes see of current dipoles, through a three-layer sphere.

    Parameters
    ----------
    positions : (n_sources, 3), metres, in MNE's head coordinates, inside the inner skull.
    orientations : (n_sources, 3), unit vectors.

    Returns
    -------
    (63, n_sources), volts per ampere-metre.
    """
    info, sphere = _conductor()
    places = {"rr": positions, "nn": orientations}
    space = mne.setup_volume_source_space(pos=places, sphere=sphere, verbose="error")
    forward = mne.make_forward_solution(info, None, space, sphere, meg=False, mindist=0.0, verbose="error")
    gain = forward["sol"]["data"].reshape(len(CHANNELS), len(positions), 3)
    return np.einsum("csx,sx->cs", gain, orientations)
