import numpy as np
import pytest

from phosphene.errors import PhospheneError
from phosphene.evaluation.scores import Question, drawn_attributes, picture_retrieval
from phosphene.evaluation.statistics import bootstrap, permutation


def test_bootstrap_covers_the_mean_at_its_level():
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(200):
        low, high = bootstrap(rng.normal(1.0, 1.0, 60), n_boot=400, seed=i)
        hits += low <= 1.0 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_clusters_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).standard_normal(20), 10)
    alone = np.subtract(*bootstrap(values)[::-1])
    clustered = np.subtract(*bootstrap(values, np.repeat(np.arange(20), 10))[::-1])
    assert clustered > 2.5 * alone  # sqrt(10) in theory


def test_bootstrap_of_the_median_and_of_nothing():
    low, high = bootstrap(np.arange(101.0), statistic=np.median)
    assert low < 50 < high
    with pytest.raises(PhospheneError, match="the test set is empty"):
        bootstrap(np.array([]))


def test_p_is_uniform_without_an_effect_and_small_with_one():
    rng = np.random.default_rng(0)
    ps = []
    for i in range(120):
        table = rng.random((30, 30))
        ps.append(permutation(lambda o, t=table: t[np.arange(30), o].mean(), 30, n_perm=99, seed=i))
    assert 0.4 < np.mean(ps) < 0.6
    assert np.mean(np.array(ps) <= 0.05) < 0.12
    assert permutation(lambda o: np.eye(30)[np.arange(30), o].mean(), 30, n_perm=999) == pytest.approx(1 / 1000)


def test_a_decoder_that_only_treats_a_concepts_pictures_alike_gains_nothing():
    """An arbitrary map of concepts: pictures of a concept are decoded alike, and wrongly."""
    concepts, small = np.repeat(np.arange(10), 5), {"alone": 0, "clustered": 0}
    for seed in range(80):
        rng = np.random.default_rng(seed)
        table = rng.standard_normal((10, 10))[np.ix_(concepts, concepts)]
        for name, clusters in (("alone", None), ("clustered", concepts)):
            p = permutation(lambda o, t=table: t[np.arange(50), o].mean(), 50, clusters=clusters, n_perm=99, seed=seed)
            small[name] += p <= 0.05
    assert small["alone"] > 10  # exchanging single pictures is deceived
    assert small["clustered"] <= 9


def test_p_respects_the_direction():
    table = 30 * np.ones((30, 30)) - 29 * np.eye(30)
    score = lambda o: np.median(table[np.arange(30), o])  # noqa: E731
    assert permutation(score, 30, higher_is_better=False, n_perm=199) < 0.01
    assert permutation(score, 30, higher_is_better=True, n_perm=199) > 0.9


def test_scores_of_a_perfect_and_of_a_blind_decoder():
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((60, 32))
    concepts = np.repeat([f"c{i}" for i in range(12)], 5)
    for decoded, blind in ((gallery, False), (rng.standard_normal((60, 32)), True)):
        rows = {
            q.metric: q.answer(n_boot=200, n_perm=200)
            for q in picture_retrieval(decoded, gallery, np.arange(60), concepts, "mini")
        }
        top = rows["image_top1"]
        assert top["chance"] == pytest.approx(1 / 60, abs=1e-12)
        assert rows["within_concept_top1"]["chance"] == pytest.approx(1 / 5, abs=0.03)
        assert rows["concept_top1"]["chance"] == pytest.approx(1 / 12, abs=0.02)
        assert rows["image_top1_of_2"]["chance"] == pytest.approx(0.5, abs=1e-12)
        assert rows["image_median_rank"]["chance"] == pytest.approx(30.5, abs=2)
        if blind:
            assert top["p"] > 0.05
        else:
            assert top["value"] == 1.0
            assert all(row["p"] < 0.01 for row in rows.values())


def test_folds_with_different_galleries_are_permuted_within_themselves():
    a = Question("m", np.eye(4), np.arange(4), np.arange(4))
    b = Question("m", np.eye(6), np.arange(6), np.arange(6))
    joined = a.join([b])
    assert joined.table.shape == (10, 10)
    row = joined.answer(n_boot=50, n_perm=100)
    assert row["n"] == 10
    assert row["value"] == 1.0
    assert row["chance"] == pytest.approx((4 / 4 + 6 / 6) / 10, abs=1e-12)


def test_judged_attributes_count_agreement():
    import pandas as pd

    seen = pd.DataFrame({"object": ["car", "cat", "car", "cup"]})
    (question,) = drawn_attributes(seen, {"object": ["car", "cat", "cup", "car"]}, np.arange(4), "judge")
    assert question.answer(n_boot=20, n_perm=20)["value"] == 0.5
