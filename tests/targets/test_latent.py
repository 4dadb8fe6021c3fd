"""The latent space of an autoencoder: shapes, geometry, the posterior's mean, and pictures back."""

import diffusers
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from phosphene.backbones.table import BACKBONES
from phosphene.errors import PhospheneError
from phosphene.registry import build
from phosphene.simulate.scenes import Scene, draw
from phosphene.targets.latent import Latent

DIFFUSION = [name for name, row in BACKBONES.items() if row.kind in ("diffusion", "both")]


@pytest.fixture(scope="module")
def mini():
    return Latent("mini", batch_size=2)


@pytest.fixture(scope="module")
def small():
    """A randomly initialised autoencoder of SDXL's class, for pictures of 64 pixels."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    space = Latent("sdxl-turbo", size=64, batch_size=2)
    space.vae = diffusers.AutoencoderKL(
        **blocks, block_out_channels=[8] * 4, norm_num_groups=4, scaling_factor=0.13025
    ).eval()
    return space


def scenes():
    return [
        draw(Scene(*s))
        for s in (
            ("car", "red", "snow", "left"),
            ("fish", "blue", "forest", "right"),
            ("cup", "yellow", "room", "centre"),
        )
    ]


def pixels(pictures):
    return np.stack([np.asarray(p, float) for p in pictures])


@pytest.mark.parametrize("name", DIFFUSION)
def test_the_shape_is_the_row_of_the_table(name, small):
    row, space = BACKBONES[name], Latent(name)
    if not row.local:  # their autoencoders have the four blocks and channels of the small one
        space.vae = small.vae
    assert space.shape == row.shapes.latent


def test_pictures_come_back(mini):
    real = scenes()
    latents = mini.encode(real)
    assert latents.shape == (3, *mini.shape)
    back = mini.decode(latents)
    assert [p.size for p in back] == [(128, 128)] * 3
    error = np.abs(pixels(back) - pixels(real)).mean((1, 2, 3))
    other = np.abs(pixels(back) - pixels(real)[[1, 2, 0]]).mean((1, 2, 3))
    assert (error < 10).all()
    assert (error < 0.25 * other).all()
    torch.testing.assert_close(mini.encode(real[2:]), latents[2:], rtol=1e-4, atol=1e-4)  # batches change nothing


def test_it_is_the_mean_unscaled(small):
    picture = Image.effect_noise((64, 64), 60).convert("RGB")
    posterior = small.vae.encode(torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1).permute(2, 0, 1)[None])
    torch.testing.assert_close(small.encode([picture]), posterior.latent_dist.mean)
    assert torch.equal(small.encode([picture]), small.encode([picture]))  # nothing is sampled
    latents = torch.randn(1, *small.shape)
    seen = (small.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0)
    assert np.abs(pixels(small.decode(latents))[0] - 255 * seen.detach().numpy()).max() <= 0.51


def test_the_middle_square_is_read(mini):
    inner = scenes()[0]
    wide = Image.new("RGB", (128 + 2 * 40, 128), "magenta")
    wide.paste(inner, (40, 0))
    tall = Image.new("RGB", (128, 128 + 2 * 9), "lime")
    tall.paste(inner, (0, 9))
    whole = mini.encode([inner])
    for picture in (wide, tall):
        torch.testing.assert_close(mini.encode([picture]), whole)
    grown = mini.encode([wide.resize((416, 256), Image.Resampling.BICUBIC)])  # of another size
    assert float((grown - whole).norm() / whole.norm()) < 0.35
    assert float((mini.encode([scenes()[1]]) - whole).norm() / whole.norm()) > 0.7


def test_the_table_is_kept_by_backbone_size_and_picture(mini, tmp_path):
    stimuli = pd.DataFrame({"image": [str(tmp_path / f"{i}.png") for i in range(3)]}, index=["a", "b", "c"])
    for path, picture in zip(stimuli["image"], scenes(), strict=True):
        picture.save(path)
    table = mini.table(stimuli, tmp_path / "cache")
    torch.testing.assert_close(table[["c", "a"]], mini.encode(scenes())[[2, 0]], rtol=1e-4, atol=1e-4)
    again = build("target", "latent", backbone="mini")
    again.vae = None  # is not needed: the table lies on disk
    assert torch.equal(again.table(stimuli, tmp_path / "cache").vectors, table.vectors)
    assert Latent("mini", size=64).config() != mini.config()
    assert Latent("mini", size=64).table(stimuli, tmp_path / "cache").vectors.shape == (3, 12, 8, 8)
    with pytest.raises(PhospheneError, match="is missing: restore it"):
        mini.table(stimuli.assign(image="nowhere.png"))
    with pytest.raises(PhospheneError, match="no column 'image'"):
        mini.table(stimuli.drop(columns="image"))


def test_what_does_not_fit_is_refused(mini, monkeypatch, tmp_path):

    with pytest.raises(PhospheneError, match=r"shape \(1, 4, 16, 16\) and .* reads \(n, 12, 16, 16\)"):
        mini.decode(torch.zeros(1, 4, 16, 16))
    with pytest.raises(PhospheneError, match="size is 100: give a multiple of 8"):
        _ = Latent("mini", size=100).shape
    with pytest.raises(PhospheneError, match="unknown diffusion backbone 'clip-vit-l14'"):
        Latent("clip-vit-l14")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(PhospheneError, match="download it once with `hf download"):
        _ = Latent("sd15").vae
    assert mini.decode(torch.zeros(0, *mini.shape)) == []
    assert mini.encode([]).shape == (0, *mini.shape)


def test_a_shift_is_that_of_every_pixel_and_names_another_table(tmp_path):
    grey = Image.new("RGB", (128, 128), (128, 128, 128))
    darker = Image.new("RGB", (128, 128), (64, 64, 64))
    shifted, plain = Latent(shift=-128 / 255), Latent()
    torch.testing.assert_close(shifted.encode([grey]), plain.encode([darker]))
    assert plain.config() != shifted.config()
    assert "shift" not in plain.config()
