"""Dominance, collapse and hallucination: planted faults are found, sound models are left alone; and t-SNE."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from phosphene.errors import PhospheneError
from phosphene.explain import figures
from phosphene.explain.collapse import collapse, linear_cka
from phosphene.explain.dominance import dominance
from phosphene.explain.embedding import embed
from phosphene.explain.hallucination import Judged, hallucination, scene_judge, zero_shot_judge
from phosphene.simulate.scenes import draw, sample_scenes

HEADS = ("ObjectSnap", "SpatialLink", "ThemeTag")
LEVELS = dict(zip(HEADS, ("object", "spatial", "thematic"), strict=True))


def captions(seed: int, n: int = 60, dim: int = 12, repeats: int = 2):
    """Targets with a part that the heads share, by trial, and each trial's picture."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, dim))
    picture = np.repeat(np.arange(n), repeats)
    return {h: (0.6 * shared + rng.normal(size=(n, dim)))[picture] for h in HEADS}, picture, rng


def noisy(targets, rng, noise=1.0):
    return {h: t + noise * rng.normal(size=t.shape) for h, t in targets.items()}


# -- dominance -----------------------------------------------------------------------------------


def test_a_head_of_tight_captions_does_not_win_by_them():
    targets, picture, rng = captions(0)
    targets["ThemeTag"] = targets["ThemeTag"] + 8.0  # all captions look alike: every cosine is high
    decoded = {h: t[rng.permutation(len(t))] for h, t in targets.items()}
    decoded["ObjectSnap"] = noisy(targets, rng)["ObjectSnap"]
    raw = {
        h: np.sum(decoded[h] * t, 1) / np.linalg.norm(decoded[h], axis=1) / np.linalg.norm(t, axis=1)
        for h, t in targets.items()
    }
    assert (raw["ThemeTag"] > raw["ObjectSnap"]).mean() > 0.8
    table = dominance(decoded, targets, picture).table.set_index("head")
    assert table["share"].idxmax() == "ObjectSnap"
    assert table.loc["ObjectSnap", "ci_low"] > 0.6
    assert table.loc["ObjectSnap", "p"] < 0.01
    assert table.loc["ThemeTag", "p"] > 0.05


def test_heads_that_know_nothing_are_not_called_dominant():
    alarms, chance = 0, []
    for seed in range(30):
        targets, picture, rng = captions(seed, n=40)
        decoded = {h: rng.normal(size=t.shape) for h, t in targets.items()}
        table = dominance(decoded, targets, picture, n_null=100, seed=seed).table
        alarms += (table["p"] <= 0.05).sum()
        chance.append(table["chance"].to_numpy())
    assert alarms <= 10  # 4.5 expected of 90
    np.testing.assert_allclose(np.mean(chance, axis=0), 1 / 3, atol=0.03)


def test_dominance_finds_the_planted_head_in_every_repeat():
    for seed in range(10):
        targets, picture, rng = captions(seed)
        decoded = noisy(targets, rng, 3.0)
        decoded["SpatialLink"] = noisy(targets, rng, 0.7)["SpatialLink"]
        table = dominance(decoded, targets, picture, n_null=60).table.set_index("head")
        assert table["share"].idxmax() == "SpatialLink"
        assert table.loc["SpatialLink", "p"] < 0.05


def test_ties_are_shared_and_levels_add_up():
    targets, picture, _ = captions(3)
    same = {h: targets["ObjectSnap"] for h in HEADS}
    found = dominance(same, same, picture, n_null=20)
    np.testing.assert_allclose(found.table["share"], 1 / 3)
    silent = dominance({**same, "ThemeTag": np.zeros_like(same["ThemeTag"])}, same, picture, n_null=20)
    assert not silent.z[:, 2].any()  # a head that says nothing stands at its null
    by_level = found.by_level({"ObjectSnap": "object", "SpatialLink": "object", "ThemeTag": "thematic"})
    np.testing.assert_allclose(by_level["share"], [2 / 3, 1 / 3])
    assert len(figures.dominant(found).axes) == 1


def test_a_picture_without_a_stranger_is_told():
    targets, picture, _ = captions(4)
    targets["ThemeTag"] = np.ones_like(targets["ThemeTag"])
    with pytest.raises(PhospheneError, match="shares a caption with every other"):
        dominance(targets, targets, picture)
    with pytest.raises(PhospheneError, match="must agree"):
        dominance(targets, {h: t[:5] for h, t in targets.items()}, picture)


# -- collapse ------------------------------------------------------------------------------------


def test_cka_knows_rotation_scale_and_chance():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 80, 40))
    turn = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    assert linear_cka(x, 3 * x @ turn + 5) == pytest.approx(1)
    assert linear_cka(x, 3 * x @ turn, debiased=False) == pytest.approx(1)
    assert abs(linear_cka(x, noise)) < 0.1
    a, b = x - x.mean(0), noise - noise.mean(0)
    textbook = np.linalg.norm(b.T @ a) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    assert linear_cka(x, noise, debiased=False) == pytest.approx(textbook)
    assert textbook > 0.25  # the plain formula: high by chance
    assert np.isnan(linear_cka(x, np.ones((80, 3))))


def collapsed_by(strength: float, seed: int, **more):
    """Decoded heads that share ``strength`` of what they say; 1 is one vector for all heads."""
    targets, picture, rng = captions(seed)
    own = noisy(targets, rng)
    common = own["ObjectSnap"]
    decoded = {h: (1 - strength) * own[h] + strength * common for h in HEADS}
    return collapse(decoded, targets, picture, LEVELS, seed=seed, **more)


def test_collapse_fires_on_equal_heads_and_not_on_sound_ones():
    assert sum(collapsed_by(0.0, seed).collapsed for seed in range(20)) == 0
    assert sum(collapsed_by(0.9, seed).collapsed for seed in range(20)) == 20
    assert np.mean([collapsed_by(1.0, seed).index for seed in range(5)]) == pytest.approx(1, abs=1e-6)


def test_collapse_grows_with_its_strength_and_shows_in_the_silhouette():
    index = [collapsed_by(s, 1).index for s in (0.0, 0.3, 0.6, 0.9)]
    assert np.all(np.diff(index) > 0)
    targets, picture, rng = captions(2)
    apart = {h: t + 6 * np.eye(12)[i] for i, (h, t) in enumerate(targets.items())}
    sound = collapse(noisy(apart, rng, 0.3), apart, picture, LEVELS)
    equal = collapse({h: apart["ThemeTag"] for h in HEADS}, apart, picture, LEVELS)
    assert sound.silhouette["decoded, head"] > 0.4
    assert equal.silhouette["decoded, head"] < 0.05
    assert equal.collapsed
    assert not sound.collapsed
    json.dumps(equal.facts())
    assert len(equal.frame()) == 3
    assert [ax.get_title() for ax in figures.overlap(equal).axes[:2]] == ["decoded", "captions"]


def test_collapse_is_no_matter_of_rotation_and_a_constant_head_is_one():
    targets, picture, rng = captions(5)
    turned = {h: targets["ObjectSnap"] @ np.linalg.qr(rng.normal(size=(12, 12)))[0] for h in HEADS}
    assert collapse(turned, targets, picture).collapsed
    still = {**noisy(targets, rng), "ThemeTag": np.ones((len(picture), 12))}
    found = collapse(still, targets, picture)
    assert found.constant == ("ThemeTag",)
    assert found.collapsed
    with pytest.raises(PhospheneError, match="needs 2 heads and 40 pictures"):
        collapse({h: t[:20] for h, t in targets.items()}, {h: t[:20] for h, t in targets.items()}, picture[:20])


# -- hallucination -------------------------------------------------------------------------------


def judged(rng, wrong: float, blurred: float, n: int = 150):
    """A generator that draws another object in ``wrong`` of its pictures, and none in ``blurred`` of them."""
    names = np.array([f"object {i}" for i in range(20)])
    seen = rng.choice(names, n)
    labels = np.where(rng.uniform(size=n) < wrong, rng.choice(names, n), seen)
    confidence = rng.uniform(0.9, 1.0, n)
    out = rng.uniform(size=n) < blurred
    labels = np.where(out, rng.choice(names, n), labels)
    confidence = np.where(out, rng.uniform(0.1, 0.5, n), confidence)
    true = rng.choice(names, 200)
    real = Judged(np.where(rng.uniform(size=200) < 0.01, rng.choice(names, 200), true), rng.uniform(0.88, 1.0, 200))
    return hallucination(Judged(labels, confidence), seen, real, true, n_perm=100)


def test_hallucination_fires_on_sharp_wrong_pictures_and_on_no_others():
    def fired(**kind):
        return sum(judged(np.random.default_rng(seed), **kind).hallucinates for seed in range(20))

    assert fired(wrong=0.35, blurred=0.0) == 20
    assert fired(wrong=0.03, blurred=0.0) == 0
    assert fired(wrong=0.0, blurred=1.0) == 0  # nothing to be seen is another fault


def test_hallucination_stands_against_dealing_at_random():
    half = judged(np.random.default_rng(0), wrong=0.5, blurred=0.0)
    none = [judged(np.random.default_rng(seed), wrong=1.0, blurred=0.0) for seed in range(30)]
    assert half.rate < 0.7 * half.shuffled
    assert half.p < 0.02
    assert np.mean([found.rate - found.shuffled for found in none]) == pytest.approx(0, abs=0.01)
    assert sum(found.p <= 0.05 for found in none) <= 5  # 1.5 expected of 30
    assert half.rate == half.table["hallucinated"].mean() == pytest.approx(half.sharp * half.wrong_if_sharp)
    json.dumps(half.facts())


def test_the_judge_of_scenes_tells_sharp_and_wrong_from_blurred():
    scenes = sample_scenes(80, seed=3)
    pictures = [draw(scene) for scene in scenes]
    seen = np.array([scene.object for scene in scenes])
    judge = scene_judge()
    real = judge(pictures)
    say = lambda drawn: hallucination(judge(drawn), seen, real, seen, n_perm=50)  # noqa: E731
    right, wrong = say(pictures), say(pictures[1:] + pictures[:1])
    blurred = say([p.filter(ImageFilter.GaussianBlur(p.width / 6)) for p in pictures])
    assert not right.hallucinates
    assert wrong.hallucinates
    assert wrong.rate > 0.8
    assert not blurred.hallucinates
    with pytest.raises(PhospheneError, match="names no 'objekt'"):
        scene_judge("objekt")


def test_zero_shot_labels():
    names, texts = ["red", "green", "blue"], torch.eye(3)

    def mean_colour(pictures):
        return torch.tensor(np.array([np.asarray(p).mean(axis=(0, 1)) for p in pictures]))

    judge = zero_shot_judge(mean_colour, names, texts)
    labels, confidence = judge([Image.new("RGB", (4, 4), c) for c in ("red", "blue", "grey")])
    assert labels[:2].tolist() == ["red", "blue"]
    assert confidence[0] > 0.99
    assert confidence[2] == pytest.approx(1 / 3)
    with pytest.raises(PhospheneError, match="2 names and 3"):
        zero_shot_judge(mean_colour, names[:2], texts)


def test_wrong_lengths_are_told():
    word = Judged(np.array(["a", "b"]), np.array([0.9, 0.8]))
    with pytest.raises(PhospheneError, match="2 drawings were judged and 1 seen"):
        hallucination(word, ["a"], word, ["a", "b"])
    with pytest.raises(PhospheneError, match="calibrate the judge"):
        hallucination(word, ["a", "b"], word, ["a"])


# -- t-SNE ---------------------------------------------------------------------------------------


def test_neighbours_stay_neighbours_and_the_seed_decides():
    rng = np.random.default_rng(0)
    labels = np.repeat(["house", "face"], 25)
    vectors = {
        h: rng.normal(size=(50, 8)) + 4 * (labels == "face")[:, None] * np.eye(8)[0] - 2 * np.eye(8)[0]
        for h in HEADS[:2]
    }
    found = embed(vectors, labels, perplexity=10, seed=4)
    for _, rows in found.table.groupby("head"):
        xy = rows[["x", "y"]].to_numpy()
        distance = np.linalg.norm(xy[:, None] - xy[None], axis=-1) + 1e9 * np.eye(len(xy))
        assert (labels[distance.argmin(axis=1)] == labels).mean() > 0.9
    assert found.facts()["perplexity"] == 10
    assert found.facts()["seed"] == 4
    again = embed(vectors, labels, perplexity=10, seed=4)
    np.testing.assert_array_equal(found.table["x"], again.table["x"])
    joint = embed(vectors, labels, joint=True, perplexity=10)
    assert list(joint.divergence) == ["all"]
    assert [ax.get_title() for ax in figures.scatter(found).axes] == list(vectors)
    assert [ax.get_title() for ax in figures.scatter(joint, LEVELS).axes] == ["all heads"]
    with pytest.raises(PhospheneError, match="more points than 50"):
        embed(vectors, labels, perplexity=50)
    with pytest.raises(PhospheneError, match="different size"):
        embed({"a": np.ones((50, 3)), "b": np.ones((50, 4))}, labels, joint=True)
