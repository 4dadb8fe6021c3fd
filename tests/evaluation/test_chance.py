"""The rule for "above chance": its threshold, what few exchanges cannot tell, and its words."""

import itertools
import math

import numpy as np
import pytest

from phosphene.evaluation import chance


@pytest.mark.parametrize(
    ("p", "p_min", "level", "said"),
    [
        (0.05, 0.0, 0.05, "yes"),  # the threshold itself counts
        (1 / 20, 1 / 20, 0.05, "yes"),  # 19 exchanges just reach it
        (0.0500001, 0.0, 0.05, "no"),
        (1 / 21, 1 / 21, 0.05, "yes"),
        (1 / 19, 1 / 19, 0.05, "undecided"),  # 18 do not
        (0.9, 1 / 19, 0.05, "undecided"),  # nor could a perfect score
        (1 / 21, 1 / 21, 0.01, "undecided"),
        (math.nan, 0.0, 0.05, "undecided"),
        (0.5, 0.5, 0.05, "undecided"),  # two pictures: two exchanges
    ],
)
def test_what_p_says(p, p_min, level, said):
    assert chance.answer(p, p_min, level) == said


@pytest.mark.parametrize(("level", "n"), [(0.05, 19), (0.01, 99), (0.05 / 2, 39), (0.05 / 6, 119), (0.05 / 3, 59)])
def test_exchanges_needed_are_the_fewest_that_reach_the_threshold(level, n):
    assert chance.needed(level) == n
    assert chance.answer(chance.smallest(n), chance.smallest(n), level) == "yes"
    assert chance.answer(0.0, chance.smallest(n - 1), level) == "undecided"


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (list("ab"), None),
        (list("aabb"), None),
        (list("abc"), None),
        (list("aabbab"), [0, 0, 0, 0, 1, 1]),
        (list("aaaa"), None),
        ([0, 1, 1, 2, 0, 1], ["x", "x", "x", "y", "y", "y"]),
    ],
)
def test_distinct_exchanges_are_those_that_one_counts(labels, groups):
    groups = [0] * len(labels) if groups is None else groups
    orders = itertools.permutations(range(len(labels)))
    kept = [order for order in orders if all(groups[i] == groups[j] for i, j in enumerate(order))]
    assert chance.distinct(labels, groups) == len({tuple(labels[i] for i in order) for order in kept})


def test_distinct_exchanges_beyond_a_float():
    assert chance.distinct(np.arange(1000)) == math.inf
    assert chance.distinct(["a"] * 100 + ["b"] * 100) == pytest.approx(math.comb(200, 100), rel=1e-9)
    assert chance.smallest(2000, math.inf) == 1 / 2001
    assert chance.smallest(2000, 6) == 1 / 6


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0004, "p < 0.001"),
        (1 / 21, "p = 0.048"),
        (0.05, "p = 0.050"),
        (0.0502, "p = 0.0502"),  # not "0.050", which would count
        (0.05004, "p = 0.05004"),
        (0.0499, "p = 0.050"),
        (0.5, "p = 0.50"),
        (math.nan, "no p"),
    ],
)
def test_the_digits_of_p_agree_with_its_verdict(p, text):
    assert chance.p_text(p) == text


def test_why_undecided_names_what_helps():
    few = chance.why_undecided(chance.smallest(10), 10)
    assert few == "10 exchanges can give no p below 0.091; at least 19 are needed (evaluation.n_perm)"
    design = chance.why_undecided(0.5, 2000)
    assert "no p is below 0.50" in design
    assert "larger test part" in design
    assert "n_perm" not in design
    both = chance.why_undecided(0.5, 10)
    assert "evaluation.n_perm" in both
    assert "larger test part" in both
    assert "at least 39" in chance.why_undecided(1 / 21, 20, 0.05 / 2)


def test_the_rule_names_its_threshold_and_its_correction():
    assert "p <= 0.05" in chance.rule()
    assert "corrected" not in chance.rule()
    assert "corrected for 6 tests (Holm)" in chance.rule(6)
