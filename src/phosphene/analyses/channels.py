"""Five regions of any cap: by names of the 10-05 system, else by where the electrodes lie."""

import re

import numpy as np
import pandas as pd

from phosphene.eeg.montages import standard_montage
from phosphene.eeg.trials import Signal
from phosphene.utils.vectors import unit

REGIONS = ("frontal", "central", "temporal", "parietal", "occipital")
NEAR = 20.0  # degrees within which an electrode is taken for its nearest neighbour of the 10-10 system (ours)
_OLD = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
_ROWS = {
    "frontal": ("Fp", "AFp", "AF", "AFF", "F", "FFC", "FFT"),
    "central": ("FC", "FCC", "C", "CCP"),
    "temporal": ("FT", "FTT", "T", "TTP", "TP", "TPP"),
    "parietal": ("CP", "CPP", "P", "PPO"),
    "occipital": ("PO", "POO", "O", "OI", "I"),
}
_REGION = {row.casefold(): region for region, rows in _ROWS.items() for row in rows}


def regions_of(signal: Signal) -> pd.DataFrame:
    """In which of the five regions each channel lies.

    The rows of the 10-10 system are those of the 63-channel cap of THINGS-EEG2 (frontal Fp, AF, F; central FC, C;
    temporal FT, T, TP; parietal CP, P; occipital PO, O); half rows of the 10-05 system go with the row that they are
    named after first (ours). A cap of which fewer than half of the channels have such names (BioSemi's A1 to D32, whose
    C3 is another place) goes by positions alone, where they are known; else positions tell what a name does not.

    Returns
    -------
    Columns `channel`, `region` ("" of what is left out) and `by` ("name", "position" or "left out").
    """
    named = {name: _named(name) for name in signal.ch_names}
    half = 2 * sum(region is not None for region in named.values()) >= len(named)
    by_name = half or signal.positions is None
    near = _nearest(signal) if not by_name or None in named.values() else {}
    rows = []
    for name in signal.ch_names:
        region, by = (named[name], "name") if by_name else (None, "position")
        if region is None:
            region, by = near.get(name), "position"
        rows.append({"channel": name, "region": region or "", "by": by if region else "left out"})
    return pd.DataFrame(rows)


def _named(channel: str) -> str | None:
    match = re.fullmatch(r"([A-Za-z]+?)(z|\d+)h?", _OLD.get(channel.upper(), channel), re.IGNORECASE)
    return None if match is None else _REGION.get(match[1].casefold())


def _nearest(signal: Signal) -> dict[str, str]:
    """The region of each channel's nearest electrode of the 10-10 system, by angle at the head's centre."""
    if signal.positions is None:
        return {}
    montage = standard_montage("standard_1005")
    known = [name for name in montage.ch_names if _named(name) and not name.endswith("h") and name not in _OLD]
    reference = Signal(tuple(known), 1.0).to_info().set_montage(montage, verbose="error")
    there = _directions(np.array([channel["loc"][:3] for channel in reference["chs"]]))
    here = _directions(np.array(signal.positions))
    angles = np.degrees(np.arccos(np.clip(here @ there.T, -1, 1)))
    found = {}
    for name, row in zip(signal.ch_names, angles, strict=True):
        region = _named(known[int(row.argmin())])
        if region is not None and row.min() <= NEAR:
            found[name] = region
    return found


def _directions(positions: np.ndarray) -> np.ndarray:
    """(n, 3) unit vectors from a centre 4 cm above the line between the ears; a position of 0 points nowhere."""
    centred = positions - np.array([0.0, 0.0, 0.04])
    lost = ~np.isfinite(positions).all(axis=1) | ~positions.any(axis=1)
    return np.where(lost[:, None], 0.0, unit(centred))
