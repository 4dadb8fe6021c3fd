"""Intervals without width, or of too few, are answered by a sentence; and few exchanges have a smallest p."""

import numpy as np
import pytest
from scipy.stats import binomtest

from phosphene.evaluation import intervals
from phosphene.evaluation.categories import TwoCategories
from phosphene.evaluation.classification import permutation_test
from phosphene.evaluation.metrics.unpaired import Unpaired
from phosphene.evaluation.scores import Question, picture_retrieval
from phosphene.evaluation.statistics import bootstrap

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("k", "said"),
    [
        (1, "no interval: 1 test concept is too few, 6 are needed"),
        (2, "no interval: 2 test concepts are too few, 6 are needed"),
        (5, "no interval: 5 test concepts are too few, 6 are needed"),
    ],
)
def test_too_few_clusters_have_no_interval(k, said):
    found = intervals.of_scores(RNG.random(40), np.arange(40) % k, "test concepts", n_boot=50)
    assert np.isnan([found.low, found.high]).all()
    assert found.said == said


def test_six_clusters_have_that_of_the_bootstrap():
    values, clusters = RNG.random(40), np.arange(40) % 6
    found = intervals.of_scores(values, clusters, n_boot=200, seed=3)
    assert found == (*bootstrap(values, clusters, n_boot=200, seed=3), "")


@pytest.mark.parametrize("k", [6, 20, 200])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_or_none_has_the_exact_interval_of_so_many_clusters(k, value):
    found = intervals.of_scores(np.full(3 * k, value), np.arange(3 * k) % k, "test concepts", n_boot=50)
    exact = binomtest(int(value * k), k).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert f"Clopper-Pearson interval: all {k} test concepts" in found.said


@pytest.mark.parametrize(
    ("values", "statistic", "shares"),
    [
        (np.full(24, 1 / 24), np.mean, True),  # a decoder that says the same of everything
        (np.tile([0.0, 1.0], 12), np.mean, True),  # each concept is half right
        (np.ones(24), np.median, False),  # every picture is found first
        (np.ones(24), np.mean, False),  # a distance is no share
    ],
)
def test_draws_that_are_all_alike_have_no_interval(values, statistic, shares):
    found = intervals.of_scores(
        values, np.repeat(np.arange(12), 2), "test concepts", statistic=statistic, shares=shares, n_boot=50
    )
    assert np.isnan([found.low, found.high]).all()
    assert found.said == "no interval: every draw of the 12 test concepts gives the same value"


@pytest.mark.parametrize(
    ("truth", "runs", "evidence", "said"),
    [
        (np.tile([0, 1], 5), np.zeros(10), RNG.random(10), "5 trials of a category are too few"),
        (np.tile([0, 1], 12), np.repeat(np.arange(12), 2), RNG.random(24), "12 trials of a category in 12 runs"),
        (np.r_[np.zeros(50, int), 1, 1], np.zeros(52), RNG.random(52), "2 trials of a category are too few"),
        (np.tile([0, 1], 12), np.zeros(24), np.zeros(24), "every draw of the trials gives the same value"),
    ],
)
@pytest.mark.parametrize("metric", ["auc", "balanced_accuracy"])
def test_two_categories_of_few_trials_have_no_interval(truth, runs, evidence, said, metric):
    row = TwoCategories(metric, evidence - 0.5, truth, runs).answer(n_boot=50, n_perm=9)
    assert np.isnan([row["ci_low"], row["ci_high"]]).all()
    assert said in row["interval"]


def test_two_categories_told_perfectly_have_the_interval_of_independent_pairs():
    truth, runs = np.tile([0, 0, 1], 20), np.repeat([0, 1], 30)
    row = TwoCategories("auc", truth.astype(float), truth, runs).answer(n_boot=50, n_perm=9)
    assert (row["value"], row["ci_high"]) == (1, 1)
    assert row["ci_low"] == pytest.approx(0.025 ** (1 / 20))
    assert "all 20 pairs of trials" in row["interval"]


def test_a_distance_of_few_pictures_has_no_interval():
    drawn, real = RNG.standard_normal((2, 8, 4))
    row = Unpaired("fid", drawn, np.arange(8) % 2, real, np.arange(8), np.arange(8) % 2, unit="test concepts").answer(
        n_boot=9
    )
    assert np.isfinite(row["value"])
    assert row["interval"] == "no interval: 2 test concepts are too few, 6 are needed"


@pytest.mark.parametrize(
    ("truth", "clusters", "distinct"),
    [
        ([0, 1], [0, 1], 2),  # two pictures
        ([0, 1, 2], [0, 1, 2], 6),
        ([0, 1, 2, 3], [0, 0, 1, 1], 2),  # concepts exchange whole, or nothing does
        ([0, 0, 1, 1], [0, 0, 1, 1], 2),  # looks at a picture stay together
        ([0, 0, 0, 0], [0, 1, 2, 3], 1),  # all saw the same
    ],
)
def test_the_smallest_p_is_one_among_all_exchanges_that_the_design_allows(truth, clusters, distinct):
    table = np.eye(max(truth) + 2)[truth]
    row = Question("m", table, np.array(truth), np.array(clusters)).answer(n_boot=9, n_perm=4000)
    assert row["p_min"] == pytest.approx(1 / distinct, rel=0.1)
    assert row["p"] == row["p_min"]  # a perfect decoder has it


@pytest.mark.parametrize("n_perm", [9, 20, 199])
def test_the_smallest_p_of_many_samples_is_that_of_the_exchanges(n_perm):
    gallery = RNG.standard_normal((60, 16))
    concepts = np.repeat([f"c{i}" for i in range(12)], 5)
    for question in picture_retrieval(gallery + RNG.standard_normal((60, 16)), gallery, np.arange(60), concepts, ""):
        row = question.answer(n_boot=9, n_perm=n_perm)
        assert row["p"] >= row["p_min"] == 1 / (1 + n_perm)


def test_folds_that_cross_need_more():
    truth, runs = np.tile([0, 1], 8), np.repeat([0, 1], 8)
    alone, crossed = (
        TwoCategories("auc", truth + 0.0, truth, runs, crossed=c).answer(n_boot=9, n_perm=2000)["p_min"]
        for c in (False, True)
    )
    assert alone < 2.5 / 2001  # of 4,900 orders
    assert crossed == pytest.approx(33 / 4900, rel=0.5)  # two trials that swap come as far, widened


def test_classes_that_swap_their_names_are_no_other_shuffle():
    labels, runs = np.tile([0, 1], 4), np.repeat([0, 1], 4)
    test = permutation_test(labels, runs, lambda x: [abs(np.mean((x == labels) - 0.5))], n_perm=2000)
    assert test.p_min == pytest.approx(2 / 36, rel=0.3)
    assert test.p[0] == test.p_min
