"""The decoding half of an audit: does a score speak of the picture, or of when it was shown and how the signal stood?

Controls C1 to C7 answer a question each with the linear decoder of `phosphene.audit.controls`. None looks at what
a run decoded, so that a flaw of the data is found whatever the method. Every question is put to each fold
(`phosphene.audit.questions`) and answered once for all of them together, by a joint permutation test, so that many
subjects raise no more false alarms than one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from phosphene.audit.controls import one_sided
from phosphene.audit.exchanges import smallest_p
from phosphene.audit.questions import FEW, Answer, Asked
from phosphene.eeg.trials import Trials
from phosphene.evaluation.chance import ALPHA, answer
from phosphene.evaluation.protocols import Fold

#: gates in which a small p is a fault: before any response, clock, power alone, and the run's own method retrained on
#: permuted labels, on noise and on a phantom; they share the error rate
N_GATES = 6
GATE = ALPHA / N_GATES
LEAST_PERM = round(1 / GATE)  # with fewer exchanges no p is small enough to fail
#: the rule, where p stand beside verdicts
RULE = (
    f"yes means p <= {ALPHA:g}; the {N_GATES} gates in which a small p is a fault share that: p <= {GATE:.2g}. "
    "No power: no p of so few exchanges could be small enough."
)
TOLD = 0.9  # from here on what was shown before tells what is shown; ours

Verdict = Literal["pass", "fail", "shown", "left out"]


@dataclass(frozen=True)
class Control:
    """One row of an audit.

    Parameters
    ----------
    name : "decoding", "C1" to "C7", "retrained", or "G0" to "G11".
    question : what it asks.
    fold : "all", or subject and name of a fold.
    value, chance : the statistic, and what it is where the answer is no.
    low, high : the middle 95 % of the statistic where nothing is there, or its own 95 % interval: see ``band``.
    p : one-sided.
    n : test samples, looks at one picture taken together (classes, for C1).
    verdict : "pass" or "fail" of a gate; "shown" is no gate; "left out" could not be asked.
    reason : the answer in words.
    band : what ``low`` and ``high`` are of, "null" or "value".
    curve : of C3, value against the distance in time: (gap, value, trials) of each bin.
    p_min : the smallest p that the exchanges allow.
    """

    name: str
    question: str
    fold: str = "all"
    value: float = np.nan
    chance: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    n: int = 0
    verdict: Verdict = "shown"
    reason: str = ""
    band: Literal["null", "value"] = "null"
    curve: tuple[tuple[float, float, int], ...] = ()
    p_min: float = 0.0


def asked(found: Control, level: float = ALPHA) -> Control:
    """The control with its answer, yes or no; left out where no p could have been small enough for a yes."""
    said = answer(found.p, found.p_min, level)
    if said == "undecided":
        why = f"no power (smallest possible p = {found.p_min:.2g}): it takes more pictures, blocks or runs"
        return replace(found, verdict="left out", reason=why)
    return replace(found, reason=said)


def gate(found: Control, fault: str, level: float = GATE) -> Control:
    """The control as a gate in which a small p is a fault; left out where no p could have been small enough."""
    found = found if found.verdict == "left out" else asked(found, level)
    if found.verdict == "left out":
        return found
    bad = found.reason == "yes"
    return replace(found, verdict="fail" if bad else "pass", reason=fault if bad else "no")


def units(concepts: np.ndarray) -> np.ndarray:
    """(n_samples,) what counts as one: a concept, as its pictures are not independent; of few concepts each sample."""
    return concepts if len(np.unique(concepts)) > FEW else np.arange(len(concepts)).astype(str)


class Auditor:
    """Asks every decoding control.

    Parameters
    ----------
    trials : all trials, as the method sees them but not whitened.
    folds : their training and test parts.
    pictures : (n_stimuli, dim) a vector for each stimulus, indexed by it; without them only concepts are read.
    design : of the dataset; "block" makes C1 a gate.
    category : (n_trials,) superordinate category with two values ("" where unknown), or None.
    early : the same trials behind causal filters, and their folds, for C2; None takes ``trials`` themselves.
    smeared : that ``trials`` passed zero-phase filters and ``early`` cannot be had, so that C2 is no gate.
    n_perm : exchanges of each test.
    most : training trials of a fold that are used, drawn at random where there are more.
    """

    def __init__(
        self,
        trials: Trials,
        folds: Sequence[Fold],
        pictures: pd.DataFrame | None = None,
        *,
        design: str = "",
        category: np.ndarray | None = None,
        early: tuple[Trials, Sequence[Fold]] | None = None,
        smeared: bool = False,
        n_perm: int = 500,
        seed: int = 0,
        most: int = 4000,
    ):
        self.design, self.smeared = design, smeared
        now = Asked(trials, folds, pictures, design=design, category=category, n_perm=n_perm, seed=seed, most=most)
        before = now
        if early is not None:
            before = Asked(*early, pictures, design=design, n_perm=n_perm, seed=seed, most=most)
        self.asked, self.before = now, before

    def controls(self) -> Iterator[Control]:
        """Every control, in order."""
        ask = self.asked
        found = self._of(ask.decoding())
        early = self._early()
        clock = self._of(ask.clock(), "the clock alone tells what was shown: slow changes are confounded")
        order = self._order()
        yield from found
        yield from early
        yield from clock
        yield from order
        yield from self._of(ask.near())
        yield from self._of(ask.distance())
        confounded = self.design == "block" or "fail" in (early[0].verdict, clock[0].verdict, order[0].verdict)
        yield from self._superordinate(confounded)
        yield from self._of(ask.within_class())
        for answers in ask.ablations():
            yield from self._of(answers)
        fault = "power tells it and the time course does not: no evoked response is read"
        yield from self._of(ask.power(), fault if found[0].reason == "no" else "")
        yield from self._of(ask.other_subjects())
        yield from self._shared()

    def _early(self) -> list[Control]:
        if not self.smeared:
            fault = "decoded before any response: a state or a leak is read, not the picture"
            return self._of(self.before.early(), fault)
        found = self._of(self.before.early())
        why = "no gate: zero-phase filters spread responses to before the picture, and the recordings are not at hand"
        return [replace(found[0], reason=f"{found[0].reason}; {why}"), *found[1:]]

    def _order(self) -> list[Control]:
        """A gate of size, not of p alone: sound orders that avoid repetitions tell a little."""
        rows = self._of(self.asked.order())
        first = rows[0]
        if first.verdict == "left out":
            return rows
        if first.reason == "yes" and first.value >= TOLD:
            fault = "the order tells what is shown: the trial before or an expectation may be read, not the picture"
            return [replace(first, verdict="fail", reason=fault), *rows[1:]]
        reason = f"a little, as where repetitions are avoided (a fault from {TOLD:g} on)"
        return [replace(first, verdict="pass", reason=reason if first.reason == "yes" else "no"), *rows[1:]]

    def _superordinate(self, confounded: bool) -> Iterator[Control]:
        rows = self._of(self.asked.superordinate())
        if rows[0].verdict != "left out":
            yes = rows[0].reason == "yes"
            reason = "meaning is read beyond the block" if yes else "nothing is read that holds for other classes"
            verdict: Verdict = "shown" if not confounded else "pass" if yes else "fail"
            rows[0] = replace(rows[0], verdict=verdict, reason=reason)
        yield from rows

    def _shared(self) -> Iterator[Control]:
        """C7: what test trials share with training trials."""
        blocks, found = self.asked.shared()
        block = self.design == "block" and blocks > 0
        yield Control(
            "C7",
            "do test trials lie in blocks that training saw, in a block design?",
            value=blocks / found.n,
            chance=0.0,
            n=found.n,
            verdict="fail" if block else "pass",
            reason="a block is told from others by its time"
            if block
            else "no"
            if self.design == "block"
            else "the design is not in blocks",
        )
        yield Control(
            "C7",
            "are pictures of the test in training?",
            value=found.total / found.n,
            chance=0.0,
            n=found.n,
            verdict="shown" if found.closed else "fail" if found.total else "pass",
            reason=found.said(),
        )

    def _of(self, answers: list[Answer], fault: str = "") -> list[Control]:
        """The answer of all folds together, a gate where ``fault`` names what a small p means; then each fold's."""
        heard = [a for a in answers if not a.reason]
        name, question = answers[0].name, answers[0].question
        if not heard:
            return [Control(name, question, verdict="left out", reason=answers[0].reason)]
        n = [a.n for a in heard]
        value = float(np.average([a.value for a in heard], weights=n))
        null = np.average([a.null for a in heard], axis=0, weights=n)  # folds share their exchanges
        together = Answer(
            name,
            question,
            "all",
            "",
            value,
            null,
            sum(n),
            heard[0].chance,
            curve=heard[0].curve if len(heard) == 1 else (),
        )
        found = _control(together, heard)
        found = gate(found, fault) if fault else found
        return [found] if len(heard) == 1 else [found, *(_control(a, [a]) for a in heard)]


def _control(a: Answer, folds: Sequence[Answer]) -> Control:
    p = one_sided(a.value, a.null)
    low, high = (float(q) for q in np.quantile(a.null, (0.025, 0.975)))
    least = smallest_p(len(a.null), [f.ways_tested for f in folds], [f.ways for f in folds], [f.subject for f in folds])
    return asked(Control(a.name, a.question, a.fold, a.value, a.chance, low, high, p, a.n, curve=a.curve, p_min=least))
