"""The generator half of an audit: what of a drawing comes from the EEG, and what from labels, priors and luck?

Controls G0 to G11. Every metric of drawings is computed of every control; the verdicts rest on two-way identification.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from phosphene.audit.controls import one_sided
from phosphene.audit.decoding import Control, asked, units
from phosphene.audit.drawings import WAYS, CannotAsk, Drawings, Way
from phosphene.audit.retrained import trained
from phosphene.evaluation.chance import distinct, smallest
from phosphene.evaluation.shared import SAID
from phosphene.evaluation.statistics import bootstrap, permutation
from phosphene.runs.experiment import Experiment
from phosphene.utils.checksums import kept
from phosphene.utils.duplicates import KINDS, same_pictures

HEADLINE = "drawn_2way"


def controls(experiment: Experiment, n_pictures: int, n_perm: int) -> Iterator[Control]:
    """Every control of the generator; the metrics of all go to `audit/pictures.csv`."""
    asked = "do the drawings show what was seen?"
    reason = _refusal(experiment)
    if reason:
        yield Control("G0", asked, verdict="left out", reason=reason)
        return
    complete = _all_kept(experiment)
    if complete.verdict == "fail":  # what is left could have been chosen
        yield complete
        return
    drawings = Drawings(experiment, n_pictures)
    n, seed = len(drawings), experiment.protocol.seed
    own = drawings.questions(drawings.own())
    tables = [_metrics("eeg", own)]
    values = own[HEADLINE][0]
    yield from _deranged(drawings, own, n_perm)
    with experiment.display.bar("auditing: drawing controls", len(WAYS)) as bar:
        for way in WAYS:
            try:
                shown = drawings.of(way)
            except CannotAsk as error:
                yield Control(way.name, way.question, verdict="left out", reason=str(error), n=n)
                bar(1)
                continue
            found = drawings.questions(shown)
            tables.append(_metrics(way.key, found))
            yield _beaten(way, values, found[HEADLINE][0], drawings.clusters, seed)
            bar(1)
    yield _gallery(experiment)
    yield complete
    with kept(experiment.out / "audit" / "pictures.csv") as part:
        pd.concat(tables).to_csv(part, index=False)


def _refusal(experiment: Experiment) -> str:
    if experiment.recipe.generator is None:
        return "the run draws no pictures"
    if not trained(experiment):
        return "the run is not trained: finish it first"
    first = experiment.picture(experiment.folds[-1], 0)
    if not first.is_file():
        return "the run's pictures are not drawn: finish it first"
    if experiment.method().image_space is None:
        return "the method has no image space to compare pictures in"
    return ""


def _metrics(key: str, found: dict[str, tuple[np.ndarray, Any]]) -> pd.DataFrame:
    rows = []
    for metric, (values, question) in found.items():
        if len(values):
            value, low, high = float(values.mean()), *bootstrap(values, question.clusters, n_boot=1000, seed=0)
        else:
            answer = question.answer(n_boot=200, n_perm=1, seed=0)
            value, low, high = answer["value"], answer["ci_low"], answer["ci_high"]
        rows.append({"drawn": key, "metric": metric, "value": value, "ci_low": low, "ci_high": high})
    return pd.DataFrame(rows)


def _deranged(drawings: Drawings, own: dict[str, tuple[np.ndarray, Any]], n_perm: int) -> Iterator[Control]:
    """G0: the drawings exchanged among the samples, over all and within the concepts."""
    values, question = own[HEADLINE]
    rows, seed = np.arange(len(values)), drawings.seed
    table, truth, clusters = question.table, question.truth, units(question.clusters)
    rng = np.random.default_rng([seed, 74])
    null = np.array([table[rows, truth[rng.permutation(len(rows))]].mean() for _ in range(n_perm)])
    p = permutation(
        lambda order: float(table[rows, truth[order]].mean()), len(rows), clusters=clusters, n_perm=n_perm, seed=seed
    )
    low, high = (float(q) for q in np.quantile(null, (0.025, 0.975)))
    yield _good(
        Control(
            "G0",
            "do the drawings fit what was seen better than they fit other test pictures?",
            "all",
            float(values.mean()),
            float(null.mean()),
            low,
            high,
            p,
            len(rows),
            p_min=smallest(n_perm, distinct(np.unique(clusters))),
        ),
        "yes",
        "the same drawings fit other pictures as well: they show nothing of what was seen",
    )
    clusters = question.clusters
    sizes = pd.Series(clusters).value_counts()
    if (sizes > 1).any():
        held = np.isin(clusters, sizes.index[sizes > 1])
        inside = np.flatnonzero(held)

        def within(order: np.ndarray) -> float:
            return float(table[inside, truth[inside][order]].mean())

        p = permutation(within, len(inside), groups=clusters[inside], n_perm=n_perm, seed=seed)
        exchanged = [within(_within(clusters[inside], rng)) for _ in range(n_perm)]
        low, high = (float(q) for q in np.quantile(exchanged, (0.025, 0.975)))
        yield asked(
            Control(
                "G0",
                "do they fit it better than other pictures of the same concept?",
                "all",
                within(np.arange(len(inside))),
                float(np.mean(exchanged)),
                low,
                high,
                p,
                len(inside),
                p_min=smallest(n_perm, distinct(truth[inside], clusters[inside])),
            )
        )
    unpaired = [metric for metric, (each, _) in own.items() if not len(each)]
    if unpaired:
        yield Control(
            "G0",
            f"do {', '.join(unpaired)} change when the drawings are exchanged?",
            "all",
            0.0,
            0.0,
            n=len(rows),
            reason="no: they never see which EEG made which picture, and are no evidence of decoding",
        )


def _within(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = np.arange(len(groups))
    for g in np.unique(groups):
        rows = np.flatnonzero(groups == g)
        order[rows] = rng.permutation(rows)
    return order


def _good(found: Control, yes: str, no: str) -> Control:
    """A gate in which a small p is what is wanted; left out where no p could have been small enough."""
    found = asked(found)
    if found.verdict == "left out":
        return found
    good = found.reason == "yes"
    return replace(found, verdict="pass" if good else "fail", reason=yes if good else no)


def _beaten(way: Way, eeg: np.ndarray, other: np.ndarray, clusters: np.ndarray, seed: int) -> Control:
    """The control's own two-way identification, and whether that of the EEG's drawings is higher, sample by sample."""
    clusters = units(clusters)
    low, high = bootstrap(other, clusters, n_boot=2000, seed=seed)
    below, above = bootstrap(eeg - other, clusters, n_boot=2000, seed=seed)
    names, of = np.unique(clusters, return_inverse=True)
    sums = np.bincount(of, eeg - other)
    rng = np.random.default_rng([seed, 75])
    flipped = (rng.choice((-1.0, 1.0), (2000, len(names))) * sums).sum(axis=1)
    p = one_sided(float(sums.sum()), flipped)
    told = f"the EEG's drawings are {float((eeg - other).mean()):+.3f} better ({below:+.3f} to {above:+.3f})"
    found = Control(
        way.name,
        way.question,
        "all",
        float(other.mean()),
        0.5,
        low,
        high,
        p,
        len(eeg),
        reason=told,
        band="value",
        p_min=smallest(2000, 2.0 ** len(names)),
    )
    return _good(found, told, f"{way.fault}; {told}") if way.fault else found


def _gallery(experiment: Experiment) -> Control:
    """G9: what is drawn from must not have been chosen among the answers, nor hold their pictures by other names."""
    question = "were drawings conditioned on captions or pictures of the test?"
    trials, folds = experiment.trials, experiment.folds
    names = trials.table["stimulus"].astype(str)
    tested = set().union(*(names[f.test] for f in folds))
    known = set().union(*(names[f.train] for f in folds))
    used = set(experiment.method().gallery(trials.select(folds[0].test)))
    leaked = {"stimulus": (used & tested) - known, **{kind: set[str]() for kind in KINDS}}
    same = same_pictures(trials.stimuli, set(names) | used)
    for fold in folds:
        trained = set(names[fold.train])
        new = set(names[fold.test]) - trained
        for kind in KINDS:
            copies = same.of(kind, new) & (trained | used) - new
            leaked[kind] = leaked[kind] | copies.difference(*(leaked[k] for k in KINDS[: KINDS.index(kind)]))
    n = len(set().union(*leaked.values()))
    told = [f"{len(found)} {SAID[kind]} under another name" for kind, found in leaked.items() if found and kind in SAID]
    told = [f"{len(leaked['stimulus'])} by name", *told] if leaked["stimulus"] else told
    return Control(
        "G9",
        question,
        value=float(n),
        chance=0.0,
        n=len(used),
        verdict="fail" if n else "pass",
        reason=f"{n} of them are answers: {', '.join(told)}" if n else "no",
    )


def _all_kept(experiment: Experiment) -> Control:
    """G11: every drawing of every sample is scored; none was chosen."""
    draws, lost = experiment.recipe.evaluation.draws, 0
    n = 0
    for fold in experiment.folds:
        for i in range(len(experiment.decoded(fold).table)):
            n += 1
            lost += not all(experiment.picture(fold, i, d).is_file() for d in range(draws))
    return Control(
        "G11",
        f"is every drawing kept and scored ({draws} of each sample)?",
        value=1 - lost / n,
        chance=1.0,
        n=n,
        verdict="fail" if lost else "pass",
        reason=f"drawings of {lost} samples are gone" if lost else "yes",
    )
