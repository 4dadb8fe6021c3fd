"""Representational similarity: known answers, invariants, and statistics without a signal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from phosphene.analyses import rsa
from phosphene.errors import PhospheneError


def vectors(n=20, dim=12, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim))


def test_similarity_is_pearsons_and_rho_is_spearmans_of_the_pairs():
    a, b = vectors(), vectors(seed=1) + vectors()
    one, other = rsa.rsm(a), rsa.rsm(b)
    np.testing.assert_allclose(one, np.corrcoef(a), atol=1e-12)
    upper = np.triu_indices(20, 1)
    assert rsa.rho(one, other) == pytest.approx(spearmanr(one[upper], other[upper]).statistic)
    found = rsa.relate(one, other, n_boot=50, n_perm=50)
    assert found.rho == pytest.approx(rsa.rho(one, other))
    assert found.n == 20


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_lengths_offsets_and_monotonic_changes_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    a, b = vectors(seed=seed), vectors(seed=seed + 1)
    changed = rng.uniform(0.5, 3, (20, 1)) * a + rng.standard_normal((20, 1))
    np.testing.assert_allclose(rsa.rsm(changed), rsa.rsm(a), atol=1e-9)
    assert rsa.rho(np.exp(3 * rsa.rsm(a)), rsa.rsm(b)) == pytest.approx(rsa.rho(rsa.rsm(a), rsa.rsm(b)))


def test_p_is_small_with_signal_and_uniform_without():
    a = vectors()
    related = rsa.relate(rsa.rsm(a), rsa.rsm(a + 0.5 * vectors(seed=1)), n_boot=100, n_perm=99)
    assert related.p == pytest.approx(0.01)
    assert 0 < related.ci_low < related.rho < related.ci_high < 1
    ps, inside = [], 0
    for seed in range(40):
        found = rsa.relate(rsa.rsm(vectors(seed=2 * seed)), rsa.rsm(vectors(seed=2 * seed + 1)), n_boot=60, n_perm=99)
        ps.append(found.p)
        inside += found.ci_low <= 0 <= found.ci_high
    assert 0.35 < np.mean(ps) < 0.65
    assert min(ps) >= 0.01
    assert inside >= 34


def test_pairs_of_a_stimulus_with_itself_are_not_in_the_interval():
    """They would be alike in any two matrices, and pull unrelated ones together."""
    found = [
        rsa.relate(rsa.rsm(vectors(8, seed=s)), rsa.rsm(vectors(8, seed=s + 99)), n_boot=80, n_perm=1)
        for s in range(20)
    ]
    assert abs(np.mean([(f.ci_low + f.ci_high) / 2 - f.rho for f in found])) < 0.08


def test_noise_ceiling_over_subjects():
    truth = vectors(30, seed=5)
    subjects = [rsa.rsm(truth + 0.7 * vectors(30, seed=s)) for s in range(10, 16)]
    low, high = rsa.noise_ceiling(subjects)
    reached = np.mean([rsa.rho(subject, rsa.rsm(truth)) for subject in subjects])
    assert low < reached + 0.05
    assert reached < high < 1
    assert rsa.noise_ceiling([subjects[0]] * 3) == pytest.approx((1, 1))
    assert np.isnan(rsa.noise_ceiling(subjects[:1])).all()


def test_reliability_tells_what_a_model_without_noise_would_reach():
    truth, reached, expected = vectors(60, 40, seed=7), [], []
    for s in range(8):
        halves = [truth + 0.9 * vectors(60, 40, seed=100 * s + h) for h in (1, 2)]
        reached.append(rsa.rho(rsa.rsm(sum(halves)), rsa.rsm(truth)))
        expected.append(np.sqrt(rsa.reliability(*map(rsa.rsm, halves))))
    assert np.mean(reached) == pytest.approx(np.mean(expected), abs=0.05)
    assert rsa.reliability(rsa.rsm(truth), -rsa.rsm(truth)) == 0


def test_order_brings_groups_together():
    group = np.tile([0, 1, 2], 7)
    centres = 4 * vectors(3, 12, seed=3)
    order = rsa.clustered(rsa.rsm(centres[group] + vectors(21, 12, seed=4)))
    assert sorted(order) == list(range(21))
    assert np.sum(np.diff(group[order]) != 0) == 2


def test_bad_input_names_the_fix():
    with pytest.raises(PhospheneError, match="5 stimuli or more"):
        rsa.rsm(vectors(4))
    with pytest.raises(PhospheneError, match="finite vectors"):
        rsa.rsm(np.full((6, 3), np.nan))
    with pytest.raises(PhospheneError, match="the same 5 stimuli"):
        rsa.rho(np.eye(6), np.eye(7))
    assert np.isnan(rsa.rho(np.ones((6, 6)), rsa.rsm(vectors(6))))
