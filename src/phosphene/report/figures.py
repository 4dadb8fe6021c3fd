"""Figures of a run, drawn without pyplot, in sentinel colours that `markup.drawing` turns into those of the page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from phosphene.eeg.trials import Trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: variable of the page's style sheet -> the colour that stands for it in a figure
COLOURS = {"ink": "#010203", "muted": "#040506", "accent": "#070809", "second": "#0a0b0c", "faint": "#0d0e0f"}
INK, MUTED, ACCENT, SECOND, FAINT = COLOURS.values()
SERIES = (ACCENT, SECOND, MUTED, INK)
_CHUNK = 256


def canvas(width: float, height: float, columns: int = 1, **options: Any) -> tuple["Figure", list["Axes"]]:
    """A figure of ``columns`` axes side by side, inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **options)[0]
    for ax in axes:
        _calm(ax)
    return figure, list(axes)


def _calm(ax: "Axes") -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(colors=MUTED, labelsize=8.5, length=3)
    for label in (ax.xaxis.label, ax.yaxis.label, ax.title):
        label.set_color(INK)
        label.set_fontsize(9)


def _legend(ax: "Axes", **options: Any) -> None:
    legend = ax.legend(frameon=False, fontsize=8.5, handlelength=1.4, **options)
    for text in legend.get_texts():
        text.set_color(INK)


def mean_and_error(trials: Trials, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and its standard error over the trials of ``mask``: (n_chans, n_times) each, uV, and how many trials."""
    total = np.zeros(trials.eeg.shape[1:])
    squares = np.zeros(trials.eeg.shape[1:])
    rows = np.flatnonzero(mask)
    for start in range(0, len(rows), _CHUNK):
        part = 1e6 * np.asarray(trials.eeg[rows[start : start + _CHUNK]], np.float64)
        total += part.sum(axis=0)
        squares += (part**2).sum(axis=0)
    mean = total / len(rows)
    variance = np.maximum(squares / len(rows) - mean**2, 0) * len(rows) / max(1, len(rows) - 1)
    return mean, np.sqrt(variance / len(rows)), len(rows)


def butterfly(
    mean: np.ndarray, times: np.ndarray, peaks: Sequence[int], front: np.ndarray | None, following: float
) -> "Figure":
    """Every channel's mean (n_chans, n_times), uV, over ``times`` (s), and the global field power above it.

    Parameters
    ----------
    peaks : samples to mark.
    front : (n_chans,) whether an electrode lies in the front half of the cap; None if positions are unknown.
    following : onset of the next picture, s.
    """
    figure, (ax,) = canvas(7.6, 3.0)
    for i, channel in enumerate(mean):
        colour = MUTED if front is None else ACCENT if front[i] else SECOND
        ax.plot(1e3 * times, channel, color=colour, lw=0.7, alpha=0.5)
    ax.plot(1e3 * times, mean.std(axis=0), color=INK, lw=1.8)
    for peak in peaks:
        ax.axvline(1e3 * times[peak], color=FAINT, lw=0.8, ls=(0, (3, 3)), zorder=0)
    if following < times[-1]:
        ax.axvspan(1e3 * following, 1e3 * times[-1], color=FAINT, alpha=0.18, lw=0, zorder=0)
        ax.text(
            1e3 * following + 6,
            0.98,
            "next picture",
            color=MUTED,
            fontsize=8.5,
            va="top",
            transform=ax.get_xaxis_transform(),
        )
    ax.axvline(0, color=FAINT, lw=0.8)
    ax.axhline(0, color=FAINT, lw=0.8, zorder=0)
    ax.margins(x=0)
    ax.set_xlabel("time from picture onset (ms)")
    ax.set_ylabel("µV")
    ax.plot([], [], color=INK, lw=1.8, label="global field power")
    if front is None:
        ax.plot([], [], color=MUTED, lw=1, label="channels")
    else:
        ax.plot([], [], color=ACCENT, lw=1, label="front half of the head")
        ax.plot([], [], color=SECOND, lw=1, label="back half")
    _legend(ax, loc="upper left", ncols=3, bbox_to_anchor=(0, 1.12))
    return figure


def field_power_peaks(mean: np.ndarray, times: np.ndarray, until: float, most: int = 4) -> list[int]:
    """The clearest peaks of the global field power from onset to ``until`` (s), in order of time."""
    from scipy.signal import find_peaks

    power = mean.std(axis=0)
    distance = max(1, round(0.04 / (times[1] - times[0])))
    found = [
        p for p in find_peaks(power, distance=distance, prominence=0.03 * power.max())[0] if 0.02 < times[p] < until
    ]
    return sorted(sorted(found, key=lambda p: -power[p])[:most])


def topographies(mean: np.ndarray, trials: Trials, peaks: Sequence[int]) -> "Figure":
    """Maps of the mean (n_chans, n_times), uV, at ``peaks``, on one scale."""
    import mne

    figure, axes = canvas(1.7 * len(peaks) + 0.9, 1.9, len(peaks))
    limit = float(np.abs(mean[:, peaks]).max()) or 1.0
    info = trials.signal.to_info()
    for ax, peak in zip(axes, peaks, strict=True):
        image, _ = mne.viz.plot_topomap(
            mean[:, peak],
            info,
            axes=ax,
            show=False,
            contours=4,
            sensors=False,
            cmap="RdBu_r",
            vlim=(-limit, limit),
            res=48,
        )
        for line in ax.lines:
            line.set(color=MUTED, linewidth=0.8)
        for contour in ax.collections:
            contour.set(edgecolor=MUTED, linewidth=0.5)
        ax.set_title(f"{1e3 * trials.times[peak]:.0f} ms", color=INK, fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=14)
    bar.set_label("µV", color=INK, fontsize=9)
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=2)
    bar.outline.set_visible(False)
    return figure


def by_concept(trials: Trials, test: np.ndarray, concepts: Sequence[str], ch_names: Sequence[str]) -> "Figure":
    """Mean of each concept's test trials at each channel with its 95 % band, uV."""
    columns = min(2, len(ch_names))
    figure, _ = canvas(7.6, 0.4, 1)
    figure.clear()
    rows = -(-len(ch_names) // columns)
    figure.set_size_inches(7.6, 2.1 * rows + 0.3)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    index = trials.signal.indices(ch_names)
    times = 1e3 * trials.times
    for concept, colour in zip(concepts, SERIES, strict=False):
        mask = test & (trials.table["concept"] == concept).to_numpy()
        if not mask.any():
            continue
        mean, error, n = mean_and_error(trials, mask)
        for ax, channel in zip(axes, index, strict=False):
            ax.fill_between(
                times,
                mean[channel] - 1.96 * error[channel],
                mean[channel] + 1.96 * error[channel],
                color=colour,
                alpha=0.2,
                lw=0,
            )
            ax.plot(times, mean[channel], color=colour, lw=1.4, label=f"{concept} ({n})".replace("$", r"\$"))
    for i, ax in enumerate(axes):
        _calm(ax)
        ax.set_visible(i < len(index))
        ax.axvline(0, color=FAINT, lw=0.8)
        ax.axhline(0, color=FAINT, lw=0.8, zorder=0)
        ax.margins(x=0)
        if i < len(index):
            ax.set_title(ch_names[i], color=INK, fontsize=9, loc="left")
        if i % columns == 0:
            ax.set_ylabel("µV")
        if i >= len(index) - columns:
            ax.set_xlabel("time from picture onset (ms)")
    _legend(axes[0], loc="best")
    return figure


def cumulative_ranks(places: dict[bool, np.ndarray], n_gallery: int) -> "Figure":
    """Share of test pictures among the first k of ``n_gallery``, for the run, its shuffled control and chance."""
    figure, (ax,) = canvas(5.2, 2.7)
    k = np.unique(np.r_[1:11, np.geomspace(1, n_gallery, 60).round()]).astype(int)
    k = k[k <= n_gallery]
    for shuffled, colour, label in ((False, ACCENT, "EEG"), (True, SECOND, "shuffled control")):
        if shuffled in places:
            ax.plot(k, [100 * np.mean(places[shuffled] <= q) for q in k], color=colour, lw=2, label=label)
    ax.plot(k, 100 * k / n_gallery, color=MUTED, lw=1, ls=(0, (3, 3)), label="chance")
    ax.set_xscale("log")
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if t <= n_gallery]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_ylim(0, 101)
    ax.margins(x=0.01)
    ax.set_xlabel(f"among the first k of {n_gallery} pictures")
    ax.set_ylabel("pictures found (%)")
    _legend(ax, loc="upper left")
    return figure


def decisions(scores: np.ndarray, labels: np.ndarray, concepts: Sequence[str], by_run: "pd.Series | None") -> "Figure":
    """Held-out decision scores (n_trials,) by true concept (``labels`` 0 or 1), and the AUC of each run."""
    figure, axes = canvas(7.6, 2.7, 1 if by_run is None else 2)
    low, high = np.quantile(scores, [0.005, 0.995])
    edges = list(np.linspace(low, high, 36))
    for label, colour in ((0, ACCENT), (1, SECOND)):
        name = concepts[label].replace("$", r"\$")
        shown = scores[labels == label].clip(low, high)
        axes[0].hist(shown, edges, histtype="stepfilled", color=colour, alpha=0.25, lw=0)
        axes[0].hist(shown, edges, histtype="step", color=colour, lw=1.4, label=name)
    axes[0].axvline(0, color=MUTED, lw=1, ls=(0, (3, 3)))
    axes[0].set_xlabel(f"decision score (to the right: {concepts[1]})".replace("$", r"\$"))
    axes[0].set_ylabel("test trials")
    _legend(axes[0], loc="upper left")
    if by_run is not None:
        at = np.arange(len(by_run))
        axes[1].axhline(0.5, color=MUTED, lw=1, ls=(0, (3, 3)))
        axes[1].vlines(at, 0.5, by_run, color=FAINT, lw=1)
        axes[1].plot(at, by_run, "o", color=ACCENT, ms=6)
        step = max(1, len(at) // 12)
        axes[1].set_xticks(at[::step], [str(name).replace("$", r"\$") for name in by_run.index[::step]])
        axes[1].set_xlabel("left-out run (subject/session/run)" if len(at) <= 12 else "left-out run")
        axes[1].tick_params(axis="x", rotation=45 if len(at) > 6 else 0)
        axes[1].set_ylabel("AUC")
        axes[1].set_ylim(min(0.4, float(by_run.min()) - 0.05), min(1.02, max(0.9, float(by_run.max()) + 0.05)))
    return figure


def losses(log: pd.DataFrame) -> "Figure":
    """Training and validation loss by epoch, of the run and of its shuffled control; thin lines are folds."""
    stages = list(log["stage"].unique())
    figure, axes = canvas(min(7.6, 3.6 * len(stages) + 1.6), 2.5, len(stages))
    for ax, stage in zip(axes, stages, strict=True):
        here = log[log["stage"] == stage]
        for fold, rows in here.groupby("fold", sort=False):
            shuffled = str(fold).endswith("-shuffled")
            rows = rows.drop_duplicates("epoch", keep="last").sort_values("epoch")
            colour = SECOND if shuffled else ACCENT
            ax.plot(rows["epoch"], rows["loss"], color=colour, lw=1, ls=(0, (3, 2)))
            if rows["val_loss"].notna().any():
                ax.plot(rows["epoch"], rows["val_loss"], color=colour, lw=1.6)
        ax.set_title(f"stage '{stage}'", color=INK, fontsize=9, loc="left")
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
        for colour, label in ((ACCENT, "EEG"), (SECOND, "shuffled control")):
            if label == "EEG" or here["fold"].str.endswith("-shuffled").any():
                ax.plot([], [], color=colour, lw=1.6, label=label)
        ax.plot([], [], color=MUTED, lw=1, ls=(0, (3, 2)), label="training")
        if here["val_loss"].notna().any():
            ax.plot([], [], color=MUTED, lw=1.6, label="validation")
    _legend(axes[-1], loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure
