"""The CSV that muse-lsl writes: `timestamps, TP9, AF7, AF8, TP10, Right AUX, Marker`, microvolts, a row a sample."""

from pathlib import Path

import numpy as np
import pandas as pd

from phosphene.eeg.montages import standard_montage
from phosphene.errors import PhospheneError
from phosphene.utils.paths import regular


def read_csv(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """One file: `timestamps` (s) and the channels (uV), a row a sample; and the (n_rows,) marker codes, 0 for none.

    Raises
    ------
    PhospheneError
        For a file that is unreadable, cut off or without the columns; the message names it and the fix.
    """
    again = "copy it again from its source, or remove it"
    regular(path, f"is missing: {again}")
    try:
        data = pd.read_csv(path, dtype=float)
    except (OSError, ValueError) as error:  # pandas' parser errors and bad encodings are ValueErrors
        raise PhospheneError(f"{path} cannot be read ({' '.join(str(error).split())}): {again}") from None
    markers = [c for c in data if c.startswith("Marker")]
    if "timestamps" not in data or len(markers) != 1 or not electrodes(data):
        needed = "a column 'timestamps', one 'Marker...' and electrodes such as 'TP9'"
        raise PhospheneError(f"{path} needs {needed}; it has {', '.join(data)}: rename its columns")
    marker = data.pop(markers[0]).to_numpy()
    if not len(marker):
        raise PhospheneError(f"{path} holds no sample: {again}")
    if np.isnan(marker).any():
        raise PhospheneError(f"{path} is cut off at line {int(np.isnan(marker).argmax()) + 2}: {again}")
    return data, marker


def electrodes(data: pd.DataFrame) -> list[str]:
    """The columns that are electrodes: those with a 10-05 position."""
    known = set(standard_montage().ch_names)
    return [c for c in data if c in known]


def clock(path: Path, stamps: np.ndarray, sfreq: float) -> tuple[int, np.ndarray]:
    """Check the clock of one file.

    Parameters
    ----------
    stamps : (n_rows,) time stamps, s; jitter is expected.
    sfreq : the nominal rate, Hz.

    Returns
    -------
    How many rows do not advance the clock, and the rows before which more than 0.1 s is missing.
    """
    n = round(sfreq)
    spans = stamps[n:] - stamps[:-n]  # of n samples, s
    span = np.median(spans[np.isfinite(spans)]) if np.isfinite(spans).any() else 0.0
    rate = n / span if span > 0 else 0.0
    if len(stamps) > n and not 0.99 < rate / sfreq < 1.01:
        raise PhospheneError(f"{path} has {rate:.0f} Hz by its clock, not {sfreq:g}: resample it, or remove it")
    step = np.diff(stamps)
    return int(np.sum(~(step > 0))), np.flatnonzero(step > 0.1) + 1
