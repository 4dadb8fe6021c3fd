"""The page's figures, drawn without any global state of matplotlib."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from phosphene.trials import Trials

REAL, TWIN, CHANCE = "#1f6fb2", "#b9770e", "#8a939b"


def scores(table: pd.DataFrame) -> Figure:
    """Value with interval, chance and twin of every score between 0 and 1."""
    shown = table[(table["value"] <= 1) & (table["chance"] <= 1)]
    fig = Figure(figsize=(8.4, 0.5 + 0.3 * len(shown)))
    ax = fig.subplots()
    y = np.arange(len(shown))[::-1]
    ax.hlines(y, shown["ci_low"], shown["ci_high"], color=REAL, lw=2.5)
    ax.plot(shown["value"], y, "o", color=REAL, label="EEG, 95 % interval")
    ax.plot(shown["chance"], y, "|", color=CHANCE, ms=11, mew=2, label="chance")
    ax.plot(shown["shuffled"], y, "x", color=TWIN, ms=7, mew=2, label="shuffled twin")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(shown) - 0.3), yticks=y, yticklabels=shown["metric"])
    ax.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return _plain(fig)


def evoked(trials: Trials) -> tuple[Figure, bool]:
    """Means over trials: channels, global field power and topographies; with few channels, a mean for each concept.

    Returns
    -------
    The figure, and whether it shows topographies.
    """
    if trials.n_chans >= 16 and trials.signal.positions is not None:
        return _butterfly(trials), True
    return _by_concept(trials), False


def _butterfly(trials: Trials) -> Figure:
    import mne
    from scipy.signal import find_peaks

    times, mean = 1e3 * trials.times, 1e6 * np.asarray(trials.eeg, np.float64).mean(0)
    power = mean.std(axis=0)
    peaks, _ = find_peaks(np.where(times > 30, power, 0), distance=max(1, int(0.06 * trials.signal.sfreq)))
    peaks = np.sort(sorted(peaks, key=lambda i: -power[i])[:4])
    fig = Figure(figsize=(9.2, 4.6))
    grid = fig.add_gridspec(2, max(1, len(peaks)), height_ratios=(1, 1.15))
    limit = float(np.abs(mean[:, peaks]).max()) if len(peaks) else 1.0
    info = trials.signal.to_info()
    for i, peak in enumerate(peaks):
        ax = fig.add_subplot(grid[0, i])
        mne.viz.plot_topomap(mean[:, peak], info, axes=ax, show=False, vlim=(-limit, limit), sensors=False)
        ax.set_title(f"{times[peak]:.0f} ms", fontsize=9)
    ax = fig.add_subplot(grid[1, :])
    ax.plot(times, mean.T, color=REAL, lw=0.6, alpha=0.5)
    ax.plot(times, power, color="black", lw=1.6, label="global field power")
    ax.axvline(0, color=CHANCE, lw=1)
    ax.set(xlabel="time from picture onset (ms)", ylabel="µV", xlim=(times[0], times[-1]))
    ax.legend(frameon=False, fontsize=8)
    return _plain(fig)


def _by_concept(trials: Trials) -> Figure:
    times = 1e3 * trials.times
    concepts = sorted(trials.table["concept"].unique())[:4]
    fig = Figure(figsize=(9.2, 2.4 * -(-trials.n_chans // 2)))
    axes = np.atleast_1d(fig.subplots(-(-trials.n_chans // 2), 2, sharex=True, sharey=True)).ravel()
    for channel, ax in zip(range(trials.n_chans), axes, strict=False):
        for concept, colour in zip(concepts, (REAL, TWIN, "#3b8f5a", "#8a4fa3"), strict=False):
            own = 1e6 * np.asarray(trials.eeg[(trials.table["concept"] == concept).to_numpy(), channel], np.float64)
            mean, half = own.mean(0), 1.96 * own.std(0) / np.sqrt(max(1, len(own)))
            ax.fill_between(times, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
            ax.plot(times, mean, color=colour, lw=1.4, label=f"{concept} (n = {len(own)})")
        ax.axvline(0, color=CHANCE, lw=1)
        ax.set(title=trials.signal.ch_names[channel], xlim=(times[0], times[-1]))
    axes[0].legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("µV")
    fig.supxlabel("time from the marker (ms)", fontsize=9)
    return _plain(fig)


def training(log: pd.DataFrame) -> Figure:
    """Loss over epochs of the first fold and of its twin."""
    fig = Figure(figsize=(9.2, 2.6))
    folds = [f for f in log["fold"].unique() if not f.endswith("-shuffled")][:1]
    axes = np.atleast_1d(fig.subplots(1, 2, sharey=True))
    for fold, ax, title in zip((folds[0], f"{folds[0]}-shuffled"), axes, ("EEG", "shuffled twin"), strict=True):
        rows = log[(log["fold"] == fold) & log["loss"].notna()]
        ax.plot(rows["epoch"], rows["loss"], color=REAL, label="training")
        if "val_loss" in rows:
            ax.plot(rows["epoch"], rows["val_loss"], color=TWIN, label="validation (unseen concepts)")
        ax.set(title=title, xlabel="epoch")
    axes[0].set_ylabel("loss")
    axes[0].legend(frameon=False, fontsize=8)
    return _plain(fig)


def _plain(fig: Any) -> Figure:
    for ax in fig.axes:
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        ax.tick_params(labelsize=8)
    fig.set_layout_engine("constrained")
    return fig
