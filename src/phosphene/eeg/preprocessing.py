"""From a continuous recording to epochs, on MNE objects: filter, reference, epoch, baseline, resample."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd

from phosphene.eeg import channels
from phosphene.eeg.lazy import EEG, LazyArray, chunks, lazy, read, stays
from phosphene.eeg.montages import standard_montage
from phosphene.eeg.scale import check_recording, check_trials
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.settings import Hertz, Positive, Seconds

if TYPE_CHECKING:
    import mne

CUT = "BAD cut: "  # before the name of what marks a cut: MNE then drops epochs across it
_LIMIT, _ENDS = "above preprocessing.reject", "cut off by the recording's begin or end"


class NothingLeft(PhospheneError):
    """No trial of a recording is left: where other recordings have some, this one is left out."""


class Preprocessing:
    """The steps between a recording and its trials, in the order in which they run.

    Parameters
    ----------
    picks : channels to keep, in this order; None keeps every EEG channel.
    rename : old name -> new name, before anything else.
    channel_types : channel, renamed -> its type, in MNE's words: "eeg", "eog", "ecg", "emg", "misc", "stim", ...
        Channels that are no electrodes by their names (`phosphene.eeg.channels`) are left out, unless ``picks`` names
        them or this says that they are "eeg".
    montage : a standard montage of MNE (such as "standard_1005") for recordings without positions; "keep" leaves as is.
    l_freq, h_freq : band edges, Hz; None leaves that side open.
    notch : line frequency to remove, Hz; None leaves it.
    phase : of the filters. "zero" delays nothing, but spreads a response to before its picture; "minimum" is causal:
        nothing comes earlier than in the recording.
    reference : "average", a channel name, a list of them, or None to keep the recording's.
    tmin, tmax : epoch limits, s from onset; ``tmin <= time < tmax``. None: where stored epochs begin and end.
    baseline : (start, end) s whose mean is subtracted, or None.
    sfreq : rate of the epochs, Hz; None keeps the recording's.
    reject : peak-to-peak limit, V; epochs above it on any channel are dropped. None keeps all.
    """

    def __init__(
        self,
        *,
        picks: Sequence[str] | None = None,
        rename: dict[str, str] | None = None,
        channel_types: dict[str, str] | None = None,
        montage: str = "keep",
        l_freq: Hertz | None = 0.1,
        h_freq: Hertz | None = 40.0,
        notch: Hertz | None = None,
        phase: Literal["zero", "minimum"] = "zero",
        reference: str | Sequence[str] | None = None,
        tmin: Seconds | None = -0.2,
        tmax: Seconds | None = 0.8,
        baseline: tuple[Seconds | None, Seconds | None] | None = (None, 0.0),
        sfreq: Hertz | None = 100.0,
        reject: Positive | None = None,
    ):
        given = {"l_freq": l_freq, "h_freq": h_freq, "notch": notch, "sfreq": sfreq, "reject": reject}
        for key, value in given.items():
            if value is not None and not value > 0:
                raise PhospheneError(f"{key} is {value:g}: give a positive number, or null for none")
        if phase not in ("zero", "minimum"):
            raise PhospheneError(f"phase is '{phase}': give zero or minimum")
        first, last = -math.inf if tmin is None else tmin, math.inf if tmax is None else tmax
        if last <= first:
            raise PhospheneError(f"tmax ({last:g} s) must lie after tmin ({first:g} s)")
        for edge in baseline or ():
            if edge is not None and not first <= edge <= last:
                raise PhospheneError(f"baseline edge {edge:g} s lies outside the epoch ({first:g} to {last:g} s)")
        if h_freq is not None and l_freq is not None and h_freq <= l_freq:
            raise PhospheneError(f"h_freq ({h_freq:g} Hz) must lie above l_freq ({l_freq:g} Hz)")
        if sfreq is not None and h_freq is not None and h_freq > sfreq / 2:
            raise PhospheneError(
                f"h_freq ({h_freq:g} Hz) is above half of sfreq ({sfreq:g} Hz): lower it or raise sfreq"
            )
        if picks is not None and not len(picks):
            raise PhospheneError("picks names no channel: leave it out to keep every EEG channel")
        self.picks, self.rename, self.montage = picks, rename, montage
        self.channel_types = channels.check_types(channel_types)
        self.l_freq, self.h_freq, self.notch, self.reference = l_freq, h_freq, notch, reference
        self.phase, self.tmin, self.tmax, self.sfreq, self.reject = phase, tmin, tmax, sfreq, reject
        self.baseline = None if baseline is None else tuple(baseline)

    @classmethod
    def as_stored(cls, **given: Any) -> Self:
        """The steps given, and nothing else: for trials that are stored as epochs.

        Raises
        ------
        PhospheneError
            If one of them is a filter: epochs are too short for it.
        """
        stored = dict.fromkeys(("l_freq", "h_freq", "tmin", "tmax", "baseline", "sfreq"))
        steps = cls(**{**stored, **given})
        steps._refuse_filters()
        return steps

    def _refuse_filters(self) -> None:
        for key in ("l_freq", "h_freq", "notch"):
            if getattr(self, key) is not None:
                raise PhospheneError(
                    f"preprocessing.{key} cannot be applied to trials that are stored as epochs: leave it out"
                )
        if self.phase != "zero":
            raise PhospheneError(
                "preprocessing.phase applies to filters, but stored epochs are not filtered: leave it out"
            )

    def config(self) -> dict[str, Any]:
        return dict(vars(self))

    def continuous(self, raw: "mne.io.BaseRaw", bads: Literal["keep", "interpolate"] = "keep") -> "mne.io.BaseRaw":
        """A filtered, re-referenced copy of a recording; ``bads`` says what becomes of channels marked bad."""
        raw = raw.copy().load_data(verbose="error")
        self.typed(raw)
        for name in self.picks or ():
            if name not in raw.ch_names:
                raise PhospheneError(
                    f"channel '{name}' is not in the recording: {nearest(name, raw.ch_names)} "
                    "(set preprocessing.rename)"
                )
        if "eeg" not in raw.get_channel_types():
            channels.retype(raw, dict.fromkeys(self.picks or (), "eeg"))
        check_eeg(raw.get_channel_types())
        if bads == "interpolate":
            self.interpolate(raw)
        if self.reference is not None:  # of all electrodes, before some are picked
            wanted = self._references()
            for name in wanted:
                if name not in raw.ch_names:
                    raise PhospheneError(f"reference '{name}' is not a channel: {nearest(name, raw.ch_names)}")
            raw.set_eeg_reference("average" if self.reference == "average" else wanted, verbose="error")
        raw.pick(list(self.picks) if self.picks else "eeg", exclude=(), verbose="error")
        channels.retype(raw, dict.fromkeys(self.picks or (), "eeg"))  # what is picked is decoded, whatever its type
        bad = [c for c, x in zip(raw.ch_names, np.isnan(raw.get_data()).any(axis=1), strict=True) if x]
        if bad:
            raise PhospheneError(f"channel '{bad[0]}' holds NaN ({len(bad)} such): leave it out of preprocessing.picks")
        if self.montage != "keep":
            positions = standard_montage(self.montage)
            lost = [c for c in raw.ch_names if c not in positions.ch_names]
            if lost:
                raise PhospheneError(
                    f"channel '{lost[0]}' is not in montage {self.montage}: "
                    f"{nearest(lost[0], positions.ch_names)} (set preprocessing.rename)"
                )
            raw.set_montage(positions, verbose="error")
        nyquist = raw.info["sfreq"] / 2
        for key in ("l_freq", "h_freq", "notch"):
            value = getattr(self, key)
            if value is not None and value >= nyquist:
                raise PhospheneError(
                    f"{key} is {value:g} Hz but the recording ends at {nyquist:g} Hz (half its sampling rate): lower it"
                )
        if self.sfreq is not None and self.sfreq > raw.info["sfreq"]:
            raise PhospheneError(f"sfreq {self.sfreq:g} Hz is above the recording's {raw.info['sfreq']:g} Hz: lower it")
        if self.l_freq is not None or self.h_freq is not None:
            raw.filter(self.l_freq, self.h_freq, phase=self.phase, verbose="error")
        if self.notch is not None:
            raw.notch_filter(np.arange(self.notch, nyquist, self.notch), phase=self.phase, verbose="error")
        return raw

    def typed(self, data: "mne.io.BaseRaw | mne.BaseEpochs | mne.Info") -> list[str]:
        """Rename channels and set their types, in place; those whose names are no electrodes become misc.

        Returns
        -------
        These.
        """
        unknown = [c for c in self.rename or () if c not in data.ch_names]
        if unknown:
            raise PhospheneError(f"cannot rename channel '{unknown[0]}': {nearest(unknown[0], data.ch_names)}")
        data.rename_channels(self.rename or {}, verbose="error")
        return channels.set_types(data, self.channel_types, self.picks)

    def typed_epochs(self, epochs: "mne.BaseEpochs") -> list[str]:
        """The same in epochs, where what is picked or a reference becomes EEG, whatever its type; notes about it."""
        gone = self.typed(epochs)
        wanted = [*(self.picks or ()), *self._references()]
        channels.retype(epochs, {c: "eeg" for c in wanted if c in epochs.ch_names})
        return [] if self.picks else channels.note_of([c for c in gone if c not in wanted])

    def of_typed(self) -> Self:
        """The steps for epochs whose channels `typed_epochs` saw to."""
        kept = {c: t for c, t in (self.channel_types or {}).items() if t == "eeg" or c in self._references()}
        return type(self)(**{**self.config(), "rename": None, "channel_types": kept or None})

    def _references(self) -> list[str]:
        """The channels that are the reference."""
        if self.reference in (None, "average"):
            return []
        return [self.reference] if isinstance(self.reference, str) else list(self.reference or ())

    def _told(self, raw: "mne.io.BaseRaw", onsets: np.ndarray) -> list[str]:
        """Notes about a recording's channels, whose scale is checked as it was recorded, where events (s) are."""
        info = raw.info.copy()
        gone = self.typed(info)
        electrodes = [c for c, kind in zip(info.ch_names, info.get_channel_types(), strict=True) if kind == "eeg"]
        names = self._compared(electrodes, info.ch_names)
        seconds = (self.tmax or 0.0) - (self.tmin or 0.0)
        notes = [] if self.picks else channels.note_of(gone)
        where = [info.ch_names.index(name) for name in names]
        if not names:  # what is missing is told in its place
            return notes
        return notes + check_recording(raw, where, names, onsets + (self.tmin or 0.0), seconds)

    def interpolate(self, inst: "mne.io.BaseRaw | mne.BaseEpochs") -> None:
        """Interpolate the channels marked bad from the others, in place.

        Positions are the recording's; where it has none, those of ``montage``.

        Raises
        ------
        PhospheneError
            A channel has no position, or too few channels are left.
        """
        inst.info["bads"] = [c for c in inst.info["bads"] if c in inst.ch_names]
        if not inst.info["bads"]:
            return
        kinds = dict(zip(inst.ch_names, inst.get_channel_types(), strict=True))

        def lost() -> list[str]:
            places = {c["ch_name"]: c["loc"][:3] for c in inst.info["chs"]}
            return [c for c, at in places.items() if kinds[c] == "eeg" and not (np.isfinite(at).all() and np.any(at))]

        if lost() and self.montage != "keep":
            inst.set_montage(standard_montage(self.montage), on_missing="ignore", verbose="error")
        try:
            if missing := lost():
                raise ValueError(f"channel '{missing[0]}' has no position, which preprocessing.montage can give it")
            inst.interpolate_bads(reset_bads=False, verbose="error")
        except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:
            line = " ".join(str(error).split())
            raise PhospheneError(f"bad channels stay ({line}): give positions, or set bads to keep") from None

    def __call__(
        self,
        raw: "mne.io.BaseRaw",
        table: pd.DataFrame,
        stimuli: pd.DataFrame,
        notes: Sequence[str] = (),
        *,
        bads: Literal["keep", "interpolate"] = "keep",
        dropped: Counter[str] | None = None,
    ) -> Trials:
        """Epochs of one recording.

        Parameters
        ----------
        raw : continuous recording, volts.
        table : one row for each event: `onset` in s from the first sample, `stimulus`, and any trial columns.
        stimuli : the stimulus table, indexed by stimulus.
        bads : "keep" channels marked bad, or "interpolate" them once positions are known.
        dropped : counts, by reason, the epochs that are dropped.

        Raises
        ------
        PhospheneError
            Unknown channel, missing montage, wrong rate or NaN; `NothingLeft` if no epoch is; it names the fix.
        """
        import mne

        if len(table) == 0:
            raise NothingLeft("the recording holds no event: check the annotations or the event column")
        if self.tmin is None or self.tmax is None:
            raise PhospheneError("a continuous recording has no epochs: set preprocessing.tmin and preprocessing.tmax")
        notes = [*notes, *self._told(raw, table["onset"].to_numpy(float))]
        raw = self.continuous(raw, bads)
        rate = float(raw.info["sfreq"])
        # Where the rates divide, the band-limited recording is decimated in place: no edge effects at epoch borders.
        step, grid, last = 1, None, self.tmax - 1 / rate
        if self.sfreq is not None:
            if math.isclose(rate / self.sfreq, round(rate / self.sfreq), rel_tol=1e-9):
                step = round(rate / self.sfreq) if self.h_freq is not None else 1
            grid = _grid(self.tmin, self.tmax, rate, self.sfreq)
            last = grid.stop / rate
        samples = np.round(table["onset"].to_numpy(float) * rate).astype(int)
        events = np.column_stack([samples + raw.first_samp, np.zeros_like(samples), np.arange(1, len(samples) + 1)])
        order = np.argsort(events[:, 0], kind="stable")
        epochs = mne.Epochs(
            raw,
            events[order],
            tmin=self.tmin,
            tmax=last,
            baseline=self.baseline,
            decim=step,
            reject=None if self.reject is None else {"eeg": self.reject},
            event_repeated="error",
            preload=True,
            verbose="error",
        )
        kept = order[epochs.selection]
        reasons = Counter(_reason(log, raw.ch_names) for log in epochs.drop_log if log)
        if len(kept) == 0:
            fix = "check preprocessing.reject, tmin and tmax, and the bad stretches"
            raise NothingLeft(f"none of {len(table)} epochs is left: {fix} ({count_reasons(reasons)})")
        if dropped is not None:
            dropped.update(reasons)
        if grid is not None and self.sfreq is not None:
            epochs.crop(grid.start / rate, None, verbose="error")
            if not math.isclose(epochs.info["sfreq"], self.sfreq):
                epochs.resample(self.sfreq, verbose="error")
            epochs.crop(None, epochs.tmin + (grid.length - 1) / self.sfreq, verbose="error")
        return Trials.from_mne(epochs, table.iloc[kept], stimuli, notes)

    def epoched(
        self,
        eeg: EEG,
        signal: Signal,
        table: pd.DataFrame,
        stimuli: pd.DataFrame,
        notes: Sequence[str] = (),
        *,
        scale: float = 1.0,
        unit: str = "V",
        bads: Sequence[str] = (),
        dropped: Counter[str] | None = None,
    ) -> Trials:
        """The same steps on trials that are stored as epochs, filters left out; large arrays stay on disk.

        Parameters
        ----------
        eeg : (n_trials, n_chans, n_times) of any real dtype.
        signal : its channels, rate (Hz), first sample (s from onset) and positions.
        table, stimuli, notes : as for recordings; `onset` is not needed.
        scale : factor to volts.
        unit : "V", "whitened" or "standardised".
        bads : channels marked bad, which may have any size.
        dropped : counts, by reason, the trials that are dropped.

        Raises
        ------
        PhospheneError
            Unknown channel, times that are not stored, a limit in volts where volts are lost, or no trial left.
        """
        self._refuse_filters()
        if len(table) == 0:
            raise NothingLeft("there is no trial: check the table")
        if unit != "V" and self.reject is not None:
            raise PhospheneError(f"the stored trials are {unit}, without volts: leave out preprocessing.reject")
        names = [(self.rename or {}).get(c, c) for c in signal.ch_names]
        for name in self.rename or {}:
            if name not in signal.ch_names:
                raise PhospheneError(f"cannot rename channel '{name}': {nearest(name, signal.ch_names)}")
        signal = replace(signal, ch_names=tuple(names), unit=unit)
        channels.check_known(self.channel_types, names)
        types = self.channel_types or {}
        gone = channels.left_out([c for c in names if types.get(c, "eeg") == "eeg"], self.picks, types)
        electrodes = [c for c in names if c not in gone and types.get(c, "eeg") == "eeg"]
        if self.picks is None:
            check_eeg(types.get(c, "eeg") for c in names)
        trials = Trials(LazyArray(eeg, scale), table.reset_index(drop=True), stimuli, signal, list(notes))
        trials.notes += [] if self.picks else channels.note_of(gone)
        if unit != "V":
            trials.notes.append(f"EEG values are {unit}: their volts are lost.")
        trials.notes += check_trials(trials.pick(self._compared(electrodes, names)), scale, bads)
        if self.reference is not None:  # of all electrodes, before some are picked
            trials = replace(trials, eeg=self._referenced(trials, electrodes))
        if self.picks is not None or len(electrodes) < len(names):
            trials = trials.pick(electrodes if self.picks is None else self.picks)
        if self.montage != "keep":
            trials = replace(trials, signal=_located(trials.signal, self.montage))
        if self.baseline is not None:
            trials = replace(trials, eeg=self._corrected(trials))
        if self.reject is not None:
            limit, kept = self.reject, np.ones(len(trials), bool)
            for start, x in chunks(trials.eeg):
                kept[start : start + len(x)] = np.ptp(x, axis=2).max(axis=1) <= limit
            if not kept.any():
                raise NothingLeft(f"none of {len(kept)} epochs is left: raise preprocessing.reject")
            if dropped is not None and not kept.all():
                dropped[_LIMIT] += int((~kept).sum())
            trials = trials.select(kept)
        if self.sfreq is not None and not math.isclose(self.sfreq, trials.signal.sfreq, rel_tol=1e-6):
            trials = self._resampled(trials)
        if self.tmin is not None or self.tmax is not None:
            times, step = trials.times, 1 / trials.signal.sfreq
            for key, value in (("tmin", self.tmin), ("tmax", self.tmax)):
                if value is not None and not times[0] - step < value < times[-1] + 2 * step:
                    raise PhospheneError(
                        f"preprocessing.{key} is {value:g} s, and the stored epochs span {times[0]:g} to "
                        f"{times[-1] + step:g} s: leave it out or keep it within"
                    )
            trials = trials.crop(self.tmin, self.tmax)
        return trials if stays(trials.eeg) else replace(trials, eeg=read(trials.eeg))

    def _compared(self, electrodes: Sequence[str], names: Sequence[str]) -> list[str]:
        """The channels whose scale counts: those picked, and those that they are referenced to."""
        wanted = electrodes if self.picks is None or self.reference == "average" else []
        return [c for c in dict.fromkeys([*wanted, *(self.picks or ()), *self._references()]) if c in names]

    def _referenced(self, trials: Trials, electrodes: Sequence[str]) -> EEG:
        index = trials.signal.indices(self._references() or electrodes)
        return lazy(trials.eeg).map(lambda x, _: x - x[:, index].mean(axis=1, keepdims=True))

    def _corrected(self, trials: Trials) -> EEG:
        start, stop = self.baseline or (None, None)
        times, half = trials.times, 0.5 / trials.signal.sfreq
        inside = (times >= (-np.inf if start is None else start) - half) & (
            times <= (np.inf if stop is None else stop) + half
        )
        if not inside.any():
            raise PhospheneError(
                f"no stored sample lies in the baseline: the epochs span {times[0]:g} to {times[-1]:g} s, set "
                "preprocessing.baseline to null"
            )
        return lazy(trials.eeg).map(lambda x, _: x - x[:, :, inside].mean(axis=2, keepdims=True))

    def _resampled(self, trials: Trials) -> Trials:
        import mne

        rate, wanted = trials.signal.sfreq, float(self.sfreq or trials.signal.sfreq)
        if wanted > rate:
            raise PhospheneError(f"sfreq {wanted:g} Hz is above the stored {rate:g} Hz: lower it")

        def step(x: np.ndarray, _: np.ndarray) -> np.ndarray:
            return np.asarray(
                mne.filter.resample(x.astype(np.float64), wanted, rate, npad="auto", pad="edge", verbose="error")
            )

        n_times = step(np.zeros((1, 1, trials.n_times)), np.zeros(1)).shape[2]
        signal = replace(trials.signal, sfreq=wanted)
        return replace(trials, eeg=lazy(trials.eeg).map(step, n_times=n_times), signal=signal)


class _Grid(NamedTuple):
    """Samples of a recording that are resampled to the times ``k / sfreq`` of an epoch."""

    start: int  # first and last sample of the recording, from onset
    stop: int
    length: int  # of the resampled epoch


def _grid(tmin: float, tmax: float, rate: float, sfreq: float) -> _Grid:
    """The same times for every rate: whole multiples of ``1 / sfreq`` with ``tmin <= time < tmax``."""
    first, end = (math.ceil(edge * sfreq - 1e-6) for edge in (tmin, tmax))
    if end <= first:
        raise PhospheneError(f"no sample of {sfreq:g} Hz lies in {tmin:g} to {tmax:g} s: raise preprocessing.sfreq")
    start, stop = max(round(first / sfreq * rate), round(tmin * rate)), round((tmax - 1 / rate) * rate)
    while round((stop - start + 1) * sfreq / rate) < end - first:
        stop += 1
    return _Grid(start, stop, end - first)


def n_samples(tmin: float, tmax: float, sfreq: float) -> int:
    """How many samples epochs of this rate (Hz) have with ``tmin <= time < tmax`` (s)."""
    return _grid(tmin, tmax, sfreq, sfreq).length


def _reason(log: Sequence[str], ch_names: Sequence[str]) -> str:
    """Why MNE dropped an epoch, from its entry of the drop log."""
    first = str(log[0])
    if first in ch_names:
        return _LIMIT
    if first.lower().startswith("bad"):
        return f"in the bad stretch '{first.removeprefix(CUT)}'"
    return _ENDS


def count_reasons(reasons: Counter[str]) -> str:
    """Reasons with their counts, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def check_eeg(types: Iterable[str]) -> None:
    """Without a channel of type EEG there is nothing to decode."""
    kinds = set(types)
    if "eeg" not in kinds:
        raise PhospheneError(
            f"no channel is of type EEG (types: {', '.join(sorted(kinds))}): correct them (column type of "
            "channels.tsv: EEG, EOG, ECG, EMG, TRIG, MISC; or preprocessing.channel_types), or name the channels in "
            "preprocessing.picks"
        )


def _located(signal: Signal, montage: str) -> Signal:
    """The signal with the positions of a standard montage."""
    positions = standard_montage(montage)
    lost = [c for c in signal.ch_names if c not in positions.ch_names]
    if lost:
        raise PhospheneError(
            f"channel '{lost[0]}' is not in montage {montage}: {nearest(lost[0], positions.ch_names)} "
            "(set preprocessing.rename)"
        )
    info = replace(signal, positions=None).to_info()
    info.set_montage(positions, verbose="error")
    return replace(signal, positions=tuple(tuple(map(float, c["loc"][:3])) for c in info["chs"]))
