"""The page's sections, each from one run folder. A part that a run does not have is left out."""

import json
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from phosphene.captions import SLOTS
from phosphene.errors import PhospheneError
from phosphene.evaluation.protocols import Fold
from phosphene.experiment import Experiment
from phosphene.files import read_json
from phosphene.report import figures, words
from phosphene.report.html import Raw, figure, number, p_value, picture, table, tag
from phosphene.targets.clip import open_picture
from phosphene.trials import Trials

SHOWN = 14  # trials on the page


def head(e: Experiment) -> list[Raw]:
    """What was run, and what must be known before any number is read."""
    facts, trials, protocol = _json(e, "dataset.json"), e.trials, e.protocol
    subjects = trials.table["subject"].nunique()
    stamps = []
    if facts.get("simulated"):
        stamps.append("simulated EEG")
    if "mini" in (e.recipe.method.get("backbone"), (e.recipe.generator or {}).get("backbone")):
        stamps.append("backbone mini: a stand-in, never a result about people")
    if facts.get("design") == "block":
        stamps.append("block design: class and time are confounded")
    sentence = (
        f"{len(trials):,} trials of {subjects} subject{'s' * (subjects > 1)}, {trials.n_chans} channels, "
        f"{1e3 * trials.times[0]:.0f} to {1e3 * trials.times[-1]:.0f} ms at {trials.signal.sfreq:g} Hz; "
        f"dataset {facts.get('name', '')}, method {e.recipe.method['name']}, protocol {protocol.hash}, "
        f"seed {protocol.seed}."
    )
    notes = [tag("li", note) for note in trials.notes]
    return [
        tag("p", e.recipe.description or e.recipe.name, cls="lead"),
        tag("p", *(tag("span", s, cls="stamp") for s in stamps)),
        tag("p", sentence),
        *([tag("h3", "Know this first"), tag("ul", *notes)] if notes else []),
    ]


def cards(e: Experiment, scores: pd.DataFrame) -> list[Raw]:
    """Headline scores, each with its controls."""
    found = []
    for _, row in words.leading(scores).iterrows():
        verdict = words.verdict(row)
        found.append(
            tag(
                "div",
                tag("span", words.title(row["metric"], words.gallery_size(e, row["metric"])), f", {_who(row)}"),
                tag("b", number(row["value"])),
                tag("span", verdict, cls="above" if verdict == "above chance" else "not"),
                Raw("<br>"),
                tag(
                    "small",
                    f"95 % {number(row['ci_low'])} to {number(row['ci_high'])}; chance {number(row['chance'])}; "
                    f"shuffled twin {number(row['shuffled'])}; {p_value(row['p'])}; n = {row['n']}",
                ),
                cls="card",
            )
        )
    return [tag("div", *found, cls="cards")]


def seen_and_read(e: Experiment) -> list[Raw]:
    """Test trials with what was found and drawn for them, chosen by a rule and not by their looks."""
    fold = e.folds[0]
    _, tensors = e.decoded(fold)
    return _pictures(e, fold, tensors) if "head.image" in tensors else _decisions(e)


def _pictures(e: Experiment, fold: Fold, tensors: dict[str, Any]) -> list[Raw]:
    retrieved, stimuli = e.retrieve(fold), e.trials.stimuli
    place = _places(e, fold, tensors)
    rows = np.argsort(place, kind="stable")[np.linspace(0, len(place) - 1, min(SHOWN, len(place))).round().astype(int)]
    drawn = e.recipe.generator is not None
    captions = _captions(e, tensors)
    columns = ["place", "seen", "nearest five in the gallery", *(["drawn from EEG"] if drawn else [])]
    columns += ["drawn from the twin"] if drawn and True in e.twins else []
    columns += ["captions read"] if captions else []
    body = []
    for i in rows:
        stimulus = retrieved["stimulus"][i]
        five = []
        for k in range(1, 6):
            if f"picture_{k}" not in retrieved:
                break
            name, hit = retrieved[f"picture_{k}"][i], retrieved[f"picture_{k}"][i] == stimulus
            alt = f"{stimuli['concept'][name]}{', the true picture' if hit else ''}"
            five.append(picture(open_picture(stimuli["image"][name]), alt, "px small true" if hit else "px small"))
        cells = [
            int(place[i]),
            _cell(
                open_picture(stimuli["image"][stimulus]),
                f"seen: {stimuli['concept'][stimulus]}",
                stimuli["concept"][stimulus],
            ),
            tag("td", *(Raw(f"{p} ") for p in five), cls="pic", style="white-space:nowrap"),
        ]
        for twin in (False, True) if drawn else ():
            if twin in e.twins:
                cells.append(
                    _cell(
                        open_picture(e.picture(fold, int(i), twin=twin)),
                        "drawn from the twin" if twin else "drawn from EEG",
                    )
                )
        if captions:
            lines = []
            for slot, read in captions.items():
                right = read[i] == stimuli[slot][stimulus]
                lines += [
                    tag("span", ("✓ " if right else "✗ ") + read[i], cls="above" if right else "not"),
                    Raw("<br>"),
                ]
            cells.append(tag("td", *lines))
        body.append(cells)
    rule = (
        f"{len(rows)} of {len(place)} test pictures of subject {fold.subject}, evenly spaced from the best to the worst place of "
        "the true picture: not a selection of successes. One drawing each; no best of several. Green frame: the true picture. "
        "The twin was trained on EEG and pictures paired at random, and draws with the same noise."
    )  # fmt: skip
    return [tag("p", rule, cls="note"), table(columns, body, numeric=(0,))]


def _places(e: Experiment, fold: Fold, tensors: dict[str, Any]) -> np.ndarray:
    from phosphene.evaluation import retrieval

    gallery, truth = e.gallery(fold)
    vectors = e.method(fold).targets()["image"].table(gallery).vectors.numpy()
    similarity = retrieval.cosine(tensors["head.image"].numpy(), vectors)
    return retrieval.median_rank(retrieval.ranks(similarity).of(truth))


def _captions(e: Experiment, tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    """Slot -> the nearest caption of each trial."""
    from phosphene.evaluation import retrieval

    space, found = e.method().targets()["image"], {}
    for slot in SLOTS:
        if slot.name in e.trials.stimuli and hasattr(space, "texts"):
            every = np.unique(e.trials.stimuli[slot.name].to_numpy(str))
            similarity = retrieval.cosine(tensors["head.image"].numpy(), space.texts(list(every)).numpy())
            found[slot.name] = every[similarity.argmax(1)]
    return found


def _decisions(e: Experiment) -> list[Raw]:
    """Where only the concept is read: evenly spaced trials of all folds, by the decoder's certainty for what was seen."""
    parts = []
    for fold in e.folds:
        retrieved, (_, tensors) = e.retrieve(fold, k=1), e.decoded(fold)
        concepts = e.method(fold).config["concepts"]
        p = tensors["head.concept"].numpy()
        own = [concepts.index(c) for c in retrieved["concept"]]
        parts.append(retrieved.assign(p=p[np.arange(len(p)), own], read=[concepts[j] for j in p.argmax(1)]))
    trials = pd.concat(parts, ignore_index=True).sort_values("p", ascending=False, kind="stable")
    rows = trials.iloc[np.linspace(0, len(trials) - 1, min(SHOWN, len(trials))).round().astype(int)]
    stimuli = e.trials.stimuli
    body = [
        [
            f"subject {r['subject']}, run {r['run']}, {float(r['onset']):.1f} s", r["concept"],
            tag("span", ("✓ " if r["read"] == r["concept"] else "✗ ") + r["read"], cls="above" if r["read"] == r["concept"] else "not"),
            _cell(open_picture(stimuli["image"][r["picture_1"]]), f"retrieved: {r['picture_1']}", r["picture_1"]),
            f"{r['p']:.2f}",
        ]
        for _, r in rows.iterrows()
    ]  # fmt: skip
    rule = (
        f"{len(rows)} of {len(trials)} single trials, evenly spaced from the most to the least probability given to what was seen: "
        "not a selection of successes. Every picture stands for its concept alone: which of a concept's pictures is "
        "retrieved means nothing here."
    )  # fmt: skip
    return [
        tag("p", rule, cls="note"),
        table(["trial", "seen", "read", "retrieved", "probability"], body, numeric=(4,)),
    ]


def all_scores(scores: pd.DataFrame) -> list[Raw]:
    """Every score beside its controls."""
    single = scores[scores["subject"] == ("all" if (scores["subject"] == "all").any() else scores["subject"].iloc[0])]
    body = [
        [
            tag("td", tag("span", r["metric"], title=words.MEANING.get(r["metric"], "")), Raw("<br>"),
                tag("small", words.MEANING.get(r["metric"], ""), style="white-space:normal")),
            _who(r), number(r["value"]), f"{number(r['ci_low'])} to {number(r['ci_high'])}", number(r["chance"]),
            number(r["shuffled"]), p_value(r["p"]), r["n"], r["backbone"] if isinstance(r["backbone"], str) else "",
        ]
        for _, r in scores.iterrows()
    ]  # fmt: skip
    columns = ["metric", "subject", "value", "95 % interval", "chance", "shuffled twin", "p", "n", "rests on"]
    chart = figure(
        figures.scores(single), "scores with intervals, chance and twin", "Scores between 0 and 1, with their controls."
    )
    return [chart, table(columns, body, numeric=(2, 3, 4, 5, 6, 7))]


def trust(e: Experiment) -> list[Raw]:
    """Protocol in words, overlaps of the split, and what the controls are."""
    p = e.protocol
    split = {"given": "the dataset's own training and test part"}.get(p.split, p.split.replace("_", " "))
    repeats = {0: "all repeats of a picture averaged", 1: "single trials"}
    lines = [
        f"Split: {split}; {'a model for each subject' if p.subjects == 'within' else 'one model for all subjects'}.",
        f"A training sample: {repeats.get(p.average_train, f'{p.average_train} repeats averaged')}; "
        f"a test sample: {repeats.get(p.average_test, f'{p.average_test} repeats averaged')}.",
        f"Epoch chosen by {'the validation part: whole ' + p.val_by + 's held out of training' if p.select_on == 'val' and p.val_fraction else 'nothing: the last one is taken'}. "
        "Test trials select nothing.",
        f"Whitening: {e.recipe.whitening or 'none'}" + ("; fitted on training trials of each session." if e.recipe.whitening else "."),
        "Intervals: bootstrap over whole concepts (over trials within run and class for two-class scores). "
        "p: random pairings of trials and pictures (labels shuffled within run, every fold trained again, for two-class scores).",
        "Shuffled twin: the whole pipeline trained on EEG and pictures paired at random. A leak would lift it above chance.",
    ]  # fmt: skip
    overlaps = _json(e, "provenance.json").get("overlaps", {})
    parts = [tag("ul", *(tag("li", line) for line in lines))]
    if overlaps:
        frame = pd.DataFrame(overlaps).T
        total = {f"{f.subject}-{f.name}": int(f.test.sum()) for f in e.folds}
        rows = [
            [name, total.get(name, ""), *map(int, row)] for name, row in zip(frame.index, frame.to_numpy(), strict=True)
        ]
        columns = ["fold", "test trials", *(f"share their {c} with training" for c in frame.columns)]
        parts += [
            tag("h3", "What test trials share with training"),
            table(columns, rows, numeric=tuple(range(1, len(columns)))),
            tag("p", "Shared subject, session and run are expected within a subject whose trials are randomly intermixed. A shared "
                "stimulus or concept means that the score is not about unseen ones.", cls="note"),
        ]  # fmt: skip
    return parts


def signal(e: Experiment) -> list[Raw]:
    """The evoked response in volts, before whitening."""
    trials = Trials.load(e.out / "trials")
    used = trials.select(np.any([f.test for f in e.folds], axis=0))
    drawn, maps = figures.evoked(used)
    caption = (
        "Mean over test trials: every channel (blue), global field power (black), and the scalp at its peaks."
        if maps
        else "Mean of each concept over test trials, with its 95 % band (1.96 standard errors)."
    )
    return [figure(drawn, "evoked response", caption)]


def training(e: Experiment) -> list[Raw]:
    path = e.out / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    log = pd.DataFrame([row for row in rows if "loss" in row])
    if len(log) == 0:
        return []
    return [
        tag("h3", "Training"),
        figure(figures.training(log), "losses over epochs", f"Losses of fold {log['fold'][0]}."),
    ]


def reproduce(e: Experiment) -> list[Raw]:
    """The recipe and the provenance, whole."""
    facts = _json(e, "dataset.json")
    command = f"phosphene run {e.out.name}/config.yaml --out runs/again"
    config = yaml.safe_dump(e.recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    record = {k: v for k, v in _json(e, "provenance.json").items() if k != "overlaps"}
    return [
        tag("pre", command),
        tag(
            "p", f"Data: {facts.get('citation', '')} Licence: {facts.get('licence', '')}. Method: {e.method().citation}"
        ),
        tag("details", tag("summary", "Recipe"), tag("pre", config)),
        tag("details", tag("summary", "Provenance"), tag("pre", json.dumps(record, indent=2))),
    ]


def _json(e: Experiment, name: str) -> dict[str, Any]:
    try:
        return dict(read_json(e.out / name))
    except PhospheneError:
        return {}


def _who(row: pd.Series) -> str:
    return "all subjects" if row["subject"] == "all" else f"subject {row['subject']}"


def _cell(image: Image.Image, alt: str, below: str = "") -> Raw:
    return tag("td", picture(image, alt), *([tag("small", below)] if below else []), cls="pic")
