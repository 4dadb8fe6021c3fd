"""How large EEG is: whether every channel, run and stretch of a run has the scale of the others.

Design rationale
----------------
What is compared is the spread in time within short pieces (1.4826 x the median absolute deviation), so that neither
the offset of a DC amplifier nor its drift counts. A slip of a unit is a factor of 1,000 or more; electrodes of high
impedance are some ten times louder, so the limit lies at 200. A piece is first averaged over 20 ms, a period of the
power line, which is what a loose electrode mostly picks up.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from phosphene.eeg.lazy import EEG
from phosphene.eeg.trials import UNITS as SIGNAL_UNITS
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError

if TYPE_CHECKING:
    import mne

UNITS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "μV": 1e-6, "nV": 1e-9}
WITHOUT_VOLTS = tuple(unit for unit in SIGNAL_UNITS if unit != "V")
PLAUSIBLE = (2e-8, 2e-3)  # V; how much a trial varies in time: averages of many repeats to raw saline-net drifts
SAMPLE = 64  # trials from which a unit is judged

OFF = 200.0  # times as large, or as small, as the others
LOUD, QUIET = 20.0, 1 / 100  # of a channel, against the others: is told
_LIMIT = float(np.log10(OFF))
LIKELY = 3e-4  # V, at most
_NOISE = -7.0  # log10 V: no amplifier has less
_PIECES = 32  # of each run
_FEW = 12  # pieces of a recording at least
_MOST = 4096  # pieces of several runs together
_SMOOTH = 5  # pieces: what is off for one or two of many is an artefact


def spread(x: np.ndarray, sfreq: float | None = None) -> np.ndarray:
    """(n, n_chans) log10 of how much pieces (n, n_chans, n_times) vary in time; NaN where they do not.

    With a rate (Hz), the power line is averaged out.
    """
    width = round(0.02 * (sfreq or 0.0))
    if width > 1 and x.shape[2] >= 8 * width:
        whole = x.shape[2] // width * width
        x = x[:, :, :whole].reshape(*x.shape[:2], whole // width, width).mean(axis=3)
    found = 1.4826 * np.median(np.abs(x - np.median(x, axis=2, keepdims=True)), axis=2)
    with np.errstate(divide="ignore"):
        return np.where(found > 0, np.log10(found), np.nan)


def check_recording(
    raw: "mne.io.BaseRaw", where: Sequence[int], names: Sequence[str], starts: np.ndarray, seconds: float
) -> list[str]:
    """One scale in every channel, and from the first piece of a recording to the last.

    Parameters
    ----------
    raw : volts, before filters and references.
    where, names : its channels that are used, and what they are called now.
    starts : (n,) s from the first sample, of the epochs that are cut from it; where they are few, what lies between
        them counts too.
    seconds : how long they are.

    Returns
    -------
    Notes: flat channels, loud ones, and what is off in channels marked bad.

    Raises
    ------
    PhospheneError
        A channel, or a stretch of time, whose values are off by a factor such as 1,000.
    """
    rate, some, at = raw.info["sfreq"], [], []
    bads = [name for i, name in zip(where, names, strict=True) if raw.ch_names[i] in raw.info["bads"]]
    n_times = round(min(max(seconds, 1.0), 2.0) * rate)
    if len(starts) < _FEW:
        starts = np.linspace(starts.min(), starts.max(), _FEW)
    for start in _evenly(np.sort(starts), _PIECES):
        first = min(max(round(start * rate), 0), max(0, raw.n_times - n_times))
        x = raw.get_data(list(where), first, min(first + n_times, raw.n_times), "omit", verbose="error")
        if x.shape[1] * 2 > n_times:  # the rest lies in stretches marked bad
            some.append(spread(x[None], rate)[0])
            at.append(f"{first / rate:.0f} s")
    return _one_scale(np.array(some), names, at, "V", bads) if some else []


def check_trials(trials: Trials, scale: float = 1.0, bads: Sequence[str] = ()) -> list[str]:
    """The same of trials, in each of their runs and between them; of each run some trials are read.

    Parameters
    ----------
    scale : factor to volts of the values as they were stored, for the message.
    bads : channels marked bad.
    """
    labels, unit = ["subject", "session", "run"], _stored_in(trials.signal.unit, scale)
    runs = trials.table.groupby(labels, sort=False).indices
    n = max(_SMOOTH + 1, min(_PIECES, _MOST // len(runs)))
    notes: dict[str, None] = {}
    levels = []
    for label, rows in runs.items():
        found = spread(sampled(trials.eeg, rows, n), trials.signal.sfreq)
        name = ", ".join(f"{c} {v}" for c, v in zip(labels, label, strict=True))
        at = [f"trial {i} (from 0)" for i in _evenly(rows, n)]
        try:
            told = _one_scale(found, trials.signal.ch_names, at, unit, bads)
        except PhospheneError as error:
            raise PhospheneError(f"{name}: {error}" if len(runs) > 1 else str(error)) from None
        notes.update(dict.fromkeys(told))
        levels.append((name, _level(found)))
    check_levels(levels, unit)
    return list(notes)


def _stored_in(unit: str, scale: float) -> str:
    """The unit of the values before they were scaled."""
    return next((u for u, factor in UNITS.items() if factor == scale), unit) if unit == "V" else unit


def level(trials: Trials) -> float:
    """log10 of how much some trials vary in time, median over channels; NaN if they do not."""
    return _level(spread(sampled(trials.eeg, np.arange(len(trials)), _PIECES), trials.signal.sfreq))


def _level(found: np.ndarray) -> float:
    return float(np.nanmedian(found)) if np.isfinite(found).any() else np.nan


def check_levels(levels: Sequence[tuple[str, float]], unit: str = "V") -> None:
    """Refuse the first of several runs (name, level) that is off from the others."""
    values = np.array([value for _, value in levels])
    usual = _usual(values, unit)
    for name, value in levels:
        if abs(value - usual) >= _LIMIT:
            raise PhospheneError(
                f"{name}: its values are {_times(value - usual)} those of the other runs "
                f"({_size(value, unit)}, others {_size(usual, unit)}): {_fix(value - usual, unit)}, or leave it out"
            )


def check_same(new: Trials, trained: Trials) -> list[str]:
    """Trials as large, in every channel, as those that a method was trained on; the channels are the same.

    Returns
    -------
    Notes: channels that are flat here alone.
    """
    unit = new.signal.unit
    rows = _evenly(np.arange(len(new)), SAMPLE)
    found = spread(sampled(new.eeg, rows, SAMPLE), new.signal.sfreq)
    was = _of_channels(spread(sampled(trained.eeg, np.arange(len(trained)), SAMPLE), trained.signal.sfreq))
    now = _of_channels(found)
    if not np.isfinite(now).any() and np.isfinite(was).any():
        raise PhospheneError("these trials do not vary in time and contain no EEG: prepare them again")
    both = np.isfinite(was) & np.isfinite(now)
    if not both.any():
        return []
    change, usual = float(np.median((now - was)[both])), float(np.median(was[both]))
    if abs(change) >= _LIMIT:
        raise PhospheneError(
            f"these trials are {_times(change)} those that the run was trained on ({_size(usual + change, unit)}, "
            f"trained on {_size(usual, unit)}): {_fix(change, unit)}, or preprocess them as the run was"
        )
    for name, then, value in zip(new.signal.ch_names, was, now, strict=True):
        if _is_off(value - then - change, value, unit):
            raise PhospheneError(
                f"channel '{name}' is {_times(value - then)} in the run's training trials ({_size(value, unit)}, "
                f"trained on {_size(then, unit)}): {_fix(value - then, unit)}, or preprocess them as the run was"
            )
    level_of_each = np.nanmedian(np.where(both, found - was, np.nan)[:, both], axis=1)
    at = [f"trial {i} (from 0)" for i in rows]
    _check_stretch(level_of_each, at, unit, "these trials are", "or leave them out", usual)
    lost = [n for n, a, b in zip(new.signal.ch_names, was, now, strict=True) if np.isfinite(a) and not np.isfinite(b)]
    return [f"channels flat in these trials and not in training: {', '.join(lost)}"] if lost else []


def _of_channels(found: np.ndarray) -> np.ndarray:
    """(n_chans,) median over the pieces that vary; NaN for a flat channel."""
    return pd.DataFrame(found).median().to_numpy()


def _one_scale(
    found: np.ndarray, names: Sequence[str], at: Sequence[str], unit: str, bads: Sequence[str] = ()
) -> list[str]:
    """Check a run; ``found`` (n_pieces, n_chans) is the `spread` of its pieces, which begin ``at``."""
    flat = ~np.isfinite(found).any(axis=0)
    good = [int(i) for i in np.flatnonzero(~flat & ~np.isin(list(names), list(bads)))]
    if len(good) == 0:
        return []
    pieces = np.isfinite(found[:, good]).any(axis=1)
    found, at = found[pieces], [a for a, here in zip(at, pieces, strict=True) if here]
    whole = np.nanmedian(found[:, good], axis=1)  # of each piece
    _check_stretch(whole, at, unit, "its values are", "or leave these events out")
    middle = float(np.median(whole))
    relative = found - whole[:, None]
    per_channel = _of_channels(relative)
    usual = _usual(per_channel[good], unit, middle)
    away = per_channel - usual
    off = [i for i in good if _is_off(away[i], per_channel[i] + middle, unit)]
    if off:
        factor = away[off[0]]
        here = [names[i] for i in off if abs(away[i] - factor) < 1]
        raise PhospheneError(
            f"{_channels(here)} {_times(factor)} the others ({_size(per_channel[off[0]] + middle, unit)}, others "
            f"{_size(usual + middle, unit)}): {_fix(factor, unit)}, or leave {_left(here)}"
        )
    for i in good:
        _check_stretch(relative[:, i], at, unit, _channels([names[i]]), f"or leave {_left([names[i]])}", middle)
    with np.errstate(invalid="ignore"):
        quiet, loud = flat | (away < np.log10(QUIET)), away > np.log10(LOUD)
    notes = {
        "channels flat or nearly so, kept": quiet,
        f"channels more than {LOUD:.0f} times as large as the others, kept": loud,
    }
    return [f"{note}: {', '.join(np.array(names)[of])}" for note, of in notes.items() if of.any()]


def _check_stretch(values: np.ndarray, at: Sequence[str], unit: str, what: str, fix: str, middle: float = 0.0) -> None:
    """Refuse a stretch of pieces that is off from the rest of the run; ``middle`` is added to give log10 volts."""
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < 4:
        return
    from scipy.ndimage import median_filter

    smooth = median_filter(values[known], _SMOOTH if len(known) > 2 * _SMOOTH else 3, mode="mirror")
    usual = _usual(smooth, unit, middle)
    off = [i for i, v in enumerate(smooth) if _is_off(v - usual, v + middle, unit)]
    if off:
        value = float(np.median(smooth[off]))
        end = f"to {at[known[off[-1]]]}" if off[-1] + 1 < len(known) else "on"
        raise PhospheneError(
            f"from about {at[known[off[0]]]} {end}, {what} {_times(value - usual)} in the rest of the run "
            f"({_size(value + middle, unit)}, else {_size(usual + middle, unit)}): {_fix(value - usual, unit)}, {fix}"
        )


def _usual(values: np.ndarray, unit: str, middle: float = 0.0) -> float:
    """The value that most others are near to; where volts are known, one that EEG can have goes first."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return np.nan
    volts = values + middle
    likely = (volts >= np.log10(PLAUSIBLE[0])) & (volts <= np.log10(LIKELY)) | (unit in WITHOUT_VOLTS)
    near = (np.abs(values[:, None] - values) < 1).sum(axis=1)
    return float(values[np.lexsort((-np.arange(len(values)), near, likely))[-1]])


def _is_off(away: float, value: float, unit: str) -> bool:
    """Whether something is off from the others by ``away`` (log10), as a slip of a unit is.

    What is smaller may be a dead channel: a slip is near a power of 1,000, and below the noise of every amplifier.
    """
    if away >= _LIMIT:
        return True
    return -7 < away <= -_LIMIT and _slip(away) != 0 and (unit in WITHOUT_VOLTS or value < _NOISE)


def _slip(away: float) -> int:
    """The power of 1,000, as one of 10, that is near; 0 if none is."""
    power = 3 * round(away / 3)
    return power if abs(away - power) <= 0.75 else 0


def _times(away: float) -> str:
    """ "about 1,000 times as large as"."""
    factor = 10.0 ** abs(_slip(away) or away)
    return f"about {float(f'{factor:.1g}'):,.0f} times as {'large' if away > 0 else 'small'} as"


def _fix(away: float, unit: str) -> str:
    power = _slip(away)
    if not power:
        return "scale them alike"
    fix = f"multiply them by {10.0**-power:g}"
    if unit in WITHOUT_VOLTS:
        return fix
    names = {0: "V", -3: "mV", -6: "uV", -9: "nV"}
    looks = names.get(round(np.log10(UNITS[unit])) - power)
    return f"they look like {looks} taken for {unit}, {fix}" if looks else f"they look scaled once too often, {fix}"


def _size(value: float, unit: str) -> str:
    """ "12 mV" of log10 volts; a number where volts are lost."""
    size = 10.0**value
    if unit in WITHOUT_VOLTS:
        return f"{size:.2g}"
    name = next((n for n in ("V", "mV", "uV") if size >= UNITS[n]), "nV")
    return f"{size / UNITS[name]:.3g} {name}"


def _channels(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"channel {shown} is" if len(names) == 1 else f"channels {shown}{more} are"


def _left(names: Sequence[str]) -> str:
    """How to leave channels out, after "leave"."""
    of = f"{names[0]}: misc" + (", ..." if len(names) > 1 else "")
    return f"{'it' if len(names) == 1 else 'them'} out (preprocessing.channel_types: {{{of}}}, or preprocessing.picks)"


def sampled(eeg: EEG, rows: np.ndarray, n: int) -> np.ndarray:
    """(n, n_chans, n_times) float64 of at most ``n`` trials, spread over ``rows``."""
    return np.stack([np.asarray(eeg[i], np.float64) for i in _evenly(rows, n)])


def _evenly(rows: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of the rows, evenly."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int))]
