"""SYNAPSE's autoencoder: names, counts and outputs of the published one, and what holds for any montage."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import GOLDEN, golden, off
from golden import fill
from phosphene.encoders.autoencoder import SMALL, Autoencoder, TokenDecoder, TokenEncoder, tokens_per_level
from phosphene.errors import PhospheneError

TINY = {"n_tokens": 7, "dim": 16, "widths": (8, 16), "n_heads": 4, "groups": 4}
# every which number is kept of what is large, and twice the rounding of the published run (as `ROUNDING`)
KEPT = {
    "synapse_ae": {"latent": (1, 2e-5), "reconstruction": (1, 1e-4), "decode_of_input": (6, 4e-5)},
    "synapse_ae_heads16": {"latent": (8, 3e-5), "reconstruction": (6, 3.5e-4)},
}


def counted(module):
    return sum(p.numel() for p in module.parameters())


def published_names():
    lines = (GOLDEN / "synapse_ae_keys.tsv").read_text().splitlines()[1:]
    return {key: tuple(json.loads(shape)) for key, shape in (line.split("\t") for line in lines)}


@pytest.fixture(scope="module")
def weights():
    return {key: torch.from_numpy(value) for key, value in fill.fill_state_dict(published_names(), 0).items()}


@pytest.mark.parametrize("case", KEPT)
def test_parity(case, weights):
    facts, expected = golden(case)
    with torch.device("meta"):
        model = Autoencoder(128, 440, n_heads=facts["config"]["n_head"]).eval()
    model.load_state_dict(weights, assign=True)
    model.double()
    inputs = {
        key: torch.from_numpy(fill.inputs(entry["shape"], entry["seed"])).mT.double()
        for key, entry in facts["inputs"].items()
    }
    with torch.inference_mode():
        latent, reconstruction = model(inputs["eeg"])
        got = {"latent": latent, "reconstruction": reconstruction}
        if "z" in inputs:
            got["decode_of_input"] = model.Decoder(inputs["z"])
    assert got.keys() == expected.keys()
    for name, (stride, limit) in KEPT[case].items():
        found, want = got[name].mT.contiguous().flatten()[::stride], expected[name].ravel()
        rms = facts["outputs"][name]["l2"] / np.sqrt(np.prod(facts["outputs"][name]["shape"]))
        assert off(found, want, rms) <= limit, name


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


@pytest.mark.parametrize(("n_chans", "n_times"), [(17, 100), (32, 251), (63, 250), (128, 440)])
def test_any_montage_and_length(n_chans, n_times):
    torch.manual_seed(0)
    model = Autoencoder(n_chans, n_times, **SMALL)
    assert 900_000 < counted(model) < 1_000_000
    eeg = torch.randn(4, n_chans, n_times)
    latent, rebuilt = model(eeg)
    assert latent.shape == (4, 77, 128)
    assert rebuilt.shape == eeg.shape
    (latent.square().mean() + F.mse_loss(rebuilt, eeg)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.inference_mode():
        latent, rebuilt = model(eeg)
        assert torch.equal(model.Encoder(eeg), latent)
        assert torch.equal(model.Decoder(latent), rebuilt)
        torch.testing.assert_close(model.Encoder(eeg[2:3]), latent[2:3], rtol=1e-3, atol=1e-4)  # no trial sees another


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(2, 4), st.integers(1, 2), st.sampled_from([1, 2, 4]))
def test_every_size_keeps_its_shapes(n_chans, n_times, n_levels, n_layer, n_heads):
    widths = (4, 8, 4, 8)[:n_levels]
    model = Autoencoder(n_chans, n_times, 3, 8, widths=widths, n_layer=n_layer, n_heads=n_heads, groups=2)
    latent, rebuilt = model(torch.randn(2, n_chans, n_times))
    assert (latent.shape, rebuilt.shape) == ((2, 3, 8), (2, n_chans, n_times))
    assert len(model.Encoder.main_flow[0]) == n_layer + 1


@given(st.integers(1, 600), st.integers(1, 7))
def test_tokens_go_down_to_one(n_chans, n_levels):
    tokens = tokens_per_level(n_chans, n_levels)
    assert len(tokens) == n_levels
    assert tokens[0] == n_chans
    assert all(b <= (a + 1) // 2 and b >= 1 for a, b in pairwise(tokens))
    assert n_levels == 1 or tokens[-1] == 1


def test_tokens_of_known_montages():
    assert tokens_per_level(128, 5) == (128, 64, 16, 4, 1)
    assert tokens_per_level(63, 5) == (63, 32, 16, 4, 1)
    assert tokens_per_level(17, 5) == (17, 9, 5, 3, 1)


def test_tokens_of_ones_own_choice():
    model = Autoencoder(9, 20, **TINY, tokens=[9, 5])
    assert model.Encoder.downs[0]["proj"].linear.weight.shape == (5, 9)
    latent, rebuilt = model(torch.randn(2, 9, 20))
    assert (latent.shape, rebuilt.shape) == ((2, 7, 16), (2, 9, 20))


def test_training_and_evaluation_compute_the_same():
    """Products in training, convolutions in evaluation: apart from dropout, one function with one gradient."""
    torch.manual_seed(0)
    model, eeg, found = Autoencoder(9, 20, **TINY, dropout=0.0).double(), torch.randn(3, 9, 20).double(), []
    for mode in (True, False):
        model.train(mode).zero_grad()
        latent, rebuilt = model(eeg)
        (latent.square().sum() + F.mse_loss(rebuilt, eeg)).backward()
        found.append([latent, rebuilt, *(p.grad.clone() for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    model, eeg = Autoencoder(9, 20, **TINY), torch.randn(3, 9, 20)
    model.eval()
    assert torch.equal(model(eeg)[1], model(eeg)[1])
    model.train()
    assert not torch.equal(model.Encoder(eeg), model.Encoder(eeg))
    latent = model.Encoder(eeg).detach()
    assert not torch.equal(model.Decoder(latent), model.Decoder(latent))
    places = [m for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    assert {m.p for m in places} == {0.5}
    assert len(places) == 2 * 2 * 3 + 1  # of each half, level and block; and of the last attention


def test_logits_have_no_scale():
    """Twice the queries is half the temperature, and heads are consecutive features."""
    model = Autoencoder(9, 20, **TINY).eval()
    block = model.Encoder.main_flow[0][2]
    x = block.layernorm1(torch.randn(2, 8, 9)).mT
    query, key, value = (F.linear(x, block.mha[name].conv.weight[:, :, 0]) for name in ("wq", "wk", "wv"))
    attended = [
        (query[..., i : i + 2] @ key[..., i : i + 2].mT).softmax(-1) @ value[..., i : i + 2] for i in range(0, 8, 2)
    ]
    expected = F.linear(torch.cat(attended, dim=-1), block.mha["out"].conv.weight[:, :, 0])
    for mode in (True, False):
        caught = []
        hook = block.mha["out"].register_forward_hook(lambda module, given, out, to=caught: to.append(out))
        block.dropout.p, block.layernorm1 = 0.0, torch.nn.Identity()
        block.train(mode)(x)
        hook.remove()
        torch.testing.assert_close(caught[0], expected, rtol=1e-4, atol=1e-5)


def test_it_learns_to_rebuild():
    """Trials that few patterns make: one step helps, and after more of them other trials come through."""
    torch.manual_seed(0)
    eeg = torch.einsum("nk,kct->nct", torch.randn(96, 2), torch.randn(2, 9, 20))
    train, test = eeg[:64], eeg[64:]
    model = Autoencoder(9, 20, **{**TINY, "n_layer": 1}, dropout=0.0)
    optimiser, losses = torch.optim.AdamW(model.parameters(), 1e-2, fused=True), []
    for _ in range(60):
        optimiser.zero_grad()
        losses.append(F.mse_loss(model(train)[1], train))
        losses[-1].backward()
        optimiser.step()
    assert losses[1] < losses[0]
    with torch.inference_mode():
        assert float(F.mse_loss(model.eval()(test)[1], test) / test.square().mean()) < 0.5


def test_what_does_not_fit_is_refused():
    for wrong, message in (
        ({"n_times": 0}, "n_times is 0: give 1 or more"),
        ({"n_heads": 3}, r"widths \(8, 16\) and dim 16: give multiples of groups \(4\) and n_heads \(3\)"),
        ({"groups": 5}, r"give multiples of groups \(5\)"),
        ({"dim": 18}, "and dim 18: give multiples of"),
        ({"widths": (8,)}, r"widths \(8,\): give two or more"),
        ({"tokens": (8, 2)}, r"tokens \(8, 2\): give one number for each of 2 widths, the first of them n_chans \(9\)"),
        ({"tokens": (9,)}, r"tokens \(9,\): give one number for each of 2 widths"),
    ):
        for build in (TokenEncoder, TokenDecoder, Autoencoder):
            with pytest.raises(PhospheneError, match=message):
                build(**{"n_chans": 9, "n_times": 20, **TINY, **wrong})
    model = Autoencoder(9, 20, **TINY)
    with pytest.raises(PhospheneError, match=r"built for \(batch, 9, 20\) and was given \(2, 20, 9\)"):
        model(torch.zeros(2, 20, 9))
    with pytest.raises(PhospheneError, match=r"built for \(batch, 7, 16\) and was given \(2, 16, 7\): give tokens"):
        model.Decoder(torch.zeros(2, 16, 7))
