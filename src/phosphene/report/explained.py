"""What `phosphene explain` found: maps, dominant heads, and the faults that were looked for."""

from pathlib import Path
from typing import Any

import pandas as pd

from phosphene.report.markup import Content, picture, table, tag
from phosphene.report.run import Run
from phosphene.utils.files import read_json

_FIGURES = (
    (
        "levels",
        640,
        "Scalp maps by level: root mean square over trials and time, scaled to equal size. Without any effect, a map "
        "follows the amplitude of each channel: compare maps with each other, not with zero.",
    ),
    ("contrast", 260, "Thematic minus object, both scaled to equal size."),
    ("heads", 860, "Scalp maps by head."),
    ("dominance", 560, "How often each head exceeds its own null by the most."),
    ("cka", 640, "How similar the heads are, compared with how similar their captions are."),
    ("tsne", 860, "t-SNE of the decoded heads, coloured by concept."),
)


def explained(run: Run) -> list[Content] | None:
    """The section; None where the method has no heads of several levels and nothing was explained."""
    folder = run.folder / "explain"
    if not (folder / "explain.json").is_file():
        if run.decodes != "captions":
            return None
        asks = f"`phosphene explain {run.folder}` shows what each head responds to and checks for known faults."
        return [tag("p", f"Not explained yet: {asks}")]
    facts = read_json(folder / "explain.json")
    said = [*_collapse(facts), *_hallucination(facts), *(f"Left out: {k} ({v})." for k, v in facts["left_out"].items())]
    return [tag("ul", [tag("li", line) for line in said]) if said else None, *_truth(folder), *_figures(folder)]


def _collapse(facts: dict[str, Any]) -> list[str]:
    if "collapse" not in facts:
        return []
    c = facts["collapse"]
    verdict = "The heads have collapsed" if c["collapsed"] else "The heads have not collapsed"
    return [
        f"{verdict}: similarity beyond that of their captions {c['index']:.2f} ({c['ci_low']:.2f} to "
        f"{c['ci_high']:.2f}; 1 means identical heads)."
    ]


def _hallucination(facts: dict[str, Any]) -> list[str]:
    if "hallucination" not in facts:
        return []
    h = facts["hallucination"]
    verdict = "The drawings hallucinate" if h["hallucinates"] else "The drawings do not hallucinate more than tolerated"
    return [
        f"{verdict}: {100 * h['rate']:.0f} % are sharp and show another object ({100 * h['ci_low']:.0f} to "
        f"{100 * h['ci_high']:.0f} %; shuffled {100 * h['shuffled']:.0f} %; the classifier errs on "
        f"{100 * h['judge_error']:.0f} % of real pictures)."
    ]


def _truth(folder: Path) -> list[Content]:
    """How the maps compare with the sources of a simulated study."""
    if not (folder / "truth.csv").is_file():
        return []
    found = pd.read_csv(folder / "truth.csv", dtype={"subject": str})
    rows = [
        [
            row["of"],
            row["subject"],
            f"{row['auc']:.2f}",
            f"{row['spearman']:.2f}",
            f"{row['n_a']} of {row['n_a'] + row['n_b']}",
        ]
        for _, row in found.iterrows()
    ]
    note = (
        "The study is simulated. AUC: how well thematic minus object predicts which kind of source is stronger at each "
        "channel (0.5 is chance). Spearman: its correlation with the log ratio of the source powers."
    )
    head: list[Content] = ["Maps of", "Subject", "AUC", "Spearman", "Channels with stronger thematic sources"]
    return [tag("p", note), table(head, rows, class_="overlaps")]


def _figures(folder: Path) -> list[Content]:
    shown: list[Content] = []
    for name, width, caption in _FIGURES:
        path = folder / f"{name}.png"
        if path.is_file():
            shown.append(tag("figure", picture(path, caption, width, side=1400), tag("figcaption", caption)))
    return shown
