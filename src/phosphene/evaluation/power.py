"""Statistical power: what a run's scores cannot show, known from its test trials before anything is trained."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from phosphene.datasets.shares import unmet
from phosphene.evaluation import chance
from phosphene.evaluation.classification import run_names
from phosphene.evaluation.intervals import FEWEST
from phosphene.evaluation.protocols import Fold


def notes(
    table: pd.DataFrame, folds: Sequence[Fold], *, categories: bool, n_perm: int, n_tests: int, split: Any = None
) -> list[str]:
    """A sentence for each.

    Parameters
    ----------
    table : the trial table.
    folds : of the protocol.
    categories : whether only two categories are told apart, so that single trials are exchanged, and no pictures.
    n_perm : exchanges of each permutation test.
    n_tests : scores that are judged together, at most.
    split : what the recipe says of the dataset's split.
    """
    found = []
    if n_perm < chance.needed(chance.ALPHA / n_tests):
        judged = f", and up to {n_tests} scores are judged together" if n_tests > 1 else ""
        found.append(
            f"evaluation.n_perm is {n_perm}: no p can be below {chance.smallest(n_perm):.2g}{judged}, so verdicts may "
            f"stay undecided; set it to at least {chance.needed(chance.ALPHA / n_tests)}"
        )
    subjects = sorted({fold.subject for fold in folds})
    for subject in subjects:
        own = [fold for fold in folds if fold.subject == subject]
        few = _few_trials(table, own) if categories else _few_concepts(table, own)
        found += [f"subject {subject}: {note}" if len(subjects) > 1 else note for note in few]
    return [*found, *unmet(table, split)]


def _few_concepts(table: pd.DataFrame, folds: Sequence[Fold]) -> list[str]:
    tested = np.any([fold.test for fold in folds], axis=0)
    n = table["concept"][tested].nunique()
    if n >= FEWEST:
        return []
    one = "1 test concept is" if n == 1 else f"{n} test concepts are"
    least = 1 / math.factorial(n)
    power = f", and no p can be below {least:.2g}: no score can count as above chance" if least > chance.ALPHA else ""
    return [f"{one} too few for an interval ({FEWEST} are needed){power}; add concepts to the test set"]


def _few_trials(table: pd.DataFrame, folds: Sequence[Fold]) -> list[str]:
    tested = np.any([fold.test for fold in folds], axis=0)
    own = table[np.any([fold.train | fold.test for fold in folds], axis=0)]
    counts, found = table["concept"][tested].value_counts(), []
    if len(counts) and counts.min() < FEWEST:
        found.append(
            f"{counts.min()} test trials of '{counts.idxmin()}' are too few for an interval ({FEWEST} are needed)"
        )
    least = 2 / chance.distinct(own["concept"].to_numpy(str), run_names(own))
    if least > chance.ALPHA:
        found.append(f"no p can be below {min(1.0, least):.2g}: too few trials to permute within their runs")
    return found
