"""FID, KID and IS on given features, against torch-fidelity's values, scipy's matrix root and what must hold."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel

from conftest import GOLDEN
from golden.fill import inputs
from phosphene.errors import PhospheneError
from phosphene.evaluation.metrics import METRICS
from phosphene.evaluation.metrics import distributions as d
from phosphene.evaluation.metrics.unpaired import MEASURES, Unpaired


def published():
    import json

    facts = json.loads((GOLDEN / "metrics_sets.json").read_text())
    raw = {k: inputs(v["shape"], v["seed"]) for k, v in facts["inputs"].items()}
    return raw["x"], np.float32(1.1) * raw["y"] + np.float32(0.1), np.float32(3) * raw["logits"], facts["values"]


def test_parity_with_torch_fidelity():
    x, y, logits, values = published()
    assert d.frechet(x, y) == pytest.approx(values["fid"], rel=1e-6)
    assert d.kid_subsets(x, y, subsets=20, size=100) == pytest.approx((values["kid_mean"], values["kid_std"]), rel=2e-6)
    assert d.inception_score(logits) == pytest.approx((values["is_mean"], values["is_std"]), rel=1e-9)


@settings(max_examples=10)
@given(st.integers(2, 12), st.integers(30, 60), st.integers(0, 2**31))
def test_frechet_is_the_matrix_root_formula(dim, n, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, dim)) * rng.random(dim), rng.standard_normal((n + 7, dim)) + 0.5
    c1, c2 = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(np.atleast_2d(c1 @ c2)).real
    wanted = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(np.atleast_2d(c1 + c2)) - 2 * np.trace(root)
    assert d.frechet(x, y) == pytest.approx(wanted, abs=1e-6)
    assert d.frechet(x, y) == pytest.approx(d.frechet(y, x), abs=1e-9)
    assert d.frechet(x[rng.permutation(n)], y) == pytest.approx(d.frechet(x, y), abs=1e-9)


def test_frechet_with_fewer_pictures_than_features():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 40))
    assert d.frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert d.frechet(x, x + 2) == pytest.approx(4 * 40, abs=1e-6)
    turn = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    y = rng.standard_normal((15, 40))
    assert d.frechet(x @ turn, y @ turn) == pytest.approx(d.frechet(x, y), abs=1e-9)


def test_mmd_is_the_double_loop():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 4)), rng.standard_normal((5, 4)) + 1
    k = lambda a, b: (a @ b / 4 + 1) ** 3  # noqa: E731
    xx = np.mean([k(x[i], x[j]) for i in range(6) for j in range(6) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    assert d.mmd2(x, y) == pytest.approx(xx + yy - 2 * np.mean([k(a, b) for a in x for b in y]))
    np.testing.assert_allclose(d.polynomial(x, y), polynomial_kernel(x, y, degree=3, coef0=1))


def test_mmd_is_unbiased_where_frechet_is_not():
    rng = np.random.default_rng(0)
    draws = [(rng.standard_normal((30, 16)), rng.standard_normal((30, 16))) for _ in range(200)]
    kids = [d.mmd2(x, y) for x, y in draws]
    assert abs(np.mean(kids)) < 3 * np.std(kids) / np.sqrt(200)
    assert np.mean([d.frechet(x, y) for x, y in draws]) > 1


def normal(seed, n, dim=16):
    """Two normal sets whose Frechet distance is known, and that distance."""
    rng = np.random.default_rng(seed)
    x, y = np.sqrt(1.5) * rng.standard_normal((n, dim)) + 0.3, rng.standard_normal((n, dim))
    return x, y, dim * (0.3**2 + (np.sqrt(1.5) - 1) ** 2)


def test_extrapolation_takes_most_of_the_bias_away():
    values = []
    for seed in range(20):
        x, y, true = normal(seed, 200)
        values.append([d.frechet(x, y), d.frechet_infinity(x, y), d.frechet_infinity(x, y, smallest=0.1, both=False)])
    plain, ours, published = np.mean(values, axis=0) - true
    assert plain > 0.5  # a quarter of the true value and more
    assert abs(ours) < plain / 5
    assert plain / 5 < published < 0.8 * plain  # the real pictures' own bias stays


def test_extrapolation_has_no_line_where_pictures_are_fewer_than_features():
    """Then its value is as wrong as FID itself, and it is refused."""
    x, y, true = normal(0, 60, dim=400)
    shares = np.linspace(0.5, 1, 15)
    assert d.extrapolated(x, y, shares) > 2 * true
    with pytest.raises(PhospheneError, match="subsets of 400 pictures or more .* smallest has 30: .* report KID"):
        d.frechet_infinity(x, y)
    x, y, _ = normal(0, 40)
    for smallest, points in ((0, 15), (1, 15), (0.5, 1)):
        with pytest.raises(PhospheneError, match="give two or more"):
            d.frechet_infinity(x, y, smallest=smallest, points=points)


def test_extrapolation_of_a_line_is_its_intercept(monkeypatch):
    monkeypatch.setattr(d, "frechet", lambda a, b: 3 + 40 / len(a) + 100 / len(b))
    x, y = np.zeros((200, 4)), np.zeros((100, 4))
    assert d.frechet_infinity(x, y) == pytest.approx(3, abs=0.05)  # sizes are whole numbers
    assert d.frechet_infinity(x, y, both=False) == pytest.approx(4, abs=0.01)


def test_inception_score_of_known_answers():
    sure = 200 * np.eye(5)[np.arange(100) % 5]
    assert d.inception_score(sure, splits=1) == pytest.approx((5, 0))
    assert d.inception_score(np.zeros((100, 7))) == pytest.approx((1, 0))
    one_class = 200 * np.eye(5)[np.zeros(100, int)]
    assert d.inception_score(one_class) == pytest.approx((1, 0))


def asked(name, seed=0, n=60, shift=1.0):
    rng = np.random.default_rng(seed)
    real = rng.standard_normal((n, 8))
    drawn = rng.standard_normal((n, 8)) + shift
    return Unpaired(name, drawn, np.arange(n) // 2, real, np.arange(n), np.arange(n) // 2)


@pytest.mark.parametrize("name", [m for m in MEASURES if m != "kid_subsets"])
def test_a_set_answers_like_a_question_without_chance_and_p(name):
    row = asked(name).answer(n_boot=100, n_perm=1000)
    assert row["metric"] == name
    assert row["n"] == 60
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert np.isnan(row["chance"])
    assert np.isnan(row["p"])
    assert row["backbone"] == METRICS[name].backbone != ""


@pytest.mark.parametrize("name", ["fid", "kid"])
def test_exchanging_the_eeg_changes_no_set(name):
    """Control G0: the drawings are dealt to other trials."""
    own = asked(name)
    order = np.random.default_rng(1).permutation(60)
    dealt = Unpaired(name, own.drawn[order], own.clusters, own.real, own.pictures, own.real_clusters)
    assert dealt.answer(n_boot=20)["value"] == pytest.approx(own.answer(n_boot=20)["value"], abs=1e-9)


def test_the_kid_interval_covers_at_its_level():
    truth = d.mmd2(*(np.random.default_rng(99).standard_normal((2000, 8)) + shift for shift in (0.5, 0.0)))
    hits = 0
    for seed in range(60):
        row = asked("kid", seed, shift=0.5).answer(n_boot=200, seed=seed)
        hits += row["ci_low"] <= truth <= row["ci_high"]
    assert hits >= 50


def test_the_fid_infinity_interval_covers_no_less_than_its_level():
    """Of the mean value at this number of pictures."""
    sets = [asked("fid_infinity_mini", seed, n=60, shift=0.5) for seed in range(40)]
    mean = np.mean([d.frechet_infinity(u.drawn, u.real) for u in sets])
    rows = [u.answer(n_boot=60, seed=seed) for seed, u in enumerate(sets)]
    assert sum(row["ci_low"] <= mean <= row["ci_high"] for row in rows) >= 36


def test_counts_leave_no_pair_of_a_picture_with_itself():
    u = asked("kid")
    measured = MEASURES["kid"](u.drawn, u.real)
    assert measured(np.ones(60, int), np.ones(60, int)) == pytest.approx(d.mmd2(u.drawn, u.real))
    n, m = np.zeros(60, int), np.ones(60, int)
    n[:20] = 3
    assert measured(n, m) == pytest.approx(d.mmd2(u.drawn[:20], u.real))


def test_joined_sets_count_a_real_picture_once():
    a = asked("fid")
    both = a.join([Unpaired("fid", a.drawn + 1, a.clusters, a.real, a.pictures, a.real_clusters)])
    assert len(both.drawn) == 120
    assert len(both.real) == 60
    wanted = d.frechet(np.concatenate([a.drawn, a.drawn + 1]), a.real)
    assert both.answer(n_boot=10)["value"] == pytest.approx(wanted)


def test_bad_sets_are_refused():
    u = asked("fid")
    with pytest.raises(PhospheneError, match="compares pairs"):
        Unpaired("pixcorr", u.drawn, u.clusters, u.real, u.pictures, u.real_clusters)
    with pytest.raises(PhospheneError, match="give each once"):
        Unpaired("fid", u.drawn, u.clusters, u.real, u.pictures // 2, u.real_clusters)
    with pytest.raises(PhospheneError, match="two or more"):
        Unpaired("fid", u.drawn[:1], u.clusters[:1], u.real, u.pictures, u.real_clusters)
    with pytest.raises(PhospheneError, match="a cluster for each drawing"):
        Unpaired("fid", u.drawn, u.clusters[1:], u.real, u.pictures, u.real_clusters)
    with pytest.raises(PhospheneError, match="of one network"):
        d.frechet(u.drawn, u.real[:, 1:])
    with pytest.raises(PhospheneError, match="hold NaN"):
        d.mmd2(u.drawn * np.nan, u.real)
    with pytest.raises(PhospheneError, match="smaller size"):
        d.kid_subsets(u.drawn, u.real)
    with pytest.raises(PhospheneError, match="10 splits"):
        d.inception_score(u.drawn[:9])
