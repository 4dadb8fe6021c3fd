"""The linear reader of the audit: closed form against the plain one, chance, and what each feature keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from phosphene.audit import controls
from phosphene.audit.controls import Reading, one_sided, smoother, superordinate
from phosphene.audit.features import FEATURES
from phosphene.errors import PhospheneError

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


def orders(n: int, n_perm: int, seed: int = 0) -> np.ndarray:
    rng = RNG([seed, 1])
    return np.stack([rng.permutation(n) for _ in range(n_perm)])


def test_what_is_there_is_found_and_nothing_is_found_in_noise():
    found = reading(1.5)
    assert found.value > 0.9
    null = found.null(orders(90, 200), found.truth[orders(30, 200)])
    assert one_sided(found.value, null) == pytest.approx(1 / 201)
    assert null.mean() == pytest.approx(0.5, abs=0.03)
    ps = []
    for seed in range(60):
        found = reading(0.0, seed)
        ps.append(one_sided(found.value, found.null(orders(90, 60, seed), found.truth[orders(30, 60, seed)])))
    assert 0.3 < np.mean(ps) < 0.7
    assert np.mean(np.array(ps) < 0.1) < 0.25


def test_the_value_is_two_way_identification_averaged_over_candidates_and_of_two_the_roc_area():
    found = reading(0.7)
    shares = found.two_way()
    assert found.value == pytest.approx(np.mean([shares[found.truth == c].mean() for c in range(6)]))
    uneven = Reading(found.smoother[:14], found.targets, found.candidates, found.truth[:14])
    shown = np.unique(uneven.truth)
    shares = uneven.two_way()
    assert uneven.value == pytest.approx(np.mean([shares[uneven.truth == c].mean() for c in shown]))
    rng = RNG(3)
    y, x = rng.integers(2, size=150), rng.normal(size=(150, 8))
    x[y == 1, 0] += 1.0
    matrix = smoother(x[:100], x[100:])
    two = Reading(matrix, np.eye(2)[y[:100]], np.eye(2), y[100:])
    assert two.value == pytest.approx(roc_auc_score(y[100:], matrix @ y[:100]))
    shifted = Reading(matrix + 0.3, two.targets, two.candidates, two.truth)  # all predictions moved alike
    assert shifted.value == pytest.approx(two.value)


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
    mixed = RNG(5).permutation(blocks)
    said = matrix @ np.eye(5)[mixed[train]]
    assert np.mean(said[np.arange(20), mixed[~train]]) < 0.5


def test_the_clock_of_other_recordings_tells_a_list_that_is_shown_again():
    time, place = np.tile(np.arange(30.0), 3), np.repeat(np.arange(3), 30)
    lists = [RNG(i).integers(3, size=30) for i in range(3)]
    train = place > 0
    matrix = controls.clock(time[train], time[~train], place[train], place[~train])
    np.testing.assert_allclose(matrix.sum(1), 1)
    for shown, expected in (([lists[0]] * 3, True), (lists, False)):
        said = matrix @ np.eye(3)[np.concatenate(shown)[train]]
        assert (np.mean(said.argmax(1) == shown[0]) > 0.9) == expected


def test_what_was_shown_before_is_of_the_same_recording():
    label, place = np.array([0, 1, 2, 3, 4]), np.array([0, 0, 1, 1, 1])
    time = np.array([2.0, 1.0, 5.0, 3.0, 4.0])
    assert controls.before(label, place, time).tolist() == [1, -1, 4, -1, 3]


def labelled(shared: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """20 classes of 12 trials, each class with features of its own, each category with shared ones of this size."""
    rng = RNG(seed)
    labels = np.repeat([f"c{i:02d}" for i in range(20)], 12)
    side = np.repeat(np.arange(20) % 2, 12)
    own = np.repeat(rng.normal(size=(20, 30)), 12, axis=0)
    x = own + shared * rng.normal(size=(2, 30))[side] + rng.normal(size=(240, 30))
    return x, labels, np.array(["living", "not"])[side]


def test_meaning_generalises_to_new_classes_and_blocks_do_not():
    value, null, halvings = superordinate(*labelled(1.5), n_null=100)
    assert value > 0.8
    assert one_sided(value, null) < 0.02
    assert null.mean() == pytest.approx(0.5, abs=0.05)
    assert halvings == 6**5 / 2  # two of four classes in each of five parts; the categories have no order
    ps = [one_sided(*superordinate(*labelled(0.0, seed), n_null=60, seed=seed)[:2]) for seed in range(40)]
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
