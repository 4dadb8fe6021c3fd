"""The simulated brain measures up: ratio, places, times, and what can and cannot be decoded."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from itertools import product
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.signal import find_peaks
from scipy.stats import binom
from sklearn.linear_model import RidgeCV

from phosphene.errors import PhospheneError
from phosphene.simulate.brain import BACKGROUND_RMS, CHANNELS, DEFAULT_SNR_DB, REGIONS, Brain, montage
from phosphene.simulate.head import at, directions, lead_field
from phosphene.simulate.scenes import BACKGROUNDS, COLOURS, OBJECTS, Scene, draw_with_mask, sample_scenes
from phosphene.simulate.study import choose_stimuli, scenes_of

FRONTAL = (
    "Fp1",
    "Fp2",
    "AF7",
    "AF3",
    "AFz",
    "AF4",
    "AF8",
    "F7",
    "F5",
    "F3",
    "F1",
    "F2",
    "F4",
    "F6",
    "F8",
    "FT7",
    "FT8",
)
OCCIPITAL = ("PO7", "PO3", "POz", "PO4", "PO8", "O1", "Oz", "O2")
VENTRAL = ("P7", "P5", "P8", "P6", "PO7", "PO8", "TP7", "TP8", "TP9", "TP10")


@pytest.fixture(scope="module")
def brain() -> Brain:
    return Brain(1)


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "benchmarks" / "simulated_snr.py"
    spec = importlib.util.spec_from_file_location("simulated_snr", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def where(*names: str) -> list[int]:
    return [CHANNELS.index(name) for name in names]


def peak(response: np.ndarray, sfreq: float = 250.0) -> tuple[str, float]:
    """Channel and time (s) of the largest value of |response| (63, n_times)."""
    channel, sample = np.unravel_index(np.abs(response).argmax(), response.shape)
    return CHANNELS[channel], sample / sfreq


def effect(brain: Brain, attribute: str) -> np.ndarray:
    """SD over the values of one attribute of the mean response, others balanced: (63, n_times)."""
    values = {
        "object": OBJECTS,
        "colour": tuple(COLOURS)[:6],
        "background": BACKGROUNDS,
        "position": ("left", "right"),
    }
    base = {"object": OBJECTS[::5], "colour": ("red", "blue"), "background": ("snow", "room"), "position": ("centre",)}
    means = []
    for value in values[attribute]:
        grid = product(
            *({**base, attribute: (value,)}[name] for name in ("object", "colour", "background", "position"))
        )
        means.append(brain.evoked([Scene(*combination, seed=5) for combination in grid]).mean(axis=0))
    return np.std(means, axis=0)


def test_the_cap_is_that_of_things_eeg2():
    assert len(CHANNELS) == 63
    assert CHANNELS[:3] == ("Fp1", "Fp2", "AF7")
    assert CHANNELS[46:] == (
        "P7",
        "P5",
        "P3",
        "P1",
        "Pz",
        "P2",
        "P4",
        "P6",
        "P8",
        "PO7",
        "PO3",
        "POz",
        "PO4",
        "PO8",
        "O1",
        "Oz",
        "O2",
    )
    standard = mne.channels.make_standard_montage("biosemi64").ch_names
    assert set(CHANNELS) - set(standard) == {"FT9", "FT10", "TP9", "TP10"}
    assert montage().ch_names == list(CHANNELS)
    assert all(np.abs(p).max() < 0.2 for p in montage().get_positions()["ch_pos"].values())  # metres


def test_the_lead_field_is_physics():
    ray = directions()["O1"]
    shallow, deep = (lead_field(at(ray[None], depth), ray[None])[:, 0] for depth in (0.75, 0.4))
    assert CHANNELS[shallow.argmax()] == "O1"
    assert shallow.max() > deep.max() > 0
    assert 50 < shallow.max() < 1000  # V per A m: about 2 uV for 10 nA m
    turned = lead_field(at(ray[None], 0.75), -ray[None])[:, 0]
    np.testing.assert_allclose(turned, -shallow, rtol=1e-6)


@pytest.fixture(scope="module")
def seen():
    """Scenes, drawn once for every brain."""
    scenes = sample_scenes(300, seed=11)
    return scenes, [draw_with_mask(scene) for scene in scenes]


@pytest.mark.parametrize(("snr_db", "reference"), [(-5.0, "infinity"), (-20.0, "average")])
@pytest.mark.parametrize("subject", [1, 2])
def test_the_ratio_is_as_asked(seen, subject: int, snr_db: float, reference: str):
    brain = Brain(subject, snr_db=snr_db, reference=reference)
    evoked = brain.evoked(*seen)
    background = brain.background(round(400 * brain.sfreq), artefacts=False)
    power = np.mean(evoked[:, :, : round(0.6 * brain.sfreq)].astype(float) ** 2)
    measured = 10 * np.log10(power / background.astype(float).var(axis=1).mean())
    assert measured == pytest.approx(snr_db, abs=0.5)
    assert 0.5 * BACKGROUND_RMS < background.std() < 2 * BACKGROUND_RMS
    if reference == "average":
        assert np.abs(evoked.mean(axis=1)).max() < 1e-4 * np.abs(evoked).max()
        assert np.abs(background.mean(axis=0)).max() < 1e-4 * np.abs(background).max()


def test_no_response_at_minus_infinity():
    assert not Brain(1, snr_db=-np.inf).evoked(sample_scenes(3, seed=0)).any()


def test_nothing_responds_before_it_sees(brain: Brain):
    evoked = brain.evoked(sample_scenes(50, seed=1))
    spread, times = evoked.std(axis=0).max(axis=0), np.arange(evoked.shape[2]) / brain.sfreq
    assert spread[0] == 0
    assert spread[times < 0.04].max() < 0.05 * spread.max()
    recording = brain.record(evoked, np.array([0]), np.array([100]), 400, background=False)
    assert not recording[:, :101].any()
    np.testing.assert_array_equal(recording[:, 100:300], evoked[0])


def test_responses_overlap_and_add(brain: Brain):
    evoked = brain.evoked(sample_scenes(2, seed=1))
    apart = [brain.record(evoked, np.array([i]), np.array([s]), 400, background=False) for i, s in ((0, 0), (1, 100))]
    both = brain.record(evoked, np.array([0, 1]), np.array([0, 100]), 400, background=False)
    np.testing.assert_allclose(both, apart[0] + apart[1], atol=1e-12)


@pytest.fixture(scope="module")
def sides():
    """The same scenes with their object on the left and on the right."""
    grid = list(product(OBJECTS[::3], ("red", "blue", "white"), BACKGROUNDS))
    scenes = [[Scene(o, c, b, p, seed=2) for o, c, b in grid] for p in ("left", "right")]
    return [(side, [draw_with_mask(scene) for scene in side]) for side in scenes]


@pytest.mark.parametrize("subject", [1, 2, 3])
def test_the_left_of_the_picture_drives_the_right_of_the_occipital_cortex_early(sides, subject: int):
    brain = Brain(subject)
    left, right = (brain.evoked(*side).mean(axis=0) for side in sides)
    difference = left - right
    times = np.arange(difference.shape[1]) / brain.sfreq
    early = difference[:, (times > 0.085) & (times < 0.115)].mean(axis=1)
    assert early[where("O2", "PO4", "PO8")].mean() > 0 > early[where("O1", "PO3", "PO7")].mean()
    assert CHANNELS[early.argmax()] in (*OCCIPITAL, "P8", "P6", "P4", "P2")
    assert np.abs(early).max() > 3 * np.abs(difference[:, times < 0.055]).max()


@pytest.mark.parametrize(
    ("attribute", "window", "places"),
    [
        ("object", (0.15, 0.30), VENTRAL),
        ("colour", (0.12, 0.19), (*OCCIPITAL, *VENTRAL)),
        ("background", (0.32, 0.48), FRONTAL),
    ],
)
def test_content_has_its_place_and_time(brain: Brain, attribute: str, window: tuple[float, float], places: tuple):
    spread = effect(brain, attribute)
    if attribute == "background":  # a background is also light and edges, and these come first
        spread = np.where(np.arange(spread.shape[1]) / brain.sfreq > 0.25, spread, 0)
    channel, latency = peak(spread)
    assert channel in places
    assert window[0] <= latency <= window[1]


def test_the_truth_says_where_and_when(brain: Brain):
    sources = brain.sources
    assert {s.region for s in sources} == set(REGIONS)
    assert {s.content for s in sources} == {"layout", "colour", "object", "place", "theme"}
    for source in sources:
        assert (source.position[0] < 0) == (source.side == "left")
        assert 0.05 < source.latency < 0.55
        assert len(source.pattern) == 63
    behind = [s.position[1] for s in sources if s.region == "V1"]
    front = [s.position[1] for s in sources if s.region == "frontal"]
    assert max(behind) < -0.02 < 0.04 < min(front)
    latency = pd.DataFrame(brain.truth()).groupby("region")["latency"].mean()
    assert latency["V1"] < latency["V4"] < latency["IT"] < latency["temporal"] < latency["frontal"] + 0.06
    # the sources add up to the response
    scene = sample_scenes(1, seed=4)
    code, times = brain.code(scene)[0], np.arange(200) / brain.sfreq
    total = np.zeros((63, 200))
    for strength, s in zip(code, sources, strict=True):
        shape = (s.latency / s.width) ** 2
        kernel = (times / s.latency) ** shape * np.exp(shape * (1 - times / s.latency))
        total += np.outer(s.pattern, kernel) * (strength + s.common)
    np.testing.assert_allclose(total, brain.evoked(scene)[0], atol=1e-4 * np.abs(total).max())


def test_everything_can_be_read_without_noise_even_of_unseen_concepts(brain: Brain):
    stimuli = choose_stimuli(480, 120)
    attributes = ["object", "colour", "background", "position"]
    evoked = brain.evoked(scenes_of(stimuli))
    x = evoked[:, :, :150:3].reshape(len(evoked), -1) * 1e6
    y = pd.get_dummies(stimuli[attributes]).astype(float)
    train = (stimuli["split"] == "train").to_numpy()
    assert not set(stimuli["concept"][train]) & set(stimuli["concept"][~train])
    decoded = RidgeCV(np.geomspace(1e-6, 1e2, 9)).fit(x[train], y[train]).predict(x[~train])
    for name in attributes:
        columns = [i for i, c in enumerate(y) if c.startswith(f"{name}_")]
        hits = decoded[:, columns].argmax(1) == y.to_numpy()[~train][:, columns].argmax(1)
        assert hits.mean() >= 0.95, name


@pytest.fixture(scope="module")
def small(bench):
    return bench.simulated(seed=1, n_train=600, n_test=40, test_repeats=8, sfreq=200.0)  # twice that of the epochs


def test_decoding_is_above_chance_at_the_default_and_at_chance_without_a_response(bench, small):
    default, without = bench.decode(*small, DEFAULT_SNR_DB), bench.decode(*small, -60.0)
    assert default["top1"] >= 0.15  # 6 of 40 where chance expects 1: p < 0.001
    assert default["top1"] <= 0.8
    assert default["background"] >= binom.ppf(0.999, 40, 1 / 8) / 40
    assert without["top1"] <= binom.ppf(0.999, 40, 1 / 40) / 40
    assert without["background"] <= binom.ppf(0.999, 40, 0.25) / 40
    assert without["object"] <= binom.ppf(0.999, 40, 0.1) / 40


def test_nothing_can_be_read_before_the_picture(bench, small):
    """Neighbours overlap, and the order is random: what precedes a picture says nothing of it."""
    before = [replace(part, eeg=part.crop(-0.1, 0.0).eeg, signal=replace(part.signal, tmin=0.0)) for part in small]
    scores = bench.decode(*before, 20.0)
    assert scores["top1"] <= binom.ppf(0.999, 40, 1 / 40) / 40
    assert scores["position"] <= binom.ppf(0.999, 40, 0.4) / 40


@pytest.mark.slow
def test_the_default_ratio_is_neither_easy_nor_hopeless(bench):
    scores = bench.decode(*bench.simulated(), DEFAULT_SNR_DB)
    assert 0.2 <= scores["top1"] <= 0.45


def test_the_background_looks_like_eeg():
    brain = Brain(3)
    n_times = round(240 * brain.sfreq)
    clean, full = (brain.background(n_times, artefacts=artefacts) for artefacts in (False, True))

    def spectrum(data):
        return mne.time_frequency.psd_array_welch(data.astype(float), brain.sfreq, n_fft=1000, verbose="error")

    (psd, freqs), (psd_full, _) = spectrum(clean), spectrum(full)

    def power(p, low, high):
        return p[:, (freqs >= low) & (freqs <= high)].mean(axis=1)

    posterior = psd[where(*OCCIPITAL)].mean(axis=0)
    rhythm = (freqs > 7) & (freqs < 14)
    assert 8.5 < freqs[rhythm][posterior[rhythm].argmax()] < 11.5
    occipital, frontal = (power(psd, 9, 11)[where(*names)].mean() for names in (OCCIPITAL, FRONTAL))
    assert occipital > 2 * frontal
    assert power(psd, 9, 11)[where("Oz")] > 3 * power(psd, 15, 17)[where("Oz")]
    slope = -np.polyfit(np.log(freqs[(freqs > 20) & (freqs < 45)]), np.log(psd[:, (freqs > 20) & (freqs < 45)].T), 1)[0]
    assert 0.3 < slope.mean() < 2
    assert np.all(power(psd_full, 49.9, 50.1) > 5 * power(psd_full, 45, 48))
    assert np.all(power(psd, 49.9, 50.1) < 2 * power(psd, 45, 48))
    assert np.abs(np.corrcoef(clean)[CHANNELS.index("C3")][where("C1", "C5")]).min() > 0.5  # spatially smooth


def test_blinks_are_frontal_and_come_at_a_human_rate():
    brain = Brain(3)
    n_times = round(300 * brain.sfreq)
    artefact = brain.background(n_times) - brain.background(n_times, artefacts=False)
    artefact = mne.filter.filter_data(artefact.astype(float), brain.sfreq, 1, 15, verbose="error")
    peaks, _ = find_peaks(artefact[where("Fp1")[0]], height=50e-6, distance=brain.sfreq // 2)
    assert 5 < len(peaks) / 5 < 25  # a minute
    height = artefact[:, peaks].mean(axis=1)
    assert 80e-6 < height[where("Fp1", "Fp2")].mean() < 220e-6
    assert np.abs(height[where(*OCCIPITAL)]).max() < 0.2 * height[where("Fp1")]


def test_seeds_subjects_and_runs(brain: Brain):
    scenes = sample_scenes(30, seed=2)
    again, label, other, new = Brain(1), Brain("01"), Brain(2), Brain(1, seed=1)
    evoked = brain.evoked(scenes)
    for same in (again, label):
        np.testing.assert_array_equal(same.evoked(scenes), evoked)
        np.testing.assert_array_equal(same.background(500), brain.background(500))
    content, theirs = (b.evoked(scenes) - b.evoked(scenes).mean(axis=0) for b in (brain, other))
    assert 0.3 < np.corrcoef(content.ravel(), theirs.ravel())[0, 1] < 0.98  # alike, not the same
    np.testing.assert_array_equal(brain.code(scenes), other.code(scenes))
    assert not np.allclose(new.code(scenes)[:, 40:], brain.code(scenes)[:, 40:])
    assert not np.array_equal(brain.background(500, run=1), brain.background(500, run=2))
    assert not np.array_equal(brain.background(500, session=1), brain.background(500, session=2))
    assert abs(np.corrcoef(brain.background(5000).ravel(), other.background(5000).ravel())[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"snr_db": float("nan")}, "snr_db"),
        ({"snr_db": 99.0}, "snr_db"),
        ({"sfreq": 10.0}, "100 to 2000 Hz"),
        ({"reference": "Cz"}, "'infinity' or 'average'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str):
    with pytest.raises(PhospheneError, match=message):
        Brain(1, **arguments)
