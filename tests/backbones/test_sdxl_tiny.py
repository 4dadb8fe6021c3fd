"""SDXL with an image-prompt adapter on small random pipelines of the true classes: what ATM draws from, and how."""

from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from published import attach, published, small

from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion

IMAGE = published("sdxl-turbo")["adapter"]["image"]
PROMPTS = ["a dog in the snow", "a cat in a room", "a red car"]
#: row, steps and guidance: sdxl-turbo as its row has it; with guidance; SDXL base, whose sampler is another
KINDS = {"turbo": ("sdxl-turbo", 2, 0.0), "turbo guided": ("sdxl-turbo", 2, 4.0), "base": ("sdxl-base", 3, 5.0)}


@pytest.fixture(scope="module", params=KINDS)
def drawer(request):
    name, steps, guidance = KINDS[request.param]
    generator = Diffusion(name, steps=steps, guidance=guidance, size=64, batch_size=3)
    generator.pipeline = small(name)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        attach(generator.pipeline, published(name)["adapter"], "cpu")
    for name, parameter in generator.pipeline.unet.named_parameters():
        if name.endswith("attn2.to_v.weight"):
            parameter.data *= 8  # what is read counts, as in a trained model
    return generator


@pytest.fixture(scope="module")
def embeds():
    return torch.randn(3, IMAGE, generator=torch.Generator().manual_seed(0))


def starts():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(3)]


def fields(which, embeds):
    blends = [PROMPTS[0], [(PROMPTS[1], 2), (PROMPTS[0], 1)], PROMPTS[2]]
    tokens = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(4))
    start = {"init": starts(), "strength": 0.7}
    return {
        "embeddings": {},
        "with prompts": {"prompt": PROMPTS},
        "with blends": {"prompt": blends},
        "with tokens": {"tokens": tokens},
        "from pictures": start,
        "with prompts from pictures": {"prompt": PROMPTS, **start},
    }[which] | {"image_embeds": embeds}


WAYS = [
    "embeddings",
    "with prompts",
    "with blends",
    "with tokens",
    "from pictures",
    "with prompts from pictures",
]


def pixels(drawn):
    return np.stack([np.asarray(picture, float) for samples in drawn for picture in samples])


def test_the_parts_are_the_published_classes(drawer):
    parts = {key: type(part).__name__ for key, part in drawer.pipeline.components.items() if part is not None}
    facts = published(drawer.backbone)["parts"]
    assert {key: parts[key] for key in facts} == {key: part["class"] for key, part in facts.items()}
    assert type(drawer.pipeline).__name__ == "StableDiffusionXLPipeline"
    assert parts["scheduler"] == published(drawer.backbone)["scheduler"]["class"]
    assert drawer.pipeline.unet.config.addition_embed_type == "text_time"
    processors = [type(p).__name__ for k, p in drawer.pipeline.unet.attn_processors.items() if "attn2" in k]
    assert set(processors) == {"IPAdapterAttnProcessor2_0"}


@pytest.mark.parametrize("way", WAYS)
def test_a_trial_is_drawn_in_a_batch_as_alone(drawer, embeds, way):
    whole = Conditioning(**fields(way, embeds))
    together = pixels(drawer(whole, seed=5))
    alone = np.concatenate([pixels(drawer(whole.rows([i]), seed=5, numbers=[i])) for i in range(3)])
    assert together.shape == (3, 64, 64, 3)
    assert np.abs(together - alone).max() <= 1  # float rounding of another batch size
    turned = pixels(drawer(whole.rows([2, 0, 1]), seed=5, numbers=[2, 0, 1]))
    assert np.abs(turned - together[[2, 0, 1]]).max() <= 1
    assert min(np.abs(together[i] - together[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 10


@pytest.mark.parametrize("way", WAYS)
def test_every_trial_reads_its_own_embedding(drawer, embeds, way):
    first = pixels(drawer(Conditioning(**fields(way, embeds)), seed=5))
    changed = embeds.clone()
    changed[1] = -changed[1]
    again = pixels(drawer(Conditioning(**fields(way, changed)), seed=5))
    assert np.abs(again[[0, 2]] - first[[0, 2]]).max() <= 1
    assert np.abs(again[1] - first[1]).max() > 5


def test_prompts_and_first_pictures_count_beside_embeddings(drawer, embeds):
    drawn = {way: pixels(drawer(Conditioning(**fields(way, embeds)), seed=5)) for way in WAYS}
    for i, way in enumerate(WAYS):
        for other in WAYS[:i]:
            assert np.abs(drawn[way] - drawn[other]).max() > 1, (way, other)
    nothing = pixels(drawer(Conditioning(image_embeds=embeds, prompt=[""] * 3), seed=5))
    assert np.abs(nothing - drawn["embeddings"]).max() <= 1  # no prompt is the empty one


def test_what_the_unet_reads(drawer, embeds, monkeypatch):
    calls = []
    forward = drawer.pipeline.unet.forward

    def noted(sample, step, encoder_hidden_states, added_cond_kwargs, **more):
        calls.append((sample, encoder_hidden_states, added_cond_kwargs))
        return forward(
            sample, step, encoder_hidden_states=encoder_hidden_states, added_cond_kwargs=added_cond_kwargs, **more
        )

    monkeypatch.setattr(drawer.pipeline.unet, "forward", noted)
    drawer(Conditioning(image_embeds=embeds, prompt=PROMPTS), n=2, seed=5)  # six pictures in two batches of three
    with torch.inference_mode():
        own, _, pooled, _ = drawer.pipeline.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    assert min(float((own[i] - own[j]).abs().max()) for i, j in ((0, 1), (0, 2), (1, 2))) > 0.1
    branches = 2 if drawer.guidance > 1 else 1
    per_batch = len(calls) // 2
    assert per_batch == drawer.steps
    for start, trials in ((0, [0, 0, 1]), (per_batch, [1, 2, 2])):
        for sample, states, added in calls[start : start + per_batch]:
            (read,) = added["image_embeds"]
            assert read.shape == (3 * branches, 1, IMAGE)
            assert torch.equal(read[-3:, 0], embeds[trials])
            assert branches == 1 or not read[:3].any()  # no picture is zeros
            assert len(sample) == len(states) == len(added["text_embeds"]) == len(added["time_ids"]) == 3 * branches
            expected = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
            assert torch.equal(added["time_ids"].cpu(), expected.repeat(3 * branches, 1))
            torch.testing.assert_close(states[-3:], own[trials])
            torch.testing.assert_close(added["text_embeds"][-3:], pooled[trials])
            assert branches == 1 or not states[:3].any()  # SDXL's empty prompt is zeros too


def test_a_weak_start_keeps_more_of_the_picture(embeds, drawer):
    start = {"image_embeds": embeds, "init": starts()}
    full = Diffusion(drawer.backbone, steps=10, guidance=drawer.guidance, size=64)
    full.pipeline = drawer.pipeline
    first = pixels([[p.resize((64, 64), Image.Resampling.BICUBIC)] for p in starts()])
    with torch.inference_mode():  # what the random autoencoder makes of the pictures
        vae = drawer.pipeline.vae
        coded = vae.encode(torch.from_numpy(first).float().permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mean
        kept = vae.decode(coded).sample.clamp(-1, 1).permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
    weak, strong = (pixels(full(Conditioning(strength=s, **start), seed=5)) for s in (0.1, 1.0))
    assert np.abs(weak - kept).mean() < np.abs(strong - kept).mean()


def checksums(parts):
    return {
        f"{part}.{key}": sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
        for part, module in parts.items()
        for key, value in module.state_dict().items()
    }


def test_no_weight_changes(drawer, embeds):
    parts = {key: part for key, part in drawer.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    assert set(parts) == {"vae", "text_encoder", "text_encoder_2", "unet"}
    before = checksums(parts)
    decoded = embeds.clone().requires_grad_()
    for way in WAYS:
        drawer(Conditioning(**fields(way, decoded)))
    assert checksums(parts) == before
    assert decoded.grad is None
    assert not any(p.grad is not None for part in parts.values() for p in part.parameters())


def test_the_adapter_is_taken_off_for_prompts_alone_and_put_on_again():
    generator = Diffusion("sdxl-turbo", steps=2, size=64)
    generator.pipeline = small("sdxl-turbo")
    before = pixels(generator(Conditioning(prompt=PROMPTS)))
    attach(generator.pipeline, published("sdxl-turbo")["adapter"], "cpu")
    again = pixels(generator(Conditioning(prompt=PROMPTS)))
    assert generator.pipeline.unet.encoder_hid_proj is None
    np.testing.assert_array_equal(again, before)


def test_the_scale_of_the_adapter_counts(embeds):
    def drawn(scale, embeds):
        generator = Diffusion("sdxl-turbo", steps=2, size=64, adapter_scale=scale)
        generator.pipeline = small("sdxl-turbo")
        with torch.random.fork_rng():
            torch.manual_seed(1)
            attach(generator.pipeline, published("sdxl-turbo")["adapter"], "cpu")
        return pixels(generator(Conditioning(image_embeds=embeds)))

    full, none = drawn(1.0, embeds), drawn(0.0, embeds)
    assert np.abs(full - none).max() > 5
    assert np.abs(drawn(0.0, -embeds) - none).max() <= 1
