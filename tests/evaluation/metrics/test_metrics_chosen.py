"""`evaluation.pictures`: the field's metrics in a run's scores; the networks are fakes, or tiny."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from conftest import make_trials
from phosphene.api import run
from phosphene.backbones import table as backbones
from phosphene.cli import app
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.evaluation.metrics import chosen, inception, judge, networks, perceptual
from phosphene.evaluation.metrics.distributions import frechet
from phosphene.evaluation.metrics.pictures import pixels
from phosphene.evaluation.metrics.table import needs
from phosphene.runs import checks
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe

EVERY = ["clip", "alexnet2", "alexnet5", "inception", "effnet", "swav", "lpips", "ga", "fid", "kid", "is"]
NAMES = {
    "clip_2way",
    "alexnet2_2way",
    "alexnet5_2way",
    "inception_2way",
    "effnet_distance",
    "swav_distance",
    "lpips_alex",
    "ga_50way_top1",
    "fid",
    "kid",
    "is",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    make_trials(root / "pictures", n_concepts=9, n_times=100).save(root / "trials")
    return {
        "name": "drawn",
        "dataset": {"name": "arrays", "root": str(root / "trials")},
        "preprocessing": {},
        "method": {"name": "ridge"},
        "generator": {"name": "diffusion", "backbone": "mini", "steps": 1},
        "protocol": {"select_on": "last"},
        "evaluation": {"n_boot": 20, "n_perm": 99, "shuffled_control": False},
    }


@pytest.fixture
def fakes(monkeypatch):
    """Every package is there, every network a few numbers of the pixels; CLIP is that of mini."""
    seen = []

    def of_pixels(name="", dim=8):
        def features(*given, model=None, **more):
            pictures = next(part for part in given if not isinstance(part, str))
            seen.append(next((part for part in given if isinstance(part, str)), name))
            flat = pixels(pictures, 16).numpy().reshape(len(pictures), -1)
            return (flat @ np.random.default_rng(0).standard_normal((flat.shape[1], dim))).astype(np.float32)

        return features

    monkeypatch.setattr(checks, "needs", lambda names: {})
    monkeypatch.setattr(chosen, "CLIP", "mini")
    monkeypatch.setattr(networks, "load", lambda name: name)
    monkeypatch.setattr(networks, "features", of_pixels())
    monkeypatch.setattr(judge, "load_judge", lambda: None)
    monkeypatch.setattr(judge, "judged", of_pixels("judge", dim=60))
    monkeypatch.setattr(inception, "load_fidelity", lambda feature: feature)
    monkeypatch.setattr(inception, "fidelity_features", of_pixels("inception"))
    monkeypatch.setattr(perceptual, "load_lpips", lambda: lambda a, b: (a - b).square().mean(dim=(1, 2, 3)))
    chosen.network.cache_clear()
    yield seen
    chosen.network.cache_clear()


def test_each_is_a_row_of_the_scores(recipe, fakes, tmp_path):
    out = run(recipe, {"evaluation.pictures": [name for name in EVERY if name != "is"]}, tmp_path / "run")
    table = pd.read_csv(out / "scores.csv").set_index("metric")
    names = NAMES - {"is"}  # of four drawings there is none
    assert set(table.index) >= names
    assert set(fakes) == {
        "alexnet2_2way",
        "alexnet5_2way",
        "inception_2way",
        "effnet_distance",
        "swav_distance",
        "judge",
        "2048",
    }
    assert table.loc["clip_2way", "chance"] == pytest.approx(0.5)
    assert table.loc[["fid", "kid"], "p"].isna().all()
    assert np.isfinite(table.loc[sorted(names), "value"]).all()
    page = (out / "report.html").read_text()
    for label in ("AlexNet(2)", "LPIPS", "SwAV", "GA (50-way top-1)"):
        assert label in page
    # another choice afterwards, of what was drawn then
    done = CliRunner().invoke(app, ["evaluate", str(out), "--pictures", "lpips", "--pictures", "fid"])
    assert done.exit_code == 0, done.output
    later = pd.read_csv(out / "scores.csv").set_index("metric")
    pd.testing.assert_series_equal(later.loc["lpips_alex"], table.loc["lpips_alex"])
    assert set(later.index) & NAMES == {"lpips_alex", "fid"}


def test_each_is_computed_as_its_name_says(fakes):
    rng = np.random.default_rng(1)
    drawn, shown = (rng.integers(0, 256, (n, 3, 20, 20), np.uint8) for n in (24, 12))
    truth = np.repeat(np.arange(12), 2)
    of = chosen.Drawings(drawn, shown, truth, truth, np.arange(12).astype(str), np.arange(12))
    found = {question.metric: question for question in chosen.questions([n for n in EVERY if n != "clip"], of)}
    x, y = (networks.features("", part) for part in (drawn, shown))
    r = np.corrcoef(x, y)[:24, 24:]
    own = r[np.arange(24), truth]
    others = np.array([np.delete(row, column) for row, column in zip(r, truth, strict=True)])
    for name in ("alexnet2_2way", "alexnet5_2way", "inception_2way"):
        assert found[name].value == pytest.approx((others < own[:, None]).mean())
    for name in ("effnet_distance", "swav_distance"):
        assert found[name].value == pytest.approx((1 - own).mean(), abs=1e-5)
        assert not found[name].higher_is_better
    assert found["fid"].answer(n_boot=20)["value"] == pytest.approx(frechet(x.astype(float), y.astype(float)))
    judged = judge.judged(drawn), judge.judged(shown)
    wanted = judge.generation_accuracy(*judged, truth, truth)[0]
    assert found["ga_50way_top1"].value == wanted.value


def test_lpips_in_blocks_is_that_of_whole_tables(fakes):
    rng = np.random.default_rng(0)
    drawn, shown = (rng.integers(0, 256, (n, 3, 20, 20), np.uint8) for n in (24, 12))
    truth = np.repeat(np.arange(12), 2)
    of = chosen.Drawings(drawn, shown, truth, truth // 2, np.arange(12).astype(str), np.arange(12) // 2)
    (found,) = chosen.questions(["lpips"], of)
    whole = perceptual.lpips_distance(drawn, shown, model=perceptual.load_lpips())
    assert found.value == pytest.approx(whole[np.arange(24), truth].mean())


def test_is_of_few_drawings_is_left_out_and_said(fakes, caplog):
    few = np.zeros((4, 3, 8, 8), np.uint8)
    of = chosen.Drawings(few, few, np.arange(4), np.arange(4), np.arange(4).astype(str), np.arange(4))
    assert chosen.questions(["is"], of) == []
    assert "IS needs 10 splits, but only 4 pictures were drawn: it is left out" in caplog.text


def test_what_is_missing_is_told_before_anything_is_read(recipe, tmp_path, monkeypatch):
    given = {"evaluation.pictures": ["clip", "lpips"]}
    if importlib.util.find_spec("lpips") is None:
        with pytest.raises(MissingExtra, match=r"pip install 'phosphene\[metrics\]'"):
            Experiment(Recipe.read(recipe, given), tmp_path / "run").run()
    with pytest.raises(PhospheneError, match="are metrics of drawings: add a generator"):
        Experiment(Recipe.read(recipe, {"evaluation.pictures": ["clip"], "generator": None}), tmp_path / "run").run()
    with pytest.raises(PhospheneError, match="evaluation.pictures.*'klip'"):
        Recipe.read(recipe, {"evaluation.pictures": ["klip"]})

    def gone(name):
        raise PhospheneError(f"backbone '{name}' cannot be loaded: download it once")

    monkeypatch.setattr(chosen, "load_clip", gone)
    chosen.network.cache_clear()
    with pytest.raises(PhospheneError, match="'clip-vit-l14' cannot be loaded"):
        Experiment(Recipe.read(recipe, {"evaluation.pictures": ["clip"]}), tmp_path / "run").run()
    assert not (tmp_path / "run").exists()
    assert needs(["clip"]) == {}
    assert set(needs(EVERY)) == {"lpips", "torch_fidelity", "torchvision"}
    assert backbones.backbone(chosen.CLIP, "clip").shapes.image == 768
