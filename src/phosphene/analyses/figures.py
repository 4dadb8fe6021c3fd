"""Pictures of the tables: matplotlib figures, drawn without pyplot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from phosphene.errors import PhospheneError, nearest
from phosphene.grid.tables import overall
from phosphene.report import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
_EEG, _CHANCE = "tab:blue", "0.5"
#: what stands beside a value: column -> colour, marker, words
_BESIDE = {
    "shuffled": ("tab:orange", "x", "shuffled control"),
    "ceiling": ("tab:green", "d", "ideal observer"),
    "chance": (_CHANCE, "|", "chance"),
}


def summary(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row a variant, in the table's order: value, low, high, chance, shuffled, ceiling, and its other columns.

    Of one run the value of all subjects with its interval; of several seeds, or subjects that are not scored together,
    the mean with the lowest and the highest value.
    """
    own = overall(table[table["metric"] == metric])
    rows = []
    for _, runs in own.groupby("variant", sort=False):
        first, alone = runs.iloc[0], len(runs) == 1
        value = runs["value"].astype(float)
        low, high = (first["ci_low"], first["ci_high"]) if alone else (value.min(), value.max())
        means = {column: runs[column].astype(float).mean() for column in ("chance", "shuffled", "ceiling")}
        rows.append({**first, "value": value.mean(), "low": low, "high": high, **means})
    return pd.DataFrame(rows)


def _shown(table: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    known = sorted(set(table["metric"]))
    shown = [metric for metric in metrics if metric in known]
    if not shown:
        raise PhospheneError(f"no run has a score '{metrics[0]}': {nearest(metrics[0], known)}")
    return shown


def _canvas(n: int, width: float, height: float) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n, height), layout="constrained")
    axes = list(figure.subplots(1, n, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _scaled(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Shares in per cent."""
    columns = ["value", "low", "high", "chance", "shuffled", "ceiling"]
    factor = 100 if words.words(metric).kind == "share" else 1
    return rows.assign(**{column: factor * rows[column].astype(float) for column in columns})


def _labelled(ax: "Axes", metric: str, axis: str) -> None:
    said = words.words(metric)
    getattr(ax, f"set_{axis}label")(said.title + (" (%)" if said.kind == "share" else ""))


def _curve(ax: "Axes", at: pd.Series, rows: pd.DataFrame) -> None:
    ax.fill_between(at, rows["low"], rows["high"], color=_EEG, alpha=0.2, lw=0)
    ax.plot(at, rows["value"], "o-", color=_EEG, ms=3.5, label="EEG")
    for column, (colour, _, label) in _BESIDE.items():
        if rows[column].notna().any():
            ax.plot(at, rows[column], "--" if column == "chance" else "-", color=colour, lw=1.2, label=label)


def over_time(table: pd.DataFrame, metrics: Sequence[str], whole: str, *, growing: bool) -> "Figure":
    """A curve over windows with its band, chance, shuffled control, ideal observer, and the value of the whole trial.

    Parameters
    ----------
    table : rows of scores with `variant`, `tmin` and `tmax` (s).
    metrics : one panel each.
    whole : the variant of the whole trial.
    growing : windows stand where they end; else at their middle, with a bar as wide as they are.
    """
    shown = _shown(table, metrics)
    figure, axes = _canvas(len(shown), 4.2, 3.2)
    for ax, metric in zip(axes, shown, strict=True):
        rows = _scaled(summary(table, metric), metric)
        windows = rows[rows["variant"] != whole].sort_values("tmax")
        at = 1e3 * (windows["tmax"] if growing else (windows["tmin"] + windows["tmax"]) / 2)
        _curve(ax, at, windows)
        if not growing:
            half = 500 * (windows["tmax"] - windows["tmin"])
            ax.hlines(windows["value"], at - half, at + half, color=_EEG, lw=0.7, alpha=0.5)
        for value in rows.loc[rows["variant"] == whole, "value"]:
            ax.axhline(value, color=_EEG, lw=0.8, ls=":", label="whole trial")
        ax.axvline(0, color=_CHANCE, lw=0.6)
        ax.set_xlabel("window ends (ms from onset)" if growing else "middle of the window (ms from onset)")
        _labelled(ax, metric, "y")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def over_counts(table: pd.DataFrame, metrics: Sequence[str]) -> "Figure":
    """A curve over the number of repeats in a mean (`n_repeats`), on a logarithmic axis."""
    shown = _shown(table, metrics)
    figure, axes = _canvas(len(shown), 3.8, 3.0)
    for ax, metric in zip(axes, shown, strict=True):
        rows = _scaled(summary(table, metric), metric).sort_values("n_repeats")
        at = rows["n_repeats"].astype(float)
        _curve(ax, at, rows)
        ax.set_xscale("log", base=2)
        ax.set_xticks(at, [f"{n:g}" for n in at])
        ax.minorticks_off()
        ax.set_xlabel("repeats averaged")
        _labelled(ax, metric, "y")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def side_by_side(table: pd.DataFrame, metrics: Sequence[str], *, label: str = "", unit: str = "") -> "Figure":
    """A line a variant: value with its interval, chance, shuffled control and ideal observer.

    Parameters
    ----------
    label, unit : column and word that follow a variant's name, such as its number of channels.
    """
    shown = _shown(table, metrics)
    n = table["variant"].nunique()
    figure, axes = _canvas(len(shown), 3.6, 1.1 + 0.32 * n)
    for i, (ax, metric) in enumerate(zip(axes, shown, strict=True)):
        rows = _scaled(summary(table, metric), metric)
        at = np.arange(len(rows))[::-1]
        ax.hlines(at, rows["low"], rows["high"], color=_EEG, lw=1.6)
        ax.plot(rows["value"], at, "o", color=_EEG, label="EEG")
        for column, (colour, marker, said) in _BESIDE.items():
            if rows[column].notna().any():
                ax.plot(rows[column], at, marker, color=colour, ms=7, label=said)
        names = rows["variant"].astype(str)
        if label:
            names = names + " (" + rows[label].astype(str) + f" {unit})"
        ax.set_yticks(at, [name.replace("$", r"\$") for name in names] if i == 0 else [""] * len(at))
        _labelled(ax, metric, "x")
    axes[-1].legend(frameon=False, fontsize=8)
    return figure


def matrices(tables: dict[str, np.ndarray], order: np.ndarray, groups: Sequence[str] = ()) -> "Figure":
    """Similarity matrices (n_stimuli, n_stimuli) in one order, each by the ranks of its pairs.

    Parameters
    ----------
    groups : (n_stimuli,) in the same order as the matrices: lines are drawn where the group changes; () draws none.
    """
    from scipy.stats import rankdata

    figure, axes = _canvas(len(tables), 3.6, 3.4)
    upper = np.triu_indices(len(order), 1)
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        shown = np.full(table.shape, np.nan)
        shown[upper] = rankdata(table[np.ix_(order, order)][upper]) / len(upper[0])
        image = ax.imshow(np.fmax(shown, shown.T), vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        names = np.asarray(groups)[order] if len(groups) else np.empty(0, str)
        for edge in np.flatnonzero(names[1:] != names[:-1]) if 1 < len(set(names)) <= 20 else ():
            ax.axhline(edge + 0.5, color="white", lw=0.6)
            ax.axvline(edge + 0.5, color="white", lw=0.6)
        ax.set_title(title, fontsize=9)
        ax.set_xticks([])
        ax.set_yticks([])
    figure.colorbar(image, ax=axes, shrink=0.75).set_label("similarity (rank of the pair)", fontsize=9)
    return figure
