"""How far to trust a run: what the protocol means, what test and training share, and what the numbers do not show."""

from phosphene.report.audited import audited
from phosphene.report.markup import Content, table, tag
from phosphene.report.run import Run
from phosphene.utils.duplicates import KINDS

_SPLITS = {
    "given": "The study itself defines the training and test trials.",
    "within_session": "Each run in turn is tested with a decoder trained only on the other runs of its session.",
    "leave_one_run_out": "Each run in turn is tested with a decoder trained only on the other runs.",
    "leave_one_session_out": "Each session in turn is tested with a decoder trained only on the other sessions.",
    "leave_one_subject_out": "Each subject in turn is tested with a decoder trained only on the other subjects.",
    "leaky_random_trials": "LEAKY, as requested: test trials are drawn at random, so a decoder can recognise what they "
    "share with training trials (block, run, often the picture).",
}
_GALLERIES = {
    "test": "The gallery contains the {} pictures of the test trials.",
    "all": "The gallery contains all {} pictures of the study, including those of the test trials.",
    "concept": "The gallery contains the {} concepts of the test trials, each represented by the mean of its pictures.",
    "within_concept": "The gallery contains the pictures of the concept that was seen ({} pictures in total).",
}
_SEPARATED = {
    "within_session": ("block", "run"),
    "leave_one_run_out": ("block", "run"),
    "leave_one_session_out": ("block", "run", "session"),
    "leave_one_subject_out": ("block", "run", "session", "subject"),
}


_PARTS = {"bytes": "picture: same file", "pixels": "picture: same pixels", "near_duplicate": "picture: near-duplicate"}


def how_far(run: Run) -> list[Content]:
    """The section."""
    return [
        tag("p", protocol(run)),
        table(
            ["Shared with training", "Test trials", "What it means"],
            [
                [_PARTS.get(part, part), f"{count:,} of {int(run.test.sum()):,}", tag("span", meaning, class_=grade)]
                for part, count, grade, meaning in shared(run)
            ],
            class_="overlaps",
        ),
        *[tag("p", tag("span", line, class_="bad")) for line in broken(run)],
        tag("h4", "The audit"),
        *audited(run),
        tag("h4", "The shuffled control"),
        tag("p", shuffled_control(run)),
        tag("h4", "What these numbers do not show"),
        tag("ul", [tag("li", line) for line in limits(run)]),
    ]


def protocol(run: Run) -> str:
    """The protocol in words, with its hash."""
    p = run.recipe.protocol
    whom = "Each subject has a separate decoder" if p.subjects == "within" else "One decoder is shared by all subjects"
    parts = [_SPLITS[p.split]]
    if p.and_given:
        parts.append(
            "Within each fold, only the study's own test trials are tested and only its training trials train."
        )
    parts += [f"{whom}.", f"A test sample is {_averaged(p.average_test)}"]
    parts[-1] += f", a training sample {_averaged(p.average_train)}."
    given = (p.split == "given" or p.and_given) and (run.trials.table["split"] == "val").any()
    if p.select_on == "val" and given:
        parts.append("The epoch was chosen on the study's own validation set; no test trial influenced any choice.")
    elif p.select_on == "val" and p.val_fraction > 0:
        parts.append(
            f"The epoch was chosen on a held-out {100 * p.val_fraction:g} % of the training {p.val_by}s; no test trial "
            "influenced any choice."
        )
    else:
        parts.append("No epoch or setting was chosen on held-out scores.")
    if run.recipe.whitening is not None:
        parts.append("Whitening was fitted on training trials only.")
    if run.retrieves:
        parts.append(_GALLERIES[p.gallery].format(run.gallery_size))
    return " ".join(parts) + f" All of this is protocol {p.hash}."


def _averaged(count: int) -> str:
    return {0: "the mean of all repeats of a picture", 1: "a single trial"}.get(count, f"the mean of {count} repeats")


def shared(run: Run) -> list[tuple[str, int, str, str]]:
    """For each part of the study: test trials that share it with training, a grade, and what that means."""
    found = []
    for part, count in run.overlaps.items():
        grade, meaning = _meaning(run, part, count)
        found.append((part, count, grade, meaning))
    return found


def _meaning(run: Run, part: str, count: int) -> tuple[str, str]:
    split, many = run.recipe.protocol.split, count > 0
    if part in _SEPARATED.get(split, ()):
        return ("bad", f"LEAK: this protocol keeps every {part} apart") if many else ("good", "kept apart, as intended")
    pictured = any(kind in run.overlaps for kind in KINDS)
    if not run.retrieves and (part == "concept" or (part == "stimulus" and (run.closed or not pictured))):
        return "plain", "the categories are the same by design: they are what is classified"
    if run.closed and part in ("stimulus", "concept", *KINDS):
        return (
            "plain",
            f"closed set of {run.closed} pictures by design: known pictures are identified, new ones are never tested",
        )
    if part in ("stimulus", *KINDS) and many:
        return "bad", "test pictures were in training: retrieval may reflect memorisation"
    if part in ("stimulus", "concept") and not many and run.copied:
        return "bad", "new by name only: the pictures were in training (see the picture rows)"
    if part in ("stimulus", *KINDS):
        return "good", "all new"
    if part == "concept":
        return (
            ("bad", "the concepts are known from training, not new") if many else ("good", "all new: decoded zero-shot")
        )
    if part == "block" and run.dataset.get("design") == "block" and many:
        return "bad", "LEAK: in a block design, slow drift alone identifies the pictures of a block"
    if part in ("block", "run") and many:
        return (
            "plain",
            "expected if training and test pictures are intermixed: drift then carries no information about them",
        )
    if part in ("session", "subject") and many:
        return "plain", "by design: the scores say nothing about other sessions or people"
    return "good", "kept apart"


def broken(run: Run) -> list[str]:
    """What parts share although the protocol keeps it apart; a line for each two parts."""
    lines = []
    for (a, b), rows in run.broken.groupby(["a", "b"], sort=False):
        counts = rows.groupby("unit", sort=False)["n_shared"].sum()
        units = ", ".join(f"{unit} ({count})" for unit, count in counts.items())
        why = "LEAK" if "test" in (a, b) else "the epoch was chosen on training data"
        lines.append(
            f"The protocol keeps {a} and {b} apart, but they share {units}, such as {rows['shared'].iloc[0]}: {why}."
        )
    return lines


def shuffled_control(run: Run) -> str:
    """What the control is."""
    n = run.recipe.evaluation.n_perm
    if run.scores_shuffled is not None:
        return (
            "The same pipeline is trained again on the same EEG, with its training pictures shuffled within each "
            "subject and session, and decodes the same test trials. Whatever it scores was not read from the EEG. "
            "The p-value of a score comes from "
            f"{n:,} random pairings of test samples with {'pictures' if run.retrieves else 'categories'}."
        )
    if run.decodes == "concepts":
        return (
            f"The whole cross-validation was repeated {n:,} times with labels shuffled within each run. The control "
            "is the mean of these scores, and p is how often one of them reached the true score."
        )
    return "No shuffled control was trained (evaluation.shuffled_control is false)."


def limits(run: Run) -> list[str]:
    """What a reader could wrongly conclude, and should not."""
    lines = []
    if run.simulated:
        lines.append(
            "Nothing about people: this EEG was simulated by a known generative model. The scores say how well the "
            "method reads that model."
        )
    if run.mini:
        lines.append(
            "Nothing about large backbones: 'mini' is a small stand-in, trained on drawn scenes. Its gallery and its "
            "drawings are simpler than photographs."
        )
    subjects = run.trials.table["subject"].nunique()
    if run.recipe.protocol.split != "leave_one_subject_out":
        lines.append(
            "Nothing about other people: the decoder was trained on the "
            f"{'person' if subjects == 1 else f'{subjects} people'} it is tested on. Intervals "
            "cover other test trials and pictures, not other people, days or seeds."
        )
    if run.recipe.protocol.average_test != 1:
        lines.append("Not single-trial performance: repeats of a picture are averaged before decoding.")
    if run.retrieves:
        lines.append(
            f"Not open-set performance: retrieval chooses among {run.gallery_size} pictures; with a larger gallery the "
            "same decoder scores lower."
        )
    if run.recipe.generator is not None:
        lines.append(
            "A drawing that looks good is not evidence: the generator also draws plausible pictures from noise. "
            "Compare it with the shuffled control's drawing, and rely on the scores over all drawings."
        )
    if not run.retrieves:
        lines.append(
            "Not pictures: the decoder classifies categories by whatever differs between them, including low-level "
            "picture features, eye movements and muscle activity."
        )
    return lines
