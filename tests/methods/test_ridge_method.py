"""Ridge regression finds a linear code, and nothing where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.evaluation.retrieval import ranks, top_k
from phosphene.methods.ridge import Ridge
from phosphene.training.fit import fit


def coded(folder, noise, seed=0):
    """Trials whose EEG is a linear map of the picture's embedding, and noise."""
    trials = make_trials(folder, n_concepts=9, pictures=9, repeats=2, n_chans=6, n_times=60)
    space = Ridge(6, 60).space
    vectors = space.table(trials.stimuli).vectors
    vectors = ((vectors - vectors.mean(0)) / vectors.std(0)).numpy()
    rng = np.random.default_rng(seed)
    code = vectors @ rng.standard_normal((space.dim, 6 * 20)) / np.sqrt(space.dim)
    row = {name: i for i, name in enumerate(trials.stimuli.index)}
    clean = code[[row[s] for s in trials.table["stimulus"]]].reshape(-1, 6, 20).repeat(3, axis=2)
    eeg = clean + noise * rng.standard_normal(clean.shape)
    return replace(trials, eeg=eeg.astype(np.float32))


def top1(method, trials):
    shown = trials.stimuli.loc[sorted(set(trials.table["stimulus"]))]
    points, pictures = method.points(method.encode(trials)), method.pictures(shown)
    similarity = torch.nn.functional.normalize(points, dim=1) @ torch.nn.functional.normalize(pictures, dim=1).T
    truth = [list(shown.index).index(s) for s in trials.table["stimulus"]]
    return float(top_k(ranks(similarity.numpy()))[np.arange(len(truth)), truth].mean())


def test_a_linear_code_is_found_in_pictures_of_unseen_concepts(tmp_path):
    found = {}
    for noise in (0.1, 1e3):
        trials = coded(tmp_path / f"{noise}", noise)
        train = trials.select(concept=[f"c{i}" for i in range(7)])
        test = trials.select(concept=["c7", "c8"])
        found[noise] = top1(fit(Ridge(6, 60), train), test)
    assert found[0.1] > 0.5  # of 18 pictures: chance is 0.06
    assert found[1e3] < 0.25


def test_bins_are_checked():
    with pytest.raises(PhospheneError, match="bin_samples is 0: choose 1 to 60"):
        Ridge(6, 60, bin_samples=0)
