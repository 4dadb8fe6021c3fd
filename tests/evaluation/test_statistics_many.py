"""Many tests at once: known answers, and error rates counted over made data sets with fixed seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from phosphene.errors import PhospheneError
from phosphene.evaluation.corrections import corrected
from phosphene.evaluation.statistics import permutation

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
