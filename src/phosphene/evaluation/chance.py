"""One rule for what may be said of a p: yes, no, or that the test could not have told.

p decides, at 0.05; of several tests the corrected p. A permutation test of few exchanges has a smallest p, that of a
perfect score: one among all that were drawn, or among all that the design allows. Where that is above the threshold no
score could pass, so that neither yes nor no is an answer.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import gammaln

ALPHA = 0.05  # the largest p that counts

Answer = Literal["yes", "no", "undecided"]


def answer(p: float, p_min: float = 0.0, level: float = ALPHA) -> Answer:
    """What p says at a threshold; "undecided" where no p of the test could have reached it, or where there is no p.

    Parameters
    ----------
    p, p_min : of a test, and the smallest that it can give (`smallest`); of several tests both corrected.
    level : the threshold, itself included.
    """
    if not math.isfinite(p) or p_min > level + 1e-12:
        return "undecided"
    return "yes" if p <= level + 1e-12 else "no"


def smallest(n_perm: int, distinct: float = math.inf) -> float:
    """The smallest p to expect of ``n_perm`` random exchanges, where the design allows ``distinct`` different ones."""
    return max(1 / (1 + n_perm), 1 / distinct)


def needed(level: float = ALPHA) -> int:
    """The fewest exchanges with which a p can reach the threshold."""
    return math.ceil(round(1 / level, 6)) - 1


def distinct(labels: Sequence[Any] | np.ndarray, groups: Sequence[Any] | np.ndarray | None = None) -> float:
    """How many different orders labels have that are exchanged within groups; infinity beyond what a float holds.

    Parameters
    ----------
    labels : (n,) what is exchanged, of trials or of whole blocks; equal labels are no exchange.
    groups : (n,) labels are exchanged within equal entries only; None exchanges all.
    """
    labels = np.asarray(labels)
    within = np.zeros(len(labels), int) if groups is None else pd.factorize(np.asarray(groups))[0]
    codes = pd.factorize(labels)[0]
    total = gammaln(np.bincount(within) + 1).sum()
    alike = np.unique(np.stack([within, codes]), axis=1, return_counts=True)[1]
    log = float(total - gammaln(alike + 1).sum())
    return float(round(math.exp(log))) if log < 36 else math.exp(log) if log < 700 else math.inf


def p_text(p: float, level: float = ALPHA) -> str:
    """ "p < 0.001" or "p = 0.02"; with as many digits as show on which side of the threshold it lies."""
    if not math.isfinite(p):
        return "no p"
    if p < 0.001 < level:
        return "p < 0.001"
    digits = 3 if p < 0.1 else 2
    while digits < 9 and (round(p, digits) <= level) != (p <= level + 1e-12):
        digits += 1
    return f"p = {p:.{digits}f}"


def why_undecided(
    p_min: float, n_perm: int, level: float = ALPHA, key: str = "evaluation.n_perm", n_tests: int = 1
) -> str:
    """Why no p of a test reaches the threshold, and what helps.

    Parameters
    ----------
    p_min : the smallest p of the test, not corrected.
    n_perm : exchanges drawn.
    level : the threshold.
    key : what sets ``n_perm``.
    n_tests : for so many tests p is corrected.
    """
    if not math.isfinite(p_min):
        return "there is no p"
    least, enough = _short(p_min), needed(level / n_tests)
    if n_tests > 1:
        least += f" ({_short(min(1.0, n_tests * p_min))} corrected for {n_tests} tests)"
    if n_perm < enough:
        more = "" if p_min <= smallest(n_perm) * 1.5 else ", and a larger test part (concepts, trials or subjects)"
        return f"{n_perm} exchanges can give no p below {least}; at least {enough} are needed ({key}){more}"
    return (
        f"no power: so few different exchanges exist that no p is below {least}; "
        "a larger test part (concepts, trials or subjects) is needed"
    )


def _short(p: float) -> str:
    return f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def rule(n_tests: int = 1, what: str = "Above chance", correction: str = "Holm") -> str:
    """The rule in a sentence, to be printed where a p stands."""
    if n_tests < 2:
        return f"{what} means p <= {ALPHA:g}; p decides, not the interval."
    return f"{what} means p <= {ALPHA:g}, corrected for {n_tests} tests ({correction}); p decides, not the interval."
