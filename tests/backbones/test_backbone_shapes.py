"""Every row of the table at its published size, on the meta device: counts and the shapes that conditioning touches."""

import pytest
import torch
from published import CONFIGS, attach, build, pipeline, published, rows

from phosphene.backbones.table import BACKBONES
from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning
from phosphene.generators.diffusion import Diffusion
from phosphene.generators.prompts import Wording

DIFFUSION = rows("diffusion", "both")


def zeros(*shape):
    return torch.zeros(shape, device="meta")


def test_every_row_has_its_published_configuration():
    lacking = set(BACKBONES) - {"mini"} ^ {path.stem for path in CONFIGS.glob("*.json")}
    assert not lacking, f"write {CONFIGS}/NAME.json, the shapes in the model's published configuration, for {lacking}"
    assert {row.kind for row in BACKBONES.values()} == {"both", "clip", "diffusion", "caption"}


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_are_as_many_as_published(name):
    for part, facts in published(name)["parts"].items():
        assert sum(p.numel() for p in build(facts).parameters()) == facts["parameters"], part


@pytest.mark.parametrize("name", rows("clip", "both"))
def test_a_clip_gives_what_the_row_says(name):
    row, clip = BACKBONES[name], build(published(name)["parts"]["clip"])
    seen = clip.vision_model(pixel_values=zeros(2, 3, row.size, row.size))
    assert tuple(seen.last_hidden_state.shape) == (2, *row.shapes.patches)
    assert tuple(clip.visual_projection(seen.pooler_output).shape) == (2, row.shapes.image)
    ids = torch.zeros(2, 77, dtype=torch.long, device="meta")
    read = clip.text_model(input_ids=ids)
    assert tuple(read.last_hidden_state.shape) == (2, *row.shapes.tokens)
    assert tuple(clip.text_projection(read.pooler_output).shape) == (2, row.shapes.image)


@pytest.mark.parametrize("name", DIFFUSION)
def test_a_unet_reads_what_the_row_says(name):
    row, facts = BACKBONES[name], published(name)
    pipe = pipeline(name)
    latent, tokens = row.shapes.latent, row.shapes.tokens
    made = Wording(pipe, guided=True).arguments(["a dog", [("a cat", 1), ("a dog", 3)]])
    assert tuple(made["prompt_embeds"].shape) == tuple(made["negative_prompt_embeds"].shape) == (2, *tokens)
    added = {}
    if row.shapes.pooled is None:
        assert "pooled_prompt_embeds" not in made
    else:
        assert tuple(made["pooled_prompt_embeds"].shape) == (2, row.shapes.pooled)
        assert tuple(made["negative_pooled_prompt_embeds"].shape) == (2, row.shapes.pooled)
        added = {"text_embeds": made["pooled_prompt_embeds"], "time_ids": zeros(2, 6)}
    noisy = zeros(2, *latent)

    def predicted(states, added):
        return pipe.unet(noisy, torch.ones((), device="meta"), states, added_cond_kwargs=added or None).sample.shape

    assert predicted(made["prompt_embeds"], added) == noisy.shape
    readers = [part for key, part in pipe.unet.named_modules() if key.endswith(("attn2.to_k", "attn2.to_v"))]
    assert {part.in_features for part in readers} == {tokens[1]}
    assert pipe.scheduler.config.prediction_type == row.predicts
    if row.adapter is None:
        assert (row.shapes.image, row.adapter_clip, facts.get("adapter")) == (None, "", None)
    else:
        assert BACKBONES[row.adapter_clip].shapes.image == row.shapes.image == facts["adapter"]["image"]
        assert attach(pipe, facts["adapter"]) == facts["adapter"]["parameters"]
        one = zeros(2, 1, row.shapes.image)
        assert pipe.unet.encoder_hid_proj([one])[0].shape[-2:] == (facts["adapter"]["tokens"], tokens[1])
        assert predicted(made["prompt_embeds"], added | {"image_embeds": [one]}) == noisy.shape
    assert tokens[0] == 77


@pytest.mark.parametrize("name", DIFFUSION)
def test_an_autoencoder_gives_what_the_row_says(name):
    row, vae = BACKBONES[name], build(published(name)["parts"]["vae"])
    coded = vae.encode(zeros(1, 3, row.size, row.size))
    code = coded.latents if hasattr(coded, "latents") else coded.latent_dist.mean
    assert tuple(code.shape) == (1, *row.shapes.latent)
    assert tuple(vae.decode(code).sample.shape) == (1, 3, row.size, row.size)
    channels, height, width = row.shapes.latent
    unet = published(name)["parts"]["unet"]["config"]
    assert (channels, height, width) == (unet["in_channels"], unet["sample_size"], unet["sample_size"])


@pytest.mark.parametrize("name", rows("caption"))
def test_a_captioner_reads_what_the_row_says(name):
    row, model = BACKBONES[name], build(published(name)["parts"]["captioner"])
    seen = model.git.image_encoder(pixel_values=zeros(2, 3, row.size, row.size)).last_hidden_state
    assert tuple(seen.shape) == (2, *row.shapes.patches)
    hidden = model.config.hidden_size
    assert tuple(model.git.visual_projection(seen).shape) == (2, row.shapes.patches[0], hidden)
    assert model.output(zeros(2, 5, hidden)).shape[-1] == model.config.vocab_size


@pytest.mark.parametrize("name", DIFFUSION)
def test_states_of_another_width_are_refused_before_drawing(name):
    row = BACKBONES[name]
    generator = Diffusion(name)
    generator.pipeline = pipeline(name)
    width = row.shapes.tokens[1]
    with pytest.raises(PhospheneError, match=f"tokens are {width + 1} wide .* reads {width}: make .* {width} wide$"):
        generator(Conditioning(tokens=zeros(2, 77, width + 1)))
    with pytest.raises(PhospheneError, match=rf"shape \(2, {width}\): give \(n_trials, n_tokens, {width}\)"):
        generator(Conditioning(tokens=zeros(2, width)))
    if row.adapter is None:
        with pytest.raises(PhospheneError, match="no image-prompt adapter: give a prompt"):
            generator(Conditioning(image_embeds=zeros(2, 1024)))
        return
    attach(generator.pipeline, published(name)["adapter"])
    image = row.shapes.image
    with pytest.raises(PhospheneError, match=f"{image + 1} wide .* reads {image}: .* backbone '{row.adapter_clip}'"):
        generator(Conditioning(image_embeds=zeros(2, image + 1)))
    with pytest.raises(PhospheneError, match=rf"give \(n_trials, {image}\)"):
        generator(Conditioning(image_embeds=zeros(2, 1, image)))


def test_the_error_names_backbones_that_read_such_tokens():
    generator = Diffusion("sd15")
    generator.pipeline = pipeline("sd15")
    with pytest.raises(PhospheneError, match="1024 wide .* or draw with sd21$"):
        generator(Conditioning(tokens=zeros(1, 77, 1024)))
