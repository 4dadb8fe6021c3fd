"""The example of the published EEG embeddings: scores, cross-fitted priors, and pictures by a small random SDXL."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from backbones.published import small_row
from phosphene.backbones import table as backbones

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PHOSPHENE_SHARED", ROOT.parent / "shared")) / "data" / "things-eeg2-embeddings"
needs_embeddings = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the published embeddings are not at {SHARED}")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("atm_published", ROOT / "examples" / "atm_published.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A small random pipeline of SDXL-Turbo's classes with an adapter that reads 1024 numbers, in the table."""
    monkeypatch.setitem(backbones.BACKBONES, "tiny", small_row("sdxl-turbo", tmp_path / "sdxl"))


@needs_embeddings
def test_published_embeddings_become_scores_and_pictures(example, tiny, tmp_path, capsys):
    def run(name, seed):
        example.main([str(SHARED), str(tmp_path / name), "--backbone", "tiny", "--pictures", "3", "--seed", str(seed)])
        return {path.name: np.asarray(Image.open(path), float) for path in sorted((tmp_path / name).glob("*.png"))}

    first, again, other = run("first", 0), run("again", 0), run("other", 1)
    assert list(first) == ["001_aircraft_carrier.png", "002_antelope.png", "003_backscratcher.png"]
    assert {picture.shape for picture in first.values()} == {(64, 64, 3)}
    one, two, three = first.values()
    assert min(np.abs(one - two).max(), np.abs(one - three).max(), np.abs(two - three).max()) > 5
    for name, picture in first.items():
        np.testing.assert_array_equal(again[name], picture)
        assert np.abs(other[name] - picture).max() > 5
    assert "3 pictures in " in capsys.readouterr().out

    scores = pd.read_csv(tmp_path / "first" / "scores.csv", index_col="metric")
    assert scores["value"].round(3).to_dict() == {"image_top1": 0.36, "image_top5": 0.725, "image_top1_of_2": 0.970}
    assert scores["chance"].to_dict() == pytest.approx(
        {"image_top1": 1 / 200, "image_top5": 5 / 200, "image_top1_of_2": 0.5}
    )
    np.testing.assert_allclose(scores["shuffled"], scores["chance"], atol=0.02)
    prior = pd.read_csv(tmp_path / "first" / "prior_ridge.csv", index_col=0)
    assert prior.at["ridge", "length"] == pytest.approx(1, abs=0.1)  # the scale that the adapter reads
    assert prior.at["before the prior", "length"] < 0.5
    assert prior.at["ridge", "cosine"] > 0.5 > prior.at["before the prior", "cosine"]


def pairs(n=40, dim=8):
    generator = torch.Generator().manual_seed(0)
    eeg = torch.randn(n, dim, generator=generator)
    return eeg, 3 * eeg @ torch.randn(dim, dim, generator=generator) + 5


@pytest.mark.parametrize("prior", ["ridge", "diffusion"])
def test_no_picture_is_decoded_by_a_prior_that_saw_it(example, prior):
    eeg, image = pairs()
    decoded, folds = example.held_out(prior, eeg, image, updates=2, seed=0)
    assert sorted(torch.cat(folds).tolist()) == list(range(40))
    assert [len(fold) for fold in folds] == [10] * 4
    changed = image.clone()
    changed[folds[1]] = 100 * torch.randn(10, 8, generator=torch.Generator().manual_seed(1))
    again, _ = example.held_out(prior, eeg, changed, updates=2, seed=0)
    torch.testing.assert_close(again[folds[1]], decoded[folds[1]])
    assert float((again[folds[0]] - decoded[folds[0]]).abs().max()) > 1


def test_a_prior_that_can_learn_the_map_does(example):
    eeg, image = pairs()
    before = example.nearness(eeg, image, [torch.arange(40)])
    decoded, folds = example.held_out("ridge", eeg, image, updates=0, seed=0)
    after = example.nearness(decoded, image, folds)
    assert after["top-1 of 200"] > 0.9 > before["top-1 of 200"]
    assert after["cosine about the mean"] > 0.95
    itself = example.nearness(image, image, folds)
    assert itself == pytest.approx(dict.fromkeys(itself, 1.0))
