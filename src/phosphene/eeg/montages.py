"""Standard electrode positions."""

from typing import TYPE_CHECKING

from phosphene.errors import PhospheneError, nearest

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
