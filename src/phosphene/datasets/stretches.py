"""Bad stretches and cuts of a recording: what they are called, and how MNE is told of them.

MNE drops every epoch over an annotation whose name begins with "bad", in any case, and filters the parts on both sides
of an annotation that begins with "edge" apart. Cuts (EEGLAB's `boundary`, BrainVision's `New Segment` after a pause,
what `mne.concatenate_raws` leaves) become both here: a point that no epoch may hold, at which filters begin anew.
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from phosphene.eeg.preprocessing import CUT
from phosphene.errors import PhospheneError
from phosphene.utils.tables import labels, numbers

if TYPE_CHECKING:
    import mne

_POINT = r"(.*/)?\s*(boundary|new segment(/.*)?)\s*$"  # the data that were cut away have no length any more
STRETCH = re.compile(rf"\s*(bad|edge)|{_POINT}", re.IGNORECASE)
_WORD = re.compile(
    r"\s*(?!bad(segments?|channels?|data|epochs?)\b)(bad|edge)[a-z]", re.IGNORECASE
)  # such as "badminton"
_SKIPPED = ("EDGE", "BAD_ACQ_SKIP")  # MNE filters the parts around these apart
_NAMED_IN = ("stimulus", "trial_type", "description")  # columns in which a row may say that it is a stretch
_COLUMNS = ["onset", "duration", "name"]


def separate_stretches(
    rows: pd.DataFrame, shows: Callable[[pd.DataFrame], np.ndarray], where: object
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The events among ``rows``; the bad stretches, with `onset`, `duration` (s) and `name`; and notes.

    Parameters
    ----------
    rows : `onset` (s), `stimulus` and, if there are any, `duration`, `trial_type` and `description`.
    shows : (n_rows,) whether these rows show a known picture; it is asked of rows that may be stretches. A picture may
        be called "badge".
    where : what errors call the rows.
    """
    names = pd.Series("", index=rows.index, dtype=object)
    for column in _NAMED_IN[::-1]:
        if column in rows:
            text = labels(rows[column])
            names = text.where(text.str.match(STRETCH), names)
    maybe = names != ""
    if not maybe.any():
        return rows, pd.DataFrame(columns=[*rows.columns, "name"]), []
    own = labels(rows["stimulus"])
    maybe[maybe] = ~np.asarray(shows(rows[maybe].assign(stimulus=own[maybe])), bool)
    pictures = dict.fromkeys(own[~maybe & own.str.match(STRETCH)])
    stretches = rows[maybe].assign(name=names[maybe])
    stretches["duration"] = _durations(stretches, where) if "duration" in rows else 0.0
    for name, length in stretches[stretches["duration"] < 0][["name", "duration"]].itertuples(index=False):
        raise PhospheneError(f"{where}: the bad stretch '{name}' has a duration of {length:g} s: correct it")
    notes = []
    if pictures:
        notes.append(f"called like bad stretches, but pictures, and used as such: {_listed(pictures)}")
    for word, count in stretches["name"][stretches["name"].str.match(_WORD)].value_counts().items():
        notes.append(f"'{word}' has no picture and is taken for a bad stretch ({count} such): add it if it was shown")
    if lost := int(stretches["onset"].isna().sum()):
        notes.append(f"{lost} bad stretches without an onset left out")
    return rows[~maybe], stretches[stretches["onset"].notna()], notes


def _durations(stretches: pd.DataFrame, where: object) -> pd.Series:
    """Seconds; a missing one is 0, and an endless one lasts to the recording's end."""
    endless = labels(stretches["duration"]).str.lower().isin(("inf", "+inf", "infinity"))
    finite = stretches.assign(duration=stretches["duration"].mask(endless, 0))
    return numbers(finite, "duration", where, gaps=True).fillna(0.0).mask(endless, np.inf)


def annotated_stretches(annotations: "mne.Annotations", first_time: float, pictures: Iterable[str]) -> pd.DataFrame:
    """The bad stretches of a recording's annotations, but for those that bear the name of one of ``pictures``."""
    table = pd.DataFrame(
        {
            "onset": annotations.onset - first_time,
            "duration": np.maximum(np.nan_to_num(annotations.duration), 0.0),
            "name": [str(name).strip() for name in annotations.description],
        },
        columns=_COLUMNS,
    )
    return table[[bool(STRETCH.match(n)) and n not in set(pictures) for n in table["name"]]]


def mark(raw: "mne.io.BaseRaw", stretches: pd.DataFrame) -> None:
    """Make ``stretches`` (`onset`, s from the first sample, `duration`, `name`) the only annotations of ``raw``."""
    import mne

    rate, spans = raw.info["sfreq"], []
    cuts: dict[int, str] = {}
    for onset, length, name in stretches[_COLUMNS].itertuples(index=False):
        duration = min(length, max(raw.times[-1] + 1 - onset, 0.0))
        edge = name.upper().startswith("EDGE")
        if re.match(_POINT, name, re.IGNORECASE) or (edge and duration == 0):
            sample = int(np.ceil(onset * rate - 1e-3))  # of EEGLAB's 559.5 the first after the cut
            if 0 < sample < raw.n_times:
                cuts.setdefault(sample, name)
        else:
            spans += [(onset, duration, name), (onset, duration, CUT + name)][: 2 if edge else 1]
    skipped = [(o, o + d) for o, d, name in spans if name.upper().startswith(_SKIPPED)]
    for sample, name in cuts.items():
        at = sample / rate
        spans.append((at, 0.0, CUT + name))
        if not any(start <= at <= stop for start, stop in skipped):
            spans.append((at, 0.0, "EDGE boundary"))
    columns = list(zip(*spans, strict=True)) or [(), (), ()]
    raw.set_annotations(mne.Annotations(*columns), emit_warning=False, verbose="error")


def spanned(epochs: "mne.BaseEpochs", pictures: Iterable[str]) -> list[str]:
    """For each epoch that holds part of a bad stretch, the name of that stretch."""
    start, stop = epochs.times[0], epochs.times[-1]
    known, found = set(pictures), []
    for held in epochs.get_annotations_per_epoch():
        for onset, duration, name, *_ in held:
            cut = re.match(_POINT, name, re.IGNORECASE) or not duration > 0
            inside = start < onset <= stop if cut else onset <= stop and onset + duration > start
            if inside and STRETCH.match(name) and name not in known:
                found.append(str(name))
                break
    return found


def _listed(names: Iterable[str], most: int = 5) -> str:
    """Some of the names, in quotation marks."""
    shown = [f"'{name}'" for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
