"""Pictures of the numbers: matplotlib figures, drawn without pyplot."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from phosphene.eeg.trials import Signal
from phosphene.errors import PhospheneError
from phosphene.explain.collapse import Collapse
from phosphene.explain.contrast import Contrast
from phosphene.explain.dominance import Dominance
from phosphene.explain.embedding import Embedding
from phosphene.explain.topography import Topography

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 5


def _canvas(n: int, width: float, height: float) -> tuple["Figure", list["Axes"]]:
    """A figure of ``n`` axes, each ``width`` x ``height`` inches, at most five in a row."""
    from matplotlib.figure import Figure

    columns = min(n, _COLUMNS)
    rows = -(-n // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.set_visible(False)
    return figure, list(axes[:n])


def maps(topography: Topography, names: Sequence[str] | None = None, ink: str = "black") -> "Figure":
    """The mean map over subjects of each head or level, each scaled to a root mean square of 1, on one scale."""
    scaled = topography.scaled()
    names = list(scaled.maps) if names is None else list(names)
    return _topomaps(
        {name: scaled.mean(name) for name in names}, topography.signal, topography.kind == "signed", "size (RMS 1)", ink
    )


def contrast(difference: Contrast, ink: str = "black") -> "Figure":
    """The mean difference over subjects at each channel."""
    title = f"{difference.names[0]} - {difference.names[1]}"
    return _topomaps({title: difference.values.mean(axis=0)}, difference.signal, True, "difference of scaled maps", ink)


def _topomaps(values: Mapping[str, np.ndarray], signal: Signal, signed: bool, label: str, ink: str) -> "Figure":
    import mne

    if signal.positions is None:
        raise PhospheneError("the channels have no positions: give the signal a montage before drawing maps")
    figure, axes = _canvas(len(values), 1.9, 2.1)
    top = max(float(np.abs(v).max()) for v in values.values()) or 1.0
    info = signal.to_info()
    for ax, (name, value) in zip(axes, values.items(), strict=True):
        image, _ = mne.viz.plot_topomap(
            value,
            info,
            axes=ax,
            show=False,
            contours=4,
            sensors=False,
            res=48,
            cmap="RdBu_r" if signed else "Reds",
            vlim=(-top if signed else 0.0, top),
        )
        ax.set_title(name, color=ink, fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=14)
    bar.set_label(label, color=ink, fontsize=9)
    return figure


def dominant(found: Dominance, ink: str = "black", accent: str = "tab:blue", muted: str = "0.5") -> "Figure":
    """How often each head is dominant with its interval, beside its chance."""
    table = found.table
    figure, (ax,) = _canvas(1, 5.6, 0.6 + 0.3 * len(table))
    at = np.arange(len(table))[::-1]
    ax.hlines(at, 100 * table["ci_low"], 100 * table["ci_high"], color=accent, lw=1.6)
    ax.plot(100 * table["share"], at, "o", color=accent, label="trials that the head leads")
    ax.plot(100 * table["chance"], at, "|", color=muted, ms=12, label="captions exchanged")
    ax.set_yticks(at, table["head"], color=ink)
    ax.set_xlabel("share of trials (%)", color=ink)
    ax.set_xlim(left=0)
    ax.legend(frameon=False, fontsize=8.5, loc="best")
    return figure


def overlap(found: Collapse, ink: str = "black") -> "Figure":
    """CKA between heads: the decoded ones, and their captions."""
    figure, axes = _canvas(2, 3.4, 3.2)
    at = np.arange(len(found.heads))
    for ax, table, title in zip(axes, (found.decoded_cka, found.target_cka), ("decoded", "captions"), strict=True):
        image = ax.imshow(table, vmin=0, vmax=1, cmap="viridis")
        ax.set_title(title, color=ink, fontsize=9)
        ax.set_xticks(at, found.heads, rotation=90, fontsize=7, color=ink)
        ax.set_yticks(at, found.heads, fontsize=7, color=ink)
    figure.colorbar(image, ax=axes, shrink=0.75).set_label("linear CKA", color=ink, fontsize=9)
    return figure


def scatter(points: Embedding, levels: Mapping[str, str] | None = None, ink: str = "black") -> "Figure":
    """t-SNE: one panel a head coloured by label, or one of all heads coloured by level (by head if none is given)."""
    table = points.table
    shown = {"all heads": table} if points.joint else dict(iter(table.groupby("head", sort=False)))
    figure, axes = _canvas(len(shown), 2.6, 2.7)
    for ax, (title, rows) in zip(axes, shown.items(), strict=True):
        by = rows["label"] if not points.joint else rows["head"] if levels is None else rows["head"].map(dict(levels))
        for i, (name, part) in enumerate(rows.groupby(by, sort=False)):
            ax.plot(part["x"], part["y"], "o", ms=2.5, color=f"C{i % 10}", label=str(name).replace("$", r"\$"))
        ax.set_title(title, color=ink, fontsize=9)
        ax.set_xticks([])
        ax.set_yticks([])
        if by.nunique() <= 10:
            ax.legend(frameon=False, fontsize=7)
    figure.supxlabel(f"t-SNE, perplexity {points.perplexity:g}, seed {points.seed}", fontsize=8, color=ink)
    return figure
