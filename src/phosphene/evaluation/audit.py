"""The decoding half of an audit: does a score speak of the picture, or of when it was shown and how the signal stood?

Controls C1 to C7 answer a question each with the linear decoder of `phosphene.evaluation.controls`. None looks at what
a run decoded, so that a flaw of the data is found whatever the method. Every question is put to each fold
(`phosphene.evaluation.questions`) and answered once for all of them together, by a joint permutation test, so that many
subjects raise no more false alarms than one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from phosphene.evaluation.controls import one_sided, pooled
from phosphene.evaluation.protocols import Fold
from phosphene.evaluation.questions import Answer, Asked
from phosphene.trials import Trials

ALPHA = 0.05
#: gates in which a small p is a fault: before any response, clock, power alone, and the run's own method retrained on
#: permuted labels, on noise and on a phantom; they share the error rate
N_GATES = 6
GATE = ALPHA / N_GATES
LEAST_PERM = round(1 / GATE)  # with fewer exchanges no p is small enough to fail

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


def gate(found: Control, fault: str, level: float = GATE) -> Control:
    """The control as a gate in which a small p is a fault."""
    if found.verdict == "left out":
        return found
    bad = found.p < level
    return replace(found, verdict="fail" if bad else "pass", reason=fault if bad else "no")


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
        self, trials: Trials, folds: Sequence[Fold], pictures: pd.DataFrame | None = None, *, design: str = "",
        category: np.ndarray | None = None, early: tuple[Trials, Sequence[Fold]] | None = None,
        smeared: bool = False, n_perm: int = 500, seed: int = 0, most: int = 4000,
    ):  # fmt: skip
        self.design, self.smeared = design, smeared
        asked = Asked(
            trials, folds, pictures, design=design, category=category, n_perm=n_perm, seed=seed, most=most
        )  # fmt: skip
        before = asked
        if early is not None:
            before = Asked(*early, pictures, design=design, n_perm=n_perm, seed=seed, most=most)
        self.asked, self.before = asked, before

    def controls(self) -> Iterator[Control]:
        """Every control, in order."""
        asked = self.asked
        found = self._of(asked.decoding())
        early = self._early()
        clock = self._of(asked.clock(), "the clock alone tells what was shown: slow changes are confounded")
        yield from found
        yield from early
        yield from clock
        yield from self._of(asked.near())
        yield from self._of(asked.distance())
        confounded = self.design == "block" or "fail" in (early[0].verdict, clock[0].verdict)
        yield from self._superordinate(confounded)
        yield from self._of(asked.within_class())
        for answers in asked.ablations():
            yield from self._of(answers)
        fault = "power tells it and the time course does not: no evoked response is read"
        yield from self._of(asked.power(), fault if found[0].p >= ALPHA else "")
        yield from self._of(asked.other_subjects())
        yield from self._shared()

    def _early(self) -> list[Control]:
        if not self.smeared:
            fault = "decoded before any response: a state or a leak is read, not the picture"
            return self._of(self.before.early(), fault)
        found = self._of(self.before.early())
        why = "no gate: zero-phase filters spread responses to before the picture, and the recordings are not at hand"
        return [replace(found[0], reason=f"{found[0].reason}; {why}"), *found[1:]]

    def _superordinate(self, confounded: bool) -> Iterator[Control]:
        rows = self._of(self.asked.superordinate())
        pooled_row = rows[0]
        if pooled_row.verdict != "left out":
            yes = pooled_row.p < ALPHA
            reason = "meaning is read beyond the block" if yes else "nothing is read that holds for other classes"
            verdict: Verdict = "shown" if not confounded else "pass" if yes else "fail"
            rows[0] = replace(pooled_row, verdict=verdict, reason=reason)
        yield from rows

    def _shared(self) -> Iterator[Control]:
        """C7: what test trials share with training trials."""
        blocks, found = self.asked.shared()
        block = self.design == "block" and blocks > 0
        yield Control(
            "C7", "do test trials lie in blocks that training saw, in a block design?", value=blocks / found.n,
            chance=0.0, n=found.n, verdict="fail" if block else "pass",
            reason="a block is told from others by its time" if block else "no" if self.design == "block" else
            "the design is not in blocks",
        )  # fmt: skip
        yield Control(
            "C7", "are pictures of the test in training?", value=found.total / found.n, chance=0.0, n=found.n,
            verdict="shown" if found.closed else "fail" if found.total else "pass", reason=found.said(),
        )  # fmt: skip

    def _of(self, answers: list[Answer], fault: str = "") -> list[Control]:
        """The answer of all folds together, a gate where ``fault`` names what a small p means; then each fold's."""
        heard = [a for a in answers if not a.reason]
        name, question = answers[0].name, answers[0].question
        if not heard:
            return [Control(name, question, verdict="left out", reason=answers[0].reason)]
        n = [a.n for a in heard]
        value = float(np.average([a.value for a in heard], weights=n))
        null = pooled([a.null for a in heard], n, [a.subject for a in heard])
        curve = heard[0].curve if len(heard) == 1 else ()
        found = _control(name, question, "all", value, heard[0].chance, null, sum(n), curve)
        found = gate(found, fault) if fault else found
        if len(heard) == 1:
            return [found]
        return [found, *(_control(name, question, a.fold, a.value, a.chance, a.null, a.n, a.curve) for a in heard)]


def _control(
    name: str, question: str, fold: str, value: float, chance: float, null: np.ndarray, n: int,
    curve: tuple[tuple[float, float, int], ...],
) -> Control:  # fmt: skip
    p = one_sided(value, null)
    low, high = (float(q) for q in np.quantile(null, (0.025, 0.975)))
    return Control(
        name, question, fold, value, chance, low, high, p, n, reason="yes" if p < ALPHA else "no", curve=curve
    )  # fmt: skip
