import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import golden
from golden.fill import inputs
from phosphene.errors import PhospheneError
from phosphene.evaluation import retrieval


def published():
    facts, arrays = golden("metrics_retrieval")
    raw = {k: inputs(v["shape"], v["seed"]).astype(np.float64) for k, v in facts["inputs"].items()}
    images = raw["base"] * (1 + 0.2 * raw["scale"])[:, None]
    return facts["values"], arrays, 0.07 * raw["base"] + raw["noise"], images


@pytest.mark.parametrize("kind", ["raw_dot", "cosine"])
def test_parity_with_the_published_retrieval(kind):
    values, arrays, eeg, images = published()
    similarity = eeg @ images.T if kind == "raw_dot" else retrieval.cosine(eeg, images)
    r = retrieval.ranks(similarity).of(np.arange(200))
    np.testing.assert_array_equal(r.above, arrays[f"{kind}_rank_of_true_item"])
    assert retrieval.top_k(r, 1).mean() == pytest.approx(values[kind]["top1_200"], abs=1e-9)
    assert retrieval.top_k(r, 5).mean() == pytest.approx(values[kind]["top5_200"], abs=1e-9)
    for k in (2, 4, 10, 50, 100):
        assert retrieval.k_way(r, k).mean() == pytest.approx(values[kind][f"top1_{k}_closed_form"], abs=1e-9)
    for k in (50, 100):
        assert retrieval.k_way(r, k, top=5).mean() == pytest.approx(values[kind][f"top5_{k}_closed_form"], abs=1e-9)


def test_parity_with_the_published_two_way():
    facts, arrays = golden("metrics_two_way")
    real, noise = (
        inputs(facts["inputs"][k]["shape"], facts["inputs"][k]["seed"]).astype(float) for k in ("real", "noise")
    )
    r = retrieval.ranks(retrieval.correlation(0.1 * real + noise, real)).of(np.arange(60))
    np.testing.assert_array_equal(np.round(retrieval.two_way(r) * 59), arrays["success_counts"])
    assert retrieval.two_way(r).mean() == pytest.approx(facts["accuracy"], abs=1e-9)


def test_a_constant_decoder_scores_chance_not_one():
    r = retrieval.ranks(np.ones((50, 50))).of(np.arange(50))
    assert retrieval.top_k(r, 1).mean() == pytest.approx(1 / 50)
    assert retrieval.top_k(r, 5).mean() == pytest.approx(5 / 50)
    assert np.median(retrieval.median_rank(r)) == 25.5
    assert retrieval.k_way(r, 10).mean() == pytest.approx(1 / 10)
    assert retrieval.reciprocal_rank(r).mean() == pytest.approx(np.mean(1 / np.arange(1, 51)))
    assert retrieval.two_way(r).mean() == 0


@settings(max_examples=50)
@given(st.integers(2, 30), st.integers(0, 2**31))
def test_ranks_count_better_items(n, seed):
    similarity = np.random.default_rng(seed).integers(0, 6, (n, n)).astype(float)
    r = retrieval.ranks(similarity)
    for i in range(n):
        for j in range(n):
            assert r.above[i, j] == (similarity[i] > similarity[i, j]).sum()
            assert r.tied[i, j] == (similarity[i] == similarity[i, j]).sum() - 1
    # over the whole gallery exactly k items are among the first k
    np.testing.assert_allclose(retrieval.top_k(r, 1).sum(1), 1.0)


@settings(max_examples=30)
@given(st.integers(3, 12), st.integers(0, 2**31))
def test_k_way_is_the_mean_over_all_draws(n, seed):
    from itertools import combinations

    scores = np.random.default_rng(seed).standard_normal((1, n))
    r = retrieval.ranks(scores).of(np.array([0]))
    draws = [all(scores[0, 0] > scores[0, j] for j in d) for d in combinations(range(1, n), 2)]
    assert retrieval.k_way(r, 3)[0] == pytest.approx(np.mean(draws))


def test_scale_of_the_embedding_changes_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 8)), rng.standard_normal((7, 8))
    np.testing.assert_allclose(retrieval.cosine(a, b), retrieval.cosine(3 * a, 0.1 * b))


def test_nan_is_refused():
    with pytest.raises(PhospheneError, match="hold NaN"):
        retrieval.ranks(np.full((2, 2), np.nan))
    with pytest.raises(PhospheneError, match="2 to 4 candidates"):
        retrieval.k_way(retrieval.ranks(np.eye(4)).of(np.arange(4)), 5)
