"""How far to trust a run: what the protocol means, what test and training share, and what the numbers do not show."""

from phosphene.report.audited import audited
from phosphene.report.markup import Content, table, tag
from phosphene.report.run import Run
from phosphene.utils.duplicates import KINDS

_SPLITS = {
    "given": "The study itself says which trials are for training and which for testing.",
    "within_session": "Each run in turn is tested by a decoder trained on the other runs of its session alone.",
    "leave_one_run_out": "Each run in turn is tested by a decoder trained on the other runs alone.",
    "leave_one_session_out": "Each session in turn is tested by a decoder trained on the other sessions alone.",
    "leave_one_subject_out": "Each subject in turn is tested by a decoder trained on the other subjects alone.",
    "leaky_random_trials": "LEAKY, as asked for: test trials are drawn at random, and what they share with training "
    "trials (block, run, often the picture) can be recognised.",
}
_GALLERIES = {
    "test": "The gallery is the {} pictures of the test trials.",
    "all": "The gallery is all {} pictures of the study, those of the test trials among them.",
    "concept": "The gallery is the concepts of the test trials, each the centre of its pictures ({} in all).",
    "within_concept": "The gallery is the pictures of the concept that was seen ({} pictures in all).",
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
    whom = "Each subject has a decoder of their own" if p.subjects == "within" else "One decoder serves all subjects"
    parts = [_SPLITS[p.split]]
    if p.and_given:
        parts.append("Of these, only the study's own test trials are tested, and only its training trials train.")
    parts += [f"{whom}.", f"A test sample is {_averaged(p.average_test)}"]
    parts[-1] += f", a training sample {_averaged(p.average_train)}."
    given = (p.split == "given" or p.and_given) and (run.trials.table["split"] == "val").any()
    if p.select_on == "val" and given:
        parts.append("The epoch was chosen on the study's own validation part; no test trial ever chose anything.")
    elif p.select_on == "val" and p.val_fraction > 0:
        parts.append(
            f"The epoch was chosen on {100 * p.val_fraction:g} % of the training {p.val_by}s, held out; no test trial "
            "ever chose anything."
        )
    else:
        parts.append("No epoch or setting was chosen on held-out scores.")
    if run.recipe.whitening is not None:
        parts.append("Whitening was fitted on training trials.")
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
        return "plain", "the categories are the same by design: it is they that are told apart"
    if run.closed and part in ("stimulus", "concept", *KINDS):
        return (
            "plain",
            f"closed set of {run.closed} pictures by design: known ones are told apart, new ones never tested",
        )
    if part in ("stimulus", *KINDS) and many:
        return "bad", "test pictures were trained on: retrieval may be memory"
    if part in ("stimulus", "concept") and not many and run.copied:
        return "bad", "new by name alone: the pictures were trained on (see the rows of pictures)"
    if part in ("stimulus", *KINDS):
        return "good", "all new"
    if part == "concept":
        return ("bad", "known from training: not concepts unseen") if many else ("good", "all new: decoded zero-shot")
    if part == "block" and run.dataset.get("design") == "block" and many:
        return "bad", "LEAK: in a block design, drift alone tells the pictures of a block"
    if part in ("block", "run") and many:
        return "plain", "expected if training and test pictures are intermixed, so that drift cannot tell them apart"
    if part in ("session", "subject") and many:
        return "plain", "by design: nothing is claimed about other sessions or people"
    return "good", "kept apart"


def broken(run: Run) -> list[str]:
    """What parts share although the protocol keeps it apart; a line for each two parts."""
    lines = []
    for (a, b), rows in run.broken.groupby(["a", "b"], sort=False):
        counts = rows.groupby("unit", sort=False)["n_shared"].sum()
        units = ", ".join(f"{unit} ({count})" for unit, count in counts.items())
        why = "LEAK" if "test" in (a, b) else "the epoch was chosen on what was trained on"
        lines.append(
            f"The protocol keeps {a} and {b} apart, but they share {units}, such as {rows['shared'].iloc[0]}: {why}."
        )
    return lines


def shuffled_control(run: Run) -> str:
    """What the control is."""
    n = run.recipe.evaluation.n_perm
    if run.scores_shuffled is not None:
        return (
            "The same pipeline trained once more on the same EEG, its training pictures exchanged at random within "
            "each subject and session, decodes the same test trials. Whatever it scores was not read from the EEG. "
            "The p-value of a score comes from "
            f"{n:,} random pairings of test samples with {'pictures' if run.retrieves else 'categories'}."
        )
    if run.decodes == "concepts":
        return (
            f"The whole cross-validation was repeated {n:,} times with labels shuffled within each run. The control's "
            "score is the mean of these, and p is how often one of them reached the true score."
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
            f"Nothing about other people: {'one person' if subjects == 1 else f'{subjects} people'}, known to the "
            "decoder from training. Intervals cover other test trials and pictures, not other people, days or seeds."
        )
    if run.recipe.protocol.average_test != 1:
        lines.append("Not what a single look gives: repeats of a picture are averaged before decoding.")
    if run.retrieves:
        lines.append(
            f"Not an open world: retrieval chooses among {run.gallery_size} pictures; in a larger gallery the "
            "same decoding scores lower."
        )
    if run.recipe.generator is not None:
        lines.append(
            "A drawing that looks good is no evidence: the generator draws plausible pictures from noise as well. "
            "Compare it with the shuffled control's, and trust the scores over all drawings."
        )
    if not run.retrieves:
        lines.append(
            "Not pictures: the decoder tells categories apart, by whatever differs between them, which includes low-"
            "level features of the pictures, eye movements and muscle activity."
        )
    return lines
