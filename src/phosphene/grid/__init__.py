"""A grid: one recipe, its variants, each with every seed, and one table of them all with intervals (docs/ablations.md).

Every cell of a grid is an ordinary run folder. What is compared with the reference variant is compared sample by
sample, and only where both runs answer for the same test samples under the same protocol.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError, nearest
from phosphene.evaluation.metrics import METRICS
from phosphene.grid.page import page
from phosphene.grid.schema import SHIPPED, Cell, Grid
from phosphene.grid.tables import COLUMNS, DIFFERENCES, grid_differences, grid_table
from phosphene.report import words, write_report
from phosphene.runs.checks import check
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.runs.scoring import score
from phosphene.utils.files import read_json, whole
from phosphene.utils.locks import alone
from phosphene.utils.paths import default_out
from phosphene.utils.progress import Bar, Display, Silent

__all__ = ["COLUMNS", "DIFFERENCES", "SHIPPED", "Cell", "Grid", "check_metrics", "only_runs", "run_grid"]

#: keys of a recipe that trials on disk do not depend on; any other is part of the data
_AFTER_TRIALS = {
    "name",
    "description",
    "window",
    "channels",
    "silenced_outside",
    "protocol",
    "method",
    "training",
    "generator",
    "evaluation",
    "runtime",
}


def run_grid(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    display: Display | None = None,
) -> Path:
    """Run every variant of a grid, and write its tables.

    Parameters
    ----------
    source : a grid file, the name of a shipped one, or the same as a mapping.
    overrides : dotted keys of the recipe, for every variant.
    out : folder of the run folders; default `runs/<name of the grid>`. What is finished in it is kept.
    display : where progress is shown; nowhere by default.

    Returns
    -------
    The folder: `<variant>[-seed<k>]/`, `grid.csv`, `differences.csv` and `grid.md`.
    """
    grid = Grid.read(source, overrides)
    out = default_out(grid.name, "the grid's name") if out is None else Path(out)
    only_runs(out)
    check_metrics(grid.metrics or ())
    for cell in grid.cells():
        try:
            check(cell.recipe, data=not (out / cell.folder / "trials").is_dir())
        except PhospheneError as error:
            raise PhospheneError(f"variant '{cell.variant}': {error}") from None
    runs = [(c, Experiment(c.recipe, out / c.folder, _Named(c.folder, display or Silent()))) for c in grid.cells()]
    with alone(out):
        return _run(grid, out, runs)


def _run(grid: Grid, out: Path, runs: Sequence[tuple[Cell, Experiment]]) -> Path:
    finished: list[Experiment] = []
    for _, experiment in runs:
        try:
            _finish(experiment, finished)
        except PhospheneError as error:
            raise PhospheneError(f"{experiment.out.name}: {error}") from None
        finished.append(experiment)
    table, metrics = grid_table(runs), grid.metrics or list(words.HEADLINE)
    differences, apart = grid_differences(grid, runs, metrics)
    for name, frame in (("grid", table), ("differences", differences)):
        with whole(out / f"{name}.csv") as part:
            frame.to_csv(part, index=False)
    with whole(out / "grid.md") as part:
        part.write_text(page(grid, table, metrics, differences, apart), encoding="utf-8")
    return out


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuses a name that no score has."""
    for metric in metrics:
        if not words.known(metric):
            raise PhospheneError(f"unknown metric '{metric}': {nearest(metric, [*words.HEADLINE, *METRICS])}")


def only_runs(out: Path) -> None:
    """Refuses a folder that holds anything but run folders, and tables and figures of such."""
    if not out.is_dir():
        return
    for path in sorted(out.iterdir()):
        own = (path / "config.yaml").is_file() or path.suffix in (".csv", ".md", ".png") or path.name.startswith(".")
        begun = path.is_dir() and all(part.name.startswith(".") for part in path.iterdir())  # and stopped at once
        if not own and not begun:
            raise PhospheneError(
                f"{out} holds other things ('{path.name}') than runs of a grid: choose a new or empty folder with --out"
            )


def _finish(experiment: Experiment, finished: Sequence[Experiment]) -> None:
    with alone(experiment.out):
        _share(experiment, finished)
        experiment.run()
        if not (experiment.out / "report.html").is_file():  # the last file of a run folder
            score(experiment)
            write_report(experiment.out)


class _Named:
    """A display whose stages bear the name of the run."""

    def __init__(self, name: str, display: Display):
        self.name, self.display = name, display

    def bar(self, stage: str, total: int) -> AbstractContextManager[Bar]:
        return self.display.bar(f"{self.name}: {stage}", total)


def _share(experiment: Experiment, finished: Sequence[Experiment]) -> None:
    """Begin a new run folder with the trials of a run that prepared the same; `Experiment.run` checks their source."""
    if (experiment.out / "trials").is_dir():
        return
    for other in finished:
        if _data(other.recipe) == _data(experiment.recipe):
            experiment.adopt(Trials.load(other.out / "trials"), read_json(other.out / "dataset.json"), True)
            return


def _data(recipe: Recipe) -> dict[str, Any]:
    values = recipe.model_dump(mode="json", exclude=_AFTER_TRIALS)
    if values.get("captions") is not None:  # which of them are joined is the method's matter
        values["method"] = recipe.method
    return values
