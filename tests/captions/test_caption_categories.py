"""Captions of categories: the shipped table, two-class scores, and heads that hear one EEG."""

import numpy as np
import pandas as pd
import pytest

from phosphene.captions import CaptionTable, join
from phosphene.evaluation.categories import TwoCategories, reached
from phosphene.evaluation.classification import shuffle_within
from phosphene.evaluation.scores import by_level, categories, ranked_captions
from phosphene.runs.decoded import stand_for_categories
from phosphene.runs.preparation import slots_of
from phosphene.runs.recipe import Recipe


def test_the_packages_table_says_each_slot_of_the_recipe_differently():
    recipe = Recipe.read("muse-semantic-prompts", {"dataset.root": "somewhere"})
    table = CaptionTable.read(recipe.captions).table
    for slot in slots_of(recipe):
        assert table.at["house", slot] != table.at["face", slot] != ""
    assert join.fingerprint(recipe.captions) == join.fingerprint(join.SHIPPED[recipe.captions])


def test_two_categories_are_scored_within_runs_and_chance_is_widened_where_folds_cross():
    rng = np.random.default_rng(0)
    truth, runs = np.tile([0, 1], 60), np.repeat(["a", "b", "c"], 40)
    offset = np.repeat([0.0, 9.0, -9.0], 40)  # between runs: neither skill nor failure
    perfect = TwoCategories("auc", truth + offset, truth, runs).answer(n_boot=50, n_perm=99)
    assert (perfect["value"], perfect["chance"], perfect["n"], perfect["p"]) == (1.0, 0.5, 120, 0.01)
    weak = 0.35 * truth + rng.standard_normal(120)
    p = {
        crossed: TwoCategories("auc", weak, truth, runs, crossed).answer(n_boot=50, n_perm=400)["p"]
        for crossed in (False, True)
    }
    assert p[False] < p[True]
    joined = TwoCategories("auc", weak[:40], truth[:40], runs[:40]).join(
        [TwoCategories("auc", weak[40:], truth[40:], runs[40:], True)]
    )
    assert joined.crossed
    assert joined.value == TwoCategories("auc", weak, truth, runs).value


def test_widened_chance_raises_no_more_false_alarms_than_it_says():
    """Labels mean nothing, and each run is read by what the others' labels gave: 5 % should come below 0.05."""
    rng, runs = np.random.default_rng(1), np.repeat(np.arange(6), 20)
    p = {False: [], True: []}
    for _ in range(150):
        x = rng.standard_normal((120, 20))
        truth = rng.permuted(np.tile([0, 1], (6, 10)), axis=1).ravel()
        sign = 2 * truth - 1
        evidence = np.concatenate([x[runs == r] @ (sign[runs != r] @ x[runs != r]) for r in range(6)])
        null = [np.mean((2 * shuffle_within(truth, runs, rng) - 1) * evidence) for _ in range(60)]
        for crossed in p:
            p[crossed].append(reached(np.mean(sign * evidence), np.array(null), crossed))
    assert np.mean(np.array(p[False]) < 0.05) > 0.08
    assert np.mean(np.array(p[True]) < 0.05) < 0.08


def test_heads_of_a_level_exchange_their_truths_together():
    """Two heads that always agree are one head: taken together they have its p, not that of twice the samples."""
    rng = np.random.default_rng(0)
    truth, trials = rng.integers(0, 2, 60), np.arange(60)
    decided = np.where(rng.random(60) < 0.62, truth, 1 - truth)
    heads = [ranked_captions(np.eye(2)[decided], truth, trials, slot)[0] for slot in ("ObjectSnap", "KindName")]
    (level,) = by_level(heads, {"ObjectSnap": "object", "KindName": "object"})
    one, both = heads[0].answer(n_boot=50, n_perm=300), level.answer(n_boot=50, n_perm=300)
    assert level.metric == "captions_object_top1"
    assert {k: both[k] for k in ("value", "n", "chance", "p")} == {k: one[k] for k in ("value", "n", "chance", "p")}


def test_heads_of_a_level_may_hold_different_samples():
    first = ranked_captions(np.eye(2)[[0, 1, 1]], np.array([0, 1, 0]), np.arange(3), "ObjectSnap", samples=np.arange(3))
    other = ranked_captions(np.eye(2)[[0, 0]], np.array([0, 1]), np.arange(1, 3), "KindName", samples=np.array([1, 2]))
    (level,) = by_level([*first, *other], {"ObjectSnap": "object", "KindName": "object"})
    assert level.samples.tolist() == [0, 1, 2]
    assert level.value == pytest.approx(np.mean([1, (1 + 1) / 2, 0]))


def test_categories_stand_for_no_pictures():
    gallery = pd.DataFrame({"concept": ["house", "face"], "image": ""}, index=["house", "face"])
    assert stand_for_categories(gallery)
    assert not stand_for_categories(gallery.assign(image=["a.png", "b.png"]))
    assert not stand_for_categories(gallery.assign(concept="house"))
    similarity = np.array([[0.2, 0.1], [0.0, 0.3], [0.3, 0.4], [0.1, 0.5]])
    found = categories(similarity, np.array([0, 1, 0, 1]), np.array(["a"] * 4), np.arange(4))
    assert [q.metric for q in found] == ["concept_top1", "auc", "auc_pooled", "balanced_accuracy"]
    assert [q.value for q in found] == [0.75, 1.0, 1.0, 0.75]
