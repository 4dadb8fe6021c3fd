"""The page around the runs."""

from importlib.resources import files

import phosphene
from phosphene.report import explained, samples, sections, trust, words
from phosphene.report.markup import Content, Markup, tag
from phosphene.report.run import Run

SECTIONS = (
    ("headline", "What was found", sections.headline),
    ("samples", "What was seen and what was decoded", samples.seen_and_read),
    ("scores", "All scores", sections.scores),
    ("trust", "How far to trust it", trust.how_far),
    ("heads", "What the heads respond to", explained.explained),
    ("signal", "The signal", sections.signal),
    ("training", "Training", sections.training),
    ("reproduce", "Reproduce", sections.reproduce),
)


def page(runs: list[Run]) -> str:
    """The whole page as HTML."""
    title = f"Phosphene: {runs[0].recipe.name}"
    style = files("phosphene.report").joinpath("page.css").read_text(encoding="utf-8")
    several = len(runs) > 1
    lead = f"What {_people(runs)} saw, what was decoded from their EEG, and how far to trust it."
    body = tag(
        "body",
        tag(
            "header",
            tag("p", "Phosphene", class_="brand"),
            tag("h1", lead),
            tag("nav", tag("ol", [_entry(run) for run in runs]), aria_label="Contents") if several else None,
        ),
        tag("main", [section(run) for run in runs]),
        tag(
            "footer",
            tag("p", f"Written by Phosphene {phosphene.__version__}. The page needs no network and no script."),
        ),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _people(runs: list[Run]) -> str:
    kinds = {run.simulated for run in runs}
    if kinds == {True, False}:
        return "simulated and real people"
    count = sum(run.trials.table["subject"].nunique() for run in runs)
    kind = "simulated " if kinds == {True} else ""
    return f"{'a' if count == 1 else count} {kind}{'person' if count == 1 else 'people'}"


def _entry(run: Run) -> Markup:
    """A run in the table of contents, with its first headline."""
    found = run.headline()
    first: Content = f"{run.label(found[0])}: {words.sentence(found[0])}".replace(" %", "\u00a0%") if found else None
    return tag("li", tag("a", run.recipe.name, href=f"#{run.key}"), " ", sections.badges(run), tag("p", first))


def section(run: Run) -> Markup:
    """One run."""
    key = run.key
    notes: Content = None
    if known := [*run.trials.notes, *run.experiment.notes]:
        notes = tag("ul", [tag("li", note) for note in known], class_="caveats")
    parts = [(name, title, content(run)) for name, title, content in SECTIONS]
    held = [part for part in parts if part[2] is not None]
    links = [tag("li", tag("a", title, href=f"#{key}-{name}")) for name, title, _ in held]
    return tag(
        "article",
        tag("h2", run.recipe.name, id=key),
        tag("p", sections.badges(run), class_="badges"),
        tag("p", run.recipe.description, class_="lead") if run.recipe.description else None,
        tag("p", sections.summary(run)),
        notes and [tag("h4", "Notes on these data"), notes],
        tag("nav", tag("ul", links), class_="local", aria_label=f"Sections of {run.recipe.name}"),
        [tag("section", tag("h3", title), content, id=f"{key}-{name}") for name, title, content in held],
    )
