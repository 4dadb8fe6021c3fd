"""AUC, intervals and permutation tests against hand counts, scikit-learn and simulated truths."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from phosphene.errors import PhospheneError
from phosphene.evaluation.classification import (
    METRICS,
    auc,
    auc_by_run,
    balanced_accuracy,
    held_out,
    interval,
    permutation_test,
    run_names,
    score,
    shuffle_within,
)
from phosphene.evaluation.protocols import Fold
from phosphene.methods.lda import LDA


def made(effect=0.0, n=240, n_runs=4, n_features=5, seed=0):
    """Features with ``effect`` on the first one, labels, and runs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    features = rng.normal(size=(n, n_features))
    features[:, 0] += effect * labels
    return features, labels, np.repeat(np.arange(n_runs), n // n_runs)


def leave_one_run_out(runs):
    none = np.zeros(len(runs), bool)
    return [Fold(str(r), "1", runs != r, none, runs == r) for r in np.unique(runs)]


def test_auc_counts_pairs():
    assert auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert auc([0, 1], [1.0, 1.0]) == 0.5
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(2, size=300), rng.normal(size=300).round(1)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_auc_within_runs_ignores_offsets_between_runs():
    labels, runs = np.array([0, 1, 0, 1, 1]), np.array(list("aabbb"))
    scores = np.array([0.0, 1.0, 10.0, 9.0, 11.0])
    assert auc(labels, scores, runs) == pytest.approx(2 / 3)  # pairs: a 1 of 1; b 1 of 2
    assert auc(labels, scores + 100 * (runs == "a"), runs) == pytest.approx(2 / 3)
    assert auc(labels, scores + 100 * (runs == "a")) != pytest.approx(auc(labels, scores))
    assert auc_by_run(labels, scores, runs).to_dict() == {"a": 1.0, "b": 0.5}


def test_a_run_of_one_class_counts_nothing():
    labels, runs = np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1])
    assert auc(labels, [1.0, 2.0, 0.0, 0.0], runs) == 1.0
    assert np.isnan(auc_by_run(labels, [1.0, 2.0, 0.0, 0.0], runs)[1])


def test_balanced_accuracy():
    rng = np.random.default_rng(0)
    labels, scores = (rng.random(200) < 0.15).astype(int), rng.normal(size=200)
    assert balanced_accuracy(labels, scores) == pytest.approx(balanced_accuracy_score(labels, scores > 0))
    assert balanced_accuracy(labels, np.full(200, -1.0)) == 0.5


def test_bad_input_names_the_fix():
    with pytest.raises(PhospheneError, match="both classes"):
        auc([1, 1], [0.0, 1.0])
    with pytest.raises(PhospheneError, match="both classes"):
        auc([1, 1, 0, 0], [0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1])
    with pytest.raises(PhospheneError, match="labels 0 and 1"):
        auc([1, 2], [0.0, 1.0])
    with pytest.raises(PhospheneError, match="1 of 2 scores are NaN"):
        auc([0, 1], [0.0, np.nan])
    features, labels, runs = made()
    folds = leave_one_run_out(runs)
    with pytest.raises(PhospheneError, match="leave_one_run_out"):
        held_out(features, labels, [*folds, folds[0]], LDA.fit_predict)
    untested = held_out(features, labels, folds[1:], LDA.fit_predict)
    np.testing.assert_array_equal(np.isnan(untested), folds[0].test)


def test_held_out_scores_never_saw_their_trials():
    features, labels, runs = made()
    folds = leave_one_run_out(runs)
    before = held_out(features, labels, folds, LDA.fit_predict)
    mine = runs == 2
    turned = np.where(mine, 1 - labels, labels)
    after = held_out(features, turned, folds, LDA.fit_predict)
    np.testing.assert_array_equal(before[mine], after[mine])
    assert not np.array_equal(before[~mine], after[~mine])


def test_run_names_are_unique_over_sessions():
    table = pd.DataFrame({"subject": ["1", "1"], "session": ["1", "2"], "run": ["01", "01"]})
    assert run_names(table).tolist() == ["1/1/01", "1/2/01"]


@pytest.mark.parametrize("metric", METRICS)
def test_intervals_hold_the_value_and_repeat_with_the_seed(metric):
    features, labels, runs = made(effect=1.0)
    low, high, _ = interval(labels, features[:, 0], runs, metric=metric, n_boot=300)
    assert low < METRICS[metric](labels, features[:, 0], runs) < high
    assert (low, high) == interval(labels, features[:, 0], runs, metric=metric, n_boot=300)[:2]
    assert (low, high) != interval(labels, features[:, 0], runs, metric=metric, n_boot=300, seed=1)[:2]


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Two unit Gaussians one SD apart: AUC is Phi(1/sqrt 2) = 0.7602."""
    hits = 0
    for seed in range(60):
        features, labels, runs = made(effect=1.0, n=120, n_features=1, seed=seed)
        low, high, _ = interval(labels, features[:, 0], runs, n_boot=150, seed=seed)
        hits += low <= 0.7602 <= high
    assert hits >= 51  # of 60; fewer than 51 has probability 0.001 at 95 %


def test_shuffling_keeps_the_counts_of_every_run():
    _, labels, runs = made()
    labels[runs == 0] = 0
    shuffled = shuffle_within(labels, runs, np.random.default_rng(0))
    assert not np.array_equal(shuffled, labels)
    for run in np.unique(runs):
        assert shuffled[runs == run].sum() == labels[runs == run].sum()


def test_permutation_p_counts_and_never_is_zero():
    labels = np.array([0, 1] * 10)
    test = permutation_test(labels, np.zeros(20), lambda x: [float(np.sum(x == labels)), 1.0], n_perm=99)
    assert test.p[0] == 0.01
    assert test.p[1] == 1.0  # a metric that never changes
    assert test.null.shape == (99, 2)
    assert test.shuffled[0] == pytest.approx(10, abs=1)


def test_scores_find_an_effect_and_none_where_there_is_none():
    features, labels, runs = made(effect=1.0)
    done = []
    rows = score(
        features,
        labels,
        runs,
        leave_one_run_out(runs),
        LDA.fit_predict,
        n_boot=200,
        n_perm=99,
        progress=lambda: done.append(1),
    )
    assert len(done) == 99
    assert [r["metric"] for r in rows] == ["auc", "auc_pooled", "balanced_accuracy"]
    for row in rows:
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["p"] == 0.01
        assert row["shuffled"] == pytest.approx(0.5, abs=0.03)
        assert (row["n"], row["chance"]) == (240, 0.5)
    many, truth, blocks = made(effect=1.0, n=8000)
    assert auc(truth, held_out(many, truth, leave_one_run_out(blocks), LDA.fit_predict)) == pytest.approx(
        0.76, abs=0.02
    )


def test_every_shuffle_trains_again():
    """Held-out scores of the true labels against shuffled ones would miss what folds share."""
    features, labels, runs = made()
    trained_on = []

    def watched(train, shown, new):
        trained_on.append(shown.tobytes())
        return LDA.fit_predict(train, shown, new)

    score(features, labels, runs, leave_one_run_out(runs), watched, n_boot=2, n_perm=5)
    assert len(set(trained_on)) == 4 * (1 + 5)


def test_p_is_uniform_when_there_is_no_effect():
    """Twenty studies of noise: p must not be small more often than it should."""
    small = 0
    for seed in range(20):
        features, labels, runs = made(n=80, n_features=3, seed=seed)
        small += (
            score(features, labels, runs, leave_one_run_out(runs), LDA.fit_predict, n_boot=2, n_perm=39)[0]["p"] <= 0.1
        )
    assert small <= 6  # more has probability 0.002
