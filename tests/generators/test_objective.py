"""The training objective against the stock schedulers, and against how `mini` was trained."""

import diffusers
import pytest
import torch
from diffusers.training_utils import compute_snr
from hypothesis import given
from hypothesis import strategies as st

from backbones.published import published
from phosphene.backbones.table import load_pipeline
from phosphene.errors import PhospheneError
from phosphene.networks.objective import denoising_loss, dropped, min_snr, noised, scaled
from phosphene.simulate.scenes import Scene, draw
from phosphene.targets.latent import Latent

ROWS = ("sd15", "sd21", "mini")


def scheduler(name):
    facts = published(name)["scheduler"]
    return getattr(diffusers, facts["class"]).from_config(facts["config"])


def latents(n=4, seed=0):
    return torch.randn(2, n, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["sd15", "sd21"])
def test_noise_and_velocity_are_those_of_the_stock_schedulers(name):
    clean, noise = latents()
    own, time = scheduler(name), torch.tensor([0, 250, 600, 999])
    stock = diffusers.DDIMScheduler.from_config(own.config)
    noisy, target = noised(clean, noise, time, own)
    torch.testing.assert_close(noisy, stock.add_noise(clean, noise, time))
    wanted = noise if name == "sd15" else stock.get_velocity(clean, noise, time)
    torch.testing.assert_close(target, wanted)
    snr = compute_snr(stock, time)
    for gamma in (0.5, 5.0):
        weight = snr.clamp(max=gamma) / (snr if name == "sd15" else snr + 1)
        torch.testing.assert_close(min_snr(time, own, gamma), weight, rtol=1e-4, atol=1e-7)


def test_gamma_of_one_half_weighs_at_most_a_third():
    weight = min_snr(torch.arange(1000), scheduler("sd21"), 0.5)
    assert 0.33 < float(weight.max()) <= 1 / 3 + 1e-6
    assert float(weight[0]) < 0.001


@pytest.mark.parametrize("name", ROWS)
@given(time=st.integers(1, 998), gamma=st.floats(0.1, 20), seed=st.integers(0, 99))
def test_a_weighted_error_is_that_of_the_clean_latents(name, time, gamma, seed):
    """min(SNR, gamma) times the squared error of the clean latents, whatever is predicted."""
    own, at = scheduler(name), torch.tensor([time])
    clean, noise = (part.double() for part in latents(1, seed))
    noisy, target = noised(clean, noise, at, own)
    wrong = target + 0.1 * latents(1, seed + 1)[0]
    kept, laid = (
        float(noised(*pair, at, own)[0].mean())
        for pair in (
            (torch.ones_like(clean), torch.zeros_like(clean)),
            (torch.zeros_like(clean), torch.ones_like(clean)),
        )
    )

    def picture(predicted):
        if name == "sd15":
            return (noisy - laid * predicted) / kept
        return kept * noisy - laid * predicted if name == "sd21" else noisy - laid * predicted

    torch.testing.assert_close(picture(target), clean, rtol=1e-4, atol=1e-4)
    error = (picture(wrong) - picture(target)).square().mean()
    weighted = float(min_snr(at, own, gamma)) * float((wrong - target).square().mean())
    assert weighted == pytest.approx(min((kept / laid) ** 2, gamma) * float(error), rel=1e-3)


@pytest.mark.parametrize("name", ROWS)
def test_a_network_that_predicts_the_target_draws_the_picture(name):
    """Target and times are what the stock sampler of the row takes them for."""
    own = scheduler(name)
    clean, noise = latents(1)
    own.set_timesteps(25)
    sample = noise * own.init_noise_sigma
    for time in own.timesteps:
        at = time[None]
        kept = noised(torch.ones_like(clean), torch.zeros_like(clean), at, own)[0]
        laid = noised(torch.zeros_like(clean), torch.ones_like(clean), at, own)[0]
        guess = (own.scale_model_input(sample, time) - kept * clean) / laid
        sample = own.step(noised(clean, guess, at, own)[1], time, sample).prev_sample
    assert float((sample - clean).abs().max()) < 0.2  # sd15 and sd21 end at a noise of 0.03


def test_the_loss_is_the_weighted_error_at_uniform_times():
    own, clean, seen = scheduler("sd21"), latents(400)[0][:, :, :1, :1], []

    def predict(noisy, time):
        seen.append(time)
        return torch.zeros_like(noisy)

    loss = denoising_loss(predict, clean, own, gamma=0.5, generator=torch.Generator().manual_seed(3))
    draws = torch.Generator().manual_seed(3)
    time = (1000 * torch.rand(400, generator=draws)).long()
    _, target = noised(clean, torch.randn(clean.shape, generator=draws), time, own)
    assert torch.equal(seen[0], time)
    torch.testing.assert_close(loss, (min_snr(time, own, 0.5)[:, None, None, None] * target**2).mean())
    assert abs(float(time.float().mean()) - 499.5) < 60
    torch.manual_seed(3)  # without a generator, torch's own
    torch.testing.assert_close(denoising_loss(predict, clean, own, gamma=0.5), loss, rtol=0, atol=0)
    flow = scheduler("mini")
    denoising_loss(predict, clean, flow)
    assert seen[-1].dtype == torch.float32
    assert 900 < float(seen[-1].max()) < 1000
    assert 0 < float(seen[-1].min()) < 100


@pytest.mark.parametrize("name", ["sd21", "mini"])
def test_late_times_are_as_frequent_as_they_are_late(name):
    own, seen = scheduler(name), []

    def predict(noisy, time):
        seen.append(time.float())
        return torch.zeros_like(noisy)

    clean = torch.zeros(4000, 1, 1, 1)
    denoising_loss(predict, clean, own, generator=torch.Generator().manual_seed(3), times="late")
    counts = torch.histc(seen[0], bins=4, min=0, max=1000) / 4000
    torch.testing.assert_close(counts, torch.tensor([1, 3, 5, 7]) / 16, atol=0.03, rtol=0)


@given(p=st.floats(0, 1), seed=st.integers(0, 999))
def test_whole_samples_are_dropped(p, seed):
    latent = torch.ones(60, 3, 2)
    made = dropped(latent, p, torch.Generator().manual_seed(seed))
    gone = (made == 0).all((1, 2))
    assert torch.equal(made[~gone], latent[~gone])
    assert torch.equal(latent, torch.ones(60, 3, 2))
    assert abs(float(gone.float().mean()) - p) <= 4 * (0.25 / 60) ** 0.5


def test_all_or_none_are_dropped():
    latent = torch.ones(8, 3, 2)
    assert torch.equal(dropped(latent, 0.0), latent)
    assert not dropped(latent, 1.0).any()
    with pytest.raises(PhospheneError, match="give 0 to 1"):
        dropped(latent, 1.5)


def test_refused():
    own = scheduler("sd21")
    with pytest.raises(PhospheneError, match="gamma is 0: give"):
        min_snr(torch.tensor([3]), own, 0)
    with pytest.raises(PhospheneError, match="unknown times 'latest'"):
        denoising_loss(lambda noisy, time: noisy, latents(2)[0], own, times="latest")
    other = diffusers.DDIMScheduler(prediction_type="sample")
    with pytest.raises(PhospheneError, match="predicts 'sample'"):
        noised(*latents(1), torch.tensor([3]), other)


def test_mini_was_trained_with_this_loss():
    """Its U-Net has a small error of this objective and of these scaled latents, and a large one of others."""
    pipe = load_pipeline("mini")
    scenes = [Scene("car", "red", "snow", "left"), Scene("fish", "blue", "forest", "right")] * 2
    clean = Latent("mini").encode([draw(scene) for scene in scenes])
    with torch.inference_mode():
        told, _ = pipe.encode_prompt([scene.prompt for scene in scenes], "cpu", 1, False)

        def loss(latents, turned=1.0, hours=1.0):
            return float(
                denoising_loss(
                    lambda noisy, time: turned * pipe.unet(noisy, hours * time, told).sample,
                    latents,
                    pipe.scheduler,
                    generator=torch.Generator().manual_seed(0),
                )
            )

        latents = scaled(clean, pipe.vae)
        right = loss(latents)
        assert right < 0.5
        for wrong in (loss(latents, turned=-1), loss(latents, hours=0.001), loss(2 * latents), loss(latents + 0.5)):
            assert wrong > 2 * right
    shifted = type("Autoencoder", (), {"config": type(pipe.vae.config)(scaling_factor=0.5, shift_factor=2.0)})
    torch.testing.assert_close(scaled(clean, shifted), (clean - 2) / 2)
