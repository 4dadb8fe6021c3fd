"""Many tests at once: known answers, and error rates counted over made data sets with fixed seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from phosphene.errors import PhospheneError
from phosphene.evaluation.corrections import corrected
from phosphene.evaluation.statistics import permutation
from phosphene.evaluation.time_course import over_time

P = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


def test_known_corrections():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(corrected(p, "holm"), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(corrected(p, "bh"), [0.02, 0.04, 0.04, 0.02])
    np.testing.assert_allclose(corrected(p, "by"), np.array([0.02, 0.04, 0.04, 0.02]) * (1 + 1 / 2 + 1 / 3 + 1 / 4))
    np.testing.assert_allclose(corrected(np.array([0.5, 0.9]), "holm"), [1.0, 1.0])
    assert len(corrected(np.array([]))) == 0


@settings(max_examples=60)
@given(P, st.sampled_from(["holm", "bh", "by"]))
def test_corrections_keep_order_and_only_raise(p, method):
    q = corrected(p, method)
    assert ((q >= p - 1e-15) & (q <= 1)).all()
    order = np.argsort(p)
    assert (np.diff(q[order]) >= -1e-12).all()
    shuffled = np.random.default_rng(0).permutation(len(p))
    np.testing.assert_allclose(corrected(p[shuffled], method), q[shuffled])
    assert (corrected(p, "bh") <= corrected(p, "holm") + 1e-12).all()


def test_a_missing_p_is_no_test():
    q = corrected(np.array([0.02, np.nan, 0.03]))
    np.testing.assert_allclose(q[[0, 2]], [0.04, 0.04])
    assert np.isnan(q[1])
    for method in ("holm", "bh"):
        assert np.isnan(corrected(np.array([np.nan]), method)).all()


def test_bad_p_values_are_refused():
    with pytest.raises(PhospheneError, match="unknown correction 'bonferoni': valid: bh, by, holm"):
        corrected(np.array([0.1]), "bonferoni")
    with pytest.raises(PhospheneError, match="each in 0 to 1"):
        corrected(np.array([0.1, 1.2]))


def test_family_wise_error_and_false_discovery_rate_hold():
    """Of 40 tests 10 are true effects; noise is shared between the tests."""
    rng = np.random.default_rng(0)
    found = {"holm": [], "bh": [], "none": []}
    for _ in range(1000):
        z = np.sqrt(0.8) * rng.standard_normal(40) + np.sqrt(0.2) * rng.standard_normal()
        z[:10] += 3
        p = norm.sf(z)
        for method in found:
            called = (p if method == "none" else corrected(p, method)) <= 0.05
            found[method].append((called[10:].any(), called[10:].sum() / max(called.sum(), 1), called[:10].mean()))
    wrong = {method: np.mean(rows, axis=0) for method, rows in found.items()}
    assert wrong["none"][0] > 0.5
    assert wrong["holm"][0] <= 0.06
    assert wrong["bh"][1] <= 0.05
    assert wrong["bh"][2] > wrong["holm"][2] > 0.2  # and effects are found


def test_the_pairing_s_p_is_uniform_under_the_null():
    ps = []
    for seed in range(250):
        table = np.random.default_rng([seed, 3]).standard_normal((20, 20))
        score = lambda order, t=table: t[np.arange(20), order].mean()  # noqa: E731
        ps.append(permutation(score, 20, n_perm=199, seed=seed))
    assert kstest(ps, "uniform").pvalue > 0.05


# -- over time ---------------------------------------------------------------------------------


def smooth(rng, n_units=12, n_points=60):
    return np.stack([np.convolve(rng.standard_normal(n_points + 8), np.ones(9) / 3, "valid") for _ in range(n_units)])


def test_exact_flips_of_three_units():
    x = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, -1.0]])
    found = over_time(x)
    np.testing.assert_allclose(found.mean, [2, 0])
    np.testing.assert_allclose(found.t, [2 * np.sqrt(3), 0], atol=1e-12)
    assert found.p.tolist() == [2 / 8, 1.0]
    assert over_time(x, two_sided=False).p[0] == 1 / 8
    assert over_time(-x, two_sided=False).p[0] == 1.0


@pytest.mark.parametrize("threshold", [None, 2.2])
def test_the_error_holds_over_all_points(threshold):
    least, single = [], []
    for seed in range(400):
        found = over_time(smooth(np.random.default_rng([seed, 4])), threshold=threshold, n_perm=199, seed=seed)
        least.append(found.p.min())
        single.append((np.abs(found.t) > 2.2).any())  # t of 11 degrees at p = 0.05
    assert 0.025 <= np.mean(np.array(least) <= 0.05) <= 0.08
    assert np.mean(single) > 0.3


def test_an_effect_is_found_where_it_is():
    x = smooth(np.random.default_rng(1), 16)
    x[:, 20:35] += 2.0
    for threshold in (None, 2.2):
        found = over_time(x, threshold=threshold, n_perm=999)
        assert (found.p[24:31] < 0.01).all()
        assert (found.p[:12] > 0.05).all()
        assert (found.p[45:] > 0.05).all()
    assert found.p[24] == found.p[30]  # a run of points is one finding


def test_runs_of_opposite_sign_are_two():
    x = 0.1 * np.random.default_rng(1).standard_normal((10, 6))
    x[:, :2] += 1
    x[:, 2:4] -= 0.15
    both, above = over_time(x, threshold=2.3), over_time(x, threshold=2.3, two_sided=False)
    assert both.p[0] == both.p[1] <= 0.01
    assert above.p[2] == above.p[3] == 1.0
    assert over_time(-x, threshold=2.3).p.tolist() == both.p.tolist()


def test_constant_points_do_not_divide_by_nothing():
    x = np.zeros((8, 3))
    x[:, 1] = 1.0
    found = over_time(x, n_perm=300)
    assert np.isfinite(found.t).all()
    assert found.p.tolist() == [1.0, 2 / 256, 1.0]


def test_effects_that_cannot_be_tested_are_refused():
    with pytest.raises(PhospheneError, match=r"two units or more, finite; these are \(1, 4\)"):
        over_time(np.ones((1, 4)))
    with pytest.raises(PhospheneError, match="give a positive t"):
        over_time(np.ones((5, 4)), threshold=-1)
