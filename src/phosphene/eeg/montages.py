"""Standard electrode positions, and the 63 channels of THINGS-EEG2."""

from typing import TYPE_CHECKING

from phosphene.errors import PhospheneError, nearest

#: the 63 EEG channels of THINGS-EEG2 in the order of its 250 Hz files; the simulated brain has the same
CHANNELS_63: tuple[str, ...] = tuple(
    [
        "Fp1",
        "Fp2",
        "AF7",
        "AF3",
        "AFz",
        "AF4",
        "AF8",
        "F7",
        "F5",
        "F3",
        "F1",
        "F2",
        "F4",
        "F6",
        "F8",
        "FT9",
        "FT7",
        "FC5",
        "FC3",
        "FC1",
        "FCz",
        "FC2",
        "FC4",
        "FC6",
        "FT8",
        "FT10",
        "T7",
        "C5",
        "C3",
        "C1",
        "Cz",
        "C2",
        "C4",
        "C6",
        "T8",
        "TP9",
        "TP7",
        "CP5",
        "CP3",
        "CP1",
        "CPz",
        "CP2",
        "CP4",
        "CP6",
        "TP8",
        "TP10",
        "P7",
        "P5",
        "P3",
        "P1",
        "Pz",
        "P2",
        "P4",
        "P6",
        "P8",
        "PO7",
        "PO3",
        "POz",
        "PO4",
        "PO8",
        "O1",
        "Oz",
        "O2",
    ]
)

if TYPE_CHECKING:
    import mne

_RENAMED = {"standard_1005": "colin27_1005", "standard_1020": "colin27_1020"}  # MNE 1.13


def standard_montage(name: str = "standard_1005") -> "mne.channels.DigMontage":
    """A montage of MNE, positions in m; the 10-05 and 10-20 systems answer to their old names too."""
    import mne

    known = mne.channels.get_builtin_montages()
    current = _RENAMED.get(name, name)
    if current not in known and name not in known:
        raise PhospheneError(f"unknown montage '{name}': {nearest(name, [*known, *_RENAMED])}")
    return mne.channels.make_standard_montage(current if current in known else name)
