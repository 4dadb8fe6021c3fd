"""The linear baseline: what it computes, what it keeps, and what it reaches on real EEG."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from phosphene.datasets.muse import Muse
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.trials import Signal, Trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.classification import auc, auc_by_run, held_out, run_names, shuffle_within
from phosphene.evaluation.protocols import Protocol
from phosphene.methods.base import Method
from phosphene.methods.lda import LDA, Concepts, boundary

SHARED = Path(os.environ.get("PHOSPHENE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
REAL = SHARED / "data" / "muse-visual"
CONCEPTS = ["face", "house"]


def trials(concepts=CONCEPTS, n=200, seed=0, effect=1e-6, n_times=43):
    """Noise of 5 uV on three channels; the i-th concept raises channel i between samples 16 and 24."""
    rng = np.random.default_rng(seed)
    label = rng.integers(len(concepts), size=n)
    eeg = rng.normal(scale=5e-6, size=(n, 3, n_times))
    eeg[np.arange(n), label, 16:24] += 4 * effect
    shown = np.array(concepts)[label]
    table = pd.DataFrame({"subject": "1", "run": np.arange(n) % 4, "stimulus": shown, "concept": shown})
    stimuli = pd.DataFrame({"concept": concepts}, index=concepts)
    return Trials(eeg, table, stimuli, Signal(("TP9", "Cz", "TP10"), 256.0, -0.1))


def lda(data, concepts=CONCEPTS, **kwargs):
    return LDA(data.n_chans, data.n_times, data.signal.sfreq, list(concepts), **kwargs)


def test_features_are_means_of_bins():
    data = trials()
    features = lda(data).features(data)
    assert features.shape == (200, 3 * 5)  # 43 samples hold five bins of eight
    expected = [data.eeg[7, c, 8 * b : 8 * b + 8].astype(float).mean() for c in range(3) for b in range(5)]
    np.testing.assert_allclose(features[7], expected, rtol=1e-12)


def test_it_learns_where_the_difference_is():
    data, new = trials(), trials(seed=1)
    method = lda(data).fit(data)
    assert auc(method.labels(new), method.decision(new)) > 0.95
    weight = method.weight.numpy().reshape(3, 5)
    assert np.abs(weight[:2, 2]).min() > 3 * np.abs(np.delete(weight, 2, axis=1)).max()
    assert weight[0, 2] < 0 < weight[1, 2]  # "face", the first concept, raises channel 0


def test_decisions_agree_with_scikit_learn():
    """Another rule for shrinkage (each class by itself), so equal up to its effect."""
    data, new = trials(n=400), trials(seed=1)
    method = lda(data).fit(data)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
    theirs.fit(method.features(data), method.labels(data))
    expected = theirs.decision_function(method.features(new))
    assert np.corrcoef(method.decision(new), expected)[0, 1] > 0.998
    np.testing.assert_allclose(method.decision(new), expected, atol=0.15 * expected.std())


def test_without_shrinkage_to_speak_of_it_is_the_closed_form():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    labels = np.arange(200_000) % 2
    features = rng.normal(size=(200_000, 3)) @ mixing + labels[:, None] * [0.5, 0.0, -0.2]
    weight, bias = boundary(features, labels)
    exact = np.linalg.solve(mixing.T @ mixing, [0.5, 0.0, -0.2])
    np.testing.assert_allclose(weight[0], exact, rtol=0.05, atol=0.02)
    assert bias[0] == pytest.approx(-exact @ np.array([0.5, 0.0, -0.2]) / 2, abs=0.02)


def test_the_unit_of_the_eeg_does_not_matter():
    data, new = trials(), trials(seed=1)
    volts = LDA.fit_predict(lda(data).features(data), lda(data).labels(data), lda(data).features(new))
    micro = LDA.fit_predict(lda(data).features(data) * 1e6, lda(data).labels(data), lda(data).features(new) * 1e6)
    np.testing.assert_allclose(volts, micro, rtol=1e-6)
    np.testing.assert_allclose(volts, lda(data).fit(data).decision(new), rtol=1e-9)


def test_class_frequencies_do_not_move_the_decision():
    data = trials(n=2000)
    rare = data.select((data.table["concept"] == "house").to_numpy() | (np.arange(2000) % 10 == 0))
    a, b = lda(data).fit(data).decision(data), lda(data).fit(rare).decision(data)
    assert abs(np.mean(b) - np.mean(a)) < 0.5  # log(10) = 2.3 would be added by the frequencies


def test_encode_gives_probabilities_in_the_order_of_concepts():
    data = trials()
    method = lda(data).fit(data)
    probability = method.encode(data)["concept"]
    assert probability.shape == (200, 2)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(200))
    np.testing.assert_array_equal(probability[:, 1].numpy() > 0.5, method.decision(data) > 0)
    assert (probability.argmax(dim=1).numpy() == method.labels(data)).mean() > 0.85


def test_three_concepts():
    names = ["face", "house", "tool"]
    data, new = trials(names, n=600), trials(names, seed=1)
    method = lda(data, names).fit(data)
    assert method.decision(new).shape == (200, 3)
    assert (method.decision(new).argmax(axis=1) == method.labels(new)).mean() > 0.8
    torch.testing.assert_close(method.encode(new)["concept"].sum(dim=1), torch.ones(200))


def test_retrieval_gives_the_gallerys_first_pictures_of_the_decoded_concept():
    data = trials()
    method = lda(data).fit(data)
    pictures = pd.DataFrame({"concept": ["house", "face", "house", "face", "face"]}, index=list("abcde"))
    gallery = method.targets()["concept"].table(pictures).vectors
    rows, values = method.retrieve(data, gallery, k=3)
    for row, face in zip(rows.tolist(), (method.decision(data) < 0).tolist(), strict=True):
        assert row == ([1, 3, 4] if face else [0, 2, 1])
    assert (values.diff(dim=1) <= 0).all()


def test_save_and_load_give_the_same_decisions(tmp_path):
    data = trials()
    method = lda(data).fit(data)
    again = Method.from_pretrained(method.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.decision(data), method.decision(data))
    assert again.concepts == CONCEPTS


def test_bad_input_names_the_fix():
    data = trials()
    with pytest.raises(PhospheneError, match="at least two concepts"):
        lda(data, ["face"])
    with pytest.raises(PhospheneError, match="bin_samples is 99: choose 1 to 43"):
        lda(data, bin_samples=99)
    with pytest.raises(PhospheneError, match="train on runs that hold every concept"):
        lda(data).fit(data.select(concept="face"))
    with pytest.raises(PhospheneError, match="concept 'house' is not one of face, tool"):
        lda(data, ["face", "tool"]).fit(data)
    with pytest.raises(PhospheneError, match="preprocess them alike"):
        lda(data).fit(data).decision(data.crop(tmax=0.0))
    with pytest.raises(PhospheneError, match="concept 'house' was not trained"):
        Concepts(["face", "tool"]).table(data.stimuli)
    flat = trials()
    flat.eeg[:, 0] = 0.0
    with pytest.raises(PhospheneError, match="constant or NaN"):
        lda(flat).fit(flat)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the Muse recordings are not at {REAL}")
def test_houses_and_faces_of_subject_1_reach_the_reference():
    """The recipe's settings; reference AUC 0.69."""
    preprocessing = Preprocessing(
        l_freq=1.0, h_freq=30.0, tmin=-0.1, tmax=0.8, baseline=(-0.1, 0.0), sfreq=None, reject=100e-6
    )
    data = Muse(REAL, subject="1").load(preprocessing)
    method = lda(data)
    features, labels, runs = method.features(data), method.labels(data), run_names(data.table)
    folds = list(Protocol(split="leave_one_run_out", val_fraction=0, select_on="last").folds(data))
    assert len(folds) == 6
    assert len(data) == 1133  # of 1,174 onsets

    scores = held_out(features, labels, folds, LDA.fit_predict)
    assert auc(labels, scores, runs) >= 0.69
    assert auc(labels, scores) >= 0.69
    assert auc_by_run(labels, scores, runs).min() > 0.6

    controls = []
    for seed in range(10):
        shuffled = shuffle_within(labels, runs, np.random.default_rng(seed))
        controls.append(auc(shuffled, held_out(features, shuffled, folds, LDA.fit_predict), runs))
    assert np.mean(controls) == pytest.approx(0.5, abs=0.025)  # their SD is 0.024, their mean's 0.008
    assert max(controls) < 0.58
