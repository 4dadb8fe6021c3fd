"""Drawing with a tuned U-Net through the stock pipeline; the generator that it came from stays as it was."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from backbones.published import small
from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion
from phosphene.generators.tuned import SplitAttention, TunedUNet
from phosphene.simulate.scenes import Scene, draw

PROMPTS = ["a red car in the snow", "a blue fish in the forest"]


@pytest.fixture(scope="module")
def mini():
    return Diffusion("mini", steps=3, batch_size=2)


@pytest.fixture(scope="module")
def net(mini):
    torch.manual_seed(0)
    return TunedUNet(mini.pipeline.unet)


@pytest.fixture(scope="module")
def states(mini):
    """(2, 77, 128) text states in place of latents of EEG."""
    with torch.inference_mode():
        tokens, _ = mini.pipeline.encode_prompt(PROMPTS, "cpu", 1, False)
    return tokens.clone()


def pixels(drawn):
    return np.stack([np.asarray(row[0], float) for row in drawn])


def test_without_the_adapter_it_draws_as_the_stock_unet(mini, states):
    wanted = pixels(mini(Conditioning(tokens=states)))
    for options in ({"n_adapter": 0}, {"scale": 0.0}):
        net = TunedUNet(mini.pipeline.unet, **options)
        assert np.abs(pixels(mini.tuned(net)(Conditioning(tokens=net.tokens(states).detach()))) - wanted).max() <= 2


def test_guidance_leads_away_from_no_condition(mini, net, states):
    tuned = mini.tuned(net)
    with torch.inference_mode():
        tokens, nothing = net.tokens(states), net.tokens(torch.zeros(1, 77, 128))[0]
    own = pixels(tuned(Conditioning(tokens=tokens)))
    assert np.abs(own - pixels(tuned(Conditioning(tokens=tokens, negative_tokens=nothing)))).max() <= 2
    assert np.abs(own - pixels(tuned(Conditioning(tokens=tokens, negative_tokens=torch.zeros(81, 128))))).max() > 20
    stronger = copy.copy(mini)
    stronger.guidance = 6.0
    assert np.abs(own - pixels(stronger.tuned(net)(Conditioning(tokens=tokens)))).max() > 20
    later = tuned(Conditioning(tokens=tokens[1:]), numbers=[1])
    assert np.abs(pixels(later)[0] - own[1]).max() <= 2


def test_the_first_generator_stays_and_all_but_the_unet_is_shared(mini, net, states):
    before = pixels(mini(Conditioning(prompt=PROMPTS)))
    tuned = mini.tuned(net)
    assert tuned.pipeline.unet is net.unet
    assert mini.pipeline.unet is not net.unet
    assert not any(isinstance(module, SplitAttention) for module in mini.pipeline.unet.modules())
    for name, part in mini.pipeline.components.items():
        if isinstance(part, nn.Module) and name != "unet":
            assert tuned.pipeline.components[name] is part
    first = pixels(tuned(Conditioning(tokens=net.tokens(states).detach())))
    trained = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.05)
    other = pixels(mini.tuned(trained)(Conditioning(tokens=trained.tokens(states).detach())))
    assert np.abs(other - first).max() > 20
    assert np.abs(pixels(tuned(Conditioning(tokens=net.tokens(states).detach()))) - first).max() == 0
    assert np.abs(pixels(mini(Conditioning(prompt=PROMPTS))) - before).max() == 0
    assert all(p.grad is None for p in net.parameters())


def test_other_precision_is_a_copy(mini, net, states):
    double = copy.deepcopy(net).double()
    tuned = mini.tuned(double)
    assert tuned.pipeline.unet.dtype == torch.float32
    assert double.unet.dtype == torch.float64
    wanted = pixels(mini.tuned(net)(Conditioning(tokens=net.tokens(states).detach())))
    drawn = pixels(tuned(Conditioning(tokens=double.tokens(states).float().detach())))
    assert np.abs(drawn - wanted).max() <= 2


def test_a_start_and_image_prompts_of_the_first(mini, net, states):
    tuned, tokens = mini.tuned(net), net.tokens(states).detach()
    start = [draw(Scene("car", "red", "snow", "left"))] * 2
    kept = pixels(tuned(Conditioning(tokens=tokens, init=start, strength=0.4)))
    gone = pixels(tuned(Conditioning(tokens=tokens)))
    first = np.asarray(start[0], float)
    assert np.abs(kept - first).mean() < 0.5 * np.abs(gone - first).mean()
    for fields in ({"prompt": PROMPTS}, {"tokens": tokens, "image_embeds": torch.zeros(2, 128)}):
        with pytest.raises(PhospheneError, match="TunedDiffusion cannot use '"):
            tuned(Conditioning(**fields))
    mini(Conditioning(image_embeds=torch.randn(2, 128)))  # attaches the adapter
    with pytest.raises(PhospheneError, match="without an image-prompt adapter"):
        TunedUNet(mini.pipeline.unet)
    assert np.abs(pixels(tuned(Conditioning(tokens=tokens))) - gone).max() == 0
    mini(Conditioning(prompt=PROMPTS))


@pytest.mark.parametrize("name", ["sd15", "sd21"])
def test_stock_stable_diffusion_draws(name):
    generator = Diffusion(name, steps=2, size=64)
    generator.pipeline = small(name)
    net = TunedUNet(generator.pipeline.unet)
    latent = torch.randn(2, 77, net.dim, generator=torch.Generator().manual_seed(0))
    tuned = generator.tuned(net)
    both = pixels(tuned(Conditioning(tokens=net.tokens(latent).detach())))
    alone = pixels(tuned(Conditioning(tokens=net.tokens(latent[1:]).detach()), numbers=[1]))
    assert both.shape == (2, 64, 64, 3)
    assert np.abs(both[1] - alone[0]).max() <= 2
    with pytest.raises(PhospheneError, match="has in_channels 4 and that of backbone 'mini' 12: tune the U-Net"):
        Diffusion("mini").tuned(net)
    with pytest.raises(PhospheneError, match="4 tokens of which 4 are the adapter's"):
        tuned(Conditioning(tokens=net.tokens(latent)[:, -4:].detach()))
