"""Analyses that train a recipe's variants: windows, regions, encoders. Each is a grid (docs/ablations.md)."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd

from phosphene.analyses import figures
from phosphene.analyses.channels import REGIONS, regions_of
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.evaluation.corrections import corrected
from phosphene.grid import Grid, check_metrics, only_runs, run_grid
from phosphene.registry import classes
from phosphene.runs.checks import check
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.utils.files import whole
from phosphene.utils.locks import alone
from phosphene.utils.paths import default_out
from phosphene.utils.progress import Display

METRICS = ("image_top1", "image_top5", "image_top1_of_2")
WHOLE = "whole"  # the recipe as it is, which the others are compared with
MOST_WINDOWS = 1000
Shape = Literal["silenced", "cut"]


class Settings(TypedDict, total=False):
    """What every analysis of variants takes.

    Parameters
    ----------
    overrides : dotted keys of the recipe, for every variant.
    seeds : every variant is trained with each as `protocol.seed`.
    metrics : of the figure; default top-1, top-5 and two-way.
    out : folder of the run folders; default `runs/<recipe>-<analysis>`. What is finished in it is kept.
    display : where progress is shown; nowhere by default.
    """

    overrides: Mapping[str, Any]
    seeds: Sequence[int]
    metrics: Sequence[str]
    out: str | Path
    display: Display


class _Analysis:
    """One analysis: its grid as far as it is known, and the folder of its runs."""

    def __init__(self, name: str, source: str | Path | Mapping[str, Any], settings: Settings):
        self.name, self.display = name, settings.get("display")
        given = Path(str(source)) / "config.yaml" if isinstance(source, str | Path) else None
        recipe = str(given) if given is not None and given.is_file() else source
        recipe = str(recipe) if isinstance(recipe, Path) else recipe
        overrides = {"generator": None, **settings.get("overrides", {})}
        self.recipe = Recipe.read(recipe, overrides)
        self.metrics = list(settings.get("metrics", METRICS))
        check_metrics(self.metrics)
        seeds = settings.get("seeds")
        self.plan = {
            "name": f"{self.recipe.name}-{name}",
            "recipe": recipe,
            "set": overrides,
            "metrics": self.metrics,
            "seeds": None if seeds is None else list(seeds),
        }
        own = f"{self.recipe.name}-{name}".replace("/", "-")
        out = settings.get("out")
        self.out = default_out(own, "the analysis's name") if out is None else Path(out)

    @contextmanager
    def trials(self) -> Iterator[Trials]:
        """The trials as the method sees them, prepared in the first run folder; of a block that refuses what was asked
        of them, nothing that was prepared for it is left."""
        cell = Grid.read({**self.plan, "variants": {WHOLE: None}}).cells()[0]
        only_runs(self.out)
        folder = self.out / cell.folder
        made = [path for path in (self.out, folder) if not path.exists()]
        check(cell.recipe, data=not (folder / "trials").is_dir())
        with alone(self.out):
            try:
                yield Experiment(cell.recipe, folder, self.display).trials
            except PhospheneError:
                for path in made:
                    shutil.rmtree(path, ignore_errors=True)
                raise

    def check(self, variants: Mapping[str, Mapping[str, Any]], reference: str) -> None:
        """Refuse a variant that cannot be run."""
        for cell in Grid.read({**self.plan, "variants": dict(variants), "reference": reference}).cells():
            check(cell.recipe, data=False)

    def run(self, variants: Mapping[str, Mapping[str, Any]], labels: pd.DataFrame, reference: str) -> pd.DataFrame:
        """Train what is not trained yet, and write the table.

        Parameters
        ----------
        variants : what each changes in the recipe.
        labels : columns of the table that say what a variant is, indexed by variant.
        """
        run_grid({**self.plan, "variants": dict(variants), "reference": reference}, out=self.out, display=self.display)
        rows = pd.read_csv(self.out / "grid.csv", dtype={"subject": str, "protocol": str})
        asked = [column for column in ("metric", "subject", "seed") if column in rows]
        others = rows["variant"] != reference
        rows["p_corrected"] = np.nan
        for _, own in rows[others].groupby(asked, sort=False):
            rows.loc[own.index, "p_corrected"] = corrected(own["p"].to_numpy(float))
        table = labels.join(rows.set_index("variant"), how="inner").rename_axis("variant").reset_index()
        self.write(table, self.name)
        return table

    def write(self, table: pd.DataFrame, name: str) -> None:
        with whole(self.out / f"{name}.csv") as part:
            table.to_csv(part, index=False)

    def draw(self, figure: Any) -> Path:
        with whole(self.out / f"{self.name}.png") as part:
            figure.savefig(part, format="png", dpi=figures.DPI)
        return self.out


def growing_windows(
    recipe: str | Path | Mapping[str, Any],
    ends: Sequence[float] | None = None,
    *,
    start: float | None = None,
    shape: Shape = "silenced",
    **settings: Unpack[Settings],
) -> Path:
    """Train again on windows that begin together and grow (arXiv 2403.07721, section on the temporal analysis).

    Parameters
    ----------
    recipe : a recipe (file, shipped name or mapping), or a finished run folder, whose recipe is taken.
    ends : s from onset where each window ends; default every 50 ms to 500 ms, then every 100 ms.
    start : s where all begin; default onset, or the first sample of trials that begin later.
    shape : "silenced" keeps the trials' shape, so that every encoder fits, and sets whitened samples outside of the
        window to 0; "cut" cuts trials and whitening to the window, which encoders of a fixed length refuse (ours).
    settings : see `Settings`.

    Returns
    -------
    The folder: `growing-windows.csv` and `.png`, the grid's tables, and the run folders.
    """
    analysis = _Analysis("growing-windows", recipe, settings)
    with analysis.trials() as trials:
        first, last = _span(trials)
        begin = max(0.0, first) if start is None else start
        if ends is None:
            known = (*np.arange(0.05, 0.5, 0.05), *np.arange(0.5, 10.0, 0.1))
            ends = [round(end, 3) for end in known if begin < end < last - 1e-6]
        variants, edges = _windows(analysis, [(begin, end) for end in ends], trials, shape)
    return _over_time(analysis, variants, edges)


def sliding_windows(
    recipe: str | Path | Mapping[str, Any],
    *,
    width: float = 0.1,
    step: float = 0.05,
    start: float | None = None,
    stop: float | None = None,
    shape: Shape = "silenced",
    **settings: Unpack[Settings],
) -> Path:
    """Train again on windows of one width (arXiv 2403.07721, section on the temporal analysis; 100 ms there).

    Parameters
    ----------
    width, step : s; the step is ours.
    start, stop : s from onset where the first window begins and the last one ends; default all of the trials. A window
        before onset is a control: nothing can be read from it, unless a filter spread the response.
    recipe, shape, settings : see `growing_windows`.

    Returns
    -------
    The folder: `sliding-windows.csv` and `.png`, the grid's tables, and the run folders.
    """
    if not (width > 0 and step > 0):
        raise PhospheneError(f"width is {width:g} s and step {step:g} s: give positive numbers of seconds")
    analysis = _Analysis("sliding-windows", recipe, settings)
    with analysis.trials() as trials:
        first, last = _span(trials)
        begin, end = (first if start is None else start), (last if stop is None else stop)
        count = int(np.floor((end - begin - width) / step + 1e-6)) + 1
        if count < 1:
            raise PhospheneError(f"no window of {width:g} s fits into {begin:g} to {end:g} s: lower width")
        if count > MOST_WINDOWS:
            raise PhospheneError(
                f"{count} windows would each be trained separately: raise step, or move start and stop"
            )
        starts = [begin + i * step for i in range(count)]
        variants, edges = _windows(analysis, [(a, a + width) for a in starts], trials, shape)
    return _over_time(analysis, variants, edges)


def _span(trials: Trials) -> tuple[float, float]:
    return float(trials.times[0]), float(trials.times[-1] + 1 / trials.signal.sfreq)


def _windows(
    analysis: _Analysis, windows: Sequence[tuple[float, float]], trials: Trials, shape: Shape
) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[float, float]]]:
    """What each variant changes in the recipe, and its edges (s), once all of them can be run."""
    keys = {"silenced": "silenced_outside", "cut": "window"}
    if shape not in keys:
        raise PhospheneError(f"unknown shape of windows '{shape}': {nearest(shape, keys)}")
    span, sample = _span(trials), 1 / trials.signal.sfreq
    variants: dict[str, dict[str, Any]] = {WHOLE: {}}
    edges = {WHOLE: span}
    for a, b in ((round(a, 4), round(b, 4)) for a, b in windows):
        if not span[0] - sample < a < b < span[1] + sample:
            raise PhospheneError(
                f"window {a:g} to {b:g} s is not within the trials ({span[0]:g} to {span[1]:g} s): choose another"
            )
        name = f"from{1e3 * a:+.0f}to{1e3 * b:+.0f}ms"
        variants[name], edges[name] = {keys[shape]: [a, b]}, (a, b)
    if len(variants) < 2:
        raise PhospheneError("there is no window: give one within the trials")
    analysis.check(variants, WHOLE)
    return variants, edges


def _over_time(
    analysis: _Analysis, variants: Mapping[str, Mapping[str, Any]], edges: Mapping[str, tuple[float, float]]
) -> Path:
    labels = pd.DataFrame.from_dict(edges, orient="index", columns=["tmin", "tmax"])
    table = analysis.run(variants, labels, WHOLE)
    growing = analysis.name == "growing-windows"
    return analysis.draw(figures.over_time(table, analysis.metrics, WHOLE, growing=growing))


def regions(
    recipe: str | Path | Mapping[str, Any],
    regions: Mapping[str, Sequence[str]] | None = None,
    **settings: Unpack[Settings],
) -> Path:
    """Train again on the channels of each region alone (arXiv 2403.07721, section on the spatial analysis).

    Parameters
    ----------
    recipe : see `growing_windows`.
    regions : name -> channels; default the five of `regions_of`, of those that have any channel.
    settings : see `Settings`.

    Returns
    -------
    The folder: `regions.csv` and `.png`, `channels.csv` (which channel lies where, and what is left out), the grid's
    tables, and the run folders.
    """
    analysis = _Analysis("regions", recipe, settings)
    with analysis.trials() as trials:
        signal = trials.signal
        regions, channels = _named_regions(signal, regions)
        variants = {WHOLE: {}, **{name: {"channels": list(own)} for name, own in regions.items()}}
        analysis.check(variants, WHOLE)
    analysis.write(channels, "channels")
    labels = pd.DataFrame({"n_chans": {WHOLE: signal.n_chans, **{name: len(own) for name, own in regions.items()}}})
    table = analysis.run(variants, labels, WHOLE)
    return analysis.draw(figures.side_by_side(table, analysis.metrics, label="n_chans", unit="channels"))


def _named_regions(
    signal: Signal, regions: Mapping[str, Sequence[str]] | None
) -> tuple[Mapping[str, Sequence[str]], pd.DataFrame]:
    """The channels of each region, and a table of where each channel lies."""
    if regions is None:
        channels = regions_of(signal)
        regions = {name: list(channels["channel"][channels["region"] == name]) for name in REGIONS}
        regions = {name: own for name, own in regions.items() if own}
        if not regions:
            raise PhospheneError("no channel lies in a known region: pass regions={'name': [channels], ...}")
    else:
        for own in regions.values():
            signal.indices(own)
        named = [(name, channel) for name, own in regions.items() for channel in own]
        channels = pd.DataFrame([{"channel": channel, "region": name, "by": "given"} for name, channel in named])
        rest = [channel for channel in signal.ch_names if channel not in {channel for _, channel in named}]
        left_out = pd.DataFrame({"channel": rest, "region": "", "by": "left out"})
        channels = pd.concat([channels, left_out], ignore_index=True)
    if WHOLE in regions or not all(regions.values()):
        raise PhospheneError(f"a region is empty or named '{WHOLE}': give each region a unique name and its channels")
    return regions, channels


def encoders(
    recipe: str | Path | Mapping[str, Any],
    encoders: Sequence[str] | Mapping[str, Mapping[str, Any]],
    **settings: Unpack[Settings],
) -> Path:
    """Encoders, or methods, side by side on the same trials (arXiv 2403.07721, tables of the encoder comparison).

    Parameters
    ----------
    recipe : see `growing_windows`.
    encoders : names of registered encoders or methods; or a name of your own -> what it changes in the recipe, dotted
        keys. The others are compared with the first.
    settings : see `Settings`.

    Returns
    -------
    The folder: `encoders.csv` and `.png`, the grid's tables (`differences.csv` is paired), and the run folders.
    """
    analysis = _Analysis("encoders", recipe, settings)
    if isinstance(encoders, Mapping):
        variants = {name: dict(changes) for name, changes in encoders.items()}
    else:
        variants = {name: _changes(name, analysis.recipe) for name in encoders}
    if len(variants) < 2:
        raise PhospheneError("give two encoders or more to compare")
    labels = pd.DataFrame(index=list(variants))
    table = analysis.run(variants, labels, next(iter(variants)))
    return analysis.draw(figures.side_by_side(table, analysis.metrics))


def _changes(name: str, recipe: Recipe) -> dict[str, Any]:
    """What the name of an encoder, or of a method, changes in a recipe; arguments of another one are left out."""
    known, methods = classes("encoder"), classes("method")
    if name in known:
        own = recipe.method.get("encoder") == name
        return {} if own else {"method.encoder": name, "method.encoder_args": {}}
    if name in methods:
        backbone = {key: value for key, value in recipe.method.items() if key == "backbone"}
        return {"method": dict(recipe.method) if recipe.method["name"] == name else {"name": name, **backbone}}
    raise PhospheneError(f"unknown encoder or method '{name}': {nearest(name, [*known, *methods])}")
