"""What scores are called, what they mean, and what may be said of them: rules, not judgement."""

import math
import re
from typing import NamedTuple

import pandas as pd

from phosphene.evaluation import chance
from phosphene.evaluation.metrics import METRICS

CONTROL_MARGIN = 0.02  # how far the mean of many shuffles may lie from chance


class Words(NamedTuple):
    """A metric in words. `kind`: "share" is told in per cent, "auc" as a fraction, "rank" as a number of places,
    "distance" as a number without a scale."""

    group: str
    title: str
    meaning: str
    kind: str = "share"


_PICTURES, _CAPTIONS, _DRAWN, _CLASSES, _SET = (
    "Pictures retrieved",
    "Captions retrieved",
    "Pictures drawn",
    "Categories classified",
    "Pictures matched using the whole test set at once (transductive): not scores of single trials",
)
GROUPS = (_PICTURES, _CAPTIONS, _DRAWN, _CLASSES, _SET, "Other scores")

_PATTERNS: tuple[tuple[str, Words], ...] = (
    (
        r"image_top1",
        Words(_PICTURES, "Top-1 picture", "how often the picture seen is the most similar in the gallery"),
    ),
    (
        r"image_top(\d+)",
        Words(_PICTURES, "Top-{0} picture", "how often the picture seen is among the {0} most similar in the gallery"),
    ),
    (
        r"image_map",
        Words(_PICTURES, "Mean reciprocal rank", "mean of 1 / rank of the picture seen: mean average precision"),
    ),
    (
        r"image_median_rank",
        Words(_PICTURES, "Median rank", "rank of the picture seen in the gallery, 1 is best", "rank"),
    ),
    (
        r"image_top1_of_(\d+)",
        Words(_PICTURES, "1 of {0}", "how often the picture seen comes first among itself and {1} others, at random"),
    ),
    (
        r"transductive_centred_top(\d+)",
        Words(_SET, "Mean-centred, top-{0}", "the same after subtracting the means over all test samples and pictures"),
    ),
    (
        r"transductive_csls_top(\d+)",
        Words(_SET, "CSLS, top-{0}", "the same with items that are close to everything in the test set down-weighted"),
    ),
    (
        r"transductive_assignment_top1",
        Words(_SET, "Matched one to one", "pictures found when each picture is known to belong to exactly one sample"),
    ),
    (
        r"concept_top1",
        Words(
            _PICTURES, "Top-1 concept", "how often the concept seen is nearest (a concept is the mean of its pictures)"
        ),
    ),
    (
        r"within_concept_top1",
        Words(
            _PICTURES,
            "Top-1 within the concept",
            "the same among pictures of one concept: what is decoded beyond the concept",
        ),
    ),
    (
        r"captions_(\w+)_top(\d+)",
        Words(_CAPTIONS, "{0} heads, top-{1}", "the same for all heads of the {0} level together"),
    ),
    (
        r"caption_(\w+)_class_top1",
        Words(_CAPTIONS, "{0}, its class", "how often the nearest training caption describes the class seen"),
    ),
    (
        r"captions?_(\w+)\.of_test_captions_top(\d+)",
        Words(
            _CAPTIONS,
            "{0}, top-{1} of the test's captions",
            "the same among the test captions alone, which are unknown in practice",
        ),
    ),
    (
        r"caption_(\w+)_top(\d+)",
        Words(_CAPTIONS, "{0}, top-{1}", "how often the true caption is among the {1} nearest of all {0} captions"),
    ),
    (
        r"drawn_2way",
        Words(_DRAWN, "2-way identification", "how often a drawing is closer to the picture seen than to another one"),
    ),
    (
        r"drawn_(\w+)",
        Words(_DRAWN, "Correct {0}", "how often a separately trained classifier sees the true {0} in the drawing"),
    ),
    (
        r"auc",
        Words(_CLASSES, "AUC within runs", "how often the correct one of two trials from a run scores higher", "auc"),
    ),
    (
        r"auc_pooled",
        Words(_CLASSES, "AUC over all trials", "the same for pairs of trials from any runs", "auc"),
    ),
    (
        r"balanced_accuracy",
        Words(_CLASSES, "Balanced accuracy", "share classified correctly, averaged over the two categories"),
    ),
)

HEADLINE = (
    "image_top1",
    "image_top5",
    "concept_top1",
    "caption_object_top1",
    "drawn_2way",
    "drawn_object",
    "auc",
    "balanced_accuracy",
)


def known(metric: str) -> bool:
    """Whether there is a score of this name, in some run."""
    return metric in METRICS or any(re.fullmatch(pattern, metric) for pattern, _ in _PATTERNS)


def words(metric: str) -> Words:
    """What a metric of `scores.csv` is called; an unknown one by its name."""
    for pattern, found in _PATTERNS:
        match = re.fullmatch(pattern, metric)
        if match:
            parts = [*match.groups(), ""]
            if pattern.startswith("image_top1_of"):
                parts[1] = str(int(parts[0]) - 1)
            return found._replace(title=found.title.format(*parts), meaning=found.meaning.format(*parts))
    if metric in METRICS:
        row = METRICS[metric]
        meaning = f"{row.formula} ({row.direction} is better){'; ' if row.note else ''}{row.note}"
        return Words(_DRAWN, row.label, meaning, "auc" if row.paired and row.higher_is_better else "distance")
    return Words(GROUPS[-1], metric, "see the documentation of phosphene.evaluation", "auc")


def amount(value: float | None, kind: str) -> str:
    """A value as it is read: "31 %", "0.69" or "4"; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if kind == "rank":
        return f"{value:.1f}".removesuffix(".0")
    if kind == "auc":
        return f"{value:.2f}"
    if kind == "distance":
        return f"{value:.3g}"
    return f"{bare(value, kind)} %"


def bare(value: float, kind: str) -> str:
    """`amount` without the unit."""
    if kind != "share":
        return amount(value, kind)
    text = f"{100 * value:.1f}"
    return text.removesuffix(".0") if abs(value) < 0.0995 else f"{100 * value:.0f}"


def interval(row: pd.Series, kind: str) -> str:
    """The 95 % interval without its unit: "25–38"."""
    low, high = float(row["ci_low"]), float(row["ci_high"])
    return "–" if math.isnan(low + high) else f"{bare(low, kind)}–{bare(high, kind)}"


def lower_is_better(metric: str) -> bool:
    return words(metric).kind == "rank" or (metric in METRICS and not METRICS[metric].higher_is_better)


def no_interval(row: pd.Series, kind: str) -> str:
    """What has to be said of an interval, or of none; "" of an ordinary one."""
    low, high, said = float(row["ci_low"]), float(row["ci_high"]), str(row.get("interval", "") or "")
    if said:
        return said
    if low == high:
        return "the interval has zero width: too few samples, or all samples score the same"
    if kind != "rank" and low <= 0 and high >= 1:
        return "the interval covers every possible value: too few samples"
    return ""


def side(row: pd.Series) -> int:
    """Where the interval lies: 1 beyond chance, -1 on the worse side of it, 0 if it holds chance or is none."""
    where = int(row["ci_low"] > row["chance"]) - int(row["ci_high"] < row["chance"])
    return -where if lower_is_better(row["metric"]) else where


def answer(row: pd.Series) -> chance.Answer:
    """Whether a score is above chance, by `chance.answer`: corrected where the row says for how many tests."""
    least = row.get("p_min_corrected", row.get("p_min", math.nan))
    return chance.answer(row.get("p_corrected", row["p"]), 0.0 if math.isnan(least) else least)


def control_at_chance(row: pd.Series, control: pd.Series | None) -> bool | None:
    """None without a control, or where its p can tell nothing. One trained control is tested by its own p-value, a
    mean over shuffles by its distance."""
    if control is not None and math.isfinite(control["p"]):
        return {"yes": False, "no": True}.get(answer(control))
    if not math.isfinite(row["shuffled"]):
        return None
    n, n_perm = max(1.0, float(row.get("n", math.inf))), max(1, row.get("n_perm", 1))
    error = math.sqrt(0.5 / n / n_perm)  # of that mean, of two categories whose folds share their training
    return bool(abs(row["shuffled"] - row["chance"]) <= max(CONTROL_MARGIN, 3 * error))


def verdict(row: pd.Series, control: pd.Series | None) -> tuple[str, str]:
    """A class ("good", "plain" or "bad") and the sentence that the rule gives."""
    said, control = answer(row), control_at_chance(row, control)
    if said == "undecided":
        why = chance.why_undecided(row.get("p_min", math.nan), int(row.get("n_perm", 0)), n_tests=row.get("n_tests", 1))
        return "plain", f"Undecided: {why}."
    if control is False:
        if said == "yes":
            return "bad", "Above chance, but so is the shuffled control: find the reason before trusting this score."
        return "bad", "Not above chance, and the shuffled control is not at chance: something leaks or is broken."
    if said == "no":
        where = {0: "", 1: " The verdict follows p, although the interval excludes chance.", -1: " It is below chance."}
        if lower_is_better(row["metric"]):
            where[-1] = " It is worse than chance."
        return "plain", f"Not distinguishable from chance.{where[side(row)]}"
    known = "no shuffled control to compare" if control is None else "the shuffled control is at chance"
    if control is None and control is not None:
        known = "the shuffled control is inconclusive"
    reached = side(row) < 1 and not math.isnan(row["ci_low"] + row["ci_high"])
    return (
        "good",
        f"Above chance; {known}.{' The verdict follows p, although the interval includes chance.' if reached else ''}",
    )


def p_value(row: pd.Series) -> str:
    """The score's p, and the corrected one that its verdict goes by."""
    text = chance.p_text(float(row["p"]))
    if row.get("n_tests", 1) < 2:
        return text
    return f"{text}, corrected {chance.p_text(float(row['p_corrected'])).removeprefix('p ').removeprefix('= ')}"


def sentence(row: pd.Series) -> str:
    """A score with its interval, chance, control and p, on one line."""
    kind = words(row["metric"]).kind
    unit, said = " %" if kind == "share" else "", no_interval(row, kind)
    bounds = interval(row, kind)
    parts = [said if bounds == "–" and said else f"95 % interval {bounds}{unit}{f' [{said}]' if said else ''}"]
    parts.append(f"chance {amount(row['chance'], kind)}")
    if math.isfinite(row["shuffled"]):
        parts.append(f"shuffled control {amount(row['shuffled'], kind)}")
    if math.isfinite(row.get("ceiling", math.nan)):
        parts.append(f"ideal observer {amount(row['ceiling'], kind)}")
    return f"{amount(row['value'], kind)} ({', '.join([*parts, p_value(row)])})"


def question(metric: str, gallery: int, unseen: bool, concepts: list[str]) -> str:
    """What a headline score asks, as the beginning of its sentence."""
    of_what = "pictures of unseen concepts" if unseen else "pictures"
    asked = {
        "image_top1": f"Top-1 among {gallery} {of_what}",
        "image_top5": f"Top-5 among {gallery} {of_what}",
        "concept_top1": f"Top-1 among {len(concepts)} {'unseen ' if unseen else ''}concepts",
        "caption_object_top1": "Object caption, top-1 among all captions",
        "drawn_2way": "Picture drawn from EEG is closer to the picture seen than to another",
        "drawn_object": "Picture drawn from EEG shows the correct object",
        "auc": f"AUC, {' against '.join(concepts)}" if len(concepts) == 2 else "AUC",
        "balanced_accuracy": "Balanced accuracy",
    }
    return asked.get(metric, words(metric).title)
