"""2-way identification, correlation distance, n-way accuracy, LPIPS by a given model, captions, and their questions."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import hypergeom

from conftest import golden
from golden.fill import inputs
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.evaluation.metrics import METRICS, captions, metric, networks, nway, paired, perceptual
from phosphene.evaluation.metrics.inception import mini_features
from phosphene.evaluation.metrics.presets import PRESETS
from phosphene.simulate.scenes import COLOURS, OBJECTS, Scene, draw


def published():
    facts, arrays = golden("metrics_two_way")
    real, noise = (inputs(facts["inputs"][k]["shape"], facts["inputs"][k]["seed"]) for k in ("real", "noise"))
    return facts, arrays, real.astype(float), (0.1 * real + noise).astype(float)


def test_parity_with_the_published_two_way_and_distance():
    facts, arrays, real, drawn = published()
    own = np.arange(60)
    table = paired.two_way(drawn, real)
    np.testing.assert_array_equal(np.round(table[own, own] * 59), arrays["success_counts"])
    assert table[own, own].mean() == pytest.approx(facts["accuracy"], abs=1e-9)
    distance = paired.correlation_distance(drawn, real)
    np.testing.assert_allclose(distance[own, own], arrays["correlation_distance"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(distance, cdist(drawn, real, "correlation"), atol=1e-12)


def test_questions_know_direction_chance_and_backbone():
    _, _, real, drawn = published()
    own = np.arange(60)
    row = paired.question("alexnet2_2way", paired.two_way(drawn, real), own, own).answer(n_boot=200, n_perm=200)
    assert row["chance"] == pytest.approx(0.5, abs=1e-9)
    assert row["p"] < 0.01
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert row["backbone"] == "AlexNet IMAGENET1K_V1 features.4"
    table = paired.correlation_distance(drawn, real)
    row = paired.question("swav_distance", table, own, own, backbone="random").answer(n_boot=200, n_perm=200)
    assert row["p"] < 0.01  # lower than chance is better
    assert row["value"] < row["chance"]
    assert row["backbone"] == "random"


def test_pixel_questions_of_a_copy_and_of_a_stranger():
    rng = np.random.default_rng(0)
    real = rng.random((8, 3, 16, 16))
    own = np.arange(8)
    for drawn, told in ((np.clip(real + 0.05 * rng.random(real.shape), 0, 1), True), (rng.random(real.shape), False)):
        rows = [q.answer(n_boot=50, n_perm=200) for q in paired.pixel_questions(drawn, real, own, own, side=32)]
        assert [row["metric"] for row in rows] == ["pixcorr", "ssim", "ssim_columns"]
        assert all((row["p"] < 0.05) == told for row in rows)


def test_pixel_questions_in_blocks_ask_the_same_of_every_drawing():
    rng = np.random.default_rng(0)
    real = rng.random((9, 3, 16, 16))
    truth = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 4, 8])
    concepts = np.array(list("aabbccddd"))
    shown = list(real.transpose(0, 2, 3, 1))
    drawn = np.clip(real[truth] + 0.3 * rng.random((12, 3, 16, 16)), 0, 1)
    whole = paired.pixel_questions(drawn, shown, truth, concepts[truth], side=24)
    parts = paired.pixel_questions(drawn, shown, truth, concepts[truth], side=24, block=4, backbone="mini")
    for one, other in zip(whole, parts, strict=True):
        a, b = (q.answer(n_boot=50, n_perm=100) for q in (one, other))
        assert (a["metric"], a["n"]) == (b["metric"], b["n"]) == (one.metric, 12)
        assert a["value"] == pytest.approx(b["value"])
        assert (a["backbone"], b["backbone"]) == ("", "mini")
        assert np.isnan(other.table).any()
        assert not np.isnan(one.table).any()
        groups = np.isnan(other.table).argmin(axis=1)
        for group in np.unique(groups):  # concepts stay whole, and can be exchanged
            here = set(other.clusters[groups == group])
            assert len(here) >= 2
            assert not here & set(other.clusters[groups != group])


def test_bad_tables_are_refused():
    table, own = np.eye(3), np.arange(3)
    with pytest.raises(PhospheneError, match="did you mean 'pixcorr'"):
        paired.question("pixcor", table, own, own)
    with pytest.raises(PhospheneError, match="never sees which EEG"):
        paired.question("fid", table, own, own)
    with pytest.raises(PhospheneError, match="do not fit"):
        paired.question("ssim", table, own[1:], own)
    with pytest.raises(PhospheneError, match="of one network"):
        paired.two_way(np.eye(3), np.eye(4))
    with pytest.raises(PhospheneError, match="another picture"):
        paired.two_way(np.ones((2, 3)), np.ones((1, 3)))


def outputs(n=12, n_classes=30, seed=0):
    return np.random.default_rng(seed).standard_normal((n, n_classes))


@settings(max_examples=25)
@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 2**31))
def test_n_way_is_the_mean_over_all_draws(n, k, seed):
    k = min(k, n)
    values = outputs(3, 30, seed)
    target = np.random.default_rng(seed).integers(30, size=4)
    table = nway.n_way(values, target, n, k)
    for i in range(3):
        for j, wanted in enumerate(target):
            better = int((values[i] > values[i, wanted]).sum())
            assert table[i, j] == pytest.approx(hypergeom.cdf(k - 1, 29, better, n - 1))


def test_random_draws_approach_the_closed_form():
    values, target = outputs(), np.arange(12)
    closed = nway.n_way(values, target, 10, 2)[np.arange(12), np.arange(12)]
    drawn = nway.drawn_n_way(values, target, 10, 2, trials=2000, seed=1)
    np.testing.assert_allclose(drawn, closed, atol=0.05)
    np.testing.assert_array_equal(drawn, nway.drawn_n_way(values, target, 10, 2, trials=2000, seed=1))
    certain = np.isin(closed, (0, 1))
    np.testing.assert_array_equal(drawn[certain], closed[certain])


def test_n_way_over_all_classes_is_top_k_and_chance_is_k_of_n():
    values = outputs()
    table = nway.n_way(values, np.arange(30), 30, 5)
    np.testing.assert_allclose(table, np.argsort(np.argsort(-values, axis=1), axis=1) < 5)
    np.testing.assert_allclose(nway.n_way(values, np.arange(30), 10, 3).mean(1), 0.3)


def test_the_target_is_the_judges_or_the_data_sets():
    real = np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]])
    np.testing.assert_array_equal(nway.judged(real), [1, 0])
    drawn = np.array([[0.1, 0.8, 0.1]])
    assert nway.n_way(drawn, nway.judged(real), 3)[0, 0] == 1  # the judge agrees with itself ...
    assert nway.n_way(drawn, np.array([2, 0]), 3)[0, 0] == 0  # ... while both are wrong


def test_bad_n_way_is_refused():
    for call in (nway.n_way, nway.drawn_n_way):
        with pytest.raises(PhospheneError, match="2 to 30"):
            call(outputs(), np.arange(12), 31)
        with pytest.raises(PhospheneError, match="from 0 to 29"):
            call(outputs(), np.full(12, 30))
        with pytest.raises(PhospheneError, match="from 0 to 29"):
            call(outputs(), np.full(12, 1.0))
    with pytest.raises(PhospheneError, match="k must be 1 to 10"):
        nway.n_way(outputs(), np.arange(12), 10, 11)
    with pytest.raises(PhospheneError, match="hold NaN"):
        nway.n_way(outputs() * np.nan, np.arange(12))


def test_lpips_gives_the_network_minus_one_to_one():
    seen = []

    def model(a, b):
        seen.extend([a, b])
        return (a - b).abs().mean((1, 2, 3), keepdim=True)

    rng = np.random.default_rng(0)
    drawn, real = rng.random((5, 3, 16, 16)), rng.random((4, 3, 16, 16))
    drawn[0], real[0] = 0, 1
    table = perceptual.lpips_distance(drawn, real, model=model, side=16, batch_size=3)
    assert table[0, 0] == pytest.approx(2)
    assert (min(float(t.min()) for t in seen), max(float(t.max()) for t in seen)) == (-1, 1)
    truth = np.array([0, 1, 2, 3, 1])
    alone = perceptual.lpips_distance(drawn, real, truth, model=model, side=16)
    np.testing.assert_allclose(alone, table[np.arange(5), truth], rtol=1e-6)


def test_exact_match_of_slots():
    said = {"ObjectSnap": ["A red  car", "a dog"], "ThemeTag": ["calm", "calm"]}
    true = {"ObjectSnap": ["a red car", "a cat"], "ThemeTag": ["calm", "wild"]}
    tables = captions.exact_match_by_slot(said, true)
    np.testing.assert_array_equal(tables["ObjectSnap"], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(tables["ThemeTag"], [[1, 0], [1, 0]])
    with pytest.raises(PhospheneError, match="slot 'ThemeTag' is on one side only"):
        captions.exact_match_by_slot(said, {"ObjectSnap": true["ObjectSnap"]})


def test_clipscore_is_clipped_and_scaled():
    pictures, texts = np.array([[2.0, 0.0]]), np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(captions.clipscore(pictures, texts), [[2.5, 0, 2.5 / np.sqrt(2)]])
    with pytest.raises(PhospheneError, match="one CLIP for both"):
        captions.clipscore(pictures, np.ones((1, 3)))


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("torchvision", lambda: networks.load("alexnet2_2way")),
        ("torchvision", lambda: perceptual.load_lpips()),
        ("nltk", lambda: captions.bleu(["a"], ["a"])),
        ("nltk", lambda: captions.meteor(["a"], ["a"])),
        ("rouge_score", lambda: captions.rouge_l(["a"], ["a"])),
    ],
)
def test_an_absent_library_is_one_line(package, call, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install 'phosphene\[metrics\]'"):
        call()


def test_features_of_a_layer_are_what_the_layer_gives():
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.avgpool = torch.nn.AdaptiveAvgPool2d(1)
            self.fc = torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(self.avgpool(x).flatten(1))

    grey = np.full((5, 3, 256, 256), 0.5, np.float32)
    read = networks.features("swav_distance", grey, model=Small(), batch_size=2)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(read, np.tile((0.5 - mean) / std, (5, 1)), atol=1e-5)
    with pytest.raises(PhospheneError, match="no module 'features.4'"):
        networks.features("alexnet2_2way", grey, model=Small())
    with pytest.raises(PhospheneError, match="did you mean 'alexnet5_2way'"):
        networks.features("alexnet5", grey)


def test_mini_features_tell_pictures_apart():
    scenes = [Scene(o, c, "beach", "left") for o in OBJECTS[:4] for c in list(COLOURS)[:2]]
    features = mini_features([draw(scene, 128) for scene in scenes])
    assert features.shape[0] == 8
    own = np.arange(8)
    assert paired.two_way(features, features)[own, own].mean() == 1


def test_every_metric_and_every_preset_is_on_the_page():
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [name for name in (*METRICS, *PRESETS) if f"`{name}`" not in page] == []


def test_the_table_of_metrics_is_whole():
    for name, row in METRICS.items():
        assert metric(name) is row
        card = row.card(200)
        assert card["n"] == 200
        assert all(str(card[key]) for key in ("label", "formula", "source", "library"))
        assert card["better"] in ("higher", "lower")
        assert row.paired != row.note.startswith("never sees which EEG")
        assert ("mini" in name) == ("(mini)" in row.label)
    assert {n for n, row in METRICS.items() if not row.higher_is_better} == {
        "effnet_distance",
        "swav_distance",
        "lpips_alex",
        "fid",
        "fid_mini",
        "fid_infinity",
        "fid_infinity_mini",
        "kid",
        "kid_mini",
        "kid_subsets",
    }
    of_networks = {n for n, row in METRICS.items() if row.backbone}
    assert of_networks >= {*networks.NETWORKS, "clip_2way", "lpips_alex", "ga_50way_top1", "fid", "kid", "is"}
    assert not of_networks & {"pixcorr", "ssim", "bleu4", "rouge_l", "meteor", "cider", "cider_d", "exact_match"}
    assert METRICS["pixcorr"].library.startswith("phosphene ")


@given(concepts=st.lists(st.integers(0, 6), min_size=2, max_size=40), block=st.integers(1, 12), seed=st.integers(0, 99))
def test_every_picture_is_in_one_block_and_no_block_is_of_one_concept(concepts, block, seed):
    truth = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(concepts)), 2))
    clusters = np.array(concepts)[truth]
    blocks = paired._blocks(truth, clusters, block)
    np.testing.assert_array_equal(np.sort(np.concatenate(blocks)), np.arange(len(concepts)))
    if len(set(concepts)) > 1:
        assert all(len({concepts[i] for i in pictures}) > 1 for pictures in blocks)
