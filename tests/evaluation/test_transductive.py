"""Scores of a whole test set at once: published embeddings, known answers, invariants, and chance."""

import os
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from phosphene.errors import PhospheneError
from phosphene.evaluation import retrieval, scores, transductive
from phosphene.utils.restricted import read_torch

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
THINGS = SHARED / "data" / "things-eeg2-embeddings" / "atm"
NAMES = [f"transductive_{n}" for n in ("centred_top1", "centred_top5", "csls_top1", "csls_top5", "assignment_top1")]


def asked(decoded, gallery, truth=None):
    truth = np.arange(len(decoded)) if truth is None else truth
    found = transductive.questions(decoded, gallery, truth, np.arange(len(gallery)).astype(str), "mini")
    return {question.metric: question for question in found}


def made(n=40, dim=30, noise=2.0, seed=0):
    """Decoded vectors of which many are near to the same few pictures."""
    rng = np.random.default_rng(seed)
    gallery = rng.standard_normal((n, dim)) + 0.7 * rng.standard_normal(dim)
    return gallery + noise * rng.standard_normal((n, dim)) + rng.standard_normal(dim), gallery


@pytest.mark.skipif(not THINGS.is_dir(), reason=f"the published embeddings are not at {THINGS}")
@pytest.mark.parametrize(
    ("features", "raw", "cosine", "of_set"),
    [
        ("ViT-H-14_img_features_test_unnormalised.pt", 0.33, 0.335, (0.38, 0.475, 0.695)),
        ("ViT-H-14_features_test.pt", 0.36, 0.36, (0.405, 0.49, 0.70)),
    ],
)
def test_published_embeddings_of_subject_8(features, raw, cosine, of_set):
    """The first row is the specification's; the second file holds the features of other crops of the pictures."""
    eeg, images = (read_torch(THINGS / name) for name in ("ATM_S_eeg_features_sub-08_test.pt", features))
    images = images["img_features"] if isinstance(images, dict) else images
    own = np.arange(200)
    assert retrieval.top_k(retrieval.ranks(eeg @ images.T).of(own), 1).mean() == pytest.approx(raw)
    assert retrieval.top_k(retrieval.ranks(retrieval.cosine(eeg, images)).of(own), 1).mean() == pytest.approx(cosine)
    found = asked(eeg, images)
    for name, value in zip(("centred", "csls", "assignment"), of_set, strict=True):
        row = found[f"transductive_{name}_top1"].answer(n_boot=200, n_perm=99)
        assert row["value"] == pytest.approx(value)
        assert row["chance"] == pytest.approx(1 / 200)
        assert row["ci_low"] < value < row["ci_high"]
        assert row["p"] == pytest.approx(1 / 100)


def test_csls_by_its_formula():
    s = retrieval.cosine(*made(7, 4))
    for k in (1, 3, 100):
        n = min(k, 7)
        by_hand = np.array(
            [
                [2 * s[i, j] - np.mean(sorted(s[i])[-n:]) - np.mean(sorted(s[:, j])[-n:]) for j in range(7)]
                for i in range(7)
            ]
        )
        np.testing.assert_allclose(transductive.csls(s, k), by_hand, atol=1e-12)
    with pytest.raises(PhospheneError, match="give 1 or more"):
        transductive.csls(s, 0)


def test_a_common_offset_is_taken_off_and_hubs_are_punished():
    rng = np.random.default_rng(0)
    gallery = np.eye(12) + 0.01 * rng.standard_normal((12, 12))
    shifted = gallery + np.eye(12)[0] * 1.1  # every query is nearest to picture 0
    assert retrieval.cosine(shifted, gallery).argmax(1).tolist() == [0] * 12
    found = asked(shifted, gallery)
    for metric in ("transductive_centred_top1", "transductive_csls_top1", "transductive_assignment_top1"):
        assert found[metric].value == 1.0


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(0, 2), st.integers(0, 2**31))
def test_the_matching_is_the_best_of_all(n, more, seed):
    s = np.random.default_rng(seed).standard_normal((n, n + more))
    table = transductive.assignment(s)
    assert (table.sum(axis=1) == 1).all()
    assert (table.sum(axis=0) <= 1).all()
    best = max(s[np.arange(n), list(order)].sum() for order in permutations(range(n + more), n))
    assert (table * s).sum() == pytest.approx(best)


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_lengths_and_the_order_of_queries_change_nothing(seed):
    decoded, gallery = made(20, 10, seed=seed % 1000)
    rng = np.random.default_rng(seed)
    order, size = rng.permutation(20), rng.uniform(0.1, 9, (20, 1))
    first, second = asked(decoded, gallery), asked((size * decoded)[order], 3 * gallery, truth=order)
    assert list(first) == list(second) == NAMES
    for name in NAMES:
        np.testing.assert_allclose(second[name].table, first[name].table[order], atol=1e-9)


def test_a_constant_decoder_scores_chance():
    ps = []
    for seed in range(8):
        _, gallery = made(20, seed=seed)
        for decoded in (np.ones((20, 30)), np.zeros((20, 30))):
            found = asked(decoded, gallery)
            for name in NAMES[:4]:
                assert found[name].value == pytest.approx(int(name[-1]) / 20)
            assert found[NAMES[4]].value < 0.15  # the mean of fifty random matchings: 0.05, give or take 0.01
            ps.append(found[NAMES[4]].answer(n_perm=200)["p"])
    assert np.mean(ps) > 0.3  # about uniform: how a processor rounds draws other matchings
    with pytest.raises(PhospheneError, match="hold NaN"):
        transductive.assignment(np.full((2, 2), np.nan))


def test_chance_of_a_matching_without_signal():
    """It finds about a Poisson number of mean 1, whatever the size of the set, and p is the tail of that."""
    rng = np.random.default_rng(0)
    table = transductive.assignment(rng.standard_normal((60, 60)))
    given_to = table.argmax(axis=1)
    for hits in (0, 2, 4):
        truth = np.concatenate([given_to[:hits], np.roll(given_to[hits:], 1)])
        question = transductive.Matched("transductive_assignment_top1", table, truth, np.arange(60))
        assert question.value == pytest.approx(hits / 60)
        row = question.answer(n_boot=50, n_perm=2000)
        assert row["chance"] == pytest.approx(1 / 60)
        assert row["p"] == pytest.approx(poisson.sf(hits - 1, 1.0), abs=0.04)


def test_p_is_small_with_signal_and_not_without():
    decoded, gallery = made(noise=1.5)
    rng = np.random.default_rng(1)
    for name in NAMES:
        assert asked(decoded, gallery)[name].answer(n_boot=20, n_perm=99)["p"] == pytest.approx(0.01)
    ps = [
        asked(rng.standard_normal((40, 30)), gallery)[name].answer(n_boot=2, n_perm=99)["p"]
        for _ in range(6)
        for name in NAMES
    ]
    assert np.mean(ps) > 0.3


def test_the_interval_of_a_matching_counts_errors_in_pairs_and_stays_in_range():
    decoded, gallery = made(noise=2.0)
    matched = asked(decoded, gallery)["transductive_assignment_top1"]
    plain = scores.Question(matched.metric, matched.table, matched.truth, matched.clusters)
    own, other = (q.answer(n_boot=500, n_perm=9) for q in (matched, plain))
    assert own["ci_high"] - own["value"] == pytest.approx(np.sqrt(2) * (other["ci_high"] - other["value"]))
    assert own["value"] == other["value"]
    certain = asked(gallery, gallery)["transductive_assignment_top1"]
    sure, k = certain.answer(n_boot=50, n_perm=9), len(set(certain.clusters))
    assert (sure["value"], sure["ci_high"]) == (1, 1)
    assert 1 - sure["ci_low"] == pytest.approx(np.sqrt(2) * (1 - 0.025 ** (1 / k)))  # Clopper-Pearson's, of k concepts


def test_subjects_are_corrected_apart_and_scored_together():
    sets = [made(seed=s) for s in (0, 1)]
    by_subject = [asked(*one) for one in sets]
    for name in NAMES:
        joint = by_subject[0][name].join([by_subject[1][name]])
        assert joint.value == pytest.approx(np.mean([own[name].value for own in by_subject]))
        assert type(joint) is type(by_subject[0][name])
    apart = asked(*(np.concatenate(side) for side in zip(*sets, strict=True)))
    assert any(apart[n].value != pytest.approx(np.mean([own[n].value for own in by_subject])) for n in NAMES)


def test_what_cannot_be_asked_is_left_out():
    decoded, gallery = made(5)
    assert list(asked(decoded, gallery)) == [NAMES[0], NAMES[2], NAMES[4]]
    twice = asked(np.repeat(decoded, 2, axis=0), gallery, truth=np.repeat(np.arange(5), 2))
    assert list(twice) == [NAMES[0], NAMES[2]]
    with pytest.raises(PhospheneError, match="average the repeats"):
        transductive.assignment(np.ones((3, 2)))
    assert all(name.startswith(transductive.PREFIX) for name in NAMES)
