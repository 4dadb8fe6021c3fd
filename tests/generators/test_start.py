"""Drawing that starts from decoded latents: the stock pipelines lay the scheduler's own noise over them."""

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.published import attach, published, small
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion
from phosphene.simulate.scenes import Scene, draw
from phosphene.targets.clip import CLIPImage
from phosphene.targets.latent import Latent

SCENES = [Scene("car", "red", "snow", "left"), Scene("fish", "blue", "forest", "right")]


def pixels(drawn):
    return np.stack([np.asarray(p[0] if isinstance(p, list) else p, float) for p in drawn])


@pytest.fixture(scope="module")
def mini():
    return Diffusion("mini", steps=8)


@pytest.fixture(scope="module")
def decoded():
    """Pictures of the latents of two scenes."""
    space = Latent("mini")
    return space.decode(space.encode([draw(scene) for scene in SCENES]))


@pytest.fixture(scope="module")
def embeds():
    """Embeddings that ask for the other scene."""
    return CLIPImage("mini").images([draw(scene) for scene in SCENES[::-1]])


def far(a, b):
    return float(np.abs(pixels(a) - pixels(b)).mean())


def test_a_little_strength_keeps_the_latent_and_all_of_it_forgets(mini, decoded, embeds):
    kept, half, late, gone = (
        mini(Conditioning(image_embeds=embeds, init=decoded, strength=strength)) for strength in (0.125, 0.5, 0.875, 1)
    )
    assert far(kept, decoded) < 6  # of 255; decoding and encoding alone changes 3
    assert far(kept, decoded) < far(half, decoded) < far(late, decoded) < far(gone, decoded)
    assert far(gone, mini(Conditioning(image_embeds=embeds, init=decoded[::-1], strength=1))) < 1
    assert far(gone, mini(Conditioning(image_embeds=embeds))) < 1  # the same noise, and nothing else


@pytest.fixture(scope="module")
def sdxl():
    """A small pipeline of SDXL-Turbo's classes and scheduler with an adapter, random weights."""
    generator = Diffusion("sdxl-turbo", steps=4, guidance=0.0, size=64)
    generator.pipeline = small("sdxl-turbo")
    attach(generator.pipeline, published("sdxl-turbo")["adapter"], "cpu")
    return generator


@pytest.mark.parametrize(("strength", "left"), [(0.25, 1), (0.5, 2), (1.0, 4)])
def test_the_noise_is_that_of_the_step_at_which_drawing_begins(sdxl, monkeypatch, strength, left):
    read, calls, forward = [], [], sdxl.pipeline.unet.forward
    schedule = type(sdxl.pipeline.scheduler)

    def noted(sample, step, **more):
        calls.append((sample, float(step)))
        return forward(sample, step, **more)

    def laid(scheduler, latents, noise, steps, add=schedule.add_noise):
        read.append((latents, noise))
        return add(scheduler, latents, noise, steps)

    monkeypatch.setattr(sdxl.pipeline.unet, "forward", noted)
    monkeypatch.setattr(schedule, "add_noise", laid)
    grey = [Image.effect_noise((64, 64), 80).convert("RGB") for _ in range(2)]
    embeds = torch.randn(2, 1024, generator=torch.Generator().manual_seed(0))
    sdxl(Conditioning(image_embeds=embeds, init=grey, strength=strength))
    scheduler = sdxl.pipeline.scheduler
    assert [step for _, step in calls] == scheduler.timesteps.tolist()[-left:]
    ((latents, noise),) = read
    sigma = scheduler.sigmas[4 - left]
    torch.testing.assert_close(calls[0][0] * (sigma**2 + 1) ** 0.5, latents + sigma * noise)
    vae, shown = sdxl.pipeline.vae, torch.from_numpy(pixels(grey)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        posterior, scale = vae.encode(shown).latent_dist, vae.config.scaling_factor
        assert float(((latents / scale - posterior.mean) / posterior.std).abs().max()) < 6  # a sample of the posterior
    assert abs(float(noise.std()) - 1) < 0.15


def test_each_picture_has_its_own_start_and_embedding(sdxl):
    pictures = [Image.effect_noise((64, 64), n).convert("RGB") for n in (20, 120)]
    embeds = torch.randn(2, 1024, generator=torch.Generator().manual_seed(0))
    both = sdxl(Conditioning(image_embeds=embeds, init=pictures, strength=0.5))
    for i in range(2):
        alone = sdxl(Conditioning(image_embeds=embeds[[i]], init=[pictures[i]], strength=0.5), numbers=[i])
        assert np.abs(pixels(alone)[0] - pixels(both)[i]).max() <= 2
    swapped = sdxl(Conditioning(image_embeds=embeds.flip(0), init=pictures, strength=0.5))
    assert np.abs(pixels(swapped) - pixels(both)).max() > 1
    swapped = sdxl(Conditioning(image_embeds=embeds, init=pictures[::-1], strength=0.5))
    assert np.abs(pixels(swapped) - pixels(both)).max() > 1
