"""The linear reader of the audit: closed form against the plain one, chance, and what each feature keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from phosphene.errors import PhospheneError
from phosphene.evaluation import controls
from phosphene.evaluation.controls import Reading, smoother, superordinate
from phosphene.evaluation.features import FEATURES

RNG = np.random.default_rng


@pytest.mark.parametrize("n_features", [5, 80])  # fewer and more than trials
def test_smoother_is_ridge_regression(n_features):
    rng = RNG(0)
    train, test, y = rng.normal(size=(40, n_features)), rng.normal(size=(7, n_features)), rng.normal(size=(40, 3))
    mean, scale = train.mean(0), train.std(0)
    ridge = Ridge(alpha=n_features, fit_intercept=False).fit((train - mean) / scale, y)  # trace / n = n_features
    np.testing.assert_allclose(smoother(train, test) @ y, ridge.predict((test - mean) / scale), atol=1e-10)


def test_constant_features_do_not_matter():
    rng = RNG(1)
    train, test = rng.normal(size=(20, 4)), rng.normal(size=(5, 4))
    flat = lambda x: np.hstack([x, np.full((len(x), 2), 3.0)])  # noqa: E731
    np.testing.assert_allclose(smoother(flat(train), flat(test)), smoother(train, test))
    assert np.allclose(smoother(np.ones((4, 2)), np.ones((3, 2))), 0.25)


def reading(signal: float, seed: int = 0) -> Reading:
    rng = RNG(seed)
    y = np.repeat(np.arange(6), 20)
    x = signal * rng.normal(size=(6, 15))[y] + rng.normal(size=(120, 15))
    train = np.arange(120) % 4 > 0
    return Reading(smoother(x[train], x[~train]), np.eye(6)[y[train]], np.eye(6), y[~train])


def test_what_is_there_is_found_and_nothing_is_found_in_noise():
    found = reading(1.5)
    assert found.two_way().mean() > 0.9
    p, null = found.p(np.zeros(90), n_perm=200)
    assert p == pytest.approx(1 / 201)
    assert null.mean() == pytest.approx(0.5, abs=0.03)
    ps = [reading(0.0, seed).p(np.zeros(90), n_perm=60, seed=seed)[0] for seed in range(60)]
    assert 0.3 < np.mean(ps) < 0.7
    assert np.mean(np.array(ps) < 0.1) < 0.25


def test_exchange_stays_within_groups():
    """Targets that are constant in each group cannot be exchanged: every exchange gives the same."""
    found = reading(1.0)
    groups = found.targets.argmax(1)
    p, null = found.p(groups, n_perm=20)
    assert p == 1.0
    np.testing.assert_allclose(null, found.two_way().mean())


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-5, 5))
def test_two_way_knows_no_unit_and_no_offset_of_the_targets(seed, factor, shift):
    one = reading(0.5, seed)
    two = Reading(one.smoother, one.targets * factor + shift, one.candidates * factor + shift, one.truth)
    np.testing.assert_allclose(one.two_way(), two.two_way(), atol=1e-9)


def test_features_keep_what_they_are_named_for():
    rng = RNG(2)
    eeg = rng.normal(size=(30, 4, 60))
    louder, shifted = eeg * 2, eeg + 3
    assert FEATURES["course"](eeg, 100.0).shape == (30, 4 * 12)
    np.testing.assert_allclose(FEATURES["power"](shifted, 100.0), FEATURES["power"](eeg, 100.0), atol=1e-9)
    np.testing.assert_allclose(FEATURES["power"](louder, 100.0) - FEATURES["power"](eeg, 100.0), np.log(4), atol=1e-6)
    np.testing.assert_allclose(FEATURES["offset"](shifted, 100.0) - FEATURES["offset"](eeg, 100.0), 3, atol=1e-9)
    evoked = np.tile(np.sin(np.arange(60) / 5), (200, 1, 1)) + 0.1 * rng.normal(size=(200, 1, 60))
    kept, lost = FEATURES["course"](evoked, 100.0).mean(0), FEATURES["phaseless"](evoked, 100.0).mean(0)
    assert np.abs(lost - evoked.mean()).max() < 0.35 * np.abs(kept).max()


def test_the_clock_tells_blocks_and_not_a_random_order():
    time = np.arange(100.0)
    train = np.arange(100) % 5 > 0
    place = np.zeros(100)
    matrix = controls.clock(time[train], time[~train], place[train], place[~train])
    np.testing.assert_allclose(matrix.sum(1), 1)
    blocks = np.repeat(np.arange(5), 20)
    said = matrix @ np.eye(5)[blocks[train]]
    assert np.mean(said[np.arange(20), blocks[~train]]) == 0.9  # at four borders two blocks are equally near
    elsewhere = controls.clock(time[train], time[~train], place[train], place[~train] + 1)
    np.testing.assert_allclose(elsewhere, 1 / train.sum())


def labelled(shared: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """20 classes of 12 trials, each class with features of its own, each category with shared ones of this size."""
    rng = RNG(seed)
    labels = np.repeat([f"c{i:02d}" for i in range(20)], 12)
    side = np.repeat(np.arange(20) % 2, 12)
    own = np.repeat(rng.normal(size=(20, 30)), 12, axis=0)
    x = own + shared * rng.normal(size=(2, 30))[side] + rng.normal(size=(240, 30))
    return x, labels, np.array(["living", "not"])[side]


def test_meaning_generalises_to_new_classes_and_blocks_do_not():
    value, p, null = superordinate(*labelled(1.5), n_null=100)
    assert value > 0.8
    assert p < 0.02
    assert null.mean() == pytest.approx(0.5, abs=0.05)
    ps = [superordinate(*labelled(0.0, seed), n_null=60, seed=seed)[1] for seed in range(40)]
    assert np.mean(np.array(ps) < 0.1) <= 0.25


def test_superordinate_errors_name_the_fix():
    x, labels, category = labelled(0.0)
    with pytest.raises(PhospheneError, match="two values, not 1"):
        superordinate(x, labels, np.full(240, "a"))
    mixed = category.copy()
    mixed[0] = "not" if mixed[0] == "living" else "living"
    with pytest.raises(PhospheneError, match="give each class one"):
        superordinate(x, labels, mixed)
    with pytest.raises(PhospheneError, match="fewer than 20 classes"):
        superordinate(x, labels, category, n_folds=20)
