"""The sections of a run, each from the run to its content; what a run lacks makes a section say so or vanish."""

import json
import math

import numpy as np
import pandas as pd

from phosphene.evaluation import chance
from phosphene.evaluation.classification import auc_by_run, run_names
from phosphene.registry import find
from phosphene.report import figures, words
from phosphene.report.markup import Content, Markup, details, drawing, table, tag
from phosphene.report.run import Run

MAPPED = 16  # fewest channels from which a map of the head is drawn


def badges(run: Run) -> list[Content]:
    """What must be known before any number is read."""
    kind = "simulated EEG" if run.simulated else "recorded EEG"
    stamps: list[Content] = [tag("span", kind, class_="badge sim" if run.simulated else "badge real")]
    if run.mini:
        stamps.append(tag("span", "mini backbone: for demonstration, never a result", class_="badge warn"))
    if run.dataset.get("design") == "block":
        stamps.append(tag("span", "block design: slow drift alone can reveal the concept", class_="badge warn"))
    return stamps


def summary(run: Run) -> str:
    """What was run, in one sentence."""
    trials, recipe = run.trials, run.recipe
    subjects = sorted(trials.table["subject"].unique())
    who = f"{len(subjects)} subject{'s' if len(subjects) > 1 else ''}"
    named = f" ({', '.join(subjects[:8])}{', …' if len(subjects) > 8 else ''})"
    encoder = f" with encoder '{recipe.method['encoder']}'" if "encoder" in recipe.method else ""
    return (
        f"{'Simulated' if run.simulated else 'Recorded'} EEG of {who}{named} from dataset "
        f"'{run.dataset.get('name', recipe.dataset['name'])}': {len(trials):,} trials, {trials.n_chans} channels at "
        f"{trials.signal.sfreq:g} Hz, of which {int(run.test.sum()):,} were tested; method "
        f"'{recipe.method['name']}'{encoder}; protocol {recipe.protocol.split.replace('_', ' ')} "
        f"({recipe.protocol.hash}), seed {recipe.protocol.seed}."
    )


def headline(run: Run) -> list[Content]:
    """The few scores that matter, each with its control and the verdict of the rule."""
    cards = []
    for row in run.headline():
        kind = words.words(row["metric"]).kind
        grade, verdict = run.verdict(row)
        bounds, said = words.interval(row, kind), words.no_interval(row, kind)
        control = [said if bounds == "–" and said else f"95 % interval {bounds}{' %' if kind == 'share' else ''}"]
        more = tag("p", f"{said[0].upper()}{said[1:]}.", class_="note") if said and bounds != "–" else None
        facts: list[Content] = [tag("span", f"chance {words.amount(row['chance'], kind)}")]
        if math.isfinite(row["shuffled"]):
            facts.append(tag("span", f"shuffled control {words.amount(row['shuffled'], kind)}"))
        if math.isfinite(row["ceiling"]):
            facts.append(tag("span", f"ideal observer {words.amount(row['ceiling'], kind)}"))
        facts.append(tag("span", words.p_value(row)))
        cards.append(
            tag(
                "div",
                tag("p", run.label(row), class_="asked"),
                tag("p", tag("strong", words.amount(row["value"], kind)), " ", tag("span", *control), class_="value"),
                more,
                tag("p", facts, class_="controls"),
                tag("p", verdict, class_=f"verdict {grade}"),
                class_="card",
            )
        )
    rule = (
        f"The verdicts follow a fixed rule. {run.rule()} A shuffled control is at chance if the same rule does not put "
        f"it above chance. If it is the mean of many shuffles, it must be within {words.CONTROL_MARGIN:g} or three "
        "standard errors of chance."
    )
    return [tag("div", cards, class_="cards"), tag("p", rule, class_="note")] if cards else ["No headline score."]


def scores(run: Run) -> list[Content]:
    """Every score, with a chart of value, interval, chance and shuffled control in its row."""
    several = run.scores["subject"].nunique() > 1
    ideal = bool(np.isfinite(run.scores["ceiling"]).any())
    head: list[Content] = ["Score", "Value", "95 % interval", "Chance", "Shuffled control"]
    head += [*(["Ideal observer"] if ideal else []), "p", "n", _scale()]
    parts: list[Content] = []
    for group in words.GROUPS:
        rows = [row for _, row in run.scores.iterrows() if words.words(row["metric"]).group == group]
        if not rows:
            continue
        lines = []
        for row in rows:
            what = words.words(row["metric"])
            name: list[Content] = [tag("span", what.title, title=what.meaning, class_="term")]
            name += [f", subject {row['subject']}" if row["subject"] != "all" else ", all subjects"] if several else []
            p = chance.p_text(float(row["p"])).removeprefix("p ").removeprefix("= ")
            lines.append(
                [
                    name,
                    words.amount(row["value"], what.kind),
                    words.interval(row, what.kind),
                    words.amount(row["chance"], what.kind),
                    words.amount(row["shuffled"], what.kind),
                    *([words.amount(row["ceiling"], what.kind)] if ideal else []),
                    p,
                    f"{row['n']:g}",
                    "" if what.kind == "distance" else _dots(row, run.gallery_size if what.kind == "rank" else None),
                ]
            )
        backbones = sorted({row["backbone"] for row in rows if row["backbone"]})
        rests = f" · based on {', '.join(backbones)}" if backbones else ""
        parts.append(table(head, lines, [tag("b", group), rests], class_="scores"))
    metrics = {words.words(m).title: words.words(m).meaning for m in run.scores["metric"]}
    legend = tag(
        "p",
        _key("value"),
        " value with its interval   ",
        _key("control"),
        " shuffled control   ",
        _key("chance"),
        " chance. Percentages run from 0 to 100 %, AUC from 0 to 1, ranks from 1 to the size of the gallery. p-values "
        "here are uncorrected. Only the headline scores get a verdict, with p corrected for their number.",
        class_="note",
    )
    said = [words.no_interval(row, words.words(row["metric"]).kind) for _, row in run.scores.iterrows()]
    few = [tag("p", f"{text[0].upper()}{text[1:]}.", class_="note") for text in dict.fromkeys(filter(None, said))]
    terms = details("What each score means", tag("dl", [[tag("dt", k), tag("dd", v)] for k, v in metrics.items()]))
    observer = (
        "The ideal observer decodes the same test trials, but knows the simulated brain's exact response to each "
        "picture of the gallery and the covariance of the noise. A decoder can only do better by chance. The gap "
        "between them is what a decoder must learn from training trials, and never learns completely."
    )
    return [legend, *([tag("p", observer, class_="note")] if ideal else []), *parts, *few, terms, *_spread(run)]


def _scale() -> Markup:
    return tag("span", tag("span", "0"), tag("span", "½"), tag("span", "1"), class_="scale")


def _key(kind: str) -> Markup:
    shape = (
        tag("line", x1=6, y1=1, x2=6, y2=11, class_=kind)
        if kind == "chance"
        else tag("circle", cx=6, cy=6, r=4, class_=kind)
    )
    return tag("svg", shape, viewBox="0 0 12 12", width=12, height=12, role="img", aria_label=kind)


def _dots(row: pd.Series, n_gallery: int | None) -> Markup:
    def x(value: float) -> str:
        share = (value - 1) / max(1, n_gallery - 1) if n_gallery else value
        return f"{5 + 190 * min(1.0, max(0.0, share)):.1f}"

    known = {k: float(row[k]) for k in ("value", "ci_low", "ci_high", "chance", "shuffled") if math.isfinite(row[k])}
    shapes: list[Content] = [tag("line", x1=5, y1=10, x2=195, y2=10, class_="axis")]
    if "chance" in known:
        shapes.append(tag("line", x1=x(known["chance"]), y1=3, x2=x(known["chance"]), y2=17, class_="chance"))
    if "ci_low" in known and "ci_high" in known:
        shapes.append(tag("line", x1=x(known["ci_low"]), y1=10, x2=x(known["ci_high"]), y2=10, class_="interval"))
    if "shuffled" in known:
        shapes.append(tag("circle", cx=x(known["shuffled"]), cy=10, r=4, class_="control"))
    shapes.append(tag("circle", cx=x(known.get("value", 0.0)), cy=10, r=4.5, class_="value"))
    alt = ", ".join(f"{name.replace('ci_', 'interval ')} {value:.3g}" for name, value in known.items())
    return tag("svg", shapes, viewBox="0 0 200 20", width=200, height=20, role="img", aria_label=alt)


def _spread(run: Run) -> list[Content]:
    """How the samples lie behind the scores."""
    if run.places:
        found = figures.cumulative_ranks(run.places, run.gallery_size)
        caption = "Share of pictures seen that are among the first k retrieved, for every k."
        return [
            drawing(
                found,
                f"{run.key}-ranks",
                "share of pictures found against k, EEG, shuffled control and chance",
                caption,
            )
        ]
    if run.retrieves or len(run.concepts) != 2:
        return []
    score = np.array([s.score for s in run.samples])
    labels = np.array([int(s.seen["concept"] == run.concepts[1]) for s in run.samples])
    names = run_names(pd.DataFrame([s.seen for s in run.samples]).reset_index(drop=True))
    by_run = auc_by_run(labels, score, names).dropna() if 0 < labels.sum() < len(labels) else None
    few = by_run is None or len(by_run) < 2
    caption = "Decision scores of held-out trials, by category seen."
    if not few:
        caption += " Right: AUC within each left-out run; the dashed line is chance."
    found = figures.decisions(score, labels, run.concepts, None if few else by_run)
    return [
        drawing(
            found, f"{run.key}-decisions", "histograms of decision scores by category, and AUC of each run", caption
        )
    ]


def signal(run: Run) -> list[Content]:
    """The averaged response: a plausible one is the first check of any recording."""
    trials, test = run.trials, run.test
    mean, _, n = figures.mean_and_error(trials, test)
    following = _following(run)
    overlap = ""
    if following < trials.times[-1]:
        overlap = (
            f"A new picture came every {1e3 * following:.0f} ms (median), so responses to successive pictures overlap."
        )
    parts: list[Content] = []
    if trials.n_chans >= MAPPED:
        positions = trials.signal.positions
        front = None if positions is None else np.array(positions)[:, 1] > np.median(np.array(positions)[:, 1])
        peaks = figures.field_power_peaks(mean, trials.times, following)
        parts.append(
            drawing(
                figures.butterfly(mean, trials.times, peaks, front, following),
                f"{run.key}-erp",
                "average response of every channel over time, with global field power",
                f"Mean of {n:,} test trials at each of {trials.n_chans} channels, not whitened. {overlap}",
            )
        )
        if positions is not None and peaks:
            try:
                maps = figures.topographies(mean, trials, peaks)
            except (ValueError, RuntimeError) as error:
                parts.append(tag("p", f"No scalp maps: {error}", class_="note"))
            else:
                parts.append(
                    drawing(
                        maps,
                        f"{run.key}-maps",
                        "scalp maps at the peaks of the global field power",
                        "The same mean as scalp maps at the highest peaks of the global field power; nose up.",
                    )
                )
    if len(run.concepts) <= 4 and len(run.concepts) > 1:
        names = trials.signal.ch_names
        shown = names if trials.n_chans <= 8 else [names[i] for i in np.argsort(-mean.std(axis=1))[:4]]
        parts.append(
            drawing(
                figures.by_concept(trials, test, run.concepts, shown),
                f"{run.key}-concepts",
                "average response to each category with its 95 % band",
                f"Mean response to each category with its 95 % band over trials (trial counts in brackets). {overlap}",
            )
        )
    if not parts:
        parts.append(
            drawing(
                figures.butterfly(mean, trials.times, [], None, following),
                f"{run.key}-erp",
                "average response of every channel",
                f"Mean of {n:,} test trials at each channel, not whitened. {overlap}",
            )
        )
    return parts


def _following(run: Run) -> float:
    """When the next picture came after one, s: the median; infinity if onsets do not tell."""
    gaps = run.trials.table.sort_values("onset").groupby(["subject", "session", "run"])["onset"].diff()
    return float(gaps[gaps > 0].median()) if (gaps > 0).any() else math.inf


def training(run: Run) -> list[Content]:
    """Loss curves."""
    if run.log.empty:
        solved = (run.folder / "log.jsonl").is_file()
        return [tag("p", "Solved in closed form: there is no loss curve." if solved else "No log was kept.")]
    caption = (
        "Loss of each epoch. The shuffled control also fits its training pairs, but does not generalise to validation."
    )
    if not run.log["fold"].str.endswith("-shuffled").any():
        caption = "Loss of each epoch."
    return [drawing(figures.losses(run.log), f"{run.key}-losses", "training and validation loss by epoch", caption)]


def reproduce(run: Run) -> list[Content]:
    """Commands, recipe and provenance."""
    commands = ["phosphene run config.yaml --out runs/again"]
    parameters = run.simulation
    if parameters:
        options = {"format" if k == "fmt" else k.replace("_", "-"): v for k, v in parameters.items() if k != "size"}
        flags = " ".join(f"--{k} {v}" for k, v in options.items())
        commands = [f"phosphene simulate --out study {flags}", f"{commands[0]} --set dataset.root=study"]
    git = run.provenance.get("git")
    intro = f"The recipe below is config.yaml in the run folder{f'; the code was at revision {git}' if git else ''}."
    parts: list[Content] = [
        tag("p", intro),
        tag("pre", "\n".join(commands)),
        details("Recipe", tag("pre", run.config())),
    ]
    if run.provenance:
        record = json.dumps(run.provenance, indent=2, ensure_ascii=False)
        parts.append(details("Provenance: versions, hashes, overlaps", tag("pre", record)))
    if run.dataset:
        facts = {**run.dataset, "method": getattr(find("method", run.recipe.method["name"]), "citation", "")}
        lines = [[tag("dt", k), tag("dd", str(v))] for k, v in facts.items() if v != ""]
        parts.append(details("Data and method: licence and citation", tag("dl", lines)))
    return parts
