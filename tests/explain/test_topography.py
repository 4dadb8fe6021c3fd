"""Maps against sources that are known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from phosphene.eeg.trials import Signal
from phosphene.eeg.whitening import Whitener
from phosphene.errors import PhospheneError
from phosphene.explain import figures
from phosphene.explain.attribution import attribute
from phosphene.explain.contrast import CONTENT, level_contrast, source_power
from phosphene.explain.topography import covarying, inverses, of_noise, to_scalp, topography, unit
from phosphene.simulate.brain import CHANNELS, Brain, montage
from phosphene.simulate.noise import pulse

SFREQ, N_TIMES, N_TRIALS, SNR_DB = 100.0, 60, 400, 0.0
LEVELS = {"thing": "object", "mood": "thematic"}


def signal() -> Signal:
    places = montage().get_positions()["ch_pos"]
    return Signal(CHANNELS, SFREQ, 0.0, tuple(tuple(places[c]) for c in CHANNELS), unit="whitened")


class Study:
    """Single trials of one simulated brain, and a linear encoder of its sources' codes fitted by ridge regression.

    Sources code independent numbers here. In pictures the codes are correlated (a dark scene is dark in the early
    visual cortex and gloomy in its theme), so that a good encoder of themes reads occipital channels too.
    """

    def __init__(self, subject: int):
        brain = Brain(subject, snr_db=SNR_DB, sfreq=SFREQ)
        self.truth = brain.truth()
        rng = np.random.default_rng(subject)
        code = rng.normal(size=(N_TRIALS, len(self.truth)))
        times = np.arange(N_TIMES) / SFREQ
        waves = np.stack([pulse(times, s["latency"], s["width"]) for s in self.truth])
        patterns = np.array([s["pattern"] for s in self.truth])
        evoked = np.einsum("ns,sc,st->nct", code, patterns, waves, optimize=True)
        self.responses = patterns[:, :, None] * waves[:, None]
        noise = brain.background(N_TRIALS * N_TIMES, artefacts=False).reshape(len(CHANNELS), N_TRIALS, N_TIMES)
        self.volts = evoked + noise.transpose(1, 0, 2).astype(np.float64)
        self.whitener = Whitener().fit(self.volts)
        self.eeg = self.whitener.transform(self.volts)
        content = np.array([source["content"] for source in self.truth])
        self.targets, self.weights = {}, {}
        x = self.eeg.reshape(N_TRIALS, -1)
        x = x - x.mean(axis=0)
        gram = x @ x.T
        dual = np.linalg.inv(gram + 0.3 * np.trace(gram) / N_TRIALS * np.eye(N_TRIALS))
        for head, level in LEVELS.items():
            y = code[:, np.isin(content, CONTENT[level])]
            self.targets[head] = torch.tensor(y - y.mean(axis=0))
            self.weights[head] = torch.tensor((y - y.mean(axis=0)).T @ dual @ x)

    def heads(self, eeg, weights=None):
        weights = self.weights if weights is None else weights
        return {name: eeg.flatten(1) @ w.T for name, w in weights.items()}

    def patterns(self, weights=None, whitened=True):
        if whitened:
            found = attribute(lambda x: self.heads(x, weights), self.eeg, self.targets)
            return {head: to_scalp(g, self.whitener.inverse_) for head, g in found.items()}
        turn = torch.tensor(self.whitener.whitening_)
        found = attribute(lambda x: self.heads(turn @ x, weights), self.volts, self.targets)
        return {head: to_scalp(g, self.whitener.covariance_) for head, g in found.items()}

    def covarying(self):
        found = attribute(self.heads, self.eeg, self.targets)
        return {head: covarying(g, self.eeg, self.volts) for head, g in found.items()}

    def known(self):
        """Filters whose patterns are the sources' own responses, by the algebra and not by a fit."""
        content = np.array([source["content"] for source in self.truth])
        filters = self.whitener.whitening_ @ self.responses
        return {h: torch.tensor(filters[np.isin(content, CONTENT[level])]).flatten(1) for h, level in LEVELS.items()}

    def contrast(self, weights=None):
        return level_contrast(topography(self.patterns(weights), signal()).by_level(LEVELS))


@pytest.fixture(scope="module")
def studies():
    return {f"{s:02d}": Study(s) for s in (1, 2, 3)}


@pytest.fixture(scope="module")
def study(studies):
    return studies["01"]


def test_a_channel_of_noise_alone_has_a_weight_and_no_pattern():
    rng = np.random.default_rng(0)
    source, noise = rng.normal(size=(2, 50, 400))
    eeg = np.stack([source + noise, noise], axis=1)
    covariance = np.einsum("nct,ndt->cd", eeg, eeg) / (50 * 400)
    gradient = np.broadcast_to(np.array([[1.0], [-1.0]]), (3, 2, 7))  # the filter that reads the source alone
    pattern = to_scalp(gradient, covariance)
    np.testing.assert_allclose(pattern[:, 0], 1.0, atol=0.03)
    np.testing.assert_allclose(pattern[:, 1], 0.0, atol=0.03)


def test_whitened_or_not_the_pattern_is_the_same(study):
    whitened, volts = study.patterns(), study.patterns(whitened=False)
    for head in LEVELS:
        np.testing.assert_allclose(whitened[head], volts[head], rtol=1e-6, atol=1e-9 * np.abs(volts[head]).max())


def test_white_in_time_both_ways_to_the_scalp_agree():
    rng = np.random.default_rng(4)
    volts = np.array([[1.0, 0.0], [0.7, 0.5]]) @ rng.normal(size=(30000, 2, 3))
    whitener = Whitener().fit(volts.transpose(1, 0, 2).reshape(1, 2, -1))
    gradient = rng.normal(size=(5, 2, 3))
    found = covarying(gradient, whitener.transform(volts), volts)
    np.testing.assert_allclose(found, to_scalp(gradient, whitener.inverse_), atol=0.06)
    with pytest.raises(PhospheneError, match="the same two trials or more"):
        covarying(gradient, volts[:, :1], volts)


def test_the_contrast_of_a_known_encoder_finds_the_louder_sources(studies):
    checks = [study.contrast(study.known()).check(study.truth) for study in studies.values()]
    assert min(check["auc"].item() for check in checks) >= 0.95
    assert min(check["spearman"].item() for check in checks) >= 0.9


def test_without_the_inverse_the_same_encoder_is_known_less_well(studies):
    for study in studies.values():
        filters = attribute(
            lambda x, s=study: s.heads(x, s.known()), study.eeg[:100], {h: t[:100] for h, t in study.targets.items()}
        )
        filters = {head: study.whitener.whitening_ @ g for head, g in filters.items()}  # on volts
        check = level_contrast(topography(filters, signal()).by_level(LEVELS)).check(study.truth)
        assert check["spearman"].item() < study.contrast(study.known()).check(study.truth)["spearman"].item() - 0.04


def test_the_contrast_of_a_fitted_encoder_finds_the_louder_sources(studies):
    for study in studies.values():
        plain = study.contrast().check(study.truth)
        full = level_contrast(topography(study.covarying(), signal()).by_level(LEVELS)).check(study.truth)
        assert plain["auc"].item() >= 0.9
        assert full["auc"].item() >= 0.95
        assert full["spearman"].item() > plain["spearman"].item()


def test_the_contrast_of_random_encoders_is_at_chance(study):
    found = []
    for seed in range(40):
        draw = torch.Generator().manual_seed(seed)
        random = {h: torch.randn(w.shape, generator=draw, dtype=w.dtype) for h, w in study.weights.items()}
        small = attribute(
            lambda x, w=random: study.heads(x, w), study.eeg[:24], {h: t[:24] for h, t in study.targets.items()}
        )
        scalp = {h: to_scalp(g, study.whitener.inverse_) for h, g in small.items()}
        check = level_contrast(topography(scalp, signal()).by_level(LEVELS)).check(study.truth)
        found.append(check["auc"].item())
    assert abs(np.mean(found) - 0.5) < 0.08
    assert np.mean(np.array(found) >= 0.95) <= 0.05


def test_the_map_of_a_random_filter_is_the_loudness_of_the_channels(study):
    gradient = np.random.default_rng(0).normal(size=(300, len(CHANNELS), 10))
    found = topography({"a": to_scalp(gradient, study.whitener.inverse_)}, signal()).scaled().mean("a")
    np.testing.assert_allclose(found, of_noise(study.whitener.inverse_), rtol=0.06)


def test_three_subjects_have_a_mean_an_error_and_a_consistency(studies):
    parts = [s.covarying() for s in studies.values()]
    joined = {head: np.concatenate([p[head] for p in parts]) for head in LEVELS}
    maps = topography(joined, signal(), subjects=np.repeat(list(studies), N_TRIALS))
    assert maps.n_trials == (N_TRIALS,) * 3
    assert maps.consistency("thing") > 0.6
    frame = maps.frame()
    assert len(frame) == 2 * len(CHANNELS)
    here = frame[frame["map"] == "mood"]
    columns = here[["subject_01", "subject_02", "subject_03"]].to_numpy()
    np.testing.assert_allclose(here["mean"], columns.mean(axis=1))
    np.testing.assert_allclose(here["error"], columns.std(axis=1, ddof=1) / np.sqrt(3))
    json.dumps(maps.facts())
    check = level_contrast(maps.by_level(LEVELS)).check({s: study.truth for s, study in studies.items()})
    assert check["subject"].tolist() == ["01", "02", "03", "mean"]
    assert check["auc"].iloc[-1] >= 0.95
    table = level_contrast(maps.by_level(LEVELS)).frame()
    assert set(table.nlargest(6, "difference")["channel"]) <= {
        "Fp1",
        "Fp2",
        "AF7",
        "AF3",
        "AFz",
        "AF4",
        "AF8",
        "F1",
        "F2",
        "F3",
        "F4",
        "F5",
        "F6",
        "F7",
        "F8",
        "FT7",
        "FT8",
    }


def test_windows_and_signs(study):
    patterns = {"a": np.zeros((2, len(CHANNELS), N_TIMES))}
    patterns["a"][0, 3, 20:30], patterns["a"][1, 3, 20:30] = 2.0, -2.0
    inside = topography(patterns, signal(), window=(0.2, 0.3))
    assert inside.of("a")[0, 3] == pytest.approx(2.0)
    assert topography(patterns, signal(), window=(0.3, 0.5)).of("a").max() == 0
    opposite = topography(patterns, signal(), window=(0.2, 0.3), kind="signed")
    assert opposite.of("a")[0, 3] == 0  # two captions that pull apart cancel
    one = topography({"a": patterns["a"][1:]}, signal(), window=(0.2, 0.3), kind="signed")
    assert one.of("a")[0, 3] == pytest.approx(-2.0)
    assert np.isnan(one.consistency("a"))
    assert np.isnan(one.error("a")).all()
    with pytest.raises(PhospheneError, match="absolute maps"):
        level_contrast(one, "a", "a")


def test_levels_weigh_their_heads_alike_however_large(study):
    rng = np.random.default_rng(1)
    patterns = {name: scale * rng.normal(size=(4, 63, 3)) for name, scale in (("a", 1e-6), ("b", 1.0), ("c", 5.0))}
    maps = topography(patterns, signal())
    by_level = maps.by_level({"a": "low", "b": "low", "c": "high"})
    np.testing.assert_allclose(by_level.of("low"), (unit(maps.of("a")) + unit(maps.of("b"))) / 2)
    assert list(by_level.maps) == ["low", "high"]
    with pytest.raises(PhospheneError, match="'c' has no level"):
        maps.by_level({"a": "low", "b": "low"})


def test_each_session_passes_through_its_own_whitener():
    rng = np.random.default_rng(2)
    held = [rng.normal(size=(20, 3, 50)) * scale for scale in (1.0, 5.0)]
    whiteners = {("01", "01"): Whitener().fit(held[0]), ("01", "02"): Whitener().fit(held[1])}
    table = pd.DataFrame({"subject": ["01"] * 3, "session": ["02", "01", "02"]})
    operators, place = inverses(whiteners, table)
    gradients = rng.normal(size=(3, 3, 4))
    found = to_scalp(gradients, operators, place)
    for i, session in enumerate(table["session"]):
        np.testing.assert_allclose(found[i], whiteners["01", session].inverse_ @ gradients[i])
    with pytest.raises(PhospheneError, match="session 03 has no whitener"):
        inverses(whiteners, table.assign(session="03"))
    with pytest.raises(PhospheneError, match="say in 'place'"):
        to_scalp(gradients, operators)
    with pytest.raises(PhospheneError, match="do not belong"):
        to_scalp(gradients, np.eye(4))


def test_the_power_of_known_sources():
    patterns = {"theme": [3.0, 0.0], "object": [1.0, 2.0], "place": [9.0, 9.0]}
    sources = [{"content": content, "pattern": pattern} for content, pattern in patterns.items()]
    power = source_power(sources, variance=np.array([1.0, 2.0, 1.0]))
    np.testing.assert_allclose(power["thematic"], [9, 0])
    np.testing.assert_allclose(power["object"], [2, 8])
    with pytest.raises(PhospheneError, match="1 variances for 3 sources"):
        source_power(sources, variance=np.ones(1))


def test_maps_are_drawn(study, tmp_path):
    maps = topography({h: p[:20] for h, p in study.patterns().items()}, signal())
    drawn = figures.maps(maps)
    assert [ax.get_title() for ax in drawn.axes[:2]] == list(LEVELS)
    difference = level_contrast(maps.by_level(LEVELS))
    figure = figures.contrast(difference)
    assert figure.axes[0].get_title() == "thematic - object"
    figure.savefig(tmp_path / "contrast.png")
    assert (tmp_path / "contrast.png").stat().st_size > 5000
    with pytest.raises(PhospheneError, match="no positions"):
        figures.maps(replace(maps, signal=replace(maps.signal, positions=None)))
