"""When events began: onsets checked against their recording, and found again in MNE's epochs."""

import copy
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError

if TYPE_CHECKING:
    import mne


def within(table: pd.DataFrame, end: float, rate: float, where: object) -> tuple[pd.DataFrame, list[str]]:
    """The events of one recording that lie in it, and notes of those that are left out.

    Parameters
    ----------
    table : `onset` in s from the first sample, NaN where there is none; `stimulus`.
    end : time of the recording's last sample, s.
    rate : its sampling rate, Hz.

    Raises
    ------
    PhospheneError
        Half of the events or more lie outside, or two fall on one sample.
    """
    notes, known = [], table["onset"].notna()
    if lost := int((~known).sum()):
        notes.append(f"{where}: {_events(lost)} without an onset left out")
        table = table[known]
    half = 0.5 / rate  # what is rounded to a sample of the recording lies in it
    outside = ~table["onset"].between(-half, end + half)
    if outside.any():
        first, span = table[outside].iloc[0], f"(0 to {end:g} s)"
        if 2 * int(outside.sum()) >= len(table):
            raise PhospheneError(
                f"{where}: the event at {first['onset']:g} lies outside the recording {span}: onsets are "
                "seconds from its start, not samples or milliseconds"
            )
        notes.append(
            f"{where}: {_events(int(outside.sum()))} outside the recording {span} left out, such as "
            f"'{first['stimulus']}' at {first['onset']:g} s"
        )
        table = table[~outside]
    samples = np.round(table["onset"].to_numpy(float) * rate)
    order = np.argsort(samples, kind="stable")
    for i in np.flatnonzero(np.diff(samples[order]) == 0)[:1]:
        (one, two), (a, b) = (table.iloc[order[[i, i + 1]]][c].tolist() for c in ("onset", "stimulus"))
        times = f"at {one:g} s" if one == two else f"at {one:g} and {two:g} s, on one sample at {rate:g} Hz"
        fix = f"remove one of these rows ('{a}')" if a == b else f"leave one kind out with keep ('{a}' or '{b}')"
        raise PhospheneError(f"{where}: two events {times}: {fix}")
    return table.reset_index(drop=True), notes


def epoch_onsets(epochs: "mne.BaseEpochs") -> np.ndarray | str:
    """(n_epochs,) s at which the epochs' time 0 lay in their recording; or why that cannot be known.

    MNE counts events in samples of the recording, whatever the epochs' own rate is after `decimate` or `resample`, and
    tells the recording's rate only by where annotations lie in each epoch.
    """
    first = epochs.events[:, 0]
    if len(first) > 1 and len(epochs.times) > 1 and (np.diff(first) == 1).all():
        return "their events are numbered, not timed"
    if type(epochs).__module__.startswith("mne.io.eeglab"):
        return "EEGLAB counts the latencies of epochs within the epochs"
    probe = copy.copy(epochs)
    begin = -1e4  # s, before any event
    import mne

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            probe.set_annotations(mne.Annotations([begin], [1e9], ["all"]))
        except RuntimeWarning:  # saved by MNE before 1.0
            return "their file does not tell the recording's sampling rate"
    held = probe.get_annotations_per_epoch()
    return np.round([begin - spans[0][0] for spans in held], 9)


def _events(count: int) -> str:
    return f"{count} event" + ("s" if count != 1 else "")
