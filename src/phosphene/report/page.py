"""The page: sections of one run, and of further ones beside it."""

from collections.abc import Sequence
from pathlib import Path

from phosphene.experiment import Experiment
from phosphene.files import whole
from phosphene.report import sections, words
from phosphene.report.html import Raw, tag


def write_report(folder: str | Path, also: Sequence[str | Path] = ()) -> Path:
    """Write `report.html` into a finished run folder.

    Parameters
    ----------
    folder : the run folder.
    also : further run folders, shown on the same page.

    Returns
    -------
    The page's path. It holds its pictures and styles and fetches nothing.
    """
    runs = [Experiment.open(f) for f in (folder, *also)]
    css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    title = "Phosphene: what was seen, what was read"
    links = [tag("a", e.recipe.name, href=f"#run-{i}") for i, e in enumerate(runs)]
    body = [
        tag("h1", title),
        *([tag("nav", *links)] if len(runs) > 1 else []),
        *(tag("section", *_run(e), id=f"run-{i}") for i, e in enumerate(runs)),
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{css}</style></head><body>{''.join(body)}</body></html>\n"
    )
    path = Path(folder) / "report.html"
    with whole(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _run(e: Experiment) -> list[Raw]:
    scores = words.read_scores(e.out)
    return [
        tag("h2", e.recipe.name),
        *sections.head(e),
        *sections.cards(e, scores),
        tag("h3", "What was seen, what was read"),
        *sections.seen_and_read(e),
        tag("h3", "All scores"),
        *sections.all_scores(scores),
        tag("h3", "How far to trust it"),
        *sections.trust(e),
        tag("h3", "The signal"),
        *sections.signal(e),
        *sections.training(e),
        tag("h3", "Reproduce"),
        *sections.reproduce(e),
    ]
