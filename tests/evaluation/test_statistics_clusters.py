"""Intervals and paired comparisons of clustered scores: made data sets whose truth is known, counted; fixed seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, ttest_1samp

from phosphene.errors import PhospheneError
from phosphene.evaluation.statistics import bootstrap, clustered_bootstrap, paired

TRUTH = 0.3


def subjects_and_blocks(rng, n_subjects=10, n_blocks=4, n_trials=5):
    block = np.repeat(np.arange(n_subjects * n_blocks), n_trials)
    subject = block // n_blocks
    values = 0.5 * rng.standard_normal(n_subjects)[subject] + 0.5 * rng.standard_normal(block[-1] + 1)[block]
    return values + rng.standard_normal(len(block)), subject, block


def subjects_by_pictures(rng, n_subjects=10, n_pictures=16, spread=0.5):
    subject, picture = np.divmod(np.arange(n_subjects * n_pictures), n_pictures)
    values = spread * (rng.standard_normal(n_subjects)[subject] + rng.standard_normal(n_pictures)[picture])
    return values + rng.standard_normal(len(subject)), subject, picture


def coverage(make, n=1000, n_boot=400):
    """Share of made data sets whose interval holds the truth: clustered, and not."""
    hits = np.zeros(2)
    for seed in range(n):
        values, clusters, strata = make(np.random.default_rng([seed, 5]))
        values = values + TRUTH
        clustered = clustered_bootstrap(values, clusters, strata=strata, n_boot=n_boot, seed=seed)
        for i, (low, high) in enumerate((clustered, bootstrap(values, n_boot=200, seed=seed))):
            hits[i] += low <= TRUTH <= high
    return hits / n


def test_the_interval_over_subjects_covers_nested_blocks():
    def make(rng):
        values, subject, block = subjects_and_blocks(rng)
        return values, [block, subject], None

    clustered, alone = coverage(make)
    assert 0.93 <= clustered <= 0.97
    assert alone < 0.8


def test_the_interval_over_blocks_of_fixed_subjects():
    """The subjects' own levels are part of the truth, and no part of the spread."""

    def make(rng):
        block = np.repeat(np.arange(24), 5)
        values = 0.5 * rng.standard_normal(24)[block] + rng.standard_normal(120)
        return values + np.array([-2.0, 0.0, 2.0])[block // 8], block, block // 8

    clustered, _ = coverage(make, n_boot=600)
    assert 0.93 <= clustered <= 0.97


def test_the_interval_over_subjects_crossed_with_pictures():
    def make(rng):
        values, subject, picture = subjects_by_pictures(rng, n_subjects=12)
        return values, [subject, picture], None

    clustered, alone = coverage(make)
    assert 0.93 <= clustered <= 0.97
    assert alone < 0.8


def test_crossed_factors_without_effects_are_not_counted_three_times():
    """The plain pigeonhole bootstrap would be 1.7 times too wide here."""
    widths = []
    for seed in range(60):
        values, subject, picture = subjects_by_pictures(np.random.default_rng(seed), 20, 20, spread=0.0)
        widths.append(np.subtract(*clustered_bootstrap(values, [subject, picture], n_boot=300, seed=seed)[::-1]))
    assert 0.9 < np.mean(widths) / (2 * 1.96 / np.sqrt(400)) < 1.35


def test_one_factor_alone_is_too_narrow_where_two_cross():
    values, subject, picture = subjects_by_pictures(np.random.default_rng(0), 20, 20, spread=1.0)
    width = {
        name: np.subtract(*clustered_bootstrap(values, clusters)[::-1])
        for name, clusters in (("subject", subject), ("picture", picture), ("both", [subject, picture]))
    }
    assert width["both"] > 1.1 * max(width["subject"], width["picture"])


def test_a_nested_factor_is_carried_whole_with_the_outer_one():
    values, subject, block = subjects_and_blocks(np.random.default_rng(3))
    names = np.array([f"{s}/{b}" for s, b in zip(subject, block, strict=True)])
    outer = clustered_bootstrap(values, subject, seed=4)
    assert clustered_bootstrap(values, [subject, names], seed=4) == outer
    assert clustered_bootstrap(values, [names, subject], seed=4) == outer
    assert clustered_bootstrap(values, [subject, subject.astype(str)], seed=4) == outer


def test_the_interval_of_the_mean_is_student_s_where_nothing_clusters():
    values = np.random.default_rng(1).standard_normal(12)
    known = ttest_1samp(values, 0).confidence_interval(0.95)
    found = clustered_bootstrap(values, np.arange(12), n_boot=20000)
    np.testing.assert_allclose(found, known, atol=0.12)
    plain = bootstrap(values, n_boot=20000)
    assert np.subtract(*found[::-1]) > 1.1 * np.subtract(*plain[::-1])


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(6, 12), st.integers(2, 9))
def test_intervals_follow_units_order_and_names(seed, n_subjects, n_pictures):
    rng = np.random.default_rng(seed)
    values, subject, picture = subjects_by_pictures(rng, n_subjects, n_pictures + 6)
    factors = [subject, picture]
    low, high = clustered_bootstrap(values, factors, n_boot=100, seed=1)
    assert values.min() <= low <= high <= values.max()
    np.testing.assert_allclose(
        clustered_bootstrap(3 * values + 2, factors, n_boot=100, seed=1), (3 * low + 2, 3 * high + 2), atol=1e-9
    )
    renamed = [np.array([f"s{s}" for s in subject]), 100 - picture]
    np.testing.assert_allclose(clustered_bootstrap(values, renamed, n_boot=100, seed=1), (low, high), atol=1e-9)
    narrower = clustered_bootstrap(values, factors, n_boot=100, seed=1, level=0.8)
    assert low <= narrower[0] <= narrower[1] <= high


def test_another_statistic_is_drawn_in_the_same_clusters():
    values, subject, block = subjects_and_blocks(np.random.default_rng(2))
    mean = clustered_bootstrap(values, subject, seed=3)
    np.testing.assert_allclose(clustered_bootstrap(values, subject, seed=3, statistic=lambda v: v.mean()), mean)
    low, high = clustered_bootstrap(values, block, statistic=np.median, n_boot=200)
    assert low < np.median(values) < high


def test_too_few_clusters_have_no_interval():
    values = np.arange(20.0)
    with pytest.raises(PhospheneError, match=r"5 clusters in 1 part\(s\) are too few for an interval of 95 %"):
        clustered_bootstrap(values, np.arange(20) % 5)
    low, high = clustered_bootstrap(values, np.arange(20) % 5, level=0.9)
    assert low < high
    with pytest.raises(PhospheneError, match="1 clusters .* cluster by a factor that has more units"):
        clustered_bootstrap(values, [np.arange(20), np.zeros(20)])
    with pytest.raises(PhospheneError, match="are too few"):  # a stratum of one block has no spread
        clustered_bootstrap(values, np.arange(20), strata=np.r_[np.zeros(19), 1])
    with pytest.raises(PhospheneError, match="a cluster lies in two strata"):
        clustered_bootstrap(values, np.arange(20) % 10, strata=np.arange(20) // 10)


@pytest.mark.parametrize(
    ("values", "clusters", "said"),
    [
        ([], [], "may be empty"),
        ([0.0, np.nan], [0, 1], "1 of 2 scores are not finite"),
        ([0.0, 1.0], [0, 1, 2], "3 labels for 2 scores"),
        ([0.0, 1.0], [0, None], "label every score's cluster"),
    ],
)
def test_bad_scores_are_refused_in_one_line(values, clusters, said):
    with pytest.raises(PhospheneError, match=said) as caught:
        clustered_bootstrap(np.array(values, float), np.array(clusters, object))
    assert "\n" not in str(caught.value)


# -- two methods on the same samples ---------------------------------------------------------------


def test_exchanges_of_few_clusters_are_all_counted():
    a, b = np.array([3.0, 2.0, 4.0, 1.0]), np.zeros(4)
    for statistic in (np.mean, lambda v: v.mean()):
        found = paired(a, b, np.arange(4), statistic=statistic)
        assert found.p == 2 / 16  # the identity and its mirror image
        assert (found.a, found.b, found.value, found.n, found.n_clusters) == (2.5, 0.0, 2.5, 4, 4)
        assert np.isnan([found.low, found.high]).all()  # four clusters have no interval
    assert paired(a, a, np.arange(4)).p == 1.0
    doubled = paired(np.repeat(a, 50), np.zeros(200), np.repeat(np.arange(4), 50))
    assert doubled.p == 2 / 16  # fifty trials of a cluster are one exchange


def test_a_clear_difference_is_found_and_p_is_never_zero():
    rng = np.random.default_rng(0)
    skill = rng.standard_normal(40)
    better, worse = skill + 1 + 0.1 * rng.standard_normal(40), skill + 0.1 * rng.standard_normal(40)
    found = paired(better, worse, np.arange(40), n_perm=499)
    assert found.p == 1 / 500
    assert 0.9 < found.low < found.value < found.high < 1.1  # what both methods share is no part of the spread
    crossed = paired(better, worse, [np.arange(40) % 8, np.arange(40) // 8 + 10 * (np.arange(40) % 2)], n_boot=300)
    assert crossed.p < 0.01


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([np.mean, np.median]))
def test_exchanging_the_methods_turns_the_difference(seed, statistic):
    rng = np.random.default_rng(seed)
    a, b, cluster = rng.standard_normal(24), rng.standard_normal(24), np.arange(24) // 3
    there, back = (
        paired(*pair, cluster, statistic=statistic, n_boot=100, n_perm=300, seed=2) for pair in ((a, b), (b, a))
    )
    assert there.value == -back.value
    assert there.p == back.p
    np.testing.assert_allclose((there.low, there.high), (-back.high, -back.low), atol=1e-9)


def same_methods(rng):
    """Two methods of equal skill; on which pictures and subjects either is better is shared by the trials of these."""
    a, subject, block = subjects_and_blocks(rng, 12, 3, 3)
    b, _, _ = subjects_and_blocks(rng, 12, 3, 3)
    return a, b, subject, block


def test_p_is_uniform_where_the_methods_are_alike():
    ps, alone = [], []
    for seed in range(400):
        a, b, subject, block = same_methods(np.random.default_rng([seed, 8]))
        ps.append(paired(a, b, [subject, block], n_boot=2, n_perm=999, seed=seed).p)
        alone.append(paired(a, b, np.arange(len(a)), n_boot=2, n_perm=199, seed=seed).p)
    assert kstest(ps, "uniform").pvalue > 0.05
    assert 0.03 <= np.mean(np.array(ps) <= 0.05) <= 0.075
    assert np.mean(np.array(alone) <= 0.05) > 0.15  # exchanging single trials would be deceived


def test_p_of_crossed_factors_holds_its_level():
    ps = []
    for seed in range(300):
        rng = np.random.default_rng([seed, 9])
        a, subject, picture = subjects_by_pictures(rng, 12, 12)
        b = subjects_by_pictures(rng, 12, 12)[0]
        ps.append(paired(a, b, [subject, picture], n_boot=300, seed=seed).p)
    assert 0.02 <= np.mean(np.array(ps) <= 0.05) <= 0.085
    assert 0.43 < np.mean(ps) < 0.57


def test_p_and_interval_of_crossed_factors_agree():
    for shift in (0.0, 0.6, 0.8, 1.0, 2.0):
        a, subject, picture = subjects_by_pictures(np.random.default_rng(1), 12, 12)
        found = paired(a + shift, np.zeros(144), [subject, picture], n_boot=999)
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05)


def test_methods_on_other_samples_are_not_compared():
    with pytest.raises(PhospheneError, match="a scores 3 samples and b 4: compare methods on the same test samples"):
        paired(np.zeros(3), np.zeros(4), np.arange(3))
