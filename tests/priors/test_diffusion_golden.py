"""The diffusion prior against outputs of the published implementation under deterministic weights."""

import diffusers.schedulers.scheduling_ddpm as ddpm
import numpy as np
import pytest
import torch

from conftest import ROUNDING, golden, off
from golden import fill
from phosphene.errors import PhospheneError
from phosphene.networks.denoisers import NETWORKS, published_shape
from phosphene.networks.sampling import denoise, guided, scheduler_of
from phosphene.priors.diffusion import DiffusionPrior


def given(facts, name):
    return torch.from_numpy(fill.inputs(facts["inputs"][name]["shape"], facts["inputs"][name]["seed"])).double()


def assert_near(got, want):
    assert got.shape == want.shape
    assert off(got, want) <= ROUNDING


def filled(network="unet", **changes):
    prior = DiffusionPrior.published(network=network, **changes)
    fill.load(prior.network, 0)
    return prior.double().eval()


@pytest.mark.parametrize("network", ["unet", "mlp"])
@torch.inference_mode()
def test_network(network):
    facts, expected = golden(f"diffusion_prior_{network}")
    net = filled(network).network
    assert sum(p.numel() for p in net.parameters()) == facts["parameters"]
    x, cond, t = given(facts, "x"), given(facts, "cond"), torch.tensor(facts["timesteps"])
    assert_near(net(x, t, cond), expected["with_cond"])
    assert_near(net(x, t), expected["without_cond"])
    if network == "unet":
        assert_near(net(x, t, torch.zeros_like(cond)), expected["zero_cond"])
        assert_near(net.features(t), expected["time_features_512"])
    # a condition that is dropped is no condition, not one of zeros
    keep = torch.tensor([True, False, True, False, False, True])
    mixed = np.where(keep[:, None], expected["with_cond"], expected["without_cond"])
    assert_near(net(x, t, cond, keep), mixed)


@torch.inference_mode()
def test_training_pair():
    facts, expected = golden("diffusion_prior_training_pair")
    prior = filled()
    target, noise, cond = (given(facts, name) for name in ("target_h", "noise", "cond"))
    t = torch.tensor(facts["timesteps"])
    np.testing.assert_allclose(prior.schedule.alphas_cumprod, expected["alphas_cumprod"], rtol=1e-5)
    np.testing.assert_allclose(prior.schedule.add_noise(target, noise, t), expected["perturbed"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prior.error(cond, target, noise, t), expected["loss_with_cond"], rtol=1e-5)
    np.testing.assert_allclose(prior.error(None, target, noise, t), expected["loss_without_cond"], rtol=1e-5)
    dropped = torch.zeros(6, dtype=torch.bool)
    np.testing.assert_allclose(prior.error(cond, target, noise, t, dropped), expected["loss_without_cond"], rtol=1e-5)


SAMPLING = {
    "clip_true_noise_zero": (True, False, 5.0),
    "clip_true_noise_explicit": (True, True, 5.0),
    "clip_false_noise_zero": (False, False, 5.0),
    "clip_false_noise_explicit": (False, True, 5.0),
    "unconditional_g0_clip_true_noise_explicit": (True, True, 0.0),
}


@pytest.mark.parametrize("case", SAMPLING)
@torch.inference_mode()
def test_sampling(case, monkeypatch):
    clip, explicit, guidance = SAMPLING[case]
    facts, expected = golden("diffusion_prior_sampling")
    prior = filled()
    scheduler = scheduler_of(prior.sampler, prior.steps, clip)
    assert scheduler.timesteps.tolist() == facts["timesteps"]
    noise = iter(given(facts, "variance_noise") * explicit)
    monkeypatch.setattr(ddpm, "randn_tensor", lambda *_, **__: next(noise))
    predict = guided(prior.network, given(facts, "cond"), scheduler.timesteps, guidance)
    states, predictions = [], []

    def watched(x, step):
        states.append(x)
        predictions.append(predict(x, step))
        return predictions[-1]

    states.append(denoise(watched, scheduler, given(facts, "initial_noise"), []))
    assert_near(states[-1], expected[case])
    steps = facts["trajectory_steps"]
    if f"{case}_trajectory" in expected:
        for want, step in zip(expected[f"{case}_trajectory"], steps, strict=True):
            assert_near(states[step + 1], want)
    if f"{case}_guided_eps" in expected:
        for want, step in zip(expected[f"{case}_guided_eps"], steps, strict=True):
            assert_near(predictions[step], want)


def test_every_golden_output_is_compared():
    facts, _ = golden("diffusion_prior_sampling")
    cases = {name.removesuffix("_trajectory").removesuffix("_guided_eps") for name in facts["outputs"]}
    assert cases == set(SAMPLING)


@pytest.mark.parametrize("network", NETWORKS)
def test_published_weights_are_read(network, tmp_path):
    """By their names alone: widths, lengths and kind; and with the published switches."""
    widths = [24, 12, 6] if network == "unet" else [20, 20]
    torch.manual_seed(0)
    source = NETWORKS[network](10, 16, widths, 8)
    torch.save(source.state_dict(), tmp_path / "diffusion_prior.pt")
    assert published_shape(source.state_dict()) == (
        network,
        {"n_inputs": 10, "n_outputs": 16, "widths": widths, "time_dim": 8},
    )
    prior = DiffusionPrior.from_published(tmp_path / "diffusion_prior.pt", guidance=2.0)
    assert (prior.standardise, prior.clip_sample, prior.steps, prior.guidance) == (False, True, 50, 2.0)
    x, t, c = torch.randn(3, 16), torch.tensor([0, 400, 999]), torch.randn(3, 10)
    torch.testing.assert_close(prior.network(x, t, c), source.eval()(x, t, c))
    assert prior(c).shape == (3, 16)
    torch.save({"logit_scale": torch.ones(())}, tmp_path / "other.pt")
    with pytest.raises(PhospheneError, match="not a published diffusion prior"):
        DiffusionPrior.from_published(tmp_path / "other.pt")
    torch.save({**source.state_dict(), "output_layer.weight": torch.ones(2, 2)}, tmp_path / "odd.pt")
    with pytest.raises(PhospheneError, match="not a published diffusion prior"):
        DiffusionPrior.from_published(tmp_path / "odd.pt")
