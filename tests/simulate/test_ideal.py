"""The ideal observer: it gives the answers that are known, its noise is the noise, and nobody reads better."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import RidgeCV

from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.trials import Trials, concatenate
from phosphene.simulate import ideal
from phosphene.simulate.brain import Brain
from phosphene.simulate.ideal import Ideal, linear, normalised, readings
from phosphene.simulate.scenes import sample_scenes
from phosphene.simulate.study import choose_stimuli, plan_sessions, scenes_of

STEPS = {"l_freq": 0.5, "h_freq": 20.0, "tmin": -0.1, "tmax": 0.5, "baseline": (-0.1, 0.0), "sfreq": 50.0}
WINDOW = (0.0, 0.4)
STUDY = {
    "n_train_pictures": 200,
    "n_test_pictures": 40,
    "train_repeats": 2,
    "test_repeats": 8,
    "n_sessions": 1,
    "soa": 0.4,
    "sfreq": 250.0,
    "seed": 1,
    "snr_db": -17.0,
}


@pytest.fixture(scope="module")
def both() -> tuple[Trials, Trials]:
    """One subject's epochs, made by the recording and the preprocessing that every study takes; and without noise."""
    stimuli = choose_stimuli(STUDY["n_train_pictures"], STUDY["n_test_pictures"], seed=STUDY["seed"])
    brain = Brain("01", seed=STUDY["seed"], snr_db=STUDY["snr_db"])
    evoked = brain.evoked(scenes_of(stimuli))
    parts: tuple[list[Trials], list[Trials]] = ([], [])
    for run, events in plan_sessions(stimuli, "01", STUDY)[0].groupby("run"):
        samples = np.round(events["onset"].to_numpy() * brain.sfreq).astype(int)
        rows = stimuli.index.get_indexer(events["stimulus"])
        table = events.assign(subject="01")
        for noisy, part in zip((True, False), parts, strict=True):
            raw = brain.to_raw(brain.record(evoked, rows, samples, int(samples[-1] + 600), run=run, background=noisy))
            part.append(Preprocessing(**STEPS)(raw, table, stimuli).crop(*WINDOW))
    return concatenate(parts[0]), concatenate(parts[1])


@pytest.fixture(scope="module")
def recorded(both) -> Trials:
    return both[0]


@pytest.fixture(scope="module")
def observer() -> Ideal:
    return Ideal.of_study(STUDY, "01", Preprocessing(**STEPS), WINDOW)


@pytest.fixture(scope="module")
def tested(recorded, observer):
    """The test epochs, the candidates' noise-free epochs, and which of them each trial shows."""
    test = recorded.select(split="test")
    gallery = recorded.stimuli[recorded.stimuli["split"] == "test"]
    templates = observer.templates(observer.brain.evoked(scenes_of(gallery)))
    return test, templates, gallery.index.get_indexer(test.table["stimulus"])


# answers that are known


@pytest.mark.parametrize("n_averaged", [1, 4])
def test_two_candidates_in_white_noise(n_averaged: int):
    candidates = np.random.default_rng(0).normal(size=(2, 30))
    sd = 5.0
    log_posterior, truth = readings(candidates @ candidates.T / sd**2, n_averaged, n_draws=40000)
    d = np.linalg.norm(candidates[0] - candidates[1]) / sd * np.sqrt(n_averaged)
    assert (log_posterior.argmax(1) == truth).mean() == pytest.approx(norm.cdf(d / 2), abs=0.01)


def test_many_orthogonal_candidates_in_white_noise():
    """Top-1 of m equally strong signals is the integral of phi(x - d) Phi(x) ** (m - 1)."""
    m, d = 10, 1.5
    log_posterior, truth = readings(d**2 * np.eye(m), n_draws=40000)
    x = np.linspace(-8, 12, 4001)
    known = np.trapezoid(norm.pdf(x - d) * norm.cdf(x) ** (m - 1), x)
    assert (log_posterior.argmax(1) == truth).mean() == pytest.approx(known, abs=0.01)


@pytest.mark.parametrize(("snr_db", "known"), [(-200.0, 1 / 20), (20.0, 1.0)])
def test_from_chance_to_certainty(snr_db: float, known: float):
    scenes = sample_scenes(20, seed=3)
    observer = Ideal(Brain(2, snr_db=snr_db), Preprocessing(**STEPS), WINDOW, onsets=[np.arange(1, 40, 0.4)])
    templates = observer.templates(observer.brain.evoked(scenes))
    log_posterior, truth = readings(observer.gram(templates), n_draws=4000)
    assert (log_posterior.argmax(1) == truth).mean() == pytest.approx(known, abs=0.015)
    if snr_db < -100:
        np.testing.assert_allclose(np.exp(log_posterior), 1 / 20, atol=1e-4)


def test_probabilities_sum_to_one_and_only_differences_count():
    scores = np.random.default_rng(1).normal(size=(6, 9)) * 400
    np.testing.assert_allclose(np.exp(normalised(scores)).sum(axis=1), 1)
    np.testing.assert_allclose(normalised(scores + 1000), normalised(scores), atol=1e-9)


# what it knows is so


@pytest.mark.parametrize(
    "steps",
    [
        STEPS,
        {**STEPS, "reference": "average", "picks": ["Oz", "PO7", "Cz"], "notch": 50.0},
        {**STEPS, "sfreq": 60.0, "l_freq": None},
        {**STEPS, "l_freq": None, "h_freq": None, "sfreq": None, "baseline": None},
        {**STEPS, "phase": "minimum"},
        {**STEPS, "reject": 1e-9},
    ],
    ids=["band", "reference and picks", "resampled", "as recorded", "causal", "reject"],
)
def test_the_matrices_are_the_preprocessing(steps: dict):
    brain = Brain(1)
    found = linear(Preprocessing(**steps), brain, WINDOW)
    data = brain.background(round(60 * brain.sfreq)).astype(np.float64)
    stimuli = pd.DataFrame({"concept": ["a"]}, index=["x"])
    table = pd.DataFrame({"onset": [30.0], "stimulus": "x", "subject": "1"})
    given = Preprocessing(**{**steps, "reject": None})
    seen = given(brain.to_raw(data), table, stimuli).crop(*WINDOW).eeg[0]
    start = round(30 * brain.sfreq) + found.first
    assert start >= 0
    own = found.channels @ data[:, start : start + found.times.shape[1]] @ found.times.T
    np.testing.assert_allclose(own, seen, atol=2e-4 * np.abs(seen).max())


def test_autocovariance_passes_through_a_matrix():
    rng = np.random.default_rng(0)
    times, known = rng.normal(size=(4, 9)), rng.normal(size=(2, 9))
    toeplitz = known[:, np.abs(np.subtract.outer(np.arange(9), np.arange(9)))]
    np.testing.assert_allclose(ideal._through(times, known), times @ toeplitz @ times.T, atol=1e-10)


def test_the_noise_is_as_large_as_expected_and_on_the_mean_what_is_expected(both, observer, tested):
    test, templates, truth = tested
    left = test.eeg - templates[truth]
    assert observer.surprise(left) == pytest.approx(1, abs=0.05)
    assert observer.surprise(left.reshape(-1, 4, *left.shape[1:]).mean(1), 4) == pytest.approx(1, abs=0.1)
    assert observer.surprise(2 * left) > 3
    quiet = both[1].select(split="test").eeg - templates[truth]  # what neighbours leave
    missed = quiet.mean(axis=0) - observer.mean_
    assert np.sqrt(np.mean(missed**2)) < 0.4 * np.sqrt(np.mean(quiet.mean(axis=0) ** 2))


def test_neighbours_are_noise_to_it():
    steps, evoked = Preprocessing(**STEPS), Brain(1, snr_db=0.0).evoked(sample_scenes(10, seed=5))
    alone = Ideal(Brain(1, snr_db=0.0), steps, WINDOW)
    among = Ideal(Brain(1, snr_db=0.0), steps, WINDOW, onsets=[np.arange(2, 100, 0.2)])
    apart = Ideal(Brain(1, snr_db=0.0), steps, WINDOW, onsets=[np.arange(2, 900, 3.0)])
    strength = [np.trace(o.gram(o.templates(evoked))) for o in (alone, among, apart)]
    assert strength[1] < 0.85 * strength[0]
    assert strength[2] == pytest.approx(strength[0], rel=1e-6)
    np.testing.assert_allclose(apart.mean_, alone.mean_, atol=1e-12)


def test_more_directions_never_hurt(monkeypatch, observer, tested):
    _, templates, _ = tested
    monkeypatch.setattr(ideal, "MOST", 63 * 6)
    few = Ideal.of_study(STUDY, "01", Preprocessing(**STEPS), WINDOW)
    assert len(few._factor) < len(observer._factor)
    assert np.trace(few.gram(templates)) < np.trace(observer.gram(templates)) * (1 + 1e-6)


# nobody reads better


def test_its_probabilities_mean_what_they_say(observer, tested):
    test, templates, truth = tested
    log_posterior = observer.log_posterior(test.eeg, templates)
    sure, right = np.exp(log_posterior.max(axis=1)), log_posterior.argmax(axis=1) == truth
    assert 0.15 < right.mean() < 0.9  # neither floor nor ceiling
    assert sure.mean() == pytest.approx(right.mean(), abs=0.06)
    order = np.argsort(sure)
    for part in np.array_split(order, 3):
        assert sure[part].mean() == pytest.approx(right[part].mean(), abs=0.12)
    drawn, seen = readings(observer.gram(templates))
    assert (drawn.argmax(1) == seen).mean() == pytest.approx(right.mean(), abs=0.07)


@pytest.mark.parametrize("n_averaged", [1, 8])
def test_ridge_and_matched_filters_read_less(recorded, observer, tested, n_averaged: int):
    test, templates, truth = tested
    if n_averaged > 1:
        test = test.average()
        gallery = recorded.stimuli[recorded.stimuli["split"] == "test"]
        truth = gallery.index.get_indexer(test.table["stimulus"])
    best = (observer.log_posterior(test.eeg, templates, n_averaged).argmax(1) == truth).mean()
    flat = templates.reshape(len(templates), -1)
    eeg = test.eeg.reshape(len(test), -1)
    matched = ((eeg @ flat.T - 0.5 * (flat**2).sum(axis=1)).argmax(1) == truth).mean()
    train = recorded.select(split="train")
    words = ["object", "colour", "background", "position"]
    known = pd.get_dummies(recorded.stimuli[words]).astype(float)
    scale = train.eeg.std()
    model = RidgeCV(np.geomspace(1e1, 1e7, 13)).fit(
        train.eeg.reshape(len(train), -1) / scale, known.loc[train.table["stimulus"]]
    )
    answers = known.loc[recorded.stimuli["split"] == "test"].to_numpy()
    answers = answers - answers.mean(axis=0)
    read = model.predict(eeg / scale)
    ridge = (((read - read.mean(axis=0)) @ answers.T).argmax(1) == truth).mean()
    error = np.sqrt(0.25 / len(test))
    assert best > matched + error
    assert best > ridge + 3 * error
