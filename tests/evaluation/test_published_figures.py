"""Figures measured on published embeddings and recordings, reproduced by the public calls.

Each stands with its interval, its chance level and its p, and beside it the same with the decoded side dealt to other
queries (a shuffled control), which must be at chance.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from phosphene.datasets.muse import Muse
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.evaluation import classification, retrieval
from phosphene.evaluation.metrics import paired
from phosphene.evaluation.protocols import Protocol
from phosphene.evaluation.scores import Question, caption_retrieval, picture_retrieval
from phosphene.methods.lda import LDA
from phosphene.utils.restricted import read_torch

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
THINGS = SHARED / "data" / "things-eeg2-embeddings"
MUSE = SHARED / "data" / "muse-visual"
needs_things = pytest.mark.skipif(not THINGS.is_dir(), reason=f"the published embeddings are not at {THINGS}")
needs_muse = pytest.mark.skipif(not MUSE.is_dir(), reason=f"the Muse recordings are not at {MUSE}")
OWN = np.arange(200)


@pytest.fixture(scope="module")
def space():
    """Name -> (200, dim), all rows in the order of the test concepts; ``concepts`` their names."""
    features = read_torch(THINGS / "atm" / "ViT-H-14_features_test.pt")
    with (THINGS / "test_concepts.tsv").open(encoding="utf-8") as file:
        concepts = np.array([row["concept"] for row in csv.DictReader(file, delimiter="\t")])
    return {
        "eeg": read_torch(THINGS / "atm" / "ATM_S_eeg_features_sub-08_test.pt"),
        "image": features["img_features"],
        "text": features["text_features"],
        "long": read_torch(THINGS / "atm" / "ViT-H-14_img_features_test_unnormalised.pt"),
        "picture": np.load(THINGS / "nice" / "clip_feature_maps_test.npy", allow_pickle=False)[:, 0],
        "centre": np.load(THINGS / "nice" / "center_clip.npy", allow_pickle=False),
        "concepts": concepts,
    }


def ask(space, query, gallery, metric):
    """The question named ``metric`` of queries in the rows of ``query`` to those of ``gallery``."""
    if metric == "top10":
        table = retrieval.top_k(retrieval.ranks(retrieval.cosine(query, gallery)), 10)
        return Question(metric, table, OWN, space["concepts"])
    found = [
        *picture_retrieval(query, gallery, OWN, space["concepts"], "ViT-H-14"),
        *caption_retrieval(query, gallery, OWN, space["concepts"], "concept", "ViT-H-14"),
    ]
    return next(q for q in found if q.metric == metric)


def dealt(n_draws=20):
    """Random orders of the 200 queries. Some keep their place: were none to, a sure decoder would fall below chance."""
    rng = np.random.default_rng(0)
    return [rng.permutation(200) for _ in range(n_draws)]


FIGURES = [
    ("eeg", "image", "image_top1", 0.360, 1 / 200),
    ("eeg", "image", "image_top5", 0.725, 5 / 200),
    ("eeg", "image", "top10", 0.825, 10 / 200),
    ("eeg", "image", "image_top1_of_2", 0.9703, 0.5),
    ("eeg", "text", "caption_concept_top1", 0.120, 1 / 200),
    ("eeg", "text", "caption_concept_top5", 0.315, 5 / 200),
    ("text", "image", "image_top1", 0.905, 1 / 200),
    ("image", "text", "caption_concept_top1", 0.920, 1 / 200),
    ("centre", "picture", "image_top1", 0.925, 1 / 200),
]


@needs_things
@pytest.mark.parametrize(("query", "gallery", "metric", "value", "chance"), FIGURES)
def test_a_reference_figure_and_its_shuffled_control(space, query, gallery, metric, value, chance):
    question = ask(space, space[query], space[gallery], metric)
    row = question.answer(n_boot=500, n_perm=200)
    assert row["value"] == pytest.approx(value, abs=5e-5)
    assert row["n"] == 200
    assert row["chance"] == pytest.approx(chance)
    assert chance < row["ci_low"] < row["value"] < row["ci_high"] <= 1
    assert 0 < row["ci_high"] - row["ci_low"] < 0.15  # of 200 queries
    assert row["p"] == pytest.approx(1 / 201)
    assert len(set(space["concepts"])) == 200  # each query is a cluster of its own

    shuffled = [ask(space, space[query][order], space[gallery], metric) for order in dealt()]
    values = np.array([q.table[OWN, q.truth].mean() for q in shuffled])
    error = question.table.std() / np.sqrt(200 * len(values))
    assert abs(values.mean() - chance) < 3 * error
    assert values.max() < question.answer(n_boot=1, n_perm=1)["value"]
    row = shuffled[0].answer(n_boot=500, n_perm=200)
    assert row["p"] > 0.05
    assert row["ci_low"] <= chance


@needs_things
def test_the_mean_pairwise_figure_is_also_two_way_of_ranks(space):
    """Without ties the share of distractors that are beaten is the chance to beat one of them."""
    r = retrieval.ranks(retrieval.cosine(space["eeg"], space["image"])).of(OWN)
    assert retrieval.two_way(r).mean() == pytest.approx(0.9703, abs=5e-5)
    assert retrieval.two_way(r).mean() == pytest.approx(retrieval.k_way(r, 2).mean(), abs=1e-12)


@needs_things
def test_correlation_in_place_of_cosine_is_another_figure_of_the_same_size(space):
    own = paired.two_way(space["eeg"], space["image"])[OWN, OWN].mean()
    assert own == pytest.approx(0.9703, abs=0.005)


@needs_things
def test_the_length_of_an_embedding_changes_no_figure(space):
    """The published vectors have lengths of their own; cosine takes no notice, a raw product does."""
    length = {name: np.linalg.norm(space[name], axis=1) for name in ("eeg", "image", "text", "long", "centre")}
    for name in ("image", "text"):
        np.testing.assert_allclose(length[name], 1, atol=1e-3)
    assert (round(length["eeg"].min(), 1), round(length["eeg"].max(), 1)) == (6.6, 10.7)
    assert (round(length["long"].min()), round(length["long"].max())) == (19, 26)
    assert length["centre"].max() < 1
    unit = space["eeg"] / length["eeg"][:, None]
    for metric in ("image_top1", "image_top5"):
        both = [ask(space, query, space["image"], metric).table for query in (space["eeg"], unit)]
        np.testing.assert_array_equal(*both)
    raw = retrieval.top_k(retrieval.ranks(space["eeg"] @ space["long"].T).of(OWN), 1).mean()
    cosine = retrieval.top_k(retrieval.ranks(retrieval.cosine(space["eeg"], space["long"])).of(OWN), 1).mean()
    assert raw != cosine


@needs_things
def test_the_direction_of_the_search_is_the_one_said(space):
    """A figure from picture to EEG is not one from EEG to picture: the centres show it best."""
    there = ask(space, space["centre"], space["picture"], "image_top1")
    back = ask(space, space["picture"], space["centre"], "image_top1")
    assert there.table[OWN, OWN].mean() == pytest.approx(0.925)
    assert back.table[OWN, OWN].mean() == pytest.approx(0.980)


# -- recordings with a headband ------------------------------------------------------------------


def two_classes(experiment, subject, **changes):
    settings = {"l_freq": 1.0, "h_freq": 30.0, "tmin": -0.1, "tmax": 0.8, "baseline": (-0.1, 0.0), "reject": 100e-6}
    data = Muse(MUSE, experiment=experiment, subject=subject).load(Preprocessing(sfreq=None, **{**settings, **changes}))
    method = LDA(data.n_chans, data.n_times, data.signal.sfreq, sorted(set(data.table["concept"])))
    folds = list(Protocol(split="leave_one_run_out", val_fraction=0, select_on="last").folds(data))
    rows = classification.score(
        method.features(data),
        method.labels(data),
        classification.run_names(data.table),
        folds,
        LDA.fit_predict,
        n_boot=200,
        n_perm=39,
    )
    return len(folds), {row["metric"]: row for row in rows}


@needs_muse
@pytest.mark.parametrize(
    ("experiment", "subject", "n_runs", "reference", "changes"),
    [
        # The references name filter, bins and folds, but no window, baseline or rejection.
        ("N170", "2", 2, 0.64, {"tmin": 0.0, "baseline": None}),
        ("P300", "1", 6, 0.70, {"reject": None}),
    ],
)
def test_the_other_recordings_reach_their_references(experiment, subject, n_runs, reference, changes):
    """Subject 1's faces and houses are in the tests of the linear method."""
    folds, rows = two_classes(experiment, subject, **changes)
    assert folds == n_runs
    for name in ("auc", "auc_pooled"):
        row = rows[name]
        assert row["value"] == pytest.approx(reference, abs=0.015)
        assert row["ci_low"] < reference < row["ci_high"]
        assert row["ci_low"] > 0.5
        assert row["p"] == pytest.approx(1 / 40)
        assert row["shuffled"] == pytest.approx(0.5, abs=0.03)


@needs_muse
def test_rejecting_spoilt_epochs_helps_the_rare_target():
    _, rows = two_classes("P300", "1")
    assert rows["auc"]["value"] > 0.74
