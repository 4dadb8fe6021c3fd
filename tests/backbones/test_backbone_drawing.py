"""Drawing with small pipelines of the published classes: blends, tokens, and prompts that are too long."""

import numpy as np
import pytest
import torch
from PIL import Image
from published import attach, published, rows, small

from phosphene.backbones.table import BACKBONES
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion

NAMES = rows("diffusion")
DOG, CAT = "a dog on the left, in the snow, by day", "a cat in the centre, in a room, at night"


@pytest.fixture(scope="module", params=NAMES)
def drawer(request):
    generator = Diffusion(request.param, steps=3, guidance=3.0, size=64)
    generator.pipeline = small(request.param)
    return generator


def pixels(drawn):
    return np.stack([np.asarray(samples[0], float) for samples in drawn])


def states(generator, caption):
    return generator.pipeline.encode_prompt(
        prompt=[caption], device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )[0].detach()


def seen(monkeypatch, generator):
    """What the U-Net reads while pictures are drawn, call after call."""
    calls = []
    forward = generator.pipeline.unet.forward

    def noted(sample, step, encoder_hidden_states, **more):
        calls.append({"tokens": encoder_hidden_states, **(more.get("added_cond_kwargs") or {})})
        return forward(sample, step, encoder_hidden_states=encoder_hidden_states, **more)

    monkeypatch.setattr(generator.pipeline.unet, "forward", noted)
    return calls


def test_a_blend_of_one_caption_is_that_caption(drawer):
    plain = pixels(drawer(Conditioning(prompt=[DOG, CAT])))
    blend = pixels(drawer(Conditioning(prompt=[[(DOG, 0.2)], CAT])))
    assert np.abs(plain - blend).max() <= 1
    assert np.abs(plain[0] - plain[1]).max() > 1


def test_the_unet_reads_the_weighted_mean(drawer, monkeypatch):
    calls = seen(monkeypatch, drawer)
    for prompt in (DOG, CAT, [(DOG, 3.0), (CAT, 1.0)]):
        drawer(Conditioning(prompt=[prompt]))
    dog, cat, blend = calls[0], calls[len(calls) // 3], calls[-1]
    assert set(dog) == set(blend)
    for name in {"tokens", "text_embeds"} & set(dog):
        assert dog[name].shape[0] == 2  # without and with the prompt
        torch.testing.assert_close(blend[name][0], dog[name][0])
        torch.testing.assert_close(blend[name][1], 0.75 * dog[name][1] + 0.25 * cat[name][1])
        assert float((dog[name][1] - cat[name][1]).abs().max()) > 0.1
    assert ("text_embeds" in dog) == (BACKBONES[drawer.backbone].shapes.pooled is not None)


def test_tokens_of_the_empty_caption_are_no_prompt(drawer):
    alone = Diffusion(drawer.backbone, steps=3, guidance=0.0, size=64)
    alone.pipeline = drawer.pipeline
    nothing = pixels(alone(Conditioning(prompt=["", ""])))
    tokens = states(drawer, "").repeat(2, 1, 1)
    assert np.abs(pixels(alone(Conditioning(tokens=tokens))) - nothing).max() <= 1
    assert np.abs(pixels(alone(Conditioning(tokens=tokens + 3))) - nothing).max() > 1
    assert np.isfinite(pixels(drawer(Conditioning(tokens=tokens)))).all()  # guided: zeros against the tokens


def test_a_blend_may_start_from_a_picture(drawer):
    start = Image.effect_noise((50, 40), 90).convert("RGB")
    fields = {"init": [start], "strength": 0.7}
    plain = pixels(drawer(Conditioning(prompt=[DOG], **fields)))
    assert np.abs(pixels(drawer(Conditioning(prompt=[[(DOG, 1)]], **fields))) - plain).max() <= 1


@pytest.mark.parametrize("name", [name for name in NAMES if "adapter" in published(name)])
def test_embeddings_may_stand_beside_any_prompt(name):
    generator = Diffusion(name, steps=2, guidance=3.0, size=64)
    generator.pipeline = small(name)
    adapter = published(name)["adapter"]
    attach(generator.pipeline, adapter, "cpu")
    embeds = torch.randn(2, adapter["image"], generator=torch.Generator().manual_seed(0))
    tokens = states(generator, DOG).repeat(2, 1, 1)
    for fields in ({}, {"prompt": [DOG, DOG]}, {"prompt": [DOG, [(DOG, 1), (CAT, 1)]]}, {"tokens": tokens}):
        first, second = pixels(generator(Conditioning(image_embeds=embeds, **fields)))
        assert first.shape == (64, 64, 3)
        other = pixels(generator(Conditioning(image_embeds=embeds.flip(0), **fields)))
        assert np.abs(other[0] - first).max() > 1  # the embedding counts
        assert np.abs(second - first).max() > 1


def test_the_schedulers_are_the_published_ones():
    kinds = {name: type(small(name).scheduler).__name__ for name in NAMES}
    assert kinds == {
        "sd15": "PNDMScheduler",
        "sd21": "DDIMScheduler",
        "sdxl-turbo": "EulerAncestralDiscreteScheduler",
        "sdxl-base": "EulerDiscreteScheduler",
    }
