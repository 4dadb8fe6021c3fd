"""A grid on one page of Markdown: a row for each variant, and its differences from the reference."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from phosphene.errors import nearest
from phosphene.evaluation import chance
from phosphene.evaluation.differences import answers
from phosphene.grid.schema import Grid
from phosphene.grid.tables import overall
from phosphene.report import words

_READ = (
    "Value and 95 % interval over pictures, clustered by concept. With several seeds (or subjects scored separately): "
    "the mean, and the lowest and highest value. The last rows are ranges over all runs."
)


def page(
    grid: Grid, table: pd.DataFrame, metrics: Sequence[str], differences: pd.DataFrame, apart: Mapping[str, str]
) -> str:
    """`grid.md`.

    Parameters
    ----------
    table, differences : see `tables.grid_table` and `tables.grid_differences`.
    metrics : the columns asked for; one that no run has is left out, and said so if the grid names it.
    apart : why runs are not paired, by folder.
    """
    kept = overall(table)
    shown = [m for m in metrics if (kept["metric"] == m).any()]
    lines = [f"# {grid.name}", ""]
    if grid.description:
        lines += [grid.description.rstrip(".") + ".", ""]
    lines += [*_values(grid, kept, shown), "", _READ, ""]
    few = kept.loc[kept["metric"].isin(shown), "interval"].dropna().astype(str)
    lines += [f"- {said[0].upper()}{said[1:]}." for said in dict.fromkeys(few) if said]
    if grid.metrics:
        known = sorted(set(table["metric"]))
        lines += [f"- No run has the score '{m}': {nearest(m, known)}" for m in metrics if m not in shown]
    lines += [] if lines[-1] == "" else [""]
    if len(grid.variants) > 1:
        lines += [f"## Differences from {grid.reference}", "", *_against(grid, shown, differences), ""]
        lines += [f"- {folder} is not paired: {reason}." for folder, reason in apart.items()]
    rests = sorted({str(b) for b in kept.loc[kept["metric"].isin(shown), "backbone"].dropna()} - {""})
    on = f" Scores are based on {', '.join(rests)}." if rests else ""
    return "\n".join([*lines, "", f"Protocols: {', '.join(sorted(set(kept['protocol'])))}.{on}", ""])


def _values(grid: Grid, kept: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    rows = []
    for variant in grid.variants:
        of = kept[kept["variant"] == variant]
        rows.append([variant, *(_cell(of[of["metric"] == m], m) for m in shown)])
    for what, column in (("chance", "chance"), ("shuffled control", "shuffled"), ("ideal observer", "ceiling")):
        found = [kept.loc[kept["metric"] == m, column].astype(float) for m in shown]
        if any(values.notna().any() for values in found):
            rows.append([f"*{what}*", *(_range(values, m) for values, m in zip(found, shown, strict=True))])
    return _markdown(["variant", *map(_title, shown)], rows)


def _against(grid: Grid, shown: Sequence[str], differences: pd.DataFrame) -> list[str]:
    paired = [m for m in shown if (differences["metric"] == m).any()]
    if not paired:
        return ["No run is paired with the reference."]
    rows = []
    n = int(differences["p"].notna().sum())
    differences = differences.assign(answer=answers(differences))
    for (variant, seed), of in differences.groupby(["variant", "seed"], sort=False):
        said = [_difference(of[of["metric"] == m], m) for m in paired]
        rows.append([f"{variant}, seed {seed}" if grid.seeds else str(variant), *said])
    read = (
        f"Variant minus {grid.reference}, on the same test samples; shares in percentage points. In brackets: the 95 % "
        f"interval of the paired difference. p is corrected for the {n} differences in this table (Holm). "
        f"{chance.rule(n, 'A difference')}"
    )
    if (differences["answer"] == "undecided").any():
        read += (
            " Undecided: with so few permutations (`evaluation.n_perm`) or test concepts, no p can reach the threshold."
        )
    left = ", ".join(m for m in shown if m not in paired)
    why = "no other run has this score for the same samples and captions"
    more = [f"- Not paired: {left}; {why}."] if left else []
    return [*_markdown(["variant", *map(_title, paired)], rows), "", read, "", *more]


def _title(metric: str) -> str:
    title = words.words(metric).title
    return title if title == metric else f"{title} (`{metric}`)"


def _cell(rows: pd.DataFrame, metric: str) -> str:
    kind = words.words(metric).kind
    values = rows["value"].astype(float)
    if len(rows) == 0:
        return "–"
    if len(rows) == 1:
        bounds = words.interval(rows.iloc[0], kind)
        return f"{words.amount(values.iloc[0], kind)} [{'no interval' if bounds == '–' else bounds}]"
    return f"{words.amount(values.mean(), kind)} ({words.bare(values.min(), kind)} to {words.bare(values.max(), kind)})"


def _range(values: pd.Series, metric: str) -> str:
    kind, known = words.words(metric).kind, values.dropna()
    if known.empty:
        return "–"
    ends = [words.amount(float(end), kind) for end in (known.min(), known.max())]
    return ends[0] if ends[0] == ends[1] else f"{ends[0].removesuffix(' %')} to {ends[1]}"


def _difference(rows: pd.DataFrame, metric: str) -> str:
    if len(rows) == 0:
        return "–"
    row, percent = rows.iloc[0], words.words(metric).kind == "share"
    value, low, high = (float(row[c]) * (100 if percent else 1) for c in ("difference", "ci_low", "ci_high"))
    digits = 1 if percent else 2
    interval = "" if math.isnan(low) else f" [{low:+.{digits}f} to {high:+.{digits}f}]"
    undecided = ", undecided" if row["answer"] == "undecided" else ""
    return f"{value:+.{digits}f}{interval}, {chance.p_text(float(row['p_corrected']))}{undecided}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
