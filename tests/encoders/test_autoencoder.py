"""SYNAPSE's autoencoder: names, counts and outputs of the published one, and what holds for any montage."""

import json

import numpy as np
import pytest
import torch

from conftest import GOLDEN, golden
from golden import fill
from phosphene.encoders.autoencoder import Autoencoder

# limits of the largest difference, of the root mean square; and every which number is kept of those that are large
LIMITS = {
    "synapse_ae": {"latent": (3e-5, 1), "reconstruction": (2e-4, 1), "decode_of_input": (2e-5, 6)},
    "synapse_ae_heads16": {"latent": (1e-4, 8), "reconstruction": (1e-3, 6)},
}


def counted(module):
    return sum(p.numel() for p in module.parameters())


def published_names():
    lines = (GOLDEN / "synapse_ae_keys.tsv").read_text().splitlines()[1:]
    return {key: tuple(json.loads(shape)) for key, shape in (line.split("\t") for line in lines)}


@pytest.fixture(scope="module")
def weights():
    return {key: torch.from_numpy(value) for key, value in fill.fill_state_dict(published_names(), 0).items()}


@pytest.mark.parametrize("case", LIMITS)
def test_parity(case, weights):
    facts, expected = golden(case)
    with torch.device("meta"):
        model = Autoencoder(128, 440, n_heads=facts["config"]["n_head"]).eval()
    model.load_state_dict(weights, assign=True)
    given = {key: torch.from_numpy(fill.inputs(entry["shape"], entry["seed"])).mT for key, entry in
             facts["inputs"].items()}  # fmt: skip
    with torch.inference_mode():
        latent, reconstruction = model(given["eeg"])
        got = {"latent": latent, "reconstruction": reconstruction}
        if "z" in given:
            # exact: the limit is below the published implementation's own rounding (2.2e-5)
            got["decode_of_input"] = model.double().Decoder(given["z"].double())
    assert got.keys() == expected.keys()
    for name, (limit, stride) in LIMITS[case].items():
        found, want = got[name].mT.contiguous().flatten()[::stride].numpy(), expected[name].ravel()
        rms = facts["outputs"][name]["l2"] / np.sqrt(np.prod(facts["outputs"][name]["shape"]))
        assert np.abs(found - want).max() <= limit * rms, name


def test_names_shapes_and_counts_are_the_published_ones():
    with torch.device("meta"):
        model, deep, bare = (
            Autoencoder(128, 440, **more) for more in ({}, {"n_layer": 3}, {"global_attention": False})
        )
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == published_names()
    assert [len(half.state_dict()) for half in (model.Encoder, model.Decoder)] == [163, 143]
    assert [counted(half) for half in (model.Encoder, model.Decoder)] == [27_590_878, 21_869_036]
    assert [counted(half) for half in (deep.Encoder, deep.Decoder)] == [31_789_022, 26_067_180]
    assert counted(bare) == 44_633_648
