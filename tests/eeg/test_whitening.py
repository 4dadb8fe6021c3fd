import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from conftest import golden, make_trials
from golden.fill import inputs
from phosphene.eeg import lazy
from phosphene.eeg.lazy import LazyArray
from phosphene.eeg.trials import Trials
from phosphene.eeg.whitening import Whitener, shrunk_covariances, whiten
from phosphene.errors import PhospheneError


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


@settings(max_examples=25)
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
    white, _ = whiten(trials, np.ones(len(trials), bool))
    with pytest.raises(PhospheneError, match="whitened already: set whitening to null"):
        whiten(white, np.ones(len(trials), bool))


@parametrize_with_checks([Whitener(), Whitener("time")])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    """Every check, on tables (n_samples, n_chans); none is expected to fail."""
    check(estimator)


@pytest.mark.parametrize("mode", ["epochs", "time"])
def test_trials_are_held_to_the_same_rules(mode):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 4, 30)), np.repeat(np.arange(10), 4)
    whitener = Whitener(mode)
    for call in (whitener.transform, whitener.inverse_transform):
        with pytest.raises(NotFittedError):
            call(x)
    before = x.copy()
    assert whitener.fit(x, y) is whitener
    assert whitener.n_features_in_ == 4
    assert whitener.get_params() == {"mode": mode}
    first = whitener.transform(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(whitener.fit(x, y).transform(x), first)
    np.testing.assert_array_equal(clone(whitener).fit(x, y).transform(x), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(whitener)).transform(x), first)
    np.testing.assert_array_equal(whitener.transform(x[3:5]), first[3:5])
    assert whitener.transform(x.astype(np.float32)).dtype == np.float32
    assert whitener.transform((100 * x).astype(np.int16)).dtype == np.float32
    for call in (whitener.transform, whitener.inverse_transform):
        with pytest.raises(PhospheneError, match=r"X has 3 channels and the whitener was fitted on 4") as error:
            call(x[:, :3])
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="3 features"):
        whitener.transform(x[0, :3].T)


def test_a_table_is_one_stretch_of_observations():
    x = np.random.default_rng(0).standard_normal((200, 5))
    by_table, by_trial = Whitener().fit(x), Whitener().fit(x.T[None])
    np.testing.assert_array_equal(by_table.covariance_, by_trial.covariance_)
    np.testing.assert_allclose(by_table.transform(x), by_trial.transform(x.T[None])[0].T, rtol=1e-12)


@pytest.mark.parametrize("mode", ["epochs", "time"])
def test_whitened_from_disk_as_in_memory(tmp_path, mode, monkeypatch):
    held = make_trials(subjects=("01", "02"))
    monkeypatch.setattr(lazy, "SMALL", -1)
    monkeypatch.setattr(lazy._step, "__defaults__", (2000,))
    stored = Trials.load(held.save(tmp_path / "trials"))
    fit_on = (held.table["split"] == "train").to_numpy()
    (white, own), (again, others) = whiten(held, fit_on, mode), whiten(stored, fit_on, mode)
    assert isinstance(white.eeg, np.ndarray)
    assert isinstance(again.eeg, LazyArray)
    for key in own:
        np.testing.assert_array_equal(own[key].covariance_, others[key].covariance_)
    np.testing.assert_array_equal(again.eeg[:], white.eeg)
    np.testing.assert_allclose(
        again.select(split="test").average().crop(0.0, 0.2).eeg[:],
        white.select(split="test").average().crop(0.0, 0.2).eeg,
        rtol=1e-6,
        atol=1e-6,
    )
    whitener = own["01", "01"]
    back = whitener.inverse_transform(whitener.transform(LazyArray(stored.eeg)))
    assert isinstance(back, LazyArray)
    np.testing.assert_allclose(back[:], held.eeg, atol=1e-5 * np.abs(held.eeg).max())


def test_values_that_are_missing_and_conditions_that_do_not_fit_are_told(trials):
    trials.eeg[3, 2, 1] = np.nan
    with pytest.raises(PhospheneError, match="NaN or infinity"):
        Whitener().fit(trials.eeg)
    with pytest.raises(PhospheneError, match="3 conditions for 36 trials"):
        Whitener().fit(trials.eeg, [0, 1, 2])
