"""Faults of published evaluations (validity audit, "faults readable in public code"): ours has none of them, and each
preset has its own."""

import numpy as np
import pytest
import torch

from phosphene.errors import PhospheneError
from phosphene.evaluation import retrieval
from phosphene.evaluation.metrics import METRICS, captions, distributions, nway, paired, perceptual, pictures, pixels
from phosphene.evaluation.metrics.inception import FEATURES, torchvision_features
from phosphene.evaluation.metrics.presets import PRESETS, preset
from phosphene.evaluation.scores import picture_retrieval


def some(n, seed=0, side=8):
    return np.random.default_rng(seed).random((n, 3, side, side)).astype(np.float32)


def test_a_gallery_of_test_answers_is_told():
    training, test = ["a dog", "a cat", "a car"], ["a dog", "a piano", "a piano"]
    gallery = preset("as-in-catvis").measures["gallery"](test)
    assert gallery == ["a dog", "a piano"]
    assert captions.gallery_leak(gallery, training) == 0.5
    assert captions.gallery_leak(training, training) == 0
    with pytest.raises(PhospheneError, match="gallery is empty"):
        captions.gallery_leak([], training)


def test_is_has_ten_splits_and_the_old_one_has_none():
    logits = 2 * np.random.default_rng(0).standard_normal((200, 40))
    split, _ = distributions.inception_score(logits)
    old = preset("as-in-brainvis-gwit").measures["is"](logits)
    assert old == pytest.approx(distributions.inception_score(logits, splits=1)[0])
    assert split < old  # the mean of 20 pictures hides part of the spread between classes
    assert "10 splits" in METRICS["is"].formula


def test_is_sees_the_order_of_files_only_through_its_seed():
    by_class = 3 * np.eye(10)[np.repeat(np.arange(10), 20)]
    assert distributions.inception_score(by_class, seed=None)[0] == pytest.approx(1, abs=1e-9)
    assert distributions.inception_score(by_class)[0] > 1.5


def test_is_is_of_a_classifiers_output_and_the_old_input_is_not_normalised():
    assert FEATURES["is"] == "logits_unbiased"  # 1008 classes, not 2048 features

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.avgpool = torch.nn.AdaptiveAvgPool2d(1)

        def forward(self, x):
            return self.avgpool(x).flatten(1)

    shown = np.full((2, 3, 299, 299), 0.5, np.float32)
    old = torchvision_features(shown, logits=True, model=Mean())
    np.testing.assert_allclose(old, 0.5, atol=1e-5)
    right = torchvision_features(shown, logits=True, normalised=True, model=Mean())
    np.testing.assert_allclose(right[0], (0.5 - np.array([0.485, 0.456, 0.406])) / (0.229, 0.224, 0.225), atol=1e-4)
    with pytest.raises(PhospheneError, match="logits hold NaN"):
        distributions.inception_score(np.full((20, 5), np.nan))


def test_fid_has_2048_features_and_not_64():
    assert FEATURES["fid"] == FEATURES["kid"] == "2048"
    assert "2048" in METRICS["fid"].backbone
    with pytest.raises(PhospheneError, match="64 features, not 2048"):
        preset("as-in-dreamdiffusion").measures["fid"](np.zeros((4, 2048)), np.zeros((4, 2048)))


def test_stand_in_features_are_never_called_fid():
    assert METRICS["fid_mini"].label == "FID (mini)"
    assert METRICS["kid_mini"].label == "KID (mini)"
    assert METRICS["fid_mini"].backbone == METRICS["kid_mini"].backbone == "mini"


def test_the_two_targets_of_generation_accuracy_have_two_names():
    assert "argmax" in METRICS["ga_50way_top1"].formula
    assert "label" in METRICS["ga_50way_top1_label"].formula


def test_fifty_ways_are_not_fifty_classes():
    """The classifier has 1000 classes, of which 50 are drawn; none is cut off or out of range."""
    sure = np.full((3, 1000), -5.0)
    target = np.array([3, 49, 999])
    sure[np.arange(3), target] = 5
    assert nway.n_way(sure, target, 50).diagonal().tolist() == [1, 1, 1]
    assert nway.n_way(-sure, target, 50).diagonal().tolist() == [0, 0, 0]
    noise = np.random.default_rng(0).standard_normal((200, 1000))
    assert nway.n_way(noise, np.arange(1000), 50).mean() == pytest.approx(1 / 50)


def test_k_way_needs_no_draws_and_the_published_one_moves_with_its_seed():
    similarity = np.random.default_rng(0).standard_normal((60, 60)) + 1.5 * np.eye(60)
    closed = retrieval.k_way(retrieval.ranks(similarity).of(np.arange(60)), 10).mean()
    published = preset("as-in-atm").measures["image_top1_of_k"]
    values = [published(similarity, 10, seed=seed) for seed in range(60)]
    assert np.mean(values) == pytest.approx(closed, abs=4 * np.std(values) / np.sqrt(60))
    assert np.ptp(values) > 0.1  # from run to run
    whole = retrieval.top_k(retrieval.ranks(similarity).of(np.arange(60)), 5).mean()
    assert published(similarity, 60, top=5) == pytest.approx(whole)
    with pytest.raises(PhospheneError, match="2 to 60"):
        published(similarity, 61)


def hub():
    """EEG and pictures (20, 8) in which one picture is near to every EEG: the two directions differ."""
    rng = np.random.default_rng(0)
    pictures = np.eye(20, 21)
    eeg = pictures.copy()
    eeg[:, 20] = 2
    pictures[0, 20] = 5
    return eeg + 0.01 * rng.standard_normal(eeg.shape), pictures


def test_the_eeg_seeks_its_picture_and_not_the_reverse():
    eeg, pictures = hub()
    questions = {q.metric: q for q in picture_retrieval(eeg, pictures, np.arange(20), np.arange(20).astype(str), "")}
    ours = questions["image_top1"].answer(n_boot=10, n_perm=10)["value"]
    published = preset("as-in-synapse").measures["image_topk"](eeg, pictures)
    assert ours == pytest.approx(1 / 20)
    assert published > 0.9
    assert published == preset("as-in-synapse").measures["image_topk"](3 * eeg, pictures)


def test_a_search_is_among_the_whole_gallery_and_a_smaller_one_says_so():
    """Not among the few items of a batch."""
    eeg, pictures = hub()
    for question in picture_retrieval(eeg, pictures, np.arange(20), np.arange(20).astype(str), ""):
        assert question.table.shape == (20, 20)
        value = question.answer(n_boot=10, n_perm=10)
        if "_of_" in question.metric:
            assert value["chance"] == pytest.approx(1 / int(question.metric.rsplit("_", 1)[1]), abs=1e-9)
    assert {q.metric for q in picture_retrieval(eeg, pictures, np.arange(20), np.arange(20).astype(str), "")} >= {
        "image_top1",
        "image_top1_of_10",
    }


def test_empty_names_make_no_hit():
    """Were pictures compared by names, and all of these empty, every answer would be right."""
    rng = np.random.default_rng(0)
    eeg, pictures = rng.standard_normal((30, 8)), rng.standard_normal((30, 8))
    nameless = picture_retrieval(eeg, pictures, np.arange(30), np.full(30, ""), "")
    named = picture_retrieval(eeg, pictures, np.arange(30), np.arange(30).astype(str), "")
    assert [q.metric for q in nameless] == [q.metric for q in named]
    for one, other in zip(nameless, named, strict=True):
        np.testing.assert_array_equal(one.table, other.table)
        if one.metric == "image_top1":
            assert one.table[np.arange(30), one.truth].mean() < 0.3


def test_a_signal_by_its_own_maximum_is_the_preset_alone():
    """It makes two trials of one shape equal, however strong each is; ours are kept apart (see the data's own test)."""
    weak = np.random.default_rng(0).random((1, 4, 20))
    scaled = preset("as-in-eegstylegan").measures["signal"]
    np.testing.assert_allclose(scaled(np.concatenate([weak, 7 * weak]))[1], scaled(weak)[0])
    assert scaled(weak).max() == pytest.approx(1)
    assert scaled(weak).min() >= -1


def test_every_picture_counts_in_pixcorr():
    """Not the first 982 alone."""
    real = np.repeat(some(1), 984, axis=0)
    drawn = real.copy()
    drawn[982:] = 1 - drawn[982:]
    ours = [
        float(pixels.pixcorr(drawn[i], real[i], np.arange(2), side=8).mean()) for i in (slice(0, 2), slice(982, 984))
    ]
    assert ours == pytest.approx([1, -1], abs=1e-6)
    whole = (255 * drawn).astype(np.uint8)
    clamped = np.minimum(whole, 1).astype(np.float32)
    small = {"atm": preset("as-in-atm").measures["pixcorr"]}
    few = slice(0, 3)
    wanted = pixels.pixcorr(clamped[few], real[few], np.arange(3)).mean()
    assert small["atm"](whole[few], real[few]) == pytest.approx(wanted)


def test_the_published_loop_forgets_what_comes_after_982(monkeypatch):
    from phosphene.evaluation.metrics import presets

    seen = {}
    monkeypatch.setattr(
        presets.pixels, "pixcorr", lambda a, b, t: seen.update(n=(len(a), len(b), len(t))) or np.ones(1)
    )
    presets.atm_pixcorr(np.zeros((1000, 3, 2, 2), np.uint8), some(1000, side=2))
    assert seen["n"] == (982, 982, 982)


def test_eight_bits_are_divided_and_never_clamped():
    real = some(2)
    whole = (255 * real).astype(np.uint8)
    np.testing.assert_allclose(pictures.pixels(whole, 8), whole / 255, atol=1e-6)
    assert pixels.pixcorr(whole, real, np.arange(2), side=8).min() > 0.999
    with pytest.raises(PhospheneError, match="divide by 255"):
        pictures.pixels(whole.astype(np.float32), 8)
    assert set(np.unique(PRESETS["as-in-atm"].measures["pixcorr"].__globals__["clamped"](whole))) <= {0.0, 1.0}


def test_pairs_do_not_follow_the_order_of_a_listing(tmp_path, monkeypatch):
    from pathlib import Path

    from PIL import Image

    for folder in ("drawn", "real"):
        (tmp_path / folder).mkdir()
        for i in range(12):
            Image.new("RGB", (2, 2), (i, i, i)).save(tmp_path / folder / f"{i:02d}.png")
    plain, calls = Path.iterdir, []

    def scrambled(self):
        calls.append(self)
        return iter(np.random.default_rng(len(calls)).permutation(np.array(list(plain(self)), object)))

    monkeypatch.setattr(Path, "iterdir", scrambled)
    pairs = pictures.paired(tmp_path / "drawn", tmp_path / "real")
    assert [a.name for a, _ in pairs] == [b.name for _, b in pairs] == [f"{i:02d}.png" for i in range(12)]


def test_ties_are_no_hits():
    constant, real = np.ones((6, 5)), np.random.default_rng(0).standard_normal((6, 5))
    assert paired.two_way(constant, real).max() == 0
    assert nway.n_way(np.zeros((6, 10)), np.arange(6), 10).max() == pytest.approx(1 / 10)
    assert nway.drawn_n_way(np.zeros((6, 10)), np.arange(6), 10).max() == 0


def test_every_drawing_counts_in_two_way_and_distractors_are_real():
    """More drawings than pictures: each is asked, and none is a distractor."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal((4, 6))
    drawn = np.concatenate([real, real + 0.01, -real])
    table = paired.two_way(drawn, real)
    assert table.shape == (12, 4)
    own = np.tile(np.arange(4), 3)
    assert table[np.arange(12), own][:8].min() == 1
    assert table[np.arange(12), own][8:].max() == 0


def test_synapse_ga_leaves_the_last_item_out_and_ours_does_not():
    right = np.zeros((3, 2, 60))
    right[:, :, 7] = 1
    real = right[:, 0].copy()
    right[2] = -right[2]
    published = preset("as-in-synapse").measures["ga_50way_top1"]
    assert published(right, real) == 1
    ours = nway.n_way(right.reshape(6, 60), nway.judged(real), 50)[np.arange(6), np.repeat(np.arange(3), 2)]
    assert ours.mean() == pytest.approx(4 / 6)


def test_synapse_darkens_what_it_compares_with():
    from phosphene.evaluation.metrics.presets import darkened

    assert float(darkened(np.ones((1, 3, 4, 4)), 4).max()) * 255 == pytest.approx(191.25)
    assert float(darkened(np.zeros((1, 3, 4, 4)), 4).min()) == 0
    fid = preset("as-in-synapse").measures["fid"]
    with pytest.raises(PhospheneError, match="not 5 each"):
        fid(np.zeros((4, 2048)), np.zeros((4, 2048)))


def test_lpips_in_unit_range_is_the_preset_alone():
    seen = []

    def model(a, b):
        seen.append(float(a.min()))
        return (a - b).abs().mean((1, 2, 3), keepdim=True)

    black, white = np.zeros((2, 3, 8, 8)), np.ones((2, 3, 8, 8))
    published = preset("as-in-synapse").measures["lpips_alex"](black, white, model, side=8)
    ours = perceptual.lpips_distance(black, white, np.arange(2), model=model, side=8)
    np.testing.assert_allclose(ours, 2 * published)
    assert seen == [0, -1]


def test_presets_say_their_faults():
    for name, row in PRESETS.items():
        assert name == row.name
        assert name.startswith("as-in-")
        assert row.faults
        assert row.note().startswith(name)
        assert {fault.grade for fault in row.faults} <= {"C", "V", "D"}
        assert all("\n" not in fault.text for fault in row.faults)
    with pytest.raises(PhospheneError, match="did you mean 'as-in-atm'"):
        preset("as-in-atn")
