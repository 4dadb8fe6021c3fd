import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from conftest import golden, make_trials
from golden.fill import inputs
from phosphene.errors import PhospheneError
from phosphene.whitening import Whitener, shrunk_covariances, whiten


def published(case):
    facts, arrays = golden(case)
    raw = {k: inputs(v["shape"], v["seed"]).astype(np.float64) for k, v in facts["inputs"].items()}
    mixing = np.eye(8) + 0.5 * raw["mix"]
    data = {k: 1e-5 * np.einsum("ij,...jt->...it", mixing, raw[f"raw_{k}"]) for k in ("train", "test")}
    if "average" in case:
        data = {k: x - x.mean(axis=-2, keepdims=True) for k, x in data.items()}
    if "flat" in case:
        for x in data.values():
            x[..., 3, :] = 0
    return data, arrays


@pytest.mark.parametrize("mode", ["epochs", "time"])
@pytest.mark.parametrize("case", ["mvnn_full_rank", "mvnn_average_reference", "mvnn_flat_channel"])
def test_parity_with_the_published_code(case, mode):
    data, expected = published(case)
    rtol = 2e-6 if "flat" in case else 1e-10
    for session in range(2):
        train, test = data["train"][session], data["test"][session]
        conditions = np.repeat(np.arange(train.shape[0]), train.shape[1])
        whitener = Whitener(mode).fit(train.reshape(-1, *train.shape[2:]), conditions)
        np.testing.assert_allclose(whitener.covariance_, expected[f"atm_{mode}_sigma"][session], rtol=1e-10, atol=1e-24)
        for part, x in (("train", train), ("test", test)):
            want = expected[f"atm_{mode}_{part}"][session]
            assert np.abs(whitener.transform(x) - want).max() <= rtol * np.abs(want).max()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(5, 60), st.integers(0, 2**31))
def test_covariance_is_scikit_learns(n_chans, n_times, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_chans, n_chans)) @ rng.standard_normal((n_chans, n_times)) + 3
    scaler = StandardScaler().fit(x.T)
    want = LedoitWolf().fit(scaler.transform(x.T)).covariance_ * np.outer(scaler.scale_, scaler.scale_)
    np.testing.assert_allclose(shrunk_covariances(x[None])[0], want, rtol=1e-9, atol=1e-12)


def test_whitened_noise_is_white_and_comes_back():
    rng = np.random.default_rng(0)
    mixing = np.eye(6) + 0.15 * rng.standard_normal((6, 6))
    x = np.einsum("ij,njt->nit", mixing, rng.standard_normal((200, 6, 500)))
    whitener = Whitener().fit(x)
    white = whitener.transform(x)
    covariance = np.einsum("nit,njt->ij", white, white) / (200 * 500)
    np.testing.assert_allclose(covariance, np.eye(6), atol=0.05)
    np.testing.assert_allclose(whitener.inverse_transform(white), x, atol=1e-8)
    np.testing.assert_allclose(whitener.inverse_ @ whitener.whitening_, np.eye(6), atol=1e-9)


def test_conditions_weigh_the_same_however_often_they_were_repeated():
    rng = np.random.default_rng(1)
    quiet, loud = rng.standard_normal((50, 4, 900)), 10 * rng.standard_normal((2, 4, 900))
    y = np.repeat([0, 1], [50, 2])
    variance = np.diag(Whitener().fit(np.concatenate([quiet, loud]), y).covariance_)
    np.testing.assert_allclose(variance, (1 + 100) / 2, rtol=0.2)


def test_each_session_by_its_own_training_trials_and_no_test_trial_is_looked_at():
    trials = make_trials(subjects=("01", "02"))
    fit_on = (trials.table["split"] == "train").to_numpy()
    white, whiteners = whiten(trials, fit_on)
    assert set(whiteners) == {("01", "01"), ("02", "01")}
    changed = make_trials(subjects=("01", "02"))
    changed.eeg[~fit_on] *= 100
    again, others = whiten(changed, fit_on)
    for key, whitener in whiteners.items():
        np.testing.assert_array_equal(whitener.covariance_, others[key].covariance_)
    np.testing.assert_array_equal(white.eeg[fit_on], again.eeg[fit_on])
    own = fit_on & (trials.table["subject"] == "02").to_numpy()
    want = Whitener().fit(trials.eeg[own], trials.table["stimulus"][own].to_numpy())
    np.testing.assert_array_equal(whiteners["02", "01"].covariance_, want.covariance_)


def test_a_session_without_training_trials_borrows_its_subjects():
    trials = make_trials()
    trials.table.loc[trials.table["split"] == "test", "session"] = "02"
    _, whiteners = whiten(trials, (trials.table["split"] == "train").to_numpy())
    np.testing.assert_array_equal(whiteners["01", "01"].covariance_, whiteners["01", "02"].covariance_)


def test_errors_name_the_fix(trials):
    with pytest.raises(PhospheneError, match="valid: epochs, time"):
        Whitener("both").fit(trials.eeg)
    with pytest.raises(PhospheneError, match="use mode 'epochs'"):
        Whitener("time").fit(trials.eeg, np.arange(len(trials)))
    with pytest.raises(PhospheneError, match="no training trial"):
        whiten(trials, np.zeros(len(trials), bool))


def test_it_clones_like_an_estimator():
    assert clone(Whitener("time")).mode == "time"
