"""Visual tokens of pictures as a target: those of the captioner's tower, kept in half precision and mapped."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from backbones.published import git_row
from phosphene.backbones import table as backbones
from phosphene.backbones.table import BACKBONES, Shapes
from phosphene.errors import PhospheneError
from phosphene.registry import build
from phosphene.targets.visual_tokens import CaptionerTokens


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    return git_row(tmp_path_factory.mktemp("git"))


@pytest.fixture
def target(row, monkeypatch):
    monkeypatch.setitem(backbones.BACKBONES, "tiny-git", row)
    return build("target", "visual_tokens", backbone="tiny-git", batch_size=2)


@pytest.fixture
def stimuli(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 255, (30 + i, 40, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return pd.DataFrame({"image": [str(tmp_path / f"{i}.png") for i in range(5)]}, index=list("abcde"))


def test_the_published_row_says_the_shape():
    assert CaptionerTokens("git-large-coco").shape == BACKBONES["git-large-coco"].shapes.patches == (257, 1024)
    with pytest.raises(PhospheneError, match="unknown caption backbone 'mini': "):
        CaptionerTokens("mini")


def test_tokens_are_those_of_the_tower(target, stimuli):
    pictures = [Image.open(path).convert("RGB") for path in stimuli["image"]]
    tokens = target.embed(stimuli)
    assert tokens.shape == (5, *target.shape)
    torch.testing.assert_close(tokens, target.captioner.tokens(pictures))
    assert float((tokens[0] - tokens[1]).abs().max()) > 0.1
    assert target.embed(stimuli[:0]).shape == (0, *target.shape)


def test_the_table_is_mapped_half_precision_and_made_once(target, stimuli, tmp_path):
    tokens = target.embed(stimuli)
    table = target.table(stimuli, tmp_path / "cache")
    assert table.vectors.dtype == torch.float16
    torch.testing.assert_close(table[["d", "a"]].float(), tokens[[3, 0]], atol=2e-3, rtol=1e-3)
    (file,) = (tmp_path / "cache" / "targets").glob("[!.]*.npy")
    held = np.load(file, mmap_mode="r", allow_pickle=False)
    assert (held.shape, held.dtype) == ((5, *target.shape), np.float16)
    del target.captioner  # read again, not made again
    again = CaptionerTokens("tiny-git")
    assert torch.equal(again.table(stimuli, tmp_path / "cache").vectors, table.vectors)
    assert "captioner" not in vars(again)
    again.table(stimuli[::-1], tmp_path / "cache")
    assert len(list(file.parent.glob("[!.]*.npy"))) == 2  # other pictures are another table
    assert len(list(file.parent.iterdir())) == 3  # nothing half-written beside them and their checksums


def test_what_reads_a_table_cannot_change_it(target, stimuli, tmp_path):
    first = target.table(stimuli, tmp_path / "cache")
    kept = first.vectors.clone()
    first.vectors.zero_()
    assert torch.equal(target.table(stimuli, tmp_path / "cache").vectors, kept)


def test_a_row_of_another_shape_is_told_and_nothing_is_kept(row, monkeypatch, stimuli, tmp_path):
    wrong = type(row)("odd", "caption", row.repo, "none", Shapes(patches=(17, 25)))
    monkeypatch.setitem(backbones.BACKBONES, "odd", wrong)
    with pytest.raises(PhospheneError, match=r"gives tokens of shape \(17, 24\), .* \(17, 25\): correct the row"):
        CaptionerTokens("odd").table(stimuli, tmp_path / "cache")
    assert not (tmp_path / "cache" / "targets").exists()
