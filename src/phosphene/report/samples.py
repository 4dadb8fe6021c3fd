"""What was seen and what was read: test samples chosen by a rule that cannot pick cherries."""

from phosphene.report.markup import Content, Markup, picture, table, tag
from phosphene.report.run import Run, Sample

ROWS = 12


def seen_and_read(run: Run) -> list[Content]:
    """The section's rule and its grid of pictures."""
    return _pictures(run) if run.retrieves else _concepts(run)


def _pictures(run: Run) -> list[Content]:
    chosen = run.spread(ROWS)
    run.add_captions(chosen)
    ranked = bool(run.places)
    if not ranked:
        rule = f"The first {len(chosen)} of {len(run.samples)} test samples, in the order of the table."
    elif len(chosen) == len(run.samples):
        rule = f"All {len(chosen)} test samples, from best to worst rank of the picture seen."
    else:
        rule = (
            f"{len(chosen)} of {len(run.samples)} test samples, evenly spaced from best to worst by the rank of the "
            "picture seen in the gallery. The first row shows the best sample, the last the worst, and the middle rows "
            "are typical."
        )
    captions = any(s.captions for s in chosen)
    drawn = run.recipe.generator is not None
    control = drawn and True in run.experiment.trainings
    head: list[Content] = ["Picture seen", "Five most similar in the gallery, from EEG"]
    head += [["Captions retrieved"]] if captions else []
    head += ["Drawn from EEG"] if drawn else []
    head += ["Drawn by the shuffled control"] if control else []
    rows = []
    for sample in chosen:
        row: list[Content] = [_seen(run, sample), _strip(run, sample)]
        row += [_captions(sample)] if captions else []
        row += [_drawn(run, sample, False)] if drawn else []
        row += [_drawn(run, sample, True)] if control else []
        rows.append(row)
    notes = "A green frame and a tick mark the picture seen; the number under a picture is its cosine similarity."
    if drawn:
        draws = run.recipe.evaluation.draws
        first = "the only one" if draws == 1 else f"the first of {draws}, all of which are scored"
        notes += f" Each drawing is {first}; EEG and shuffled control start from the same noise."
    return [tag("p", rule), table(head, rows, class_="samples"), tag("p", notes, class_="note")]


def _concepts(run: Run) -> list[Content]:
    chosen = run.spread(ROWS)
    right = sum(run.goodness(s) > 0 for s in run.samples)
    n = len(run.samples)
    rule = (
        f"{len(chosen)} of {n} test trials, evenly spaced from the most clearly correct to the most clearly wrong. "
        f"Of all test trials, {right} ({100 * right / n:.0f} %) were classified correctly."
    )
    first, second = run.concepts[0], run.concepts[-1]
    binary = len(run.concepts) == 2
    rows = []
    for sample in chosen:
        concept = str(sample.seen["concept"])
        found, _ = sample.retrieved[0] if sample.retrieved else ("", 0.0)
        good = run.goodness(sample) > 0
        decided = _concept_of(run, found) if found else "–"
        if binary:
            decided = second if sample.score > 0 else first
        rows.append(
            [
                [concept, tag("small", f"{sample.seen['subject']}/{sample.seen['session']}/{sample.seen['run']}")],
                _frame(run, found, 72, f"retrieved: a picture of {decided}", good) if found else "–",
                [_mark(good), f" {decided}"],
                _needle(run, sample) if binary else "–",
            ]
        )
    scale = "log-odds" if run.decodes == "concepts" else "difference of similarities"
    head: list[Content] = [
        ["Category seen", tag("small", "subject/session/run")],
        "Picture retrieved",
        "Decided",
        f"Decision score: {scale}, {first} ← 0 → {second}" if binary else "Decision score",
    ]
    note = (
        "The recording stores only the category of each picture, and the method decodes only the category. The picture "
        "retrieved is the first gallery picture of the decoded category."
    )
    return [tag("p", rule), table(head, rows, class_="samples"), tag("p", note, class_="note")]


def _concept_of(run: Run, stimulus: str) -> str:
    stimuli = run.trials.stimuli
    return str(stimuli.loc[stimulus, "concept"]) if stimulus in stimuli.index and "concept" in stimuli else stimulus


def _image_of(run: Run, stimulus: str) -> str:
    stimuli = run.trials.stimuli
    known = "image" in stimuli and stimulus in stimuli.index
    return str(stimuli.loc[stimulus, "image"]) if known else ""


def _mark(right: bool) -> Markup:
    return tag("span", "✓" if right else "✗", class_="right" if right else "wrong", title="right" if right else "wrong")


def _frame(run: Run, stimulus: str, size: int, alt: str, true: bool = False) -> Markup:
    return picture(_image_of(run, stimulus), alt, size, "true" if true else None)


def _seen(run: Run, sample: Sample) -> Content:
    concept, stimulus = str(sample.seen["concept"]), str(sample.seen["stimulus"])
    whose = f"subject {sample.seen['subject']}, " if run.scores["subject"].nunique() > 1 else ""
    place = "" if sample.place != sample.place else f"rank {sample.place:g} of {run.gallery_size}"
    return [_frame(run, stimulus, 104, f"seen: {concept}"), tag("b", concept), tag("small", whose + place)]


def _strip(run: Run, sample: Sample) -> Content:
    cells = []
    for place, (stimulus, similarity) in enumerate(sample.retrieved[:5], start=1):
        true = stimulus == sample.seen["stimulus"]
        concept = _concept_of(run, stimulus)
        alt = f"place {place}: {concept}" + (", the picture seen" if true else "")
        figures = tag("span", [_mark(True), " "] if true else None, f"{similarity:.2f}")
        cells.append(tag("span", _frame(run, stimulus, 68, alt, true), figures, class_="hit" if true else None))
    return tag("div", cells, class_="strip")


def _captions(sample: Sample) -> Content:
    lines: list[Content] = []
    for level, best, true in sample.captions:
        correct = None if best == true else tag("span", f"seen: {true}", class_="truth")
        lines += [tag("dt", level), tag("dd", _mark(best == true), " ", best, correct)]
    return tag("dl", lines)


def _drawn(run: Run, sample: Sample, shuffled: bool) -> Content:
    path = run.experiment.picture(sample.fold, sample.row, shuffled=shuffled)
    what = "drawn by the shuffled control while" if shuffled else "drawn from EEG while"
    return picture(path, f"{what} {sample.seen['concept']} was seen", 104)


def _needle(run: Run, sample: Sample) -> Content:
    """The decision score as a mark on the scale of all of them."""
    reach = max(1e-6, run.reach)
    x = 100 + 92 * max(-1.0, min(1.0, sample.score / reach))
    shape = tag(
        "svg",
        tag("line", x1=8, y1=10, x2=192, y2=10, class_="axis"),
        tag("line", x1=100, y1=3, x2=100, y2=17, class_="chance"),
        tag("circle", cx=f"{x:.1f}", cy=10, r=4.5, class_="value" if run.goodness(sample) > 0 else "missed"),
        viewBox="0 0 200 20",
        width=200,
        height=20,
        role="img",
        aria_label=f"decision score {sample.score:.2f}",
    )
    return [shape, tag("small", f"{sample.score:+.2f}".replace("-", "−"))]
