"""A run folder as one self-contained page that can be read top-down: no network, no script."""

from collections.abc import Sequence
from pathlib import Path

from phosphene.report import words
from phosphene.report.page import page
from phosphene.report.run import Run
from phosphene.utils.files import whole

__all__ = ["conclusion", "headline", "write_report"]


def write_report(folder: str | Path, also: Sequence[str | Path] = ()) -> Path:
    """Write `report.html` into a finished run folder.

    Parameters
    ----------
    folder : what `phosphene run` wrote.
    also : further run folders, each a section of the same page.

    Returns
    -------
    The page's path.

    Raises
    ------
    PhospheneError
        If a folder is no finished run, or a file that every run has is damaged.
    """
    runs = [Run(f, f"run{number}") for number, f in enumerate((folder, *also), start=1)]
    path = Path(folder) / "report.html"
    with whole(path) as part:
        part.write_text(page(runs), encoding="utf-8")
    return path


def headline(folder: str | Path) -> list[str]:
    """The scores that matter, a line each, with interval, chance, shuffled control, p and the verdict of the rule."""
    return _lines(Run(folder))


def conclusion(folder: str | Path) -> list[str]:
    """The lines of `headline`, and the rule that their verdicts follow."""
    run = Run(folder)
    lines = _lines(run)
    return [*lines, run.rule()] if lines else []


def _lines(run: Run) -> list[str]:
    return [f"{run.label(row)}: {words.sentence(row)}. {run.verdict(row)[1]}" for row in run.headline()]
