"""The shipped `mini`: whole, loaded by stock classes without a wrapper or a network, and able to draw."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import phosphene
from phosphene.simulate.judge import ATTRIBUTES, load_judge
from phosphene.simulate.scenes import SEEN, Scene, draw, sample_scenes

MINI = Path(phosphene.__file__).parent / "assets" / "mini"
SETTINGS: dict[str, Any] = {
    "height": 128,
    "width": 128,
    "num_inference_steps": 8,
    "guidance_scale": 2.0,
}
N = 12
FOUR = ("object", "colour", "background", "position")


@pytest.fixture(scope="module", autouse=True)
def _offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def pipe():
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(MINI, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return sample_scenes(N, seed=11, held_out=True)


def generators(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(n)]


def right(named: dict[str, list[str]], scenes: list[Scene]) -> dict[str, int]:
    """How many scenes were named right, per attribute."""
    return {key: sum(n == getattr(s, key) for n, s in zip(named[key], scenes, strict=True)) for key in ATTRIBUTES}


def test_every_file_has_its_checksum():
    lines = (MINI / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {p.relative_to(MINI).as_posix(): p for p in MINI.rglob("*") if p.is_file() and p.name != "SHA256SUMS"}
    assert sums.keys() == found.keys()
    for name, path in found.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sums[name], name


def test_it_is_small():
    sizes = [path.stat().st_size for path in MINI.rglob("*") if path.is_file()]
    assert max(sizes) <= 16e6
    assert sum(sizes) < 60e6


def test_the_card_says_what_it_is_not():
    card = (MINI / "README.md").read_text(encoding="utf-8")
    assert "never a result" in card
    assert "95 % Wilson" in card


def test_the_judge_names_drawings(scenes: list[Scene]):
    counts = right(load_judge().predict([draw(scene, 160) for scene in scenes]), scenes)
    assert min(counts.values()) >= N - 2, counts


def test_no_judge_in_a_folder_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_judge(tmp_path)


def test_prompts_are_drawn(pipe, scenes: list[Scene]):
    images = pipe([scene.prompt for scene in scenes], generator=generators(N), **SETTINGS).images
    assert images[0].size == (128, 128)
    counts = right(load_judge().predict(images), scenes)
    assert min(counts[key] for key in FOUR) >= 0.8 * N, counts


def test_clip_chooses_between_sentences(scenes: list[Scene]):
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    clip = CLIPModel.from_pretrained(MINI / "clip", local_files_only=True)
    tokenizer = CLIPTokenizer.from_pretrained(MINI / "clip", local_files_only=True)
    processor = CLIPImageProcessor.from_pretrained(MINI / "clip", local_files_only=True)
    pixels = processor([draw(scene) for scene in scenes], return_tensors="pt").pixel_values
    objects = SEEN
    tokens = tokenizer([f"a photo of a {name}" for name in objects], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = clip(input_ids=tokens.input_ids, pixel_values=pixels).logits_per_image
    chosen = [objects[i] for i in logits.argmax(1)]
    assert np.mean([name == scene.object for name, scene in zip(chosen, scenes, strict=True)]) >= 0.8


def test_one_text_tower_serves_both(pipe):
    from transformers import CLIPModel

    clip = CLIPModel.from_pretrained(MINI / "clip", local_files_only=True)
    tokens = pipe.tokenizer(["a red car"], padding="max_length", return_tensors="pt").input_ids
    assert tokens.shape == (1, 77)
    with torch.inference_mode():
        torch.testing.assert_close(
            clip.text_model(tokens).last_hidden_state, pipe.text_encoder(tokens).last_hidden_state
        )


def test_a_picture_can_be_the_start(pipe, scenes: list[Scene]):
    from diffusers import StableDiffusionImg2ImgPipeline

    again = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    again.set_progress_bar_config(disable=True)
    start = draw(scenes[0])
    made = again(
        scenes[0].prompt,
        image=start,
        strength=0.3,
        num_inference_steps=10,
        guidance_scale=2.0,
        generator=generators(1),
    ).images[0]
    assert np.abs(np.asarray(made, float) - np.asarray(start, float)).mean() < 25


def test_image_embeddings_are_drawn(scenes: list[Scene]):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(MINI, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_ip_adapter(MINI, subfolder="ip_adapter", weight_name="ip-adapter_mini.safetensors")
    pixels = pipe.feature_extractor([draw(scene) for scene in scenes], return_tensors="pt").pixel_values
    with torch.inference_mode():
        positive = pipe.image_encoder(pixels).image_embeds[:, None]
    both = torch.cat([torch.zeros_like(positive), positive])
    # the stock method repeats all image prompts for every picture of a batch; ours are one for each already
    pipe.prepare_ip_adapter_image_embeds = lambda image, embeds, *_: embeds
    images = pipe([""] * N, ip_adapter_image_embeds=[both], generator=generators(N), **SETTINGS).images
    counts = right(load_judge().predict(images), scenes)
    assert min(counts[key] for key in FOUR) >= 0.7 * N, counts
